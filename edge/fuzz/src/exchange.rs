//! The exchange and its sessions: clients of every protocol that say anything.

use std::collections::BTreeMap;
use std::fmt;

use helios_book::{Books, Capacity};
use helios_data::normalise::ItchNormaliser;
use helios_exchange::{Client, Config, Exchange, ExchangeOut, Fault, Port, Protocol, VenueConfig};
use helios_types::{InstrumentId, Nanos, Side};
use helios_venue::SelfTrade;
use helios_wire::fix::Version;
use helios_wire::soupbintcp::{LoginRequest, Packet};
use helios_wire::{Layout, itch, moldudp64, ouch, ouch42};

use crate::fix::{self, Counterparty};
use crate::script::{SECRET, Script, Writing};

const MIDNIGHT: Nanos = Nanos(1_700_006_400_000_000_000);
const OPEN: Nanos = Nanos(MIDNIGHT.0 + 36_000_000_000_000);
const LATEST: Nanos = Nanos(OPEN.0 + 3_600_000_000_000);
const USERS: [&str; 2] = ["ANN", "BOB"];
const SYMBOLS: [&str; 2] = ["KO", "PEP"];
const CONNECTIONS: usize = 6;
const MAX_OPEN: usize = 24;

#[derive(Default)]
struct World {
    lines: [Vec<Vec<u8>>; 2],
    clients: BTreeMap<Client, (Protocol, Vec<u8>)>,
    room: Option<usize>,
}

impl ExchangeOut for World {
    fn send(&mut self, venue: usize, line: u8, bytes: &[u8]) {
        assert_eq!(venue, 0);
        moldudp64::decode(bytes).expect("the exchange sends packets");
        self.lines[usize::from(line)].push(bytes.to_vec());
    }

    fn answer(&mut self, _: usize, _: u64, bytes: &[u8]) {
        let packet = moldudp64::decode(bytes).expect("the exchange answers in packets");
        // What is sent again is what was sent.
        let messages: Vec<&[u8]> = self.lines[0].iter().flat_map(|packet| messages(packet)).collect();
        let first = packet.header().sequence_number as usize - 1;
        for (at, message) in packet.messages().enumerate() {
            assert_eq!(messages.get(first + at), Some(&message));
        }
    }

    fn write(&mut self, client: Client, bytes: &[u8]) {
        self.clients.get_mut(&client).expect("a client that is there").1.extend_from_slice(bytes);
    }

    fn close(&mut self, client: Client) {
        assert!(self.clients.remove(&client).is_some(), "a client that is gone is closed");
    }

    fn note(&mut self, text: fmt::Arguments<'_>) {
        assert!(!text.to_string().contains(SECRET), "a secret in a note");
    }

    fn room(&self, _: Client) -> usize {
        self.room.unwrap_or(usize::MAX)
    }
}

fn messages(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    moldudp64::decode(packet).expect("the exchange sends packets").messages()
}

impl World {
    /// What clients hear is of their protocol, and whole.
    fn check(&mut self) {
        for (protocol, heard) in self.clients.values_mut() {
            match protocol {
                Protocol::Fix | Protocol::DropCopy => fix::written(heard, Version::Fix44, |_| {}),
                _ => crate::soup::assert_whole(heard),
            }
            heard.clear();
        }
    }

    /// The feed's messages are numbered on, and the books that they make are the exchange's.
    fn check_books(&self, exchange: &Exchange) {
        assert_eq!(self.lines[0], self.lines[1], "both lines carry the same");
        let instruments = (0..).map(InstrumentId).zip(SYMBOLS);
        let mut normaliser = ItchNormaliser::of(MIDNIGHT, instruments.clone());
        let mut books = Books::new(SYMBOLS.len(), Capacity::default());
        let mut next = 1;
        for packet in &self.lines[0] {
            let packet = moldudp64::decode(packet).expect("the exchange sends packets");
            assert_eq!(packet.header().sequence_number, next, "messages are numbered on");
            next = packet.next_sequence_number();
            for message in packet.messages() {
                let message = itch::decode(message).expect("the exchange sends ITCH");
                if let Some(market) = normaliser.normalise(&message) {
                    books.apply(market.instrument, &market.update).expect("a message that fits the books");
                }
            }
        }
        for (instrument, _) in instruments {
            for side in [Side::Buy, Side::Sell] {
                let levels = |books: &Books| books.depth(instrument, side).collect::<Vec<_>>();
                assert_eq!(levels(&books), levels(exchange.books(0)), "the feed makes the books");
            }
        }
    }
}

