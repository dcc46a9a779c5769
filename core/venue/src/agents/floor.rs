//! The floor of an exchange for clients: the matching engine and the feed that tells everything, with agents or without.
//!
//! What [`crate::Venue`] is to a backtest with agents, a [`Floor`] is to an exchange with clients of its own: it says what
//! the engine said, order by order and with match numbers, and leaves accounts and protocols to the caller. Clients'
//! orders are guests' (`guest.rs`) and may be hidden here; of one firm they follow [`NewOrder::self_trade`].
//! Assumes whole shares and prices in cents, which the instruments' rules enforce. Time is the caller's: messages carry
//! the stamp that was set last.
//! Absent: icebergs, pegs, stops and auctions of clients; halts where agents trade, who do not know of them.

use helios_book::Books;
use helios_types::{BookRef, InstrumentId, Price, Quantity, Side};
use helios_wire::frame::{Frames, Framing};

use super::config::MAX_SYMBOLS;
use super::emit::{CENT, Feed, Mpid, Shown, Stock};
use super::exchange::{Exchange, PRICE_PER_CENT, cents_of, locate, shares_of};
use super::guest::{HIDDEN, MAX_GUEST_PRICE, is_hidden};
use super::market::Simulation;
use crate::desk::OURS;
use crate::matching::{Amend, Command, Event, Events, MatchingEngine, NewOrder, Phase, Rules};

/// Highest limit price without agents: that of the protocols.
const MAX_PRICE: Price = Price(199_999 * helios_types::PRICE_SCALE + 99 * PRICE_PER_CENT);

/// A client's resting order that an agent took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which.
    pub order: BookRef,
    /// At what price.
    pub price: Price,
    /// How much.
    pub quantity: Quantity,
    /// The trade's number on the feed.
    pub match_number: u64,
}

#[derive(Clone)]
enum Kind {
    Quiet(Box<Exchange>),
    Agents(Box<Simulation>),
}

/// Books, and the feed of all that happens in them.
#[derive(Clone)]
pub struct Floor {
    kind: Kind,
}

impl Floor {
    /// Without agents: only clients trade. Says what is wrong with the symbols.
    pub fn quiet(symbols: &[String]) -> Result<Self, String> {
        if symbols.is_empty() || symbols.len() > MAX_SYMBOLS as usize {
            return Err(format!("a venue lists 1 to {MAX_SYMBOLS} symbols, not {}", symbols.len()));
        }
        let names = symbols.iter().map(|symbol| stock(symbol)).collect::<Result<Vec<Stock>, String>>()?;
        let mut exchange = Exchange::new(names, 0);
        in_cents(&mut exchange);
        Ok(Self { kind: Kind::Quiet(Box::new(exchange)) })
    }

    /// With the agents of a simulated day, before its first message.
    pub fn agents(mut simulation: Simulation) -> Self {
        in_cents(&mut simulation.exchange);
        Self { kind: Kind::Agents(Box::new(simulation)) }
    }

    fn exchange(&self) -> &Exchange {
        match &self.kind {
            Kind::Quiet(exchange) => exchange,
            Kind::Agents(simulation) => &simulation.exchange,
        }
    }

    fn exchange_mut(&mut self) -> &mut Exchange {
        match &mut self.kind {
            Kind::Quiet(exchange) => exchange,
            Kind::Agents(simulation) => &mut simulation.exchange,
        }
    }

    /// The engine that matches.
    pub fn engine(&self) -> &MatchingEngine {
        &self.exchange().engine
    }

    /// The displayed books; instruments are numbered as the symbols, locates from 1.
    pub fn books(&self) -> &Books {
        self.exchange().books()
    }

    /// Padded symbols in the order of their locates, which count from 1.
    pub fn stocks(&self) -> &[[u8; 8]] {
        &self.exchange().names
    }

    /// Directory entry and trading state of every stock as they are, stamped; for snapshots.
    pub fn directory(&self, stamp: u64) -> Vec<Vec<u8>> {
        let exchange = self.exchange();
        let mut feed = Feed::new(stamp);
        let mut messages = Vec::with_capacity(2 * exchange.names.len());
        for (at, stock) in exchange.names.iter().enumerate() {
            let halted = exchange.engine.phase(InstrumentId(at as u32)) == Some(Phase::Halted);
            let mut frames = Vec::new();
            feed.stock_directory(locate(at), *stock, &mut frames);
            feed.trading_action(locate(at), *stock, if halted { b'H' } else { b'T' }, &mut frames);
            messages.extend(Frames::new(&frames, Framing::LengthPrefixed).map(<[u8]>::to_vec));
        }
        messages
    }

    /// What the next messages are stamped with, nanoseconds since midnight; the caller sees to it that it never goes back.
    pub fn set_stamp(&mut self, stamp: u64) {
        self.exchange_mut().feed.stamp = Some(stamp);
    }

    /// Highest limit price that a client's order may have.
    pub fn max_price(&self) -> Price {
        match self.kind {
            Kind::Quiet(_) => MAX_PRICE,
            Kind::Agents(_) => MAX_GUEST_PRICE,
        }
    }

