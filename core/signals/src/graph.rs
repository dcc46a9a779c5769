//! The graph, event by event: an event visits the nodes that it can change, each once, in order.

use helios_book::Level;
use helios_data::{Bar, Markets, Touched};
use helios_types::{
    Damaged, Digest, Hasher, InstrumentId, Intent, IntentKind, Load, Nanos, Persist, Price, Quantity, Save, Side,
    SignalChange, StrategyId, round_down_to_lot,
};

use crate::node::{Binary, Field, GraphError, Node, NodeId, Sizing, Stat, Unary};
use crate::nodes::arithmetic::{binary, select, unary};
use crate::nodes::moments::Moments;
use crate::nodes::{Machine, Row, Steps, null_unless_finite};
use crate::plan::{PLANS, Visit, causes, check, check_aims, constants, plan, plan_of};

/// A node as it runs: what its memory does not know.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Source {
        instrument: InstrumentId,
        field: Field,
    },
    Series {
        series: u32,
    },
    Constant,
    Unary {
        op: Unary,
        x: NodeId,
    },
    Binary {
        op: Binary,
        x: NodeId,
        y: NodeId,
    },
    Where {
        condition: NodeId,
        x: NodeId,
        y: NodeId,
    },
    Together {
        x: NodeId,
        y: NodeId,
    },
    When {
        x: NodeId,
        trigger: NodeId,
    },
    /// The commonest window: its moments are in the cell's memory.
    Window {
        x: NodeId,
    },
    /// A statistic of the commonest window.
    Moment {
        window: NodeId,
        stat: Stat,
    },
    /// Everything else that remembers: inputs `edges[from..from + inputs]`.
    Machine {
        machine: u32,
        from: u32,
        inputs: u32,
    },
    Read {
        of: NodeId,
        machine: u32,
        stat: Stat,
    },
    Hysteresis {
        x: NodeId,
        enter: f64,
        exit: f64,
    },
    Target {
        x: NodeId,
        strategy: StrategyId,
        instrument: InstrumentId,
        sizing: Sizing,
    },
    Quote {
        x: NodeId,
        quote: u32,
    },
    Record {
        x: NodeId,
        signal: u32,
        input: NodeId,
    },
}

/// What a node keeps between events.
#[derive(Clone, Debug)]
pub(crate) enum Memory {
    None,
    Moments(Box<Moments>),
    /// The last wish, and whether a newer one waits for a mark.
    Target {
        last: Quantity,
        waits: bool,
    },
    /// When a source last fired; for [`Op::Together`].
    Stamp(Nanos),
    /// What a function was last computed from: most events leave a mid price as it was, and a logarithm costs more than
    /// all the rest of a node.
    Input(f64),
}

/// A node with all that it keeps, in one cache line: an event touches a few dozen of them, and lines are what it costs.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Cell {
    pub(crate) op: Op,
    /// NaN for null.
    pub(crate) value: f64,
    /// The event at which the node last fired; event numbers start at 1.
    pub(crate) fired: u64,
    pub(crate) memory: Memory,
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
    pub(crate) cells: Vec<Cell>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) edges: Vec<NodeId>,
    quotes: Vec<Quoted>,
    lots: Vec<Quantity>,
    /// Nodes to visit, in order, for each instrument or series and kind of event: `plans[slot * PLANS + plan]`.
    plans: Vec<Vec<Visit>>,
    /// For a node that looks at the time among other things: those other things. It fires with them; the time alone makes
    /// nothing happen. Empty for all others.
    pub(crate) guards: Vec<Vec<NodeId>>,
    pub(crate) event: u64,
    given: Given,
    /// Targets that wait for a mark.
    waiting: u32,
    /// Targets are not acted on.
    holding: bool,
}

/// One side of a quote: a quote node's settings, and when it may next be moved.
#[derive(Clone, Copy, Debug)]
struct Quoted {
    strategy: StrategyId,
    instrument: InstrumentId,
    side: Side,
    quantity: Quantity,
    limit: Quantity,
    /// Zero: at each new price.
    every: u64,
    next: Nanos,
}

