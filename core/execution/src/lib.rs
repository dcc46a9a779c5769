//! Pillar 3, execution: from wishes to orders, and the life of each order.
//!
//! Strategies wish positions; [`Orders`] nets the wishes of all strategies in an instrument, crosses opposite ones
//! inside, and sends the rest as one order through the risk gate. What comes back moves orders through the table in
//! [`lifecycle`] and is shared out to the strategies that wanted it.
//! Bounded by [`MAX_OPEN_ORDERS`]; a wish beyond it is refused.
//! Absent on purpose: prices' origin (the caller passes a [`Touch`]), venues, and threads.

mod gateway;
pub mod lifecycle;
mod orders;

pub use gateway::{EncodeError, MAX_BYTES, OuchGateway};
pub use orders::{CALLER_IDS, Counts, MAX_OPEN_ORDERS, Orders, Style, Touch};
