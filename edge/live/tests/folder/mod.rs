//! A folder of a test, gone with it.

use std::fs;
use std::path::PathBuf;

/// Its name is of this process: a child is told the path.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("helios-live-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a writable folder");
        Self(path)
    }

    pub fn journal(&self) -> PathBuf {
        self.0.join("live.journal")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
