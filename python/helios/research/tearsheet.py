"""A tear sheet: what a series of returns was, in numbers, tables and two pictures, for terminal, notebook and browser.

Assumes simple returns of equal periods, after all costs, of money that is compounded. It measures; whether the past
repeats it cannot say. Every number comes from `metrics`, where its definition and source stand. Absent on purpose:
parametric risk, Monte Carlo paths, scores.

    sheet = tearsheet(results, benchmark=index)     # Results, a Polars frame, or a pandas Series with dates
    print(sheet); sheet.metrics.sharpe_ratio; sheet.monthly; sheet.save("sheet.html")
"""

from __future__ import annotations

import calendar
import math
import os
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from functools import cached_property
from html import escape
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from helios.errors import ArgumentError, DataError
from helios.research import charts, metrics, page, picture, text
from helios.research.results import SHARPE_MIN_DAYS, Results

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

#: Samples in the moving window unless told otherwise: a quarter of daily returns.
WINDOW: Final = 63
WORST: Final = 5
_DAY_NS: Final = 86_400 * 10**9
_TIME: Final = pl.Datetime("ns")
# Usual distance of samples, in days -> periods of a year. Daily ones are told apart by their weekends.
_SPACINGS: Final = (((5.0, 9.0), 52.0), ((27.0, 32.0), 12.0), ((85.0, 95.0), 4.0), ((360.0, 370.0), 1.0))
_WEEKEND_SHARE: Final = 0.2
#: A series whose every value is above this is none of returns.
_NO_RETURN: Final = 0.5
_ANNUAL: Final = ("annual_return", "annual_volatility", "sharpe_ratio", "sortino_ratio", "calmar_ratio")
_MONTHS: Final = tuple(calendar.month_abbr[1:])


@dataclass(frozen=True, slots=True)
class Metrics:
    """The numbers of a series of returns; fractions, not percent. None where a number has no meaning."""

    total_return: float | None
    annual_return: float | None
    annual_volatility: float | None
    sharpe_ratio: float | None
    sortino_ratio: float | None
    calmar_ratio: float | None
    omega_ratio: float | None
    max_drawdown: float | None
    #: Calendar days from the highest wealth to the day it is seen again (or the last), of the longest drawdown.
    longest_drawdown_days: float | None
    stability: float | None
    value_at_risk: float | None
    expected_shortfall: float | None
    tail_ratio: float | None
    skewness: float | None
    excess_kurtosis: float | None
    best: float | None
    worst: float | None
    #: Of the periods with a return that is not zero.
    win_rate: float | None
    average_win: float | None
    average_loss: float | None
    profit_factor: float | None


@dataclass(frozen=True, slots=True)
class Relative:
    """The numbers against a benchmark, over the periods that both have."""

    samples: int
    alpha: float | None
    beta: float | None
    correlation: float | None
    information_ratio: float | None
    tracking_error: float | None
    total_return: float | None
    """Of the benchmark."""


