//! A dark pool: our orders rest unseen and trade at the midpoint of another listing's best bid and ask.
//!
//! What it does:
//! - An order of ours rests with a limit or without one, until a counterparty comes; older orders first. It trades at the
//!   midpoint only, never beyond its limit, and nothing below the pool's minimum quantity (or what is left of the order).
//! - Counterparties come from two places. *Prints*: where history shows a trade at the reference's midpoint, somebody
//!   hidden traded there; a share of its quantity would have met us instead. *Arrivals*: a seeded Poisson process with a
//!   distribution of sizes, which buys as often as it sells, or more often on the side that is about to be right.
//! - An arrival trades with what rests, waits for its patience, and leaves. An immediate order of ours meets only those.
//! - Orders of ours meet one another only where self-matches are allowed; one that wants all or nothing never does.
//! - Without a reference nothing trades: not while its book is one-sided, locked or crossed, nor while it is halted, nor
//!   when its last event is too old.
//!
//! Prices are exact: a midpoint between two ticks is a price like any other. One that 1e-9 cannot hold does not trade.
//!
//! What it assumes: nobody learns of our orders, and those whom we meet would have traded as much without us. See
//! `docs/models/dark-pool.md`. Absent: an impact of our fills on the reference, conditional orders, blocks and auctions.

use crate::account::Account;
use crate::agents::draw::Draw;
use crate::desk::{Desk, within};
use crate::impact::Impacts;
use crate::{
    ARRIVALS, AccountTerms, Change, Counts, Delay, Fees, Line, ORDERS, REPORTS, Request, Venue, end_of_day, request_of,
    stream,
};
use helios_types::{
    BookRef, CancelReason, Hasher, InstrumentId, Liquidity, Market, NANOS_PER_DAY, Nanos, Order, Output, Price,
    Quantity, RejectReason, Report, Side, Terms, TimeInForce, TradeKind, Update, round_down_to_lot,
};
use std::collections::{BTreeMap, BTreeSet};

/// Counterparties that come by themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrivals {
    /// Mean time between two, for each listing; positive.
    pub mean_gap_ns: u64,
    /// Half of them bring at least this; at least one lot, and whole lots.
    pub median: Quantity,
    /// Standard deviation of the logarithm of what they bring; zero: they all bring the median.
    pub sigma: f64,
    /// 0 to 1: how often they are right. One buys with probability `(1 + adverse * imbalance) / 2`, where the imbalance
    /// is (bid size - ask size) / (bid size + ask size) of the reference: the side that tends to be right next.
    pub adverse: f64,
    /// How long one waits in the pool when it is not filled; zero: it leaves at once.
    pub patience_ns: u64,
    /// Of the draws.
    pub seed: u64,
}

impl Arrivals {
    /// What is wrong with it, if something is.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("arrivals: {what}"));
        match self {
            Self { mean_gap_ns: 0, .. } => wrong("the mean time between two must be positive"),
            Self { patience_ns: NANOS_PER_DAY.., .. } => wrong("a patience is less than a day"),
            Self { median, .. } if median.0 <= 0 => wrong("the median quantity must be positive"),
            Self { sigma, .. } if !(0.0..=10.0).contains(sigma) => wrong("sigma is 0 to 10"),
            Self { adverse, .. } if !(0.0..=1.0).contains(adverse) => wrong("adverse is 0 to 1"),
            _ => Ok(()),
        }
    }
}

/// How a dark pool behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct DarkConfig {
    /// Which of a run's venues it is: lines that share a seed draw differently.
    pub number: u32,
    /// From the engine to the pool.
    pub order_latency: Delay,
    /// From the pool to the engine.
    pub report_latency: Delay,
    /// What a fill costs. An order that rested is a maker.
    pub fees: Fees,
    /// A trading day begins this long after 00:00 UTC; open orders expire there. Less than a day.
    pub day_begins_ns: u64,
    /// Least quantity of one fill, unless less is left of the order.
    pub minimum: Quantity,
    /// Millionths of a print at the midpoint that would have met us; at most a million.
    pub prints_ppm: u32,
    /// Counterparties that history does not show.
    pub arrivals: Option<Arrivals>,
    /// Whether opposite orders of ours trade with one another.
    pub self_match: bool,
    /// A reference whose last event is older than this is none.
    pub max_age_ns: u64,
    /// Most open orders of ours; one more is rejected as `Full`.
    pub max_open_orders: usize,
    /// Most order messages under way; one more is rejected as `Full`.
    pub max_pending_messages: usize,
}

