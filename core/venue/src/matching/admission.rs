//! Whether an order may come in, and where it goes.

use helios_types::{CancelReason, Price, Quantity, RejectReason, Terms, TimeInForce};

use super::continuous::{Incoming, detail_of};
use super::shelf::{Place, reject_reason};
use super::{Beyond, Event, Events, MatchingEngine, NewOrder, Phase, Request};

impl MatchingEngine {
    /// Any order, the long way.
    pub(super) fn submit_any(&mut self, new: &NewOrder, out: &mut Events) {
        let NewOrder { instrument, order, side, price, quantity, .. } = *new;
        if let Err(reason) = self.admit(new) {
            return Self::reject(instrument, order, Request::Submit, reason, out);
        }
        self.begin(instrument);
        out.push(Event::Accepted { instrument, order, side, price, quantity });
        self.enter(new, Quantity::ZERO, out);
        self.settle(instrument, out);
    }

    fn admit(&self, new: &NewOrder) -> Result<(), RejectReason> {
        self.check_values(new)?;
        if is_unsupported(new) {
            return Err(RejectReason::Unsupported);
        }
        if !fits_phase(new, self.states[new.instrument.index()].phase) {
            return Err(RejectReason::NotTrading);
        }
        if self.is_used(new.order) {
            return Err(RejectReason::DuplicateOrder);
        }
        self.check_room(new)?;
        self.check_band(new)?;
        if new.terms.post_only && self.would_take(new, self.books().best(new.instrument, new.side).price) {
            return Err(RejectReason::WouldTake);
        }
        Ok(())
    }

    /// Numbers that make sense, on ticks and lots.
    pub(super) fn check_values(&self, new: &NewOrder) -> Result<(), RejectReason> {
        let state = self.states.get(new.instrument.index()).ok_or(RejectReason::UnknownInstrument)?;
        let Terms { display, stop, .. } = new.terms;
        let shows = display == Terms::ALL || display.is_zero() || state.rules.quantity_fits(display);
        if !state.rules.quantity_fits(new.quantity) || !shows {
            return Err(RejectReason::BadQuantity);
        }
        if !state.rules.price_fits(new.price) || !state.rules.price_fits(stop) {
            return Err(RejectReason::BadPrice);
        }
        Ok(())
    }

    /// Room where the order would wait, as if nothing of it traded.
    pub(super) fn check_room(&self, new: &NewOrder) -> Result<(), RejectReason> {
        let NewOrder { instrument, side, price, quantity, .. } = *new;
        let Some(place) = place_of(new) else { return Ok(()) };
        let (side, price) = match place {
            Place::Stopped => (side.opposite(), new.terms.stop),
            Place::Pegged => (side, Price::UNDEFINED),
            _ => (side, price),
        };
        self.shelves[place as usize].books().room(instrument, side, price, quantity).map_err(reject_reason)
    }

    pub(super) fn check_band(&self, new: &NewOrder) -> Result<(), RejectReason> {
        let state = &self.states[new.instrument.index()];
        let acts = state.phase == Phase::Continuous && acts_at_once(new) && !new.terms.midpoint;
        let rejects = state.rules.bands.is_some_and(|bands| bands.beyond == Beyond::Reject);
        if acts && rejects && new.price.is_defined() && self.reach(new).clipped {
            return Err(RejectReason::PriceBand);
        }
        Ok(())
    }

    /// Whether a post-only order would trade at once; `near` is the best displayed price of its own side.
    pub(super) fn would_take(&self, new: &NewOrder, near: Price) -> bool {
        if self.states[new.instrument.index()].phase != Phase::Continuous {
            return false;
        }
        let far = self.books().best(new.instrument, new.side.opposite()).price;
        let middle = super::midpoint_of(new.side, near, far);
        self.best_against(new.instrument, new.side, self.reach(new).limit, middle).is_some()
    }

    /// An order that was admitted, or changed, goes where it belongs.
    pub(super) fn enter(&mut self, new: &NewOrder, filled: Quantity, out: &mut Events) {
        let collects = self.states[new.instrument.index()].phase.collects();
        let stands = if new.is_stop() {
            self.put_stop(new, filled)
        } else if collects || !acts_at_once(new) {
            self.collect(new, filled)
        } else if new.terms.midpoint {
            return self.enter_peg(new, filled, out);
        } else {
            return self.execute(new, filled, out);
        };
        if !stands {
            Incoming::new(new, filled, new.price).cancel(CancelReason::Unfilled, out);
        }
    }

    /// Puts an order where it waits without a trade.
    fn collect(&mut self, new: &NewOrder, filled: Quantity) -> bool {
        match place_of(new) {
            Some(place @ (Place::Opening | Place::Closing)) => {
                self.put(place, new.side, new.price, new, detail_of(new, filled))
            }
            Some(Place::Pegged) => self.put_peg(new, filled),
            _ => self.rest(new, filled),
        }
    }
}

/// Where the order waits; `None` for one that never does.
fn place_of(new: &NewOrder) -> Option<Place> {
    Some(match new.time_in_force {
        _ if new.is_stop() => Place::Stopped,
        TimeInForce::Ioc | TimeInForce::Fok => return None,
        TimeInForce::Open => Place::Opening,
        TimeInForce::Close => Place::Closing,
        TimeInForce::Day if new.terms.midpoint => Place::Pegged,
        TimeInForce::Day if !new.price.is_defined() => Place::Opening,
        TimeInForce::Day if new.terms.display.is_zero() => Place::Hidden,
        TimeInForce::Day => Place::Shown,
    })
}

/// Whether the order can trade as soon as trading is continuous.
fn acts_at_once(new: &NewOrder) -> bool {
    !new.is_stop() && !matches!(new.time_in_force, TimeInForce::Open | TimeInForce::Close)
}

/// Terms that contradict one another, or that no rule here says anything about.
fn is_unsupported(new: &NewOrder) -> bool {
    let Terms { post_only, midpoint, display, .. } = new.terms;
    let (day, market, stop) = (new.time_in_force == TimeInForce::Day, !new.price.is_defined(), new.is_stop());
    let auction = matches!(new.time_in_force, TimeInForce::Open | TimeInForce::Close);
    let fill_or_kill = new.time_in_force == TimeInForce::Fok;
    let shows_part = display != Terms::ALL;
    (midpoint && (post_only || stop || shows_part || auction || fill_or_kill))
        || (post_only && (market || !day || stop))
        || (shows_part && (market || !day))
        || (stop && auction)
}

fn fits_phase(new: &NewOrder, phase: Phase) -> bool {
    let at_once = matches!(new.time_in_force, TimeInForce::Ioc | TimeInForce::Fok) || new.terms.post_only;
    match phase {
        Phase::Closed | Phase::Halted => false,
        Phase::PreOpen => new.is_stop() || !at_once,
        Phase::Auction => (new.is_stop() || !at_once) && new.time_in_force != TimeInForce::Open,
        Phase::Continuous => new.time_in_force != TimeInForce::Open,
    }
}
