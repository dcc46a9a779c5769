//! Every node that remembers against its definition: the whole past is kept, and each number is computed from all of it.
//!
//! Bounds: 1e-9 of the expected number, and besides what no algorithm over floats can tell from the samples themselves:
//! a sample of size `a` is known to `a * 1e-13` (some hundred times its last place), so a deviation is too, a product of
//! two deviations to that part of the other one, and what is divided by a deviation `s` to `a * 1e-13 / s`. Where `s` is
//! below 1e5 times that, nothing is compared.

use helios_book::Capacity;
use helios_data::Markets;
use helios_signals::{BarKind, Binary, Graph, Keeps, Node, NodeId, Past, Stat, Window};
use helios_types::Nanos;
use proptest::prelude::*;

use crate::node;

/// What came: when, to which series, and what all series are then.
#[derive(Clone, Debug)]
struct Event {
    ts: u64,
    to: usize,
    x: [f64; 3],
}

impl Event {
    fn fires(&self, any: &[usize]) -> bool {
        any.contains(&self.to)
    }
}

/// Three series, each an event of its own; nodes 0, 1, 2.
struct Fed {
    graph: Graph,
    markets: Markets,
    past: Vec<Event>,
}

impl Fed {
    fn new(nodes: &[Node]) -> Self {
        let nodes = [&(0..3).map(|series| Node::Series { series }).collect::<Vec<_>>(), nodes].concat();
        let graph = Graph::new(nodes, Vec::new(), vec![0, 1, 2]).expect("a sound graph");
        Self { graph, markets: Markets::new(0, Capacity { orders: 1, levels: 1 }), past: Vec::new() }
    }

    fn feed(&mut self, ts: u64, to: usize, value: f64) {
        let mut x = self.past.last().map_or([f64::NAN; 3], |event| event.x);
        x[to] = value;
        self.past.push(Event { ts, to, x });
        let (mut intents, mut signals) = (Vec::new(), Vec::new());
        self.graph.feed(Nanos(ts), to as u32, value, &self.markets, &mut intents, &mut signals);
    }

    fn value(&self, at: usize) -> f64 {
        self.graph.value(node(at))
    }

    fn now(&self) -> u64 {
        self.past.last().expect("an event").ts
    }

    fn fired(&self, at: usize) -> bool {
        self.graph.fired(node(at))
    }
}

fn read(of: usize, stat: Stat) -> Node {
    Node::Read { of: node(of), stat }
}

const X: NodeId = NodeId(0);
const Y: NodeId = NodeId(1);
const KEY: NodeId = NodeId(2);

// ---- samples ---------------------------------------------------------------------------------------------------------

/// Steps in time that are often zero and sometimes a gap; to whom; a value that is often equal, missing or wild.
fn any_events(most: usize) -> impl Strategy<Value = Vec<(u64, usize, f64)>> {
    let step = prop_oneof![3 => Just(0u64), 5 => 1u64..20, 1 => 300u64..3_000];
    let to = prop_oneof![4 => Just(0usize), 3 => Just(1), 1 => Just(2)];
    let small = || (0u8..40).prop_map(|x| f64::from(x) / 8.0 - 2.0);
    // Everyday numbers; a large offset with a tiny noise; one of everything, so that a wild one comes, reigns, and leaves.
    let tame = prop_oneof![1 => Just(f64::NAN), 3 => small(), 6 => 90.0f64..110.0];
    let offset = prop_oneof![1 => Just(1e7), 6 => (0.0f64..1.0).prop_map(|x| 1e7 + x)];
    let wild = prop_oneof![
        1 => Just(f64::NAN),
        4 => small(),
        6 => 99.0f64..101.0,
        1 => Just(1e8),
        1 => Just(-1e6),
        1 => Just(1e200),
        1 => Just(f64::INFINITY)
    ];
    // Levels that a market leaves for good: a split, a currency.
    let levels = (prop::collection::vec((0.0f64..1.0, 0u8..30), most), 1.0f64..1e6).prop_map(|(noise, size)| {
        let mut level = 0.0;
        let mut next = |(noise, jump): (f64, u8)| {
            level = if jump == 0 { size - level } else { level };
            level + noise
        };
        noise.into_iter().map(&mut next).collect::<Vec<_>>()
    });
    let alone = |values: BoxedStrategy<f64>| prop::collection::vec(values, most).boxed();
    let values = prop_oneof![
        2 => alone(tame.boxed()),
        1 => alone(offset.boxed()),
        2 => alone(wild.boxed()),
        1 => levels.boxed(),
        1 => alone(Just(0.1).boxed())
    ];
    (prop::collection::vec((step, to), 1..most), values).prop_map(|(events, values)| {
        let mut ts = 0;
        let stamped = events.into_iter().zip(values).map(|((step, to), x)| {
            ts += step;
            // Keys are few.
            let key = if x.is_nan() { x } else { (x.abs() % 4.0).floor() };
            (ts, to, if to == 2 { key } else { x })
        });
        stamped.collect()
    })
}

