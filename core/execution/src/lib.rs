//! Pillar 3, execution: from wishes to orders, and the life of each order.
//!
//! Strategies wish positions; [`Orders`] nets the wishes of all strategies in an instrument, crosses opposite ones
//! inside, and sends the rest as one order through the risk gate. Quotes are kept where strategies want them. What comes back moves orders through the table in
//! [`lifecycle`] and is shared out to the strategies that wanted it.
//! Bounded by [`MAX_OPEN_ORDERS`]; a wish beyond it is refused.
//! An execution is money: it is booked also when it comes late or takes more than the order has, and one that cannot be
//! booked pauses trading.
//! Absent on purpose: prices' origin (the caller passes a [`Touch`]), venues, and threads.

mod gateway;
pub mod lifecycle;
mod links;
mod open;
mod orders;
mod quoting;
mod recovering;
mod snapshot;
mod used;

pub use gateway::{EncodeError, Ouch42, Ouch50, OuchGateway};
pub use links::{Links, MAX_SESSIONS, Session};
pub use orders::{
    CALLER_IDS, Counts, MAX_BOOKED_ORDERS, MAX_ENDED_ORDERS, MAX_OPEN_ORDERS, MAX_PAST_TERMS, OpenOrder, Orders, Style,
    Touch, Unanswered,
};
