//! The books themselves: slabs of orders and levels, and the rules that change them.

use std::fmt;
use std::hint::select_unpredictable;

use helios_types::{
    BookRef, Damaged, Digest, Hasher, InstrumentId, Load, Persist, Price, QualityKind, Quantity, Save, Side, TradeKind,
    Update,
};

use crate::index::Index;
use crate::ladder::{Ladder, Rank};

/// Empty levels that may wait before they are swept away.
const MOST_EMPTY: u32 = 1 << 12;

/// No slot.
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

    /// Writes the level anew, or as it is: whether a change is about the best level is not predictable.
    #[inline(always)]
    fn set_if(&mut self, condition: bool, price: Price, quantity: i64, orders: u32) {
        self.price.0 = select_unpredictable(condition, price.0, self.price.0);
        self.quantity.0 = select_unpredictable(condition, quantity, self.quantity.0);
        self.orders = select_unpredictable(condition, orders, self.orders);
    }
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

/// An order or a price level; half a cache line. A level closes the ring of its orders' queue, so that an order at
/// either end is linked and unlinked as one in the middle: where an order stands is not predictable.
#[derive(Clone, Copy)]
struct Node {
    /// An order's number; a level's rank.
    key: u64,
    /// What remains of an order; a level's sum.
    quantity: i64,
    /// The order behind; a level's first.
    next: u32,
    /// The order before; a level's last.
    prev: u32,
    /// An order's level; a level's number of orders.
    level_or_count: u32,
    /// Instrument and side: `instrument << 1 | side`.
    owner: u32,
}

const _: () = assert!(size_of::<Node>() == 32);

/// Nodes with a free list; freed slots are reused, last freed first. How many there may be is the caller's to know.
#[derive(Clone, Default)]
struct Slab {
    nodes: Vec<Node>,
    free: Vec<u32>,
}

impl Slab {
    /// A free slot; its contents are to be written.
    #[inline(always)]
    fn take(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        self.nodes.push(Node { key: 0, quantity: 0, next: NONE, prev: NONE, level_or_count: 0, owner: 0 });
        (self.nodes.len() - 1) as u32
    }

    /// The node in a slot, to be loaded ahead. For a slot beyond it is the last node, so that a number that does not
    /// rest yet, as unpredictable as a coin, is no branch.
    #[inline(always)]
    fn guess(&self, slot: u32) -> Option<&Node> {
        self.nodes.get((slot as usize).min(self.nodes.len().wrapping_sub(1)))
    }

    #[inline(always)]
    fn give_back(&mut self, slot: u32) {
        self.free.push(slot);
    }
}

impl std::ops::Index<u32> for Slab {
    type Output = Node;
    #[inline(always)]
    fn index(&self, slot: u32) -> &Node {
        &self.nodes[slot as usize]
    }
}

