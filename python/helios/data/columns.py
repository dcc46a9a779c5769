"""Columns of the outside world as integers: decimal numbers at a stated scale, times as nanoseconds UTC.

Every function returns the values and, beside them, masks of the rows that have none; it never raises for one row. Where
a mask is set the value is 0. Assumes that one source writes one column in one way. Absent: guessing of units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from helios.errors import ArgumentError, DataError

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
TimeUnit = Literal["s", "ms", "us", "ns"]

NS_PER_UNIT: dict[str, int] = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
NS_PER_DAY = 86_400 * 1_000_000_000
#: Local times are converted by quarters of an hour: no zone has changed its offset at any other moment since 1970.
NS_PER_QUARTER = 900 * 1_000_000_000
#: 2200-01-01. A later stamp is a wrong unit, not a market.
LATEST_NS = 7_258_118_400 * 1_000_000_000
#: 1980-01-01. An integer stamp before it is a wrong unit: 2018 in seconds read as milliseconds is January 1970.
EARLIEST_EPOCH_NS = 315_532_800 * 1_000_000_000
#: Daily bars end at this local time when the caller names a time zone.
CLOSE_NS = 16 * 3600 * 1_000_000_000

AGGRESSORS = {
    **dict.fromkeys(["buy", "b", "bid", "1", "+1"], 1),
    **dict.fromkeys(["sell", "s", "a", "ask", "-1", "2"], 2),
    **dict.fromkeys(["", "none", "n", "null", "0", "unknown", "u"], 0),
}

_FORMATS = [
    *(f"%Y-%m-%d{sep}%H:%M:%S%.f{zone}" for zone in ("%#z", "") for sep in (" ", "T")),
    *(f"%Y-%m-%d{sep}%H:%M" for sep in (" ", "T")),
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y%m%d %H:%M:%S%.f",
]
_DATE_FORMATS = ["%Y-%m-%d", "%Y/%m/%d"]


# ---- numbers ---------------------------------------------------------------------------------------------------------


def fixed_point(column: pl.Series, factor: int) -> tuple[Integers, Mask, Mask]:
    """`column * factor` as int64, rounded half away from zero; masks of missing and of unrepresentable values.

    A float32 is read as the shortest decimal that rounds to it: 51.8, not 51.79999923706055.
    """
    if column.dtype.is_integer():
        return _from_integers(column, factor)
    missing = column.is_null().to_numpy()
    if column.dtype == pl.String:
        column = column.str.strip_chars().cast(pl.Float64, strict=False)
    is_float32 = column.dtype == pl.Float32
    values = shortest_decimal(column.to_numpy()) if is_float32 else column.cast(pl.Float64).to_numpy()
    missing = missing | np.isnan(values)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values * float(factor)
        whole = np.trunc(scaled)
        whole += np.trunc((scaled - whole) * 2.0)  # the rest is exact, so this is 0 or one step away from zero
        unfit = ~(np.abs(scaled) < 2.0**63) & ~missing
    bad = missing | unfit
    if bad.any():
        whole[bad] = 0.0
    return whole.astype(np.int64), missing, unfit


def _from_integers(column: pl.Series, factor: int) -> tuple[Integers, Mask, Mask]:
    missing = column.is_null().to_numpy()
    narrow = column.cast(pl.Int64, strict=False)
    unfit = narrow.is_null().to_numpy() & ~missing
    values = narrow.fill_null(0).to_numpy()
    limit = (2**63 - 1) // factor
    unfit |= (values > limit) | (values < -limit)
    return np.where(unfit, 0, values) * factor, missing, unfit


def shortest_decimal(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """For each float32 the decimal with the fewest digits after the point (at most 9) that rounds to it."""
    wide = values.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        # Below 65,536 neighbouring float32 are less than half a cent apart: two digits lose no shorter decimal.
        fewest = 2 if np.nanmax(np.abs(wide), initial=0.0) < 65_536 else 0
        decimal = np.rint(wide * 10.0**fewest) / 10.0**fewest
        open_rows = np.flatnonzero(decimal.astype(np.float32) != values)
        for digits in range(fewest + 1, 10):
            if open_rows.size == 0:
                break
            decimal[open_rows] = np.rint(wide[open_rows] * 10.0**digits) / 10.0**digits
            open_rows = open_rows[decimal[open_rows].astype(np.float32) != values[open_rows]]
    decimal[open_rows] = wide[open_rows]
    return decimal


def aggressors(column: pl.Series) -> tuple[Integers, Mask]:
    """0 none, 1 buy, 2 sell; and a mask of the words that mean none of these."""
    return codes(column, AGGRESSORS)


def codes(column: pl.Series, words: Mapping[str, int]) -> tuple[Integers, Mask]:
    """The numbers that words stand for, whatever their case; and a mask of the words that mean none of these."""
    found = column.cast(pl.String).fill_null("").str.strip_chars().str.to_lowercase().str.strip_suffix(".0")
    numbers = found.replace_strict(words, default=-1, return_dtype=pl.Int64).to_numpy()
    bad = numbers < 0
    return np.where(bad, 0, numbers).astype(np.int64), bad


# ---- times -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clock:
    """How one column of times is to be read. `unit` is set for numbers, `text_format` for strings."""

    kind: Literal["datetime", "date", "number", "text"]
    tz: str | None
    unit: str | None = None
    text_format: str | None = None
    text_is_date: bool = False

    @property
    def is_date(self) -> bool:
        """True when the source names days, not moments."""
        return self.kind == "date" or self.text_is_date

    def read(self, column: pl.Series) -> tuple[Integers, Mask]:
        """Nanoseconds since the epoch, UTC; and a mask of the rows without a usable time.

        A day becomes the moment at which its session ends: 16:00 in `tz`, or the next midnight UTC without `tz`.
        """
        if self.kind == "number":
            return _from_numbers(column, NS_PER_UNIT[self.unit or "ns"])
        if self.kind == "text":
            return replace(self, kind="date" if self.text_is_date else "datetime").read(self._parse(column))
        missing = column.is_null().to_numpy()
        physical = column.to_physical().fill_null(0).to_numpy().astype(np.int64)
        if self.kind == "date":
            return self._ends_of_days(physical, missing)
        dtype = column.dtype
        assert isinstance(dtype, pl.Datetime), "a clock reads the columns that it was made for"
        local, bad = _scaled(physical, NS_PER_UNIT[dtype.time_unit], 0)
        if self.tz is None or dtype.time_zone is not None:
            return local, bad | missing
        moment, undefined = local_to_utc(local, self.tz)
        return moment, bad | missing | undefined

    def _parse(self, column: pl.Series) -> pl.Series:
        text, form = column.str.strip_chars(), self.text_format
        assert form is not None, "a text clock has a format"
        if self.text_is_date:
            return text.str.to_date(form, strict=False)
        return text.str.to_datetime(form, time_unit="ns", strict=False)

    def _ends_of_days(self, days: Integers, missing: Mask) -> tuple[Integers, Mask]:
        midnight, bad = _scaled(days, NS_PER_DAY, 0)
        if self.tz is None:
            return midnight + NS_PER_DAY, bad | missing
        moment, undefined = local_to_utc(midnight + CLOSE_NS, self.tz)
        return moment, bad | missing | undefined


def clock_for(sample: pl.Series, *, tz: str | None, ts_unit: str | None, source: str, column: str) -> Clock:
    """Decides from the type and, for text, from a few values how a column of times is read.

    Raises DataError for numbers without a unit and for text that is no known time: nothing is guessed.
    """
    dtype = sample.dtype
    if ts_unit is not None and ts_unit not in NS_PER_UNIT:
        raise ArgumentError(f"ts_unit={ts_unit!r}: one of {', '.join(NS_PER_UNIT)}")
    if tz is not None:
        _check_zone(tz)
    if dtype == pl.Date:
        return Clock("date", tz)
    if isinstance(dtype, pl.Datetime):
        return Clock("datetime", tz)
    values = sample.drop_nulls()
    if dtype == pl.String:
        values = values.str.strip_chars()
        if not values.str.contains(r"^-?\d+(\.\d*)?$").all() or values.is_empty():
            return _text_clock(values, tz, source, column)
        values = values.cast(pl.Float64)
    elif not (dtype.is_integer() or dtype.is_float()):
        raise DataError(f"a column of type {dtype} holds no times", source=source, column=column, hint=_TIME_HINT)
    if ts_unit is None:
        first = values[0] if len(values) else None
        raise DataError(
            f"times are bare numbers, the first is {_plain(first)}", source=source, column=column, hint=unit_hint(first)
        )
    return Clock("number", tz, unit=ts_unit)


_TIME_HINT = "Give a datetime column, ISO 8601 text, or numbers with ts_unit='s', 'ms', 'us' or 'ns'."


def unit_hint(value: float | None) -> str:
    """What a bare number that stands for a time looks like, as advice."""
    names = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
    if value is not None and 19_700_101 <= value <= 22_001_231:
        return "Looks like dates written YYYYMMDD: turn the column into dates first."
    if value is not None:
        for unit, ns in NS_PER_UNIT.items():
            if EARLIEST_EPOCH_NS <= value * ns < LATEST_NS:
                return f"Looks like {names[unit]}: pass ts_unit='{unit}'."
    return "Pass ts_unit='s', 'ms', 'us' or 'ns', whichever counts from 1970-01-01 UTC."


def _plain(value: Any) -> str:
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _text_clock(values: pl.Series, tz: str | None, source: str, column: str) -> Clock:
    """The first known format that reads most of the sample; single bad rows are found when they are read."""
    if values.is_empty():
        return Clock("text", tz, text_format=_FORMATS[0])
    for form in _FORMATS:
        if 2 * values.str.to_datetime(form, time_unit="ns", strict=False).null_count() < len(values):
            return Clock("text", tz, text_format=form)
    for form in _DATE_FORMATS:
        if 2 * values.str.to_date(form, strict=False).null_count() < len(values):
            return Clock("text", tz, text_format=form, text_is_date=True)
    raise DataError(f"{values[0]!r} is in no known form of time", source=source, column=column, hint=_TIME_HINT)


def _check_zone(tz: str) -> None:
    try:
        pl.Series([0], dtype=pl.Int64).cast(pl.Datetime("ns")).dt.replace_time_zone(tz)
    except pl.exceptions.ComputeError as error:
        raise ArgumentError(f"tz={tz!r} is no time zone: write for example 'America/New_York'") from error


def _scaled(values: Integers, ns: int, earliest_ns: int) -> tuple[Integers, Mask]:
    """`values * ns`, and a mask of what lies outside `earliest_ns` .. `LATEST_NS`."""
    bad = (values < earliest_ns // ns) | (values >= LATEST_NS // ns)
    return np.where(bad, 0, values) * ns if bad.any() else values * ns, bad


def _from_numbers(column: pl.Series, ns: int) -> tuple[Integers, Mask]:
    missing = column.is_null().to_numpy()
    if column.dtype == pl.String:
        exact = column.str.strip_chars().cast(pl.Int64, strict=False)
        column = (
            exact if exact.null_count() == missing.sum() else column.str.strip_chars().cast(pl.Float64, strict=False)
        )
    if column.dtype.is_float():
        values = column.to_numpy().astype(np.float64)
        bad = ~((values * ns >= EARLIEST_EPOCH_NS) & (values * ns < LATEST_NS))
        whole = np.floor(np.where(bad, 0.0, values))
        rest = np.rint((np.where(bad, 0.0, values) - whole) * ns)
        return whole.astype(np.int64) * ns + rest.astype(np.int64), bad | missing
    # What does not fit int64 becomes 0, which lies outside the plausible range.
    stamps, bad = _scaled(column.cast(pl.Int64, strict=False).fill_null(0).to_numpy(), ns, EARLIEST_EPOCH_NS)
    return stamps, bad | missing


def local_to_utc(local: Integers, tz: str) -> tuple[Integers, Mask]:
    """Local wall-clock nanoseconds as UTC; and a mask of local times that never were, or were twice."""
    if local.size == 0:
        return local, np.zeros(0, dtype=np.bool_)
    quarter = local // NS_PER_QUARTER
    first, last = int(quarter.min()), int(quarter.max())
    if last - first < 400_000:
        known, index = np.arange(first, last + 1, dtype=np.int64), quarter - first
    else:
        known, index = np.unique(quarter, return_inverse=True)
    starts = pl.Series(known * NS_PER_QUARTER).cast(pl.Datetime("ns"))
    zoned = starts.dt.replace_time_zone(tz, ambiguous="null", non_existent="null")
    undefined = zoned.is_null().to_numpy()
    utc = zoned.dt.timestamp("ns").fill_null(0).to_numpy()
    offset = np.where(undefined, 0, known * NS_PER_QUARTER - utc)
    return local - offset[index], undefined[index]
