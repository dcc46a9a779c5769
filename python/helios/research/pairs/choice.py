"""Choice of pairs: from prices of a formation period to the pairs whose spread has reverted and can pay its costs.

    prices = sample(hx.itch("day.itch"), every="1s", until=formation_end)
    pairs = choose(prices, count=300, costs=costs(prices, per_share=0.003))

For a pair (a, b), all over the formation period and from log prices x:

- hedge ratio and spread: x_a = alpha + beta x_b + e by least squares; e is the spread (Engle, Granger 1987, step one);
- t-statistic: gamma / se(gamma) in de(t) = gamma e(t-1) + sum over k of phi_k de(t-k) + noise, without a constant since
  e has mean zero (Engle, Granger 1987, step two; Dickey, Fuller 1979). Critical values: MacKinnon (2010), two variables
  and a constant, long samples: -3.90 (1 %), -3.34 (5 %), -3.04 (10 %);
- half-life: ln 2 / -ln(1 + g) points, with de(t) = g e(t-1) + noise, the AR(1) part alone;
- edge: (enter - exit) standard deviations of e, less two crossings of both legs, per unit of money in `a`.

Assumes prices in one currency, adjusted for splits. Nothing looks beyond the rows it is given: cut them at the end of
the formation period. Absent: a correction for the number of pairs looked at (`scan` has one). Of 20,000 pairs of
unrelated walks 1,000 pass a 5 % test, so the t-statistic ranks, it does not prove; correlation and groups carry what is
known beforehand.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import polars as pl

from helios.errors import ArgumentError
from helios.research.pairs.moments import Moments, best_direction
from helios.research.pairs.prices import correlations, enough, log_prices

if TYPE_CHECKING:
    from helios.research.feeds import Source

#: MacKinnon (2010), table 2: two variables, constant, 5 %, asymptotic.
CRITICAL_5_PERCENT: Final = -3.34


@dataclass(frozen=True, slots=True)
class Pair:
    """Two instruments and the spread log(a) - beta log(b), as measured over the formation period."""

    a: str
    b: str
    #: Money in `b` for one unit of money in `a`.
    beta: float
    #: Correlation of the log-price changes over `horizon` points.
    correlation: float
    #: Of the spread's reversion; the more negative, the surer.
    t_statistic: float
    #: Time in which half of a deviation fades, in the sampling step's seconds (trading time where nights are left out).
    half_life_s: float
    #: Standard deviation of the spread, a fraction of price.
    deviation: float
    #: Expected gain of a round trip after costs, a fraction of the money in `a`.
    edge: float


def sample(
    source: Source | Sequence[Source],
    *,
    every: str | timedelta = "1s",
    until: datetime | None = None,
    progress: bool = False,
) -> pl.DataFrame:
    """Reference prices on a time grid: columns ts, symbol, price and half_spread (a fraction of price).

    A row says what stood just before its moment. Trades nothing; reads the whole source. `half_spread` is null where
    the source shows no quotes. Rows after `until` (UTC unless it has a zone) are left out.
    """
    from helios.research.backtest import Backtest
    from helios.signals import Strategy, ask, bid, record

    sources = list(source) if isinstance(source, Sequence) else [source]
    symbols = sorted({symbol for part in sources for symbol in part.symbols})
    quoted = sorted({symbol for part in sources if part.schema in ("orders", "quotes") for symbol in part.symbols})
    spreads = [record(symbol, (ask(symbol) - bid(symbol)) / (ask(symbol) + bid(symbol))) for symbol in quoted]
    idle = Strategy()  # asks for the instruments that no record names
    idle.universe = symbols
    run = Backtest(sources, [*spreads, idle], marks=every, name="reading prices").run(progress=progress)
    seen = run.signals.select("ts", pl.col("signal").alias("symbol"), pl.col("value").alias("half_spread"))
    grid = run.marks.select("ts", pl.col("instrument").alias("symbol"), "price")
    if until is not None:
        # The grid's times are UTC; Polars compares moments, whatever the zone of `until`.
        moment = pl.lit(until).dt.replace_time_zone("UTC") if until.tzinfo is None else pl.lit(until)
        grid = grid.filter(pl.col("ts") <= moment)
    # Records at the grid's moment itself came after the sample.
    joined = grid.join_asof(seen, on="ts", by="symbol", allow_exact_matches=False, check_sortedness=False)
    return joined.sort("ts", "symbol")


def costs(prices: pl.DataFrame, *, half_spread: float | None = None, per_share: float = 0.0) -> dict[str, float]:
    """What one crossing costs, by symbol, as a fraction of price: mean half spread + fee per share / mean price.

    `half_spread` (a fraction) is for prices that have no such column. Raises ArgumentError when neither is there.
    """
    if half_spread is None and "half_spread" not in prices.columns:
        raise ArgumentError("costs: these prices show no half_spread; pass one, like half_spread=0.00015 for 1.5 bp")
    crossing = pl.col("half_spread").mean() if half_spread is None else pl.lit(half_spread, dtype=pl.Float64)
    told = prices.group_by("symbol").agg((crossing + per_share / pl.col("price").mean()).alias("cost")).sort("symbol")
    return {symbol: cost for symbol, cost in told.iter_rows() if cost is not None}


def choose(
    prices: pl.DataFrame,
    *,
    count: int,
    groups: Mapping[str, str] | None = None,
    costs: Mapping[str, float] | None = None,
    enter: float = 2.0,
    exit: float = 0.5,
    min_edge: float = 0.0,
    t_statistic: float = CRITICAL_5_PERCENT,
    lags: int = 1,
    min_correlation: float = 0.3,
    horizon: int = 30,
    half_life_s: tuple[float, float] = (0.0, math.inf),
    beta: tuple[float, float] = (1 / 3, 3.0),
    per_symbol: int = 8,
    rank: Literal["t_statistic", "edge"] = "t_statistic",
) -> list[Pair]:
    """The best `count` pairs at most; fewer when fewer qualify. The same rows give the same pairs.

    - `prices`: columns ts, symbol, price, or ts and one column per symbol. Missing points carry the last price forward.
    - `groups`: only pairs whose symbols have the same group (a sector) are looked at; a symbol without one is left out.
    - `costs`: one crossing by symbol, a fraction of price (see `costs`); symbols that are not in it are left out. With
      them, pairs whose edge is below `min_edge` (a fraction) are left out.
    - `min_correlation`: of log-price changes over `horizon` points; a filter before the regressions.
    - `per_symbol`: pairs at most that one symbol is in, so that one symbol's news is not the whole book.
    - `rank`: the surest first, or those with the largest edge.

    Each pair is regressed in both directions and the more strongly reverting one is kept. Raises ArgumentError for a
    call that cannot be, DataError for prices that cannot be used.
    """
    if count < 1 or per_symbol < 1 or lags < 0 or horizon < 1:
        raise ArgumentError("choose: count, per_symbol and horizon are 1 or more, lags is 0 or more")
    if rank not in ("t_statistic", "edge"):
        raise ArgumentError(f"choose: rank={rank!r}: 't_statistic' or 'edge'")
    if not enter > exit >= 0:
        raise ArgumentError(f"choose: enter={enter} exit={exit}, but enter > exit >= 0 is needed")
    grid = log_prices(prices, [groups, costs])
    symbols, logs = grid.symbols, grid.logs
    if len(symbols) < 2:
        return []
    enough(len(logs), lags, horizon)
    correlation = correlations(logs, horizon)
    first, second = np.triu_indices(len(symbols), k=1)
    keep = np.abs(correlation[first, second]) >= min_correlation
    if groups is not None:
        group = np.array([groups[symbol] for symbol in symbols])
        keep &= group[first] == group[second]
    first, second = first[keep], second[keep]
    fit = best_direction(Moments(logs, lags), first, second)
    crossing = np.zeros(len(symbols)) if costs is None else np.array([costs[symbol] for symbol in symbols])
    edge = (enter - exit) * fit.deviation - 2 * (crossing[fit.a] + np.abs(fit.beta) * crossing[fit.b])
    life = fit.half_life * grid.step_s
    good = (fit.t <= t_statistic) & (life >= half_life_s[0]) & (life <= half_life_s[1])
    good &= (fit.beta >= beta[0]) & (fit.beta <= beta[1])
    if costs is not None:
        good &= edge >= min_edge
    ranked = np.lexsort((fit.b, fit.a, -edge if rank == "edge" else fit.t))
    chosen: list[Pair] = []
    used = np.zeros(len(symbols), dtype=np.int64)
    for k in ranked[good[ranked]]:
        a, b = fit.a[k], fit.b[k]
        if used[a] >= per_symbol or used[b] >= per_symbol:
            continue
        used[[a, b]] += 1
        told = (fit.beta[k], correlation[a, b], fit.t[k], life[k], fit.deviation[k], edge[k])
        chosen.append(Pair(symbols[a], symbols[b], *(float(value) for value in told)))
        if len(chosen) == count:
            break
    return chosen


def to_frame(pairs: Sequence[Pair]) -> pl.DataFrame:
    """One row a pair, columns as the fields of `Pair`."""
    kinds = {"a": pl.String, "b": pl.String}
    return pl.DataFrame([asdict(pair) for pair in pairs], {name: kinds.get(name, pl.Float64) for name in _FIELDS})


def write_csv(pairs: Sequence[Pair], path: str | os.PathLike[str]) -> None:
    """Writes pairs as a run file's `[strategy] file = "pairs.csv"` reads them: a, b, beta, and what was measured."""
    to_frame(pairs).write_csv(Path(path))


_FIELDS: Final = tuple(Pair.__dataclass_fields__)
