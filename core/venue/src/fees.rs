//! What the venue charges for a fill.
//!
//! A fee has a part per share, a part of the notional and, per order, a minimum; makers and takers have their own
//! rates, which can depend on what we traded before (tiers). Sales can cost more: a part of the notional, and a part per
//! share up to a cap per fill, as regulators ask. Positive is a cost, negative a rebate. The exact sum of an order's
//! parts is kept; each fill is charged the difference between that sum, rounded up (against us) to 1e-6 currency units,
//! and what was charged before. So an order costs the same in one fill or in fifty, unless it reaches a tier or a cap.
//! Absent: tiers by share of the market's volume or by kind of order, taxes on purchases, clearing pass-through.

use helios_types::{Cash, Liquidity, NANOS_PER_DAY, Nanos, Price, Quantity, Side, notional};
use std::collections::VecDeque;

/// The venue's tariff. All zero by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fees {
    /// Per whole share (or contract, or coin) that provided liquidity.
    pub maker_per_share: Cash,
    /// Per whole share that took liquidity.
    pub taker_per_share: Cash,
    /// Millionths of the notional that provided liquidity; 100 is one basis point.
    pub maker_ppm: i64,
    /// Millionths of the notional that took liquidity.
    pub taker_ppm: i64,
    /// The least that an order with a fill costs; charged with its first fill. Zero: no minimum, rebates are paid.
    pub minimum_per_order: Cash,
}

/// Other rates from some volume on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tier {
    /// Volume of ours from which these rates hold: shares in quantity units, or money in cash units.
    pub volume: i64,
    /// As in [`Fees`].
    pub maker_per_share: Cash,
    /// As in [`Fees`].
    pub taker_per_share: Cash,
    /// As in [`Fees`].
    pub maker_ppm: i64,
    /// As in [`Fees`].
    pub taker_ppm: i64,
}

/// What counts as volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measure {
    /// Shares, of all instruments together.
    #[default]
    Shares,
    /// Money.
    Notional,
}

/// Since when volume counts. Both count up to the fill before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// So many trading days, today's included.
    Days(u32),
    /// The calendar month.
    Month,
}

impl Default for Window {
    fn default() -> Self {
        Self::Days(30)
    }
}

/// What a sale costs besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaleFees {
    /// Billionths of the notional.
    pub ppb: i64,
    /// Per whole share.
    pub per_share: Cash,
    /// The most that the part per share costs in one fill; zero for no cap.
    pub cap: Cash,
}

/// All that decides what a fill costs, and the volume so far.
#[derive(Clone, Debug, Default)]
pub struct Tariff {
    fees: Fees,
    /// By volume, ascending.
    tiers: Vec<Tier>,
    sale: SaleFees,
    measure: Measure,
    window: Window,
    day_begins_ns: u64,
    /// Volume of each day that counts, oldest first.
    days: VecDeque<(u64, i128)>,
    volume: i128,
}

/// Parts of [`Cash`] in which sums are exact: price 1e-9 * quantity 1e-8 * ppb 1e-9 is cash 1e-6 * 1e-20.
const PARTS_PER_CASH: i128 = 100_000_000_000_000_000_000;
/// The same for cash per share * quantity: 1e-6 * 1e-8 is cash 1e-6 * 1e-8.
const PARTS_PER_SHARE_UNIT: i128 = PARTS_PER_CASH / 100_000_000;
/// Parts per billion in one part per million.
const PPB_PER_PPM: i128 = 1_000;

/// What one order has been charged so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charged {
    parts: i128,
    cash: i64,
}

/// One fill, as far as fees go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traded {
    pub(crate) at: Nanos,
    pub(crate) side: Side,
    pub(crate) price: Price,
    pub(crate) quantity: Quantity,
    pub(crate) liquidity: Liquidity,
}

impl From<Fees> for Tariff {
    fn from(fees: Fees) -> Self {
        Self { fees, ..Self::default() }
    }
}

impl Tariff {
    /// Tiers ascend by volume; a trading day begins `day_begins_ns` after 00:00 UTC.
    pub fn new(
        fees: Fees,
        tiers: Vec<Tier>,
        measure: Measure,
        window: Window,
        sale: SaleFees,
        day_begins_ns: u64,
    ) -> Self {
        assert!(tiers.is_sorted_by(|a, b| a.volume < b.volume), "tiers ascend by volume");
        Self { fees, tiers, sale, measure, window, day_begins_ns, ..Self::default() }
    }

