//! Time as an argument: nanoseconds since the Unix epoch, UTC.

use std::fmt;

/// Nanoseconds in a second.
pub const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Nanoseconds in a day without leap seconds.
pub const NANOS_PER_DAY: u64 = 86_400 * NANOS_PER_SECOND;

/// A moment: nanoseconds since 1970-01-01T00:00:00Z. Valid until the year 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Later by `ns`; saturates at the end of time.
    pub const fn plus(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds since `earlier`, zero if it is not earlier.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Nanos {
    /// Seconds since the epoch and nine decimals: exact, sortable, and free of calendars.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / NANOS_PER_SECOND, self.0 % NANOS_PER_SECOND)
    }
}
