//! The whole state as bytes, and back: so that a restart needs the journal from here on only.
//!
//! | part | bytes |
//! |---|---|
//! | magic | 8 |
//! | version | u32 |
//! | configuration | u128, a fingerprint of all that [`State::new`] was given, of rules and of sessions |
//! | digest | u128, of the state |
//! | state | pillars in their order, then the number of the next input and the clock |
//! | check | u128, XXH3 of every byte before it |
//!
//! It is read by the program that wrote it: another version, or another configuration, is refused, and the journal is
//! replayed whole. What comes back has the digest that was written, or it is refused. Bytes are not trusted; but, as for
//! the journal, the check detects damage and not forgery.

use std::fmt::{self, Write};

use helios_data::Touched;
use helios_types::{Damaged, Hasher, Load, Persist, Save};

use crate::state::{Config, State};

/// Changes with every change of what a snapshot holds.
pub const SNAPSHOT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = [0x89, b'H', b'L', b'S', b'\r', b'\n', 0x1A, b'\n'];

/// Why a snapshot was refused. The state is void then: begin with a fresh one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// It is none, or was changed.
    Damaged(&'static str),
    /// Another version of the program wrote it.
    Version(u32),
    /// It is of a run that was configured otherwise.
    Configuration,
    /// What came back is not what was written: a fault of the program.
    Digest,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "the snapshot is damaged: {what}"),
            Self::Version(version) => {
                write!(f, "the snapshot has version {version}, this program reads {SNAPSHOT_VERSION}")
            }
            Self::Configuration => f.write_str("the snapshot is of a run that was configured otherwise"),
            Self::Digest => f.write_str("the snapshot does not come back as it was written"),
        }
    }
}

impl std::error::Error for RestoreError {}

impl From<Damaged> for RestoreError {
    fn from(Damaged(what): Damaged) -> Self {
        Self::Damaged(what)
    }
}

/// Text that is not kept.
struct Fingerprint(Hasher);

impl Write for Fingerprint {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.bytes(text.as_bytes());
        Ok(())
    }
}

/// Of a configuration: its words.
pub(crate) fn fingerprint(config: &Config) -> u128 {
    let mut fingerprint = Fingerprint(Hasher::new());
    write!(fingerprint, "{config:?}").expect("hashing does not fail");
    fingerprint.0.finish()
}

fn check(bytes: &[u8]) -> u128 {
    let mut hasher = Hasher::new();
    hasher.bytes(bytes);
    hasher.finish()
}

impl State {
    /// Of all that the run was made of.
    fn configuration(&self) -> u128 {
        let mut fingerprint = Fingerprint(Hasher::new());
        let (rules, sessions) = (self.risk.rules(), self.orders.links().session_of_each());
        write!(fingerprint, "{:?} {rules:?} {sessions:?}", self.configured).expect("hashing does not fail");
        fingerprint.0.finish()
    }

    /// The state as bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut save = Save(MAGIC.to_vec());
        SNAPSHOT_VERSION.save(&mut save);
        self.configuration().save(&mut save);
        self.digest().save(&mut save);
        // All fields by name: a new one does not compile until somebody has said whether it is remembered.
        let Self {
            markets,
            graph,
            orders,
            risk,
            trade_from: _,
            next_seq,
            now,
            touched,
            intents: _,
            changes: _,
            proven: _,
            feeds: _,
            configured: _,
        } = self;
        markets.save(&mut save);
        graph.save(&mut save);
        risk.save(&mut save);
        orders.save(&mut save);
        (*next_seq, *now, touched.0).save(&mut save);
        let check = check(&save.0);
        check.save(&mut save);
        save.0
    }

    /// This state, which is fresh and configured as the one that wrote the snapshot, as it was then.
    pub fn restore(mut self, snapshot: &[u8]) -> Result<Self, RestoreError> {
        let (bytes, found) = snapshot.split_last_chunk().ok_or(RestoreError::Damaged("it is too short"))?;
        let mut load = Load(bytes);
        if load.array()? != MAGIC {
            return Err(RestoreError::Damaged("it does not begin as one"));
        }
        let version = u32::load(&mut load)?;
        if version != SNAPSHOT_VERSION {
            return Err(RestoreError::Version(version));
        }
        if check(bytes) != u128::from_le_bytes(*found) {
            return Err(RestoreError::Damaged("its bytes were changed"));
        }
        if u128::load(&mut load)? != self.configuration() {
            return Err(RestoreError::Configuration);
        }
        if self.next_seq != 0 {
            return Err(RestoreError::Damaged("the state to restore into is not fresh"));
        }
        let digest = u128::load(&mut load)?;
        self.markets.restore(&mut load)?;
        self.graph.restore(&mut load)?;
        self.risk.restore(&mut load)?;
        self.orders.restore(&mut load, &self.risk)?;
        let touched;
        (self.next_seq, self.now, touched) = Persist::load(&mut load)?;
        self.touched = Touched(touched);
        load.finish()?;
        if self.digest() == digest { Ok(self) } else { Err(RestoreError::Digest) }
    }
}
