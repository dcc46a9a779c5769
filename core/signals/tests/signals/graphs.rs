//! Whole graphs: random ones against a naive evaluator, and bad ones that must be refused.

use helios_data::Touched;
use helios_signals::{Binary, Field, Node, NodeId, Sizing, Stat, Unary, Window};
use helios_types::{Cash, InstrumentId, Price, Quantity, Side, StrategyId, TradeKind, Update};
use proptest::prelude::*;

use crate::naive::History;
use crate::{Bench, build, node, source};

const INSTRUMENTS: u32 = 3;
const FIELDS: [Field; 15] = [
    Field::Bid,
    Field::Ask,
    Field::Mid,
    Field::Microprice,
    Field::Imbalance,
    Field::Flow,
    Field::BidSize,
    Field::AskSize,
    Field::Last,
    Field::LastSize,
    Field::Open,
    Field::High,
    Field::Low,
    Field::Close,
    Field::Volume,
];

pub const UNARIES: [Unary; 8] =
    [Unary::Neg, Unary::Log, Unary::Exp, Unary::Sqrt, Unary::Abs, Unary::Sign, Unary::Not, Unary::IsNull];
pub const BINARIES: [Binary; 15] = [
    Binary::Add,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::Min,
    Binary::Max,
    Binary::Gt,
    Binary::Ge,
    Binary::Lt,
    Binary::Le,
    Binary::Eq,
    Binary::Ne,
    Binary::And,
    Binary::Or,
    Binary::Coalesce,
];

/// A node by dice: what it is made of are earlier nodes that have a value.
fn dice_node(nodes: &[Node], (kind, a, b, c): (u8, u32, u32, u8)) -> Node {
    let earlier = |dice: u32| NodeId(dice % nodes.len() as u32);
    match kind % 15 {
        _ if nodes.len() < 3 => {
            Node::Source { instrument: InstrumentId(a % INSTRUMENTS), field: FIELDS[b as usize % FIELDS.len()] }
        }
        0 | 1 => Node::Source { instrument: InstrumentId(a % INSTRUMENTS), field: FIELDS[b as usize % FIELDS.len()] },
        2 => Node::Constant(f64::from(c) - 7.0),
        3 | 4 => {
            let op = UNARIES[usize::from(c) % UNARIES.len()];
            Node::Unary { op, x: earlier(a) }
        }
        5..=7 => {
            let op = BINARIES[usize::from(c) % BINARIES.len()];
            Node::Binary { op, x: earlier(a), y: earlier(b) }
        }
        8 => {
            let window = [Window::Count(3), Window::Time(9), Window::EwmCount(0.7), Window::EwmTime(4)];
            Node::window(earlier(a), window[usize::from(c) % 4])
        }
        9 | 10 => match nodes.iter().rposition(|node| matches!(node, Node::Window { .. })) {
            Some(at) => {
                let stat = [Stat::Mean, Stat::Var, Stat::Std, Stat::ZScore][usize::from(c) % 4];
                Node::Read { of: node(at), stat }
            }
            None => Node::Constant(2.0),
        },
        11 => {
            let sources: Vec<usize> = (0..nodes.len()).filter(|at| matches!(nodes[*at], Node::Source { .. })).collect();
            let source = |dice: u32| node(sources[dice as usize % sources.len()]);
            Node::Together { x: source(a), y: source(b) }
        }
        12 => Node::Where { condition: earlier(a), x: earlier(b), y: earlier(u32::from(c)) },
        13 => Node::When { x: earlier(a), trigger: earlier(b) },
        _ => Node::Hysteresis { x: earlier(a), enter: 2.0, exit: 1.0 },
    }
}

/// A graph in which every node is recorded under its own number, and how many nodes have values.
fn any_graph() -> impl Strategy<Value = (Vec<Node>, usize)> {
    prop::collection::vec(any::<(u8, u32, u32, u8)>(), 4..40).prop_map(|dice| {
        let mut nodes: Vec<Node> = Vec::new();
        for dice in dice {
            let node = dice_node(&nodes, dice);
            // What no event can reach is refused when a graph is built; constants are tried alone.
            if build([&nodes[..], std::slice::from_ref(&node)].concat(), INSTRUMENTS as usize).is_ok() {
                nodes.push(node);
            }
        }
        let valued = nodes.len();
        for at in 0..valued {
            let record = Node::Record { x: node(at), signal: at as u32, input: node(0) };
            if build([&nodes[..], std::slice::from_ref(&record)].concat(), INSTRUMENTS as usize).is_ok() {
                nodes.push(record);
            }
        }
        (nodes, valued)
    })
}

