//! Single cases of an order's life, above all those in which messages cross on the way.

use helios_execution::{MAX_ENDED_ORDERS, MAX_OPEN_ORDERS, Style, Touch};
use helios_risk::{Limits, Mode};
use helios_types::OrderState::{Accepted, CancelPending, Cancelled, Filled, New, PartlyFilled, ReplacePending};
use helios_types::{
    Breach, InstrumentId, IntentKind, NANOS_PER_SECOND, Nanos, OrderId, Output, Price, QualityKind, Quantity, Report,
    Rule, Side, Terms, TimeInForce,
};

use crate::*;

fn floor() -> Floor {
    Floor::new(Limits::default(), Quantity::whole(1))
}

const CANCEL: fn(u64) -> IntentKind = |n| IntentKind::Cancel { order: caller(n) };

fn replace(n: u64, shares: i64, price: f64) -> IntentKind {
    let (quantity, price) = (Quantity::whole(shares), Price::from_f64(price).unwrap());
    IntentKind::Replace { order: caller(n), quantity, price }
}

#[test]
fn a_fill_that_crosses_our_cancel_is_booked() {
    let mut floor = floor();
    floor.order(1, Side::Buy, 100);
    assert_eq!(states(floor.report(caller(1), ACCEPTED)), [(New, Accepted)]);
    assert_eq!(states(floor.wish(7, KO, CANCEL(1))), [(Accepted, CancelPending)]);
    assert_eq!(floor.wish(7, KO, CANCEL(1)), [], "a second cancel is no new message");
    assert_eq!(states(floor.report(caller(1), fill(1, 40, 50.0))), [(CancelPending, CancelPending)]);
    assert_eq!(states(floor.report(caller(1), fill(2, 60, 50.0))), [(CancelPending, Filled)]);
    assert_eq!(floor.report(caller(1), CHANGE_REJECTED), [], "the cancel came too late: no fault");
    assert_eq!((floor.held(), floor.working()), (Quantity::whole(100).0, [Quantity::ZERO; 2]));
}

#[test]
fn a_cancel_stays_pending_while_the_replace_before_it_is_answered() {
    for answer in [replaced(150, 50.0), CHANGE_REJECTED] {
        let mut floor = floor();
        floor.order(1, Side::Buy, 100);
        floor.report(caller(1), ACCEPTED);
        assert_eq!(states(floor.wish(7, KO, replace(1, 150, 50.0))), [(Accepted, ReplacePending)]);
        assert_eq!(floor.working()[0], Quantity::whole(150), "the venue may be faster than its answer");
        assert_eq!(states(floor.wish(7, KO, CANCEL(1))), [(ReplacePending, CancelPending)]);
        assert_eq!(states(floor.report(caller(1), answer)), [(CancelPending, CancelPending)]);
        let left = if answer == CHANGE_REJECTED { 100 } else { 150 };
        assert_eq!(floor.working()[0], Quantity::whole(left));
        assert_eq!(states(floor.report(caller(1), CHANGE_REJECTED)), [(CancelPending, Accepted)]);
        assert_eq!(states(floor.report(caller(1), CANCELLED)), [(Accepted, Cancelled)]);
        assert_eq!(floor.working(), [Quantity::ZERO; 2]);
    }
}

#[test]
fn a_replace_to_what_has_filled_meanwhile_ends_the_order() {
    for answer in [CANCELLED, replaced(60, 50.0)] {
        let mut floor = floor();
        floor.order(1, Side::Sell, 100);
        floor.report(caller(1), ACCEPTED);
        floor.wish(7, KO, replace(1, 60, 50.0));
        assert_eq!(states(floor.report(caller(1), fill(1, 60, 50.0))), [(ReplacePending, ReplacePending)]);
        assert_eq!(states(floor.report(caller(1), answer)), [(ReplacePending, Cancelled)]);
        assert_eq!((floor.working(), floor.orders.open_orders()), ([Quantity::ZERO; 2], 0));
        assert_eq!(floor.held(), Quantity::whole(-60).0);
    }
}

#[test]
fn a_fill_of_a_larger_total_may_come_before_its_confirmation() {
    let mut floor = floor();
    floor.order(1, Side::Buy, 100);
    floor.report(caller(1), ACCEPTED);
    floor.wish(7, KO, replace(1, 150, 50.0));
    assert_eq!(states(floor.report(caller(1), fill(1, 120, 50.0))), [(ReplacePending, ReplacePending)]);
    assert_eq!(floor.working()[0], Quantity::whole(30));
    assert_eq!(states(floor.report(caller(1), replaced(150, 50.0))), [(ReplacePending, PartlyFilled)]);
    assert_eq!(states(floor.report(caller(1), fill(2, 30, 50.0))), [(PartlyFilled, Filled)]);
    assert_eq!((floor.held(), floor.working()), (Quantity::whole(150).0, [Quantity::ZERO; 2]));
}

