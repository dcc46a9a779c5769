//! Whatever clients do: the feed makes the engine's books, snapshots fit into it, shares are conserved, bytes are the same.

mod world;

use std::collections::BTreeMap;

use helios_exchange::{Client, Config, Messages, Pace, Protocol, Source, VenueConfig};
use helios_types::{InstrumentId, NANOS_PER_SECOND, Rng, Side};
use helios_venue::SelfTrade;
use helios_venue::agents::{Config as Agents, Simulation};
use helios_wire::frame::{Frames, Framing};
use helios_wire::ouch::{inbound, outbound};
use helios_wire::{itch, moldudp64, ouch42};
use world::{NUMBER, Reader, Stage, assert_same};

const USERS: [&str; 3] = ["ann", "bob", "cid"];

/// Clients that do anything: two of OUCH 5.0, one of 4.2.
struct Crowd {
    clients: Vec<(Client, Protocol)>,
    next: [u32; 3],
    stocks: Vec<[u8; 8]>,
    rng: Rng,
    /// Where prices are drawn, in cents.
    centre: u64,
}

impl Crowd {
    fn new(stage: &mut Stage, seed: u64) -> Self {
        let clients = USERS.iter().enumerate().map(|(at, user)| {
            let protocol = if at == 2 { Protocol::Ouch42 } else { Protocol::Ouch50 };
            (stage.login(0, protocol, user, 1), protocol)
        });
        let clients = clients.collect();
        let stocks = stage.exchange.symbols(0).map(|symbol| helios_wire::alpha(symbol).expect("a symbol")).collect();
        Self { clients, next: [1; 3], stocks, rng: Rng::new(seed), centre: 1000 }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }

    /// A price near the middle, in the wire's units.
    fn price(&mut self) -> u64 {
        (self.centre - 5 + self.below(11)) * 100
    }

    fn act(&mut self, stage: &mut Stage) {
        let who = self.below(3) as usize;
        let (client, protocol) = self.clients[who];
        let message = match protocol {
            Protocol::Ouch42 => self.say42(),
            _ => self.say50(who),
        };
        stage.send(client, &message);
    }

    fn say50(&mut self, who: usize) -> Vec<u8> {
        let some = 1 + self.below(u64::from(self.next[who])) as u32;
        let (quantity, price) = (1 + self.below(400) as u32, self.price());
        let side = *b"BSTE".get(self.below(4) as usize).expect("a letter");
        match self.below(10) {
            0..5 => {
                let user_ref_num = self.next[who];
                self.next[who] += 1;
                let mut message = inbound::EnterOrder {
                    user_ref_num,
                    side,
                    quantity,
                    symbol: self.stocks[self.rng.below(8) as usize / 7],
                    price,
                    time_in_force: *b"0003".get(self.below(4) as usize).expect("a letter"),
                    display: *b"YYN".get(self.below(3) as usize).expect("a letter"),
                    capacity: b'P',
                    intermarket_sweep_eligibility: b'N',
                    cross_type: b'N',
                    cl_ord_id: [b' '; 14],
                    appendage_length: 0,
                };
                let mut out = Vec::new();
                if message.time_in_force == b'0' && self.below(5) == 0 {
                    message.display = b'Y';
                    inbound::append(&message.encode(), &[2, 12, b'P'], &mut out);
                } else {
                    message.append_to(&mut out);
                }
                out
            }
            5..7 => {
                let user_ref_num = self.next[who];
                self.next[who] += 1;
                let message = inbound::ReplaceOrder {
                    orig_user_ref_num: some,
                    user_ref_num,
                    quantity,
                    price,
                    time_in_force: b'0',
                    display: *b"YYN".get(self.below(3) as usize).expect("a letter"),
                    intermarket_sweep_eligibility: b'N',
                    cl_ord_id: [b' '; 14],
                    appendage_length: 0,
                };
                message.encode().to_vec()
            }
            7 => inbound::ModifyOrder { user_ref_num: some, side, quantity }.encode().to_vec(),
            8 => inbound::CancelOrder { user_ref_num: some, quantity: quantity / 2 }.encode().to_vec(),
            _ => inbound::CancelOrder { user_ref_num: some, quantity: 0 }.encode().to_vec(),
        }
    }

