//! The reading half: bytes in, records or the place of the damage out. It owns no file.

use helios_types::{Input, Output};

use crate::frame::{
    FRAME_LEN, HEADER_LEN, MAX_CONFIG_LEN, MAX_PAYLOAD_LEN, Position, begins_with_magic, check_header, link, u32_at,
    u64_at,
};
use crate::layout::{self, CONFIG, END, Get};
use crate::{Damage, DamageKind};

/// One record of a journal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record<'a> {
    /// What the run was: bytes of the caller, JSON in a run folder.
    Config(&'a [u8]),
    /// Something happened.
    Input(Input),
    /// The engine said something.
    Output {
        /// Sequence number of the input that caused it.
        seq: u64,
        /// What it said.
        output: Output,
    },
    /// The journal was closed.
    End(End),
}

/// The last record of a journal that was closed cleanly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Inputs in the journal; the reader has checked it.
    pub inputs: u64,
    /// Outputs in the journal; the reader has checked it.
    pub outputs: u64,
    /// Digest of the final state.
    pub digest: u128,
}

/// How a journal without damage ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// With its end record.
    Clean(End),
    /// Between two records: the run was stopped, or is still going on.
    NotClosed,
}

/// Reads a journal that arrives in pieces of any size, in flat memory: it keeps one piece and one record.
///
/// ```
/// use helios_journal::{Closing, Reader, Writer};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut writer = Writer::new(b"{}")?;
/// writer.end(7);
/// let mut reader = Reader::new();
/// for piece in writer.pending().chunks(10) {
///     reader.push(piece);
///     while let Some(record) = reader.next_record()? {
///         println!("{record:?}");
///     }
/// }
/// assert!(matches!(reader.finish()?, Closing::Clean(end) if end.digest == 7));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Reader {
    unread: Vec<u8>,
    /// Bytes at the front of `unread` that were read.
    taken: usize,
    scan: Scan,
    damage: Option<Damage>,
}

impl Reader {
    /// At the start of a journal.
    pub fn new() -> Self {
        Self { unread: Vec::new(), taken: 0, scan: Scan::new(), damage: None }
    }

    /// At a place between two records, where the next piece begins: nothing before it is read.
    pub fn resume(position: Position) -> Self {
        Self { unread: Vec::new(), taken: 0, scan: Scan { position, end: None }, damage: None }
    }

    /// Adds the next piece of the file. Read the records out before the next piece: pieces that are not read are kept.
    pub fn push(&mut self, bytes: &[u8]) {
        self.unread.drain(..self.taken);
        self.taken = 0;
        self.unread.extend_from_slice(bytes);
    }

    /// The next record; `None` when it is not whole yet. Damage is final: it is returned again and again.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, Damage> {
        if let Some(damage) = self.damage {
            return Err(damage);
        }
        match self.scan.record(&self.unread[self.taken..]) {
            Ok(Some((record, length))) => {
                self.taken += length;
                Ok(Some(record))
            }
            Ok(None) => Ok(None),
            Err(damage) => {
                self.damage = Some(damage);
                Err(damage)
            }
        }
    }

    /// The file ends here. Records that were pushed and not read are checked and passed over.
    pub fn finish(&mut self) -> Result<Closing, Damage> {
        while self.next_record()?.is_some() {}
        self.scan.close(&self.unread[self.taken..]).inspect_err(|&damage| self.damage = Some(damage))
    }

    /// The place after the last good record, also after damage: a writer can resume there. `None` before the
    /// configuration was read and after the end record.
    pub fn position(&self) -> Option<Position> {
        self.scan.resumable()
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads a journal that lies in memory as a whole (a mapped file), without copying.
///
/// After the last record, or after damage, the iterator is over; [`closing`](Self::closing) tells how it ended.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    scan: Scan,
    over: bool,
}

impl<'a> Records<'a> {
    /// At the start of `journal`.
    pub fn new(journal: &'a [u8]) -> Self {
        Self { rest: journal, scan: Scan::new(), over: false }
    }

