//! Price-time matching: orders in, trades out, over [`Books`].
//!
//! One continuous market per instrument. An incoming order meets the best opposite price first and, within a
//! price, the order that has rested longest; each trade is at the resting order's price. What is left of a `Day`
//! order rests at the back of its level, what is left of an `Ioc` order is dropped.
//!
//! Assumes that the caller numbers orders uniquely over all instruments for as long as they rest.
//! A refused request changes nothing. Nothing is allocated per order once the books are warm and the caller's
//! buffer has grown. Absent on purpose: auctions, hidden orders, ticks and lots, time, ownership, fees.

use helios_book::{BookError, Books, Capacity, Top};
use helios_types::{BookRef, InstrumentId, Price, Quantity, RejectReason, Side, TimeInForce};

/// An order as it reaches the matching engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Of what.
    pub instrument: InstrumentId,
    /// Its number, should it rest.
    pub order: BookRef,
    /// Buy or sell.
    pub side: Side,
    /// Limit; [`Price::UNDEFINED`] takes at any price and is only valid with [`TimeInForce::Ioc`].
    pub price: Price,
    /// Positive.
    pub quantity: Quantity,
    /// Whether the remainder rests.
    pub time_in_force: TimeInForce,
}

/// One trade: the incoming order met one resting order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// The order that rested.
    pub resting: BookRef,
    /// Its price, which is the trade's price.
    pub price: Price,
    /// How much traded.
    pub quantity: Quantity,
    /// What the resting order has left; at zero it is gone from the book.
    pub resting_left: Quantity,
}

/// What became of an accepted order. What neither traded nor rests was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Sum of its trades.
    pub traded: Quantity,
    /// What now rests under its number.
    pub resting: Quantity,
}

/// What an accepted replace did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// Same price and not more quantity: the old order keeps its number and its place, smaller by this much.
    Kept(Quantity),
    /// The old order is gone; a new one came in under the new number, and may have traded.
    Moved(Outcome),
}

/// The matching engine of all instruments of one venue.
pub struct MatchingEngine {
    books: Books,
    instruments: usize,
}

impl MatchingEngine {
    /// Empty books for instruments `0..instruments`.
    pub fn new(instruments: usize, capacity: Capacity) -> Self {
        Self { books: Books::new(instruments, capacity), instruments }
    }

    /// The books as they stand.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Best bid and ask of one instrument.
    #[inline]
    pub fn top(&self, instrument: InstrumentId) -> Top {
        self.books.top(instrument)
    }

    /// Matches an order; its trades are appended to `trades` in the order in which they happen.
    #[inline]
    pub fn submit(&mut self, incoming: Incoming, trades: &mut Vec<Trade>) -> Result<Outcome, RejectReason> {
        self.validate(&incoming)?;
        if !self.crosses(incoming.instrument, incoming.side, incoming.price) {
            return self.rest(&incoming, incoming.quantity);
        }
        if self.books.order(incoming.order).is_some() {
            return Err(RejectReason::DuplicateOrder);
        }
        Ok(self.match_and_rest(&incoming, trades))
    }

    /// Takes an order out of the book and says what it still had.
    pub fn cancel(&mut self, instrument: InstrumentId, order: BookRef) -> Result<Quantity, RejectReason> {
        let resting = self.working(instrument, order)?;
        self.books.remove(instrument, order).map_err(reject_reason)?;
        Ok(resting.quantity)
    }

    /// Takes part of a resting order away; it keeps its place. Taking all of it is a cancel.
    pub fn reduce(&mut self, instrument: InstrumentId, order: BookRef, quantity: Quantity) -> Result<(), RejectReason> {
        if quantity.0 <= 0 {
            return Err(RejectReason::BadQuantity);
        }
        self.books.reduce(instrument, order, quantity).map(|_| ()).map_err(reject_reason)
    }

