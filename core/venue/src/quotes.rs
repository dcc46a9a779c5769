//! Fills against best bid and ask, for instruments whose history has no single orders.
//!
//! What it does:
//! - A marketable order of ours fills at the touch, up to the size shown there; its rest waits or is cancelled.
//! - Size once taken stays taken while the price of that side stands. Size that joins at the same price is new;
//!   when size leaves, at most the new size is left; a new price shows fresh size.
//! - A resting order fills at its limit, up to the size shown, when the opposite quote moves to its limit or
//!   through it, or when a trade prints through it, up to the trade's quantity. A trade *at* its limit does
//!   not fill it: nobody knows the queue.
//! - Without quotes (trades only) the last trade stands for both sides, with its quantity shared by both; a
//!   resting order fills only when a trade prints through it.
//!
//! What it assumes: nothing behind the touch is reachable, and nobody reacts to our orders. See
//! `docs/models/quotes.md`. Absent: depth, queue position, hidden size, impact.

use crate::Best;
use crate::desk::{Desk, Queue, within};
use crate::impact::{Offer, middle};
use helios_types::{
    BookRef, CancelReason, Liquidity, Nanos, Order, Price, Quantity, Side, TimeInForce, TradeKind, Update,
};

/// One side of the quote.
#[derive(Clone, Copy, Debug)]
struct Touch {
    price: Price,
    shown: Quantity,
    /// Of what is shown, not yet taken by us.
    left: Quantity,
}

impl Touch {
    const EMPTY: Self = Self { price: Price::UNDEFINED, shown: Quantity::ZERO, left: Quantity::ZERO };

    fn moves_to(&mut self, price: Price, shown: Quantity) {
        self.left = if price != self.price {
            shown
        } else if shown > self.shown {
            Quantity(self.left.0 + (shown.0 - self.shown.0))
        } else {
            self.left.min(shown)
        };
        (self.price, self.shown) = (price, shown);
    }
}

/// The quote of one instrument and our resting orders.
#[derive(Clone, Debug)]
pub(crate) struct Quotes {
    /// Bid and ask, by [`Side`].
    touch: [Touch; 2],
    /// No quote was ever seen: both sides are the last trade and share its quantity.
    trades_only: bool,
    /// By how much our impact moves history's prices at the present event; what is kept here is history's.
    pub(crate) shift: i64,
    own: [Queue; 2],
}

impl Quotes {
    pub(crate) fn new() -> Self {
        Self { touch: [Touch::EMPTY; 2], trades_only: true, shift: 0, own: Queue::pair() }
    }

    /// An order of ours arrives: it takes the touch if it may, then rests or is cancelled.
    pub(crate) fn arrive(&mut self, desk: &mut Desk, at: Nanos, number: BookRef) {
        let Some(working) = desk.get(number).copied() else { return };
        let order = working.order;
        let touch = self.touch[order.side.opposite() as usize];
        let quantity = touch.left.min(working.left());
        let killed = order.time_in_force == TimeInForce::Fok && quantity < working.left();
        let offer = Offer { shown: touch.price, mid: self.mid(), quantity };
        if !killed
            && quantity.0 > 0
            && let Some((price, quantity)) = desk.offer(at, number, offer)
        {
            self.use_up(order.side.opposite(), quantity);
            if desk.fill(at.into(), number, price, quantity, Liquidity::Taker).is_zero() {
                return;
            }
        }
        if killed || working.is_immediate() {
            desk.cancel(at.into(), number, CancelReason::Unfilled);
        } else {
            self.own[order.side as usize].join(order.price, number);
        }
    }

    /// Is its limit at the other side's touch or through it?
    pub(crate) fn would_take(&self, order: &Order) -> bool {
        within(order.side, order.price, self.touch[order.side.opposite() as usize].price)
    }

    /// A resting order of ours leaves without a report.
    pub(crate) fn withdraw(&mut self, side: Side, number: BookRef) {
        self.own[side as usize].leave(number);
    }

    /// One event of history. While `trading` is false nothing of ours trades.
    pub(crate) fn history(&mut self, desk: &mut Desk, at: Nanos, update: &Update, trading: bool) {
        match *update {
            Update::Quote { bid, bid_quantity, ask, ask_quantity } => {
                if self.trades_only {
                    (self.touch, self.trades_only) = ([Touch::EMPTY; 2], false);
                }
                self.touch[Side::Buy as usize].moves_to(bid, bid_quantity);
                self.touch[Side::Sell as usize].moves_to(ask, ask_quantity);
                if trading {
                    self.meet_quote(desk, at, Side::Buy);
                    self.meet_quote(desk, at, Side::Sell);
                }
            }
            Update::Trade { price, quantity, aggressor, kind, .. }
                if kind != TradeKind::Cross && price.is_defined() =>
            {
                let left = if trading { self.meet_trade(desk, at, price, quantity, aggressor) } else { quantity };
                if self.trades_only {
                    self.touch = [Touch { price, shown: quantity, left }; 2];
                }
            }
            _ => {}
        }
    }

