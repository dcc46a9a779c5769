"""A simulated dark pool and who comes to it. What the model assumes: docs/models/dark-pool.md."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from helios.duration import nanoseconds
from helios.errors import ArgumentError
from helios.execution.latency import Latency, length_ns
from helios.execution.settings import Fees, fees_spec
from helios.scales import QUANTITY_SCALE, scaled

PPM = 1_000_000


def _part(value: float, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ArgumentError(f"{what} is {value!r}: it must be 0 to 1")
    return float(value)


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """Counterparties of a dark pool that history does not show: Poisson, with log-normal sizes, for each listing.

    `adverse` says how often they are right: one buys with probability (1 + adverse * imbalance) / 2, where the
    imbalance is (bid size - ask size) / (bid size + ask size) of the reference.
    """

    #: Mean time between two.
    every: str | timedelta
    #: Half of them bring at least so much.
    median: float = 100.0
    #: Standard deviation of the logarithm of the quantity; 0: all bring the median.
    sigma: float = 0.0
    adverse: float = 0.0
    #: How long one waits when it is not filled; None: it leaves at once.
    patience: str | timedelta | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if scaled(self.median, QUANTITY_SCALE, "Arrivals: median") <= 0:
            raise ArgumentError(f"Arrivals: median is {self.median!r}: it must be positive")
        self.spec()

    def spec(self) -> tuple[int, int, int, int, float, float]:
        """As the core takes it."""
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise ArgumentError(f"Arrivals: seed is {self.seed!r}: it must be a whole number from 0 on")
        if isinstance(self.sigma, bool) or not isinstance(self.sigma, int | float) or not 0 <= self.sigma <= 10:
            raise ArgumentError(f"Arrivals: sigma is {self.sigma!r}: it must be 0 to 10")
        patience = length_ns(self.patience, "Arrivals: patience")
        if patience >= 86_400_000_000_000:
            raise ArgumentError(f"Arrivals: patience is {self.patience!r}: it must be less than a day")
        return (
            nanoseconds(self.every, "Arrivals: every"),
            patience,
            scaled(self.median, QUANTITY_SCALE, "Arrivals: median"),
            self.seed,
            float(self.sigma),
            _part(self.adverse, "Arrivals: adverse"),
        )


@dataclass(frozen=True, kw_only=True)
class DarkPool:
    """A dark pool of a backtest: orders rest unseen and trade at the midpoint of the security's listing at `reference`.

    An order for it is one for "KO@NAME", with NAME that of the pool in `Backtest(venue={…})`; a limit is optional. The
    pool has no market data of its own.
    """

    #: The venue whose midpoint counts.
    reference: str = ""
    latency: Latency = field(default_factory=Latency)
    #: An order that rested is a maker.
    fees: Fees = field(default_factory=Fees)
    #: Least quantity of one fill, unless less is left of the order.
    minimum: float = 0.0
    #: Share of what history trades at the midpoint of the reference that would have met us, 0 to 1.
    prints: float = 0.0
    #: Counterparties that history does not show.
    arrivals: Arrivals | None = None
    #: Whether opposite orders of ours trade with one another.
    self_match: bool = False
    #: A reference whose last event is older is none.
    max_age: str | timedelta = "1m"
    #: As for Venue.
    day_begins: str | timedelta | None = None

    def __post_init__(self) -> None:
        for name, kind in (("latency", Latency), ("fees", Fees)):
            if not isinstance(given := getattr(self, name), kind):
                raise ArgumentError(f"DarkPool: {name} is {given!r}: give hx.{kind.__name__}(…)")
        if self.arrivals is not None and not isinstance(self.arrivals, Arrivals):
            raise ArgumentError(f"DarkPool: arrivals is {self.arrivals!r}: give hx.Arrivals(…) or None")
        if not isinstance(self.reference, str):
            raise ArgumentError(f"DarkPool: reference is {self.reference!r}: name the venue whose midpoint counts")
        f = self.fees
        if f.tiers or f.sell_bp or f.sell_per_share:
            raise ArgumentError("DarkPool: fees by volume and on sales are not modelled in a dark pool")
        if self.latency.feed is not None:
            raise ArgumentError("DarkPool: a dark pool shows nothing, so it has no feed latency")
        if self.arrivals is None and not self.prints:
            raise ArgumentError(
                "DarkPool: nobody would come: give prints=… (a share of history's midpoint trades) or "
                "arrivals=hx.Arrivals(…)"
            )

    def spec(self, listings: list[tuple[int, int]]) -> dict[str, Any]:
        """As the core takes it; `listings` are numbers of instruments and of their references."""
        latency = self.latency.spec()
        return {
            "order_latency": latency["order_latency"],
            "report_latency": latency["report_latency"],
            "fees": fees_spec(self.fees),
            "day_begins_ns": length_ns(self.day_begins, "day_begins"),
            "minimum": scaled(self.minimum, QUANTITY_SCALE, "DarkPool: minimum", least=0),
            "prints_ppm": math.floor(_part(self.prints, "DarkPool: prints") * PPM + 0.5),
            "arrivals": None if self.arrivals is None else self.arrivals.spec(),
            "self_match": bool(self.self_match),
            "max_age_ns": nanoseconds(self.max_age, "DarkPool: max_age"),
            "listings": listings,
        }
