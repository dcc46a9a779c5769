//! Moments beyond the second, and of two expressions together: skewness, covariance, correlation, least squares.

use helios_types::{Damaged, Hasher, Load, Nanos, Persist, Save, persist};

use crate::node::{Stat, Window};
use crate::nodes::moments::{COLLAPSE, NOISE, sum};
use crate::nodes::samples::{Keyed, Ring, Rolling, Summary, check, is_sound};
use crate::nodes::{Machine, Row, Steps, null_unless_finite, remembers};

/// Third powers lose more than squares: what the point that is measured from and what has left may make of a sum.
const SHIFT: f64 = 0.03;

/// Sums of powers of the distance from a point that lies among the samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Skew {
    origin: f64,
    s0: f64,
    s1: f64,
    s2: f64,
    s3: f64,
    /// Largest sum of squares since everything was last computed afresh.
    peak: f64,
}

impl Skew {
    /// Adds a sample `times` times: once, or minus once.
    #[inline(always)]
    fn add(&mut self, x: f64, times: f64) {
        let d = x - self.origin;
        self.s0 += times;
        self.s1 += times * d;
        self.s2 += times * d * d;
        self.s3 += times * d * d * d;
    }
}

impl Summary for Skew {
    type Sample = f64;

    fn sample(value: impl Fn(usize) -> f64) -> f64 {
        value(0)
    }

    /// Cubes must fit too.
    fn is_sound(x: f64) -> bool {
        x.abs() <= 1e100
    }

    fn enter(&mut self, x: f64, n: usize) {
        if n == 1 {
            *self = Self { origin: x, ..Self::default() };
        }
        self.add(x, 1.0);
        self.peak = if self.s2 > self.peak { self.s2 } else { self.peak };
    }

    fn leave(&mut self, x: f64, _n: usize) {
        self.add(x, -1.0);
    }

    fn is_worn(&self) -> bool {
        // The samples have moved away from the origin by some deviations, or what was far away has left.
        (self.s1 * self.s1 > (1.0 - SHIFT) * self.s0 * self.s2) | (self.s2 < self.peak * SHIFT)
    }

    fn afresh(&mut self, samples: &Ring<f64>) {
        let s0 = samples.len() as f64;
        let origin = sum(samples, |x| x) / s0;
        // Equal samples get exactly their value.
        let origin = origin + sum(samples, |x| x - origin) / s0;
        let s1 = sum(samples, |x| x - origin);
        let s2 = sum(samples, |x| (x - origin) * (x - origin));
        let s3 = sum(samples, |x| (x - origin) * (x - origin) * (x - origin));
        *self = Self { origin, s0, s1, s2, s3, peak: s2 };
    }

    fn tells(stat: Stat) -> bool {
        stat == Stat::Skew
    }

    fn read(&self, _stat: Stat, n: usize, _last: f64) -> f64 {
        let n = n as f64;
        let (m1, m2, m3) = (self.s1 / n, self.s2 / n, self.s3 / n);
        let variance = m2 - m1 * m1;
        let noise = (self.origin + m1) * NOISE;
        if variance > noise * noise {
            null_unless_finite((m3 - 3.0 * m1 * m2 + 2.0 * m1 * m1 * m1) / (variance * variance.sqrt()))
        } else {
            f64::NAN
        }
    }

    fn fingerprint(sample: f64, hasher: &mut Hasher) {
        hasher.f64(sample);
    }

    fn digest(&self, hasher: &mut Hasher) {
        [self.origin, self.s0, self.s1, self.s2, self.s3, self.peak].into_iter().for_each(|x| hasher.f64(x));
    }

    fn keep(&self, save: &mut Save) {
        self.save(save);
    }

    fn restored(&self, load: &mut Load<'_>, _samples: &Ring<Self::Sample>) -> Result<Self, Damaged> {
        Self::load(load)
    }
}

persist!(Skew { origin, s0, s1, s2, s3, peak });

/// Two values of one moment.
type Two = (f64, f64);

/// Means, and sums of products of deviations.
#[derive(Clone, Debug, Default)]
pub(crate) struct PairMoments {
    mean: Two,
    xx: f64,
    yy: f64,
    xy: f64,
    peak: Two,
}