fn any_plain() -> impl Strategy<Value = Window> {
    prop_oneof![(1u32..30).prop_map(Window::Count), (1u64..200).prop_map(Window::Time), Just(Window::All)]
}

/// The samples in a plain window; `None` while it is not full.
fn within<S: Clone>(samples: &[(u64, S)], window: Window, least: u32) -> Option<Vec<S>> {
    let (first, now) = (samples.first()?.0, samples.last()?.0);
    let (from, full) = match window {
        Window::Count(n) => (samples.len().saturating_sub(n as usize), samples.len() >= n as usize),
        Window::Time(span) => (samples.partition_point(|(ts, _)| now - ts >= span), now - first >= span),
        _ => (0, true),
    };
    let inside: Vec<S> = samples[from..].iter().map(|(_, x)| x.clone()).collect();
    (if least > 0 { inside.len() >= least as usize } else { full }).then_some(inside)
}

/// Samples of x; with a key, those since it is what it is.
fn samples(past: &[Event], keyed: bool, largest: f64) -> Vec<(u64, f64)> {
    let own: Vec<&Event> = past.iter().filter(|event| event.fires(&[0])).collect();
    let key = own.last().map_or(f64::NAN, |event| event.x[2]);
    if keyed && key.is_nan() {
        return Vec::new();
    }
    let from = if keyed { own.iter().rposition(|event| event.x[2] != key).map_or(0, |at| at + 1) } else { 0 };
    own[from..].iter().filter(|event| event.x[0].abs() <= largest).map(|event| (event.ts, event.x[0])).collect()
}

fn mean(x: &[f64]) -> f64 {
    let rough = x.iter().sum::<f64>() / x.len() as f64;
    rough + x.iter().map(|x| x - rough).sum::<f64>() / x.len() as f64
}

/// How closely a number of this size is known.
fn grain(x: &[f64]) -> f64 {
    x.iter().fold(0.0f64, |most, x| most.max(x.abs())) * 1e-13
}

fn close(found: f64, expected: f64, slack: f64) -> bool {
    (found.is_nan() && expected.is_nan()) || (found - expected).abs() <= 1e-9 * expected.abs() + slack
}

/// What a statistic of one expression is, and how closely it is known; `None` where that is not at all.
fn of_one(stat: Stat, x: &[f64]) -> Option<(f64, f64)> {
    let (n, m, g) = (x.len() as f64, mean(x), grain(x));
    let power = |k: i32| x.iter().map(|x| libm::pow(x - m, f64::from(k))).sum::<f64>() / n;
    let s = power(2).sqrt();
    Some(match stat {
        Stat::Mean => (m, g),
        Stat::Sum => (x.iter().sum(), n * g),
        Stat::Var if x.len() < 2 => (f64::NAN, 0.0),
        Stat::Var => (power(2) * n / (n - 1.0), 4.0 * (s + g) * g),
        Stat::Skew if power(2) == 0.0 => (f64::NAN, 0.0),
        Stat::Skew if s < 1e5 * g => return None,
        Stat::Skew => (power(3) / (s * s * s), 10.0 * n.sqrt() * g / s),
        Stat::Min => (x.iter().copied().fold(f64::INFINITY, f64::min), 0.0),
        Stat::Max => (x.iter().copied().fold(f64::NEG_INFINITY, f64::max), 0.0),
        Stat::Quantile(q) => {
            let mut sorted = x.to_vec();
            sorted.sort_by(f64::total_cmp);
            let place = q * (n - 1.0);
            let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            (low * (1.0 - place.fract()) + high * place.fract(), g)
        }
        _ => unreachable!("not asked for"),
    })
}

