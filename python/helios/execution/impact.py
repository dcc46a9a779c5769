"""How our own trades move prices in a backtest. What it assumes, and when not to trust it: docs/models/impact.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from helios.duration import nanoseconds
from helios.errors import ArgumentError
from helios.scales import QUANTITY_SCALE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: As the core takes it: symbol ("" for all), volume, [permanent, exponent, maker], decays (amplitude, lifetime in ns).
ImpactSpec = tuple[str, int, list[float], list[tuple[float, int]]]

MAX_DECAYS = 8
_BP = 1e-4
_MAX_BP = 10_000


@dataclass(frozen=True, kw_only=True)
class Impact:
    """A trade of ours of one `volume` moves the price by the sum of `decays` and by `permanent`, in basis points.

    Each decay is what it adds at once and its lifetime, after which 1/e of it is left: `decays=[(2.0, "10s"), (1.0,
    "5m")]`. With the traded quantity the decaying part grows as `(quantity/volume) ** exponent`, the permanent part in
    proportion. `maker` is the share of an execution of a resting order that counts.
    """

    volume: float
    decays: Sequence[tuple[float, str | timedelta]] = field(default=())
    permanent: float = 0.0
    exponent: float = 0.5
    maker: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "decays", tuple((bp, lifetime) for bp, lifetime in self.decays))
        _between(self.volume, "volume", 1 / QUANTITY_SCALE, 1e10)
        _between(self.permanent, "permanent", 0, _MAX_BP)
        _between(self.maker, "maker", 0, 1)
        if _between(self.exponent, "exponent", 0, 1) == 0:
            raise ArgumentError("Impact: exponent is 0: it must be above 0 and at most 1")
        if len(self.decays) > MAX_DECAYS:
            raise ArgumentError(f"Impact: {len(self.decays)} decays: give at most {MAX_DECAYS}")
        for bp, lifetime in self.decays:
            if isinstance(bp, int | float) and bp < 0:
                raise ArgumentError(
                    f"Impact: a decay of {bp:g} bp: none may be negative, or the kernel would not be falling and "
                    "convex everywhere, and prices could be manipulated"
                )
            _between(bp, "a decay's amplitude in bp", 0, _MAX_BP)
            nanoseconds(lifetime, "Impact: a decay's lifetime")

    @classmethod
    def power_law(
        cls,
        *,
        volume: float,
        bp: float,
        gamma: float,
        start: str | timedelta,
        end: str | timedelta,
        terms: int = 5,
        tolerance: float = 0.05,
        permanent: float = 0.0,
        exponent: float = 0.5,
        maker: float = 0.0,
    ) -> Impact:
        """An impact that decays as `bp * (1 + t/start) ** -gamma` from 0 to `end`, by a sum of `terms` exponentials.

        ArgumentError where the sum is off by more than `tolerance` of the power law somewhere: take more terms or a
        shorter range. Beyond `end` the sum falls faster.
        """
        _between(bp, "bp", 0, _MAX_BP)
        _between(gamma, "gamma", 0.01, 5)
        first, last = nanoseconds(start, "Impact: start") / 1e9, nanoseconds(end, "Impact: end") / 1e9
        if not last > first:
            raise ArgumentError(f"Impact: end {end} must be later than start {start}")
        if isinstance(terms, bool) or not isinstance(terms, int) or not 1 <= terms <= MAX_DECAYS:
            raise ArgumentError(f"Impact: terms is {terms!r}: give 1 to {MAX_DECAYS}")
        amplitudes, lifetimes, error = _exponentials(gamma, first, last, terms)
        if error > tolerance:
            raise ArgumentError(
                f"Impact: {terms} exponentials are off by {error:.1%} of the power law somewhere between 0 and {end}, "
                f"more than {tolerance:.1%}: take more terms (at most {MAX_DECAYS}) or a shorter range"
            )
        decays = [
            (bp * a, timedelta(microseconds=max(1, round(1e6 * t)))) for a, t in zip(amplitudes, lifetimes, strict=True)
        ]
        return cls(volume=volume, decays=decays, permanent=permanent, exponent=exponent, maker=maker)

    def kernel(self, seconds: Any) -> npt.NDArray[np.float64]:
        """Basis points left of a trade of one volume after so many seconds, the permanent part included."""
        import numpy as np

        t = np.asarray(seconds, dtype=np.float64)
        left = np.full(t.shape, float(self.permanent))
        for bp, lifetime in self.decays:
            left += bp * np.exp(-t * 1e9 / nanoseconds(lifetime))
        return left

    def spec(self, symbol: str = "") -> ImpactSpec:
        """As the core takes it."""
        decays = [(bp * _BP, nanoseconds(lifetime)) for bp, lifetime in self.decays]
        rest = [self.permanent * _BP, float(self.exponent), float(self.maker)]
        return symbol, round(self.volume * QUANTITY_SCALE), rest, decays


def _between(value: float, what: str, least: float, most: float) -> float:
    number = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    if not number or not least <= value <= most:
        raise ArgumentError(f"Impact: {what} is {value!r}: it must be a number from {least:g} to {most:g}")
    return value


def _exponentials(gamma: float, start: float, end: float, terms: int) -> tuple[list[float], list[float], float]:
    """Amplitudes and lifetimes of the sum, and its largest relative error.

    Lifetimes stand evenly in logarithms; amplitudes are fitted by least squares of the relative error, without negative
    ones (those are left out and the rest is fitted again). The ends of the lifetimes are chosen from a grid.
    """
    import numpy as np

    t = np.concatenate(([0.0], np.geomspace(start / 100, end, 400)))
    law = (1 + t / start) ** -gamma
    best: tuple[float, Any, Any] | None = None
    for low in np.geomspace(0.2, 3.0, 12):
        for high in np.geomspace(0.2, 4.0, 14):
            if not low * start < high * end:
                continue
            lifetimes = np.geomspace(low * start, high * end, terms) if terms > 1 else np.array([high * end])
            basis = np.exp(-t[:, None] / lifetimes) / law[:, None]
            keep = np.arange(lifetimes.size)
            while True:
                fitted = np.linalg.lstsq(basis[:, keep], np.ones(t.size), rcond=None)[0]
                if (fitted >= 0).all() or keep.size == 1:
                    break
                keep = keep[fitted >= 0] if (fitted >= 0).any() else keep[:1]
            error = float(np.abs(basis[:, keep] @ fitted - 1).max())
            if best is None or error < best[0]:
                best = error, fitted, lifetimes[keep]
    assert best is not None, "the grid holds lifetimes within the range"
    return [float(a) for a in best[1]], [float(x) for x in best[2]], best[0]
