//! The feed handler: datagrams of one venue's ITCH 5.0 over MoldUDP64 in, market events of the run's instruments out.
//!
//! [`Receiver`] puts packets of all lines in order and fetches what is missing; here messages become events, and it is
//! kept track of what the books can be trusted for. The rule: while an instrument is [`About::Complete`], every message
//! of the stream up to now has been applied to its book. It begins untrusted. It is [`About::Incomplete`] from the moment at
//! which a gap is certain (no line filled it in time), while no line speaks, after messages were lost, and after the
//! session's end; nothing of later messages is applied before the missing ones are there or given up.
//!
//! What was given up, or came before we joined, comes as a snapshot: a SoupBinTCP session that gives the venue's present
//! state as ITCH messages (directory, trading states, resting orders by priority), ended by `G` and twenty ASCII
//! digits, the number of the first message of the feed that is not in it. Until it is whole the stream is kept; then
//! books are cleared, the snapshot and what was kept behind it are applied, all at one moment, and the instruments are
//! complete. The snapshot's events bear one stamp, that of its newest message.
//!
//! Owns no socket and reads no clock (see [`FeedOut`]). Assumes that `now` never goes back, and one trading day a
//! session: a new session is the next day, and its stamps count from a midnight moved by whole days.
//! Bad messages inside good packets are counted, said at most once a second, and passed over.
//! Bounded by [`FeedConfig::buffer_bytes`], [`MAX_SNAPSHOT_EVENTS`] and the receiver's maximums.
//!
//! Absent: other protocols; a guess at which instruments missing messages were about (nobody can know: all are
//! concerned); a snapshot of single instruments.

mod snapshot;
mod stream;

use std::collections::BTreeSet;
use std::fmt;

use helios_types::{Event, Feed as About, InstrumentId, Nanos};
use helios_wire::moldudp64::{HEADER_LENGTH, LineStats, MAX_LINES, Notice, Receiver, ReceiverOut, ReceiverStats};
use helios_wire::soupbintcp::ClientSettings;

use crate::FeedOut;
pub use helios_wire::moldudp64::ReceiverConfig;
pub use snapshot::MAX_SNAPSHOT_EVENTS;
use stream::Stream;

/// What to do about the messages before the first that we hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Fetch the venue's present state.
    Snapshot,
    /// Fetch all messages from number 1 from the retransmission servers.
    Replay,
    /// Do without: unless the first message is number 1, the instruments stay incomplete for the session.
    Live,
}

/// Who asks for a snapshot.
#[derive(Clone, PartialEq, Eq)]
pub struct SnapshotLogin {
    /// Up to six characters.
    pub username: String,
    /// Up to ten characters.
    pub password: String,
}

impl fmt::Debug for SnapshotLogin {
    /// Without the password: logs are read by many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotLogin").field("username", &self.username).finish_non_exhaustive()
    }
}

impl SnapshotLogin {
    fn settings(&self) -> Result<ClientSettings, String> {
        ClientSettings::new(&self.username, &self.password)
            .map_err(|_| "a snapshot's user has up to 6 ASCII characters, its password up to 10".to_owned())
    }
}

/// How one venue's market data is received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedConfig {
    /// The feed's number in the run.
    pub exchange: u32,
    /// The run's instruments at this venue and their symbols there, up to eight characters.
    pub instruments: Vec<(InstrumentId, String)>,
    /// Start of the trading day in New York, as UTC.
    pub midnight: Nanos,
    /// What to do about the messages before the first that we hear.
    pub join: Join,
    /// Lines, session, servers, times. `start` is set by `join`.
    pub receiver: ReceiverConfig,
    /// For a snapshot when joining or after a loss; `None`: what is lost stays lost.
    pub snapshot: Option<SnapshotLogin>,
    /// Most bytes of the stream kept while a snapshot comes; more, and it is begun again.
    pub buffer_bytes: usize,
}

/// A tenth of a busy second's stream at the open is less than a megabyte; a snapshot takes some seconds.
pub const DEFAULT_BUFFER_BYTES: usize = 1 << 28;

impl FeedConfig {
    /// One line, no servers, no snapshot, joined live.
    pub fn new(exchange: u32, instruments: Vec<(InstrumentId, String)>, midnight: Nanos) -> Self {
        let (join, receiver, snapshot) = (Join::Live, ReceiverConfig::default(), None);
        Self { exchange, instruments, midnight, join, receiver, snapshot, buffer_bytes: DEFAULT_BUFFER_BYTES }
    }

    /// What cannot be, in words; [`Feed::new`] panics with them.
    pub fn check(&self) -> Result<(), String> {
        let mut symbols = BTreeSet::new();
        for (_, symbol) in &self.instruments {
            if symbol.is_empty() || symbol.len() > 8 || !symbol.is_ascii() {
                return Err(format!("symbol \"{symbol}\" cannot be of this feed: a stock has 1 to 8 ASCII characters"));
            }
            if !symbols.insert(symbol) {
                return Err(format!("symbol \"{symbol}\" is there twice: one feed has one instrument of a stock"));
            }
        }
        let lines = usize::from(self.receiver.lines);
        if !(1..=MAX_LINES).contains(&lines) {
            return Err(format!("a feed has 1 to {MAX_LINES} lines, not {lines}"));
        }
        match (&self.snapshot, self.join) {
            (None, Join::Snapshot) => Err("to join by snapshot, say where it comes from".to_owned()),
            (None, _) => Ok(()),
            (Some(login), _) => login.settings().map(drop),
        }
    }
}