    /// Whether agents trade here.
    pub fn has_agents(&self) -> bool {
        matches!(self.kind, Kind::Agents(_))
    }

    /// Writes the beginning of the day up to the open: all of it without agents, and with them all that they do before it.
    pub fn open(&mut self, out: &mut Vec<u8>) {
        match &mut self.kind {
            Kind::Quiet(exchange) => {
                exchange.feed.system_event(b'O', out);
                exchange.directory(out);
                exchange.feed.system_event(b'S', out);
                exchange.feed.system_event(b'Q', out);
            }
            Kind::Agents(simulation) => while !simulation.is_quoting() && simulation.next_step(out) {},
        }
    }

    /// When agents act next, nanoseconds since their midnight; they open at [`super::OPEN_NS`]. `None` without agents
    /// and after their day.
    pub fn next_act(&self) -> Option<u64> {
        match &self.kind {
            Kind::Quiet(_) => None,
            Kind::Agents(simulation) => simulation.next_at(),
        }
    }

    /// Lets agents act once. False without agents and after their day.
    pub fn act(&mut self, out: &mut Vec<u8>) -> bool {
        match &mut self.kind {
            Kind::Quiet(_) => false,
            Kind::Agents(simulation) => simulation.next_step(out),
        }
    }

    /// Whether market hours of the agents are over, so that clients' orders must leave.
    pub fn is_closed(&self) -> bool {
        match &self.kind {
            Kind::Quiet(_) => false,
            Kind::Agents(simulation) => simulation.is_closed(),
        }
    }

    /// Messages written so far.
    pub fn messages(&self) -> u64 {
        self.exchange().feed.messages
    }

    /// A number for a client's new order; numbers without their two highest bits grow with time.
    pub fn order_number(&mut self, hidden: bool) -> BookRef {
        let number = self.exchange_mut().feed.order_number();
        number | OURS | if hidden { HIDDEN } else { 0 }
    }

    /// A client's order comes in; what the engine says is appended to `events`. Its trades have the match numbers from
    /// the returned one on, in order. With a participant's name what rests is shown with it.
    pub fn submit(&mut self, new: &NewOrder, mpid: Option<Mpid>, events: &mut Events, out: &mut Vec<u8>) -> u64 {
        let first = self.exchange_mut().enter_client(new, None, mpid, events, out);
        self.answer(new, events, out);
        first
    }

    /// A client's order gives way to another of the same instrument and side, with a new place. What the engine says of
    /// the old one is the first event; the rest as in [`Floor::submit`].
    pub fn replace(
        &mut self,
        old: BookRef,
        new: &NewOrder,
        mpid: Option<Mpid>,
        events: &mut Events,
        out: &mut Vec<u8>,
    ) -> u64 {
        let first = self.exchange_mut().enter_client(new, Some(old), mpid, events, out);
        self.answer(new, events, out);
        first
    }

    /// A client's order leaves.
    pub fn cancel(&mut self, instrument: InstrumentId, order: BookRef, events: &mut Events, out: &mut Vec<u8>) {
        let exchange = self.exchange_mut();
        let before = events.len();
        exchange.engine.cancel(instrument, order, events);
        if matches!(events[before..], [Event::Cancelled { .. }]) && !is_hidden(order) {
            exchange.feed.deleted(locate(instrument.index()), order, out);
        }
    }

    /// A client's order shrinks to `left`, fewer than it has, and keeps its place.
    pub fn reduce(
        &mut self,
        instrument: InstrumentId,
        order: BookRef,
        left: Quantity,
        events: &mut Events,
        out: &mut Vec<u8>,
    ) {
        let exchange = self.exchange_mut();
        let Some(working) = exchange.engine.order(order) else { return };
        let quantity = Quantity(working.filled.0.saturating_add(left.0));
        let amend = Amend { instrument, order, new_order: order, price: working.price, quantity, display: None };
        let before = events.len();
        exchange.engine.apply(&Command::Amend(amend), events);
        if matches!(events[before..], [Event::Amended { kept: true, .. }]) && !is_hidden(order) {
            let off = Quantity(working.open.0 - left.0);
            exchange.feed.reduced(locate(instrument.index()), order, shares_of(off), out);
        }
    }

