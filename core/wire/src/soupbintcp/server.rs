//! The server's end: logins, numbered messages and their replay, heartbeats, silent clients.
//!
//! A message that counts is put into a [`Store`] first and goes out of it: a connection is a place in its store, so that
//! replay and what is new are one stream, and a client that reads slowly, or much, keeps nobody waiting. At most
//! [`Limits::burst_bytes`] go to a connection at a time, and no more than the world has room for; the rest follows at the
//! next tick.
//!
//! [`Connection`] is one client's connection, with the store given by the caller: for a stream of its own per login, as a
//! snapshot has. [`Server`] is a whole port: users, each with one stream and one connection at a time; the newest wins.
//! Absent: sockets, and what the messages say.

use std::collections::BTreeMap;

use super::client::left;
use super::inbox::Inbox;
use super::{
    Closed, HEADER_LENGTH, Justify, LoginAccepted, LoginRequest, MAX_PAYLOAD, NOT_AUTHORIZED, Packet,
    SESSION_NOT_AVAILABLE, header, kind, number, strip,
};
use helios_types::{NANOS_PER_SECOND, Nanos};

/// After how long without life a tick goes on with a stream that had no room: a millisecond.
const RETRY_NS: u64 = 1_000_000;
/// The longest length field of a login request: its type and 51 bytes.
const LONGEST_LOGIN: usize = 52;

/// How much a connection may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A connection that has not logged in after so long is dropped.
    pub login_ns: u64,
    /// One that was silent for so long is dropped; a login of version 4.1 may ask for another time.
    pub silence_ns: u64,
    /// After so long without a packet of ours comes a heartbeat.
    pub heartbeat_ns: u64,
    /// The longest message of a client.
    pub message_bytes: usize,
    /// The most that is written to a connection at a time.
    pub burst_bytes: usize,
    /// The most connections; a further one is refused.
    pub connections: usize,
}

impl Default for Limits {
    /// 30 s to log in, 15 s of silence, heartbeats each second, messages of any length, 64 KiB at a time, 1,000 connections.
    fn default() -> Self {
        Self {
            login_ns: 30 * NANOS_PER_SECOND,
            silence_ns: 15 * NANOS_PER_SECOND,
            heartbeat_ns: NANOS_PER_SECOND,
            message_bytes: MAX_PAYLOAD,
            burst_bytes: 64 * 1024,
            connections: 1_000,
        }
    }
}

/// The messages of one session, numbered from 1.
pub trait Store {
    /// The session's name.
    fn session(&self) -> [u8; 10];
    /// The number that the next message will have.
    fn next(&self) -> u64;
    /// A message; `None` before 1 and from `next` on.
    fn get(&self, number: u64) -> Option<&[u8]>;
    /// Adds one and returns its number. The store has a maximum; beyond it nothing is kept.
    fn push(&mut self, message: &[u8]) -> Result<u64, StoreFull>;
}

/// A store has reached its maximum: the session must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFull {
    /// Bytes that it holds at most.
    pub maximum: usize,
}

impl std::fmt::Display for StoreFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the session's store holds {} bytes at most: end the session, or give it a larger store",
            self.maximum
        )
    }
}

impl std::error::Error for StoreFull {}

/// A store in memory.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    session: [u8; 10],
    bytes: Vec<u8>,
    /// Where each message ends.
    ends: Vec<usize>,
    maximum: usize,
}

impl MemoryStore {
    /// Of a session with this name, for at most so many bytes.
    pub fn new(session: [u8; 10], maximum: usize) -> Self {
        Self { session: left(&session), bytes: Vec::new(), ends: Vec::new(), maximum }
    }
}

impl Store for MemoryStore {
    fn session(&self) -> [u8; 10] {
        self.session
    }

    fn next(&self) -> u64 {
        self.ends.len() as u64 + 1
    }

    fn get(&self, number: u64) -> Option<&[u8]> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        let begin = if at == 0 { 0 } else { *self.ends.get(at - 1)? };
        self.bytes.get(begin..*self.ends.get(at)?)
    }

    fn push(&mut self, message: &[u8]) -> Result<u64, StoreFull> {
        if message.len() > MAX_PAYLOAD || self.bytes.len() + message.len() > self.maximum {
            return Err(StoreFull { maximum: self.maximum });
        }
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
        Ok(self.ends.len() as u64)
    }
}

