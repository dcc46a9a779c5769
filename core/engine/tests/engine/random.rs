//! Random inputs of every kind, wild ones among them: nothing panics, the same inputs give the same outputs and state,
//! and no order ever passed a limit.

use helios_book::Capacity;
use helios_engine::{Config, State, step};
use helios_execution::{CALLER_IDS, Style};
use helios_risk::{Feeds, Limits};
use helios_signals::{
    Absence, AtBound, BarKind, Binary, Consumption, Field, Keeps, Node, NodeId, Past, PatternSpec, Sizing, Stat, Step,
    Unary, Window,
};
use helios_types::{
    CancelReason, Cash, Charge, Control, Event, Feed, Input, Instrument, InstrumentId, Intent, IntentKind, Link,
    Liquidity, Market, Nanos, Order, OrderId, Output, Price, Quantity, RejectReason, Report, ReportKind, Rule, Side,
    StrategyId, Terms, TimeInForce, Timer, TradeKind, TradingStatus, Update, notional,
};
use proptest::prelude::*;

/// Small numbers that meet each other, and now and then one at the end of the scale.
fn wild(usual: std::ops::Range<i64>) -> impl Strategy<Value = i64> {
    let ends = prop::sample::select(vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX / 2, i64::MAX - 1, i64::MAX]);
    prop_oneof![40 => usual, 1 => ends]
}

fn prices() -> impl Strategy<Value = Price> {
    wild(4_990..5_010).prop_map(|cents| Price(cents.saturating_mul(10_000_000)))
}

fn quantities() -> impl Strategy<Value = Quantity> {
    wild(-3..60).prop_map(|shares| Quantity(shares.saturating_mul(100_000_000)))
}

fn sides() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Buy), Just(Side::Sell)]
}

fn statuses() -> impl Strategy<Value = TradingStatus> {
    prop_oneof![1 => Just(TradingStatus::Halted), 4 => Just(TradingStatus::Trading)]
}

fn updates() -> impl Strategy<Value = Update> {
    let order = || 0u64..6;
    prop_oneof![
        6 => (prices(), quantities(), prices(), quantities()).prop_map(|(bid, bid_quantity, ask, ask_quantity)| {
            Update::Quote { bid, bid_quantity, ask, ask_quantity }
        }),
        2 => (order(), sides(), prices(), quantities())
            .prop_map(|(order, side, price, quantity)| Update::Add { order, side, price, quantity }),
        1 => (order(), quantities()).prop_map(|(order, quantity)| Update::Execute { order, quantity, trade: 0 }),
        1 => (order(), quantities(), prices()).prop_map(|(order, quantity, price)| {
            Update::ExecuteAt { order, quantity, price, printable: true, trade: 0 }
        }),
        1 => (order(), order(), prices(), quantities())
            .prop_map(|(order, new_order, price, quantity)| Update::Replace { order, new_order, price, quantity }),
        1 => order().prop_map(|order| Update::Delete { order }),
        2 => (prices(), quantities()).prop_map(|(price, quantity)| {
            Update::Trade { price, quantity, aggressor: None, kind: TradeKind::Regular, trade: 0 }
        }),
        1 => (prices(), prices(), quantities()).prop_map(|(a, b, volume)| {
            Update::Bar { open: a, high: a.max(b), low: a.min(b), close: b, volume, span: 1 }
        }),
        1 => statuses().prop_map(Update::Status),
        1 => Just(Update::Clear),
    ]
}

/// The desk's first orders and those of callers.
fn order_ids() -> impl Strategy<Value = OrderId> {
    prop_oneof![4 => 0u64..12, 3 => CALLER_IDS..CALLER_IDS + 12, 1 => any::<u64>()].prop_map(OrderId)
}

fn wishes() -> impl Strategy<Value = IntentKind> {
    let market = prices().prop_map(|price| if price.0 % 30_000_000 == 0 { Price::UNDEFINED } else { price });
    prop_oneof![
        4 => quantities().prop_map(|position| IntentKind::Target { position }),
        4 => (order_ids(), sides(), quantities(), market, any::<bool>()).prop_map(|(id, side, quantity, price, day)| {
            let time_in_force = if day { TimeInForce::Day } else { TimeInForce::Ioc };
            IntentKind::Order { id, side, quantity, price, time_in_force, terms: Terms::PLAIN }
        }),
        1 => order_ids().prop_map(|order| IntentKind::Cancel { order }),
        2 => (order_ids(), quantities(), prices())
            .prop_map(|(order, quantity, price)| IntentKind::Replace { order, quantity, price }),
    ]
}

