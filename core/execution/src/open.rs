//! Things with an order's identifier, found by it: slots that are used again, so that an order costs no allocation.
//!
//! Absent on purpose: an order of its own. What needs one (a digest, a cancel of everything) sorts by identifier.

use helios_types::OrderId;

/// What is kept in an [`Open`].
pub(crate) trait Identified {
    fn id(&self) -> OrderId;
}

/// Where a thing with this identifier is; `id` 0 is no order's.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    id: u64,
    slot: u32,
}

/// A table of things by identifier. It doubles when half full; its maximum is the caller's.
#[derive(Debug)]
pub(crate) struct Open<T> {
    slots: Vec<Option<T>>,
    /// Free slots; the last one freed is the next one used, while it is still in the cache.
    free: Vec<u32>,
    /// Open addressing, linear probing; a power of two.
    places: Vec<Place>,
}

/// Places at the start.
const PLACES: usize = 64;

impl<T: Identified> Open<T> {
    pub(crate) fn new() -> Self {
        let half = PLACES / 2;
        Self { slots: Vec::with_capacity(half), free: Vec::with_capacity(half), places: vec![Place::default(); PLACES] }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[inline]
    pub(crate) fn get(&self, id: OrderId) -> Option<&T> {
        let place = self.places[self.find(id)];
        if place.id == 0 { None } else { self.slots[place.slot as usize].as_ref() }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: OrderId) -> Option<&mut T> {
        let place = self.places[self.find(id)];
        if place.id == 0 { None } else { self.slots[place.slot as usize].as_mut() }
    }

    /// Adds a thing whose identifier is new and not zero.
    #[inline]
    pub(crate) fn insert(&mut self, thing: T) {
        if self.len() * 2 >= self.places.len() {
            self.grow();
        }
        let id = thing.id();
        let at = self.find(id);
        assert!(self.places[at].id == 0 && id.0 != 0, "order identifiers are never reused, and none is zero");
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(thing);
                slot
            }
            None => {
                self.slots.push(Some(thing));
                (self.slots.len() - 1) as u32
            }
        };
        self.places[at] = Place { id: id.0, slot };
    }

    pub(crate) fn remove(&mut self, id: OrderId) -> Option<T> {
        let mut hole = self.find(id);
        let Place { id, slot } = self.places[hole];
        if id == 0 {
            return None;
        }
        // What was pushed past the hole by it moves back.
        let mask = self.places.len() - 1;
        let mut at = (hole + 1) & mask;
        while self.places[at].id != 0 {
            let pushed = at.wrapping_sub(self.home(self.places[at].id)) & mask;
            if pushed >= at.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[at];
                hole = at;
            }
            at = (at + 1) & mask;
        }
        self.places[hole] = Place::default();
        self.free.push(slot);
        self.slots[slot as usize].take()
    }

    /// All of them, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    /// All identifiers, lowest first.
    pub(crate) fn sorted(&self) -> Vec<OrderId> {
        let mut ids: Vec<OrderId> = self.slots.iter().flatten().map(Identified::id).collect();
        ids.sort_unstable();
        ids
    }

    /// The place of an identifier, or the empty one where it would go.
    #[inline]
    fn find(&self, id: OrderId) -> usize {
        let mask = self.places.len() - 1;
        let mut at = self.home(id.0);
        while self.places[at].id != id.0 && self.places[at].id != 0 {
            at = (at + 1) & mask;
        }
        at
    }

    /// Fibonacci hashing: neighbours and multiples are spread evenly.
    #[inline]
    fn home(&self, id: u64) -> usize {
        (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - self.places.len().ilog2())) as usize
    }

    #[cold]
    fn grow(&mut self) {
        let places = vec![Place::default(); self.places.len() * 2];
        for place in std::mem::replace(&mut self.places, places) {
            if place.id != 0 {
                let at = self.find(OrderId(place.id));
                self.places[at] = place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use helios_types::Rng;
    use proptest::prelude::*;

    use super::*;

    impl Identified for (OrderId, u64) {
        fn id(&self) -> OrderId {
            self.0
        }
    }

    proptest! {
        /// Many orders of few identifiers, so that they collide, come and go: the same as an ordered map.
        #[test]
        fn it_holds_what_a_map_holds(seed in any::<u64>(), spread in 1u64..2_000) {
            let mut rng = Rng::new(seed);
            let (mut open, mut map) = (Open::new(), BTreeMap::new());
            for n in 0..3_000 {
                let id = OrderId(1 + rng.next_u64() % spread);
                let known = map.remove(&id);
                prop_assert_eq!(open.remove(id), known.map(|thing| (id, thing)));
                if known.is_none() {
                    open.insert((id, n));
                    map.insert(id, n);
                }
                prop_assert_eq!(open.len(), map.len());
                let other = OrderId(1 + rng.next_u64() % spread);
                prop_assert_eq!(open.get(other).map(|(_, n)| n), map.get(&other));
            }
            prop_assert_eq!(open.sorted(), map.keys().copied().collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "never reused")]
    fn an_identifier_is_used_once() {
        let mut open = Open::new();
        open.insert((OrderId(1), 0));
        open.insert((OrderId(1), 0));
    }
}
