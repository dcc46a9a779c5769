"""Pillar 2, signals: expressions that are declared here and evaluated natively, and strategies in Python.

`mid("KO")` and its like are sources; operators and methods build a graph; `target` turns its value into a position.
"""

from helios.signals.compiling import compiled
from helios.signals.expr import (
    Ewm,
    Expr,
    Record,
    Rolling,
    Target,
    ask,
    ask_size,
    bid,
    bid_size,
    close,
    constant,
    high,
    last,
    last_size,
    low,
    mid,
    open_,
    pair,
    record,
    target,
    together,
    volume,
)
from helios.signals.graph import Graph, compile_graph
from helios.signals.sizing import CappedKelly, FixedNotional, FixedQuantity, Sizing, VolatilityTarget
from helios.signals.strategy import Strategy

__all__ = [
    "CappedKelly",
    "Ewm",
    "Expr",
    "FixedNotional",
    "FixedQuantity",
    "Graph",
    "Record",
    "Rolling",
    "Sizing",
    "Strategy",
    "Target",
    "VolatilityTarget",
    "ask",
    "ask_size",
    "bid",
    "bid_size",
    "close",
    "compile_graph",
    "compiled",
    "constant",
    "high",
    "last",
    "last_size",
    "low",
    "mid",
    "open_",
    "pair",
    "record",
    "target",
    "together",
    "volume",
]
