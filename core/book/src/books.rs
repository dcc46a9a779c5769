//! The books themselves: slabs of orders and levels, and the rules that change them.

use std::fmt;

use helios_types::{BookRef, Digest, Hasher, InstrumentId, Price, QualityKind, Quantity, Side, Update};

use crate::index::Index;
use crate::ladder::{Ladder, Rank};

const NONE: u32 = u32::MAX;

/// Stated maximums of the tables; memory grows with use up to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Orders resting at once, all instruments together.
    pub orders: u32,
    /// Price levels at once, all instruments together.
    pub levels: u32,
}

impl Default for Capacity {
    /// A busy whole US equity market rests one to two million orders.
    fn default() -> Self {
        Self { orders: 1 << 23, levels: 1 << 22 }
    }
}

/// One resting order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resting {
    /// Its number on the feed.
    pub order: BookRef,
    /// Of what.
    pub instrument: InstrumentId,
    /// Bid or ask.
    pub side: Side,
    /// Limit; [`Price::UNDEFINED`] for an order without a price.
    pub price: Price,
    /// What remains of it.
    pub quantity: Quantity,
}

/// One price level. An empty one has [`Price::UNDEFINED`] and zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Price.
    pub price: Price,
    /// Sum over its orders.
    pub quantity: Quantity,
    /// Number of orders.
    pub orders: u32,
}

impl Level {
    /// No orders.
    pub const EMPTY: Self = Self { price: Price::UNDEFINED, quantity: Quantity::ZERO, orders: 0 };
}

/// Best bid and best ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    /// Best bid, or [`Level::EMPTY`].
    pub bid: Level,
    /// Best ask, or [`Level::EMPTY`].
    pub ask: Level,
}

impl Top {
    /// Nothing on either side.
    pub const EMPTY: Self = Self { bid: Level::EMPTY, ask: Level::EMPTY };

    /// True when the best bid is at or above the best ask.
    pub fn is_crossed(&self) -> bool {
        self.bid.price.is_defined() && self.ask.price.is_defined() && self.bid.price >= self.ask.price
    }
}

/// What an accepted change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Side of the order touched.
    pub side: Side,
    /// Price of the order touched; the old one for a replace.
    pub price: Price,
    /// True when price, quantity or order count of a best level changed.
    pub top_changed: bool,
}

/// Why a change was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookError {
    /// The order is not in the book.
    UnknownOrder,
    /// The order is already in the book.
    DuplicateOrder,
    /// More is taken than the order has.
    ExceedsQuantity,
    /// The order belongs to another instrument.
    WrongInstrument,
    /// Quantity or price not positive, or a level's sum that does not fit 64 bits.
    BadValue,
    /// A table is full.
    Full,
}

impl BookError {
    /// The same as a data-quality event.
    pub const fn quality(self) -> QualityKind {
        match self {
            Self::UnknownOrder => QualityKind::UnknownOrder,
            Self::DuplicateOrder => QualityKind::DuplicateOrder,
            Self::ExceedsQuantity => QualityKind::ExceedsQuantity,
            Self::WrongInstrument => QualityKind::WrongInstrument,
            Self::BadValue => QualityKind::BadValue,
            Self::Full => QualityKind::Full,
        }
    }
}

impl fmt::Display for BookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownOrder => "the order is not in the book",
            Self::DuplicateOrder => "the order is already in the book",
            Self::ExceedsQuantity => "more is taken than the order has",
            Self::WrongInstrument => "the order belongs to another instrument",
            Self::BadValue => "quantity and price must be positive, and a level's sum must fit 64 bits",
            Self::Full => "the book's table is full: raise its capacity",
        })
    }
}

impl std::error::Error for BookError {}

/// Half a cache line.
#[derive(Clone, Copy)]
struct OrderRecord {
    number: BookRef,
    quantity: i64,
    next: u32,
    prev: u32,
    level: u32,
    /// Instrument and side: `instrument << 1 | side`.
    owner: u32,
}

