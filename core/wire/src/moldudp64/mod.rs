//! MoldUDP64 1.00, the multicast carrier: numbered messages in datagrams, and the request for missing ones.
//!
//! A packet is judged whole before any message of it is given out: a block that ends outside the packet, or bytes
//! behind the last block, make it malformed, and nothing of it should be used. A session's name is ten raw bytes.
//! Gap detection, arbitration of lines, requests and timing are [`Receiver`]'s. Absent: the side that sends.

mod receiver;

use std::fmt;

use crate::layout::array_at;
use crate::{Field, Kind};

pub use receiver::{
    LineStats, MAX_EARLY_BYTES, MAX_EARLY_PACKETS, MAX_LINES, Notice, Receiver, ReceiverConfig, ReceiverOut,
    ReceiverStats, Session,
};

/// Bytes of the header, and of a whole request, heartbeat or end-of-session packet.
pub const HEADER_LENGTH: usize = 20;
/// The count that says "end of session".
pub const END_OF_SESSION: u16 = 0xFFFF;
/// The largest count of messages in a packet or a request.
pub const MAX_COUNT: u16 = 0xFFFE;
/// Bytes of the length in front of each message.
pub const BLOCK_PREFIX: usize = 2;

/// The header's fields, for generic tools.
pub const HEADER_FIELDS: &[Field] = &[
    Field { name: "session", offset: 0, size: 10, kind: Kind::Alpha },
    Field { name: "sequence_number", offset: 10, size: 8, kind: Kind::Unsigned },
    Field { name: "message_count", offset: 18, size: 2, kind: Kind::Unsigned },
];

/// The header of every packet, downstream and request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Ten raw bytes, by convention text padded right with spaces.
    pub session: [u8; 10],
    /// Number of the packet's first message; without messages, the number that will be sent next.
    pub sequence_number: u64,
    /// Messages in the packet, or [`END_OF_SESSION`]; in a request, messages wanted.
    pub message_count: u16,
}

impl Header {
    /// The header's bytes.
    #[inline]
    pub fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut out = [0; HEADER_LENGTH];
        out[..10].copy_from_slice(&self.session);
        out[10..18].copy_from_slice(&self.sequence_number.to_be_bytes());
        out[18..].copy_from_slice(&self.message_count.to_be_bytes());
        out
    }

    #[inline]
    fn decode(bytes: &[u8; HEADER_LENGTH]) -> Self {
        Self {
            session: *array_at(bytes, 0),
            sequence_number: u64::from_be_bytes(*array_at(bytes, 10)),
            message_count: u16::from_be_bytes(*array_at(bytes, 18)),
        }
    }
}

/// Why a packet cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Fewer bytes than a header has.
    ShortHeader {
        /// Bytes there are.
        found: usize,
    },
    /// A message's length, or the message, does not fit into the packet.
    ShortBlock {
        /// Which message of the packet, from 0.
        message: u16,
        /// Bytes the block needs, its length included.
        needs: usize,
        /// Bytes there are.
        found: usize,
    },
    /// Bytes behind the last announced message.
    LeftOver {
        /// How many.
        bytes: usize,
    },
    /// The last message's number would not fit 64 bits.
    SequenceOverflow,
    /// A request for no message, or for more than [`MAX_COUNT`].
    RequestCount {
        /// The count asked for.
        count: u16,
    },
}

/// A malformed packet: drop it whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where in the packet.
    pub offset: usize,
    /// What is wrong there.
    pub reason: Reason,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed MoldUDP64 packet, dropped whole: at offset {}, ", self.offset)?;
        match self.reason {
            Reason::ShortHeader { found } => write!(f, "the header has {found} of {HEADER_LENGTH} bytes"),
            Reason::ShortBlock { message, needs, found } => {
                write!(f, "message {message} needs {needs} bytes, {found} are there")
            }
            Reason::LeftOver { bytes } => write!(f, "{bytes} bytes are left over after the last announced message"),
            Reason::SequenceOverflow => f.write_str("the sequence number is so large that the next one does not exist"),
            Reason::RequestCount { count } => write!(f, "{count} messages are requested, allowed are 1 to {MAX_COUNT}"),
        }
    }
}

impl std::error::Error for Malformed {}

