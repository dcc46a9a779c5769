"""The tear sheet: every number against empyrical-reloaded and quantstats, tables by hand, pages, bad input."""

from __future__ import annotations

import calendar
import math
import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helios.errors import ArgumentError, DataError, RunError
from helios.research import metrics as m
from helios.research.results import Results
from helios.research.tearsheet import TearSheet, tearsheet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

START = date(2019, 1, 2)


@pytest.fixture(scope="module")
def ep() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("empyrical", reason="empyrical-reloaded is not here: metrics were not compared")


@pytest.fixture(scope="module")
def qs() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("quantstats", reason="quantstats is not here: metrics were not compared")
        import quantstats.stats

        return quantstats.stats


def weekdays(n: int, start: date = START) -> pl.Series:
    days = pl.date_range(start, start + timedelta(days=2 * n + 7), "1d", eager=True)
    return days.filter(days.dt.weekday() < 6).head(n)


def frame(values: Any, start: date = START) -> pl.DataFrame:
    values = np.asarray(values, dtype=np.float64)
    return pl.DataFrame({"date": weekdays(len(values), start), "return": values})


def pandas_of(table: pl.DataFrame) -> Any:
    import pandas as pd

    return pd.Series(table["return"].to_numpy(), index=pd.DatetimeIndex(table["date"].to_numpy()))


