//! The vocabulary of a graph: what its nodes are, as they are declared. How they run is in [`crate::nodes`].

use std::fmt;
use std::sync::Arc;

use helios_data::Touched;
use helios_types::{Cash, InstrumentId, Nanos, Quantity, Side, StrategyId};

use crate::pattern::PatternSpec;

/// Position of a node in its graph; inputs come before the nodes that use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// What a source node reads. Levels count from 0, the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Best bid price.
    Bid,
    /// Best ask price.
    Ask,
    /// Half way between best bid and best ask.
    Mid,
    /// Best prices weighted by the quantity on the other side: (bid * ask quantity + ask * bid quantity) / both.
    Microprice,
    /// (bid quantity - ask quantity) / both, at the best prices.
    Imbalance,
    /// Quantity at the best bid.
    BidSize,
    /// Quantity at the best ask.
    AskSize,
    /// Price of a bid level.
    BidAt(u8),
    /// Price of an ask level.
    AskAt(u8),
    /// Quantity at a bid level.
    BidSizeAt(u8),
    /// Quantity at an ask level.
    AskSizeAt(u8),
    /// Quantity of the first so many bid levels together.
    BidDepth(u8),
    /// Quantity of the first so many ask levels together.
    AskDepth(u8),
    /// Last trade price.
    Last,
    /// Last trade quantity.
    LastSize,
    /// Last trade quantity with its aggressor's sign: plus for a buyer, minus for a seller, zero where unknown.
    Flow,
    /// Bar field.
    Open,
    /// Bar field.
    High,
    /// Bar field.
    Low,
    /// Bar field.
    Close,
    /// Bar field.
    Volume,
}

impl Field {
    /// The kind of market event at which the field fires.
    pub const fn fired_by(self) -> Touched {
        match self {
            Self::Bid | Self::Ask | Self::Mid | Self::Microprice | Self::Imbalance | Self::BidSize | Self::AskSize => {
                Touched::TOP
            }
            Self::BidAt(_)
            | Self::AskAt(_)
            | Self::BidSizeAt(_)
            | Self::AskSizeAt(_)
            | Self::BidDepth(_)
            | Self::AskDepth(_) => Touched::BOOK,
            Self::Last | Self::LastSize | Self::Flow => Touched::TRADE,
            Self::Open | Self::High | Self::Low | Self::Close | Self::Volume => Touched::BAR,
        }
    }
}

/// Functions of one value. Null in, null out; out of its domain a function is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// Sign change.
    Neg,
    /// Natural logarithm.
    Log,
    /// Exponential.
    Exp,
    /// Square root.
    Sqrt,
    /// Absolute value.
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// 1 for zero, 0 for everything else.
    Not,
    /// 1 for a null, 0 for a number: the one function that is never null.
    IsNull,
}

/// Functions of two values. Null in, null out; a division by zero is null. Truth is 1 and 0; anything but zero is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// x + y
    Add,
    /// x - y
    Sub,
    /// x * y
    Mul,
    /// x / y
    Div,
    /// The smaller.
    Min,
    /// The larger.
    Max,
    /// x > y
    Gt,
    /// x >= y
    Ge,
    /// x < y
    Lt,
    /// x <= y
    Le,
    /// x == y
    Eq,
    /// x != y
    Ne,
    /// Both are true.
    And,
    /// One is true.
    Or,
    /// x, or y where x is null.
    Coalesce,
}

/// How far back a window looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Window {
    /// The last `n` samples; full when there are `n`.
    Count(u32),
    /// Samples stamped within the last so many nanoseconds, `(now - span, now]`; full when the first sample is that old.
    Time(u64),
    /// All samples since the window began; full from the first.
    All,
    /// Each sample weighs this part of the one after it; full after three half-lives of samples.
    EwmCount(f64),
    /// Weights halve every so many nanoseconds; full when three half-lives have passed. A sample weighs by the time
    /// since the one before it, so of several at one moment only the first moves the mean.
    EwmTime(u64),
}

/// What a window can tell, and so what it must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Sum, mean, variance.
    Moments,
    /// Skewness.
    Skew,
    /// The least.
    Least,
    /// The greatest.
    Greatest,
    /// Quantiles.
    Order,
}

