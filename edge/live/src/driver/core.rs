//! The engine's thread: events in, outputs to where they go, whatever the layout.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use helios_io::{Callbacks, Money, Recorder, SourceError};
use helios_types::{
    Control, Difference, Event, Feed, InstrumentId, Intent, IntentKind, Link, Market, Nanos, Output, Quantity,
    StrategyId, Timer, Update,
};

use super::beside::{Slots, Snapshot, Told};
use super::copies::Tap;
use super::entries::{Outlet, Stamps};
use super::feeds::Sink;
use super::shared::{Ended, INFO, Shared, lock, utc};
use crate::engine::Engine;
use crate::latency::{Stage, Stages, Ticks};
use crate::recovery::snapshot_bytes;
use crate::ring::{Receiver, Sender};

/// Events that may follow from one: beyond it strategies and venues answer each other without end, and the run stops.
const MAX_ROUNDS: u32 = 10_000;
/// Outputs that wait for the journal; with more the engine waits too.
const MAX_HELD: usize = 1 << 16;
/// Commands taken before sockets are looked at again.
const COMMANDS: usize = 16;
/// How often the status is told and histograms are handed on.
const STATUS_NS: u64 = 100_000_000;
/// A follower may come so late at the start.
const FOLLOW_NS: u64 = 5_000_000_000;
/// How often the money is told to the tables.
const MONEY_NS: u64 = 1_000_000_000;

/// What stations say while the engine is at work on something else: taken one after the other, right after it.
#[derive(Default)]
pub(super) struct Back(VecDeque<Event>);

impl Back {
    #[inline]
    pub(super) fn push(&mut self, event: Event) {
        self.0.push_back(event);
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Event> {
        self.0.pop_front()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Number of the input.
    pub seq: u64,
    /// What the engine said.
    pub outputs: Vec<Output>,
}

/// From an operator to the engine's thread.
pub enum Command {
    /// An input, and where its answer goes.
    Event(Event, std::sync::mpsc::SyncSender<Answer>),
    /// A look at the engine. It is done on the engine's thread: it must be short.
    Look(Box<dyn FnOnce(&Engine) + Send>),
}

/// An output that waits until the journal is safe.
struct Held {
    position: u64,
    output: Output,
    now: Nanos,
    stamps: Stamps,
}

/// A packet's way through the engine, in ticks.
#[derive(Clone, Copy, Default)]
struct Trail {
    /// Zero: it came of no packet, or the packet's order has left.
    received: u64,
    begun: u64,
    journaled: u64,
    stepped: u64,
}

/// Why the run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Waiting for answers until this moment.
    Stopping(Nanos),
    Over,
}

/// How a run ends.
#[derive(Clone, Copy, Debug)]
pub struct Stopping {
    /// Resting orders are cancelled.
    pub cancel: bool,
    /// Answers are waited for so long.
    pub patience: Duration,
}

/// See the module.
pub(super) struct Core<O, C> {
    engine: Engine,
    pub(super) outlet: O,
    callbacks: C,
    back: Back,
    held: VecDeque<Held>,
    wishes: Vec<Intent>,
    ticks: Ticks,
    stages: Option<Box<Stages>>,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    told: Sender<Told>,
    snapshots: Sender<Snapshot>,
    snapshot_every: Duration,
    next_snapshot: Nanos,
    slots: Slots,
    sessions: u32,
    started: Nanos,
    stopping: Stopping,
    phase: Phase,
    /// The journal, or the engine: nothing can go on.
    fault: Option<SourceError>,
    /// The sessions were told to be down at the end.
    is_down: bool,
    /// It ends for a reason that is a failure.
    bad: bool,
    /// Strategies outside the core are not called any more.
    mute: bool,
    /// Their wishes wait: sessions are on their way down, and nothing new may go out through one that is not yet.
    withheld: bool,
    /// Why the last snapshot was not made.
    forgetful: String,
    next_timer: Option<Nanos>,
    next_status: Nanos,
    next_money: Nanos,
    follow_from: Nanos,
    paused_alone: bool,
    queued: u64,
    /// Of the packet that is being handled.
    decoded: u64,
    copies: Option<Tap>,
}

/// What the core is made of besides engine, outlet and strategies.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) commands: Receiver<Command>,
    pub(super) told: Sender<Told>,
    pub(super) snapshots: Sender<Snapshot>,
    pub(super) snapshot_every: Duration,
    pub(super) slots: Slots,
    pub(super) sessions: u32,
    pub(super) started: Nanos,
    pub(super) stopping: Stopping,
    pub(super) measure: bool,
    pub(super) copies: Option<Tap>,
    pub(super) wishes: Vec<Intent>,
}

