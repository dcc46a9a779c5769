//! Header, frame and chain: how payloads become a file, and the rules of their order.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::DamageKind;

/// The format that this crate writes.
pub const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_LEN: usize = 24;
/// Bytes before each payload.
pub const FRAME_LEN: usize = 12;
/// Longest payload of any record but the configuration, in bytes.
pub const MAX_PAYLOAD_LEN: usize = 128;
/// Bytes of a [`Position`].
pub const POSITION_LEN: usize = 48;
/// Bytes before a position that say whether it is one.
pub const BEFORE_LEN: usize = 2 * (FRAME_LEN + MAX_PAYLOAD_LEN);
/// Longest configuration, in bytes (16 MiB). A reader holds it whole.
pub const MAX_CONFIG_LEN: usize = 1 << 24;

/// As in PNG: a byte above ASCII, the name, and line ends that a text-mode transfer would change.
const MAGIC: [u8; 8] = [0x89, b'H', b'L', b'J', b'\r', b'\n', 0x1A, b'\n'];

/// The header of this version, and the chain value that seeds the first record.
pub(crate) fn header() -> ([u8; HEADER_LEN], u64) {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let chain = xxh3_64(&header[..16]);
    header[16..].copy_from_slice(&chain.to_le_bytes());
    (header, chain)
}

/// Checks a header and returns the first chain value. The header's form is the same in every version.
pub(crate) fn check_header(header: &[u8; HEADER_LEN]) -> Result<u64, DamageKind> {
    let (version, flags) = (u32_at(header, 8), u32_at(header, 12));
    let chain = u64_at(header, 16);
    if header[..8] != MAGIC {
        Err(DamageKind::BadMagic)
    } else if xxh3_64(&header[..16]) != chain {
        Err(DamageKind::HeaderChanged)
    } else if version != VERSION {
        Err(DamageKind::UnsupportedVersion(version))
    } else if flags != 0 {
        Err(DamageKind::UnknownFlags(flags))
    } else {
        Ok(chain)
    }
}

/// True when `bytes`, as far as they go, begin as a journal does.
pub(crate) fn begins_with_magic(bytes: &[u8]) -> bool {
    bytes.iter().zip(MAGIC).all(|(&byte, magic)| byte == magic)
}

/// The chain value of `payload` after `chain`.
#[inline]
pub(crate) fn link(payload: &[u8], chain: u64) -> u64 {
    xxh3_64_with_seed(payload, chain)
}

/// The frame that stands before a payload of `length` bytes.
#[inline]
pub(crate) fn frame(length: usize, chain: u64) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    frame[4..].copy_from_slice(&chain.to_le_bytes());
    frame
}

/// Little-endian u32 at a constant place.
#[inline]
pub(crate) fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Little-endian u64 at a constant place.
#[inline]
pub(crate) fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// A place between two records: what came before it, and all that a writer needs to go on from it.
///
/// It is got from a reader or a writer, so its chain value is that of real records; one that was kept elsewhere
/// ([`Position::from_bytes`]) is to be held against the file ([`Position::is_after`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub(crate) offset: u64,
    pub(crate) chain: u64,
    pub(crate) records: u64,
    pub(crate) inputs: u64,
    pub(crate) outputs: u64,
    /// The input that the last output answered.
    answered: u64,
}

impl Position {
    /// The first byte of the file.
    pub(crate) const START: Self = Self { offset: 0, chain: 0, records: 0, inputs: 0, outputs: 0, answered: 0 };

