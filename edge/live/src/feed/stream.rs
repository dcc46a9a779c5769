//! Messages in order become events; what is known to be missing is kept track of.

use helios_data::normalise::{ItchNormaliser, Stock};
use helios_types::{Event, Feed as About, InstrumentId, Market, NANOS_PER_DAY, Nanos, Update};
use helios_wire::itch::{self, Message};
use helios_wire::moldudp64::{Notice, Receiver};
use helios_wire::{WireError, soupbintcp};

use super::snapshot::{Outcome, Snapshot};
use super::{FeedConfig, Hush, Join, MessageCounters, incomplete, tell};
use crate::FeedOut;

/// A snapshot may be so many messages ahead of what our lines have brought; beyond it is no snapshot of this session.
pub(super) const MAX_AHEAD: u64 = 1 << 20;
/// Bytes in front of a kept message: its number and its length.
const KEPT_PREFIX: usize = 10;

/// Why books are not to be trusted.
#[derive(Clone, Copy, Default)]
struct Doubts {
    /// The session is not known yet.
    joining: bool,
    /// Messages are missing that may still come.
    gap: bool,
    /// Messages are missing that come as a snapshot.
    recovering: bool,
    /// Messages are missing that will not come.
    lost: bool,
    /// No line speaks.
    stale: bool,
    /// The session is over.
    over: bool,
}

impl Doubts {
    fn any(self) -> bool {
        self.joining || self.gap || self.recovering || self.lost || self.stale || self.over
    }
}

/// The stream behind a hole that a snapshot will fill.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    /// From this number on everything that matters is here.
    first: u64,
}

impl Kept {
    /// Begins again, with this number.
    fn restart(&mut self, first: u64) {
        self.bytes.clear();
        self.first = first;
    }

