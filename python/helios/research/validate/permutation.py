"""Could it be luck? Tests that compare a strategy's result with what chance makes of the same data.

- `permutation_test`: positions against returns. If positions know nothing of returns, any order of them would have done
  as well; blocks of them are shuffled, so that the dependence inside a block stays.
- `sign_test`: P&L alone. If there is no edge, gains and losses are symmetric; signs are flipped, in runs of random
  length.
- `reality_check`: the best of many strategies against a benchmark of zero, by a stationary bootstrap of the rows:
  White's reality check, and Hansen's SPA, which is not misled by hopeless candidates.

p-values count the observed result among the random ones, (1 + hits) / (1 + draws), so they are never zero and the test
keeps its level (Phipson, Smyth 2010). Assumes stationary rows of equal periods; blocks must be about as long as the
dependence in the data. Absent: a choice of that length.

Sources: Good (2005), *Permutation, Parametric and Bootstrap Tests of Hypotheses*; Phipson, Smyth (2010), Permutation
P-values Should Never Be Zero; Politis, Romano (1994), The Stationary Bootstrap; White (2000), A Reality Check for Data
Snooping; Hansen (2005), A Test for Superior Predictive Ability.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helios.errors import ArgumentError
from helios.research.validate.overfitting import returns_matrix
from helios.research.validate.sharpe import numbers

Array = NDArray[np.float64]
Statistic = Literal["mean", "sharpe"] | Callable[[Array], ArrayLike]

#: Orders or sign patterns that an exact test goes through at most.
MAX_EXACT: Final = 1_000_000
_CHUNK = 4_000_000


@dataclass(frozen=True)
class Significance:
    """`statistic` is what was observed; `p_value` how often chance does as well; `draws` how many were made."""

    statistic: float
    p_value: float
    draws: int
    exact: bool


def permutation_test(
    positions: ArrayLike,
    returns: ArrayLike,
    *,
    block: int = 1,
    draws: int | Literal["all"] = 9_999,
    statistic: Statistic = "mean",
    seed: int = 0,
) -> Significance:
    """Test of positions[t] * returns[t] against positions in another order; one-sided, high is good.

    `positions[t]` is held while `returns[t]` is made. `block` consecutive positions stay together (the last block may
    be shorter). `draws="all"` goes through every order of the blocks. `statistic`: "mean", "sharpe", or a function from
    draws by rows of P&L to one number a draw.
    """
    held, r = numbers(positions, "positions", least=2), numbers(returns, "returns", least=2)
    if held.size != r.size:
        raise ArgumentError(f"{held.size} positions and {r.size} returns")
    if isinstance(block, bool) or not isinstance(block, int) or not 1 <= block <= held.size // 2:
        raise ArgumentError(f"block={block!r}: from 1 to {held.size // 2}, half of the rows")
    pieces = np.split(np.arange(held.size), range(block, held.size, block))
    if draws == "all":
        count = math.factorial(len(pieces))
        _refuse_many(count)
        orders: Iterator[Any] = permutations(range(len(pieces)))
    else:
        count = _draws(draws)
        rng = np.random.default_rng(seed)
        orders = (rng.permutation(len(pieces)) for _ in range(count))
    if block == 1:
        pnl = (held[np.asarray(order)] * r for order in orders)
    else:
        pnl = (held[np.concatenate([pieces[i] for i in order])] * r for order in orders)
    return _compare(held * r, pnl, count, statistic, exact=draws == "all")


def sign_test(
    pnl: ArrayLike,
    *,
    block: float = 1.0,
    draws: int | Literal["all"] = 9_999,
    statistic: Statistic = "mean",
    seed: int = 0,
) -> Significance:
    """Test of P&L against the same P&L with random signs; one-sided, high is good.

    Signs change in runs of random length, `block` rows in the mean (geometric, as in the stationary bootstrap).
    `draws="all"` goes through all 2^n patterns and takes block=1.
    """
    values = numbers(pnl, "pnl", least=2)
    if not 1 <= block <= values.size:
        raise ArgumentError(f"block={block!r}: from 1 to {values.size}, the rows")
    if draws == "all":
        if block != 1:
            raise ArgumentError(f"block={block!r}: all patterns are only those of single rows, block=1")
        count = 2**values.size
        _refuse_many(count)
        patterns: Iterator[Any] = (np.array(signs) for signs in product((1.0, -1.0), repeat=values.size))
    else:
        count = _draws(draws)
        rng = np.random.default_rng(seed)
        patterns = (_runs_of_signs(rng, values.size, block) for _ in range(count))
    return _compare(values, (signs * values for signs in patterns), count, statistic, exact=draws == "all")


def _runs_of_signs(rng: np.random.Generator, rows: int, block: float) -> Array:
    fresh = rng.random(rows) < 1 / block
    fresh[0] = True
    signs = rng.integers(0, 2, rows) * 2.0 - 1.0
    return np.asarray(signs[np.maximum.accumulate(np.where(fresh, np.arange(rows), 0))])


@dataclass(frozen=True, eq=False)
class RealityCheck:
    """The best of many strategies; p-values of "none is better than nothing"."""

    #: Column of the best mean, and that mean.
    best: int
    mean: float
    #: White's reality check: careful, the more so the more hopeless candidates there are.
    p_white: float
    #: Hansen's SPA, consistent version.
    p_spa: float
    draws: int


def reality_check(returns: ArrayLike, *, block: float = 10.0, draws: int = 9_999, seed: int = 0) -> RealityCheck:
    """Is the best of N strategies better than zero, given that it is the best of N?

    `returns`: T rows by N columns, in excess of the benchmark. `block`: mean length of the bootstrap's blocks, in rows.
    """
    matrix = returns_matrix(returns)
    rows, columns = matrix.shape
    if rows < 10 or columns < 1:
        raise ArgumentError(f"{rows} rows by {columns} columns: at least ten rows and one column are needed")
    if not 1 <= block <= rows:
        raise ArgumentError(f"block={block!r}: from 1 to {rows}, the rows")
    count, root = _draws(draws), math.sqrt(rows)
    mean = matrix.mean(axis=0)
    deviation = np.sqrt(_long_run_variance(matrix, block))
    if not (deviation > 0).all():
        raise ArgumentError(f"returns: column {int(np.argmin(deviation > 0))} does not vary")
    # Hansen's threshold: a candidate that is this far below zero has no say in how good luck can look.
    hopeless = root * mean / deviation < -math.sqrt(2 * math.log(math.log(rows)))
    recentred = np.where(hopeless, 0.0, mean)
    white, spa = root * float(mean.max()), max(0.0, float((root * mean / deviation).max()))
    rng = np.random.default_rng(seed)
    hits_white = hits_spa = 0
    for _ in range(count):
        drawn = np.bincount(stationary_rows(rng, rows, block), minlength=rows) @ matrix / rows
        hits_white += root * float((drawn - mean).max()) >= white
        hits_spa += max(0.0, float((root * (drawn - recentred) / deviation).max())) >= spa
    return RealityCheck(
        int(np.argmax(mean)), float(mean.max()), (1 + hits_white) / (1 + count), (1 + hits_spa) / (1 + count), count
    )


def stationary_rows(rng: np.random.Generator, rows: int, block: float) -> NDArray[np.int64]:
    """Row numbers of one draw of the stationary bootstrap: runs that start anywhere and wrap around."""
    fresh = rng.random(rows) < 1 / block
    fresh[0] = True
    begun = np.maximum.accumulate(np.where(fresh, np.arange(rows), 0))
    starts = rng.integers(0, rows, rows)
    return np.asarray((starts[begun] + np.arange(rows) - begun) % rows)


def _long_run_variance(matrix: Array, block: float) -> Array:
    """Variance of sqrt(T) times the mean under the stationary bootstrap (Politis, Romano 1994, lemma 1)."""
    rows = matrix.shape[0]
    centred = matrix - matrix.mean(axis=0)
    spectrum = np.fft.rfft(centred, axis=0)
    # Circular autocovariances, as the bootstrap wraps around.
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, n=rows, axis=0) / rows
    lag = np.arange(1, rows)
    keep = 1 - 1 / block
    weight = (1 - lag / rows) * keep**lag
    return np.asarray(covariance[0] + 2 * (weight[:, None] * covariance[1:]).sum(axis=0))


# ---- comparing -------------------------------------------------------------------------------------------------------


def _compare(observed: Array, drawn: Iterator[Array], count: int, statistic: Statistic, *, exact: bool) -> Significance:
    value = float(_evaluate(observed[None, :], statistic)[0])
    # The same numbers summed in another order may differ in the last bits; such a draw does as well.
    slack = 1e-12 * (float(np.abs(observed).mean()) if statistic == "mean" else max(1.0, abs(value)))
    hits, left = 0, count
    chunk = max(1, _CHUNK // observed.size)
    while left:
        size = min(chunk, left)
        hits += int((_evaluate(np.array([next(drawn) for _ in range(size)]), statistic) >= value - slack).sum())
        left -= size
    return Significance(value, hits / count if exact else (1 + hits) / (1 + count), count, exact)


def _evaluate(pnl: Array, statistic: Statistic) -> Array:
    if statistic == "mean":
        return np.asarray(pnl.mean(axis=1))
    if statistic == "sharpe":
        deviation = pnl.std(axis=1, ddof=1)
        flat = deviation <= 1e-12 * np.abs(pnl).max(axis=1)
        return np.where(flat, 0.0, pnl.mean(axis=1) / np.where(flat, 1.0, deviation))
    if not callable(statistic):
        raise ArgumentError(f"statistic={statistic!r}: 'mean', 'sharpe', or a function")
    found = np.asarray(statistic(pnl), dtype=np.float64)
    if found.shape != (len(pnl),) or not np.isfinite(found).all():
        raise ArgumentError(f"statistic gave {found!r}: it must give {len(pnl)} finite numbers, one a draw")
    return found


def _draws(draws: object) -> int:
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise ArgumentError(f"draws={draws!r}: a whole number from 1 on")
    return draws


def _refuse_many(count: int) -> None:
    if count > MAX_EXACT:
        raise ArgumentError(f'draws="all" would be {count:,}, more than {MAX_EXACT:,}: give a number of random draws')
