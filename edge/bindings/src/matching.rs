//! The matching engine for Python: commands with integers at their scales, events as tuples.

use helios_book::Capacity;
use helios_io::MatchingFlow;
use helios_types::{InstrumentId, Price, Quantity, RejectReason, Side, Terms, TimeInForce};
use helios_venue::SelfTrade;
use helios_venue::matching::{
    self, Allocation, Amend, AuctionKind, Bands, Beyond, Event, NewOrder, Phase, Place, Rules,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::refuse;

/// Maximums of each table of an engine made from Python.
const CAPACITY: Capacity = Capacity { orders: 1 << 22, levels: 1 << 20 };

/// A word as Python writes it.
fn snake(word: impl std::fmt::Debug) -> String {
    let mut text = String::new();
    for letter in format!("{word:?}").chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// The value that Python calls `name`.
pub(crate) fn named<T: Copy + std::fmt::Debug>(what: &str, name: &str, all: &[T]) -> PyResult<T> {
    all.iter().copied().find(|value| snake(value) == name).ok_or_else(|| {
        let names: Vec<String> = all.iter().map(snake).collect();
        refuse("matching", format!("{what} {name:?} is none of {}", names.join(", ")))
    })
}

const SIDES: [Side; 2] = [Side::Buy, Side::Sell];
const TIMES: [TimeInForce; 5] =
    [TimeInForce::Day, TimeInForce::Ioc, TimeInForce::Fok, TimeInForce::Open, TimeInForce::Close];
const SELF_TRADES: [SelfTrade; 4] =
    [SelfTrade::CancelNewest, SelfTrade::CancelOldest, SelfTrade::CancelBoth, SelfTrade::Decrement];
const PHASES: [Phase; 5] = [Phase::Closed, Phase::PreOpen, Phase::Auction, Phase::Continuous, Phase::Halted];
const KINDS: [AuctionKind; 3] = [AuctionKind::Open, AuctionKind::Close, AuctionKind::Reopen];
const BEYOND: [Beyond; 3] = [Beyond::Reject, Beyond::Cancel, Beyond::Rest];

/// Self-trade prevention; `allow` is none.
pub(crate) fn self_trade_of(name: &str) -> PyResult<Option<SelfTrade>> {
    if name == "allow" { Ok(None) } else { named("self_trade", name, &SELF_TRADES).map(Some) }
}

/// Price, paired, imbalance, side.
type Quoted = (Option<i64>, i64, i64, Option<String>);

fn quoted(indicative: &matching::Indicative) -> Quoted {
    let matching::Indicative { price, paired, imbalance, side } = *indicative;
    (limit(price), paired.0, imbalance.0, side.map(snake))
}

fn limit(price: Price) -> Option<i64> {
    price.is_defined().then_some(price.0)
}

fn price_of(price: Option<i64>) -> Price {
    price.map_or(Price::UNDEFINED, Price)
}

/// `(kind, instrument, …)`: the fields of the event in the order of its Python class.
fn tuple<'py>(py: Python<'py>, event: &Event) -> PyResult<Bound<'py, PyTuple>> {
    match *event {
        Event::Accepted { instrument, order, side, price, quantity } => {
            ("accepted", instrument.0, order, snake(side), limit(price), quantity.0).into_pyobject(py)
        }
        Event::Rejected { instrument, order, request, reason } => {
            ("rejected", instrument.0, order, snake(request), snake(reason)).into_pyobject(py)
        }
        Event::Traded { instrument, side, incoming, resting, price, quantity, resting_left } => {
            ("traded", instrument.0, incoming, resting, snake(side), price.0, quantity.0, resting_left.0)
                .into_pyobject(py)
        }
        Event::Cancelled { instrument, order, quantity, left, reason } => {
            ("cancelled", instrument.0, order, quantity.0, left.0, snake(reason)).into_pyobject(py)
        }
        Event::Amended { instrument, order, new_order, price, quantity, kept } => {
            ("amended", instrument.0, order, new_order, limit(price), quantity.0, kept).into_pyobject(py)
        }
        Event::Refreshed { instrument, order, quantity } => {
            ("refreshed", instrument.0, order, quantity.0).into_pyobject(py)
        }
        Event::Triggered { instrument, order } => ("triggered", instrument.0, order).into_pyobject(py),
        Event::Indicative { instrument, kind, ref indicative } => {
            let (price, paired, imbalance, side) = quoted(indicative);
            ("indicative", instrument.0, snake(kind), price, paired, imbalance, side).into_pyobject(py)
        }
        Event::Auctioned { instrument, kind, ref indicative } => {
            let (price, paired, imbalance, side) = quoted(indicative);
            ("auctioned", instrument.0, snake(kind), price, paired, imbalance, side).into_pyobject(py)
        }
        Event::AuctionTraded { instrument, buy, sell, price, quantity } => {
            ("auction_traded", instrument.0, buy, sell, price.0, quantity.0).into_pyobject(py)
        }
        Event::Phase { instrument, phase } => ("phase", instrument.0, snake(phase)).into_pyobject(py),
    }
}

