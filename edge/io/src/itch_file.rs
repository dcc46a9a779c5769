//! A day of ITCH messages, streamed: plain or gzip "BinaryFILE", or MoldUDP64 packets in a pcap file.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use helios_wire::frame::{Frames, Framing, Tail};
use helios_wire::{WireError, moldudp64, pcap};

use crate::source::SourceError;

/// Bytes read at once; a message is at most 64 KiB, so each read completes at least one.
const CHUNK: usize = 1 << 18;
/// Messages cut at once: enough for a look-ahead, few enough to stay in the first cache.
const BATCH: usize = 256;
/// A capture is read whole; beyond this it must be cut.
const MAX_PCAP: u64 = 1 << 31;

/// What was wrong with a file, without stopping it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The file is empty, ends in the middle of a message, goes on behind its end marker, or is a damaged archive.
    pub truncated: Option<String>,
    /// Messages of a type that is not in the specification: how many, and the first.
    pub unknown_type: (u64, Option<String>),
    /// Messages whose length is not that of their type: how many, and the first.
    pub wrong_length: (u64, Option<String>),
    /// Packets that are no MoldUDP64 packets, and messages lost between packets (captures only).
    pub packets: (u64, Option<String>),
}

impl Faults {
    /// Number of faults.
    pub fn count(&self) -> u64 {
        u64::from(self.truncated.is_some()) + self.unknown_type.0 + self.wrong_length.0 + self.packets.0
    }

    /// One line each.
    pub fn describe(&self) -> Vec<String> {
        let counted = |(count, first): &(u64, Option<String>)| {
            first
                .as_ref()
                .map(|first| if *count == 1 { first.clone() } else { format!("{first} (and {} more)", count - 1) })
        };
        [self.truncated.clone(), counted(&self.unknown_type), counted(&self.wrong_length), counted(&self.packets)]
            .into_iter()
            .flatten()
            .collect()
    }
}

fn tally(fault: &mut (u64, Option<String>), first: impl FnOnce() -> String) {
    fault.0 += 1;
    if fault.1.is_none() {
        fault.1 = Some(first());
    }
}

/// Some consecutive messages.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
}

impl Batch {
    /// Number of messages.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True without messages.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// One message's bytes, without its length.
    #[inline]
    pub fn message(&self, at: usize) -> &[u8] {
        &self.bytes[self.ranges[at].clone()]
    }
}