/// The same of two.
fn of_two(stat: Stat, pairs: &[(f64, f64)], weights: &[f64], divisor: f64) -> Option<(f64, f64)> {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (gx, gy) = (grain(&x), grain(&y));
    let last = *pairs.last()?;
    // Seen from the last sample, what is small loses nothing to what the samples have in common.
    let about = |of: &[f64], from: f64| {
        let weighted: f64 = weights.iter().zip(of).map(|(w, x)| w * (x - from)).sum();
        from + weighted / weights.iter().sum::<f64>()
    };
    let (rough_x, rough_y) = (about(&x, last.0), about(&y, last.1));
    let (mx, my) = (about(&x, rough_x), about(&y, rough_y));
    let product = |f: &dyn Fn(f64, f64) -> f64| {
        let sum: f64 = weights.iter().zip(pairs).map(|(w, (x, y))| w * f(x - mx, y - my)).sum();
        sum / divisor
    };
    let (xx, yy, xy) = (product(&|x, _| x * x), product(&|_, y| y * y), product(&|x, y| x * y));
    let (sx, sy) = (xx.sqrt(), yy.sqrt());
    let slope_slack = 10.0 * (gx / sy + sx * gy / yy);
    let known = sx > 1e5 * gx && sy > 1e5 * gy;
    let still = |of: &[f64]| of.iter().all(|x| *x == of[0]);
    Some(match stat {
        Stat::Cov => (xy, 10.0 * ((sx + gx) * gy + (sy + gy) * gx)),
        Stat::Corr | Stat::Beta | Stat::Alpha | Stat::Residual if still(&y) => (f64::NAN, 0.0),
        Stat::Corr if still(&x) => (f64::NAN, 0.0),
        _ if !known => return None,
        Stat::Corr => (xy / (sx * sy), 10.0 * (gx / sx + gy / sy)),
        Stat::Beta => (xy / yy, slope_slack),
        Stat::Alpha => (mx - xy / yy * my, gx + slope_slack * my.abs() + xy.abs() / yy * gy),
        _ => {
            let (dx, dy) = (last.0 - mx, last.1 - my);
            (dx - xy / yy * dy, 1e-9 * dx.abs() + 10.0 * gx + slope_slack * dy.abs() + 1e-9 * (xy / yy * dy).abs())
        }
    })
}

const ONE: [(Keeps, &[Stat]); 5] = [
    (Keeps::Moments, &[Stat::Mean, Stat::Sum, Stat::Var]),
    (Keeps::Skew, &[Stat::Skew]),
    (Keeps::Least, &[Stat::Min]),
    (Keeps::Greatest, &[Stat::Max]),
    (Keeps::Order, &[Stat::Quantile(0.0), Stat::Quantile(0.3), Stat::Quantile(0.5), Stat::Quantile(1.0)]),
];
const TWO: [Stat; 5] = [Stat::Cov, Stat::Corr, Stat::Beta, Stat::Alpha, Stat::Residual];

