//! Depth-only replay: price levels without single orders, and a queue position that has to be estimated.
//!
//! What it does:
//! - A marketable order of ours takes the displayed levels, best first. What was taken stays taken: size that joins a
//!   level later is new, and when size leaves, at most the new size is left.
//! - A resting order of ours joins behind all that its level displays. Trades at its price use up what is before it,
//!   then fill it; a trade through its price, or a level of the other side at its price or beyond, fills it at its
//!   limit, up to that quantity.
//! - When a level shrinks by more than was traded there, somebody cancelled; whether before or behind us nobody knows.
//!   [`QueueModel`] says how much of it was behind us.
//! - Nothing passes a queue twice: of one trade at most its quantity fills us, all orders of ours together.
//!
//! What it assumes: history would have happened all the same; a trade is printed before its level shrinks. See
//! `docs/models/depth.md`. Absent: hidden orders, icebergs, pegs and stops of ours, auctions, an impact on what is displayed.

use crate::desk::{Desk, Moment, within};
use crate::impact::{Offer, middle};
use crate::{Counts, Standing};
use helios_book::{Books, Capacity};
use helios_types::{
    BookRef, CancelReason, InstrumentId, Liquidity, Nanos, Price, Quantity, Side, TimeInForce, TradeKind, Update,
};
use std::collections::BTreeMap;

/// How much of what left a level by cancels stood behind us, given what stands before us (`front`) and behind (`back`).
///
/// All but the first two are of the form `f(back) / (f(back) + f(front))`, the share that was behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueModel {
    /// All of it, as long as there is something behind: we advance by trades, or when nothing else is left.
    #[default]
    Pessimistic,
    /// None of it, as long as there is something before us.
    Optimistic,
    /// `f(x) = x`: every share is as likely to leave as every other.
    Proportional,
    /// `f(x) = x^n`, `n` in thousandths: the larger part is the likelier one, the more so the larger `n`.
    Power(u32),
    /// `f(x) = ln(1 + x)`, `x` in whole units: between a coin and [`QueueModel::Proportional`].
    Log,
}

impl QueueModel {
    /// The share of a cancelled quantity that stood behind us, 0 to 1.
    fn behind(self, front: i64, back: i64) -> f64 {
        let units = |quantity: i64| Quantity(quantity).to_f64();
        let f = |quantity: i64| match self {
            Self::Power(thousandths) => libm::pow(units(quantity), f64::from(thousandths) / 1e3),
            Self::Log => libm::log1p(units(quantity)),
            _ => units(quantity),
        };
        match self {
            _ if back <= 0 => 0.0,
            _ if front <= 0 => 1.0,
            Self::Pessimistic => 1.0,
            Self::Optimistic => 0.0,
            _ => {
                let (front, back) = (f(front), f(back));
                // Powers of tiny quantities vanish, of huge ones overflow: then nothing tells them apart.
                if front + back > 0.0 && (front + back).is_finite() { back / (front + back) } else { 0.5 }
            }
        }
    }

    /// What stands before us after `gone` was cancelled at a level that has `left` now.
    fn advance(self, front: i64, back: i64, gone: i64, left: i64) -> i64 {
        let behind = ((gone as f64 * self.behind(front, back)) as i64).min(back.max(0));
        (front - (gone - behind)).clamp(0, left.max(0))
    }
}

/// A resting order of ours.
#[derive(Clone, Copy, Debug)]
struct Own {
    price: Price,
    number: BookRef,
    /// Displayed quantity before it.
    ahead: i64,
    /// Traded at its price since history last showed the level: the level will shrink by so much.
    traded: i64,
}

/// One instrument: our orders by side, best price first, then by time; and whether levels differ from history's.
#[derive(Clone, Debug, Default)]
struct Place {
    own: [Vec<Own>; 2],
    taken: u32,
}

