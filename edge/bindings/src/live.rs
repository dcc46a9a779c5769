//! A live run: threads in Rust, which Python starts, watches and stops. No strategy of expressions or machine code ever
//! waits for the interpreter; one with methods in Python holds its lock while a method is called.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use helios_engine::State;
use helios_execution::OpenOrder;
use helios_io::{Callbacks, SourceError};
use helios_live::{
    Audit, Beside, CopySetup, Durability, Ended, Entry, EntrySetup, Handle, INFO, JOURNAL_FILE, Journal, Recall,
    Recalled, Recorded, Setup, Shared, Venue, WARNING, Witness, began, has_begun, recover,
};
use helios_risk::Mode;
use helios_types::{
    Control, Event, Input, Intent, NANOS_PER_SECOND, Nanos, OrderState, Output, Rule, Side, StrategyId,
};
use helios_venue::Venues;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::compiled::{Compiled, CompiledSpec};
use crate::live_spec::{
    Address, LiveSpec, Names, audit, entries, feed, journal_settings, names, options, resolve, wrong,
};
use crate::session::into_python;
use crate::spec::{EngineSpec, VenuesSpec};
use crate::strategy::{Attached, Callee, Handler, METHODS, Memory, Port, load_all, save_all, state_name};
use crate::{raise, refuse};

/// How long an operator waits for the engine.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was made of an earlier journal.
#[derive(Clone, Default)]
struct Recovered {
    inputs: u64,
    outputs: u64,
    seconds: f64,
    unknown: u64,
    torn_bytes: u64,
    /// Inputs that a snapshot saved.
    snapshot: u64,
    /// What the strategies may not remember as it was.
    doubts: Vec<String>,
}

/// The lease of a run: its own object, so that it can be moved on while the run starts, stops or is looked at.
#[pyclass(frozen, module = "helios._core")]
pub(crate) struct Fence {
    until: AtomicU64,
    shared: OnceLock<Arc<Shared>>,
}

#[pymethods]
impl Fence {
    /// Nothing is sent at or after this moment of CLOCK_MONOTONIC (ns); it can be moved on.
    fn __call__(&self, until: u64) {
        self.until.store(until, Release);
        if let Some(shared) = self.shared.get() {
            shared.set_may_send_until(until);
        }
    }
}

impl Fence {
    /// Before the run's threads begin. What is said at the same time may be overwritten by what was said just before,
    /// which is earlier: the next heartbeat mends it.
    fn guard(&self, shared: Arc<Shared>) {
        let shared = self.shared.get_or_init(|| shared);
        shared.set_may_send_until(self.until.load(Acquire));
    }
}

/// Who goes on with a run whose journal is followed: told what the engine says as it is followed.
struct Crew {
    spec: LiveSpec,
    path: PathBuf,
    names: Names,
    /// Made when the journal's first input is there, which says on which day it began.
    made: Option<Made>,
    recall: Recall<Called>,
}

/// The stations that speak with venues.
#[derive(Default)]
struct Made {
    entries: Vec<Entry>,
    audits: Vec<Audit>,
}

impl Made {
    fn new(spec: &LiveSpec, names: &Names, started: Nanos) -> Result<Self, SourceError> {
        let entries = entries(spec, names.symbols.len(), started)?;
        let copies = spec.drop_copies.iter().filter(|_| spec.mode == "live");
        let audits = copies.map(|copy| audit(copy, names, started)).collect::<Result<_, _>>()?;
        Ok(Self { entries, audits })
    }
}

impl Made {
    fn recorded(&mut self, recorded: &Recorded<'_>) {
        self.entries.iter_mut().for_each(|entry| entry.recover(recorded));
        self.audits.iter_mut().for_each(|audit| audit.recover(recorded));
    }
}

impl Crew {
    fn ready(&mut self) -> Result<bool, SourceError> {
        if self.made.is_none()
            && let Some(began) = began(&self.path)?
        {
            self.made = Some(Made::new(&self.spec, &self.names, began)?);
        }
        Ok(self.made.is_some())
    }
}

impl Witness for Crew {
    fn resume(&mut self, stations: &[Vec<u8>], _: &State) -> Result<bool, SourceError> {
        self.recall.resume(stations)
    }

    fn recorded(&mut self, recorded: &Recorded<'_>) {
        self.made.iter_mut().for_each(|made| made.recorded(recorded));
    }

