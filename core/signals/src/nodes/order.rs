//! Least, greatest and quantiles of the samples in a window.

use helios_types::{Damaged, Hasher, Load, Persist, Save};

use crate::node::Stat;
use crate::nodes::samples::{Ring, Summary, is_sound};

/// The candidates for the greatest (or the least) sample, from the oldest: each is greater than all behind it (Lemire 2006).
#[derive(Clone, Debug)]
pub(crate) struct Extreme<const LEAST: bool> {
    candidates: Ring<f64>,
}

impl<const LEAST: bool> Default for Extreme<LEAST> {
    fn default() -> Self {
        Self { candidates: Ring::with_capacity(16) }
    }
}

impl<const LEAST: bool> Summary for Extreme<LEAST> {
    type Sample = f64;
    const WEARS: bool = false;

    #[inline(always)]
    fn sample(value: impl Fn(usize) -> f64) -> f64 {
        value(0)
    }

    #[inline(always)]
    fn is_sound(x: f64) -> bool {
        is_sound(x)
    }

    #[inline(always)]
    fn enter(&mut self, x: f64, _n: usize) {
        self.candidates.displace(x, |last| if LEAST { last > x } else { last < x });
    }

    #[inline(always)]
    fn leave(&mut self, x: f64, _n: usize) {
        // Equal samples all stay candidates, so one of them leaves with each.
        if self.candidates.front() == Some(x) {
            self.candidates.pop_front();
        }
    }

    fn tells(stat: Stat) -> bool {
        stat == if LEAST { Stat::Min } else { Stat::Max }
    }

    #[inline(always)]
    fn read(&self, _stat: Stat, _n: usize, _last: f64) -> f64 {
        self.candidates.front().unwrap_or(f64::NAN)
    }

    fn fingerprint(sample: f64, hasher: &mut Hasher) {
        hasher.f64(sample);
    }

    // The samples, which are in the fingerprint, say it all.
    fn digest(&self, _hasher: &mut Hasher) {}

    fn keep(&self, save: &mut Save) {
        self.candidates.save(save);
    }

    fn restored(&self, load: &mut Load<'_>, _samples: &Ring<f64>) -> Result<Self, Damaged> {
        Ring::load(load).map(|candidates| Self { candidates })
    }
}

/// Samples in one block of [`Order`] at most.
const BLOCK: usize = 128;

/// The samples in order, in blocks: to find, add and remove one costs a search and a short move.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    blocks: Vec<Vec<f64>>,
}

impl Order {
    /// The block in which `x` belongs.
    #[inline]
    fn block_of(&self, x: f64) -> usize {
        if self.blocks.len() == 1 {
            return 0;
        }
        let at = self.blocks.partition_point(|block| block[block.len() - 1] < x);
        at.min(self.blocks.len() - 1)
    }

    fn at(&self, mut rank: usize) -> f64 {
        for block in &self.blocks {
            if rank < block.len() {
                return block[rank];
            }
            rank -= block.len();
        }
        unreachable!("a rank below the number of samples")
    }
}

impl Summary for Order {
    type Sample = f64;
    const WEARS: bool = false;

    fn sample(value: impl Fn(usize) -> f64) -> f64 {
        value(0)
    }

    fn is_sound(x: f64) -> bool {
        is_sound(x)
    }

    fn enter(&mut self, x: f64, _n: usize) {
        if self.blocks.is_empty() {
            self.blocks.push(Vec::with_capacity(BLOCK));
            self.blocks[0].push(x);
            return;
        }
        let at = self.block_of(x);
        let block = &mut self.blocks[at];
        let place = block.partition_point(|y| *y < x);
        block.insert(place, x);
        if block.len() == BLOCK {
            let mut upper = Vec::with_capacity(BLOCK);
            upper.extend(block.drain(BLOCK / 2..));
            self.blocks.insert(at + 1, upper);
        }
    }

    fn leave(&mut self, x: f64, _n: usize) {
        let at = self.block_of(x);
        let block = &mut self.blocks[at];
        let place = block.partition_point(|y| *y < x);
        debug_assert!(block[place] == x);
        block.remove(place);
        if block.is_empty() {
            self.blocks.remove(at);
        }
    }

    /// Within one block, only what lies between the two has to move.
    fn exchange(&mut self, old: f64, new: f64, n: usize) {
        let [block] = self.blocks.as_mut_slice() else {
            self.leave(old, n - 1);
            self.enter(new, n);
            return;
        };
        let (from, to) = (block.partition_point(|y| *y < old), block.partition_point(|y| *y < new));
        debug_assert!(block[from] == old);
        let to = if to > from {
            block.copy_within(from + 1..to, from);
            to - 1
        } else {
            block.copy_within(to..from, to + 1);
            to
        };
        block[to] = new;
    }

    fn tells(stat: Stat) -> bool {
        matches!(stat, Stat::Quantile(q) if (0.0..=1.0).contains(&q))
    }

    fn read(&self, stat: Stat, n: usize, _last: f64) -> f64 {
        let Stat::Quantile(q) = stat else { unreachable!("checked when the graph was built") };
        let place = q * (n - 1) as f64;
        let below = place.floor();
        let (low, part) = (self.at(below as usize), place - below);
        if part > 0.0 { low + (self.at(below as usize + 1) - low) * part } else { low }
    }

    fn fingerprint(sample: f64, hasher: &mut Hasher) {
        hasher.f64(sample);
    }

    // The samples, which are in the fingerprint, say it all.
    fn digest(&self, _hasher: &mut Hasher) {}

    fn keep(&self, _save: &mut Save) {}

    // Where blocks end is nobody's to see: they are made anew of the samples.
    fn restored(&self, _load: &mut Load<'_>, samples: &Ring<f64>) -> Result<Self, Damaged> {
        if !samples.iter().all(is_sound) {
            return Err(Damaged("a window holds what is no sample"));
        }
        let mut order = Self::default();
        (1..).zip(samples.iter()).for_each(|(n, x)| order.enter(x, n));
        Ok(order)
    }
}