impl std::ops::IndexMut<u32> for Slab {
    #[inline(always)]
    fn index_mut(&mut self, slot: u32) -> &mut Node {
        &mut self.nodes[slot as usize]
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

/// The order books of a whole market. A clone goes its own way.
#[derive(Clone)]
pub struct Books {
    index: Index,
    /// Levels without orders, by side and price.
    prices: Index,
    nodes: Slab,
    orders: u32,
    levels: u32,
    /// How many of the levels without orders are empty, and wait for their size to come back.
    empty: u32,
    capacity: Capacity,
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
        let slots = u64::from(capacity.orders) + u64::from(capacity.levels);
        assert!(slots < u64::from(NONE), "capacity: orders and levels together must stay below {NONE}");
        let mut ladders = Vec::new();
        ladders.resize_with(instruments * 2, Ladder::default);
        Self {
            index: Index::new(4096),
            prices: Index::new(64),
            nodes: Slab::default(),
            orders: 0,
            levels: 0,
            empty: 0,
            capacity,
            ladders,
            tops: vec![Best([Level::EMPTY; 2]); instruments],
        }
    }

    /// How many instruments there is room for.
    pub fn instruments(&self) -> usize {
        self.tops.len()
    }

    /// Orders resting now, all instruments.
    pub fn len(&self) -> usize {
        self.orders as usize
    }

    /// True when no order rests.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Price levels now, all instruments.
    pub fn levels(&self) -> usize {
        (self.levels - self.empty) as usize
    }

    /// Loads the lines in which a coming event's order number, best prices and ladders stand; only speed depends on it.
    #[inline(always)]
    pub fn look_far_ahead(&self, instrument: InstrumentId, order: BookRef) {
        self.index.prefetch(order);
        if let Some(best) = self.tops.get(instrument.index()) {
            fetch(best);
        }
        let owner = instrument.index() * 2;
        if let Some([bids, asks]) = self.ladders.get(owner..owner + 2) {
            bids.fetch();
            asks.fetch();
        }
    }

    /// Loads the record of a coming event's order, some time after [`Books::look_far_ahead`].
    #[inline(always)]
    pub fn look_ahead(&self, order: BookRef) {
        if let Some(node) = self.nodes.guess(self.index.guess(order)) {
            fetch(node);
        }
    }

    /// Loads the level of a coming event's order, some time after [`Books::look_ahead`].
    #[inline(always)]
    pub fn look_close_ahead(&self, order: BookRef) {
        let node = self.nodes.guess(self.index.guess(order));
        if let Some(level) = node.and_then(|node| self.nodes.guess(node.level_or_count)) {
            fetch(level);
        }
    }

    /// Applies a normalised event; `None` for events that are not about the book.
    #[inline(always)]
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
            Update::Depth { side, price, quantity } => self.set_level(instrument, side, price, quantity).map(Some),
            Update::Clear => {
                self.clear(instrument);
                Ok(None)
            }
            Update::Trade { price, quantity, aggressor, kind: TradeKind::Displayed, .. } => {
                let aggressor = aggressor.ok_or(BookError::BadValue)?;
                self.trade(instrument, aggressor.opposite(), price, quantity).map(Some)
            }
            Update::Trade { .. }
            | Update::TradeBreak { .. }
            | Update::Quote { .. }
            | Update::Bar { .. }
            | Update::Status(_)
            | Update::Value(_)
            | Update::Split { .. }
            | Update::Dividend { .. } => Ok(None),
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
        let mut slot = NONE;
        self.add_at(instrument, order, side, price, quantity, &mut slot)
    }

    /// As [`Books::add`]; says the order's slot too: a small number that is the order's as long as it rests, for tables
    /// beside the book.
    #[inline(always)]
    pub fn add_in_slot(
        &mut self,
        instrument: InstrumentId,
        order: BookRef,
        side: Side,
        price: Price,
        quantity: Quantity,
    ) -> Result<(Change, u32), BookError> {
        let mut slot = NONE;
        let change = self.add_at(instrument, order, side, price, quantity, &mut slot)?;
        Ok((change, slot))
    }

    /// Writes the slot beside the result: taking a pair apart again stalls on bytes that were just stored.
    #[inline(always)]
    fn add_at(
        &mut self,
        instrument: InstrumentId,
        order: BookRef,
        side: Side,
        price: Price,
        quantity: Quantity,
        slot: &mut u32,
    ) -> Result<Change, BookError> {
        if quantity.0 <= 0 || price.0 <= 0 {
            return Err(BookError::BadValue);
        }
        self.index.reserve();
        let Err(at) = self.find(order) else { return Err(BookError::DuplicateOrder) };
        if self.orders == self.capacity.orders || self.levels == self.capacity.levels {
            return Err(BookError::Full);
        }
        let (taken, top_changed) = self.enqueue(instrument, order, side, price, quantity)?;
        self.index.put(at, order, taken);
        *slot = taken;
        Ok(Change { side, price, top_changed })
    }

    /// Why an order could not be added now, its number aside.
    pub fn room(
        &self,
        instrument: InstrumentId,
        side: Side,
        price: Price,
        quantity: Quantity,
    ) -> Result<(), BookError> {
        let ladder = self.ladder(instrument, side).ok_or(BookError::WrongInstrument)?;
        if self.orders == self.capacity.orders || self.levels == self.capacity.levels {
            return Err(BookError::Full);
        }
        let sum = ladder.find(Rank::new(side, price)).map_or(0, |at| self.nodes[ladder.level_at(at)].quantity);
        sum.checked_add(quantity.0).map(drop).ok_or(BookError::BadValue)
    }

