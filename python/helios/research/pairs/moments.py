"""Regressions of all pairs at once, in closed form from the sums of products of one matrix product.

Each pair costs a handful of additions instead of a look at its rows. What is left of a sum of squares after a
regression is its difference with another of the same size, so a pair of which less than `SHARE` is left is refused
rather than answered from rounding. Absent: a choice of the number of lags by an information criterion.

Engle, Granger (1987); Johansen (1991), "Estimation and hypothesis testing of cointegration vectors".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from helios.research.pairs.prices import Array, Index

#: A deviation of log prices below this is the rounding of floats: a price that stands still, or twice the same symbol.
ROUNDING: Final = 1e-9
#: The part of a variance that a regression must leave: of doubles, five digits of what is left are then right.
SHARE: Final = 1e-10


@dataclass(frozen=True, slots=True)
class Fit:
    """Regressions of a on b, one entry a pair; `half_life` in points."""

    a: Index
    b: Index
    beta: Array
    t: Array
    half_life: Array
    deviation: Array


def best_direction(moments: Moments, first: Index, second: Index) -> Fit:
    """Regresses each pair both ways and keeps the lower t-statistic (the first way where they are equal)."""
    one, other = moments.fit(first, second), moments.fit(second, first)
    swap = other.t < one.t
    return Fit(*(np.where(swap, getattr(other, name), getattr(one, name)) for name in Fit.__slots__))


class Moments:
    """Sums of products from which each regression of each pair follows in closed form, without a look at its rows.

    With centred x and e = x_a - beta x_b, the sum over t of u_e v_e, with u and v levels or changes of e at some lag,
    is S(u_a, v_a) - beta (S(u_a, v_b) + S(u_b, v_a)) + beta^2 S(u_b, v_b). So one matrix product serves all pairs.
    """

    def __init__(self, logs: Array, lags: int, *, constant: bool = False) -> None:
        """`constant`: the regressions of changes on levels have one (rows are centred); hedge ratios always do."""
        levels = logs - logs.mean(axis=0)
        changes = np.diff(levels, axis=0)
        self.points = len(levels)
        self.lags = lags
        self.constant = constant
        self.covariance = levels.T @ levels
        # Rows t = lags + 1 .. of: change now, level before, changes 1 .. lags before.
        blocks = [changes[lags:], levels[lags:-1], *(changes[lags - k : len(changes) - k] for k in range(1, lags + 1))]
        stacked = np.hstack(blocks)
        if constant:
            stacked -= stacked.mean(axis=0)
        n = logs.shape[1]
        self.rows = len(stacked)
        self.products = (stacked.T @ stacked).reshape(len(blocks), n, len(blocks), n)

    def fit(self, a: Index, b: Index) -> Fit:
        """Hedge ratio, t-statistic, half-life and deviation of log(a) - beta log(b)."""
        c = self.covariance
        with np.errstate(divide="ignore", invalid="ignore"):
            beta = self.beta(a, b)
            left = (c[a, a] - beta * c[a, b]).clip(0)
            deviation = np.sqrt(left / (self.points - 2))
            fade = self._sum(0, 1, a, b, beta) / self._sum(1, 1, a, b, beta)
            half_life = np.where((fade < 0) & (fade > -1), math.log(2) / -np.log1p(fade.clip(-1 + 1e-12)), math.inf)
            # One that is gone at once has no half-life to speak of; one that does not fade has an infinite one.
            half_life = np.where(fade <= -1, 0.0, half_life)
            t = self.t_statistic(a, b, beta)
            moves = np.sqrt(c[b, b] / self.points) > ROUNDING
        usable = np.isfinite(beta) & np.isfinite(t) & moves & (deviation > ROUNDING) & (left > SHARE * c[a, a])
        return Fit(a, b, beta, np.where(usable, t, math.inf), half_life, deviation)

    def beta(self, a: Index, b: Index) -> Array:
        """Least squares of log(a) on log(b) and a constant."""
        with np.errstate(divide="ignore", invalid="ignore"):
            slope: Array = self.covariance[a, b] / self.covariance[b, b]
        return slope

    def beta_tls(self, a: Index, b: Index) -> Array:
        """Total least squares: the direction of the first principal component of log(a) and log(b), as money in b."""
        c = self.covariance
        with np.errstate(divide="ignore", invalid="ignore"):
            more, shared = c[a, a] - c[b, b], 2 * c[a, b]
            length = np.hypot(more, shared)
            # Two forms of the same ratio; each is free of cancellation where the other is not.
            slope: Array = np.where(more >= 0, (more + length) / shared, shared / (length - more))
        return slope

    def johansen(self, a: Index, b: Index) -> tuple[Array, Array]:
        """Squared canonical correlations, larger and smaller, of changes and levels given the lagged changes.

        Johansen's eigenvalues for two variables; with `constant` an unrestricted one (statsmodels' det_order=0).
        """
        size = 2 + self.lags
        gram = np.empty((len(a), 2 * size, 2 * size))
        for i, (u, first) in enumerate((u, s) for u in range(size) for s in (a, b)):
            for j, (v, second) in enumerate((v, s) for v in range(size) for s in (a, b)):
                if j >= i:
                    gram[:, i, j] = gram[:, j, i] = self.products[u, first, v, second]
        own, lagged = gram[:, :4, :4], gram[:, 4:, 4:]
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.lags:
                lagged[_singular(lagged)] = np.nan
                own = own - gram[:, :4, 4:] @ np.linalg.solve(lagged, gram[:, 4:, :4])
            changes, levels, cross = own[:, :2, :2], own[:, 2:, 2:], own[:, 2:, :2]
            # The two roots of the 2 x 2 matrix levels^-1 cross changes^-1 cross', from its trace and determinant.
            scale = _det(changes) * _det(levels)
            trace = np.einsum("pij,pij->p", _adjugate(levels) @ cross, cross @ _adjugate(changes)) / scale
            product = _det(cross) ** 2 / scale
            larger = (trace + np.sqrt((trace**2 - 4 * product).clip(0))) / 2
            return larger, product / larger

    def _sum(self, u: int, v: int, a: Index, b: Index, beta: Array) -> Array:
        s = self.products
        crossed = s[u, a, v, b] + s[u, b, v, a]
        total: Array = s[u, a, v, a] - beta * crossed + beta**2 * s[u, b, v, b]
        return total

    def t_statistic(self, a: Index, b: Index, beta: Array) -> Array:
        """Of gamma for a given `beta`: least squares of the change on the level and the lagged changes.

        By the normal equations of every pair; +inf where they have no answer.
        """
        size = 1 + self.lags
        gram = np.empty((len(a), size, size))
        right = np.empty((len(a), size))
        for i in range(size):
            right[:, i] = self._sum(0, 1 + i, a, b, beta)
            for j in range(i, size):
                gram[:, i, j] = gram[:, j, i] = self._sum(1 + i, 1 + j, a, b, beta)
        # A price that does not move leaves no equations; it must not spoil the others.
        singular = _singular(gram)
        gram[singular] = np.eye(size)
        inverse = np.linalg.inv(gram)
        weights = np.einsum("pij,pj->pi", inverse, right)
        rest = self._sum(0, 0, a, b, beta) - np.einsum("pi,pi->p", weights, right)
        free = self.rows - size - self.constant
        error = np.sqrt(rest.clip(0) / free * inverse[:, 0, 0])
        with np.errstate(divide="ignore", invalid="ignore"):
            t: Array = np.where(singular | (error <= 0), math.inf, weights[:, 0] / error)
        return t


def _singular(m: Array) -> NDArray[np.bool_]:
    """Which of the matrices have no inverse worth the name; NaN and infinities are set to zero (and have none)."""
    m[~np.isfinite(m).all(axis=(1, 2))] = 0.0
    return ~(np.linalg.cond(m) < 1e12) if len(m) else np.zeros(0, dtype=np.bool_)


def _det(m: Array) -> Array:
    det: Array = m[:, 0, 0] * m[:, 1, 1] - m[:, 0, 1] * m[:, 1, 0]
    return det


def _adjugate(m: Array) -> Array:
    """The inverse of 2 x 2 matrices times their determinants."""
    out = np.empty_like(m)
    out[:, 0, 0], out[:, 1, 1] = m[:, 1, 1], m[:, 0, 0]
    out[:, 0, 1], out[:, 1, 0] = -m[:, 0, 1], -m[:, 1, 0]
    return out
