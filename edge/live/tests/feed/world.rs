//! A feed station in a simulated world: an exchange, two bad lines, retransmission servers, a snapshot server. All of
//! it, time included, comes from a seed.

use std::collections::BTreeMap;
use std::fmt;

use helios_book::{Books, Capacity};
use helios_data::normalise::ItchNormaliser;
use helios_live::feed::{Join, ReceiverConfig, SnapshotLogin};
use helios_live::{Feed, FeedConfig, FeedOut};
use helios_types::{Digest, Event, Feed as About, Hasher, InstrumentId, Market, Nanos, Rng, TradingStatus, Update};
use helios_venue::agents::Flow;
use helios_wire::frame::{Frames, Framing};
use helios_wire::itch::{self, Message};
use helios_wire::moldudp64::{self, Header, PacketBuilder, decode_request};
use helios_wire::soupbintcp::{self, LoginAccepted, Packet};

pub const SESSION: [u8; 10] = *b"DAY1      ";
pub const MIDNIGHT: Nanos = Nanos(1_700_000_000_000_000_000);
const MS: u64 = 1_000_000;
const SYMBOLS: u32 = 6;
/// The first four of the symbols, in reverse order: an instrument's number is not its locate.
const OURS: usize = 4;
const MESSAGES: u64 = 1_000;
/// Heartbeats at the end of the day: time for the worst snapshot server.
const QUIET_S: u64 = 200;

/// What the feed asked of the world, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    Event(Event),
    Request(usize, Header),
    Connect,
    Write(Vec<u8>),
    Close,
    Note(String),
}

#[derive(Default)]
pub struct Out(pub Vec<Ask>);

impl FeedOut for Out {
    fn event(&mut self, event: Event) {
        self.0.push(Ask::Event(event));
    }

    fn request(&mut self, server: usize, bytes: &[u8]) {
        self.0.push(Ask::Request(server, decode_request(bytes).expect("a request that a server takes")));
    }

    fn connect(&mut self) {
        self.0.push(Ask::Connect);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.push(Ask::Write(bytes.to_vec()));
    }

    fn close(&mut self) {
        self.0.push(Ask::Close);
    }

    fn note(&mut self, text: fmt::Arguments<'_>) {
        self.0.push(Ask::Note(text.to_string()));
    }
}

/// A day of messages over a few symbols, and which of them are ours.
pub fn stream(seed: u64) -> (Vec<Vec<u8>>, Vec<(InstrumentId, String)>) {
    let mut flow = Flow::new(seed, SYMBOLS, MESSAGES).expect("settings of a small flow");
    let instruments: Vec<_> = (0..).map(InstrumentId).zip(flow.symbols().take(OURS).map(str::to_owned)).collect();
    let instruments = instruments.iter().rev().zip(0..).map(|((_, symbol), id)| (InstrumentId(id), symbol.clone()));
    let instruments = instruments.collect();
    let mut frames = Vec::new();
    while flow.next_chunk(&mut frames) {}
    let messages = Frames::new(&frames, Framing::LengthPrefixed).map(<[u8]>::to_vec).collect();
    (messages, instruments)
}

/// Books and trading states as the events say.
pub struct View {
    books: Books,
    status: BTreeMap<InstrumentId, TradingStatus>,
    refused: u64,
}

impl View {
    pub fn new() -> Self {
        let capacity = Capacity { orders: 1 << 13, levels: 1 << 13 };
        Self { books: Books::new(OURS, capacity), status: BTreeMap::new(), refused: 0 }
    }

    pub fn apply(&mut self, market: &Market) {
        if let Update::Status(status) = market.update {
            self.status.insert(market.instrument, status);
        }
        self.refused += u64::from(self.books.apply(market.instrument, &market.update).is_err());
    }

    pub fn digest(&self) -> u128 {
        let mut hasher = Hasher::new();
        self.books.digest(&mut hasher);
        self.status.iter().for_each(|(id, status)| hasher.u64(u64::from(id.0) * 8 + *status as u64));
        hasher.finish()
    }
}

/// The lossless run, up to any message.
struct Lossless<'a> {
    stream: &'a [Vec<u8>],
    normaliser: ItchNormaliser,
    view: View,
    next: u64,
}

impl<'a> Lossless<'a> {
    fn new(stream: &'a [Vec<u8>], instruments: &[(InstrumentId, String)]) -> Self {
        let normaliser = ItchNormaliser::of(MIDNIGHT, instruments.iter().map(|(id, symbol)| (*id, symbol.as_str())));
        Self { stream, normaliser, view: View::new(), next: 1 }
    }