    /// As bytes, to be kept beside a snapshot.
    pub fn to_bytes(&self) -> [u8; POSITION_LEN] {
        let mut bytes = [0; POSITION_LEN];
        let fields = [self.offset, self.chain, self.records, self.inputs, self.outputs, self.answered];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// What [`Position::to_bytes`] made bytes of. Whether it is a place of some journal, [`Position::is_after`] says.
    pub fn from_bytes(bytes: &[u8; POSITION_LEN]) -> Self {
        let field = |at: usize| u64_at(bytes, 8 * at);
        let [offset, chain, records, inputs, outputs, answered] = [0, 1, 2, 3, 4, 5].map(field);
        Self { offset, chain, records, inputs, outputs, answered }
    }

    /// True when the bytes just before it in the file, [`BEFORE_LEN`] of them or as many as there are, end with the
    /// record that its chain value is of, and that one is whole. The places behind the first two records are no such
    /// ones: begin at the start.
    pub fn is_after(&self, before: &[u8]) -> bool {
        if self.records < 3 || self.inputs == 0 || self.answered >= self.inputs {
            return false;
        }
        records_at_end(before).any(|(record, chain, payload)| {
            chain == self.chain && records_at_end(record).any(|(_, chain, _)| link(payload, chain) == self.chain)
        })
    }

    /// The first byte after the header whose chain value is `chain`.
    pub(crate) const fn after_header(chain: u64) -> Self {
        Self { offset: HEADER_LEN as u64, chain, ..Self::START }
    }

    /// In bytes from the start of the file: the next record begins here.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Records before here, the configuration included.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Inputs before here; also the next input's sequence number.
    pub const fn inputs(&self) -> u64 {
        self.inputs
    }

    /// Outputs before here.
    pub const fn outputs(&self) -> u64 {
        self.outputs
    }

    /// Chain value of the last record: a fingerprint of every byte before here.
    pub const fn chain(&self) -> u64 {
        self.chain
    }

    /// An input is the next one.
    #[inline]
    pub(crate) fn take_input(&mut self, seq: u64) -> Result<(), DamageKind> {
        if seq != self.inputs {
            return Err(DamageKind::SeqGap { expected: self.inputs, found: seq });
        }
        self.inputs += 1;
        Ok(())
    }

    /// An output answers an input that is there, and the answers stand in the order of the inputs.
    #[inline]
    pub(crate) fn take_output(&mut self, seq: u64) -> Result<(), DamageKind> {
        if seq >= self.inputs || seq < self.answered {
            return Err(DamageKind::OutputOutOfOrder { seq, inputs: self.inputs });
        }
        self.answered = seq;
        self.outputs += 1;
        Ok(())
    }

    /// One record of `length` payload bytes is behind us.
    #[inline]
    pub(crate) fn pass(&mut self, length: usize, chain: u64) {
        self.offset += (FRAME_LEN + length) as u64;
        self.chain = chain;
        self.records += 1;
    }
}

/// What may be the record that ends with `bytes`, by its length: what is before it, its chain value and its payload.
fn records_at_end(bytes: &[u8]) -> impl Iterator<Item = (&[u8], u64, &[u8])> {
    (8..=MAX_PAYLOAD_LEN).step_by(8).filter_map(|length| {
        let (before, record) = bytes.split_at_checked(bytes.len().checked_sub(FRAME_LEN + length)?)?;
        let (head, payload) = record.split_first_chunk::<FRAME_LEN>()?;
        (u32_at(head, 0) as usize == length).then(|| (before, u64_at(head, 4), payload))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with other bytes in it and a check value that is right for them.
    fn checked(at: usize, bytes: &[u8]) -> [u8; HEADER_LEN] {
        let (mut header, _) = header();
        header[at..at + bytes.len()].copy_from_slice(bytes);
        let chain = xxh3_64(&header[..16]);
        header[16..].copy_from_slice(&chain.to_le_bytes());
        header
    }

    #[test]
    fn a_header_of_the_future_is_told_from_a_damaged_one() {
        assert_eq!(check_header(&checked(8, &[9])), Err(DamageKind::UnsupportedVersion(9)));
        assert_eq!(check_header(&checked(12, &[4])), Err(DamageKind::UnknownFlags(4)));
        assert_eq!(check_header(&checked(1, b"P")), Err(DamageKind::BadMagic));
        let (mut damaged, _) = header();
        damaged[8] = 9;
        assert_eq!(check_header(&damaged), Err(DamageKind::HeaderChanged));
    }

    #[test]
    fn the_chain_depends_on_everything_before() {
        let (_, seed) = header();
        assert_eq!(check_header(&header().0), Ok(seed));
        assert_ne!(link(b"ab", link(b"c", seed)), link(b"c", link(b"ab", seed)));
        assert_ne!(link(b"a", seed), link(b"a", seed ^ 1));
    }

    #[test]
    fn a_place_is_known_by_the_whole_record_before_it() {
        let mut writer = crate::Writer::new(b"{}").unwrap();
        let control = helios_types::Event::Control(helios_types::Control::Pause);
        let mut places = Vec::new();
        for seq in 0..6 {
            writer.input(&helios_types::Input { seq, ts: helios_types::Nanos(seq), event: control });
            writer.output(
                seq,
                &helios_types::Output::Cancel { order: Default::default(), instrument: Default::default() },
            );
            places.push(writer.position().unwrap());
        }
        let journal = writer.pending();
        for (n, place) in places.iter().enumerate() {
            assert_eq!(Position::from_bytes(&place.to_bytes()), *place);
            let end = place.offset as usize;
            let before = &journal[end.saturating_sub(BEFORE_LEN)..end];
            assert!(place.is_after(before), "{n}");
            assert!(places.iter().all(|other| other == place || !other.is_after(before)));
            // Any byte of the last record, its frame included.
            let length = records_at_end(before).find(|(_, chain, _)| *chain == place.chain).unwrap().2.len();
            for at in end.min(before.len()) - length - FRAME_LEN..before.len() {
                let mut torn = before.to_vec();
                torn[at] ^= 1;
                assert!(!place.is_after(&torn), "byte {at} of {}", before.len());
            }
        }
        assert!(!crate::Writer::new(b"{}").unwrap().position().unwrap().is_after(journal));
    }
}
