//! The FIX session layer, both roles, as a state machine: bytes and time in, calls of [`Outside`] out.
//!
//! A session keeps two numbers: of the next message it sends, of the next it expects. Messages that come too early
//! wait in a bounded queue while the missing ones are asked for; duplicates are ignored; both directions recover at
//! the same time. A message is judged (version, CompIDs, dictionary, SendingTime) before its number is looked at.
//! Assumes that the caller stores what [`Outside::sent`], [`Outside::received`] and [`Outside::reset`] say, calls
//! [`Session::on_tick`] at least every 100 ms, and gives one connection at a time.
//! Absent: sockets, schedules, rate limits, encryption, and who may log on (`edge/fix`, [`Outside::authenticate`]).

use std::collections::BTreeMap;

use helios_types::{NANOS_PER_SECOND, Nanos};

use super::codec::{self, Builder, Fields, Framed, Garbled, MAX_MESSAGE, MAX_NUMBER, Message, frame};
use super::dictionary::{Dictionary, Version};
use super::outside::{Closed, Handled, Outside, Role, SendError, SessionEvent, Settings, Stored};
use super::sender::{Reply, Sender};
use super::validate::{Reason, Reject, validate};

/// Numbers per call of [`Outside::resend`].
pub const RESEND_BATCH: u64 = 256;
/// Most bytes of messages that wait for missing ones; beyond it they are dropped and asked for again.
pub const MAX_QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// Repeats a ResendRequest that nothing came for, where there are no heartbeats to measure by.
const RESEND_PATIENCE_S: u64 = 30;
/// Field 16 for all messages from 7 on before 4.2, which has zero for it and takes both.
const OLD_INFINITY: u64 = 999_999;
/// 112 of our TestRequests.
const TEST: &[u8] = b"TEST";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Disconnected,
    /// Connected; the other side's Logon has not come.
    Connected,
    LoggedOn,
    /// Our Logout waits for its answer.
    LoggingOut,
    /// We asked to close; what still comes is not read.
    Closing,
}

/// Messages that are missing and were asked for.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// The last number known to be missing.
    to: u64,
    /// The last number asked for.
    asked: u64,
    /// The number expected at the last look, and when that was: a repeat is due when it does not move.
    next_in: u64,
    since: Nanos,
}

/// Messages that came too early.
#[derive(Debug, Default)]
struct Queue {
    messages: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
}

impl Queue {
    fn insert(&mut self, seq: u64, message: &[u8], most: usize) -> bool {
        if self.messages.contains_key(&seq) {
            return true;
        }
        if self.messages.len() >= most || self.bytes + message.len() > MAX_QUEUE_BYTES {
            return false;
        }
        self.bytes += message.len();
        self.messages.insert(seq, message.to_vec());
        true
    }

    /// The message of this number; older ones are dropped, as a gap fill passed them.
    fn take(&mut self, seq: u64) -> Option<Vec<u8>> {
        while let Some(entry) = self.messages.first_entry().filter(|entry| *entry.key() <= seq) {
            let due = *entry.key() == seq;
            let message = entry.remove();
            self.bytes -= message.len();
            if due {
                return Some(message);
            }
        }
        None
    }

    fn first(&self) -> Option<u64> {
        self.messages.keys().next().copied()
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.bytes = 0;
    }
}

/// One session of either role.
pub struct Session {
    settings: Settings,
    dictionary: &'static Dictionary,
    sender: Sender,
    state: State,
    next_in: u64,
    created: Nanos,
    heartbeat_ns: u64,
    /// When this state began.
    since: Nanos,
    last_received: Nanos,
    /// TestRequests of this silence.
    tests: u64,
    gap: Option<Gap>,
    queue: Queue,
    /// We sent 141=Y, and its answer has not come.
    reset_asked: bool,
    garbled: u64,
    /// What came of the next message so far.
    inbox: Vec<u8>,
    fields: Fields,
    /// Stored messages on their way out again, with number and length.
    again: Vec<u8>,
    again_marks: Vec<(u64, usize)>,
    again_fields: Fields,
}

impl Session {
    /// A session that is not connected, with what persistence knows of it.
    pub fn new(settings: Settings, stored: Stored) -> Self {
        let mut session = Self {
            dictionary: Dictionary::of(settings.version),
            sender: Sender::new(&settings, stored.next_out.clamp(1, MAX_NUMBER)),
            state: State::Disconnected,
            next_in: 1,
            created: stored.created,
            heartbeat_ns: u64::from(settings.heartbeat_s) * NANOS_PER_SECOND,
            since: stored.created,
            last_received: stored.created,
            tests: 0,
            gap: None,
            queue: Queue::default(),
            reset_asked: false,
            garbled: 0,
            inbox: Vec::new(),
            fields: Fields::new(),
            again: Vec::new(),
            again_marks: Vec::new(),
            again_fields: Fields::new(),
            settings,
        };
        session.expect(stored.next_in.clamp(1, MAX_NUMBER));
        session
    }

