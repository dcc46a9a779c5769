//! One position and its money.

use helios_types::{Cash, Digest, Hasher, Overflow, Price, Quantity, Side, Split, notional};

/// A signed position with average-cost accounting. The cost is kept as a sum, so nothing is lost to rounding: what
/// is not realised yet is still in `cost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Signed quantity held.
    pub quantity: Quantity,
    /// What the open position cost: positive for a long one, negative (proceeds) for a short one.
    pub cost: Cash,
    /// Profit of what was closed, before fees.
    pub realised: Cash,
    /// Fees paid, less rebates.
    pub fees: Cash,
    /// Sum of the notional of all trades.
    pub turnover: Cash,
    /// Number of trades.
    pub fills: u64,
    /// Dividends received, less those paid while short.
    pub dividends: Cash,
    /// Paid for borrowed shares.
    pub borrow: Cash,
}

impl Position {
    /// Books a trade; returns the profit that it realised, before its fee. On [`Overflow`] nothing has changed.
    pub fn book(&mut self, side: Side, price: Price, quantity: Quantity, fee: Cash) -> Result<Cash, Overflow> {
        self.book_value(side, price, quantity, notional(price, quantity)?, fee)
    }

    /// [`Position::book`] with the trade's notional given: parts of a trade have parts of its notional, and rounding
    /// each part by itself would lose or make money.
    pub(crate) fn book_value(
        &mut self,
        side: Side,
        price: Price,
        quantity: Quantity,
        notional_given: Cash,
        fee: Cash,
    ) -> Result<Cash, Overflow> {
        let before = *self;
        let signed = Quantity(side.sign() * quantity.0);
        // Bought value is positive, sold value negative.
        let value = Cash(side.sign() * notional_given.0);
        let closes = if before.quantity.0.signum() * signed.0.signum() < 0 {
            signed.0.abs().min(before.quantity.0.abs())
        } else {
            0
        };
        let closing_value = if closes == quantity.0 { value } else { notional(price, Quantity(side.sign() * closes))? };
        let cost_closed = match closes {
            0 => Cash::ZERO,
            _ => scale(before.cost, closes, before.quantity.0.abs()),
        };
        let realised = closing_value.neg().sub(cost_closed)?;
        // A position that has no opposite could never be closed.
        let held = Some(before.quantity.add(signed)?).filter(|held| held.0 != i64::MIN).ok_or(Overflow)?;
        *self = Self {
            quantity: held,
            cost: before.cost.sub(cost_closed)?.add(value.sub(closing_value)?)?,
            realised: before.realised.add(realised)?,
            fees: before.fees.add(fee)?,
            turnover: before.turnover.add(value.abs())?,
            fills: before.fills + 1,
            ..before
        };
        debug_assert!(self.quantity.0 != 0 || self.cost.is_zero(), "a flat position has no cost");
        Ok(realised)
    }

    /// A split after which the position is `after` and `paid` was received for what is missing to it (paid for what is
    /// more). The cost stays, but for the part of the fraction, which is closed; returns the profit that this realised.
    pub(crate) fn split(&mut self, split: Split, after: Quantity, paid: Cash) -> Result<Cash, Overflow> {
        let before = *self;
        let fraction = split.fraction(before.quantity, after);
        let closes = fraction.signum() == i128::from(before.quantity.0.signum());
        let (cost, realised) = if fraction == 0 {
            // Rounding of others' parts may be this account's to bear.
            (before.cost, paid)
        } else if closes {
            // Of all parts, so many are closed; exact when all are.
            let all = split.fraction(before.quantity, Quantity::ZERO);
            let closed = i128::from(before.cost.0).checked_mul(fraction).ok_or(Overflow)? / all;
            let closed = Cash(i64::try_from(closed).map_err(|_| Overflow)?);
            (before.cost.sub(closed)?, paid.sub(closed)?)
        } else {
            (before.cost.sub(paid)?, Cash::ZERO)
        };
        *self = Self { quantity: after, cost, realised: before.realised.add(realised)?, ..before };
        debug_assert!(self.quantity.0 != 0 || self.cost.is_zero(), "a flat position has no cost");
        Ok(realised)
    }

    /// Value at a price.
    pub fn value(&self, mark: Price) -> Result<Cash, Overflow> {
        if self.quantity.is_zero() { Ok(Cash::ZERO) } else { notional(mark, self.quantity) }
    }

