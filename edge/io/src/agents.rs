//! A market of agents as a source, and as the market inside a run's venue.

use std::collections::VecDeque;

use helios_data::normalise::ItchNormaliser;
use helios_types::{Market, Nanos};
use helios_venue::agents::Simulation;
use helios_wire::frame::{Frames, Framing};
use helios_wire::itch;

use crate::source::{Merge, Source, SourceError};

/// Reads the feed of a simulation.
struct Reader {
    normaliser: ItchNormaliser,
    events: VecDeque<Market>,
}

impl Reader {
    fn new(midnight: Nanos, symbols: &[String]) -> Self {
        Self { normaliser: ItchNormaliser::new(midnight, symbols), events: VecDeque::new() }
    }

    /// Takes all frames.
    fn read(&mut self, frames: &mut Vec<u8>) {
        for message in Frames::new(frames, Framing::LengthPrefixed) {
            let message = itch::decode(message).expect("a simulation writes genuine messages");
            self.events.extend(self.normaliser.normalise(&message));
        }
        frames.clear();
    }
}

/// A simulated day as a source: agents that hear of nobody.
pub struct AgentsSource {
    simulation: Simulation,
    reader: Reader,
    frames: Vec<u8>,
}

impl AgentsSource {
    /// `midnight` is the start of its day, as UTC; `symbols[i]` becomes instrument `i`.
    pub fn new(simulation: Simulation, midnight: Nanos, symbols: &[String]) -> Self {
        Self { simulation, reader: Reader::new(midnight, symbols), frames: Vec::new() }
    }
}

impl Source for AgentsSource {
    fn next(&mut self, market: &mut Market) -> Result<bool, SourceError> {
        loop {
            if let Some(event) = self.reader.events.pop_front() {
                *market = event;
                return Ok(true);
            }
            if !self.simulation.next_step(&mut self.frames) {
                return Ok(false);
            }
            self.reader.read(&mut self.frames);
        }
    }

    fn progress(&self) -> f64 {
        self.simulation.progress()
    }
}

/// What a run with agents in its venue hears: their feed, and series from outside the market beside it.
pub(crate) struct Hearing {
    reader: Reader,
    /// The next event of the other sources, and whether they have more.
    other: Option<Market>,
    ended: bool,
    /// Where the run is cut, if it was.
    pub(crate) stopped: Option<Nanos>,
}

/// What happens next in a run with agents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// An event of the feed.
    Feed(Nanos),
    /// An event of another source.
    Other(Nanos),
    /// An act of an agent.
    Act(Nanos),
}

impl Hearing {
    pub(crate) fn new(midnight: Nanos, symbols: &[String]) -> Self {
        Self { reader: Reader::new(midnight, symbols), other: None, ended: false, stopped: None }
    }

    /// Collects what the venue has written. After a cut nothing is heard any more.
    pub(crate) fn listen(&mut self, frames: &mut Vec<u8>) {
        if self.stopped.is_some() {
            return frames.clear();
        }
        if !frames.is_empty() {
            self.reader.read(frames);
        }
    }

    /// When the next event of the feed happened that was not taken yet.
    pub(crate) fn heard(&self) -> Option<Nanos> {
        self.reader.events.front().map(|market| market.ts_event)
    }

    /// The earliest of feed, other sources and agents, in this order at one moment; `None` at the end.
    pub(crate) fn next(&mut self, source: &mut Merge, act: Option<Nanos>) -> Result<Option<Next>, SourceError> {
        if self.other.is_none() && !self.ended {
            let mut market = crate::source::BLANK;
            self.ended = !source.next(&mut market)?;
            self.other = (!self.ended).then_some(market);
        }
        let other = self.other.as_ref().map(|market| market.ts_event);
        let next = [self.heard().map(Next::Feed), other.map(Next::Other), act.map(Next::Act)];
        let next = next.into_iter().flatten().min_by_key(Next::at);
        if let Some(next) = next
            && next.at() > source.stop()
        {
            (self.stopped, self.other, self.ended) = (Some(source.stop()), None, true);
            self.reader.events.clear();
            return Ok(None);
        }
        Ok(next)
    }

    /// Takes the event of the feed, or of the other sources, that is next.
    pub(crate) fn take(&mut self, next: Next, market: &mut Market) {
        let taken = match next {
            Next::Feed(_) => self.reader.events.pop_front(),
            Next::Other(_) => self.other.take(),
            Next::Act(_) => None,
        };
        *market = taken.expect("the caller saw it");
    }
}

impl Next {
    pub(crate) fn at(&self) -> Nanos {
        match *self {
            Self::Feed(at) | Self::Other(at) | Self::Act(at) => at,
        }
    }
}