    fn stepped(&mut self, input: &Input, outputs: &[Output], state: &State) {
        self.recall.hear(input, outputs, state);
    }
}

/// A follower, and those who will go on with its run.
struct Warm {
    follower: helios_live::Follower,
    crew: Crew,
}

/// The journal of a run that another process may be writing, followed by an engine and strategies of our own.
#[pyclass(module = "helios._core")]
pub(crate) struct Follower {
    engine: EngineSpec,
    journal: PathBuf,
    symbols: Vec<String>,
    state: State,
    /// Until it is opened.
    spec: Option<LiveSpec>,
    callees: Vec<Callee>,
    warm: Option<Warm>,
    #[pyo3(get)]
    inputs: u64,
}

#[pymethods]
impl Follower {
    /// Checks the description; the journal is read by `follow`.
    #[new]
    fn new(engine: EngineSpec, spec: LiveSpec, journal: PathBuf) -> PyResult<Self> {
        let (state, symbols) = (engine.state().map_err(raise)?, engine.symbols());
        Ok(Self { engine, journal, symbols, state, spec: Some(spec), callees: Vec::new(), warm: None, inputs: 0 })
    }

    /// As `Live.strategy`, before anything is followed.
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
        let (risk, from) = (self.state.risk(), self.engine.trade_from());
        let (handler, port) =
            Handler::new(py, &accounts, &self.symbols, risk, methods, signals, timer_ns, from, memory)?;
        self.callees.push(Callee::Python(Box::new(handler)));
        Ok(port)
    }

    /// As `Live.compiled`, before anything is followed.
    fn compiled(&mut self, spec: CompiledSpec) -> PyResult<()> {
        let compiled = Compiled::new(spec, self.symbols.len(), self.state.risk(), self.engine.trade_from())?;
        self.callees.push(Callee::Compiled(Box::new(compiled)));
        Ok(())
    }

    /// Takes in what is new, in bounded pieces; says how many inputs there were. The first call begins with what is
    /// there, from the newest snapshot if there is one.
    fn follow(&mut self, py: Python<'_>, most: u64) -> PyResult<u64> {
        if let Some(spec) = self.spec.take() {
            let (names, path, engine) = (names(&self.engine), self.journal.clone(), &self.engine);
            let recall = Recall::new(Called::new(std::mem::take(&mut self.callees)));
            let mut crew = Crew { path: path.clone(), names, spec, made: None, recall };
            let open = move || {
                crew.ready()?;
                let follower = helios_live::Follower::open(&path, || engine.state(), &mut crew)?;
                Ok(Warm { follower, crew })
            };
            self.warm = Some(py.detach(open).map_err(raise)?);
        }
        let Some(Warm { follower, crew }) = &mut self.warm else {
            return Err(refuse("standby", "a run has taken its place"));
        };
        let taken = py.detach(|| if crew.ready()? { follower.follow(most, crew) } else { Ok(0) });
        self.inputs = follower.state().next_seq();
        taken.map_err(raise)
    }
}

impl Warm {
    /// Nobody writes the journal any more: the run as it was.
    fn finish(self) -> Result<(helios_live::Recovered, Crew), SourceError> {
        let Self { follower, mut crew } = self;
        if !crew.ready()? {
            return Err(wrong(&crew.path.display().to_string(), "there is nothing in it to go on with"));
        }
        let found = follower.finish(&mut crew, false)?;
        Ok((found, crew))
    }
}

/// A live run.
#[pyclass(module = "helios._core")]
pub(crate) struct Live {
    engine: EngineSpec,
    venue: VenuesSpec,
    spec: LiveSpec,
    config: Vec<u8>,
    symbols: Vec<String>,
    fence: Py<Fence>,
    /// What it goes on with, until it starts.
    warm: Option<Warm>,
    /// Until it starts.
    state: Option<State>,
    callees: Vec<Callee>,
    handle: Option<Handle>,
    recovered: Option<Recovered>,
    ended: Option<Ended>,
    asked_to_stop: bool,
}

