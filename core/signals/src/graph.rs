//! The graph: what its nodes are, how it is checked, and how an event runs through it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use helios_data::{Markets, Touched};
use helios_types::{
    Cash, Digest, Hasher, InstrumentId, Intent, IntentKind, Nanos, Price, Quantity, SignalChange, StrategyId,
    round_down_to_lot,
};

use crate::window::{Moments, Stat, Window};

/// Position of a node in its graph; inputs come before the nodes that use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// What a source node reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Best bid price.
    Bid,
    /// Best ask price.
    Ask,
    /// Half way between best bid and best ask.
    Mid,
    /// Quantity at the best bid.
    BidSize,
    /// Quantity at the best ask.
    AskSize,
    /// Last trade price.
    Last,
    /// Last trade quantity.
    LastSize,
    /// Bar field.
    Open,
    /// Bar field.
    High,
    /// Bar field.
    Low,
    /// Bar field.
    Close,
    /// Bar field.
    Volume,
}

impl Field {
    const fn fired_by(self) -> Touched {
        match self {
            Self::Bid | Self::Ask | Self::Mid | Self::BidSize | Self::AskSize => Touched::TOP,
            Self::Last | Self::LastSize => Touched::TRADE,
            Self::Open | Self::High | Self::Low | Self::Close | Self::Volume => Touched::BAR,
        }
    }
}

/// Functions of one value; null in, null out. Out of its domain a function is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// Sign change.
    Neg,
    /// Natural logarithm.
    Log,
    /// Exponential.
    Exp,
    /// Square root.
    Sqrt,
    /// Absolute value.
    Abs,
}

/// Functions of two values; null in, null out. A division by zero is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// x + y
    Add,
    /// x - y
    Sub,
    /// x * y
    Mul,
    /// x / y
    Div,
}

/// How a target's number becomes shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizing {
    /// Value times this many shares.
    Quantity(Quantity),
    /// Value times this much money, at the instrument's mark when the target fires.
    Notional(Cash),
}

/// One node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node {
    /// A number from the market.
    Source { instrument: InstrumentId, field: Field },
    /// A number.
    Constant(f64),
    /// A function of one node.
    Unary { op: Unary, x: NodeId },
    /// Passes a source on, but only when another source fires at the same moment: two bars that end together are one
    /// event, and nothing is computed from one of them alone.
    Together { x: NodeId, y: NodeId },
    /// A function of two nodes; fires when either fires.
    Binary { op: Binary, x: NodeId, y: NodeId },
    /// Remembers the recent values of `x`; its own value is the last of them.
    Window { x: NodeId, window: Window },
    /// A statistic of a [`Node::Window`].
    Moment { window: NodeId, stat: Stat },
    /// -1, 0 or +1: becomes +1 when `x >= enter` and stays until `x <= exit`; -1 likewise below. A null changes nothing.
    Hysteresis { x: NodeId, enter: f64, exit: f64 },
    /// Wishes the position `value * sizing` for a strategy, rounded towards zero to the lot. A notional that finds no
    /// mark waits for one; a null keeps the last wish.
    Target { x: NodeId, strategy: StrategyId, instrument: InstrumentId, sizing: Sizing },
    /// Reports each new value of `x` as output signal number `signal`; `input` is reported beside it.
    Record { x: NodeId, signal: u32, input: NodeId },
}

/// Why a graph is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphError {
    /// Which node.
    pub node: u32,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}: {}", self.node, self.message)
    }
}

impl std::error::Error for GraphError {}

/// What a node keeps between events.
#[derive(Clone, Debug)]
enum Memory {
    None,
    Moments(Box<Moments>),
    /// The last wish, and whether a newer one waits for a mark.
    Target {
        last: Quantity,
        waits: bool,
    },
    /// When a source last fired; for [`Node::Together`].
    Stamp(Nanos),
    /// What a function was last computed from: most events leave a mid price as it was, and a logarithm costs more than
    /// all the rest of a node.
    Input(f64),
}

