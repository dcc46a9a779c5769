//! The exchange as one state machine: venues, users, connections, faults.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use helios_book::Books;
use helios_types::Nanos;
use helios_venue::matching::MatchingEngine;
use helios_wire::soupbintcp::{
    Closed, Connection, ConnectionOut, LoginRequest, MemoryStore, NOT_AUTHORIZED, SESSION_NOT_AVAILABLE, Store, Stream,
    strip,
};

use crate::config::{Config, ConfigError, Port, Protocol};
use crate::entry;
use crate::faults::{Action, Fault, Faults, Held, Place, RETRANSMISSION};
use crate::ledger::Ledger;
use crate::order::Ended;
use crate::replay::{Messages, Replay};
use crate::snapshot;
use crate::tape::TapeCounters;
use crate::venue::{Filter, Users, Venue};
use crate::{Client, ExchangeOut};

/// Malformed messages of one client after which it is closed.
const MAX_MALFORMED: u32 = 100;
/// Most bytes that a delay or silence holds back from one client; beyond it the client is closed.
const MAX_HELD_BYTES: usize = 1 << 26;
/// How often a FIX session looks at the time.
const FIX_TICK_NS: u64 = 50_000_000;
/// When held bytes are looked at again while a silence lasts.
const LOOK_NS: u64 = 1_000_000;

/// What an exchange has done beside its feeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections made.
    pub connections: u64,
    /// Logins that succeeded.
    pub logins: u64,
    /// Logins that were refused.
    pub refused_logins: u64,
    /// Messages of clients that are none of their protocol.
    pub malformed: u64,
}

/// One connection.
pub(crate) struct Peer {
    pub(crate) port: Port,
    pub(crate) connection: Connection,
    /// FIX: what came before it is known whose session this is, and since when.
    pub(crate) logon: Vec<u8>,
    pub(crate) since: Nanos,
    /// When it was last looked at.
    pub(crate) looked: Nanos,
    /// Of an order-entry session that has logged in: index of the account at the venue.
    pub(crate) account: Option<usize>,
    pub(crate) user: Option<usize>,
    /// Of a snapshot session that has logged in: all of it.
    pub(crate) snapshot: Option<MemoryStore>,
    pub(crate) malformed: u32,
    /// Bytes that a fault holds back, and until when.
    pub(crate) held: VecDeque<(Nanos, Vec<u8>)>,
    pub(crate) held_bytes: usize,
    /// Why it was closed.
    pub(crate) closed: bool,
}

