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
import mmap
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
from helios.data.catalog.schemas import SCHEMAS, values_of
from helios.data.catalog.sorting import FACTOR, Columns, Sorter, length, order_of, together
from helios.data.catalog.writing import ROW_GROUP_ROWS
from helios.data.source import UNDEFINED_PRICE, Batch, ColumnSource, check_request
from helios.errors import ArgumentError

if TYPE_CHECKING:
    from helios.data.catalog.catalog import Catalog
    from helios.data.catalog.symbology import Selection

__all__ = ["CatalogSource"]

#: Less would not be kept: what the decoder holds is some tens of megabytes whatever it decodes.
LEAST_MEMORY: Final = 64 << 20
#: Rows of a batch unless the caller says otherwise: one is with the core while the next is made.
_BATCH_ROWS: Final = 1 << 16
#: Rows that are decoded at once: a few row groups, so that all cores decode.
_DECODED_ROWS: Final = 3 * ROW_GROUP_ROWS
#: Columns that are not 64 bits wide.
_TYPES: Final[Mapping[Any, Any]] = {pl.Int8: np.int8, pl.UInt32: np.uint32}


@dataclass(frozen=True)
class _Piece:
    """Rows of a file that are read at once."""

    entry: Entry
    #: Place of its rows among equal stamps of other files.
    order: int
    #: Where the part of each instrument begins and ends within the file, and the instrument's number, in order.
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.uint32]
    first_ts: int
    last_ts: int

    @property
    def rows(self) -> int:
        """How many."""
        return int((self.ends - self.begins).sum())

    def ranges(self) -> Iterator[tuple[int, int, npt.NDArray[np.int64] | None]]:
        """Ranges of the file to decode one after the other, and which rows of each; None for all."""
        low, high = int(self.begins[0]), int(self.ends[-1])
        wanted = None if self.rows == high - low else _numbers(self.begins, self.ends)
        for begin in range(low - low % _DECODED_ROWS, high, _DECODED_ROWS):
            start, stop = max(begin, low), min(begin + _DECODED_ROWS, high)
            if wanted is None:
                yield start, stop, None
                continue
            here = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, stop)]
            if here.size:
                start, stop = int(here[0]), int(here[-1]) + 1
                yield start, stop, None if here.size == stop - start else here - start