/// What happened at a feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedCounters {
    /// Of the stream.
    pub stream: ReceiverStats,
    /// Of each line.
    pub lines: Vec<LineStats>,
    /// Of the messages.
    pub messages: MessageCounters,
    /// The number of the message that comes next; 0 before the session is known.
    pub next: u64,
    /// Every message so far is in the books.
    pub complete: bool,
}

/// What happened to messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounters {
    /// Market events for the engine, those of snapshots included.
    pub events: u64,
    /// Messages about stocks that are not of the run.
    pub others: u64,
    /// Messages whose locate number nobody has explained.
    pub unknown_locates: u64,
    /// Messages of a type that is not in the specification.
    pub unknown_types: u64,
    /// Messages that have another length than their type.
    pub malformed: u64,
    /// Times that the instruments became incomplete.
    pub incomplete: u64,
    /// Snapshots applied.
    pub snapshots: u64,
    /// Snapshots that failed: no connection, refused, broken off, malformed.
    pub snapshots_failed: u64,
    /// Snapshots that ended before what is kept of the stream begins.
    pub snapshots_old: u64,
    /// Times that there was no room for more of the stream while a snapshot came.
    pub overflows: u64,
}

/// One venue's market data. See the module.
pub struct Feed {
    receiver: Receiver,
    stream: Stream,
}

impl Feed {
    /// Nothing heard yet. Panics for settings that [`FeedConfig::check`] refuses.
    pub fn new(config: FeedConfig) -> Self {
        if let Err(why) = config.check() {
            panic!("feed {}: {why}", config.exchange);
        }
        let start = (config.join == Join::Replay).then_some(1);
        let receiver = Receiver::new(ReceiverConfig { start, ..config.receiver.clone() });
        Self { receiver, stream: Stream::new(config) }
    }

    /// A datagram of a line: 0 for A, 1 for B. An answer to a request may come as one of any line.
    #[inline]
    pub fn on_datagram(&mut self, line: u8, bytes: &[u8], now: Nanos, out: &mut impl FeedOut) {
        self.receiver.on_datagram(line, bytes, now, &mut Inside { stream: &mut self.stream, now, out });
        if self.stream.is_unsettled() {
            self.stream.settle(&self.receiver, out);
        }
    }

    /// The snapshot session is connected.
    pub fn on_connected(&mut self, now: Nanos, out: &mut impl FeedOut) {
        self.stream.on_connected(now, out);
    }

    /// A piece of the snapshot session, cut anywhere.
    pub fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl FeedOut) {
        let window = self.receiver.known().saturating_add(stream::MAX_AHEAD);
        if let Some(next) = self.stream.on_bytes(bytes, window, now, out) {
            self.receiver.resume_at(next, now, &mut Inside { stream: &mut self.stream, now, out });
        }
        self.stream.settle(&self.receiver, out);
    }

    /// The snapshot session's connection is gone, or was not made.
    pub fn on_closed(&mut self, now: Nanos, out: &mut impl FeedOut) {
        self.stream.on_closed(now, out);
    }

    /// Does what time brings.
    pub fn on_tick(&mut self, now: Nanos, out: &mut impl FeedOut) {
        self.receiver.on_tick(now, &mut Inside { stream: &mut self.stream, now, out });
        self.stream.on_tick(now, out);
        self.stream.settle(&self.receiver, out);
    }

    /// When [`Feed::on_tick`] is due.
    #[inline]
    pub fn next_tick(&self) -> Option<Nanos> {
        let next = self.receiver.next_tick();
        Some(self.stream.next_tick().map_or(next, |at| at.min(next)))
    }

    /// What happened so far.
    pub fn counters(&self) -> FeedCounters {
        FeedCounters {
            stream: *self.receiver.stats(),
            lines: self.receiver.lines().copied().collect(),
            messages: self.stream.counters,
            next: self.receiver.next(),
            complete: self.stream.is_complete(),
        }
    }
}

/// What the receiver gives goes to the stream; what it asks, to the world.
struct Inside<'a, O> {
    stream: &'a mut Stream,
    now: Nanos,
    out: &'a mut O,
}

impl<O: FeedOut> ReceiverOut for Inside<'_, O> {
    #[inline(always)]
    fn message(&mut self, number: u64, bytes: &[u8]) {
        self.stream.message(number, bytes, self.now, self.out);
    }

    fn request(&mut self, server: usize, bytes: &[u8; HEADER_LENGTH]) {
        self.out.request(server, bytes);
    }

    fn notice(&mut self, notice: Notice) {
        self.stream.notice(notice, self.now, self.out);
    }
}

/// The same for every instrument.
fn tell(instruments: &[InstrumentId], event: impl Fn(InstrumentId) -> Event, out: &mut impl FeedOut) {
    instruments.iter().for_each(|instrument| out.event(event(*instrument)));
}

/// Says something at most once a second.
#[derive(Default)]
struct Hush {
    next: Nanos,
    unsaid: u64,
}

impl Hush {
    fn note(&mut self, now: Nanos, out: &mut impl FeedOut, text: fmt::Arguments<'_>) {
        if now < self.next {
            self.unsaid += 1;
            return;
        }
        match std::mem::take(&mut self.unsaid) {
            0 => out.note(text),
            more => out.note(format_args!("{text} ({more} more of the kind since the last word)")),
        }
        self.next = now.plus(helios_types::NANOS_PER_SECOND);
    }
}

/// Missing messages: as an event.
fn incomplete(missed: u64) -> impl Fn(InstrumentId) -> Event {
    move |instrument| Event::Feed(About::Incomplete { instrument, missed })
}
