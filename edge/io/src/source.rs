//! Where market events come from: one interface, and a merge by time.

use std::fmt;
use std::path::{Path, PathBuf};

use helios_data::normalise::ItchNormaliser;
use helios_types::{Market, Nanos};
use helios_wire::itch;

use crate::itch_file::{Faults, ItchFile};

/// A source that cannot go on. What it gave before is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// File or name of the source.
    pub source: String,
    /// What was wrong, where, and what to do.
    pub message: String,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.message)
    }
}

impl std::error::Error for SourceError {}

impl SourceError {
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self { source: path.display().to_string(), message: error.to_string() }
    }
}

/// Market events in time order.
pub trait Source: Send {
    /// The next event, or `None` at the end.
    fn next(&mut self) -> Result<Option<Market>, SourceError>;
    /// How much of it is done, 0 to 1.
    fn progress(&self) -> f64;
    /// Faults that did not stop it.
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Events of an ITCH file, for the symbols of the run.
pub struct ItchSource {
    path: PathBuf,
    file: ItchFile,
    normaliser: ItchNormaliser,
    at: usize,
}

impl ItchSource {
    /// Opens a plain, gzip or pcap file. `midnight` is the start of its day in New York, as UTC.
    pub fn open(path: &Path, midnight: Nanos, symbols: &[String]) -> Result<Self, SourceError> {
        let normaliser = ItchNormaliser::new(midnight, symbols);
        Ok(Self { path: path.to_owned(), file: ItchFile::open(path)?, normaliser, at: 0 })
    }
}

impl Source for ItchSource {
    fn next(&mut self) -> Result<Option<Market>, SourceError> {
        loop {
            while self.at < self.file.batch().len() {
                let at = self.at;
                self.at += 1;
                match itch::decode(self.file.batch().message(at)) {
                    Ok(message) => {
                        if let Some(market) = self.normaliser.normalise(&message) {
                            return Ok(Some(market));
                        }
                    }
                    Err(error) => self.file.note(at, error),
                }
            }
            self.at = 0;
            if !self.file.advance()? {
                return Ok(None);
            }
        }
    }

    fn progress(&self) -> f64 {
        self.file.progress()
    }

    fn faults(&self) -> Vec<String> {
        let faults: &Faults = self.file.faults();
        faults.describe().into_iter().map(|fault| format!("{}: {fault}", self.path.display())).collect()
    }
}

/// Several sources as one, by event time; at the same time the earlier source goes first.
pub struct Merge {
    sources: Vec<(Box<dyn Source>, Option<Market>)>,
}

impl Merge {
    /// Reads the first event of each.
    pub fn new(sources: Vec<Box<dyn Source>>) -> Result<Self, SourceError> {
        let sources = sources
            .into_iter()
            .map(|mut source| {
                let head = source.next()?;
                Ok((source, head))
            })
            .collect::<Result<_, SourceError>>()?;
        Ok(Self { sources })
    }
}

impl Source for Merge {
    #[inline]
    fn next(&mut self) -> Result<Option<Market>, SourceError> {
        let mut first: Option<(usize, Nanos)> = None;
        for (at, (_, head)) in self.sources.iter().enumerate() {
            if let Some(market) = head
                && first.is_none_or(|(_, ts)| market.ts_event < ts)
            {
                first = Some((at, market.ts_event));
            }
        }
        let Some((at, _)) = first else { return Ok(None) };
        let (source, head) = &mut self.sources[at];
        Ok(std::mem::replace(head, source.next()?))
    }

    fn progress(&self) -> f64 {
        let total: f64 = self.sources.iter().map(|(source, _)| source.progress()).sum();
        if self.sources.is_empty() { 1.0 } else { total / self.sources.len() as f64 }
    }

    fn faults(&self) -> Vec<String> {
        self.sources.iter().flat_map(|(source, _)| source.faults()).collect()
    }
}
