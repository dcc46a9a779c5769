//! What a session is told ([`Settings`], [`Stored`]) and what it asks of the world ([`Outside`]).

use std::fmt;

use helios_types::Nanos;

use super::codec::{Garbled, Message, Precision};
use super::dictionary::Version;
use super::sender::Reply;
use super::validate::{Reason, Reject, Rules};

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Connects and sends the first Logon.
    Initiator,
    /// Is connected to and answers it.
    Acceptor,
}

/// What one session is and how strict it is. `Debug` shows neither user name nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who connects.
    pub role: Role,
    /// The version; 5.0 and later are spoken over FIXT.1.1, with this version as DefaultApplVerID.
    pub version: Version,
    /// Our CompID.
    pub sender: String,
    /// The other side's CompID.
    pub target: String,
    /// Seconds of silence before a Heartbeat; an acceptor takes the initiator's number instead. Zero: none.
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
    /// Decimals of SendingTime.
    pub precision: Precision,
}

impl Settings {
    /// A strict session that keeps its numbers: heartbeats of 30 s, SendingTime within 120 s.
    pub fn new(role: Role, version: Version, sender: &str, target: &str) -> Self {
        Self {
            role,
            version,
            sender: sender.to_owned(),
            target: target.to_owned(),
            heartbeat_s: 30,
            reset_on_logon: false,
            reset_on_logout: false,
            reset_on_disconnect: false,
            check_latency_s: Some(120),
            check_comp_ids: true,
            rules: Some(Rules::default()),
            resend_chunk: None,
            send_next_expected: false,
            send_last_processed: false,
            username: None,
            password: None,
            logon_timeout_s: 10,
            logout_timeout_s: 2,
            max_queue: 10_000,
            precision: if version < Version::Fix42 { Precision::Seconds } else { Precision::Millis },
        }
    }
}

impl fmt::Debug for Settings {
    /// Without user name and password: logs are read by many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("role", &self.role)
            .field("version", &self.version)
            .field("sender", &self.sender)
            .field("target", &self.target)
            .field("heartbeat_s", &self.heartbeat_s)
            .field("reset", &(self.reset_on_logon, self.reset_on_logout, self.reset_on_disconnect))
            .field("check_latency_s", &self.check_latency_s)
            .field("check_comp_ids", &self.check_comp_ids)
            .field("rules", &self.rules)
            .field("resend_chunk", &self.resend_chunk)
            .field("send_next_expected", &self.send_next_expected)
            .field("send_last_processed", &self.send_last_processed)
            .finish_non_exhaustive()
    }
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

impl Stored {
    /// A session that never was.
    pub fn fresh(created: Nanos) -> Self {
        Self { next_out: 1, next_in: 1, created }
    }
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
    /// The message is longer than [`super::codec::MAX_MESSAGE`], or the replies to one message are too many.
    TooLong,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLoggedOn => "FIX session not logged on: nothing was sent, wait for the logon",
            Self::TooLong => "FIX message too long: nothing was sent, send less at once",
        })
    }
}

impl std::error::Error for SendError {}

/// Why a session wants its connection closed. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Logouts were exchanged; the other side's text.
    LoggedOut(Option<String>),
    /// Our Logout was not answered in time.
    LogoutTimeout,
    /// No Logon came in time.
    LogonTimeout,
    /// Nothing was received for 2.4 heartbeats.
    Silent,
    /// The first message was garbled.
    GarbledLogon(Garbled),
    /// The first message was no Logon.
    NotLogon,
    /// The Logon is of another version.
    WrongBeginString(String),
    /// The Logon is of other CompIDs.
    WrongCompIds,
    /// The Logon breaks the dictionary or lacks a number.
    InvalidLogon(Reject),
    /// The Logon's SendingTime is too far from our clock.
    SendingTime,
    /// We refused the Logon and said why in a Logout.
    Refused(String),
    /// The other side answered our Logon with a Logout and this text.
    RefusedByPeer(Option<String>),
    /// A number below the expected one without PossDupFlag.
    SequenceTooLow {
        /// The number we expected.
        expected: u64,
        /// The number that came.
        received: u64,
    },
    /// A message without MsgSeqNum.
    NoSequenceNumber,
}

impl Closed {
    /// The Logon was refused, by whichever side: another attempt will hardly fare better.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::RefusedByPeer(_))
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &Option<String>| text.as_deref().map_or(String::new(), |text| format!(": {text:?}"));
        match self {
            Self::LoggedOut(reason) => write!(f, "logged out{}", text(reason)),
            Self::LogoutTimeout => f.write_str("no answer to our Logout"),
            Self::LogonTimeout => f.write_str("no Logon in time"),
            Self::Silent => f.write_str("nothing received for 2.4 heartbeats"),
            Self::GarbledLogon(why) => write!(f, "first message garbled: {why}"),
            Self::NotLogon => f.write_str("first message is no Logon"),
            Self::WrongBeginString(found) => write!(f, "Logon with BeginString {found:?}: check the version"),
            Self::WrongCompIds => f.write_str("Logon with unknown CompIDs: check sender and target"),
            Self::InvalidLogon(reject) => write!(f, "Logon refused: {reject}"),
            Self::SendingTime => f.write_str("Logon with a SendingTime too far from our clock: check both clocks"),
            Self::Refused(text) => write!(f, "Logon refused: {text}"),
            Self::RefusedByPeer(reason) => write!(f, "Logon refused by the other side{}", text(reason)),
            Self::SequenceTooLow { expected, received } => {
                write!(f, "MsgSeqNum {received} received, {expected} expected: one side lost or reset its numbers")
            }
            Self::NoSequenceNumber => f.write_str("message without MsgSeqNum"),
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.text())?;
        self.tag.map_or(Ok(()), |tag| write!(f, " (tag {tag})"))
    }
}

