//! Pillar 1, data: from wire messages to what every other pillar looks at.
//!
//! [`normalise`] turns venue messages into [`helios_types::Market`] events; [`Markets`] applies them and keeps, per
//! instrument, the book, the best prices, the last trade, the last bar and the trading state. Wrong data becomes a
//! quality event and changes nothing.
//! Absent on purpose: files and sockets (edge/io), and any opinion about prices (signals).

mod markets;
pub mod normalise;

pub use markets::{Bar, Markets, Touched, View};
