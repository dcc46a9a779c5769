//! One world of one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use helios_exchange::{Client, Config, Exchange, ExchangeOut, Fault, Port, Protocol, VenueConfig};
use helios_execution::CALLER_IDS;
use helios_live::Audit;
use helios_types::{
    Control, Event, InstrumentId, Intent, IntentKind, Link, NANOS_PER_SECOND, Nanos, OrderId, OrderState, Output,
    Price, Quantity, Rng, Rule, Side, StrategyId, Terms, TimeInForce,
};
use helios_venue::SelfTrade;
use helios_venue::agents;
use helios_wire::{ouch, ouch42, soupbintcp};

use crate::net::{Happening, Net, Weather, uniform};
use crate::trader::{
    Around, Disk, Fuse, LIMIT, Manner, ORDER_LIMIT, PASSWORD, Purpose, Trader, USER, read_whole, recover,
};

pub const MIDNIGHT: Nanos = Nanos(1_700_006_400_000_000_000);
const OPEN: u64 = 34_200 * NANOS_PER_SECOND;
const MS: u64 = 1_000_000;
const SHARE: i64 = 100_000_000;

/// What happened in worlds.
#[derive(Debug, Default)]
pub struct Tally {
    pub kills: u64,
    pub cuts: u64,
    pub fills: u64,
    pub orders: u64,
    /// Orders whose fate was unknown for a while.
    pub unknown: u64,
    pub never_arrived: u64,
    pub gaps: u64,
    /// Executions that drop copies told and that both sides had.
    pub compared: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.cuts += other.cuts;
        self.fills += other.fills;
        self.orders += other.orders;
        self.unknown += other.unknown;
        self.never_arrived += other.never_arrived;
        self.gaps += other.gaps;
        self.compared += other.compared;
    }
}

/// What arrives at the venue on one connection, read by the test itself.
#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
}

/// What must come only once, and the shares of a new order; `None` for a message that takes no reference. OUCH 5.0
/// carries our own number of an order too.
fn entered(protocol: Protocol, body: &[u8]) -> Option<(Vec<Vec<u8>>, Option<u32>)> {
    if protocol == Protocol::Ouch42 {
        return match ouch42::inbound::decode(body).expect("our own messages are sound") {
            ouch42::inbound::Message::EnterOrder(order) => {
                Some((vec![order.order_token().to_vec()], Some(order.shares())))
            }
            ouch42::inbound::Message::ReplaceOrder(order) => {
                Some((vec![order.replacement_order_token().to_vec()], None))
            }
            _ => None,
        };
    }
    match ouch::inbound::decode(body).expect("our own messages are sound").message {
        ouch::inbound::Message::EnterOrder(order) => {
            let references = vec![order.user_ref_num().to_be_bytes().to_vec(), order.cl_ord_id().to_vec()];
            Some((references, Some(order.quantity())))
        }
        ouch::inbound::Message::ReplaceOrder(order) => Some((vec![order.user_ref_num().to_be_bytes().to_vec()], None)),
        _ => None,
    }
}

/// The same of a FIX message; a status request names an order, and takes no reference. What is sent again as FIX does, by
/// its old number, says that it is (43=Y): the venue knows it by that number.
fn entered_fix(message: &[u8]) -> Option<(Vec<Vec<u8>>, Option<u32>)> {
    let field = |tag: &[u8]| {
        let start = [b"\x01", tag, b"="].concat();
        let from = message.windows(start.len()).position(|at| at == start)? + start.len();
        message[from..].split(|byte| *byte == 1).next().map(<[u8]>::to_vec)
    };
    let kind = field(b"35")?;
    if field(b"43").is_some_and(|again| again == b"Y") {
        return None;
    }
    let shares = || std::str::from_utf8(&field(b"38")?).ok()?.split('.').next()?.parse().ok();
    let reference = || field(b"11").expect("a request has a ClOrdID");
    match kind.as_slice() {
        b"D" => Some((vec![reference()], Some(shares().expect("an order has a quantity")))),
        b"F" | b"G" => Some((vec![reference()], None)),
        _ => None,
    }
}

