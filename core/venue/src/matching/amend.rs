//! Changes of working orders.
//!
//! An order keeps its place when its price stays, its quantity does not grow and its displayed size does not grow. What an
//! iceberg loses comes off its reserve first; a smaller displayed size holds from its next part on. Any other change takes
//! the order out and brings it in again, so it may trade at once.

use helios_types::{BookRef, Price, Quantity, RejectReason, Terms};

use super::shelf::{Met, Place, Working};
use super::{Amend, Event, Events, MatchingEngine, NewOrder, Phase, Request, less};

impl MatchingEngine {
    /// Changes price, total quantity or displayed size of a working order.
    pub fn amend(&mut self, amend: &Amend, out: &mut Events) {
        let Amend { instrument, order, new_order, price, .. } = *amend;
        let (met, new) = match self.amended(amend) {
            Ok(found) => found,
            Err(reason) => return Self::reject(instrument, order, Request::Amend, reason, out),
        };
        let quantity = new.quantity;
        if keeps_place(&met, &new) {
            self.shrink(&met, &new);
            return out.push(Event::Amended { instrument, order, new_order: order, price, quantity, kept: true });
        }
        self.begin(instrument);
        self.remove(&met);
        out.push(Event::Amended { instrument, order, new_order, price, quantity, kept: false });
        self.enter(&new, met.detail.filled, out);
        self.settle(instrument, out);
    }

    /// The order as it stands and as it would come in again, or why the change is refused.
    fn amended(&self, amend: &Amend) -> Result<(Met, NewOrder), RejectReason> {
        let phase = self.phase(amend.instrument).ok_or(RejectReason::UnknownInstrument)?;
        let met = self.find(amend.instrument, amend.order).ok_or(RejectReason::UnknownOrder)?;
        if matches!(phase, Phase::Halted | Phase::Closed) {
            return Err(RejectReason::NotTrading);
        }
        let working = self.shelves[met.place as usize].working(met.place, amend.order);
        let working = working.ok_or(RejectReason::UnknownOrder)?;
        let new = changed(&working, amend)?;
        self.check_values(&new)?;
        if keeps_place(&met, &new) {
            return Ok((met, new));
        }
        if amend.new_order != amend.order && self.is_used(amend.new_order) {
            return Err(RejectReason::DuplicateOrder);
        }
        self.check_room(&new)?;
        self.check_band(&new)?;
        if new.terms.post_only && self.would_take(&new, self.best_without(&met)) {
            return Err(RejectReason::WouldTake);
        }
        Ok((met, new))
    }

    /// The best displayed price of the order's side once the order is gone.
    fn best_without(&self, met: &Met) -> Price {
        let mut levels = self.books().depth(met.resting.instrument, met.resting.side);
        let stays = |price, orders| met.place != Place::Shown || price != met.resting.price || orders > 1;
        levels.find(|level| stays(level.price, level.orders)).map_or(Price::UNDEFINED, |level| level.price)
    }

    /// A smaller order at the same place.
    fn shrink(&mut self, met: &Met, new: &NewOrder) {
        let off = less(met.open(), new.quantity);
        let from_reserve = off.min(met.detail.reserve);
        let from_shown = less(off, from_reserve);
        let (order, display): (BookRef, Quantity) = (met.resting.order, new.terms.display);
        let shelf = &mut self.shelves[met.place as usize];
        shelf.note(order, |detail| {
            detail.reserve = less(detail.reserve, from_reserve);
            detail.display = display;
        });
        if !from_shown.is_zero() {
            shelf.reduce(&met.resting, from_shown);
        }
    }
}

/// The order with its new values and what it has left.
fn changed(working: &Working, amend: &Amend) -> Result<NewOrder, RejectReason> {
    let Working { instrument, side, filled, terms, time_in_force, firm, self_trade, .. } = *working;
    let left = amend.quantity.0.checked_sub(filled.0).filter(|left| *left > 0).ok_or(RejectReason::BadQuantity)?;
    if !terms.midpoint && amend.price.is_defined() != working.price.is_defined() {
        return Err(RejectReason::BadPrice);
    }
    let is_iceberg = terms.display != Terms::ALL && !terms.display.is_zero();
    let display = match amend.display {
        None => terms.display,
        Some(_) if !is_iceberg => return Err(RejectReason::Unsupported),
        Some(display) if display.0 <= 0 || display == Terms::ALL => return Err(RejectReason::BadQuantity),
        Some(display) => display,
    };
    let (order, price, quantity) = (amend.new_order, amend.price, Quantity(left));
    let terms = Terms { display, ..terms };
    Ok(NewOrder { instrument, order, side, price, quantity, time_in_force, terms, firm, self_trade })
}

fn keeps_place(met: &Met, new: &NewOrder) -> bool {
    let grows = new.quantity > met.open() || (met.place == Place::Shown && new.terms.display > met.detail.display);
    new.price == MatchingEngine::limit_of(met) && !grows
}
