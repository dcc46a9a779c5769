//! The limits, as rows of a table, and the proof that each configured one is alive.

use std::fmt;

use helios_types::{
    Cash, Instrument, Nanos, Order, OrderId, Price, Quantity, Rule, Side, StrategyId, Terms, TimeInForce,
};

use crate::gate::{Risk, Share, Wish};

/// The configured limits; `None` means that nobody asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Largest quantity of one order.
    pub order_quantity: Option<Quantity>,
    /// Largest notional of one order.
    pub order_notional: Option<Cash>,
    /// Largest distance of a limit price from the reference price, in parts per million.
    pub price_collar_ppm: Option<i64>,
    /// Largest absolute position in one instrument, working orders included.
    pub position: Option<Quantity>,
    /// Largest sum over instruments of the absolute value of position and working orders.
    pub gross_exposure: Option<Cash>,
    /// Most new orders and replaces within any one second.
    pub orders_per_second: Option<i64>,
    /// Largest loss since the day began; reaching it stops all but reducing orders.
    pub daily_loss: Option<Cash>,
}

impl Limits {
    /// A rule's limit in its unit.
    pub fn get(&self, rule: Rule) -> Option<i64> {
        match rule {
            Rule::OrderQuantity => self.order_quantity.map(|x| x.0),
            Rule::OrderNotional => self.order_notional.map(|x| x.0),
            Rule::PriceCollar => self.price_collar_ppm,
            Rule::Position => self.position.map(|x| x.0),
            Rule::GrossExposure => self.gross_exposure.map(|x| x.0),
            Rule::OrderRate => self.orders_per_second,
            Rule::DailyLoss => self.daily_loss.map(|x| x.0),
            Rule::Stopped | Rule::Invalid | Rule::Unlinked => None,
        }
    }

    /// Gives a rule another limit, in its unit; false for a rule that has none, and for a limit below zero.
    pub fn set(&mut self, rule: Rule, limit: i64) -> bool {
        if limit < 0 {
            return false;
        }
        match rule {
            Rule::OrderQuantity => self.order_quantity = Some(Quantity(limit)),
            Rule::OrderNotional => self.order_notional = Some(Cash(limit)),
            Rule::PriceCollar => self.price_collar_ppm = Some(limit),
            Rule::Position => self.position = Some(Quantity(limit)),
            Rule::GrossExposure => self.gross_exposure = Some(Cash(limit)),
            Rule::OrderRate => self.orders_per_second = Some(limit),
            Rule::DailyLoss => self.daily_loss = Some(Cash(limit)),
            Rule::Stopped | Rule::Invalid | Rule::Unlinked => return false,
        }
        true
    }

    /// Only this one of them.
    pub(crate) fn only(&self, rule: Rule) -> Self {
        let keep = |r: Rule| r == rule;
        Self {
            order_quantity: self.order_quantity.filter(|_| keep(Rule::OrderQuantity)),
            order_notional: self.order_notional.filter(|_| keep(Rule::OrderNotional)),
            price_collar_ppm: self.price_collar_ppm.filter(|_| keep(Rule::PriceCollar)),
            position: self.position.filter(|_| keep(Rule::Position)),
            gross_exposure: self.gross_exposure.filter(|_| keep(Rule::GrossExposure)),
            orders_per_second: self.orders_per_second.filter(|_| keep(Rule::OrderRate)),
            daily_loss: self.daily_loss.filter(|_| keep(Rule::DailyLoss)),
        }
    }
}

/// What a row looks at, and so what the run must supply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The order itself and what risk keeps anyway.
    Nothing,
    /// A price for every traded instrument.
    ReferencePrice,
    /// Orders that carry a limit price, and a price to compare it with.
    LimitPrice,
}

/// One limit: its name and what it needs. How it is computed stands in the gate's `judge`.
pub(crate) struct Row {
    pub(crate) rule: Rule,
    need: Need,
}

/// In the order in which the gate checks.
pub(crate) const ROWS: [Row; 7] = [
    Row { rule: Rule::OrderQuantity, need: Need::Nothing },
    Row { rule: Rule::OrderNotional, need: Need::ReferencePrice },
    Row { rule: Rule::PriceCollar, need: Need::LimitPrice },
    Row { rule: Rule::Position, need: Need::Nothing },
    Row { rule: Rule::GrossExposure, need: Need::ReferencePrice },
    Row { rule: Rule::OrderRate, need: Need::Nothing },
    Row { rule: Rule::DailyLoss, need: Need::ReferencePrice },
];

/// What a run supplies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feeds {
    /// Instruments that can be traded but for which no source gives a price.
    pub without_price: Vec<String>,
    /// Orders may carry a limit price (false when every order is a market order).
    pub limit_prices: bool,
}

/// A configured limit that could never act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfed {
    /// Which.
    pub rule: Rule,
    /// What it lacks, and what to do.
    pub lacks: String,
}