    /// Changes price and quantity of `order`. At the same price and with no more quantity it keeps its number and
    /// its place; otherwise it leaves and enters again as `new_order`, and may trade.
    pub fn replace(
        &mut self,
        instrument: InstrumentId,
        order: BookRef,
        new_order: BookRef,
        price: Price,
        quantity: Quantity,
        trades: &mut Vec<Trade>,
    ) -> Result<Replaced, RejectReason> {
        let old = self.working(instrument, order)?;
        let incoming =
            Incoming { instrument, order: new_order, side: old.side, price, quantity, time_in_force: TimeInForce::Day };
        self.validate(&incoming)?;
        if price == old.price && quantity <= old.quantity {
            let less = Quantity(old.quantity.0 - quantity.0);
            if !less.is_zero() {
                self.books.reduce(instrument, order, less).map_err(reject_reason)?;
            }
            return Ok(Replaced::Kept(less));
        }
        if !self.crosses(instrument, old.side, price) {
            self.books.replace(instrument, order, new_order, price, quantity).map_err(reject_reason)?;
            return Ok(Replaced::Moved(Outcome { traded: Quantity::ZERO, resting: quantity }));
        }
        if new_order != order && self.books.order(new_order).is_some() {
            return Err(RejectReason::DuplicateOrder);
        }
        self.books.remove(instrument, order).expect("an order looked up a moment ago can be removed");
        Ok(Replaced::Moved(self.match_and_rest(&incoming, trades)))
    }

    #[inline]
    fn validate(&self, incoming: &Incoming) -> Result<(), RejectReason> {
        if incoming.instrument.index() >= self.instruments {
            return Err(RejectReason::UnknownInstrument);
        }
        if incoming.quantity.0 <= 0 {
            return Err(RejectReason::BadQuantity);
        }
        let market = !incoming.price.is_defined();
        if incoming.price.0 <= 0 || (market && incoming.time_in_force == TimeInForce::Day) {
            return Err(RejectReason::BadPrice);
        }
        Ok(())
    }

    fn working(&self, instrument: InstrumentId, order: BookRef) -> Result<helios_book::Resting, RejectReason> {
        let resting = self.books.order(order).ok_or(RejectReason::UnknownOrder)?;
        if resting.instrument == instrument { Ok(resting) } else { Err(RejectReason::UnknownOrder) }
    }

    /// Whether an order at `price` would trade at once.
    #[inline]
    fn crosses(&self, instrument: InstrumentId, side: Side, price: Price) -> bool {
        let best = self.books.best(instrument, side.opposite()).price;
        best.is_defined() && meets(side, price, best)
    }

    fn match_and_rest(&mut self, incoming: &Incoming, trades: &mut Vec<Trade>) -> Outcome {
        let left = self.take(incoming, trades);
        let traded = Quantity(incoming.quantity.0 - left.0);
        if left.is_zero() || incoming.time_in_force == TimeInForce::Ioc {
            return Outcome { traded, resting: Quantity::ZERO };
        }
        // It consumed at least one order and one level, and nobody bids or asks at its price: there is room for it.
        self.rest(incoming, left)
            .map(|outcome| Outcome { traded, ..outcome })
            .expect("an order that consumed a level fits in its place: report this as a bug of the book")
    }

    /// Trades down the opposite side and returns what is left.
    fn take(&mut self, incoming: &Incoming, trades: &mut Vec<Trade>) -> Quantity {
        let instrument = incoming.instrument;
        let mut left = incoming.quantity;
        while let Some(front) = self.books.front(instrument, incoming.side.opposite()) {
            if left.is_zero() || !meets(incoming.side, incoming.price, front.price) {
                break;
            }
            let quantity = left.min(front.quantity);
            self.books.reduce(instrument, front.order, quantity).expect("the first order has what it shows");
            left = Quantity(left.0 - quantity.0);
            trades.push(Trade {
                resting: front.order,
                price: front.price,
                quantity,
                resting_left: Quantity(front.quantity.0 - quantity.0),
            });
        }
        left
    }

    #[inline]
    fn rest(&mut self, incoming: &Incoming, left: Quantity) -> Result<Outcome, RejectReason> {
        if incoming.time_in_force == TimeInForce::Day {
            let Incoming { instrument, order, side, price, .. } = *incoming;
            self.books.add(instrument, order, side, price, left).map_err(reject_reason)?;
            return Ok(Outcome { traded: Quantity::ZERO, resting: left });
        }
        Ok(Outcome { traded: Quantity::ZERO, resting: Quantity::ZERO })
    }
}

/// Whether an incoming order with this limit may trade at `resting`. [`Price::UNDEFINED`] is above every price, which
/// is right for a buy at any price and has to be said for a sell.
#[inline]
fn meets(side: Side, limit: Price, resting: Price) -> bool {
    match side {
        Side::Buy => limit >= resting,
        Side::Sell => limit <= resting || !limit.is_defined(),
    }
}