    fn say42(&mut self) -> Vec<u8> {
        let token = |n: u64| {
            let mut token = [b' '; 14];
            token[..8].copy_from_slice(format!("{n:08}").as_bytes());
            token
        };
        let (some, new) = (token(self.rng.below(u64::from(self.next[2]))), token(u64::from(self.next[2])));
        let (shares, price) = (1 + self.below(400) as u32, self.price() as u32);
        let buy_sell_indicator = *b"BSTE".get(self.below(4) as usize).expect("a letter");
        let display = *b"YNPA".get(self.below(4) as usize).expect("a letter");
        self.next[2] += 1;
        match self.below(8) {
            0..4 => ouch42::inbound::EnterOrder {
                order_token: new,
                buy_sell_indicator,
                shares,
                stock: self.stocks[self.rng.below(self.stocks.len() as u64) as usize],
                price,
                time_in_force: [99_998, 99_999, 3, 0][self.below(4) as usize],
                firm: *b"    ",
                display,
                capacity: b'A',
                intermarket_sweep_eligibility: b'N',
                minimum_quantity: 0,
                cross_type: b'N',
                customer_type: b' ',
            }
            .encode()
            .to_vec(),
            4 => {
                let (existing_order_token, replacement_order_token) = (some, new);
                let replace = ouch42::inbound::ReplaceOrder {
                    existing_order_token,
                    replacement_order_token,
                    shares,
                    price,
                    time_in_force: 99_998,
                    display,
                    intermarket_sweep_eligibility: b'N',
                    minimum_quantity: 0,
                };
                replace.encode().to_vec()
            }
            5 => ouch42::inbound::ModifyOrder { order_token: some, buy_sell_indicator, shares }.encode().to_vec(),
            6 => ouch42::inbound::CancelOrder { order_token: some, shares: shares / 2 }.encode().to_vec(),
            _ => ouch42::inbound::CancelOrder { order_token: some, shares: 0 }.encode().to_vec(),
        }
    }
}

fn config(venue: VenueConfig) -> Config {
    USERS.iter().fold(Config::new(vec![venue], world::MIDNIGHT), |config, user| config.with_user(user, "secret"))
}

fn quiet(self_trade: Option<SelfTrade>) -> Stage {
    Stage::new(config(VenueConfig { self_trade, ..VenueConfig::quiet("XNAS", &["AAPL", "MSFT"]) }))
}

fn agents(seed: u64) -> Stage {
    let day = Agents { symbols: 4, minutes: 2, seed, messages_per_symbol_second: 100.0, ..Agents::default() };
    Stage::new(config(VenueConfig::agents("XNAS", day)))
}

/// What an account's stream says of it: executions, and shares that were accepted, done, taken off, open.
#[derive(Default, Debug)]
struct Books50 {
    open: BTreeMap<u32, (u8, u32)>,
    executions: Vec<(u32, u32, u64, u64)>,
}

impl Books50 {
    fn hear(&mut self, message: &[u8]) {
        use outbound::Message as M;
        if message[0] == b'+' {
            return;
        }
        match outbound::decode(message).expect("OUCH 5.0").message {
            M::OrderAccepted(m) => _ = self.open.insert(m.user_ref_num(), (m.side(), m.quantity())),
            M::OrderReplaced(m) => {
                let (side, _) = self.open.remove(&m.orig_user_ref_num()).expect("a working order is replaced");
                assert_eq!(side, m.side());
                self.open.insert(m.user_ref_num(), (m.side(), m.quantity()));
            }
            M::OrderCanceled(m) => self.take(m.user_ref_num(), m.quantity()),
            M::AiqCanceled(m) => self.take(m.user_ref_num(), m.decrement_shares()),
            M::OrderExecuted(m) => {
                self.executions.push((m.user_ref_num(), m.quantity(), m.price(), m.match_number()));
                self.take(m.user_ref_num(), m.quantity());
            }
            M::OrderModified(m) => {
                let order = self.open.get_mut(&m.user_ref_num()).expect("a working order is modified");
                *order = (m.side(), m.quantity());
            }
            _ => {}
        }
    }

    fn take(&mut self, order: u32, shares: u32) {
        let open = &mut self.open.get_mut(&order).expect("a working order").1;
        *open = open.checked_sub(shares).expect("no more than it has");
        if *open == 0 {
            self.open.remove(&order);
        }
    }
}