fn reports() -> impl Strategy<Value = ReportKind> {
    prop_oneof![
        2 => Just(ReportKind::Accepted { book_ref: 1 }),
        6 => (1u64..99, prices(), quantities(), wild(-9..9)).prop_map(|(execution, price, quantity, fee)| {
            ReportKind::Filled { execution, price, quantity, liquidity: Liquidity::Taker, fee: Cash(fee) }
        }),
        3 => Just(ReportKind::Cancelled { reason: CancelReason::Unfilled }),
        2 => (quantities(), prices()).prop_map(|(quantity, price)| ReportKind::Replaced { quantity, price }),
        1 => Just(ReportKind::Rejected { reason: RejectReason::NotTrading }),
        1 => Just(ReportKind::ChangeRejected { reason: RejectReason::UnknownOrder }),
    ]
}

/// What moves shares and money without a trade, most of it possible. Sums of hundreds of charges fit the scale: what
/// saturates says nothing of conservation.
fn actions() -> impl Strategy<Value = Event> {
    let instrument = || prop_oneof![30 => 0u32..2, 1 => Just(2u32)].prop_map(InstrumentId);
    let number = || prop_oneof![20 => 1u32..12, 1 => Just(0), 1 => Just(u32::MAX)];
    let market = |instrument, update| Event::Market(Market { instrument, ts_event: Nanos(0), update });
    prop_oneof![
        4 => (instrument(), number(), number()).prop_map(move |(instrument, numerator, denominator)| {
            market(instrument, Update::Split { numerator, denominator })
        }),
        3 => (instrument(), wild(1..2_000_000_000))
            .prop_map(move |(instrument, cash)| market(instrument, Update::Dividend { cash: Price(cash) })),
        2 => (instrument(), prop_oneof![20 => -50i64..1_000_000, 1 => Just(1i64 << 50), 1 => Just(-(1i64 << 50))])
            .prop_map(|(instrument, amount)| Event::Charge(Charge::Borrow { instrument, amount: Cash(amount) })),
        2 => prop_oneof![20 => -1_000_000i64..1_000_000, 1 => Just(1i64 << 50)].prop_map(|amount| Event::Charge(Charge::Financing { amount: Cash(amount) })),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    // Instrument 2 is another listing of instrument 0, instrument 3 does not exist.
    let instrument = || prop_oneof![30 => 0u32..3, 1 => Just(3u32)].prop_map(InstrumentId);
    let control = prop_oneof![4 => Just(Control::Resume), 2 => Just(Control::Pause), 1 => Just(Control::Kill)];
    prop_oneof![
        12 => (instrument(), any::<u8>(), updates()).prop_map(|(instrument, ts, update)| {
            Event::Market(Market { instrument, ts_event: Nanos(u64::from(ts)), update })
        }),
        8 => (instrument(), 0u32..3, wishes()).prop_map(|(instrument, strategy, kind)| {
            Event::Intent(Intent { strategy: StrategyId(strategy), instrument, kind })
        }),
        10 => (instrument(), order_ids(), any::<u64>(), reports()).prop_map(|(instrument, order, ts, kind)| {
            Event::Report(Report { order, instrument, ts_event: Nanos(ts), kind })
        }),
        1 => Just(Event::Timer(Timer { id: 1 })),
        1 => control.prop_map(Event::Control),
    ]
}

/// With corporate actions and charges among them.
fn inputs_and_actions() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![6 => events(), 1 => actions()];
    prop::collection::vec((0u64..2_000_000_000, event), 1..200)
}

