//! Where market events come from: one interface, and a merge by time.

use std::fmt;
use std::path::{Path, PathBuf};

use helios_data::normalise::ItchNormaliser;
use helios_types::{InstrumentId, Market, Nanos, Update};
use helios_wire::itch;

use crate::itch_file::{Faults, ItchFile};

/// A source that cannot go on. What it gave before is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// File or name of the source.
    pub source: String,
    /// What was wrong, where, and what to do.
    pub message: String,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.message)
    }
}

impl std::error::Error for SourceError {}

impl SourceError {
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self { source: path.display().to_string(), message: error.to_string() }
    }
}

/// Market events in time order.
pub trait Source: Send {
    /// Writes the next event into `market`; false at the end. In place, because an event is larger than a cache line and
    /// copying one right after it was written stalls the processor.
    fn next(&mut self, market: &mut Market) -> Result<bool, SourceError>;
    /// When the event given last was received, where the source knows it; [`Nanos`] zero where not.
    fn received(&self) -> Nanos {
        Nanos(0)
    }
    /// How much of it is done, 0 to 1.
    fn progress(&self) -> f64;
    /// Faults that did not stop it.
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Events of an ITCH file, for the symbols of the run.
pub struct ItchSource {
    path: PathBuf,
    file: ItchFile,
    normaliser: ItchNormaliser,
    at: usize,
}

impl ItchSource {
    /// Opens a plain, gzip or pcap file. `midnight` is the start of its day in New York, as UTC.
    pub fn open(path: &Path, midnight: Nanos, symbols: &[String]) -> Result<Self, SourceError> {
        let normaliser = ItchNormaliser::new(midnight, symbols);
        Ok(Self { path: path.to_owned(), file: ItchFile::open(path)?, normaliser, at: 0 })
    }
}

impl Source for ItchSource {
    #[inline]
    fn next(&mut self, market: &mut Market) -> Result<bool, SourceError> {
        loop {
            while self.at < self.file.batch().len() {
                let at = self.at;
                self.at += 1;
                match itch::decode(self.file.batch().message(at)) {
                    Ok(message) => {
                        if let Some(event) = self.normaliser.normalise(&message) {
                            *market = event;
                            return Ok(true);
                        }
                    }
                    Err(error) => self.file.note(at, error),
                }
            }
            self.at = 0;
            if !self.file.advance()? {
                return Ok(false);
            }
        }
    }

    fn progress(&self) -> f64 {
        self.file.progress()
    }

    fn faults(&self) -> Vec<String> {
        let faults: &Faults = self.file.faults();
        faults.describe().into_iter().map(|fault| format!("{}: {fault}", self.path.display())).collect()
    }
}

/// Several sources as one, by event time; at the same time the earlier source goes first.
pub struct Merge {
    sources: Vec<Box<dyn Source>>,
    /// The next event of each source, `None` at its end. Not used for a single source.
    heads: Vec<Option<Market>>,
    /// When each of them was received, and when the event given last was; of several sources only.
    stamps: Vec<Nanos>,
    received: Nanos,
    /// Why one of them cannot go on. Raised after the good event before it, and from then on.
    failed: Option<SourceError>,
    /// Nothing stamped after this moment is given.
    stop: Nanos,
    /// An event after `stop` was seen: the end is a cut, not the end of the data.
    stopped: bool,
}

impl Merge {
    /// Reads the first event of each.
    pub fn new(mut sources: Vec<Box<dyn Source>>) -> Result<Self, SourceError> {
        let heads = match sources.len() {
            0 | 1 => Vec::new(),
            _ => sources.iter_mut().map(|source| read(source.as_mut())).collect::<Result<_, _>>()?,
        };
        let stamps = sources.iter().map(|source| source.received()).collect();
        let (received, stop) = (Nanos(0), Nanos(u64::MAX));
        Ok(Self { sources, heads, stamps, received, failed: None, stop, stopped: false })
    }

    /// The same events up to and including `stop`; it ends at the first event after it.
    #[must_use]
    pub fn until(self, stop: Nanos) -> Self {
        Self { stop, ..self }
    }

    /// The moment after which nothing is given.
    pub(crate) fn stop(&self) -> Nanos {
        self.stop
    }

