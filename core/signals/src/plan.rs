//! Which nodes an event visits: worked out once, when the graph is built.

use std::collections::BTreeSet;

use helios_data::Touched;
use helios_types::InstrumentId;

use crate::node::{GraphError, Node, NodeId, Sizing};
use crate::nodes::arithmetic::{binary, select, unary};

/// One stop on an event's way through the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) node: u32,
    /// How many of the stops behind it are pointless when this node does not fire.
    pub(crate) skip: u32,
    /// The next three stops are a window of this function of two nodes, a statistic of it and a hysteresis of that.
    pub(crate) run: bool,
    /// It looks at the time, and fires only with what else it looks at.
    pub(crate) guarded: bool,
}

/// The kinds of event that are planned for: every mixture of best level, trade and book, and bars.
pub(crate) const PLANS: usize = 8;

const _: () = assert!(Touched::TOP.0 == 1 && Touched::TRADE.0 == 2 && Touched::BAR.0 == 4 && Touched::BOOK.0 == 16);

/// The number of an event's plan among those of its instrument. A bar touches nothing else, and has the number that no
/// mixture of the others has.
#[inline(always)]
pub(crate) const fn plan_of(touched: Touched) -> Option<usize> {
    let others = (touched.0 & 3) | (touched.0 >> 2 & 4);
    match (others, touched.has(Touched::BAR)) {
        (0, false) => None,
        (others, _) => Some(others as usize),
    }
}

/// What each plan is for, by its number.
const PLANNED: [Touched; PLANS] = {
    let mut planned = [Touched::BAR; PLANS];
    let mut number = 1;
    while number < PLANS as u8 {
        planned[number as usize] = Touched(number & 3 | (number & 4) << 2);
        number += 1;
    }
    planned
};

/// A market event that can change a node: instrument and what is touched. Groups of series follow the instruments, and
/// touch what bars touch.
type Cause = (u32, Touched);

/// What a source makes happen.
fn cause(node: &Node, instruments: usize, groups: &[u32]) -> Option<Cause> {
    match *node {
        Node::Source { instrument, field } => Some((instrument.0, field.fired_by())),
        Node::Series { series } => Some((instruments as u32 + groups[series as usize], Touched::BAR)),
        _ => None,
    }
}

/// For each node that looks at the time among other things, those other things; for all others nothing.
pub(crate) type Guards = Vec<Vec<NodeId>>;

/// For each node, what makes it fire. What is made of the time alone fires with whatever looks at it.
/// Beside it, for each node that looks at the time among other things, those other things: it fires with them.
pub(crate) fn causes(
    nodes: &[Node],
    instruments: usize,
    groups: &[u32],
) -> Result<(Vec<BTreeSet<Cause>>, Guards), GraphError> {
    let mut causes: Vec<BTreeSet<Cause>> = Vec::with_capacity(nodes.len());
    let mut timed: Vec<bool> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let inputs = node.inputs();
        let firing = &inputs[..node.firing()];
        let mut own: BTreeSet<Cause> = firing.iter().flat_map(|x| causes[x.0 as usize].iter().copied()).collect();
        own.extend(cause(node, instruments, groups));
        let clocked = node.is_clock() || inputs.iter().any(|x| timed[x.0 as usize]);
        let is_timed = own.is_empty() && clocked;
        let is_function =
            matches!(node, Node::Read { .. } | Node::Unary { .. } | Node::Binary { .. } | Node::Where { .. });
        if is_timed && !node.is_clock() && !is_function && !is_output(node) {
            let message = "it remembers the time alone, and time makes nothing happen that could be remembered: look \
                           at it .when(something fires)";
            return Err(GraphError { node: causes.len() as u32, message: message.to_owned() });
        }
        timed.push(is_timed);
        causes.push(own);
    }
    for at in (0..nodes.len()).rev() {
        if timed[at] && causes[at].is_empty() {
            let node = u32::try_from(at).unwrap_or(u32::MAX);
            let message =
                "it depends on the time alone, and time makes nothing happen: use it together with prices, or \
                           look at it .when(something fires)"
                    .to_owned();
            return Err(GraphError { node, message });
        }
        let (before, own) = causes.split_at_mut(at);
        for x in nodes[at].inputs() {
            if timed[x.0 as usize] {
                before[x.0 as usize].extend(own[0].iter().copied());
            }
        }
    }
    let others = |(node, is_timed): (&Node, &bool)| {
        let inputs = node.inputs();
        let firing = &inputs[..node.firing()];
        let mixed = !is_timed && firing.iter().any(|x| timed[x.0 as usize]);
        firing.iter().copied().filter(|x| mixed && !timed[x.0 as usize]).collect()
    };
    let guards = nodes.iter().zip(&timed).map(others).collect();
    Ok((causes, guards))
}

