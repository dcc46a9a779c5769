//! The client's end of a session: login, counting, heartbeats. It takes up where it left off: after a failure it logs in
//! with the session and number that it has come to.
//!
//! Assumes that the caller connects again when a connection has ended, and keeps ([`Client::session`], [`Client::next`])
//! where a crash does not lose them. Absent: sockets, and how long to wait before a new connection.

use super::inbox::Inbox;
use super::{
    Closed, HEADER_LENGTH, Justify, LoginAccepted, LoginRequest, MAX_PAYLOAD, Packet, SESSION_NOT_AVAILABLE, header,
    kind, number, strip,
};
use crate::TextError;
use helios_types::{NANOS_PER_SECOND, Nanos};

/// What the client's end asks of the world.
pub trait ClientOut {
    /// To the server.
    fn write(&mut self, bytes: &[u8]);
    /// End the connection. Nothing comes of it any more, `on_closed` need not be called.
    fn close(&mut self, why: &Closed);
    /// Logged in.
    fn accepted(&mut self, login: &Accepted);
    /// The session's message with this number.
    fn message(&mut self, number: u64, payload: &[u8]);
    /// A message that does not count.
    fn unsequenced(&mut self, payload: &[u8]) {
        let _ = payload;
    }
    /// The server had nothing else to say.
    fn heartbeat(&mut self) {}
    /// Nothing more will come in this session; `close` follows.
    fn ended(&mut self) {}
}

/// How a login was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The server's session, left-justified.
    pub session: [u8; 10],
    /// The number of the first message that will come.
    pub next: u64,
    /// The number asked for, when it was of the same session. A smaller `next` repeats messages, a larger one leaves some
    /// out.
    pub asked: Option<u64>,
}

/// Who logs in, and how long silence lasts.
#[derive(Clone, Copy, Debug)]
pub struct ClientSettings {
    login: LoginRequest,
    /// After so long without a packet of ours comes a heartbeat.
    pub heartbeat_ns: u64,
    /// After so long without a packet of theirs the connection is dead.
    pub silence_ns: u64,
}

impl ClientSettings {
    /// With the protocol's times: a heartbeat each second, 15 seconds of silence.
    pub fn new(username: &str, password: &str) -> Result<Self, TextError> {
        let login = LoginRequest::new(username, password, "", 1)?;
        Ok(Self { login, heartbeat_ns: NANOS_PER_SECOND, silence_ns: 15 * NANOS_PER_SECOND })
    }

