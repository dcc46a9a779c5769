//! Feed stations and their sockets, looked at in turn.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use helios_io::SourceError;
use helios_types::{Event, Nanos};

use super::shared::{INFO, Shared, utc};
use super::station::FeedStation;
use crate::FeedOut;
use crate::latency::Ticks;
use crate::ring::Bed;
use crate::sockets::{Change, Connection, Datagrams, Drops, Line, MAX_DATAGRAM, MAX_READ};

/// Most datagrams taken from one line before others are looked at.
const BATCH: usize = 32;

/// A feed as the run is told it.
pub struct FeedSetup<F> {
    /// Its name, for the log.
    pub name: String,
    /// The station.
    pub station: F,
    /// Its lines: A, B, ….
    pub lines: Vec<Line>,
    /// Retransmission servers.
    pub servers: Vec<SocketAddr>,
    /// The snapshot session, if there is one.
    pub snapshot: Option<SocketAddr>,
}

/// Who takes what a feed says.
pub(super) trait Sink {
    /// An event of a packet that was received at `now`, and at `received` in ticks (zero: of none).
    fn event(&mut self, event: Event, now: Nanos, received: u64);
    /// All of a packet was handled.
    fn packet(&mut self, received: u64);
}

/// The sockets of a station.
struct Sockets {
    name: String,
    lines: Vec<Datagrams>,
    servers: Vec<SocketAddr>,
    snapshot: Option<Connection>,
}

/// All feeds of a thread.
pub(super) struct Feeds<F> {
    list: Vec<(F, Sockets)>,
    datagram: Box<[u8; MAX_DATAGRAM]>,
    bytes: Box<[u8; MAX_READ]>,
    ticks: Ticks,
    packets: u64,
}

impl<F: FeedStation> Feeds<F> {
    pub(super) fn open(setups: Vec<FeedSetup<F>>, shared: &Shared) -> Result<Self, SourceError> {
        let mut list = Vec::new();
        for FeedSetup { name, station, lines, servers, snapshot } in setups {
            let lines = lines.into_iter().map(Datagrams::open).collect::<Result<Vec<_>, _>>()?;
            for line in &lines {
                shared.watch_drops(line.drops());
            }
            list.push((station, Sockets { name, lines, servers, snapshot: snapshot.map(Connection::new) }));
        }
        let (datagram, bytes) = (Box::new([0; MAX_DATAGRAM]), Box::new([0; MAX_READ]));
        Ok(Self { list, datagram, bytes, ticks: Ticks::default(), packets: 0 })
    }

    /// Where the lines listen.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.list.iter().flat_map(|(_, sockets)| &sockets.lines).filter_map(|line| line.address().ok()).collect()
    }

    /// Whoever sleeps watches all lines.
    pub(super) fn watch(&self, bed: &Bed) -> std::io::Result<()> {
        self.list.iter().flat_map(|(_, sockets)| &sockets.lines).try_for_each(|line| bed.watch(line.as_raw_fd()))
    }

    /// The first tick of every station.
    pub(super) fn start(&mut self, now: Nanos, sink: &mut impl Sink, shared: &Shared) {
        for (station, sockets) in &mut self.list {
            station.on_tick(now, &mut Port { sockets, sink, shared, now, received: 0 });
        }
    }

    /// Takes what has come, from every line and session; true when there was anything.
    #[inline]
    pub(super) fn poll(&mut self, sink: &mut impl Sink, shared: &Shared) -> bool {
        let mut busy = false;
        for (station, sockets) in &mut self.list {
            for line in 0..sockets.lines.len() {
                for _ in 0..BATCH {
                    let Some(length) = sockets.lines[line].receive(&mut self.datagram) else { break };
                    let received = self.ticks.now();
                    let now = utc();
                    (busy, self.packets) = (true, self.packets + 1);
                    let mut port = Port { sockets, sink, shared, now, received };
                    station.on_datagram(line as u8, &self.datagram[..length], now, &mut port);
                    sink.packet(received);
                }
            }
            if sockets.snapshot.is_some() {
                busy |= snapshot(station, sockets, &mut self.bytes, sink, shared);
            }
        }
        busy
    }

    /// Ticks that are due.
    #[inline]
    pub(super) fn tick(&mut self, now: Nanos, sink: &mut impl Sink, shared: &Shared) {
        for (station, sockets) in &mut self.list {
            if station.next_tick().is_some_and(|at| at <= now) {
                station.on_tick(now, &mut Port { sockets, sink, shared, now, received: 0 });
            }
        }
    }

    pub(super) fn next_tick(&self) -> Option<Nanos> {
        self.list.iter().filter_map(|(station, _)| station.next_tick()).min()
    }

    /// Connections that were begun are watched too; true while one is under way.
    pub(super) fn watch_fresh(&mut self, bed: &Bed) -> bool {
        let mut waiting = false;
        for connection in self.list.iter_mut().filter_map(|(_, sockets)| sockets.snapshot.as_mut()) {
            waiting |= connection.is_connecting() || connection.unsent() > 0;
            waiting |= connection.fresh().is_some_and(|descriptor| bed.watch(descriptor).is_err());
        }
        waiting
    }

    /// Says how they stand.
    pub(super) fn tell(&self, shared: &Shared) {
        shared.packets.store(self.packets, std::sync::atomic::Ordering::Relaxed);
        shared.set_feeds(self.list.iter().map(|(station, _)| station.told()));
    }
}

/// The snapshot session of a station.
fn snapshot<F: FeedStation>(
    station: &mut F,
    sockets: &mut Sockets,
    buffer: &mut [u8; MAX_READ],
    sink: &mut impl Sink,
    shared: &Shared,
) -> bool {
    let Some(connection) = &mut sockets.snapshot else { return false };
    connection.flush();
    let change = connection.change();
    let bytes = if change.is_none() { connection.read(buffer) } else { None };
    if change.is_none() && bytes.is_none() {
        return false;
    }
    let now = utc();
    let mut port = Port { sockets, sink, shared, now, received: 0 };
    match (change, bytes) {
        (Some(Change::Connected), _) => station.on_connected(now, &mut port),
        (Some(Change::Closed), _) => station.on_closed(now, &mut port),
        (None, Some(bytes)) => station.on_bytes(bytes, now, &mut port),
        (None, None) => {}
    }
    true
}

/// The world as a feed station sees it.
struct Port<'a, S> {
    sockets: &'a mut Sockets,
    sink: &'a mut S,
    shared: &'a Shared,
    now: Nanos,
    received: u64,
}

impl<S: Sink> FeedOut for Port<'_, S> {
    #[inline]
    fn event(&mut self, event: Event) {
        self.sink.event(event, self.now, self.received);
    }

    fn request(&mut self, server: usize, bytes: &[u8]) {
        if let (Some(line), Some(to)) = (self.sockets.lines.first(), self.sockets.servers.get(server)) {
            line.send_to(*to, bytes);
        }
    }

    fn connect(&mut self) {
        if let Some(connection) = &mut self.sockets.snapshot {
            connection.connect();
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(connection) = &mut self.sockets.snapshot {
            connection.write(bytes);
        }
    }

    fn close(&mut self) {
        if let Some(connection) = &mut self.sockets.snapshot {
            connection.close();
        }
    }

    fn note(&mut self, text: fmt::Arguments<'_>) {
        self.shared.note_of(&self.sockets.name, INFO, text);
    }
}

/// How many datagrams the kernel has dropped, by line.
pub(super) fn dropped(drops: &[Drops]) -> u64 {
    drops.iter().filter_map(Drops::count).sum()
}
