//! Continuous trading: an incoming order meets resting ones.
//!
//! At each step the best price on the other side trades. Within a price: displayed orders, then hidden ones, then pegs,
//! each the oldest first. The midpoint is that of the displayed books at that step, so it moves as levels are taken.

use helios_book::Resting;
use helios_types::{BookRef, CancelReason, InstrumentId, Price, Quantity, Side, Terms, TimeInForce};

use super::shelf::{Detail, Met, Place};
use super::{Allocation, Beyond, Event, Events, MatchingEngine, NewOrder, is_better, less, meets};
use crate::SelfTrade;

/// An order while it meets others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    pub(super) instrument: InstrumentId,
    pub(super) order: BookRef,
    pub(super) side: Side,
    /// The worst price at which it may trade now.
    pub(super) limit: Price,
    pub(super) left: Quantity,
    pub(super) filled: Quantity,
    pub(super) firm: u32,
    pub(super) self_trade: Option<SelfTrade>,
}

impl Incoming {
    pub(super) fn new(new: &NewOrder, filled: Quantity, limit: Price) -> Self {
        let NewOrder { instrument, order, side, quantity: left, firm, self_trade, .. } = *new;
        Self { instrument, order, side, limit, left, filled, firm, self_trade }
    }

    /// Who yields, when it must not trade with this order.
    pub(super) fn avoids(&self, resting: &Detail) -> Option<SelfTrade> {
        self.self_trade.filter(|_| self.firm != 0 && self.firm == resting.firm)
    }

    /// What is left goes without a trade.
    pub(super) fn cancel(&mut self, reason: CancelReason, out: &mut Events) {
        let (instrument, order, quantity) = (self.instrument, self.order, self.left);
        if !quantity.is_zero() {
            out.push(Event::Cancelled { instrument, order, quantity, left: Quantity::ZERO, reason });
        }
        self.left = Quantity::ZERO;
    }
}

/// How far an order may trade under its instrument's band.
pub(super) struct Reach {
    /// The worst price, or [`Price::UNDEFINED`].
    pub(super) limit: Price,
    /// Whether the band is narrower than the order's own limit.
    pub(super) clipped: bool,
}

impl MatchingEngine {
    pub(super) fn reach(&self, new: &NewOrder) -> Reach {
        let state = &self.states[new.instrument.index()];
        match state.rules.bound(new.side, state.last) {
            Some(bound) if !new.price.is_defined() || is_better(new.side.opposite(), bound, new.price) => {
                Reach { limit: bound, clipped: true }
            }
            _ => Reach { limit: new.price, clipped: false },
        }
    }

    /// An accepted order without stop or peg trades; what is left rests or goes. `filled` is what it had before.
    pub(super) fn execute(&mut self, new: &NewOrder, filled: Quantity, out: &mut Events) {
        let Reach { limit, clipped } = self.reach(new);
        let beyond = self.states[new.instrument.index()].rules.bands.map(|bands| bands.beyond);
        let moves = clipped && beyond == Some(Beyond::Rest);
        let rests = new.price.is_defined() && new.time_in_force == TimeInForce::Day && (!clipped || moves);
        if rests && moves {
            let NewOrder { instrument, order, quantity, .. } = *new;
            out.push(Event::Amended { instrument, order, new_order: order, price: limit, quantity, kept: false });
        }
        let mut incoming = Incoming::new(new, filled, limit);
        if new.time_in_force != TimeInForce::Fok || self.can_fill(&incoming) {
            self.take(&mut incoming, out);
        }
        if incoming.left.is_zero() {
            return;
        }
        let rest = NewOrder { price: limit, quantity: incoming.left, ..*new };
        if !(rests && self.rest(&rest, incoming.filled)) {
            incoming.cancel(CancelReason::Unfilled, out);
        }
    }