    /// The moment at which the data was cut, once that has happened.
    pub fn stopped(&self) -> Option<Nanos> {
        self.stopped.then_some(self.stop)
    }
}

/// An event to write into.
pub(crate) const BLANK: Market =
    Market { instrument: InstrumentId(0), ts_event: Nanos(0), update: Update::TradeBreak { trade: 0 } };

fn read(source: &mut dyn Source) -> Result<Option<Market>, SourceError> {
    let mut market = BLANK;
    Ok(source.next(&mut market)?.then_some(market))
}

impl Source for Merge {
    #[inline(always)]
    fn next(&mut self, market: &mut Market) -> Result<bool, SourceError> {
        if let ([only], false) = (self.sources.as_mut_slice(), self.stopped) {
            let more = only.next(market)?;
            self.stopped = more && market.ts_event > self.stop;
            return Ok(more && !self.stopped);
        }
        self.earliest(market)
    }

    fn received(&self) -> Nanos {
        if let [only] = self.sources.as_slice() { only.received() } else { self.received }
    }

    fn progress(&self) -> f64 {
        let total: f64 = self.sources.iter().map(|source| source.progress()).sum();
        if self.sources.is_empty() { 1.0 } else { total / self.sources.len() as f64 }
    }

    fn faults(&self) -> Vec<String> {
        self.sources.iter().flat_map(|source| source.faults()).collect()
    }
}

impl Merge {
    /// The earliest event of several sources.
    fn earliest(&mut self, market: &mut Market) -> Result<bool, SourceError> {
        if self.stopped {
            return Ok(false);
        }
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut first: Option<(usize, Nanos)> = None;
        for (at, head) in self.heads.iter().enumerate() {
            if let Some(head) = head
                && first.is_none_or(|(_, ts)| head.ts_event < ts)
            {
                first = Some((at, head.ts_event));
            }
        }
        let Some((at, ts)) = first else { return Ok(false) };
        if ts > self.stop {
            self.stopped = true;
            return Ok(false);
        }
        if let Some(head) = self.heads[at] {
            *market = head;
        }
        self.received = self.stamps[at];
        match read(self.sources[at].as_mut()) {
            Ok(next) => (self.heads[at], self.stamps[at]) = (next, self.sources[at].received()),
            Err(error) => (self.heads[at], self.failed) = (None, Some(error)),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events at fixed times, the last one first, of one instrument.
    struct At(u32, Vec<u64>);

    impl Source for At {
        fn next(&mut self, market: &mut Market) -> Result<bool, SourceError> {
            let next = self.1.pop();
            if let Some(ts) = next {
                (market.instrument, market.ts_event) = (InstrumentId(self.0), Nanos(ts));
            }
            Ok(next.is_some())
        }

        fn progress(&self) -> f64 {
            0.0
        }
    }

    /// What is given up to a moment, and the cut if there was one.
    fn given(sources: &[&[u64]], stop: u64) -> (Vec<(u32, u64)>, Option<Nanos>) {
        let boxed = (0..).zip(sources).map(|(id, times)| {
            let times = times.iter().rev().copied().collect();
            Box::new(At(id, times)) as Box<dyn Source>
        });
        let mut merge = Merge::new(boxed.collect()).unwrap().until(Nanos(stop));
        let (mut market, mut events) = (BLANK, Vec::new());
        while merge.next(&mut market).unwrap() {
            events.push((market.instrument.0, market.ts_event.0));
        }
        assert!(!merge.next(&mut market).unwrap(), "the end stays the end");
        (events, merge.stopped())
    }

    #[test]
    fn a_stop_gives_what_is_stamped_up_to_it() {
        assert_eq!(given(&[&[1, 5, 5, 9, 2]], 5), (vec![(0, 1), (0, 5), (0, 5)], Some(Nanos(5))));
        assert_eq!(given(&[&[1, 7], &[3, 5, 6]], 5), (vec![(0, 1), (1, 3), (1, 5)], Some(Nanos(5))));
        assert_eq!(given(&[&[4], &[4]], 3), (vec![], Some(Nanos(3))));
    }

    #[test]
    fn a_stop_at_or_beyond_the_end_is_no_cut() {
        assert_eq!(given(&[&[1, 5]], 5), (vec![(0, 1), (0, 5)], None));
        assert_eq!(given(&[&[1], &[2]], u64::MAX), (vec![(0, 1), (1, 2)], None));
    }
}
