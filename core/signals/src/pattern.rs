//! Complex events: this, then that, within so long, without something else, so many times, or followed by silence.
//!
//! A [`Pattern`] sees events one by one, each with the conditions that occurred at it, and counts the matches that
//! complete. Every occurrence of the first step opens a partial match, which then takes the first event that its next
//! step can use and passes over all others (skip till next match). So a match is settled by its first event, and of
//! two open ones the older is never behind. `docs/models/patterns.md` states each rule with the test that shows it.
//!
//! Assumes that time does not run backwards. Absent on purpose: a clock (what is due completes at the first event
//! that comes at or after its time), branching (skip till any match: its number of matches is exponential), and
//! conditions on the events of a partial match (the second price above the first: make that an expression instead).
//! The terms are those of Agrawal, Diao, Gyllstrom, Immerman (2008), Efficient pattern matching over event streams.

use std::cmp::Reverse;
use std::collections::VecDeque;

use helios_types::{Damaged, Digest, Hasher, Load, Nanos, Persist, Save, persist};

use crate::nodes::moments::MAX_SAMPLES;

/// Conditions of one pattern at most: they are the bits of a word.
pub const MAX_CONDITIONS: u32 = 64;

/// Steps of one pattern at most.
pub const MAX_STEPS: usize = 64;

/// Occurrences that one step can ask for at most.
pub const MAX_TIMES: u32 = 1 << 20;

/// Partial matches open at once at most; a pattern may set less.
pub const MAX_OPEN: u32 = 64;

/// What a match takes away from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumption {
    /// No event is part of two matches: a match drops every partial match that shares one with it.
    NonOverlapping,
    /// Every occurrence of the first step may lead to a match of its own.
    Overlapping,
}

/// What happens when one more partial match would open than there may be. Either is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtBound {
    /// The oldest is dropped: what stays has the most time left. Where occurrences of the first step flood the others,
    /// what has begun is lost before it completes, and no match may ever complete.
    DropOldest,
    /// The new one does not open: what stays has come furthest. It may be out of time where the new one would not be.
    RefuseNew,
}

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which condition must occur.
    pub condition: u32,
    /// At how many events.
    pub times: u32,
    /// Nanoseconds at most from the completion of the step before to the completion of this one.
    pub within: Option<u64>,
    /// Conditions, as bits, that must not occur from the completion of the step before (itself not counted) to the
    /// completion of this one (counted). The first step is looked at from its first occurrence on, that one counted.
    pub without: u64,
}

/// Silence after the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// Conditions, as bits, none of which may occur.
    pub conditions: u64,
    /// For so many nanoseconds: from behind the event that completed the last step until just before its time plus
    /// this.
    pub span: u64,
}

/// What a pattern is, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternSpec {
    /// How many conditions there are: the node's inputs, in order.
    pub conditions: u32,
    /// One more input follows them, whose firing lets time pass and is no condition.
    pub heartbeat: bool,
    /// What must happen, in order.
    pub steps: Vec<Step>,
    /// Nanoseconds at most from the first event of a match to the completion of its last step.
    pub within: Option<u64>,
    /// What must not happen afterwards.
    pub absent: Option<Absence>,
    /// What a match takes away from the others.
    pub consumption: Consumption,
    /// Partial matches open at once at most.
    pub max_open: u32,
    /// What happens when there would be more.
    pub at_bound: AtBound,
}

impl PatternSpec {
    /// Inputs of the node: the conditions and the heartbeat.
    pub fn inputs(&self) -> usize {
        self.conditions as usize + usize::from(self.heartbeat)
    }