    /// Clients' resting orders that agents took since the last call, in order.
    pub fn take_fills(&mut self) -> impl Iterator<Item = Taken> + '_ {
        let fills = self.exchange_mut().guest_fills.drain(..);
        fills.map(|fill| Taken {
            order: fill.order,
            price: fill.price,
            quantity: fill.quantity,
            match_number: fill.match_number,
        })
    }

    /// Halts a stock (cancels only) or lets it trade again. Not where agents trade, and not twice.
    pub fn set_halted(&mut self, instrument: InstrumentId, halted: bool, out: &mut Vec<u8>) -> Result<(), String> {
        let Kind::Quiet(exchange) = &mut self.kind else {
            return Err("agents trade here and know no halts: use a quiet venue".to_owned());
        };
        let (from, to, letter) = match halted {
            true => (Phase::Continuous, Phase::Halted, b'H'),
            false => (Phase::Halted, Phase::Continuous, b'T'),
        };
        if exchange.engine.phase(instrument) != Some(from) {
            return Err(format!("the stock is not in phase {from:?}, so it cannot change to {to:?}"));
        }
        let mut events = Events::new();
        exchange.engine.set_phase(instrument, to, &mut events);
        let at = instrument.index();
        exchange.feed.trading_action(locate(at), exchange.names[at], letter, out);
        Ok(())
    }

    /// Ends a day without agents, after all orders have left; theirs ends by itself.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if let Kind::Quiet(exchange) = &mut self.kind {
            for event in *b"MEC" {
                exchange.feed.system_event(event, out);
            }
        }
    }

    /// Agents see what a client's order did.
    fn answer(&mut self, new: &NewOrder, events: &[Event], out: &mut Vec<u8>) {
        let Kind::Agents(simulation) = &mut self.kind else { return };
        if !simulation.is_closed() {
            simulation.exchange.events.clear();
            simulation.exchange.events.extend_from_slice(events);
            simulation.agents_answer(new.instrument.index(), new, out);
        }
    }
}

impl Exchange {
    fn directory(&mut self, out: &mut Vec<u8>) {
        for at in 0..self.names.len() {
            self.feed.directory(locate(at), self.names[at], out);
        }
    }

    /// A client's order comes in, perhaps for another, and the feed tells it.
    fn enter_client(
        &mut self,
        new: &NewOrder,
        old: Option<BookRef>,
        mpid: Option<Mpid>,
        events: &mut Events,
        out: &mut Vec<u8>,
    ) -> u64 {
        let mut old_shown = None;
        if let Some(order) = old {
            let before = events.len();
            self.engine.cancel(new.instrument, order, events);
            let left = matches!(events[before..], [Event::Cancelled { .. }]);
            old_shown = (left && !is_hidden(order)).then_some(order);
        }
        let (first, before) = (self.feed.next_match(), events.len());
        self.engine.submit(new, events);
        let symbol = new.instrument.index();
        let rests = self.engine.books().order(new.order);
        if let (Some(order), Some(resting)) = (old_shown, rests)
            && !events[before..].iter().any(|event| matches!(event, Event::Traded { .. } | Event::Cancelled { .. }))
        {
            self.feed.replaced(locate(symbol), order, shown(new, resting.quantity), out);
            return first;
        }
        if let Some(order) = old_shown {
            self.feed.deleted(locate(symbol), order, out);
        }
        for event in &events[before..] {
            self.tell(event, new.order, out);
        }
        if let Some(resting) = rests {
            self.feed.add(locate(symbol), self.names[symbol], shown(new, resting.quantity), mpid, out);
        }
        first
    }

    /// What the feed says of one event of an incoming order that is not shown yet.
    fn tell(&mut self, event: &Event, incoming: BookRef, out: &mut Vec<u8>) {
        match *event {
            Event::Traded { instrument, resting, price, quantity, .. } => {
                let (at, shares) = (instrument.index(), shares_of(quantity));
                match is_hidden(resting) {
                    true => {
                        self.feed.hidden_trade(locate(at), self.names[at], shares, cents_of(price) * CENT, out);
                    }
                    false => self.feed.executed(locate(at), resting, shares, out),
                }
            }
            Event::Cancelled { instrument, order, quantity, left, .. } if order != incoming && !is_hidden(order) => {
                let locate = locate(instrument.index());
                match left.is_zero() {
                    true => self.feed.deleted(locate, order, out),
                    false => self.feed.reduced(locate, order, shares_of(quantity), out),
                }
            }
            _ => {}
        }
    }

    /// Whether an order of this side and price would meet a hidden one.
    pub(super) fn would_meet_hidden(&self, symbol: usize, side: Side, cents: u32) -> bool {
        let hidden = self.engine.books_at(crate::matching::Place::Hidden);
        if hidden.is_empty() {
            return false;
        }
        let best = hidden.best(InstrumentId(symbol as u32), side.opposite()).price;
        let price = Price(i64::from(cents) * PRICE_PER_CENT);
        best.is_defined()
            && match side {
                Side::Buy => price >= best,
                Side::Sell => price <= best,
            }
    }
}

fn shown(new: &NewOrder, quantity: Quantity) -> Shown {
    Shown { order: new.order, side: new.side, shares: shares_of(quantity), price: cents_of(new.price) * CENT }
}

/// All instruments trade whole shares in cents.
fn in_cents(exchange: &mut Exchange) {
    let rules = Rules { tick: Price(PRICE_PER_CENT), lot: Quantity::whole(1), ..Rules::default() };
    for at in 0..exchange.names.len() {
        exchange
            .engine
            .set_rules(InstrumentId(at as u32), rules)
            .expect("the rules are sound and the instrument listed");
    }
}

fn stock(symbol: &str) -> Result<Stock, String> {
    let plain = (1..=8).contains(&symbol.len()) && symbol.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain {
        return Err(format!("{symbol:?} is no symbol: 1 to 8 ASCII characters without spaces"));
    }
    let mut padded = *b"        ";
    padded[..symbol.len()].copy_from_slice(symbol.as_bytes());
    Ok(padded)
}
