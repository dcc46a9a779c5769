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
use crate::sessions::Sessions;
use helios_types::{
    BookRef, CancelReason, Liquidity, Nanos, Order, Price, Side, TimeInForce, Update, round_down_to_tick,
    round_up_to_tick,
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
    close: Price,
    /// The first of its trading day.
    opens: bool,
}

/// What comes of an order at a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fills(Price, Liquidity),
    /// At the bar's end.
    FillsAtClose(Price),
    /// A stop was reached within the bar: from the next one on it is a limit order.
    Wakes,
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
    /// The trading day in which the last bar began.
    last_day: Option<u64>,
}

/// The shortest bar that is a session of its own when no sessions are given.
const DAILY_NS: u64 = 6 * 3_600 * 1_000_000_000;

/// Does a bar end with a closing auction?
pub(crate) fn closes(sessions: &Sessions, start: Nanos, end: Nanos, span: u64) -> bool {
    if sessions.are_given() { sessions.close_within(start, end).is_some() } else { span >= DAILY_NS }
}

impl Bars {
    pub(crate) fn arrive(&mut self, number: BookRef) {
        self.waiting.push(Waiting { number, day: None });
    }

    /// An order of ours leaves without a report.
    pub(crate) fn withdraw(&mut self, number: BookRef) {
        self.waiting.retain(|waiting| waiting.number != number);
    }

    /// Are the bars so long that each is a session?
    pub(crate) fn show_closes(&self) -> bool {
        self.span >= DAILY_NS
    }

    /// Until when a change sent at `sent` to this order waits for a bar that may have begun before; `None`: it acts
    /// at once, because every such bar was delivered, or because the order itself is not older.
    pub(crate) fn waits_until(&self, working: &Working, sent: Nanos) -> Option<Nanos> {
        (working.sent < sent && self.delivered < sent).then(|| sent.plus(self.span))
    }

    /// A bar is delivered at `at`; `day` numbers the trading day of a moment.
    pub(crate) fn history(&mut self, desk: &mut Desk, at: Nanos, update: &Update, terms: &Terms<'_>) {
        let Update::Bar { open, high, low, close, span, .. } = *update else { return };
        let start = Nanos(at.0.saturating_sub(span));
        let day = (terms.day)(start);
        let opens = self.last_day.replace(day) != Some(day);
        (self.delivered, self.span) = (at, span);
        if !terms.trading {
            return;
        }
        let bar = Bar { start, open, high, low, close, opens };
        self.waiting.retain_mut(|waiting| {
            let working = *desk.get(waiting.number).expect("a waiting order is open");
            // The close of a bar under way still lies ahead, its open does not.
            let closing = working.order.time_in_force == TimeInForce::Close;
            if working.sent > bar.start && !(closing && working.sent < at) {
                return true;
            }
            let moment = Moment { event: bar.start.max(working.arrived), not_before: at };
            let expired = waiting.day.is_some_and(|first| first != day);
            let outcome = match expired {
                true => Outcome::Ends(CancelReason::Expired),
                false => terms.outcome(&working, &bar, waiting.day.is_none()),
            };
            if !working.is_for_auction() {
                waiting.day = Some(day);
            }
            match outcome {
                Outcome::Waits => true,
                Outcome::Wakes => {
                    desk.wake(waiting.number);
                    true
                }
                Outcome::Ends(reason) => {
                    desk.cancel(moment, waiting.number, reason);
                    false
                }
                Outcome::Fills(price, Liquidity::Maker) => {
                    desk.fill(moment, waiting.number, price, working.left(), Liquidity::Maker);
                    false
                }
                Outcome::FillsAtClose(price) => {
                    desk.fill(at.into(), waiting.number, price, working.left(), Liquidity::Taker);
                    false
                }
                Outcome::Fills(price, Liquidity::Taker) => {
                    if working.is_for_auction() {
                        // One price for all: our impact is not in it.
                        desk.fill(moment, waiting.number, price, working.left(), Liquidity::Taker);
                        return false;
                    }
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
    /// The bar ends with a closing auction.
    pub(crate) closes: bool,
}

impl Terms<'_> {
    /// What comes of an order at a bar; `first`: it meets its first one.
    fn outcome(&self, working: &Working, bar: &Bar, first: bool) -> Outcome {
        let order = &working.order;
        match order.time_in_force {
            TimeInForce::Open if bar.opens => auction(order, bar.open, Outcome::Fills(bar.open, Liquidity::Taker)),
            TimeInForce::Close if self.closes => auction(order, bar.close, Outcome::FillsAtClose(bar.close)),
            TimeInForce::Open | TimeInForce::Close => Outcome::Waits,
            _ if working.asleep => self.asleep(working, bar, first),
            _ => self.awake(order, bar, first),
        }
    }

    fn asleep(&self, working: &Working, bar: &Bar, first: bool) -> Outcome {
        let (order, stop) = (&working.order, working.order.terms.stop);
        let (at_open, within_bar) = match order.side {
            Side::Buy => (bar.open >= stop, bar.high >= stop),
            Side::Sell => (bar.open <= stop, bar.low <= stop),
        };
        if at_open {
            // Awake from the open on, and if it does not trade here it stays awake.
            match self.awake(order, bar, first) {
                Outcome::Waits => Outcome::Wakes,
                outcome => outcome,
            }
        } else if !within_bar {
            Outcome::Waits
        } else if order.price.is_defined() {
            Outcome::Wakes
        } else {
            Outcome::Fills(self.half_spread.price(order.side, stop, self.tick), Liquidity::Taker)
        }
    }

    fn awake(&self, order: &Order, bar: &Bar, first: bool) -> Outcome {
        let at_open = self.half_spread.price(order.side, bar.open, self.tick);
        let here = |price| moved(price, self.shift, self.tick);
        let reached = order.price.is_defined()
            && match order.side {
                Side::Buy => here(bar.low) <= order.price,
                Side::Sell => here(bar.high) >= order.price,
            };
        let (takes, post_only) = (within(order.side, order.price, here(at_open)), order.terms.post_only);
        if takes && post_only && first {
            Outcome::Ends(CancelReason::Unfilled)
        } else if takes && !post_only {
            Outcome::Fills(at_open, Liquidity::Taker)
        } else if matches!(order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok) {
            Outcome::Ends(CancelReason::Unfilled)
        } else if reached || takes {
            Outcome::Fills(order.price, Liquidity::Maker)
        } else {
            Outcome::Waits
        }
    }
}

/// An order in the auction that a bar opens or closes with: at its price, without a spread, or not at all.
fn auction(order: &Order, price: Price, fills: Outcome) -> Outcome {
    if within(order.side, order.price, price) { fills } else { Outcome::Ends(CancelReason::Expired) }
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