    /// Reads what `helios.signals.pattern` writes. No span is 0, a set is its size and then its members:
    ///
    /// `conditions, heartbeat, overlapping, max_open, refuse new, within, absent for, {absent}, steps`, and for each
    /// step `condition, times, within, {without}`.
    pub fn decode(ints: &[i64]) -> Result<Self, String> {
        let mut ints = Ints { ints, at: 0 };
        let conditions = ints.small("the number of conditions")?;
        let heartbeat = ints.flag("heartbeat")?;
        let overlapping = ints.flag("overlapping")?;
        let max_open = ints.small("the bound of open partial matches")?;
        let refuse_new = ints.flag("refuse new")?;
        let within = ints.span("the whole pattern's within")?;
        let span = ints.span("the span of absence")?;
        let silent = ints.set("the absent conditions")?;
        let absent = match span {
            None if silent == 0 => None,
            span => Some(Absence { conditions: silent, span: span.unwrap_or(0) }),
        };
        let count = ints.small("the number of steps")?;
        if count as usize > MAX_STEPS {
            return Err(format!("a pattern of {count} steps: it has {MAX_STEPS} at most"));
        }
        let mut steps = Vec::with_capacity(count as usize);
        for _ in 0..count {
            steps.push(Step {
                condition: ints.small("a step's condition")?,
                times: ints.small("a step's times")?,
                within: ints.span("a step's within")?,
                without: ints.set("a step's without")?,
            });
        }
        let left = ints.ints.len() - ints.at;
        if left > 0 {
            return Err(format!("a pattern's description goes on for {left} numbers behind its last step"));
        }
        let consumption = if overlapping { Consumption::Overlapping } else { Consumption::NonOverlapping };
        let at_bound = if refuse_new { AtBound::RefuseNew } else { AtBound::DropOldest };
        Ok(Self { conditions, heartbeat, steps, within, absent, consumption, max_open, at_bound })
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=MAX_CONDITIONS).contains(&self.conditions) {
            return Err(format!("a pattern has 1 to {MAX_CONDITIONS} conditions, not {}", self.conditions));
        }
        if self.steps.is_empty() || self.steps.len() > MAX_STEPS {
            return Err(format!("a pattern has 1 to {MAX_STEPS} steps, not {}", self.steps.len()));
        }
        if !(1..=MAX_OPEN).contains(&self.max_open) {
            return Err(format!("{} open partial matches at most: it must be 1 to {MAX_OPEN}", self.max_open));
        }
        if self.within == Some(0) {
            return Err("a pattern within 0 ns: it must be longer".to_owned());
        }
        for (at, step) in self.steps.iter().enumerate() {
            self.check_step(at, step).map_err(|wrong| format!("step {at} of a pattern: {wrong}"))?;
        }
        // Each occurrence opens one more, and the first of them is dropped before it has all of its own.
        if self.at_bound == AtBound::DropOldest && self.steps[0].times > self.max_open + 1 {
            let times = self.steps[0].times;
            return Err(format!(
                "a pattern that begins with {times} occurrences and drops the oldest of {} partial matches never \
                 matches: refuse the new one instead",
                self.max_open
            ));
        }
        let Some(absent) = self.absent else { return Ok(()) };
        if absent.span == 0 || absent.conditions == 0 {
            return Err("a pattern's absence needs a condition and a span longer than 0 ns".to_owned());
        }
        self.check_set(absent.conditions).map_err(|wrong| format!("a pattern's absence: {wrong}"))
    }

    fn check_step(&self, at: usize, step: &Step) -> Result<(), String> {
        if step.condition >= self.conditions {
            return Err(format!("condition {} of {}", step.condition, self.conditions));
        }
        if !(1..=MAX_TIMES).contains(&step.times) {
            return Err(format!("{} times: it must be 1 to {MAX_TIMES}", step.times));
        }
        if step.within == Some(0) {
            return Err("within 0 ns: it must be longer".to_owned());
        }
        if at == 0 && step.within.is_some() {
            return Err("within needs a step before it; the whole pattern's within begins at the first".to_owned());
        }
        if step.without & step.bit() != 0 {
            return Err(format!("it wants condition {} and excludes it", step.condition));
        }
        self.check_set(step.without)
    }

    fn check_set(&self, conditions: u64) -> Result<(), String> {
        let known = u64::MAX >> (u64::BITS - self.conditions);
        if conditions & !known != 0 {
            return Err(format!("condition {} of {}", (conditions & !known).trailing_zeros(), self.conditions));
        }
        Ok(())
    }
}

impl Step {
    const fn bit(&self) -> u64 {
        1 << self.condition
    }
}

/// A description that is read from front to back.
struct Ints<'a> {
    ints: &'a [i64],
    at: usize,
}