#[pymethods]
impl Live {
    /// Checks the description; nothing runs yet, no file is made.
    #[new]
    #[pyo3(signature = (engine, venue, spec, *, config=b"{}".to_vec(), follower=None))]
    fn new(
        py: Python<'_>,
        engine: EngineSpec,
        venue: VenuesSpec,
        spec: LiveSpec,
        config: Vec<u8>,
        follower: Option<PyRefMut<'_, Follower>>,
    ) -> PyResult<Self> {
        let warm = match follower {
            Some(mut follower) => Some(follower.warm.take().ok_or_else(started)?),
            None => None,
        };
        let fence = Py::new(py, Fence { until: AtomicU64::new(u64::MAX), shared: OnceLock::new() })?;
        let state = engine.state().map_err(raise)?;
        let symbols = engine.symbols();
        Ok(Self {
            engine,
            venue,
            spec,
            config,
            symbols,
            fence,
            warm,
            state: Some(state),
            callees: Vec::new(),
            handle: None,
            recovered: None,
            ended: None,
            asked_to_stop: false,
        })
    }

    /// As `Session.strategy`, before the start; one that goes on from a follower has that one's. `memory` gives all that
    /// the strategy remembers as bytes, and takes it back: with it a snapshot of the state can be used.
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
        let state = self.state.as_ref().ok_or_else(started)?;
        let from = self.engine.trade_from();
        let (handler, port) =
            Handler::new(py, &accounts, &self.symbols, state.risk(), methods, signals, timer_ns, from, memory)?;
        self.callees.push(Callee::Python(Box::new(handler)));
        Ok(port)
    }

    /// As `Session.compiled`, before the start.
    fn compiled(&mut self, spec: CompiledSpec) -> PyResult<()> {
        let state = self.state.as_ref().ok_or_else(started)?;
        let compiled = Compiled::new(spec, self.symbols.len(), state.risk(), self.engine.trade_from())?;
        self.callees.push(Callee::Compiled(Box::new(compiled)));
        Ok(())
    }

    /// Recovers what an earlier journal holds, then connects. Returns when everything runs.
    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        let state = self.state.take().ok_or_else(started)?;
        let callees = std::mem::take(&mut self.callees);
        let venues = match self.spec.mode.as_str() {
            "paper" => Some(Box::new(self.venue.venues(&self.engine).map_err(raise)?)),
            "live" => None,
            mode => return Err(refuse("run", format!("a run is paper or live, not {mode:?}"))),
        };
        let (engine, spec, config, session_of) = (&self.engine, &self.spec, &self.config, self.engine.sessions());
        let (names, cash) = (names(&self.engine), self.engine.cash());
        let (warm, fence) = (self.warm.take(), self.fence.get());
        let fresh = || engine.state();
        let begin = || start(spec, config, state, fresh, warm, fence, callees, venues, session_of, &names, cash);
        let started = py.detach(begin);
        let (handle, recovered) = started.map_err(raise)?;
        (self.handle, self.recovered) = (Some(handle), recovered);
        Ok(())
    }

    /// How the run stands; see `helios.live.driver.Status`.
    fn status<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.look_for_end(py);
        let dict = PyDict::new(py);
        let status = self.handle.as_ref().map(|handle| handle.shared().status()).unwrap_or_default();
        let state = match (&self.handle, &self.ended) {
            (None, _) => "new",
            (_, Some(_)) => "stopped",
            _ if status.stopping || self.asked_to_stop => "stopping",
            _ => "running",
        };
        dict.set_item("state", state)?;
        dict.set_item("reason", self.reason())?;
        dict.set_item("trading", trading(status.mode, status.flat))?;
        dict.set_item("ts", status.now.0)?;
        let counts = status.counts;
        for (name, count) in [
            ("inputs", status.inputs),
            ("outputs", status.outputs),
            ("open_orders", status.working),
            ("unknown_orders", status.unknown),
            ("sent", counts.sent),
            ("fills", counts.fills),
            ("refused", counts.refused),
            ("packets", status.packets),
            ("dropped", status.dropped),
            ("conflated", status.conflated),
            ("waited", status.waited),
            ("queued", status.queued),
            ("journal_bytes", status.journal),
            ("journal_waits", status.stalls),
            ("held", status.held),
            ("fenced", status.fenced),
            ("syncs", status.syncs.0),
            ("synced_bytes", status.syncs.1),
            ("odd_events", status.refused),
            ("rows_left_out", status.untold),
            ("notes_left_out", status.unnoted),
        ] {
            dict.set_item(name, count)?;
        }
        let profit = helios_types::Cash(status.equity.saturating_sub(self.engine.cash())).to_f64();
        dict.set_item("net", status.mode.map(|_| profit))?;
        dict.set_item("may_send", status.may_send)?;
        dict.set_item("links", self.links(py, &status.links)?)?;
        dict.set_item("feeds", self.feeds(py, &status)?)?;
        dict.set_item("drop_copies", self.drop_copies(py, &status)?)?;
        dict.set_item("differences", self.differences(py, &status)?)?;
        dict.set_item("recovered", self.recovered.as_ref().map(|one| one.dict(py)).transpose()?)?;
        Ok(dict)
    }

    /// What was noted since the last call.
    fn notes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for note in self.handle.iter().flat_map(|handle| handle.shared().take_notes()) {
            let dict = PyDict::new(py);
            dict.set_item("ts", note.ts.0)?;
            dict.set_item("level", note.level)?;
            dict.set_item("station", note.station)?;
            dict.set_item("text", note.text)?;
            list.append(dict)?;
        }
        Ok(list)
    }

    /// Every order that may still be working.
    fn orders<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let handle = self.running()?;
        let look = || handle.look(PATIENCE, |engine| (engine.state().now(), engine.state().orders().open()));
        let (now, open) = py.detach(look).map_err(raise)?;
        let list = PyList::empty(py);
        for OpenOrder { order, state, filled, asked_at } in open {
            let dict = PyDict::new(py);
            dict.set_item("order", order.id.0)?;
            dict.set_item("instrument", &self.symbols[order.instrument.index()])?;
            dict.set_item("side", if order.side == Side::Buy { "buy" } else { "sell" })?;
            dict.set_item("quantity", order.quantity.to_f64())?;
            dict.set_item("filled", filled.to_f64())?;
            dict.set_item("price", order.price.is_defined().then(|| order.price.to_f64()))?;
            dict.set_item("state", state_name(state))?;
            dict.set_item("age_seconds", now.0.saturating_sub(asked_at.0) as f64 / NANOS_PER_SECOND as f64)?;
            list.append(dict)?;
        }
        Ok(list)
    }

    /// Every instrument that is held, or was.
    fn positions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let handle = self.running()?;
        let tables = py.detach(|| handle.tables()).map_err(raise)?;
        let (p, list) = (&tables.positions, PyList::empty(py));
        for row in 0..p.instrument.len() {
            let dict = PyDict::new(py);
            let cash = |units: i64| helios_types::Cash(units).to_f64();
            let (quantity, mark) = (helios_types::Quantity(p.quantity[row]), helios_types::Price(p.mark[row]));
            let value = if mark.is_defined() { mark.to_f64() * quantity.to_f64() } else { f64::NAN };
            dict.set_item("instrument", &self.symbols[p.instrument[row] as usize])?;
            dict.set_item("quantity", quantity.to_f64())?;
            dict.set_item("value", value)?;
            dict.set_item("realised", cash(p.realised[row]))?;
            dict.set_item("unrealised", cash(p.unrealised[row]))?;
            list.append(dict)?;
        }
        Ok(list)
    }

    /// An operator's command, as an input of the journal: {"input": its number, "refused": why, or nothing}.
    #[pyo3(signature = (name, rule="", value=0))]
    fn command<'py>(&self, py: Python<'py>, name: &str, rule: &str, value: i64) -> PyResult<Bound<'py, PyDict>> {
        let control = match name {
            "pause" => Control::Pause,
            "resume" => Control::Resume,
            "flatten" => Control::Flatten,
            "kill" => Control::Kill,
            "limit" => Control::SetLimit { rule: rule_of(rule)?, limit: value },
            _ => return Err(refuse("run", format!("there is no command {name:?}"))),
        };
        let handle = self.running()?;
        let command = || {
            let answer = handle.command(Event::Control(control), PATIENCE)?;
            let mode = handle.look(PATIENCE, |engine| engine.state().risk().mode())?;
            Ok::<_, SourceError>((answer, mode))
        };
        let (answer, mode) = py.detach(command).map_err(raise)?;
        let dict = PyDict::new(py);
        dict.set_item("input", answer.seq)?;
        dict.set_item("refused", self.refused(control, &answer.outputs, mode))?;
        Ok(dict)
    }

    /// Its lease; there is none until it is called.
    #[getter]
    fn may_send_until(&self, py: Python<'_>) -> Py<Fence> {
        self.fence.clone_ref(py)
    }

    /// Asks for the end: orderly, or at once.
    fn stop(&mut self, now: bool) -> PyResult<()> {
        let handle = self.handle.as_ref().ok_or_else(|| refuse("run", "it was not started"))?;
        self.asked_to_stop |= !handle.shared().status().stopping;
        handle.shared().stop("", now);
        Ok(())
    }

    /// All tables so far, as `Session.tables`.
    fn tables<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let handle = self.running()?;
        let tables = py.detach(|| handle.tables()).map_err(raise)?;
        into_python(py, &tables)
    }

    /// Where the lines of market data listen: (host, port).
    fn lines(&self) -> PyResult<Vec<(String, u16)>> {
        Ok(self.running()?.lines().iter().map(|line| (line.ip().to_string(), line.port())).collect())
    }

    /// Waits for the end: (reason, whether something failed, digest of the final state or None).
    fn join(&mut self, py: Python<'_>) -> PyResult<(String, bool, Option<String>)> {
        let handle = self.handle.as_mut().ok_or_else(|| refuse("run", "it was not started"))?;
        let ended = py.detach(|| handle.join());
        let told = (ended.reason.clone(), ended.failed, ended.digest.map(|digest| format!("{digest:032x}")));
        self.ended = Some(ended);
        Ok(told)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            // Its thread may want the interpreter while it ends.
            Python::attach(|py| py.detach(|| drop(handle)));
        }
    }
}

