//! Everything that can happen to us. One input, one step.

use crate::{
    CancelReason, Cash, InstrumentId, Liquidity, Nanos, OrderId, Price, Quantity, RejectReason, Rule, Side, Terms,
    TimeInForce,
};

/// One thing that happened, in the order in which the engine sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input {
    /// 0, 1, 2, … without gaps.
    pub seq: u64,
    /// The engine's clock: receive time live, event time in a backtest. Never goes back.
    pub ts: Nanos,
    /// What happened.
    pub event: Event,
}

/// The closed list of what can happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// Market data, normalised.
    Market(Market),
    /// A venue's answer about one of our orders.
    Report(Report),
    /// A wish from outside the core: a Python callback, an operator, another process.
    Intent(Intent),
    /// A timer fired.
    Timer(Timer),
    /// An operator's command.
    Control(Control),
    /// The broker took money, or gave it.
    Charge(Charge),
    /// What the feed handler knows of its own data.
    Feed(Feed),
    /// What an order-entry session, or the venue's books about us, came to.
    Link(Link),
}

/// What the feed handler knows of its own data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Messages are missing: until [`Feed::Complete`] the instrument's book may be wrong. `missed` is how many, as far as
    /// it is known.
    Incomplete { instrument: InstrumentId, missed: u64 },
    /// The book is whole again: what was missed came late, or came as a snapshot.
    Complete { instrument: InstrumentId },
    /// The venue's session began: `exchange` is the feed's number in the run.
    Began { exchange: u32 },
    /// It is over: nothing more comes of this day.
    Ended { exchange: u32 },
}

/// What an order-entry session, or the venue's books about us, came to. `session` is its number in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Connection lost, or not made yet: what was sent and not answered is unknown, and nothing new is sent.
    Down { session: u32 },
    /// Logged on; the venue tells what we missed. Cancels go out, new orders do not.
    Up { session: u32 },
    /// All was told; what never arrived was reported as that before. New orders go out. An order that is still unknown
    /// stays it: nothing is assumed.
    Settled { session: u32 },
    /// Everything before the venue's message `next` of its session `name` (ten bytes, as a little-endian number) has been
    /// taken in: from there it is asked to go on after a failure.
    Heard { session: u32, name: u128, next: u64 },
    /// The venue's books: our signed position in the instrument, all executions that we know of included.
    Position { instrument: InstrumentId, quantity: Quantity },
}

/// An order's number on a market-data feed: the venue's, day-unique, of strangers and of ours.
pub type BookRef = u64;

/// One normalised market-data event of one instrument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Market {
    /// Which instrument.
    pub instrument: InstrumentId,
    /// The venue's stamp.
    pub ts_event: Nanos,
    /// What changed.
    pub update: Update,
}

/// The kinds of market data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Update {
    /// A displayed order joins the back of its price level.
    Add { order: BookRef, side: Side, price: Price, quantity: Quantity },
    /// A displayed order trades at its own price.
    Execute { order: BookRef, quantity: Quantity, trade: u64 },
    /// A displayed order trades at another price; `printable` says whether it counts as volume.
    ExecuteAt { order: BookRef, quantity: Quantity, price: Price, printable: bool, trade: u64 },
    /// Part of a displayed order is cancelled; it keeps its place.
    Reduce { order: BookRef, quantity: Quantity },
    /// A displayed order is cancelled whole.
    Delete { order: BookRef },
    /// A displayed order gives way to another of the same side, at the back of its level.
    Replace { order: BookRef, new_order: BookRef, price: Price, quantity: Quantity },
    /// A trade that touches no displayed order.
    Trade { price: Price, quantity: Quantity, aggressor: Option<Side>, kind: TradeKind, trade: u64 },
    /// An earlier trade is declared void.
    TradeBreak { trade: u64 },
    /// A price level has this total quantity now; zero: it is gone. Of feeds without single orders.
    Depth { side: Side, price: Price, quantity: Quantity },
    /// Best bid and ask; an empty side has [`Price::UNDEFINED`] and quantity zero.
    Quote { bid: Price, bid_quantity: Quantity, ask: Price, ask_quantity: Quantity },
    /// A bar that ended at `ts_event`; `span` in nanoseconds.
    Bar { open: Price, high: Price, low: Price, close: Price, volume: Quantity, span: u64 },
    /// Trading state of the instrument.
    Status(TradingStatus),
    /// The book is void (start of a session, a gap): forget every order.
    Clear,
    /// A new value of a series from outside the market: a sentiment score, a model's output. What stands in `instrument`
    /// is the number of the series; NaN is null.
    Value(f64),
    /// So many new shares for so many old ones, from this moment on; the first event of the ex-date.
    Split { numerator: u32, denominator: u32 },
    /// Money for each share held at this moment, the beginning of the ex-date; who is short pays it.
    Dividend { cash: Price },
}

