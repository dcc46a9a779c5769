//! The store of one session: its two numbers and every application message it sent, in a folder of append-only files.
//!
//! # Layout, version 1, little-endian
//!
//! A file is `GENERATION.SEGMENT.fix`: a reset begins a new generation, a full file a new segment. It holds records:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the payload |
//! | 4 | kind: 1 start, 2 message sent, 3 number sent without a message, 4 next incoming number |
//! | 8 | sequence number (start: the next outgoing one) |
//! | 8 | time, ns since 1970 (start: when the generation began) |
//! | 8 | XXH3-64 of the 24 bytes before and the payload, seeded with the record's offset |
//! | n | payload: a message; start: magic, version, next incoming number, session |
//!
//! # What it assumes
//!
//! A record is one `write`, so a process that is killed leaves whole records and at most one torn at the very end; it
//! is cut off when the store is opened, with a note. A fault that intact records follow is not a torn tail: the store
//! refuses to open rather than take numbers back. `Durability::Disk` waits for the disk after each message sent; with
//! `Process` a power failure can take the last ones. One process at a time: the folder is locked.
//!
//! Bounded: at most [`Limits::segments`] files of [`Limits::segment_bytes`] in a generation. When they are full the
//! oldest goes, with a note, and its messages are gap-filled if they are asked for. They were delivered long ago: a
//! session that is not logged on sends nothing, so what a peer can lack is what was under way when a connection broke.
//!
//! Absent: incoming messages, encryption. Messages that carry a password are kept as numbers only.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use helios_types::Nanos;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The largest payload of a record.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Bytes between two places that a search can start from.
const STRIDE: u64 = 1 << 16;
const HEADER: usize = 32;
const MAGIC: &[u8; 8] = b"HELIOSFX";
const VERSION: u32 = 1;
const SUFFIX: &str = "fix";

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// The numbers with which a file begins.
    Start = 1,
    /// An application message was sent.
    Message = 2,
    /// A number was used by a message that is never sent again.
    Number = 3,
    /// The number expected next.
    Received = 4,
}

impl Kind {
    fn of(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::Start,
            2 => Self::Message,
            3 => Self::Number,
            4 => Self::Received,
            _ => return None,
        })
    }
}

/// When a record counts as kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The system has it: it survives the death of the process.
    #[default]
    Process,
    /// The disk has it, before the message leaves.
    Disk,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a file, after which the next begins.
    pub segment_bytes: u64,
    /// Files of a generation.
    pub segments: usize,
    /// Generations kept beside the current one.
    pub generations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, segments: 16, generations: 1 }
    }
}

/// Why a store cannot be used.
#[derive(Debug)]
pub struct StoreError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.message)
    }
}

impl std::error::Error for StoreError {}

fn wrong(path: &Path, message: impl Into<String>) -> StoreError {
    StoreError { path: path.to_owned(), message: message.into() }
}

fn io_error(path: &Path, what: &str) -> impl FnOnce(io::Error) -> StoreError {
    move |error| wrong(path, format!("cannot {what}: {error}"))
}

/// One record, as it stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it says.
    pub kind: Kind,
    /// A number of the session.
    pub seq: u64,
    /// When it was written.
    pub ts: Nanos,
    /// The message.
    pub payload: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn check(head: &[u8], payload: &[u8], offset: u64) -> u64 {
    // The header's hash seeds the payload's, so that no copy joins them.
    xxh3_64_with_seed(payload, xxh3_64_with_seed(&head[..24], offset))
}

/// The record at the start of `bytes`, which lie at `offset` of the file.
fn decode(bytes: &[u8], offset: u64) -> Option<(Entry<'_>, usize)> {
    let head = bytes.get(..HEADER)?;
    let length = half(head, 0) as usize;
    let kind = Kind::of(half(head, 4))?;
    if length > MAX_PAYLOAD {
        return None;
    }
    let payload = bytes.get(HEADER..HEADER + length)?;
    let intact = check(head, payload, offset) == word(head, 24);
    intact.then(|| (Entry { kind, seq: word(head, 8), ts: Nanos(word(head, 16)), payload }, HEADER + length))
}