/// The length of the first whole FIX message.
fn fix_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|at| at == b"\x0110=").map(|at| at + 8).filter(|length| *length <= bytes.len())
}

/// The exchange's way out.
struct Venue<'a> {
    net: &'a mut Net,
}

impl ExchangeOut for Venue<'_> {
    fn send(&mut self, _venue: usize, line: u8, bytes: &[u8]) {
        self.net.datagram(line, bytes);
    }
    fn answer(&mut self, _venue: usize, _to: u64, bytes: &[u8]) {
        self.net.datagram(0, bytes);
    }
    fn write(&mut self, client: Client, bytes: &[u8]) {
        self.net.send_to_trader(client.0, bytes);
    }
    fn close(&mut self, client: Client) {
        self.net.venue_closes(client.0);
    }
    fn note(&mut self, _text: fmt::Arguments<'_>) {}
}

struct World {
    net: Net,
    rng: Rng,
    exchange: Exchange,
    symbols: Vec<String>,
    trader: Option<Trader>,
    disk: Disk,
    fuse: Fuse,
    next_pipe: u64,
    asked: Vec<(u64, Purpose)>,
    purposes: BTreeMap<u64, Purpose>,
    heard: BTreeMap<u64, Heard>,
    notes: Vec<String>,
    /// The trader's clock minus the true one.
    clock: i64,
    /// Identifiers that the drawn strategy has used, which it remembers over its death.
    used: u64,
    /// References and orders that arrived at the venue.
    references: BTreeSet<Vec<u8>>,
    protocol: Protocol,
    /// There is a drop copy.
    copied: bool,
    /// Outputs leave some time after their inputs are in the journal.
    held: bool,
    tally: Tally,
}

