"""Indicators that people know by name, made of the operators; each says its formula.

Where peers differ (how a moving average begins), these begin with their first sample and are null until they are warm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from helios.duration import nanoseconds
from helios.errors import ArgumentError
from helios.signals.expr import SAMPLES_MAX, Expr, Number, Span, constant, maximum
from helios.signals.sources import ask, ask_size, bid, bid_size, close, high, last, last_size, low, volume
from helios.signals.units import NUMBER, SHARES

if TYPE_CHECKING:
    from helios.signals.time import Session


def vwap(symbol: str, window: Span | Session, *, bars: bool = False) -> Expr:
    """Volume-weighted average price of the trades in a window: sum(price * size) / sum(size).

    With `bars`, of bars: each stands for its volume at (high + low + close) / 3.
    """
    price = (high(symbol) + low(symbol) + close(symbol)) / 3 if bars else last(symbol)
    size = volume(symbol) if bars else last_size(symbol)
    made = (price * size).rolling(window).sum() / size.rolling(window).sum()
    return _named(made, f"vwap({symbol!r}, {window!r}{', bars=True' if bars else ''})")


def twap(price: Expr, window: Span | Session) -> Expr:
    """Time-weighted average: each value weighs by how long it stood, that is until the next one came."""
    _price(price, "twap")
    stood = price.elapsed()
    made = (price.lag(1) * stood).rolling(window).sum() / stood.rolling(window).sum()
    return _named(made, f"twap({price.text}, {window!r})")


def realised_volatility(price: Expr, window: Span | Session, *, per_year: Number | None = None) -> Expr:
    """Square root of the sum of squared log returns in a window; times that of `per_year` windows, where given."""
    _price(price, "realised_volatility")
    change = price.log().diff(1)
    made = (change * change).rolling(window).sum()
    if per_year is not None:
        if isinstance(per_year, bool) or not isinstance(per_year, int | float) or not 0 < per_year < float("inf"):
            raise ArgumentError(f"realised_volatility of {price!r}: per_year={per_year!r} must be a positive number")
        made = made * float(per_year)
    told = "" if per_year is None else f", per_year={per_year}"
    return _named(made.sqrt(), f"realised_volatility({price.text}, {window!r}{told})")


def order_flow_imbalance(symbol: str, window: Span | Session) -> Expr:
    """Order-flow imbalance of the best level, summed over a window of quotes (Cont, Kukanov, Stoikov 2014), in shares.

    One quote contributes what joined the bid less what joined the ask: a bid that rose counts its whole size, one that
    fell takes away the size it had before, one that stayed counts the difference; the ask likewise.
    """
    b, a, bs, as_ = bid(symbol), ask(symbol), bid_size(symbol), ask_size(symbol)
    bids = (b >= b.lag()) * bs - (b <= b.lag()) * bs.lag()
    asks = (a <= a.lag()) * as_ - (a >= a.lag()) * as_.lag()
    return _named((bids - asks).rolling(window).sum(), f"order_flow_imbalance({symbol!r}, {window!r})")


def rsi(price: Expr, n: int = 14) -> Expr:
    """Relative strength index (Wilder 1978), 0 to 100: 100 * up / (up + down), Wilder averages of rises and falls."""
    _samples(n, f"rsi({_price(price, 'rsi')!r})", "n")
    change = price.diff(1)
    up = change.clip(low=0).ewm(alpha=1 / n, min_samples=n).mean()
    down = (-change).clip(low=0).ewm(alpha=1 / n, min_samples=n).mean()
    return _named(100 * up / (up + down), f"rsi({price.text}, {n})")


@dataclass(frozen=True)
class Macd:
    """Moving averages' convergence and divergence (Appel): the difference of two, its average, and what is between."""

    line: Expr
    signal: Expr
    histogram: Expr


