"""Walk-forward: choose on one stretch of time, trade the next, and put the traded stretches together.

    for period in walk_forward(date(2012, 1, 1), date(2024, 1, 1), formation="12mo", trading="6mo"):
        ...
    done = run_walk_forward(periods, lambda period: backtest_of(period).run())

Every boundary is counted from `start`, so that months of different lengths do not add up to a drift. What it assumes:
the function given for a period uses nothing from beyond `formation_end` for its choices; nothing here can enforce that
(`check_lookahead` can test it). Absent: an optimiser; positions carried from one period into the next.

Source: Pardo (2008), *The Evaluation and Optimization of Trading Strategies*, ch. 11.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import polars as pl

from helios.duration import nanoseconds
from helios.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from helios.research.results import Results

When = TypeVar("When", bound=date)

_CALENDAR = re.compile(r"\s*(\d+)\s*(mo|y)\s*")
_SERIES = ("return", "pnl")


@dataclass(frozen=True)
class Period(Generic[When]):
    """One step: formation is [formation_start, formation_end), trading [trading_start, trading_end)."""

    number: int
    formation_start: When
    formation_end: When
    trading_start: When
    trading_end: When

    def __str__(self) -> str:
        return f"period {self.number} ({self.trading_start} to {self.trading_end})"


@dataclass(frozen=True)
class _Length:
    """A whole number of calendar months, and an exact length on top."""

    months: int = 0
    exact: timedelta = timedelta()

    @classmethod
    def of(cls, length: str | timedelta, what: str) -> _Length:
        match = _CALENDAR.fullmatch(length) if isinstance(length, str) else None
        if match is not None:
            months = int(match[1]) * (12 if match[2] == "y" else 1)
            if months == 0:
                raise ArgumentError(f"{what} is {length!r}: it must be longer than zero")
            return cls(months)
        try:
            ns = nanoseconds(length, what)
        except ArgumentError as error:
            raise ArgumentError(f"{error}; or calendar months and years, like '12mo' or '1y'") from None
        return cls(0, length if isinstance(length, timedelta) else timedelta(microseconds=ns / 1000))

    def plus(self, other: _Length, times: int = 1) -> _Length:
        return _Length(self.months + times * other.months, self.exact + times * other.exact)

    def after(self, start: When) -> When:
        """A day that the month does not have becomes the month's last."""
        years, month = divmod(start.month - 1 + self.months, 12)
        year = start.year + years
        day = min(start.day, calendar.monthrange(year, month + 1)[1])
        return start.replace(year=year, month=month + 1, day=day) + self.exact


def walk_forward(
    start: When,
    end: When,
    *,
    formation: str | timedelta,
    trading: str | timedelta,
    step: str | timedelta | None = None,
    gap: str | timedelta | None = None,
    anchored: bool = False,
) -> Iterator[Period[When]]:
    """Periods from `start` on, each `step` (by default `trading`) later than the one before, until `end`.

    Lengths are calendar months or years ("12mo", "1y"), other texts ("30d", "4h") or timedeltas; dates take whole days.
    Formation ends `gap` before trading starts. `anchored`: every formation begins at `start`. The last trading stretch
    is cut at `end`. Raises ArgumentError for lengths that make no period.
    """
    if not isinstance(start, date) or type(start) is not type(end):
        raise ArgumentError(f"start={start!r}, end={end!r}: give two dates or two datetimes")
    if isinstance(start, datetime) and isinstance(end, datetime) and (start.tzinfo is None) != (end.tzinfo is None):
        raise ArgumentError(f"start={start!r}, end={end!r}: one has a time zone and the other has none")
    form, trade = _Length.of(formation, "formation"), _Length.of(trading, "trading")
    pace = trade if step is None else _Length.of(step, "step")
    pause = _Length() if gap is None else _Length.of(gap, "gap")
    if not isinstance(start, datetime):
        for name, length in (("formation", form), ("trading", trade), ("step", pace), ("gap", pause)):
            if length.exact % timedelta(days=1):
                raise ArgumentError(f"{name}={length.exact}: between dates a length is whole days; give datetimes")
    first = form.plus(pause).after(start)
    if not first < end:
        raise ArgumentError(f"the first trading would start at {first}, but the data ends at {end}")
    return _periods(start, end, form, trade, pace, pause, anchored)


def _periods(
    start: When, end: When, form: _Length, trade: _Length, pace: _Length, pause: _Length, anchored: bool
) -> Iterator[Period[When]]:
    number = 0
    while True:
        begun = _Length().plus(pace, number)
        formed = begun.plus(form)
        trading_start = formed.plus(pause).after(start)
        if not trading_start < end:
            return
        trading_end = min(formed.plus(pause).plus(trade).after(start), end)
        yield Period(number, start if anchored else begun.after(start), formed.after(start), trading_start, trading_end)
        number += 1


@dataclass(frozen=True, eq=False)
class WalkForward:
    """Out-of-sample results of all periods as one series.

    `series` has `period`, `ts`, `return` (a fraction) or `pnl` (money), and `equity`: the product of 1 + return, or
    the sum of pnl.
    """

    periods: list[Period[Any]]
    series: pl.DataFrame