/// A node with all that it keeps, in one cache line: an event touches a few dozen of them, and lines are what it costs.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Cell {
    node: Node,
    /// NaN for null.
    value: f64,
    /// The event at which the node last fired; event numbers start at 1.
    fired: u64,
    memory: Memory,
}

const _: () = assert!(size_of::<Cell>() == 64);

impl Cell {
    /// A hysteresis sees a new value; true when it fires.
    #[inline(always)]
    fn hold(&mut self, x: f64, enter: f64, exit: f64, event: u64) -> bool {
        let after = hysteresis(self.value, x, enter, exit);
        if x.is_nan() | (after.to_bits() == self.value.to_bits()) {
            return false;
        }
        (self.value, self.fired) = (after, event);
        true
    }
}

/// A checked graph with its state.
pub struct Graph {
    cells: Vec<Cell>,
    lots: Vec<Quantity>,
    /// Nodes to visit, in order, for each instrument and kind of event: `plans[instrument * PLANS + plan]`.
    plans: Vec<Vec<Visit>>,
    event: u64,
    /// Targets that wait for a mark.
    waiting: u32,
    /// Targets are not acted on.
    holding: bool,
}

/// One stop on an event's way through the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Visit {
    node: u32,
    /// How many of the stops behind it are pointless when this node does not fire.
    skip: u32,
    /// The next three stops are a window of this function of two nodes, a statistic of it and a hysteresis of that.
    run: bool,
}

/// The kinds of event that are planned for: an execution both prints a trade and changes the best level.
const PLANS: usize = 4;

/// No moment of any run.
const NEVER: Nanos = Nanos(u64::MAX);

const fn plan_of(touched: Touched) -> Option<usize> {
    match touched.0 & (Touched::TOP.0 | Touched::TRADE.0 | Touched::BAR.0) {
        1 => Some(0),
        2 => Some(1),
        3 => Some(2),
        4 => Some(3),
        _ => None,
    }
}

/// What each plan is for, by its number.
const PLANNED: [Touched; PLANS] =
    [Touched::TOP, Touched::TRADE, Touched(Touched::TOP.0 | Touched::TRADE.0), Touched::BAR];

const _: () = assert!(Touched::TOP.0 == 1 && Touched::TRADE.0 == 2 && Touched::BAR.0 == 4);

