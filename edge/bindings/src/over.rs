//! Graphs over columns: `graph.over(frame)`.

use helios_book::Capacity;
use helios_io::{Nullable, Rows, SourceError, over_series, over_source};
use helios_signals::{Graph, NodeId};
use helios_types::Quantity;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrow::{Floats, stamps as stamps_of, whole};
use crate::session::{Raised, SourceSpec, merge, python_error};
use crate::spec::{NodeSpec, node};
use crate::{raise, refuse};

fn graph(nodes: &[NodeSpec], instruments: usize, series: Vec<u32>) -> PyResult<Graph> {
    let nodes = nodes.iter().map(node).collect::<Result<Vec<_>, SourceError>>().map_err(raise)?;
    Graph::new(nodes, vec![Quantity::whole(1); instruments], series).map_err(|error| refuse("graph", error.to_string()))
}

/// A graph of series only, over rows at which all of them are given: `ts` int64 ns, `columns` float64, NaN for null where
/// `nullable`. The columns, or the first row that cannot be used: time goes back there, or a value is no number.
#[pyfunction]
pub(crate) fn over_columns(
    py: Python<'_>,
    nodes: Vec<NodeSpec>,
    ts: PyBuffer<i64>,
    columns: Vec<PyBuffer<f64>>,
    nullable: Vec<bool>,
    outputs: Vec<u32>,
) -> PyResult<(Vec<Floats>, Option<usize>)> {
    let mut graph = graph(&nodes, 0, vec![0; columns.len()])?;
    let outputs: Vec<NodeId> = outputs.into_iter().map(NodeId).collect();
    let rows = ts.item_count();
    if columns.iter().any(|column| column.item_count() != rows) || nullable.len() != columns.len() {
        return Err(refuse("over", "the columns have different lengths"));
    }
    let stamps = whole(py, &ts).ok_or_else(|| refuse("over", "ts is no array in one piece"))?;
    if stamps.first().is_some_and(|first| *first < 0) {
        return Ok((Vec::new(), Some(0)));
    }
    let stamps = stamps_of(stamps);
    let given: Option<Vec<&[f64]>> = columns.iter().map(|column| whole(py, column)).collect();
    let given = given.ok_or_else(|| refuse("over", "a column is no array in one piece"))?;
    Ok(match py.detach(|| over_series(&mut graph, stamps, &given, &nullable, &outputs)) {
        Ok(told) => (told.into_iter().map(Floats::new).collect(), None),
        Err(row) => (Vec::new(), Some(row)),
    })
}

/// Seconds for so many quotes of the first `active` instruments through books and a graph, and nothing else.
#[pyfunction]
pub(crate) fn bench_graph(
    py: Python<'_>,
    nodes: Vec<NodeSpec>,
    instruments: usize,
    active: u64,
    quotes: u64,
) -> PyResult<f64> {
    let mut graph = graph(&nodes, instruments, Vec::new())?;
    Ok(py.detach(|| helios_io::bench_graph(&mut graph, instruments, active, quotes)))
}

/// Time, instrument and values of the rows, and how many events the market-data rules refused.
type Told<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Vec<Floats>, u64);

/// A graph over market data: one row an event, or only those at which an output fired.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(crate) fn over_events<'py>(
    py: Python<'py>,
    nodes: Vec<NodeSpec>,
    symbols: Vec<String>,
    series: Vec<u32>,
    sources: Vec<SourceSpec<'py>>,
    outputs: Vec<u32>,
    every_event: bool,
    max_orders: u32,
) -> PyResult<Told<'py>> {
    let mut graph = graph(&nodes, symbols.len(), series)?;
    let outputs: Vec<NodeId> = outputs.into_iter().map(NodeId).collect();
    let raised = Raised::default();
    let mut merged = merge(py, sources, &symbols, &raised)?;
    let rows = if every_event { Rows::Events } else { Rows::Changes };
    let capacity = Capacity { orders: max_orders, levels: max_orders };
    let answer = py.detach(|| over_source(&mut graph, &mut merged, symbols.len(), &outputs, rows, capacity));
    let answer = answer.map_err(|error| python_error(&raised, error))?;
    let values = answer.values.into_iter().map(|values| Floats::new(Nullable::of(values))).collect();
    let ts: Vec<u8> = answer.ts.iter().flat_map(|ts| ts.to_le_bytes()).collect();
    let instrument: Vec<u8> = answer.instrument.iter().flat_map(|id| id.to_le_bytes()).collect();
    Ok((PyBytes::new(py, &ts), PyBytes::new(py, &instrument), values, answer.refused))
}
