//! Pillar 4, risk: positions and their money, and the gate that every order passes.
//!
//! An order cannot exist without a check: [`Risk::check`] is the only source of an [`Approved`]. Limits are rows of a
//! table in [`limits`]; at start-up [`prove`] shows that each configured row is fed and really refuses.
//! All money is integer; `realised + unrealised - fees` equals cash plus the value of positions exactly, and what the
//! strategies' accounts hold adds up to the net position exactly.
//!
//! Nobody else can make one:
//!
//! ```compile_fail
//! fn forge(wish: helios_risk::Wish) -> helios_risk::Approved {
//!     helios_risk::Approved(wish)
//! }
//! ```
//!
//! Absent on purpose: orders' life cycle (execution), prices' origin (data), and forecasts of risk.

mod corporate;
mod gate;
mod limits;
mod positions;
mod snapshot;

pub use corporate::Moved;
pub use gate::{Account, Approved, MAX_ACCOUNTS, Mode, Risk, Share, Wish};
pub use limits::{Feeds, Limits, Unfed, prove};
pub use positions::Position;