    /// The connection is up: an initiator logs on.
    pub fn on_connected(&mut self, now: Nanos, outside: &mut impl Outside) {
        self.enter(State::Connected, now);
        self.last_received = now;
        self.sender.last_sent = now;
        self.tests = 0;
        self.inbox.clear();
        if self.settings.role == Role::Initiator {
            if self.settings.reset_on_logon {
                self.reset_numbers(now, outside);
            }
            let resets =
                self.settings.reset_on_logon || self.settings.reset_on_logout || self.settings.reset_on_disconnect;
            let fresh = self.sender.next_out == 1 && self.next_in == 1;
            self.reset_asked = resets && fresh && self.settings.version >= Version::Fix41;
            self.send_logon(self.reset_asked, self.next_in, now, outside);
        }
    }

    /// Bytes as they came, cut anywhere.
    pub fn on_bytes(&mut self, bytes: &[u8], now: Nanos, outside: &mut impl Outside) {
        let mut fields = std::mem::take(&mut self.fields);
        let mut inbox = std::mem::take(&mut self.inbox);
        if inbox.is_empty() {
            let used = self.read(bytes, &mut fields, now, outside);
            inbox.extend_from_slice(&bytes[used..]);
        } else {
            inbox.extend_from_slice(bytes);
            let used = self.read(&inbox, &mut fields, now, outside);
            inbox.drain(..used);
        }
        self.inbox = inbox;
        self.fields = fields;
    }

    /// Takes whole messages off the front; returns how many bytes they were.
    fn read(&mut self, bytes: &[u8], fields: &mut Fields, now: Nanos, outside: &mut impl Outside) -> usize {
        let mut at = 0;
        while self.is_connected() {
            match frame(&bytes[at..]) {
                Framed::Incomplete => return at,
                Framed::Garbled { used, why } => {
                    at += used;
                    self.on_garbled(why, now, outside);
                }
                Framed::Message { bytes, used } => {
                    at += used;
                    match fields.parse(bytes, self.dictionary) {
                        Ok(message) => self.on_message(&message, now, outside),
                        Err(why) => self.on_garbled(why, now, outside),
                    }
                    if self.gap.is_some() || self.queue.first().is_some() {
                        self.drain(fields, now, outside);
                    }
                }
            }
        }
        bytes.len()
    }

    fn on_garbled(&mut self, why: Garbled, now: Nanos, outside: &mut impl Outside) {
        self.garbled += 1;
        outside.note(&SessionEvent::Garbled { why, total: self.garbled });
        if self.state == State::Connected {
            self.close(Closed::GarbledLogon(why), now, outside);
        }
    }

    fn on_message(&mut self, message: &Message<'_>, now: Nanos, outside: &mut impl Outside) {
        self.last_received = now;
        self.tests = 0;
        if self.state == State::Connected {
            return self.on_first(message, now, outside);
        }
        if message.begin_string() != self.settings.version.begin_string().as_bytes() {
            return self.log_out("Incorrect BeginString", now, outside);
        }
        let Some(seq) = message.seq_num() else {
            self.log_out("MsgSeqNum missing or not a number", now, outside);
            return self.close(Closed::NoSequenceNumber, now, outside);
        };
        match self.judge(message, now) {
            Err(reject) => self.refuse(message, seq, reject, now, outside),
            Ok(()) => self.dispatch(message, seq, now, outside),
        }
    }

    /// CompIDs, dictionary, SendingTime.
    fn judge(&self, message: &Message<'_>, now: Nanos) -> Result<(), Reject> {
        if self.settings.check_comp_ids && !self.comp_ids_match(message) {
            return Err(Reject { reason: Reason::CompIdProblem, tag: None });
        }
        if let Some(rules) = &self.settings.rules {
            validate(self.dictionary, message, rules)?;
        }
        let in_time = message.msg_type() == b"5" || self.is_in_time(message, now);
        if in_time { Ok(()) } else { Err(Reject { reason: Reason::SendingTimeAccuracy, tag: None }) }
    }

    /// A CompID that is missing or empty is left to the dictionary, which has a better word for it.
    fn comp_ids_match(&self, message: &Message<'_>) -> bool {
        let matches = |tag: i32, expected: &str| match message.get(tag) {
            None | Some(b"") => self.settings.rules.is_some_and(|rules| rules.values),
            Some(found) => found == expected.as_bytes(),
        };
        matches(49, &self.settings.target) && matches(56, &self.settings.sender)
    }

    fn is_in_time(&self, message: &Message<'_>, now: Nanos) -> bool {
        let Some(limit_s) = self.settings.check_latency_s else { return true };
        let off = |sent: Nanos| now.since(sent).max(sent.since(now));
        message.timestamp(52).is_some_and(|sent| off(sent) <= limit_s.saturating_mul(NANOS_PER_SECOND))
    }

