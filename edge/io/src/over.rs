//! A graph over history without a run: no orders, no venue, no journal. The values of some of its nodes, as columns.

use helios_book::Capacity;
use helios_data::{Markets, Touched};
use helios_signals::{Fired, Graph, NodeId, Sheet};
use helios_types::{InstrumentId, Market, Nanos, Update};

use crate::pages::room;
use crate::source::{BLANK, Source, SourceError};

/// Rows at a time: the columns of a small graph then stay in the nearest caches.
const CHUNK: usize = 2_048;

/// Which events make a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// All of them.
    Events,
    /// Those at which one of the outputs fired.
    Changes,
}

/// What came out: one row an event.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Time of each row, ns since 1970 UTC.
    pub ts: Vec<i64>,
    /// Instrument of each row.
    pub instrument: Vec<u32>,
    /// The outputs' values after the event; NaN for null.
    pub values: Vec<Vec<f64>>,
    /// Events that the market data rules refused; they are rows like others, at which nothing fired.
    pub refused: u64,
}

/// One output: its values, NaN for null, and beside them a bit for each that is none, as Arrow has it.
#[derive(Clone, Debug)]
pub struct Nullable {
    /// NaN for null.
    pub values: Vec<f64>,
    /// The lowest bit first.
    pub valid: Vec<u8>,
    /// How many are null.
    pub nulls: usize,
}

impl Nullable {
    fn with_room(rows: usize) -> Self {
        Self { values: room(rows), valid: Vec::with_capacity(rows.div_ceil(8)), nulls: 0 }
    }

    /// What lies in memory already as an output.
    pub fn of(values: Vec<f64>) -> Self {
        let mut output = Self { valid: Vec::with_capacity(values.len().div_ceil(8)), values, nulls: 0 };
        output.mark(0);
        output
    }

    /// Adds rows; all but the last time their number is a multiple of eight.
    fn extend(&mut self, rows: &[f64]) {
        let from = self.values.len();
        self.values.extend_from_slice(rows);
        self.mark(from);
    }

    /// Marks what is null from a row on that begins a byte.
    fn mark(&mut self, from: usize) {
        debug_assert!(from.is_multiple_of(8));
        let rows = &self.values[from..];
        // Nearly always all are there, and to look at all at once is quicker.
        if rows.len().is_multiple_of(8) && !rows.iter().fold(false, |any, x| any | x.is_nan()) {
            self.valid.resize(self.valid.len() + rows.len() / 8, u8::MAX);
            return;
        }
        for eight in self.values[from..].chunks(8) {
            let byte = eight.iter().rev().fold(0u8, |byte, x| byte << 1 | u8::from(!x.is_nan()));
            self.nulls += eight.len() - byte.count_ones() as usize;
            self.valid.push(byte);
        }
    }
}

/// Series from outside the market, all given at the same moments: node by node, many rows at a time.
///
/// `columns` are the values of the series 0, 1, 2, …, NaN for null where `nullable` says so. `Err` is the first row at
/// which time goes back or a value is no number.
pub fn over_series(
    graph: &mut Graph,
    ts: &[Nanos],
    columns: &[&[f64]],
    nullable: &[bool],
    outputs: &[NodeId],
) -> Result<Vec<Nullable>, usize> {
    const { assert!(CHUNK.is_multiple_of(8)) };
    let mut sheet = Sheet::new(graph, outputs);
    let mut answers: Vec<Nullable> = outputs.iter().map(|_| Nullable::with_room(ts.len())).collect();
    let series: Vec<(NodeId, u32)> = graph.series().collect();
    for (number, stamps) in ts.chunks(CHUNK).enumerate() {
        let from = number * CHUNK;
        // With the row before, which the chunk must not go back behind.
        let rows = &ts[from.saturating_sub(1)..from + stamps.len()];
        if !rows.is_sorted() {
            let at = rows.windows(2).position(|pair| pair[0] > pair[1]).unwrap_or(0);
            return Err(from.saturating_sub(1) + at + 1);
        }
        for (node, number) in &series {
            let given = &columns[*number as usize][from..from + stamps.len()];
            let may_be_null = nullable[*number as usize];
            let column = sheet.column(*node);
            column.values.resize(given.len(), f64::NAN);
            // One pass, without a decision in it; if something was wrong another one finds it.
            let (mut infinite, mut missing) = (false, false);
            for (place, x) in column.values.iter_mut().zip(given) {
                *place = *x;
                infinite |= x.is_infinite();
                missing |= x.is_nan();
            }
            if infinite | (missing & !may_be_null) {
                let unsound = |x: &f64| x.is_infinite() || (x.is_nan() && !may_be_null);
                return Err(from + given.iter().position(unsound).unwrap_or(0));
            }
            column.fired = Fired::Always;
        }
        graph.columns(stamps, &mut sheet);
        for (output, answer) in outputs.iter().zip(&mut answers) {
            answer.extend(&sheet.column(*output).values);
        }
    }
    Ok(answers)
}

