//! The vocabulary of Helios: numbers, time, instruments, events, orders. Nothing here acts.
//!
//! Everything that can happen to the system is an [`Input`]; everything it says is an [`Output`].
//! All prices, quantities and cash are integers with a stated scale; overflow is an error, never a wrap.
//! Absent on purpose: clocks, floats that hold money, maps with a random order.

mod digest;
mod event;
mod instrument;
mod number;
mod order;
mod output;
mod persist;
mod rng;
mod split;
mod time;

pub use digest::{Digest, Hasher};
pub use event::{
    BookRef, Charge, Control, Event, Feed, Input, Intent, IntentKind, Link, Market, Report, ReportKind, StrategyId,
    Timer, TradeKind, TradingStatus, Update,
};
pub use instrument::{Instrument, InstrumentId, MAX_TICK_BANDS, Rules, TickTable};
pub use number::{
    CASH_SCALE, Cash, Overflow, PRICE_SCALE, Price, QUANTITY_SCALE, Quantity, notional, round_down_to_lot,
    round_down_to_tick, round_up_to_tick,
};
pub use order::{CancelReason, Liquidity, Order, OrderId, OrderState, RejectReason, Side, Terms, TimeInForce};
pub use output::{
    Booking, BookingKind, Breach, Difference, Fill, Output, Quality, QualityKind, Refusal, Rule, SignalChange,
    StateChange,
};
pub use persist::{Damaged, Load, Persist, Save};
pub use rng::Rng;
pub use split::Split;
pub use time::{NANOS_PER_DAY, NANOS_PER_SECOND, Nanos};