/// Half a cache line.
#[derive(Clone, Copy)]
struct LevelRecord {
    rank: Rank,
    quantity: i64,
    head: u32,
    tail: u32,
    orders: u32,
    _pad: u32,
}

const _: () = assert!(size_of::<OrderRecord>() == 32 && size_of::<LevelRecord>() == 32);

/// Fixed-size records with a free list; freed slots are reused, last freed first.
struct Slab<T> {
    records: Vec<T>,
    free: Vec<u32>,
    maximum: u32,
}

impl<T: Copy> Slab<T> {
    fn new(maximum: u32) -> Self {
        assert!(maximum < NONE, "capacity must leave room for the empty slot number");
        Self { records: Vec::new(), free: Vec::new(), maximum }
    }

    fn is_full(&self) -> bool {
        self.free.is_empty() && self.records.len() >= self.maximum as usize
    }

    fn insert(&mut self, record: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.records[slot as usize] = record;
            return slot;
        }
        self.records.push(record);
        (self.records.len() - 1) as u32
    }

    fn remove(&mut self, slot: u32) {
        self.free.push(slot);
    }

    fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;
    fn index(&self, slot: u32) -> &T {
        &self.records[slot as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.records[slot as usize]
    }
}

/// Asks the processor to load a cache line; has no effect on any result.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) fn fetch<T>(record: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes no memory; the reference is valid besides.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(record).cast::<i8>());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = record;
}

/// The order books of a whole market.
pub struct Books {
    index: Index,
    orders: Slab<OrderRecord>,
    levels: Slab<LevelRecord>,
    /// `instrument << 1 | side`.
    ladders: Vec<Ladder>,
    tops: Vec<Best>,
}

/// Best levels of both sides, by side, in a cache line of their own.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Best([Level; 2]);

const _: () = assert!(size_of::<Best>() == 64);

impl Books {
    /// Empty books for `instruments` instruments, numbered from zero.
    pub fn new(instruments: usize, capacity: Capacity) -> Self {
        assert!(instruments < (NONE >> 1) as usize, "too many instruments");
        let mut ladders = Vec::new();
        ladders.resize_with(instruments * 2, Ladder::default);
        Self {
            index: Index::new(4096),
            orders: Slab::new(capacity.orders),
            levels: Slab::new(capacity.levels),
            ladders,
            tops: vec![Best([Level::EMPTY; 2]); instruments],
        }
    }

    /// Orders resting now, all instruments.
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// True when no order rests.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Price levels now, all instruments.
    pub fn levels(&self) -> usize {
        self.levels.len()
    }

    /// Loads the lines in which a coming event's order number, best prices and ladders stand; only speed depends on it.
    #[inline(always)]
    pub fn look_far_ahead(&self, instrument: InstrumentId, order: BookRef) {
        self.index.prefetch(order);
        if let Some(best) = self.tops.get(instrument.index()) {
            fetch(best);
        }
        if let Some(ladder) = self.ladders.get(instrument.index() * 2) {
            fetch(ladder);
        }
    }

    /// Loads the record of a coming event's order, some time after [`Books::look_far_ahead`].
    #[inline(always)]
    pub fn look_ahead(&self, order: BookRef) {
        if let Some(record) = self.orders.records.get(self.index.guess(order) as usize) {
            fetch(record);
        }
    }

    /// Applies a normalised event; `None` for events that are not about the book.
    #[inline]
    pub fn apply(&mut self, instrument: InstrumentId, update: &Update) -> Result<Option<Change>, BookError> {
        match *update {
            Update::Add { order, side, price, quantity } => {
                self.add(instrument, order, side, price, quantity).map(Some)
            }
            Update::Execute { order, quantity, .. }
            | Update::ExecuteAt { order, quantity, .. }
            | Update::Reduce { order, quantity } => self.reduce(instrument, order, quantity).map(Some),
            Update::Delete { order } => self.remove(instrument, order).map(Some),
            Update::Replace { order, new_order, price, quantity } => {
                self.replace(instrument, order, new_order, price, quantity).map(Some)
            }
            Update::Clear => {
                self.clear(instrument);
                Ok(None)
            }
            Update::Trade { .. }
            | Update::TradeBreak { .. }
            | Update::Quote { .. }
            | Update::Bar { .. }
            | Update::Status(_) => Ok(None),
        }
    }