    /// Average price of the open position, rounded to the price unit; `None` when flat.
    pub fn average_price(&self) -> Option<Price> {
        // cash 1e-6 / quantity 1e-8 -> price 1e-9: times 1e11.
        (self.quantity.0 != 0).then(|| {
            let price = i128::from(self.cost.0) * 100_000_000_000 / i128::from(self.quantity.0);
            Price(i64::try_from(price).unwrap_or(i64::MAX))
        })
    }
}

/// `cash * part / whole`, towards zero; exact when part is whole.
fn scale(cash: Cash, part: i64, whole: i64) -> Cash {
    Cash((i128::from(cash.0) * i128::from(part) / i128::from(whole)) as i64)
}

impl Digest for Position {
    fn digest(&self, hasher: &mut Hasher) {
        for x in [self.quantity.0, self.cost.0, self.realised.0, self.fees.0, self.turnover.0] {
            hasher.i64(x);
        }
        hasher.u64(self.fills);
        // What most runs never see leaves the digests of those that do not as they were.
        if !self.dividends.is_zero() || !self.borrow.is_zero() {
            hasher.i64(self.dividends.0);
            hasher.i64(self.borrow.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dollars(x: f64) -> Price {
        Price::from_f64(x).unwrap()
    }

    #[test]
    fn average_cost_by_hand() {
        let mut p = Position::default();
        p.book(Side::Buy, dollars(10.0), Quantity::whole(100), Cash(5)).unwrap();
        p.book(Side::Buy, dollars(12.0), Quantity::whole(100), Cash(5)).unwrap();
        assert_eq!(p.average_price(), Some(dollars(11.0)));
        assert_eq!(p.book(Side::Sell, dollars(13.0), Quantity::whole(50), Cash(5)), Ok(Cash::whole(100)));
        // Through zero: the other 150 are closed at 9 (a loss of 300), 50 more are sold short at 9.
        assert_eq!(p.book(Side::Sell, dollars(9.0), Quantity::whole(200), Cash(5)), Ok(Cash::whole(-300)));
        assert_eq!((p.quantity, p.cost, p.fees), (Quantity::whole(-50), Cash::whole(-450), Cash(20)));
        assert_eq!(p.realised, Cash::whole(-200));
    }

    #[test]
    fn an_overflow_changes_nothing() {
        let mut p = Position::default();
        p.book(Side::Buy, Price(i64::MAX - 1), Quantity(900_000_000), Cash::ZERO).unwrap();
        let before = p;
        assert_eq!(p.book(Side::Buy, Price(i64::MAX - 1), Quantity(i64::MAX), Cash::ZERO), Err(Overflow));
        assert_eq!(p, before);
        // The lowest number has no opposite: it would be a position that nobody can close.
        let mut p = Position::default();
        p.book(Side::Sell, Price(1), Quantity(i64::MAX), Cash::ZERO).unwrap();
        assert_eq!(p.book(Side::Sell, Price(1), Quantity(1), Cash::ZERO), Err(Overflow));
        p.book(Side::Buy, Price(1), Quantity(i64::MAX), Cash::ZERO).unwrap();
        assert!(p.quantity.is_zero());
    }

    proptest! {
        /// realised + unrealised = cash flows + value of what is held, to the last unit, at any mark.
        #[test]
        fn money_is_conserved(
            trades in prop::collection::vec((any::<bool>(), 1i64..1_000_000_000_000, 1i64..100_000_000_000, -500i64..500), 1..60),
            mark in 1i64..1_000_000_000_000,
        ) {
            let mut p = Position::default();
            let (mut cash, mut held) = (0i64, 0i64);
            for (buy, price, quantity, fee) in trades {
                let side = if buy { Side::Buy } else { Side::Sell };
                p.book(side, Price(price), Quantity(quantity), Cash(fee)).unwrap();
                cash -= notional(Price(price), Quantity(side.sign() * quantity)).unwrap().0 + fee;
                held += side.sign() * quantity;
            }
            prop_assert_eq!(p.quantity.0, held);
            let value = p.value(Price(mark)).unwrap().0;
            let unrealised = value - p.cost.0;
            prop_assert_eq!(p.realised.0 + unrealised - p.fees.0, cash + value);
        }
    }
}