#[test]
fn an_execution_reported_late_is_booked() {
    let mut floor = floor();
    floor.order(1, Side::Buy, 100);
    floor.order(2, Side::Buy, 30);
    floor.report(caller(1), fill(1, 10, 50.0));
    floor.report(caller(1), CANCELLED);
    let out = floor.report(caller(1), fill(2, 50, 50.0));
    assert_eq!((fills(out).len(), states(out), faults(out)), (1, vec![], vec![]));
    assert_eq!(floor.held(), Quantity::whole(60).0);
    assert_eq!(floor.working()[0], Quantity::whole(30), "the other order keeps its room");
}

#[test]
fn an_execution_is_booked_once() {
    let mut floor = floor();
    floor.order(1, Side::Buy, 100);
    floor.report(caller(1), fill(8, 10, 50.0));
    let before = floor.digest();
    assert_eq!(faults(floor.report(caller(1), fill(8, 10, 50.0))), [(QualityKind::DuplicateOrder, 8)]);
    assert_eq!(floor.digest(), before);
    floor.report(caller(1), CANCELLED);
    let before = floor.digest();
    assert_eq!(faults(floor.report(caller(1), fill(8, 10, 50.0))), [(QualityKind::DuplicateOrder, 8)]);
    assert_eq!((floor.digest(), floor.held()), (before, Quantity::whole(10).0));
}

#[test]
fn more_than_was_ordered_is_booked_and_reported() {
    let mut floor = floor();
    floor.order(1, Side::Buy, 100);
    let out = floor.report(caller(1), fill(1, 130, 50.0));
    assert_eq!(states(out), [(New, Filled)]);
    assert_eq!(faults(out), [(QualityKind::ExceedsQuantity, caller(1).0)]);
    assert_eq!((floor.held(), floor.working()), (Quantity::whole(130).0, [Quantity::ZERO; 2]));
}

/// Money that cannot be booked means that positions are not what the venue says: nothing new until somebody looks.
#[test]
fn an_execution_of_nobody_knows_what_pauses_trading() {
    let sound = fill(1, 5, 50.0);
    let bad_price = fill(1, 5, -50.0);
    let bad_quantity = fill(1, -5, 50.0);
    for (instrument, order, kind) in [
        (KO, caller(9), sound),
        (InstrumentId(1), caller(1), sound),
        (InstrumentId(9), caller(1), sound),
        (KO, caller(1), bad_price),
        (KO, caller(1), bad_quantity),
    ] {
        let mut floor = floor();
        floor.order(1, Side::Buy, 100);
        let out = floor.report_of(instrument, order, kind);
        assert_eq!(faults(out), [(QualityKind::UnknownOrder, order.0)]);
        let breach = Output::Breach(Breach { rule: Rule::Stopped, limit: 0, value: 1 });
        assert_eq!((out.last(), out.len()), (Some(&breach), 2));
        assert_eq!((floor.orders.counts().unbooked, floor.risk.mode()), (1, Mode::ReduceOnly));
        assert_eq!((floor.held(), floor.working()[0]), (0, Quantity::whole(100)));
        assert!(matches!(floor.order(2, Side::Buy, 1), [Output::Refused(r)] if r.rule == Rule::Stopped));
    }
}

#[test]
fn answers_that_fit_nothing_change_nothing() {
    let mut floor = floor();
    floor.order(1, Side::Buy, 100);
    floor.report(caller(1), ACCEPTED);
    let before = floor.digest();
    for (instrument, order, kind) in [
        (KO, caller(1), ACCEPTED),
        (KO, caller(1), CHANGE_REJECTED),
        (KO, caller(1), replaced(500, 50.0)),
        (KO, caller(1), REJECTED),
        (KO, caller(2), CANCELLED),
        (KO, caller(2), CHANGE_REJECTED),
        (InstrumentId(1), caller(1), CANCELLED),
        (InstrumentId(77), caller(1), CANCELLED),
    ] {
        let out = floor.report_of(instrument, order, kind);
        assert_eq!(faults(out), [(QualityKind::UnknownOrder, order.0)], "{kind:?}");
        assert_eq!(out.len(), 1);
        assert_eq!(floor.digest(), before, "{kind:?}");
    }
}