/// Our venues as servers; see the crate's documentation.
pub struct Exchange {
    pub(crate) venues: Vec<Venue>,
    pub(crate) users: Users,
    pub(crate) peers: BTreeMap<Client, Box<Peer>>,
    pub(crate) faults: Faults,
    /// Faults of the configuration that wait for the first call.
    pub(crate) pending: Vec<Fault>,
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    pub(crate) now: Nanos,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("now", &self.now).field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Exchange {
    /// An exchange before its day, or what is wrong with the settings. The day begins with the first tick.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let venues = config.venues.iter().enumerate().map(|(index, venue)| {
            Venue::new(venue, index, config.users.len(), config.midnight)
                .map_err(|error| ConfigError(format!("venue {:?}: {error}", venue.name)))
        });
        let venues = venues.collect::<Result<Vec<Venue>, ConfigError>>()?;
        let exchange = Self {
            venues,
            users: Users { ledgers: vec![Ledger::default(); config.users.len()], list: config.users.clone() },
            peers: BTreeMap::new(),
            faults: Faults::new(config.seed),
            pending: config.faults.clone(),
            config,
            counters: Counters::default(),
            now: Nanos(0),
        };
        for fault in &exchange.pending {
            exchange.venue_of(fault).map_err(ConfigError)?;
        }
        Ok(exchange)
    }

    /// Brings the recorded day of a venue whose source is one, before the first tick.
    pub fn set_messages(&mut self, venue: usize, messages: Box<dyn Messages + Send>) {
        let symbols: Vec<String> = self.symbols(venue).map(str::to_owned).collect();
        self.venues[venue].replay = Some(Box::new(Replay::new(&symbols, messages)));
    }

    // What comes from outside. Each `now` is UTC and never goes back.

    /// A connection was made to a port.
    pub fn on_connected(&mut self, client: Client, port: Port, now: Nanos, out: &mut impl ExchangeOut) {
        self.begin(now);
        self.counters.connections += 1;
        if self.peers.len() >= self.config.limits.connections {
            out.note(format_args!("client {} refused: {} connections, the maximum", client.0, self.peers.len()));
            return out.close(client);
        }
        assert!(port.venue < self.venues.len(), "the world connects clients to ports that there are");
        let peer = Peer {
            port,
            connection: Connection::new(self.config.limits, self.now),
            logon: Vec::new(),
            since: self.now,
            looked: self.now,
            account: None,
            user: None,
            snapshot: None,
            malformed: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            closed: false,
        };
        self.peers.insert(client, Box::new(peer));
    }

    /// A piece of what a client says, cut anywhere.
    pub fn on_bytes(&mut self, client: Client, bytes: &[u8], now: Nanos, out: &mut impl ExchangeOut) {
        self.begin(now);
        let Some(mut peer) = self.peers.remove(&client) else { return };
        let Port { venue, protocol } = peer.port;
        if self.faults.happens(venue, protocol, Action::Disconnect) {
            out.note(format_args!("client {}: disconnected as a fault", client.0));
            out.close(client);
            self.fix_closed(&peer);
            self.gone(&peer);
            return self.settle(out);
        }
        let now = self.now;
        if protocol.is_fix() {
            self.fix_bytes(client, &mut peer, bytes, out);
            self.keep(client, peer);
            return self.settle(out);
        }
        let before = peer.account;
        let mut connection = std::mem::replace(&mut peer.connection, Connection::new(self.config.limits, now));
        connection.on_bytes(bytes, now, &mut Desk { client, peer: &mut peer, exchange: self, out });
        peer.connection = connection;
        if let (None, Some(account)) = (before, peer.account) {
            self.supersede(peer.port, account, out);
        }
        self.keep(client, peer);
        self.settle(out);
    }

    /// A connection is gone.
    pub fn on_closed(&mut self, client: Client, now: Nanos, out: &mut impl ExchangeOut) {
        self.begin(now);
        if let Some(peer) = self.peers.remove(&client) {
            self.fix_closed(&peer);
            self.gone(&peer);
        }
        self.settle(out);
    }

    /// A datagram at a venue's request port; `from` is the world's number of who sent it.
    pub fn on_request(&mut self, venue: usize, from: u64, bytes: &[u8], now: Nanos, out: &mut impl ExchangeOut) {
        self.begin(now);
        let (now, faults) = (self.now, &mut self.faults);
        if let Some(answer) = self.venues[venue].tape.request(bytes, now) {
            faults.datagram((venue, RETRANSMISSION, from), answer, now, |bytes| out.answer(venue, from, bytes));
        }
    }

    /// Time goes on: markets live, heartbeats, timeouts. The first one begins the day.
    pub fn on_tick(&mut self, now: Nanos, out: &mut impl ExchangeOut) {
        self.begin(now);
        let now = self.now;
        self.faults.expire(now);
        while let Some(Held { venue, line, to, bytes }) = self.faults.release(now) {
            match line {
                RETRANSMISSION => out.answer(venue, to, &bytes),
                line => out.send(venue, line, &bytes),
            }
        }
        for venue in &mut self.venues {
            venue.tick(&mut self.users, now);
            if let Some(error) = venue.replay.as_mut().and_then(|replay| replay.take_failure()) {
                out.note(format_args!("{}: the recorded day ends here: {error}", venue.name));
            }
        }
        self.settle(out);
        let (venues, faults) = (&mut self.venues, &mut self.faults);
        for (index, venue) in venues.iter_mut().enumerate() {
            venue.tape.tick(now, |packet| both(faults, index, packet, now, out));
        }
        let due = self.peers.iter().filter(|(_, peer)| self.due(peer).is_some_and(|at| at <= now));
        let due: Vec<Client> = due.map(|(client, _)| *client).collect();
        for client in due {
            self.tick_client(client, out);
        }
        self.settle(out);
    }

    /// When it wants to be told the time again, if nothing happens before.
    pub fn next_tick(&self) -> Option<Nanos> {
        let venues = self.venues.iter().filter_map(Venue::next_tick);
        let peers = self.peers.values().filter_map(|peer| self.due(peer)).map(|at| at.max(self.now.plus(1)));
        venues.chain(peers).chain(self.faults.next_tick()).min()
    }

    /// When a client is to be looked at.
    fn due(&self, peer: &Peer) -> Option<Nanos> {
        // What should have gone out by now is held by a silence.
        let waits = |at: Nanos| at == FOREVER || at <= peer.looked;
        let held = peer.held.front().map(|(at, _)| if waits(*at) { peer.looked.plus(LOOK_NS) } else { *at });
        let own = match peer.port.protocol.is_fix() {
            true => Some(peer.looked.plus(FIX_TICK_NS)),
            false => peer.connection.next_tick(),
        };
        [own, held].into_iter().flatten().min()
    }

    // What an operator asks for.

    /// Ends the day of all venues: orders leave, feeds end, sessions end once clients have heard everything.
    pub fn end(&mut self, now: Nanos, out: &mut impl ExchangeOut) {
        self.begin(now);
        for venue in &mut self.venues {
            venue.close(&mut self.users, self.now);
        }
        self.settle(out);
    }

    /// From now on something goes wrong. A disconnect without a probability is done once, at once.
    pub fn fault(&mut self, fault: Fault, now: Nanos, out: &mut impl ExchangeOut) -> Result<(), String> {
        self.begin(now);
        let venue = self.venue_of(&fault)?;
        if fault.action != Action::Disconnect || fault.probability.is_some() {
            return self.faults.add(fault, venue, self.now);
        }
        let struck = |peer: &Peer| {
            venue.is_none_or(|venue| venue == peer.port.venue)
                && (fault.place == Place::Anywhere || fault.place == Place::Port(peer.port.protocol))
        };
        let clients: Vec<Client> =
            self.peers.iter().filter(|(_, peer)| struck(peer)).map(|(client, _)| *client).collect();
        for client in clients {
            if let Some(peer) = self.peers.remove(&client) {
                out.close(client);
                self.fix_closed(&peer);
                self.gone(&peer);
            }
        }
        self.settle(out);
        Ok(())
    }

    /// Nothing goes wrong any more; what was held comes.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Halts a stock of a venue, or lets it trade again.
    pub fn set_halted(
        &mut self,
        venue: &str,
        symbol: &str,
        halted: bool,
        now: Nanos,
        out: &mut impl ExchangeOut,
    ) -> Result<(), String> {
        self.begin(now);
        let now = self.now;
        let found = self.venues.iter_mut().find(|other| other.name == venue);
        found.ok_or_else(|| format!("there is no venue {venue:?}"))?.set_halted(symbol, halted, now)?;
        self.settle(out);
        Ok(())
    }

    // What is known.

    /// What a user did, over all venues.
    pub fn ledger(&self, user: &str) -> Option<&Ledger> {
        let at = self.users.list.iter().position(|other| other.name.eq_ignore_ascii_case(user))?;
        Some(&self.users.ledgers[at])
    }

    /// All ledgers as one JSON object by user.
    pub fn ledgers_json(&self) -> String {
        let names = |venue: usize, symbol: usize| {
            let venue = &self.venues[venue];
            (venue.name.clone(), String::from_utf8_lossy(helios_wire::text(&venue.floor.stocks()[symbol])).into_owned())
        };
        let each = self.users.list.iter().zip(&self.users.ledgers);
        let objects: Vec<String> = each
            .map(|(user, ledger)| format!("{}:{}", crate::ledger::quoted(&user.name), ledger.to_json(names)))
            .collect();
        format!("{{{}}}", objects.join(","))
    }

    /// A number that is another one whenever a ledger is.
    pub fn ledger_changes(&self) -> u64 {
        let each = self.users.ledgers.iter();
        each.map(|ledger| ledger.received + ledger.accepted + ledger.rejected + ledger.cancelled + ledger.executed)
            .sum()
    }

    /// Names of the venues, in order.
    pub fn venues(&self) -> impl Iterator<Item = &str> + '_ {
        self.venues.iter().map(|venue| venue.name.as_str())
    }

    /// Symbols of a venue in the order of their locates, which count from 1.
    pub fn symbols(&self, venue: usize) -> impl Iterator<Item = &str> + '_ {
        let stocks = self.venues[venue].floor.stocks().iter();
        stocks.map(|stock| std::str::from_utf8(helios_wire::text(stock)).unwrap_or_default())
    }

    /// The displayed books of a venue; instruments are numbered as its symbols.
    pub fn books(&self, venue: usize) -> &Books {
        self.venues[venue].shown()
    }

    /// The matching engine of a venue.
    pub fn engine(&self, venue: usize) -> &MatchingEngine {
        self.venues[venue].floor.engine()
    }

    /// Number of the next message of a venue's feed.
    pub fn next_message(&self, venue: usize) -> u64 {
        self.venues[venue].tape.next()
    }

    /// What a venue's feed has done.
    pub fn feed_counters(&self, venue: usize) -> TapeCounters {
        self.venues[venue].tape.counters()
    }

    /// What else was done.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Orders of clients that work at a venue.
    pub fn open_orders(&self, venue: usize) -> usize {
        self.venues[venue].open_orders()
    }

    // Inside.

    /// Time never goes back; the first call begins the day.
    fn begin(&mut self, now: Nanos) {
        let first = self.now == Nanos(0);
        self.now = self.now.max(now);
        if !first {
            return;
        }
        for venue in &mut self.venues {
            venue.open(self.now);
        }
        for fault in std::mem::take(&mut self.pending) {
            let venue = self.venue_of(&fault).expect("faults of the settings were checked");
            self.faults.add(fault, venue, self.now).expect("settings have no more faults than there may be");
        }
    }

    fn venue_of(&self, fault: &Fault) -> Result<Option<usize>, String> {
        let Some(name) = &fault.venue else { return Ok(None) };
        let found = self.venues.iter().position(|venue| venue.name == *name);
        found.map(Some).ok_or_else(|| format!("there is no venue {name:?}"))
    }

    /// A client that is to stay.
    fn keep(&mut self, client: Client, peer: Box<Peer>) {
        if peer.closed || peer.connection.is_closed() {
            self.fix_closed(&peer);
            return self.gone(&peer);
        }
        self.peers.insert(client, peer);
    }

    /// A session was lost, and is not there any more.
    fn gone(&mut self, peer: &Peer) {
        let (Some(account), Some(user)) = (peer.account, peer.user) else { return };
        if self.users.list[user].cancel_on_disconnect {
            let venue = &mut self.venues[peer.port.venue];
            venue.cancel_all(&mut self.users, account, Filter::default(), Ended::Supervisory, self.now);
        }
    }

    /// A user has logged in: an older connection of the same account ends, without its orders being cancelled.
    fn supersede(&mut self, port: Port, account: usize, out: &mut impl ExchangeOut) {
        let old = self.peers.iter().find(|(_, peer)| peer.port == port && peer.account == Some(account));
        let Some(client) = old.map(|(client, _)| *client) else { return };
        self.peers.remove(&client);
        out.note(format_args!("client {}: {}", client.0, Closed::Superseded));
        out.close(client);
    }

    /// What was said goes out: to accounts, then on the feeds.
    fn settle(&mut self, out: &mut impl ExchangeOut) {
        let now = self.now;
        let behind: Vec<Client> = self.peers.iter().filter(|(_, peer)| self.is_behind(peer)).map(|(c, _)| *c).collect();
        for client in behind {
            self.pump(client, out);
        }
        let (venues, faults) = (&mut self.venues, &mut self.faults);
        for (index, venue) in venues.iter_mut().enumerate() {
            let send = |packet: &[u8]| both(faults, index, packet, now, out);
            if venue.is_ended() && !venue.tape.is_ended() {
                venue.tape.end(now, send);
            } else {
                venue.tape.flush(now, send);
            }
        }
    }

    fn store<'a>(venues: &'a [Venue], peer: &'a Peer) -> Option<&'a MemoryStore> {
        match peer.account {
            Some(account) => Some(&venues[peer.port.venue].accounts[account].stream),
            None => peer.snapshot.as_ref(),
        }
    }

    /// Whether a client has something to hear, the end of the session included.
    fn is_behind(&self, peer: &Peer) -> bool {
        if peer.port.protocol.is_fix() {
            return self.fix_is_behind(peer);
        }
        let ends = peer.account.is_some() && self.venues[peer.port.venue].is_ended();
        Self::store(&self.venues, peer).is_some_and(|store| ends || peer.connection.next() < store.next())
    }

    fn pump(&mut self, client: Client, out: &mut impl ExchangeOut) {
        let Some(mut peer) = self.peers.remove(&client) else { return };
        if peer.port.protocol.is_fix() {
            self.fix_pump(client, &mut peer, out);
            return self.keep(client, peer);
        }
        let now = self.now;
        let snapshot = peer.snapshot.take();
        let mut wire = Wire { client, peer: &mut peer, faults: &mut self.faults, now, out };
        let mut connection = std::mem::replace(&mut wire.peer.connection, Connection::new(self.config.limits, now));
        let venue = &self.venues[wire.peer.port.venue];
        let store = match wire.peer.account {
            Some(account) => Some(&venue.accounts[account].stream),
            None => snapshot.as_ref(),
        };
        if let Some(store) = store {
            connection.pump(store, now, &mut wire);
            if wire.peer.account.is_some() && venue.is_ended() && connection.next() >= store.next() {
                connection.end(now, &mut wire);
            }
        }
        (peer.connection, peer.snapshot) = (connection, snapshot);
        self.keep(client, peer);
    }

    fn tick_client(&mut self, client: Client, out: &mut impl ExchangeOut) {
        let Some(mut peer) = self.peers.remove(&client) else { return };
        let now = self.now;
        peer.looked = now;
        let mut wire = Wire { client, peer: &mut peer, faults: &mut self.faults, now, out };
        wire.release();
        if wire.peer.port.protocol.is_fix() {
            self.fix_tick(client, &mut peer, out);
            return self.keep(client, peer);
        }
        let mut connection = std::mem::replace(&mut wire.peer.connection, Connection::new(self.config.limits, now));
        connection.on_tick(now, &mut wire);
        peer.connection = connection;
        self.keep(client, peer);
    }

    /// Who logs in, and the stream that he gets.
    fn login(&mut self, peer: &mut Peer, request: &LoginRequest) -> Result<Stream, u8> {
        let Port { venue, protocol } = peer.port;
        if self.faults.happens(venue, protocol, Action::RefuseLogins) {
            return Err(NOT_AUTHORIZED);
        }
        let matches = |field: &[u8], text: &str| strip(field).eq_ignore_ascii_case(text.trim().as_bytes());
        let found = self
            .users
            .list
            .iter()
            .position(|user| matches(&request.username, &user.name) && matches(&request.password, &user.password));
        let user = found.ok_or(NOT_AUTHORIZED)?;
        let venue = &mut self.venues[venue];
        peer.user = Some(user);
        if protocol == Protocol::Snapshot {
            let store = snapshot::take(venue).map_err(|_| SESSION_NOT_AVAILABLE)?;
            let stream = Stream { session: store.session(), next: store.next() };
            peer.snapshot = Some(store);
            return Ok(stream);
        }
        if venue.is_ended() {
            return Err(SESSION_NOT_AVAILABLE);
        }
        let account = venue.account(user, protocol);
        let store = &venue.accounts[account].stream;
        Ok(Stream { session: store.session(), next: store.next() })
    }
}

