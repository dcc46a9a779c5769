//! Files of tests, gone when the test is over.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A directory of a test.
pub(crate) struct Scratch(PathBuf);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A directory with a file's name in it.
pub(crate) fn file(name: &str) -> Scratch {
    let number = COUNT.fetch_add(1, Relaxed);
    let directory = std::env::temp_dir().join(format!("helios-live-{}-{number}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the temporary directory is writable");
    Scratch(directory)
}

impl Scratch {
    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("live.journal")
    }

    pub(crate) fn open(&self) -> File {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options.open(self.path()).expect("the file can be made")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
