//! The driver: sockets and clocks for the stations, threads for the engine.
//!
//! Two layouts. [`Layout::One`]: feeds, engine and order entry take turns on one thread, and a packet runs to its order
//! without a hand-over. [`Layout::Four`]: feed, engine and order entry have threads of their own, joined by the rings of
//! [`crate::ring`]. In both the journal has a thread beside. Threads spin, or sleep until a socket, a ring or a clock wakes
//! them.
//!
//! A run begins with every session down, as inputs. It ends in order ([`Shared::stop`], a full disk, a strategy that
//! failed): resting orders are cancelled if so configured, sessions count as down, so that strategies hear what becomes of
//! their orders and whatever they wish is refused, answers are waited for, leave is taken of the venues, and the journal is
//! closed. It ends at once when the journal fails or the lease is lost: nothing is sent any more. Strategies that failed
//! are not called any more.

mod beside;
mod copies;
mod core;
mod entries;
mod feeds;
mod four;
mod one;
mod paper;
mod shared;
mod station;

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Release;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use helios_engine::State;
use helios_io::{Callbacks, Recorder, SourceError, Tables};
use helios_types::{Event, Intent, Nanos};
use helios_venue::Venues;
use rustix::thread::{CpuSet, sched_setaffinity};

pub use self::beside::{Beside, JOURNAL_FILE, MAX_ROWS};
pub use self::copies::{COPY_ROOM, CopySetup};
pub use self::core::{Answer, Command, Stopping};
pub use self::entries::EntrySetup;
pub use self::feeds::FeedSetup;
pub use self::shared::{Ended, INFO, MAX_NOTES, Note, Shared, Status, WARNING, monotonic};
pub use self::station::{EntryStation, FeedStation, FeedTold};

use self::copies::Pulse;
use self::core::{Core, Parts};
use self::entries::{Entries, Outlet};
use self::feeds::Feeds;
use self::paper::Paper;
use self::shared::lock;
use crate::engine::Engine;
use crate::journal::Journal;
use crate::latency::Stages;
use crate::ring::{Bed, Sender, ring};

/// Commands that wait for the engine.
const COMMAND_ROOM: usize = 256;

/// Who does what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// One thread, and the journal's.
    #[default]
    One,
    /// Feed, engine, order, journal.
    Four,
}

/// How a run is driven.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who does what.
    pub layout: Layout,
    /// Threads never sleep.
    pub spin: bool,
    /// Cores by thread: of `one` the engine's; of `four` feed's, engine's, order's. Fewer: the rest is not pinned. The
    /// journal's is in its own settings.
    pub cores: Vec<usize>,
    /// Stages are timed.
    pub measure: bool,
    /// Between two snapshots of the state; zero for none. The engine stands still while one is made.
    pub snapshot_every: Duration,
    /// The end.
    pub stopping: Stopping,
}

impl Default for Options {
    fn default() -> Self {
        let stopping = Stopping { cancel: true, patience: Duration::from_secs(5) };
        Self {
            layout: Layout::One,
            spin: false,
            cores: Vec::new(),
            measure: true,
            snapshot_every: Duration::ZERO,
            stopping,
        }
    }
}

/// Where orders go.
pub enum Venue<E> {
    /// To venues, through sessions.
    Live(Vec<EntrySetup<E>>),
    /// To simulated ones in this process.
    Paper(Box<Venues>),
}

/// What a run is made of.
pub struct Setup<F, E, C> {
    /// The engine's state: fresh, or recovered.
    pub state: State,
    /// The stamp of the first inputs; zero for the clock's.
    pub started: Nanos,
    /// Standing where the state stands; made with the chores of `beside`.
    pub journal: Option<Journal>,
    /// What is beside the engine.
    pub beside: Beside,
    /// Market data.
    pub feeds: Vec<FeedSetup<F>>,
    /// Where orders go.
    pub venue: Venue<E>,
    /// For each instrument the session that it trades through; empty: all the first.
    pub session_of: Vec<u32>,
    /// The venues' own word on our executions.
    pub copies: Vec<CopySetup>,
    /// Names of the instruments, for the log.
    pub symbols: Vec<String>,
    /// Strategies outside the core.
    pub callbacks: C,
    /// What they wished, and the process that died did not bring to the journal: see [`crate::Recalled`].
    pub wishes: Vec<Intent>,
    /// How it is driven.
    pub options: Options,
}

