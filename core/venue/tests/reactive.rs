//! A venue with agents in it: what they do without us, and with us.

use helios_book::{Books, Capacity};
use helios_types::{
    BookRef, CancelReason, Instrument, InstrumentId, Liquidity, Nanos, Order, OrderId, Output, Price, Quantity,
    RejectReason, Report, ReportKind, Side, StrategyId, Terms, TimeInForce, Update,
};
use helios_venue::agents::{Config as Agents, OPEN_NS, Simulation};
use helios_venue::{Config, Delay, Venue, is_ours};
use helios_wire::frame::{Frames, Framing};
use helios_wire::itch::{self, Message};
use proptest::prelude::*;
use std::collections::BTreeMap;

const MIDNIGHT: Nanos = Nanos(86_400_000_000_000);
const CENT: i64 = 10_000_000;
const LATENCY: u64 = 50_000;

fn agents(seed: u64) -> Agents {
    Agents { symbols: 2, minutes: 2, seed, group_size: 2, messages_per_symbol_second: 20.0, ..Agents::default() }
}

/// A run by hand: agents and our requests in the order of time, and a stranger's view of the feed.
struct Run {
    venue: Venue,
    frames: Vec<u8>,
    /// Books as the feed tells them.
    books: Books,
    reports: Vec<(Nanos, Report)>,
    last: u64,
    next_id: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let config = Config { order_latency: Delay::Constant(LATENCY), ..Config::default() };
        let simulation = Simulation::new(agents(seed)).expect("valid settings");
        let instruments: Vec<Instrument> = simulation
            .symbols()
            .map(|symbol| Instrument { symbol: symbol.to_owned(), tick: Price(CENT), lot: Quantity::whole(1) })
            .collect();
        let mut venue = Venue::new(&instruments, config);
        venue.go_live(simulation, MIDNIGHT, &instruments).expect("ticks of a cent, no impact");
        let books = Books::new(2, Capacity { orders: 1 << 16, levels: 1 << 16 });
        Self { venue, frames: Vec::new(), books, reports: Vec::new(), last: 0, next_id: 1 }
    }

    /// Everything up to and including `to` happens.
    fn until(&mut self, to: u64) {
        let to = MIDNIGHT.plus(to);
        loop {
            self.listen();
            let due = self.venue.next_due().filter(|due| *due <= to);
            let act = self.venue.next_act().filter(|act| *act <= to);
            match (due, act) {
                (None, None) => break,
                (Some(due), act) if act.is_none_or(|act| due <= act) => self.venue.advance(due, &mut self.reports),
                _ => self.venue.act(),
            }
        }
    }

    /// Reads the feed as a stranger would: books that never refuse a message, time that never goes back.
    fn listen(&mut self) {
        let feed = self.venue.feed().expect("there are agents");
        let new = std::mem::take(feed);
        for bytes in Frames::new(&new, Framing::LengthPrefixed) {
            let message = itch::decode(bytes).expect("a genuine message");
            assert!(message.timestamp() >= self.last, "the feed goes back in time");
            self.last = message.timestamp();
            if let Some(update) = update(&message) {
                let instrument = InstrumentId(u32::from(message.stock_locate()) - 1);
                self.books.apply(instrument, &update).expect("every reference of the feed is good");
            }
        }
        self.frames.extend(new);
    }

    fn order(&mut self, side: Side, shares: i64, price: Price, time_in_force: TimeInForce) -> Order {
        self.next_id += 1;
        Order {
            id: OrderId(self.next_id - 1),
            strategy: StrategyId(0),
            instrument: InstrumentId(0),
            side,
            quantity: Quantity::whole(shares),
            price,
            time_in_force,
            terms: Terms::PLAIN,
        }
    }

    /// Sends an order so that it arrives at `at`, and lets it act.
    fn send(&mut self, at: u64, order: Order) {
        self.until(at - LATENCY);
        self.venue.submit(MIDNIGHT.plus(at - LATENCY), &Output::Submit(order));
        self.until(at + 1_000_000);
    }

    fn mid(&self) -> f64 {
        let top = self.books.top(InstrumentId(0));
        (top.bid.price.to_f64() + top.ask.price.to_f64()) / 2.0
    }

    fn filled(&self, id: u64) -> i64 {
        self.reports
            .iter()
            .filter(|(_, report)| report.order.0 == id)
            .map(|(_, report)| match report.kind {
                ReportKind::Filled { quantity, .. } => quantity.0 / Quantity::whole(1).0,
                _ => 0,
            })
            .sum()
    }

    fn last_report(&self, id: u64) -> ReportKind {
        self.reports.iter().rev().find(|(_, report)| report.order.0 == id).expect("a report").1.kind
    }
}