/// What a connection asks of the world.
pub trait ConnectionOut {
    /// To the client.
    fn write(&mut self, bytes: &[u8]);
    /// End the connection. Nothing comes of it any more.
    fn close(&mut self, why: &Closed);
    /// Who is this, and which stream does he get? Or the letter of a refusal.
    fn login(&mut self, request: &LoginRequest) -> Result<Stream, u8>;
    /// The login was accepted: the stream is there, and the number asked for is in it.
    fn logged_in(&mut self) {}
    /// A message that does not count: of an order-entry client all are such.
    fn message(&mut self, payload: &[u8]);
    /// How many bytes `write` can take now.
    fn room(&self) -> usize {
        usize::MAX
    }
}

/// What a client may log in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The session's name.
    pub session: [u8; 10],
    /// The number that the session's next message will have.
    pub next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    LoggingIn,
    Live,
    Closed,
}

/// The server's end of one connection.
#[derive(Clone, Debug)]
pub struct Connection {
    limits: Limits,
    state: State,
    inbox: Inbox,
    /// The next message that goes to it.
    next: u64,
    /// Something waits in the store for room or for its turn.
    behind: bool,
    /// When it was last tried.
    pumped: Nanos,
    opened: Nanos,
    sent: Nanos,
    heard: Nanos,
}

impl Connection {
    /// Just made; the client has to log in.
    pub fn new(limits: Limits, now: Nanos) -> Self {
        Self {
            limits,
            state: State::LoggingIn,
            inbox: Inbox::default(),
            next: 1,
            behind: false,
            pumped: now,
            opened: now,
            sent: now,
            heard: now,
        }
    }

