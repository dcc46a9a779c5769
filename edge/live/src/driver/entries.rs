//! Where outputs go, and where reports come from: order-entry sessions on this thread.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use helios_types::{Event, InstrumentId, Market, Nanos, Output};
use helios_venue::Venues;

use super::copies::Pulse;
use super::core::Back;
use super::shared::{INFO, Shared, utc};
use super::station::EntryStation;
use crate::EntryOut;
use crate::latency::{Stage, Stages, Ticks};
use crate::ring::Bed;
use crate::sockets::{Change, Connection, MAX_READ};

/// Most reads from one session before others are looked at.
const BATCH: usize = 8;

/// A session as the run is told it.
pub struct EntrySetup<E> {
    /// Its name, for the log.
    pub name: String,
    /// The station.
    pub station: E,
    /// Where it connects to.
    pub address: SocketAddr,
}

/// When the packet that led to an output was received, and when its event was stepped, in ticks; zero: of no packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    pub(super) received: u64,
    pub(super) stepped: u64,
}

/// Where outputs go. Whatever comes of it goes to `back`, and is an event of the engine soon after.
pub(super) trait Outlet {
    /// The venue is part of the run: it hears of market data before the engine does.
    const SIMULATED: bool = false;
    /// The engine said this.
    fn send(&mut self, output: &Output, now: Nanos, stamps: Stamps, back: &mut Back);
    /// What was sent goes out now: the orders of one event together.
    fn flush(&mut self) {}
    /// Takes what has come; true when there was anything.
    fn poll(&mut self, back: &mut Back) -> bool;
    /// Does what is due.
    fn tick(&mut self, now: Nanos, back: &mut Back);
    /// When something will be.
    fn next_tick(&self) -> Option<Nanos>;
    /// A simulated venue hears of a market event, and may change it.
    fn market(&mut self, _now: Nanos, _market: &mut Market) {}
    /// A simulated venue, to look at.
    fn venue(&self) -> Option<&Venues> {
        None
    }
    /// The run begins.
    fn start(&mut self, now: Nanos, back: &mut Back);
    /// The run ends: takes leave. Called again and again until it answers true.
    fn stop(&mut self, now: Nanos) -> bool;
    /// New connections are watched; true while sleep must be short.
    fn watch_fresh(&mut self, _bed: &Bed) -> bool {
        false
    }
    /// What was measured here.
    fn stages(&mut self) -> Option<&mut Stages> {
        None
    }
}

/// The other end of a session.
struct Peer {
    name: String,
    connection: Connection,
}

/// Sessions, each with its connection.
pub(super) struct Entries<E> {
    list: Vec<(E, Peer)>,
    /// By instrument; empty: all the first.
    session_of: Vec<u32>,
    bytes: Box<[u8; MAX_READ]>,
    shared: Arc<Shared>,
    pulse: Pulse,
    ticks: Ticks,
    stages: Option<Box<Stages>>,
    /// Bytes wait for the next flush; stamps of the packets that led to them, one each.
    gathered: bool,
    packets: Vec<Stamps>,
}

impl<E: EntryStation> Entries<E> {
    pub(super) fn new(
        setups: Vec<EntrySetup<E>>,
        session_of: Vec<u32>,
        shared: Arc<Shared>,
        pulse: Pulse,
        measure: bool,
    ) -> Self {
        let list = setups.into_iter().map(|EntrySetup { name, station, address }| {
            (station, Peer { name, connection: Connection::new(address) })
        });
        let list = list.collect();
        let (bytes, stages) = (Box::new([0; MAX_READ]), measure.then(Box::default));
        let (gathered, packets) = (false, Vec::with_capacity(1 << 10));
        Self { list, session_of, bytes, shared, pulse, ticks: Ticks::default(), stages, gathered, packets }
    }
}

/// The instrument that an output is about, for those that a session hears of.
#[inline]
fn instrument(output: &Output) -> Option<InstrumentId> {
    match output {
        Output::Submit(order) => Some(order.instrument),
        Output::Cancel { instrument, .. } | Output::Replace { instrument, .. } => Some(*instrument),
        Output::State(change) => Some(change.instrument),
        Output::Fill(fill) => Some(fill.instrument),
        Output::Refused(_)
        | Output::Signal(_)
        | Output::Quality(_)
        | Output::Breach(_)
        | Output::Booked(_)
        | Output::Difference(_) => None,
    }
}

impl<E: EntryStation> Outlet for Entries<E> {
    #[inline]
    fn send(&mut self, output: &Output, now: Nanos, stamps: Stamps, back: &mut Back) {
        let Some(instrument) = instrument(output) else { return };
        let session = self.session_of.get(instrument.index()).copied().unwrap_or(0);
        let Some((station, Peer { name, connection })) = self.list.get_mut(session as usize) else { return };
        let mut port = Port { name, connection, shared: &self.shared, back, gathered: Some(false) };
        station.send(output, now, &mut port);
        if port.gathered == Some(true) {
            self.gathered = true;
            if stamps.received > 0 && self.stages.is_some() {
                self.packets.push(stamps);
            }
        }
    }