@st.composite
def histories(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Returns and a benchmark: fat tails, quiet days, some of them exactly zero, every length from 20 on."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(m.MIN_SAMPLES, 400))
    market = rng.standard_t(4, n) * draw(st.sampled_from([1e-4, 0.01, 0.03]))
    own = rng.standard_t(3, n) * draw(st.sampled_from([1e-4, 0.01, 0.03])) + draw(st.floats(-0.002, 0.002))
    r = np.clip(draw(st.floats(-1.5, 1.5)) * market + own, -0.6, 2.0)
    r[rng.random(n) < draw(st.sampled_from([0.0, 0.2]))] = 0.0
    return r, np.clip(market, -0.6, 2.0)


def agrees(ours: float | None, theirs: float) -> bool:
    """Equal to nine digits; ours is None where theirs has no value."""
    if ours is None:
        return not math.isfinite(theirs) or theirs == 0
    return ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@given(histories())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_number_is_empyricals(ep: Any, history: tuple[np.ndarray, np.ndarray]) -> None:
    r, b = history
    sheet = tearsheet(frame(r), frame(b))
    ours, against = sheet.metrics, sheet.relative
    assert against is not None
    pairs = {
        "total return": (ours.total_return, ep.cum_returns_final(r)),
        "annual return": (ours.annual_return, ep.annual_return(r)),
        "volatility": (ours.annual_volatility, ep.annual_volatility(r)),
        "Sharpe": (ours.sharpe_ratio, ep.sharpe_ratio(r)),
        "Sortino": (ours.sortino_ratio, ep.sortino_ratio(r)),
        "Calmar": (ours.calmar_ratio, ep.calmar_ratio(r)),
        "Omega": (ours.omega_ratio, ep.omega_ratio(r)),
        "max drawdown": (ours.max_drawdown, ep.max_drawdown(r)),
        "stability": (ours.stability, ep.stability_of_timeseries(r)),
        "tail ratio": (ours.tail_ratio, ep.tail_ratio(r)),
        "value at risk": (ours.value_at_risk, ep.value_at_risk(r)),
        "shortfall": (ours.expected_shortfall, ep.conditional_value_at_risk(r)),
        "beta": (against.beta, ep.beta(r, b)),
        # Theirs compounds a day's alpha over the year, and leaves the information ratio per day.
        "alpha": (None if against.alpha is None else (1 + against.alpha / 252) ** 252 - 1, ep.alpha(r, b)),
        "information ratio": (against.information_ratio, ep.excess_sharpe(r, b) * math.sqrt(252)),
        "tracking error": (against.tracking_error, ep.annual_volatility(r - b)),
    }
    assert {k: v for k, v in pairs.items() if not agrees(*v)} == {}


@given(histories())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_number_is_quantstats(qs: Any, history: tuple[np.ndarray, np.ndarray]) -> None:
    r, b = history
    sheet = tearsheet(frame(r), frame(b))
    ours, against = sheet.metrics, sheet.relative
    assert against is not None
    p, q = pandas_of(frame(r)), pandas_of(frame(b))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        greeks = qs.greeks(p, q)
        pairs = {
            "total return": (ours.total_return, qs.comp(p)),
            "annual return": (ours.annual_return, qs.cagr(p)),
            "volatility": (ours.annual_volatility, qs.volatility(p)),
            "Sharpe": (ours.sharpe_ratio, qs.sharpe(p)),
            "Sortino": (ours.sortino_ratio, qs.sortino(p)),
            "Calmar": (ours.calmar_ratio, qs.calmar(p) if ours.max_drawdown else math.nan),
            "Omega": (ours.omega_ratio, qs.omega(p)),
            "max drawdown": (ours.max_drawdown, qs.max_drawdown(p)),
            "tail ratio": (ours.tail_ratio, qs.tail_ratio(p)),
            "skewness": (ours.skewness, qs.skew(p)),
            "kurtosis": (ours.excess_kurtosis, qs.kurtosis(p)),
            "win rate": (ours.win_rate, qs.win_rate(p)),
            "average win": (ours.average_win, qs.avg_win(p)),
            "average loss": (ours.average_loss, qs.avg_loss(p)),
            "profit factor": (ours.profit_factor, qs.profit_factor(p)),
            "beta": (against.beta, greeks["beta"]),
            "alpha": (against.alpha, greeks["alpha"]),
            "correlation": (None if against.correlation is None else against.correlation**2, qs.r_squared(p, q)),
            "information ratio": (against.information_ratio, qs.information_ratio(p, q) * math.sqrt(252)),
        }
        # Of returns that are equal at the quantile (days of zero) quantstats averages all, empyrical and we as many as
        # the level says.
        if (r <= ours.value_at_risk).sum() == int(0.05 * (len(r) - 1)) + 1:
            pairs["shortfall"] = (ours.expected_shortfall, qs.cvar(p, method="historical"))
    assert {k: v for k, v in pairs.items() if not agrees(*v)} == {}


@given(histories(), st.floats(-0.02, 0.1))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_risk_free_rate_is_taken_off_as_they_do(
    ep: Any, qs: Any, history: tuple[np.ndarray, np.ndarray], rate: float
) -> None:
    r, b = history
    sheet = tearsheet(frame(r), frame(b), risk_free=rate)
    daily = (1 + rate) ** (1 / 252) - 1
    assert sheet.relative is not None
    pairs = {
        "Sharpe": (sheet.metrics.sharpe_ratio, ep.sharpe_ratio(r, risk_free=daily)),
        "Sortino": (sheet.metrics.sortino_ratio, ep.sortino_ratio(r, required_return=daily)),
        "Omega": (sheet.metrics.omega_ratio, ep.omega_ratio(r, required_return=rate)),
        "beta": (sheet.relative.beta, ep.beta(r, b, risk_free=daily)),
        "alpha": ((1 + (sheet.relative.alpha or 0) / 252) ** 252 - 1, ep.alpha(r, b, risk_free=daily)),
    }
    assert {k: v for k, v in pairs.items() if not agrees(*v)} == {}
    if rate > 0:  # quantstats passes over a rate below zero
        assert agrees(sheet.metrics.sharpe_ratio, qs.sharpe(pandas_of(frame(r)), rf=rate))


@given(histories(), st.integers(5, 60))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_moving_window_is_quantstats(qs: Any, history: tuple[np.ndarray, np.ndarray], window: int) -> None:
    r, _ = history
    r = np.where(r == 0, 1e-5, r)  # a window that stands still is tested on its own
    ours, p = tearsheet(frame(r), window=window).rolling, pandas_of(frame(r))
    for column, theirs in (
        ("sharpe", qs.rolling_sharpe(p, rolling_period=window)),
        ("volatility", qs.rolling_volatility(p, rolling_period=window)),
    ):
        told = ours[column].fill_null(float("nan")).to_numpy()
        expected = theirs.reindex(p.index).to_numpy()
        assert np.isnan(told).sum() == min(window - 1, len(r))
        np.testing.assert_allclose(told, expected, rtol=1e-6, atol=1e-9)


def test_a_window_that_stands_still_has_no_ratio() -> None:
    r = np.concatenate([np.random.default_rng(1).normal(0, 0.01, 30), np.full(40, 0.001), [0.02] * 5])
    rolling = tearsheet(frame(r), window=10).rolling
    assert rolling["sharpe"][45] is None
    assert rolling["sharpe"][20] is not None
    assert rolling["volatility"][45] == pytest.approx(0.0, abs=1e-7)


@given(histories())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_drawdowns_are_quantstats(qs: Any, history: tuple[np.ndarray, np.ndarray]) -> None:
    r = np.array([0.001, *history[0]])  # quantstats passes over a drawdown that begins with the first day
    sheet = tearsheet(frame(r))
    ours = sheet.drawdowns(10_000).sort("trough")
    below = m.underwater(r)
    days = sheet.returns["ts"].dt.date().to_list()
    # By brute force: a spell is a run of days below the peak.
    spells, first = [], None
    for k, value in enumerate([*below, 0.0]):
        if value < 0 and first is None:
            first = k
        elif not value < 0 and first is not None:
            end = days[min(k, len(days) - 1)]
            low = first + int(np.argmin(below[first:k]))
            spells.append((days[max(first - 1, 0)], days[low], (end - days[max(first - 1, 0)]).days, k - first))
            first = None
    told = ours.select(pl.col("peak", "trough").dt.date(), pl.col("days").cast(int), "periods").rows()
    assert told == spells
    assert sheet.metrics.longest_drawdown_days == max((d for *_, d, _ in spells), default=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = qs.drawdown_details(qs.to_drawdown_series(pandas_of(frame(r))))
    depths = np.sort(theirs["max drawdown"].to_numpy(dtype=float)) / 100
    deep = np.sort(ours["depth"].to_numpy())
    # Where wealth comes back to its peak to the last bit or so, one of us sees a drawdown of rounding errors.
    np.testing.assert_allclose(deep[deep < -1e-9], depths[depths < -1e-9], rtol=1e-9)


def test_drawdowns_by_hand() -> None:
    sheet = tearsheet(frame([0.1, -0.5, 0.5, 1.0, -0.2, 0.1]))
    table = sheet.drawdowns()
    days = weekdays(6)
    assert table["depth"].to_list() == pytest.approx([-0.5, -0.2])
    assert table["peak"].dt.date().to_list() == [days[0], days[3]]
    assert table["trough"].dt.date().to_list() == [days[1], days[4]]
    assert [None if v is None else v.date() for v in table["recovered"]] == [days[3], None]
    assert table["periods"].to_list() == [2, 2]
    assert sheet.metrics.max_drawdown == pytest.approx(-0.5)
    never = tearsheet(frame([0.1, 0.0, 0.2]))
    assert never.drawdowns().height == 0
    assert (never.metrics.max_drawdown, never.metrics.longest_drawdown_days) == (0.0, 0.0)


@given(histories())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_months_and_years_are_empyricals(ep: Any, history: tuple[np.ndarray, np.ndarray]) -> None:
    r, _ = history
    table, p = tearsheet(frame(r)).monthly, pandas_of(frame(r))
    months, years = ep.aggregate_returns(p, "monthly"), ep.aggregate_returns(p, "yearly")
    told = {
        (row["year"], k): row[calendar.month_abbr[k]]
        for row in table.iter_rows(named=True)
        for k in range(1, 13)
        if row[calendar.month_abbr[k]] is not None
    }
    assert told == pytest.approx({key: float(v) for key, v in months.items()}, abs=1e-12)
    assert dict(table.select("year", "whole year").iter_rows()) == pytest.approx(
        {int(y): float(v) for y, v in years.items()}, abs=1e-12
    )


def test_too_few_samples_have_no_annual_figure_and_no_ratio() -> None:
    sheet = tearsheet(frame(np.random.default_rng(1).normal(0.0, 0.01, m.MIN_SAMPLES - 1)))
    told = sheet.metrics
    for name in ("annual_return", "annual_volatility", "sharpe_ratio", "sortino_ratio", "calmar_ratio", "stability"):
        assert getattr(told, name) is None, name
    assert told.total_return is not None
    assert "n/a" in str(sheet)


def test_the_samples_of_one_day_say_nothing_of_a_year() -> None:
    stamps = pl.datetime_range(datetime(2024, 3, 4, 9), datetime(2024, 3, 4, 16), "1m", eager=True)
    table = pl.DataFrame({"ts": stamps, "r": np.random.default_rng(8).normal(0, 1e-4, len(stamps))})
    sheet = tearsheet(table, table, periods_per_year=252 * 390)
    told, against = sheet.metrics, sheet.relative
    assert told.annual_volatility is None and told.sharpe_ratio is None and told.calmar_ratio is None
    assert told.value_at_risk is not None and told.stability is not None
    assert against is not None and against.alpha is None and against.beta == pytest.approx(1.0)
    assert sheet.rolling["sharpe"].null_count() == sheet.rolling["volatility"].null_count() == len(stamps)


def test_what_never_moved_has_no_ratio() -> None:
    told = tearsheet(frame(np.zeros(50)), frame(np.full(50, 0.001)))
    assert told.metrics.sharpe_ratio is None and told.metrics.sortino_ratio is None and told.metrics.win_rate is None
    assert told.metrics.annual_return == 0.0
    assert told.relative is not None and told.relative.beta is None and told.relative.alpha is None
    assert "Wealth never fell" in render(told)


def test_ruin_is_told_and_not_divided_by() -> None:
    told = tearsheet(frame([0.01] * 20 + [-1.0] + [0.02] * 5)).metrics
    assert (told.total_return, told.annual_return, told.max_drawdown) == (-1.0, -1.0, -1.0)
    assert told.stability is None
    assert told.calmar_ratio == pytest.approx(-1.0)


# --- What goes in ----------------------------------------------------------------------------------------------------


def test_a_benchmark_is_matched_by_time() -> None:
    rng = np.random.default_rng(2)
    r, b = rng.normal(0, 0.01, 100), rng.normal(0, 0.01, 100)
    whole, late = frame(b), frame(b).tail(60).with_columns(pl.when(pl.col("return") != b[70]).then("return"))
    sheet = tearsheet(frame(r), late)
    assert sheet.relative is not None
    assert sheet.relative.samples == 59
    keep = np.arange(100) >= 40
    keep[70] = False
    assert sheet.relative.beta == pytest.approx(np.polyfit(b[keep], r[keep], 1)[0])
    full = tearsheet(frame(r), whole).relative
    assert full is not None and full.samples == 100


def test_pandas_and_polars_give_the_same() -> None:
    table = frame(np.random.default_rng(3).normal(0, 0.01, 60))
    series = pandas_of(table).rename("fund")
    one, other = tearsheet(table), tearsheet(series, series)
    assert one.metrics == other.metrics
    assert (other.name, other.benchmark_name) == ("fund", "fund")
    assert other.relative is not None and other.relative.beta == pytest.approx(1.0)
    zoned = table.with_columns(pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
    assert tearsheet(zoned).metrics == one.metrics


@pytest.mark.parametrize(("every", "periods"), [("1w", 52.0), ("1mo", 12.0), ("1q", 4.0), ("1y", 1.0), ("1d", 365.0)])
def test_the_periods_of_a_year_are_seen_in_the_dates(every: str, periods: float) -> None:
    stamps = pl.date_range(date(1990, 1, 1), date(2023, 1, 1), every, eager=True).head(30)
    values = np.random.default_rng(4).normal(0, 0.01, len(stamps))
    assert tearsheet(pl.DataFrame({"date": stamps, "r": values})).periods_per_year == periods


def test_other_distances_must_be_told() -> None:
    stamps = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 6), "1h", eager=True)
    table = pl.DataFrame({"ts": stamps, "r": np.random.default_rng(5).normal(0, 0.01, len(stamps))})
    with pytest.raises(ArgumentError, match=r"0\.0416667 days apart: say how many a year has, periods_per_year="):
        tearsheet(table)
    sheet = tearsheet(table, periods_per_year=252 * 24)
    assert sheet.metrics.annual_volatility == pytest.approx(table["r"].std() * math.sqrt(252 * 24))  # type: ignore[operator]
    assert sheet.span == ("2024-01-01 00:00:00", "2024-01-06 00:00:00")


def run_of_days(net: list[float], cash: float = 1000.0, trade_from: int | None = None) -> Results:
    """Two samples a day."""
    start = int(datetime(2024, 3, 4, 15, tzinfo=UTC).timestamp()) * 10**9
    ns = [start + (k // 2) * 86_400 * 10**9 + (k % 2) * 3600 * 10**9 for k in range(len(net))]
    zero = np.zeros(len(net))
    equity = pl.DataFrame(
        {"ts": pl.Series(ns).cast(pl.Datetime("ns", "UTC")), "equity": cash + np.asarray(net), "cash": zero + cash}
        | {"realised": net, "unrealised": zero, "fees": zero, "gross": zero, "net": zero}
    )
    return Results(equity=equity, meta={"name": "few days", "trade_from": trade_from})


def test_a_run_gives_its_daily_returns_on_equity() -> None:
    run = run_of_days([0.0, 100.0, 50.0, -10.0, -10.0, 89.0])
    assert run.returns["date"].to_list() == [date(2024, 3, 4), date(2024, 3, 5), date(2024, 3, 6)]
    assert run.returns["return"].to_list() == pytest.approx([0.1, 990 / 1100 - 1, 0.1])
    sheet = tearsheet(run)
    assert (sheet.name, sheet.periods_per_year) == ("few days", 252.0)
    assert sheet.metrics.total_return == pytest.approx(0.089)
    second = int(datetime(2024, 3, 5, tzinfo=UTC).timestamp()) * 10**9
    started = run_of_days([0.0, 100.0, 50.0, -10.0, -10.0, 89.0], trade_from=second)
    assert started.returns["return"].to_list() == pytest.approx([990 / 1100 - 1, 0.1])


def test_a_run_without_money_or_days_is_refused() -> None:
    with pytest.raises(RunError, match=r"equity falls to -50\.00: below zero there are no returns.*cash"):
        tearsheet(run_of_days([0.0, -1050.0, 0.0, 0.0]))
    with pytest.raises(DataError, match=r"at least 2 returns, there are 1: it needs a run over several days"):
        tearsheet(run_of_days([0.0, 1.0]))
    with pytest.raises(DataError, match="there are 0"):
        tearsheet(Results())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1, float("nan"), 0.2], r"returns, row 1.*has no value at 2019-01-03|has no value at 2019-01-03"),
        ([0.1, float("inf"), 0.2], "has no value at 2019-01-03"),
        ([0.1, -1.5, 0.2], "a loss of more than everything"),
        ([101.0, 99.0, 100.0], "the lowest value is 99: these are prices"),
        ([0.1], "at least 2 returns"),
    ],
)
def test_returns_that_are_none(values: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tearsheet(frame(values))


def test_calls_that_cannot_be() -> None:
    good = frame(np.random.default_rng(6).normal(0, 0.01, 30))
    with pytest.raises(DataError, match="not after the row before"):
        tearsheet(good.reverse())
    with pytest.raises(DataError, match="not after the row before"):
        tearsheet(pl.concat([good.head(1), good]))
    with pytest.raises(DataError, match="there are 1 and 2"):
        tearsheet(good.with_columns(other=1.0))
    with pytest.raises(DataError, match="row without a time"):
        tearsheet(good.with_columns(pl.lit(None, pl.Date).alias("date")))
    with pytest.raises(DataError, match="no moment in common"):
        tearsheet(good, frame([0.1, 0.2], date(1999, 1, 4)))
    with pytest.raises(ArgumentError, match="returns is a list"):
        tearsheet([0.1, 0.2])
    with pytest.raises(ArgumentError, match="DatetimeIndex"):
        tearsheet(pandas_of(good).reset_index(drop=True))
    for wrong in ({"window": 1}, {"risk_free": -1.0}, {"risk_free": float("nan")}, {"periods_per_year": 0.0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            tearsheet(good, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="worst=0"):
        tearsheet(good).drawdowns(0)


# --- What comes out --------------------------------------------------------------------------------------------------


def render(sheet: TearSheet) -> str:
    from helios.research.tearsheet import render as whole

    return whole(sheet)


@pytest.fixture(scope="module")
def sheet() -> TearSheet:
    rng = np.random.default_rng(7)
    table = frame(rng.normal(0.0005, 0.01, 400))
    return tearsheet(table, frame(rng.normal(0, 0.01, 400)).rename({"return": "<i>index</i>"}), name="<b>fund</b> & co")


def test_the_text_tells_the_numbers(sheet: TearSheet) -> None:
    told = str(sheet)
    assert max(map(len, told.splitlines())) <= 100
    assert "<b>fund</b> & co" in told and "Against <i>index</i>" in told
    assert f"{sheet.metrics.sharpe_ratio:.2f}" in told and f"{sheet.metrics.max_drawdown:.2%}" in told
    assert "2019" in told and "2020" in told and "recovered" in told


def test_the_page_stands_alone_and_names_are_text(sheet: TearSheet, tmp_path: Path) -> None:
    target = sheet.save(tmp_path / "sheet.html")
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.html"]
    whole = target.read_text(encoding="utf-8")
    assert "<b>fund" not in whole and "<i>index" not in whole
    assert "&lt;b&gt;fund&lt;/b&gt; &amp; co" in whole
    outside = whole[: whole.index("<script")]
    assert "http:" not in outside and "https:" not in outside and "src=" not in outside
    assert f"{sheet.metrics.annual_return:.2%}".replace("-", "−") in whole
    with pytest.raises(RunError, match="cannot write the tear sheet"):
        sheet.save(tmp_path / "absent" / "sheet.html")


def test_the_notebook_card_is_small_and_safe(sheet: TearSheet) -> None:
    card = sheet._repr_html_()
    assert len(card) < 100_000
    assert "<b>fund" not in card and "<script" not in card
    assert "&lt;b&gt;fund&lt;/b&gt; &amp; co" in card and "data:image/svg+xml;base64," in card


def test_the_frame_has_every_number(sheet: TearSheet) -> None:
    told = dict(sheet.to_frame().iter_rows())
    assert told["sharpe_ratio"] == sheet.metrics.sharpe_ratio
    assert sheet.relative is not None and told["benchmark_beta"] == sheet.relative.beta
    assert told["benchmark_samples"] == 400.0
