//! SoupBinTCP 3.00, 4.00 and 4.1, the TCP carrier: login, sequenced and unsequenced data, heartbeats.
//!
//! [`decode`] takes the packet at the start of a byte stream. Fields of the login packets are kept as their raw bytes,
//! because servers and clients pad them on either side; the methods read them with spaces stripped. Packet types
//! are the same letters in both directions, so one enum holds both.
//!
//! [`Client`] and [`Server`] are the two ends of a session as state machines: they own no socket and read no clock. What
//! they want of the world they ask of a [`ClientOut`] or [`ServerOut`]. When to connect again is the caller's to decide.

use std::fmt;

mod client;
mod inbox;
mod server;

pub use client::{Accepted, Client, ClientOut, ClientSettings};
pub use server::{
    Connection, ConnectionOut, Limits, MemoryStore, Server, ServerFull, ServerOut, Store, StoreFull, Stream,
};

use crate::error::shown;
use crate::layout::array_at;
use crate::text::{TextError, alpha};

/// Bytes in front of a payload: length and packet type.
pub const HEADER_LENGTH: usize = 3;
/// The largest payload of a data or debug packet.
pub const MAX_PAYLOAD: usize = 65_534;

/// Packet types.
pub mod kind {
    #![allow(missing_docs)]
    pub const DEBUG: u8 = b'+';
    pub const LOGIN_ACCEPTED: u8 = b'A';
    pub const LOGIN_REJECTED: u8 = b'J';
    pub const SEQUENCED_DATA: u8 = b'S';
    pub const UNSEQUENCED_DATA: u8 = b'U';
    pub const SERVER_HEARTBEAT: u8 = b'H';
    pub const END_OF_SESSION: u8 = b'Z';
    pub const LOGIN_REQUEST: u8 = b'L';
    pub const CLIENT_HEARTBEAT: u8 = b'R';
    pub const LOGOUT_REQUEST: u8 = b'O';
}

/// Reject reason: user name or password is wrong.
pub const NOT_AUTHORIZED: u8 = b'A';
/// Reject reason: the requested session is not available.
pub const SESSION_NOT_AVAILABLE: u8 = b'S';

const LOGIN_REQUEST_BODY: usize = 46;
const LOGIN_REQUEST_BODY_41: usize = 51;
const LOGIN_ACCEPTED_BODY: usize = 30;

/// On which side of its field a number or session stands. The protocol text says right; read both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Justify {
    /// Padded right with spaces.
    Left,
    /// Padded left with spaces.
    #[default]
    Right,
}

/// Client to server: the first packet of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LoginRequest {
    /// Padded right.
    pub username: [u8; 6],
    /// Padded right.
    pub password: [u8; 10],
    /// Blank for the current session.
    pub requested_session: [u8; 10],
    /// ASCII digits: the next number wanted; 1 for all, 0 for no replay.
    pub requested_sequence_number: [u8; 20],
    /// ASCII digits, milliseconds; only version 4.1 has it.
    pub heartbeat_timeout: Option<[u8; 5]>,
}

impl LoginRequest {
    /// A request of version 3.00 and 4.00; set `heartbeat_timeout` for 4.1.
    pub fn new(username: &str, password: &str, session: &str, sequence_number: u64) -> Result<Self, TextError> {
        // The error says what was given, and a password is not to be seen.
        let password = alpha(password).map_err(|error| TextError { text: "(the password)".to_owned(), ..error })?;
        Ok(Self {
            username: alpha(username)?,
            password,
            requested_session: alpha(session)?,
            requested_sequence_number: number(sequence_number, Justify::Right),
            heartbeat_timeout: None,
        })
    }

    /// True when user name and password are these, in capitals or not.
    pub fn is_of(&self, username: &str, password: &str) -> bool {
        let same = |field: &[u8], text: &str| strip(field).eq_ignore_ascii_case(text.trim_matches(' ').as_bytes());
        same(&self.username, username) && same(&self.password, password)
    }

    /// The next number wanted.
    pub fn sequence_number(&self) -> Result<u64, NumberError> {
        parse_number("requested_sequence_number", &self.requested_sequence_number)
    }

    /// The heartbeat timeout of a 4.1 request, in milliseconds.
    pub fn heartbeat_timeout_ms(&self) -> Result<Option<u64>, NumberError> {
        self.heartbeat_timeout.map(|field| parse_number("heartbeat_timeout", &field)).transpose()
    }
}

impl fmt::Debug for LoginRequest {
    /// Without the password: logs are read by many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginRequest")
            .field("username", &self.username.escape_ascii().to_string())
            .field("requested_session", &self.requested_session.escape_ascii().to_string())
            .field("requested_sequence_number", &self.requested_sequence_number.escape_ascii().to_string())
            .field("heartbeat_timeout", &self.heartbeat_timeout.map(|field| field.escape_ascii().to_string()))
            .finish_non_exhaustive()
    }
}

