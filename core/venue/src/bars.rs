//! Fills against bars: the next bar's open, plus half a spread.
//!
//! What it does:
//! - An order meets the first bar that *began* at or after the moment the order was sent, and that is delivered
//!   after it reached the venue. A bar that was under way when the order was sent is passed over: its open lies in
//!   the past.
//! - A market order fills whole at that bar's open plus half a spread for a buy, minus for a sell, rounded to the
//!   tick against us. A limit order fills there too when that price is within its limit; else at its limit, when
//!   the bar's range reaches the limit. An immediate-or-cancel order meets one open only, not the range.
//! - The fill's stamp is the bar's start (or the order's arrival, if that is later), but it is reported when the bar
//!   is delivered: before that nobody can know it.
//! - A cancel or a replace acts on bars that begin at or after the moment it was sent. While a bar may be under way
//!   that began before, it waits for that bar, at most one bar's span: the order may have filled in it.
//! - A `Day` order with a limit stays for the trading day of the first bar it met.
//!
//! What it assumes: a bar has room for any quantity, and order latency is short against the bar. See
//! `docs/models/bars.md`. Absent: volume limits, the path of prices within a bar, queue position, impact.

use crate::desk::{Desk, Moment, Working, within};
use crate::impact::{Offer, moved};
use helios_types::{
    BookRef, CancelReason, Liquidity, Nanos, Price, Side, TimeInForce, Update, round_down_to_tick, round_up_to_tick,
};

/// Half of the spread that a bar does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfSpread {
    /// The same for every bar, in price units; not negative.
    Fixed(Price),
    /// Millionths of the bar's open; 100 is one basis point.
    Ppm(u32),
}

impl Default for HalfSpread {
    /// One basis point of the open.
    fn default() -> Self {
        Self::Ppm(100)
    }
}

impl HalfSpread {
    /// What an order of `side` pays at this open: the price against us, on a tick.
    fn price(self, side: Side, open: Price, tick: Price) -> Price {
        let half = match self {
            Self::Fixed(half) => half.0,
            // Rounded up: against us, and at most one price unit.
            Self::Ppm(ppm) => {
                let half = (i128::from(open.0) * i128::from(ppm) + 999_999).div_euclid(1_000_000);
                i64::try_from(half).unwrap_or(i64::MAX)
            }
        };
        match side {
            Side::Buy => round_up_to_tick(Price(open.0.saturating_add(half)), tick),
            // A half spread larger than the price itself would pay us for selling; the lowest price is one tick.
            Side::Sell => round_down_to_tick(Price(open.0.saturating_sub(half)), tick).max(tick),
        }
    }
}

/// What the model needs of a bar.
#[derive(Clone, Copy)]
struct Bar {
    start: Nanos,
    open: Price,
    high: Price,
    low: Price,
}

/// What comes of an order at a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fills(Price, Liquidity),
    Waits,
    Ends(CancelReason),
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    number: BookRef,
    /// The trading day of the first bar it met.
    day: Option<u64>,
}

/// The orders of one instrument that wait for bars.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bars {
    waiting: Vec<Waiting>,
    /// End and span of the last bar delivered.
    delivered: Nanos,
    span: u64,
}

impl Bars {
    pub(crate) fn arrive(&mut self, number: BookRef) {
        self.waiting.push(Waiting { number, day: None });
    }

    /// An order of ours leaves without a report.
    pub(crate) fn withdraw(&mut self, number: BookRef) {
        self.waiting.retain(|waiting| waiting.number != number);
    }

    /// Until when a change sent at `sent` to this order waits for a bar that may have begun before; `None`: it acts
    /// at once, because every such bar was delivered, or because the order itself is not older.
    pub(crate) fn waits_until(&self, working: &Working, sent: Nanos) -> Option<Nanos> {
        (working.sent < sent && self.delivered < sent).then(|| sent.plus(self.span))
    }