    /// Rejects a message; its number is used up if it was the expected one. A Reset has none.
    fn refuse(&mut self, message: &Message<'_>, seq: u64, reject: Reject, now: Nanos, outside: &mut impl Outside) {
        self.send_reject(message, seq, reject, now, outside);
        let is_reset = message.msg_type() == b"4" && !message.is_yes(123);
        if seq == self.next_in && !is_reset {
            self.advance(seq + 1, outside);
        }
        if reject.reason.ends_session() {
            self.log_out("", now, outside);
        }
    }

    fn dispatch(&mut self, message: &Message<'_>, seq: u64, now: Nanos, outside: &mut impl Outside) {
        let msg_type = message.msg_type();
        if self.reset_asked && !matches!(msg_type, b"A" | b"5") {
            outside.note(&SessionEvent::DroppedBeforeReset { seq });
            return;
        }
        match msg_type {
            b"5" => self.on_logout(message, seq, now, outside),
            b"2" => self.on_resend_request(message, seq, now, outside),
            b"4" => self.on_sequence_reset(message, seq, now, outside),
            b"A" if message.is_yes(141) && !message.is_yes(43) => self.on_reset_logon(message, seq, now, outside),
            _ if self.is_in_turn(message, seq, now, outside) => {
                self.handle(message, seq, now, outside);
                self.advance(seq + 1, outside);
            }
            _ => {}
        }
    }

    /// A message in its turn that has no rules of its own for its number.
    fn handle(&mut self, message: &Message<'_>, seq: u64, now: Nanos, outside: &mut impl Outside) {
        match message.msg_type() {
            // A Logon in the middle of a session, without a reset, says nothing new.
            b"0" | b"A" => {}
            b"1" => {
                let id = message.get(112);
                self.sender.session_message(b"0", now, outside, |builder| {
                    id.into_iter().for_each(|id| builder.field(112, id));
                });
            }
            b"3" => outside.note(&SessionEvent::RejectReceived {
                ref_seq: message.get_u64(45),
                tag: message.get_u64(371),
                text: message.text(58),
            }),
            _ => self.on_application(message, seq, now, outside),
        }
    }

    fn on_application(&mut self, message: &Message<'_>, seq: u64, now: Nanos, outside: &mut impl Outside) {
        let logged_on = self.state == State::LoggedOn;
        let mut reply = Reply { sender: &mut self.sender, logged_on, now, version: self.settings.version };
        let handled = outside.application(message, &mut reply);
        self.sender.flush(outside);
        if handled == Handled::Unsupported {
            self.send_unsupported(message, seq, now, outside);
        }
    }

    /// Whether the message is the expected one. Early ones are kept, late ones answered by their rules.
    fn is_in_turn(&mut self, message: &Message<'_>, seq: u64, now: Nanos, outside: &mut impl Outside) -> bool {
        if seq > self.next_in {
            self.on_early(message, seq, now, outside);
        } else if seq < self.next_in {
            self.on_late(message, seq, now, outside);
        }
        seq == self.next_in
    }

    fn on_early(&mut self, message: &Message<'_>, seq: u64, now: Nanos, outside: &mut impl Outside) {
        if !self.queue.insert(seq, message.bytes(), self.settings.max_queue) {
            outside.note(&SessionEvent::QueueFull { seq });
        }
        if self.gap.is_none() {
            self.ask(seq - 1, now, outside);
        }
    }

    /// A number that was used up: a duplicate if it says so, else one side is out of step.
    fn on_late(&mut self, message: &Message<'_>, seq: u64, now: Nanos, outside: &mut impl Outside) {
        if !message.is_yes(43) {
            let text = format!("MsgSeqNum too low, expecting {} but received {seq}", self.next_in);
            self.log_out(&text, now, outside);
            return self.close(Closed::SequenceTooLow { expected: self.next_in, received: seq }, now, outside);
        }
        if message.msg_type() == b"4" {
            return;
        }
        let Some(original) = message.get(122) else {
            let missing = Reject { reason: Reason::RequiredTagMissing, tag: Some(122) };
            return self.refuse(message, seq, missing, now, outside);
        };
        if codec::timestamp(original) > message.timestamp(52) {
            let accuracy = Reject { reason: Reason::SendingTimeAccuracy, tag: None };
            self.refuse(message, seq, accuracy, now, outside);
        }
    }