@dataclass(frozen=True, eq=False)
class TearSheet:
    """Returns and all that is derived from them; made by `tearsheet`."""

    name: str
    #: Columns ts, return and, with a benchmark, benchmark (null where it has no value).
    returns: pl.DataFrame
    periods_per_year: float
    #: A year's risk-free return, a fraction; taken off in the Sharpe and Sortino ratios, Omega, alpha and beta.
    risk_free: float = 0.0
    benchmark_name: str | None = None
    window: int = WINDOW

    @cached_property
    def metrics(self) -> Metrics:
        """The numbers."""
        r, year, free = self._values("return"), self.periods_per_year, self._free
        active = r[r != 0]
        days = self._drawdowns["days"].max()
        told = Metrics(
            total_return=metrics.total_return(r),
            annual_return=metrics.annual_return(r, year),
            annual_volatility=metrics.annual_volatility(r, year),
            sharpe_ratio=metrics.sharpe_ratio(r - free, year),
            sortino_ratio=metrics.sortino_ratio(r - free, year),
            calmar_ratio=metrics.calmar_ratio(r, year),
            omega_ratio=metrics.omega_ratio(r, free),
            max_drawdown=float(metrics.underwater(r).min()),
            longest_drawdown_days=0.0 if days is None else float(days),  # type: ignore[arg-type]
            stability=metrics.stability(r),
            value_at_risk=metrics.value_at_risk(r),
            expected_shortfall=metrics.expected_shortfall(r),
            tail_ratio=metrics.tail_ratio(r),
            skewness=metrics.skewness(r),
            excess_kurtosis=metrics.excess_kurtosis(r),
            best=float(r.max()),
            worst=float(r.min()),
            win_rate=metrics.hit_rate(active),
            average_win=metrics.average_gain(r),
            average_loss=metrics.average_loss(r),
            profit_factor=metrics.profit_factor(r),
        )
        return told if self._says_something_of_a_year else replace(told, **dict.fromkeys(_ANNUAL))

    @cached_property
    def relative(self) -> Relative | None:
        """The numbers against the benchmark; None without one."""
        if "benchmark" not in self.returns.columns:
            return None
        both = self.returns.drop_nulls("benchmark")
        r, b = both["return"].to_numpy(), both["benchmark"].to_numpy()
        year, free = self.periods_per_year, self._free
        told = Relative(
            samples=both.height,
            alpha=metrics.alpha(r - free, b - free, year),
            beta=metrics.beta(r, b),
            correlation=metrics.correlation(r, b),
            information_ratio=metrics.information_ratio(r, b, year),
            tracking_error=metrics.tracking_error(r, b, year),
            total_return=metrics.total_return(b),
        )
        if self._says_something_of_a_year:
            return told
        return replace(told, alpha=None, information_ratio=None, tracking_error=None)

    @cached_property
    def monthly(self) -> pl.DataFrame:
        """Compounded returns: a row a year, columns year, Jan … Dec (null: no sample), and the whole year's."""
        by = self.returns.select(pl.col("ts").dt.year().alias("year"), pl.col("ts").dt.month().alias("m"), "return")
        compounded = ((pl.col("return") + 1).product() - 1).alias("return")
        wide = by.group_by("year", "m").agg(compounded).pivot("m", index="year", values="return")
        wide = wide.rename({c: _MONTHS[int(c) - 1] for c in wide.columns if c != "year"})
        missing = [pl.lit(None, pl.Float64).alias(m) for m in _MONTHS if m not in wide.columns]
        years = by.group_by("year").agg(compounded.alias("whole year"))
        return wide.with_columns(missing).join(years, on="year").select("year", *_MONTHS, "whole year").sort("year")

    def drawdowns(self, worst: int = WORST) -> pl.DataFrame:
        """The deepest drawdowns: peak, trough, recovered (null: not yet), depth (a fraction), days, periods.

        `peak` is the moment of the highest wealth before it (the first sample, if wealth never was above its start);
        `days` are calendar days from there to `recovered`, or to the last sample.
        """
        if worst < 1:
            raise ArgumentError(f"drawdowns: worst={worst}: 1 or more are needed")
        return self._drawdowns.sort("depth", "peak").head(worst)

    @cached_property
    def rolling(self) -> pl.DataFrame:
        """Columns ts, sharpe, volatility (annual) over the last `window` returns; null until there are so many."""
        size = self.window
        year = pl.lit(math.sqrt(self.periods_per_year) if self._says_something_of_a_year else None, pl.Float64)
        moved = pl.col("return").rolling_std(size, ddof=1)
        mean = (pl.col("return") - self._free).rolling_mean(size)
        # A window that does not vary has no ratio; a moving sum leaves rounding errors instead of a zero.
        scale = pl.col("return").abs().rolling_max(size)
        ratio = pl.when(moved > 1e-9 * scale).then(mean / moved * year)
        return self.returns.select("ts", ratio.alias("sharpe"), (moved * year).alias("volatility"))

    def to_frame(self) -> pl.DataFrame:
        """The numbers as a frame: metric, value; those against the benchmark have "benchmark_" before their names."""
        rows = [(f.name, getattr(self.metrics, f.name)) for f in fields(Metrics)]
        if self.relative is not None:
            rows += [(f"benchmark_{f.name}", getattr(self.relative, f.name)) for f in fields(Relative)]
        rows = [(name, None if value is None else float(value)) for name, value in rows]
        return pl.DataFrame(rows, {"metric": pl.String, "value": pl.Float64}, orient="row")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes one self-contained HTML page. Returns its path; RunError if it cannot be written."""
        return page.write(path, render(self), "tear sheet")

    def __repr__(self) -> str:
        return f"<TearSheet {self.name!r}: {self.returns.height:,} returns, {self.span[0]} to {self.span[1]}>"

    def __str__(self) -> str:
        from helios.research.summary import as_text

        return as_text(lambda console: console.print(self))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _terminal(self)

    def _repr_html_(self) -> str:
        return _card(self)

    # --- What the parts need ---

    @cached_property
    def span(self) -> tuple[str, str]:
        """First and last moment, as text: dates, if all samples are of whole days."""
        ts = self.returns["ts"]
        first, last = text.moment(_utc(ts[0])), text.moment(_utc(ts[-1]))
        return (first[:10], last[:10]) if self.daily else (first, last)

    @cached_property
    def daily(self) -> bool:
        """All moments are midnights: they stand for days."""
        return bool((self.returns["ts"].to_physical() % _DAY_NS == 0).all())

    @cached_property
    def paths(self) -> pl.DataFrame:
        """Columns ts, growth, underwater and, with a benchmark, benchmark_growth: compounded, 0 at the start."""
        r = self._values("return")
        frame = self.returns.select("ts").with_columns(
            growth=pl.Series(metrics.wealth(r) - 1), underwater=pl.Series(metrics.underwater(r))
        )
        if "benchmark" not in self.returns.columns:
            return frame
        known = self.returns["benchmark"].fill_null(0.0).to_numpy()
        return frame.with_columns(benchmark_growth=pl.Series(metrics.wealth(known) - 1))

    @property
    def _says_something_of_a_year(self) -> bool:
        """A day's thousand samples do not: as for the Sharpe ratio of a run, some days are needed."""
        return self.returns["ts"].dt.date().n_unique() >= SHARPE_MIN_DAYS

    @property
    def _free(self) -> float:
        """The risk-free return of one period."""
        return float((1.0 + self.risk_free) ** (1.0 / self.periods_per_year) - 1.0)

    def _values(self, column: str) -> NDArray[np.float64]:
        return self.returns[column].to_numpy()

    @cached_property
    def _drawdowns(self) -> pl.DataFrame:
        """All drawdowns in order of time."""
        below = metrics.underwater(self._values("return"))
        ts = self.returns["ts"]
        # A spell begins where wealth falls below its peak and ends where it stands there again.
        edges = np.diff(np.concatenate([[0], (below < 0).astype(np.int8), [0]]))
        rows = []
        for first, after in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            trough = first + int(below[first:after].argmin())
            recovered = ts[int(after)] if after < len(ts) else None
            peak, end = ts[max(int(first) - 1, 0)], ts[min(int(after), len(ts) - 1)]
            days = (end - peak).total_seconds() / 86_400
            rows.append((peak, ts[int(trough)], recovered, float(below[trough]), days, int(after - first)))
        schema = dict.fromkeys(("peak", "trough", "recovered"), ts.dtype)
        schema |= {"depth": pl.Float64(), "days": pl.Float64(), "periods": pl.Int64()}
        return pl.DataFrame(rows, schema, orient="row")