/// A run under way.
pub struct Handle {
    shared: Arc<Shared>,
    recorder: Arc<Mutex<Recorder>>,
    total: Arc<Mutex<Stages>>,
    thread: Option<JoinHandle<()>>,
    lines: Vec<SocketAddr>,
}

impl<F, E, C> Setup<F, E, C>
where
    F: FeedStation + 'static,
    E: EntryStation + 'static,
    C: Callbacks + Send + 'static,
{
    /// Opens the sockets and starts the threads.
    pub fn start(self) -> Result<Handle, SourceError> {
        let Self { state, started, journal, beside, feeds, venue, session_of, copies, symbols, .. } = self;
        let Self { callbacks, wishes, options, .. } = self;
        let Beside { told, snapshots, slots, recorder, total, shared } = beside;
        let feeds = Feeds::open(feeds, &shared)?;
        let lines = feeds.addresses();
        let bed = Bed::new(options.spin).map_err(|e| start_error(&e))?;
        let (sender, commands) = ring(COMMAND_ROOM, &bed.alarm());
        *lock(&shared.commands) = Some(sender);
        lock(&shared.alarms).push(bed.alarm());
        let working = state.orders().open();
        let instruments = state.markets().len();
        let mut parts = Parts {
            shared: Arc::clone(&shared),
            commands,
            told,
            snapshots,
            snapshot_every: options.snapshot_every,
            slots: slots.clone(),
            sessions: 0,
            started,
            stopping: options.stopping,
            measure: options.measure,
            copies: None,
            wishes,
        };
        let sessions = if let Venue::Live(setups) = &venue { setups.len() } else { 0 };
        let pulse: Pulse = (0..sessions).map(|_| AtomicU64::new(0)).collect();
        if !copies.is_empty() {
            let tap = copies::start(copies, symbols, Arc::clone(&pulse), &shared, &bed);
            parts.copies = Some(tap.map_err(|e| start_error(&e))?);
        }
        let engine = Engine::new(state, journal);
        let thread = match venue {
            Venue::Paper(venues) => {
                parts.sessions = session_of.iter().max().map_or(1, |most| most + 1);
                let paper = Paper::new(*venues, parts.sessions, working);
                let core = Core::new(engine, paper, callbacks, parts);
                engine_thread(feeds, core, &shared, bed, &options)
            }
            Venue::Live(setups) => {
                parts.sessions = u32::try_from(setups.len()).unwrap_or(u32::MAX);
                let entries = Entries::new(setups, session_of, Arc::clone(&shared), pulse, options.measure);
                match options.layout {
                    Layout::One => {
                        let core = Core::new(engine, entries, callbacks, parts);
                        engine_thread(feeds, core, &shared, bed, &options)
                    }
                    Layout::Four => {
                        let (spin, cores) = (options.spin, options.cores.clone());
                        let own = cores.get(1).copied();
                        let shared = Arc::clone(&shared);
                        let threads = four::Threads {
                            feeds,
                            entries,
                            shared: Arc::clone(&shared),
                            slots,
                            instruments,
                            spin,
                            measure: options.measure,
                            cores,
                        };
                        threads.start(bed).and_then(|(outlet, ends)| {
                            let core = Core::new(engine, outlet, callbacks, parts);
                            let told = Arc::clone(&shared);
                            spawn("helios-engine", shared, move || {
                                pin_noted(own, &told);
                                C::during(|| four::run(core, ends))
                            })
                        })
                    }
                }
            }
        };
        let thread = thread.inspect_err(|_| shared.over.store(true, Release)).map_err(|e| start_error(&e))?;
        Ok(Handle { shared, recorder, total, thread: Some(thread), lines })
    }
}

fn start_error(error: &io::Error) -> SourceError {
    SourceError { source: "run".to_owned(), message: format!("its threads cannot be started: {error}") }
}

