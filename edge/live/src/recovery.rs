//! After a failure: the newest sound snapshot, and the journal from there.
//!
//! The journal is the truth, a snapshot only saves time: one that is damaged, of another program or of another journal is
//! passed over, and without any the journal is replayed whole. Every output that the journal names is compared with what
//! the engine says now; a difference is an error, for then it is not the run that the journal is of.
//!
//! A process that is killed leaves at most a torn record at the end, and the last input's outputs may be missing: an input
//! is in the journal before its outputs leave, they themselves come after it. [`recover`] says where the next record
//! belongs and which outputs to write first. They may have left or not: to the stations that speak with venues they are
//! sent.
//!
//! ```text
//! DIR/live.journal
//! DIR/state-00000000000001048576.snapshot   magic 8, version u32, position 48, stations' bytes, the state, XXH3 u128
//! ```
//!
//! Assumes that one process works in the directory (the journal is locked by whoever writes it).

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use helios_engine::State;
pub use helios_io::MAX_TORN;
use helios_io::{Comparison, SourceError, written_end};
use helios_journal::{BEFORE_LEN, Damage, DamageKind, POSITION_LEN, Position, Reader, Record, Writer};
use helios_types::{Hasher, Input, Load, Nanos, Output, Persist, Save};

use crate::entry::Recorded;

/// Snapshots that are kept.
const KEPT: usize = 2;

const MAGIC: [u8; 8] = [0x89, b'H', b'L', b'P', b'\r', b'\n', 0x1A, b'\n'];
const VERSION: u32 = 1;
const CHUNK: usize = 1 << 20;

/// Whoever must know what the engine heard and said: the stations that speak with venues, and strategies outside the core.
pub trait Witness {
    /// Whether a snapshot will do, of which this is the stations' part and the state: one that lacks what somebody must
    /// remember is passed over, and an older one or the whole journal used. An error ends the recovery.
    fn resume(&mut self, _stations: &[Vec<u8>], _state: &State) -> Result<bool, SourceError> {
        Ok(true)
    }
    /// First: what the stations wrote into the snapshot that is used. True when they know by it all that was said until
    /// then; else they are told everything from the beginning of the journal.
    fn begin(&mut self, _stations: &[Vec<u8>]) -> bool {
        false
    }
    /// Every record since, in order.
    fn recorded(&mut self, recorded: &Recorded<'_>);
    /// Every input that was stepped, with what it said and the state behind it.
    fn stepped(&mut self, _input: &Input, _outputs: &[Output], _state: &State) {}
}

impl<F: FnMut(&Recorded<'_>)> Witness for F {
    fn recorded(&mut self, recorded: &Recorded<'_>) {
        self(recorded);
    }
}

/// What is thrown away at the end of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where the last whole record ends.
    pub offset: u64,
    /// Bytes behind it, without the zeros that were never written.
    pub bytes: u64,
    /// What is wrong with the first of them.
    pub kind: DamageKind,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, bytes, kind } = self;
        write!(f, "{bytes} bytes behind byte {offset} are no whole record: {kind:?}")
    }
}

/// A run as it was.
pub struct Recovered {
    /// The engine's state.
    pub state: State,
    /// Where the journal's next record belongs; what is behind it is cut off.
    pub position: Position,
    /// Outputs of the last input that are not in the journal: they belong there first.
    pub missing: Vec<Output>,
    /// Inputs that the snapshot saved; zero without one.
    pub snapshot: u64,
    /// Inputs replayed.
    pub inputs: u64,
    /// Outputs compared with the journal's.
    pub outputs: u64,
    /// A torn end.
    pub cut: Option<Cut>,
    /// The run had been ended in order.
    pub was_closed: bool,
    /// What is worth a line in the log: snapshots that were passed over.
    pub notes: Vec<String>,
}

fn io(path: &Path, error: &std::io::Error) -> SourceError {
    SourceError { source: path.display().to_string(), message: error.to_string() }
}

fn wrong(path: &Path, message: String) -> SourceError {
    SourceError { source: path.display().to_string(), message }
}

