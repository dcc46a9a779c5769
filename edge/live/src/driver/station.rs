//! What the driver asks of stations.

use helios_types::{Nanos, Output};

use crate::{EntryOut, FeedOut};

/// One venue's market data.
pub trait FeedStation: Send {
    /// A datagram of a line.
    fn on_datagram(&mut self, line: u8, bytes: &[u8], now: Nanos, out: &mut impl FeedOut);
    /// The snapshot session's connection is made.
    fn on_connected(&mut self, now: Nanos, out: &mut impl FeedOut);
    /// Bytes of the snapshot session.
    fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl FeedOut);
    /// The snapshot session's connection is over, or could not be made.
    fn on_closed(&mut self, now: Nanos, out: &mut impl FeedOut);
    /// Time has come to [`next_tick`](Self::next_tick); also once at the start.
    fn on_tick(&mut self, now: Nanos, out: &mut impl FeedOut);
    /// When it wants to be called.
    fn next_tick(&self) -> Option<Nanos>;
}

/// One order-entry session.
pub trait EntryStation: Send {
    /// Its connection is made.
    fn on_connected(&mut self, now: Nanos, out: &mut impl EntryOut);
    /// Bytes of the venue.
    fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl EntryOut);
    /// Its connection is over, or could not be made.
    fn on_closed(&mut self, now: Nanos, out: &mut impl EntryOut);
    /// Time has come to [`next_tick`](Self::next_tick); also once at the start.
    fn on_tick(&mut self, now: Nanos, out: &mut impl EntryOut);
    /// When it wants to be called.
    fn next_tick(&self) -> Option<Nanos>;
    /// The engine said this.
    fn send(&mut self, output: &Output, now: Nanos, out: &mut impl EntryOut);
    /// The run ends: take leave of the venue. The connection is closed after it.
    fn on_stop(&mut self, now: Nanos, out: &mut impl EntryOut);
}
