//! Room for long columns. Fresh memory comes in pages of 4 KiB, each of which stops the program once; in pages of 2 MiB,
//! which Linux gives to those who ask, a column of ten million numbers stops it forty times and not twenty thousand.

#![expect(unsafe_code, reason = "the advice to the kernel is a C function")]

/// An empty vector with room for `rows` numbers.
pub(crate) fn room(rows: usize) -> Vec<f64> {
    let values: Vec<f64> = Vec::with_capacity(rows);
    #[cfg(target_os = "linux")]
    advise(values.as_ptr() as usize, rows * size_of::<f64>());
    values
}

#[cfg(target_os = "linux")]
fn advise(start: usize, bytes: usize) {
    const HUGE: usize = 2 << 20;
    let (first, end) = (start.next_multiple_of(HUGE), (start + bytes) / HUGE * HUGE);
    if first < end {
        // SAFETY: the range lies inside the vector's own memory; the advice changes no byte of it and may be ignored, which
        // is why its answer is not looked at.
        unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
    }
}
