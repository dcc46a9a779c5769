//! What a run's threads and whoever watches them share.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use helios_execution::Counts;
use helios_io::Tables;
use helios_risk::Mode;
use helios_types::{Difference, Nanos};
use rustix::time::{ClockId, clock_gettime};

use super::core::Command;
use super::station::FeedTold;
use crate::audit::AuditTold;
use crate::ring::{Alarm, Sender};
use crate::sockets::Drops;

/// Lines of the log that wait for whoever writes it; older ones are dropped and counted.
pub const MAX_NOTES: usize = 10_000;

/// UTC, nanoseconds since 1970. It never goes back on a thread: stations assume that, and a wait of theirs, or of the
/// driver's, would last until a clock that was set back has come to where it was.
#[inline]
pub(super) fn utc() -> Nanos {
    thread_local! { static CLOCK: Cell<Clock> = const { Cell::new(Clock { last: 0, behind: None }) }; }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let wall = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    CLOCK.with(|cell| {
        let mut clock = cell.get();
        let now = clock.read(wall, monotonic);
        cell.set(clock);
        now
    })
}

/// Of eight parts of the time that passes a clock that is ahead of the wall's counts so many.
const CATCH_UP: u64 = 7;

/// A clock that is set forwards with the wall's; when that is set back, it goes on, somewhat slower, until both agree.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    last: u64,
    /// Where it was when the wall's clock was set back, and the steady clock then.
    behind: Option<(u64, u64)>,
}

impl Clock {
    #[inline]
    fn read(&mut self, wall: u64, steady: impl Fn() -> u64) -> Nanos {
        if wall < self.last {
            self.slowly(steady());
        } else {
            (self.last, self.behind) = (wall, None);
        }
        Nanos(self.last)
    }

    #[cold]
    fn slowly(&mut self, steady: u64) {
        let (from, since) = *self.behind.get_or_insert((self.last, steady));
        self.last = self.last.max(from.saturating_add(steady.saturating_sub(since) / 8 * CATCH_UP));
    }
}

/// The clock of leases: CLOCK_MONOTONIC, nanoseconds, as Python's `time.monotonic_ns` reads it.
#[inline]
pub fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The engine's clock.
    pub now: Nanos,
    /// Inputs so far, those before a restart included.
    pub inputs: u64,
    /// Outputs since the start.
    pub outputs: u64,
    /// Datagrams of market data.
    pub packets: u64,
    /// Datagrams that the kernel dropped because the run was too slow.
    pub dropped: u64,
    /// Best prices that gave way to newer ones between threads.
    pub conflated: u64,
    /// Market events that waited for room between threads.
    pub waited: u64,
    /// Most items that were waiting for the engine.
    pub queued: u64,
    /// Events that named an instrument that the run has not.
    pub refused: u64,
    /// Bytes of the journal.
    pub journal: u64,
    /// Of them, those whose outputs may leave.
    pub committed: u64,
    /// Times that the engine waited for the journal.
    pub stalls: u64,
    /// Syncs of the disk, and bytes that they covered.
    pub syncs: (u64, u64),
    /// Outputs that wait for the journal now.
    pub held: u64,
    /// Orders working now.
    pub working: u64,
    /// Writes that the lease forbade.
    pub fenced: u64,
    /// Rows of the tables that were not kept.
    pub untold: u64,
    /// Lines of the log that nobody took in time.
    pub unnoted: u64,
    /// The run is in its orderly end.
    pub stopping: bool,
    /// Of each feed.
    pub feeds: Vec<FeedTold>,
    /// Of each drop copy.
    pub copies: Vec<AuditTold>,
    /// Positions about which the venue does not agree.
    pub differences: Vec<Difference>,
    /// Of each session: it is up, it is settled.
    pub links: Vec<(bool, bool)>,
    /// Orders of which nobody knows whether they are working.
    pub unknown: u64,
    /// What execution did so far.
    pub counts: Counts,
    /// What passes the gate: everything, reducing orders, nothing; and whether positions are being closed.
    pub mode: Option<Mode>,
    /// See above.
    pub flat: bool,
    /// Money and positions at their marks, in cash units.
    pub equity: i64,
    /// The lease, if there is one, is good.
    pub may_send: bool,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When.
    pub ts: Nanos,
    /// As Python's logging has it: 20 information, 30 warning, 40 error.
    pub level: u8,
    /// Who says it.
    pub station: String,
    /// What.
    pub text: String,
}

