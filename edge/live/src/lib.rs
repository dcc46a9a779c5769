//! A live run: stations between sockets and the engine.
//!
//! A packet goes straight through: `feed` (carrier, lines, gaps, snapshots, normalised events) -> engine (journal, then
//! step) -> `entry` (sessions, order bytes). Each station is a state machine that owns no socket and reads no clock: what
//! it wants of the world it asks of its [`FeedOut`] or [`EntryOut`]. So the same stations run on one thread, on four, and
//! in the world test, where time and the network are simulated.

mod entry;
mod out;

pub use entry::{
    Entry, EntryConfig, EntryCounters, EntryError, MAX_ORDERS, Ouch, Protocol, Recorded, Secret, first_reference,
};
pub use out::{EntryOut, FeedOut};
