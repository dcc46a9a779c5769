"""One day of one schema, from frames in any order to finished Parquet files.

A day is cut into slices of `SLICE_ROWS` events in order of time; each slice is a file, sorted by instrument, then time.
So a reader can go through a day in order of time with one slice in memory, and reads of one instrument little else.
The cut does not depend on how the frames came: the same events in the same order give the same bytes.

Events that come in order of time, as those of a feed do, become files as they come. Where one is earlier than what is
already in a file, all is sorted again, in bounded memory.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from helios.data.catalog.schemas import PRICES, SCHEMAS, SIZES, TIME
from helios.data.catalog.sorting import Columns, Sorter, cut, in_order, length, together
from helios.data.source import UNDEFINED_PRICE
from helios.errors import DataError
from helios.scales import PRICE_SCALE, QUANTITY_SCALE

__all__ = ["DayWriter", "File", "write_parquet"]

SLICE_ROWS: Final = 1 << 19
ROW_GROUP_ROWS: Final = 1 << 16
#: Rows that may still be overtaken before a slice is cut: stamps of a feed are not always quite in order.
_LATE_ROWS: Final = SLICE_ROWS // 4
#: What stands for a missing stamp while sorting.
_NO_TIME: Final = -(2**63)
_DAY_NS: Final = 86_400_000_000_000


@dataclass(frozen=True)
class File:
    """A finished Parquet file."""

    path: Path
    #: Of its bytes: its name.
    digest: str
    rows: int
    bytes: int
    #: Rows and stamps of each instrument, in the order of the file; None for a reference table.
    index: pl.DataFrame | None = None


def write_parquet(frame: pl.DataFrame, folder: Path, index: pl.DataFrame | None = None) -> File:
    """Writes a frame as the catalog stores it."""
    path = folder / f"{len(list(folder.iterdir()))}.parquet"
    scales = dict.fromkeys(PRICES, PRICE_SCALE) | dict.fromkeys(SIZES, QUANTITY_SCALE)
    metadata = {"helios.scales": json.dumps({name: scales[name] for name in frame.columns if name in scales})}
    frame.write_parquet(
        path,
        compression="zstd",
        compression_level=3,
        statistics=True,
        row_group_size=ROW_GROUP_ROWS,
        metadata=metadata,
    )
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:32]
    return File(path, digest, frame.height, path.stat().st_size, index)


class Names:
    """Instruments and their numbers, in the order in which they came."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def numbers(self, names: list[str]) -> npt.NDArray[np.uint32]:
        for name in names:
            if name not in self._numbers:
                self._numbers[name] = len(self.names)
                self.names.append(name)
        return np.array([self._numbers[name] for name in names], dtype=np.uint32)

    def ranks(self) -> tuple[npt.NDArray[np.uint32], list[str]]:
        """Place of each number in the order of names, and the names in that order."""
        order = sorted(range(len(self.names)), key=self.names.__getitem__)
        ranks = np.empty(len(order), dtype=np.uint32)
        ranks[order] = np.arange(len(order), dtype=np.uint32)
        return ranks, [self.names[number] for number in order]


def to_integers(frame: pl.DataFrame, names: Names) -> Columns:
    """Events without texts and nulls, as they are sorted."""
    there = frame["instrument"].unique(maintain_order=True)
    codes = frame["instrument"].cast(pl.Enum(there)).to_physical().to_numpy()
    columns: dict[str, npt.NDArray[Any]] = {"instrument": names.numbers(there.to_list())[codes]}
    for column in frame.get_columns():
        if column.name != "instrument":
            columns[column.name] = _integers(column)
    return columns


def _integers(column: pl.Series) -> npt.NDArray[Any]:
    null = _NO_TIME if column.dtype == TIME else UNDEFINED_PRICE
    column = column.to_physical()
    return (column.fill_null(null) if column.null_count() else column).to_numpy()


