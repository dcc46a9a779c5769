//! The snapshot session: connects, logs in, collects the venue's present state, and tries again when it fails.

use helios_data::normalise::ItchNormaliser;
use helios_types::{Market, NANOS_PER_SECOND, Nanos};
use helios_wire::soupbintcp::{self, Accepted, Client, ClientOut, ClientSettings, Closed};
use helios_wire::{WireError, itch};

use crate::FeedOut;

/// Most events of a snapshot: more resting orders than a whole market has.
pub const MAX_SNAPSHOT_EVENTS: usize = 1 << 22;
/// A connection that takes longer is not made.
const CONNECT_NS: u64 = 5 * NANOS_PER_SECOND;
/// A snapshot that takes longer will never end.
const WHOLE_NS: u64 = 60 * NANOS_PER_SECOND;
/// The wait before another attempt, which doubles up to the longest.
const RETRY_NS: u64 = NANOS_PER_SECOND / 4;
const RETRY_NS_MAX: u64 = 8 * NANOS_PER_SECOND;
/// The message behind a snapshot's last: `G` and the number at which the stream goes on, as twenty ASCII digits.
const END: u8 = b'G';
const END_LENGTH: usize = 21;

#[derive(Default)]
enum Phase {
    /// None is wanted.
    #[default]
    Idle,
    /// The last attempt failed.
    Waiting {
        until: Nanos,
    },
    Connecting {
        since: Nanos,
    },
    Session {
        client: Client,
        since: Nanos,
    },
}

/// What came of an attempt.
pub(super) enum Outcome {
    /// Everything before this number of the stream is in it.
    Whole(u64),
    /// Why not.
    Failed(String),
}

/// The session and what it has brought so far.
#[derive(Default)]
pub(super) struct Snapshot {
    phase: Phase,
    failures: u32,
    events: Vec<Market>,
    newest: Nanos,
}

impl Snapshot {
    /// A snapshot is wanted; one that is on its way will do, if it is new enough.
    pub(super) fn want(&mut self, now: Nanos, out: &mut impl FeedOut) {
        if let Phase::Idle = self.phase {
            self.connect(now, out);
        }
    }

    fn connect(&mut self, now: Nanos, out: &mut impl FeedOut) {
        self.phase = Phase::Connecting { since: now };
        out.connect();
    }

    fn forget(&mut self) {
        self.events.clear();
        self.newest = Nanos(0);
    }

    /// None is wanted any more.
    pub(super) fn abandon(&mut self, out: &mut impl FeedOut) {
        if let Phase::Connecting { .. } | Phase::Session { .. } = self.phase {
            out.close();
        }
        (self.phase, self.failures) = (Phase::Idle, 0);
        self.forget();
    }

    /// The attempt failed: how long until the next.
    pub(super) fn retry(&mut self, now: Nanos) -> u64 {
        let wait = (RETRY_NS << self.failures.min(10)).min(RETRY_NS_MAX);
        self.failures += 1;
        self.forget();
        self.phase = Phase::Waiting { until: now.plus(wait) };
        wait
    }

    /// What it has brought, and the newest stamp in it.
    pub(super) fn take(&mut self) -> (Vec<Market>, Nanos) {
        (self.phase, self.failures) = (Phase::Idle, 0);
        (std::mem::take(&mut self.events), std::mem::take(&mut self.newest))
    }

    pub(super) fn on_connected(&mut self, settings: ClientSettings, now: Nanos, out: &mut impl FeedOut) {
        if !matches!(self.phase, Phase::Connecting { .. }) {
            return out.close();
        }
        let mut client = Client::new(settings);
        client.on_connected(now, &mut Writer(out));
        self.phase = Phase::Session { client, since: now };
    }

    pub(super) fn on_bytes(
        &mut self,
        bytes: &[u8],
        normaliser: &mut ItchNormaliser,
        now: Nanos,
        out: &mut impl FeedOut,
    ) -> Option<Outcome> {
        let Phase::Session { client, .. } = &mut self.phase else { return None };
        let (events, newest) = (&mut self.events, &mut self.newest);
        let mut inside = Inside { events, newest, normaliser, outcome: None, out };
        client.on_bytes(bytes, now, &mut inside);
        let outcome = inside.outcome;
        if outcome.is_some() {
            // Nothing is said where the connection has ended.
            client.logout(&mut Writer(out));
        }
        outcome
    }