    /// How the journal ended; `None` before the iterator is over and when it ended with damage.
    pub fn closing(&self) -> Option<Closing> {
        if self.over { self.scan.close(self.rest).ok() } else { None }
    }

    /// As [`Reader::position`].
    pub fn position(&self) -> Option<Position> {
        self.scan.resumable()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match self.scan.record(self.rest) {
            Ok(Some((record, length))) => {
                self.rest = &self.rest[length..];
                return Some(Ok(record));
            }
            Ok(None) => {}
            Err(damage) => {
                self.over = true;
                return Some(Err(damage));
            }
        }
        self.over = true;
        self.scan.close(self.rest).err().map(Err)
    }
}

/// The reader's state machine: a position and the rules. It owns no bytes.
#[derive(Clone, Debug)]
struct Scan {
    position: Position,
    end: Option<End>,
}

impl Scan {
    fn new() -> Self {
        Self { position: Position::START, end: None }
    }

    /// Reads the record at the front of `bytes` and returns it with the bytes it took; the first takes the header
    /// with it. `None` when it is not whole. Nothing changes unless a record is returned.
    #[inline]
    fn record<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(Record<'a>, usize)>, Damage> {
        let Some((start, body)) = self.after_header(bytes)? else { return Ok(None) };
        let Some((payload, chain)) = self.payload(start, body).map_err(|kind| damage(start, kind))? else {
            return Ok(None);
        };
        let mut next = start;
        let record = decode(&mut next, payload).map_err(|kind| damage(start, kind))?;
        next.pass(payload.len(), chain);
        if let Record::End(end) = record {
            self.end = Some(end);
        }
        let taken = next.offset - self.position.offset;
        self.position = next;
        Ok(Some((record, taken as usize)))
    }

    /// Where the next record begins, and the bytes from there. `None` when the header is not whole.
    #[inline]
    fn after_header<'a>(&self, bytes: &'a [u8]) -> Result<Option<(Position, &'a [u8])>, Damage> {
        if self.position.offset > 0 {
            return Ok(Some((self.position, bytes)));
        }
        let Some((header, body)) = bytes.split_first_chunk() else { return Ok(None) };
        let chain = check_header(header).map_err(|kind| damage(Position::START, kind))?;
        Ok(Some((Position::after_header(chain), body)))
    }

    /// The payload at the front of `bytes` and its chain value, checked. `None` when it is not whole.
    #[inline]
    fn payload<'a>(&self, start: Position, bytes: &'a [u8]) -> Result<Option<(&'a [u8], u64)>, DamageKind> {
        if self.end.is_some() {
            return if bytes.is_empty() { Ok(None) } else { Err(DamageKind::AfterEnd) };
        }
        let Some((frame, rest)) = bytes.split_first_chunk::<FRAME_LEN>() else { return Ok(None) };
        if frame == &[0; FRAME_LEN] {
            return Err(DamageKind::Unwritten);
        }
        let (length, chain) = (u32_at(frame, 0), u64_at(frame, 4));
        // Refused before the bytes are there, so that a damaged length cannot make a reader wait or buffer.
        let most = if start.records == 0 { 1 + MAX_CONFIG_LEN } else { MAX_PAYLOAD_LEN };
        if length == 0 || length as usize > most {
            return Err(DamageKind::BadLength(length));
        }
        let Some(payload) = rest.get(..length as usize) else { return Ok(None) };
        if link(payload, start.chain) != chain {
            return Err(DamageKind::ChainBroken);
        }
        Ok(Some((payload, chain)))
    }

    /// The file ends with `bytes`, which [`Scan::record`] has found to hold no whole record.
    fn close(&self, bytes: &[u8]) -> Result<Closing, Damage> {
        let Some((start, body)) = self.after_header(bytes)? else {
            let truncated = DamageKind::Truncated { have: bytes.len() as u64, need: HEADER_LEN as u64 };
            let kind = if begins_with_magic(bytes) { truncated } else { DamageKind::BadMagic };
            return Err(damage(Position::START, kind));
        };
        if !body.is_empty() {
            let length = body.split_first_chunk::<FRAME_LEN>().map_or(0, |(frame, _)| u64::from(u32_at(frame, 0)));
            let kind = DamageKind::Truncated { have: body.len() as u64, need: FRAME_LEN as u64 + length };
            return Err(damage(start, kind));
        }
        Ok(self.end.map_or(Closing::NotClosed, Closing::Clean))
    }

    fn resumable(&self) -> Option<Position> {
        (self.position.records > 0 && self.end.is_none()).then_some(self.position)
    }
}

