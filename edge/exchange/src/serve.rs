//! The exchange on sockets: one thread, nothing blocks.
//!
//! Market data goes out as UDP datagrams to one address per line, unicast or multicast; requests for retransmission come to a
//! UDP port and are answered to where they came from; clients come over TCP. What leaves this machine has to be asked for:
//! addresses that are not loopback are refused unless [`Sockets::bind`] names the interface to use.
//! Assumes IPv4. Limits: connections as the exchange says; what a client does not take is kept up to
//! [`Sockets::max_output`], and a client that takes nothing for [`SLOW_NS`] is closed with a reason; each round reads and
//! accepts a bounded amount. A datagram that the kernel does not take is lost and counted, as on a network.
//! The world's clock is read here and nowhere else in this crate.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use helios_types::Nanos;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};

use crate::{Client, Config, ConfigError, Exchange, ExchangeOut, Fault, Messages, Port, Protocol};

/// A client that takes nothing of what waits for so long is closed.
pub const SLOW_NS: u64 = 10_000_000_000;
/// Most notes kept until they are taken; further ones are counted.
pub const MAX_NOTES: usize = 1_000;
/// Longest that a round waits for something to happen.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// Most datagrams, connections and bytes of one client taken in a round.
const MAX_DATAGRAMS: usize = 64;
const MAX_ACCEPTS: usize = 16;
const READ_BYTES: usize = 1 << 16;
/// How often the ledger is written at most.
const LEDGER_EVERY: Duration = Duration::from_millis(100);
/// Writing the ledger takes at most one part in so many of the time.
const LEDGER_SHARE: u32 = 20;

/// Where one venue sends and listens.
#[derive(Clone, Debug)]
pub struct VenueSockets {
    /// Where the packets of lines A and B go.
    pub lines: [SocketAddr; 2],
    /// Where requests for retransmission come to.
    pub requests: Option<SocketAddr>,
    /// Where clients come to; port 0 for any free one.
    pub ports: Vec<(Protocol, SocketAddr)>,
}

/// Where an exchange sends and listens.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// By venue.
    pub venues: Vec<VenueSockets>,
    /// The interface that market data leaves by; with it addresses beyond loopback are allowed.
    pub bind: Option<Ipv4Addr>,
    /// Most bytes kept for a client that does not take them.
    pub max_output: usize,
    /// A file with the ledgers, rewritten when they change.
    pub ledger: Option<PathBuf>,
}

/// Why an exchange cannot be served.
#[derive(Debug)]
pub enum ServeError {
    /// A setting.
    Config(ConfigError),
    /// An address that is not allowed, or that cannot be used.
    Address(String),
    /// The system.
    Io(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Address(text) => f.write_str(text),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Where a venue listens, once it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The venue's name.
    pub venue: String,
    /// What is there: a protocol's name, `requests`, or `line_a` and `line_b` for where packets go.
    pub what: &'static str,
    /// The address.
    pub address: SocketAddr,
}

struct Peer {
    stream: TcpStream,
    token: Token,
    /// What the socket has not taken, from `written` on.
    output: Vec<u8>,
    written: usize,
    /// Since when it has taken nothing.
    stuck: Nanos,
}

impl Peer {
    fn waiting(&self) -> usize {
        self.output.len() - self.written
    }
}

/// Everything beside the exchange itself: what it asks of the world is done here.
struct Wires {
    poll: Poll,
    lines: Vec<[SocketAddr; 2]>,
    sender: UdpSocket,
    requests: Vec<Option<UdpSocket>>,
    peers: BTreeMap<Client, Peer>,
    max_output: usize,
    now: Nanos,
    /// Clients whose sockets failed or were too slow; the exchange has to hear of it.
    lost: Vec<Client>,
    notes: Vec<String>,
    notes_left_out: u64,
    datagrams_lost: u64,
}

impl Wires {
    fn note_text(&mut self, text: String) {
        if self.notes.len() < MAX_NOTES { self.notes.push(text) } else { self.notes_left_out += 1 }
    }

    fn drop_peer(&mut self, client: Client) {
        if let Some(mut peer) = self.peers.remove(&client) {
            let _ = peer.stream.write(&peer.output[peer.written..]);
            let _ = self.poll.registry().deregister(&mut peer.stream);
        }
    }

