//! The short way of plain orders in plain instruments: one book, and nothing that could wake.

use helios_book::Resting;
use helios_types::{BookRef, CancelReason, InstrumentId, Price, Quantity, RejectReason, TimeInForce};

use super::shelf::{Detail, Place};
use super::{Event, Events, MatchingEngine, NewOrder, Request, less, meets};

impl MatchingEngine {
    /// A new order comes in.
    #[inline]
    pub fn submit(&mut self, new: &NewOrder, out: &mut Events) {
        match self.states.get(new.instrument.index()) {
            Some(state) if state.plain && new.is_plain() => {
                if !(state.rules.quantity_fits(new.quantity) && state.rules.price_fits(new.price)) {
                    return self.refuse_values(new, out);
                }
                self.submit_fast(new, out);
            }
            _ => self.submit_any(new, out),
        }
    }

    #[inline]
    fn submit_fast(&mut self, new: &NewOrder, out: &mut Events) {
        let NewOrder { instrument, order, side, price, quantity, time_in_force, .. } = *new;
        let best = self.books().best(instrument, side.opposite()).price;
        let rests = (time_in_force == TimeInForce::Day) & price.is_defined();
        if best.is_defined() && meets(side, price, best) {
            return self.take_fast(new, rests, out);
        }
        let refused = match rests {
            true if self.aside > 0 && self.is_used(order) => Some(RejectReason::DuplicateOrder),
            true => {
                let resting = Resting { order, instrument, side, price, quantity };
                self.shelves[Place::Shown as usize].add(&resting, Detail::PLAIN).err()
            }
            false => self.is_used(order).then_some(RejectReason::DuplicateOrder),
        };
        if let Some(reason) = refused {
            return Self::reject(instrument, order, Request::Submit, reason, out);
        }
        out.push(Event::Accepted { instrument, order, side, price, quantity });
        if !rests {
            let (left, reason) = (Quantity::ZERO, CancelReason::Unfilled);
            out.push(Event::Cancelled { instrument, order, quantity, left, reason });
        }
    }

    fn take_fast(&mut self, new: &NewOrder, rests: bool, out: &mut Events) {
        let NewOrder { instrument, order, side, price, quantity, .. } = *new;
        if self.is_used(order) {
            return Self::reject(instrument, order, Request::Submit, RejectReason::DuplicateOrder, out);
        }
        out.push(Event::Accepted { instrument, order, side, price, quantity });
        let shelf = &mut self.shelves[Place::Shown as usize];
        let mut left = quantity;
        let mut last = Price::UNDEFINED;
        while !left.is_zero()
            && let Some((resting, slot)) = shelf.front_in_slot(instrument, side.opposite())
            && meets(side, price, resting.price)
        {
            let quantity = left.min(resting.quantity);
            shelf.fill(&resting, slot, quantity);
            left = less(left, quantity);
            last = resting.price;
            let (incoming, resting_left) = (order, less(resting.quantity, quantity));
            let (resting, price) = (resting.order, resting.price);
            out.push(Event::Traded { instrument, side, incoming, resting, price, quantity, resting_left });
        }
        self.states[instrument.index()].last = last;
        if left.is_zero() {
            return;
        }
        // It consumed at least one order and one level, and nobody of its side stands at its price: there is room.
        let resting = Resting { order, instrument, side, price, quantity: left };
        let detail = Detail { filled: less(quantity, left), ..Detail::PLAIN };
        if !(rests && self.shelves[Place::Shown as usize].add(&resting, detail).is_ok()) {
            let reason = CancelReason::Unfilled;
            out.push(Event::Cancelled { instrument, order, quantity: left, left: Quantity::ZERO, reason });
        }
    }

    #[cold]
    fn refuse_values(&self, new: &NewOrder, out: &mut Events) {
        let fits = self.states[new.instrument.index()].rules.quantity_fits(new.quantity);
        let reason = if fits { RejectReason::BadPrice } else { RejectReason::BadQuantity };
        Self::reject(new.instrument, new.order, Request::Submit, reason, out);
    }

    /// Cancels a displayed order of a plain instrument; false when there is none of this number.
    #[inline]
    pub(super) fn cancel_fast(&mut self, instrument: InstrumentId, order: BookRef, out: &mut Events) -> bool {
        let Some(quantity) = self.shelves[Place::Shown as usize].withdraw(instrument, order) else { return false };
        let (left, reason) = (Quantity::ZERO, CancelReason::Requested);
        out.push(Event::Cancelled { instrument, order, quantity, left, reason });
        true
    }
}