type Answers<'py> = PyResult<Vec<Bound<'py, PyTuple>>>;

/// The matching engine of a venue.
#[pyclass(module = "helios._core")]
pub(crate) struct MatchingEngine {
    engine: matching::MatchingEngine,
    out: matching::Events,
}

impl MatchingEngine {
    fn answer<'py>(&mut self, py: Python<'py>) -> Answers<'py> {
        self.out.drain(..).map(|event| tuple(py, &event)).collect()
    }

    fn settled(&self, what: &str, done: Result<(), RejectReason>) -> PyResult<()> {
        done.map_err(|reason| refuse("matching", format!("{what} was refused: {}", snake(reason))))
    }
}

#[pymethods]
impl MatchingEngine {
    #[new]
    fn new(instruments: usize) -> Self {
        Self { engine: matching::MatchingEngine::new(instruments, CAPACITY), out: Vec::new() }
    }

    /// `bands`: reference or None, static and dynamic half-width in parts per million, and what happens beyond.
    fn set_rules(
        &mut self,
        instrument: u32,
        pro_rata: bool,
        top_first: bool,
        tick: i64,
        lot: i64,
        bands: Option<(Option<i64>, u32, u32, String)>,
    ) -> PyResult<()> {
        let bands = match bands {
            None => None,
            Some((reference, static_ppm, dynamic_ppm, beyond)) => {
                let beyond = named("beyond", &beyond, &BEYOND)?;
                Some(Bands { reference: price_of(reference), static_ppm, dynamic_ppm, beyond })
            }
        };
        let allocation = if pro_rata { Allocation::ProRata { top_first } } else { Allocation::PriceTime };
        let rules = Rules { allocation, tick: Price(tick), lot: Quantity(lot), bands };
        let done = self.engine.set_rules(InstrumentId(instrument), rules);
        self.settled("the rules", done)
    }

    fn set_last(&mut self, instrument: u32, price: i64) -> PyResult<()> {
        let done = self.engine.set_last(InstrumentId(instrument), Price(price));
        self.settled("the last price", done)
    }

