//! The receiving side of MoldUDP64: packets of several lines in, every message once and in order out.
//!
//! All lines carry the same numbered messages; whichever brings a message first wins, so that arbitration is no more
//! than dropping what is old. A packet that comes early is kept until what is missing before it is there. A gap is
//! given a short time to close by itself, because the other line or a reordered packet usually closes it; then it is
//! *certain*, and requested from one server after another. What nobody sends is given up, said ([`Notice::Lost`]), and
//! the stream goes on behind it: only a snapshot can tell what it was. A packet of retransmission is a packet like any.
//!
//! Owns no socket and reads no clock: what it wants is asked of [`ReceiverOut`]; call [`Receiver::on_tick`] at
//! [`Receiver::next_tick`]. Assumes that `now` never goes back. Messages that come in order are given out as parts of
//! the datagram, without a copy. Bounded by [`MAX_EARLY_PACKETS`] and [`MAX_EARLY_BYTES`]: an early packet that does not
//! fit is dropped, counted, and its messages are requested as if the packet had been lost.
//!
//! Absent: what messages mean; snapshots; trust (a packet is believed if its session is ours and it is well formed).

use std::collections::BTreeMap;
use std::fmt;

use helios_types::Nanos;

use super::{END_OF_SESSION, HEADER_LENGTH, Header, MAX_COUNT, Packet, decode, encode_request};

/// Most lines of one feed.
pub const MAX_LINES: usize = 8;
/// Most packets kept because something before them is missing.
pub const MAX_EARLY_PACKETS: usize = 1 << 16;
/// Most bytes of them.
pub const MAX_EARLY_BYTES: usize = 1 << 26;
/// Buffers of early packets that are kept to be used again.
const MAX_SPARE: usize = 1 << 8;
/// Packets whose arrival is remembered to compare lines; a power of two.
const ARRIVALS: usize = 1 << 8;
/// Packets that must agree before a gap larger than the window is believed: one alone may be of somewhere else.
const FAR_WITNESSES: u32 = 2;
/// Packets in a row from behind us, and nothing else for the time of silence: the server has begun its session again.
const BEHIND_WITNESSES: u32 = 3;

/// How to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverConfig {
    /// Lines that carry the feed, 1 to [`MAX_LINES`]. Packets under another number (those of a socket for
    /// retransmissions) are taken as well, and counted for no line.
    pub lines: u8,
    /// The only session to accept; `None` takes what comes first, and later ones.
    pub session: Option<[u8; 10]>,
    /// Number of the first message wanted, 1 for all; `None` begins where the stream is.
    pub start: Option<u64>,
    /// How long a gap may take to close by itself before it is certain. Zero does not wait.
    pub wait_ns: u64,
    /// Retransmission servers, asked in turn; without one a certain gap is lost at once.
    pub servers: usize,
    /// A request without an answer is repeated at the next server after this time.
    pub timeout_ns: u64,
    /// Requests in a row that bring nothing before the missing messages are given up.
    pub attempts: u32,
    /// Most messages that are requested; a larger gap is given up when it is certain.
    pub window: u64,
    /// A line without a packet for this long is down; when all are, the feed is stale. Lines speak once a second.
    pub silence_ns: u64,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            lines: 1,
            session: None,
            start: None,
            wait_ns: 2_000_000,
            servers: 0,
            timeout_ns: 100_000_000,
            attempts: 10,
            window: 1_000_000,
            silence_ns: 3_000_000_000,
        }
    }
}

