"""Prices as the searches for pairs take them: log prices on one grid of times, without gaps.

A missing price (null or NaN) carries the last one forward; a symbol with less than `COVERAGE` of the points after
that is left out; rows before the last of the remaining symbols has begun are cut. Assumes one currency and prices
adjusted for splits. Absent: an alignment of markets with different hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from helios.errors import ArgumentError, DataError

Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: Symbols at most: the moments of all pairs are one dense matrix.
MAX_SYMBOLS: Final = 2_000
#: Grid points at least, so that a regression of a handful of points is not taken for a relation.
MIN_POINTS: Final = 50
#: A symbol with fewer of the grid's points than this, after carrying forward, is left out.
COVERAGE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Grid:
    """Log prices: `logs` has a row for each of `ts` and a column for each of `symbols` (in order of name)."""

    symbols: list[str]
    ts: pl.Series
    logs: Array
    #: The usual distance of two points, seconds.
    step_s: float


def log_prices(prices: pl.DataFrame, wanted: Sequence[Mapping[str, Any] | None] = ()) -> Grid:
    """The grid of the symbols that are keys of each of `wanted`. Rows may come in any order; a moment comes once."""
    wide = _wide(prices)
    symbols = sorted(name for name in wide.columns if name != "ts" and all(m is None or name in m for m in wanted))
    kinds = wide.schema
    if bad := [name for name in symbols if not kinds[name].is_numeric() and kinds[name] != pl.Null]:
        raise DataError(f"prices of {bad[0]} are {kinds[bad[0]]}, not numbers", column=bad[0])
    table = wide.select(pl.col(symbols).cast(pl.Float64).fill_nan(None).forward_fill())
    if bad := [name for name in symbols if table[name].is_infinite().any()]:
        raise DataError(f"prices of {', '.join(bad[:5])} are infinite", column=bad[0])
    if bad := [name for name in symbols if (table[name] <= 0).any()]:
        raise DataError(f"prices of {', '.join(bad[:5])} are zero or below: they have no logarithm", column=bad[0])
    symbols = [name for name in symbols if table[name].null_count() <= (1 - COVERAGE) * table.height]
    if len(symbols) > MAX_SYMBOLS:
        raise ArgumentError(f"{len(symbols)} symbols, at most {MAX_SYMBOLS}: look for pairs within parts of the market")
    steps = wide["ts"].diff().drop_nulls()
    if not len(steps):
        raise DataError("a choice of pairs needs prices at several moments", column="ts")
    if not symbols:
        return Grid([], wide["ts"].clear(), np.empty((0, 0)), 1.0)
    usual = steps.mode().sort().dt.total_nanoseconds()[0] / 1e9
    whole = wide.select("ts").hstack(table.select(symbols)).drop_nulls()
    return Grid(symbols, whole["ts"], np.log(whole.select(symbols).to_numpy()), usual)


def enough(points: int, lags: int, horizon: int) -> None:
    """Raises DataError when a regression with `lags` or a correlation over `horizon` would rest on too few points."""
    if points < max(MIN_POINTS, 10 * (lags + 1), 3 * horizon):
        raise DataError(f"{points} points in time are too few for lags={lags} and horizon={horizon}")


def correlations(logs: Array, horizon: int) -> Array:
    """Correlation of changes over `horizon` points, symbols x symbols; zero for a price that does not move."""
    changes = np.diff(logs[::horizon], axis=0)
    changes -= changes.mean(axis=0)
    norm = np.sqrt((changes**2).sum(axis=0))
    scaled = changes / np.where(norm > 0, norm, 1.0)
    product: Array = scaled.T @ scaled
    return product


def distances(logs: Array) -> Array:
    """Sum of squared differences of prices that all start at 1, symbols x symbols."""
    normalised = np.exp(logs - logs[0])
    product = normalised.T @ normalised
    own = np.diagonal(product)
    squares: Array = (own[:, None] + own[None, :] - 2 * product).clip(0)
    return squares


def _wide(prices: pl.DataFrame) -> pl.DataFrame:
    """One row a moment in order of time, one column a symbol."""
    if not isinstance(prices, pl.DataFrame):
        raise ArgumentError(f"prices are a {type(prices).__name__}: give a Polars frame (polars.from_pandas, collect)")
    there = ", ".join(prices.columns[:8]) + (", …" if prices.width > 8 else "")
    if "ts" not in prices.columns:
        raise DataError(f"prices need a column ts of times; there are {there}", column="ts")
    if not isinstance(prices.schema["ts"], pl.Datetime | pl.Date):
        raise DataError(f"prices need a column ts of times, but it is {prices.schema['ts']}", column="ts")
    if prices["ts"].null_count():
        row = int(prices["ts"].is_null().arg_true()[0])
        raise DataError("the time is missing", row=row, column="ts")
    if "price" not in prices.columns:
        # One column a symbol has numbers only. Names in a column are rows of one symbol each, under other names.
        texts = [name for name, kind in prices.schema.items() if kind in (pl.String, pl.Categorical)]
        if texts and ("symbol" in texts or not prices["ts"].is_unique().all()):
            raise DataError(f"rows of one symbol each need the columns ts, symbol and price; there are {there}")
        _no_repeats(prices, ["ts"])
        return prices.sort("ts")
    if "symbol" not in prices.columns:
        raise DataError("prices need a column symbol beside price", column="symbol")
    rows = prices.select("ts", pl.col("symbol").cast(pl.String), "price")
    _no_repeats(rows, ["ts", "symbol"])
    return rows.pivot("symbol", index="ts", values="price").sort("ts")


def _no_repeats(rows: pl.DataFrame, key: list[str]) -> None:
    """Two prices at one moment leave open which of them stood."""
    repeated = ~rows.select(pl.struct(key).is_first_distinct()).to_series()
    if repeated.any():
        row = int(repeated.arg_true()[0])
        what = " ".join(str(value) for value in rows.select(key).row(row))
        hint = f"Keep one: prices.unique({key}, keep='last')."
        raise DataError(f"{what} is there twice", row=row, column="ts", hint=hint)
