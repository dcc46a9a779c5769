//! A run's description, as Python hands it over: plain dictionaries, lists and integers.

use helios_engine::{Config, State};
use helios_execution::Style;
use helios_io::SourceError;
use helios_risk::{Feeds, Limits};
use helios_signals::{Binary, Field, Node, NodeId, Sizing, Stat, Unary, Window};
use helios_types::{Cash, Instrument, InstrumentId, Nanos, Price, Quantity, StrategyId};
use helios_venue::{Capacity, Fees, HalfSpread};
use pyo3::FromPyObject;

/// One node: operation, inputs, integer and float parameters.
type NodeSpec = (String, Vec<u32>, Vec<i64>, Vec<f64>);

/// Everything that the engine needs.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct EngineSpec {
    /// Symbol, tick, lot.
    pub(crate) instruments: Vec<(String, i64, i64)>,
    nodes: Vec<NodeSpec>,
    /// Rule and limit.
    limits: Vec<(String, i64)>,
    cash: i64,
    /// "market" or "touch", and ticks through.
    style: (String, u16),
    without_price: Vec<String>,
    limit_prices: bool,
    max_orders: u32,
    trade_from: u64,
}

/// Everything that the simulated exchange needs.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct VenueSpec {
    order_latency_ns: u64,
    report_latency_ns: u64,
    maker_per_share: i64,
    taker_per_share: i64,
    maker_ppm: i64,
    taker_ppm: i64,
    minimum_per_order: i64,
    half_spread_fixed: i64,
    half_spread_ppm: u32,
    day_begins_ns: u64,
}

fn error(message: impl Into<String>) -> SourceError {
    SourceError { source: "run".to_owned(), message: message.into() }
}

impl EngineSpec {
    pub(crate) fn symbols(&self) -> Vec<String> {
        self.instruments.iter().map(|(symbol, _, _)| symbol.clone()).collect()
    }

    pub(crate) fn instruments(&self) -> Vec<Instrument> {
        self.instruments
            .iter()
            .map(|(symbol, tick, lot)| Instrument { symbol: symbol.clone(), tick: Price(*tick), lot: Quantity(*lot) })
            .collect()
    }

    pub(crate) fn cash(&self) -> i64 {
        self.cash
    }

    pub(crate) fn trade_from(&self) -> u64 {
        self.trade_from
    }

    fn capacity(&self) -> Capacity {
        Capacity { orders: self.max_orders, levels: self.max_orders }
    }

    /// A fresh engine.
    pub(crate) fn state(&self) -> Result<State, SourceError> {
        let nodes = self.nodes.iter().map(node).collect::<Result<_, _>>()?;
        let config = Config {
            instruments: self.instruments(),
            nodes,
            limits: limits(&self.limits)?,
            feeds: Feeds { without_price: self.without_price.clone(), limit_prices: self.limit_prices },
            cash: Cash(self.cash),
            trade_from: Nanos(self.trade_from),
            style: match self.style {
                (ref name, _) if name == "market" => Style::Market,
                (ref name, ticks) if name == "touch" => Style::Touch { ticks },
                (ref name, _) => return Err(error(format!("execution style {name:?} is not 'market' or 'touch'"))),
            },
            capacity: self.capacity(),
        };
        State::new(config).map_err(|e| error(e.to_string()))
    }
}

impl VenueSpec {
    pub(crate) fn venue(&self, engine: &EngineSpec) -> helios_venue::Venue {
        let config = helios_venue::Config {
            order_latency_ns: self.order_latency_ns,
            report_latency_ns: self.report_latency_ns,
            fees: Fees {
                maker_per_share: Cash(self.maker_per_share),
                taker_per_share: Cash(self.taker_per_share),
                maker_ppm: self.maker_ppm,
                taker_ppm: self.taker_ppm,
                minimum_per_order: Cash(self.minimum_per_order),
            },
            half_spread: if self.half_spread_fixed > 0 {
                HalfSpread::Fixed(Price(self.half_spread_fixed))
            } else {
                HalfSpread::Ppm(self.half_spread_ppm)
            },
            day_begins_ns: self.day_begins_ns,
            capacity: engine.capacity(),
            ..helios_venue::Config::default()
        };
        helios_venue::Venue::new(&engine.instruments(), config)
    }
}

