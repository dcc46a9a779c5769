//! Tools beside the backtest: files, one book, the simulated market, replay, codecs, benches.

use std::path::PathBuf;

use helios_book::{Books, Capacity};
use helios_io as io;
use helios_types::{InstrumentId, Price, Quantity, Side};
use helios_venue::agents::{Config, Flow, Simulation};
use helios_wire::generic::{Direction, Family, Value, from_fields, to_fields};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::session::histograms;
use crate::spec::EngineSpec;
use crate::{raise, refuse};

/// Counts, faults and books of an ITCH file.
#[pyfunction]
pub(crate) fn itch_stats(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let stats = py.detach(|| io::stats(&path)).map_err(raise)?;
    let dict = PyDict::new(py);
    let counts = PyDict::new(py);
    for (kind, count) in &stats.counts {
        counts.set_item(kind.to_string(), count)?;
    }
    dict.set_item("counts", counts)?;
    dict.set_item("span", stats.span)?;
    dict.set_item("backwards", stats.backwards)?;
    dict.set_item("unknown_orders", stats.unknown_orders)?;
    dict.set_item("refused", stats.refused)?;
    dict.set_item("notes", stats.notes)?;
    dict.set_item("faults", stats.faults)?;
    dict.set_item("fault_count", stats.fault_count)?;
    dict.set_item("resting", stats.resting)?;
    dict.set_item("digest", format!("{:032x}", stats.digest))?;
    Ok(dict)
}

/// Price, quantity, orders: integers at their scales.
type Rows = Vec<(i64, i64, u32)>;

fn rows(levels: impl IntoIterator<Item = helios_book::Level>) -> Rows {
    levels.into_iter().map(|level| (level.price.0, level.quantity.0, level.orders)).collect()
}

/// (ts or None, bids, asks, faults): the book after every message stamped at or before `at` (ns since midnight).
#[pyfunction]
#[pyo3(signature = (path, symbol, at, levels))]
pub(crate) fn itch_book(
    py: Python<'_>,
    path: PathBuf,
    symbol: &str,
    at: Option<u64>,
    levels: usize,
) -> PyResult<(Option<u64>, Rows, Rows, Vec<String>)> {
    let book = py.detach(|| io::book_at(&path, symbol, at, levels)).map_err(raise)?;
    Ok((book.ts, rows(book.bids), rows(book.asks), book.faults))
}

/// Symbols that an ITCH file lists before its first order.
#[pyfunction]
pub(crate) fn itch_directory(py: Python<'_>, path: PathBuf) -> PyResult<Vec<String>> {
    py.detach(|| io::directory(&path)).map_err(raise)
}