/// What is read off a node that keeps more than one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stat {
    /// Mean.
    Mean,
    /// Sum of the samples in a plain window.
    Sum,
    /// Variance: sample (n - 1) for plain windows, weighted population variance for exponential ones.
    Var,
    /// Square root of the variance.
    Std,
    /// (last sample - mean) / standard deviation; null while the deviation is zero or no more than rounding.
    ZScore,
    /// Population skewness m3 / m2^1.5; null while the deviation is zero or no more than rounding.
    Skew,
    /// Least sample.
    Min,
    /// Greatest sample.
    Max,
    /// Quantile between 0 and 1, linear between samples.
    Quantile(f64),
    /// Covariance of two expressions.
    Cov,
    /// Their correlation; null while one of them does not vary.
    Corr,
    /// Slope of the first on the second by least squares; of the filter's state for a Kalman node.
    Beta,
    /// Intercept that belongs to [`Stat::Beta`].
    Alpha,
    /// Last sample of the first less what intercept and slope make of the second. A Kalman node's is the forecast error,
    /// made before the sample was seen.
    Residual,
    /// Bar field.
    Open,
    /// Bar field.
    High,
    /// Bar field.
    Low,
    /// Bar field.
    Close,
    /// Bar field.
    Volume,
    /// Bar field: money over volume.
    Vwap,
    /// Bar field: samples in it.
    Count,
    /// Number of the session that is open; null while none is.
    Session,
    /// Seconds since the open; null outside sessions.
    SinceOpen,
    /// Seconds until the close; null outside sessions.
    ToClose,
    /// 1 during a session, else 0.
    IsOpen,
    /// Seconds since local midnight.
    TimeOfDay,
    /// Monday 0 to Sunday 6, local.
    Weekday,
    /// Member's rank in a cross-section, 1 for the least; equal values share the mean of their ranks.
    Rank(u32),
    /// Member's value less the mean of all, over their standard deviation (n - 1); null while that is zero or no more
    /// than rounding.
    CrossZScore(u32),
    /// Member's value less the mean of all.
    Demean(u32),
    /// 1 for a member among the so many greatest; equal values count in the order of the members.
    Top { member: u32, k: u32 },
}

/// How far back a lag looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// So many samples.
    Samples(u32),
    /// What stood so many nanoseconds ago.
    Time(u64),
}

/// When a bar that is made of trades ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BarKind {
    /// At multiples of so many nanoseconds since 1970. Known at the first trade after the end.
    Time(u64),
    /// With this many trades.
    Ticks(u32),
    /// With the trade that brings its volume to this; a trade is never split.
    Volume(f64),
    /// With the trade that brings price times size to this; a trade is never split.
    Money(f64),
}

/// Opens and closes, in order and without overlap.
pub type Hours = Arc<[(Nanos, Nanos)]>;

/// Offsets of local time from UTC in seconds, each from a moment on; in order.
pub type Offsets = Arc<[(Nanos, i64)]>;

/// How a target's number becomes shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizing {
    /// Value times this many shares.
    Quantity(Quantity),
    /// Value times this much money, at the instrument's mark when the target fires.
    Notional(Cash),
}

