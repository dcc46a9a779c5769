//! One backtest, advanced in slices so that Python can draw a progress bar and hear Ctrl-C.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use helios_io::{
    AgentsSource, Backtest, ColumnBatch, Columns, ItchSource, JournalFile, Latency, Merge, NoCallbacks, Schema, Setup,
    Source, SourceError, Tables,
};
use helios_types::{Instrument, Nanos};
use pyo3::buffer::{Element, PyBuffer};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator};

use crate::compiled::{Compiled, CompiledSpec};
use crate::spec::{EngineSpec, VenuesSpec};
use crate::strategy::{Attached, Callee, Handler, METHODS, Memory, Port};
use crate::tools::{AgentsSpec, simulation};
use crate::{raise, refuse};

/// Where the market events come from, as Python names it.
#[derive(FromPyObject)]
pub(crate) enum SourceSpec<'py> {
    /// Path, midnight (UTC ns of the day's start in New York), and the venue at which its stocks are listed: of "KO@BATS"
    /// the file has "KO".
    Itch((PathBuf, u64, String)),
    /// Name, schema, rows, iterator of dictionaries of arrays.
    Columns((String, String, Option<u64>, Bound<'py, PyAny>)),
    /// A market of agents: its settings, and midnight as above.
    Agents((AgentsSpec, u64)),
}

/// The exception that a source's iterator raised, until control is back in Python: it is raised again there, with its
/// traceback. It cannot stay in the interpreter, where the strategies' next call would stumble over it.
pub(crate) type Raised = Arc<Mutex<Option<PyErr>>>;

/// A backtest under way. It stays on the thread that made it.
#[pyclass(unsendable, module = "helios._core")]
pub(crate) struct Session {
    run: Option<Backtest>,
    callees: Vec<Callee>,
    raised: Raised,
    trade_from: u64,
    instruments: Vec<Instrument>,
}

#[pymethods]
impl Session {
    /// Builds engine, venue, journal and sources; nothing runs yet. `strategies` are Python strategies, in order:
    /// strategy number and methods; the ports by which they wish are returned by `ports`.
    #[new]
    #[pyo3(signature = (engine, venue, *, journal=None, config=b"{}".to_vec(), sample_ns=1_000_000_000, marks_ns=0, measure=false))]
    fn new(
        engine: EngineSpec,
        venue: VenuesSpec,
        journal: Option<PathBuf>,
        config: Vec<u8>,
        sample_ns: u64,
        marks_ns: u64,
        measure: bool,
    ) -> PyResult<Self> {
        // Before the journal: a description that cannot be must leave no file behind.
        let state = engine.state().map_err(raise)?;
        let (simulated, feeds) = (venue.venues(&engine).map_err(raise)?, venue.feeds().map_err(raise)?);
        let journal = journal.map(|path| JournalFile::create(&path, &config)).transpose().map_err(raise)?;
        let setup = Setup {
            state,
            venue: simulated,
            source: Merge::new(Vec::new()).map_err(raise)?,
            feeds,
            fast: venue.is_fast().map_err(raise)?,
            journal,
            sample_ns,
            marks_ns,
            measure,
            symbols: engine.symbols(),
            cash: engine.cash(),
        };
        Ok(Self {
            run: Some(Backtest::new(setup)),
            callees: Vec::new(),
            raised: Raised::default(),
            trade_from: engine.trade_from(),
            instruments: engine.instruments(),
        })
    }

    /// Gives the run its sources; they are merged by time, and the first events are read. Nothing stamped after `stop`
    /// (ns since 1970 UTC) is handled.
    #[pyo3(signature = (sources, stop=None))]
    fn sources(&mut self, py: Python<'_>, sources: Vec<SourceSpec<'_>>, stop: Option<u64>) -> PyResult<()> {
        let run = self.run.as_mut().ok_or_else(|| refuse("run", "it is finished"))?;
        let mut others = Vec::new();
        for source in sources {
            match source {
                SourceSpec::Agents((settings, midnight)) => {
                    let simulation = simulation(settings)?;
                    run.set_agents(simulation, Nanos(midnight), &self.instruments).map_err(raise)?;
                }
                other => others.push(other),
            }
        }
        let merged = merge(py, others, run.symbols(), &self.raised)?;
        run.set_source(merged.until(Nanos(stop.unwrap_or(u64::MAX))));
        Ok(())
    }

    /// Adds a Python strategy with its accounts (number and name, its own first); returns its port. `methods` are its bound methods, None where it
    /// does not override; `signals` its signals' names by number, None for those of others. Of `memory` only a live run
    /// makes use.
    #[pyo3(signature = (accounts, methods, signals, timer_ns, memory=None))]
    fn strategy(
        &mut self,
        py: Python<'_>,
        accounts: Vec<(u32, String)>,
        methods: [Option<Py<PyAny>>; METHODS],
        signals: Vec<Option<String>>,
        timer_ns: u64,
        memory: Memory,
    ) -> PyResult<Py<Port>> {
        drop(memory);
        let run = self.run.as_ref().ok_or_else(|| refuse("run", "it is finished"))?;
        let (handler, port) = Handler::new(
            py,
            &accounts,
            run.symbols(),
            run.state().risk(),
            methods,
            signals,
            timer_ns,
            self.trade_from,
            None,
        )?;
        self.callees.push(Callee::Python(Box::new(handler)));
        Ok(port)
    }

    /// Adds a strategy's compiled functions.
    ///
    /// The addresses must be those of functions that `helios.signals.compiling` made: they are called as they are.
    fn compiled(&mut self, spec: CompiledSpec) -> PyResult<()> {
        let run = self.run.as_ref().ok_or_else(|| refuse("run", "it is finished"))?;
        let compiled = Compiled::new(spec, run.symbols().len(), run.state().risk(), self.trade_from)?;
        self.callees.push(Callee::Compiled(Box::new(compiled)));
        Ok(())
    }

    /// The numbers that a strategy's compiled functions keep, as they are now.
    fn memory(&self, number: u32) -> Option<Vec<f64>> {
        self.callees.iter().find_map(|callee| match callee {
            Callee::Compiled(compiled) if compiled.strategy() == number => Some(compiled.memory().to_vec()),
            _ => None,
        })
    }

    /// Handles up to `count` market events; returns (events, inputs, outputs, now, fraction, done).
    fn advance(&mut self, py: Python<'_>, count: u64) -> PyResult<(u64, u64, u64, u64, f64, bool)> {
        let run = self.run.as_mut().ok_or_else(|| refuse("run", "it is finished"))?;
        let advanced = if self.callees.is_empty() {
            py.detach(|| run.advance(count, &mut NoCallbacks)).map_err(|error| python_error(&self.raised, error))
        } else {
            let mut attached = Attached { py, callees: &mut self.callees, raised: None };
            run.advance(count, &mut attached)
                .map_err(|error| attached.raised.unwrap_or_else(|| python_error(&self.raised, error)))
        };
        // The journal is written out now: the error's traceback may keep this session for long.
        let progress = advanced.inspect_err(|_| self.run = None)?;
        Ok((progress.events, progress.inputs, progress.outputs, progress.now.0, progress.fraction, progress.done))
    }

    /// All tables: {table: {column: (type, bytes)}}.
    fn tables<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let run = self.run.as_mut().ok_or_else(|| refuse("run", "it is finished"))?;
        let tables = py.detach(|| run.take_tables());
        into_python(py, &tables)
    }

    /// Counts of what each pillar did.
    fn pillars<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let run = self.run.as_ref().ok_or_else(|| refuse("run", "it is finished"))?;
        let (state, counts) = (run.state(), run.state().orders().counts());
        let pillars = PyDict::new(py);
        let add = |pillar: &str, rows: &[(&str, u64)]| -> PyResult<()> {
            let dict = PyDict::new(py);
            for (name, value) in rows {
                dict.set_item(name, value)?;
            }
            pillars.set_item(pillar, dict)
        };
        let events = run.progress().events;
        let books = state.markets().books();
        add(
            "data",
            &[
                ("market events", events),
                ("resting at the end", books.len() as u64),
                ("levels at the end", books.levels() as u64),
                ("faults", state.markets().faults().iter().sum()),
            ],
        )?;
        add(
            "signals",
            &[
                ("graph nodes", state.graph().len() as u64),
                ("evaluations", state.graph().evaluations()),
                ("samples dropped", state.graph().truncated()),
            ],
        )?;
        add("risk", &[("limits proven", state.proven().len() as u64), ("wishes refused", counts.refused)])?;
        add(
            "execution",
            &[
                ("orders sent", counts.sent),
                ("executions", counts.fills),
                ("crossed inside", counts.transfers),
                ("rejected by venue", counts.rejected),
                ("still open", state.orders().open_orders() as u64),
            ],
        )?;
        Ok(pillars)
    }

    /// Time from message to order bytes: {"orders": {...}, "events": {...}}, or None when it was not measured.
    fn latency<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let run = self.run.as_ref().ok_or_else(|| refuse("run", "it is finished"))?;
        run.latency().map(|latency| histograms(py, latency)).transpose()
    }

    /// Faults of the sources that did not stop the run, one line each.
    fn faults(&self) -> PyResult<Vec<String>> {
        Ok(self.run.as_ref().ok_or_else(|| refuse("run", "it is finished"))?.faults())
    }

    /// Closes the journal and lets everything go; returns the digest of the final state.
    fn finish(&mut self, py: Python<'_>) -> PyResult<String> {
        let mut run = self.run.take().ok_or_else(|| refuse("run", "it is finished"))?;
        self.callees.clear();
        let digest = py.detach(move || run.finish()).map_err(raise)?;
        Ok(format!("{digest:032x}"))
    }
}

