"""The time as an input of expressions: sessions of an exchange's calendar, hours of one's own, and the wall clock.

Time makes nothing happen: what is made of it is computed when something that looks at it fires. `x.only(s.is_open)`
fires with `x`. Calendars come from exchange_calendars (`pip install helios[research]`) and are part of the run, so that
a replay needs none. Absent: moments at which nothing happens (a timer; see Strategy.on_timer).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from helios.errors import ArgumentError
from helios.signals.expr import Expr
from helios.signals.units import NUMBER, SECONDS
from helios.zones import offsets

_ENDS = ("open", "close")


@dataclass(frozen=True, eq=False)
class Session:
    """Hours of trading, each from its open to its close; both moments belong to it."""

    name: str
    hours: tuple[int, ...]

    def __repr__(self) -> str:
        return f"session({self.name!r})"

    @functools.cached_property
    def _node(self) -> Expr:
        return Expr("session", ints=self.hours, text=repr(self), unit=NUMBER)

    @property
    def is_open(self) -> Expr:
        """1 during a session, else 0."""
        return Expr("read:is_open", (self._node,), text=f"{self!r}.is_open", unit=NUMBER)

    @property
    def since_open(self) -> Expr:
        """Seconds since the open; null outside sessions."""
        return Expr("read:since_open", (self._node,), text=f"{self!r}.since_open", unit=SECONDS)

    @property
    def to_close(self) -> Expr:
        """Seconds until the close; null outside sessions."""
        return Expr("read:to_close", (self._node,), text=f"{self!r}.to_close", unit=SECONDS)

    @property
    def number(self) -> Expr:
        """Which session is open, counted through the calendar; null outside sessions."""
        return Expr("read:session", (self._node,), text=f"{self!r}.number", unit=NUMBER)


def session(
    calendar: str | None = None,
    *,
    start: str | None = None,
    end: str | None = None,
    hours: Sequence[tuple[datetime, datetime]] | None = None,
) -> Session:
    """Sessions of an exchange ("XNYS", "XNAS", "XLON", …: a calendar of exchange_calendars), or `hours` of one's own.

    `start` and `end` (ISO dates) bound the calendar, which else spans twenty years and one to come; outside of it no
    session is open. `hours` are pairs of moments (UTC unless they have a zone), in order and without overlap.
    """
    if (calendar is None) == (hours is None):
        raise ArgumentError("session: give either a calendar, like 'XNYS', or hours")
    if hours is not None:
        if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in hours):
            raise ArgumentError("session(hours=…): give pairs of moments, [(opens, closes), …]")
        flat = [_ns(moment) for pair in hours for moment in pair]
        if not flat:
            raise ArgumentError("session(hours=[]): there must be at least one")
        if any(a >= b for a, b in zip(flat[::2], flat[1::2], strict=True)):
            raise ArgumentError("session(hours=…): each must open before it closes")
        if any(a > b for a, b in zip(flat[1::2], flat[2::2], strict=False)):
            raise ArgumentError("session(hours=…): they must come in order and not overlap")
        return Session("hours", tuple(flat))
    assert calendar is not None
    return Session(calendar, _calendar(_text(calendar, "a calendar", "XNYS"), start, end))


def _text(name: object, what: str, example: str) -> str:
    if not isinstance(name, str):
        raise ArgumentError(f"{name!r} is no name of {what}: write for example {example!r}")
    return name


def _ns(moment: datetime) -> int:
    if not isinstance(moment, datetime):
        raise ArgumentError(f"session(hours=…): {moment!r} is no datetime")
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return ((aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)) * 1_000


@functools.lru_cache(maxsize=32)
def _calendar(name: str, start: str | None, end: str | None) -> tuple[int, ...]:
    try:
        import exchange_calendars as xcals
    except ImportError:
        raise ArgumentError(
            f"session({name!r}): calendars need exchange_calendars: pip install 'helios[research]'"
        ) from None
    # It warns of its own use of pandas, which is nothing that our users could change.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schedule = _schedule(xcals, name, start, end)
    opens, closes = (schedule[which].dt.tz_localize(None).astype("datetime64[ns]").astype("int64") for which in _ENDS)
    return tuple(int(moment) for pair in zip(opens, closes, strict=True) for moment in pair if pair[0] >= 0)


def _schedule(xcals: Any, name: str, start: str | None, end: str | None) -> Any:
    try:
        return xcals.get_calendar(name, start=start, end=end).schedule
    except xcals.errors.InvalidCalendarName:
        import difflib

        near = difflib.get_close_matches(name, xcals.get_calendar_names(), n=3, cutoff=0.4)
        raise ArgumentError(f"session({name!r}): no such calendar; near ones: {', '.join(near) or 'none'}") from None
    except ValueError as error:
        raise ArgumentError(f"session({name!r}, start={start!r}, end={end!r}): {error}") from None


def time_of_day(zone: str = "UTC") -> Expr:
    """Seconds since midnight on a clock of this zone ("America/New_York")."""
    clock = Expr(
        "local_time",
        ints=offsets(_text(zone, "a time zone", "America/New_York")),
        text=f"clock({zone!r})",
        unit=SECONDS,
    )
    return Expr("read:time_of_day", (clock,), text=f"time_of_day({zone!r})", unit=SECONDS)


def weekday(zone: str = "UTC") -> Expr:
    """Monday 0 to Sunday 6, in this zone."""
    clock = Expr(
        "local_time",
        ints=offsets(_text(zone, "a time zone", "America/New_York")),
        text=f"clock({zone!r})",
        unit=SECONDS,
    )
    return Expr("read:weekday", (clock,), text=f"weekday({zone!r})", unit=NUMBER)