impl Place {
    /// True when a level at this price is nothing to our orders, nor to what we took.
    #[inline]
    fn is_indifferent(&self, side: Side, price: Price) -> bool {
        let (same, other) = (&self.own[side as usize], &self.own[side.opposite() as usize]);
        self.taken == 0
            && same.iter().all(|own| own.price != price)
            && other.first().is_none_or(|own| !within(side.opposite(), own.price, price))
    }
}

/// The depth model of all instruments.
#[derive(Clone)]
pub(crate) struct Depth {
    model: QueueModel,
    /// History's levels less what we took.
    books: Books,
    places: Vec<Place>,
    /// Levels from which we took, and what history shows there.
    taken: BTreeMap<(InstrumentId, Side, Price), Quantity>,
}

impl Depth {
    pub(crate) fn new(instruments: usize, capacity: Capacity, model: QueueModel) -> Self {
        let mut places = Vec::new();
        places.resize_with(instruments, Place::default);
        Self { model, books: Books::new(instruments, capacity), places, taken: BTreeMap::new() }
    }

    /// Best bid and ask of history.
    pub(crate) fn top(&self, instrument: InstrumentId) -> helios_book::Top {
        self.books.top(instrument)
    }

    /// True when an order with this limit would trade at once.
    pub(crate) fn would_take(&self, instrument: InstrumentId, side: Side, limit: Price) -> bool {
        within(side, limit, self.books.best(instrument, side.opposite()).price)
    }

    /// An order of ours arrives: it takes what it may, then rests or is cancelled.
    pub(crate) fn arrive(&mut self, desk: &mut Desk, at: Nanos, number: BookRef) {
        let Some(working) = desk.get(number).copied() else { return };
        let order = working.order;
        if order.time_in_force == TimeInForce::Fok
            && self.reachable(order.instrument, order.side, order.price) < working.left()
        {
            return desk.cancel(at.into(), number, CancelReason::Unfilled);
        }
        let met_own = self.take(desk, at, number);
        let Some(working) = desk.get(number).copied() else { return };
        if met_own {
            return desk.cancel(at.into(), number, CancelReason::SelfTrade);
        }
        if working.is_immediate() {
            return desk.cancel(at.into(), number, CancelReason::Unfilled);
        }
        let ahead = self.books.level_quantity(order.instrument, order.side, order.price).0;
        let queue = &mut self.places[order.instrument.index()].own[order.side as usize];
        let behind = queue
            .partition_point(|own| own.price == order.price || within(order.side.opposite(), order.price, own.price));
        queue.insert(behind, Own { price: order.price, number, ahead, traded: 0 });
    }

    /// What displayed levels within a limit have.
    fn reachable(&self, instrument: InstrumentId, side: Side, limit: Price) -> Quantity {
        let levels = self.books.depth(instrument, side.opposite()).take_while(|level| within(side, limit, level.price));
        Quantity(levels.fold(0, |sum: i64, level| sum.saturating_add(level.quantity.0)))
    }

    /// Takes displayed levels, best first; true when it stopped at an order of ours.
    fn take(&mut self, desk: &mut Desk, at: Nanos, number: BookRef) -> bool {
        let Some(working) = desk.get(number).copied() else { return false };
        let (order, mut left) = (working.order, working.left());
        let other = order.side.opposite();
        let own = self.places[order.instrument.index()].own[other as usize].first().map(|own| own.price);
        let own = own.filter(|price| within(order.side, order.price, *price));
        let top = self.books.top(order.instrument);
        let mid = middle(top.bid.price, top.ask.price);
        while left.0 > 0 {
            let level = self.books.best(order.instrument, other);
            if !within(order.side, order.price, level.price)
                || own.is_some_and(|own| within(order.side, level.price, own))
            {
                break;
            }
            // Our impact moves what we pay; what it puts beyond our limit we do not get, nor can it rest there.
            let offer = Offer { shown: level.price, mid, quantity: left.min(level.quantity) };
            let Some((price, quantity)) = desk.offer(at, number, offer) else {
                desk.cancel(at.into(), number, CancelReason::Unfilled);
                return false;
            };
            self.consume(order.instrument, other, level.price, quantity);
            left = desk.fill(at.into(), number, price, quantity, Liquidity::Taker);
        }
        left.0 > 0 && own.is_some()
    }

