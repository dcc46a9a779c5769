//! The two drivers against each other: the same rows event by event and as columns, in chunks of any size, and both in
//! turn. Every node's value after every row, and whether it fired there, must be equal bit for bit.

use std::collections::BTreeSet;

use helios_book::Capacity;
use helios_data::{Markets, Touched};
use helios_signals::{
    Absence, AtBound, BarKind, Consumption, Field, Fired, Graph, Keeps, Node, NodeId, Past, PatternSpec, Sheet, Stat,
    Step, Window,
};
use helios_types::{InstrumentId, Market, Nanos, Price, Quantity, Side, TradeKind, Update};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::graphs::{BINARIES, UNARIES, any_bar, any_trade};
use crate::node;

const INSTRUMENTS: u32 = 3;
/// Four series in three groups.
const GROUPS: [u32; 4] = [0, 0, 1, 2];
const FIELDS: [Field; 21] = [
    Field::Bid,
    Field::Ask,
    Field::Mid,
    Field::Mid,
    Field::Microprice,
    Field::Imbalance,
    Field::BidSize,
    Field::AskSize,
    Field::BidAt(1),
    Field::AskAt(0),
    Field::BidSizeAt(0),
    Field::AskSizeAt(1),
    Field::BidDepth(2),
    Field::AskDepth(3),
    Field::Last,
    Field::LastSize,
    Field::Flow,
    Field::Open,
    Field::High,
    Field::Low,
    Field::Volume,
];
const KEEPS: [Keeps; 5] = [Keeps::Moments, Keeps::Skew, Keeps::Least, Keeps::Greatest, Keeps::Order];
const WINDOWS: [Window; 7] = [
    Window::Count(1),
    Window::Count(4),
    Window::Time(9),
    Window::Time(u64::MAX),
    Window::All,
    Window::EwmCount(0.7),
    Window::EwmTime(4),
];

// ---- random graphs ---------------------------------------------------------------------------------------------------

type Dice = (u8, u32, u32, u32);

fn build(nodes: Vec<Node>) -> Option<Graph> {
    Graph::new(nodes, vec![Quantity::whole(1); INSTRUMENTS as usize], GROUPS.to_vec()).ok()
}

fn pick<T: Copy>(from: &[T], dice: u32) -> T {
    from[dice as usize % from.len()]
}

fn of_window(keeps: Keeps, dice: u32) -> Stat {
    match keeps {
        Keeps::Moments => pick(&[Stat::Mean, Stat::Sum, Stat::Var, Stat::Std, Stat::ZScore], dice),
        Keeps::Skew => Stat::Skew,
        Keeps::Least => Stat::Min,
        Keeps::Greatest => Stat::Max,
        Keeps::Order => Stat::Quantile(pick(&[0.0, 0.25, 0.5, 1.0], dice)),
    }
}

/// A statistic that the node may tell; it is tried, so that a refused one costs nothing.
fn stat_of(node: &Node, dice: u32) -> Option<Stat> {
    let pairs = [Stat::Cov, Stat::Corr, Stat::Beta, Stat::Alpha, Stat::Residual];
    Some(match *node {
        Node::Window { keeps, .. } => of_window(keeps, dice),
        Node::PairWindow { .. } => pick(&pairs, dice),
        Node::Kalman { .. } => pick(&[Stat::Beta, Stat::Alpha, Stat::Residual, Stat::Std, Stat::ZScore], dice),
        Node::Bars { .. } => {
            let fields = [Stat::Open, Stat::High, Stat::Low, Stat::Close, Stat::Volume, Stat::Vwap, Stat::Count];
            pick(&fields, dice)
        }
        Node::Session { .. } => pick(&[Stat::Session, Stat::SinceOpen, Stat::ToClose, Stat::IsOpen], dice),
        Node::LocalTime { .. } => pick(&[Stat::TimeOfDay, Stat::Weekday], dice),
        Node::Cross { ref members, .. } => {
            let member = dice / 4 % members.len() as u32;
            pick(
                &[Stat::Rank(member), Stat::CrossZScore(member), Stat::Demean(member), Stat::Top { member, k: 1 }],
                dice,
            )
        }
        _ => return None,
    })
}