impl Ints<'_> {
    fn next(&mut self, what: &str) -> Result<u64, String> {
        let x = self.ints.get(self.at).ok_or_else(|| format!("a pattern's description ends before {what}"))?;
        self.at += 1;
        u64::try_from(*x).map_err(|_| format!("a pattern's description: {what} is {x}"))
    }

    fn small(&mut self, what: &str) -> Result<u32, String> {
        let x = self.next(what)?;
        u32::try_from(x).map_err(|_| format!("a pattern's description: {what} is {x}"))
    }

    fn flag(&mut self, what: &str) -> Result<bool, String> {
        match self.next(what)? {
            0 => Ok(false),
            1 => Ok(true),
            x => Err(format!("a pattern's description: {what} is {x}, not 0 or 1")),
        }
    }

    fn span(&mut self, what: &str) -> Result<Option<u64>, String> {
        Ok(Some(self.next(what)?).filter(|ns| *ns > 0))
    }

    fn set(&mut self, what: &str) -> Result<u64, String> {
        let mut set = 0;
        for _ in 0..self.small(what)? {
            let member = self.small(what)?;
            if member >= MAX_CONDITIONS {
                return Err(format!("a pattern's description: {what} name condition {member}"));
            }
            set |= 1 << member;
        }
        Ok(set)
    }
}

/// A partial match.
#[derive(Clone, Debug)]
struct Partial {
    /// Which step it waits for; behind the last one it waits for silence.
    step: usize,
    /// Occurrences that this step still needs.
    left: u32,
    /// The last moment at which the step can complete, or the first at which there was silence for long enough.
    deadline: Nanos,
    /// The last moment at which the last step can complete.
    end: Nanos,
    /// Its name: one bit, no other open partial match has it.
    slot: u64,
    /// Slots of the younger partial matches that share an event with it: the older ones are gone before it matches.
    /// Unused when matches may overlap.
    shares: u64,
}

/// What an event does to a partial match.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    Took,
    Died,
    Matched { took: bool },
}

impl Partial {
    /// A partial match that has taken nothing yet.
    fn new(spec: &PatternSpec, now: Nanos) -> Self {
        let end = later(now, spec.within);
        Self { step: 0, left: spec.steps[0].times, deadline: end, end, slot: 0, shares: 0 }
    }

    /// What excludes wins over what is wanted, and a deadline over both.
    fn meet(&mut self, spec: &PatternSpec, now: Nanos, held: u64) -> Fate {
        let Some(step) = spec.steps.get(self.step) else {
            if now >= self.deadline {
                return Fate::Matched { took: false };
            }
            return if held & excluded(spec) != 0 { Fate::Died } else { Fate::Passed };
        };
        if now > self.deadline || held & step.without != 0 {
            return Fate::Died;
        }
        if held & step.bit() == 0 {
            return Fate::Passed;
        }
        if self.take(spec, now) { Fate::Matched { took: true } } else { Fate::Took }
    }

    /// Takes an event for the present step. True when that completes the match.
    fn take(&mut self, spec: &PatternSpec, now: Nanos) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        self.step += 1;
        if let Some(step) = spec.steps.get(self.step) {
            self.left = step.times;
            self.deadline = later(now, step.within).min(self.end);
            return false;
        }
        let Some(absent) = spec.absent else { return true };
        self.deadline = now.plus(absent.span);
        false
    }

    /// Conditions that can change anything for it.
    fn awaits(&self, spec: &PatternSpec) -> u64 {
        spec.steps.get(self.step).map_or(excluded(spec), |step| step.bit() | step.without)
    }

    /// The first moment at which time alone changes something for it.
    fn wakes(&self, spec: &PatternSpec) -> Nanos {
        if self.step < spec.steps.len() { self.deadline.plus(1) } else { self.deadline }
    }
}

fn excluded(spec: &PatternSpec) -> u64 {
    spec.absent.map_or(0, |absent| absent.conditions)
}

fn later(now: Nanos, span: Option<u64>) -> Nanos {
    span.map_or(NEVER, |ns| now.plus(ns))
}

/// No moment of any run.
const NEVER: Nanos = Nanos(u64::MAX);