/// What one bought another sold, and a ledger's lines add up to its sums.
fn check_ledgers(exchange: &Exchange) {
    let (mut cash, mut positions) = (0, BTreeMap::<(usize, usize), i64>::new());
    for user in USERS {
        let ledger = exchange.ledger(user).expect("a user");
        cash += ledger.cash;
        ledger.positions.iter().for_each(|(key, shares)| *positions.entry(*key).or_default() += shares);
        let signed = |execution: &helios_exchange::Execution| execution.side.sign() * i64::from(execution.shares);
        assert_eq!(ledger.positions.values().sum::<i64>(), ledger.executions.iter().map(signed).sum::<i64>());
        assert_eq!(ledger.received, ledger.accepted + ledger.rejected, "what was received was accepted or refused");
    }
    assert_eq!(cash, 0, "money comes from nowhere");
    assert!(positions.values().all(|shares| *shares == 0), "shares come from nowhere");
}

/// A request of OUCH: any layout, mostly about one of a few orders.
fn request(script: &mut Script<'_>, layouts: &[&'static Layout]) -> Vec<u8> {
    let layout = layouts[script.below(layouts.len())];
    let mut bytes = vec![0; layout.length];
    bytes[0] = layout.kind;
    for field in layout.fields {
        let place = &mut bytes[field.offset..field.offset + field.size];
        match field.name {
            "user_ref_num" | "orig_user_ref_num" => place[3] = script.byte(),
            "order_token" | "existing_order_token" | "replacement_order_token" => {
                place.fill(b' ');
                place[0] = b'A' + script.byte() % 32;
            }
            "symbol" | "stock" => {
                place.fill(b' ');
                let name = ["KO", "PEP", "IBM"][script.below(16) / 7];
                place[..name.len()].copy_from_slice(name.as_bytes());
            }
            // Hundreds of cents, so that prices meet and are on the tick.
            "price" => place[field.size - 2..].copy_from_slice(&(script.below(64) as u16 * 100).to_be_bytes()),
            "quantity" | "shares" => place[field.size - 1] = script.byte(),
            "minimum_quantity" => place[field.size - 1] = script.byte() % 4,
            "side" | "buy_sell_indicator" => place[0] = *b"BSTE".get(script.below(4)).expect("a letter"),
            "time_in_force" => match field.size {
                1 => place[0] = *b"03456".get(script.below(5)).expect("a letter"),
                _ => place.copy_from_slice(&[0_u32, 99_998, 99_999, 3][script.below(4)].to_be_bytes()),
            },
            "display" => place[0] = *b"YNPA".get(script.below(4)).expect("a letter"),
            "capacity" => place[0] = *b"AP".get(script.below(2)).expect("a letter"),
            "cross_type" | "intermarket_sweep_eligibility" => place[0] = if script.byte() == 255 { b'C' } else { b'N' },
            _ if field.kind == helios_wire::Kind::Alpha => place.fill(b' '),
            _ => {}
        }
    }
    if script.below(16) == 15 {
        bytes.extend_from_slice(script.text());
    }
    bytes
}

fn quiet(script: &mut Script<'_>) -> Config {
    let rules = [SelfTrade::CancelNewest, SelfTrade::CancelOldest, SelfTrade::CancelBoth, SelfTrade::Decrement];
    let rule = rules.get(script.below(5)).copied();
    let venue = VenueConfig { self_trade: rule, max_open_orders: MAX_OPEN, ..VenueConfig::quiet("XNAS", &SYMBOLS) };
    let mut config = Config::new(vec![venue], MIDNIGHT);
    config.limits.connections = CONNECTIONS;
    USERS.iter().fold(config, |config, user| config.with_user(user, SECRET))
}

