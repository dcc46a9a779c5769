"""How numbers and names are written for people: thousands separators, units, "n/a" for what has no value.

Used by the report and the terminal summary, so that both write the same number in the same way. ASCII minus signs;
the report exchanges them for typographic ones.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final

NOT_AVAILABLE: Final = "n/a"


def is_number(value: Any) -> bool:
    """True for a finite int or float that is not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def finite(value: Any) -> float | None:
    """The value as a float; None for what is not a finite number."""
    return float(value) if is_number(value) else None


def number(value: Any, digits: int = 2) -> str:
    """1234.5 -> "1,234.50"; a rounded zero has no sign."""
    if not is_number(value):
        return NOT_AVAILABLE
    text = f"{value:,.{digits}f}"
    return text[1:] if text.startswith("-") and not any(c in "123456789" for c in text) else text


def money(value: Any) -> str:
    """Currency units: cents below a million, none above."""
    return number(value, 2 if is_number(value) and abs(value) < 1e6 else 0)


def count(value: Any) -> str:
    """A whole number."""
    return number(value, 0)


def many(n: int, noun: str) -> str:
    """2, "fill" -> "2 fills"; for nouns with a plain plural."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def percent(value: Any, digits: int = 2) -> str:
    """A fraction: 0.0123 -> "1.23%"."""
    return f"{number(value * 100, digits)}%" if is_number(value) else NOT_AVAILABLE


def price(value: Any) -> str:
    """Two to six decimals, as many as it has."""
    if not is_number(value):
        return NOT_AVAILABLE
    whole, _, fraction = number(value, 6).partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def quantity(value: Any) -> str:
    """Up to eight decimals, none when whole."""
    if not is_number(value):
        return NOT_AVAILABLE
    text = number(value, 8)
    return text.rstrip("0").rstrip(".")


def nanoseconds(value: Any) -> str:
    """A duration in the unit that fits: 850 ns, 1.25 µs, 3.40 ms, 12.0 s, 4.2 min, 7.5 h."""
    if not is_number(value):
        return NOT_AVAILABLE
    for limit, unit, size, digits in (
        (1e3, "ns", 1.0, 0),
        (1e6, "µs", 1e3, 2),
        (1e9, "ms", 1e6, 2),
        (120e9, "s", 1e9, 1),
        (7200e9, "min", 60e9, 1),
    ):
        if abs(value) < limit:
            return f"{number(value / size, digits)} {unit}"
    return f"{number(value / 3600e9, 1)} h"


def rate(value: Any) -> str:
    """Events per second: 8.31 M/s, 412 k/s."""
    if not is_number(value):
        return NOT_AVAILABLE
    if abs(value) >= 1e6:
        return f"{number(value / 1e6, 2)} M/s"
    return f"{number(value / 1e3, 0)} k/s" if abs(value) >= 1e4 else f"{number(value, 0)}/s"


def moment(value: Any) -> str:
    """A moment in UTC to the second: ns since 1970, a datetime, or text that is passed on."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    # 9999-12-31 is the last moment that a datetime can tell.
    if is_number(value) and 0 <= value < 253_402_300_800e9:
        return datetime.fromtimestamp(int(value) // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return name(value) if isinstance(value, str) else NOT_AVAILABLE


def name(value: Any) -> str:
    """Text from a file, without control characters: a symbol must not steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def label(value: Any) -> str:
    """order_quantity -> "order quantity"."""
    return name(value).replace("_", " ")


def plain(value: Any) -> str:
    """Any value of `meta`: numbers grouped, the rest as text."""
    if isinstance(value, float):
        return count(value) if value.is_integer() else number(value, 2)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else name(value)