#[test]
fn only_its_owner_replaces_an_order_and_a_limit_stays_a_limit() {
    let mut floor = floor();
    floor.order(1, Side::Buy, 100);
    let netted = submitted(floor.target(3, 10))[0].id;
    let market = IntentKind::Replace { order: caller(1), quantity: Quantity::whole(10), price: Price::UNDEFINED };
    let not_its = IntentKind::Replace { order: netted, quantity: Quantity::whole(5), price: Price::whole(50) };
    let no_more = replace(1, 0, 50.0);
    for (strategy, kind) in
        [(8, replace(1, 200, 50.0)), (7, market), (3, not_its), (7, no_more), (7, replace(2, 1, 1.0))]
    {
        let out = floor.wish(strategy, KO, kind);
        assert!(matches!(out, [Output::Refused(refusal)] if refusal.rule == Rule::Invalid), "{kind:?}: {out:?}");
    }
    assert!(matches!(floor.wish(7, KO, replace(1, 200, 50.0)), [Output::State(_), Output::Replace { .. }]));
}

#[test]
fn an_identifier_is_used_once_even_by_a_refused_order() {
    let limits = Limits { order_quantity: Some(Quantity::whole(100)), ..Limits::default() };
    let mut floor = Floor::new(limits, Quantity::whole(1));
    assert!(matches!(floor.order(1, Side::Buy, 101), [Output::Refused(r)] if r.rule == Rule::OrderQuantity));
    assert!(matches!(floor.order(1, Side::Buy, 1), [Output::Refused(r)] if r.rule == Rule::Invalid));
    floor.order(2, Side::Buy, 1);
    floor.report(caller(2), fill(1, 1, 50.0));
    assert!(matches!(floor.order(2, Side::Buy, 1), [Output::Refused(r)] if r.rule == Rule::Invalid));
    let (id, price) = (OrderId(5), Price::whole(50));
    let (side, quantity, time_in_force) = (Side::Buy, Quantity::whole(1), TimeInForce::Day);
    let reserved = IntentKind::Order { id, side, quantity, price, time_in_force, terms: Terms::PLAIN };
    assert!(matches!(floor.wish(7, KO, reserved), [Output::Refused(r)] if r.rule == Rule::Invalid));
}

#[test]
fn tables_are_bounded() {
    let mut floor = floor();
    for n in 0..MAX_OPEN_ORDERS as u64 {
        floor.order(n, Side::Buy, 1);
    }
    let out = floor.order(MAX_OPEN_ORDERS as u64, Side::Buy, 1);
    assert!(matches!(out, [Output::Refused(r)] if r.rule == Rule::Invalid && r.limit == MAX_OPEN_ORDERS as i64));
    for n in 0..MAX_ENDED_ORDERS as u64 + 1 {
        floor.report(caller(n), CANCELLED);
    }
    // The oldest end is forgotten: its execution is one of an unknown order.
    assert_eq!(fills(floor.report(caller(1), fill(1, 1, 50.0))).len(), 1);
    assert_eq!(fills(floor.report(caller(0), fill(2, 1, 50.0))).len(), 0);
    assert_eq!(floor.orders.counts().unbooked, 1);
}

#[test]
fn a_reject_is_tried_again_by_our_clock_whatever_the_venues_says() {
    let mut floor = floor();
    let order = submitted(floor.target(3, 10))[0].id;
    floor.now = Nanos(5);
    let report = Report { order, instrument: KO, ts_event: Nanos(u64::MAX), kind: REJECTED };
    floor.orders.report(floor.now, &report, &mut floor.risk, &mut floor.out);
    floor.now = Nanos(5 + NANOS_PER_SECOND - 1);
    assert_eq!(floor.event(touch(50.0)), []);
    floor.now = Nanos(5 + NANOS_PER_SECOND);
    assert_eq!(submitted(floor.event(touch(50.0))).len(), 1);
}

#[test]
fn a_wish_without_a_market_waits_for_one() {
    let nothing = Touch { bid: Price::UNDEFINED, ask: Price::UNDEFINED, mark: Price::UNDEFINED };
    let mut floor = floor();
    floor.hope(3, Quantity::whole(10));
    assert_eq!(floor.orders.next_due(), Some(KO));
    assert_eq!(floor.event(nothing), []);
    assert_eq!(floor.event(Touch { mark: Price::whole(50), ..nothing }), [], "nobody sells");
    assert!(floor.orders.is_hungry(KO));
    assert_eq!(submitted(floor.event(touch(50.0))).len(), 1);
    assert_eq!(floor.event(touch(50.0)), [], "one at a time");
}

