//! Columns in and out without a copy: NumPy's buffers in, Arrow's C data interface out.

#![expect(unsafe_code, reason = "both interfaces are made of pointers")]

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};

use helios_io::Nullable;
use helios_types::Nanos;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::refuse;

/// The numbers of an array that lies in one piece.
pub(crate) fn whole<'a, T: pyo3::buffer::Element>(py: Python<'_>, buffer: &'a PyBuffer<T>) -> Option<&'a [T]> {
    let cells = buffer.as_slice(py)?;
    // SAFETY: a `ReadOnlyCell<T>` has the layout of a `T`, and the buffer outlives the slice. Nobody writes meanwhile: the
    // arrays come from `helios.research.graph`, which made them or holds them as Polars' immutable columns.
    Some(unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<T>(), cells.len()) })
}

/// Times as they come from Python, as the core's. One before 1970 becomes one that lies too far ahead; where times do not
/// go back, only the first of them can be, so the caller looks at that.
pub(crate) fn stamps(ts: &[i64]) -> &[Nanos] {
    // SAFETY: a `Nanos` has the layout of a u64, which has that of an i64, and any bits are a u64.
    unsafe { std::slice::from_raw_parts(ts.as_ptr().cast::<Nanos>(), ts.len()) }
}

/// A column of floats that Arrow's consumers take over without a copy; NaN is null.
#[pyclass(module = "helios._core")]
pub(crate) struct Floats {
    told: Option<Nullable>,
}

impl Floats {
    pub(crate) const fn new(told: Nullable) -> Self {
        Self { told: Some(told) }
    }
}

#[pymethods]
impl Floats {
    /// The Arrow C data interface: gives the column away, so it can be asked once.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &mut self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        let _ = requested_schema; // a wish that the interface allows to leave unheard
        let told = self.told.take().ok_or_else(|| refuse("over", "this column was given away already"))?;
        let schema = PyCapsule::new_with_value(py, ArrowSchema::of_floats(), c"arrow_schema")?;
        let array = PyCapsule::new_with_value(py, ArrowArray::of(told), c"arrow_array")?;
        Ok((schema, array))
    }
}

/// Arrow's C struct of a type: <https://arrow.apache.org/docs/format/CDataInterface.html>.
#[repr(C)]
struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut ArrowSchema,
    dictionary: *mut ArrowSchema,
    release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    private_data: *mut c_void,
}

// SAFETY: its pointers are to constants of the program.
unsafe impl Send for ArrowSchema {}

impl ArrowSchema {
    fn of_floats() -> Self {
        const FORMAT: &CStr = c"g";
        const NULLABLE: i64 = 2;
        Self {
            format: FORMAT.as_ptr(),
            name: c"".as_ptr(),
            metadata: null(),
            flags: NULLABLE,
            n_children: 0,
            children: null_mut(),
            dictionary: null_mut(),
            release: Some(release_schema),
            private_data: null_mut(),
        }
    }
}

unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    // SAFETY: Arrow's consumers call this with the struct that they were given. It owns nothing.
    unsafe { (*schema).release = None };
}

/// Arrow's C struct of an array.
#[repr(C)]
struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut ArrowArray,
    dictionary: *mut ArrowArray,
    release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    private_data: *mut c_void,
}

// SAFETY: what its pointers lead to belongs to it alone, and moves with it.
unsafe impl Send for ArrowArray {}

/// What an array's pointers lead to.
struct Owned {
    told: Nullable,
    buffers: [*const c_void; 2],
}

impl ArrowArray {
    fn of(told: Nullable) -> Self {
        let (length, nulls) = (told.values.len() as i64, told.nulls as i64);
        let owned = Box::into_raw(Box::new(Owned { told, buffers: [null(); 2] }));
        // SAFETY: it was made in the line before and nobody else knows of it.
        let buffers = unsafe {
            let valid = if nulls == 0 { null() } else { (*owned).told.valid.as_ptr().cast() };
            (*owned).buffers = [valid, (*owned).told.values.as_ptr().cast()];
            (&raw mut (*owned).buffers).cast()
        };
        Self {
            length,
            null_count: nulls,
            offset: 0,
            n_buffers: 2,
            n_children: 0,
            buffers,
            children: null_mut(),
            dictionary: null_mut(),
            release: Some(release_array),
            private_data: owned.cast(),
        }
    }
}

unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    // SAFETY: `private_data` came from `Box::into_raw` in `of`, and `release` is called once: it clears itself.
    unsafe {
        drop(Box::from_raw((*array).private_data.cast::<Owned>()));
        (*array).release = None;
    }
}

impl Drop for ArrowArray {
    fn drop(&mut self) {
        // A consumer that took the array has cleared `release`.
        if let Some(release) = self.release {
            // SAFETY: nobody else has it.
            unsafe { release(self) };
        }
    }
}
