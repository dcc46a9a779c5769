//! The real world: files, clocks, and the loops that drive the engine.
//!
//! [`Backtest`] is the loop of a backtest: sources -> journal -> engine -> venue -> engine. [`replay`] feeds a
//! journal back. [`ItchFile`] streams a day of messages with flat memory, and [`survey`] answers questions about one.

mod agents;
mod backtest;
mod bench;
mod bench_fix;
mod bench_matching;
mod columns;
mod feed;
mod ghosts;
mod itch_file;
mod itch_rows;
mod journal_file;
mod latency;
mod over;
mod pages;
mod recorder;
mod replay;
mod source;
mod survey;

pub use agents::AgentsSource;
pub use backtest::{Backtest, Callbacks, NoCallbacks, Progress, Setup};
pub use bench::{BookTimes, bench_book, bench_decode, bench_graph, bench_step};
pub use bench_fix::{FixTimes, bench_fix};
pub use bench_matching::{MatchingFlow, MatchingTimes};
pub use columns::{ColumnBatch, Columns, Schema};
pub use feed::{FeedLatency, MAX_UNDER_WAY};
pub use ghosts::{Ghost, GhostFill, Haunted, Jump, ghosts};
pub use helios_data::Touched;
pub use itch_file::{Batch, Faults, ItchFile};
pub use itch_rows::{ItchRows, LeftOut, Listing, OrderRows};
pub use journal_file::JournalFile;
pub use latency::Latency;
pub use over::{Answer, Nullable, Rows, over_series, over_source};
pub use recorder::{Money, Recorder, Tables};
pub use replay::{Comparison, Ends, MAX_TORN, Replayed, config_of, replay, written_end};
pub use source::{ItchSource, Merge, Source, SourceError};
pub use survey::{BookAt, Stats, book_at, directory, stats};
