//! Orders through lost sessions, where scenarios would be too long: a venue that tells a whole day again, and tables that
//! are full.

use helios_execution::{MAX_ENDED_ORDERS, MAX_OPEN_ORDERS, MAX_PAST_TERMS};
use helios_risk::{Limits, Mode};
use helios_types::Link;

use crate::*;

fn floor() -> Floor {
    Floor::new(Limits::default(), Quantity::whole(1))
}

impl Floor {
    fn link(&mut self, link: Link) -> &[Output] {
        self.out.clear();
        self.orders.link(self.now, &link, &mut self.risk, &mut self.out);
        &self.out
    }

    fn lose(&mut self) {
        self.link(Link::Down { session: 0 });
        self.link(Link::Up { session: 0 });
    }
}

/// A day with more orders than are remembered whole.
fn day(floor: &mut Floor) -> Vec<(OrderId, ReportKind)> {
    let mut said = Vec::new();
    for n in 1..=2 * MAX_ENDED_ORDERS as u64 {
        floor.order(n, if n % 3 == 0 { Side::Sell } else { Side::Buy }, 10);
        let end = if n % 2 == 0 { fill(2 * n + 1, 6, 50.0) } else { CANCELLED };
        for kind in [ACCEPTED, fill(2 * n, 4, 50.0), end] {
            floor.report(caller(n), kind);
            said.push((caller(n), kind));
        }
    }
    said
}

#[test]
fn a_day_that_is_told_again_from_its_beginning_changes_nothing() {
    let mut floor = floor();
    floor.lose();
    floor.link(Link::Settled { session: 0 });
    let said = day(&mut floor);
    let (held, fills) = (floor.held(), floor.orders.counts().fills);
    floor.lose();
    for (order, kind) in &said {
        assert_eq!(floor.report(*order, *kind), [], "{order:?} {kind:?}");
    }
    let counts = floor.orders.counts();
    assert_eq!((floor.held(), counts.fills, counts.unbooked), (held, fills, 0));
    assert_eq!((counts.repeated, floor.risk.mode()), (said.len() as u64, Mode::Normal));
    assert_eq!((floor.working(), floor.orders.open_orders()), ([Quantity::ZERO; 2], 0));
    // Another execution of a forgotten order is money of which nobody knows whose it is.
    floor.report(caller(1), fill(999_999, 1, 50.0));
    assert_eq!((floor.orders.counts().unbooked, floor.risk.mode()), (1, Mode::ReduceOnly));
}

#[test]
fn without_a_loss_nothing_is_a_repetition() {
    let mut floor = floor();
    let said = day(&mut floor);
    let (order, kind) = said[1];
    assert!(!floor.report(order, kind).is_empty(), "it is forgotten");
    assert_eq!((floor.orders.counts().unbooked, floor.orders.counts().repeated), (1, 0));
}

#[test]
fn a_loss_with_all_orders_working_is_told_of_each_and_comes_back() {
    let mut floor = floor();
    for n in 1..=MAX_OPEN_ORDERS as u64 {
        floor.order(n, Side::Buy, 1);
    }
    let room = floor.working();
    assert_eq!(floor.link(Link::Down { session: 0 }).len(), MAX_OPEN_ORDERS);
    assert_eq!(floor.working(), room, "what may be working keeps its room");
    let mut out = Vec::new();
    floor.orders.cancel_resting(Nanos(5), &mut out);
    assert_eq!(out, [], "cancels wait");
    assert_eq!(
        floor.link(Link::Up { session: 0 }).len(),
        2 * MAX_OPEN_ORDERS,
        "a change of state and a cancel of each"
    );
    assert_eq!(floor.orders.unanswered(Nanos(0)).len(), MAX_OPEN_ORDERS);
    for n in 1..=MAX_OPEN_ORDERS as u64 {
        floor.report(caller(n), ReportKind::Rejected { reason: RejectReason::NeverArrived });
    }
    assert_eq!((floor.working(), floor.orders.open_orders()), ([Quantity::ZERO; 2], 0));
    assert_eq!(floor.orders.counts().lost, MAX_OPEN_ORDERS as u64);
}

#[test]
fn terms_that_were_in_force_are_remembered_up_to_a_maximum() {
    let mut floor = floor();
    floor.lose();
    floor.link(Link::Settled { session: 0 });
    floor.order(1, Side::Buy, 3_000);
    floor.report(caller(1), ACCEPTED);
    let totals: Vec<i64> = (0..MAX_PAST_TERMS as i64 + 2).map(|n| 2_990 - n).collect();
    // At another price than the one in force in the end: fewer at the same price are what the venue took off.
    for total in &totals {
        let (quantity, price) = (Quantity::whole(*total), Price::whole(49));
        floor.wish(7, KO, IntentKind::Replace { order: caller(1), quantity, price });
        floor.report(caller(1), replaced(*total, 49.0));
    }
    let quantity = Quantity::whole(3_000);
    floor.wish(7, KO, IntentKind::Replace { order: caller(1), quantity, price: Price::whole(50) });
    floor.report(caller(1), replaced(3_000, 50.0));
    floor.lose();
    // Taken for news these would free room that the venue can still fill.
    for total in &totals[2..] {
        assert_eq!(floor.report(caller(1), replaced(*total, 49.0)), []);
    }
    assert_eq!(floor.working()[0], quantity);
}

#[test]
fn what_the_venue_takes_off_is_news_also_when_the_total_was_in_force_before() {
    let mut floor = floor();
    floor.order(1, Side::Buy, 67);
    floor.report(caller(1), ACCEPTED);
    let (quantity, price) = (Quantity::whole(100), Price::whole(50));
    floor.wish(7, KO, IntentKind::Replace { order: caller(1), quantity, price });
    floor.lose();
    floor.report(caller(1), replaced(100, 50.0));
    floor.report(caller(1), replaced(67, 50.0));
    assert_eq!(floor.working()[0], Quantity::whole(67));
    assert_eq!(states(floor.report(caller(1), fill(1, 67, 50.0))), [(OrderState::Accepted, OrderState::Filled)]);
}
