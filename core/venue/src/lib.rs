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
//! | none: agents make it | `reactive`: agents trade with our orders and answer them | `docs/models/reactive.md` |
//!
//! Order of things at one moment: order messages that arrive, in the order in which they were sent; then the market
//! event; reports whenever they are due, in the order in which they were written. A message sent at a moment that
//! history also has acts before the next market event that is handed over, never before one already handed over.
//!
//! The venue knows nothing of strategies, risk or routing, and nothing of the engine's mode. It reads no clock:
//! every call carries its time.

pub mod agents;
pub mod matching;

mod account;
mod bars;
mod dark;
mod depth;
mod desk;
mod fees;
mod impact;
mod latency;
mod parked;
mod pool;
#[cfg(test)]
mod properties;
mod quotes;
mod reactive;
mod replay;
mod sessions;
mod venues;

pub use account::{AccountTerms, Rates};
pub use bars::HalfSpread;
pub use depth::QueueModel;
pub use desk::is_ours;
pub use fees::{Fees, Measure, SaleFees, Tariff, Tier, Window};
pub use helios_book::{BookError, Books, Capacity};
pub use impact::{Decay, Impact, MAX_DECAYS};
pub use latency::{Delay, Line, MAX_DELAY_NS, TimeOfDay};
pub use pool::{Arrivals, DarkConfig, DarkListing, DarkPool};
pub use venues::{Exchange, Venues};

use account::Account;
use bars::Bars;
use depth::Depth;
use desk::{Desk, is_for_auction};
use helios_types::{
    BookRef, CancelReason, Charge, Instrument, InstrumentId, Market, NANOS_PER_DAY, Nanos, Order, OrderId, Output,
    Price, Quantity, RejectReason, Report, Rules, Side, Split, Terms, TimeInForce, TradeKind, TradingStatus, Update,
    notional,
};
use impact::{Impacts, moved};
use parked::{Cross, Parked};
use quotes::Quotes;
use reactive::Live;
use replay::Replay;
use sessions::Sessions;
use std::collections::{BTreeMap, VecDeque};

/// Who yields when an order would trade with another of the same owner: they do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SelfTrade {
    /// What is left of the incoming order is cancelled.
    #[default]
    CancelNewest,
    /// The resting order is cancelled whole, and the incoming one goes on.
    CancelOldest,
    /// Both are cancelled.
    CancelBoth,
    /// Both lose the smaller of the two quantities that would have traded: one is cancelled, the larger made smaller.
    Decrement,
}

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
    /// What becomes of orders of ours that meet.
    pub self_trade: SelfTrade,
    /// Largest part of an auction's quantity that our orders in it get, in millionths.
    pub auction_share_ppm: u32,
    /// Farthest that a limit may be from the last trade, in millionths of it; beyond it the order is rejected.
    pub price_band_ppm: Option<u32>,
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
            self_trade: SelfTrade::default(),
            auction_share_ppm: 100_000,
            price_band_ppm: None,
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
    /// What an aggressor meets before it at that price: displayed orders, and ours that are unseen and earlier.
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
    /// A market of agents inside the venue: no data at all.
    Live,
}

