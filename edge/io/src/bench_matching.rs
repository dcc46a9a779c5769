//! The matching engine under load, for `helios bench matching`: what is timed is commands in, events out.

use std::time::Instant;

use helios_book::Capacity;
use helios_types::{BookRef, InstrumentId, Price, Quantity, Rng, Side, Terms, TimeInForce};
use helios_venue::matching::{Amend, Command, Event, Events, MatchingEngine, NewOrder};

const CENT: i64 = 10_000_000;

/// What a pass of commands through the matching engine measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MatchingTimes {
    /// Commands timed, and of which kind.
    pub commands: u64,
    /// New orders that rest, as far as their sender could know.
    pub adds: u64,
    /// Cancels.
    pub cancels: u64,
    /// New orders that trade at once.
    pub takes: u64,
    /// Changes: half of them to a smaller size, half to another price.
    pub amends: u64,
    /// Seconds for all of them.
    pub seconds: f64,
    /// Events that came out.
    pub events: u64,
    /// Trades among them.
    pub trades: u64,
    /// Refusals among them.
    pub rejected: u64,
    /// Orders resting at the end.
    pub resting: usize,
}

/// Commands for the matching engine, made beforehand with the help of an engine of their own, so that cancels name
/// orders that rest.
pub struct MatchingFlow {
    instruments: usize,
    /// Fill the books; not timed.
    opening: Vec<Command>,
    timed: Vec<Command>,
    /// The most orders that rest at once.
    most: BookRef,
    times: MatchingTimes,
}

/// Orders that rest once the mixed flow's books are full.
const RESTING: usize = 10_000;
const MIXED_INSTRUMENTS: u64 = 100;
const BOOKS: Capacity = Capacity { orders: 1 << 22, levels: 1 << 16 };

impl MatchingFlow {
    /// 45 % adds near the best price, 40 % cancels of any resting order, 10 % orders that take at the best price (one in
    /// two immediate-or-cancel), 5 % changes; 100 instruments, 10,000 orders resting.
    pub fn mixed(commands: u64) -> Self {
        Self::mixed_over(FlowMaker::new(MIXED_INSTRUMENTS as usize), commands)
    }

    /// The mixed flow where a hidden order rests in every instrument, so that none is plain: all orders take the long way.
    pub fn guarded(commands: u64) -> Self {
        let mut maker = FlowMaker::new(MIXED_INSTRUMENTS as usize);
        let terms = Terms { display: Quantity::ZERO, ..Terms::PLAIN };
        for instrument in (0..MIXED_INSTRUMENTS as u32).map(InstrumentId) {
            let far = NewOrder::limit(instrument, 0, Side::Sell, Price::whole(1_000), Quantity::whole(1));
            maker.send(NewOrder { terms, ..far });
        }
        Self::mixed_over(maker, commands)
    }

    fn mixed_over(mut maker: FlowMaker, commands: u64) -> Self {
        while maker.live.len() < RESTING {
            maker.add();
        }
        let opening = std::mem::take(&mut maker.made);
        let mut times = MatchingTimes { commands, ..MatchingTimes::default() };
        for _ in 0..commands {
            match maker.rng.below(100) {
                0..45 => (maker.add(), times.adds += 1),
                45..85 => (maker.cancel(), times.cancels += 1),
                85..95 => (maker.take(), times.takes += 1),
                _ => (maker.amend(), times.amends += 1),
            };
        }
        Self { instruments: MIXED_INSTRUMENTS as usize, opening, timed: maker.made, most: maker.most, times }
    }

    /// Nothing but new orders in one book, with the prices and sizes of Liquibook's own performance test: buys and sells
    /// take turns, buys at 1880 to 1889 and sells at 1884 to 1893, 100 to 1,000 shares. About half of them trade.
    pub fn submits(commands: u64) -> Self {
        let mut maker = FlowMaker::new(1);
        for at in 0..commands {
            let (side, low) = if at % 2 == 0 { (Side::Sell, 1884) } else { (Side::Buy, 1880) };
            let price = Price::whole(low + maker.rng.below(10) as i64);
            let quantity = Quantity::whole(100 * (1 + maker.rng.below(10) as i64));
            maker.send(NewOrder::limit(InstrumentId(0), 0, side, price, quantity));
        }
        let times = MatchingTimes { commands, adds: commands, ..MatchingTimes::default() };
        Self { instruments: 1, opening: Vec::new(), timed: maker.made, most: maker.most, times }
    }

    /// Runs all commands once, over tables that have held as many orders before, as an exchange's have before the day.
    /// Commands come in batches of 64 as from a queue; every event is looked at.
    pub fn run(&self) -> MatchingTimes {
        let mut out = Vec::with_capacity(1 << 12);
        let mut engine = self.warm(&mut out);
        self.opening.iter().for_each(|command| engine.apply(command, &mut out));
        out.clear();
        let mut times = self.times;
        let begun = Instant::now();
        for batch in self.timed.chunks(64) {
            for (at, command) in batch.iter().enumerate() {
                if let Some(coming) = batch.get(at + 8) {
                    engine.look_far_ahead(coming);
                }
                if let Some(coming) = batch.get(at + 4) {
                    engine.look_ahead(coming);
                }
                engine.apply(command, &mut out);
            }
            times.events += out.len() as u64;
            for event in &out {
                times.trades += u64::from(matches!(event, Event::Traded { .. }));
                times.rejected += u64::from(matches!(event, Event::Rejected { .. }));
            }
            out.clear();
        }
        times.seconds = begun.elapsed().as_secs_f64();
        times.resting = engine.books().len();
        times
    }