/// One node. Fires when an input fires, where nothing else is said.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A number from the market.
    Source { instrument: InstrumentId, field: Field },
    /// A number from outside the market: a sentiment score, a model's output. Fires on each of its values.
    Series { series: u32 },
    /// A number. Never fires.
    Constant(f64),
    /// The time, by a calendar: read with the session [`Stat`]s. Computed afresh with each event that reaches a user.
    Session { hours: Hours },
    /// The time on a wall clock: read with [`Stat::TimeOfDay`] and [`Stat::Weekday`]. Computed like a session.
    LocalTime { offsets: Offsets },
    /// A function of one node.
    Unary { op: Unary, x: NodeId },
    /// Passes a source on, but only when another source fires at the same moment: two bars that end together are one
    /// event, and nothing is computed from one of them alone.
    Together { x: NodeId, y: NodeId },
    /// The value of `x`, looked at only when `trigger` fires.
    When { x: NodeId, trigger: NodeId },
    /// Passes `x` on when its value is another than before.
    Changes { x: NodeId },
    /// A function of two nodes; fires when either fires.
    Binary { op: Binary, x: NodeId, y: NodeId },
    /// `x` where `condition` is true, `y` where it is zero, null where it is null.
    Where { condition: NodeId, x: NodeId, y: NodeId },
    /// An earlier value of `x`; nulls are passed over.
    Lag { x: NodeId, past: Past },
    /// Seconds since `x` fired the time before; null at the first.
    Elapsed { x: NodeId },
    /// Remembers the recent values of `x`; its own value is the last of them. `least`: samples from which on it counts as
    /// full, 0 for the window's own rule. `by`: begins afresh with a sample at which this node's value is another than at
    /// the sample before, and takes none while it is null.
    Window { x: NodeId, window: Window, keeps: Keeps, least: u32, by: Option<NodeId> },
    /// Remembers pairs: a sample is taken when either fires and both are numbers.
    /// `by` as for a window.
    PairWindow { x: NodeId, y: NodeId, window: Window, least: u32, by: Option<NodeId> },
    /// Filters `y = alpha + beta x + noise`, where alpha and beta walk at random: `drift` is the variance of a step of
    /// either, `noise` that of an observation. Null for the first `least` samples.
    Kalman { y: NodeId, x: NodeId, drift: f64, noise: f64, least: u32 },
    /// Bars of trades; fires when one ends.
    Bars { price: NodeId, size: NodeId, kind: BarKind },
    /// The values of several nodes side by side; fires when at least `quorum` of them fired at this very moment.
    Cross { members: Vec<NodeId>, quorum: u32 },
    /// Occurrences in an order; fires when one is complete, with how many are.
    Pattern { inputs: Vec<NodeId>, spec: PatternSpec },
    /// How often `x` was true within the last so many nanoseconds, `(now - span, now]`; a second input only lets time pass.
    Occurrences { inputs: Vec<NodeId>, span: u64 },
    /// A statistic of one of the nodes above.
    Read { of: NodeId, stat: Stat },
    /// -1, 0 or +1: becomes +1 when `x >= enter` and stays until `x <= exit`; -1 likewise below. A null changes nothing.
    /// Fires when it changes.
    Hysteresis { x: NodeId, enter: f64, exit: f64 },
    /// 1 when `x` is true and was not within the last so many nanoseconds, counted from the last 1; else 0.
    Cooldown { x: NodeId, span: u64 },
    /// 1 when `x` has been true for so many nanoseconds without interruption; else 0.
    Debounce { x: NodeId, span: u64 },
    /// 1 from when `set` is true until `reset` is true, 0 from the start; `reset` wins. Fires when it changes.
    Latch { set: NodeId, reset: NodeId },
    /// Wishes the position `value * sizing` for a strategy, rounded towards zero to the lot. A notional that finds no
    /// mark waits for one; a null keeps the last wish.
    Target { x: NodeId, strategy: StrategyId, instrument: InstrumentId, sizing: Sizing },
    /// Shows `quantity` at the price `x` on one side, at most every so many nanoseconds; a null takes it away. The quantity
    /// is cut so that the position stays within `limit`.
    Quote {
        x: NodeId,
        strategy: StrategyId,
        instrument: InstrumentId,
        side: Side,
        quantity: Quantity,
        limit: Quantity,
        every: u64,
    },
    /// Reports each new value of `x` as output signal number `signal`; `input` is reported beside it.
    Record { x: NodeId, signal: u32, input: NodeId },
}

impl Node {
    /// A window of mean, variance and their like that is full by its own rule.
    pub const fn window(x: NodeId, window: Window) -> Self {
        Self::Window { x, window, keeps: Keeps::Moments, least: 0, by: None }
    }

    /// Whatever the node looks at, in order; the first [`Node::firing`] of them make it fire.
    pub fn inputs(&self) -> Vec<NodeId> {
        match *self {
            Self::Source { .. }
            | Self::Series { .. }
            | Self::Constant(_)
            | Self::Session { .. }
            | Self::LocalTime { .. } => vec![],
            Self::Unary { x, .. }
            | Self::Changes { x }
            | Self::Lag { x, .. }
            | Self::Elapsed { x }
            | Self::Read { of: x, .. }
            | Self::Hysteresis { x, .. }
            | Self::Cooldown { x, .. }
            | Self::Debounce { x, .. }
            | Self::Target { x, .. }
            | Self::Quote { x, .. } => vec![x],
            Self::Window { x, by, .. } => [x].into_iter().chain(by).collect(),
            Self::When { x, trigger } => vec![trigger, x],
            Self::Record { x, input, .. } => vec![x, input],
            Self::Together { x, y } | Self::Binary { x, y, .. } => vec![x, y],
            Self::PairWindow { x, y, by, .. } => [x, y].into_iter().chain(by).collect(),
            Self::Kalman { y, x, .. } => vec![y, x],
            Self::Latch { set, reset } => vec![set, reset],
            Self::Bars { price, size, .. } => vec![price, size],
            Self::Where { condition, x, y } => vec![condition, x, y],
            Self::Cross { ref members, .. } => members.clone(),
            Self::Pattern { ref inputs, .. } | Self::Occurrences { ref inputs, .. } => inputs.clone(),
        }
    }

    /// How many of the inputs, from the first, make the node fire.
    pub fn firing(&self) -> usize {
        match self {
            Self::Window { .. } | Self::When { .. } | Self::Record { .. } | Self::Bars { .. } => 1,
            Self::PairWindow { .. } => 2,
            _ => self.inputs().len(),
        }
    }

    /// The time itself: it has no event of its own.
    pub(crate) const fn is_clock(&self) -> bool {
        matches!(self, Self::Session { .. } | Self::LocalTime { .. })
    }
}

/// Why a graph is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphError {
    /// Which node.
    pub node: u32,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}: {}", self.node, self.message)
    }
}

impl std::error::Error for GraphError {}
