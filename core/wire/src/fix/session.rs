//! The FIX session layer, both roles.

use std::fmt;

use helios_types::Nanos;

use super::codec::{Builder, Garbled, Message, Precision};
use super::dictionary::Version;
use super::validate::Rules;

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Connects and sends the first Logon.
    Initiator,
    /// Is connected to and answers it.
    Acceptor,
}

/// What one session is and how strict it is. `Debug` shows neither user name nor password.
#[derive(Clone)]
pub struct Settings {
    /// Who connects.
    pub role: Role,
    /// The version; 5.0 and later are spoken over FIXT.1.1, with this version as DefaultApplVerID.
    pub version: Version,
    /// Our CompID.
    pub sender: String,
    /// The other side's CompID.
    pub target: String,
    /// Seconds of silence before a Heartbeat; an acceptor takes the initiator's number instead.
    pub heartbeat_s: u32,
    /// Both numbers back to 1 at each Logon: an initiator asks with 141=Y, an acceptor just starts again.
    pub reset_on_logon: bool,
    /// Both numbers back to 1 after a Logout.
    pub reset_on_logout: bool,
    /// Both numbers back to 1 when the connection is lost.
    pub reset_on_disconnect: bool,
    /// Largest difference between SendingTime and our clock; `None` does not check.
    pub check_latency_s: Option<u64>,
    /// Refuse messages of other CompIDs.
    pub check_comp_ids: bool,
    /// Validation by the dictionary; `None` does not validate.
    pub rules: Option<Rules>,
    /// Messages per ResendRequest; `None` asks for all that is missing.
    pub resend_chunk: Option<u64>,
    /// Say in the Logon which number we expect (789), and honour the other side's.
    pub send_next_expected: bool,
    /// Put LastMsgSeqNumProcessed (369) into every header.
    pub send_last_processed: bool,
    /// Logon field 553, of an initiator.
    pub username: Option<String>,
    /// Logon field 554, of an initiator.
    pub password: Option<String>,
    /// Seconds that a Logon may take.
    pub logon_timeout_s: u64,
    /// Seconds that we wait for the answer to our Logout.
    pub logout_timeout_s: u64,
    /// Messages that came too early and wait for the missing ones; beyond it they are dropped and asked for again.
    pub max_queue: usize,
    /// Decimals of SendingTime; by default none before 4.2 and three since.
    pub precision: Precision,
}

/// What persistence knows of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Number of the next message we send.
    pub next_out: u64,
    /// Number of the next message we expect.
    pub next_in: u64,
    /// When the numbers were last set to 1.
    pub created: Nanos,
}

/// What became of an application message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// The application took it.
    Done,
    /// The application does not know this type: the session says so to the other side.
    Unsupported,
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The session is not logged on.
    NotLoggedOn,
    /// The message is longer than [`super::codec::MAX_MESSAGE`].
    TooLong,
}

/// Why a session wants its connection closed. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Logouts were exchanged.
    LoggedOut,
}

/// What is worth a line in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// Bytes that were no message were dropped.
    Garbled(Garbled),
}

/// What a session asks of the world. Order of calls is part of the contract: `sent` (store) before `write`.
pub trait Outside {
    /// Bytes for the socket.
    fn write(&mut self, bytes: &[u8]);
    /// Close the connection; `Session::on_closed` follows.
    fn close(&mut self, why: &Closed);
    /// Message `seq` is about to be written: the next is `seq + 1`. `None` for session messages, which are never
    /// sent again but gap-filled.
    fn sent(&mut self, seq: u64, message: Option<&[u8]>);
    /// The number expected next, after processing.
    fn received(&mut self, next_in: u64);
    /// Stored application messages `from..=to` in order; what is left out is gap-filled.
    fn resend(&mut self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8]));
    /// Both numbers are 1 and stored messages are to be discarded.
    fn reset(&mut self, created: Nanos);
    /// An application message in its turn.
    fn application(&mut self, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled;
    /// Whether this Logon (553, 554, ...) may come in; a text refuses it and goes out in the Logout.
    fn authenticate(&mut self, logon: &Message<'_>) -> Result<(), String> {
        let _ = logon;
        Ok(())
    }
    /// Application messages can be sent now.
    fn logged_on(&mut self) {}
    /// Application messages cannot be sent any more.
    fn logged_out(&mut self) {}
    /// What to log.
    fn note(&mut self, event: &SessionEvent) {
        let _ = event;
    }
}

/// Sends from within [`Outside::application`]; what it sends goes out when the application returns.
pub struct Reply<'s> {
    _session: &'s mut Builder,
}