    /// Adds an order at the back of its level. `price` [`Price::UNDEFINED`] rests without a price, behind all.
    #[inline]
    pub fn add(
        &mut self,
        instrument: InstrumentId,
        order: BookRef,
        side: Side,
        price: Price,
        quantity: Quantity,
    ) -> Result<Change, BookError> {
        if quantity.0 <= 0 || price.0 <= 0 {
            return Err(BookError::BadValue);
        }
        if self.find(order).is_some() {
            return Err(BookError::DuplicateOrder);
        }
        self.insert(instrument, order, side, price, quantity)
    }

    fn insert(
        &mut self,
        instrument: InstrumentId,
        order: BookRef,
        side: Side,
        price: Price,
        quantity: Quantity,
    ) -> Result<Change, BookError> {
        if self.orders.is_full() || self.levels.is_full() {
            return Err(BookError::Full);
        }
        let owner = instrument.0 << 1 | side as u32;
        let rank = Rank::new(side, price);
        let ladder = self.ladders.get_mut(owner as usize).ok_or(BookError::WrongInstrument)?;
        let level = match ladder.find(rank) {
            Ok(at) => {
                let level = ladder.level_at(at);
                let sum = &mut self.levels[level].quantity;
                *sum = sum.checked_add(quantity.0).ok_or(BookError::BadValue)?;
                level
            }
            Err(at) => {
                let level = self.levels.insert(LevelRecord {
                    rank,
                    quantity: quantity.0,
                    head: NONE,
                    tail: NONE,
                    orders: 0,
                    _pad: 0,
                });
                ladder.insert(at, rank, level);
                level
            }
        };
        let record = &mut self.levels[level];
        let prev = record.tail;
        let slot =
            self.orders.insert(OrderRecord { number: order, quantity: quantity.0, next: NONE, prev, level, owner });
        record.tail = slot;
        record.orders += 1;
        if prev == NONE {
            record.head = slot;
        } else {
            self.orders[prev].next = slot;
        }
        self.index.insert(order, slot);
        let now = Level { price, quantity: Quantity(record.quantity), orders: record.orders };
        let best = &mut self.tops[instrument.index()].0[side as usize];
        let top_changed = price.is_defined() && (!best.price.is_defined() || rank >= Rank::new(side, best.price));
        if top_changed {
            *best = now;
        }
        Ok(Change { side, price, top_changed })
    }

    /// Takes `quantity` from an order, which keeps its place; at zero it is removed.
    #[inline]
    pub fn reduce(
        &mut self,
        instrument: InstrumentId,
        order: BookRef,
        quantity: Quantity,
    ) -> Result<Change, BookError> {
        let (at, slot) = self.own(instrument, order)?;
        let record = &mut self.orders[slot];
        if quantity.0 <= 0 {
            return Err(BookError::BadValue);
        }
        if quantity.0 > record.quantity {
            return Err(BookError::ExceedsQuantity);
        }
        if quantity.0 == record.quantity {
            return Ok(self.unlink(at, slot));
        }
        record.quantity -= quantity.0;
        let side = side_of(record.owner);
        let level = &mut self.levels[record.level];
        level.quantity -= quantity.0;
        let price = level.rank.price(side);
        let best = &mut self.tops[instrument.index()].0[side as usize];
        let top_changed = price.is_defined() && best.price == price;
        if top_changed {
            best.quantity = Quantity(level.quantity);
        }
        Ok(Change { side, price, top_changed })
    }