/// A snapshot that is sound as a file.
struct Snapshot {
    position: Position,
    stations: Vec<Vec<u8>>,
    state: Vec<u8>,
}

impl Snapshot {
    fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let (body, check) = bytes.split_last_chunk().ok_or("it is too short")?;
        if digest(body) != u128::from_le_bytes(*check) {
            return Err("its bytes were changed, or it was not written whole");
        }
        let mut load = Load(body);
        let head: Result<([u8; 8], u32), _> = load.array().and_then(|magic| Ok((magic, u32::load(&mut load)?)));
        if head != Ok((MAGIC, VERSION)) {
            return Err("it is no snapshot of this version");
        }
        let rest = |load: &mut Load<'_>| {
            let position = Position::from_bytes(&load.array::<POSITION_LEN>()?);
            let stations = Vec::load(load)?;
            let count = load.count()?;
            Ok(Self { position, stations, state: load.bytes(count)?.to_vec() })
        };
        rest(&mut load).map_err(|helios_types::Damaged(what)| what)
    }

    /// True when the journal has the record that it stands behind.
    fn fits(&self, journal: &mut File) -> std::io::Result<bool> {
        let from = self.position.offset().saturating_sub(BEFORE_LEN as u64);
        if self.position.offset() > journal.metadata()?.len() {
            return Ok(false);
        }
        let mut before = vec![0; (self.position.offset() - from) as usize];
        journal.seek(SeekFrom::Start(from))?;
        journal.read_exact(&mut before)?;
        Ok(self.position.is_after(&before))
    }
}

fn digest(bytes: &[u8]) -> u128 {
    let mut hasher = Hasher::new();
    hasher.bytes(bytes);
    hasher.finish()
}

/// Snapshots of a directory, the newest first.
fn snapshots(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("state-") && name.ends_with(".snapshot") {
            found.push(path);
        }
    }
    // Their names are numbers of the same length.
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// The bytes of a snapshot: of a state that stands at `position` of the journal, all that the last input said being before
/// it. `stations` is whatever [`Witness::resume`] wants to find again, each its own. The engine stands still meanwhile; to
/// [`store_snapshot`] them another thread has time.
pub fn snapshot_bytes(state: &State, position: &Position, stations: &[Vec<u8>]) -> Vec<u8> {
    assert!(position.inputs() == state.next_seq(), "the journal stands where the state stands");
    let mut save = Save(MAGIC.to_vec());
    VERSION.save(&mut save);
    save.0.extend_from_slice(&position.to_bytes());
    stations.to_vec().save(&mut save);
    let bytes = state.snapshot();
    bytes.len().save(&mut save);
    save.0.extend_from_slice(&bytes);
    let check = digest(&save.0);
    check.save(&mut save);
    save.0
}