    /// Puts an order at the back of its level with a new quantity, as a reserve order that shows its next part.
    pub fn refresh(
        &mut self,
        instrument: InstrumentId,
        order: BookRef,
        quantity: Quantity,
    ) -> Result<Change, BookError> {
        let (_, slot) = self.own(instrument, order)?;
        let Node { quantity: old, next, prev, level_or_count: level, owner, .. } = self.nodes[slot];
        let sum = self.nodes[level].quantity - old;
        let sum = sum.checked_add(quantity.0).filter(|_| quantity.0 > 0).ok_or(BookError::BadValue)?;
        self.nodes[prev].next = next;
        self.nodes[next].prev = prev;
        let last = self.nodes[level].prev;
        self.nodes[last].next = slot;
        self.nodes[level].prev = slot;
        self.nodes[level].quantity = sum;
        let node = &mut self.nodes[slot];
        (node.next, node.prev, node.quantity) = (level, last, quantity.0);
        let (side, price) = (side_of(owner), self.level(level).price);
        let best = &mut self.tops[instrument.index()].0[side as usize];
        let top_changed = price.is_defined() & (best.price == price);
        best.quantity.0 = select_unpredictable(top_changed, sum, best.quantity.0);
        Ok(Change { side, price, top_changed })
    }

    /// Puts an order at the back of its level, which is made if need be; the index is the caller's. Returns its slot
    /// and whether a best level changed.
    #[inline(always)]
    fn enqueue(
        &mut self,
        instrument: InstrumentId,
        order: BookRef,
        side: Side,
        price: Price,
        quantity: Quantity,
    ) -> Result<(u32, bool), BookError> {
        let owner = instrument.0 << 1 | side as u32;
        let rank = Rank::new(side, price);
        let ladder = self.ladders.get_mut(owner as usize).ok_or(BookError::WrongInstrument)?;
        let (at, level) = match ladder.find(rank) {
            Ok(at) => (at, ladder.level_at(at)),
            Err(at) => {
                let level = self.nodes.take();
                let empty =
                    Node { key: rank.to_key(), quantity: 0, next: level, prev: level, level_or_count: 0, owner };
                self.nodes[level] = empty;
                self.levels += 1;
                ladder.insert(at, rank, level);
                (at, level)
            }
        };
        let ring = &self.nodes[level];
        // A level that stands alone, without orders, takes none.
        let alone = (ring.next == level) & (ring.level_or_count != 0);
        let sum = ring.quantity.checked_add(quantity.0).filter(|_| !alone).ok_or(BookError::BadValue)?;
        let slot = self.nodes.take();
        self.orders += 1;
        let ring = &mut self.nodes[level];
        ring.quantity = sum;
        ring.level_or_count += 1;
        let orders = ring.level_or_count;
        let prev = std::mem::replace(&mut ring.prev, slot);
        self.nodes[prev].next = slot;
        self.nodes[slot] = Node { key: order, quantity: quantity.0, next: level, prev, level_or_count: level, owner };
        let best = &mut self.tops[instrument.index()].0[side as usize];
        let top_changed = (at == 0) & price.is_defined();
        best.set_if(top_changed, price, sum, orders);
        Ok((slot, top_changed))
    }

