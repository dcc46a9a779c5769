//! Running mean and variance over the recent past: by count, by time, or exponentially weighted.
//!
//! Plain windows are updated sample by sample and computed afresh once per window length, and at once when the spread
//! collapses (an outlier has left): so rounding neither adds up nor stays behind.
//! Absent on purpose: values whose square does not fit a float ([`LARGEST`]); they are skipped like nulls.

use helios_types::{Hasher, Nanos};

use crate::node::{Stat, Window};
use crate::nodes::samples::{LARGEST, Restart, Ring};
use crate::nodes::{Row, Steps};

/// Samples that one time window holds at most. Beyond it the oldest is dropped early and counted.
pub const MAX_SAMPLES: usize = 1 << 20;

/// A deviation below this part of the mean is rounding and counts as zero.
pub(crate) const NOISE: f64 = 1e-12;

/// When the spread falls to this part of its peak, what is left of it may be rounding.
pub(crate) const COLLAPSE: f64 = 1e-3;

/// Half-lives until an exponentially weighted value is trusted: the first sample then weighs at most 1/8.
const EWM_WARM_UP: f64 = 3.0;

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
    /// Samples from which on it is full; 0 for the window's own rule.
    least: u64,
    first: Option<Nanos>,
    samples: Ring<f64>,
    /// When the samples came, for windows by time.
    times: Ring<u64>,
    /// Largest spread since mean and spread were last computed afresh.
    peak: f64,
    /// Updates since mean and spread were last computed afresh.
    age: usize,
    truncated: u64,
}

