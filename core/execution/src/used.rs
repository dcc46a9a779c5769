//! Numbers that were used, as ranges: callers count upwards, so the ranges are few.

use std::collections::BTreeMap;

use helios_types::{Digest, Hasher};

/// Ranges at once; a number that would open one more is refused like a used one.
const MAX_RANGES: usize = 1 << 16;

/// `first -> last` of each range.
#[derive(Debug, Default)]
pub(crate) struct Used(pub(crate) BTreeMap<u64, u64>);

impl Used {
    /// Marks a number as used; false when it was used before.
    pub(crate) fn claim(&mut self, number: u64) -> bool {
        let below = self.0.range(..=number).next_back().map(|(first, last)| (*first, *last));
        let first = match below {
            Some((_, last)) if number <= last => return false,
            Some((first, last)) if last + 1 == number => first,
            _ if self.0.len() >= MAX_RANGES => return false,
            _ => number,
        };
        // The range above, if it begins with the next number, joins this one.
        let last = number.checked_add(1).and_then(|above| self.0.remove(&above)).unwrap_or(number);
        self.0.insert(first, last);
        true
    }

    /// The lowest number from `first` on behind which none before `end` was used.
    pub(crate) fn free_from(&self, first: u64, end: u64) -> u64 {
        let last = self.0.range(..end).next_back().map(|(_, last)| *last);
        last.map_or(first, |last| last.saturating_add(1).max(first))
    }

    /// True for a number that was used.
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }
}

impl Digest for Used {
    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.0.len() as u64);
        for (first, last) in &self.0 {
            hasher.u64(*first);
            hasher.u64(*last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_counts_goes_on_behind_what_was_used() {
        let mut used = Used::default();
        assert_eq!(used.free_from(100, 200), 100);
        for number in [50, 100, 101, 103, 250] {
            used.claim(number);
        }
        assert_eq!([used.free_from(100, 200), used.free_from(60, 100), used.free_from(104, 200)], [104, 60, 104]);
    }

    #[test]
    fn a_number_is_used_once_in_whatever_order_they_come() {
        let mut used = Used::default();
        let numbers = [5, 7, 6, 1, u64::MAX, 0, u64::MAX - 1];
        assert!(numbers.iter().all(|number| used.claim(*number)));
        assert!(numbers.iter().all(|number| !used.claim(*number) && used.contains(*number)));
        assert!([2, 4, 8, u64::MAX - 2].iter().all(|number| !used.contains(*number)));
        assert_eq!(used.0.len(), 3, "{used:?}");
    }

    #[test]
    fn the_table_of_ranges_is_bounded() {
        let mut used = Used::default();
        assert!((0..MAX_RANGES as u64).all(|number| used.claim(number * 2)));
        assert!(!used.claim(u64::MAX));
        assert!(used.claim(1), "a number that joins two ranges still fits");
    }
}
