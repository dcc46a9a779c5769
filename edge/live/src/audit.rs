//! A drop copy at work: its session, and our fills held against what it tells.
//!
//! It is beside the way from packet to order: the driver gives it a thread of its own, tells it fills after the orders that
//! came with them were written, and gives the engine what it finds, as an input. It speaks with nobody but the drop copy.
//! It has no store of messages: each logon begins a new session, in which the day is told from its beginning.

use std::fmt;

use helios_types::{Fill, InstrumentId, Nanos, Output, Quantity};

use crate::entry::{DropCopy, DropCopyOut, EntryError, FixConfig, Recorded, Traded};
use crate::reconcile::{Reconcile, ReconcileConfig, ReconcileCounters};

/// How often an [`Audit`] wants its tick.
pub const AUDIT_TICK_NS: u64 = 50_000_000;

/// Two clocks at one moment: that of messages, and one that is never set.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Nanoseconds since 1970; may be set back.
    pub utc: Nanos,
    /// Nanoseconds since whenever; never goes back, never jumps.
    pub steady: Nanos,
}

/// What an audit asks of the world.
pub trait AuditOut {
    /// By how much the venue's position in an instrument is above ours: [`helios_types::Link::Position`] for the engine,
    /// whose own position is added when it hears of it.
    fn differs(&mut self, instrument: InstrumentId, by: Quantity);
    /// Who lacks which execution, for the log.
    fn lacks(&mut self, text: fmt::Arguments<'_>);
    /// Connect; answered by `on_connected` or `on_closed`.
    fn connect(&mut self);
    /// To the counterparty.
    fn write(&mut self, bytes: &[u8]);
    /// End the connection; `on_closed` does not follow.
    fn close(&mut self);
    /// For the log. Without secrets.
    fn note(&mut self, text: fmt::Arguments<'_>);
}

/// How a drop copy stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditTold {
    /// It is logged on.
    pub up: bool,
    /// It was refused and will not be tried again.
    pub given_up: bool,
    /// Executions that it told.
    pub told: u64,
    /// Executions that we lack, and that it lacks, beyond the grace time.
    pub lacking: (u64, u64),
    /// Executions of instruments that the run does not have.
    pub foreign: u64,
    /// What was compared.
    pub counters: ReconcileCounters,
}

/// One drop copy.
pub struct Audit {
    copy: DropCopy,
    reconcile: Reconcile,
    /// The session of order entry whose orders it tells of.
    session: u32,
    up: bool,
    repeats: u64,
}

impl Audit {
    /// Not connected. Of `fix` session, references and prefix are not looked at; its symbols are the venue's, those of
    /// `compared` are ours.
    pub fn new(fix: &FixConfig, compared: ReconcileConfig, session: u32) -> Result<Self, EntryError> {
        let (copy, reconcile) = (DropCopy::new(fix)?, Reconcile::new(compared));
        Ok(Self { copy, reconcile, session, up: false, repeats: 0 })
    }

    /// The session of order entry whose executions it tells.
    pub fn session(&self) -> u32 {
        self.session
    }

    /// A record of the journal; all are wanted, before the first tick.
    pub fn recover(&mut self, recorded: &Recorded<'_>) {
        if let Recorded::Output(Output::Fill(fill)) = recorded {
            self.reconcile.on_fill(fill, Nanos(0));
        }
    }

    /// The engine booked it.
    pub fn on_fill(&mut self, fill: &Fill, now: Moment) {
        self.reconcile.on_fill(fill, now.steady);
    }

    /// Order entry is settled, or is not any more.
    pub fn on_entry(&mut self, is_settled: bool, now: Moment) {
        self.reconcile.on_entry(is_settled, now.steady);
    }

    /// Order entry was heard last then, by the steady clock; it is no news when it is not later than what was said before.
    pub fn on_entry_heard(&mut self, at: Nanos) {
        self.reconcile.on_entry_heard(at);
    }

    /// The connection that was asked for is there.
    pub fn on_connected(&mut self, now: Moment, out: &mut impl AuditOut) {
        self.copy.on_connected(now.utc, &mut Hearing { reconcile: &mut self.reconcile, now: now.steady, out });
        self.look(now);
    }

    /// A piece of what came, cut anywhere.
    pub fn on_bytes(&mut self, bytes: &[u8], now: Moment, out: &mut impl AuditOut) {
        self.copy.on_bytes(bytes, now.utc, &mut Hearing { reconcile: &mut self.reconcile, now: now.steady, out });
        self.look(now);
        self.reconcile.on_copy_heard(now.steady);
    }

    /// The connection is gone, or could not be made.
    pub fn on_closed(&mut self, now: Moment, out: &mut impl AuditOut) {
        self.copy.on_closed(now.utc, &mut Hearing { reconcile: &mut self.reconcile, now: now.steady, out });
        self.look(now);
    }

    /// Time passes; wanted every [`AUDIT_TICK_NS`].
    pub fn on_tick(&mut self, now: Moment, out: &mut impl AuditOut) {
        if self.copy.next_tick().is_some_and(|at| at <= now.utc) {
            self.copy.on_tick(now.utc, &mut Hearing { reconcile: &mut self.reconcile, now: now.steady, out });
            self.look(now);
        }
        let mut found = Vec::new();
        self.reconcile
            .on_tick(now.steady, &mut |instrument, by| found.push((instrument, by)), &mut |text| out.lacks(text));
        found.into_iter().for_each(|(instrument, by)| out.differs(instrument, by));
    }

    /// The run ends: takes leave. No new connection is made.
    pub fn stop(&mut self, now: Moment, out: &mut impl AuditOut) {
        self.copy.stop(now.utc, &mut Hearing { reconcile: &mut self.reconcile, now: now.steady, out });
        self.look(now);
    }

    /// How it stands.
    pub fn told(&self) -> AuditTold {
        AuditTold {
            up: self.up,
            given_up: self.copy.is_given_up(),
            told: self.copy.counts().0,
            foreign: self.copy.counts().1,
            lacking: self.reconcile.lacking(),
            counters: self.reconcile.counters(),
        }
    }

    /// What has become of the session, and whether it is repeating itself.
    fn look(&mut self, now: Moment) {
        let (up, repeats) = (self.copy.is_logged_on(), self.copy.repeats());
        if self.up != up {
            self.up = up;
            self.reconcile.on_copy(up, now.steady);
        }
        if self.repeats != repeats {
            self.repeats = repeats;
            self.reconcile.on_repeated(now.steady);
        }
    }
}

/// The session's view of the world.
struct Hearing<'a, O> {
    reconcile: &'a mut Reconcile,
    now: Nanos,
    out: &'a mut O,
}

impl<O: AuditOut> DropCopyOut for Hearing<'_, O> {
    fn traded(&mut self, traded: &Traded<'_>) {
        self.reconcile.on_told(traded, self.now);
    }
    fn connect(&mut self) {
        self.out.connect();
    }
    fn write(&mut self, bytes: &[u8]) {
        self.out.write(bytes);
    }
    fn close(&mut self) {
        self.out.close();
    }
    fn note(&mut self, text: fmt::Arguments<'_>) {
        self.out.note(text);
    }
}