/// A note that says how things go.
pub const INFO: u8 = 20;
/// A note that says what is not as it should be.
pub const WARNING: u8 = 30;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Why.
    pub reason: String,
    /// Something failed: see the reason.
    pub failed: bool,
    /// Digest of the final state, and the journal is closed; none when it could not be.
    pub digest: Option<u128>,
}

/// Stop at once, without waiting for answers.
const AT_ONCE: u8 = 2;
const IN_ORDER: u8 = 1;

/// See the module.
pub struct Shared {
    until: AtomicU64,
    fenced: AtomicU64,
    fence_noted: AtomicBool,
    stop: AtomicU8,
    reason: Mutex<String>,
    status: Mutex<Status>,
    pub(super) dropped: AtomicU64,
    pub(super) conflated: AtomicU64,
    pub(super) waited: AtomicU64,
    pub(super) packets: AtomicU64,
    pub(super) untold: AtomicU64,
    /// Every thread ends.
    pub(super) over: AtomicBool,
    notes: Mutex<VecDeque<Note>>,
    unnoted: AtomicU64,
    drops: Mutex<Vec<Drops>>,
    feeds: Mutex<Vec<FeedTold>>,
    copies: Mutex<Vec<AuditTold>>,
    /// Set when a journal's follower is the condition for sending.
    alone: Mutex<Option<Arc<AtomicBool>>>,
    pub(super) last: Mutex<Option<Tables>>,
    pub(super) ended: Mutex<Option<Ended>>,
    pub(super) commands: Mutex<Option<Sender<Command>>>,
    pub(super) alarms: Mutex<Vec<Arc<Alarm>>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            until: AtomicU64::new(u64::MAX),
            fenced: AtomicU64::new(0),
            fence_noted: AtomicBool::new(false),
            stop: AtomicU8::new(0),
            reason: Mutex::default(),
            status: Mutex::default(),
            dropped: AtomicU64::new(0),
            conflated: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            over: AtomicBool::new(false),
            notes: Mutex::default(),
            unnoted: AtomicU64::new(0),
            drops: Mutex::default(),
            feeds: Mutex::default(),
            copies: Mutex::default(),
            alone: Mutex::default(),
            last: Mutex::default(),
            ended: Mutex::default(),
            commands: Mutex::default(),
            alarms: Mutex::default(),
        }
    }
}

impl Shared {
    /// Nothing is sent from this moment on (of [`monotonic`]); `u64::MAX`: there is no lease.
    pub fn set_may_send_until(&self, until: u64) {
        self.until.store(until, Release);
    }

    /// The lease, if there is one, is good.
    #[inline]
    pub(super) fn may_send(&self) -> bool {
        let until = self.until.load(Acquire);
        until == u64::MAX || monotonic() < until
    }

    /// A lease is over for good: who loses it stops.
    pub(super) fn lease_is_lost(&self) -> bool {
        self.fence_noted.load(Relaxed) || !self.may_send()
    }

    /// Something was to be sent and was not.
    #[cold]
    pub(super) fn fence(&self) {
        self.fenced.fetch_add(1, Relaxed);
        if !self.fence_noted.swap(true, Relaxed) {
            self.note(format_args!("the lease is over: nothing is sent any more"));
        }
    }

    /// For the log, by the run itself: something is not as it should be.
    pub(super) fn note(&self, text: fmt::Arguments<'_>) {
        self.note_of("run", WARNING, text);
    }

    /// For the log.
    pub fn note_of(&self, station: &str, level: u8, text: fmt::Arguments<'_>) {
        let mut notes = lock(&self.notes);
        if notes.len() >= MAX_NOTES {
            notes.pop_front();
            self.unnoted.fetch_add(1, Relaxed);
        }
        notes.push_back(Note { ts: utc(), level, station: station.to_owned(), text: text.to_string() });
    }

    /// The log's lines since the last call.
    pub fn take_notes(&self) -> Vec<Note> {
        lock(&self.notes).drain(..).collect()
    }

