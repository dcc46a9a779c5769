"""When an exchange was open: its calendar's sessions, from exchange_calendars (the extra `research`)."""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache

from helios.errors import ArgumentError

Sessions = dict[date, tuple[datetime, datetime]]


def sessions(calendar: str, first: date, last: date) -> Sessions:
    """Opening and close (UTC) of each session from `first` to `last`, both included."""
    years = [_year(calendar, year) for year in range(first.year, last.year + 1)]
    return {day: hours for year in years for day, hours in year.items() if first <= day <= last}


@lru_cache(maxsize=64)
def _year(calendar: str, year: int) -> Sessions:
    try:
        import exchange_calendars
        from exchange_calendars import errors
    except ImportError as error:
        raise ArgumentError(f"calendar={calendar!r} needs exchange_calendars: pip install helios[research]") from error
    try:
        found = exchange_calendars.get_calendar(calendar, start=f"{year}-01-01", end=f"{year}-12-31")
    except errors.NoSessionsError:
        return {}
    except (errors.CalendarError, ValueError) as error:
        raise ArgumentError(f"calendar={calendar!r}: {error}") from error
    table = found.schedule
    return {
        day.date(): (opening.to_pydatetime(), close.to_pydatetime())
        for day, opening, close in zip(table.index, table["open"], table["close"], strict=True)
    }
