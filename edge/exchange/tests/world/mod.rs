//! A world for an exchange: what it said is kept, by whom it was said to.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fmt;

use helios_book::{Books, Capacity};
use helios_exchange::{Client, Config, Exchange, ExchangeOut, Port, Protocol};
use helios_types::{InstrumentId, Nanos, Price, Quantity, Side};
use helios_wire::soupbintcp::{self, LoginRequest, Packet};
use helios_wire::{itch, moldudp64, price4};

pub const MIDNIGHT: Nanos = Nanos(1_700_006_400_000_000_000);
/// 10:00.
pub const START: Nanos = MIDNIGHT.plus(36_000_000_000_000);
/// Without the marks of clients' orders.
pub const NUMBER: u64 = u64::MAX >> 2;

#[derive(Default)]
pub struct World {
    /// Packets by venue and line.
    pub lines: BTreeMap<(usize, u8), Vec<Vec<u8>>>,
    pub answers: Vec<(usize, u64, Vec<u8>)>,
    pub heard: BTreeMap<Client, Vec<u8>>,
    pub closed: Vec<Client>,
    pub notes: Vec<String>,
    /// What clients can take until it is set again.
    pub room: Option<usize>,
}

impl ExchangeOut for World {
    fn send(&mut self, venue: usize, line: u8, bytes: &[u8]) {
        self.lines.entry((venue, line)).or_default().push(bytes.to_vec());
    }
    fn answer(&mut self, venue: usize, to: u64, bytes: &[u8]) {
        self.answers.push((venue, to, bytes.to_vec()));
    }
    fn write(&mut self, client: Client, bytes: &[u8]) {
        if let Some(room) = &mut self.room {
            *room = room.saturating_sub(bytes.len());
        }
        self.heard.entry(client).or_default().extend_from_slice(bytes);
    }
    fn close(&mut self, client: Client) {
        self.closed.push(client);
    }
    fn note(&mut self, text: fmt::Arguments<'_>) {
        self.notes.push(text.to_string());
    }
    fn room(&self, _client: Client) -> usize {
        self.room.unwrap_or(usize::MAX)
    }
}

/// An exchange, its world, and the time.
pub struct Stage {
    pub exchange: Exchange,
    pub world: World,
    pub now: Nanos,
    next_client: u64,
}

impl Stage {
    pub fn new(config: Config) -> Self {
        Self::before(config, |_| {})
    }

    /// Something is done before the day begins.
    pub fn before(config: Config, prepare: impl FnOnce(&mut Exchange)) -> Self {
        let mut exchange = Exchange::new(config).expect("settings that can be");
        prepare(&mut exchange);
        let mut stage = Self { exchange, world: World::default(), now: START, next_client: 1 };
        stage.exchange.on_tick(START, &mut stage.world);
        stage
    }

    pub fn connect(&mut self, venue: usize, protocol: Protocol) -> Client {
        let client = Client(self.next_client);
        self.next_client += 1;
        self.exchange.on_connected(client, Port { venue, protocol }, self.now, &mut self.world);
        client
    }

    pub fn login(&mut self, venue: usize, protocol: Protocol, user: &str, from: u64) -> Client {
        let client = self.connect(venue, protocol);
        let request = LoginRequest::new(user, "secret", "", from).expect("short texts");
        self.packet(client, Packet::LoginRequest(request));
        client
    }

    pub fn packet(&mut self, client: Client, packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.append_to(&mut bytes);
        self.bytes(client, &bytes);
    }

    pub fn bytes(&mut self, client: Client, bytes: &[u8]) {
        self.exchange.on_bytes(client, bytes, self.now, &mut self.world);
    }

    pub fn send(&mut self, client: Client, message: &[u8]) {
        self.packet(client, Packet::UnsequencedData(message));
    }

    pub fn close(&mut self, client: Client) {
        self.exchange.on_closed(client, self.now, &mut self.world);
    }

    /// Time goes on, with every tick that is asked for.
    pub fn pass(&mut self, ns: u64) {
        let end = self.now.plus(ns);
        let mut ticks = 0;
        while let Some(at) = self.exchange.next_tick()
            && at <= end
        {
            ticks += 1;
            assert!(ticks < 1_000_000, "time goes on between two ticks");
            self.now = self.now.max(at).plus(1);
            self.exchange.on_tick(self.now, &mut self.world);
        }
        self.now = self.now.max(end);
        self.exchange.on_tick(self.now, &mut self.world);
    }

