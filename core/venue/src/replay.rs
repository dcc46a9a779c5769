//! Order-level replay: history flows through the venue's own books, and our orders rest in the same queues.
//!
//! What it does:
//! - A marketable order of ours takes displayed orders price by price, first in first out. What was taken stays
//!   taken: the historical order has that much less, and later history about it gives nothing twice.
//! - An execution in history is an aggressor with that quantity and, as its limit, the price of the order it met.
//!   Orders of ours with priority over that order trade first; then the order itself, by what history says and at
//!   most what it has left here. What the aggressor misses because we took it goes on down the queue, to strangers
//!   and to us, first in first out.
//! - A trade with displayed orders that the feed does not name ([`TradeKind::Displayed`]) is an aggressor that meets the
//!   queue as it stands here, strangers and ours, first in first out. By history's account it met the strangers in
//!   front; none of them has more here than there. When all together have less, the trade is refused and counted.
//! - A historical order that crosses an order of ours trades with us first, at our price; its rest joins the book.
//! - A print against a hidden order at a price through ours trades with us first, at our price: the aggressor would
//!   have met the better displayed price. Only when no stranger stands before us; at our own price, never.
//! - After a halt, orders of ours that cross the book trade at their own limit.
//!
//! What it assumes: history would have happened all the same. Nobody reacts to our orders; an aggressor that traded
//! with us first still trades with the order that it met in history. Our order never meets another order of ours:
//! the incoming one stops there and its rest is cancelled. Auctions pass us by. An owner whose order we took from
//! and who then changes it gets the new quantity less what we took, as an exchange that counts executed shares
//! would do. See `docs/models/replay.md`.
//!
//! Absent: hidden orders and pegs of ours, market impact, reserve, self-match modes other than the one above.

use crate::desk::{Desk, Moment, Queue, is_ours, within};
use crate::impact::{Offer, middle};
use crate::{Counts, Standing};
use helios_book::{BookError, Books, Capacity};
use helios_types::{
    BookRef, CancelReason, InstrumentId, Liquidity, Nanos, Price, Quantity, Side, TradeKind, TradingStatus, Update,
};
use std::collections::BTreeMap;

/// A historical order that has less here than history says, down to nothing.
#[derive(Clone, Copy, Debug)]
struct Taken {
    instrument: InstrumentId,
    side: Side,
    price: Price,
    /// What it has left by history's account; positive.
    history: Quantity,
    /// Nothing of it was left here before it came to the front of its queue: its place is not known.
    placeless: bool,
}

/// What is known about a historical order.
#[derive(Clone, Copy, Debug)]
struct Known {
    side: Side,
    price: Price,
    /// Left in our world.
    here: Quantity,
    /// Left by history's account; never less than `here`.
    history: Quantity,
    /// True when the two accounts differ, now or before.
    touched: bool,
}

/// Per instrument: our queues, and whether history and our world differ.
#[derive(Clone, Debug)]
struct Place {
    own: [Queue; 2],
    taken: u32,
}

/// One unmet part of an aggressor: what it may still take, and up to which price.
#[derive(Clone, Copy)]
struct Aggressor {
    limit: Price,
    left: Quantity,
}

/// The order-level model of all instruments.
#[derive(Clone)]
pub(crate) struct Replay {
    books: Books,
    places: Vec<Place>,
    taken: BTreeMap<BookRef, Taken>,
    /// Who met whom: our order, the stranger's, how much. For property tests.
    #[cfg(test)]
    pub(crate) met: Vec<(BookRef, BookRef, Quantity)>,
}

impl Replay {
    pub(crate) fn new(instruments: usize, capacity: Capacity) -> Self {
        let mut places = Vec::new();
        places.resize_with(instruments, || Place { own: Queue::pair(), taken: 0 });
        Self {
            books: Books::new(instruments, capacity),
            places,
            taken: BTreeMap::new(),
            #[cfg(test)]
            met: Vec::new(),
        }
    }

    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// An order of ours arrives: it takes what it may, then rests or is cancelled.
    pub(crate) fn arrive(&mut self, desk: &mut Desk, at: Nanos, number: BookRef) {
        let stopped = self.take(desk, at, number);
        let Some(working) = desk.get(number).copied() else { return };
        let order = working.order;
        let rests = !stopped
            && !working.is_immediate()
            && self.books.add(order.instrument, number, order.side, order.price, working.left()).is_ok();
        if rests {
            self.places[order.instrument.index()].own[order.side as usize].join(order.price, number);
        } else {
            desk.cancel(at.into(), number, CancelReason::Unfilled);
        }
    }

