//! Records to test with: one of every kind with every code, and strategies that make any of them.
#![allow(dead_code, reason = "each test file takes what it needs")]

use helios_journal::{End, Record, Writer};
use helios_types::{
    Booking, BookingKind, Breach, CancelReason, Cash, Charge, Control, Difference, Event, Feed, Fill, Input,
    InstrumentId, Intent, IntentKind, Link, Liquidity, Market, Nanos, Order, OrderId, OrderState, Output, Price,
    Quality, QualityKind, Quantity, Refusal, RejectReason, Report, ReportKind, Rule, Side, SignalChange, StateChange,
    StrategyId, Terms, TimeInForce, Timer, TradeKind, TradingStatus, Update,
};
use proptest::prelude::*;
use proptest::sample::select;

const SIDES: [Side; 2] = [Side::Buy, Side::Sell];
const TIMES: [TimeInForce; 5] =
    [TimeInForce::Day, TimeInForce::Ioc, TimeInForce::Fok, TimeInForce::Open, TimeInForce::Close];
const TERMS: [Terms; 5] = [
    Terms::PLAIN,
    Terms { post_only: true, ..Terms::PLAIN },
    Terms { midpoint: true, ..Terms::PLAIN },
    Terms { display: Quantity(100), ..Terms::PLAIN },
    Terms { stop: Price(7), ..Terms::PLAIN },
];
const TRADES: [TradeKind; 4] = [TradeKind::Regular, TradeKind::Hidden, TradeKind::Cross, TradeKind::Displayed];
const STATUSES: [TradingStatus; 4] =
    [TradingStatus::Halted, TradingStatus::Paused, TradingStatus::QuoteOnly, TradingStatus::Trading];
const LIQUIDITIES: [Liquidity; 2] = [Liquidity::Maker, Liquidity::Taker];
const CANCELS: [CancelReason; 4] =
    [CancelReason::Requested, CancelReason::Unfilled, CancelReason::Expired, CancelReason::SelfTrade];
const REJECTS: [RejectReason; 15] = [
    RejectReason::UnknownInstrument,
    RejectReason::NotTrading,
    RejectReason::BadQuantity,
    RejectReason::BadPrice,
    RejectReason::UnknownOrder,
    RejectReason::DuplicateOrder,
    RejectReason::NoMarket,
    RejectReason::Full,
    RejectReason::WouldTake,
    RejectReason::PriceBand,
    RejectReason::Unsupported,
    RejectReason::NotShortable,
    RejectReason::BelowMinimum,
    RejectReason::NeverArrived,
    RejectReason::Other,
];
const STATES: [OrderState; 9] = [
    OrderState::New,
    OrderState::Accepted,
    OrderState::PartlyFilled,
    OrderState::Filled,
    OrderState::CancelPending,
    OrderState::Cancelled,
    OrderState::ReplacePending,
    OrderState::Rejected,
    OrderState::Unknown,
];
const RULES: [Rule; 10] = [
    Rule::OrderQuantity,
    Rule::OrderNotional,
    Rule::PriceCollar,
    Rule::Position,
    Rule::GrossExposure,
    Rule::OrderRate,
    Rule::DailyLoss,
    Rule::Stopped,
    Rule::Invalid,
    Rule::Unlinked,
];
const QUALITIES: [QualityKind; 10] = [
    QualityKind::UnknownOrder,
    QualityKind::DuplicateOrder,
    QualityKind::ExceedsQuantity,
    QualityKind::WrongInstrument,
    QualityKind::BadValue,
    QualityKind::Crossed,
    QualityKind::TimeBackwards,
    QualityKind::Full,
    QualityKind::Gap,
    QualityKind::Whole,
];
const BOOKINGS: [BookingKind; 4] =
    [BookingKind::Split, BookingKind::Dividend, BookingKind::Borrow, BookingKind::Financing];