impl Graph {
    /// Checks the nodes and plans which of them each event visits. `lots` are the instruments' lot sizes.
    pub fn new(nodes: Vec<Node>, lots: Vec<Quantity>) -> Result<Self, GraphError> {
        for (at, node) in nodes.iter().enumerate() {
            check(&nodes, at, node, lots.len())
                .map_err(|message| GraphError { node: u32::try_from(at).unwrap_or(u32::MAX), message })?;
        }
        check_aims(&nodes)?;
        let reach = reach(&nodes);
        let values = constants(&nodes, &reach)?;
        let plans = plan(&nodes, &reach, lots.len());
        let cells =
            nodes.into_iter().zip(values).map(|(node, value)| Cell { node, value, fired: 0, memory: memory(&node) });
        Ok(Self { cells: cells.collect(), lots, plans, event: 0, waiting: 0, holding: false })
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// True without nodes.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// A node's present value; NaN for null.
    pub fn value(&self, node: NodeId) -> f64 {
        self.cells[node.0 as usize].value
    }

    /// Market events that reached at least one node.
    pub fn evaluations(&self) -> u64 {
        self.event
    }

    /// Samples that time windows dropped early because they were full.
    pub fn truncated(&self) -> u64 {
        self.cells.iter().map(|cell| if let Memory::Moments(m) = &cell.memory { m.truncated() } else { 0 }).sum()
    }

    /// While held, windows fill and signals change, but targets are neither acted on nor remembered.
    #[inline]
    pub fn hold(&mut self, holding: bool) {
        self.holding = holding;
    }

    /// Runs one market event through the graph.
    #[inline]
    pub fn evaluate(
        &mut self,
        now: Nanos,
        instrument: InstrumentId,
        touched: Touched,
        markets: &Markets,
        intents: &mut Vec<Intent>,
        signals: &mut Vec<SignalChange>,
    ) {
        let Some(number) = plan_of(touched).map(|plan| instrument.index() * PLANS + plan) else { return };
        if self.plans[number].is_empty() {
            return;
        }
        self.event += 1;
        let plan = std::mem::take(&mut self.plans[number]);
        let mut stops = plan.as_slice();
        while let [stop, rest @ ..] = stops {
            if let ([window, moment, hysteresis, behind @ ..], true) = (rest, stop.run) {
                let fires = self.run([stop, window, moment, hysteresis].map(|stop| stop.node as usize), now);
                stops = &behind[self.pointless(fires, hysteresis)..];
                continue;
            }
            let fires = self.visit(stop.node as usize, now, touched, markets, intents, signals);
            stops = &rest[self.pointless(fires, stop)..];
        }
        self.plans[number] = plan;
    }

    /// How many stops behind one are passed over. A target that waits for a mark must be asked, whether its input fires
    /// or not.
    #[inline(always)]
    fn pointless(&self, fires: bool, stop: &Visit) -> usize {
        if fires || self.waiting > 0 { 0 } else { stop.skip as usize }
    }

    /// Visits a spread, a window of it, a statistic of that and a hysteresis of that: what most strategies end in, and so
    /// worth a way of its own without decisions that are the same every time. True when the last of them fires.
    #[inline(always)]
    fn run(&mut self, [spread, window, moment, hysteresis]: [usize; 4], now: Nanos) -> bool {
        let event = self.event;
        let Node::Binary { op, x, y } = self.cells[spread].node else { unreachable!("planned as a spread") };
        let Node::Moment { stat, .. } = self.cells[moment].node else { unreachable!("planned as a statistic") };
        let (x, y) = (&self.cells[x.0 as usize], &self.cells[y.0 as usize]);
        if (x.fired != event) & (y.fired != event) {
            return false;
        }
        let value =
            if op == Binary::Sub { null_unless_finite(x.value - y.value) } else { binary(op, x.value, y.value) };
        let cell = &mut self.cells[spread];
        (cell.value, cell.fired) = (value, event);
        let cell = &mut self.cells[window];
        (cell.value, cell.fired) = (value, event);
        let Memory::Moments(moments) = &mut cell.memory else { unreachable!("windows have moments") };
        moments.push(now, value);
        let value = moments.stat(stat);
        let cell = &mut self.cells[moment];
        (cell.value, cell.fired) = (value, event);
        let cell = &mut self.cells[hysteresis];
        let Node::Hysteresis { enter, exit, .. } = cell.node else { unreachable!("planned as a hysteresis") };
        cell.hold(value, enter, exit, event)
    }

    /// Computes a node if one of its inputs fired; true when it fires itself.
    #[inline(always)]
    fn visit(
        &mut self,
        at: usize,
        now: Nanos,
        touched: Touched,
        markets: &Markets,
        intents: &mut Vec<Intent>,
        signals: &mut Vec<SignalChange>,
    ) -> bool {
        let event = self.event;
        let input = |node: NodeId| &self.cells[node.0 as usize];
        let fresh = |node: NodeId| input(node).fired == event;
        let value = match self.cells[at].node {
            Node::Source { instrument, field } => {
                if !touched.has(field.fired_by()) {
                    return false;
                }
                self.cells[at].memory = Memory::Stamp(now);
                read(markets, instrument, field)
            }
            Node::Together { x, y } => {
                let now = |node: NodeId| matches!(input(node).memory, Memory::Stamp(at) if at == now);
                let both = now(x) && now(y);
                if !both || !(fresh(x) || fresh(y)) {
                    return false;
                }
                input(x).value
            }
            Node::Constant(_) => return false,
            Node::Unary { op, x } => {
                if !fresh(x) {
                    return false;
                }
                let now = input(x).value;
                let cell = &mut self.cells[at];
                match cell.memory {
                    Memory::Input(before) if before.to_bits() == now.to_bits() => cell.value,
                    _ => {
                        cell.memory = Memory::Input(now);
                        unary(op, now)
                    }
                }
            }
            Node::Binary { op, x, y } => {
                if !fresh(x) && !fresh(y) {
                    return false;
                }
                binary(op, input(x).value, input(y).value)
            }
            Node::Window { x, .. } => {
                if !fresh(x) {
                    return false;
                }
                let value = input(x).value;
                if let Memory::Moments(moments) = &mut self.cells[at].memory {
                    moments.push(now, value);
                }
                value
            }
            Node::Moment { window, stat } => {
                if !fresh(window) {
                    return false;
                }
                match &input(window).memory {
                    Memory::Moments(moments) => moments.stat(stat),
                    _ => unreachable!("checked when the graph was built"),
                }
            }
            Node::Hysteresis { x, enter, exit } => {
                if !fresh(x) {
                    return false;
                }
                let value = input(x).value;
                return self.cells[at].hold(value, enter, exit, event);
            }
            Node::Target { x, strategy, instrument, sizing } => {
                if fresh(x) || (self.waiting > 0 && self.waits(at)) {
                    let value = input(x).value;
                    self.aim(at, value, strategy, instrument, sizing, markets, intents);
                }
                return false;
            }
            Node::Record { x, signal, input: beside } => {
                let value = input(x).value;
                if fresh(x) && !value.is_nan() {
                    signals.push(SignalChange { signal, value, input: input(beside).value });
                }
                return false;
            }
        };
        let cell = &mut self.cells[at];
        (cell.value, cell.fired) = (value, event);
        true
    }

    #[allow(clippy::too_many_arguments)]
    fn aim(
        &mut self,
        at: usize,
        value: f64,
        strategy: StrategyId,
        instrument: InstrumentId,
        sizing: Sizing,
        markets: &Markets,
        intents: &mut Vec<Intent>,
    ) {
        if self.holding {
            return;
        }
        let mark = markets.view(instrument).mark();
        let Memory::Target { last, waits } = &mut self.cells[at].memory else {
            unreachable!("targets remember their last wish");
        };
        let waited = std::mem::replace(waits, lacks_mark(value, sizing, mark));
        self.waiting = self.waiting + u32::from(*waits) - u32::from(waited);
        if let Some(position) = size(value, sizing, mark, self.lots[instrument.index()])
            && *last != position
        {
            *last = position;
            intents.push(Intent { strategy, instrument, kind: IntentKind::Target { position } });
        }
    }

    fn waits(&self, at: usize) -> bool {
        matches!(self.cells[at].memory, Memory::Target { waits: true, .. })
    }
}

/// True when only the mark is missing.
fn lacks_mark(value: f64, sizing: Sizing, mark: Price) -> bool {
    matches!(sizing, Sizing::Notional(_)) && !mark.is_defined() && !value.is_nan() && value != 0.0
}

/// Shares for a target value; `None` while there is no value or no price, and for more shares than fit.
fn size(value: f64, sizing: Sizing, mark: Price, lot: Quantity) -> Option<Quantity> {
    if value.is_nan() {
        return None;
    }
    let shares = match sizing {
        Sizing::Quantity(unit) => value * unit.to_f64(),
        Sizing::Notional(_) if value == 0.0 => 0.0,
        Sizing::Notional(_) if !mark.is_defined() => return None,
        Sizing::Notional(money) => value * money.to_f64() / mark.to_f64(),
    };
    Quantity::from_f64(shares).map(|quantity| round_down_to_lot(quantity, lot))
}

fn read(markets: &Markets, instrument: InstrumentId, field: Field) -> f64 {
    let view = markets.view(instrument);
    let price = |price: Price| if price.is_defined() { price.to_f64() } else { f64::NAN };
    let (bid, ask) = (view.top.bid, view.top.ask);
    let bar = |f: fn(&helios_data::Bar) -> Price| view.bar.as_ref().map_or(f64::NAN, |bar| f(bar).to_f64());
    match field {
        Field::Bid => price(bid.price),
        Field::Ask => price(ask.price),
        Field::Mid => {
            if bid.price.is_defined() && ask.price.is_defined() {
                (bid.price.to_f64() + ask.price.to_f64()) * 0.5
            } else {
                f64::NAN
            }
        }
        Field::BidSize => bid.quantity.to_f64(),
        Field::AskSize => ask.quantity.to_f64(),
        Field::Last => price(view.last),
        Field::LastSize => view.last_quantity.to_f64(),
        Field::Open => bar(|bar| bar.open),
        Field::High => bar(|bar| bar.high),
        Field::Low => bar(|bar| bar.low),
        Field::Close => bar(|bar| bar.close),
        Field::Volume => view.bar.as_ref().map_or(f64::NAN, |bar| bar.volume.to_f64()),
    }
}

fn unary(op: Unary, x: f64) -> f64 {
    let value = match op {
        Unary::Neg => -x,
        Unary::Log => libm::log(x),
        Unary::Exp => libm::exp(x),
        Unary::Sqrt => x.sqrt(),
        Unary::Abs => x.abs(),
    };
    null_unless_finite(value)
}

fn binary(op: Binary, x: f64, y: f64) -> f64 {
    let value = match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
    };
    null_unless_finite(value)
}

