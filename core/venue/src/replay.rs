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
//! - A hidden order of ours stands behind all that is displayed at its price, and before everything at a worse one. At
//!   its own price it gets what an aggressor has left after the displayed queue, as far as history's aggressors have
//!   something left here; a print at that price is not for it, for nobody knows which hidden order was older.
//! - A pegged order stands, unseen, at the midpoint of the best displayed prices as they were before the event. It also
//!   gets prints at the midpoint, as if it were the first there, which is optimistic.
//! - An iceberg displays its peak; when that is used up the next peak goes to the back of the price.
//! - After a halt, orders of ours that cross the book trade at their own limit.
//!
//! What it assumes: history would have happened all the same. Nobody reacts to our orders; an aggressor that traded
//! with us first still trades with the order that it met in history. Orders of ours never trade with one another
//! ([`SelfTrade`] says what becomes of them); two that come to cross because the midpoint moved leave each other alone. An owner whose order we took from
//! and who then changes it gets the new quantity less what we took, as an exchange that counts executed shares
//! would do. See `docs/models/replay.md`.
//!
//! Absent: auctions (`parked`), discretion, minimum quantities, reserves drawn at random, pegs other than to the midpoint.

use crate::dark::{Dark, Unseen, better};
use crate::desk::{Desk, Moment, Queue, Working, is_ours, within};
use crate::impact::{Offer, middle};
use crate::{Counts, SelfTrade, Standing};
use helios_book::{BookError, Books, Capacity, Resting};
use helios_types::{
    BookRef, CancelReason, InstrumentId, Liquidity, Nanos, Order, Price, Quantity, Side, TimeInForce, TradeKind,
    TradingStatus, Update,
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
    dark: Dark,
    taken: u32,
}

/// An order of ours that rests, and where it stands.
#[derive(Clone, Copy)]
struct Mine {
    number: BookRef,
    price: Price,
    dark: bool,
}

/// Who stands in the way of an incoming order of ours.
enum Met {
    Ours(BookRef),
    Stranger(Resting),
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
    self_trade: SelfTrade,
    /// Who met whom: our order, the stranger's, how much. For property tests.
    #[cfg(test)]
    pub(crate) met: Vec<(BookRef, BookRef, Quantity)>,
}

impl Replay {
    pub(crate) fn new(instruments: usize, capacity: Capacity, self_trade: SelfTrade) -> Self {
        let mut places = Vec::new();
        places.resize_with(instruments, || Place { own: Queue::pair(), dark: Dark::default(), taken: 0 });
        Self {
            books: Books::new(instruments, capacity),
            places,
            taken: BTreeMap::new(),
            self_trade,
            #[cfg(test)]
            met: Vec::new(),
        }
    }

    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// Where pegged orders stand; [`Price::UNDEFINED`] unless both sides show a price and do not cross.
    fn midpoint(&self, instrument: InstrumentId) -> Price {
        let top = self.books.top(instrument);
        let (bid, ask) = (top.bid.price, top.ask.price);
        if bid.is_defined() && ask.is_defined() && bid < ask {
            Price(bid.0 + (ask.0 - bid.0) / 2)
        } else {
            Price::UNDEFINED
        }
    }

    /// The price of an order of history, in force when it is not.
    pub(crate) fn price_of(&self, instrument: InstrumentId, order: BookRef) -> Option<Price> {
        self.find(instrument, order).ok().map(|known| known.price)
    }

    /// Would it trade if it arrived now?
    pub(crate) fn would_take(&self, order: &Order) -> bool {
        !order.terms.midpoint && self.first_for(order).is_some()
    }

    /// Who an incoming order of ours meets first: a stranger, or an order of ours.
    fn first_for(&self, order: &Order) -> Option<Met> {
        let (instrument, side) = (order.instrument, order.side.opposite());
        let meets = |price: Price| within(order.side, order.price, price);
        let front = self.books.front(instrument, side).filter(|front| meets(front.price));
        let dark = &self.places[instrument.index()].dark;
        if !dark.is_empty()
            && let Some((price, number)) =
                dark.first(side, self.midpoint(instrument)).filter(|(price, _)| meets(*price))
            && front.is_none_or(|front| better(side, price, front.price))
        {
            return Some(Met::Ours(number));
        }
        let front = front?;
        Some(if is_ours(front.order) { Met::Ours(front.order) } else { Met::Stranger(front) })
    }