    fn advance(&mut self) -> Option<Market> {
        let message = itch::decode(&self.stream[self.next as usize - 1]).expect("a flow's messages are genuine");
        self.next += 1;
        self.normaliser.normalise(&message).inspect(|market| self.view.apply(market))
    }

    /// Everything before message `next`.
    fn digest_before(&mut self, next: u64) -> u128 {
        assert!(self.next <= next, "the feed goes back");
        while self.next < next {
            self.advance();
        }
        self.view.digest()
    }
}

/// One resting order, as the exchange knows it.
#[derive(Clone)]
struct Resting {
    reference: u64,
    locate: u16,
    side: u8,
    shares: u32,
    stock: [u8; 8],
    price: u32,
    timestamp: u64,
}

/// The exchange's own books: enough to tell its present state, and written without ours.
#[derive(Default)]
struct Floor {
    directory: BTreeMap<u16, Vec<u8>>,
    trading: BTreeMap<u16, Vec<u8>>,
    /// By priority.
    orders: BTreeMap<u64, Resting>,
    by_reference: BTreeMap<u64, u64>,
    priority: u64,
    timestamp: u64,
}

impl Floor {
    fn add(&mut self, order: Resting) {
        self.priority += 1;
        self.by_reference.insert(order.reference, self.priority);
        self.orders.insert(self.priority, order);
    }

    fn remove(&mut self, reference: u64) -> Resting {
        let priority = self.by_reference.remove(&reference).expect("a flow's references are valid");
        self.orders.remove(&priority).expect("both tables know it")
    }

    fn reduce(&mut self, reference: u64, shares: u32) {
        let priority = self.by_reference[&reference];
        let order = self.orders.get_mut(&priority).expect("both tables know it");
        order.shares -= shares;
        if order.shares == 0 {
            self.remove(reference);
        }
    }

    fn apply(&mut self, bytes: &[u8]) {
        let message = itch::decode(bytes).expect("a flow's messages are genuine");
        let (locate, timestamp) = (message.stock_locate(), message.timestamp());
        self.timestamp = timestamp;
        match message {
            Message::StockDirectory(_) => drop(self.directory.insert(locate, bytes.to_vec())),
            Message::StockTradingAction(_) => drop(self.trading.insert(locate, bytes.to_vec())),
            Message::AddOrder(m) => self.add(Resting {
                reference: m.order_reference_number(),
                locate,
                side: m.buy_sell_indicator(),
                shares: m.shares(),
                stock: *m.stock(),
                price: m.price(),
                timestamp,
            }),
            Message::AddOrderMpid(m) => self.add(Resting {
                reference: m.order_reference_number(),
                locate,
                side: m.buy_sell_indicator(),
                shares: m.shares(),
                stock: *m.stock(),
                price: m.price(),
                timestamp,
            }),
            Message::OrderExecuted(m) => self.reduce(m.order_reference_number(), m.executed_shares()),
            Message::OrderExecutedWithPrice(m) => self.reduce(m.order_reference_number(), m.executed_shares()),
            Message::OrderCancel(m) => self.reduce(m.order_reference_number(), m.canceled_shares()),
            Message::OrderDelete(m) => drop(self.remove(m.order_reference_number())),
            Message::OrderReplace(m) => {
                let old = self.remove(m.original_order_reference_number());
                let reference = m.new_order_reference_number();
                self.add(Resting { reference, shares: m.shares(), price: m.price(), timestamp, ..old });
            }
            _ => {}
        }
    }

    /// The bytes of a snapshot session, from login to the last message.
    fn snapshot(&self, next: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        Packet::LoginAccepted(LoginAccepted::new("GLIMPSE", 1).expect("short")).append_to(&mut bytes);
        self.directory.values().chain(self.trading.values()).for_each(|message| sequenced(message, &mut bytes));
        for order in self.orders.values() {
            let message = itch::AddOrder {
                stock_locate: order.locate,
                tracking_number: 0,
                timestamp: order.timestamp,
                order_reference_number: order.reference,
                buy_sell_indicator: order.side,
                shares: order.shares,
                stock: order.stock,
                price: order.price,
            };
            sequenced(&message.encode(), &mut bytes);
        }
        sequenced(format!("G{next:>20}").as_bytes(), &mut bytes);
        bytes
    }
}

fn sequenced(payload: &[u8], out: &mut Vec<u8>) {
    Packet::SequencedData(payload).append_to(out);
}

