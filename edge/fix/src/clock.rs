//! Time for sessions: the system's, but never backwards and never by leaps that nobody is told of.
//!
//! Timeouts measure how long nothing came; a clock that an operator or NTP sets must not end sessions, or keep dead ones
//! alive for an hour. Small differences are caught up by running a tenth faster or slower, large ones are a leap that
//! the engine answers by beginning all connections anew.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use helios_types::Nanos;

/// A difference that is caught up slowly; SendingTime may be off by 120 s at most other engines.
const SLOWLY: u64 = 30_000_000_000;
/// The part of passed time by which a difference shrinks.
const PART: u64 = 10;

fn wall() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The difference of two moments in seconds, for a note.
fn seconds(later: Nanos, earlier: Nanos) -> f64 {
    (later.0 as f64 - earlier.0 as f64) / 1e9
}

pub(crate) struct Clock {
    begin: Instant,
    own: Own,
}

/// The arithmetic, apart from the clocks.
struct Own {
    now: Nanos,
    /// What the steady clock said then.
    steady: u64,
}

impl Own {
    /// Moves to a reading of both clocks; how far it leapt, if it did.
    fn read(&mut self, steady: u64, wall: Nanos) -> Option<f64> {
        let passed = steady.saturating_sub(self.steady);
        let own = self.now.plus(passed);
        let off = wall.since(own).max(own.since(wall));
        self.steady = steady;
        if off > SLOWLY {
            self.now = wall;
            return Some(seconds(wall, own));
        }
        let shift = off.min(passed / PART);
        self.now = if wall >= own { own.plus(shift) } else { Nanos(own.0 - shift) };
        None
    }
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { begin: Instant::now(), own: Own { now: wall(), steady: 0 } }
    }

    fn steady(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Now, without a look at the system's time.
    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        self.own.now.plus(self.steady().saturating_sub(self.own.steady))
    }

    /// Now, and by how many seconds it leapt, if it did.
    pub(crate) fn read(&mut self) -> (Nanos, Option<f64>) {
        let steady = self.steady();
        let leap = self.own.read(steady, wall());
        (self.own.now, leap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn small_differences_are_caught_up_and_time_never_goes_back() {
        for set in [20 * S as i64, -20 * S as i64] {
            let mut own = Own { now: Nanos(1_000 * S), steady: 0 };
            let mut before = own.now;
            for tick in 1..=3_000 {
                // The clock was set just before; 0.1 s a tick.
                let wall = Nanos((1_000 * S + tick * S / 10).saturating_add_signed(set));
                assert_eq!(own.read(tick * S / 10, wall), None);
                let passed = own.now.since(before);
                assert!((S / 10 * 9 / 10..=S / 10 * 11 / 10).contains(&passed), "{passed}");
                before = own.now;
            }
            assert_eq!(own.now, Nanos((1_000 * S + 300 * S).saturating_add_signed(set)));
        }
    }

    #[test]
    fn large_differences_are_leaps_that_are_told() {
        let mut own = Own { now: Nanos(10_000 * S), steady: 0 };
        assert_eq!(own.read(S, Nanos(13_601 * S)), Some(3_600.0));
        assert_eq!(own.read(2 * S, Nanos(10_002 * S)), Some(-3_600.0));
        assert_eq!(own.now, Nanos(10_002 * S));
        assert_eq!(own.read(3 * S, Nanos(10_003 * S)), None);
    }
}
