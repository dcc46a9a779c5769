"""NASDAQ TotalView-ITCH 5.0 days: order events of all stocks, and the day's list of stocks.

One file is one unit and one trading day: the day of its name (MMDDYYYY), or `--date`. Messages are read by the core.
The directory (`R`) gives the reference table `instruments`. Assumes that the file begins with the day's directory.
Absent: broken trades, imbalance and price band messages, and the participants' states.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from helios.data.catalog.importing.pieces import Notes, Options, Rows, Table, Unit, files_of, of_another_day
from helios.data.itch import NO_DATE, itch
from helios.data.source import BATCH_ROWS
from helios.errors import DataError
from helios.scales import QUANTITY_SCALE

PATTERNS = ("*ITCH*", "*.itch", "*.itch.gz", "*.pcap")
TZ = "America/New_York"


def units(source: str | Path, options: Options) -> list[Unit]:
    """One per file."""
    found = []
    for path in files_of(source, PATTERNS, "ITCH"):
        named = itch(path).date
        if named != NO_DATE and options.date is not None and options.date != named:
            of_another_day(str(path), named, options.date)
        date = options.date or named
        if date == NO_DATE:
            hint = "Pass --date YYYY-MM-DD: the messages hold only the time of day."
            raise DataError("the name does not tell the day", source=str(path), hint=hint)
        found.append(Unit(str(path), (path,), date=date, key=str(date)))
    return found


def read(unit: Unit, options: Options, notes: Notes) -> Iterator[Rows | Table]:
    """The order events of the wanted stocks, then the list of them."""
    from helios._core import CoreError, ItchRows

    assert unit.date is not None, "units() sees to it"
    source = itch(unit.files[0], date=unit.date, tz=options.tz or TZ)
    wanted = None if options.symbols is None else list(options.symbols)
    names: dict[str, int] = {}
    try:
        reader = ItchRows(source.path, source.midnight_ns, wanted, options.on_error == "raise")
        while (columns := reader.next_rows(BATCH_ROWS)) is not None:
            _name(reader, names, options, unit.name)
            batch = {
                name: np.frombuffer(data, dtype=np.uint32 if name == "instrument" else np.int64)
                for name, data in columns.items()
            }
            notes.progress = reader.progress
            if options.wants("orders"):
                yield Rows("orders", list(names), batch, unit.date, source=unit.name)
    except CoreError as error:
        raise DataError(error.args[1], source=error.args[0]) from None
    _name(reader, names, options, unit.name)
    for reason, (count, first) in reader.left_out().items():
        notes.leave_out(reason, first, count)
    listings = reader.listings(0)
    _refuse_missing(options, [listing["symbol"] for listing in listings], unit.name)
    if names:
        yield Table("instruments", _instruments(listings, list(names), unit.date))


def _name(reader: Any, names: dict[str, int], options: Options, source: str) -> None:
    """Names what the directory has listed since: name -> stock locate, in the order of the numbers of the rows."""
    for listing in reader.listings(len(names)):
        this = listing["locate"]
        name = options.named(listing["symbol"], this)
        if name in names:
            hint = f"Give one of them a permanent name: --name {this}=NAME (its stock locate)."
            message = f"two instruments are called {name!r}: stock locate {names[name]} and {this}"
            raise DataError(message, source=source, hint=hint)
        names[name] = this


def _refuse_missing(options: Options, there: list[str], source: str) -> None:
    missing = sorted(set(options.symbols or ()) - set(there))
    if missing:
        hint = "Check --symbols; stocks are written as the venue writes them, for example 'BRK.A'."
        raise DataError(f"lists no stock {', '.join(map(repr, missing))}", source=source, hint=hint)


def _instruments(listings: list[dict[str, Any]], names: list[str], date: dt.date) -> pl.DataFrame:
    """As listed on that day."""
    plain = ("locate", "symbol", "round_lot")
    rows = [
        {
            "instrument": name,
            "symbol": listing["symbol"],
            "from": date,
            "to": date + dt.timedelta(days=1),
            "venue": "XNAS",
            "currency": "USD",
            "lot": listing["round_lot"] * QUANTITY_SCALE,
            "kind": "etp" if listing["etp"] == "Y" else "stock",
            "details": json.dumps(
                {"stock_locate": listing["locate"]} | {k: v for k, v in listing.items() if k not in plain}
            ),
        }
        for name, listing in zip(names, listings, strict=True)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _without(listing: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in listing.items() if name not in names}
