//! The loop: one thread, many sessions of both roles.
//!
//! A turn waits for sockets and commands, accepts, reads each connection a little, and lets time pass for every session.
//! Nothing blocks: names are looked up in threads, slow readers have a bounded buffer, a flood is left in its socket.
//!
//! | what | maximum | policy |
//! |---|---|---|
//! | sessions | [`crate::MAX_SESSIONS`] | refused at the start |
//! | connections before their Logon | `max_pending` | the oldest is closed |
//! | bytes before a Logon is whole | [`MAX_MESSAGE`] | closed |
//! | time before a Logon is whole | `logon_timeout` | closed |
//! | bytes waiting for a reader | `send_buffer`, and [`crate::MAX_RESEND_BYTES`] while resending | closed |
//! | messages a second | `rate` | not read until there is room, the peer's TCP waits |
//! | commands waiting | [`crate::MAX_COMMANDS`] | refused to the caller |
//! | notes | 50 a second | counted instead |

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use helios_types::Nanos;
use helios_wire::fix::codec::MAX_MESSAGE;
use helios_wire::fix::{Builder, Logon, Peek, Role, Session, Stored, peek_logon};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ServerConfig;

use crate::application::{Application, Command, Handle, Outgoing, SessionId, Status};
use crate::clock::Clock;
use crate::config::{Config, SessionConfig};
use crate::dial::{Dial, Resolved, State};
use crate::limit::Bucket;
use crate::link::{Got, Link};
use crate::schedule::Schedule;
use crate::store::{Store, folder_name};
use crate::world::{Demanded, Notes, World};

/// Time passes for sessions at least this often.
const TICK: Duration = Duration::from_millis(50);
/// Read of one connection at a time.
const CHUNK: usize = 16 << 10;
/// Read of a connection whose messages are counted: it overdraws its rate by one chunk at most.
const COUNTED_CHUNK: usize = 2 << 10;
/// Chunks of one connection in a turn.
const CHUNKS: usize = 4;
/// Commands in a turn.
const COMMANDS: usize = 256;
/// Connections accepted in a turn.
const ACCEPTS: usize = 64;
/// How long a closed connection may take to hear of it.
const LINGER: Nanos = Nanos(1_000_000_000);

struct Listener {
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    ready: bool,
}

/// A connection that no session has: on its way in, or out.
struct Pending {
    link: Link,
    /// `None` on its way out.
    bytes: Option<Vec<u8>>,
    /// Counts up.
    turn: u64,
    until: Nanos,
}

struct Slot {
    name: String,
    config: SessionConfig,
    session: Session,
    store: Store,
    link: Option<Link>,
    dial: Option<Dial>,
    demanded: Option<Demanded>,
    bucket: Option<Bucket>,
    /// Not read until its bucket has something again.
    paused: bool,
    counter: Counter,
    /// A logout was asked for because its time is over.
    leaving: bool,
}

/// Counts messages in a stream by their last field, without looking closer.
#[derive(Default)]
struct Counter {
    matched: usize,
}

impl Counter {
    const END: &'static [u8] = b"\x0110=";

    fn count(&mut self, bytes: &[u8]) -> u64 {
        let mut found = 0;
        for &byte in bytes {
            if byte == Self::END[self.matched] {
                self.matched += 1;
                if self.matched == Self::END.len() {
                    (found, self.matched) = (found + 1, 0);
                }
            } else {
                self.matched = usize::from(byte == Self::END[0]);
            }
        }
        found
    }
}

#[derive(Clone, Copy)]
enum Place {
    Waker,
    Listener(usize),
    Pending(usize),
    Slot(usize),
}