    /// Asks for the missing messages from the expected one to `to`, or the first chunk of them.
    fn ask(&mut self, to: u64, now: Nanos, outside: &mut impl Outside) {
        let from = self.next_in;
        let chunk_end = self.settings.resend_chunk.map(|chunk| from.saturating_add(chunk.max(1) - 1));
        let chunk_end = chunk_end.filter(|end| *end < to);
        let infinity = if self.settings.version < Version::Fix42 { OLD_INFINITY } else { 0 };
        self.sender.session_message(b"2", now, outside, |builder| {
            builder.number(7, from);
            builder.number(16, chunk_end.unwrap_or(infinity));
        });
        self.gap = Some(Gap { to, asked: chunk_end.unwrap_or(to), next_in: from, since: now });
        outside.note(&SessionEvent::ResendAsked { from, to });
    }

    /// Messages of the queue whose turn came, then the next chunk or the next gap.
    fn drain(&mut self, fields: &mut Fields, now: Nanos, outside: &mut impl Outside) {
        while matches!(self.state, State::LoggedOn | State::LoggingOut) {
            let Some(bytes) = self.queue.take(self.next_in) else { break };
            if let Ok(message) = fields.parse(&bytes, self.dictionary) {
                self.on_queued(&message, now, outside);
            }
        }
        if !matches!(self.state, State::LoggedOn | State::LoggingOut) {
            return;
        }
        let closed = self.gap.is_none_or(|gap| self.next_in > gap.to);
        if closed {
            self.gap = None;
            if let Some(first) = self.queue.first() {
                self.ask(first - 1, now, outside);
            }
        } else if let Some(gap) = self.gap.filter(|gap| self.next_in > gap.asked) {
            self.ask(gap.to, now, outside);
        }
    }

    /// Judged when it came; a Logon and a ResendRequest were answered then, too.
    fn on_queued(&mut self, message: &Message<'_>, now: Nanos, outside: &mut impl Outside) {
        let seq = self.next_in;
        match message.msg_type() {
            b"A" | b"2" => self.advance(seq + 1, outside),
            b"4" => self.on_sequence_reset(message, seq, now, outside),
            _ => {
                self.handle(message, seq, now, outside);
                self.advance(seq + 1, outside);
            }
        }
    }

    fn on_logout(&mut self, message: &Message<'_>, seq: u64, now: Nanos, outside: &mut impl Outside) {
        if seq == self.next_in {
            self.advance(seq + 1, outside);
        }
        if self.state != State::LoggingOut {
            self.sender.session_message(b"5", now, outside, |_| {});
        }
        if self.settings.reset_on_logout {
            self.reset_numbers(now, outside);
        }
        self.close(Closed::LoggedOut(message.text(58)), now, outside);
    }

    fn on_sequence_reset(&mut self, message: &Message<'_>, seq: u64, now: Nanos, outside: &mut impl Outside) {
        let Some(new) = message.get_u64(36) else {
            let reason = if message.get(36).is_none() { Reason::RequiredTagMissing } else { Reason::ValueIncorrect };
            return self.refuse(message, seq, Reject { reason, tag: Some(36) }, now, outside);
        };
        if message.is_yes(123) && !self.is_in_turn(message, seq, now, outside) {
            return;
        }
        if new > self.next_in {
            if !message.is_yes(123) {
                outside.note(&SessionEvent::SequenceReset { from: self.next_in, to: new });
            }
            self.advance(new, outside);
        } else if new < self.next_in {
            let reject = Reject { reason: Reason::ValueIncorrect, tag: None };
            self.send_reject(message, seq, reject, now, outside);
        }
    }

    /// Answered whatever its number, so that both sides can recover at the same time.
    fn on_resend_request(&mut self, message: &Message<'_>, seq: u64, now: Nanos, outside: &mut impl Outside) {
        if seq < self.next_in && message.is_yes(43) {
            return self.on_late(message, seq, now, outside);
        }
        let (Some(from), Some(to)) = (message.get_u64(7), message.get_u64(16)) else {
            let tag = if message.get_u64(7).is_none() { 7 } else { 16 };
            let reason = if message.get(tag).is_none() { Reason::RequiredTagMissing } else { Reason::ValueIncorrect };
            return self.refuse(message, seq, Reject { reason, tag: Some(tag) }, now, outside);
        };
        self.resend(from, to, now, outside);
        if seq > self.next_in {
            self.on_early(message, seq, now, outside);
        } else if seq == self.next_in {
            self.advance(seq + 1, outside);
        }
    }

    /// Sends `from` to `to` once more: application messages as they were, gap fills in place of the rest. Zero and
    /// numbers beyond the last mean through the last.
    fn resend(&mut self, from: u64, to: u64, now: Nanos, outside: &mut impl Outside) {
        let next_out = self.sender.next_out;
        let first = from.max(1);
        if first >= next_out {
            outside.note(&SessionEvent::ResendOfUnsent { from, next_out });
            return;
        }
        let infinite = to == 0 || (to == OLD_INFINITY && self.settings.version <= Version::Fix42);
        let to = if infinite || to >= next_out { next_out - 1 } else { to };
        let (mut next, mut messages, mut from) = (first, 0, first);
        while from <= to {
            let end = to.min(from + RESEND_BATCH - 1);
            messages += self.resend_batch(&mut next, from, end, now, outside);
            from = end + 1;
        }
        if next <= to {
            self.sender.gap_fill(next, to + 1, now, outside);
        }
        outside.note(&SessionEvent::ResendAnswered { from: first, to, messages });
    }