fn reject_reason(error: BookError) -> RejectReason {
    match error {
        BookError::UnknownOrder | BookError::WrongInstrument => RejectReason::UnknownOrder,
        BookError::DuplicateOrder => RejectReason::DuplicateOrder,
        BookError::ExceedsQuantity => RejectReason::BadQuantity,
        BookError::BadValue => RejectReason::BadPrice,
        BookError::Full => RejectReason::Full,
    }
}

#[cfg(test)]
mod tests {
    use helios_book::Resting;
    use proptest::prelude::*;

    use super::*;

    const STOCK: InstrumentId = InstrumentId(1);

    fn engine() -> MatchingEngine {
        MatchingEngine::new(3, Capacity { orders: 1000, levels: 1000 })
    }

    fn incoming(order: BookRef, side: Side, price: i64, quantity: i64) -> Incoming {
        Incoming {
            instrument: STOCK,
            order,
            side,
            price: Price(price),
            quantity: Quantity(quantity),
            time_in_force: TimeInForce::Day,
        }
    }

    /// The rules once more, slowly: all orders in one list in the order of their arrival.
    #[derive(Default)]
    struct Naive(Vec<Resting>);

    impl Naive {
        /// Where the order is that an incoming one meets first.
        fn first(&self, incoming: &Incoming) -> Option<usize> {
            let meets = |resting: &Resting| {
                resting.instrument == incoming.instrument
                    && resting.side != incoming.side
                    && match incoming.side {
                        Side::Buy => incoming.price >= resting.price,
                        Side::Sell => !incoming.price.is_defined() || incoming.price <= resting.price,
                    }
            };
            // The first of the best: `min_by_key` keeps the earliest of equals.
            let candidates = self.0.iter().enumerate().filter(|(_, resting)| meets(resting));
            candidates.min_by_key(|(_, resting)| -incoming.side.opposite().sign() * resting.price.0).map(|(at, _)| at)
        }

        fn submit(&mut self, incoming: Incoming, trades: &mut Vec<Trade>) -> Outcome {
            let mut left = incoming.quantity.0;
            while let Some(at) = self.first(&incoming).filter(|_| left > 0) {
                let resting = &mut self.0[at];
                let quantity = left.min(resting.quantity.0);
                resting.quantity.0 -= quantity;
                left -= quantity;
                let (resting, price, resting_left) = (resting.order, resting.price, resting.quantity);
                trades.push(Trade { resting, price, quantity: Quantity(quantity), resting_left });
                self.0.retain(|resting| !resting.quantity.is_zero());
            }
            let traded = Quantity(incoming.quantity.0 - left);
            let rests = left > 0 && incoming.time_in_force == TimeInForce::Day;
            if rests {
                let Incoming { order, instrument, side, price, .. } = incoming;
                self.0.push(Resting { order, instrument, side, price, quantity: Quantity(left) });
            }
            Outcome { traded, resting: Quantity(if rests { left } else { 0 }) }
        }

        fn replace(&mut self, at: usize, to: Incoming, trades: &mut Vec<Trade>) -> Replaced {
            let old = &mut self.0[at];
            let less = old.quantity.0 - to.quantity.0;
            if old.price == to.price && less >= 0 {
                old.quantity = to.quantity;
                return Replaced::Kept(Quantity(less));
            }
            self.0.remove(at);
            Replaced::Moved(self.submit(to, trades))
        }

        /// One side in the order in which it would trade.
        fn queue(&self, instrument: InstrumentId, side: Side) -> Vec<Resting> {
            let mut queue: Vec<Resting> =
                self.0.iter().copied().filter(|r| r.instrument == instrument && r.side == side).collect();
            queue.sort_by_key(|resting| -side.sign() * resting.price.0);
            queue
        }
    }

    fn queue(engine: &MatchingEngine, instrument: InstrumentId, side: Side) -> Vec<Resting> {
        let books = engine.books();
        books.depth(instrument, side).flat_map(|level| books.queue(instrument, side, level.price)).collect()
    }

    #[derive(Clone, Debug)]
    enum Command {
        Submit { instrument: u32, buy: bool, price: Option<i64>, quantity: i64, ioc: bool },
        Cancel { pick: usize },
        Reduce { pick: usize, quantity: i64 },
        Replace { pick: usize, price: i64, quantity: i64 },
    }

