//! FIX 4.0 to 4.4 and 5.0, SP1, SP2 over FIXT.1.1: codec, dictionaries, validation, session.
//!
//! [`codec`] cuts a byte stream into messages and messages into fields, and writes messages; neither allocates on the
//! order path. [`dictionary`] holds the facts of each version as dense tables. [`mod@validate`] judges one message by
//! them. [`session`] is both roles of the session layer as a state machine that owns no socket and reads no clock;
//! [`outside`] is what it is told and what it asks of the world.
//! Absent: sockets, TLS, files, schedules (`edge/fix`); the meaning of orders; FAST, SBE, FIXML; encryption (98 is 0).

pub mod codec;
pub mod dictionary;
mod echo;
pub mod outside;
mod sender;
pub mod session;
pub mod validate;

pub use codec::{Builder, Fields, Framed, Garbled, Message, ParseError, Precision, frame};
pub use dictionary::{Dictionary, Facts, Version};
pub use echo::Echo;
pub use outside::{Closed, Handled, Outside, Role, SendError, SessionEvent, Settings, Stored};
pub use sender::Reply;
pub use session::{Logon, Peek, Session, peek_logon};
pub use validate::{Reason, Reject, Rules, validate};