/// A packet goes out on both lines of a venue, as far as faults let it.
fn both(faults: &mut Faults, venue: usize, packet: &[u8], now: Nanos, out: &mut impl ExchangeOut) {
    for line in 0..2 {
        faults.datagram((venue, line, 0), packet, now, |bytes| out.send(venue, line, bytes));
    }
}

/// Until a silence ends.
const FOREVER: Nanos = Nanos(u64::MAX);

/// The way to one client, with faults on it.
pub(crate) struct Wire<'a, O> {
    pub(crate) client: Client,
    pub(crate) peer: &'a mut Peer,
    pub(crate) faults: &'a mut Faults,
    pub(crate) now: Nanos,
    pub(crate) out: &'a mut O,
}

impl<O: ExchangeOut> Wire<'_, O> {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let Port { venue, protocol } = self.peer.port;
        let silent = self.faults.is_silent(venue, protocol);
        let at = if silent { FOREVER } else { self.now.plus(self.faults.delay(venue, protocol)) };
        let last = self.peer.held.back().map_or(Nanos(0), |(at, _)| *at);
        let at = at.max(last);
        if at <= self.now {
            return self.out.write(self.client, bytes);
        }
        self.peer.held_bytes += bytes.len();
        if self.peer.held_bytes > MAX_HELD_BYTES {
            self.out.note(format_args!("client {}: a fault holds more than {MAX_HELD_BYTES} bytes", self.client.0));
            return self.end();
        }
        self.peer.held.push_back((at, bytes.to_vec()));
    }

    /// What was held and is due goes out.
    fn release(&mut self) {
        let Port { venue, protocol } = self.peer.port;
        if self.peer.held.is_empty() || self.faults.is_silent(venue, protocol) {
            return;
        }
        while let Some((at, _)) = self.peer.held.front()
            && (*at <= self.now || *at == FOREVER)
            && let Some((_, bytes)) = self.peer.held.pop_front()
        {
            self.peer.held_bytes -= bytes.len();
            self.out.write(self.client, &bytes);
        }
    }

    pub(crate) fn end(&mut self) {
        if !std::mem::replace(&mut self.peer.closed, true) {
            self.out.close(self.client);
        }
    }
}