fn pairs(past: &[Event]) -> Vec<(u64, (f64, f64))> {
    let own = past.iter().filter(|event| event.fires(&[0, 1]));
    let sound = own.filter(|event| event.x[0].abs() <= 1e150 && event.x[1].abs() <= 1e150);
    sound.map(|event| (event.ts, (event.x[0], event.x[1]))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn windows_of_one(events in any_events(150), window in any_plain(), least in 0u32..5, keyed in any::<bool>()) {
        let least = if let Window::Count(n) = window { least.min(n) } else { least };
        let mut nodes = Vec::new();
        let mut reads = Vec::new();
        for (keeps, stats) in ONE {
            let of = 3 + nodes.len();
            nodes.push(Node::Window { x: X, window, keeps, least, by: keyed.then_some(KEY) });
            for stat in stats {
                reads.push((3 + nodes.len(), *stat));
                nodes.push(read(of, *stat));
            }
        }
        let mut fed = Fed::new(&nodes);
        for (ts, to, x) in events {
            fed.feed(ts, to, x);
            for (at, stat) in &reads {
                prop_assert_eq!(fed.fired(*at), to == 0);
                // Cubes must fit a float, too.
                let largest = if *stat == Stat::Skew { 1e100 } else { 1e150 };
                let Some(inside) = within(&samples(&fed.past, keyed, largest), window, least) else {
                    prop_assert!(to != 0 || fed.value(*at).is_nan(), "{stat:?} before it is full");
                    continue;
                };
                let found = fed.value(*at);
                if to == 0 && let Some((expected, slack)) = of_one(*stat, &inside) {
                    prop_assert!(close(found, expected, slack), "{stat:?} at {ts}: {found}, not {expected} +- {slack} \
                        of {inside:?}");
                }
            }
        }
    }

    #[test]
    fn windows_of_two(events in any_events(150), window in any_plain(), least in 0u32..5) {
        let least = if let Window::Count(n) = window { least.min(n) } else { least };
        let mut nodes = vec![Node::PairWindow { x: X, y: Y, window, least, by: None }];
        nodes.extend(TWO.map(|stat| read(3, stat)));
        let mut fed = Fed::new(&nodes);
        for (ts, to, x) in events {
            fed.feed(ts, to, x);
            let inside = within(&pairs(&fed.past), window, least);
            for (at, stat) in (4..).zip(TWO).filter(|_| to < 2) {
                let found = fed.value(at);
                let Some(inside) = inside.as_ref().filter(|inside| inside.len() > 1) else {
                    prop_assert!(found.is_nan(), "{stat:?} is {found} of too little");
                    continue;
                };
                let ones = vec![1.0; inside.len()];
                if let Some((expected, slack)) = of_two(stat, inside, &ones, inside.len() as f64 - 1.0) {
                    prop_assert!(close(found, expected, slack), "{stat:?} at {ts}: {found}, not {expected} +- {slack} \
                        of {inside:?}");
                }
            }
        }
    }

    /// An exponential window forgets slowly, so what is compared is known as closely as all that ever came.
    #[test]
    fn exponential_windows_of_two(
        events in any_events(150),
        keep in prop_oneof![Just(None), (0.1f64..0.97).prop_map(Some)],
        halflife in 1u64..200,
        least in 0u32..5,
    ) {
        let window = keep.map_or(Window::EwmTime(halflife), Window::EwmCount);
        let mut nodes = vec![Node::PairWindow { x: X, y: Y, window, least, by: None }];
        nodes.extend(TWO.map(|stat| read(3, stat)));
        let mut fed = Fed::new(&nodes);
        for (ts, to, x) in events {
            fed.feed(ts, to, x);
            let all = pairs(&fed.past);
            // What is left of a sample's weight.
            let left = |at: usize| match keep {
                Some(keep) => libm::pow(keep, (all.len() - 1 - at) as f64),
                None => libm::exp2((all[all.len() - 1].0 - all[at].0) as f64 / -(halflife as f64)),
            };
            let full = !all.is_empty() && match keep {
                _ if least > 0 => all.len() >= least as usize,
                Some(keep) => libm::pow(keep, all.len() as f64) <= 0.125 * (1.0 + 1e-9),
                None => all[all.len() - 1].0 - all[0].0 >= 3 * halflife,
            };
            let weights: Vec<f64> =
                (0..all.len()).map(|at| if at == 0 { left(0) } else { left(at) - left(at - 1) }).collect();
            let inside: Vec<(f64, f64)> = all.iter().map(|(_, pair)| *pair).collect();
            for (at, stat) in (4..).zip(TWO).filter(|_| to < 2) {
                let found = fed.value(at);
                if !full {
                    prop_assert!(found.is_nan(), "{stat:?} is {found} before it is full");
                } else if let Some((expected, slack)) = of_two(stat, &inside, &weights, 1.0) {
                    prop_assert!(close(found, expected, slack), "{stat:?} at {ts}: {found}, not {expected} +- {slack}");
                }
            }
        }
    }
}

// ---- the Kalman filter -----------------------------------------------------------------------------------------------

/// Solves `a z = b` by elimination.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs())).expect("a row");
        a.swap(k, pivot);
        b.swap(k, pivot);
        for i in k + 1..n {
            let part = a[i][k] / a[k][k];
            let (above, below) = a.split_at_mut(i);
            below[0][k..].iter_mut().zip(&above[k][k..]).for_each(|(x, y)| *x -= part * y);
            b[i] -= part * b[k];
        }
    }
    for k in (0..n).rev() {
        let rest: f64 = (k + 1..n).map(|j| a[k][j] * b[j]).sum();
        b[k] = (b[k] - rest) / a[k][k];
    }
    b
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// All observations at once, as one Gaussian vector (no recursion): the state is a million wide at first, so what
    /// elimination leaves of 16 digits is 1e-6.
    #[test]
    fn kalman_is_conditional_expectation(
        observed in prop::collection::vec((-5.0f64..5.0, 0.5f64..4.0, 0u8..9), 1..12),
        drift in prop_oneof![Just(0.0), 0.001f64..0.5],
        noise in 0.5f64..4.0,
        least in 0u32..4,
    ) {
        const STATS: [Stat; 5] = [Stat::Beta, Stat::Alpha, Stat::Residual, Stat::Std, Stat::ZScore];
        let mut nodes = vec![Node::Kalman { y: Y, x: X, drift, noise, least }];
        nodes.extend(STATS.map(|stat| read(3, stat)));
        let mut fed = Fed::new(&nodes);
        let mut seen: Vec<(f64, f64)> = Vec::new();
        for (ts, (y, x, gap)) in observed.into_iter().enumerate() {
            fed.feed(ts as u64, 0, if gap == 0 { f64::NAN } else { x });
            let last = fed.past.last().expect("just fed").x;
            seen.extend((last[0].abs() + last[1].abs() < 1e150).then_some((last[1], last[0])));
            fed.feed(ts as u64, 1, y);
            seen.extend((gap != 0).then_some((y, x)));
            if seen.len() <= least as usize || seen.is_empty() {
                prop_assert!((4..9).all(|at| fed.value(at).is_nan()));
                continue;
            }
            // The state at i and j has this much in common; it has moved once before the first is seen.
            let common = |i: usize, j: usize| 1e6 + drift * (1.0 + i.min(j) as f64);
            let cov = |i: usize, j: usize| {
                let h = seen[i].1 * seen[j].1 + 1.0;
                h * common(i, j) + if i == j { noise } else { 0.0 }
            };
            let matrix = |n: usize| -> Vec<Vec<f64>> { (0..n).map(|i| (0..n).map(|j| cov(i, j)).collect()).collect() };
            let y: Vec<f64> = seen.iter().map(|(y, _)| *y).collect();
            let n = seen.len();
            let z = solve(matrix(n), y.clone());
            let state = |h: &dyn Fn(f64) -> f64| -> f64 { (0..n).map(|i| h(seen[i].1) * common(n - 1, i) * z[i]).sum() };
            let (beta, alpha) = (state(&|x| x), state(&|_| 1.0));
            // The forecast of the last from those before it.
            let to_last: Vec<f64> = (0..n - 1).map(|i| cov(n - 1, i)).collect();
            let weights = if n > 1 { solve(matrix(n - 1), to_last.clone()) } else { vec![] };
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let residual = y[n - 1] - dot(&weights, &y);
            let deviation = (cov(n - 1, n - 1) - dot(&weights, &to_last)).sqrt();
            for (at, expected) in (4..).zip([beta, alpha, residual, deviation, residual / deviation]) {
                let found = fed.value(at);
                prop_assert!((found - expected).abs() <= 1e-6 * (1.0 + expected.abs()), "{:?} after {n}: {found}, not \
                    {expected}", STATS[at - 4]);
            }
        }
    }
}