/// The nodes' first values: what depends on no event has its value from the start, everything else is null.
pub(crate) fn constants(nodes: &[Node], causes: &[BTreeSet<Cause>]) -> Result<Vec<f64>, GraphError> {
    let mut values = Vec::with_capacity(nodes.len());
    for ((node, causes), at) in nodes.iter().zip(causes).zip(0..) {
        let of = |x: NodeId| values[x.0 as usize];
        let value = match *node {
            _ if !causes.is_empty() => f64::NAN,
            Node::Constant(x) => x,
            Node::Unary { op, x } => unary(op, of(x)),
            Node::Binary { op, x, y } => binary(op, of(x), of(y)),
            Node::Where { condition, x, y } => select(of(condition), of(x), of(y)),
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

/// For each instrument or series and kind of event, the nodes that can change, in topological order.
pub(crate) fn plan(
    nodes: &[Node],
    causes: &[BTreeSet<Cause>],
    guards: &[Vec<NodeId>],
    slots: usize,
) -> Vec<Vec<Visit>> {
    let mut plans: Vec<Vec<u32>> = vec![Vec::new(); slots * PLANS];
    for ((node, causes), at) in nodes.iter().zip(causes).zip(0u32..) {
        let mut causes = causes.clone();
        if let Node::Target { instrument, sizing: Sizing::Notional(_), .. } = *node {
            // It may wait for a mark, which quotes, trades and bars can bring.
            causes.extend([Touched::TOP, Touched::TRADE, Touched::BAR].map(|touched| (instrument.0, touched)));
        }
        for (plan, touched) in PLANNED.iter().enumerate() {
            let reaching = causes.iter().filter(|(_, cause)| touched.has(*cause));
            let mut numbers: Vec<usize> = reaching.map(|(slot, _)| *slot as usize * PLANS + plan).collect();
            numbers.dedup();
            for number in numbers {
                plans[number].push(at);
            }
        }
    }
    let inputs: Vec<Vec<NodeId>> = nodes
        .iter()
        .map(|node| {
            let mut inputs = node.inputs();
            inputs.truncate(node.firing());
            inputs
        })
        .collect();
    let mut places = vec![None; nodes.len()];
    plans.into_iter().map(|plan| with_skips(nodes, &inputs, guards, &plan, &mut places)).collect()
}

/// Adds to each stop how many of the next ones hang on it alone: when a hysteresis keeps its state, which is nearly always,
/// the targets below it need not even be looked at. `places` is scratch, all `None` before and after.
fn with_skips(
    nodes: &[Node],
    inputs: &[Vec<NodeId>],
    guards: &[Vec<NodeId>],
    plan: &[u32],
    places: &mut [Option<usize>],
) -> Vec<Visit> {
    for (place, node) in plan.iter().enumerate() {
        places[*node as usize] = Some(place);
    }
    // Where the first input stands that this event can fire. A source or a clock hangs on nothing; a target that is here
    // only because it may wait for a mark has no such input and hangs on anything.
    let first_input = |node: u32| {
        if inputs[node as usize].is_empty() {
            return 0;
        }
        inputs[node as usize].iter().filter_map(|x| places[x.0 as usize]).min().unwrap_or(usize::MAX)
    };
    let first: Vec<usize> = plan.iter().map(|node| first_input(*node)).collect();
    // A node without inputs that stands first would be place 0, and everything would seem to hang on it.
    let stops = plan
        .iter()
        .enumerate()
        .map(|(place, node)| {
            let hanging = first[place + 1..].iter().take_while(|first| **first >= place.max(1)).count();
            let skip = u32::try_from(hanging).expect("a graph has fewer than 2^32 nodes");
            let guarded = !guards[*node as usize].is_empty();
            Visit { node: *node, skip, run: !guarded && is_run(nodes, &plan[place..]), guarded }
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
    let node = |at: u32| &nodes[at as usize];
    matches!(
        (node(spread), node(window), node(moment), node(hysteresis)),
        (
            Node::Binary { .. },
            Node::Window { x: over, keeps: crate::node::Keeps::Moments, by: None, .. },
            Node::Read { of, .. },
            Node::Hysteresis { x, .. },
        ) if *over == NodeId(spread) && *of == NodeId(window) && *x == NodeId(moment)
    )
}

/// A node for what it does, not for a value.
fn is_output(node: &Node) -> bool {
    matches!(node, Node::Target { .. } | Node::Quote { .. } | Node::Record { .. })
}

/// No two targets of one strategy may aim at one instrument: the later would silently undo the earlier.
pub(crate) fn check_aims(nodes: &[Node]) -> Result<(), GraphError> {
    let mut aims: std::collections::BTreeMap<_, u32> = std::collections::BTreeMap::new();
    for (node, at) in nodes.iter().zip(0..) {
        let aim = match *node {
            Node::Target { strategy, instrument, .. } => (strategy, instrument, None),
            Node::Quote { strategy, instrument, side, .. } => (strategy, instrument, Some(side)),
            _ => continue,
        };
        let (strategy, instrument, _) = aim;
        if let Some(first) = aims.insert(aim, at) {
            let message = format!(
                "strategy {} already aims at instrument {} in node {first}: add the two values, or use two strategies",
                strategy.0, instrument.0
            );
            return Err(GraphError { node: at, message });
        }
    }
    Ok(())
}

/// Checks one node against those before it.
pub(crate) fn check(nodes: &[Node], at: usize, instruments: usize, series: usize) -> Result<(), String> {
    let node = &nodes[at];
    for x in node.inputs() {
        match nodes.get(x.0 as usize) {
            _ if x.0 as usize >= at => return Err(format!("input {} must come before it", x.0)),
            Some(node) if is_output(node) => {
                return Err(format!(
                    "input {} is a target, a quote or a record, which has no value: use what it is made of",
                    x.0
                ));
            }
            _ => {}
        }
    }
    let known = |instrument: InstrumentId| {
        if instrument.index() < instruments {
            Ok(())
        } else {
            Err(format!("instrument {} is not one of the {instruments} of this run", instrument.0))
        }
    };
    match *node {
        Node::Source { instrument, .. } => known(instrument),
        Node::Series { series: number } if number as usize >= series => {
            Err(format!("series {number} is not one of the {series} of this run"))
        }
        Node::Constant(x) if !x.is_finite() => Err(format!("the constant {x} is not a finite number")),
        Node::Together { x, y } => {
            let source = |node: NodeId| matches!(nodes[node.0 as usize], Node::Source { .. });
            if source(x) && source(y) { Ok(()) } else { Err("together takes two sources".to_owned()) }
        }
        Node::Hysteresis { enter, exit, .. } => {
            if enter.is_finite() && exit.is_finite() && enter > exit && exit >= 0.0 {
                Ok(())
            } else {
                Err(format!("hysteresis needs enter > exit >= 0, got enter={enter} exit={exit}"))
            }
        }
        Node::Target { instrument, sizing, .. } => known(instrument).and_then(|()| {
            let unit = match sizing {
                Sizing::Quantity(quantity) => quantity.0,
                Sizing::Notional(cash) => cash.0,
            };
            if unit > 0 { Ok(()) } else { Err("a target's quantity or notional must be positive".to_owned()) }
        }),
        Node::Quote { instrument, quantity, limit, .. } => known(instrument).and_then(|()| {
            let sound = quantity.0 > 0 && limit.0 > 0;
            if sound { Ok(()) } else { Err("a quote's quantity and limit must be positive".to_owned()) }
        }),
        _ => Ok(()),
    }
}
