//! What strategies outside the core remember, brought back after a failure.
//!
//! A strategy's memory is a function of what it heard. So a run that goes on calls it again with the journal's inputs, and
//! then it remembers what it did in the process that died. What it wishes meanwhile is in the journal already, as inputs
//! of their own, and goes nowhere: it is held against them. A wish that differs means that the strategy's code has
//! changed, or that it depends on more than what it hears (chance, the clock, files): that is a [doubt](Recalled::doubts),
//! to be told, and no error, for the positions and orders are the journal's and right all the same.
//!
//! Where wishes stand in a journal: they follow the input at which they were made, first come, first served, those that
//! answer a wish behind those that were waiting. In between is nothing but the house's own cancels and sessions that go
//! down, with which a process begins and ends: it grants wishes again when all sessions are down ([`Recalled::wishes`]
//! are those of a process that was killed in between).
//!
//! From a snapshot only what came after it is called again: it has what [`Callbacks::save`] gave at the very same input.
//!
//! An exception that a strategy raises is a doubt too. The process that it ended heard nothing more for its strategies,
//! so they hear nothing until sessions go down.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use helios_engine::State;
use helios_io::{Callbacks, SourceError};
use helios_types::{Event, Input, Intent, IntentKind, Link, Output, Side, StrategyId};

/// Wishes that wait at once for their input; later ones are dropped, which is a doubt.
pub const MAX_WAITING: usize = 10_000;

/// Callbacks that are called again with what a journal holds.
pub struct Recall<C> {
    callbacks: C,
    /// Made again, and not yet found in the journal.
    waiting: VecDeque<Intent>,
    /// Of the last call.
    wishes: Vec<Intent>,
    /// Input behind which the waiting ones were made.
    at: u64,
    doubts: BTreeMap<StrategyId, Doubt>,
    raised: Option<String>,
    /// After an exception, until sessions go down.
    is_deaf: bool,
    /// After an exception, until a wish is found in the journal: the process that it ended granted none.
    is_lenient: bool,
    remembers: bool,
}

/// What came back.
pub struct Recalled<C> {
    /// As they were in the process that died.
    pub callbacks: C,
    /// Wishes that the process did not bring to its journal: to be granted first of all, when sessions are down.
    pub wishes: Vec<Intent>,
    /// What is not as it was, a sentence each.
    pub doubts: Vec<String>,
}

/// The first wish of a strategy that was not the journal's.
struct Doubt {
    text: String,
    more: u64,
}

impl<C: Callbacks> Recall<C> {
    /// Nothing was heard yet.
    pub fn new(mut callbacks: C) -> Self {
        let remembers = callbacks.remembers();
        callbacks.replaying(true);
        Self {
            callbacks,
            waiting: VecDeque::new(),
            wishes: Vec::new(),
            at: 0,
            doubts: BTreeMap::new(),
            raised: None,
            is_deaf: false,
            is_lenient: false,
            remembers,
        }
    }

    /// Whether a snapshot with these stations' parts has the memory, which then is that of the snapshot.
    pub fn resume(&mut self, stations: &[Vec<u8>]) -> Result<bool, SourceError> {
        match stations {
            _ if !self.remembers => Ok(true),
            [saved] => self.callbacks.load(saved),
            _ => Ok(false),
        }
    }

    /// An input of the journal, what it said, and the state behind it.
    pub fn hear(&mut self, input: &Input, outputs: &[Output], state: &State) {
        if !self.remembers {
            return;
        }
        match &input.event {
            Event::Intent(wish) if wish.strategy != StrategyId::HOUSE => self.compare(input.seq, wish),
            Event::Intent(_) => {}
            Event::Link(Link::Down { .. }) => self.is_deaf = false,
            _ => self.round_over(),
        }
        if self.is_deaf {
            return;
        }
        if self.waiting.is_empty() {
            self.at = input.seq;
        }
        match self.callbacks.after(input, outputs, state, None, &mut self.wishes) {
            Ok(()) => self.wait(state.markets().len()),
            Err(error) => {
                self.wishes.clear();
                (self.is_deaf, self.is_lenient) = (true, true);
                let text =
                    format!("a strategy failed at input {}, in recovery as it may have then: {error}", input.seq);
                self.raised.get_or_insert(text);
            }
        }
    }

