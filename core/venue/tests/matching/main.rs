//! The matching engine, from outside.

mod memory;
mod naive;
mod random;
mod scenarios;