/// What the message does to a book.
fn update(message: &Message<'_>) -> Option<Update> {
    let whole = |shares: u32| Quantity::whole(i64::from(shares));
    let price = |raw: u32| Price(i64::from(raw) * 100_000);
    let side = |letter: u8| if letter == b'B' { Side::Buy } else { Side::Sell };
    Some(match message {
        Message::AddOrder(m) => Update::Add {
            order: m.order_reference_number(),
            side: side(m.buy_sell_indicator()),
            price: price(m.price()),
            quantity: whole(m.shares()),
        },
        Message::AddOrderMpid(m) => Update::Add {
            order: m.order_reference_number(),
            side: side(m.buy_sell_indicator()),
            price: price(m.price()),
            quantity: whole(m.shares()),
        },
        Message::OrderExecuted(m) => {
            Update::Execute { order: m.order_reference_number(), quantity: whole(m.executed_shares()), trade: 0 }
        }
        Message::OrderExecutedWithPrice(m) => {
            Update::Execute { order: m.order_reference_number(), quantity: whole(m.executed_shares()), trade: 0 }
        }
        Message::OrderCancel(m) => {
            Update::Reduce { order: m.order_reference_number(), quantity: whole(m.canceled_shares()) }
        }
        Message::OrderDelete(m) => Update::Delete { order: m.order_reference_number() },
        Message::OrderReplace(m) => Update::Replace {
            order: m.original_order_reference_number(),
            new_order: m.new_order_reference_number(),
            price: price(m.price()),
            quantity: whole(m.shares()),
        },
        _ => return None,
    })
}

fn simulated(seed: u64) -> Vec<u8> {
    let mut simulation = Simulation::new(agents(seed)).expect("valid settings");
    let mut bytes = Vec::new();
    while simulation.next_chunk(&mut bytes) {}
    bytes
}

const SECOND: u64 = 1_000_000_000;
const END: u64 = OPEN_NS + 200 * SECOND;

#[test]
fn without_us_the_feed_is_what_simulate_writes() {
    for seed in 1..6 {
        let mut run = Run::new(seed);
        run.until(END);
        assert!(run.frames == simulated(seed), "seed {seed}");
        assert_eq!(run.venue.next_act(), None, "the day is over");
    }
}

#[test]
fn a_taker_of_ours_meets_agents_and_prints_on_the_feed() {
    let mut run = Run::new(3);
    let at = OPEN_NS + 30 * SECOND;
    run.until(at - LATENCY - 1);
    let before = run.books.clone();
    let asks: Vec<_> = before.depth(InstrumentId(0), Side::Sell).collect();
    let order = run.order(Side::Buy, 2_000, Price::UNDEFINED, TimeInForce::Ioc);
    run.send(at, order);
    // The reports come at the prices of the book as it stood, best first.
    let mut fills: Vec<(Price, Quantity)> = Vec::new();
    for (_, report) in &run.reports {
        if let ReportKind::Filled { price, quantity, liquidity, .. } = report.kind {
            assert_eq!((liquidity, report.ts_event), (Liquidity::Taker, MIDNIGHT.plus(at)));
            match fills.last_mut() {
                Some((last, sum)) if *last == price => sum.0 += quantity.0,
                _ => fills.push((price, quantity)),
            }
        }
    }
    let mut left = 2_000;
    for (level, (price, quantity)) in asks.iter().zip(&fills) {
        let shares = left.min(level.quantity.0 / Quantity::whole(1).0);
        assert_eq!((*price, *quantity), (level.price, Quantity::whole(shares)));
        left -= shares;
    }
    assert_eq!(left, 0, "the book had this much");
    assert!(fills.len() > 1, "the test is about several levels");
}