    /// Sets the total of a level of a feed without single orders; zero takes the level away. A level that crosses shows
    /// that what it crosses on the other side is no more: those levels are taken away too.
    ///
    /// A level is either this or made of orders; a book that mixes both is refused.
    #[inline(never)]
    pub fn set_level(
        &mut self,
        instrument: InstrumentId,
        side: Side,
        price: Price,
        quantity: Quantity,
    ) -> Result<Change, BookError> {
        if quantity.0 < 0 || price.0 <= 0 || !price.is_defined() {
            return Err(BookError::BadValue);
        }
        let owner = instrument.0 << 1 | side as u32;
        let rank = Rank::new(side, price);
        if let Ok((at, level)) = self.find_level(owner, rank) {
            let best = &mut self.tops[instrument.index()].0[side as usize];
            let top_changed = best.price == price;
            if top_changed && quantity.0 == 0 {
                self.drop_best(at, level);
            } else {
                // Behind the best an empty level keeps its place: most come back.
                let before = std::mem::replace(&mut self.nodes[level].quantity, quantity.0);
                self.empty = self.empty + u32::from(quantity.0 == 0) - u32::from(before == 0);
                best.quantity.0 = select_unpredictable(top_changed, quantity.0, best.quantity.0);
            }
            return Ok(Change { side, price, top_changed });
        }
        match self.ladders.get(owner as usize).ok_or(BookError::WrongInstrument)?.find(rank) {
            Ok(_) => Err(BookError::BadValue),
            Err(_) if quantity.0 == 0 => Ok(Change { side, price, top_changed: false }),
            Err(_) if self.levels() == self.capacity.levels as usize => Err(BookError::Full),
            Err(_)
                if self.empty > MOST_EMPTY && self.empty > self.levels / 2 || self.levels == self.capacity.levels =>
            {
                self.sweep();
                self.set_level(instrument, side, price, quantity)
            }
            Err(at) => {
                if at == 0 {
                    self.uncross(instrument, side, price)?;
                }
                self.new_level(owner, rank, at, quantity);
                let best = &mut self.tops[instrument.index()].0[side as usize];
                best.set_if(at == 0, price, quantity.0, 1);
                Ok(Change { side, price, top_changed: at == 0 })
            }
        }
    }

    /// Where a level without orders is known by its price, and its slot.
    #[inline(always)]
    fn find_level(&self, owner: u32, rank: Rank) -> Result<(usize, u32), usize> {
        let key = rank.to_key();
        self.prices.find(mix(owner, key), |slot| (self.nodes[slot].key, self.nodes[slot].owner) == (key, owner))
    }

    /// Puts a level without orders at its place on the ladder.
    fn new_level(&mut self, owner: u32, rank: Rank, at: usize, quantity: Quantity) {
        let (level, key) = (self.nodes.take(), rank.to_key());
        self.nodes[level] = Node { key, quantity: quantity.0, next: level, prev: level, level_or_count: 1, owner };
        self.levels += 1;
        self.ladders[owner as usize].insert(at, rank, level);
        self.prices.insert(mix(owner, key), level);
    }

    /// Takes away the levels that a new best level of the other side shows to be gone; refused when they hold orders.
    #[inline]
    fn uncross(&mut self, instrument: InstrumentId, side: Side, price: Price) -> Result<(), BookError> {
        let owner = instrument.0 << 1 | side.opposite() as u32;
        let crossed = |level: &Level| match side {
            Side::Buy => level.price <= price,
            Side::Sell => level.price.is_defined() && level.price >= price,
        };
        while let Some(level) = self.ladders[owner as usize].best()
            && crossed(&self.level(level))
        {
            let rank = Rank::from_key(self.nodes[level].key);
            let (at, _) = self.find_level(owner, rank).map_err(|_| BookError::BadValue)?;
            self.drop_best(at, level);
        }
        Ok(())
    }

    /// Takes away the best level of a side, one without orders, which the price index holds at `at`; and empty ones that
    /// would be the best after it: what is empty never ranks first.
    fn drop_best(&mut self, at: usize, level: u32) {
        let owner = self.nodes[level].owner;
        self.drop_level(at, level);
        self.drop_empty(owner);
        self.tops[owner as usize >> 1].0[side_of(owner) as usize] = self.best_of_ladder(owner);
    }

    /// Takes away empty levels that have become the best.
    #[inline(never)]
    fn drop_empty(&mut self, owner: u32) {
        while let Some(level) = self.ladders[owner as usize].best()
            && self.nodes[level].quantity == 0
        {
            self.empty -= 1;
            self.drop_known(owner, level);
        }
    }

    /// Takes a level without orders out of index, ladder and table; the best level is the caller's.
    fn drop_level(&mut self, at: usize, level: u32) {
        let Node { key, owner, .. } = self.nodes[level];
        self.prices.remove_at(at);
        self.ladders[owner as usize].remove(Rank::from_key(key));
        self.nodes.give_back(level);
        self.levels -= 1;
    }

