//! The simulated exchange: history in, our orders in, reports out.
//!
//! One [`Venue`] serves a whole backtest or paper run. It receives market history before the engine sees it and the
//! engine's orders one order latency after they left; it answers with reports, one report latency after it acted.
//! How an order trades depends on the best data its instrument has:
//!
//! | data | model | page |
//! |---|---|---|
//! | single orders | `replay`: our orders rest in the historical queues | `docs/models/replay.md` |
//! | price levels | `depth`: queue positions are estimated | `docs/models/depth.md` |
//! | quotes, or trades alone | `quotes`: fills at the touch | `docs/models/quotes.md` |
//! | bars | `bars`: fills at the next bar's open plus half a spread | `docs/models/bars.md` |
//!
//! Order of things at one moment: order messages that arrive, in the order in which they were sent; then the market
//! event; reports whenever they are due, in the order in which they were written. A message sent at a moment that
//! history also has acts before the next market event that is handed over, never before one already handed over.
//!
//! The venue knows nothing of strategies, risk or routing, and nothing of the engine's mode. It reads no clock:
//! every call carries its time.

pub mod agents;
pub mod matching;

mod bars;
mod dark;
mod depth;
mod desk;
mod fees;
mod impact;
mod latency;
#[cfg(test)]
mod properties;
mod quotes;
mod replay;
mod venues;

pub use bars::HalfSpread;
pub use dark::{Arrivals, DarkConfig, DarkListing, DarkPool};
pub use depth::QueueModel;
pub use desk::is_ours;
pub use fees::Fees;
pub use helios_book::{BookError, Books, Capacity};
pub use impact::{Decay, Impact, MAX_DECAYS};
pub use latency::{Delay, Line, MAX_DELAY_NS, TimeOfDay};
pub use venues::{Exchange, Venues};

use bars::Bars;
use depth::Depth;
use desk::Desk;
use helios_types::{
    BookRef, CancelReason, Instrument, InstrumentId, Market, NANOS_PER_DAY, Nanos, Order, OrderId, Output, Price,
    Quantity, RejectReason, Report, Terms, TimeInForce, TradeKind, TradingStatus, Update,
};
use impact::{Impacts, moved};
use quotes::Quotes;
use replay::Replay;
use std::collections::BTreeMap;

/// How the venue behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which of a run's venues it is: lines that share a seed draw differently. Zero for the only one.
    pub number: u32,
    /// From the engine to the venue.
    pub order_latency: Delay,
    /// From the venue to the engine.
    pub report_latency: Delay,
    /// How our own trades move prices, by instrument; those that are not named are not moved.
    pub impacts: BTreeMap<InstrumentId, Impact>,
    /// What a fill costs.
    pub fees: Fees,
    /// What a bar's open does not show.
    pub half_spread: HalfSpread,
    /// How a queue position is estimated where history has price levels only.
    pub queue: QueueModel,
    /// A trading day begins this long after 00:00 UTC; open orders expire there. Less than a day.
    pub day_begins_ns: u64,
    /// Most open orders of ours; one more is rejected as `Full`.
    pub max_open_orders: usize,
    /// Most order messages under way; one more is rejected as `Full`. Reports are never dropped.
    pub max_pending_messages: usize,
    /// Tables of the venue's books; a historical order that does not fit is counted and left out.
    pub capacity: Capacity,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            number: 0,
            order_latency: Delay::ZERO,
            report_latency: Delay::ZERO,
            impacts: BTreeMap::new(),
            fees: Fees::default(),
            half_spread: HalfSpread::default(),
            queue: QueueModel::default(),
            day_begins_ns: 0,
            max_open_orders: 1 << 16,
            max_pending_messages: 1 << 16,
            capacity: Capacity::default(),
        }
    }
}

