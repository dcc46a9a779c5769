//! Ghost orders: our order in the place of a real one.

use helios_io::{Ghost, GhostFill, Jump, ghosts as run};
use pyo3::prelude::*;

use crate::session::{Raised, SourceSpec, merge, python_error};

/// (ts, price, quantity) of each fill.
type Fills = Vec<(u64, i64, i64)>;

/// (ts, executed order, price, quantity, the order that stood first, its price).
type Jumped = (u64, u64, i64, i64, u64, i64);

/// (order, its fills, ours, quantity ahead of it, of ours, reason of a reject, jumps in its life, the one before).
type Told = (u64, Fills, Fills, i64, Option<i64>, Option<String>, Vec<Jumped>, Option<Jumped>);

fn fills(fills: &[GhostFill]) -> Fills {
    fills.iter().map(|fill| (fill.ts.0, fill.price.0, fill.quantity.0)).collect()
}

fn jumped(jump: &Jump) -> Jumped {
    let Jump { ts, executed, price, quantity, first, first_price } = *jump;
    (ts.0, executed, price.0, quantity.0, first, first_price.0)
}

fn told(ghost: &Ghost) -> Told {
    (
        ghost.order,
        fills(&ghost.real),
        fills(&ghost.ours),
        ghost.ahead.0,
        ghost.ours_ahead.map(|ahead| ahead.0),
        ghost.rejected.map(|reason| format!("{reason:?}")),
        ghost.jumps.iter().map(jumped).collect(),
        ghost.jump_before.as_ref().map(jumped),
    )
}

/// Takes each of `orders` out of the flow and puts ours in its place. `named`: the venue is told of strangers' executions
/// by number; otherwise every execution is an aggressor without a name. Also all jumps of the flow, and how many
/// executions it has.
#[pyfunction]
pub(crate) fn ghosts(
    py: Python<'_>,
    symbols: Vec<String>,
    sources: Vec<SourceSpec<'_>>,
    orders: Vec<u64>,
    named: bool,
) -> PyResult<(Vec<Told>, Vec<Jumped>, u64)> {
    let raised = Raised::default();
    let mut merged = merge(py, sources, &symbols, &raised)?;
    let answer = py.detach(|| run(&mut merged, &symbols, &orders, named));
    let answer = answer.map_err(|error| python_error(&raised, error))?;
    let jumps = answer.jumps.iter().map(jumped).collect();
    Ok((answer.ghosts.iter().map(told).collect(), jumps, answer.executions))
}
