//! What must hold of every decoder and every session, whatever bytes come: one function for each, [`TARGETS`] names them.
//!
//! A decoder is given the bytes. A session is given a script: its bytes say what happens next (something is heard, time goes
//! by, a connection is cut, we send something ourselves, the process is killed) and with what content; checksums and
//! numbers that no mutation would find are added. A function panics where a property does not hold; what the properties are
//! stands with each.
//!
//! The same functions are run in two ways: by this crate's test over the seeds and mutations of them, a few thousand in CI
//! and as many as wanted by `make fuzz`; and by the coverage-guided fuzzers in `fuzz/`, which need a C++ compiler and are
//! no part of the workspace (`make fuzz TARGET=…`). Seeds are written by our own encoders ([`Target::seeds`]).
//!
//! Assumes of callers what the contracts of the stations say: time does not go back, `on_connected` follows `connect`.
//! Absent: sockets, threads, files that change while they are read; sequences of the whole system are the world test's
//! (`edge/live/tests/world`).

mod decoders;
mod engine;
mod entry;
mod exchange;
mod feed;
mod files;
mod fix;
mod scratch;
mod script;
mod soup;
mod wire;

pub use decoders::{fix_messages, itch50, ouch_messages};
pub use engine::{engine, follower, snapshot};
pub use entry::{drop_copy, entry_fix, entry_ouch};
pub use exchange::exchange;
pub use feed::{feed, receiver};
pub use files::{fix_store, itch_file};
pub use fix::fix_session;
pub use helios_journal::fuzz_read as journal;
pub use helios_wire::fuzz::{captures as pcap, mold as moldudp64, soup as soupbintcp};
pub use soup::{soup_client, soup_server};

/// One thing to be fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: of the function, and of the guided fuzzer.
    pub name: &'static str,
    /// Panics where something that must hold does not.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident: $seeds:path),* $(,)?) => {
        /// All of them: decoders first, then files, then sessions.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), run: $name, seeds: $seeds }),*];
    };
}

targets! {
    itch50: decoders::itch_seeds,
    moldudp64: decoders::mold_seeds,
    soupbintcp: decoders::soup_seeds,
    ouch_messages: decoders::ouch_seeds,
    fix_messages: decoders::fix_seeds,
    pcap: decoders::pcap_seeds,
    journal: decoders::journal_seeds,
    snapshot: engine::snapshot_seeds,
    itch_file: decoders::file_seeds,
    fix_store: files::store_seeds,
    receiver: feed::receiver_seeds,
    feed: feed::feed_seeds,
    soup_client: soup::client_seeds,
    soup_server: soup::server_seeds,
    fix_session: fix::session_seeds,
    entry_ouch: entry::ouch_seeds,
    entry_fix: entry::fix_seeds,
    drop_copy: entry::drop_copy_seeds,
    exchange: exchange::seeds,
    engine: engine::engine_seeds,
    follower: engine::follower_seeds,
}

/// A target by its name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}