#[test]
fn a_resting_order_of_ours_waits_its_turn_and_prints_under_its_number() {
    let mut run = Run::new(4);
    let at = OPEN_NS + 20 * SECOND;
    run.until(at - LATENCY - 1);
    let bid = run.books.top(InstrumentId(0)).bid;
    let order = run.order(Side::Buy, 100, bid.price, TimeInForce::Day);
    run.send(at, order);
    let ReportKind::Accepted { book_ref } = run.reports[0].1.kind else { panic!("{:?}", run.reports) };
    assert!(is_ours(book_ref));
    let standing = run.venue.standing(order.id, InstrumentId(0)).expect("it rests");
    assert_eq!((standing.price, standing.left), (bid.price, Quantity::whole(100)));
    let shown = run.books.order(book_ref).expect("the feed shows it");
    assert_eq!((shown.price, shown.quantity), (bid.price, Quantity::whole(100)));
    // A stranger's view of the queue and the venue's are one.
    let queue: Vec<BookRef> =
        run.books.queue(InstrumentId(0), Side::Buy, bid.price).map(|resting| resting.order).collect();
    assert_eq!(queue.last(), Some(&book_ref), "behind all who were there");
    let ahead: i64 = run
        .books
        .queue(InstrumentId(0), Side::Buy, bid.price)
        .take_while(|resting| resting.order != book_ref)
        .map(|resting| resting.quantity.0)
        .sum();
    assert_eq!(standing.ahead.0, ahead);
    run.until(END);
    let executed: i64 = executions(&run.frames).get(&book_ref).copied().unwrap_or(0);
    assert_eq!(executed, run.filled(order.id.0), "what the feed prints of it, its reports say");
    assert!(executed > 0, "seed 4 trades it; choose another one");
}

/// Shares that the feed prints of each order.
fn executions(frames: &[u8]) -> BTreeMap<BookRef, i64> {
    let mut executions = BTreeMap::new();
    for bytes in Frames::new(frames, Framing::LengthPrefixed) {
        match itch::decode(bytes).expect("a genuine message") {
            Message::OrderExecuted(m) => {
                *executions.entry(m.order_reference_number()).or_default() += i64::from(m.executed_shares());
            }
            Message::OrderExecutedWithPrice(m) => {
                *executions.entry(m.order_reference_number()).or_default() += i64::from(m.executed_shares());
            }
            _ => {}
        }
    }
    executions
}

#[test]
fn a_better_price_of_ours_is_seen_by_agents() {
    // We bid far above what the share is worth: makers and those who know hit us, in seconds.
    let mut run = Run::new(5);
    let at = OPEN_NS + 20 * SECOND;
    run.until(at - LATENCY - 1);
    let bid = run.books.top(InstrumentId(0)).bid.price;
    let order = run.order(Side::Buy, 20_000, Price(bid.0 + 30 * CENT), TimeInForce::Day);
    run.send(at, order);
    let taken_at_once = run.filled(order.id.0);
    assert!((1..20_000).contains(&taken_at_once), "{taken_at_once}");
    run.until(at + 20 * SECOND);
    assert!(run.filled(order.id.0) > taken_at_once + 500, "{} then {}", taken_at_once, run.filled(order.id.0));
    run.until(END);
    if run.filled(order.id.0) < 20_000 {
        assert_eq!(run.last_report(order.id.0), ReportKind::Cancelled { reason: CancelReason::Expired });
    }
    assert_eq!(run.venue.open_orders(), 0);
}

#[test]
fn orders_of_ours_do_not_meet_and_terms_hold() {
    let mut run = Run::new(6);
    let at = OPEN_NS + 20 * SECOND;
    run.until(at - LATENCY - 1);
    let top = run.books.top(InstrumentId(0));
    // Inside or at the touch, so that the next order of ours would meet it first.
    let rest = run.order(Side::Sell, 10, Price(top.bid.price.0 + CENT), TimeInForce::Day);
    run.send(at, rest);
    let post = Order {
        terms: Terms { post_only: true, ..Terms::PLAIN },
        ..run.order(Side::Buy, 10, Price(top.ask.price.0 + 50 * CENT), TimeInForce::Day)
    };
    run.send(at + 2_000_000, post);
    assert_eq!(run.last_report(post.id.0), ReportKind::Rejected { reason: RejectReason::WouldTake });
    let fok = run.order(Side::Buy, 900_000, Price(top.ask.price.0 + 50 * CENT), TimeInForce::Fok);
    run.send(at + 4_000_000, fok);
    assert_eq!(run.last_report(fok.id.0), ReportKind::Cancelled { reason: CancelReason::Unfilled });
    assert_eq!(run.filled(fok.id.0), 0);
    if run.venue.standing(rest.id, InstrumentId(0)).is_some() {
        let own = run.order(Side::Buy, 10, Price(top.bid.price.0 + CENT), TimeInForce::Day);
        run.send(at + 6_000_000, own);
        assert_eq!(run.last_report(own.id.0), ReportKind::Cancelled { reason: CancelReason::Unfilled });
        assert_eq!((run.filled(own.id.0), run.filled(rest.id.0)), (0, 0));
    }
}

