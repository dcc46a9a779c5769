//! Whether a fill-or-kill order would be filled whole.

use helios_types::{Price, Quantity};

use super::continuous::Incoming;
use super::shelf::{Detail, Place};
use super::{MatchingEngine, meets};
use crate::SelfTrade;

impl MatchingEngine {
    /// Counts what the order would meet if it had no end: displayed and hidden orders within its limit, and pegs at every
    /// midpoint on its way. Orders of its own firm do not count, and one of them within its limit is enough to kill it
    /// unless it would be cancelled ([`SelfTrade::CancelOldest`]).
    pub(super) fn can_fill(&self, incoming: &Incoming) -> bool {
        let (instrument, other) = (incoming.instrument, incoming.side.opposite());
        let within = |price: Price| meets(incoming.side, incoming.limit, price);
        let mut found = 0i128;
        let mut count = |quantity: Quantity, detail: &Detail| {
            if let Some(mode) = incoming.avoids(detail) {
                return mode == SelfTrade::CancelOldest;
            }
            found += i128::from(quantity.0) + i128::from(detail.reserve.0);
            true
        };
        for place in [Place::Shown, Place::Hidden] {
            let mut orders = self.shelves[place as usize].orders(instrument, other);
            if !orders.by_ref().take_while(|(resting, _)| within(resting.price)).all(|(r, d)| count(r.quantity, &d)) {
                return false;
            }
        }
        if let Some(middle) = self.last_midpoint(incoming) {
            let queue = self.shelves[Place::Pegged as usize].queue(instrument, other, Price::UNDEFINED);
            let mut met = queue.filter(|(_, detail)| meets(other, detail.limit, middle));
            if !met.all(|(resting, detail)| count(resting.quantity, &detail)) {
                return false;
            }
        }
        found >= i128::from(incoming.left.0)
    }

    /// The furthest midpoint at which the order could meet a peg: midpoints move its way as it takes levels.
    fn last_midpoint(&self, incoming: &Incoming) -> Option<Price> {
        let books = self.books();
        let near = books.best(incoming.instrument, incoming.side).price;
        let mut last = None;
        for level in books.depth(incoming.instrument, incoming.side.opposite()) {
            let middle = super::midpoint_of(incoming.side, near, level.price);
            let reached = middle.filter(|price| meets(incoming.side, incoming.limit, *price));
            last = reached.or(last);
            if !meets(incoming.side, incoming.limit, level.price) {
                break;
            }
        }
        last
    }
}
