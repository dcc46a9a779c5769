//! Sessions that break at any moment, against a naive venue: messages in flight are lost, what the venue said is told
//! again from where we asked it to go on. No order is sent twice, no limit is passed by what the venue really works, and
//! once a session is settled we hold and work exactly what the venue says.

use std::collections::{BTreeMap, VecDeque};

use helios_book::Capacity;
use helios_engine::{Config, State, step};
use helios_execution::{CALLER_IDS, Style};
use helios_risk::{Feeds, Limits, Mode};
use helios_types::{
    CancelReason, Cash, Event, Input, Instrument, InstrumentId, Intent, IntentKind, Link, Liquidity, Market, Nanos,
    Order, OrderId, Output, Price, Quantity, RejectReason, Report, ReportKind, Rng, Side, StrategyId, Terms,
    TimeInForce, Update,
};
use proptest::prelude::*;

const KO: InstrumentId = InstrumentId(0);
const PEP: InstrumentId = InstrumentId(1);
const LIMIT: i64 = 100;
const SHARE: i64 = 100_000_000;

/// An order as the venue has it; quantities in shares.
#[derive(Clone, Copy, Debug)]
struct Resting {
    order: Order,
    total: i64,
    filled: i64,
    done: bool,
}

impl Resting {
    fn left(&self) -> i64 {
        if self.done { 0 } else { self.total - self.filled }
    }
}

/// A message to the venue; changes are numbered by whoever sends them, so that answers can be told apart.
#[derive(Clone, Copy, Debug)]
enum Message {
    Enter(Order),
    Cancel { change: u64, order: OrderId },
    Replace { change: u64, order: OrderId, total: i64, price: Price },
}

/// A report, and the change to which it answers.
#[derive(Clone, Copy, Debug)]
struct Said {
    report: Report,
    change: Option<u64>,
}

/// A venue with one session, and the station that speaks with it.
#[derive(Default)]
struct Venue {
    orders: BTreeMap<OrderId, Resting>,
    position: i64,
    executions: u64,
    /// All that it ever said on the session, in order.
    log: Vec<Said>,
    /// On their way to it.
    wire: VecDeque<Message>,
    /// What we have read of the log.
    read: usize,
    up: bool,
    settled: bool,
    /// Changes without an answer, by their numbers, and the order of each; and the last number.
    changes: BTreeMap<u64, OrderId>,
    last_change: u64,
    /// Orders sent of which no end is known to the station.
    sent: BTreeMap<OrderId, Order>,
}

impl Venue {
    fn say(&mut self, order: &Order, kind: ReportKind, change: Option<u64>) {
        let report = Report { order: order.id, instrument: order.instrument, ts_event: Nanos(0), kind };
        self.log.push(Said { report, change });
    }

    /// The next message arrives.
    fn receive(&mut self, rng: &mut Rng) {
        let Some(message) = self.wire.pop_front() else { return };
        match message {
            Message::Enter(order) => {
                let resting = Resting { order, total: order.quantity.0 / SHARE, filled: 0, done: false };
                assert!(self.orders.insert(order.id, resting).is_none(), "{order:?} was sent twice");
                if rng.below(12) == 0 {
                    self.orders.get_mut(&order.id).expect("it was put there").done = true;
                    return self.say(&order, ReportKind::Rejected { reason: RejectReason::NotTrading }, None);
                }
                self.say(&order, ReportKind::Accepted { book_ref: 1 }, None);
                if order.time_in_force == TimeInForce::Ioc {
                    self.trade(order.id, rng);
                    self.end(order.id, CancelReason::Unfilled, None);
                }
            }
            Message::Cancel { change, order } => {
                if self.orders.get(&order).is_some_and(|resting| !resting.done) {
                    self.end(order, CancelReason::Requested, Some(change));
                }
            }
            Message::Replace { change, order, total, price } => {
                let Some(resting) = self.orders.get_mut(&order).filter(|resting| !resting.done) else {
                    if let Some(resting) = self.orders.get(&order) {
                        let (order, reason) = (resting.order, RejectReason::UnknownOrder);
                        self.say(&order, ReportKind::ChangeRejected { reason }, Some(change));
                    }
                    return;
                };
                if total <= resting.filled {
                    return self.end(order, CancelReason::Requested, Some(change));
                }
                (resting.total, resting.order.price) = (total, price);
                let order = resting.order;
                self.say(&order, ReportKind::Replaced { quantity: Quantity::whole(total), price }, Some(change));
            }
        }
    }

