"""Expressions: what a researcher writes. Building one computes nothing; the core evaluates it event by event.

Every value is a float64 or null. Null in gives null out; windows are null until they are full, and what is out of a
function's domain (log of zero, division by zero) is null. Absent: wall-clock time, and anything that looks ahead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from helios.duration import nanoseconds
from helios.errors import ArgumentError

Number = float | int

#: Letters that are kept of an expression's text: it doubles with every `x + x`.
_TEXT_MAX = 200


@dataclass(frozen=True, eq=False, repr=False)
class Expr:
    """One node of a graph: an operation, its inputs and its parameters. Immutable; operators make new ones."""

    op: str
    inputs: tuple[Expr, ...] = ()
    symbol: str | None = None
    ints: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()
    text: str = ""

    def __post_init__(self) -> None:
        if len(self.text) > _TEXT_MAX:
            object.__setattr__(self, "text", self.text[: _TEXT_MAX - 1] + "…")

    def __repr__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        raise ArgumentError(f"{self!r} is an expression, it has no truth value while it is being built")

    # Arithmetic -------------------------------------------------------------------------------------------------

    def __add__(self, other: Expr | Number) -> Expr:
        return _binary("add", "+", self, other)

    def __radd__(self, other: Number) -> Expr:
        return _binary("add", "+", other, self)

    def __sub__(self, other: Expr | Number) -> Expr:
        return _binary("sub", "-", self, other)

    def __rsub__(self, other: Number) -> Expr:
        return _binary("sub", "-", other, self)

    def __mul__(self, other: Expr | Number) -> Expr:
        return _binary("mul", "*", self, other)

    def __rmul__(self, other: Number) -> Expr:
        return _binary("mul", "*", other, self)

    def __truediv__(self, other: Expr | Number) -> Expr:
        return _binary("div", "/", self, other)

    def __rtruediv__(self, other: Number) -> Expr:
        return _binary("div", "/", other, self)

    def __neg__(self) -> Expr:
        return _unary("neg", self, f"-{self.text}")

    def __abs__(self) -> Expr:
        return self.abs()

    def log(self) -> Expr:
        """Natural logarithm; null at and below zero."""
        return _unary("log", self)

    def exp(self) -> Expr:
        """Exponential; null where it overflows."""
        return _unary("exp", self)

    def sqrt(self) -> Expr:
        """Square root; null below zero."""
        return _unary("sqrt", self)

    def abs(self) -> Expr:
        """Absolute value."""
        return _unary("abs", self)

    # Windows ----------------------------------------------------------------------------------------------------

    def rolling(self, window: int | str | timedelta) -> Rolling:
        """The last `window` samples (int), or those within the last `window` of time ("10m", (now - window, now]).

        A sample is taken whenever this expression is evaluated, that is on each event of its sources. Null until
        the window is full: until there are `window` samples, or until the first sample is `window` old.
        """
        if isinstance(window, bool) or not isinstance(window, int | str | timedelta):
            raise ArgumentError(
                f"rolling window {window!r}: give a number of samples (100) or a length of time ('10m')"
            )
        if isinstance(window, int):
            if not 2 <= window <= 1 << 20:
                raise ArgumentError(f"rolling window of {window} samples for {self!r}: it must be 2 to {1 << 20}")
            return Rolling(Expr("window:count", (self,), ints=(window,), text=f"{self.text}.rolling({window})"))
        ns = nanoseconds(window, f"the rolling window of {self!r}")
        return Rolling(Expr("window:time", (self,), ints=(ns,), text=f"{self.text}.rolling({window!r})"))

    def ewm(self, halflife: Number | str | timedelta) -> Ewm:
        """Exponential weights that halve every `halflife` samples (number) or every `halflife` of time ("5m").

        Null until three half-lives of samples, or of time, have passed.
        """
        if isinstance(halflife, str | timedelta):
            ns = nanoseconds(halflife, f"the half-life of {self!r}")
            return Ewm(Expr("window:ewm_time", (self,), ints=(ns,), text=f"{self.text}.ewm({halflife!r})"))
        if isinstance(halflife, bool) or not math.isfinite(halflife) or halflife <= 0:
            raise ArgumentError(f"half-life {halflife!r} of {self!r}: it must be a positive number of samples")
        return Ewm(Expr("window:ewm_count", (self,), floats=(float(halflife),), text=f"{self.text}.ewm({halflife})"))

    def zscore(
        self, window: int | str | timedelta | None = None, *, halflife: Number | str | timedelta | None = None
    ) -> Expr:
        """(value - mean) / standard deviation, over a rolling window or with exponential weights: give one of them."""
        if (window is None) == (halflife is None):
            raise ArgumentError(f"zscore of {self!r} needs either a window or a halflife")
        if window is not None:
            return self.rolling(window).zscore()
        assert halflife is not None
        return self.ewm(halflife).zscore()

    def hysteresis(self, *, enter: float, exit: float) -> Expr:
        """-1, 0 or +1: becomes +1 at `enter` and stays until `exit`; -1 likewise below. Fires only when it changes."""
        if not (math.isfinite(enter) and math.isfinite(exit) and enter > exit >= 0):
            raise ArgumentError(f"hysteresis of {self!r}: enter={enter} exit={exit}, but enter > exit >= 0 is needed")
        text = f"{self.text}.hysteresis(enter={enter:g}, exit={exit:g})"
        return Expr("hysteresis", (self,), floats=(float(enter), float(exit)), text=text)


@dataclass(frozen=True)
class _Window:
    """Statistics over the recent past of an expression."""

    expr: Expr = field()

    def _moment(self, stat: str) -> Expr:
        return Expr(f"moment:{stat}", (self.expr,), text=f"{self.expr.text}.{stat}()")

    def mean(self) -> Expr:
        """Mean."""
        return self._moment("mean")

    def var(self) -> Expr:
        """Variance: n - 1 in the denominator when rolling, weighted population variance when exponential."""
        return self._moment("var")

    def std(self) -> Expr:
        """Square root of the variance."""
        return self._moment("std")

    def zscore(self) -> Expr:
        """(last sample - mean) / standard deviation; null while the deviation is zero."""
        return self._moment("zscore")


class Rolling(_Window):
    """A plain window, by count or by time."""


class Ewm(_Window):
    """An exponentially weighted window, by count or by time."""


def together(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """The same two sources, but firing only when both fire at the same moment.

    The bars of one minute arrive one after the other: without this, what is made of both is computed once in between,
    from one new bar and one old. Takes sources only, like `close("KO")`.
    """
    for expr in (a, b):
        if not isinstance(expr, Expr) or not expr.op.startswith("source:"):
            raise ArgumentError(f"together takes sources like close('KO'), not {expr!r}")
    return (
        Expr("together", (a, b), text=f"together({a.text}, {b.text})[0]"),
        Expr("together", (b, a), text=f"together({a.text}, {b.text})[1]"),
    )


def constant(value: Number) -> Expr:
    """A number as an expression."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ArgumentError(f"{value!r} is not a finite number")
    return Expr("constant", floats=(float(value),), text=f"{value:g}")


