"""Crossed and locked books of an instrument's day, by the core's own book: orders, and depth as orders of whole levels.

A book is looked at after the last row of each stamp, since rows of one stamp are one event of the venue. Where the best
bid is above the best ask it is crossed until a later stamp ends it; so is a locked one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from helios.data.source import Batch

_ADD, _DELETE, _CLEAR = 0, 3, 9
_NODES: list[tuple[str, list[int], list[int], list[float]]] = [("source:bid", [], [0], []), ("source:ask", [], [0], [])]


@dataclass(frozen=True)
class BookFaults:
    """The best prices after each stamp, and where they cannot be. NaN: that side is empty."""

    ts: npt.NDArray[np.int64]
    bid: npt.NDArray[np.float64]
    ask: npt.NDArray[np.float64]
    #: Events that the book could not apply, an unknown order among them.
    refused: int

    @property
    def crossed(self) -> npt.NDArray[np.bool_]:
        """Stamps after which the bid is above the ask."""
        return np.greater(self.bid, self.ask)

    @property
    def locked(self) -> npt.NDArray[np.bool_]:
        """Stamps after which bid and ask are equal."""
        return np.equal(self.bid, self.ask)

    def lasted(self, at: npt.NDArray[np.bool_]) -> float:
        """Seconds for which the book was so; what holds after the last stamp does not count."""
        return float(np.diff(self.ts)[at[:-1]].sum()) / 1e9 if self.ts.size else 0.0


def book_of(orders: Batch) -> BookFaults:
    """Runs the order events of one instrument (schema "orders", instrument 0) through the native book."""
    from helios import _core as core

    rows = int(orders["ts"].size)
    capacity = int(np.count_nonzero((orders["kind"] == _ADD) | (orders["kind"] == 4))) + 1_024
    source: tuple[Any, ...] = ("orders", "orders", rows, iter([orders]))
    stamped, _, values, refused = core.over_events(_NODES, [""], [], [source], [0, 1], True, capacity)
    ts = np.frombuffer(stamped, dtype="<i8")
    # A side that is empty is null in Arrow, and NaN here.
    bid, ask = (pl.Series(column).to_numpy() for column in values)
    final = np.append(ts[1:] != ts[:-1], True) if ts.size else np.zeros(0, dtype=np.bool_)
    return BookFaults(ts[final], bid[final], ask[final], refused)


def orders_of_levels(depth: Batch) -> Batch:
    """Depth as order events: each level is one order, which a change replaces and a size of zero deletes."""
    rows = pl.DataFrame({name: depth[name] for name in ("ts", "kind", "side", "price", "size")}).with_row_index("row")
    level = ["side", "price", "epoch"]
    rows = rows.with_columns(epoch=(pl.col("kind") == 1).cum_sum()).with_columns(
        before=pl.col("size").shift(1, fill_value=0).over(level), order=pl.struct(level).rank("dense").cast(pl.Int64)
    )
    is_level = pl.col("kind") == 0
    parts = [
        rows.filter(pl.col("kind") == 1).with_columns(
            step=0, kind=pl.lit(_CLEAR), side=pl.lit(-1), price=0, size=0, order=0
        ),
        # What a level was goes before what it is now.
        rows.filter(is_level & (pl.col("before") > 0)).with_columns(
            step=0, kind=pl.lit(_DELETE), size=pl.col("before")
        ),
        rows.filter(is_level & (pl.col("size") > 0)).with_columns(step=1, kind=pl.lit(_ADD)),
    ]
    names = ("ts", "kind", "order", "side", "price", "size")
    wanted = [*names, "row", "step"]
    told = pl.concat([part.select(pl.col(name).cast(pl.Int64) for name in wanted) for part in parts]).sort(
        "row", "step"
    )
    batch: Batch = {name: np.ascontiguousarray(told[name].to_numpy()) for name in names}
    batch["new_order"] = np.zeros(told.height, dtype=np.int64)
    batch["instrument"] = np.zeros(told.height, dtype=np.uint32)
    return batch
