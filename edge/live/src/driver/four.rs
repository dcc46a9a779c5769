//! Feed, engine and order entry on threads of their own (the journal's is the fourth), joined by rings.
//!
//! Nobody waits for somebody who may be waiting for him: the order thread always takes outputs, and keeps what it has to
//! say until the engine has room, up to [`MAX_WAITING`]; meanwhile it reads no socket.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::thread::JoinHandle;

use helios_io::Callbacks;
use helios_types::{Event, Nanos, Output};

use super::beside::Slots;
use super::core::{Back, Core};
use super::entries::{Entries, Outlet, Stamps};
use super::feeds::{Feeds, Sink};
use super::one::{SLOW_NS, limit};
use super::shared::{Shared, utc};
use super::station::{EntryStation, FeedStation};
use super::{pin_noted, spawn};
use crate::latency::{Stage, Stages, Ticks};
use crate::ring::{Bed, Inlet, Item, Receiver, Sender, ring};

/// Market events between the feed's thread and the engine's.
pub const MARKET_ROOM: usize = 1 << 16;
/// Reports between the order thread and the engine's.
pub const REPORT_ROOM: usize = 1 << 14;
/// Outputs between the engine's thread and the order thread.
pub const OUTPUT_ROOM: usize = 1 << 14;
/// Reports that the order thread keeps while the engine has no room: more than all outputs on their way can lead to, and
/// one read of every session. Beyond it the run stops.
const MAX_WAITING: usize = 1 << 18;
/// Items taken from one ring before others are looked at.
const BATCH: usize = 64;

/// Where the engine's outputs go: to the order thread.
pub(super) struct OverRing {
    outputs: Sender<Item<Output>>,
    reports: Receiver<Item<Event>>,
    /// The feed's thread, and the order thread.
    others: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Outlet for OverRing {
    #[inline]
    fn send(&mut self, output: &Output, now: Nanos, stamps: Stamps, _: &mut Back) {
        let mut item = Item { now: now.0, received: stamps.received, decoded: stamps.stepped, what: *output };
        while let Err(back) = self.outputs.send(item) {
            if self.outputs.is_abandoned() {
                return;
            }
            item = back;
            std::thread::yield_now();
        }
    }

    #[inline]
    fn poll(&mut self, back: &mut Back) -> bool {
        for taken in 0..BATCH {
            let Some(item) = self.reports.receive() else { return taken > 0 };
            back.push(item.what);
        }
        true
    }

    fn tick(&mut self, _: Nanos, _: &mut Back) {}

    fn next_tick(&self) -> Option<Nanos> {
        None
    }

    fn start(&mut self, _: Nanos, _: &mut Back) {}

    fn stop(&mut self, _: Nanos) -> bool {
        self.shared.over.store(true, std::sync::atomic::Ordering::Release);
        // The order thread still sends what was said before.
        self.others.drain(..).for_each(|thread| _ = thread.join());
        true
    }
}

/// The feed's events go to the engine's thread.
struct ToEngine<'a> {
    inlet: Inlet,
    ticks: Ticks,
    stages: Option<Box<Stages>>,
    shared: &'a Shared,
}

impl Sink for ToEngine<'_> {
    #[inline]
    fn event(&mut self, event: Event, now: Nanos, received: u64) {
        let item = Item { now: now.0, received, decoded: self.ticks.now(), what: event };
        self.inlet.send(item, || {
            std::thread::yield_now();
            !self.shared.over.load(Relaxed)
        });
    }

    #[inline]
    fn packet(&mut self, received: u64) {
        if let Some(stages) = &mut self.stages {
            stages.record(Stage::Packet, self.ticks.between(received, self.ticks.now()));
        }
    }
}

/// What the three threads are given.
pub(super) struct Threads<F, E> {
    pub(super) feeds: Feeds<F>,
    pub(super) entries: Entries<E>,
    pub(super) shared: Arc<Shared>,
    pub(super) slots: Slots,
    pub(super) instruments: usize,
    pub(super) spin: bool,
    pub(super) measure: bool,
    pub(super) cores: Vec<usize>,
}

/// The engine's ends, without the outlet, which is the core's.
pub(super) struct Ends {
    market: Receiver<Item<Event>>,
    bed: Bed,
    spin: bool,
}

impl<F: FeedStation + 'static, E: EntryStation + 'static> Threads<F, E> {
    /// Starts the feed's and the order thread. `bed` is the engine's.
    pub(super) fn start(self, bed: Bed) -> io::Result<(OverRing, Ends)> {
        let Self { feeds, entries, shared, slots, instruments, spin, measure, cores } = self;
        let (feed_bed, order_bed) = (Bed::new(spin)?, Bed::new(spin)?);
        super::shared::lock(&shared.alarms).extend([feed_bed.alarm(), order_bed.alarm()]);
        let (market_in, market) = ring(MARKET_ROOM, &bed.alarm());
        let (reports_in, reports) = ring(REPORT_ROOM, &bed.alarm());
        let (outputs, outputs_out) = ring(OUTPUT_ROOM, &order_bed.alarm());
        let (own, own_slots) = (Arc::clone(&shared), slots.clone());
        let (first, third) = (cores.first().copied(), cores.get(2).copied());
        feeds.watch(&feed_bed)?;
        let feed = spawn("helios-feed", Arc::clone(&shared), move || {
            pin_noted(first, &own);
            let (inlet, stages) = (Inlet::new(market_in, instruments), measure.then(Box::default));
            let sink = ToEngine { inlet, ticks: Ticks::default(), stages, shared: &own };
            feed(feeds, sink, &own_slots, feed_bed, spin)
        })?;
        let own = Arc::clone(&shared);
        let order = spawn("helios-order", Arc::clone(&shared), move || {
            pin_noted(third, &own);
            Orders { entries, outputs: outputs_out, reports: reports_in, back: Back::default(), slots }
                .run(&own, order_bed, spin)
        })?;
        let outlet = OverRing { outputs, reports, others: vec![feed, order], shared };
        Ok((outlet, Ends { market, bed, spin }))
    }
}