/// How bad the world is, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub loss: u64,
    pub twice: u64,
    pub delay_ns: u64,
    /// Requests that no server answers.
    pub unanswered: u64,
    /// Snapshot connections that are refused, or broken off.
    pub refused: u64,
    pub broken: u64,
    /// Between the pieces of a snapshot, at most.
    pub piece_ns: u64,
}

enum Act {
    /// The exchange publishes messages up to and without this one.
    Publish(u64),
    Datagram(u8, Vec<u8>),
    /// Of the snapshot connection with this number.
    Connected(u64),
    Bytes(u64, Vec<u8>),
    Closed(u64),
}

/// Everything.
struct World<'a> {
    seed: u64,
    rng: Rng,
    now: u64,
    serial: u64,
    acts: BTreeMap<(u64, u64), Act>,
    feed: Feed,
    faults: Faults,
    stream: &'a [Vec<u8>],
    floor: Floor,
    published: u64,
    /// Nothing arrives before.
    deaf_until: u64,
    connection: u64,
    lossless: Lossless<'a>,
    view: View,
    /// Market events but for those that clear, until the end of the session.
    markets: Vec<Market>,
    complete: [bool; OURS],
    checks: u64,
    whole_at_end: bool,
    ended: bool,
}

impl<'a> World<'a> {
    fn new(seed: u64, config: FeedConfig, faults: Faults, stream: &'a [Vec<u8>]) -> Self {
        let lossless = Lossless::new(stream, &config.instruments);
        let mut world = Self {
            seed,
            rng: Rng::new(seed ^ 0x5EED),
            now: MIDNIGHT.0,
            serial: 0,
            acts: BTreeMap::new(),
            feed: Feed::new(config),
            faults,
            stream,
            floor: Floor::default(),
            published: 1,
            deaf_until: 0,
            connection: 0,
            lossless,
            view: View::new(),
            markets: Vec::new(),
            complete: [true; OURS],
            checks: 0,
            whole_at_end: false,
            ended: false,
        };
        world.plan();
        world
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    fn at(&mut self, at: u64, act: Act) {
        self.serial += 1;
        self.acts.insert((at, self.serial), act);
    }

    /// The exchange's day: packets, heartbeats, which are not lost in the end, and ends of session.
    fn plan(&mut self) {
        let (mut next, end, mut at) = (1, self.stream.len() as u64 + 1, self.now + 100 * MS);
        let (most, pause) = (1 + self.rng.below(30), 1 + self.rng.below(40 * MS));
        while next < end {
            at += 1 + self.rng.below(pause);
            let mut builder = PacketBuilder::new(SESSION, next, 1_400);
            for message in self.stream[next as usize - 1..].iter().take(1 + self.rng.below(most) as usize) {
                next += u64::from(builder.push(message).is_ok());
            }
            self.at(at, Act::Publish(next));
            self.on_lines(at, builder.bytes());
        }
        for second in 0..QUIET_S {
            if second == QUIET_S / 2 {
                self.faults.loss = 0;
            }
            self.on_lines(at + second * 1_000 * MS, &moldudp64::encode_heartbeat(SESSION, end));
        }
        for second in QUIET_S..QUIET_S + 5 {
            let at = at + second * 1_000 * MS;
            for line in 0..2 {
                self.at(at, Act::Datagram(line, moldudp64::encode_end_of_session(SESSION, end).to_vec()));
            }
        }
    }

    /// A packet on both lines, as the faults have it.
    fn on_lines(&mut self, at: u64, bytes: &[u8]) {
        for line in 0..2 {
            let copies = if self.chance(self.faults.loss) { 0 } else { 1 + u64::from(self.chance(self.faults.twice)) };
            for _ in 0..copies {
                let delay = self.rng.below(self.faults.delay_ns + 1);
                self.at(at + delay, Act::Datagram(line, bytes.to_vec()));
            }
        }
    }

    /// Runs to the end of the session.
    fn run(&mut self) {
        while !self.ended {
            let tick = self.feed.next_tick().expect("a feed always waits for something").0;
            let mut out = Out::default();
            match self.acts.first_key_value().map(|(key, _)| *key).filter(|(at, _)| *at < tick) {
                Some(key) => {
                    self.now = self.now.max(key.0);
                    let act = self.acts.remove(&key).expect("there it is");
                    self.act(act, &mut out);
                }
                None => {
                    assert!(tick < u64::MAX, "seed {}: the end never came", self.seed);
                    self.now = self.now.max(tick);
                    self.feed.on_tick(Nanos(self.now), &mut out);
                }
            }
            self.answer(out.0);
            self.check();
        }
    }

    fn act(&mut self, act: Act, out: &mut Out) {
        let now = Nanos(self.now);
        match act {
            Act::Publish(next) => {
                let range = self.published as usize - 1..next as usize - 1;
                self.stream[range].iter().for_each(|message| self.floor.apply(message));
                self.published = next;
            }
            Act::Datagram(line, bytes) if self.now >= self.deaf_until => {
                self.feed.on_datagram(line, &bytes, now, out);
            }
            Act::Connected(number) if number == self.connection => self.feed.on_connected(now, out),
            Act::Bytes(number, bytes) if number == self.connection => self.feed.on_bytes(&bytes, now, out),
            Act::Closed(number) if number == self.connection => {
                self.connection += 1;
                self.feed.on_closed(now, out);
            }
            _ => {}
        }
    }

    fn answer(&mut self, asks: Vec<Ask>) {
        for ask in asks {
            match ask {
                Ask::Event(event) => self.hear(&event),
                Ask::Request(_, request) => self.retransmit(&request),
                Ask::Connect => {
                    self.connection += 1;
                    let at = self.now + self.rng.below(20 * MS);
                    let number = self.connection;
                    let act =
                        if self.chance(self.faults.refused) { Act::Closed(number) } else { Act::Connected(number) };
                    self.at(at, act);
                }
                Ask::Write(bytes) => self.serve(&bytes),
                Ask::Close => self.connection += 1,
                Ask::Note(_) => {}
            }
        }
    }

    fn hear(&mut self, event: &Event) {
        match *event {
            Event::Market(market) => {
                self.view.apply(&market);
                if market.update != Update::Clear {
                    self.markets.push(market);
                }
            }
            Event::Feed(About::Incomplete { instrument, .. }) => {
                let was = std::mem::replace(&mut self.complete[instrument.index()], false);
                assert!(was, "seed {}: said twice", self.seed);
            }
            Event::Feed(About::Complete { instrument }) => {
                let was = std::mem::replace(&mut self.complete[instrument.index()], true);
                assert!(!was, "seed {}: said twice", self.seed);
            }
            Event::Feed(About::Ended { .. }) => self.ended = true,
            Event::Feed(About::Began { .. }) => {}
            ref other => panic!("a feed has no business with {other:?}"),
        }
    }

    fn retransmit(&mut self, request: &Header) {
        assert_eq!(request.session, SESSION);
        assert!(request.sequence_number + u64::from(request.message_count) <= self.published, "asked for the future");
        if self.chance(self.faults.unanswered) {
            return;
        }
        let mut builder = PacketBuilder::new(SESSION, request.sequence_number, 1_400);
        let messages = &self.stream[request.sequence_number as usize - 1..];
        for message in messages.iter().take(request.message_count.into()) {
            if builder.push(message).is_err() {
                break;
            }
        }
        let (at, line) = (self.now + self.rng.below(5 * MS), self.rng.below(3) as u8);
        self.at(at, Act::Datagram(line, builder.bytes().to_vec()));
    }

    /// The snapshot server: it answers a login with what the exchange has published by then.
    fn serve(&mut self, bytes: &[u8]) {
        let login = matches!(soupbintcp::decode(bytes), Ok(Some((Packet::LoginRequest(_), _))));
        if !login {
            return;
        }
        let mut bytes = self.floor.snapshot(self.published);
        let broken = self.chance(self.faults.broken);
        if broken {
            bytes.truncate(self.rng.below(bytes.len() as u64) as usize);
        }
        let (mut at, number) = (self.now, self.connection);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            at += self.rng.below(self.faults.piece_ns + 1);
            let (piece, behind) = rest.split_at((1 + self.rng.below(4_000) as usize).min(rest.len()));
            self.at(at, Act::Bytes(number, piece.to_vec()));
            rest = behind;
        }
        if broken {
            self.at(at + 1, Act::Closed(number));
        }
    }