    /// Logged in and not closed.
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// Nothing comes or goes any more.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// The next message that goes to it.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// A piece of the stream, cut anywhere. Afterwards [`Connection::pump`] sends what a login asked for.
    pub fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl ConnectionOut) {
        if self.state == State::Closed {
            return;
        }
        self.heard = now;
        let mut inbox = std::mem::take(&mut self.inbox);
        let taken = inbox.take(bytes, self.longest(), |packet| self.packet(packet, now, out).map(|()| self.longest()));
        self.inbox = inbox;
        if let Err(why) = taken {
            self.close(&why, out);
        }
    }

    /// The longest length field that is taken.
    fn longest(&self) -> usize {
        if self.state == State::Live { 1 + self.limits.message_bytes } else { LONGEST_LOGIN }
    }

    fn packet(&mut self, packet: Packet<'_>, now: Nanos, out: &mut impl ConnectionOut) -> Result<(), Closed> {
        match (self.state, packet) {
            (_, Packet::Debug(_)) | (State::Live, Packet::ClientHeartbeat) => Ok(()),
            (State::LoggingIn, Packet::LoginRequest(request)) => self.login(&request, now, out),
            (State::Live, Packet::UnsequencedData(payload)) => {
                out.message(payload);
                Ok(())
            }
            (_, Packet::LogoutRequest) => Err(Closed::LoggedOut),
            (_, other) => Err(Closed::OutOfPlace(other.kind())),
        }
    }

    fn login(&mut self, request: &LoginRequest, now: Nanos, out: &mut impl ConnectionOut) -> Result<(), Closed> {
        let asked = request.sequence_number().map_err(Closed::BadNumber)?;
        let timeout = request.heartbeat_timeout_ms().map_err(Closed::BadNumber)?;
        let stream = out.login(request).and_then(|stream| {
            let wanted = strip(&request.requested_session);
            let there = (wanted.is_empty() || wanted == strip(&stream.session)) && asked <= stream.next;
            if there { Ok(stream) } else { Err(SESSION_NOT_AVAILABLE) }
        });
        match stream {
            Ok(stream) => {
                self.state = State::Live;
                // Zero asks for no replay.
                self.next = if asked == 0 { stream.next } else { asked };
                self.behind = self.next < stream.next;
                if let Some(ms) = timeout.filter(|ms| *ms > 0) {
                    self.limits.silence_ns = ms * 1_000_000;
                    self.limits.heartbeat_ns = self.limits.heartbeat_ns.min(self.limits.silence_ns / 3).max(1);
                }
                let sequence_number = number(self.next, Justify::Right);
                let session = left(&stream.session);
                self.write(Packet::LoginAccepted(LoginAccepted { session, sequence_number }), now, out);
                out.logged_in();
                Ok(())
            }
            Err(reason) => {
                self.write(Packet::LoginRejected(reason), now, out);
                Err(Closed::Rejected(reason))
            }
        }
    }

    /// Sends what the store has and the connection has not, as far as there is room.
    pub fn pump(&mut self, store: &impl Store, now: Nanos, out: &mut impl ConnectionOut) {
        if self.state != State::Live || self.next >= store.next() {
            self.behind = false;
            return;
        }
        self.pumped = now;
        let room = out.room().min(self.limits.burst_bytes);
        let mut packets = Vec::new();
        while let Some(message) = store.get(self.next) {
            // One always goes when nothing waits before it: a message may be longer than a burst.
            let fits = packets.len() + HEADER_LENGTH + message.len() <= room;
            if !fits && (!packets.is_empty() || room < self.limits.burst_bytes) {
                break;
            }
            packets.extend_from_slice(&header(kind::SEQUENCED_DATA, message.len()));
            packets.extend_from_slice(message);
            self.next += 1;
        }
        self.behind = self.next < store.next();
        if !packets.is_empty() {
            self.sent = now;
            out.write(&packets);
        }
    }

    /// A message that does not count and is not kept. False while not logged in, and for one that is too long.
    pub fn send_unsequenced(&mut self, message: &[u8], now: Nanos, out: &mut impl ConnectionOut) -> bool {
        let can = self.state == State::Live && message.len() <= MAX_PAYLOAD;
        if can {
            self.write(Packet::UnsequencedData(message), now, out);
        }
        can
    }

    /// The session is over; what was not sent yet is not. Closes.
    pub fn end(&mut self, now: Nanos, out: &mut impl ConnectionOut) {
        if self.state == State::Live {
            self.write(Packet::EndOfSession, now, out);
        }
        self.close(&Closed::EndOfSession, out);
    }

    /// Heartbeats, silence, late logins.
    pub fn on_tick(&mut self, now: Nanos, out: &mut impl ConnectionOut) {
        let silent = now.since(self.heard);
        match self.state {
            State::LoggingIn if now.since(self.opened) >= self.limits.login_ns => {
                self.close(&Closed::Silent(now.since(self.opened)), out);
            }
            State::Live if silent >= self.limits.silence_ns => self.close(&Closed::Silent(silent), out),
            // A heartbeat says that there is nothing else to say.
            State::Live if !self.behind && now.since(self.sent) >= self.limits.heartbeat_ns => {
                self.write(Packet::ServerHeartbeat, now, out);
            }
            _ => {}
        }
    }

    /// When it wants to be asked again, `pump` included.
    pub fn next_tick(&self) -> Option<Nanos> {
        match self.state {
            State::Closed => None,
            State::LoggingIn => Some(self.opened.plus(self.limits.login_ns)),
            State::Live => {
                let ours =
                    if self.behind { self.pumped.plus(RETRY_NS) } else { self.sent.plus(self.limits.heartbeat_ns) };
                Some(ours.min(self.heard.plus(self.limits.silence_ns)))
            }
        }
    }

    /// Ends the connection, for a reason of the caller's.
    pub fn close(&mut self, why: &Closed, out: &mut impl ConnectionOut) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.inbox.clear();
            out.close(why);
        }
    }

    fn write(&mut self, packet: Packet<'_>, now: Nanos, out: &mut impl ConnectionOut) {
        self.sent = now;
        let mut bytes = Vec::new();
        packet.append_to(&mut bytes);
        out.write(&bytes);
    }
}

/// What a server asks of the world. `connection` is the caller's number of a connection, `user` that of
/// [`Server::add_user`].
pub trait ServerOut {
    /// To a client.
    fn write(&mut self, connection: u64, bytes: &[u8]);
    /// End a connection; `on_closed` need not be called.
    fn close(&mut self, connection: u64, why: &Closed);
    /// A message of a user. Answers are published after `on_bytes` has returned.
    fn message(&mut self, user: usize, payload: &[u8]);
    /// A user has logged in.
    fn logged_in(&mut self, user: usize) {
        let _ = user;
    }
    /// He is gone, by whatever way; a newer connection of his does not count as going.
    fn logged_out(&mut self, user: usize) {
        let _ = user;
    }
    /// How many bytes `write` can take now.
    fn room(&self, connection: u64) -> usize {
        let _ = connection;
        usize::MAX
    }
}