    /// Stored messages `from` to `to`; `next` is the first number that was neither sent nor filled.
    fn resend_batch(&mut self, next: &mut u64, from: u64, to: u64, now: Nanos, outside: &mut impl Outside) -> u64 {
        let (mut bytes, mut marks) = (std::mem::take(&mut self.again), std::mem::take(&mut self.again_marks));
        let mut fields = std::mem::take(&mut self.again_fields);
        outside.resend(from, to, &mut |seq, message| {
            bytes.extend_from_slice(message);
            marks.push((seq, message.len()));
        });
        let (mut rest, mut messages) = (bytes.as_slice(), 0);
        for (seq, length) in marks.drain(..) {
            let (message, behind) = rest.split_at(length);
            rest = behind;
            // A store that gives what was not asked for, or no message, is not believed: the gap fill covers it.
            let Ok(message) = fields.parse(message, self.dictionary) else { continue };
            if seq < *next || seq > to {
                continue;
            }
            if seq > *next {
                self.sender.gap_fill(*next, seq, now, outside);
            }
            self.sender.again(&message, seq, now, self.dictionary, outside);
            messages += 1;
            *next = seq + 1;
        }
        bytes.clear();
        (self.again, self.again_marks, self.again_fields) = (bytes, marks, fields);
        messages
    }

    /// The first message of a connection: a Logon, or the end.
    fn on_first(&mut self, message: &Message<'_>, now: Nanos, outside: &mut impl Outside) {
        match self.judge_first(message, now) {
            Err(why) => self.close(why, now, outside),
            Ok(seq) => self.on_logon(message, seq, now, outside),
        }
    }

    /// The Logon's number, if it may come in without a word.
    fn judge_first(&self, message: &Message<'_>, now: Nanos) -> Result<u64, Closed> {
        if message.begin_string() != self.settings.version.begin_string().as_bytes() {
            return Err(Closed::WrongBeginString(message.text(8).unwrap_or_default()));
        }
        match message.msg_type() {
            b"A" => {}
            b"5" if self.settings.role == Role::Initiator => return Err(Closed::RefusedByPeer(message.text(58))),
            _ => return Err(Closed::NotLogon),
        }
        self.judge(message, now).map_err(|reject| match reject.reason {
            Reason::CompIdProblem => Closed::WrongCompIds,
            Reason::SendingTimeAccuracy => Closed::SendingTime,
            _ => Closed::InvalidLogon(reject),
        })?;
        let encrypted = message.get(98).is_some_and(|method| method != b"0");
        if encrypted {
            return Err(Closed::InvalidLogon(Reject { reason: Reason::ValueIncorrect, tag: Some(98) }));
        }
        message.seq_num().ok_or(Closed::NoSequenceNumber)
    }

    fn on_logon(&mut self, message: &Message<'_>, seq: u64, now: Nanos, outside: &mut impl Outside) {
        let is_acceptor = self.settings.role == Role::Acceptor;
        let taken = if is_acceptor { self.take_logon(message, outside) } else { Ok(()) };
        if let Err(text) = taken {
            return self.refuse_logon(text, now, outside);
        }
        let reset = message.is_yes(141);
        self.reset_by_logon(reset, now, outside);
        if seq < self.next_in {
            let text = format!("MsgSeqNum too low, expecting {} but received {seq}", self.next_in);
            return self.refuse_logon(text, now, outside);
        }
        let wanted = message.get_u64(789).filter(|_| self.settings.send_next_expected);
        if let Some(wanted) = wanted.filter(|wanted| *wanted > self.sender.next_out) {
            let next_out = self.sender.next_out;
            let text = format!("NextExpectedMsgSeqNum too high, expecting {next_out} but received {wanted}");
            return self.refuse_logon(text, now, outside);
        }
        let first_new = self.sender.next_out;
        if is_acceptor {
            let expected = if seq == self.next_in { seq + 1 } else { self.next_in };
            self.send_logon(reset, expected, now, outside);
        }
        self.reset_asked = false;
        self.enter(State::LoggedOn, now);
        outside.note(&SessionEvent::LoggedOn { heartbeat_s: (self.heartbeat_ns / NANOS_PER_SECOND) as u32 });
        self.count_logon(message, seq, wanted.is_some(), now, outside);
        if let Some(wanted) = wanted.filter(|wanted| *wanted < first_new) {
            self.resend(wanted, 0, now, outside);
        }
        outside.logged_on();
    }