def tearsheet(
    returns: Any,
    benchmark: Any = None,
    *,
    name: str | None = None,
    risk_free: float = 0.0,
    periods_per_year: float | None = None,
    window: int = WINDOW,
) -> TearSheet:
    """The tear sheet of a run's daily returns on equity, or of any returns.

    - `returns`: `Results`; a Polars frame of two columns, times (Date or Datetime) and simple returns; or a pandas
      Series with a DatetimeIndex. In order of time, without gaps in value: a period out of the market returned 0.
    - `benchmark`: the same sorts; matched by time, and what only one of them has is left out of the comparison.
    - `risk_free`: a year's return, a fraction: 0.03.
    - `periods_per_year`: of a run, its days a year (252); else 252, 365, 52, 12, 4 or 1 by the distance of the samples.
      Others must be told.
    - `window`: samples in the moving window.

    Raises DataError for returns that cannot be used, naming the first, and ArgumentError for a call that cannot be.
    """
    if window < 2:
        raise ArgumentError(f"tearsheet: window={window}: a moving window has 2 samples or more")
    if not isinstance(risk_free, Real) or not math.isfinite(risk_free) or risk_free <= -1:
        raise ArgumentError(f"tearsheet: risk_free={risk_free!r}: a year's return as a fraction, like 0.03")
    if periods_per_year is not None and not (math.isfinite(periods_per_year) and periods_per_year > 0):
        raise ArgumentError(f"tearsheet: periods_per_year={periods_per_year}: a number above zero, like 252")
    frame = _read(returns, "returns")
    if frame.height < 2:
        more = ": it needs a run over several days" if isinstance(returns, Results) else ""
        raise DataError(f"a tear sheet needs at least 2 returns, there are {frame.height}{more}", source="returns")
    if periods_per_year is None and isinstance(returns, Results):
        periods_per_year = float(returns.meta.get("days_per_year", 252))  # as its headline counts
    told = periods_per_year if periods_per_year is not None else _periods_per_year(frame["ts"])
    against = None
    if benchmark is not None:
        other = _read(benchmark, "benchmark").rename({"return": "benchmark"})
        frame = frame.join(other, on="ts", how="left", maintain_order="left")
        if frame["benchmark"].null_count() == frame.height:
            raise DataError("has no moment in common with the returns", source="benchmark", column="ts")
        against = _name_of(benchmark) or "benchmark"
    return TearSheet(name or _name_of(returns) or "returns", frame, told, risk_free, against, window)


