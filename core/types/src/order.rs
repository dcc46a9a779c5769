//! Orders of ours, as execution, risk and venues speak of them.

use crate::{InstrumentId, Price, Quantity, StrategyId};

/// Buy or sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Side {
    /// Bid side.
    Buy = 0,
    /// Ask side.
    Sell = 1,
}

impl Side {
    /// The other side.
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    /// +1 for a buy, -1 for a sell.
    pub const fn sign(self) -> i64 {
        match self {
            Self::Buy => 1,
            Self::Sell => -1,
        }
    }

    /// The side that changes a position by `quantity`: buy for positive.
    pub const fn of(quantity: Quantity) -> Self {
        if quantity.0 >= 0 { Self::Buy } else { Self::Sell }
    }
}

/// Our own order identifier, unique within a run and never reused: 1, 2, 3, …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct OrderId(pub u64);

/// How long an order lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TimeInForce {
    /// Rests until filled or cancelled, at most until the end of the session.
    Day = 0,
    /// Fills what it can at once; the rest is cancelled.
    Ioc = 1,
    /// Fills whole at once, or not at all.
    Fok = 2,
    /// Takes part in the next opening auction only.
    Open = 3,
    /// Takes part in the next closing auction only.
    Close = 4,
}

/// How an order is worked, beyond limit and life time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Rejected rather than taking liquidity.
    pub post_only: bool,
    /// Follows the midpoint of the best displayed bid and ask; the limit, if there is one, is the worst price.
    pub midpoint: bool,
    /// How much is displayed at once: [`Terms::ALL`], zero (hidden), or less than the quantity (iceberg).
    pub display: Quantity,
    /// Sleeps until a trade at this price or beyond it; [`Price::UNDEFINED`] for an order that never sleeps.
    pub stop: Price,
}

impl Terms {
    /// All of the order is displayed.
    pub const ALL: Quantity = Quantity(i64::MAX);
    /// Displayed, awake, free to take.
    pub const PLAIN: Self = Self { post_only: false, midpoint: false, display: Self::ALL, stop: Price::UNDEFINED };

    /// True when nothing is asked for.
    pub fn is_plain(&self) -> bool {
        *self == Self::PLAIN
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self::PLAIN
    }
}

/// An order as it goes to a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Ours.
    pub id: OrderId,
    /// Who asked for it.
    pub strategy: StrategyId,
    /// What.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// Total, positive.
    pub quantity: Quantity,
    /// Limit, or [`Price::UNDEFINED`] for a market order.
    pub price: Price,
    /// Life time.
    pub time_in_force: TimeInForce,
    /// How it is worked.
    pub terms: Terms,
}

/// Life cycle of one order; the transitions are a table in `core/execution`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum OrderState {
    /// Sent, no answer yet.
    New = 0,
    /// Working at the venue.
    Accepted = 1,
    /// Working, some of it filled.
    PartlyFilled = 2,
    /// Done: all of it filled.
    Filled = 3,
    /// Working, a cancel is on its way.
    CancelPending = 4,
    /// Done: cancelled or expired.
    Cancelled = 5,
    /// Working, a replace is on its way.
    ReplacePending = 6,
    /// Done: the venue refused it.
    Rejected = 7,
    /// Sent, or asked to change, and then the session was lost: working or not, the venue will say.
    Unknown = 8,
}

impl OrderState {
    /// True when nothing more can happen to the order.
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Filled | Self::Cancelled | Self::Rejected)
    }
}

/// Whether a fill provided or took liquidity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Liquidity {
    /// It rested in the book.
    Maker = 0,
    /// It met resting orders.
    Taker = 1,
}

/// Why an order stopped working without being filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CancelReason {
    /// We asked.
    Requested = 0,
    /// Immediate-or-cancel with nothing (more) to meet.
    Unfilled = 1,
    /// End of session.
    Expired = 2,
    /// It would have met an order of the same owner.
    SelfTrade = 3,
}

/// Why a venue refused an order, a cancel or a replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RejectReason {
    /// The venue does not list it.
    UnknownInstrument = 0,
    /// The instrument is halted, or the session is closed.
    NotTrading = 1,
    /// Quantity not positive, or not a multiple of the lot.
    BadQuantity = 2,
    /// Price not positive, or not on a tick.
    BadPrice = 3,
    /// Cancel or replace of an order that is not working.
    UnknownOrder = 4,
    /// The order number was used before.
    DuplicateOrder = 5,
    /// No price to trade against was ever seen.
    NoMarket = 6,
    /// A table of the venue is full.
    Full = 7,
    /// Post-only, and it would have traded at once.
    WouldTake = 8,
    /// Beyond the venue's price band.
    PriceBand = 9,
    /// The venue, or its model for this data, has no such order.
    Unsupported = 10,
    /// A short sale of shares that nobody lends.
    NotShortable = 11,
    /// Worth less than the venue's smallest order.
    BelowMinimum = 12,
    /// The venue never had it: it was lost with the connection.
    NeverArrived = 13,
    /// The venue gave a reason that has no name here.
    Other = 14,
}
