"""Time as people write it: lengths ("250ms", "10m", "1.5h") and moments ("2026-01-05T14:40:00+00:00")."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from helios.errors import ArgumentError

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


def nanoseconds(length: str | timedelta, what: str = "a length of time") -> int:
    """Nanoseconds of a text with one of the units ns us ms s m h d, or of a timedelta.

    Raises ArgumentError for anything else, for zero and below, and for more than 292 years; `what` names the value.
    """
    if isinstance(length, timedelta):
        ns = (length.days * 86_400 + length.seconds) * 1_000_000_000 + length.microseconds * 1_000
    else:
        match = _TEXT.fullmatch(length) if isinstance(length, str) else None
        if match is None or match[2] not in _UNITS:
            raise ArgumentError(f"{what} is {length!r}: write a number and one of {', '.join(_UNITS)}, like '10m'")
        ns = int(Decimal(match[1]) * _UNITS[match[2]])
    if not 0 < ns < 2**63:
        raise ArgumentError(f"{what} is {length!r}: it must be longer than zero and shorter than 292 years")
    return ns


def span_text(ns: int) -> str:
    """A length of time as people write it: 600000000000 is "10m", 90000000000 "90s"."""
    unit = next(unit for unit, size in reversed(_UNITS.items()) if ns % size == 0)
    return f"{ns // _UNITS[unit]}{unit}"


def moment(given: str | date | int | None, what: str) -> int | None:
    """Nanoseconds since 1970 UTC of ISO text, a datetime, a date (its midnight) or such a number.

    What has no zone is UTC. `what` names it in errors.
    """
    at = given
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            raise ArgumentError(f"{what}={given!r}: write it as 2026-01-05T14:40:00+00:00") from None
    if isinstance(at, date) and not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day, tzinfo=UTC)
    if isinstance(at, datetime):
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        since = at - datetime(1970, 1, 1, tzinfo=UTC)
        at = (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
    if at is not None and (isinstance(at, bool) or not isinstance(at, int) or not 0 <= at < 2**63):
        raise ArgumentError(f"{what}={given!r} is not a moment from 1970 on")
    return at
