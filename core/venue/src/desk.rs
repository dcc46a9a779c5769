//! Our orders at the venue: what is open, which numbers were used, and what the venue reports about them.
//!
//! The models decide *whether* an order trades; what an accept, a fill or a cancel means for the order, its fee and
//! its report is written here once. Assumes that an order of ours is known by one number on the feed for its whole
//! life, also after a replace.

use crate::Request;
use crate::account::Account;
use crate::fees::{Charged, Tariff, Traded};
use crate::impact::{Impacts, Offer};
use crate::latency::Line;
use helios_types::{
    BookRef, CancelReason, InstrumentId, Liquidity, Nanos, Order, OrderId, Price, Quantity, RejectReason, Report,
    ReportKind, Side, TimeInForce,
};
use std::collections::BTreeMap;

/// Set in the feed number of every order of ours, and in no stranger's.
pub(crate) const OURS: BookRef = 1 << 63;

/// True for a feed number that this venue gave to an order of ours.
pub const fn is_ours(order: BookRef) -> bool {
    order & OURS != 0
}

/// May an order with this limit trade at `price`? [`Price::UNDEFINED`] as limit: at any price.
pub(crate) fn within(side: Side, limit: Price, price: Price) -> bool {
    price.is_defined()
        && match side {
            Side::Buy => price <= limit,
            Side::Sell => price >= limit || !limit.is_defined(),
        }
}

/// True for an order that takes part in an auction only.
pub(crate) fn is_for_auction(order: &Order) -> bool {
    matches!(order.time_in_force, TimeInForce::Open | TimeInForce::Close)
}

/// When the venue acts, and from when on the engine may know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The venue's stamp.
    pub(crate) event: Nanos,
    /// No report of it arrives earlier, whatever the latency.
    pub(crate) not_before: Nanos,
}

impl From<Nanos> for Moment {
    fn from(event: Nanos) -> Self {
        Self { event, not_before: event }
    }
}

/// An open order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Working {
    /// As it stands now: quantity is the total in force, price the limit in force.
    pub(crate) order: Order,
    /// When it, or its last replace, left the engine.
    pub(crate) sent: Nanos,
    /// When it, or its last replace, reached the venue.
    pub(crate) arrived: Nanos,
    /// Filled so far, less than the total.
    pub(crate) filled: Quantity,
    /// A stop that was not reached.
    pub(crate) asleep: bool,
    charged: Charged,
}

impl Working {
    /// What is left to fill; positive.
    pub(crate) fn left(&self) -> Quantity {
        Quantity(self.order.quantity.0 - self.filled.0)
    }

    /// True for an order that never rests once it is awake: immediate-or-cancel, fill-or-kill, or without a price.
    pub(crate) fn is_immediate(&self) -> bool {
        matches!(self.order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok)
            || !(self.order.price.is_defined() || self.order.terms.midpoint)
    }

    /// True for an order that takes part in an auction only.
    pub(crate) fn is_for_auction(&self) -> bool {
        is_for_auction(&self.order)
    }
}

/// All our open orders and the reports under way to the engine.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) tariff: Tariff,
    /// Our account at the broker.
    pub(crate) account: Account,
    /// By feed number, which is the order of acceptance.
    open: BTreeMap<BookRef, Working>,
    numbers: BTreeMap<OrderId, BookRef>,
    used: Used,
    next_number: BookRef,
    executions: u64,
    pub(crate) reports: Line<Report>,
    pub(crate) impacts: Impacts,
    #[cfg(test)]
    filled_so_far: i64,
}

impl Desk {
    pub(crate) fn new(tariff: Tariff, account: Account, reports: Line<Report>, impacts: Impacts) -> Self {
        Self {
            tariff,
            account,
            open: BTreeMap::new(),
            numbers: BTreeMap::new(),
            used: Used::default(),
            next_number: OURS | 1,
            executions: 0,
            reports,
            impacts,
            #[cfg(test)]
            filled_so_far: 0,
        }
    }

    pub(crate) fn report(&mut self, at: Moment, order: OrderId, instrument: InstrumentId, kind: ReportKind) {
        let report = Report { order, instrument, ts_event: at.event, kind };
        self.reports.send(at.event, at.not_before, report);
    }

    pub(crate) fn reject(&mut self, at: Nanos, order: OrderId, instrument: InstrumentId, reason: RejectReason) {
        self.report(at.into(), order, instrument, ReportKind::Rejected { reason });
    }

    pub(crate) fn reject_change(&mut self, at: Nanos, order: OrderId, instrument: InstrumentId, reason: RejectReason) {
        self.report(at.into(), order, instrument, ReportKind::ChangeRejected { reason });
    }

