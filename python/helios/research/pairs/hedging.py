"""Hedge ratios that move: a Kalman filter over many pairs at once.

    path = kalman(prices, [("KO", "PEP")], beta_step=0.005)

The model of a pair, at each point t of the grid, from log prices x:

    x_a(t) = alpha(t) + beta(t) (x_b(t) - x_b(0)) + e(t)       e ~ N(0, noise^2)
    alpha(t) = alpha(t-1) + N(0, alpha_step^2)                 beta(t) = beta(t-1) + N(0, beta_step^2)

before the first point alpha ~ N(x_a(0), 1) and beta ~ N(1, 1). What is given for t uses points up to t only,
`spread` only those before it; but `noise`, where it is not given, is the residual of a least-squares fit over all
rows, so a filter that must know nothing of later rows is given its own.

Assumes that e has no memory, which a spread that reverts has: the larger the steps, the more of the spread the filter
explains away as drift. With alpha_step > 0 it can explain all of it; that is why it is 0 unless asked for. Absent: an
estimate of the steps by maximum likelihood, for the same reason, and a smoother (it looks ahead).

Kalman (1960); for pairs: Elliott, van der Hoek, Malcolm (2005), Chan, "Algorithmic Trading" (2013), ch. 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from helios.errors import ArgumentError, DataError
from helios.research.pairs.choice import Pair
from helios.research.pairs.moments import ROUNDING, Moments
from helios.research.pairs.prices import Array, Index, log_prices

#: Standard deviation of the change of a hedge ratio from one point to the next: 0.08 in a year of daily points.
BETA_STEP = 0.005


class State(NamedTuple):
    """After one point, one entry a pair; `spread` and its standard deviation are what was expected before it."""

    alpha: Array
    beta: Array
    beta_std: Array
    spread: Array
    spread_std: Array


def kalman(
    prices: pl.DataFrame,
    pairs: pl.DataFrame | Sequence[Pair] | Sequence[tuple[str, str]],
    *,
    beta_step: float = BETA_STEP,
    alpha_step: float = 0.0,
    noise: float | None = None,
) -> pl.DataFrame:
    """One row a point and pair, in order of ts and then of `pairs`.

    `prices` as in `choose`; `pairs` is a frame with columns a and b (what `scan` returns), Pairs or names. Columns:

    - ts, a, b;
    - alpha (log price), beta (money in b for one unit in a), beta_std: after the point;
    - spread: log price of a less what was expected of it just before the point; spread_std: its standard deviation, so
      spread / spread_std is a z-score.
    """
    steps = {"beta_step": beta_step, "alpha_step": alpha_step, "noise": 1.0 if noise is None else noise}
    if bad := [name for name, value in steps.items() if not (math.isfinite(value) and value >= 0)]:
        raise ArgumentError(f"kalman: {bad[0]}={steps[bad[0]]}: a standard deviation is finite and not negative")
    if noise == 0:
        raise ArgumentError("kalman: noise=0: without noise there is nothing to filter")
    names = _names(pairs)
    wanted = dict.fromkeys(name for pair in names for name in pair)
    grid = log_prices(prices, [wanted])
    column = {name: k for k, name in enumerate(grid.symbols)}
    if missing := [name for name in wanted if name not in column]:
        raise DataError(f"{missing[0]} is in a pair but has no price, or too few of them")
    a, b = (np.array([column[pair[k]] for pair in names], dtype=np.intp) for k in (0, 1))
    known = residual(grid.logs, a, b) if noise is None else np.full(len(a), noise)
    states = [np.stack(state) for state in filtered(grid.logs, a, b, known, beta_step, alpha_step)]
    values = np.stack(states, axis=1).reshape(len(State._fields), -1)
    key = pl.DataFrame({"a": [p[0] for p in names], "b": [p[1] for p in names]}, {"a": pl.String, "b": pl.String})
    table = grid.ts.to_frame().join(key, how="cross", maintain_order="left_right")
    return table.hstack(pl.DataFrame(dict(zip(State._fields, values, strict=True))))


def filtered(
    logs: Array, a: Index, b: Index, noise: Array, beta_step: float, alpha_step: float = 0.0
) -> Iterator[State]:
    """The states of the pairs of columns a and b, one after another."""
    alpha, beta = logs[0, a].copy(), np.ones(len(a))
    # Covariance of (alpha, beta).
    aa, ab, bb = np.ones(len(a)), np.zeros(len(a)), np.ones(len(a))
    start = logs[0, b]
    for t, row in enumerate(logs):
        if t:
            aa, bb = aa + alpha_step**2, bb + beta_step**2
        x = row[b] - start
        spread = row[a] - alpha - beta * x
        toward_alpha, toward_beta = aa + ab * x, ab + bb * x
        variance = toward_alpha + toward_beta * x + noise**2
        gain_alpha, gain_beta = toward_alpha / variance, toward_beta / variance
        alpha, beta = alpha + gain_alpha * spread, beta + gain_beta * spread
        aa, ab, bb = aa - gain_alpha * toward_alpha, ab - gain_alpha * toward_beta, bb - gain_beta * toward_beta
        yield State(alpha, beta, np.sqrt(bb.clip(0)), spread, np.sqrt(variance))


def residual(logs: Array, a: Index, b: Index) -> Array:
    """Standard deviation that least squares of a on b leaves, at least `ROUNDING`."""
    return Moments(logs, 0).fit(a, b).deviation.clip(ROUNDING)


def _names(pairs: pl.DataFrame | Sequence[Pair] | Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    if isinstance(pairs, pl.DataFrame):
        if missing := [name for name in ("a", "b") if name not in pairs.columns]:
            raise ArgumentError(f"kalman: the frame of pairs has no column {missing[0]}")
        names = [(str(a), str(b)) for a, b in pairs.select("a", "b").iter_rows()]
    else:
        names = [(pair.a, pair.b) if isinstance(pair, Pair) else (pair[0], pair[1]) for pair in pairs]
    if not names:
        raise ArgumentError("kalman: there are no pairs")
    if twice := [a for a, b in names if a == b]:
        raise ArgumentError(f"kalman: {twice[0]} is paired with itself")
    return names