#[test]
fn what_agents_do_not_understand_is_refused() {
    let mut run = Run::new(7);
    let early = run.order(Side::Buy, 10, Price(100 * CENT), TimeInForce::Day);
    run.until(OPEN_NS - 3600 * SECOND);
    run.send(OPEN_NS - 3599 * SECOND, early);
    assert_eq!(run.last_report(early.id.0), ReportKind::Rejected { reason: RejectReason::NoMarket });
    let at = OPEN_NS + 20 * SECOND;
    let hidden = Terms { display: Quantity::ZERO, ..Terms::PLAIN };
    let bad = [
        (Order { price: Price(16_000_000 * CENT), ..early }, RejectReason::BadPrice),
        (Order { price: Price(CENT / 2), ..early }, RejectReason::BadPrice),
        (Order { quantity: Quantity::whole(1_000_000), ..early }, RejectReason::BadQuantity),
        (Order { quantity: Quantity(Quantity::whole(1).0 / 2), ..early }, RejectReason::BadQuantity),
        (Order { terms: hidden, ..early }, RejectReason::Unsupported),
        (Order { time_in_force: TimeInForce::Close, ..early }, RejectReason::Unsupported),
    ];
    for (n, (order, reason)) in bad.into_iter().enumerate() {
        let order = Order { id: OrderId(100 + n as u64), ..order };
        run.send(at + 2_000_000 * n as u64, order);
        assert_eq!(run.last_report(order.id.0), ReportKind::Rejected { reason }, "{order:?}");
    }
    run.until(END);
    let late = run.order(Side::Buy, 10, Price(100 * CENT), TimeInForce::Day);
    run.send(END + SECOND, late);
    assert_eq!(run.last_report(late.id.0), ReportKind::Rejected { reason: RejectReason::NotTrading });
}

#[test]
fn what_does_not_go_with_agents_is_said() {
    let named = |symbol: &str, tick: i64, lot: i64| {
        vec![Instrument { symbol: symbol.to_owned(), tick: Price(tick), lot: Quantity(lot) }]
    };
    let simulation = || Simulation::new(agents(1)).expect("valid settings");
    let first = simulation().symbols().next().expect("a symbol").to_owned();
    for (tick, lot, good) in [
        (CENT, Quantity::whole(1).0, true),
        (CENT / 10, Quantity::whole(1).0, false),
        (CENT, Quantity::whole(1).0 / 10, false),
    ] {
        let instruments = named(&first, tick, lot);
        let mut venue = Venue::new(&instruments, Config::default());
        assert_eq!(venue.go_live(simulation(), MIDNIGHT, &instruments).is_ok(), good, "tick {tick}, lot {lot}");
    }
}

#[test]
fn a_large_buy_moves_the_price_and_most_of_it_fades() {
    let (mut at_once, mut later) = (0.0, 0.0);
    let seeds = 1..21;
    let count = seeds.clone().count() as f64;
    for seed in seeds {
        let at = OPEN_NS + 30 * SECOND;
        let path = |shares: i64| {
            let mut run = Run::new(seed);
            run.until(at - LATENCY - 1);
            if shares > 0 {
                let order = run.order(Side::Buy, shares, Price::UNDEFINED, TimeInForce::Ioc);
                run.send(at, order);
                assert_eq!(run.filled(order.id.0), shares, "the book had this much");
            } else {
                run.until(at + 1_000_000);
            }
            let first = run.mid();
            run.until(at + 60 * SECOND);
            (first, run.mid())
        };
        let (with, without) = (path(3_000), path(0));
        at_once += 1e4 * (with.0 / without.0 - 1.0) / count;
        later += 1e4 * (with.1 / without.1 - 1.0) / count;
    }
    assert!(at_once > 1.0, "{at_once} bp at once");
    assert!(later.abs() < 0.5 * at_once, "{later} bp of {at_once} bp are left after a minute");
}