impl Quoted {
    /// The wish at a new price, unless it is too early for one.
    fn wish(&mut self, now: Nanos, price: f64) -> Option<Intent> {
        if now < self.next {
            return None;
        }
        if let Some(passed) = now.0.checked_div(self.every) {
            self.next = Nanos((passed + 1).saturating_mul(self.every));
        }
        let Self { strategy, instrument, side, quantity, limit, .. } = *self;
        let price = Price::from_f64(price).filter(|price| price.0 > 0).unwrap_or(Price::UNDEFINED);
        Some(Intent { strategy, instrument, kind: IntentKind::Quote { side, price, quantity, limit } })
    }
}

/// The latest values of the series from outside the market.
#[derive(Clone, Debug)]
struct Given {
    /// For each series, the group that it is in. The values of a group come one after the other and are one event.
    groups: Vec<u32>,
    values: Vec<f64>,
    /// Which of them came since their group was last seen through.
    came: Vec<bool>,
}

/// No moment of any run.
const NEVER: Nanos = Nanos(u64::MAX);

/// One event, as a machine sees it.
struct Seen<'a> {
    now: Nanos,
    event: u64,
    cells: &'a [Cell],
    inputs: &'a [NodeId],
}

impl Seen<'_> {
    #[inline(always)]
    fn cell(&self, k: usize) -> &Cell {
        &self.cells[self.inputs[k].0 as usize]
    }
}

impl Row for Seen<'_> {
    #[inline(always)]
    fn now(&self) -> Nanos {
        self.now
    }

    #[inline(always)]
    fn value(&self, k: usize) -> f64 {
        self.cell(k).value
    }

    #[inline(always)]
    fn fresh(&self, k: usize) -> bool {
        self.cell(k).fired == self.event
    }

    #[inline(always)]
    fn inputs(&self) -> usize {
        self.inputs.len()
    }
}

/// What an event brings to the nodes that it visits.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    now: Nanos,
    touched: Touched,
    markets: &'a Markets,
}

impl Graph {
    /// Checks the nodes and plans which of them each event visits. `lots` are the instruments' lot sizes; `series` has
    /// one entry for each series from outside the market: its group, groups being numbered 0, 1, 2, … in order. The
    /// values of one group come together and are one event.
    pub fn new(nodes: Vec<Node>, lots: Vec<Quantity>, series: Vec<u32>) -> Result<Self, GraphError> {
        let instruments = lots.len();
        let groups = series.last().map_or(0, |last| *last as usize + 1);
        let follows = |pair: &[u32]| pair[1] == pair[0] || pair[1] == pair[0] + 1;
        if series.first().is_some_and(|first| *first != 0) || !series.windows(2).all(follows) {
            return Err(fault(0, "the groups of the series must be numbered 0, 1, 2, … in order".to_owned()));
        }
        for at in 0..nodes.len() {
            check(&nodes, at, instruments, series.len()).map_err(|message| fault(at, message))?;
        }
        check_aims(&nodes)?;
        let (causes, guards) = causes(&nodes, instruments, &series)?;
        let values = constants(&nodes, &causes)?;
        let plans = plan(&nodes, &causes, &guards, instruments + groups);
        let mut graph = Self {
            cells: Vec::with_capacity(nodes.len()),
            machines: Vec::new(),
            edges: Vec::new(),
            quotes: Vec::new(),
            lots,
            plans,
            guards,
            event: 0,
            given: Given { values: vec![f64::NAN; series.len()], came: vec![false; series.len()], groups: series },
            waiting: 0,
            holding: false,
        };
        for (at, (node, value)) in nodes.iter().zip(values).enumerate() {
            let (op, memory) = graph.assemble(node).map_err(|message| fault(at, message))?;
            graph.cells.push(Cell { op, value, fired: 0, memory });
        }
        Ok(graph)
    }