impl Live {
    fn running(&self) -> PyResult<&Handle> {
        self.handle.as_ref().ok_or_else(|| refuse("run", "it was not started"))
    }

    fn look_for_end(&mut self, py: Python<'_>) {
        if let Some(handle) = self.handle.as_mut().filter(|handle| handle.is_over() && self.ended.is_none()) {
            self.ended = Some(py.detach(|| handle.join()));
        }
    }

    /// Empty for an end that was asked for and went well.
    fn reason(&self) -> String {
        match &self.ended {
            Some(ended) if ended.failed || !ended.reason.is_empty() => ended.reason.clone(),
            _ => String::new(),
        }
    }

    fn links<'py>(&self, py: Python<'py>, links: &[(bool, bool)]) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for (at, session) in self.spec.sessions.iter().enumerate().filter(|_| self.spec.mode == "live") {
            let dict = PyDict::new(py);
            dict.set_item("name", &session.name)?;
            let state = match links.get(at) {
                Some((_, true)) => "settled",
                Some((true, false)) => "up",
                _ => "down",
            };
            dict.set_item("state", state)?;
            list.append(dict)?;
        }
        Ok(list)
    }

    fn feeds<'py>(&self, py: Python<'py>, status: &helios_live::Status) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for (at, feed) in self.spec.feeds.iter().enumerate() {
            let dict = PyDict::new(py);
            let told = status.feeds.get(at).copied().unwrap_or_default();
            dict.set_item("name", &feed.name)?;
            dict.set_item("messages", told.messages)?;
            dict.set_item("incomplete", if told.incomplete { feed.instruments.len() } else { 0 })?;
            dict.set_item("missed", told.missed)?;
            // The kernel counts by socket, the run for all of them: it is said once.
            dict.set_item("dropped", if at == 0 { status.dropped } else { 0 })?;
            list.append(dict)?;
        }
        Ok(list)
    }

    fn drop_copies<'py>(&self, py: Python<'py>, status: &helios_live::Status) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for (at, copy) in self.spec.drop_copies.iter().enumerate().filter(|_| self.spec.mode == "live") {
            let dict = PyDict::new(py);
            let told = status.copies.get(at).copied().unwrap_or_default();
            let state = match (told.up, told.given_up) {
                (true, _) => "up",
                (_, true) => "refused",
                _ => "down",
            };
            dict.set_item("name", &copy.login.name)?;
            dict.set_item("state", state)?;
            dict.set_item("told", told.told)?;
            dict.set_item("matched", told.counters.matched)?;
            dict.set_item("we_lack", told.lacking.0)?;
            dict.set_item("venue_lacks", told.lacking.1)?;
            dict.set_item("not_compared", told.foreign + told.counters.foreign + told.counters.given_up)?;
            list.append(dict)?;
        }
        Ok(list)
    }

    /// Positions about which the venue does not agree.
    fn differences<'py>(&self, py: Python<'py>, status: &helios_live::Status) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for difference in &status.differences {
            let dict = PyDict::new(py);
            dict.set_item("instrument", &self.symbols[difference.instrument.index()])?;
            dict.set_item("ours", difference.ours.to_f64())?;
            dict.set_item("theirs", difference.theirs.to_f64())?;
            list.append(dict)?;
        }
        Ok(list)
    }

    /// Why a command did nothing; empty when it did.
    fn refused(&self, control: Control, outputs: &[Output], mode: Mode) -> String {
        for output in outputs {
            match output {
                Output::Refused(refusal) if matches!(control, Control::SetLimit { .. }) => {
                    return format!(
                        "the limit stays {}: it cannot be {}, or nothing feeds it in this run",
                        refusal.limit, refusal.value
                    );
                }
                Output::Difference(difference) if control == Control::Resume => {
                    return format!(
                        "our position in {} is {}, the venue says {}: trading stays as it is until they agree",
                        self.symbols[difference.instrument.index()],
                        difference.ours,
                        difference.theirs
                    );
                }
                _ => {}
            }
        }
        match control {
            Control::Kill | Control::SetLimit { .. } => String::new(),
            _ if mode == Mode::Killed => "the run was killed, which is for good: start a new one".to_owned(),
            Control::Resume if mode == Mode::ReduceOnly => "a limit is breached: only reducing orders pass".to_owned(),
            _ => String::new(),
        }
    }
}