#[test]
fn a_limit_at_the_touch_is_on_a_tick_and_above_zero() {
    let price = |style: Style, position: i64, bid: f64, ask: f64| {
        let mut floor = Floor::with_style(Limits::default(), Quantity::whole(1), style);
        let [bid, ask] = [bid, ask].map(|price| Price::from_f64(price).unwrap());
        floor.hope(0, Quantity::whole(position));
        let order = submitted(floor.event(Touch { bid, ask, mark: bid }))[0];
        (order.price, order.time_in_force)
    };
    let limit = |x: f64| (Price::from_f64(x).unwrap(), TimeInForce::Ioc);
    let [at, through] = [0, 2].map(|ticks| Style::Touch { ticks });
    assert_eq!(price(at, 1, 49.99, 50.0), limit(50.0));
    assert_eq!(price(through, 1, 49.99, 50.0), limit(50.02));
    assert_eq!(price(through, -1, 49.99, 50.0), limit(49.97));
    // Quotes between ticks: met, not missed.
    assert_eq!(price(at, 1, 49.991, 49.999), limit(50.0));
    assert_eq!(price(at, -1, 49.991, 49.999), limit(49.99));
    // A bid of one tick can still be sold to.
    assert_eq!(price(through, -1, 0.01, 0.02), limit(0.01));
    assert_eq!(price(Style::Market, -1, 49.99, 50.0), (Price::UNDEFINED, TimeInForce::Ioc));
}

#[test]
fn less_than_a_lot_is_left_alone() {
    let mut floor = Floor::new(Limits::default(), Quantity::whole(100));
    let order = submitted(floor.target(3, 250))[0];
    assert_eq!(order.quantity, Quantity::whole(200));
    floor.report(order.id, fill(1, 130, 50.0));
    floor.report(order.id, CANCELLED);
    let order = submitted(floor.event(touch(50.0)))[0];
    assert_eq!(order.quantity, Quantity::whole(100), "120 are missing, and a lot is 100");
    floor.report(order.id, fill(2, 100, 50.0));
    assert_eq!(floor.event(touch(50.0)), []);
    assert!(!floor.orders.is_hungry(KO), "20 cannot be ordered");
}

#[test]
fn wishes_that_no_number_can_hold_are_refused_and_wait() {
    let mut floor = floor();
    floor.risk.mark(KO, Price::whole(200)).unwrap();
    floor.hope(1, Quantity(i64::MAX));
    assert!(
        matches!(floor.event(touch(200.0)), [Output::Refused(r)] if r.rule == Rule::Invalid && r.value == i64::MAX)
    );
    assert_eq!(floor.event(touch(200.0)), [], "not again at once");
    // More than fits is wanted, and more than fits would be crossed.
    floor.hope(2, Quantity(i64::MAX));
    floor.hope(3, Quantity(i64::MIN));
    let before = floor.digest();
    assert_eq!(faults(floor.event(touch(200.0))), [(QualityKind::BadValue, 0)]);
    assert_ne!(floor.digest(), before, "it waits");
    assert_eq!(floor.working(), [Quantity::ZERO; 2]);
    (1..=3).for_each(|strategy| floor.hope(strategy, Quantity(0)));
    floor.hope(1, Quantity::whole(10));
    assert_eq!(submitted(floor.event(touch(200.0))).len(), 1);
}

#[test]
fn a_stop_cancels_what_rests_and_nothing_else() {
    let mut floor = floor();
    floor.order(1, Side::Buy, 100);
    floor.order(2, Side::Sell, 100);
    floor.wish(7, KO, CANCEL(2));
    floor.target(3, 10);
    floor.out.clear();
    floor.orders.cancel_resting(Nanos(0), &mut floor.out);
    assert_eq!(states(&floor.out), [(New, CancelPending)]);
    assert_eq!(floor.out[1..], [Output::Cancel { order: caller(1), instrument: KO }]);
}