/// Sessions, their connections and stores.
pub struct Engine<A: Application> {
    poll: Poll,
    events: Events,
    ready: Vec<(Token, bool)>,
    listeners: Vec<Listener>,
    pending: Vec<Option<Pending>>,
    /// Connections that were ever pending.
    held: u64,
    slots: Vec<Slot>,
    app: A,
    handle: Handle,
    commands: Receiver<Command>,
    names: (Sender<Resolved>, Receiver<Resolved>),
    notes: Notes,
    logon_timeout: Nanos,
    buffer: Box<[u8]>,
    clock: Clock,
    ticked: Nanos,
    /// Something was left unread.
    busy: bool,
    /// When it ends at the latest.
    stopping: Option<Nanos>,
}

impl<A: Application> Engine<A> {
    /// Opens stores, reads secrets, binds addresses. The error says which session or address it is about.
    pub fn new(config: Config, app: A) -> Result<Self, String> {
        config.check()?;
        let clock = Clock::new();
        let now = clock.now();
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| format!("{what}: {error}")
        };
        let poll = Poll::new().map_err(failed("epoll"))?;
        let waker = Waker::new(poll.registry(), Token(0)).map_err(failed("waker"))?;
        let (handle, commands) = Handle::new(waker);
        let mut engine = Self {
            poll,
            events: Events::with_capacity(256),
            ready: Vec::new(),
            listeners: Vec::new(),
            pending: (0..config.max_pending).map(|_| None).collect(),
            held: 0,
            slots: Vec::new(),
            app,
            handle,
            commands,
            names: channel(),
            notes: Notes::new(now),
            logon_timeout: config.logon_timeout,
            buffer: vec![0; CHUNK].into_boxed_slice(),
            clock,
            ticked: Nanos(0),
            busy: false,
            stopping: None,
        };
        for session in config.sessions {
            let folder = folder_name(
                crate::config::version_name(session.settings.version),
                &session.settings.sender,
                &session.settings.target,
            );
            let name = session.name();
            let slot = Slot::open(session, &config.store.join(folder), now).map_err(|e| format!("{name}: {e}"))?;
            engine.slots.push(slot);
        }
        for (i, listen) in config.listen.iter().enumerate() {
            let tls = listen.tls.as_ref().map(|tls| tls.config()).transpose()?;
            let mut socket = TcpListener::bind(listen.address)
                .map_err(|error| format!("cannot listen at {}: {error}", listen.address))?;
            engine.poll.registry().register(&mut socket, Token(1 + i), Interest::READABLE).map_err(failed("epoll"))?;
            engine.listeners.push(Listener { socket, tls, ready: false });
        }
        for i in 0..engine.slots.len() {
            for text in engine.slots[i].store.take_notes() {
                engine.note(Some(SessionId(i)), now, text);
            }
        }
        Ok(engine)
    }

    /// For other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Addresses that are listened at, with their real ports.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.socket.local_addr().ok()).collect()
    }

    /// Names of the sessions, in order.
    pub fn names(&self) -> Vec<String> {
        self.slots.iter().map(|slot| slot.name.clone()).collect()
    }

    /// The application.
    pub fn app(&mut self) -> &mut A {
        &mut self.app
    }

    /// Turns until it is stopped.
    pub fn run(&mut self) -> Result<(), String> {
        while self.turn(TICK)? {}
        Ok(())
    }

    /// One turn that waits at most `patience`; false once it has stopped. A loop of its own may call it with zero.
    pub fn turn(&mut self, patience: Duration) -> Result<bool, String> {
        let wait = if self.busy { Duration::ZERO } else { patience.min(TICK) };
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(format!("epoll: {error}")),
            _ => {}
        }
        let (now, leap) = self.clock.read();
        if let Some(seconds) = leap {
            self.begin_anew(seconds, now);
        }
        self.busy = false;
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        ready.extend(self.events.iter().map(|event| (event.token(), event.is_readable() || event.is_read_closed())));
        for &(token, readable) in &ready {
            self.woken(self.place(token), readable, now);
        }
        self.ready = ready;
        self.accept(now);
        self.obey(now);
        for i in 0..self.pending.len() {
            self.read_pending(i, now);
        }
        for i in 0..self.slots.len() {
            self.read_slot(i);
        }
        if now.since(self.ticked) >= TICK.as_nanos() as u64 || now < self.ticked {
            self.ticked = now;
            self.tick(now);
        }
        self.send_outgoing(now);
        Ok(!self.has_stopped(now))
    }

    /// The system's time was set: how long nothing came can no longer be told.
    fn begin_anew(&mut self, seconds: f64, now: Nanos) {
        let why = format!("the system's time was set by {seconds:+.1} s");
        self.note(None, now, why.clone());
        self.ticked = Nanos(0);
        self.pending.iter_mut().for_each(|pending| *pending = None);
        for i in 0..self.slots.len() {
            if self.slots[i].link.is_some() {
                self.finish(i, &why, now);
            }
            if let Some(dial) = &mut self.slots[i].dial {
                dial.begin_anew(now);
            }
        }
        if self.stopping.is_some() {
            self.stopping = Some(now);
        }
    }

    /// Sends an application message: the order path. `body` writes the fields after the header.
    pub fn send(
        &mut self,
        id: SessionId,
        msg_type: &[u8],
        header: &[(u32, &[u8])],
        body: impl FnOnce(&mut Builder),
    ) -> Result<u64, String> {
        let now = self.clock.now();
        let (sent, failed) = self.with(id.0, now, |session, world| {
            let sent = session.send_with(msg_type, header, body, now, world);
            (sent, world.failed.clone())
        });
        match failed {
            Some(error) => Err(format!("nothing was sent: {error}")),
            None => sent.map_err(|error| error.to_string()),
        }
    }

    /// Logs every session out and ends the loop when the last connection is gone.
    pub fn stop(&mut self, text: &str) {
        if self.stopping.is_some() {
            return;
        }
        let now = self.clock.now();
        let patience = self.slots.iter().map(|slot| slot.config.settings.logout_timeout_s).max().unwrap_or(0) + 1;
        self.stopping = Some(now.plus(patience * 1_000_000_000));
        for i in 0..self.slots.len() {
            self.say_goodbye(i, text, now);
        }
    }

    fn place(&self, Token(token): Token) -> Place {
        let (listeners, pending) = (1 + self.listeners.len(), self.pending.len());
        match token {
            0 => Place::Waker,
            token if token < listeners => Place::Listener(token - 1),
            token if token < listeners + pending => Place::Pending(token - listeners),
            token => Place::Slot(token - listeners - pending),
        }
    }

    fn token(&self, place: Place) -> Token {
        let listeners = 1 + self.listeners.len();
        Token(match place {
            Place::Waker => 0,
            Place::Listener(i) => 1 + i,
            Place::Pending(i) => listeners + i,
            Place::Slot(i) => listeners + self.pending.len() + i,
        })
    }

    fn note(&mut self, session: Option<SessionId>, now: Nanos, text: impl Into<String>) {
        self.notes.give(&mut self.app, session, now, text);
    }

    fn woken(&mut self, place: Place, readable: bool, now: Nanos) {
        let link = match place {
            Place::Waker => None,
            Place::Listener(i) => {
                self.listeners[i].ready = true;
                None
            }
            Place::Pending(i) => self.pending[i].as_mut().map(|pending| &mut pending.link),
            Place::Slot(i) => {
                self.check_dial(i, now);
                self.slots.get_mut(i).and_then(|slot| slot.link.as_mut())
            }
        };
        if let Some(link) = link {
            link.readable |= readable;
            link.flush(now);
        }
        if let Place::Slot(i) = place {
            self.check_link(i, now);
        }
    }

    fn accept(&mut self, now: Nanos) {
        for i in 0..self.listeners.len() {
            for count in 0..=ACCEPTS {
                if !self.listeners[i].ready {
                    break;
                }
                if count == ACCEPTS {
                    self.busy = true;
                    break;
                }
                match self.listeners[i].socket.accept() {
                    Ok((stream, peer)) => {
                        let link = Link::new(stream, peer, MAX_MESSAGE, now);
                        let link = match self.listeners[i].tls.clone() {
                            Some(config) => link.accept_tls(config),
                            None => Ok(link),
                        };
                        match link {
                            Ok(link) if self.stopping.is_none() => self.admit(link, now),
                            Ok(_) => {}
                            Err(error) => self.note(None, now, format!("{peer}: {error}")),
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.listeners[i].ready = false,
                    Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                    Err(error) => {
                        // As when the process has no more files: tried again in the next turn.
                        self.note(None, now, format!("cannot accept: {error}"));
                        break;
                    }
                }
            }
        }
    }

    fn admit(&mut self, link: Link, now: Nanos) {
        let until = now.plus(self.logon_timeout.0);
        self.hold(Pending { link, bytes: Some(Vec::new()), turn: 0, until }, now, false);
    }

    /// Gives a connection a place among the pending ones; when there is none the oldest goes.
    fn hold(&mut self, mut pending: Pending, now: Nanos, registered: bool) {
        let place = self.pending.iter().position(Option::is_none).unwrap_or_else(|| {
            let ages = self.pending.iter().enumerate().filter_map(|(i, held)| held.as_ref().map(|held| (held.turn, i)));
            let oldest = ages.min().map_or(0, |(_, i)| i);
            if let Some(Pending { link, bytes: Some(_), .. }) = self.pending[oldest].take() {
                let text = format!("{}: closed without a Logon, {} others wait", link.peer(), self.pending.len());
                self.note(None, now, text);
            }
            oldest
        });
        self.held += 1;
        pending.turn = self.held;
        let token = self.token(Place::Pending(place));
        match self.register(&mut pending.link, token, registered) {
            Ok(()) => self.pending[place] = Some(pending),
            Err(error) => self.note(None, now, format!("{}: {error}", pending.link.peer())),
        }
    }

    fn register(&self, link: &mut Link, token: Token, again: bool) -> Result<(), String> {
        let (registry, interest) = (self.poll.registry(), Interest::READABLE | Interest::WRITABLE);
        let result = match again {
            true => registry.reregister(link.stream(), token, interest),
            false => registry.register(link.stream(), token, interest),
        };
        result.map_err(|error| format!("epoll: {error}"))
    }

    fn read_pending(&mut self, i: usize, now: Nanos) {
        for _ in 0..CHUNKS {
            let Some(Pending { link, bytes, until, .. }) = &mut self.pending[i] else { return };
            if now >= *until || link.broken().is_some() {
                let why = link.broken().unwrap_or("no Logon came in time");
                let text = bytes.is_some().then(|| format!("{}: {why}", link.peer()));
                self.pending[i] = None;
                return text.into_iter().for_each(|text| self.note(None, now, text));
            }
            if !link.readable {
                return;
            }
            match link.read(&mut self.buffer) {
                Got::Later => {}
                Got::Closed(why) => {
                    let text = bytes.is_some().then(|| format!("{}: {why} before a Logon", link.peer()));
                    self.pending[i] = None;
                    return text.into_iter().for_each(|text| self.note(None, now, text));
                }
                Got::Bytes(count) => {
                    if link.is_tls() {
                        link.flush(now);
                    }
                    let Some(bytes) = bytes else { continue };
                    bytes.extend_from_slice(&self.buffer[..count]);
                    if self.route(i, now) {
                        return;
                    }
                }
            }
        }
        self.busy = true;
    }

    /// Looks at what a connection sent first; true if it is no longer pending.
    fn route(&mut self, i: usize, now: Nanos) -> bool {
        let Some(Pending { link, bytes: Some(bytes), .. }) = &self.pending[i] else { return false };
        let refusal = match peek_logon(bytes) {
            Peek::Incomplete if bytes.len() <= MAX_MESSAGE => return false,
            Peek::Incomplete => "its first message is too long".to_owned(),
            Peek::Drop(why) => why.to_string(),
            Peek::Logon(logon) => match self.session_for(&logon, link.is_tls(), now) {
                Ok(slot) => {
                    if let Some(pending) = self.pending[i].take() {
                        self.attach(slot, pending, now);
                    }
                    return true;
                }
                Err(refusal) => refusal,
            },
        };
        let text = format!("{}: {refusal}", link.peer());
        self.pending[i] = None;
        self.note(None, now, text);
        true
    }

    fn session_for(&self, logon: &Logon, tls: bool, now: Nanos) -> Result<usize, String> {
        let shown = |text: &str| text.chars().take(64).collect::<String>().escape_debug().to_string();
        let given = format!("{}:{}->{}", shown(&logon.begin_string), shown(&logon.sender), shown(&logon.target));
        let same = |slot: &&(usize, &Slot)| {
            let settings = &slot.1.config.settings;
            settings.role == Role::Acceptor
                && settings.version.begin_string() == logon.begin_string
                && settings.sender == logon.sender
                && settings.target == logon.target
        };
        let all: Vec<_> = self.slots.iter().enumerate().collect();
        let found: Vec<_> = all.iter().filter(same).collect();
        let version = |slot: &&&(usize, &Slot)| {
            slot.1.config.settings.version.appl_ver_id() == logon.default_appl_ver_id.as_deref()
        };
        // Several sessions over FIXT.1.1 may differ in nothing but the application's version.
        let slot = found.iter().find(version).or(found.first());
        let Some((i, slot)) = slot else { return Err(format!("there is no session {given}")) };
        if slot.link.is_some() {
            return Err(format!("{} is connected already", slot.name));
        }
        if slot.config.require_tls && !tls {
            return Err(format!("{} requires TLS", slot.name));
        }
        if slot.config.schedule.open(now).is_none() {
            return Err(format!("{} is not open now", slot.name));
        }
        Ok(*i)
    }

    fn attach(&mut self, i: usize, pending: Pending, now: Nanos) {
        let Pending { mut link, bytes, .. } = pending;
        let token = self.token(Place::Slot(i));
        if let Err(error) = self.register(&mut link, token, true) {
            return self.note(Some(SessionId(i)), now, error);
        }
        self.start_window(i, now);
        let slot = &mut self.slots[i];
        link.set_limit(slot.config.send_buffer);
        let text = format!("connected from {}{}", link.peer(), if link.is_tls() { " by TLS" } else { "" });
        slot.link = Some(link);
        let bytes = bytes.unwrap_or_default();
        slot.counter = Counter::default();
        let count = slot.counter.count(&bytes);
        if let Some(bucket) = &mut slot.bucket {
            bucket.take(count, now);
        }
        self.note(Some(SessionId(i)), now, text);
        self.with(i, now, |session, world| {
            session.on_connected(now, world);
            session.on_bytes(&bytes, now, world);
        });
    }

    fn read_slot(&mut self, i: usize) {
        for _ in 0..CHUNKS {
            let now = self.clock.now();
            let slot = &mut self.slots[i];
            let Some(link) = &mut slot.link else { return };
            if !link.readable {
                return;
            }
            if let Some(bucket) = &slot.bucket {
                let full = !bucket.has(now);
                let news = full && !slot.paused;
                slot.paused = full;
                if news {
                    self.note(Some(SessionId(i)), now, "more messages than its rate allows: it waits");
                }
                if full {
                    return;
                }
            }
            let slot = &mut self.slots[i];
            let Some(link) = &mut slot.link else { return };
            let size = if slot.bucket.is_some() { COUNTED_CHUNK } else { CHUNK };
            let mut buffer = std::mem::take(&mut self.buffer);
            let got = link.read(&mut buffer[..size]);
            if link.is_tls() {
                link.flush(now);
            }
            match got {
                Got::Later => {}
                Got::Closed(why) => self.lose(i, &why, now),
                Got::Bytes(count) => {
                    let bytes = &buffer[..count];
                    if let Some(bucket) = &mut slot.bucket {
                        bucket.take(slot.counter.count(bytes), now);
                    }
                    self.with(i, now, |session, world| session.on_bytes(bytes, now, world));
                }
            }
            self.buffer = buffer;
        }
        self.busy |= self.slots[i].link.as_ref().is_some_and(|link| link.readable);
    }

    /// Calls into a session, and does what it asked for.
    fn with<R>(&mut self, i: usize, now: Nanos, call: impl FnOnce(&mut Session, &mut World<'_, A>) -> R) -> R {
        let slot = &mut self.slots[i];
        let mut world = World {
            id: SessionId(i),
            store: &mut slot.store,
            link: slot.link.as_mut(),
            app: &mut self.app,
            notes: &mut self.notes,
            demanded: slot.demanded.as_ref(),
            now,
            close: None,
            failed: None,
            came_up: false,
        };
        let result = call(&mut slot.session, &mut world);
        let World { close, failed, came_up, .. } = world;
        if let Some(link) = &mut slot.link {
            link.resending(false);
        }
        if came_up && let Some(dial) = &mut slot.dial {
            dial.came_up();
        }
        if let Some(error) = failed {
            self.distrust(i, &error, now);
        } else if let Some(why) = close {
            self.finish(i, &why, now);
        } else {
            self.check_link(i, now);
        }
        result
    }

    /// A connection that broke while it was written to.
    fn check_link(&mut self, i: usize, now: Nanos) {
        let broken = self.slots.get(i).and_then(|slot| slot.link.as_ref()?.broken().map(str::to_owned));
        if let Some(why) = broken {
            self.lose(i, &why, now);
        }
    }

    /// The store failed: the connection goes, and the session goes back to what is stored.
    fn distrust(&mut self, i: usize, error: &str, now: Nanos) {
        if self.slots[i].link.is_some() {
            self.lose(i, &format!("closed, because the store failed: {error}"), now);
        }
        let slot = &mut self.slots[i];
        slot.session.set_next(Some(slot.store.next_out()), Some(slot.store.next_in()));
    }

    /// The connection is gone.
    fn lose(&mut self, i: usize, why: &str, now: Nanos) {
        self.slots[i].link = None;
        self.after_link(i, why, now);
    }

    /// The session is done with its connection: the peer still gets what was written.
    fn finish(&mut self, i: usize, why: &str, now: Nanos) {
        if let Some(mut link) = self.slots[i].link.take() {
            link.finish(now);
            self.hold(Pending { link, bytes: None, turn: 0, until: now.plus(LINGER.0) }, now, true);
        }
        self.after_link(i, why, now);
    }

    fn after_link(&mut self, i: usize, why: &str, now: Nanos) {
        let slot = &mut self.slots[i];
        slot.leaving = false;
        slot.paused = false;
        let again = match &mut slot.dial {
            Some(dial) => {
                dial.lost(now);
                format!("; next attempt in {} ms", dial.wait_ms(now))
            }
            None => String::new(),
        };
        self.note(Some(SessionId(i)), now, format!("disconnected: {why}{again}"));
        self.with(i, now, |session, world| session.on_closed(now, world));
    }

    fn tick(&mut self, now: Nanos) {
        while let Ok((i, found)) = self.names.1.try_recv() {
            let started = found.and_then(|addresses| self.start_dial(i, &addresses, now));
            if let Err(error) = started {
                self.dial_failed(i, &error, now);
            }
        }
        for i in 0..self.slots.len() {
            self.keep_hours(i, now);
            if let Some(link) = &mut self.slots[i].link {
                link.check_stall(now);
                self.with(i, now, |session, world| session.on_tick(now, world));
            }
            self.check_dial(i, now);
            self.call(i, now);
        }
    }

    /// Logs out at the end of a window, and begins anew at 1 in the next.
    fn keep_hours(&mut self, i: usize, now: Nanos) {
        let slot = &self.slots[i];
        if slot.config.schedule == Schedule::Always {
            return;
        }
        let over = slot.config.schedule.open(now).is_none_or(|(open, _)| slot.session.created() < open);
        if slot.link.is_none() {
            self.start_window(i, now);
        } else if over && !slot.leaving {
            self.slots[i].leaving = true;
            self.say_goodbye(i, "The session's time is over", now);
        }
    }

    fn start_window(&mut self, i: usize, now: Nanos) {
        let slot = &self.slots[i];
        if slot.config.schedule == Schedule::Always {
            return;
        }
        if slot.config.schedule.open(now).is_some_and(|(open, _)| slot.session.created() < open) {
            self.with(i, now, |session, world| session.reset(now, world));
            self.note(Some(SessionId(i)), now, "a new session begins: both numbers are 1");
        }
    }

    fn say_goodbye(&mut self, i: usize, text: &str, now: Nanos) {
        let slot = &mut self.slots[i];
        if slot.session.is_logged_on() {
            self.with(i, now, |session, world| session.logout(text, now, world));
        } else if slot.link.is_some() {
            self.finish(i, text, now);
        }
    }

    fn call(&mut self, i: usize, now: Nanos) {
        let slot = &mut self.slots[i];
        let Some(dial) = &mut slot.dial else { return };
        let open = slot.config.schedule.open(now).is_some();
        if !open || self.stopping.is_some() || slot.link.is_some() || !dial.due(now) {
            return;
        }
        if let Some(addresses) = dial.resolve(i, &self.names.0, &self.handle)
            && let Err(error) = self.start_dial(i, &addresses, now)
        {
            self.dial_failed(i, &error, now);
        }
    }

    fn start_dial(&mut self, i: usize, addresses: &[SocketAddr], now: Nanos) -> Result<(), String> {
        let token = self.token(Place::Slot(i));
        let slot = &mut self.slots[i];
        let Some(dial) = &mut slot.dial else { return Ok(()) };
        dial.start(addresses, slot.config.send_buffer, now)?;
        let State::Connecting { link, .. } = &mut dial.state else { return Ok(()) };
        self.poll
            .registry()
            .register(link.stream(), token, Interest::READABLE | Interest::WRITABLE)
            .map_err(|error| format!("epoll: {error}"))
    }

    fn check_dial(&mut self, i: usize, now: Nanos) {
        let Some(dial) = self.slots.get_mut(i).and_then(|slot| slot.dial.as_mut()) else { return };
        match dial.finished(now) {
            Ok(None) => {}
            Err(error) => self.dial_failed(i, &error, now),
            Ok(Some(link)) => {
                let text = format!("connected to {}{}", link.peer(), if link.is_tls() { " by TLS" } else { "" });
                self.slots[i].link = Some(link);
                self.note(Some(SessionId(i)), now, text);
                self.with(i, now, |session, world| session.on_connected(now, world));
            }
        }
    }

    fn dial_failed(&mut self, i: usize, error: &str, now: Nanos) {
        if let Some(dial) = &mut self.slots[i].dial {
            dial.lost(now);
            let text = format!("{error}; next attempt in {} ms", dial.wait_ms(now));
            self.note(Some(SessionId(i)), now, text);
        }
    }

    fn obey(&mut self, now: Nanos) {
        for count in 0.. {
            if count == COMMANDS {
                self.busy = true;
                return;
            }
            // An answer that nobody waits for any more is no fault.
            match self.commands.try_recv() {
                Err(_) => return,
                Ok(Command::Send(id, message, answer)) => {
                    let _ = answer.send(self.send_value(id, &message));
                }
                Ok(Command::SetNext(id, out, in_, answer)) => {
                    let _ = answer.send(self.set_next(id, out, in_, now));
                }
                Ok(Command::Logout(id, text)) if id.0 < self.slots.len() => self.say_goodbye(id.0, &text, now),
                Ok(Command::Logout(..)) => {}
                Ok(Command::Status(answer)) => {
                    let _ = answer.send(self.status());
                }
                Ok(Command::Stop(text)) => self.stop(&text),
            }
        }
    }

    fn send_value(&mut self, id: SessionId, message: &Outgoing) -> Result<u64, String> {
        if id.0 >= self.slots.len() {
            return Err(format!("there is no session {}", id.0));
        }
        self.send(id, &message.msg_type, &message.header(), |builder| message.write(builder))
    }

    /// An operator's numbers.
    pub fn set_next(&mut self, id: SessionId, out: Option<u64>, in_: Option<u64>, now: Nanos) -> Result<u64, String> {
        let Some(slot) = self.slots.get_mut(id.0) else { return Err(format!("there is no session {}", id.0)) };
        if slot.link.is_some() {
            return Err(format!("{}: its numbers cannot be set while it is connected", slot.name));
        }
        if out == Some(0) || in_ == Some(0) {
            return Err("the first number is 1".to_owned());
        }
        slot.store.set_next(out, in_, now).map_err(|error| error.to_string())?;
        slot.session.set_next(out, in_);
        let text = format!("set by hand: next out {}, next in {}", slot.session.next_out(), slot.session.next_in());
        self.note(Some(id), now, text);
        Ok(self.slots[id.0].session.next_out())
    }

    /// Where every session stands.
    pub fn status(&self) -> Vec<Status> {
        let status = |slot: &Slot| Status {
            name: slot.name.clone(),
            logged_on: slot.session.is_logged_on(),
            connected: slot.link.is_some(),
            next_out: slot.session.next_out(),
            next_in: slot.session.next_in(),
        };
        self.slots.iter().map(status).collect()
    }

    fn send_outgoing(&mut self, now: Nanos) {
        for _ in 0..COMMANDS {
            let Some((id, message)) = self.app.outgoing() else { return };
            if let Err(error) = self.send_value(id, &message) {
                let kind = String::from_utf8_lossy(&message.msg_type).into_owned();
                self.note(Some(id), now, format!("message {kind}: {error}"));
            }
        }
        self.busy = true;
    }

    fn has_stopped(&self, now: Nanos) -> bool {
        let Some(until) = self.stopping else { return false };
        let out = self.slots.iter().all(|slot| slot.link.is_none())
            && self.pending.iter().flatten().all(|held| held.bytes.is_some());
        out || now >= until
    }
}

impl Slot {
    fn open(mut config: SessionConfig, folder: &std::path::Path, now: Nanos) -> Result<Self, String> {
        config.schedule = config.schedule.checked()?;
        if let Some(source) = &config.password {
            config.settings.password = Some(source.read()?.expose().to_owned());
        }
        let demanded = match &config.credentials {
            None => None,
            Some(credentials) => {
                Some(Demanded { username: credentials.username.clone(), password: credentials.password.read()? })
            }
        };
        let name = config.name();
        let store =
            Store::open(folder, &name, config.limits, config.durability, now).map_err(|error| error.to_string())?;
        let stored = Stored { next_out: store.next_out(), next_in: store.next_in(), created: store.created() };
        let dial = config.connect.clone().map(|connect| Dial::new(connect, now)).transpose()?;
        Ok(Self {
            session: Session::new(config.settings.clone(), stored),
            bucket: config.rate.map(|rate| Bucket::new(rate, now)),
            name,
            config,
            store,
            link: None,
            dial,
            demanded,
            paused: false,
            counter: Counter::default(),
            leaving: false,
        })
    }
}
