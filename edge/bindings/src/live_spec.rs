//! What `helios.live.plan` says of a live run, and the settings of the driver and its stations that are made of it.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use helios_io::SourceError;
use helios_live::feed::{Join, ReceiverConfig, SnapshotLogin};
use helios_live::{
    Audit, Durability, Entry, EntryConfig, Feed, FeedConfig, FeedSetup, FixConfig, JournalSettings, Layout, Line,
    Options, Protocol, ReconcileConfig, Secret, Stopping, WINDOW, first_reference,
};
use helios_types::{InstrumentId, NANOS_PER_SECOND, Nanos};
use pyo3::prelude::*;

use crate::spec::EngineSpec;

const NANOS_PER_DAY: u64 = 86_400 * NANOS_PER_SECOND;

pub(crate) type Address = (String, u16);

/// What a live run needs beside engine and venue, as `helios.live.plan` makes it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct LiveSpec {
    pub(crate) mode: String,
    pub(crate) directory: PathBuf,
    pub(crate) threads: String,
    pub(crate) wait: String,
    pub(crate) cores: Vec<usize>,
    pub(crate) durability: String,
    pub(crate) replica: Option<Address>,
    pub(crate) cancel_on_stop: bool,
    pub(crate) stop_within_ns: u64,
    pub(crate) snapshot_every_ns: u64,
    pub(crate) feeds: Vec<FeedSpec>,
    pub(crate) sessions: Vec<SessionSpec>,
    /// The venues' own word on our executions.
    #[pyo3(default)]
    pub(crate) drop_copies: Vec<CopySpec>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct FeedSpec {
    pub(crate) name: String,
    lines: Vec<Address>,
    interface: Option<String>,
    session: String,
    retransmission: Vec<Address>,
    snapshot: Option<Address>,
    user: String,
    password: String,
    midnight_ns: u64,
    pub(crate) instruments: Vec<(String, u32)>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct SessionSpec {
    pub(crate) name: String,
    protocol: String,
    pub(crate) address: Address,
    user: String,
    password: String,
    sender: String,
    target: String,
    heartbeat_ns: u64,
    instruments: Vec<(String, u32)>,
}

/// A drop copy: a session with more in the same dictionary.
pub(crate) struct CopySpec {
    pub(crate) login: SessionSpec,
    grace_ns: u64,
    /// The session whose executions it tells, and the beginning of the venue's day.
    session: u32,
    midnight_ns: u64,
}

impl<'a, 'py> FromPyObject<'a, 'py> for CopySpec {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self {
            login: given.extract()?,
            grace_ns: given.get_item("grace_ns")?.extract()?,
            session: given.get_item("session")?.extract()?,
            midnight_ns: given.get_item("midnight_ns")?.extract()?,
        })
    }
}

impl SessionSpec {
    /// The venue's symbol of each of the run's instruments, where it trades through this session.
    fn symbols(&self, instruments: usize) -> Result<Vec<Option<String>>, SourceError> {
        let mut symbols = vec![None; instruments];
        for (stock, instrument) in &self.instruments {
            let place = symbols.get_mut(*instrument as usize);
            *place.ok_or_else(|| wrong(&self.name, "an instrument that the run has not"))? = Some(stock.clone());
        }
        Ok(symbols)
    }

    /// For FIX; references and prefix are of no account where no orders are sent.
    fn fix(&self, session: u32, symbols: Vec<Option<String>>) -> FixConfig {
        let heartbeat_s = self.heartbeat_ns.div_ceil(NANOS_PER_SECOND).max(1);
        FixConfig {
            name: self.name.clone(),
            session,
            sender: self.sender.clone(),
            target: self.target.clone(),
            user: (!self.user.is_empty()).then(|| self.user.clone()),
            password: (!self.password.is_empty()).then(|| Secret::new(self.password.clone())),
            heartbeat_s: u32::try_from(heartbeat_s).unwrap_or(u32::MAX),
            symbols,
            first_reference: 1,
            prefix: String::new(),
            seed: None,
        }
    }
}

/// The run's instruments: their names, and whose positions they move.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) symbols: Vec<String>,
    pub(crate) holds: Vec<InstrumentId>,
}

pub(crate) fn wrong(source: &str, message: impl ToString) -> SourceError {
    SourceError { source: source.to_owned(), message: message.to_string() }
}

pub(crate) fn resolve(name: &str, (host, port): &Address) -> Result<SocketAddr, SourceError> {
    let found = (host.as_str(), *port).to_socket_addrs().map_err(|error| wrong(name, format!("{host}: {error}")))?;
    found.into_iter().next().ok_or_else(|| wrong(name, format!("{host} has no address")))
}

pub(crate) fn options(spec: &LiveSpec) -> Result<Options, SourceError> {
    let layout = match spec.threads.as_str() {
        "one" => Layout::One,
        "four" => Layout::Four,
        other => return Err(wrong("live.threads", format!("{other:?} is not 'one' or 'four'"))),
    };
    let spin = match spec.wait.as_str() {
        "spin" => true,
        "park" => false,
        other => return Err(wrong("live.wait", format!("{other:?} is not 'park' or 'spin'"))),
    };
    let engine = if layout == Layout::One { 1 } else { 3 };
    let cores = spec.cores.iter().copied().take(engine).collect();
    let stopping = Stopping { cancel: spec.cancel_on_stop, patience: Duration::from_nanos(spec.stop_within_ns) };
    let snapshot_every = Duration::from_nanos(spec.snapshot_every_ns);
    Ok(Options { layout, spin, cores, measure: true, snapshot_every, stopping })
}

