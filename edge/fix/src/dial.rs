//! How an initiator comes to its connection: names, addresses in turn, pauses that grow.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use helios_types::Nanos;
use mio::net::TcpStream;
use rustls::ClientConfig;

use crate::application::Handle;
use crate::config::Connect;
use crate::link::Link;

pub(crate) enum State {
    Waiting,
    Resolving,
    Connecting { link: Link, until: Nanos },
    Up,
}

/// The calls of one initiator.
pub(crate) struct Dial {
    connect: Connect,
    tls: Option<Arc<ClientConfig>>,
    attempts: usize,
    /// When the next attempt is due.
    at: Nanos,
    pause: Nanos,
    pub(crate) state: State,
}

/// What a name means: the session's place, and its addresses.
pub(crate) type Resolved = (usize, Result<Vec<SocketAddr>, String>);

impl Dial {
    pub(crate) fn new(connect: Connect, now: Nanos) -> Result<Self, String> {
        let tls = connect.tls.as_ref().map(|tls| tls.config()).transpose()?;
        let pause = connect.pause_min;
        let dial = Self { connect, tls, attempts: 0, at: now, pause, state: State::Waiting };
        for address in &dial.connect.addresses {
            let host = host(address).ok_or_else(|| format!("{address:?} is not host:port"))?;
            if let Some(tls) = &dial.connect.tls {
                tls.name(host)?;
            }
        }
        Ok(dial)
    }

    pub(crate) fn address(&self) -> &str {
        &self.connect.addresses[self.attempts % self.connect.addresses.len()]
    }

    pub(crate) fn due(&self, now: Nanos) -> bool {
        matches!(self.state, State::Waiting) && self.at <= now
    }

    /// The connection came to nothing or was lost: the next attempt, at the next address, after a pause.
    pub(crate) fn lost(&mut self, now: Nanos) {
        self.state = State::Waiting;
        self.attempts += 1;
        self.at = now.plus(self.pause.0);
        self.pause = Nanos(self.pause.0.saturating_mul(2)).min(self.connect.pause_max);
    }

    /// The clock was set: an attempt that is under way or due some time is due now.
    pub(crate) fn begin_anew(&mut self, now: Nanos) {
        if !matches!(self.state, State::Resolving) {
            self.state = State::Waiting;
        }
        self.at = now;
    }

    /// A logon succeeded: the next pause is short again, and the address is a good one.
    pub(crate) fn came_up(&mut self) {
        self.pause = self.connect.pause_min;
        self.attempts = self.attempts.wrapping_add(self.connect.addresses.len() - 1);
    }

    /// Until the next attempt, for a note.
    pub(crate) fn wait_ms(&self, now: Nanos) -> u64 {
        self.at.since(now) / 1_000_000
    }

    /// Looks the address up: at once if it is a number, else in a thread of its own, for names can take seconds.
    pub(crate) fn resolve(
        &mut self,
        place: usize,
        answers: &Sender<Resolved>,
        handle: &Handle,
    ) -> Option<Vec<SocketAddr>> {
        let address = self.address().to_owned();
        if let Ok(address) = address.parse() {
            return Some(vec![address]);
        }
        self.state = State::Resolving;
        let (answers, handle) = (answers.clone(), handle.clone());
        std::thread::spawn(move || {
            let found = address
                .to_socket_addrs()
                .map(Iterator::collect)
                .map_err(|error| format!("cannot find {address}: {error}"));
            // If the engine is gone, nobody wants to know.
            let _ = answers.send((place, found));
            let _ = handle.wake();
        });
        None
    }

    /// Begins a connection.
    pub(crate) fn start(&mut self, addresses: &[SocketAddr], limit: usize, now: Nanos) -> Result<(), String> {
        // Each round takes the name's next address.
        let round = self.attempts / self.connect.addresses.len();
        let count = addresses.len().max(1);
        let address = *addresses.get(round % count).ok_or_else(|| format!("{} has no address", self.address()))?;
        let stream = TcpStream::connect(address).map_err(|error| format!("cannot connect to {address}: {error}"))?;
        let mut link = Link::new(stream, address, limit, now);
        if let (Some(tls), Some(config)) = (&self.connect.tls, &self.tls) {
            let host = host(self.address()).unwrap_or_default();
            link = link.connect_tls(config.clone(), tls.name(host)?)?;
        }
        self.state = State::Connecting { link, until: now.plus(self.connect.timeout.0) };
        Ok(())
    }

    /// The connection, once it has come about; an error once it cannot any more.
    pub(crate) fn finished(&mut self, now: Nanos) -> Result<Option<Link>, String> {
        let State::Connecting { link, until } = &mut self.state else { return Ok(None) };
        let (peer, late) = (link.peer(), now >= *until);
        if let Ok(Some(error)) | Err(error) = link.stream().take_error() {
            return Err(format!("cannot connect to {peer}: {error}"));
        }
        if link.stream().peer_addr().is_err() {
            return if late { Err(format!("cannot connect to {peer}: no answer")) } else { Ok(None) };
        }
        let State::Connecting { link, .. } = std::mem::replace(&mut self.state, State::Up) else { return Ok(None) };
        Ok(Some(link))
    }
}

fn host(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty() && port.parse::<u16>().is_ok()).then_some(host)
}
