//! Statistical order flow: the message mix of a real day without agents or a market behind it, for benchmarks.
//!
//! Kinds of messages come in the proportions of a busy TotalView day; symbols by Zipf's law; deletes mostly hit
//! recent orders. Prices are drawn around a fixed price per symbol, bids below and asks above it, so books are
//! never crossed. Every reference is valid: the file decodes into books without an error.
//! Absent on purpose: matching, queues that mean anything, price moves, and any use for strategies.

use helios_types::{BookRef, Side};

use super::config::{ConfigError, MAX_SYMBOLS, within};
use super::draw::{Alias, Draw};
use super::emit::{CENT, Feed, Imbalance, Shown, Stock, time_of_day};

/// Messages in one chunk.
const CHUNK: u64 = 10_000;
/// Orders that rest at once when there are messages enough.
const LIVE_ORDERS: usize = 200_000;
/// Most messages: two billion, a very busy day.
pub const MAX_FLOW_MESSAGES: u64 = 2_000_000_000;
const OPEN_NS: u64 = time_of_day(9, 30, 0);
const CLOSE_NS: u64 = time_of_day(16, 0, 0);
/// Start of messages, system hours, market hours; end of market hours, system hours, messages.
const SYSTEM_EVENTS: u64 = 6;
const CLOSING_EVENTS: u64 = 3;

/// A kind of message of the flow.
#[derive(Clone, Copy)]
enum Kind {
    Add,
    AddMpid,
    Delete,
    Replace,
    Execute,
    ExecuteAt,
    Reduce,
    Trade,
    Imbalance,
}

/// Proportions of a busy day.
const MIX: [(Kind, u32); 9] = [
    (Kind::Add, 410),
    (Kind::Delete, 400),
    (Kind::Replace, 80),
    (Kind::Execute, 30),
    (Kind::Reduce, 20),
    (Kind::Imbalance, 20),
    (Kind::Trade, 15),
    (Kind::AddMpid, 10),
    (Kind::ExecuteAt, 1),
];
const MIX_TOTAL: u32 = 986;
const _: () = {
    let (mut i, mut total) = (0, 0);
    while i < MIX.len() {
        total += MIX[i].1;
        i += 1;
    }
    assert!(total == MIX_TOTAL, "the mix's total is stated wrongly");
};

#[derive(Clone, Copy)]
struct Live {
    order: BookRef,
    shares: u32,
    price: u32,
    symbol: u16,
    side: Side,
}

/// A seeded flow of messages over many symbols.
pub struct Flow {
    feed: Feed,
    draw: Draw,
    names: Vec<Stock>,
    /// The fixed price of each symbol, in the feed's units.
    prices: Vec<u32>,
    popularity: Alias,
    live: Vec<Live>,
    live_wanted: usize,
    messages: u64,
    listed: usize,
    mean_gap_ns: u64,
}

impl Flow {
    /// A flow of exactly `messages` messages over `symbols` symbols, or the setting that cannot be.
    pub fn new(seed: u64, symbols: u32, messages: u64) -> Result<Self, ConfigError> {
        within("symbols", f64::from(symbols), 1.0, f64::from(MAX_SYMBOLS))?;
        let least = 3 * u64::from(symbols) + SYSTEM_EVENTS;
        within("messages", messages as f64, least as f64, MAX_FLOW_MESSAGES as f64)?;
        let mut draw = Draw::new(seed, 3);
        let price = |draw: &mut Draw| CENT * libm::exp(draw.between(libm::log(1_000.0), libm::log(30_000.0))) as u32;
        let weights: Vec<f64> = (0..symbols).map(|i| 1.0 / libm::pow(f64::from(i) + 20.0, 0.9)).collect();
        Ok(Self {
            feed: Feed::new(time_of_day(3, 5, 0)),
            names: (0..symbols).map(name).collect(),
            prices: (0..symbols).map(|_| price(&mut draw)).collect(),
            popularity: Alias::new(&weights),
            live: Vec::new(),
            live_wanted: LIVE_ORDERS.min((messages / 10) as usize).max(1),
            messages,
            listed: 0,
            mean_gap_ns: (CLOSE_NS - OPEN_NS) / messages,
            draw,
        })
    }

    /// Appends about ten thousand messages to `out`; false, and nothing appended, once the flow is complete.
    pub fn next_chunk(&mut self, out: &mut Vec<u8>) -> bool {
        if self.feed.messages == self.messages {
            return false;
        }
        let stop = (self.feed.messages + CHUNK).min(self.messages - CLOSING_EVENTS);
        while self.listed < self.names.len() && self.feed.messages < stop {
            self.list(out);
        }
        while self.feed.messages < stop {
            self.message(out);
        }
        if stop == self.messages - CLOSING_EVENTS {
            self.feed.at(CLOSE_NS);
            for event in *b"MEC" {
                self.feed.system_event(event, out);
            }
        }
        true
    }

    /// Part of the messages that is written, 0 to 1.
    pub fn progress(&self) -> f64 {
        self.feed.messages as f64 / self.messages as f64
    }