    /// Removes an order.
    #[inline]
    pub fn remove(&mut self, instrument: InstrumentId, order: BookRef) -> Result<Change, BookError> {
        let (at, slot) = self.own(instrument, order)?;
        Ok(self.unlink(at, slot))
    }

    /// Removes an order and adds another of the same side at the back of its level, even at the same price.
    pub fn replace(
        &mut self,
        instrument: InstrumentId,
        order: BookRef,
        new_order: BookRef,
        price: Price,
        quantity: Quantity,
    ) -> Result<Change, BookError> {
        let (at, slot) = self.own(instrument, order)?;
        if quantity.0 <= 0 || price.0 <= 0 || self.sum_overflows(slot, price, quantity) {
            return Err(BookError::BadValue);
        }
        if new_order != order && self.find(new_order).is_some() {
            return Err(BookError::DuplicateOrder);
        }
        // The removed order's slots are free again, but its level stays taken when others rest there.
        let leaves_level = self.levels[self.orders[slot].level].orders == 1;
        if self.levels.is_full() && !leaves_level {
            return Err(BookError::Full);
        }
        let removed = self.unlink(at, slot);
        let added = self
            .insert(instrument, new_order, removed.side, price, quantity)
            .expect("room and sums were checked before the old order was removed");
        Ok(Change { top_changed: removed.top_changed || added.top_changed, ..removed })
    }

    /// Would adding at `price` on the side of the order in `slot` overflow a level's sum?
    fn sum_overflows(&self, slot: u32, price: Price, quantity: Quantity) -> bool {
        let owner = self.orders[slot].owner;
        let ladder = &self.ladders[owner as usize];
        ladder
            .find(Rank::new(side_of(owner), price))
            .is_ok_and(|at| self.levels[ladder.level_at(at)].quantity.checked_add(quantity.0).is_none())
    }

    #[inline(always)]
    fn find(&self, order: BookRef) -> Option<(usize, u32)> {
        self.index.find(order, |slot| self.orders[slot].number == order)
    }

    /// Finds an order and checks whose it is.
    #[inline(always)]
    fn own(&self, instrument: InstrumentId, order: BookRef) -> Result<(usize, u32), BookError> {
        let (at, slot) = self.find(order).ok_or(BookError::UnknownOrder)?;
        if self.orders[slot].owner >> 1 != instrument.0 {
            return Err(BookError::WrongInstrument);
        }
        Ok((at, slot))
    }

    /// Takes an order out of index, queue and level; an empty level leaves its ladder.
    fn unlink(&mut self, at: usize, slot: u32) -> Change {
        let OrderRecord { quantity, next, prev, level, owner, .. } = self.orders[slot];
        let record = &mut self.levels[level];
        record.quantity -= quantity;
        record.orders -= 1;
        if prev == NONE {
            record.head = next;
        } else {
            self.orders[prev].next = next;
        }
        if next == NONE {
            record.tail = prev;
        } else {
            self.orders[next].prev = prev;
        }
        let (side, rank) = (side_of(owner), record.rank);
        let price = rank.price(side);
        let (quantity, orders) = (Quantity(record.quantity), record.orders);
        let instrument = owner as usize >> 1;
        let top_changed = price.is_defined() && self.tops[instrument].0[side as usize].price == price;
        if orders == 0 {
            debug_assert!(record.quantity == 0 && record.head == NONE && record.tail == NONE);
            self.ladders[owner as usize].remove(rank);
            self.levels.remove(level);
        }
        if top_changed {
            self.tops[instrument].0[side as usize] = match orders {
                0 => self.best_of_ladder(owner),
                _ => Level { price, quantity, orders },
            };
        }
        self.index.remove_at(at);
        self.orders.remove(slot);
        Change { side, price, top_changed }
    }

    /// Forgets every order of an instrument.
    pub fn clear(&mut self, instrument: InstrumentId) {
        for side in [Side::Buy, Side::Sell] {
            while let Some(resting) = self.front(instrument, side) {
                self.remove(instrument, resting.order).expect("the front order is in the book");
            }
        }
    }