impl Recovered {
    fn dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("inputs", self.inputs)?;
        dict.set_item("outputs", self.outputs)?;
        dict.set_item("seconds", self.seconds)?;
        dict.set_item("unknown", self.unknown)?;
        dict.set_item("torn_bytes", self.torn_bytes)?;
        dict.set_item("snapshot", self.snapshot)?;
        dict.set_item("doubts", &self.doubts)?;
        Ok(dict)
    }
}

fn started() -> PyErr {
    refuse("run", "it was started already")
}

fn trading(mode: Option<Mode>, flat: bool) -> &'static str {
    match mode {
        Some(Mode::Killed) => "killed",
        _ if flat => "flattening",
        Some(Mode::ReduceOnly) => "reducing",
        Some(Mode::Normal) | None => "normal",
    }
}

fn rule_of(name: &str) -> PyResult<Rule> {
    Ok(match name {
        "order_quantity" => Rule::OrderQuantity,
        "order_notional" => Rule::OrderNotional,
        "price_collar" => Rule::PriceCollar,
        "position" => Rule::Position,
        "gross_exposure" => Rule::GrossExposure,
        "order_rate" => Rule::OrderRate,
        "daily_loss" => Rule::DailyLoss,
        _ => return Err(refuse("run", format!("no limit is named {name:?}"))),
    })
}