impl Default for DarkConfig {
    fn default() -> Self {
        Self {
            number: 0,
            order_latency: Delay::ZERO,
            report_latency: Delay::ZERO,
            fees: Fees::default(),
            day_begins_ns: 0,
            minimum: Quantity::ZERO,
            prints_ppm: 0,
            arrivals: None,
            self_match: false,
            max_age_ns: 60_000_000_000,
            max_open_orders: 1 << 16,
            max_pending_messages: 1 << 16,
        }
    }
}

/// One listing of a pool.
#[derive(Clone, Debug)]
pub struct DarkListing {
    /// Its own number.
    pub instrument: InstrumentId,
    /// Its name: the draws of its arrivals are its own, whatever else is listed.
    pub symbol: String,
    /// Price step of limits; fills need none.
    pub tick: Price,
    /// Quantity step of orders and fills.
    pub lot: Quantity,
    /// The listing whose midpoint counts.
    pub reference: InstrumentId,
}

/// A counterparty that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    side: Side,
    left: Quantity,
    until: Nanos,
}

/// One listing as it runs.
#[derive(Clone)]
struct Place {
    listing: DarkListing,
    /// When the reference showed its last event; None before the first.
    last: Option<Nanos>,
    /// The next arrival, while the reference is alive.
    next: Option<Nanos>,
    draw: Draw,
    waiting: Vec<Waiting>,
    /// Our orders, oldest first.
    resting: Vec<BookRef>,
}

/// What a midpoint is made of.
#[derive(Clone, Copy, Debug)]
struct Midpoint {
    /// At which the pool trades.
    price: Price,
    /// The same without our impact: what a print of history is compared with.
    history: Price,
    /// (bid size - ask size) / (bid size + ask size).
    imbalance: f64,
}

/// The exchanges of the run, of which a pool asks for the best prices; and which of them has its reference.
pub(crate) type Lit<'a> = (&'a [Venue], &'a [u32]);

/// The simulated pool of a run.
#[derive(Clone)]
pub struct DarkPool {
    config: DarkConfig,
    places: Vec<Place>,
    /// Places by their listing, and by their reference.
    of: BTreeMap<InstrumentId, usize>,
    referring: BTreeMap<InstrumentId, Vec<usize>>,
    /// Coming arrivals, by time.
    coming: BTreeSet<(Nanos, usize)>,
    desk: Desk,
    requests: Line<(Nanos, Request)>,
    day_ends: Nanos,
    counts: Counts,
}

impl DarkPool {
    /// A pool with these listings, each once. Panics at a configuration that cannot be.
    pub fn new(listings: Vec<DarkListing>, config: DarkConfig) -> Self {
        assert!(config.day_begins_ns < NANOS_PER_DAY, "day_begins_ns must be less than a day");
        assert!(config.prints_ppm <= 1_000_000 && config.minimum.0 >= 0, "a share is at most all of it");
        if let Some(Err(error)) = config.arrivals.as_ref().map(Arrivals::check) {
            panic!("check arrivals before they are used: {error}");
        }
        let (mut of, mut referring) = (BTreeMap::new(), BTreeMap::<_, Vec<usize>>::new());
        for (at, listing) in listings.iter().enumerate() {
            assert!(listing.tick.0 > 0 && listing.lot.0 > 0, "{}: tick and lot must be positive", listing.symbol);
            assert!(of.insert(listing.instrument, at).is_none(), "{} is listed twice", listing.symbol);
            referring.entry(listing.reference).or_default().push(at);
        }
        let instruments = of.last_key_value().map_or(0, |(last, _)| last.index() + 1);
        let seed = config.arrivals.as_ref().map_or(0, |arrivals| arrivals.seed);
        let place = |listing: DarkListing| {
            let mut hasher = Hasher::new();
            hasher.bytes(listing.symbol.as_bytes());
            let draw = Draw::new(seed ^ hasher.finish() as u64, stream(ARRIVALS, config.number));
            Place { listing, last: None, next: None, draw, waiting: Vec::new(), resting: Vec::new() }
        };
        Self {
            places: listings.into_iter().map(place).collect(),
            of,
            referring,
            coming: BTreeSet::new(),
            desk: Desk::new(
                config.fees.into(),
                Account::new(instruments, AccountTerms::default(), false),
                Line::new(config.report_latency.clone(), stream(REPORTS, config.number)),
                Impacts::new([]),
            ),
            requests: Line::new(config.order_latency.clone(), stream(ORDERS, config.number)),
            config,
            day_ends: Nanos(0),
            counts: Counts::default(),
        }
    }

