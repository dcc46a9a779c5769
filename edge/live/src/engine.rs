//! The engine of a live run: the state and its journal. An input is in the journal before it is stepped, and so before
//! anything that it says can leave.

use helios_engine::{State, step};
use helios_io::SourceError;
use helios_types::{Charge, Event, Feed, Input, InstrumentId, Link, Nanos, Output, Update};

use crate::journal::Journal;

/// The state, its journal, and what the last input said.
pub struct Engine {
    state: State,
    journal: Option<Journal>,
    input: Input,
    outputs: Vec<Output>,
    /// The outputs above are not in the journal yet.
    unwritten: bool,
    instruments: u32,
    refused: u64,
    said: u64,
}

/// Outputs of one input for which there is room from the start.
const ROOM: usize = 1024;

impl Engine {
    /// `state` stands where the journal stands; without a journal nothing can be replayed (benches, tests).
    pub fn new(state: State, journal: Option<Journal>) -> Self {
        if let Some(journal) = &journal {
            assert!(journal.inputs() == state.next_seq(), "the journal stands where the state stands");
        }
        let instruments = u32::try_from(state.markets().len()).expect("instrument numbers have 32 bits");
        let input = Input { seq: 0, ts: Nanos(0), event: Event::Link(Link::Down { session: 0 }) };
        let outputs = Vec::with_capacity(ROOM);
        Self { state, journal, input, outputs, unwritten: false, instruments, refused: 0, said: 0 }
    }

    /// Takes one event in: into the journal, then through the step. What it said is in [`outputs`](Self::outputs) until
    /// the next event. A clock that goes back stands still. False: the event names an instrument that the run has not; it
    /// was counted and is no input.
    #[inline]
    pub fn event(&mut self, ts: Nanos, event: Event) -> Result<bool, SourceError> {
        let taken = self.begin(ts, event)?;
        if taken {
            self.step();
        }
        Ok(taken)
    }

    /// The first half of [`event`](Self::event): it is in the journal.
    #[inline]
    pub(crate) fn begin(&mut self, ts: Nanos, event: Event) -> Result<bool, SourceError> {
        self.write_outputs();
        if !self.knows(&event) {
            self.refused += 1;
            self.outputs.clear();
            return Ok(false);
        }
        self.input = Input { seq: self.state.next_seq(), ts: ts.max(self.state.now()), event };
        if let Some(journal) = &mut self.journal {
            journal.input(&self.input)?;
        }
        Ok(true)
    }

    /// The second half.
    #[inline]
    pub(crate) fn step(&mut self) {
        self.outputs.clear();
        step(&mut self.state, &self.input, &mut self.outputs);
        self.said += self.outputs.len() as u64;
        self.unwritten = !self.outputs.is_empty();
    }

    /// What the last input said.
    #[inline]
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The last input.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Brings the last outputs to the journal; they go there with the next input else.
    pub fn settle(&mut self) -> Result<(), SourceError> {
        self.write_outputs();
        self.journal.as_mut().map_or(Ok(()), Journal::flush)
    }

    #[inline]
    fn write_outputs(&mut self) {
        if self.unwritten {
            self.unwritten = false;
            if let Some(journal) = &mut self.journal {
                for output in &self.outputs {
                    journal.output(self.input.seq, output);
                }
            }
        }
    }

    /// True for an event of the run's instruments: others must not get as far as the journal, or no replay could read it.
    #[inline]
    fn knows(&self, event: &Event) -> bool {
        let instrument = match event {
            // What stands there is a series.
            Event::Market(market) if matches!(market.update, Update::Value(_)) => return true,
            Event::Market(market) => market.instrument,
            Event::Report(report) => report.instrument,
            Event::Intent(intent) => intent.instrument,
            Event::Charge(Charge::Borrow { instrument, .. })
            | Event::Feed(Feed::Incomplete { instrument, .. } | Feed::Complete { instrument })
            | Event::Link(Link::Position { instrument, .. }) => *instrument,
            Event::Timer(_) | Event::Control(_) | Event::Charge(_) | Event::Feed(_) | Event::Link(_) => return true,
        };
        instrument < InstrumentId(self.instruments)
    }

    /// The state, to look at.
    #[inline]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The journal, if there is one.
    #[inline]
    pub fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Events that named an instrument that the run has not.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Outputs so far.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// Closes the journal; gives out the state and the digest it ended with.
    pub fn end(mut self) -> Result<(State, u128), SourceError> {
        self.settle()?;
        let digest = self.state.digest();
        if let Some(journal) = self.journal.take() {
            journal.end(digest)?;
        }
        Ok((self.state, digest))
    }
}