/// What comes of a live run: sessions, the venue's books, the feed's own word, and an operator's further commands.
fn live() -> impl Strategy<Value = Event> {
    let instrument = || prop_oneof![30 => 0u32..3, 1 => Just(3u32)].prop_map(InstrumentId);
    let session = || prop_oneof![20 => 0u32..2, 1 => Just(99u32)];
    let rule = prop_oneof![Just(Rule::Position), Just(Rule::OrderQuantity), Just(Rule::OrderRate), Just(Rule::Invalid)];
    prop_oneof![
        2 => session().prop_map(|session| Event::Link(Link::Down { session })),
        2 => session().prop_map(|session| Event::Link(Link::Up { session })),
        3 => session().prop_map(|session| Event::Link(Link::Settled { session })),
        1 => (session(), any::<u64>()).prop_map(|(session, next)| {
            Event::Link(Link::Heard { session, name: u128::from(next) << 40, next })
        }),
        1 => (instrument(), quantities()).prop_map(|(instrument, quantity)| {
            Event::Link(Link::Position { instrument, quantity })
        }),
        1 => instrument().prop_map(|instrument| Event::Feed(Feed::Incomplete { instrument, missed: 3 })),
        1 => instrument().prop_map(|instrument| Event::Feed(Feed::Complete { instrument })),
        1 => Just(Event::Control(Control::Flatten)),
        2 => Just(Event::Control(Control::Resume)),
        1 => (rule, wild(0..5_000_000_000)).prop_map(|(rule, limit)| {
            Event::Control(Control::SetLimit { rule, limit })
        }),
        1 => (instrument(), order_ids()).prop_map(|(instrument, order)| {
            let kind = ReportKind::Rejected { reason: RejectReason::NeverArrived };
            Event::Report(Report { order, instrument, ts_event: Nanos(0), kind })
        }),
        2 => (instrument(), sides(), prices(), quantities()).prop_map(|(instrument, side, price, quantity)| {
            let kind = IntentKind::Quote { side, price, quantity, limit: LIMIT };
            Event::Intent(Intent { strategy: StrategyId(1), instrument, kind })
        }),
    ]
}

/// Everything at once.
pub fn inputs_and_links() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![12 => events(), 1 => actions(), 4 => live()];
    prop::collection::vec((0u64..900_000_000, event), 1..200)
}

fn inputs() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let step = prop_oneof![8 => 0u64..200_000_000, 1 => 0u64..2_000_000_000, 1 => Just(40_000_000_000_000u64)];
    prop::collection::vec((step, events()), 1..150)
}

const LIMIT: Quantity = Quantity::whole(100);
/// KO is listed twice and held once.
const HOLDS: [InstrumentId; 3] = [InstrumentId(0), InstrumentId(1), InstrumentId(0)];

/// A run with limits, of the pair's graph.
pub fn limited() -> State {
    let (money, rate) = (Some(Cash::whole(500)), Some(5));
    state(Limits { daily_loss: money, orders_per_second: rate, position: Some(LIMIT), ..Limits::default() })
}

