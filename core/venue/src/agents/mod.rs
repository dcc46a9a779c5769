//! Simulated markets, written as ITCH 5.0: input for demos, tests and benchmarks without real data.
//!
//! [`Simulation`] is a market: seeded agents trade on our own [`MatchingEngine`](crate::matching::MatchingEngine)
//! around values that move in cointegrated groups, and everything that happens goes into the feed.
//! [`Flow`] is only the message mix of a busy day, at speed. Both give length-prefixed frames in bounded pieces;
//! the same seed and settings give the same bytes on every machine.
//!
//! Somebody else may trade on the agents' exchange: a guest, which is how a live venue takes part (`guest.rs`,
//! `docs/models/reactive.md`). Without one nothing of that runs.
//!
//! What the market assumes, and when not to trust it: `docs/models/agents.md`. Absent on purpose: files (the
//! caller writes them), threads, and any knowledge of strategies.

mod config;
pub(crate) mod draw;
mod emit;
mod exchange;
mod floor;
mod flow;
mod fundamental;
mod guest;
mod market;
mod pit;

pub use config::{Config, ConfigError, MAX_GROUP_SIZE, MAX_MINUTES, MAX_SYMBOLS};
pub use floor::{Floor, Taken};
pub use flow::{Flow, MAX_FLOW_MESSAGES};
pub use fundamental::Member;
pub use market::{OPEN_NS, Simulation};

pub(crate) use guest::{MAX_GUEST_ORDERS, MAX_GUEST_PRICE, MAX_GUEST_SHARES, is_in_cents};