/// Brings a snapshot of so many inputs to the disk: the file is there whole or not at all, and on the disk when this
/// returns; the last two are kept. Bring the journal to the disk before, or a machine that loses its power keeps a
/// snapshot that its journal does not reach, which is then passed over.
pub fn store_snapshot(dir: &Path, inputs: u64, bytes: &[u8]) -> Result<PathBuf, SourceError> {
    let path = dir.join(format!("state-{inputs:020}.snapshot"));
    let draft = path.with_extension("draft");
    let written = || {
        let mut file = private(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(dir)?.sync_all()?;
        for old in snapshots(dir)?.into_iter().skip(KEPT) {
            fs::remove_file(old)?;
        }
        Ok(())
    };
    written().map_err(|error| io(&path, &error))?;
    Ok(path)
}

/// A new file in place of an old one, its owner's alone: positions are in it.
pub(crate) fn private(path: &Path) -> std::io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Both at once.
pub fn write_snapshot(
    dir: &Path,
    state: &State,
    position: &Position,
    stations: &[Vec<u8>],
) -> Result<PathBuf, SourceError> {
    store_snapshot(dir, position.inputs(), &snapshot_bytes(state, position, stations))
}

/// The run whose journal is `journal`, with the snapshots beside it. `fresh` makes a state as the run began with.
///
/// An error leaves everything as it was: the journal cannot be read, its outputs are not what the engine says, or more than
/// [`MAX_TORN`] bytes at its end are no records and `cut_more` does not say to throw them away.
pub fn recover(
    journal: &Path,
    fresh: impl FnMut() -> Result<State, SourceError>,
    witness: &mut impl Witness,
    cut_more: bool,
) -> Result<Recovered, SourceError> {
    Follower::open(journal, fresh, witness)?.finish(witness, cut_more)
}

/// A run as its journal grows: what a standby keeps, so that it can go on at once.
///
/// Another process may be writing the journal. What is not a whole record yet is looked at again; only
/// [`finish`](Follower::finish) says whether it is damage.
pub struct Follower {
    journal: PathBuf,
    file: File,
    replay: Replay,
    snapshot: u64,
    notes: Vec<String>,
}

impl Follower {
    /// Begins as [`recover`] does, with the newest sound snapshot.
    pub fn open(
        journal: &Path,
        mut fresh: impl FnMut() -> Result<State, SourceError>,
        witness: &mut impl Witness,
    ) -> Result<Self, SourceError> {
        let mut file = File::open(journal).map_err(|error| io(journal, &error))?;
        let mut notes = Vec::new();
        let found = newest(journal, &mut file, &mut fresh, witness, &mut notes)?;
        let (state, position) = match found {
            Some((state, snapshot)) => {
                if !witness.begin(&snapshot.stations) {
                    tell_until(journal, &mut file, &snapshot.position, witness)?;
                }
                (state, Some(snapshot.position))
            }
            None => (fresh()?, None),
        };
        let snapshot = position.map_or(0, |position| position.inputs());
        let reader = Reader::new();
        let replay = Replay { state, reader, comparison: Comparison::default(), position, was_closed: None };
        Ok(Self { journal: journal.to_owned(), file, replay, snapshot, notes })
    }

    /// Takes in what is new, and stops at the first end of a piece after so many inputs; says how many there were.
    pub fn follow(&mut self, most: u64, witness: &mut impl Witness) -> Result<u64, SourceError> {
        let before = self.replay.comparison.inputs();
        self.replay.run(&self.journal, &mut self.file, before.saturating_add(most), witness)?;
        Ok(self.replay.comparison.inputs() - before)
    }

    /// The state, as far as it was followed.
    pub fn state(&self) -> &State {
        &self.replay.state
    }

    /// Nobody writes the journal any more: what is left of it, and the run as it was.
    pub fn finish(mut self, witness: &mut impl Witness, cut_more: bool) -> Result<Recovered, SourceError> {
        self.replay.run(&self.journal, &mut self.file, u64::MAX, witness)?;
        self.replay.finish(&self.journal, &mut self.file, self.snapshot, cut_more, self.notes)
    }
}

/// The newest snapshot that is sound, of this journal, and enough for the witness; and its state.
fn newest(
    journal: &Path,
    file: &mut File,
    fresh: &mut impl FnMut() -> Result<State, SourceError>,
    witness: &mut impl Witness,
    notes: &mut Vec<String>,
) -> Result<Option<(State, Snapshot)>, SourceError> {
    let dir = journal.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for path in snapshots(dir).map_err(|error| io(dir, &error))? {
        let mut pass_over = |why: &str| notes.push(format!("{}: {why}; it is passed over", path.display()));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                pass_over(&error.to_string());
                continue;
            }
        };
        let snapshot = match Snapshot::read(&bytes) {
            Ok(snapshot) => snapshot,
            Err(why) => {
                pass_over(why);
                continue;
            }
        };
        if !snapshot.fits(file).map_err(|error| io(journal, &error))? {
            pass_over("it is of another journal, or the journal does not reach it");
            continue;
        }
        match fresh()?.restore(&snapshot.state) {
            Ok(state) if state.next_seq() == snapshot.position.inputs() => {
                if witness.resume(&snapshot.stations, &state)? {
                    return Ok(Some((state, snapshot)));
                }
                pass_over("it lacks what the strategies remembered");
            }
            Ok(_) => pass_over("its state stands elsewhere than it says"),
            Err(error) => pass_over(&error.to_string()),
        }
    }
    Ok(None)
}

