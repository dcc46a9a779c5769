//! What must hold whatever history and our orders do: random valid flow against the order-level and quote models.

use crate::{Books, Capacity, Config, Decay, Delay, Impact, SelfTrade, Venue};
use helios_book::Resting;
use helios_types::{
    BookRef, Instrument, InstrumentId, Market, Nanos, Order, OrderId, Output, Price, Quantity, Report, ReportKind,
    Side, StrategyId, Terms, TimeInForce, TradeKind, TradingStatus, Update,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const X: InstrumentId = InstrumentId(0);
const TICK: i64 = 10_000_000;

/// What else the venue does, by its bits: latencies that are drawn; trades of ours that move prices.
type Extras = u8;

fn settings(order_latency_ns: u64, report_latency_ns: u64, extras: Extras) -> Config {
    let delay = |ns: u64| match extras & 1 {
        0 => Delay::Constant(ns),
        _ => Delay::LogNormal { minimum_ns: ns, median_ns: ns + 2, p99_ns: ns + 20, seed: ns },
    };
    let decays = vec![Decay { amplitude: 0.003, lifetime_ns: 20 }, Decay { amplitude: 0.001, lifetime_ns: 500 }];
    let (volume, exponent, permanent, maker) = (Quantity::whole(5), 0.5, 0.0002, 0.25);
    let impact = Impact { decays, permanent, exponent, volume, maker };
    Config {
        order_latency: delay(order_latency_ns),
        report_latency: delay(report_latency_ns),
        impacts: if extras & 2 == 0 { BTreeMap::new() } else { BTreeMap::from([(X, impact)]) },
        ..Config::default()
    }
}

fn venue(order_latency_ns: u64, report_latency_ns: u64, extras: Extras) -> Venue {
    venue_with(settings(order_latency_ns, report_latency_ns, extras))
}

fn venue_with(config: Config) -> Venue {
    let listed = Instrument { symbol: "X".to_owned(), tick: Price(TICK), lot: Quantity::whole(1) };
    Venue::new(&[listed], config)
}

const MODES: [SelfTrade; 4] =
    [SelfTrade::CancelNewest, SelfTrade::CancelOldest, SelfTrade::CancelBoth, SelfTrade::Decrement];

/// Terms and life time for an order of this quantity, near a price in ticks; some of them exclude one another.
fn dress(order: &mut Order, (kind, amount): (u8, u8), near: i64) {
    let stop = ticks(near + i64::from(amount % 7) - 3);
    let peak = Quantity::whole(1 + i64::from(amount) % (order.quantity.0 / Quantity::whole(1).0));
    let terms = &mut order.terms;
    match kind % 16 {
        0 => terms.post_only = true,
        1 | 2 => terms.display = Quantity::ZERO,
        3 | 4 => terms.display = peak,
        5 | 6 => terms.midpoint = true,
        7 => (terms.midpoint, order.price) = (true, Price::UNDEFINED),
        8 => terms.stop = stop,
        9 => (terms.stop, terms.display) = (stop, peak),
        10 => order.time_in_force = TimeInForce::Fok,
        11 => order.time_in_force = TimeInForce::Open,
        12 => (terms.post_only, terms.display) = (true, peak),
        _ => {}
    }
}

fn ticks(n: i64) -> Price {
    Price(n * TICK)
}

/// Raw material of one step; what it becomes depends on the state.
type Dice = (u8, u8, u8, u8);

fn side_of(die: u8) -> Side {
    if die.is_multiple_of(2) { Side::Buy } else { Side::Sell }
}

/// An exchange without us, kept as simply as possible: what history says. Orders in order of arrival.
#[derive(Default)]
struct History {
    orders: Vec<(BookRef, Side, i64, i64)>,
    last: BookRef,
    /// Quantity with which each order was displayed.
    shown: BTreeMap<BookRef, i64>,
    /// The first order of each order's chain of replaces.
    root: BTreeMap<BookRef, BookRef>,
    /// By first order: all quantity that its owner ever added.
    offered: BTreeMap<BookRef, i64>,
    /// Aggressors are shown as one trade, without the names of whom they met.
    unnamed: bool,
}

impl History {
    /// Best price of a side, or far away.
    fn best(&self, side: Side) -> i64 {
        let prices = self.orders.iter().filter(|order| order.1 == side).map(|order| order.2);
        match side {
            Side::Buy => prices.max().unwrap_or(980),
            Side::Sell => prices.min().unwrap_or(1_020),
        }
    }

    /// A price of `side` that crosses nothing of history, near the touch.
    fn passive(&self, side: Side, die: u8) -> i64 {
        let depth = i64::from(die % 6);
        match side {
            Side::Buy => (self.best(Side::Sell) - 1 - depth).max(1),
            Side::Sell => self.best(Side::Buy) + 1 + depth,
        }
    }

    fn add(&mut self, side: Side, price: i64, quantity: i64) -> BookRef {
        self.last += 1;
        self.orders.push((self.last, side, price, quantity));
        self.shown.insert(self.last, quantity);
        self.root.insert(self.last, self.last);
        self.offered.insert(self.last, quantity);
        self.last
    }

    fn take(&mut self, at: usize, quantity: i64) -> BookRef {
        let order = self.orders[at].0;
        self.orders[at].3 -= quantity;
        if self.orders[at].3 == 0 {
            self.orders.remove(at);
        }
        order
    }

    /// One step of valid history: the events that a feed would show.
    fn step(&mut self, (what, a, b, c): Dice) -> Vec<Update> {
        let (side, quantity) = (side_of(a), 1 + i64::from(c % 9));
        let any = usize::from(b) % self.orders.len().max(1);
        match what % 10 {
            0..=3 => {
                let price = self.passive(side, b);
                let order = self.add(side, price, quantity);
                vec![Update::Add { order, side, price: ticks(price), quantity: Quantity::whole(quantity) }]
            }
            4 | 5 => {
                let met = self.aggress(side, 3 * quantity);
                if self.unnamed {
                    sweep(side, &met).into_iter().collect()
                } else {
                    met.into_iter().map(|x| x.0).collect()
                }
            }
            6 if !self.orders.is_empty() => {
                let quantity = quantity.min(self.orders[any].3);
                let order = self.take(any, quantity);
                vec![Update::Reduce { order, quantity: Quantity::whole(quantity) }]
            }
            7 if !self.orders.is_empty() => vec![Update::Delete { order: self.orders.remove(any).0 }],
            8 if !self.orders.is_empty() => {
                let (order, side, _, old) = self.orders.remove(any);
                let price = self.passive(side, c);
                let new_order = self.add(side, price, quantity);
                let root = self.root[&order];
                self.root.insert(new_order, root);
                *self.offered.get_mut(&root).expect("a root was added") += (quantity - old).max(0);
                let (price, quantity) = (ticks(price), Quantity::whole(quantity));
                vec![Update::Replace { order, new_order, price, quantity }]
            }
            9 => {
                let (bid, ask) = (self.best(Side::Buy), self.best(Side::Sell));
                let price = ticks(bid + i64::from(b) % (ask - bid + 1).max(1));
                let aggressor = if c.is_multiple_of(3) { None } else { Some(side) };
                let (quantity, kind) = (Quantity::whole(quantity), TradeKind::Hidden);
                vec![Update::Trade { price, quantity, aggressor, kind, trade: 0 }]
            }
            _ => vec![],
        }
    }

    /// A buyer or seller sweeps the other side, best price first, first in first out; with the price of each execution.
    fn aggress(&mut self, side: Side, mut quantity: i64) -> Vec<(Update, i64)> {
        let mut updates = Vec::new();
        while quantity > 0 {
            let best = self.best(side.opposite());
            let front = self.orders.iter().position(|order| order.1 == side.opposite() && order.2 == best);
            let Some(at) = front else { break };
            let met = quantity.min(self.orders[at].3);
            let order = self.take(at, met);
            updates.push((Update::Execute { order, quantity: Quantity::whole(met), trade: 0 }, best));
            quantity -= met;
        }
        updates
    }
}

/// Executions of one aggressor as one trade that names nobody; its price is the last and worst.
fn sweep(aggressor: Side, met: &[(Update, i64)]) -> Option<Update> {
    let quantity = Quantity(met.iter().map(|(update, _)| offered(update)).sum());
    let price = ticks(met.last()?.1);
    Some(Update::Trade { price, quantity, aggressor: Some(aggressor), kind: TradeKind::Displayed, trade: 0 })
}

/// Our side of the story, from reports alone.
#[derive(Default)]
struct Ours {
    sent: BTreeMap<OrderId, Order>,
    /// Total and limit in force, filled, and whether it is done; from acceptance on.
    working: BTreeMap<OrderId, (Quantity, Price, i64, bool)>,
    bought: i64,
    sold: i64,
    last: Nanos,
    /// Orders have terms.
    terms: bool,
}

impl Ours {
    fn request(&mut self, (what, a, b, c): Dice, mid: i64) -> Output {
        let id = OrderId(1 + u64::from(b) % (self.sent.len() as u64 + 1));
        let quantity = Quantity::whole(1 + i64::from(c % 12));
        let price = ticks(mid + i64::from(a % 9) - 4);
        match what % 8 {
            0 => Output::Cancel { order: id, instrument: X },
            1 | 2 => Output::Replace { order: id, instrument: X, quantity, price },
            kind => {
                let mut order = Order {
                    id: OrderId(self.sent.len() as u64 + 1),
                    strategy: StrategyId(0),
                    instrument: X,
                    side: side_of(b),
                    quantity,
                    price: if kind == 3 { Price::UNDEFINED } else { price },
                    time_in_force: if kind == 4 { TimeInForce::Ioc } else { TimeInForce::Day },
                    terms: Terms::PLAIN,
                };
                if self.terms {
                    dress(&mut order, (c, a), mid);
                }
                self.sent.insert(order.id, order);
                Output::Submit(order)
            }
        }
    }

    /// Books reports; returns the quantity filled in them.
    fn read(&mut self, reports: &[(Nanos, Report)]) -> i64 {
        let mut filled_now = 0;
        for (arrival, report) in reports {
            assert!(*arrival >= self.last && *arrival >= report.ts_event, "reports arrive in time order");
            self.last = *arrival;
            let order = self.sent.get(&report.order);
            let state = self.working.get_mut(&report.order);
            match (report.kind, state) {
                (ReportKind::Accepted { .. }, None) => {
                    let order = order.expect("only orders that were sent are accepted");
                    self.working.insert(order.id, (order.quantity, order.price, 0, false));
                }
                (ReportKind::Rejected { .. }, None) | (ReportKind::ChangeRejected { .. }, _) => {}
                (ReportKind::Filled { price, quantity, .. }, Some((total, limit, filled, done @ false))) => {
                    *filled += quantity.0;
                    filled_now += quantity.0;
                    *done = *filled == total.0;
                    assert!(quantity.0 > 0 && *filled <= total.0, "never more than the order");
                    let side = order.expect("it was sent").side;
                    let worse = if side == Side::Buy { price > *limit } else { price < *limit };
                    assert!(!limit.is_defined() || !worse, "never worse than the limit");
                    *(if side == Side::Buy { &mut self.bought } else { &mut self.sold }) += quantity.0;
                }
                (ReportKind::Replaced { quantity, price }, Some((total, limit, filled, false))) => {
                    assert!(quantity.0 > *filled, "a replace leaves something to do");
                    (*total, *limit) = (quantity, price);
                }
                (ReportKind::Cancelled { .. }, Some((.., done @ false))) => *done = true,
                (kind, state) => panic!("{kind:?} does not follow {state:?}"),
            }
        }
        filled_now
    }
}

/// Most that an event of history can give to orders of ours that rest.
fn offered(update: &Update) -> i64 {
    match *update {
        Update::Add { quantity, .. } | Update::Execute { quantity, .. } | Update::Replace { quantity, .. } => {
            quantity.0
        }
        Update::Trade { quantity, kind: TradeKind::Cross, .. } => quantity.0 / 10,
        Update::Trade { quantity, .. } => quantity.0,
        _ => 0,
    }
}

/// The venue's account against history's, order by order.
fn check_accounts(venue: &Venue, history: &History) {
    let mut met: BTreeMap<BookRef, i64> = BTreeMap::new();
    for (_, stranger, quantity) in &venue.replay.met {
        *met.entry(*stranger).or_default() += quantity.0;
    }
    for (order, shown) in &history.shown {
        let told = history.orders.iter().find(|(number, ..)| number == order).map_or(0, |(.., left)| *left);
        let (here, left) = venue.replay.accounts(X, *order);
        assert_eq!(left, Quantity::whole(told), "what order {order} has left in history");
        let ours = met.get(order).copied().unwrap_or(0);
        assert!(ours + here.0 <= Quantity::whole(*shown).0, "no share of order {order} is used twice");
    }
    let mut by_owner: BTreeMap<BookRef, i64> = BTreeMap::new();
    for (order, quantity) in met {
        *by_owner.entry(history.root[&order]).or_default() += quantity;
    }
    for (root, quantity) in by_owner {
        let offered = Quantity::whole(history.offered[&root]).0;
        assert!(quantity <= offered, "the owner of order {root} gave {quantity}, but offered {offered}");
    }
    for (number, working) in venue.desk.open() {
        let terms = working.order.terms;
        let unseen = terms.midpoint || terms.display.is_zero() || working.asleep || working.is_for_auction();
        let Some(resting) = venue.books().order(number) else {
            assert!(unseen, "an open order rests in the book: {working:?}");
            continue;
        };
        assert!(!unseen, "what nobody sees is not in the book: {working:?}");
        assert!(resting.quantity <= working.left() && resting.quantity <= terms.display, "book and desk agree");
        assert!(terms.display != Terms::ALL || resting.quantity == working.left(), "all of it is displayed");
        assert_eq!(resting.price, working.order.price);
    }
}

/// The queues of a side, without ours: best price first, first in first out.
fn strangers(books: &Books, side: Side) -> Vec<Resting> {
    let queues = books.depth(X, side).flat_map(|level| books.queue(X, side, level.price));
    queues.filter(|resting| !crate::is_ours(resting.order)).collect()
}

/// Runs the dice; the reports are the outcome.
fn play(dice: &[(Dice, u8)], config: &Config, terms: bool, unnamed: bool) -> Vec<(Nanos, Report)> {
    let mut venue = venue_with(config.clone());
    let mut history = History { unnamed, ..History::default() };
    let (mut ours, mut now) = (Ours { terms, ..Ours::default() }, Nanos(1));
    let (mut all, mut fills, mut trading) = (Vec::new(), 0, true);
    for ((die, wait), index) in dice.iter().zip(0..) {
        now = now.plus(u64::from(wait % 3));
        let mut reports = Vec::new();
        if wait.is_multiple_of(16) {
            trading = !trading;
            let status = if trading { TradingStatus::Trading } else { TradingStatus::Halted };
            venue.market(&Market { instrument: X, ts_event: now, update: Update::Status(status) });
        }
        if wait % 5 < 2 {
            let mid = (history.best(Side::Buy) + history.best(Side::Sell)) / 2;
            venue.submit(now, &ours.request(*die, mid));
            venue.advance(now, &mut reports);
        } else {
            venue.advance(now, &mut reports);
            let mut updates = history.step(*die);
            if wait.is_multiple_of(32) {
                let (price, quantity) = (ticks(history.best(Side::Sell)), Quantity::whole(i64::from(die.3)));
                updates.push(Update::Trade { price, quantity, aggressor: None, kind: TradeKind::Cross, trade: 0 });
            }
            for update in updates {
                let before = venue.desk.filled_so_far();
                venue.market(&Market { instrument: X, ts_event: now, update });
                let got = venue.desk.filled_so_far() - before;
                assert!(got <= offered(&update), "step {index}: {got} from {update:?}");
                let auction = matches!(update, Update::Trade { kind: TradeKind::Cross, .. });
                assert!(trading || got == 0 || auction, "step {index}: a fill in a halt");
            }
            venue.advance(now, &mut reports);
        }
        fills += ours.read(&reports);
        all.extend(reports);
        assert!(
            venue.replay.taken_count() <= history.orders.len(),
            "step {index}: accounts of orders that are no more"
        );
        assert_eq!(venue.counts(), crate::Counts::default(), "step {index}: valid history is not refused");
        assert!(!trading || !venue.books().top(X).is_crossed(), "step {index}: the book is not crossed");
        check_accounts(&venue, &history);
    }
    let mut reports = Vec::new();
    venue.advance(now.plus(1_000), &mut reports);
    fills += ours.read(&reports);
    all.extend(reports);
    assert_eq!(fills, ours.bought + ours.sold);
    assert_eq!(fills, venue.desk.filled_so_far(), "every fill is reported once");
    all
}

/// Numbers of ours in the textbook queue begin here.
const OURS: BookRef = 1 << 32;

/// One order of the textbook queue, in ticks and units.
#[derive(Clone, Debug)]
struct Row {
    number: BookRef,
    side: Side,
    price: i64,
    /// Displayed; of a hidden order, what is left.
    shown: i64,
    /// An iceberg's rest, and its peak.
    reserve: i64,
    peak: i64,
    hidden: bool,
}

impl Row {
    fn stranger(number: BookRef, side: Side, price: i64, shown: i64) -> Self {
        Self { number, side, price, shown, reserve: 0, peak: 0, hidden: false }
    }

    fn is_ours(&self) -> bool {
        self.number > OURS
    }
}

/// The textbook queue: one list in order of arrival, in which ours stand among the others. Nobody takes.
#[derive(Default)]
struct Textbook(Vec<Row>);

impl Textbook {
    /// Our orders that a newcomer of `side` at this price would cross.
    fn crossed(&self, side: Side, price: Price) -> Vec<BookRef> {
        let reaches = |limit: i64| side.sign() * (price.0 / TICK - limit) >= 0;
        let ours = self.0.iter().filter(|row| row.is_ours() && row.side != side && reaches(row.price));
        ours.map(|row| row.number).collect()
    }

    /// History moves on; returns what our orders fill, best priority first.
    fn follow(&mut self, update: &Update) -> Vec<(BookRef, i64)> {
        let units = |quantity: Quantity| quantity.0 / Quantity::whole(1).0;
        let mut fills = Vec::new();
        match *update {
            Update::Add { order, side, price, quantity } => {
                self.0.push(Row::stranger(order, side, price.0 / TICK, units(quantity)));
            }
            Update::Execute { order, quantity, .. } => fills = self.execute(order, units(quantity)),
            Update::Trade { aggressor: Some(side), price, quantity, kind: TradeKind::Displayed, .. } => {
                fills = self.sweep(side.opposite(), price.0 / TICK, units(quantity));
            }
            Update::Reduce { order, quantity } => self.find(order).shown -= units(quantity),
            Update::Delete { order } => self.find(order).shown = 0,
            Update::Replace { order, new_order, price, quantity } => {
                let old = self.find(order);
                let side = old.side;
                old.shown = 0;
                self.0.push(Row::stranger(new_order, side, price.0 / TICK, units(quantity)));
            }
            _ => {}
        }
        self.0.retain(|row| row.shown > 0);
        fills
    }

    fn find(&mut self, order: BookRef) -> &mut Row {
        self.0.iter_mut().find(|row| row.number == order).expect("it stands in the list")
    }

    /// One aggressor meets the whole queue; strangers also give what it met of them in history.
    fn sweep(&mut self, side: Side, limit: i64, quantity: i64) -> Vec<(BookRef, i64)> {
        let within = |row: &Row| row.side == side && side.sign() * (row.price - limit) >= 0;
        // What strangers gave here; what they gave by history's account follows.
        let (mut left, mut given, mut fills) = (quantity, BTreeMap::<BookRef, i64>::new(), Vec::new());
        while left > 0 {
            let has = |row: &Row| row.shown - given.get(&row.number).copied().unwrap_or(0);
            let rank = |(index, row): &(usize, &Row)| (-side.sign() * row.price, row.hidden, *index);
            let reached = self.0.iter().enumerate().filter(|(_, row)| within(row) && has(row) > 0);
            let Some((index, row)) = reached.min_by_key(rank) else { break };
            let met = left.min(has(row));
            left -= met;
            if row.is_ours() {
                fills.push((row.number - OURS, met));
                self.fill(index, met);
            } else {
                *given.entry(row.number).or_default() += met;
            }
        }
        let mut queue: Vec<_> = self.0.iter_mut().filter(|row| within(row) && !row.is_ours()).collect();
        queue.sort_by_key(|row| -side.sign() * row.price);
        let mut told = quantity;
        for row in queue {
            let gone = told.min(row.shown);
            (told, row.shown) = (told - gone, row.shown - gone);
        }
        assert_eq!(told, 0, "history shows what it trades");
        fills
    }

    /// An order of ours trades; an iceberg's next peak goes to the back.
    fn fill(&mut self, index: usize, quantity: i64) {
        self.0[index].shown -= quantity;
        if self.0[index].shown == 0 {
            let mut row = self.0.remove(index);
            row.shown = row.reserve.min(row.peak);
            row.reserve -= row.shown;
            if row.shown > 0 {
                self.0.push(row);
            }
        }
    }

    /// Ours with priority over `met` trade first, peak after peak; then `met` itself.
    fn execute(&mut self, met: BookRef, quantity: i64) -> Vec<(BookRef, i64)> {
        let (mut fills, mut left) = (Vec::new(), quantity);
        while left > 0 {
            let at = self.0.iter().position(|row| row.number == met).expect("history speaks of what it displayed");
            let (side, price) = (self.0[at].side, self.0[at].price);
            let before = |(index, row): &(usize, &Row)| {
                let better = side.sign() * (row.price - price);
                row.is_ours() && row.side == side && (better > 0 || better == 0 && !row.hidden && *index < at)
            };
            let rank = |(index, row): &(usize, &Row)| (-side.sign() * row.price, row.hidden, *index);
            let Some((index, _)) = self.0.iter().enumerate().filter(before).min_by_key(rank) else { break };
            let filled = left.min(self.0[index].shown);
            left -= filled;
            fills.push((self.0[index].number - OURS, filled));
            self.fill(index, filled);
        }
        self.find(met).shown -= quantity;
        fills
    }

    /// What an aggressor at that price meets before the order.
    fn ahead(&self, order: BookRef) -> i64 {
        let at = self.0.iter().position(|row| row.number == order).expect("it stands in the list");
        let own = &self.0[at];
        let queue = self.0.iter().enumerate().filter(|(_, row)| row.side == own.side && row.price == own.price);
        let before = queue.filter(|(index, row)| match own.hidden {
            true => !row.hidden || *index < at,
            false => !row.hidden && *index < at,
        });
        before.map(|(_, row)| row.shown).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_used_twice_and_every_account_agrees(
        dice in prop::collection::vec((any::<Dice>(), any::<u8>()), 1..250),
        order_latency in 0u64..4,
        report_latency in 0u64..4,
        extras in 0u8..4,
        unnamed: bool,
    ) {
        let config = settings(order_latency, report_latency, extras);
        let once = play(&dice, &config, false, unnamed);
        prop_assert_eq!(once, play(&dice, &config, false, unnamed), "the same flow gives the same reports");
    }

    #[test]
    fn nothing_is_used_twice_whatever_the_terms(
        dice in prop::collection::vec((any::<Dice>(), any::<u8>()), 1..250),
        order_latency_ns in 0u64..4,
        report_latency_ns in 0u64..4,
        self_trade in prop::sample::select(MODES.as_slice()),
        unnamed: bool,
    ) {
        let (order_latency, report_latency) = (Delay::Constant(order_latency_ns), Delay::Constant(report_latency_ns));
        let config = Config { order_latency, report_latency, self_trade, ..Config::default() };
        let once = play(&dice, &config, true, unnamed);
        prop_assert_eq!(once, play(&dice, &config, true, unnamed), "the same flow gives the same reports");
    }

    #[test]
    fn passive_orders_fill_and_stand_as_in_a_textbook_queue(
        dice in prop::collection::vec((any::<Dice>(), any::<u8>()), 1..250),
        unnamed: bool,
    ) {
        let mut history = History { unnamed, ..History::default() };
        let (mut venue, mut textbook) = (venue(0, 0, 0), Textbook::default());
        let (mut next, mut reports) = (0u64, Vec::new());
        for (((what, a, b, c), wait), now) in dice.into_iter().zip(1..) {
            let now = Nanos(now);
            let side = side_of(a);
            if wait.is_multiple_of(4) && history.orders.iter().any(|order| order.1 == side) {
                // Ours: at the touch or behind it, so that nothing crosses.
                let (price, quantity) = (history.best(side) - side.sign() * i64::from(b % 3), 1 + i64::from(c % 12));
                next += 1;
                let peak = match what % 3 {
                    0 => 0,
                    1 => 1 + i64::from(what) % quantity,
                    _ => quantity,
                };
                let display = if peak == quantity { Terms::ALL } else { Quantity::whole(peak) };
                venue.submit(now, &Output::Submit(Order {
                    id: OrderId(next), strategy: StrategyId(0), instrument: X, side,
                    quantity: Quantity::whole(quantity), price: ticks(price), time_in_force: TimeInForce::Day,
                    terms: Terms { display, ..Terms::PLAIN },
                }));
                let (shown, hidden) = if peak == 0 { (quantity, true) } else { (peak, false) };
                let (number, reserve) = (OURS + next, quantity - shown);
                textbook.0.push(Row { number, side, price, shown, reserve, peak, hidden });
                continue;
            }
            // No hidden prints: the textbook has only displayed orders.
            for update in history.step((what % 9, a, b, c)) {
                let crossed = match update {
                    Update::Add { side, price, .. } => textbook.crossed(side, price),
                    Update::Replace { order, price, .. } => {
                        let side = textbook.find(order).side;
                        textbook.crossed(side, price)
                    }
                    _ => vec![],
                };
                for order in crossed {
                    textbook.0.retain(|row| row.number != order);
                    venue.submit(now, &Output::Cancel { order: OrderId(order - OURS), instrument: X });
                }
                venue.advance(now, &mut reports);
                reports.clear();
                venue.market(&Market { instrument: X, ts_event: now, update });
                venue.advance(now, &mut reports);
                let fills: Vec<_> = reports.iter().filter_map(|(_, report)| match report.kind {
                    ReportKind::Filled { quantity, .. } => Some((report.order.0, quantity.0 / Quantity::whole(1).0)),
                    _ => None,
                }).collect();
                prop_assert_eq!(fills, textbook.follow(&update), "{:?}", update);
                for row in textbook.0.iter().filter(|row| row.is_ours()) {
                    let standing = venue.standing(OrderId(row.number - OURS), X).expect("it rests");
                    prop_assert_eq!(standing.ahead, Quantity::whole(textbook.ahead(row.number)), "{:?} {:?}", row, update);
                    prop_assert_eq!(standing.left, Quantity::whole(row.shown + row.reserve));
                    prop_assert_eq!(standing.price, ticks(row.price));
                }
                prop_assert_eq!(venue.counts(), crate::Counts::default(), "{:?} is not refused", update);
            }
        }
    }

    /// Orders of ours that never trade leave no trace: the book without them is the plain book of history.
    #[test]
    fn without_our_orders_history_is_as_it_was(
        dice in prop::collection::vec((any::<Dice>(), any::<u8>()), 1..200),
        unnamed: bool,
    ) {
        let mut history = History { unnamed, ..History::default() };
        let (mut venue, mut plain) = (venue(0, 0, 0), Books::new(1, Capacity::default()));
        let (mut open, mut next) = (Vec::new(), 0u64);
        for ((die, wait), now) in dice.into_iter().zip(1..) {
            let (now, side) = (Nanos(now), side_of(die.1));
            if wait.is_multiple_of(3) && history.best(Side::Buy) < history.best(Side::Sell) {
                next += 1;
                // At the touch or behind it; replaced at times, which is a place at the back.
                let price = ticks(history.best(side) - side.sign() * i64::from(die.2 % 3));
                let quantity = Quantity::whole(1 + i64::from(die.3 % 12));
                venue.submit(now, &Output::Submit(Order {
                    id: OrderId(next), strategy: StrategyId(0), instrument: X, side, quantity, price,
                    time_in_force: TimeInForce::Day, terms: Terms::PLAIN,
                }));
                open.push(OrderId(next));
            }
            for update in history.step(die) {
                let market = Market { instrument: X, ts_event: now, update };
                // Would one of ours trade? Then they all go before.
                let mut trial = venue.clone();
                trial.market(&market);
                if trial.desk.filled_so_far() > venue.desk.filled_so_far() {
                    for order in open.drain(..) {
                        venue.submit(now, &Output::Cancel { order, instrument: X });
                    }
                }
                venue.market(&market);
                prop_assert_eq!(venue.desk.filled_so_far(), 0);
                plain.apply(X, &update).expect("history is sound");
                for side in [Side::Buy, Side::Sell] {
                    prop_assert_eq!(strangers(venue.books(), side), strangers(&plain, side), "{:?}", update);
                }
                prop_assert_eq!(venue.replay.taken_count(), 0, "nothing was taken");
            }
        }
    }

    #[test]
    fn quotes_never_give_more_than_they_show(
        dice in prop::collection::vec((any::<Dice>(), any::<u8>()), 1..200),
        order_latency in 0u64..4,
        report_latency in 0u64..4,
        terms in any::<bool>(),
        extras in 0u8..4,
    ) {
        let mut venue = venue(order_latency, report_latency, extras);
        let (mut ours, mut now, mut joined) = (Ours { terms, ..Ours::default() }, Nanos(1), 0);
        let mut shown = [(0, 0); 2];
        for ((a, b, c, d), wait) in &dice {
            now = now.plus(u64::from(wait % 3));
            let mut reports = Vec::new();
            if wait.is_multiple_of(3) {
                let mid = 1_000 + i64::from(a % 4);
                let quote = [(mid - i64::from(b % 3) - 1, i64::from(c % 20)), (mid + 1, i64::from(d % 20))];
                for side in 0..2 {
                    // What can be had at most: all of a new price, or what joined at the old one.
                    let (price, size) = quote[side];
                    joined += if price == shown[side].0 { (size - shown[side].1).max(0) } else { size };
                }
                shown = quote;
                let update = Update::Quote {
                    bid: ticks(quote[0].0), bid_quantity: Quantity::whole(quote[0].1),
                    ask: ticks(quote[1].0), ask_quantity: Quantity::whole(quote[1].1),
                };
                venue.market(&Market { instrument: X, ts_event: now, update });
            } else {
                venue.submit(now, &ours.request((*a, *b, *c, *d), 1_000));
            }
            venue.advance(now, &mut reports);
            ours.read(&reports);
            prop_assert!(venue.desk.filled_so_far() <= Quantity::whole(joined).0);
        }
    }
}
