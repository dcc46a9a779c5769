//! All that the engine remembers.

use std::fmt;

use helios_book::Capacity;
use helios_data::{Markets, Touched};
use helios_execution::{Links, Orders, Style, Unanswered};
use helios_risk::{Feeds, Limits, Risk, Unfed, prove};
use helios_signals::{Graph, GraphError, Node};
use helios_types::{Cash, Digest, Hasher, Instrument, InstrumentId, Intent, Nanos, Rule, Rules, SignalChange};

use crate::snapshot;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// What can be traded; an [`helios_types::InstrumentId`] is a position in this list.
    pub instruments: Vec<Instrument>,
    /// For each instrument the one whose position its fills go to: a security listed at several venues is held once.
    /// Empty: each its own.
    pub holds: Vec<InstrumentId>,
    /// The expression graph; empty when strategies are callbacks only.
    pub nodes: Vec<Node>,
    /// For each series from outside the market, its group: see [`Graph::new`].
    pub series: Vec<u32>,
    /// Limits of the gate.
    pub limits: Limits,
    /// What the run supplies to the limits.
    pub feeds: Feeds,
    /// Money at the start.
    pub cash: Cash,
    /// Before this moment signals are evaluated (windows fill) but targets are not acted on.
    pub trade_from: Nanos,
    /// How netted wishes become orders.
    pub style: Style,
    /// Maximums of the books.
    pub capacity: Capacity,
}

/// Why a run cannot start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A node of the graph.
    Graph(GraphError),
    /// A limit that could never act.
    Unfed(Unfed),
    /// An instrument's definition.
    Instrument { symbol: String, message: &'static str },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Graph(error) => write!(f, "signal graph: {error}"),
            Self::Unfed(error) => write!(f, "{error}"),
            Self::Instrument { symbol, message } => write!(f, "instrument {symbol}: {message}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The holder of each instrument.
fn holders(config: &Config) -> Result<Vec<InstrumentId>, ConfigError> {
    let own = (0..).map(InstrumentId).take(config.instruments.len());
    if config.holds.is_empty() {
        return Ok(own.collect());
    }
    for (at, instrument) in config.instruments.iter().enumerate() {
        let holder = config.holds.get(at).filter(|holder| config.holds.get(holder.index()) == Some(holder));
        if holder.is_none() {
            let message = "its position must be that of an instrument that holds its own";
            return Err(ConfigError::Instrument { symbol: instrument.symbol.clone(), message });
        }
    }
    Ok(config.holds.iter().copied().take(config.instruments.len()).collect())
}

/// The state of the four pillars. Only [`crate::step`] changes it.
pub struct State {
    /// Pillar 1.
    pub(crate) markets: Markets,
    /// Pillar 2.
    pub(crate) graph: Graph,
    /// Pillar 3.
    pub(crate) orders: Orders,
    /// Pillar 4.
    pub(crate) risk: Risk,
    pub(crate) trade_from: Nanos,
    pub(crate) next_seq: u64,
    pub(crate) now: Nanos,
    /// What the last input changed that a strategy can see.
    pub(crate) touched: Touched,
    /// Emptied within each step; kept to keep their memory.
    pub(crate) intents: Vec<Intent>,
    pub(crate) changes: Vec<SignalChange>,
    pub(crate) proven: Vec<Rule>,
    pub(crate) feeds: Feeds,
    /// Of the configuration: a snapshot is of the same.
    pub(crate) configured: u128,
}

impl State {
    /// Checks the configuration whole: the graph, the instruments, and that every limit is alive.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        for instrument in &config.instruments {
            let bad = |message| ConfigError::Instrument { symbol: instrument.symbol.clone(), message };
            if instrument.tick.0 <= 0 || !instrument.tick.is_defined() {
                return Err(bad("the tick must be positive"));
            }
            if instrument.lot.0 <= 0 {
                return Err(bad("the lot must be positive"));
            }
        }
        let holds = holders(&config)?;
        let configured = snapshot::fingerprint(&config);
        let proven = prove(&config.limits, &config.feeds).map_err(ConfigError::Unfed)?;
        let lots = config.instruments.iter().map(|instrument| instrument.lot).collect();
        let ticks = config.instruments.iter().map(|instrument| instrument.tick).collect();
        Ok(Self {
            markets: Markets::new(config.instruments.len(), config.capacity),
            graph: Graph::new(config.nodes, lots, config.series).map_err(ConfigError::Graph)?,
            orders: Orders::new(ticks, config.style),
            risk: Risk::new(&config.instruments, config.limits, config.cash).holding(&holds),
            trade_from: config.trade_from,
            next_seq: 0,
            now: Nanos(0),
            touched: Touched::NOTHING,
            intents: Vec::new(),
            changes: Vec::new(),
            proven,
            feeds: config.feeds,
            configured,
        })
    }

    /// The same with the instruments' rules, one for each: price steps by price, smallest orders.
    #[must_use]
    pub fn with_rules(self, rules: Vec<Rules>) -> Self {
        Self { orders: self.orders.with_rules(rules.clone()), risk: self.risk.with_rules(rules), ..self }
    }

    /// The same with the order-entry session of each instrument, one for each; without it all trade through session 0.
    #[must_use]
    pub fn with_sessions(self, session_of: Vec<u32>) -> Self {
        Self { orders: self.orders.with_sessions(session_of), ..self }
    }

    /// What is known of the order-entry sessions, and where each goes on after a failure.
    pub fn links(&self) -> &Links {
        self.orders.links()
    }

    /// Orders about which the venue has owed an answer for so long.
    pub fn unanswered(&self, nanoseconds: u64) -> Vec<Unanswered> {
        self.orders.unanswered(Nanos(self.now.0.saturating_sub(nanoseconds)))
    }

    /// What the market looks like.
    pub fn markets(&self) -> &Markets {
        &self.markets
    }

    /// The signals.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Working orders and wishes.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Positions, money, limits.
    pub fn risk(&self) -> &Risk {
        &self.risk
    }

    /// The number of the next input.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The engine's clock: the stamp of the last input.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// What the last input changed that a strategy can see.
    pub fn touched(&self) -> Touched {
        self.touched
    }

    /// The limits that proved at start-up that they are fed and refuse.
    pub fn proven(&self) -> &[Rule] {
        &self.proven
    }

    /// Fingerprint of everything that a future step could depend on.
    pub fn digest(&self) -> u128 {
        let mut hasher = Hasher::new();
        self.markets.digest(&mut hasher);
        self.graph.digest(&mut hasher);
        self.orders.digest(&mut hasher);
        self.risk.digest(&mut hasher);
        hasher.u64(self.next_seq);
        hasher.u64(self.now.0);
        hasher.finish()
    }
}
