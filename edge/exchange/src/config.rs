//! Settings of an exchange, as plain values; who reads them from a file is Python.

use std::fmt;

use helios_types::Nanos;
use helios_venue::SelfTrade;
use helios_venue::agents::{Config as Agents, Floor, Simulation};
use helios_wire::soupbintcp::Limits;

use crate::faults::Fault;
use crate::tape::TapeConfig;

/// Most venues of one exchange.
pub const MAX_VENUES: usize = 64;
/// Most users.
pub const MAX_USERS: usize = 1_000;
/// Fastest pace in messages a second.
pub const MAX_RATE: u64 = 100_000_000;

/// What is spoken at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// OUCH 4.2 in SoupBinTCP.
    Ouch42,
    /// OUCH 5.0 in SoupBinTCP.
    Ouch50,
    /// ITCH state of all books in SoupBinTCP.
    Snapshot,
    /// Order entry by FIX 4.4: our CompID is the venue's name, the client's his user name.
    Fix,
    /// Trades by FIX 4.4, of the user or of all.
    DropCopy,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ouch42, Self::Ouch50, Self::Snapshot, Self::Fix, Self::DropCopy];

    pub(crate) const fn is_fix(self) -> bool {
        matches!(self, Self::Fix | Self::DropCopy)
    }

    /// Its name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ouch42 => "ouch42",
            Self::Ouch50 => "ouch50",
            Self::Snapshot => "snapshot",
            Self::Fix => "fix44",
            Self::DropCopy => "drop_copy",
        }
    }
}

/// Where a client connects: a venue's port of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Index of the venue.
    pub venue: usize,
    /// What is spoken.
    pub protocol: Protocol,
}

/// How fast a market lives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many of its seconds in one of ours.
    Times(f64),
    /// So many messages a second, whatever its time is.
    Rate(u64),
}

/// Where a venue's market comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Only clients trade.
    Quiet,
    /// Clients meet the agents of a simulated day, which opens when the exchange does.
    Agents {
        /// Settings of the day.
        day: Agents,
        /// How fast it goes by.
        pace: Pace,
    },
    /// A recorded day, against which clients trade: [`crate::Exchange::set_messages`] brings it.
    Replay {
        /// What was recorded before this moment goes out at once; nanoseconds since midnight.
        from_ns: u64,
        /// How fast the rest goes by.
        pace: Pace,
    },
}

impl Pace {
    fn check(self) -> Result<Self, String> {
        match self {
            Self::Times(times) if !(1e-3..=1e6).contains(&times) => {
                Err(format!("speed is {times}: set it between 0.001 and 1000000"))
            }
            Self::Rate(rate) if !(1..=MAX_RATE).contains(&rate) => {
                Err(format!("rate is {rate}: set it between 1 and {MAX_RATE} messages a second"))
            }
            pace => Ok(pace),
        }
    }
}

impl Source {
    pub(crate) fn floor(&self, symbols: &[String]) -> Result<(Floor, Pace), String> {
        match self {
            Self::Quiet => Ok((Floor::quiet(symbols)?, Pace::Times(1.0))),
            Self::Agents { day, pace } => {
                if !symbols.is_empty() {
                    return Err("agents bring their own symbols: leave symbols out".to_owned());
                }
                let simulation = Simulation::new(day.clone()).map_err(|error| error.to_string())?;
                Ok((Floor::agents(simulation), pace.check()?))
            }
            Self::Replay { pace, .. } => Ok((Floor::quiet(symbols)?, pace.check()?)),
        }
    }
}

/// One venue.
#[derive(Clone, Debug, PartialEq)]
pub struct VenueConfig {
    /// Its name, for logs, faults and the ledger.
    pub name: String,
    /// What it lists; empty with agents, who bring their own.
    pub symbols: Vec<String>,
    /// Its market.
    pub source: Source,
    /// Its market data.
    pub tape: TapeConfig,
    /// What becomes of orders of one user that would trade with each other.
    pub self_trade: Option<SelfTrade>,
    /// Most orders of clients that work at once; one more is refused.
    pub max_open_orders: usize,
    /// Whether there are drop copies: they are kept from the beginning of the day on.
    pub drop_copies: bool,
}

