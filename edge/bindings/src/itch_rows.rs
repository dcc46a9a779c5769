//! The order events of a whole ITCH file as columns, for the catalog.

use std::path::PathBuf;

use helios_io::{self as io, Listing, OrderRows};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::raise;

const VALUES: [&str; 6] = ["kind", "order", "new_order", "side", "price", "size"];

/// Reads an ITCH file batch by batch; instruments are numbered as its directory lists them.
#[pyclass(unsendable, module = "helios._core")]
pub(crate) struct ItchRows {
    reader: io::ItchRows,
    rows: OrderRows,
}

/// The bytes of a column, in the order of this machine.
fn bytes<'py, T: Copy, const N: usize>(
    py: Python<'py>,
    column: &[T],
    to_bytes: impl Fn(T) -> [u8; N],
) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, column.len() * N, |out| {
        for (place, value) in out.chunks_exact_mut(N).zip(column) {
            place.copy_from_slice(&to_bytes(*value));
        }
        Ok(())
    })
}

#[pymethods]
impl ItchRows {
    /// `midnight_ns`: start of the file's day, UTC. `symbols=None`: all. `strict`: the first bad message is an error.
    #[new]
    #[pyo3(signature = (path, midnight_ns, symbols, strict))]
    fn new(path: PathBuf, midnight_ns: i64, symbols: Option<Vec<String>>, strict: bool) -> PyResult<Self> {
        let reader = io::ItchRows::open(&path, midnight_ns, symbols, strict).map_err(raise)?;
        Ok(Self { reader, rows: OrderRows::default() })
    }

    /// The next rows: column name -> bytes (`instrument` uint32, all others int64); None at the end.
    fn next_rows<'py>(&mut self, py: Python<'py>, least: usize) -> PyResult<Option<Bound<'py, PyDict>>> {
        let more = py.detach(|| self.reader.read(&mut self.rows, least)).map_err(raise)?;
        if !more {
            return Ok(None);
        }
        let columns = PyDict::new(py);
        columns.set_item("ts", bytes(py, &self.rows.ts, i64::to_ne_bytes)?)?;
        columns.set_item("instrument", bytes(py, &self.rows.instrument, u32::to_ne_bytes)?)?;
        for (name, values) in VALUES.iter().zip(&self.rows.values) {
            columns.set_item(name, bytes(py, values, i64::to_ne_bytes)?)?;
        }
        Ok(Some(columns))
    }

    /// Every stock listed from number `since` on: its fields by name.
    fn listings<'py>(&self, py: Python<'py>, since: usize) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let dict = |listing: &Listing| {
            let dict = PyDict::new(py);
            dict.set_item("locate", listing.locate)?;
            dict.set_item("symbol", &listing.symbol)?;
            dict.set_item("round_lot", listing.round_lot)?;
            dict.set_item("issue_sub_type", &listing.issue_sub_type)?;
            dict.set_item("leverage", listing.leverage)?;
            for (name, letter) in &listing.letters {
                dict.set_item(*name, letter.to_string())?;
            }
            Ok(dict)
        };
        self.reader.listings().iter().skip(since).map(dict).collect()
    }

    /// What was left out: reason -> (messages, the first in words).
    fn left_out<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (reason, left_out) in self.reader.left_out() {
            dict.set_item(*reason, (left_out.count, &left_out.first))?;
        }
        Ok(dict)
    }

    /// Good messages so far.
    #[getter]
    fn messages(&self) -> u64 {
        self.reader.messages()
    }

    /// 0 to 1.
    #[getter]
    fn progress(&self) -> f64 {
        self.reader.progress()
    }
}