/// A checked pattern with its partial matches. Allocates nothing once built.
#[derive(Clone, Debug)]
pub struct Pattern {
    spec: PatternSpec,
    /// Oldest first.
    open: VecDeque<Partial>,
    /// Slots that no open partial match has.
    free: u64,
    dropped: u64,
    /// Conditions that some open partial match awaits; too many only cost time.
    awaited: u64,
    /// Before this moment time alone changes nothing; too early only costs time.
    wake: Nanos,
}

impl Pattern {
    /// Checks a description.
    pub fn new(spec: PatternSpec) -> Result<Self, String> {
        spec.check()?;
        let open = VecDeque::with_capacity(spec.max_open as usize);
        let free = u64::MAX >> (u64::BITS - spec.max_open);
        Ok(Self { spec, open, free, dropped: 0, awaited: 0, wake: NEVER })
    }

    /// What it was made of.
    pub fn spec(&self) -> &PatternSpec {
        &self.spec
    }

    /// Partial matches that are open.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Partial matches that were dropped, or did not open, because there were too many.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// One event: bit k of `held` is set when condition k fired at it and is true. Returns how many matches completed.
    #[inline]
    pub fn step(&mut self, now: Nanos, held: u64) -> u32 {
        if held & (self.awaited | self.spec.steps[0].bit()) == 0 && now < self.wake {
            return 0;
        }
        self.react(now, held)
    }

    fn react(&mut self, now: Nanos, held: u64) -> u32 {
        let (mut matches, mut took, mut consumed) = (0, 0, false);
        if held & self.awaited != 0 || now >= self.wake {
            (matches, took, consumed) = self.advance(now, held);
        }
        let first = &self.spec.steps[0];
        if held & first.bit() != 0 && held & first.without == 0 && !consumed {
            let mut partial = Partial::new(&self.spec, now);
            if partial.take(&self.spec, now) {
                matches += 1;
            } else {
                self.add(partial, took);
            }
        }
        matches
    }

    /// Shows an event to all partial matches. Returns how many matched, which slots took it and are still open, and
    /// whether it is part of a match and can be part of no other.
    fn advance(&mut self, now: Nanos, held: u64) -> (u32, u64, bool) {
        let (mut took, mut matched, mut closed) = (0, 0, 0);
        for partial in &mut self.open {
            match partial.meet(&self.spec, now, held) {
                Fate::Passed => {}
                Fate::Took => took |= partial.slot,
                Fate::Died => closed |= partial.slot,
                Fate::Matched { took: by_this } => {
                    matched |= partial.slot;
                    took |= if by_this { partial.slot } else { 0 };
                }
            }
        }
        let alone = self.spec.consumption == Consumption::NonOverlapping;
        let (mut matches, mut consumed, mut younger) = (0, false, took);
        for partial in &mut self.open {
            younger &= !partial.slot;
            if alone && took & partial.slot != 0 {
                partial.shares |= younger;
            }
            if matched & !closed & partial.slot == 0 {
                continue;
            }
            matches += 1;
            closed |= partial.slot;
            if alone {
                closed |= partial.shares;
                consumed |= took & partial.slot != 0;
            }
        }
        self.close(closed);
        (matches, took & !closed, consumed)
    }

    /// Removes partial matches, and looks again for what the others await.
    fn close(&mut self, closed: u64) {
        if closed != 0 {
            self.open.retain(|partial| closed & partial.slot == 0);
            self.free |= closed;
        }
        debug_assert!(
            self.open.iter().is_sorted_by_key(|partial| (Reverse(partial.step), partial.left)),
            "the older is not behind"
        );
        (self.awaited, self.wake) = (0, NEVER);
        for partial in &mut self.open {
            partial.shares &= !closed;
            self.awaited |= partial.awaits(&self.spec);
            self.wake = self.wake.min(partial.wakes(&self.spec));
        }
    }

