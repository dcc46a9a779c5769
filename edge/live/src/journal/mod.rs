//! The journal of a live run: one growing file, mapped into memory, over all restarts.
//!
//! A record is in the map before an output leaves, so a process that is killed loses nothing: the kernel has the bytes.
//! What a machine that loses its power may lose is said by [`Durability`]. The file grows by windows, which a thread of
//! its own prepares one ahead: the engine's thread allocates nothing, and waits only when the disk is slower than the run
//! (which is counted). Room on the disk is reserved when a window is prepared: a full disk is told a quarter of
//! a window before it matters at the latest ([`Journal::trouble`]), and is never a signal.
//!
//! A file that was not closed ends in zeros, which the reader knows as "never written". An orderly end writes the end
//! record and cuts the file to its length.
//!
//! Assumes: a local file system on Linux, on which maps and reads see the same bytes; nobody else cuts the file (it is
//! locked, by advice). Absent: compression, and files by day: a journal begins with a run and ends with it.

mod keeper;
mod replica;
mod window;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use helios_io::SourceError;
use helios_journal::{Position, Writer};
use helios_types::{Input, Output};

pub use keeper::Chore;
use keeper::{Keeper, Shared};
pub use replica::{ACK_LEN, Replica};
use window::{PAGE, Window};

/// When outputs may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the record is in the map: a killed process loses nothing.
    #[default]
    Process,
    /// When it is on the disk: a machine without power loses nothing. Inputs share a sync.
    Disk,
    /// When a follower on another machine has it.
    Replica,
}

/// How a journal is kept.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// When outputs may leave.
    pub durability: Durability,
    /// Bytes of a window; a multiple of the page.
    pub window: usize,
    /// The journal's thread looks without pause, and does not sleep.
    pub spin: bool,
    /// Its core, if it has one.
    pub core: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { durability: Durability::Process, window: WINDOW, spin: false, core: None }
    }
}

/// Bytes of a window: at a million small records a second it lasts for most of a second.
pub const WINDOW: usize = 64 << 20;

/// How long a full window may wait for the next before the run is stopped.
const PATIENCE: Duration = Duration::from_secs(10);

/// A journal under way.
pub struct Journal {
    writer: Writer,
    window: Window,
    /// The place in the file of the next byte.
    at: u64,
    /// Where it must be known whether there is another window.
    look_at: u64,
    keeper: Keeper,
    shared: Arc<Shared>,
    file: File,
    path: PathBuf,
    settings: Settings,
    stalls: u64,
}

impl Journal {
    /// A new file, its owner's alone; one that is there must be empty. `config` is the run's description.
    pub fn create(path: &Path, config: &[u8], settings: Settings, chores: Vec<Chore>) -> Result<Self, SourceError> {
        let writer = Writer::new(config).map_err(|error| wrong(path, error.to_string()))?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(|e| io(path, &e))?;
        let length = file.metadata().map_err(|e| io(path, &e))?.len();
        if length > 0 {
            return Err(wrong(path, format!("it exists, with {length} bytes: a journal begins in a new file")));
        }
        Self::start(path, file, writer, 0, settings, chores)
    }

    /// Goes on in a file after its last good record. What is behind it is cut off: a torn record, zeros, the end record of
    /// a run that was closed.
    pub fn resume(
        path: &Path,
        position: Position,
        settings: Settings,
        chores: Vec<Chore>,
    ) -> Result<Self, SourceError> {
        let file = File::options().read(true).write(true).open(path).map_err(|e| io(path, &e))?;
        let length = file.metadata().map_err(|e| io(path, &e))?.len();
        if length < position.offset() {
            let message =
                format!("it has {length} bytes, {} were read from it before: it was changed", position.offset());
            return Err(wrong(path, message));
        }
        Self::start(path, file, Writer::resume(position), position.offset(), settings, chores)
    }

    fn start(
        path: &Path,
        file: File,
        writer: Writer,
        at: u64,
        settings: Settings,
        chores: Vec<Chore>,
    ) -> Result<Self, SourceError> {
        let length = settings.window;
        if length == 0 || !length.is_multiple_of(PAGE) {
            return Err(wrong(path, format!("its windows must be multiples of {PAGE} bytes, not {length}")));
        }
        file.try_lock()
            .map_err(|error| wrong(path, format!("another process writes it, or it cannot be locked: {error}")))?;
        file.set_len(at).map_err(|e| io(path, &e))?;
        let prepare = |offset| {
            Window::prepare(&file, offset, length).map_err(|error| {
                wrong(path, format!("no room for {length} bytes at {offset}: {error}; make room on the disk"))
            })
        };
        let window = prepare(at / length as u64 * length as u64)?;
        window.touch(at, length.min(keeper::AHEAD));
        let shared = Arc::new(Shared::new(at, settings.durability));
        let twin = file.try_clone().map_err(|e| io(path, &e))?;
        let keeper = Keeper::start(twin, window.clone(), settings, Arc::clone(&shared), chores)
            .map_err(|error| wrong(path, format!("its thread cannot be started: {error}")))?;
        let (look_at, path) = (look_at(&window), path.to_owned());
        let mut journal = Self { writer, window, at, look_at, keeper, shared, file, path, settings, stalls: 0 };
        // So that a run that is killed early says at least what it was.
        journal.flush()?;
        Ok(journal)
    }