impl Summary for PairMoments {
    type Sample = Two;
    const INPUTS: usize = 2;

    #[inline(always)]
    fn sample(value: impl Fn(usize) -> f64) -> Two {
        (value(0), value(1))
    }

    #[inline(always)]
    fn is_sound((x, y): Two) -> bool {
        is_sound(x) && is_sound(y)
    }

    #[inline]
    fn enter(&mut self, (x, y): Two, n: usize) {
        let n = n as f64;
        let (dx, dy) = (x - self.mean.0, y - self.mean.1);
        self.mean.0 += dx / n;
        self.mean.1 += dy / n;
        let rest = y - self.mean.1;
        self.xx += dx * (x - self.mean.0);
        self.yy += dy * rest;
        self.xy += dx * rest;
        self.peak.0 = if self.xx > self.peak.0 { self.xx } else { self.peak.0 };
        self.peak.1 = if self.yy > self.peak.1 { self.yy } else { self.peak.1 };
    }

    #[inline]
    fn leave(&mut self, (x, y): Two, n: usize) {
        if n == 0 {
            *self = Self::default();
            return;
        }
        let n = n as f64;
        let (dx, dy) = (x - self.mean.0, y - self.mean.1);
        self.mean.0 -= dx / n;
        self.mean.1 -= dy / n;
        let rest = y - self.mean.1;
        self.xx -= dx * (x - self.mean.0);
        self.yy -= dy * rest;
        self.xy -= dx * rest;
    }

    #[inline]
    fn is_worn(&self) -> bool {
        (self.xx < self.peak.0 * COLLAPSE) | (self.yy < self.peak.1 * COLLAPSE)
    }

    fn afresh(&mut self, samples: &Ring<Two>) {
        let n = samples.len() as f64;
        let add = |f: &dyn Fn(Two) -> f64| samples.iter().map(f).sum::<f64>();
        let rough = (add(&|s| s.0) / n, add(&|s| s.1) / n);
        let mean = (rough.0 + add(&|s| s.0 - rough.0) / n, rough.1 + add(&|s| s.1 - rough.1) / n);
        let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
        for (x, y) in samples.iter() {
            let (dx, dy) = (x - mean.0, y - mean.1);
            (xx, yy, xy) = (xx + dx * dx, yy + dy * dy, xy + dx * dy);
        }
        *self = Self { mean, xx, yy, xy, peak: (xx, yy) };
    }

    fn tells(stat: Stat) -> bool {
        tells(stat)
    }

    #[inline]
    fn read(&self, stat: Stat, n: usize, last: Two) -> f64 {
        if n < 2 {
            return f64::NAN;
        }
        let n = (n - 1) as f64;
        read(stat, self.mean, (self.xx / n, self.yy / n, self.xy / n), last)
    }

    fn fingerprint((x, y): Two, hasher: &mut Hasher) {
        hasher.f64(x);
        hasher.f64(y);
    }

    fn digest(&self, hasher: &mut Hasher) {
        for x in [self.mean.0, self.mean.1, self.xx, self.yy, self.xy, self.peak.0, self.peak.1] {
            hasher.f64(x);
        }
    }

    fn keep(&self, save: &mut Save) {
        self.save(save);
    }

    fn restored(&self, load: &mut Load<'_>, _samples: &Ring<Self::Sample>) -> Result<Self, Damaged> {
        Self::load(load)
    }
}

persist!(PairMoments { mean, xx, yy, xy, peak });

const fn tells(stat: Stat) -> bool {
    matches!(stat, Stat::Cov | Stat::Corr | Stat::Beta | Stat::Alpha | Stat::Residual)
}