const CONTROLS: [Control; 3] = [Control::Pause, Control::Resume, Control::Kill];
/// What came with live runs.
const LIVE: [Event; 11] = [
    Event::Control(Control::Flatten),
    Event::Control(Control::SetLimit { rule: Rule::GrossExposure, limit: -52 }),
    Event::Feed(Feed::Incomplete { instrument: InstrumentId(53), missed: 54 }),
    Event::Feed(Feed::Complete { instrument: InstrumentId(55) }),
    Event::Feed(Feed::Began { exchange: 56 }),
    Event::Feed(Feed::Ended { exchange: 57 }),
    Event::Link(Link::Down { session: 58 }),
    Event::Link(Link::Up { session: 59 }),
    Event::Link(Link::Settled { session: 60 }),
    Event::Link(Link::Heard { session: 61, name: u128::from_le_bytes(*b"SESSION01 \0\0\0\0\0\0"), next: 62 }),
    Event::Link(Link::Position { instrument: InstrumentId(63), quantity: Quantity(-64) }),
];

/// One input with its outputs.
pub type Step = (Nanos, Event, Vec<Output>);

/// A journal's bytes, its records, and the offset at which each record ends.
#[derive(Debug)]
pub struct Journal {
    pub bytes: Vec<u8>,
    pub records: Vec<Record<'static>>,
    pub ends: Vec<u64>,
}

impl Journal {
    pub fn new(config: &'static [u8], steps: &[Step], digest: Option<u128>) -> Self {
        let mut writer = Writer::new(config).unwrap();
        let (mut records, mut ends) = (vec![Record::Config(config)], vec![writer.bytes_written()]);
        for (seq, (ts, event, outputs)) in (0..).zip(steps) {
            let input = Input { seq, ts: *ts, event: *event };
            writer.input(&input);
            records.push(Record::Input(input));
            ends.push(writer.bytes_written());
            for &output in outputs {
                writer.output(seq, &output);
                records.push(Record::Output { seq, output });
                ends.push(writer.bytes_written());
            }
        }
        if let Some(digest) = digest {
            records.push(Record::End(End { inputs: writer.inputs(), outputs: writer.outputs(), digest }));
            writer.end(digest);
            ends.push(writer.bytes_written());
        }
        Self { bytes: writer.pending().to_vec(), records, ends }
    }

    /// Where record `i` begins; what damage there reports.
    pub fn start(&self, i: usize) -> u64 {
        if i == 0 { helios_journal::HEADER_LEN as u64 } else { self.ends[i - 1] }
    }

    /// The bytes of record `i`, frame included.
    pub fn record(&self, i: usize) -> &[u8] {
        &self.bytes[self.start(i) as usize..self.ends[i] as usize]
    }

    /// Index of the record that holds byte `offset`; `None` for the header.
    pub fn record_at(&self, offset: u64) -> Option<usize> {
        if offset < self.start(0) { None } else { self.ends.iter().position(|&end| offset < end) }
    }

    /// Sequence number of the last input before record `i`.
    pub fn last_seq_before(&self, i: usize) -> Option<u64> {
        let inputs = self.records[..i].iter().filter(|record| matches!(record, Record::Input(_))).count();
        (inputs as u64).checked_sub(1)
    }
}

/// The time of the first example; the others follow by a nanosecond each.
pub const FIRST_TS: u64 = 1_700_000_000_000_000_000;

/// The examples as steps: one output to an input.
pub fn examples() -> Vec<Step> {
    let (events, mut outputs) = (example_events(), example_outputs().into_iter());
    assert!(outputs.len() <= events.len(), "more outputs than inputs: some would be left out");
    let ts = (FIRST_TS..).map(Nanos);
    ts.zip(events).map(|(ts, event)| (ts, event, Vec::from_iter(outputs.next()))).collect()
}

