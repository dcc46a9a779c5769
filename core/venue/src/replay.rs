//! Order-level replay: history flows through the venue's own books, and our orders rest in the same queues.
//!
//! What it does:
//! - A marketable order of ours takes displayed orders price by price, first in first out. What was taken stays
//!   taken: the historical order has that much less, and later history about it gives nothing twice.
//! - An execution in history is an aggressor with that quantity and, as its limit, the price of the order it met.
//!   Orders of ours with priority over that order trade first; then the order itself, by what history says and at
//!   most what it has left here. What the aggressor misses because we took it goes on down the queue, to strangers
//!   and to us, first in first out.
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
#[derive(Debug)]
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
        let ours_play = trading && !(place.own[0].is_empty() && place.own[1].is_empty());
        let result = if uses_our_numbers(update) {
            Err(BookError::BadValue)
        } else if place.taken == 0 && !ours_play {
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
            entry.insert(Taken { instrument, side, price, history });
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
            self.replay.taken.insert(order, Taken { instrument, side, price, history: quantity });
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
