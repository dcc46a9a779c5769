"""Expressions: how they are written, what is refused, and that the core's values are those of Polars and NumPy."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.duration import nanoseconds
from helios.errors import ArgumentError
from helios.signals import compile_graph
from hypothesis import given
from hypothesis import strategies as st

SECOND = 1_000_000_000
START = 1_767_623_400 * SECOND  # 2026-01-05 14:30 UTC
ROWS = 1_500


# ---- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (hx.mid("KO") + 1, "(mid('KO') + 1)"),
        (1 + hx.mid("KO"), "(1 + mid('KO'))"),
        (2 - hx.bid("KO") * 3, "(2 - (bid('KO') * 3))"),
        (hx.ask("KO") / hx.last("PEP"), "(ask('KO') / last('PEP'))"),
        (1 / -hx.close("KO"), "(1 / (-close('KO')))"),
        (abs(hx.volume("KO")), "volume('KO').abs()"),
        (hx.mid("KO").log().exp().sqrt(), "mid('KO').log().exp().sqrt()"),
        (hx.mid("KO").rolling(100).mean(), "mid('KO').rolling(100).mean()"),
        (hx.mid("KO").rolling("10m").std(), "mid('KO').rolling('10m').std()"),
        (hx.mid("KO").ewm(20).var(), "mid('KO').ewm(20).var()"),
        (hx.mid("KO").ewm(span=9, min_samples=4).var(), "mid('KO').ewm(span=9, min_samples=4).var()"),
        (hx.mid("KO").ewm("5m", min_samples=4).var(), "mid('KO').ewm('5m', min_samples=4).var()"),
        (hx.mid("KO").expanding(min_samples=4).var(), "mid('KO').expanding(min_samples=4).var()"),
        (hx.mid("KO").zscore("10m").hysteresis(enter=2, exit=0.5), "mid('KO').rolling('10m').zscore().hysteresis("),
        (hx.open_("KO") - hx.high("KO") + hx.low("KO"), "((open('KO') - high('KO')) + low('KO'))"),
    ],
)
def test_an_expression_shows_how_it_was_written(expr: hx.Expr, text: str) -> None:
    assert repr(expr).startswith(text)


def test_numbers_of_numpy_are_numbers() -> None:
    beta = np.float64(0.9)
    for expr in (beta * hx.mid("KO"), hx.mid("KO") * beta):
        assert isinstance(expr, hx.Expr)
        assert 0.9 in [x.floats[0] for x in expr.inputs if x.op == "constant"]


def test_a_deep_expression_stays_small() -> None:
    x = hx.mid("KO")
    for _ in range(200):
        x = x + x
    assert len(repr(x)) <= 200
    graph = compile_graph([hx.record("x", x)], {"KO": 0})
    assert len(graph.nodes) == 202  # the source, 200 sums, the record


def test_expressions_that_compute_the_same_are_one_node() -> None:
    def spread() -> hx.Expr:
        return hx.mid("KO").log() - 0.9 * hx.mid("PEP").log()

    z = spread().zscore("10m")
    graph = compile_graph(
        [hx.record("z", z), hx.record("m", spread().rolling("10m").mean()), hx.record("again", spread().zscore("10m"))],
        {"KO": 0, "PEP": 1},
    )
    names = [node[0] for node in graph.nodes]
    assert names.count("source:mid") == 2
    assert names.count("unary:log") == 2
    assert names.count("window:time:moments") == 1
    assert names.count("read:zscore") == 1
    assert names.count("record") == 3
    assert graph.signals == ["z", "m", "again"]


def test_different_parameters_are_different_nodes() -> None:
    mid = hx.mid("KO")
    outputs = [
        hx.record(f"r{i}", expr)
        for i, expr in enumerate(
            (mid.rolling(10).mean(), mid.rolling(11).mean(), mid.ewm(10).mean(), mid.ewm("10s").mean())
        )
    ]
    names = [node[0] for node in compile_graph(outputs, {"KO": 0}).nodes]
    assert [name for name in names if name.startswith("window")] == [
        "window:count:moments",
        "window:count:moments",
        "window:ewm_count:moments",
        "window:ewm_time:moments",
    ]


def test_inputs_come_before_the_nodes_that_use_them() -> None:
    pairs = [hx.pair(f"A{i}", f"B{i}", window="5m") for i in range(5)]
    ids = {f"{side}{i}": 2 * i + (side == "B") for i in range(5) for side in "AB"}
    graph = compile_graph([output for pair in pairs for output in pair], ids)
    for at, (_, inputs, _, _) in enumerate(graph.nodes):
        assert all(x < at for x in inputs)
    assert graph.strategies == [f"A{i}/B{i}" for i in range(5)]


def test_units_are_worked_out() -> None:
    price, size = hx.mid("KO"), hx.bid_size("KO")
    for expr, unit in (
        (price * size, "price shares"),
        (price / price.lag(1) - 1, "no unit"),
        (price.rolling(9).var().sqrt() / price, "no unit"),
        (price / price.elapsed(), "price seconds^-1"),
        (price.log() * size, "shares"),
        (price + 1, "price"),
        (price > hx.last("PEP"), "no unit"),
        (price.rolling(9).beta(size), "price shares^-1"),
    ):
        assert str(expr.unit) == unit, expr
    assert (price.unitless() + size).unit == size.unit
    assert hx.target("KO", price.unitless(), quantity=1).value.unit is None


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: hx.mid(""), "a symbol is a text"),
        (lambda: hx.mid(" KO"), "without spaces"),
        (lambda: hx.mid(7), "a symbol is a text"),  # type: ignore[arg-type]
        (lambda: hx.mid("KO").rolling(0), "it must be 1 to"),
        (lambda: hx.mid("KO").rolling(2**21), "it must be 1 to"),
        (lambda: hx.mid("KO").rolling(2.5), "number of samples"),  # type: ignore[arg-type]
        (lambda: hx.mid("KO").rolling(True), "number of samples"),
        (lambda: hx.mid("KO").rolling("10 minutes"), "write a number and one of ns, us, ms, s, m, h, d"),
        (lambda: hx.mid("KO").rolling("0s"), "longer than zero"),
        (lambda: hx.mid("KO").rolling(timedelta(0)), "longer than zero"),
        (lambda: hx.mid("KO").ewm(0), "positive number of samples"),
        (lambda: hx.mid("KO").ewm(-3.0), "positive number of samples"),
        (lambda: hx.mid("KO").ewm(math.nan), "positive number of samples"),
        (lambda: hx.mid("KO").ewm("ten"), "write a number and one of"),
        (lambda: hx.mid("KO").zscore(), "either a window or a halflife"),
        (lambda: hx.mid("KO").zscore("1m", halflife=3), "either a window or a halflife"),
        (lambda: hx.mid("KO").hysteresis(enter=1, exit=1), "enter > exit >= 0 is needed"),
        (lambda: hx.mid("KO").hysteresis(enter=1, exit=-1), "enter > exit >= 0 is needed"),
        (lambda: hx.mid("KO").hysteresis(enter=math.inf, exit=0), "enter > exit >= 0 is needed"),
        (lambda: hx.mid("KO") + math.nan, "not a finite number"),
        (lambda: hx.mid("KO") * math.inf, "not a finite number"),
        (lambda: hx.mid("KO") + True, "not a finite number"),
        (lambda: bool(hx.mid("KO")), "no truth value"),
        (lambda: hx.constant("1"), "not a finite number"),  # type: ignore[arg-type]
        (lambda: hx.mid("KO") + hx.bid_size("KO"), "mixes units: mid('KO') is in price, bid_size('KO') in shares"),
        (lambda: hx.mid("KO") > hx.mid("KO").elapsed(), "in price, mid('KO').elapsed() in seconds"),
        (lambda: hx.mid("KO") + hx.mid("KO").sign(), "in price, mid('KO').sign() in no unit"),
        (lambda: hx.mid("KO") * hx.last_size("PEP"), "mixes instruments: a price of KO and shares of PEP"),
        (lambda: hx.mid("KO").exp(), "a plain number has an exponential, price has none"),
        (lambda: hx.target("KO", hx.mid("KO"), quantity=1), "mid('KO') is in price, but must be a plain number"),
        (lambda: hx.target("KO", hx.mid("KO").rolling(9).var(), quantity=1), "is in price^2, but must be"),
        (lambda: hx.target("KO", hx.mid("KO")), "give either quantity (shares) or notional (money)"),
        (lambda: hx.target("KO", hx.mid("KO"), quantity=1, notional=1), "give either quantity"),
        (lambda: hx.target("KO", hx.mid("KO"), quantity=0), "must be positive"),
        (lambda: hx.target("KO", hx.mid("KO"), notional=math.nan), "must be positive"),
        (lambda: hx.target("KO", 1, quantity=1), "must be an expression"),  # type: ignore[arg-type]
        (lambda: hx.target("", hx.mid("KO"), quantity=1), "a symbol is a text"),
        (lambda: hx.record("", hx.mid("KO")), "under a name"),
        (lambda: hx.record("x", 3), "is no expression"),  # type: ignore[arg-type]
        (lambda: hx.record("x", hx.mid("KO"), hx.mid("KO").rolling(9)), "is no expression"),  # type: ignore[arg-type]
        (lambda: hx.pair("KO", "KO", window="1m"), "two instruments"),
        (lambda: hx.pair("KO", "PEP"), "either a window or a halflife"),
        (lambda: hx.pair("KO", "PEP", window="1m", beta=0), "not zero"),
        (lambda: hx.pair("KO", "PEP", window="1m", beta=math.inf), "finite"),
        (lambda: hx.pair("KO", "PEP", window="1m", price="vwap"), "'mid', 'last' or 'close'"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_says_why(wrong: object, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        wrong()  # type: ignore[operator]
    assert says in str(caught.value)


@pytest.mark.parametrize("other", ["1", None, [1.0]])
def test_mixing_with_what_is_no_number_is_a_type_error(other: object) -> None:
    for mix in (lambda: hx.mid("KO") + other, lambda: other * hx.mid("KO"), lambda: hx.mid("KO") / other):
        with pytest.raises(TypeError):
            mix()


def test_an_unknown_symbol_names_the_near_one() -> None:
    with pytest.raises(ArgumentError, match=r"no data for 'GOGL' in this run; near ones: .*GOOGL"):
        compile_graph([hx.record("x", hx.mid("GOGL"))], {"GOOGL": 0, "KO": 1})


def test_two_targets_of_one_strategy_for_one_symbol_are_refused() -> None:
    side = hx.mid("KO").hysteresis(enter=2, exit=1)
    with pytest.raises(ArgumentError, match="two targets for 'KO'"):
        compile_graph([hx.target("KO", side, quantity=1), hx.target("KO", -side, quantity=2)], {"KO": 0})
    both = [hx.target("KO", side, quantity=1), hx.target("KO", -side, quantity=2, strategy="other")]
    assert compile_graph(both, {"KO": 0}).strategies == ["main", "other"]


def test_two_records_of_one_name_are_refused() -> None:
    with pytest.raises(ArgumentError, match="two records are named 'x'"):
        compile_graph([hx.record("x", hx.mid("KO")), hx.record("x", hx.bid("KO"))], {"KO": 0})


def test_a_target_too_large_for_the_core_is_refused() -> None:
    with pytest.raises(ArgumentError, match="too large"):
        compile_graph([hx.target("KO", hx.mid("KO").sign(), notional=1e13)], {"KO": 0})


# ---- lengths of time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1ns", 1),
        ("250us", 250_000),
        ("1.5ms", 1_500_000),
        ("10m", 600 * SECOND),
        (" 2 h ", 7_200 * SECOND),
        ("1d", 86_400 * SECOND),
        (timedelta(microseconds=7), 7_000),
        (timedelta(days=1, seconds=1), 86_401 * SECOND),
    ],
)
def test_lengths_of_time(text: str | timedelta, ns: int) -> None:
    assert nanoseconds(text) == ns


@pytest.mark.parametrize(
    "text", ["", "10", "m", "-1s", "1 s s", "1w", "1e3s", "1M", "0m", "300d5", "200000d", 10, None, b"1s"]
)
def test_what_is_no_length_of_time(text: object) -> None:
    with pytest.raises(ArgumentError):
        nanoseconds(text)  # type: ignore[arg-type]


@given(st.integers(1, 10**9), st.sampled_from(["ns", "us", "ms", "s"]))
def test_whole_numbers_are_exact(number: int, unit: str) -> None:
    assert nanoseconds(f"{number}{unit}") == number * {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}[unit]


# ---- values ----------------------------------------------------------------------------------------------------------


@cache
def quotes() -> pl.DataFrame:
    """Two symbols that walk, at uneven times, both sides of the quote; prices have six decimals."""
    rng = np.random.default_rng(11)
    ts = START + np.cumsum(rng.integers(1, 400_000_000, ROWS))
    symbol = np.where(rng.random(ROWS) < 0.5, "KO", "PEP")
    mid = np.empty(ROWS)
    for name, price in (("KO", 60.0), ("PEP", 150.0)):
        rows = symbol == name
        mid[rows] = np.round(price * np.exp(np.cumsum(rng.normal(0, 2e-4, rows.sum()))), 6)
    half = np.round(rng.integers(1, 9, ROWS) * 0.0005, 6)
    return pl.DataFrame(
        {
            "ts": pl.Series(ts).cast(pl.Datetime("ns")),
            "symbol": symbol,
            "bid": np.round(mid - half, 6),
            "ask": np.round(mid + half, 6),
            "bid_size": rng.integers(1, 900, ROWS),
            "ask_size": rng.integers(1, 900, ROWS),
        }
    )


def signals(**exprs: hx.Expr) -> dict[str, pl.DataFrame]:
    """Each expression's values as the core computes them: ts (ns) and value."""
    run = hx.Backtest(data=hx.quotes(quotes()), strategy=[hx.record(name, expr) for name, expr in exprs.items()])
    table = run.run().signals.with_columns(pl.col("ts").to_physical())
    return {name: table.filter(pl.col("signal") == name).select("ts", "value") for name in exprs}


