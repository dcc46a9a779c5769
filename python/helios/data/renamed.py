"""A source whose symbols change in the middle: one instrument under its last name.

    source = rename(bars("daily.parquet"), {"FB": "META"})     # META from the first bar of FB on

An instrument keeps its number, and so its position, its orders' history and its signals' memory, whatever it is called.
Assumes that the old name ends before the new one begins; a symbol that two companies had at different times cannot be
told apart by name: cut the data, or use a catalog with symbols by date.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from helios.data.columns import Integers
from helios.data.source import BATCH_ROWS, Batch, ColumnSource, Skipped, check_request
from helios.errors import ArgumentError, DataError

__all__ = ["rename"]


class _Renamed(ColumnSource):
    def __init__(self, source: ColumnSource, names: Mapping[str, str]) -> None:
        self.schema = source.schema
        self._source = source
        self._names = dict(names)

    @property
    def skipped(self) -> dict[str, Skipped]:  # type: ignore[override]
        """Of the source."""
        return self._source.skipped

    @property
    def symbols(self) -> list[str]:
        """Symbols by their last names."""
        return sorted({self._names.get(symbol, symbol) for symbol in self._source.symbols})

    @property
    def rows(self) -> int | None:
        """Of the source."""
        return self._source.rows

    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        """See `ColumnSource.batches`. DataError when two names of one instrument have events in the same time."""
        check_request(ids, size)
        olds = [old for old in self._source.symbols if self._names.get(old, old) in ids]
        numbers = np.array([ids[self._names.get(old, old)] for old in olds], dtype=np.int64)
        shared = [at for at, number in enumerate(numbers) if (numbers == number).sum() > 1]
        spans: dict[int, tuple[int, int]] = {}
        for batch in self._source.batches({old: at for at, old in enumerate(olds)}, size):
            given = batch["instrument"]
            for at in shared:
                if (ts := batch["ts"][given == at]).size:
                    first, last = spans.get(at, (int(ts[0]), int(ts[-1])))
                    spans[at] = (min(first, int(ts.min())), max(last, int(ts.max())))
            _refuse_overlap(spans, numbers, olds)
            yield {**batch, "instrument": numbers[given].astype(np.uint32)}


def _refuse_overlap(spans: Mapping[int, tuple[int, int]], numbers: Integers, olds: list[str]) -> None:
    ordered = sorted(spans, key=lambda at: (numbers[at], spans[at]))
    for one, other in pairwise(ordered):
        if numbers[one] == numbers[other] and spans[other][0] <= spans[one][1]:
            raise DataError(
                f"{olds[one]} still has events when {olds[other]} has: they are not one instrument's names",
                source="rename",
                hint="Leave one of them out of the mapping.",
            )


def rename(source: ColumnSource, names: Mapping[str, str]) -> ColumnSource:
    """The same source with other symbols, old name to new one; what is not named stays. The position stays too.

    Raises ArgumentError for a name that the source does not have.
    """
    if not isinstance(source, ColumnSource) or source.schema == "series":
        raise ArgumentError(f"rename: {type(source).__name__} has no symbols to rename; give bars(…), quotes(…) …")
    there = source.symbols
    for old, new in names.items():
        if old not in there:
            raise ArgumentError(f"rename: the source has no symbol {old!r}; it has {', '.join(there[:10])}")
        if not isinstance(new, str) or not new:
            raise ArgumentError(f"rename: {old!r} becomes {new!r}: give its new symbol")
        if new in names and names[new] != new:
            raise ArgumentError(f"rename: {old!r} becomes {new!r}, which becomes {names[new]!r}: give its last name")
    return _Renamed(source, names)