def _wrap(value: Expr | Number) -> Expr:
    return value if isinstance(value, Expr) else constant(value)


def _binary(op: str, sign: str, x: Expr | Number, y: Expr | Number) -> Expr:
    if not isinstance(x, Expr | int | float) or not isinstance(y, Expr | int | float):
        return NotImplemented
    a, b = _wrap(x), _wrap(y)
    return Expr(f"binary:{op}", (a, b), text=f"({a.text} {sign} {b.text})")


def _unary(op: str, x: Expr, text: str | None = None) -> Expr:
    return Expr(f"unary:{op}", (x,), text=text or f"{x.text}.{op}()")


def _source(name: str, symbol: str) -> Expr:
    if not isinstance(symbol, str) or not symbol.strip() or symbol != symbol.strip():
        raise ArgumentError(f"{name}({symbol!r}): a symbol is a text without spaces around it, like 'KO'")
    return Expr(f"source:{name}", symbol=symbol, text=f"{name}({symbol!r})")


def mid(symbol: str) -> Expr:
    """Half way between best bid and best ask; fires on every quote and every change of a best level."""
    return _source("mid", symbol)


def bid(symbol: str) -> Expr:
    """Best bid price."""
    return _source("bid", symbol)


def ask(symbol: str) -> Expr:
    """Best ask price."""
    return _source("ask", symbol)


def bid_size(symbol: str) -> Expr:
    """Shares at the best bid."""
    return _source("bid_size", symbol)


def ask_size(symbol: str) -> Expr:
    """Shares at the best ask."""
    return _source("ask_size", symbol)


def last(symbol: str) -> Expr:
    """Price of the last trade; fires on every trade."""
    return _source("last", symbol)