# --- Reading ---------------------------------------------------------------------------------------------------------


def _name_of(given: Any) -> str | None:
    if isinstance(given, Results):
        return str(given.meta.get("name") or "") or None
    if isinstance(given, pl.DataFrame):
        return next((c for c, t in given.schema.items() if t.is_numeric() and c not in ("return", "returns")), None)
    return None if getattr(given, "name", None) is None else str(given.name)


def _read(given: Any, what: str) -> pl.DataFrame:
    """Columns ts (ns, without zone) and return, checked."""
    frame = _columns(given, what)
    if what == "benchmark":
        frame = frame.drop_nulls("return")  # a day without a quotation compares with nothing
    values = frame["return"]
    bad = np.flatnonzero(~np.isfinite(values.fill_null(float("nan")).to_numpy()))
    if bad.size:
        raise DataError(
            f"has no value at {frame['ts'][int(bad[0])]}, and in {bad.size} rows in all",
            source=what,
            column="return",
            row=int(bad[0]),
            hint="A period without a position returned 0; one without data must be left out or filled by you.",
        )
    order = frame["ts"].to_physical().diff().drop_nulls()
    if (order <= 0).any():
        row = int((order <= 0).arg_true()[0]) + 1
        raise DataError(f"{frame['ts'][row]} is not after the row before", source=what, column="ts", row=row)
    lowest = float(values.to_numpy().min()) if frame.height else 0.0
    if lowest > _NO_RETURN:
        raise DataError(
            f"the lowest value is {lowest:g}: these are prices",
            source=what,
            column="return",
            hint="Returns are changes: frame.with_columns(pl.col('price').pct_change()).drop_nulls().",
        )
    if (values < -1).any():
        row = int((values < -1).arg_true()[0])
        raise DataError(
            f"{values[row]} at {frame['ts'][row]} is a loss of more than everything",
            source=what,
            column="return",
            row=row,
            hint="Returns are fractions: -0.02 is a loss of two percent.",
        )
    return frame


def _columns(given: Any, what: str) -> pl.DataFrame:
    if isinstance(given, Results):
        given = given.returns
    elif not isinstance(given, pl.DataFrame) and hasattr(given, "index") and hasattr(given, "to_numpy"):
        stamps = np.asarray(given.index.to_numpy())
        if stamps.dtype.kind != "M" or np.ndim(given.to_numpy()) != 1:
            raise ArgumentError(f"tearsheet: {what}: a pandas Series needs a DatetimeIndex")
        given = pl.DataFrame(
            {"ts": pl.Series(stamps.astype("datetime64[ns]")), "return": np.asarray(given, np.float64)}
        )
    if not isinstance(given, pl.DataFrame):
        raise ArgumentError(
            f"tearsheet: {what} is a {type(given).__name__}: give Results, a Polars frame of times and returns, or a "
            "pandas Series with dates"
        )
    times = [c for c, t in given.schema.items() if isinstance(t, pl.Date | pl.Datetime)]
    numbers = [c for c, t in given.schema.items() if t.is_numeric()]
    if len(times) != 1 or len(numbers) != 1:
        raise DataError(
            f"one column of times and one of returns are needed; there are {len(times)} and {len(numbers)}",
            source=what,
            hint="Select them: frame.select('date', 'return').",
        )
    if given[times[0]].null_count():
        raise DataError("has a row without a time", source=what, column=times[0])
    stamp = pl.col(times[0])
    if getattr(given.schema[times[0]], "time_zone", None):
        stamp = stamp.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return given.select(stamp.cast(_TIME).alias("ts"), pl.col(numbers[0]).cast(pl.Float64).alias("return"))