/// Server to client: the session and the number of the next sequenced message of this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginAccepted {
    /// Padded on either side; compare with [`strip`].
    pub session: [u8; 10],
    /// ASCII digits.
    pub sequence_number: [u8; 20],
}

impl LoginAccepted {
    /// The session stands left when shorter than ten characters, as in downstream headers.
    pub fn new(session: &str, sequence_number: u64) -> Result<Self, TextError> {
        Ok(Self { session: alpha(session)?, sequence_number: number(sequence_number, Justify::Right) })
    }

    /// The number that the next sequenced message has.
    pub fn next_sequence_number(&self) -> Result<u64, NumberError> {
        parse_number("sequence_number", &self.sequence_number)
    }
}

/// Any packet, as it stands in the bytes it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Either way: free text, to be ignored.
    Debug(&'a [u8]),
    /// Server: login succeeded.
    LoginAccepted(LoginAccepted),
    /// Server: login failed, with the reason's letter; the server closes.
    LoginRejected(u8),
    /// Server: one message that counts.
    SequencedData(&'a [u8]),
    /// Either way: one message that does not count.
    UnsequencedData(&'a [u8]),
    /// Server: nothing else was sent for a second.
    ServerHeartbeat,
    /// Server: no more messages in this session.
    EndOfSession,
    /// Client: login.
    LoginRequest(LoginRequest),
    /// Client: nothing else was sent for a second.
    ClientHeartbeat,
    /// Client: close, please.
    LogoutRequest,
}

/// Why bytes are no SoupBinTCP stream. The connection is of no use any more: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoupError {
    /// A length of zero leaves no room for a packet type.
    ZeroLength,
    /// No packet has this type.
    UnknownType(u8),
    /// The type is known and its length is another.
    WrongLength {
        /// Packet type.
        kind: u8,
        /// The length field that this type has; for a login request the shorter of its two.
        expected: usize,
        /// The length field found.
        found: usize,
    },
}

impl fmt::Display for SoupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ZeroLength => f.write_str("SoupBinTCP packet of length zero: not a SoupBinTCP stream, close it"),
            Self::UnknownType(kind) => {
                write!(f, "unknown SoupBinTCP packet type {}: not a SoupBinTCP stream, close it", shown(kind))
            }
            Self::WrongLength { kind, expected, found } => {
                write!(f, "SoupBinTCP packet type {} has length {found}, expected {expected}: close it", shown(kind))
            }
        }
    }
}

impl std::error::Error for SoupError {}

/// Why a session ended a connection. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The bytes are no SoupBinTCP stream.
    NotSoup(SoupError),
    /// A packet longer than this side takes; its length field.
    TooLong(usize),
    /// A packet that has no place here: its type.
    OutOfPlace(u8),
    /// A number of a login is none.
    BadNumber(NumberError),
    /// The server refused the login, with this letter.
    Rejected(u8),
    /// Nothing came for so many nanoseconds.
    Silent(u64),
    /// The session is over.
    EndOfSession,
    /// The client logged out.
    LoggedOut,
    /// An operator, or a fault asked for, ended it.
    Dropped,
    /// The same user logged in over a newer connection.
    Superseded,
    /// There are as many connections as there may be.
    TooMany(usize),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSoup(error) => error.fmt(f),
            Self::TooLong(length) => write!(f, "a packet of length {length} is longer than is taken here"),
            Self::OutOfPlace(kind) => write!(f, "packet type {} has no place here", shown(*kind)),
            Self::BadNumber(error) => error.fmt(f),
            Self::Rejected(NOT_AUTHORIZED) => f.write_str("login rejected: user name or password is wrong"),
            Self::Rejected(SESSION_NOT_AVAILABLE) => f.write_str("login rejected: the session is not available"),
            Self::Rejected(reason) => write!(f, "login rejected, reason {}", shown(*reason)),
            Self::Silent(ns) => write!(f, "nothing was heard for {} ms", ns / 1_000_000),
            Self::EndOfSession => f.write_str("end of session"),
            Self::LoggedOut => f.write_str("logged out"),
            Self::Dropped => f.write_str("dropped by an operator"),
            Self::Superseded => f.write_str("the user logged in over a newer connection"),
            Self::TooMany(maximum) => write!(f, "there are {maximum} connections, the maximum"),
        }
    }
}

/// A field that should hold digits and does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberError {
    /// Which field.
    pub field: &'static str,
    /// What it holds, escaped.
    pub found: String,
}

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoupBinTCP field {} holds \"{}\": expected digits and spaces around them", self.field, self.found)
    }
}

impl std::error::Error for NumberError {}

/// A field without the spaces on either side.
pub fn strip(field: &[u8]) -> &[u8] {
    let end = field.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    let start = field[..end].iter().position(|byte| *byte != b' ').unwrap_or(0);
    &field[start..end]
}