/// Market events that the venue could not use. They changed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Named an order that is not in the book.
    pub unknown_order: u64,
    /// Did not fit the venue's tables.
    pub full: u64,
    /// Wrong in another way: a second order of one number, more than the order has, an impossible price, quantity
    /// or bar, an instrument that the venue does not list.
    pub bad: u64,
}

impl Counts {
    fn note(&mut self, error: BookError) {
        match error {
            BookError::UnknownOrder => self.unknown_order += 1,
            BookError::Full => self.full += 1,
            _ => self.bad += 1,
        }
    }
}

/// Where a resting order of ours stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its price level.
    pub price: Price,
    /// Displayed quantity before it in its queue.
    pub ahead: Quantity,
    /// What is left of it.
    pub left: Quantity,
}

/// The best data an instrument has shown so far; it only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Model {
    Unknown,
    Bars,
    Quotes,
    Depth,
    Orders,
}

impl Model {
    /// Whether this data can tell what would become of such an order.
    fn can_do(self, order: &Order) -> bool {
        let plain = Terms { post_only: false, ..order.terms }.is_plain();
        match self {
            Self::Depth => plain && !matches!(order.time_in_force, TimeInForce::Open | TimeInForce::Close),
            _ => order.terms.is_plain() && matches!(order.time_in_force, TimeInForce::Day | TimeInForce::Ioc),
        }
    }
}

/// One listed instrument.
#[derive(Clone, Debug)]
struct Listing {
    tick: Price,
    lot: Quantity,
    status: TradingStatus,
    model: Model,
    quotes: Quotes,
    bars: Bars,
    /// By how much our impact moved the prices of the last event: at its beginning and at its end.
    shift: [i64; 2],
}

/// Which draws a line of ours uses, where several share a seed.
const ORDERS: u64 = 1;
const REPORTS: u64 = 2;
const ARRIVALS: u64 = 4;

/// The draws of one line of a venue.
const fn stream(line: u64, venue: u32) -> u64 {
    line + ((venue as u64) << 8)
}

/// The same for the line of a venue's market data, which is the caller's.
pub const fn feed_stream(venue: u32) -> u64 {
    stream(3, venue)
}

/// The best prices of an instrument as they stand at the venue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Best {
    /// Best bid and ask, by [`Side`]; [`Price::UNDEFINED`] on an empty side. History's, not moved by our impact.
    pub(crate) price: [Price; 2],
    pub(crate) quantity: [Quantity; 2],
    /// By how much our impact moves them.
    pub(crate) shift: i64,
}

/// What the engine asks of the venue.
#[derive(Clone, Copy, Debug)]
enum Request {
    Submit(Order),
    Change(Change),
}

/// What an output asks of a venue; most say nothing to it.
fn request_of(output: &Output) -> Option<Request> {
    Some(match *output {
        Output::Submit(order) => Request::Submit(order),
        Output::Cancel { order, instrument } => Request::Change(Change { order, instrument, to: None }),
        Output::Replace { order, instrument, quantity, price } => {
            Request::Change(Change { order, instrument, to: Some((quantity, price)) })
        }
        _ => return None,
    })
}

/// A cancel, or a replace by a new total and limit.
#[derive(Clone, Copy, Debug)]
struct Change {
    order: OrderId,
    instrument: InstrumentId,
    to: Option<(Quantity, Price)>,
}

/// The simulated exchange of a run. A clone goes its own way: what if, from this moment on.
#[derive(Clone)]
pub struct Venue {
    config: Config,
    listings: Vec<Listing>,
    replay: Replay,
    depth: Depth,
    desk: Desk,
    /// Requests on their way, with the moment at which they were sent.
    requests: Line<(Nanos, Request)>,
    /// Changes that wait for a bar under way, by the end of their wait and their order; with the moment sent.
    held: BTreeMap<(Nanos, u64), (Nanos, Change)>,
    held_so_far: u64,
    /// When the current trading day ends; unset before the first event.
    day_ends: Nanos,
    counts: Counts,
}

