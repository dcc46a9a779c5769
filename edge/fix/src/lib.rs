//! FIX sessions at the wire: sockets, TLS, stores, schedules, limits.
//!
//! [`helios_wire::fix`] holds the protocol as a state machine that owns no socket and reads no clock; [`Engine`] is the
//! loop around any number of such sessions, of both roles, in one thread. [`Application`] is what handles their messages;
//! [`Handle`] speaks to the loop from other threads. Absent: several threads, UDP, proxies.

mod application;
mod clock;
mod config;
mod dial;
mod engine;
mod limit;
mod link;
mod schedule;
mod secret;
mod store;
mod tls;
mod world;

pub use application::{Application, Echoes, Handle, MAX_COMMANDS, Note, Outgoing, SessionId, Status};
pub use config::{Config, Connect, Credentials, Listen, MAX_SESSIONS, SessionConfig, version_name};
pub use engine::Engine;
pub use limit::Rate;
pub use link::{MAX_RESEND_BYTES, STALL};
pub use schedule::{MAX_WINDOWS, Schedule};
pub use secret::{Secret, SecretSource};
pub use store::{
    Durability, Entry, Kind, Left, Limits, MAX_PAYLOAD, Records, Store, StoreError, carries_secret, files, folder_name,
};
pub use tls::{ClientTls, Identity, ServerTls};