    /// Puts an order into the displayed or the hidden book. False when it does not fit, which only a stop or a
    /// re-entered order can learn so late.
    pub(super) fn rest(&mut self, new: &NewOrder, filled: Quantity) -> bool {
        let display = new.terms.display;
        let place = if display.is_zero() { Place::Hidden } else { Place::Shown };
        let shown = if place == Place::Hidden { new.quantity } else { display.min(new.quantity) };
        let detail = Detail { reserve: less(new.quantity, shown), ..detail_of(new, filled) };
        self.put(place, new.side, new.price, &NewOrder { quantity: shown, ..*new }, detail)
    }

    /// Puts an order on a shelf as told.
    pub(super) fn put(&mut self, place: Place, side: Side, price: Price, new: &NewOrder, detail: Detail) -> bool {
        let NewOrder { instrument, order, quantity, .. } = *new;
        let resting = Resting { order, instrument, side, price, quantity };
        let shelf = &mut self.shelves[place as usize];
        if shelf.add(&resting, detail).is_err() {
            return false;
        }
        let best = shelf.books().best(instrument, side);
        let state = &mut self.states[instrument.index()];
        if detail.is_special(place) {
            state.special += 1;
            state.plain = false;
        }
        if place != Place::Shown {
            self.aside += 1;
        } else if state.rules.allocation == (Allocation::ProRata { top_first: true })
            && best.price == price
            && best.orders == 1
        {
            state.top_order[side as usize] = Some(order);
        }
        true
    }

    /// Takes an order off its shelf.
    pub(super) fn remove(&mut self, met: &Met) {
        self.shelves[met.place as usize].remove(&met.resting);
        self.forget(met);
    }

    /// An order has left its shelf.
    fn forget(&mut self, met: &Met) {
        let state = &mut self.states[met.resting.instrument.index()];
        if met.detail.is_special(met.place) {
            state.special -= 1;
            state.recompute_plain();
        }
        if met.place == Place::Shown {
            state.lose_top(met.resting.side, met.resting.order);
        } else {
            self.aside -= 1;
        }
    }

    /// Trades until the order is filled, or nothing is left that it may meet.
    pub(super) fn take(&mut self, incoming: &mut Incoming, out: &mut Events) {
        let state = &self.states[incoming.instrument.index()];
        let pro_rata = match state.rules.allocation {
            Allocation::ProRata { top_first } => Some(top_first),
            Allocation::PriceTime => None,
        };
        while !incoming.left.is_zero() {
            let Incoming { instrument, side, limit, .. } = *incoming;
            let Some((met, price)) = self.best_against(instrument, side, limit, self.midpoint(instrument)) else {
                break;
            };
            match pro_rata {
                Some(top_first) if met.place == Place::Shown => self.take_level(incoming, price, top_first, out),
                _ => self.meet(incoming, &met, price, out),
            }
        }
    }

    /// The order that an incoming one with this limit would meet first, and at what price; pegs stand at `middle`.
    pub(super) fn best_against(
        &self,
        instrument: InstrumentId,
        side: Side,
        limit: Price,
        middle: Option<Price>,
    ) -> Option<(Met, Price)> {
        let other = side.opposite();
        let mut best: Option<(Met, Price)> = None;
        let mut consider = |met: Met, price: Price| {
            if meets(side, limit, price) && best.is_none_or(|(_, found)| is_better(other, price, found)) {
                best = Some((met, price));
            }
        };
        for place in [Place::Shown, Place::Hidden] {
            if let Some((resting, detail)) = self.shelves[place as usize].front(instrument, other) {
                consider(Met { place, resting, detail }, resting.price);
            }
        }
        if let Some(middle) = middle
            && let Some(met) = self.first_peg(instrument, other, middle)
        {
            consider(met, middle);
        }
        best
    }

    /// The oldest peg of a side whose limit allows the midpoint.
    pub(super) fn first_peg(&self, instrument: InstrumentId, side: Side, middle: Price) -> Option<Met> {
        let shelf = &self.shelves[Place::Pegged as usize];
        if shelf.books().is_empty() {
            return None;
        }
        let mut queue = shelf.queue(instrument, side, Price::UNDEFINED);
        let (resting, detail) = queue.find(|(_, detail)| meets(side, detail.limit, middle))?;
        Some(Met { place: Place::Pegged, resting, detail })
    }