/// Random clients, with a check of everything now and then.
fn drive(mut stage: Stage, seed: u64, steps: usize, step_ns: u64) {
    let mut crowd = Crowd::new(&mut stage, seed);
    let mut reader = Reader::new(stage.exchange.books(0).instruments());
    let mut heard = [Books50::default(), Books50::default()];
    let mut read = 0;
    for step in 0..steps {
        if step_ns > 0 {
            stage.pass(step_ns);
            let middle = stage.exchange.books(0).top(InstrumentId(0)).bid.price;
            crowd.centre = if middle.is_defined() { (middle.0 / 10_000_000) as u64 } else { 1000 };
        }
        crowd.act(&mut stage);
        for (at, books) in heard.iter_mut().enumerate() {
            for message in stage.take(crowd.clients[at].0) {
                books.hear(&message);
            }
        }
        if step % 97 == 0 || step + 1 == steps {
            let feed = stage.feed(0, 0);
            feed[read..].iter().for_each(|message| reader.read(message));
            read = feed.len();
            assert_same(&reader, stage.exchange.books(0));
            check_snapshot(&mut stage, read as u64 + 1);
        }
    }
    check_ledgers(&stage, &heard);
    let executed: u64 = USERS.iter().map(|user| stage.exchange.ledger(user).expect("a user").executed).sum();
    assert!(executed > 20, "there is something to check: {executed} executions");
    assert_eq!(stage.world.lines[&(0, 0)], stage.world.lines[&(0, 1)], "both lines carry the same packets");
    let (now, Stage { exchange, world, .. }) = (stage.now, &mut stage);
    exchange.end(now, world);
    assert_eq!(stage.exchange.open_orders(0), 0);
}

/// A snapshot is the books as they are, and says with which message to go on.
fn check_snapshot(stage: &mut Stage, next: u64) {
    let client = stage.login(0, Protocol::Snapshot, "ann", 1);
    let mut messages = stage.take(client);
    stage.close(client);
    let end = messages.pop().expect("an end");
    assert_eq!(end, [b"G".as_slice(), format!("{next:>20}").as_bytes()].concat());
    let mut reader = Reader::new(stage.exchange.books(0).instruments());
    messages.iter().filter(|message| message[0] != b'+').for_each(|message| reader.read(message));
    assert_same(&reader, stage.exchange.books(0));
    let numbers = messages
        .iter()
        .filter(|message| message[0] == b'A')
        .map(|message| itch::order_reference_ahead(message) & NUMBER);
    assert!(numbers.is_sorted(), "orders come in the order of time");
}

/// Ledgers are what clients were told, trades have two sides, positions add up to what agents have not.
fn check_ledgers(stage: &Stage, heard: &[Books50; 2]) {
    for (at, books) in heard.iter().enumerate() {
        let ledger = stage.exchange.ledger(USERS[at]).expect("a user");
        let listed = ledger.executions.iter().map(|execution| {
            let reference = execution.reference.parse().expect("a number");
            (reference, execution.shares, execution.price, execution.match_number)
        });
        assert_eq!(listed.collect::<Vec<_>>(), books.executions);
        assert_eq!(ledger.open, books.open.len() as u64);
        let signed = |side: Side, shares: u32| side.sign() * i64::from(shares);
        let position: i64 = ledger.executions.iter().map(|e| signed(e.side, e.shares)).sum();
        assert_eq!(ledger.positions.values().sum::<i64>(), position);
        let cash: i128 =
            ledger.executions.iter().map(|e| -i128::from(signed(e.side, e.shares)) * i128::from(e.price)).sum();
        assert_eq!(ledger.cash, cash);
    }
}

#[test]
fn the_feed_makes_the_books_of_a_quiet_venue() {
    let rules =
        [SelfTrade::CancelNewest, SelfTrade::CancelOldest, SelfTrade::CancelBoth, SelfTrade::Decrement].map(Some);
    for seed in 0..12 {
        drive(quiet(rules[seed as usize % 4]), seed, 800, 0);
    }
    drive(quiet(None), 99, 800, NANOS_PER_SECOND / 10);
}

#[test]
fn clients_trade_with_one_another_without_loss() {
    for seed in 0..6 {
        let mut stage = quiet(None);
        let mut crowd = Crowd::new(&mut stage, seed);
        (0..1_000).for_each(|_| crowd.act(&mut stage));
        let ledgers: Vec<_> = USERS.iter().map(|user| stage.exchange.ledger(user).expect("a user")).collect();
        let mut positions: BTreeMap<(usize, usize), i64> = BTreeMap::new();
        for ledger in &ledgers {
            for (key, shares) in &ledger.positions {
                *positions.entry(*key).or_default() += shares;
            }
        }
        assert!(positions.values().all(|shares| *shares == 0), "what one bought another sold: {positions:?}");
        assert_eq!(ledgers.iter().map(|ledger| ledger.cash).sum::<i128>(), 0);
        let executed: u64 = ledgers.iter().flat_map(|l| &l.executions).map(|e| u64::from(e.shares)).sum();
        let mut reader = Reader::new(stage.exchange.books(0).instruments());
        stage.feed(0, 0).iter().for_each(|message| reader.read(message));
        assert_eq!(executed, 2 * (reader.executed + reader.hidden), "each trade is told once and has two sides");
        assert!(executed > 0 && reader.hidden > 0);
    }
}