fn pattern(dice: u32, heartbeat: bool) -> PatternSpec {
    let step = |condition, times, within, without| Step { condition, times, within, without };
    PatternSpec {
        conditions: 2,
        heartbeat,
        steps: vec![step(0, 1 + dice % 2, None, 0), step(1, 1, pick(&[None, Some(6)], dice / 2), dice as u64 / 4 % 2)],
        within: pick(&[None, Some(20)], dice / 8),
        absent: pick(&[None, Some(Absence { conditions: 1, span: 3 })], dice / 16),
        consumption: pick(&[Consumption::NonOverlapping, Consumption::Overlapping], dice / 32),
        max_open: 1 + dice / 64 % 3,
        at_bound: AtBound::RefuseNew,
    }
}

/// Nodes by dice, made of earlier ones. A clock comes with what reads it and something that makes it fire.
fn roll(nodes: &[Node], (kind, a, b, c): Dice) -> Vec<Node> {
    let next = nodes.len();
    let earlier = |dice: u32| node(dice as usize % next);
    let source = |a: u32, b: u32| Node::Source { instrument: InstrumentId(a % INSTRUMENTS), field: pick(&FIELDS, b) };
    let clock = |c: u32| match c % 2 {
        0 => Node::Session {
            hours: [(5, 40), (40, 41), (60, 90), (200, 2_000)].map(|(a, b)| (Nanos(a), Nanos(b))).into(),
        },
        _ => Node::LocalTime { offsets: [(0, -20_000), (50, 3_600), (150, 7_200)].map(|(a, b)| (Nanos(a), b)).into() },
    };
    if next < 4 {
        return vec![source(a, b)];
    }
    vec![match kind % 36 {
        0 | 1 => source(a, b),
        2 => Node::Series { series: a % GROUPS.len() as u32 },
        3 => Node::Constant(f64::from(c % 16) - 7.0),
        4 => Node::Unary { op: pick(&UNARIES, c), x: earlier(a) },
        5..=7 => Node::Binary { op: pick(&BINARIES, c), x: earlier(a), y: earlier(b) },
        8 => Node::Where { condition: earlier(a), x: earlier(b), y: earlier(c) },
        9 => {
            let sources: Vec<usize> = (0..next).filter(|at| matches!(nodes[*at], Node::Source { .. })).collect();
            Node::Together { x: node(pick(&sources, a)), y: node(pick(&sources, b)) }
        }
        10 | 11 => Node::When { x: earlier(a), trigger: earlier(b) },
        12 => Node::Changes { x: earlier(a) },
        13 => {
            let past = [Past::Samples(1), Past::Samples(3), Past::Time(1), Past::Time(7), Past::Time(u64::MAX)];
            Node::Lag { x: earlier(a), past: pick(&past, b) }
        }
        14 => Node::Elapsed { x: earlier(a) },
        15..=17 => Node::window(earlier(a), pick(&WINDOWS, b)),
        18 | 19 => {
            let keeps = pick(&KEEPS, c);
            let by = (c / 8 % 2 == 0).then(|| earlier(c / 16));
            Node::Window { x: earlier(a), window: pick(&WINDOWS, b), keeps, least: a % 4, by }
        }
        20 => {
            let by = (c % 3 == 0).then(|| earlier(c / 16));
            Node::PairWindow { x: earlier(a), y: earlier(b), window: pick(&WINDOWS, c), least: c / 8 % 4, by }
        }
        21 => Node::Kalman { y: earlier(a), x: earlier(b), drift: 0.01, noise: 0.5, least: c % 3 },
        22 => {
            let kind = [BarKind::Time(6), BarKind::Ticks(3), BarKind::Volume(9.5), BarKind::Money(20.0)];
            Node::Bars { price: earlier(a), size: earlier(b), kind: pick(&kind, c) }
        }
        23 => {
            let members = [a, b, c, a / 7].map(earlier).into();
            Node::Cross { members, quorum: c / 16 % 4 }
        }
        24 => {
            let heartbeat = c % 3 == 0;
            let inputs = [Some(a), Some(b), heartbeat.then_some(c)].into_iter().flatten().map(earlier).collect();
            Node::Pattern { inputs, spec: pattern(c / 3, heartbeat) }
        }
        25 => {
            let inputs = [Some(a), (c % 2 == 0).then_some(b)].into_iter().flatten().map(earlier).collect();
            Node::Occurrences { inputs, span: u64::from(1 + c % 20) }
        }
        26 => Node::Hysteresis { x: earlier(a), enter: 2.0, exit: f64::from(b % 3) / 2.0 },
        27 => Node::Cooldown { x: earlier(a), span: u64::from(1 + c % 9) },
        28 => Node::Debounce { x: earlier(a), span: u64::from(1 + c % 9) },
        29 => Node::Latch { set: earlier(a), reset: earlier(b) },
        30 => {
            let read = clock(c);
            let stat = stat_of(&read, b).expect("a clock tells something");
            let (x, trigger) = (node(next + 1), earlier(a));
            return vec![read, Node::Read { of: node(next), stat }, Node::When { x, trigger }];
        }
        31 => {
            let (read, at) = (clock(c), node(next));
            let stat = stat_of(&read, b).expect("a clock tells something");
            let (x, y) = (node(next + 1), earlier(a));
            return vec![read, Node::Read { of: at, stat }, Node::Binary { op: pick(&BINARIES, c / 2), x, y }];
        }
        32 => {
            let (read, at) = (clock(0), node(next));
            let keeps = pick(&KEEPS, c);
            let window =
                Node::Window { x: earlier(a), window: pick(&WINDOWS, b), keeps, least: 1, by: Some(node(next + 1)) };
            let told = Node::Read { of: node(next + 2), stat: of_window(keeps, a) };
            return vec![read, Node::Read { of: at, stat: Stat::Session }, window, told];
        }
        _ => {
            let told: Vec<usize> = (0..next).filter(|at| stat_of(&nodes[*at], 0).is_some()).collect();
            if told.is_empty() {
                return vec![Node::window(earlier(a), pick(&WINDOWS, b))];
            }
            // The latest most often: what has just been made is read.
            let of = if a % 2 == 0 { told[told.len() - 1] } else { pick(&told, a / 2) };
            Node::Read { of: node(of), stat: stat_of(&nodes[of], b).expect("it tells something") }
        }
    }]
}

