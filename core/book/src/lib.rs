//! Price-time order books of a whole market, built from order-level messages.
//!
//! One [`Books`] holds every instrument: orders and levels live in two shared slabs, found by order number
//! through one [`index`]; each instrument owns two short ladders of levels. A change touches one index line,
//! one order record, one level record and the end of a ladder, so four cache lines decide its cost;
//! [`Books::look_ahead`] fetches them while earlier messages are applied.
//!
//! Assumes that an order number is unique across instruments for as long as the order rests.
//! Bounded by [`Capacity`]; a change that does not fit is refused whole. No allocation once warm.
//! Absent on purpose: matching (see `core/venue`), wire formats, and any judgement about crossed books
//! (they are legal before the open and in halts).

mod books;
mod index;
mod ladder;

pub use books::{BookError, Books, Capacity, Change, Level, Resting, Top};