impl Reply<'_> {
    /// As [`Session::send`].
    pub fn send(&mut self, msg_type: &[u8], body: impl FnOnce(&mut Builder)) -> Result<u64, SendError> {
        self.send_with(msg_type, &[], body)
    }

    /// As [`Session::send_with`].
    pub fn send_with(
        &mut self,
        msg_type: &[u8],
        header: &[(u32, &[u8])],
        body: impl FnOnce(&mut Builder),
    ) -> Result<u64, SendError> {
        let _ = (msg_type, header, body);
        todo!()
    }
}

/// One session of either role.
pub struct Session {
    settings: Settings,
}

impl Session {
    /// A session that is not connected, with what persistence knows of it.
    pub fn new(settings: Settings, stored: Stored) -> Self {
        let _ = stored;
        Self { settings }
    }

    /// The connection is up: an initiator logs on.
    pub fn on_connected(&mut self, now: Nanos, outside: &mut impl Outside) {
        let _ = (now, outside);
        todo!()
    }

    /// Bytes as they came, cut anywhere.
    pub fn on_bytes(&mut self, bytes: &[u8], now: Nanos, outside: &mut impl Outside) {
        let _ = (bytes, now, outside);
        todo!()
    }

    /// Heartbeats and timeouts: call it at least every 100 ms.
    pub fn on_tick(&mut self, now: Nanos, outside: &mut impl Outside) {
        let _ = (now, outside);
        todo!()
    }

    /// The connection is gone.
    pub fn on_closed(&mut self, now: Nanos, outside: &mut impl Outside) {
        let _ = (now, outside);
        todo!()
    }

    /// Sends an application message: the order path, without allocation. `body` writes the fields after the header.
    pub fn send(
        &mut self,
        msg_type: &[u8],
        body: impl FnOnce(&mut Builder),
        now: Nanos,
        outside: &mut impl Outside,
    ) -> Result<u64, SendError> {
        self.send_with(msg_type, &[], body, now, outside)
    }

    /// [`Self::send`] with more header fields, as 97=Y.
    pub fn send_with(
        &mut self,
        msg_type: &[u8],
        header: &[(u32, &[u8])],
        body: impl FnOnce(&mut Builder),
        now: Nanos,
        outside: &mut impl Outside,
    ) -> Result<u64, SendError> {
        let _ = (msg_type, header, body, now, outside);
        todo!()
    }

    /// Starts a Logout; the connection is closed after the answer or the timeout.
    pub fn logout(&mut self, text: &str, now: Nanos, outside: &mut impl Outside) {
        let _ = (text, now, outside);
        todo!()
    }

    /// An operator sets numbers; the caller stores them.
    pub fn set_next(&mut self, next_out: Option<u64>, next_in: Option<u64>) {
        let _ = (next_out, next_in);
        todo!()
    }

    /// Both numbers to 1 by schedule or operator, while not connected.
    pub fn reset(&mut self, now: Nanos, outside: &mut impl Outside) {
        let _ = (now, outside);
        todo!()
    }

    /// Whether application messages can be sent.
    pub fn is_logged_on(&self) -> bool {
        todo!()
    }

    /// Whether a connection is up.
    pub fn is_connected(&self) -> bool {
        todo!()
    }

    /// Number of the next message we send.
    pub fn next_out(&self) -> u64 {
        todo!()
    }

    /// Number of the next message we expect.
    pub fn next_in(&self) -> u64 {
        todo!()
    }

    /// When the numbers were last set to 1.
    pub fn created(&self) -> Nanos {
        todo!()
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Who sent the first message of a connection, from our side: `sender` is our CompID (its 56).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logon {
    /// BeginString.
    pub begin_string: String,
    /// Our CompID.
    pub sender: String,
    /// The other side's CompID.
    pub target: String,
    /// DefaultApplVerID (1137), of FIXT.1.1.
    pub default_appl_ver_id: Option<String>,
    /// Whether it asks for a reset (141=Y).
    pub reset: bool,
}

/// The beginning of an accepted connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Not yet one whole message: read more, within a time and size limit.
    Incomplete,
    /// Look for the session of this Logon and hand it all bytes from the first.
    Logon(Logon),
    /// No Logon, or garbled: close without a word.
    Drop(Closed),
}

/// Reads the first message of an accepted connection, so that one of many sessions can be chosen.
pub fn peek_logon(bytes: &[u8]) -> Peek {
    let _ = bytes;
    todo!()
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLoggedOn => "not logged on: nothing was sent",
            Self::TooLong => "the message is too long: nothing was sent",
        })
    }
}

impl std::error::Error for SendError {}
