//! The session of one instrument.

use helios_types::{BookRef, CancelReason, InstrumentId, Price, Quantity, RejectReason, Side};

use super::shelf::{Met, Place};
use super::{AuctionKind, Event, Events, MatchingEngine, Request};

/// What an instrument does with orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing is accepted; no order works.
    Closed = 0,
    /// Orders are collected for the opening; on-open orders come only now.
    PreOpen = 1,
    /// Orders are collected for another auction: after a halt, or a close with a call.
    Auction = 2,
    /// Orders trade as they come.
    Continuous = 3,
    /// Cancels only.
    Halted = 4,
}

impl Phase {
    /// Orders come and do not trade.
    pub const fn collects(self) -> bool {
        matches!(self, Self::PreOpen | Self::Auction)
    }
}

impl MatchingEngine {
    /// Moves an instrument to a phase. Continuous trading cannot begin over orders that would trade: hold the auction
    /// ([`MatchingEngine::uncross`]). Where it begins without one, orders for the opening alone are cancelled.
    /// Closing ends every order.
    pub fn set_phase(&mut self, instrument: InstrumentId, phase: Phase, out: &mut Events) {
        let Some(state) = self.states.get(instrument.index()) else {
            return Self::reject(instrument, 0, Request::Phase, RejectReason::UnknownInstrument, out);
        };
        let collected = phase == Phase::Continuous && state.phase != Phase::Continuous;
        if collected && self.would_cross(instrument) {
            return Self::reject(instrument, 0, Request::Phase, RejectReason::NotTrading, out);
        }
        self.enter_phase(instrument, phase, out);
    }

    /// The session goes on, with what follows from it.
    pub(super) fn enter_phase(&mut self, instrument: InstrumentId, phase: Phase, out: &mut Events) {
        self.begin(instrument);
        match phase {
            Phase::Continuous => self.end_orders(Place::Opening, instrument, CancelReason::Unfilled, out),
            Phase::Closed => {
                for place in Place::ALL {
                    self.end_orders(place, instrument, CancelReason::Expired, out);
                }
            }
            _ => {}
        }
        let state = self.state(instrument);
        state.phase = phase;
        state.recompute_plain();
        out.push(Event::Phase { instrument, phase });
        self.settle(instrument, out);
    }

    fn would_cross(&self, instrument: InstrumentId) -> bool {
        self.indicative(instrument, AuctionKind::Reopen).is_some_and(|indicative| indicative.price.is_defined())
            || self.top(instrument).is_crossed()
    }

    /// Cancels all orders of one place, buys first.
    pub(super) fn end_orders(
        &mut self,
        place: Place,
        instrument: InstrumentId,
        reason: CancelReason,
        out: &mut Events,
    ) {
        for side in [Side::Buy, Side::Sell] {
            let stands = if place == Place::Stopped { side.opposite() } else { side };
            while let Some((resting, detail)) = self.shelves[place as usize].front(instrument, stands) {
                let met = Met { place, resting, detail };
                self.remove(&met);
                let (order, quantity) = (resting.order, met.open());
                out.push(Event::Cancelled { instrument, order, quantity, left: Quantity::ZERO, reason });
            }
        }
    }

    /// Cancels an order: always allowed while it works.
    pub fn cancel(&mut self, instrument: InstrumentId, order: BookRef, out: &mut Events) {
        if self.is_plain(instrument) && self.cancel_fast(instrument, order, out) {
            return;
        }
        match self.find(instrument, order) {
            None => Self::reject(instrument, order, Request::Cancel, RejectReason::UnknownOrder, out),
            Some(met) => {
                if instrument.index() < self.states.len() {
                    self.begin(instrument);
                }
                let (quantity, reason) = (met.open(), CancelReason::Requested);
                self.remove(&met);
                out.push(Event::Cancelled { instrument, order, quantity, left: Quantity::ZERO, reason });
                self.settle(instrument, out);
            }
        }
    }

    /// The order, if it works in this instrument.
    pub(super) fn find(&self, instrument: InstrumentId, order: BookRef) -> Option<Met> {
        let (shown, aside) = self.shelves.split_first()?;
        let place = |(at, (resting, detail))| Met { place: Place::ALL[at], resting, detail };
        let found = shown.get(order).map(|found| (0, found)).or_else(|| {
            let aside = aside.iter().enumerate().filter(|_| self.aside > 0);
            aside
                .filter(|(_, shelf)| !shelf.books().is_empty())
                .find_map(|(at, shelf)| Some((at + 1, shelf.get(order)?)))
        });
        found.map(place).filter(|met| met.resting.instrument == instrument)
    }

    /// Whether the number is in use.
    pub(super) fn is_used(&self, order: BookRef) -> bool {
        self.shelves[0].contains(order) || (self.aside > 0 && self.shelves[1..].iter().any(|s| s.contains(order)))
    }

    /// What an order shows of a price: its limit, whatever its place is.
    pub(super) fn limit_of(met: &Met) -> Price {
        if matches!(met.place, Place::Stopped | Place::Pegged) { met.detail.limit } else { met.resting.price }
    }
}