def macd(price: Expr, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """`line = ewm(fast) - ewm(slow)`, `signal = ewm(signal) of line`, `histogram = line - signal`; spans in samples."""
    _price(price, "macd")
    for name, spans in (("fast", fast), ("slow", slow), ("signal", signal)):
        _samples(spans, f"macd of {price!r}", name)
    if not fast < slow:
        raise ArgumentError(f"macd of {price!r}: fast={fast} must be below slow={slow}")
    line = price.ewm(span=fast, min_samples=slow).mean() - price.ewm(span=slow, min_samples=slow).mean()
    average = line.ewm(span=signal, min_samples=signal).mean()
    text = f"macd({price.text}, {fast}, {slow}, {signal})"
    return Macd(
        _named(line, f"{text}.line"), _named(average, f"{text}.signal"), _named(line - average, f"{text}.histogram")
    )


def atr(symbol: str, n: int = 14) -> Expr:
    """Average true range of bars (Wilder 1978): Wilder average of max(high - low, |high - close'|, |low - close'|)."""
    _samples(n, f"atr({symbol!r})", "n")
    before = close(symbol).lag(1)
    h, low_ = high(symbol), low(symbol)
    true_range = maximum(h - low_, maximum((h - before).abs(), (low_ - before).abs()))
    return _named(true_range.ewm(alpha=1 / n, min_samples=n).mean(), f"atr({symbol!r}, {n})")


@dataclass(frozen=True)
class Bollinger:
    """A band around a moving average; `percent` is 0 at its lower and 1 at its upper edge."""

    lower: Expr
    middle: Expr
    upper: Expr
    percent: Expr


def bollinger(price: Expr, window: Span | Session = 20, deviations: Number = 2) -> Bollinger:
    """Mean plus and minus so many standard deviations (n - 1) of a window (Bollinger 2001)."""
    rolling = _price(price, "bollinger").rolling(window)
    if not isinstance(deviations, int | float):
        raise ArgumentError(f"bollinger({price!r}): deviations={deviations!r} must be a number")
    middle, width = rolling.mean(), deviations * rolling.std()
    text = f"bollinger({price.text}, {window!r}, {deviations})"
    lower, upper = middle - width, middle + width
    return Bollinger(
        _named(lower, f"{text}.lower"),
        _named(middle, f"{text}.middle"),
        _named(upper, f"{text}.upper"),
        _named((price - lower) / (upper - lower), f"{text}.percent"),
    )


@dataclass(frozen=True)
class Kalman:
    """A regression whose coefficients drift: y = alpha + beta x + e."""

    beta: Expr
    alpha: Expr
    #: y less its forecast, made before the sample was seen; and the forecast's standard deviation, and their quotient.
    residual: Expr
    std: Expr
    zscore: Expr


def kalman(y: Expr, x: Expr, *, drift: float = 1e-5, noise: float = 1e-3, min_samples: int = 30) -> Kalman:
    """Hedge ratio and intercept by a Kalman filter (Harvey 1989, chapter 3).

    Both walk at random with variance `drift` a sample; an observation has variance `noise`. Null until there are more
    than `min_samples`.
    A sample is taken whenever `y` or `x` fires: for bars of two instruments, use `together`.
    """
    for expr in (y, x):
        _price(expr, "kalman")
    for name, value, least in (("drift", drift, 0.0), ("noise", noise, 5e-324)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
            raise ArgumentError(f"kalman({y!r}, {x!r}): {name}={value!r} must be a {'positive ' * (least > 0)}number")
    if isinstance(min_samples, bool) or not isinstance(min_samples, int) or not 0 <= min_samples < 2**32:
        raise ArgumentError(f"kalman({y!r}, {x!r}): min_samples={min_samples!r} must be a whole number")
    text = f"kalman({y.text}, {x.text}, drift={drift:g}, noise={noise:g})"
    node = Expr("kalman", (y, x), ints=(min_samples,), floats=(float(drift), float(noise)), text=text)
    ratio = y.unit / x.unit if y.unit is not None and x.unit is not None else None

    def read(stat: str, unit: object) -> Expr:
        return Expr(f"read:{stat}", (node,), text=f"{text}.{stat}", unit=unit)  # type: ignore[arg-type]

    return Kalman(
        read("beta", ratio),
        read("alpha", y.unit),
        read("residual", y.unit),
        read("std", y.unit),
        read("zscore", NUMBER),
    )


@dataclass(frozen=True)
class Bars:
    """Bars made of trades; each field fires when a bar ends."""

    open: Expr
    high: Expr
    low: Expr
    close: Expr
    volume: Expr
    vwap: Expr
    #: Trades in the bar.
    count: Expr


def resample(
    symbol: str | Expr,
    *,
    every: str | timedelta | None = None,
    ticks: int | None = None,
    volume: Number | None = None,
    dollars: Number | None = None,
) -> Bars:
    """Bars by time, by number of trades, by volume or by money: give one.

    Of the trades of a symbol, or of any expression, each of whose values then counts as one share.
    Bars by time end at multiples of `every` since 1970 UTC and fire with the first trade after that; spans without a
    trade have no bar. The others fire with the trade that fills them, which is never split.
    """
    price = last(symbol) if isinstance(symbol, str) else _price(symbol, "resample")
    size = last_size(symbol) if isinstance(symbol, str) else constant(1.0)
    given = {"every": every, "ticks": ticks, "volume": volume, "dollars": dollars}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        raise ArgumentError(f"resample({price!r}): give one of {', '.join(given)}")
    (name, value) = next(iter(named.items()))
    text = f"resample({price.text}, {name}={value!r})"
    ints: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()
    if name == "every":
        op, ints = "bars:time", (nanoseconds(value, text),)  # type: ignore[arg-type]
    elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ArgumentError(f"{text}: {name} must be a positive number")
    elif name == "ticks":
        if not isinstance(value, int) or value >= 2**32:
            raise ArgumentError(f"{text}: ticks must be a whole number")
        op, ints = "bars:ticks", (value,)
    else:
        op, floats = {"volume": "bars:volume", "dollars": "bars:money"}[name], (float(value),)
    node = Expr(op, (price, size), ints=ints, floats=floats, text=text)
    unit = price.unit

    def read(stat: str) -> Expr:
        of = {"volume": SHARES, "count": NUMBER}.get(stat, unit)
        return Expr(f"read:{stat}", (node,), text=f"{text}.{stat}", unit=of)

    return Bars(*(read(stat) for stat in ("open", "high", "low", "close", "volume", "vwap", "count")))


def _price(price: object, of: str) -> Expr:
    if not isinstance(price, Expr):
        raise ArgumentError(f"{of}: {price!r} is no expression; mid('KO') is one")
    return price


def _samples(n: object, of: str, name: str) -> None:
    """A span of one sample would forget all but the last."""
    if isinstance(n, bool) or not isinstance(n, int) or not 2 <= n <= SAMPLES_MAX:
        raise ArgumentError(f"{of}: {name}={n!r} samples, but it must be 2 to {SAMPLES_MAX}")


def _named(made: Expr, text: str) -> Expr:
    return replace(made, text=text)
