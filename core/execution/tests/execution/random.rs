//! Random reports in random order: whatever a venue says, no execution is lost or counted twice, no room stays behind,
//! and every order walks through the table.

use std::collections::{BTreeMap, BTreeSet};

use helios_risk::Limits;
use helios_types::OrderState::{
    Accepted, CancelPending, Cancelled, Filled, New, PartlyFilled, Rejected, ReplacePending,
};
use helios_types::{Cash, IntentKind, Liquidity, Order, OrderId, OrderState, Price, Quantity, ReportKind};
use proptest::prelude::*;

use crate::*;

#[derive(Clone, Debug)]
enum Act {
    Order { buy: bool, shares: i64 },
    Target { strategy: u32, shares: i64 },
    Cancel { which: usize },
    Replace { which: usize, shares: i64 },
    Report { which: usize, pep: bool, kind: ReportKind },
}

fn kinds() -> impl Strategy<Value = ReportKind> {
    let filled = (0u64..60, -1i64..120, prop_oneof![9 => 1i64..9_000, 1 => Just(0i64)], -5i64..9).prop_map(
        |(execution, shares, cents, fee)| ReportKind::Filled {
            execution,
            price: Price(cents * TICK.0),
            quantity: Quantity::whole(shares),
            liquidity: Liquidity::Maker,
            fee: Cash(fee),
        },
    );
    prop_oneof![
        2 => Just(ACCEPTED),
        8 => filled,
        1 => Just(CANCELLED),
        3 => (-10i64..250).prop_map(|shares| replaced(shares, 50.0)),
        1 => Just(REJECTED),
        2 => Just(CHANGE_REJECTED),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let which = any::<usize>;
    let act = prop_oneof![
        2 => (any::<bool>(), 1i64..100).prop_map(|(buy, shares)| Act::Order { buy, shares }),
        2 => (0u32..4, -100i64..100).prop_map(|(strategy, shares)| Act::Target { strategy, shares }),
        1 => which().prop_map(|which| Act::Cancel { which }),
        2 => (which(), 1i64..200).prop_map(|(which, shares)| Act::Replace { which, shares }),
        12 => (which(), prop::bool::weighted(0.03), kinds())
            .prop_map(|(which, pep, kind)| Act::Report { which, pep, kind }),
    ];
    prop::collection::vec(act, 1..150)
}

/// One order as a plain ledger sees it.
struct Plain {
    order: Order,
    state: OrderState,
    total: i64,
    asked: Option<i64>,
    filled: i64,
    executions: BTreeSet<u64>,
}

impl Plain {
    fn room(&self) -> i64 {
        if self.state.is_done() { 0 } else { (self.total.max(self.asked.unwrap_or(0)) - self.filled).max(0) }
    }
}

struct World {
    floor: Floor,
    book: BTreeMap<OrderId, Plain>,
    callers: u64,
    net: i64,
    fees: i64,
    unbooked: u64,
}

/// May an order go from one state to another in one step?
fn follows(from: OrderState, to: OrderState) -> bool {
    match from {
        New => true,
        // To the state that it has: the venue made it smaller.
        Accepted => !matches!(to, New | Rejected),
        PartlyFilled => !matches!(to, New | Rejected | Accepted),
        CancelPending => !matches!(to, New | ReplacePending),
        ReplacePending => to != New,
        // To itself: the order is there, but the replace that was lost has no answer.
        OrderState::Unknown => to != New,
        Filled | Cancelled | Rejected => false,
    }
}

impl World {
    fn pick(&self, which: usize) -> OrderId {
        let n = self.book.len();
        // Now and then an order that nobody knows.
        if n == 0 || which.is_multiple_of(17) { OrderId(999) } else { *self.book.keys().nth(which % n).unwrap() }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Order { buy, shares } => {
                self.callers += 1;
                self.floor.order(self.callers, if buy { Side::Buy } else { Side::Sell }, shares);
            }
            Act::Target { strategy, shares } => drop(self.floor.target(strategy, shares).len()),
            Act::Cancel { which } => {
                let order = self.pick(which);
                self.floor.wish(7, KO, IntentKind::Cancel { order });
            }
            Act::Replace { which, shares } => {
                let (order, quantity, price) = (self.pick(which), Quantity::whole(shares), Price::whole(50));
                self.floor.wish(7, KO, IntentKind::Replace { order, quantity, price });
            }
            Act::Report { which, pep, kind } => {
                let instrument = if pep { InstrumentId(1) } else { KO };
                self.report(instrument, self.pick(which), kind);
            }
        }
        self.follow();
        self.check();
        self.floor.event(touch(50.0));
        self.follow();
        self.check();
    }

    /// The venue reports: what the ledger makes of it by itself.
    fn report(&mut self, instrument: InstrumentId, id: OrderId, kind: ReportKind) {
        let out = self.floor.report_of(instrument, id, kind);
        let (told, booked) = (!states(out).is_empty(), fills(out));
        let known = self.book.get_mut(&id).filter(|_| instrument == KO);
        match (kind, known) {
            (ReportKind::Filled { execution, price, quantity, fee, .. }, plain) => {
                let sound = quantity.0 > 0 && price.0 > 0;
                let Some(plain) = plain.filter(|_| sound) else {
                    self.unbooked += 1;
                    return assert!(booked.is_empty());
                };
                let new = execution == 0 || plain.executions.insert(execution);
                let took: i64 = booked.iter().map(|fill| fill.quantity.0).sum();
                assert_eq!(took, if new { quantity.0 } else { 0 }, "an execution is booked once");
                if new {
                    assert_eq!(booked.iter().map(|fill| fill.fee.0).sum::<i64>(), fee.0);
                    plain.filled += quantity.0;
                    self.net += plain.order.side.sign() * quantity.0;
                    self.fees += fee.0;
                    if let Some(asked) = plain.asked.filter(|_| plain.filled > plain.total) {
                        plain.total = plain.total.max(asked);
                    }
                }
            }
            (ReportKind::Replaced { quantity, price }, Some(plain)) if told => {
                // Smaller at the same price and not what was asked for: the venue's own doing, and no answer.
                let answers = plain.asked == Some(quantity.0) && price == Price::whole(50);
                let smaller = (plain.filled + 1..plain.total).contains(&quantity.0) && price == plain.order.price;
                if answers || !smaller {
                    plain.asked = None;
                }
                (plain.total, plain.order.price) = (quantity.0, price);
            }
            (ReportKind::ChangeRejected { .. }, Some(plain)) if told => plain.asked = None,
            _ => assert!(booked.is_empty()),
        }
    }

    /// What was said: new orders, replaces, and steps through the table.
    fn follow(&mut self) {
        for output in std::mem::take(&mut self.floor.out) {
            match output {
                Output::Submit(order) => {
                    let (total, executions) = (order.quantity.0, BTreeSet::new());
                    let plain = Plain { order, state: New, total, asked: None, filled: 0, executions };
                    assert!(self.book.insert(order.id, plain).is_none(), "identifiers are never reused");
                }
                Output::Replace { order, quantity, .. } => {
                    self.book.get_mut(&order).unwrap().asked = Some(quantity.0);
                }
                Output::State(change) => {
                    let plain = self.book.get_mut(&change.order).unwrap();
                    assert_eq!(plain.state, change.from, "no step is skipped");
                    assert!(follows(change.from, change.to), "{change:?}");
                    let all = plain.filled >= plain.total;
                    assert!(change.to != Filled || all, "{change:?}: {} of {}", plain.filled, plain.total);
                    plain.state = change.to;
                }
                _ => {}
            }
        }
    }

    fn check(&self) {
        let risk = &self.floor.risk;
        assert_eq!((self.floor.held(), risk.fees().0), (self.net, self.fees));
        assert_eq!(risk.accounts().iter().map(|account| account.position.quantity.0).sum::<i64>(), self.net);
        assert_eq!(self.floor.orders.counts().unbooked, self.unbooked);
        for side in [Side::Buy, Side::Sell] {
            let room: i64 = self.book.values().filter(|plain| plain.order.side == side).map(Plain::room).sum();
            assert_eq!(risk.working(KO, side).0, room, "room of {side:?}");
            assert_eq!(risk.working(InstrumentId(1), side), Quantity::ZERO);
        }
        let open = self.book.values().filter(|plain| !plain.state.is_done()).count();
        assert_eq!(self.floor.orders.open_orders(), open);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_a_venue_says_nothing_is_lost(acts in acts()) {
        let floor = Floor::new(Limits::default(), Quantity::whole(1));
        let mut world = World { floor, book: BTreeMap::new(), callers: 0, net: 0, fees: 0, unbooked: 0 };
        acts.iter().for_each(|act| world.act(act));
        let ids: Vec<OrderId> = world.book.keys().copied().collect();
        for id in ids {
            world.report(KO, id, CANCELLED);
            world.follow();
            world.check();
        }
        prop_assert_eq!(world.floor.working(), [Quantity::ZERO; 2]);
        prop_assert_eq!(world.floor.orders.open_orders(), 0);
    }
}