fn any_price() -> impl Strategy<Value = Price> {
    (1i64..40).prop_map(|quarters| Price(quarters * 250_000_000))
}

fn any_size() -> impl Strategy<Value = Quantity> {
    (1i64..9).prop_map(Quantity::whole)
}

pub fn any_trade() -> impl Strategy<Value = Update> {
    let side = prop_oneof![Just(None), Just(Some(Side::Buy)), Just(Some(Side::Sell))];
    (any_price(), any_size(), side).prop_map(|(price, quantity, aggressor)| Update::Trade {
        price,
        quantity,
        aggressor,
        kind: TradeKind::Regular,
        trade: 0,
    })
}

pub fn any_bar() -> impl Strategy<Value = Update> {
    (any_price(), any_price(), any_size()).prop_map(|(a, b, volume)| Update::Bar {
        open: a,
        high: a.max(b),
        low: a.min(b),
        close: b,
        volume,
        span: 1,
    })
}

fn any_event() -> impl Strategy<Value = (u64, u32, Update)> {
    let (price, size) = (any_price, any_size);
    let quote =
        (price(), price(), size(), size(), 0u8..6).prop_map(|(bid, ask, bid_quantity, ask_quantity, gap)| match gap {
            0 => Update::Quote { bid: Price::UNDEFINED, bid_quantity: Quantity::ZERO, ask, ask_quantity },
            _ => Update::Quote { bid, bid_quantity, ask, ask_quantity },
        });
    (prop_oneof![Just(0u64), 1u64..5], 0..INSTRUMENTS, prop_oneof![3 => quote, 1 => any_trade(), 1 => any_bar()])
}

/// Which kinds of market event a field hears.
fn hears(field: Field) -> Touched {
    match field {
        Field::Bid
        | Field::Ask
        | Field::Mid
        | Field::BidSize
        | Field::AskSize
        | Field::Microprice
        | Field::Imbalance => Touched::TOP,
        Field::Last | Field::LastSize | Field::Flow => Touched::TRADE,
        _ => Touched::BAR,
    }
}

fn price(price: Price) -> f64 {
    if price.is_defined() { price.to_f64() } else { f64::NAN }
}

/// What a source reads, said once more.
fn read(bench: &Bench, instrument: InstrumentId, field: Field) -> f64 {
    let view = bench.markets.view(instrument);
    let (bid, ask) = (view.top.bid, view.top.ask);
    let bar = |f: fn(helios_data::Bar) -> f64| view.bar.map_or(f64::NAN, f);
    match field {
        Field::Bid => price(bid.price),
        Field::Ask => price(ask.price),
        Field::Mid => (price(bid.price) + price(ask.price)) / 2.0,
        Field::Microprice | Field::Imbalance if !(bid.price.is_defined() && ask.price.is_defined()) => f64::NAN,
        Field::Microprice => {
            let (b, a) = (bid.quantity.to_f64(), ask.quantity.to_f64());
            (bid.price.to_f64() * a + ask.price.to_f64() * b) / (a + b)
        }
        Field::Imbalance => {
            let (b, a) = (bid.quantity.to_f64(), ask.quantity.to_f64());
            (b - a) / (a + b)
        }
        Field::Flow => match view.last_aggressor {
            Some(Side::Buy) => view.last_quantity.to_f64(),
            Some(Side::Sell) => -view.last_quantity.to_f64(),
            None => 0.0 * view.last_quantity.to_f64(),
        },
        Field::BidSize => bid.quantity.to_f64(),
        Field::AskSize => ask.quantity.to_f64(),
        Field::Last => price(view.last),
        Field::LastSize => view.last_quantity.to_f64(),
        Field::Open => bar(|bar| bar.open.to_f64()),
        Field::High => bar(|bar| bar.high.to_f64()),
        Field::Low => bar(|bar| bar.low.to_f64()),
        Field::Close => bar(|bar| bar.close.to_f64()),
        Field::Volume => bar(|bar| bar.volume.to_f64()),
        _ => unreachable!("depth has tests of its own"),
    }
}