fn encode(out: &mut Vec<u8>, offset: u64, entry: &Entry<'_>) {
    out.clear();
    out.extend_from_slice(&u32::try_from(entry.payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&(entry.kind as u32).to_le_bytes());
    out.extend_from_slice(&entry.seq.to_le_bytes());
    out.extend_from_slice(&entry.ts.0.to_le_bytes());
    let sum = check(out, entry.payload, offset);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(entry.payload);
}

/// The records of one file's bytes, as far as they are whole; then [`Records::left`] says what follows.
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What follows the last whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// The beginning of a record that was being written.
    Torn(usize),
    /// A fault, with an intact record behind it at this offset.
    Damaged(usize),
}

impl<'a> Records<'a> {
    /// Of a whole file.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// What stands behind the records that were read.
    pub fn left(&self) -> Left {
        let rest = self.bytes.len() - self.at;
        if rest == 0 {
            return Left::Nothing;
        }
        for at in self.at + 1..self.bytes.len() {
            if decode(&self.bytes[at..], at as u64).is_some() {
                return Left::Damaged(at);
            }
        }
        Left::Torn(rest)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (entry, used) = decode(&self.bytes[self.at..], self.at as u64)?;
        self.at += used;
        Some(entry)
    }
}

/// Name of the folder of a session: letters, digits, `.` and `_` as they are, others as %XX.
pub fn folder_name(begin: &str, sender: &str, target: &str) -> String {
    let mut name = String::new();
    for (i, part) in [begin, sender, target].iter().enumerate() {
        if i > 0 {
            name.push('-');
        }
        for byte in part.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') {
                name.push(byte as char);
            } else {
                name.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    name
}

/// The files of a store in order: (generation, segment, path).
pub fn files(folder: &Path) -> Result<Vec<(u32, u32, PathBuf)>, StoreError> {
    let mut found = Vec::new();
    for item in fs::read_dir(folder).map_err(io_error(folder, "read the folder"))? {
        let path = item.map_err(io_error(folder, "read the folder"))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let parts: Vec<&str> = name.split('.').collect();
        if let [generation, segment, SUFFIX] = parts[..]
            && let (Ok(generation), Ok(segment)) = (generation.parse(), segment.parse())
        {
            found.push((generation, segment, path));
        }
    }
    found.sort();
    Ok(found)
}

struct Segment {
    number: u32,
    path: PathBuf,
    length: u64,
    /// Ascending: the first message at or after a stride's beginning, and its place.
    marks: Vec<(u64, u64)>,
}

impl Segment {
    fn mark(&mut self, entry: &Entry<'_>, offset: u64) {
        let due = self.marks.last().is_none_or(|(_, last)| offset - last >= STRIDE);
        if entry.kind == Kind::Message && due {
            self.marks.push((entry.seq, offset));
        }
    }
}

struct Start {
    next_out: u64,
    next_in: u64,
    created: Nanos,
}

impl Start {
    fn payload(&self, session: &str) -> Vec<u8> {
        let mut payload = MAGIC.to_vec();
        payload.extend_from_slice(&VERSION.to_le_bytes());
        payload.extend_from_slice(&self.next_in.to_le_bytes());
        payload.extend_from_slice(session.as_bytes());
        payload
    }

    fn read(path: &Path, entry: Option<Entry<'_>>, session: &str) -> Result<Self, StoreError> {
        let Some(Entry { kind: Kind::Start, seq, ts, payload }) = entry else {
            return Err(wrong(path, "it does not begin as a message store does: move the folder away"));
        };
        if payload.len() < 20 || payload[..8] != MAGIC[..] || half(payload, 8) != VERSION {
            return Err(wrong(path, "it was not written by a version that this one can read: move the folder away"));
        }
        if payload[20..] != *session.as_bytes() {
            let other = String::from_utf8_lossy(&payload[20..]);
            return Err(wrong(path, format!("it belongs to session {other}, not {session}")));
        }
        Ok(Self { next_out: seq, next_in: word(payload, 12), created: ts })
    }
}

/// An open store. Numbers and messages reach the file before the methods return.
pub struct Store {
    folder: PathBuf,
    session: String,
    limits: Limits,
    durability: Durability,
    generation: u32,
    /// Oldest first; the last one is being written.
    segments: Vec<Segment>,
    file: File,
    next_out: u64,
    next_in: u64,
    created: Nanos,
    scratch: Vec<u8>,
    notes: Vec<String>,
    _lock: File,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({}, out {}, in {})", self.session, self.next_out, self.next_in)
    }
}