def _periods_per_year(ts: pl.Series) -> float:
    step = float(np.median(np.diff(ts.to_physical().to_numpy()))) / _DAY_NS
    if 0.9 <= step <= 4:
        weekend = (ts.dt.weekday() >= 6).sum() / len(ts)
        return 365.0 if weekend > _WEEKEND_SHARE else 252.0
    for (low, high), periods in _SPACINGS:
        if low <= step <= high:
            return periods
    raise ArgumentError(f"tearsheet: samples are {step:g} days apart: say how many a year has, periods_per_year=…")


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


# --- How it is shown -------------------------------------------------------------------------------------------------

_PERCENT, _RATIO, _DAYS = "percent", "ratio", "days"
_SHOWN: Final[tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]] = (
    (
        "Return and risk",
        (
            ("total_return", "total return", _PERCENT),
            ("annual_return", "annual return", _PERCENT),
            ("annual_volatility", "annual volatility", _PERCENT),
            ("sharpe_ratio", "Sharpe ratio", _RATIO),
            ("sortino_ratio", "Sortino ratio", _RATIO),
            ("calmar_ratio", "Calmar ratio", _RATIO),
            ("stability", "stability R²", _RATIO),
        ),
    ),
    (
        "Drawdown and tails",
        (
            ("max_drawdown", "max drawdown", _PERCENT),
            ("longest_drawdown_days", "longest drawdown", _DAYS),
            ("value_at_risk", "value at risk, 5 %", _PERCENT),
            ("expected_shortfall", "expected shortfall, 5 %", _PERCENT),
            ("tail_ratio", "tail ratio", _RATIO),
            ("skewness", "skewness", _RATIO),
            ("excess_kurtosis", "excess kurtosis", _RATIO),
        ),
    ),
    (
        "Periods",
        (
            ("win_rate", "win rate", _PERCENT),
            ("average_win", "average win", _PERCENT),
            ("average_loss", "average loss", _PERCENT),
            ("profit_factor", "profit factor", _RATIO),
            ("omega_ratio", "Omega ratio", _RATIO),
            ("best", "best", _PERCENT),
            ("worst", "worst", _PERCENT),
        ),
    ),
)
_SHOWN_RELATIVE: Final = (
    ("total_return", "its total return", _PERCENT),
    ("alpha", "alpha, annual", _PERCENT),
    ("beta", "beta", _RATIO),
    ("correlation", "correlation", _RATIO),
    ("information_ratio", "information ratio", _RATIO),
    ("tracking_error", "tracking error", _PERCENT),
    ("samples", "periods in common", "count"),
)
_DEFINITIONS: Final = (
    ("Annual return", "the constant yearly return that compounds to the same wealth"),
    ("Annual volatility", "standard deviation (n − 1) × √(periods a year)"),
    ("Sharpe ratio", "mean / standard deviation of returns over the risk-free rate × √(periods a year)"),
    ("Sortino ratio", "the same over the root mean square of losses, a gain counting as zero"),
    ("Calmar ratio", "annual return / deepest drawdown"),
    ("Stability", "R² of a straight line through the logarithm of wealth"),
    ("Drawdown", "wealth below its highest so far; days from the peak until it is seen again, or to the end"),
    ("Value at risk, expected shortfall", "historical: the 5 % quantile of returns, and the mean of those at or below"),
    ("Tail ratio", "95 % quantile / 5 % quantile, without signs"),
    ("Skewness, kurtosis", "bias-corrected; a normal distribution has 0 and 0"),
    ("Omega, profit factor", "sum of gains / sum of losses; Omega counts from the risk-free rate"),
    ("Win rate", "share of gains among the returns that are not zero"),
    ("Alpha, beta", "regression on the benchmark, both over the risk-free rate; alpha × periods a year"),
    ("Information ratio", "annual mean of the difference to the benchmark / its annual volatility (tracking error)"),
    ("No value", f"fewer than {metrics.MIN_SAMPLES} returns or {SHARPE_MIN_DAYS} days, or nothing to divide by"),
)