    /// A node as it runs, with its memory before the first event.
    fn assemble(&mut self, node: &Node) -> Result<(Op, Memory), String> {
        if let Some(machine) = Machine::of(node)? {
            let (from, inputs) = (self.edges.len() as u32, node.inputs());
            self.machines.push(machine);
            let op = Op::Machine { machine: self.machines.len() as u32 - 1, from, inputs: inputs.len() as u32 };
            self.edges.extend(inputs);
            return Ok((op, Memory::None));
        }
        Ok(match *node {
            Node::Source { instrument, field } => (Op::Source { instrument, field }, Memory::Stamp(NEVER)),
            Node::Series { series } => (Op::Series { series }, Memory::None),
            Node::Constant(_) => (Op::Constant, Memory::None),
            Node::Unary { op, x } => (Op::Unary { op, x }, Memory::None),
            Node::Binary { op, x, y } => (Op::Binary { op, x, y }, Memory::None),
            Node::Where { condition, x, y } => (Op::Where { condition, x, y }, Memory::None),
            Node::Together { x, y } => (Op::Together { x, y }, Memory::None),
            Node::When { x, trigger } => (Op::When { x, trigger }, Memory::None),
            Node::Window { x, window, least, .. } => {
                (Op::Window { x }, Memory::Moments(Box::new(Moments::new(window, least))))
            }
            Node::Read { of, stat } => (self.readout(of, stat)?, Memory::None),
            Node::Hysteresis { x, enter, exit } => (Op::Hysteresis { x, enter, exit }, Memory::None),
            // The first wish is to hold nothing, which is what is held.
            Node::Target { x, strategy, instrument, sizing } => {
                (Op::Target { x, strategy, instrument, sizing }, Memory::Target { last: Quantity::ZERO, waits: false })
            }
            Node::Quote { x, strategy, instrument, side, quantity, limit, every } => {
                let next = Nanos(0);
                self.quotes.push(Quoted { strategy, instrument, side, quantity, limit, every, next });
                (Op::Quote { x, quote: (self.quotes.len() - 1) as u32 }, Memory::None)
            }
            Node::Record { x, signal, input } => (Op::Record { x, signal, input }, Memory::None),
            _ => unreachable!("every other node has a machine"),
        })
    }

    fn readout(&self, of: NodeId, stat: Stat) -> Result<Op, String> {
        let cell = &self.cells[of.0 as usize];
        let tells = match (&cell.op, &cell.memory) {
            (Op::Machine { machine, .. }, _) => self.machines[*machine as usize].tells(stat),
            (_, Memory::Moments(moments)) => moments.has(stat),
            _ => return Err(format!("input {} is not a window: a statistic needs .rolling(…) or .ewm(…)", of.0)),
        };
        match cell.op {
            _ if !tells => Err(format!("input {} does not tell {stat:?}", of.0)),
            Op::Machine { machine, .. } => Ok(Op::Read { of, machine, stat }),
            _ => Ok(Op::Moment { window: of, stat }),
        }
    }

    /// Whatever a node looks at.
    pub(crate) fn inputs(&self, op: Op) -> impl Iterator<Item = NodeId> + '_ {
        let (own, edges) = match op {
            Op::Source { .. } | Op::Series { .. } | Op::Constant => ([None; 3], &[][..]),
            Op::Unary { x, .. }
            | Op::Window { x }
            | Op::Moment { window: x, .. }
            | Op::Read { of: x, .. }
            | Op::Hysteresis { x, .. }
            | Op::Target { x, .. }
            | Op::Quote { x, .. } => ([Some(x), None, None], &[][..]),
            Op::Binary { x, y, .. }
            | Op::Together { x, y }
            | Op::When { x, trigger: y }
            | Op::Record { x, input: y, .. } => ([Some(x), Some(y), None], &[][..]),
            Op::Where { condition, x, y } => ([Some(condition), Some(x), Some(y)], &[][..]),
            Op::Machine { from, inputs, .. } => ([None; 3], &self.edges[from as usize..(from + inputs) as usize]),
        };
        own.into_iter().flatten().chain(edges.iter().copied())
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

    /// Did a node fire at the last event that reached any?
    pub fn fired(&self, node: NodeId) -> bool {
        self.cells[node.0 as usize].fired == self.event
    }

    /// Market events that reached at least one node.
    pub fn evaluations(&self) -> u64 {
        self.event
    }

    /// Samples that windows dropped early because they were full.
    pub fn truncated(&self) -> u64 {
        let window = |cell: &Cell| if let Memory::Moments(m) = &cell.memory { m.truncated() } else { 0 };
        self.cells.iter().map(window).chain(self.machines.iter().map(Machine::truncated)).sum()
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
        self.walk(number, &Arrival { now, touched, markets }, intents, signals);
    }

