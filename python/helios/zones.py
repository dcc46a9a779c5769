"""The clocks of time zones: when their offset from UTC changes."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

from helios.errors import ArgumentError

#: For which years the offsets of a time zone are worked out.
_YEARS = (1970, 2060)


@functools.lru_cache(maxsize=32)
def offsets(zone: str) -> tuple[int, ...]:
    """Moment (ns) and offset (s) of every change of a zone's clock, from 1970 on."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        tz = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ArgumentError(f"{zone!r} is no time zone: write for example 'America/New_York'") from None

    def offset(seconds: int) -> int:
        told = datetime.fromtimestamp(seconds, tz).utcoffset()
        assert told is not None
        return int(told.total_seconds())

    first = 0
    last = int(datetime(_YEARS[1], 1, 1, tzinfo=UTC).timestamp())
    flat = [0, offset(0)]
    for day in range(first, last, 86_400):
        low, high = day, day + 86_400
        if offset(high) == flat[-1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == flat[-1] else (low, middle)
        flat += [high * 1_000_000_000, offset(high)]
    return tuple(flat)
