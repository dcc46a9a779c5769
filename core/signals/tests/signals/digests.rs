//! Fingerprints: states that have one in common have one future. All short pasts over a few values are tried, and those
//! with equal fingerprints are led through the same events.

use std::collections::BTreeMap;

use helios_book::Capacity;
use helios_data::Markets;
use helios_signals::{BarKind, Graph, Keeps, Node, NodeId, Past, Stat, Window};
use helios_types::{Digest, Hasher, Nanos};

use crate::node;

/// Time that has passed, to which of two series, what.
type Event = (u64, u32, f64);

fn feed(graph: &mut Graph, markets: &Markets, now: &mut u64, (passed, series, x): Event) {
    *now += passed;
    graph.feed(Nanos(*now), series, x, markets, &mut Vec::new(), &mut Vec::new());
}

/// Values, to the bit, and who fired: of every node after every event.
type Told = Vec<(u64, bool)>;

/// All values after each event of a future, to the bit; nulls are alike.
fn future(nodes: &[Node], markets: &Markets, past: &[Event], events: &[Event]) -> Told {
    let mut graph = build(nodes);
    let mut now = 0;
    past.iter().for_each(|event| feed(&mut graph, markets, &mut now, *event));
    let mut told = Vec::new();
    for event in events {
        feed(&mut graph, markets, &mut now, *event);
        told.extend((0..nodes.len()).map(|at| {
            let x = graph.value(node(at));
            (if x.is_nan() { u64::MAX } else { x.to_bits() }, graph.fired(node(at)))
        }));
    }
    told
}

fn build(nodes: &[Node]) -> Graph {
    Graph::new(nodes.to_vec(), Vec::new(), vec![0, 1]).expect("a sound graph")
}

/// How many pasts shared a fingerprint with another one.
fn check(machine: Vec<Node>) -> usize {
    let nodes = [vec![Node::Series { series: 0 }, Node::Series { series: 1 }], machine].concat();
    let markets = Markets::new(0, Capacity { orders: 1, levels: 1 });
    let alphabet: Vec<Event> = [0, 2]
        .into_iter()
        .flat_map(|passed| [(0, f64::NAN), (0, 0.0), (0, 1.0), (1, 2.0)].map(|(to, x)| (passed, to, x)))
        .collect();
    let futures: [&[Event]; 5] = [
        &[(0, 0, 1.0), (0, 0, 1.0), (1, 0, 0.0)],
        &[(1, 0, 3.0), (1, 1, 1.0), (0, 0, 2.0)],
        &[(2, 1, 1.0), (0, 0, 1.0), (2, 0, 1.0)],
        &[(3, 0, 0.0), (0, 1, 0.0), (1, 0, 1.0)],
        &[(0, 1, 2.0), (1, 0, 1.0), (1, 0, f64::NAN), (1, 0, 1.0)],
    ];
    let mut seen: BTreeMap<u128, (Vec<Event>, Vec<Told>)> = BTreeMap::new();
    let mut shared = 0;
    for number in 0..alphabet.len().pow(4) {
        let past: Vec<Event> = (0..4).map(|k| alphabet[number / alphabet.len().pow(k) % alphabet.len()]).collect();
        // The time that it is now is no part of a graph: pasts of one length in time are compared.
        if past.iter().map(|event| event.0).sum::<u64>() != 4 {
            continue;
        }
        let (mut graph, mut now, mut hasher) = (build(&nodes), 0, Hasher::new());
        past.iter().for_each(|event| feed(&mut graph, &markets, &mut now, *event));
        graph.digest(&mut hasher);
        let led = || futures.iter().map(|events| future(&nodes, &markets, &past, events)).collect();
        let Some((other, theirs)) = seen.get(&hasher.finish()) else {
            seen.insert(hasher.finish(), (past.clone(), led()));
            continue;
        };
        shared += 1;
        let ours: Vec<Told> = led();
        assert_eq!(&ours, theirs, "{:?}: {past:?} and {other:?} have one fingerprint", nodes[2]);
    }
    shared
}

#[test]
fn equal_fingerprints_have_equal_futures() {
    let (x, y) = (NodeId(0), NodeId(1));
    let read = |stat| Node::Read { of: NodeId(2), stat };
    let window = |window, keeps, by| Node::Window { x, window, keeps, least: 0, by };
    let plain = [Window::Count(2), Window::Time(3), Window::All];
    let told = [
        (Keeps::Moments, Stat::Var),
        (Keeps::Skew, Stat::Skew),
        (Keeps::Greatest, Stat::Max),
        (Keeps::Order, Stat::Quantile(0.5)),
    ];
    let mut machines = Vec::new();
    for (keeps, stat) in told {
        for by in [None, Some(y)] {
            machines.extend(plain.map(|kind| vec![window(kind, keeps, by), read(stat)]));
        }
    }
    for kind in [Window::EwmCount(0.8), Window::EwmTime(1), Window::Count(2), Window::Time(3)] {
        machines.push(vec![Node::window(x, kind), read(Stat::ZScore)]);
        machines.push(vec![
            Node::PairWindow { x, y, window: kind, least: 0, by: None },
            read(Stat::Residual),
            read(Stat::Beta),
        ]);
    }
    let bars = [BarKind::Time(3), BarKind::Ticks(3), BarKind::Volume(3.0), BarKind::Money(1.5)];
    for kind in bars {
        let bar = Node::Bars { price: x, size: y, kind };
        machines.push(vec![bar, read(Stat::Open), read(Stat::Vwap), read(Stat::High), read(Stat::Count)]);
    }
    for quorum in 0..3 {
        let cross = Node::Cross { members: vec![x, y], quorum };
        machines.push(vec![cross, read(Stat::Rank(0)), read(Stat::CrossZScore(1)), read(Stat::Demean(0))]);
    }
    machines.push(vec![Node::Kalman { y, x, drift: 0.1, noise: 0.5, least: 1 }, read(Stat::ZScore), read(Stat::Alpha)]);
    machines.extend([
        vec![Node::Lag { x, past: Past::Samples(2) }],
        vec![Node::Lag { x, past: Past::Time(2) }],
        vec![Node::Elapsed { x }],
        vec![Node::Changes { x }],
        vec![Node::Cooldown { x, span: 3 }],
        vec![Node::Debounce { x, span: 3 }],
        vec![Node::Latch { set: x, reset: y }],
        vec![Node::Hysteresis { x, enter: 1.0, exit: 0.0 }],
        vec![Node::Occurrences { inputs: vec![x, y], span: 3 }],
    ]);
    let shared: usize = machines.into_iter().map(check).sum();
    assert!(shared > 1_000, "{shared} pasts shared a fingerprint: too few to say anything");
}
