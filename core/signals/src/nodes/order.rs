//! Least, greatest and quantiles of the samples in a window.

use helios_types::Hasher;

use crate::node::Stat;
use crate::nodes::Row;
use crate::nodes::samples::{LARGEST, Ring, Summary};

/// The candidates for least and greatest, from the oldest: each is better than all behind it (Lemire 2006).
#[derive(Clone, Debug)]
pub(crate) struct Extremes {
    least: Ring<f64>,
    greatest: Ring<f64>,
}

impl Default for Extremes {
    fn default() -> Self {
        Self { least: Ring::with_capacity(16), greatest: Ring::with_capacity(16) }
    }
}

/// What all summaries of single numbers share.
#[inline(always)]
pub(super) fn number(row: &impl Row) -> Option<f64> {
    Some(row.value(0))
}

#[inline(always)]
pub(super) fn is_sound(x: f64) -> bool {
    x.abs() <= LARGEST
}

impl Summary for Extremes {
    type Sample = f64;

    #[inline(always)]
    fn sample(row: &impl Row) -> Option<f64> {
        number(row)
    }

    #[inline(always)]
    fn is_sound(x: f64) -> bool {
        is_sound(x)
    }

    #[inline]
    fn enter(&mut self, x: f64, _n: usize) {
        while self.least.back().is_some_and(|last| last > x) {
            self.least.pop_back();
        }
        self.least.push_back(x);
        while self.greatest.back().is_some_and(|last| last < x) {
            self.greatest.pop_back();
        }
        self.greatest.push_back(x);
    }

    #[inline]
    fn leave(&mut self, x: f64, _n: usize) {
        // Equal samples all stay candidates, so one of them leaves with each.
        if self.least.front() == Some(x) {
            self.least.pop_front();
        }
        if self.greatest.front() == Some(x) {
            self.greatest.pop_front();
        }
    }

    fn tells(stat: Stat) -> bool {
        matches!(stat, Stat::Min | Stat::Max)
    }

    #[inline]
    fn read(&self, stat: Stat, _n: usize, _last: f64) -> f64 {
        let candidates = if stat == Stat::Min { &self.least } else { &self.greatest };
        candidates.front().unwrap_or(f64::NAN)
    }

    fn fingerprint(sample: f64, hasher: &mut Hasher) {
        hasher.f64(sample);
    }

    fn digest(&self, hasher: &mut Hasher) {
        self.least.iter().chain(self.greatest.iter()).for_each(|x| hasher.f64(x));
    }
}

/// Samples in one block of [`Order`] at most.
const BLOCK: usize = 256;

/// The samples in order, in blocks: to find, add and remove one costs a search and a short move.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    blocks: Vec<Vec<f64>>,
}

impl Order {
    /// The block in which `x` belongs.
    fn block_of(&self, x: f64) -> usize {
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

    fn sample(row: &impl Row) -> Option<f64> {
        number(row)
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
}
