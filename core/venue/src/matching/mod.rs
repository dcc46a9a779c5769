//! The matching engine of an exchange: commands in, events out.
//!
//! One engine holds all instruments of one venue. Orders: limit, market, immediate-or-cancel, fill-or-kill, post-only,
//! hidden, iceberg, midpoint peg, stop and stop-limit, on-open and on-close. Within a price displayed orders trade before
//! hidden ones, each in the order of time; an instrument may allocate pro rata instead. Sessions, auctions, price bands and
//! the prevention of self-trades are per instrument or per order. `docs/models/matching.md` and `docs/models/auctions.md`
//! state each rule with its source.
//!
//! Assumes that the caller numbers orders uniquely over all instruments for as long as they work.
//! A refused command changes nothing and says so with one [`Event::Rejected`]. Every order that was accepted ends in
//! trades, a cancel, or rests. Nothing is allocated per order once the tables are warm and the caller's buffer has grown;
//! an auction allocates. While an instrument is plain ([`MatchingEngine::is_plain`]) its plain orders take a short way
//! (`fast.rs`); the long way has the same results.
//!
//! Absent on purpose: time (commands act in the order in which they come; who runs the day sends the phases), fees,
//! accounts, market-data messages, slide of post-only orders, minimum quantities, all-or-none, pegs to the best price,
//! bands in auctions.

mod admission;
mod amend;
mod auction;
mod command;
mod continuous;
mod fast;
mod fill_or_kill;
mod phase;
mod prorata;
mod rules;
mod shelf;
mod waiting;

use helios_book::{Books, Capacity, Top};
use helios_types::{BookRef, Digest, Hasher, InstrumentId, Price, Quantity, RejectReason, Side};

pub use auction::{AuctionKind, Indicative};
pub use command::{Amend, Command, Event, NewOrder, Request};
pub use phase::Phase;
pub use rules::{Allocation, Bands, Beyond, Rules};
pub use shelf::{Place, Working};

use shelf::{PLACES, Shelf};

/// The events of one command or several, in the order in which things happened.
pub type Events = Vec<Event>;

/// What the engine keeps of one instrument beside its orders.
#[derive(Clone, Copy)]
struct State {
    rules: Rules,
    phase: Phase,
    /// See [`MatchingEngine::is_plain`].
    plain: bool,
    /// Orders that a plain order could meet or wake and that need the long way.
    special: u32,
    /// Price of the last trade, or of the auction.
    last: Price,
    /// Extremes of the trades since stops were looked at.
    low: Price,
    high: Price,
    /// By side, the order that made the best price; kept for [`Allocation::ProRata`] with `top_first`.
    top_order: [Option<BookRef>; 2],
}

impl State {
    fn new() -> Self {
        let none = Price::UNDEFINED;
        Self {
            rules: Rules::default(),
            phase: Phase::Continuous,
            plain: true,
            special: 0,
            last: none,
            low: none,
            high: none,
            top_order: [None; 2],
        }
    }

    fn recompute_plain(&mut self) {
        self.plain = self.special == 0 && self.phase == Phase::Continuous && self.rules.are_plain();
    }

    fn traded_at(&mut self, price: Price) {
        self.last = price;
        self.high = if self.high.is_defined() { self.high.max(price) } else { price };
        self.low = self.low.min(price);
    }
}

/// The matching engine of all instruments of one venue.
#[derive(Clone)]
pub struct MatchingEngine {
    shelves: [Shelf; PLACES],
    states: Vec<State>,
    /// Orders in other places than [`Place::Shown`]: while there are none, one look-up finds an order.
    aside: usize,
    /// Of pro-rata allocation, kept for its memory.
    parts: Vec<prorata::Part>,
}

impl MatchingEngine {
    /// Empty books for instruments `0..instruments`, in continuous trading by price and time, without ticks, lots and
    /// bands. `capacity` is that of each place ([`Place`]) where orders stand.
    pub fn new(instruments: usize, capacity: Capacity) -> Self {
        Self {
            shelves: std::array::from_fn(|_| Shelf::new(instruments, capacity)),
            states: vec![State::new(); instruments],
            aside: 0,
            parts: Vec::new(),
        }
    }

    /// Carries out one command; what happened is appended to `out`.
    #[inline]
    pub fn apply(&mut self, command: &Command, out: &mut Events) {
        match command {
            Command::Submit(order) => self.submit(order, out),
            Command::Cancel { instrument, order } => self.cancel(*instrument, *order, out),
            Command::Amend(amend) => self.amend(amend, out),
            Command::Phase { instrument, phase } => self.set_phase(*instrument, *phase, out),
            Command::Uncross { instrument, kind } => self.uncross(*instrument, *kind, out),
            Command::Indicate { instrument, kind } => self.indicate(*instrument, *kind, out),
        }
    }

    /// Sets the rules of one instrument. They hold for what comes; orders that rest are not looked at again.
    pub fn set_rules(&mut self, instrument: InstrumentId, rules: Rules) -> Result<(), RejectReason> {
        let state = self.states.get_mut(instrument.index()).ok_or(RejectReason::UnknownInstrument)?;
        rules.check()?;
        state.rules = rules;
        state.top_order = [None; 2];
        state.recompute_plain();
        Ok(())
    }

