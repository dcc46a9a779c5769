//! Hedge ratio and intercept that drift, followed by a Kalman filter.
//!
//! State (beta, alpha), a random walk with variance `drift` a sample in either; observation y = beta x + alpha + e with
//! variance `noise`. Source: the usual equations for one observation (Harvey 1989, chapter 3), started at zero with a wide
//! variance. Assumes that drift and noise are given; it does not estimate them.

use helios_types::Hasher;

use crate::node::Stat;
use crate::nodes::samples::is_sound;
use crate::nodes::{Row, Steps, null_unless_finite, remembers};

/// Variance of the state before the first sample.
const UNKNOWN: f64 = 1e6;

#[derive(Clone, Debug)]
pub(crate) struct Kalman {
    drift: f64,
    noise: f64,
    least: u64,
    count: u64,
    beta: f64,
    alpha: f64,
    /// Variances of beta and alpha, and their covariance.
    bb: f64,
    aa: f64,
    ba: f64,
    residual: f64,
    deviation: f64,
}

impl Kalman {
    pub(crate) fn new(drift: f64, noise: f64, least: u32) -> Result<Self, String> {
        if !(drift.is_finite() && drift >= 0.0 && noise.is_finite() && noise > 0.0) {
            return Err(format!("a Kalman filter needs drift >= 0 and noise > 0, got drift={drift} noise={noise}"));
        }
        let (nan, zero) = (f64::NAN, 0.0);
        Ok(Self {
            drift,
            noise,
            least: u64::from(least),
            count: 0,
            beta: zero,
            alpha: zero,
            bb: UNKNOWN,
            aa: UNKNOWN,
            ba: zero,
            residual: nan,
            deviation: nan,
        })
    }

    fn push(&mut self, y: f64, x: f64) {
        if !(is_sound(x) && is_sound(y)) {
            return;
        }
        self.count += 1;
        // Predict: the state stays, its variance grows.
        let (bb, aa, ba) = (self.bb + self.drift, self.aa + self.drift, self.ba);
        let error = y - (self.beta * x + self.alpha);
        // Covariance of the state with the observation, and the observation's variance.
        let (hb, ha) = (bb * x + ba, ba * x + aa);
        let variance = hb * x + ha + self.noise;
        let (kb, ka) = (hb / variance, ha / variance);
        self.beta += kb * error;
        self.alpha += ka * error;
        (self.bb, self.aa, self.ba) = (bb - kb * hb, aa - ka * ha, ba - kb * ha);
        (self.residual, self.deviation) = (error, variance.sqrt());
    }
}

impl Steps for Kalman {
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        row.any(2).then(|| {
            self.push(row.value(0), row.value(1));
            row.value(0)
        })
    }

    fn read(&self, stat: Stat) -> f64 {
        if self.count <= self.least {
            return f64::NAN;
        }
        null_unless_finite(match stat {
            Stat::Beta => self.beta,
            Stat::Alpha => self.alpha,
            Stat::Residual => self.residual,
            Stat::Std => self.deviation,
            _ => self.residual / self.deviation,
        })
    }

    fn tells(&self, stat: Stat) -> bool {
        matches!(stat, Stat::Beta | Stat::Alpha | Stat::Residual | Stat::Std | Stat::ZScore)
    }

    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.count);
        for x in [self.beta, self.alpha, self.bb, self.aa, self.ba, self.residual, self.deviation] {
            hasher.f64(x);
        }
    }

    remembers!(count, beta, alpha, bb, aa, ba, residual, deviation; drift, noise, least);
}