/// A run with a node of every kind, and a record of each.
pub fn tall() -> State {
    let mut nodes = Vec::new();
    let mut node = |node: Node| {
        nodes.push(node);
        NodeId(nodes.len() as u32 - 1)
    };
    let source = |id: u32, field| Node::Source { instrument: InstrumentId(id), field };
    let (x, y) = (node(source(0, Field::Mid)), node(source(1, Field::Mid)));
    let (last, size) = (node(source(0, Field::Last)), node(source(0, Field::LastSize)));
    let deep = node(source(0, Field::BidDepth(3)));
    let rises = node(Node::Binary { op: Binary::Gt, x, y });
    let logarithm = node(Node::Unary { op: Unary::Log, x });
    let constant = node(Node::Constant(2.0));
    let product = node(Node::Binary { op: Binary::Mul, x: logarithm, y: constant });
    let mut seen = vec![x, y, last, size, deep, rises, product];
    let all = [Window::Count(3), Window::Count(5), Window::Time(700_000_000), Window::All];
    for (keeps, stat) in [
        (Keeps::Moments, Stat::ZScore),
        (Keeps::Skew, Stat::Skew),
        (Keeps::Least, Stat::Min),
        (Keeps::Greatest, Stat::Max),
        (Keeps::Order, Stat::Quantile(0.4)),
    ] {
        for window in all {
            for by in [None, Some(rises)] {
                let of = node(Node::Window { x, window, keeps, least: 2, by });
                seen.push(node(Node::Read { of, stat }));
            }
        }
    }
    for window in [Window::EwmCount(0.9), Window::EwmTime(400_000_000)] {
        for by in [None, Some(rises)] {
            let of = node(Node::Window { x, window, keeps: Keeps::Moments, least: 2, by });
            seen.push(node(Node::Read { of, stat: Stat::Std }));
        }
        let of = node(Node::PairWindow { x, y, window, least: 2, by: None });
        seen.push(node(Node::Read { of, stat: Stat::Beta }));
    }
    for (window, by) in all.into_iter().zip([None, Some(rises), None, Some(rises)]) {
        let of = node(Node::PairWindow { x, y, window, least: 2, by });
        seen.push(node(Node::Read { of, stat: Stat::Residual }));
    }
    let of = node(Node::Kalman { y, x, drift: 1e-4, noise: 1e-2, least: 2 });
    seen.push(node(Node::Read { of, stat: Stat::Beta }));
    for kind in [BarKind::Time(500_000_000), BarKind::Ticks(3), BarKind::Volume(50.0), BarKind::Money(2_000.0)] {
        let of = node(Node::Bars { price: last, size, kind });
        seen.push(node(Node::Read { of, stat: Stat::Vwap }));
    }
    let of = node(Node::Cross { members: vec![x, y, last], quorum: 0 });
    seen.extend([Stat::Rank(1), Stat::CrossZScore(0)].map(|stat| node(Node::Read { of, stat })));
    let of = node(Node::Session { hours: vec![(Nanos(1), Nanos(9_000_000_000))].into() });
    let open = node(Node::Read { of, stat: Stat::SinceOpen });
    let of = node(Node::LocalTime { offsets: vec![(Nanos(0), 3_600), (Nanos(5_000_000_000), 7_200)].into() });
    let clock = node(Node::Read { of, stat: Stat::TimeOfDay });
    seen.extend([open, clock].map(|time| node(Node::Binary { op: Binary::Add, x, y: time })));
    for past in [Past::Samples(3), Past::Time(600_000_000)] {
        seen.push(node(Node::Lag { x, past }));
    }
    let step = |condition, times| Step { condition, times, within: Some(3_000_000_000), without: 0 };
    let rest = node(Node::Unary { op: Unary::Not, x: rises });
    let spec = PatternSpec {
        conditions: 2,
        heartbeat: false,
        steps: vec![Step { within: None, ..step(0, 1) }, step(1, 2)],
        within: None,
        absent: Some(Absence { conditions: 1, span: 100_000_000 }),
        consumption: Consumption::NonOverlapping,
        max_open: 4,
        at_bound: AtBound::DropOldest,
    };
    seen.push(node(Node::Pattern { inputs: vec![rises, rest], spec }));
    seen.push(node(Node::Occurrences { inputs: vec![rises], span: 2_000_000_000 }));
    seen.push(node(Node::Elapsed { x }));
    seen.push(node(Node::Changes { x: rises }));
    seen.push(node(Node::Cooldown { x: rises, span: 1_000_000_000 }));
    seen.push(node(Node::Debounce { x: rises, span: 500_000_000 }));
    seen.push(node(Node::Latch { set: rises, reset: rest }));
    seen.push(node(Node::When { x: y, trigger: x }));
    seen.push(node(Node::Together { x, y }));
    seen.push(node(Node::Where { condition: rises, x, y }));
    let held = node(Node::Hysteresis { x: seen[7], enter: 1.0, exit: 0.5 });
    let (strategy, instrument) = (StrategyId(0), InstrumentId(0));
    node(Node::Target { x: held, strategy, instrument, sizing: Sizing::Notional(Cash::whole(1_000)) });
    let (side, quantity, every) = (Side::Sell, Quantity::whole(2), 300_000_000);
    node(Node::Quote { x, strategy: StrategyId(2), instrument, side, quantity, limit: LIMIT, every });
    seen.push(held);
    let recorded: Vec<Node> = (0..).zip(&seen).map(|(signal, at)| Node::Record { x: *at, signal, input: x }).collect();
    nodes.extend(recorded);
    made_of(nodes, Limits { position: Some(LIMIT), ..Limits::default() })
}

fn state(limits: Limits) -> State {
    let source = |id: u32| Node::Source { instrument: InstrumentId(id), field: Field::Mid };
    let [x, y, spread, window, z, held] = [0, 1, 2, 3, 4, 5].map(NodeId);
    let aim = |id: u32, sizing: Sizing| Node::Target {
        x: held,
        strategy: StrategyId(id),
        instrument: InstrumentId(id),
        sizing,
    };
    let nodes = vec![
        source(0),
        source(1),
        Node::Binary { op: Binary::Sub, x, y },
        Node::window(spread, Window::Count(3)),
        Node::Read { of: window, stat: helios_signals::Stat::ZScore },
        Node::Hysteresis { x: z, enter: 1.0, exit: 0.5 },
        aim(0, Sizing::Quantity(Quantity::whole(20))),
        aim(1, Sizing::Notional(Cash::whole(1_000))),
        Node::Unary { op: Unary::Abs, x: spread },
        Node::Record { x: NodeId(8), signal: 0, input: spread },
    ];
    made_of(nodes, limits)
}

