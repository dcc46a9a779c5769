//! The engine as a whole: text scenarios, and random inputs of every kind.

mod golden;
mod links;
mod random;
mod scenarios;
mod snapshots;
mod table;
mod words;
