//! Orders of a session by their identifier and by their references at the venue.
//!
//! Nothing is forgotten while the process runs: a venue may speak of an order that ended long ago (a replay, a broken
//! trade). Bounded by [`MAX_ORDERS`]; an order beyond it is refused. Rows stand in chunks, of which one is kept ready, so
//! that a new order neither allocates nor moves others.

use std::collections::BTreeMap;

use helios_types::{InstrumentId, OrderId, Price, Quantity, Side, Terms, TimeInForce};

use crate::present::present;

/// The most orders, and the most references, of one session.
pub const MAX_ORDERS: usize = 1 << 22;
const CHUNK: usize = 1 << 10;
/// Identifiers so far above the one before are looked up in a map: the others stand in a row.
const MAX_HOLE: u64 = 1 << 16;
const NONE: u32 = u32::MAX;

/// A vector that never moves its rows.
struct Chunked<T> {
    chunks: Vec<Vec<T>>,
    spare: Vec<T>,
}

fn chunk<T>() -> Vec<T> {
    let mut chunk = Vec::with_capacity(CHUNK);
    present(chunk.spare_capacity_mut());
    chunk
}

impl<T> Chunked<T> {
    fn new() -> Self {
        let mut chunks = Vec::with_capacity(MAX_ORDERS / CHUNK + 1);
        chunks.push(chunk());
        Self { chunks, spare: chunk() }
    }

    fn len(&self) -> usize {
        (self.chunks.len() - 1) * CHUNK + self.chunks[self.chunks.len() - 1].len()
    }

    fn push(&mut self, row: T) {
        if self.chunks[self.chunks.len() - 1].len() == CHUNK {
            let mut next = std::mem::take(&mut self.spare);
            next.reserve_exact(CHUNK); // nothing to do when it was prepared
            self.chunks.push(next);
        }
        let last = self.chunks.len() - 1;
        self.chunks[last].push(row);
    }

    /// Off the hot path: makes the next chunk ready.
    #[inline]
    fn prepare(&mut self) {
        if self.spare.capacity() < CHUNK {
            self.spare = chunk();
        }
    }

    #[inline]
    fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    #[inline]
    fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }
}

/// What the venue has made of an order, as far as it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It never spoke of it.
    Unheard,
    /// Working.
    Open,
    /// Ended by the venue's word.
    Done,
    /// Given up: it never arrived.
    GivenUp,
}

/// A replace without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replacing {
    pub(super) reference: u32,
    pub(super) quantity: Quantity,
    pub(super) price: Price,
    /// The connection over which it went.
    pub(super) connection: u32,
}

/// An order of ours.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: OrderId,
    pub(super) instrument: InstrumentId,
    pub(super) side: Side,
    pub(super) life: Life,
    /// The reference that it was entered by.
    pub(super) first: u32,
    /// The reference that is in force.
    pub(super) reference: u32,
    /// Total and price in force, what was executed included.
    pub(super) quantity: Quantity,
    pub(super) price: Price,
    pub(super) executed: Quantity,
    /// Numbers of its executions, so that none is told twice.
    pub(super) executions: Vec<u64>,
    pub(super) time_in_force: TimeInForce,
    pub(super) terms: Terms,
    /// The connection over which it went, and the venue's session: counted from 1, 0 before a restart.
    pub(super) connection: u32,
    pub(super) day: u32,
    pub(super) replacing: Option<Replacing>,
    /// A cancel without an answer, and the connection over which it went.
    pub(super) cancelling: Option<u32>,
}

impl Row {
    /// True for an execution that was counted. Zero is no number: it can not be told from another.
    pub(super) fn has(&self, execution: u64) -> bool {
        execution != 0 && self.executions.contains(&execution)
    }

    /// Counts an execution, also of an order that has ended.
    pub(super) fn execute(&mut self, execution: u64, quantity: Quantity) {
        if self.has(execution) {
            return;
        }
        self.executions.push(execution);
        self.executed = Quantity(self.executed.0.saturating_add(quantity.0));
        if self.life != Life::Done {
            self.life = if self.executed >= self.quantity { Life::Done } else { Life::Open };
        }
    }
}

/// All orders of a session.
pub(super) struct Table {
    rows: Chunked<Row>,
    /// Row by reference, counted from `first_reference`.
    references: Chunked<u32>,
    first_reference: u32,
    /// Row by identifier, counted from `first_id`.
    ids: Chunked<u32>,
    first_id: u64,
    /// Identifiers that stand elsewhere.
    others: BTreeMap<u64, u32>,
}