impl Venue {
    /// A venue that lists these instruments, by [`InstrumentId`]. All are trading until history says otherwise.
    pub fn new(instruments: &[Instrument], config: Config) -> Self {
        assert!(config.day_begins_ns < NANOS_PER_DAY, "day_begins_ns must be less than a day");
        let listing = |instrument: &Instrument| {
            let Instrument { symbol, tick, lot } = instrument;
            assert!(tick.0 > 0 && lot.0 > 0, "{symbol}: tick and lot must be positive");
            let (status, model) = (TradingStatus::Trading, Model::Unknown);
            let (quotes, bars) = (Quotes::new(), Bars::default());
            Listing { tick: *tick, lot: *lot, status, model, quotes, bars, shift: [0; 2] }
        };
        let impacts = config.impacts.iter().map(|(id, impact)| {
            let Instrument { tick, lot, .. } =
                instruments.get(id.index()).expect("an impact is of a listed instrument");
            (*id, impact.clone(), *tick, *lot)
        });
        Self {
            listings: instruments.iter().map(listing).collect(),
            replay: Replay::new(instruments.len(), config.capacity),
            depth: Depth::new(instruments.len(), config.capacity, config.queue),
            desk: Desk::new(
                config.fees,
                Line::new(config.report_latency.clone(), stream(REPORTS, config.number)),
                Impacts::new(impacts),
            ),
            requests: Line::new(config.order_latency.clone(), stream(ORDERS, config.number)),
            config,
            held: BTreeMap::new(),
            held_so_far: 0,
            day_ends: Nanos(0),
            counts: Counts::default(),
        }
    }

    /// Takes the engine's orders, cancels and replaces on their way to the venue; other outputs are not for it.
    pub fn submit(&mut self, now: Nanos, output: &Output) {
        let Some(request) = request_of(output) else { return };
        if self.requests.len() + self.held.len() < self.config.max_pending_messages {
            return self.requests.send(now, now, (now, request));
        }
        self.desk.reject_request(now, &request);
    }

    /// The next moment at which something happens without a market event: a request arrives here, or a report there.
    #[inline]
    pub fn next_due(&self) -> Option<Nanos> {
        if self.requests.is_empty() && self.desk.reports.is_empty() && self.held.is_empty() {
            return None;
        }
        [self.requests.next(), self.next_held(), self.desk.reports.next()].into_iter().flatten().min()
    }

    /// Lets time pass: requests due at or before `to` act, then reports due at or before `to` come out, each with
    /// its arrival at the engine, never earlier than the one before.
    pub fn advance(&mut self, to: Nanos, reports: &mut Vec<(Nanos, Report)>) {
        self.let_requests_arrive(to);
        while let Some(due) = self.desk.reports.receive(to) {
            reports.push(due);
        }
    }

    /// Applies one event of history at its `ts_event`, before the engine sees it. Requests due by then act first.
    #[inline]
    pub fn market(&mut self, market: &Market) {
        let Market { instrument, ts_event: at, ref update } = *market;
        self.let_requests_arrive(at);
        // What most events of a feed of levels are.
        if let Update::Depth { .. } = update
            && let Some(Listing { model: Model::Depth, status, .. }) = self.listings.get(instrument.index())
        {
            let trading = *status == TradingStatus::Trading;
            return self.depth.history(&mut self.desk, &mut self.counts, at, instrument, update, trading);
        }
        self.any_market(at, instrument, update);
    }

    fn any_market(&mut self, at: Nanos, instrument: InstrumentId, update: &Update) {
        // A series is none of the venue's business, and its number no instrument's.
        if let Update::Value(_) = update {
            return;
        }
        if self.listings.get(instrument.index()).is_none() || !quotes::is_sane(update) || !bars::is_sane(update) {
            self.counts.bad += 1;
            return;
        }
        self.upgrade(at, instrument, model_of(update));
        match *update {
            Update::Clear => self.clear(at, instrument),
            Update::Status(status) => {
                self.listings[instrument.index()].status = status;
                self.replay.status(&mut self.desk, at, instrument, status);
                if status == TradingStatus::Trading {
                    self.depth.resume(&mut self.desk, at, instrument);
                }
            }
            _ => self.history(at, instrument, update),
        }
    }

