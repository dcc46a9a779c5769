//! The wire crate from outside: published vectors in both directions, and properties of arbitrary bytes.

mod properties;
mod receiver;
mod soup_sessions;
mod vectors;