def of(symbol: str) -> pl.DataFrame:
    """ts, bid, ask, mid of one symbol, ts in ns."""
    return (
        quotes()
        .filter(pl.col("symbol") == symbol)
        .with_columns(pl.col("ts").to_physical(), mid=(pl.col("bid") + pl.col("ask")) * 0.5)
    )


def agree(found: pl.DataFrame, ts: pl.Series, expected: pl.Series) -> None:
    """The same moments and the same values; nulls of `expected` are not reported by the core."""
    known = expected.is_not_null() & expected.is_not_nan()
    assert known.sum() > 100, "the test compares something"
    assert found["ts"].to_list() == ts.filter(known).to_list()
    np.testing.assert_allclose(found["value"].to_numpy(), expected.filter(known).to_numpy(), rtol=1e-9, atol=1e-12)


def spread() -> pl.DataFrame:
    """log(KO) - 0.9 log(PEP) at every quote of either, from the first moment at which both are known."""
    q = quotes().with_columns(pl.col("ts").to_physical(), mid=(pl.col("bid") + pl.col("ask")) * 0.5)
    for name in ("KO", "PEP"):
        q = q.with_columns(pl.when(pl.col("symbol") == name).then(pl.col("mid")).forward_fill().alias(name))
    return q.select("ts", x=pl.col("KO").log() - 0.9 * pl.col("PEP").log()).drop_nulls()