    /// Version 4.1: the server is told after how many milliseconds of silence a connection is dead, and we hold to it too.
    /// Five digits at most; more are cut to the longest.
    #[must_use]
    pub fn with_timeout_ms(mut self, ms: u64) -> Self {
        let ms = ms.clamp(1, 99_999);
        self.login.heartbeat_timeout = Some(number(ms, Justify::Right));
        self.silence_ns = ms * 1_000_000;
        self.heartbeat_ns = self.heartbeat_ns.min(self.silence_ns / 3).max(1);
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No connection.
    Closed,
    /// The login was sent.
    LoggingIn,
    /// Logged in.
    Live,
}

/// The client's end.
#[derive(Clone, Debug)]
pub struct Client {
    settings: ClientSettings,
    /// Blank: the server's current one.
    session: [u8; 10],
    next: u64,
    state: State,
    inbox: Inbox,
    sent: Nanos,
    heard: Nanos,
}

impl Client {
    /// At the beginning of whatever session the server has.
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            settings,
            session: [b' '; 10],
            next: 1,
            state: State::Closed,
            inbox: Inbox::default(),
            sent: Nanos(0),
            heard: Nanos(0),
        }
    }

    /// The next login asks for message `next` of this session; blanks are the server's current one.
    pub fn resume(&mut self, session: [u8; 10], next: u64) {
        (self.session, self.next) = (left(&session), next);
    }

    /// The session, left-justified; blank while none is known.
    pub fn session(&self) -> [u8; 10] {
        self.session
    }

    /// The number of the next message.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// True between the answer to the login and the end of the connection.
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// The connection is made: log in.
    pub fn on_connected(&mut self, now: Nanos, out: &mut impl ClientOut) {
        let login = LoginRequest {
            requested_session: self.session,
            requested_sequence_number: number(self.next, Justify::Right),
            ..self.settings.login
        };
        self.inbox.clear();
        self.state = State::LoggingIn;
        (self.sent, self.heard) = (now, now);
        let mut packet = Vec::new();
        Packet::LoginRequest(login).append_to(&mut packet);
        out.write(&packet);
    }

    /// A piece of the stream, cut anywhere.
    pub fn on_bytes(&mut self, bytes: &[u8], now: Nanos, out: &mut impl ClientOut) {
        if self.state == State::Closed {
            return;
        }
        self.heard = now;
        let mut inbox = std::mem::take(&mut self.inbox);
        let taken = inbox.take(bytes, 1 + MAX_PAYLOAD, |packet| self.packet(packet, out).map(|()| 1 + MAX_PAYLOAD));
        self.inbox = inbox;
        if let Err(why) = taken {
            self.close(&why, out);
        }
    }

    /// The connection is gone.
    pub fn on_closed(&mut self) {
        self.state = State::Closed;
    }

    /// Heartbeats and silence; wanted at [`Client::next_tick`], harmless at any time.
    pub fn on_tick(&mut self, now: Nanos, out: &mut impl ClientOut) {
        if self.state == State::Closed {
            return;
        }
        if now.since(self.heard) >= self.settings.silence_ns {
            self.close(&Closed::Silent(now.since(self.heard)), out);
        } else if self.state == State::Live && now.since(self.sent) >= self.settings.heartbeat_ns {
            self.sent = now;
            out.write(&header(kind::CLIENT_HEARTBEAT, 0));
        }
    }

    /// When it wants to be asked again.
    pub fn next_tick(&self) -> Option<Nanos> {
        let dead = self.heard.plus(self.settings.silence_ns);
        match self.state {
            State::Closed => None,
            State::LoggingIn => Some(dead),
            State::Live => Some(dead.min(self.sent.plus(self.settings.heartbeat_ns))),
        }
    }

    /// One message. False, and nothing is sent, while not logged in and for more than [`MAX_PAYLOAD`] bytes.
    pub fn send(&mut self, message: &[u8], now: Nanos, out: &mut impl ClientOut) -> bool {
        if message.len() > MAX_PAYLOAD {
            return false;
        }
        let mut packet = Vec::with_capacity(HEADER_LENGTH + message.len());
        packet.extend_from_slice(&header(kind::UNSEQUENCED_DATA, message.len()));
        packet.extend_from_slice(message);
        self.send_packets(&packet, now, out)
    }

    /// Messages of which the caller has made the packets, headers included: nothing is copied.
    #[inline]
    pub fn send_packets(&mut self, packets: &[u8], now: Nanos, out: &mut impl ClientOut) -> bool {
        debug_assert!(are_messages(packets), "{}", packets.escape_ascii());
        if self.state != State::Live {
            return false;
        }
        self.sent = now;
        out.write(packets);
        true
    }

    /// Says goodbye and ends the connection.
    pub fn logout(&mut self, out: &mut impl ClientOut) {
        if self.state == State::Live {
            out.write(&header(kind::LOGOUT_REQUEST, 0));
        }
        if self.state != State::Closed {
            self.close(&Closed::LoggedOut, out);
        }
    }

    fn close(&mut self, why: &Closed, out: &mut impl ClientOut) {
        self.state = State::Closed;
        self.inbox.clear();
        out.close(why);
    }

    fn packet(&mut self, packet: Packet<'_>, out: &mut impl ClientOut) -> Result<(), Closed> {
        match (self.state, packet) {
            (_, Packet::Debug(_)) => {}
            (State::LoggingIn, Packet::LoginAccepted(login)) => self.login_accepted(&login, out)?,
            (State::LoggingIn, Packet::LoginRejected(reason)) => {
                if reason == SESSION_NOT_AVAILABLE {
                    self.forget();
                }
                return Err(Closed::Rejected(reason));
            }
            (State::Live, Packet::SequencedData(payload)) => {
                let number = self.next;
                self.next = number.saturating_add(1);
                out.message(number, payload);
            }
            (State::Live, Packet::UnsequencedData(payload)) => out.unsequenced(payload),
            (State::Live, Packet::ServerHeartbeat) => out.heartbeat(),
            (_, Packet::EndOfSession) => {
                self.forget();
                out.ended();
                return Err(Closed::EndOfSession);
            }
            (_, other) => return Err(Closed::OutOfPlace(other.kind())),
        }
        Ok(())
    }

    fn login_accepted(&mut self, login: &LoginAccepted, out: &mut impl ClientOut) -> Result<(), Closed> {
        let session = left(&login.session);
        let next = login.next_sequence_number().map_err(Closed::BadNumber)?;
        let asked = (session == self.session).then_some(self.next);
        (self.session, self.next, self.state) = (session, next, State::Live);
        out.accepted(&Accepted { session, next, asked });
        Ok(())
    }

    /// The session cannot be had any more: the next login asks for the current one, from its beginning.
    fn forget(&mut self) {
        (self.session, self.next) = ([b' '; 10], 1);
    }
}

/// True for whole packets of messages, and nothing behind them.
fn are_messages(mut packets: &[u8]) -> bool {
    while let Ok(Some((Packet::UnsequencedData(_), length))) = super::decode(packets) {
        packets = &packets[length..];
    }
    packets.is_empty()
}

/// A session's name, on the left of its field.
pub(super) fn left(session: &[u8; 10]) -> [u8; 10] {
    let mut field = [b' '; 10];
    let name = strip(session);
    field[..name.len()].copy_from_slice(name);
    field
}