    /// A price of None is a market order; a display of None shows all, of 0 nothing.
    #[allow(clippy::too_many_arguments)]
    fn submit<'py>(
        &mut self,
        py: Python<'py>,
        instrument: u32,
        order: u64,
        side: &str,
        quantity: i64,
        price: Option<i64>,
        time_in_force: &str,
        post_only: bool,
        midpoint: bool,
        display: Option<i64>,
        stop: Option<i64>,
        firm: u32,
        self_trade: &str,
    ) -> Answers<'py> {
        let terms = Terms { post_only, midpoint, display: display.map_or(Terms::ALL, Quantity), stop: price_of(stop) };
        let new = NewOrder {
            instrument: InstrumentId(instrument),
            order,
            side: named("side", side, &SIDES)?,
            price: price_of(price),
            quantity: Quantity(quantity),
            time_in_force: named("time in force", time_in_force, &TIMES)?,
            terms,
            firm,
            self_trade: self_trade_of(self_trade)?,
        };
        self.engine.submit(&new, &mut self.out);
        self.answer(py)
    }

    fn cancel<'py>(&mut self, py: Python<'py>, instrument: u32, order: u64) -> Answers<'py> {
        self.engine.cancel(InstrumentId(instrument), order, &mut self.out);
        self.answer(py)
    }

    #[allow(clippy::too_many_arguments)]
    fn amend<'py>(
        &mut self,
        py: Python<'py>,
        instrument: u32,
        order: u64,
        new_order: u64,
        price: Option<i64>,
        quantity: i64,
        display: Option<i64>,
    ) -> Answers<'py> {
        let (instrument, price, quantity) = (InstrumentId(instrument), price_of(price), Quantity(quantity));
        let amend = Amend { instrument, order, new_order, price, quantity, display: display.map(Quantity) };
        self.engine.amend(&amend, &mut self.out);
        self.answer(py)
    }

    fn set_phase<'py>(&mut self, py: Python<'py>, instrument: u32, phase: &str) -> Answers<'py> {
        let phase = named("phase", phase, &PHASES)?;
        self.engine.set_phase(InstrumentId(instrument), phase, &mut self.out);
        self.answer(py)
    }

    fn uncross<'py>(&mut self, py: Python<'py>, instrument: u32, kind: &str) -> Answers<'py> {
        let kind = named("auction", kind, &KINDS)?;
        self.engine.uncross(InstrumentId(instrument), kind, &mut self.out);
        self.answer(py)
    }

    fn indicate<'py>(&mut self, py: Python<'py>, instrument: u32, kind: &str) -> Answers<'py> {
        let kind = named("auction", kind, &KINDS)?;
        self.engine.indicate(InstrumentId(instrument), kind, &mut self.out);
        self.answer(py)
    }

    fn phase(&self, instrument: u32) -> Option<String> {
        self.engine.phase(InstrumentId(instrument)).map(snake)
    }

    fn last(&self, instrument: u32) -> Option<i64> {
        limit(self.engine.last(InstrumentId(instrument)))
    }

    /// Levels of the displayed book, best first: (price, quantity, orders).
    fn depth(&self, instrument: u32, side: &str, levels: usize) -> PyResult<Vec<(i64, i64, u32)>> {
        let depth = self.engine.books().depth(InstrumentId(instrument), named("side", side, &SIDES)?);
        Ok(depth.take(levels).map(|level| (level.price.0, level.quantity.0, level.orders)).collect())
    }

    /// (place, instrument, side, price, open, shown, filled), or None.
    #[allow(clippy::type_complexity)]
    fn order(&self, order: u64) -> Option<(String, u32, String, Option<i64>, i64, i64, i64)> {
        let working = self.engine.order(order)?;
        let matching::Working { place, instrument, side, price, open, shown, filled, .. } = working;
        Some((snake(place), instrument.0, snake(side), limit(price), open.0, shown.0, filled.0))
    }

    /// Numbers of one place in the order in which they would be met.
    fn queue(&self, instrument: u32, side: &str, place: &str) -> PyResult<Vec<u64>> {
        let (side, place) = (named("side", side, &SIDES)?, named("place", place, &Place::ALL)?);
        Ok(self.engine.queue(InstrumentId(instrument), side, place).iter().map(|working| working.order).collect())
    }
}

/// Passes of one flow ("mixed", "guarded" or "submits") through the matching engine.
#[pyfunction]
pub(crate) fn bench_matching<'py>(
    py: Python<'py>,
    flow: &str,
    commands: u64,
    passes: usize,
) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let make = match flow {
        "mixed" => MatchingFlow::mixed,
        "guarded" => MatchingFlow::guarded,
        "submits" => MatchingFlow::submits,
        _ => return Err(refuse("matching", format!("flow {flow:?} is none of mixed, guarded, submits"))),
    };
    let all = py.detach(|| {
        let flow = make(commands);
        (0..passes).map(|_| flow.run()).collect::<Vec<_>>()
    });
    let dict = |times: &helios_io::MatchingTimes| {
        let dict = PyDict::new(py);
        dict.set_item("commands", times.commands)?;
        dict.set_item("adds", times.adds)?;
        dict.set_item("cancels", times.cancels)?;
        dict.set_item("takes", times.takes)?;
        dict.set_item("amends", times.amends)?;
        dict.set_item("seconds", times.seconds)?;
        dict.set_item("events", times.events)?;
        dict.set_item("trades", times.trades)?;
        dict.set_item("rejected", times.rejected)?;
        dict.set_item("resting", times.resting)?;
        Ok(dict)
    };
    all.iter().map(dict).collect()
}
