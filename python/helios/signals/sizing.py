"""Sizing: from a side (-1 to 1, an expression) to a position.

All are expressions themselves, evaluated natively. A target acts when its value changes, so a size that moves with
every tick would trade with every tick. Hence a size is read when the side changes, and stands until the side changes
again: one decision, one trade. `rebalance="1d"` reads it anew with the first price after each multiple of that length
of time too, and brings the money back to what it should be. A side that stands when the window gets full is held from
then on. A formula without a value (no variation at all) holds nothing.

Assumptions: a return is from one sample of the price to the next. Its mean is taken as zero in the volatility. By
`periods`, samples come evenly (bars). Kelly's fraction comes from the past and is as uncertain as that; hence
`fraction` and `cap`.
Absent: correlation between instruments (each is sized alone); compounding (`capital` is a constant); a band around the
size that is held, which would need expressions that look back at what they wished.
Sources: Moreira and Muir, "Volatility-managed portfolios" (2017); Thorp, "The Kelly criterion" (2006), section 7.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from helios.duration import nanoseconds
from helios.errors import ArgumentError
from helios.signals.expr import Expr, constant
from helios.signals.indicators import realised_volatility, resample
from helios.signals.outputs import Target, target
from helios.signals.sources import close, last, mid

Price = Literal["mid", "last", "close"]


class Sizing(ABC):
    """How much of a side."""

    @abstractmethod
    def target(self, symbol: str, side: Expr, *, weight: float = 1.0, strategy: str = "main") -> Target:
        """Wishes `side * weight` in this size. A negative weight turns the side."""


@dataclass(frozen=True)
class FixedNotional(Sizing):
    """`side * notional` of money, at the mark when the side changes."""

    notional: float

    def __post_init__(self) -> None:
        _positive(self, "notional")

    def target(self, symbol: str, side: Expr, *, weight: float = 1.0, strategy: str = "main") -> Target:
        """Wishes `side * weight * notional` of money."""
        side, weight = _turned(symbol, side, weight)
        return target(symbol, side, notional=self.notional * weight, strategy=strategy)


@dataclass(frozen=True)
class FixedQuantity(Sizing):
    """`side * quantity` shares."""

    quantity: float

    def __post_init__(self) -> None:
        _positive(self, "quantity")

    def target(self, symbol: str, side: Expr, *, weight: float = 1.0, strategy: str = "main") -> Target:
        """Wishes `side * weight * quantity` shares."""
        side, weight = _turned(symbol, side, weight)
        return target(symbol, side, quantity=self.quantity * weight, strategy=strategy)


@dataclass(frozen=True, kw_only=True)
class VolatilityTarget(Sizing):
    """`capital * min(annual / realised, max_leverage)` of money: a position whose yearly volatility is `annual`.

    realised = sqrt(sum of squared log returns in the window * windows a year). Of a window of samples, `periods` says
    how many samples of the price make a year (252 for daily bars, 252 * 390 for those of a minute of US stocks). Of a
    window of time, `seconds_per_year` says how much time does, counted as the window counts it: 365.25 * 86_400 for
    windows of days, nights and weekends among them; 252 * 6.5 * 3_600 for those that lie within a session of US stocks.
    """

    annual: float
    capital: float
    window: int | str | timedelta
    periods: float | None = None
    seconds_per_year: float | None = None
    price: Price = "close"
    max_leverage: float = 1.0
    rebalance: str | timedelta | None = None

    def __post_init__(self) -> None:
        _positive(self, "annual", "capital", "max_leverage")
        _looks_back(self, self.price, self.window)
        _rebalance(self, self.rebalance)
        needed, other = ("periods", "seconds_per_year")[:: 1 if isinstance(self.window, int) else -1]
        if getattr(self, needed) is None or getattr(self, other) is not None:
            raise ArgumentError(
                f"VolatilityTarget: with window={self.window!r} give {needed} and not {other}: a window of samples is "
                "annualised by periods, one of time by seconds_per_year"
            )
        _positive(self, needed)

    def leverage(self, symbol: str) -> Expr:
        """`annual / realised`, before the cap; with every sample of the price."""
        if isinstance(self.window, int):
            assert self.periods is not None
            windows = self.periods / self.window
        else:
            assert self.seconds_per_year is not None
            windows = self.seconds_per_year / (nanoseconds(self.window) / 1e9)
        return self.annual / realised_volatility(_price(self.price, symbol), self.window, per_year=windows)

    def target(self, symbol: str, side: Expr, *, weight: float = 1.0, strategy: str = "main") -> Target:
        """Wishes `side * weight * capital * leverage` of money."""
        side, weight = _turned(symbol, side, weight)
        value = _sized(side, self.leverage(symbol), self.max_leverage, _price(self.price, symbol), self.rebalance)
        return target(symbol, value, notional=self.capital * weight, strategy=strategy)


@dataclass(frozen=True, kw_only=True)
class CappedKelly(Sizing):
    """`capital * min(fraction * m1 / m2, cap)` of money, nothing while m1 <= 0.

    m1 and m2 are the means of r and of r squared over the window, r the return of having held the side: the side at the
    sample before, times the price's relative change since. m1 / m2 is the leverage f that maximises m1 f - m2 f^2 / 2,
    the mean of log(1 + f r) to second order; being a ratio it needs no year.
    """

    fraction: float = 0.25
    cap: float = 1.0
    capital: float
    window: int | str | timedelta
    price: Price = "close"
    rebalance: str | timedelta | None = None

    def __post_init__(self) -> None:
        _positive(self, "fraction", "cap", "capital")
        if self.fraction > 1:
            raise ArgumentError(f"CappedKelly: fraction is {self.fraction!r}: above 1 it bets more than Kelly")
        _looks_back(self, self.price, self.window)
        _rebalance(self, self.rebalance)

    def leverage(self, symbol: str, side: Expr) -> Expr:
        """`fraction * m1 / m2`, zero where m1 is negative; before the cap; with every sample of the price."""
        price = _price(self.price, symbol)
        earned = side.when(price).lag(1) * price.pct_change(1)
        kelly = earned.rolling(self.window).mean() / (earned * earned).rolling(self.window).mean()
        return self.fraction * kelly.clip(low=0)

    def target(self, symbol: str, side: Expr, *, weight: float = 1.0, strategy: str = "main") -> Target:
        """Wishes `side * weight * capital * leverage` of money."""
        side, weight = _turned(symbol, side, weight)
        value = _sized(side, self.leverage(symbol, side), self.cap, _price(self.price, symbol), self.rebalance)
        return target(symbol, value, notional=self.capital * weight, strategy=strategy)


def _sized(side: Expr, leverage: Expr, cap: float, price: Expr, rebalance: str | timedelta | None) -> Expr:
    """`side * leverage`, the leverage as it is when the side changes, or gets its first value, or is to be read anew.

    A leverage that is null later is no reason to keep a position that the side has left: it counts as zero.
    """
    known = (~leverage.is_null()).latch(constant(0))
    held = side * known
    moment = held if rebalance is None else held + resample(price, every=rebalance).count
    value = held * leverage.fill_null(0).clip(high=cap).when(moment)
    return replace(value, text=f"sized({side.text}, by={leverage.text}, cap={cap!r})")


def _price(name: str, symbol: str) -> Expr:
    source = {"mid": mid, "last": last, "close": close}.get(name)
    if source is None:
        raise ArgumentError(f"a sizing's price is {name!r}, but must be 'mid', 'last' or 'close'")
    return source(symbol)


def _turned(symbol: str, side: Expr, weight: float) -> tuple[Expr, float]:
    """The side, firing only with a change, and a positive weight."""
    if not isinstance(side, Expr):
        raise ArgumentError(f"the side of {symbol!r} is {side!r}, but must be an expression, like a hysteresis")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight == 0:
        raise ArgumentError(f"the weight of {symbol!r} is {weight!r}, but must be a number and not zero")
    side = side if _rests(side) else side.changes()
    return (side, float(weight)) if weight > 0 else (-side, float(-weight))


def _rests(side: Expr) -> bool:
    """True for what is made of states only, which fire when they change."""
    seen: set[int] = set()
    stack = [side]
    while stack:
        x = stack.pop()
        if id(x) in seen or x.op in ("hysteresis", "latch", "changes", "constant"):
            continue
        if x.op.partition(":")[0] not in ("unary", "binary", "where"):
            return False
        seen.add(id(x))
        stack.extend(x.inputs)
    return True


def _looks_back(sizing: object, price: str, window: object) -> None:
    """Refuses what is no price and no window."""
    if isinstance(window, bool) or not isinstance(window, int | str | timedelta):
        raise ArgumentError(
            f"{type(sizing).__name__}: window is {window!r}, but must be a number of samples (100) or a length of time "
            "('30d')"
        )
    _price(price, "SYMBOL").rolling(window)


def _rebalance(sizing: object, every: str | timedelta | None) -> None:
    if every is not None:
        nanoseconds(every, f"{type(sizing).__name__}: rebalance")


def _positive(sizing: object, *names: str) -> None:
    kind = type(sizing).__name__
    for name in names:
        value = getattr(sizing, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise ArgumentError(f"{kind}: {name} is {value!r}, but must be a positive number")
