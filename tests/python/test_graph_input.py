"""Bad input of graphs: a clear error of ours that names the expression, the row or the column; never a library's."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.errors import ArgumentError, DataError

A, B = hx.series("a"), hx.series("b")
KO, PEP, SIZE = hx.mid("KO"), hx.mid("PEP"), hx.volume("KO")
BEGIN = datetime(2026, 3, 2, 14, 30)
HOURS: Any = hx.session(hours=[(BEGIN, BEGIN + timedelta(hours=1))])
Any_: Any = None

UNITS: list[Callable[[], object]] = [
    lambda: KO + SIZE,
    lambda: KO - SIZE,
    lambda: KO > SIZE,
    lambda: KO >= SIZE,
    lambda: KO < SIZE,
    lambda: KO <= SIZE,
    lambda: KO == SIZE,
    lambda: KO != SIZE,
    lambda: hx.minimum(KO, SIZE),
    lambda: hx.maximum(SIZE, KO),
    lambda: KO.clip(SIZE, None),
    lambda: KO.clip(high=SIZE),
    lambda: hx.where(KO > 1, KO, SIZE),
    lambda: KO.fill_null(SIZE),
    lambda: KO + hx.time_of_day(),
    lambda: KO + HOURS.since_open,
    lambda: KO.elapsed() + KO,
    lambda: KO.rolling(3).var() + KO,
    lambda: KO * KO - KO,
    lambda: KO.sqrt() + KO,
]


@pytest.mark.parametrize("build", UNITS)
def test_mixed_units_are_named(build: Callable[[], object]) -> None:
    with pytest.raises(ArgumentError, match=r"mixes units: .* is in .*unitless") as caught:
        build()
    assert "mid('KO')" in str(caught.value)


def test_units_that_go_together() -> None:
    for expr in (KO + 1, KO * SIZE, KO / KO + 1, KO.log() + 1, KO.unitless() + SIZE, KO.rolling(3).std() + KO, KO > 60):
        assert isinstance(expr, hx.Expr)
    assert str((KO * SIZE).unit) == "price shares"
    assert str(KO.rolling(3).var().unit) == "price^2"


@pytest.mark.parametrize(
    "build",
    [
        lambda: KO * hx.volume("PEP"),
        lambda: hx.volume("PEP") * KO,
        lambda: KO / hx.volume("PEP"),
        lambda: KO.rolling(3).mean() * hx.volume("PEP").rolling(3).mean(),
    ],
)
def test_mixed_instruments_are_named(build: Callable[[], object]) -> None:
    with pytest.raises(ArgumentError, match=r"mixes instruments: .*KO.*PEP|mixes instruments: .*PEP.*KO"):
        build()


@pytest.mark.parametrize(
    ("build", "says"),
    [
        *[(functools.partial(A.rolling, n), f"{n!r} samples, but it must be 1 to") for n in (0, -1, 2**20 + 1)],
        *[
            (functools.partial(A.rolling, n), "rolling window")
            for n in ("0s", "-1s", "400000d", math.nan, None, "x", True)
        ],
        *[(functools.partial(A.lag, n), r"series\('a'\)") for n in (0, -1, True, 1.5, None, "0s", "x")],  # type: ignore[arg-type]
        (lambda: A.rolling(5, min_samples=6), "never more than 5"),
        (lambda: A.rolling(5, min_samples=0), "min_samples of a window of series"),
        (lambda: A.expanding(min_samples=0), "series.*expanding"),
        (A.ewm, "give one of halflife, span and alpha"),
        (lambda: A.ewm(3, span=3), "give one of"),
        (lambda: A.ewm(span=1), r"series\('a'\).ewm\(span=1\)"),
        (lambda: A.ewm(alpha=1.0), "between 0 and 1"),
        (lambda: A.ewm(1e300), "between 0 and 1"),
        *[(lambda q=q: A.rolling(3).quantile(q), "must lie between 0 and 1") for q in (1.5, -0.1, math.nan, "x", True)],
        (lambda: hx.cross({"A": A, "B": B}).top(2), r"cross\(A, B\).top\(2\)"),
        (lambda: hx.cross({"A": A, "B": B}).top(0), "a whole number from 1 to 1"),
        (lambda: hx.cross({"A": A}), "two members or more"),
        (lambda: hx.cross({"A": A, "B": B}, quorum=1.5), "quorum=1.5"),
        (lambda: hx.cross({"A": A, "B": Any_}), "member 'B' is None"),
        (lambda: hx.cross({"A": KO, "B": SIZE}), "several units: price, shares"),
        (lambda: hx.cross(Any_, hx.close), "list of symbols"),
        *[(lambda x=x: A.hysteresis(enter=x, exit=0), "hysteresis of series") for x in (0, "1", None, math.nan)],
        (lambda: A.clip("x"), r"clip: 'x' is neither"),  # type: ignore[arg-type]
        (lambda: A.clip(2, 1), "low must not be above high"),
        (lambda: A.fill_null("x"), r"fill_null: 'x' is neither"),  # type: ignore[arg-type]
        (lambda: hx.minimum(A, "x"), "minimum: 'x' is neither"),  # type: ignore[arg-type]
        (lambda: hx.maximum(Any_, A), "maximum: None is neither"),
        (lambda: hx.where(True, A, B), "True is no condition"),  # type: ignore[arg-type]
        (lambda: A.only(5), "5 is no condition"),  # type: ignore[arg-type]
        (lambda: A.when(5), "5 is no expression"),  # type: ignore[arg-type]
        (lambda: A.latch(5), "5 is no expression"),  # type: ignore[arg-type]
        (lambda: A.cooldown("0s"), "cooldown of series"),
        (lambda: A.debounce(5), "debounce of series"),  # type: ignore[arg-type]
        (lambda: A.rolling(3).cov(5), r"rolling\(3\).cov: 5 is no expression"),  # type: ignore[arg-type]
        (lambda: A + 10**400, "not a finite number"),
        (A.zscore, "either a window or a halflife"),
        (lambda: hx.kalman(A, 5), "kalman: 5 is no expression"),  # type: ignore[arg-type]
        (lambda: hx.kalman(A, B, noise=0), "noise=0 must be a positive number"),
        (lambda: hx.resample(5, ticks=2), "resample: 5 is no expression"),  # type: ignore[arg-type]
        (lambda: hx.resample("KO"), "give one of every, ticks, volume, dollars"),
        (lambda: hx.resample("KO", ticks=0), "ticks must be a positive number"),
        (lambda: hx.resample("KO", every="0s"), "longer than zero"),
        *[(lambda n=n: hx.rsi(A, n), r"rsi\(series\('a'\)\): n=") for n in (0, 1, -1, "x", 2.0)],
        (lambda: hx.rsi("KO"), "rsi: 'KO' is no expression"),  # type: ignore[arg-type]
        (lambda: hx.atr("KO", 0), r"atr\('KO'\): n=0 samples"),
        (lambda: hx.macd(A, 5, 3), "fast=5 must be below slow=3"),
        (lambda: hx.macd(A, "x"), "fast='x' samples"),  # type: ignore[arg-type]
        (lambda: hx.bollinger(A, 20, "x"), "deviations='x'"),  # type: ignore[arg-type]
        (lambda: hx.bollinger("KO"), "bollinger: 'KO' is no expression"),  # type: ignore[arg-type]
        (lambda: hx.twap("KO", 5), "twap: 'KO' is no expression"),  # type: ignore[arg-type]
        *[(lambda y=y: hx.realised_volatility(A, 5, per_year=y), "per_year=") for y in (0, "x", math.nan, math.inf)],
        (hx.session, "either a calendar"),
        (lambda: hx.session(5), "5 is no name of a calendar"),  # type: ignore[call-overload, arg-type]
        (lambda: hx.session(hours=[(1,)]), "pairs of moments"),  # type: ignore[list-item]
        (lambda: hx.session(hours=[(date(2026, 1, 1), date(2026, 1, 2))]), "is no datetime"),  # type: ignore[list-item]
        (lambda: hx.session(hours=[(BEGIN, BEGIN)]), "open before it closes"),
        *[(lambda z=z: hx.time_of_day(z), "time zone") for z in ("Mars", "", 5, None, ["UTC"])],
        (lambda: hx.series(""), "a series has a name"),
        (lambda: hx.partition(5, hx.last), "list of symbols"),  # type: ignore[arg-type]
        (lambda: hx.partition(["A"], 5), "no function of a symbol"),  # type: ignore[arg-type]
        (hx.graph, "name at least one"),
        *[(lambda x=x: hx.graph(x), "neither an expression nor a mapping") for x in (5, "x", [A], hx.bollinger(A))],
        (lambda: hx.graph(x=5), "graph: x is 5"),  # type: ignore[arg-type]
        (lambda: hx.graph({"x": A}, x=B), "x is named twice"),
        (lambda: hx.graph(ts=A), "choose another"),
        (lambda: hx.graph({5: A}), "5 is no name"),  # type: ignore[dict-item]
        (lambda: hx.graph({"": A}), "'' is no name"),
        (lambda: hx.graph(x=A.rolling(3)), "is no expression"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_written(build: Callable[[], object], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        build()


# ---- data ------------------------------------------------------------------------------------------------------------


def series(**columns: Any) -> pl.DataFrame:
    frame = pl.DataFrame({"ts": [BEGIN + timedelta(seconds=i) for i in range(9)], "a": np.arange(9.0), "b": 1.0})
    return frame.with_columns(**columns)


def put(column: str, value: Any, row: int = 4) -> pl.DataFrame:
    frame = series()
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, dtype=frame[column].dtype))


def bars(symbol: str = "KO") -> pl.DataFrame:
    close = pl.Series(60.0 + np.arange(9))
    return series().select("ts", symbol=pl.lit(symbol), open=close, high=close, low=close, close=close, volume=100.0)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (put("ts", BEGIN), r"row 4, column 'ts': time goes back"),
        (put("ts", None), r"row 4, column 'ts'"),
        (put("a", math.nan), r"row 4, column 'a': nan is no number"),
        (put("a", math.inf), r"row 4, column 'a': inf is no number"),
        (put("a", -math.inf), r"row 4, column 'a': -inf is no number"),
        (series(a=pl.lit("x")), "column 'a': a column of type String holds no numbers"),
        (series(a=pl.concat_list("a")), "column 'a': a column of type List"),
        (series(ts=pl.lit("hello")), "column 'ts': 'hello' is in no known form of time"),
        (series(ts=pl.lit(1.5)), "column 'ts': times are bare numbers"),
        (series(ts=pl.lit(datetime(1960, 1, 1))), "row 0, column 'ts'"),
        (series(ts=pl.lit(datetime(3000, 1, 1))), "row 0, column 'ts'"),
        (series().drop("ts"), "there is no column 'ts'; there are a, b"),
        (series().rename({"a": "aa"}), r"series\('a'\): there is no such column; near ones: aa"),
    ],
)
def test_a_frame_that_cannot_be_used(frame: pl.DataFrame, says: str) -> None:
    with pytest.raises(DataError, match=says):
        hx.graph(x=A.rolling(3).mean()).over(frame)
    if "near ones" not in says:
        with pytest.raises(DataError, match=says):
            hx.Backtest([hx.bars(bars()), hx.external(frame)], [hx.record("x", A)]).run()


@pytest.mark.parametrize("data", [None, "frame.parquet", [], [series()], {"a": [1]}, np.zeros(3), 5])
def test_what_is_no_data(data: object) -> None:
    with pytest.raises(ArgumentError, match="over: "):
        hx.graph(x=A).over(data)


@pytest.mark.parametrize("n", [0, -1, 2**32, "x", True])
def test_max_orders_is_checked(n: Any) -> None:
    with pytest.raises(ArgumentError, match="max_orders"):
        hx.graph(x=hx.close("KO")).over(bars(), max_orders=n)


def test_frames_of_market_data() -> None:
    of_close = hx.graph(x=hx.close("KO").rolling(2).mean())
    with pytest.raises(DataError, match="row 1, column 'ts'"):
        of_close.over(bars().reverse())
    with pytest.raises(DataError, match="row 0, column 'close'"):
        of_close.over(bars().with_columns(close=math.nan))
    with pytest.raises(ArgumentError, match="no data source has the symbol 'KOO'; near ones: KO"):
        hx.graph(x=hx.close("KOO")).over(bars())
    with pytest.raises(ArgumentError, match=r"mid\('KO'\) would never have a value"):
        hx.graph(x=KO).over(bars())
    with pytest.raises(ArgumentError, match="give sources"):
        hx.graph(x=hx.close("KO") + A).over(bars())
    with pytest.raises(DataError, match="the expressions read KO, PEP"):
        hx.graph(x=hx.close("KO") + hx.close("PEP")).over(bars().drop("symbol"))
    with pytest.raises(ArgumentError, match="two sources have a series 'a'"):
        hx.graph(x=A).over([hx.external(series()), hx.external(series())])
    with pytest.raises(ArgumentError, match="two records are named 'x'"):
        hx.Backtest(hx.bars(bars()), [hx.record("x", hx.close("KO")), hx.record("x", hx.open_("KO"))]).run()


def test_one_row_is_enough() -> None:
    one = pl.concat([bars("KO").head(1), bars("PEP").head(1)])
    assert hx.graph(x=hx.close("KO") + hx.close("PEP")).over(one)["x"].to_list() == [None, 120.0]


def test_an_empty_frame_has_an_empty_answer() -> None:
    found = hx.graph(x=A.rolling(3).mean(), y=A + B).over(series().head(0))
    assert found.shape == (0, 3)


@pytest.mark.parametrize(
    ("expr", "named"),
    [
        (hx.constant(3).rolling(2).mean(), r"3.rolling\(2\)"),
        (hx.constant(-3).log() + A, r"-3.log\(\)"),
        (hx.constant(3).lag(1) + A, r"3.lag\(1\)"),
        (A.only(A / hx.constant(0) > 1) + hx.constant(1) / 0, r"\(1 / 0\)"),
    ],
)
def test_what_is_made_of_constants_only_is_named(expr: hx.Expr, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        hx.graph(x=expr).over(series())
    with pytest.raises(ArgumentError, match=named):
        hx.Backtest([hx.bars(bars()), hx.external(series())], [hx.record("x", expr)]).run()


def test_a_constant_stands_beside_events_and_is_no_signal() -> None:
    assert hx.graph(x=hx.constant(3) + 2).over(series())["x"].to_list() == [5.0] * 9
    with pytest.raises(ArgumentError, match=r"record\('x', 3\): it depends on constants only"):
        hx.Backtest(hx.bars(bars()), hx.graph(x=hx.constant(3)).records()).run()


def test_a_deep_expression_is_evaluated_and_explained() -> None:
    deep = functools.reduce(lambda x, _: x + 1, range(5_000), A)
    assert hx.graph(x=deep).over(series())["x"].to_list() == (np.arange(9.0) + 5_000).tolist()
    assert len(hx.graph(x=deep).explain().splitlines()) == 5_001


def test_a_series_of_several_columns_is_one_event_a_row() -> None:
    both = hx.external(series())
    assert hx.graph(x=A + B).over(both)["x"].to_list() == (np.arange(9.0) + 1).tolist()
    assert hx.graph(x=A).over([both], every_event=True).height == 9
    # Also where nothing reads it.
    found = hx.graph(x=hx.close("KO")).over([hx.bars(bars()), both], every_event=True)
    assert found.height == 18


def test_signals_of_series_only_run_beside_any_market() -> None:
    run = hx.Backtest([hx.bars(bars()), hx.external(series())], hx.graph(x=A + B).records()).run()
    assert run.signals["value"].to_list() == (np.arange(9.0) + 1).tolist()


def test_rows_of_several_symbols_under_another_name_are_not_taken_for_one() -> None:
    times = [BEGIN, BEGIN, BEGIN + timedelta(minutes=1), BEGIN + timedelta(minutes=1)]
    prices = [60.0, 170.0, 61.0, 171.0]
    bars = dict.fromkeys(("open", "high", "low", "close"), prices)
    frame = pl.DataFrame({"ts": times, "ticker": ["KO", "PEP"] * 2, **bars, "volume": [1.0] * 4})
    graph = hx.graph(mean=hx.close("KO").rolling(2).mean())
    assert graph.over(frame)["mean"].to_list() == [None, 60.5]
    assert graph.over(frame.to_arrow())["mean"].to_list() == [None, 60.5]


def test_bars_of_several_instruments_without_their_names_are_refused() -> None:
    moments = [datetime(2026, 1, 5, 15, minute, tzinfo=UTC) for minute in (1, 1, 2, 2)]
    frame = pl.DataFrame({"ts": moments, **{name: [1.0, 2.0, 1.0, 2.0] for name in ("open", "high", "low", "close")}})
    frame = frame.with_columns(volume=1.0)
    with pytest.raises(DataError, match="two bars end at 2026-01-05 15:01"):
        hx.graph(x=hx.close("KO")).over(frame)
