//! The agents of one symbol: market makers, takers who know something, takers who do not, and patient strangers.
//!
//! Each agent acts at the points of a Poisson clock; [`Pit::act`] is one point of the clock that they make
//! together. An agent sees the symbol's value late and with noise, or not at all, and the book as it is.
//! Absent on purpose: speed races between makers, strategies over several symbols, money, and an agent that
//! learns.

use helios_types::{BookRef, Side, TimeInForce};

use super::draw::Draw;
use super::emit::{CENT, Imbalance, Mpid};
use super::exchange::{Exchange, Print, Quote, Ticket, Touch, locate};
use crate::desk::is_ours;

/// Market makers per symbol.
pub(crate) const MAKERS: usize = 3;
/// Prices that a maker quotes on each side.
pub(crate) const LEVELS: usize = 4;
/// Orders of patient strangers: the number around which their count moves, and the most there can be.
const PASSIVE_TYPICAL: usize = 24;
pub(crate) const PASSIVE_MOST: usize = 64;

/// Who acts at a point of the common clock, in parts of 1000: makers, patient strangers, noise takers,
/// informed takers; the rest are trades between hidden orders.
const ACTS: [u32; 4] = [605, 280, 45, 35];

/// Names under which makers show some of their orders.
pub(crate) const MPIDS: [Mpid; MAKERS] = [*b"HMKA", *b"HMKB", *b"HMKC"];

/// Half of a usual spread: 1.3 basis points of the value, and never below half a cent.
fn half_spread_cents(value: f64) -> f64 {
    (value * 1.3e-4).max(0.55)
}

/// What an agent needs to act.
pub(crate) struct Moment<'a> {
    pub(crate) exchange: &'a mut Exchange,
    pub(crate) draw: &'a mut Draw,
    pub(crate) out: &'a mut Vec<u8>,
    /// The symbol's value now, in cents.
    pub(crate) value: f64,
}

/// Quotes both sides around its own late and noisy estimate, and leans against its inventory.
#[derive(Clone)]
struct Maker {
    /// Its estimate of the value, cents.
    view: f64,
    /// The middle of its last quotes, cents.
    centre: f64,
    /// How much of a new observation it believes at once.
    gain: f64,
    /// Its spread relative to the usual one.
    width: f64,
    /// Shares; fades, as if hedged elsewhere.
    inventory: f64,
    quotes: [[Quote; LEVELS]; 2],
}

impl Maker {
    fn new(value: f64, draw: &mut Draw) -> Self {
        let view = value * (1.0 + 1e-4 * draw.normal());
        Self {
            view,
            centre: view,
            gain: draw.between(0.5, 0.9),
            width: draw.between(0.8, 1.4),
            inventory: 0.0,
            quotes: [[Quote::NONE; LEVELS]; 2],
        }
    }

    /// Observes the value and returns by how much the middle of its quotes moves.
    fn look(&mut self, value: f64, half: f64, draw: &mut Draw) -> f64 {
        let seen = value + 0.4 * half * draw.normal();
        self.view += self.gain * (seen - self.view);
        self.inventory *= 0.98;
        let lean = (self.inventory / 1500.0).clamp(-1.5, 1.5) * half;
        let before = self.centre;
        self.centre = self.view - lean;
        self.centre - before
    }

    /// Where level `level` of a side should be, in cents, were there nobody else.
    fn ideal_cents(&self, side: Side, level: usize, half: f64) -> u32 {
        let away = half + level as f64 * half.max(1.0);
        let cents = match side {
            Side::Buy => (self.centre - away).floor(),
            Side::Sell => (self.centre + away).ceil(),
        };
        cents.max(1.0) as u32
    }

    /// A price at which it would not meet its own orders on the other side.
    fn clear_of_own(&self, side: Side, cents: u32) -> u32 {
        let own = self.quotes[side.opposite() as usize].iter().filter(|quote| quote.is_live());
        match side {
            Side::Buy => own.map(|quote| quote.cents - 1).fold(cents, u32::min),
            Side::Sell => own.map(|quote| quote.cents + 1).fold(cents, u32::max),
        }
    }
}

/// An order of a patient stranger.
#[derive(Clone, Copy)]
struct Passive {
    side: Side,
    quote: Quote,
}

/// All agents of one symbol and the orders they have.
#[derive(Clone)]
pub(crate) struct Pit {
    symbol: usize,
    makers: [Maker; MAKERS],
    passive: Vec<Passive>,
    /// Noise takers split large orders: the side they are on now.
    noise_side: Side,
    auction: Imbalance,
}

