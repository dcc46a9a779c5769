//! FIX from outside: acceptance scenarios in simulated time, dictionaries against their source, two sessions on a
//! bad line, and arbitrary bytes.

mod dictionaries;
mod link;
mod ours;
mod properties;
mod scenario;
mod session;
mod suite;

use std::path::{Path, PathBuf};

/// A folder of `../shared`, or a message that it is not there.
fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(folder);
    if !path.is_dir() {
        println!("skipped: ../shared/{folder} is not there");
        return None;
    }
    Some(path)
}

#[allow(clippy::disallowed_methods, reason = "a test reads its vectors")]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files of a folder in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry of a folder").path()).collect();
    paths.sort();
    paths
}
