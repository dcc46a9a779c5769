//! Messages in a byte stream: each preceded by its length (the "BinaryFILE" form of daily files).
//!
//! [`Frames`] cuts a slice into messages without copying. For a stream, give it a chunk, take its messages, keep the
//! bytes from [`Frames::consumed`] on and put the next chunk behind them. A zero length is the end-of-session
//! marker. What stands behind the last whole message is a [`Tail`]. Absent: the messages' meaning.

use std::fmt;

use crate::itch;

/// Bytes of the length in front of each message.
pub const PREFIX: usize = 2;

/// How the length of a message is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Two bytes, big-endian, count the bytes that follow.
    #[default]
    LengthPrefixed,
    /// The two bytes are there and mean nothing (some published files have zeros); the message's ITCH 5.0 type
    /// gives its length. There is no end marker, and an unknown type cannot be passed over.
    ByType,
}

impl Framing {
    /// Which form a file has, by its first bytes: [`Framing::ByType`] when a zero length is followed by a message
    /// whose type is known and behind which the next zero length stands. Give it at least 64 bytes, or the file.
    pub fn detect(start: &[u8]) -> Self {
        let by_type = || {
            let (prefix, rest) = start.split_first_chunk::<PREFIX>()?;
            let length = usize::from(itch::LENGTHS[usize::from(*rest.first()?)]);
            let next = rest.get(length..)?;
            let zero_next = next.is_empty() || next.starts_with(&[0, 0]);
            Some(*prefix == [0, 0] && length > 0 && zero_next)
        };
        if by_type() == Some(true) { Self::ByType } else { Self::LengthPrefixed }
    }
}

/// What stands behind the last whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// The end-of-session marker; more bytes may follow it.
    EndOfSession {
        /// Where the marker begins.
        offset: u64,
    },
    /// Part of a message: wait for more, or at the end of a file, a truncated one.
    Partial {
        /// Where the part begins, at its length.
        offset: u64,
        /// Bytes of it that are there.
        present: usize,
        /// Bytes that are missing; when not even length and type are there, at least so many.
        missing: usize,
    },
    /// [`Framing::ByType`] met a type without a known length.
    UnknownType {
        /// Where the message begins, at its length.
        offset: u64,
        /// The type byte.
        kind: u8,
    },
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Clean => f.write_str("ends with a whole message"),
            Self::EndOfSession { offset } => write!(f, "end-of-session marker at offset {offset}"),
            Self::Partial { offset, present, missing } => write!(
                f,
                "truncated: the message at offset {offset} has {present} bytes and lacks at least {missing}; \
                 everything before it is whole"
            ),
            Self::UnknownType { offset, kind } => write!(
                f,
                "the message at offset {offset} has unknown type {}, so its length is not known: use the \
                 length-prefixed form if the file has lengths",
                crate::error::shown(kind)
            ),
        }
    }
}

/// The whole messages of a slice, in order, without their lengths.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    rest: &'a [u8],
    base: u64,
    framing: Framing,
    /// Length of the message at the start of `rest`, zero for none: read one message early, so that it is at hand
    /// when the branch that the last message's type took turns out to be mispredicted.
    length: usize,
}

impl<'a> Frames<'a> {
    /// Over a slice that is the start of a stream.
    pub fn new(bytes: &'a [u8], framing: Framing) -> Self {
        Self::at(bytes, framing, 0)
    }

    /// Over a slice that begins `base` bytes into the stream, so that offsets are those of the stream.
    pub fn at(bytes: &'a [u8], framing: Framing, base: u64) -> Self {
        Self { bytes, rest: bytes, base, framing, length: upcoming(bytes, framing) }
    }

    /// Bytes of the slice that need not be given again: all before what [`Frames::tail`] describes.
    #[inline]
    pub fn consumed(&self) -> usize {
        self.bytes.len() - self.rest.len()
    }

    /// Where the next message begins in the stream.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.base + self.consumed() as u64
    }

    /// The bytes behind the last message given out. To look ahead, clone the iterator instead.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What follows the last message, once there are no more. While there are, it describes the next one, with
    /// nothing missing.
    pub fn tail(&self) -> Tail {
        let (offset, present) = (self.offset(), self.rest.len());
        let partial = |whole: usize| Tail::Partial { offset, present, missing: whole.saturating_sub(present) };
        match (self.framing, self.rest) {
            (_, []) => Tail::Clean,
            (Framing::LengthPrefixed, [0, 0, ..]) => Tail::EndOfSession { offset },
            (Framing::ByType, [_, _, kind, ..]) if self.length == 0 => Tail::UnknownType { offset, kind: *kind },
            (Framing::LengthPrefixed, [_, _, ..]) | (Framing::ByType, [_, _, _, ..]) => partial(PREFIX + self.length),
            (Framing::LengthPrefixed, _) => partial(PREFIX),
            (Framing::ByType, _) => partial(PREFIX + 1),
        }
    }
}

