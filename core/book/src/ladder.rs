//! The price levels of one side of one instrument, best first.
//!
//! Most changes happen within a few levels of the best price. So the best few stand in the ladder itself, in arrays of
//! fixed size that are searched and shifted without a branch: how deep an order joins is as unpredictable as a coin.
//! Worse levels wait in a sorted list and move up when there is room.

use helios_types::{Price, Side};

use crate::books::fetch;

/// Rank of a price on its side: larger is better. An order without a price ranks last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(i64);

impl Rank {
    /// No level: behind all.
    const ABSENT: Self = Self(i64::MIN);
    const UNPRICED: Self = Self(i64::MIN + 1);

    /// By multiplication: sides alternate without a pattern, so a branch on the side would be mispredicted.
    #[inline(always)]
    pub(crate) fn new(side: Side, price: Price) -> Self {
        if price.is_defined() { Self(price.0 * side.sign()) } else { Self::UNPRICED }
    }

    #[inline(always)]
    pub(crate) fn price(self, side: Side) -> Price {
        if self == Self::UNPRICED { Price::UNDEFINED } else { Price(self.0 * side.sign()) }
    }

    /// As the key of a record.
    #[inline(always)]
    pub(crate) fn to_key(self) -> u64 {
        self.0 as u64
    }

    #[inline(always)]
    pub(crate) fn from_key(key: u64) -> Self {
        Self(key as i64)
    }
}

/// A rung: a rank and the slot of its level.
#[derive(Clone, Copy)]
struct Rung {
    rank: Rank,
    level: u32,
}

/// How many of the best levels stand in the ladder itself: their ranks fill a cache line.
const NEAR: usize = 8;

/// Two cache lines. Positions below [`NEAR`] are in the arrays; the others, less [`NEAR`], count from the worst.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct Ladder {
    /// Best first; behind the last level [`Rank::ABSENT`].
    ranks: [Rank; NEAR],
    levels: [u32; NEAR],
    /// Worst first, best last, so that its best comes and goes at the end. Empty unless the arrays are full.
    far: Vec<Rung>,
}

const _: () = assert!(size_of::<[Rank; NEAR]>() == 64 && size_of::<Ladder>() == 128);

impl Default for Ladder {
    fn default() -> Self {
        Self { ranks: [Rank::ABSENT; NEAR], levels: [0; NEAR], far: Vec::new() }
    }
}

impl Ladder {
    /// Loads both lines; only speed depends on it.
    #[inline(always)]
    pub(crate) fn fetch(&self) {
        fetch(&self.ranks);
        fetch(&self.levels);
    }

    /// Slot of the best level.
    #[inline(always)]
    pub(crate) fn best(&self) -> Option<u32> {
        (self.ranks[0] != Rank::ABSENT).then_some(self.levels[0])
    }