    /// One order, wherever it rests.
    pub fn order(&self, order: BookRef) -> Option<Resting> {
        self.find(order).map(|(_, slot)| self.resting(slot))
    }

    fn resting(&self, slot: u32) -> Resting {
        let record = &self.orders[slot];
        let side = side_of(record.owner);
        Resting {
            order: record.number,
            instrument: InstrumentId(record.owner >> 1),
            side,
            price: self.levels[record.level].rank.price(side),
            quantity: Quantity(record.quantity),
        }
    }

    fn ladder(&self, instrument: InstrumentId, side: Side) -> Option<&Ladder> {
        self.ladders.get(instrument.index() * 2 + side as usize)
    }

    fn level(&self, slot: u32, side: Side) -> Level {
        let record = &self.levels[slot];
        Level { price: record.rank.price(side), quantity: Quantity(record.quantity), orders: record.orders }
    }

    /// Best bid and ask. Orders without a price count as absent.
    #[inline]
    pub fn top(&self, instrument: InstrumentId) -> Top {
        self.tops.get(instrument.index()).map_or(Top::EMPTY, |best| Top { bid: best.0[0], ask: best.0[1] })
    }

    /// Best level of one side, or [`Level::EMPTY`].
    #[inline]
    pub fn best(&self, instrument: InstrumentId, side: Side) -> Level {
        self.tops.get(instrument.index()).map_or(Level::EMPTY, |best| best.0[side as usize])
    }

    fn best_of_ladder(&self, owner: u32) -> Level {
        let best = self.ladders[owner as usize].best().map(|rung| self.level(rung.level, side_of(owner)));
        best.filter(|level| level.price.is_defined()).unwrap_or(Level::EMPTY)
    }

    /// Levels of one side, best first, without orders that have no price.
    pub fn depth(&self, instrument: InstrumentId, side: Side) -> impl Iterator<Item = Level> + '_ {
        self.ladder(instrument, side)
            .into_iter()
            .flat_map(Ladder::best_first)
            .map(move |rung| self.level(rung.level, side))
            .filter(|level| level.price.is_defined())
    }

    /// Orders of one level, front of the queue first.
    pub fn queue(&self, instrument: InstrumentId, side: Side, price: Price) -> impl Iterator<Item = Resting> + '_ {
        let head = self.ladder(instrument, side).and_then(|ladder| {
            let at = ladder.find(Rank::new(side, price)).ok()?;
            Some(self.levels[ladder.level_at(at)].head)
        });
        self.chain(head.unwrap_or(NONE)).map(|slot| self.resting(slot))
    }

    fn chain(&self, head: u32) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors((head != NONE).then_some(head), |slot| {
            let next = self.orders[*slot].next;
            (next != NONE).then_some(next)
        })
    }

    /// First order of the best level; of those without a price when there is nothing else.
    pub fn front(&self, instrument: InstrumentId, side: Side) -> Option<Resting> {
        let rung = self.ladder(instrument, side)?.best()?;
        Some(self.resting(self.levels[rung.level].head))
    }
}

#[inline(always)]
fn side_of(owner: u32) -> Side {
    if owner & 1 == 0 { Side::Buy } else { Side::Sell }
}

impl Digest for Books {
    /// Every order in price-time order; slots and table sizes do not count.
    fn digest(&self, hasher: &mut Hasher) {
        for (owner, ladder) in self.ladders.iter().enumerate() {
            let side = side_of(owner as u32);
            for rung in ladder.best_first() {
                for slot in self.chain(self.levels[rung.level].head) {
                    let record = &self.orders[slot];
                    hasher.u64(owner as u64);
                    hasher.i64(rung.rank.price(side).0);
                    hasher.u64(record.number);
                    hasher.i64(record.quantity);
                }
            }
        }
        hasher.u64(self.len() as u64);
    }
}