/// Every input kind with every code, with values that differ from field to field.
pub fn example_events() -> Vec<Event> {
    let (p, q) = (Price(100_250_000_000), Quantity(-300_000_000));
    let market = |update| {
        Event::Market(Market {
            instrument: InstrumentId(0x0102_0304),
            ts_event: Nanos(1_699_999_999_999_999_999),
            update,
        })
    };
    let report = |kind| {
        Event::Report(Report {
            order: OrderId(0x1112_1314_1516_1718),
            instrument: InstrumentId(7),
            ts_event: Nanos(u64::MAX),
            kind,
        })
    };
    let intent = |kind| Event::Intent(Intent { strategy: StrategyId(u32::MAX), instrument: InstrumentId(8999), kind });
    let mut events = vec![
        market(Update::Add { order: 11, side: Side::Buy, price: p, quantity: q }),
        market(Update::Add { order: u64::MAX, side: Side::Sell, price: Price(i64::MIN), quantity: Quantity(i64::MAX) }),
        market(Update::Execute { order: 12, quantity: q, trade: 13 }),
        market(Update::ExecuteAt { order: 14, quantity: q, price: p, printable: false, trade: 15 }),
        market(Update::ExecuteAt { order: 14, quantity: q, price: p, printable: true, trade: 15 }),
        market(Update::Reduce { order: 16, quantity: q }),
        market(Update::Delete { order: 17 }),
        market(Update::Replace { order: 18, new_order: 19, price: p, quantity: q }),
        market(Update::TradeBreak { trade: 20 }),
        market(Update::Quote { bid: p, bid_quantity: q, ask: Price::UNDEFINED, ask_quantity: Quantity::ZERO }),
        market(Update::Bar {
            open: p,
            high: Price(2),
            low: Price(-3),
            close: Price(4),
            volume: q,
            span: 60_000_000_000,
        }),
        market(Update::Clear),
        report(ReportKind::Accepted { book_ref: 21 }),
        report(ReportKind::Replaced { quantity: q, price: p }),
        intent(IntentKind::Target { position: q }),
        intent(IntentKind::Cancel { order: OrderId(22) }),
        intent(IntentKind::Quote { side: Side::Sell, price: p, quantity: q, limit: Quantity(46) }),
        intent(IntentKind::Replace { order: OrderId(23), quantity: q, price: p }),
        Event::Timer(Timer { id: 0x2122_2324_2526_2728 }),
    ];
    events.extend(
        TRADES
            .into_iter()
            .zip([None, Some(Side::Buy), Some(Side::Sell), Some(Side::Sell)])
            .map(|(kind, aggressor)| market(Update::Trade { price: p, quantity: q, aggressor, kind, trade: 24 })),
    );
    events.extend(STATUSES.map(|status| market(Update::Status(status))));
    events.extend(LIQUIDITIES.map(|liquidity| {
        report(ReportKind::Filled { execution: 25, price: p, quantity: q, liquidity, fee: Cash(-26) })
    }));
    events.extend(CANCELS.map(|reason| report(ReportKind::Cancelled { reason })));
    events.extend(REJECTS.map(|reason| report(ReportKind::Rejected { reason })));
    events.extend(REJECTS.map(|reason| report(ReportKind::ChangeRejected { reason })));
    events.extend(SIDES.into_iter().cycle().zip(TIMES).zip(TERMS).map(|((side, time_in_force), terms)| {
        intent(IntentKind::Order {
            id: OrderId(27),
            side,
            quantity: q,
            price: Price::UNDEFINED,
            time_in_force,
            terms: plain_for_the_old(time_in_force, terms),
        })
    }));
    events.extend(CONTROLS.map(Event::Control));
    events.push(market(Update::Value(-0.625)));
    events.push(market(Update::Depth { side: Side::Sell, price: p, quantity: q }));
    events.push(market(Update::Split { numerator: 3, denominator: 2 }));
    events.push(market(Update::Dividend { cash: p }));
    events.push(Event::Charge(Charge::Borrow { instrument: InstrumentId(46), amount: Cash(47) }));
    events.push(Event::Charge(Charge::Financing { amount: Cash(-48) }));
    events.extend(LIVE);
    events
}

/// Records from before there were terms have none.
fn plain_for_the_old(time_in_force: TimeInForce, terms: Terms) -> Terms {
    if matches!(time_in_force, TimeInForce::Day | TimeInForce::Ioc) { Terms::PLAIN } else { terms }
}