/// The length of the message at the start of `rest`; zero for the end marker and when it is not known.
#[inline(always)]
fn upcoming(rest: &[u8], framing: Framing) -> usize {
    match framing {
        Framing::LengthPrefixed => rest.first_chunk().map_or(0, |prefix| usize::from(u16::from_be_bytes(*prefix))),
        Framing::ByType => by_type(rest),
    }
}

// Not inlined: the common form's loop stays small.
#[inline(never)]
fn by_type(rest: &[u8]) -> usize {
    rest.get(PREFIX).map_or(0, |kind| usize::from(itch::LENGTHS[usize::from(*kind)]))
}

/// How far ahead of the messages their bytes are asked for. The processor does so by itself only within a page.
const STREAM_AHEAD: usize = 2048;

/// Asks the processor to load the bytes of coming messages; has no effect on any result.
#[inline(always)]
#[allow(unsafe_code)]
fn fetch_ahead(rest: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes no memory, so the address need not be inside the slice.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(rest.as_ptr().wrapping_add(STREAM_AHEAD).cast::<i8>());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = rest;
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.length == 0 {
            return None;
        }
        fetch_ahead(self.rest);
        let (message, rest) = self.rest.get(PREFIX..)?.split_at_checked(self.length)?;
        self.rest = rest;
        self.length = upcoming(rest, self.framing);
        Some(message)
    }
}

/// Appends one message with its length. Panics for an empty message and for one of more than 65,535 bytes: the
/// first would read as the end of the session, the second has no length.
#[inline]
pub fn append(message: &[u8], out: &mut Vec<u8>) {
    assert!(!message.is_empty(), "an empty message cannot be framed: its length would be the end-of-session marker");
    let length = u16::try_from(message.len()).expect("a framed message has at most 65,535 bytes");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
}

/// Appends the end-of-session marker.
pub fn append_end(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; PREFIX]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_messages_and_stops_at_the_marker() {
        let mut bytes = Vec::new();
        append(b"one", &mut bytes);
        append(b"two!", &mut bytes);
        append_end(&mut bytes);
        bytes.extend_from_slice(b"\0\x01x");
        let mut frames = Frames::at(&bytes, Framing::LengthPrefixed, 100);
        let messages: Vec<&[u8]> = frames.by_ref().collect();
        assert_eq!(messages, [b"one".as_slice(), b"two!"]);
        assert_eq!(frames.tail(), Tail::EndOfSession { offset: 111 });
        assert_eq!(frames.next(), None);
        let after = &frames.rest()[PREFIX..];
        assert_eq!(Frames::new(after, Framing::LengthPrefixed).collect::<Vec<_>>(), [b"x"]);
    }

    #[test]
    fn a_cut_tail_says_where_and_how_much() {
        let partial = |bytes: &[u8], framing| {
            let mut frames = Frames::new(bytes, framing);
            while frames.next().is_some() {}
            frames.tail()
        };
        let lengths = Framing::LengthPrefixed;
        assert_eq!(partial(b"", lengths), Tail::Clean);
        let waiting = Frames::new(b"\0\x01xy", lengths).tail();
        assert_eq!(waiting, Tail::Partial { offset: 0, present: 4, missing: 0 });
        assert_eq!(partial(b"\0\x01x", lengths), Tail::Clean);
        assert_eq!(partial(b"\0", lengths), Tail::Partial { offset: 0, present: 1, missing: 1 });
        assert_eq!(partial(b"\0\x01x\0\x05ab", lengths), Tail::Partial { offset: 3, present: 4, missing: 3 });
        assert_eq!(partial(b"\0\0", Framing::ByType), Tail::Partial { offset: 0, present: 2, missing: 1 });
        assert_eq!(partial(b"\0\0D", Framing::ByType), Tail::Partial { offset: 0, present: 3, missing: 18 });
        assert_eq!(partial(b"\0\0z", Framing::ByType), Tail::UnknownType { offset: 0, kind: b'z' });
    }

    #[test]
    fn by_type_takes_the_length_from_the_type_and_is_detected() {
        let mut bytes = Vec::new();
        for letter in *b"SDS" {
            bytes.extend_from_slice(&[0, 0, letter]);
            bytes.resize(bytes.len() + usize::from(itch::LENGTHS[usize::from(letter)]) - 1, b'.');
        }
        assert_eq!(Framing::detect(&bytes), Framing::ByType);
        let lengths: Vec<usize> = Frames::new(&bytes, Framing::ByType).map(<[u8]>::len).collect();
        assert_eq!(lengths, [12, 19, 12]);
        let ended_at_once = b"\0\0";
        let prefixed = b"\0\x0cS...........";
        assert_eq!(Framing::detect(ended_at_once), Framing::LengthPrefixed);
        assert_eq!(Framing::detect(prefixed), Framing::LengthPrefixed);
    }

    #[test]
    #[should_panic(expected = "end-of-session marker")]
    fn an_empty_message_is_our_mistake() {
        append(b"", &mut Vec::new());
    }
}
