//! Price, quantity and cash: i64 with a stated scale, i128 in between.

use std::fmt;

/// Price units per currency unit: a [`Price`] of 1.00 is `1_000_000_000`.
pub const PRICE_SCALE: i64 = 1_000_000_000;
/// Quantity units per share or contract: a [`Quantity`] of 1 is `100_000_000`.
pub const QUANTITY_SCALE: i64 = 100_000_000;
/// Cash units per currency unit: a [`Cash`] of 1.00 is `1_000_000`.
pub const CASH_SCALE: i64 = 1_000_000;

/// price unit x quantity unit -> cash unit: 1e-9 * 1e-8 = 1e-17, cash is 1e-6.
const NOTIONAL_DIVISOR: i128 = (PRICE_SCALE as i128) * (QUANTITY_SCALE as i128) / (CASH_SCALE as i128);
const _: () = assert!(NOTIONAL_DIVISOR == 100_000_000_000);

/// A result did not fit its scale. The world's numbers were too large; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a price, quantity or cash amount does not fit 64 bits at its scale")
    }
}

impl std::error::Error for Overflow {}

macro_rules! scaled {
    ($(#[$doc:meta])* $name:ident, $scale:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);

            /// A whole number of units, for example shares or dollars.
            pub const fn whole(n: i64) -> Self {
                Self(n * $scale)
            }

            /// Nearest representable value; `None` for NaN, infinities and what does not fit.
            pub fn from_f64(x: f64) -> Option<Self> {
                let scaled = (x * $scale as f64).round();
                // i64::MAX as f64 rounds up to 2^63, which does not fit: strict comparison.
                (scaled.abs() < i64::MAX as f64).then_some(Self(scaled as i64))
            }

            /// For signals, reports and people. Never for money that is kept.
            pub fn to_f64(self) -> f64 {
                self.0 as f64 / $scale as f64
            }

            /// Sum, or [`Overflow`].
            pub const fn add(self, other: Self) -> Result<Self, Overflow> {
                match self.0.checked_add(other.0) {
                    Some(x) => Ok(Self(x)),
                    None => Err(Overflow),
                }
            }

            /// Difference, or [`Overflow`].
            pub const fn sub(self, other: Self) -> Result<Self, Overflow> {
                match self.0.checked_sub(other.0) {
                    Some(x) => Ok(Self(x)),
                    None => Err(Overflow),
                }
            }

            /// The value without its sign; saturates at the scale's end.
            pub const fn abs(self) -> Self {
                Self(self.0.saturating_abs())
            }

            /// The value with the other sign; saturates at the scale's end.
            pub const fn neg(self) -> Self {
                Self(self.0.saturating_neg())
            }

            /// True for exactly zero.
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_scaled(f, self.0, $scale)
            }
        }
    };
}

scaled!(
    /// Price of one share or contract, i64 at 1e-9 currency units.
    Price, PRICE_SCALE
);
scaled!(
    /// Shares, contracts or coins, i64 at 1e-8. Positions are signed; order quantities are positive.
    Quantity, QUANTITY_SCALE
);
scaled!(
    /// Money, i64 at 1e-6 currency units.
    Cash, CASH_SCALE
);

impl Price {
    /// No price: an empty side of a quote, or an order without a limit (a market order).
    pub const UNDEFINED: Self = Self(i64::MAX);

    /// True unless this is [`Price::UNDEFINED`].
    pub const fn is_defined(self) -> bool {
        self.0 != i64::MAX
    }
}

