//! What an engine is told: where it listens, which sessions it holds, and how much it bears.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use helios_types::Nanos;
use helios_wire::fix::{Role, Settings, Version};

use crate::limit::Rate;
use crate::schedule::Schedule;
use crate::secret::SecretSource;
use crate::store::{Durability, Limits};
use crate::tls::{ClientTls, ServerTls};

/// Most sessions of an engine.
pub const MAX_SESSIONS: usize = 1_024;

/// An address to accept at.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where; port 0 takes any that is free.
    pub address: SocketAddr,
    /// Plain TCP without it.
    pub tls: Option<ServerTls>,
}

/// Whom an initiator calls.
#[derive(Clone, Debug)]
pub struct Connect {
    /// `host:port`, tried in turn.
    pub addresses: Vec<String>,
    /// Plain TCP without it.
    pub tls: Option<ClientTls>,
    /// The pause after the first failure; it doubles with each further one.
    pub pause_min: Nanos,
    /// The longest pause.
    pub pause_max: Nanos,
    /// How long a connection may take to come about.
    pub timeout: Nanos,
}

/// What a Logon must carry to come in.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Username (553).
    pub username: Option<String>,
    /// Password (554).
    pub password: SecretSource,
}

/// One session.
#[derive(Clone)]
pub struct SessionConfig {
    /// The protocol's settings; its password is read from `password`.
    pub settings: Settings,
    /// Of an initiator.
    pub connect: Option<Connect>,
    /// The password that an initiator sends.
    pub password: Option<SecretSource>,
    /// What an acceptor demands.
    pub credentials: Option<Credentials>,
    /// An acceptor's session that plain TCP may not use.
    pub require_tls: bool,
    /// When it is open.
    pub schedule: Schedule,
    /// Messages that are read; beyond it the socket waits.
    pub rate: Option<Rate>,
    /// Bytes that may wait for a slow reader before it is disconnected.
    pub send_buffer: usize,
    /// How much is kept for resends.
    pub limits: Limits,
    /// When a message counts as kept.
    pub durability: Durability,
}

impl SessionConfig {
    /// A session that is always open, without secrets, TLS or a rate; 4 MiB may wait for a slow reader.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            connect: None,
            password: None,
            credentials: None,
            require_tls: false,
            schedule: Schedule::Always,
            rate: None,
            send_buffer: 4 << 20,
            limits: Limits::default(),
            durability: Durability::Process,
        }
    }

    /// `FIX.4.4:SENDER->TARGET`.
    pub fn name(&self) -> String {
        let Settings { version, sender, target, .. } = &self.settings;
        format!("{}:{sender}->{target}", version_name(*version))
    }
}

impl fmt::Debug for SessionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionConfig({})", self.name())
    }
}

/// A version as people write it.
pub fn version_name(version: Version) -> &'static str {
    match version {
        Version::Fix50 => "FIX.5.0",
        Version::Fix50Sp1 => "FIX.5.0SP1",
        Version::Fix50Sp2 => "FIX.5.0SP2",
        other => other.begin_string(),
    }
}

/// The whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where acceptor sessions are reached.
    pub listen: Vec<Listen>,
    /// All sessions.
    pub sessions: Vec<SessionConfig>,
    /// A folder; each session has one in it.
    pub store: PathBuf,
    /// Connections that have not logged on yet, and those that are being closed: beyond it the oldest gives way.
    pub max_pending: usize,
    /// How long a connection may take until its Logon is whole.
    pub logon_timeout: Nanos,
}

impl Config {
    /// Refuses what cannot run, naming the session.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.sessions.is_empty() || self.sessions.len() > MAX_SESSIONS {
            return Err(format!("an engine has 1 to {MAX_SESSIONS} sessions, not {}", self.sessions.len()));
        }
        if self.max_pending == 0 {
            return Err("max_pending is at least 1".to_owned());
        }
        for (i, session) in self.sessions.iter().enumerate() {
            let name = session.name();
            let initiator = session.settings.role == Role::Initiator;
            if initiator != session.connect.is_some() {
                return Err(format!("{name}: an initiator has addresses to connect to, an acceptor has none"));
            }
            if session.connect.as_ref().is_some_and(|connect| connect.addresses.is_empty()) {
                return Err(format!("{name}: it has no address to connect to"));
            }
            if !initiator && self.listen.is_empty() {
                return Err(format!("{name}: it is an acceptor, but there is no address to listen at"));
            }
            if session.require_tls && !initiator && self.listen.iter().all(|listen| listen.tls.is_none()) {
                return Err(format!("{name}: it requires TLS, but no address to listen at has it"));
            }
            if self.sessions[..i].iter().any(|other| other.name() == name) {
                return Err(format!("{name}: there are two sessions of this name"));
            }
        }
        Ok(())
    }
}
