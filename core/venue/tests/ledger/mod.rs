//! What must hold in every scenario, whatever it is about: shares and cash are conserved.
//!
//! A book-keeper who sees only what all can see: the events of history, our messages and the venue's reports. In every
//! model but that of bars, which shows no shares:
//! - what ours took at a price was displayed there (on its side, where our impact moves prices): no displayed share is
//!   in two fills;
//! - what ours made at a moment is at most what history's aggressors brought at that moment;
//! - what ours got in an auction is at most what the cross printed.
//!
//! In all: an order fills at most its total and never worse than its limit, its fees are the tariff of its exact sums,
//! and the last fill's fee closes that sum.

use helios_types::{
    Cash, InstrumentId, Liquidity, Market, Nanos, Order, OrderId, Output, Price, Quantity, Report, ReportKind, Side,
    TimeInForce, TradeKind, TradingStatus, Update,
};
use helios_venue::Fees;
use std::collections::BTreeMap;

/// Cash 1e-6 in parts of price 1e-9 times quantity 1e-8 times a millionth.
const PARTS: i128 = 100_000_000_000_000_000;

type Level = (InstrumentId, Side, Price);

/// One order of ours, as messages and reports tell.
struct Line {
    order: Order,
    filled: i64,
    fees: i128,
    parts: i128,
}

/// The book-keeper of one scenario.
#[derive(Default)]
pub struct Ledger {
    lines: BTreeMap<OrderId, Line>,
    /// All quantity that a level ever displayed, and what ours took of it.
    displayed: BTreeMap<Level, i64>,
    taken: BTreeMap<Level, i64>,
    /// What a level without orders shows now.
    levels: BTreeMap<Level, i64>,
    /// What aggressors brought at a moment, and what ours made then.
    brought: BTreeMap<(InstrumentId, Nanos), i64>,
    made: BTreeMap<(InstrumentId, Nanos), i64>,
    /// What auctions printed at a moment, less what ours got in them.
    crossed: BTreeMap<(InstrumentId, Nanos), i64>,
    sides: BTreeMap<u64, Side>,
    barred: Vec<InstrumentId>,
    /// Our impact moves prices: what a side displays counts, at whatever price.
    pub moved: bool,
    /// The tariff depends on volume or side: the scenario itself says what is due.
    pub varies: bool,
}

impl Ledger {
    pub fn message(&mut self, output: &Output) {
        if let Output::Submit(order) = *output {
            // A number that is used twice is rejected: the first order counts.
            self.lines.entry(order.id).or_insert(Line { order, filled: 0, fees: 0, parts: 0 });
        }
    }

    pub fn market(&mut self, market: &Market) {
        let Market { instrument, ts_event: at, ref update } = *market;
        let brought = match *update {
            Update::Add { order, side, price, quantity } => {
                self.sides.insert(order, side);
                self.show((instrument, side, price), quantity.0)
            }
            Update::Replace { order, new_order, price, quantity } => {
                let side = self.sides.get(&order).copied().unwrap_or(Side::Buy);
                self.sides.insert(new_order, side);
                self.show((instrument, side, price), quantity.0)
            }
            Update::Trade { quantity, kind: TradeKind::Cross, .. } => {
                *self.crossed.entry((instrument, at)).or_default() += quantity.0;
                0
            }
            // Without quotes a trade is what stands at the touch, on both sides.
            Update::Trade { price, quantity, kind: TradeKind::Regular, .. } if !self.quotes(instrument) => {
                self.show((instrument, Side::Buy, price), quantity.0);
                self.show((instrument, Side::Sell, price), quantity.0)
            }
            Update::Execute { quantity, .. } | Update::ExecuteAt { quantity, .. } | Update::Trade { quantity, .. } => {
                quantity.0
            }
            Update::Depth { side, price, quantity } => self.level((instrument, side, price), quantity),
            Update::Quote { bid, bid_quantity, ask, ask_quantity } => {
                let mut brought = 0;
                for (side, price, quantity) in [(Side::Buy, bid, bid_quantity), (Side::Sell, ask, ask_quantity)] {
                    self.levels.retain(|key, _| key.0 != instrument || key.1 != side || key.2 == price);
                    brought += self.level((instrument, side, price), quantity);
                }
                brought
            }
            // Orders that cross the book when trading begins again meet what is displayed.
            Update::Status(TradingStatus::Trading) => {
                self.displayed.iter().filter(|(key, _)| key.0 == instrument).map(|(_, shown)| shown).sum()
            }
            Update::Bar { .. } => {
                self.barred.push(instrument);
                0
            }
            _ => 0,
        };
        *self.brought.entry((instrument, at)).or_default() += brought.max(0);
    }