/// log(0), 1/0 and overflow are no numbers to trade on.
fn null_unless_finite(x: f64) -> f64 {
    if x.is_finite() { x } else { f64::NAN }
}

/// The state after `x`, which is a number. Selections rather than cases: which state it is cannot be foretold.
#[inline(always)]
fn hysteresis(before: f64, x: f64, enter: f64, exit: f64) -> f64 {
    let held = ((before == 1.0) & (x > exit)) | ((before == -1.0) & (x < -exit));
    let inside = if held { before } else { 0.0 };
    let below = if x <= -enter { -1.0 } else { inside };
    if x >= enter { 1.0 } else { below }
}

fn check(nodes: &[Node], at: usize, node: &Node, instruments: usize) -> Result<(), String> {
    let earlier = |x: NodeId| match nodes.get(x.0 as usize) {
        _ if x.0 as usize >= at => Err(format!("input {} must come before it", x.0)),
        Some(Node::Target { .. } | Node::Record { .. }) => {
            Err(format!("input {} is a target or a record, which has no value: use what it is made of", x.0))
        }
        _ => Ok(()),
    };
    let known = |instrument: InstrumentId| {
        if instrument.index() < instruments {
            Ok(())
        } else {
            Err(format!("instrument {} is not one of the {instruments} of this run", instrument.0))
        }
    };
    match *node {
        Node::Source { instrument, .. } => known(instrument),
        Node::Constant(x) if x.is_finite() => Ok(()),
        Node::Constant(x) => Err(format!("the constant {x} is not a finite number")),
        Node::Unary { x, .. } => earlier(x),
        Node::Together { x, y } => earlier(x).and_then(|()| earlier(y)).and_then(|()| {
            let source = |node: NodeId| matches!(nodes[node.0 as usize], Node::Source { .. });
            if source(x) && source(y) { Ok(()) } else { Err("together takes two sources".to_owned()) }
        }),
        Node::Binary { x, y, .. } => earlier(x).and_then(|()| earlier(y)),
        Node::Window { x, window } => earlier(x).and_then(|()| check_window(window)),
        Node::Moment { window, .. } => earlier(window).and_then(|()| match nodes[window.0 as usize] {
            Node::Window { .. } => Ok(()),
            _ => Err(format!("input {} is not a window: a statistic needs .rolling(…) or .ewm(…)", window.0)),
        }),
        Node::Hysteresis { x, enter, exit } => earlier(x).and_then(|()| {
            if enter.is_finite() && exit.is_finite() && enter > exit && exit >= 0.0 {
                Ok(())
            } else {
                Err(format!("hysteresis needs enter > exit >= 0, got enter={enter} exit={exit}"))
            }
        }),
        Node::Target { x, instrument, sizing, .. } => earlier(x).and_then(|()| known(instrument)).and_then(|()| {
            let unit = match sizing {
                Sizing::Quantity(quantity) => quantity.0,
                Sizing::Notional(cash) => cash.0,
            };
            if unit > 0 { Ok(()) } else { Err("a target's quantity or notional must be positive".to_owned()) }
        }),
        Node::Record { x, input, .. } => earlier(x).and_then(|()| earlier(input)),
    }
}

