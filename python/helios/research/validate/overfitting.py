"""Probability of backtest overfitting: how often the best in sample is below the median out of sample.

Combinatorially symmetric cross-validation: the T rows of a matrix of returns (one column a strategy, parameter set or
trial) are cut into S blocks; for each of the C(S, S/2) ways to take half of them, the best column of that half is
ranked in the other half. With rank r of N out of sample, omega = r / (N + 1) and logit = ln(omega / (1 - omega)); PBO
is the share of logits at or below zero.

Assumes that the columns are all that was tried (those thrown away too), and rows of equal periods, in time order. It
says something of the choice, not of the chosen: with nothing but noise it is 0.5 or more, with a column that is truly
better it is near 0, and with N good and equal columns it is near 0.5 though none is bad. Absent: dependence between
neighbouring blocks is not modelled.

Source: Bailey, Borwein, López de Prado, Zhu (2017), The Probability of Backtest Overfitting, Journal of
Computational Finance 20.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helios.errors import ArgumentError

Array = NDArray[np.float64]
Metric = Literal["sharpe", "mean"] | Callable[[Array], ArrayLike]

#: C(20, 10) is 184,756 splits; more takes long and says no more.
MAX_BLOCKS: Final = 20
_CHUNK = 4_000_000


@dataclass(frozen=True, eq=False)
class Overfitting:
    """The result of `overfitting_probability`; arrays have one entry a split."""

    #: Share of splits in which the best in sample is at or below the median out of sample.
    probability: float
    logits: Array
    #: The metric of the column that is best in sample, in and out of sample.
    best_in_sample: Array
    best_out_of_sample: Array
    #: Slope of a line of out-of-sample on in-sample: below zero, the better it looked the worse it became.
    degradation: float
    #: Share of splits in which the column that is best in sample loses out of sample.
    loss_probability: float
    #: Rows at the beginning that were left out, so that blocks are equal.
    rows_left_out: int

    def __repr__(self) -> str:
        return (
            f"Overfitting(probability={self.probability:.3f}, loss_probability={self.loss_probability:.3f}, "
            f"degradation={self.degradation:.3f}, splits={self.logits.size})"
        )


def overfitting_probability(returns: ArrayLike, *, blocks: int = 16, metric: Metric = "sharpe") -> Overfitting:
    """PBO of a matrix of returns or P&L, T rows (time) by N columns (trials).

    `blocks`: even, 2 to 20. `metric`: "sharpe", "mean", or a function from rows by columns to one number a column.
    Equal ranks are shared. Raises ArgumentError for a matrix that cannot be used, naming row and column.
    """
    matrix = returns_matrix(returns)
    if isinstance(blocks, bool) or not isinstance(blocks, int) or blocks % 2 or not 2 <= blocks <= MAX_BLOCKS:
        raise ArgumentError(f"blocks={blocks!r}: an even number from 2 to {MAX_BLOCKS}")
    if matrix.shape[0] < 2 * blocks or matrix.shape[1] < 2:
        raise ArgumentError(
            f"{matrix.shape[0]} rows by {matrix.shape[1]} columns: {blocks} blocks need two rows each, and two columns"
        )
    left_out = matrix.shape[0] % blocks
    cut = matrix[left_out:].reshape(blocks, -1, matrix.shape[1])
    taken = np.array(list(combinations(range(blocks), blocks // 2)))
    # Mirrored splits stand at mirrored places, so the other half of split i is split -1 - i.
    scores = _by_function(cut, taken, metric) if callable(metric) else _by_sums(cut, taken, metric)
    rows = np.arange(len(taken))
    best = np.argmax(scores, axis=1)
    inside, outside = scores[rows, best], scores[::-1][rows, best]
    others = scores[::-1]
    below = (others < outside[:, None]).sum(axis=1)
    equal = (others == outside[:, None]).sum(axis=1)
    omega = (below + (equal + 1) / 2) / (matrix.shape[1] + 1)
    logits = np.log(omega / (1 - omega))
    spread = inside - inside.mean()
    slope = float(spread @ outside / (spread @ spread)) if float(spread @ spread) > 0 else math.nan
    return Overfitting(
        float((logits <= 0).mean()), logits, inside, outside, slope, float((outside < 0).mean()), left_out
    )


def _by_sums(cut: Array, taken: NDArray[np.int64], metric: Literal["sharpe", "mean"]) -> Array:
    """Scores of all halves from each block's sums: a product of matrices instead of a pass over the rows."""
    if metric not in ("sharpe", "mean"):
        raise ArgumentError(f"metric={metric!r}: 'sharpe', 'mean', or a function")
    blocks, length, columns = cut.shape
    count = blocks // 2 * length
    level = cut.mean(axis=(0, 1))
    centred = cut - level  # so that the squares do not drown in the mean
    sums, squares = centred.sum(axis=1), (centred**2).sum(axis=1)
    scores = np.empty((len(taken), columns))
    for start in range(0, len(taken), step := max(1, _CHUNK // columns)):
        part = taken[start : start + step]
        chosen = np.zeros((len(part), blocks))
        np.put_along_axis(chosen, part, 1.0, axis=1)
        mean = chosen @ sums / count
        if metric == "mean":
            scores[start : start + step] = level + mean
            continue
        variance = (chosen @ squares - count * mean**2) / (count - 1)
        flat = variance <= (1e-12 * np.abs(cut).max(axis=(0, 1))) ** 2
        ratio = (level + mean) / np.sqrt(np.where(flat, 1.0, variance))
        scores[start : start + step] = np.where(flat, 0.0, ratio)  # no risk was measured, so no skill
    return scores


def _by_function(cut: Array, taken: NDArray[np.int64], metric: Callable[[Array], Any]) -> Array:
    columns = cut.shape[2]
    scores = np.empty((len(taken), columns))
    for row, chosen in enumerate(taken):
        found = np.asarray(metric(cut[chosen].reshape(-1, columns)), dtype=np.float64)
        if found.shape != (columns,) or not np.isfinite(found).all():
            raise ArgumentError(f"metric gave {found!r}: it must give {columns} finite numbers, one a column")
        scores[row] = found
    return scores


def returns_matrix(returns: ArrayLike) -> Array:
    """Rows by columns of finite numbers; a Polars frame has one column a strategy."""
    try:
        matrix = np.asarray(returns, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError("returns: a matrix of numbers is needed, rows are time, columns are strategies") from None
    if matrix.ndim != 2:
        raise ArgumentError(f"returns: rows (time) by columns (strategies) are needed, not the shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise ArgumentError(f"returns: row {row}, column {column} is {matrix[row, column]}, not a finite number")
    return matrix