impl<O: Outlet, C: Callbacks> Core<O, C> {
    pub(super) fn new(engine: Engine, outlet: O, callbacks: C, parts: Parts) -> Self {
        Self {
            engine,
            outlet,
            callbacks,
            back: Back::default(),
            held: VecDeque::with_capacity(MAX_HELD),
            wishes: parts.wishes,
            ticks: Ticks::default(),
            stages: parts.measure.then(Box::default),
            shared: parts.shared,
            commands: parts.commands,
            told: parts.told,
            snapshots: parts.snapshots,
            snapshot_every: parts.snapshot_every,
            next_snapshot: Nanos(0),
            slots: parts.slots,
            sessions: parts.sessions,
            started: parts.started,
            stopping: parts.stopping,
            phase: Phase::Running,
            fault: None,
            is_down: false,
            bad: false,
            mute: false,
            withheld: false,
            forgetful: String::new(),
            next_timer: None,
            next_status: Nanos(0),
            next_money: Nanos(0),
            follow_from: Nanos(0),
            paused_alone: false,
            queued: 0,
            decoded: 0,
            copies: parts.copies,
        }
    }

    /// Every session is down until it says otherwise.
    pub(super) fn start(&mut self) {
        let now = if self.started > Nanos(0) { self.started } else { utc() };
        self.follow_from = Nanos(now.0.saturating_add(FOLLOW_NS));
        self.next_snapshot = now.plus(self.snapshot_every.as_nanos() as u64);
        self.down(now);
        if self.engine.state().next_seq() > u64::from(self.sessions) {
            self.distrust(now);
        }
        self.outlet.start(now, &mut self.back);
        self.drain(now);
    }

    /// The books of a run that goes on are those of the moment at which it was stopped: they are void until the feed has
    /// told all anew.
    fn distrust(&mut self, now: Nanos) {
        for instrument in (0..self.engine.state().markets().len() as u32).map(InstrumentId) {
            self.event_at(Event::Feed(Feed::Incomplete { instrument, missed: 0 }), now, Stamps::default());
            let void = Market { instrument, ts_event: now, update: Update::Clear };
            self.event_at(Event::Market(void), now, Stamps::default());
        }
    }

    /// The run is over.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    #[inline]
    fn stamp(&self) -> u64 {
        if self.stages.is_some() { self.ticks.now() } else { 0 }
    }

    /// One event from outside, and all that follows from it.
    #[inline]
    pub(super) fn event_at(&mut self, mut event: Event, now: Nanos, stamps: Stamps) {
        if O::SIMULATED {
            self.tick_outlet(now);
            if let Event::Market(market) = &mut event {
                self.outlet.market(now, market);
                self.tick_outlet(now);
            }
        }
        self.apply(event, now, stamps);
        if !self.back.is_empty() {
            self.drain(now);
        }
    }

    fn tick_outlet(&mut self, now: Nanos) {
        self.outlet.tick(now, &mut self.back);
        self.drain(now);
    }

    /// What stations have said, until they say nothing more.
    #[inline]
    pub(super) fn drain(&mut self, now: Nanos) {
        // What came from outside is no answer, however much it is (a day that is told again); each may have one of a station.
        let most = 2 * self.back.len() + MAX_ROUNDS as usize;
        let mut rounds = 0;
        while let Some(event) = self.back.pop() {
            // A session that comes back while the run ends takes cancels, and no new orders.
            if self.is_down && matches!(event, Event::Link(Link::Settled { .. })) {
                continue;
            }
            rounds += 1;
            if rounds > most {
                self.back = Back::default();
                return self.end_badly("strategies and venues answer each other without end");
            }
            self.apply(event, now, Stamps::default());
        }
    }