    /// Asks for the end; `at_once` without waiting for answers. The first reason stays.
    pub fn stop(&self, reason: &str, at_once: bool) {
        let mut first = lock(&self.reason);
        if first.is_empty() {
            reason.clone_into(&mut first);
        }
        self.stop.fetch_max(if at_once { AT_ONCE } else { IN_ORDER }, Release);
        lock(&self.alarms).iter().for_each(|alarm| alarm.wake());
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Acquire) > 0
    }

    pub(super) fn is_stopping_at_once(&self) -> bool {
        self.stop.load(Acquire) == AT_ONCE
    }

    pub(super) fn reason(&self) -> String {
        lock(&self.reason).clone()
    }

    /// Where it stands, as of the last tenth of a second.
    pub fn status(&self) -> Status {
        let mut status = lock(&self.status).clone();
        status.dropped = self.dropped.load(Relaxed);
        status.conflated = self.conflated.load(Relaxed);
        status.waited = self.waited.load(Relaxed);
        status.packets = self.packets.load(Relaxed);
        status.untold = self.untold.load(Relaxed);
        status.fenced = self.fenced.load(Relaxed);
        status.unnoted = self.unnoted.load(Relaxed);
        status.feeds.clone_from(&lock(&self.feeds));
        status.copies.clone_from(&lock(&self.copies));
        status.may_send = self.may_send();
        status
    }

    /// The engine never waits for who reads it.
    pub(super) fn set_status(&self, fresh: impl FnOnce(&mut Status)) {
        if let Ok(mut status) = self.status.try_lock() {
            fresh(&mut status);
        }
    }

    /// Whoever has the feeds says how they stand, unless somebody reads it now.
    pub(super) fn set_feeds(&self, fresh: impl Iterator<Item = FeedTold>) {
        if let Ok(mut feeds) = self.feeds.try_lock() {
            feeds.clear();
            feeds.extend(fresh);
        }
    }

    /// The same for drop copies.
    pub(super) fn set_copies(&self, fresh: impl Iterator<Item = AuditTold>) {
        if let Ok(mut copies) = self.copies.try_lock() {
            copies.clear();
            copies.extend(fresh);
        }
    }

    pub(super) fn watch_drops(&self, drops: Drops) {
        lock(&self.drops).push(drops);
    }

    pub(super) fn count_drops(&self) {
        let drops = lock(&self.drops).clone();
        self.dropped.store(super::feeds::dropped(&drops), Relaxed);
    }

    /// Only while a follower keeps up (`alone` is false) does the run trade freely.
    pub fn must_not_be_alone(&self, alone: Arc<AtomicBool>) {
        *lock(&self.alone) = Some(alone);
    }

    pub(super) fn is_alone(&self) -> bool {
        lock(&self.alone).as_ref().is_some_and(|alone| alone.load(Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn a_clock_that_is_set_back_goes_on_until_the_wall_has_come_up() {
        let mut clock = Clock::default();
        let day = 1_700_000_000_000_000_000;
        assert_eq!(clock.read(day, || 5), Nanos(day));
        assert_eq!(clock.read(day + HOUR, || 6), Nanos(day + HOUR), "forwards at once");
        // Back by an hour; a second later it is almost a second later.
        assert_eq!(clock.read(day, || 1_000), Nanos(day + HOUR));
        let second = 1_000_000_000;
        assert_eq!(clock.read(day + second, || 1_000 + second), Nanos(day + HOUR + second / 8 * 7));
        // Eight hours later both agree, and it is the wall's again.
        let (mut now, mut hours) = (Nanos(0), 0);
        for minute in 2..=9 * 60 {
            let passed = minute * HOUR / 60;
            let next = clock.read(day + passed, || 1_000 + passed);
            assert!(next >= now, "it never goes back");
            hours = if next.0 == day + passed { hours } else { minute / 60 };
            now = next;
        }
        assert_eq!((now, hours), (Nanos(day + 9 * HOUR), 7));
    }

    #[test]
    fn a_clock_of_before_1970_and_one_at_the_end_of_time() {
        let mut clock = Clock::default();
        assert_eq!(clock.read(0, || 0), Nanos(0));
        assert_eq!(clock.read(u64::MAX, || 0), Nanos(u64::MAX));
        assert_eq!(clock.read(1, || u64::MAX), Nanos(u64::MAX));
    }
}
