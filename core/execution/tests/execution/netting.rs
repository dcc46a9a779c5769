//! Many strategies wish, a venue fills what it is sent, and everybody gets what he wished for.

use helios_risk::Limits;
use helios_types::{
    CancelReason, Cash, IntentKind, Liquidity, Order, OrderId, Price, Quantity, ReportKind, StrategyId,
};
use proptest::prelude::*;

use crate::*;

#[test]
fn opposite_wishes_are_crossed_at_the_mark_and_the_rest_is_ordered() {
    let mut floor = Floor::new(Limits::default(), Quantity::whole(1));
    let order = submitted(floor.target(1, 100))[0];
    floor.report(order.id, fill(1, 100, 50.0));
    floor.event(touch(50.0));
    let order = submitted(floor.target(2, -140))[0];
    assert_eq!(order.quantity, Quantity::whole(140), "nobody buys");
    floor.report(order.id, fill(2, 140, 50.0));
    floor.event(touch(50.0));
    // 1 sells its 100 and 30 more; 2 buys back 40 of its 140; only the difference goes to the venue.
    floor.hope(1, Quantity::whole(-30));
    floor.hope(2, Quantity::whole(-100));
    let out = floor.event(touch(51.0)).to_vec();
    let crossed: Vec<_> = fills(&out).iter().map(|f| (f.strategy.0, f.side, f.quantity, f.price, f.fee)).collect();
    let (forty, price) = (Quantity::whole(40), Price::whole(51));
    let (a, b) = ((1, Side::Sell, forty, price, Cash::ZERO), (2, Side::Buy, forty, price, Cash::ZERO));
    assert_eq!(crossed, [a, b]);
    assert_eq!(fills(&out)[0].order, OrderId(0));
    assert_eq!((submitted(&out)[0].side, submitted(&out)[0].quantity), (Side::Sell, Quantity::whole(90)));
    assert_eq!(floor.held(), Quantity::whole(-40).0, "crossing does not change the net position");
}

#[test]
fn a_fill_and_its_fee_are_shared_out_first_come_first_served() {
    let mut floor = Floor::new(Limits::default(), Quantity::whole(1));
    for (strategy, shares) in [(1, 10), (2, 20), (3, 30)] {
        floor.hope(strategy, Quantity::whole(shares));
    }
    let order = submitted(floor.event(touch(50.0)))[0];
    assert_eq!(order.quantity, Quantity::whole(60));
    let kind = ReportKind::Filled {
        execution: 1,
        price: order.price,
        quantity: Quantity::whole(35),
        liquidity: Liquidity::Taker,
        fee: Cash(100),
    };
    let got: Vec<_> = fills(floor.report(order.id, kind)).iter().map(|f| (f.strategy.0, f.quantity, f.fee)).collect();
    // 100 x 10 / 35 is 28.57, 100 x 20 / 35 is 57.14: rounded down, and the last one gets what is left.
    let expected = [(1, 10, 28), (2, 20, 57), (3, 5, 15)].map(|(s, q, fee)| (s, Quantity::whole(q), Cash(fee)));
    assert_eq!(got, expected);
}

/// The wish is withdrawn while its order is on the way: what fills belongs to somebody all the same, and goes back.
#[test]
fn what_nobody_wants_any_more_goes_to_the_one_who_ordered_and_is_sold_again() {
    let mut floor = Floor::new(Limits::default(), Quantity::whole(1));
    let order = submitted(floor.target(1, 100))[0];
    floor.target(1, 0);
    assert_eq!(fills(floor.report(order.id, fill(1, 100, 50.0)))[0].strategy, StrategyId(1));
    let back = submitted(floor.event(touch(50.0)))[0];
    assert_eq!((back.side, back.quantity), (Side::Sell, Quantity::whole(100)));
}

#[test]
fn a_strategys_own_order_is_not_undone_by_its_target() {
    let mut floor = Floor::new(Limits::default(), Quantity::whole(1));
    let order = submitted(floor.target(7, 100))[0];
    floor.report(order.id, fill(1, 100, 50.0));
    floor.event(touch(50.0));
    floor.order(1, Side::Buy, 20);
    floor.report(caller(1), fill(2, 20, 50.0));
    assert_eq!(floor.event(touch(50.0)), []);
    assert_eq!(floor.held(), Quantity::whole(120).0);
    assert_eq!(submitted(floor.target(7, 0))[0].quantity, Quantity::whole(120));
}

