//! Running mean and variance over the recent past: by count, by time, or exponentially weighted.
//!
//! Plain windows are updated sample by sample and computed afresh once per window length, and at once when the spread
//! collapses (an outlier has left): so rounding neither adds up nor stays behind.
//! Absent on purpose: values whose square does not fit a float ([`is_sound`]); they are skipped like nulls.

use helios_types::{Hasher, Nanos};

use crate::node::{Stat, Window};
use crate::nodes::samples::{Restart, Ring, is_sound};
use crate::nodes::{Row, Steps, remembers};

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
    /// What is left of the weights after `passed` nanoseconds; for weights by time.
    keep: f64,
    passed: u64,
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
            keep: 1.0,
            passed: 0,
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
        if !is_sound(x) {
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
                let passed = now.since(self.last);
                // Samples often come in steps of one length, and a power costs more than all the rest.
                if passed != self.passed {
                    (self.passed, self.keep) = (passed, libm::exp2(-(passed as f64) / halflife as f64));
                }
                self.decay(self.keep, x);
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
        (self.mean, self.spread) = exchanged((self.mean, self.spread), old, new, self.samples.len() as f64);
    }

    /// Many samples at once, and a statistic after each: the same as [`Moments::push`] and [`Moments::stat`] of each, but
    /// what changes with every sample stays in registers.
    #[inline(always)]
    pub(crate) fn push_all(&mut self, ts: &[Nanos], xs: &[f64], stat: Stat, values: &mut [f64]) {
        // A loop for each statistic, in which it is not asked again which one it is.
        match stat {
            Stat::Mean => self.push_each(ts, xs, stat, values, |mean, _, _, _| mean),
            Stat::Sum => self.push_each(ts, xs, stat, values, |mean, spread, x, n| told(Stat::Sum, mean, spread, x, n)),
            Stat::Var => self.push_each(ts, xs, stat, values, |mean, spread, x, n| told(Stat::Var, mean, spread, x, n)),
            Stat::Std => self.push_each(ts, xs, stat, values, |mean, spread, x, n| told(Stat::Std, mean, spread, x, n)),
            _ => self.push_each(ts, xs, stat, values, |mean, spread, x, n| told(stat, mean, spread, x, n)),
        }
    }

    #[inline(always)]
    fn push_each(
        &mut self,
        ts: &[Nanos],
        xs: &[f64],
        stat: Stat,
        values: &mut [f64],
        tell: impl Fn(f64, f64, f64, usize) -> f64,
    ) {
        let mut row = 0;
        while row < xs.len() {
            let (slides, fades) = match self.window {
                Window::Count(n) => (self.samples.len() == n as usize, None),
                Window::EwmCount(keep) => (false, (self.count >= self.least.max(1)).then_some(keep)),
                _ => (false, None),
            };
            let done = match fades {
                Some(keep) => self.fade(keep, &xs[row..], &mut values[row..], &tell),
                None if slides => self.slide(&xs[row..], &mut values[row..], &tell),
                None => 0,
            };
            if done > 0 {
                row += done;
                self.count += done as u64;
                (self.last, self.value) = (ts[row - 1], xs[row - 1]);
            } else {
                // Not full yet, a null, or a sample after which all is computed afresh.
                self.push(ts[row], xs[row]);
                values[row] = self.stat(stat);
                row += 1;
            }
        }
    }

    /// Slides a full window on for as long as samples are sound and nothing is to be computed afresh; tells how far.
    #[inline(always)]
    fn slide(&mut self, xs: &[f64], values: &mut [f64], tell: &impl Fn(f64, f64, f64, usize) -> f64) -> usize {
        let n = self.samples.len();
        let mut left = (afresh_after(n) - self.age - 1).min(xs.len());
        let (mut mean, mut spread, mut peak) = (self.mean, self.spread, self.peak);
        let mut done = 0;
        while left > 0 {
            // A run of samples that leave, and the places of those that join, each in one piece of memory.
            let (leaving, joining) = self.samples.turnover(left);
            let begun = done;
            for (((old, place), x), value) in leaving.zip(joining).zip(&xs[done..]).zip(&mut values[done..]) {
                let (next_mean, next_spread) = exchanged((mean, spread), old.get(), *x, n as f64);
                let next_peak = if next_spread > peak { next_spread } else { peak };
                if !is_sound(*x) | (next_spread < next_peak * COLLAPSE) {
                    left = 0;
                    break;
                }
                place.set(*x);
                (mean, spread, peak) = (next_mean, next_spread, next_peak);
                *value = tell(mean, variance(spread, n), *x, n);
                done += 1;
            }
            self.samples.turn(done - begun);
            left = left.saturating_sub(done - begun);
        }
        (self.mean, self.spread, self.peak) = (mean, spread, peak);
        self.age += done;
        done
    }

    /// Lets an exponential window that is full hear samples for as long as they are sound; tells how many.
    #[inline(always)]
    fn fade(
        &mut self,
        keep: f64,
        xs: &[f64],
        values: &mut [f64],
        tell: &impl Fn(f64, f64, f64, usize) -> f64,
    ) -> usize {
        let (mut mean, mut spread) = (self.mean, self.spread);
        let mut done = 0;
        for (x, value) in xs.iter().zip(values) {
            if !is_sound(*x) {
                break;
            }
            (mean, spread) = decayed((mean, spread), keep, *x);
            *value = tell(mean, spread, *x, 0);
            done += 1;
        }
        (self.mean, self.spread) = (mean, spread);
        done
    }

    /// Computes mean and spread afresh once per window length, so that rounding cannot add up, and when the spread has
    /// collapsed, so that what an outlier left behind goes with it; amortised one pass. One sample has no spread that
    /// could collapse.
    #[inline(always)]
    fn refresh(&mut self) {
        self.age += 1;
        self.peak = if self.spread > self.peak { self.spread } else { self.peak };
        if (self.age >= afresh_after(self.samples.len())) | (self.spread < self.peak * COLLAPSE) {
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

    /// Exponential weights start at the first sample.
    #[inline(always)]
    fn decay(&mut self, keep: f64, x: f64) {
        (self.mean, self.spread) = if self.count == 1 { (x, 0.0) } else { decayed((self.mean, self.spread), keep, x) };
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
    pub(crate) fn stat(&self, stat: Stat) -> f64 {
        if !self.is_full() {
            return f64::NAN;
        }
        if self.is_exponential() {
            return told(stat, self.mean, self.spread, self.value, 0);
        }
        let n = self.samples.len();
        told(stat, self.mean, variance(self.spread, n), self.value, n)
    }

    /// Exponential windows have no sum: their weights add up to one.
    pub(crate) fn has(&self, stat: Stat) -> bool {
        matches!(stat, Stat::Mean | Stat::Var | Stat::Std | Stat::ZScore)
            || (stat == Stat::Sum && !self.is_exponential())
    }
}

/// Updates after which a window of `n` is computed afresh: so many that this costs little, so few that rounding does not
/// add up.
#[inline(always)]
fn afresh_after(n: usize) -> usize {
    // The mean of one sample is that sample, whatever was there before.
    if n == 1 { 1 } else { 4 * n.max(16) }
}

/// Mean and spread when a sample leaves a window of `n` and another joins.
#[inline(always)]
fn exchanged((mean, spread): (f64, f64), old: f64, new: f64, n: f64) -> (f64, f64) {
    let after = mean + (new - old) / n;
    (after, spread + (new - old) * (new - after + old - mean))
}

/// Exponentially weighted mean and variance after one more sample (Finch 2009).
#[inline(always)]
fn decayed((mean, variance): (f64, f64), keep: f64, x: f64) -> (f64, f64) {
    let delta = x - mean;
    let alpha = 1.0 - keep;
    (mean + alpha * delta, keep * (variance + alpha * delta * delta))
}

/// Of a plain window of `n` samples.
#[inline(always)]
fn variance(spread: f64, n: usize) -> f64 {
    // One sample varies by nothing that could be told: 0 / 0. Rounding may leave a tiny negative number where samples are
    // equal.
    if n < 2 { f64::NAN } else { (if spread > 0.0 { spread } else { 0.0 }) / (n - 1) as f64 }
}

/// A statistic of a full window.
#[inline(always)]
fn told(stat: Stat, mean: f64, variance: f64, last: f64, n: usize) -> f64 {
    match stat {
        Stat::Mean => mean,
        Stat::Sum => mean * n as f64,
        Stat::Var => variance,
        Stat::Std => variance.sqrt(),
        _ => {
            let noise = mean * NOISE;
            if variance > noise * noise { (last - mean) / variance.sqrt() } else { f64::NAN }
        }
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

    remembers!(value, mean, spread, last, count, keep, passed, first, samples, times, peak, age, truncated; window, least);
}

impl Restart for Moments {
    const SAMPLED: usize = 1;

    fn restart(&mut self) {
        self.samples.clear();
        self.times.clear();
        (self.first, self.last, self.count, self.age) = (None, Nanos(0), 0, 0);
        (self.value, self.mean, self.spread, self.peak) = (f64::NAN, 0.0, 0.0, 0.0);
    }
}
