"""ITCH 5.0 files as a source: what is in them is read by the core, not by Python."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import date as Date
from datetime import datetime, time
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

from helios.errors import ArgumentError, DataError
from helios.listings import listing

_DATE_IN_NAME = re.compile(r"(?<!\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(20\d\d)(?!\d)")
#: The day of a file whose name has no date.
NO_DATE = Date(1970, 1, 1)


@dataclass(frozen=True)
class ItchSource:
    """One day of TotalView-ITCH 5.0: plain, gzip, or MoldUDP64 packets in a pcap file."""

    path: Path
    date: Date
    tz: str
    #: The venue at which its symbols are listed; see `helios.data.at`.
    venue: str = ""
    schema: str = field(default="orders", init=False)

    @property
    def midnight_ns(self) -> int:
        """Start of the day at the venue, nanoseconds since 1970 UTC."""
        start = datetime.combine(self.date, time(), tzinfo=ZoneInfo(self.tz))
        return int(start.timestamp()) * 1_000_000_000

    @cached_property
    def symbols(self) -> list[str]:
        """Stocks that the file lists before its first order, sorted."""
        from helios._core import CoreError, itch_directory

        try:
            symbols = sorted({listing(symbol, self.venue) for symbol in itch_directory(self.path)})
        except CoreError as error:
            raise DataError(error.args[1], source=error.args[0]) from None
        if not symbols:
            hint = "Give the file from the day's beginning: without its directory no order can be told a stock."
            raise DataError("lists no stock before its first order", source=str(self.path), hint=hint)
        return symbols


def itch(path: str | os.PathLike[str], *, date: Date | str | None = None, tz: str = "America/New_York") -> ItchSource:
    """A day of ITCH 5.0. `date` is the trading day; without it, MMDDYYYY in the file's name, else 1970-01-01."""
    file = Path(path)
    if not file.is_file():
        raise DataError("there is no such file", source=str(file), hint="`helios simulate` writes a simulated day.")
    if isinstance(date, str):
        try:
            date = Date.fromisoformat(date)
        except ValueError:
            raise ArgumentError(f"date={date!r}: write it as 2026-01-05") from None
    if date is None:
        match = _DATE_IN_NAME.search(file.name)
        try:
            date = Date(int(match[3]), int(match[1]), int(match[2])) if match else NO_DATE
        except ValueError:
            date = NO_DATE
    return ItchSource(file, date, tz)
