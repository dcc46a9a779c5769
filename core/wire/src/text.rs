//! Alpha fields and prices: between the wire's forms and the core's.

use std::fmt;

use helios_types::{PRICE_SCALE, Price};

/// Price units per unit of a wire price with four decimals.
const PRICE4_UNIT: i64 = PRICE_SCALE / 10_000;
const _: () = assert!(PRICE4_UNIT * 10_000 == PRICE_SCALE);

/// A text that an alpha field cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// What was to be written.
    pub text: String,
    /// Bytes of the field.
    pub size: usize,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} does not fit an alpha field: use at most {} ASCII characters", self.text, self.size)
    }
}

impl std::error::Error for TextError {}

/// An alpha field: left-justified, padded right with spaces.
pub fn alpha<const N: usize>(text: &str) -> Result<[u8; N], TextError> {
    if text.len() > N || !text.is_ascii() {
        return Err(TextError { text: text.to_owned(), size: N });
    }
    let mut field = [b' '; N];
    field[..text.len()].copy_from_slice(text.as_bytes());
    Ok(field)
}

/// An alpha field's content: without the spaces on the right.
pub fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &field[..end]
}

/// A wire price with four decimals, of an ITCH message (4 bytes) or an OUCH message (8 bytes);
/// `None` when it does not fit, which no 4-byte price does.
#[inline]
pub fn price4(raw: impl Into<u64>) -> Option<Price> {
    i64::try_from(raw.into()).ok()?.checked_mul(PRICE4_UNIT).map(Price)
}

/// A price with four decimals for the wire; `None` for a negative one and for one with more decimals.
#[inline]
pub fn to_price4(price: Price) -> Option<u64> {
    let exact = price.0 % PRICE4_UNIT == 0;
    if exact { u64::try_from(price.0 / PRICE4_UNIT).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_pads_and_text_strips() {
        assert_eq!(alpha::<8>("AAPL"), Ok(*b"AAPL    "));
        assert_eq!(text(b"AAPL    "), b"AAPL");
        assert_eq!(text(b"  A "), b"  A");
        assert_eq!(text(b"    "), b"");
        assert!(alpha::<4>("ABCDE").is_err());
        assert!(alpha::<4>("\u{e4}").is_err());
    }

    #[test]
    fn prices_are_exact_or_refused() {
        assert_eq!(price4(873_900_u32), Some(Price(87_390_000_000)));
        assert_eq!(price4(u32::MAX).and_then(to_price4), Some(u64::from(u32::MAX)));
        assert_eq!(price4(u64::MAX), None);
        assert_eq!(to_price4(Price(99_999)), None);
        assert_eq!(to_price4(Price(-100_000)), None);
    }
}