    /// A message for which there is no room.
    pub(crate) fn reject_request(&mut self, at: Nanos, request: &Request) {
        match *request {
            Request::Submit(order) => self.reject(at, order.id, order.instrument, RejectReason::Full),
            Request::Change(change) => self.reject_change(at, change.order, change.instrument, RejectReason::Full),
        }
    }

    /// Marks an order number as used; false if it was used before.
    pub(crate) fn claim(&mut self, order: OrderId) -> bool {
        self.used.claim(order.0)
    }

    /// Opens an order and reports its acceptance.
    pub(crate) fn accept(&mut self, at: Nanos, sent: Nanos, order: Order) -> BookRef {
        let number = self.next_number;
        self.next_number += 1;
        let (filled, asleep, charged) = (Quantity::ZERO, order.terms.stop.is_defined(), Charged::default());
        let working = Working { order, sent, arrived: at, filled, asleep, charged };
        self.open.insert(number, working);
        self.numbers.insert(order.id, number);
        self.report(at.into(), order.id, order.instrument, ReportKind::Accepted { book_ref: number });
        number
    }

    /// Puts a new total and limit in force and reports it. What is filled stays filled.
    pub(crate) fn replace(&mut self, at: Nanos, sent: Nanos, number: BookRef, quantity: Quantity, price: Price) {
        let working = self.open.get_mut(&number).expect("only open orders are replaced: look the number up first");
        assert!(quantity > working.filled, "a total of what is already filled is a cancel");
        (working.order.quantity, working.order.price) = (quantity, price);
        (working.sent, working.arrived) = (sent, at);
        let Order { id, instrument, .. } = working.order;
        self.report(at.into(), id, instrument, ReportKind::Replaced { quantity, price });
    }

    /// A stop was reached. Nothing is reported: venues do not.
    pub(crate) fn wake(&mut self, number: BookRef) {
        self.open.get_mut(&number).expect("only open orders wake").asleep = false;
    }

    /// Self-trade prevention takes this much off an order, less than what is left of it: a smaller total is in force.
    pub(crate) fn decrement(&mut self, at: Moment, number: BookRef, by: Quantity) {
        let working = self.open.get_mut(&number).expect("only open orders are made smaller");
        assert!(by.0 > 0 && by < working.left(), "to take all that is left is a cancel");
        working.order.quantity.0 -= by.0;
        let Order { id, instrument, quantity, price, .. } = working.order;
        self.report(at, id, instrument, ReportKind::Replaced { quantity, price });
    }

    /// Books a fill, charges and reports it; returns what is left. At zero the order is closed.
    pub(crate) fn fill(
        &mut self,
        at: Moment,
        number: BookRef,
        price: Price,
        quantity: Quantity,
        liquidity: Liquidity,
    ) -> Quantity {
        let working = self.open.get_mut(&number).expect("only open orders trade: a model kept a closed one");
        assert!(quantity.0 > 0 && quantity <= working.left(), "a fill is positive and at most what is left");
        assert!(within(working.order.side, working.order.price, price), "a fill is never worse than the limit");
        working.filled.0 += quantity.0;
        let traded = Traded { at: at.event, side: working.order.side, price, quantity, liquidity };
        let fee = self.tariff.charge(&mut working.charged, &traded);
        let (order, left) = (working.order, working.left());
        self.account.fill(order.instrument, order.side, price, quantity, fee);
        let taker = liquidity == Liquidity::Taker;
        self.impacts.traded(at.event, number, order.instrument, order.side, quantity, taker);
        self.executions += 1;
        #[cfg(test)]
        {
            self.filled_so_far += quantity.0;
        }
        let kind = ReportKind::Filled { execution: self.executions, price, quantity, liquidity, fee };
        self.report(at, order.id, order.instrument, kind);
        if left.is_zero() {
            self.close(number);
        }
        left
    }

    /// What an open order pays at `at` for something that history shows, moved by our impact, and how much of it that
    /// buys within its limit; `None`: nothing.
    pub(crate) fn offer(&mut self, at: Nanos, number: BookRef, offer: Offer) -> Option<(Price, Quantity)> {
        let Order { instrument, side, price: limit, time_in_force, .. } = self.open.get(&number)?.order;
        // Whether all of it can be had is decided by what is displayed: it then pays its limit at most.
        if time_in_force == TimeInForce::Fok {
            if !within(side, limit, offer.shown) {
                return None;
            }
            let got = self.impacts.offer(at, number, instrument, side, |_| true, offer);
            return got.map(|(price, quantity)| (if within(side, limit, price) { price } else { limit }, quantity));
        }
        self.impacts.offer(at, number, instrument, side, |price| within(side, limit, price), offer)
    }

