"""What it costs to borrow the shares that are sold short, counted after a run whose venue did not charge it.

    cost = borrow_cost(results.fills, closes, rate=0.005)      # ts, short_value, cost

A short position is lent from one moment of the price table to the next: |shares| * price at the first of them * rate *
calendar days / days of a year. Long and short positions of several strategies in one symbol are one account's, so they
are netted first.

`hx.Venue(borrow=hx.Borrow(…))` charges it during the run, night by night, so that equity and limits see it; use one of
the two. Here prices and times are the caller's, and no new run is needed.

Assumes that every share can be borrowed at the rate, at once, and is never recalled; that the lender is paid for each
night a share is short at the close (settlement days later shift the nights, they do not change their number). Absent:
interest on the proceeds of the sale, and dividends paid to the lender: prices adjusted for dividends have those in the
P&L already. General collateral costs some 0.25 to 0.5 % a year; shares that are hard to borrow cost tens of percent
(D'Avolio 2002, The Market for Borrowing Stock).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import polars as pl

from helios.errors import ArgumentError, DataError

#: Days of a year as lenders of dollar and euro shares count them (actual/360).
DAYS_PER_YEAR: Final = 360.0
_DAY_NS: Final = 86_400 * 10**9


def borrow_cost(
    fills: pl.DataFrame,
    prices: pl.DataFrame,
    rate: float | Mapping[str, float],
    *,
    days_per_year: float = DAYS_PER_YEAR,
) -> pl.DataFrame:
    """What the short positions that `fills` lead to cost, at each moment of `prices`, from a flat start.

    - `fills`: the table of a run (columns ts, instrument, side, quantity).
    - `prices`: ts (with a zone, like those of fills), symbol, price: one row a moment and symbol, usually each close.
      What is missing carries the symbol's last price forward.
    - `rate`: a year's, as a fraction (0.005 is half a percent), one for all or one for each symbol.

    Returns ts, short_value (market value of the short positions at that moment, after the fills of the moment) and cost
    (for the time since the moment before; the first is zero). After the last moment nothing is charged.

    Raises ArgumentError for a rate that is none, DataError for a symbol that is short and has no price.
    """
    if not (math.isfinite(days_per_year) and days_per_year > 0):
        raise ArgumentError(f"borrow_cost: days_per_year={days_per_year!r}: a number above zero, like 360")
    for frame, what, columns in (
        (fills, "fills", ("ts", "instrument", "side", "quantity")),
        (prices, "prices", ("ts", "symbol", "price")),
    ):
        if missing := [column for column in columns if column not in frame.columns]:
            raise DataError(f"has {', '.join(frame.columns)}", source=what, column=missing[0])
        kind = frame.schema["ts"]
        if not isinstance(kind, pl.Datetime) or kind.time_zone is None:
            raise DataError(f"{kind} is no time with a zone", source=what, column="ts")
    held = _positions(fills, prices)
    rates = _rates(rate, held["symbol"].unique().sort().to_list())
    short = (-pl.col("position")).clip(lower_bound=0.0)
    if (bad := held.filter((short > 0) & ~(pl.col("price") > 0).fill_null(False))).height:
        ts, symbol = bad.select("ts", "symbol").row(0)
        hint = "Give a price above zero at each moment at which it is short, or before."
        raise DataError(f"{symbol} is short at {ts} and has no price", source="prices", column="price", hint=hint)
    value = pl.when(short > 0).then(short * pl.col("price")).otherwise(0.0)
    yearly = pl.col("symbol").replace_strict(rates, return_dtype=pl.Float64)
    by_moment = held.group_by("ts").agg(value.sum().alias("short_value"), (value * yearly).sum().alias("yearly"))
    days = pl.col("ts").diff().dt.total_nanoseconds() / _DAY_NS
    cost = (pl.col("yearly").shift(1) * days / days_per_year).fill_null(0.0).alias("cost")
    return by_moment.sort("ts").select("ts", "short_value", cost)


def _positions(fills: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """Position and last price of every symbol that traded, at every moment of the prices."""
    zone = pl.Datetime("ns", "UTC")
    quantity = pl.when(pl.col("side") == "buy").then(pl.col("quantity")).otherwise(-pl.col("quantity"))
    trades = (
        fills.select(
            pl.col("ts").cast(zone), pl.col("instrument").cast(pl.String).alias("symbol"), quantity.alias("traded")
        )
        .sort("ts", maintain_order=True)
        .with_columns(pl.col("traded").cum_sum().over("symbol").alias("position"))
        # Sums of decimals leave rounding errors where the position is flat; the core counts in 1e-8.
        .select("ts", "symbol", pl.col("position").round(8))
    )
    known = prices.select(pl.col("ts").cast(zone), pl.col("symbol").cast(pl.String), pl.col("price").cast(pl.Float64))
    if (twice := known.filter(pl.struct("ts", "symbol").is_duplicated())).height:
        ts, symbol, _ = twice.row(0)
        raise DataError(f"{symbol} has two prices at {ts}", source="prices", column="ts")
    known = known.filter(pl.col("price").is_finite()).sort("ts")
    moments = prices.select(pl.col("ts").cast(zone)).unique().sort("ts")
    symbols = trades.select(pl.col("symbol").unique().sort())
    grid = moments.join(symbols, how="cross", maintain_order="left_right")
    if not symbols.height:
        return moments.with_columns(
            symbol=pl.lit(None, pl.String), position=pl.lit(0.0), price=pl.lit(None, pl.Float64)
        )
    for table in (trades, known):
        grid = grid.join_asof(table, on="ts", by="symbol", check_sortedness=False)
    return grid.with_columns(pl.col("position").fill_null(0.0))


def _rates(rate: float | Mapping[str, float], symbols: list[str]) -> dict[str, float]:
    """The rate of each symbol; null (nothing traded) has none to pay."""
    if not isinstance(rate, Mapping):
        rates = dict.fromkeys(symbols, rate)
    elif missing := [symbol for symbol in symbols if symbol is not None and symbol not in rate]:
        raise ArgumentError(f"borrow_cost: rate has none for {missing[0]!r}; give one number for all, or all of them")
    else:
        rates = {symbol: rate[symbol] if symbol is not None else 0.0 for symbol in symbols}
    for symbol, value in [("all", rate)] if not isinstance(rate, Mapping) else list(rates.items()):
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            raise ArgumentError(f"borrow_cost: the rate of {symbol} is {value!r}: a fraction a year from zero on")
    return {symbol: float(value) for symbol, value in rates.items()}