#[test]
fn the_feed_makes_the_books_where_agents_trade() {
    for seed in 0..4 {
        drive(agents(seed), seed, 600, NANOS_PER_SECOND / 20);
    }
}

#[test]
fn a_day_of_agents_ends_with_empty_books_and_an_end_of_session() {
    let mut stage = agents(5);
    let mut crowd = Crowd::new(&mut stage, 5);
    for _ in 0..1_300 {
        stage.pass(NANOS_PER_SECOND / 10);
        crowd.act(&mut stage);
    }
    assert_eq!(stage.exchange.open_orders(0), 0);
    assert!(stage.exchange.books(0).is_empty());
    let last = stage.world.lines[&(0, 0)].last().expect("packets");
    assert!(moldudp64::decode(last).expect("a packet").is_end_of_session());
    let mut reader = Reader::new(4);
    stage.feed(0, 0).iter().for_each(|message| reader.read(message));
    assert_eq!(reader.letters, "OSQMEC");
    assert!(reader.books.is_empty());
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let mut stage = agents(11);
        let mut crowd = Crowd::new(&mut stage, 12);
        for _ in 0..300 {
            stage.pass(NANOS_PER_SECOND / 50);
            crowd.act(&mut stage);
        }
        (stage.world.lines, stage.world.heard)
    };
    assert_eq!(run(), run());
}

#[test]
fn retransmissions_carry_the_same_bytes() {
    let mut stage = agents(21);
    let mut crowd = Crowd::new(&mut stage, 22);
    for _ in 0..300 {
        stage.pass(NANOS_PER_SECOND / 20);
        crowd.act(&mut stage);
    }
    let feed = stage.feed(0, 0);
    assert!(feed.len() > 3_000, "{}", feed.len());
    let session = *b"HELIOS    ";
    let mut rng = Rng::new(23);
    for _ in 0..400 {
        let first = 1 + rng.below(feed.len() as u64 + 5);
        let count = 1 + rng.below(100) as u16;
        let request = moldudp64::encode_request(session, first, count);
        stage.world.answers.clear();
        let (now, Stage { exchange, world, .. }) = (stage.now, &mut stage);
        exchange.on_request(0, 7, &request, now, world);
        if first > feed.len() as u64 {
            assert!(stage.world.answers.is_empty(), "what is not there is answered with silence");
            continue;
        }
        let [(0, 7, answer)] = stage.world.answers.as_slice() else { panic!("one answer to who asked") };
        assert!(answer.len() <= 1_400);
        let packet = moldudp64::decode(answer).expect("a packet");
        assert_eq!(packet.header().sequence_number, first);
        assert!(packet.message_count() >= 1 && packet.message_count() <= count);
        for (at, message) in packet.messages().enumerate() {
            assert_eq!(message, feed[first as usize - 1 + at]);
        }
    }
    // What is no request, and what is too much in one second, is not answered.
    let now = stage.now.plus(2 * NANOS_PER_SECOND);
    stage.world.answers.clear();
    let wrong = moldudp64::encode_request(*b"OTHER     ", 1, 1);
    for bytes in [&wrong[..], b"", b"garbage", &[0xFF; 20], &[0; 100]] {
        stage.exchange.on_request(0, 7, bytes, now, &mut stage.world);
    }
    assert!(stage.world.answers.is_empty());
    let request = moldudp64::encode_request(session, 1, 1);
    for _ in 0..2_000 {
        stage.exchange.on_request(0, 7, &request, now, &mut stage.world);
    }
    assert_eq!(stage.world.answers.len(), 1_000 - 5);
    assert_eq!(stage.exchange.feed_counters(0).refused, 1_005);
}

/// A day in memory.
struct Day {
    frames: Vec<u8>,
    at: usize,
}

impl Messages for Day {
    fn next(&mut self, message: &mut Vec<u8>) -> Result<bool, String> {
        let mut frames = Frames::new(&self.frames[self.at..], Framing::LengthPrefixed);
        let Some(next) = frames.next() else { return Ok(false) };
        message.clear();
        message.extend_from_slice(next);
        self.at += frames.consumed();
        Ok(true)
    }
}