fn any_graph(most: usize) -> impl Strategy<Value = Vec<Node>> {
    prop::collection::vec(any::<Dice>(), 6..most).prop_map(|dice| {
        let mut nodes: Vec<Node> = Vec::new();
        for dice in dice {
            // What no event can reach is refused when a graph is built.
            let longer = [&nodes[..], &roll(&nodes, dice)].concat();
            if build(longer.clone()).is_some() {
                nodes = longer;
            }
        }
        nodes
    })
}

// ---- random rows -----------------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Happens {
    Market(u32, Update),
    /// The values of a group; what is missing did not come, but for the last.
    Given(u32, [Option<f64>; 2]),
}

fn any_row() -> impl Strategy<Value = (u64, Happens)> {
    let price = || (1i64..40).prop_map(|quarters| Price(quarters * 250_000_000));
    let size = || (1i64..9).prop_map(Quantity::whole);
    let quote = (price(), price(), size(), size(), 0u8..6).prop_map(|(bid, ask, b, a, gap)| match gap {
        0 => Update::Quote { bid: Price::UNDEFINED, bid_quantity: Quantity::ZERO, ask, ask_quantity: a },
        _ => Update::Quote { bid, bid_quantity: b, ask, ask_quantity: a },
    });
    let side = || prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let (trade, bar) = (any_trade(), any_bar());
    // Few order numbers: many of these are refused, and are rows at which nothing fires.
    let add = (0u64..6, side(), price(), size()).prop_map(|(order, side, price, quantity)| Update::Add {
        order,
        side,
        price,
        quantity,
    });
    let fewer = (0u64..6, size(), any::<bool>()).prop_map(|(order, quantity, trades)| {
        if trades { Update::Execute { order, quantity, trade: 0 } } else { Update::Reduce { order, quantity } }
    });
    let book = prop_oneof![3 => add, 2 => fewer, 1 => Just(Update::Clear)];
    let market = (0..INSTRUMENTS, prop_oneof![3 => quote, 2 => trade, 2 => bar, 2 => book])
        .prop_map(|(instrument, update)| Happens::Market(instrument, update));
    let value = || prop_oneof![1 => Just(f64::NAN), 1 => Just(1.0), 6 => -9.0f64..9.0, 1 => Just(1e200)];
    let given = (0u32..3, prop::option::of(value()), value())
        .prop_map(|(group, first, last)| Happens::Given(group, [first, Some(last)]));
    (prop_oneof![3 => Just(0u64), 6 => 1u64..5, 1 => 20u64..60], prop_oneof![3 => market, 1 => given])
}