#[derive(Clone, Debug)]
enum Act {
    Target { strategy: u32, position: i64 },
    Own { strategy: u32, buy: bool, quantity: i64 },
    Answer { part: u8, price: i64, fee: i64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (0u32..5, -1_000_000_000i64..1_000_000_000)
            .prop_map(|(strategy, position)| Act::Target { strategy, position }),
        1 => (0u32..5, any::<bool>(), 1i64..500_000_000)
            .prop_map(|(strategy, buy, quantity)| Act::Own { strategy, buy, quantity }),
        4 => (any::<u8>(), 4_000i64..6_000, -99i64..99).prop_map(|(part, price, fee)| Act::Answer { part, price, fee }),
    ];
    prop::collection::vec(act, 1..60)
}

struct World {
    floor: Floor,
    /// What each strategy should end up with.
    wants: [Option<i64>; 5],
    sent: Vec<Order>,
    executions: u64,
    callers: u64,
    /// Net position, fees and cash by what the venue reported.
    ledger: (i64, i64),
}

impl World {
    /// Everything that was sent is answered: some of it filled in two parts, the rest cancelled.
    fn answer(&mut self, part: u8, price: i64, fee: i64) {
        for order in std::mem::take(&mut self.sent) {
            let first = order.quantity.0 * i64::from(part) / 255;
            for quantity in [first / 2, first - first / 2] {
                if quantity == 0 {
                    continue;
                }
                self.executions += 1;
                let kind = ReportKind::Filled {
                    execution: self.executions,
                    price: Price(price * TICK.0),
                    quantity: Quantity(quantity),
                    liquidity: Liquidity::Taker,
                    fee: Cash(fee),
                };
                let shares = fills(self.floor.report(order.id, kind));
                assert_eq!(shares.iter().map(|share| share.quantity.0).sum::<i64>(), quantity);
                assert_eq!(shares.iter().map(|share| share.fee.0).sum::<i64>(), fee);
                self.ledger.0 += order.side.sign() * quantity;
                self.ledger.1 += fee;
                if order.id.0 >= caller(0).0
                    && let Some(want) = &mut self.wants[order.strategy.0 as usize]
                {
                    *want += order.side.sign() * quantity;
                }
            }
            if first < order.quantity.0 {
                self.floor.report(order.id, ReportKind::Cancelled { reason: CancelReason::Unfilled });
            }
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Target { strategy, position } => {
                self.wants[strategy as usize] = Some(position);
                let out = self.floor.wish(strategy, KO, IntentKind::Target { position: Quantity(position) });
                self.sent.extend(submitted(out));
            }
            Act::Own { strategy, buy, quantity } => {
                self.callers += 1;
                let (id, price, time_in_force) = (caller(self.callers), Price::UNDEFINED, TimeInForce::Day);
                let side = if buy { Side::Buy } else { Side::Sell };
                let quantity = Quantity(quantity);
                let out = self.floor.wish(
                    strategy,
                    KO,
                    IntentKind::Order { id, side, quantity, price, time_in_force, terms: Terms::PLAIN },
                );
                self.sent.extend(submitted(out));
            }
            Act::Answer { part, price, fee } => self.answer(part, price, fee),
        }
        self.event(50.0);
        self.check();
    }

    fn event(&mut self, price: f64) {
        let out = submitted(self.floor.event(touch(price)));
        self.sent.extend(out);
    }

    fn check(&self) {
        let risk = &self.floor.risk;
        assert_eq!((self.floor.held(), risk.fees().0), self.ledger);
        let sum = |f: fn(&helios_risk::Position) -> i64| risk.accounts().iter().map(|a| f(&a.position)).sum::<i64>();
        assert_eq!((sum(|p| p.quantity.0), sum(|p| p.fees.0)), self.ledger);
        let net = risk.position(KO);
        assert_eq!(sum(|p| p.realised.0 - p.cost.0), net.realised.0 - net.cost.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn everybody_gets_what_he_wished_for(acts in acts()) {
        let floor = Floor::new(Limits::default(), Quantity(1));
        let mut world =
            World { floor, wants: [None; 5], sent: vec![], executions: 0, callers: 0, ledger: (0, 0) };
        acts.iter().for_each(|act| world.act(act));
        // A venue that fills everything: answered orders first, then one order for what is left, then nothing.
        for _ in 0..3 {
            world.answer(255, 5_000, 1);
            world.event(50.0);
            world.check();
        }
        prop_assert!(world.sent.is_empty() && !world.floor.orders.is_hungry(KO));
        prop_assert_eq!(world.floor.working(), [Quantity::ZERO; 2]);
        for account in world.floor.risk.accounts() {
            if let Some(want) = world.wants[account.strategy.0 as usize] {
                prop_assert_eq!(account.position.quantity.0, want, "{:?}", account.strategy);
            }
        }
    }
}