    /// An instrument of which nobody sees what is displayed.
    pub fn hidden(&mut self, instrument: InstrumentId) {
        self.barred.push(instrument);
    }

    fn quotes(&self, instrument: InstrumentId) -> bool {
        self.levels.keys().any(|key| key.0 == instrument)
    }

    fn show(&mut self, level: Level, quantity: i64) -> i64 {
        let level = if self.moved { (level.0, level.1, Price::ZERO) } else { level };
        *self.displayed.entry(level).or_default() += quantity.max(0);
        quantity
    }

    /// A level's new total: what joined is displayed, what left may have traded.
    fn level(&mut self, level: Level, quantity: Quantity) -> i64 {
        let before = self.levels.insert(level, quantity.0).unwrap_or(0);
        self.show(level, quantity.0 - before);
        quantity.0.max(before)
    }

    pub fn report(&mut self, report: &Report, fees: &Fees, place: &str) {
        let Some(line) = self.lines.get_mut(&report.order) else { return };
        let (instrument, at) = (report.instrument, report.ts_event);
        match report.kind {
            ReportKind::Replaced { quantity, price } => (line.order.quantity, line.order.price) = (quantity, price),
            ReportKind::Filled { price, quantity, liquidity, fee, .. } => {
                let Order { side, price: limit, quantity: total, .. } = line.order;
                let worse = (price.0 - limit.0) * side.sign() > 0;
                assert!(!limit.is_defined() || !worse, "{place}: a fill worse than the limit");
                line.filled += quantity.0;
                assert!(line.filled <= total.0, "{place}: more than the order");
                line.parts += parts(fees, price, quantity, liquidity);
                line.fees += i128::from(fee.0);
                let due = -(-line.parts).div_euclid(PARTS);
                let due =
                    if fees.minimum_per_order > Cash::ZERO { due.max(fees.minimum_per_order.0.into()) } else { due };
                assert!(
                    self.varies || line.fees == due,
                    "{place}: fees {} of {due}, the tariff of the order's sums",
                    line.fees
                );
                if self.barred.contains(&instrument) {
                    return;
                }
                if matches!(line.order.time_in_force, TimeInForce::Open | TimeInForce::Close) {
                    let left = self.crossed.entry((instrument, at)).or_default();
                    *left -= quantity.0;
                    assert!(*left >= 0, "{place}: more than the auction printed");
                } else if liquidity == Liquidity::Taker {
                    let level = (instrument, side.opposite(), if self.moved { Price::ZERO } else { price });
                    let taken = self.taken.entry(level).or_default();
                    *taken += quantity.0;
                    let displayed = self.displayed.get(&level).copied().unwrap_or(0);
                    assert!(*taken <= displayed, "{place}: ours took {taken} of {displayed} displayed at {price}");
                } else {
                    let made = self.made.entry((instrument, at)).or_default();
                    *made += quantity.0;
                    let brought = self.brought.get(&(instrument, at)).copied().unwrap_or(0);
                    assert!(*made <= brought, "{place}: ours made {made} of {brought} that came");
                }
            }
            _ => {}
        }
    }
}

fn parts(fees: &Fees, price: Price, quantity: Quantity, liquidity: Liquidity) -> i128 {
    let (per_share, ppm) = match liquidity {
        Liquidity::Maker => (fees.maker_per_share, fees.maker_ppm),
        Liquidity::Taker => (fees.taker_per_share, fees.taker_ppm),
    };
    let shares = i128::from(per_share.0) * i128::from(quantity.0) * (PARTS / 100_000_000);
    shares + i128::from(price.0) * i128::from(quantity.0) * i128::from(ppm)
}