    /// The book is void: the quote is forgotten and our orders expire.
    pub(crate) fn clear(&mut self, desk: &mut Desk, at: Nanos) {
        self.touch = [Touch::EMPTY; 2];
        for queue in &mut self.own {
            for (_, number) in queue.take() {
                desk.cancel(at.into(), number, CancelReason::Expired);
            }
        }
    }

    /// Our resting orders of `side` that the opposite quote reaches.
    fn meet_quote(&mut self, desk: &mut Desk, at: Nanos, side: Side) {
        let Touch { price, mut left, .. } = self.touch[side.opposite() as usize];
        while left.0 > 0
            && let Some((limit, number)) = self.own[side as usize].first()
            && within(side, limit, self.shown(price))
        {
            let quantity = self.fill_first(desk, at, side, limit, number, left);
            self.use_up(side.opposite(), quantity);
            left.0 -= quantity.0;
        }
    }

    /// Our resting orders that a trade prints through; returns what is left of the trade.
    fn meet_trade(
        &mut self,
        desk: &mut Desk,
        at: Nanos,
        price: Price,
        quantity: Quantity,
        aggressor: Option<Side>,
    ) -> Quantity {
        let (mut left, price) = (quantity, self.shown(price));
        for side in [Side::Buy, Side::Sell] {
            while left.0 > 0
                && aggressor.is_none_or(|aggressor| aggressor == side.opposite())
                && let Some((limit, number)) = self.own[side as usize].first()
                && limit != price
                && within(side, limit, price)
            {
                left.0 -= self.fill_first(desk, at, side, limit, number, left).0;
            }
        }
        left
    }

    /// The price that a fraction is of, once the event has been taken in.
    pub(crate) fn reference(&self, update: &Update) -> Price {
        match *update {
            Update::Quote { bid, ask, .. } => middle(bid, ask),
            Update::Trade { price, .. } if self.trades_only => price,
            Update::Bar { open, .. } if !self.mid().is_defined() => open,
            _ => self.mid(),
        }
    }

    /// Bid and ask; `None` when only trades were seen.
    pub(crate) fn best(&self) -> Option<Best> {
        let [bid, ask] = self.touch;
        let quoted = Best { price: [bid.price, ask.price], quantity: [bid.shown, ask.shown], shift: self.shift };
        (!self.trades_only).then_some(quoted)
    }

    fn mid(&self) -> Price {
        middle(self.touch[Side::Buy as usize].price, self.touch[Side::Sell as usize].price)
    }

    /// One of history's prices as it stands here.
    fn shown(&self, price: Price) -> Price {
        if price.is_defined() { Price(price.0.saturating_add(self.shift)) } else { price }
    }

    fn fill_first(
        &mut self,
        desk: &mut Desk,
        at: Nanos,
        side: Side,
        limit: Price,
        number: BookRef,
        available: Quantity,
    ) -> Quantity {
        let quantity = available.min(desk.get(number).expect("a queued order is open").left());
        if desk.fill(at.into(), number, limit, quantity, Liquidity::Maker).is_zero() {
            self.own[side as usize].leave(number);
        }
        quantity
    }

    fn use_up(&mut self, side: Side, quantity: Quantity) {
        self.touch[side as usize].left.0 -= quantity.0;
        if self.trades_only {
            self.touch[side.opposite() as usize].left = self.touch[side as usize].left;
        }
    }
}

/// False for a quote or a trade that cannot be: it is counted and not used.
pub(crate) fn is_sane(update: &Update) -> bool {
    let side = |price: Price, quantity: Quantity| {
        if price.is_defined() { price.0 > 0 && quantity.0 >= 0 } else { quantity.is_zero() }
    };
    match *update {
        Update::Quote { bid, bid_quantity, ask, ask_quantity } => side(bid, bid_quantity) && side(ask, ask_quantity),
        // A cross may print without price and quantity; it is not used, but not wrong either.
        Update::Trade { price, quantity, kind, .. } => kind == TradeKind::Cross || price.0 > 0 && quantity.0 > 0,
        _ => true,
    }
}