/// A statistic from the means and the (co)variances; the first expression is regressed on the second.
#[inline]
fn read(stat: Stat, mean: Two, (xx, yy, xy): (f64, f64, f64), last: Two) -> f64 {
    let varies = |variance: f64, mean: f64| variance > (mean * NOISE) * (mean * NOISE);
    let value = match stat {
        Stat::Cov => xy,
        Stat::Corr if varies(xx, mean.0) && varies(yy, mean.1) => (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0),
        Stat::Beta if varies(yy, mean.1) => xy / yy,
        Stat::Alpha if varies(yy, mean.1) => mean.0 - xy / yy * mean.1,
        Stat::Residual if varies(yy, mean.1) => (last.0 - mean.0) - xy / yy * (last.1 - mean.1),
        _ => f64::NAN,
    };
    null_unless_finite(value)
}

/// Exponentially weighted means and (co)variances, as for one expression.
#[derive(Clone, Debug)]
pub(crate) struct PairEwm {
    window: Window,
    least: u64,
    count: u64,
    first: Nanos,
    when: Nanos,
    last: Two,
    mean: Two,
    products: (f64, f64, f64),
}

/// The machine of a window of pairs.
pub(crate) fn window(window: Window, least: u32, keyed: bool) -> Result<Machine, String> {
    check(window, least)?;
    let keep = match window {
        Window::EwmCount(_) | Window::EwmTime(_) if keyed => {
            return Err("two expressions with exponential weights do not begin afresh: use a plain window".to_owned());
        }
        Window::EwmCount(keep) => keep,
        Window::EwmTime(_) => 0.5,
        _ => {
            let rolling = Rolling::new(window, least, PairMoments::default());
            return Ok(if keyed { Machine::KeyedPairs(Keyed::new(rolling)) } else { Machine::Pairs(rolling) });
        }
    };
    let three_halflives = (3.0 * libm::log(0.5) / libm::log(keep) - 1e-9).ceil().max(1.0) as u64;
    let own = if matches!(window, Window::EwmCount(_)) { three_halflives } else { 0 };
    let least = if least == 0 { own } else { u64::from(least) };
    let (zero, pair) = (Nanos(0), (0.0, 0.0));
    let products = (0.0, 0.0, 0.0);
    Ok(Machine::PairEwm(PairEwm { window, least, count: 0, first: zero, when: zero, last: pair, mean: pair, products }))
}

impl PairEwm {
    fn push(&mut self, now: Nanos, (x, y): Two) {
        if !(is_sound(x) && is_sound(y)) {
            return;
        }
        self.count += 1;
        self.last = (x, y);
        if self.count == 1 {
            (self.first, self.when, self.mean) = (now, now, (x, y));
            return;
        }
        let keep = match self.window {
            Window::EwmTime(halflife) => libm::exp2(-(now.since(self.when) as f64) / halflife as f64),
            Window::EwmCount(keep) => keep,
            _ => unreachable!("made for exponential weights only"),
        };
        self.when = now;
        let (alpha, dx, dy) = (1.0 - keep, x - self.mean.0, y - self.mean.1);
        self.mean.0 += alpha * dx;
        self.mean.1 += alpha * dy;
        let (xx, yy, xy) = self.products;
        self.products = (keep * (xx + alpha * dx * dx), keep * (yy + alpha * dy * dy), keep * (xy + alpha * dx * dy));
    }

    fn is_full(&self) -> bool {
        match self.window {
            _ if self.least > 0 => self.count >= self.least,
            Window::EwmTime(halflife) => self.when.since(self.first) as f64 >= 3.0 * halflife as f64 && self.count > 0,
            _ => false,
        }
    }
}

impl Steps for PairEwm {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        row.any(2).then(|| {
            self.push(row.now(), (row.value(0), row.value(1)));
            row.value(0)
        })
    }

    fn read(&self, stat: Stat) -> f64 {
        if self.is_full() { read(stat, self.mean, self.products, self.last) } else { f64::NAN }
    }

    fn tells(&self, stat: Stat) -> bool {
        tells(stat)
    }

    fn digest(&self, hasher: &mut Hasher) {
        [self.count, self.first.0, self.when.0].into_iter().for_each(|x| hasher.u64(x));
        let (xx, yy, xy) = self.products;
        [self.last.0, self.last.1, self.mean.0, self.mean.1, xx, yy, xy].into_iter().for_each(|x| hasher.f64(x));
    }

    remembers!(count, first, when, last, mean, products; window, least);
}
