//! The journal's thread: the next window, pages ahead of the pen, the disk; and chores of the run that must not stop the
//! engine.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};

use super::window::Window;
use super::{Durability, Settings};
use crate::driver::pin;

/// Bytes before the pen whose pages are kept present.
pub(super) const AHEAD: usize = 4 << 20;
/// The same where every sync sends the pages to the disk: those ahead are zeros.
const AHEAD_ON_DISK: usize = 64 << 10;
/// A page that the kernel has written to the disk is not writable at once: it is asked for again so often.
const AGAIN: Duration = Duration::from_millis(20);
/// The thread sleeps so long when nothing waits for it.
const NAP: Duration = Duration::from_millis(1);

/// Something that is done now and then beside the engine: called at every round of the journal's thread, which is every
/// millisecond or more often, and once more when the journal ends.
pub type Chore = Box<dyn FnMut() + Send>;

/// What the journal's threads tell each other.
pub(super) struct Shared {
    pub(super) written: AtomicU64,
    pub(super) committed: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) synced: AtomicU64,
    pub(super) durability: Durability,
    over: AtomicBool,
    troubled: AtomicBool,
    trouble: Mutex<String>,
}

impl Shared {
    pub(super) fn new(at: u64, durability: Durability) -> Self {
        Self {
            written: AtomicU64::new(at),
            committed: AtomicU64::new(at),
            syncs: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            durability,
            over: AtomicBool::new(false),
            troubled: AtomicBool::new(false),
            trouble: Mutex::new(String::new()),
        }
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.troubled.load(Acquire).then(|| self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The first trouble stays.
    fn set_trouble(&self, text: String) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.troubled.load(Relaxed) {
            *trouble = text;
            self.troubled.store(true, Release);
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Acquire)
    }
}

/// The engine's end of the thread.
pub(super) struct Keeper {
    next: Consumer<Window>,
    old: Producer<Window>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(
        file: File,
        window: Window,
        settings: Settings,
        shared: Arc<Shared>,
        chores: Vec<Chore>,
    ) -> io::Result<Self> {
        // One window ahead; the old one has left before the next is taken.
        let (windows, next) = RingBuffer::new(1);
        let (old, used) = RingBuffer::new(2);
        let mut work = Work {
            file,
            ahead: Some(window.end()),
            window,
            upcoming: None,
            windows,
            used,
            shared: Arc::clone(&shared),
            settings,
            touched: 0,
            looked: Instant::now(),
            chores,
        };
        let thread = thread::Builder::new().name("helios-journal".to_owned()).spawn(move || work.run())?;
        Ok(Self { next, old, shared, thread: Some(thread) })
    }

    pub(super) fn next(&mut self) -> Option<Window> {
        self.next.pop().ok()
    }

    pub(super) fn has_next(&self) -> bool {
        !self.next.is_empty()
    }

    /// Unmapping takes time: it is done there.
    pub(super) fn give_back(&mut self, window: Window) {
        drop(self.old.push(window));
    }

    pub(super) fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    pub(super) fn stop(&mut self) {
        self.shared.over.store(true, Release);
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.shared.set_trouble("the journal's thread has failed".to_owned());
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread works on.
struct Work {
    file: File,
    /// The window that is written.
    window: Window,
    /// The one that comes after it, once it is prepared.
    upcoming: Option<Window>,
    /// Where the next window to prepare begins; `None` when the disk is full.
    ahead: Option<u64>,
    windows: Producer<Window>,
    used: Consumer<Window>,
    shared: Arc<Shared>,
    settings: Settings,
    /// Pages are present up to here.
    touched: u64,
    looked: Instant,
    chores: Vec<Chore>,
}

impl Work {
    fn run(&mut self) {
        if let Some(core) = self.settings.core {
            pin(core);
        }
        loop {
            // Before the work: what is written before the end is synced too.
            let over = self.shared.is_over();
            if !over {
                self.prepare();
                self.touch();
            }
            let synced = self.settings.durability == Durability::Disk && self.sync();
            for chore in &mut self.chores {
                chore();
            }
            if over {
                return;
            }
            if self.settings.spin {
                std::hint::spin_loop();
                thread::yield_now();
            } else if !synced {
                thread::park_timeout(NAP);
            }
        }
    }

    /// The next window, and the end of old ones.
    fn prepare(&mut self) {
        while self.used.pop().is_ok() {
            if let Some(next) = self.upcoming.take() {
                (self.window, self.touched) = (next, 0);
            }
        }
        let Some(offset) = self.ahead.filter(|_| self.upcoming.is_none()) else { return };
        match Window::prepare(&self.file, offset, self.settings.window) {
            Ok(window) => {
                window.touch(offset, self.pages_ahead());
                self.ahead = Some(window.end());
                self.upcoming = Some(window.clone());
                drop(self.windows.push(window));
            }
            Err(error) => {
                self.ahead = None;
                let (length, left) = (self.settings.window, offset.saturating_sub(self.shared.written.load(Relaxed)));
                self.shared.set_trouble(format!(
                    "the disk has no room for the next {length} bytes ({error}); {left} bytes are left: the run stops in \
                     order. Make room and start it again"
                ));
            }
        }
    }

    fn pages_ahead(&self) -> usize {
        let ahead = if self.settings.durability == Durability::Disk { AHEAD_ON_DISK } else { AHEAD };
        ahead.min(self.settings.window)
    }

    /// Keeps pages before the pen present and writable.
    fn touch(&mut self) {
        let (written, ahead) = (self.shared.written.load(Acquire), self.pages_ahead());
        let near = self.touched.saturating_sub(written) < ahead as u64 / 2;
        if near || self.looked.elapsed() > AGAIN {
            self.window.touch(written, ahead);
            self.touched = written + ahead as u64;
            self.looked = Instant::now();
        }
    }

    /// Brings to the disk what was written; true when there was anything.
    fn sync(&mut self) -> bool {
        let (written, committed) = (self.shared.written.load(Acquire), self.shared.committed.load(Relaxed));
        if written == committed || self.shared.troubled.load(Relaxed) && self.ahead.is_some() {
            return false;
        }
        if let Err(error) = self.file.sync_data() {
            // After a failed sync nobody knows what is on the disk, and the next one may say that all is well.
            self.shared.set_trouble(format!("the disk did not take the journal: {error}; nothing is sent any more"));
            return false;
        }
        self.shared.syncs.fetch_add(1, Relaxed);
        self.shared.synced.fetch_add(written - committed, Relaxed);
        self.shared.committed.store(written, Release);
        true
    }
}