/// The exchange: whatever clients send, the feed makes the books, shares and money are conserved, clients hear whole
/// messages of their protocol, and connections and open orders stay within their maximums.
pub fn exchange(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mut exchange = Exchange::new(quiet(&mut script)).expect("settings that can be");
    let (mut out, mut now, mut fresh, mut faulty) = (World::default(), OPEN, 0, false);
    let party = |user| Counterparty::new(Version::Fix44, user, "XNAS").with_password(SECRET);
    let mut parties = USERS.map(party);
    exchange.on_tick(now, &mut out);
    while let Some(step) = script.step() {
        let some = out.clients.iter().nth(usize::from(step >> 4) % CONNECTIONS).map(|(id, of)| (*id, of.0));
        match (step & 7, some) {
            (0, _) => {
                now = now.plus(script.wait()).min(LATEST);
                exchange.on_tick(now, &mut out);
            }
            (1, _) => {
                now = exchange.next_tick().map_or(now, |at| at.max(now)).min(LATEST);
                exchange.on_tick(now, &mut out);
            }
            (2, _) => {
                fresh += 1;
                let protocol = Protocol::ALL[script.below(5)];
                out.clients.insert(Client(fresh), (protocol, Vec::new()));
                exchange.on_connected(Client(fresh), Port { venue: 0, protocol }, now, &mut out);
                assert!(out.clients.len() <= CONNECTIONS, "no more connections than the maximum");
                if out.clients.contains_key(&Client(fresh)) && step & 8 == 0 {
                    let login = login(&mut script, protocol, &mut parties, now);
                    exchange.on_bytes(Client(fresh), &login, now, &mut out);
                }
            }
            (3, Some((id, _))) => exchange.on_bytes(id, script.text(), now, &mut out),
            (4, Some((id, _))) if script.below(4) == 3 => {
                out.clients.remove(&id);
                exchange.on_closed(id, now, &mut out);
            }
            (4, _) => match script.below(32) {
                0 => exchange.on_request(0, 7, script.text(), now, &mut out),
                1..8 => {
                    let (first, count) = (1 + u64::from(script.byte()), 1 + u16::from(script.byte()));
                    let session = out.lines[0][0].first_chunk().copied().unwrap_or_default();
                    exchange.on_request(0, 7, &moldudp64::encode_request(session, first, count), now, &mut out);
                }
                8 => {
                    let text = String::from_utf8_lossy(script.text());
                    if let Ok(fault) = Fault::parse(&text) {
                        faulty = true;
                        let _ = exchange.fault(fault, now, &mut out);
                    }
                }
                9 => exchange.clear_faults(),
                10 | 11 => {
                    let halted = script.below(2) == 0;
                    // One that is not halted cannot be let go.
                    let _ = exchange.set_halted("XNAS", "KO", halted, now, &mut out);
                }
                12 => exchange.end(now, &mut out),
                _ => out.room = [None, Some(0), Some(100)][script.below(3)],
            },
            (_, Some((id, protocol))) => {
                let bytes = match protocol {
                    Protocol::Fix | Protocol::DropCopy => {
                        let party = script.below(2);
                        parties[party].message(&mut script, &["D", "F", "G", "H", "0", "1", "2", "4", "5"], now)
                    }
                    _ if script.below(16) == 15 => crate::soup::packet(&mut script),
                    _ => {
                        let of_five = protocol == Protocol::Ouch50;
                        let layouts = if of_five { ouch::inbound::LAYOUTS } else { ouch42::inbound::LAYOUTS };
                        let mut packet = Vec::new();
                        Packet::UnsequencedData(&request(&mut script, layouts)).append_to(&mut packet);
                        packet
                    }
                };
                exchange.on_bytes(id, &bytes, now, &mut out);
            }
            _ => {}
        }
        out.check();
        assert!(exchange.open_orders(0) <= MAX_OPEN, "no more open orders than the maximum");
    }
    check_ledgers(&exchange);
    if !faulty {
        out.check_books(&exchange);
    }
}

fn login(script: &mut Script<'_>, protocol: Protocol, parties: &mut [Counterparty], now: Nanos) -> Vec<u8> {
    let user = script.below(2);
    if let Protocol::Fix | Protocol::DropCopy = protocol {
        return parties[user].logon(true, now);
    }
    let mut login = Vec::new();
    let request = LoginRequest::new(USERS[user], SECRET, "", u64::from(script.byte())).expect("short texts");
    Packet::LoginRequest(request).append_to(&mut login);
    login
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for protocol in 0..Protocol::ALL.len() as u8 {
        // Both users log in; each says every message with a few contents, so that some of their orders meet.
        let mut script = Writing::default().then(&[protocol]).then(&[2, protocol, 0, 1, 2, protocol, 1, 1]);
        for fill in [1, 4, 9, 2] {
            for (client, layout) in [(0, 0), (0x10, 0), (0, 1), (0x10, 2), (0, 3)] {
                script = script.then(&[5 | client, 0, layout]).then(&[fill; 12]).then(&[0]);
            }
        }
        seeds.push(script.then(&[1, 0, 160, 4, 5, 0, 9, 4, 10, 0, 2, 2, 0, 1]).bytes());
    }
    let body = "11=1|55=KO|54=1|38=100|40=2|44=1.5|60=20260102-03:04:05|";
    let sell = "11=1|55=KO|54=2|38=50|40=2|44=1.5|60=20260102-03:04:05|";
    let change = "11=2|41=1|55=KO|54=1|38=200|40=2|44=1.6|60=20260102-03:04:05|";
    let cancel = "11=3|41=2|55=KO|54=1|38=200|60=20260102-03:04:05|";
    let mut script = Writing::default().then(&[1, 2, 3, 0, 2, 3, 1, 2, 4, 0]);
    for (client, party, kind, text) in [(0, 0, 0, body), (16, 1, 0, sell), (0, 0, 2, change), (0, 0, 1, cancel)] {
        script = script.then(&[5 | client, party, kind, 0, 0]).text(text.as_bytes());
    }
    seeds.push(script.then(&[1, 4, 8]).text(b"disconnect port=fix44").then(&[1, 2, 3, 0, 4, 12, 1]).bytes());
    seeds
}