/// A number's digits in a field of `N` bytes. Panics when they do not fit; 20 bytes hold every number.
pub fn number<const N: usize>(value: u64, justify: Justify) -> [u8; N] {
    let digits = value.to_string();
    assert!(digits.len() <= N, "{value} has more than {N} digits");
    let mut field = [b' '; N];
    match justify {
        Justify::Left => field[..digits.len()].copy_from_slice(digits.as_bytes()),
        Justify::Right => field[N - digits.len()..].copy_from_slice(digits.as_bytes()),
    }
    field
}

fn parse_number(name: &'static str, field: &[u8]) -> Result<u64, NumberError> {
    let digits = strip(field);
    let parsed = digits.iter().try_fold(0_u64, |value, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    });
    match parsed {
        Some(value) if !digits.is_empty() => Ok(value),
        _ => Err(NumberError { field: name, found: field.escape_ascii().to_string() }),
    }
}

/// The packet at the start of `bytes` and how many bytes it takes; `None` while it is not complete.
#[inline]
pub fn decode(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, SoupError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<2>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*prefix));
    if length == 0 {
        return Err(SoupError::ZeroLength);
    }
    match rest.split_at_checked(length) {
        Some(([kind, body @ ..], _)) => Ok(Some((decode_body(*kind, body)?, 2 + length))),
        _ => Ok(None),
    }
}

#[inline]
fn decode_body(kind: u8, body: &[u8]) -> Result<Packet<'_>, SoupError> {
    let wrong = |size: usize| SoupError::WrongLength { kind, expected: 1 + size, found: 1 + body.len() };
    let bare = |packet| if body.is_empty() { Ok(packet) } else { Err(wrong(0)) };
    match kind {
        kind::SEQUENCED_DATA => Ok(Packet::SequencedData(body)),
        kind::UNSEQUENCED_DATA => Ok(Packet::UnsequencedData(body)),
        kind::SERVER_HEARTBEAT => bare(Packet::ServerHeartbeat),
        kind::CLIENT_HEARTBEAT => bare(Packet::ClientHeartbeat),
        kind::END_OF_SESSION => bare(Packet::EndOfSession),
        kind::LOGOUT_REQUEST => bare(Packet::LogoutRequest),
        kind::DEBUG => Ok(Packet::Debug(body)),
        kind::LOGIN_REJECTED => match body {
            [reason] => Ok(Packet::LoginRejected(*reason)),
            _ => Err(wrong(1)),
        },
        kind::LOGIN_ACCEPTED => match body.try_into() {
            Ok(body) => Ok(Packet::LoginAccepted(decode_accepted(body))),
            Err(_) => Err(wrong(LOGIN_ACCEPTED_BODY)),
        },
        kind::LOGIN_REQUEST => decode_request(body).ok_or(wrong(LOGIN_REQUEST_BODY)),
        _ => Err(SoupError::UnknownType(kind)),
    }
}

fn decode_accepted(body: &[u8; LOGIN_ACCEPTED_BODY]) -> LoginAccepted {
    LoginAccepted { session: *array_at(body, 0), sequence_number: *array_at(body, 10) }
}

fn decode_request(body: &[u8]) -> Option<Packet<'_>> {
    let (fixed, rest) = body.split_first_chunk::<LOGIN_REQUEST_BODY>()?;
    let heartbeat_timeout = if rest.is_empty() { None } else { Some(rest.try_into().ok()?) };
    Some(Packet::LoginRequest(LoginRequest {
        username: *array_at(fixed, 0),
        password: *array_at(fixed, 6),
        requested_session: *array_at(fixed, 16),
        requested_sequence_number: *array_at(fixed, 26),
        heartbeat_timeout,
    }))
}

impl Packet<'_> {
    /// The packet type's letter.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Debug(_) => kind::DEBUG,
            Self::LoginAccepted(_) => kind::LOGIN_ACCEPTED,
            Self::LoginRejected(_) => kind::LOGIN_REJECTED,
            Self::SequencedData(_) => kind::SEQUENCED_DATA,
            Self::UnsequencedData(_) => kind::UNSEQUENCED_DATA,
            Self::ServerHeartbeat => kind::SERVER_HEARTBEAT,
            Self::EndOfSession => kind::END_OF_SESSION,
            Self::LoginRequest(_) => kind::LOGIN_REQUEST,
            Self::ClientHeartbeat => kind::CLIENT_HEARTBEAT,
            Self::LogoutRequest => kind::LOGOUT_REQUEST,
        }
    }

    /// Appends the packet. Panics for a payload above [`MAX_PAYLOAD`], which has no length.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Debug(body) | Self::SequencedData(body) | Self::UnsequencedData(body) => {
                append(self.kind(), body, out);
            }
            Self::LoginAccepted(login) => {
                append(self.kind(), &[login.session.as_slice(), &login.sequence_number].concat(), out);
            }
            Self::LoginRejected(reason) => append(self.kind(), &[*reason], out),
            Self::LoginRequest(login) => append(self.kind(), &request_body(login), out),
            Self::ServerHeartbeat | Self::EndOfSession | Self::ClientHeartbeat | Self::LogoutRequest => {
                append(self.kind(), &[], out);
            }
        }
    }
}