    /// Journal, step, and the outputs to where they go; then strategies outside the core.
    #[inline]
    fn apply(&mut self, event: Event, now: Nanos, stamps: Stamps) {
        if self.fault.is_some() {
            return;
        }
        let begun = self.stamp();
        match self.engine.begin(now, event) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return self.fail(error),
        }
        let journaled = self.stamp();
        self.engine.step();
        let mut trail = Trail { received: stamps.received, begun, journaled, stepped: self.stamp() };
        if !self.engine.outputs().is_empty() {
            self.give(now, Stamps { stepped: trail.stepped, ..stamps });
            self.measure(&mut trail, 0);
        }
        if let Some(tap) = &mut self.copies {
            tap.hear(&self.engine.input().event, self.engine.outputs());
        }
        self.call(now, trail);
    }

    /// What drop copies have found: the venue's position, for the engine to judge.
    fn compare(&mut self, now: Nanos) -> bool {
        let mut busy = false;
        while let Some((instrument, by)) = self.copies.as_mut().and_then(|tap| tap.found.receive()) {
            busy = true;
            let ours = self.engine.state().risk().position(instrument).quantity;
            let quantity = Quantity(ours.0.saturating_add(by.0));
            self.apply(Event::Link(Link::Position { instrument, quantity }), now, Stamps::default());
            let difference = self.engine.outputs().iter().find_map(|output| match output {
                Output::Difference(difference) => Some(*difference),
                _ => None,
            });
            if let (Some(Difference { ours, theirs, .. }), Some(tap)) = (difference, &self.copies) {
                let symbol = tap.symbol(instrument);
                self.shared.note(format_args!(
                    "our position in {symbol} is {ours}, the venue says {theirs}: only orders that make a position \
                     smaller pass, until both agree and an operator resumes"
                ));
            }
            self.drain(now);
        }
        busy
    }

    /// What the engine said goes out, or waits for the journal.
    fn give(&mut self, now: Nanos, stamps: Stamps) {
        let wait = self.engine.journal().is_some_and(crate::Journal::must_wait);
        let mut stamps = stamps;
        for at in 0..self.engine.outputs().len() {
            let output = self.engine.outputs()[at];
            if wait {
                self.hold(output, now, stamps);
            } else {
                self.outlet.send(&output, now, stamps, &mut self.back);
            }
            if is_order(&output) {
                stamps.received = 0;
            }
        }
        self.outlet.flush();
        for at in 0..self.engine.outputs().len() {
            let output = self.engine.outputs()[at];
            self.tell(Told::Output(self.engine.input().ts, output));
        }
    }

    #[inline]
    fn tell(&mut self, told: Told) {
        if self.told.send(told).is_err() {
            self.shared.untold.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// If this is what the packet led to: the stages so far, once. `called` is when a callback's wish was stepped, or zero.
    fn measure(&mut self, trail: &mut Trail, called: u64) {
        let Some(stages) = self.stages.as_deref_mut().filter(|_| trail.received > 0) else { return };
        if !self.engine.outputs().iter().any(is_order) {
            return;
        }
        let Trail { received, begun, journaled, stepped } = *trail;
        // Another thread has decoded it, or it was done just now.
        if self.decoded > 0 {
            stages.record(Stage::Decoded, self.ticks.between(received, self.decoded));
            stages.record(Stage::Handed, self.ticks.between(self.decoded, begun));
        } else {
            stages.record(Stage::Decoded, self.ticks.between(received, begun));
        }
        stages.record(Stage::Journaled, self.ticks.between(begun, journaled));
        stages.record(Stage::Stepped, self.ticks.between(journaled, stepped));
        if called > 0 {
            stages.record(Stage::Called, self.ticks.between(stepped, called));
        }
        trail.received = 0;
    }

    /// Strategies outside the core hear of it; what they wish are inputs, of which they hear too.
    #[inline]
    fn call(&mut self, now: Nanos, trail: Trail) {
        if self.mute {
            return;
        }
        if self.next_timer.is_none() {
            self.next_timer = self.callbacks.next_timer(now);
        }
        self.call_once();
        if !self.wishes.is_empty() {
            self.grant(now, trail);
        }
    }

    #[inline]
    fn call_once(&mut self) {
        if self.mute {
            return;
        }
        let engine = &self.engine;
        // Nobody looks at a venue, not even a simulated one: who goes on from a journal has none.
        let called = self.callbacks.after(engine.input(), engine.outputs(), engine.state(), None, &mut self.wishes);
        if let Err(error) = called {
            self.mute = true;
            self.wishes.clear();
            self.end_badly(&error.to_string());
        }
    }

    #[cold]
    fn grant(&mut self, now: Nanos, mut trail: Trail) {
        if self.withheld {
            return;
        }
        let mut rounds = 0;
        let mut granted = VecDeque::new();
        loop {
            granted.extend(self.wishes.drain(..));
            let Some(wish) = granted.pop_front() else { return };
            rounds += 1;
            if rounds > MAX_ROUNDS {
                return self.end_badly("strategies answer each other's fills without end");
            }
            match self.engine.begin(now, Event::Intent(wish)) {
                Ok(true) => self.engine.step(),
                Ok(false) => continue,
                Err(error) => return self.fail(error),
            }
            let stepped = self.stamp();
            self.give(now, Stamps { received: trail.received, stepped });
            self.measure(&mut trail, stepped);
            self.call_once();
        }
    }

    #[cold]
    fn hold(&mut self, output: Output, now: Nanos, stamps: Stamps) {
        // A journal in trouble ends the run, which does not wait here for it.
        let healthy = |journal: &crate::Journal| journal.trouble().is_none();
        while self.held.len() >= MAX_HELD && self.fault.is_none() && self.engine.journal().is_some_and(healthy) {
            self.release_now();
            std::thread::yield_now();
        }
        let position = self.engine.journal().map_or(0, crate::Journal::written);
        self.held.push_back(Held { position, output, now, stamps });
    }

    /// Lets go what the journal has made safe.
    #[inline]
    pub(super) fn release(&mut self) {
        if !self.held.is_empty() && self.release_now() {
            self.drain(utc());
        }
    }

    /// True when anything went out. What comes of it is taken up later: this may be in the middle of an event.
    fn release_now(&mut self) -> bool {
        let committed = self.engine.journal().map_or(u64::MAX, crate::Journal::committed);
        let mut any = false;
        while let Some(held) = self.held.pop_front_if(|held| held.position <= committed) {
            self.outlet.send(&held.output, held.now, held.stamps, &mut self.back);
            any = true;
        }
        self.outlet.flush();
        any
    }

    /// What is not a packet: sessions (if `look`), ticks, timers, commands, the end. True when there was anything.
    #[inline]
    pub(super) fn round(&mut self, now: Nanos, look: bool) -> bool {
        let mut busy = look && self.outlet.poll(&mut self.back);
        if self.outlet.next_tick().is_some_and(|at| at <= now) {
            self.outlet.tick(now, &mut self.back);
        }
        self.drain(now);
        self.release();
        while let Some(at) = self.next_timer.filter(|at| *at <= now) {
            self.next_timer = self.callbacks.next_timer(at.max(now));
            let id = self.engine.state().next_seq();
            self.event_at(Event::Timer(Timer { id }), now, Stamps::default());
        }
        busy |= self.commands(now) | self.compare(now);
        if now >= self.next_status {
            self.slow(now);
        }
        busy || !self.held.is_empty()
    }

    fn commands(&mut self, now: Nanos) -> bool {
        for taken in 0..COMMANDS {
            match self.commands.receive() {
                Some(Command::Look(look)) => look(&self.engine),
                Some(Command::Event(event, answer)) => self.command(event, now, &answer),
                None => return taken > 0,
            }
        }
        true
    }

    fn command(&mut self, event: Event, now: Nanos, answer: &std::sync::mpsc::SyncSender<Answer>) {
        if self.fault.is_some() || self.phase != Phase::Running {
            return;
        }
        let seq = self.engine.state().next_seq();
        self.apply(event, now, Stamps::default());
        let own = self.engine.input().seq == seq;
        let outputs = if own { self.engine.outputs().to_vec() } else { Vec::new() };
        // Nobody may wait for it any more.
        let _ = answer.try_send(Answer { seq, outputs });
        self.drain(now);
    }

    /// What is done ten times a second.
    #[cold]
    fn slow(&mut self, now: Nanos) {
        self.next_status = Nanos(now.0 + STATUS_NS);
        if let Some(stages) = &mut self.stages {
            self.slots.give(0, stages);
        }
        if let Some(stages) = self.outlet.stages() {
            self.slots.give(1, stages);
        }
        if now >= self.next_money {
            self.next_money = Nanos((now.0 / MONEY_NS + 1) * MONEY_NS);
            self.tell(Told::Money(now, Money::of(self.engine.state().risk())));
        }
        if now >= self.next_snapshot && !self.snapshot_every.is_zero() {
            self.next_snapshot = now.plus(self.snapshot_every.as_nanos() as u64);
            self.snapshot();
        }
        self.look_for_trouble();
        self.follow(now);
        self.publish(now);
        self.end_in_order(now);
    }

    /// The state as it is, for who keeps it.
    fn snapshot(&mut self) {
        let begun = self.ticks.now();
        self.idle();
        let Some(position) = self.engine.journal().and_then(crate::Journal::position) else { return };
        let Some(remembered) = self.remembered() else { return };
        let bytes = snapshot_bytes(self.engine.state(), &position, &remembered);
        let (inputs, length) = (position.inputs(), bytes.len());
        // While the last one is not stored there is no need for another.
        if self.snapshots.send(Snapshot { inputs, bytes }).is_ok() {
            let ms = self.ticks.between(begun, self.ticks.now()) as f64 / 1e6;
            self.shared.note_of("run", INFO, format_args!("snapshot at input {inputs}: {length} bytes, {ms:.1} ms"));
        }
    }

    /// What strategies outside the core remember, for a snapshot; `None` when there cannot be one, for it would lack that.
    fn remembered(&mut self) -> Option<Vec<Vec<u8>>> {
        if !self.callbacks.remembers() {
            return Some(Vec::new());
        }
        // After a failure they have not heard what the state knows.
        let saved = if self.mute { Ok(None) } else { self.callbacks.save() };
        match saved {
            Ok(saved) => saved.map(|saved| vec![saved]),
            Err(error) => {
                if self.forgetful != error.message {
                    self.shared.note(format_args!("there is no snapshot: {}", error.message));
                    self.forgetful = error.message;
                }
                None
            }
        }
    }

    fn look_for_trouble(&mut self) {
        if let Some(trouble) = self.engine.journal().and_then(crate::Journal::trouble) {
            self.end_badly(&trouble);
        }
    }

    /// Without a follower that must be there, only what reduces a position is sent.
    fn follow(&mut self, now: Nanos) {
        let alone = now >= self.follow_from && self.shared.is_alone();
        if alone && !self.paused_alone {
            self.shared.note(format_args!("no follower keeps up: trading is paused until an operator resumes it"));
            self.event_at(Event::Control(Control::Pause), now, Stamps::default());
        }
        self.paused_alone = alone;
    }

    fn publish(&self, now: Nanos) {
        let (engine, held, queued) = (&self.engine, self.held.len() as u64, self.queued);
        let stopping = self.phase != Phase::Running;
        self.shared.set_status(|status| {
            (status.now, status.held, status.queued, status.stopping) = (now, held, queued, stopping);
            status.inputs = engine.state().next_seq();
            (status.outputs, status.refused) = (engine.said(), engine.refused());
            let (orders, risk, links) = (engine.state().orders(), engine.state().risk(), engine.state().links());
            (status.working, status.unknown) = (orders.open_orders() as u64, orders.unknown_orders() as u64);
            (status.counts, status.flat) = (orders.counts(), orders.is_flat());
            (status.mode, status.equity) = (Some(risk.mode()), risk.equity().0);
            status.differences.clear();
            status.differences.extend(risk.differences());
            status.links.clear();
            status.links.extend((0..self.sessions).map(|at| links.session(at)).map(|one| (one.up, one.settled)));
            if let Some(journal) = engine.journal() {
                (status.journal, status.committed) = (journal.written(), journal.committed());
                (status.stalls, status.syncs) = (journal.stalls(), journal.syncs());
            }
        });
    }

    pub(super) fn queued(&mut self, waiting: usize) {
        self.queued = self.queued.max(waiting as u64);
    }

    /// The orderly end, step by step: cancels, answers, leave.
    fn end_in_order(&mut self, now: Nanos) {
        if self.shared.lease_is_lost() {
            self.shared.stop("the lease is over: another may trade", true);
        }
        if self.phase == Phase::Running && self.shared.is_stopping() {
            self.phase = Phase::Stopping(Nanos(now.0.saturating_add(self.stopping.patience.as_nanos() as u64)));
            if self.stopping.cancel && !self.shared.is_stopping_at_once() {
                self.cancel_all(now);
            }
        }
        let Phase::Stopping(until) = self.phase else { return };
        let waits = self.stopping.cancel && self.engine.state().orders().open_orders() > 0;
        let waits = waits || !self.held.is_empty();
        if self.fault.is_some() || self.shared.is_stopping_at_once() || !waits || now >= until {
            let open = self.engine.state().orders().open_orders();
            if open > 0 {
                self.shared.note(format_args!("{open} orders are left working at the venues"));
            }
            self.phase = Phase::Over;
        }
    }

    /// Cancels what rests. Then the sessions count as down, so that no desk sends anew, and what strategies wish is refused.
    fn cancel_all(&mut self, now: Nanos) {
        self.withheld = true;
        for open in self.engine.state().orders().open() {
            let (kind, instrument) = (IntentKind::Cancel { order: open.order.id }, open.order.instrument);
            let wish = Intent { strategy: StrategyId::HOUSE, instrument, kind };
            self.event_at(Event::Intent(wish), now, Stamps::default());
        }
        self.down(now);
        self.is_down = true;
    }

    /// Every session is down; then strategies' wishes are granted, which were withheld.
    fn down(&mut self, now: Nanos) {
        self.withheld = true;
        for session in 0..self.sessions {
            self.event_at(Event::Link(Link::Down { session }), now, Stamps::default());
        }
        self.withheld = false;
        self.grant(now, Trail::default());
        self.drain(now);
    }

    /// True while market data and strategies are heard: not after the orderly end has begun.
    #[inline]
    pub(super) fn listens(&self) -> bool {
        self.phase == Phase::Running
    }

    /// The next moment at which something is due.
    pub(super) fn next_due(&self) -> Nanos {
        [self.next_timer, self.outlet.next_tick(), Some(self.next_status)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_default()
    }

    /// True when there is something that a sleeper would miss.
    pub(super) fn must_wake(&self) -> bool {
        let found = self.copies.as_ref().is_some_and(|tap| !tap.found.is_empty());
        found || !self.commands.is_empty() || !self.held.is_empty()
    }

    /// Nothing happens for a while: the last outputs go to the journal.
    #[inline]
    pub(super) fn idle(&mut self) {
        if let Err(error) = self.engine.settle() {
            self.fail(error);
        }
    }

    /// The journal cannot go on: nothing is sent any more, and the run ends at once.
    #[cold]
    fn fail(&mut self, error: SourceError) {
        self.shared.note(format_args!("{error}"));
        self.shared.stop(&error.to_string(), true);
        self.held.clear();
        self.fault.get_or_insert(error);
        self.next_status = Nanos(0);
    }

    #[cold]
    fn end_badly(&mut self, why: &str) {
        if !self.shared.is_stopping() {
            self.shared.note(format_args!("{why}"));
            self.shared.stop(why, false);
            self.next_status = Nanos(0);
        }
        self.bad = true;
    }

    /// Takes leave of the venues, closes the journal, tells what there is to tell.
    pub(super) fn end(mut self) {
        let now = utc();
        while !self.outlet.stop(now) {
            std::thread::yield_now();
        }
        if !self.is_down {
            self.down(now);
        }
        self.tell(Told::Money(now, Money::of(self.engine.state().risk())));
        if let Some(stages) = &self.stages {
            self.slots.give_last(0, stages);
        }
        if let Some(stages) = self.outlet.stages() {
            self.slots.give_last(1, stages);
        }
        if !self.snapshot_every.is_zero() && self.fault.is_none() {
            self.snapshot();
        }
        self.publish(now);
        self.shared.over.store(true, std::sync::atomic::Ordering::Release);
        if let Some(tap) = &mut self.copies {
            tap.end();
        }
        let instruments = self.engine.state().markets().len();
        let last = Recorder::default().take(self.engine.state().risk(), instruments);
        *lock(&self.shared.last) = Some(last);
        let (mut reason, mut failed) = (self.shared.reason(), self.bad || self.fault.is_some());
        let digest = match self.fault {
            Some(_) => None,
            None => match self.engine.end() {
                Ok((_, digest)) => Some(digest),
                Err(error) => {
                    (reason, failed) = (format!("{reason}; {error}"), true);
                    None
                }
            },
        };
        *lock(&self.shared.ended) = Some(Ended { reason, failed, digest });
    }
}

/// True for what the venue is sent.
#[inline]
fn is_order(output: &Output) -> bool {
    matches!(output, Output::Submit(_) | Output::Cancel { .. } | Output::Replace { .. })
}

impl<O: Outlet, C: Callbacks> Sink for Core<O, C> {
    #[inline]
    fn event(&mut self, event: Event, now: Nanos, received: u64) {
        if self.listens() {
            self.decoded = 0;
            self.event_at(event, now, Stamps { received, stepped: 0 });
        }
    }

    #[inline]
    fn packet(&mut self, received: u64) {
        if let Some(stages) = &mut self.stages {
            stages.record(Stage::Packet, self.ticks.between(received, self.ticks.now()));
        }
    }
}

impl<O: Outlet, C: Callbacks> Core<O, C> {
    /// An event that another thread has decoded.
    #[inline]
    pub(super) fn handed(&mut self, event: Event, now: Nanos, received: u64, decoded: u64) {
        if self.listens() {
            self.decoded = decoded;
            self.event_at(event, now, Stamps { received, stepped: 0 });
        }
    }
}