    /// Takes from a level what history does not know of.
    fn consume(&mut self, instrument: InstrumentId, side: Side, price: Price, quantity: Quantity) {
        let here = self.books.level_quantity(instrument, side, price);
        if let std::collections::btree_map::Entry::Vacant(entry) = self.taken.entry((instrument, side, price)) {
            entry.insert(here);
            self.places[instrument.index()].taken += 1;
        }
        let left = Quantity(here.0 - quantity.0);
        self.books.set_level(instrument, side, price, left).expect("a level that was just seen");
    }

    /// A resting order of ours leaves without a report.
    pub(crate) fn withdraw(&mut self, instrument: InstrumentId, side: Side, number: BookRef) {
        self.places[instrument.index()].own[side as usize].retain(|own| own.number != number);
    }

    /// Price level, estimated quantity ahead and quantity left of a resting order of ours.
    pub(crate) fn standing(&self, desk: &Desk, number: BookRef) -> Option<Standing> {
        let working = desk.get(number)?;
        let place = self.places.get(working.order.instrument.index())?;
        let own = place.own[working.order.side as usize].iter().find(|own| own.number == number)?;
        Some(Standing { price: own.price, ahead: Quantity(own.ahead), left: working.left() })
    }

    /// One event of history. While `trading` is false nothing of ours trades.
    #[inline]
    pub(crate) fn history(
        &mut self,
        desk: &mut Desk,
        counts: &mut Counts,
        at: Nanos,
        instrument: InstrumentId,
        update: &Update,
        trading: bool,
    ) {
        match *update {
            Update::Depth { side, price, quantity } => {
                let result = if self.places[instrument.index()].is_indifferent(side, price) {
                    self.books.set_level(instrument, side, price, quantity).map(drop)
                } else {
                    self.level(desk, at, instrument, side, price, quantity, trading)
                };
                if let Err(error) = result {
                    counts.note(error);
                }
            }
            Update::Trade { price, quantity, aggressor, kind, .. } if trading && kind != TradeKind::Cross => {
                let place = &self.places[instrument.index()];
                if !(place.own[0].is_empty() && place.own[1].is_empty()) {
                    self.trade(desk, at, instrument, price, quantity, aggressor);
                }
            }
            _ => {}
        }
    }

