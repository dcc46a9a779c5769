//! Random draws from a seeded [`Rng`]: the distributions that the simulators need, the same on every machine.

use helios_types::Rng;

/// A stream of random draws.
#[derive(Clone)]
pub(crate) struct Draw {
    rng: Rng,
    /// The polar method makes normals in pairs.
    spare_normal: Option<f64>,
}

impl Draw {
    /// `stream` separates independent uses of one seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self { rng: Rng::new(seed ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93)), spare_normal: None }
    }

    /// Uniform in `0..bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.rng.below(u64::from(bound)) as u32
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.rng.uniform()
    }

    /// Uniform in [`low`, `high`).
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.rng.uniform()
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.rng.uniform() < probability
    }

    /// Exponential with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -libm::log(1.0 - self.rng.uniform())
    }

    /// Number of failures before the first success; mean `(1 - p) / p`, at most `most`.
    pub(crate) fn geometric(&mut self, p: f64, most: u32) -> u32 {
        let mut n = 0;
        while n < most && !self.chance(p) {
            n += 1;
        }
        n
    }

    /// Standard normal (Marsaglia's polar method).
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(x) = self.spare_normal.take() {
            return x;
        }
        loop {
            let (x, y) = (self.between(-1.0, 1.0), self.between(-1.0, 1.0));
            let radius = x * x + y * y;
            if radius > 0.0 && radius < 1.0 {
                let scale = (-2.0 * libm::log(radius) / radius).sqrt();
                self.spare_normal = Some(y * scale);
                return x * scale;
            }
        }
    }

    /// An order size in shares: round lots of 100 with the given mean, one in twelve an odd lot.
    pub(crate) fn shares(&mut self, mean_lots: f64) -> u32 {
        if self.below(12) == 0 {
            return 1 + self.below(99);
        }
        100 * (1 + self.geometric(1.0 / mean_lots, 50))
    }
}

/// Draws an index with given weights in constant time (Walker 1977, Vose 1991).
#[derive(Clone)]
pub(crate) struct Alias {
    keep: Vec<f64>,
    other: Vec<u32>,
}

impl Alias {
    /// `weights` are positive and need not sum to one.
    pub(crate) fn new(weights: &[f64]) -> Self {
        let scale = weights.len() as f64 / weights.iter().sum::<f64>();
        let mut keep: Vec<f64> = weights.iter().map(|w| w * scale).collect();
        let mut other: Vec<u32> = (0..weights.len() as u32).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) = other.iter().partition(|&&i| keep[i as usize] < 1.0);
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            other[low as usize] = high;
            keep[high as usize] -= 1.0 - keep[low as usize];
            if keep[high as usize] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Self { keep, other }
    }

    pub(crate) fn draw(&self, draw: &mut Draw) -> usize {
        let i = draw.below(self.keep.len() as u32) as usize;
        if draw.uniform() < self.keep[i] { i } else { self.other[i] as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_and_exponentials_have_their_moments() {
        let mut draw = Draw::new(3, 0);
        let n = 200_000;
        let normals: Vec<f64> = (0..n).map(|_| draw.normal()).collect();
        let mean = normals.iter().sum::<f64>() / f64::from(n);
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.01, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.015, "variance {variance}");
        let mean = (0..n).map(|_| draw.exponential()).sum::<f64>() / f64::from(n);
        assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
    }

    #[test]
    fn alias_draws_with_its_weights() {
        let weights = [1.0, 5.0, 0.5, 3.5];
        let alias = Alias::new(&weights);
        let mut draw = Draw::new(5, 0);
        let mut counts = [0u32; 4];
        for _ in 0..100_000 {
            counts[alias.draw(&mut draw)] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            let share = f64::from(*count) / 100_000.0;
            assert!((share - weight / 10.0).abs() < 0.006, "{share} instead of {}", weight / 10.0);
        }
    }
}