@dataclass
class DayWriter:
    """Collects a day and writes it."""

    schema: str
    date: dt.date
    source: str
    folder: Path
    memory: int
    files: list[File] = field(default_factory=list)
    _names: Names = field(default_factory=Names)
    #: Latest stamp that is in a file, and how many events of it.
    _written: tuple[int, int] = (-1, 0)
    _in_order: bool = True

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "sorting").mkdir()
        self._sorter = Sorter(self.folder / "sorting", self.memory)

    @property
    def held_bytes(self) -> int:
        """In memory."""
        return self._sorter.held_bytes

    def spill(self) -> None:
        """Frees the memory."""
        self._sorter.spill()

    def add(self, frame: pl.DataFrame) -> None:
        """More events, with the columns of the schema but `seq`. DataError for one of another day."""
        for part in frame.iter_slices(_LATE_ROWS):
            self._add(part)

    def _add(self, frame: pl.DataFrame) -> None:
        columns = to_integers(frame, self._names)
        first, last = int(columns["ts"].min()), int(columns["ts"].max())
        self._check_day(first, last)
        if first < self._written[0]:
            self._take_back()
        self._sorter.add(columns)
        if self._in_order and not self._sorter.spilled and self._sorter.rows >= SLICE_ROWS + _LATE_ROWS:
            self._cut(self._sorter.sorted(), rest=True)

    def _check_day(self, first: int, last: int) -> None:
        """An event may belong to a date that is not its own in UTC, but not to one that no clock on earth shows."""
        day = (self.date - dt.date(1970, 1, 1)).days * _DAY_NS
        for ts in (first, last):
            if not day - _DAY_NS <= ts < day + 2 * _DAY_NS:
                shown = pl.Series([ts]).cast(pl.Datetime("ns")).cast(pl.String)[0]
                raise DataError(f"an event of {shown} UTC is not of the day {self.date}", source=self.source)

    def _take_back(self) -> None:
        """What is in files comes back, since something earlier came after it."""
        written, self.files = self.files, []
        self._written, self._in_order = (-1, 0), False
        self._sorter.prepend(self._read_back(file) for file in written)

    def _read_back(self, file: File) -> Columns:
        assert file.index is not None
        numbers = self._names.numbers(file.index["instrument"].to_list())
        frame = pl.read_parquet(file.path, memory_map=False, columns=list(SCHEMAS[self.schema])[1:])
        file.path.unlink()
        columns = {"instrument": np.repeat(numbers, file.index["rows"].to_numpy())}
        columns |= {column.name: _integers(column) for column in frame.get_columns()}
        ordered = in_order(columns, ("ts", "seq"))
        return {name: column for name, column in ordered.items() if name != "seq"}

    def finish(self) -> list[File]:
        """Writes what is left; the day's files."""
        self._cut(self._sorter.sorted(), rest=False)
        return self.files

    def _cut(self, parts: Iterator[Columns], *, rest: bool) -> None:
        """Whole slices of what is sorted; what remains is the last slice, or goes back with `rest`."""
        held: list[Columns] = []
        rows = 0
        for part in parts:
            held.append(part)
            rows += length(part)
            while rows >= SLICE_ROWS:
                whole = together(held)
                self._write(cut(whole, 0, SLICE_ROWS))
                held, rows = [cut(whole, SLICE_ROWS)], rows - SLICE_ROWS
        if rows and rest:
            self._sorter.add(together(held))
        elif rows:
            self._write(together(held))

    def _write(self, columns: Columns) -> None:
        """One slice: by instrument, then time."""
        columns = {**columns, "seq": self._counted(columns["ts"])}
        ranks, names = self._names.ranks()
        rank = ranks[columns["instrument"]]
        counts = np.bincount(rank, minlength=len(names))
        there = np.flatnonzero(counts)
        if there.size > 1:
            # A stable sort of 16 bits takes time in proportion to the rows.
            small = rank.astype(np.uint16) if len(names) <= 1 << 16 else rank
            order = np.argsort(small, kind="stable")
            columns = {name: column[order] for name, column in columns.items() if name != "instrument"}
        index = self._index(columns["ts"], [names[number] for number in there], counts[there])
        self.files.append(write_parquet(self._frame(columns, index), self.folder, index))

    def _counted(self, ts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """`seq`: how many events of the same stamp came before."""
        rows = np.arange(ts.size, dtype=np.uint32)
        begins = np.zeros(ts.size, dtype=np.uint32)
        np.copyto(begins[1:], rows[1:], where=ts[1:] != ts[:-1])
        seq = rows - np.maximum.accumulate(begins)
        latest, count = self._written
        if latest == ts[0]:
            seq[: np.searchsorted(ts, latest, side="right")] += np.uint32(count)
        self._written = int(ts[-1]), int(seq[-1]) + 1
        return seq

    @staticmethod
    def _index(ts: npt.NDArray[np.int64], names: list[str], counts: npt.NDArray[Any]) -> pl.DataFrame:
        ends = np.cumsum(counts)
        stamps = {"first_ts": ts[ends - counts], "last_ts": ts[ends - 1]}
        columns = {name: pl.Series(values, dtype=pl.Int64).cast(TIME) for name, values in stamps.items()}
        return pl.DataFrame({"instrument": names, "rows": pl.Series(counts, dtype=pl.Int64), **columns})

    def _frame(self, columns: Columns, index: pl.DataFrame) -> pl.DataFrame:
        """As people read it."""
        which = np.repeat(np.arange(index.height, dtype=np.uint32), index["rows"].to_numpy())
        found = [index["instrument"].gather(pl.Series(which))]
        for name, dtype in list(SCHEMAS[self.schema].items())[1:]:
            values = columns[name]
            column = pl.Series(name, values)
            null = _NO_TIME if dtype == TIME else UNDEFINED_PRICE if name in PRICES else None
            if null is not None and bool((values == null).any()):
                column = column.set(column == null, None)
            found.append(column.cast(dtype))
        return pl.DataFrame(found)
