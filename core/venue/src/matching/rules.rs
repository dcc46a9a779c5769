//! The rules of one instrument: allocation, ticks and lots, price bands.

use helios_types::{Price, Quantity, RejectReason, Side, round_down_to_tick, round_up_to_tick};

/// Who of the orders at one price gets how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// The oldest first.
    #[default]
    PriceTime,
    /// Displayed orders by their displayed size, rounded down to lots; what rounding leaves goes to the oldest first.
    /// With `top_first` the order that made the best price is filled before that.
    ProRata { top_first: bool },
}

/// What happens to an order that may trade beyond the band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// A limit order with a price beyond the band is refused.
    Reject,
    /// It trades up to the band; the rest is cancelled.
    Cancel,
    /// It trades up to the band; the rest of a limit order rests at the band's price.
    Rest,
}

/// Limits of prices in continuous trading: no buy above, no sell below. Market orders trade up to the band.
///
/// The band is `reference` ± `static_ppm` and the last trade ± `dynamic_ppm`, the narrower on each side, as it is before
/// the command acts. Prices of the band are rounded to ticks, inwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bands {
    /// Centre of the static band; [`Price::UNDEFINED`] for none.
    pub reference: Price,
    /// Its half-width in parts per million.
    pub static_ppm: u32,
    /// Half-width of the band around the last trade in parts per million; 0 for none.
    pub dynamic_ppm: u32,
    /// What happens beyond.
    pub beyond: Beyond,
}

/// Rules of one instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Who gets how much.
    pub allocation: Allocation,
    /// Smallest step of a price; zero for any.
    pub tick: Price,
    /// Smallest step of a quantity; zero for any.
    pub lot: Quantity,
    /// Limits of prices.
    pub bands: Option<Bands>,
}

impl Rules {
    pub(super) fn check(&self) -> Result<(), RejectReason> {
        if self.tick.0 < 0 {
            return Err(RejectReason::BadPrice);
        }
        if self.lot.0 < 0 {
            return Err(RejectReason::BadQuantity);
        }
        match self.bands {
            Some(bands) if bands.reference.0 <= 0 || bands.static_ppm >= MILLION || bands.dynamic_ppm >= MILLION => {
                Err(RejectReason::PriceBand)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn are_plain(&self) -> bool {
        self.allocation == Allocation::PriceTime && self.bands.is_none()
    }

    #[inline]
    pub(super) fn price_fits(&self, price: Price) -> bool {
        price.0 > 0 && (self.tick.0 == 0 || !price.is_defined() || price.0 % self.tick.0 == 0)
    }

    #[inline]
    pub(super) fn quantity_fits(&self, quantity: Quantity) -> bool {
        quantity.0 > 0 && (self.lot.0 == 0 || quantity.0 % self.lot.0 == 0)
    }

    /// The worst price at which an order of this side may trade, if there is a band.
    pub(super) fn bound(&self, side: Side, last: Price) -> Option<Price> {
        let bands = self.bands?;
        let fixed = bands.reference.is_defined().then(|| around(side, bands.reference, bands.static_ppm));
        let moving = (bands.dynamic_ppm > 0 && last.is_defined()).then(|| around(side, last, bands.dynamic_ppm));
        let bound = match (fixed, moving) {
            (Some(a), Some(b)) if side == Side::Buy => a.min(b),
            (Some(a), Some(b)) => a.max(b),
            (a, b) => a.or(b)?,
        };
        Some(match side {
            _ if self.tick.0 == 0 => bound,
            Side::Buy => round_down_to_tick(bound, self.tick),
            Side::Sell => round_up_to_tick(bound, self.tick),
        })
    }
}

const MILLION: u32 = 1_000_000;

/// The end of a band on which an order of this side would trade: above for a buy. Rounded inwards.
fn around(side: Side, centre: Price, ppm: u32) -> Price {
    let (centre, million) = (i128::from(centre.0), i128::from(MILLION));
    let end = match side {
        Side::Buy => centre * (million + i128::from(ppm)) / million,
        Side::Sell => (centre * (million - i128::from(ppm)) + million - 1) / million,
    };
    Price(end.clamp(1, i128::from(Price::UNDEFINED.0 - 1)) as i64)
}