impl Pit {
    pub(crate) fn new(symbol: usize, value: f64, draw: &mut Draw) -> Self {
        Self {
            symbol,
            makers: std::array::from_fn(|_| Maker::new(value, draw)),
            passive: Vec::with_capacity(PASSIVE_MOST),
            noise_side: side(draw),
            auction: Imbalance { paired: 0, unpaired: 0, side: Side::Buy, price: 0, cross: b' ' },
        }
    }

    /// The first quotes of the day.
    pub(crate) fn prepare(&mut self, m: &mut Moment) {
        for maker in 0..MAKERS {
            self.requote(maker, m);
        }
        for _ in 0..PASSIVE_TYPICAL {
            self.rest_somewhere(m);
        }
    }

    /// One agent acts.
    pub(crate) fn act(&mut self, m: &mut Moment) {
        let mut draw = m.draw.below(1000);
        let act = ACTS.iter().position(|&weight| {
            let chosen = draw < weight;
            draw = draw.saturating_sub(weight);
            chosen
        });
        match act {
            Some(0) => {
                let maker = m.draw.below(MAKERS as u32) as usize;
                self.requote(maker, m);
            }
            Some(1) => self.wait_or_leave(m),
            Some(2) => {
                self.take_without_knowing(m);
                self.react(m);
            }
            Some(3) => {
                self.take_knowing(m);
                self.react(m);
            }
            _ => self.trade_hidden(m),
        }
        self.keep_two_sides(m);
    }

    /// A guest's order traded with these orders of agents, or may have emptied a side: their owners know, and a maker looks
    /// at once, as after any taker.
    pub(crate) fn answer_guest(&mut self, side: Side, m: &mut Moment) {
        for (order, shares, left) in m.exchange.trades().filter(|(order, ..)| !is_ours(*order)) {
            self.book_fill(order, side.opposite(), shares, left);
        }
        self.react(m);
        self.keep_two_sides(m);
    }

    fn keep_two_sides(&mut self, m: &mut Moment) {
        if !m.exchange.touch(self.symbol).is_two_sided() {
            self.requote(0, m);
        }
    }

    /// Everybody leaves: the book is empty afterwards.
    pub(crate) fn clear(&mut self, m: &mut Moment) {
        for maker in &mut self.makers {
            for quote in maker.quotes.iter_mut().flatten().filter(|quote| quote.is_live()) {
                m.exchange.cancel(self.symbol, quote.order, m.out);
                *quote = Quote::NONE;
            }
        }
        for passive in self.passive.drain(..) {
            m.exchange.cancel(self.symbol, passive.quote.order, m.out);
        }
    }

    fn ticket(&self, side: Side, cents: u32, shares: u32, time_in_force: TimeInForce) -> Ticket {
        Ticket { symbol: self.symbol, side, cents, shares, time_in_force, print: Print::Displayed, mpid: None }
    }

    /// Sends an order, books its trades with those it met, and returns what traded and what rests.
    fn send(&mut self, ticket: Ticket, m: &mut Moment) -> (u32, Quote) {
        let quote = m.exchange.submit(ticket, m.out);
        let mut traded = 0;
        for (order, shares, left) in m.exchange.trades() {
            // A guest hears of it from the exchange.
            if !is_ours(order) {
                self.book_fill(order, ticket.side.opposite(), shares, left);
            }
            traded += shares;
        }
        (traded, quote)
    }

    /// A resting order traded: its owner knows.
    fn book_fill(&mut self, order: BookRef, side: Side, shares: u32, left: u32) {
        for maker in &mut self.makers {
            if let Some(quote) = maker.quotes[side as usize].iter_mut().find(|quote| quote.order == order) {
                maker.inventory += side.sign() as f64 * f64::from(shares);
                *quote = if left == 0 { Quote::NONE } else { Quote { shares: left, ..*quote } };
                return;
            }
        }
        let at = self.passive.iter().position(|passive| passive.quote.order == order);
        let at = at.expect("every order of the book that is no guest's belongs to an agent");
        if left == 0 {
            self.passive.swap_remove(at);
        } else {
            self.passive[at].quote.shares = left;
        }
    }

    // Market makers.

    /// After a trade one maker looks at once, where otherwise each waits for its clock.
    fn react(&mut self, m: &mut Moment) {
        if m.exchange.trades().next().is_some() {
            self.requote(m.draw.below(MAKERS as u32) as usize, m);
        }
    }

    /// A maker looks at the value and brings its quotes into line, the side that retreats first.
    fn requote(&mut self, maker: usize, m: &mut Moment) {
        let half = half_spread_cents(m.value) * self.makers[maker].width;
        let moved = self.makers[maker].look(m.value, half, m.draw);
        let sides = if moved < 0.0 { [Side::Buy, Side::Sell] } else { [Side::Sell, Side::Buy] };
        for side in sides {
            for level in 0..LEVELS {
                self.place(maker, side, level, half, m);
            }
        }
    }