/// The configuration that a journal begins with.
#[pyfunction]
pub(crate) fn journal_config(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyBytes>> {
    let config = py.detach(|| io::config_of(&path)).map_err(raise)?;
    Ok(PyBytes::new(py, &config))
}

/// Inputs, outputs, digest, difference, damage.
type ReplayResult = (u64, u64, String, Option<String>, Option<String>, &'static str);

/// Feeds a journal back to a fresh engine: (inputs, outputs, digest, difference or None, damage or None, how it ends:
/// "closed", "open", "torn" or "otherwise").
#[pyfunction]
pub(crate) fn replay(py: Python<'_>, path: PathBuf, engine: EngineSpec) -> PyResult<ReplayResult> {
    let mut state = engine.state().map_err(raise)?;
    let replayed = py.detach(|| io::replay(&path, &mut state)).map_err(raise)?;
    let digest = format!("{:032x}", replayed.digest);
    let ends = match replayed.ends {
        io::Ends::Closed => "closed",
        io::Ends::Open => "open",
        io::Ends::Torn => "torn",
        io::Ends::Otherwise => "otherwise",
    };
    Ok((replayed.inputs, replayed.outputs, digest, replayed.difference, replayed.damage, ends))
}

/// One price-time book of many instruments, for research and checks.
#[pyclass(module = "helios._core")]
pub(crate) struct Book(Books);

fn side_of(side: u8) -> PyResult<Side> {
    match side {
        0 => Ok(Side::Buy),
        1 => Ok(Side::Sell),
        _ => Err(refuse("book", format!("side is 0 (buy) or 1 (sell), not {side}"))),
    }
}

#[pymethods]
impl Book {
    /// Room for `instruments` instruments, numbered from zero.
    #[new]
    #[pyo3(signature = (instruments=1))]
    fn new(instruments: usize) -> Self {
        Self(Books::new(instruments, Capacity::default()))
    }

    /// Adds an order at the back of its level.
    fn add(&mut self, instrument: u32, order: u64, side: u8, price: i64, quantity: i64) -> PyResult<()> {
        let side = side_of(side)?;
        self.0
            .add(InstrumentId(instrument), order, side, Price(price), Quantity(quantity))
            .map(drop)
            .map_err(|error| refuse("book", format!("order {order}: {error}")))
    }

    /// Takes quantity from an order; at zero it is gone.
    fn reduce(&mut self, instrument: u32, order: u64, quantity: i64) -> PyResult<()> {
        self.0
            .reduce(InstrumentId(instrument), order, Quantity(quantity))
            .map(drop)
            .map_err(|error| refuse("book", format!("order {order}: {error}")))
    }

    /// Removes an order.
    fn remove(&mut self, instrument: u32, order: u64) -> PyResult<()> {
        self.0
            .remove(InstrumentId(instrument), order)
            .map(drop)
            .map_err(|error| refuse("book", format!("order {order}: {error}")))
    }

    /// Levels of one side, best first: (price, quantity, orders).
    fn depth(&self, instrument: u32, side: u8, levels: usize) -> PyResult<Rows> {
        Ok(rows(self.0.depth(InstrumentId(instrument), side_of(side)?).take(levels)))
    }

    /// Orders of one level, front first: (order, quantity).
    fn queue(&self, instrument: u32, side: u8, price: i64) -> PyResult<Vec<(u64, i64)>> {
        let queue = self.0.queue(InstrumentId(instrument), side_of(side)?, Price(price));
        Ok(queue.map(|resting| (resting.order, resting.quantity.0)).collect())
    }

    /// Forgets every order of an instrument.
    fn clear(&mut self, instrument: u32) {
        self.0.clear(InstrumentId(instrument));
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}

enum Maker {
    Agents(Box<Simulation>),
    Flow(Box<Flow>),
}

/// A market of agents as Python describes it: symbols, minutes, seed, symbols a group, messages a symbol and second,
/// half-life, deviation, volatility.
pub(crate) type AgentsSpec = (u32, u32, u64, u32, f64, f64, f64, f64);

/// Those settings.
pub(crate) fn settings(spec: AgentsSpec) -> Config {
    let (symbols, minutes, seed, group_size, rate, ou_half_life_s, deviation_bp, volatility) = spec;
    let messages_per_symbol_second = rate;
    Config { symbols, minutes, seed, group_size, messages_per_symbol_second, ou_half_life_s, deviation_bp, volatility }
}

/// A market before its first message.
pub(crate) fn simulation(spec: AgentsSpec) -> PyResult<Simulation> {
    Simulation::new(settings(spec)).map_err(|error| refuse("simulate", error.to_string()))
}

/// A simulated market that writes a genuine ITCH 5.0 day, piece by piece.
#[pyclass(module = "helios._core")]
pub(crate) struct Market(Maker);

#[pymethods]
impl Market {
    /// Agents that trade on our matching engine.
    #[staticmethod]
    fn agents(settings: AgentsSpec) -> PyResult<Self> {
        Ok(Self(Maker::Agents(Box::new(simulation(settings)?))))
    }

    /// Names, in the order of their locates.
    #[getter]
    fn symbols(&self) -> Vec<String> {
        match &self.0 {
            Maker::Agents(simulation) => simulation.symbols().map(str::to_owned).collect(),
            Maker::Flow(flow) => flow.symbols().map(str::to_owned).collect(),
        }
    }

    /// Statistical flow without agents, for benchmarks.
    #[staticmethod]
    fn flow(seed: u64, symbols: u32, messages: u64) -> PyResult<Self> {
        let flow = Flow::new(seed, symbols, messages).map_err(|error| refuse("simulate", error.to_string()))?;
        Ok(Self(Maker::Flow(Box::new(flow))))
    }

    /// The next piece of the file, None at the end. A piece is about a megabyte.
    fn next_chunk<'py>(&mut self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        const PIECE: usize = 1 << 20;
        let bytes = py.detach(|| {
            let mut bytes = Vec::with_capacity(PIECE * 2);
            while bytes.len() < PIECE {
                let more = match &mut self.0 {
                    Maker::Agents(simulation) => simulation.next_chunk(&mut bytes),
                    Maker::Flow(flow) => flow.next_chunk(&mut bytes),
                };
                if !more {
                    break;
                }
            }
            bytes
        });
        (!bytes.is_empty()).then(|| PyBytes::new(py, &bytes))
    }

    /// 0 to 1.
    #[getter]
    fn progress(&self) -> f64 {
        match &self.0 {
            Maker::Agents(simulation) => simulation.progress(),
            Maker::Flow(flow) => flow.progress(),
        }
    }
}

fn family(name: &str) -> PyResult<(Family, Direction)> {
    Ok(match name {
        "itch50" => (Family::Itch50, Direction::Outbound),
        "ouch42/inbound" => (Family::Ouch42, Direction::Inbound),
        "ouch42/outbound" => (Family::Ouch42, Direction::Outbound),
        "ouch50/inbound" => (Family::Ouch50, Direction::Inbound),
        "ouch50/outbound" => (Family::Ouch50, Direction::Outbound),
        "soupbintcp/client" => (Family::SoupBinTcp, Direction::Inbound),
        "soupbintcp/server" => (Family::SoupBinTcp, Direction::Outbound),
        "moldudp64/request" => (Family::MoldUdp64, Direction::Inbound),
        "moldudp64" => (Family::MoldUdp64, Direction::Outbound),
        _ => return Err(refuse("codec", format!("no protocol is named {name:?}"))),
    })
}

/// A message as a list of (name, value).
#[pyfunction]
pub(crate) fn decode<'py>(py: Python<'py>, protocol: &str, message: &[u8]) -> PyResult<Bound<'py, PyList>> {
    let (family, direction) = family(protocol)?;
    let fields = to_fields(family, direction, message).map_err(|error| refuse(protocol, error.to_string()))?;
    let list = PyList::empty(py);
    for (name, value) in fields {
        match value {
            Value::Int(x) => list.append((name, x))?,
            Value::Signed(x) => list.append((name, x))?,
            Value::Alpha(x) => list.append((name, x))?,
            Value::Bytes(x) => list.append((name, PyBytes::new(py, &x)))?,
        }
    }
    Ok(list)
}

