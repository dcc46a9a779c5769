//! What the driver asks of stations.

use helios_types::{Nanos, Output};

use crate::{Entry, EntryOut, Feed, FeedOut};

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
    /// How it stands, for people.
    fn told(&self) -> FeedTold {
        FeedTold::default()
    }
}

/// How a feed stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedTold {
    /// Messages so far.
    pub messages: u64,
    /// Messages that no line and no server brought.
    pub missed: u64,
    /// Its books are not whole.
    pub incomplete: bool,
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

impl FeedStation for Feed {
    #[inline]
    fn on_datagram(&mut self, line: u8, bytes: &[u8], now: Nanos, out: &mut impl FeedOut) {
        self.on_datagram(line, bytes, now, out);
    }
    fn on_connected(&mut self, now: Nanos, out: &mut impl FeedOut) {
        self.on_connected(now, out);
    }
    fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl FeedOut) {
        self.on_bytes(bytes, now, out);
    }
    fn on_closed(&mut self, now: Nanos, out: &mut impl FeedOut) {
        self.on_closed(now, out);
    }
    fn on_tick(&mut self, now: Nanos, out: &mut impl FeedOut) {
        self.on_tick(now, out);
    }
    #[inline]
    fn next_tick(&self) -> Option<Nanos> {
        self.next_tick()
    }
    fn told(&self) -> FeedTold {
        let counters = self.counters();
        FeedTold { messages: counters.stream.messages, missed: counters.stream.lost, incomplete: !counters.complete }
    }
}

impl EntryStation for Entry {
    fn on_connected(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.on_connected(now, out);
    }
    #[inline]
    fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl EntryOut) {
        self.on_bytes(bytes, now, out);
    }
    fn on_closed(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.on_closed(now, out);
    }
    fn on_tick(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.on_tick(now, out);
    }
    #[inline]
    fn next_tick(&self) -> Option<Nanos> {
        self.next_tick()
    }
    #[inline]
    fn send(&mut self, output: &Output, now: Nanos, out: &mut impl EntryOut) {
        self.send(output, now, out);
    }
    fn on_stop(&mut self, now: Nanos, out: &mut impl EntryOut) {
        self.stop(now, out);
    }
}
