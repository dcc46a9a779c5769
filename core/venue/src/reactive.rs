//! A venue whose market is alive: agents that trade with our orders and answer them.
//!
//! What it does:
//! - A [`Simulation`] runs inside the venue. Our orders go into its matching engine, under the numbers that the desk
//!   gives, meet the agents' orders and rest in the same queues. Agents see the book with us in it.
//! - Everything that happens goes into one feed of ITCH frames, ours included: our resting orders are shown, and trades
//!   with us print as executions. [`Venue::feed`] has what was not collected yet.
//! - An act of an agent is one moment: a request of ours that arrives while it is under way acts right after it.
//! - Orders that still rest after the closing cross expire; then the venue is closed.
//!
//! What it assumes, and when not to trust it: `docs/models/reactive.md`. Without orders of ours the feed is, byte for
//! byte, what the simulation writes without a venue.
//!
//! Absent: hidden orders, icebergs, pegs, stops and auction orders of ours; other market data beside the agents'.

use crate::SelfTrade;
use crate::agents::{MAX_GUEST_ORDERS, MAX_GUEST_PRICE, MAX_GUEST_SHARES, Simulation, is_in_cents};
use crate::desk::Desk;
use crate::matching::NewOrder;
use crate::{Model, Standing, Venue};
use helios_book::Top;
use helios_types::{
    BookRef, CancelReason, Instrument, InstrumentId, Liquidity, Nanos, Order, Price, QUANTITY_SCALE, Quantity,
    RejectReason, Side, TimeInForce,
};

/// All orders of ours are of one firm, so that they never trade with each other.
const FIRM: u32 = 1;

/// The agents' market and our place in it.
#[derive(Clone)]
pub(crate) struct Live {
    simulation: Simulation,
    midnight: Nanos,
    /// The simulation's number of each instrument of ours, where it has it.
    symbols: Vec<Option<usize>>,
    /// Frames that nobody has collected.
    frames: Vec<u8>,
    met: Vec<(Price, Quantity)>,
}

impl Live {
    fn symbol(&self, instrument: InstrumentId) -> usize {
        self.symbols[instrument.index()].expect("only instruments of the simulation trade here")
    }

    fn moment(&self, since_midnight: u64) -> Nanos {
        self.midnight.plus(since_midnight)
    }

    pub(crate) fn top(&self, instrument: InstrumentId) -> Top {
        self.simulation.top(self.symbol(instrument))
    }

    /// When a request that arrives then acts.
    pub(crate) fn acts_at(&self, arrival: Nanos) -> Nanos {
        arrival.max(self.moment(self.simulation.free_at()))
    }

    /// The exchange turns to a request of ours.
    pub(crate) fn turn_to(&mut self, at: Nanos) {
        self.simulation.guest_comes(at.0.saturating_sub(self.midnight.0));
    }

    /// Why an order with these terms cannot be accepted, if so.
    pub(crate) fn refusal(&self, instrument: InstrumentId, quantity: Quantity, price: Price) -> Option<RejectReason> {
        let top = self.top(instrument);
        if self.simulation.is_closed() {
            Some(RejectReason::NotTrading)
        } else if quantity.0 % QUANTITY_SCALE != 0 || quantity.0 / QUANTITY_SCALE > MAX_GUEST_SHARES {
            Some(RejectReason::BadQuantity)
        } else if price.is_defined() && (!is_in_cents(price) || price > MAX_GUEST_PRICE) {
            Some(RejectReason::BadPrice)
        } else if top.bid.orders == 0 && top.ask.orders == 0 && !self.simulation.is_quoting() {
            Some(RejectReason::NoMarket)
        } else {
            None
        }
    }

    /// Whether a post-only order would trade at once.
    pub(crate) fn would_take(&self, instrument: InstrumentId, side: Side, price: Price) -> bool {
        let top = self.top(instrument);
        match side {
            Side::Buy => top.ask.orders > 0 && price >= top.ask.price,
            Side::Sell => top.bid.orders > 0 && price <= top.bid.price,
        }
    }

    /// An order of ours arrives: it takes what it may, rests or is cancelled, and agents answer.
    pub(crate) fn arrive(&mut self, desk: &mut Desk, at: Nanos, number: BookRef) {
        let Some(working) = desk.get(number).copied() else { return };
        let Order { instrument, side, price, terms, time_in_force, .. } = working.order;
        let symbol = self.symbol(instrument);
        let new = NewOrder {
            // The engine knows markets for what they are, but lets none rest.
            time_in_force: if price.is_defined() { time_in_force } else { TimeInForce::Ioc },
            terms,
            firm: FIRM,
            self_trade: Some(SelfTrade::CancelNewest),
            ..NewOrder::limit(InstrumentId(symbol as u32), number, side, price, working.left())
        };
        let rests = self.simulation.guest_submits(symbol, &new, &mut self.met, &mut self.frames);
        let mut left = working.left();
        for (price, quantity) in self.met.drain(..) {
            left = desk.fill(at.into(), number, price, quantity, Liquidity::Taker);
        }
        if !rests && !left.is_zero() {
            desk.cancel(at.into(), number, CancelReason::Unfilled);
        }
        self.simulation.agents_answer(symbol, &new, &mut self.frames);
        self.book_fills(desk);
    }

