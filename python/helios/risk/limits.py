"""Limits, in the units people use."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from helios.errors import ArgumentError

_SCALES = {
    "order_quantity": 100_000_000,
    "order_notional": 1_000_000,
    "price_collar": 1_000_000,
    "position": 100_000_000,
    "gross_exposure": 1_000_000,
    "order_rate": 1,
    "daily_loss": 1_000_000,
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The gate's limits; None means not limited. Checked in this order; the first exceeded refuses the order."""

    #: Largest quantity of one order, shares.
    order_quantity: float | None = None
    #: Largest notional of one order, money.
    order_notional: float | None = None
    #: Largest distance of a limit price from the reference price, as a fraction (0.02 is 2 %).
    price_collar: float | None = None
    #: Largest absolute position in one instrument, working orders included, shares.
    position: float | None = None
    #: Largest sum of absolute position values, working orders included, money.
    gross_exposure: float | None = None
    #: Most new orders and replaces within any one second.
    order_rate: int | None = None
    #: Largest loss since the UTC day began, money; reaching it leaves only reducing orders.
    daily_loss: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise ArgumentError(f"limit {field.name} is {value!r}: it must be a number, zero or above")
            if field.name == "order_rate" and value != int(value):
                raise ArgumentError(f"limit order_rate is {value!r}: it is a whole number of orders per second")
            if value * _SCALES[field.name] >= 2**63:
                raise ArgumentError(f"limit {field.name} is {value!r}: too large for the core's 64-bit integers")

    def rows(self) -> list[tuple[str, int]]:
        """Configured limits as (rule, integer in the core's unit); the collar in parts per million."""
        rows = ((name, getattr(self, name), scale) for name, scale in _SCALES.items())
        return [(name, round(value * scale)) for name, value, scale in rows if value is not None]

    def with_strictest(self, *others: Limits) -> Limits:
        """The strictest of each rule."""
        names = [field.name for field in fields(self)]
        given = {name: [v for one in (self, *others) if (v := getattr(one, name)) is not None] for name in names}
        return Limits(**{name: min(values) for name, values in given.items() if values})