    /// The fee of the next fill of an order. Saturates at the scale's end.
    pub(crate) fn charge(&mut self, so_far: &mut Charged, fill: &Traded) -> Cash {
        self.pass(fill.at);
        let rates = self.rates();
        let (per_share, ppm) = match fill.liquidity {
            Liquidity::Maker => (rates.maker_per_share, rates.maker_ppm),
            Liquidity::Taker => (rates.taker_per_share, rates.taker_ppm),
        };
        let quantity = i128::from(fill.quantity.0);
        let value = i128::from(fill.price.0) * quantity;
        let by_share = (i128::from(per_share.0) * quantity).saturating_mul(PARTS_PER_SHARE_UNIT);
        let by_notional = value.saturating_mul(i128::from(ppm)).saturating_mul(PPB_PER_PPM);
        let sale = if fill.side == Side::Sell { self.sale.parts(value, quantity) } else { 0 };
        so_far.parts = so_far.parts.saturating_add(by_share).saturating_add(by_notional).saturating_add(sale);
        let mut due = round_up(so_far.parts);
        if self.fees.minimum_per_order.0 > 0 {
            due = due.max(self.fees.minimum_per_order.0);
        }
        let fee = due.saturating_sub(so_far.cash);
        so_far.cash = so_far.cash.saturating_add(fee);
        self.count(fill);
        Cash(fee)
    }

    /// The rates in force: those of the highest tier that was reached.
    fn rates(&self) -> Fees {
        let reached = self.tiers.iter().rev().find(|tier| self.volume >= i128::from(tier.volume));
        reached.map_or(self.fees, |tier| {
            let Tier { maker_per_share, taker_per_share, maker_ppm, taker_ppm, .. } = *tier;
            Fees { maker_per_share, taker_per_share, maker_ppm, taker_ppm, ..self.fees }
        })
    }

    fn day(&self, at: Nanos) -> u64 {
        at.plus(NANOS_PER_DAY - self.day_begins_ns).0 / NANOS_PER_DAY - 1
    }

    /// Days that no longer count are forgotten.
    fn pass(&mut self, at: Nanos) {
        if self.tiers.is_empty() {
            return;
        }
        let today = self.day(at);
        let counts = |day: u64| match self.window {
            Window::Days(days) => day + u64::from(days) > today,
            Window::Month => month_of(day) >= month_of(today),
        };
        while let Some((day, volume)) = self.days.front().copied()
            && !counts(day)
        {
            self.days.pop_front();
            self.volume -= volume;
        }
    }

    fn count(&mut self, fill: &Traded) {
        if self.tiers.is_empty() {
            return;
        }
        let volume = match self.measure {
            Measure::Shares => i128::from(fill.quantity.0),
            Measure::Notional => notional(fill.price, fill.quantity).map_or(i128::from(i64::MAX), |x| i128::from(x.0)),
        };
        let today = self.day(fill.at);
        self.volume += volume;
        match self.days.back_mut() {
            // A bar's fill is stamped at its beginning, which may lie in the day before.
            Some((day, sum)) if *day >= today => *sum += volume,
            _ => self.days.push_back((today, volume)),
        }
    }
}

impl SaleFees {
    fn parts(&self, value: i128, quantity: i128) -> i128 {
        let mut by_share = (i128::from(self.per_share.0) * quantity).saturating_mul(PARTS_PER_SHARE_UNIT);
        if self.cap.0 > 0 {
            by_share = by_share.min(i128::from(self.cap.0) * PARTS_PER_CASH);
        }
        value.saturating_mul(i128::from(self.ppb)).saturating_add(by_share)
    }
}

/// Months since year zero of a day since 1970, by the Gregorian calendar (Hinnant, `civil_from_days`).
fn month_of(day: u64) -> u64 {
    let since = day + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // Counted from March.
    let month = (5 * of_year + 2) / 153;
    (era * 400 + year) * 12 + month + 2
}

