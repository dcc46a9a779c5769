//! A token bucket.

use helios_types::Nanos;

const SECOND: i128 = 1_000_000_000;

/// How much may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Each second.
    pub per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
}

/// Fills at a rate up to its burst; what is taken beyond is owed.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: Rate,
    /// In billionths, so that no time is lost to rounding.
    level: i128,
    at: Nanos,
}

impl Bucket {
    /// Full.
    pub fn new(rate: Rate, now: Nanos) -> Self {
        Self { rate, level: i128::from(rate.burst) * SECOND, at: now }
    }

    fn level(&self, now: Nanos) -> i128 {
        let passed = i128::from(now.since(self.at));
        let full = i128::from(self.rate.burst) * SECOND;
        full.min(self.level + passed * i128::from(self.rate.per_second))
    }

    /// Takes `count`, into debt if need be.
    pub fn take(&mut self, count: u64, now: Nanos) {
        self.level = self.level(now) - i128::from(count) * SECOND;
        self.at = now;
    }

    /// Whether something may pass now.
    pub fn has(&self, now: Nanos) -> bool {
        self.level(now) >= SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_at_its_rate_up_to_its_burst_and_pays_debts_first() {
        let ms = |n: u64| Nanos(n * 1_000_000);
        let mut bucket = Bucket::new(Rate { per_second: 10, burst: 3 }, ms(0));
        assert!(bucket.has(ms(0)));
        bucket.take(3, ms(0));
        assert!(!bucket.has(ms(99)));
        assert!(bucket.has(ms(100)));
        // Back to three after any time.
        bucket.take(3, ms(100_000));
        assert!(!bucket.has(ms(100_000)));
        // Five owed: 0.5 s, and one more.
        bucket.take(5, ms(200_000));
        assert!(!bucket.has(ms(200_299)));
        assert!(bucket.has(ms(200_300)));
        // A clock that goes back neither panics nor fills.
        bucket.take(100, ms(300_000));
        assert!(!bucket.has(ms(0)));
    }
}
