//! The engine: one input, one step, four pillars.
//!
//! [`step`] is the whole of it. Backtest, paper, live and replay call this same function; they differ only in where
//! inputs come from and where outputs go. The engine does not know its mode and does not know the venue.

mod account;
mod operate;
mod snapshot;
mod state;
mod step;

pub use snapshot::{RestoreError, SNAPSHOT_VERSION};
pub use state::{Config, ConfigError, State};
pub use step::step;