    /// A bar is delivered at `at`; `day` numbers the trading day of a moment.
    pub(crate) fn history(&mut self, desk: &mut Desk, at: Nanos, update: &Update, terms: &Terms<'_>) {
        let Update::Bar { open, high, low, span, .. } = *update else { return };
        (self.delivered, self.span) = (at, span);
        if !terms.trading {
            return;
        }
        let bar = Bar { start: Nanos(at.0.saturating_sub(span)), open, high, low };
        let day = (terms.day)(bar.start);
        self.waiting.retain_mut(|waiting| {
            let working = *desk.get(waiting.number).expect("a waiting order is open");
            if working.sent > bar.start {
                return true;
            }
            let moment = Moment { event: bar.start.max(working.arrived), not_before: at };
            let expired = waiting.day.is_some_and(|first| first != day);
            waiting.day = Some(day);
            match if expired { Outcome::Ends(CancelReason::Expired) } else { terms.outcome(&working, &bar) } {
                Outcome::Waits => true,
                Outcome::Ends(reason) => {
                    desk.cancel(moment, waiting.number, reason);
                    false
                }
                Outcome::Fills(price, Liquidity::Maker) => {
                    desk.fill(moment, waiting.number, price, working.left(), Liquidity::Maker);
                    false
                }
                Outcome::Fills(price, Liquidity::Taker) => {
                    // Without impact all of it, at this price.
                    let offer = Offer { shown: price, mid: bar.open, quantity: working.left() };
                    let left = match desk.offer(moment.event, waiting.number, offer) {
                        Some((price, quantity)) => desk.fill(moment, waiting.number, price, quantity, Liquidity::Taker),
                        None => working.left(),
                    };
                    let ends = !left.is_zero() && working.is_immediate();
                    if ends {
                        desk.cancel(moment, waiting.number, CancelReason::Unfilled);
                    }
                    !left.is_zero() && !ends
                }
            }
        });
    }
}

/// What bars of an instrument are filled by.
pub(crate) struct Terms<'a> {
    pub(crate) half_spread: HalfSpread,
    pub(crate) tick: Price,
    /// False while the instrument is halted: no order fills or ends.
    pub(crate) trading: bool,
    /// By how much our impact has moved the bar's prices when it begins.
    pub(crate) shift: i64,
    /// The number of the trading day of a moment.
    pub(crate) day: &'a dyn Fn(Nanos) -> u64,
}

impl Terms<'_> {
    fn outcome(&self, working: &Working, bar: &Bar) -> Outcome {
        let order = &working.order;
        let at_open = self.half_spread.price(order.side, bar.open, self.tick);
        let here = |price| moved(price, self.shift, self.tick);
        let reached = order.price.is_defined()
            && match order.side {
                Side::Buy => here(bar.low) <= order.price,
                Side::Sell => here(bar.high) >= order.price,
            };
        if within(order.side, order.price, here(at_open)) {
            Outcome::Fills(at_open, Liquidity::Taker)
        } else if order.time_in_force == TimeInForce::Ioc {
            Outcome::Ends(CancelReason::Unfilled)
        } else if reached {
            Outcome::Fills(order.price, Liquidity::Maker)
        } else {
            Outcome::Waits
        }
    }
}

/// False for a bar that cannot be: it is counted and not used.
pub(crate) fn is_sane(update: &Update) -> bool {
    match *update {
        Update::Bar { open, high, low, close, span, .. } => {
            let inside = |price: Price| price.is_defined() && low <= price && price <= high;
            low.0 > 0 && high.is_defined() && span > 0 && inside(open) && inside(close)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CENT: Price = Price(10_000_000);

    #[test]
    fn the_half_spread_is_rounded_to_the_tick_against_us() {
        let open = Price(10_005_000_000);
        let fixed = HalfSpread::Fixed(Price(1));
        assert_eq!(fixed.price(Side::Buy, open, CENT), Price(10_010_000_000));
        assert_eq!(fixed.price(Side::Sell, open, CENT), Price(10_000_000_000));
        let ppm = HalfSpread::Ppm(1_000);
        assert_eq!(ppm.price(Side::Buy, Price::whole(10), CENT), Price(10_010_000_000));
        assert_eq!(ppm.price(Side::Sell, Price::whole(10), CENT), Price(9_990_000_000));
        assert_eq!(ppm.price(Side::Buy, Price(10_000_000_001), Price(1)), Price(10_010_000_002));
    }

    #[test]
    fn a_sale_is_never_at_or_below_zero() {
        assert_eq!(HalfSpread::Fixed(Price::whole(5)).price(Side::Sell, Price::whole(1), CENT), CENT);
    }
}