    /// Books that are said to be complete are those of the lossless run.
    fn check(&mut self) {
        let counters = self.feed.counters();
        if self.ended || counters.next == 0 {
            return;
        }
        let complete = self.complete.iter().all(|complete| *complete);
        assert_eq!(complete, self.complete.iter().any(|complete| *complete), "all or none");
        assert_eq!(complete, counters.complete);
        self.whole_at_end = complete;
        if complete {
            self.checks += 1;
            let expected = self.lossless.digest_before(counters.next);
            assert!(self.view.digest() == expected, "seed {}: books differ at message {}", self.seed, counters.next);
        }
    }
}

fn config(seed: u64, join: Join, instruments: Vec<(InstrumentId, String)>) -> FeedConfig {
    let receiver = ReceiverConfig { lines: 2, timeout_ns: 5 * MS, ..ReceiverConfig::default() };
    let login = SnapshotLogin { username: "HELIOS".to_owned(), password: "SECRET".to_owned() };
    let snapshot = (join == Join::Snapshot || seed.is_multiple_of(2)).then_some(login);
    FeedConfig { join, receiver, snapshot, ..FeedConfig::new(0, instruments, MIDNIGHT) }
}

fn faults(seed: u64) -> Faults {
    let mut rng = Rng::new(seed ^ 0xFA17);
    Faults {
        loss: rng.below(40),
        twice: rng.below(20),
        delay_ns: 1 + rng.below(4 * MS),
        unanswered: rng.below(50),
        refused: rng.below(50),
        broken: rng.below(50),
        piece_ns: rng.below(40 * MS),
    }
}