    /// Sets the price that stands for the last trade: yesterday's close, say. It is the reference of auctions and dynamic
    /// bands; stops that it reaches wake with the next command, as after a trade.
    pub fn set_last(&mut self, instrument: InstrumentId, price: Price) -> Result<(), RejectReason> {
        let state = self.states.get_mut(instrument.index()).ok_or(RejectReason::UnknownInstrument)?;
        if price.0 <= 0 {
            return Err(RejectReason::BadPrice);
        }
        state.last = price;
        Ok(())
    }

    /// The rules of one instrument.
    pub fn rules(&self, instrument: InstrumentId) -> Option<Rules> {
        self.states.get(instrument.index()).map(|state| state.rules)
    }

    /// Its phase.
    pub fn phase(&self, instrument: InstrumentId) -> Option<Phase> {
        self.states.get(instrument.index()).map(|state| state.phase)
    }

    /// Price of its last trade, or [`Price::UNDEFINED`].
    pub fn last(&self, instrument: InstrumentId) -> Price {
        self.states.get(instrument.index()).map_or(Price::UNDEFINED, |state| state.last)
    }

    /// True while plain orders of the instrument take the short way: continuous, price-time, without bands, and no order
    /// that is hidden, an iceberg, pegged, a stop, or of a firm that has self-trades prevented.
    pub fn is_plain(&self, instrument: InstrumentId) -> bool {
        self.states.get(instrument.index()).is_some_and(|state| state.plain)
    }

    /// The displayed books.
    pub fn books(&self) -> &Books {
        self.shelves[Place::Shown as usize].books()
    }

    /// The orders of one place as a book; stops stand there by their trigger with sides exchanged ([`Place::Stopped`]).
    pub fn books_at(&self, place: Place) -> &Books {
        self.shelves[place as usize].books()
    }

    /// Best displayed bid and ask of one instrument.
    #[inline]
    pub fn top(&self, instrument: InstrumentId) -> Top {
        self.books().top(instrument)
    }

    /// One order, wherever it works.
    pub fn order(&self, order: BookRef) -> Option<Working> {
        self.shelves.iter().zip(Place::ALL).find_map(|(shelf, place)| shelf.working(place, order))
    }

    /// The orders of one instrument and side in one place, in the order in which they would be met.
    pub fn queue(&self, instrument: InstrumentId, side: Side, place: Place) -> Vec<Working> {
        let shelf = &self.shelves[place as usize];
        let stands = if place == Place::Stopped { side.opposite() } else { side };
        let prices = shelf.books().depth(instrument, stands).map(|level| level.price).chain([Price::UNDEFINED]);
        let levels = prices.flat_map(|price| shelf.queue(instrument, stands, price));
        levels.filter_map(|(resting, _)| shelf.working(place, resting.order)).collect()
    }

    /// Loads what a coming command needs, some commands before it; only speed depends on it.
    #[inline(always)]
    pub fn look_far_ahead(&self, command: &Command) {
        if let Some((instrument, order)) = command.about() {
            self.books().look_far_ahead(instrument, order);
        }
    }

    /// Loads more, some time after [`MatchingEngine::look_far_ahead`].
    #[inline(always)]
    pub fn look_ahead(&self, command: &Command) {
        if let Some((_, order)) = command.about() {
            self.books().look_ahead(order);
        }
    }

    /// Midpoint of the best displayed prices, if there is one.
    fn midpoint(&self, instrument: InstrumentId) -> Option<Price> {
        let Top { bid, ask } = self.top(instrument);
        midpoint_of(Side::Buy, bid.price, ask.price)
    }

    fn reject(instrument: InstrumentId, order: BookRef, request: Request, reason: RejectReason, out: &mut Events) {
        out.push(Event::Rejected { instrument, order, request, reason });
    }

    fn state(&mut self, instrument: InstrumentId) -> &mut State {
        &mut self.states[instrument.index()]
    }
}

impl Digest for MatchingEngine {
    /// All orders with what is known of them, and all states; what has no influence on later commands does not count.
    fn digest(&self, hasher: &mut Hasher) {
        for shelf in &self.shelves {
            shelf.digest(hasher);
        }
        for state in &self.states {
            hasher.u64(state.phase as u64);
            hasher.i64(state.last.0);
            for top in state.top_order {
                hasher.u64(top.map_or(u64::MAX, |order| order));
            }
        }
    }
}

/// Midpoint of the best displayed prices, rounded down, seen from a side: its own best price and the other's. None without
/// two sides, or when nothing is between them.
fn midpoint_of(side: Side, near: Price, far: Price) -> Option<Price> {
    let (bid, ask) = if side == Side::Buy { (near, far) } else { (far, near) };
    let inside = bid.is_defined() && ask.is_defined() && ask.0 - bid.0 >= 2;
    inside.then(|| Price(bid.0 + (ask.0 - bid.0) / 2))
}

/// Whether an incoming order with this limit may trade at `resting`. [`Price::UNDEFINED`] is above every price, which
/// is right for a buy at any price and has to be said for a sell.
#[inline]
fn meets(side: Side, limit: Price, resting: Price) -> bool {
    match side {
        Side::Buy => limit >= resting,
        Side::Sell => limit <= resting || !limit.is_defined(),
    }
}

/// Whether `a` is a better price than `b` for whoever meets an order that rests on `side`.
#[inline]
fn is_better(side: Side, a: Price, b: Price) -> bool {
    match side {
        Side::Buy => a > b,
        Side::Sell => a < b,
    }
}

/// What remains.
#[inline]
fn less(quantity: Quantity, taken: Quantity) -> Quantity {
    Quantity(quantity.0 - taken.0)
}
