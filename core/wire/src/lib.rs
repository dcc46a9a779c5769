//! Bytes to messages and back, without I/O: TotalView-ITCH 5.0, OUCH 4.2 and 5.0, MoldUDP64, SoupBinTCP, length-prefixed
//! files and packet captures.
//!
//! Decoders borrow: a message is a view of the bytes it came in. They judge form (type, length, counts) and never
//! meaning, and no input makes them panic. Encoders write the exact bytes of the specification.
//! Sessions (SoupBinTCP) are state machines without sockets. Absent: sockets, files, clocks; those live in `edge` or with
//! the caller.

mod error;
#[doc(hidden)]
pub mod fuzz;
mod layout;
mod text;

pub mod fix;
pub mod frame;
pub mod generic;
pub mod itch;
pub mod moldudp64;
pub mod ouch;
pub mod ouch42;
pub mod pcap;
pub mod soupbintcp;

pub use error::WireError;
pub use fuzz::fuzz_decode;
pub use layout::{Field, Kind, Layout};
pub use text::{TextError, alpha, price4, text, to_price4};