    /// Adds a partial match that has just taken an event, as those in the slots `took` have.
    fn add(&mut self, mut partial: Partial, took: u64) {
        if self.free == 0 {
            self.dropped += 1;
            if self.spec.at_bound == AtBound::RefuseNew {
                return;
            }
            let oldest = self.open.pop_front().expect("no slot is free: some partial match is open");
            self.free = oldest.slot;
        }
        partial.slot = 1 << self.free.trailing_zeros();
        self.free &= !partial.slot;
        if self.spec.consumption == Consumption::NonOverlapping && took != 0 {
            let sharing = self.open.iter_mut().filter(|other| took & other.slot != 0);
            sharing.for_each(|other| other.shares |= partial.slot);
        }
        self.awaited |= partial.awaits(&self.spec);
        self.wake = self.wake.min(partial.wakes(&self.spec));
        self.open.push_back(partial);
    }
}

impl Digest for Pattern {
    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.open.len() as u64);
        for partial in &self.open {
            let Partial { step, left, deadline, end, slot, shares } = partial;
            for x in [*step as u64, u64::from(*left), deadline.0, end.0, *slot, *shares] {
                hasher.u64(x);
            }
        }
        hasher.u64(self.dropped);
    }
}

/// How often a condition occurred in the recent past, `(now - span, now]`: a number from the first event on, never
/// null. Holds [`MAX_SAMPLES`] occurrences at most; beyond it the oldest is dropped early and counted.
#[derive(Clone, Debug)]
pub struct Occurrences {
    span: u64,
    times: VecDeque<Nanos>,
    seen: bool,
    truncated: u64,
}

impl Occurrences {
    /// Counts over `span` nanoseconds.
    pub fn new(span: u64) -> Result<Self, String> {
        if span == 0 {
            return Err("occurrences within 0 ns: the span must be longer".to_owned());
        }
        Ok(Self { span, times: VecDeque::new(), seen: false, truncated: 0 })
    }

    /// One event. True when it fires: at each occurrence, and when the count has changed or is told for the first time.
    #[inline]
    pub fn step(&mut self, now: Nanos, occurred: bool) -> bool {
        let mut fires = occurred | !std::mem::replace(&mut self.seen, true);
        while self.times.front().is_some_and(|ts| now.since(*ts) >= self.span) {
            self.times.pop_front();
            fires = true;
        }
        if occurred {
            if self.times.len() == MAX_SAMPLES {
                self.times.pop_front();
                self.truncated += 1;
            }
            self.times.push_back(now);
        }
        fires
    }

    /// Occurrences in the span that ends with the last event.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// Occurrences that were dropped early because there were too many.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }
}

impl Digest for Occurrences {
    fn digest(&self, hasher: &mut Hasher) {
        hasher.u64(self.times.len() as u64);
        self.times.iter().for_each(|ts| hasher.u64(ts.0));
        hasher.u64(u64::from(self.seen));
        hasher.u64(self.truncated);
    }
}

persist!(Partial { step, left, deadline, end, slot, shares });

/// Snapshots.
impl Pattern {
    /// Appends the partial matches.
    pub(crate) fn save(&self, save: &mut Save) {
        self.open.save(save);
        self.dropped.save(save);
    }

    /// Has the partial matches that a snapshot says.
    pub(crate) fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        self.open = Persist::load(load)?;
        self.dropped = Persist::load(load)?;
        self.free = u64::MAX >> (u64::BITS - self.spec.max_open);
        (self.awaited, self.wake) = (0, NEVER);
        for partial in &self.open {
            let waits = partial.left > 0 || partial.step >= self.spec.steps.len();
            if partial.slot.count_ones() != 1 || self.free & partial.slot == 0 || !waits {
                return Err(Damaged("a partial match that cannot be"));
            }
            self.free &= !partial.slot;
            self.awaited |= partial.awaits(&self.spec);
            self.wake = self.wake.min(partial.wakes(&self.spec));
        }
        Ok(())
    }
}

/// Snapshots.
impl Occurrences {
    /// Appends the occurrences.
    pub(crate) fn save(&self, save: &mut Save) {
        self.times.save(save);
        (self.seen, self.truncated).save(save);
    }

    /// Has the occurrences that a snapshot says.
    pub(crate) fn restore(&mut self, load: &mut Load<'_>) -> Result<(), Damaged> {
        self.times = Persist::load(load)?;
        (self.seen, self.truncated) = Persist::load(load)?;
        Ok(())
    }
}
