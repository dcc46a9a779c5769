//! Running mean and variance over the recent past: by count, by time, or exponentially weighted.
//!
//! Plain windows are updated sample by sample and computed afresh once per window length, and at once when the spread
//! collapses (an outlier has left): so rounding neither adds up nor stays behind.
//! Absent on purpose: values whose square does not fit a float ([`LARGEST`]); they are skipped like nulls.

use std::collections::VecDeque;

use helios_types::{Hasher, Nanos};

/// Samples that one time window holds at most. Beyond it the oldest is dropped early and counted.
pub const MAX_SAMPLES: usize = 1 << 20;

/// How far back a window looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Window {
    /// The last `n` samples; null until there are `n`.
    Count(u32),
    /// Samples stamped within the last so many nanoseconds, `(now - span, now]`; null until the first sample is that
    /// old.
    Time(u64),
    /// Weights halve every so many samples; null until three half-lives of samples.
    EwmCount(f64),
    /// Weights halve every so many nanoseconds; null until three half-lives have passed. A sample weighs by the time
    /// since the one before it, so of several at one moment only the first moves the mean.
    EwmTime(u64),
}

/// Samples beyond this are no samples.
const LARGEST: f64 = 1e150;

/// A deviation below this part of the mean is rounding and counts as zero.
const NOISE: f64 = 1e-12;

/// When the spread falls to this part of its peak, what is left of it may be rounding.
const COLLAPSE: f64 = 1e-3;

/// Half-lives until an exponentially weighted value is trusted: the first sample then weighs at most 1/8.
const EWM_WARM_UP: f64 = 3.0;

/// What is read off a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stat {
    /// Mean.
    Mean,
    /// Variance: sample (n - 1) for plain windows, weighted population variance for exponential ones.
    Var,
    /// Square root of the variance.
    Std,
    /// (last sample - mean) / standard deviation; null while the deviation is zero or no more than rounding.
    ZScore,
}

/// The state of one window. NaN samples are skipped.
// In this order what an exponential window needs lies in two cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Moments {
    window: Window,
    value: f64,
    mean: f64,
    /// Sum of squared deviations for plain windows, variance for exponential ones.
    spread: f64,
    last: Nanos,
    count: u64,
    first: Option<Nanos>,
    samples: VecDeque<(Nanos, f64)>,
    /// Largest spread since mean and spread were last computed afresh.
    peak: f64,
    /// Updates since mean and spread were last computed afresh.
    age: usize,
    truncated: u64,
    /// What one sample leaves of the weights before it, when weights go by count.
    keep: f64,
}

impl Moments {
    pub(crate) fn new(window: Window) -> Self {
        let capacity = match window {
            Window::Count(n) => n as usize,
            _ => 0,
        };
        let keep = match window {
            Window::EwmCount(halflife) => libm::exp2(-1.0 / halflife),
            _ => 0.0,
        };
        Self {
            window,
            samples: VecDeque::with_capacity(capacity),
            first: None,
            last: Nanos(0),
            count: 0,
            value: f64::NAN,
            mean: 0.0,
            spread: 0.0,
            peak: 0.0,
            age: 0,
            truncated: 0,
            keep,
        }
    }

    pub(crate) fn truncated(&self) -> u64 {
        self.truncated
    }

    #[inline]
    pub(crate) fn push(&mut self, now: Nanos, x: f64) {
        if x.is_nan() || x.abs() > LARGEST {
            return;
        }
        let first = *self.first.get_or_insert(now);
        debug_assert!(first <= now);
        self.count += 1;
        match self.window {
            Window::Count(n) => {
                if self.samples.len() == n as usize {
                    let (_, old) = self.samples.pop_front().expect("a full window has a front");
                    self.samples.push_back((now, x));
                    self.exchange(old, x);
                } else {
                    self.samples.push_back((now, x));
                    self.enter(x);
                }
                self.refresh();
            }
            Window::Time(span) => {
                while self.samples.front().is_some_and(|(ts, _)| now.since(*ts) >= span) {
                    self.leave();
                }
                if self.samples.len() == MAX_SAMPLES {
                    self.leave();
                    self.truncated += 1;
                }
                self.samples.push_back((now, x));
                self.enter(x);
                self.refresh();
            }
            Window::EwmCount(_) => self.decay(self.keep, x),
            Window::EwmTime(halflife) => {
                self.decay(libm::exp2(-(now.since(self.last) as f64) / halflife as f64), x);
            }
        }
        self.last = now;
        self.value = x;
    }