    fn end(&mut self, id: OrderId, reason: CancelReason, change: Option<u64>) {
        let resting = self.orders.get_mut(&id).expect("an order that is here");
        if !resting.done {
            resting.done = true;
            let order = resting.order;
            self.say(&order, ReportKind::Cancelled { reason }, change);
        }
    }

    /// Some of an order trades, or all.
    fn trade(&mut self, id: OrderId, rng: &mut Rng) {
        let Some(resting) = self.orders.get_mut(&id).filter(|resting| resting.left() > 0) else { return };
        let quantity = 1 + rng.below(resting.left() as u64) as i64;
        resting.filled += quantity;
        resting.done = resting.filled == resting.total;
        self.position += resting.order.side.sign() * quantity;
        self.executions += 1;
        let order = resting.order;
        let (execution, price, liquidity) = (self.executions, Price::whole(50), Liquidity::Maker);
        let quantity = Quantity::whole(quantity);
        self.say(&order, ReportKind::Filled { execution, price, quantity, liquidity, fee: Cash::ZERO }, None);
    }

    /// What the engine says to it goes on the wire; it must not speak while the session does not let it.
    fn send(&mut self, output: &Output) {
        match *output {
            Output::Submit(order) => {
                assert!(self.settled, "a new order on a session that is not settled");
                assert!(self.sent.insert(order.id, order).is_none(), "{order:?} was sent twice");
                self.wire.push_back(Message::Enter(order));
            }
            Output::Cancel { order, .. } => {
                assert!(self.up, "a cancel on a session that is down");
                let change = self.change(order);
                self.wire.push_back(Message::Cancel { change, order });
            }
            Output::Replace { order, quantity, price, .. } => {
                assert!(self.settled, "a replace on a session that is not settled");
                let change = self.change(order);
                self.wire.push_back(Message::Replace { change, order, total: quantity.0 / SHARE, price });
            }
            Output::State(change) if change.to.is_done() => {
                self.sent.remove(&change.order);
                self.changes.retain(|_, order| *order != change.order);
            }
            _ => {}
        }
    }

    fn change(&mut self, order: OrderId) -> u64 {
        self.last_change += 1;
        self.changes.insert(self.last_change, order);
        self.last_change
    }

    /// The next report that we have not read, if the engine is to hear of it: what answers a change that has its answer
    /// was heard before.
    fn hear(&mut self) -> Option<Report> {
        while let Some(said) = self.log.get(self.read).copied() {
            self.read += 1;
            let change = said.change.map(|change| self.changes.remove(&change).is_some());
            let ends = matches!(said.report.kind, ReportKind::Cancelled { .. });
            if change.unwrap_or(true) || ends {
                return Some(said.report);
            }
        }
        None
    }

    /// What was said of an order, as far as we have read.
    fn mentions(&self, id: OrderId) -> bool {
        self.log[..self.read].iter().any(|said| said.report.order == id)
    }

    /// All that can still trade on one side, and what may yet arrive.
    fn open(&self, instrument: InstrumentId, side: Side) -> i64 {
        let mut total: BTreeMap<OrderId, i64> = BTreeMap::new();
        for resting in self.orders.values().filter(|r| (r.order.instrument, r.order.side) == (instrument, side)) {
            total.insert(resting.order.id, resting.left());
        }
        for message in &self.wire {
            match message {
                Message::Enter(order) if (order.instrument, order.side) == (instrument, side) => {
                    total.insert(order.id, order.quantity.0 / SHARE);
                }
                Message::Replace { order, total: asked, .. } => {
                    let filled = self.orders.get(order).map_or(0, |resting| resting.filled);
                    if let Some(left) = total.get_mut(order).filter(|left| **left > 0) {
                        *left = (*left).max(asked - filled);
                    }
                }
                _ => {}
            }
        }
        total.values().sum()
    }
}