// ---- bars and cross-sections -----------------------------------------------------------------------------------------

const BAR: [Stat; 7] = [Stat::Open, Stat::High, Stat::Low, Stat::Close, Stat::Volume, Stat::Vwap, Stat::Count];

/// The trades of every bar that has ended.
fn bars(trades: &[(u64, (f64, f64))], kind: BarKind) -> Vec<Vec<(f64, f64)>> {
    let mut done = Vec::new();
    let mut making: Vec<(f64, f64)> = Vec::new();
    for (at, (ts, trade)) in trades.iter().enumerate() {
        if let BarKind::Time(every) = kind
            && at > 0
            && trades[at - 1].0 / every != ts / every
        {
            done.push(std::mem::take(&mut making));
        }
        making.push(*trade);
        let ends = match kind {
            BarKind::Time(_) => false,
            BarKind::Ticks(n) => making.len() == n as usize,
            BarKind::Volume(most) => making.iter().map(|(_, size)| size).sum::<f64>() >= most,
            BarKind::Money(most) => making.iter().map(|(price, size)| price * size).sum::<f64>() >= most,
        };
        if ends {
            done.push(std::mem::take(&mut making));
        }
    }
    done
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn bars_are_made_of_their_trades(
        events in prop::collection::vec((0u64..9, any::<bool>(), prop::option::weighted(0.95, 1u32..9)), 1..120),
        kind in prop_oneof![
            (1u64..30).prop_map(BarKind::Time),
            (1u32..6).prop_map(BarKind::Ticks),
            (1u32..30).prop_map(|x| BarKind::Volume(f64::from(x))),
            (1u32..200).prop_map(|x| BarKind::Money(f64::from(x)))
        ],
    ) {
        let mut nodes = vec![Node::Bars { price: X, size: Y, kind }];
        nodes.extend(BAR.map(|stat| read(3, stat)));
        let mut fed = Fed::new(&nodes);
        let (mut ts, mut before) = (0, 0);
        for (step, to, x) in events {
            ts += step;
            // A size comes with its price, a moment earlier: only prices are trades.
            fed.feed(ts, usize::from(to), x.map_or(f64::NAN, f64::from));
            let own = fed.past.iter().filter(|event| event.to == 0 && !event.x[0].is_nan() && !event.x[1].is_nan());
            let trades: Vec<(u64, (f64, f64))> = own.map(|event| (event.ts, (event.x[0], event.x[1]))).collect();
            let done = bars(&trades, kind);
            prop_assert_eq!(fed.fired(3), done.len() > before, "at {}", ts);
            before = done.len();
            let Some(bar) = done.last() else {
                prop_assert!((3..11).all(|at| fed.value(at).is_nan()));
                continue;
            };
            let volume: f64 = bar.iter().map(|(_, size)| size).sum();
            let money: f64 = bar.iter().map(|(price, size)| price * size).sum();
            let prices = || bar.iter().map(|(price, _)| *price);
            // Whole numbers: nothing is rounded.
            let expected = [
                bar[0].0,
                prices().fold(f64::MIN, f64::max),
                prices().fold(f64::MAX, f64::min),
                bar[bar.len() - 1].0,
                volume,
                money / volume,
                bar.len() as f64,
            ];
            let found: Vec<f64> = (4..11).map(|at| fed.value(at)).collect();
            prop_assert_eq!(&found[..], &expected[..], "at {} of {:?}", ts, bar);
            prop_assert_eq!(fed.value(3), expected[3]);
        }
    }

    #[test]
    fn a_cross_section_ranks_by_definition(
        events in prop::collection::vec((prop_oneof![2 => Just(0u64), 1 => 1u64..4], 0usize..3,
            prop::option::weighted(0.9, prop_oneof![3 => (0u8..5).prop_map(|x| f64::from(x) / 10.0), 1 => -1e3f64..1e3])), 1..80),
        quorum in 0u32..=3,
    ) {
        let stats = |member: u32| [
            Stat::Rank(member),
            Stat::Demean(member),
            Stat::CrossZScore(member),
            Stat::Top { member, k: 1 },
            Stat::Top { member, k: 2 },
        ];
        let mut nodes = vec![Node::Cross { members: vec![X, Y, KEY], quorum }];
        nodes.extend((0..3).flat_map(stats).map(|stat| read(3, stat)));
        let mut fed = Fed::new(&nodes);
        let mut ts = 0;
        for (step, to, x) in events {
            ts += step;
            fed.feed(ts, to, x.unwrap_or(f64::NAN));
            let here = |member: &usize| fed.past.iter().any(|event| event.ts == ts && event.to == *member);
            let present = (0..3).filter(here).count();
            prop_assert_eq!(fed.fired(3), present >= quorum as usize);
            if present < quorum as usize {
                continue;
            }
            let x = fed.past.last().expect("an event").x;
            let own: Vec<f64> = x.into_iter().filter(|x| !x.is_nan()).collect();
            prop_assert_eq!(fed.value(3), own.len() as f64);
            for member in 0..3 {
                let found: Vec<f64> = (0..5).map(|k| fed.value(4 + member * 5 + k)).collect();
                if x[member].is_nan() {
                    prop_assert!(found.iter().all(|x| x.is_nan()), "{found:?}");
                    continue;
                }
                let less = own.iter().filter(|x_| **x_ < x[member]).count() as f64;
                let equal = own.iter().filter(|x_| **x_ == x[member]).count() as f64;
                let better = (0..3).filter(|other| x[*other] > x[member] || (x[*other] == x[member] && *other < member));
                let better = better.count();
                let (m, n) = (mean(&own), own.len() as f64);
                let s = (own.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / (n - 1.0)).sqrt();
                let z = if own.iter().all(|x| *x == own[0]) { f64::NAN } else { (x[member] - m) / s };
                prop_assert_eq!(found[0], less + (equal + 1.0) / 2.0);
                prop_assert!(close(found[1], x[member] - m, grain(&own)), "{} {}", found[1], x[member] - m);
                prop_assert!(close(found[2], z, grain(&own) / s), "z-score {} of {own:?}, not {z}", found[2]);
                prop_assert_eq!(found[3], f64::from(better < 1));
                prop_assert_eq!(found[4], f64::from(better < 2));
            }
        }
    }
}

