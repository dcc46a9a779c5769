//! Order entry: outputs of the engine go to a venue, its answers come back as events.
//!
//! An [`Entry`] is one session. It says what it comes to in [`Link`](helios_types::Link) events: `Down` at its first tick
//! and whenever the connection is lost, `Up` when it is logged in, `Settled` when the venue has told all that it knows and
//! the fate of every order is decided. An order that the journal has is never sent again; whether it arrived, the venue
//! says.
//!
//! References are given out in the order of `Submit` and `Replace` outputs, so that [`Entry::recover`] over a journal
//! gives the same ones. What was heard before is known by reference and execution number and told once.
//! Absent: sockets and clocks; broken and corrected trades have no event and are notes: positions must then be compared
//! with the venue's books. OUCH and SoupBinTCP have no message that asks for cancel on disconnect: it is a setting of the
//! port.

mod drop_copy;
mod fix;
mod orders;
mod ouch;
mod reconnect;
mod said;
mod table;

use std::fmt;

use helios_types::{Event, Nanos, OrderId, Output};
use helios_wire::soupbintcp::ClientSettings;

use crate::EntryOut;
pub use drop_copy::{DropCopy, DropCopyOut, MAX_EXECUTIONS, Traded};
pub use fix::{Fix, FixConfig};
pub use ouch::Ouch;
pub use table::MAX_ORDERS;

/// A password. It is shown nowhere.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// How the venue is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OUCH 4.2 over SoupBinTCP.
    Ouch42,
    /// OUCH 5.0 over SoupBinTCP.
    Ouch50,
}

/// One session.
#[derive(Clone, Debug)]
pub struct EntryConfig {
    /// Its name in notes.
    pub name: String,
    /// Its number in the run.
    pub session: u32,
    /// How the venue is spoken to.
    pub protocol: Protocol,
    /// At most six characters.
    pub user: String,
    /// At most ten characters.
    pub password: Secret,
    /// The venue's symbol of each instrument; `None` for one that trades through another session.
    pub symbols: Vec<Option<String>>,
    /// The beginning of the venue's day: its stamps count from there.
    pub midnight: Nanos,
    /// The first reference that this journal gives out. References of a day must be unique over all journals of the user:
    /// see [`first_reference`].
    pub first_reference: u32,
    /// What OUCH 4.2 tokens begin with, at most four letters.
    pub token_prefix: String,
    /// SoupBinTCP 4.1: the connection is dead after so long; without it 15 seconds, and the login is that of 4.0.
    pub timeout_ms: Option<u64>,
    /// Spreads the times of new attempts to connect.
    pub seed: Option<u64>,
}

/// A first reference for a journal that begins so many nanoseconds after the venue's midnight: above those of journals
/// that began earlier this day, as long as they gave out fewer than 40,000 a second on average.
pub fn first_reference(since_midnight_ns: u64) -> u32 {
    let seconds = since_midnight_ns / helios_types::NANOS_PER_SECOND;
    u32::try_from(seconds.min(86_400) * 40_000 + 1).expect("a day's references fit")
}

/// A session that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryError(String);

impl EntryError {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EntryError {}

/// What a journal holds: inputs tell what the venue had said, outputs what had been sent.
#[derive(Clone, Copy, Debug)]
pub enum Recorded<'a> {
    /// What the engine heard.
    Input(&'a Event),
    /// What the engine said.
    Output(&'a Output),
}

/// What happened in a session since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryCounters {
    /// Messages sent: orders, cancels, replaces.
    pub sent: u64,
    /// Reports told to the engine.
    pub reports: u64,
    /// Orders and changes that the protocol cannot express, or for which a table was full.
    pub refused: u64,
    /// Messages that said what was known.
    pub repeated: u64,
    /// Messages about references that are not ours.
    pub foreign: u64,
    /// Messages that could not be read, or made no sense.
    pub odd: u64,
    /// Messages of the venue that were never received.
    pub missed: u64,
    /// Executions that the venue declared void, or changed.
    pub broken: u64,
    /// Successful logins.
    pub logins: u64,
    /// Orders and changes that never arrived.
    pub never_arrived: u64,
}

/// One order-entry session.
pub enum Entry {
    /// OUCH 4.2 or 5.0.
    Ouch(Box<Ouch>),
    /// FIX 4.4.
    Fix(Box<Fix>),
}

impl Entry {
    /// Not connected; the first tick asks for it.
    pub fn new(config: EntryConfig) -> Result<Self, EntryError> {
        let wrong = |what: String| EntryError(format!("session {}: {what}", config.name));
        let mut settings = ClientSettings::new(&config.user, config.password.text())
            .map_err(|error| wrong(format!("user or password: {error}")))?;
        if let Some(ms) = config.timeout_ms {
            settings = settings.with_timeout_ms(ms);
        }
        if let Some(long) = config.symbols.iter().flatten().find(|symbol| symbol.len() > 8 || !symbol.is_ascii()) {
            return Err(wrong(format!("symbol {long:?} has more than 8 ASCII characters: give the venue's own")));
        }
        if config.first_reference == 0 {
            return Err(wrong("first_reference is 0: references begin at 1".to_owned()));
        }
        let prefix = config.token_prefix.as_bytes();
        if prefix.len() > 4 || !prefix.iter().all(u8::is_ascii_alphabetic) {
            return Err(wrong(format!("token_prefix {:?} is not up to four letters", config.token_prefix)));
        }
        Ok(Self::Ouch(Box::new(Ouch::new(&config, settings))))
    }

