//! How long our own work takes, by the processor's time-stamp counter: a system clock call would cost as much as what is
//! measured.

use hdrhistogram::Histogram;
use quanta::Clock;

/// Wall time from a market event in hand to its order's bytes, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Events that led to an order.
    pub orders: Histogram<u64>,
    /// All events.
    pub events: Histogram<u64>,
    clock: Clock,
}

impl Latency {
    pub(crate) fn new() -> Self {
        // One nanosecond to ten seconds, three digits.
        let histogram = || Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("constant bounds are valid");
        Self { orders: histogram(), events: histogram(), clock: Clock::new() }
    }

    /// Now, in ticks.
    #[inline]
    pub(crate) fn stamp(&self) -> u64 {
        self.clock.raw()
    }

    /// Nanoseconds since a stamp.
    #[inline]
    pub(crate) fn since(&self, stamp: u64) -> u64 {
        self.clock.delta_as_nanos(stamp, self.clock.raw())
    }

    #[inline]
    pub(crate) fn record(&mut self, nanos: u64, led_to_order: bool) {
        self.events.saturating_record(nanos);
        if led_to_order {
            self.orders.saturating_record(nanos);
        }
    }
}