X = hx.mid("KO").log() - 0.9 * hx.mid("PEP").log()


def test_sources_and_functions() -> None:
    ko = hx.mid("KO")
    found = signals(
        mid=ko,
        bid=hx.bid("KO"),
        size=hx.ask_size("KO"),
        log=ko.log(),
        exp=(ko.unitless() / 100).exp(),
        sqrt=ko.sqrt(),
        neg=-ko,
        abs=abs(-ko),
        mixed=2 - 3 * (ko + 1) / 4,
    )
    q = of("KO")
    mid = q["mid"]
    agree(found["mid"], q["ts"], mid)
    agree(found["bid"], q["ts"], q["bid"])
    agree(found["size"], q["ts"], q["ask_size"].cast(pl.Float64))
    agree(found["log"], q["ts"], mid.log())
    agree(found["exp"], q["ts"], (mid / 100).exp())
    agree(found["sqrt"], q["ts"], mid.sqrt())
    agree(found["neg"], q["ts"], -mid)
    agree(found["abs"], q["ts"], mid)
    agree(found["mixed"], q["ts"], 2 - 3 * (mid + 1) / 4)


def test_two_instruments_fire_together() -> None:
    reference = spread()
    agree(signals(x=X)["x"], reference["ts"], reference["x"])


def test_what_is_out_of_its_domain_is_null() -> None:
    ko = hx.mid("KO")
    found = signals(
        log=(ko - 1_000).log(), sqrt=(ko - 1_000).sqrt(), div=1 / (ko - ko), exp=(ko.unitless() * 1_000).exp(), mid=ko
    )
    assert {name: frame.height for name, frame in found.items()} == {
        "log": 0,
        "sqrt": 0,
        "div": 0,
        "exp": 0,
        "mid": of("KO").height,
    }


