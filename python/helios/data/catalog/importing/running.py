"""An import from a foreign format into a catalog: units one after another, each shown whole or not at all."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from helios.data.catalog.importing import binance, dbn, itch, lean, lobster, tables
from helios.data.catalog.importing.pieces import (
    LeftOut,
    Notes,
    Options,
    Reader,
    Rows,
    Table,
    Unit,
    digest_of,
    of_another_day,
)
from helios.data.catalog.schemas import MARKET, TIME, from_batch
from helios.errors import ArgumentError

if TYPE_CHECKING:
    from helios.data.catalog.catalog import Catalog
    from helios.data.catalog.job import ImportJob

__all__ = ["FORMATS", "Imported", "Progress", "import_data"]

Progress = Callable[[str, float, int], None]


class _Format(NamedTuple):
    units: Callable[[str | Path, Options], list[Unit]]
    read: Reader
    #: Which of the options it uses beside date, symbols, schemas, names and on_error.
    uses: frozenset[str]
    schemas: tuple[str, ...]


_TABLE = frozenset({"tz", "columns", "table"})

FORMATS: dict[str, _Format] = {
    "itch": _Format(itch.units, itch.read, frozenset({"tz"}), ("orders",)),
    "lobster": _Format(lobster.units, lobster.read, frozenset({"tz"}), ("orders",)),
    "dbn": _Format(dbn.units, dbn.read, frozenset({"tz"}), ("orders", "quotes", "trades", "depth", "bars")),
    "csv": _Format(tables.units, tables.read, _TABLE, ("bars", "quotes", "trades", "depth")),
    "parquet": _Format(tables.units, tables.read, _TABLE, ("bars", "quotes", "trades", "depth")),
    "lean": _Format(lean.units, lean.read, frozenset(), ("bars", "quotes", "trades")),
    "binance-ws": _Format(binance.units, binance.read, frozenset(), ("depth", "quotes", "trades")),
}


@dataclass
class Imported:
    """What an import did."""

    #: Rows by schema, or by table of reference data.
    rows: dict[str, int] = field(default_factory=dict)
    days: set[dt.date] = field(default_factory=set)
    instruments: set[str] = field(default_factory=set)
    #: Units that were read, and those that were in the catalog before.
    units: int = 0
    there_before: int = 0
    seconds: float = 0.0
    #: Rows left out by reason; a reason that begins with "(kept)" tells of rows that were kept with a change.
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def import_data(
    kind: str,
    source: str | Path,
    catalog: Catalog,
    options: Options | None = None,
    *,
    replace: bool = False,
    memory: str | int = "256MB",
    progress: Progress | None = None,
) -> Imported:
    """Imports a file, a folder or a glob of a format of `FORMATS` into a catalog.

    Memory does not grow with the source. The same source with the same options is imported once; an import that was
    stopped goes on where it was. `progress` is called with the unit's name, how much of all is done (0 to 1) and rows.

    Raises DataError where the source cannot be used as it is (named by file, row or offset, and field), CatalogError
    where its instrument-days are there from another source (unless `replace`) or the catalog cannot be written,
    ArgumentError for options that the format does not have.
    """
    options = options or Options()
    form = _format(kind, options)
    began = time.monotonic()
    done = Imported()
    units = form.units(source, options)
    notes = Notes()
    for number, unit in enumerate(units):

        def tell(number: int = number, unit: Unit = unit) -> None:
            if progress is not None:
                progress(unit.name, (number + min(notes.progress, 1.0)) / len(units), sum(done.rows.values()))

        notes.progress = 0.0
        tell()
        key = {"format": kind, "unit": unit.key, **options.key()}
        with catalog.importing(
            source=unit.name, digest=digest_of(unit.files), options=key, replace=replace, memory=memory
        ) as job:
            if job.done:
                done.there_before += 1
                continue
            done.units += 1
            _unit(form, unit, options, notes, job, done, tell)
    done.seconds = time.monotonic() - began
    done.left_out, done.warnings = notes.left_out, list(notes.warnings)
    if notes.more_warnings:
        done.warnings.append(f"… and {notes.more_warnings} more warnings")
    return done


def _format(kind: str, options: Options) -> _Format:
    form = FORMATS.get(kind)
    if form is None:
        raise ArgumentError(f"format {kind!r}: one of {', '.join(FORMATS)}")
    for name in ("tz", "columns", "table"):
        if getattr(options, name) and name not in form.uses:
            raise ArgumentError(f"format {kind!r} does not take {name}={getattr(options, name)!r}")
    for schema in options.schemas or ():
        if schema not in form.schemas:
            raise ArgumentError(f"format {kind!r} has no schema {schema!r}: one of {', '.join(form.schemas)}")
    return form


def _unit(
    form: _Format, unit: Unit, options: Options, notes: Notes, job: ImportJob, done: Imported, tell: Callable[[], None]
) -> None:
    if unit.date is not None and job.skips(unit.date):
        return
    for piece in form.read(unit, options, notes):
        match piece:
            case Table(table, frame):
                job.write(table, None, frame)
                done.rows[table] = done.rows.get(table, 0) + frame.height
            case Rows():
                _rows(piece, options, job, done)
        tell()


def _rows(rows: Rows, options: Options, job: ImportJob, done: Imported) -> None:
    assert rows.schema in MARKET, rows.schema
    if rows.batch["ts"].size == 0:
        return
    frame = from_batch(rows.batch, rows.instruments)
    if rows.ts_recv is not None:
        stamps = pl.Series("ts_recv", rows.ts_recv)
        frame = frame.with_columns(stamps.set(stamps <= 0, None).cast(TIME))
    for date, part, first in _by_day(rows, frame):
        if options.date not in (None, date):
            of_another_day(rows.source, date, options.date, first)
        if job.skips(date):
            continue
        job.write(rows.schema, date, part)
        done.rows[rows.schema] = done.rows.get(rows.schema, 0) + part.height
        done.days.add(date)
    done.instruments.update(frame["instrument"].unique().to_list())


def _by_day(rows: Rows, frame: pl.DataFrame) -> Iterator[tuple[dt.date, pl.DataFrame, int | None]]:
    """The rows of each date, in their order, and the number of the first of them in the source."""
    if isinstance(rows.days, dt.date):
        yield rows.days, frame, None if rows.at is None else int(rows.at[0])
        return
    days, at = rows.days.to_physical().to_numpy(), rows.at
    if (days[1:] < days[:-1]).any():
        order = np.argsort(days, kind="stable")
        days, frame, at = days[order], frame[pl.Series(order)], None if at is None else at[order]
    cuts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), days.size]
    for begin, end in itertools.pairwise(cuts):
        date = dt.date(1970, 1, 1) + dt.timedelta(days=int(days[begin]))
        yield date, frame.slice(begin, end - begin), None if at is None else int(at[begin])