impl VenueConfig {
    /// Only clients trade, everything else as usual.
    pub fn quiet(name: &str, symbols: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
            source: Source::Quiet,
            tape: TapeConfig::default(),
            self_trade: Some(SelfTrade::CancelNewest),
            max_open_orders: 1 << 16,
            drop_copies: true,
        }
    }

    /// Clients meet agents at the agents' own speed.
    pub fn agents(name: &str, day: Agents) -> Self {
        let source = Source::Agents { day, pace: Pace::Times(1.0) };
        Self { source, ..Self::quiet(name, &[]) }
    }
}

/// Who may log in; with the same name and password at every venue and port.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// At most six characters, the same in capitals or not.
    pub name: String,
    /// At most ten characters.
    pub password: String,
    /// Shown with attributed orders; four characters, padded.
    pub firm: [u8; 4],
    /// Whether the orders of a session that is lost are cancelled.
    pub cancel_on_disconnect: bool,
    /// Whether his drop copies have the trades of all users.
    pub sees_all: bool,
}

impl fmt::Debug for User {
    /// Without the password: logs are read by many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cancels = self.cancel_on_disconnect;
        f.debug_struct("User").field("name", &self.name).field("cancel_on_disconnect", &cancels).finish_non_exhaustive()
    }
}

/// A whole exchange.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its venues; ports and requests name them by index.
    pub venues: Vec<VenueConfig>,
    /// Its users; ledgers are theirs.
    pub users: Vec<User>,
    /// Beginning of the trading day as UTC; stamps of messages count from it.
    pub midnight: Nanos,
    /// Of the draws of faults.
    pub seed: u64,
    /// Faults from the beginning on.
    pub faults: Vec<Fault>,
    /// Of each connection, and how many there may be.
    pub limits: Limits,
}

impl Config {
    /// One user without a firm, no faults.
    pub fn new(venues: Vec<VenueConfig>, midnight: Nanos) -> Self {
        let limits = Limits { message_bytes: 1_024, ..Limits::default() };
        Self { venues, users: Vec::new(), midnight, seed: 1, faults: Vec::new(), limits }
    }

    /// The same with one more user, whose orders are cancelled when the session is lost.
    #[must_use]
    pub fn with_user(mut self, name: &str, password: &str) -> Self {
        let (name, password) = (name.to_owned(), password.to_owned());
        let firm = *b"    ";
        self.users.push(User { name, password, firm, cancel_on_disconnect: true, sees_all: false });
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |text: String| Err(ConfigError(text));
        if self.venues.is_empty() || self.venues.len() > MAX_VENUES {
            return wrong(format!("an exchange has 1 to {MAX_VENUES} venues, not {}", self.venues.len()));
        }
        if self.users.len() > MAX_USERS {
            return wrong(format!("an exchange has at most {MAX_USERS} users, not {}", self.users.len()));
        }
        for (at, venue) in self.venues.iter().enumerate() {
            if self.venues[..at].iter().any(|other| other.name == venue.name) {
                return wrong(format!("two venues have the name {:?}: give each its own", venue.name));
            }
        }
        for (at, User { name, password, firm, .. }) in self.users.iter().enumerate() {
            let fits = (1..=6).contains(&name.len()) && password.len() <= 10;
            if !(fits && name.is_ascii() && password.is_ascii() && firm.is_ascii()) {
                return wrong(format!("user {name:?}: a name has 1 to 6 ASCII characters, a password at most 10"));
            }
            if self.users[..at].iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
                return wrong(format!("two users have the name {name:?}: give each its own"));
            }
        }
        Ok(())
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}