def _write(value: Any, sort: str) -> str:
    if value is None:
        return text.NOT_AVAILABLE
    if sort == _PERCENT:
        return text.percent(value)
    if sort == _DAYS:
        return text.many(round(value), "day")
    return text.count(value) if sort == "count" else text.number(value)


def _groups(sheet: TearSheet) -> list[tuple[str, list[tuple[str, str]]]]:
    """Headings with (label, value as text)."""
    groups = [
        (title, [(label, _write(getattr(sheet.metrics, k), s)) for k, label, s in rows]) for title, rows in _SHOWN
    ]
    if sheet.relative is not None:
        rows = [(label, _write(getattr(sheet.relative, k), s)) for k, label, s in _SHOWN_RELATIVE]
        groups.append((f"Against {text.name(sheet.benchmark_name)}", rows))
    return groups


def _facts(sheet: TearSheet) -> list[str]:
    facts = [f"{sheet.span[0]} to {sheet.span[1]}", f"{sheet.returns.height:,} returns"]
    facts.append(f"{sheet.periods_per_year:,g} a year")
    facts.append(f"risk-free rate {text.percent(sheet.risk_free)}")
    return facts


def _moment(value: Any, *, daily: bool) -> str:
    if value is None:
        return "not yet"
    return value.strftime("%Y-%m-%d") if isinstance(value, date) and daily else text.moment(_utc(value))


