//! The proof at start-up: a configured limit is fed and refuses, or the run does not start.

use helios_risk::{Feeds, Limits, prove};
use helios_types::{Cash, Quantity, Rule};

const RULES: [Rule; 7] = [
    Rule::OrderQuantity,
    Rule::OrderNotional,
    Rule::PriceCollar,
    Rule::Position,
    Rule::GrossExposure,
    Rule::OrderRate,
    Rule::DailyLoss,
];

fn all_at(limit: i64) -> Limits {
    Limits {
        order_quantity: Some(Quantity(limit)),
        order_notional: Some(Cash(limit)),
        price_collar_ppm: Some(limit),
        position: Some(Quantity(limit)),
        gross_exposure: Some(Cash(limit)),
        orders_per_second: Some(limit),
        daily_loss: Some(Cash(limit)),
    }
}

/// Seven configurations, each with one of the limits.
fn one_by_one(limits: Limits) -> impl Iterator<Item = (Limits, Rule)> {
    RULES.into_iter().map(move |rule| {
        let keep = |own: Rule| own == rule;
        let only = Limits {
            order_quantity: limits.order_quantity.filter(|_| keep(Rule::OrderQuantity)),
            order_notional: limits.order_notional.filter(|_| keep(Rule::OrderNotional)),
            price_collar_ppm: limits.price_collar_ppm.filter(|_| keep(Rule::PriceCollar)),
            position: limits.position.filter(|_| keep(Rule::Position)),
            gross_exposure: limits.gross_exposure.filter(|_| keep(Rule::GrossExposure)),
            orders_per_second: limits.orders_per_second.filter(|_| keep(Rule::OrderRate)),
            daily_loss: limits.daily_loss.filter(|_| keep(Rule::DailyLoss)),
        };
        (only, rule)
    })
}

fn fed() -> Feeds {
    Feeds { without_price: Vec::new(), limit_prices: true }
}

#[test]
fn every_fed_limit_proves_itself() {
    for limit in [0, 1, 77, 1_000, 123_456] {
        assert_eq!(prove(&all_at(limit), &fed()), Ok(RULES.to_vec()), "all at {limit}");
        for (limits, rule) in one_by_one(all_at(limit)) {
            assert_eq!(prove(&limits, &fed()), Ok(vec![rule]));
        }
    }
    assert_eq!(prove(&Limits::default(), &Feeds::default()), Ok(vec![]));
    let usual = Limits {
        order_quantity: Some(Quantity::whole(10_000)),
        order_notional: Some(Cash::whole(1_000_000)),
        price_collar_ppm: Some(1_000_000),
        position: Some(Quantity::whole(1_000_000)),
        gross_exposure: Some(Cash::whole(50_000_000)),
        orders_per_second: Some(1_000),
        daily_loss: Some(Cash::whole(1_000_000)),
    };
    assert_eq!(prove(&usual, &fed()), Ok(RULES.to_vec()));
}

#[test]
fn a_limit_without_prices_is_an_error_that_names_the_instruments() {
    let blind = Feeds { without_price: vec!["KO".to_owned(), "PEP".to_owned()], limit_prices: true };
    for (limits, rule) in one_by_one(all_at(1_000)) {
        if matches!(rule, Rule::OrderQuantity | Rule::Position | Rule::OrderRate) {
            assert_eq!(prove(&limits, &blind), Ok(vec![rule]));
        } else {
            let unfed = prove(&limits, &blind).expect_err("it needs prices");
            assert_eq!(unfed.rule, rule);
            assert!(unfed.to_string().contains("no source gives a price for KO, PEP"), "{unfed}");
        }
    }
}

#[test]
fn a_collar_without_limit_prices_is_an_error() {
    let markets_only = Feeds { without_price: Vec::new(), limit_prices: false };
    for (limits, rule) in one_by_one(all_at(1_000)) {
        let result = prove(&limits, &markets_only);
        assert_eq!(result.is_err(), rule == Rule::PriceCollar, "{result:?}");
    }
}

#[test]
fn a_limit_that_nothing_could_exceed_is_an_error() {
    for (bad, message) in [(-1, "negative"), (i64::MAX, "too large")] {
        for (limits, rule) in one_by_one(all_at(bad)) {
            let unfed = prove(&limits, &fed()).expect_err(message);
            assert_eq!((unfed.rule, unfed.lacks.contains(message)), (rule, true), "{unfed}");
        }
    }
}
