//! Our venues as servers, for Python: settings in, slices of time, commands, lines for the log.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use helios_exchange::serve::{Server, Sockets, VenueSockets};
use helios_exchange::{Config, Fault, Messages, Pace, Protocol, Source, TapeConfig, User, VenueConfig};
use helios_io::ItchFile;
use helios_types::Nanos;
use helios_wire::soupbintcp::Limits;
use pyo3::prelude::*;

use crate::matching::self_trade_of;
use crate::tools::{AgentsSpec, settings};
use crate::{raise, refuse};

/// Longest message of a client.
const MESSAGE_BYTES: usize = 1_024;

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct VenueSpec {
    name: String,
    symbols: Vec<String>,
    agents: Option<AgentsSpec>,
    /// A recorded day: its file, and the time of day from which on it goes by in its own time.
    replay: Option<(PathBuf, u64)>,
    speed: f64,
    rate: Option<u64>,
    session: String,
    max_packet: usize,
    max_store: usize,
    max_requests_per_second: u32,
    self_trade: String,
    max_open_orders: usize,
    lines: (String, String),
    requests: Option<String>,
    /// Protocol and address.
    ports: Vec<(String, String)>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct UserSpec {
    name: String,
    password: String,
    firm: String,
    cancel_on_disconnect: bool,
    sees_all: bool,
}

/// All that an exchange is told.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct ExchangeSpec {
    venues: Vec<VenueSpec>,
    users: Vec<UserSpec>,
    midnight: u64,
    seed: u64,
    faults: Vec<String>,
    connections: usize,
    login_ns: u64,
    silence_ns: u64,
    heartbeat_ns: u64,
    bind: Option<String>,
    max_output: usize,
    ledger: Option<PathBuf>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no address: write it as 127.0.0.1:5001"))
}

fn protocol(name: &str) -> Result<Protocol, String> {
    Protocol::ALL.into_iter().find(|protocol| protocol.name() == name).ok_or_else(|| format!("no protocol {name:?}"))
}

impl VenueSpec {
    fn config(&self) -> PyResult<VenueConfig> {
        let pace = self.rate.map_or(Pace::Times(self.speed), Pace::Rate);
        let source = match (self.agents, &self.replay) {
            (Some(spec), _) => Source::Agents { day: settings(spec), pace },
            (None, Some((_, from_ns))) => Source::Replay { from_ns: *from_ns, pace },
            (None, None) => Source::Quiet,
        };
        Ok(VenueConfig {
            name: self.name.clone(),
            symbols: self.symbols.clone(),
            source,
            tape: TapeConfig {
                session: self.session.clone(),
                max_packet: self.max_packet,
                max_store: self.max_store,
                max_requests_per_second: self.max_requests_per_second,
            },
            self_trade: self_trade_of(&self.self_trade)?,
            max_open_orders: self.max_open_orders,
            drop_copies: self.ports.iter().any(|(name, _)| name == Protocol::DropCopy.name()),
        })
    }

    fn sockets(&self) -> Result<VenueSockets, String> {
        let ports = self.ports.iter().map(|(name, at)| Ok((protocol(name)?, address(at)?)));
        Ok(VenueSockets {
            lines: [address(&self.lines.0)?, address(&self.lines.1)?],
            requests: self.requests.as_deref().map(address).transpose()?,
            ports: ports.collect::<Result<_, String>>()?,
        })
    }
}

fn user(spec: UserSpec) -> Result<User, String> {
    let UserSpec { name, password, firm, cancel_on_disconnect, sees_all } = spec;
    let firm =
        helios_wire::alpha(&firm).map_err(|_| format!("user {name:?}: a firm has at most 4 ASCII characters"))?;
    Ok(User { name, password, firm, cancel_on_disconnect, sees_all })
}

/// A day in a file.
struct Day {
    file: ItchFile,
    at: usize,
}

impl Messages for Day {
    fn next(&mut self, message: &mut Vec<u8>) -> Result<bool, String> {
        while self.at >= self.file.batch().len() {
            self.at = 0;
            if !self.file.advance().map_err(|error| error.message)? {
                return Ok(false);
            }
        }
        message.clear();
        message.extend_from_slice(self.file.batch().message(self.at));
        self.at += 1;
        Ok(true)
    }
}

/// An exchange that listens.
#[pyclass(module = "helios._core")]
pub(crate) struct Exchange(Mutex<Server>);

impl Exchange {
    /// Python lets one thread in at a time; a panic of an earlier call is not ours to answer.
    fn server(&mut self) -> &mut Server {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wrong(message: impl Into<String>) -> PyErr {
    refuse("exchange", message)
}

#[pymethods]
impl Exchange {
    #[new]
    fn new(spec: ExchangeSpec) -> PyResult<Self> {
        let bind = spec.bind.as_deref().map(|ip| {
            ip.parse::<Ipv4Addr>().map_err(|_| wrong(format!("bind = {ip:?} is no IPv4 address of an interface")))
        });
        let sockets = Sockets {
            venues: spec.venues.iter().map(VenueSpec::sockets).collect::<Result<_, _>>().map_err(wrong)?,
            bind: bind.transpose()?,
            max_output: spec.max_output,
            ledger: spec.ledger,
        };
        let replays: Vec<(usize, PathBuf)> = (spec.venues.iter().enumerate())
            .filter_map(|(venue, spec)| Some((venue, spec.replay.as_ref()?.0.clone())))
            .collect();
        let faults: Result<Vec<Fault>, String> = spec.faults.iter().map(|text| Fault::parse(text)).collect();
        let config = Config {
            venues: spec.venues.iter().map(VenueSpec::config).collect::<PyResult<_>>()?,
            users: spec.users.into_iter().map(user).collect::<Result<_, _>>().map_err(wrong)?,
            midnight: Nanos(spec.midnight),
            seed: spec.seed,
            faults: faults.map_err(wrong)?,
            limits: Limits {
                login_ns: spec.login_ns,
                silence_ns: spec.silence_ns,
                heartbeat_ns: spec.heartbeat_ns,
                message_bytes: MESSAGE_BYTES,
                connections: spec.connections,
                ..Limits::default()
            },
        };
        let mut server = Server::bind(config, sockets).map_err(|error| wrong(error.to_string()))?;
        for (venue, path) in replays {
            server.set_messages(venue, Box::new(Day { file: ItchFile::open(&path).map_err(raise)?, at: 0 }));
        }
        Ok(Self(Mutex::new(server)))
    }

    /// Venue, what, and address of everything that listens or is sent to.
    fn listening(&mut self) -> Vec<(String, &'static str, String)> {
        self.server().listening().iter().map(|one| (one.venue.clone(), one.what, one.address.to_string())).collect()
    }

    /// Lives for so many nanoseconds.
    fn run(&mut self, py: Python<'_>, ns: u64) -> PyResult<()> {
        let server = self.server();
        py.detach(|| server.run(Duration::from_nanos(ns))).map_err(|error| wrong(error.to_string()))
    }

    /// Does what an operator asks for; the answer is JSON.
    fn command(&mut self, text: &str) -> PyResult<String> {
        self.server().command(text).map_err(wrong)
    }

    /// Lines for the log.
    fn notes(&mut self) -> Vec<String> {
        self.server().take_notes()
    }

    /// Ends the day.
    fn end(&mut self) {
        self.server().end();
    }
}