    /// West's update for a sample that joins.
    fn enter(&mut self, x: f64) {
        let n = self.samples.len() as f64;
        let delta = x - self.mean;
        self.mean += delta / n;
        self.spread += delta * (x - self.mean);
    }

    fn leave(&mut self) {
        let (_, x) = self.samples.pop_front().expect("only called on a window with samples");
        let n = self.samples.len() as f64;
        if n == 0.0 {
            (self.mean, self.spread, self.peak) = (0.0, 0.0, 0.0);
            return;
        }
        let delta = x - self.mean;
        self.mean -= delta / n;
        self.spread -= delta * (x - self.mean);
    }

    fn exchange(&mut self, old: f64, new: f64) {
        let mean = self.mean;
        self.mean += (new - old) / self.samples.len() as f64;
        self.spread += (new - old) * (new - self.mean + old - mean);
    }

    /// Computes mean and spread afresh once per window length, so that rounding cannot add up, and when the spread has
    /// collapsed, so that what an outlier left behind goes with it; amortised one pass.
    #[inline]
    fn refresh(&mut self) {
        self.age += 1;
        self.peak = self.peak.max(self.spread);
        if self.age >= self.samples.len().max(64) || self.spread < self.peak * COLLAPSE {
            self.compute_afresh();
        }
    }

    fn compute_afresh(&mut self) {
        let n = self.samples.len() as f64;
        let mean = self.samples.iter().map(|(_, x)| x).sum::<f64>() / n;
        // The second pass takes out what the first one rounded off: equal samples get exactly their value.
        self.mean = mean + self.samples.iter().map(|(_, x)| x - mean).sum::<f64>() / n;
        self.spread = self.samples.iter().map(|(_, x)| (x - self.mean) * (x - self.mean)).sum();
        (self.peak, self.age) = (self.spread, 0);
    }

    /// Exponentially weighted mean and variance (Finch 2009), started at the first sample.
    fn decay(&mut self, keep: f64, x: f64) {
        if self.count == 1 {
            self.mean = x;
            return;
        }
        let delta = x - self.mean;
        let alpha = 1.0 - keep;
        self.mean += alpha * delta;
        self.spread = keep * (self.spread + alpha * delta * delta);
    }

    fn is_full(&self) -> bool {
        let age = || self.first.map_or(0, |first| self.last.since(first));
        match self.window {
            Window::Count(n) => self.samples.len() == n as usize,
            Window::Time(span) => age() >= span,
            Window::EwmCount(halflife) => self.count as f64 >= EWM_WARM_UP * halflife,
            Window::EwmTime(halflife) => age() as f64 >= EWM_WARM_UP * halflife as f64,
        }
    }

    fn variance(&self) -> f64 {
        let variance = match self.window {
            Window::Count(_) | Window::Time(_) if self.samples.len() < 2 => return f64::NAN,
            Window::Count(_) | Window::Time(_) => self.spread / (self.samples.len() - 1) as f64,
            Window::EwmCount(_) | Window::EwmTime(_) => self.spread,
        };
        // Rounding may leave a tiny negative number where the samples are equal.
        variance.max(0.0)
    }

    #[inline]
    pub(crate) fn stat(&self, stat: Stat) -> f64 {
        if !self.is_full() {
            return f64::NAN;
        }
        match stat {
            Stat::Mean => self.mean,
            Stat::Var => self.variance(),
            Stat::Std => self.variance().sqrt(),
            Stat::ZScore => {
                let variance = self.variance();
                let noise = self.mean * NOISE;
                if variance > noise * noise { (self.value - self.mean) / variance.sqrt() } else { f64::NAN }
            }
        }
    }

    pub(crate) fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.samples.len() as u64);
        for (ts, x) in &self.samples {
            hasher.u64(ts.0);
            hasher.f64(*x);
        }
        for x in [self.count, self.first.map_or(0, |ts| ts.0), self.last.0, self.age as u64, self.truncated] {
            hasher.u64(x);
        }
        for x in [self.value, self.mean, self.spread, self.peak] {
            hasher.f64(x);
        }
    }
}