/// The feed's thread.
fn feed<F: FeedStation>(
    mut feeds: Feeds<F>,
    mut sink: ToEngine<'_>,
    slots: &Slots,
    mut bed: Bed,
    spin: bool,
) -> io::Result<()> {
    let (shared, mut slow) = (sink.shared, Nanos(0));
    feeds.start(utc(), &mut sink, shared);
    while !shared.over.load(Acquire) {
        let busy = feeds.poll(&mut sink, shared);
        let now = utc();
        feeds.tick(now, &mut sink, shared);
        sink.inlet.flush();
        if now >= slow {
            slow = Nanos(now.0 + SLOW_NS);
            feeds.tell(shared);
            shared.conflated.store(sink.inlet.conflated(), Relaxed);
            shared.waited.store(sink.inlet.waits(), Relaxed);
            if let Some(stages) = &mut sink.stages {
                slots.give(2, stages);
            }
        }
        if busy {
            continue;
        }
        if spin {
            std::hint::spin_loop();
        } else {
            let hurry = feeds.watch_fresh(&bed) | sink.inlet.is_waiting();
            let due = feeds.next_tick().unwrap_or(Nanos(u64::MAX));
            bed.sleep(limit(due, now, hurry), || shared.over.load(Acquire))?;
        }
    }
    feeds.tell(shared);
    if let Some(stages) = &sink.stages {
        slots.give_last(2, stages);
    }
    Ok(())
}

/// The order thread.
struct Orders<E> {
    entries: Entries<E>,
    outputs: Receiver<Item<Output>>,
    reports: Sender<Item<Event>>,
    back: Back,
    slots: Slots,
}

impl<E: EntryStation> Orders<E> {
    fn run(mut self, shared: &Shared, mut bed: Bed, spin: bool) -> io::Result<()> {
        self.entries.start(utc(), &mut self.back);
        let mut slow = Nanos(0);
        loop {
            // Before the work: what was sent before the end still goes out.
            let over = shared.over.load(Acquire);
            let mut busy = self.take_outputs();
            if self.back.is_empty() {
                busy |= self.entries.poll(&mut self.back);
            }
            let now = utc();
            self.entries.tick(now, &mut self.back);
            self.report();
            if self.back.len() > MAX_WAITING {
                shared.stop("the engine takes no reports any more", true);
                return Ok(());
            }
            if now >= slow {
                slow = Nanos(now.0 + SLOW_NS);
                if let Some(stages) = self.entries.stages() {
                    self.slots.give(1, stages);
                }
            }
            if over && self.outputs.is_empty() {
                self.entries.stop(now);
                if let Some(stages) = self.entries.stages() {
                    self.slots.give_last(1, stages);
                }
                return Ok(());
            }
            if busy {
                continue;
            }
            if spin {
                std::hint::spin_loop();
            } else {
                let hurry = self.entries.watch_fresh(&bed) | !self.back.is_empty();
                let due = self.entries.next_tick().unwrap_or(Nanos(u64::MAX));
                let outputs = &self.outputs;
                bed.sleep(limit(due, now, hurry), || !outputs.is_empty() || shared.over.load(Acquire))?;
            }
        }
    }

    #[inline]
    fn take_outputs(&mut self) -> bool {
        for taken in 0..BATCH {
            let Some(item) = self.outputs.receive() else {
                self.entries.flush();
                return taken > 0;
            };
            // The first order of another packet: what the one before led to goes out.
            if item.received > 0 {
                self.entries.flush();
            }
            let stamps = Stamps { received: item.received, stepped: item.decoded };
            self.entries.send(&item.what, Nanos(item.now), stamps, &mut self.back);
        }
        self.entries.flush();
        true
    }

    /// Gives the engine what it has room for.
    #[inline]
    fn report(&mut self) {
        while self.reports.room() > 0 {
            let Some(what) = self.back.pop() else { return };
            let sent = self.reports.send(Item { now: 0, received: 0, decoded: 0, what });
            debug_assert!(sent.is_ok(), "there was room");
        }
    }
}

/// The engine's thread.
pub(super) fn run<C: Callbacks>(mut core: Core<OverRing, C>, ends: Ends) -> io::Result<()> {
    let Ends { mut market, mut bed, spin } = ends;
    core.start();
    while !core.is_over() {
        let mut busy = false;
        core.queued(market.waiting());
        for _ in 0..BATCH {
            let Some(item) = market.receive() else { break };
            core.handed(item.what, Nanos(item.now), item.received, item.decoded);
            busy = true;
        }
        let now = utc();
        busy |= core.round(now, true);
        if busy {
            continue;
        }
        core.idle();
        if spin {
            std::hint::spin_loop();
        } else {
            let due = core.next_due();
            bed.sleep(limit(due, now, false), || {
                core.must_wake() || !market.is_empty() || !core.outlet.reports.is_empty()
            })?;
        }
    }
    core.end();
    Ok(())
}
