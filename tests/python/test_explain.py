"""explain(): what every node is, what makes it fire, and that its warm-up is the core's."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.signals.explain import Explained, svg

A, B, T = hx.mid("A"), hx.mid("B"), hx.last("A")
C, D = hx.close("A"), hx.close("B")
UP = hx.flow("A") > 0
SIDE = A.hysteresis(enter=2, exit=1)
HOURS = hx.session(hours=[(datetime(2026, 1, 5, 14, 30), datetime(2026, 1, 5, 21))])
CROSS = hx.cross({"A": A, "B": B, "C": hx.mid("C")}, quorum=0.5)
ANY = hx.cross({"A": A, "B": hx.last("B")}, quorum=0)
QUOTES = "quote of A, B"


def named(explained: Explained, text: str) -> str:
    """A label with what its inputs are in place of their numbers, whose order is the graph's business."""

    def name(match: re.Match[str]) -> str:
        told = explained.nodes[int(match[1])]
        return f"<{told.expr.op if told.inputs else told.label}>"

    return re.sub(r"#(\d+)", name, text)


@pytest.mark.parametrize(
    ("expr", "label", "fires", "warm"),
    [
        (A, "mid('A')", "quote of A", ""),
        (hx.bid("A", 2), "bid_at('A', 2)", "book of A", ""),
        (T, "last('A')", "trade of A", ""),
        (C, "close('A')", "bar of A", ""),
        (hx.series("mood"), "series('mood')", "value of series('mood')", ""),
        (hx.constant(0.1234567890123), "0.1234567890123", "never", ""),
        (hx.time_of_day("UTC") > 3_600, "<read:time_of_day> > 3600", "with what looks at it", ""),
        (A.only(HOURS.is_open), "<mid('A')> / <read:is_open>", "quote of A", ""),
        (-A, "-<mid('A')>", "quote of A", ""),
        (~UP, "~<binary:gt>", "trade of A", ""),
        (A.log(), "log(<mid('A')>)", "quote of A", ""),
        (A * 0.5, "<mid('A')> * 0.5", "quote of A", ""),
        (A - T, "<mid('A')> - <last('A')>", "quote of A or trade of A", ""),
        (hx.maximum(A, B), "max(<mid('A')>, <mid('B')>)", QUOTES, ""),
        (A.fill_null(B), "<mid('A')>, or <mid('B')> where it is null", QUOTES, ""),
        (hx.where(UP, A, B), "where(<binary:gt>, <mid('A')>, <mid('B')>)", "quote of A, B or trade of A", ""),
        (A.lag(3), "<mid('A')>, 3 samples ago", "quote of A", "4 x quote of A"),
        (A.lag("5s"), "<mid('A')>, 5s ago", "quote of A", "5s"),
        (A.elapsed(), "elapsed(<mid('A')>)", "quote of A", "2 x quote of A"),
        (A.when(T), "<mid('A')> when <last('A')> fires", "trade of A", ""),
        (A.lag(3).when(SIDE), "<lag:samples> when <hysteresis> fires", "change of <hysteresis>", "4 x quote of A"),
        (A.when(T.lag(9)), "<mid('A')> when <lag:samples> fires", "trade of A", ""),
        (A.changes(), "changes(<mid('A')>)", "change of <changes>", ""),
        (-SIDE * 2, "<unary:neg> * 2", "change of <hysteresis>", ""),
        (A.rolling(20).mean(), "mean of <window:count:moments>", "quote of A", "20 x quote of A"),
        (A.rolling(20, min_samples=7).max(), "max of <window:count:greatest>", "quote of A", "7 x quote of A"),
        (A.rolling("10m").quantile(0.9), "quantile 0.9 of <window:time:order>", "quote of A", "10m"),
        (A.rolling(HOURS).sum(), "sum of <window:all:moments>", "quote of A", ""),
        (A.expanding(min_samples=5).std(), "std of <window:all:moments>", "quote of A", "5 x quote of A"),
        (A.ewm(20).mean(), "mean of <window:ewm_count:moments>", "quote of A", "60 x quote of A"),
        (A.ewm("2m").mean(), "mean of <window:ewm_time:moments>", "quote of A", "6m"),
        (
            A.rolling(5).mean().rolling("1m").std().rolling(3).mean().abs(),
            "abs(<read:mean>)",
            "quote of A",
            "1m and 7 x quote of A",
        ),
        (A.rolling(30).corr(B), "corr of <pairs:count>", QUOTES, "30 x quote of A, B"),
        (
            A.rolling(5).mean() - T.rolling(6).mean(),
            "<read:mean> - <read:mean>",
            "quote of A or trade of A",
            "5 x quote of A and 6 x trade of A",
        ),
        (hx.kalman(A, B, min_samples=10).beta, "beta of <kalman>", QUOTES, "11 x quote of A, B"),
        (
            hx.together(C, D)[0].rolling(4).mean(),
            "mean of <window:count:moments>",
            "bar of A with bar of B",
            "4 x bar of A with bar of B",
        ),
        (
            hx.resample("A", ticks=50).close.lag(9),
            "<read:close>, 9 samples ago",
            "end of a bar of <bars:ticks>",
            "10 x end of a bar of <bars:ticks>",
        ),
        (CROSS.rank()["B"], "rank of <mid('B')> in <cross>", "quorum of <cross>", ""),
        (CROSS.top(2)["C"], "<mid('C')> is among the 2 greatest of <cross>", "quorum of <cross>", ""),
        (ANY.demean()["B"], "demean of <last('B')> in <cross>", "quote of A or trade of B", ""),
        (SIDE, "hysteresis(<mid('A')>, enter=2, exit=1)", "change of <hysteresis>", ""),
        (UP.cooldown("5s"), "cooldown(<binary:gt>, 5s)", "trade of A", ""),
        (UP.debounce("250ms"), "debounce(<binary:gt>, 250ms)", "trade of A", ""),
        (UP.latch(A.lag(1) > 3), "latch(<binary:gt>, reset=<binary:gt>)", "change of <latch>", "2 x quote of A"),
        (
            hx.occurrences(UP, within="90s", heartbeat=A),
            "occurrences(<binary:gt>, within 90s, heartbeat <mid('A')>)",
            "occurrence or change of <occurrences>",
            "",
        ),
    ],
)
def test_what_a_node_is_and_when_it_acts(expr: hx.Expr, label: str, fires: str, warm: str) -> None:
    explained = Explained([expr])
    told = explained.node(expr)
    assert named(explained, told.label) == label
    assert named(explained, told.fires_text) == fires
    assert named(explained, str(told.warm_up)) == warm


