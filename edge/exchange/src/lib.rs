//! Our venues as servers: market data over MoldUDP64, orders over SoupBinTCP.
//!
//! The exchange is a state machine that owns no socket and reads no clock, as the stations of `edge/live` are: what it wants
//! of the world it asks of its [`ExchangeOut`]. A test drives it directly; the same settings and the same calls give the same
//! bytes.
//!
//! ```
//! use helios_exchange::{Client, Config, Exchange, ExchangeOut, Port, Protocol, VenueConfig};
//! use helios_types::Nanos;
//!
//! #[derive(Default)]
//! struct World { packets: Vec<Vec<u8>>, heard: Vec<u8> }
//! impl ExchangeOut for World {
//!     fn send(&mut self, _venue: usize, line: u8, bytes: &[u8]) {
//!         if line == 0 { self.packets.push(bytes.to_vec()) }
//!     }
//!     fn answer(&mut self, _venue: usize, _to: u64, _bytes: &[u8]) {}
//!     fn write(&mut self, _client: Client, bytes: &[u8]) { self.heard.extend_from_slice(bytes) }
//!     fn close(&mut self, _client: Client) {}
//!     fn note(&mut self, _text: std::fmt::Arguments<'_>) {}
//! }
//!
//! let midnight = Nanos(1_700_006_400_000_000_000);
//! let config = Config::new(vec![VenueConfig::quiet("XNAS", &["AAPL"])], midnight).with_user("ME", "secret");
//! let mut exchange = Exchange::new(config).expect("settings that can be");
//! let mut world = World::default();
//! let now = midnight.plus(34_200_000_000_000);
//! exchange.on_tick(now, &mut world); // the day begins: directory, system events
//! exchange.on_connected(Client(1), Port { venue: 0, protocol: Protocol::Ouch50 }, now, &mut world);
//! // exchange.on_bytes(Client(1), login_and_orders, now, &mut world);
//! // while let Some(at) = exchange.next_tick() { exchange.on_tick(at, &mut world); … }
//! assert_eq!(world.packets.len(), 1);
//! ```
//!
//! **Clients**: [`Exchange::on_connected`] says which [`Port`] (venue and protocol), [`Exchange::on_bytes`] and
//! [`Exchange::on_closed`] the rest. **Retransmission**: [`Exchange::on_request`]. **Time**: [`Exchange::on_tick`] at or after
//! [`Exchange::next_tick`]; agents act then. **Truth**: [`Exchange::ledger`] is what the exchange knows of a user.
//! **Faults**: [`Exchange::fault`] with [`Fault::parse`].
//!
//! A venue's books are those of `core/venue`'s matching engine; its market is one where only clients trade, one of agents, or a
//! recorded day against which clients trade unseen ([`Source`]). Orders: limit and immediate-or-cancel, fill-or-kill (immediate with the whole quantity as the minimum),
//! post-only, hidden, with an expiry; market orders if immediate. What becomes of orders of one user that would trade with
//! each other is a setting of the venue.
//! Assumes whole shares and prices in cents.
//! Absent, and refused with the protocol's reason: crosses, pegs, reserves, routes, discretion, retail. Broken trades and
//! corrections do not happen.
//! [`serve`] puts it on sockets.
//! Limits: connections, users, venues, open orders, references, stores, faults: each has a named maximum beside its type.

use std::fmt;

mod config;
mod entry;
mod exchange;
mod faults;
mod fix;
mod fix_desk;
mod ledger;
mod order;
mod ouch42;
mod ouch50;
mod replay;
pub mod serve;
mod snapshot;
mod tape;
mod venue;

pub use config::{
    Config, ConfigError, MAX_RATE, MAX_USERS, MAX_VENUES, Pace, Port, Protocol, Source, User, VenueConfig,
};
pub use exchange::{Counters, Exchange};
pub use faults::{Action, Fault, MAX_HELD, MAX_RULES, Place};
pub use ledger::{Execution, Ledger, MAX_LISTED};
pub use replay::Messages;
pub use tape::{Tape, TapeConfig, TapeCounters};

/// A connection of a client, numbered by who accepts it; numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(pub u64);

/// What the exchange asks of the world.
pub trait ExchangeOut {
    /// A datagram on a line of a venue's market data: 0 for A, 1 for B.
    fn send(&mut self, venue: usize, line: u8, bytes: &[u8]);
    /// A datagram back to who asked for a retransmission; `to` is the number that came with the request.
    fn answer(&mut self, venue: usize, to: u64, bytes: &[u8]);
    /// To a client. What its socket does not take at once is kept, up to a maximum; beyond it the client is closed.
    fn write(&mut self, client: Client, bytes: &[u8]);
    /// End a client's connection; `on_closed` does not follow.
    fn close(&mut self, client: Client);
    /// For the log, without secrets.
    fn note(&mut self, text: fmt::Arguments<'_>);
    /// How many bytes [`ExchangeOut::write`] can take of a client now; replays wait for room.
    fn room(&self, client: Client) -> usize {
        let _ = client;
        usize::MAX
    }
}