fn limits(rows: &[(String, i64)]) -> Result<Limits, SourceError> {
    let mut limits = Limits::default();
    for (rule, value) in rows {
        let value = *value;
        match rule.as_str() {
            "order_quantity" => limits.order_quantity = Some(Quantity(value)),
            "order_notional" => limits.order_notional = Some(Cash(value)),
            "price_collar" => limits.price_collar_ppm = Some(value),
            "position" => limits.position = Some(Quantity(value)),
            "gross_exposure" => limits.gross_exposure = Some(Cash(value)),
            "order_rate" => limits.orders_per_second = Some(value),
            "daily_loss" => limits.daily_loss = Some(Cash(value)),
            _ => return Err(error(format!("no limit is named {rule:?}"))),
        }
    }
    Ok(limits)
}

fn node((name, inputs, ints, floats): &NodeSpec) -> Result<Node, SourceError> {
    let (op, detail) = name.split_once(':').unwrap_or((name, ""));
    let wrong = || error(format!("node {name:?} has the wrong inputs or parameters"));
    let input = |at: usize| inputs.get(at).copied().map(NodeId).ok_or_else(wrong);
    let int = |at: usize| ints.get(at).copied().ok_or_else(wrong);
    let small = |at: usize| int(at).and_then(|x| u32::try_from(x).map_err(|_| wrong()));
    let span = |at: usize| int(at).and_then(|x| u64::try_from(x).map_err(|_| wrong()));
    let float = |at: usize| floats.get(at).copied().ok_or_else(wrong);
    let unknown = || error(format!("no node is named {name:?}"));
    Ok(match op {
        "source" => Node::Source { instrument: InstrumentId(small(0)?), field: field(detail).ok_or_else(unknown)? },
        "constant" => Node::Constant(float(0)?),
        "unary" => {
            let op = match detail {
                "neg" => Unary::Neg,
                "log" => Unary::Log,
                "exp" => Unary::Exp,
                "sqrt" => Unary::Sqrt,
                "abs" => Unary::Abs,
                _ => return Err(unknown()),
            };
            Node::Unary { op, x: input(0)? }
        }
        "together" => Node::Together { x: input(0)?, y: input(1)? },
        "binary" => {
            let op = match detail {
                "add" => Binary::Add,
                "sub" => Binary::Sub,
                "mul" => Binary::Mul,
                "div" => Binary::Div,
                _ => return Err(unknown()),
            };
            Node::Binary { op, x: input(0)?, y: input(1)? }
        }
        "window" => {
            let window = match detail {
                "count" => Window::Count(small(0)?),
                "time" => Window::Time(span(0)?),
                "ewm_count" => Window::EwmCount(float(0)?),
                "ewm_time" => Window::EwmTime(span(0)?),
                _ => return Err(unknown()),
            };
            Node::Window { x: input(0)?, window }
        }
        "moment" => {
            let stat = match detail {
                "mean" => Stat::Mean,
                "var" => Stat::Var,
                "std" => Stat::Std,
                "zscore" => Stat::ZScore,
                _ => return Err(unknown()),
            };
            Node::Moment { window: input(0)?, stat }
        }
        "hysteresis" => Node::Hysteresis { x: input(0)?, enter: float(0)?, exit: float(1)? },
        "target" => {
            let sizing = match detail {
                "quantity" => Sizing::Quantity(Quantity(int(2)?)),
                "notional" => Sizing::Notional(Cash(int(2)?)),
                _ => return Err(unknown()),
            };
            Node::Target { x: input(0)?, strategy: StrategyId(small(0)?), instrument: InstrumentId(small(1)?), sizing }
        }
        "record" => Node::Record { x: input(0)?, signal: small(0)?, input: input(1)? },
        _ => return Err(unknown()),
    })
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "bid" => Field::Bid,
        "ask" => Field::Ask,
        "mid" => Field::Mid,
        "bid_size" => Field::BidSize,
        "ask_size" => Field::AskSize,
        "last" => Field::Last,
        "last_size" => Field::LastSize,
        "open" => Field::Open,
        "high" => Field::High,
        "low" => Field::Low,
        "close" => Field::Close,
        "volume" => Field::Volume,
        _ => return None,
    })
}
