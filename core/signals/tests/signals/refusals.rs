//! Bad graphs: each is refused when it is built, and the message names the node and what is wrong with it.

use helios_signals::{
    AtBound, BarKind, Consumption, Field, Graph, Keeps, Node, NodeId, Past, PatternSpec, Stat, Step, Unary, Window,
};
use helios_types::{InstrumentId, Nanos, Quantity};

use crate::{node, source};

fn refused(nodes: &[Node], groups: &[u32]) -> String {
    match Graph::new(nodes.to_vec(), vec![Quantity::whole(1); 2], groups.to_vec()) {
        Ok(_) => panic!("{nodes:?} was taken"),
        Err(error) => error.to_string(),
    }
}

/// `mid` is node 0, what is wrong is the last.
fn check(rows: impl IntoIterator<Item = (Vec<Node>, &'static str)>) {
    for (nodes, message) in rows {
        let nodes = [&[source(Field::Mid)], &nodes[..]].concat();
        let told = refused(&nodes, &[]);
        let at = nodes.len() - 1;
        assert!(told.starts_with(&format!("node {at}: ")) && told.contains(message), "{:?}: {told}", nodes[at]);
    }
}

const X: NodeId = NodeId(0);

fn window(window: Window, keeps: Keeps, least: u32) -> Node {
    Node::Window { x: X, window, keeps, least, by: None }
}

#[test]
fn what_a_node_cannot_be_is_refused() {
    let pairs = |window, least| Node::PairWindow { x: X, y: X, window, least, by: None };
    let kalman = |drift, noise| Node::Kalman { y: X, x: X, drift, noise, least: 0 };
    let bars = |kind| Node::Bars { price: X, size: X, kind };
    let cross = |members: usize, quorum| Node::Cross { members: vec![X; members], quorum };
    let session =
        |hours: &[(u64, u64)]| Node::Session { hours: hours.iter().map(|(a, b)| (Nanos(*a), Nanos(*b))).collect() };
    let local =
        |offsets: &[(u64, i64)]| Node::LocalTime { offsets: offsets.iter().map(|(a, b)| (Nanos(*a), *b)).collect() };
    let (count, all, nan) = (Window::Count, Window::All, f64::NAN);
    let rows: Vec<(Node, &str)> = vec![
        (window(count(0), Keeps::Order, 0), "1 to 1048576 samples, got 0"),
        (window(count(5), Keeps::Moments, 6), "a window of 5 samples never has the 6"),
        (window(count((1 << 20) + 1), Keeps::Skew, 0), "1 to 1048576 samples, got 1048577"),
        (window(Window::Time(0), Keeps::Greatest, 0), "longer than zero"),
        (window(Window::EwmCount(1.0), Keeps::Moments, 0), "between 0 and 1"),
        (window(Window::EwmCount(-0.1), Keeps::Moments, 0), "between 0 and 1"),
        (window(Window::EwmCount(0.5), Keeps::Order, 0), "use a rolling window"),
        (window(Window::EwmTime(5), Keeps::Greatest, 0), "use a rolling window"),
        (window(Window::EwmTime(5), Keeps::Skew, 0), "use a rolling window"),
        (pairs(count(0), 0), "1 to 1048576 samples, got 0"),
        (pairs(count(2), 3), "a window of 2 samples never has the 3"),
        (pairs(Window::EwmTime(0), 0), "longer than zero"),
        (pairs(Window::EwmCount(nan), 0), "between 0 and 1"),
        (kalman(-1e-9, 1.0), "drift >= 0 and noise > 0"),
        (kalman(nan, 1.0), "drift >= 0 and noise > 0"),
        (kalman(0.0, 0.0), "drift >= 0 and noise > 0"),
        (kalman(0.0, f64::INFINITY), "drift >= 0 and noise > 0"),
        (Node::Lag { x: X, past: Past::Samples(0) }, "a lag needs 1 to 1048576 samples, got 0"),
        (Node::Lag { x: X, past: Past::Samples((1 << 20) + 1) }, "got 1048577"),
        (Node::Lag { x: X, past: Past::Time(0) }, "longer than zero"),
        (Node::Cooldown { x: X, span: 0 }, "a cooldown must be longer"),
        (Node::Debounce { x: X, span: 0 }, "a debounce must be longer"),
        (Node::Occurrences { inputs: vec![X], span: 0 }, "occurrences within 0 ns"),
        (bars(BarKind::Time(0)), "larger than zero, got Time(0)"),
        (bars(BarKind::Ticks(0)), "larger than zero, got Ticks(0)"),
        (bars(BarKind::Volume(0.0)), "larger than zero, got Volume(0.0)"),
        (bars(BarKind::Volume(nan)), "larger than zero"),
        (bars(BarKind::Money(f64::INFINITY)), "larger than zero"),
        (cross(1, 0), "two members or more, got 1"),
        (cross(2, 3), "a quorum of 3 is never reached by 2 members"),
        (Node::Together { x: X, y: NodeId(1) }, "input 1 must come before it"),
        (Node::Series { series: 0 }, "series 0 is not one of the 0"),
        (Node::Constant(f64::INFINITY), "not a finite number"),
        (Node::Hysteresis { x: X, enter: 1.0, exit: f64::NAN }, "enter > exit >= 0"),
    ];
    check(rows.into_iter().map(|(node, message)| (vec![node], message)));
    // A window of all samples is full when it should be.
    assert!(
        Graph::new(vec![source(Field::Mid), window(all, Keeps::Order, 9)], vec![Quantity::whole(1)], vec![]).is_ok()
    );
    // A clock comes with something that makes it fire.
    let clocks: Vec<(Node, &str)> = vec![
        (session(&[]), "at least one session"),
        (session(&[(5, 5)]), "must end after they begin"),
        (session(&[(5, 9), (8, 10)]), "and not overlap"),
        (session(&[(8, 10), (5, 7)]), "come in order"),
        (local(&[]), "the first from 1970 on"),
        (local(&[(1, 0)]), "the first from 1970 on"),
        (local(&[(0, 0), (5, 1), (5, 2)]), "in order"),
        (local(&[(0, 86_401)]), "at most a day"),
        (local(&[(0, -86_401)]), "at most a day"),
        (local(&[(0, i64::MIN)]), "at most a day"),
    ];
    for (clock, message) in clocks {
        let nodes = [source(Field::Mid), clock, Node::When { x: NodeId(1), trigger: X }];
        let told = refused(&nodes, &[]);
        assert!(told.starts_with("node 1: ") && told.contains(message), "{:?}: {told}", nodes[1]);
    }
}

#[test]
fn what_no_event_reaches_is_refused() {
    let clock = || Node::LocalTime { offsets: [(Nanos(0), 0)].into() };
    let time = |of| Node::Read { of: NodeId(of), stat: Stat::TimeOfDay };
    let one = || Node::Constant(1.0);
    check([
        (vec![clock()], "time makes nothing happen"),
        (vec![clock(), time(1)], "time makes nothing happen"),
        (vec![clock(), time(1), Node::window(NodeId(2), Window::Count(2))], "time makes nothing happen"),
        (vec![one(), clock(), Node::When { x: NodeId(1), trigger: NodeId(2) }], "time makes nothing happen"),
        (vec![one(), Node::When { x: X, trigger: NodeId(1) }], "constants only"),
        (vec![one(), Node::Lag { x: NodeId(1), past: Past::Time(1) }], "constants only"),
        (vec![one(), Node::Cross { members: vec![NodeId(1), NodeId(1)], quorum: 0 }], "constants only"),
        (vec![one(), Node::Bars { price: NodeId(1), size: X, kind: BarKind::Ticks(1) }], "constants only"),
        (vec![Node::Occurrences { inputs: vec![], span: 1 }], "constants only"),
        (vec![Node::Constant(-1.0), one(), Node::Unary { op: Unary::Sqrt, x: NodeId(1) }], "it would be null for ever"),
    ]);
}

#[test]
fn a_pattern_has_the_inputs_that_it_says() {
    let step = |condition| Step { condition, times: 1, within: None, without: 0 };
    let spec = |conditions, heartbeat| PatternSpec {
        conditions,
        heartbeat,
        steps: vec![step(0), step(1)],
        within: None,
        absent: None,
        consumption: Consumption::Overlapping,
        max_open: 4,
        at_bound: AtBound::DropOldest,
    };
    let pattern = |inputs: usize, spec| Node::Pattern { inputs: vec![X; inputs], spec };
    check([
        (vec![pattern(1, spec(2, false))], "the pattern has 1 inputs, but says that it has 2"),
        (vec![pattern(3, spec(2, false))], "has 3 inputs, but says that it has 2"),
        (vec![pattern(2, spec(2, true))], "has 2 inputs, but says that it has 3"),
        (vec![pattern(1, spec(1, false))], "step 1 of a pattern: condition 1 of 1"),
        (vec![pattern(0, spec(0, false))], "constants only"),
    ]);
}

#[test]
fn groups_of_series_are_numbered_in_order() {
    let told = "node 0: the groups of the series must be numbered 0, 1, 2, … in order";
    for groups in [&[1][..], &[0, 2], &[0, 1, 0]] {
        assert_eq!(refused(&[source(Field::Mid)], groups), told);
    }
    assert_eq!(refused(&[Node::Series { series: 2 }], &[0, 0]), "node 0: series 2 is not one of the 2 of this run");
}

/// For each node that tells something, what it tells; everything else it refuses.
#[test]
fn what_a_node_does_not_tell_is_refused() {
    let every = [
        Stat::Mean,
        Stat::Sum,
        Stat::Var,
        Stat::Std,
        Stat::ZScore,
        Stat::Skew,
        Stat::Min,
        Stat::Max,
        Stat::Quantile(0.0),
        Stat::Quantile(1.0),
        Stat::Quantile(-0.01),
        Stat::Quantile(1.01),
        Stat::Quantile(f64::NAN),
        Stat::Cov,
        Stat::Corr,
        Stat::Beta,
        Stat::Alpha,
        Stat::Residual,
        Stat::Open,
        Stat::High,
        Stat::Low,
        Stat::Close,
        Stat::Volume,
        Stat::Vwap,
        Stat::Count,
        Stat::Session,
        Stat::SinceOpen,
        Stat::ToClose,
        Stat::IsOpen,
        Stat::TimeOfDay,
        Stat::Weekday,
        Stat::Rank(1),
        Stat::Rank(2),
        Stat::CrossZScore(1),
        Stat::CrossZScore(2),
        Stat::Demean(0),
        Stat::Demean(2),
        Stat::Top { member: 0, k: 1 },
        Stat::Top { member: 0, k: 0 },
        Stat::Top { member: 0, k: 2 },
        Stat::Top { member: 2, k: 1 },
    ];
    let moments = [Stat::Mean, Stat::Sum, Stat::Var, Stat::Std, Stat::ZScore];
    let ewm = [Stat::Mean, Stat::Var, Stat::Std, Stat::ZScore];
    let pairs = [Stat::Cov, Stat::Corr, Stat::Beta, Stat::Alpha, Stat::Residual];
    let order = [Stat::Quantile(0.0), Stat::Quantile(1.0)];
    let n = Window::Count(5);
    let keyed = |keeps| Node::Window { x: X, window: n, keeps, least: 0, by: Some(X) };
    let two = |window| Node::PairWindow { x: X, y: X, window, least: 0, by: None };
    let of_bars = [Stat::Open, Stat::High, Stat::Low, Stat::Close, Stat::Volume, Stat::Vwap, Stat::Count];
    let of_session = [Stat::Session, Stat::SinceOpen, Stat::ToClose, Stat::IsOpen];
    let of_cross = [Stat::Rank(1), Stat::CrossZScore(1), Stat::Demean(0), Stat::Top { member: 0, k: 1 }];
    let rows: Vec<(Node, &[Stat])> = vec![
        (window(n, Keeps::Moments, 0), &moments),
        (window(Window::EwmTime(5), Keeps::Moments, 0), &ewm),
        (keyed(Keeps::Moments), &moments),
        (window(n, Keeps::Skew, 0), &[Stat::Skew]),
        (keyed(Keeps::Skew), &[Stat::Skew]),
        (window(n, Keeps::Least, 0), &[Stat::Min]),
        (keyed(Keeps::Least), &[Stat::Min]),
        (window(n, Keeps::Greatest, 0), &[Stat::Max]),
        (keyed(Keeps::Greatest), &[Stat::Max]),
        (window(n, Keeps::Order, 0), &order),
        (keyed(Keeps::Order), &order),
        (two(n), &pairs),
        (two(Window::EwmTime(5)), &pairs),
        (
            Node::Kalman { y: X, x: X, drift: 0.1, noise: 0.1, least: 0 },
            &[Stat::Beta, Stat::Alpha, Stat::Residual, Stat::Std, Stat::ZScore],
        ),
        (Node::Bars { price: X, size: X, kind: BarKind::Ticks(2) }, &of_bars),
        (Node::Cross { members: vec![X, X], quorum: 0 }, &of_cross),
        (Node::Session { hours: [(Nanos(0), Nanos(1))].into() }, &of_session),
        (Node::LocalTime { offsets: [(Nanos(0), 0)].into() }, &[Stat::TimeOfDay, Stat::Weekday]),
        (Node::Lag { x: X, past: Past::Time(1) }, &[]),
        (Node::Occurrences { inputs: vec![X], span: 1 }, &[]),
        (Node::Latch { set: X, reset: X }, &[]),
    ];
    for (of, tells) in rows {
        for stat in every {
            let nodes = vec![
                source(Field::Mid),
                of.clone(),
                Node::Read { of: node(1), stat },
                Node::When { x: node(2), trigger: X },
            ];
            let built = Graph::new(nodes, vec![Quantity::whole(1)], vec![]).map(drop);
            // A quantile that is no number is equal to none.
            if tells.contains(&stat) {
                assert_eq!(built, Ok(()), "{of:?} tells {stat:?}");
            } else {
                let error = built.expect_err(&format!("{of:?} does not tell {stat:?}"));
                assert_eq!(error.to_string(), format!("node 2: input 1 does not tell {stat:?}"));
            }
        }
    }
    check([
        (vec![Node::Read { of: X, stat: Stat::Mean }], "input 0 is not a window: a statistic needs"),
        (
            vec![Node::Hysteresis { x: X, enter: 2.0, exit: 1.0 }, Node::Read { of: node(1), stat: Stat::Mean }],
            "not a window",
        ),
    ]);
    let far = Node::Source { instrument: InstrumentId(7), field: Field::BidAt(3) };
    check([(vec![far], "instrument 7 is not one of the 2")]);
}
