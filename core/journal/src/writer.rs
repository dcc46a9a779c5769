//! The writing half: records in, bytes out. It owns no file.

use std::fmt;

use helios_types::{Input, Output};

use crate::End;
use crate::frame::{FRAME_LEN, MAX_CONFIG_LEN, MAX_PAYLOAD_LEN, Position, frame, header, link};
use crate::layout::{self, CONFIG, Payload};

/// Room for one record.
const SLOT: usize = FRAME_LEN + MAX_PAYLOAD_LEN;
/// Room at the start; a caller that clears before this is full never causes an allocation.
const ROOM: usize = 1 << 18;

/// Appends records to a buffer that the caller moves to a file.
///
/// The caller takes [`pending`](Self::pending) and clears it whenever it likes, every 64 to 200 KiB for example, and
/// before outputs leave when a killed process must lose nothing. The buffer grows until it is cleared: nothing is
/// ever dropped. Once it has its size no record allocates.
///
/// A record out of order (an input number that is not the next, an output of an unknown input, anything after
/// `end`) is a mistake of the caller, and panics.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Written up to `filled`; what is behind it is room.
    buffer: Vec<u8>,
    filled: usize,
    position: Position,
    ended: bool,
}

/// The configuration is longer than [`MAX_CONFIG_LEN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigTooLong {
    /// Its length in bytes.
    pub length: usize,
}

impl fmt::Display for ConfigTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the run's configuration is {} bytes long, a journal takes {MAX_CONFIG_LEN}: \
             keep tables in files and name them in the configuration",
            self.length
        )
    }
}

impl std::error::Error for ConfigTooLong {}

impl Writer {
    /// A new journal: header and configuration are pending.
    pub fn new(config: &[u8]) -> Result<Self, ConfigTooLong> {
        if config.len() > MAX_CONFIG_LEN {
            return Err(ConfigTooLong { length: config.len() });
        }
        let (header, seed) = header();
        let mut payload = Vec::with_capacity(1 + config.len());
        payload.push(CONFIG);
        payload.extend_from_slice(config);
        let chain = link(&payload, seed);

        let mut position = Position::after_header(seed);
        position.pass(payload.len(), chain);
        let mut buffer = [&header[..], &frame(payload.len(), chain), &payload].concat();
        let filled = buffer.len();
        buffer.resize(filled + ROOM, 0);
        Ok(Self { buffer, filled, position, ended: false })
    }

    /// Goes on after the last good record of a journal, which [`Reader::position`](crate::Reader::position) tells.
    /// The caller first cuts the file to [`Position::offset`] bytes.
    pub fn resume(position: Position) -> Self {
        Self { buffer: vec![0; ROOM], filled: 0, position, ended: false }
    }

    /// Appends an input.
    #[inline]
    pub fn input(&mut self, input: &Input) {
        if let Err(order) = self.position.take_input(input.seq) {
            panic!("journal: {order}; give every input to the writer once, in order");
        }
        self.append(|payload| layout::put_input(payload, input));
    }

    /// Appends an output of input `seq`.
    #[inline]
    pub fn output(&mut self, seq: u64, output: &Output) {
        if let Err(order) = self.position.take_output(seq) {
            panic!("journal: {order}; write an input before its outputs");
        }
        self.append(|payload| layout::put_output(payload, seq, output));
    }

    /// Closes the journal with the digest of the final state. Nothing can be appended after it.
    pub fn end(&mut self, digest: u128) {
        let Position { inputs, outputs, .. } = self.position;
        self.append(|payload| layout::put_end(payload, End { inputs, outputs, digest }));
        self.ended = true;
    }

    /// Bytes that are not yet in the file; they belong at its end.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// The pending bytes are in the file.
    pub fn clear_pending(&mut self) {
        self.filled = 0;
    }

    /// Length of the whole file, pending bytes included.
    pub const fn bytes_written(&self) -> u64 {
        self.position.offset
    }

    /// Inputs so far; also the next input's sequence number.
    pub const fn inputs(&self) -> u64 {
        self.position.inputs
    }

    /// Outputs so far.
    pub const fn outputs(&self) -> u64 {
        self.position.outputs
    }

    /// Where the next record will begin, as [`Reader::position`](crate::Reader::position) will tell it; `None` after
    /// the end record.
    pub const fn position(&self) -> Option<Position> {
        if self.ended { None } else { Some(self.position) }
    }

    #[inline(always)]
    fn append(&mut self, fill: impl FnOnce(&mut Payload) -> usize) {
        assert!(!self.ended, "journal: nothing can be appended after the end record; start a new journal");
        if self.buffer.len() - self.filled < SLOT {
            self.grow();
        }
        let slot = &mut self.buffer[self.filled..self.filled + SLOT];
        let (head, tail) = slot.split_first_chunk_mut::<FRAME_LEN>().expect("a slot holds a frame");
        let body = tail.first_chunk_mut::<MAX_PAYLOAD_LEN>().expect("a slot holds a payload");
        let length = fill(body);
        let chain = link(&body[..length], self.position.chain);
        *head = frame(length, chain);
        self.filled += FRAME_LEN + length;
        self.position.pass(length, chain);
    }

    #[cold]
    fn grow(&mut self) {
        self.buffer.resize(self.buffer.len() * 2, 0);
    }
}

#[cfg(test)]
mod tests {
    use helios_types::{Control, Event, Nanos};

    use super::*;

    fn input(seq: u64) -> Input {
        Input { seq, ts: Nanos(0), event: Event::Control(Control::Pause) }
    }

    #[test]
    fn no_record_allocates_once_the_buffer_has_its_size() {
        let mut writer = Writer::new(b"{}").unwrap();
        writer.clear_pending();
        let place = writer.pending().as_ptr();
        for seq in 0..10_000 {
            writer.input(&input(seq));
            if writer.pending().len() > ROOM / 2 {
                writer.clear_pending();
            }
        }
        assert_eq!(writer.pending().as_ptr(), place);
        assert_eq!(writer.inputs(), 10_000);
    }

    #[test]
    fn pending_grows_when_nobody_clears_it() {
        let mut writer = Writer::new(b"{}").unwrap();
        for seq in 0..20_000 {
            writer.input(&input(seq));
        }
        assert!(writer.pending().len() > ROOM);
        assert_eq!(writer.pending().len() as u64, writer.bytes_written());
    }

    #[test]
    fn a_configuration_has_a_limit() {
        assert!(Writer::new(&vec![0; MAX_CONFIG_LEN]).is_ok());
        let refused = Writer::new(&vec![0; MAX_CONFIG_LEN + 1]).unwrap_err();
        assert!(refused.to_string().contains("16777217 bytes long, a journal takes 16777216"));
    }

    #[test]
    #[should_panic(expected = "input 1 stands where input 0 belongs")]
    fn a_skipped_input_panics() {
        Writer::new(b"").unwrap().input(&input(1));
    }

    #[test]
    #[should_panic(expected = "write an input before its outputs")]
    fn an_output_before_its_input_panics() {
        let cancel = Output::Cancel { order: Default::default(), instrument: Default::default() };
        Writer::new(b"").unwrap().output(0, &cancel);
    }

    #[test]
    #[should_panic(expected = "nothing can be appended after the end record")]
    fn a_record_after_the_end_panics() {
        let mut writer = Writer::new(b"").unwrap();
        writer.end(0);
        writer.input(&input(0));
    }
}