    /// Closes an order with its remainder unfilled and reports it.
    pub(crate) fn cancel(&mut self, at: Moment, number: BookRef, reason: CancelReason) {
        let order = self.close(number);
        self.report(at, order.id, order.instrument, ReportKind::Cancelled { reason });
    }

    fn close(&mut self, number: BookRef) -> Order {
        let working = self.open.remove(&number).expect("an order closes once");
        self.numbers.remove(&working.order.id);
        working.order
    }

    /// An open order by its feed number.
    pub(crate) fn get(&self, number: BookRef) -> Option<&Working> {
        self.open.get(&number)
    }

    /// The feed number of an open order of this instrument.
    pub(crate) fn number(&self, order: OrderId, instrument: InstrumentId) -> Option<BookRef> {
        let number = *self.numbers.get(&order)?;
        (self.open[&number].order.instrument == instrument).then_some(number)
    }

    /// Open orders in order of acceptance.
    pub(crate) fn open(&self) -> impl Iterator<Item = (BookRef, &Working)> + '_ {
        self.open.iter().map(|(number, working)| (*number, working))
    }

    /// Sum of all fills so far.
    #[cfg(test)]
    pub(crate) fn filled_so_far(&self) -> i64 {
        self.filled_so_far
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }
}

/// Order numbers used so far, as ranges `first -> last`: callers count upwards, so the ranges are few.
#[derive(Clone, Debug, Default)]
struct Used(BTreeMap<u64, u64>);

impl Used {
    fn claim(&mut self, number: u64) -> bool {
        let below = self.0.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if below.is_some_and(|(_, last)| number <= last) {
            return false;
        }
        let first = match below {
            Some((first, last)) if last + 1 == number => first,
            _ => number,
        };
        // The range above, if it begins with the next number, joins this one.
        let last = number.checked_add(1).and_then(|next| self.0.remove(&next)).unwrap_or(number);
        self.0.insert(first, last);
        true
    }
}

/// Our resting orders of one instrument and side: best price first, then by time.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    side: Side,
    orders: Vec<(Price, BookRef)>,
}

impl Queue {
    pub(crate) fn pair() -> [Self; 2] {
        [Side::Buy, Side::Sell].map(|side| Self { side, orders: Vec::new() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// The order with the highest priority.
    pub(crate) fn first(&self) -> Option<(Price, BookRef)> {
        self.orders.first().copied()
    }

    /// All of them, by priority.
    pub(crate) fn orders(&self) -> impl Iterator<Item = (Price, BookRef)> + '_ {
        self.orders.iter().copied()
    }

    /// Joins behind all orders of the same or a better price.
    pub(crate) fn join(&mut self, price: Price, number: BookRef) {
        let at = self.orders.partition_point(|(other, _)| match self.side {
            Side::Buy => *other >= price,
            Side::Sell => *other <= price,
        });
        self.orders.insert(at, (price, number));
    }

    pub(crate) fn leave(&mut self, number: BookRef) {
        self.orders.retain(|(_, other)| *other != number);
    }

    /// Empties the queue and returns what was in it, by priority.
    pub(crate) fn take(&mut self) -> Vec<(Price, BookRef)> {
        std::mem::take(&mut self.orders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_claimed_once_and_ranges_join() {
        let mut used = Used::default();
        for number in [5, 7, 6, 1, u64::MAX, 0, u64::MAX - 1] {
            assert!(used.claim(number), "{number} is new");
        }
        for number in [0, 1, 5, 6, 7, u64::MAX - 1, u64::MAX] {
            assert!(!used.claim(number), "{number} was used");
        }
        assert_eq!(used.0.into_iter().collect::<Vec<_>>(), [(0, 1), (5, 7), (u64::MAX - 1, u64::MAX)]);
    }

    #[test]
    fn queues_keep_price_then_time() {
        let [mut buys, mut sells] = Queue::pair();
        for (price, number) in [(10, 1), (11, 2), (10, 3), (12, 4), (11, 5)] {
            buys.join(Price(price), number);
            sells.join(Price(price), number);
        }
        let numbers = |queue: &mut Queue| queue.take().into_iter().map(|(_, number)| number).collect::<Vec<_>>();
        assert_eq!(numbers(&mut buys), [4, 2, 5, 1, 3]);
        assert_eq!(numbers(&mut sells), [1, 3, 2, 5, 4]);
    }

    #[test]
    fn an_order_without_limit_trades_at_any_defined_price() {
        for side in [Side::Buy, Side::Sell] {
            assert!(within(side, Price::UNDEFINED, Price(1)));
            assert!(!within(side, Price::UNDEFINED, Price::UNDEFINED));
            assert!(within(side, Price(5), Price(5)));
        }
        assert!(!within(Side::Buy, Price(5), Price(6)) && !within(Side::Sell, Price(5), Price(4)));
    }
}
