"""Sorting by time in bounded memory: sorted runs on disk, merged block by block.

Rows are columns of integers, `ts` among them. Rows of equal keys keep the order in which they were added. Memory stays
near `memory` however many rows there are; only more equal keys than fit in it would need more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["FACTOR", "Columns", "Sorter", "cut", "in_order", "length", "order_of", "row_bytes", "together"]

Columns = Mapping[str, npt.NDArray[Any]]

#: How often a row is in memory at once while it is sorted: as it came, in order, its key and place, and what the
#: allocators have not given back yet (measured).
FACTOR: Final = 4
_LEAST_BLOCK: Final = 1_024


def length(columns: Columns) -> int:
    """Rows."""
    return len(columns["ts"])


def row_bytes(columns: Columns) -> int:
    """Bytes of a row."""
    return sum(column.dtype.itemsize for column in columns.values())


def cut(columns: Columns, begin: int, end: int | None = None) -> Columns:
    """A range of rows, as a view."""
    return {name: column[begin:end] for name, column in columns.items()}


def together(parts: Sequence[Columns]) -> Columns:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def order_of(columns: Columns, by: Sequence[str], *, unique: bool = False) -> npt.NDArray[np.int64] | None:
    """The rows in order of `ts`, or of `ts` and `seq`, equal keys as they are; None where they are in order already.

    `unique`: there are no equal keys, which takes half the time.
    """
    key = _key(columns, by)
    if key is None:
        return np.lexsort([columns[name] for name in reversed(by)])
    if bool((key[1:] >= key[:-1]).all()):
        return None
    return np.argsort(key, kind=None if unique else "stable")


def in_order(columns: Columns, by: Sequence[str]) -> Columns:
    """Sorted by `ts`, or by `ts` and `seq`; equal keys keep their order."""
    order = order_of(columns, by)
    return columns if order is None else {name: column[order] for name, column in columns.items()}


def _key(columns: Columns, by: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """One number for `ts` and `seq`, which is sorted several times faster than two. None where it needs more bits."""
    ts = columns["ts"]
    if len(by) == 1 or not ts.size:
        return ts
    seq = columns["seq"]
    bits = int(seq.max()).bit_length()
    if bits == 0:
        return ts
    first = int(ts.min())
    if (int(ts.max()) - first).bit_length() + bits > 63:
        return None
    key: npt.NDArray[np.int64] = ts - first
    key <<= bits
    key |= seq
    return key


@dataclass
class _Run:
    """A sorted run: a file that holds one column after the other."""

    path: Path
    types: dict[str, np.dtype[Any]]
    rows: int
    order: int
    read: int = 0

    @classmethod
    def write(cls, columns: Columns, path: Path, order: int) -> _Run:
        with path.open("wb") as stream:
            for column in columns.values():
                stream.write(np.ascontiguousarray(column).data)
        return cls(path, {name: column.dtype for name, column in columns.items()}, length(columns), order)

    def take(self, rows: int) -> Columns:
        """The next rows."""
        rows = min(rows, self.rows - self.read)
        columns, begin = {}, 0
        with self.path.open("rb") as stream:
            for name, dtype in self.types.items():
                stream.seek(begin + self.read * dtype.itemsize)
                columns[name] = np.fromfile(stream, dtype=dtype, count=rows)
                begin += self.rows * dtype.itemsize
        self.read += rows
        if self.read == self.rows:
            self.path.unlink()
        return columns


@dataclass
class Sorter:
    """Collects rows in any order of time and gives them back sorted."""

    folder: Path
    memory: int
    by: tuple[str, ...] = ("ts",)
    #: Rows in memory.
    rows: int = 0
    _parts: list[Columns] = field(default_factory=list)
    _runs: list[_Run] = field(default_factory=list)
    _made: int = 0

    @property
    def held_bytes(self) -> int:
        """In memory, as it is collected."""
        return self.rows * row_bytes(self._parts[0]) if self._parts else 0

    @property
    def spilled(self) -> bool:
        """Whether there is a run on disk."""
        return bool(self._runs)

    def add(self, columns: Columns) -> None:
        """More rows."""
        most = self._most(columns)
        for begin in range(0, length(columns), most):
            part = cut(columns, begin, begin + most)
            if self.rows + length(part) > most:
                self.spill()
            self._parts.append(part)
            self.rows += length(part)

    def _most(self, columns: Columns) -> int:
        """Rows that are sorted at once."""
        return max(_LEAST_BLOCK, self.memory // (FACTOR * row_bytes(columns)))

    def _collected(self) -> Columns:
        columns = in_order(together(self._parts), self.by)
        self._parts, self.rows = [], 0
        return columns

    def spill(self) -> None:
        """Brings what is in memory to disk."""
        if self._parts:
            self._runs.append(self._run(self._collected(), len(self._runs)))

    def prepend(self, parts: Iterable[Columns]) -> None:
        """Sorted rows that came before all others, each part of which fits in memory."""
        before = [self._run(part, number) for number, part in enumerate(parts)]
        for run in self._runs:
            run.order += len(before)
        self._runs = before + self._runs

    def _run(self, columns: Columns, order: int) -> _Run:
        self._made += 1
        return _Run.write(columns, self.folder / f"run-{self._made}", order)

    def sorted(self) -> Iterator[Columns]:
        """All rows in order, in parts. What was collected is gone afterwards."""
        if not self._runs:
            if self._parts:
                yield self._collected()
            return
        self.spill()
        runs, self._runs = self._runs, []
        row = sum(dtype.itemsize for dtype in runs[0].types.values())
        block = max(_LEAST_BLOCK, self.memory // (FACTOR * row * len(runs)))
        yield from _merged(runs, block, self.by)


def _merged(runs: list[_Run], block: int, by: Sequence[str]) -> Iterator[Columns]:
    """What is before the latest stamp that every unfinished run has brought is complete."""
    held: dict[int, Columns] = {}
    while True:
        for run in runs:
            if run.read < run.rows and run.order not in held:
                held[run.order] = run.take(block)
        open_ends = {run.order: int(held[run.order]["ts"][-1]) for run in runs if run.read < run.rows}
        if not open_ends:
            if held:
                yield in_order(together([held[order] for order in sorted(held)]), by)
            return
        end = min(open_ends.values())
        cuts = {order: int(np.searchsorted(columns["ts"], end)) for order, columns in held.items()}
        ready = [cut(held[order], 0, rows) for order, rows in sorted(cuts.items()) if rows]
        held = {order: cut(columns, cuts[order]) for order, columns in held.items() if cuts[order] < length(columns)}
        if ready:
            yield in_order(together(ready), by)
        for run in runs:
            # Only rows of the last stamp are left of it, and there may be more of them.
            if open_ends.get(run.order) == end:
                more = run.take(block)
                held[run.order] = together([held[run.order], more]) if run.order in held else more