    /// Slots of the levels.
    pub(crate) fn best_first(&self) -> impl Iterator<Item = u32> + '_ {
        let near = self.ranks.iter().zip(self.levels).take_while(|(rank, _)| **rank != Rank::ABSENT);
        near.map(|(_, level)| level).chain(self.far.iter().rev().map(|rung| rung.level))
    }

    /// Where `rank` is (`Ok`) or belongs (`Err`); the best level's position is zero.
    #[inline(always)]
    pub(crate) fn find(&self, rank: Rank) -> Result<usize, usize> {
        let better = self.ranks.iter().map(|near| usize::from(*near > rank)).sum();
        if better == NEAR {
            return self.find_far(rank);
        }
        if self.ranks[better] == rank { Ok(better) } else { Err(better) }
    }

    #[inline(never)]
    fn find_far(&self, rank: Rank) -> Result<usize, usize> {
        match self.far.binary_search_by_key(&rank, |rung| rung.rank) {
            Ok(at) => Ok(NEAR + at),
            Err(at) => Err(NEAR + at),
        }
    }

    #[inline(always)]
    pub(crate) fn level_at(&self, at: usize) -> u32 {
        if at < NEAR { self.levels[at] } else { self.far[at - NEAR].level }
    }

    pub(crate) fn insert(&mut self, at: usize, rank: Rank, level: u32) {
        if at >= NEAR {
            return self.far.insert(at - NEAR, Rung { rank, level });
        }
        let last = NEAR - 1;
        if self.ranks[last] != Rank::ABSENT {
            self.far.push(Rung { rank: self.ranks[last], level: self.levels[last] });
        }
        // Every position is written, moved or not: the number of those that move is not predictable.
        for i in (1..NEAR).rev() {
            self.ranks[i] = self.ranks[i - usize::from(i > at)];
            self.levels[i] = self.levels[i - usize::from(i > at)];
        }
        self.ranks[at] = rank;
        self.levels[at] = level;
    }

    pub(crate) fn remove(&mut self, rank: Rank) {
        let at = self.find(rank).expect("a level with orders stands on its ladder");
        if at >= NEAR {
            self.far.remove(at - NEAR);
            return;
        }
        for i in 0..NEAR - 1 {
            self.ranks[i] = self.ranks[i + usize::from(i >= at)];
            self.levels[i] = self.levels[i + usize::from(i >= at)];
        }
        let up = self.far.pop().unwrap_or(Rung { rank: Rank::ABSENT, level: 0 });
        self.ranks[NEAR - 1] = up.rank;
        self.levels[NEAR - 1] = up.level;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels are named by their rank, so that a rank and a level that part are seen.
    fn levels(ladder: &Ladder) -> Vec<i64> {
        for (rank, level) in ladder.ranks.iter().zip(ladder.levels).filter(|(rank, _)| **rank != Rank::ABSENT) {
            assert_eq!(rank.0, i64::from(level));
        }
        assert!(ladder.far.iter().all(|rung| rung.rank.0 == i64::from(rung.level)));
        assert!(ladder.far.is_empty() || ladder.ranks[NEAR - 1] != Rank::ABSENT, "near levels first");
        ladder.best_first().map(i64::from).collect()
    }

    #[test]
    fn levels_move_between_the_arrays_and_the_list_and_stay_sorted() {
        let (mut ladder, mut sorted) = (Ladder::default(), Vec::new());
        // 37 and 101 share no divisor: every rank from 1 to 100 once, then every one again to be removed.
        for rank in (1..=100).map(|n| n * 37 % 101) {
            let at = ladder.find(Rank(rank)).expect_err("not there yet");
            ladder.insert(at, Rank(rank), rank as u32);
            sorted.push(rank);
            sorted.sort_unstable_by_key(|rank| -rank);
            assert_eq!(levels(&ladder), sorted);
            assert_eq!(ladder.best(), sorted.first().map(|rank| *rank as u32));
            for rank in &sorted {
                let at = ladder.find(Rank(*rank)).expect("there");
                assert_eq!((ladder.level_at(at), at == 0), (*rank as u32, *rank == sorted[0]));
            }
        }
        for rank in (1..=100).map(|n| n * 59 % 101) {
            ladder.remove(Rank(rank));
            sorted.retain(|other| *other != rank);
            assert_eq!(levels(&ladder), sorted);
        }
        assert_eq!(ladder.best(), None);
    }

    #[test]
    fn an_order_without_a_price_ranks_behind_every_price() {
        for side in [Side::Buy, Side::Sell] {
            let [worst, best] = match side {
                Side::Buy => [Price(1), Price(i64::MAX - 1)],
                Side::Sell => [Price(i64::MAX - 1), Price(1)],
            };
            let unpriced = Rank::new(side, Price::UNDEFINED);
            assert!(Rank::ABSENT < unpriced && unpriced < Rank::new(side, worst));
            assert!(Rank::new(side, worst) < Rank::new(side, best));
            for price in [worst, best, Price::UNDEFINED] {
                assert_eq!(Rank::from_key(Rank::new(side, price).to_key()).price(side), price);
            }
        }
    }
}