def last_size(symbol: str) -> Expr:
    """Shares of the last trade."""
    return _source("last_size", symbol)


def open_(symbol: str) -> Expr:
    """First price of the bar that just ended; fires on every bar."""
    return _source("open", symbol)


def high(symbol: str) -> Expr:
    """Highest price of the bar that just ended."""
    return _source("high", symbol)


def low(symbol: str) -> Expr:
    """Lowest price of the bar that just ended."""
    return _source("low", symbol)


def close(symbol: str) -> Expr:
    """Last price of the bar that just ended."""
    return _source("close", symbol)


def volume(symbol: str) -> Expr:
    """Shares traded in the bar that just ended."""
    return _source("volume", symbol)


@dataclass(frozen=True)
class Target:
    """A wish: hold `value * quantity` shares, or `value * notional` of money at the mark when the value changes."""

    symbol: str
    value: Expr
    strategy: str
    quantity: float | None = None
    notional: float | None = None


@dataclass(frozen=True)
class Record:
    """A signal to be kept in the results: each new `value`, with `input` (what it came from) beside it."""

    name: str
    value: Expr
    input: Expr


def target(
    symbol: str,
    value: Expr,
    *,
    quantity: Number | None = None,
    notional: Number | None = None,
    strategy: str = "main",
) -> Target:
    """Wishes the position `value * quantity` shares, or `value * notional` of money, whenever `value` fires.

    Rounded towards zero to the instrument's lot. `strategy` names whose P&L it is; wishes of several strategies in one
    instrument are netted into one order.
    """
    if (quantity is None) == (notional is None):
        raise ArgumentError(f"target({symbol!r}): give either quantity (shares) or notional (money)")
    unit = quantity if quantity is not None else notional
    assert unit is not None
    if isinstance(unit, bool) or not math.isfinite(unit) or unit <= 0:
        raise ArgumentError(f"target({symbol!r}): quantity or notional is {unit!r}, but must be positive")
    if not isinstance(value, Expr):
        raise ArgumentError(f"target({symbol!r}): the value must be an expression, like a hysteresis, not {value!r}")
    _source("target", symbol)
    return Target(
        symbol,
        value,
        strategy,
        None if quantity is None else float(quantity),
        None if notional is None else float(notional),
    )


def record(name: str, value: Expr, input: Expr | None = None) -> Record:
    """Keeps each new `value` in the results under `name`, with `input` beside it."""
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"record({name!r}): a signal is recorded under a name, a text")
    for given in (value, value if input is None else input):
        if not isinstance(given, Expr):
            raise ArgumentError(f"record({name!r}): {given!r} is no expression; mid('KO') is one")
    return Record(name, value, value if input is None else input)


def pair(
    a: str,
    b: str,
    *,
    beta: float = 1.0,
    window: int | str | timedelta | None = None,
    halflife: Number | str | timedelta | None = None,
    enter: float = 2.0,
    exit: float = 0.5,
    notional: float = 10_000.0,
    price: Literal["mid", "last", "close"] = "mid",
    name: str | None = None,
) -> list[Target | Record]:
    """Mean reversion of the spread log(a) - beta log(b): sell it when its z-score is at `enter`, leave it at `exit`.

    `notional` of money is held in `a`, `notional * |beta|` in `b`. Source: Gatev, Goetzmann, Rouwenhorst (2006) for the
    rule, with a z-score over a running window instead of a formation period. Returns two targets and a record.
    """
    source = {"mid": mid, "last": last, "close": close}.get(price)
    if source is None:
        raise ArgumentError(f"pair({a!r}, {b!r}): price is {price!r}, but must be 'mid', 'last' or 'close'")
    if a == b:
        raise ArgumentError(f"a pair needs two instruments, got {a!r} twice")
    if not math.isfinite(beta) or beta == 0:
        raise ArgumentError(f"pair({a!r}, {b!r}): beta is {beta!r}, but must be a finite number and not zero")
    x, y = source(a), source(b)
    if price == "close":
        x, y = together(x, y)
    hedge = y.log() if beta == 1 else beta * y.log()
    z = (x.log() - hedge).zscore(window, halflife=halflife)
    side = z.hysteresis(enter=enter, exit=exit)
    who = name or f"{a}/{b}"
    return [
        target(a, -side, notional=notional, strategy=who),
        target(b, side if beta > 0 else -side, notional=notional * abs(beta), strategy=who),
        record(who, side, z),
    ]