fn check_window(window: Window) -> Result<(), String> {
    match window {
        Window::Count(n) if n < 2 || n as usize > MAX_COUNT => {
            Err(format!("a window by count needs 2 to {MAX_COUNT} samples, got {n}"))
        }
        Window::Time(0) | Window::EwmTime(0) => Err("a window by time must be longer than zero".to_owned()),
        Window::EwmCount(halflife) if !(halflife.is_finite() && halflife > 0.0) => {
            Err(format!("a half-life must be positive, got {halflife}"))
        }
        _ => Ok(()),
    }
}

const MAX_COUNT: usize = crate::window::MAX_SAMPLES;

/// No two targets of one strategy may aim at one instrument: the later would silently undo the earlier.
fn check_aims(nodes: &[Node]) -> Result<(), GraphError> {
    let mut aims = BTreeMap::new();
    for (node, at) in nodes.iter().zip(0..) {
        let Node::Target { strategy, instrument, .. } = *node else { continue };
        if let Some(first) = aims.insert((strategy, instrument), at) {
            let message = format!(
                "strategy {} already aims at instrument {} in node {first}: add the two values, or use two strategies",
                strategy.0, instrument.0
            );
            return Err(GraphError { node: at, message });
        }
    }
    Ok(())
}

/// A market event that can change a node: instrument and what is touched.
type Cause = (InstrumentId, Touched);

