//! What can be wrong with journal bytes, and the sentence that says so.

use std::fmt;

use crate::frame::{MAX_CONFIG_LEN, MAX_PAYLOAD_LEN, VERSION};

/// The place where the good part of a journal ends, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Of the first byte of the record that is not good; 0 for the header. All bytes before it are good.
    pub offset: u64,
    /// Index of that record: the configuration is 0.
    pub record: u64,
    /// Sequence number of the last input before it.
    pub last_good_seq: Option<u64>,
    /// What is wrong.
    pub kind: DamageKind,
}

/// The ways in which a journal can be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// Does not begin as a journal does.
    BadMagic,
    /// The header's bytes do not match their own check value.
    HeaderChanged,
    /// Written by a version that this one does not know.
    UnsupportedVersion(u32),
    /// The header asks for features that this version does not know.
    UnknownFlags(u32),
    /// The file ends inside the header or a record; lengths in bytes from `offset`.
    Truncated {
        /// Bytes that are there.
        have: u64,
        /// Bytes that the header, frame or record takes.
        need: u64,
    },
    /// Zeros where a record should begin: space reserved for a mapped file and never written.
    Unwritten,
    /// The payload's length cannot be, or is not the length of its kind.
    BadLength(u32),
    /// The payload does not match its chain value.
    ChainBroken,
    /// The payload's first byte names no kind of this version.
    UnknownKind(u8),
    /// A coded field holds a byte that stands for nothing.
    BadValue {
        /// The type of the field.
        what: &'static str,
        /// The byte.
        found: u8,
    },
    /// The first record is not the configuration.
    ConfigMissing,
    /// A second configuration.
    ConfigAgain,
    /// Inputs are missing, repeated or out of order.
    SeqGap {
        /// The next input's number.
        expected: u64,
        /// The number that stands there.
        found: u64,
    },
    /// An output of an input that was not yet read, or that lies before the input of the output before it.
    OutputOutOfOrder {
        /// The input that the output names.
        seq: u64,
        /// Inputs read so far.
        inputs: u64,
    },
    /// `End` counts other records than those that are there.
    CountsDiffer {
        /// Inputs according to `End`.
        inputs: u64,
        /// Outputs according to `End`.
        outputs: u64,
    },
    /// Bytes after `End`.
    AfterEnd,
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BadMagic => f.write_str("it does not begin as a Helios journal does; check the path"),
            Self::HeaderChanged => f.write_str("the header does not match its check value; fetch the file again"),
            Self::UnsupportedVersion(found) => {
                write!(
                    f,
                    "format version {found}, this program reads {VERSION}; use the Helios that wrote it or a newer one"
                )
            }
            Self::UnknownFlags(flags) => {
                write!(
                    f,
                    "header flags {flags:#x} are unknown to this program; use the Helios that wrote it or a newer one"
                )
            }
            Self::Truncated { have, need } => write!(f, "the file ends after {have} of {need} bytes"),
            Self::Unwritten => f.write_str("zeros from here on: the writer was stopped before it closed the file"),
            Self::BadLength(length) => write!(
                f,
                "a payload of {length} bytes is not possible here (1 to {MAX_PAYLOAD_LEN}, fixed for each kind; \
                 the configuration at most {})",
                MAX_CONFIG_LEN + 1
            ),
            Self::ChainBroken => f.write_str("the chain is broken: bytes were changed, or records lost or moved"),
            Self::UnknownKind(kind) => {
                write!(f, "record kind {kind:#04x} is unknown; a newer Helios may have written it")
            }
            Self::BadValue { what, found } => {
                write!(f, "{found:#04x} stands for no {what}; a newer Helios may have written it")
            }
            Self::ConfigMissing => f.write_str("the first record is not the configuration"),
            Self::ConfigAgain => f.write_str("a second configuration; a journal holds one run"),
            Self::SeqGap { expected, found } => write!(f, "input {found} stands where input {expected} belongs"),
            Self::OutputOutOfOrder { seq, inputs } => {
                write!(f, "an output of input {seq} does not belong after {inputs} inputs and the outputs before it")
            }
            Self::CountsDiffer { inputs, outputs } => {
                write!(f, "the end record counts {inputs} inputs and {outputs} outputs, the file holds others")
            }
            Self::AfterEnd => f.write_str("bytes after the end record; cut the file there"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, record, last_good_seq, kind } = self;
        write!(f, "journal damaged at byte {offset} (record {record}): {kind}. ")?;
        match last_good_seq {
            Some(seq) => {
                write!(f, "Records before byte {offset} are good, up to input {seq}; `helios replay` can use them.")
            }
            None => f.write_str("No input before it is good: there is nothing to replay."),
        }
    }
}

impl std::error::Error for Damage {}