fn made_of(nodes: Vec<Node>, limits: Limits) -> State {
    let instrument =
        |symbol: &str| Instrument { symbol: symbol.to_owned(), tick: Price(10_000_000), lot: Quantity::whole(1) };
    let config = Config {
        instruments: vec![instrument("KO"), instrument("PEP"), instrument("KO@B")],
        holds: HOLDS.to_vec(),
        nodes,
        series: Vec::new(),
        limits,
        feeds: Feeds { without_price: Vec::new(), limit_prices: true },
        cash: Cash::whole(1_000_000),
        trade_from: Nanos(0),
        style: Style::Touch { ticks: 1 },
        capacity: Capacity { orders: 8, levels: 8 },
    };
    State::new(config).unwrap_or_else(|error| panic!("{error}"))
}

fn run(state: &mut State, events: &[(u64, Event)], mut after: impl FnMut(&State, &Input, &[Output])) {
    let mut ts = Nanos(0);
    let mut out = Vec::new();
    for (wait, event) in events {
        ts = ts.plus(*wait);
        let input = Input { seq: state.next_seq(), ts, event: *event };
        out.clear();
        step(state, &input, &mut out);
        after(state, &input, &out);
    }
}

/// The strategies' accounts are the net position, in quantity and in money; all listings of a security are one.
fn check_accounts(state: &State) {
    for (id, holder) in (0..).map(InstrumentId).zip(HOLDS) {
        assert_eq!(state.risk().position(id), state.risk().position(holder));
        assert!(state.risk().accounts().iter().all(|account| account.instrument != id || id == holder));
    }
    for id in [0, 1].map(InstrumentId) {
        let (net, mut held, mut flows) = (state.risk().position(id), 0i128, 0i128);
        for account in state.risk().accounts().iter().filter(|account| account.instrument == id) {
            held += i128::from(account.position.quantity.0);
            flows += money(&account.position);
        }
        assert_eq!(held, i128::from(net.quantity.0));
        assert_eq!(flows, money(net));
    }
}

/// What a position brought in, less what it took, fees aside: these are shared out by their own rule.
fn money(p: &helios_risk::Position) -> i128 {
    i128::from(p.realised.0) - i128::from(p.cost.0) + i128::from(p.dividends.0) - i128::from(p.borrow.0)
}

/// Money in hand is what the run began with and what trades, actions and charges brought, whatever happened: by outputs
/// alone. Profit and loss, however it is divided, comes to the same: to the last unit.
fn check_money(state: &State, flows: i128) {
    let (risk, start) = (state.risk(), i128::from(Cash::whole(1_000_000).0));
    assert_eq!(i128::from(risk.cash().0), start + flows);
    let positions = [0, 1].map(|id| risk.position(InstrumentId(id)));
    let net: i128 = positions.map(|p| money(p) - i128::from(p.fees.0)).iter().sum();
    assert_eq!(i128::from(risk.cash().0), start + net - i128::from(risk.financing().0));
    let realised: i128 = positions.iter().map(|p| i128::from(p.realised.0)).sum();
    let rest = realised + i128::from(risk.unrealised().0) - i128::from(risk.fees().0) + i128::from(risk.dividends().0)
        - i128::from(risk.borrowed().0)
        - i128::from(risk.financing().0);
    // The lowest number stands for one that does not fit.
    let fits = risk.equity().0 != i64::MIN;
    assert!(!fits || i128::from(risk.equity().0) == start + rest, "equity = money + value of positions, always");
}

/// Money that an output moved.
fn flow(output: &Output) -> i128 {
    match output {
        // A transfer between strategies moves nothing out of the account.
        Output::Fill(fill) if fill.execution != 0 => {
            // Shares of one execution have parts of its notional: rounded here, to be compared with a tolerance of none.
            let value = notional(fill.price, Quantity(fill.side.sign() * fill.quantity.0)).expect("it was booked");
            -i128::from(value.0) - i128::from(fill.fee.0)
        }
        Output::Booked(booking) => i128::from(booking.cash.0),
        _ => 0,
    }
}

/// An order that was sent: what can still trade of it by what was said to the venue and by what it answered.
struct Sent {
    order: Order,
    total: i64,
    asked: Option<i64>,
    filled: i64,
    done: bool,
}

impl Sent {
    fn open(&self) -> i64 {
        if self.done { 0 } else { (self.total.max(self.asked.unwrap_or(0)) - self.filled).max(0) }
    }
}

/// Positions and working orders by what went in and out alone.
#[derive(Default)]
struct Ledger {
    sent: Vec<Sent>,
    held: [i64; 2],
}

