"""One evaluator, three doors: random graphs over random data are equal by columns, by ticks and in a backtest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import helios as hx
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from helios.signals import Expr
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

SECOND = 1_000_000_000
#: Monday 2026-03-02 14:29:00 UTC, in ns: a minute before New York opens.
START = 1_772_461_740 * SECOND
#: Rows that the column driver takes at a time (edge/io/src/over.rs); longer streams go over its edge.
CHUNK = 2_048

Dice = tuple[int, int, int, int, int]
Data = Any


# ---- data ------------------------------------------------------------------------------------------------------------


def stamps(rng: np.random.Generator, rows: int) -> pl.Series:
    """Times with equal ones, small steps, and gaps."""
    steps = rng.choice([0, 1, 10_000_000, SECOND, 2 * SECOND, 40 * SECOND], rows, p=[0.2, 0.05, 0.15, 0.3, 0.25, 0.05])
    return pl.Series("ts", START + np.cumsum(steps)).cast(pl.Datetime("ns", "UTC"))


def quotes(rng: np.random.Generator, rows: int, symbols: Sequence[str]) -> pl.DataFrame:
    """Best prices on a coarse grid, so that values repeat; now and then a side is empty."""
    bid = np.round(60 + np.cumsum(rng.integers(-1, 2, rows)) * 0.01, 2)
    frame = pl.DataFrame(
        {
            "ts": stamps(rng, rows),
            "symbol": rng.choice(symbols, rows),
            "bid": bid,
            "ask": np.round(bid + rng.integers(1, 4, rows) * 0.01, 2),
            "bid_size": rng.integers(1, 5, rows) * 100.0,
            "ask_size": rng.integers(1, 5, rows) * 100.0,
        }
    )
    empty = pl.Series(rng.random(rows) < 0.1)
    return frame.with_columns(
        bid=pl.when(empty).then(None).otherwise("bid"), bid_size=pl.when(empty).then(0.0).otherwise("bid_size")
    )


def trades(rng: np.random.Generator, rows: int, symbols: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ts": stamps(rng, rows),
            "symbol": rng.choice(symbols, rows),
            "price": np.round(60 + np.cumsum(rng.integers(-1, 2, rows)) * 0.01, 2),
            "size": rng.integers(1, 9, rows) * 10.0,
            "aggressor": rng.choice(["buy", "sell", ""], rows),
        }
    )


def bars(rng: np.random.Generator, rows: int, symbols: Sequence[str]) -> pl.DataFrame:
    close = np.round(60 + np.cumsum(rng.integers(-1, 2, rows)) * 0.01, 2)
    return pl.DataFrame(
        {
            "ts": stamps(rng, rows),
            "symbol": rng.choice(symbols, rows),
            "open": close,
            "high": np.round(close + rng.integers(0, 3, rows) * 0.01, 2),
            "low": np.round(close - rng.integers(0, 3, rows) * 0.01, 2),
            "close": close,
            "volume": rng.integers(0, 9, rows) * 100.0,
        }
    )


def series(rng: np.random.Generator, rows: int, names: Sequence[str] = ("p", "q")) -> pl.DataFrame:
    """Numbers of several sizes, repeated ones, zeros, and nulls."""
    frame = pl.DataFrame({"ts": stamps(rng, rows)})
    for name in names:
        values = np.where(rng.random(rows) < 0.3, rng.integers(-2, 3, rows), rng.normal(0, 3, rows))
        column = pl.Series(name, values * rng.choice([1.0, 1.0, 1e3], rows))
        frame = frame.with_columns(column.set(pl.Series(rng.random(rows) < 0.15), None))
    return frame


@dataclass(frozen=True)
class Market:
    """Data in the form that `over` takes, the sources behind it, and the expressions that read it."""

    frame: pl.DataFrame | None
    sources: list[Any]
    read: list[Expr]


def top(symbol: str) -> list[Expr]:
    return [hx.mid(symbol), hx.bid(symbol), hx.ask_size(symbol), hx.imbalance(symbol), hx.microprice(symbol)]


def prints(symbol: str) -> list[Expr]:
    return [hx.last(symbol), hx.last_size(symbol), hx.flow(symbol)]


def of_bars(symbol: str) -> list[Expr]:
    return [hx.close(symbol), hx.high(symbol), hx.low(symbol), hx.volume(symbol)]


SHAPES = ("series", "quotes", "trades", "bars", "quotes*", "bars*", "both", "both*", "all")


def market(shape: str, seed: int, rows: int) -> Market:
    """A star is for several instruments, which the columns' driver leaves to the other one."""
    rng = np.random.default_rng(seed)
    names = ["A", "B", "C"] if "*" in shape or shape == "all" else ["A"]
    if shape == "series":
        frame = series(rng, rows)
        return Market(frame, [hx.external(frame)], [hx.series("p"), hx.series("q")])
    made: list[tuple[pl.DataFrame, Any, list[Expr]]] = []
    if shape.startswith(("quotes", "both")) or shape == "all":
        frame = quotes(rng, rows, names)
        made.append((frame, hx.quotes(frame), [x for name in names for x in top(name)]))
    if shape == "trades" or shape.startswith("both") or shape == "all":
        frame = trades(rng, rows, names)
        made.append((frame, hx.trades(frame), [x for name in names for x in prints(name)]))
    if shape.startswith("bars"):
        frame = bars(rng, rows, names)
        made.append((frame, hx.bars(frame, span="1m"), [x for name in names for x in of_bars(name)]))
    if shape == "all":
        frame = series(rng, rows // 2)
        made.append((frame, hx.external(frame), [hx.series("p"), hx.series("q")]))
    # A symbol that was never drawn has no source.
    known = {symbol for _, source, _ in made for symbol in source.symbols}
    read = [x for _, source, reads in made for x in reads if x.symbol is None or x.symbol in source.symbols]
    assert known
    return Market(made[0][0] if len(made) == 1 else None, [source for _, source, _ in made], read)


# ---- graphs ----------------------------------------------------------------------------------------------------------

COUNTS = (1, 2, 3, 7, 20)
SPANS = ("1s", "3s", "20s", "2m", "10ms")


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(START / SECOND, UTC) + timedelta(seconds=seconds)


HOURS = hx.session(hours=[(moment(5), moment(40)), (moment(40), moment(60)), (moment(90), moment(200))])


def windows(x: Expr, n: int) -> Any:
    """A plain window of every kind, with and without a number of samples."""
    count, span = COUNTS[n % 5], SPANS[n // 5 % 5]
    least = None if n % 3 == 0 else 1 + n % 4
    kind = n % 4
    if kind == 0:
        return x.rolling(count, min_samples=None if least is None else min(least, count))
    if kind == 1:
        return x.rolling(span, min_samples=least)
    if kind == 2:
        return x.expanding(min_samples=least or 1)
    return x.rolling(HOURS, min_samples=least)


def weighted(x: Expr, n: int) -> Any:
    given: list[dict[str, Any]] = [
        {"halflife": 1.5},
        {"halflife": SPANS[n // 5 % 5]},
        {"span": 5},
        {"alpha": 0.3},
        {"halflife": "3s", "min_samples": 2},
        {"halflife": 4, "min_samples": 1},
    ]
    return x.ewm(**given[n % 6])


def condition(x: Expr, n: int) -> Expr:
    return (x > (-0.5, 0, 0.5, 60)[n % 4], x.sign() >= 0, x != 0, ~(x < 60))[n // 4 % 4]


def pairs(x: Expr, y: Expr, n: int) -> Any:
    return x.rolling(1 + COUNTS[n % 5]) if n % 2 else x.rolling(SPANS[n // 2 % 5], min_samples=2 + n % 3)


def patterns(x: Expr, y: Expr, z: Expr, n: int) -> Expr:
    a, b, c = condition(x, n), condition(y, n + 1) & (y != 1), condition(z, n + 2)
    made = hx.pattern(a)
    if n % 2:
        made = made.then(b, within=SPANS[n % 5]).without(c)
    elif n % 3:
        made = made.then(b).times(2)
    else:
        made = made.then(b).absent(c, for_=SPANS[n % 5])
    if n % 7 == 0:
        made = made.heartbeat(z)
    if n % 5 == 0:
        made = made.overlapping()
    return made.within("2m") if n % 11 == 0 else made


def bars_of(x: Expr, n: int) -> Any:
    how: list[dict[str, Any]] = [
        {"every": SPANS[n // 5 % 5]},
        {"ticks": COUNTS[n % 5]},
        {"volume": 2.5},
        {"dollars": 150},
    ]
    return hx.resample(x, **how[n % 4])


def pick(options: Sequence[Expr], n: int) -> Expr:
    return options[n % len(options)]


def crossed(x: Expr, y: Expr, z: Expr, n: int) -> Expr:
    side = hx.cross({"x": x, "y": y, "z": z}, quorum=(0, 0.3, 0.6, 1.0)[n % 4])
    return pick([side.rank()["x"], side.zscore()["y"], side.demean()["z"], side.top(1)["x"], side.top(2)["z"]], n // 4)


def timed(x: Expr, y: Expr, n: int) -> Expr:
    clock = hx.time_of_day("America/New_York").unitless()
    return pick(
        [
            x.only(HOURS.is_open), x + HOURS.since_open.unitless(), HOURS.to_close.when(x), x * clock,
            hx.weekday("Asia/Tokyo").when(y),
            hx.where(HOURS.is_open, x, y), HOURS.number.fill_null(x), (clock > 52_210) & (x > 0),
            x - HOURS.number.when(y).lag(1),
            hx.where(clock > 52_210, x, y).rolling(3).mean(),
        ],
        n,
    )  # fmt: skip


OPERATORS: list[Callable[[Expr, Expr, Expr, int], Expr]] = [
    lambda x, y, z, n: pick([x + y, x - y, x * y, x / y, x + 1, 2 - x, -x, 1 / x], n),
    lambda x, y, z, n: pick([x.log(), (x / 40).exp(), x.sqrt(), x.abs(), x.sign(), ~x, x.is_null()], n),
    lambda x, y, z, n: pick([x > y, x >= y, x < y, x <= y, x == y, x != y, x & y, x | y], n),
    lambda x, y, z, n: pick([hx.minimum(x, y), hx.maximum(x, y), x.clip(y, z), x.clip(-1, 2), x.clip(low=y)], n),
    lambda x, y, z, n: pick([hx.where(x, y, z), hx.where(x > 0, 1, y), x.fill_null(y), x.fill_null(0), x.only(y)], n),
    lambda x, y, z, n: pick([x.lag(COUNTS[n % 5]), x.lag(SPANS[n % 5])], n // 5),
    lambda x, y, z, n: pick([x.diff(), x.diff(SPANS[n % 5]), x.pct_change(2), x.pct_change("3s"), x.elapsed()], n // 5),
    lambda x, y, z, n: pick([x.when(y), x.changes(), y.changes().when(z), x.when(y > 0)], n),
    lambda x, y, z, n: pick([windows(x, n).mean(), windows(x, n).var(), windows(x, n).sum()], n // 25),
    lambda x, y, z, n: pick([windows(x, n).std(), windows(x, n).zscore(), windows(x, n).skew()], n // 25),
    lambda x, y, z, n: pick([windows(x, n).min(), windows(x, n).max(), windows(x, n).median()], n // 25),
    lambda x, y, z, n: pick([windows(x, n).quantile(0.25), windows(x, n).quantile(1), windows(x, n).min()], n // 25),
    lambda x, y, z, n: pick([weighted(x, n).mean(), weighted(x, n).std(), weighted(x, n).zscore()], n // 25),
    lambda x, y, z, n: pick([weighted(x, n).cov(y), weighted(x, n).corr(y), weighted(x, n).residual(y)], n // 25),
    lambda x, y, z, n: pick([pairs(x, y, n).cov(y), pairs(x, y, n).corr(y), pairs(x, y, n).beta(y)], n // 25),
    lambda x, y, z, n: pick([pairs(x, y, n).alpha(y), pairs(x, y, n).residual(y), x.rolling(9).half_life()], n // 25),
    lambda x, y, z, n: pick([x.hysteresis(enter=1, exit=0), (x - y).zscore(3).hysteresis(enter=0.9, exit=0.2)], n),
    lambda x, y, z, n: pick([condition(x, n).cooldown(SPANS[n % 5]), condition(x, n).debounce(SPANS[n % 5])], n // 5),
    lambda x, y, z, n: condition(x, n).latch(condition(y, n // 16)),
    patterns,
    lambda x, y, z, n: hx.occurrences(condition(x, n), within=SPANS[n % 5], heartbeat=y if n % 2 else None),
    crossed,
    lambda x, y, z, n: timed(x, y, n),
    lambda x, y, z, n: pick([hx.kalman(x, y, min_samples=n % 4).beta, hx.kalman(x, y, min_samples=2).zscore], n),
    lambda x, y, z, n: pick([bars_of(x, n).open, bars_of(x, n).high, bars_of(x, n).low, bars_of(x, n).close], n // 25),
    lambda x, y, z, n: pick([bars_of(x, n).volume, bars_of(x, n).vwap, bars_of(x, n).count], n // 25),
    lambda x, y, z, n: pick([hx.rsi(x, 3), hx.macd(x, 2, 5, 3).histogram, hx.twap(x, 5), hx.twap(x, "20s")], n),
    lambda x, y, z, n: pick([hx.bollinger(x, 5).percent, *(hx.realised_volatility(x, w) for w in (4, "3s"))], n),
]  # fmt: skip


def grown(read: Sequence[Expr], dice: Sequence[Dice]) -> dict[str, Expr]:
    """A graph out of dice: each takes what came before it. The last few nodes are outputs."""
    pool = [x.unitless() for x in read]
    if read[0].series is None:
        pair = hx.together(read[0], read[len(read) // 2 or 1])
        pool += [x.unitless() for x in pair]
    begun = len(pool)
    for op, i, j, k, n in dice:
        # Later nodes are likelier, so that graphs grow deep.
        x, y, z = (pool[max(at % len(pool), at * 7 % len(pool))] for at in (i, j, k))
        pool.append(OPERATORS[op](x, y, z, n).unitless())
    made = pool[begun:][-6:]
    return {f"x{number}": expr for number, expr in enumerate(made)}


dice = st.lists(
    st.tuples(
        st.integers(0, len(OPERATORS) - 1),
        st.integers(0, 40),
        st.integers(0, 40),
        st.integers(0, 40),
        st.integers(0, 99),
    ),
    min_size=1,
    max_size=12,
)


# ---- drivers ---------------------------------------------------------------------------------------------------------


def bits(column: pl.Series) -> npt.NDArray[np.int64]:
    """What a column is, null and the sign of zero included; no column holds a NaN."""
    assert not column.is_nan().any()
    return np.where(column.is_null(), np.nan, column.fill_null(0.0).to_numpy()).view(np.int64)


def same(a: pl.DataFrame, b: pl.DataFrame, outputs: dict[str, Expr]) -> None:
    assert a["ts"].to_physical().to_list() == b["ts"].to_physical().to_list()
    for name, expr in outputs.items():
        wrong = np.flatnonzero(bits(a[name]) != bits(b[name]))
        assert not len(wrong), (
            f"{name} = {expr!r} differs first in row {wrong[0]}: {a[name][int(wrong[0])]!r}, "
            + repr(b[name][int(wrong[0])])
        )


def by_columns(outputs: dict[str, Expr], data: Market) -> pl.DataFrame:
    return hx.graph(outputs).over(data.frame if data.frame is not None else data.sources, every_event=True)


def by_events(outputs: dict[str, Expr], data: Market) -> pl.DataFrame:
    """An output that reads a series beside the market: then the graph goes event by event."""
    if data.read[0].series is not None:
        return hx.graph(outputs).over(data.sources, every_event=True)
    before = pl.DataFrame({"ts": [START - 1], "probe": [1.0]}).cast({"ts": pl.Datetime("ns", "UTC")})
    beside = {"probe": hx.series("probe")}
    answer = hx.graph(outputs | beside).over([hx.external(before), *data.sources], every_event=True)
    assert answer["probe"].null_count() == 0
    return answer.drop("probe").slice(1)


def by_backtest(outputs: dict[str, Expr], data: Market) -> dict[str, pl.DataFrame]:
    sources = data.sources
    if data.read[0].series is not None:
        quiet = pl.DataFrame({"ts": [START], "symbol": ["Z"], "price": [1.0], "size": [1.0]})
        sources = [*sources, hx.trades(quiet.cast({"ts": pl.Datetime("ns", "UTC")}))]
    table = hx.Backtest(sources, hx.graph(outputs).records(), marks=None).run().signals
    return {name: table.filter(pl.col("signal") == name).select("ts", "value") for name in outputs}


def fill(firings: pl.DataFrame, at: pl.DataFrame) -> pl.Series:
    """The value of the last firing at or before each moment."""
    found = np.searchsorted(firings["ts"].to_physical(), at["ts"].to_physical(), side="right") - 1
    return pl.Series([firings["value"][int(row)] if row >= 0 else None for row in found], dtype=pl.Float64)


def check(outputs: dict[str, Expr], data: Market) -> None:
    columns = by_columns(outputs, data)
    same(columns, by_events(outputs, data), outputs)
    last = columns.group_by("ts", maintain_order=True).last()
    signals = by_backtest(outputs, data)
    for name, expr in outputs.items():
        firings = hx.graph(value=expr).over(data.sources, every_event=False).select("ts", "value")
        assert bits(fill(firings, last)).tolist() == bits(last[name]).tolist(), f"{name} = {expr!r}"
        told = firings.drop_nulls()
        assert told["ts"].to_physical().to_list() == signals[name]["ts"].to_physical().to_list(), f"{name} = {expr!r}"
        assert bits(told["value"]).tolist() == bits(signals[name]["value"]).tolist(), f"{name} = {expr!r}"


# ---- columns = ticks = backtest --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@settings(deadline=None, max_examples=25, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 999), rows=st.integers(1, 120), dice=dice)
def test_columns_ticks_and_backtest_agree_bit_for_bit(shape: str, seed: int, rows: int, dice: list[Dice]) -> None:
    data = market(shape, seed, rows)
    check(grown(data.read, dice), data)


@pytest.mark.parametrize("shape", ["series", "quotes", "bars", "both"])
@settings(deadline=None, max_examples=4, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 999), rows=st.integers(CHUNK - 2, CHUNK + 60), dice=dice)
def test_they_agree_over_the_edge_of_a_chunk(shape: str, seed: int, rows: int, dice: list[Dice]) -> None:
    data = market(shape, seed, rows)
    check(grown(data.read, dice), data)
