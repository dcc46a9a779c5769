//! Orders that wait for a price: pegs follow the midpoint, stops sleep until a trade.
//!
//! After each command, until nothing more happens: pegs that can trade at the present midpoint do, buys before sells and
//! the oldest first, as if each had just come in; then one stop wakes. A buy stop is reached when a trade at or above its
//! trigger happened, a sell stop at or below. Of several, buys wake before sells, the nearest trigger first, then the
//! oldest; the trades of one that woke can wake more.

use helios_types::{InstrumentId, Price, Quantity, Side, Terms};

use super::continuous::{Incoming, detail_of};
use super::shelf::{Detail, Met, Place};
use super::{Event, Events, MatchingEngine, NewOrder, Phase, less, meets};

impl MatchingEngine {
    /// Everything that a command set off, until nothing more happens. Ends because each round lets one stop go.
    pub(super) fn settle(&mut self, instrument: InstrumentId, out: &mut Events) {
        let state = self.states[instrument.index()];
        if state.special == 0 || state.phase != Phase::Continuous {
            return;
        }
        loop {
            self.match_pegs(instrument, out);
            if !self.wake_one(instrument, out) {
                break;
            }
        }
    }

    /// Trades count from here on; the last one still does.
    pub(super) fn begin(&mut self, instrument: InstrumentId) {
        let state = self.state(instrument);
        (state.low, state.high) = (state.last, state.last);
    }

    /// A peg comes in: it trades at the midpoint or better, then waits.
    pub(super) fn enter_peg(&mut self, new: &NewOrder, filled: Quantity, out: &mut Events) {
        let mut incoming = Incoming::new(new, filled, new.price);
        if let Some(middle) = self.midpoint(new.instrument).filter(|middle| meets(new.side, new.price, *middle)) {
            incoming.limit = middle;
            self.take(&mut incoming, out);
        }
        if incoming.left.is_zero() {
            return;
        }
        let rest = NewOrder { quantity: incoming.left, ..*new };
        if new.time_in_force == helios_types::TimeInForce::Ioc || !self.put_peg(&rest, incoming.filled) {
            incoming.cancel(helios_types::CancelReason::Unfilled, out);
        }
    }

    pub(super) fn put_peg(&mut self, new: &NewOrder, filled: Quantity) -> bool {
        let detail = Detail { display: Quantity::ZERO, ..detail_of(new, filled) };
        self.put(Place::Pegged, new.side, Price::UNDEFINED, new, detail)
    }

    pub(super) fn put_stop(&mut self, new: &NewOrder, filled: Quantity) -> bool {
        let detail = detail_of(new, filled);
        self.put(Place::Stopped, new.side.opposite(), new.terms.stop, new, detail)
    }

    /// Pegs that can trade at the midpoint do. Their trades move no displayed price, so one pass is enough.
    fn match_pegs(&mut self, instrument: InstrumentId, out: &mut Events) {
        let Some(middle) = self.midpoint(instrument) else { return };
        for side in [Side::Buy, Side::Sell] {
            while let Some(peg) = self.first_peg(instrument, side, middle) {
                // What the oldest cannot meet, no other of its side can: they all trade up to the midpoint.
                if !self.work_peg(&peg, side, middle, out) {
                    break;
                }
            }
        }
    }

    /// A resting peg acts as if it had just come in. False when it stays with something left.
    fn work_peg(&mut self, peg: &Met, side: Side, middle: Price, out: &mut Events) -> bool {
        let Met { resting, detail, .. } = *peg;
        let mut incoming = Incoming {
            instrument: resting.instrument,
            order: resting.order,
            side,
            limit: middle,
            left: resting.quantity,
            filled: detail.filled,
            firm: detail.firm,
            self_trade: detail.self_trade,
        };
        self.take(&mut incoming, out);
        let gone = less(resting.quantity, incoming.left);
        if gone == resting.quantity {
            self.remove(peg);
            return true;
        }
        if !gone.is_zero() {
            let shelf = &mut self.shelves[Place::Pegged as usize];
            shelf.reduce(&resting, gone);
            shelf.note(resting.order, |detail| detail.filled = incoming.filled);
        }
        false
    }

    /// Wakes the next stop that was reached.
    fn wake_one(&mut self, instrument: InstrumentId, out: &mut Events) -> bool {
        let Some(met) = self.next_reached(instrument) else { return false };
        let Met { resting, detail, .. } = met;
        self.remove(&met);
        out.push(Event::Triggered { instrument, order: resting.order });
        let woken = NewOrder {
            instrument,
            order: resting.order,
            side: resting.side.opposite(),
            price: detail.limit,
            quantity: resting.quantity,
            time_in_force: detail.time_in_force,
            terms: Terms { display: detail.display, ..Terms::PLAIN },
            firm: detail.firm,
            self_trade: detail.self_trade,
        };
        self.execute(&woken, detail.filled, out);
        true
    }

    fn next_reached(&self, instrument: InstrumentId) -> Option<Met> {
        let state = &self.states[instrument.index()];
        let shelf = &self.shelves[Place::Stopped as usize];
        if !state.last.is_defined() || shelf.books().is_empty() {
            return None;
        }
        [Side::Buy, Side::Sell].into_iter().find_map(|side| {
            let (resting, detail) = shelf.front(instrument, side.opposite())?;
            let reached = match side {
                Side::Buy => state.high >= resting.price,
                Side::Sell => state.low <= resting.price,
            };
            reached.then_some(Met { place: Place::Stopped, resting, detail })
        })
    }
}
