//! The module `helios._core`.