impl Table {
    pub(super) fn new(first_reference: u32) -> Self {
        Self {
            rows: Chunked::new(),
            references: Chunked::new(),
            first_reference,
            ids: Chunked::new(),
            first_id: 0,
            others: BTreeMap::new(),
        }
    }

    /// The reference that comes next; `None` when there are no more.
    pub(super) fn next_reference(&self) -> Option<u32> {
        let used = self.references.len();
        if used >= MAX_ORDERS {
            return None;
        }
        self.first_reference.checked_add(used as u32)
    }

    /// Gives the next reference to a row.
    #[inline]
    pub(super) fn refer(&mut self, row: u32) {
        self.references.push(row);
    }

    /// Adds an order, which takes the next reference. False when the table is full or the identifier is there.
    #[inline]
    pub(super) fn add(&mut self, row: Row) -> bool {
        let at = self.rows.len() as u32;
        if self.rows.len() >= MAX_ORDERS || !self.place(row.id.0, at) {
            return false;
        }
        self.rows.push(row);
        self.refer(at);
        true
    }

    #[inline]
    fn place(&mut self, id: u64, at: u32) -> bool {
        if self.ids.len() == 0 {
            self.first_id = id;
        }
        let end = self.first_id + self.ids.len() as u64;
        if id < end || id - end > MAX_HOLE || self.ids.len() + MAX_HOLE as usize >= MAX_ORDERS * 2 {
            return self.find(OrderId(id)).is_none() && self.others.insert(id, at).is_none();
        }
        for _ in end..id {
            self.ids.push(NONE);
        }
        self.ids.push(at);
        true
    }

    /// The row of an order.
    #[inline]
    pub(super) fn find(&self, id: OrderId) -> Option<u32> {
        let near = id.0.checked_sub(self.first_id).and_then(|at| self.ids.get(usize::try_from(at).ok()?));
        match near {
            Some(row) if *row != NONE => Some(*row),
            _ => self.others.get(&id.0).copied(),
        }
    }

    /// The row that a reference belongs to.
    #[inline]
    pub(super) fn of(&self, reference: u32) -> Option<u32> {
        let at = reference.checked_sub(self.first_reference)?;
        self.references.get(at as usize).copied()
    }

    #[inline]
    pub(super) fn row(&mut self, at: u32) -> &mut Row {
        self.rows.get_mut(at as usize).expect("rows are never taken away")
    }

    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.rows.iter_mut()
    }

    /// Makes room for what comes next, off the hot path.
    #[inline]
    pub(super) fn prepare(&mut self) {
        self.rows.prepare();
        self.references.prepare();
        self.ids.prepare();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use helios_types::Rng;

    fn row(id: u64) -> Row {
        Row {
            id: OrderId(id),
            instrument: InstrumentId(0),
            life: Life::Unheard,
            first: 0,
            reference: 0,
            side: Side::Buy,
            quantity: Quantity(0),
            price: Price(0),
            executed: Quantity(0),
            executions: Vec::new(),
            time_in_force: TimeInForce::Day,
            terms: Terms::PLAIN,
            connection: 0,
            day: 0,
            replacing: None,
            cancelling: None,
        }
    }

    #[test]
    fn orders_are_found_by_both_names_whatever_the_holes() {
        let mut rng = Rng::new(3);
        let (mut table, mut oracle, mut id) = (Table::new(100), BTreeMap::new(), 7);
        for n in 0..20_000_u32 {
            id += 1 + rng.below(4) * rng.below(4);
            let id = if rng.below(50) == 0 { (1 << 31) + rng.below(1 << 40) } else { id };
            assert_eq!(table.next_reference(), Some(100 + n));
            if oracle.insert(id, n).is_none() {
                assert!(table.add(row(id)));
            } else {
                table.refer(0);
            }
            if n % 1_000 == 0 {
                table.prepare();
            }
        }
        for (id, n) in &oracle {
            let at = table.find(OrderId(*id)).expect("it was added");
            assert_eq!(table.row(at).id, OrderId(*id));
            assert_eq!(table.of(100 + n), Some(at));
        }
        for other in [0, 6, id + 1, u64::MAX] {
            assert_eq!(table.find(OrderId(other)), None);
        }
        assert_eq!((table.of(99), table.of(20_100)), (None, None));
        assert!(!table.add(row(*oracle.keys().next().expect("some"))), "an identifier is there once");
    }
}