impl Moments {
    pub(crate) fn new(window: Window, least: u32) -> Self {
        let capacity = if let Window::Count(n) = window { n as usize } else { 1 };
        let least = match window {
            // What is a whole number of samples must not become one more by rounding.
            Window::EwmCount(keep) if least == 0 => {
                (EWM_WARM_UP * libm::log(0.5) / libm::log(keep) - 1e-9).ceil().max(1.0) as u64
            }
            _ => u64::from(least),
        };
        Self {
            window,
            samples: Ring::with_capacity(capacity),
            times: Ring::with_capacity(1),
            first: None,
            last: Nanos(0),
            count: 0,
            least,
            value: f64::NAN,
            mean: 0.0,
            spread: 0.0,
            peak: 0.0,
            age: 0,
            truncated: 0,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, now: Nanos, x: f64) {
        // A null fails this too.
        if !(x.abs() <= LARGEST) {
            return;
        }
        if self.count == 0 {
            self.first = Some(now);
        }
        debug_assert!(self.first <= Some(now));
        self.count += 1;
        match self.window {
            Window::Count(n) => {
                if self.samples.len() == n as usize {
                    let old = self.samples.pop_front().expect("a full window has a front");
                    self.samples.push_back(x);
                    self.exchange(old, x);
                } else {
                    self.samples.push_back(x);
                    self.enter(x);
                }
                self.refresh();
            }
            Window::Time(span) => {
                while self.times.front().is_some_and(|ts| now.0 - ts >= span) {
                    self.leave();
                }
                self.join(now, x);
            }
            Window::All => self.join(now, x),
            Window::EwmCount(keep) => self.decay(keep, x),
            Window::EwmTime(halflife) => {
                self.decay(libm::exp2(-(now.since(self.last) as f64) / halflife as f64), x);
            }
        }
        self.last = now;
        self.value = x;
    }

    fn join(&mut self, now: Nanos, x: f64) {
        if self.samples.len() == MAX_SAMPLES {
            self.leave();
            self.truncated += 1;
        }
        self.times.push_back(now.0);
        self.samples.push_back(x);
        self.enter(x);
        self.refresh();
    }

    /// West's update for a sample that joins.
    fn enter(&mut self, x: f64) {
        let n = self.samples.len() as f64;
        let delta = x - self.mean;
        self.mean += delta / n;
        self.spread += delta * (x - self.mean);
    }

    fn leave(&mut self) {
        self.times.pop_front();
        let x = self.samples.pop_front().expect("only called on a window with samples");
        let n = self.samples.len() as f64;
        if n == 0.0 {
            (self.mean, self.spread, self.peak) = (0.0, 0.0, 0.0);
            return;
        }
        let delta = x - self.mean;
        self.mean -= delta / n;
        self.spread -= delta * (x - self.mean);
    }

    #[inline(always)]
    fn exchange(&mut self, old: f64, new: f64) {
        let mean = self.mean;
        self.mean += (new - old) / self.samples.len() as f64;
        self.spread += (new - old) * (new - self.mean + old - mean);
    }

    /// Computes mean and spread afresh once per window length, so that rounding cannot add up, and when the spread has
    /// collapsed, so that what an outlier left behind goes with it; amortised one pass. One sample has no spread that
    /// could collapse.
    #[inline(always)]
    fn refresh(&mut self) {
        self.age += 1;
        self.peak = if self.spread > self.peak { self.spread } else { self.peak };
        let n = self.samples.len();
        if (self.age >= n.max(64)) | (self.spread < self.peak * COLLAPSE) | (n == 1) {
            self.compute_afresh();
        }
    }

    #[inline(never)]
    fn compute_afresh(&mut self) {
        let n = self.samples.len() as f64;
        let mean = sum(&self.samples, |x| x) / n;
        // The second pass takes out what the first one rounded off: equal samples get exactly their value.
        let mean = mean + sum(&self.samples, |x| x - mean) / n;
        self.mean = mean;
        self.spread = sum(&self.samples, |x| (x - mean) * (x - mean));
        (self.peak, self.age) = (self.spread, 0);
    }

    /// Exponentially weighted mean and variance (Finch 2009), started at the first sample.
    #[inline(always)]
    fn decay(&mut self, keep: f64, x: f64) {
        if self.count == 1 {
            (self.mean, self.spread) = (x, 0.0);
            return;
        }
        let delta = x - self.mean;
        let alpha = 1.0 - keep;
        self.mean += alpha * delta;
        self.spread = keep * (self.spread + alpha * delta * delta);
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        let age = || self.first.map_or(0, |first| self.last.since(first));
        match self.window {
            Window::EwmCount(_) => self.count >= self.least,
            Window::EwmTime(_) if self.least > 0 => self.count >= self.least,
            _ if self.least > 0 => self.samples.len() as u64 >= self.least,
            Window::Count(n) => self.samples.len() == n as usize,
            Window::Time(span) => age() >= span,
            Window::All => self.samples.len() > 0,
            Window::EwmTime(halflife) => age() as f64 >= EWM_WARM_UP * halflife as f64,
        }
    }

    const fn is_exponential(&self) -> bool {
        matches!(self.window, Window::EwmCount(_) | Window::EwmTime(_))
    }

    #[inline(always)]
    fn variance(&self) -> f64 {
        let variance = if self.is_exponential() {
            self.spread
        } else if self.samples.len() < 2 {
            return f64::NAN;
        } else {
            self.spread / (self.samples.len() - 1) as f64
        };
        // Rounding may leave a tiny negative number where the samples are equal.
        if variance > 0.0 { variance } else { 0.0 }
    }

    #[inline(always)]
    pub(crate) fn stat(&self, stat: Stat) -> f64 {
        if !self.is_full() {
            return f64::NAN;
        }
        match stat {
            Stat::Mean => self.mean,
            Stat::Sum => self.mean * self.samples.len() as f64,
            Stat::Var => self.variance(),
            Stat::Std => self.variance().sqrt(),
            _ => {
                let variance = self.variance();
                let noise = self.mean * NOISE;
                if variance > noise * noise { (self.value - self.mean) / variance.sqrt() } else { f64::NAN }
            }
        }
    }

    /// Exponential windows have no sum: their weights add up to one.
    pub(crate) fn has(&self, stat: Stat) -> bool {
        matches!(stat, Stat::Mean | Stat::Var | Stat::Std | Stat::ZScore)
            || (stat == Stat::Sum && !self.is_exponential())
    }
}

/// Adds up in four lanes: a fixed order, and not one long chain of additions.
pub(crate) fn sum(samples: &Ring<f64>, f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; 4];
    for piece in samples.pieces() {
        let (fours, rest) = piece.as_chunks::<4>();
        for four in fours {
            for (lane, x) in lanes.iter_mut().zip(four) {
                *lane += f(*x);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += f(*x);
        }
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}

impl Steps for Moments {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        row.fresh(0).then(|| {
            self.push(row.now(), row.value(0));
            row.value(0)
        })
    }

    fn read(&self, stat: Stat) -> f64 {
        self.stat(stat)
    }

    fn tells(&self, stat: Stat) -> bool {
        self.has(stat)
    }

    fn truncated(&self) -> u64 {
        self.truncated
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.samples.len() as u64);
        self.samples.iter().for_each(|x| hasher.f64(x));
        self.times.iter().for_each(|ts| hasher.u64(ts));
        for x in [self.count, self.first.map_or(0, |ts| ts.0), self.last.0, self.age as u64, self.truncated] {
            hasher.u64(x);
        }
        for x in [self.value, self.mean, self.spread, self.peak] {
            hasher.f64(x);
        }
    }
}

impl Restart for Moments {
    fn restart(&mut self) {
        self.samples.clear();
        self.times.clear();
        (self.first, self.last, self.count, self.age) = (None, Nanos(0), 0, 0);
        (self.value, self.mean, self.spread, self.peak) = (f64::NAN, 0.0, 0.0, 0.0);
    }
}