/// A downstream packet that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    header: Header,
    blocks: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Session, number and count.
    #[inline]
    pub fn header(&self) -> Header {
        self.header
    }

    /// True for a packet that only says which number comes next.
    #[inline]
    pub fn is_heartbeat(&self) -> bool {
        self.header.message_count == 0
    }

    /// True for the packet that ends the session.
    #[inline]
    pub fn is_end_of_session(&self) -> bool {
        self.header.message_count == END_OF_SESSION
    }

    /// How many messages it carries: none at the end of the session.
    #[inline]
    pub fn message_count(&self) -> u16 {
        if self.is_end_of_session() { 0 } else { self.header.message_count }
    }

    /// The number of the message after this packet's last.
    #[inline]
    pub fn next_sequence_number(&self) -> u64 {
        self.header.sequence_number + u64::from(self.message_count())
    }

    /// The messages, in order; the first has the header's sequence number.
    #[inline]
    pub fn messages(&self) -> Messages<'a> {
        Messages { rest: self.blocks }
    }

    /// Bytes of the whole packet.
    pub fn length(&self) -> usize {
        HEADER_LENGTH + self.blocks.len()
    }
}

/// The messages of a packet.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (message, rest) = split_block(self.rest)?;
        self.rest = rest;
        Some(message)
    }
}

#[inline]
fn split_block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (prefix, rest) = bytes.split_first_chunk::<BLOCK_PREFIX>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*prefix)))
}

/// A datagram of the downstream: one packet, exactly.
pub fn decode(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let packet = decode_first(bytes)?;
    let end = packet.length();
    match bytes.len() - end {
        0 => Ok(packet),
        left => Err(Malformed { offset: end, reason: Reason::LeftOver { bytes: left } }),
    }
}

/// The packet at the start of `bytes`, behind which others may follow as in a recorded stream:
/// go on at [`Packet::length`].
pub fn decode_first(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_LENGTH>() else {
        return Err(Malformed { offset: 0, reason: Reason::ShortHeader { found: bytes.len() } });
    };
    let mut packet = Packet { header: Header::decode(header), blocks: &[] };
    let mut rest = body;
    for message in 0..packet.message_count() {
        let Some((_, behind)) = split_block(rest) else {
            let needs = rest.first_chunk().map_or(0, |prefix| usize::from(u16::from_be_bytes(*prefix))) + BLOCK_PREFIX;
            let reason = Reason::ShortBlock { message, needs, found: rest.len() };
            return Err(Malformed { offset: bytes.len() - rest.len(), reason });
        };
        rest = behind;
    }
    if packet.header.sequence_number.checked_add(u64::from(packet.message_count())).is_none() {
        return Err(Malformed { offset: 10, reason: Reason::SequenceOverflow });
    }
    packet.blocks = &body[..body.len() - rest.len()];
    Ok(packet)
}

/// A datagram of the request channel: first number wanted and how many messages.
pub fn decode_request(bytes: &[u8]) -> Result<Header, Malformed> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LENGTH>() else {
        return Err(Malformed { offset: 0, reason: Reason::ShortHeader { found: bytes.len() } });
    };
    if !rest.is_empty() {
        return Err(Malformed { offset: HEADER_LENGTH, reason: Reason::LeftOver { bytes: rest.len() } });
    }
    match Header::decode(header) {
        Header { message_count: count @ (0 | END_OF_SESSION), .. } => {
            Err(Malformed { offset: 18, reason: Reason::RequestCount { count } })
        }
        request => Ok(request),
    }
}

/// The packet of an idle second: `next` is the number that will be sent next.
pub fn encode_heartbeat(session: [u8; 10], next: u64) -> [u8; HEADER_LENGTH] {
    Header { session, sequence_number: next, message_count: 0 }.encode()
}

/// The packet after the last message: `next` is the number that would have been next.
pub fn encode_end_of_session(session: [u8; 10], next: u64) -> [u8; HEADER_LENGTH] {
    Header { session, sequence_number: next, message_count: END_OF_SESSION }.encode()
}

/// Asks for `count` messages from number `first` on. Panics for a count that no server answers.
pub fn encode_request(session: [u8; 10], first: u64, count: u16) -> [u8; HEADER_LENGTH] {
    assert!((1..=MAX_COUNT).contains(&count), "a request asks for 1 to {MAX_COUNT} messages, not {count}");
    Header { session, sequence_number: first, message_count: count }.encode()
}

/// A message that found no room in a packet: send the packet, start the next one with this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Builds downstream packets up to a payload limit, message by message.
#[derive(Clone, Debug)]
pub struct PacketBuilder {
    bytes: Vec<u8>,
    limit: usize,
    count: u16,
}