    /// The incoming order meets one resting order: they trade, or one yields to prevent a self-trade.
    pub(super) fn meet(&mut self, incoming: &mut Incoming, met: &Met, price: Price, out: &mut Events) {
        let quantity = incoming.left.min(met.resting.quantity);
        if let Some(mode) = incoming.avoids(&met.detail) {
            return self.prevent(mode, incoming, met, quantity, out);
        }
        self.trade(incoming, met, price, quantity, out);
    }

    pub(super) fn trade(
        &mut self,
        incoming: &mut Incoming,
        met: &Met,
        price: Price,
        quantity: Quantity,
        out: &mut Events,
    ) {
        incoming.left = less(incoming.left, quantity);
        incoming.filled.0 += quantity.0;
        self.states[incoming.instrument.index()].traded_at(price);
        out.push(Event::Traded {
            instrument: incoming.instrument,
            side: incoming.side,
            incoming: incoming.order,
            resting: met.resting.order,
            price,
            quantity,
            resting_left: less(met.open(), quantity),
        });
        self.consume(met, quantity, true, out);
    }

    /// Takes `quantity` of what a resting order shows; an iceberg that shows nothing any more shows its next part.
    pub(super) fn consume(&mut self, met: &Met, quantity: Quantity, filled: bool, out: &mut Events) {
        let Met { place, resting, detail } = met;
        let shelf = &mut self.shelves[*place as usize];
        let counted = if filled { quantity.0 } else { 0 };
        if quantity < resting.quantity {
            shelf.reduce(resting, quantity);
            return shelf.note(resting.order, |detail| detail.filled.0 += counted);
        }
        if detail.reserve.is_zero() {
            return self.remove(met);
        }
        let next = detail.display.min(detail.reserve);
        let (instrument, order) = (resting.instrument, resting.order);
        if !shelf.refresh(resting, next) {
            // Only when a level holds more than 64 bits can count: what cannot stand goes.
            let (quantity, reason) = (detail.reserve, CancelReason::Unfilled);
            self.remove(met);
            return out.push(Event::Cancelled { instrument, order, quantity, left: Quantity::ZERO, reason });
        }
        shelf.note(order, |detail| {
            detail.filled.0 += counted;
            detail.reserve = less(detail.reserve, next);
        });
        self.states[instrument.index()].lose_top(resting.side, order);
        out.push(Event::Refreshed { instrument, order, quantity: next });
    }

    /// The incoming order would trade with one of its own firm.
    pub(super) fn prevent(
        &mut self,
        mode: SelfTrade,
        incoming: &mut Incoming,
        met: &Met,
        quantity: Quantity,
        out: &mut Events,
    ) {
        let (instrument, order, reason) = (incoming.instrument, met.resting.order, CancelReason::SelfTrade);
        let gone = |quantity, left| Event::Cancelled { instrument, order, quantity, left, reason };
        match mode {
            SelfTrade::CancelNewest => incoming.cancel(reason, out),
            SelfTrade::CancelOldest | SelfTrade::CancelBoth => {
                self.remove(met);
                out.push(gone(met.open(), Quantity::ZERO));
                if mode == SelfTrade::CancelBoth {
                    incoming.cancel(reason, out);
                }
            }
            SelfTrade::Decrement => {
                incoming.left = less(incoming.left, quantity);
                let (order, left) = (incoming.order, incoming.left);
                out.push(gone(quantity, less(met.open(), quantity)));
                out.push(Event::Cancelled { instrument, order, quantity, left, reason });
                self.consume(met, quantity, false, out);
            }
        }
    }
}

impl super::State {
    fn lose_top(&mut self, side: Side, order: BookRef) {
        let top = &mut self.top_order[side as usize];
        if *top == Some(order) {
            *top = None;
        }
    }
}

/// What a shelf keeps of an order.
pub(super) fn detail_of(new: &NewOrder, filled: Quantity) -> Detail {
    let Terms { post_only, display, .. } = new.terms;
    let NewOrder { price: limit, firm, self_trade, time_in_force, .. } = *new;
    Detail { filled, reserve: Quantity::ZERO, display, limit, firm, self_trade, time_in_force, post_only }
}