@pytest.mark.parametrize("halflife", [3, 20.5])
def test_exponential_weights_by_count(halflife: float) -> None:
    window = X.ewm(halflife)
    found = signals(mean=window.mean(), var=window.var(), std=window.std(), z=X.zscore(halflife=halflife))
    reference = spread()
    x = reference["x"]
    warm = pl.Series(np.arange(1, x.len() + 1) >= 3 * halflife)
    mean = x.ewm_mean(half_life=halflife, adjust=False)
    var = x.ewm_var(half_life=halflife, adjust=False, bias=True)
    for name, expected in {"mean": mean, "var": var, "std": var.sqrt(), "z": (x - mean) / var.sqrt()}.items():
        agree(found[name], reference["ts"], expected.zip_with(warm, pl.Series([None], dtype=pl.Float64)))


def test_exponential_weights_by_time() -> None:
    found = signals(mean=X.ewm("20s").mean())
    reference = spread()
    at = reference["ts"].cast(pl.Datetime("ns"))
    mean = reference.select(pl.col("x").ewm_mean_by(at, half_life="20s"))["x"]
    warm = reference["ts"] - reference["ts"][0] >= 60 * SECOND
    agree(found["mean"], reference["ts"], mean.zip_with(warm, pl.Series([None], dtype=pl.Float64)))


