//! State as bytes, and back: what a snapshot is made of.
//!
//! Numbers are little-endian and of fixed size; a list is its length and then its members. What comes back is not
//! trusted: a length that the bytes cannot hold, a variant that does not exist, bytes left over are [`Damaged`], and no
//! more memory is taken than members that were really read. Absent on purpose: names and versions of fields. A snapshot
//! is for the program that wrote it; what lasts is the journal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use crate::{
    Cash, Difference, InstrumentId, Liquidity, Nanos, Order, OrderId, OrderState, Price, Quantity, Side, StrategyId,
    Terms, TimeInForce, TradingStatus,
};

/// Bytes that are no state, and what of it they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged(pub &'static str);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a state: {}", self.0)
    }
}

impl std::error::Error for Damaged {}

/// Bytes being written.
#[derive(Clone, Debug, Default)]
pub struct Save(pub Vec<u8>);

/// Bytes being read.
#[derive(Clone, Debug)]
pub struct Load<'a>(pub &'a [u8]);

impl<'a> Load<'a> {
    /// The next bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Damaged("it ends early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The next bytes, of a number.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Damaged("it ends early"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// How many members follow; each takes a byte at least.
    pub fn count(&mut self) -> Result<usize, Damaged> {
        let count = usize::load(self)?;
        if count > self.0.len() { Err(Damaged("a list is longer than what is left")) } else { Ok(count) }
    }

    /// A value like the one that is there already: a table whose size the configuration says.
    pub fn same<T: Persist>(&mut self, there: &[T]) -> Result<Vec<T>, Damaged> {
        let values = Vec::<T>::load(self)?;
        if values.len() == there.len() { Ok(values) } else { Err(Damaged("a table has another size")) }
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), Damaged> {
        if self.0.is_empty() { Ok(()) } else { Err(Damaged("it goes on behind its end")) }
    }
}

/// A value that a snapshot holds.
pub trait Persist: Sized {
    /// Appends its bytes.
    fn save(&self, save: &mut Save);
    /// Reads what [`Persist::save`] wrote.
    fn load(load: &mut Load<'_>) -> Result<Self, Damaged>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Persist for $number {
            #[inline]
            fn save(&self, save: &mut Save) {
                save.0.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn load(load: &mut Load<'_>) -> Result<Self, Damaged> {
                load.array().map(Self::from_le_bytes)
            }
        }
    )*};
}

numbers!(u8, u32, u64, u128, i64, f64);

/// A struct whose fields are all in the snapshot: `persist!(Type { field, field })`, or `persist!(Type(x))`.
#[macro_export]
macro_rules! persist {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::Persist for $type {
            fn save(&self, save: &mut $crate::Save) {
                let Self { $($field),* } = self;
                $($crate::Persist::save($field, save);)*
            }

            fn load(load: &mut $crate::Load<'_>) -> Result<Self, $crate::Damaged> {
                Ok(Self { $($field: $crate::Persist::load(load)?),* })
            }
        }
    };
    ($type:ident($field:ident)) => {
        impl $crate::Persist for $type {
            fn save(&self, save: &mut $crate::Save) {
                $crate::Persist::save(&self.0, save);
            }

            fn load(load: &mut $crate::Load<'_>) -> Result<Self, $crate::Damaged> {
                $crate::Persist::load(load).map(Self)
            }
        }
    };
    ($type:ident: $($variant:ident)|+) => {
        impl $crate::Persist for $type {
            fn save(&self, save: &mut $crate::Save) {
                // A variant that is not listed does not compile.
                save.0.push(match self { $(Self::$variant => *self as u8,)+ });
            }

            fn load(load: &mut $crate::Load<'_>) -> Result<Self, $crate::Damaged> {
                match <u8 as $crate::Persist>::load(load)? {
                    $(x if x == Self::$variant as u8 => Ok(Self::$variant),)+
                    _ => Err($crate::Damaged(concat!("no such ", stringify!($type)))),
                }
            }
        }
    };
}

persist!(Price(x));
persist!(Quantity(x));
persist!(Cash(x));
persist!(Nanos(x));
persist!(InstrumentId(x));
persist!(OrderId(x));
persist!(StrategyId(x));
persist!(Side: Buy | Sell);
persist!(Liquidity: Maker | Taker);
persist!(TimeInForce: Day | Ioc | Fok | Open | Close);
persist!(TradingStatus: Halted | Paused | QuoteOnly | Trading);
persist!(OrderState:
    New | Accepted | PartlyFilled | Filled | CancelPending | Cancelled | ReplacePending | Rejected | Unknown);
persist!(Terms { post_only, midpoint, display, stop });
persist!(Order { id, strategy, instrument, side, quantity, price, time_in_force, terms });
persist!(Difference { instrument, ours, theirs });