/// Opens the sources and merges them by time.
pub(crate) fn merge(
    py: Python<'_>,
    sources: Vec<SourceSpec<'_>>,
    symbols: &[String],
    raised: &Raised,
) -> PyResult<Merge> {
    let boxed = sources
        .into_iter()
        .map(|source| -> PyResult<Box<dyn Source>> {
            Ok(match source {
                SourceSpec::Itch((path, midnight, venue)) => {
                    let stocks: Vec<String> = symbols.iter().map(|symbol| stock(symbol, &venue)).collect();
                    Box::new(ItchSource::open(&path, Nanos(midnight), &stocks).map_err(raise)?)
                }
                SourceSpec::Agents((settings, midnight)) => {
                    Box::new(AgentsSource::new(simulation(settings)?, Nanos(midnight), symbols))
                }
                SourceSpec::Columns((name, schema, rows, batches)) => {
                    Box::new(columns(name, &schema, rows, batches.try_iter()?.unbind(), Arc::clone(raised))?)
                }
            })
        })
        .collect::<PyResult<Vec<_>>>()?;
    // Sources made of Python batches attach by themselves.
    py.detach(|| Merge::new(boxed)).map_err(|error| python_error(raised, error))
}

/// A run's symbol as the file of a venue names it; empty for what is listed elsewhere, which no file names.
fn stock(symbol: &str, venue: &str) -> String {
    if venue.is_empty() {
        return symbol.to_owned();
    }
    let own = symbol.strip_suffix(venue).and_then(|own| own.strip_suffix('@'));
    own.unwrap_or_default().to_owned()
}