    /// An order of ours arrives: it takes what it may, then rests or is cancelled.
    pub(crate) fn arrive(&mut self, desk: &mut Desk, at: Nanos, number: BookRef) {
        let ended = self.take(desk, at, number);
        let Some(working) = desk.get(number).copied() else { return };
        let reason = match ended {
            Some(reason) => reason,
            None if !working.is_immediate() && self.rest(number, &working) => return,
            None => CancelReason::Unfilled,
        };
        desk.cancel(at.into(), number, reason);
    }

    /// What is left of an order joins its queue, or the unseen; false when it does not fit.
    fn rest(&mut self, number: BookRef, working: &Working) -> bool {
        let Order { instrument, side, price, terms, .. } = working.order;
        let place = &mut self.places[instrument.index()];
        if terms.midpoint || terms.display.is_zero() {
            place.dark.join(Unseen { number, side, limit: price, pegged: terms.midpoint });
            return true;
        }
        let shown = working.left().min(terms.display);
        let fits = self.books.add(instrument, number, side, price, shown).is_ok();
        if fits {
            place.own[side as usize].join(price, number);
        }
        fits
    }

    /// Meets who stands in its way, best first; why the rest of it must not rest, if so.
    fn take(&mut self, desk: &mut Desk, at: Nanos, number: BookRef) -> Option<CancelReason> {
        let working = *desk.get(number)?;
        let (terms, fok) = (working.order.terms, working.order.time_in_force == TimeInForce::Fok);
        if terms.midpoint {
            return None;
        }
        if fok && !self.reaches(&working) {
            return Some(CancelReason::Unfilled);
        }
        let top = self.books.top(working.order.instrument);
        let mid = middle(top.bid.price, top.ask.price);
        loop {
            let Working { order, .. } = *desk.get(number)?;
            let left = desk.get(number)?.left();
            match self.first_for(&order)? {
                Met::Ours(resting) => {
                    if let Some(reason) = self.prevent(desk, at, number, resting) {
                        return Some(reason);
                    }
                }
                Met::Stranger(front) => {
                    // Our impact moves what we pay; what it puts beyond our limit we do not get, nor can it rest there.
                    let offer = Offer { shown: front.price, mid, quantity: left.min(front.quantity) };
                    let Some((price, quantity)) = desk.offer(at, number, offer) else {
                        return Some(CancelReason::Unfilled);
                    };
                    self.consume(order.instrument, front.order, quantity);
                    #[cfg(test)]
                    self.met.push((number, front.order, quantity));
                    desk.fill(at.into(), number, price, quantity, Liquidity::Taker);
                }
            }
        }
    }

    /// Can all that is left of it trade at once, with strangers?
    fn reaches(&self, working: &Working) -> bool {
        let Order { instrument, side, price, .. } = working.order;
        let (against, removes_ours) = (side.opposite(), self.self_trade == SelfTrade::CancelOldest);
        let dark = self.places[instrument.index()].dark.first(against, self.midpoint(instrument));
        let mut left = working.left();
        for level in self.books.depth(instrument, against).take_while(|level| within(side, price, level.price)) {
            if !removes_ours && dark.is_some_and(|(unseen, _)| better(against, unseen, level.price)) {
                return false;
            }
            for resting in self.books.queue(instrument, against, level.price) {
                match is_ours(resting.order) {
                    true if removes_ours => {}
                    true => return false,
                    false => left.0 -= resting.quantity.0,
                }
                if left.0 <= 0 {
                    return true;
                }
            }
        }
        false
    }

