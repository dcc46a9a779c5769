//! The module `helios._core`, and the only place that knows Python.
//!
//! Python sends inputs and reads views; it mutates nothing. Numbers cross as integers at their scales.

mod arrow;
mod compiled;
mod exchange;
mod fix;
mod ghosts;
mod itch_rows;
mod live;
mod live_spec;
mod matching;
mod over;
mod session;
mod spec;
mod strategy;
mod tools;

use helios_io::SourceError;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(_core, CoreError, PyException, "The core refused: (source, message).");

/// An error as Python sees it: the source and the message apart.
pub(crate) fn raise(error: SourceError) -> PyErr {
    CoreError::new_err((error.source, error.message))
}

pub(crate) fn refuse(source: &str, message: impl Into<String>) -> PyErr {
    CoreError::new_err((source.to_owned(), message.into()))
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("CoreError", module.py().get_type::<CoreError>())?;
    module.add_class::<session::Session>()?;
    module.add_class::<live::Live>()?;
    module.add_class::<live::Follower>()?;
    module.add_class::<strategy::Port>()?;
    module.add_class::<strategy::BookView>()?;
    module.add_class::<strategy::TradeView>()?;
    module.add_class::<strategy::BarView>()?;
    module.add_class::<strategy::FillView>()?;
    module.add_class::<strategy::SignalView>()?;
    module.add_class::<strategy::RefusalView>()?;
    module.add_class::<strategy::OrderView>()?;
    module.add_class::<strategy::FeedView>()?;
    module.add_class::<arrow::Floats>()?;
    module.add_class::<fix::FixEngine>()?;
    module.add_class::<exchange::Exchange>()?;
    module.add_class::<itch_rows::ItchRows>()?;
    module.add_class::<matching::MatchingEngine>()?;
    module.add_class::<tools::Book>()?;
    module.add_class::<tools::Market>()?;
    for function in [
        wrap_pyfunction!(compiled::compiled_layout, module)?,
        wrap_pyfunction!(fix::fix_files, module)?,
        wrap_pyfunction!(fix::fix_records, module)?,
        wrap_pyfunction!(ghosts::ghosts, module)?,
        wrap_pyfunction!(live::live_journal_config, module)?,
        wrap_pyfunction!(live::bench_wire_floor, module)?,
        wrap_pyfunction!(live::bench_wire_probe, module)?,
        wrap_pyfunction!(matching::bench_matching, module)?,
        wrap_pyfunction!(over::bench_graph, module)?,
        wrap_pyfunction!(over::over_columns, module)?,
        wrap_pyfunction!(over::over_events, module)?,
        wrap_pyfunction!(tools::itch_stats, module)?,
        wrap_pyfunction!(tools::itch_book, module)?,
        wrap_pyfunction!(tools::itch_directory, module)?,
        wrap_pyfunction!(tools::journal_config, module)?,
        wrap_pyfunction!(tools::replay, module)?,
        wrap_pyfunction!(tools::decode, module)?,
        wrap_pyfunction!(tools::encode, module)?,
        wrap_pyfunction!(tools::bench_decode, module)?,
        wrap_pyfunction!(tools::bench_book, module)?,
        wrap_pyfunction!(tools::bench_fix, module)?,
        wrap_pyfunction!(tools::bench_recovery, module)?,
        wrap_pyfunction!(tools::bench_step, module)?,
    ] {
        module.add_function(function)?;
    }
    Ok(())
}