    fn drop_known(&mut self, owner: u32, level: u32) {
        let rank = Rank::from_key(self.nodes[level].key);
        let (at, _) = self.find_level(owner, rank).expect("a level without orders is known by its price");
        self.drop_level(at, level);
    }

    /// Takes away all levels that are empty.
    #[cold]
    fn sweep(&mut self) {
        for owner in 0..self.ladders.len() {
            let empty: Vec<u32> =
                self.ladders[owner].best_first().filter(|level| self.nodes[*level].quantity == 0).collect();
            for level in empty {
                self.drop_known(owner as u32, level);
            }
        }
        self.empty = 0;
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
        if quantity.0 <= 0 {
            return Err(BookError::BadValue);
        }
        let had = self.nodes[slot].quantity;
        if quantity.0 > had {
            return Err(BookError::ExceedsQuantity);
        }
        if quantity.0 == had {
            return Ok(self.unlink(at, slot));
        }
        Ok(self.lessen(slot, quantity))
    }

    /// As [`Books::reduce`], of an order in a slot that was just seen: the index is only asked when the order goes.
    #[inline]
    pub fn reduce_in_slot(&mut self, slot: u32, quantity: Quantity) -> Result<Change, BookError> {
        let Node { key, quantity: had, .. } = self.nodes[slot];
        if quantity.0 <= 0 || quantity.0 > had {
            return Err(BookError::ExceedsQuantity);
        }
        if quantity.0 < had {
            return Ok(self.lessen(slot, quantity));
        }
        let (at, _) = self.find(key).map_err(|_| BookError::UnknownOrder)?;
        Ok(self.unlink(at, slot))
    }

    /// Takes less than all from an order.
    #[inline(always)]
    fn lessen(&mut self, slot: u32, quantity: Quantity) -> Change {
        let node = &mut self.nodes[slot];
        node.quantity -= quantity.0;
        let (owner, level) = (node.owner, node.level_or_count);
        let level = &mut self.nodes[level];
        level.quantity -= quantity.0;
        let side = side_of(owner);
        let price = Rank::from_key(level.key).price(side);
        let best = &mut self.tops[owner as usize >> 1].0[side as usize];
        let top_changed = price.is_defined() & (best.price == price);
        if top_changed {
            best.quantity = Quantity(level.quantity);
        }
        Change { side, price, top_changed }
    }

    /// Takes `quantity` from the orders of a side, first in first out, at prices up to `limit`. Refused whole when they
    /// have less: as an unknown order when there is none at all, and levels without single orders have none.
    #[inline(never)]
    pub fn trade(
        &mut self,
        instrument: InstrumentId,
        side: Side,
        limit: Price,
        quantity: Quantity,
    ) -> Result<Change, BookError> {
        if quantity.0 <= 0 || limit.0 <= 0 || !limit.is_defined() {
            return Err(BookError::BadValue);
        }
        let there = self.displayed(instrument, side, limit, quantity);
        if there < quantity {
            return Err(if there.is_zero() { BookError::UnknownOrder } else { BookError::ExceedsQuantity });
        }
        let (mut left, mut top_changed) = (quantity, false);
        loop {
            let front = self.front(instrument, side).expect("as much was just seen in the book");
            let taken = left.min(front.quantity);
            let change = self.reduce(instrument, front.order, taken)?;
            top_changed |= change.top_changed;
            left.0 -= taken.0;
            if left.is_zero() {
                return Ok(Change { top_changed, ..change });
            }
        }
    }

    /// What single orders of a side show up to `limit`, counted no further than `enough`.
    fn displayed(&self, instrument: InstrumentId, side: Side, limit: Price, enough: Quantity) -> Quantity {
        let worst = Rank::new(side, limit);
        let levels = self.ladder(instrument, side).into_iter().flat_map(Ladder::best_first);
        let (mut sum, mut levels) = (0i64, levels.map(|level| &self.nodes[level]));
        while sum < enough.0
            && let Some(level) = levels.next()
            && Rank::from_key(level.key) >= worst
            && level.level_or_count > 0
        {
            sum = sum.saturating_add(level.quantity);
        }
        Quantity(sum)
    }

    /// Removes an order.
    #[inline]
    pub fn remove(&mut self, instrument: InstrumentId, order: BookRef) -> Result<Change, BookError> {
        let (at, slot) = self.own(instrument, order)?;
        Ok(self.unlink(at, slot))
    }