    /// Appends an input; it is in the map when this returns, and with it all outputs before it.
    #[inline]
    pub fn input(&mut self, input: &Input) -> Result<(), SourceError> {
        self.writer.input(input);
        self.flush()
    }

    /// Appends an output; it goes to the map with the next input, or by [`flush`](Self::flush).
    #[inline]
    pub fn output(&mut self, seq: u64, output: &Output) {
        self.writer.output(seq, output);
    }

    /// Moves what is pending to the map.
    #[inline]
    pub fn flush(&mut self) -> Result<(), SourceError> {
        let pending = self.writer.pending();
        if pending.is_empty() {
            return Ok(());
        }
        let length = pending.len();
        let count = self.window.write(self.at, pending);
        self.at += count as u64;
        if count < length {
            self.cross(count)?;
        }
        if self.at >= self.look_at {
            self.look_ahead();
        }
        self.writer.clear_pending();
        self.shared.written.store(self.at, Release);
        if self.settings.durability != Durability::Process && !self.settings.spin {
            self.keeper.wake();
        }
        Ok(())
    }

    /// Writes the rest of what is pending into the windows that follow.
    #[cold]
    #[inline(never)]
    fn cross(&mut self, mut done: usize) -> Result<(), SourceError> {
        while done < self.writer.pending().len() {
            self.next_window()?;
            let count = self.window.write(self.at, &self.writer.pending()[done..]);
            self.at += count as u64;
            done += count;
        }
        Ok(())
    }

    fn next_window(&mut self) -> Result<(), SourceError> {
        let mut begun = None;
        loop {
            if let Some(next) = self.keeper.next() {
                assert!(next.offset == self.at, "windows follow each other");
                let old = std::mem::replace(&mut self.window, next);
                self.look_at = look_at(&self.window);
                self.keeper.give_back(old);
                self.keeper.wake();
                return Ok(());
            }
            if let Some(trouble) = self.trouble() {
                return Err(wrong(&self.path, trouble));
            }
            if *begun.get_or_insert_with(Instant::now) + PATIENCE < Instant::now() {
                return Err(wrong(&self.path, format!("the disk gave no room for {} s", PATIENCE.as_secs())));
            }
            self.stalls += u64::from(begun.is_some_and(|begun| begun.elapsed() < Duration::from_micros(1)));
            self.keeper.wake();
            std::thread::yield_now();
        }
    }

    /// A part of the window before its end it must be known whether there is another: an engine that is faster than the
    /// journal's thread would else hear of a full disk when there is no room left for an orderly end.
    #[cold]
    #[inline(never)]
    fn look_ahead(&mut self) {
        let begun = Instant::now();
        while !self.keeper.has_next() && self.trouble().is_none() && begun.elapsed() < PATIENCE {
            self.keeper.wake();
            std::thread::yield_now();
        }
        self.look_at = u64::MAX;
    }

    /// Bytes written, up to the end of the last record in the map.
    #[inline]
    pub fn written(&self) -> u64 {
        self.at
    }

    /// Outputs of inputs before this byte may leave.
    #[inline]
    pub fn committed(&self) -> u64 {
        match self.settings.durability {
            Durability::Process => self.at,
            Durability::Disk | Durability::Replica => self.shared.committed.load(Acquire),
        }
    }

    /// Outputs wait for [`committed`](Self::committed).
    #[inline]
    pub fn must_wait(&self) -> bool {
        self.settings.durability != Durability::Process
    }

    /// What keeps the journal from going on, as soon as it is known: a full disk is known a window before it matters.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble()
    }

    /// Times that the engine waited for a window.
    pub fn stalls(&self) -> u64 {
        self.stalls
    }

    /// Syncs so far, and bytes that they covered: their quotient is the batch.
    pub fn syncs(&self) -> (u64, u64) {
        (self.shared.syncs.load(Relaxed), self.shared.synced.load(Relaxed))
    }

    /// Inputs written, those before a restart included.
    pub fn inputs(&self) -> u64 {
        self.writer.inputs()
    }

    /// Where the next record will begin; `None` after the end record.
    pub fn position(&self) -> Option<Position> {
        self.writer.position()
    }

    /// What a follower's thread needs: see [`Replica`].
    pub fn replica(&self) -> Result<Replica, SourceError> {
        let file = self.file.try_clone().map_err(|e| io(&self.path, &e))?;
        Ok(Replica::new(file, Arc::clone(&self.shared)))
    }

    /// Closes the journal: the end record, the file cut to its length, all of it on the disk.
    pub fn end(mut self, digest: u128) -> Result<(), SourceError> {
        self.writer.end(digest);
        self.flush()?;
        self.keeper.stop();
        self.file.set_len(self.at).and_then(|()| self.file.sync_all()).map_err(|e| io(&self.path, &e))
    }
}

/// Where in a window [`Journal::look_ahead`] is due.
fn look_at(window: &Window) -> u64 {
    window.end() - (window.end() - window.offset) / 4
}

fn wrong(path: &Path, message: String) -> SourceError {
    SourceError { source: path.display().to_string(), message }
}

fn io(path: &Path, error: &std::io::Error) -> SourceError {
    wrong(path, error.to_string())
}

#[cfg(test)]
mod tests;