    /// What a client has heard since the last call: payloads of sequenced packets, and other packets as their letter.
    pub fn take(&mut self, client: Client) -> Vec<Vec<u8>> {
        let bytes = self.world.heard.remove(&client).unwrap_or_default();
        let mut rest = bytes.as_slice();
        let mut out = Vec::new();
        while let Some((packet, length)) = soupbintcp::decode(rest).expect("a SoupBinTCP stream") {
            match packet {
                Packet::SequencedData(body) => out.push(body.to_vec()),
                Packet::ServerHeartbeat => {}
                other => out.push(format!("+{other:?}").into_bytes()),
            }
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "whole packets");
        out
    }

    /// All messages of a venue's line so far; panics at a gap.
    pub fn feed(&self, venue: usize, line: u8) -> Vec<Vec<u8>> {
        let mut out: Vec<Vec<u8>> = Vec::new();
        for packet in self.world.lines.get(&(venue, line)).into_iter().flatten() {
            let packet = moldudp64::decode(packet).expect("a packet");
            assert_eq!(packet.header().sequence_number, out.len() as u64 + 1, "no gap");
            out.extend(packet.messages().map(<[u8]>::to_vec));
        }
        out
    }
}

/// Books as a reader of the feed makes them, by locate.
pub struct Reader {
    pub books: Books,
    /// Shares by order that were added and left without a trade, and those that traded as displayed.
    pub executed: u64,
    pub hidden: u64,
    pub directory: Vec<String>,
    pub letters: String,
}

impl Reader {
    pub fn new(symbols: usize) -> Self {
        Self {
            books: Books::new(symbols + 1, Capacity::default()),
            executed: 0,
            hidden: 0,
            directory: Vec::new(),
            letters: String::new(),
        }
    }

    pub fn read(&mut self, bytes: &[u8]) {
        use itch::Message;
        let message = itch::decode(bytes).expect("ITCH");
        let at = InstrumentId(u32::from(message.stock_locate()));
        let shares = |n: u32| Quantity::whole(i64::from(n));
        let side = |letter| if letter == b'B' { Side::Buy } else { Side::Sell };
        let price = |raw: u32| price4(raw).expect("a price");
        let done = match message {
            Message::AddOrder(m) => {
                let (side, price) = (side(m.buy_sell_indicator()), price(m.price()));
                self.books.add(at, m.order_reference_number(), side, price, shares(m.shares()))
            }
            Message::AddOrderMpid(m) => {
                let (side, price) = (side(m.buy_sell_indicator()), price(m.price()));
                self.books.add(at, m.order_reference_number(), side, price, shares(m.shares()))
            }
            Message::OrderExecuted(m) => {
                self.executed += u64::from(m.executed_shares());
                self.books.reduce(at, m.order_reference_number(), shares(m.executed_shares()))
            }
            Message::OrderExecutedWithPrice(m) => {
                self.executed += u64::from(m.executed_shares());
                self.books.reduce(at, m.order_reference_number(), shares(m.executed_shares()))
            }
            Message::OrderCancel(m) => self.books.reduce(at, m.order_reference_number(), shares(m.canceled_shares())),
            Message::OrderDelete(m) => self.books.remove(at, m.order_reference_number()),
            Message::OrderReplace(m) => {
                let (old, new) = (m.original_order_reference_number(), m.new_order_reference_number());
                self.books.replace(at, old, new, price(m.price()), shares(m.shares()))
            }
            Message::TradeNonCross(m) => {
                self.hidden += u64::from(m.shares());
                return;
            }
            Message::StockDirectory(m) => {
                return self.directory.push(String::from_utf8_lossy(m.stock()).into_owned());
            }
            Message::SystemEvent(m) => return self.letters.push(char::from(m.event_code())),
            _ => return,
        };
        done.unwrap_or_else(|error| panic!("{message:?}: {error}"));
    }
}

/// One order of a book: number, side, price, shares.
pub type Row = (u64, Side, Price, Quantity);

/// All orders of one instrument in the order of the queues, best prices first.
pub fn rows(books: &Books, instrument: InstrumentId) -> Vec<Row> {
    let mut out = Vec::new();
    for side in [Side::Buy, Side::Sell] {
        for level in books.depth(instrument, side) {
            out.extend(
                books
                    .queue(instrument, side, level.price)
                    .map(|order| (order.order, order.side, order.price, order.quantity)),
            );
        }
    }
    out
}

/// The reader's books (by locate) are the exchange's.
pub fn assert_same(reader: &Reader, books: &Books) {
    for at in 0..books.instruments() as u32 {
        assert_eq!(rows(&reader.books, InstrumentId(at + 1)), rows(books, InstrumentId(at)), "instrument {at}");
    }
}
