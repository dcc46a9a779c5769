//! Pro-rata allocation of one displayed level.
//!
//! As CME Globex's algorithms A (with `top_first`) and C (CME Group, "CME Globex Matching Algorithm Steps": TOP, Pro Rata,
//! FIFO): the order that bettered the market is filled first; each other order gets the whole lots of
//! `left * its displayed size / displayed size of all`; what rounding leaves goes to the oldest first. Absent: CME's minimum
//! allocation of two lots, lead market makers, splits between pro rata and time.

use helios_types::{InstrumentId, Price, Quantity, Side};

use super::continuous::Incoming;
use super::shelf::{Met, Place};
use super::{Events, MatchingEngine};

/// One order of the level, and what it gets.
#[derive(Clone, Copy)]
pub(super) struct Part {
    met: Met,
    quantity: i64,
}

impl MatchingEngine {
    /// The incoming order meets the best displayed level as a whole. Its own firm's orders there yield first.
    pub(super) fn take_level(&mut self, incoming: &mut Incoming, price: Price, top_first: bool, out: &mut Events) {
        let (instrument, side) = (incoming.instrument, incoming.side.opposite());
        if self.yield_at(incoming, price, out) {
            return;
        }
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        parts.extend(self.level(instrument, side, price).map(|met| Part { met, quantity: 0 }));
        let top = self.states[instrument.index()].top_order[side as usize].filter(|_| top_first);
        let lot = self.states[instrument.index()].rules.lot.0.max(1);
        let top = parts.iter().position(|part| Some(part.met.resting.order) == top);
        allocate(&mut parts, incoming.left.0, lot, top);
        for part in parts.iter().filter(|part| part.quantity > 0) {
            self.trade(incoming, &part.met, price, Quantity(part.quantity), out);
        }
        self.parts = parts;
    }

    fn level(&self, instrument: InstrumentId, side: Side, price: Price) -> impl Iterator<Item = Met> + '_ {
        let place = Place::Shown;
        let queue = self.shelves[place as usize].queue(instrument, side, price);
        queue.map(move |(resting, detail)| Met { place, resting, detail })
    }

    /// Lets the first order of its own firm yield, if there is one.
    fn yield_at(&mut self, incoming: &mut Incoming, price: Price, out: &mut Events) -> bool {
        if incoming.firm == 0 {
            return false;
        }
        let own = self
            .level(incoming.instrument, incoming.side.opposite(), price)
            .find_map(|met| incoming.avoids(&met.detail).map(|mode| (mode, met)));
        if let Some((mode, met)) = own {
            self.prevent(mode, incoming, &met, incoming.left.min(met.resting.quantity), out);
        }
        own.is_some()
    }
}

/// Splits `left` among the orders of a level.
fn allocate(parts: &mut [Part], mut left: i64, lot: i64, top: Option<usize>) {
    if let Some(top) = top {
        parts[top].quantity = left.min(parts[top].met.resting.quantity.0);
        left -= parts[top].quantity;
    }
    let open = |part: &Part| i128::from(part.met.resting.quantity.0 - part.quantity);
    let total: i128 = parts.iter().map(open).sum();
    let share = i128::from(left).min(total);
    for part in parts.iter_mut().filter(|_| total > 0) {
        let fair = (share * open(part) / total) as i64 / lot * lot;
        part.quantity += fair;
        left -= fair;
    }
    for part in parts {
        let more = left.min(part.met.resting.quantity.0 - part.quantity);
        part.quantity += more;
        left -= more;
    }
}