    /// One quote of a maker: leave it, move it, or make it.
    fn place(&mut self, maker: usize, side: Side, level: usize, half: f64, m: &mut Moment) {
        let me = &self.makers[maker];
        let old = me.quotes[side as usize][level];
        let wish = me.clear_of_own(side, me.ideal_cents(side, level, half));
        let touch = m.exchange.touch(self.symbol);
        // Only the first quote takes what is mispriced; the others stand back.
        let cents = if level == 0 { wish } else { behind(touch, side, wish, level as u32) };
        let tolerance = ((0.4 + 0.8 * level as f64) * half) as u32;
        if old.is_live() && old.cents.abs_diff(cents) <= tolerance {
            return;
        }
        let shares = m.draw.shares(1.5 + level as f64);
        let marketable = would_trade(touch, side, cents);
        let quote = if old.is_live() && !marketable && m.draw.chance(0.2) {
            m.exchange.replace(self.symbol, side, old, Quote { order: 0, cents, shares }, m.out)
        } else {
            if old.is_live() {
                m.exchange.cancel(self.symbol, old.order, m.out);
            }
            let mpid = m.draw.chance(0.05).then_some(MPIDS[maker]);
            let ticket = Ticket { mpid, ..self.ticket(side, cents, shares, TimeInForce::Day) };
            let (traded, quote) = self.send(ticket, m);
            self.makers[maker].inventory += side.sign() as f64 * f64::from(traded);
            quote
        };
        self.makers[maker].quotes[side as usize][level] = quote;
    }

    // Patient strangers.

    /// Strangers come and go so that their number moves around a typical one.
    fn wait_or_leave(&mut self, m: &mut Moment) {
        let count = self.passive.len();
        let leave = m.draw.below((count + PASSIVE_TYPICAL) as u32) < count as u32;
        if !leave && count < PASSIVE_MOST {
            return self.rest_somewhere(m);
        }
        let at = m.draw.below(count as u32) as usize;
        let Passive { side, quote } = self.passive[at];
        match m.draw.below(100) {
            0..8 if quote.shares > 1 => {
                let less = if quote.shares > 100 { 100 } else { 1 + m.draw.below(quote.shares - 1) };
                m.exchange.reduce(self.symbol, quote.order, less, m.out);
                self.passive[at].quote.shares -= less;
            }
            8..22 => {
                let Some(cents) = self.patient_cents(side, m) else { return };
                let new = Quote { order: 0, cents, shares: quote.shares };
                let quote = m.exchange.replace(self.symbol, side, quote, new, m.out);
                match quote.is_live() {
                    true => self.passive[at].quote = quote,
                    false => _ = self.passive.swap_remove(at),
                }
            }
            _ => {
                m.exchange.cancel(self.symbol, quote.order, m.out);
                self.passive.swap_remove(at);
            }
        }
    }

    fn rest_somewhere(&mut self, m: &mut Moment) {
        let side = side(m.draw);
        let Some(cents) = self.patient_cents(side, m) else { return };
        let shares = m.draw.shares(2.0);
        let (_, quote) = self.send(self.ticket(side, cents, shares, TimeInForce::Day), m);
        // Only a guest's hidden order can have taken all of it.
        if quote.is_live() {
            self.passive.push(Passive { side, quote });
        }
    }

    /// A price at or behind the touch, sometimes one cent inside a wide spread; never one that trades.
    fn patient_cents(&self, side: Side, m: &mut Moment) -> Option<u32> {
        let touch = m.exchange.touch(self.symbol);
        if !touch.is_two_sided() {
            return None;
        }
        let best = touch.cents[side as usize];
        let inside = touch.ask() - touch.bid() >= 3 && m.draw.chance(0.15);
        let mean_away = 3.0 + m.value * 3e-4;
        let away = m.draw.geometric(1.0 / (1.0 + mean_away), 200);
        Some(match side {
            Side::Buy if inside => best + 1,
            Side::Sell if inside => best - 1,
            Side::Buy => best.saturating_sub(away).max(1),
            Side::Sell => best + away,
        })
    }

    // Takers.

    /// Somebody trades for reasons of their own: mostly within the touch, sometimes through it.
    fn take_without_knowing(&mut self, m: &mut Moment) {
        if m.draw.chance(0.5) {
            self.noise_side = side(m.draw);
        }
        let side = self.noise_side;
        let touch = m.exchange.touch(self.symbol);
        if !touch.is_two_sided() {
            return;
        }
        let other = side.opposite() as usize;
        let shares = m.draw.shares(2.0);
        let print = print(m.draw);
        let ticket = match m.draw.below(100) {
            0..5 => self.ticket(side, beyond(side, touch.cents[other], 3), shares + 300, TimeInForce::Ioc),
            5..15 if self.passive.len() < PASSIVE_MOST => {
                self.ticket(side, touch.cents[other], shares, TimeInForce::Day)
            }
            _ => self.ticket(side, touch.cents[other], shares.min(touch.shares[other]), TimeInForce::Ioc),
        };
        let (_, quote) = self.send(Ticket { print, ..ticket }, m);
        if quote.is_live() {
            self.passive.push(Passive { side, quote });
        }
    }