    /// As [`Books::remove`]; says what the order had.
    #[inline]
    pub fn withdraw(&mut self, instrument: InstrumentId, order: BookRef) -> Result<(Change, Quantity), BookError> {
        let (at, slot) = self.own(instrument, order)?;
        let quantity = Quantity(self.nodes[slot].quantity);
        Ok((self.unlink(at, slot), quantity))
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
        if quantity.0 <= 0 || price.0 <= 0 {
            return Err(BookError::BadValue);
        }
        if new_order != order && self.find(new_order).is_ok() {
            return Err(BookError::DuplicateOrder);
        }
        let Node { owner, level_or_count: level, .. } = self.nodes[slot];
        // The old order leaves only once the new one stands, so its level counts as taken when others rest there.
        if self.levels == self.capacity.levels && self.nodes[level].level_or_count > 1 {
            return Err(BookError::Full);
        }
        let (new_slot, top_changed) = self.enqueue(instrument, new_order, side_of(owner), price, quantity)?;
        let removed = self.unlink(at, slot);
        self.index.insert(new_order, new_slot);
        Ok(Change { top_changed: removed.top_changed || top_changed, ..removed })
    }

    #[inline(always)]
    fn find(&self, order: BookRef) -> Result<(usize, u32), usize> {
        self.index.find(order, |slot| self.nodes[slot].key == order)
    }

    /// Finds an order and checks whose it is.
    #[inline(always)]
    fn own(&self, instrument: InstrumentId, order: BookRef) -> Result<(usize, u32), BookError> {
        let (at, slot) = self.find(order).map_err(|_| BookError::UnknownOrder)?;
        if self.nodes[slot].owner >> 1 != instrument.0 {
            return Err(BookError::WrongInstrument);
        }
        Ok((at, slot))
    }

    /// Takes an order out of index, queue and level; an empty level leaves its ladder. The inverse of
    /// [`Books::enqueue`], but for the index.
    #[inline(always)]
    fn unlink(&mut self, at: usize, slot: u32) -> Change {
        let Node { quantity, next, prev, level_or_count: level, owner, .. } = self.nodes[slot];
        self.nodes[prev].next = next;
        self.nodes[next].prev = prev;
        let ring = &mut self.nodes[level];
        ring.quantity -= quantity;
        ring.level_or_count -= 1;
        let Node { key, quantity, level_or_count: orders, .. } = *ring;
        let (side, rank) = (side_of(owner), Rank::from_key(key));
        let price = rank.price(side);
        let best = &mut self.tops[owner as usize >> 1].0[side as usize];
        let top_changed = price.is_defined() & (best.price == price);
        best.set_if(top_changed, price, quantity, orders);
        if orders == 0 {
            debug_assert!(quantity == 0 && ring.next == level && ring.prev == level);
            self.ladders[owner as usize].remove(rank);
            self.nodes.give_back(level);
            self.levels -= 1;
            if top_changed {
                // Where a feed of levels has single orders too.
                if self.empty > 0 {
                    self.drop_empty(owner);
                }
                self.tops[owner as usize >> 1].0[side as usize] = self.best_of_ladder(owner);
            }
        }
        self.index.remove_at(at);
        self.nodes.give_back(slot);
        self.orders -= 1;
        Change { side, price, top_changed }
    }

    /// Forgets every order of an instrument.
    pub fn clear(&mut self, instrument: InstrumentId) {
        for side in [Side::Buy, Side::Sell] {
            let owner = instrument.0 << 1 | side as u32;
            while let Some(level) = self.ladders.get(owner as usize).and_then(Ladder::best) {
                match self.front(instrument, side) {
                    Some(resting) => {
                        self.remove(instrument, resting.order).expect("the front order is in the book");
                    }
                    None => {
                        self.empty -= u32::from(self.nodes[level].quantity == 0);
                        self.drop_known(owner, level);
                    }
                }
            }
            if let Some(best) = self.tops.get_mut(instrument.index()) {
                best.0[side as usize] = Level::EMPTY;
            }
        }
    }

