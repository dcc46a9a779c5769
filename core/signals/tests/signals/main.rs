//! Signals against naive recomputation: everything that is computed step by step is computed here from the whole
//! history, and the two must agree.

mod columns;
mod depth;
mod digests;
mod graphs;
mod machines;
mod naive;
mod patterns;
mod refusals;
mod targets;
mod windows;

use helios_book::Capacity;
use helios_data::Markets;
use helios_signals::{Field, Graph, GraphError, Node, NodeId};
use helios_types::{InstrumentId, Intent, Market, Nanos, Price, Quantity, SignalChange, Update};

/// Markets and a graph, driven by market events.
pub struct Bench {
    pub markets: Markets,
    pub graph: Graph,
    pub intents: Vec<Intent>,
    pub signals: Vec<SignalChange>,
}

impl Bench {
    pub fn new(nodes: Vec<Node>, instruments: usize) -> Self {
        let graph = build(nodes, instruments).expect("a sound graph");
        let markets = Markets::new(instruments, Capacity { orders: 16, levels: 16 });
        Self { markets, graph, intents: Vec::new(), signals: Vec::new() }
    }

    /// One market event; what it led to replaces what the event before led to.
    pub fn event(&mut self, ts: u64, instrument: u32, update: Update) {
        let (ts, instrument) = (Nanos(ts), InstrumentId(instrument));
        let touched = self.markets.apply(&Market { instrument, ts_event: ts, update }).expect("a sound event");
        self.intents.clear();
        self.signals.clear();
        self.graph.evaluate(ts, instrument, touched, &self.markets, &mut self.intents, &mut self.signals);
    }

    /// A quote of instrument 0 whose mid is `x`; without a bid, and so without a mid, for `None`.
    pub fn mid(&mut self, ts: u64, x: Option<f64>) {
        self.event(ts, 0, locked(x));
    }
}

pub fn build(nodes: Vec<Node>, instruments: usize) -> Result<Graph, GraphError> {
    Graph::new(nodes, vec![Quantity::whole(1); instruments], Vec::new())
}

/// Bid and ask at one price; no bid for `None`.
pub fn locked(x: Option<f64>) -> Update {
    let quantity = Quantity::whole(1);
    let ask = Price::from_f64(x.unwrap_or(1.0)).expect("a price");
    match x {
        Some(_) => Update::Quote { bid: ask, bid_quantity: quantity, ask, ask_quantity: quantity },
        None => Update::Quote { bid: Price::UNDEFINED, bid_quantity: Quantity::ZERO, ask, ask_quantity: quantity },
    }
}

pub fn source(field: Field) -> Node {
    Node::Source { instrument: InstrumentId(0), field }
}

pub fn node(at: usize) -> NodeId {
    NodeId(u32::try_from(at).expect("a small graph"))
}
