"""CSV and Parquet tables of bars, quotes or trades, by way of `helios.data.bars`, `quotes` and `trades`.

All files of a SOURCE are one unit. Which schema it is follows from the columns, or from `--schema`. Rows may be
grouped by symbol or by time; within a symbol a time that goes back is an error unless `--sort` says that the file is
in no order. The day of a row is that of its time in `--tz` (UTC without it); a bar that ends at midnight belongs to
the day that ends. Two instruments with one symbol cannot be told apart in a table: import them one by one with
`--symbol-is`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from helios.data import frames
from helios.data.catalog.importing.pieces import (
    Clocks,
    Notes,
    Options,
    Rows,
    Table,
    Unit,
    files_of,
    instant,
    local_dates,
)
from helios.data.source import BATCH_ROWS
from helios.data.tables import find_column, open_tables
from helios.errors import ArgumentError, DataError

_READERS: dict[str, Callable[..., Any]] = {
    "bars": frames.bars,
    "quotes": frames.quotes,
    "trades": frames.trades,
    "depth": frames.depth,
}
#: Columns by which a schema is known, in the order of asking.
_SIGNS = {"bars": ("open", "high", "low", "close"), "quotes": ("bid", "ask"), "trades": ("price", "size")}
_ONLY_BARS = ("label", "span")


def units(source: str | Path, options: Options) -> list[Unit]:
    """One of all files."""
    paths = files_of(source, ("*.csv", "*.csv.gz", "*.parquet", "*.pq"), "CSV or Parquet")
    schema_of(paths[0], options)
    name = str(paths[0]) if len(paths) == 1 else f"{source} ({len(paths)} files)"
    return [Unit(name, tuple(paths))]


def schema_of(path: Path, options: Options) -> str:
    """What the columns of a table hold."""
    if options.schemas is not None:
        if len(options.schemas) != 1 or options.schemas[0] not in _READERS:
            raise ArgumentError(f"--schema {','.join(options.schemas)}: one of {', '.join(_READERS)} for a table")
        return options.schemas[0]
    (opened,) = open_tables(path)
    try:
        there = opened.table.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot be read: {str(error).splitlines()[0]}", source=str(path)) from error
    for schema, names in _SIGNS.items():
        if all(find_column(options.columns.get(name, name), name, there) is not None for name in names):
            return schema
    hint = "Say what it holds with --schema, and name columns with --column, for example --column close=Last."
    raise DataError(f"is neither bars, quotes nor trades: it has {', '.join(there)}", source=str(path), hint=hint)


def read(unit: Unit, options: Options, notes: Notes) -> Iterator[Rows | Table]:
    """The rows of all files."""
    schema = schema_of(unit.files[0], options)
    table = dict(options.table)
    sort = bool(table.pop("sort", False))
    given = {name: value for name, value in table.items() if schema == "bars" or name not in _ONLY_BARS}
    source = _READERS[schema](
        [str(path) for path in unit.files],
        tz=options.tz,
        on_error=options.on_error,
        **dict(options.columns),
        **given,
    )
    symbols = [symbol for symbol in source.symbols if options.symbols is None or symbol in options.symbols]
    if missing := sorted(set(options.symbols or ()) - set(symbols)):
        raise DataError(f"has no symbol {', '.join(map(repr, missing))}", source=unit.name, hint="Check --symbols.")
    names = [options.named(symbol) for symbol in symbols]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ArgumentError(f"--name gives {twice!r} to more than one symbol of {unit.name}")
    ids = {symbol: number for number, symbol in enumerate(symbols)}
    clocks, done = Clocks(), 0
    for block in source.blocks(ids, BATCH_ROWS):
        batch, rows = block.batch, block.rows
        if not sort:
            late, latest = clocks.late(batch["instrument"], batch["ts"])
            if late.any():
                at = int(np.argmax(late))
                symbol = symbols[int(batch["instrument"][at])]
                error = DataError(
                    f"time of {symbol} goes back to {instant(int(batch['ts'][at]))} after {instant(int(latest[at]))}",
                    source=block.source,
                    row=int(rows[at]),
                    column=block.ts_column,
                    hint="Pass --sort if the file is in no order; --on-error skip leaves single stragglers out.",
                )
                if late.sum() > max(100, late.size // 10):
                    raise error
                notes.refuse(options, error, "time goes back", int(late.sum()))
                batch, rows = {name: column[~late] for name, column in batch.items()}, rows[~late]
        done += batch["ts"].size
        notes.progress = done / source.rows if source.rows else 0.0
        days = local_dates(batch["ts"], options.tz or "UTC", ends=schema == "bars")
        recv = batch.get("ts_recv")
        batch = {name: column for name, column in batch.items() if name != "ts_recv"}
        yield Rows(schema, names, batch, days, ts_recv=recv, source=block.source, at=rows)
    for reason, skipped in source.skipped.items():
        notes.leave_out(reason, f"{skipped.source}, row {skipped.first_row}", skipped.count)
