"""LOBSTER days: the order events of one stock, seeded from the order book file where there is one.

One message file (in a zip or on its own) is one unit; see `helios.data.lobster` for what is in them. Absent: the
order book file as depth, since the book made of the seeded events equals it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from helios.data.catalog.importing.pieces import (
    Notes,
    Options,
    Part,
    Rows,
    Table,
    Unit,
    files_of,
    of_another_day,
)
from helios.data.lobster import lobster, message_files
from helios.errors import DataError

PATTERNS = ("*.zip", "*_message_*.csv", "*_message_*.csv.gz")
TZ = "America/New_York"


def units(source: str | Path, options: Options) -> list[Unit]:
    """One per stock and day."""
    found = []
    others: list[tuple[str, object]] = []
    for path in files_of(source, PATTERNS, "LOBSTER"):
        only = options.symbols[0] if options.symbols is not None and len(options.symbols) == 1 else None
        for file in message_files(path, symbol=only, date=options.date):
            if options.symbols is not None and file.symbol not in options.symbols:
                continue
            if options.date not in (None, file.date):
                others.append((file.name, file.date))
                continue
            book = file.book()
            files = (path,) if book is None or book == path else (path, book)
            found.append(Unit(file.name, files, (Part(path, file.symbol),), file.date, f"{file.symbol} {file.date}"))
    if not found and others:
        name, date = others[0]
        of_another_day(name, date, options.date)  # type: ignore[arg-type]
    if not found:
        wanted = f" of {', '.join(options.symbols)}" if options.symbols else ""
        raise DataError(f"there is no message file{wanted}", source=str(source), hint="Check --symbols and the path.")
    return found


def read(unit: Unit, options: Options, _notes: Notes) -> Iterator[Rows | Table]:
    """The order events."""
    path, symbol = unit.parts[0]
    assert symbol is not None, "units() sees to it"
    assert unit.date is not None, "units() sees to it"
    source = lobster(path, symbol, unit.date, options.tz or TZ)
    name = options.named(symbol)
    for batch in source.batches({symbol: 0}):
        yield Rows("orders", [name], batch, unit.date, source=unit.name)