impl Store {
    /// Opens the store in `folder`, or creates it at `now`.
    pub fn open(
        folder: &Path,
        session: &str,
        limits: Limits,
        durability: Durability,
        now: Nanos,
    ) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(io_error(folder, "create the folder"))?;
        let lock = locked(folder)?;
        let mut notes = Vec::new();
        let all = files(folder)?;
        let (state, generation, segments, file) = match all.last() {
            None => {
                let start = Start { next_out: 1, next_in: 1, created: now };
                let (segment, file) = begin(folder, 1, 1, &start, session, durability)?;
                (start, 1, vec![segment], file)
            }
            Some(&(generation, ..)) => {
                let current: Vec<_> = all.iter().filter(|file| file.0 == generation).collect();
                let (state, segments) = read_generation(&current, session, &mut notes)?;
                let last = &segments[segments.len() - 1];
                let file = append_to(&last.path)?;
                // Whatever was torn is cut off.
                file.set_len(last.length).map_err(io_error(&last.path, "cut the torn record off"))?;
                (state, generation, segments, file)
            }
        };
        let store = Self {
            folder: folder.to_owned(),
            session: session.to_owned(),
            limits,
            durability,
            generation,
            segments,
            file,
            next_out: state.next_out,
            next_in: state.next_in,
            created: state.created,
            scratch: Vec::new(),
            notes,
            _lock: lock,
        };
        store.forget_old()?;
        Ok(store)
    }

    /// Number of the next message to send.
    pub fn next_out(&self) -> u64 {
        self.next_out
    }

    /// Number expected next.
    pub fn next_in(&self) -> u64 {
        self.next_in
    }

    /// When the numbers were last set to 1.
    pub fn created(&self) -> Nanos {
        self.created
    }

    /// What was repaired or dropped since the last call.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// `seq` was given to a message; without bytes it is one that is never sent again. To be called before it leaves.
    pub fn sent(&mut self, seq: u64, message: Option<&[u8]>, now: Nanos) -> Result<(), StoreError> {
        let message = message.filter(|bytes| bytes.len() <= MAX_PAYLOAD && !carries_secret(bytes));
        let kind = if message.is_some() { Kind::Message } else { Kind::Number };
        self.append(&Entry { kind, seq, ts: now, payload: message.unwrap_or_default() })?;
        self.next_out = seq + 1;
        Ok(())
    }

    /// Everything before `next_in` was processed.
    pub fn received(&mut self, next_in: u64, now: Nanos) -> Result<(), StoreError> {
        self.append(&Entry { kind: Kind::Received, seq: next_in, ts: now, payload: &[] })?;
        self.next_in = next_in;
        Ok(())
    }

    /// Both numbers are 1; messages are no longer resent.
    pub fn reset(&mut self, created: Nanos) -> Result<(), StoreError> {
        self.new_generation(&Start { next_out: 1, next_in: 1, created })
    }

    /// An operator's numbers. Another outgoing number begins a new generation: earlier messages are no longer resent.
    pub fn set_next(&mut self, out: Option<u64>, in_: Option<u64>, now: Nanos) -> Result<(), StoreError> {
        let next_in = in_.unwrap_or(self.next_in);
        match out {
            Some(next_out) if next_out != self.next_out => {
                self.new_generation(&Start { next_out, next_in, created: self.created })
            }
            _ if next_in != self.next_in => self.received(next_in, now),
            _ => Ok(()),
        }
    }

    /// Calls `each` with the stored messages numbered `from..=to`, in order.
    pub fn resend(&self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), StoreError> {
        let mut scan = Scan { buffer: Vec::new() };
        for (i, segment) in self.segments.iter().enumerate() {
            let Some(&(first, _)) = segment.marks.first() else { continue };
            let later = self.segments[i + 1..].iter().find_map(|segment| segment.marks.first());
            if first > to || later.is_some_and(|&(seq, _)| seq <= from) {
                continue;
            }
            let place = segment.marks.partition_point(|&(seq, _)| seq <= from).saturating_sub(1);
            scan.run(segment, segment.marks[place].1, from, to, each)?;
        }
        Ok(())
    }

    fn append(&mut self, entry: &Entry<'_>) -> Result<(), StoreError> {
        if self.current().length >= self.limits.segment_bytes {
            self.next_segment()?;
        }
        let offset = self.current().length;
        let mut record = std::mem::take(&mut self.scratch);
        encode(&mut record, offset, entry);
        let written = self.file.write_all(&record).and_then(|()| match (self.durability, entry.kind) {
            (Durability::Disk, Kind::Message | Kind::Number) => self.file.sync_data(),
            _ => Ok(()),
        });
        let length = record.len() as u64;
        self.scratch = record;
        if let Err(error) = written {
            // A half-written record must not stand in the way of the next.
            let _ = self.file.set_len(offset);
            return Err(io_error(&self.current().path, "write")(error));
        }
        let current = self.current_mut();
        current.mark(entry, offset);
        current.length += length;
        Ok(())
    }

    fn current(&self) -> &Segment {
        &self.segments[self.segments.len() - 1]
    }

    fn current_mut(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    fn next_segment(&mut self) -> Result<(), StoreError> {
        let start = Start { next_out: self.next_out, next_in: self.next_in, created: self.created };
        let number = self.current().number + 1;
        let (segment, file) = begin(&self.folder, self.generation, number, &start, &self.session, self.durability)?;
        self.segments.push(segment);
        self.file = file;
        while self.segments.len() > self.limits.segments.max(1) {
            let old = self.segments.remove(0);
            fs::remove_file(&old.path).map_err(io_error(&old.path, "remove"))?;
            let first = self.segments[0].marks.first().map_or(self.next_out, |mark| mark.0);
            self.notes.push(format!(
                "the store of {} is full: messages before {first} can no longer be resent",
                self.session
            ));
        }
        Ok(())
    }

    fn new_generation(&mut self, start: &Start) -> Result<(), StoreError> {
        let generation = self.generation + 1;
        let (segment, file) = begin(&self.folder, generation, 1, start, &self.session, self.durability)?;
        self.generation = generation;
        self.segments = vec![segment];
        self.file = file;
        self.next_out = start.next_out;
        self.next_in = start.next_in;
        self.created = start.created;
        self.forget_old()
    }

    /// Removes generations that are not kept.
    fn forget_old(&self) -> Result<(), StoreError> {
        let mut all = files(&self.folder)?;
        let mut generations: Vec<u32> = all.iter().map(|file| file.0).collect();
        generations.dedup();
        generations.reverse();
        let kept = generations.get(self.limits.generations).copied().unwrap_or(0);
        all.retain(|file| file.0 < kept);
        for (.., path) in all {
            fs::remove_file(&path).map_err(io_error(&path, "remove"))?;
        }
        Ok(())
    }
}