impl fmt::Display for Unfed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {:?} is configured but not fed: {}", self.rule, self.lacks)
    }
}

impl std::error::Error for Unfed {}

/// Shows for every configured limit that the run feeds it and that it refuses what exceeds it; returns those rules.
pub fn prove(limits: &Limits, feeds: &Feeds) -> Result<Vec<Rule>, Unfed> {
    let configured = ROWS.iter().filter(|row| limits.get(row.rule).is_some());
    configured
        .map(|row| {
            let unfed = |lacks: String| Unfed { rule: row.rule, lacks };
            if row.need != Need::Nothing && !feeds.without_price.is_empty() {
                return Err(unfed(format!(
                    "no source gives a price for {}; add data for it or take it out of the run",
                    feeds.without_price.join(", ")
                )));
            }
            if row.need == Need::LimitPrice && !feeds.limit_prices {
                return Err(unfed(
                    "every order of this run is a market order, which has no limit price; remove the limit, or let \
                     execution send limit orders"
                        .to_owned(),
                ));
            }
            if limits.get(row.rule).is_some_and(|limit| limit < 0) {
                return Err(unfed("a limit cannot be negative".to_owned()));
            }
            probe(&limits.only(row.rule), row.rule).then_some(row.rule).ok_or_else(|| {
                unfed("a probe that exceeds it passed the gate; the limit is too large for its scale".to_owned())
            })
        })
        .collect()
}

/// Does a scratch gate with only this limit refuse an order that exceeds it?
fn probe(limits: &Limits, rule: Rule) -> bool {
    let instrument = Instrument { symbol: "PROBE".to_owned(), tick: Price(1), lot: Quantity(1) };
    let mut risk = Risk::new(&[instrument], *limits, Cash::ZERO);
    let now = Nanos(0);
    let one = Price::whole(1);
    if risk.mark(probe_wish(one, Quantity(1)).instrument, one).is_err() {
        return false;
    }
    let limit = limits.get(rule).expect("only configured limits are probed");
    // At a price of 1, money at 1e-6 is shares at 1e-8 times a hundred.
    let shares_for = |cash: i64| cash.checked_add(1).and_then(|cash| cash.checked_mul(100)).map(Quantity);
    let wish = match rule {
        Rule::OrderQuantity | Rule::Position => limit.checked_add(1).map(|q| probe_wish(one, Quantity(q))),
        Rule::OrderNotional | Rule::GrossExposure => shares_for(limit).map(|q| probe_wish(one, q)),
        Rule::PriceCollar => limit
            .checked_add(1)
            .and_then(|ppm| ppm.checked_mul(one.0 / 1_000_000))
            .and_then(|distance| one.0.checked_add(distance))
            .map(|price| probe_wish(Price(price), Quantity(1))),
        Rule::OrderRate => {
            // A million orders take the place of more: the row is the same for every limit.
            for _ in 0..limit.min(1_000_000) {
                if risk.check(now, probe_wish(one, Quantity(1))).is_err() {
                    return false;
                }
            }
            Some(probe_wish(one, Quantity(1)))
        }
        Rule::DailyLoss => {
            // Buy at 2, worth 1: each share loses 1. One order at a time: it must itself pass the gate.
            let lost = shares_for(limit).is_some_and(|shares| lose(&mut risk, now, shares));
            lost.then(|| probe_wish(one, Quantity(1)))
        }
        Rule::Stopped | Rule::Invalid | Rule::Unlinked => return false,
    };
    let refused = wish.is_some_and(|wish| risk.check(now, wish).is_err_and(|refusal| refusal.rule == rule));
    // The daily loss also acts without an order.
    refused && (rule != Rule::DailyLoss || risk.supervise().is_some())
}

/// Buys at twice the mark.
fn lose(risk: &mut Risk, now: Nanos, shares: Quantity) -> bool {
    let wish = probe_wish(Price::whole(2), shares);
    let (Ok(approved), Some(account)) = (risk.check(now, wish), risk.account(wish.strategy, wish.instrument)) else {
        return false;
    };
    let mut share = [Share::new(account, wish.side, shares)];
    let order = approved.into_order(OrderId(1));
    risk.fill(&order, wish.price, shares, Cash::ZERO, shares, &mut share).is_ok()
}

fn probe_wish(price: Price, quantity: Quantity) -> Wish {
    Wish {
        strategy: StrategyId(0),
        instrument: helios_types::InstrumentId(0),
        side: Side::Buy,
        quantity,
        price,
        time_in_force: TimeInForce::Day,
        terms: Terms::PLAIN,
    }
}

impl Wish {
    /// The order that an approved wish becomes.
    pub(crate) fn order(&self, id: OrderId) -> Order {
        Order {
            id,
            strategy: self.strategy,
            instrument: self.instrument,
            side: self.side,
            quantity: self.quantity,
            price: self.price,
            time_in_force: self.time_in_force,
            terms: self.terms,
        }
    }
}