/// One listed instrument.
#[derive(Clone, Debug)]
struct Listing {
    tick: Price,
    lot: Quantity,
    rules: Rules,
    status: TradingStatus,
    model: Model,
    quotes: Quotes,
    bars: Bars,
    parked: Parked,
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

const ALIVE: &str = "only a venue with agents has live instruments";

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
    live: Option<Box<Live>>,
    /// Requests on their way, with the moment at which they were sent.
    requests: Line<(Nanos, Request)>,
    /// Changes that wait for a bar under way, by the end of their wait and their order; with the moment sent.
    held: BTreeMap<(Nanos, u64), (Nanos, Change)>,
    held_so_far: u64,
    /// Stops that were reached, and when they act; in time order.
    awake: VecDeque<(Nanos, BookRef)>,
    sessions: Sessions,
    /// When the current trading day or session ends, whichever is first; unset before the first event.
    next_end: Nanos,
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
            let (rules, quotes, bars, parked) = (Rules::default(), Quotes::new(), Bars::default(), Parked::default());
            Listing { tick: *tick, lot: *lot, rules, status, model, quotes, bars, parked, shift: [0; 2] }
        };
        let impacts = config.impacts.iter().map(|(id, impact)| {
            let Instrument { tick, lot, .. } =
                instruments.get(id.index()).expect("an impact is of a listed instrument");
            (*id, impact.clone(), *tick, *lot)
        });
        Self {
            listings: instruments.iter().map(listing).collect(),
            replay: Replay::new(instruments.len(), config.capacity, config.self_trade),
            depth: Depth::new(instruments.len(), config.capacity, config.queue),
            desk: Desk::new(
                config.fees.into(),
                Account::new(instruments.len(), AccountTerms::default(), false),
                Line::new(config.report_latency.clone(), stream(REPORTS, config.number)),
                Impacts::new(impacts),
            ),
            requests: Line::new(config.order_latency.clone(), stream(ORDERS, config.number)),
            config,
            live: None,
            held: BTreeMap::new(),
            held_so_far: 0,
            awake: VecDeque::new(),
            sessions: Sessions::default(),
            next_end: Nanos(0),
            counts: Counts::default(),
        }
    }

    /// The same with fees by volume and on sales, instead of the configuration's.
    #[must_use]
    pub fn with_tariff(mut self, tariff: Tariff) -> Self {
        self.desk.tariff = tariff;
        self
    }

    /// The same with a broker that charges for what is held over night.
    #[must_use]
    pub fn with_account(mut self, terms: AccountTerms) -> Self {
        let looks = self.listings.iter().any(|listing| !listing.rules.min_notional.is_zero());
        self.desk.account = Account::new(self.listings.len(), terms, looks);
        self
    }

    /// The same with rules of its instruments, one for each. Before [`Venue::with_account`].
    #[must_use]
    pub fn with_rules(mut self, rules: Vec<Rules>) -> Self {
        assert!(rules.len() == self.listings.len(), "rules are given for every instrument, or for none");
        for (listing, rules) in self.listings.iter_mut().zip(rules) {
            listing.rules = rules;
        }
        self.with_account(AccountTerms::default())
    }

    /// The next charge of the broker that was made by `to`. Charges are not delayed; they wait here to be taken.
    pub fn charge(&mut self, to: Nanos) -> Option<(Nanos, Charge)> {
        self.desk.account.take_charge(to)
    }

    /// Our money and our position in an instrument, as the broker counts them, in cash and quantity units. Fractions of a
    /// split are at its mark, which it follows only where something is charged.
    pub fn account(&self, instrument: InstrumentId) -> (i128, Quantity) {
        (self.desk.account.money(), self.desk.account.position(instrument))
    }

    /// Sets the hours of trading, from open up to close, in order. Outside them nothing of ours trades, orders other than
    /// for auctions are rejected, and what rests expires at a close. Without any, trading is always open.
    pub fn set_sessions(&mut self, hours: Vec<(Nanos, Nanos)>) {
        assert!(self.next_end == Nanos(0), "sessions are set before the first event");
        self.sessions = Sessions::new(hours);
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
        let charge = self.desk.account.next_charge();
        let nothing = self.requests.is_empty() && self.held.is_empty() && self.awake.is_empty();
        if nothing && self.desk.reports.is_empty() && charge.is_none() {
            return None;
        }
        let awake = self.awake.front().map(|(at, _)| *at);
        let reports = self.desk.reports.next();
        [self.next_request(), self.next_held(), awake, reports, charge].into_iter().flatten().min()
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
        if self.listings.get(instrument.index()).is_none()
            || !quotes::is_sane(update)
            || !bars::is_sane(update)
            || !is_action_sane(update)
        {
            self.counts.bad += 1;
            return;
        }
        self.upgrade(at, instrument, model_of(update));
        let printed = self.printed(instrument, update);
        match *update {
            Update::Clear => self.clear(at, instrument),
            Update::Status(status) => {
                self.listings[instrument.index()].status = status;
                if status == TradingStatus::Trading && self.sessions.is_open(at) {
                    self.replay.status(&mut self.desk, at, instrument, status);
                    self.depth.resume(&mut self.desk, at, instrument);
                }
            }
            Update::Split { numerator, denominator } => self.split(at, instrument, numerator, denominator),
            Update::Dividend { cash } => self.desk.account.dividend(instrument, cash),
            _ => self.history(at, instrument, update),
        }
        if let Update::Trade { kind: TradeKind::Cross, price, quantity, .. } = *update {
            self.cross(at, instrument, price, quantity);
        }
        self.look_at_stops(at, instrument, update, printed);
        if self.desk.account.watches() {
            self.observe(instrument, update);
        }
    }

    #[inline(never)]
    fn observe(&mut self, instrument: InstrumentId, update: &Update) {
        let top = match self.listings[instrument.index()].model {
            Model::Orders => Some(self.replay.books().top(instrument)),
            Model::Depth => Some(self.depth.top(instrument)),
            Model::Live => Some(self.live.as_ref().expect(ALIVE).top(instrument)),
            Model::Unknown | Model::Bars | Model::Quotes => None,
        };
        self.desk.account.observe(instrument, update, top.map(|top| (top.bid.price, top.ask.price)));
    }

    /// New shares for old ones: what works in old shares expires, what is on its way to us arrives before, and what is on
    /// its way to the venue expires on its arrival. The book of old shares is void.
    fn split(&mut self, at: Nanos, instrument: InstrumentId, numerator: u32, denominator: u32) {
        let Some(split) = Split::new(numerator, denominator) else { return };
        let about = |(_, request): &(Nanos, Request)| match request {
            Request::Submit(order) => order.instrument == instrument,
            Request::Change(change) => change.instrument == instrument,
        };
        for (sent, request) in self.requests.take_if(about) {
            match request {
                Request::Submit(order) if self.desk.claim(order.id) => {
                    let number = self.desk.accept(at, sent, order);
                    self.desk.cancel(at.into(), number, CancelReason::Expired);
                }
                Request::Submit(order) => {
                    self.desk.reject(at, order.id, order.instrument, RejectReason::DuplicateOrder);
                }
                // The order itself expires: the change finds nothing.
                Request::Change(_) => {}
            }
        }
        self.held.retain(|_, (_, change)| change.instrument != instrument);
        let desk = &self.desk;
        let here = |number: BookRef| desk.get(number).is_some_and(|working| working.order.instrument == instrument);
        self.awake.retain(|(_, number)| !here(*number));
        let working: Vec<(BookRef, Order)> = self
            .desk
            .open()
            .map(|(number, working)| (number, working.order))
            .filter(|(_, order)| order.instrument == instrument)
            .collect();
        for (number, order) in working {
            self.withdraw(number, &order);
            self.desk.cancel(at.into(), number, CancelReason::Expired);
        }
        self.clear(at, instrument);
        let listing = &mut self.listings[instrument.index()];
        listing.shift = [0; 2];
        // The last trade was in old shares: no band and no stop looks at it.
        listing.parked = Parked::default();
        self.desk.account.split(instrument, split, listing.unit());
        self.desk.reports.hurry(at);
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
        let there = self.replay.standing(&self.desk, number).or_else(|| self.depth.standing(&self.desk, number));
        there.or_else(|| self.live.as_ref().and_then(|live| live.standing(number)))
    }

    /// Best bid and ask with our own orders and without what we took; `None` while the instrument does not trade, or
    /// when its data has no bid and ask.
    pub(crate) fn best(&self, at: Nanos, instrument: InstrumentId) -> Option<Best> {
        let listing = self.listings.get(instrument.index())?;
        if listing.status != TradingStatus::Trading || !self.sessions.is_open_at(at) {
            return None;
        }
        let of = |top: helios_book::Top| {
            let (bid, ask) = (top.bid, top.ask);
            Best { price: [bid.price, ask.price], quantity: [bid.quantity, ask.quantity], shift: 0 }
        };
        match listing.model {
            Model::Orders => Some(of(self.replay.books().top(instrument))),
            Model::Depth => Some(of(self.depth.top(instrument))),
            Model::Quotes => listing.quotes.best(),
            // Agents make one exchange of their own.
            Model::Bars | Model::Live | Model::Unknown => None,
        }
    }

    /// The venue's order-level books: history less what we took, and our orders.
    pub fn books(&self) -> &Books {
        self.replay.books()
    }

    fn history(&mut self, at: Nanos, instrument: InstrumentId, update: &Update) {
        let listing = &mut self.listings[instrument.index()];
        let trading =
            listing.status == TradingStatus::Trading && (listing.model == Model::Bars || self.sessions.is_open(at));
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
            // What agents do is known here already.
            Model::Live | Model::Unknown => {}
        }
    }

    /// The price at which an event of history says that shares changed hands.
    #[inline]
    fn printed(&self, instrument: InstrumentId, update: &Update) -> Option<Price> {
        match *update {
            Update::Execute { order, .. } => self.replay.price_of(instrument, order),
            Update::ExecuteAt { price, printable: true, .. } | Update::Trade { price, .. } => Some(price),
            Update::Bar { close, .. } => Some(close),
            _ => None,
        }
        .filter(|price| price.is_defined() && price.0 > 0)
    }

    /// Stops see what history printed or quoted; those that are reached act a nanosecond later.
    #[inline]
    fn look_at_stops(&mut self, at: Nanos, instrument: InstrumentId, update: &Update, printed: Option<Price>) {
        let listing = &mut self.listings[instrument.index()];
        match (printed, update) {
            (Some(price), _) => listing.parked.trade(price),
            (None, Update::Quote { bid, ask, .. }) => listing.parked.quote(*bid, *ask),
            _ => {}
        }
        if listing.parked.has_stops() && listing.status == TradingStatus::Trading && self.sessions.is_open(at) {
            let awake = listing.parked.wake(&self.desk);
            self.awake.extend(awake.into_iter().map(|number| (at.plus(1), number)));
        }
    }

    /// A stop that was reached becomes what it is without its stop, unless it was cancelled or trading has stopped.
    fn wake(&mut self, at: Nanos, number: BookRef) {
        let Some(working) = self.desk.get(number).filter(|working| working.asleep) else { return };
        let listing = &mut self.listings[working.order.instrument.index()];
        listing.parked.withdraw(number);
        if listing.model == Model::Bars || listing.status != TradingStatus::Trading || !self.sessions.is_open(at) {
            return listing.parked.sleep(number);
        }
        self.desk.wake(number);
        self.place(at, number);
    }

    /// History held an auction. Which one: at or after a session's close, its closing one; else the first of a trading
    /// day is the opening one. Others, after a halt, are not for our orders.
    fn cross(&mut self, at: Nanos, instrument: InstrumentId, price: Price, quantity: Quantity) {
        let listing = &mut self.listings[instrument.index()];
        if listing.model != Model::Orders || !price.is_defined() || price.0 <= 0 || quantity.0 <= 0 {
            return;
        }
        let day = day_of(at, self.config.day_begins_ns);
        let begun = Nanos(end_of_day(at, self.config.day_begins_ns).0.saturating_sub(NANOS_PER_DAY));
        let which = match self.sessions.close_within(begun, at) {
            Some(_) => TimeInForce::Close,
            None => TimeInForce::Open,
        };
        if !listing.parked.is_over(which, day) {
            let share = i128::from(quantity.0) * i128::from(self.config.auction_share_ppm.min(1_000_000)) / 1_000_000;
            let share = i64::try_from(share).expect("at most the quantity of the cross");
            let room = Quantity(share / listing.lot.0 * listing.lot.0);
            listing.parked.cross(&mut self.desk, which, day, Cross { at, price, room });
        }
    }

    fn bar(&mut self, at: Nanos, instrument: InstrumentId, update: &Update, trading: bool) {
        let Update::Bar { open, close, span, .. } = *update else { return };
        let start = Nanos(at.0.saturating_sub(span));
        self.release(at, instrument, start);
        let day = |moment| day_of(moment, self.config.day_begins_ns);
        let listing = &mut self.listings[instrument.index()];
        let closes = bars::closes(&self.sessions, start, at, span);
        let shift = self.desk.impacts.shift(start, instrument, open);
        let (half_spread, tick, day) = (self.config.half_spread, listing.tick_at(open), &day);
        let terms = bars::Terms { half_spread, tick, trading, shift, day, closes };
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
            Model::Bars | Model::Live | Model::Unknown => {}
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
            self.listings[instrument.index()].parked.withdraw(number);
            self.place(at, number);
        }
    }

    /// Requests and the ends of waits up to `to`, in time order; at one moment a wait ends first.
    #[inline]
    fn let_requests_arrive(&mut self, to: Nanos) {
        if !(self.requests.is_empty() && self.held.is_empty() && self.awake.is_empty()) {
            self.let_each_arrive(to);
        }
        self.begin_day(to);
    }

    fn let_each_arrive(&mut self, to: Nanos) {
        loop {
            let wait = self.next_held().filter(|until| *until <= to);
            let request = self.next_request();
            let others = [request, self.awake.front().map(|(at, _)| *at)].into_iter().flatten().min();
            if wait.is_some_and(|until| others.is_none_or(|other| until <= other)) {
                let ((until, _), (sent, change)) = self.held.pop_first().expect("a wait was just seen");
                self.begin_day(until);
                self.change(until, sent, change);
            } else if let Some((at, number)) = self.next_awake(to) {
                self.begin_day(at);
                self.wake(at, number);
            } else if let Some(at) = request.filter(|at| *at <= to)
                && let Some((_, (sent, request))) = self.requests.receive(at)
            {
                self.begin_day(at);
                if let Some(live) = &mut self.live {
                    live.turn_to(at);
                }
                self.request(at, sent, request);
            } else {
                break;
            }
        }
    }

    /// When the next request acts: when it arrives, or as soon as the agents' exchange is free.
    #[inline]
    fn next_request(&self) -> Option<Nanos> {
        let arrival = self.requests.next()?;
        Some(self.live.as_ref().map_or(arrival, |live| live.acts_at(arrival)))
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

    /// The next stop that acts by `to`, unless a request arrives before it.
    fn next_awake(&mut self, to: Nanos) -> Option<(Nanos, BookRef)> {
        let arrival = self.requests.next();
        self.awake.pop_front_if(|(at, _)| *at <= to && arrival.is_none_or(|arrival| *at <= arrival))
    }

    /// Orders that rest expire where their trading day or session ended, those for an auction with the day; bars keep
    /// their own days.
    #[inline]
    fn begin_day(&mut self, now: Nanos) {
        if now >= self.next_end {
            self.pass_ends(now);
        }
    }

    fn pass_ends(&mut self, now: Nanos) {
        if self.next_end == Nanos(0) {
            self.next_end = self.end_after(now);
        }
        // The first day that ended, and how many did: nights are charged together.
        let mut nights: Option<(Nanos, u64)> = None;
        while now >= self.next_end && self.next_end < Nanos(u64::MAX) {
            let ended = self.next_end;
            self.next_end = self.end_after(ended);
            self.expire(ended);
            if self.ends_day(ended) {
                nights = nights.map_or(Some((ended, 1)), |(first, count)| Some((first, count + 1)));
            }
        }
        if let Some((first, count)) = nights {
            self.desk.account.end_day(first, count);
        }
    }

    fn end_after(&self, now: Nanos) -> Nanos {
        let day = end_of_day(now, self.config.day_begins_ns);
        self.sessions.close_after(now).map_or(day, |close| close.min(day))
    }

    /// True for the end of a trading day, false for that of a session within it.
    fn ends_day(&self, ended: Nanos) -> bool {
        end_of_day(Nanos(ended.0.saturating_sub(1)), self.config.day_begins_ns) == ended
    }

    fn expire(&mut self, ended: Nanos) {
        let day_is_over = self.ends_day(ended);
        let expired: Vec<(BookRef, Order)> = self
            .desk
            .open()
            .map(|(number, working)| (number, working.order))
            .filter(|(_, order)| self.listings[order.instrument.index()].model != Model::Bars)
            .filter(|(_, order)| day_is_over || !is_for_auction(order))
            .collect();
        for (number, order) in expired {
            self.withdraw(number, &order);
            self.desk.cancel(ended.into(), number, CancelReason::Expired);
        }
    }

    fn open(&mut self, at: Nanos, sent: Nanos, order: Order) {
        match self.refusal(at, &order) {
            Some(reason) => self.desk.reject(at, order.id, order.instrument, reason),
            None => {
                let number = self.desk.accept(at, sent, order);
                self.place(at, number);
            }
        }
    }

    /// Why a new order cannot be accepted, if so. Its number counts as used either way.
    fn refusal(&mut self, at: Nanos, order: &Order) -> Option<RejectReason> {
        if !self.desk.claim(order.id) {
            return Some(RejectReason::DuplicateOrder);
        }
        let Some(listing) = self.listings.get(order.instrument.index()) else {
            return Some(RejectReason::UnknownInstrument);
        };
        if let Some(reason) = listing.refusal(order, order.quantity, order.price) {
            return Some(reason);
        }
        if listing.model == Model::Live
            && let Some(reason) = self.live_refusal(order.instrument, order.quantity, order.price)
        {
            return Some(reason);
        }
        if listing.model == Model::Unknown {
            // Reading the terms needs no data: what no model can do is not a matter of waiting.
            return Some(if is_for_any_model(order) { RejectReason::NoMarket } else { RejectReason::Unsupported });
        }
        if let Some(reason) = self.account_refusal(order, order.quantity, order.price, None) {
            return Some(reason);
        }
        if !self.supports(listing, order) {
            return Some(RejectReason::Unsupported);
        }
        if let Some(reason) = self.untimely(at, order) {
            return Some(reason);
        }
        if !order.terms.stop.is_defined() && self.would_take_against_its_terms(order) {
            return Some(RejectReason::WouldTake);
        }
        (self.desk.open_count() >= self.config.max_open_orders).then_some(RejectReason::Full)
    }

    /// Why the account cannot have an order of this total and limit, if so; `known` is the order that it replaces.
    fn account_refusal(
        &self,
        order: &Order,
        quantity: Quantity,
        price: Price,
        known: Option<(BookRef, Quantity)>,
    ) -> Option<RejectReason> {
        let (instrument, account) = (order.instrument, &self.desk.account);
        let least = self.listings[instrument.index()].rules.min_notional;
        let price = if price.is_defined() { price } else { account.mark(instrument) };
        if !least.is_zero() && price.is_defined() && notional(price, quantity).is_ok_and(|value| value < least) {
            return Some(RejectReason::BelowMinimum);
        }
        if order.side == Side::Buy || !account.is_restricted(instrument) {
            return None;
        }
        let (known, filled) = known.map_or((None, Quantity::ZERO), |(number, filled)| (Some(number), filled));
        let others = self.desk.open().filter(|(number, working)| {
            Some(*number) != known && working.order.side == Side::Sell && working.order.instrument == instrument
        });
        let selling = others.map(|(_, working)| working.left().0).fold(0i64, i64::saturating_add);
        let left = Quantity(quantity.0.saturating_sub(filled.0));
        account.lacks_locate(instrument, left, selling).then_some(RejectReason::NotShortable)
    }

    /// Does the model of the instrument's data have such an order? The table stands in `docs/models/orders.md`.
    fn supports(&self, listing: &Listing, order: &Order) -> bool {
        let terms = &order.terms;
        let unseen = terms.midpoint || terms.display != Terms::ALL;
        is_for_any_model(order)
            && match listing.model {
                Model::Unknown => false,
                Model::Orders => order.time_in_force != TimeInForce::Close || self.sessions.are_given(),
                Model::Depth | Model::Quotes => !unseen && !is_for_auction(order),
                Model::Live => !unseen && !is_for_auction(order) && !terms.stop.is_defined(),
                Model::Bars => {
                    !unseen
                        && (order.time_in_force != TimeInForce::Close
                            || self.sessions.are_given()
                            || listing.bars.show_closes())
                }
            }
    }

    /// Why an order, or a change to it, comes at a wrong time or price, if so.
    fn untimely(&mut self, at: Nanos, order: &Order) -> Option<RejectReason> {
        let listing = &self.listings[order.instrument.index()];
        let (model, day) = (listing.model, day_of(at, self.config.day_begins_ns));
        let too_late = match is_for_auction(order) {
            // An auction takes orders before the session begins; and bars know days, not hours.
            true => model == Model::Orders && listing.parked.is_over(order.time_in_force, day),
            false => model != Model::Bars && !self.sessions.is_open(at),
        };
        let listing = &self.listings[order.instrument.index()];
        if too_late {
            return Some(RejectReason::NotTrading);
        }
        let beyond = |last: Price, band: u32| {
            let distance = (i128::from(order.price.0) - i128::from(last.0)).abs();
            distance * 1_000_000 > i128::from(last.0) * i128::from(band)
        };
        let banded = listing.parked.last().zip(self.config.price_band_ppm).filter(|_| order.price.is_defined());
        banded.is_some_and(|(last, band)| beyond(last, band)).then_some(RejectReason::PriceBand)
    }

    /// True for a post-only order that would trade at once. On bars nobody knows before the bar.
    fn would_take_against_its_terms(&self, order: &Order) -> bool {
        let listing = &self.listings[order.instrument.index()];
        order.terms.post_only
            && match listing.model {
                Model::Orders => self.replay.would_take(order),
                Model::Depth => self.depth.would_take(order.instrument, order.side, order.price),
                Model::Quotes => listing.quotes.would_take(order),
                Model::Live => self.live.as_ref().expect(ALIVE).would_take(order.instrument, order.side, order.price),
                Model::Bars | Model::Unknown => false,
            }
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
        let limit_or_not = price.is_defined() == working.order.price.is_defined();
        let wrong = listing.refusal(&working.order, quantity, price);
        let wrong = wrong.or((!limit_or_not).then_some(RejectReason::BadPrice));
        let is_live = listing.model == Model::Live;
        let wrong = wrong.or_else(|| is_live.then(|| self.live_refusal(instrument, quantity, price)).flatten());
        let changed = Order { quantity, price, ..working.order };
        let (awake, moved) = (!working.asleep, price != working.order.price);
        let reason = wrong.or_else(|| self.untimely(at, &changed)).or_else(|| {
            (awake && moved && self.would_take_against_its_terms(&changed)).then_some(RejectReason::WouldTake)
        });
        if let Some(reason) = reason {
            return self.desk.reject_change(at, order, instrument, reason);
        }
        let known = Some((number, working.filled));
        if let Some(reason) = self.account_refusal(&working.order, quantity, price, known) {
            return self.desk.reject_change(at, order, instrument, reason);
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
        match self.listings[order.instrument.index()].model {
            Model::Orders if by.0 > 0 => self.replay.shrink(&self.desk, number, by),
            Model::Live if by.0 > 0 => self.live().shrink(order.instrument, number, by),
            _ => {}
        }
    }

    fn live(&mut self) -> &mut Live {
        self.live.as_mut().expect(ALIVE)
    }

    fn live_refusal(&self, instrument: InstrumentId, quantity: Quantity, price: Price) -> Option<RejectReason> {
        self.live.as_ref().expect(ALIVE).refusal(instrument, quantity, price)
    }

    /// An accepted, awoken or replaced order goes to its instrument's model, or waits for what it waits for.
    fn place(&mut self, at: Nanos, number: BookRef) {
        let working = *self.desk.get(number).expect("only open orders are placed");
        let order = &working.order;
        // Better data than when it was accepted may be data that cannot do what it asks for.
        if !self.supports(&self.listings[order.instrument.index()], order) {
            return self.desk.cancel(at.into(), number, CancelReason::Unfilled);
        }
        let listing = &mut self.listings[order.instrument.index()];
        if listing.model == Model::Bars {
            return listing.bars.arrive(number);
        }
        if working.is_for_auction() {
            return listing.parked.wait_for_auction(number);
        }
        if working.asleep {
            if !listing.parked.wakes(order.side, order.terms.stop) {
                return listing.parked.sleep(number);
            }
            self.desk.wake(number);
        }
        // It was not when it was accepted: it slept, or other data was looked at.
        if self.would_take_against_its_terms(order) {
            return self.desk.cancel(at.into(), number, CancelReason::Unfilled);
        }
        let listing = &mut self.listings[order.instrument.index()];
        match listing.model {
            Model::Orders => self.replay.arrive(&mut self.desk, at, number),
            Model::Depth => self.depth.arrive(&mut self.desk, at, number),
            Model::Quotes => listing.quotes.arrive(&mut self.desk, at, number),
            Model::Live => self.live.as_mut().expect(ALIVE).arrive(&mut self.desk, at, number),
            Model::Bars | Model::Unknown => unreachable!("orders of an instrument without data are rejected"),
        }
    }

    /// An open order leaves its model; the desk still holds it.
    fn withdraw(&mut self, number: BookRef, order: &Order) {
        let working = self.desk.get(number).expect("only open orders are withdrawn");
        let listing = &mut self.listings[order.instrument.index()];
        if listing.model != Model::Bars && (working.asleep || working.is_for_auction()) {
            return listing.parked.withdraw(number);
        }
        match listing.model {
            Model::Orders => self.replay.withdraw(&self.desk, number),
            Model::Depth => self.depth.withdraw(order.instrument, order.side, number),
            Model::Quotes => listing.quotes.withdraw(order.side, number),
            Model::Bars => listing.bars.withdraw(number),
            Model::Live => self.live().withdraw(order.instrument, number),
            Model::Unknown => unreachable!("orders of an instrument without data are rejected"),
        }
    }
}

impl Listing {
    /// The price step at a price.
    fn tick_at(&self, price: Price) -> Price {
        self.rules.ticks.as_ref().map_or(self.tick, |ticks| ticks.at(price))
    }

    /// Smallest step of a position.
    fn unit(&self) -> Quantity {
        if self.rules.unit.is_zero() { self.lot } else { self.rules.unit }
    }

    /// Why this quantity and limit of an order cannot be accepted, if so.
    fn refusal(&self, order: &Order, quantity: Quantity, price: Price) -> Option<RejectReason> {
        let on_tick = |price: Price| !price.is_defined() || price.0 > 0 && price.0 % self.tick_at(price).0 == 0;
        let shown = order.terms.display;
        let no_part = shown != Terms::ALL && (shown.0 < 0 || shown > order.quantity || shown.0 % self.lot.0 != 0);
        let halted = match is_for_auction(order) {
            // An auction ends a pause.
            true => self.status == TradingStatus::Halted,
            false => self.status != TradingStatus::Trading,
        };
        if halted {
            Some(RejectReason::NotTrading)
        } else if quantity.0 <= 0 || quantity.0 % self.lot.0 != 0 || no_part {
            Some(RejectReason::BadQuantity)
        } else if !on_tick(price) || !on_tick(order.terms.stop) {
            Some(RejectReason::BadPrice)
        } else {
            None
        }
    }
}

/// False for a corporate action that cannot be.
fn is_action_sane(update: &Update) -> bool {
    match *update {
        Update::Split { numerator, denominator } => Split::new(numerator, denominator).is_some(),
        Update::Dividend { cash } => cash.0 > 0 && cash.is_defined(),
        _ => true,
    }
}

/// False for terms that exclude one another, or that no model of history has.
fn is_for_any_model(order: &Order) -> bool {
    let (terms, stops) = (&order.terms, order.terms.stop.is_defined());
    let at_once = matches!(order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok);
    let rests = !at_once && !is_for_auction(order) && (order.price.is_defined() || terms.midpoint);
    let for_resting = terms.post_only || terms.midpoint || terms.display != Terms::ALL;
    // A pegged order is unseen by nature; what waits for an auction or for the midpoint has no stop.
    let iceberg = terms.display != Terms::ALL && !terms.display.is_zero();
    (rests || !for_resting) && !(terms.midpoint && (iceberg || stops)) && !(stops && is_for_auction(order))
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
        Update::Trade { .. }
        | Update::TradeBreak { .. }
        | Update::Status(_)
        | Update::Clear
        | Update::Split { .. }
        | Update::Dividend { .. }
        | Update::Value(_) => Model::Unknown,
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