    /// A resting order of ours leaves without a report.
    pub(crate) fn withdraw(&mut self, instrument: InstrumentId, number: BookRef) {
        self.simulation.guest_leaves(self.symbol(instrument), number, &mut self.frames);
    }

    /// A resting order of ours becomes smaller and keeps its place.
    pub(crate) fn shrink(&mut self, instrument: InstrumentId, number: BookRef, by: Quantity) {
        self.simulation.guest_shrinks(self.symbol(instrument), number, by, &mut self.frames);
    }

    /// What agents took from us.
    fn book_fills(&mut self, desk: &mut Desk) {
        let midnight = self.midnight;
        for fill in self.simulation.take_guest_fills() {
            let at = midnight.plus(fill.at);
            desk.fill(at.into(), fill.order, fill.price, fill.quantity, Liquidity::Maker);
        }
    }

    pub(crate) fn standing(&self, number: BookRef) -> Option<Standing> {
        let books = self.simulation.books();
        let own = books.order(number)?;
        let ahead = books.queue(own.instrument, own.side, own.price).take_while(|other| other.order != number);
        Some(Standing {
            price: own.price,
            ahead: Quantity(ahead.map(|other| other.quantity.0).sum()),
            left: own.quantity,
        })
    }
}

impl Venue {
    /// Puts a market of agents into the venue, before its first event. `midnight` is the beginning of its day, as UTC. Says
    /// what does not go with it: impact (agents answer by themselves), ticks below a cent, lots that are no whole shares.
    pub fn go_live(
        &mut self,
        simulation: Simulation,
        midnight: Nanos,
        instruments: &[Instrument],
    ) -> Result<(), String> {
        if self.has_impact() {
            return Err("agents answer by themselves: a venue with agents has no impact of its own".to_owned());
        }
        if self.config.self_trade != SelfTrade::CancelNewest {
            return Err(
                "with agents, an order of ours that meets another is cancelled: leave self_trade out".to_owned()
            );
        }
        let mut symbols = vec![None; instruments.len()];
        for (at, Instrument { symbol, tick, lot }) in instruments.iter().enumerate() {
            symbols[at] = simulation.symbols().position(|name| name == symbol);
            if symbols[at].is_none() {
                continue;
            }
            if !is_in_cents(*tick) || lot.0 % QUANTITY_SCALE != 0 {
                return Err(format!("{symbol}: agents trade whole shares in ticks of a cent: tick {tick}, lot {lot}"));
            }
            self.listings[at].model = Model::Live;
        }
        self.config.max_open_orders = self.config.max_open_orders.min(MAX_GUEST_ORDERS);
        self.live = Some(Box::new(Live { simulation, midnight, symbols, frames: Vec::new(), met: Vec::new() }));
        Ok(())
    }

    /// When agents act next; `None` without agents, and once their day is over.
    pub fn next_act(&self) -> Option<Nanos> {
        self.live.as_ref().and_then(|live| live.simulation.next_at().map(|at| live.moment(at)))
    }

    /// Lets agents act once. Requests of ours that are due before that have acted: see [`Venue::next_due`].
    pub fn act(&mut self) {
        let Some(live) = &mut self.live else { return };
        live.simulation.next_step(&mut live.frames);
        live.book_fills(&mut self.desk);
        if live.simulation.is_closed() {
            self.close_live();
        }
    }

    /// The market is over: what rests of ours expires before the agents leave.
    fn close_live(&mut self) {
        let Some(live) = &mut self.live else { return };
        let at = live.moment(live.simulation.now());
        let resting: Vec<(BookRef, InstrumentId)> =
            self.desk.open().map(|(number, working)| (number, working.order.instrument)).collect();
        for (number, instrument) in resting {
            live.withdraw(instrument, number);
            self.desk.cancel(at.into(), number, CancelReason::Expired);
        }
    }

    /// Frames of the feed that were not collected yet: empty them when they are read.
    pub fn feed(&mut self) -> Option<&mut Vec<u8>> {
        self.live.as_mut().map(|live| &mut live.frames)
    }

    /// Part of the agents' day that is over, 0 to 1; `None` without agents.
    pub fn live_progress(&self) -> Option<f64> {
        self.live.as_ref().map(|live| live.simulation.progress())
    }
}