#[test]
fn the_fingerprint_shows_every_part_of_the_state() {
    let mut floor = floor();
    let mut seen = vec![floor.digest()];
    let styles = [Style::Market, Style::Touch { ticks: 1 }];
    seen.extend(styles.map(|style| Floor::with_style(Limits::default(), Quantity::whole(1), style).digest()));
    type Change = (&'static str, fn(&mut Floor));
    let changes: [Change; 12] = [
        ("wish that waits", |f| f.hope(3, Quantity::whole(10))),
        ("wish given out", |f| assert!(f.orders.next_due().is_some())),
        ("netted order", |f| assert_eq!(submitted(f.event(touch(50.0))).len(), 1)),
        ("second claim", |f| {
            f.target(4, 5);
        }),
        ("order", |f| {
            f.order(1, Side::Buy, 100);
        }),
        ("refused order", |f| {
            f.order(1, Side::Buy, 100);
        }),
        ("accepted", |f| {
            f.report(caller(1), ACCEPTED);
        }),
        ("replace under way", |f| {
            f.wish(7, KO, replace(1, 90, 49.0));
        }),
        ("replaced", |f| {
            f.report(caller(1), replaced(90, 49.0));
        }),
        ("filled", |f| {
            f.report(caller(1), fill(1, 9, 49.0));
        }),
        ("ended", |f| {
            f.report(caller(1), CANCELLED);
        }),
        ("late execution", |f| {
            f.report(caller(1), fill(2, 9, 49.0));
        }),
    ];
    for (what, change) in changes {
        change(&mut floor);
        assert!(!seen.contains(&floor.digest()), "{what} is not in the fingerprint");
        seen.push(floor.digest());
    }
}

/// Two desks with the same wishes in another order are not the same: a fill is shared out first come first served.
#[test]
fn the_order_of_claims_is_part_of_the_state() {
    let [mut a, mut b] = [floor(), floor()];
    for floor in [&mut a, &mut b] {
        floor.risk.account(helios_types::StrategyId(1), KO);
        floor.risk.account(helios_types::StrategyId(2), KO);
    }
    for (floor, strategies) in [(&mut a, [1, 2]), (&mut b, [2, 1])] {
        strategies.into_iter().for_each(|strategy| floor.hope(strategy, Quantity::whole(10)));
    }
    assert_ne!(a.digest(), b.digest());
}

#[test]
fn self_trade_prevention_makes_an_order_smaller_and_releases_its_room() {
    let mut floor = floor();
    floor.order(1, Side::Buy, 100);
    floor.report(caller(1), ACCEPTED);
    assert_eq!(states(floor.report(caller(1), replaced(60, 50.0))), [(Accepted, Accepted)]);
    assert_eq!(floor.working(), [Quantity::whole(60), Quantity::ZERO]);
    assert_eq!(states(floor.report(caller(1), fill(1, 20, 50.0))), [(Accepted, PartlyFilled)]);
    assert_eq!(states(floor.report(caller(1), replaced(50, 50.0))), [(PartlyFilled, PartlyFilled)]);
    assert_eq!(floor.working(), [Quantity::whole(30), Quantity::ZERO]);
    assert_eq!(states(floor.report(caller(1), fill(2, 30, 50.0))), [(PartlyFilled, Filled)]);
    assert_eq!(floor.working(), [Quantity::ZERO; 2]);
}

#[test]
fn what_nobody_asked_for_and_is_no_smaller_total_changes_nothing() {
    let mut floor = floor();
    floor.order(1, Side::Buy, 100);
    assert_eq!(states(floor.report(caller(1), replaced(60, 50.0))), [], "it is not known to be accepted");
    floor.report(caller(1), ACCEPTED);
    for odd in [replaced(100, 50.0), replaced(110, 50.0), replaced(60, 49.0), replaced(0, 50.0)] {
        assert_eq!(states(floor.report(caller(1), odd)), []);
    }
    assert_eq!(floor.working(), [Quantity::whole(100), Quantity::ZERO]);
}

#[test]
fn when_trading_stops_a_sleeping_stop_is_cancelled_though_it_is_immediate() {
    let mut floor = floor();
    let order = |n: u64, time_in_force, stop| IntentKind::Order {
        id: caller(n),
        side: Side::Sell,
        quantity: Quantity::whole(10),
        price: Price::whole(50),
        time_in_force,
        terms: Terms { stop, ..Terms::PLAIN },
    };
    floor.wish(7, KO, order(1, TimeInForce::Ioc, Price::whole(45)));
    floor.wish(7, KO, order(2, TimeInForce::Ioc, Price::UNDEFINED));
    floor.wish(7, KO, order(3, TimeInForce::Close, Price::UNDEFINED));
    let mut out = Vec::new();
    floor.orders.cancel_resting(Nanos(0), &mut out);
    let asked = |n: u64| out.contains(&Output::Cancel { order: caller(n), instrument: KO });
    assert_eq!([1, 2, 3].map(asked), [true, false, true]);
}
