"""What is measured of returns, P&L and fills: each metric once, as a function of arrays. None where it has no value.

Returns are simple returns of equal periods (0.01 is one percent); wealth is their compounded product from 1. Samples
that are not finite are left out. What is annualised, or a ratio to a deviation, needs `MIN_SAMPLES`: below that a
number would be read as knowledge. Absent: frames and calendars (`tearsheet`), tests of significance.

`empyrical-reloaded` 0.7 and `quantstats` 0.0.86 agree with these (tests/python/test_tearsheet.py). Where those two
differ from one another, or from us:

- `value_at_risk` and `expected_shortfall` are historical, as in empyrical; quantstats fits a normal distribution. Its
  historical shortfall averages all returns that are equal at the quantile, ours as many as the level says.
- `alpha` is the intercept of the regression times the periods of a year, as in quantstats; empyrical compounds it.
- `information_ratio` is annualised; both of them leave it per period.
- `skewness` and `excess_kurtosis` are the unbiased ones, as in quantstats; empyrical has none.
- `hit_rate` counts zeros as not won; quantstats' win rate leaves them out (so does the tear sheet, before it calls).
- A ratio without a divisor (no loss, no deviation) is None; they give NaN, zero or infinity.

Sources: Sharpe (1994), "The Sharpe Ratio"; Sortino and Price (1994); Young (1991) for Calmar; Keating and Shadwick
(2002) for Omega; Jensen (1968) for alpha; Rockafellar and Uryasev (2000) for the shortfall; Joanes and Gill (1998) for
the corrected moments G1 and G2.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

#: Fewer samples than this give no annualised figure and no ratio to a deviation.
MIN_SAMPLES: Final = 20
#: A deviation below this share of the largest value is the rounding of floats: nothing varied.
_ROUNDING: Final = 1e-12


def finite(values: ArrayLike) -> Array:
    """The samples that have a value."""
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


# --- Wealth and drawdown ---------------------------------------------------------------------------------------------


def wealth(returns: ArrayLike) -> Array:
    """What 1 has become after each return."""
    return np.asarray(np.cumprod(1.0 + np.asarray(returns, dtype=np.float64)), dtype=np.float64)


def total_return(returns: ArrayLike) -> float | None:
    """Compounded, a fraction. None without a return."""
    r = finite(returns)
    return float(wealth(r)[-1] - 1.0) if r.size else None


def annual_return(returns: ArrayLike, periods_per_year: float) -> float | None:
    """The constant yearly return that compounds to the same wealth (CAGR). None for fewer than 20 samples."""
    r = finite(returns)
    if r.size < MIN_SAMPLES:
        return None
    end = float(wealth(r)[-1])
    if end < 0:
        return None
    try:
        return float(end ** (periods_per_year / r.size) - 1.0)
    except OverflowError:
        return None


def drawdown(values: ArrayLike, start: float | None = None) -> Array:
    """Value minus its highest value so far (`start` counts as one): <= 0, in the unit of `values`. NaN stays NaN."""
    v = np.asarray(values, dtype=np.float64)
    peak = np.fmax.accumulate(v) if v.size else v
    return v - (peak if start is None else np.fmax(peak, start))


def max_drawdown(values: ArrayLike, start: float | None = None) -> float | None:
    """The lowest `drawdown`: zero or negative, in the unit of `values`. None without a sample."""
    d = finite(drawdown(values, start))
    return float(d.min()) if d.size else None


def underwater(returns: ArrayLike) -> Array:
    """Drawdown of wealth as a fraction of its highest value so far, at least the 1 it began with: 0 to -1."""
    w = wealth(returns)
    lost = drawdown(w, start=1.0)
    return lost / (w - lost)


# --- Risk ------------------------------------------------------------------------------------------------------------


def _deviation(values: Array) -> float | None:
    """Standard deviation (n - 1); None for fewer than 20 samples or a series that does not vary."""
    if values.size < MIN_SAMPLES:
        return None
    deviation = float(values.std(ddof=1))
    # A constant series has a deviation of rounding errors: no risk was measured, so there is no ratio.
    return deviation if deviation > _ROUNDING * float(np.abs(values).max()) else None


def annual_volatility(returns: ArrayLike, periods_per_year: float) -> float | None:
    """Standard deviation (n - 1) * sqrt(periods_per_year). None for fewer than 20 samples."""
    r = finite(returns)
    return float(r.std(ddof=1)) * math.sqrt(periods_per_year) if r.size >= MIN_SAMPLES else None


def value_at_risk(returns: ArrayLike, level: float = 0.05) -> float | None:
    """Historical: the `level` quantile of the returns, between neighbours linearly. A loss is negative."""
    r = finite(returns)
    return float(np.quantile(r, level)) if r.size >= MIN_SAMPLES else None


def expected_shortfall(returns: ArrayLike, level: float = 0.05) -> float | None:
    """Historical (CVaR): mean of the worst floor((n - 1) * level) + 1 returns. A loss is negative."""
    r = finite(returns)
    if r.size < MIN_SAMPLES:
        return None
    worst = int((r.size - 1) * level) + 1
    return float(np.sort(r)[:worst].mean())


def skewness(returns: ArrayLike) -> float | None:
    """G1, the bias-corrected third standardised moment. None for fewer than 20 samples or without variation."""
    r = finite(returns)
    if _deviation(r) is None:
        return None
    n, z = r.size, r - r.mean()
    m2, m3 = float((z**2).mean()), float((z**3).mean())
    return float(m3 / m2**1.5 * math.sqrt(n * (n - 1)) / (n - 2))


def excess_kurtosis(returns: ArrayLike) -> float | None:
    """G2, the bias-corrected fourth standardised moment; 0 for a normal distribution. None as for `skewness`."""
    r = finite(returns)
    if _deviation(r) is None:
        return None
    n, z = r.size, r - r.mean()
    m2, m4 = float((z**2).mean()), float((z**4).mean())
    return float(((n + 1) * (m4 / m2**2 - 3) + 6) * (n - 1) / ((n - 2) * (n - 3)))


# --- Ratios ----------------------------------------------------------------------------------------------------------


def sharpe_ratio(changes: ArrayLike, periods_per_year: float) -> float | None:
    """mean(changes) / standard deviation(changes, n - 1) * sqrt(periods_per_year).

    `changes` are P&L changes, or returns over the risk-free rate, of equal periods. None for fewer than 20 of them, or
    if they do not vary.
    """
    c = finite(changes)
    deviation = _deviation(c)
    return None if deviation is None else float(c.mean()) / deviation * math.sqrt(periods_per_year)


def sortino_ratio(returns: ArrayLike, periods_per_year: float) -> float | None:
    """mean / root mean square of the losses (a gain counts as zero) * sqrt(periods_per_year). None without a loss."""
    r = finite(returns)
    if r.size < MIN_SAMPLES:
        return None
    downside = math.sqrt(float((np.minimum(r, 0.0) ** 2).mean()))
    return float(r.mean()) / downside * math.sqrt(periods_per_year) if downside > 0 else None


def calmar_ratio(returns: ArrayLike, periods_per_year: float) -> float | None:
    """Annual return / |deepest drawdown|, both fractions. None without a drawdown."""
    grown = annual_return(returns, periods_per_year)
    lost = float(underwater(finite(returns)).min()) if grown is not None else 0.0
    return grown / -lost if grown is not None and lost < 0 else None


def omega_ratio(returns: ArrayLike, threshold: float = 0.0) -> float | None:
    """Sum above / sum below `threshold`, a return per period; at zero it is the profit factor of the returns."""
    return profit_factor(finite(returns) - threshold)


def tail_ratio(returns: ArrayLike) -> float | None:
    """|95th percentile| / |5th percentile|. None for fewer than 20 samples."""
    r = finite(returns)
    if r.size < MIN_SAMPLES:
        return None
    low, high = (float(q) for q in np.abs(np.quantile(r, (0.05, 0.95))))
    return high / low if low > 0 else None


def stability(returns: ArrayLike) -> float | None:
    """R² of a straight line through the logarithm of wealth: 1 grows (or falls) as if by interest."""
    r = finite(returns)
    if r.size < MIN_SAMPLES or (r <= -1).any():
        return None
    path = np.log1p(r).cumsum()
    if _deviation(path) is None:
        return None
    return float(np.corrcoef(np.arange(r.size), path)[0, 1] ** 2)


# --- Against a benchmark ---------------------------------------------------------------------------------------------


def _both(returns: ArrayLike, benchmark: ArrayLike) -> tuple[Array, Array]:
    r, b = np.asarray(returns, dtype=np.float64), np.asarray(benchmark, dtype=np.float64)
    keep = np.isfinite(r) & np.isfinite(b)
    return r[keep], b[keep]


def beta(returns: ArrayLike, benchmark: ArrayLike) -> float | None:
    """Slope of returns on benchmark returns. None for fewer than 20 common samples or a benchmark that stands still."""
    r, b = _both(returns, benchmark)
    if _deviation(b) is None:
        return None
    centred = b - b.mean()
    return float(centred @ r / (centred @ centred))


def alpha(returns: ArrayLike, benchmark: ArrayLike, periods_per_year: float) -> float | None:
    """Jensen's: intercept of that regression * periods_per_year. Pass both over the risk-free rate."""
    slope = beta(returns, benchmark)
    if slope is None:
        return None
    r, b = _both(returns, benchmark)
    return float(r.mean() - slope * b.mean()) * periods_per_year


