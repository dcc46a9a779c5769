//! Windows by their definition: all samples are kept, and every statistic is computed from all of them.

use helios_signals::{Stat, Window};

/// A window's whole past.
#[derive(Clone, Debug, Default)]
pub struct History(Vec<(u64, f64)>);

/// Mean, variance, and what samples of this size lose to rounding: a deviation cannot be told more closely.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    pub mean: f64,
    pub variance: f64,
    pub rounding: f64,
}

impl History {
    pub fn push(&mut self, ts: u64, x: f64) {
        // No sample is a null, or so large that its square is no number.
        if x.abs() <= 1e150 {
            self.0.push((ts, x));
        }
    }

    /// Mean and variance now; `None` while the window is not full.
    pub fn moments(&self, window: Window) -> Option<Moments> {
        let (first, (now, _)) = (self.0.first()?.0, *self.0.last()?);
        let age = now - first;
        match window {
            Window::Count(n) => {
                let from = self.0.len().checked_sub(n as usize)?;
                Some(plain(&self.0[from..]))
            }
            Window::Time(span) => {
                let from = self.0.partition_point(|(ts, _)| now - ts >= span);
                (age >= span).then(|| plain(&self.0[from..]))
            }
            Window::All => Some(plain(&self.0)),
            Window::EwmCount(keep) => {
                let weight = |at: usize| libm::pow(keep, (self.0.len() - 1 - at) as f64);
                // Three half-lives: the first sample weighs an eighth, but for what rounding makes of it.
                (libm::pow(keep, self.0.len() as f64) <= 0.125 * (1.0 + 1e-9)).then(|| weighted(&self.0, weight))
            }
            Window::EwmTime(halflife) => {
                let weight = |at: usize| libm::exp2((now - self.0[at].0) as f64 / -(halflife as f64));
                (age as f64 >= 3.0 * halflife as f64).then(|| weighted(&self.0, weight))
            }
        }
    }

    fn last(&self) -> f64 {
        self.0.last().map_or(f64::NAN, |(_, x)| *x)
    }

    /// Does a statistic read off a window agree with the whole history, to 1e-9?
    pub fn agrees(&self, window: Window, stat: Stat, found: f64) -> Result<(), String> {
        let Some(Moments { mean, variance, rounding }) = self.moments(window) else {
            return if found.is_nan() { Ok(()) } else { Err(format!("{stat:?} is {found} before the window is full")) };
        };
        // What is close to rounding has no z-score worth comparing.
        let (deviation, certain) = (variance.sqrt(), variance.sqrt() > rounding * 1e6);
        let close = |expected: f64, slack: f64| (found - expected).abs() <= 1e-9 * expected.abs() + slack;
        let right = match stat {
            Stat::Mean => close(mean, rounding),
            Stat::Var if variance.is_nan() => found.is_nan(),
            Stat::Var => close(variance, (2.0 * deviation + rounding) * rounding),
            Stat::Std if variance.is_nan() => found.is_nan(),
            Stat::Std => close(deviation, rounding),
            Stat::ZScore if variance.is_nan() || variance == 0.0 => found.is_nan(),
            Stat::ZScore => !certain || close((self.last() - mean) / deviation, 1e-6),
            _ => unreachable!("no statistic of a window of moments"),
        };
        right.then_some(()).ok_or_else(|| {
            format!("{window:?} {stat:?}: {found}, but the history says mean {mean} variance {variance}")
        })
    }
}

fn plain(samples: &[(u64, f64)]) -> Moments {
    let n = samples.len() as f64;
    let rough = samples.iter().map(|(_, x)| x).sum::<f64>() / n;
    let mean = rough + samples.iter().map(|(_, x)| x - rough).sum::<f64>() / n;
    let squares: f64 = samples.iter().map(|(_, x)| (x - mean) * (x - mean)).sum();
    let variance = if samples.len() < 2 { f64::NAN } else { squares / (n - 1.0) };
    Moments { mean, variance, rounding: rounding(samples) }
}

/// `weight` of a sample is what is left of it; what it adds when it comes is the weight since the sample before.
fn weighted(samples: &[(u64, f64)], weight: impl Fn(usize) -> f64) -> Moments {
    let part = |at: usize| if at == 0 { weight(0) } else { weight(at) - weight(at - 1) };
    // Seen from the last sample, the distances are small and lose nothing to the samples' size.
    let last = samples.last().expect("a window with samples").1;
    let sum =
        |f: &dyn Fn(f64) -> f64| samples.iter().enumerate().map(|(at, (_, x))| part(at) * f(x - last)).sum::<f64>();
    let mean = sum(&|y| y);
    let variance = sum(&|y| (y - mean) * (y - mean));
    Moments { mean: last + mean, variance, rounding: rounding(samples) }
}

/// Some hundred times the last place of the largest sample.
fn rounding(samples: &[(u64, f64)]) -> f64 {
    samples.iter().map(|(_, x)| x.abs()).fold(0.0, f64::max) * 1e-13
}