    fn wait(&mut self, instruments: usize) {
        for wish in self.wishes.drain(..) {
            if wish.instrument.index() >= instruments {
                // The engine takes none of an instrument that the run has not.
                continue;
            }
            if self.waiting.len() < MAX_WAITING {
                self.waiting.push_back(wish);
            } else {
                let text = format!("at input {} it has more than {MAX_WAITING} wishes", self.at);
                doubt(&mut self.doubts, wish.strategy, || text);
            }
        }
    }

    /// The journal's next wish is the next of its strategy.
    fn compare(&mut self, seq: u64, found: &Intent) {
        if self.is_lenient {
            // Those before it were made where nobody granted them.
            let granted = self.waiting.iter().position(|wish| wish == found).unwrap_or(0);
            self.waiting.drain(..granted);
        }
        let place = self.waiting.iter().position(|wish| wish.strategy == found.strategy);
        let made = place.and_then(|place| self.waiting.remove(place));
        if made.as_ref() == Some(found) {
            self.is_lenient = false;
            return;
        }
        self.waiting.retain(|wish| wish.strategy != found.strategy);
        let now = made.map_or_else(|| "nothing".to_owned(), |made| Wish(&made).to_string());
        doubt(&mut self.doubts, found.strategy, || {
            format!("at input {seq} it wished {} then, and {now} now", Wish(found))
        });
    }

    /// Something else happens: whoever still waits did not wish then what it wishes now.
    fn round_over(&mut self) {
        let Self { waiting, doubts, at, is_lenient, .. } = self;
        for wish in waiting.drain(..).filter(|_| !*is_lenient) {
            doubt(doubts, wish.strategy, || {
                format!("after input {at} it wished nothing then, and {} now", Wish(&wish))
            });
        }
    }

    /// What is doubtful so far, a sentence each.
    pub fn doubts(&self) -> Vec<String> {
        let tell = |(strategy, Doubt { text, more }): (&StrategyId, &Doubt)| {
            let more = if *more > 0 { format!(" ({more} more differ)") } else { String::new() };
            let name = self.callbacks.name_of(*strategy);
            format!(
                "{name} does not do again what it did: {text}{more}. Its code has changed, or depends on more than what it \
                 hears, like chance, the clock or a file: what it remembers may not be what it remembered"
            )
        };
        self.raised.iter().cloned().chain(self.doubts.iter().map(tell)).collect()
    }

    /// The journal is at its end.
    pub fn finish(mut self) -> Recalled<C> {
        let doubts = self.doubts();
        self.callbacks.replaying(false);
        let wishes = if self.is_lenient { Vec::new() } else { self.waiting.into() };
        Recalled { callbacks: self.callbacks, wishes, doubts }
    }
}

fn doubt(doubts: &mut BTreeMap<StrategyId, Doubt>, strategy: StrategyId, text: impl FnOnce() -> String) {
    doubts.entry(strategy).and_modify(|doubt| doubt.more += 1).or_insert_with(|| Doubt { text: text(), more: 0 });
}

/// A wish in words.
struct Wish<'a>(&'a Intent);

impl fmt::Display for Wish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind {
            IntentKind::Target { position } => write!(f, "a position of {position}")?,
            IntentKind::Order { id, side, quantity, price, .. } => {
                let side = if side == Side::Buy { "buy" } else { "sell" };
                write!(f, "to {side} {quantity}")?;
                if price.is_defined() {
                    write!(f, " at {price}")?;
                }
                write!(f, " (order {})", id.0)?;
            }
            IntentKind::Cancel { order } => write!(f, "to cancel order {}", order.0)?,
            IntentKind::Replace { order, quantity, price } => {
                write!(f, "to make order {} one of {quantity} at {price}", order.0)?;
            }
            IntentKind::Quote { .. } => write!(f, "a quote")?,
        }
        write!(f, " in instrument {}", self.0.instrument.0)
    }
}