/// A session's name as it is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Session(pub [u8; 10]);

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.trim_ascii_end().escape_ascii())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the receiver has to say besides messages, in order with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The first packet of a session: message `next` is the first that will be given out. `at` is the number at which the
    /// stream is.
    Began { session: Session, next: u64, at: u64 },
    /// The session before is over, and what was missing of it with it; [`Notice::Began`] follows. Of the same name: the
    /// server has begun it again.
    Changed { from: Session, to: Session },
    /// Packets of another session, while ours is alive, are dropped: said once a session.
    Foreign { session: Session },
    /// Messages are missing, and no line brought them in time. Said once until [`Notice::Filled`].
    Gap { from: u64, to: u64 },
    /// Nothing is missing any more, but for what was lost.
    Filled,
    /// These messages, up to and without `to`, will not come.
    Lost { from: u64, to: u64 },
    /// The session is over, and all of it was given out or lost.
    Ended { next: u64 },
    /// No line has spoken for the time of silence.
    Stale,
    /// They speak again, and nothing is missing.
    Fresh,
    /// A line has not spoken for the time of silence.
    LineDown { line: u8 },
    /// It speaks again.
    LineUp { line: u8 },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Began { session, next, at } if next == at => write!(f, "session {session} from message {next} on"),
            Self::Began { session, next, at } => {
                write!(f, "session {session} from message {next} on; the stream is at {at}")
            }
            Self::Changed { from, to } if from == to => write!(f, "session {from} is begun again, with low numbers"),
            Self::Changed { from, to } => write!(f, "session {from} gave way to session {to}"),
            Self::Foreign { session } => {
                write!(f, "packets of session {session} are dropped, ours is alive: another group on these lines?")
            }
            Self::Gap { from, to } => write!(f, "messages {from} to {} are missing on every line", to - 1),
            Self::Filled => f.write_str("missing messages have come"),
            Self::Lost { from, to } => write!(f, "messages {from} to {} are lost", to - 1),
            Self::Ended { next } => write!(f, "end of session after message {}", next.saturating_sub(1)),
            Self::Stale => f.write_str("no line speaks: the feed is stale"),
            Self::Fresh => f.write_str("the feed speaks again, nothing is missing"),
            Self::LineDown { line } => write!(f, "line {} is silent", shown(line)),
            Self::LineUp { line } => write!(f, "line {} speaks again", shown(line)),
        }
    }
}

/// Lines are called A, B, C, …
fn shown(line: u8) -> char {
    char::from(b'A' + line % 26)
}

/// What the receiver asks of its owner.
pub trait ReceiverOut {
    /// The next message: every number once, in order, without a hole but for [`Notice::Lost`].
    fn message(&mut self, number: u64, bytes: &[u8]);
    /// A datagram to this retransmission server; the answer may come by any line.
    fn request(&mut self, server: usize, bytes: &[u8; HEADER_LENGTH]);
    /// Something that is no message.
    fn notice(&mut self, notice: Notice);
}

/// What one line did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineStats {
    /// Packets of our session, heartbeats included.
    pub packets: u64,
    /// Messages in them.
    pub messages: u64,
    /// Packets that brought something new.
    pub first: u64,
    /// Packets that brought nothing new.
    pub duplicates: u64,
    /// Messages that this line left out, whoever brought them.
    pub missed: u64,
    /// Packets behind one that this line had brought already: reordered, repeated or requested.
    pub late: u64,
    /// Packets that another line had brought before.
    pub behind: u64,
    /// By how much, all of them together; nanoseconds.
    pub behind_ns: u64,
    /// The most.
    pub behind_ns_max: u64,
    /// How often it fell silent.
    pub downs: u64,
    /// It is silent now.
    pub down: bool,
}

/// What happened to the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    /// Messages given out.
    pub messages: u64,
    /// Datagrams that are no packet, or whose numbers do not fit.
    pub malformed: u64,
    /// Packets of other sessions.
    pub foreign: u64,
    /// Packets kept because something before them was missing.
    pub early: u64,
    /// Packets for which there was no room, or which claimed what nothing confirmed.
    pub early_dropped: u64,
    /// Gaps that closed in time by themselves.
    pub closed: u64,
    /// Gaps that were certain.
    pub gaps: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests without an answer in time.
    pub timeouts: u64,
    /// Messages given up.
    pub lost: u64,
    /// Times that no line spoke.
    pub stale: u64,
    /// Sessions begun.
    pub sessions: u64,
}

#[derive(Clone, Copy, Default)]
struct Line {
    stats: LineStats,
    /// The number that this line will bring next; 0 before its first packet.
    next: u64,
    /// When it brought something new to it, or repeated its newest number: what is older may be of a server that has
    /// begun again.
    heard: Nanos,
}

/// When a packet came first, and by which line.
#[derive(Clone, Copy)]
struct Arrival {
    number: u64,
    at: Nanos,
    line: u8,
}

const NO_ARRIVAL: Arrival = Arrival { number: 0, at: Nanos(0), line: 0 };

/// A packet that came before its time.
struct Early {
    bytes: Vec<u8>,
    at: Nanos,
}