    /// True when trades of ours move prices: what the engine is to see of an event then comes from [`Venue::show`].
    pub fn has_impact(&self) -> bool {
        !self.desk.impacts.is_empty()
    }

    /// Moves the prices of the event that [`Venue::market`] was given last to where our impact has put them. Events of
    /// single orders and of price levels stay as they are.
    pub fn show(&self, market: &mut Market) {
        if let Some(listing) = self.listings.get(market.instrument.index())
            && matches!(listing.model, Model::Quotes | Model::Bars)
        {
            market.update = shifted(&market.update, listing.shift, listing.tick);
        }
    }

    /// Where our impact has put the prices of an instrument, as a fraction of history's.
    pub fn displacement(&mut self, at: Nanos, instrument: InstrumentId) -> f64 {
        self.desk.impacts.fraction(at, instrument)
    }

    /// Market events that could not be used, since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Orders that work at the venue now.
    pub fn open_orders(&self) -> usize {
        self.desk.open_count()
    }

    /// Where a resting order stands in its queue; `None` unless it rests in an order-level book.
    pub fn standing(&self, order: OrderId, instrument: InstrumentId) -> Option<Standing> {
        let number = self.desk.number(order, instrument)?;
        self.replay.standing(number).or_else(|| self.depth.standing(&self.desk, number))
    }

    /// Best bid and ask with our own orders and without what we took; `None` while the instrument does not trade, or
    /// when its data has no bid and ask.
    pub(crate) fn best(&self, instrument: InstrumentId) -> Option<Best> {
        let listing = self.listings.get(instrument.index())?;
        if listing.status != TradingStatus::Trading {
            return None;
        }
        let of = |books: &Books| {
            let top = books.top(instrument);
            Best { price: [top.bid.price, top.ask.price], quantity: [top.bid.quantity, top.ask.quantity], shift: 0 }
        };
        match listing.model {
            Model::Orders => Some(of(self.replay.books())),
            Model::Depth => Some(of(self.depth.books())),
            Model::Quotes => listing.quotes.best(),
            Model::Bars | Model::Unknown => None,
        }
    }

    /// The venue's order-level books: history less what we took, and our orders.
    pub fn books(&self) -> &Books {
        self.replay.books()
    }

    fn history(&mut self, at: Nanos, instrument: InstrumentId, update: &Update) {
        let listing = &mut self.listings[instrument.index()];
        let trading = listing.status == TradingStatus::Trading;
        match listing.model {
            Model::Orders => {
                self.replay.history(&mut self.desk, &mut self.counts, at, instrument, update, trading);
            }
            Model::Depth => self.depth.history(&mut self.desk, &mut self.counts, at, instrument, update, trading),
            Model::Quotes => {
                if !self.desk.impacts.is_empty() {
                    let shift = self.desk.impacts.shift(at, instrument, listing.quotes.reference(update));
                    (listing.shift, listing.quotes.shift) = ([shift; 2], shift);
                }
                listing.quotes.history(&mut self.desk, at, update, trading);
            }
            Model::Bars => self.bar(at, instrument, update, trading),
            Model::Unknown => {}
        }
    }

