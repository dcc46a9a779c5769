//! What is known of the order-entry sessions: which are up, which have told all that they know, and where each one goes
//! on after a failure.
//!
//! A run of which no [`Link`](helios_types::Link) is ever heard (a backtest) is linked from its beginning. Bounded: at
//! most [`MAX_SESSIONS`] sessions; wishes to cancel that wait are of working orders, of which there are at most
//! [`MAX_OPEN_ORDERS`](crate::MAX_OPEN_ORDERS).

use std::collections::BTreeSet;

use helios_types::{Digest, Hasher, InstrumentId, Nanos, OrderId, OrderState, Output};

use crate::lifecycle::{Happening, next};
use crate::orders::{Working, change};

/// Sessions of a run; what is said of one beyond them is refused.
pub const MAX_SESSIONS: usize = 64;

/// One order-entry session, as far as the engine was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Logged on: cancels go out.
    pub up: bool,
    /// It has told all that it knows: new orders go out.
    pub settled: bool,
    /// It was down at some time of this run, so that what it says may be a repetition.
    pub was_lost: bool,
    /// The venue's name of its session, of the last message that was taken in.
    pub name: u128,
    /// Number of the venue's first message that was not taken in yet; zero before anything was heard.
    pub next: u64,
}

impl Session {
    const LINKED: Self = Self { up: true, settled: true, was_lost: false, name: 0, next: 0 };
}

/// All sessions.
#[derive(Debug)]
pub struct Links {
    /// By number; those of which nothing was heard need not be here.
    sessions: Vec<Session>,
    /// The session of each instrument; empty when all trade through session 0.
    session_of: Vec<u32>,
    /// Every session is settled, and none was ever down: the only question on the way of an order.
    untroubled: bool,
    /// Working orders whose cancel waits for their session, or was sent behind a replace that is refused.
    pub(crate) cancels: BTreeSet<OrderId>,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self { sessions: Vec::new(), session_of: Vec::new(), untroubled: true, cancels: BTreeSet::new() }
    }

    pub(crate) fn through(&mut self, session_of: Vec<u32>) {
        assert!(
            session_of.iter().all(|session| (*session as usize) < MAX_SESSIONS),
            "a session number is out of range"
        );
        self.session_of = session_of;
    }

    /// The session of each instrument; empty when all trade through session 0.
    pub fn session_of_each(&self) -> &[u32] {
        &self.session_of
    }

    /// What is known of each session, by number; a session that is not listed is linked, and nothing was heard of it.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// What is known of a session.
    pub fn session(&self, number: u32) -> Session {
        self.sessions.get(number as usize).copied().unwrap_or(Session::LINKED)
    }

    /// The session that an instrument's orders go through.
    pub fn session_of(&self, instrument: InstrumentId) -> u32 {
        self.session_of.get(instrument.index()).copied().unwrap_or(0)
    }

    /// New orders of the instrument go out.
    #[inline]
    pub fn is_open(&self, instrument: InstrumentId) -> bool {
        self.untroubled || self.session(self.session_of(instrument)).settled
    }

    /// Cancels of the instrument's orders go out.
    pub fn is_up(&self, instrument: InstrumentId) -> bool {
        self.untroubled || self.session(self.session_of(instrument)).up
    }

    /// What is said of the instrument's orders may have been said before.
    #[inline]
    pub(crate) fn may_repeat(&self, instrument: InstrumentId) -> bool {
        !self.untroubled && self.session(self.session_of(instrument)).was_lost
    }

    /// The entry of a session, made at its first use; `None` beyond [`MAX_SESSIONS`].
    pub(crate) fn entry(&mut self, number: u32) -> Option<&mut Session> {
        let at = number as usize;
        if at >= MAX_SESSIONS {
            return None;
        }
        if at >= self.sessions.len() {
            self.sessions.resize(at + 1, Session::LINKED);
        }
        Some(&mut self.sessions[at])
    }

    /// What a snapshot says of the sessions.
    pub(crate) fn put(&mut self, sessions: Vec<Session>) {
        self.sessions = sessions;
        self.look();
    }

    /// After a change of a session's entry.
    pub(crate) fn look(&mut self) {
        self.untroubled = self.sessions.iter().all(|session| session.settled && !session.was_lost);
    }

    /// Asks the venue to cancel, or remembers to ask when the session is up. A second cancel while the first is on its way
    /// is no new message.
    pub(crate) fn ask_cancel(&mut self, now: Nanos, working: &mut Working, out: &mut Vec<Output>) {
        let Some(to) = next(working.state, Happening::AskCancel, working.filled.0 > 0) else { return };
        if !self.is_up(working.order.instrument) {
            self.cancels.insert(working.order.id);
            return;
        }
        self.cancels.remove(&working.order.id);
        working.asked_at = now;
        change(working, to, None, out);
        out.push(Output::Cancel { order: working.order.id, instrument: working.order.instrument });
    }

    /// A change was refused while a cancel was on its way. If it was a replace, the cancel may name what that would have made
    /// of the order; then it is refused too, and is sent once more.
    pub(crate) fn cancel_refused(&mut self, now: Nanos, working: &mut Working, out: &mut Vec<Output>) {
        if working.state != OrderState::CancelPending {
            if self.cancels.contains(&working.order.id) {
                self.ask_cancel(now, working, out);
            }
        } else if !self.sessions.is_empty() {
            self.cancels.insert(working.order.id);
        }
    }
}

impl Digest for Links {
    fn digest(&self, hasher: &mut Hasher) {
        // Runs without sessions keep the digests that they had before there were any.
        if self.sessions.is_empty() {
            return;
        }
        hasher.u64(self.sessions.len() as u64);
        for session in &self.sessions {
            hasher.u64(u64::from(session.up) * 4 + u64::from(session.settled) * 2 + u64::from(session.was_lost));
            hasher.u64(session.name as u64);
            hasher.u64((session.name >> 64) as u64);
            hasher.u64(session.next);
        }
        hasher.u64(self.cancels.len() as u64);
        for order in &self.cancels {
            hasher.u64(order.0);
        }
    }
}
