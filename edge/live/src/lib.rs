//! A live run: stations between sockets and the engine.
//!
//! A packet goes straight through: `feed` (carrier, lines, gaps, snapshots, normalised events) -> engine (journal, then
//! step) -> `entry` (sessions, order bytes). Each station is a state machine that owns no socket and reads no clock: what
//! it wants of the world it asks of its [`FeedOut`] or [`EntryOut`]. So the same stations run on one thread, on four, and
//! in the world test, where time and the network are simulated.

mod audit;
mod bench;
mod driver;
mod engine;
mod entry;
pub mod feed;
mod journal;
mod latency;
mod out;
mod present;
mod recall;
mod reconcile;
mod recovery;
mod ring;
#[cfg(test)]
mod scratch;
mod sockets;
mod wire_bench;

pub use audit::{AUDIT_TICK_NS, Audit, AuditOut, AuditTold, Moment};
pub use bench::{RecoveryTimes, bench_recovery};
pub use driver::{
    Answer, Beside, COPY_ROOM, Command, CopySetup, Ended, EntrySetup, EntryStation, FeedSetup, FeedStation, FeedTold,
    Handle, INFO, JOURNAL_FILE, Layout, MAX_NOTES, MAX_ROWS, Note, Options, Setup, Shared, Status, Stopping, Venue,
    WARNING, monotonic, pin,
};
pub use engine::Engine;
pub use entry::{
    DropCopy, DropCopyOut, Entry, EntryConfig, EntryCounters, EntryError, Fix, FixConfig, MAX_EXECUTIONS, MAX_ORDERS,
    Ouch, Protocol, Recorded, Secret, Traded, first_reference,
};
pub use feed::{Feed, FeedConfig, FeedCounters};
pub use journal::{ACK_LEN, Chore, Durability, Journal, Replica, Settings as JournalSettings, WINDOW};
pub use latency::{Stage, Stages, Ticks};
pub use out::{EntryOut, FeedOut};
pub use recall::{MAX_WAITING, Recall, Recalled};
pub use reconcile::{MAX_MATCHED, MAX_PENDING, Reconcile, ReconcileConfig, ReconcileCounters};
pub use recovery::{
    Cut, Follower, MAX_TORN, Recovered, Witness, began, has_begun, recover, snapshot_bytes, store_snapshot,
    write_snapshot,
};
pub use ring::{Alarm, Bed, Inlet, Item, Receiver, Sender, ring};
pub use sockets::{Change, Connection, Datagrams, Drops, Line, MAX_DATAGRAM, MAX_READ, MAX_UNSENT};
pub use wire_bench::{ProbeSettings, Probed, floor as wire_floor, probe as wire_probe};