/// Stamps of all messages.
fn stamps(frames: &[u8]) -> Vec<u64> {
    let frames = Frames::new(frames, Framing::LengthPrefixed);
    frames.map(|bytes| itch::decode(bytes).expect("a genuine message").timestamp()).collect()
}

#[test]
fn an_act_of_an_agent_is_not_interrupted() {
    let mut tried = 0;
    for seed in 1..6 {
        // Acts with many messages: a gap before them, then one message every 250 ns.
        let stamps = stamps(&simulated(seed));
        let first = stamps.iter().position(|at| *at > OPEN_NS + 10 * SECOND).expect("a busy minute");
        let begins = (first..stamps.len() - 8)
            .find(|&i| stamps[i] > stamps[i - 1] + 10_000 && stamps[i + 5] == stamps[i] + 5 * 250)
            .expect("a maker moves three quotes");
        let more = stamps[begins..].windows(2).take_while(|pair| pair[1] - pair[0] <= 250).count();
        let (begins, ends) = (stamps[begins], stamps[begins + more]);
        let mut run = Run::new(seed);
        let order = run.order(Side::Buy, 100, Price::UNDEFINED, TimeInForce::Ioc);
        run.send(begins + 300, order);
        assert!(!run.reports.is_empty());
        for (_, report) in &run.reports {
            assert_eq!(report.ts_event, MIDNIGHT.plus(ends + 250), "seed {seed}: after the act, and at once");
        }
        tried += 1;
    }
    assert_eq!(tried, 5);
}

#[test]
fn a_maker_looks_at_once_when_we_take() {
    let answers = (1..21).filter(|&seed| {
        let mut run = Run::new(seed);
        let at = OPEN_NS + 30 * SECOND;
        run.until(at - LATENCY - 1);
        let ask = run.books.top(InstrumentId(0)).ask;
        let half = Quantity(ask.quantity.0 / 2).0 / Quantity::whole(1).0;
        // Part of the touch only: nobody has to come because a side is empty.
        let order = run.order(Side::Buy, half.max(1), ask.price, TimeInForce::Ioc);
        run.send(at, order);
        stamps(&run.frames).iter().any(|stamp| (at + 1..at + 5_000).contains(stamp))
    });
    // One look in some moves no quote: nothing shows of it.
    let answers = answers.count();
    assert!(answers >= 4, "in {answers} of 20 markets a maker moved within five microseconds");
}

#[test]
fn what_rests_of_ours_trades_at_its_own_price() {
    let (mut printed, mut improved) = (0, 0);
    for seed in 1..21 {
        let mut run = Run::new(seed);
        let mut limits = BTreeMap::new();
        for n in 1..12 {
            // The last ones are small and alone at the best price, so that a cross goes beyond them.
            let (at, shares, better) = if n < 11 { (n * 10 * SECOND, 500, 0) } else { (119_900_000_000, 1, CENT) };
            let at = OPEN_NS + at;
            run.until(at - LATENCY - 1);
            let top = run.books.top(InstrumentId(0));
            let [bid, ask] = [Price(top.bid.price.0 + better), Price(top.ask.price.0 - better)];
            for (after, side, price) in [(0, Side::Buy, bid), (2_000_000, Side::Sell, ask)] {
                let order = run.order(side, shares, price, TimeInForce::Day);
                run.send(at + after, order);
                limits.insert(order.id, (side, price));
            }
        }
        run.until(END);
        let mut crossed = Vec::new();
        for (_, report) in &run.reports {
            let ReportKind::Filled { price, liquidity: Liquidity::Maker, .. } = report.kind else { continue };
            let (side, limit) = limits[&report.order];
            let close = MIDNIGHT.plus(OPEN_NS + 120 * SECOND);
            if report.ts_event < close {
                assert_eq!(price, limit, "seed {seed}");
                printed += 1;
            } else {
                let improves = if side == Side::Buy { price < limit } else { price > limit };
                assert!(improves || price == limit, "the cross is no worse");
                crossed.push(price);
                improved += u32::from(improves);
            }
        }
        let mut prints = Vec::new();
        for bytes in Frames::new(&run.frames, Framing::LengthPrefixed) {
            if let Message::OrderExecutedWithPrice(m) = itch::decode(bytes).expect("a genuine message")
                && is_ours(m.order_reference_number())
            {
                assert_eq!(m.printable(), b'N', "only a cross has a price of its own");
                prints.push(Price(i64::from(m.execution_price()) * 100_000));
            }
        }
        assert_eq!(crossed, prints, "what the cross prints is what we get");
    }
    assert!(printed > 300 && improved > 0, "{printed} and {improved}");
}

