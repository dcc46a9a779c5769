//! The price levels of one side of one instrument, worst first, best last.
//!
//! Most changes happen within a few levels of the best price, so a sorted array with its best at the end
//! moves little memory and is found by a short scan from the end.

use helios_types::{Price, Side};

/// Rank of a price on its side: larger is better. An order without a price ranks last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(i64);

impl Rank {
    pub(crate) fn new(side: Side, price: Price) -> Self {
        match (price.is_defined(), side) {
            (false, _) => Self(i64::MIN),
            (true, Side::Buy) => Self(price.0),
            (true, Side::Sell) => Self(-price.0),
        }
    }

    pub(crate) fn price(self, side: Side) -> Price {
        match (self.0, side) {
            (i64::MIN, _) => Price::UNDEFINED,
            (rank, Side::Buy) => Price(rank),
            (rank, Side::Sell) => Price(-rank),
        }
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

    pub(crate) fn is_best(&self, level: u32) -> bool {
        self.0.last().is_some_and(|rung| rung.level == level)
    }

    /// Where `rank` is (`Ok`) or belongs (`Err`).
    pub(crate) fn find(&self, rank: Rank) -> Result<usize, usize> {
        let near = self.0.len().saturating_sub(SCAN);
        for at in (near..self.0.len()).rev() {
            let here = self.0[at].rank;
            if here == rank {
                return Ok(at);
            }
            if here < rank {
                return Err(at + 1);
            }
        }
        self.0[..near].binary_search_by_key(&rank, |rung| rung.rank)
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