/// Reads a payload whose bytes are known to be good, and counts it in `next`.
#[inline]
fn decode<'a>(next: &mut Position, payload: &'a [u8]) -> Result<Record<'a>, DamageKind> {
    let mut get = Get::new(payload);
    let kind = get.field()?;
    if (kind == CONFIG) != (next.records == 0) {
        return Err(if kind == CONFIG { DamageKind::ConfigAgain } else { DamageKind::ConfigMissing });
    }
    if kind == CONFIG {
        Ok(Record::Config(get.rest()))
    } else if kind == END {
        decode_end(next, &mut get).map(Record::End)
    } else if layout::is_output(kind) {
        let (seq, output) = layout::get_output(kind, &mut get)?;
        next.take_output(seq)?;
        Ok(Record::Output { seq, output })
    } else {
        let input = layout::get_input(kind, &mut get)?;
        next.take_input(input.seq)?;
        Ok(Record::Input(input))
    }
}

fn decode_end(position: &Position, get: &mut Get<'_>) -> Result<End, DamageKind> {
    let end = layout::get_end(get)?;
    if (end.inputs, end.outputs) != (position.inputs, position.outputs) {
        return Err(DamageKind::CountsDiffer { inputs: end.inputs, outputs: end.outputs });
    }
    Ok(end)
}

#[cold]
fn damage(start: Position, kind: DamageKind) -> Damage {
    Damage { offset: start.offset, record: start.records, last_good_seq: start.inputs.checked_sub(1), kind }
}

#[cfg(test)]
mod tests {
    use helios_types::{Control, Event, Input, Nanos};

    use super::*;
    use crate::Writer;

    #[test]
    fn memory_does_not_depend_on_the_length_of_the_file() {
        let mut writer = Writer::new(b"{}").unwrap();
        for seq in 0..20_000 {
            writer.input(&Input { seq, ts: Nanos(seq), event: Event::Control(Control::Resume) });
        }
        let mut reader = Reader::new();
        let mut records = 0;
        for piece in writer.pending().chunks(1000) {
            reader.push(piece);
            while reader.next_record().unwrap().is_some() {
                records += 1;
            }
        }
        assert_eq!((records, reader.finish()), (20_001, Ok(Closing::NotClosed)));
        assert!(reader.unread.capacity() < 4000, "{} bytes are kept", reader.unread.capacity());
    }

    #[test]
    fn a_damaged_length_is_refused_before_its_bytes_arrive() {
        let mut writer = Writer::new(b"{}").unwrap();
        let good = writer.bytes_written();
        writer.input(&Input { seq: 0, ts: Nanos(0), event: Event::Control(Control::Kill) });
        let mut bytes = writer.pending().to_vec();
        bytes[good as usize + 3] = 0x7F;
        let mut reader = Reader::new();
        reader.push(&bytes);
        assert!(matches!(reader.next_record(), Ok(Some(Record::Config(b"{}")))));
        let damage = reader.next_record().unwrap_err();
        assert_eq!((damage.offset, damage.kind), (good, DamageKind::BadLength(0x7F00_0018)));
        assert_eq!(reader.next_record(), Err(damage), "damage is final");
    }
}