/// An error that a Python iterator raised comes back as itself.
pub(crate) fn python_error(raised: &Raised, error: SourceError) -> PyErr {
    raised.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(|| raise(error))
}

pub(crate) fn histograms<'py>(py: Python<'py>, latency: &Latency) -> PyResult<Bound<'py, PyDict>> {
    let both = PyDict::new(py);
    for (name, histogram) in [("orders", &latency.orders), ("events", &latency.events)] {
        let dict = PyDict::new(py);
        dict.set_item("count", histogram.len())?;
        for (label, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            dict.set_item(label, histogram.value_at_quantile(quantile))?;
        }
        dict.set_item("max", histogram.max())?;
        // Buckets that double: ten of them show the shape.
        let (mut starts, mut counts) = (Vec::new(), Vec::new());
        for value in histogram.iter_log(32, 2.0) {
            starts.push(value.value_iterated_to() / 2 + 1);
            counts.push(value.count_since_last_iteration());
        }
        dict.set_item("bucket_ns", starts)?;
        dict.set_item("counts", counts)?;
        both.set_item(name, dict)?;
    }
    Ok(both)
}

pub(crate) fn into_python<'py>(py: Python<'py>, tables: &Tables) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    macro_rules! add {
        ($($table:ident),+) => {
            $({
                let dict = PyDict::new(py);
                let mut failed = None;
                tables.$table.columns(|name, kind, bytes| {
                    if let Err(error) = dict.set_item(name, (kind, PyBytes::new(py, bytes))) {
                        failed = Some(error);
                    }
                });
                if let Some(error) = failed {
                    return Err(error);
                }
                all.set_item(stringify!($table), dict)?;
            })+
        };
    }
    add!(orders, fills, refusals, signals, equity, positions, strategies, quality, marks, cashflows, breaches);
    Ok(all)
}

/// A source whose batches a Python iterator makes.
fn columns(
    name: String,
    schema: &str,
    rows: Option<u64>,
    batches: Py<PyIterator>,
    raised: Raised,
) -> PyResult<Columns> {
    let schema = Schema::named(schema).ok_or_else(|| refuse(&name, format!("no schema is named {schema:?}")))?;
    let label = name.clone();
    let feeder = move |into: &mut ColumnBatch| {
        Python::attach(|py| {
            let fail = |error: PyErr| {
                let message = error.to_string();
                *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                SourceError { source: label.clone(), message }
            };
            match batches.bind(py).clone().next() {
                None => Ok(false),
                Some(Err(error)) => Err(fail(error)),
                Some(Ok(batch)) => fill(py, &batch, schema, into).map(|()| true).map_err(fail),
            }
        })
    };
    Ok(Columns::new(name, schema, rows, Box::new(feeder)))
}

/// Copies a batch's arrays into memory that is used again for every batch.
fn fill(py: Python<'_>, batch: &Bound<'_, PyAny>, schema: Schema, into: &mut ColumnBatch) -> PyResult<()> {
    copy(py, batch, "ts", &mut into.ts)?;
    copy(py, batch, "instrument", &mut into.instrument)?;
    into.received.clear();
    if batch.contains("ts_recv")? {
        copy(py, batch, "ts_recv", &mut into.received)?;
    }
    into.values.resize_with(schema.columns().len(), Vec::new);
    for (name, column) in schema.columns().iter().zip(&mut into.values) {
        copy(py, batch, name, column)?;
    }
    Ok(())
}

fn copy<T: Element + Default>(py: Python<'_>, batch: &Bound<'_, PyAny>, name: &str, into: &mut Vec<T>) -> PyResult<()> {
    let buffer = PyBuffer::<T>::get(&batch.get_item(name)?)?;
    into.resize(buffer.item_count(), T::default());
    buffer.copy_to_slice(py, into)
}