    fn bar(&mut self, at: Nanos, instrument: InstrumentId, update: &Update, trading: bool) {
        let Update::Bar { open, close, span, .. } = *update else { return };
        let start = Nanos(at.0.saturating_sub(span));
        self.release(at, instrument, start);
        let day = |moment| day_of(moment, self.config.day_begins_ns);
        let listing = &mut self.listings[instrument.index()];
        let shift = self.desk.impacts.shift(start, instrument, open);
        let terms = bars::Terms { half_spread: self.config.half_spread, tick: listing.tick, trading, shift, day: &day };
        listing.bars.history(&mut self.desk, at, update, &terms);
        // What trades at a bar's open moves its close.
        listing.shift = [shift, self.desk.impacts.shift(at, instrument, close)];
        self.release(at, instrument, at);
    }

    /// Changes that wait for a bar of this instrument and were sent by `sent_by` act now.
    fn release(&mut self, at: Nanos, instrument: InstrumentId, sent_by: Nanos) {
        while let Some((key, (sent, change))) = self
            .held
            .iter()
            .find(|(_, (sent, change))| change.instrument == instrument && *sent <= sent_by)
            .map(|(key, held)| (*key, *held))
        {
            self.held.remove(&key);
            self.change(at, sent, change);
        }
    }

    fn next_held(&self) -> Option<Nanos> {
        self.held.first_key_value().map(|((until, _), _)| *until)
    }

    fn clear(&mut self, at: Nanos, instrument: InstrumentId) {
        let listing = &mut self.listings[instrument.index()];
        match listing.model {
            Model::Orders => self.replay.clear(&mut self.desk, at, instrument),
            Model::Depth => self.depth.clear(&mut self.desk, at, instrument),
            Model::Quotes => listing.quotes.clear(&mut self.desk, at),
            // Bars know no book that could be void.
            Model::Bars | Model::Unknown => {}
        }
    }

    /// Better data than before: open orders of the instrument move to the model that uses it.
    fn upgrade(&mut self, at: Nanos, instrument: InstrumentId, model: Model) {
        let listing = &mut self.listings[instrument.index()];
        if model <= listing.model {
            return;
        }
        let moving: Vec<BookRef> = self
            .desk
            .open()
            .filter(|(_, working)| working.order.instrument == instrument)
            .map(|(number, _)| number)
            .collect();
        (listing.model, listing.quotes, listing.bars) = (model, Quotes::new(), Bars::default());
        for number in moving {
            self.place(at, number);
        }
    }

    /// Requests and the ends of waits up to `to`, in time order; at one moment a wait ends first.
    #[inline]
    fn let_requests_arrive(&mut self, to: Nanos) {
        if !(self.requests.is_empty() && self.held.is_empty()) {
            self.let_each_arrive(to);
        }
        self.begin_day(to);
    }

    fn let_each_arrive(&mut self, to: Nanos) {
        loop {
            let wait = self.next_held().filter(|until| *until <= to);
            if wait.is_some_and(|until| self.requests.next().is_none_or(|arrival| until <= arrival)) {
                let ((until, _), (sent, change)) = self.held.pop_first().expect("a wait was just seen");
                self.begin_day(until);
                self.change(until, sent, change);
            } else if let Some((at, (sent, request))) = self.requests.receive(to) {
                self.begin_day(at);
                self.request(at, sent, request);
            } else {
                break;
            }
        }
    }

    fn request(&mut self, at: Nanos, sent: Nanos, request: Request) {
        match request {
            Request::Submit(order) => self.open(at, sent, order),
            Request::Change(change) => match self.waits_until(sent, &change) {
                Some(until) => {
                    self.held.insert((until.max(at), self.held_so_far), (sent, change));
                    self.held_so_far += 1;
                }
                None => self.change(at, sent, change),
            },
        }
    }

    /// Set when the change must wait for a bar that may have begun before it was sent.
    fn waits_until(&self, sent: Nanos, change: &Change) -> Option<Nanos> {
        let working = self.desk.get(self.desk.number(change.order, change.instrument)?)?;
        let listing = &self.listings[change.instrument.index()];
        if listing.model == Model::Bars { listing.bars.waits_until(working, sent) } else { None }
    }

