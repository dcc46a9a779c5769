//! Feeds a journal back and compares every output.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use helios_engine::{State, step};
use helios_journal::{Closing, Damage, DamageKind, Reader, Record};
use helios_types::{Input, Output};

use crate::source::SourceError;

/// How a replay went.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Inputs fed.
    pub inputs: u64,
    /// Outputs compared.
    pub outputs: u64,
    /// Digest of the final state.
    pub digest: u128,
    /// The first difference, if any.
    pub difference: Option<String>,
    /// What was wrong with the file, if anything; what came before it was replayed.
    pub damage: Option<String>,
    /// How the file ends; that nobody closed it is ordinary for a live run.
    pub ends: Ends,
}

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// With its end record.
    Closed,
    /// With a whole record: the run goes on, or was killed.
    Open,
    /// Within a record, as a process leaves it that is killed.
    Torn,
    /// With bytes that are no records, more than a failure leaves; or a difference was found before the end.
    Otherwise,
}

/// Bytes behind the last whole record that a failure may leave: what a process had under way when it was killed, or pages
/// that a machine without power had not brought to the disk.
pub const MAX_TORN: u64 = 64 << 10;

const CHUNK: usize = 1 << 20;

/// Reads the configuration that a journal begins with.
pub fn config_of(path: &Path) -> Result<Vec<u8>, SourceError> {
    let mut file = File::open(path).map_err(|e| SourceError::io(path, &e))?;
    let mut reader = Reader::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let got = file.read(&mut chunk).map_err(|e| SourceError::io(path, &e))?;
        reader.push(&chunk[..got]);
        match reader.next_record() {
            Ok(Some(Record::Config(config))) => return Ok(config.to_vec()),
            Ok(None) if got > 0 => {}
            Ok(_) => {
                let why = reader.finish().err().map(|damage| damage.to_string());
                return Err(not_a_journal(path, why.as_deref().unwrap_or("it holds no configuration")));
            }
            Err(damage) => return Err(not_a_journal(path, &damage.to_string())),
        }
    }
}

fn not_a_journal(path: &Path, why: &str) -> SourceError {
    SourceError { source: path.display().to_string(), message: why.to_owned() }
}

/// Feeds the journal's inputs to a fresh state and compares outputs one by one.
pub fn replay(path: &Path, state: &mut State) -> Result<Replayed, SourceError> {
    let mut file = File::open(path).map_err(|e| SourceError::io(path, &e))?;
    let mut reader = Reader::new();
    let mut chunk = vec![0; CHUNK];
    let mut comparison = Comparison::default();
    let mut result =
        Replayed { inputs: 0, outputs: 0, digest: 0, difference: None, damage: None, ends: Ends::Otherwise };
    'file: loop {
        let got = file.read(&mut chunk).map_err(|e| SourceError::io(path, &e))?;
        if got == 0 {
            break;
        }
        reader.push(&chunk[..got]);
        loop {
            match reader.next_record() {
                Ok(Some(record)) => {
                    if let Err(difference) = comparison.take(&record, state) {
                        result.difference = Some(difference);
                        break 'file;
                    }
                }
                Ok(None) => break,
                Err(damage) => {
                    (result.damage, result.ends) = (Some(damage.to_string()), ends(path, &mut file, &damage)?);
                    break 'file;
                }
            }
        }
    }
    result.digest = state.digest();
    if result.difference.is_none() && result.damage.is_none() {
        match reader.finish() {
            Ok(Closing::Clean(end)) if end.digest != result.digest => {
                result.difference =
                    Some(format!("the final state: digest {:032x} then, {:032x} now", end.digest, result.digest));
            }
            Ok(Closing::Clean(_)) => result.ends = Ends::Closed,
            // The last input's outputs may be missing with the rest: that is no difference.
            Ok(Closing::NotClosed) => {
                result.ends = Ends::Open;
                let offset = reader.position().map_or(0, |position| position.offset());
                result.damage = Some(format!(
                    "the run did not close its journal: it was stopped, or is still going on; it ends at byte {offset}, \
                     with whole records"
                ));
            }
            Err(damage) => {
                (result.damage, result.ends) = (Some(damage.to_string()), ends(path, &mut file, &damage)?);
            }
        }
    }
    result.inputs = comparison.inputs;
    result.outputs = comparison.outputs;
    Ok(result)
}