    /// The same for FIX 4.4.
    pub fn fix(config: &FixConfig) -> Result<Self, EntryError> {
        Ok(Self::Fix(Box::new(Fix::new(config)?)))
    }

    /// A record of the journal; all of them are wanted, in order, before the first tick. References are given out as they
    /// were, orders stand as they stood, the venue will be asked to go on where it was heard last. Nothing is sent.
    pub fn recover(&mut self, recorded: &Recorded<'_>) {
        match self {
            Self::Ouch(ouch) => ouch.recover(recorded),
            Self::Fix(fix) => fix.recover(recorded),
        }
    }

    /// The connection that was asked for is there.
    pub fn on_connected(&mut self, now: Nanos, out: &mut impl EntryOut) {
        match self {
            Self::Ouch(ouch) => ouch.on_connected(now, out),
            Self::Fix(fix) => fix.on_connected(now, out),
        }
    }

    /// A piece of what came, cut anywhere.
    pub fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl EntryOut) {
        match self {
            Self::Ouch(ouch) => ouch.on_bytes(bytes, now, out),
            Self::Fix(fix) => fix.on_bytes(bytes, now, out),
        }
    }

    /// The connection is gone, or could not be made.
    pub fn on_closed(&mut self, now: Nanos, out: &mut impl EntryOut) {
        match self {
            Self::Ouch(ouch) => ouch.on_closed(now, out),
            Self::Fix(fix) => fix.on_closed(now, out),
        }
    }

    /// Heartbeats, timeouts, attempts to connect; wanted at [`Entry::next_tick`], harmless at any time.
    pub fn on_tick(&mut self, now: Nanos, out: &mut impl EntryOut) {
        match self {
            Self::Ouch(ouch) => ouch.on_tick(now, out),
            Self::Fix(fix) => fix.on_tick(now, out),
        }
    }

    /// When it wants to be asked again.
    pub fn next_tick(&self) -> Option<Nanos> {
        match self {
            Self::Ouch(ouch) => ouch.next_tick(),
            Self::Fix(fix) => fix.next_tick(),
        }
    }

    /// An output of the engine: orders, cancels and replaces of this session's instruments go out, others are not looked
    /// at. The hot path.
    #[inline]
    pub fn send(&mut self, output: &Output, now: Nanos, out: &mut impl EntryOut) {
        match self {
            Self::Ouch(ouch) => ouch.send(output, now, out),
            Self::Fix(fix) => fix.send(output, now, out),
        }
    }

    /// Says goodbye; no new connection is made.
    pub fn stop(&mut self, now: Nanos, out: &mut impl EntryOut) {
        match self {
            Self::Ouch(ouch) => ouch.stop(now, out),
            Self::Fix(fix) => fix.stop(now, out),
        }
    }

    /// The order that a drop copy calls so.
    pub fn order(&mut self, name: &str) -> Option<OrderId> {
        match self {
            Self::Ouch(ouch) => ouch.order(name),
            Self::Fix(fix) => fix.order(name),
        }
    }

    /// Logged in, and the fate of every order is known.
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Ouch(ouch) => ouch.is_settled(),
            Self::Fix(fix) => fix.is_settled(),
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> EntryCounters {
        match self {
            Self::Ouch(ouch) => ouch.counters(),
            Self::Fix(fix) => fix.counters(),
        }
    }
}
