//! How long each stage took, by the processor's time-stamp counter; histograms that never allocate.
//!
//! Only what led to an order is in the stages and in the whole: from the return of the system call that gave the packet to
//! the return of the one that took the order. [`Stage::Packet`] is of every packet.

use hdrhistogram::Histogram;
use quanta::Clock;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Stage {
    /// Packet received -> event decoded.
    Decoded,
    /// On the way to the engine's thread, where that is another.
    Handed,
    /// Input in the journal.
    Journaled,
    /// Stepped: book, signals, risk, orders.
    Stepped,
    /// A strategy outside the core was called, and its wish journaled and stepped; only where the order is its.
    Called,
    /// Order bytes made, the way to the order thread included where that is another.
    Encoded,
    /// Taken by the kernel.
    Written,
    /// Packet received -> order written.
    Whole,
    /// Packet received -> all of it handled, orders or not.
    Packet,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Decoded,
        Self::Handed,
        Self::Journaled,
        Self::Stepped,
        Self::Called,
        Self::Encoded,
        Self::Written,
        Self::Whole,
        Self::Packet,
    ];

    /// As tables name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decoded => "decoded",
            Self::Handed => "handed",
            Self::Journaled => "journaled",
            Self::Stepped => "stepped",
            Self::Called => "called",
            Self::Encoded => "encoded",
            Self::Written => "written",
            Self::Whole => "whole",
            Self::Packet => "packet",
        }
    }
}

/// Histograms of all stages, 1 ns to 10 s, three digits.
#[derive(Clone, Debug)]
pub struct Stages([Histogram<u64>; Stage::ALL.len()]);

impl Default for Stages {
    fn default() -> Self {
        Self(std::array::from_fn(|_| {
            Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("constant bounds are valid")
        }))
    }
}

impl Stages {
    /// One value, in nanoseconds.
    #[inline]
    pub fn record(&mut self, stage: Stage, nanos: u64) {
        self.0[stage as usize].saturating_record(nanos);
    }

    /// A stage's histogram.
    pub fn of(&self, stage: Stage) -> &Histogram<u64> {
        &self.0[stage as usize]
    }

    /// Adds another's values.
    pub fn add(&mut self, other: &Self) {
        for (own, others) in self.0.iter_mut().zip(&other.0) {
            own.add(others).expect("all have the same bounds");
        }
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.0.iter_mut().for_each(Histogram::clear);
    }

    /// As JSON: for each stage its count, quantiles, and buckets as (first ns, count). Only stages that have values.
    pub fn json(&self) -> String {
        let mut text = String::from("{");
        for (stage, histogram) in Stage::ALL.into_iter().zip(&self.0).filter(|(_, histogram)| !histogram.is_empty()) {
            if text.len() > 1 {
                text.push(',');
            }
            let at = |quantile| histogram.value_at_quantile(quantile);
            text += &format!(
                "\n \"{}\": {{\"count\": {}, \"min\": {}, \"p50\": {}, \"p90\": {}, \"p99\": {}, \"p99.9\": {}, \
                 \"p99.99\": {}, \"max\": {}, \"mean\": {:.1}, \"buckets\": [",
                stage.name(),
                histogram.len(),
                histogram.min(),
                at(0.5),
                at(0.9),
                at(0.99),
                at(0.999),
                at(0.9999),
                histogram.max(),
                histogram.mean(),
            );
            let rows: Vec<String> = histogram
                .iter_recorded()
                .map(|value| {
                    format!("[{},{}]", histogram.lowest_equivalent(value.value_iterated_to()), value.count_at_value())
                })
                .collect();
            text += &rows.join(",");
            text += "]}";
        }
        text + "\n}\n"
    }
}

/// The processor's counter.
#[derive(Clone, Debug)]
pub struct Ticks(Clock);

impl Default for Ticks {
    fn default() -> Self {
        Self(Clock::new())
    }
}

impl Ticks {
    /// Now. Zero is never a stamp.
    #[inline]
    pub fn now(&self) -> u64 {
        self.0.raw()
    }

    /// Nanoseconds from one stamp to a later one.
    #[inline]
    pub fn between(&self, from: u64, to: u64) -> u64 {
        self.0.delta_as_nanos(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_told_as_json() {
        let mut stages = Stages::default();
        for nanos in [100, 200, 300, 40_000_000_000] {
            stages.record(Stage::Whole, nanos);
        }
        let mut sum = Stages::default();
        sum.add(&stages);
        sum.add(&stages);
        let text = sum.json();
        assert!(text.starts_with("{\n \"whole\": {\"count\": 8, \"min\": 100, \"p50\": 200"), "{text}");
        assert!(text.contains("[[100,2],[200,2],[300,2],"), "{text}");
        assert!(!text.contains("decoded"));
        sum.clear();
        assert_eq!(sum.json(), "{\n}\n");
    }

    #[test]
    #[ignore = "a measurement: cargo test -p helios-live --release -- --ignored --nocapture what_measuring_costs"]
    fn what_measuring_costs() {
        let (ticks, mut stages) = (Ticks::default(), Stages::default());
        let begun = std::time::Instant::now();
        for _ in 0..1_000_000 {
            let stamps: [u64; 6] = std::array::from_fn(|_| ticks.now());
            for (at, stage) in Stage::ALL.into_iter().enumerate().take(6) {
                stages.record(stage, ticks.between(stamps[at.saturating_sub(1)], stamps[at]));
            }
        }
        println!("{} ns for six stamps and six values", begun.elapsed().as_nanos() / 1_000_000);
    }

    #[test]
    fn ticks_are_nanoseconds() {
        let (ticks, begun) = (Ticks::default(), std::time::Instant::now());
        let from = ticks.now();
        while begun.elapsed().as_millis() < 5 {}
        let (wall, measured) = (begun.elapsed().as_nanos() as u64, ticks.between(from, ticks.now()));
        assert!(measured >= 5_000_000 * 99 / 100 && measured <= wall * 101 / 100 + 1000, "{measured} {wall}");
    }
}