/// A number that no source has: where a source did not fire its column means nothing.
const POISON: f64 = 123_456.75;

/// What one row brings to the sources, read off the market at its time.
struct Row {
    now: Nanos,
    happens: Happens,
    touched: Touched,
    sources: Vec<(NodeId, bool, f64)>,
}

/// One graph, driven either way.
struct Driven {
    graph: Graph,
    sheet: Sheet,
    markets: Markets,
}

impl Driven {
    fn new(nodes: &[Node], outputs: &[NodeId]) -> Self {
        let graph = build(nodes.to_vec()).expect("a sound graph");
        let sheet = Sheet::new(&graph, outputs);
        let markets = Markets::new(INSTRUMENTS as usize, Capacity { orders: 16, levels: 16 });
        Self { graph, sheet, markets }
    }

    fn hear(&mut self, now: u64, happens: &Happens) -> Row {
        let (now, mut touched) = (Nanos(now), Touched::NOTHING);
        if let Happens::Market(instrument, update) = *happens {
            let market = Market { instrument: InstrumentId(instrument), ts_event: now, update };
            touched = self.markets.apply(&market).unwrap_or(Touched::NOTHING);
        }
        let mut sources: Vec<(NodeId, bool, f64)> = Vec::new();
        for (at, own, field) in self.graph.sources() {
            let here = matches!(happens, Happens::Market(instrument, _) if *instrument == own.0);
            let fires = here && touched.has(field.fired_by());
            sources.push((at, fires, if fires { field.read(&self.markets, own) } else { POISON }));
        }
        for (at, series) in self.graph.series() {
            let came = match happens {
                Happens::Given(group, values) if GROUPS[series as usize] == *group => {
                    let last = GROUPS.iter().rposition(|other| other == group) == Some(series as usize);
                    values[usize::from(last)]
                }
                _ => None,
            };
            let x = came.unwrap_or(POISON);
            sources.push((at, came.is_some(), if x.is_finite() { x } else { f64::NAN }));
        }
        Row { now, happens: happens.clone(), touched, sources }
    }

    /// Columns know of a group's event only by a series that the graph has: one of these always comes.
    fn shown(&self, happens: &Happens) -> Happens {
        match *happens {
            Happens::Given(0, [None, last]) if !self.graph.series().any(|(_, series)| series == 1) => {
                Happens::Given(0, [last, last])
            }
            _ => happens.clone(),
        }
    }

    /// One row as an event; which nodes fired.
    fn event(&mut self, row: &Row) -> Vec<bool> {
        let (mut intents, mut signals) = (Vec::new(), Vec::new());
        let before = self.graph.evaluations();
        match &row.happens {
            Happens::Market(instrument, _) => {
                let instrument = InstrumentId(*instrument);
                self.graph.evaluate(row.now, instrument, row.touched, &self.markets, &mut intents, &mut signals);
            }
            Happens::Given(group, values) => {
                let own = (0u32..).zip(GROUPS).filter(|(_, other)| other == group).map(|(series, _)| series);
                let own: Vec<u32> = own.collect();
                let given = if own.len() == 1 { &values[1..] } else { &values[..] };
                for (series, x) in own.into_iter().zip(given) {
                    if let Some(x) = x {
                        self.graph.feed(row.now, series, *x, &self.markets, &mut intents, &mut signals);
                    }
                }
            }
        }
        let reached = self.graph.evaluations() > before;
        (0..self.graph.len()).map(|at| reached && self.graph.fired(node(at))).collect()
    }