    /// Meets displayed orders, best first; true when it stopped at an order of ours.
    fn take(&mut self, desk: &mut Desk, at: Nanos, number: BookRef) -> bool {
        let Some(working) = desk.get(number).copied() else { return false };
        let (order, mut left) = (working.order, working.left());
        let top = self.books.top(order.instrument);
        let mid = middle(top.bid.price, top.ask.price);
        while left.0 > 0
            && let Some(front) = self.books.front(order.instrument, order.side.opposite())
            && within(order.side, order.price, front.price)
        {
            if is_ours(front.order) {
                return true;
            }
            // Our impact moves what we pay; what it puts beyond our limit we do not get, nor can it rest there.
            let offer = Offer { shown: front.price, mid, quantity: left.min(front.quantity) };
            let Some((price, quantity)) = desk.offer(at, number, offer) else {
                desk.cancel(at.into(), number, CancelReason::Unfilled);
                return false;
            };
            self.consume(order.instrument, front.order, quantity);
            #[cfg(test)]
            self.met.push((number, front.order, quantity));
            left = desk.fill(at.into(), number, price, quantity, Liquidity::Taker);
        }
        false
    }

    /// A resting order of ours leaves without a report.
    pub(crate) fn withdraw(&mut self, desk: &Desk, number: BookRef) {
        let order = desk.get(number).expect("only open orders are withdrawn").order;
        self.places[order.instrument.index()].own[order.side as usize].leave(number);
        self.books.remove(order.instrument, number).expect("an open order rests in the book");
    }

    /// A resting order of ours becomes smaller and keeps its place.
    pub(crate) fn shrink(&mut self, instrument: InstrumentId, number: BookRef, by: Quantity) {
        self.books.reduce(instrument, number, by).expect("an open order rests in the book with more than this");
    }

    /// Price level, quantity ahead in the queue and quantity left of a resting order of ours.
    pub(crate) fn standing(&self, number: BookRef) -> Option<Standing> {
        let own = self.books.order(number)?;
        let ahead = self.books.queue(own.instrument, own.side, own.price).take_while(|other| other.order != number);
        Some(Standing {
            price: own.price,
            ahead: Quantity(ahead.map(|other| other.quantity.0).sum()),
            left: own.quantity,
        })
    }

    /// One event of history. While `trading` is false nothing of ours trades.
    pub(crate) fn history(
        &mut self,
        desk: &mut Desk,
        counts: &mut Counts,
        at: Nanos,
        instrument: InstrumentId,
        update: &Update,
        trading: bool,
    ) {
        let place = &self.places[instrument.index()];
        let ours_rest = !(place.own[0].is_empty() && place.own[1].is_empty());
        let ours_play = trading && ours_rest;
        // A trade that names nobody must not take what is ours, even while ours may not trade.
        let plain = place.taken == 0 && !ours_play && !(ours_rest && matches!(update, Update::Trade { .. }));
        let result = if uses_our_numbers(update) {
            Err(BookError::BadValue)
        } else if plain {
            self.books.apply(instrument, update).map(drop)
        } else {
            let mut turn = Turn { replay: self, desk, at: at.into(), instrument, ours_play };
            turn.apply(update)
        };
        if let Err(error) = result {
            counts.note(error);
        }
    }

    /// The book is void: history is forgotten and our orders expire.
    pub(crate) fn clear(&mut self, desk: &mut Desk, at: Nanos, instrument: InstrumentId) {
        self.books.clear(instrument);
        self.taken.retain(|_, taken| taken.instrument != instrument);
        let place = &mut self.places[instrument.index()];
        place.taken = 0;
        for queue in &mut place.own {
            for (_, number) in queue.take() {
                desk.cancel(at.into(), number, CancelReason::Expired);
            }
        }
    }