    /// One order and its slot, wherever it rests.
    #[inline]
    pub fn order_in_slot(&self, order: BookRef) -> Option<(Resting, u32)> {
        self.find(order).ok().map(|(_, slot)| (self.resting(slot), slot))
    }

    /// One order, wherever it rests.
    pub fn order(&self, order: BookRef) -> Option<Resting> {
        self.find(order).ok().map(|(_, slot)| self.resting(slot))
    }

    fn resting(&self, slot: u32) -> Resting {
        let node = &self.nodes[slot];
        let side = side_of(node.owner);
        Resting {
            order: node.key,
            instrument: InstrumentId(node.owner >> 1),
            side,
            price: self.level(node.level_or_count).price,
            quantity: Quantity(node.quantity),
        }
    }

    fn ladder(&self, instrument: InstrumentId, side: Side) -> Option<&Ladder> {
        self.ladders.get(instrument.index() * 2 + side as usize)
    }

    fn level(&self, slot: u32) -> Level {
        let node = &self.nodes[slot];
        let price = Rank::from_key(node.key).price(side_of(node.owner));
        Level { price, quantity: Quantity(node.quantity), orders: node.level_or_count }
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
        let best = self.ladders[owner as usize].best().map(|level| self.level(level));
        best.filter(|level| level.price.is_defined()).unwrap_or(Level::EMPTY)
    }

    /// Levels of one side, best first, without orders that have no price.
    pub fn depth(&self, instrument: InstrumentId, side: Side) -> impl Iterator<Item = Level> + '_ {
        self.ladder(instrument, side)
            .into_iter()
            .flat_map(Ladder::best_first)
            .map(|level| self.level(level))
            .filter(|level| level.price.is_defined() && level.quantity.0 != 0)
    }

    /// What a level displays; zero without such a level.
    #[inline]
    pub fn level_quantity(&self, instrument: InstrumentId, side: Side, price: Price) -> Quantity {
        let (owner, rank) = (instrument.0 << 1 | side as u32, Rank::new(side, price));
        if let Ok((_, level)) = self.find_level(owner, rank) {
            return Quantity(self.nodes[level].quantity);
        }
        let ladder = self.ladder(instrument, side);
        let at = ladder.and_then(|ladder| ladder.find(rank).ok().map(|at| ladder.level_at(at)));
        at.map_or(Quantity::ZERO, |level| Quantity(self.nodes[level].quantity))
    }

    /// Orders of one level, front of the queue first.
    pub fn queue(&self, instrument: InstrumentId, side: Side, price: Price) -> impl Iterator<Item = Resting> + '_ {
        self.queue_in_slots(instrument, side, price).map(|(resting, _)| resting)
    }

    /// As [`Books::queue`], with slots.
    pub fn queue_in_slots(
        &self,
        instrument: InstrumentId,
        side: Side,
        price: Price,
    ) -> impl Iterator<Item = (Resting, u32)> + '_ {
        let level = self.ladder(instrument, side).and_then(|ladder| {
            let at = ladder.find(Rank::new(side, price)).ok()?;
            Some(ladder.level_at(at))
        });
        level.into_iter().flat_map(|level| self.chain(level)).map(|slot| (self.resting(slot), slot))
    }

    /// Slots of a level's orders, front first.
    fn chain(&self, level: u32) -> impl Iterator<Item = u32> + '_ {
        let step = move |slot: u32| Some(self.nodes[slot].next).filter(|next| *next != level);
        std::iter::successors(step(level), move |slot| step(*slot))
    }

    /// First order of the best level; of those without a price when there is nothing else. None for a level without
    /// single orders.
    pub fn front(&self, instrument: InstrumentId, side: Side) -> Option<Resting> {
        self.front_in_slot(instrument, side).map(|(resting, _)| resting)
    }

    /// As [`Books::front`], with its slot.
    #[inline]
    pub fn front_in_slot(&self, instrument: InstrumentId, side: Side) -> Option<(Resting, u32)> {
        let level = self.ladder(instrument, side)?.best()?;
        Some(self.nodes[level].next).filter(|next| *next != level).map(|slot| (self.resting(slot), slot))
    }
}

