//! Market events on their way from the venue to the engine.
//!
//! The venue meets an event at its `ts_event`, the engine later: after a delay, or at the receive stamp that the data
//! itself carries. Each exchange has a line of its own, on which nothing overtakes, as on one connection; at one moment
//! what was sent first arrives first. An event's `ts_event` stays the venue's.
//!
//! At most [`MAX_UNDER_WAY`] events are under way: one more stops the run with an error, since dropping one would make
//! the engine's books wrong and delivering one early would let the strategy look ahead.

use helios_types::{Market, Nanos};
use helios_venue::{Delay, Line, feed_stream};

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

/// The lines of market data, one for each exchange.
pub(crate) struct Feed {
    /// What is on them is numbered as it was sent.
    lines: Vec<Line<(u64, Sent)>>,
    /// Whether a line goes by the receive stamps.
    stamps: Vec<bool>,
    sent: u64,
    /// The venue's clock: stamps that go back are reported by the engine, the clock stays.
    clock: Nanos,
    /// Events with a receive stamp before their event stamp.
    early: u64,
    most: usize,
}

impl Feed {
    /// By exchange. None when the engine sees everything at once: then there are no lines.
    pub(crate) fn new(latencies: Vec<FeedLatency>) -> Option<Box<Self>> {
        if latencies.iter().all(|latency| matches!(latency, FeedLatency::Delay(delay) if delay.is_zero())) {
            return None;
        }
        let stamps = latencies.iter().map(|latency| *latency == FeedLatency::Stamps).collect();
        let line = |(number, latency)| match latency {
            FeedLatency::Delay(delay) => Line::new(delay, feed_stream(number)),
            FeedLatency::Stamps => Line::new(Delay::ZERO, feed_stream(number)),
        };
        let lines = (0..).zip(latencies).map(line).collect();
        Some(Box::new(Self { lines, stamps, sent: 0, clock: Nanos(0), early: 0, most: MAX_UNDER_WAY }))
    }

    /// The moment of an event at the venue.
    pub(crate) fn moment(&mut self, stamp: Nanos) -> Nanos {
        self.clock = self.clock.max(stamp);
        self.clock
    }

    /// Sends an event that happened at `at` on an exchange's line; `received` is its receive stamp, for those who go by it.
    pub(crate) fn send(&mut self, exchange: usize, at: Nanos, received: Nanos, sent: Sent) -> Result<(), SourceError> {
        if self.lines.iter().map(Line::len).sum::<usize>() >= self.most {
            return Err(SourceError {
                source: "feed".to_owned(),
                message: format!(
                    "more than {} market events are under way at {at}: the feed latency is too long for this data",
                    self.most
                ),
            });
        }
        let not_before = if self.stamps[exchange] { received } else { at };
        self.early += u64::from(not_before < at);
        self.lines[exchange].send(at, not_before, (self.sent, sent));
        self.sent += 1;
        Ok(())
    }

    /// When the next event reaches the engine.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.lines.iter().filter_map(Line::next).min()
    }

    /// When the last of those under way does.
    pub(crate) fn last(&self) -> Option<Nanos> {
        self.lines.iter().filter_map(Line::last).max()
    }

    pub(crate) fn receive(&mut self, to: Nanos) -> Option<(Nanos, Sent)> {
        let first = |line: &Line<(u64, Sent)>| line.first().map(|(at, (number, _))| (at, *number));
        let line = match &mut self.lines[..] {
            [line] => line,
            lines => lines.iter_mut().filter(|line| !line.is_empty()).min_by_key(|line| first(line))?,
        };
        line.receive(to).map(|(at, (_, sent))| (at, sent))
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
    use helios_types::InstrumentId;

    fn sent() -> Sent {
        Sent { market: BLANK, decoded: None }
    }

    #[test]
    fn without_latency_there_is_no_line() {
        let constant = |ns| FeedLatency::Delay(Delay::Constant(ns));
        assert!(Feed::new(vec![constant(0)]).is_none());
        assert!(Feed::new(vec![constant(0), constant(0)]).is_none());
        assert!(Feed::new(vec![constant(1)]).is_some());
        assert!(Feed::new(vec![constant(0), constant(1)]).is_some());
        assert!(Feed::new(vec![FeedLatency::Stamps]).is_some());
    }

    #[test]
    fn each_exchange_has_its_line_and_what_was_sent_first_arrives_first() {
        let constant = |ns| FeedLatency::Delay(Delay::Constant(ns));
        let mut feed = Feed::new(vec![constant(10), constant(0), constant(5)]).unwrap();
        let named =
            |instrument| Sent { market: Market { instrument: InstrumentId(instrument), ..BLANK }, decoded: None };
        for (line, at, name) in [(0, 0, 1), (1, 1, 2), (2, 5, 3), (1, 10, 4)] {
            feed.send(line, Nanos(at), Nanos(at), named(name)).unwrap();
        }
        assert_eq!((feed.next(), feed.last()), (Some(Nanos(1)), Some(Nanos(10))));
        let mut arrivals = Vec::new();
        while let Some((at, sent)) = feed.receive(Nanos(10)) {
            arrivals.push((at.0, sent.market.instrument.0));
        }
        assert_eq!(arrivals, [(1, 2), (10, 1), (10, 3), (10, 4)]);
    }

    #[test]
    fn events_come_at_their_receive_stamps_in_order_and_never_before_they_happen() {
        let mut feed = Feed::new(vec![FeedLatency::Stamps]).unwrap();
        for (at, received) in [(10, 15), (11, 12), (20, 18), (30, 31)] {
            feed.send(0, Nanos(at), Nanos(received), sent()).unwrap();
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
        let mut feed = Feed::new(vec![FeedLatency::Delay(Delay::Constant(1_000))]).unwrap();
        feed.most = 2;
        feed.send(0, Nanos(1), Nanos(0), sent()).unwrap();
        feed.send(0, Nanos(2), Nanos(0), sent()).unwrap();
        let error = feed.send(0, Nanos(3), Nanos(0), sent()).unwrap_err();
        assert!(error.message.contains("more than 2 market events"), "{error}");
        assert_eq!(feed.receive(Nanos(2_000)).unwrap().0, Nanos(1_001));
        feed.send(0, Nanos(3), Nanos(0), sent()).unwrap();
    }
}
