//! A run without sessions, word for word: its outputs and its state have the fingerprint that they have always had, so
//! that old journals still say what they said. A change that is meant changes the number here, and says so in the log.

use helios_book::Capacity;
use helios_engine::{Config, State, step};
use helios_execution::{CALLER_IDS, Style};
use helios_risk::{Feeds, Limits};
use helios_signals::{Binary, Field, Node, NodeId, Sizing, Stat, Window};
use helios_types::{
    CancelReason, Cash, Charge, Control, Event, Hasher, Input, Instrument, InstrumentId, Intent, IntentKind, Liquidity,
    Market, Nanos, OrderId, Price, Quantity, RejectReason, Report, ReportKind, Rng, Side, StrategyId, Terms,
    TimeInForce, TradeKind, Update,
};

const CENT: i64 = 10_000_000;

fn state() -> State {
    let source = |id: u32| Node::Source { instrument: InstrumentId(id), field: Field::Mid };
    let [x, y, spread, window, z, held] = [0, 1, 2, 3, 4, 5].map(NodeId);
    let (strategy, instrument) = (StrategyId(0), InstrumentId(0));
    let sizing = Sizing::Quantity(Quantity::whole(20));
    let symbols = ["KO", "PEP", "KO@B"];
    let config = Config {
        instruments: symbols
            .map(|symbol| Instrument { symbol: symbol.to_owned(), tick: Price(CENT), lot: Quantity::whole(1) })
            .to_vec(),
        holds: vec![InstrumentId(0), InstrumentId(1), InstrumentId(0)],
        nodes: vec![
            source(0),
            source(1),
            Node::Binary { op: Binary::Sub, x, y },
            Node::window(spread, Window::Count(6)),
            Node::Read { of: window, stat: Stat::ZScore },
            Node::Hysteresis { x: z, enter: 1.0, exit: 0.3 },
            Node::Target { x: held, strategy, instrument, sizing },
            Node::Record { x: held, signal: 0, input: z },
        ],
        series: Vec::new(),
        limits: Limits {
            position: Some(Quantity::whole(200)),
            orders_per_second: Some(8),
            daily_loss: Some(Cash::whole(100_000)),
            ..Limits::default()
        },
        feeds: Feeds { without_price: Vec::new(), limit_prices: true },
        cash: Cash::whole(1_000_000),
        trade_from: Nanos(0),
        style: Style::Touch { ticks: 1 },
        capacity: Capacity { orders: 64, levels: 64 },
    };
    State::new(config).expect("a sound configuration")
}

fn update(rng: &mut Rng) -> Update {
    let price = |rng: &mut Rng| Price((5_000 + rng.below(20) as i64) * CENT);
    let quantity = Quantity::whole(1 + rng.below(50) as i64);
    let side = if rng.below(2) == 0 { Side::Buy } else { Side::Sell };
    match rng.below(8) {
        0..4 => {
            let bid = price(rng);
            let ask = Price(bid.0 + (1 + rng.below(3) as i64) * CENT);
            Update::Quote { bid, bid_quantity: quantity, ask, ask_quantity: quantity }
        }
        4 => Update::Add { order: rng.below(30), side, price: price(rng), quantity },
        5 => Update::Delete { order: rng.below(30) },
        6 => Update::Split { numerator: 1 + rng.below(20) as u32 / 19, denominator: 1 },
        _ => Update::Trade { price: price(rng), quantity, aggressor: None, kind: TradeKind::Regular, trade: 1 },
    }
}

fn event(rng: &mut Rng, seq: u64) -> Event {
    let instrument = InstrumentId(rng.below(3) as u32);
    let (quantity, price) = (Quantity::whole(1 + rng.below(30) as i64), Price((5_000 + rng.below(20) as i64) * CENT));
    let order =
        OrderId([rng.below(40), CALLER_IDS + seq.saturating_sub(rng.below(30)), seq / 30][rng.below(3) as usize]);
    let side = if rng.below(2) == 0 { Side::Buy } else { Side::Sell };
    match rng.below(20) {
        0..8 => Event::Market(Market { instrument, ts_event: Nanos(seq), update: update(rng) }),
        8..14 => {
            let kind = match rng.below(6) {
                0 => IntentKind::Cancel { order },
                1 => IntentKind::Replace { order, quantity, price },
                2 => IntentKind::Quote { side, price, quantity, limit: Quantity::whole(60) },
                3 => IntentKind::Target { position: Quantity(side.sign() * quantity.0) },
                _ => {
                    let life = [TimeInForce::Day, TimeInForce::Ioc][rng.below(2) as usize];
                    let id = OrderId(CALLER_IDS + seq);
                    IntentKind::Order { id, side, quantity, price, time_in_force: life, terms: Terms::PLAIN }
                }
            };
            Event::Intent(Intent { strategy: StrategyId(rng.below(3) as u32), instrument, kind })
        }
        14..19 => {
            let (execution, liquidity, fee) = (rng.below(500), Liquidity::Taker, Cash(rng.below(9) as i64));
            let kind = match rng.below(8) {
                0..2 => ReportKind::Accepted { book_ref: 1 },
                2..5 => ReportKind::Filled { execution, price, quantity, liquidity, fee },
                5 => ReportKind::Cancelled { reason: CancelReason::Unfilled },
                6 => ReportKind::Replaced { quantity, price },
                _ => ReportKind::ChangeRejected { reason: RejectReason::UnknownOrder },
            };
            Event::Report(Report { order, instrument, ts_event: Nanos(seq), kind })
        }
        _ => match rng.below(6) {
            0 => Event::Control(Control::Pause),
            1 => Event::Charge(Charge::Financing { amount: Cash(77) }),
            _ => Event::Control(Control::Resume),
        },
    }
}

#[test]
fn a_run_without_sessions_says_what_it_has_always_said() {
    let (mut rng, mut state, mut hasher) = (Rng::new(11), state(), Hasher::new());
    let mut ts = Nanos(0);
    for seq in 0..20_000 {
        ts = ts.plus(rng.below(300_000_000));
        let mut out = Vec::new();
        step(&mut state, &Input { seq, ts, event: event(&mut rng, seq) }, &mut out);
        hasher.bytes(format!("{out:?}").as_bytes());
        if seq % 500 == 0 {
            hasher.bytes(&state.digest().to_le_bytes());
        }
    }
    hasher.bytes(&state.digest().to_le_bytes());
    let counts = state.orders().counts();
    assert!(counts.fills > 100 && counts.sent > 100, "{counts:?}");
    assert_eq!(format!("{:032x}", hasher.finish()), "b4af430b747540d45de4212509d67b1b");
}