/// Reads through a file with one buffer.
struct Scan {
    buffer: Vec<u8>,
}

impl Scan {
    fn run(
        &mut self,
        segment: &Segment,
        mut offset: u64,
        from: u64,
        to: u64,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), StoreError> {
        let file = File::open(&segment.path).map_err(io_error(&segment.path, "open"))?;
        let mut wanted = STRIDE as usize;
        while offset < segment.length {
            let size = wanted.min((segment.length - offset) as usize);
            self.buffer.resize(size, 0);
            file.read_exact_at(&mut self.buffer, offset).map_err(io_error(&segment.path, "read"))?;
            let mut at = 0;
            while let Some((entry, used)) = decode(&self.buffer[at..], offset + at as u64) {
                at += used;
                match (entry.kind, entry.seq) {
                    (Kind::Message | Kind::Number, seq) if seq > to => return Ok(()),
                    (Kind::Message, seq) if seq >= from => each(seq, entry.payload),
                    _ => {}
                }
            }
            if at == 0 && (size as u64 == segment.length - offset || size >= HEADER + MAX_PAYLOAD) {
                return Err(wrong(&segment.path, format!("the record at byte {offset} was changed")));
            }
            // A message longer than the buffer needs a longer one.
            wanted = if at == 0 { HEADER + MAX_PAYLOAD } else { STRIDE as usize };
            offset += at as u64;
        }
        Ok(())
    }
}

