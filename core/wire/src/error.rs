//! What can be wrong with the bytes of one message.

use std::fmt;

/// Why bytes are not a message of the protocol. Nothing was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// No byte at all, not even the type.
    Empty,
    /// The first byte names no message of this protocol: skip it by the carrier's length.
    UnknownType(u8),
    /// The type is known and its length is another.
    WrongLength {
        /// The type byte.
        kind: u8,
        /// Bytes that a message of this type has.
        expected: usize,
        /// Bytes that there are.
        found: usize,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("empty message: not even a type byte"),
            Self::UnknownType(kind) => {
                write!(f, "unknown message type {}: skip the message or check the protocol version", shown(kind))
            }
            Self::WrongLength { kind, expected, found } => {
                write!(f, "message type {} has {found} bytes, expected {expected}", shown(kind))
            }
        }
    }
}

impl std::error::Error for WireError {}

/// A type byte for people: the letter and the number.
pub(crate) fn shown(kind: u8) -> String {
    format!("'{}' (0x{kind:02x})", kind.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_was_wrong() {
        let wrong = WireError::WrongLength { kind: b'A', expected: 36, found: 35 };
        assert_eq!(wrong.to_string(), "message type 'A' (0x41) has 35 bytes, expected 36");
        assert!(WireError::UnknownType(0).to_string().contains("'\\x00' (0x00)"));
    }
}