    /// Writes what waits; the client is lost when that cannot be.
    fn push(&mut self, client: Client) {
        let Some(peer) = self.peers.get_mut(&client) else { return };
        while peer.waiting() > 0 {
            match peer.stream.write(&peer.output[peer.written..]) {
                Ok(0) => break,
                Ok(n) => {
                    peer.written += n;
                    peer.stuck = self.now;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.lost.push(client);
                    return;
                }
            }
        }
        if peer.waiting() == 0 {
            peer.output.clear();
            peer.written = 0;
        } else if peer.written > self.max_output {
            peer.output.drain(..peer.written);
            peer.written = 0;
        }
    }

    fn give_up_slow(&mut self) {
        let slow: Vec<Client> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.waiting() > 0 && self.now.since(peer.stuck) > SLOW_NS)
            .map(|(client, _)| *client)
            .collect();
        for client in slow {
            let waiting = self.peers.get(&client).map_or(0, Peer::waiting);
            self.note_text(format!("client {}: closed, it takes nothing of {waiting} bytes that wait", client.0));
            self.lost.push(client);
        }
    }
}

impl ExchangeOut for Wires {
    fn send(&mut self, venue: usize, line: u8, bytes: &[u8]) {
        let to = self.lines[venue][usize::from(line)];
        if self.sender.send_to(bytes, to).is_err() {
            self.datagrams_lost += 1;
        }
    }

    fn answer(&mut self, venue: usize, to: u64, bytes: &[u8]) {
        if let Some(socket) = &self.requests[venue]
            && socket.send_to(bytes, address(to)).is_err()
        {
            self.datagrams_lost += 1;
        }
    }

    fn write(&mut self, client: Client, bytes: &[u8]) {
        let Some(peer) = self.peers.get_mut(&client) else { return };
        if peer.waiting() == 0 {
            peer.stuck = self.now;
        }
        if peer.waiting() + bytes.len() > self.max_output {
            self.note_text(format!("client {}: closed, more than {} bytes wait for it", client.0, self.max_output));
            return self.lost.push(client);
        }
        peer.output.extend_from_slice(bytes);
        self.push(client);
    }

    fn close(&mut self, client: Client) {
        self.drop_peer(client);
    }

    fn note(&mut self, text: fmt::Arguments<'_>) {
        self.note_text(text.to_string());
    }

    fn room(&self, client: Client) -> usize {
        self.peers.get(&client).map_or(0, |peer| self.max_output.saturating_sub(peer.waiting()) / 2)
    }
}

/// An address as the number that goes with a request, and back.
fn number(address: SocketAddr) -> Option<u64> {
    match address.ip() {
        IpAddr::V4(ip) => Some(u64::from(u32::from(ip)) << 16 | u64::from(address.port())),
        IpAddr::V6(_) => None,
    }
}

fn address(number: u64) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from((number >> 16) as u32), number as u16))
}

/// What a token of the poll stands for.
#[derive(Clone, Copy)]
enum Source {
    Listener(usize),
    Requests(usize),
    Client(Client),
}

/// An exchange that listens.
pub struct Server {
    exchange: Exchange,
    wires: Wires,
    listeners: Vec<(TcpListener, Port)>,
    sources: BTreeMap<usize, Source>,
    next_token: usize,
    next_client: u64,
    max_clients: usize,
    listening: Vec<Listening>,
    ledger: Option<PathBuf>,
    ledger_changes: u64,
    ledger_due: Instant,
    buffer: Vec<u8>,
    rounds: u64,
}

impl Server {
    /// Binds all sockets, without yet beginning the day.
    pub fn bind(config: Config, sockets: Sockets) -> Result<Self, ServeError> {
        let max_clients = config.limits.connections;
        let exchange = Exchange::new(config).map_err(ServeError::Config)?;
        assert!(exchange.venues().count() == sockets.venues.len(), "sockets are given for each venue");
        let names: Vec<String> = exchange.venues().map(str::to_owned).collect();
        let poll = Poll::new()?;
        let sender = sender(&sockets)?;
        let mut server = Self {
            exchange,
            wires: Wires {
                poll,
                lines: sockets.venues.iter().map(|venue| venue.lines).collect(),
                sender,
                requests: Vec::new(),
                peers: BTreeMap::new(),
                max_output: sockets.max_output,
                now: clock(),
                lost: Vec::new(),
                notes: Vec::new(),
                notes_left_out: 0,
                datagrams_lost: 0,
            },
            listeners: Vec::new(),
            sources: BTreeMap::new(),
            next_token: 0,
            next_client: 1,
            max_clients,
            listening: Vec::new(),
            ledger: sockets.ledger.clone(),
            ledger_changes: u64::MAX,
            ledger_due: Instant::now(),
            buffer: vec![0; READ_BYTES],
            rounds: 0,
        };
        for (venue, (name, wanted)) in names.iter().zip(&sockets.venues).enumerate() {
            server.listen(venue, name, wanted, sockets.bind)?;
        }
        Ok(server)
    }

