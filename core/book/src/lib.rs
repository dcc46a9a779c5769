//! Price-time order books of a whole market, built from order-level messages.
//!
//! One [`Books`] holds every instrument: orders and levels live in one shared slab, found by order number
//! through one [`index`]; each instrument owns two ladders, of its levels on either side. A change touches an index
//! line, an order, its level and a ladder, and how long they take to come decides its cost:
//! [`Books::look_far_ahead`], [`Books::look_ahead`] and [`Books::look_close_ahead`] load them while earlier messages
//! are applied. After that, mispredicted branches count most, so what no processor can guess is computed without them.
//!
//! Assumes that an order number is unique across instruments for as long as the order rests.
//! Bounded by [`Capacity`]; a change that does not fit is refused whole. No allocation once warm.
//! Absent on purpose: matching (see `core/venue`), wire formats, and any judgement about crossed books
//! (they are legal before the open and in halts).

mod books;
mod index;
mod ladder;

pub use books::{BookError, Books, Capacity, Change, Level, Resting, Top};