    /// What an acceptor takes from a Logon, or why it refuses it.
    fn take_logon(&mut self, message: &Message<'_>, outside: &mut impl Outside) -> Result<(), String> {
        outside.authenticate(message)?;
        if let Some(text) = message.get(108) {
            let seconds = codec::number(text).and_then(|seconds| u32::try_from(seconds).ok());
            let seconds = seconds.ok_or("HeartBtInt (108) must be a number of seconds, zero or more")?;
            self.heartbeat_ns = u64::from(seconds) * NANOS_PER_SECOND;
        }
        Ok(())
    }

    /// Numbers back to 1 by the Logon's wish or by our settings. An initiator whose Logon did not ask for it has by
    /// the answer sent its number 1.
    fn reset_by_logon(&mut self, reset: bool, now: Nanos, outside: &mut impl Outside) {
        match self.settings.role {
            Role::Acceptor if reset || self.settings.reset_on_logon => self.reset_numbers(now, outside),
            Role::Initiator if reset && !self.reset_asked => {
                self.reset_numbers(now, outside);
                self.sender.next_out = 2;
                outside.sent(1, None);
            }
            _ => {}
        }
    }

    /// The Logon's own number. Where both sides say which number they expect, nobody needs to ask.
    fn count_logon(&mut self, message: &Message<'_>, seq: u64, told: bool, now: Nanos, outside: &mut impl Outside) {
        if seq == self.next_in {
            return self.advance(seq + 1, outside);
        }
        if told {
            self.gap = Some(Gap { to: seq - 1, asked: seq - 1, next_in: self.next_in, since: now });
        }
        self.on_early(message, seq, now, outside);
    }

    fn refuse_logon(&mut self, text: String, now: Nanos, outside: &mut impl Outside) {
        self.send_logout(&text, now, outside);
        self.close(Closed::Refused(text), now, outside);
    }

    /// A Logon with 141=Y on a live connection: the other side's wish, or its answer to ours.
    fn on_reset_logon(&mut self, message: &Message<'_>, seq: u64, now: Nanos, outside: &mut impl Outside) {
        if !std::mem::take(&mut self.reset_asked) {
            self.reset_numbers(now, outside);
            self.send_logon(true, if seq == 1 { 2 } else { 1 }, now, outside);
        }
        if self.is_in_turn(message, seq, now, outside) {
            self.advance(seq + 1, outside);
        }
    }

    /// Heartbeats and timeouts: call it at least every 100 ms.
    pub fn on_tick(&mut self, now: Nanos, outside: &mut impl Outside) {
        let waited = now.since(self.since);
        match self.state {
            State::Disconnected | State::Closing => {}
            State::Connected if waited >= self.settings.logon_timeout_s * NANOS_PER_SECOND => {
                self.close(Closed::LogonTimeout, now, outside);
            }
            State::LoggingOut if waited >= self.settings.logout_timeout_s * NANOS_PER_SECOND => {
                self.close(Closed::LogoutTimeout, now, outside);
            }
            State::Connected | State::LoggingOut => {}
            State::LoggedOn => {
                self.beat(now, outside);
                self.mind_gap(now, outside);
            }
        }
    }

    /// While a TestRequest waits for its answer no Heartbeat is sent: who does not answer does not listen.
    fn beat(&mut self, now: Nanos, outside: &mut impl Outside) {
        let interval = self.heartbeat_ns;
        if interval == 0 {
            return;
        }
        let silence = now.since(self.last_received);
        if silence >= interval.saturating_mul(12) / 5 {
            self.close(Closed::Silent, now, outside);
        } else if silence >= (interval.saturating_mul(6) / 5).saturating_mul(self.tests + 1) {
            self.tests += 1;
            outside.note(&SessionEvent::TestRequestSent);
            self.sender.session_message(b"1", now, outside, |builder| builder.field(112, TEST));
        } else if self.tests == 0 && now.since(self.sender.last_sent) >= interval {
            self.sender.session_message(b"0", now, outside, |_| {});
        }
    }

    /// Asks again when nothing moved for a heartbeat: the answer may have been garbled.
    fn mind_gap(&mut self, now: Nanos, outside: &mut impl Outside) {
        let patience = if self.heartbeat_ns == 0 { RESEND_PATIENCE_S * NANOS_PER_SECOND } else { self.heartbeat_ns };
        let next_in = self.next_in;
        let Some(gap) = self.gap.as_mut().filter(|_| self.state == State::LoggedOn) else { return };
        if gap.next_in != next_in {
            (gap.next_in, gap.since) = (next_in, now);
        } else if now.since(gap.since) >= patience {
            let to = gap.to;
            self.ask(to, now, outside);
        }
    }