    /// A level's new total, where it matters to orders of ours or levels differ from history's.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn level(
        &mut self,
        desk: &mut Desk,
        at: Nanos,
        instrument: InstrumentId,
        side: Side,
        price: Price,
        quantity: Quantity,
        trading: bool,
    ) -> Result<(), helios_book::BookError> {
        let key = (instrument, side, price);
        let here = self.books.level_quantity(instrument, side, price);
        let shown = self.taken.get(&key).copied().unwrap_or(here);
        // Size that joins is new; when size leaves, at most the new size is left.
        let left = if quantity > shown { Quantity(here.0 + (quantity.0 - shown.0)) } else { here.min(quantity) };
        self.books.set_level(instrument, side, price, left)?;
        self.remember(key, quantity, left);
        self.forget_crossed(instrument, side, price, quantity);
        let model = self.model;
        for own in self.places[instrument.index()].own[side as usize].iter_mut().filter(|own| own.price == price) {
            let traded = std::mem::take(&mut own.traded);
            let gone = shown.0 - traded - quantity.0;
            own.ahead = if gone > 0 {
                model.advance(own.ahead, shown.0 - traded - own.ahead, gone, quantity.0)
            } else {
                own.ahead.min(quantity.0)
            };
        }
        if trading && quantity.0 > 0 {
            self.meet_level(desk, at, instrument, side, price, left);
        }
        Ok(())
    }

    /// Keeps what history shows where it differs from what is left here.
    fn remember(&mut self, key: (InstrumentId, Side, Price), shown: Quantity, left: Quantity) {
        let place = &mut self.places[key.0.index()];
        if shown == left {
            place.taken -= u32::from(self.taken.remove(&key).is_some());
        } else {
            place.taken += u32::from(self.taken.insert(key, shown).is_none());
        }
    }

    /// Levels that a new level shows to be gone are gone with what we took from them.
    fn forget_crossed(&mut self, instrument: InstrumentId, side: Side, price: Price, quantity: Quantity) {
        let place = &mut self.places[instrument.index()];
        if place.taken == 0 || quantity.0 == 0 {
            return;
        }
        let before = self.taken.len();
        self.taken.retain(|(of, on, level), _| *of != instrument || *on == side || !within(side, price, *level));
        place.taken -= (before - self.taken.len()) as u32;
    }

    /// A level of the other side at our limit or beyond: its owners would have traded with us.
    fn meet_level(
        &mut self,
        desk: &mut Desk,
        at: Nanos,
        instrument: InstrumentId,
        side: Side,
        price: Price,
        mut available: Quantity,
    ) {
        let ours = side.opposite();
        while available.0 > 0
            && let Some(own) = self.places[instrument.index()].own[ours as usize].first().copied()
            && within(ours, own.price, price)
        {
            let quantity = self.fill(desk, at.into(), instrument, ours, 0, available);
            self.consume(instrument, side, price, quantity);
            available.0 -= quantity.0;
        }
    }

    /// A trade: what stands before ours at its price is used up first.
    fn trade(
        &mut self,
        desk: &mut Desk,
        at: Nanos,
        instrument: InstrumentId,
        price: Price,
        quantity: Quantity,
        aggressor: Option<Side>,
    ) {
        let mut left = quantity;
        for side in [Side::Buy, Side::Sell] {
            if aggressor == Some(side) {
                continue;
            }
            let mut at_index = 0;
            while let Some(own) = self.places[instrument.index()].own[side as usize].get_mut(at_index)
                && within(side, own.price, price)
            {
                let mut available = left;
                if own.price == price {
                    available.0 -= own.ahead;
                    own.ahead = (own.ahead - left.0).max(0);
                    own.traded = own.traded.saturating_add(quantity.0);
                }
                let number = own.number;
                if available.0 > 0 {
                    left.0 -= self.fill(desk, at.into(), instrument, side, at_index, available).0;
                }
                let stays = self.places[instrument.index()].own[side as usize].get(at_index);
                at_index += usize::from(stays.is_some_and(|own| own.number == number));
            }
        }
    }

    /// Fills one of our resting orders at its limit, up to `available`; returns how much.
    fn fill(
        &mut self,
        desk: &mut Desk,
        at: Moment,
        instrument: InstrumentId,
        side: Side,
        index: usize,
        available: Quantity,
    ) -> Quantity {
        let queue = &mut self.places[instrument.index()].own[side as usize];
        let own = queue[index];
        let quantity = available.min(desk.get(own.number).expect("a queued order is open").left());
        if desk.fill(at, own.number, own.price, quantity, Liquidity::Maker).is_zero() {
            queue.remove(index);
        }
        quantity
    }

    /// Trading begins again: orders of ours that cross the book trade at their own limit.
    pub(crate) fn resume(&mut self, desk: &mut Desk, at: Nanos, instrument: InstrumentId) {
        for side in [Side::Buy, Side::Sell] {
            while let Some(own) = self.places[instrument.index()].own[side as usize].first().copied() {
                let level = self.books.best(instrument, side.opposite());
                if !within(side, own.price, level.price) {
                    break;
                }
                self.meet_level(desk, at, instrument, side.opposite(), level.price, level.quantity);
            }
        }
    }

    /// The book is void: history is forgotten and our orders expire.
    pub(crate) fn clear(&mut self, desk: &mut Desk, at: Nanos, instrument: InstrumentId) {
        self.books.clear(instrument);
        self.taken.retain(|(of, _, _), _| *of != instrument);
        let place = std::mem::take(&mut self.places[instrument.index()]);
        for own in place.own.into_iter().flatten() {
            desk.cancel(at.into(), own.number, CancelReason::Expired);
        }
    }
}
