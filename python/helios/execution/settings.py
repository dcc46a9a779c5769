"""Settings of execution and of the simulated venue. What each model assumes stands in docs/models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from helios.errors import ArgumentError
from helios.execution.impact import Impact, ImpactSpec
from helios.execution.latency import Latency, length_ns
from helios.scales import CASH_SCALE, PRICE_SCALE

PPM_PER_BP = 100

#: How a queue position is estimated; see docs/models/depth.md.
_QUEUES = ("pessimistic", "optimistic", "proportional", "log")


def _scaled(value: float, scale: int, what: str, *, least: float | None = None, bits: int = 63) -> int:
    """As the core's integer."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ArgumentError(f"{what} is {value!r}: it must be a finite number")
    if least is not None and value < least:
        raise ArgumentError(f"{what} is {value!r}: it must be {least:g} or more")
    if abs(value * scale) >= 2**bits - 1:
        raise ArgumentError(f"{what} is {value!r}: it must be below {2**bits / scale:g}")
    return round(value * scale)


@dataclass(frozen=True, kw_only=True)
class Fees:
    """What a fill costs: per share (money) and in basis points of the notional; negative is a rebate."""

    maker_per_share: float = 0.0
    taker_per_share: float = 0.0
    maker_bp: float = 0.0
    taker_bp: float = 0.0
    minimum_per_order: float = 0.0


def fees_spec(fees: Fees) -> dict[str, int]:
    """As the core takes them."""
    per_share = {
        name: _scaled(getattr(fees, name), CASH_SCALE, f"fees.{name}")
        for name in ("maker_per_share", "taker_per_share")
    }
    ppm = {
        f"{side}_ppm": _scaled(getattr(fees, f"{side}_bp"), PPM_PER_BP, f"fees.{side}_bp")
        for side in ("maker", "taker")
    }
    minimum = _scaled(fees.minimum_per_order, CASH_SCALE, "fees.minimum_per_order", least=0)
    return {**per_share, **ppm, "minimum_per_order": minimum}


@dataclass(frozen=True, kw_only=True)
class HalfSpread:
    """Half of the spread that bars do not show: in basis points of the open, or a fixed amount of money."""

    bp: float = 1.0
    fixed: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Venue:
    """The simulated exchange of a backtest."""

    latency: Latency = field(default_factory=Latency)
    fees: Fees = field(default_factory=Fees)
    half_spread: HalfSpread = field(default_factory=HalfSpread)
    #: Length of time after 00:00 UTC at which a trading day begins and day orders have expired, like "5h".
    day_begins: str | timedelta | None = None
    #: "exact": the venue keeps history's orders or price levels and our place among them. "fast": it fills against the
    #: best prices that the engine sees; `helios backtest --compare` tells what that costs.
    mode: Literal["exact", "fast"] = "exact"
    #: Where data has price levels only: how much of what others cancel stood behind our order. "pessimistic": all that
    #: can; "optimistic": none while something is before us; "proportional"; "log"; a number n: as x to the power of n.
    queue: Literal["pessimistic", "optimistic", "proportional", "log"] | float = "pessimistic"

    #: How our own trades move prices: one Impact for all instruments, or one for each of those named; None: not at all.
    impact: Impact | Mapping[str, Impact] | None = None

    def __post_init__(self) -> None:
        given = self.impact.values() if isinstance(self.impact, Mapping) else [self.impact]
        if not all(one is None or isinstance(one, Impact) for one in given):
            raise ArgumentError(f"Venue: impact is {self.impact!r}: give hx.Impact(…), or one for each symbol")
        for name, kind in (("latency", Latency), ("fees", Fees), ("half_spread", HalfSpread)):
            if not isinstance(given := getattr(self, name), kind):
                raise ArgumentError(f"Venue: {name} is {given!r}: give hx.{kind.__name__}(…)")

    def spec(self) -> dict[str, Any]:
        """As the core takes it."""
        self._check_mode()
        half = self.half_spread
        return {
            **self.latency.spec(),
            "impacts": self._impacts(),
            "fees": fees_spec(self.fees),
            "half_spread_fixed": _scaled(half.fixed, PRICE_SCALE, "half_spread.fixed", least=0),
            "half_spread_ppm": _scaled(half.bp, PPM_PER_BP, "half_spread.bp", least=0, bits=32),
            "day_begins_ns": length_ns(self.day_begins, "day_begins"),
            "queue": self._queue(),
            "fast": self.mode == "fast",
        }

    def _check_mode(self) -> None:
        if self.mode not in ("exact", "fast"):
            raise ArgumentError(f"Venue: mode is {self.mode!r}: it must be 'exact' or 'fast'")

    def _impacts(self) -> list[ImpactSpec]:
        if isinstance(self.impact, Mapping):
            return [impact.spec(symbol) for symbol, impact in self.impact.items()]
        return [] if self.impact is None else [self.impact.spec()]

    def _queue(self) -> tuple[str, int]:
        """Name and, for a power, the exponent in thousandths."""
        if isinstance(self.queue, str):
            if self.queue not in _QUEUES:
                raise ArgumentError(f"queue is {self.queue!r}: it must be a number or one of {', '.join(_QUEUES)}")
            return self.queue, 0
        exponent = _scaled(self.queue, 1_000, "queue", least=0.001, bits=32)
        return "power", exponent


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a netted wish becomes an order.

    "touch": an immediate-or-cancel limit order `ticks` through the best opposite price; what is left is tried again at
    the next event. "market": a market order, the venue decides the price. "auto": market for bars, touch otherwise.
    """

    style: Literal["auto", "touch", "market"] = "auto"
    ticks: int = 0

    def __post_init__(self) -> None:
        if self.style not in ("auto", "touch", "market"):
            raise ArgumentError(f"execution style is {self.style!r}: it must be 'auto', 'touch' or 'market'")
        if not isinstance(self.ticks, int) or not 0 <= self.ticks < 2**16:
            raise ArgumentError(f"execution ticks is {self.ticks!r}: it must be 0 to 65535")
