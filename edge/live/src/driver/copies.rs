//! Drop copies, on a thread of their own beside both layouts: no order ever waits for one.
//!
//! The engine's thread puts fills and what becomes of sessions into a ring after the orders that came with them were
//! written; it wakes nobody. When [`COPY_ROOM`] are not taken in time it waits for this thread, which looks every
//! [`AUDIT_TICK_NS`] at least. What is found comes back through a ring, and is an input.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use helios_types::{Event, Fill, InstrumentId, Link, Nanos, Output, Quantity};

use super::shared::{INFO, Shared, WARNING, monotonic, utc};
use super::spawn;
use crate::audit::{AUDIT_TICK_NS, Audit, AuditOut, Moment};
use crate::ring::{Bed, Receiver, Sender, ring};
use crate::sockets::{Change, Connection, MAX_READ};

/// Fills on their way to the drop copies' thread.
pub const COPY_ROOM: usize = 1 << 16;
/// Differences on their way to the engine.
const FOUND_ROOM: usize = 1 << 12;
/// Most reads of one connection before the ring is looked at.
const BATCH: usize = 64;

/// A drop copy as the run is told it.
pub struct CopySetup {
    /// Its name, for the log.
    pub name: String,
    /// The station.
    pub station: Audit,
    /// Where it connects to.
    pub address: SocketAddr,
}

/// Reads so far of each session of order entry.
pub(super) type Pulse = Arc<[AtomicU64]>;

/// What the engine's thread tells.
#[derive(Clone, Copy, Debug)]
enum Told {
    Fill(Fill),
    Entry { session: u32, is_settled: bool },
}

/// By how much the venue's position in an instrument is above ours, by all drop copies.
type Found = (InstrumentId, Quantity);

/// The engine's end.
pub(super) struct Tap {
    told: Sender<Told>,
    pub(super) found: Receiver<Found>,
    symbols: Vec<String>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// After the orders were written: what drop copies must know of an input.
    pub(super) fn hear(&mut self, event: &Event, outputs: &[Output]) {
        match *event {
            Event::Link(Link::Settled { session }) => self.tell(Told::Entry { session, is_settled: true }),
            Event::Link(Link::Down { session }) => self.tell(Told::Entry { session, is_settled: false }),
            _ => {}
        }
        for output in outputs {
            if let Output::Fill(fill) = output {
                self.tell(Told::Fill(*fill));
            }
        }
    }

    fn tell(&mut self, mut told: Told) {
        while let Err(back) = self.told.send(told) {
            if self.told.is_abandoned() {
                return;
            }
            told = back;
            std::thread::yield_now();
        }
    }

    /// An instrument's name.
    pub(super) fn symbol(&self, instrument: InstrumentId) -> &str {
        self.symbols.get(instrument.index()).map_or("", String::as_str)
    }

    /// The run is over: waits until leave was taken.
    pub(super) fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's end.
struct Copies {
    list: Vec<(Audit, String, Connection)>,
    told: Receiver<Told>,
    found: Sender<Found>,
    /// What the ring had no room for, the newest of each instrument: nobody may wait for the engine, who may wait for us.
    unsaid: BTreeMap<InstrumentId, Quantity>,
    /// By drop copy and instrument: the sum is the engine's.
    differs: Vec<Vec<Quantity>>,
    pulse: Pulse,
    /// What was read of it at the last look, and when that was.
    reads: Vec<u64>,
    looked: Nanos,
    shared: Arc<Shared>,
    bytes: Box<[u8; MAX_READ]>,
}

/// Starts the thread. `engine` is the engine's bed.
pub(super) fn start(
    setups: Vec<CopySetup>,
    symbols: Vec<String>,
    pulse: Pulse,
    shared: &Arc<Shared>,
    engine: &Bed,
) -> io::Result<Tap> {
    let own = Bed::new(false)?;
    // Whoever fills this ring wakes nobody: its reader comes by.
    let (told, hears) = ring(COPY_ROOM, &Bed::new(true)?.alarm());
    let (says, found) = ring(FOUND_ROOM, &engine.alarm());
    let differs = vec![vec![Quantity::ZERO; symbols.len()]; setups.len()];
    let list = setups.into_iter().map(|CopySetup { name, station, address }| (station, name, Connection::new(address)));
    let copies = Copies {
        list: list.collect(),
        told: hears,
        found: says,
        unsaid: BTreeMap::new(),
        differs,
        reads: vec![0; pulse.len()],
        looked: Nanos(0),
        pulse,
        shared: Arc::clone(shared),
        bytes: Box::new([0; MAX_READ]),
    };
    let thread = spawn("helios-copies", Arc::clone(shared), move || copies.run(own))?;
    Ok(Tap { told, found, symbols, thread: Some(thread) })
}

fn moment() -> Moment {
    Moment { utc: utc(), steady: Nanos(monotonic()) }
}

impl Copies {
    fn run(mut self, mut bed: Bed) -> io::Result<()> {
        while !self.shared.over.load(Acquire) {
            self.take();
            self.say();
            let now = moment();
            let mut busy = self.poll(now);
            if now.steady.since(self.looked) >= AUDIT_TICK_NS {
                self.tick(now);
                busy = true;
            }
            if !busy {
                let mut waiting = false;
                for (_, _, connection) in &mut self.list {
                    waiting |= connection.is_connecting() || connection.unsent() > 0;
                    waiting |= connection.fresh().is_some_and(|descriptor| bed.watch(descriptor).is_err());
                }
                let limit = if waiting { super::one::SHORT } else { Duration::from_nanos(AUDIT_TICK_NS) };
                bed.sleep(limit, || false)?;
            }
        }
        for at in 0..self.list.len() {
            self.with(at, |station, now, port| station.stop(now, port));
            self.list[at].2.flush();
            self.list[at].2.close();
        }
        self.publish();
        Ok(())
    }