fn request_body(login: &LoginRequest) -> Vec<u8> {
    let mut body = Vec::with_capacity(LOGIN_REQUEST_BODY_41);
    body.extend_from_slice(&login.username);
    body.extend_from_slice(&login.password);
    body.extend_from_slice(&login.requested_session);
    body.extend_from_slice(&login.requested_sequence_number);
    body.extend_from_slice(login.heartbeat_timeout.as_ref().map_or(&[], |field| field.as_slice()));
    body
}

/// The three bytes in front of a payload, for a caller that lays the packet into its own buffer: the order path
/// writes `header(kind::UNSEQUENCED_DATA, n)` and the order's `n` bytes behind it. Panics above [`MAX_PAYLOAD`].
#[inline]
pub fn header(kind: u8, payload_length: usize) -> [u8; HEADER_LENGTH] {
    assert!(payload_length <= MAX_PAYLOAD, "a SoupBinTCP payload has at most {MAX_PAYLOAD} bytes");
    let [high, low] = (payload_length as u16 + 1).to_be_bytes();
    [high, low, kind]
}

fn append(kind: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&header(kind, payload.len()));
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.append_to(&mut bytes);
        assert_eq!(decode(&bytes), Ok(Some((packet, bytes.len()))));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Ok(None), "{packet:?} cut to {cut} bytes");
        }
    }

    #[test]
    fn every_packet_round_trips_and_waits_until_complete() {
        let mut request = LoginRequest::new("me", "secret", "", 1).expect("short texts");
        round_trip(Packet::LoginRequest(request));
        request.heartbeat_timeout = Some(number(15_000, Justify::Right));
        round_trip(Packet::LoginRequest(request));
        assert_eq!(request.heartbeat_timeout_ms(), Ok(Some(15_000)));
        round_trip(Packet::LoginAccepted(LoginAccepted::new("S1", 9).expect("a short text")));
        for packet in [
            Packet::Debug(b"text"),
            Packet::LoginRejected(NOT_AUTHORIZED),
            Packet::SequencedData(b""),
            Packet::UnsequencedData(b"x"),
            Packet::ServerHeartbeat,
            Packet::EndOfSession,
            Packet::ClientHeartbeat,
            Packet::LogoutRequest,
        ] {
            round_trip(packet);
        }
        round_trip(Packet::SequencedData(&vec![7; MAX_PAYLOAD]));
    }

    #[test]
    fn errors_say_what_was_wrong() {
        assert_eq!(decode(b"\0\0"), Err(SoupError::ZeroLength));
        assert_eq!(decode(b"\0\x01?"), Err(SoupError::UnknownType(b'?')));
        let wrong = |kind, expected, found| Err(SoupError::WrongLength { kind, expected, found });
        assert_eq!(decode(b"\0\x02Hx"), wrong(b'H', 1, 2));
        assert_eq!(decode(b"\0\x01J"), wrong(b'J', 2, 1));
        assert_eq!(decode(b"\0\x02Ax"), wrong(b'A', 31, 2));
        assert_eq!(decode(b"\0\x02Lx"), wrong(b'L', 47, 2));
        let mut request = vec![0, 49, b'L'];
        request.resize(51, b' ');
        assert_eq!(decode(&request), wrong(b'L', 47, 49));
    }

    #[test]
    fn numbers_are_read_on_either_side_and_nothing_else_is() {
        for justify in [Justify::Left, Justify::Right] {
            let login = LoginAccepted { session: *b"        S1", sequence_number: number(u64::MAX, justify) };
            assert_eq!(login.next_sequence_number(), Ok(u64::MAX));
            assert_eq!(parse_number("n", &number::<5>(42, justify)), Ok(42));
        }
        for bad in [b"     ".as_slice(), b"1 2", b"+1", b"-1", b"1x", b"99999999999999999999"] {
            assert!(parse_number("n", bad).is_err(), "{}", bad.escape_ascii());
        }
        assert_eq!(strip(b"  a b "), b"a b");
        assert_eq!(strip(b"   "), b"");
    }

    #[test]
    fn the_password_stays_out_of_logs() {
        let login = LoginRequest::new("user", "hunter2", "", 0).expect("short texts");
        assert!(!format!("{login:?}").contains("hunter2"));
        assert!(format!("{login:?}").contains("user"));
    }
}
