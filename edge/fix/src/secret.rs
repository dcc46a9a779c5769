//! Secrets: passwords and keys, from the environment or a file that nobody else can read.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Longest key, certificate or password file.
const MAX_FILE: u64 = 1 << 20;

/// Something that no log may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not depend on where the first difference is.
    pub fn matches(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differences = own.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
        own.len() == given.len() && differences == 0
    }
}

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of the environment.
    Environment(String),
    /// A file; a final line break does not count.
    File(PathBuf),
}

impl SecretSource {
    /// Reads it. The error names the place, never the content.
    pub fn read(&self) -> Result<Secret, String> {
        let text = match self {
            Self::Environment(name) => {
                std::env::var(name).map_err(|_| format!("the environment variable {name} is not set"))?
            }
            Self::File(path) => {
                let bytes = read_private(path)?;
                String::from_utf8(bytes).map_err(|_| format!("{}: it is not text", path.display()))?
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        let place = match self {
            Self::Environment(name) => format!("the environment variable {name}"),
            Self::File(path) => path.display().to_string(),
        };
        if text.is_empty() {
            return Err(format!("{place}: it is empty"));
        }
        if text.bytes().any(|byte| byte < b' ') {
            return Err(format!("{place}: a password has no control characters"));
        }
        Ok(Secret(text.to_owned()))
    }
}

/// The content of a file that only its owner can read.
pub(crate) fn read_private(path: &Path) -> Result<Vec<u8>, String> {
    let place = path.display();
    let mode = fs::metadata(path).map_err(|error| format!("{place}: {error}"))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "{place}: others can use it (mode {:03o}); make it yours alone: chmod 600 {place}",
            mode & 0o777
        ));
    }
    read_bounded(path)
}

pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let place = path.display();
    let found = fs::metadata(path).map_err(|error| format!("{place}: {error}"))?;
    if !found.is_file() || found.len() > MAX_FILE {
        return Err(format!("{place}: it is no file, or longer than {MAX_FILE} bytes"));
    }
    fs::read(path).map_err(|error| format!("{place}: {error}"))
}