#[test]
fn a_recorded_day_goes_out_as_it_was_and_clients_trade_against_it() {
    let day = Agents { symbols: 3, minutes: 1, seed: 9, messages_per_symbol_second: 50.0, ..Agents::default() };
    let mut simulation = Simulation::new(day).expect("settings that can be");
    let mut frames = Vec::new();
    while simulation.next_chunk(&mut frames) {}
    let names: Vec<String> = simulation.symbols().map(str::to_owned).collect();
    let symbols: Vec<&str> = names.iter().map(String::as_str).collect();
    let source = Source::Replay { from_ns: helios_venue::agents::OPEN_NS, pace: Pace::Times(2.0) };
    // Two of three symbols, in another order than in the record.
    let venue = VenueConfig { source, ..VenueConfig::quiet("XREC", &[symbols[2], symbols[0]]) };
    let messages = Day { frames: frames.clone(), at: 0 };
    let mut stage = Stage::before(config(venue), |exchange| exchange.set_messages(0, Box::new(messages)));
    let mut crowd = Crowd::new(&mut stage, 31);
    let mut heard = [Books50::default(), Books50::default()];
    for _ in 0..320 {
        stage.pass(NANOS_PER_SECOND / 10);
        let middle = stage.exchange.books(0).top(InstrumentId(0)).bid.price;
        crowd.centre = if middle.is_defined() { (middle.0 / 10_000_000) as u64 } else { 1000 };
        crowd.act(&mut stage);
        for (at, books) in heard.iter_mut().enumerate() {
            for message in stage.take(crowd.clients[at].0) {
                books.hear(&message);
            }
        }
    }
    check_ledgers(&stage, &heard);
    let executed: u64 = USERS.iter().map(|user| stage.exchange.ledger(user).expect("a user").executed).sum();
    assert!(executed > 5, "{executed} executions");
    let feed = stage.feed(0, 0);
    let about = |message: &[u8]| matches!(message[2], 0 | 1 | 3);
    let recorded: Vec<&[u8]> = Frames::new(&frames, Framing::LengthPrefixed).filter(|message| about(message)).collect();
    assert_eq!(feed.len(), recorded.len(), "the day is over, and nothing of clients is on the feed");
    for (sent, was) in feed.iter().zip(&recorded) {
        assert_eq!((&sent[..5], &sent[11..]), (&was[..5], &was[11..]));
    }
    assert!(feed.windows(2).all(|pair| pair[0][5..11] <= pair[1][5..11]), "time goes on");
    assert_eq!(stage.exchange.open_orders(0), 0);
    let last = stage.world.lines[&(0, 0)].last().expect("packets");
    assert!(moldudp64::decode(last).expect("a packet").is_end_of_session());
}

#[test]
fn a_snapshot_of_a_recorded_day_is_what_its_feed_made() {
    let day = Agents { symbols: 2, minutes: 1, seed: 10, messages_per_symbol_second: 50.0, ..Agents::default() };
    let mut simulation = Simulation::new(day).expect("settings that can be");
    let mut frames = Vec::new();
    while simulation.next_chunk(&mut frames) {}
    let names: Vec<String> = simulation.symbols().map(str::to_owned).collect();
    let source = Source::Replay { from_ns: helios_venue::agents::OPEN_NS, pace: Pace::Rate(1_000) };
    let venue = VenueConfig { source, ..VenueConfig::quiet("XREC", &[&names[0], &names[1]]) };
    let messages = Day { frames, at: 0 };
    let mut stage = Stage::before(config(venue), |exchange| exchange.set_messages(0, Box::new(messages)));
    for _ in 0..5 {
        stage.now = stage.now.plus(NANOS_PER_SECOND / 2);
        let (now, Stage { exchange, world, .. }) = (stage.now, &mut stage);
        exchange.on_tick(now, world);
        let feed = stage.feed(0, 0);
        let mut reader = Reader::new(2);
        feed.iter().for_each(|message| reader.read(message));
        assert_same(&reader, stage.exchange.books(0));
        let client = stage.login(0, Protocol::Snapshot, "ann", 1);
        let mut snapshot = Reader::new(2);
        let mut messages = stage.take(client);
        assert_eq!(messages.pop(), Some([b"G".as_slice(), format!("{:>20}", feed.len() + 1).as_bytes()].concat()));
        messages.iter().filter(|message| message[0] != b'+').for_each(|message| snapshot.read(message));
        assert_same(&snapshot, stage.exchange.books(0));
        assert_eq!(snapshot.directory.len(), 2);
    }
}