    /// True when an attempt has come to nothing.
    pub(super) fn on_closed(&mut self) -> bool {
        matches!(self.phase, Phase::Connecting { .. } | Phase::Session { .. })
    }

    /// Why an attempt has come to nothing.
    pub(super) fn on_tick(&mut self, now: Nanos, out: &mut impl FeedOut) -> Option<&'static str> {
        match &mut self.phase {
            Phase::Waiting { until } if now >= *until => self.connect(now, out),
            Phase::Connecting { since } if now.since(*since) >= CONNECT_NS => {
                out.close();
                return Some("no connection in 5 s");
            }
            Phase::Session { since, .. } if now.since(*since) >= WHOLE_NS => {
                out.close();
                return Some("it was not whole after 60 s");
            }
            Phase::Session { client, .. } => {
                let mut writer = Closing { out, closed: false };
                client.on_tick(now, &mut writer);
                if writer.closed {
                    return Some("the server fell silent");
                }
            }
            _ => {}
        }
        None
    }

    pub(super) fn next_tick(&self) -> Option<Nanos> {
        match &self.phase {
            Phase::Idle => None,
            Phase::Waiting { until } => Some(*until),
            Phase::Connecting { since } => Some(since.plus(CONNECT_NS)),
            Phase::Session { client, since } => {
                let whole = since.plus(WHOLE_NS);
                Some(client.next_tick().map_or(whole, |at| at.min(whole)))
            }
        }
    }
}

/// Only writes and closes.
struct Writer<'a, O>(&'a mut O);

impl<O: FeedOut> ClientOut for Writer<'_, O> {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn close(&mut self, _: &Closed) {
        self.0.close();
    }

    fn accepted(&mut self, _: &Accepted) {}

    fn message(&mut self, _: u64, _: &[u8]) {}
}

/// The same, and remembers that it closed.
struct Closing<'a, O> {
    out: &'a mut O,
    closed: bool,
}

impl<O: FeedOut> ClientOut for Closing<'_, O> {
    fn write(&mut self, bytes: &[u8]) {
        self.out.write(bytes);
    }

    fn close(&mut self, _: &Closed) {
        self.closed = true;
        self.out.close();
    }

    fn accepted(&mut self, _: &Accepted) {}

    fn message(&mut self, _: u64, _: &[u8]) {}
}

/// Collects the snapshot's messages.
struct Inside<'a, O> {
    events: &'a mut Vec<Market>,
    newest: &'a mut Nanos,
    normaliser: &'a mut ItchNormaliser,
    outcome: Option<Outcome>,
    out: &'a mut O,
}

impl<O: FeedOut> ClientOut for Inside<'_, O> {
    fn write(&mut self, bytes: &[u8]) {
        self.out.write(bytes);
    }

    fn close(&mut self, why: &Closed) {
        self.out.close();
        if self.outcome.is_none() {
            self.outcome = Some(Outcome::Failed(why.to_string()));
        }
    }

    fn accepted(&mut self, login: &Accepted) {
        if login.next != 1 {
            self.outcome = Some(Outcome::Failed(format!("it begins with message {}, not with 1", login.next)));
        }
    }

    fn message(&mut self, _: u64, payload: &[u8]) {
        if self.outcome.is_none() {
            self.outcome = match payload.first() {
                Some(&END) => Some(end(payload)),
                _ => self.collect(payload).err().map(Outcome::Failed),
            };
        }
    }
}

impl<O> Inside<'_, O> {
    fn collect(&mut self, payload: &[u8]) -> Result<(), String> {
        let message = match itch::decode(payload) {
            Ok(message) => message,
            // New types of messages appear; one that is known and has another length makes the rest doubtful.
            Err(WireError::UnknownType(_)) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let Some(event) = self.normaliser.normalise(&message) else { return Ok(()) };
        if self.events.len() >= MAX_SNAPSHOT_EVENTS {
            return Err(format!("it has more than {MAX_SNAPSHOT_EVENTS} events"));
        }
        *self.newest = (*self.newest).max(event.ts_event);
        self.events.push(event);
        Ok(())
    }
}

/// The number in the last message.
fn end(payload: &[u8]) -> Outcome {
    let digits = soupbintcp::strip(&payload[1..]);
    let number = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
    match number.and_then(|digits| digits.parse().ok()) {
        Some(number) if payload.len() == END_LENGTH => Outcome::Whole(number),
        _ => Outcome::Failed(format!("its last message is no G and 20 digits: {}", payload.escape_ascii())),
    }
}