fn finite(x: f64) -> f64 {
    if x.is_finite() { x } else { f64::NAN }
}

fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

/// Visits every node on every event and asks each whether it should have fired, and to what.
struct Naive {
    nodes: Vec<Node>,
    values: Vec<f64>,
    fired: Vec<bool>,
    histories: Vec<History>,
    /// When a node last fired.
    seen: Vec<Option<u64>>,
}

impl Naive {
    fn new(nodes: &[Node]) -> Self {
        let n = nodes.len();
        let mut naive = Self {
            nodes: nodes.to_vec(),
            values: vec![f64::NAN; n],
            fired: vec![false; n],
            histories: vec![History::default(); n],
            seen: vec![None; n],
        };
        // Constants, and what is made of constants only, are there from the start.
        let mut still = vec![false; n];
        for at in 0..n {
            let value = |x: NodeId| naive.values[x.0 as usize];
            let node = &naive.nodes[at];
            let source = matches!(node, Node::Source { .. });
            still[at] = !source && node.inputs().iter().all(|x| still[x.0 as usize]);
            naive.values[at] = match *node {
                _ if !still[at] => f64::NAN,
                Node::Constant(x) => x,
                Node::Unary { op, x } => unary(op, value(x)),
                Node::Binary { op, x, y } => binary(op, value(x), value(y)),
                Node::Where { condition, x, y } => choose(value(condition), value(x), value(y)),
                _ => f64::NAN,
            };
        }
        naive
    }

    /// Computes everything afresh; a node's inputs are what the graph has, so that rounding does not add up.
    fn event(&mut self, bench: &Bench, ts: u64, instrument: u32, touched: Touched) {
        for at in 0..self.nodes.len() {
            let fresh = |x: NodeId| self.fired[x.0 as usize];
            let value = |x: NodeId| bench.graph.value(x);
            let (fires, expected) = match self.nodes[at].clone() {
                Node::Source { instrument: own, field } => {
                    (own.0 == instrument && touched.has(hears(field)), read(bench, own, field))
                }
                Node::Constant(x) => (false, x),
                Node::Together { x, y } => {
                    let now = |x: NodeId| self.seen[x.0 as usize] == Some(ts);
                    (now(x) && now(y) && (fresh(x) || fresh(y)), value(x))
                }
                Node::Unary { op, x } => (fresh(x), unary(op, value(x))),
                Node::Binary { op, x, y } => (fresh(x) || fresh(y), binary(op, value(x), value(y))),
                Node::Window { x, .. } => {
                    if fresh(x) {
                        self.histories[at].push(ts, value(x));
                    }
                    (fresh(x), value(x))
                }
                Node::Read { of: window, stat } => {
                    let Node::Window { window: kind, .. } = self.nodes[window.0 as usize] else { unreachable!() };
                    let found = value(node(at));
                    if fresh(window) {
                        let agrees = self.histories[window.0 as usize].agrees(kind, stat, found);
                        agrees.unwrap_or_else(|wrong| panic!("node {at}: {wrong}"));
                    }
                    (fresh(window), found)
                }
                Node::Hysteresis { x, .. } => {
                    let after = hold(self.values[at], value(x));
                    (fresh(x) && !same(after, self.values[at]), after)
                }
                Node::Where { condition, x, y } => {
                    let chosen = choose(value(condition), value(x), value(y));
                    (fresh(condition) || fresh(x) || fresh(y), chosen)
                }
                Node::When { x, trigger } => (fresh(trigger), value(x)),
                Node::Target { .. } | Node::Record { .. } => (false, f64::NAN),
                node => unreachable!("the dice know no {node:?}"),
            };
            self.fired[at] = fires;
            if fires {
                self.seen[at] = Some(ts);
            }
            if fires {
                self.values[at] = expected;
            }
        }
    }
}

fn choose(condition: f64, x: f64, y: f64) -> f64 {
    match condition {
        c if c.is_nan() => f64::NAN,
        0.0 => y,
        _ => x,
    }
}