/// Tells what the journal has before a place; nothing is stepped.
fn tell_until(
    journal: &Path,
    file: &mut File,
    until: &Position,
    witness: &mut impl Witness,
) -> Result<(), SourceError> {
    file.seek(SeekFrom::Start(0)).map_err(|error| io(journal, &error))?;
    let walked = walk(journal, file.take(until.offset()), |record| {
        match record {
            Record::Input(input) => witness.recorded(&Recorded::Input(&input.event)),
            Record::Output { output, .. } => witness.recorded(&Recorded::Output(output)),
            Record::Config(_) | Record::End(_) => {}
        }
        true
    })?;
    walked.damage.map_or(Ok(()), |damage| Err(wrong(journal, damage.to_string())))
}

/// The stamp of a journal's first input, if it has one.
pub fn began(journal: &Path) -> Result<Option<Nanos>, SourceError> {
    let file = File::open(journal).map_err(|error| io(journal, &error))?;
    let mut began = None;
    walk(journal, file, |record| {
        if let Record::Input(input) = record {
            began = Some(input.ts);
        }
        began.is_none()
    })?;
    Ok(began)
}

/// Whether there is a run to go on with. A process that was killed, or could not connect, before its first input leaves a
/// journal that says nothing: it is begun anew, with `config`. What is neither that nor a journal is for [`recover`] to
/// judge.
pub fn has_begun(journal: &Path, config: &[u8]) -> Result<bool, SourceError> {
    if !journal.exists() {
        return Ok(false);
    }
    let mut file = File::open(journal).map_err(|error| io(journal, &error))?;
    let mut any = false;
    let walked = walk(journal, &mut file, |record| {
        any |= matches!(record, Record::Input(_));
        !any
    })?;
    if any {
        return Ok(true);
    }
    let end = written_end(&mut file, 0).map_err(|error| io(journal, &error))?;
    if let Some(behind) = walked.position {
        return Ok(end > behind.offset() + MAX_TORN);
    }
    // Not even the configuration was written whole: only what this run would write is its own beginning.
    let writer = Writer::new(config).map_err(|error| wrong(journal, error.to_string()))?;
    let ours = writer.pending();
    let mut there = vec![0; ours.len().min(usize::try_from(end).unwrap_or(usize::MAX))];
    file.rewind().and_then(|()| file.read_exact(&mut there)).map_err(|error| io(journal, &error))?;
    Ok(end > ours.len() as u64 || !ours.starts_with(&there))
}

/// How far a journal was read.
struct Walked {
    /// Behind the last whole record.
    position: Option<Position>,
    /// What is wrong with the one that ended it.
    damage: Option<Damage>,
}

