"""Events out of a catalog in order of time, as the core takes them, in bounded memory.

Files are loaded in the order of their first stamps; what is earlier than the first stamp of the next file is complete,
is sorted, and goes out. A file is one slice of a day, so that little is held at once. Where so many files overlap in
time that they do not fit (hundreds of imports of one stock each, a small cap), they go through sorted runs on disk.

Events of one stamp come in the order in which they were imported (`seq`), and among imports in the order of date and
import id. That order does not depend on the memory cap.

The cap is for what this source holds: files being decoded, the frames and their sorted copy. The interpreter and its
libraries are not in it, and the batch that the core copies out of is.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from helios.data.catalog.actions import adjusted
from helios.data.catalog.manifest import Entry
from helios.data.catalog.schemas import PRICES, SCHEMAS, values_of
from helios.data.catalog.sorting import FACTOR, Sorter, in_order, row_bytes
from helios.data.catalog.writing import ROW_GROUP_ROWS
from helios.data.source import BATCH_ROWS, UNDEFINED_PRICE, Batch, ColumnSource, check_request
from helios.errors import ArgumentError

if TYPE_CHECKING:
    from helios.data.catalog.catalog import Catalog
    from helios.data.catalog.symbology import Selection

__all__ = ["CatalogSource"]

#: Less would leave no room for a row group of the widest schema and what sorting it needs.
LEAST_MEMORY: Final = 32 << 20


@dataclass(frozen=True)
class _Piece:
    """Rows of a file that are read at once: a range of it, and which parts of that range belong to which instrument."""

    entry: Entry
    #: Place of its rows among equal stamps of other files.
    order: int
    begin: int
    end: int
    #: Where each instrument's part begins and ends within the file, and its number, in order.
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.uint32]
    first_ts: int
    last_ts: int

    @property
    def rows(self) -> int:
        return self.end - self.begin


class CatalogSource(ColumnSource):
    """A selection of a catalog, of one schema. It pickles to the catalog's place and what was selected."""

    def __init__(
        self,
        catalog: Catalog,
        schema: str,
        entries: Sequence[Entry],
        selection: Selection | None,
        start: int | None,
        end: int | None,
        memory: int,
        factors: pl.DataFrame | None,
    ) -> None:
        if memory < LEAST_MEMORY:
            raise ArgumentError(f"memory: {memory >> 20} MB are too few, {LEAST_MEMORY >> 20} MB are needed")
        self.schema = schema  # type: ignore[assignment]
        self.skipped = {}
        self._catalog = catalog
        self._entries = sorted(entries, key=lambda entry: entry.order)
        #: Which instruments, and what they are called; None: all, as they stand.
        self._selection = selection
        self._start, self._end = start, end
        self._memory = memory
        #: What prices and sizes are multiplied by; see `actions.factors`.
        self._factors = factors
        self._columns = ["ts", *values_of(schema), "seq"]
        types = {name: pl.Int64 if dtype.is_temporal() else dtype for name, dtype in SCHEMAS[schema].items()}
        #: What a row is in memory while it is sorted.
        self._sorted_types = pl.Schema({"instrument": pl.UInt32, **{name: types[name] for name in self._columns}})

    @property
    def symbols(self) -> list[str]:
        """Instruments that have events in the selection, sorted."""
        found: set[str] = set()
        for entry in self._entries:
            found.update(self._index(entry)["instrument"])
        return sorted(found)

    @property
    def rows(self) -> int | None:
        """How many events; None where a start or end cuts through a file."""
        total = 0
        for entry in self._entries:
            assert entry.first_ts is not None
            assert entry.last_ts is not None
            if (self._start or 0) > entry.first_ts or (self._end is not None and entry.last_ts >= self._end):
                return None
            total += entry.rows if self._selects_all else int(self._index(entry)["rows"].sum())
        return total

    @property
    def _selects_all(self) -> bool:
        return self._selection is None or self._selection.wanted is None

    def _index(self, entry: Entry) -> pl.DataFrame:
        """The instruments of a file that are selected, with `begin`, the row at which each begins."""
        index = self._catalog.index(entry)
        ends = index["rows"].cum_sum()
        index = index.with_columns(begin=ends - index["rows"])
        if self._selection is not None and entry.date is not None:
            index = self._selection.of(index, entry.date)
        if self._start is not None:
            index = index.filter(pl.col("last_ts").to_physical() >= self._start)
        if self._end is not None:
            index = index.filter(pl.col("first_ts").to_physical() < self._end)
        return index

    # ---- which rows of which files -----------------------------------------------------------------------------------

    @property
    def _most_rows(self) -> int:
        """Rows that may be held at once."""
        return max(ROW_GROUP_ROWS, self._memory // (FACTOR * row_bytes(self._sorted_types)))

    def _pieces(self, ids: Mapping[str, int]) -> list[_Piece]:
        """What is to be read, in the order of first stamps."""
        found: list[_Piece] = []
        for order, entry in enumerate(self._entries):
            index = self._index(entry).filter(pl.col("instrument").is_in(list(ids)))
            if index.height:
                found += self._pieces_of(entry, order, index, ids)
        return sorted(found, key=lambda piece: (piece.first_ts, piece.order, piece.begin))

    def _pieces_of(self, entry: Entry, order: int, index: pl.DataFrame, ids: Mapping[str, int]) -> Iterator[_Piece]:
        """Ranges of a file: rows between selected instruments are read too where skipping them gains nothing."""
        begins = index["begin"].to_numpy()
        ends = begins + index["rows"].to_numpy()
        numbers = np.array([ids[name] for name in index["instrument"]], dtype=np.uint32)
        stamps = index["first_ts"].to_physical().to_numpy(), index["last_ts"].to_physical().to_numpy()
        gaps = np.flatnonzero(begins[1:] - ends[:-1] >= ROW_GROUP_ROWS) + 1
        for part in np.split(np.arange(begins.size), gaps):
            low, high = int(begins[part[0]]), int(ends[part[-1]])
            for begin in range(low, high, self._most_rows):
                end = min(high, begin + self._most_rows)
                here = part[(begins[part] < end) & (ends[part] > begin)]
                if here.size:
                    yield _Piece(
                        entry,
                        order,
                        begin,
                        end,
                        np.maximum(begins[here], begin),
                        np.minimum(ends[here], end),
                        numbers[here],
                        int(stamps[0][here].min()),
                        int(stamps[1][here].max()),
                    )

    # ---- reading -----------------------------------------------------------------------------------------------------

    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        """Batches in order of time. CatalogError where a file is gone or damaged."""
        check_request(ids, size)
        return self._read(dict(ids), size)

    def _read(self, ids: dict[str, int], size: int) -> Iterator[Batch]:
        factors = self._factors_of(ids)
        for frame in self._ordered(self._pieces(ids)):
            if factors is not None:
                frame = adjusted(frame.lazy(), factors).collect()
            for part in frame.iter_slices(size):
                yield self._batch(part)

    def _factors_of(self, ids: Mapping[str, int]) -> pl.DataFrame | None:
        """Factors by number; None where there is nothing to adjust."""
        if self._factors is None or self._factors.is_empty():
            return None
        known = self._factors.filter(pl.col("instrument").is_in(list(ids)))
        return known.with_columns(pl.col("instrument").replace_strict(dict(ids), return_dtype=pl.UInt32))

    def _batch(self, frame: pl.DataFrame) -> Batch:
        batch: Batch = {}
        for name in ("ts", "instrument", *values_of(self.schema)):
            values = frame[name].to_numpy()
            batch[name] = np.ascontiguousarray(values if name == "instrument" else values.astype(np.int64, copy=False))
        return batch

    def _ordered(self, pieces: list[_Piece]) -> Iterator[pl.DataFrame]:
        held: list[tuple[int, pl.DataFrame]] = []
        rows, place = 0, 0
        while place < len(pieces) or held:
            while place < len(pieces) and (not held or rows + pieces[place].rows <= self._most_rows):
                frame = self._load(pieces[place])
                held.append((pieces[place].order, frame))
                rows += frame.height
                place += 1
            end = pieces[place].first_ts if place < len(pieces) else None
            ready, held = _split(held, end)
            rows = sum(frame.height for _, frame in held)
            if rows > self._most_rows // 2 or (not ready and held):
                overlapping = self._overlapping(pieces, place, held)
                if ready:
                    yield _together(ready)
                    ready = []
                yield from self._through_disk(held, pieces[place:overlapping])
                held, rows, place = [], 0, overlapping
            elif ready:
                yield _together(ready)

    @staticmethod
    def _overlapping(pieces: list[_Piece], place: int, held: list[tuple[int, pl.DataFrame]]) -> int:
        """The first piece that begins after all that is held, and all that is read with it, has ended."""
        last = max(int(frame["ts"].max()) for _, frame in held)  # type: ignore[arg-type]
        while place < len(pieces) and pieces[place].first_ts <= last:
            last = max(last, pieces[place].last_ts)
            place += 1
        return place

    def _through_disk(self, held: list[tuple[int, pl.DataFrame]], pieces: Sequence[_Piece]) -> Iterator[pl.DataFrame]:
        """Sorted runs on disk. They are made in the order of files, so that equal stamps keep it."""
        with tempfile.TemporaryDirectory(prefix="helios-catalog-") as folder:
            sorter = Sorter(Path(folder), self._memory, ("ts", "seq"))
            todo: list[tuple[int, int, pl.DataFrame | _Piece]] = [(order, -1, frame) for order, frame in held]
            held.clear()
            todo += [(piece.order, piece.begin, piece) for piece in pieces]
            todo.sort(key=lambda each: each[:2], reverse=True)
            while todo:
                _, _, each = todo.pop()
                sorter.add(self._load(each) if isinstance(each, _Piece) else each)
            yield from sorter.sorted()

    def _load(self, piece: _Piece) -> pl.DataFrame:
        """The piece's rows as integers."""
        frame = self._catalog.rows(piece.entry, piece.begin, piece.end, self._columns)
        lengths = piece.ends - piece.begins
        columns = [pl.Series("instrument", np.repeat(piece.numbers, lengths))]
        wanted = None
        if int(lengths.sum()) < piece.rows:
            marks = np.zeros(piece.rows + 1, dtype=np.int8)
            np.add.at(marks, piece.begins - piece.begin, 1)
            np.add.at(marks, piece.ends - piece.begin, -1)
            wanted = pl.Series(np.cumsum(marks[:-1]) > 0)
        for name in self._columns:
            column = frame[name].to_physical()
            if name in PRICES and column.null_count():
                column = column.fill_null(UNDEFINED_PRICE)
            columns.append(column if wanted is None else column.filter(wanted))
        found = pl.DataFrame(columns)
        if self._start is not None and piece.first_ts < self._start:
            found = found.filter(pl.col("ts") >= self._start)
        if self._end is not None and piece.last_ts >= self._end:
            found = found.filter(pl.col("ts") < self._end)
        return found


def _split(
    held: list[tuple[int, pl.DataFrame]], end: int | None
) -> tuple[list[tuple[int, pl.DataFrame]], list[tuple[int, pl.DataFrame]]]:
    """What is before `end`, and the rest."""
    if end is None:
        return held, []
    ready, rest = [], []
    for order, frame in held:
        before = frame["ts"] < end
        count = int(before.sum())
        if count:
            ready.append((order, frame if count == frame.height else frame.filter(before)))
        if count < frame.height:
            rest.append((order, frame if count == 0 else frame.filter(~before)))
    return ready, rest


def _together(frames: list[tuple[int, pl.DataFrame]]) -> pl.DataFrame:
    frames.sort(key=lambda each: each[0])
    whole = pl.concat([frame for _, frame in frames])
    frames.clear()
    return in_order(whole, ("ts", "seq"))


def trading_days(start: Any, end: Any) -> tuple[dt.date | None, dt.date | None]:
    """Start and end where they are whole days, None where they are moments."""

    def day(given: Any) -> dt.date | None:
        if isinstance(given, dt.date) and not isinstance(given, dt.datetime):
            return given
        if isinstance(given, str) and len(given) == 10:
            try:
                return dt.date.fromisoformat(given)
            except ValueError:
                return None
        return None

    return day(start), day(end)