impl Ledger {
    /// Takes note of an output; for a new order or a replace, the furthest positions before and after it.
    fn note(&mut self, input: &Event, output: &Output) -> Option<(i64, i64)> {
        let before = [0, 1].map(|id| self.furthest(InstrumentId(id)));
        match *output {
            Output::Submit(order) => {
                self.sent.push(Sent { order, total: order.quantity.0, asked: None, filled: 0, done: false });
                let at = HOLDS[order.instrument.index()];
                return Some((before[at.index()], self.furthest(at)));
            }
            Output::Replace { order, instrument, quantity, .. } => {
                let at = HOLDS[instrument.index()];
                self.find(order).asked = Some(quantity.0);
                return Some((before[at.index()], self.furthest(at)));
            }
            Output::State(change) => {
                let sent = self.find(change.order);
                sent.done = change.to.is_done();
                match input {
                    Event::Report(Report { kind: ReportKind::Replaced { quantity, .. }, .. }) => {
                        (sent.total, sent.asked) = (quantity.0, None);
                    }
                    Event::Report(Report { kind: ReportKind::ChangeRejected { .. }, .. }) => sent.asked = None,
                    _ => {}
                }
            }
            Output::Fill(fill) if fill.execution != 0 => {
                self.held[HOLDS[fill.instrument.index()].index()] += fill.side.sign() * fill.quantity.0;
                let sent = self.find(fill.order);
                sent.filled += fill.quantity.0;
                if let Some(asked) = sent.asked.filter(|_| sent.filled > sent.total) {
                    sent.total = sent.total.max(asked);
                }
            }
            _ => {}
        }
        None
    }

    fn find(&mut self, id: OrderId) -> &mut Sent {
        self.sent.iter_mut().find(|sent| sent.order.id == id).expect("an order that was sent")
    }

    fn furthest(&self, instrument: InstrumentId) -> i64 {
        let open = |side: Side| -> i64 {
            let here = |sent: &&Sent| (HOLDS[sent.order.instrument.index()], sent.order.side) == (instrument, side);
            self.sent.iter().filter(here).map(Sent::open).sum()
        };
        let held = self.held[instrument.index()];
        (held + open(Side::Buy)).abs().max((held - open(Side::Sell)).abs())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_same_inputs_give_the_same_outputs_and_state(events in inputs()) {
        let limits = Limits { daily_loss: Some(Cash::whole(500)), orders_per_second: Some(5), ..Limits::default() };
        let mut first = Vec::new();
        run(&mut state(limits), &events, |state, _, out| {
            check_accounts(state);
            first.push((format!("{out:?}"), state.digest()));
        });
        let mut again = first.iter();
        run(&mut state(limits), &events, |state, input, out| {
            let (outputs, digest) = again.next().expect("as many inputs");
            assert_eq!((&format!("{out:?}"), &state.digest()), (outputs, digest), "{input:?}");
        });
    }

    /// Splits, dividends and charges among everything else: nothing is lost and nothing comes from nowhere.
    #[test]
    fn money_and_shares_are_conserved_through_corporate_actions(events in inputs_and_actions()) {
        let mut flows = 0;
        let mut digests = Vec::new();
        run(&mut state(Limits::default()), &events, |state, _, out| {
            check_accounts(state);
            flows += out.iter().map(flow).sum::<i128>();
            check_money(state, flows);
            digests.push(state.digest());
        });
        let mut again = digests.iter();
        run(&mut state(Limits::default()), &events, |state, input, _| {
            assert_eq!(Some(&state.digest()), again.next(), "{input:?}");
        });
    }

    /// A position limit is never passed: where a venue has filled more than was ordered, or put more in force than was
    /// asked for, nothing that we send makes it worse.
    #[test]
    fn no_order_passes_the_position_limit(events in inputs()) {
        let limits = Limits { position: Some(LIMIT), ..Limits::default() };
        let mut ledger = Ledger::default();
        run(&mut state(limits), &events, |state, input, out| {
            for output in out {
                if let Some((before, after)) = ledger.note(&input.event, output) {
                    assert!(after <= LIMIT.0.max(before), "{before} -> {after} by {output:?} after {input:?}");
                }
            }
            // Whatever venue filled it: the position is the sum of the fills.
            for (id, held) in (0..).map(InstrumentId).zip(ledger.held) {
                assert_eq!(state.risk().position(id).quantity.0, held, "after {input:?}");
            }
        });
    }
}