/// Record by record, as far as they are whole and `each` wants more.
fn walk(journal: &Path, mut file: impl Read, mut each: impl FnMut(&Record<'_>) -> bool) -> Result<Walked, SourceError> {
    let (mut reader, mut chunk, mut position) = (Reader::new(), vec![0; CHUNK], None);
    loop {
        let got = file.read(&mut chunk).map_err(|error| io(journal, &error))?;
        if got == 0 {
            return Ok(Walked { position, damage: None });
        }
        reader.push(&chunk[..got]);
        loop {
            match reader.next_record() {
                Ok(Some(record)) if each(&record) => {}
                Ok(Some(_)) => return Ok(Walked { position, damage: None }),
                Ok(None) => break,
                Err(damage) => return Ok(Walked { position, damage: Some(damage) }),
            }
            position = reader.position().or(position);
        }
    }
}

/// The journal on its way through the engine.
struct Replay {
    state: State,
    reader: Reader,
    comparison: Comparison,
    /// Behind the last record that stays.
    position: Option<Position>,
    /// Digest of the end record.
    was_closed: Option<u128>,
}

impl Replay {
    /// From behind the last record to the end of the file, a damaged record, or the end of a piece after so many inputs.
    fn run(
        &mut self,
        journal: &Path,
        file: &mut File,
        inputs: u64,
        witness: &mut impl Witness,
    ) -> Result<(), SourceError> {
        // What stood behind it may have been half written, or an end record that is no more.
        self.reader = self.position.map_or_else(Reader::new, Reader::resume);
        self.was_closed = None;
        let from = self.position.map_or(0, |position| position.offset());
        file.seek(SeekFrom::Start(from)).map_err(|error| io(journal, &error))?;
        let mut chunk = vec![0; CHUNK];
        while self.comparison.inputs() < inputs {
            let got = file.read(&mut chunk).map_err(|error| io(journal, &error))?;
            if got == 0 {
                break;
            }
            self.reader.push(&chunk[..got]);
            if !self.records(journal, witness)? {
                break;
            }
        }
        Ok(())
    }

    /// All whole records that are there; false at a damaged one.
    fn records(&mut self, journal: &Path, witness: &mut impl Witness) -> Result<bool, SourceError> {
        loop {
            let record = match self.reader.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            };
            self.comparison.take(&record, &mut self.state).map_err(|difference| {
                let message = format!(
                    "{difference}: it was written by another program, or with another configuration. Go on with the one \
                     that wrote it"
                );
                wrong(journal, message)
            })?;
            if let Record::Input(input) = record {
                witness.recorded(&Recorded::Input(&input.event));
                self.comparison.produced().iter().for_each(|output| witness.recorded(&Recorded::Output(output)));
                witness.stepped(&input, self.comparison.produced(), &self.state);
            }
            match record {
                // What an end record closed goes on before it.
                Record::End(end) => self.was_closed = Some(end.digest),
                _ => self.position = self.reader.position(),
            }
        }
    }

    fn finish(
        mut self,
        journal: &Path,
        file: &mut File,
        snapshot: u64,
        cut_more: bool,
        notes: Vec<String>,
    ) -> Result<Recovered, SourceError> {
        let damage = self.reader.finish().err();
        let Some(position) = self.position else {
            let why = damage.map_or("it holds no configuration".to_owned(), |damage| damage.to_string());
            return Err(wrong(journal, why));
        };
        if let Some(digest) = self.was_closed
            && digest != self.state.digest()
        {
            let message =
                "its end is of another state: it was written by another program, or with another configuration";
            return Err(wrong(journal, message.to_owned()));
        }
        let cut = match damage.filter(|damage| damage.kind != DamageKind::Unwritten) {
            Some(damage) => Some(torn(journal, file, &damage)?),
            None => behind(journal, file, &position, damage)?,
        };
        if let Some(cut) = cut.filter(|cut| cut.bytes > MAX_TORN && !cut_more) {
            let message = format!(
                "{cut}. That is more than a failure leaves ({MAX_TORN} bytes): restore the file, or say that it is to be \
                 cut there"
            );
            return Err(wrong(journal, message));
        }
        Ok(Recovered {
            position,
            missing: self.comparison.missing().to_vec(),
            snapshot,
            inputs: self.comparison.inputs(),
            outputs: self.comparison.outputs(),
            cut,
            was_closed: self.was_closed.is_some(),
            notes,
            state: self.state,
        })
    }
}

/// What is lost behind a damaged record.
fn torn(journal: &Path, file: &mut File, damage: &Damage) -> Result<Cut, SourceError> {
    let end = written_end(file, damage.offset).map_err(|error| io(journal, &error))?;
    Ok(Cut { offset: damage.offset, bytes: end - damage.offset, kind: damage.kind })
}

/// Zeros that were never written may have something behind them: pages that came to the disk out of order.
fn behind(
    journal: &Path,
    file: &mut File,
    position: &Position,
    damage: Option<Damage>,
) -> Result<Option<Cut>, SourceError> {
    let Some(damage) = damage else { return Ok(None) };
    let end = written_end(file, position.offset()).map_err(|error| io(journal, &error))?;
    let bytes = end - position.offset();
    Ok((bytes > 0).then_some(Cut { offset: position.offset(), bytes, kind: damage.kind }))
}