/// One thing that we do.
#[derive(Clone, Debug)]
enum Deed {
    Send { buy: bool, shares: i64, cents: i64, tif: u8, post_only: bool },
    Cancel(u64),
    Replace(u64, i64, i64),
}

fn deeds() -> impl Strategy<Value = Vec<(u64, Deed)>> {
    let deed = prop_oneof![
        4 => (any::<bool>(), 1i64..3_000, -20i64..20, 0u8..4, any::<bool>())
            .prop_map(|(buy, shares, cents, tif, post_only)| Deed::Send { buy, shares, cents, tif, post_only }),
        1 => (1u64..40).prop_map(Deed::Cancel),
        1 => (1u64..40, 1i64..3_000, -20i64..20).prop_map(|(id, shares, cents)| Deed::Replace(id, shares, cents)),
    ];
    prop::collection::vec((0u64..3_000_000_000, deed), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever we do: the feed's books are good at every message, shares are neither made nor lost, and the day ends.
    #[test]
    fn whatever_we_do_the_market_stays_whole(seed in 1u64..1_000, deeds in deeds()) {
        let mut run = Run::new(seed);
        let mut at = OPEN_NS - 20 * SECOND;
        let mut centre = 0;
        for (gap, deed) in deeds {
            at += gap;
            run.until(at);
            let top = run.books.top(InstrumentId(0));
            if top.bid.orders > 0 {
                centre = top.bid.price.0 / CENT;
            }
            let priced = |cents: i64| Price((centre + cents).max(1) * CENT);
            let output = match deed {
                Deed::Send { buy, shares, cents, tif, post_only } => {
                    let side = if buy { Side::Buy } else { Side::Sell };
                    let (price, tif) = match tif {
                        0 => (Price::UNDEFINED, TimeInForce::Ioc),
                        1 => (priced(cents), TimeInForce::Ioc),
                        2 => (priced(cents), TimeInForce::Fok),
                        _ => (priced(cents), TimeInForce::Day),
                    };
                    let terms = Terms { post_only: post_only && tif == TimeInForce::Day, ..Terms::PLAIN };
                    Output::Submit(Order { terms, ..run.order(side, shares, price, tif) })
                }
                Deed::Cancel(id) => Output::Cancel { order: OrderId(id), instrument: InstrumentId(0) },
                Deed::Replace(id, shares, cents) => Output::Replace {
                    order: OrderId(id),
                    instrument: InstrumentId(0),
                    quantity: Quantity::whole(shares),
                    price: priced(cents),
                },
            };
            run.venue.submit(MIDNIGHT.plus(at), &output);
        }
        run.until(END.max(at) + SECOND);
        prop_assert_eq!(run.venue.open_orders(), 0);
        prop_assert!(run.books.is_empty(), "all have left");
        // Maker fills of ours are the prints of our numbers.
        let printed: i64 = executions(&run.frames).iter().filter(|(order, _)| is_ours(**order)).map(|(_, n)| n).sum();
        let mut made = 0;
        let mut last = Nanos(0);
        for (at, report) in &run.reports {
            prop_assert!(*at >= last && report.ts_event <= *at, "reports come in order and not before they happen");
            last = *at;
            if let ReportKind::Filled { quantity, liquidity: Liquidity::Maker, .. } = report.kind {
                made += quantity.0 / Quantity::whole(1).0;
            }
        }
        prop_assert_eq!(printed, made);
    }
}