/// How a file ends of which this is the first record that is not whole.
fn ends(path: &Path, file: &mut File, damage: &Damage) -> Result<Ends, SourceError> {
    let bytes = written_end(file, damage.offset).map_err(|e| SourceError::io(path, &e))? - damage.offset;
    Ok(match bytes {
        _ if damage.record == 0 => Ends::Otherwise,
        0 if damage.kind == DamageKind::Unwritten => Ends::Open,
        0..=MAX_TORN => Ends::Torn,
        _ => Ends::Otherwise,
    })
}

/// Behind the last byte from `from` on that is not zero: what is mapped ahead of a writer and was never written is zeros.
pub fn written_end(file: &mut File, from: u64) -> std::io::Result<u64> {
    file.seek(SeekFrom::Start(from))?;
    let (mut chunk, mut at, mut end) = (vec![0; CHUNK], from, from);
    loop {
        let got = file.read(&mut chunk)?;
        if got == 0 {
            return Ok(end);
        }
        // All of them together first: there may be a long window of zeros, and this goes by many at a time.
        if chunk[..got].iter().fold(0, |all, byte| all | byte) != 0
            && let Some(last) = chunk[..got].iter().rposition(|byte| *byte != 0)
        {
            end = at + last as u64 + 1;
        }
        at += got as u64;
    }
}

/// Steps a state through the records of a journal and holds what it says against what the journal says.
#[derive(Debug, Default)]
pub struct Comparison {
    produced: Vec<Output>,
    at: usize,
    last: Option<Input>,
    inputs: u64,
    outputs: u64,
}

impl Comparison {
    /// What the last input said.
    pub fn produced(&self) -> &[Output] {
        &self.produced
    }

    /// Of that, what the journal has not named yet.
    pub fn missing(&self) -> &[Output] {
        &self.produced[self.at..]
    }

    /// Inputs so far.
    pub fn inputs(&self) -> u64 {
        self.inputs
    }

    /// Outputs so far that were the same.
    pub fn outputs(&self) -> u64 {
        self.outputs
    }

    /// The next record; an error names the first output that is another.
    pub fn take(&mut self, record: &Record<'_>, state: &mut State) -> Result<(), String> {
        match record {
            Record::Config(_) => Ok(()),
            Record::Input(input) => {
                self.settle()?;
                self.produced.clear();
                self.at = 0;
                step(state, input, &mut self.produced);
                self.last = Some(*input);
                self.inputs += 1;
                Ok(())
            }
            Record::Output { seq, output } => {
                let now = self.produced.get(self.at);
                // Bits, not values: a NaN must equal itself.
                if now.is_some_and(|now| same(now, output)) {
                    self.at += 1;
                    self.outputs += 1;
                    return Ok(());
                }
                let now = now.map_or("nothing".to_owned(), |now| format!("{now:?}"));
                Err(format!("output {} of input {seq} was {output:?}, is now {now}", self.at))
            }
            Record::End(_) => self.settle(),
        }
    }

    /// The journal goes on: nothing may be left over.
    fn settle(&self) -> Result<(), String> {
        match (self.produced.get(self.at), self.last) {
            (Some(extra), Some(input)) => {
                Err(format!("output {} of input {} was nothing, is now {extra:?}", self.at, input.seq))
            }
            _ => Ok(()),
        }
    }
}

/// The same to the last bit; a NaN equals itself.
pub fn same(a: &Output, b: &Output) -> bool {
    match (a, b) {
        (Output::Signal(a), Output::Signal(b)) => {
            a.signal == b.signal
                && a.value.to_bits() == b.value.to_bits()
                && (a.input.to_bits() == b.input.to_bits() || (a.input.is_nan() && b.input.is_nan()))
        }
        _ => a == b,
    }
}
