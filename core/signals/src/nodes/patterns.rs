//! Complex events as nodes: see [`crate::pattern`].

use helios_types::{Damaged, Digest, Hasher, Load, Save};

use crate::nodes::{Row, Steps, is_true};
use crate::pattern::{Occurrences, Pattern};

impl Steps for Box<Pattern> {
    /// An occurrence is a firing with a true value. A heartbeat, the last input, only lets time pass.
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        let inputs = self.spec().inputs();
        if !row.any(inputs) {
            return None;
        }
        let held = (0..self.spec().conditions as usize)
            .filter(|k| row.fresh(*k) && is_true(row.value(*k)))
            .fold(0u64, |held, k| held | 1 << k);
        let matches = Pattern::step(self, row.now(), held);
        (matches > 0).then(|| f64::from(matches))
    }

    fn truncated(&self) -> u64 {
        self.dropped()
    }

    fn digest(&self, hasher: &mut Hasher) {
        Digest::digest(&**self, hasher);
    }

    fn save(&self, save: &mut Save) {
        Pattern::save(self, save);
    }

    fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        Pattern::restore(self, load)
    }
}

impl Steps for Occurrences {
    /// The first input is counted; a second, where there is one, only lets time pass.
    fn step(&mut self, row: &impl Row) -> Option<f64> {
        if !row.any(row.inputs()) {
            return None;
        }
        let fires = Occurrences::step(self, row.now(), row.fresh(0) && is_true(row.value(0)));
        fires.then(|| self.count() as f64)
    }

    fn truncated(&self) -> u64 {
        Occurrences::truncated(self)
    }

    fn digest(&self, hasher: &mut Hasher) {
        Digest::digest(self, hasher);
    }

    fn save(&self, save: &mut Save) {
        Occurrences::save(self, save);
    }

    fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        Occurrences::restore(self, load)
    }
}
