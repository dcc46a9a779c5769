//! Ghost orders: would our order have had the fills of a real one, had it stood in its place?
//!
//! For a real order whose life is known: it is taken out of the flow, and an order of ours with its side, price and
//! size is sent when it was added; ours becomes smaller when it became smaller, and is cancelled when it was cancelled.
//! An execution of it stays in the flow as what it was for everybody else: an aggressor of that size, at that price,
//! which meets the venue's queue in price-time order. The venue is the one of every backtest, with zero latency, driven through what it
//! offers to all: [`Venue::submit`], [`Venue::market`] and [`Venue::advance`]. It is never told whom an aggressor met.
//!
//! Assumes that the events are in the order in which the exchange acted, and that the order stands in the book for its
//! whole life. Absent: latency, hidden orders. What the real order did, and where the data itself breaks price-time
//! order, is read off a plain book that follows the feed by number.

use std::collections::{BTreeMap, BTreeSet};

use helios_book::{Books, Capacity};
use helios_types::{
    BookRef, Instrument, InstrumentId, Market, Nanos, Order, OrderId, Output, Price, Quantity, RejectReason,
    ReportKind, Side, StrategyId, Terms, TimeInForce, TradeKind, Update,
};
use helios_venue::{Config, Venue};

use crate::source::{Source, SourceError};

/// One fill, of the real order or of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GhostFill {
    /// When.
    pub ts: Nanos,
    /// At which price.
    pub price: Price,
    /// How much.
    pub quantity: Quantity,
}

/// An execution that breaks price-time order in the data itself: another order stood before the one that traded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// When.
    pub ts: Nanos,
    /// Who traded.
    pub executed: BookRef,
    /// At which price, and how much.
    pub price: Price,
    /// How much.
    pub quantity: Quantity,
    /// Who stood first on that side, and at which price.
    pub first: BookRef,
    /// The price of the one that stood first.
    pub first_price: Price,
}

/// A real order, what it filled, and what ours filled in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ghost {
    /// Its number on the feed.
    pub order: BookRef,
    /// Its fills.
    pub real: Vec<GhostFill>,
    /// Ours.
    pub ours: Vec<GhostFill>,
    /// Displayed quantity that stood before it when it joined its queue.
    pub ahead: Quantity,
    /// The same for ours; `None` where it did not come to rest.
    pub ours_ahead: Option<Quantity>,
    /// Why the venue did not take our order, if so.
    pub rejected: Option<RejectReason>,
    /// Executions during its life that it should have had before the order that had them, or had before its turn.
    pub jumps: Vec<Jump>,
    /// The latest jump before its life at its side and price, after which a book that nobody names may differ there.
    pub jump_before: Option<Jump>,
}

/// A flow and its ghosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Haunted {
    /// In the order in which the real orders were added.
    pub ghosts: Vec<Ghost>,
    /// Every execution of the flow that breaks price-time order.
    pub jumps: Vec<Jump>,
    /// How many executions of displayed orders the flow has.
    pub executions: u64,
}

/// One event as the feed says it, and without the name of whom it met.
struct Step {
    named: Market,
    unnamed: Market,
}

/// The life of a real order.
struct Life {
    order: BookRef,
    side: Side,
    price: Price,
    quantity: Quantity,
    added: usize,
    ahead: Quantity,
    real: Vec<GhostFill>,
}

/// A jump, and where it happened.
struct Jumped {
    at: usize,
    instrument: InstrumentId,
    side: Side,
    jump: Jump,
}

/// A whole flow in memory, and what happened in it.
struct Flow {
    steps: Vec<Step>,
    /// By order number: the step of its add.
    added: BTreeMap<BookRef, usize>,
    lives: BTreeMap<BookRef, Life>,
    jumps: Vec<Jumped>,
    executions: u64,
}