/// A server cannot take one more user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFull {
    /// There is a user of that name.
    Known,
    /// A user name has 1 to 6 characters, a password up to 10, all of them ASCII.
    TooLong,
}

impl std::fmt::Display for ServerFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Known => "there is a user of that name: give each user one stream",
            Self::TooLong => "a user name has 1 to 6 ASCII characters, a password at most 10",
        })
    }
}

impl std::error::Error for ServerFull {}

struct User<S> {
    username: String,
    password: String,
    store: S,
    /// His connection.
    live: Option<u64>,
}

/// A connection and whose it is.
struct Held {
    connection: Connection,
    user: Option<usize>,
}

/// A port: users, their streams, their connections.
pub struct Server<S> {
    limits: Limits,
    users: Vec<User<S>>,
    held: BTreeMap<u64, Held>,
    /// No logins any more.
    ended: bool,
}

impl<S: Store> Server<S> {
    /// Without users.
    pub fn new(limits: Limits) -> Self {
        Self { limits, users: Vec::new(), held: BTreeMap::new(), ended: false }
    }

    /// A user and his stream; numbered from 0. Names and passwords are the same in capitals or not.
    pub fn add_user(&mut self, username: &str, password: &str, store: S) -> Result<usize, ServerFull> {
        let fits = (1..=6).contains(&username.len()) && password.len() <= 10;
        if !fits || !username.is_ascii() || !password.is_ascii() {
            return Err(ServerFull::TooLong);
        }
        if self.users.iter().any(|user| user.username.eq_ignore_ascii_case(username)) {
            return Err(ServerFull::Known);
        }
        self.users.push(User { username: username.to_owned(), password: password.to_owned(), store, live: None });
        Ok(self.users.len() - 1)
    }

    /// A user's stream.
    pub fn store(&self, user: usize) -> &S {
        &self.users[user].store
    }

    /// True while the user is logged in.
    pub fn is_live(&self, user: usize) -> bool {
        self.users[user].live.is_some()
    }

    /// A connection was made.
    pub fn on_connected(&mut self, connection: u64, now: Nanos, out: &mut impl ServerOut) {
        if self.held.len() >= self.limits.connections {
            out.close(connection, &Closed::TooMany(self.limits.connections));
            return;
        }
        let held = Held { connection: Connection::new(self.limits, now), user: None };
        self.held.insert(connection, held);
    }

    /// A piece of a connection's stream.
    pub fn on_bytes(&mut self, connection: u64, bytes: &[u8], now: Nanos, out: &mut impl ServerOut) {
        let Some(mut held) = self.held.remove(&connection) else { return };
        let mut port = Port {
            id: connection,
            users: &mut self.users,
            user: held.user,
            asks: None,
            superseded: None,
            ended: self.ended,
            out,
        };
        held.connection.on_bytes(bytes, now, &mut port);
        let superseded = port.superseded;
        held.user = port.user;
        if let Some(user) = held.user {
            held.connection.pump(&self.users[user].store, now, &mut Wire { id: connection, out });
        }
        self.held.insert(connection, held);
        if let Some(old) = superseded {
            self.drop_held(old, Some(&Closed::Superseded), out);
        }
        self.forget_closed(connection, out);
    }

    /// A connection is gone.
    pub fn on_closed(&mut self, connection: u64, out: &mut impl ServerOut) {
        self.drop_held(connection, None, out);
    }

    /// Heartbeats, timeouts, and streams that waited for room.
    pub fn on_tick(&mut self, now: Nanos, out: &mut impl ServerOut) {
        let mut closed = Vec::new();
        for (id, held) in &mut self.held {
            let mut wire = Wire { id: *id, out };
            if let Some(user) = held.user {
                held.connection.pump(&self.users[user].store, now, &mut wire);
            }
            held.connection.on_tick(now, &mut wire);
            if held.connection.is_closed() {
                closed.push(*id);
            }
        }
        for id in closed {
            self.forget_closed(id, out);
        }
    }

    /// When it wants to be asked again.
    pub fn next_tick(&self) -> Option<Nanos> {
        self.held.values().filter_map(|held| held.connection.next_tick()).min()
    }

    /// A message that counts, to a user: stored, and sent as soon as he has all before it.
    pub fn publish(
        &mut self,
        user: usize,
        message: &[u8],
        now: Nanos,
        out: &mut impl ServerOut,
    ) -> Result<u64, StoreFull> {
        let owner = &mut self.users[user];
        let number = owner.store.push(message)?;
        if let Some(id) = owner.live
            && let Some(held) = self.held.get_mut(&id)
        {
            held.connection.pump(&owner.store, now, &mut Wire { id, out });
        }
        Ok(number)
    }

