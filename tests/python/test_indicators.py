"""Indicators, bars, cross-sections, states and patterns against brute force, NumPy and SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import helios as hx
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from helios.signals import Expr
from scipy import stats

Floats = npt.NDArray[np.float64]
SECOND = 1_000_000_000
START = 1_772_461_740 * SECOND
ROWS = 300
A, B, C = hx.series("a"), hx.series("b"), hx.series("c")


def clock(rng: np.random.Generator, rows: int = ROWS) -> pl.Series:
    steps = rng.choice([0, SECOND // 3, SECOND, 20 * SECOND], rows, p=[0.1, 0.4, 0.4, 0.1])
    return pl.Series("ts", START + np.cumsum(steps)).cast(pl.Datetime("ns", "UTC"))


def series(seed: int = 0) -> pl.DataFrame:
    """Three positive series."""
    rng = np.random.default_rng(seed)
    walks = {name: 50 + np.cumsum(rng.normal(0, 0.2, ROWS)) for name in "abc"}
    return pl.DataFrame({"ts": clock(rng)} | walks)


def trades(seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    price = np.round(60 + np.cumsum(rng.integers(-3, 4, ROWS)) * 0.01, 2)
    return pl.DataFrame({"ts": clock(rng), "symbol": "KO", "price": price, "size": rng.integers(1, 50, ROWS) * 1.0})


def bars(seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = np.round(60 + np.cumsum(rng.integers(-30, 31, ROWS)) * 0.01, 2)
    open_ = np.round(close + rng.integers(-20, 21, ROWS) * 0.01, 2)
    high = np.round(np.maximum(open_, close) + rng.integers(0, 20, ROWS) * 0.01, 2)
    low = np.round(np.minimum(open_, close) - rng.integers(0, 20, ROWS) * 0.01, 2)
    volume = rng.integers(1, 50, ROWS) * 100.0
    at = pl.Series("ts", START + 60 * SECOND * np.arange(1, ROWS + 1)).cast(pl.Datetime("ns", "UTC"))
    rows = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    return pl.DataFrame({"ts": at, "symbol": "KO"} | rows)


def quotes(seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    bid = np.round(60 + np.cumsum(rng.integers(-1, 2, ROWS)) * 0.01, 2)
    sizes = {"bid_size": rng.integers(1, 9, ROWS) * 100.0, "ask_size": rng.integers(1, 9, ROWS) * 100.0}
    ask = np.round(bid + rng.integers(1, 4, ROWS) * 0.01, 2)
    return pl.DataFrame({"ts": clock(rng), "symbol": "KO", "bid": bid, "ask": ask} | sizes)


def values(expr: Expr, data: pl.DataFrame) -> Floats:
    column = hx.graph(value=expr).over(data)["value"]
    assert not column.is_nan().any()
    return column.fill_null(math.nan).to_numpy()


def agree(found: Floats, expected: Any, rtol: float = 1e-9, atol: float = 1e-11) -> None:
    expected = np.asarray(expected, dtype=np.float64)
    assert np.isfinite(expected).sum() > 50, "the test compares something"
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol, equal_nan=True)


def rolling(x: Floats, n: int, stat: Callable[[Floats], Any]) -> Floats:
    """Over the last n samples; NaNs, which only come first, are no samples."""
    skip = int(np.isnan(x).sum())
    out = np.full(len(x), np.nan)
    for row in range(skip + n - 1, len(x)):
        out[row] = stat(x[row - n + 1 : row + 1])
    return out


def smooth(x: Floats, alpha: float, least: int) -> Floats:
    """Exponential average that begins with the first number, null until there are `least`."""
    out, state, n = np.full(len(x), np.nan), math.nan, 0
    for row, value in enumerate(x):
        if not math.isnan(value):
            state = value if n == 0 else state + alpha * (value - state)
            n += 1
            out[row] = state if n >= least else math.nan
    return out


def shift(x: Floats, n: int = 1) -> Floats:
    return np.r_[np.full(n, np.nan), x[:-n]]


# ---- prices ----------------------------------------------------------------------------------------------------------


def test_vwap_of_trades_and_of_bars() -> None:
    data = trades()
    p, v = data["price"].to_numpy(), data["size"].to_numpy()
    agree(values(hx.vwap("KO", 20), data), rolling(p * v, 20, np.sum) / rolling(v, 20, np.sum))
    data = bars()
    h, lo, c, v = (data[name].to_numpy() for name in ("high", "low", "close", "volume"))
    agree(
        values(hx.vwap("KO", 20, bars=True), data), rolling((h + lo + c) / 3 * v, 20, np.sum) / rolling(v, 20, np.sum)
    )


def test_vwap_over_time() -> None:
    data = trades()
    ts, p, v = (data[name].to_physical().to_numpy() for name in ("ts", "price", "size"))
    want = [
        (p * v)[: i + 1][inside].sum() / v[: i + 1][inside].sum() if ts[i] - ts[0] >= 30 * SECOND else np.nan
        for i in range(ROWS)
        for inside in [ts[: i + 1] > ts[i] - 30 * SECOND]
    ]
    agree(values(hx.vwap("KO", "30s"), data), want)


def test_twap_weighs_by_how_long_a_price_stood() -> None:
    data = series()
    ts, a = data["ts"].to_physical().to_numpy(), data["a"].to_numpy()
    stood = np.r_[np.nan, np.diff(ts) / 1e9]
    agree(values(hx.twap(A, 15), data), rolling(shift(a) * stood, 15, np.sum) / rolling(stood, 15, np.sum))


def test_realised_volatility() -> None:
    data = series()
    change = np.r_[np.nan, np.diff(np.log(data["a"].to_numpy()))]
    want = np.sqrt(rolling(change**2, 20, np.sum))
    agree(values(hx.realised_volatility(A, 20), data), want)
    agree(values(hx.realised_volatility(A, 20, per_year=252), data), want * math.sqrt(252))


def test_order_flow_imbalance_by_its_cases() -> None:
    data = quotes()
    b, a, bs, as_ = (data[name].to_list() for name in ("bid", "ask", "bid_size", "ask_size"))
    flow = [math.nan]
    for i in range(1, ROWS):
        bids = bs[i] if b[i] > b[i - 1] else -bs[i - 1] if b[i] < b[i - 1] else bs[i] - bs[i - 1]
        asks = as_[i] if a[i] < a[i - 1] else -as_[i - 1] if a[i] > a[i - 1] else as_[i] - as_[i - 1]
        flow.append(bids - asks)
    agree(values(hx.order_flow_imbalance("KO", 10), data), rolling(np.array(flow), 10, np.sum), atol=1e-9)


def test_rsi() -> None:
    data = series()
    change = np.r_[np.nan, np.diff(data["a"].to_numpy())]
    up, down = (smooth(np.maximum(sign * change, 0), 1 / 14, 14) for sign in (1, -1))
    agree(values(hx.rsi(A), data), 100 * up / (up + down))


def test_macd() -> None:
    data = series()
    a = data["a"].to_numpy()
    line = smooth(a, 2 / 13, 26) - smooth(a, 2 / 27, 26)
    signal = smooth(line, 2 / 10, 9)
    made = hx.macd(A)
    for expr, want in ((made.line, line), (made.signal, signal), (made.histogram, line - signal)):
        agree(values(expr, data), want)


def test_atr() -> None:
    data = bars()
    h, lo, c = (data[name].to_numpy() for name in ("high", "low", "close"))
    before = shift(c)
    ranges = np.maximum(h - lo, np.maximum(np.abs(h - before), np.abs(lo - before)))
    agree(values(hx.atr("KO", 14), data), smooth(ranges, 1 / 14, 14))


def test_bollinger() -> None:
    data = series()
    a = data["a"].to_numpy()
    middle, sd = rolling(a, 20, np.mean), rolling(a, 20, lambda x: x.std(ddof=1))
    made = hx.bollinger(A, 20, 2)
    wanted = {"lower": middle - 2 * sd, "middle": middle, "upper": middle + 2 * sd}
    wanted["percent"] = (a - wanted["lower"]) / (4 * sd)
    for name, want in wanted.items():
        agree(values(getattr(made, name), data), want)


def test_half_life_is_of_the_slope_on_the_sample_before() -> None:
    rng = np.random.default_rng(5)
    x = np.zeros(ROWS)
    for row in range(1, ROWS):
        x[row] = 0.8 * x[row - 1] + rng.normal()
    data = pl.DataFrame({"ts": clock(rng), "a": x})
    want = np.full(ROWS, np.nan)
    for row in range(100, ROWS):
        phi = stats.linregress(x[row - 100 : row], x[row - 99 : row + 1]).slope
        want[row] = math.log(2) / -math.log(phi) if 0 < phi < 1 else math.nan
    agree(values(A.rolling(100).half_life(), data), want, rtol=1e-8)


def test_kalman_is_the_filter_in_matrices() -> None:
    data = series()
    drift, noise = 1e-4, 1e-2
    state, p = np.zeros(2), np.eye(2) * 1e6
    wanted: dict[str, list[float]] = {name: [] for name in ("beta", "alpha", "residual", "std", "zscore")}
    for n, (y, x) in enumerate(zip(data["a"], data["b"], strict=True), start=1):
        h = np.array([x, 1.0])
        p = p + drift * np.eye(2)
        error, s = y - h @ state, h @ p @ h + noise
        gain = p @ h / s
        state, p = state + gain * error, p - np.outer(gain, h @ p)
        told = (*state, error, math.sqrt(s), error / math.sqrt(s)) if n > 30 else (math.nan,) * 5
        for column, value in zip(wanted.values(), told, strict=True):
            column.append(value)
    made = hx.kalman(A, B, drift=drift, noise=noise)
    for name, want in wanted.items():
        # The first sample takes the variance from 1e6 down: 1e-16 of that is lost.
        agree(values(getattr(made, name), data), want, rtol=1e-7, atol=1e-7)


# ---- bars ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"every": "7s"}, {"ticks": 6}, {"volume": 90}, {"dollars": 5_000}])
def test_bars_of_trades_by_brute_force(how: dict[str, Any]) -> None:
    data = trades()
    made: list[list[tuple[float, float]]] = []
    ends: list[int] = []
    making: list[tuple[float, float]] = []
    span = None
    for row, (ts, p, v) in enumerate(zip(data["ts"].to_physical(), data["price"], data["size"], strict=True)):
        if "every" in how:
            if making and ts // (7 * SECOND) != span:
                made, ends, making = [*made, making], [*ends, row], []
            span = ts // (7 * SECOND)
        making.append((p, v))
        filled = {
            "ticks": len(making),
            "volume": sum(size for _, size in making),
            "dollars": sum(price * size for price, size in making),
        }
        if any(filled[name] >= how[name] for name in filled if name in how):
            made, ends, making = [*made, making], [*ends, row], []
    assert len(made) > 20
    wanted = {
        "open": [bar[0][0] for bar in made],
        "high": [max(p for p, _ in bar) for bar in made],
        "low": [min(p for p, _ in bar) for bar in made],
        "close": [bar[-1][0] for bar in made],
        "volume": [sum(v for _, v in bar) for bar in made],
        "vwap": [sum(p * v for p, v in bar) / sum(v for _, v in bar) for bar in made],
        "count": [float(len(bar)) for bar in made],
    }
    got = hx.resample("KO", **how)
    for name, want in wanted.items():
        found = hx.graph(x=getattr(got, name)).over(hx.trades(data), every_event=False)
        assert found["ts"].to_physical().to_list() == [data["ts"].to_physical()[row] for row in ends]
        np.testing.assert_allclose(found["x"], want, rtol=1e-12)


# ---- cross-sections --------------------------------------------------------------------------------------------------


def test_a_cross_section_is_that_of_scipy() -> None:
    rng = np.random.default_rng(2)
    names = list("abcdef")
    columns = {name: pl.Series(rng.integers(0, 5, ROWS) * 1.0) for name in names}
    gone = {name: pl.Series(rng.random(ROWS) < 0.2) for name in names}
    data = pl.DataFrame({"ts": clock(rng)} | {name: columns[name].set(gone[name], None) for name in names})
    side = hx.cross({name: hx.series(name) for name in names})
    x = np.column_stack([data[name].fill_null(math.nan).to_numpy() for name in names])
    for at, name in enumerate(names):
        own = x[:, at]
        agree(values(side.rank()[name], data), stats.rankdata(x, axis=1, nan_policy="omit")[:, at])
        agree(values(side.demean()[name], data), own - np.nanmean(x, axis=1))
        with np.errstate(all="ignore"):
            z = (own - np.nanmean(x, axis=1)) / np.nanstd(x, axis=1, ddof=1)
        agree(values(side.zscore()[name], data), np.where(np.isfinite(z), z, np.nan))
        for k in (1, 3):
            order = [sorted((-v, i) for i, v in enumerate(row) if not math.isnan(v))[:k] for row in x]
            best = [float(at in [i for _, i in row]) for row in order]
            agree(values(side.top(k)[name], data), np.where(np.isnan(own), np.nan, best))


def test_a_quorum_waits_for_bars_of_one_moment() -> None:
    rows = [(1, "A", 10), (1, "B", 20), (1, "C", 30), (2, "B", 5), (2, "C", 6), (3, "A", 1), (3, "C", 2), (3, "B", 9)]
    ts = pl.Series([START + at * SECOND for at, _, _ in rows]).cast(pl.Datetime("ns", "UTC"))
    close = pl.Series([float(x) for *_, x in rows])
    data = pl.DataFrame({"ts": ts, "symbol": [s for _, s, _ in rows], "close": close}).with_columns(
        open="close", high="close", low="close", volume=1.0
    )

    def ranks(quorum: float) -> list[tuple[int, float]]:
        side = hx.cross(["A", "B", "C"], hx.close, quorum=quorum)
        found = hx.graph(x=side.rank()["B"]).over(hx.bars(data, span="1s"), every_event=False)
        seconds = ((found["ts"].to_physical() - START) // SECOND).to_list()
        return list(zip(seconds, found["x"].to_list(), strict=True))

    assert ranks(1.0) == [(1, 2.0), (3, 3.0)]
    assert ranks(0.6) == [(1, 2.0), (1, 2.0), (2, 1.0), (3, 3.0), (3, 3.0)]
    assert ranks(0) == [(1, None), (1, 2.0), (1, 2.0), (2, 1.0), (2, 1.0), (3, 2.0), (3, 3.0), (3, 3.0)]


# ---- states ----------------------------------------------------------------------------------------------------------


def events() -> pl.DataFrame:
    """Small whole numbers at uneven times, some of them null."""
    rng = np.random.default_rng(9)
    columns = {
        name: pl.Series(rng.integers(-2, 3, ROWS) * 1.0).set(pl.Series(rng.random(ROWS) < 0.15), None) for name in "ab"
    }
    return pl.DataFrame({"ts": clock(rng)} | columns)


def fired(expr: Expr) -> list[tuple[int, float | None]]:
    """Each firing: time and value."""
    found = hx.graph(x=expr).over(hx.external(events()), every_event=False)
    return list(zip(found["ts"].to_physical().to_list(), found["x"].to_list(), strict=True))


def rows() -> list[tuple[int, float | None, float | None]]:
    data = events()
    return list(zip(data["ts"].to_physical().to_list(), data["a"].to_list(), data["b"].to_list(), strict=True))


def test_hysteresis() -> None:
    want, state = [], None
    for ts, a, _ in rows():
        if a is None:
            continue
        now = 1.0 if a >= 2 else -1.0 if a <= -2 else state if state and state * a > 0 else 0.0
        want += [(ts, now)] if now != state else []
        state = now
    assert {x for _, x in want} == {-1.0, 0.0, 1.0}
    assert fired(A.hysteresis(enter=2, exit=0)) == want


def test_changes_and_when() -> None:
    want: list[tuple[int, float | None]] = []
    for ts, a, _ in rows():
        if not want or want[-1][1] != a:
            want.append((ts, a))
    assert len(want) > 100
    assert fired(A.changes()) == want
    data = {ts: a for ts, a, _ in rows()}
    moments = [ts for ts, _ in fired(B.changes())]
    assert [ts for ts, _ in fired(A.when(B.changes()))] == moments
    assert len(data) > 100


def test_cooldown() -> None:
    want, last = [], None
    for ts, a, _ in rows():
        passes = bool(a is not None and a > 0 and (last is None or ts - last >= 2 * SECOND))
        last = ts if passes else last
        want.append((ts, float(passes)))
    assert fired((A > 0).cooldown("2s")) == want


def test_debounce() -> None:
    want, since = [], None
    for ts, a, _ in rows():
        since = (ts if since is None else since) if a is not None and a >= 0 else None
        want.append((ts, float(since is not None and ts - since >= SECOND)))
    assert 0 < sum(x for _, x in want) < len(want)
    assert fired((A >= 0).debounce("1s")) == want


def test_latch() -> None:
    want, state = [], None
    for ts, a, b in rows():
        now = not (b is not None and b > 1) and ((a is not None and a > 1) or state is True)
        want += [(ts, float(now))] if now != state else []
        state = now
    assert len(want) > 20
    assert fired((A > 1).latch(B > 1)) == want


# ---- patterns --------------------------------------------------------------------------------------------------------


def stream(text: str) -> pl.DataFrame:
    """Letters at times: "a1 b3" is a trade of A at second 1 and one of B at second 3."""
    events = [(word[0].upper(), float(word[1:])) for word in text.split()]
    ts = pl.Series([START + int(at * SECOND) for _, at in events]).cast(pl.Datetime("ns", "UTC"))
    return pl.DataFrame({"ts": ts, "symbol": [name for name, _ in events], "price": 1.0, "size": 1.0})


def matches(expr: Expr, text: str) -> list[tuple[float, float]]:
    """Second and number of matches of each completion; over the frame and in a backtest."""
    data = stream(text)
    found = hx.graph(x=expr).over(hx.trades(data), every_event=False)
    table = hx.Backtest(hx.trades(data), hx.graph(x=expr).records()).run().signals
    assert table["value"].to_list() == found["x"].to_list()
    assert table["ts"].to_physical().to_list() == found["ts"].to_physical().to_list()
    return [((ts - START) / SECOND, x) for ts, x in zip(found["ts"].to_physical(), found["x"], strict=True)]


P, Q, R = hx.last("A"), hx.last("B"), hx.last("C")


@pytest.mark.parametrize(
    ("expr", "text", "want"),
    [
        (hx.pattern(P).then(Q), "a1 c2 b3 b4", [(3, 1)]),
        (hx.pattern(P).then(Q, within="2s"), "a1 b3 c4 a5 b7.5 c8", [(3, 1)]),
        (hx.pattern(P).then(Q).without(R), "a1 c2 b3 a4 b5 c6", [(5, 1)]),
        (hx.pattern(P).then(Q).times(3), "a1 b2 b3 c3.5 b4 b5", [(4, 1)]),
        (hx.pattern(P).then(Q).within("3s"), "a1 b4 a5 b9 c9", [(4, 1)]),
        (hx.pattern(P).absent(Q, for_="2s").heartbeat(R), "a1 b2 c4 a5 c6 c7 c8", [(7, 1)]),
        (hx.pattern(P).then(Q).then(R, within="1s"), "a1 b2 c4 a5 b6 c7", [(7, 1)]),
        (hx.pattern(P).then(Q).overlapping(), "a1 a2 b3 c4", [(3, 2)]),
        (hx.occurrences(P, within="3s"), "a1 a2 a3 c3.5 a4 a9 b9 c9", [(1, 1), (2, 2), (3, 3), (4, 3), (9, 1)]),
        (hx.occurrences(P, within="3s", heartbeat=Q), "a1 a2 b4 b5 b6 c6", [(1, 1), (2, 2), (4, 1), (5, 0)]),
        (hx.pattern(hx.occurrences(P, within="3s") >= 2).then(Q), "a1 b2 a3 a4 b5 c6", [(5, 1)]),
    ],
)
def test_a_pattern_end_to_end(expr: Expr, text: str, want: list[tuple[float, float]]) -> None:
    assert matches(expr, text) == want


def test_one_machine_an_instrument() -> None:
    data = stream("a1 b2 a3 c4 b5 c6 b7")
    made = hx.partition(["A", "B", "C"], lambda symbol: hx.pattern(hx.last(symbol)).times(2))
    found = hx.graph(made).over(hx.trades(data))
    assert found["A"].to_list() == [None, None, 1, 1, 1, 1, 1]
    assert found["B"].to_list() == [None, None, None, None, 1, 1, 1]
    assert found["C"].to_list() == [None, None, None, None, None, 1, 1]
