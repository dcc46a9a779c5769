//! What can be traded.

use crate::{Price, Quantity};

/// Dense index of an instrument within one run: 0, 1, 2, … Use it as an array index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct InstrumentId(pub u32);

impl InstrumentId {
    /// As an array index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Reference data of one instrument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// Ticker as the venue writes it, without padding.
    pub symbol: String,
    /// Smallest price step.
    pub tick: Price,
    /// Smallest quantity step of an order.
    pub lot: Quantity,
}
