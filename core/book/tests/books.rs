//! The books against a naive oracle: a list of orders, searched from the front.

use helios_book::{BookError, Books, Capacity, Level};
use helios_types::{BookRef, Digest, Hasher, InstrumentId, Load, Price, Quantity, Rng, Save, Side, TradeKind, Update};
use proptest::prelude::*;

const INSTRUMENTS: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Add {
        instrument: u32,
        order: u64,
        buy: bool,
        price: i64,
        quantity: i64,
    },
    Reduce {
        instrument: u32,
        order: u64,
        quantity: i64,
    },
    Remove {
        instrument: u32,
        order: u64,
    },
    Replace {
        instrument: u32,
        order: u64,
        new_order: u64,
        price: i64,
        quantity: i64,
    },
    Trade {
        instrument: u32,
        buy: bool,
        limit: i64,
        quantity: i64,
    },
    Clear {
        instrument: u32,
    },
    Refresh {
        instrument: u32,
        order: u64,
        quantity: i64,
    },
    /// Of the first order of a side, as matching takes.
    Take {
        instrument: u32,
        buy: bool,
        quantity: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    // Few numbers and prices, so that duplicates, unknown orders and shared levels happen all the time;
    // some numbers differ only above bit 32, where the index cannot tell them apart by itself.
    let order = prop_oneof![0u64..40, (0u64..40).prop_map(|n| n | 1 << 40), (0u64..4).prop_map(|n| n << 32)];
    let (instrument, price, quantity) = (0..INSTRUMENTS, 0i64..12, 0i64..5);
    prop_oneof![
        5 => (instrument.clone(), order.clone(), any::<bool>(), price.clone(), quantity.clone()).prop_map(
            |(instrument, order, buy, price, quantity)| Step::Add { instrument, order, buy, price, quantity }),
        3 => (instrument.clone(), order.clone(), quantity.clone())
            .prop_map(|(instrument, order, quantity)| Step::Reduce { instrument, order, quantity }),
        3 => (instrument.clone(), order.clone()).prop_map(|(instrument, order)| Step::Remove { instrument, order }),
        2 => (instrument.clone(), order.clone(), order.clone(), price, quantity.clone()).prop_map(
            |(instrument, order, new_order, price, quantity)| Step::Replace { instrument, order, new_order, price, quantity }),
        2 => (instrument.clone(), any::<bool>(), -1i64..13, 0i64..9)
            .prop_map(|(instrument, buy, limit, quantity)| Step::Trade { instrument, buy, limit, quantity }),
        1 => instrument.clone().prop_map(|instrument| Step::Clear { instrument }),
        2 => (instrument.clone(), order, quantity.clone())
            .prop_map(|(instrument, order, quantity)| Step::Refresh { instrument, order, quantity }),
        2 => (instrument, any::<bool>(), quantity)
            .prop_map(|(instrument, buy, quantity)| Step::Take { instrument, buy, quantity }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Plain {
    instrument: u32,
    order: BookRef,
    side: Side,
    price: i64,
    quantity: i64,
}

/// All orders in time order; price order is found by looking.
#[derive(Default)]
struct Oracle(Vec<Plain>);

impl Oracle {
    fn own(&self, instrument: u32, order: u64) -> Result<usize, BookError> {
        let at = self.0.iter().position(|o| o.order == order).ok_or(BookError::UnknownOrder)?;
        if self.0[at].instrument == instrument { Ok(at) } else { Err(BookError::WrongInstrument) }
    }

    fn run(&mut self, step: &Step) -> Result<(), BookError> {
        match *step {
            Step::Add { instrument, order, buy, price, quantity } => {
                if price <= 0 || quantity <= 0 {
                    return Err(BookError::BadValue);
                }
                if self.0.iter().any(|o| o.order == order) {
                    return Err(BookError::DuplicateOrder);
                }
                let side = if buy { Side::Buy } else { Side::Sell };
                self.0.push(Plain { instrument, order, side, price, quantity });
            }
            Step::Reduce { instrument, order, quantity } => {
                let at = self.own(instrument, order)?;
                if quantity <= 0 {
                    return Err(BookError::BadValue);
                }
                if quantity > self.0[at].quantity {
                    return Err(BookError::ExceedsQuantity);
                }
                self.0[at].quantity -= quantity;
                if self.0[at].quantity == 0 {
                    self.0.remove(at);
                }
            }
            Step::Remove { instrument, order } => {
                let at = self.own(instrument, order)?;
                self.0.remove(at);
            }
            Step::Replace { instrument, order, new_order, price, quantity } => {
                let at = self.own(instrument, order)?;
                if price <= 0 || quantity <= 0 {
                    return Err(BookError::BadValue);
                }
                if new_order != order && self.0.iter().any(|o| o.order == new_order) {
                    return Err(BookError::DuplicateOrder);
                }
                let old = self.0.remove(at);
                self.0.push(Plain { order: new_order, price, quantity, ..old });
            }
            Step::Trade { instrument, buy, limit, quantity } => return self.trade(instrument, buy, limit, quantity),
            Step::Clear { instrument } => self.0.retain(|o| o.instrument != instrument),
            Step::Refresh { instrument, order, quantity } => {
                let at = self.own(instrument, order)?;
                if quantity <= 0 {
                    return Err(BookError::BadValue);
                }
                let old = self.0.remove(at);
                self.0.push(Plain { quantity, ..old });
            }
            Step::Take { instrument, buy, quantity } => {
                let side = if buy { Side::Buy } else { Side::Sell };
                let best = self.depth(instrument, side).first().map(|level| level.price.0);
                let Some(front) = best.map(|price| self.queue(instrument, side, price)[0]) else { return Ok(()) };
                if quantity <= 0 || quantity > front.quantity {
                    return Err(BookError::ExceedsQuantity);
                }
                return self.run(&Step::Reduce { instrument, order: front.order, quantity });
            }
        }
        Ok(())
    }

    /// Takes from the resting bids (`buy`) or asks, share by share.
    fn trade(&mut self, instrument: u32, buy: bool, limit: i64, quantity: i64) -> Result<(), BookError> {
        if limit <= 0 || quantity <= 0 {
            return Err(BookError::BadValue);
        }
        let side = if buy { Side::Buy } else { Side::Sell };
        let reaches = |o: &Plain| {
            o.instrument == instrument && o.side == side && if buy { o.price >= limit } else { o.price <= limit }
        };
        match self.0.iter().filter(|o| reaches(o)).map(|o| o.quantity).sum::<i64>() {
            0 => return Err(BookError::UnknownOrder),
            there if there < quantity => return Err(BookError::ExceedsQuantity),
            _ => {}
        }
        for _ in 0..quantity {
            let prices = self.0.iter().filter(|o| reaches(o)).map(|o| o.price);
            let best = if buy { prices.max() } else { prices.min() };
            let front =
                self.0.iter_mut().find(|o| o.instrument == instrument && o.side == side && Some(o.price) == best);
            front.expect("as much was just counted").quantity -= 1;
            self.0.retain(|o| o.quantity > 0);
        }
        Ok(())
    }

    fn depth(&self, instrument: u32, side: Side) -> Vec<Level> {
        let mut prices: Vec<i64> =
            self.0.iter().filter(|o| o.instrument == instrument && o.side == side).map(|o| o.price).collect();
        prices.sort_unstable();
        prices.dedup();
        if side == Side::Buy {
            prices.reverse();
        }
        prices
            .into_iter()
            .map(|price| {
                let orders = self.queue(instrument, side, price);
                Level {
                    price: Price(price),
                    quantity: Quantity(orders.iter().map(|o| o.quantity).sum()),
                    orders: orders.len() as u32,
                }
            })
            .collect()
    }

    fn queue(&self, instrument: u32, side: Side, price: i64) -> Vec<Plain> {
        self.0.iter().copied().filter(|o| o.instrument == instrument && o.side == side && o.price == price).collect()
    }
}

fn run(books: &mut Books, step: &Step) -> Result<(), BookError> {
    match *step {
        Step::Add { instrument, order, buy, price, quantity } => {
            let (instrument, side) = (InstrumentId(instrument), if buy { Side::Buy } else { Side::Sell });
            if price > 0 && quantity > 0 {
                assert_eq!(books.room(instrument, side, Price(price), Quantity(quantity)), Ok(()));
                assert_eq!(books.room(instrument, side, Price(price), Quantity(i64::MAX)).is_ok(), {
                    !books.depth(instrument, side).any(|level| level.price == Price(price))
                });
            }
            books.add(instrument, order, side, Price(price), Quantity(quantity)).map(drop)
        }
        Step::Reduce { instrument, order, quantity } => {
            books.reduce(InstrumentId(instrument), order, Quantity(quantity)).map(drop)
        }
        Step::Remove { instrument, order } => books.remove(InstrumentId(instrument), order).map(drop),
        Step::Replace { instrument, order, new_order, price, quantity } => {
            books.replace(InstrumentId(instrument), order, new_order, Price(price), Quantity(quantity)).map(drop)
        }
        Step::Trade { instrument, buy, limit, quantity } => {
            let (aggressor, price) = (if buy { Side::Sell } else { Side::Buy }, Price(limit));
            let (quantity, kind) = (Quantity(quantity), TradeKind::Displayed);
            let trade = Update::Trade { price, quantity, aggressor: Some(aggressor), kind, trade: 0 };
            books.apply(InstrumentId(instrument), &trade).map(drop)
        }
        Step::Clear { instrument } => {
            books.clear(InstrumentId(instrument));
            Ok(())
        }
        Step::Refresh { instrument, order, quantity } => {
            books.refresh(InstrumentId(instrument), order, Quantity(quantity)).map(drop)
        }
        Step::Take { instrument, buy, quantity } => {
            let side = if buy { Side::Buy } else { Side::Sell };
            match books.front_in_slot(InstrumentId(instrument), side) {
                Some((_, slot)) => books.reduce_in_slot(slot, Quantity(quantity)).map(drop),
                None => Ok(()),
            }
        }
    }
}

fn digest(books: &Books) -> u128 {
    let mut hasher = Hasher::new();
    books.digest(&mut hasher);
    hasher.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_oracle_after_every_step(steps in prop::collection::vec(step(), 1..300)) {
        let mut books = Books::new(INSTRUMENTS as usize, Capacity::default());
        let mut oracle = Oracle::default();
        for step in &steps {
            let tops: Vec<_> = (0..INSTRUMENTS).map(|i| books.top(InstrumentId(i))).collect();
            let before = digest(&books);
            let (ours, theirs) = (run(&mut books, step), oracle.run(step));
            prop_assert_eq!(ours, theirs, "{:?}", step);
            if ours.is_err() {
                prop_assert_eq!(before, digest(&books), "a refused change must change nothing: {:?}", step);
                for (i, top) in tops.iter().enumerate() {
                    prop_assert_eq!(*top, books.top(InstrumentId(i as u32)));
                }
            }
            prop_assert_eq!(books.len(), oracle.0.len());
            for instrument in 0..INSTRUMENTS {
                let id = InstrumentId(instrument);
                for side in [Side::Buy, Side::Sell] {
                    let depth = oracle.depth(instrument, side);
                    prop_assert_eq!(&books.depth(id, side).collect::<Vec<_>>(), &depth);
                    prop_assert_eq!(books.best(id, side), depth.first().copied().unwrap_or(Level::EMPTY));
                    for level in &depth {
                        let queue: Vec<_> = books.queue(id, side, level.price).map(|o| (o.order, o.quantity.0)).collect();
                        let want: Vec<_> =
                            oracle.queue(instrument, side, level.price.0).iter().map(|o| (o.order, o.quantity)).collect();
                        prop_assert_eq!(queue, want);
                    }
                }
            }
        }
    }

    #[test]
    fn top_changed_is_told_exactly(steps in prop::collection::vec(step(), 1..300)) {
        let mut books = Books::new(INSTRUMENTS as usize, Capacity::default());
        for step in &steps {
            let (instrument, replaces) = match *step {
                Step::Add { instrument, .. } | Step::Reduce { instrument, .. } | Step::Remove { instrument, .. } => (instrument, false),
                Step::Replace { instrument, .. } | Step::Refresh { instrument, .. } => (instrument, true),
                Step::Trade { instrument, .. } => (instrument, false),
                Step::Clear { .. } | Step::Take { .. } => continue,
            };
            let id = InstrumentId(instrument);
            let before = books.top(id);
            let change = match *step {
                Step::Add { order, buy, price, quantity, .. } => {
                    books.add(id, order, if buy { Side::Buy } else { Side::Sell }, Price(price), Quantity(quantity))
                }
                Step::Reduce { order, quantity, .. } => books.reduce(id, order, Quantity(quantity)),
                Step::Remove { order, .. } => books.remove(id, order),
                Step::Replace { order, new_order, price, quantity, .. } => {
                    books.replace(id, order, new_order, Price(price), Quantity(quantity))
                }
                Step::Trade { buy, limit, quantity, .. } => {
                    books.trade(id, if buy { Side::Buy } else { Side::Sell }, Price(limit), Quantity(quantity))
                }
                Step::Refresh { order, quantity, .. } => books.refresh(id, order, Quantity(quantity)),
                Step::Clear { .. } | Step::Take { .. } => unreachable!("skipped above"),
            };
            if let Ok(change) = change {
                let changed = before != books.top(id);
                // A replace or a refresh may give the best level the same price, quantity and count again.
                prop_assert!(change.top_changed == changed || (replaces && change.top_changed), "{:?}", step);
            }
        }
    }
}

#[test]
fn orders_without_a_price_rank_last_and_are_no_best_price() {
    let mut books = Books::new(1, Capacity::default());
    let id = InstrumentId(0);
    books.add(id, 1, Side::Buy, Price::UNDEFINED, Quantity(5)).unwrap();
    assert_eq!(books.best(id, Side::Buy), Level::EMPTY);
    books.add(id, 2, Side::Buy, Price(10), Quantity(7)).unwrap();
    assert_eq!(books.best(id, Side::Buy).price, Price(10));
    assert_eq!(books.depth(id, Side::Buy).count(), 1);
    books.remove(id, 1).unwrap();
    assert_eq!(books.len(), 1);
}

#[test]
fn a_full_table_refuses_and_keeps_what_it_has() {
    let mut books = Books::new(1, Capacity { orders: 2, levels: 2 });
    let id = InstrumentId(0);
    books.add(id, 1, Side::Buy, Price(10), Quantity(1)).unwrap();
    books.add(id, 2, Side::Buy, Price(10), Quantity(1)).unwrap();
    assert_eq!(books.add(id, 3, Side::Buy, Price(10), Quantity(1)), Err(BookError::Full));
    books.replace(id, 1, 3, Price(11), Quantity(1)).unwrap();
    assert_eq!(books.best(id, Side::Buy).price, Price(11));
    assert_eq!(books.len(), 2);
}

#[test]
fn a_level_whose_sum_would_overflow_refuses_the_order() {
    let mut books = Books::new(1, Capacity::default());
    let id = InstrumentId(0);
    books.add(id, 1, Side::Sell, Price(10), Quantity(i64::MAX)).unwrap();
    assert_eq!(books.add(id, 2, Side::Sell, Price(10), Quantity(1)), Err(BookError::BadValue));
    assert_eq!(books.best(id, Side::Sell).orders, 1);
    books.add(id, 3, Side::Sell, Price(11), Quantity(1)).unwrap();
    assert_eq!(books.replace(id, 3, 4, Price(10), Quantity(1)), Err(BookError::BadValue));
    assert_eq!(books.order(3).map(|o| o.price), Some(Price(11)));
}

/// A day in miniature: orders come and go at changing prices around a moving centre.
fn churn(books: &mut Books, from: u64, steps: u64) {
    for n in from..from + steps {
        let id = InstrumentId((n % 3) as u32);
        let side = if n % 2 == 0 { Side::Buy } else { Side::Sell };
        let price = Price(1_000_000 + (n * 7919 % 97) as i64 * if side == Side::Buy { -100 } else { 100 });
        books.add(id, n, side, price, Quantity(100)).unwrap();
        if n >= 500 {
            let old = n - 500;
            let id = InstrumentId((old % 3) as u32);
            if old % 5 == 0 {
                books.reduce(id, old, Quantity(40)).unwrap();
            }
            books.remove(id, old).unwrap();
        }
    }
}

#[test]
fn a_warm_book_allocates_nothing() {
    let mut books = Books::new(3, Capacity::default());
    churn(&mut books, 0, 20_000);
    let info = allocation_counter::measure(|| churn(&mut books, 20_000, 20_000));
    assert_eq!((info.count_total, books.len()), (0, 500), "40,000 changes on a warm book");
}

/// Changes of levels: side, price, quantity (often zero), now and then a clear.
fn level_change() -> impl Strategy<Value = (bool, i64, i64)> {
    (any::<bool>(), 1i64..60, prop_oneof![1 => Just(0i64), 3 => 1i64..9])
}

proptest! {
    /// A sorted map is the oracle; a level that crosses removes what it crosses.
    #[test]
    fn levels_without_orders_equal_a_sorted_map(
        changes in prop::collection::vec(level_change(), 1..400),
        most in prop_oneof![1 => 1u32..40, 1 => Just(1_000)],
    ) {
        let mut books = Books::new(2, Capacity { orders: 1, levels: most });
        let id = InstrumentId(1);
        let mut sides = [std::collections::BTreeMap::new(), std::collections::BTreeMap::new()];
        for (n, (buy, price, quantity)) in changes.into_iter().enumerate() {
            let side = if buy { Side::Buy } else { Side::Sell };
            if n % 131 == 130 {
                books.clear(id);
                sides = Default::default();
            }
            let best = |sides: &[std::collections::BTreeMap<i64, i64>; 2]| {
                let bid = sides[0].last_key_value().map(|(p, q)| (*p, *q));
                (bid, sides[1].first_key_value().map(|(p, q)| (*p, *q)))
            };
            let before = best(&sides);
            let full = sides[0].len() + sides[1].len() == most as usize;
            if quantity > 0 && full && !sides[side as usize].contains_key(&price) {
                let refused = books.set_level(id, side, Price(price), Quantity(quantity));
                prop_assert_eq!(refused, Err(BookError::Full));
                prop_assert_eq!(books.levels(), most as usize);
                continue;
            }
            if quantity == 0 {
                sides[side as usize].remove(&price);
            } else {
                sides[side as usize].insert(price, quantity);
                sides[side.opposite() as usize].retain(|other, _| if buy { *other > price } else { *other < price });
            }
            let after = best(&sides);
            let change = books.set_level(id, side, Price(price), Quantity(quantity)).unwrap();
            let own = |(bid, ask)| if buy { bid } else { ask };
            prop_assert_eq!(change.top_changed || own(before) == own(after), true);
            let shown = |side: Side| -> Vec<(i64, i64)> {
                books.depth(id, side).map(|level| (level.price.0, level.quantity.0)).collect()
            };
            let bids: Vec<_> = sides[0].iter().rev().map(|(p, q)| (*p, *q)).collect();
            let asks: Vec<_> = sides[1].iter().map(|(p, q)| (*p, *q)).collect();
            prop_assert_eq!(shown(Side::Buy), bids);
            prop_assert_eq!(shown(Side::Sell), asks);
            let top = books.top(id);
            let level = |level: Level| level.price.is_defined().then_some((level.price.0, level.quantity.0));
            prop_assert_eq!((level(top.bid), level(top.ask)), after);
            prop_assert_eq!(books.levels(), sides[0].len() + sides[1].len());
            for probe in 1..60 {
                let oracle = sides[side as usize].get(&probe).copied().unwrap_or(0);
                prop_assert_eq!(books.level_quantity(id, side, Price(probe)), Quantity(oracle));
            }
        }
    }
}

#[test]
fn a_level_is_made_of_orders_or_stands_alone() {
    let mut books = Books::new(1, Capacity::default());
    let id = InstrumentId(0);
    books.add(id, 1, Side::Buy, Price(10), Quantity(5)).unwrap();
    assert_eq!(books.set_level(id, Side::Buy, Price(10), Quantity(7)), Err(BookError::BadValue));
    assert_eq!(books.set_level(id, Side::Sell, Price(9), Quantity(7)), Err(BookError::BadValue));
    books.set_level(id, Side::Sell, Price(12), Quantity(7)).unwrap();
    assert_eq!(books.add(id, 2, Side::Sell, Price(12), Quantity(5)), Err(BookError::BadValue));
    assert_eq!((books.order(2), books.front(id, Side::Sell)), (None, None));
    for (side, price, quantity) in [(Side::Buy, 0, 1), (Side::Buy, -1, 1), (Side::Buy, i64::MAX, 1), (Side::Buy, 9, -1)]
    {
        assert_eq!(books.set_level(id, side, Price(price), Quantity(quantity)), Err(BookError::BadValue));
    }
    assert_eq!(books.set_level(InstrumentId(1), Side::Buy, Price(9), Quantity(1)), Err(BookError::WrongInstrument));
    let mut full = Books::new(1, Capacity { orders: 9, levels: 1 });
    full.set_level(id, Side::Buy, Price(10), Quantity(7)).unwrap();
    assert_eq!(full.set_level(id, Side::Buy, Price(9), Quantity(7)), Err(BookError::Full));
    full.set_level(id, Side::Buy, Price(10), Quantity(0)).unwrap();
    full.set_level(id, Side::Buy, Price(9), Quantity(7)).unwrap();
}

#[test]
fn what_is_empty_is_never_the_best() {
    let mut books = Books::new(1, Capacity::default());
    let id = InstrumentId(0);
    books.set_level(id, Side::Buy, Price(9), Quantity(3)).unwrap();
    books.set_level(id, Side::Buy, Price(10), Quantity(3)).unwrap();
    books.add(id, 1, Side::Buy, Price(11), Quantity(5)).unwrap();
    // Behind the best the empty level keeps its place, until the order before it goes.
    books.set_level(id, Side::Buy, Price(10), Quantity(0)).unwrap();
    books.remove(id, 1).unwrap();
    assert_eq!(books.top(id).bid, Level { price: Price(9), quantity: Quantity(3), orders: 1 });
    assert_eq!(books.levels(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Books that come back out of a snapshot go on as those that were there: single orders, levels without orders, empty
    /// ones among them, orders without a price, and tables that are full.
    #[test]
    fn a_snapshot_goes_on_as_what_was_there(seed in any::<u64>(), cut in 0usize..400) {
        let mut rng = Rng::new(seed);
        let capacity = Capacity { orders: 24, levels: 40 };
        let mut books = Books::new(3, capacity);
        let mut twin = None;
        for at in 0..400 {
            if at == cut {
                let mut save = Save::default();
                books.save(&mut save);
                let mut restored = Books::new(3, capacity);
                let mut load = Load(&save.0);
                prop_assert_eq!(restored.restore(&mut load), Ok(()));
                prop_assert_eq!(load.finish(), Ok(()));
                twin = Some(restored);
            }
            let instrument = InstrumentId(rng.below(3) as u32);
            let side = if rng.below(2) == 0 { Side::Buy } else { Side::Sell };
            let (low, high) = if side == Side::Buy { (80, 101) } else { (100, 121) };
            let price = Price::whole(low + rng.below(high - low as u64) as i64);
            let price = if rng.below(20) == 0 { Price::UNDEFINED } else { price };
            let (order, quantity) = (rng.below(40), Quantity(rng.below(4) as i64));
            let update = match rng.below(8) {
                // The second instrument's feed has no single orders; some come all the same.
                _ if instrument.0 == 1 && rng.below(9) > 0 => Update::Depth { side, price, quantity },
                0..5 => Update::Add { order, side, price, quantity },
                5 => Update::Reduce { order, quantity },
                6 => Update::Delete { order },
                _ => Update::Replace { order, new_order: rng.below(40), price, quantity },
            };
            let done = books.apply(instrument, &update);
            if let Some(twin) = &mut twin {
                prop_assert_eq!(twin.apply(instrument, &update), done, "{:?}", update);
                prop_assert_eq!((twin.len(), twin.levels()), (books.len(), books.levels()));
                for id in (0..3).map(InstrumentId) {
                    prop_assert_eq!(twin.top(id), books.top(id));
                }
                let digest = |books: &Books| {
                    let mut hasher = Hasher::new();
                    books.digest(&mut hasher);
                    hasher.finish()
                };
                prop_assert_eq!(digest(twin), digest(&books));
            }
        }
    }
}
