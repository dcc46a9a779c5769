"""Choice of pairs: regressions against plain least squares, filters against what they say, samples against the book."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.config import load_run
from helios.errors import ArgumentError, DataError
from helios.research.pairs import Pair, choose, costs, sample, to_frame, write_csv
from helios.research.simulate import simulate
from numpy.typing import NDArray

Array = NDArray[np.float64]
START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
ANYTHING: dict[str, Any] = {
    "count": 10_000,
    "t_statistic": math.inf,
    "min_correlation": 0.0,
    "beta": (-math.inf, math.inf),
    "per_symbol": 10_000,
    "horizon": 1,
}


def wide(columns: dict[str, Array], step_s: float = 1.0) -> pl.DataFrame:
    points = len(next(iter(columns.values())))
    ts = [START + timedelta(seconds=step_s * k) for k in range(points)]
    return pl.DataFrame({"ts": ts, **columns}).with_columns(pl.col("ts").cast(pl.Datetime("ns", "UTC")))


def market(
    seed: int, points: int = 800, groups: int = 4, members: int = 3
) -> tuple[dict[str, Array], dict[str, float]]:
    """Log prices: in each group one walk times a loading plus a deviation that fades (AR(1), half-life 7 points)."""
    rng = np.random.default_rng(seed)
    logs, loading = {}, {}
    for group in range(groups):
        walk = rng.normal(0, 1e-3, points).cumsum()
        for member in range(members):
            name = f"{'ABCDEFGH'[group]}{member}"
            deviation = np.zeros(points)
            for t in range(1, points):
                deviation[t] = 0.9 * deviation[t - 1] + rng.normal(0, 3e-4)
            loading[name] = 0.7 + 0.3 * member
            logs[name] = 4.0 + loading[name] * walk + deviation
    return {name: np.exp(x) for name, x in logs.items()}, loading


def by_hand(a: Array, b: Array, lags: int) -> tuple[float, float, float, float]:
    """beta, t-statistic, half-life in points and deviation of log(a) on log(b), by np.linalg.lstsq alone."""
    y, x = np.log(a), np.column_stack([np.ones(len(b)), np.log(b)])
    (alpha, beta), *_ = np.linalg.lstsq(x, y, rcond=None)
    e = y - alpha - beta * x[:, 1]
    de = np.diff(e)
    design = np.column_stack([e[lags:-1], *(de[lags - k : len(de) - k] for k in range(1, lags + 1))])
    gamma, *_ = np.linalg.lstsq(design, de[lags:], rcond=None)
    rest = de[lags:] - design @ gamma
    variance = rest @ rest / (len(rest) - design.shape[1])
    t = gamma[0] / math.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0])
    fade = float(e[lags:-1] @ de[lags:] / (e[lags:-1] @ e[lags:-1]))
    return float(beta), float(t), math.log(2) / -math.log1p(fade), float(np.sqrt(e @ e / (len(e) - 2)))


@pytest.mark.parametrize("lags", [0, 1, 4])
def test_all_pairs_at_once_equal_one_regression_at_a_time(lags: int) -> None:
    prices, _ = market(seed=3)
    chosen = choose(wide(prices, step_s=2.0), lags=lags, **ANYTHING)
    assert len(chosen) == 12 * 11 // 2
    for pair in chosen:
        beta, t, life, deviation = by_hand(prices[pair.a], prices[pair.b], lags)
        _, other_way, _, _ = by_hand(prices[pair.b], prices[pair.a], lags)
        assert t <= other_way + 1e-9
        assert pair.beta == pytest.approx(beta, rel=1e-9)
        assert pair.t_statistic == pytest.approx(t, rel=1e-6)
        assert pair.half_life_s == pytest.approx(2.0 * life, rel=1e-6)
        assert pair.deviation == pytest.approx(deviation, rel=1e-9)


def test_t_statistic_equals_statsmodels() -> None:
    tools = pytest.importorskip("statsmodels.tsa.stattools", reason="statsmodels is not installed")
    prices, _ = market(seed=4)
    for pair in choose(wide(prices), lags=2, **ANYTHING)[:10]:
        t, _, _ = tools.coint(np.log(prices[pair.a]), np.log(prices[pair.b]), trend="c", maxlag=2, autolag=None)
        assert pair.t_statistic == pytest.approx(t, rel=1e-6)


def test_finds_what_is_related_with_ratio_and_half_life() -> None:
    prices, loading = market(seed=5, points=3_000)
    chosen = choose(wide(prices), count=12, min_correlation=0.2, horizon=10)
    assert len(chosen) == 12
    assert all(pair.a[0] == pair.b[0] for pair in chosen)
    for pair in chosen:
        assert pair.beta == pytest.approx(loading[pair.a] / loading[pair.b], rel=0.08)
        # ln 2 / -ln 0.9 = 6.6 points
        assert 4.5 < pair.half_life_s < 9.0


def test_unrelated_walks_pass_as_often_as_the_critical_value_says() -> None:
    """5 % for one regression (MacKinnon); the lower of two directions is chosen, so up to twice that here."""
    rng = np.random.default_rng(6)
    walks = {f"W{k:02}": np.exp(4 + rng.normal(0, 1e-3, 1_000).cumsum()) for k in range(40)}
    share = len(choose(wide(walks), **(ANYTHING | {"t_statistic": -3.34}))) / (40 * 39 / 2)
    assert 0.02 < share < 0.12


def test_same_rows_same_pairs_whatever_their_order_and_shape() -> None:
    prices, _ = market(seed=7)
    table = wide(prices)
    chosen = choose(table, count=5)
    assert len(chosen) == 5
    long = table.unpivot(index="ts", variable_name="symbol", value_name="price")
    assert choose(long.sample(fraction=1.0, shuffle=True, seed=1), count=5) == chosen
    assert choose(table.select("ts", *sorted(prices, reverse=True)), count=5) == chosen
    assert choose(table, count=3) == chosen[:3]


def test_one_symbol_is_in_few_pairs() -> None:
    prices, _ = market(seed=8, groups=1, members=6)
    chosen = choose(wide(prices), count=100, per_symbol=2, min_correlation=0.0)
    used = [symbol for pair in chosen for symbol in (pair.a, pair.b)]
    assert len(chosen) >= 4
    assert max(used.count(symbol) for symbol in used) == 2


def test_groups_are_kept_apart_and_symbols_without_one_are_left_out() -> None:
    prices, _ = market(seed=9)
    groups = {name: ("one" if name[0] in "AB" else "two") for name in prices if name != "A0"}
    chosen = choose(wide(prices), groups=groups, **ANYTHING)
    assert chosen
    assert all(groups[pair.a] == groups[pair.b] for pair in chosen)
    assert len(chosen) == 5 * 4 // 2 + 6 * 5 // 2


def test_edge_is_the_move_less_four_crossings_and_filters() -> None:
    prices, _ = market(seed=10)
    crossing = {name: 1e-4 * (1 + k) for k, name in enumerate(prices)}
    told = choose(wide(prices), costs=crossing, enter=3.0, exit=1.0, **(ANYTHING | {"min_edge": -math.inf}))
    for pair in told:
        cost = 2 * (crossing[pair.a] + abs(pair.beta) * crossing[pair.b])
        assert pair.edge == pytest.approx(2.0 * pair.deviation - cost, rel=1e-9)
    floor = sorted(pair.edge for pair in told)[len(told) // 2]
    kept = choose(wide(prices), costs=crossing, enter=3.0, exit=1.0, **(ANYTHING | {"min_edge": floor}))
    assert {(p.a, p.b) for p in kept} == {(p.a, p.b) for p in told if p.edge >= floor}
    # One without a known cost is left out, and without costs the edge is the move alone.
    del crossing["A0"]
    fewer = choose(wide(prices), costs=crossing, **(ANYTHING | {"min_edge": -math.inf}))
    assert all("A0" not in (pair.a, pair.b) for pair in fewer)
    free = choose(wide(prices), enter=3.0, exit=1.0, **ANYTHING)
    assert all(pair.edge == pytest.approx(2.0 * pair.deviation) for pair in free)


def test_rank_by_edge_or_by_certainty() -> None:
    prices, _ = market(seed=11)
    surest = [pair.t_statistic for pair in choose(wide(prices), **ANYTHING)]
    widest = [pair.edge for pair in choose(wide(prices), rank="edge", **ANYTHING)]
    assert surest == sorted(surest)
    assert widest == sorted(widest, reverse=True)


def test_filters_by_correlation_half_life_and_ratio() -> None:
    prices, _ = market(seed=12)
    every = choose(wide(prices), **ANYTHING)
    for change, rule in (
        ({"min_correlation": 0.4}, lambda p: abs(p.correlation) >= 0.4),
        ({"half_life_s": (5.0, 10.0)}, lambda p: 5.0 <= p.half_life_s <= 10.0),
        ({"beta": (0.5, 1.5)}, lambda p: 0.5 <= p.beta <= 1.5),
        ({"t_statistic": -5.0}, lambda p: p.t_statistic <= -5.0),
    ):
        kept = choose(wide(prices), **(ANYTHING | change))
        assert 0 < len(kept) < len(every)
        assert kept == [pair for pair in every if rule(pair)]


def test_missing_points_carry_the_last_price_and_rare_symbols_are_left_out() -> None:
    prices, _ = market(seed=13)
    table = wide(prices).with_row_index()
    holes = table.with_columns(
        pl.when(pl.col("index") % 7 == 3).then(None).otherwise(pl.col("A1")).alias("A1"),
        pl.when(pl.col("index") < 200).then(None).otherwise(pl.col("B0")).alias("B0"),
    ).drop("index")
    chosen = choose(holes, **ANYTHING)
    carried = prices["A1"].copy()
    carried[3::7] = carried[2::7][: len(carried[3::7])]
    pair = next(p for p in chosen if {p.a, p.b} == {"A0", "A1"})
    both = prices | {"A1": carried}
    assert pair.beta == pytest.approx(by_hand(both[pair.a], both[pair.b], 1)[0], rel=1e-9)
    assert all("B0" not in (p.a, p.b) for p in chosen)


def test_a_price_that_does_not_move_is_never_chosen_and_spoils_nothing() -> None:
    prices, _ = market(seed=14)
    # The logarithms of 50 have a mean that is rounded, those of 1 have not: both stand still.
    still = prices | {"STILL": np.full(800, 50.0), "STILL1": np.full(800, 1.0), "TWIN": prices["A0"].copy()}
    chosen = choose(wide(still), **(ANYTHING | {"t_statistic": 0.0}))
    assert not {"STILL", "STILL1"} & {symbol for pair in chosen for symbol in (pair.a, pair.b)}
    assert all({pair.a, pair.b} != {"A0", "TWIN"} for pair in chosen)
    assert {(p.a, p.b) for p in choose(wide(prices), **(ANYTHING | {"t_statistic": 0.0}))} <= {
        (p.a, p.b) for p in chosen
    }


def test_what_cannot_be_is_said() -> None:
    prices, _ = market(seed=15)
    table = wide(prices)
    with pytest.raises(ArgumentError, match="enter=1 exit=2"):
        choose(table, count=1, enter=1, exit=2)
    with pytest.raises(ArgumentError, match="1 or more"):
        choose(table, count=0)
    with pytest.raises(ArgumentError, match="rank='luck'"):
        choose(table, count=1, rank="luck")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="20 points in time are too few"):
        choose(table.head(20), count=1)
    with pytest.raises(DataError, match="several moments"):
        choose(table.head(0), count=1)
    with pytest.raises(DataError, match="A0 are infinite"):
        choose(table.with_columns(A0=pl.lit(math.inf)), count=1)
    with pytest.raises(DataError, match="is there twice"):
        choose(pl.concat([table, table.head(1)]), count=1)
    with pytest.raises(DataError, match="A0 are zero or below"):
        choose(table.with_columns(A0=pl.lit(-1.0)), count=1)
    with pytest.raises(DataError, match="column ts"):
        choose(table.drop("ts"), count=1)
    with pytest.raises(DataError, match="column symbol"):
        choose(table.select("ts", price="A0"), count=1)
    with pytest.raises(ArgumentError, match="half_spread"):
        costs(table)


def test_costs_are_half_a_spread_and_the_fee() -> None:
    ts = [START, START + timedelta(seconds=1)] * 2
    table = pl.DataFrame(
        {"ts": ts, "symbol": ["X", "X", "Y", "Y"], "price": [99.0, 101.0, 10.0, 10.0]}
        | {"half_spread": [1e-4, 3e-4, 5e-4, None]}
    )
    assert costs(table, per_share=0.003) == pytest.approx({"X": 2e-4 + 3e-5, "Y": 5e-4 + 3e-4})
    assert costs(table.drop("half_spread"), half_spread=1e-4) == pytest.approx({"X": 1e-4, "Y": 1e-4})


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "day.itch"
    simulate(path, symbols=6, minutes=3, seed=11)
    return path


def test_a_sample_is_the_book_just_before_its_moment(day: Path) -> None:
    from helios._core import itch_book

    source = hx.itch(day, date="2026-01-05")
    table = sample(source, every="10s")
    assert table.columns == ["ts", "symbol", "price", "half_spread"]
    assert table["symbol"].n_unique() == 6
    compared = 0
    for ts, symbol, price, half_spread in table.filter(pl.col("ts") > START).gather_every(7).iter_rows():
        at = int((ts - START).total_seconds()) * 1_000_000_000 + (9 * 60 + 30) * 60_000_000_000
        _, bids, asks, _ = itch_book(day, symbol, at - 1, 1)
        if not bids or not asks:
            continue  # after the close
        bid, ask = bids[0][0] / 1e9, asks[0][0] / 1e9
        assert price == pytest.approx((bid + ask) / 2, abs=1e-9)
        assert half_spread == pytest.approx((ask - bid) / (ask + bid), rel=1e-9)
        compared += 1
    assert compared >= 10


def test_a_sample_ends_where_it_is_told_and_sees_no_further(day: Path) -> None:
    source = hx.itch(day, date="2026-01-05")
    until = START + timedelta(minutes=2)
    early = sample(source, until=until)
    assert early["ts"].max() == until
    assert early.equals(sample(source).filter(pl.col("ts") <= until))
    assert early.equals(sample(source, until=until.replace(tzinfo=None)))


def test_bars_have_prices_and_no_spread() -> None:
    ts = [START + timedelta(minutes=k) for k in range(5)]
    rows = {"ts": ts, "symbol": ["X"] * 5, "volume": [1] * 5}
    table = pl.DataFrame(rows | {name: [10.0, 11.0, 12.0, 13.0, 14.0] for name in ("open", "high", "low", "close")})
    told = sample(hx.bars(table, span="1m"), every="1m")
    # At a bar's end the bar is only just coming: what stood before is the bar before it.
    assert told["price"].to_list() == [10.0, 11.0, 12.0, 13.0]
    assert told["half_spread"].null_count() == 4


def test_a_file_of_pairs_is_what_a_run_file_reads(day: Path, tmp_path: Path) -> None:
    pairs = [Pair("AAAA", "AAAB", 0.1 + 0.2, 0.5, -4.0, 60.0, 1e-3, 5e-4)]
    write_csv(pairs, tmp_path / "pairs.csv")
    assert pl.read_csv(tmp_path / "pairs.csv").equals(to_frame(pairs))
    run = tmp_path / "run.toml"
    run.write_text(
        f'[[data]]\nkind = "itch"\npath = "{day.as_posix()}"\n'
        '[strategy]\nkind = "pairs"\nfile = "pairs.csv"\nwindow = "1m"\n'
    )
    expected = hx.Backtest(hx.itch(day), hx.pair("AAAA", "AAAB", beta=0.1 + 0.2, window="1m")).run()
    assert load_run(run).run().meta["digest"] == expected.meta["digest"]