def correlation(returns: ArrayLike, benchmark: ArrayLike) -> float | None:
    """Pearson's. None for fewer than 20 common samples or when one of the two does not vary."""
    r, b = _both(returns, benchmark)
    return None if _deviation(r) is None or _deviation(b) is None else float(np.corrcoef(r, b)[0, 1])


def tracking_error(returns: ArrayLike, benchmark: ArrayLike, periods_per_year: float) -> float | None:
    """Annual volatility of the difference."""
    r, b = _both(returns, benchmark)
    return annual_volatility(r - b, periods_per_year)


def information_ratio(returns: ArrayLike, benchmark: ArrayLike, periods_per_year: float) -> float | None:
    """Annualised mean of the difference / tracking error. None when the difference does not vary."""
    r, b = _both(returns, benchmark)
    return sharpe_ratio(r - b, periods_per_year)


# --- Trades and fills ------------------------------------------------------------------------------------------------


def turnover(price: ArrayLike, quantity: ArrayLike) -> float:
    """Sum of |price * quantity| over fills, buys and sells both counted; currency units."""
    notional = np.asarray(price, dtype=np.float64) * np.asarray(quantity, dtype=np.float64)
    return float(np.nansum(np.abs(notional)))


def hit_rate(pnl: ArrayLike) -> float | None:
    """Share of trades with pnl > 0, a fraction of all trades, those with zero included. None without trades."""
    p = finite(pnl)
    return float((p > 0).mean()) if p.size else None


def profit_factor(pnl: ArrayLike) -> float | None:
    """Sum of profits / |sum of losses|. None without a loss (the ratio has no value then)."""
    p = finite(pnl)
    losses = float(-p[p < 0].sum())
    return float(p[p > 0].sum()) / losses if losses > 0 else None


def average_gain(pnl: ArrayLike) -> float | None:
    """Mean of what is above zero. None without one."""
    p = finite(pnl)
    return float(p[p > 0].mean()) if (p > 0).any() else None


def average_loss(pnl: ArrayLike) -> float | None:
    """Mean of what is below zero: negative. None without one."""
    return None if (mirrored := average_gain(-finite(pnl))) is None else -mirrored


def return_on_peak(net: float | None, gross: ArrayLike) -> float | None:
    """Net P&L / highest gross exposure, a fraction: what was earned on the most capital ever at work."""
    g = finite(gross)
    peak = float(g.max()) if g.size else 0.0
    return net / peak if net is not None and math.isfinite(net) and peak > 0 else None