/// One number of a side and a price, for the index: prices are all multiples of a tick, so their bits are mixed well.
#[inline(always)]
fn mix(owner: u32, key: u64) -> u64 {
    let mixed = (key ^ u64::from(owner) << 40).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    mixed ^ mixed >> 32
}

#[inline(always)]
fn side_of(owner: u32) -> Side {
    if owner & 1 == 0 { Side::Buy } else { Side::Sell }
}

impl Digest for Books {
    /// Every order in price-time order; slots and table sizes do not count.
    fn digest(&self, hasher: &mut Hasher) {
        for (owner, ladder) in self.ladders.iter().enumerate() {
            for level in ladder.best_first() {
                let price = self.level(level).price;
                if self.nodes[level].next == level && self.nodes[level].quantity != 0 {
                    hasher.u64(owner as u64);
                    hasher.i64(price.0);
                    hasher.i64(self.nodes[level].quantity);
                }
                for slot in self.chain(level) {
                    let node = &self.nodes[slot];
                    hasher.u64(owner as u64);
                    hasher.i64(price.0);
                    hasher.u64(node.key);
                    hasher.i64(node.quantity);
                }
            }
        }
        hasher.u64(self.len() as u64);
    }
}

/// A snapshot of the books: every level of every side from the best, and its orders in their queue. Slots, tables and
/// indices are built anew; nothing that anybody sees depends on them.
impl Books {
    /// Appends the books to a snapshot.
    pub fn save(&self, save: &mut Save) {
        self.ladders.len().save(save);
        for ladder in &self.ladders {
            ladder.best_first().count().save(save);
            for slot in ladder.best_first() {
                let level = &self.nodes[slot];
                (level.key, level.quantity).save(save);
                // A level that stands alone has no orders, and yet counts one.
                self.chain(slot).count().save(save);
                for order in self.chain(slot) {
                    (self.nodes[order].key, self.nodes[order].quantity).save(save);
                }
            }
        }
    }

    /// Becomes what a snapshot says; of empty books with the same instruments and capacity.
    pub fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        if load.count()? != self.ladders.len() || !self.is_empty() || self.levels > 0 {
            return Err(Damaged("books of other instruments"));
        }
        for owner in 0..self.ladders.len() as u32 {
            for _ in 0..load.count()? {
                let (key, quantity) = Persist::load(load)?;
                match load.count()? {
                    0 => self.restore_alone(owner, key, quantity)?,
                    orders => self.restore_level(owner, key, orders, load)?,
                }
            }
        }
        let fits = self.orders <= self.capacity.orders && self.levels <= self.capacity.levels;
        if fits { Ok(()) } else { Err(Damaged("more orders or levels than there may be")) }
    }

    /// A level without orders.
    fn restore_alone(&mut self, owner: u32, key: u64, quantity: i64) -> Result<(), Damaged> {
        let rank = Rank::from_key(key);
        let price = rank.price(side_of(owner));
        let sound = price.is_defined() && price.0 > 0 && quantity >= 0 && self.levels < self.capacity.levels;
        let Some(at) = self.ladders[owner as usize].find(rank).err().filter(|_| sound) else {
            return Err(Damaged("a level that cannot be"));
        };
        self.new_level(owner, rank, at, Quantity(quantity));
        self.empty += u32::from(quantity == 0);
        self.tops[owner as usize >> 1].0[side_of(owner) as usize].set_if(at == 0, price, quantity, 1);
        Ok(())
    }

    fn restore_level(&mut self, owner: u32, key: u64, orders: usize, load: &mut Load<'_>) -> Result<(), Damaged> {
        let (instrument, side) = (InstrumentId(owner >> 1), side_of(owner));
        let price = Rank::from_key(key).price(side);
        for _ in 0..orders {
            let (order, quantity): (BookRef, Quantity) = Persist::load(load)?;
            self.index.reserve();
            // Not as a new order would come in: where a table is full, none does.
            let at = self.find(order).err().filter(|_| quantity.0 > 0 && price.0 > 0);
            let queued = self.enqueue(instrument, order, side, price, quantity).ok();
            let (Some(at), Some((slot, _))) = (at, queued) else {
                return Err(Damaged("an order that cannot rest"));
            };
            self.index.put(at, order, slot);
        }
        Ok(())
    }
}
