//! The facts of each FIX version.

/// A FIX version that a session can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// FIX.4.0
    Fix40,
    /// FIX.4.1
    Fix41,
    /// FIX.4.2
    Fix42,
    /// FIX.4.3
    Fix43,
    /// FIX.4.4
    Fix44,
    /// FIX 5.0 over FIXT.1.1
    Fix50,
    /// FIX 5.0 SP1 over FIXT.1.1
    Fix50Sp1,
    /// FIX 5.0 SP2 over FIXT.1.1
    Fix50Sp2,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 8] = [
        Self::Fix40,
        Self::Fix41,
        Self::Fix42,
        Self::Fix43,
        Self::Fix44,
        Self::Fix50,
        Self::Fix50Sp1,
        Self::Fix50Sp2,
    ];

    /// Field 8.
    pub const fn begin_string(self) -> &'static str {
        match self {
            Self::Fix40 => "FIX.4.0",
            Self::Fix41 => "FIX.4.1",
            Self::Fix42 => "FIX.4.2",
            Self::Fix43 => "FIX.4.3",
            Self::Fix44 => "FIX.4.4",
            Self::Fix50 | Self::Fix50Sp1 | Self::Fix50Sp2 => "FIXT.1.1",
        }
    }

    /// DefaultApplVerID (1137), of the versions over FIXT.1.1.
    pub const fn appl_ver_id(self) -> Option<&'static str> {
        match self {
            Self::Fix50 => Some("7"),
            Self::Fix50Sp1 => Some("8"),
            Self::Fix50Sp2 => Some("9"),
            _ => None,
        }
    }

    /// The version of a name as people write it: `FIX.4.4`, `FIX.5.0SP2`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "FIX.4.0" => Self::Fix40,
            "FIX.4.1" => Self::Fix41,
            "FIX.4.2" => Self::Fix42,
            "FIX.4.3" => Self::Fix43,
            "FIX.4.4" => Self::Fix44,
            "FIX.5.0" => Self::Fix50,
            "FIX.5.0SP1" => Self::Fix50Sp1,
            "FIX.5.0SP2" => Self::Fix50Sp2,
            _ => return None,
        })
    }
}

/// The facts of one version (with FIXT.1.1 beneath it from 5.0 on) as dense tables.
pub struct Dictionary {}

impl Dictionary {
    /// Built at the first call, kept for ever.
    pub fn of(version: Version) -> &'static Self {
        let _ = version;
        todo!()
    }
}