/// For each node, what it depends on.
fn reach(nodes: &[Node]) -> Vec<BTreeSet<Cause>> {
    let mut reach: Vec<BTreeSet<Cause>> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let of = |x: NodeId| reach[x.0 as usize].clone();
        let causes = match *node {
            Node::Source { instrument, field } => BTreeSet::from([(instrument, field.fired_by())]),
            Node::Constant(_) => BTreeSet::new(),
            Node::Unary { x, .. }
            | Node::Window { x, .. }
            | Node::Moment { window: x, .. }
            | Node::Hysteresis { x, .. }
            | Node::Target { x, .. }
            | Node::Record { x, .. } => of(x),
            Node::Binary { x, y, .. } | Node::Together { x, y } => &of(x) | &of(y),
        };
        reach.push(causes);
    }
    reach
}

/// What a node keeps before the first event.
fn memory(node: &Node) -> Memory {
    match node {
        Node::Source { .. } => Memory::Stamp(NEVER),
        Node::Window { window, .. } => Memory::Moments(Box::new(Moments::new(*window))),
        // The first wish is to hold nothing, which is what is held.
        Node::Target { .. } => Memory::Target { last: Quantity::ZERO, waits: false },
        _ => Memory::None,
    }
}

/// The nodes' first values: what depends on no event has its value from the start, everything else is null.
fn constants(nodes: &[Node], reach: &[BTreeSet<Cause>]) -> Result<Vec<f64>, GraphError> {
    let mut values = Vec::with_capacity(nodes.len());
    for ((node, causes), at) in nodes.iter().zip(reach).zip(0..) {
        let of = |x: NodeId| values[x.0 as usize];
        let value = match *node {
            _ if !causes.is_empty() => f64::NAN,
            Node::Constant(x) => x,
            Node::Unary { op, x } => unary(op, of(x)),
            Node::Binary { op, x, y } => binary(op, of(x), of(y)),
            _ => {
                let message = "it depends on constants only, so no event would ever reach it".to_owned();
                return Err(GraphError { node: at, message });
            }
        };
        if causes.is_empty() && value.is_nan() {
            let message = "its inputs are constants outside its domain: it would be null for ever".to_owned();
            return Err(GraphError { node: at, message });
        }
        values.push(value);
    }
    Ok(values)
}

