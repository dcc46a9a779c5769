//! The arithmetic of a split, once for all who hold positions: exact ratios, no rounding but the one that is stated.

use crate::{Cash, Overflow, Price, Quantity};

/// So many new shares for so many old ones: 4 for 1, 3 for 2, 1 for 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    new: i128,
    old: i128,
}

/// price unit x quantity unit -> cash unit: 1e-17 to 1e-6.
const PER_CASH: i128 = 100_000_000_000;

impl Split {
    /// `None` when one of the numbers is zero.
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        (numerator > 0 && denominator > 0).then(|| Self { new: i128::from(numerator), old: i128::from(denominator) })
    }

    /// Shares after the split, towards zero to a multiple of `unit`.
    pub fn shares(self, held: Quantity, unit: Quantity) -> Result<Quantity, Overflow> {
        assert!(unit.0 > 0, "the unit of a position must be positive: check the instrument definition");
        let units = i128::from(held.0) * self.new / (self.old * i128::from(unit.0));
        to_i64(units.checked_mul(i128::from(unit.0)).ok_or(Overflow)?).map(Quantity)
    }

    /// Shares after the split less `after`, in parts of a quantity unit: as many as [`Split::parts`] are one. Exact.
    pub fn fraction(self, held: Quantity, after: Quantity) -> i128 {
        i128::from(held.0) * self.new - i128::from(after.0) * self.old
    }

    /// Parts of a quantity unit in which fractions are exact.
    pub fn parts(self) -> i128 {
        self.old
    }

    /// What the fraction between `held` (before) and `after` is worth at `mark`, the price before the split; rounded to
    /// the nearest cash unit, halves away from zero.
    pub fn in_lieu(self, held: Quantity, after: Quantity, mark: Price) -> Result<Cash, Overflow> {
        // A new share is worth mark * old / new, and the fraction is in parts of 1 / old.
        let worth = self.fraction(held, after).checked_mul(i128::from(mark.0)).ok_or(Overflow)?;
        to_i64(nearest(worth, self.new * PER_CASH)).map(Cash)
    }

    /// A price after the split, to the nearest price unit and never zero.
    pub fn price(self, price: Price) -> Price {
        if !price.is_defined() {
            return price;
        }
        let scaled = nearest(i128::from(price.0) * self.old, self.new);
        Price(i64::try_from(scaled).unwrap_or(i64::MAX - 1).max(1))
    }

    /// A quantity after the split, towards zero to the quantity unit; saturates. For what is shown, not for what is held.
    pub fn shown(self, quantity: Quantity) -> Quantity {
        Quantity(i64::try_from(i128::from(quantity.0) * self.new / self.old).unwrap_or(i64::MAX))
    }
}

/// Halves away from zero; the divisor is positive.
fn nearest(x: i128, by: i128) -> i128 {
    let half = if x < 0 { -(by / 2) } else { by / 2 };
    (x.saturating_add(half)) / by
}

fn to_i64(x: i128) -> Result<i64, Overflow> {
    i64::try_from(x).map_err(|_| Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Quantity = Quantity::whole(1);

    #[test]
    fn four_for_one_leaves_no_fraction() {
        let split = Split::new(4, 1).unwrap();
        let after = split.shares(Quantity::whole(-25), SHARE).unwrap();
        assert_eq!(after, Quantity::whole(-100));
        assert_eq!(split.in_lieu(Quantity::whole(-25), after, Price::whole(500)), Ok(Cash::ZERO));
        assert_eq!(split.price(Price(499_230_000_000)), Price(124_807_500_000));
    }

    #[test]
    fn fractions_are_worth_what_they_were() {
        // 3:2 of 101 shares at 30.00: 151.5, so 151 and half a share at 20.00.
        let split = Split::new(3, 2).unwrap();
        let after = split.shares(Quantity::whole(101), SHARE).unwrap();
        assert_eq!(after, Quantity::whole(151));
        assert_eq!(split.in_lieu(Quantity::whole(101), after, Price::whole(30)), Ok(Cash::whole(10)));
        // 1:10 of 57 shares short at 2.00: 5 short, and 0.7 shares at 20.00 to pay.
        let split = Split::new(1, 10).unwrap();
        let after = split.shares(Quantity::whole(-57), SHARE).unwrap();
        assert_eq!(after, Quantity::whole(-5));
        assert_eq!(split.in_lieu(Quantity::whole(-57), after, Price::whole(2)), Ok(Cash::whole(-14)));
        assert_eq!(split.price(Price::whole(2)), Price::whole(20));
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_zero_is_no_ratio() {
        assert_eq!(Split::new(0, 1), None);
        assert_eq!(Split::new(1, 0), None);
        assert_eq!(Split::new(2, 1).unwrap().shares(Quantity(i64::MAX), Quantity(1)), Err(Overflow));
        assert_eq!(Split::new(1, u32::MAX).unwrap().price(Price::UNDEFINED), Price::UNDEFINED);
        assert!(Split::new(1, u32::MAX).unwrap().price(Price(i64::MAX - 1)).is_defined());
    }
}
