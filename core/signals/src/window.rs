//! Running mean and variance over the recent past: by count, by time, or exponentially weighted.

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
    /// Weights halve every so many nanoseconds; null until three half-lives have passed.
    EwmTime(u64),
}

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
    /// (last sample - mean) / standard deviation; null while the deviation is zero.
    ZScore,
}

/// The state of one window. NaN samples are skipped.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    window: Window,
    samples: VecDeque<(Nanos, f64)>,
    first: Option<Nanos>,
    last: Nanos,
    count: u64,
    value: f64,
    mean: f64,
    /// Sum of squared deviations for plain windows, variance for exponential ones.
    spread: f64,
    /// Updates since mean and spread were last computed afresh.
    age: usize,
    truncated: u64,
    alpha: f64,
}

impl Moments {
    pub(crate) fn new(window: Window) -> Self {
        let capacity = match window {
            Window::Count(n) => n as usize,
            _ => 0,
        };
        let alpha = match window {
            Window::EwmCount(halflife) => 1.0 - libm::exp2(-1.0 / halflife),
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
            age: 0,
            truncated: 0,
            alpha,
        }
    }

    pub(crate) fn truncated(&self) -> u64 {
        self.truncated
    }

    pub(crate) fn push(&mut self, now: Nanos, x: f64) {
        if x.is_nan() {
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
            Window::EwmCount(_) => self.decay(self.alpha, x),
            Window::EwmTime(halflife) => {
                let alpha = 1.0 - libm::exp2(-(now.since(self.last) as f64) / halflife as f64);
                self.decay(alpha, x);
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
            (self.mean, self.spread) = (0.0, 0.0);
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

    /// Computes mean and spread afresh once per window length, so that rounding cannot add up; amortised one pass.
    fn refresh(&mut self) {
        self.age += 1;
        if self.age < self.samples.len().max(64) {
            return;
        }
        self.age = 0;
        let n = self.samples.len() as f64;
        self.mean = self.samples.iter().map(|(_, x)| x).sum::<f64>() / n;
        self.spread = self.samples.iter().map(|(_, x)| (x - self.mean) * (x - self.mean)).sum();
    }

    /// Exponentially weighted mean and variance (Finch 2009), started at the first sample.
    fn decay(&mut self, alpha: f64, x: f64) {
        if self.count == 1 {
            self.mean = x;
            return;
        }
        let delta = x - self.mean;
        self.mean += alpha * delta;
        self.spread = (1.0 - alpha) * (self.spread + alpha * delta * delta);
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
                if variance > 0.0 { (self.value - self.mean) / variance.sqrt() } else { f64::NAN }
            }
        }
    }

    pub(crate) fn digest(&self, hasher: &mut Hasher) {
        for (ts, x) in &self.samples {
            hasher.u64(ts.0);
            hasher.f64(*x);
        }
        for x in [self.count, self.first.map_or(0, |ts| ts.0), self.last.0, self.age as u64, self.truncated] {
            hasher.u64(x);
        }
        for x in [self.value, self.mean, self.spread] {
            hasher.f64(x);
        }
    }
}