    /// Trading begins again: orders of ours that cross the book trade at their own limit.
    pub(crate) fn status(&mut self, desk: &mut Desk, at: Nanos, instrument: InstrumentId, status: TradingStatus) {
        if status != TradingStatus::Trading {
            return;
        }
        for side in [Side::Buy, Side::Sell] {
            while let Some((price, number)) = self.places[instrument.index()].own[side as usize].first()
                && let Some(front) = self.books.front(instrument, side.opposite())
                && !is_ours(front.order)
                && within(side, price, front.price)
            {
                let left = desk.get(number).expect("a queued order is open").left();
                let quantity = left.min(front.quantity);
                self.consume(instrument, front.order, quantity);
                #[cfg(test)]
                self.met.push((number, front.order, quantity));
                self.fill_resting(desk, at.into(), instrument, side, quantity);
            }
        }
    }

    /// Takes from a historical order what history does not know of.
    fn consume(&mut self, instrument: InstrumentId, order: BookRef, quantity: Quantity) {
        let resting = self.books.order(order).expect("the order was just seen in the book");
        if let std::collections::btree_map::Entry::Vacant(entry) = self.taken.entry(order) {
            let (side, price, history) = (resting.side, resting.price, resting.quantity);
            entry.insert(Taken { instrument, side, price, history, placeless: false });
            self.places[instrument.index()].taken += 1;
        }
        self.books.reduce(instrument, order, quantity).expect("at most what it shows is taken");
    }

    /// Fills the first of our resting orders of a side, at its own price, in book, queue and desk.
    fn fill_resting(&mut self, desk: &mut Desk, at: Moment, instrument: InstrumentId, side: Side, quantity: Quantity) {
        let queue = &mut self.places[instrument.index()].own[side as usize];
        let (price, number) = queue.first().expect("the caller saw the order");
        if desk.fill(at, number, price, quantity, Liquidity::Maker).is_zero() {
            queue.leave(number);
        }
        self.books.reduce(instrument, number, quantity).expect("book and desk agree on what is left");
    }

    /// What an order of history has left here, and by history's account.
    #[cfg(test)]
    pub(crate) fn accounts(&self, instrument: InstrumentId, order: BookRef) -> (Quantity, Quantity) {
        self.find(instrument, order).map_or((Quantity::ZERO, Quantity::ZERO), |known| (known.here, known.history))
    }

    /// How many orders differ here from history.
    #[cfg(test)]
    pub(crate) fn taken_count(&self) -> usize {
        assert_eq!(self.places.iter().map(|place| place.taken as usize).sum::<usize>(), self.taken.len());
        self.taken.len()
    }

    fn find(&self, instrument: InstrumentId, order: BookRef) -> Result<Known, BookError> {
        let known = match (self.books.order(order), self.taken.get(&order)) {
            (Some(x), _) if x.instrument != instrument => return Err(BookError::WrongInstrument),
            (_, Some(x)) if x.instrument != instrument => return Err(BookError::WrongInstrument),
            (None, None) => return Err(BookError::UnknownOrder),
            (Some(x), None) => {
                Known { side: x.side, price: x.price, here: x.quantity, history: x.quantity, touched: false }
            }
            (here, Some(x)) => {
                let here = here.map_or(Quantity::ZERO, |x| x.quantity);
                Known { side: x.side, price: x.price, here, history: x.history, touched: true }
            }
        };
        assert!(known.here <= known.history, "an order never has more here than in history");
        Ok(known)
    }
}

/// History must not speak of numbers that this venue gives to orders of ours.
fn uses_our_numbers(update: &Update) -> bool {
    match *update {
        Update::Add { order, .. }
        | Update::Execute { order, .. }
        | Update::ExecuteAt { order, .. }
        | Update::Reduce { order, .. }
        | Update::Delete { order } => is_ours(order),
        Update::Replace { order, new_order, .. } => is_ours(order) || is_ours(new_order),
        _ => false,
    }
}

/// One event of history, where our orders rest or history and our world differ.
struct Turn<'a> {
    replay: &'a mut Replay,
    desk: &'a mut Desk,
    at: Moment,
    instrument: InstrumentId,
    ours_play: bool,
}

