//! Windows and hysteresis.

use helios_signals::{Binary, Field, Node, NodeId, Stat, Unary, Window};
use helios_types::Rng;
use proptest::prelude::*;

use crate::naive::History;
use crate::{Bench, source};

const STATS: [Stat; 4] = [Stat::Mean, Stat::Var, Stat::Std, Stat::ZScore];

/// Mid -> each window -> each statistic.
fn windows(windows: &[Window]) -> Vec<Node> {
    let mut nodes = vec![source(Field::Mid)];
    for window in windows {
        let at = NodeId(nodes.len() as u32);
        nodes.push(Node::window(NodeId(0), *window));
        nodes.extend(STATS.map(|stat| Node::Read { of: at, stat }));
    }
    nodes
}

fn check(bench: &Bench, history: &History, windows: &[Window]) {
    for (at, window) in windows.iter().enumerate() {
        for (k, stat) in STATS.iter().enumerate() {
            let found = bench.graph.value(NodeId((1 + at * 5 + 1 + k) as u32));
            history.agrees(*window, *stat, found).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
    }
}

fn any_window() -> impl Strategy<Value = Window> {
    prop_oneof![
        (2u32..40).prop_map(Window::Count),
        (1u64..200).prop_map(Window::Time),
        (0.1f64..0.97).prop_map(Window::EwmCount),
        (1u64..200).prop_map(Window::EwmTime),
    ]
}

/// Steps in time that are often zero and sometimes a gap; values that are often equal, missing or wild.
fn any_samples() -> impl Strategy<Value = Vec<(u64, Option<f64>)>> {
    let step = prop_oneof![3 => Just(0u64), 5 => 1u64..20, 1 => 300u64..3_000];
    let value = prop_oneof![
        1 => Just(None),
        2 => Just(Some(100.0)),
        6 => (99.0f64..101.0).prop_map(Some),
        1 => (0.001f64..100_000.0).prop_map(Some),
    ];
    prop::collection::vec((step, value), 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_window_agrees_with_its_whole_history(
        kinds in prop::collection::vec(any_window(), 1..4),
        samples in any_samples(),
    ) {
        let mut bench = Bench::new(windows(&kinds), 1);
        let (mut history, mut ts) = (History::default(), 0);
        for (step, x) in samples {
            ts += step;
            bench.mid(ts, x);
            history.push(ts, bench.graph.value(NodeId(0)));
            check(&bench, &history, &kinds);
        }
    }

    /// From the outside to `enter` and back to `exit`, both thresholds included; a null changes nothing.
    #[test]
    fn hysteresis_is_its_state_machine(quarters in prop::collection::vec(prop::option::of(-16i32..=16), 1..200)) {
        let nodes = vec![
            source(Field::Mid),
            Node::Constant(10.0),
            Node::Binary { op: Binary::Sub, x: NodeId(0), y: NodeId(1) },
            Node::Hysteresis { x: NodeId(2), enter: 2.0, exit: 0.5 },
            Node::Record { x: NodeId(3), signal: 7, input: NodeId(2) },
        ];
        let mut bench = Bench::new(nodes, 1);
        let mut state = None;
        for (ts, quarter) in quarters.into_iter().enumerate() {
            let x = quarter.map(|quarter| f64::from(quarter) / 4.0);
            bench.mid(ts as u64, x.map(|x| 10.0 + x));
            let next = match (state, x) {
                (_, None) => state,
                (_, Some(x)) if x >= 2.0 => Some(1.0),
                (_, Some(x)) if x <= -2.0 => Some(-1.0),
                (Some(1.0), Some(x)) if x > 0.5 => Some(1.0),
                (Some(-1.0), Some(x)) if x < -0.5 => Some(-1.0),
                _ => Some(0.0),
            };
            let told: Vec<(f64, f64)> = bench.signals.iter().map(|signal| (signal.value, signal.input)).collect();
            let expected = if next == state { vec![] } else { vec![(next.unwrap(), x.unwrap())] };
            prop_assert_eq!(told, expected, "at {}: {:?} in state {:?}", ts, x, state);
            state = next;
        }
    }
}

/// A year of ticks: a large price, a small noise, and nothing may add up.
#[test]
fn a_million_updates_do_not_drift() {
    let kinds = [Window::Count(1_000), Window::Time(777), Window::EwmCount(0.993), Window::EwmTime(100)];
    let mut bench = Bench::new(windows(&kinds), 1);
    let mut rng = Rng::new(11);
    let mut recent = Vec::new();
    for ts in 0..1_000_000u64 {
        bench.mid(ts, Some(1e5 + 1e-3 * (rng.uniform() - 0.5)));
        recent.push((ts, bench.graph.value(NodeId(0))));
        if ts % 49_999 == 0 && ts > 0 {
            let mut history = History::default();
            // 4,000 samples are 40 half-lives: what is older weighs less than rounding.
            recent.drain(..recent.len() - 4_000);
            recent.iter().for_each(|(ts, x)| history.push(*ts, *x));
            for (at, window) in kinds.iter().enumerate() {
                let variance = bench.graph.value(NodeId((1 + at * 5 + 2) as u32));
                let expected = history.moments(*window).expect("full").variance;
                assert!((variance / expected - 1.0).abs() < 1e-6, "{window:?} at {ts}: {variance}, not {expected}");
            }
        }
    }
}

/// A bad tick leaves a window as if it had never been there, and at once.
#[test]
fn an_outlier_leaves_nothing_behind() {
    let kinds = [Window::Count(5_000), Window::Time(5_000)];
    let mut bench = Bench::new(windows(&kinds), 1);
    let mut rng = Rng::new(3);
    let mut history = History::default();
    for ts in 0..12_000u64 {
        let x = if ts == 100 { 1e9 } else { 1.0 + 1e-3 * rng.uniform() };
        bench.mid(ts, Some(x));
        history.push(ts, bench.graph.value(NodeId(0)));
        if (5_099..5_110).contains(&ts) || ts % 1_000 == 0 {
            check_loosely(&bench, &history, &kinds, ts);
        }
    }
}

fn check_loosely(bench: &Bench, history: &History, kinds: &[Window], ts: u64) {
    for (at, window) in kinds.iter().enumerate() {
        let Some(expected) = history.moments(*window) else { continue };
        let variance = bench.graph.value(NodeId((1 + at * 5 + 2) as u32));
        assert!((variance / expected.variance - 1.0).abs() < 1e-9, "{window:?} at {ts}: {variance} {expected:?}");
    }
}

/// A market that stands still has no z-score, however it came to stand still.
#[test]
fn a_market_that_stands_still_has_no_z_score() {
    let kinds = [Window::Count(50), Window::Time(50), Window::EwmCount(0.87), Window::EwmTime(5)];
    let mut bench = Bench::new(windows(&kinds), 1);
    let mut rng = Rng::new(5);
    for ts in 0..3_000u64 {
        bench.mid(ts, Some(if ts < 500 { 100.0 + rng.uniform() } else { 100.01 }));
    }
    for (at, window) in kinds.iter().enumerate() {
        let z = bench.graph.value(NodeId((1 + at * 5 + 4) as u32));
        assert!(z.is_nan(), "{window:?}: {z}");
    }
}

/// What is too large to be squared is no sample: it neither enters nor poisons a window.
#[test]
fn a_value_without_a_square_is_skipped() {
    let mut nodes = vec![source(Field::Mid), Node::Unary { op: Unary::Exp, x: NodeId(0) }];
    nodes.push(Node::window(NodeId(1), Window::EwmCount(0.5)));
    nodes.extend(STATS.map(|stat| Node::Read { of: NodeId(2), stat }));
    let mut bench = Bench::new(nodes, 1);
    for (ts, x) in [1.0, 2.0, 3.0, 2.0].into_iter().enumerate() {
        bench.mid(ts as u64, Some(x));
    }
    let before: Vec<f64> = (3..7).map(|at| bench.graph.value(NodeId(at))).collect();
    assert!(before.iter().all(|x| x.is_finite()), "{before:?}");
    bench.mid(9, Some(700.0));
    assert!(bench.graph.value(NodeId(1)) > 1e300);
    let after: Vec<f64> = (3..7).map(|at| bench.graph.value(NodeId(at))).collect();
    assert_eq!(before, after);
}

#[test]
fn a_full_time_window_drops_early_and_counts() {
    let nodes = windows(&[Window::Time(u64::MAX)]);
    let mut bench = Bench::new(nodes, 1);
    for ts in 0..helios_signals::MAX_SAMPLES as u64 + 5 {
        bench.mid(ts, Some(1.0 + (ts % 7) as f64));
    }
    assert_eq!(bench.graph.truncated(), 5);
}