    /// Rows as columns; afterwards they are in the sheet.
    fn columns(&mut self, rows: &[Row]) {
        for (k, (at, ..)) in rows[0].sources.iter().enumerate() {
            let fired: Vec<bool> = rows.iter().map(|row| row.sources[k].1).collect();
            let column = self.sheet.column(*at);
            column.values = rows.iter().map(|row| row.sources[k].2).collect();
            column.fired = match &fired {
                all if all.iter().all(|fired| *fired) => Fired::Always,
                none if !none.contains(&true) => Fired::Never,
                _ => Fired::At(fired),
            };
        }
        let ts: Vec<Nanos> = rows.iter().map(|row| row.now).collect();
        self.graph.columns(&ts, &mut self.sheet);
    }
}

/// The nodes that are made of the time and of nothing else. An event computes them only where somebody looks at them,
/// columns at every row; what they were in between is nobody's business.
fn of_time_alone(nodes: &[Node]) -> Vec<bool> {
    let mut timed: Vec<bool> = Vec::new();
    let mut still: Vec<bool> = Vec::new();
    for node in nodes {
        let inputs = node.inputs();
        let clock = matches!(node, Node::Session { .. } | Node::LocalTime { .. });
        let source = matches!(node, Node::Source { .. } | Node::Series { .. });
        let firing = &inputs[..node.firing()];
        let rests = !source && firing.iter().all(|x| timed[x.0 as usize] || still[x.0 as usize]);
        let looks = clock || inputs.iter().any(|x| timed[x.0 as usize]);
        timed.push(rests && looks);
        still.push(rests && !looks);
    }
    timed
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn columns_are_the_events(
        nodes in any_graph(40),
        rows in prop::collection::vec(any_row(), 1..90),
        chunks in prop::collection::vec((1usize..40, any::<bool>()), 8),
        some in prop::collection::vec(any::<bool>(), 160),
    ) {
        let timed = of_time_alone(&nodes);
        let all: Vec<NodeId> = (0..nodes.len()).map(node).filter(|at| !timed[at.0 as usize]).collect();
        let few: Vec<NodeId> = all.iter().copied().filter(|at| some[at.0 as usize % some.len()]).collect();
        let mut events = Driven::new(&nodes, &[]);
        // One by columns alone with every node looked at, one by both drivers in turn with only some looked at.
        let mut columns = Driven::new(&nodes, &all);
        let mut mixed = Driven::new(&nodes, &few);
        let (mut now, mut chunks, mut rows) = (0, chunks.iter().cycle(), rows.iter().peekable());
        while rows.peek().is_some() {
            let (size, as_columns) = *chunks.next().expect("a cycle");
            let mut told: Vec<(Vec<bool>, Vec<f64>)> = Vec::new();
            let mut chunk = Vec::new();
            for (step, happens) in rows.by_ref().take(size) {
                now += step;
                let happens = &events.shown(happens);
                let row = events.hear(now, happens);
                let fired = events.event(&row);
                told.push((fired, (0..nodes.len()).map(|at| events.graph.value(node(at))).collect()));
                columns.hear(now, happens);
                mixed.hear(now, happens);
                if !as_columns {
                    let fired = mixed.event(&row);
                    prop_assert_eq!(&fired, &told.last().expect("just told").0, "by turns, events, at {}", now);
                }
                chunk.push(row);
            }
            columns.columns(&chunk);
            if as_columns {
                mixed.columns(&chunk);
            }
            for (row, (fired, values)) in told.iter().enumerate() {
                for at in &all {
                    let k = at.0 as usize;
                    let column = columns.sheet.column(*at);
                    let found = (column.values[row], column.fired.at(row));
                    let right = same(found.0, values[k]) && found.1 == fired[k];
                    prop_assert!(right, "node {k} {:?} at {:?}: {found:?} in columns, but {:?}", nodes[k], chunk[row].now,
                        (values[k], fired[k]));
                }
                for at in few.iter().filter(|_| as_columns) {
                    let (found, k) = (mixed.sheet.column(*at).values[row], at.0 as usize);
                    prop_assert!(same(found, values[k]), "by turns: node {k} {:?}: {found}, not {}", nodes[k], values[k]);
                }
            }
            for at in &all {
                let expected = events.graph.value(*at);
                let found = [columns.graph.value(*at), mixed.graph.value(*at)];
                prop_assert!(found.iter().all(|x| same(*x, expected)), "{at:?} {:?}: {found:?} after a chunk, not \
                    {expected}", nodes[at.0 as usize]);
            }
            prop_assert_eq!(columns.graph.truncated(), events.graph.truncated());
        }
    }
}