/// Every output kind with every code.
pub fn example_outputs() -> Vec<Output> {
    let (order, strategy, instrument) = (OrderId(31), StrategyId(32), InstrumentId(33));
    let (price, quantity) = (Price(34), Quantity(35));
    let mut outputs: Vec<Output> = SIDES
        .into_iter()
        .cycle()
        .zip(TIMES)
        .zip(TERMS)
        .map(|((side, time_in_force), terms)| {
            Output::Submit(Order {
                id: order,
                strategy,
                instrument,
                side,
                quantity,
                price,
                time_in_force,
                terms: plain_for_the_old(time_in_force, terms),
            })
        })
        .collect();
    outputs.extend([
        Output::Cancel { order, instrument },
        Output::Replace { order, instrument, quantity, price },
        Output::Signal(SignalChange { signal: 36, value: -0.0, input: 2.5 }),
        Output::Breach(Breach { rule: Rule::DailyLoss, limit: 37, value: -38 }),
    ]);
    outputs.extend(RULES.map(|rule| {
        let (limit, value, side) = (39, i64::MIN, Side::Sell);
        Output::Refused(Refusal { strategy, instrument, rule, limit, value, side, quantity, price })
    }));
    outputs.extend(STATES.map(|state| {
        Output::State(StateChange { order, instrument, from: state, to: OrderState::Rejected, reject: None })
    }));
    outputs.extend(STATES.into_iter().zip(REJECTS).map(|(to, reject)| {
        Output::State(StateChange { order, instrument, from: OrderState::New, to, reject: Some(reject) })
    }));
    outputs.extend(LIQUIDITIES.map(|liquidity| {
        Output::Fill(Fill {
            order,
            strategy,
            instrument,
            execution: 40,
            ts_event: Nanos(41),
            side: Side::Buy,
            price,
            quantity,
            fee: Cash(-42),
            liquidity,
            position: Quantity(-43),
            realised: Cash(44),
        })
    }));
    outputs.extend(QUALITIES.map(|kind| Output::Quality(Quality { instrument, kind, detail: 45 })));
    outputs.extend(BOOKINGS.map(|kind| {
        let (cash, position, realised) = (Cash(-49), Quantity(50), Cash(51));
        let (numerator, denominator) = if kind == BookingKind::Split { (4, 1) } else { (0, 0) };
        Output::Booked(Booking { strategy, instrument, kind, cash, position, realised, numerator, denominator })
    }));
    outputs.push(Output::Difference(Difference { instrument, ours: Quantity(65), theirs: Quantity(-66) }));
    outputs
}

fn price() -> impl Strategy<Value = Price> {
    any::<i64>().prop_map(Price)
}

fn quantity() -> impl Strategy<Value = Quantity> {
    any::<i64>().prop_map(Quantity)
}

fn instrument() -> impl Strategy<Value = InstrumentId> {
    any::<u32>().prop_map(InstrumentId)
}

fn order() -> impl Strategy<Value = OrderId> {
    any::<u64>().prop_map(OrderId)
}

fn update() -> impl Strategy<Value = Update> {
    let (n, p, q, side) = (any::<u64>, price, quantity, || select(&SIDES[..]));
    prop_oneof![
        (n(), side(), p(), q()).prop_map(|(order, side, price, quantity)| Update::Add { order, side, price, quantity }),
        (n(), q(), n()).prop_map(|(order, quantity, trade)| Update::Execute { order, quantity, trade }),
        (n(), q(), p(), any::<bool>(), n()).prop_map(|(order, quantity, price, printable, trade)| {
            Update::ExecuteAt { order, quantity, price, printable, trade }
        }),
        (n(), q()).prop_map(|(order, quantity)| Update::Reduce { order, quantity }),
        n().prop_map(|order| Update::Delete { order }),
        (n(), n(), p(), q())
            .prop_map(|(order, new_order, price, quantity)| { Update::Replace { order, new_order, price, quantity } }),
        (p(), q(), proptest::option::of(side()), select(&TRADES[..]), n()).prop_map(
            |(price, quantity, aggressor, kind, trade)| Update::Trade { price, quantity, aggressor, kind, trade }
        ),
        n().prop_map(|trade| Update::TradeBreak { trade }),
        (p(), q(), p(), q()).prop_map(|(bid, bid_quantity, ask, ask_quantity)| {
            Update::Quote { bid, bid_quantity, ask, ask_quantity }
        }),
        (p(), p(), p(), p(), q(), n()).prop_map(|(open, high, low, close, volume, span)| {
            Update::Bar { open, high, low, close, volume, span }
        }),
        select(&STATUSES[..]).prop_map(Update::Status),
        Just(Update::Clear),
        (side(), p(), q()).prop_map(|(side, price, quantity)| Update::Depth { side, price, quantity }),
        (-1e300f64..1e300).prop_map(Update::Value),
        any::<(u32, u32)>().prop_map(|(numerator, denominator)| Update::Split { numerator, denominator }),
        p().prop_map(|cash| Update::Dividend { cash }),
    ]
}

