//! FIX bytes: frames, fields, and messages to be sent.

use helios_types::{Nanos, Price, Quantity};

use super::dictionary::Dictionary;

/// Ends every field.
pub const SOH: u8 = 1;
/// Longest message that is read or written.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Most fields of a message.
pub const MAX_FIELDS: usize = 4096;

/// Why bytes are no message. They are dropped, and no answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbled {
    /// Bytes in front of `8=FIX`.
    NoBeginString,
    /// The second field is not a BodyLength of digits.
    NoBodyLength,
    /// Longer than [`MAX_MESSAGE`].
    TooLong,
    /// BodyLength does not end at the CheckSum.
    WrongBodyLength,
    /// CheckSum is not the sum of the bytes.
    WrongCheckSum,
    /// The third field is not MsgType.
    NoMsgType,
    /// A tag is no number, or a field has no `=`, or a data field is not as long as its length field says.
    BadField,
    /// More than [`MAX_FIELDS`].
    TooManyFields,
}

/// The first thing in a byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// A message whose length and checksum are right.
    Message {
        /// From `8=` through the last delimiter.
        bytes: &'a [u8],
        /// Bytes to take off the stream.
        used: usize,
    },
    /// Read more.
    Incomplete,
    /// Drop `used` bytes and go on.
    Garbled {
        /// Bytes to take off the stream, at least one.
        used: usize,
        /// What was wrong.
        why: Garbled,
    },
}

/// The first message of a byte stream.
pub fn frame(bytes: &[u8]) -> Framed<'_> {
    let _ = bytes;
    todo!()
}

/// Why a framed message has no fields.
pub type ParseError = Garbled;

/// Where one field stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its tag; zero and negative ones are the other side's mistakes.
    pub tag: i32,
    pub(super) index: u16,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A reusable table of fields: no allocation once it has grown.
#[derive(Debug, Default)]
pub struct Fields {
    fields: Vec<Field>,
}

impl Fields {
    /// Cuts a framed message into fields.
    pub fn parse<'a>(&'a mut self, bytes: &'a [u8], dictionary: &Dictionary) -> Result<Message<'a>, ParseError> {
        let _ = dictionary;
        Ok(Message { bytes, fields: &self.fields })
    }
}

/// A message and where its fields stand.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    fields: &'a [Field],
}

impl<'a> Message<'a> {
    /// All bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// MsgType.
    pub fn msg_type(&self) -> &'a [u8] {
        todo!()
    }

    /// MsgSeqNum, if it is a number.
    pub fn seq_num(&self) -> Option<u64> {
        todo!()
    }

    /// The first field of this tag.
    pub fn get(&self, tag: i32) -> Option<&'a [u8]> {
        let _ = tag;
        todo!()
    }

    /// [`Self::get`] as a number.
    pub fn get_u64(&self, tag: i32) -> Option<u64> {
        let _ = tag;
        todo!()
    }

    /// Whether the field is there and `Y`.
    pub fn is_yes(&self, tag: i32) -> bool {
        self.get(tag) == Some(b"Y")
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &'a [u8])> + '_ {
        self.fields.iter().map(|field| (field.tag, &self.bytes[field.start as usize..field.end as usize]))
    }
}

/// Decimals of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// None.
    Seconds,
    /// Three.
    Millis,
    /// Six.
    Micros,
    /// Nine.
    Nanos,
}

/// Writes messages into one buffer that is reused.
#[derive(Debug, Default)]
pub struct Builder {
    buffer: Vec<u8>,
}

impl Builder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was written and begins a message.
    pub fn begin(&mut self, begin_string: &[u8], msg_type: &[u8]) {
        let _ = (begin_string, msg_type);
        todo!()
    }

    /// A field; a delimiter in the value, which would forge a field, is written as a space.
    pub fn field(&mut self, tag: u32, value: &[u8]) {
        let _ = (tag, value);
        todo!()
    }

    /// A field of one character.
    pub fn char(&mut self, tag: u32, value: u8) {
        self.field(tag, &[value]);
    }

    /// A number.
    pub fn number(&mut self, tag: u32, value: u64) {
        let _ = (tag, value);
        todo!()
    }

    /// A price without trailing zeros.
    pub fn price(&mut self, tag: u32, value: Price) {
        let _ = (tag, value);
        todo!()
    }

    /// A quantity without trailing zeros.
    pub fn quantity(&mut self, tag: u32, value: Quantity) {
        let _ = (tag, value);
        todo!()
    }

    /// A UTCTimestamp.
    pub fn timestamp(&mut self, tag: u32, value: Nanos, precision: Precision) {
        let _ = (tag, value, precision);
        todo!()
    }

    /// A data field, which may hold delimiters, behind its length field.
    pub fn data(&mut self, length_tag: u32, tag: u32, value: &[u8]) {
        let _ = (length_tag, tag, value);
        todo!()
    }

    /// Body length and checksum; the whole message.
    pub fn finish(&mut self) -> &[u8] {
        &self.buffer
    }
}
