//! What can be asked of the engine, and what it says.

use helios_types::{BookRef, CancelReason, InstrumentId, Price, Quantity, RejectReason, Side, Terms, TimeInForce};

use super::{AuctionKind, Indicative, Phase};
use crate::SelfTrade;

/// An order as it comes to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Of what.
    pub instrument: InstrumentId,
    /// Its number.
    pub order: BookRef,
    /// Buy or sell.
    pub side: Side,
    /// Limit; [`Price::UNDEFINED`] for a market order, and for a peg without a limit.
    pub price: Price,
    /// Positive.
    pub quantity: Quantity,
    /// How long it works.
    pub time_in_force: TimeInForce,
    /// Post-only, peg, display, stop.
    pub terms: Terms,
    /// Whose it is, for the prevention of self-trades; 0 for nobody's.
    pub firm: u32,
    /// Who yields when it would trade with an order of the same firm; `None`: nobody, they trade.
    pub self_trade: Option<SelfTrade>,
}

impl NewOrder {
    /// A limit order that rests, displayed whole, of no firm.
    pub const fn limit(instrument: InstrumentId, order: BookRef, side: Side, price: Price, quantity: Quantity) -> Self {
        Self {
            instrument,
            order,
            side,
            price,
            quantity,
            time_in_force: TimeInForce::Day,
            terms: Terms::PLAIN,
            firm: 0,
            self_trade: None,
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.firm == 0
            && matches!(self.time_in_force, TimeInForce::Day | TimeInForce::Ioc)
            && self.terms == Terms::PLAIN
    }

    pub(super) fn is_stop(&self) -> bool {
        self.terms.stop.is_defined()
    }
}

/// A change of a working order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amend {
    /// Of what.
    pub instrument: InstrumentId,
    /// Which.
    pub order: BookRef,
    /// Its number from now on if it loses its place; may be the same.
    pub new_order: BookRef,
    /// New limit; must be [`Price::UNDEFINED`] for an order that has none.
    pub price: Price,
    /// New total, with what has traded already; must be more than that.
    pub quantity: Quantity,
    /// New displayed size; `None` leaves it.
    pub display: Option<Quantity>,
}

/// One thing asked of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A new order.
    Submit(NewOrder),
    /// An order shall go.
    Cancel { instrument: InstrumentId, order: BookRef },
    /// An order shall change.
    Amend(Amend),
    /// The session goes on.
    Phase { instrument: InstrumentId, phase: Phase },
    /// The auction is held.
    Uncross { instrument: InstrumentId, kind: AuctionKind },
    /// What the auction would give now.
    Indicate { instrument: InstrumentId, kind: AuctionKind },
}

impl Command {
    /// The instrument and the order that the command is about, if it is about an order.
    #[inline(always)]
    pub fn about(&self) -> Option<(InstrumentId, BookRef)> {
        match *self {
            Self::Submit(NewOrder { instrument, order, .. })
            | Self::Cancel { instrument, order }
            | Self::Amend(Amend { instrument, order, .. }) => Some((instrument, order)),
            Self::Phase { .. } | Self::Uncross { .. } | Self::Indicate { .. } => None,
        }
    }
}

/// What kind of command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Request {
    /// A new order.
    Submit = 0,
    /// A cancel.
    Cancel = 1,
    /// A change.
    Amend = 2,
    /// A phase.
    Phase = 3,
    /// An auction or its indication; the order's number is 0.
    Auction = 4,
}

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The order works, or traded at once: see what follows.
    Accepted { instrument: InstrumentId, order: BookRef, side: Side, price: Price, quantity: Quantity },
    /// The command changed nothing.
    Rejected { instrument: InstrumentId, order: BookRef, request: Request, reason: RejectReason },
    /// An incoming order of `side` met a resting one. `resting_left` is all that the resting order has left.
    Traded {
        instrument: InstrumentId,
        side: Side,
        incoming: BookRef,
        resting: BookRef,
        price: Price,
        quantity: Quantity,
        resting_left: Quantity,
    },
    /// `quantity` of the order is gone without a trade; `left` is still there (only in [`SelfTrade::Decrement`]).
    Cancelled { instrument: InstrumentId, order: BookRef, quantity: Quantity, left: Quantity, reason: CancelReason },
    /// New price and open quantity; `kept` says whether the order kept its place, and then its number.
    Amended {
        instrument: InstrumentId,
        order: BookRef,
        new_order: BookRef,
        price: Price,
        quantity: Quantity,
        kept: bool,
    },
    /// An iceberg shows its next part, at the back of its price.
    Refreshed { instrument: InstrumentId, order: BookRef, quantity: Quantity },
    /// A stop was reached; what it does follows.
    Triggered { instrument: InstrumentId, order: BookRef },
    /// What the auction would give.
    Indicative { instrument: InstrumentId, kind: AuctionKind, indicative: Indicative },
    /// The auction was held; its trades follow. Without a price nothing trades.
    Auctioned { instrument: InstrumentId, kind: AuctionKind, indicative: Indicative },
    /// A trade of the auction.
    AuctionTraded { instrument: InstrumentId, buy: BookRef, sell: BookRef, price: Price, quantity: Quantity },
    /// The session went on.
    Phase { instrument: InstrumentId, phase: Phase },
}

const _: () = assert!(size_of::<Event>() <= 56);
