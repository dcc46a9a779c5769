//! What the venue charges for a fill.
//!
//! A fee has a part per share, a part of the notional and, per order, a minimum; makers and takers have their own
//! rates. Positive is a cost, negative a rebate. The exact sum of an order's parts is kept; each fill is charged the
//! difference between that sum, rounded up (against us) to 1e-6 currency units, and what was charged before. So an
//! order costs the same in one fill or in fifty. Absent: volume tiers, taxes, exchange and clearing pass-through.

use helios_types::{Cash, Liquidity, Price, Quantity};

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

/// Parts of [`Cash`] in which sums are exact: price 1e-9 * quantity 1e-8 * ppm 1e-6 is cash 1e-6 * 1e-17.
const PARTS_PER_CASH: i128 = 100_000_000_000_000_000;
/// The same for cash per share * quantity: 1e-6 * 1e-8 is cash 1e-6 * 1e-8.
const PARTS_PER_SHARE_UNIT: i128 = PARTS_PER_CASH / 100_000_000;

/// What one order has been charged so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charged {
    parts: i128,
    cash: i64,
}

impl Fees {
    /// The fee of the next fill of an order. Saturates at the scale's end.
    pub(crate) fn charge(&self, so_far: &mut Charged, price: Price, quantity: Quantity, liquidity: Liquidity) -> Cash {
        let (per_share, ppm) = match liquidity {
            Liquidity::Maker => (self.maker_per_share, self.maker_ppm),
            Liquidity::Taker => (self.taker_per_share, self.taker_ppm),
        };
        let quantity = i128::from(quantity.0);
        let by_share = (i128::from(per_share.0) * quantity).saturating_mul(PARTS_PER_SHARE_UNIT);
        let by_notional = (i128::from(price.0) * quantity).saturating_mul(i128::from(ppm));
        so_far.parts = so_far.parts.saturating_add(by_share).saturating_add(by_notional);
        let mut due = round_up(so_far.parts);
        if self.minimum_per_order.0 > 0 {
            due = due.max(self.minimum_per_order.0);
        }
        let fee = due.saturating_sub(so_far.cash);
        so_far.cash = so_far.cash.saturating_add(fee);
        Cash(fee)
    }
}

/// Towards plus infinity: a cost grows, a rebate shrinks.
fn round_up(parts: i128) -> i64 {
    let cash = parts.div_euclid(PARTS_PER_CASH) + i128::from(parts.rem_euclid(PARTS_PER_CASH) > 0);
    i64::try_from(cash).unwrap_or(if cash > 0 { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Price = Price(10_000_000_000);

    fn one(fees: Fees, quantity: Quantity, liquidity: Liquidity) -> Cash {
        fees.charge(&mut Charged::default(), TEN, quantity, liquidity)
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
        let parts: i64 = (0..999).map(|_| fees.charge(&mut charged, TEN, Quantity::whole(1), Liquidity::Taker).0).sum();
        assert_eq!(Cash(parts), whole);
    }

    #[test]
    fn the_minimum_is_charged_once() {
        let fees = Fees { taker_per_share: Cash(5_000), minimum_per_order: Cash::whole(1), ..Fees::default() };
        let mut charged = Charged::default();
        let mut fee = |shares| fees.charge(&mut charged, TEN, Quantity::whole(shares), Liquidity::Taker);
        assert_eq!(fee(100), Cash::whole(1));
        assert_eq!(fee(100), Cash::ZERO);
        assert_eq!(fee(100), Cash(500_000));
    }

    #[test]
    fn a_fee_beyond_its_scale_saturates() {
        let fees = Fees { taker_ppm: i64::MAX, ..Fees::default() };
        let huge = fees.charge(&mut Charged::default(), Price(i64::MAX - 1), Quantity(i64::MAX), Liquidity::Taker);
        assert_eq!(huge, Cash(i64::MAX));
    }
}