    fn command() -> impl Strategy<Value = Command> {
        let submit = (0..2u32, any::<bool>(), proptest::option::weighted(0.9, 1..12i64), 1..9i64, any::<bool>());
        prop_oneof![
            6 => submit.prop_map(|(instrument, buy, price, quantity, ioc)| {
                Command::Submit { instrument, buy, price, quantity, ioc: ioc || price.is_none() }
            }),
            1 => any::<usize>().prop_map(|pick| Command::Cancel { pick }),
            1 => (any::<usize>(), 1..9i64).prop_map(|(pick, quantity)| Command::Reduce { pick, quantity }),
            2 => (any::<usize>(), 1..12i64, 1..9i64)
                .prop_map(|(pick, price, quantity)| Command::Replace { pick, price, quantity }),
        ]
    }

    /// Both matchers do the same; what they answer must be equal.
    fn run(engine: &mut MatchingEngine, naive: &mut Naive, order: BookRef, command: &Command) {
        let (mut fast, mut slow) = (Vec::new(), Vec::new());
        let at = |pick: usize| (!naive.0.is_empty()).then(|| pick % naive.0.len());
        match *command {
            Command::Submit { instrument, buy, price, quantity, ioc } => {
                let incoming = Incoming {
                    instrument: InstrumentId(instrument),
                    order,
                    side: if buy { Side::Buy } else { Side::Sell },
                    price: price.map_or(Price::UNDEFINED, Price),
                    quantity: Quantity(quantity),
                    time_in_force: if ioc { TimeInForce::Ioc } else { TimeInForce::Day },
                };
                assert_eq!(engine.submit(incoming, &mut fast), Ok(naive.submit(incoming, &mut slow)));
            }
            Command::Cancel { pick } => {
                let Some(at) = at(pick) else { return };
                let gone = naive.0.remove(at);
                assert_eq!(engine.cancel(gone.instrument, gone.order), Ok(gone.quantity));
                assert_eq!(engine.cancel(gone.instrument, gone.order), Err(RejectReason::UnknownOrder));
            }
            Command::Reduce { pick, quantity } => {
                let Some(at) = at(pick) else { return };
                let resting = &mut naive.0[at];
                let result = engine.reduce(resting.instrument, resting.order, Quantity(quantity));
                if quantity > resting.quantity.0 {
                    assert_eq!(result, Err(RejectReason::BadQuantity));
                    return;
                }
                assert_eq!(result, Ok(()));
                resting.quantity.0 -= quantity;
                naive.0.retain(|resting| !resting.quantity.is_zero());
            }
            Command::Replace { pick, price, quantity } => {
                let Some(at) = at(pick) else { return };
                let old = naive.0[at];
                let to = Incoming { instrument: old.instrument, ..incoming(order, old.side, price, quantity) };
                let result = engine.replace(old.instrument, old.order, order, to.price, to.quantity, &mut fast);
                assert_eq!(result, Ok(naive.replace(at, to, &mut slow)));
            }
        }
        assert_eq!(fast, slow);
    }

    proptest! {
        #[test]
        fn matches_as_a_plain_list_does(commands in proptest::collection::vec(command(), 1..150)) {
            let (mut engine, mut naive) = (engine(), Naive::default());
            for (n, command) in commands.iter().enumerate() {
                run(&mut engine, &mut naive, n as BookRef + 1, command);
                for instrument in [InstrumentId(0), InstrumentId(1)] {
                    prop_assert!(!engine.top(instrument).is_crossed());
                    for side in [Side::Buy, Side::Sell] {
                        prop_assert_eq!(queue(&engine, instrument, side), naive.queue(instrument, side));
                    }
                }
            }
        }
    }

    #[test]
    fn best_price_first_then_the_oldest() {
        let (mut engine, mut trades) = (engine(), Vec::new());
        for (order, price) in [(1, 101), (2, 100), (3, 100)] {
            engine.submit(incoming(order, Side::Sell, price, 10), &mut trades).expect("valid");
        }
        assert!(trades.is_empty());
        let outcome = engine.submit(incoming(4, Side::Buy, 101, 35), &mut trades).expect("valid");
        assert_eq!(outcome, Outcome { traded: Quantity(30), resting: Quantity(5) });
        let met: Vec<_> = trades.iter().map(|t| (t.resting, t.price.0, t.quantity.0, t.resting_left.0)).collect();
        assert_eq!(met, [(2, 100, 10, 0), (3, 100, 10, 0), (1, 101, 10, 0)]);
        let top = engine.top(STOCK);
        assert_eq!((top.bid.price, top.bid.quantity, top.ask.orders), (Price(101), Quantity(5), 0));
    }