/// What is being done about missing messages.
#[derive(Clone, Copy)]
struct Gap {
    /// The first number missing when this was written: where it is another, there was progress.
    from: u64,
    /// When the wait is over, or the request has timed out.
    due: Nanos,
    /// Requests since the last progress; zero while waiting for the lines.
    asked: u32,
    /// [`Notice::Gap`] was said.
    certain: bool,
}

/// Receives one feed. See the module.
pub struct Receiver {
    config: ReceiverConfig,
    session: [u8; 10],
    begun: bool,
    /// The number that is given out next.
    next: u64,
    /// One more than the highest number known to exist; never below `next`.
    until: u64,
    /// False when there is more to do with a packet than to give out its messages.
    calm: bool,
    lines: Vec<Line>,
    arrivals: [Arrival; ARRIVALS],
    early: BTreeMap<u64, Early>,
    early_bytes: usize,
    spare: Vec<Vec<u8>>,
    gap: Option<Gap>,
    /// When `until` was raised by something that is not among the early packets.
    tail_at: Nanos,
    /// Packets in a row that claim a gap larger than the window.
    far: u32,
    /// Packets in a row that are of before what we have, while nothing else comes.
    behind: u32,
    server: usize,
    /// The number behind the session's last message.
    end: Option<u64>,
    ended: bool,
    stale: bool,
    foreign_said: bool,
    /// The session before, whose late packets are no news.
    previous: Option<[u8; 10]>,
    /// When silence is looked for next; `None` before the first call.
    check_at: Option<Nanos>,
    stats: ReceiverStats,
}

impl Receiver {
    /// Nothing heard yet. Panics for a number of lines that is none.
    pub fn new(config: ReceiverConfig) -> Self {
        let lines = usize::from(config.lines);
        assert!((1..=MAX_LINES).contains(&lines), "a feed has 1 to {MAX_LINES} lines, not {lines}");
        Self {
            config,
            session: [0; 10],
            begun: false,
            next: 0,
            until: 0,
            calm: true,
            lines: vec![Line::default(); lines],
            arrivals: [NO_ARRIVAL; ARRIVALS],
            early: BTreeMap::new(),
            early_bytes: 0,
            spare: Vec::new(),
            gap: None,
            tail_at: Nanos(0),
            far: 0,
            behind: 0,
            server: 0,
            end: None,
            ended: false,
            stale: false,
            foreign_said: false,
            previous: None,
            check_at: None,
            stats: ReceiverStats::default(),
        }
    }

    /// The number that is given out next; 0 before the session is known.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// One more than the highest number known to exist.
    pub fn known(&self) -> u64 {
        self.until
    }

    /// The session, once known.
    pub fn session(&self) -> Option<Session> {
        self.begun.then_some(Session(self.session))
    }

    /// What happened to the stream.
    pub fn stats(&self) -> &ReceiverStats {
        &self.stats
    }