    fn token(&mut self, source: Source) -> Token {
        let token = Token(self.next_token);
        self.sources.insert(self.next_token, source);
        self.next_token += 1;
        token
    }

    fn listen(
        &mut self,
        venue: usize,
        name: &str,
        wanted: &VenueSockets,
        bind: Option<Ipv4Addr>,
    ) -> Result<(), ServeError> {
        for (line, what) in wanted.lines.iter().zip(["line_a", "line_b"]) {
            allowed(*line, bind, name, what)?;
            if line.port() == 0 {
                return Err(ServeError::Address(format!("{name}: {what} sends to port 0: name the receiver's port")));
            }
            self.listening.push(Listening { venue: name.to_owned(), what, address: *line });
        }
        let mut requests = None;
        if let Some(at) = wanted.requests {
            allowed(at, bind, name, "requests")?;
            let mut socket = UdpSocket::bind(at).map_err(|error| taken(at, name, "requests", &error))?;
            let token = self.token(Source::Requests(venue));
            self.wires.poll.registry().register(&mut socket, token, Interest::READABLE)?;
            let address = socket.local_addr()?;
            self.listening.push(Listening { venue: name.to_owned(), what: "requests", address });
            requests = Some(socket);
        }
        self.wires.requests.push(requests);
        for &(protocol, at) in &wanted.ports {
            allowed(at, bind, name, protocol.name())?;
            let mut socket = TcpListener::bind(at).map_err(|error| taken(at, name, protocol.name(), &error))?;
            let token = self.token(Source::Listener(self.listeners.len()));
            self.wires.poll.registry().register(&mut socket, token, Interest::READABLE)?;
            let address = socket.local_addr()?;
            self.listening.push(Listening { venue: name.to_owned(), what: protocol.name(), address });
            self.listeners.push((socket, Port { venue, protocol }));
        }
        Ok(())
    }

    /// Brings the recorded day of a venue whose source is one, before it runs.
    pub fn set_messages(&mut self, venue: usize, messages: Box<dyn Messages + Send>) {
        self.exchange.set_messages(venue, messages);
    }

    /// Where it listens and sends.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// The exchange.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Lines for the log since the last call.
    pub fn take_notes(&mut self) -> Vec<String> {
        let mut notes = std::mem::take(&mut self.wires.notes);
        let left_out = std::mem::take(&mut self.wires.notes_left_out);
        if left_out > 0 {
            notes.push(format!("{left_out} more lines were left out"));
        }
        notes
    }

    /// Lets it live for so long.
    pub fn run(&mut self, time: Duration) -> Result<(), ServeError> {
        let end = Instant::now() + time;
        let mut events = Events::with_capacity(256);
        loop {
            let now = self.tick();
            self.write_ledger(false);
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let wait = self.exchange.next_tick().map_or(LONGEST_WAIT, |at| Duration::from_nanos(at.since(now)));
            match self.wires.poll.poll(&mut events, Some(wait.min(left).min(LONGEST_WAIT))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                self.serve(event);
            }
        }
    }

    /// Ends the day: orders leave, feeds and sessions end.
    pub fn end(&mut self) {
        self.wires.now = clock();
        self.exchange.end(self.wires.now, &mut self.wires);
        self.write_ledger(true);
    }

    /// Writes the ledger now.
    pub fn flush(&mut self) {
        self.write_ledger(true);
    }

    fn tick(&mut self) -> Nanos {
        let now = clock();
        self.wires.now = now;
        self.rounds += 1;
        if self.rounds.is_multiple_of(64) {
            self.wires.give_up_slow();
        }
        self.forget_lost();
        if self.exchange.next_tick().is_none_or(|at| at <= now) {
            self.exchange.on_tick(now, &mut self.wires);
            self.forget_lost();
        }
        now
    }

