"""What the readers of foreign formats have in common: what they are asked, what they give, what they leave out.

A reader splits what it is given into `Unit`s, each of which becomes one commit of the catalog, and turns a unit into
`Rows` (numbers at our scales) and `Table`s of reference data. Absent: anything that knows the catalog.
"""

from __future__ import annotations

import datetime as dt
import glob
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

import numpy as np
import polars as pl

from helios.data.columns import Integers, Mask
from helios.data.source import Batch
from helios.errors import ArgumentError, DataError

__all__ = [
    "Clocks",
    "LeftOut",
    "Notes",
    "Options",
    "Part",
    "Reader",
    "Rows",
    "Table",
    "Unit",
    "digest_of",
    "files_of",
    "fixed_text",
    "instant",
    "local_dates",
    "of_another_day",
]

OnError = Literal["raise", "skip"]
_MAX_WARNINGS = 50
_SKIP_HINT = "Correct it, or pass --on-error skip to leave such rows out and count them."


@dataclass(frozen=True)
class Options:
    """What an import was asked. Fields that a format does not use must be left alone; `refuse_unused` sees to it."""

    #: The trading day. Rows of another day are an error.
    date: dt.date | None = None
    #: The zone whose days divide the data.
    tz: str | None = None
    #: Only these, by the names that the format has; None: all.
    symbols: tuple[str, ...] | None = None
    #: Only these schemas; None: all that the format has.
    schemas: tuple[str, ...] | None = None
    #: Permanent names of instruments, by the symbol or the number that the format has.
    names: Mapping[str, str] = field(default_factory=dict)
    on_error: OnError = "raise"
    #: Columns of tables: our name -> the table's.
    columns: Mapping[str, str] = field(default_factory=dict)
    #: What else the table readers take: label, span, ts_unit, price_unit, symbol_is, sort.
    table: Mapping[str, str | float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ArgumentError(f"on_error={self.on_error!r}: 'raise' or 'skip'")
        if self.date is not None and not isinstance(self.date, dt.date):
            raise ArgumentError(f"date={self.date!r}: give a datetime.date")

    def wants(self, schema: str) -> bool:
        """Whether rows of this schema are to be imported."""
        return self.schemas is None or schema in self.schemas

    def named(self, symbol: str, *keys: object) -> str:
        """The instrument that a symbol, or one of the venue's numbers, stands for."""
        return next((self.names[str(key)] for key in (*keys, symbol) if str(key) in self.names), symbol)

    def key(self) -> dict[str, object]:
        """What decides the result, as plain values: two imports with equal keys of equal bytes are one."""
        return {
            "date": self.date and str(self.date),
            "tz": self.tz,
            "symbols": self.symbols and sorted(self.symbols),
            "schemas": self.schemas and sorted(self.schemas),
            "names": dict(sorted(self.names.items())),
            "on_error": self.on_error,
            "columns": dict(sorted(self.columns.items())),
            "table": dict(sorted(self.table.items())),
        }


class Part(NamedTuple):
    """One file, or one member of an archive."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)


@dataclass(frozen=True)
class Unit:
    """What is imported as one: it is in the catalog whole, or not at all."""

    #: As people know it.
    name: str
    #: The files whose bytes decide it.
    files: tuple[Path, ...]
    #: What the reader needs to know, its own business.
    parts: tuple[Part, ...] = ()
    date: dt.date | None = None
    #: What the names and places of the files say and their bytes do not.
    key: str = ""


class Rows(NamedTuple):
    """Some rows of one schema, in the order of the source."""

    schema: str
    #: Instrument by the number in the batch.
    instruments: Sequence[str]
    #: As in `helios.data.source`; schema "depth" has `kind` (0 level, 1 clear) `side` `price` `size`.
    batch: Batch
    #: Their trading date, or that of each row.
    days: dt.date | pl.Series
    #: Own stamps; 0 where there is none.
    ts_recv: Integers | None = None
    #: Where the rows come from, and their numbers there, for errors.
    source: str = ""
    at: Integers | None = None


class Table(NamedTuple):
    """Rows of a table of reference data."""

    table: str
    frame: pl.DataFrame


Reader = Callable[[Unit, Options, "Notes"], Iterator[Rows | Table]]


@dataclass
class LeftOut:
    """How many rows were left out for one reason, and where the first of them was."""

    count: int
    first: str


class Notes:
    """What people should know of an import: rows left out by reason, warnings, progress."""

    def __init__(self) -> None:
        self.left_out: dict[str, LeftOut] = {}
        self.warnings: list[str] = []
        self.more_warnings = 0
        self.progress: float = 0.0

    def leave_out(self, reason: str, where: str, count: int = 1) -> None:
        """Counts rows that do not get into the catalog."""
        if count <= 0:
            return
        known = self.left_out.setdefault(reason, LeftOut(0, where))
        known.count += count

    def warn(self, text: str) -> None:
        """Says something once; beyond a limit it is only counted."""
        if text in self.warnings:
            return
        if len(self.warnings) < _MAX_WARNINGS:
            self.warnings.append(text)
        else:
            self.more_warnings += 1

    def refuse(self, options: Options, error: DataError, reason: str | None = None, count: int = 1) -> None:
        """Raises the error, or counts the rows when bad rows are to be skipped."""
        if options.on_error == "raise":
            error.hint = error.hint or _SKIP_HINT
            raise error
        where = str(DataError("here", source=error.source, row=error.row, offset=error.offset, column=error.column))
        self.leave_out(reason or error.message, where.removesuffix(": here"), count)


class Clocks:
    """The latest time of each instrument, so that a time that goes back is seen."""

    def __init__(self) -> None:
        self._latest = np.zeros(0, dtype=np.int64)

    def late(self, instrument: np.ndarray[tuple[int], np.dtype[np.uint32]], ts: Integers) -> tuple[Mask, Integers]:
        """Rows that lie before an earlier row of their instrument; and the latest time up to each row."""
        if ts.size == 0:
            return np.zeros(0, dtype=np.bool_), ts
        top = int(instrument.max()) + 1
        if top > self._latest.size:
            self._latest = np.concatenate([self._latest, np.zeros(top - self._latest.size, dtype=np.int64)])
        start = np.maximum(self._latest[instrument], ts)
        frame = pl.DataFrame({"instrument": instrument, "ts": start})
        latest = frame.select(pl.col("ts").cum_max().over("instrument"))["ts"].to_numpy()
        np.maximum.at(self._latest, instrument, ts)
        return ts < latest, latest


# ---- files -----------------------------------------------------------------------------------------------------------


def files_of(source: str | Path, patterns: Sequence[str], what: str) -> list[Path]:
    """The files that a path, a folder (searched whole for `patterns`) or a glob stands for, sorted."""
    path, text = Path(source), str(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted({file for pattern in patterns for file in path.rglob(pattern) if file.is_file()})
        if not found:
            hint = f"Looked for {', '.join(patterns)} in it and below."
            raise DataError(f"the folder holds no {what} file", source=text, hint=hint)
        return found
    if not glob.has_magic(text):
        raise DataError("no such file or folder", source=text, hint="Check the path.")
    found = sorted(file for file in map(Path, glob.glob(text, recursive=True)) if file.is_file())
    if not found:
        raise DataError("no file matches this pattern", source=text, hint="Check the path and the pattern.")
    return found


def digest_of(files: Sequence[Path]) -> str:
    """SHA-256 over the contents of files, whatever their names."""
    total = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror or error}", source=str(path)) from error
    return total.hexdigest()


# ---- numbers ---------------------------------------------------------------------------------------------------------


def fixed_text(texts: pl.Series, digits: int) -> tuple[Integers, Mask]:
    """Decimal texts as whole steps of 10**-digits, exactly; and a mask of those that are none, or do not fit."""
    plain = texts.str.contains(r"^\d{1,18}(\.\d{1,18})?$").fill_null(False)
    whole = texts.cast(pl.Decimal(38, digits), strict=False).to_physical().cast(pl.Int64, strict=False)
    bad = (whole.is_null() | ~plain).to_numpy()
    return np.where(bad, 0, whole.fill_null(0).to_numpy()).astype(np.int64), bad


# ---- days ------------------------------------------------------------------------------------------------------------


def instant(ns: int) -> str:
    """A moment for people, in UTC."""
    return f"{pl.Series([ns]).cast(pl.Datetime('ns')).cast(pl.String)[0]} UTC"


def local_dates(ts: Integers, tz: str, *, ends: bool = False) -> pl.Series:
    """The local date of each moment; with `ends`, of the moment before it: a bar until midnight is of the day."""
    moments = pl.Series(ts - 1 if ends else ts).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    try:
        return moments.dt.convert_time_zone(tz).dt.date()
    except pl.exceptions.PolarsError as error:
        raise ArgumentError(f"tz={tz!r} is no time zone: write for example 'America/New_York'") from error


def of_another_day(source: str, found: dt.date, wanted: dt.date, row: int | None = None) -> NoReturn:
    """Raises what says that a file or row is not of the day that was asked for."""
    hint = f"Pass --date {found}, or leave --date out."
    raise DataError(f"is of {found}, not of {wanted}", source=source, row=row, hint=hint)