    /// A message that does not count, to a user. False when he is not there; it is not kept for him.
    pub fn send_unsequenced(&mut self, user: usize, message: &[u8], now: Nanos, out: &mut impl ServerOut) -> bool {
        let Some(id) = self.users[user].live else { return false };
        let Some(held) = self.held.get_mut(&id) else { return false };
        held.connection.send_unsequenced(message, now, &mut Wire { id, out })
    }

    /// The session is over for everybody; nobody can log in any more.
    pub fn end_session(&mut self, now: Nanos, out: &mut impl ServerOut) {
        self.ended = true;
        let ids: Vec<u64> = self.held.keys().copied().collect();
        for id in ids {
            if let Some(held) = self.held.get_mut(&id) {
                // What fits still goes out first.
                if let Some(user) = held.user {
                    held.connection.pump(&self.users[user].store, now, &mut Wire { id, out });
                }
                held.connection.end(now, &mut Wire { id, out });
            }
            self.forget_closed(id, out);
        }
    }

    /// Ends a user's connection, as a fault or by an operator.
    pub fn disconnect(&mut self, user: usize, out: &mut impl ServerOut) {
        if let Some(id) = self.users[user].live {
            self.drop_held(id, Some(&Closed::Dropped), out);
        }
    }

    fn forget_closed(&mut self, id: u64, out: &mut impl ServerOut) {
        if self.held.get(&id).is_some_and(|held| held.connection.is_closed()) {
            self.drop_held(id, None, out);
        }
    }

    fn drop_held(&mut self, id: u64, why: Option<&Closed>, out: &mut impl ServerOut) {
        let Some(mut held) = self.held.remove(&id) else { return };
        if let Some(why) = why {
            held.connection.close(why, &mut Wire { id, out });
        }
        if let Some(user) = held.user.filter(|user| self.users[*user].live == Some(id)) {
            self.users[user].live = None;
            out.logged_out(user);
        }
    }
}

/// One connection's view of the world, where nothing is read of it.
struct Wire<'a, O> {
    id: u64,
    out: &'a mut O,
}

impl<O: ServerOut> ConnectionOut for Wire<'_, O> {
    fn write(&mut self, bytes: &[u8]) {
        self.out.write(self.id, bytes);
    }

    fn close(&mut self, why: &Closed) {
        self.out.close(self.id, why);
    }

    fn login(&mut self, _: &LoginRequest) -> Result<Stream, u8> {
        Err(NOT_AUTHORIZED)
    }

    fn message(&mut self, _: &[u8]) {}

    fn room(&self) -> usize {
        self.out.room(self.id)
    }
}

/// One connection's view of the world and of the users, while it is read.
struct Port<'a, S, O> {
    id: u64,
    users: &'a mut [User<S>],
    user: Option<usize>,
    /// The user whose name and password a login had.
    asks: Option<usize>,
    /// His connection until now.
    superseded: Option<u64>,
    ended: bool,
    out: &'a mut O,
}

impl<S: Store, O: ServerOut> ConnectionOut for Port<'_, S, O> {
    fn write(&mut self, bytes: &[u8]) {
        self.out.write(self.id, bytes);
    }

    fn close(&mut self, why: &Closed) {
        self.out.close(self.id, why);
    }

    fn login(&mut self, request: &LoginRequest) -> Result<Stream, u8> {
        let found = self.users.iter().position(|user| request.is_of(&user.username, &user.password));
        let at = found.ok_or(NOT_AUTHORIZED)?;
        if self.ended {
            return Err(SESSION_NOT_AVAILABLE);
        }
        self.asks = Some(at);
        let user = &self.users[at];
        Ok(Stream { session: user.store.session(), next: user.store.next() })
    }

    fn logged_in(&mut self) {
        self.user = self.asks;
        if let Some(user) = self.user {
            self.superseded = self.users[user].live.replace(self.id);
            self.out.logged_in(user);
        }
    }

    fn message(&mut self, payload: &[u8]) {
        if let Some(user) = self.user {
            self.out.message(user, payload);
        }
    }

    fn room(&self) -> usize {
        self.out.room(self.id)
    }
}