/// Everything on one thread.
fn engine_thread<F: FeedStation + 'static, O: Outlet + Send + 'static, C: Callbacks + Send + 'static>(
    feeds: Feeds<F>,
    core: Core<O, C>,
    shared: &Arc<Shared>,
    bed: Bed,
    options: &Options,
) -> io::Result<JoinHandle<()>> {
    let (spin, core_number, own) = (options.spin, options.cores.first().copied(), Arc::clone(shared));
    spawn("helios-engine", Arc::clone(shared), move || {
        pin_noted(core_number, &own);
        C::during(|| one::run(feeds, core, &own, (!spin).then_some(bed)))
    })
}

/// A thread of the run: whatever ends it badly ends the run, and is said.
fn spawn(
    name: &'static str,
    shared: Arc<Shared>,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let reason = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("{name}: {error}"),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it gave no reason");
                format!("{name} has failed, which is a mistake in helios: {text}")
            }
        };
        shared.note(format_args!("{reason}"));
        shared.stop(&reason, true);
        if name == "helios-engine" {
            shared.over.store(true, Release);
            lock(&shared.ended).get_or_insert(Ended { reason, failed: true, digest: None });
        }
    })
}

impl Handle {
    /// What the run shares: status, log, lease, the end.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where the lines of market data listen, in order.
    pub fn lines(&self) -> &[SocketAddr] {
        &self.lines
    }

    /// The run is over.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Gives the engine an input of an operator, and waits for what it says.
    pub fn command(&self, event: Event, patience: Duration) -> Result<Answer, SourceError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.push(Command::Event(event, answer))?;
        answered.recv_timeout(patience).map_err(|_| no_answer())
    }

    /// Looks at the engine, on its own thread.
    pub fn look<T: Send + 'static>(
        &self,
        patience: Duration,
        look: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, SourceError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.push(Command::Look(Box::new(move |engine| _ = answer.try_send(look(engine)))))?;
        answered.recv_timeout(patience).map_err(|_| no_answer())
    }

    fn push(&self, command: Command) -> Result<(), SourceError> {
        let over = || SourceError { source: "run".to_owned(), message: "it is over".to_owned() };
        if self.is_over() {
            return Err(over());
        }
        let mut commands = lock(&self.shared.commands);
        let sender: &mut Sender<Command> = commands.as_mut().ok_or_else(over)?;
        sender.send(command).map_err(|_| SourceError {
            source: "run".to_owned(),
            message: format!("{COMMAND_ROOM} commands wait already: this one was not taken"),
        })
    }

    /// All tables, as they are now.
    pub fn tables(&self) -> Result<Tables, SourceError> {
        let last = match lock(&self.shared.last).clone() {
            Some(last) => last,
            None => self.look(Duration::from_secs(5), |engine| {
                let instruments = engine.state().markets().len();
                Recorder::default().take(engine.state().risk(), instruments)
            })?,
        };
        Ok(beside::tables(&self.recorder, last))
    }

    /// The stages as they were last added up.
    pub fn stages(&self) -> Stages {
        lock(&self.total).clone()
    }

    /// Waits for the end.
    pub fn join(&mut self) -> Ended {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let ended = lock(&self.shared.ended).clone();
        ended.unwrap_or_else(|| Ended { reason: self.shared.reason(), failed: true, digest: None })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.shared.stop("its owner has let it go", true);
            self.join();
        }
    }
}

fn no_answer() -> SourceError {
    SourceError {
        source: "run".to_owned(),
        message: "it gave no answer in time: it is at its end, or very busy".to_owned(),
    }
}

/// Keeps the calling thread on a core; false when it cannot be.
pub fn pin(core: usize) -> bool {
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return false;
    }
    set.set(core);
    sched_setaffinity(None, &set).is_ok()
}

/// Pins where a core was asked for, and says when it cannot be.
fn pin_noted(core: Option<usize>, shared: &Shared) {
    if let Some(core) = core.filter(|core| !pin(*core)) {
        shared.note(format_args!("this process may not use core {core}: its thread runs wherever the system puts it"));
    }
}

#[cfg(test)]
mod tests;