fn unary(op: Unary, x: f64) -> f64 {
    finite(match op {
        Unary::Neg => -x,
        Unary::Log => libm::log(x),
        Unary::Exp => libm::exp(x),
        Unary::Sqrt => libm::sqrt(x),
        Unary::Abs => x.max(-x),
        Unary::Sign if x > 0.0 => 1.0,
        Unary::Sign if x < 0.0 => -1.0,
        Unary::Sign => x * 0.0,
        Unary::Not if x.is_nan() => x,
        Unary::Not => {
            if x == 0.0 {
                1.0
            } else {
                0.0
            }
        }
        Unary::IsNull => {
            if x.is_nan() {
                1.0
            } else {
                0.0
            }
        }
    })
}

fn binary(op: Binary, x: f64, y: f64) -> f64 {
    let known = |truth: bool| match truth {
        _ if x.is_nan() || y.is_nan() => f64::NAN,
        true => 1.0,
        false => 0.0,
    };
    finite(match op {
        Binary::Coalesce => {
            if x.is_nan() {
                y
            } else {
                x
            }
        }
        Binary::Gt => known(x > y),
        Binary::Ge => known(x >= y),
        Binary::Lt => known(x < y),
        Binary::Le => known(x <= y),
        Binary::Eq => known(x == y),
        Binary::Ne => known(x != y),
        Binary::And => known(x != 0.0 && y != 0.0),
        Binary::Or => known(x != 0.0 || y != 0.0),
        Binary::Min => known(true) * if x < y { x } else { y },
        Binary::Max => known(true) * if x > y { x } else { y },
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
    })
}