/// The strategies outside the core, on the engine's thread.
struct Called {
    callees: Vec<Callee>,
    python: bool,
}

impl Called {
    fn new(callees: Vec<Callee>) -> Self {
        let python = callees.iter().any(Callee::is_python);
        Self { callees, python }
    }

    /// Those that cannot say what they remember.
    fn forgetful(&self) -> Vec<&str> {
        self.callees.iter().filter(|callee| !callee.can_save()).map(Callee::name).collect()
    }
}

impl Callbacks for Called {
    #[inline]
    fn after(
        &mut self,
        input: &Input,
        outputs: &[Output],
        state: &State,
        venue: Option<&Venues>,
        wishes: &mut Vec<Intent>,
    ) -> Result<(), SourceError> {
        let callees = &mut self.callees;
        if !self.python {
            return callees.iter_mut().try_for_each(|callee| callee.after_compiled(input, outputs, state, wishes));
        }
        Python::attach(|py| {
            let mut attached = Attached { py, callees, raised: None };
            let done = attached.after(input, outputs, state, venue, wishes);
            // Its traceback is for the log.
            done.map_err(|error| match attached.raised.take() {
                Some(raised) => SourceError { message: told(py, &raised), ..error },
                None => error,
            })
        })
    }

    /// A thread that the interpreter does not know is made known to it at every call, at ten times the call's price.
    fn during<R: Send>(life: impl FnOnce() -> R + Send) -> R {
        Python::attach(|py| py.detach(life))
    }

    fn next_timer(&self, after: Nanos) -> Option<Nanos> {
        let next = |ns: u64| Nanos((after.0 / ns + 1).saturating_mul(ns));
        self.callees.iter().map(Callee::timer_ns).filter(|ns| *ns > 0).map(next).min()
    }

