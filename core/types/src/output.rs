//! Everything the engine says. A component writes what happened to an outbox; a test compares the list.

use crate::{
    Cash, InstrumentId, Liquidity, Nanos, Order, OrderId, OrderState, Price, Quantity, RejectReason, Side, StrategyId,
};

/// The closed list of what can come out of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    /// To the venue: a new order.
    Submit(Order),
    /// To the venue: cancel.
    Cancel { order: OrderId, instrument: InstrumentId },
    /// To the venue: change total quantity and price.
    Replace { order: OrderId, instrument: InstrumentId, quantity: Quantity, price: Price },
    /// The gate said no.
    Refused(Refusal),
    /// An order changed its state.
    State(StateChange),
    /// One of our orders traded, and this is the position after it.
    Fill(Fill),
    /// A discrete signal changed.
    Signal(SignalChange),
    /// The data was not as it should be; the event was counted and did not change the state.
    Quality(Quality),
    /// A supervised limit was reached; from here on only reducing orders pass.
    Breach(Breach),
    /// Money or shares that came or went without a trade.
    Booked(Booking),
    /// Our position is not the venue's: from here on only reducing orders pass.
    Difference(Difference),
}

/// A position about which we and the venue do not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of what.
    pub instrument: InstrumentId,
    /// Our signed position.
    pub ours: Quantity,
    /// The venue's.
    pub theirs: Quantity,
}

/// A limit's name. The order is the order in which the gate checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Rule {
    /// Largest quantity of one order; value in quantity units.
    OrderQuantity = 0,
    /// Largest notional of one order; value in cash units.
    OrderNotional = 1,
    /// Largest distance of a limit price from the reference price; value in parts per million.
    PriceCollar = 2,
    /// Largest absolute position in one instrument, working orders included; value in quantity units.
    Position = 3,
    /// Largest sum of absolute position values, working orders included; value in cash units.
    GrossExposure = 4,
    /// Most orders within one second; value is a count.
    OrderRate = 5,
    /// Largest loss since the day began; value in cash units.
    DailyLoss = 6,
    /// An operator paused or killed trading; limit and value are zero.
    Stopped = 7,
    /// The wish itself is wrong: quantity not positive, price not on a tick, order not known.
    Invalid = 8,
    /// The instrument's order-entry session is down, or has not yet said what it knows; limit and value are zero.
    Unlinked = 9,
}

/// Why a wish did not become an order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refusal {
    /// Who wished.
    pub strategy: StrategyId,
    /// About what.
    pub instrument: InstrumentId,
    /// The rule that said no.
    pub rule: Rule,
    /// The rule's limit, in the rule's unit.
    pub limit: i64,
    /// What the wish would have reached, in the rule's unit.
    pub value: i64,
    /// The order wished for: side.
    pub side: Side,
    /// The order wished for: quantity.
    pub quantity: Quantity,
    /// The order wished for: limit price or [`Price::UNDEFINED`].
    pub price: Price,
}

/// One step of an order's life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StateChange {
    /// Which order.
    pub order: OrderId,
    /// Of what.
    pub instrument: InstrumentId,
    /// State before.
    pub from: OrderState,
    /// State after.
    pub to: OrderState,
    /// Set when the venue refused something.
    pub reject: Option<RejectReason>,
}

/// A booked execution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fill {
    /// Which order.
    pub order: OrderId,
    /// Whose it is after allocation; a netted order can fill several strategies.
    pub strategy: StrategyId,
    /// Of what.
    pub instrument: InstrumentId,
    /// Venue's execution number; zero for an internal transfer between strategies.
    pub execution: u64,
    /// The venue's stamp.
    pub ts_event: Nanos,
    /// Our side.
    pub side: Side,
    /// Trade price.
    pub price: Price,
    /// Traded quantity, positive.
    pub quantity: Quantity,
    /// Cost when positive, rebate when negative.
    pub fee: Cash,
    /// Maker or taker.
    pub liquidity: Liquidity,
    /// The strategy's signed position in the instrument after this fill.
    pub position: Quantity,
    /// Profit realised by this fill, before its fee.
    pub realised: Cash,
}

/// A discrete signal (hysteresis, comparison) that changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignalChange {
    /// Index of the recorded signal.
    pub signal: u32,
    /// Its new value.
    pub value: f64,
    /// The value it was derived from, for example the z-score; NaN when there is none.
    pub input: f64,
}

/// What was wrong with a market event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Of what.
    pub instrument: InstrumentId,
    /// What was wrong.
    pub kind: QualityKind,
    /// The order, trade or count that it is about; zero when none.
    pub detail: u64,
}

/// The ways in which data can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QualityKind {
    /// Refers to an order that is not in the book.
    UnknownOrder = 0,
    /// Adds an order that is already in the book.
    DuplicateOrder = 1,
    /// Takes more than the order has.
    ExceedsQuantity = 2,
    /// Names an order of another instrument.
    WrongInstrument = 3,
    /// Quantity or price that cannot be.
    BadValue = 4,
    /// Best bid above or at best ask during continuous trading.
    Crossed = 5,
    /// Stamp earlier than the one before.
    TimeBackwards = 6,
    /// A table of the book is full: raise its maximum.
    Full = 7,
    /// Messages are missing; `detail` is how many.
    Gap = 8,
    /// What was missing has come: the book is whole.
    Whole = 9,
}

/// What moved money or shares without a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BookingKind {
    /// A split: shares changed, fractions were paid out.
    Split = 0,
    /// A dividend: received when long, paid when short.
    Dividend = 1,
    /// Paid for borrowed shares.
    Borrow = 2,
    /// Interest paid or received.
    Financing = 3,
}

/// One account's part of a corporate action or of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booking {
    /// Whose; [`StrategyId::HOUSE`] for interest on the money that the run began with.
    pub strategy: StrategyId,
    /// Of what; [`InstrumentId::NONE`] for interest.
    pub instrument: InstrumentId,
    /// Why.
    pub kind: BookingKind,
    /// Received when positive, paid when negative.
    pub cash: Cash,
    /// The strategy's signed position in the instrument afterwards.
    pub position: Quantity,
    /// Profit that it realised: of the fractions of a split that were paid out.
    pub realised: Cash,
    /// Of a split: new shares; else zero.
    pub numerator: u32,
    /// Of a split: for so many old ones; else zero.
    pub denominator: u32,
}

/// A supervised limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breach {
    /// Which.
    pub rule: Rule,
    /// The limit, in the rule's unit.
    pub limit: i64,
    /// The value, in the rule's unit.
    pub value: i64,
}
