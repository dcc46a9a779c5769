//! The price levels of one side of one instrument, worst first, best last.
//!
//! Most changes happen within a few levels of the best price, so a sorted array with its best at the end
//! moves little memory and is found by a short scan from the end.

use helios_types::{Price, Side};

/// Rank of a price on its side: larger is better. An order without a price ranks last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(i64);

impl Rank {
    const UNPRICED: Self = Self(i64::MIN);

    /// By multiplication: sides alternate without a pattern, so a branch on the side would be mispredicted.
    #[inline]
    pub(crate) fn new(side: Side, price: Price) -> Self {
        if price.is_defined() { Self(price.0 * side.sign()) } else { Self::UNPRICED }
    }

    #[inline]
    pub(crate) fn price(self, side: Side) -> Price {
        if self == Self::UNPRICED { Price::UNDEFINED } else { Price(self.0 * side.sign()) }
    }
}

/// A rung: a rank and the slot of its level.
#[derive(Clone, Copy)]
pub(crate) struct Rung {
    pub(crate) rank: Rank,
    pub(crate) level: u32,
}

/// Worst first, best last.
#[derive(Default)]
pub(crate) struct Ladder(Vec<Rung>);

/// How many rungs are scanned before halving the rest.
const SCAN: usize = 8;

impl Ladder {
    pub(crate) fn best(&self) -> Option<Rung> {
        self.0.last().copied()
    }

    pub(crate) fn best_first(&self) -> impl Iterator<Item = Rung> + '_ {
        self.0.iter().rev().copied()
    }

    /// How many of the best few rungs are better than `rank`. Counted without a branch: how deep an order joins is as
    /// unpredictable as a coin.
    #[inline]
    fn better(&self, rank: Rank) -> Option<usize> {
        let near = self.0.last_chunk::<SCAN>()?;
        Some(near.iter().map(|rung| usize::from(rung.rank > rank)).sum())
    }

    /// Where `rank` is (`Ok`) or belongs (`Err`).
    #[inline]
    pub(crate) fn find(&self, rank: Rank) -> Result<usize, usize> {
        let len = self.0.len();
        match self.better(rank) {
            Some(better) if better < SCAN => {
                let at = len - 1 - better;
                if self.0[at].rank == rank { Ok(at) } else { Err(at + 1) }
            }
            better => {
                let rest = len - if better.is_some() { SCAN } else { 0 };
                self.0[..rest].binary_search_by_key(&rank, |rung| rung.rank)
            }
        }
    }

    pub(crate) fn level_at(&self, at: usize) -> u32 {
        self.0[at].level
    }

    pub(crate) fn insert(&mut self, at: usize, rank: Rank, level: u32) {
        self.0.insert(at, Rung { rank, level });
    }

    pub(crate) fn remove(&mut self, rank: Rank) {
        let at = self.find(rank).expect("a level with orders stands on its ladder");
        self.0.remove(at);
    }
}
