"""Scans of pairs and Kalman hedge ratios: against statsmodels, plain linear algebra and what was planted."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helios.data import Universe
from helios.errors import ArgumentError, DataError, RunError
from helios.research.pairs import Pair, choose, kalman, scan
from numpy.typing import NDArray

tools = pytest.importorskip("statsmodels.tsa.stattools", reason="statsmodels is not installed")
Array = NDArray[np.float64]
FIRST = date(2020, 1, 1)
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def wide(columns: dict[str, Array]) -> pl.DataFrame:
    points = len(next(iter(columns.values())))
    return pl.DataFrame({"ts": [FIRST + timedelta(days=k) for k in range(points)], **columns})


def walks(count: int, points: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {f"W{k:03}": np.exp(4 + rng.normal(0, 0.01, points).cumsum()) for k in range(count)}


def planted(seed: int, points: int = 250, fade: float = 0.7) -> dict[str, Array]:
    """30 walks and beside the first five a P that follows it with a ratio of 0.6, 0.8 … and an AR(1) deviation."""
    rng = np.random.default_rng(seed)
    prices = walks(30, points, seed + 1000)
    for k in range(5):
        deviation = np.zeros(points)
        for t in range(1, points):
            deviation[t] = fade * deviation[t - 1] + rng.normal(0, 0.006)
        prices[f"P{k:03}"] = np.exp(0.5 + (0.6 + 0.2 * k) * np.log(prices[f"W{k:03}"]) + deviation)
    return prices


@pytest.fixture(scope="module")
def prices() -> dict[str, Array]:
    return planted(seed=1)


@pytest.fixture(scope="module")
def scanned(prices: dict[str, Array]) -> pl.DataFrame:
    return scan(wide(prices))


def sampled(scanned: pl.DataFrame, count: int = 12) -> list[dict[str, Any]]:
    """The first few and some from everywhere."""
    return [*scanned.head(4).to_dicts(), *scanned.gather_every(scanned.height // count).to_dicts()]


@pytest.mark.parametrize("lags", [0, 1, 3])
def test_engle_granger_equals_statsmodels_both_ways(prices: dict[str, Array], lags: int) -> None:
    for row in sampled(scan(wide(prices), lags=lags)):
        x, y = np.log(prices[row["a"]]), np.log(prices[row["b"]])
        t, p, _ = tools.coint(x, y, maxlag=lags, autolag=None)
        other, _, _ = tools.coint(y, x, maxlag=lags, autolag=None)
        assert row["t_statistic"] == pytest.approx(t, rel=1e-7)
        assert row["p_one_way"] == pytest.approx(p, rel=1e-6)
        assert row["p_value"] == pytest.approx(min(1.0, 2 * p), rel=1e-6)
        assert t <= other + 1e-9
        beta, _ = np.polyfit(y, x, 1)
        assert row["beta"] == pytest.approx(beta, rel=1e-8)


def test_p_values_equal_mackinnon_wherever_his_formula_changes() -> None:
    from helios.research.pairs.scanning import _statistics
    from statsmodels.tsa.adfvalues import mackinnonp, tau_max_c, tau_min_c, tau_star_c

    edges = [tau_min_c[1], tau_star_c[1], tau_max_c[1]]
    t = np.array([*np.linspace(-20, 3, 400), *edges, *(e + d for e in edges for d in (-1e-9, 1e-9))])
    ours = _statistics()[0](t)
    assert ours == pytest.approx([mackinnonp(x, regression="c", N=2) for x in t], rel=1e-12, abs=0)


@pytest.mark.parametrize("lags", [1, 2])
def test_johansen_equals_statsmodels(prices: dict[str, Array], lags: int) -> None:
    from statsmodels.tsa.vector_ar.vecm import coint_johansen

    ranks = set()
    for row in sampled(scan(wide(prices), lags=lags), count=40):
        told = coint_johansen(np.log(np.column_stack([prices[row["a"]], prices[row["b"]]])), 0, lags)
        assert row["trace"] == pytest.approx(told.trace_stat[0], rel=1e-6)
        assert row["max_eigenvalue"] == pytest.approx(told.max_eig_stat[0], rel=1e-6)
        passed = told.trace_stat > told.trace_stat_crit_vals[:, 1]
        rank = 0 if not passed[0] else 1 + int(passed[1])
        assert row["johansen_rank"] == rank
        ranks.add(rank)
    assert {0, 1} <= ranks


def test_johansen_without_lags_is_canonical_correlation() -> None:
    """By singular values (statsmodels takes the level of the same day for no lags, so it is no oracle here)."""
    prices = planted(seed=3)
    for row in sampled(scan(wide(prices), lags=0), count=5):
        x = np.log(np.column_stack([prices[row["a"]], prices[row["b"]]]))
        bases = [np.linalg.qr(part - part.mean(axis=0))[0] for part in (np.diff(x, axis=0), x[:-1])]
        roots = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False) ** 2
        terms = -(len(x) - 1) * np.log(1 - roots)
        assert row["max_eigenvalue"] == pytest.approx(terms[0], rel=1e-6)
        assert row["trace"] == pytest.approx(terms.sum(), rel=1e-6)


def test_q_values_equal_statsmodels_and_the_definition(scanned: pl.DataFrame) -> None:
    from statsmodels.stats.multitest import multipletests

    p = scanned["p_value"].to_numpy()
    for fdr in (0.05, 0.5):
        rejected, q, _, _ = multipletests(p, alpha=fdr, method="fdr_bh")
        assert scanned["q_value"].to_numpy() == pytest.approx(q, rel=1e-9)
        assert (scanned["q_value"].to_numpy() <= fdr).tolist() == rejected.tolist()
    # All up to the largest k with p(k) <= k fdr / m.
    last = max((k for k in range(1, len(p) + 1) if p[k - 1] <= k * 0.05 / len(p)), default=0)
    assert 0 < last < len(p)
    assert scanned["discovery"].to_list() == [k < last for k in range(len(p))]


def test_total_least_squares_is_the_first_singular_vector_and_the_same_from_either_side(
    prices: dict[str, Array], scanned: pl.DataFrame
) -> None:
    for row in sampled(scanned):
        x, y = np.log(prices[row["a"]]), np.log(prices[row["b"]])
        _, _, axes = np.linalg.svd(np.column_stack([y - y.mean(), x - x.mean()]), full_matrices=False)
        assert row["beta_tls"] == pytest.approx(axes[0, 1] / axes[0, 0], rel=1e-7)


def test_total_least_squares_equals_orthogonal_regression() -> None:
    odr = pytest.importorskip("scipy.odr", reason="scipy without odr")
    prices = planted(seed=5)
    row = scan(wide({name: prices[name] for name in ("W000", "P000")})).row(0, named=True)
    x, y = np.log(prices[row["b"]]), np.log(prices[row["a"]])
    fit = odr.ODR(odr.RealData(x, y), odr.unilinear, beta0=[1.0, 0.0]).run()
    assert row["beta_tls"] == pytest.approx(fit.beta[0], rel=1e-4)


@pytest.mark.filterwarnings("ignore:adfuller currently returns:FutureWarning")
def test_correlation_distance_half_life_and_windows_by_hand(prices: dict[str, Array]) -> None:
    for row in sampled(scan(wide(prices), windows=3, lags=1), count=290):
        a, b = prices[row["a"]], prices[row["b"]]
        x, y = np.log(a), np.log(b)
        assert row["correlation"] == pytest.approx(np.corrcoef(np.diff(x), np.diff(y))[0, 1], rel=1e-9)
        assert row["distance"] == pytest.approx(((a / a[0] - b / b[0]) ** 2).sum(), rel=1e-9)
        beta, alpha = np.polyfit(y, x, 1)
        e = x - alpha - beta * y
        assert row["deviation"] == pytest.approx(math.sqrt(e @ e / (len(e) - 2)), rel=1e-8)
        fade = (e[1:-1] @ np.diff(e)[1:]) / (e[1:-1] @ e[1:-1])
        assert row["half_life_s"] == pytest.approx(86_400 * math.log(2) / -math.log1p(fade), rel=1e-6)
        parts = np.array_split(np.arange(len(x)), 3)
        adf = {"regression": "c", "autolag": None}
        reverts = [tools.adfuller((x - beta * y)[k], maxlag=1, **adf)[0] <= -2.57 for k in parts]
        assert row["stability"] == pytest.approx(np.mean(reverts))
        ratios = np.array([np.polyfit(y[k], x[k], 1)[0] for k in parts])
        assert row["beta_drift"] == pytest.approx(math.sqrt(np.mean((ratios / beta - 1) ** 2)), rel=1e-6)


@pytest.mark.filterwarnings("ignore:adfuller currently returns:FutureWarning")
@pytest.mark.parametrize("lags", [0, 2])
def test_reversion_in_a_window_has_a_mean_of_its_own(prices: dict[str, Array], lags: int) -> None:
    from helios.research.pairs.moments import Moments

    logs = np.log(np.column_stack([prices["W000"], prices["P000"], prices["W001"]]))[:62]
    first, second, betas = np.array([0, 1, 2]), np.array([1, 2, 0]), np.array([1.6, 0.5, -0.3])
    ours = Moments(logs, lags, constant=True).t_statistic(first, second, betas)
    for t, a, b, beta in zip(ours, first, second, betas, strict=True):
        told = tools.adfuller(logs[:, a] - beta * logs[:, b], maxlag=lags, regression="c", autolag=None)
        assert t == pytest.approx(told[0], rel=1e-8)


def test_planted_pairs_are_found_and_nothing_else(prices: dict[str, Array], scanned: pl.DataFrame) -> None:
    assert scanned.height == 35 * 34 // 2
    found = scanned.filter("discovery")
    assert {frozenset(pair) for pair in found.select("a", "b").iter_rows()} == {
        frozenset((f"W{k:03}", f"P{k:03}")) for k in range(5)
    }
    # That each price reverts by itself (2) is seen too often without drift.
    assert found["johansen_rank"].min() == 1
    assert (found["johansen_rank"] == 1).sum() >= 4
    for row in found.iter_rows(named=True):
        ratio = 0.6 + 0.2 * int(row["a"][1:])
        expected = ratio if row["a"][0] == "P" else 1 / ratio
        for name in ("beta", "beta_tls", "beta_kalman"):
            assert row[name] == pytest.approx(expected, rel=0.15), name
        # ln 2 / -ln 0.7 = 1.9 days. Of 250 points of such an AR(1), 998 of 1,000 give 0.52 to 0.81 for 0.7.
        assert 1.06 < row["half_life_s"] / 86_400 < 3.3
        assert row["stability"] >= 0.75
        assert row["beta_drift"] < 0.2


def test_unrelated_walks_pass_one_test_in_twenty_and_none_after_the_correction() -> None:
    told = [scan(wide(walks(100, 250, seed))) for seed in range(6)]
    rate = np.mean([(each["p_value"] <= 0.05).mean() for each in told])
    assert 0.03 < rate < 0.06
    # Johansen's critical values are for prices with drift, which these have not.
    assert 0.07 < np.mean([(each["johansen_rank"] > 0).mean() for each in told]) < 0.15
    # What the doubling is for: the stronger of two directions alone would pass too often.
    assert np.mean([(each["p_one_way"] <= 0.05).mean() for each in told]) > 0.07
    assert sum(each["discovery"].sum() for each in told) == 0
    # A walk with a beta fitted to it scores a little above the 0.1 of a known one.
    assert 0.08 < np.mean([each["stability"].mean() for each in told]) < 0.16


def test_a_scan_and_a_choice_make_the_same_regressions(prices: dict[str, Array], scanned: pl.DataFrame) -> None:
    everything = {"min_correlation": 0.0, "t_statistic": math.inf, "beta": (-math.inf, math.inf), "per_symbol": 1_000}
    chosen = choose(wide(prices), count=10_000, horizon=1, **everything)
    same = scanned.select("a", "b", "beta", "correlation", "t_statistic", "half_life_s", "deviation")
    assert len(chosen) == same.height
    for pair, row in zip(chosen[:200], same.iter_rows(), strict=False):
        assert (pair.a, pair.b) == row[:2]
        told = [pair.beta, pair.correlation, pair.t_statistic, pair.half_life_s, pair.deviation]
        assert told == pytest.approx(row[2:], rel=1e-12)


def test_same_rows_same_pairs_whatever_their_order_and_shape(prices: dict[str, Array], scanned: pl.DataFrame) -> None:
    table = wide(prices)
    assert scan(table.reverse()).equals(scanned)
    assert scan(table.select("ts", *sorted(prices, reverse=True))).equals(scanned)
    long = table.unpivot(index="ts", variable_name="symbol", value_name="price")
    assert scan(long.sample(fraction=1.0, shuffle=True, seed=1)).equals(scanned)


def test_in_parts_as_in_one(prices: dict[str, Array], scanned: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helios.research.pairs.scanning.CHUNK", 100)
    assert scan(wide(prices)).equals(scanned)


def test_filters_come_before_the_tests_and_their_count(prices: dict[str, Array], scanned: pl.DataFrame) -> None:
    for change, kept in (
        ({"min_correlation": 0.1}, scanned["correlation"].abs() >= 0.1),
        ({"max_distance": 1.0}, scanned["distance"] <= 1.0),
    ):
        told = scan(wide(prices), **change)
        assert 0 < told.height < scanned.height
        rest = scanned.filter(kept)
        assert told.drop("q_value", "discovery", "beta_kalman").equals(rest.drop("q_value", "discovery", "beta_kalman"))
        # Fewer looks, so a surer answer for the same p-value.
        assert (told["q_value"] <= rest["q_value"]).all()
        assert (told["q_value"] < rest["q_value"]).any()
    none = scan(wide(prices), min_correlation=2.0)
    assert none.is_empty()
    assert none.schema == scanned.schema


def test_groups_are_kept_apart_and_named(prices: dict[str, Array]) -> None:
    groups = {name: name[0] for name in prices if name != "P004"}
    told = scan(wide(prices), groups)
    assert told.height == 30 * 29 // 2 + 4 * 3 // 2
    assert (told["a"].str.head(1) == told["group"]).all()
    assert (told["b"].str.head(1) == told["group"]).all()


def test_a_universe_is_that_of_the_last_day_unless_said(prices: dict[str, Array]) -> None:
    leaves = FIRST + timedelta(days=100)
    members = Universe(
        pl.DataFrame(
            {
                "symbol": ["W000", "P000", "W001", "P001", "GONE"],
                "start": [FIRST, FIRST, FIRST, leaves, FIRST],
                "end": [None, None, leaves, None, None],
            }
        )
    )
    table = wide(prices)
    assert set(scan(table, universe=members)["a"]) | set(scan(table, universe=members)["b"]) == {"W000", "P000", "P001"}
    early = scan(table, universe=members, on=FIRST + timedelta(days=99))
    assert set(early["a"]) | set(early["b"]) == {"W000", "P000", "W001"}
    assert "group" not in early.columns
    with pytest.raises(DataError, match="no members on 2019-12-31: it spans 2020-01-01 to today"):
        scan(table, universe=members, on="2019-12-31")
    with pytest.raises(DataError, match="no price is of a member on 2020-09-06"):
        scan(table.select("ts", "W005", "W006"), universe=members)
    with pytest.raises(ArgumentError, match="pass universe="):
        scan(table, on=FIRST)


def test_missing_prices_carry_the_last_one_and_rare_symbols_are_left_out(prices: dict[str, Array]) -> None:
    table = wide(prices).select("ts", "W000", "P000", "W001")
    holes = table.with_row_index().with_columns(
        P000=pl.when(pl.col("index") % 7 == 3).then(math.nan).otherwise("P000"),
        W000=pl.when(pl.col("index") % 5 == 2).then(None).otherwise("W000"),
        W001=pl.when(pl.col("index") < 60).then(None).otherwise("W001"),
    )
    told = scan(holes.drop("index"))
    carried = table.with_columns(
        holes.select(pl.col("P000").fill_nan(None).forward_fill(), pl.col("W000").forward_fill())
    )
    assert told.height == 1
    assert told.equals(scan(carried.drop("W001")))


def test_a_price_that_stands_still_and_a_twin_are_not_tested(prices: dict[str, Array], scanned: pl.DataFrame) -> None:
    odd = prices | {"STILL": np.full(250, 50.0), "TWIN": 3.0 * prices["W007"]}
    told = scan(wide(odd))
    assert "STILL" not in [*told["a"], *told["b"]]
    assert told.height == 36 * 35 // 2 - 1
    rest = told.filter((pl.col("a") != "TWIN") & (pl.col("b") != "TWIN"))
    assert rest["t_statistic"].to_list() == pytest.approx(scanned["t_statistic"].to_list(), rel=1e-9)
    # Still in one window only: tested, and that window is not counted as one in which it reverted.
    part = prices["W007"].copy()
    part[:62] = part[62]
    told = scan(wide({"PART": part, "W008": prices["W008"]}))
    assert told["stability"][0] <= 0.75
    assert math.isfinite(told["beta_drift"][0])


def test_near_twins_are_measured_to_five_digits_or_refused() -> None:
    rng = np.random.default_rng(21)
    tested = 0
    for size in (1e-3, 1e-5, 1e-6, 3e-7, 1e-8):
        x, e = 4 + rng.normal(0, 0.01, 250).cumsum(), np.zeros(250)
        for t in range(1, 250):
            e[t] = 0.8 * e[t - 1] + rng.normal()
        told = scan(wide({"A": np.exp(1 + 0.9 * x + size * e), "B": np.exp(x)}))
        for row in told.iter_rows(named=True):
            first, second = (1 + 0.9 * x + size * e, x) if row["a"] == "A" else (x, 1 + 0.9 * x + size * e)
            # A second fit, to what the first left, takes away what the first rounded.
            left = first - np.polyval(np.polyfit(second - second.mean(), first, 1), second - second.mean())
            left -= np.polyval(np.polyfit(second - second.mean(), left, 1), second - second.mean())
            design = np.column_stack([left[1:-1], np.diff(left)[:-1]])
            gamma, rest, *_ = np.linalg.lstsq(design, np.diff(left)[1:], rcond=None)
            variance = rest[0] / (len(design) - 2) * np.linalg.inv(design.T @ design)[0, 0]
            assert row["t_statistic"] == pytest.approx(gamma[0] / math.sqrt(variance), rel=3e-5)
            tested += 1
    assert 3 <= tested < 5


def test_a_scan_written_as_csv_is_a_file_of_pairs_that_a_run_reads(scanned: pl.DataFrame, tmp_path: Path) -> None:
    from helios.config import _pairs_of

    scanned.write_csv(tmp_path / "pairs.csv")
    assert _pairs_of(tmp_path / "pairs.csv") == scanned.select("a", "b", "beta").rows()


def test_the_first_pairs_get_a_filtered_ratio(prices: dict[str, Array], scanned: pl.DataFrame) -> None:
    few = scan(wide(prices), kalman_pairs=3)
    assert few["beta_kalman"].is_null().to_list() == [False] * 3 + [True] * (few.height - 3)
    path = kalman(wide(prices), scanned.head(3))
    assert path.filter(pl.col("ts") == path["ts"].max())["beta"].to_list() == pytest.approx(
        few["beta_kalman"][:3].to_list(), rel=1e-12
    )


def test_kalman_equals_statsmodels(prices: dict[str, Array]) -> None:
    from statsmodels.tsa.statespace.kalman_filter import KalmanFilter

    pairs = [("W000", "P000"), ("P003", "W003"), ("W010", "W020")]
    path = kalman(wide(prices), pairs, beta_step=0.01, alpha_step=0.002, noise=0.02)
    assert path.height == 3 * 250
    assert path.head(3).select("a", "b").rows() == pairs
    for a, b in pairs:
        y, x = np.log(prices[a]), np.log(prices[b])
        model = KalmanFilter(k_endog=1, k_states=2, nobs=250)
        model.bind(y[:, None].copy())
        model["design"] = np.stack([np.ones(250), x - x[0]])[None]
        model["obs_cov"] = np.array([[0.02**2]])
        model["transition"] = model["selection"] = np.eye(2)
        model["state_cov"] = np.diag([0.002**2, 0.01**2])
        model.initialize_known(np.array([y[0], 1.0]), np.eye(2))
        told = model.filter()
        ours = path.filter((pl.col("a") == a) & (pl.col("b") == b))
        assert ours["alpha"].to_numpy() == pytest.approx(told.filtered_state[0], abs=1e-9)
        assert ours["beta"].to_numpy() == pytest.approx(told.filtered_state[1], abs=1e-9)
        assert ours["beta_std"].to_numpy() ** 2 == pytest.approx(told.filtered_state_cov[1, 1], abs=1e-10)
        assert ours["spread"].to_numpy() == pytest.approx(told.forecasts_error[0], abs=1e-9)
        assert ours["spread_std"].to_numpy() ** 2 == pytest.approx(told.forecasts_error_cov[0, 0], abs=1e-10)


def test_kalman_without_steps_ends_at_bayesian_least_squares_and_follows_a_ratio_that_moves() -> None:
    prices = planted(seed=7)
    y, x = np.log(prices["P002"]), np.log(prices["W002"])
    end = kalman(wide(prices), [("P002", "W002")], beta_step=0.0, noise=0.01).row(-1, named=True)
    design = np.column_stack([np.ones(250), x - x[0]])
    precision = design.T @ design / 0.01**2 + np.eye(2)
    alpha, beta = np.linalg.solve(precision, design.T @ y / 0.01**2 + np.array([y[0], 1.0]))
    assert (end["alpha"], end["beta"]) == pytest.approx((alpha, beta), abs=1e-9)

    rng = np.random.default_rng(8)
    b = rng.normal(0, 0.01, 2_000).cumsum()
    ratio = np.linspace(0.5, 1.5, 2_000)
    moving = {"B": np.exp(b), "A": np.exp(ratio * b + rng.normal(0, 0.005, 2_000))}
    path = kalman(wide(moving), [("A", "B")], beta_step=0.005)
    fixed, _ = np.polyfit(b, np.log(moving["A"]), 1)
    error = np.sqrt(np.mean((path["beta"].to_numpy()[500:] - ratio[500:]) ** 2))
    assert error < 0.5 * np.sqrt(np.mean((fixed - ratio[500:]) ** 2))


def test_kalman_knows_nothing_of_later_rows(prices: dict[str, Array]) -> None:
    table, pairs = wide(prices), [Pair("W000", "P000", 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)]
    whole = kalman(table, pairs, noise=0.01)
    assert kalman(table.head(150), pairs, noise=0.01).equals(whole.head(150))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"W000": math.inf}, DataError, "W000 are infinite"),
        ({"W000": 0.0}, DataError, "W000 are zero or below"),
        ({"W000": -1.0}, DataError, "W000 are zero or below"),
        ({"W000": "12.5"}, DataError, "W000 are String, not numbers"),
        ({"ts": None}, DataError, "column 'ts': the time is missing"),
        ({"ts": FIRST}, DataError, "2020-01-01 is there twice"),
    ],
)
def test_bad_prices_are_said(
    prices: dict[str, Array], change: dict[str, Any], error: type[Exception], words: str
) -> None:
    (name, value), table = next(iter(change.items())), wide(prices).with_row_index()
    one = pl.lit(value, dtype=pl.Date) if name == "ts" else pl.lit(value)
    table = table.with_columns(pl.when(pl.col("index") == 30).then(one).otherwise(name).alias(name)).drop("index")
    with pytest.raises(error, match=words):
        scan(table)
    with pytest.raises(error, match=words):
        kalman(table, [("W000", "W001")])


def test_two_prices_of_a_symbol_at_one_moment_are_refused_with_their_row(prices: dict[str, Array]) -> None:
    long = wide(prices).unpivot(index="ts", variable_name="symbol", value_name="price")
    with pytest.raises(DataError, match=r"row 8750.*2020-01-04 W000 is there twice.*keep='last'"):
        scan(pl.concat([long, long.slice(3, 1)]))


def test_what_cannot_be_is_said(prices: dict[str, Array], monkeypatch: pytest.MonkeyPatch) -> None:
    table = wide(prices)
    with pytest.raises(ArgumentError, match=r"none of the symbols is in groups: 'P000', 'P001', 'P002', …, but 'KO'"):
        scan(table, {"KO": "drinks"})
    with pytest.raises(DataError, match="needs two symbols with prices at 90 % of the moments: there are 1"):
        scan(table, {"W000": "x", "KO": "x"})
    with pytest.raises(DataError, match="49 points in time are too few"):
        scan(table.head(49))
    with pytest.raises(DataError, match="several moments"):
        scan(table.head(0))
    with pytest.raises(ArgumentError, match="250 points are too few for windows=13"):
        scan(table, windows=13)
    for change, words in (
        ({"fdr": 0.0}, "fdr=0.0"),
        ({"fdr": 5.0}, "fdr=5.0"),
        ({"windows": 0}, "1 or more"),
        ({"horizon": 0}, "1 or more"),
        ({"lags": -1}, "0 or more"),
        ({"beta_step": math.nan}, "beta_step=nan"),
    ):
        with pytest.raises(ArgumentError, match=words):
            scan(table, **change)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="KO is in a pair but has no price"):
        kalman(table, [("KO", "W000")])
    with pytest.raises(ArgumentError, match="no pairs"):
        kalman(table, [])
    with pytest.raises(ArgumentError, match="W000 is paired with itself"):
        kalman(table, [("W000", "W000")])
    with pytest.raises(ArgumentError, match="no column b"):
        kalman(table, pl.DataFrame({"a": ["W000"]}))
    with pytest.raises(ArgumentError, match="noise=0"):
        kalman(table, [("W000", "P000")], noise=0)
    with pytest.raises(ArgumentError, match="alpha_step=-1"):
        kalman(table, [("W000", "P000")], alpha_step=-1)
    for name in [name for name in sys.modules if name.split(".")[0] == "statsmodels"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    with pytest.raises(RunError, match=r"pip install helios\[research\]"):
        scan(table)


def test_the_bench_runs_small_and_says_both_times() -> None:
    bench = Path(__file__).resolve().parents[2] / "benches" / "pairs_scan.py"
    told = subprocess.run([sys.executable, bench, "--small"], check=True, capture_output=True, text=True).stdout
    assert "1,770 pairs of 60 names" in told
    assert re.search(r"scan +\d+\.\d\d s.*\nstatsmodels, one by one +\d+ s +from 20 pairs: \d+ x", told)


def test_members_of_a_real_index_in_a_real_year() -> None:
    files = [
        SHARED / "sp500_daily_2010_2023" / "sp500_daily_2010_2023.parquet",
        SHARED / "sp500_membership" / "fja05680" / "sp500_ticker_start_end.csv",
    ]
    if missing := [file for file in files if not file.is_file()]:
        pytest.skip(f"there is no {missing[0].name} in ../shared")
    universe = Universe(
        pl.read_csv(files[1], try_parse_dates=True), symbol="ticker", start="start_date", end="end_date"
    )
    year = (pl.col("date") >= pl.datetime(2015, 1, 1)) & (pl.col("date") < pl.datetime(2016, 1, 1))
    rows = pl.scan_parquet(files[0]).filter(year & pl.col("ticker").str.starts_with("A")).collect()
    long = rows.select(ts="date", symbol="ticker", price=pl.col("adj_close").cast(pl.Float64))
    told = scan(long, universe=universe)
    members = set(universe.members("2015-12-31"))
    used = set(told["a"]) | set(told["b"])
    assert used <= members
    assert len(used) > 30
    assert set(long["symbol"]) - members  # the file knows companies that were not in yet
    row = told.row(0, named=True)
    whole = long.pivot("symbol", index="ts", values="price").sort("ts").select("ts", *sorted(used)).drop_nulls()
    t, _, _ = tools.coint(whole[row["a"]].log(), whole[row["b"]].log(), maxlag=1, autolag=None)
    assert row["t_statistic"] == pytest.approx(t, rel=1e-6)


@pytest.mark.parametrize(
    "said", [{"fdr": "a"}, {"min_correlation": "0.5"}, {"max_distance": "1"}, {"horizon": "1d"}, {"lags": 1.5}]
)
def test_settings_of_another_type_are_named(said: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=f"scan: {next(iter(said))}="):
        scan(wide({"A": np.arange(1.0, 50.0), "B": np.arange(2.0, 51.0)}), **said)


def test_rows_without_their_columns_say_what_there_is() -> None:
    rows = pl.DataFrame({"ts": [FIRST, FIRST], "symbol": ["A", "B"], "close": [1.0, 2.0]})
    with pytest.raises(DataError, match="need the columns ts, symbol and price; there are ts, symbol, close"):
        scan(rows)
    with pytest.raises(DataError, match="there are date, symbol, close"):
        scan(rows.rename({"ts": "date"}))
    with pytest.raises(ArgumentError, match="are a LazyFrame: give a Polars frame"):
        scan(rows.lazy())
