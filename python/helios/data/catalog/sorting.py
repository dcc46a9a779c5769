"""Sorting by time in bounded memory: sorted runs on disk, merged block by block.

Frames here have no nulls and no texts: `ts` and other integer columns. Rows of equal keys keep the order in which their
frames were added. Memory stays near `memory` however many rows there are; only more equal keys than fit in it would
need more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

__all__ = ["FACTOR", "Sorter", "in_order", "row_bytes"]

#: How often a row is in memory at once while it is sorted: its frame, the sorted copy, keys and order.
FACTOR: Final = 3
_MIN_BLOCK: Final = 1_024


def row_bytes(schema: pl.Schema) -> int:
    """Bytes of a row in memory."""
    return sum(np.dtype(_numpy(dtype)).itemsize for dtype in schema.values())


def _numpy(dtype: Any) -> str:
    return {pl.Int8: "i1", pl.Int64: "<i8", pl.UInt32: "<u4"}[dtype.base_type()]


def in_order(frame: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Sorted by `ts`, or by `ts` and `seq`; equal keys keep their order."""
    if frame.height < 2:
        return frame
    ts = frame["ts"].to_numpy()
    step = np.diff(ts)
    seq = frame["seq"].to_numpy() if len(by) > 1 else None
    most = int(seq.max()) if seq is not None else 0
    if most == 0:
        return frame if bool((step >= 0).all()) else frame.sort("ts", maintain_order=True)
    assert seq is not None
    if bool(((step > 0) | ((step == 0) & (seq[1:] >= seq[:-1]))).all()):
        return frame
    first, bits = int(ts.min()), most.bit_length()
    if (int(ts.max()) - first).bit_length() + bits > 63:
        return frame.sort("ts", "seq", maintain_order=True)
    # One key is sorted several times faster than two.
    key = ((pl.col("ts") - first) * (1 << bits) + pl.col("seq").cast(pl.Int64)).alias("key")
    return frame.with_columns(key).sort("key", maintain_order=True).drop("key")


@dataclass
class _Run:
    """A sorted run: a file that holds one column after the other."""

    path: Path
    schema: pl.Schema
    rows: int
    order: int
    read: int = 0

    @classmethod
    def write(cls, frame: pl.DataFrame, path: Path, order: int) -> _Run:
        with path.open("wb") as stream:
            for column in frame.get_columns():
                stream.write(np.ascontiguousarray(column.to_numpy()).data)
        return cls(path, frame.schema, frame.height, order)

    def take(self, rows: int) -> pl.DataFrame:
        """The next rows."""
        rows = min(rows, self.rows - self.read)
        columns, begin = {}, 0
        with self.path.open("rb") as stream:
            for name, dtype in self.schema.items():
                kind = np.dtype(_numpy(dtype))
                stream.seek(begin + self.read * kind.itemsize)
                columns[name] = pl.Series(name, np.fromfile(stream, dtype=kind, count=rows))
                begin += self.rows * kind.itemsize
        self.read += rows
        if self.read == self.rows:
            self.path.unlink()
        return pl.DataFrame(columns)


@dataclass
class Sorter:
    """Collects frames in any order of time and gives them back sorted."""

    folder: Path
    memory: int
    by: tuple[str, ...] = ("ts",)
    _frames: list[pl.DataFrame] = field(default_factory=list)
    _runs: list[_Run] = field(default_factory=list)
    #: Rows in memory.
    rows: int = 0
    _made: int = 0

    @property
    def held_bytes(self) -> int:
        """In memory, as it is collected."""
        return self.rows * row_bytes(self._frames[0].schema) if self._frames else 0

    @property
    def spilled(self) -> bool:
        """Whether there is a run on disk."""
        return bool(self._runs)

    def add(self, frame: pl.DataFrame) -> None:
        """More rows."""
        if not frame.height:
            return
        most = self._most(frame.schema)
        for part in frame.iter_slices(most):
            if self.rows + part.height > most:
                self.spill()
            self._frames.append(part)
            self.rows += part.height

    def _most(self, schema: pl.Schema) -> int:
        """Rows that are sorted at once."""
        return max(_MIN_BLOCK, self.memory // (FACTOR * row_bytes(schema)))

    def _collected(self) -> pl.DataFrame:
        frame = in_order(pl.concat(self._frames), self.by)
        self._frames, self.rows = [], 0
        return frame

    def spill(self) -> None:
        """Brings what is in memory to disk."""
        if self._frames:
            self._runs.append(self._run(self._collected(), len(self._runs)))

    def prepend(self, frames: Iterable[pl.DataFrame]) -> None:
        """Sorted frames that came before all others, each of which fits in memory."""
        before = [self._run(frame, number) for number, frame in enumerate(frames)]
        for run in self._runs:
            run.order += len(before)
        self._runs = before + self._runs

    def _run(self, frame: pl.DataFrame, order: int) -> _Run:
        self._made += 1
        return _Run.write(frame, self.folder / f"run-{self._made}", order)

    def sorted(self) -> Iterator[pl.DataFrame]:
        """All rows in order. What was collected is gone afterwards."""
        if not self._runs:
            if self._frames:
                yield self._collected()
            return
        self.spill()
        runs, self._runs = self._runs, []
        block = max(_MIN_BLOCK, self._most(runs[0].schema) // len(runs))
        yield from _merged(runs, block, self.by)


def _merged(runs: list[_Run], block: int, by: Sequence[str]) -> Iterator[pl.DataFrame]:
    """What is before the first stamp that a run has still to bring is complete."""
    held: dict[int, pl.DataFrame] = {}
    while True:
        for run in runs:
            if run.read < run.rows and run.order not in held:
                held[run.order] = run.take(block)
        open_ends = {run.order: int(held[run.order]["ts"][-1]) for run in runs if run.read < run.rows}
        if not open_ends:
            if held:
                yield in_order(pl.concat([held[order] for order in sorted(held)]), by)
            return
        end = min(open_ends.values())
        cuts = {order: int(np.searchsorted(frame["ts"].to_numpy(), end)) for order, frame in held.items()}
        ready = [held[order].head(cut) for order, cut in sorted(cuts.items()) if cut]
        held = {order: frame.slice(cuts[order]) for order, frame in held.items() if cuts[order] < frame.height}
        if ready:
            yield in_order(pl.concat(ready), by)
        for run in runs:
            # Only rows of the last stamp are left of it, and there may be more of them.
            if open_ends.get(run.order) == end:
                more = run.take(block)
                held[run.order] = pl.concat([held[run.order], more]) if run.order in held else more