    /// The connection is gone.
    pub fn on_closed(&mut self, now: Nanos, outside: &mut impl Outside) {
        if self.state == State::Disconnected {
            return;
        }
        self.leave(outside);
        self.enter(State::Disconnected, now);
        self.inbox.clear();
        self.queue.clear();
        self.gap = None;
        self.reset_asked = false;
        if self.settings.reset_on_disconnect {
            self.reset_numbers(now, outside);
        }
    }

    /// Sends an application message: the order path, without allocation. `body` writes the fields after the header;
    /// more header fields come first. The message's number.
    #[inline]
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
    #[inline]
    pub fn send_with(
        &mut self,
        msg_type: &[u8],
        header: &[(u32, &[u8])],
        body: impl FnOnce(&mut Builder),
        now: Nanos,
        outside: &mut impl Outside,
    ) -> Result<u64, SendError> {
        if self.state != State::LoggedOn {
            return Err(SendError::NotLoggedOn);
        }
        self.sender.send(msg_type, header, body, now, outside)
    }

    /// Starts a Logout; the connection is closed after the answer or the timeout. Not logged on yet: closes at once.
    pub fn logout(&mut self, text: &str, now: Nanos, outside: &mut impl Outside) {
        match self.state {
            State::LoggedOn => self.log_out(text, now, outside),
            State::Connected => self.close(Closed::LoggedOut(None), now, outside),
            _ => {}
        }
    }

    /// An operator sets numbers; the caller stores them.
    pub fn set_next(&mut self, next_out: Option<u64>, next_in: Option<u64>) {
        if let Some(next_out) = next_out {
            self.sender.next_out = next_out.clamp(1, MAX_NUMBER);
        }
        if let Some(next_in) = next_in {
            self.expect(next_in.clamp(1, MAX_NUMBER));
            self.gap = None;
        }
    }

    /// Both numbers to 1, by schedule or operator. On a live connection it is asked for with a Logon with 141=Y. Does
    /// nothing, and says `false`, while a connection comes or goes and on a live one of FIX.4.0, which has no 141.
    pub fn reset(&mut self, now: Nanos, outside: &mut impl Outside) -> bool {
        match self.state {
            State::Disconnected => self.reset_numbers(now, outside),
            State::LoggedOn if self.settings.version >= Version::Fix41 => {
                self.reset_numbers(now, outside);
                self.reset_asked = true;
                self.send_logon(true, 1, now, outside);
            }
            _ => return false,
        }
        true
    }

    /// Bytes that it holds: of an unfinished message and of those that came too early. At most [`MAX_QUEUE_BYTES`] and
    /// three times [`MAX_MESSAGE`] between two calls.
    pub fn buffered(&self) -> usize {
        self.inbox.len() + self.queue.bytes
    }

    /// Whether application messages can be sent.
    pub fn is_logged_on(&self) -> bool {
        self.state == State::LoggedOn
    }

