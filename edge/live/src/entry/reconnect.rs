//! When to connect again: soon after the first failure, later after each further one, never after a password was refused
//! again and again.

use std::fmt;

use helios_types::{Nanos, Rng};

/// Before the first new attempt.
const FIRST_NS: u64 = 250_000_000;
/// Between attempts at most.
const LAST_NS: u64 = 8_000_000_000;
/// Refused passwords before it is given up.
const MAX_REFUSALS: u32 = 3;

#[derive(Clone, Debug)]
pub(super) struct Reconnect {
    /// When the next attempt is due; `None` while there is one, and after giving up.
    due: Option<Nanos>,
    delay_ns: u64,
    refusals: u32,
    /// There will be no further attempt.
    stopped: bool,
    /// Spreads attempts of many sessions, when seeded.
    rng: Option<Rng>,
}

impl Reconnect {
    /// The first attempt is due at once.
    pub(super) fn new(seed: Option<u64>) -> Self {
        Self { due: Some(Nanos(0)), delay_ns: FIRST_NS, refusals: 0, stopped: false, rng: seed.map(Rng::new) }
    }

    pub(super) fn due(&self) -> Option<Nanos> {
        self.due
    }

    /// True when an attempt is due now; it counts as begun.
    pub(super) fn begins(&mut self, now: Nanos) -> bool {
        let begins = self.due.is_some_and(|due| due <= now);
        if begins {
            self.due = None;
        }
        begins
    }

    /// The connection, or the attempt, has failed; no news when an attempt is due already.
    pub(super) fn failed(&mut self, now: Nanos) {
        if self.stopped || self.due.is_some() {
            return;
        }
        let wait = match &mut self.rng {
            // Half of it at least.
            Some(rng) => self.delay_ns / 2 + rng.below(self.delay_ns / 2 + 1),
            None => self.delay_ns,
        };
        self.due = Some(now.plus(wait));
        self.delay_ns = (self.delay_ns * 2).min(LAST_NS);
    }

    /// The session ended its connection, perhaps since name or password were refused. Some when there will be no further
    /// attempt.
    pub(super) fn ended(&mut self, is_refusal: bool, now: Nanos) -> Option<GivenUp> {
        self.failed(now);
        if is_refusal {
            self.refusals += 1;
            if self.refusals >= MAX_REFUSALS {
                self.stop();
            }
        }
        (is_refusal && self.stopped).then_some(GivenUp)
    }

    /// There will be no further attempt.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn logged_in(&mut self) {
        self.refusals = 0;
    }

    /// It is well: the next failure is a first one.
    pub(super) fn settled(&mut self) {
        self.delay_ns = FIRST_NS;
    }

    /// No attempt any more.
    pub(super) fn stop(&mut self) {
        (self.stopped, self.due) = (true, None);
    }
}

/// What was refused too often, for a note that begins with it.
pub(super) struct GivenUp;

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused {MAX_REFUSALS} times: there will be no further attempt")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(seed: Option<u64>) -> Vec<u64> {
        let mut reconnect = Reconnect::new(seed);
        let mut waits = Vec::new();
        for n in 1..=8 {
            let now = Nanos(n * 1_000_000_000_000);
            assert!(reconnect.begins(now) && !reconnect.begins(now));
            reconnect.failed(now);
            waits.push(reconnect.due().expect("again").since(now) / 1_000_000);
        }
        waits
    }

    #[test]
    fn attempts_grow_rarer() {
        assert_eq!(waits(None), [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
        let seeded = waits(Some(1));
        assert!(seeded.iter().zip(waits(None)).all(|(a, b)| b / 2 <= *a && *a <= b), "{seeded:?}");
        assert_ne!(seeded, waits(Some(2)));
    }
}