/// For each instrument and kind of event, the nodes that can change, in topological order.
fn plan(nodes: &[Node], reach: &[BTreeSet<Cause>], instruments: usize) -> Vec<Vec<Visit>> {
    let mut plans: Vec<Vec<u32>> = vec![Vec::new(); instruments * PLANS];
    for ((node, causes), at) in nodes.iter().zip(reach).zip(0u32..) {
        let mut causes = causes.clone();
        if let Node::Target { instrument, sizing: Sizing::Notional(_), .. } = *node {
            // It may wait for a mark, which quotes, trades and bars can bring.
            causes.extend([Touched::TOP, Touched::TRADE, Touched::BAR].map(|touched| (instrument, touched)));
        }
        for (plan, touched) in PLANNED.iter().enumerate() {
            let reaching = causes.iter().filter(|(_, cause)| touched.has(*cause));
            let mut numbers: Vec<usize> = reaching.map(|(instrument, _)| instrument.index() * PLANS + plan).collect();
            numbers.dedup();
            for number in numbers {
                plans[number].push(at);
            }
        }
    }
    let mut places = vec![None; nodes.len()];
    plans.into_iter().map(|plan| with_skips(nodes, &plan, &mut places)).collect()
}

/// Adds to each stop how many of the next ones hang on it alone: when a hysteresis keeps its state, which is nearly always,
/// the targets below it need not even be looked at. `places` is scratch, all `None` before and after.
fn with_skips(nodes: &[Node], plan: &[u32], places: &mut [Option<usize>]) -> Vec<Visit> {
    for (place, node) in plan.iter().enumerate() {
        places[*node as usize] = Some(place);
    }
    // Where the first input stands that this event can fire. A source hangs on nothing; a target that is here only because
    // it may wait for a mark has no such input and hangs on anything.
    let first_input = |node: u32| {
        if let Node::Source { .. } = nodes[node as usize] {
            return 0;
        }
        let inputs = firing_inputs(&nodes[node as usize]);
        inputs.into_iter().flatten().filter_map(|x| places[x.0 as usize]).min().unwrap_or(usize::MAX)
    };
    let stops = plan
        .iter()
        .enumerate()
        .map(|(place, node)| {
            let hanging = plan[place + 1..].iter().take_while(|next| first_input(**next) >= place.max(1)).count();
            let skip = u32::try_from(hanging).expect("a graph has fewer than 2^32 nodes");
            Visit { node: *node, skip, run: is_run(nodes, &plan[place..]) }
        })
        .collect();
    for node in plan {
        places[*node as usize] = None;
    }
    stops
}

/// Does the plan go on with a function of two nodes, a window of it, a statistic of that and a hysteresis of that?
fn is_run(nodes: &[Node], plan: &[u32]) -> bool {
    let [spread, window, moment, hysteresis, ..] = *plan else { return false };
    let node = |at: u32| nodes[at as usize];
    matches!(
        (node(spread), node(window), node(moment), node(hysteresis)),
        (Node::Binary { .. }, Node::Window { x: over, .. }, Node::Moment { window: of, .. }, Node::Hysteresis { x, .. })
            if over == NodeId(spread) && of == NodeId(window) && x == NodeId(moment)
    )
}

/// The inputs whose firing makes a node fire.
fn firing_inputs(node: &Node) -> [Option<NodeId>; 2] {
    match *node {
        Node::Source { .. } | Node::Constant(_) => [None, None],
        Node::Unary { x, .. }
        | Node::Window { x, .. }
        | Node::Moment { window: x, .. }
        | Node::Hysteresis { x, .. }
        | Node::Target { x, .. }
        | Node::Record { x, .. } => [Some(x), None],
        Node::Binary { x, y, .. } | Node::Together { x, y } => [Some(x), Some(y)],
    }
}

impl Digest for Graph {
    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.event);
        for cell in &self.cells {
            hasher.f64(cell.value);
            hasher.u64(cell.fired);
            match &cell.memory {
                Memory::None => {}
                Memory::Moments(moments) => moments.digest(hasher),
                Memory::Stamp(at) => hasher.u64(at.0),
                Memory::Input(x) => hasher.f64(*x),
                Memory::Target { last, waits } => {
                    hasher.i64(last.0);
                    hasher.u64(u64::from(*waits));
                }
            }
        }
    }
}