def _terminal(sheet: TearSheet) -> RenderResult:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    def signed(told: str) -> Text:
        return Text(told, style="red" if told.startswith("-") else "")

    yield Text(text.name(sheet.name), style="bold")
    yield Text(" · ".join(_facts(sheet)), style="dim")
    grid = Table.grid(padding=(0, 3))
    tables = []
    for title, rows in _groups(sheet):
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        table.add_column(Text(title), no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        for label, told in rows:
            table.add_row(Text(label), signed(told))
        tables.append(table)
    for k in range(0, len(tables), 2):
        grid.add_row(*tables[k : k + 2])
    yield grid
    months = Table(box=box.SIMPLE_HEAD, padding=(0, 0), pad_edge=False, collapse_padding=True)
    for heading in ("%", *_MONTHS, "year"):
        months.add_column(heading, justify="right", no_wrap=True, min_width=6)
    for year, *values in sheet.monthly.iter_rows():
        months.add_row(Text(str(year)), *(signed("" if v is None else text.number(v * 100, 1)) for v in values))
    yield months
    worst = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in ("drawdown", "peak", "trough", "recovered", "days"):
        worst.add_column(heading, justify="right", no_wrap=True)
    for row in sheet.drawdowns().iter_rows(named=True):
        when = [_moment(row[k], daily=sheet.daily) for k in ("peak", "trough", "recovered")]
        worst.add_row(signed(text.percent(row["depth"])), *map(Text, when), Text(text.count(row["days"])))
    if worst.row_count:
        yield worst


def _card(sheet: TearSheet) -> str:
    from helios.research.plots import framed

    keys = ("total_return", "annual_return", "annual_volatility", "sharpe_ratio", "sortino_ratio", "max_drawdown")
    sorts = {k: (label, sort) for _, rows in _SHOWN for k, label, sort in rows}
    entries = [(escape(sorts[k][0]), page.signed(_write(getattr(sheet.metrics, k), sorts[k][1]))) for k in keys]
    if sheet.relative is not None:
        entries += [
            ("beta", page.signed(text.number(sheet.relative.beta))),
            ("alpha, annual", page.signed(text.percent(sheet.relative.alpha))),
        ]
    drawn = picture.image(_growth(sheet), "Compounded return and drawdown over time")
    return framed(escape(text.name(sheet.name)), escape(" · ".join(_facts(sheet))), entries, drawn)


def _growth(sheet: TearSheet) -> charts.Figure:
    return charts.growth(sheet.paths, (sheet.name, sheet.benchmark_name or ""), cut=not sheet.daily)


def render(sheet: TearSheet) -> str:
    """The page as text."""
    m = sheet.metrics
    drawn = {"growth-chart": _growth(sheet)}
    cards = [
        ("Annual return", page.signed(text.percent(m.annual_return)), f"{_signed_percent(m.total_return)} in all"),
        ("Annual volatility", text.percent(m.annual_volatility), ""),
        ("Sharpe ratio", page.signed(text.number(m.sharpe_ratio)), ""),
        ("Sortino ratio", page.signed(text.number(m.sortino_ratio)), ""),
        ("Max drawdown", _signed_percent(m.max_drawdown), f"the longest {_write(m.longest_drawdown_days, _DAYS)}"),
    ]
    tables = "".join(f"<div><h3>{escape(title)}</h3>{_counts(rows)}</div>" for title, rows in _groups(sheet))
    columns = "columns four" if sheet.relative is not None else "columns three"
    growth = page.section("Growth and drawdown", "", page.chart("growth-chart", "Compounded return over time"))
    definitions = page.terms((escape(k), f"{escape(v)}.") for k, v in _DEFINITIONS)
    body = [
        page.header("tear sheet", text.name(sheet.name), _facts(sheet)),
        page.cards(cards),
        growth,
        page.section("All numbers", "", f'<div class="{columns}">{tables}</div>'),
        page.section("Monthly returns", "Percent, compounded.", _months(sheet)),
        _worst(sheet),
        _rolling(sheet, drawn),
        f"<section><details><summary>How the numbers are made</summary>{definitions}</details></section>",
    ]
    return page.document(text.name(sheet.name), body, drawn)


def _signed_percent(value: float | None) -> str:
    return page.signed(text.percent(value))


def _counts(rows: list[tuple[str, str]]) -> str:
    told = "".join(f'<tr><td>{escape(k)}</td><td class="n">{page.signed(escape(v))}</td></tr>' for k, v in rows)
    return f'<table class="counts">{told}</table>'


def _months(sheet: TearSheet) -> str:
    """The heat table: the deeper the colour, the larger the month."""
    most = max((abs(v) for row in sheet.monthly.iter_rows() for v in row[1:13] if v is not None), default=0.0)

    def cell(value: float | None, *, shade: bool) -> str:
        if value is None:
            return ""
        told = page.signed(text.number(value * 100, 1))
        if not shade or most == 0:
            return told
        color = "43,92,138" if value >= 0 else "180,55,47"
        return f'<i style="background:rgba({color},{0.35 * abs(value) / most:.2f})">{told}</i>'

    rows = [
        [str(year), *(cell(v, shade=True) for v in values[:-1]), f"<b>{cell(values[-1], shade=False)}</b>"]
        for year, *values in sheet.monthly.iter_rows()
    ]
    return f'<div class="heat">{page.rows(["", *_MONTHS, "year"], rows, {0: ""})}</div>'


def _worst(sheet: TearSheet) -> str:
    worst = sheet.drawdowns(10)
    if not worst.height:
        return page.section("Worst drawdowns", "", page.none("Wealth never fell below its highest value."))
    rows = [
        [
            page.signed(text.percent(row["depth"])),
            *(escape(_moment(row[k], daily=sheet.daily)) for k in ("peak", "trough", "recovered")),
            text.count(row["days"]),
            text.count(row["periods"]),
        ]
        for row in worst.iter_rows(named=True)
    ]
    headings = ["depth", "peak", "trough", "recovered", "days, peak to recovery", "periods below"]
    return page.section("Worst drawdowns", "", page.rows(headings, rows, {}))


def _rolling(sheet: TearSheet, drawn: dict[str, charts.Figure]) -> str:
    title = f"The last {sheet.window} returns, moving"
    known = sheet.rolling.drop_nulls()
    if known.height < 2:
        return page.section(title, "", page.none(f"Fewer than {sheet.window + 1} returns or {SHARPE_MIN_DAYS} days."))
    drawn["rolling-chart"] = charts.rolling(known, cut=not sheet.daily)
    return page.section(title, "", page.chart("rolling-chart", "Moving Sharpe ratio and volatility"))