    /// Whether a connection is up and read.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected | State::LoggedOn | State::LoggingOut)
    }

    /// Number of the next message we send.
    pub fn next_out(&self) -> u64 {
        self.sender.next_out
    }

    /// Number of the next message we expect.
    pub fn next_in(&self) -> u64 {
        self.next_in
    }

    /// When the numbers were last set to 1.
    pub fn created(&self) -> Nanos {
        self.created
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn enter(&mut self, state: State, now: Nanos) {
        self.state = state;
        self.since = now;
    }

    fn leave(&mut self, outside: &mut impl Outside) {
        if matches!(self.state, State::LoggedOn | State::LoggingOut) {
            outside.logged_out();
        }
    }

    fn close(&mut self, why: Closed, now: Nanos, outside: &mut impl Outside) {
        self.leave(outside);
        self.enter(State::Closing, now);
        outside.close(&why);
    }

    fn expect(&mut self, next_in: u64) {
        self.next_in = next_in;
        if let Some(number) = &mut self.sender.last_processed {
            *number = next_in - 1;
        }
    }

    fn advance(&mut self, next_in: u64, outside: &mut impl Outside) {
        self.expect(next_in);
        outside.received(next_in);
    }

    fn reset_numbers(&mut self, now: Nanos, outside: &mut impl Outside) {
        self.sender.next_out = 1;
        self.expect(1);
        self.created = now;
        self.gap = None;
        self.queue.clear();
        outside.reset(now);
        outside.note(&SessionEvent::Reset);
    }

    fn send_logon(&mut self, reset: bool, expected: u64, now: Nanos, outside: &mut impl Outside) {
        let settings = &self.settings;
        let secret = |value: &'_ Option<String>| match settings.role {
            Role::Initiator => value.clone(),
            Role::Acceptor => None,
        };
        let (username, password) = (secret(&settings.username), secret(&settings.password));
        let heartbeat_s = self.heartbeat_ns / NANOS_PER_SECOND;
        self.sender.session_message(b"A", now, outside, |builder| {
            builder.char(98, b'0');
            builder.number(108, heartbeat_s);
            if reset {
                builder.char(141, b'Y');
            }
            username.iter().for_each(|name| builder.field(553, name.as_bytes()));
            password.iter().for_each(|password| builder.field(554, password.as_bytes()));
            if settings.send_next_expected {
                builder.number(789, expected);
            }
            settings.version.appl_ver_id().into_iter().for_each(|id| builder.field(1137, id.as_bytes()));
        });
    }

    /// Sends a Logout once, and waits for its answer.
    fn log_out(&mut self, text: &str, now: Nanos, outside: &mut impl Outside) {
        if self.state == State::LoggedOn {
            self.send_logout(text, now, outside);
            self.enter(State::LoggingOut, now);
        }
    }

    fn send_logout(&mut self, text: &str, now: Nanos, outside: &mut impl Outside) {
        outside.note(&SessionEvent::LogoutSent(text.to_owned()));
        self.sender.session_message(b"5", now, outside, |builder| {
            if !text.is_empty() {
                builder.field(58, text.as_bytes());
            }
        });
    }

    /// Versions differ: before 4.2 the tag stands in the text, and 4.2 knows the reasons up to 11 only.
    fn send_reject(&mut self, message: &Message<'_>, seq: u64, reject: Reject, now: Nanos, outside: &mut impl Outside) {
        outside.note(&SessionEvent::RejectSent { seq, reject });
        let version = self.settings.version;
        self.sender.session_reply(b"3", Some(message), now, outside, |builder| {
            builder.number(45, seq);
            if version < Version::Fix42 {
                let tag = reject.tag.map_or(String::new(), |tag| format!(" ({tag})"));
                return builder.field(58, format!("{}{tag}", reject.reason.text()).as_bytes());
            }
            builder.field(58, reject.reason.text().as_bytes());
            if let Some(tag) = reject.tag {
                builder.field(371, tag.to_string().as_bytes());
            }
            builder.field(372, message.msg_type());
            if version > Version::Fix42 || reject.reason <= Reason::InvalidMsgType {
                builder.number(373, reject.reason.number().into());
            }
        });
    }

    /// BusinessMessageReject, which is an application message; before 4.2 a Reject.
    fn send_unsupported(&mut self, message: &Message<'_>, seq: u64, now: Nanos, outside: &mut impl Outside) {
        let msg_type = message.msg_type();
        let shown = String::from_utf8_lossy(msg_type).into_owned();
        outside.note(&SessionEvent::UnsupportedType { seq, msg_type: shown });
        let version = self.settings.version;
        if version < Version::Fix42 {
            return self.sender.session_reply(b"3", Some(message), now, outside, |builder| {
                builder.number(45, seq);
                builder.field(58, b"Unsupported message type");
            });
        }
        let body = |builder: &mut Builder| {
            builder.number(45, seq);
            builder.field(58, b"Unsupported Message Type");
            builder.field(372, msg_type);
            builder.number(380, 3);
            // Not in the dictionary's message, but what QuickFIX sends and the acceptance suite expects.
            version.appl_ver_id().into_iter().for_each(|id| builder.field(1137, id.as_bytes()));
        };
        // A MsgType is short: the message cannot be too long.
        let _ = self.sender.send_back(b"j", message, body, now, outside);
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
    /// Not yet one whole message: read more, within a limit of time. It ends within twice [`MAX_MESSAGE`].
    Incomplete,
    /// Look for the session of this Logon and hand it all bytes from the first.
    Logon(Logon),
    /// No Logon, or garbled: close without a word.
    Drop(Closed),
}

/// Reads the first message of an accepted connection, so that one of many sessions can be chosen. It is not judged
/// here: the session does.
pub fn peek_logon(bytes: &[u8]) -> Peek {
    let message = match frame(bytes) {
        Framed::Incomplete if bytes.len() > 2 * MAX_MESSAGE => {
            return Peek::Drop(Closed::GarbledLogon(Garbled::TooLong));
        }
        Framed::Incomplete => return Peek::Incomplete,
        Framed::Garbled { why, .. } => return Peek::Drop(Closed::GarbledLogon(why)),
        Framed::Message { bytes, .. } => bytes,
    };
    let mut fields = Fields::new();
    let message = match fields.parse(message, Dictionary::of(Version::Fix44)) {
        Ok(message) => message,
        Err(why) => return Peek::Drop(Closed::GarbledLogon(why)),
    };
    if message.msg_type() != b"A" {
        return Peek::Drop(Closed::NotLogon);
    }
    let (Some(sender), Some(target)) = (message.text(56), message.text(49)) else {
        return Peek::Drop(Closed::WrongCompIds);
    };
    let begin_string = message.text(8).unwrap_or_default();
    let default_appl_ver_id = message.text(1137);
    Peek::Logon(Logon { begin_string, sender, target, default_appl_ver_id, reset: message.is_yes(141) })
}