struct World {
    state: State,
    venues: [Venue; 2],
    rng: Rng,
    now: Nanos,
    callers: u64,
    /// Furthest targets of the one strategy that wishes positions, and the last.
    targets: (i64, i64, i64),
    out: Vec<Output>,
}

impl World {
    fn new(seed: u64) -> Self {
        let (venues, rng) = ([Venue::default(), Venue::default()], Rng::new(seed));
        let state = Self::fresh();
        Self { state, venues, rng, now: Nanos(0), callers: 0, targets: (0, 0, 0), out: Vec::new() }
    }

    fn fresh() -> State {
        let instrument =
            |symbol: &str| Instrument { symbol: symbol.to_owned(), tick: Price(10_000_000), lot: Quantity::whole(1) };
        let config = Config {
            instruments: vec![instrument("KO"), instrument("PEP")],
            holds: Vec::new(),
            nodes: Vec::new(),
            series: Vec::new(),
            limits: Limits { position: Some(Quantity::whole(LIMIT)), ..Limits::default() },
            feeds: Feeds { without_price: Vec::new(), limit_prices: true },
            cash: Cash::whole(1_000_000),
            trade_from: Nanos(0),
            style: Style::Touch { ticks: 0 },
            capacity: Capacity { orders: 8, levels: 8 },
        };
        State::new(config).expect("a sound configuration").with_sessions(vec![0, 1])
    }

    fn input(&mut self, event: Event) {
        self.now = self.now.plus(self.rng.below(400_000_000));
        let input = Input { seq: self.state.next_seq(), ts: self.now, event };
        self.out.clear();
        step(&mut self.state, &input, &mut self.out);
        for output in &self.out {
            let instrument = match output {
                Output::Submit(order) => order.instrument,
                Output::Cancel { instrument, .. } | Output::Replace { instrument, .. } => *instrument,
                Output::State(change) => change.instrument,
                Output::Breach(breach) => panic!("{breach:?} after {event:?}"),
                Output::Quality(quality) => panic!("{quality:?} after {event:?}"),
                _ => continue,
            };
            self.venues[instrument.index()].send(output);
        }
        self.check();
    }

    /// By what the venue really has: no limit is passed, and netting never trades twice.
    fn check(&self) {
        for (venue, instrument) in self.venues.iter().zip([KO, PEP]) {
            let [buy, sell] = [Side::Buy, Side::Sell].map(|side| venue.open(instrument, side));
            let far = (venue.position + buy).max(sell - venue.position);
            assert!(far <= LIMIT, "{} {buy} {sell} is beyond the limit", venue.position);
        }
        let (lowest, highest, _) = self.targets;
        let venue = &self.venues[PEP.index()];
        let (least, most) = (venue.position - venue.open(PEP, Side::Sell), venue.position + venue.open(PEP, Side::Buy));
        assert!(lowest <= least && most <= highest, "{least}..{most} was never wished: {lowest}..{highest}");
        assert_eq!(self.state.risk().mode(), Mode::Normal);
    }

    fn quote(&mut self, instrument: InstrumentId) {
        let (bid, ask) = (Price(49_990_000_000), Price(50_010_000_000));
        let quantity = Quantity::whole(500);
        let update = Update::Quote { bid, bid_quantity: quantity, ask, ask_quantity: quantity };
        self.input(Event::Market(Market { instrument, ts_event: self.now, update }));
    }

