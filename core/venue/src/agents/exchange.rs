//! The simulated exchange: the matching engine, and a feed that says everything that happens on it.
//!
//! Agents speak in cents and shares. Every change of the books goes through here, so the feed is complete by
//! construction: books rebuilt from the frames are the engine's books.

use helios_book::{Books, Capacity};
use helios_types::{BookRef, InstrumentId, PRICE_SCALE, Price, QUANTITY_SCALE, Quantity, Side, TimeInForce};

use super::emit::{CENT, Feed, Mpid, Shown, Stock};
use super::guest::{GuestFill, is_hidden};
use crate::desk::is_ours;
use crate::matching::{Amend, Event, Events, MatchingEngine, NewOrder};

pub(super) const PRICE_PER_CENT: i64 = PRICE_SCALE / 100;
/// Time that one action of an agent takes at the exchange.
pub(super) const ACTION_NS: u64 = 250;
/// Orders that may rest at once; [`super::market`] bounds what its agents keep to less.
pub(crate) const CAPACITY: Capacity = Capacity { orders: 1 << 21, levels: 1 << 21 };

/// An order of an agent that rests; `order` 0 stands for none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quote {
    pub(crate) order: BookRef,
    pub(crate) cents: u32,
    pub(crate) shares: u32,
}

impl Quote {
    pub(crate) const NONE: Self = Self { order: 0, cents: 0, shares: 0 };

    pub(crate) fn is_live(&self) -> bool {
        self.order != 0
    }
}

/// Best prices in cents and the shares there. An empty bid is 0, an empty ask [`Touch::NO_ASK`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touch {
    pub(crate) cents: [u32; 2],
    pub(crate) shares: [u32; 2],
}

impl Touch {
    pub(crate) const NO_ASK: u32 = u32::MAX;

    pub(crate) fn bid(&self) -> u32 {
        self.cents[Side::Buy as usize]
    }

    pub(crate) fn ask(&self) -> u32 {
        self.cents[Side::Sell as usize]
    }

    pub(crate) fn is_two_sided(&self) -> bool {
        self.bid() != 0 && self.ask() != Self::NO_ASK
    }
}

/// How the feed reports the trades of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Print {
    /// At the resting order's price.
    Displayed,
    /// Half a cent better for the incoming order: the resting one had hidden such a price.
    Improved,
    /// In a cross at this many cents: not printed one by one.
    Cross(u32),
}

/// A wish of an agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) symbol: usize,
    pub(crate) side: Side,
    pub(crate) cents: u32,
    pub(crate) shares: u32,
    pub(crate) time_in_force: TimeInForce,
    pub(crate) print: Print,
    pub(crate) mpid: Option<Mpid>,
}

/// Matching and its feed.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(super) engine: MatchingEngine,
    pub(super) names: Vec<Stock>,
    /// What the engine said of the last order or replacement; of cancels and reductions only their refusal matters.
    pub(super) events: Events,
    answers: Events,
    /// What agents took from guests.
    pub(super) guest_fills: Vec<GuestFill>,
    pub(crate) feed: Feed,
}

impl Exchange {
    pub(crate) fn new(names: Vec<Stock>, clock: u64) -> Self {
        Self {
            engine: MatchingEngine::new(names.len(), CAPACITY),
            names,
            events: Vec::with_capacity(256),
            answers: Vec::new(),
            guest_fills: Vec::new(),
            feed: Feed::new(clock),
        }
    }

    pub(crate) fn books(&self) -> &Books {
        self.engine.books()
    }

