"""Sizing: from a side (-1 to 1, an expression) to a position.

All are expressions themselves, evaluated natively. A target acts when its value changes, so a size that moves with
every tick would trade with every tick. Hence the money of `FixedNotional` is turned into shares when the side changes,
and the leverage of `VolatilityTarget` and `CappedKelly` moves in steps (a rebalance band): it is the greatest of the
levels top, top / (1 + step), top / (1 + step)^2, … that the formula has reached, and a level is left only when the
formula falls half a step below it. So what is held is never above the formula by more than half a step, and never below
it by more than a step; below a twentieth of `top` nothing is held. Nothing is held until the windows are full.

Assumptions: a return is from one sample of the price to the next; samples come evenly (bars; with quotes, as many as
there are). The mean return is taken as zero in the volatility. Kelly's fraction comes from the
past and is as uncertain as that; hence `fraction` and `cap`.
Absent: correlation between instruments (each is sized alone); compounding (`capital` is a constant); volatility by the
clock instead of by sample.
Sources: Moreira and Muir, "Volatility-managed portfolios" (2017); Thorp, "The Kelly criterion" (2006), section 7.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from helios.errors import ArgumentError
from helios.signals.expr import Expr
from helios.signals.outputs import Target, target
from helios.signals.sources import close, last, mid

Price = Literal["mid", "last", "close"]

#: Leverage below the greatest by more than this factor is none.
_SPAN: Final = 20.0


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

    realised = sqrt(periods * mean of squared log returns over the window): `periods` samples of the price make a year
    (252 for daily bars, 252 * 390 for those of a minute of US stocks). In steps of `step`, see the module.
    """

    annual: float
    capital: float
    window: int | str | timedelta
    periods: float
    price: Price = "close"
    max_leverage: float = 1.0
    step: float = 0.2

    def __post_init__(self) -> None:
        _positive(self, "annual", "capital", "periods", "max_leverage", "step")
        _price(self.price, "SYMBOL").rolling(self.window)

    def leverage(self, symbol: str) -> Expr:
        """`annual / realised`, before cap and steps."""
        change = _change(_price(self.price, symbol).log())
        return self.annual / (self.periods * (change * change).rolling(self.window).mean()).sqrt()

    def target(self, symbol: str, side: Expr, *, weight: float = 1.0, strategy: str = "main") -> Target:
        """Wishes `side * weight * capital * leverage` of money."""
        side, weight = _turned(symbol, side, weight)
        size = stepped(self.leverage(symbol), top=self.max_leverage, step=self.step)
        return target(symbol, side * size, notional=self.capital * weight, strategy=strategy)


@dataclass(frozen=True, kw_only=True)
class CappedKelly(Sizing):
    """`capital * min(fraction * m1 / m2, cap)` of money, nothing while m1 <= 0.

    m1 and m2 are the means of r and of r squared over the window, r the return of having held the side: the side before
    the sample times the price's relative change. m1 / m2 is the leverage f that maximises m1 f - m2 f^2 / 2, the mean
    of log(1 + f r) to second order; being a ratio it needs no year. In steps of `step`, see the module.
    """

    fraction: float = 0.25
    cap: float = 1.0
    capital: float
    window: int | str | timedelta
    price: Price = "close"
    step: float = 0.2

    def __post_init__(self) -> None:
        _positive(self, "fraction", "cap", "capital", "step")
        if self.fraction > 1:
            raise ArgumentError(f"CappedKelly: fraction is {self.fraction!r}: above 1 it bets more than Kelly")
        _price(self.price, "SYMBOL").rolling(self.window)

    def leverage(self, symbol: str, side: Expr) -> Expr:
        """`fraction * m1 / m2`, zero where m1 is negative; before cap and steps."""
        price = _price(self.price, symbol)
        # Both on one clock, that of side and price together: a change of the side alone is a return of zero, which
        # shrinks m1 and m2 alike.
        held, price = side + 0.0 * price, price + 0.0 * side
        earned = _before(held) * _change(price) / _before(price)
        kelly = earned.rolling(self.window).mean() / (earned * earned).rolling(self.window).mean()
        return (0.5 * self.fraction) * (kelly + kelly.abs())

    def target(self, symbol: str, side: Expr, *, weight: float = 1.0, strategy: str = "main") -> Target:
        """Wishes `side * weight * capital * leverage` of money."""
        side, weight = _turned(symbol, side, weight)
        size = stepped(self.leverage(symbol, side), top=self.cap, step=self.step)
        return target(symbol, side * size, notional=self.capital * weight, strategy=strategy)


def levels(top: float, step: float) -> list[float]:
    """The levels that a stepped size may have, greatest first; beside them there is zero."""
    return [top / (1.0 + step) ** n for n in range(1 + math.floor(math.log(_SPAN) / math.log1p(step)))]


def stepped(x: Expr, *, top: float, step: float) -> Expr:
    """`x` (not negative) rounded down to one of `levels`, at most `top`; fires only when the level changes.

    A level is reached at its value and left half a step below it. The sum of one hysteresis a level: each fires only
    when it changes.
    """
    grid = levels(top, step)
    total: Expr | None = None
    for level, below in zip(grid, [*grid[1:], 0.0], strict=True):
        on = x.hysteresis(enter=level, exit=level / (1.0 + step / 2))
        part = (level - below) * on
        total = part if total is None else total + part
    assert total is not None
    return total


def _before(x: Expr) -> Expr:
    """The sample before the last: twice the mean of two, less the last."""
    return 2.0 * x.rolling(2).mean() - x


def _change(x: Expr) -> Expr:
    """The last sample less the one before."""
    return 2.0 * (x - x.rolling(2).mean())


def _price(name: str, symbol: str) -> Expr:
    source = {"mid": mid, "last": last, "close": close}.get(name)
    if source is None:
        raise ArgumentError(f"a sizing's price is {name!r}, but must be 'mid', 'last' or 'close'")
    return source(symbol)


def _turned(symbol: str, side: Expr, weight: float) -> tuple[Expr, float]:
    if not isinstance(side, Expr):
        raise ArgumentError(f"the side of {symbol!r} is {side!r}, but must be an expression, like a hysteresis")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight == 0:
        raise ArgumentError(f"the weight of {symbol!r} is {weight!r}, but must be a number and not zero")
    return (side, float(weight)) if weight > 0 else (-side, float(-weight))


def _positive(sizing: object, *names: str) -> None:
    kind = type(sizing).__name__
    for name in names:
        value = getattr(sizing, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise ArgumentError(f"{kind}: {name} is {value!r}, but must be a positive number")
    step = getattr(sizing, "step", None)
    if step is not None and not 0.01 <= step <= 1:
        raise ArgumentError(f"{kind}: step is {step!r}: it must be 0.01 (1 %) to 1 (100 %)")