    #[test]
    fn a_smaller_size_keeps_the_place_and_a_larger_one_loses_it() {
        let (mut engine, mut trades) = (engine(), Vec::new());
        for order in [1, 2] {
            engine.submit(incoming(order, Side::Buy, 100, 10), &mut trades).expect("valid");
        }
        let kept = engine.replace(STOCK, 1, 9, Price(100), Quantity(4), &mut trades);
        assert_eq!(kept, Ok(Replaced::Kept(Quantity(6))));
        assert_eq!(queue(&engine, STOCK, Side::Buy).iter().map(|r| r.order).collect::<Vec<_>>(), [1, 2]);
        let moved = engine.replace(STOCK, 1, 9, Price(100), Quantity(5), &mut trades);
        assert_eq!(moved, Ok(Replaced::Moved(Outcome { traded: Quantity::ZERO, resting: Quantity(5) })));
        assert_eq!(queue(&engine, STOCK, Side::Buy).iter().map(|r| r.order).collect::<Vec<_>>(), [2, 9]);
    }

    #[test]
    fn a_refused_request_changes_nothing() {
        let (mut engine, mut trades) = (engine(), Vec::new());
        engine.submit(incoming(1, Side::Buy, 100, 10), &mut trades).expect("valid");
        engine.submit(incoming(2, Side::Sell, 102, 10), &mut trades).expect("valid");
        let good = incoming(3, Side::Buy, 101, 5);
        let refused = [
            (Incoming { quantity: Quantity(0), ..good }, RejectReason::BadQuantity),
            (Incoming { quantity: Quantity(-5), ..good }, RejectReason::BadQuantity),
            (Incoming { price: Price(0), ..good }, RejectReason::BadPrice),
            (Incoming { price: Price(-1), ..good }, RejectReason::BadPrice),
            (Incoming { price: Price::UNDEFINED, ..good }, RejectReason::BadPrice),
            (Incoming { instrument: InstrumentId(3), ..good }, RejectReason::UnknownInstrument),
            (Incoming { order: 1, ..good }, RejectReason::DuplicateOrder),
            // Marketable as well: nothing may trade before the number is found to be taken.
            (Incoming { order: 1, price: Price(102), ..good }, RejectReason::DuplicateOrder),
        ];
        for (incoming, reason) in refused {
            assert_eq!(engine.submit(incoming, &mut trades), Err(reason), "{incoming:?}");
        }
        let replace = |engine: &mut MatchingEngine, instrument, order, new_order, price| {
            engine.replace(instrument, order, new_order, Price(price), Quantity(5), &mut Vec::new())
        };
        assert_eq!(replace(&mut engine, STOCK, 7, 8, 101), Err(RejectReason::UnknownOrder));
        assert_eq!(replace(&mut engine, InstrumentId(0), 1, 8, 101), Err(RejectReason::UnknownOrder));
        assert_eq!(replace(&mut engine, STOCK, 1, 2, 101), Err(RejectReason::DuplicateOrder));
        assert_eq!(replace(&mut engine, STOCK, 1, 2, 102), Err(RejectReason::DuplicateOrder));
        assert_eq!(replace(&mut engine, STOCK, 1, 8, i64::MAX), Err(RejectReason::BadPrice));
        assert_eq!(engine.cancel(InstrumentId(0), 1), Err(RejectReason::UnknownOrder));
        assert!(trades.is_empty());
        assert_eq!(queue(&engine, STOCK, Side::Buy).len() + queue(&engine, STOCK, Side::Sell).len(), 2);
        assert_eq!(engine.books().order(1).map(|r| r.quantity), Some(Quantity(10)));
    }

    #[test]
    fn full_books_refuse_what_would_rest_and_still_match() {
        let mut engine = MatchingEngine::new(1, Capacity { orders: 2, levels: 2 });
        let mut trades = Vec::new();
        let order = |order, side, price| Incoming { instrument: InstrumentId(0), ..incoming(order, side, price, 10) };
        engine.submit(order(1, Side::Sell, 100), &mut trades).expect("room for one");
        engine.submit(order(2, Side::Sell, 101), &mut trades).expect("room for two");
        assert_eq!(engine.submit(order(3, Side::Sell, 102), &mut trades), Err(RejectReason::Full));
        let bid = Incoming { quantity: Quantity(15), ..order(4, Side::Buy, 100) };
        assert_eq!(
            engine.submit(bid, &mut trades),
            Ok(Outcome { traded: Quantity(10), resting: Quantity(5) }),
            "the order it consumed leaves room for what rests of it"
        );
    }
}
