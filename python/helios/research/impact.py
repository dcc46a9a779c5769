"""Market impact from data: the response to trades, the memory of their signs, and the propagator that joins the two.

    fit = hx.calibrate_impact(hx.lobster("GOOG.zip"))
    print(fit)                               # figures, with standard errors
    run = hx.Backtest(…, venue=hx.Venue(impact=fit.impact))

The model is the one that the simulated venue applies (docs/models/impact.md): with `e` the sign of a trade's aggressor
and `v` its size, the mid is moved by `e (v/V)^exponent G(t)` of every past trade and, for good, by `e permanent v/V`.
What is fitted is the change of the mid from just before one trade to just before the next, by least squares. `G` is a
sum of exponentials whose lifetimes are chosen from a grid, and whose amplitudes are not negative.

Beside it stands what needs no model of decay, in trade time (Bouchaud, Gefen, Potters, Wyart 2004; Eisler, Bouchaud,
Kockelkoren 2012): the response `R(l)`, the autocorrelation of signs `C(l)`, and the propagator at lag `l` from the
Toeplitz equations of both.

Assumes: one instrument; executions of one moment and sign are one trade; the same kernel all day. What others do
because of a trade counts as its impact: fits to a market's trades say what an average trade did, not what ours would.
Standard errors are those of a jackknife over blocks of trades, given the lifetimes and the exponent that were chosen.
Absent: impact of limit orders and cancels, cross impact, the shape of the book.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from helios.errors import ArgumentError, DataError
from helios.execution import Impact

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from helios.research.feeds import Source

    Floats = npt.NDArray[np.float64]

__all__ = ["ImpactFit", "calibrate_impact"]

#: Fewest trades that a fit makes sense for.
MIN_TRADES = 200
_BLOCKS = 20
_LIFETIMES = 9
_EXPONENTS = tuple(round(0.05 * n, 2) for n in range(1, 21))
_BP = 1e4


@dataclass(frozen=True)
class ImpactFit:
    """What was found. Amplitudes and the permanent part are in basis points for a trade of one `volume`."""

    #: For `Venue(impact=…)`.
    impact: Impact
    #: One row a term that was kept: lifetime_s (null for the permanent part), bp, se.
    terms: pl.DataFrame
    #: One row a lag in trades: lag, and response_bp, correlation, propagator_bp, each with its …_se.
    lags: pl.DataFrame
    exponent: float
    #: Half the width over which the likelihood falls by half a unit; NaN where the range of exponents ends before.
    exponent_se: float
    volume: float
    trades: int
    #: Share of the variance of the mid's changes that is explained, by the data it was fitted to.
    r2: float
    #: The same on the second half of the trades with amplitudes from the first (lifetimes and exponent are those of the
    #: whole); negative where that is worse than nothing.
    r2_ahead: float

    def __str__(self) -> str:
        lines = [
            f"impact of {self.trades:,} trades; volume {self.volume:g}, exponent {self.exponent:.2f} "
            f"+- {self.exponent_se:.2f}",
            f"explained: {self.r2:.2%} of the variance, {self.r2_ahead:.2%} ahead (second half from the first)",
        ]
        for lifetime, bp, se in self.terms.iter_rows():
            name = "permanent" if lifetime is None else f"decays with a lifetime of {lifetime:.3g} s"
            lines.append(f"  {bp:8.3f} bp +- {se:.3f}  {name}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Trades:
    """Trades in order of time: seconds, signs, sizes in volumes, and the mid just before each."""

    seconds: Floats
    signs: Floats
    volumes: Floats
    mids: Floats
    volume: float

    @property
    def changes(self) -> Floats:
        """Of the mid, from just before a trade to just before the next, in basis points."""
        change: Floats = np.diff(self.mids) / self.mids[:-1] * _BP
        return change


def calibrate_impact(
    data: Source | Sequence[Source],
    symbol: str | None = None,
    *,
    lags: int = 50,
    terms: int = 3,
    exponent: float | None = None,
    volume: float | None = None,
) -> ImpactFit:
    """Fits the venue's impact model to the trades and quotes (or orders) of one instrument.

    `data` is a source with both, like `hx.lobster(…)`, or several, like `[hx.trades(…), hx.quotes(…)]`; trades need
    their aggressor. `terms` is the most exponentials (at most 3), `exponent` fixes what is else fitted, `volume` is the
    quantity to which figures refer (the mean trade). Raises ArgumentError and DataError, also for too few trades.
    """
    _check(lags, terms, exponent, volume)
    trades = _trades(data, symbol, volume)
    if trades.mids.size <= max(MIN_TRADES, 4 * lags):
        raise DataError(
            f"{trades.mids.size} trades with a known aggressor and a mid before them: calibration needs more than "
            f"{max(MIN_TRADES, 4 * lags)}",
            source=symbol or "data",
        )
    y = trades.changes
    lifetimes = _lifetimes(trades.seconds)
    exponents = _EXPONENTS if exponent is None else (float(exponent),)
    fits = [_fit(trades, y, each, lifetimes, terms) for each in exponents]
    errors = np.array([fit.error for fit in fits])
    best = fits[int(errors.argmin())]
    error = _blockwise_errors(best.columns, y)
    table, impact = _table(best, error, trades.volume)
    return ImpactFit(
        impact=impact,
        terms=table,
        lags=_lags(trades, y, best.exponent, lags),
        exponent=best.exponent,
        exponent_se=_width(np.array(exponents), errors, y.size),
        volume=trades.volume,
        trades=int(trades.mids.size),
        r2=1 - best.error / float(y @ y),
        r2_ahead=_ahead(best.columns, y),
    )


def _check(lags: int, terms: int, exponent: float | None, volume: float | None) -> None:
    for name, value, least, most in (("lags", lags, 2, 10_000), ("terms", terms, 1, 3)):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ArgumentError(f"calibrate_impact: {name} is {value!r}: it must be {least} to {most}")
    if exponent is not None and not 0 < exponent <= 1:
        raise ArgumentError(f"calibrate_impact: exponent is {exponent!r}: it must be above 0 and at most 1")
    if volume is not None and not volume > 0:
        raise ArgumentError(f"calibrate_impact: volume is {volume!r}: it must be positive")


# ---- trades ----------------------------------------------------------------------------------------------------------


def _trades(data: Any, symbol: str | None, volume: float | None) -> _Trades:
    """Executions of one moment and sign as one trade; those without aggressor or without a mid before are left out."""
    import polars as pl

    from helios.research.graph import graph
    from helios.signals import flow, mid

    sources = list(data) if isinstance(data, Sequence) and not isinstance(data, str) else [data]
    symbols = sorted({name for source in sources for name in getattr(source, "symbols", ())})
    if symbol is None and len(symbols) != 1:
        raise ArgumentError(f"calibrate_impact: the data has {len(symbols)} symbols: say which with symbol='…'")
    name = symbol or symbols[0]
    # The sum rises with every execution, also one that repeats the size before it.
    seen = graph(mid=mid(name), flow=flow(name), shares=flow(name).abs().expanding().sum()).over(data)
    frame = seen.select(pl.col("ts").cast(pl.Int64), "mid", "flow", "shares")
    fresh = pl.col("shares").fill_null(0.0).diff().fill_null(pl.col("shares").fill_null(0.0)) > 0
    executions = frame.filter(fresh).select("ts", sign=pl.col("flow").sign(), size=pl.col("flow").abs())
    grouped = (
        executions.with_columns(run=((pl.col("ts").diff() != 0) | (pl.col("sign").diff() != 0)).cum_sum().fill_null(0))
        .group_by("run", maintain_order=True)
        .agg(pl.col("ts", "sign").first(), pl.col("size").sum())
    )
    mids = frame.filter(pl.col("mid").is_not_null()).select("ts", "mid")
    joined = grouped.join_asof(mids, on="ts", strategy="backward", allow_exact_matches=False).drop_nulls("mid")
    sizes = joined["size"].to_numpy().astype(np.float64)
    unit = volume or (float(sizes.mean()) if sizes.size else 1.0)
    ts = joined["ts"].to_numpy()
    return _Trades(
        seconds=(ts - (ts[0] if ts.size else 0)) / 1e9,
        signs=joined["sign"].to_numpy().astype(np.float64),
        volumes=sizes / unit,
        mids=joined["mid"].to_numpy().astype(np.float64),
        volume=unit,
    )


def _lifetimes(seconds: Floats) -> Floats:
    """From the time between two trades to a tenth of the whole."""
    gaps = np.diff(seconds)
    shortest = max(float(np.median(gaps)), 1e-3)
    grid: Floats = np.geomspace(shortest, max(seconds[-1] / 10, 2 * shortest), _LIFETIMES)
    return grid


# ---- the fit ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fit:
    exponent: float
    #: Lifetimes in seconds; infinity stands for the permanent part.
    kept: tuple[float, ...]
    columns: Floats
    amplitudes: Floats
    #: Sum of squares that is left.
    error: float


def _fit(trades: _Trades, y: Floats, exponent: float, lifetimes: Floats, terms: int) -> _Fit:
    """The best of all choices of at most `terms` lifetimes, with a permanent part or without; none is negative."""
    columns = _columns(trades, exponent, lifetimes)
    gram, moments, total = columns.T @ columns, columns.T @ y, float(y @ y)
    names = [*lifetimes, np.inf]
    best: tuple[float, tuple[int, ...], Floats] = total, (), np.zeros(0)
    last = len(names) - 1
    for count in range(terms + 1):
        for some in itertools.combinations(range(last), count):
            for choice in (some, (*some, last)) if some else ((last,),):
                amplitudes = _solved(gram[np.ix_(choice, choice)], moments[list(choice)])
                error = total - float(moments[list(choice)] @ amplitudes)
                # A term more must explain something: a rounding error is nothing.
                if (amplitudes >= 0).all() and error < best[0] - 1e-9 * total:
                    best = error, choice, amplitudes
    error, choice, amplitudes = best
    kept = tuple(float(names[at]) for at in choice)
    return _Fit(exponent, kept, columns[:, list(choice)], amplitudes, error)


def _columns(trades: _Trades, exponent: float, lifetimes: Floats) -> Floats:
    """How much each term of unit amplitude moves the mid from just before a trade to just before the next."""
    pushes = trades.signs * trades.volumes**exponent
    gaps = np.diff(trades.seconds)
    columns = []
    for lifetime in lifetimes:
        decay = np.exp(-gaps / lifetime).tolist()
        # What stands just before each trade: (what stood + the push) * decay.
        steps = zip(decay, pushes[:-1].tolist(), strict=True)
        stood = itertools.accumulate(steps, lambda x, step: (x + step[1]) * step[0], initial=0.0)
        columns.append(np.diff(np.fromiter(stood, dtype=np.float64)))
    columns.append((trades.signs * trades.volumes)[:-1])
    return np.column_stack(columns)


def _solved(gram: Floats, moments: Floats) -> Floats:
    return np.asarray(np.linalg.lstsq(gram, moments, rcond=None)[0], dtype=np.float64)


def _blocks(rows: int) -> list[slice]:
    edges = np.linspace(0, rows, _BLOCKS + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]


def _jackknife(estimates: Floats) -> Floats:
    """Standard errors from estimates that each leave out one block."""
    count = estimates.shape[0]
    spread: Floats = ((estimates - estimates.mean(axis=0)) ** 2).sum(axis=0)
    error: Floats = np.sqrt((count - 1) / count * spread).astype(np.float64)
    return error


def _blockwise_errors(columns: Floats, y: Floats) -> Floats:
    gram, moments = columns.T @ columns, columns.T @ y
    without = [
        _solved(gram - columns[part].T @ columns[part], moments - columns[part].T @ y[part]) for part in _blocks(y.size)
    ]
    return _jackknife(np.array(without))


def _ahead(columns: Floats, y: Floats) -> float:
    """Fitted to the first half, judged by the second."""
    half = y.size // 2
    amplitudes = np.linalg.lstsq(columns[:half], y[:half], rcond=None)[0]
    rest = y[half:] - columns[half:] @ amplitudes
    return 1 - float(rest @ rest) / float(y[half:] @ y[half:])


def _width(exponents: Floats, errors: Floats, rows: int) -> float:
    """Half the range of exponents within half a unit of the largest log-likelihood, on both sides of it."""
    fall = rows / 2 * np.log(errors / errors.min())
    at = int(errors.argmin())

    def reach(side: slice, step: int) -> float:
        for here, there in itertools.pairwise(range(at, side.stop, step)):
            if fall[there] >= 0.5:
                part = (0.5 - fall[here]) / (fall[there] - fall[here])
                return float(abs(exponents[here] + part * (exponents[there] - exponents[here]) - exponents[at]))
        return float("nan")

    return (reach(slice(at, -1), -1) + reach(slice(at, exponents.size), 1)) / 2


def _table(fit: _Fit, errors: Floats, volume: float) -> tuple[pl.DataFrame, Impact]:
    import polars as pl

    rows = sorted(zip(fit.kept, fit.amplitudes.tolist(), errors.tolist(), strict=True))
    table = pl.DataFrame(
        {
            "lifetime_s": [None if lifetime == np.inf else lifetime for lifetime, _, _ in rows],
            "bp": [bp for _, bp, _ in rows],
            "se": [se for _, _, se in rows],
        },
        schema={"lifetime_s": pl.Float64, "bp": pl.Float64, "se": pl.Float64},
    )
    decays = [(bp, timedelta(microseconds=max(1, round(1e6 * life)))) for life, bp, _ in rows if life != np.inf]
    permanent = sum(bp for lifetime, bp, _ in rows if lifetime == np.inf)
    return table, Impact(volume=volume, decays=decays, permanent=permanent, exponent=fit.exponent)


# ---- in trade time ---------------------------------------------------------------------------------------------------


def _lags(trades: _Trades, y: Floats, exponent: float, lags: int) -> pl.DataFrame:
    """Response, correlation of signs and propagator by lag, each with the error of a jackknife."""
    import polars as pl

    signs, pushes = trades.signs[:-1], (trades.signs * trades.volumes**exponent)[:-1]
    parts = [_moments(signs[part], pushes[part], y[part], lags) for part in _blocks(y.size)]
    whole = np.sum(parts, axis=0)
    estimates = np.array([_trade_time(whole - part, lags) for part in parts])
    values, errors = _trade_time(whole, lags), _jackknife(estimates)
    names = ("response_bp", "correlation", "propagator_bp")
    columns: dict[str, Any] = {"lag": np.arange(1, lags + 1)}
    for at, name in enumerate(names):
        columns |= {name: values[at], f"{name.removesuffix('_bp')}_se": errors[at]}
    return pl.DataFrame(columns)


def _moments(signs: Floats, pushes: Floats, y: Floats, lags: int) -> Floats:
    """Sums over the pairs of one block: rows are sign-change, sign-sign, push-change, push-push, and their count."""
    sums = np.zeros((5, lags + 1))
    for lag in range(min(lags + 1, y.size)):
        n = y.size - lag
        sums[:, lag] = (
            signs[:n] @ y[lag:],
            signs[:n] @ signs[lag:],
            pushes[:n] @ y[lag:],
            pushes[:n] @ pushes[lag:],
            n,
        )
    return sums


def _trade_time(sums: Floats, lags: int) -> Floats:
    """R(l), C(l) and G(l) for l from 1 to lags.

    The change at trade n is the sum over l of g(l) s(n-l), with s the pushes. Multiplied by s(n-k) and averaged, that
    is a Toeplitz system for g, and G(l) = g(0) + … + g(l-1).
    """
    means = sums[:4] / np.maximum(sums[4], 1)
    response, correlation = np.cumsum(means[0])[:lags], means[1][1:]
    at = np.arange(lags)
    toeplitz = means[3][np.abs(at[:, None] - at)]
    propagator = np.cumsum(np.linalg.solve(toeplitz, means[2][:lags]))
    return np.vstack([response, correlation, propagator])
