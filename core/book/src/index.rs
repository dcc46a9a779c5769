//! Order number -> slot: open addressing with linear probing, one cache line a look-up.
//!
//! The table is kept at most three eighths full, so that most numbers are found at their own place and the processor
//! predicts it. Deleting shifts back instead of leaving tombstones, so no rebuild ever stalls a busy day; growing doubles
//! the table.

use crate::books::fetch;

const EMPTY: u32 = u32::MAX;

/// `low` is the number's low half; the caller compares the full number with the order's record.
#[derive(Clone, Copy)]
struct Entry {
    low: u32,
    slot: u32,
}

/// Maps order numbers to slots below `u32::MAX`.
#[derive(Clone)]
pub(crate) struct Index {
    /// A power of two of them.
    entries: Vec<Entry>,
    /// 64 less the binary logarithm of the table's size.
    shift: u32,
    len: usize,
}

impl Index {
    pub(crate) fn new(expected: usize) -> Self {
        Self::with_size((expected.max(64) * 4).next_power_of_two())
    }

    fn with_size(size: usize) -> Self {
        Self { entries: vec![Entry { low: 0, slot: EMPTY }; size], shift: 64 - size.ilog2(), len: 0 }
    }

    /// Fibonacci hashing (Knuth, volume 3, 6.4): numbers that follow one another are spread evenly.
    #[inline(always)]
    fn home(&self, low: u32) -> usize {
        (u64::from(low).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }

    #[inline(always)]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }

    #[inline(always)]
    pub(crate) fn prefetch(&self, number: u64) {
        fetch(&self.entries[self.home(number as u32)]);
    }

    /// The slot at the number's own place, most often its own: what a look-ahead needs.
    #[inline(always)]
    pub(crate) fn guess(&self, number: u64) -> u32 {
        self.entries[self.home(number as u32)].slot
    }

    /// Position and slot of `number`, or the free position where it belongs; `is_it(slot)` compares the full number.
    #[inline(always)]
    pub(crate) fn find(&self, number: u64, is_it: impl Fn(u32) -> bool) -> Result<(usize, u32), usize> {
        let low = number as u32;
        let mut at = self.home(low);
        loop {
            let entry = self.entries[at];
            if entry.slot == EMPTY {
                return Err(at);
            }
            if entry.low == low && is_it(entry.slot) {
                return Ok((at, entry.slot));
            }
            at = self.after(at);
        }
    }

    /// Makes room for one more number. Positions found before are void.
    #[inline(always)]
    pub(crate) fn reserve(&mut self) {
        if (self.len + 1) * 8 > self.entries.len() * 3 {
            self.grow();
        }
    }

    /// Adds a number at the position where [`Index::find`] said that it belongs, after [`Index::reserve`].
    #[inline(always)]
    pub(crate) fn put(&mut self, at: usize, number: u64, slot: u32) {
        debug_assert!(slot != EMPTY && self.entries[at].slot == EMPTY);
        self.entries[at] = Entry { low: number as u32, slot };
        self.len += 1;
    }

    /// Adds a number that is known to be absent.
    pub(crate) fn insert(&mut self, number: u64, slot: u32) {
        self.reserve();
        self.place(Entry { low: number as u32, slot });
        self.len += 1;
    }

    fn place(&mut self, entry: Entry) {
        let mut at = self.home(entry.low);
        while self.entries[at].slot != EMPTY {
            at = self.after(at);
        }
        self.entries[at] = entry;
    }

    #[cold]
    fn grow(&mut self) {
        let mut larger = Self::with_size(self.entries.len() * 2);
        for entry in self.entries.iter().filter(|entry| entry.slot != EMPTY) {
            larger.place(*entry);
        }
        larger.len = self.len;
        *self = larger;
    }

    /// Removes the entry at `at` and moves later ones of its chain back.
    #[inline]
    pub(crate) fn remove_at(&mut self, at: usize) {
        let mask = self.entries.len() - 1;
        let mut hole = at;
        let mut next = self.after(at);
        while self.entries[next].slot != EMPTY {
            let home = self.home(self.entries[next].low);
            // The entry may move into the hole unless its home lies cyclically after the hole.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.entries[hole] = self.entries[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.entries[hole].slot = EMPTY;
        self.len -= 1;
    }
}