@pytest.mark.parametrize("window", [2, 37, 300])
def test_rolling_by_count(window: int) -> None:
    rolling = X.rolling(window)
    found = signals(mean=rolling.mean(), var=rolling.var(), z=rolling.zscore())
    reference = spread()
    x = reference["x"].to_numpy()
    windows = np.lib.stride_tricks.sliding_window_view(x, window)
    pad = np.full(window - 1, np.nan)
    mean = np.concatenate([pad, windows.mean(axis=1)])
    var = np.concatenate([pad, windows.var(axis=1, ddof=1)])
    agree(found["mean"], reference["ts"], pl.Series(mean))
    agree(found["var"], reference["ts"], pl.Series(var))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(var > 0, (x - mean) / np.sqrt(var), np.nan)
    if window > 2:
        agree(found["z"], reference["ts"], pl.Series(z))


def test_rolling_by_time() -> None:
    rolling = X.rolling("30s")
    found = signals(mean=rolling.mean(), std=rolling.std())
    reference = spread()
    ts, x = reference["ts"].to_numpy(), reference["x"].to_numpy()
    mean, std = np.full(x.size, np.nan), np.full(x.size, np.nan)
    for i in range(x.size):
        inside = x[: i + 1][ts[: i + 1] > ts[i] - 30 * SECOND]
        if ts[i] - ts[0] >= 30 * SECOND:
            mean[i] = inside.mean()
            std[i] = inside.std(ddof=1) if inside.size > 1 else np.nan
    agree(found["mean"], reference["ts"], pl.Series(mean))
    agree(found["std"], reference["ts"], pl.Series(std))


def test_hysteresis_fires_only_when_it_changes() -> None:
    z = X.zscore("30s")
    found = signals(z=z, side=z.hysteresis(enter=1.0, exit=0.25))
    expected, before = [], None
    for ts, x in found["z"].iter_rows():
        held = (before == 1.0 and x > 0.25) or (before == -1.0 and x < -0.25)
        after = 1.0 if x >= 1.0 else -1.0 if x <= -1.0 else before if held else 0.0
        if after != before:
            expected.append((ts, after))
            before = after
    assert found["side"].rows() == expected
    assert {value for _, value in expected} == {-1.0, 0.0, 1.0}
    assert all(a[1] != b[1] for a, b in pairwise(expected))


def test_a_record_keeps_what_the_signal_came_from() -> None:
    z = X.zscore("30s")
    side = z.hysteresis(enter=1.0, exit=0.25)
    run = hx.Backtest(data=hx.quotes(quotes()), strategy=[hx.record("side", side, z), hx.record("z", z)]).run()
    table = run.signals
    z_at = dict(table.filter(pl.col("signal") == "z").select("ts", "value").iter_rows())
    for ts, value, source in table.filter(pl.col("signal") == "side").select("ts", "value", "input").iter_rows():
        assert isinstance(ts, datetime)
        assert source == z_at[ts]
        assert abs(source) >= 1.0 if value else abs(source) < 1.0