/// Counts what passes through, so that progress is known for compressed files too.
struct Counted<R> {
    inner: R,
    seen: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.seen.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// An open file. Memory use does not depend on its length (captures excepted).
pub struct ItchFile {
    path: PathBuf,
    reader: Box<dyn Read + Send>,
    size: u64,
    seen: Arc<AtomicU64>,
    framing: Option<Framing>,
    batch: Batch,
    /// Bytes of the batch's buffer that were cut already.
    used: usize,
    /// Position in the (uncompressed) stream of the buffer's first byte.
    base: u64,
    ended: bool,
    faults: Faults,
}

impl ItchFile {
    /// Opens a file and finds out what it is.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let fail = |error: &std::io::Error| SourceError::io(path, error);
        let mut file = File::open(path).map_err(|e| fail(&e))?;
        let size = file.metadata().map_err(|e| fail(&e))?.len();
        let mut magic = [0; 4];
        let (got, error) = read_up_to(&mut file, &mut magic);
        if let Some(error) = error {
            return Err(fail(&error));
        }
        let seen = Arc::new(AtomicU64::new(0));
        let whole = std::io::Cursor::new(magic[..got].to_vec()).chain(file);
        let counted = Counted { inner: whole, seen: Arc::clone(&seen) };
        let mut faults = Faults::default();
        let reader: Box<dyn Read + Send> = match magic {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(BufReader::with_capacity(CHUNK, counted))),
            _ if is_capture(magic) => {
                if size > MAX_PCAP {
                    let message =
                        format!("a capture of {size} bytes is too large (limit {MAX_PCAP}): cut it into parts");
                    return Err(SourceError { source: path.display().to_string(), message });
                }
                let mut bytes = Vec::new();
                let mut counted = counted;
                counted.read_to_end(&mut bytes).map_err(|e| fail(&e))?;
                Box::new(std::io::Cursor::new(messages_of_capture(&bytes, &mut faults)))
            }
            _ => Box::new(counted),
        };
        let batch = Batch { bytes: Vec::with_capacity(CHUNK * 2), ranges: Vec::with_capacity(BATCH) };
        Ok(Self {
            path: path.to_owned(),
            reader,
            size,
            seen,
            framing: None,
            batch,
            used: 0,
            base: 0,
            ended: false,
            faults,
        })
    }

    /// The messages that [`ItchFile::advance`] cut last.
    #[inline]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Cuts the next messages; false at the end.
    pub fn advance(&mut self) -> Result<bool, SourceError> {
        self.batch.ranges.clear();
        loop {
            if self.cut() {
                return Ok(true);
            }
            if self.ended {
                return Ok(false);
            }
            if !self.fill()? {
                self.end();
                return Ok(!self.batch.is_empty());
            }
        }
    }

    /// Cuts up to [`BATCH`] messages from what was read; true when there is at least one.
    fn cut(&mut self) -> bool {
        let rest = &self.batch.bytes[self.used..];
        let Some(framing) = self.framing else { return false };
        let mut frames = Frames::at(rest, framing, self.base + self.used as u64);
        while self.batch.ranges.len() < BATCH {
            let Some(message) = frames.next() else { break };
            let end = self.used + frames.consumed();
            self.batch.ranges.push(end - message.len()..end);
        }
        if self.batch.ranges.is_empty()
            && let Tail::EndOfSession { .. } | Tail::UnknownType { .. } = frames.tail()
        {
            // Nothing can be cut behind it.
            self.ended = true;
            match frames.tail() {
                tail @ Tail::UnknownType { .. } => tally(&mut self.faults.unknown_type, || tail.to_string()),
                Tail::EndOfSession { offset } if frames.rest().iter().any(|byte| *byte != 0) => {
                    self.faults.truncated = Some(format!(
                        "the end-of-session marker (a zero length) stands at offset {offset}, but bytes follow it; they \
                         were not read"
                    ));
                }
                _ => {}
            }
        }
        self.used += frames.consumed();
        !self.batch.ranges.is_empty()
    }

    /// Reads more behind what is left; false at the end of the file.
    fn fill(&mut self) -> Result<bool, SourceError> {
        self.batch.bytes.drain(..self.used);
        self.base += self.used as u64;
        self.used = 0;
        let have = self.batch.bytes.len();
        self.batch.bytes.resize(have + CHUNK, 0);
        let (got, error) = read_up_to(&mut self.reader, &mut self.batch.bytes[have..]);
        self.batch.bytes.truncate(have + got);
        match error {
            Some(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::InvalidInput | ErrorKind::InvalidData
                ) =>
            {
                let offset = self.base + (have + got) as u64;
                self.faults.truncated.get_or_insert_with(|| {
                    format!("the compressed stream is damaged after offset {offset}: {error}; fetch the file again")
                });
            }
            // What came before it goes first; a device that fails, fails again.
            Some(error) if got == 0 => return Err(SourceError::io(&self.path, &error)),
            _ => {}
        }
        if self.framing.is_none() && got > 0 {
            self.framing = Some(Framing::detect(&self.batch.bytes));
        }
        Ok(got > 0)
    }

    fn end(&mut self) {
        self.ended = true;
        let framing = self.framing.unwrap_or_default();
        let tail = Frames::at(&self.batch.bytes[self.used..], framing, self.base + self.used as u64).tail();
        match tail {
            Tail::Partial { .. } if self.faults.truncated.is_none() => self.faults.truncated = Some(tail.to_string()),
            Tail::Clean if self.framing.is_none() && self.faults.count() == 0 => {
                self.faults.truncated = Some("the file is empty".to_owned());
            }
            _ => {}
        }
    }

    /// Where a message of the batch begins in the (uncompressed) stream, behind its length.
    #[inline]
    pub fn offset(&self, at: usize) -> u64 {
        self.base + self.batch.ranges[at].start as u64
    }

    /// A file without a single good message is another sort of file.
    pub(crate) fn not_itch(&self) -> SourceError {
        let why = self.faults.describe().into_iter().next().unwrap_or_else(|| "it has no messages at all".to_owned());
        SourceError {
            source: self.path.display().to_string(),
            message: format!(
                "no ITCH 5.0 message is in it: {why}. Give a TotalView-ITCH 5.0 daily file (plain or gzip) or a capture of \
                 MoldUDP64 packets (pcap)"
            ),
        }
    }

    /// Counts a message that could not be decoded.
    pub fn note(&mut self, at: usize, error: WireError) {
        let offset = self.offset(at);
        let fault = match error {
            WireError::UnknownType(_) => &mut self.faults.unknown_type,
            _ => &mut self.faults.wrong_length,
        };
        tally(fault, || format!("message at offset {offset}: {error}; it was skipped"));
    }

    /// What was wrong so far.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// How much of the file was read, 0 to 1.
    pub fn progress(&self) -> f64 {
        if self.ended || self.size == 0 { 1.0 } else { self.seen.load(Ordering::Relaxed) as f64 / self.size as f64 }
    }
}