/// Hysteresis with enter 2 and exit 1.
fn hold(before: f64, x: f64) -> f64 {
    match x {
        x if x.is_nan() => before,
        x if x >= 2.0 => 1.0,
        x if x <= -2.0 => -1.0,
        x if before == 1.0 && x > 1.0 => 1.0,
        x if before == -1.0 && x < -1.0 => -1.0,
        _ => 0.0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_random_graph_fires_and_computes_what_a_naive_one_does(
        (nodes, valued) in any_graph(),
        events in prop::collection::vec(any_event(), 1..80),
    ) {
        let mut bench = Bench::new(nodes.clone(), INSTRUMENTS as usize);
        let mut naive = Naive::new(&nodes[..valued]);
        let mut ts = 0;
        for (step, instrument, update) in events {
            ts += step;
            let touched = match update {
                Update::Quote { .. } => Touched::TOP,
                Update::Trade { .. } => Touched::TRADE,
                _ => Touched::BAR,
            };
            bench.event(ts, instrument, update);
            naive.event(&bench, ts, instrument, touched);
            for (at, expected) in naive.values.iter().enumerate() {
                let found = bench.graph.value(node(at));
                prop_assert!(same(found, *expected), "node {at} {:?}: {found}, not {expected}", nodes[at]);
            }
            let told: Vec<usize> = bench.signals.iter().map(|signal| signal.signal as usize).collect();
            let expected: Vec<usize> =
                (0..valued).filter(|at| naive.fired[*at] && !naive.values[*at].is_nan()).collect();
            prop_assert_eq!(told, expected, "who fired at {}", ts);
        }
    }
}

#[test]
fn what_is_made_of_constants_has_its_value_from_the_start() {
    let nodes = vec![
        Node::Constant(2.0),
        Node::Constant(3.0),
        Node::Binary { op: Binary::Mul, x: NodeId(0), y: NodeId(1) },
        source(Field::Mid),
        Node::Binary { op: Binary::Mul, x: NodeId(2), y: NodeId(3) },
    ];
    let mut bench = Bench::new(nodes, 1);
    assert_eq!(bench.graph.value(NodeId(2)), 6.0);
    bench.mid(0, Some(7.0));
    assert_eq!(bench.graph.value(NodeId(4)), 42.0);
}

/// An event reaches only what depends on it; what nothing depends on costs nothing.
#[test]
fn an_event_of_another_kind_or_instrument_reaches_nothing() {
    let mut bench = Bench::new(vec![source(Field::Mid), Node::Unary { op: Unary::Log, x: NodeId(0) }], 2);
    bench.mid(0, Some(2.0));
    assert_eq!(bench.graph.evaluations(), 1);
    bench.event(1, 1, crate::locked(Some(3.0)));
    let (price, quantity) = (Price::whole(9), Quantity::whole(1));
    bench.event(2, 0, Update::Trade { price, quantity, aggressor: None, kind: TradeKind::Regular, trade: 0 });
    assert_eq!((bench.graph.evaluations(), bench.graph.value(NodeId(1))), (1, libm::log(2.0)));
}

#[test]
fn a_bad_graph_is_refused_and_the_node_is_named() {
    let mid = || source(Field::Mid);
    let window = |window| Node::window(NodeId(0), window);
    let hysteresis = |enter, exit| Node::Hysteresis { x: NodeId(0), enter, exit };
    let target = |x: u32, instrument: u32, unit: i64| Node::Target {
        x: NodeId(x),
        strategy: StrategyId(0),
        instrument: InstrumentId(instrument),
        sizing: Sizing::Quantity(Quantity(unit)),
    };
    let notional = |unit: i64| Node::Target {
        x: NodeId(0),
        strategy: StrategyId(0),
        instrument: InstrumentId(0),
        sizing: Sizing::Notional(Cash(unit)),
    };
    let one = Node::Constant(1.0);
    let rows: Vec<(Vec<Node>, u32, &str)> = vec![
        (vec![Node::Unary { op: Unary::Log, x: NodeId(0) }], 0, "must come before it"),
        (
            vec![mid(), Node::Binary { op: Binary::Add, x: NodeId(0), y: NodeId(2) }, mid()],
            1,
            "input 2 must come before",
        ),
        (vec![mid(), Node::Record { x: NodeId(0), signal: 0, input: NodeId(9) }], 1, "input 9"),
        (vec![Node::Source { instrument: InstrumentId(2), field: Field::Mid }], 0, "not one of the 2"),
        (vec![Node::Constant(f64::NAN)], 0, "not a finite number"),
        (vec![mid(), window(Window::Count(0))], 1, "1 to 1048576 samples, got 0"),
        (vec![mid(), window(Window::Count(u32::MAX))], 1, "got 4294967295"),
        (vec![mid(), window(Window::Time(0))], 1, "longer than zero"),
        (vec![mid(), window(Window::EwmTime(0))], 1, "longer than zero"),
        (vec![mid(), window(Window::EwmCount(0.0))], 1, "between 0 and 1"),
        (vec![mid(), window(Window::EwmCount(f64::NAN))], 1, "between 0 and 1"),
        (vec![mid(), Node::Read { of: NodeId(0), stat: Stat::Mean }], 1, "input 0 is not a window"),
        (vec![mid(), hysteresis(1.0, 1.0)], 1, "enter > exit >= 0"),
        (vec![mid(), hysteresis(1.0, -0.5)], 1, "enter > exit >= 0"),
        (vec![mid(), hysteresis(f64::INFINITY, 1.0)], 1, "enter > exit >= 0"),
        (vec![mid(), target(0, 5, 1)], 1, "instrument 5"),
        (vec![mid(), target(0, 0, 0)], 1, "must be positive"),
        (vec![mid(), notional(-1)], 1, "must be positive"),
        (vec![mid(), target(0, 0, 1), Node::Unary { op: Unary::Neg, x: NodeId(1) }], 2, "has no value"),
        (vec![mid(), target(0, 0, 1), target(0, 1, 1), target(0, 0, 2)], 3, "already aims at instrument 0 in node 1"),
        (vec![one.clone(), target(0, 0, 1)], 1, "constants only"),
        (vec![one, Node::window(NodeId(0), Window::Count(2))], 1, "constants only"),
        (vec![Node::Constant(-1.0), Node::Unary { op: Unary::Log, x: NodeId(0) }], 1, "null for ever"),
    ];
    for (nodes, at, message) in rows {
        let error = build(nodes.clone(), 2).err().unwrap_or_else(|| panic!("{nodes:?} was taken"));
        assert_eq!(error.node, at, "{nodes:?}: {error}");
        assert!(error.message.contains(message), "{nodes:?}: {error}");
        assert!(error.to_string().starts_with(&format!("node {at}: ")), "{error}");
    }
}