/// Runs a ghost for every order of `orders`, in the order in which they were added to the flow of `source`.
///
/// `named`: the venue is told of strangers' executions by number, as in a backtest on this feed; only those of the order
/// that ours stands for are aggressors without a name. Otherwise all are.
pub fn ghosts(
    source: &mut dyn Source,
    symbols: &[String],
    orders: &[BookRef],
    named: bool,
) -> Result<Haunted, SourceError> {
    let flow = Flow::read(source, symbols.len(), orders)?;
    let mut lives: Vec<&Life> = flow.lives.values().collect();
    lives.sort_by_key(|life| life.added);
    // Any price and any whole share: the feed's rules are not under test.
    let listed = symbols.iter().map(|symbol| Instrument { symbol: symbol.clone(), tick: Price(1), lot: Quantity(1) });
    let mut venue = Venue::new(&listed.collect::<Vec<_>>(), Config::default());
    let mut at = 0;
    let ghosts = lives
        .into_iter()
        .map(|life| {
            for step in &flow.steps[at..life.added] {
                venue.market(if named { &step.named } else { &step.unnamed });
            }
            at = life.added;
            flow.ghost(life, venue.clone(), named)
        })
        .collect();
    let jumps = flow.jumps.iter().map(|jumped| jumped.jump).collect();
    Ok(Haunted { ghosts, jumps, executions: flow.executions })
}

impl Flow {
    /// Reads the source to its end, and follows it by number in a book of its own.
    fn read(source: &mut dyn Source, instruments: usize, orders: &[BookRef]) -> Result<Self, SourceError> {
        let wanted: BTreeSet<BookRef> = orders.iter().copied().collect();
        let mut books = Books::new(instruments, Capacity::default());
        let mut flow =
            Self { steps: vec![], added: BTreeMap::new(), lives: BTreeMap::new(), jumps: vec![], executions: 0 };
        let mut market = Market { instrument: InstrumentId(0), ts_event: Nanos(0), update: Update::Clear };
        while source.next(&mut market)? {
            flow.note(&books, &market, &wanted);
            if let Err(error) = books.apply(market.instrument, &market.update) {
                let message = format!("event {}: {error}: {:?}", flow.steps.len() - 1, market.update);
                return Err(SourceError { source: "ghosts".to_owned(), message });
            }
        }
        match wanted.iter().find(|order| !flow.lives.contains_key(order)) {
            None => Ok(flow),
            Some(order) => Err(SourceError {
                source: "ghosts".to_owned(),
                message: format!("order {order} is not added in this flow: choose orders that it adds"),
            }),
        }
    }

    /// Notes one event, of which `books` do not know yet.
    fn note(&mut self, books: &Books, market: &Market, wanted: &BTreeSet<BookRef>) {
        let Market { instrument, ts_event: ts, ref update } = *market;
        let (at, mut unnamed) = (self.steps.len(), *market);
        match *update {
            Update::Add { order, side, price, quantity } => {
                self.added.insert(order, at);
                if wanted.contains(&order) {
                    let ahead = Quantity(books.queue(instrument, side, price).map(|other| other.quantity.0).sum());
                    let life = Life { order, side, price, quantity, added: at, ahead, real: vec![] };
                    self.lives.insert(order, life);
                }
            }
            Update::Replace { new_order, .. } => {
                self.added.insert(new_order, at);
            }
            Update::Execute { order, quantity, trade }
            | Update::ExecuteAt { order, quantity, printable: true, trade, .. } => {
                self.executions += 1;
                if let Some(resting) = books.order(order) {
                    let (side, price) = (resting.side, resting.price);
                    let (aggressor, kind) = (Some(side.opposite()), TradeKind::Displayed);
                    unnamed.update = Update::Trade { price, quantity, aggressor, kind, trade };
                    let first = books.front(instrument, side).expect("an order rests on this side");
                    if first.order != order {
                        let (first, first_price) = (first.order, first.price);
                        let jump = Jump { ts, executed: order, price, quantity, first, first_price };
                        self.jumps.push(Jumped { at, instrument, side, jump });
                    }
                }
                if let Some(life) = self.lives.get_mut(&order) {
                    life.real.push(GhostFill { ts, price: life.price, quantity });
                }
            }
            _ => {}
        }
        self.steps.push(Step { named: *market, unnamed });
    }

