"""The core's integer scales: units per share of a price, per share, per unit of money (core/types/src/number.rs)."""

import math
from typing import Final

from helios.errors import ArgumentError

PRICE_SCALE: Final = 1_000_000_000
QUANTITY_SCALE: Final = 100_000_000
CASH_SCALE: Final = 1_000_000


def scaled(value: float, scale: int, what: str, *, least: float | None = None, bits: int = 63) -> int:
    """A setting as the core's integer. ArgumentError names it by `what`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ArgumentError(f"{what} is {value!r}: it must be a finite number")
    if least is not None and value < least:
        raise ArgumentError(f"{what} is {value!r}: it must be {least:g} or more")
    if abs(value * scale) >= 2**bits - 1:
        raise ArgumentError(f"{what} is {value!r}: it must be below {2**bits / scale:g}")
    return round(value * scale)