    /// Orders that rest from an earlier trading day expire where it ended; bars keep their own days.
    #[inline]
    fn begin_day(&mut self, now: Nanos) {
        if now >= self.day_ends {
            self.end_day(now);
        }
    }

    #[cold]
    fn end_day(&mut self, now: Nanos) {
        let ended = std::mem::replace(&mut self.day_ends, end_of_day(now, self.config.day_begins_ns));
        let expired: Vec<(BookRef, Order)> = self
            .desk
            .open()
            .map(|(number, working)| (number, working.order))
            .filter(|(_, order)| self.listings[order.instrument.index()].model != Model::Bars)
            .collect();
        for (number, order) in expired {
            self.withdraw(number, &order);
            self.desk.cancel(ended.into(), number, CancelReason::Expired);
        }
    }

    fn open(&mut self, at: Nanos, sent: Nanos, order: Order) {
        match self.refusal(&order) {
            Some(reason) => self.desk.reject(at, order.id, order.instrument, reason),
            None => {
                let number = self.desk.accept(at, sent, order);
                self.place(at, number);
            }
        }
    }

    /// Why a new order cannot be accepted, if so. Its number counts as used either way.
    fn refusal(&mut self, order: &Order) -> Option<RejectReason> {
        if !self.desk.claim(order.id) {
            return Some(RejectReason::DuplicateOrder);
        }
        let Some(listing) = self.listings.get(order.instrument.index()) else {
            return Some(RejectReason::UnknownInstrument);
        };
        if let Some(reason) = listing.refusal(order.quantity, order.price, !order.price.is_defined()) {
            return Some(reason);
        }
        if listing.model == Model::Unknown {
            return Some(RejectReason::NoMarket);
        }
        if !listing.model.can_do(order) {
            return Some(RejectReason::Unsupported);
        }
        let Order { instrument, side, price, .. } = *order;
        if order.terms.post_only && listing.model == Model::Depth && self.depth.would_take(instrument, side, price) {
            return Some(RejectReason::WouldTake);
        }
        (self.desk.open_count() >= self.config.max_open_orders).then_some(RejectReason::Full)
    }

    fn change(&mut self, at: Nanos, sent: Nanos, change: Change) {
        let Change { order, instrument, to } = change;
        let Some(number) = self.desk.number(order, instrument) else {
            return self.desk.reject_change(at, order, instrument, RejectReason::UnknownOrder);
        };
        let working = *self.desk.get(number).expect("the number of an open order");
        let Some((quantity, price)) = to else {
            self.withdraw(number, &working.order);
            return self.desk.cancel(at.into(), number, CancelReason::Requested);
        };
        let listing = &self.listings[instrument.index()];
        if let Some(reason) = listing.refusal(quantity, price, !working.order.price.is_defined()) {
            return self.desk.reject_change(at, order, instrument, reason);
        }
        let Order { side, terms, price: limit, .. } = working.order;
        let rests = price == limit && quantity <= working.order.quantity;
        if terms.post_only && !rests && listing.model == Model::Depth && self.depth.would_take(instrument, side, price)
        {
            return self.desk.reject_change(at, order, instrument, RejectReason::WouldTake);
        }
        if quantity <= working.filled {
            // All that is asked for has traded already: nothing is left to work.
            self.withdraw(number, &working.order);
            return self.desk.cancel(at.into(), number, CancelReason::Requested);
        }
        if price == working.order.price && quantity <= working.order.quantity {
            self.shrink(number, &working.order, quantity);
            self.desk.replace(at, sent, number, quantity, price);
        } else {
            self.withdraw(number, &working.order);
            self.desk.replace(at, sent, number, quantity, price);
            self.place(at, number);
        }
    }

    /// A smaller total at the same price: the order keeps its place.
    fn shrink(&mut self, number: BookRef, order: &Order, quantity: Quantity) {
        let by = Quantity(order.quantity.0 - quantity.0);
        // Only books keep quantities of their own.
        if self.listings[order.instrument.index()].model == Model::Orders && by.0 > 0 {
            self.replay.shrink(order.instrument, number, by);
        }
    }