/// Market events from any source: one event at a time, or, when the graph looks at one instrument only, node by node.
pub fn over_source(
    graph: &mut Graph,
    source: &mut dyn Source,
    instruments: usize,
    outputs: &[NodeId],
    rows: Rows,
    capacity: Capacity,
) -> Result<Answer, SourceError> {
    let mut walk = Walk::new(graph, instruments, outputs, rows, capacity);
    let by_node = rows == Rows::Events && looks_at_one(graph);
    let mut market = BLANK;
    while source.next(&mut market)? {
        let (ts, touched) = walk.hear(&market);
        // The values of one row of a table are one event.
        let is_part = matches!(market.update, Update::Value(_)) && !graph.completes(market.instrument.0);
        if by_node && is_part {
            continue;
        }
        if by_node {
            walk.gather(graph, ts, market.instrument, touched);
        } else {
            walk.event(graph, ts, &market, touched, is_part);
        }
    }
    walk.flush(graph);
    Ok(walk.answer)
}

/// Columns pay when most events reach most nodes.
fn looks_at_one(graph: &Graph) -> bool {
    let mut instruments = graph.sources().map(|(_, instrument, _)| instrument);
    let first = instruments.next();
    first.is_some() && instruments.all(|other| Some(other) == first) && graph.series().next().is_none()
}

/// The state of a walk through history.
struct Walk<'a> {
    markets: Markets,
    outputs: &'a [NodeId],
    rows: Rows,
    answer: Answer,
    now: Nanos,
    sheet: Sheet,
    sources: Vec<(NodeId, InstrumentId, helios_signals::Field)>,
    stamps: Vec<Nanos>,
    fired: Vec<Vec<bool>>,
}

impl<'a> Walk<'a> {
    fn new(graph: &Graph, instruments: usize, outputs: &'a [NodeId], rows: Rows, capacity: Capacity) -> Self {
        let sources: Vec<_> = graph.sources().collect();
        Self {
            markets: Markets::new(instruments, capacity),
            outputs,
            rows,
            answer: Answer { values: vec![Vec::new(); outputs.len()], ..Answer::default() },
            now: Nanos(0),
            sheet: Sheet::new(graph, outputs),
            fired: vec![Vec::with_capacity(CHUNK); sources.len()],
            sources,
            stamps: Vec::with_capacity(CHUNK),
        }
    }

    /// The market hears of an event; the graph's clock never goes back, as the engine's does not.
    #[inline]
    fn hear(&mut self, market: &Market) -> (Nanos, Touched) {
        self.now = self.now.max(market.ts_event);
        if let Update::Value(_) = market.update {
            return (self.now, Touched::NOTHING);
        }
        let touched = self.markets.apply(market).unwrap_or_else(|_| {
            self.answer.refused += 1;
            Touched::NOTHING
        });
        (self.now, touched)
    }

    fn event(&mut self, graph: &mut Graph, ts: Nanos, market: &Market, touched: Touched, is_part: bool) {
        // The graph of a question has neither targets nor records.
        let (mut intents, mut signals) = (Vec::new(), Vec::new());
        let before = graph.evaluations();
        if let Update::Value(value) = market.update {
            graph.feed(ts, market.instrument.0, value, &self.markets, &mut intents, &mut signals);
        } else {
            graph.evaluate(ts, market.instrument, touched, &self.markets, &mut intents, &mut signals);
        }
        if is_part {
            return;
        }
        let reached = graph.evaluations() > before;
        if self.rows == Rows::Events || (reached && self.outputs.iter().any(|output| graph.fired(*output))) {
            self.answer.ts.push(ts.0 as i64);
            self.answer.instrument.push(market.instrument.0);
            for (output, values) in self.outputs.iter().zip(&mut self.answer.values) {
                values.push(graph.value(*output));
            }
        }
    }

    /// Reads the sources' values off the market, to be run through the graph later.
    #[inline]
    fn gather(&mut self, graph: &mut Graph, ts: Nanos, instrument: InstrumentId, touched: Touched) {
        for ((node, own, field), fired) in self.sources.iter().zip(&mut self.fired) {
            let fires = *own == instrument && touched.has(field.fired_by());
            fired.push(fires);
            let x = if fires { field.read(&self.markets, *own) } else { f64::NAN };
            self.sheet.column(*node).values.push(x);
        }
        self.stamps.push(ts);
        self.answer.ts.push(ts.0 as i64);
        self.answer.instrument.push(instrument.0);
        if self.stamps.len() == CHUNK {
            self.flush(graph);
        }
    }

    fn flush(&mut self, graph: &mut Graph) {
        for ((node, ..), fired) in self.sources.iter().zip(&mut self.fired) {
            let always = fired.iter().all(|fired| *fired);
            let column = self.sheet.column(*node);
            column.fired = if always { Fired::Always } else { Fired::At(fired.clone()) };
            fired.clear();
        }
        graph.columns(&self.stamps, &mut self.sheet);
        if !self.stamps.is_empty() {
            for (output, values) in self.outputs.iter().zip(&mut self.answer.values) {
                values.extend_from_slice(&self.sheet.column(*output).values);
            }
        }
        self.stamps.clear();
        for (node, ..) in &self.sources {
            self.sheet.column(*node).values.clear();
        }
    }
}
