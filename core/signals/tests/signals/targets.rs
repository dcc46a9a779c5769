//! Targets: rounding, nulls, and wishes that wait for a price.

use helios_signals::{Binary, Field, Graph, Node, NodeId, Sizing};
use helios_types::{Cash, Digest, Hasher, InstrumentId, IntentKind, Price, Quantity, StrategyId, TradeKind, Update};

use crate::{Bench, locked, source};

/// mid - 10 as a target of instrument 1.
fn aim(sizing: Sizing) -> Bench {
    let nodes = vec![
        source(Field::Mid),
        Node::Constant(10.0),
        Node::Binary { op: Binary::Sub, x: NodeId(0), y: NodeId(1) },
        Node::Target { x: NodeId(2), strategy: StrategyId(4), instrument: InstrumentId(1), sizing },
    ];
    Bench::new(nodes, 2)
}

/// Positions wished for by the last event, in units of 1e-8.
fn wished(bench: &Bench) -> Vec<i64> {
    let position = |intent: &helios_types::Intent| match intent.kind {
        IntentKind::Target { position } if intent.strategy.0 == 4 && intent.instrument.0 == 1 => position.0,
        _ => panic!("{intent:?}"),
    };
    bench.intents.iter().map(position).collect()
}

const SHARE: i64 = 100_000_000;

#[test]
fn a_target_is_rounded_towards_zero_and_told_when_it_changes() {
    let mut bench = aim(Sizing::Quantity(Quantity::whole(10)));
    let rows: [(Option<f64>, &[i64]); 9] = [
        (Some(10.0), &[]),
        (Some(10.29), &[2 * SHARE]),
        (Some(10.21), &[]),
        (None, &[]),
        (Some(10.2), &[]),
        (Some(9.71), &[-2 * SHARE]),
        // 0.3 x 10 is 2.9999999999999982 shares in floats, and three in fact.
        (Some(10.3), &[3 * SHARE]),
        (Some(10.05), &[0]),
        (Some(9.96), &[]),
    ];
    for (ts, (x, expected)) in rows.into_iter().enumerate() {
        bench.mid(ts as u64, x);
        assert_eq!(wished(&bench), expected, "row {ts}");
    }
}

#[test]
fn a_notional_without_a_price_waits_for_one_and_is_not_lost() {
    let mut bench = aim(Sizing::Notional(Cash::whole(1_000)));
    bench.mid(0, Some(12.0));
    assert_eq!(wished(&bench), [], "instrument 1 has no price yet");
    let half = Update::Quote {
        bid: Price::whole(20),
        bid_quantity: Quantity::whole(1),
        ask: Price::UNDEFINED,
        ask_quantity: Quantity::ZERO,
    };
    bench.event(1, 1, half);
    assert_eq!(wished(&bench), [], "one side is no price");
    let (price, quantity) = (Price::whole(20), Quantity::whole(1));
    bench.event(2, 1, Update::Trade { price, quantity, aggressor: None, kind: TradeKind::Regular, trade: 0 });
    assert_eq!(wished(&bench), [100 * SHARE]);
    bench.event(3, 1, locked(Some(40.0)));
    assert_eq!(wished(&bench), [], "a new price alone is no new wish");
}

#[test]
fn what_waits_is_the_latest_wish() {
    let mut bench = aim(Sizing::Notional(Cash::whole(1_000)));
    bench.mid(0, Some(12.0));
    bench.mid(1, Some(11.0));
    bench.event(2, 1, locked(Some(20.0)));
    assert_eq!(wished(&bench), [50 * SHARE]);

    let mut bench = aim(Sizing::Notional(Cash::whole(1_000)));
    bench.mid(0, Some(12.0));
    bench.mid(1, Some(10.0));
    bench.event(2, 1, locked(Some(20.0)));
    assert_eq!(wished(&bench), [], "nothing is wished any more, and nothing is held");

    let mut bench = aim(Sizing::Notional(Cash::whole(1_000)));
    bench.mid(0, Some(12.0));
    bench.mid(1, None);
    bench.event(2, 1, locked(Some(20.0)));
    assert_eq!(wished(&bench), [], "a null is no wish");
    bench.mid(3, Some(12.0));
    assert_eq!(wished(&bench), [100 * SHARE]);
}

#[test]
fn more_shares_than_fit_are_no_wish() {
    let mut bench = aim(Sizing::Quantity(Quantity(i64::MAX)));
    bench.mid(0, Some(10.5));
    assert_eq!(wished(&bench).len(), 1);
    bench.mid(1, Some(1_000.0));
    assert_eq!(wished(&bench), [], "the last wish stands");
}

fn digest(graph: &Graph) -> u128 {
    let mut hasher = Hasher::new();
    graph.digest(&mut hasher);
    hasher.finish()
}

#[test]
fn the_fingerprint_shows_that_a_wish_waits() {
    let mut waits = aim(Sizing::Notional(Cash::whole(1_000)));
    waits.mid(0, Some(12.0));
    let mut wants_quantity = aim(Sizing::Quantity(Quantity(1)));
    wants_quantity.mid(0, Some(12.0));
    assert_ne!(digest(&waits.graph), digest(&wants_quantity.graph));
    let before = digest(&waits.graph);
    waits.event(1, 1, locked(Some(20.0)));
    assert_ne!(before, digest(&waits.graph));
}