/// Fills as much of the buffer as the reader has; what came before a damaged place is good.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<std::io::Error>) {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(error)),
        }
    }
    (filled, None)
}

fn is_capture(magic: [u8; 4]) -> bool {
    let classic = [[0xA1, 0xB2, 0xC3, 0xD4], [0xA1, 0xB2, 0x3C, 0x4D]];
    let reversed = |mut magic: [u8; 4]| {
        magic.reverse();
        magic
    };
    magic == [0x0A, 0x0D, 0x0D, 0x0A] || classic.contains(&magic) || classic.contains(&reversed(magic))
}

/// The messages of a capture's MoldUDP64 packets, framed as in a daily file.
fn messages_of_capture(bytes: &[u8], faults: &mut Faults) -> Vec<u8> {
    let mut out = Vec::new();
    let capture = match pcap::Capture::new(bytes) {
        Ok(capture) => capture,
        Err(error) => {
            faults.truncated = Some(error.to_string());
            return out;
        }
    };
    let mut due: Option<u64> = None;
    for item in capture {
        let packet = match item {
            Ok(pcap::Item::Packet(packet)) if packet.transport == pcap::Transport::Udp => packet,
            Ok(_) => continue,
            Err(error) => {
                faults.truncated = Some(error.to_string());
                break;
            }
        };
        match moldudp64::decode(packet.payload) {
            Ok(mold) => {
                let sequence = mold.header().sequence_number;
                if let Some(due) = due.filter(|due| *due < sequence) {
                    tally(&mut faults.packets, || format!("messages {due} to {} are missing", sequence - 1));
                }
                // A packet that repeats what was seen gives only what is new; captures with zeroed numbers (which
                // are published so) have no order to keep.
                let seen = if sequence == 0 { 0 } else { due.map_or(0, |due| due.saturating_sub(sequence)) };
                for block in mold.messages().skip(seen as usize).filter(|block| !block.is_empty()) {
                    helios_wire::frame::append(block, &mut out);
                }
                if sequence > 0 {
                    due = Some(due.unwrap_or(0).max(mold.next_sequence_number()));
                }
            }
            Err(error) => tally(&mut faults.packets, || format!("packet at offset {}: {error}", packet.offset)),
        }
    }
    out
}
