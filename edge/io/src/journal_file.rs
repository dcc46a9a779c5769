//! A journal in a file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use helios_journal::Writer;
use helios_types::{Input, Output};

use crate::source::SourceError;

/// Bytes gathered before they go to the file.
const PIECE: usize = 1 << 20;

/// Writes records as they come. In a backtest the venue is in the same process, so a killed run loses at most the
/// last piece, and what is in the file is readable up to its last whole record. A run that stops with an error loses
/// nothing: what was gathered goes to the file when this is dropped.
pub struct JournalFile {
    writer: Writer,
    file: File,
    path: PathBuf,
}

impl JournalFile {
    /// Creates the file; it must not exist. `config` is the run's description.
    pub fn create(path: &Path, config: &[u8]) -> Result<Self, SourceError> {
        let file = File::create_new(path).map_err(|e| SourceError::io(path, &e))?;
        let writer = Writer::new(config)
            .map_err(|e| SourceError { source: path.display().to_string(), message: e.to_string() })?;
        let mut journal = Self { writer, file, path: path.to_owned() };
        // So that a run that is killed early says at least what it was.
        journal.flush()?;
        Ok(journal)
    }

    /// Appends an input.
    #[inline]
    pub fn input(&mut self, input: &Input) {
        self.writer.input(input);
    }

    /// Appends an output.
    #[inline]
    pub fn output(&mut self, seq: u64, output: &Output) {
        self.writer.output(seq, output);
    }

    /// Moves a full piece to the file.
    #[inline]
    pub fn tick(&mut self) -> Result<(), SourceError> {
        if self.writer.pending().len() < PIECE { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), SourceError> {
        self.file.write_all(self.writer.pending()).map_err(|e| SourceError::io(&self.path, &e))?;
        self.writer.clear_pending();
        Ok(())
    }

    /// Closes the journal cleanly.
    pub fn end(mut self, digest: u128) -> Result<(), SourceError> {
        self.writer.end(digest);
        self.flush()?;
        self.file.sync_all().map_err(|e| SourceError::io(&self.path, &e))
    }
}

impl Drop for JournalFile {
    fn drop(&mut self) {
        // The run has failed already, or `end` has written everything: an error here has nobody to hear it.
        let _ = self.flush();
    }
}