    #[inline]
    fn flush(&mut self) {
        if !std::mem::take(&mut self.gathered) {
            return;
        }
        let encoded = self.ticks.now();
        for (_, peer) in &mut self.list {
            peer.connection.flush();
        }
        if let Some(stages) = self.stages.as_deref_mut().filter(|_| !self.packets.is_empty()) {
            let written = self.ticks.now();
            for packet in self.packets.drain(..) {
                stages.record(Stage::Encoded, self.ticks.between(packet.stepped, encoded));
                stages.record(Stage::Written, self.ticks.between(encoded, written));
                stages.record(Stage::Whole, self.ticks.between(packet.received, written));
            }
        }
    }

    #[inline]
    fn poll(&mut self, back: &mut Back) -> bool {
        let mut busy = false;
        for ((station, peer), pulse) in self.list.iter_mut().zip(self.pulse.iter()) {
            peer.connection.flush();
            if let Some(change) = peer.connection.change() {
                let now = utc();
                let mut port = Port::quiet(peer, &self.shared, back);
                match change {
                    Change::Connected => station.on_connected(now, &mut port),
                    Change::Closed => station.on_closed(now, &mut port),
                }
                busy = true;
            }
            for _ in 0..BATCH {
                let Some(bytes) = peer.connection.read(&mut self.bytes) else { break };
                let mut port = Port::quiet(peer, &self.shared, back);
                station.on_bytes(bytes, utc(), &mut port);
                // Nobody else writes it.
                pulse.store(pulse.load(Relaxed).wrapping_add(1), Relaxed);
                busy = true;
            }
        }
        busy
    }

    #[inline]
    fn tick(&mut self, now: Nanos, back: &mut Back) {
        for (station, peer) in &mut self.list {
            if station.next_tick().is_some_and(|at| at <= now) {
                station.on_tick(now, &mut Port::quiet(peer, &self.shared, back));
            }
        }
    }

    #[inline]
    fn next_tick(&self) -> Option<Nanos> {
        self.list.iter().filter_map(|(station, _)| station.next_tick()).min()
    }

    fn start(&mut self, now: Nanos, back: &mut Back) {
        for (station, peer) in &mut self.list {
            station.on_tick(now, &mut Port::quiet(peer, &self.shared, back));
        }
    }

    fn stop(&mut self, now: Nanos) -> bool {
        // What its leave-taking makes it say is heard by nobody: the run is over.
        let mut back = Back::default();
        for (station, peer) in &mut self.list {
            if peer.connection.is_open() {
                station.on_stop(now, &mut Port::quiet(peer, &self.shared, &mut back));
            }
            peer.connection.flush();
            peer.connection.close();
        }
        true
    }

    fn watch_fresh(&mut self, bed: &Bed) -> bool {
        let mut waiting = false;
        for (_, Peer { connection, .. }) in &mut self.list {
            waiting |= connection.is_connecting() || connection.unsent() > 0;
            waiting |= connection.fresh().is_some_and(|descriptor| bed.watch(descriptor).is_err());
        }
        waiting
    }

    fn stages(&mut self) -> Option<&mut Stages> {
        self.stages.as_deref_mut()
    }
}

/// The world as an entry station sees it.
struct Port<'a> {
    name: &'a str,
    connection: &'a mut Connection,
    shared: &'a Shared,
    back: &'a mut Back,
    /// What is written waits for the flush; whether anything was. `None`: it goes out at once.
    gathered: Option<bool>,
}

impl<'a> Port<'a> {
    /// Not in answer to what the engine said.
    fn quiet(peer: &'a mut Peer, shared: &'a Shared, back: &'a mut Back) -> Self {
        let Peer { name, connection } = peer;
        Self { name, connection, shared, back, gathered: None }
    }
}

impl EntryOut for Port<'_> {
    #[inline]
    fn event(&mut self, event: Event) {
        self.back.push(event);
    }

    fn connect(&mut self) {
        if self.shared.may_send() {
            self.connection.connect();
        }
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        if !self.shared.may_send() {
            return self.shared.fence();
        }
        match &mut self.gathered {
            Some(any) => {
                *any = true;
                self.connection.put(bytes);
            }
            None => self.connection.write(bytes),
        }
    }

    fn close(&mut self) {
        self.connection.close();
    }

    fn note(&mut self, text: fmt::Arguments<'_>) {
        self.shared.note_of(self.name, INFO, text);
    }
}