impl<O: ExchangeOut> ConnectionOut for Wire<'_, O> {
    fn write(&mut self, bytes: &[u8]) {
        self.send(bytes);
    }

    fn close(&mut self, why: &Closed) {
        self.out.note(format_args!("client {}: {why}", self.client.0));
        self.end();
    }

    fn login(&mut self, _: &LoginRequest) -> Result<Stream, u8> {
        Err(NOT_AUTHORIZED)
    }

    fn message(&mut self, _: &[u8]) {}

    fn room(&self) -> usize {
        self.out.room(self.client)
    }
}

/// A client that says something: its way out, and the exchange that hears it.
struct Desk<'a, O> {
    client: Client,
    peer: &'a mut Peer,
    exchange: &'a mut Exchange,
    out: &'a mut O,
}

impl<O: ExchangeOut> Desk<'_, O> {
    fn wire(&mut self) -> Wire<'_, O> {
        let Exchange { faults, now, .. } = &mut *self.exchange;
        Wire { client: self.client, peer: self.peer, faults, now: *now, out: self.out }
    }
}

impl<O: ExchangeOut> ConnectionOut for Desk<'_, O> {
    fn write(&mut self, bytes: &[u8]) {
        self.wire().send(bytes);
    }

    fn close(&mut self, why: &Closed) {
        ConnectionOut::close(&mut self.wire(), why);
    }

    fn login(&mut self, request: &LoginRequest) -> Result<Stream, u8> {
        let stream = self.exchange.login(self.peer, request);
        if let Err(reason) = stream {
            self.exchange.counters.refused_logins += 1;
            let user = request.username.escape_ascii();
            self.out.note(format_args!(
                "client {}: login of {user} refused with {}",
                self.client.0,
                char::from(reason)
            ));
        }
        stream
    }

    fn logged_in(&mut self) {
        let Port { venue, protocol } = self.peer.port;
        self.exchange.counters.logins += 1;
        if let (Some(user), true) = (self.peer.user, protocol != Protocol::Snapshot) {
            self.peer.account = Some(self.exchange.venues[venue].account(user, protocol));
        }
        self.out.note(format_args!("client {}: logged in", self.client.0));
    }

    fn message(&mut self, payload: &[u8]) {
        let Port { venue, protocol } = self.peer.port;
        let Some(account) = self.peer.account.filter(|_| !self.peer.closed) else { return };
        let now = self.exchange.now;
        let refuses = self.exchange.faults.happens(venue, protocol, Action::RefuseOrders);
        let Exchange { venues, users, .. } = &mut *self.exchange;
        venues[venue].refuses_orders = refuses;
        let understood = match protocol {
            Protocol::Ouch42 => entry::on_ouch42(&mut venues[venue], users, account, payload, now),
            Protocol::Ouch50 => entry::on_ouch50(&mut venues[venue], users, account, payload, now),
            Protocol::Snapshot | Protocol::Fix | Protocol::DropCopy => Ok(()),
        };
        let Err(error) = understood else { return };
        self.exchange.counters.malformed += 1;
        self.peer.malformed += 1;
        self.out.note(format_args!("client {}: {error}; ignored", self.client.0));
        if self.peer.malformed >= MAX_MALFORMED {
            self.out.note(format_args!("client {}: closed after {MAX_MALFORMED} malformed messages", self.client.0));
            self.wire().end();
        }
    }

    fn room(&self) -> usize {
        self.out.room(self.client)
    }
}
