//! Where orders stand: one price-time book per place, and beside it what a book does not know of an order.

use helios_book::{BookError, Books, Capacity, Change, Resting};
use helios_types::{BookRef, Digest, Hasher, InstrumentId, Price, Quantity, RejectReason, Side, Terms, TimeInForce};

use crate::SelfTrade;

/// Where an order works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Place {
    /// In the displayed book; an iceberg with the part that it shows.
    Shown = 0,
    /// In the hidden book.
    Hidden = 1,
    /// Pegged to the midpoint, in the order of time whatever the limits are.
    Pegged = 2,
    /// Asleep until its trigger trades. Ordered by trigger, the nearest first: as the lowest trigger of buys is met first,
    /// they stand on the sell side, and sells on the buy side.
    Stopped = 3,
    /// For the next auction only: on-open orders, and market orders that came before an auction.
    Opening = 4,
    /// On-close orders.
    Closing = 5,
}

pub(super) const PLACES: usize = 6;

impl Place {
    /// All of them.
    pub const ALL: [Self; PLACES] =
        [Self::Shown, Self::Hidden, Self::Pegged, Self::Stopped, Self::Opening, Self::Closing];
}

/// One working order as the engine knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Working {
    /// Where it stands.
    pub place: Place,
    /// Its number.
    pub order: BookRef,
    /// Of what.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// Limit, or [`Price::UNDEFINED`].
    pub price: Price,
    /// All that has not traded.
    pub open: Quantity,
    /// What others see of it now.
    pub shown: Quantity,
    /// What has traded.
    pub filled: Quantity,
    /// How it is worked.
    pub terms: Terms,
    /// How long.
    pub time_in_force: TimeInForce,
    /// Whose it is.
    pub firm: u32,
    /// What it does when it meets its own firm.
    pub self_trade: Option<SelfTrade>,
}

/// What a book does not know of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Detail {
    pub(super) filled: Quantity,
    /// What an iceberg does not show yet.
    pub(super) reserve: Quantity,
    /// As in [`Terms`].
    pub(super) display: Quantity,
    /// Limit of a peg or a stop, whose price in the book is another.
    pub(super) limit: Price,
    pub(super) firm: u32,
    pub(super) self_trade: Option<SelfTrade>,
    pub(super) time_in_force: TimeInForce,
    pub(super) post_only: bool,
}

impl Detail {
    pub(super) const PLAIN: Self = Self {
        filled: Quantity::ZERO,
        reserve: Quantity::ZERO,
        display: Terms::ALL,
        limit: Price::UNDEFINED,
        firm: 0,
        self_trade: None,
        time_in_force: TimeInForce::Day,
        post_only: false,
    };

    /// Whether an order with this detail keeps its instrument from being plain.
    pub(super) fn is_special(&self, place: Place) -> bool {
        match place {
            Place::Shown => self.firm != 0 || self.display != Terms::ALL,
            Place::Hidden | Place::Pegged | Place::Stopped => true,
            // They wait apart, and nothing in continuous trading meets them.
            Place::Opening | Place::Closing => false,
        }
    }
}

/// An order met on a shelf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Met {
    pub(super) place: Place,
    pub(super) resting: Resting,
    pub(super) detail: Detail,
}

impl Met {
    /// All that the order has left.
    pub(super) fn open(&self) -> Quantity {
        Quantity(self.resting.quantity.0 + self.detail.reserve.0)
    }
}

const SEEN: &str = "an order just seen stands where it stood: report this as a bug of the matching engine";

/// One place: a book, and details by the book's slots.
#[derive(Clone)]
pub(super) struct Shelf {
    books: Books,
    details: Vec<Detail>,
}

impl Shelf {
    pub(super) fn new(instruments: usize, capacity: Capacity) -> Self {
        Self { books: Books::new(instruments, capacity), details: Vec::new() }
    }

    #[inline(always)]
    pub(super) fn books(&self) -> &Books {
        &self.books
    }

    #[inline(always)]
    pub(super) fn add(&mut self, resting: &Resting, detail: Detail) -> Result<Change, RejectReason> {
        let Resting { order, instrument, side, price, quantity } = *resting;
        let added = self.books.add_in_slot(instrument, order, side, price, quantity);
        let (change, slot) = added.map_err(reject_reason)?;
        match self.details.get_mut(slot as usize) {
            Some(place) => *place = detail,
            None => self.lengthen(slot, detail),
        }
        Ok(change)
    }

    #[cold]
    fn lengthen(&mut self, slot: u32, detail: Detail) {
        self.details.resize(slot as usize, Detail::PLAIN);
        self.details.push(detail);
    }

    #[inline(always)]
    pub(super) fn get(&self, order: BookRef) -> Option<(Resting, Detail)> {
        let (resting, slot) = self.books.order_in_slot(order)?;
        Some((resting, self.details[slot as usize]))
    }