pub(crate) fn journal_settings(spec: &LiveSpec, layout: Layout) -> Result<JournalSettings, SourceError> {
    let durability = match spec.durability.as_str() {
        "process" => Durability::Process,
        "disk" => Durability::Disk,
        "replica" => Durability::Replica,
        other => return Err(wrong("live.durability", format!("{other:?} is not 'process', 'disk' or 'replica'"))),
    };
    let core = spec.cores.get(if layout == Layout::One { 1 } else { 3 }).copied();
    // Its thread spins only where it has a core for itself: else it would take the engine's.
    let spin = spec.wait == "spin" && core.is_some();
    Ok(JournalSettings { durability, window: WINDOW, spin, core })
}

pub(crate) fn feed((number, spec): (usize, &FeedSpec)) -> Result<FeedSetup<Feed>, SourceError> {
    let say = |message: String| wrong(&spec.name, message);
    let interface = spec.interface.as_ref().map(|text| text.parse::<Ipv4Addr>());
    let interface = interface.transpose().map_err(|_| say("its interface is no IPv4 address".to_owned()))?;
    let line = |address: &Address| Ok(Line { address: resolve(&spec.name, address)?, interface });
    let lines = spec.lines.iter().map(line).collect::<Result<Vec<_>, SourceError>>()?;
    let servers = spec.retransmission.iter().map(|one| resolve(&spec.name, one)).collect::<Result<Vec<_>, _>>()?;
    let instruments = spec.instruments.iter().map(|(stock, number)| (InstrumentId(*number), stock.clone())).collect();
    let mut session = [b' '; 10];
    session.iter_mut().zip(spec.session.bytes()).for_each(|(to, from)| *to = from);
    let join = match (&spec.snapshot, servers.is_empty()) {
        (Some(_), _) => Join::Snapshot,
        (None, false) => Join::Replay,
        (None, true) => Join::Live,
    };
    let config = FeedConfig {
        join,
        receiver: ReceiverConfig {
            lines: u8::try_from(lines.len()).unwrap_or(u8::MAX),
            session: (!spec.session.is_empty()).then_some(session),
            servers: servers.len(),
            ..ReceiverConfig::default()
        },
        snapshot: spec
            .snapshot
            .as_ref()
            .map(|_| SnapshotLogin { username: spec.user.clone(), password: spec.password.clone() }),
        ..FeedConfig::new(number as u32, instruments, Nanos(spec.midnight_ns))
    };
    config.check().map_err(say)?;
    let snapshot = spec.snapshot.as_ref().map(|address| resolve(&spec.name, address)).transpose()?;
    Ok(FeedSetup { name: spec.name.clone(), station: Feed::new(config), lines, servers, snapshot })
}

/// The sessions of a live run; a paper run has none.
pub(crate) fn entries(spec: &LiveSpec, symbols: usize, started: Nanos) -> Result<Vec<Entry>, SourceError> {
    let sessions = spec.sessions.iter().enumerate().filter(|_| spec.mode == "live");
    sessions.map(|one| entry(one, spec, symbols, started)).collect()
}

pub(crate) fn names(engine: &EngineSpec) -> Names {
    Names { symbols: engine.symbols(), holds: engine.holds() }
}

/// The station of a drop copy.
pub(crate) fn audit(spec: &CopySpec, names: &Names, began: Nanos) -> Result<Audit, SourceError> {
    let login = &spec.login;
    let theirs = login.symbols(names.symbols.len())?;
    let ours = theirs.iter().zip(&names.symbols).map(|(stock, name)| stock.is_some().then(|| name.clone())).collect();
    let compared = ReconcileConfig {
        name: login.name.clone(),
        symbols: ours,
        holds: names.holds.clone(),
        grace_ns: spec.grace_ns,
        day: Nanos(spec.midnight_ns),
        began,
    };
    let fix = login.fix(spec.session, theirs);
    Audit::new(&fix, compared, spec.session).map_err(|error| wrong(&login.name, error))
}

fn entry(
    (number, spec): (usize, &SessionSpec),
    live: &LiveSpec,
    instruments: usize,
    started: Nanos,
) -> Result<Entry, SourceError> {
    let protocol = match spec.protocol.as_str() {
        "ouch42" => Some(Protocol::Ouch42),
        "ouch50" => Some(Protocol::Ouch50),
        "fix44" => None,
        other => return Err(wrong(&spec.name, format!("orders cannot be sent by {other:?}: ouch42, ouch50 or fix44"))),
    };
    let symbols = spec.symbols(instruments)?;
    let midnight = live.feeds.first().map_or(0, |feed| feed.midnight_ns);
    // Of the day on which the journal began, whichever it was.
    let since = (i128::from(started.0) - i128::from(midnight)).rem_euclid(i128::from(NANOS_PER_DAY)) as u64;
    let (session, prefix, first_reference) = (number as u32, "H".to_owned(), first_reference(since));
    let made = match protocol {
        None => Entry::fix(&FixConfig { first_reference, prefix, ..spec.fix(session, symbols) }),
        Some(protocol) => Entry::new(EntryConfig {
            name: spec.name.clone(),
            session,
            protocol,
            user: spec.user.clone(),
            password: Secret::new(spec.password.clone()),
            symbols,
            midnight: Nanos(midnight),
            first_reference,
            token_prefix: prefix,
            timeout_ms: None,
            seed: None,
        }),
    };
    made.map_err(|error| wrong(&spec.name, error))
}