impl PacketBuilder {
    /// A packet without messages. `limit` is the largest UDP payload, usually 1,400 bytes.
    pub fn new(session: [u8; 10], sequence_number: u64, limit: usize) -> Self {
        Self { bytes: encode_heartbeat(session, sequence_number).to_vec(), limit, count: 0 }
    }

    /// Adds one message. A message too large for any packet of this limit is always refused.
    pub fn push(&mut self, message: &[u8]) -> Result<(), NoRoom> {
        let length = u16::try_from(message.len()).map_err(|_| NoRoom)?;
        let fits = self.bytes.len() + BLOCK_PREFIX + message.len() <= self.limit;
        if !fits || self.count == MAX_COUNT {
            return Err(NoRoom);
        }
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(message);
        self.count += 1;
        self.bytes[18..HEADER_LENGTH].copy_from_slice(&self.count.to_be_bytes());
        Ok(())
    }

    /// The packet as it stands; without messages it is a heartbeat.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Messages so far.
    pub fn message_count(&self) -> u16 {
        self.count
    }

    /// Empties the packet; the next message will have the number after this packet's last.
    pub fn next_packet(&mut self) {
        let header = Header::decode(array_from(&self.bytes));
        let next = header.sequence_number + u64::from(self.count);
        self.bytes.clear();
        self.bytes.extend_from_slice(&encode_heartbeat(header.session, next));
        self.count = 0;
    }
}

fn array_from(bytes: &[u8]) -> &[u8; HEADER_LENGTH] {
    bytes.first_chunk().expect("a packet being built always begins with its header")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: [u8; 10] = *b"SESSION01 ";

    #[test]
    fn packs_up_to_the_limit_and_numbers_on() {
        let mut builder = PacketBuilder::new(SESSION, 7, HEADER_LENGTH + 10);
        assert_eq!(builder.push(b"one"), Ok(()));
        assert_eq!(builder.push(b"two"), Ok(()));
        assert_eq!(builder.push(b""), Err(NoRoom));
        let packet = decode(builder.bytes()).expect("built here");
        assert_eq!(packet.messages().collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!((packet.header().sequence_number, packet.next_sequence_number()), (7, 9));
        builder.next_packet();
        assert_eq!(builder.bytes(), encode_heartbeat(SESSION, 9));
        assert!(decode(builder.bytes()).is_ok_and(|packet| packet.is_heartbeat()));
    }

    #[test]
    fn reasons_carry_offsets() {
        let header = |count| Header { session: SESSION, sequence_number: 1, message_count: count }.encode().to_vec();
        let reason = |bytes: &[u8]| decode(bytes).expect_err("malformed");
        assert_eq!(reason(b"abc"), Malformed { offset: 0, reason: Reason::ShortHeader { found: 3 } });
        let short = Reason::ShortBlock { message: 0, needs: 2, found: 0 };
        assert_eq!(reason(&header(1)), Malformed { offset: 20, reason: short });
        let block = [header(2), b"\0\x01a\0\x05ab".to_vec()].concat();
        let short = Reason::ShortBlock { message: 1, needs: 7, found: 4 };
        assert_eq!(reason(&block), Malformed { offset: 23, reason: short });
        let after_end = [header(END_OF_SESSION), b"\0\0".to_vec()].concat();
        assert_eq!(reason(&after_end), Malformed { offset: 20, reason: Reason::LeftOver { bytes: 2 } });
        let mut last = Header { session: SESSION, sequence_number: u64::MAX, message_count: 1 }.encode().to_vec();
        last.extend_from_slice(b"\0\0");
        assert_eq!(reason(&last), Malformed { offset: 10, reason: Reason::SequenceOverflow });
    }

    #[test]
    fn a_request_asks_for_something() {
        let request = encode_request(SESSION, 5, 10);
        assert_eq!(decode_request(&request), Ok(Header { session: SESSION, sequence_number: 5, message_count: 10 }));
        for count in [0, END_OF_SESSION] {
            let bytes = Header { session: SESSION, sequence_number: 5, message_count: count }.encode();
            let refused = Err(Malformed { offset: 18, reason: Reason::RequestCount { count } });
            assert_eq!(decode_request(&bytes), refused);
        }
        assert!(decode_request(&[0; 21]).is_err());
    }
}
