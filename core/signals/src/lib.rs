//! Pillar 2, signals: an expression graph, declared once, evaluated incrementally.
//!
//! A [`Graph`] is a list of nodes in topological order. A market event fires the source nodes of its instrument;
//! only nodes that depend on a fired node are visited, and each is computed once per event. A null is a NaN inside:
//! a node is null until every input is there and every window is full.
//!
//! What fires: `bid ask mid …` on every quote and on every change of a best level; `last` on every trade; bar
//! fields on every bar. [`Node::Hysteresis`] fires only when its state changes, so that what hangs
//! below it (targets) acts on decisions and not on ticks.
//! Absent on purpose: wire formats, orders, and time that is not the event's.

mod graph;
mod window;

pub use graph::{Binary, Field, Graph, GraphError, Node, NodeId, Sizing, Unary};
pub use window::{MAX_SAMPLES, Stat, Window};