def _numbers(begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """All numbers of several ranges."""
    lengths = ends - begins
    before = np.cumsum(lengths) - lengths
    return np.repeat(begins - before, lengths) + np.arange(int(lengths.sum()))


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
        types = SCHEMAS[schema]
        #: Bytes of a row while it is sorted, with the number of its instrument.
        self._row_bytes = 4 + sum(np.dtype(_TYPES.get(types[name], np.int64)).itemsize for name in self._columns)

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
            total += entry.rows if self._selects_all else int(self._index(entry)["rows"].sum() or 0)
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
        return max(ROW_GROUP_ROWS, int(self._memory // (FACTOR * self._row_bytes)))

    def _pieces(self, ids: Mapping[str, int]) -> list[_Piece]:
        """What is to be read, in the order of first stamps."""
        found: list[_Piece] = []
        for order, entry in enumerate(self._entries):
            index = self._index(entry).filter(pl.col("instrument").is_in(list(ids)))
            if index.height:
                found += self._pieces_of(entry, order, index, ids)
        return sorted(found, key=lambda piece: (piece.first_ts, piece.order, piece.begins[0]))

    def _pieces_of(self, entry: Entry, order: int, index: pl.DataFrame, ids: Mapping[str, int]) -> Iterator[_Piece]:
        """A file's rows; several pieces where they are too many."""
        begins, lengths = index["begin"].to_numpy(), index["rows"].to_numpy()
        numbers = np.array([ids[name] for name in index["instrument"]], dtype=np.uint32)
        first, last = index["first_ts"].to_physical().to_numpy(), index["last_ts"].to_physical().to_numpy()
        before = np.cumsum(lengths) - lengths
        for row in range(0, int(lengths.sum()), self._most_rows):
            low = np.maximum(row - before, 0)
            high = np.minimum(row + self._most_rows - before, lengths)
            here = high > low
            parts = ((begins + low)[here], (begins + high)[here], numbers[here])
            yield _Piece(entry, order, *parts, int(first[here].min()), int(last[here].max()))

    # ---- reading -----------------------------------------------------------------------------------------------------

    def batches(self, ids: Mapping[str, int], size: int = _BATCH_ROWS) -> Iterator[Batch]:
        """Batches in order of time. CatalogError where a file is gone or damaged."""
        check_request(ids, size)
        return self._read(dict(ids), size)

    def _read(self, ids: dict[str, int], size: int) -> Iterator[Batch]:
        factors = self._factors_of(ids)
        for columns, order in self._ordered(self._pieces(ids)):
            for begin in range(0, length(columns), size):
                batch = self._batch(columns, order, slice(begin, begin + size))
                yield batch if factors is None else _adjusted(batch, factors)
            del columns, order

    def _factors_of(self, ids: Mapping[str, int]) -> pl.DataFrame | None:
        """Factors by number; None where there is nothing to adjust."""
        if self._factors is None or self._factors.is_empty():
            return None
        known = self._factors.filter(pl.col("instrument").is_in(list(ids)))
        return known.with_columns(pl.col("instrument").replace_strict(dict(ids), return_dtype=pl.UInt32))

    def _batch(self, columns: Columns, order: npt.NDArray[np.int64] | None, rows: slice) -> Batch:
        """Rows are put in order as they go out: sorted columns beside the others would double the memory."""
        batch: Batch = {}
        for name in ("ts", "instrument", *values_of(self.schema)):
            column = columns[name][rows] if order is None else columns[name][order[rows]]
            dtype = np.uint32 if name == "instrument" else np.int64
            # No view: whoever has a batch while the next rows are loaded must not keep all columns with it.
            batch[name] = column.astype(dtype, copy=order is None)
        return batch

    def _ordered(self, pieces: list[_Piece]) -> Iterator[tuple[Columns, npt.NDArray[np.int64] | None]]:
        """All rows, in parts that fit the cap, and the order of each part's rows where they are not in order."""
        held: list[_Held] = []
        # More at once would not be faster, and so days that are smaller than the cap take less than it.
        enough = min(self._most_rows, _BATCH_ROWS)
        place = 0
        while place < len(pieces) or held:
            rows = sum(length(columns) for _, columns in held)
            if place == len(pieces):
                yield _together(held)
                return
            following = pieces[place]
            complete = sum(np.count_nonzero(columns["ts"] < following.first_ts) for _, columns in held)
            with_it = rows + following.rows
            if not held or with_it <= enough or (2 * complete < rows and with_it <= self._most_rows):
                held.append((following.order, self._load(following)))
                place += 1
            elif complete:
                ready, held = _split(held, following.first_ts)
                yield _together(ready)
            else:
                overlapping = self._overlapping(pieces, place, held)
                yield from self._through_disk(held, pieces[place:overlapping])
                place = overlapping

    @staticmethod
    def _overlapping(pieces: list[_Piece], place: int, held: list[_Held]) -> int:
        """The first piece that begins after all that is held, and all that is read with it, has ended."""
        last = max(int(columns["ts"].max()) for _, columns in held)
        while place < len(pieces) and pieces[place].first_ts <= last:
            last = max(last, pieces[place].last_ts)
            place += 1
        return place

    def _through_disk(self, held: list[_Held], pieces: Sequence[_Piece]) -> Iterator[tuple[Columns, None]]:
        """Sorted runs on disk. They are made in the order of files, so that equal stamps keep it."""
        with tempfile.TemporaryDirectory(prefix="helios-catalog-") as folder:
            # The other half is for the piece that is being read.
            sorter = Sorter(Path(folder), self._memory // 2, ("ts", "seq"))
            todo: list[tuple[int, int, Columns | _Piece]] = [(order, -1, columns) for order, columns in held]
            held.clear()
            todo += [(piece.order, int(piece.begins[0]), piece) for piece in pieces]
            todo.sort(key=lambda each: each[:2], reverse=True)
            while todo:
                each = todo.pop()[2]
                sorter.add(self._load(each) if isinstance(each, _Piece) else each)
            for columns in sorter.sorted():
                yield columns, None

    def _load(self, piece: _Piece) -> Columns:
        """The piece's rows as integers."""
        types = {name: np.dtype(_TYPES.get(SCHEMAS[self.schema][name], np.int64)) for name in self._columns}
        found = _room(piece.rows, {**types, "instrument": np.dtype(np.uint32)})
        found["instrument"][:] = np.repeat(piece.numbers, piece.ends - piece.begins)
        read, row = self._catalog.reader(piece.entry, self._columns), 0
        for begin, end, rows in piece.ranges():
            # Little by little: what the decoder needs beside these columns is not in our hands.
            frame = read(begin, end)
            stop = row + (end - begin if rows is None else rows.size)
            for column in frame.iter_columns():
                column = column.to_physical()
                values = (column.fill_null(UNDEFINED_PRICE) if column.null_count() else column).to_numpy()
                found[column.name][row:stop] = values if rows is None else values[rows]
            row = stop
        return self._within(found, piece)

    def _within(self, columns: Columns, piece: _Piece) -> Columns:
        """From start to end."""
        if (self._start or 0) <= piece.first_ts and (self._end is None or piece.last_ts < self._end):
            return columns
        ts = columns["ts"]
        inside = (ts >= (self._start or 0)) & (ts < (2**63 - 1 if self._end is None else self._end))
        return {name: column[inside] for name, column in columns.items()}


def _room(rows: int, types: Mapping[str, np.dtype[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Columns to be filled, in memory that the system has back as soon as they are gone: allocators keep some."""
    widest = sorted(types.items(), key=lambda each: -each[1].itemsize)  # so that each begins where it may
    memory = mmap.mmap(-1, max(1, rows * sum(dtype.itemsize for dtype in types.values())))
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # A fault for each small page would cost as much as decoding.
        memory.madvise(mmap.MADV_HUGEPAGE)
    columns, begin = {}, 0
    for name, dtype in widest:
        columns[name] = np.frombuffer(memory, dtype, rows, begin)
        begin += rows * dtype.itemsize
    return columns


#: Rows of a file, and the place of that file among others.
_Held = tuple[int, Columns]


def _split(held: list[_Held], end: int) -> tuple[list[_Held], list[_Held]]:
    """What is before `end`, and the rest."""
    ready, rest = [], []
    for order, columns in held:
        before = columns["ts"] < end
        count = np.count_nonzero(before)
        if count:
            whole = count == length(columns)
            ready.append((order, columns if whole else {name: each[before] for name, each in columns.items()}))
        if count < length(columns):
            rest.append((order, {name: each[~before] for name, each in columns.items()} if count else columns))
    return ready, rest


def _together(held: list[_Held]) -> tuple[Columns, npt.NDArray[np.int64] | None]:
    """Their rows, one after the other, and the order of them."""
    held.sort(key=lambda each: each[0])
    columns = together([each for _, each in held])
    # Within a day of an import, no two events have the same `seq` at one stamp.
    unique = len(held) == 1
    held.clear()
    return columns, order_of(columns, ("ts", "seq"), unique=unique)


def _adjusted(batch: Batch, factors: pl.DataFrame) -> Batch:
    frame = adjusted(pl.LazyFrame(batch), factors).collect()
    return {name: np.ascontiguousarray(frame[name].to_numpy()) for name in batch}


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
