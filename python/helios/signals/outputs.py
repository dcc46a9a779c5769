"""What a graph is for: positions that it wishes, and values that it keeps. And the oldest strategy of all, the pair."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from numbers import Real
from typing import Literal

from helios.duration import nanoseconds
from helios.errors import ArgumentError
from helios.signals.expr import Expr, Number, together
from helios.signals.sources import close, last, mid, source
from helios.signals.units import NUMBER, PRICE


@dataclass(frozen=True)
class Target:
    """A wish: hold `value * quantity` shares, or `value * notional` of money at the mark when the value changes."""

    symbol: str
    value: Expr
    strategy: str
    quantity: float | None = None
    notional: float | None = None


@dataclass(frozen=True)
class Quote:
    """A wish: stand on one side at the price `value` with `size`, while the position stays within `limit`."""

    symbol: str
    value: Expr
    strategy: str
    side: Literal["bid", "ask"]
    size: float
    limit: float
    every_ns: int


@dataclass(frozen=True)
class Record:
    """A signal to be kept in the results: each new `value`, with `input` (what it came from) beside it."""

    name: str
    value: Expr
    input: Expr


#: What expressions can be for.
Output = Target | Quote | Record


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
    if isinstance(unit, bool) or not isinstance(unit, Real) or not math.isfinite(unit) or unit <= 0:
        raise ArgumentError(f"target({symbol!r}): quantity or notional is {unit!r}, but must be positive")
    if not isinstance(value, Expr):
        raise ArgumentError(f"target({symbol!r}): the value must be an expression, like a hysteresis, not {value!r}")
    source("target", symbol)
    if value.unit is not None and value.unit != NUMBER:
        raise ArgumentError(
            f"target({symbol!r}): the value {value!r} is in {value.unit}, but must be a plain number, of which "
            "quantity or notional is the unit; .unitless() says that it is meant so"
        )
    return Target(
        symbol,
        value,
        strategy,
        None if quantity is None else float(quantity),
        None if notional is None else float(notional),
    )


def quote(
    symbol: str,
    *,
    bid: Expr | None = None,
    ask: Expr | None = None,
    size: Number,
    limit: Number,
    every: str | timedelta | None = None,
    strategy: str = "main",
) -> list[Quote]:
    """Makes a market: one post-only order on each side that is given, at the price of its expression.

    A bid is rounded down to the tick, an ask up. When an expression has a new value the order is moved by a replace, at
    most once in `every` ("100ms"; None: at each new value); an equal price leaves it in its place in the queue. A null
    takes it away. `size` shares are shown, less where the position would pass plus or minus `limit`. An order that has
    filled comes back with the next new value. It is the strategy's own order: quotes are not netted with targets.
    """
    source("quote", symbol)
    for name, given in (("size", size), ("limit", limit)):
        if isinstance(given, bool) or not isinstance(given, Real) or not math.isfinite(given) or given <= 0:
            raise ArgumentError(f"quote({symbol!r}): {name} is {given!r}, but must be positive")
    sides: dict[Literal["bid", "ask"], Expr | None] = {"bid": bid, "ask": ask}
    quotes = []
    for side, value in sides.items():
        if value is None:
            continue
        if not isinstance(value, Expr):
            raise ArgumentError(f"quote({symbol!r}): {side} must be an expression of a price, not {value!r}")
        if value.unit is not None and value.unit != PRICE:
            raise ArgumentError(f"quote({symbol!r}): {side} {value!r} is in {value.unit}, but must be a price")
        every_ns = 0 if every is None else nanoseconds(every, f"quote({symbol!r}): every")
        quotes.append(Quote(symbol, value, strategy, side, float(size), float(limit), every_ns))
    if not quotes:
        raise ArgumentError(f"quote({symbol!r}): give bid, ask or both")
    return quotes


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
    price_of = {"mid": mid, "last": last, "close": close}.get(price)
    if price_of is None:
        raise ArgumentError(f"pair({a!r}, {b!r}): price is {price!r}, but must be 'mid', 'last' or 'close'")
    if a == b:
        raise ArgumentError(f"a pair needs two instruments, got {a!r} twice")
    if not math.isfinite(beta) or beta == 0:
        raise ArgumentError(f"pair({a!r}, {b!r}): beta is {beta!r}, but must be a finite number and not zero")
    x, y = price_of(a), price_of(b)
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