    /// An accepted or replaced order goes to its instrument's model.
    fn place(&mut self, at: Nanos, number: BookRef) {
        let instrument = self.desk.get(number).expect("only open orders are placed").order.instrument;
        let listing = &mut self.listings[instrument.index()];
        match listing.model {
            Model::Orders => self.replay.arrive(&mut self.desk, at, number),
            Model::Depth => self.depth.arrive(&mut self.desk, at, number),
            Model::Quotes => listing.quotes.arrive(&mut self.desk, at, number),
            Model::Bars => listing.bars.arrive(number),
            Model::Unknown => unreachable!("orders of an instrument without data are rejected"),
        }
    }

    /// An open order leaves its model; the desk still holds it.
    fn withdraw(&mut self, number: BookRef, order: &Order) {
        let listing = &mut self.listings[order.instrument.index()];
        match listing.model {
            Model::Orders => self.replay.withdraw(&self.desk, number),
            Model::Depth => self.depth.withdraw(order.instrument, order.side, number),
            Model::Quotes => listing.quotes.withdraw(order.side, number),
            Model::Bars => listing.bars.withdraw(number),
            Model::Unknown => unreachable!("orders of an instrument without data are rejected"),
        }
    }
}

impl Listing {
    /// Why these terms of an order cannot be accepted, if so.
    fn refusal(&self, quantity: Quantity, price: Price, market: bool) -> Option<RejectReason> {
        if self.status != TradingStatus::Trading {
            Some(RejectReason::NotTrading)
        } else if quantity.0 <= 0 || quantity.0 % self.lot.0 != 0 {
            Some(RejectReason::BadQuantity)
        } else if market == price.is_defined() || !market && (price.0 <= 0 || price.0 % self.tick.0 != 0) {
            Some(RejectReason::BadPrice)
        } else {
            None
        }
    }
}

/// The model that an event calls for.
fn model_of(update: &Update) -> Model {
    match update {
        Update::Add { .. }
        | Update::Execute { .. }
        | Update::ExecuteAt { .. }
        | Update::Reduce { .. }
        | Update::Delete { .. }
        | Update::Replace { .. } => Model::Orders,
        Update::Quote { .. } | Update::Trade { kind: TradeKind::Regular, .. } => Model::Quotes,
        Update::Bar { .. } => Model::Bars,
        Update::Depth { .. } => Model::Depth,
        Update::Trade { .. } | Update::TradeBreak { .. } | Update::Status(_) | Update::Clear | Update::Value(_) => {
            Model::Unknown
        }
    }
}

/// An event's prices, moved: those at its beginning by the first, those at its end by the second.
fn shifted(update: &Update, [first, last]: [i64; 2], tick: Price) -> Update {
    let mut update = *update;
    match &mut update {
        Update::Quote { bid, ask, .. } => (*bid, *ask) = (moved(*bid, last, tick), moved(*ask, last, tick)),
        Update::Trade { price, .. } => *price = moved(*price, last, tick),
        Update::Bar { open, high, low, close, .. } => {
            (*open, *close) = (moved(*open, first, tick), moved(*close, last, tick));
            (*low, *high) = (moved(*low, first.min(last), tick), moved(*high, first.max(last), tick));
        }
        _ => {}
    }
    update
}

/// The number of a moment's trading day.
fn day_of(moment: Nanos, begins_ns: u64) -> u64 {
    moment.plus(NANOS_PER_DAY - begins_ns).0 / NANOS_PER_DAY
}

/// When the trading day of a moment ends.
fn end_of_day(moment: Nanos, begins_ns: u64) -> Nanos {
    Nanos(day_of(moment, begins_ns).saturating_mul(NANOS_PER_DAY).saturating_add(begins_ns))
}
