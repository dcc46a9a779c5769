//! What a station asks of the world.

use std::fmt;

use helios_types::Event;

/// Of a feed station. Its snapshot session is one connection.
pub trait FeedOut {
    /// The engine is to hear of this, now, in this order.
    fn event(&mut self, event: Event);
    /// A datagram to the retransmission server with this number, from the socket that receives the feed.
    fn request(&mut self, server: usize, bytes: &[u8]);
    /// Connect the snapshot session; answered by `on_connected` or `on_closed`.
    fn connect(&mut self);
    /// To the snapshot session.
    fn write(&mut self, bytes: &[u8]);
    /// End the snapshot session's connection; `on_closed` does not follow.
    fn close(&mut self);
    /// For the log. Without secrets; never on the path of an ordinary message.
    fn note(&mut self, text: fmt::Arguments<'_>);
}

/// Of one order-entry session, which has one connection.
pub trait EntryOut {
    /// The engine is to hear of this, now, in this order.
    fn event(&mut self, event: Event);
    /// Connect; answered by `on_connected` or `on_closed`.
    fn connect(&mut self);
    /// To the venue. What the socket does not take at once is kept, up to a maximum; beyond it the connection is closed.
    fn write(&mut self, bytes: &[u8]);
    /// End the connection; `on_closed` does not follow.
    fn close(&mut self);
    /// For the log. Without secrets; never on the path of an ordinary message.
    fn note(&mut self, text: fmt::Arguments<'_>);
}
