"""Parameters of a sweep as people write them on a command line: "enter=1.5:3:0.25", "window=5m,10m".

A range counts in decimals, so that 0.1:0.3:0.1 is 0.1, 0.2, 0.3 and nothing else; its end belongs to it where a step
meets it. Lengths of time may be ranges too: "5m:15m:5m". A whole number stays whole, "true" and "false" are booleans,
all else is text. Absent: values that have a comma in them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from helios.errors import ArgumentError

Value = str | int | float | bool | None

#: Values of one parameter, at most.
MOST_VALUES: Final = 100_000

_NUMBER: Final = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_PART: Final = re.compile(rf"({_NUMBER})(ns|us|ms|s|m|h|d)?")
_NOT_FINITE: Final = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)


def parse_params(texts: Sequence[str]) -> dict[str, list[Value]]:
    """["enter=1.5:3:0.25", "window=5m,10m"] as parameters and their values; ArgumentError says what is wrong."""
    found: dict[str, list[Value]] = {}
    for text in texts:
        name, sign, values = (part.strip() for part in text.partition("="))
        if not sign or not name:
            raise ArgumentError(f"{text!r} is no parameter: write name=start:stop:step or name=a,b,c")
        if name in found:
            raise ArgumentError(f"parameter {name!r} is given twice: put all its values into one list")
        if not values:
            raise ArgumentError(f"parameter {name!r} has no values: write {name}=start:stop:step or {name}=a,b,c")
        found[name] = _range(name, values) or _list(name, values)
    return found


def _list(name: str, text: str) -> list[Value]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ArgumentError(f"parameter {name!r}: {text!r} has an empty value between its commas")
    return [_value(name, part) for part in parts]


def _value(name: str, text: str) -> Value:
    if _NOT_FINITE.fullmatch(text):
        raise ArgumentError(f"parameter {name!r}: {text!r} is no number")
    if text in ("true", "false"):
        return text == "true"
    match = _PART.fullmatch(text)
    return text if match is None or match[2] else _number(Decimal(match[1]), whole=match[1].lstrip("+-").isdigit())


def _number(value: Decimal, *, whole: bool) -> int | float:
    return int(value) if whole else float(value)


def _range(name: str, text: str) -> list[Value]:
    """The values of start:stop:step; empty for what is no range, like a list or a time of day in a date."""
    parts = [part.strip() for part in text.split(":")]
    if len(parts) < 2 or "," in text or not (_PART.fullmatch(parts[0]) or _NOT_FINITE.fullmatch(parts[0])):
        return []
    matches = [_PART.fullmatch(part) for part in parts]
    if len(parts) != 3 or any(match is None for match in matches):
        raise ArgumentError(f"parameter {name!r}: {text!r} is no range of finite numbers: write start:stop:step")
    units = {match[2] for match in matches if match}
    if len(units) != 1:
        raise ArgumentError(f"parameter {name!r}: {text!r} mixes units: write all three parts in the same one")
    start, stop, step = (Decimal(match[1]) for match in matches if match)
    if step == 0:
        raise ArgumentError(f"parameter {name!r}: the step of {text!r} is zero")
    if (stop - start) * step < 0:
        raise ArgumentError(f"parameter {name!r}: {text!r} is empty: its step leads away from its end")
    count = int((stop - start) / step) + 1
    if count > MOST_VALUES:
        raise ArgumentError(f"parameter {name!r}: {text!r} has {count:,} values, more than {MOST_VALUES:,}")
    whole = all(match[1].lstrip("+-").isdigit() for match in matches if match)
    values = [start + step * k for k in range(count)]
    unit = units.pop()
    return [f"{value:f}{unit}" if unit else _number(value, whole=whole) for value in values]
