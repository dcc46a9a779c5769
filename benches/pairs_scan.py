"""The scan of all 124,750 pairs of 500 names over 250 days, and beside it the loop that a researcher would write.

    python benches/pairs_scan.py [--small]

The loop calls statsmodels' coint both ways and coint_johansen once for a pair, with the same number of lags, on a
sample of the pairs; its time for all of them is that of the sample, scaled. The scan measures more: distance, three
hedge ratios, half-life, four sub-windows. Prices are unrelated walks: the work does not depend on what they say.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from datetime import date
from itertools import combinations

import numpy as np
import polars as pl
from helios.research.pairs import scan
from rich.console import Console

DAYS = 250


def main() -> None:
    small = "--small" in sys.argv[1:]
    names, sample = (60, 20) if small else (500, 200)
    prices = walks(names)
    pairs = list(combinations(range(names), 2))
    scan(prices)  # libraries are loaded before the clock starts
    ours = statistics.median(seconds(lambda: scan(prices)) for _ in range(3))
    chosen = np.random.default_rng(1).choice(len(pairs), sample, replace=False)
    logs = prices.drop("ts").to_numpy()
    np.log(logs, out=logs)
    theirs = seconds(lambda: loop(logs, [pairs[k] for k in chosen])) / sample * len(pairs)
    console = Console(highlight=False)
    console.print(f"{len(pairs):,} pairs of {names} names over {DAYS} days, {os.cpu_count()} cores")
    console.print(f"scan                      {ours:8.2f} s   wanted <= 30 s for 124,750 pairs")
    console.print(f"statsmodels, one by one   {theirs:8.0f} s   from {sample} pairs: {theirs / ours:,.0f} x")


def walks(names: int) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    logs = 4 + rng.normal(0, 0.01, (DAYS, names)).cumsum(axis=0)
    ts = pl.date_range(date(2020, 1, 1), date(2020, 12, 31), eager=True).head(DAYS)
    return pl.DataFrame({"ts": ts, **{f"S{k:03}": np.exp(logs[:, k]) for k in range(names)}})


def loop(logs: np.ndarray, pairs: list[tuple[int, int]]) -> None:
    from statsmodels.tsa.stattools import coint
    from statsmodels.tsa.vector_ar.vecm import coint_johansen

    for a, b in pairs:
        coint(logs[:, a], logs[:, b], maxlag=1, autolag=None)
        coint(logs[:, b], logs[:, a], maxlag=1, autolag=None)
        coint_johansen(logs[:, [a, b]], 0, 1)


def seconds(work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
