//! The gate and the money: each limit at its edge, the proof at start-up, and random days against plain recomputation.

mod days;
mod limits;
mod proof;

use helios_risk::{Approved, Limits, Risk, Share, Wish};
use helios_types::{
    Cash, Digest, Hasher, Instrument, InstrumentId, NANOS_PER_SECOND, Nanos, OrderId, Price, Quantity, Refusal, Rule,
    Side, StrategyId, Terms, TimeInForce,
};

pub const KO: InstrumentId = InstrumentId(0);
pub const PEP: InstrumentId = InstrumentId(1);
pub const SECOND: Nanos = Nanos(NANOS_PER_SECOND);

pub fn instruments(tick: Price, lot: Quantity) -> Vec<Instrument> {
    ["KO", "PEP"].map(|symbol| Instrument { symbol: symbol.to_owned(), tick, lot }).to_vec()
}

/// Cents, whole shares, and a million in hand; KO is at 50.
pub fn risk(limits: Limits) -> Risk {
    let instruments = instruments(Price(10_000_000), Quantity::whole(1));
    let mut risk = Risk::new(&instruments, limits, Cash::whole(1_000_000));
    risk.clock(SECOND);
    risk.mark(KO, Price::whole(50)).unwrap();
    risk
}

pub fn wish(side: Side, shares: i64, price: f64) -> Wish {
    Wish {
        strategy: StrategyId(3),
        instrument: KO,
        side,
        quantity: Quantity::whole(shares),
        price: Price::from_f64(price).unwrap(),
        time_in_force: TimeInForce::Day,
        terms: Terms::PLAIN,
    }
}

/// Sends a wish through the gate and fills it whole at `price`.
pub fn trade(risk: &mut Risk, wish: Wish, price: f64) {
    let approved = risk.check(SECOND, wish).expect("within the limits");
    let account = risk.account(wish.strategy, wish.instrument).unwrap();
    let mut shares = [Share::new(account, wish.side, wish.quantity)];
    let (order, price) = (approved.into_order(OrderId(1)), Price::from_f64(price).unwrap());
    risk.fill(&order, price, wish.quantity, Cash::ZERO, wish.quantity, &mut shares).unwrap();
}

#[track_caller]
pub fn refused(result: Result<Approved, Refusal>, rule: Rule, limit: i64, value: i64) {
    let refusal = result.expect_err("beyond the limit");
    assert_eq!((refusal.rule, refusal.limit, refusal.value), (rule, limit, value));
}

pub fn digest(risk: &Risk) -> u128 {
    let mut hasher = Hasher::new();
    risk.digest(&mut hasher);
    hasher.finish()
}