fn report() -> impl Strategy<Value = ReportKind> {
    let reject = || select(&REJECTS[..]);
    prop_oneof![
        any::<u64>().prop_map(|book_ref| ReportKind::Accepted { book_ref }),
        (any::<u64>(), price(), quantity(), select(&LIQUIDITIES[..]), any::<i64>()).prop_map(
            |(execution, price, quantity, liquidity, fee)| {
                ReportKind::Filled { execution, price, quantity, liquidity, fee: Cash(fee) }
            }
        ),
        select(&CANCELS[..]).prop_map(|reason| ReportKind::Cancelled { reason }),
        (quantity(), price()).prop_map(|(quantity, price)| ReportKind::Replaced { quantity, price }),
        reject().prop_map(|reason| ReportKind::Rejected { reason }),
        reject().prop_map(|reason| ReportKind::ChangeRejected { reason }),
    ]
}

fn intent() -> impl Strategy<Value = IntentKind> {
    prop_oneof![
        quantity().prop_map(|position| IntentKind::Target { position }),
        (order(), select(&SIDES[..]), quantity(), price(), select(&TIMES[..]), select(&TERMS[..])).prop_map(
            |(id, side, quantity, price, time_in_force, terms)| {
                IntentKind::Order { id, side, quantity, price, time_in_force, terms }
            }
        ),
        order().prop_map(|order| IntentKind::Cancel { order }),
        (select(&SIDES[..]), price(), quantity(), quantity())
            .prop_map(|(side, price, quantity, limit)| IntentKind::Quote { side, price, quantity, limit }),
        (order(), quantity(), price()).prop_map(|(order, quantity, price)| IntentKind::Replace {
            order,
            quantity,
            price
        }),
    ]
}

pub fn event() -> impl Strategy<Value = Event> {
    let ts = || any::<u64>().prop_map(Nanos);
    prop_oneof![
        4 => (instrument(), ts(), update())
            .prop_map(|(instrument, ts_event, update)| Event::Market(Market { instrument, ts_event, update })),
        2 => (order(), instrument(), ts(), report()).prop_map(|(order, instrument, ts_event, kind)| {
            Event::Report(Report { order, instrument, ts_event, kind })
        }),
        2 => (any::<u32>(), instrument(), intent()).prop_map(|(strategy, instrument, kind)| {
            Event::Intent(Intent { strategy: StrategyId(strategy), instrument, kind })
        }),
        1 => any::<u64>().prop_map(|id| Event::Timer(Timer { id })),
        1 => select(&CONTROLS[..]).prop_map(Event::Control),
        1 => (instrument(), any::<i64>())
            .prop_map(|(instrument, n)| Event::Charge(Charge::Borrow { instrument, amount: Cash(n) })),
        1 => any::<i64>().prop_map(|n| Event::Charge(Charge::Financing { amount: Cash(n) })),
        1 => (select(&LIVE[..]), instrument(), any::<(u128, u64, i64)>()).prop_map(|(event, instrument, numbers)| {
            let (name, next, n) = numbers;
            match event {
                Event::Control(Control::SetLimit { rule, .. }) => Event::Control(Control::SetLimit { rule, limit: n }),
                Event::Feed(Feed::Incomplete { .. }) => Event::Feed(Feed::Incomplete { instrument, missed: next }),
                Event::Feed(Feed::Complete { .. }) => Event::Feed(Feed::Complete { instrument }),
                Event::Link(Link::Heard { session, .. }) => Event::Link(Link::Heard { session, name, next }),
                Event::Link(Link::Position { .. }) => {
                    Event::Link(Link::Position { instrument, quantity: Quantity(n) })
                }
                event => event,
            }
        }),
    ]
}

