//! What is done beside the engine, on the journal's thread: tables for people, `latency.json`, the kernel's drop counts.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use helios_io::{Money, Recorder, SourceError, Tables};
use helios_types::{Nanos, Output};

use super::shared::{Shared, lock};
use crate::journal::Chore;
use crate::latency::Stages;
use crate::recovery::{private, store_snapshot};
use crate::ring::{Alarm, Receiver, Sender, ring};

/// Rows kept for the tables, all together: some hundred megabytes. The journal has everything.
pub const MAX_ROWS: usize = 4 << 20;
/// Outputs on their way to the tables.
const ROOM: usize = 1 << 16;
/// The journal's name in the run's folder.
pub const JOURNAL_FILE: &str = "live.journal";
/// How often the files are written.
const EVERY: Duration = Duration::from_secs(3);

/// What the tables are told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    Output(Nanos, Output),
    Money(Nanos, Money),
}

/// A snapshot of the state on its way to the disk.
pub(super) struct Snapshot {
    pub(super) inputs: u64,
    pub(super) bytes: Vec<u8>,
}

/// Histograms that the engine's thread has filled, until they were added up. Whoever fills them swaps, and never waits.
#[derive(Default)]
pub(super) struct Slot {
    stages: Stages,
    full: bool,
}

/// The way of histograms from a thread that must not wait to one that may.
#[derive(Clone, Default)]
pub(super) struct Slots(Arc<[Mutex<Slot>; 3]>);

impl Slots {
    /// Hands over what thread `number` measured, when the last was fetched.
    pub(super) fn give(&self, number: usize, stages: &mut Stages) {
        if let Ok(mut slot) = self.0[number].try_lock()
            && !slot.full
        {
            std::mem::swap(&mut slot.stages, stages);
            slot.full = true;
        }
    }

    /// At the end: all of it, waiting where it must.
    pub(super) fn give_last(&self, number: usize, stages: &Stages) {
        let mut slot = lock(&self.0[number]);
        slot.stages.add(stages);
        slot.full = true;
    }

    fn fetch(&self, total: &mut Stages) -> bool {
        let mut any = false;
        for slot in self.0.iter() {
            let mut slot = lock(slot);
            if slot.full {
                total.add(&slot.stages);
                slot.stages.clear();
                slot.full = false;
                any = true;
            }
        }
        any
    }
}

/// The engine's ends of what is beside it, and the chores for the journal.
pub struct Beside {
    pub(super) told: Sender<Told>,
    pub(super) snapshots: Sender<Snapshot>,
    pub(super) slots: Slots,
    pub(super) recorder: Arc<Mutex<Recorder>>,
    pub(super) total: Arc<Mutex<Stages>>,
    pub(super) shared: Arc<Shared>,
}

impl Beside {
    /// For a run that began with `cash`; `latency.json` and snapshots go to `directory`, if there is one, where the journal
    /// is too. The chores are the journal's.
    pub fn new(cash: i64, directory: Option<&Path>) -> io::Result<(Self, Vec<Chore>)> {
        // Its reader comes by now and then, and is never woken.
        let alarm: Arc<Alarm> = crate::ring::Bed::new(true)?.alarm();
        let (told, mut hears) = ring(ROOM, &alarm);
        let (snapshots, mut taken) = ring(1, &alarm);
        let beside = Self {
            told,
            snapshots,
            slots: Slots::default(),
            recorder: Arc::new(Mutex::new(Recorder::new(cash))),
            total: Arc::default(),
            shared: Arc::default(),
        };
        let (recorder, shared) = (Arc::clone(&beside.recorder), Arc::clone(&beside.shared));
        let tables: Chore = Box::new(move || record(&mut hears, &recorder, &shared));
        let mut files = Files {
            path: directory.map(|directory| directory.join("latency.json")),
            slots: beside.slots.clone(),
            total: Arc::clone(&beside.total),
            shared: Arc::clone(&beside.shared),
            written: Instant::now(),
            last: false,
        };
        let files: Chore = Box::new(move || files.look());
        let (place, shared) = (directory.map(Path::to_owned), Arc::clone(&beside.shared));
        let snapshots: Chore = Box::new(move || {
            if let Some(snapshot) = taken.receive()
                && let Some(place) = &place
                && let Err(error) = store(place, &snapshot)
            {
                shared.note(format_args!("a snapshot of the state could not be kept: {error}"));
            }
        });
        Ok((beside, vec![tables, files, snapshots]))
    }

    /// What the run shares with whoever watches it.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

/// The journal goes to the disk before: a snapshot that its journal does not reach is worth nothing.
fn store(place: &Path, snapshot: &Snapshot) -> Result<(), SourceError> {
    let journal = place.join(JOURNAL_FILE);
    let synced = fs::File::open(&journal).and_then(|file| file.sync_data());
    let io = |error: io::Error| SourceError { source: journal.display().to_string(), message: error.to_string() };
    synced.map_err(io)?;
    store_snapshot(place, snapshot.inputs, &snapshot.bytes).map(drop)
}

fn record(hears: &mut Receiver<Told>, recorder: &Mutex<Recorder>, shared: &Shared) {
    if hears.is_empty() {
        return;
    }
    let mut recorder = lock(recorder);
    let mut room = MAX_ROWS.saturating_sub(recorder.rows());
    while let Some(told) = hears.receive() {
        if room == 0 {
            shared.untold.fetch_add(1, Relaxed);
            continue;
        }
        room -= 1;
        match told {
            Told::Output(ts, output) => recorder.record(ts, &output),
            Told::Money(ts, money) => recorder.put(ts, &money),
        }
    }
}

struct Files {
    path: Option<PathBuf>,
    slots: Slots,
    total: Arc<Mutex<Stages>>,
    shared: Arc<Shared>,
    written: Instant,
    last: bool,
}

impl Files {
    fn look(&mut self) {
        let over = self.shared.over.load(Relaxed);
        if !over && self.written.elapsed() < EVERY {
            return;
        }
        self.written = Instant::now();
        self.shared.count_drops();
        let mut total = lock(&self.total);
        let last = over && !std::mem::replace(&mut self.last, over);
        if (self.slots.fetch(&mut total) || last)
            && let Some(path) = &self.path
            && let Err(error) = replace(path, &total.json())
        {
            self.shared.note(format_args!("{}: {error}", path.display()));
            self.path = None;
        }
    }
}

/// A reader sees the old file or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("json.new");
    private(&fresh)?.write_all(text.as_bytes())?;
    fs::rename(&fresh, path)
}

/// All tables: what was recorded, and positions and strategies as `last` has them.
pub(super) fn tables(recorder: &Mutex<Recorder>, last: Tables) -> Tables {
    Tables { positions: last.positions, strategies: last.strategies, ..lock(recorder).copy() }
}