    fn push(&mut self, number: u64, bytes: &[u8], limit: usize) -> bool {
        let fits = self.bytes.len() + KEPT_PREFIX + bytes.len() <= limit;
        if let (true, Ok(length)) = (fits, u16::try_from(bytes.len())) {
            self.bytes.extend_from_slice(&number.to_le_bytes());
            self.bytes.extend_from_slice(&length.to_le_bytes());
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }
}

/// The first of the kept messages, and the rest of them.
fn split_kept(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (message, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some((u64::from_le_bytes(*number), message, rest))
}

/// Messages of the stream, in order, and of the snapshot.
pub(super) struct Stream {
    exchange: u32,
    instruments: Vec<InstrumentId>,
    join: Join,
    login: Option<soupbintcp::ClientSettings>,
    buffer_bytes: usize,
    normaliser: ItchNormaliser,
    doubts: Doubts,
    /// The engine was told that the instruments are incomplete.
    told: bool,
    /// Nothing has happened yet.
    fresh: bool,
    /// Kept while a snapshot comes.
    kept: Kept,
    snapshot: Snapshot,
    /// Stamp of the newest event.
    stamp: Nanos,
    bad: Hush,
    unknown: Hush,
    gaps: Hush,
    pub(super) counters: MessageCounters,
}

impl Stream {
    pub(super) fn new(config: FeedConfig) -> Self {
        let symbols = config.instruments.iter().map(|(id, symbol)| (*id, symbol.as_str()));
        Self {
            exchange: config.exchange,
            instruments: config.instruments.iter().map(|(id, _)| *id).collect(),
            join: config.join,
            login: config.snapshot.as_ref().and_then(|login| login.settings().ok()),
            buffer_bytes: config.buffer_bytes,
            normaliser: ItchNormaliser::of(config.midnight, symbols),
            doubts: Doubts { joining: true, ..Doubts::default() },
            told: false,
            fresh: true,
            kept: Kept::default(),
            snapshot: Snapshot::default(),
            stamp: config.midnight,
            bad: Hush::default(),
            unknown: Hush::default(),
            gaps: Hush::default(),
            counters: MessageCounters::default(),
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        !self.told && !self.fresh
    }

    /// True when [`Stream::settle`] may have something to say.
    #[inline(always)]
    pub(super) fn is_unsettled(&self) -> bool {
        self.told || self.fresh
    }

    /// Says what has become of the books. They become complete only when every message known to exist is in them.
    pub(super) fn settle(&mut self, receiver: &Receiver, out: &mut impl FeedOut) {
        self.fresh = false;
        if self.doubts.any() {
            self.doubt(0, out);
        } else if self.told && receiver.next() >= receiver.known() {
            self.told = false;
            tell(&self.instruments, |instrument| Event::Feed(About::Complete { instrument }), out);
        }
    }

    /// The books are not to be trusted from here on.
    fn doubt(&mut self, missed: u64, out: &mut impl FeedOut) {
        if !self.told {
            self.told = true;
            self.counters.incomplete += 1;
            tell(&self.instruments, incomplete(missed), out);
        }
    }

    /// The next message of the stream.
    #[inline(always)]
    pub(super) fn message(&mut self, number: u64, bytes: &[u8], now: Nanos, out: &mut impl FeedOut) {
        if self.doubts.recovering { self.keep(number, bytes, now, out) } else { self.apply(bytes, now, out) }
    }

    /// One message to an event. Most are about other stocks, which three bytes tell.
    #[inline(always)]
    fn apply(&mut self, bytes: &[u8], now: Nanos, out: &mut impl FeedOut) {
        let Some(&[kind, high, low]) = bytes.first_chunk() else { return self.short(bytes, now, out) };
        match self.normaliser.stock(u16::from_be_bytes([high, low])) {
            Stock::Ours(instrument) => match itch::decode(bytes) {
                Ok(Message::StockDirectory(m)) => self.normaliser.learn(m.stock_locate(), m.stock()),
                Ok(message) => {
                    if let Some(market) = self.normaliser.event(instrument, &message) {
                        self.stamp = market.ts_event;
                        self.counters.events += 1;
                        out.event(Event::Market(market));
                    }
                }
                Err(error) => self.fault(bytes, error, now, out),
            },
            Stock::Other if kind != b'R' => self.counters.others += 1,
            _ => self.uncommon(bytes, now, out),
        }
    }

    /// The directory, system events, and messages whose locate number is not known.
    #[cold]
    fn uncommon(&mut self, bytes: &[u8], now: Nanos, out: &mut impl FeedOut) {
        let message = match itch::decode(bytes) {
            Ok(message) => message,
            Err(error) => return self.fault(bytes, error, now, out),
        };
        if let Message::SystemEvent(event) = message {
            out.note(format_args!("feed {}: {}", self.exchange, system_event(event.event_code())));
            if event.event_code() == b'Q' {
                self.note_unlisted(out);
            }
            return;
        }
        let Some(stock) = stock_of(&message) else {
            // Market-wide messages have locate number 0.
            if message.stock_locate() != 0 {
                self.counters.unknown_locates += 1;
                let (exchange, locate) = (self.exchange, message.stock_locate());
                let text = format_args!("feed {exchange}: no directory message has explained locate number {locate}");
                self.unknown.note(now, out, text);
            }
            return;
        };
        self.normaliser.learn(message.stock_locate(), stock);
        if !matches!(message, Message::StockDirectory(_)) {
            self.apply(bytes, now, out);
        }
    }

    /// A symbol that the venue does not have would look like a market without orders.
    fn note_unlisted(&self, out: &mut impl FeedOut) {
        let unlisted: Vec<&str> = self.normaliser.unlisted().collect();
        if let [first, rest @ ..] = unlisted.as_slice() {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            out.note(format_args!("feed {}: the venue does not list {first}{more} today", self.exchange));
        }
    }

    #[cold]
    fn short(&mut self, bytes: &[u8], now: Nanos, out: &mut impl FeedOut) {
        // A message without bytes is how a venue fills up numbers: it says nothing.
        if let Err(error) = itch::decode(bytes)
            && error != WireError::Empty
        {
            self.fault(bytes, error, now, out);
        }
    }

    #[cold]
    fn fault(&mut self, bytes: &[u8], error: WireError, now: Nanos, out: &mut impl FeedOut) {
        match error {
            WireError::UnknownType(_) => self.counters.unknown_types += 1,
            _ => self.counters.malformed += 1,
        }
        let start = &bytes[..bytes.len().min(11)];
        let text = format_args!("feed {}: {error}, passed over: {}", self.exchange, start.escape_ascii());
        self.bad.note(now, out, text);
    }

    /// What the receiver says besides messages.
    #[cold]
    pub(super) fn notice(&mut self, notice: Notice, now: Nanos, out: &mut impl FeedOut) {
        let exchange = self.exchange;
        match notice {
            Notice::Gap { .. } | Notice::Filled | Notice::Lost { .. } => {
                self.gaps.note(now, out, format_args!("feed {exchange}: {notice}"));
            }
            _ => out.note(format_args!("feed {exchange}: {notice}")),
        }
        match notice {
            Notice::Began { next, .. } => self.began(next, now, out),
            Notice::Changed { .. } => self.changed(now, out),
            Notice::Gap { from, to } => {
                self.doubts.gap = true;
                self.doubt(to - from, out);
            }
            Notice::Filled => self.doubts.gap = false,
            Notice::Lost { to, .. } => self.lost(to, now, out),
            Notice::Ended { .. } => self.ended(out),
            Notice::Stale => {
                self.doubts.stale = true;
                self.doubt(0, out);
            }
            Notice::Fresh => self.doubts.stale = false,
            Notice::Foreign { .. } | Notice::LineDown { .. } | Notice::LineUp { .. } => {}
        }
    }

    fn began(&mut self, next: u64, now: Nanos, out: &mut impl FeedOut) {
        self.doubt(0, out);
        out.event(Event::Feed(About::Began { exchange: self.exchange }));
        self.doubts.joining = false;
        if next == 1 || self.join != Join::Snapshot {
            self.clear(self.stamp, out);
        }
        match (next, self.join) {
            (1, _) => {}
            (_, Join::Snapshot) => self.recover(next, now, out),
            (_, Join::Replay | Join::Live) => self.doubts.lost = true,
        }
    }

    /// Another session: another day.
    fn changed(&mut self, now: Nanos, out: &mut impl FeedOut) {
        self.doubt(0, out);
        self.snapshot.abandon(out);
        self.kept.restart(0);
        self.doubts = Doubts { joining: true, ..Doubts::default() };
        let midnight = self.normaliser.midnight();
        let days = now.since(midnight) / NANOS_PER_DAY;
        self.normaliser.new_day(midnight.plus(days * NANOS_PER_DAY));
        self.stamp = self.stamp.max(self.normaliser.midnight());
    }

    /// Messages before `to` will not come.
    fn lost(&mut self, to: u64, now: Nanos, out: &mut impl FeedOut) {
        if self.login.is_some() {
            self.recover(to, now, out);
        } else {
            self.doubts.lost = true;
        }
    }

    fn ended(&mut self, out: &mut impl FeedOut) {
        self.snapshot.abandon(out);
        self.kept.restart(0);
        self.doubts = Doubts { over: true, ..Doubts::default() };
        self.doubt(0, out);
        self.clear(self.stamp, out);
        out.event(Event::Feed(About::Ended { exchange: self.exchange }));
    }

    fn clear(&mut self, ts_event: Nanos, out: &mut impl FeedOut) {
        let cleared = |instrument| Event::Market(Market { instrument, ts_event, update: Update::Clear });
        tell(&self.instruments, cleared, out);
    }

    /// A snapshot is wanted that knows everything before `first`; the stream is kept from there on.
    fn recover(&mut self, first: u64, now: Nanos, out: &mut impl FeedOut) {
        self.kept.restart(first);
        self.doubts.recovering = true;
        self.doubt(0, out);
        self.snapshot.want(now, out);
    }

    /// A message that comes while the snapshot does.
    #[cold]
    fn keep(&mut self, number: u64, bytes: &[u8], now: Nanos, out: &mut impl FeedOut) {
        match bytes.first_chunk() {
            // What a locate number means is known from here on, or what follows would be passed over as of others.
            Some(&[b'R', _, _]) => return self.uncommon(bytes, now, out),
            Some(&[_, high, low]) if self.normaliser.stock(u16::from_be_bytes([high, low])) == Stock::Other => {
                self.counters.others += 1;
                return;
            }
            _ => {}
        }
        if !self.kept.push(number, bytes, self.buffer_bytes) {
            self.counters.overflows += 1;
            self.kept.restart(number.saturating_add(1));
            let (exchange, limit) = (self.exchange, self.buffer_bytes);
            let text = format_args!(
                "feed {exchange}: the stream outgrew the {limit} bytes kept for it while a snapshot came: the snapshot is \
                 begun again"
            );
            self.bad.note(now, out, text);
        }
    }

    pub(super) fn on_connected(&mut self, now: Nanos, out: &mut impl FeedOut) {
        let Some(settings) = self.login else { return out.close() };
        self.snapshot.on_connected(settings, now, out);
    }

    /// Bytes of the snapshot; where the stream goes on, once it was applied.
    pub(super) fn on_bytes(&mut self, bytes: &[u8], most: u64, now: Nanos, out: &mut impl FeedOut) -> Option<u64> {
        match self.snapshot.on_bytes(bytes, &mut self.normaliser, now, out)? {
            Outcome::Failed(why) => {
                self.counters.snapshots_failed += 1;
                self.again(&why, now, out);
                None
            }
            Outcome::Whole(next) if next < self.kept.first => {
                self.counters.snapshots_old += 1;
                let why = format!("it ends before message {next}, the stream is kept from {} on", self.kept.first);
                self.again(&why, now, out);
                None
            }
            Outcome::Whole(next) if next > most => {
                self.counters.snapshots_failed += 1;
                self.again(&format!("it claims to go up to message {next}, far beyond the stream"), now, out);
                None
            }
            Outcome::Whole(next) => {
                self.restore(next, now, out);
                Some(next)
            }
        }
    }

    fn again(&mut self, why: &str, now: Nanos, out: &mut impl FeedOut) {
        let wait_ms = self.snapshot.retry(now) / 1_000_000;
        out.note(format_args!("feed {}: no snapshot, again in {wait_ms} ms: {why}", self.exchange));
    }

    /// The books become what the snapshot says, and go on from there.
    fn restore(&mut self, next: u64, now: Nanos, out: &mut impl FeedOut) {
        self.doubts.recovering = false;
        let (events, newest) = self.snapshot.take();
        self.stamp = self.stamp.max(newest);
        self.clear(self.stamp, out);
        self.counters.snapshots += 1;
        self.counters.events += events.len() as u64;
        let text = format_args!("feed {}: snapshot of {} events, from message {next} on", self.exchange, events.len());
        out.note(text);
        for event in &events {
            out.event(Event::Market(Market { ts_event: self.stamp, ..*event }));
        }
        let kept = std::mem::take(&mut self.kept);
        let mut rest = kept.bytes.as_slice();
        while let Some((number, message, behind)) = split_kept(rest) {
            if number >= next {
                self.apply(message, now, out);
            }
            rest = behind;
        }
        self.note_unlisted(out);
    }

    pub(super) fn on_closed(&mut self, now: Nanos, out: &mut impl FeedOut) {
        if self.snapshot.on_closed() {
            self.counters.snapshots_failed += 1;
            self.again("the connection was closed, or not made", now, out);
        }
    }

    pub(super) fn on_tick(&mut self, now: Nanos, out: &mut impl FeedOut) {
        if let Some(why) = self.snapshot.on_tick(now, out) {
            self.counters.snapshots_failed += 1;
            self.again(why, now, out);
        }
    }

    pub(super) fn next_tick(&self) -> Option<Nanos> {
        self.snapshot.next_tick()
    }
}

/// The stock that a message names.
fn stock_of<'a>(message: &Message<'a>) -> Option<&'a [u8; 8]> {
    Some(match message {
        Message::StockDirectory(m) => m.stock(),
        Message::StockTradingAction(m) => m.stock(),
        Message::AddOrder(m) => m.stock(),
        Message::AddOrderMpid(m) => m.stock(),
        Message::TradeNonCross(m) => m.stock(),
        Message::CrossTrade(m) => m.stock(),
        _ => return None,
    })
}

fn system_event(code: u8) -> &'static str {
    match code {
        b'O' => "start of messages",
        b'S' => "start of system hours",
        b'Q' => "start of market hours",
        b'M' => "end of market hours",
        b'E' => "end of system hours",
        b'C' => "end of messages",
        _ => "a system event of an unknown code",
    }
}