/// What is worth a line in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// Logons were exchanged.
    LoggedOn {
        /// Seconds of a heartbeat.
        heartbeat_s: u32,
    },
    /// Bytes that were no message were dropped.
    Garbled {
        /// What was wrong.
        why: Garbled,
        /// Garbled messages of this session so far.
        total: u64,
    },
    /// We refused a message.
    RejectSent {
        /// Its number.
        seq: u64,
        /// What is wrong with it.
        reject: Reject,
    },
    /// The application does not know a message's type.
    UnsupportedType {
        /// Its number.
        seq: u64,
        /// Its MsgType.
        msg_type: String,
    },
    /// The other side refused one of our messages.
    RejectReceived {
        /// The number of our message.
        ref_seq: Option<u64>,
        /// The field that is wrong with it.
        tag: Option<u64>,
        /// Its text.
        text: Option<String>,
    },
    /// Messages are missing, and we asked for them.
    ResendAsked {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
    /// The other side asked for messages, and they were sent again.
    ResendAnswered {
        /// First number asked for.
        from: u64,
        /// Last number that was sent again or gap-filled.
        to: u64,
        /// Application messages among them.
        messages: u64,
    },
    /// The other side asked for messages that we never sent.
    ResendOfUnsent {
        /// First number asked for.
        from: u64,
        /// The next number we send.
        next_out: u64,
    },
    /// A message that came too early found no room: it will be asked for again.
    QueueFull {
        /// Its number.
        seq: u64,
    },
    /// The other side set its numbers forward.
    SequenceReset {
        /// The number expected before.
        from: u64,
        /// The number expected now.
        to: u64,
    },
    /// Both numbers were set to 1.
    Reset,
    /// A message of before a reset that we asked for was dropped.
    DroppedBeforeReset {
        /// Its number.
        seq: u64,
    },
    /// Nothing came for 1.2 heartbeats: we asked whether anybody is there.
    TestRequestSent,
    /// A Logout was sent with this text.
    LogoutSent(String),
}

impl fmt::Display for SessionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoggedOn { heartbeat_s } => write!(f, "logged on, heartbeat {heartbeat_s} s"),
            Self::Garbled { why, total } => write!(f, "garbled message dropped ({total} so far): {why}"),
            Self::RejectSent { seq, reject } => write!(f, "message {seq} refused: {reject}"),
            Self::UnsupportedType { seq, msg_type } => write!(f, "message {seq} has the unsupported type {msg_type:?}"),
            Self::RejectReceived { ref_seq, tag, text } => {
                write!(f, "our message {ref_seq:?} was refused: tag {tag:?}, {text:?}")
            }
            Self::ResendAsked { from, to } => write!(f, "messages {from} to {to} are missing: asked for them"),
            Self::ResendAnswered { from, to, messages } => {
                write!(f, "messages {from} to {to} sent again, {messages} of them application messages")
            }
            Self::ResendOfUnsent { from, next_out } => {
                write!(f, "asked to send {from} again, but the next number is {next_out}")
            }
            Self::QueueFull { seq } => write!(f, "message {seq} came too early and the queue is full: dropped"),
            Self::SequenceReset { from, to } => write!(f, "expected number set from {from} to {to} by the other side"),
            Self::Reset => f.write_str("both numbers set to 1"),
            Self::DroppedBeforeReset { seq } => write!(f, "message {seq} of before the reset dropped"),
            Self::TestRequestSent => f.write_str("silence: TestRequest sent"),
            Self::LogoutSent(text) => write!(f, "Logout sent: {text:?}"),
        }
    }
}

/// What a session asks of the world. Order of calls is part of the contract: `sent` (store) before `write`.
pub trait Outside {
    /// Bytes for the socket.
    fn write(&mut self, bytes: &[u8]);
    /// Close the connection behind what was written; [`super::Session::on_closed`] follows.
    fn close(&mut self, why: &Closed);
    /// Message `seq` is about to be written: the next is `seq + 1`. `None` for session messages, which are never
    /// sent again but gap-filled.
    fn sent(&mut self, seq: u64, message: Option<&[u8]>);
    /// The number expected next, after processing.
    fn received(&mut self, next_in: u64);
    /// Stored application messages `from..=to` in ascending order; what is left out is gap-filled. Called for at most
    /// [`super::session::RESEND_BATCH`] numbers at a time.
    fn resend(&mut self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8]));
    /// Both numbers are 1 and stored messages are to be discarded.
    fn reset(&mut self, created: Nanos);
    /// An application message in its turn. One with PossDupFlag was not seen before on this session's numbers; one
    /// with PossResend (97) may have been seen under another number.
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

impl Reason {
    /// Whether the session ends after this Reject.
    pub(super) fn ends_session(self) -> bool {
        matches!(self, Self::CompIdProblem | Self::SendingTimeAccuracy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_logs() {
        let mut settings = Settings::new(Role::Initiator, Version::Fix44, "US", "THEM");
        settings.username = Some("somebody".to_owned());
        settings.password = Some("hunter2".to_owned());
        let shown = format!("{settings:?}");
        assert!(shown.contains("THEM") && !shown.contains("hunter2") && !shown.contains("somebody"), "{shown}");
    }
}
