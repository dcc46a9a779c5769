//! A piece of the journal's file in memory: its place on the disk is reserved before it is written, its pages are there
//! before they are needed.

#![expect(unsafe_code, reason = "bytes that another process could see change are copied through a pointer")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Memory comes in pages of this size, or of a multiple of it.
pub(super) const PAGE: usize = 4096;

/// One window. It can be cloned: the journal's thread keeps the pages of the one that is being written present.
#[derive(Clone)]
pub(super) struct Window {
    map: Arc<MmapRaw>,
    /// Of its first byte in the file.
    pub(super) offset: u64,
}

impl Window {
    /// Reserves `length` bytes of the disk from `offset` on (a multiple of the page) and maps them. Existing bytes stay. A
    /// full disk is an error here, and not a signal later.
    pub(super) fn prepare(file: &File, offset: u64, length: usize) -> io::Result<Self> {
        reserve(file, offset, length)?;
        let map = MmapOptions::new().offset(offset).len(length).map_raw(file)?;
        Ok(Self { map: Arc::new(map), offset })
    }

    /// First byte behind it, in the file.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.map.len() as u64
    }

    /// Copies as many of `bytes` as lie before the end of the window to `at` (of the file); returns how many.
    #[inline]
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) -> usize {
        let place = at.checked_sub(self.offset).map_or(usize::MAX, |place| place as usize);
        assert!(place <= self.map.len(), "journal: byte {at} lies outside the window at {}", self.offset);
        let count = bytes.len().min(self.map.len() - place);
        // SAFETY: `place + count` is at most the length of the map, which lives as long as `self`; the source is no part of
        // it, for nobody is given references into it. Only this writes to the map (`&mut self`; clones are only asked to
        // make pages present), and the file is locked against another journal. The pages exist on the disk (`reserve`).
        // Covered by the tests of this module and by tests/killed.rs.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(place), count) };
        count
    }

    /// Makes the pages from `at` (of the file) on present and writable, `ahead` bytes of them. Their content stays.
    pub(super) fn touch(&self, at: u64, ahead: usize) {
        let first = at.saturating_sub(self.offset) as usize / PAGE * PAGE;
        let length = ahead.min(self.map.len().saturating_sub(first));
        if length > 0 {
            // Older kernels do not know the advice: then a page is made when it is first written.
            let _ = self.map.advise_range(Advice::PopulateWrite, first, length);
        }
    }
}

/// Makes the disk keep room. A file system without the call is given zeros instead; then `offset` must be at the end.
fn reserve(file: &File, offset: u64, length: usize) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), offset, length as u64) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return fill(file, offset, length),
            Err(error) => return Err(error.into()),
        }
    }
}

fn fill(file: &File, offset: u64, length: usize) -> io::Result<()> {
    let end = offset + length as u64;
    let mut at = file.metadata()?.len().max(offset);
    while at < end {
        let count = (end - at).min(PAGE as u64) as usize;
        file.write_all_at(&[0; PAGE][..count], at)?;
        at += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_writes_to_its_end_and_no_further() {
        let file = crate::scratch::file("window");
        let mut window = Window::prepare(&file.open(), PAGE as u64, PAGE).unwrap();
        window.touch(PAGE as u64, 10 * PAGE);
        assert_eq!(window.write(PAGE as u64 + 10, b"abc"), 3);
        assert_eq!(window.write(window.end() - 2, b"xyz"), 2);
        assert_eq!(window.write(window.end(), b"q"), 0);
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(bytes.len(), 2 * PAGE);
        assert_eq!((&bytes[PAGE + 10..PAGE + 13], &bytes[2 * PAGE - 2..]), (&b"abc"[..], &b"xy"[..]));
    }

    #[test]
    #[should_panic(expected = "lies outside the window")]
    fn a_place_before_the_window_is_a_mistake() {
        let file = crate::scratch::file("before");
        Window::prepare(&file.open(), PAGE as u64, PAGE).unwrap().write(0, b"a");
    }

    #[test]
    fn zeros_reserve_where_the_call_is_missing() {
        let file = crate::scratch::file("zeros");
        fill(&file.open(), 0, 3 * PAGE / 2).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), vec![0; 3 * PAGE / 2]);
    }
}