    pub(super) fn contains(&self, order: BookRef) -> bool {
        !self.books.is_empty() && self.books.order(order).is_some()
    }

    /// Changes what the book does not know.
    pub(super) fn note(&mut self, order: BookRef, change: impl FnOnce(&mut Detail)) {
        if let Some((_, slot)) = self.books.order_in_slot(order) {
            change(&mut self.details[slot as usize]);
        }
    }

    pub(super) fn front(&self, instrument: InstrumentId, side: Side) -> Option<(Resting, Detail)> {
        let (resting, slot) = self.books.front_in_slot(instrument, side)?;
        Some((resting, self.details[slot as usize]))
    }

    #[inline(always)]
    pub(super) fn front_in_slot(&self, instrument: InstrumentId, side: Side) -> Option<(Resting, u32)> {
        self.books.front_in_slot(instrument, side)
    }

    /// Trades some of a displayed order without a reserve.
    #[inline(always)]
    pub(super) fn fill(&mut self, resting: &Resting, slot: u32, quantity: Quantity) {
        if quantity < resting.quantity {
            self.details[slot as usize].filled.0 += quantity.0;
        }
        self.books.reduce_in_slot(slot, quantity).expect(SEEN);
    }

    /// Takes a displayed order without a reserve away, and says what it had.
    #[inline(always)]
    pub(super) fn withdraw(&mut self, instrument: InstrumentId, order: BookRef) -> Option<Quantity> {
        self.books.withdraw(instrument, order).ok().map(|(_, quantity)| quantity)
    }

    pub(super) fn queue(
        &self,
        instrument: InstrumentId,
        side: Side,
        price: Price,
    ) -> impl Iterator<Item = (Resting, Detail)> + '_ {
        self.books.queue_in_slots(instrument, side, price).map(|(resting, slot)| (resting, self.details[slot as usize]))
    }

    /// All orders of one side, best price first, those without a price last.
    pub(super) fn orders(&self, instrument: InstrumentId, side: Side) -> impl Iterator<Item = (Resting, Detail)> + '_ {
        let prices = self.books.depth(instrument, side).map(|level| level.price).chain([Price::UNDEFINED]);
        prices.flat_map(move |price| self.queue(instrument, side, price))
    }

    pub(super) fn reduce(&mut self, resting: &Resting, quantity: Quantity) {
        self.books.reduce(resting.instrument, resting.order, quantity).expect(SEEN);
    }

    pub(super) fn remove(&mut self, resting: &Resting) {
        self.books.remove(resting.instrument, resting.order).expect(SEEN);
    }

    /// False when the level's sum would overflow.
    pub(super) fn refresh(&mut self, resting: &Resting, quantity: Quantity) -> bool {
        self.books.refresh(resting.instrument, resting.order, quantity).is_ok()
    }

    pub(super) fn working(&self, place: Place, order: BookRef) -> Option<Working> {
        let (resting, detail) = self.get(order)?;
        let Resting { instrument, quantity, price, .. } = resting;
        let stopped = place == Place::Stopped;
        let side = if stopped { resting.side.opposite() } else { resting.side };
        let shown = if place == Place::Shown { quantity } else { Quantity::ZERO };
        Some(Working {
            place,
            order,
            instrument,
            side,
            price: if stopped || place == Place::Pegged { detail.limit } else { price },
            open: Quantity(quantity.0 + detail.reserve.0),
            shown,
            filled: detail.filled,
            terms: Terms {
                post_only: detail.post_only,
                midpoint: place == Place::Pegged,
                display: detail.display,
                stop: if stopped { price } else { Price::UNDEFINED },
            },
            time_in_force: detail.time_in_force,
            firm: detail.firm,
            self_trade: detail.self_trade,
        })
    }
}

impl Digest for Shelf {
    fn digest(&self, hasher: &mut Hasher) {
        self.books.digest(hasher);
        for instrument in (0..self.books.instruments() as u32).map(InstrumentId) {
            for side in [Side::Buy, Side::Sell] {
                for (_, detail) in self.orders(instrument, side) {
                    let Detail { filled, reserve, display, limit, firm, self_trade, time_in_force, post_only } = detail;
                    for number in [filled.0, reserve.0, display.0, limit.0] {
                        hasher.i64(number);
                    }
                    let self_trade = self_trade.map_or(0, |mode| mode as u64 + 1);
                    let flags = [self_trade, time_in_force as u64, u64::from(post_only)];
                    flags.into_iter().for_each(|flag| hasher.u64(u64::from(firm) << 8 | flag));
                }
            }
        }
    }
}

pub(super) fn reject_reason(error: BookError) -> RejectReason {
    match error {
        BookError::UnknownOrder | BookError::WrongInstrument => RejectReason::UnknownOrder,
        BookError::DuplicateOrder => RejectReason::DuplicateOrder,
        BookError::ExceedsQuantity | BookError::BadValue => RejectReason::BadQuantity,
        BookError::Full => RejectReason::Full,
    }
}