    /// An incoming order met a resting one of ours; why the incoming one must stop, if so.
    fn prevent(&mut self, desk: &mut Desk, at: Nanos, incoming: BookRef, resting: BookRef) -> Option<CancelReason> {
        let left = |number: BookRef| desk.get(number).expect("both are open").left();
        let (stop, both) = (Some(CancelReason::SelfTrade), left(incoming).min(left(resting)));
        let (removes, stops) = match self.self_trade {
            SelfTrade::CancelNewest => return stop,
            SelfTrade::CancelOldest => (true, false),
            SelfTrade::CancelBoth => (true, true),
            SelfTrade::Decrement => (both == left(resting), both == left(incoming)),
        };
        if removes {
            self.withdraw(desk, resting);
            desk.cancel(at.into(), resting, CancelReason::SelfTrade);
        } else {
            self.shrink(desk, resting, both);
            desk.decrement(at.into(), resting, both);
        }
        if stops {
            return stop;
        }
        if self.self_trade == SelfTrade::Decrement {
            desk.decrement(at.into(), incoming, both);
        }
        None
    }

    /// A resting order of ours leaves without a report.
    pub(crate) fn withdraw(&mut self, desk: &Desk, number: BookRef) {
        let order = desk.get(number).expect("only open orders are withdrawn").order;
        let place = &mut self.places[order.instrument.index()];
        if !place.dark.leave(number) {
            place.own[order.side as usize].leave(number);
            self.books.remove(order.instrument, number).expect("an open order rests in the book");
        }
    }

    /// A resting order of ours becomes smaller and keeps its place; of an iceberg the reserve goes first.
    pub(crate) fn shrink(&mut self, desk: &Desk, number: BookRef, by: Quantity) {
        let working = desk.get(number).expect("only open orders are made smaller");
        let Some(shown) = self.books.order(number) else { return };
        let reserve = working.left().0 - shown.quantity.0;
        let by = Quantity(by.0 - reserve.min(by.0));
        if by.0 > 0 {
            let instrument = working.order.instrument;
            self.books.reduce(instrument, number, by).expect("an open order rests in the book with more than this");
        }
    }