    fn forget_lost(&mut self) {
        while let Some(client) = self.wires.lost.pop() {
            self.wires.drop_peer(client);
            self.exchange.on_closed(client, self.wires.now, &mut self.wires);
        }
        let Self { sources, wires, .. } = self;
        if sources.len() > 2 * (wires.peers.len() + 64) {
            sources.retain(|_, source| match source {
                Source::Client(client) => wires.peers.contains_key(client),
                _ => true,
            });
        }
    }

    fn serve(&mut self, event: &mio::event::Event) {
        self.wires.now = clock();
        match self.sources.get(&event.token().0).copied() {
            Some(Source::Listener(at)) => self.accept(at),
            Some(Source::Requests(venue)) => self.take_requests(venue),
            Some(Source::Client(client)) => {
                if event.is_writable() {
                    self.wires.push(client);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.read(client);
                }
            }
            None => {}
        }
        self.forget_lost();
    }

    fn accept(&mut self, at: usize) {
        for _ in 0..MAX_ACCEPTS {
            let (mut stream, from) = match self.listeners[at].0.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.wires.note_text(format!("a connection could not be accepted: {error}"));
                    return;
                }
            };
            if self.wires.peers.len() >= self.max_clients {
                self.wires.note_text(format!("{from} refused: {} connections, the maximum", self.max_clients));
                continue;
            }
            let client = Client(self.next_client);
            self.next_client += 1;
            let token = self.token(Source::Client(client));
            let both = Interest::READABLE | Interest::WRITABLE;
            let ready =
                stream.set_nodelay(true).and_then(|()| self.wires.poll.registry().register(&mut stream, token, both));
            if let Err(error) = ready {
                self.wires.note_text(format!("{from} refused: {error}"));
                continue;
            }
            let stuck = self.wires.now;
            self.wires.peers.insert(client, Peer { stream, token, output: Vec::new(), written: 0, stuck });
            let port = self.listeners[at].1;
            self.wires.note_text(format!("client {} from {from} at {}", client.0, port.protocol.name()));
            self.exchange.on_connected(client, port, self.wires.now, &mut self.wires);
        }
        // The poll tells of each change once: more may wait.
        let token = self.sources.iter().find(|(_, source)| matches!(source, Source::Listener(n) if *n == at));
        if let Some((token, _)) = token {
            let token = Token(*token);
            let _ = self.wires.poll.registry().reregister(&mut self.listeners[at].0, token, Interest::READABLE);
        }
    }

    fn take_requests(&mut self, venue: usize) {
        for _ in 0..MAX_DATAGRAMS {
            let Some(socket) = &self.wires.requests[venue] else { return };
            match socket.recv_from(&mut self.buffer) {
                Ok((n, from)) => {
                    if let Some(from) = number(from) {
                        let bytes = self.buffer[..n.min(2048)].to_vec();
                        self.exchange.on_request(venue, from, &bytes, self.wires.now, &mut self.wires);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // An earlier answer was refused by its receiver's machine; that is his loss.
                Err(_) => {}
            }
        }
        let token = self.sources.iter().find(|(_, source)| matches!(source, Source::Requests(n) if *n == venue));
        if let (Some((token, _)), Some(socket)) = (token, &mut self.wires.requests[venue]) {
            let _ = self.wires.poll.registry().reregister(socket, Token(*token), Interest::READABLE);
        }
    }

    fn read(&mut self, client: Client) {
        let Some(peer) = self.wires.peers.get_mut(&client) else { return };
        match peer.stream.read(&mut self.buffer) {
            Ok(0) => self.wires.lost.push(client),
            Ok(n) => {
                let full = n == self.buffer.len();
                self.exchange.on_bytes(client, &self.buffer[..n], self.wires.now, &mut self.wires);
                self.again(client, full || n > 0);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.wires.lost.push(client),
        }
    }

    /// One read a round: others have their turn, and the poll tells of the rest again.
    fn again(&mut self, client: Client, more: bool) {
        if let (true, Some(peer)) = (more, self.wires.peers.get_mut(&client)) {
            let both = Interest::READABLE | Interest::WRITABLE;
            let _ = self.wires.poll.registry().reregister(&mut peer.stream, peer.token, both);
        }
    }

    /// What an operator asks for: a fault ([`Fault::parse`]), `clear`, `halt VENUE SYMBOL`, `resume VENUE SYMBOL`, `end`,
    /// `counters`, `ledger`. The answer is a JSON value, or what was wrong.
    pub fn command(&mut self, text: &str) -> Result<String, String> {
        self.wires.now = clock();
        let now = self.wires.now;
        let words: Vec<&str> = text.split_whitespace().collect();
        let done = || "true".to_owned();
        match words[..] {
            ["clear"] => self.exchange.clear_faults(),
            ["end"] => self.end(),
            ["halt", venue, symbol] => self.exchange.set_halted(venue, symbol, true, now, &mut self.wires)?,
            ["resume", venue, symbol] => self.exchange.set_halted(venue, symbol, false, now, &mut self.wires)?,
            ["counters"] => return Ok(self.counters()),
            ["ledger"] => return Ok(self.exchange.ledgers_json()),
            ["halt" | "resume", ..] => return Err(format!("{} wants a venue and a symbol", words[0])),
            _ => self.exchange.fault(Fault::parse(text)?, now, &mut self.wires)?,
        }
        Ok(done())
    }

    fn counters(&self) -> String {
        let counters = self.exchange.counters();
        let venues: Vec<String> = (self.exchange.venues().enumerate())
            .map(|(at, name)| {
                let feed = self.exchange.feed_counters(at);
                format!(
                    "{}:{{\"messages\":{},\"packets\":{},\"idle\":{},\"answered\":{},\"unanswerable\":{},\"refused\":{},\
                     \"open_orders\":{}}}",
                    crate::ledger::quoted(name),
                    self.exchange.next_message(at) - 1,
                    feed.packets,
                    feed.idle,
                    feed.answered,
                    feed.unanswerable,
                    feed.refused,
                    self.exchange.open_orders(at),
                )
            })
            .collect();
        format!(
            "{{\"connections\":{},\"logins\":{},\"refused_logins\":{},\"malformed\":{},\"clients\":{},\
             \"datagrams_lost\":{},\"venues\":{{{}}}}}",
            counters.connections,
            counters.logins,
            counters.refused_logins,
            counters.malformed,
            self.wires.peers.len(),
            self.wires.datagrams_lost,
            venues.join(",")
        )
    }

    /// Rewrites the ledger's file as a whole, so that who reads it never sees half of one.
    fn write_ledger(&mut self, now: bool) {
        let Some(path) = &self.ledger else { return };
        let changes = self.exchange.ledger_changes();
        if changes == self.ledger_changes || !(now || Instant::now() >= self.ledger_due) {
            return;
        }
        let began = Instant::now();
        let beside = path.with_extension("new");
        let written =
            std::fs::write(&beside, self.exchange.ledgers_json()).and_then(|()| std::fs::rename(&beside, path));
        match written {
            Ok(()) => self.ledger_changes = changes,
            Err(error) => {
                self.wires.note_text(format!("the ledger could not be written to {}: {error}", path.display()))
            }
        }
        self.ledger_due = Instant::now() + LEDGER_EVERY.max(began.elapsed() * LEDGER_SHARE);
    }
}

/// UTC.
fn clock() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The socket that market data leaves by.
fn sender(sockets: &Sockets) -> Result<UdpSocket, ServeError> {
    let from = sockets.bind.unwrap_or(Ipv4Addr::LOCALHOST);
    let address = SocketAddr::from((from, 0));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_multicast_if_v4(&from)?;
    socket.set_multicast_loop_v4(true)?;
    // What the kernel does not allow stays smaller.
    let _ = socket.set_send_buffer_size(1 << 23);
    socket
        .bind(&address.into())
        .map_err(|error| ServeError::Address(format!("market data cannot leave by {from}: {error}")))?;
    Ok(UdpSocket::from_std(socket.into()))
}

fn allowed(address: SocketAddr, bind: Option<Ipv4Addr>, venue: &str, what: &str) -> Result<(), ServeError> {
    let IpAddr::V4(ip) = address.ip() else {
        return Err(ServeError::Address(format!("{venue}: {what} = {address}: use an IPv4 address")));
    };
    let multicast = what.starts_with("line_") && ip.is_multicast();
    if ip.is_loopback() || multicast || bind.is_some() {
        return Ok(());
    }
    Err(ServeError::Address(format!(
        "{venue}: {what} = {address} is not on this machine: use 127.0.0.1, or set bind to the interface's address to \
         serve others"
    )))
}

fn taken(address: SocketAddr, venue: &str, what: &str, error: &io::Error) -> ServeError {
    ServeError::Address(format!("{venue}: cannot listen for {what} at {address}: {error}"))
}