/// A value from Python.
#[derive(FromPyObject)]
pub(crate) enum Given {
    Int(u64),
    Signed(i64),
    Alpha(String),
    Bytes(Vec<u8>),
}

/// The bytes of a message, from its type and its (name, value) list.
#[pyfunction]
pub(crate) fn encode<'py>(
    py: Python<'py>,
    protocol: &str,
    kind: &str,
    fields: Vec<(String, Given)>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (family, direction) = family(protocol)?;
    let fields: Vec<(String, Value)> = fields
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                Given::Int(x) => Value::Int(x),
                Given::Signed(x) => Value::Signed(x),
                Given::Alpha(x) => Value::Alpha(x),
                Given::Bytes(x) => Value::Bytes(x),
            };
            (name, value)
        })
        .collect();
    let kind = kind.bytes().next().unwrap_or(0);
    let bytes = from_fields(family, direction, kind, &fields).map_err(|error| refuse(protocol, error.to_string()))?;
    Ok(PyBytes::new(py, &bytes))
}

/// (messages, seconds) for decoding a file that lies in memory.
#[pyfunction]
pub(crate) fn bench_decode(py: Python<'_>, bytes: &[u8]) -> (u64, f64) {
    let (messages, seconds, _) = py.detach(|| io::bench_decode(bytes));
    (messages, seconds)
}

/// (messages, seconds, orders resting at the end, refused changes) for decoding and all books.
#[pyfunction]
pub(crate) fn bench_book(py: Python<'_>, bytes: &[u8]) -> (u64, f64, usize, u64) {
    let times = py.detach(|| io::bench_book(bytes));
    (times.messages, times.seconds, times.resting, times.refused)
}

/// FIX: nanoseconds to parse and check an execution report, to build an order, to receive a report through the session.
#[pyfunction]
pub(crate) fn bench_fix(py: Python<'_>) -> (f64, f64, f64) {
    let times = py.detach(io::bench_fix);
    (times.parse_check_ns, times.build_ns, times.receive_ns)
}

/// Recovery of a journal of so many inputs, made in an empty folder: seconds for the whole journal, from a snapshot at nine
/// tenths, to make the snapshot, to store it; bytes of the journal and of the snapshot.
#[pyfunction]
pub(crate) fn bench_recovery(
    py: Python<'_>,
    folder: PathBuf,
    engine: EngineSpec,
    inputs: u64,
) -> PyResult<(f64, f64, f64, f64, u64, u64)> {
    let times = py.detach(|| helios_live::bench_recovery(&folder, || engine.state(), inputs)).map_err(raise)?;
    Ok((times.whole, times.from_snapshot, times.snapshot, times.stored, times.bytes, times.snapshot_bytes))
}

/// Histograms of the time from message bytes to order bytes, message by message.
#[pyfunction]
pub(crate) fn bench_step<'py>(py: Python<'py>, bytes: &[u8], engine: EngineSpec) -> PyResult<Bound<'py, PyDict>> {
    let state = engine.state().map_err(raise)?;
    let symbols = engine.symbols();
    let latency = py.detach(|| io::bench_step(bytes, state, &symbols));
    histograms(py, &latency)
}
