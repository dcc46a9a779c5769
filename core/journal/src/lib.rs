//! The journal: everything that happened to a run and everything it said, as bytes that can be replayed.
//!
//! # Layout, version 1, little-endian throughout
//!
//! | part | bytes |
//! |---|---|
//! | header | magic 8, version u32, flags u32 (zero), chain u64 = XXH3-64 of the 16 bytes before it |
//! | record | payload length u32, chain u64 = XXH3-64 of the payload seeded with the chain before it, payload |
//! | payload | kind u8, the fixed fields of that kind (`layout.rs` is the table), zeros up to whole words of 8 bytes |
//! | first payload | kind u8, the configuration as it was given, at most 16 MiB |
//!
//! The first record is the configuration, the last of a cleanly closed journal is `End`. Inputs are numbered
//! 0, 1, 2, … without gaps; an output names the input it answers, which stands before it.
//!
//! # What it assumes
//!
//! Each chain value covers every byte before it, so a record that was changed, lost, moved or inserted is found at
//! that record. Records missing from the very end cannot be told from a run that was stopped there: that file is
//! [`Closing::NotClosed`]. XXH3 detects damage and **not forgery**: whoever can write the file can recompute the
//! chain. The run folder's `run.json` keeps a SHA-256 of the whole file for that.
//!
//! # What is absent
//!
//! Files, maps and syncing (they live in `edge/io`), compression, seeking, and judgement of values: the reader checks
//! that bytes are what a writer could have written in this order, not that a price is sensible or time moves on.

mod damage;
mod frame;
mod fuzz;
mod layout;
mod reader;
mod writer;

pub use damage::{Damage, DamageKind};
pub use frame::{BEFORE_LEN, FRAME_LEN, HEADER_LEN, MAX_CONFIG_LEN, MAX_PAYLOAD_LEN, POSITION_LEN, Position, VERSION};
pub use fuzz::fuzz_read;
pub use layout::record_kinds;
pub use reader::{Closing, End, Reader, Record, Records};
pub use writer::{ConfigTooLong, Writer};