    fn wish(&mut self) {
        let shares = 1 + self.rng.below(60) as i64;
        let side = if self.rng.below(2) == 0 { Side::Buy } else { Side::Sell };
        let (price, quantity) = (Price::whole(50), Quantity::whole(shares));
        let mine = OrderId(CALLER_IDS + self.rng.below(self.callers + 1));
        let (strategy, instrument, kind) = match self.rng.below(8) {
            0..3 => {
                let target = self.rng.below(161) as i64 - 80;
                self.targets = (self.targets.0.min(target), self.targets.1.max(target), target);
                (0, PEP, IntentKind::Target { position: Quantity::whole(target) })
            }
            3..5 => {
                self.callers += 1;
                let life = [TimeInForce::Day, TimeInForce::Ioc][self.rng.below(2) as usize];
                let (id, terms) = (OrderId(CALLER_IDS + self.callers), Terms::PLAIN);
                (1, KO, IntentKind::Order { id, side, quantity, price, time_in_force: life, terms })
            }
            5 => (1, KO, IntentKind::Cancel { order: mine }),
            6 => (
                1,
                KO,
                IntentKind::Replace { order: mine, quantity, price: Price(50_000_000_000 + shares * 10_000_000) },
            ),
            _ => {
                let price = Price(50_000_000_000 - side.sign() * (1 + self.rng.below(3) as i64) * 10_000_000);
                let quantity = Quantity::whole(self.rng.below(3) as i64 * 10);
                (2, KO, IntentKind::Quote { side, price, quantity, limit: Quantity::whole(40) })
            }
        };
        self.input(Event::Intent(Intent { strategy: StrategyId(strategy), instrument, kind }));
    }

    fn disconnect(&mut self, at: usize) {
        // What was on the wire arrives up to a point, in order; the rest is lost. The venue may cancel what rests.
        for _ in 0..self.rng.below(self.venues[at].wire.len() as u64 + 1) {
            self.venues[at].receive(&mut self.rng);
        }
        let venue = &mut self.venues[at];
        venue.wire.clear();
        (venue.up, venue.settled) = (false, false);
        if self.rng.below(2) == 0 {
            let ids: Vec<OrderId> = venue.orders.keys().copied().collect();
            ids.into_iter().for_each(|id| venue.end(id, CancelReason::Expired, None));
        }
        self.input(Event::Link(Link::Down { session: at as u32 }));
    }

    fn connect(&mut self, at: usize) {
        let venue = &mut self.venues[at];
        venue.up = true;
        // From where we asked, or from the beginning of the day.
        let next = self.state.links().session(at as u32).next as usize;
        venue.read = if self.rng.below(4) == 0 { 0 } else { next };
        self.input(Event::Link(Link::Up { session: at as u32 }));
    }

    fn deliver(&mut self, at: usize, most: u64) {
        for _ in 0..most {
            let Some(report) = self.venues[at].hear() else { break };
            self.input(Event::Report(report));
        }
        if self.rng.below(2) == 0 {
            let next = self.venues[at].read as u64;
            self.input(Event::Link(Link::Heard { session: at as u32, name: 1, next }));
        }
    }

    /// All was told: what the venue never mentioned never arrived.
    fn settle(&mut self, at: usize) {
        while self.venues[at].receive_all(&mut self.rng) || self.venues[at].read < self.venues[at].log.len() {
            self.deliver(at, u64::MAX);
        }
        let reason = RejectReason::NeverArrived;
        let sent: Vec<Order> = self.venues[at].sent.values().copied().collect();
        for order in sent {
            if !self.venues[at].mentions(order.id) {
                self.report(&order, ReportKind::Rejected { reason });
            }
        }
        let changes: Vec<(u64, OrderId)> = self.venues[at].changes.iter().map(|(n, order)| (*n, *order)).collect();
        for (number, id) in changes {
            let venue = &mut self.venues[at];
            if venue.changes.remove(&number).is_some() {
                let order = venue.sent[&id];
                self.report(&order, ReportKind::ChangeRejected { reason });
            }
        }
        self.venues[at].settled = true;
        // Before new orders go out: the same orders, the same room, the same position.
        let instrument = InstrumentId(at as u32);
        let (venue, risk) = (&self.venues[at], self.state.risk());
        assert_eq!(risk.position(instrument).quantity.0, venue.position * SHARE);
        for side in [Side::Buy, Side::Sell] {
            assert_eq!(risk.working(instrument, side).0, venue.open(instrument, side) * SHARE, "{side:?}");
        }
        self.input(Event::Link(Link::Settled { session: at as u32 }));
    }

