//! FIX 4.0 to 4.4 and 5.0, SP1, SP2 over FIXT.1.1: codec, dictionaries, validation, session.
//!
//! [`codec`] cuts a byte stream into messages and messages into fields, and writes messages; neither allocates on the
//! order path. [`dictionary`] holds the facts of each version as dense tables. [`validate`] judges one message by them.
//! [`session`] is both roles of the session layer as a state machine that owns no socket and reads no clock.
//! Absent: sockets, TLS, files, schedules (`edge/fix`); the meaning of orders; FAST, SBE, FIXML; encryption (98 is 0).

pub mod codec;
pub mod dictionary;
pub mod echo;
pub mod session;
pub mod validate;

pub use codec::{Builder, Fields, Framed, Garbled, Message, ParseError, Precision, frame};
pub use dictionary::{Dictionary, Version};
pub use echo::Echo;
pub use session::{
    Closed, Handled, Logon, Outside, Peek, Reply, Role, SendError, Session, SessionEvent, Settings, Stored, peek_logon,
};
pub use validate::{Reject, Rules, validate};