/// Lives through one seed; panics when something is not as it must be.
pub fn run(seed: u64) -> Tally {
    let mut world = World::new(seed);
    world.live();
    world.heal();
    world.judge();
    world.tally
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let day = agents::Config {
            symbols: 3,
            minutes: 60,
            seed: seed ^ 0x5EED,
            group_size: 3,
            messages_per_symbol_second: 30.0,
            ..agents::Config::default()
        };
        // What becomes of our orders that would trade with each other: orders end, or lose a part, while we ask for changes.
        let self_trade =
            [SelfTrade::CancelNewest, SelfTrade::Decrement, SelfTrade::CancelOldest, SelfTrade::CancelBoth];
        let venue =
            VenueConfig { self_trade: Some(self_trade[(seed / 3 % 4) as usize]), ..VenueConfig::agents("XNAS", day) };
        let config = Config::new(vec![venue], MIDNIGHT).with_user(USER, PASSWORD);
        let exchange = Exchange::new(config).expect("sound settings");
        let symbols = exchange.symbols(0).map(str::to_owned).collect();
        let mut net = Net::new(rng.next_u64());
        net.now = MIDNIGHT.plus(OPEN);
        Self {
            net,
            rng,
            exchange,
            symbols,
            trader: None,
            disk: Disk::default(),
            fuse: Fuse::default(),
            next_pipe: 0,
            asked: Vec::new(),
            purposes: BTreeMap::new(),
            heard: BTreeMap::new(),
            notes: Vec::new(),
            clock: 0,
            used: 0,
            references: BTreeSet::new(),
            protocol: [Protocol::Ouch50, Protocol::Ouch42, Protocol::Fix][(seed % 3) as usize],
            copied: !seed.is_multiple_of(4),
            held: seed / 12 % 2 == 1,
            tally: Tally::default(),
        }
    }

    /// The time by the trader's own clock.
    fn trader_now(&self) -> Nanos {
        Nanos(self.net.now.0.saturating_add_signed(self.clock))
    }

    fn with_trader(&mut self, act: impl FnOnce(&mut Trader, &mut Around<'_>)) {
        let now = self.trader_now();
        let Some(trader) = &mut self.trader else { return };
        let Self { net, disk, fuse, next_pipe, asked, notes, .. } = self;
        act(trader, &mut Around { net, disk, fuse, next_pipe, asked, notes, now });
        for (pipe, purpose) in self.asked.drain(..) {
            self.purposes.insert(pipe, purpose);
        }
        if self.fuse.is_blown() {
            self.die();
        }
    }

    /// The process is gone; the kernel closes its connections after what was written.
    fn die(&mut self) {
        self.fuse = Fuse::default();
        if let Some(trader) = self.trader.take() {
            self.tally.kills += 1;
            for pipe in trader.pipes.into_iter().flatten() {
                self.net.trader_closes(pipe);
            }
            let at = self.net.now.plus(MS + self.rng.below(2_000 * MS));
            self.net.at(at, Happening::Start);
        }
    }

    fn start(&mut self) {
        if self.trader.is_none() {
            let held = if self.held { Some(self.rng.next_u64()) } else { None };
            let manner = Manner { protocol: self.protocol, copied: self.copied, held };
            self.trader = Some(Trader::start(&mut self.disk, &self.symbols, manner, &mut self.rng));
            self.with_trader(Trader::tick);
        }
    }

    /// The process dies, begins again, and dies within its first effects.
    fn die_twice(&mut self) {
        self.die();
        self.start();
        self.fuse.light(self.rng.below(6));
        self.with_trader(|_, _| {});
    }

    fn venue_tick(&mut self) {
        let now = self.net.now;
        self.exchange.on_tick(now, &mut Venue { net: &mut self.net });
    }

    /// Everything that is due until then.
    fn pass(&mut self, until: Nanos) {
        loop {
            let venue = self.exchange.next_tick().unwrap_or(Nanos(u64::MAX));
            let trader = self.trader.as_ref().and_then(Trader::next_tick).unwrap_or(Nanos(u64::MAX));
            let trader = Nanos(trader.0.saturating_add_signed(self.clock.saturating_neg()));
            let steady = self.trader.as_ref().and_then(Trader::steady_due).unwrap_or(Nanos(u64::MAX));
            let trader = trader.min(steady);
            let net = self.net.next().unwrap_or(Nanos(u64::MAX));
            let next = net.min(venue).min(trader);
            if next > until {
                self.net.now = self.net.now.max(until);
                return;
            }
            if net <= next {
                let happening = self.net.due(until).expect("it is due");
                self.happen(happening);
                continue;
            }
            self.net.now = self.net.now.max(next);
            if venue <= next { self.venue_tick() } else { self.with_trader(Trader::tick) }
        }
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.net.now;
        match happening {
            Happening::Line { line, bytes } => self.with_trader(|trader, around| trader.datagram(line, &bytes, around)),
            Happening::Request { bytes } => {
                self.exchange.on_request(0, 0, &bytes, now, &mut Venue { net: &mut self.net });
            }
            Happening::Connect { pipe } => {
                let protocol = match self.purposes[&pipe] {
                    Purpose::Snapshot => Protocol::Snapshot,
                    Purpose::Entry => self.protocol,
                    Purpose::Copy => Protocol::DropCopy,
                };
                self.heard.insert(pipe, Heard::default());
                let port = Port { venue: 0, protocol };
                self.exchange.on_connected(Client(pipe), port, now, &mut Venue { net: &mut self.net });
            }
            Happening::ToVenue { pipe, bytes } => {
                self.overhear(pipe, &bytes);
                self.exchange.on_bytes(Client(pipe), &bytes, now, &mut Venue { net: &mut self.net });
                self.within_limits();
            }
            Happening::VenueClosed { pipe } => {
                self.exchange.on_closed(Client(pipe), now, &mut Venue { net: &mut self.net });
            }
            Happening::Connected { pipe } => self.of_trader(pipe, |trader, purpose, around| {
                trader.connected(purpose, around);
            }),
            Happening::ToTrader { pipe, bytes } => self.of_trader(pipe, |trader, purpose, around| {
                trader.bytes(purpose, &bytes, around);
            }),
            Happening::TraderClosed { pipe } => self.of_trader(pipe, |trader, purpose, around| {
                trader.closed(purpose, around);
            }),
            Happening::Kill => {
                if self.trader.is_some() {
                    self.fuse.light(self.rng.below(40));
                    self.with_trader(|_, _| {});
                }
            }
            Happening::Start => self.start(),
            Happening::Clock => {
                let step = self.rng.below(4_000 * MS) as i64 - 2_000 * MS as i64;
                self.clock = if self.rng.below(3) == 0 { 0 } else { step };
            }
            Happening::Whim => {}
        }
    }

    /// For a connection that the trader still has.
    fn of_trader(&mut self, pipe: u64, act: impl FnOnce(&mut Trader, Purpose, &mut Around<'_>)) {
        let purpose = self.purposes[&pipe];
        let has = |trader: &Trader| trader.pipes[purpose as usize] == Some(pipe);
        if self.trader.as_ref().is_some_and(has) {
            self.with_trader(|trader, around| act(trader, purpose, around));
        }
    }

    /// What the venue hears, read here: no reference and no order comes twice, none is too large.
    fn overhear(&mut self, pipe: u64, bytes: &[u8]) {
        if self.purposes[&pipe] != Purpose::Entry {
            return;
        }
        let heard = self.heard.entry(pipe).or_default();
        heard.bytes.extend_from_slice(bytes);
        let mut from = 0;
        loop {
            let rest = &heard.bytes[from..];
            let told = if self.protocol == Protocol::Fix {
                let Some(length) = fix_length(rest) else { break };
                from += length;
                entered_fix(&rest[..length])
            } else {
                let Ok(Some((packet, length))) = soupbintcp::decode(rest) else { break };
                from += length;
                let soupbintcp::Packet::UnsequencedData(body) = packet else { continue };
                entered(self.protocol, body)
            };
            let Some((references, shares)) = told else { continue };
            self.tally.orders += u64::from(shares.is_some());
            assert!(shares.is_none_or(|shares| i64::from(shares) <= ORDER_LIMIT), "an order beyond its limit");
            for reference in references {
                assert!(!self.references.contains(&reference), "reference {} came twice", reference.escape_ascii());
                self.references.insert(reference);
            }
        }
        heard.bytes.drain(..from);
    }

    /// At the venue, at any moment.
    fn within_limits(&self) {
        let ledger = self.exchange.ledger(USER).expect("a user");
        for (at, shares) in &ledger.positions {
            assert!(shares.abs() <= LIMIT, "position {shares} of {at:?} is beyond {LIMIT}");
        }
    }

    /// The bad times.
    fn live(&mut self) {
        self.venue_tick();
        self.start();
        // A calm second, so that every world has some trading.
        self.pass(self.net.now.plus(NANOS_PER_SECOND));
        let end = self.net.now.plus((5 + self.rng.below(15)) * NANOS_PER_SECOND);
        while self.net.now < end {
            let pause = 1 + self.rng.below(60 * MS);
            self.pass(self.net.now.plus(pause));
            match self.rng.below(400) {
                0..=3 => self.happen(Happening::Kill),
                4..=5 => self.happen(Happening::Clock),
                6..=11 => {
                    self.net.weather = if self.rng.below(3) == 0 { Weather::CALM } else { Weather::of(&mut self.rng) }
                }
                12..=17 => self.cut(),
                18..=19 => self.command(),
                22..=23 => self.with_trader(Trader::snapshot),
                24 => self.die_twice(),
                20..=21 => self.venue_fails(),
                _ => self.wish(),
            }
        }
    }

    fn cut(&mut self) {
        let pipes: Vec<u64> = self.trader.iter().flat_map(|trader| trader.pipes).flatten().collect();
        if !pipes.is_empty() {
            let pipe = pipes[self.rng.below(pipes.len() as u64) as usize];
            self.net.cut(pipe);
            self.tally.cuts += 1;
        }
    }

    /// The venue itself is silent, refuses, or repeats itself.
    fn venue_fails(&mut self) {
        let now = self.net.now;
        let venue = &mut Venue { net: &mut self.net };
        let fault = match self.rng.below(7) {
            5 => "silent port=drop_copy for=3s",
            6 => "disconnect port=drop_copy",
            0 => "silent port=entry for=2s",
            1 => "silent for=4s",
            2 => "refuse-logins for=1s",
            3 => "refuse-orders for=1s p=0.5",
            _ => "duplicate p=0.3 for=2s",
        };
        let fault = fault.replace("entry", self.protocol.name());
        self.exchange.fault(Fault::parse(&fault).expect("a sound fault"), now, venue).expect("there is room");
    }

    fn command(&mut self) {
        let control = match self.rng.below(6) {
            0 => Control::Pause,
            1 => Control::Flatten,
            2 => Control::SetLimit { rule: Rule::OrderQuantity, limit: (100 + self.rng.below(400) as i64) * SHARE },
            _ => Control::Resume,
        };
        self.with_trader(|trader, around| trader.input(Event::Control(control), around));
    }

    /// A wish of some strategy.
    fn wish(&mut self) {
        let Some(trader) = &self.trader else { return };
        let number = self.rng.below(self.symbols.len() as u64) as u32;
        let instrument = InstrumentId(number);
        let top = trader.state().markets().view(instrument).top;
        let shares = |rng: &mut Rng| Quantity::whole(1 + rng.below(300) as i64);
        let side = if self.rng.below(2) == 0 { Side::Buy } else { Side::Sell };
        let (strategy, kind) = match self.rng.below(10) {
            0..=2 => {
                let position = Quantity::whole(self.rng.below(1_600) as i64 - 800);
                (0, IntentKind::Target { position })
            }
            3..=6 => {
                let near = if side == Side::Buy { top.bid.price } else { top.ask.price };
                if !near.is_defined() {
                    return;
                }
                let price = Price(near.0 + (self.rng.below(9) as i64 - 4) * 10_000_000);
                let time_in_force = if self.rng.below(3) == 0 { TimeInForce::Ioc } else { TimeInForce::Day };
                let id = OrderId(CALLER_IDS + self.used);
                self.used += 1;
                let quantity = shares(&mut self.rng);
                (1, IntentKind::Order { id, side, quantity, price, time_in_force, terms: Terms::PLAIN })
            }
            7..=8 if self.used > 0 => {
                let order = OrderId(CALLER_IDS + self.used - 1 - self.rng.below(self.used.min(20)));
                (1, IntentKind::Cancel { order })
            }
            9 if self.used > 0 => {
                let order = OrderId(CALLER_IDS + self.used - 1 - self.rng.below(self.used.min(20)));
                let near = if side == Side::Buy { top.bid.price } else { top.ask.price };
                if !near.is_defined() {
                    return;
                }
                (1, IntentKind::Replace { order, quantity: shares(&mut self.rng), price: near })
            }
            _ => return,
        };
        let intent = Intent { strategy: StrategyId(strategy), instrument, kind };
        self.with_trader(|trader, around| trader.input(Event::Intent(intent), around));
    }

    /// The weather clears; strategies wish nothing more; what works is cancelled.
    fn heal(&mut self) {
        self.net.weather = Weather::CALM;
        self.clock = 0;
        let _ = uniform(&mut self.rng);
        // A fuse that is still burning goes out; faults of the venue end.
        self.fuse = Fuse::default();
        self.exchange.clear_faults();
        self.pass(self.net.now.plus(20 * NANOS_PER_SECOND));
        // Refused three times, a session gives up: the operator mends it and starts the process again.
        let gave_up = |trader: &Trader| {
            trader.entry.next_tick().is_none() || trader.audit.as_ref().is_some_and(|audit| audit.told().given_up)
        };
        if self.trader.as_ref().is_some_and(gave_up) {
            self.die();
        }
        self.start();
        for _ in 0..60 {
            self.pass(self.net.now.plus(NANOS_PER_SECOND));
            if self.is_calm() {
                break;
            }
        }
        self.cancel_all();
        for _ in 0..30 {
            self.pass(self.net.now.plus(NANOS_PER_SECOND));
            if self.is_calm() && self.trader.as_ref().is_some_and(|trader| trader.state().orders().open_orders() == 0) {
                break;
            }
        }
    }

    fn is_calm(&self) -> bool {
        self.trader.as_ref().is_some_and(|trader| {
            let executions = self.exchange.ledger(USER).map_or(0, |ledger| ledger.executions.len() as u64);
            let told = trader.audit.as_ref().map(Audit::told);
            trader.entry.is_settled()
                && told.is_none_or(|told| told.up && told.told == executions && told.counters.matched == executions)
                && (0..).map(InstrumentId).take(self.symbols.len()).all(|id| trader.state().markets().view(id).complete)
        })
    }

    fn cancel_all(&mut self) {
        self.with_trader(|trader, around| trader.input(Event::Control(Control::Kill), around));
    }

    /// Both sides must agree.
    fn judge(&mut self) {
        // What the venue has just said is still on its way; nothing new is said meanwhile.
        while let Some(happening) = self.net.due(self.net.now.plus(MS)) {
            self.happen(happening);
        }
        self.with_trader(Trader::settle);
        let outputs = read_whole(&self.disk);
        let trader = self.trader.as_ref().expect("it was started");
        let state = trader.state();
        assert!(self.is_calm(), "the session is settled and the books are whole; {}", self.last_notes());
        let ledger = self.exchange.ledger(USER).expect("a user");

        for number in 0..self.symbols.len() {
            let ours = state.risk().position(InstrumentId(number as u32)).quantity;
            let theirs = ledger.positions.get(&(0, number)).copied().unwrap_or(0);
            assert_eq!(ours.0, theirs * SHARE, "position in {}; {}", self.symbols[number], self.last_notes());
            let (ours, theirs) = (state.markets().view(InstrumentId(number as u32)).top, {
                self.exchange.books(0).top(InstrumentId(number as u32))
            });
            assert_eq!(ours, theirs, "best prices of {}", self.symbols[number]);
        }
        let open = state.orders().open();
        assert_eq!(open.len() as u64, ledger.open, "open orders: {open:?}; {}", self.last_notes());

        // Every execution of the venue is booked once, with its shares.
        let mut booked: BTreeMap<u64, i64> = BTreeMap::new();
        for output in &outputs {
            match output {
                Output::Fill(fill) if fill.execution != 0 => {
                    *booked.entry(fill.execution).or_default() += fill.side.sign() * fill.quantity.0;
                }
                Output::State(change) if change.to == OrderState::Unknown => self.tally.unknown += 1,
                Output::State(change) if change.reject == Some(helios_types::RejectReason::NeverArrived) => {
                    self.tally.never_arrived += 1;
                }
                Output::Quality(quality) if quality.kind == helios_types::QualityKind::Gap => self.tally.gaps += 1,
                Output::Difference(difference) => panic!("{difference:?}; {}", self.last_notes()),
                _ => {}
            }
        }
        let mut theirs: BTreeMap<u64, i64> = BTreeMap::new();
        for execution in &ledger.executions {
            let signed = execution.side.sign() * i64::from(execution.shares) * SHARE;
            *theirs.entry(execution.match_number).or_default() += signed;
        }
        assert_eq!(booked, theirs, "executions, booked and the venue's");
        self.tally.fills += theirs.len() as u64;

        // The drop copy has told every execution, and never was one missed.
        if let Some(told) = trader.audit.as_ref().map(Audit::told) {
            assert_eq!(told.told, ledger.executions.len() as u64, "executions told; {}", self.last_notes());
            let counters = told.counters;
            assert_eq!((told.lacking, counters.differences, counters.foreign), ((0, 0), 0, 0), "{}", self.last_notes());
            assert_eq!(counters.matched, told.told, "executions compared");
            self.tally.compared += counters.matched;
        }

        // What the venue says of positions agrees, and the journal says again what was said.
        let digest = state.digest();
        let recovered = recover(&mut self.disk, &self.symbols, |_| ());
        assert_eq!(recovered.digest(), digest, "the journal leads to the same state");
        for number in 0..self.symbols.len() {
            let shares = self.exchange.ledger(USER).and_then(|ledger| ledger.positions.get(&(0, number)).copied());
            let position = Link::Position {
                instrument: InstrumentId(number as u32),
                quantity: Quantity(shares.unwrap_or(0) * SHARE),
            };
            self.with_trader(|trader, around| trader.input(Event::Link(position), around));
            let said = self.trader.as_ref().expect("it lives").engine.outputs();
            assert!(said.is_empty(), "{said:?}");
        }
    }

    fn last_notes(&self) -> String {
        let from = self.notes.len().saturating_sub(25);
        format!("notes:\n{}", self.notes[from..].join("\n"))
    }
}