    /// Our order in the place of a real one. `venue` knows all that happened before its add.
    fn ghost(&self, life: &Life, mut venue: Venue, named: bool) -> Ghost {
        let Life { order, side, price, mut quantity, added, ahead, .. } = *life;
        let id = OrderId(1);
        let instrument = self.steps[added].named.instrument;
        let (mut left, mut end, mut reports) = (quantity, added, Vec::new());
        let (time_in_force, terms) = (TimeInForce::Day, Terms::PLAIN);
        let ours = Order { id, strategy: StrategyId(0), instrument, side, quantity, price, time_in_force, terms };
        let start = self.steps[added].named.ts_event;
        venue.submit(start, &Output::Submit(ours));
        venue.advance(start, &mut reports);
        let ours_ahead = venue.standing(id, instrument).map(|standing| standing.ahead);
        for (step, at) in self.steps.iter().zip(0..).skip(added + 1) {
            // Over for both: for ours too when the real one is filled and ours is late.
            if left.is_zero() && venue.open_orders() == 0 {
                break;
            }
            let now = step.named.ts_event;
            match step.named.update {
                Update::Execute { order: met, quantity: by, .. }
                | Update::ExecuteAt { order: met, quantity: by, .. }
                    if met == order =>
                {
                    venue.market(&step.unnamed);
                    (left.0, end) = (left.0 - by.0, at);
                }
                Update::Reduce { order: changed, quantity: by } if changed == order => {
                    quantity.0 -= by.0;
                    (left.0, end) = (left.0 - by.0, at);
                    venue.submit(now, &Output::Replace { order: id, instrument, quantity, price });
                }
                Update::Delete { order: gone } | Update::Replace { order: gone, .. } if gone == order => {
                    (left, end) = (Quantity::ZERO, at);
                    venue.submit(now, &Output::Cancel { order: id, instrument });
                }
                _ if named => venue.market(&step.named),
                _ => venue.market(&step.unnamed),
            }
            venue.advance(now, &mut reports);
        }
        let ours = reports.iter().filter_map(|(_, report)| match report.kind {
            ReportKind::Filled { price, quantity, .. } => Some(GhostFill { ts: report.ts_event, price, quantity }),
            _ => None,
        });
        let rejected = reports.iter().find_map(|(_, report)| match report.kind {
            ReportKind::Rejected { reason } => Some(reason),
            _ => None,
        });
        let (real, ours) = (life.real.clone(), ours.collect());
        let (jumps, jump_before) = self.jumps_of(life, end);
        Ghost { order, real, ours, ahead, ours_ahead, rejected, jumps, jump_before }
    }

    /// The jumps that went past an order or were its own, and the latest before its life at its price.
    fn jumps_of(&self, life: &Life, end: usize) -> (Vec<Jump>, Option<Jump>) {
        let instrument = self.steps[life.added].named.instrument;
        let here = self.jumps.iter().filter(|x| x.instrument == instrument && x.side == life.side);
        let mut before_life = here.clone().filter(|x| x.at < life.added && x.jump.price == life.price);
        let during = here.filter(|x| life.added < x.at && x.at <= end).filter(|x| {
            let better = (life.price.0 - x.jump.price.0) * life.side.sign();
            let earlier = || life.added < self.added.get(&x.jump.executed).copied().unwrap_or(0);
            x.jump.executed == life.order || better > 0 || better == 0 && earlier()
        });
        (during.map(|x| x.jump).collect(), before_life.next_back().map(|x| x.jump))
    }
}