impl Turn<'_> {
    fn apply(&mut self, update: &Update) -> Result<(), BookError> {
        match *update {
            Update::Add { order, side, price, quantity } => {
                if quantity.0 <= 0 || price.0 <= 0 {
                    return Err(BookError::BadValue);
                }
                self.must_be_new(order)?;
                self.enter(order, side, price, quantity, Quantity::ZERO)
            }
            Update::Execute { order, quantity, .. } => self.execute(order, quantity, None),
            Update::ExecuteAt { order, quantity, price, printable: true, .. } => {
                self.execute(order, quantity, Some(price))
            }
            // Not printable: part of a cross, which passes our orders by.
            Update::ExecuteAt { order, quantity, .. } | Update::Reduce { order, quantity } => {
                let known = self.check(order, quantity)?;
                self.history_takes(order, &known, quantity)
            }
            Update::Delete { order } => {
                let known = self.replay.find(self.instrument, order)?;
                self.forget(order, &known)
            }
            Update::Replace { order, new_order, price, quantity } => self.replace(order, new_order, price, quantity),
            Update::Trade { price, quantity, aggressor, kind: TradeKind::Displayed, .. } => {
                let aggressor = aggressor.ok_or(BookError::BadValue)?;
                self.trade(aggressor.opposite(), price, quantity)
            }
            Update::Trade { price, quantity, aggressor, kind, .. } => {
                if kind != TradeKind::Cross && price.is_defined() && quantity.0 > 0 {
                    self.print(price, quantity, aggressor);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn must_be_new(&self, order: BookRef) -> Result<(), BookError> {
        match self.replay.find(self.instrument, order) {
            Err(BookError::UnknownOrder) => Ok(()),
            _ => Err(BookError::DuplicateOrder),
        }
    }

    /// The order, if history can take this much from it.
    fn check(&self, order: BookRef, quantity: Quantity) -> Result<Known, BookError> {
        let known = self.replay.find(self.instrument, order)?;
        match quantity {
            _ if quantity.0 <= 0 => Err(BookError::BadValue),
            _ if quantity > known.history => Err(BookError::ExceedsQuantity),
            _ => Ok(known),
        }
    }

    /// A historical order comes in: it meets ours, the rest joins the book less what was `gone` of it before.
    fn enter(
        &mut self,
        order: BookRef,
        side: Side,
        price: Price,
        quantity: Quantity,
        gone: Quantity,
    ) -> Result<(), BookError> {
        let mut left = Quantity((quantity.0 - gone.0).max(0));
        while self.ours_play
            && left.0 > 0
            && let Some(front) = self.replay.books.front(self.instrument, side.opposite())
            && is_ours(front.order)
            && within(side, price, front.price)
        {
            let met = left.min(front.quantity);
            #[cfg(test)]
            self.replay.met.push((front.order, order, met));
            self.fill_first(side.opposite(), met);
            left.0 -= met.0;
        }
        if left < quantity {
            let instrument = self.instrument;
            let placeless = left.is_zero();
            self.replay.taken.insert(order, Taken { instrument, side, price, history: quantity, placeless });
            self.replay.places[instrument.index()].taken += 1;
        }
        if left.0 > 0 {
            self.replay.books.add(self.instrument, order, side, price, left)?;
        }
        Ok(())
    }

    /// An aggressor met `order`: first ours before it, then the order itself, then who stands behind it.
    fn execute(&mut self, order: BookRef, quantity: Quantity, traded_at: Option<Price>) -> Result<(), BookError> {
        let known = self.check(order, quantity)?;
        // Of two prices the one that binds the aggressor more; for a buyer, who meets sells, the lower.
        let limit = match (known.side, traded_at) {
            (_, None) => known.price,
            (Side::Sell, Some(price)) => known.price.min(price),
            (Side::Buy, Some(price)) => known.price.max(price),
        };
        let mut aggressor = Aggressor { limit, left: quantity };
        if self.ours_play {
            self.meet_ours_ahead(order, &known, &mut aggressor);
        }
        aggressor.left.0 -= aggressor.left.0.min(known.here.0);
        self.history_takes(order, &known, quantity)?;
        self.meet_queue(known.side, aggressor);
        Ok(())
    }

    /// An aggressor meets displayed orders that nobody names; by history's account, the strangers in front.
    fn trade(&mut self, side: Side, limit: Price, quantity: Quantity) -> Result<(), BookError> {
        if quantity.0 <= 0 || limit.0 <= 0 || !limit.is_defined() {
            return Err(BookError::BadValue);
        }
        let met = self.front_of_history(side, limit, quantity);
        let missing = quantity.0 - met.iter().map(|(_, met)| met.0).sum::<i64>();
        let ours = if missing == 0 { Quantity::ZERO } else { self.ours_within(side, limit) };
        if ours.0 < missing {
            let none = met.is_empty() && ours.is_zero();
            return Err(if none { BookError::UnknownOrder } else { BookError::ExceedsQuantity });
        }
        self.meet_queue(side, Aggressor { limit, left: quantity });
        for (order, met) in met {
            self.history_took(order, met)?;
        }
        Ok(())
    }

    /// By history's account `quantity` of an order is gone: here it has at most what is left there. Where both accounts
    /// agree again, nothing is kept.
    fn history_took(&mut self, order: BookRef, quantity: Quantity) -> Result<(), BookError> {
        let known = self.replay.find(self.instrument, order)?;
        let left = Quantity(known.history.0 - quantity.0);
        if known.here > left {
            self.replay.books.reduce(self.instrument, order, Quantity(known.here.0 - left.0))?;
        }
        if known.here >= left {
            self.untrack(order, &known);
        } else if let Some(taken) = self.replay.taken.get_mut(&order) {
            taken.history = left;
        }
        Ok(())
    }

    /// The strangers with whom history's next `quantity` of a side trades: best price first, first in first out.
    fn front_of_history(&self, side: Side, limit: Price, quantity: Quantity) -> Vec<(BookRef, Quantity)> {
        let (books, taken) = (&self.replay.books, &self.replay.taken);
        let shown =
            books.depth(self.instrument, side).flat_map(|level| books.queue(self.instrument, side, level.price));
        let shown = shown.filter(|resting| !is_ours(resting.order)).map(|resting| {
            (resting.order, resting.price, taken.get(&resting.order).map_or(resting.quantity, |x| x.history))
        });
        // Those of which nothing is left here stood before all that is left at their price. Where the place is not known
        // the number tells it: numbers grow in order of arrival.
        let gone = taken
            .iter()
            .filter(|(order, x)| x.instrument == self.instrument && x.side == side && books.order(**order).is_none());
        let mut gone: Vec<_> = gone.map(|(order, x)| (*order, *x)).collect();
        gone.sort_by_key(|(_, x)| x.price.0 * -side.sign());
        let (mut gone, mut shown) = (gone.into_iter().peekable(), shown.peekable());
        let stands_before = |(order, x): &(BookRef, Taken), shown: &(BookRef, Price, Quantity)| {
            if x.price == shown.1 {
                !x.placeless || *order < shown.0
            } else {
                within(side.opposite(), shown.1, x.price)
            }
        };
        let told = |(order, x): (BookRef, Taken)| (order, x.price, x.history);
        let (mut left, mut met) = (quantity, Vec::new());
        while left.0 > 0 {
            let first = match (gone.peek(), shown.peek()) {
                (Some(a), Some(b)) if stands_before(a, b) => gone.next().map(told),
                (Some(_), None) => gone.next().map(told),
                _ => shown.next(),
            };
            let Some((order, _, history)) = first.filter(|(_, price, _)| within(side.opposite(), limit, *price)) else {
                break;
            };
            met.push((order, left.min(history)));
            left.0 -= left.0.min(history.0);
        }
        met
    }

    /// What our resting orders of a side have left, at prices up to `limit`; nothing while they may not trade.
    fn ours_within(&self, side: Side, limit: Price) -> Quantity {
        let own = self.replay.places[self.instrument.index()].own[side as usize].orders();
        let own = own.filter(|(price, _)| self.ours_play && within(side.opposite(), limit, *price));
        Quantity(own.map(|(_, number)| self.desk.get(number).expect("a queued order is open").left().0).sum())
    }

    /// Fills our orders with priority over `order`: at a better price, or before it in its queue.
    fn meet_ours_ahead(&mut self, order: BookRef, known: &Known, aggressor: &mut Aggressor) {
        while aggressor.left.0 > 0
            && let Some((price, number)) = self.replay.places[self.instrument.index()].own[known.side as usize].first()
            && within(known.side.opposite(), aggressor.limit, price)
        {
            let ahead = if price == known.price {
                // A stranger's order that is used up here stood before every order of ours at its price.
                known.here.0 > 0 && self.stands_before(known.side, price, number, order)
            } else {
                within(known.side.opposite(), known.price, price)
            };
            if !ahead {
                return;
            }
            let met = aggressor.left.min(self.desk.get(number).expect("a queued order is open").left());
            self.fill_first(known.side, met);
            aggressor.left.0 -= met.0;
        }
    }

    fn stands_before(&self, side: Side, price: Price, ours: BookRef, order: BookRef) -> bool {
        let mut queue = self.replay.books.queue(self.instrument, side, price);
        queue.find(|resting| resting.order == ours || resting.order == order).is_some_and(|first| first.order == ours)
    }

    /// What the aggressor missed goes down the queue: strangers and ours, first in first out.
    fn meet_queue(&mut self, side: Side, mut aggressor: Aggressor) {
        while aggressor.left.0 > 0
            && let Some(front) = self.replay.books.front(self.instrument, side)
            && within(side.opposite(), aggressor.limit, front.price)
        {
            let met = aggressor.left.min(front.quantity);
            if !is_ours(front.order) {
                self.replay.consume(self.instrument, front.order, met);
            } else if self.ours_play {
                self.fill_first(side, met);
            } else {
                return;
            }
            aggressor.left.0 -= met.0;
        }
    }

    /// History gives `order` a new number, price and quantity; what was taken from its owner stays taken.
    fn replace(
        &mut self,
        order: BookRef,
        new_order: BookRef,
        price: Price,
        quantity: Quantity,
    ) -> Result<(), BookError> {
        let known = self.replay.find(self.instrument, order)?;
        if quantity.0 <= 0 || price.0 <= 0 {
            return Err(BookError::BadValue);
        }
        if new_order != order {
            self.must_be_new(new_order)?;
        }
        self.forget(order, &known)?;
        self.enter(new_order, known.side, price, quantity, Quantity(known.history.0 - known.here.0))
    }

    /// A trade with a hidden order at a price through ours meets ours first, unless a stranger stands before us.
    fn print(&mut self, price: Price, quantity: Quantity, aggressor: Option<Side>) {
        let mut left = quantity;
        for side in [Side::Buy, Side::Sell] {
            while self.ours_play
                && left.0 > 0
                && aggressor.is_none_or(|aggressor| aggressor == side.opposite())
                && let Some(front) = self.replay.books.front(self.instrument, side)
                && is_ours(front.order)
                && front.price != price
                && within(side.opposite(), price, front.price)
            {
                let met = left.min(front.quantity);
                self.fill_first(side, met);
                left.0 -= met.0;
            }
        }
    }

    fn fill_first(&mut self, side: Side, quantity: Quantity) {
        self.replay.fill_resting(self.desk, self.at, self.instrument, side, quantity);
    }

    /// History takes `quantity` from an order: so much less by its account, and here at most what is left.
    fn history_takes(&mut self, order: BookRef, known: &Known, quantity: Quantity) -> Result<(), BookError> {
        let here = known.here.min(quantity);
        if here.0 > 0 {
            self.replay.books.reduce(self.instrument, order, here)?;
        }
        if known.history == quantity {
            self.untrack(order, known);
        } else if let Some(taken) = self.replay.taken.get_mut(&order) {
            taken.history.0 -= quantity.0;
            taken.placeless |= here.0 > 0 && here == known.here;
        }
        Ok(())
    }

    /// The order leaves history.
    fn forget(&mut self, order: BookRef, known: &Known) -> Result<(), BookError> {
        if known.here.0 > 0 {
            self.replay.books.remove(self.instrument, order)?;
        }
        self.untrack(order, known);
        Ok(())
    }

    fn untrack(&mut self, order: BookRef, known: &Known) {
        if known.touched {
            self.replay.taken.remove(&order);
            self.replay.places[self.instrument.index()].taken -= 1;
        }
    }
}