    /// Names, in the order of their locates, which count from 1.
    pub fn symbols(&self) -> impl Iterator<Item = &str> + '_ {
        self.names.iter().map(|name| std::str::from_utf8(name).expect("names are letters").trim_end())
    }

    /// Orders that rest after the last chunk.
    pub fn live_orders(&self) -> usize {
        self.live.len()
    }

    fn list(&mut self, out: &mut Vec<u8>) {
        if self.listed == 0 {
            self.feed.system_event(b'O', out);
        }
        self.feed.pass(1000);
        self.feed.directory(self.listed as u16 + 1, self.names[self.listed], out);
        self.listed += 1;
        if self.listed == self.names.len() {
            self.feed.at(time_of_day(4, 0, 0));
            self.feed.system_event(b'S', out);
            self.feed.at(OPEN_NS);
            self.feed.system_event(b'Q', out);
        }
    }

    #[inline]
    fn message(&mut self, out: &mut Vec<u8>) {
        // Uniform with the right mean: nothing in a benchmark depends on the gaps' distribution.
        self.feed.pass(u64::from(self.draw.below((2 * self.mean_gap_ns).clamp(1, 1 << 31) as u32)));
        let kind = if self.live.len() < self.live_wanted { Kind::Add } else { self.kind() };
        match kind {
            Kind::Add => self.add(false, out),
            Kind::AddMpid => self.add(true, out),
            Kind::Delete => {
                let at = self.pick();
                let gone = self.live.swap_remove(at);
                self.feed.deleted(gone.symbol + 1, gone.order, out);
            }
            Kind::Replace => self.replace(out),
            Kind::Execute | Kind::ExecuteAt => self.execute(matches!(kind, Kind::ExecuteAt), out),
            Kind::Reduce => {
                let at = self.pick();
                let live = &mut self.live[at];
                // An order of one share cannot be reduced and stay: it goes whole, which is a reduction too.
                let less = if live.shares == 1 { 1 } else { 1 + self.draw.below(live.shares - 1) };
                live.shares -= less;
                self.feed.reduced(live.symbol + 1, live.order, less, out);
                self.bury(at);
            }
            Kind::Trade => {
                let symbol = self.popularity.draw(&mut self.draw);
                let shares = self.draw.shares(2.0);
                self.feed.hidden_trade(symbol as u16 + 1, self.names[symbol], shares, self.prices[symbol], out);
            }
            Kind::Imbalance => self.imbalance(out),
        }
    }

    fn kind(&mut self) -> Kind {
        let mut draw = self.draw.below(MIX_TOTAL);
        for (kind, weight) in MIX {
            if draw < weight {
                return kind;
            }
            draw -= weight;
        }
        unreachable!("the draw is below the sum of the weights")
    }

    /// An index of a live order, mostly a recent one.
    fn pick(&mut self) -> usize {
        let count = self.live.len();
        if self.draw.below(100) < 85 {
            let back = (self.draw.exponential() * self.live_wanted as f64 * 0.1) as usize;
            if back < count {
                return count - 1 - back;
            }
        }
        self.draw.below(count as u32) as usize
    }

    /// Orders without shares are gone.
    fn bury(&mut self, at: usize) {
        if self.live[at].shares == 0 {
            self.live.swap_remove(at);
        }
    }

    fn price(&mut self, symbol: usize, side: Side) -> u32 {
        let mean_ticks = if self.draw.below(10) == 0 { 60.0 } else { 4.0 };
        let away = CENT * (1 + (self.draw.exponential() * mean_ticks) as u32);
        match side {
            Side::Buy => self.prices[symbol].saturating_sub(away).max(CENT),
            Side::Sell => self.prices[symbol] + away,
        }
    }

    fn add(&mut self, attributed: bool, out: &mut Vec<u8>) {
        let symbol = self.popularity.draw(&mut self.draw);
        let side = if self.draw.below(2) == 0 { Side::Buy } else { Side::Sell };
        let (order, shares, price) = (self.feed.order_number(), self.draw.shares(3.0), self.price(symbol, side));
        let shown = Shown { order, side, shares, price };
        self.feed.add(symbol as u16 + 1, self.names[symbol], shown, attributed.then_some(*b"HMKA"), out);
        self.live.push(Live { order, shares, price, symbol: symbol as u16, side });
    }

    fn replace(&mut self, out: &mut Vec<u8>) {
        let at = self.pick();
        let old = self.live.swap_remove(at);
        let price = self.price(usize::from(old.symbol), old.side);
        let new = Live { order: self.feed.order_number(), price, ..old };
        let shown = Shown { order: new.order, side: new.side, shares: new.shares, price };
        self.feed.replaced(old.symbol + 1, old.order, shown, out);
        self.live.push(new);
    }

    /// Seven of ten executions take the whole order.
    fn execute(&mut self, at_another_price: bool, out: &mut Vec<u8>) {
        let at = self.pick();
        let whole = self.draw.below(10) < 7;
        let live = &mut self.live[at];
        let shares = if whole { live.shares } else { 1 + self.draw.below(live.shares) };
        live.shares -= shares;
        if at_another_price {
            let better = if live.side == Side::Buy { live.price + CENT / 2 } else { live.price - CENT / 2 };
            self.feed.executed_at(live.symbol + 1, live.order, shares, (better, true), out);
        } else {
            self.feed.executed(live.symbol + 1, live.order, shares, out);
        }
        self.bury(at);
    }

    fn imbalance(&mut self, out: &mut Vec<u8>) {
        let symbol = self.popularity.draw(&mut self.draw);
        let (paired, unpaired) = (self.draw.shares(20.0), self.draw.shares(5.0));
        let imbalance = Imbalance { paired, unpaired, side: Side::Buy, price: self.prices[symbol], cross: b'C' };
        self.feed.imbalance(symbol as u16 + 1, self.names[symbol], imbalance, out);
    }
}

/// Four letters, the last one moving fastest.
fn name(symbol: u32) -> Stock {
    let mut name = *b"        ";
    for (at, unit) in [26 * 26 * 26, 26 * 26, 26, 1].into_iter().enumerate() {
        name[at] = b'A' + (symbol / unit % 26) as u8;
    }
    name
}