/// Exact decimal text with trailing zeros removed: 12.5, -0.01, 100.
fn write_scaled(f: &mut fmt::Formatter<'_>, value: i64, scale: i64) -> fmt::Result {
    let (whole, fraction) = (value.unsigned_abs() / scale as u64, value.unsigned_abs() % scale as u64);
    let sign = if value < 0 { "-" } else { "" };
    if fraction == 0 {
        return write!(f, "{sign}{whole}");
    }
    let digits = format!("{:0width$}", fraction, width = scale.ilog10() as usize);
    write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// `price * quantity` as cash, rounded to the nearest cash unit, halves away from zero.
#[inline]
pub fn notional(price: Price, quantity: Quantity) -> Result<Cash, Overflow> {
    // The divisor's powers of two go first: amounts up to some 370,000 are then divided in 64 bits, by a constant.
    const TWOS: u32 = NOTIONAL_DIVISOR.trailing_zeros();
    const REST: u64 = (NOTIONAL_DIVISOR >> TWOS) as u64;
    let product = i128::from(price.0) * i128::from(quantity.0);
    let halves = (product.unsigned_abs() + NOTIONAL_DIVISOR as u128 / 2) >> TWOS;
    let amount = match u64::try_from(halves) {
        Ok(narrow) => (narrow / REST) as i64,
        Err(_) => large_amount(halves / u128::from(REST), product < 0)?,
    };
    Ok(Cash(if product < 0 { amount.wrapping_neg() } else { amount }))
}

/// An amount without its sign, as 64 bits; the lowest number is its own opposite.
#[cold]
fn large_amount(amount: u128, negative: bool) -> Result<i64, Overflow> {
    match i64::try_from(amount) {
        Ok(amount) => Ok(amount),
        Err(_) if negative && amount == 1 << 63 => Ok(i64::MIN),
        Err(_) => Err(Overflow),
    }
}

/// The highest tick at or below `price`. `tick` must be positive.
pub fn round_down_to_tick(price: Price, tick: Price) -> Price {
    assert!(tick.0 > 0, "tick must be positive: check the instrument definition");
    Price(price.0.div_euclid(tick.0) * tick.0)
}

/// The lowest tick at or above `price`; saturates at the scale's end. `tick` must be positive.
pub fn round_up_to_tick(price: Price, tick: Price) -> Price {
    let down = round_down_to_tick(price, tick);
    if down == price { price } else { Price(down.0.saturating_add(tick.0)) }
}

/// Towards zero to a multiple of `lot`, so that a rounded position is never larger than the one asked for.
pub fn round_down_to_lot(quantity: Quantity, lot: Quantity) -> Quantity {
    assert!(lot.0 > 0, "lot must be positive: check the instrument definition");
    Quantity(quantity.0 / lot.0 * lot.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notional_is_exact_for_cents_and_shares() {
        assert_eq!(notional(Price(123_450_000_000), Quantity::whole(100)), Ok(Cash::whole(12_345)));
        assert_eq!(notional(Price(-10_000_000), Quantity::whole(3)), Ok(Cash(-30_000)));
    }

    #[test]
    fn notional_is_the_exact_product_rounded() {
        let exact = |price: i64, quantity: i64| {
            let product = i128::from(price) * i128::from(quantity);
            let away = if product < 0 { -NOTIONAL_DIVISOR / 2 } else { NOTIONAL_DIVISOR / 2 };
            i64::try_from((product + away) / NOTIONAL_DIVISOR).map(Cash).map_err(|_| Overflow)
        };
        let mut rng = crate::Rng::new(7);
        // Numbers of every length, so that products fall on both sides of every limit.
        let mut number = || {
            let size = (rng.next_u64() >> rng.below(64)) as i64;
            if rng.below(2) == 0 { size } else { size.wrapping_neg() }
        };
        for _ in 0..100_000 {
            let (price, quantity) = (number(), number());
            assert_eq!(notional(Price(price), Quantity(quantity)), exact(price, quantity), "{price} * {quantity}");
        }
        for lowest in [92_233_720_368_547_758_079, 92_233_720_368_547_758_080, 92_233_720_368_547_758_081i128] {
            // Around the lowest amount: price * 10^10 / 10^11.
            let price = i64::try_from(-lowest / 1_000_000_000_000).unwrap();
            assert_eq!(notional(Price(price), Quantity(i64::MAX)), exact(price, i64::MAX), "{price}");
        }
    }

    #[test]
    fn notional_rounds_alike_in_64_and_in_128_bits() {
        // The first of each pair fits 64 bits, the second is the same amount beyond them.
        let half = NOTIONAL_DIVISOR as i64 / 2;
        for (product, cash) in [(half - 1, 0), (half, 1), (-half, -1), (1 - half, 0), (3 * half, 2)] {
            assert_eq!(notional(Price(product), Quantity(1)), Ok(Cash(cash)), "{product}");
            assert_eq!(notional(Price(product), Quantity(200_000_000_001)), {
                let exact = i128::from(product) * 200_000_000_001;
                let away = if exact < 0 { -i128::from(half) } else { i128::from(half) };
                Ok(Cash(((exact + away) / NOTIONAL_DIVISOR) as i64))
            });
        }
    }

    #[test]
    fn notional_reports_overflow() {
        assert_eq!(notional(Price(i64::MAX), Quantity(i64::MAX)), Err(Overflow));
        assert_eq!(Price(i64::MAX).add(Price(1)), Err(Overflow));
    }

    #[test]
    fn text_is_exact() {
        assert_eq!(Price(1_500_000_000).to_string(), "1.5");
        assert_eq!(Cash(-10_000).to_string(), "-0.01");
        assert_eq!(Quantity::whole(7).to_string(), "7");
    }

    #[test]
    fn ticks_round_towards_minus_infinity_and_lots_towards_zero() {
        let cent = Price(10_000_000);
        assert_eq!(round_down_to_tick(Price(-1), cent), Price(-10_000_000));
        assert_eq!(round_up_to_tick(Price(1), cent), cent);
        assert_eq!(round_down_to_lot(Quantity(-250_000_000), Quantity::whole(1)), Quantity::whole(-2));
    }

    #[test]
    fn floats_that_do_not_fit_are_refused() {
        assert_eq!(Price::from_f64(f64::NAN), None);
        assert_eq!(Price::from_f64(f64::INFINITY), None);
        assert_eq!(Price::from_f64(1e10), None);
        assert_eq!(Price::from_f64(12.34), Some(Price(12_340_000_000)));
    }
}