    /// Trades of the last submitted order, in shares: which resting order, how much, what it has left.
    pub(crate) fn trades(&self) -> impl Iterator<Item = (BookRef, u32, u32)> + '_ {
        self.events.iter().filter_map(|event| match *event {
            Event::Traded { resting, quantity, resting_left, .. } => {
                Some((resting, shares_of(quantity), shares_of(resting_left)))
            }
            _ => None,
        })
    }

    pub(crate) fn touch(&self, symbol: usize) -> Touch {
        let top = self.engine.top(InstrumentId(symbol as u32));
        let ask = if top.ask.orders == 0 { Touch::NO_ASK } else { cents_of(top.ask.price) };
        let bid = if top.bid.orders == 0 { 0 } else { cents_of(top.bid.price) };
        Touch { cents: [bid, ask], shares: [shares_of(top.bid.quantity), shares_of(top.ask.quantity)] }
    }

    pub(crate) fn name(&self, symbol: usize) -> Stock {
        self.names[symbol]
    }

    pub(crate) fn name_str(&self, symbol: usize) -> &str {
        std::str::from_utf8(&self.names[symbol]).expect("names are letters").trim_end()
    }

    /// The price down to which `shares` are displayed on a side, looking at `levels` prices at most; 0 on an empty side.
    pub(crate) fn clearing_cents(&self, symbol: usize, side: Side, shares: u32, levels: usize) -> u32 {
        let (mut cents, mut seen) = (0, 0);
        for level in self.books().depth(InstrumentId(symbol as u32), side).take(levels) {
            if seen >= shares {
                break;
            }
            cents = cents_of(level.price);
            seen = shares.min(seen.saturating_add(shares_of(level.quantity)));
        }
        cents
    }

    /// Matches a guest's order and tells the feed; true when it rests. The feed is where it is: no time passes.
    pub(super) fn submit_guest(&mut self, symbol: usize, new: &NewOrder, out: &mut Vec<u8>) -> bool {
        self.events.clear();
        self.engine.submit(new, &mut self.events);
        self.print(symbol, new.side, Print::Displayed, out);
        let Some(resting) = self.engine.books().order(new.order) else { return false };
        let (shares, price) = (shares_of(resting.quantity), cents_of(resting.price) * CENT);
        self.feed.add(
            locate(symbol),
            self.names[symbol],
            Shown { order: new.order, side: new.side, shares, price },
            None,
            out,
        );
        true
    }

    /// Trades of the last submitted order: at which price, how much.
    pub(super) fn prices(&self) -> impl Iterator<Item = (Price, Quantity)> + '_ {
        self.events.iter().filter_map(|event| match *event {
            Event::Traded { price, quantity, .. } => Some((price, quantity)),
            _ => None,
        })
    }

    /// Matches an order, tells the feed, and returns what rests of it.
    pub(crate) fn submit(&mut self, ticket: Ticket, out: &mut Vec<u8>) -> Quote {
        let Ticket { symbol, side, cents, shares, time_in_force, print, mpid } = ticket;
        self.feed.pass(ACTION_NS);
        let order = self.feed.order_number();
        let (price, quantity) = (price_of(cents), quantity_of(shares));
        let plain = NewOrder::limit(InstrumentId(symbol as u32), order, side, price, quantity);
        self.events.clear();
        self.engine.submit(&NewOrder { time_in_force, ..plain }, &mut self.events);
        expect_accepted(&self.events);
        self.print(symbol, side, print, out);
        let Some(resting) = self.engine.books().order(order) else { return Quote::NONE };
        let shares = shares_of(resting.quantity);
        let shown = Shown { order, side, shares, price: cents * CENT };
        self.feed.add(locate(symbol), self.names[symbol], shown, mpid, out);
        Quote { order, cents, shares }
    }

    /// A guest's order that an agent took is told to the guest. It hides no better price: it prints at its own.
    fn note_guest(
        fills: &mut Vec<GuestFill>,
        (at, match_number): (u64, u64),
        order: BookRef,
        price: Price,
        quantity: Quantity,
        print: Print,
    ) -> Print {
        if !is_ours(order) {
            return print;
        }
        let (print, price) = match print {
            Print::Cross(cents) => (print, price_of(cents)),
            _ => (Print::Displayed, price),
        };
        fills.push(GuestFill { order, at, price, quantity, match_number });
        print
    }

    fn print(&mut self, symbol: usize, side: Side, print: Print, out: &mut Vec<u8>) {
        for event in &self.events {
            let Event::Traded { resting: order, quantity, price, .. } = *event else { continue };
            let (shares, displayed) = (shares_of(quantity), cents_of(price) * CENT);
            let when = (self.feed.now(), self.feed.next_match());
            let print = Self::note_guest(&mut self.guest_fills, when, order, price, quantity, print);
            if is_hidden(order) {
                self.feed.hidden_trade(locate(symbol), self.names[symbol], shares, displayed, out);
                continue;
            }
            match print {
                Print::Displayed => self.feed.executed(locate(symbol), order, shares, out),
                Print::Improved => {
                    let price = if side == Side::Buy { displayed - CENT / 2 } else { displayed + CENT / 2 };
                    self.feed.executed_at(locate(symbol), order, shares, (price, true), out);
                }
                Print::Cross(cents) => {
                    self.feed.executed_at(locate(symbol), order, shares, (cents * CENT, false), out);
                }
            }
        }
    }

    pub(crate) fn cancel(&mut self, symbol: usize, order: BookRef, out: &mut Vec<u8>) {
        self.feed.pass(ACTION_NS);
        self.remove(symbol, order);
        self.feed.deleted(locate(symbol), order, out);
    }

    pub(super) fn remove(&mut self, symbol: usize, order: BookRef) {
        self.answers.clear();
        self.engine.cancel(InstrumentId(symbol as u32), order, &mut self.answers);
        expect_accepted(&self.answers);
    }

    /// Takes `shares` off, fewer than the order has.
    pub(crate) fn reduce(&mut self, symbol: usize, order: BookRef, shares: u32, out: &mut Vec<u8>) {
        self.feed.pass(ACTION_NS);
        let resting = self.engine.books().order(order).expect("agents reduce what they have");
        let left = Quantity(resting.quantity.0 - quantity_of(shares).0);
        self.amend(symbol, order, order, resting.price, left);
        self.feed.reduced(locate(symbol), order, shares, out);
    }

    /// Replaces an order by one that does not trade at once; the caller has made sure of that.
    pub(crate) fn replace(&mut self, symbol: usize, side: Side, old: Quote, new: Quote, out: &mut Vec<u8>) -> Quote {
        if self.would_meet_hidden(symbol, side, new.cents) {
            self.cancel(symbol, old.order, out);
            let Quote { cents, shares, .. } = new;
            let time_in_force = TimeInForce::Day;
            return self.submit(
                Ticket { symbol, side, cents, shares, time_in_force, print: Print::Displayed, mpid: None },
                out,
            );
        }
        self.feed.pass(ACTION_NS);
        let order = self.feed.order_number();
        self.events.clear();
        let before = shares_of(self.engine.books().order(old.order).expect("agents replace what they have").quantity);
        let kept = self.amend(symbol, old.order, order, price_of(new.cents), quantity_of(new.shares));
        if kept {
            if new.shares < before {
                self.feed.reduced(locate(symbol), old.order, before - new.shares, out);
            }
            return Quote { order: old.order, ..new };
        }
        assert!(self.answers.len() == 1, "a replacement that would trade must be a cancel and a new order");
        let shown = Shown { order, side, shares: new.shares, price: new.cents * CENT };
        self.feed.replaced(locate(symbol), old.order, shown, out);
        Quote { order, ..new }
    }

    /// Changes an order so that `left` of it is open; true when it keeps its place and number.
    pub(super) fn amend(
        &mut self,
        symbol: usize,
        order: BookRef,
        new_order: BookRef,
        price: Price,
        left: Quantity,
    ) -> bool {
        let instrument = InstrumentId(symbol as u32);
        let filled = self.engine.order(order).expect("agents change what they have").filled;
        let quantity = Quantity(filled.0 + left.0);
        self.answers.clear();
        self.engine.amend(&Amend { instrument, order, new_order, price, quantity, display: None }, &mut self.answers);
        expect_accepted(&self.answers);
        matches!(self.answers[0], Event::Amended { kept: true, .. })
    }

    /// A trade between two orders of which neither was displayed; `price` in the feed's units.
    pub(crate) fn hidden_trade(&mut self, symbol: usize, shares: u32, price: u32, out: &mut Vec<u8>) {
        self.feed.pass(ACTION_NS);
        self.feed.hidden_trade(locate(symbol), self.names[symbol], shares, price, out);
    }
}

fn expect_accepted(answers: &Events) {
    if let Some(Event::Rejected { request, reason, .. }) = answers.first() {
        panic!("agents send valid orders, change what they have and rest fewer than fit: {request:?}, {reason:?}");
    }
}

/// Locates count from 1.
pub(crate) fn locate(symbol: usize) -> u16 {
    (symbol + 1) as u16
}

fn price_of(cents: u32) -> Price {
    Price(i64::from(cents) * PRICE_PER_CENT)
}

fn quantity_of(shares: u32) -> Quantity {
    Quantity::whole(i64::from(shares))
}

pub(super) fn cents_of(price: Price) -> u32 {
    (price.0 / PRICE_PER_CENT) as u32
}

/// A level with more than fits, which agents alone never make, shows what fits.
pub(super) fn shares_of(quantity: Quantity) -> u32 {
    (quantity.0 / QUANTITY_SCALE).min(i64::from(u32::MAX)) as u32
}