    fn report(&mut self, order: &Order, kind: ReportKind) {
        let report = Report { order: order.id, instrument: order.instrument, ts_event: self.now, kind };
        self.input(Event::Report(report));
    }

    fn act(&mut self) {
        let at = self.rng.below(2) as usize;
        match self.rng.below(21) {
            0..6 => self.wish(),
            6..8 => self.quote(InstrumentId(at as u32)),
            8..11 => self.venues[at].receive(&mut self.rng),
            11..13 => {
                let ids: Vec<OrderId> = self.venues[at].orders.keys().copied().collect();
                if !ids.is_empty() {
                    let id = ids[self.rng.below(ids.len() as u64) as usize];
                    self.venues[at].trade(id, &mut self.rng);
                }
            }
            13..17 if self.venues[at].up => {
                let most = self.rng.below(4);
                self.deliver(at, most);
            }
            17 if self.venues[at].up => self.disconnect(at),
            18 if !self.venues[at].up => self.connect(at),
            19 if self.venues[at].up && !self.venues[at].settled => self.settle(at),
            // Killed, and begun again from a snapshot: nobody can tell.
            20 => {
                let snapshot = self.state.snapshot();
                self.state = Self::fresh().restore(&snapshot).expect("it was written a moment ago");
            }
            _ => {}
        }
    }
}

impl Venue {
    /// Everything on the wire arrives; true when there was something.
    fn receive_all(&mut self, rng: &mut Rng) -> bool {
        let some = !self.wire.is_empty();
        while !self.wire.is_empty() {
            self.receive(rng);
        }
        some
    }
}

/// A life with many losses; how many reports were repeated, and how many orders were lost.
fn live(seed: u64) -> (u64, u64) {
    let mut world = World::new(seed);
    for at in 0..2 {
        world.input(Event::Link(Link::Down { session: at }));
    }
    for _ in 0..300 {
        world.act();
    }
    // At the end the venue is there and willing: what is wished is held, nothing waits.
    for at in 0..2 {
        if !world.venues[at].up {
            world.connect(at);
        }
        world.settle(at);
    }
    for _ in 0..200 {
        world.now = world.now.plus(2_000_000_000);
        world.quote(PEP);
        for at in 0..2 {
            world.venues[at].receive_all(&mut world.rng);
            world.deliver(at, u64::MAX);
        }
    }
    assert_eq!(world.venues[PEP.index()].position, world.targets.2, "what was wished is held in the end");
    assert!(world.state.unanswered(0).is_empty(), "{:?}", world.state.unanswered(0));
    for (venue, instrument) in world.venues.iter().zip([KO, PEP]) {
        assert_eq!(world.state.risk().position(instrument).quantity.0, venue.position * SHARE);
        let open = venue.orders.values().filter(|resting| !resting.done && resting.order.instrument == instrument);
        assert_eq!(open.count(), venue.sent.len());
    }
    let counts = world.state.orders().counts();
    assert_eq!(counts.unbooked, 0);
    (counts.repeated, counts.lost)
}

#[test]
fn the_histories_below_have_losses_and_repetitions() {
    let (repeated, lost) = (0..30).map(live).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(repeated > 100 && lost > 20, "{repeated} reports repeated, {lost} orders lost");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn broken_sessions_lose_nothing_and_send_nothing_twice(seed in any::<u64>()) {
        live(seed);
    }
}
