"""Operators and window statistics against NumPy, SciPy and Polars, sample by sample, on tame and on wild data.

A statistic cannot be more exact than its data: a sample is known to `EPS` of itself, so a deviation of samples around
`mean` is known to `EPS * |mean| / deviation` of itself. The tolerances are 1e-9 and a stated multiple of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import helios as hx
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from helios.signals import Expr
from scipy import stats

Floats = npt.NDArray[np.float64]
Wide = npt.NDArray[np.longdouble]

SECOND = 1_000_000_000
START = 1_772_461_740 * SECOND
ROWS = 300
EPS = 2.0**-53
#: Roundings that may have added up between two fresh computations, which are a window's length apart, 64 at least.
STEPS = 256
A, B = hx.series("a"), hx.series("b")


# ---- data ------------------------------------------------------------------------------------------------------------


def wild(name: str, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, 1, ROWS))
    if name == "walk":
        return walk
    if name == "offset":
        return 1e5 + rng.normal(0, 1e-3, ROWS)
    if name == "steps":
        return np.repeat(rng.integers(-3, 4, ROWS // 20).astype(float) * 0.1, 20)
    if name == "outliers":
        return np.where(rng.random(ROWS) < 0.02, 1e9 * rng.choice([-1, 1], ROWS), rng.normal(5, 1, ROWS))
    if name == "large":
        return rng.normal(0, 1, ROWS) * 1e149
    assert name == "tiny"
    return rng.normal(0, 1e-140, ROWS)


WILD = ("walk", "offset", "steps", "outliers", "large", "tiny")


def frame(name: str = "walk", *, nulls: bool = True) -> pl.DataFrame:
    """Two series with nulls at times of their own, at uneven moments of which some are equal."""
    rng = np.random.default_rng(7)
    steps = rng.choice([0, SECOND // 3, SECOND, 5 * SECOND, 90 * SECOND], ROWS, p=[0.2, 0.3, 0.3, 0.15, 0.05])
    a, b = wild(name, 1), 0.5 * wild(name, 1) + wild(name, 2)
    made = pl.DataFrame({"ts": pl.Series(START + np.cumsum(steps)).cast(pl.Datetime("ns", "UTC")), "a": a, "b": b})
    if nulls:
        for column in ("a", "b"):
            gone = pl.Series(rng.random(ROWS) < 0.1)
            made = made.with_columns(pl.when(gone).then(None).otherwise(pl.col(column)).alias(column))
    return made


def values(expr: Expr, data: pl.DataFrame) -> Floats:
    """NaN for null; and never a NaN in the column itself."""
    column = hx.graph(value=expr).over(data)["value"]
    assert not column.is_nan().any()
    return column.fill_null(math.nan).to_numpy()


def agree(found: Floats, expected: Any, *, rtol: Any = 1e-9, atol: Any = 0.0, least: int = 50) -> None:
    expected = np.asarray(expected, dtype=np.float64)
    assert np.isfinite(expected).sum() >= least, "the test compares something"
    assert np.isnan(found).tolist() == np.isnan(expected).tolist(), np.flatnonzero(
        np.isnan(found) != np.isnan(expected)
    )
    wrong = np.flatnonzero(~np.isnan(expected) & ~(np.abs(found - expected) <= atol + rtol * np.abs(expected)))
    assert not len(wrong), f"row {wrong[0]}: {found[wrong[0]]!r}, expected {expected[wrong[0]]!r}, {len(wrong)} rows"


# ---- functions of one and two numbers --------------------------------------------------------------------------------


def null(x: Floats, bad: npt.NDArray[np.bool_]) -> Floats:
    return np.where(bad | ~np.isfinite(x), np.nan, x)


def gone(*inputs: Floats) -> npt.NDArray[np.bool_]:
    return np.logical_or.reduce([np.isnan(x) for x in inputs])


def truth(found: Any, *inputs: Floats) -> Floats:
    return np.where(gone(*inputs), np.nan, np.asarray(found).astype(float))


FUNCTIONS: dict[str, tuple[Expr, Callable[[Floats, Floats], Floats]]] = {
    "add": (A + B, lambda a, b: a + b),
    "sub": (A - B, lambda a, b: a - b),
    "mul": (A * B, lambda a, b: a * b),
    "div": (A / B, lambda a, b: a / b),
    "by zero": (A / (B - B), lambda a, b: np.full(ROWS, np.nan)),
    "numbers": (2 - 3 * (A + 1) / 4, lambda a, b: 2 - 3 * (a + 1) / 4),
    "reciprocal": (1 / A, lambda a, b: 1 / a),
    "neg": (-A, lambda a, b: -a),
    "abs": (abs(A), lambda a, b: np.abs(a)),
    "sign": (A.sign(), lambda a, b: np.sign(a)),
    "log": (A.log(), lambda a, b: np.log(a)),
    "exp": (A.exp(), lambda a, b: np.exp(a)),
    "exp overflows": ((A * 1000).exp(), lambda a, b: np.exp(a * 1000)),
    "sqrt": (A.sqrt(), lambda a, b: np.sqrt(a)),
    "minimum": (hx.minimum(A, B), np.minimum),
    "maximum": (hx.maximum(A, B), np.maximum),
    "clip": (A.clip(-1, B), lambda a, b: np.minimum(np.maximum(a, -1), b)),
    "clip low": (A.clip(low=0.5), lambda a, b: np.maximum(a, 0.5)),
    "gt": (A > B, lambda a, b: truth(a > b, a, b)),
    "ge": (A >= 0, lambda a, b: truth(a >= 0, a)),
    "lt": (A < B, lambda a, b: truth(a < b, a, b)),
    "le": (A <= 0, lambda a, b: truth(a <= 0, a)),
    "eq": (A.sign() == B.sign(), lambda a, b: truth(np.sign(a) == np.sign(b), a, b)),
    "ne": (A.sign() != B.sign(), lambda a, b: truth(np.sign(a) != np.sign(b), a, b)),
    "and": ((A > 0) & (B > 0), lambda a, b: truth((a > 0) & (b > 0), a, b)),
    "or": ((A > 0) | (B > 0), lambda a, b: truth((a > 0) | (b > 0), a, b)),
    "not": (~(A > 0), lambda a, b: truth(~(a > 0), a)),
    "is null": (A.is_null(), lambda a, b: np.isnan(a).astype(float)),
    "fill null": (A.fill_null(B), lambda a, b: np.where(np.isnan(a), b, a)),
    "fill zero": (A.fill_null(0), lambda a, b: np.where(np.isnan(a), 0.0, a)),
    "where": (hx.where(A > 0, B, 7), lambda a, b: np.where(np.isnan(a), np.nan, np.where(a > 0, b, 7.0))),
    "only": (A.only(B > 0), lambda a, b: np.where(b > 0, a, np.nan)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_that_of_numpy(name: str) -> None:
    expr, expected = FUNCTIONS[name]
    data = frame()
    a, b = (data[column].fill_null(math.nan).to_numpy() for column in "ab")
    with np.errstate(all="ignore"):
        want = expected(a, b)
    agree(values(expr, data), null(want, np.zeros(ROWS, dtype=bool)), least=0 if name == "by zero" else 20, rtol=1e-14)


# ---- the past --------------------------------------------------------------------------------------------------------


def samples(data: pl.DataFrame, *names: str) -> Iterator[tuple[int, int, list[float] | None]]:
    """Row, time, and the values if none of them is null."""
    columns = [data[name].to_list() for name in names]
    for row, ts in enumerate(data["ts"].to_physical().to_list()):
        now = [column[row] for column in columns]
        yield row, ts, None if None in now else now


@pytest.mark.parametrize("n", [1, 4])
def test_lag_by_samples_passes_over_nulls(n: int) -> None:
    data = frame()
    seen: list[float] = []
    lag, x = [], []
    for _, _, now in samples(data, "a"):
        seen += now or []
        known = now is not None and len(seen) > n
        lag.append(seen[-1 - n] if known else math.nan)
        x.append(now[0] if now else math.nan)
    before, at = np.array(lag), np.array(x)
    agree(values(A.lag(n), data), before, rtol=0)
    agree(values(A.diff(n), data), at - before, rtol=0)
    agree(values(A.pct_change(n), data), at / before - 1, rtol=1e-12)


@pytest.mark.parametrize("seconds", [1, 20])
def test_lag_by_time_is_what_stood_then(seconds: int) -> None:
    data = frame()
    history: list[tuple[int, float]] = []
    lag = []
    for _, ts, now in samples(data, "a"):
        history += [(ts, now[0])] if now else []
        stood = [x for at, x in history if at <= ts - seconds * SECOND]
        lag.append(stood[-1] if stood else math.nan)
    x = data["a"].fill_null(math.nan).to_numpy()
    agree(values(A.lag(f"{seconds}s"), data), lag, rtol=0)
    agree(values(A.diff(f"{seconds}s"), data), x - np.array(lag), rtol=0)


def test_elapsed_is_the_time_between_two_firings() -> None:
    data = frame()
    ts = data["ts"].to_physical().to_numpy()
    agree(values(A.elapsed(), data), np.r_[np.nan, np.diff(ts) / 1e9], rtol=1e-15)


# ---- windows ---------------------------------------------------------------------------------------------------------

Sample = tuple[int, list[float]]
HOURS = [(START + 10 * SECOND, START + 200 * SECOND), (START + 200 * SECOND, START + 900 * SECOND)]
HOURS += [(START + 1_000 * SECOND, START + 2_000 * SECOND)]


def session() -> hx.Session:
    from datetime import UTC, datetime, timedelta

    def moment(ns: int) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1_000)

    return hx.session(hours=[(moment(a), moment(b)) for a, b in HOURS])


def number(ts: int) -> int | None:
    """The first session that is open: the moment at which one closes and the next opens belongs to the first."""
    return next((at for at, (a, b) in enumerate(HOURS) if a <= ts <= b), None)


def inside(past: list[Sample], ts: int, kind: Any, least: int | None) -> list[list[float]] | None:
    """The samples in a window, and None while it is not full; `past` ends with the newest."""
    if isinstance(kind, int):
        window = past[-kind:]
        full = len(window) == kind
    elif kind == "all":
        window, full = past, len(past) > 0
    elif kind == "session":
        # What came while no session was open, or another one, is not of this one.
        own = number(ts)
        window = [sample for sample in past if own is not None and HOURS[own][0] <= sample[0] <= HOURS[own][1]]
        window = [sample for sample in window if number(sample[0]) == own]
        full = len(window) > 0
    else:
        # A window by time is of the moment of its last sample.
        span, last = int(kind[:-1]) * SECOND, past[-1][0] if past else 0
        window = [sample for sample in past if sample[0] > last - span]
        full = bool(past) and last - past[0][0] >= span
    if least is not None:
        full = len(window) >= least
    return [x for _, x in window] if full else None


KINDS: list[tuple[Any, int | None]] = [
    (1, None), (2, None), (30, None), (30, 3), ("20s", None), ("20s", 4), ("3s", 1), ("300s", None),
    ("all", 1), ("all", 9), ("session", None), ("session", 5),
]  # fmt: skip


def window(x: Expr, kind: Any, least: int | None) -> Any:
    if kind == "all":
        return x.expanding(min_samples=least or 1)
    return x.rolling(session() if kind == "session" else kind, min_samples=least)


@cache
def held(name: str, kind: Any, least: int | None, names: str) -> list[Wide]:
    """What is in the window after each row; nothing while it is not full."""
    past: list[Sample] = []
    out = []
    for _, ts, now in samples(frame(name), *names):
        past += [(ts, now)] if now else []
        out.append(np.array(inside(past, ts, kind, least) or np.empty((0, len(names))), dtype=np.longdouble))
    return out


def over_windows(
    name: str, kind: Any, least: int | None, names: str, stat: Callable[[Wide], Any], empty: float = math.nan
) -> Floats:
    """A statistic of what is in the window after each row; `empty` of a window that is not full."""
    return np.array([stat(x) if len(x) else empty for x in held(name, kind, least, names)], dtype=np.float64)


def mean(x: Wide) -> Any:
    return x.mean(axis=0)


def deviation(x: Wide) -> Any:
    """Of each column, n - 1 in the denominator."""
    if len(x) < 2:
        return np.full(x.shape[1], np.nan)
    # The largest and least float's squares fit a long double.
    return np.sqrt(((x - mean(x)) ** 2).sum(axis=0) / (len(x) - 1))


def conditioned(name: str, kind: Any, least: int | None) -> Floats:
    """By how much of itself a deviation in each window is known, from the data alone."""

    def one(x: Wide) -> float:
        sd = deviation(x)[0]
        return float(EPS * np.abs(x).max() / sd) if len(x) > 1 and sd > 0 else 0.0

    return over_windows(name, kind, least, "a", one, 0.0)


@pytest.mark.parametrize(("kind", "least"), KINDS)
@pytest.mark.parametrize("name", WILD)
def test_moments_of_every_window(name: str, kind: Any, least: int | None) -> None:
    data = frame(name)
    size = over_windows(name, kind, least, "a", lambda x: np.abs(x).max(), 0.0)
    at = window(A, kind, least)
    found = hx.graph(mean=at.mean(), sum=at.sum(), var=at.var(), std=at.std(), z=at.zscore()).over(data)
    got = {column: found[column].fill_null(math.nan).to_numpy() for column in found.columns[1:]}
    n = over_windows(name, kind, least, "a", len, 0.0)
    # What has left may leave its rounding behind until the window is computed afresh.
    seen = np.fmax.accumulate(size)
    agree(got["mean"], over_windows(name, kind, least, "a", lambda x: mean(x)[0]), atol=STEPS * EPS * seen)
    total = over_windows(name, kind, least, "a", lambda x: x.sum())
    agree(got["sum"], total, atol=STEPS * EPS * seen * n)
    if name in ("large", "tiny"):
        return  # Squares of the tiny underflow; those of the large are looked at below.
    rough = STEPS * conditioned(name, kind, least)
    floor = STEPS * EPS * seen * (1e-3 if name == "outliers" else 1)
    sd = over_windows(name, kind, least, "a", lambda x: deviation(x)[0])
    compares = 0 if kind == 1 else 50
    agree(got["std"], sd, rtol=1e-9 + rough, atol=floor, least=compares)
    agree(
        got["var"], sd * sd, rtol=1e-9 + 2 * rough, atol=floor * floor + 2 * floor * np.nan_to_num(sd), least=compares
    )
    if name != "steps":
        z = over_windows(
            name, kind, least, "a", lambda x: (x[-1, 0] - mean(x)[0]) / deviation(x)[0] if len(x) > 1 else np.nan
        )
        agree(got["z"], z, rtol=1e-9 + 2 * rough, atol=2 * rough + floor / np.nan_to_num(sd, nan=1.0), least=compares)


@pytest.mark.parametrize(("kind", "least"), KINDS)
@pytest.mark.parametrize("name", WILD)
def test_extremes_and_quantiles_of_every_window(name: str, kind: Any, least: int | None) -> None:
    data = frame(name)
    at = window(A, kind, least)
    quantiles = (0.0, 0.1, 0.5, 0.93, 1.0)
    outputs = {"min": at.min(), "max": at.max(), "median": at.median()} | {f"{q}": at.quantile(q) for q in quantiles}
    found = hx.graph(outputs).over(data)

    def of(stat: Callable[[Floats], Any]) -> npt.NDArray[Any]:
        return over_windows(name, kind, least, "a", lambda x: stat(x[:, 0].astype(float)))

    exact: dict[str, Callable[[Floats], Any]] = {"min": np.min, "max": np.max}
    for column, stat in exact.items():
        agree(found[column].fill_null(math.nan).to_numpy(), of(stat), rtol=0)
    size = of(lambda x: np.abs(x).max())
    for column, q in ({"median": 0.5} | {f"{q}": q for q in quantiles}).items():
        want = of(lambda x, q=q: np.quantile(x, q))  # type: ignore[misc]
        agree(found[column].fill_null(math.nan).to_numpy(), want, rtol=1e-12, atol=8 * EPS * size)


@pytest.mark.parametrize(("kind", "least"), [x for x in KINDS if x[0] not in (1, 2)])
@pytest.mark.parametrize("name", ["walk", "offset", "outliers", "steps"])
def test_skewness_of_every_window(name: str, kind: Any, least: int | None) -> None:
    data = frame(name)

    def skewness(x: Wide) -> float:
        d = x[:, 0] - x[:, 0].mean()
        m2 = (d * d).mean()
        return float((d**3).mean() / m2**1.5) if m2 > (EPS * np.abs(x).max()) ** 2 else math.nan

    if name == "walk" and kind == 30:
        last = data["a"].drop_nulls().to_numpy()[-30:]
        assert skewness(last[:, None].astype(np.longdouble)) == pytest.approx(stats.skew(last), rel=1e-12)
    rough = STEPS * conditioned(name, kind, least)
    found = values(window(A, kind, least).skew(), data)
    agree(found, over_windows(name, kind, least, "a", skewness), rtol=1e-9 + 3 * rough, atol=1e-9 + 3 * rough, least=20)


PAIRS: dict[str, Callable[[Wide, Any, Any], Any]] = {
    "cov": lambda x, sd, cov: cov,
    "corr": lambda x, sd, cov: cov / (sd[0] * sd[1]),
    "beta": lambda x, sd, cov: cov / sd[1] ** 2,
    "alpha": lambda x, sd, cov: mean(x)[0] - cov / sd[1] ** 2 * mean(x)[1],
    "residual": lambda x, sd, cov: x[-1, 0] - mean(x)[0] - cov / sd[1] ** 2 * (x[-1, 1] - mean(x)[1]),
}


@pytest.mark.parametrize(("kind", "least"), [x for x in KINDS if x[0] not in (1, 2, "session")])
@pytest.mark.parametrize("name", ["walk", "offset"])
def test_statistics_of_two_of_every_window(name: str, kind: Any, least: int | None) -> None:
    data = frame(name)
    at = window(A, kind, least)
    found = hx.graph({stat: getattr(at, stat)(B) for stat in PAIRS}).over(data)

    def of(stat: Callable[[Wide, Any, Any], Any], x: Wide) -> Any:
        if len(x) < 2:
            return np.nan
        d = x - mean(x)
        return stat(x, deviation(x), (d[:, 0] * d[:, 1]).sum() / (len(x) - 1))

    for stat, expected in PAIRS.items():
        want = over_windows(name, kind, least, "ab", lambda x, e=expected: of(e, x))  # type: ignore[misc]
        sd = over_windows(name, kind, least, "ab", lambda x: np.prod(deviation(x)))
        # Of two samples the line goes through both, whatever the data.
        short = over_windows(name, kind, least, "ab", len, 0.0) < 3
        scale = {"cov": sd, "corr": 1.0, "beta": 5.0, "alpha": 5e5 if name == "offset" else 50, "residual": 50.0}[stat]
        rough = 1e-5 if name == "offset" else 1e-9
        keep = ~(short & (name == "offset"))
        got = found[stat].fill_null(math.nan).to_numpy()
        agree(np.where(keep, got, np.nan), np.where(keep, want, np.nan), rtol=1e-9, atol=rough * np.nan_to_num(scale))


def test_beta_is_that_of_numpy_lstsq() -> None:
    data = frame(nulls=False)
    at = A.rolling(50)
    found = hx.graph(alpha=at.alpha(B), beta=at.beta(B), residual=at.residual(B)).over(data).drop_nulls()
    a, b = data["a"].to_numpy(), data["b"].to_numpy()
    for row in range(49, ROWS, 25):
        y, x = a[row - 49 : row + 1], b[row - 49 : row + 1]
        fit = np.linalg.lstsq(np.column_stack([np.ones(50), x]), y, rcond=None)[0]
        got = found.row(row - 49)[1:]
        np.testing.assert_allclose(got, [*fit, y[-1] - fit @ [1, x[-1]]], rtol=1e-9, atol=1e-9)


# ---- exponential weights ---------------------------------------------------------------------------------------------


def weighted(data: pl.DataFrame, names: str, keep: Callable[[int], float]) -> Iterator[tuple[int, Wide, Wide] | None]:
    """By definition: after each row the samples and their weights, each `keep(time since)` of what is left."""
    past: list[list[float]] = []
    weights: list[np.longdouble] = []
    last = 0
    for _, ts, now in samples(data, *names):
        if now:
            left = np.longdouble(keep(ts - last) if past else 0.0)
            weights = [w * left for w in weights] + [1 - left]
            past.append(now)
            last = ts
        yield (len(past), np.array(past, dtype=np.longdouble), np.array(weights)) if past else None


DECAYS: dict[str, tuple[dict[str, Any], Callable[[int], float], int]] = {
    "halflife": ({"halflife": 5}, lambda ns: 0.5 ** (1 / 5), 15),
    "halflife in fractions": ({"halflife": 2.5}, lambda ns: 0.5 ** (1 / 2.5), 8),
    "span": ({"span": 9}, lambda ns: 1 - 2 / 10, 10),
    "alpha": ({"alpha": 0.25}, lambda ns: 0.75, 8),
    "least": ({"alpha": 0.25, "min_samples": 2}, lambda ns: 0.75, 2),
    "by time": ({"halflife": "10s", "min_samples": 3}, lambda ns: 0.5 ** (ns / (10 * SECOND)), 3),
}


@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize("on", ["walk", "offset", "outliers"])
def test_exponential_weights_by_their_definition(name: str, on: str) -> None:
    how, keep, least = DECAYS[name]
    data = frame(on)
    at = A.ewm(**how)
    found = hx.graph(mean=at.mean(), var=at.var(), std=at.std(), z=at.zscore()).over(data)
    got = {column: found[column].fill_null(math.nan).to_numpy() for column in found.columns[1:]}
    means, variances, zs, size = [], [], [], []
    for state in weighted(data, "a", keep):
        if state is None or state[0] < least:
            means, variances, zs, size = [*means, np.nan], [*variances, np.nan], [*zs, np.nan], [*size, 1.0]
            continue
        _, x, w = state
        m = (w * x[:, 0]).sum()
        v = (w * (x[:, 0] - m) ** 2).sum()
        means, variances, zs = [*means, m], [*variances, v], [*zs, (x[-1, 0] - m) / np.sqrt(v)]
        size.append(float(np.abs(x).max()))
    sd = np.sqrt(np.array(variances, dtype=float))
    rough = 1e-9 + STEPS * EPS * np.array(size) / sd
    agree(got["mean"], means, atol=STEPS * EPS * np.array(size))
    agree(got["std"], sd, rtol=rough)
    agree(got["var"], sd * sd, rtol=2 * rough)
    agree(got["z"], zs, rtol=2 * rough, atol=2 * rough)


@pytest.mark.parametrize("name", DECAYS)
def test_exponential_weights_of_two(name: str) -> None:
    how, keep, least = DECAYS[name]
    data = frame()
    at = A.ewm(**how)
    found = hx.graph({stat: getattr(at, stat)(B) for stat in PAIRS}).over(data)
    want: dict[str, list[Any]] = {stat: [] for stat in PAIRS}
    for state in weighted(data, "ab", keep):
        if state is None or state[0] < least:
            for column in want.values():
                column.append(np.nan)
            continue
        _, x, w = state
        m = (w[:, None] * x).sum(axis=0)
        d = x - m
        xx, yy, xy = ((w * d[:, i] * d[:, j]).sum() for i, j in ((0, 0), (1, 1), (0, 1)))
        beta = xy / yy
        told = {"cov": xy, "corr": xy / np.sqrt(xx * yy), "beta": beta, "alpha": m[0] - beta * m[1]}
        told["residual"] = x[-1, 0] - m[0] - beta * (x[-1, 1] - m[1])
        for stat, value in told.items():
            want[stat].append(value)
    for stat, column in want.items():
        agree(found[stat].fill_null(math.nan).to_numpy(), column, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("how", [{"half_life": 7.0}, {"span": 9.0}, {"alpha": 0.3}])
def test_exponential_weights_are_those_of_polars(how: dict[str, float]) -> None:
    data = frame(nulls=False)
    ours = {("halflife" if name == "half_life" else name): value for name, value in how.items()}
    at = A.ewm(**ours, min_samples=1)
    agree(values(at.mean(), data), data["a"].ewm_mean(**how, adjust=False).to_numpy(), atol=1e-12)
    agree(values(at.var(), data), data["a"].ewm_var(**how, adjust=False, bias=True).to_numpy(), atol=1e-12)


# ---- warm-up ---------------------------------------------------------------------------------------------------------


def first(expr: Expr, step_ns: int = SECOND, rows: int = 60) -> int | None:
    """At which sample, counted from 1, an expression over evenly spaced ones has its first value."""
    rng = np.random.default_rng(3)
    at = pl.Series("ts", START + np.arange(rows) * step_ns).cast(pl.Datetime("ns", "UTC"))
    found = hx.graph(value=expr).over(pl.DataFrame({"ts": at, "a": rng.normal(size=rows), "b": rng.normal(size=rows)}))
    known = found["value"].is_not_null()
    return int(known.arg_max() or 0) + 1 if known.any() else None


@pytest.mark.parametrize(
    ("expr", "sample"),
    [
        (A, 1),
        (A.lag(3), 4),
        (A.lag("5s"), 6),
        (A.diff(2), 3),
        (A.elapsed(), 2),
        (A.rolling(1).mean(), 1),
        (A.rolling(7).mean(), 7),
        (A.rolling(7).zscore(), 7),
        (A.rolling(7, min_samples=2).std(), 2),
        (A.rolling(7).min(), 7),
        (A.rolling(7).median(), 7),
        (A.rolling(7, min_samples=3).quantile(0.1), 3),
        (A.rolling(7).skew(), 7),
        (A.rolling("10s").mean(), 11),
        (A.rolling("9999ms").max(), 11),
        (A.rolling("10s", min_samples=2).sum(), 2),
        (A.rolling("10s").skew(), 11),
        (A.expanding().mean(), 1),
        (A.expanding().var(), 2),
        (A.expanding(min_samples=5).min(), 5),
        (A.rolling(7).corr(B), 7),
        (A.rolling("10s").beta(B), 11),
        (A.rolling("10s", min_samples=4).cov(B), 4),
        (A.expanding().cov(B), 2),
        (A.ewm(4).mean(), 12),
        (A.ewm(4.1).mean(), 13),
        (A.ewm("4s").mean(), 13),
        (A.ewm("4s").cov(B), 13),
        (A.ewm(4).corr(B), 12),
        (A.ewm(4, min_samples=1).mean(), 1),
        (A.ewm("4s", min_samples=3).zscore(), 3),
        # 3 ln(1/2) / ln(3/4) = 7.2 samples.
        (A.ewm(alpha=0.25).mean(), 8),
        (A.rolling(5).mean().rolling(5).mean(), 9),
        (hx.kalman(A, B, min_samples=6).beta, 7),
        (hx.rsi(A, 5), 6),
        (hx.macd(A, 3, 6, 4).line, 6),
        (hx.macd(A, 3, 6, 4).signal, 9),
        (hx.bollinger(A, 8).upper, 8),
        (hx.twap(A, 4), 5),
        (hx.realised_volatility(A.abs(), 4), 5),
        (hx.resample(A, ticks=6).close, 6),
        # Bars end at whole multiples of a minute; START is one.
        (hx.resample(A, every="20s").close, 21),
    ],
)
def test_null_until_full_and_not_longer(expr: Expr, sample: int) -> None:
    assert first(expr) == sample