    /// An engine that once held the most orders of the run, and holds none. They go in the reverse of their order, so that
    /// free slots are used in order again.
    fn warm(&self, out: &mut Events) -> MatchingEngine {
        let mut engine = MatchingEngine::new(self.instruments, BOOKS);
        let (instrument, lot) = (InstrumentId(0), Quantity::whole(1));
        for order in 0..self.most {
            engine.submit(&NewOrder::limit(instrument, order, Side::Buy, Price(CENT), lot), out);
            out.clear();
        }
        for order in (0..self.most).rev() {
            engine.cancel(instrument, order, out);
            out.clear();
        }
        engine
    }
}

/// Makes the commands, and knows what rests.
struct FlowMaker {
    engine: MatchingEngine,
    rng: Rng,
    made: Vec<Command>,
    /// Orders that may rest; those that have gone are found when they are picked.
    live: Vec<(InstrumentId, BookRef)>,
    last: BookRef,
    most: BookRef,
    events: Events,
}

impl FlowMaker {
    fn new(instruments: usize) -> Self {
        let engine = MatchingEngine::new(instruments, BOOKS);
        Self { engine, rng: Rng::new(7), made: Vec::new(), live: Vec::new(), last: 0, most: 0, events: Vec::new() }
    }

    fn apply(&mut self, command: Command) {
        self.events.clear();
        self.engine.apply(&command, &mut self.events);
        self.made.push(command);
        self.most = self.most.max(self.engine.books().len() as BookRef);
    }

    fn send(&mut self, order: NewOrder) {
        self.last += 1;
        self.apply(Command::Submit(NewOrder { order: self.last, ..order }));
        if self.engine.books().order(self.last).is_some() {
            self.live.push((order.instrument, self.last));
        }
    }

    fn instrument_and_side(&mut self) -> (InstrumentId, Side) {
        let side = if self.rng.below(2) == 0 { Side::Buy } else { Side::Sell };
        (InstrumentId(self.rng.below(self.engine.books().instruments() as u64) as u32), side)
    }

    /// A price that rests: at the best price or up to some cents behind it, half as often with each cent; sometimes
    /// better, where there is room.
    fn passive(&mut self, instrument: InstrumentId, side: Side) -> Price {
        let books = self.engine.books();
        let (near, far) = (books.best(instrument, side).price, books.best(instrument, side.opposite()).price);
        let middle = Price::whole(100);
        let near = if near.is_defined() { near } else { Price(middle.0 - side.sign() * CENT) };
        let behind = i64::from(self.rng.next_u64().trailing_zeros().min(8)) - 1;
        let price = Price(near.0 - side.sign() * behind * CENT);
        let crosses = far.is_defined() && (far.0 - price.0) * side.sign() <= 0;
        if crosses { near } else { price }
    }

    fn add(&mut self) {
        let (instrument, side) = self.instrument_and_side();
        let price = self.passive(instrument, side);
        let quantity = Quantity::whole(100 * (1 + self.rng.below(5) as i64));
        self.send(NewOrder::limit(instrument, 0, side, price, quantity));
    }

    /// An order that rests, taken from the list; another one comes in its place if it has gone.
    fn pick(&mut self) -> (InstrumentId, BookRef) {
        loop {
            let at = self.rng.below(self.live.len() as u64) as usize;
            let (instrument, order) = self.live.swap_remove(at);
            if self.engine.books().order(order).is_some() {
                return (instrument, order);
            }
        }
    }

    fn cancel(&mut self) {
        let (instrument, order) = self.pick();
        self.apply(Command::Cancel { instrument, order });
    }

    /// Takes at the best price; larger when more rests than should, so that the books stay as full as they are.
    fn take(&mut self) {
        let (instrument, side) = self.instrument_and_side();
        let best = self.engine.books().best(instrument, side.opposite()).price;
        let price = if best.is_defined() { best } else { Price::whole(100) };
        let lots = if self.engine.books().len() > RESTING { 4 } else { 1 };
        let quantity = Quantity::whole(100 * lots);
        let time_in_force = if self.rng.below(2) == 0 { TimeInForce::Ioc } else { TimeInForce::Day };
        let limit = NewOrder::limit(instrument, 0, side, price, quantity);
        self.send(NewOrder { time_in_force, ..limit });
    }

    fn amend(&mut self) {
        let (instrument, order) = self.pick();
        let working = self.engine.order(order).expect("it was just seen");
        let smaller = self.rng.below(2) == 0 && working.open.0 > 1;
        let (price, left) = match smaller {
            true => (working.price, Quantity(working.open.0 / 2)),
            false => (self.passive(instrument, working.side), working.open),
        };
        let quantity = Quantity(working.filled.0 + left.0);
        self.apply(Command::Amend(Amend { instrument, order, new_order: order, price, quantity, display: None }));
        self.live.push((instrument, order));
    }
}
