//! Our side of the numbers: headers, session messages, and the replies of an application.

use helios_types::Nanos;

use super::codec::{Builder, MAX_MESSAGE, Message, Precision, SOH};
use super::dictionary::{Dictionary, Version};
use super::outside::{Outside, SendError, Settings};

/// Most bytes that an application may reply to one message.
const MAX_REPLIES: usize = 4 * 1024 * 1024;
/// What header and trailer add to a body, generously.
const ENVELOPE: usize = 512;

/// Header fields that are written by us, and trailer fields: never taken over from a stored message.
const OURS: [i32; 14] = [8, 9, 35, 34, 43, 49, 52, 56, 122, 369, 10, 93, 89, 0];

/// Writes messages of one session in their order.
pub(super) struct Sender {
    pub next_out: u64,
    pub last_sent: Nanos,
    /// For field 369, if it is wanted.
    pub last_processed: Option<u64>,
    begin_string: &'static [u8],
    /// `49=...`, which stands in front of the time.
    sender: Vec<u8>,
    /// `56=...`, which stands behind it.
    target: Vec<u8>,
    precision: Precision,
    builder: Builder,
    /// Replies of the application, one behind the other, with number and length.
    replies: Vec<u8>,
    marks: Vec<(u64, usize)>,
}

impl Sender {
    pub fn new(settings: &Settings, next_out: u64) -> Self {
        let field = |tag: &str, value: &str| format!("{tag}={}\x01", value.replace(SOH as char, " ")).into_bytes();
        Self {
            next_out,
            last_sent: Nanos(0),
            last_processed: settings.send_last_processed.then_some(0),
            begin_string: settings.version.begin_string().as_bytes(),
            sender: field("49", &settings.sender),
            target: field("56", &settings.target),
            precision: settings.precision,
            builder: Builder::new(),
            replies: Vec::new(),
            marks: Vec::new(),
        }
    }

    #[inline]
    fn header(&mut self, msg_type: &[u8], seq: u64, now: Nanos, again: bool, more: impl FnOnce(&mut Builder)) {
        let builder = &mut self.builder;
        builder.begin(self.begin_string, msg_type);
        builder.number(34, seq);
        if again {
            builder.char(43, b'Y');
        }
        builder.raw(&self.sender);
        builder.timestamp(52, now, self.precision);
        builder.raw(&self.target);
        more(builder);
        if let Some(number) = self.last_processed {
            builder.number(369, number);
        }
    }

    /// A session message with the next number.
    pub fn session_message(
        &mut self,
        msg_type: &[u8],
        now: Nanos,
        outside: &mut impl Outside,
        body: impl FnOnce(&mut Builder),
    ) {
        self.session_reply(msg_type, None, now, outside, body);
    }

    /// A session message that goes back the way of another.
    pub fn session_reply(
        &mut self,
        msg_type: &[u8],
        to: Option<&Message<'_>>,
        now: Nanos,
        outside: &mut impl Outside,
        body: impl FnOnce(&mut Builder),
    ) {
        let seq = self.next_out;
        self.header(msg_type, seq, now, false, |builder| to.into_iter().for_each(|to| reverse_route(to, builder)));
        body(&mut self.builder);
        self.next_out += 1;
        self.last_sent = now;
        let bytes = self.builder.finish();
        outside.sent(seq, None);
        outside.write(bytes);
    }

    /// An application message with the next number, in the builder; its number.
    #[inline]
    fn application_message(
        &mut self,
        msg_type: &[u8],
        header: &[(u32, &[u8])],
        body: impl FnOnce(&mut Builder),
        now: Nanos,
    ) -> Result<(u64, &[u8]), SendError> {
        let seq = self.next_out;
        self.header(msg_type, seq, now, false, |builder| {
            header.iter().for_each(|(tag, value)| builder.field(*tag, value));
        });
        body(&mut self.builder);
        if self.builder.body_length() > MAX_MESSAGE - ENVELOPE {
            return Err(SendError::TooLong);
        }
        self.next_out += 1;
        self.last_sent = now;
        Ok((seq, self.builder.finish()))
    }

    /// Sends an application message at once.
    #[inline]
    pub fn send(
        &mut self,
        msg_type: &[u8],
        header: &[(u32, &[u8])],
        body: impl FnOnce(&mut Builder),
        now: Nanos,
        outside: &mut impl Outside,
    ) -> Result<u64, SendError> {
        let (seq, bytes) = self.application_message(msg_type, header, body, now)?;
        outside.sent(seq, Some(bytes));
        outside.write(bytes);
        Ok(seq)
    }