fn submit() -> impl Strategy<Value = Order> {
    let last = (select(&TIMES[..]), select(&TERMS[..]));
    (order(), any::<u32>(), instrument(), select(&SIDES[..]), quantity(), price(), last).prop_map(
        |(id, strategy, instrument, side, quantity, price, (time_in_force, terms))| {
            let strategy = StrategyId(strategy);
            Order { id, strategy, instrument, side, quantity, price, time_in_force, terms }
        },
    )
}

fn refusal() -> impl Strategy<Value = Refusal> {
    (submit(), select(&RULES[..]), any::<i64>(), any::<i64>()).prop_map(|(order, rule, limit, value)| {
        let Order { strategy, instrument, side, quantity, price, .. } = order;
        Refusal { strategy, instrument, rule, limit, value, side, quantity, price }
    })
}

fn fill() -> impl Strategy<Value = Fill> {
    (submit(), any::<(u64, u64, i64, i64, i64)>(), select(&LIQUIDITIES[..])).prop_map(|(order, numbers, liquidity)| {
        let Order { id, strategy, instrument, side, quantity, price, .. } = order;
        let (execution, ts, fee, position, realised) = numbers;
        Fill {
            order: id,
            strategy,
            instrument,
            execution,
            ts_event: Nanos(ts),
            side,
            price,
            quantity,
            fee: Cash(fee),
            liquidity,
            position: Quantity(position),
            realised: Cash(realised),
        }
    })
}

/// Without NaN, so that records can be compared.
pub fn output() -> impl Strategy<Value = Output> {
    let number = || any::<u64>().prop_map(f64::from_bits).prop_filter("NaN", |x| !x.is_nan());
    let state = || select(&STATES[..]);
    prop_oneof![
        submit().prop_map(Output::Submit),
        (order(), instrument()).prop_map(|(order, instrument)| Output::Cancel { order, instrument }),
        (order(), instrument(), quantity(), price()).prop_map(|(order, instrument, quantity, price)| {
            Output::Replace { order, instrument, quantity, price }
        }),
        refusal().prop_map(Output::Refused),
        (order(), instrument(), state(), state(), proptest::option::of(select(&REJECTS[..]))).prop_map(
            |(order, instrument, from, to, reject)| Output::State(StateChange { order, instrument, from, to, reject })
        ),
        fill().prop_map(Output::Fill),
        (any::<u32>(), number(), number()).prop_map(|(signal, value, input)| Output::Signal(SignalChange {
            signal,
            value,
            input
        })),
        (instrument(), select(&QUALITIES[..]), any::<u64>())
            .prop_map(|(instrument, kind, detail)| Output::Quality(Quality { instrument, kind, detail })),
        (select(&RULES[..]), any::<i64>(), any::<i64>()).prop_map(|(rule, limit, value)| Output::Breach(Breach {
            rule,
            limit,
            value
        })),
        (instrument(), quantity(), quantity()).prop_map(|(instrument, ours, theirs)| Output::Difference(Difference {
            instrument,
            ours,
            theirs
        })),
        (fill(), select(&BOOKINGS[..]), any::<(i64, u32, u32)>()).prop_map(|(fill, kind, numbers)| {
            let Fill { strategy, instrument, position, realised, .. } = fill;
            let (cash, numerator, denominator) = numbers;
            let cash = Cash(cash);
            Output::Booked(Booking { strategy, instrument, kind, cash, position, realised, numerator, denominator })
        }),
    ]
}

/// A journal of up to `most` inputs with up to three outputs each, closed or not.
pub fn journal(most: usize) -> impl Strategy<Value = Journal> {
    const CONFIGS: [&[u8]; 3] = [b"", b"{}", b"{\"seed\":7,\"symbols\":[\"KO\",\"PEP\"]}"];
    let step = (any::<u64>().prop_map(Nanos), event(), proptest::collection::vec(output(), 0..4));
    (select(&CONFIGS[..]), proptest::collection::vec(step, 0..most + 1), proptest::option::of(any::<u128>()))
        .prop_map(|(config, steps, digest)| Journal::new(config, &steps, digest))
}