    /// Takes a new value of a series; NaN is null. The last value of a group runs the whole group through the graph.
    pub fn feed(
        &mut self,
        now: Nanos,
        series: u32,
        value: f64,
        markets: &Markets,
        intents: &mut Vec<Intent>,
        signals: &mut Vec<SignalChange>,
    ) {
        let at = series as usize;
        let Some(group) = self.given.groups.get(at).copied() else { return };
        (self.given.values[at], self.given.came[at]) = (null_unless_finite(value), true);
        if self.given.groups.get(at + 1) == Some(&group) {
            return;
        }
        let number = (self.lots.len() + group as usize) * PLANS;
        self.walk(number, &Arrival { now, touched: Touched::NOTHING, markets }, intents, signals);
        let first = self.given.groups.partition_point(|other| *other < group);
        self.given.came[first..=at].fill(false);
    }

    /// Is this series the last of its group? With its value the group's event is complete.
    pub fn completes(&self, series: u32) -> bool {
        let group = |at: usize| self.given.groups.get(at);
        group(series as usize) != group(series as usize + 1)
    }

    #[inline(always)]
    fn walk(
        &mut self,
        number: usize,
        arrival: &Arrival<'_>,
        intents: &mut Vec<Intent>,
        signals: &mut Vec<SignalChange>,
    ) {
        if self.plans[number].is_empty() {
            return;
        }
        self.event += 1;
        let plan = std::mem::take(&mut self.plans[number]);
        let mut stops = plan.as_slice();
        while let [stop, rest @ ..] = stops {
            if let ([window, moment, hysteresis, behind @ ..], true) = (rest, stop.run) {
                let fires = self.run([stop, window, moment, hysteresis].map(|stop| stop.node as usize), arrival.now);
                stops = &behind[self.pointless(fires, hysteresis)..];
                continue;
            }
            let at = stop.node as usize;
            let moved = !stop.guarded || self.guards[at].iter().any(|x| self.fired(*x));
            let fires = moved && self.visit(at, arrival, intents, signals);
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
        let Op::Binary { op, x, y } = self.cells[spread].op else { unreachable!("planned as a spread") };
        let Op::Moment { stat, .. } = self.cells[moment].op else { unreachable!("planned as a statistic") };
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
        let Op::Hysteresis { enter, exit, .. } = cell.op else { unreachable!("planned as a hysteresis") };
        cell.hold(value, enter, exit, event)
    }

    /// Computes a node if one of its inputs fired; true when it fires itself.
    #[inline(always)]
    fn visit(
        &mut self,
        at: usize,
        arrival: &Arrival<'_>,
        intents: &mut Vec<Intent>,
        signals: &mut Vec<SignalChange>,
    ) -> bool {
        let (event, now) = (self.event, arrival.now);
        let input = |node: NodeId| &self.cells[node.0 as usize];
        let fresh = |node: NodeId| input(node).fired == event;
        let value = match self.cells[at].op {
            Op::Source { instrument, field } => {
                if !arrival.touched.has(field.fired_by()) {
                    return false;
                }
                self.cells[at].memory = Memory::Stamp(now);
                read(arrival.markets, instrument, field)
            }
            Op::Series { series } => {
                if !self.given.came[series as usize] {
                    return false;
                }
                self.given.values[series as usize]
            }
            Op::Together { x, y } => {
                let stamped = |node: NodeId| matches!(input(node).memory, Memory::Stamp(at) if at == now);
                let both = stamped(x) && stamped(y);
                if !both || !(fresh(x) || fresh(y)) {
                    return false;
                }
                input(x).value
            }
            Op::Constant => return false,
            Op::When { x, trigger } => {
                if !fresh(trigger) {
                    return false;
                }
                input(x).value
            }
            Op::Unary { op, x } => {
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
            Op::Binary { op, x, y } => {
                if !fresh(x) && !fresh(y) {
                    return false;
                }
                binary(op, input(x).value, input(y).value)
            }
            Op::Where { condition, x, y } => {
                if !fresh(condition) && !fresh(x) && !fresh(y) {
                    return false;
                }
                select(input(condition).value, input(x).value, input(y).value)
            }
            Op::Window { x } => {
                if !fresh(x) {
                    return false;
                }
                let value = input(x).value;
                if let Memory::Moments(moments) = &mut self.cells[at].memory {
                    moments.push(now, value);
                }
                value
            }
            Op::Moment { window, stat } => {
                if !fresh(window) {
                    return false;
                }
                match &input(window).memory {
                    Memory::Moments(moments) => moments.stat(stat),
                    _ => unreachable!("checked when the graph was built"),
                }
            }
            Op::Machine { .. } | Op::Read { .. } => match self.remember(at, now) {
                Some(value) => value,
                None => return false,
            },
            Op::Hysteresis { x, enter, exit } => {
                if !fresh(x) {
                    return false;
                }
                let value = input(x).value;
                return self.cells[at].hold(value, enter, exit, event);
            }
            Op::Target { x, strategy, instrument, sizing } => {
                if fresh(x) || (self.waiting > 0 && self.waits(at)) {
                    let value = input(x).value;
                    self.aim(at, value, strategy, instrument, sizing, arrival.markets, intents);
                }
                return false;
            }
            Op::Quote { x, quote } => {
                if fresh(x) && !self.holding {
                    let price = input(x).value;
                    intents.extend(self.quotes[quote as usize].wish(now, price));
                }
                return false;
            }
            Op::Record { x, signal, input: beside } => {
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

    /// Nodes with a machine: out of the way of those that every event of most strategies visits.
    #[inline(never)]
    fn remember(&mut self, at: usize, now: Nanos) -> Option<f64> {
        match self.cells[at].op {
            Op::Machine { machine, from, inputs } => {
                let inputs = &self.edges[from as usize..(from + inputs) as usize];
                let row = Seen { now, event: self.event, cells: &self.cells, inputs };
                self.machines[machine as usize].step(&row)
            }
            Op::Read { of, machine, stat } => {
                let fresh = self.cells[of.0 as usize].fired == self.event;
                fresh.then(|| self.machines[machine as usize].read(stat))
            }
            _ => unreachable!("only called for these two"),
        }
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

fn fault(at: usize, message: String) -> GraphError {
    GraphError { node: u32::try_from(at).unwrap_or(u32::MAX), message }
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

impl Field {
    /// What the field is now; NaN for null.
    pub fn read(self, markets: &Markets, instrument: InstrumentId) -> f64 {
        read(markets, instrument, self)
    }
}

fn read(markets: &Markets, instrument: InstrumentId, field: Field) -> f64 {
    let view = markets.view(instrument);
    let level = |side: Side, at: u8| markets.books().depth(instrument, side).nth(usize::from(at));
    let depth = |side: Side, levels: u8| {
        let levels = markets.books().depth(instrument, side).take(usize::from(levels));
        // What a feed says may be more than fits: then it is the largest quantity.
        Quantity(levels.fold(0, |sum: i64, level| sum.saturating_add(level.quantity.0))).to_f64()
    };
    match field {
        Field::Last => price(view.last),
        Field::LastSize => view.last_quantity.to_f64(),
        Field::Flow => {
            let sign = view.last_aggressor.map_or(0.0, |side| if side == Side::Buy { 1.0 } else { -1.0 });
            sign * view.last_quantity.to_f64()
        }
        Field::BidAt(at) => level(Side::Buy, at).map_or(f64::NAN, |level| price(level.price)),
        Field::AskAt(at) => level(Side::Sell, at).map_or(f64::NAN, |level| price(level.price)),
        Field::BidSizeAt(at) => level(Side::Buy, at).map_or(0.0, |level| level.quantity.to_f64()),
        Field::AskSizeAt(at) => level(Side::Sell, at).map_or(0.0, |level| level.quantity.to_f64()),
        Field::BidDepth(levels) => depth(Side::Buy, levels),
        Field::AskDepth(levels) => depth(Side::Sell, levels),
        Field::Open | Field::High | Field::Low | Field::Close | Field::Volume => {
            view.bar.as_ref().map_or(f64::NAN, |bar| of_bar(bar, field))
        }
        _ => of_top(view.top.bid, view.top.ask, field),
    }
}

fn price(price: Price) -> f64 {
    if price.is_defined() { price.to_f64() } else { f64::NAN }
}

/// A field of the best bid and ask.
#[inline(always)]
fn of_top(bid: Level, ask: Level, field: Field) -> f64 {
    let both = bid.price.is_defined() && ask.price.is_defined();
    let (b, a) = (bid.quantity.to_f64(), ask.quantity.to_f64());
    match field {
        Field::Bid => price(bid.price),
        Field::Ask => price(ask.price),
        Field::BidSize => b,
        Field::AskSize => a,
        _ if !both => f64::NAN,
        Field::Mid => (bid.price.to_f64() + ask.price.to_f64()) * 0.5,
        Field::Microprice => null_unless_finite((bid.price.to_f64() * a + ask.price.to_f64() * b) / (a + b)),
        _ => null_unless_finite((b - a) / (a + b)),
    }
}

/// A field of a bar.
#[inline(always)]
fn of_bar(bar: &Bar, field: Field) -> f64 {
    match field {
        Field::Open => bar.open.to_f64(),
        Field::High => bar.high.to_f64(),
        Field::Low => bar.low.to_f64(),
        Field::Volume => bar.volume.to_f64(),
        _ => bar.close.to_f64(),
    }
}

/// The state after `x`, which is a number. Selections rather than cases: which state it is cannot be foretold.
#[inline(always)]
pub(crate) fn hysteresis(before: f64, x: f64, enter: f64, exit: f64) -> f64 {
    let held = ((before == 1.0) & (x > exit)) | ((before == -1.0) & (x < -exit));
    let inside = if held { before } else { 0.0 };
    let below = if x <= -enter { -1.0 } else { inside };
    if x >= enter { 1.0 } else { below }
}

impl Digest for Graph {
    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.event);
        for (value, came) in self.given.values.iter().zip(&self.given.came) {
            hasher.f64(*value);
            hasher.u64(u64::from(*came));
        }
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
        for machine in &self.machines {
            machine.digest(hasher);
        }
        for quote in &self.quotes {
            hasher.u64(quote.next.0);
        }
    }
}

/// What a node keeps, with the number of its kind.
impl Memory {
    fn save(&self, save: &mut Save) {
        match self {
            Self::None => 0u8.save(save),
            Self::Moments(moments) => {
                1u8.save(save);
                moments.save(save);
            }
            Self::Target { last, waits } => (2u8, *last, *waits).save(save),
            Self::Stamp(at) => (3u8, *at).save(save),
            Self::Input(x) => (4u8, *x).save(save),
        }
    }

    fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        match (u8::load(load)?, &mut *self) {
            (0, Self::None | Self::Input(_)) => *self = Self::None,
            (1, Self::Moments(moments)) => moments.restore(load)?,
            (2, Self::Target { last, waits }) => (*last, *waits) = Persist::load(load)?,
            (3, Self::Stamp(at)) => *at = Persist::load(load)?,
            (4, Self::None | Self::Input(_)) => *self = Self::Input(Persist::load(load)?),
            _ => return Err(Damaged("a node remembers what it does not keep")),
        }
        Ok(())
    }
}

/// Snapshots.
impl Graph {
    /// Appends all that nodes remember.
    pub fn save(&self, save: &mut Save) {
        // All fields by name: a new one does not compile until somebody has said whether it is remembered.
        let Self { cells, machines, edges: _, quotes, lots: _, plans: _, guards: _, event, given, waiting, holding } =
            self;
        let Given { groups: _, values, came } = given;
        (cells.len(), machines.len(), quotes.len()).save(save);
        (*event, *waiting, *holding).save(save);
        values.save(save);
        came.save(save);
        for Cell { op: _, value, fired, memory } in cells {
            (*value, *fired).save(save);
            memory.save(save);
        }
        machines.iter().for_each(|machine| machine.save(save));
        quotes.iter().for_each(|quote| quote.next.save(save));
    }

    /// Remembers what a snapshot says; of a graph of the same nodes.
    pub fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        let sizes: (usize, usize, usize) = Persist::load(load)?;
        if sizes != (self.cells.len(), self.machines.len(), self.quotes.len()) {
            return Err(Damaged("a graph of other nodes"));
        }
        (self.event, self.waiting, self.holding) = Persist::load(load)?;
        self.given.values = load.same(&self.given.values)?;
        self.given.came = load.same(&self.given.came)?;
        for cell in &mut self.cells {
            (cell.value, cell.fired) = Persist::load(load)?;
            cell.memory.restore(load)?;
        }
        for machine in &mut self.machines {
            machine.restore(load)?;
        }
        for quote in &mut self.quotes {
            quote.next = Persist::load(load)?;
        }
        Ok(())
    }
}