/// Towards plus infinity: a cost grows, a rebate shrinks.
fn round_up(parts: i128) -> i64 {
    // Sums saturate: what did not fit them does not fit the scale either.
    if parts == i128::MAX || parts == i128::MIN {
        return if parts > 0 { i64::MAX } else { i64::MIN };
    }
    let cash = parts.div_euclid(PARTS_PER_CASH) + i128::from(parts.rem_euclid(PARTS_PER_CASH) > 0);
    i64::try_from(cash).unwrap_or(if cash > 0 { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Price = Price(10_000_000_000);

    fn one(fees: Fees, quantity: Quantity, liquidity: Liquidity) -> Cash {
        charge(&mut fees.into(), &mut Charged::default(), TEN, quantity, liquidity)
    }

    fn charge(
        tariff: &mut Tariff,
        so_far: &mut Charged,
        price: Price,
        quantity: Quantity,
        liquidity: Liquidity,
    ) -> Cash {
        tariff.charge(so_far, &Traded { at: Nanos(0), side: Side::Buy, price, quantity, liquidity })
    }

    /// A taker's fill at 10.00 on a day.
    fn on_day(tariff: &mut Tariff, so_far: &mut Charged, day: u64, side: Side, shares: i64) -> Cash {
        let (at, quantity) = (Nanos(day * NANOS_PER_DAY), Quantity::whole(shares));
        tariff.charge(so_far, &Traded { at, side, price: TEN, quantity, liquidity: Liquidity::Taker })
    }

    fn tiered(window: Window) -> Tariff {
        let fees = Fees { taker_per_share: Cash(3_000), ..Fees::default() };
        let tier =
            |shares, each| Tier { volume: Quantity::whole(shares).0, taker_per_share: Cash(each), ..Tier::default() };
        let tiers = vec![tier(1_000, 2_000), tier(5_000, 1_000)];
        Tariff::new(fees, tiers, Measure::Shares, window, SaleFees::default(), 0)
    }

    #[test]
    fn a_tier_reached_in_the_middle_of_an_order_holds_from_its_next_fill_on() {
        let (mut tariff, mut order) = (tiered(Window::Days(30)), Charged::default());
        // 600 at 0.003; 600 more at 0.003, since 600 is below 1,000; 100 at 0.002.
        let fees = [600, 600, 100].map(|shares| on_day(&mut tariff, &mut order, 0, Side::Buy, shares));
        assert_eq!(fees, [Cash(1_800_000), Cash(1_800_000), Cash(200_000)]);
        // 1,300 so far: 3,700 more reach the next tier, which the fill after it gets.
        let mut other = Charged::default();
        assert_eq!(on_day(&mut tariff, &mut other, 0, Side::Sell, 3_700), Cash(7_400_000));
        assert_eq!(on_day(&mut tariff, &mut other, 0, Side::Sell, 100), Cash(100_000));
    }

    #[test]
    fn volume_is_forgotten_after_the_window() {
        let mut tariff = tiered(Window::Days(30));
        let fee = |tariff: &mut Tariff, day| on_day(tariff, &mut Charged::default(), day, Side::Buy, 1_000);
        // Day 0 counts up to day 29; on day 30 only what day 29 traded does.
        assert_eq!([0, 29].map(|day| fee(&mut tariff, day)), [Cash(3_000_000), Cash(2_000_000)]);
        assert_eq!([30, 60].map(|day| fee(&mut tariff, day)), [Cash(2_000_000), Cash(3_000_000)]);
        let mut tariff = tiered(Window::Month);
        // 1970: days 0 to 30 are January, 31 to 58 February.
        assert_eq!([0, 30].map(|day| fee(&mut tariff, day)), [Cash(3_000_000), Cash(2_000_000)]);
        assert_eq!([31, 58, 59].map(|day| fee(&mut tariff, day)), [Cash(3_000_000), Cash(2_000_000), Cash(3_000_000)]);
    }

    #[test]
    fn volume_can_be_money() {
        let fees = Fees { taker_ppm: 1_000, ..Fees::default() };
        let tiers = vec![Tier { volume: Cash::whole(10_000).0, taker_ppm: 500, ..Tier::default() }];
        let mut tariff = Tariff::new(fees, tiers, Measure::Notional, Window::Days(1), SaleFees::default(), 0);
        let mut order = Charged::default();
        // 10,000.00 at 10 basis points, then 5.
        assert_eq!(on_day(&mut tariff, &mut order, 5, Side::Buy, 1_000), Cash::whole(10));
        assert_eq!(on_day(&mut tariff, &mut order, 5, Side::Buy, 1_000), Cash::whole(5));
        assert_eq!(on_day(&mut tariff, &mut order, 6, Side::Buy, 1_000), Cash::whole(10));
    }

    #[test]
    fn a_sale_costs_more_up_to_the_cap_of_a_fill() {
        let sale = SaleFees { ppb: 27_800, per_share: Cash(166), cap: Cash(8_300_000) };
        let mut tariff = Tariff::new(Fees::default(), vec![], Measure::Shares, Window::Month, sale, 0);
        assert_eq!(on_day(&mut tariff, &mut Charged::default(), 0, Side::Buy, 100), Cash::ZERO);
        // 27.80 per million of 1,000.00 is 0.0278; 100 * 0.000166 is 0.0166.
        assert_eq!(on_day(&mut tariff, &mut Charged::default(), 0, Side::Sell, 100), Cash(44_400));
        // 100,000 shares: 27.80, and 16.60 is more than 8.30.
        assert_eq!(on_day(&mut tariff, &mut Charged::default(), 0, Side::Sell, 100_000), Cash(36_100_000));
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        // 2000-02-29 is day 11,016; 2024-12-31 is 20,088.
        for (day, month) in [(0, 1970 * 12), (31, 1970 * 12 + 1), (11_016, 2000 * 12 + 1), (11_017, 2000 * 12 + 2)] {
            assert_eq!(month_of(day), month, "{day}");
        }
        assert_eq!([20_088, 20_089].map(month_of), [2024 * 12 + 11, 2025 * 12]);
    }

    #[test]
    fn shares_and_notional_add_up() {
        let fees = Fees { taker_per_share: Cash(3_000), taker_ppm: 50, ..Fees::default() };
        // 100 shares at 0.003 are 0.30; 0.5 basis points of 1,000.00 are 0.05.
        assert_eq!(one(fees, Quantity::whole(100), Liquidity::Taker), Cash(350_000));
        assert_eq!(one(fees, Quantity::whole(100), Liquidity::Maker), Cash::ZERO);
    }

    #[test]
    fn rounding_is_against_us_for_costs_and_rebates() {
        let share = Quantity(50_000_000);
        let fees = Fees { taker_per_share: Cash(1), maker_per_share: Cash(-1), ..Fees::default() };
        assert_eq!(one(fees, share, Liquidity::Taker), Cash(1));
        assert_eq!(one(fees, share, Liquidity::Maker), Cash(0));
    }

    #[test]
    fn many_fills_cost_what_one_costs() {
        let fees = Fees { taker_ppm: 7, taker_per_share: Cash(1_233), ..Fees::default() };
        let whole = one(fees, Quantity::whole(999), Liquidity::Taker);
        let mut charged = Charged::default();
        let mut tariff = fees.into();
        let share = Quantity::whole(1);
        let parts: i64 = (0..999).map(|_| charge(&mut tariff, &mut charged, TEN, share, Liquidity::Taker).0).sum();
        assert_eq!(Cash(parts), whole);
    }

    #[test]
    fn the_minimum_is_charged_once() {
        let fees = Fees { taker_per_share: Cash(5_000), minimum_per_order: Cash::whole(1), ..Fees::default() };
        let mut charged = Charged::default();
        let mut tariff = fees.into();
        let mut fee = |shares| charge(&mut tariff, &mut charged, TEN, Quantity::whole(shares), Liquidity::Taker);
        assert_eq!(fee(100), Cash::whole(1));
        assert_eq!(fee(100), Cash::ZERO);
        assert_eq!(fee(100), Cash(500_000));
    }

    #[test]
    fn a_fee_beyond_its_scale_saturates() {
        let fees = Fees { taker_ppm: i64::MAX, ..Fees::default() };
        let (price, quantity) = (Price(i64::MAX - 1), Quantity(i64::MAX));
        let huge = charge(&mut fees.into(), &mut Charged::default(), price, quantity, Liquidity::Taker);
        assert_eq!(huge, Cash(i64::MAX));
    }
}