/// The dice have all faces: no node and no statistic is left out.
#[test]
fn the_dice_know_every_node() {
    let mut runner = TestRunner::deterministic();
    let name = |debug: String| debug.split([' ', '(']).next().expect("a name").to_owned();
    let (mut kinds, mut stats) = (BTreeSet::new(), BTreeSet::new());
    let (mut windows, mut keyed) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..400 {
        for node in any_graph(40).new_tree(&mut runner).expect("a graph").current() {
            kinds.insert(name(format!("{node:?}")));
            match node {
                Node::Read { stat, .. } => _ = stats.insert(name(format!("{stat:?}"))),
                Node::Window { window, keeps, by, .. } => {
                    windows.insert(name(format!("{window:?}")) + &format!("{keeps:?}"));
                    keyed.extend(by.map(|_| format!("{keeps:?}")));
                }
                _ => {}
            }
        }
    }
    // Targets and records are for runs.
    assert_eq!(kinds.len(), 25, "{kinds:?}");
    assert_eq!(stats.len(), 31, "{stats:?}");
    assert_eq!(keyed.len(), KEEPS.len(), "{keyed:?}");
    assert_eq!(windows.len(), 3 * KEEPS.len() + 2, "{windows:?}");
}

/// No rows are no event.
#[test]
fn a_chunk_without_rows_changes_nothing() {
    let mut driven = Driven::new(&[Node::Source { instrument: InstrumentId(0), field: Field::Mid }], &[NodeId(0)]);
    driven.graph.columns(&[], &mut driven.sheet);
    assert_eq!(driven.graph.evaluations(), 0);
}

/// A key that goes away and comes back between two samples is not another one, whichever nodes stand near it.
#[test]
fn a_key_is_looked_at_with_each_sample() {
    let source = |instrument, field| Node::Source { instrument: InstrumentId(instrument), field };
    let window =
        |by| Node::Window { x: node(0), window: Window::All, keeps: Keeps::Moments, least: 0, by: Some(node(by)) };
    let nodes = [
        source(0, Field::Last),
        source(1, Field::Mid),
        Node::Unary { op: UNARIES[0], x: node(1) },
        window(2),
        Node::Read { of: node(3), stat: Stat::Sum },
    ];
    let (price, one) = (Price::whole, Quantity::whole(1));
    let trade = Update::Trade { price: price(3), quantity: one, aggressor: None, kind: TradeKind::Regular, trade: 0 };
    let key = |at| Update::Quote { bid: price(at), bid_quantity: one, ask: price(at), ask_quantity: one };
    let rows = [(1, key(7)), (0, trade), (1, key(8)), (1, key(7)), (0, trade), (1, key(8)), (0, trade)];
    let told = |as_columns: bool| -> Vec<f64> {
        let mut driven = Driven::new(&nodes, &[node(4)]);
        let each = |(now, (instrument, update)): (u64, (u32, Update))| {
            let row = driven.hear(now, &Happens::Market(instrument, update));
            if as_columns {
                driven.columns(&[row])
            } else {
                _ = driven.event(&row)
            }
            driven.graph.value(node(4))
        };
        (0..).zip(rows).map(each).collect()
    };
    assert_eq!(told(true)[1..], [3.0, 3.0, 3.0, 6.0, 6.0, 3.0]);
    assert_eq!(told(false)[1..], told(true)[1..]);
}