    /// The listings, with the listings whose midpoints count.
    pub(crate) fn listings(&self) -> impl Iterator<Item = &DarkListing> + '_ {
        self.places.iter().map(|place| &place.listing)
    }

    /// Market events of its own listings, which a pool does not show.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Orders that work in the pool now.
    pub fn open_orders(&self) -> usize {
        self.desk.open_count()
    }

    /// Takes the engine's messages on their way to the pool.
    pub(crate) fn submit(&mut self, now: Nanos, output: &Output) {
        let Some(request) = request_of(output) else { return };
        if self.requests.len() < self.config.max_pending_messages {
            return self.requests.send(now, now, (now, request));
        }
        self.desk.reject_request(now, &request);
    }

    /// An event of one of its own listings cannot be.
    pub(crate) fn refuse_market(&mut self) {
        self.counts.bad += 1;
    }

    /// The next moment at which something happens in the pool that the engine could hear of.
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        let arrival = if self.desk.open_count() == 0 { None } else { self.next_arrival_for_us() };
        [self.requests.next(), self.desk.reports.next(), arrival].into_iter().flatten().min()
    }

    /// The next arrival where an order of ours rests. The others wait until something else happens.
    fn next_arrival_for_us(&self) -> Option<Nanos> {
        let for_us = |&&(at, place): &&(Nanos, usize)| {
            let place = &self.places[place];
            !place.resting.is_empty() && self.is_fresh(place, at)
        };
        self.coming.iter().find(for_us).map(|(at, _)| *at)
    }

    /// Lets time pass: what is due by `to` happens, and reports due by then come out with their arrival.
    pub(crate) fn advance(&mut self, to: Nanos, lit: Lit<'_>, reports: &mut Vec<(Nanos, Report)>) {
        self.pass(to, lit);
        while let Some(due) = self.desk.reports.receive(to) {
            reports.push(due);
        }
    }

    /// An event of a reference is about to happen: what is due before it, then what the event itself shows of hidden
    /// trades.
    pub(crate) fn before(&mut self, market: &Market, lit: Lit<'_>) {
        let Market { instrument, ts_event: at, ref update } = *market;
        self.pass(at, lit);
        let Update::Trade { price, quantity, aggressor, kind: TradeKind::Hidden | TradeKind::Regular, .. } = *update
        else {
            return;
        };
        for index in self.referring.get(&instrument).cloned().unwrap_or_default() {
            if let Some(midpoint) = self.midpoint(index, at, lit).filter(|midpoint| midpoint.history == price) {
                let share = i128::from(quantity.0.max(0)) * i128::from(self.config.prints_ppm) / 1_000_000;
                let met = aggressor.map(Side::opposite);
                self.meet(at, index, met, Quantity(share as i64), midpoint.price);
            }
        }
    }

    /// An event of a reference has happened: its midpoint may have moved.
    pub(crate) fn after(&mut self, at: Nanos, instrument: InstrumentId, lit: Lit<'_>) {
        for index in self.referring.get(&instrument).cloned().unwrap_or_default() {
            let place = &mut self.places[index];
            place.last = Some(at);
            if place.next.is_none() {
                self.expect_arrival(index, at);
            }
            self.look_again(at, index, lit);
        }
    }

    /// Orders that rest may trade with what waits, now that the midpoint has moved.
    pub(crate) fn look_again(&mut self, at: Nanos, index: usize, lit: Lit<'_>) {
        let place = &self.places[index];
        let alone = place.waiting.is_empty() && (!self.config.self_match || place.resting.len() < 2);
        if alone || place.resting.is_empty() {
            return;
        }
        for number in place.resting.clone() {
            self.take(at, index, number, Liquidity::Maker, lit);
        }
    }

    /// Messages and arrivals up to `to`, in time order; at one moment messages come first.
    fn pass(&mut self, to: Nanos, lit: Lit<'_>) {
        loop {
            let arrival = self.coming.first().copied().filter(|(at, _)| *at <= to);
            let message = self.requests.next().filter(|at| *at <= to);
            match (message, arrival) {
                (Some(at), arrival) if arrival.is_none_or(|(other, _)| at <= other) => {
                    let (at, (sent, request)) = self.requests.receive(at).expect("it was just seen");
                    self.begin_day(at);
                    match request {
                        Request::Submit(order) => self.open(at, sent, order, lit),
                        Request::Change(change) => self.change(at, sent, change, lit),
                    }
                }
                (_, Some((at, index))) => {
                    self.begin_day(at);
                    self.arrival(at, index, lit);
                }
                (None | Some(_), None) => break,
            }
        }
        self.begin_day(to);
    }

    /// Orders that rest from an earlier trading day expire where it ended.
    fn begin_day(&mut self, now: Nanos) {
        if now < self.day_ends {
            return;
        }
        let ended = std::mem::replace(&mut self.day_ends, end_of_day(now, self.config.day_begins_ns));
        let expired: Vec<BookRef> = self.desk.open().map(|(number, _)| number).collect();
        for number in expired {
            self.desk.cancel(ended.into(), number, CancelReason::Expired);
        }
        for place in &mut self.places {
            place.resting.clear();
            place.waiting.clear();
        }
    }

    fn open(&mut self, at: Nanos, sent: Nanos, order: Order, lit: Lit<'_>) {
        let index = match self.refusal(&order) {
            Ok(index) => index,
            Err(reason) => return self.desk.reject(at, order.id, order.instrument, reason),
        };
        let number = self.desk.accept(at, sent, order);
        self.arrive(at, index, number, lit);
    }

    /// The order's place, or why it cannot be accepted. Its number counts as used either way.
    fn refusal(&mut self, order: &Order) -> Result<usize, RejectReason> {
        if !self.desk.claim(order.id) {
            return Err(RejectReason::DuplicateOrder);
        }
        let index = *self.of.get(&order.instrument).ok_or(RejectReason::UnknownInstrument)?;
        self.places[index].listing.refusal(order.quantity, order.price)?;
        // Hidden, at the midpoint: that is what every order here is.
        let terms = Terms { midpoint: false, display: Terms::ALL, ..order.terms };
        let shown = order.terms.display != Terms::ALL && order.terms.display.0 != 0;
        if shown || !terms.is_plain() || matches!(order.time_in_force, TimeInForce::Open | TimeInForce::Close) {
            return Err(RejectReason::Unsupported);
        }
        if self.desk.open_count() >= self.config.max_open_orders {
            return Err(RejectReason::Full);
        }
        Ok(index)
    }

    fn change(&mut self, at: Nanos, sent: Nanos, change: Change, lit: Lit<'_>) {
        let Change { order, instrument, to } = change;
        let Some(number) = self.desk.number(order, instrument) else {
            return self.desk.reject_change(at, order, instrument, RejectReason::UnknownOrder);
        };
        let working = *self.desk.get(number).expect("the number of an open order");
        let index = self.of[&instrument];
        let filled_already = to.is_some_and(|(quantity, _)| quantity <= working.filled);
        let Some((quantity, price)) = to.filter(|(quantity, _)| quantity.0 <= 0 || !filled_already) else {
            self.leave(index, number);
            return self.desk.cancel(at.into(), number, CancelReason::Requested);
        };
        if let Err(reason) = self.places[index].listing.refusal(quantity, price) {
            return self.desk.reject_change(at, order, instrument, reason);
        }
        let keeps_its_place = price == working.order.price && quantity <= working.order.quantity;
        self.desk.replace(at, sent, number, quantity, price);
        if !keeps_its_place {
            self.leave(index, number);
            self.arrive(at, index, number, lit);
        }
    }

    fn leave(&mut self, index: usize, number: BookRef) {
        self.places[index].resting.retain(|other| *other != number);
    }

    /// An order of ours comes: it meets who waits, then rests or is cancelled.
    fn arrive(&mut self, at: Nanos, index: usize, number: BookRef, lit: Lit<'_>) {
        self.take(at, index, number, Liquidity::Taker, lit);
        let Some(working) = self.desk.get(number) else { return };
        if matches!(working.order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok) {
            self.desk.cancel(at.into(), number, CancelReason::Unfilled);
        } else {
            self.places[index].resting.push(number);
        }
    }

    /// An order of ours meets counterparties that wait, then, where that is allowed, our own of the other side.
    fn take(&mut self, at: Nanos, index: usize, number: BookRef, liquidity: Liquidity, lit: Lit<'_>) {
        let (Some(working), Some(midpoint)) = (self.desk.get(number).copied(), self.midpoint(index, at, lit)) else {
            return;
        };
        let (order, price) = (working.order, midpoint.price);
        if !within(order.side, order.price, price) {
            return;
        }
        self.places[index].waiting.retain(|waiting| waiting.until > at);
        let all = order.time_in_force == TimeInForce::Fok;
        if all && self.available(index, order.side) < working.left() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.places[index].waiting);
        for other in waiting.iter_mut().filter(|other| other.side == order.side.opposite()) {
            let met = self.met(index, number, other.left, all);
            if met.0 > 0 {
                other.left.0 -= met.0;
                self.fill(at, index, number, price, met, liquidity);
            }
        }
        waiting.retain(|other| other.left.0 > 0);
        self.places[index].waiting = waiting;
        if self.config.self_match && !all {
            for other in self.places[index].resting.clone() {
                self.meet_own(at, index, [number, other], price, liquidity);
            }
        }
    }

    /// Two orders of ours trade with one another, if they are opposite and both may.
    fn meet_own(&mut self, at: Nanos, index: usize, pair: [BookRef; 2], price: Price, liquidity: Liquidity) {
        let [Some(one), Some(other)] = pair.map(|number| self.desk.get(number).copied()) else { return };
        if one.order.side == other.order.side || !within(other.order.side, other.order.price, price) {
            return;
        }
        let met = round_down_to_lot(one.left().min(other.left()), self.places[index].listing.lot);
        // Either may ask for more than the other has.
        if met.0 > 0 && pair.iter().all(|number| self.met(index, *number, met, false) == met) {
            self.fill(at, index, pair[0], price, met, liquidity);
            self.fill(at, index, pair[1], price, met, Liquidity::Maker);
        }
    }

    /// What waits for an order of ours that wants all or nothing.
    fn available(&self, index: usize, side: Side) -> Quantity {
        let waiting = self.places[index].waiting.iter().filter(|other| other.side == side.opposite());
        waiting.fold(Quantity::ZERO, |sum, other| Quantity(sum.0.saturating_add(other.left.0)))
    }

    /// How much of what is offered an order of ours takes: whole lots, and not less than its minimum. One that wants all
    /// has counted what is there before.
    fn met(&self, index: usize, number: BookRef, offered: Quantity, all: bool) -> Quantity {
        let Some(working) = self.desk.get(number) else { return Quantity::ZERO };
        let quantity = round_down_to_lot(offered.min(working.left()), self.places[index].listing.lot);
        let least = if all { Quantity::ZERO } else { self.config.minimum.min(working.left()) };
        if quantity < least { Quantity::ZERO } else { quantity }
    }

    fn fill(&mut self, at: Nanos, index: usize, number: BookRef, price: Price, quantity: Quantity, as_a: Liquidity) {
        if self.desk.fill(at.into(), number, price, quantity, as_a).is_zero() {
            self.leave(index, number);
        }
    }

    /// A counterparty meets our resting orders, oldest first, of one side or of both; returns what is left of it.
    fn meet(&mut self, at: Nanos, index: usize, side: Option<Side>, quantity: Quantity, price: Price) -> Quantity {
        let mut left = quantity;
        for number in self.places[index].resting.clone() {
            let order = self.desk.get(number).expect("what rests is open").order;
            if side.is_some_and(|side| side != order.side) || !within(order.side, order.price, price) {
                continue;
            }
            let met = self.met(index, number, left, false);
            if met.0 > 0 {
                left.0 -= met.0;
                self.fill(at, index, number, price, met, Liquidity::Maker);
            }
        }
        left
    }

    /// Draws when the next counterparty comes.
    fn expect_arrival(&mut self, index: usize, now: Nanos) {
        let Some(arrivals) = &self.config.arrivals else { return };
        let place = &mut self.places[index];
        let gap = arrivals.mean_gap_ns as f64 * place.draw.exponential();
        let at = now.plus((libm::round(gap) as u64).max(1));
        place.next = Some(at);
        self.coming.insert((at, index));
    }

    /// A counterparty comes. What it wants is drawn whether it can trade or not: history alone decides the draws.
    fn arrival(&mut self, at: Nanos, index: usize, lit: Lit<'_>) {
        self.coming.remove(&(at, index));
        self.places[index].next = None;
        // Nothing has been heard of the reference for long: the process begins again with its next event.
        if !self.is_fresh(&self.places[index], at) {
            return;
        }
        let Arrivals { median, sigma, adverse, patience_ns, .. } =
            *self.config.arrivals.as_ref().expect("what arrives was drawn");
        let place = &mut self.places[index];
        let (side, size) = (place.draw.uniform(), place.draw.normal());
        let lot = place.listing.lot;
        let quantity = libm::exp(sigma * size) * median.0 as f64;
        let quantity = round_down_to_lot(Quantity(quantity.min(1e18) as i64), lot).max(lot);
        self.expect_arrival(index, at);
        let Some(midpoint) = self.midpoint(index, at, lit) else { return };
        let buys = side < 0.5 * (1.0 + adverse * midpoint.imbalance);
        let side = if buys { Side::Buy } else { Side::Sell };
        let left = self.meet(at, index, Some(side.opposite()), quantity, midpoint.price);
        if patience_ns > 0 && left.0 > 0 {
            let waiting = &mut self.places[index].waiting;
            waiting.retain(|other| other.until > at);
            waiting.push(Waiting { side, left, until: at.plus(patience_ns) });
        }
    }

    fn is_fresh(&self, place: &Place, at: Nanos) -> bool {
        place.last.is_some_and(|last| at.since(last) <= self.config.max_age_ns)
    }

    /// Where the pool trades now, if it does.
    fn midpoint(&self, index: usize, at: Nanos, (venues, lit_of): Lit<'_>) -> Option<Midpoint> {
        let place = &self.places[index];
        let reference = place.listing.reference;
        if !self.is_fresh(place, at) {
            return None;
        }
        let best = venues[lit_of[reference.index()] as usize].best(at, reference)?;
        let [bid, ask] = best.price;
        if !bid.is_defined() || !ask.is_defined() || bid.0 <= 0 || bid >= ask {
            return None;
        }
        let sum = bid.0.checked_add(ask.0).filter(|sum| sum % 2 == 0)?;
        let price = Price((sum / 2).checked_add(best.shift)?);
        let [bids, asks] = best.quantity.map(Quantity::to_f64);
        let imbalance = if bids + asks > 0.0 { (bids - asks) / (bids + asks) } else { 0.0 };
        (price.0 > 0 && price.is_defined()).then_some(Midpoint { price, history: Price(sum / 2), imbalance })
    }
}

impl DarkListing {
    /// Why an order of this quantity and limit cannot be; without a limit it trades at any midpoint.
    fn refusal(&self, quantity: Quantity, limit: Price) -> Result<(), RejectReason> {
        if quantity.0 <= 0 || quantity.0 % self.lot.0 != 0 {
            return Err(RejectReason::BadQuantity);
        }
        if limit.is_defined() && (limit.0 <= 0 || limit.0 % self.tick.0 != 0) {
            return Err(RejectReason::BadPrice);
        }
        Ok(())
    }
}