    /// What each line did.
    pub fn lines(&self) -> impl Iterator<Item = &LineStats> + '_ {
        self.lines.iter().map(|line| &line.stats)
    }

    /// Packets and bytes that wait for what is missing before them.
    pub fn waiting(&self) -> (usize, usize) {
        (self.early.len(), self.early_bytes)
    }

    /// A datagram of a line, or of a retransmission server.
    #[inline]
    pub fn on_datagram(&mut self, line: u8, bytes: &[u8], now: Nanos, out: &mut impl ReceiverOut) {
        if self.is_old(line, bytes, now) {
            return;
        }
        let Ok(packet) = decode(bytes) else {
            self.stats.malformed += 1;
            return;
        };
        let header = packet.header();
        if (header.session != self.session || !self.begun) && !self.admit(&header, now, out) {
            return;
        }
        if self.stale && self.begins_again(&header, packet.next_sequence_number()) {
            self.change(&header, now, out);
        }
        self.hear(line, &header, packet.next_sequence_number(), now, out);
        if header.sequence_number == self.next && self.calm && !packet.is_end_of_session() {
            self.give(&packet, 0, out);
            self.until = self.until.max(self.next);
            if self.next == self.until {
                return;
            }
        } else {
            self.take(&packet, bytes, now, out);
        }
        self.settle(now, out);
    }

    /// True for a packet that the other line has brought already, which every second one is: its header tells.
    #[inline(always)]
    fn is_old(&mut self, line: u8, bytes: &[u8], now: Nanos) -> bool {
        let Some(header) = bytes.first_chunk::<HEADER_LENGTH>().map(Header::decode) else { return false };
        let Some(end) = header.sequence_number.checked_add(u64::from(header.message_count)) else { return false };
        let old = matches!(header.message_count, 1..=MAX_COUNT)
            && end <= self.next
            && header.session == self.session
            && self.calm
            && self.lines.get(usize::from(line)).is_some_and(|line| !line.stats.down);
        if old {
            self.count(line, &header, end, now);
        }
        old
    }

    /// A line has spoken.
    #[inline(always)]
    fn hear(&mut self, line: u8, header: &Header, end: u64, now: Nanos, out: &mut impl ReceiverOut) {
        if let Some(own) = self.lines.get_mut(usize::from(line))
            && own.stats.down
            && end >= own.next
        {
            own.stats.down = false;
            out.notice(Notice::LineUp { line });
        }
        self.count(line, header, end, now);
    }

    #[inline(always)]
    fn count(&mut self, line: u8, header: &Header, end: u64, now: Nanos) {
        let number = header.sequence_number;
        let Some(own) = self.lines.get_mut(usize::from(line)) else { return };
        if end >= own.next {
            own.heard = now;
        }
        own.stats.packets += 1;
        own.stats.messages += end - number;
        if own.next != 0 {
            own.stats.missed = own.stats.missed.saturating_add(number.saturating_sub(own.next));
            own.stats.late += u64::from(number < own.next && number < end);
        }
        own.next = own.next.max(end);
        if number == end {
            return;
        }
        let arrival = &mut self.arrivals[(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize % ARRIVALS];
        let known = arrival.number == number;
        if known && arrival.line != line {
            let behind = now.since(arrival.at);
            own.stats.behind += 1;
            own.stats.behind_ns = own.stats.behind_ns.saturating_add(behind);
            own.stats.behind_ns_max = own.stats.behind_ns_max.max(behind);
        }
        if known || end <= self.next {
            own.stats.duplicates += 1;
        } else {
            own.stats.first += 1;
            *arrival = Arrival { number, at: now, line };
        }
    }

    /// Gives out a packet's messages but for the first `old`.
    #[inline(always)]
    fn give(&mut self, packet: &Packet<'_>, old: u64, out: &mut impl ReceiverOut) {
        let mut number = packet.header().sequence_number + old;
        for message in packet.messages().skip(old as usize) {
            out.message(number, message);
            number += 1;
        }
        self.stats.messages += number - self.next;
        self.next = number;
    }

    /// A packet that is not simply the next one.
    #[cold]
    fn take(&mut self, packet: &Packet<'_>, bytes: &[u8], now: Nanos, out: &mut impl ReceiverOut) {
        let (number, end) = (packet.header().sequence_number, packet.next_sequence_number());
        if packet.is_end_of_session() && number >= self.next {
            self.end = self.end.or(Some(number));
        }
        if number <= self.next {
            if end > self.next {
                self.forget_far();
                self.give(packet, self.next - number, out);
                self.until = self.until.max(self.next);
                self.drain(out);
            }
            return;
        }
        if number - self.next > self.config.window {
            self.far = self.far.saturating_add(1);
        }
        let kept = number < end && self.keep(number, bytes, now);
        if end > self.until {
            self.until = end;
            if !kept {
                self.tail_at = now;
            }
        }
    }

    /// Keeps an early packet; of two that begin alike the longer one.
    fn keep(&mut self, number: u64, bytes: &[u8], now: Nanos) -> bool {
        if self.early.get(&number).is_some_and(|early| early.bytes.len() >= bytes.len()) {
            return true;
        }
        if self.early.len() >= MAX_EARLY_PACKETS || self.early_bytes + bytes.len() > MAX_EARLY_BYTES {
            self.stats.early_dropped += 1;
            return false;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(bytes);
        self.early_bytes += copy.len();
        self.stats.early += 1;
        if let Some(shorter) = self.early.insert(number, Early { bytes: copy, at: now }) {
            self.put_away(shorter.bytes);
        }
        true
    }

    fn put_away(&mut self, bytes: Vec<u8>) {
        self.early_bytes -= bytes.len();
        if self.spare.len() < MAX_SPARE {
            self.spare.push(bytes);
        }
    }

    /// Gives out what has become due of the early packets.
    fn drain(&mut self, out: &mut impl ReceiverOut) {
        while let Some(entry) = self.early.first_entry()
            && *entry.key() <= self.next
        {
            let (number, early) = entry.remove_entry();
            if let Ok(packet) = decode(&early.bytes)
                && packet.next_sequence_number() > self.next
            {
                self.give(&packet, self.next - number, out);
            }
            self.put_away(early.bytes);
        }
        self.until = self.until.max(self.next);
    }

    /// The stream went on where it was: a single packet that claimed to be far ahead of it is not of it.
    fn forget_far(&mut self) {
        if self.far == 0 || self.far >= FAR_WITNESSES {
            return;
        }
        self.far = 0;
        let beyond = self.early.split_off(&self.next.saturating_add(self.config.window).saturating_add(1));
        self.stats.early_dropped += beyond.len().max(1) as u64;
        for early in beyond.into_values() {
            self.put_away(early.bytes);
        }
        let last = self.early.last_key_value().and_then(|(_, early)| decode(&early.bytes).ok());
        self.until = last.map_or(self.next, |packet| packet.next_sequence_number()).max(self.next);
        self.end = self.end.filter(|end| *end <= self.until);
    }

    /// The number behind the first hole, and since when it is known.
    fn hole(&self) -> (u64, Nanos) {
        self.early.first_key_value().map_or((self.until, self.tail_at), |(number, early)| (*number, early.at))
    }

    /// Does what is due about missing messages, the end and silence.
    #[cold]
    fn settle(&mut self, now: Nanos, out: &mut impl ReceiverOut) {
        while self.next < self.until {
            let (to, known_at) = self.hole();
            let mut gap = self.gap.unwrap_or(Gap { from: 0, due: Nanos(0), asked: 0, certain: false });
            if gap.from != self.next {
                // Another hole, or what remains of one after an answer.
                gap = Gap { from: self.next, asked: 0, ..gap };
            }
            if gap.asked == 0 {
                gap.due = known_at.plus(self.config.wait_ns);
            }
            self.gap = Some(gap);
            if now < gap.due || !self.pursue(gap, to, now, out) {
                break;
            }
        }
        if self.next >= self.until
            && let Some(gap) = self.gap.take()
        {
            if gap.certain {
                out.notice(Notice::Filled);
            } else {
                self.stats.closed += 1;
            }
            self.far = 0;
        }
        if !self.ended && self.end.is_some_and(|end| self.next >= end) {
            self.ended = true;
            out.notice(Notice::Ended { next: self.next });
        }
        if self.stale && self.gap.is_none() && self.lines.iter().any(|line| !line.stats.down) {
            self.stale = false;
            out.notice(Notice::Fresh);
        }
        self.calm = self.gap.is_none() && !self.stale;
    }

    /// A hole up to `to` whose time is up: say it, ask for it, or give it up; true when it is behind us.
    fn pursue(&mut self, mut gap: Gap, to: u64, now: Nanos, out: &mut impl ReceiverOut) -> bool {
        let missing = to - self.next;
        let too_large = missing > self.config.window;
        if too_large && self.far < FAR_WITNESSES {
            gap.due = now.plus(self.config.timeout_ns.max(1));
            self.gap = Some(gap);
            return false;
        }
        if !gap.certain {
            gap.certain = true;
            self.stats.gaps += 1;
            out.notice(Notice::Gap { from: self.next, to });
        }
        self.stats.timeouts += u64::from(gap.asked > 0);
        if too_large || self.config.servers == 0 || gap.asked >= self.config.attempts {
            self.gap = Some(gap);
            self.stats.lost = self.stats.lost.saturating_add(missing);
            out.notice(Notice::Lost { from: self.next, to });
            self.next = to;
            self.drain(out);
            return true;
        }
        if gap.asked > 0 {
            self.server = (self.server + 1) % self.config.servers;
        }
        gap.asked += 1;
        gap.due = now.plus(self.config.timeout_ns.max(1));
        self.gap = Some(gap);
        self.stats.requests += 1;
        let count = missing.min(u64::from(MAX_COUNT)) as u16;
        out.request(self.server, &encode_request(self.session, self.next, count));
        false
    }

    /// A packet of a session that is not ours, or not yet: true when it is from now on.
    #[cold]
    fn admit(&mut self, header: &Header, now: Nanos, out: &mut impl ReceiverOut) -> bool {
        let wanted = self.config.session.is_none_or(|session| session == header.session);
        if !self.begun && wanted {
            self.begin(header, self.config.start, now, out);
            return true;
        }
        let late = self.previous == Some(header.session);
        if self.begun && wanted && (self.stale || self.ended && !late) {
            self.change(header, now, out);
            return true;
        }
        self.stats.foreign += 1;
        if !late && !self.foreign_said {
            self.foreign_said = true;
            out.notice(Notice::Foreign { session: Session(header.session) });
        }
        false
    }

    /// True when nobody has gone on with our session for the time of silence, and packets of its beginning come.
    fn begins_again(&mut self, header: &Header, end: u64) -> bool {
        self.behind = if header.session == self.session && end < self.next { self.behind + 1 } else { 0 };
        self.behind >= BEHIND_WITNESSES
    }

    fn change(&mut self, header: &Header, now: Nanos, out: &mut impl ReceiverOut) {
        out.notice(Notice::Changed { from: Session(self.session), to: Session(header.session) });
        self.previous = Some(self.session).filter(|session| *session != header.session);
        self.reset();
        self.begin(header, self.config.start.map(|_| 1), now, out);
    }

    fn begin(&mut self, header: &Header, start: Option<u64>, now: Nanos, out: &mut impl ReceiverOut) {
        self.begun = true;
        self.session = header.session;
        self.next = start.unwrap_or(header.sequence_number);
        self.until = self.next;
        self.tail_at = now;
        self.stats.sessions += 1;
        self.lines.iter_mut().for_each(|line| line.heard = now);
        let at = header.sequence_number;
        out.notice(Notice::Began { session: Session(self.session), next: self.next, at });
    }

    /// Forgets everything of the session.
    fn reset(&mut self) {
        for early in std::mem::take(&mut self.early).into_values() {
            self.put_away(early.bytes);
        }
        self.lines.iter_mut().for_each(|line| line.next = 0);
        self.arrivals = [NO_ARRIVAL; ARRIVALS];
        (self.far, self.behind) = (0, 0);
        (self.gap, self.end, self.ended, self.foreign_said) = (None, None, false, false);
    }

    /// A snapshot has told everything before `next`: what is older is not wanted any more.
    pub fn resume_at(&mut self, next: u64, now: Nanos, out: &mut impl ReceiverOut) {
        if self.begun && next > self.next {
            self.next = next;
            self.drain(out);
            self.settle(now, out);
        }
    }

    /// Does what time brings.
    pub fn on_tick(&mut self, now: Nanos, out: &mut impl ReceiverOut) {
        if self.gap.is_some() {
            self.settle(now, out);
        }
        match self.check_at {
            None => {
                // Silence is counted from here on.
                self.lines.iter_mut().for_each(|line| line.heard = line.heard.max(now));
                self.check_at = Some(now.plus(self.config.silence_ns));
            }
            Some(at) if now >= at => self.check(now, out),
            Some(_) => {}
        }
    }

    /// Looks for silent lines.
    fn check(&mut self, now: Nanos, out: &mut impl ReceiverOut) {
        let (silence, mut next) = (self.config.silence_ns, now.plus(self.config.silence_ns));
        if self.ended {
            self.check_at = Some(next);
            return;
        }
        for (number, line) in (0..).zip(&mut self.lines) {
            if line.stats.down {
                continue;
            }
            if now.since(line.heard) < silence {
                next = next.min(line.heard.plus(silence));
                continue;
            }
            line.stats.down = true;
            line.stats.downs += 1;
            out.notice(Notice::LineDown { line: number });
        }
        if !self.stale && self.lines.iter().all(|line| line.stats.down) {
            (self.stale, self.calm) = (true, false);
            self.stats.stale += 1;
            out.notice(Notice::Stale);
        }
        self.check_at = Some(next);
    }

    /// When [`Receiver::on_tick`] is due.
    #[inline]
    pub fn next_tick(&self) -> Nanos {
        let check_at = self.check_at.unwrap_or(Nanos(0));
        self.gap.map_or(check_at, |gap| gap.due.min(check_at))
    }
}

const _: () = assert!(ARRIVALS.is_power_of_two() && MAX_COUNT < END_OF_SESSION);
