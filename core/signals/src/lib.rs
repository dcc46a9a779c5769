//! Pillar 2, signals: an expression graph, declared once, evaluated incrementally.
//!
//! A [`Graph`] is a list of nodes in topological order. A market event fires the source nodes of its instrument;
//! only nodes that depend on a fired node are visited, and each is computed once per event. A null is a NaN inside:
//! a node is null until every input is there and every window is full.
//!
//! What fires: `bid ask mid …` on every quote and on every change of a best level; depth on every change of the book;
//! `last` on every trade; bar fields on every bar; a series on each of its values. [`Node::Hysteresis`] fires only when
//! its state changes, so that what hangs below it (targets) acts on decisions and not on ticks. The time makes nothing
//! fire: what is made of it is computed when something that looks at it is.
//!
//! Two drivers call the same nodes: event by event ([`Graph::evaluate`]) and, for research, many events at a time, node by
//! node ([`Graph::columns`]).
//! Absent on purpose: wire formats, orders, and time that is not the event's.

mod columns;
mod graph;
mod node;
mod nodes;
mod pattern;
mod plan;

pub use columns::{Column, Fired, Sheet};
pub use graph::Graph;
pub use node::{
    BarKind, Binary, Field, GraphError, Hours, Keeps, Node, NodeId, Offsets, Past, Sizing, Stat, Unary, Window,
};
pub use nodes::moments::MAX_SAMPLES;
pub use pattern::{
    Absence, AtBound, Consumption, MAX_CONDITIONS, MAX_OPEN, MAX_STEPS, MAX_TIMES, Occurrences, Pattern, PatternSpec,
    Step,
};
