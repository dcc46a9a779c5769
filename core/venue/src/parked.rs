//! Orders of ours that do not work yet: stops that sleep, and orders for an auction of history.
//!
//! Stops. A buy stop wakes when the last trade of history is at its stop price or above, a sell stop at it or below;
//! our own trades wake nothing. While history shows quotes and never a trade, the bid wakes buy stops and the ask sell
//! stops. Several wake in the order in which they were accepted. One that is beyond its price when it arrives wakes at
//! once; one that a trade wakes acts a nanosecond after it, so that the aggressor's whole sweep (one stamp) comes first.
//!
//! Auctions. A cross of history fills our orders for it at its price, those without a limit first, then by time, up to
//! a share of the cross's quantity; what is left expires. Assumes that the price would have been the same with us in it.
//! Absent: cut-off times, imbalance-only orders, the price that our order would have made.

use crate::desk::{Desk, within};
use helios_types::{BookRef, CancelReason, Liquidity, Nanos, Price, Quantity, Side, TimeInForce};

/// The orders of one instrument.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    stops: Vec<BookRef>,
    auction: Vec<BookRef>,
    /// What wakes buys and what wakes sells, by [`Side`].
    seen: [Price; 2],
    /// A trade was seen: quotes wake nothing any more.
    traded: bool,
    /// The trading day of the last opening and of the last closing cross.
    crossed: [Option<u64>; 2],
}

impl Default for Parked {
    fn default() -> Self {
        let (seen, crossed) = ([Price::UNDEFINED; 2], [None; 2]);
        Self { stops: Vec::new(), auction: Vec::new(), seen, traded: false, crossed }
    }
}

/// What an auction of history has for us.
#[derive(Clone, Copy)]
pub(crate) struct Cross {
    pub(crate) at: Nanos,
    pub(crate) price: Price,
    /// Our share of its quantity.
    pub(crate) room: Quantity,
}

impl Parked {
    pub(crate) fn sleep(&mut self, number: BookRef) {
        self.stops.push(number);
    }

    pub(crate) fn wait_for_auction(&mut self, number: BookRef) {
        self.auction.push(number);
    }

    pub(crate) fn withdraw(&mut self, number: BookRef) {
        self.stops.retain(|other| *other != number);
        self.auction.retain(|other| *other != number);
    }

    #[inline]
    pub(crate) fn has_stops(&self) -> bool {
        !self.stops.is_empty()
    }

    /// The last trade of history, once there was one.
    pub(crate) fn last(&self) -> Option<Price> {
        self.traded.then_some(self.seen[0])
    }

    #[inline]
    pub(crate) fn trade(&mut self, price: Price) {
        (self.seen, self.traded) = ([price; 2], true);
    }

    #[inline]
    pub(crate) fn quote(&mut self, bid: Price, ask: Price) {
        if !self.traded {
            self.seen = [bid, ask];
        }
    }

    /// Would a stop of this side and price wake now?
    pub(crate) fn wakes(&self, side: Side, stop: Price) -> bool {
        let seen = self.seen[side as usize];
        seen.is_defined()
            && match side {
                Side::Buy => seen >= stop,
                Side::Sell => seen <= stop,
            }
    }

    /// Takes out the stops that wake now, by acceptance.
    pub(crate) fn wake(&mut self, desk: &Desk) -> Vec<BookRef> {
        let order = |number: BookRef| desk.get(number).expect("a sleeping order is open").order;
        let wakes = |number: &BookRef| self.wakes(order(*number).side, order(*number).terms.stop);
        let (awake, asleep) = self.stops.iter().partition(|number| wakes(number));
        self.stops = asleep;
        awake
    }

    /// Was the auction for these orders held on that day already?
    pub(crate) fn is_over(&self, which: TimeInForce, day: u64) -> bool {
        self.crossed[usize::from(which == TimeInForce::Close)] == Some(day)
    }

    /// History held the auction.
    pub(crate) fn cross(&mut self, desk: &mut Desk, which: TimeInForce, day: u64, cross: Cross) {
        self.crossed[usize::from(which == TimeInForce::Close)] = Some(day);
        let mut ours: Vec<BookRef> = Vec::new();
        self.auction.retain(|number| {
            let takes_part = desk.get(*number).expect("a waiting order is open").order.time_in_force == which;
            if takes_part {
                ours.push(*number);
            }
            !takes_part
        });
        // Stable: by time among those with a limit, and among those without.
        ours.sort_by_key(|number| desk.get(*number).expect("it was just seen").order.price.is_defined());
        let mut room = cross.room;
        for number in ours {
            let working = desk.get(number).expect("it was just seen");
            let quantity = working.left().min(room);
            if quantity.0 > 0 && within(working.order.side, working.order.price, cross.price) {
                room.0 -= quantity.0;
                if desk.fill(cross.at.into(), number, cross.price, quantity, Liquidity::Taker).is_zero() {
                    continue;
                }
            }
            desk.cancel(cross.at.into(), number, CancelReason::Expired);
        }
    }
}