fn locked(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let mut options = OpenOptions::new();
    let lock =
        options.create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(io_error(&path, "open"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(wrong(folder, "another engine or process uses this store: stop it, or give this one another folder"))
        }
        Err(TryLockError::Error(error)) => Err(io_error(&path, "lock")(error)),
    }
}

fn append_to(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().append(true).open(path).map_err(io_error(path, "open"))
}

/// A new file, complete under its name or not there at all.
fn begin(
    folder: &Path,
    generation: u32,
    number: u32,
    start: &Start,
    session: &str,
    durability: Durability,
) -> Result<(Segment, File), StoreError> {
    let path = folder.join(format!("{generation:08}.{number:04}.{SUFFIX}"));
    let draft = folder.join("draft");
    let payload = start.payload(session);
    let entry = Entry { kind: Kind::Start, seq: start.next_out, ts: start.created, payload: &payload };
    let mut record = Vec::new();
    encode(&mut record, 0, &entry);
    let mut options = OpenOptions::new();
    let write = || -> io::Result<File> {
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
        file.write_all(&record)?;
        if durability == Durability::Disk {
            file.sync_all()?;
        }
        fs::rename(&draft, &path)?;
        if durability == Durability::Disk {
            File::open(folder)?.sync_all()?;
        }
        OpenOptions::new().append(true).open(&path)
    };
    let mut write = write;
    let file = write().map_err(io_error(&path, "create"))?;
    Ok((Segment { number, path, length: record.len() as u64, marks: Vec::new() }, file))
}

fn read_generation(
    files: &[&(u32, u32, PathBuf)],
    session: &str,
    notes: &mut Vec<String>,
) -> Result<(Start, Vec<Segment>), StoreError> {
    let mut state: Option<Start> = None;
    let mut segments = Vec::new();
    for (i, (_, number, path)) in files.iter().enumerate() {
        let mut bytes = Vec::new();
        File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(io_error(path, "read"))?;
        let mut records = Records::new(&bytes);
        let start = Start::read(path, records.next(), session)?;
        if let Some(before) = &state
            && (before.next_out, before.next_in) != (start.next_out, start.next_in)
        {
            return Err(wrong(path, "its numbers do not follow on from the file before it: one of them was changed"));
        }
        let mut segment = Segment { number: *number, path: path.clone(), length: 0, marks: Vec::new() };
        let mut now = start;
        let mut at = records.position();
        while let Some(entry) = records.next() {
            segment.mark(&entry, at as u64);
            match entry.kind {
                Kind::Message | Kind::Number => now.next_out = entry.seq + 1,
                Kind::Received => now.next_in = entry.seq,
                Kind::Start => return Err(wrong(path, format!("a second beginning at byte {at}"))),
            }
            at = records.position();
        }
        match records.left() {
            Left::Nothing => {}
            Left::Torn(bytes) if i + 1 == files.len() => {
                notes.push(format!("{}: {bytes} bytes of an unfinished record were cut off", path.display()));
            }
            left => return Err(wrong(path, damage(at, left))),
        }
        segment.length = at as u64;
        segments.push(segment);
        state = Some(now);
    }
    match state {
        Some(state) => Ok((state, segments)),
        None => Err(wrong(Path::new(session), "the store has no file")),
    }
}

fn damage(at: usize, left: Left) -> String {
    let behind = match left {
        Left::Damaged(next) => format!("intact records follow at byte {next}"),
        _ => "a further file follows".to_owned(),
    };
    format!(
        "damaged at byte {at}, and {behind}: restore the file, or agree with the counterparty on a reset and move the \
         folder away"
    )
}

/// Whether a message holds a password: 554 Password or 925 NewPassword.
pub fn carries_secret(message: &[u8]) -> bool {
    message.split(|&byte| byte == 1).any(|field| field.starts_with(b"554=") || field.starts_with(b"925="))
}