/// Loss, copies, disorder and delay on two lines; servers answer sometimes: the events are those of the lossless run.
#[test]
fn retransmission_gives_the_events_of_the_lossless_run() {
    let (mut gaps, mut closed) = (0, 0);
    for seed in 0..300 {
        let (stream, instruments) = stream(seed);
        let mut config = config(seed, Join::Replay, instruments.clone());
        (config.receiver.servers, config.receiver.attempts) = (2, 1_000);
        let mut world = World::new(seed, config, faults(seed), &stream);
        world.run();
        let mut lossless = Lossless::new(&stream, &instruments);
        let expected: Vec<Market> = (0..stream.len()).filter_map(|_| lossless.advance()).collect();
        assert!(expected.len() > 300);
        assert!(world.markets == expected, "seed {seed}: the events differ");
        let counters = world.feed.counters();
        assert!(world.whole_at_end && world.checks > 10, "seed {seed}: {} checks", world.checks);
        assert_eq!((counters.stream.lost, counters.messages.snapshots, world.view.refused), (0, 0, 0), "seed {seed}");
        gaps += counters.stream.gaps;
        closed += counters.stream.closed;
    }
    println!("{gaps} gaps were filled by servers, {closed} by the other line");
    assert!(gaps > 1_000 && closed > 1_000);
}

/// Messages are lost for good, or came before we joined: complete books are those of the lossless run all the same.
#[test]
fn snapshots_give_the_books_of_the_lossless_run() {
    let (mut snapshots, mut failed, mut old, mut lost) = (0, 0, 0, 0);
    for seed in 0..300 {
        let (stream, instruments) = stream(seed);
        let mut config = config(seed, Join::Snapshot, instruments);
        config.receiver.servers = (seed % 3) as usize;
        config.receiver.attempts = 1 + (seed % 2) as u32;
        let mut world = World::new(seed, config, faults(seed), &stream);
        world.deaf_until = world.now + world.rng.below(1_000 * MS);
        world.run();
        let counters = world.feed.counters();
        assert!(world.whole_at_end, "seed {seed}: it must have recovered in quiet minutes: {counters:?}");
        assert_eq!(counters.next, stream.len() as u64 + 1, "seed {seed}");
        snapshots += counters.messages.snapshots;
        failed += counters.messages.snapshots_failed;
        old += counters.messages.snapshots_old;
        lost += counters.stream.lost;
    }
    println!("{snapshots} snapshots, {failed} failed, {old} too old; {lost} messages lost");
    assert!(snapshots > 300 && failed > 100 && old > 10 && lost > 1_000);
}

/// The stream outgrows what is kept for it: begun again until it fits.
#[test]
fn a_stream_that_outgrows_its_room_is_recovered_all_the_same() {
    let mut overflows = 0;
    for seed in 0..60 {
        let (stream, instruments) = stream(seed);
        let mut config = config(seed, Join::Snapshot, instruments);
        config.buffer_bytes = 2_000;
        let faults = Faults { loss: 20, delay_ns: MS, piece_ns: 100 * MS, ..Faults::default() };
        let mut world = World::new(seed, config, faults, &stream);
        world.deaf_until = world.now + 300 * MS;
        world.run();
        assert!(world.whole_at_end, "seed {seed}");
        overflows += world.feed.counters().messages.overflows;
    }
    assert!(overflows > 60, "{overflows}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let (stream, instruments) = stream(seed);
        let mut world = World::new(seed, config(seed, Join::Snapshot, instruments), faults(seed), &stream);
        world.run();
        (world.markets, world.feed.counters(), world.now)
    };
    assert!(run(5) == run(5) && run(5) != run(6));
}