    fn take(&mut self) {
        while let Some(told) = self.told.receive() {
            let now = moment();
            for (station, _, _) in &mut self.list {
                match &told {
                    Told::Fill(fill) => station.on_fill(fill, now),
                    Told::Entry { session, is_settled } if *session == station.session() => {
                        station.on_entry(*is_settled, now);
                    }
                    Told::Entry { .. } => {}
                }
            }
        }
    }

    fn say(&mut self) {
        while let Some((instrument, by)) = self.unsaid.pop_first() {
            if self.found.send((instrument, by)).is_err() {
                self.unsaid.insert(instrument, by);
                return;
            }
        }
    }

    fn with(&mut self, at: usize, act: impl FnOnce(&mut Audit, Moment, &mut Port<'_>)) {
        let (station, name, connection) = &mut self.list[at];
        let (differs, unsaid, shared) = (&mut self.differs, &mut self.unsaid, &*self.shared);
        act(station, moment(), &mut Port { at, name, connection, differs, unsaid, shared });
    }

    fn poll(&mut self, now: Moment) -> bool {
        let mut busy = false;
        for at in 0..self.list.len() {
            self.list[at].2.flush();
            if let Some(change) = self.list[at].2.change() {
                self.with(at, |station, now, port| match change {
                    Change::Connected => station.on_connected(now, port),
                    Change::Closed => station.on_closed(now, port),
                });
                busy = true;
            }
            for _ in 0..BATCH {
                let (station, name, connection) = &mut self.list[at];
                let Some(bytes) = connection.read(&mut self.bytes) else { break };
                // Read out of the buffer before the connection may be written to.
                let bytes = bytes.to_vec();
                let (differs, unsaid, shared) = (&mut self.differs, &mut self.unsaid, &*self.shared);
                station.on_bytes(&bytes, now, &mut Port { at, name, connection, differs, unsaid, shared });
                busy = true;
            }
        }
        busy
    }

    fn tick(&mut self, now: Moment) {
        for (session, (count, known)) in self.pulse.iter().zip(&mut self.reads).enumerate() {
            let count = count.load(Relaxed);
            if std::mem::replace(known, count) != count {
                // It was read since the last look: at that moment or later.
                let of = |(station, _, _): &&mut (Audit, String, Connection)| station.session() as usize == session;
                self.list.iter_mut().filter(of).for_each(|(station, _, _)| station.on_entry_heard(self.looked));
            }
        }
        self.looked = now.steady;
        for at in 0..self.list.len() {
            self.with(at, |station, _, port| station.on_tick(now, port));
        }
        self.publish();
    }

    fn publish(&self) {
        self.shared.set_copies(self.list.iter().map(|(station, _, _)| station.told()));
    }
}

/// The world as a drop copy sees it.
struct Port<'a> {
    at: usize,
    name: &'a str,
    connection: &'a mut Connection,
    differs: &'a mut [Vec<Quantity>],
    unsaid: &'a mut BTreeMap<InstrumentId, Quantity>,
    shared: &'a Shared,
}

impl AuditOut for Port<'_> {
    fn differs(&mut self, instrument: InstrumentId, by: Quantity) {
        let at = instrument.index();
        self.differs[self.at][at] = by;
        let sum = Quantity(self.differs.iter().map(|copy| copy[at].0).fold(0, i64::saturating_add));
        self.unsaid.insert(instrument, sum);
    }

    fn connect(&mut self) {
        if self.shared.may_send() {
            self.connection.connect();
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.shared.may_send() {
            self.connection.write(bytes);
        }
    }

    fn close(&mut self) {
        self.connection.close();
    }

    fn lacks(&mut self, text: fmt::Arguments<'_>) {
        self.shared.note_of(self.name, WARNING, text);
    }

    fn note(&mut self, text: fmt::Arguments<'_>) {
        self.shared.note_of(self.name, INFO, text);
    }
}