    /// Price level, quantity ahead in the queue and quantity left of a resting order of ours.
    pub(crate) fn standing(&self, desk: &Desk, number: BookRef) -> Option<Standing> {
        let working = desk.get(number)?;
        let (instrument, left) = (working.order.instrument, working.left());
        if let Some(own) = self.books.order(number) {
            let ahead = self.books.queue(instrument, own.side, own.price).take_while(|other| other.order != number);
            let ahead = Quantity(ahead.map(|other| other.quantity.0).sum());
            return Some(Standing { price: own.price, ahead, left });
        }
        let dark = &self.places[instrument.index()].dark;
        let (side, price, before) = dark.place(number, self.midpoint(instrument))?;
        let shown: i64 = self.books.queue(instrument, side, price).map(|other| other.quantity.0).sum();
        let unseen: i64 = before.iter().filter_map(|number| desk.get(*number)).map(|other| other.left().0).sum();
        Some(Standing { price, ahead: Quantity(shown + unseen), left })
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
        let ours_rest = !(place.own[0].is_empty() && place.own[1].is_empty() && place.dark.is_empty());
        let ours_play = trading && ours_rest;
        // A trade that names nobody must not take what is ours, even while ours may not trade.
        let plain = place.taken == 0 && !ours_play && !(ours_rest && matches!(update, Update::Trade { .. }));
        let result = if uses_our_numbers(update) {
            Err(BookError::BadValue)
        } else if plain {
            self.books.apply(instrument, update).map(drop)
        } else {
            let midpoint = if place.dark.is_empty() { Price::UNDEFINED } else { self.midpoint(instrument) };
            let mut turn = Turn { replay: self, desk, at: at.into(), instrument, ours_play, midpoint };
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
        let seen = place.own.iter_mut().flat_map(Queue::take).map(|(_, number)| number);
        let all: Vec<BookRef> = seen.chain(place.dark.take()).collect();
        for number in all {
            desk.cancel(at.into(), number, CancelReason::Expired);
        }
    }

    /// Trading begins again: orders of ours that cross the book trade at their own limit.
    pub(crate) fn status(&mut self, desk: &mut Desk, at: Nanos, instrument: InstrumentId, status: TradingStatus) {
        if status != TradingStatus::Trading {
            return;
        }
        for side in [Side::Buy, Side::Sell] {
            while let Some(mine) = self.first_of_ours(instrument, side, Price::UNDEFINED)
                && let Some(front) = self.books.front(instrument, side.opposite())
                && !is_ours(front.order)
                && within(side, mine.price, front.price)
            {
                let quantity = self.available(desk, &mine).min(front.quantity);
                self.consume(instrument, front.order, quantity);
                #[cfg(test)]
                self.met.push((mine.number, front.order, quantity));
                self.fill_resting(desk, at.into(), instrument, side, &mine, quantity);
            }
        }
    }

    /// The first of our own on a side, strangers left aside; displayed before unseen at one price.
    fn first_of_ours(&self, instrument: InstrumentId, side: Side, midpoint: Price) -> Option<Mine> {
        let place = &self.places[instrument.index()];
        let seen = place.own[side as usize].first().map(|(price, number)| Mine { number, price, dark: false });
        let dark = place.dark.first(side, midpoint).map(|(price, number)| Mine { number, price, dark: true });
        first_of(side, seen, dark)
    }

    /// What an aggressor can have of it at once.
    fn available(&self, desk: &Desk, mine: &Mine) -> Quantity {
        match self.books.order(mine.number) {
            Some(shown) => shown.quantity,
            None => desk.get(mine.number).expect("a resting order is open").left(),
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

    /// Fills a resting order of ours where it stands, in book, queue and desk. An iceberg whose peak is used up shows
    /// the next one, at the back of its price.
    fn fill_resting(
        &mut self,
        desk: &mut Desk,
        at: Moment,
        instrument: InstrumentId,
        side: Side,
        mine: &Mine,
        quantity: Quantity,
    ) {
        let Mine { number, price, dark } = *mine;
        let left = desk.fill(at, number, price, quantity, Liquidity::Maker);
        let place = &mut self.places[instrument.index()];
        if dark {
            if left.is_zero() {
                place.dark.leave(number);
            }
            return;
        }
        self.books.reduce(instrument, number, quantity).expect("book and desk agree on what is left");
        if self.books.order(number).is_some() {
            return;
        }
        let queue = &mut place.own[side as usize];
        queue.leave(number);
        if let Some(working) = desk.get(number) {
            let peak = left.min(working.order.terms.display);
            self.books.add(instrument, number, side, price, peak).expect("its place was freed a moment ago");
            queue.join(price, number);
        }
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

/// The better of two; at one price the displayed one.
fn first_of(side: Side, seen: Option<Mine>, dark: Option<Mine>) -> Option<Mine> {
    match (seen, dark) {
        (Some(seen), Some(dark)) => Some(if better(side, dark.price, seen.price) { dark } else { seen }),
        (seen, dark) => seen.or(dark),
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
    /// As it was before the event; [`Price::UNDEFINED`] when nothing is pegged.
    midpoint: Price,
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
        let (limit, mut left) = (price, Quantity((quantity.0 - gone.0).max(0)));
        while self.ours_play
            && left.0 > 0
            && let Some(mine) = self.first_before_strangers(side.opposite(), |price, _| within(side, limit, price))
        {
            let met = left.min(self.replay.available(self.desk, &mine));
            #[cfg(test)]
            self.replay.met.push((mine.number, order, met));
            self.fill(side.opposite(), &mine, met);
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

    /// Our first order of a side that passes, unless a stranger's displayed order stands before it.
    fn first_before_strangers(&self, side: Side, passes: impl Fn(Price, bool) -> bool) -> Option<Mine> {
        let front = self.replay.books.front(self.instrument, side);
        let dark = &self.replay.places[self.instrument.index()].dark;
        let dark = if dark.is_empty() { None } else { dark.first_where(side, self.midpoint, &passes) };
        let dark = dark.filter(|(price, _)| front.is_none_or(|front| better(side, *price, front.price)));
        if let Some((price, number)) = dark {
            return Some(Mine { number, price, dark: true });
        }
        let front = front.filter(|front| is_ours(front.order) && passes(front.price, false))?;
        Some(Mine { number: front.order, price: front.price, dark: false })
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
        let place = &self.replay.places[self.instrument.index()];
        let own = place.own[side as usize].orders().chain(place.dark.orders(side, self.midpoint));
        let own = own.filter(|(price, _)| self.ours_play && within(side.opposite(), limit, *price));
        Quantity(own.map(|(_, number)| self.desk.get(number).expect("a queued order is open").left().0).sum())
    }

    /// Fills our orders with priority over `order`: at a better price, or before it in its queue.
    fn meet_ours_ahead(&mut self, order: BookRef, known: &Known, aggressor: &mut Aggressor) {
        let side = known.side;
        while aggressor.left.0 > 0 {
            let place = &self.replay.places[self.instrument.index()];
            let seen = place.own[side as usize].first().map(|(price, number)| Mine { number, price, dark: false });
            let seen = seen.filter(|mine| {
                if mine.price == known.price {
                    // A stranger's order that is used up here stood before every order of ours at its price.
                    known.here.0 > 0 && self.stands_before(side, mine.price, mine.number, order)
                } else {
                    better(side, mine.price, known.price)
                }
            });
            let dark = place.dark.first(side, self.midpoint).filter(|(price, _)| better(side, *price, known.price));
            let dark = dark.map(|(price, number)| Mine { number, price, dark: true });
            let Some(mine) = first_of(side, seen, dark) else { return };
            if !within(side.opposite(), aggressor.limit, mine.price) {
                return;
            }
            let met = aggressor.left.min(self.replay.available(self.desk, &mine));
            self.fill(side, &mine, met);
            aggressor.left.0 -= met.0;
        }
    }

    fn stands_before(&self, side: Side, price: Price, ours: BookRef, order: BookRef) -> bool {
        let mut queue = self.replay.books.queue(self.instrument, side, price);
        queue.find(|resting| resting.order == ours || resting.order == order).is_some_and(|first| first.order == ours)
    }

    /// What the aggressor missed goes down the queue: strangers and ours, first in first out, then ours unseen.
    fn meet_queue(&mut self, side: Side, mut aggressor: Aggressor) {
        while aggressor.left.0 > 0 {
            let reached = |price: Price| within(side.opposite(), aggressor.limit, price);
            let front = self.replay.books.front(self.instrument, side).filter(|front| reached(front.price));
            let unseen = self.replay.places[self.instrument.index()].dark.first(side, self.midpoint);
            let unseen = unseen.filter(|(price, _)| self.ours_play && reached(*price));
            let met = if let Some((price, number)) = unseen
                && front.is_none_or(|front| better(side, price, front.price))
            {
                let mine = Mine { number, price, dark: true };
                let met = aggressor.left.min(self.replay.available(self.desk, &mine));
                self.fill(side, &mine, met);
                met
            } else if let Some(front) = front {
                let met = aggressor.left.min(front.quantity);
                if !is_ours(front.order) {
                    self.replay.consume(self.instrument, front.order, met);
                } else if self.ours_play {
                    self.fill(side, &Mine { number: front.order, price: front.price, dark: false }, met);
                } else {
                    return;
                }
                met
            } else {
                return;
            };
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

    /// A trade with a hidden order at a price through ours meets ours first, unless a stranger stands before us; one at
    /// the midpoint meets our pegged orders, as if they were the first there.
    fn print(&mut self, price: Price, quantity: Quantity, aggressor: Option<Side>) {
        let mut left = quantity;
        for side in [Side::Buy, Side::Sell] {
            let meets = |at: Price, pegged: bool| (at != price || pegged) && within(side.opposite(), price, at);
            while self.ours_play
                && left.0 > 0
                && aggressor.is_none_or(|aggressor| aggressor == side.opposite())
                && let Some(mine) = self.first_before_strangers(side, meets)
            {
                let met = left.min(self.replay.available(self.desk, &mine));
                self.fill(side, &mine, met);
                left.0 -= met.0;
            }
        }
    }

    fn fill(&mut self, side: Side, mine: &Mine, quantity: Quantity) {
        self.replay.fill_resting(self.desk, self.at, self.instrument, side, mine, quantity);
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