// ---- the past, the clock and conditions --------------------------------------------------------------------------

/// (open, close) and (from, offset): sessions that touch, a gap, a night; two changes of the clock.
const HOURS: [(u64, u64); 4] = [(5, 40), (40, 60), (75, 90), (500, 5_000)];
const OFFSETS: [(u64, i64); 3] = [(0, -18_000), (60, 3_600), (700, -86_400)];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_past_is_looked_up(
        events in any_events(100),
        n in 1u32..9,
        span in prop_oneof![1u64..60, Just(u64::MAX)],
    ) {
        let nodes = [
            Node::Lag { x: X, past: Past::Samples(n) },
            Node::Lag { x: X, past: Past::Time(span) },
            Node::Elapsed { x: X },
            Node::Changes { x: X },
        ];
        let mut fed = Fed::new(&nodes);
        for (ts, to, x) in events {
            fed.feed(ts, to, x);
            let own: Vec<&Event> = fed.past.iter().filter(|event| event.to == 0).collect();
            // A series knows no infinity: what is not finite is null.
            let value = |event: &Event| if event.x[0].is_finite() { event.x[0] } else { f64::NAN };
            let numbers: Vec<(u64, f64)> =
                own.iter().map(|event| (event.ts, value(event))).filter(|(_, x)| !x.is_nan()).collect();
            prop_assert_eq!([fed.fired(3), fed.fired(4), fed.fired(5)], [to == 0; 3]);
            let [.., before, last] = own[..] else {
                prop_assert_eq!(fed.fired(6), to == 0);
                continue;
            };
            let (x, previous) = (value(last), value(before));
            let changed = !(x == previous || (x.is_nan() && previous.is_nan()));
            prop_assert_eq!(fed.fired(6), to == 0 && changed);
            if to != 0 {
                continue;
            }
            let ago = numbers.len().checked_sub(1 + n as usize).map_or(f64::NAN, |at| numbers[at].1);
            let ago = if x.is_nan() { f64::NAN } else { ago };
            prop_assert!(close(fed.value(3), ago, 0.0), "{n} samples ago: {}, not {ago}", fed.value(3));
            let stood = numbers.iter().rfind(|(then, _)| ts - then >= span).map_or(f64::NAN, |(_, x)| *x);
            prop_assert!(close(fed.value(4), stood, 0.0), "{span} ns ago: {}, not {stood}", fed.value(4));
            prop_assert_eq!(fed.value(5), (last.ts - before.ts) as f64 / 1e9);
            prop_assert!(close(fed.value(6), x, 0.0));
        }
    }

    #[test]
    fn the_clock_is_read_off_its_tables(steps in prop::collection::vec(prop_oneof![0u64..9, 5_000u64..6_000], 1..80)) {
        // One unit is a minute, so that days pass.
        const UNIT: u64 = 60_000_000_000;
        let hours = HOURS.map(|(open, close)| (Nanos(open * UNIT), Nanos(close * UNIT))).into();
        let offsets = OFFSETS.map(|(from, offset)| (Nanos(from * UNIT), offset)).into();
        let stats = [Stat::Session, Stat::SinceOpen, Stat::ToClose, Stat::IsOpen];
        let mut nodes = vec![Node::Session { hours }, Node::LocalTime { offsets }];
        nodes.extend(stats.map(|stat| read(3, stat)));
        nodes.extend([Stat::TimeOfDay, Stat::Weekday].map(|stat| read(4, stat)));
        nodes.extend((5..11).map(|at| Node::When { x: node(at), trigger: X }));
        let mut fed = Fed::new(&nodes);
        let mut now = 0;
        for step in steps {
            now += step;
            fed.feed(now * UNIT, 0, 1.0);
            let found: Vec<f64> = (11..17).map(|at| fed.value(at)).collect();
            // A close belongs to its session, and so does an open, unless the session before closes then.
            let open = HOURS.iter().position(|(open, close)| *open <= now && now <= *close);
            match open {
                Some(at) => {
                    let (since, left) = ((now - HOURS[at].0) * 60, (HOURS[at].1 - now) * 60);
                    prop_assert_eq!(&found[..4], &[at as f64, since as f64, left as f64, 1.0][..]);
                }
                None => prop_assert!(found[..3].iter().all(|x| x.is_nan()) && found[3] == 0.0, "{found:?}"),
            }
            let offset = OFFSETS.iter().rfind(|(from, _)| *from <= now).expect("the first is from 1970 on").1;
            let local = now as i64 * 60 + offset;
            let (days, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
            // 1970 began on a Thursday.
            let weekday = (0..days.rem_euclid(7)).fold(3, |day, _| if day == 6 { 0 } else { day + 1 });
            prop_assert_eq!(&found[4..], &[second as f64, f64::from(weekday)][..]);
        }
    }

    #[test]
    fn conditions_are_held_delayed_and_thinned_out(
        events in prop::collection::vec((0u64..9, 0usize..3, prop::option::weighted(0.9, 0u8..4)), 1..120),
        span in prop_oneof![1u64..30, Just(u64::MAX)],
    ) {
        let more = |than: usize| Node::Binary { op: Binary::Gt, x: X, y: node(than) };
        let nodes = [
            Node::Cooldown { x: X, span },
            Node::Debounce { x: X, span },
            // Both of a latch at one event: above two it is reset, too.
            Node::Constant(1.0),
            Node::Constant(2.0),
            more(5),
            more(6),
            Node::Latch { set: node(7), reset: node(8) },
            Node::Latch { set: X, reset: Y },
        ];
        let mut fed = Fed::new(&nodes);
        let mut ones: Vec<u64> = Vec::new();
        let (mut ts, mut latched) = (0, [f64::NAN; 2]);
        for (step, to, x) in events {
            ts += step;
            fed.feed(ts, to, x.map_or(f64::NAN, f64::from));
            let own: Vec<&Event> = fed.past.iter().filter(|event| event.to == 0).collect();
            let holds = |event: &Event, to: usize, above: f64| event.to == to && event.x[to] > above;
            if to == 0 {
                let rested = ones.last().is_none_or(|last| ts - last >= span);
                let one = x.is_some_and(|x| x > 0) && rested;
                ones.extend(one.then_some(ts));
                prop_assert_eq!(fed.value(3), f64::from(one));
                let since = own.iter().rposition(|event| !holds(event, 0, 0.0)).map_or(0, |at| at + 1);
                let long = own.get(since).is_some_and(|first| ts - first.ts >= span);
                prop_assert_eq!(fed.value(4), f64::from(long));
            }
            prop_assert_eq!([fed.fired(3), fed.fired(4)], [to == 0; 2]);
            // What was heard last decides, and of both the reset.
            let last = |set: &dyn Fn(&Event) -> bool, reset: &dyn Fn(&Event) -> bool| {
                let heard = fed.past.iter().rfind(|event| set(event) || reset(event));
                f64::from(heard.is_some_and(|event| !reset(event)))
            };
            let states = [
                last(&|event| holds(event, 0, 1.0), &|event| holds(event, 0, 2.0)),
                last(&|event| holds(event, 0, 0.0), &|event| holds(event, 1, 0.0)),
            ];
            for (k, (state, hears)) in states.into_iter().zip([to == 0, to < 2]).enumerate() {
                prop_assert_eq!(fed.fired(9 + k), hears && state.to_bits() != latched[k].to_bits(), "latch {}", k);
                latched[k] = if hears { state } else { latched[k] };
                prop_assert!(close(fed.value(9 + k), latched[k], 0.0), "latch {k} at {}", fed.now());
            }
        }
    }
}