    /// Somebody has a fresher idea of the value and takes what is mispriced by more than its doubt.
    fn take_knowing(&mut self, m: &mut Moment) {
        let half = half_spread_cents(m.value);
        let idea = m.value + 0.4 * half * m.draw.normal();
        let touch = m.exchange.touch(self.symbol);
        let doubt = 0.3 * half;
        let (side, limit) = if f64::from(touch.ask()) < idea - doubt {
            (Side::Buy, idea.floor())
        } else if f64::from(touch.bid()) > idea + doubt {
            (Side::Sell, idea.ceil())
        } else {
            return;
        };
        let shares = m.draw.shares(3.0);
        let print = print(m.draw);
        self.send(Ticket { print, ..self.ticket(side, limit as u32, shares, TimeInForce::Ioc) }, m);
    }

    /// Two hidden orders meet in the middle.
    fn trade_hidden(&mut self, m: &mut Moment) {
        let touch = m.exchange.touch(self.symbol);
        if touch.is_two_sided() {
            let shares = m.draw.shares(2.0);
            let middle = (touch.bid() + touch.ask()) * CENT / 2;
            m.exchange.hidden_trade(self.symbol, shares, middle, m.out);
        }
    }

    // Crosses.

    /// Says what is known of the coming cross; the first time for a cross, its interest is drawn.
    pub(crate) fn announce(&mut self, cross: u8, m: &mut Moment) {
        if self.auction.cross != cross {
            let paired = 100 * libm::exp(m.draw.between(libm::log(5.0), libm::log(300.0))) as u32;
            let unpaired = 100 * m.draw.geometric(0.3, 20);
            self.auction = Imbalance { paired, unpaired, side: side(m.draw), price: 0, cross };
        }
        self.auction.price = self.clearing_cents(m) * CENT;
        m.exchange.feed.imbalance(locate(self.symbol), m.exchange.name(self.symbol), self.auction, m.out);
    }

    /// Orders for the cross meet each other; the larger side takes displayed orders, two prices deep at most.
    pub(crate) fn cross(&mut self, m: &mut Moment) {
        let Imbalance { paired, unpaired, side, cross, .. } = self.auction;
        let cents = self.clearing_cents(m);
        let mut total = u64::from(paired);
        if unpaired > 0 && cents > 0 {
            let ticket = self.ticket(side, cents, unpaired, TimeInForce::Ioc);
            let (traded, _) = self.send(Ticket { print: Print::Cross(cents), ..ticket }, m);
            total += u64::from(traded);
        }
        let name = m.exchange.name(self.symbol);
        m.exchange.feed.cross_trade(locate(self.symbol), name, total, (cents * CENT, cross), m.out);
    }

    /// The price at which the unpaired shares find displayed orders, or the middle if there are none; 0 without a book.
    fn clearing_cents(&self, m: &Moment) -> u32 {
        let touch = m.exchange.touch(self.symbol);
        match (touch.is_two_sided(), self.auction.unpaired) {
            (false, _) => 0,
            (true, 0) => u32::midpoint(touch.bid(), touch.ask()),
            (true, shares) => m.exchange.clearing_cents(self.symbol, self.auction.side.opposite(), shares, 2),
        }
    }
}

fn side(draw: &mut Draw) -> Side {
    if draw.chance(0.5) { Side::Buy } else { Side::Sell }
}

/// One trade in fifty has a better price than the displayed one.
fn print(draw: &mut Draw) -> Print {
    if draw.chance(0.02) { Print::Improved } else { Print::Displayed }
}

fn would_trade(touch: Touch, side: Side, cents: u32) -> bool {
    match side {
        Side::Buy => cents >= touch.ask(),
        Side::Sell => cents <= touch.bid(),
    }
}

/// `wish`, or else `level` cents behind the nearest price that does not trade.
fn behind(touch: Touch, side: Side, wish: u32, level: u32) -> u32 {
    match side {
        _ if !would_trade(touch, side, wish) => wish,
        Side::Buy => touch.ask().saturating_sub(1 + level).max(1),
        Side::Sell => touch.bid() + 1 + level,
    }
}

/// `by` cents worse for an incoming order.
fn beyond(side: Side, cents: u32, by: u32) -> u32 {
    match side {
        Side::Buy => cents + by,
        Side::Sell => cents.saturating_sub(by).max(1),
    }
}
