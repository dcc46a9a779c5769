"""Walk-forward, purged splits, deflated Sharpe, overfitting, luck: against brute force and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import combinations, pairwise, permutations, product
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.errors import ArgumentError, DataError
from helios.research.results import Results, sharpe_ratio
from helios.research.validate import (
    Period,
    TrackRecord,
    backtest_paths,
    combinatorial_purged,
    deflated_sharpe,
    expected_max_sharpe,
    min_track_record_length,
    overfitting_probability,
    permutation_test,
    probabilistic_sharpe,
    purged_kfold,
    reality_check,
    run_walk_forward,
    sign_test,
    track_record,
    walk_forward,
)
from helios.research.validate.permutation import stationary_rows
from hypothesis import given, settings
from hypothesis import strategies as st

scipy_stats = pytest.importorskip("scipy.stats")

# ---- walk-forward ----------------------------------------------------------------------------------------------------


def test_a_year_to_choose_and_half_a_year_to_trade() -> None:
    periods = list(walk_forward(date(2012, 1, 1), date(2024, 1, 1), formation="12mo", trading="6mo"))
    assert len(periods) == 22
    assert periods[0] == Period(0, date(2012, 1, 1), date(2013, 1, 1), date(2013, 1, 1), date(2013, 7, 1))
    assert periods[1].formation_start == date(2012, 7, 1)
    assert periods[-1] == Period(21, date(2022, 7, 1), date(2023, 7, 1), date(2023, 7, 1), date(2024, 1, 1))


def test_months_do_not_drift() -> None:
    periods = list(walk_forward(date(2020, 1, 31), date(2021, 2, 1), formation="1mo", trading="1mo"))
    # Counted from the 31st each time; adding a month to 29 February again and again would stay at the 29th.
    assert [p.trading_start for p in periods][:4] == [
        date(2020, 2, 29),
        date(2020, 3, 31),
        date(2020, 4, 30),
        date(2020, 5, 31),
    ]


def test_gap_anchor_step_and_a_cut_end() -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 11, 12, tzinfo=UTC)
    options: dict[str, Any] = {"formation": "4d", "trading": timedelta(days=2), "gap": "12h"}
    first, *_, last = periods = list(walk_forward(start, end, **options))
    day = timedelta(days=1)
    assert (first.formation_end, first.trading_start) == (start + 4 * day, start + 4.5 * day)
    assert last.trading_end == end
    assert [p.formation_start for p in periods] == [start + 2 * i * day for i in range(len(periods))]
    anchored = list(walk_forward(start, end, **options, anchored=True))
    assert {p.formation_start for p in anchored} == {start}
    assert [p.trading_start for p in anchored] == [p.trading_start for p in periods]
    often = list(walk_forward(start, end, **options, step="1d"))
    assert [p.trading_start for p in often] == [start + (4.5 + i) * day for i in range(6)]


@given(
    st.dates(date(1990, 1, 1), date(2020, 1, 1)),
    st.integers(100, 4000),
    st.integers(1, 24),
    st.integers(1, 24),
)
@settings(max_examples=100, deadline=None)
def test_trading_covers_everything_once(start: date, days: int, formation: int, trading: int) -> None:
    end = start + timedelta(days=days)
    try:
        periods = list(walk_forward(start, end, formation=f"{formation}mo", trading=f"{trading}mo"))
    except ArgumentError:
        year, month = divmod(start.month - 1 + formation, 12)
        assert date(start.year + year, month + 1, 1) >= end - timedelta(days=31)
        return
    assert periods[-1].trading_end == end
    for before, after in pairwise(periods):
        assert before.trading_end == after.trading_start
        assert before.trading_start < before.trading_end
        assert before.formation_start < before.formation_end == before.trading_start


DAYS = pl.date_range(date(2020, 1, 1), date(2021, 12, 31), eager=True).alias("ts")


def trading_of(period: Period[Any], values: pl.Series, name: str) -> pl.DataFrame:
    frame = pl.DataFrame({"ts": DAYS, name: values})
    return frame.filter(pl.col("ts").is_between(period.trading_start, period.trading_end, closed="left"))


@pytest.mark.parametrize("name", ["return", "pnl"])
def test_the_stitched_series_is_what_one_run_would_have_been(name: str) -> None:
    values = pl.Series(np.random.default_rng(2).normal(0, 0.01, len(DAYS)))
    periods = list(walk_forward(date(2020, 1, 1), date(2022, 1, 1), formation="6mo", trading="2mo"))
    done = run_walk_forward(periods, lambda period: trading_of(period, values, name))
    assert done.periods == periods
    out = pl.DataFrame({"ts": DAYS, name: values}).filter(pl.col("ts") >= date(2020, 7, 1))
    assert done.series.select("ts", name).equals(out)
    assert done.series["period"].n_unique() == 9
    total = np.prod(1 + out[name].to_numpy()) if name == "return" else out[name].sum()
    assert done.series["equity"][-1] == pytest.approx(total, rel=1e-12)


def test_results_of_backtests_are_stitched() -> None:
    rng = np.random.default_rng(5)
    t0, n = datetime(2026, 1, 5), 2000
    close = np.round(60 + np.cumsum(rng.normal(0, 0.05, n)), 2)
    ts = [t0 + timedelta(minutes=i + 1) for i in range(n)]
    frame = pl.DataFrame({"ts": ts, "symbol": "KO", "open": close, "high": close, "low": close, "close": close})
    source = hx.bars(frame.with_columns(volume=100), span="1m")
    side = hx.close("KO").zscore(20).hysteresis(enter=1.5, exit=0.5)
    runs = []

    def trade(period: Period[datetime]) -> Any:
        run = hx.Backtest(
            source, hx.target("KO", -side, quantity=10), start=period.trading_start, stop=period.trading_end
        )
        runs.append(run.run())
        return runs[-1]

    periods = walk_forward(t0, t0 + timedelta(minutes=n), formation="500m", trading="500m")
    done = run_walk_forward(periods, trade)
    assert [len(done.periods), len(runs)] == [3, 3]
    assert all(run.fills.height > 2 for run in runs)
    net = [run.headline.net for run in runs]
    by_period = done.series.group_by("period", maintain_order=True).agg(pl.col("pnl").sum())["pnl"].to_list()
    assert by_period == pytest.approx(net, abs=1e-9)
    assert done.series["equity"][-1] == pytest.approx(sum(net), abs=1e-9)
    assert done.series["ts"].is_sorted()
    assert done.series["ts"].n_unique() == done.series.height


def test_what_was_earned_before_trading_does_not_count() -> None:
    ts = [datetime(2026, 1, 5, hour, tzinfo=UTC) for hour in range(8)]
    zero = dict.fromkeys(("cash", "fees", "gross", "net", "unrealised"), 0.0)
    equity = pl.DataFrame({"ts": ts, "realised": [0.0, 5, 7, 7, 9, 4, 6, 100], "equity": 0.0, **zero})
    equity = equity.with_columns(pl.col("ts").cast(pl.Datetime("ns", "UTC")))
    period = Period(0, ts[0], ts[2], ts[2], ts[6])
    # The last sample is an hour after the end: answers to the orders that were sent before it.
    series = run_walk_forward([period], lambda _: Results(equity=equity)).series
    assert series["pnl"].to_list() == [0.0, 2.0, -5.0, 96.0]
    assert series["ts"].to_list() == ts[3:7]
    with pytest.raises(DataError, match=r"goes on to 2026-01-05 07:00:00\+00:00.* stop=period.trading_end"):
        run_walk_forward([Period(0, ts[0], ts[2], ts[2], ts[5])], lambda _: Results(equity=equity))


def small(**changes: Any) -> Callable[[Period[Any]], pl.DataFrame]:
    def run(period: Period[Any]) -> pl.DataFrame:
        frame = trading_of(period, pl.Series(np.zeros(len(DAYS))), "return")
        return changes["frame"](frame) if period.number == 1 else frame

    return run


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.head(0), r"period 1 .* has no rows"),
        (lambda f: f.with_columns(pl.col("ts") + timedelta(days=40)), "outside the trading"),
        (lambda f: f.with_columns(pl.col("ts") - timedelta(days=1)), "row 0, column 'ts': 2020-08-31 is outside"),
        (lambda f: f.with_columns(pl.col("ts") + timedelta(days=1)), r"2020-11-01 is outside the trading \[.*11-01\)"),
        (lambda f: pl.concat([f, f]), "is not after the row before it"),
        (lambda f: f.reverse(), "is not after the row before it"),
        (lambda f: f.with_columns(pl.lit(math.nan).alias("return")), "nan is no number"),
        (lambda f: f.with_columns(pl.lit(None).alias("return")), "None is no number"),
        (lambda f: f.rename({"return": "gain"}), "has the columns ts, gain"),
        (lambda f: f.rename({"return": "pnl"}), "the first had"),
        (lambda f: f.with_columns(pl.lit(3).alias("ts")), "times are Int32"),
    ],
)
def test_what_cannot_be_stitched(change: Any, message: str) -> None:
    periods = list(walk_forward(date(2020, 1, 1), date(2022, 1, 1), formation="6mo", trading="2mo"))
    with pytest.raises(DataError, match=message):
        run_walk_forward(periods, small(frame=change))


def test_periods_that_overlap_or_leave_gaps_are_not_stitched() -> None:
    for step, word in (("1mo", "overlaps"), ("3mo", "leaves a gap")):
        periods = walk_forward(date(2020, 1, 1), date(2022, 1, 1), formation="6mo", trading="2mo", step=step)
        with pytest.raises(ArgumentError, match=word):
            run_walk_forward(periods, small(frame=lambda f: f))
    with pytest.raises(ArgumentError, match="no periods"):
        run_walk_forward([], small())
    with pytest.raises(ArgumentError, match="a int came back"):
        run_walk_forward(
            walk_forward(date(2020, 1, 1), date(2022, 1, 1), formation="1y", trading="1y"),
            lambda period: 3,  # type: ignore[arg-type, return-value]
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "2020"}, "give two dates"),
        ({"start": datetime(2020, 1, 1)}, "give two dates"),
        ({"start": datetime(2020, 1, 1), "end": datetime(2022, 1, 1, tzinfo=UTC)}, "time zone"),
        ({"formation": "0mo"}, "formation is '0mo'"),
        ({"formation": "6 months"}, "calendar months"),
        ({"trading": "-2d"}, "trading is '-2d'"),
        ({"trading": "12h"}, "whole days"),
        ({"step": timedelta(0)}, "step is"),
        ({"gap": "1h"}, "whole days"),
        ({"formation": "2y"}, "the first trading would start at 2022-01-01"),
    ],
)
def test_periods_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    settings = {"start": date(2020, 1, 1), "end": date(2022, 1, 1), "formation": "6mo", "trading": "2mo"} | changes
    with pytest.raises(ArgumentError, match=message):
        walk_forward(settings.pop("start"), settings.pop("end"), **settings)


# ---- purged splits ---------------------------------------------------------------------------------------------------

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), min_size=6, max_size=40).map(
    lambda rows: np.array(sorted((begin, begin + length) for begin, length in rows))
)


def brute_train(t0: Any, t1: Any, test: set[int], embargo: int) -> list[int]:
    """Every pair of samples, as the definition says."""
    train = []
    for i in range(len(t0)):
        touches = any(t0[i] <= t1[j] and t0[j] <= t1[i] for j in test)
        after = any(t1[j] < t0[i] <= t1[j] + embargo for j in test)
        if i not in test and not touches and not after:
            train.append(i)
    return train


@given(SPANS, st.integers(2, 6), st.integers(1, 3), st.integers(0, 8))
@settings(max_examples=200, deadline=None)
def test_splits_are_those_of_the_definition(spans: Any, groups: int, test_groups: int, embargo: int) -> None:
    t0, t1 = spans[:, 0], spans[:, 1]
    if test_groups >= groups:
        return
    parts = np.array_split(np.arange(len(t0)), groups)
    splits = combinatorial_purged(t0, t1, groups=groups, test_groups=test_groups, embargo=embargo)
    for chosen in combinations(range(groups), test_groups):
        test = {int(i) for group in chosen for i in parts[group]}
        expected = brute_train(t0, t1, test, embargo)
        if not expected:
            with pytest.raises(ArgumentError, match=r"every other sample overlaps"):
                next(splits)
            return
        split = next(splits)
        assert split.groups == chosen
        assert split.test.tolist() == sorted(test)
        assert split.train.tolist() == expected
    assert next(splits, None) is None


@given(SPANS, st.integers(2, 6), st.integers(0, 8))
@settings(max_examples=100, deadline=None)
def test_no_training_label_touches_a_test_span(spans: Any, folds: int, embargo: int) -> None:
    t0, t1 = spans[:, 0], spans[:, 1]
    tested: list[int] = []
    try:
        for split in purged_kfold(t0, t1, folds=folds, embargo=embargo):
            tested += split.test.tolist()
            a, b = t0[split.train][:, None], t1[split.train][:, None]
            c, d = t0[split.test][None, :], t1[split.test][None, :]
            assert not ((a <= d) & (c <= b)).any()
            assert not ((a > d) & (a <= d + embargo)).any()
    except ArgumentError as error:
        assert "every other sample overlaps" in str(error)  # noqa: PT017
        return
    assert tested == list(range(len(t0)))


def test_times_as_they_come() -> None:
    t0 = [datetime(2026, 1, 1) + timedelta(days=i) for i in range(20)]
    t1 = [at + timedelta(days=2) for at in t0]
    expected = [s.train.tolist() for s in purged_kfold(np.arange(20), np.arange(20) + 2, folds=4, embargo=1)]
    assert expected[1] == [0, 1, 2, *range(13, 20)]
    for embargo in ("1d", timedelta(days=1), np.timedelta64(1, "D")):
        for kind in (pl.Series, np.array, list):
            splits = purged_kfold(kind(t0), kind(t1), folds=4, embargo=embargo)  # type: ignore[arg-type]
            assert [s.train.tolist() for s in splits] == expected
    zoned = [pl.Series(t).dt.replace_time_zone("UTC") for t in (t0, t1)]
    assert [s.train.tolist() for s in purged_kfold(*zoned, folds=4, embargo="1d")] == expected


@pytest.mark.parametrize(("groups", "test_groups"), [(6, 2), (5, 1), (7, 3), (4, 3)])
def test_paths_use_every_test_group_once(groups: int, test_groups: int) -> None:
    paths = backtest_paths(groups, test_groups)
    splits = list(combinations(range(groups), test_groups))
    assert len(paths) == math.comb(groups, test_groups) * test_groups // groups
    used = [(split, group) for path in paths for group, split in enumerate(path)]
    assert sorted(used) == sorted((number, group) for number, split in enumerate(splits) for group in split)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t1": np.arange(9)}, "t0 has 10 values and t1 has 9"),
        ({"t1": np.arange(10) - 1}, "row 0: the label ends at -1"),
        ({"t0": np.arange(10)[::-1]}, "row 1: t0 goes back"),
        ({"t0": [*range(9), math.nan]}, "row 9: t0 is no number"),
        ({"t0": ["a"] * 10}, "one column of numbers or times"),
        ({"t0": np.zeros((5, 2))}, "in 2 axes"),
        ({"t0": [object()] * 10}, "neither numbers nor times"),
        ({"t0": np.arange(10).astype("datetime64[D]")}, "both are numbers or both are times"),
        ({"folds": 1}, "at least two groups"),
        ({"folds": 11}, "10 samples cannot make 11 groups"),
        ({"embargo": -1}, "embargo=-1"),
        ({"embargo": "1d"}, "embargo='1d'"),
        ({"embargo": math.inf}, "embargo=inf"),
    ],
)
def test_splits_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    settings = {"t0": np.arange(10), "t1": np.arange(10) + 1, "folds": 2} | changes
    with pytest.raises(ArgumentError, match=message):
        list(purged_kfold(settings.pop("t0"), settings.pop("t1"), **settings))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="embargo=3"):
        times = np.arange(10).astype("datetime64[D]")
        list(purged_kfold(times, times, embargo=3))


# ---- Sharpe ratios ---------------------------------------------------------------------------------------------------


def test_moments_are_those_of_scipy_and_the_ratio_that_of_the_report() -> None:
    r = np.random.default_rng(3).standard_t(4, 500) * 0.01 + 0.001
    record = track_record(r)
    assert record.observations == 500
    assert record.sharpe == pytest.approx(sharpe_ratio(r, 1), rel=1e-12)
    assert record.skewness == pytest.approx(scipy_stats.skew(r), rel=1e-12)
    assert record.kurtosis == pytest.approx(scipy_stats.kurtosis(r, fisher=False), rel=1e-12)


def test_the_closed_forms() -> None:
    record = TrackRecord(0.1, 250, -0.5, 6.0)
    z = (0.1 - 0.02) * math.sqrt(249) / math.sqrt(1 + 0.5 * 0.1 + 5 / 4 * 0.01)
    assert probabilistic_sharpe(record, 0.02) == pytest.approx(scipy_stats.norm.cdf(z), abs=1e-14)
    length = 1 + (1 + 0.05 + 0.0125) * (scipy_stats.norm.ppf(0.95) / 0.08) ** 2
    assert min_track_record_length(record, 0.02) == pytest.approx(length, rel=1e-12)
    # At that length the probability is the confidence.
    grown = TrackRecord(0.1, math.ceil(length), -0.5, 6.0)
    assert 0.95 <= probabilistic_sharpe(grown, 0.02) < 0.951
    assert probabilistic_sharpe(TrackRecord(0.1, math.ceil(length) - 1, -0.5, 6.0), 0.02) < 0.95
    assert min_track_record_length(record, 0.1) == math.inf


def test_the_example_of_the_deflated_sharpe_ratio() -> None:
    # Bailey, López de Prado (2014): annual 2.5 over five years of 250 days, N = 100 trials, annual variance 1/2,
    # skewness -3, kurtosis 10: the expected maximum is 0.1132 a day and the deflated ratio 0.9004.
    record = TrackRecord(2.5 / math.sqrt(250), 1250, -3.0, 10.0)
    assert expected_max_sharpe(100, 0.5 / 250) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(record, trials=100, variance=0.5 / 250) == pytest.approx(0.9004, abs=5e-5)


@pytest.mark.parametrize(
    ("trials", "low", "high"),
    [(2, -0.08, -0.07), (3, 0.0, 0.01), (5, 0.02, 0.026), (20, 0.01, 0.02), (100, 0.0, 0.01), (1000, 0.0, 0.0043)],
)
def test_the_expected_maximum_is_that_of_independent_trials(trials: int, low: float, high: float) -> None:
    from scipy import integrate

    def density(x: float) -> float:
        return float(x * trials * scipy_stats.norm.pdf(x) * scipy_stats.norm.cdf(x) ** (trials - 1))

    exact = 0.3 * integrate.quad(density, -12, 12, limit=500, points=[0, 3])[0]
    rng = np.random.default_rng(11)
    maxima = np.concatenate([rng.normal(0, 0.3, (500, trials)).max(axis=1) for _ in range(20)])
    assert maxima.mean() == pytest.approx(exact, abs=4 * maxima.std() / 100)
    # The formula is an approximation whose error is known.
    assert low < expected_max_sharpe(trials, 0.09) / exact - 1 < high
    assert expected_max_sharpe(1, 0.09) == 0.0


def test_the_probability_holds_for_normal_and_for_skewed_returns() -> None:
    # With the true ratio as benchmark, PSR is uniform: below 5 % in 5 % of samples.
    rng = np.random.default_rng(12)
    for draw, true in (
        (rng.normal(0.1, 1.0, (4_000, 250)), 0.1),
        (1.1 - rng.exponential(1.0, (4_000, 250)), 0.1),
    ):
        values = np.array([probabilistic_sharpe(row, true) for row in draw])
        for level in (0.05, 0.5, 0.95):
            assert (values < level).mean() == pytest.approx(level, abs=0.025)
        if true and draw.min() < -5:  # the skewed one: without its moments the tail would be wrong
            naive = [probabilistic_sharpe(TrackRecord(track_record(row).sharpe, 250), true) for row in draw]
            assert abs((np.array(naive) < 0.05).mean() - 0.05) > abs((values < 0.05).mean() - 0.05)


def test_the_best_of_many_without_skill_is_deflated() -> None:
    rng = np.random.default_rng(13)
    found = []
    for _ in range(200):
        trials = rng.normal(0, 0.01, (50, 250))
        sharpes = trials.mean(axis=1) / trials.std(axis=1, ddof=1)
        found.append(
            (probabilistic_sharpe(trials[sharpes.argmax()]), deflated_sharpe(trials[sharpes.argmax()], sharpes=sharpes))
        )
    plain, deflated = np.array(found).T
    assert (plain > 0.95).mean() > 0.85  # nearly always "significant"
    assert (deflated > 0.95).mean() < 0.05
    assert 0.35 < np.median(deflated) < 0.65
    sharpes = rng.normal(0, 0.05, 30)
    both = deflated_sharpe(trials[0], trials=30, variance=float(sharpes.var(ddof=1)))
    assert deflated_sharpe(trials[0], sharpes=sharpes) == both
    assert deflated_sharpe(trials[0], sharpes=[0.3]) == probabilistic_sharpe(trials[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: track_record([0.1, math.nan, 0.2]), "returns: row 1 is nan"),
        (lambda: track_record([0.1, 0.2]), "at least 3 numbers"),
        (lambda: track_record([0.1] * 20), "do not vary"),
        (lambda: track_record(np.zeros((3, 3))), r"shape \(3, 3\)"),
        (lambda: track_record(["a", "b", "c"]), "numbers are needed"),
        (lambda: TrackRecord(0.1, 250, 0.0, 0.0), "is it the excess"),
        (lambda: TrackRecord(math.inf, 250), "finite"),
        (lambda: TrackRecord(0.1, 1), "at least two observations"),
        (lambda: probabilistic_sharpe([1.0, 2.0, 4.0], math.nan), "benchmark=nan"),
        (lambda: min_track_record_length(TrackRecord(0.1, 9), confidence=1.0), "confidence=1.0"),
        (lambda: expected_max_sharpe(0, 1.0), "trials=0"),
        (lambda: expected_max_sharpe(2, -1.0), "variance=-1.0"),
        (lambda: expected_max_sharpe(2, math.nan), "variance=nan"),
        (lambda: deflated_sharpe([1.0, 2.0, 4.0]), "give either sharpes"),
        (lambda: deflated_sharpe([1.0, 2.0, 4.0], trials=3), "give either sharpes"),
        (lambda: deflated_sharpe([1.0, 2.0, 4.0], sharpes=[1.0], trials=3), "give either sharpes"),
        (lambda: deflated_sharpe([1.0, 2.0, 4.0], sharpes=[math.nan]), "sharpes: row 0 is nan"),
    ],
)
def test_sharpe_ratios_that_cannot_be(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


# ---- overfitting -----------------------------------------------------------------------------------------------------


def sharpes_of(rows: Any) -> Any:
    return rows.mean(axis=0) / rows.std(axis=0, ddof=1)


def brute_overfitting(matrix: Any, blocks: int, metric: Callable[[Any], Any]) -> list[float]:
    """The steps of the paper, one split after the other, with ranks by scipy."""
    rows = matrix[len(matrix) % blocks :]
    parts = np.split(rows, blocks)
    logits = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = metric(np.concatenate([parts[i] for i in chosen]))
        outside = metric(np.concatenate([parts[i] for i in range(blocks) if i not in chosen]))
        rank = scipy_stats.rankdata(outside)[int(np.argmax(inside))]
        omega = rank / (matrix.shape[1] + 1)
        logits.append(math.log(omega / (1 - omega)))
    return logits


@pytest.mark.parametrize("metric", ["sharpe", "mean"])
@pytest.mark.parametrize(("rows", "columns", "blocks"), [(40, 5, 4), (67, 8, 6), (90, 3, 8), (9, 2, 2)])
def test_overfitting_is_that_of_the_definition(metric: Any, rows: int, columns: int, blocks: int) -> None:
    matrix = np.random.default_rng(rows).normal(0.02, 1.0, (rows, columns)) * 0.01 + 0.5 * (columns == 3)
    function = sharpes_of if metric == "sharpe" else lambda part: part.mean(axis=0)
    expected = brute_overfitting(matrix, blocks, function)
    for how in (metric, function):
        found = overfitting_probability(matrix, blocks=blocks, metric=how)
        assert found.logits == pytest.approx(expected, abs=1e-9)
        assert found.probability == np.mean(np.array(expected) <= 0)
        assert found.rows_left_out == rows % blocks


def test_noise_is_overfitted_and_skill_is_not() -> None:
    rng = np.random.default_rng(21)
    noise = [overfitting_probability(rng.normal(0, 1, (320, 20)), blocks=8) for _ in range(60)]
    mean = np.mean([result.probability for result in noise])
    assert 0.5 - 0.06 < mean < 0.75
    assert np.mean([result.degradation for result in noise]) < 0
    better = rng.normal(0, 1, (320, 20))
    better[:, 7] += 0.4
    found = overfitting_probability(better, blocks=16)
    assert found.probability < 0.01
    assert found.loss_probability < 0.01
    assert found.logits.size == math.comb(16, 8)
    assert "probability=0.0" in repr(found)


def test_equal_columns_share_their_rank() -> None:
    one = np.random.default_rng(22).normal(0, 1, (64, 1))
    found = overfitting_probability(np.repeat(one, 3, axis=1), blocks=4)
    assert (found.logits == 0).all()
    assert found.probability == 1.0
    flat = np.hstack([one, np.full((64, 1), 0.001)])  # never varies: no risk was measured, its score is zero
    assert np.isfinite(overfitting_probability(flat, blocks=4).logits).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": 3}, "blocks=3"),
        ({"blocks": 22}, "blocks=22"),
        ({"blocks": True}, "blocks=True"),
        ({"returns": np.zeros(10)}, "not the shape"),
        ({"returns": np.zeros((10, 3))}, "10 rows by 3 columns"),
        ({"returns": np.zeros((40, 1))}, "40 rows by 1 columns"),
        ({"returns": np.full((40, 2), math.nan)}, "row 0, column 0 is nan"),
        ({"returns": [["a"]]}, "a matrix of numbers"),
        ({"metric": "sortino"}, "metric='sortino'"),
        ({"metric": lambda rows: 1.0}, "one a column"),
    ],
)
def test_matrices_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    settings = {"returns": np.random.default_rng(1).normal(size=(40, 3)), "blocks": 8} | changes
    with pytest.raises(ArgumentError, match=message):
        overfitting_probability(settings.pop("returns"), **settings)


# ---- permutation tests -----------------------------------------------------------------------------------------------

POSITIONS = [1, 1, -1, 0, 1, -1, 2]
RETURNS = [0.02, 0.01, -0.03, 0.01, 0.005, 0.015, -0.01]


def exact_p(observed: Fraction, drawn: list[Fraction]) -> float:
    return float(Fraction(sum(value >= observed for value in drawn), len(drawn)))


def test_all_orders_in_rational_numbers() -> None:
    p, r = [Fraction(x) for x in POSITIONS], [Fraction(str(x)) for x in RETURNS]
    drawn = [sum(a * b for a, b in zip(order, r, strict=True)) for order in permutations(p)]
    found = permutation_test(POSITIONS, RETURNS, draws="all")
    assert found.p_value == exact_p(sum(a * b for a, b in zip(p, r, strict=True)), drawn)  # type: ignore[arg-type]
    assert (found.draws, found.exact) == (5040, True)
    assert found.statistic == pytest.approx(sum(a * b for a, b in zip(POSITIONS, RETURNS, strict=True)) / 7)


def test_all_orders_of_blocks_in_rational_numbers() -> None:
    p, r = [Fraction(x) for x in POSITIONS], [Fraction(str(x)) for x in RETURNS]
    blocks = [p[0:2], p[2:4], p[4:6], p[6:7]]
    orders = [[x for block in order for x in block] for order in permutations(blocks)]
    drawn = [sum(a * b for a, b in zip(order, r, strict=True)) for order in orders]
    found = permutation_test(POSITIONS, RETURNS, block=2, draws="all")
    assert found.draws == 24
    assert found.p_value == exact_p(drawn[0], drawn)  # type: ignore[arg-type]


def test_all_signs_in_rational_numbers() -> None:
    r = [Fraction(str(x)) for x in RETURNS]
    drawn = [sum(s * x for s, x in zip(signs, r, strict=True)) for signs in product((1, -1), repeat=7)]
    found = sign_test(RETURNS, draws="all")
    assert (found.draws, found.p_value) == (128, exact_p(drawn[0], drawn))  # type: ignore[arg-type]
    # It is the one-sample permutation test of scipy.
    other = scipy_stats.permutation_test(
        (np.array(RETURNS),), np.mean, permutation_type="samples", alternative="greater", n_resamples=10_000
    )
    assert found.p_value == pytest.approx(other.pvalue, abs=1e-12)


@pytest.mark.parametrize("statistic", ["mean", "sharpe", lambda pnl: np.median(pnl, axis=1)])
def test_random_draws_come_near_the_exact_value_and_count_the_observed_one(statistic: Any) -> None:
    exact = permutation_test(POSITIONS, RETURNS, draws="all", statistic=statistic).p_value
    drawn = permutation_test(POSITIONS, RETURNS, draws=20_000, statistic=statistic, seed=3)
    assert drawn.p_value == pytest.approx(exact, abs=4 * math.sqrt(0.25 / 20_000))
    assert not drawn.exact
    signs = sign_test(RETURNS, draws="all", statistic=statistic).p_value
    assert sign_test(RETURNS, draws=20_000, statistic=statistic).p_value == pytest.approx(signs, abs=0.015)
    assert permutation_test(POSITIONS, RETURNS, draws=50, seed=3) == permutation_test(
        POSITIONS, RETURNS, draws=50, seed=3
    )


def test_a_perfect_strategy_has_the_smallest_p_value_there_is() -> None:
    r = np.random.default_rng(31).normal(0, 0.01, 300)
    found = permutation_test(np.sign(r), r, draws=999)
    assert found.p_value == 1 / 1000
    assert sign_test(np.abs(r), draws=999, block=5).p_value == pytest.approx(1 / 1000)


def test_p_values_of_chance_are_uniform() -> None:
    rng = np.random.default_rng(32)
    held = rng.integers(-1, 2, (400, 60))
    r = rng.standard_t(3, (400, 60)) * 0.01
    for p in (
        [permutation_test(a, b, draws=199, seed=i).p_value for i, (a, b) in enumerate(zip(held, r, strict=True))],
        [sign_test(a * b, draws=199, seed=i).p_value for i, (a, b) in enumerate(zip(held, r, strict=True))],
    ):
        assert scipy_stats.kstest(p, "uniform").pvalue > 0.01
        assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_blocks_keep_the_level_where_single_rows_do_not() -> None:
    # Slow positions and slow returns that know nothing of each other.
    rng = np.random.default_rng(33)
    rates = []
    for block in (1, 40):
        p = []
        for seed in range(120):
            walk = np.cumsum(rng.normal(size=(2, 420)), axis=1)
            held, r = (np.convolve(x, np.ones(20) / 20, "valid") for x in np.diff(walk))
            p.append(permutation_test(np.sign(held), r, block=block, draws=99, seed=seed).p_value)
        rates.append(np.mean(np.array(p) <= 0.05))
    assert rates[0] > 0.2
    assert rates[1] < 0.12


# ---- the best of many ------------------------------------------------------------------------------------------------


def test_the_reality_check_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(41)
    matrix = rng.normal(0.0005, 0.01, (120, 6))
    matrix[:, 3] -= 0.01  # hopeless
    found = reality_check(matrix, block=5.0, draws=300, seed=9)
    again = np.random.default_rng(9)
    rows = [stationary_rows(again, 120, 5.0) for _ in range(300)]
    mean = matrix.mean(axis=0)
    # White: the greatest of the recentred means.
    white = [max(math.sqrt(120) * (matrix[at, k].mean() - mean[k]) for k in range(6)) for at in rows]
    assert found.p_white == (1 + sum(v >= math.sqrt(120) * mean.max() for v in white)) / 301
    # Hansen: studentised by the bootstrap's own variance, hopeless ones not recentred.
    omega = np.sqrt([brute_variance(matrix[:, k], 5.0) for k in range(6)])
    threshold = -math.sqrt(2 * math.log(math.log(120)))
    centre = [mean[k] if math.sqrt(120) * mean[k] / omega[k] >= threshold else 0.0 for k in range(6)]
    assert centre[3] == 0.0
    spa = [max(0.0, *(math.sqrt(120) * (matrix[at, k].mean() - centre[k]) / omega[k] for k in range(6))) for at in rows]
    observed = max(0.0, *(math.sqrt(120) * mean / omega))
    assert found.p_spa == (1 + sum(v >= observed for v in spa)) / 301
    assert (found.best, found.mean) == (int(mean.argmax()), mean.max())


def brute_variance(x: Any, block: float) -> float:
    """The sum of Politis and Romano (1994), with the circular covariances that the bootstrap has."""
    n = len(x)
    c = [float(np.mean((x - x.mean()) * (np.roll(x, -lag) - x.mean()))) for lag in range(n)]
    keep = 1 - 1 / block
    return c[0] + 2 * sum((1 - lag / n) * keep**lag * c[lag] for lag in range(1, n))


def test_the_variance_is_that_of_the_bootstrap_itself() -> None:
    rng = np.random.default_rng(42)
    x = np.convolve(rng.normal(size=203), np.ones(4) / 4, "valid")
    drawn = [x[stationary_rows(rng, 200, 8.0)].mean() for _ in range(20_000)]
    assert 200 * np.var(drawn) == pytest.approx(brute_variance(x, 8.0), rel=0.05)


def test_runs_of_the_stationary_bootstrap_have_their_length() -> None:
    rng = np.random.default_rng(43)
    rows = stationary_rows(rng, 100_000, 10.0)
    breaks = np.count_nonzero(np.diff(rows) % 100_000 != 1)
    assert 100_000 / breaks == pytest.approx(10, rel=0.05)
    assert np.bincount(rows, minlength=100_000).sum() == 100_000


def test_one_good_among_many_is_found_and_luck_is_not() -> None:
    rng = np.random.default_rng(44)
    good = rng.normal(0, 0.01, (500, 40))
    good[:, 5] += 0.002
    assert reality_check(good, draws=999).p_spa < 0.05
    luck = [reality_check(rng.normal(0, 0.01, (200, 20)), draws=199, block=2, seed=i) for i in range(150)]
    for name in ("p_white", "p_spa"):
        rate = np.mean([getattr(result, name) <= 0.1 for result in luck])
        assert rate <= 0.1 + 3 * math.sqrt(0.09 / 150)
        assert rate > 0.02
    # A crowd of hopeless candidates hides the good one from White, not from Hansen.
    crowd = np.hstack([good[:, 5:6], rng.normal(-0.01, 0.05, (500, 60))])
    result = reality_check(crowd, draws=999)
    assert result.p_spa < 0.05 < result.p_white


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: permutation_test([1, 2, 3], [1, 2]), "3 positions and 2 returns"),
        (lambda: permutation_test([1, math.nan], [1, 2]), "positions: row 1 is nan"),
        (lambda: permutation_test([1, 2], [1, math.inf]), "returns: row 1 is inf"),
        (lambda: permutation_test([1, 2], [1, 2], block=2), "block=2"),
        (lambda: permutation_test([1, 2], [1, 2], block=0), "block=0"),
        (lambda: permutation_test([1, 2], [1, 2], draws=0), "draws=0"),
        (lambda: permutation_test([1, 2], [1, 2], draws=True), "draws=True"),
        (lambda: permutation_test(range(12), range(12), draws="all"), "479,001,600"),
        (lambda: permutation_test([1, 2], [1, 2], statistic="calmar"), "statistic='calmar'"),  # type: ignore[arg-type]
        (lambda: permutation_test([1, 2], [1, 2], statistic=lambda pnl: 1.0), "one a draw"),
        (lambda: sign_test([1.0]), "at least 2 numbers"),
        (lambda: sign_test([1.0] * 30, draws="all"), "1,073,741,824"),
        (lambda: sign_test([1.0] * 3, draws="all", block=2), "block=2"),
        (lambda: sign_test([1.0] * 3, block=0.5), "block=0.5"),
        (lambda: reality_check(np.zeros((20, 2))), "column 0 does not vary"),
        (lambda: reality_check(np.zeros((5, 2))), "at least ten rows"),
        (lambda: reality_check(np.ones((20, 2)), block=21), "block=21"),
        (lambda: reality_check([1.0, 2.0]), "not the shape"),
    ],
)
def test_tests_that_cannot_be(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