def run_walk_forward(
    periods: Iterable[Period[Any]], run: Callable[[Period[Any]], pl.DataFrame | Results]
) -> WalkForward:
    """Calls `run` for each period and joins what it returns: no moment twice, none left out between periods.

    `run` returns a frame with `ts` and either `return` or `pnl`, or the Results of a backtest with
    `start=period.trading_start, stop=period.trading_end`, whose equity samples then make `pnl`. Rows must lie in the
    period's trading: days (Date) from `trading_start` up to but without `trading_end`; moments, which stamp the END of
    what they measure, after `trading_start` up to and with `trading_end`.

    Raises ArgumentError for periods that overlap or leave a gap, DataError for rows outside a period's trading, out of
    order, not finite, or missing altogether.
    """
    parts: list[pl.DataFrame] = []
    known: list[Period[Any]] = []
    for period in periods:
        if known and known[-1].trading_end != period.trading_start:
            wrong = "overlaps" if period.trading_start < known[-1].trading_end else "leaves a gap after"
            raise ArgumentError(f"{period} {wrong} {known[-1]}: use a step as long as trading to get one series")
        known.append(period)
        parts.append(_part(period, run(period)))
        if parts[-1].columns != parts[0].columns or parts[-1].schema["ts"] != parts[0].schema["ts"]:
            raise DataError(f"has {parts[-1].schema}, the first had {parts[0].schema}", source=str(period))
    if not parts:
        raise ArgumentError("there are no periods to run")
    series = pl.concat(parts)
    name = series.columns[-1]
    equity = (1 + pl.col(name)).cum_prod() if name == "return" else pl.col(name).cum_sum()
    return WalkForward(known, series.with_columns(equity.alias("equity")))


def _part(period: Period[Any], result: Any) -> pl.DataFrame:
    frame = result if isinstance(result, pl.DataFrame) else _pnl_of(period, result)
    source = str(period)
    values = [name for name in _SERIES if name in frame.columns]
    if "ts" not in frame.columns or len(values) != 1:
        raise DataError(
            f"has the columns {', '.join(frame.columns)}",
            source=source,
            hint="A result has ts and return, or ts and pnl.",
        )
    ts = frame["ts"]
    if not ts.dtype.is_temporal() or ts.null_count():
        raise DataError(f"times are {ts.dtype}, {ts.null_count()} of them null", source=source, column="ts")
    if not frame.height:
        raise DataError(
            "has no rows: that would be a gap", source=source, hint="A period without trades returns zeros."
        )
    begin, end = _bounds(period, ts.dtype)
    inside = (ts >= begin) & (ts < end) if ts.dtype == pl.Date else (ts > begin) & (ts <= end)
    if not inside.all():
        row = int((~inside).arg_true()[0])
        interval = f"[{begin}, {end})" if ts.dtype == pl.Date else f"({begin}, {end}]"
        raise DataError(f"{ts[row]} is outside the trading {interval}", source=source, row=row, column="ts")
    if not (ts.diff().drop_nulls() > timedelta()).all():
        row = int((ts.diff() <= timedelta()).arg_true()[0])
        raise DataError(f"{ts[row]} is not after the row before it", source=source, row=row, column="ts")
    numbers = frame[values[0]].cast(pl.Float64)
    bad = (numbers.is_null() | ~numbers.is_finite().fill_null(False)).arg_true()
    if len(bad):
        raise DataError(f"{numbers[int(bad[0])]} is no number", source=source, row=int(bad[0]), column=values[0])
    return frame.select(pl.lit(period.number, pl.Int64).alias("period"), "ts", numbers)


def _bounds(period: Period[Any], dtype: pl.DataType) -> list[Any]:
    """The trading's ends in the terms of a column of times."""
    both = (period.trading_start, period.trading_end)
    if dtype == pl.Date:
        return [at.date() if isinstance(at, datetime) else at for at in both]
    zone = getattr(dtype, "time_zone", None)
    moments = (at if isinstance(at, datetime) else datetime(at.year, at.month, at.day) for at in both)
    if zone is None:
        return [at if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None) for at in moments]
    return [at if at.tzinfo is not None else at.replace(tzinfo=UTC) for at in moments]


def _pnl_of(period: Period[Any], results: Results) -> pl.DataFrame:
    """Changes of the net P&L between equity samples of the period's trading, the first from what stood at its start."""
    from helios.research.results import Results

    if not isinstance(results, Results):
        raise ArgumentError(f"{period}: a {type(results).__name__} came back, not a frame or Results")
    path = pl.DataFrame({"ts": results.equity["ts"], "net": results.net_path})
    begin, end = _bounds(period, path.schema["ts"])
    before = path.filter((pl.col("ts") <= begin) & pl.col("net").is_finite())
    after = path.filter(pl.col("ts") > end)["ts"]
    if len(after) > 1:
        hint = "Give its Backtest stop=period.trading_end, or the next period's money would be counted here too."
        raise DataError(f"the run goes on to {after[-1]}, after its trading", source=str(period), hint=hint)
    # The venue's answers to the last orders may come after the end: the run's last sample has them.
    path = path.filter((pl.col("ts") > begin) & pl.col("net").is_finite())
    path = (
        path.with_columns(pl.min_horizontal("ts", pl.lit(end, path.schema["ts"]))).unique("ts", keep="last").sort("ts")
    )
    base = float(before["net"][-1]) if before.height else 0.0
    net = path["net"].to_numpy()
    return path.select("ts", pl.Series("pnl", np.diff(net, prepend=base)))