impl Update {
    /// The displayed order that the event is about; the one that gives way for a replace.
    pub const fn order(&self) -> Option<BookRef> {
        match *self {
            Self::Add { order, .. }
            | Self::Execute { order, .. }
            | Self::ExecuteAt { order, .. }
            | Self::Reduce { order, .. }
            | Self::Delete { order }
            | Self::Replace { order, .. } => Some(order),
            _ => None,
        }
    }
}

/// What sort of trade a [`Update::Trade`] was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TradeKind {
    /// Ordinary print of a trades-only feed.
    Regular = 0,
    /// Against a hidden order.
    Hidden = 1,
    /// Opening, closing or halt cross.
    Cross = 2,
    /// Against displayed orders that the feed does not name: first in, first out.
    Displayed = 3,
}

/// Trading state of one instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TradingStatus {
    /// No trading, no quoting.
    Halted = 0,
    /// Paused for volatility.
    Paused = 1,
    /// Quotes only.
    QuoteOnly = 2,
    /// Continuous trading.
    Trading = 3,
}

/// Who asked for an order: an index into the run's strategies. 0 is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct StrategyId(pub u32);

impl StrategyId {
    /// Nobody's: what belongs to the money that the run began with.
    pub const HOUSE: Self = Self(u32::MAX);
}

/// A wish; it becomes an order only through the risk gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intent {
    /// Who wishes.
    pub strategy: StrategyId,
    /// About what.
    pub instrument: InstrumentId,
    /// What is wished.
    pub kind: IntentKind,
}

/// The kinds of wishes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IntentKind {
    /// This strategy wants to hold exactly this signed position.
    Target { position: Quantity },
    /// Send an order. `price` is [`Price::UNDEFINED`] for a market order; `id` is chosen by the sender
    /// from the range that `execution` reserves for callers, so that it can name the order at once.
    Order { id: OrderId, side: Side, quantity: Quantity, price: Price, time_in_force: TimeInForce, terms: Terms },
    /// Show one post-only order on this side at this price; without a price or a quantity, none. The quantity is cut so
    /// that the position stays within plus or minus `limit`.
    Quote { side: Side, price: Price, quantity: Quantity, limit: Quantity },
    /// Cancel a working order.
    Cancel { order: OrderId },
    /// Change total quantity and price of a working order.
    Replace { order: OrderId, quantity: Quantity, price: Price },
}

/// A venue's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Which of our orders.
    pub order: OrderId,
    /// Of what.
    pub instrument: InstrumentId,
    /// The venue's stamp.
    pub ts_event: Nanos,
    /// What it says.
    pub kind: ReportKind,
}

/// The kinds of answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReportKind {
    /// The order is working; `book_ref` is its number on the market-data feed.
    Accepted { book_ref: BookRef },
    /// Some of it traded. `fee` is a cost when positive, a rebate when negative.
    Filled { execution: u64, price: Price, quantity: Quantity, liquidity: Liquidity, fee: Cash },
    /// It no longer works; what was not filled is gone.
    Cancelled { reason: CancelReason },
    /// New total quantity and price are in force.
    Replaced { quantity: Quantity, price: Price },
    /// It never worked.
    Rejected { reason: RejectReason },
    /// A cancel or replace was refused; the order is as it was.
    ChangeRejected { reason: RejectReason },
}

/// A timer that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Chosen by whoever set it.
    pub id: u64,
}

/// Money that the broker took (positive) or gave (negative).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// For shares of an instrument that we are short of.
    Borrow { instrument: InstrumentId, amount: Cash },
    /// Interest on the account's money.
    Financing { amount: Cash },
}

/// An operator's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Only orders that reduce a position pass the gate.
    Pause,
    /// Normal trading again.
    Resume,
    /// Nothing passes the gate any more.
    Kill,
    /// Every position is closed and every resting order cancelled, whatever strategies wish; until [`Control::Resume`]
    /// only reducing orders pass.
    Flatten,
    /// A limit has a new value, in the rule's unit.
    SetLimit { rule: Rule, limit: i64 },
}