    /// Sends an application message the way that another came.
    pub fn send_back(
        &mut self,
        msg_type: &[u8],
        to: &Message<'_>,
        body: impl FnOnce(&mut Builder),
        now: Nanos,
        outside: &mut impl Outside,
    ) -> Result<u64, SendError> {
        let with_route = |builder: &mut Builder| {
            reverse_route(to, builder);
            body(builder);
        };
        self.send(msg_type, &[], with_route, now, outside)
    }

    /// Sends what the application replied.
    pub fn flush(&mut self, outside: &mut impl Outside) {
        let mut rest = self.replies.as_slice();
        for (seq, length) in self.marks.drain(..) {
            let (bytes, behind) = rest.split_at(length);
            outside.sent(seq, Some(bytes));
            outside.write(bytes);
            rest = behind;
        }
        self.replies.clear();
    }

    /// `from` to `to - 1` in place of messages that are not sent again. Takes no number.
    pub fn gap_fill(&mut self, from: u64, to: u64, now: Nanos, outside: &mut impl Outside) {
        let precision = self.precision;
        self.header(b"4", from, now, true, |builder| builder.timestamp(122, now, precision));
        self.builder.number(36, to);
        self.builder.char(123, b'Y');
        self.last_sent = now;
        outside.write(self.builder.finish());
    }

    /// A stored message once more: the same number and body, 43=Y, and its SendingTime in 122. Takes no number.
    pub fn again(
        &mut self,
        stored: &Message<'_>,
        seq: u64,
        now: Nanos,
        dictionary: &Dictionary,
        outside: &mut impl Outside,
    ) {
        let original = stored.get(52).unwrap_or_default();
        let is_header = |tag: i32| u32::try_from(tag).is_ok_and(|tag| dictionary.is_header(tag));
        let header = || stored.iter().filter(|(tag, _)| is_header(*tag) && !OURS.contains(tag));
        self.header(stored.msg_type(), seq, now, true, |builder| {
            header().filter(|(tag, _)| *tag < 122).for_each(|(tag, value)| builder.raw_field(tag as u32, value));
            builder.raw_field(122, original);
            header().filter(|(tag, _)| *tag > 122).for_each(|(tag, value)| builder.raw_field(tag as u32, value));
        });
        for (tag, value) in stored.iter().filter(|(tag, _)| !is_header(*tag) && !OURS.contains(tag)) {
            self.builder.raw_field(tag as u32, value);
        }
        self.last_sent = now;
        outside.write(self.builder.finish());
    }
}

/// On whose behalf becomes to whom to deliver, and the other way round.
fn reverse_route(message: &Message<'_>, builder: &mut Builder) {
    for (to, from) in [(115, 128), (116, 129), (128, 115), (129, 116), (144, 145), (145, 144)] {
        if let Some(value) = message.get(from).filter(|value| !value.is_empty()) {
            builder.field(to, value);
        }
    }
}

/// Sends from within [`Outside::application`]; what it sends goes out when the application returns.
pub struct Reply<'s> {
    pub(super) sender: &'s mut Sender,
    pub(super) logged_on: bool,
    pub(super) now: Nanos,
    pub(super) version: Version,
}

impl Reply<'_> {
    /// As [`super::Session::send`].
    pub fn send(&mut self, msg_type: &[u8], body: impl FnOnce(&mut Builder)) -> Result<u64, SendError> {
        self.send_with(msg_type, &[], body)
    }

    /// As [`super::Session::send_with`].
    pub fn send_with(
        &mut self,
        msg_type: &[u8],
        header: &[(u32, &[u8])],
        body: impl FnOnce(&mut Builder),
    ) -> Result<u64, SendError> {
        if !self.logged_on {
            return Err(SendError::NotLoggedOn);
        }
        if self.sender.replies.len() > MAX_REPLIES - MAX_MESSAGE {
            return Err(SendError::TooLong);
        }
        let mut replies = std::mem::take(&mut self.sender.replies);
        let before = replies.len();
        let result = self.sender.application_message(msg_type, header, body, self.now);
        let result = result.map(|(seq, bytes)| {
            replies.extend_from_slice(bytes);
            seq
        });
        if let Ok(seq) = result {
            self.sender.marks.push((seq, replies.len() - before));
        }
        self.sender.replies = replies;
        result
    }

    /// The time of the message that is replied to.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// The session's version.
    pub fn version(&self) -> Version {
        self.version
    }
}