impl Persist for usize {
    fn save(&self, save: &mut Save) {
        (*self as u64).save(save);
    }

    fn load(load: &mut Load<'_>) -> Result<Self, Damaged> {
        Self::try_from(u64::load(load)?).map_err(|_| Damaged("a number is too large for this machine"))
    }
}

impl Persist for bool {
    fn save(&self, save: &mut Save) {
        u8::from(*self).save(save);
    }

    fn load(load: &mut Load<'_>) -> Result<Self, Damaged> {
        match u8::load(load)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged("neither true nor false")),
        }
    }
}

impl<T: Persist> Persist for Option<T> {
    fn save(&self, save: &mut Save) {
        self.is_some().save(save);
        if let Some(value) = self {
            value.save(save);
        }
    }

    fn load(load: &mut Load<'_>) -> Result<Self, Damaged> {
        if bool::load(load)? { T::load(load).map(Some) } else { Ok(None) }
    }
}

impl<A: Persist, B: Persist> Persist for (A, B) {
    fn save(&self, save: &mut Save) {
        self.0.save(save);
        self.1.save(save);
    }

    fn load(load: &mut Load<'_>) -> Result<Self, Damaged> {
        Ok((A::load(load)?, B::load(load)?))
    }
}

impl<A: Persist, B: Persist, C: Persist> Persist for (A, B, C) {
    fn save(&self, save: &mut Save) {
        self.0.save(save);
        self.1.save(save);
        self.2.save(save);
    }

    fn load(load: &mut Load<'_>) -> Result<Self, Damaged> {
        Ok((A::load(load)?, B::load(load)?, C::load(load)?))
    }
}

fn save_all<'a, T: Persist + 'a>(values: impl ExactSizeIterator<Item = &'a T>, save: &mut Save) {
    values.len().save(save);
    values.for_each(|value| value.save(save));
}

impl<T: Persist> Persist for Vec<T> {
    fn save(&self, save: &mut Save) {
        save_all(self.iter(), save);
    }

    fn load(load: &mut Load<'_>) -> Result<Self, Damaged> {
        (0..load.count()?).map(|_| T::load(load)).collect()
    }
}

impl<T: Persist> Persist for VecDeque<T> {
    fn save(&self, save: &mut Save) {
        save_all(self.iter(), save);
    }

    fn load(load: &mut Load<'_>) -> Result<Self, Damaged> {
        Vec::load(load).map(Self::from)
    }
}

impl<T: Persist + Ord> Persist for BTreeSet<T> {
    fn save(&self, save: &mut Save) {
        save_all(self.iter(), save);
    }

    fn load(load: &mut Load<'_>) -> Result<Self, Damaged> {
        (0..load.count()?).map(|_| T::load(load)).collect()
    }
}

impl<K: Persist + Ord, V: Persist> Persist for BTreeMap<K, V> {
    fn save(&self, save: &mut Save) {
        self.len().save(save);
        for (key, value) in self {
            key.save(save);
            value.save(save);
        }
    }

    fn load(load: &mut Load<'_>) -> Result<Self, Damaged> {
        (0..load.count()?).map(|_| Ok((K::load(load)?, V::load(load)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back<T: Persist + PartialEq + fmt::Debug>(value: T) {
        let mut save = Save::default();
        value.save(&mut save);
        let mut load = Load(&save.0);
        assert_eq!(T::load(&mut load).as_ref(), Ok(&value));
        assert_eq!(load.finish(), Ok(()));
        for shorter in 0..save.0.len() {
            assert!(T::load(&mut Load(&save.0[..shorter])).is_err(), "{value:?} out of {shorter} bytes");
        }
    }

    #[test]
    fn values_come_back_and_never_out_of_fewer_bytes() {
        back((u8::MAX, u32::MAX - 1, i64::MIN));
        back((f64::NEG_INFINITY, u128::MAX - 7));
        back(vec![Some(Price(1)), None, Some(Price::UNDEFINED)]);
        back(BTreeMap::from([(OrderId(1), VecDeque::from([true, false])), (OrderId(9), VecDeque::new())]));
        back(BTreeSet::from([Quantity(-1), Quantity(1)]));
        back((Side::Sell, TimeInForce::Close, OrderState::Unknown));
        back((TradingStatus::Halted, Liquidity::Taker));
    }

    #[test]
    fn what_is_no_value_is_damaged() {
        assert!(bool::load(&mut Load(&[2])).is_err());
        assert!(Side::load(&mut Load(&[2])).is_err());
        // A list of more than there can be takes no memory.
        assert!(Vec::<u8>::load(&mut Load(&[0xFF; 8])).is_err());
        assert!(Load(&[0]).finish().is_err());
        assert!(Load(&[1, 0, 0, 0, 0, 0, 0, 0, 5]).same(&[0u8; 2]).is_err());
    }
}