@pytest.mark.parametrize(
    ("expr", "label"),
    [
        (A.rolling(1).mean(), "window of <mid('A')>: last 1 sample"),
        (A.rolling(20, min_samples=7).mean(), "window of <mid('A')>: last 20 samples, from 7 samples on"),
        (A.rolling("90s").max(), "window of <mid('A')>: last 90s"),
        (A.rolling("30d").max(), "window of <mid('A')>: last 30d"),
        (A.expanding().mean(), "window of <mid('A')>: since the beginning"),
        (A.expanding(min_samples=9).mean(), "window of <mid('A')>: since the beginning, from 9 samples on"),
        (A.ewm(20).mean(), "window of <mid('A')>: exponential, half-life 20 samples"),
        (A.ewm(2.5).mean(), "window of <mid('A')>: exponential, half-life 2.5 samples"),
        (A.ewm(20, min_samples=3).mean(), "window of <mid('A')>: exponential, half-life 20 samples, from 3 samples on"),
        (A.ewm("5m", min_samples=3).mean(), "window of <mid('A')>: exponential, half-life 5m, from 3 samples on"),
        (A.ewm("5m").mean(), "window of <mid('A')>: exponential, half-life 5m"),
        (A.rolling(HOURS).mean(), "window of <mid('A')>: since <read:session> changed"),
        (A.rolling(5).beta(B), "window of (<mid('A')>, <mid('B')>): last 5 samples"),
        (hx.resample("A", every="1m").open, "bars of <last('A')> with size <last_size('A')>, every 1m"),
        (hx.resample("A", dollars=1e6).open, "bars of <last('A')> with size <last_size('A')>, every 1000000 of money"),
        (hx.resample(A, ticks=9).open, "bars of <mid('A')> with size 1, every 9 samples"),
        (hx.kalman(A, B).beta, "kalman(<mid('A')> on <mid('B')>, drift=1e-05, noise=0.001)"),
        (CROSS.rank()["A"], "cross(<mid('A')>, <mid('B')>, <mid('C')>), when 2 of 3 fire at one moment"),
        (HOURS.is_open, "session('hours'): 1 from 2026-01-05 to 2026-01-05"),
    ],
)
def test_what_is_read_off_says_all_that_it_is_made_with(expr: hx.Expr, label: str) -> None:
    explained = Explained([expr])
    (read,) = explained.node(expr).inputs
    assert named(explained, explained.nodes[read].label) == label


