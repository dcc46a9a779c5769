//! Market events on their way from the venue to the engine.
//!
//! The venue meets an event at its `ts_event`, the engine later: after a delay, or at the receive stamp that the data
//! itself carries. Nothing overtakes, as on one connection. An event's `ts_event` stays the venue's.
//!
//! At most [`MAX_UNDER_WAY`] events are under way: one more stops the run with an error, since dropping one would make
//! the engine's books wrong and delivering one early would let the strategy look ahead.

use helios_types::{Market, Nanos};
use helios_venue::{Delay, FEED, Line};

use crate::source::SourceError;

/// Most market events between venue and engine: some hundred megabytes.
pub const MAX_UNDER_WAY: usize = 1 << 22;

/// When the engine sees what happens at the venue.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedLatency {
    /// So much later.
    Delay(Delay),
    /// At the receive stamps of the data.
    Stamps,
}

/// An event under way.
pub(crate) struct Sent {
    pub(crate) market: Market,
    /// Nanoseconds that reading it took, where that is measured.
    pub(crate) decoded: Option<u64>,
}

/// The line of market data.
pub(crate) struct Feed {
    line: Line<Sent>,
    stamps: bool,
    /// The venue's clock: stamps that go back are reported by the engine, the clock stays.
    clock: Nanos,
    /// Events with a receive stamp before their event stamp.
    early: u64,
    most: usize,
}

impl Feed {
    /// None when the engine sees everything at once: then there is no line.
    pub(crate) fn new(latency: FeedLatency) -> Option<Box<Self>> {
        let (delay, stamps) = match latency {
            FeedLatency::Delay(delay) if delay.is_zero() => return None,
            FeedLatency::Delay(delay) => (delay, false),
            FeedLatency::Stamps => (Delay::ZERO, true),
        };
        let line = Line::new(delay, FEED);
        Some(Box::new(Self { line, stamps, clock: Nanos(0), early: 0, most: MAX_UNDER_WAY }))
    }

    /// The moment of an event at the venue.
    pub(crate) fn moment(&mut self, stamp: Nanos) -> Nanos {
        self.clock = self.clock.max(stamp);
        self.clock
    }

    /// Sends an event that happened at `at`; `received` is its receive stamp, for those who go by it.
    pub(crate) fn send(&mut self, at: Nanos, received: Nanos, sent: Sent) -> Result<(), SourceError> {
        if self.line.len() >= self.most {
            return Err(SourceError {
                source: "feed".to_owned(),
                message: format!(
                    "more than {} market events are under way at {at}: the feed latency is too long for this data",
                    self.most
                ),
            });
        }
        let not_before = if self.stamps { received } else { at };
        self.early += u64::from(not_before < at);
        self.line.send(at, not_before, sent);
        Ok(())
    }

    /// When the next event reaches the engine.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.line.next()
    }

    /// When the last of those under way does.
    pub(crate) fn last(&self) -> Option<Nanos> {
        self.line.last()
    }

    pub(crate) fn receive(&mut self, to: Nanos) -> Option<(Nanos, Sent)> {
        self.line.receive(to)
    }

    /// Faults that did not stop the run.
    pub(crate) fn fault(&self) -> Option<String> {
        (self.early > 0).then(|| {
            format!(
                "feed: {} events were received before they happened, by their stamps; they came at once",
                self.early
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::BLANK;

    fn sent() -> Sent {
        Sent { market: BLANK, decoded: None }
    }

    #[test]
    fn without_latency_there_is_no_line() {
        assert!(Feed::new(FeedLatency::Delay(Delay::ZERO)).is_none());
        assert!(Feed::new(FeedLatency::Delay(Delay::Constant(1))).is_some());
        assert!(Feed::new(FeedLatency::Stamps).is_some());
    }

    #[test]
    fn events_come_at_their_receive_stamps_in_order_and_never_before_they_happen() {
        let mut feed = Feed::new(FeedLatency::Stamps).unwrap();
        for (at, received) in [(10, 15), (11, 12), (20, 18), (30, 31)] {
            feed.send(Nanos(at), Nanos(received), sent()).unwrap();
        }
        let mut arrivals = Vec::new();
        while let Some((at, _)) = feed.receive(Nanos(u64::MAX)) {
            arrivals.push(at.0);
        }
        assert_eq!(arrivals, [15, 15, 20, 31]);
        assert!(feed.fault().unwrap().contains("1 events"));
    }

    #[test]
    fn a_line_that_is_full_stops_the_run() {
        let mut feed = Feed::new(FeedLatency::Delay(Delay::Constant(1_000))).unwrap();
        feed.most = 2;
        feed.send(Nanos(1), Nanos(0), sent()).unwrap();
        feed.send(Nanos(2), Nanos(0), sent()).unwrap();
        let error = feed.send(Nanos(3), Nanos(0), sent()).unwrap_err();
        assert!(error.message.contains("more than 2 market events"), "{error}");
        assert_eq!(feed.receive(Nanos(2_000)).unwrap().0, Nanos(1_001));
        feed.send(Nanos(3), Nanos(0), sent()).unwrap();
    }
}