    fn remembers(&self) -> bool {
        !self.callees.is_empty()
    }

    fn save(&mut self) -> Result<Option<Vec<u8>>, SourceError> {
        save_all(&self.callees)
    }

    fn load(&mut self, saved: &[u8]) -> Result<bool, SourceError> {
        load_all(&mut self.callees, saved)
    }

    fn replaying(&mut self, begins: bool) {
        self.callees.iter().for_each(|callee| callee.replaying(begins));
    }

    fn name_of(&self, strategy: StrategyId) -> String {
        let callee = self.callees.iter().find(|callee| callee.has(strategy));
        callee.map_or_else(|| format!("strategy {}", strategy.0), |callee| format!("strategy {:?}", callee.name()))
    }
}

fn told(py: Python<'_>, error: &PyErr) -> String {
    let traceback = error.traceback(py).and_then(|traceback| traceback.format().ok());
    format!("{}{error}", traceback.unwrap_or_default())
}

#[allow(clippy::too_many_arguments)]
fn start(
    spec: &LiveSpec,
    config: &[u8],
    state: State,
    fresh: impl Fn() -> Result<State, SourceError>,
    warm: Option<Warm>,
    fence: &Fence,
    callees: Vec<Callee>,
    venues: Option<Box<Venues>>,
    session_of: Vec<u32>,
    names: &Names,
    cash: i64,
) -> Result<(Handle, Option<Recovered>), SourceError> {
    let options = options(spec)?;
    let settings = journal_settings(spec, options.layout)?;
    let path = spec.directory.join(JOURNAL_FILE);
    let feeds = spec.feeds.iter().enumerate().map(feed).collect::<Result<Vec<_>, _>>()?;
    let begun = warm.is_some() || has_begun(&path, config)?;
    let began = if begun { began(&path)? } else { None };
    let started = began.unwrap_or_else(now);
    let made = Made::new(spec, names, started)?;
    let (beside, chores) = Beside::new(cash, Some(&spec.directory)).map_err(|error| wrong("run", error))?;
    let shared = beside.shared();
    let mut called = Called::new(callees);
    let (journal, state, made, wishes, recovered) = if begun {
        let looked = Instant::now();
        let mut state = Some(state);
        let (found, crew) = match warm {
            Some(warm) => warm.finish()?,
            None => {
                let (spec, names, recall) = (spec.clone(), names.clone(), Recall::new(called));
                let mut crew = Crew { spec, path: path.clone(), names, made: Some(made), recall };
                (recover(&path, || state.take().map_or_else(&fresh, Ok), &mut crew, false)?, crew)
            }
        };
        let Recalled { callbacks, wishes, doubts } = crew.recall.finish();
        called = callbacks;
        called.callees.iter_mut().for_each(|callee| callee.restore(&found.state));
        for note in found.notes.iter().chain(&doubts) {
            shared.note_of("recovery", WARNING, format_args!("{note}"));
        }
        if let Err(error) = called.save() {
            shared.note_of("recovery", WARNING, format_args!("there will be no snapshots: {}", error.message));
        }
        let mut journal = Journal::resume(&path, found.position, settings, chores)?;
        found.missing.iter().for_each(|output| journal.output(found.state.next_seq() - 1, output));
        journal.flush()?;
        let told = left(&found, doubts, looked.elapsed().as_secs_f64());
        (journal, found.state, crew.made.unwrap_or_default(), wishes, Some(told))
    } else {
        // What cannot be saved is better known before the first order.
        called.save()?;
        empty(&path)?;
        (Journal::create(&path, config, settings, chores)?, state, made, Vec::new(), None)
    };
    let forgetful = called.forgetful();
    if !forgetful.is_empty() && !options.snapshot_every.is_zero() {
        let names = forgetful.join(", ");
        shared.note_of(
            "run",
            INFO,
            format_args!("no snapshots are made, for {names} has no on_save: recovery replays all"),
        );
    }
    fence.guard(Arc::clone(&shared));
    if let Some(replica) = &spec.replica {
        let listener = TcpListener::bind(resolve("standby", replica)?).map_err(|error| wrong("standby", error))?;
        let replica = journal.replica()?;
        if settings.durability == Durability::Replica {
            shared.must_not_be_alone(replica.alone());
        }
        replica.serve(listener).map_err(|error| wrong("standby", error))?;
    }
    let Made { entries, audits } = made;
    let copies = audits.into_iter().zip(&spec.drop_copies).map(|(station, copy)| {
        Ok(CopySetup {
            name: copy.login.name.clone(),
            station,
            address: resolve(&copy.login.name, &copy.login.address)?,
        })
    });
    let copies = copies.collect::<Result<Vec<_>, SourceError>>()?;
    let stations = entries.into_iter().zip(&spec.sessions).map(|(station, session)| {
        let address = resolve(&session.name, &session.address)?;
        Ok(EntrySetup { name: session.name.clone(), station, address })
    });
    let venue = match venues {
        Some(venues) => Venue::Paper(venues),
        None => Venue::Live(stations.collect::<Result<_, SourceError>>()?),
    };
    let started = if recovered.is_some() { Nanos(0) } else { started };
    let setup = Setup {
        state,
        started,
        journal: Some(journal),
        beside,
        feeds,
        venue,
        session_of,
        copies,
        symbols: names.symbols.clone(),
        callbacks: called,
        wishes,
        options,
    };
    Ok((setup.start()?, recovered))
}

