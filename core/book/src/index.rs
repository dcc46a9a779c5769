//! Order number -> slot: open addressing that keeps neighbours together.
//!
//! Feeds number orders almost consecutively and touch the recent ones most. Eight consecutive numbers share
//! one cache line; the line is chosen by a multiplicative hash, so old lines do not pile up. Deleting shifts
//! back instead of leaving tombstones, so no rebuild ever stalls a busy day; growing doubles the table.

use crate::books::fetch;

/// Numbers that share a cache line: 8 entries of 8 bytes.
const LINE: u64 = 8;
const EMPTY: u32 = u32::MAX;

/// Half a cache line is spent on neither hash nor number: `low` is the number's low half, verified by the
/// caller against the full number in the order's record.
#[derive(Clone, Copy)]
struct Entry {
    low: u32,
    slot: u32,
}

/// Maps order numbers to slots below `u32::MAX`.
pub(crate) struct Index {
    entries: Vec<Entry>,
    mask: usize,
    len: usize,
}

impl Index {
    pub(crate) fn new(expected: usize) -> Self {
        let size = (expected.max(512) * 2).next_power_of_two();
        Self { entries: vec![Entry { low: 0, slot: EMPTY }; size], mask: size - 1, len: 0 }
    }

    fn home(&self, low: u32) -> usize {
        let line = u64::from(low) / LINE;
        let hash = line.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        ((hash * LINE + u64::from(low) % LINE) as usize) & self.mask
    }

    pub(crate) fn prefetch(&self, number: u64) {
        fetch(&self.entries[self.home(number as u32)]);
    }

    /// First slot whose number could be `number`: what a look-ahead needs.
    pub(crate) fn guess(&self, number: u64) -> Option<u32> {
        let entry = self.entries[self.home(number as u32)];
        (entry.slot != EMPTY && entry.low == number as u32).then_some(entry.slot)
    }

    /// Position and slot of `number`; `is_it(slot)` compares the full number.
    pub(crate) fn find(&self, number: u64, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let low = number as u32;
        let mut at = self.home(low);
        loop {
            let entry = self.entries[at];
            if entry.slot == EMPTY {
                return None;
            }
            if entry.low == low && is_it(entry.slot) {
                return Some((at, entry.slot));
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Adds a number that is known to be absent.
    pub(crate) fn insert(&mut self, number: u64, slot: u32) {
        debug_assert!(slot != EMPTY);
        if (self.len + 1) * 2 > self.entries.len() {
            self.grow();
        }
        self.place(Entry { low: number as u32, slot });
        self.len += 1;
    }

    fn place(&mut self, entry: Entry) {
        let mut at = self.home(entry.low);
        while self.entries[at].slot != EMPTY {
            at = (at + 1) & self.mask;
        }
        self.entries[at] = entry;
    }

    fn grow(&mut self) {
        let size = self.entries.len() * 2;
        let old = std::mem::replace(&mut self.entries, vec![Entry { low: 0, slot: EMPTY }; size]);
        self.mask = size - 1;
        for entry in old.into_iter().filter(|entry| entry.slot != EMPTY) {
            self.place(entry);
        }
    }

    /// Removes the entry at `at` and moves later ones of its chain back.
    pub(crate) fn remove_at(&mut self, at: usize) {
        let mut hole = at;
        let mut next = (at + 1) & self.mask;
        while self.entries[next].slot != EMPTY {
            let home = self.home(self.entries[next].low);
            // The entry may move into the hole unless its home lies cyclically after the hole.
            if (next.wrapping_sub(home) & self.mask) >= (next.wrapping_sub(hole) & self.mask) {
                self.entries[hole] = self.entries[next];
                hole = next;
            }
            next = (next + 1) & self.mask;
        }
        self.entries[hole].slot = EMPTY;
        self.len -= 1;
    }
}
