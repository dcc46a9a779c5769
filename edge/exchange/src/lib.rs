//! Our venues as servers: market data over MoldUDP64, orders over SoupBinTCP and FIX.
//!
//! The exchange is a state machine that owns no socket and reads no clock, as the stations of `edge/live` are: what it wants
//! of the world it asks of its [`ExchangeOut`].

use std::fmt;

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
    /// End a client's connection.
    fn close(&mut self, client: Client);
    /// For the log, without secrets.
    fn note(&mut self, text: fmt::Arguments<'_>);
}