fn now() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Takes out what a run left that had not begun.
fn empty(path: &Path) -> Result<(), SourceError> {
    match std::fs::File::options().write(true).open(path).and_then(|file| file.set_len(0)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(wrong(&path.display().to_string(), error)),
        _ => Ok(()),
    }
}

/// The configuration of the run that a folder's journal is of, if there is one to go on with.
#[pyfunction]
pub(crate) fn live_journal_config(py: Python<'_>, path: PathBuf, config: Vec<u8>) -> PyResult<Option<Vec<u8>>> {
    let read = || has_begun(&path, &config)?.then(|| helios_io::config_of(&path)).transpose();
    py.detach(read).map_err(raise)
}

/// How the run stood when it was left.
fn left(found: &helios_live::Recovered, doubts: Vec<String>, seconds: f64) -> Recovered {
    let unknown = found.state.orders().open().iter().filter(|open| open.state != OrderState::Accepted).count() as u64;
    Recovered {
        inputs: found.state.next_seq(),
        outputs: found.outputs + found.missing.len() as u64,
        seconds,
        unknown,
        torn_bytes: found.cut.map_or(0, |cut| cut.bytes),
        snapshot: found.snapshot,
        doubts,
    }
}

/// A histogram as {"count", "p50", "p90", "p99", "p99.9", "max"}, ns.
fn quantiles<'py>(py: Python<'py>, histogram: &hdrhistogram::Histogram<u64>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("count", histogram.len())?;
    for (label, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
        dict.set_item(label, histogram.value_at_quantile(quantile))?;
    }
    dict.set_item("max", histogram.max())?;
    Ok(dict)
}

/// A packet in, an order's bytes out, no work between: {"count", "p50", …} from packet received to order written.
#[pyfunction]
#[pyo3(signature = (listen, to, core=None))]
pub(crate) fn bench_wire_floor(
    py: Python<'_>,
    listen: Address,
    to: Address,
    core: Option<usize>,
) -> PyResult<Bound<'_, PyDict>> {
    let (listen, to) = (resolve("listen", &listen).map_err(raise)?, resolve("to", &to).map_err(raise)?);
    let whole = py.detach(|| helios_live::wire_floor(listen, to, core)).map_err(raise)?;
    quantiles(py, &whole)
}

/// The other end of a live run, or of the floor: sends packets, takes orders, measures from outside.
#[pyfunction]
#[pyo3(signature = (to, listen, stocks, count, warm, floor=false, core=None))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn bench_wire_probe<'py>(
    py: Python<'py>,
    to: Address,
    listen: Address,
    stocks: Vec<String>,
    count: u64,
    warm: u64,
    floor: bool,
    core: Option<usize>,
) -> PyResult<Bound<'py, PyDict>> {
    let (to, listen) = (resolve("to", &to).map_err(raise)?, resolve("listen", &listen).map_err(raise)?);
    let settings = helios_live::ProbeSettings { to, listen, stocks, count, warm, floor, core };
    let probed = py.detach(|| helios_live::wire_probe(&settings)).map_err(raise)?;
    let dict = quantiles(py, &probed.whole)?;
    dict.set_item("silent", probed.silent)?;
    dict.set_item("orders", probed.orders)?;
    dict.set_item("packets", probed.packets)?;
    Ok(dict)
}
