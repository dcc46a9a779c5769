"""Where expressions begin: what a market shows of one instrument, and series from outside the market."""

from __future__ import annotations

from helios.errors import ArgumentError
from helios.signals.expr import Expr
from helios.signals.units import NUMBER, PRICE, SHARES, Unit


def source(name: str, symbol: str, unit: Unit | None = None, *, level: int | None = None) -> Expr:
    """A source of one instrument; refuses what is no symbol."""
    if not isinstance(symbol, str) or not symbol.strip() or symbol != symbol.strip():
        raise ArgumentError(f"{name}({symbol!r}): a symbol is a text without spaces around it, like 'KO'")
    ints = () if level is None else (level,)
    told = "" if level is None else f", {level}"
    return Expr(f"source:{name}", symbol=symbol, ints=ints, text=f"{name}({symbol!r}{told})", unit=unit)


def _level(name: str, symbol: str, level: int, least: int) -> int:
    if isinstance(level, bool) or not isinstance(level, int) or not least <= level <= 255:
        raise ArgumentError(f"{name}({symbol!r}, {level!r}): a whole number from {least} to 255")
    return level


def mid(symbol: str) -> Expr:
    """Half way between best bid and best ask; fires on every quote and every change of a best level."""
    return source("mid", symbol, PRICE)


def microprice(symbol: str) -> Expr:
    """Best prices weighted by the size on the other side: (bid * ask_size + ask * bid_size) / (bid_size + ask_size)."""
    return source("microprice", symbol, PRICE)


def bid(symbol: str, level: int = 0) -> Expr:
    """Best bid price, or that of a deeper level (from order-level data); level 0 is the best."""
    if _level("bid", symbol, level, 0) == 0:
        return source("bid", symbol, PRICE)
    return source("bid_at", symbol, PRICE, level=level)


def ask(symbol: str, level: int = 0) -> Expr:
    """Best ask price, or that of a deeper level (from order-level data); level 0 is the best."""
    if _level("ask", symbol, level, 0) == 0:
        return source("ask", symbol, PRICE)
    return source("ask_at", symbol, PRICE, level=level)


def bid_size(symbol: str, level: int = 0) -> Expr:
    """Shares at the best bid, or at a deeper level."""
    if _level("bid_size", symbol, level, 0) == 0:
        return source("bid_size", symbol, SHARES)
    return source("bid_size_at", symbol, SHARES, level=level)


def ask_size(symbol: str, level: int = 0) -> Expr:
    """Shares at the best ask, or at a deeper level."""
    if _level("ask_size", symbol, level, 0) == 0:
        return source("ask_size", symbol, SHARES)
    return source("ask_size_at", symbol, SHARES, level=level)


def bid_depth(symbol: str, levels: int) -> Expr:
    """Shares of the first so many bid levels together; fires on every change of the book. Order-level data."""
    return source("bid_depth", symbol, SHARES, level=_level("bid_depth", symbol, levels, 1))


def ask_depth(symbol: str, levels: int) -> Expr:
    """Shares of the first so many ask levels together; fires on every change of the book. Order-level data."""
    return source("ask_depth", symbol, SHARES, level=_level("ask_depth", symbol, levels, 1))


def imbalance(symbol: str, levels: int = 1) -> Expr:
    """(bid shares - ask shares) / both, of the best levels or of the first so many: -1 to 1."""
    if _level("imbalance", symbol, levels, 1) == 1:
        return source("imbalance", symbol, NUMBER)
    bids, asks = bid_depth(symbol, levels), ask_depth(symbol, levels)
    made = (bids - asks) / (bids + asks)
    return Expr(made.op, made.inputs, text=f"imbalance({symbol!r}, {levels})", unit=NUMBER)


def last(symbol: str) -> Expr:
    """Price of the last trade; fires on every trade."""
    return source("last", symbol, PRICE)


def last_size(symbol: str) -> Expr:
    """Shares of the last trade."""
    return source("last_size", symbol, SHARES)


def flow(symbol: str) -> Expr:
    """Shares of the last trade, plus where a buyer took them, minus where a seller did, zero where it is not known."""
    return source("flow", symbol, SHARES)


def open_(symbol: str) -> Expr:
    """First price of the bar that just ended; fires on every bar."""
    return source("open", symbol, PRICE)


def high(symbol: str) -> Expr:
    """Highest price of the bar that just ended."""
    return source("high", symbol, PRICE)


def low(symbol: str) -> Expr:
    """Lowest price of the bar that just ended."""
    return source("low", symbol, PRICE)


def close(symbol: str) -> Expr:
    """Last price of the bar that just ended."""
    return source("close", symbol, PRICE)


def volume(symbol: str) -> Expr:
    """Shares traded in the bar that just ended."""
    return source("volume", symbol, SHARES)


def series(name: str) -> Expr:
    """A number from outside the market, by the name of its column: a sentiment score, a model's output.

    Fires on each of its values, null ones included; goes with any unit. In a backtest it comes from `external(…)`.
    """
    if not isinstance(name, str) or not name.strip():
        raise ArgumentError(f"series({name!r}): a series has a name, a text")
    return Expr("series", series=name, text=f"series({name!r})")
