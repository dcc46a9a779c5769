//! What can be traded.

use crate::{Cash, Price, Quantity, round_down_to_tick, round_up_to_tick};

/// Dense index of an instrument within one run: 0, 1, 2, … Use it as an array index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct InstrumentId(pub u32);

impl InstrumentId {
    /// No instrument: what is about the money of the whole account.
    pub const NONE: Self = Self(u32::MAX);

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

/// Price steps by the height of the price: below 1.00 a hundredth of a cent, from there on a cent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickTable {
    /// Lowest price of each band, ascending from zero, and its step.
    bands: Vec<(Price, Price)>,
}

/// Bands of one table, at most.
pub const MAX_TICK_BANDS: usize = 64;

impl TickTable {
    /// Lowest price and step of each band. `Err` says what is wrong with it.
    pub fn new(bands: Vec<(Price, Price)>) -> Result<Self, &'static str> {
        let starts_at_zero = bands.first().is_some_and(|(from, _)| from.0 == 0);
        if !starts_at_zero || bands.len() > MAX_TICK_BANDS {
            return Err("a tick table has 1 to 64 bands, and the first begins at zero");
        }
        if bands.iter().any(|(_, tick)| tick.0 <= 0 || !tick.is_defined()) {
            return Err("every tick must be positive");
        }
        if !bands.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err("the bands of a tick table ascend");
        }
        // So a price rounded up out of one band lies on the grid of the next.
        if bands.windows(2).any(|pair| pair[1].0.0 % pair[0].1.0 != 0 || pair[1].0.0 % pair[1].1.0 != 0) {
            return Err("a band begins at a multiple of its own tick and of the tick below it");
        }
        Ok(Self { bands })
    }

    /// The step at a price.
    pub fn at(&self, price: Price) -> Price {
        let above = self.bands.partition_point(|(from, _)| *from <= price);
        self.bands[above.saturating_sub(1)].1
    }

    /// True for a price on the grid.
    pub fn allows(&self, price: Price) -> bool {
        price.0 % self.at(price).0 == 0
    }

    /// The highest price on the grid at or below `price`.
    pub fn down(&self, price: Price) -> Price {
        round_down_to_tick(price, self.at(price))
    }

    /// The lowest price on the grid at or above `price`.
    pub fn up(&self, price: Price) -> Price {
        round_up_to_tick(price, self.at(price))
    }

    /// The price so many steps above one on the grid, below it for a negative number; at least one step above zero.
    pub fn steps(&self, price: Price, count: i64) -> Price {
        let mut price = price;
        for _ in 0..count.unsigned_abs() {
            if count > 0 {
                price = Price(price.0.saturating_add(self.at(price).0));
            } else {
                // Just below a band's beginning the step is that of the band below.
                price = Price(price.0 - self.at(Price(price.0 - 1)).0).max(self.bands[0].1);
            }
        }
        price
    }

    /// The largest step of which all steps of the table are multiples.
    pub fn common(&self) -> Price {
        let gcd = |mut a: i64, mut b: i64| {
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        Price(self.bands.iter().fold(0, |step, (_, tick)| gcd(step, tick.0)))
    }
}

/// What a venue asks of an instrument's orders beyond one tick and one lot. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Price steps by price; the instrument's own tick is then [`TickTable::common`].
    pub ticks: Option<TickTable>,
    /// The least value of an order; zero for none.
    pub min_notional: Cash,
    /// Smallest step of a position after a split, if that is less than the lot of an order: one share where a venue takes
    /// round lots only. Zero: the lot.
    pub unit: Quantity,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CENT: Price = Price(10_000_000);

    fn table() -> TickTable {
        let bands = [(0, 100_000), (1_000_000_000, 10_000_000), (100_000_000_000, 50_000_000)];
        TickTable::new(bands.map(|(from, tick)| (Price(from), Price(tick))).to_vec()).unwrap()
    }

    #[test]
    fn the_step_is_that_of_the_band() {
        let table = table();
        for (price, tick) in [(1, 100_000), (999_999_999, 100_000), (1_000_000_000, 10_000_000)] {
            assert_eq!(table.at(Price(price)), Price(tick), "{price}");
        }
        assert!(table.allows(Price(999_900_000)) && !table.allows(Price(1_000_100_000)));
        assert!(table.allows(Price(100_050_000_000)) && !table.allows(Price(100_010_000_000)));
        assert_eq!(table.common(), Price(100_000));
    }

    #[test]
    fn rounding_ends_on_the_grid_of_the_band_where_it_ends() {
        let table = table();
        assert_eq!(table.up(Price(999_999_999)), Price::whole(1));
        assert_eq!(table.up(Price(99_999_000_000)), Price::whole(100));
        assert_eq!(table.down(Price(100_049_000_000)), Price::whole(100));
    }

    #[test]
    fn steps_cross_bands() {
        let table = table();
        assert_eq!(table.steps(Price(999_900_000), 2), Price(1_010_000_000));
        assert_eq!(table.steps(Price(1_010_000_000), -2), Price(999_900_000));
        assert_eq!(table.steps(Price::whole(100), 1), Price(100_050_000_000));
        assert_eq!(table.steps(Price(200_000), -5), Price(100_000));
    }

    #[test]
    fn a_table_that_cannot_be_is_refused() {
        for (bands, why) in [
            (vec![], "first begins at zero"),
            (vec![(CENT, CENT)], "first begins at zero"),
            (vec![(Price::ZERO, Price::ZERO)], "positive"),
            (vec![(Price::ZERO, CENT), (Price::ZERO, CENT)], "ascend"),
            (vec![(Price::ZERO, CENT), (Price(15_000_000), CENT)], "multiple"),
        ] {
            let error = TickTable::new(bands).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