def test_a_pattern_is_told_whole() -> None:
    down, stop = hx.flow("A") < 0, B > 50
    whole = (
        hx.pattern(UP).max_open(8, when_full="refuse_new").times(3).then(down, within="50ms").without(stop, UP)
        .absent(stop, for_="2s").within("1m").heartbeat(B).overlapping()
    )  # fmt: skip
    explained = Explained([whole])
    label = explained.node(whole).label
    up, below, above = (explained.node(x).name for x in (UP, down, stop))
    assert label == (
        f"pattern({up}).times(3).then({below}, within=50ms).without({above}, {up}).absent({above}, for_=2s)"
        f".within(1m).overlapping().max_open(8, when_full='refuse_new').heartbeat({explained.node(B).name})"
    )
    assert explained.node(whole).fires_text == f"match of {explained.node(whole).name}"


def test_a_pattern_looked_at_later_is_a_pattern_no_more() -> None:
    """Else `then` would go on from the pattern and forget about the moment."""
    late = hx.pattern(UP).when(A)
    assert type(late) is hx.Expr
    assert (late.op, late.unit, late.instrument) == ("when", hx.pattern(UP).unit, "A")


def bars(n: int) -> pl.DataFrame:
    rng = np.random.default_rng(2)
    start = datetime(2026, 1, 5, 14, 30)
    price = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    ts = [start + timedelta(seconds=i) for i in range(n)]
    return pl.DataFrame({"ts": ts, "symbol": ["A"] * n, **dict.fromkeys(("open", "high", "low", "close"), price)})


@pytest.mark.parametrize(
    "expr",
    [
        C.lag(3),
        C.pct_change(2).rolling(4).std(),
        C.rolling(20, min_samples=7).mean(),
        C.rolling(5).mean().rolling(10).mean().lag(2),
        C.expanding(min_samples=6).var(),
        C.ewm(4).mean(),
        C.ewm(span=9, min_samples=3).mean(),
        C.rolling(5).corr(C.lag(2)),
        hx.kalman(C, C.lag(1), min_samples=10).beta,
        C.elapsed().rolling(3).sum(),
        hx.rsi(C, 14),
        hx.macd(C).signal,
        hx.resample(C, ticks=1).close.rolling(8).mean(),
        C.lag(7).when(C),
        C.lag("5s"),
        C.rolling("10s").mean(),
        C.log().diff("5s").rolling("4s").mean(),
        C.ewm("2s").mean(),
    ],
    ids=str,
)
def test_the_warm_up_is_that_of_the_core(expr: hx.Expr) -> None:
    """One bar a second: the first value comes with the bar that the warm-up says."""
    warm = Explained([expr]).node(expr).warm_up
    values = hx.graph(x=expr).over(bars(120).with_columns(volume=pl.lit(1)))["x"]
    first = values.is_not_null().arg_max()
    samples = max(warm.samples.values(), default=1)
    assert first == samples - 1 + warm.ns // 1_000_000_000
    assert first > 0


def test_one_line_a_node_and_constants_where_they_are_used() -> None:
    z = (A.log() - 0.5 * B.log()).zscore("10m")
    text = hx.graph(z=z, side=z.hysteresis(enter=2, exit=0.5)).explain()
    lines = text.splitlines()
    assert len(lines) == 9
    assert sum(" 0.5 * #" in line for line in lines) == 1
    assert re.search(r"^#\d+ +zscore of #\d+ +quote of A, B +warm-up 10m +-> z$", text, re.M)
    assert re.search(r"^(#\d+) +hysteresis\(#\d+, enter=2, exit=0.5\) +change of \1 +warm-up 10m +-> side$", text, re.M)
    assert re.search(r"^#\d+ +mid\('A'\) +price +quote of A$", text, re.M)
    assert hx.constant(3).explain() == "#0  3  never"
    picture = svg({"z": z})
    assert picture.count("<rect") == 9
    assert "zscore of #" in picture


def test_many_alike_are_named_in_part() -> None:
    members = [f"S{i}" for i in range(30)]
    one = hx.cross(members, lambda s: hx.mid(s).lag(2), quorum=0).rank()["S7"]
    told = Explained([one]).node(one)
    assert told.fires_text.startswith("quote of S0, S1, S10, S11, … ")
    assert told.fires_text.endswith(" (30 in all)")
    assert len(told.fires) == 30
    assert re.fullmatch(r"3 x quote of each of S\d+, .*, … S\d+ \(30 in all\)", str(told.warm_up))
    pair = Explained([hx.mid("A").lag(1) + hx.mid("B").lag(1) + hx.last("A").lag(4)]).nodes[-1]
    assert sorted(str(pair.warm_up).split(" and ")) == ["2 x quote of each of A, B", "5 x trade of A"]
