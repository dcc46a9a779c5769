//! The matching engine, from outside.

mod naive;
mod random;
mod scenarios;
