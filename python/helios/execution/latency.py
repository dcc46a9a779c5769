"""How long market data, orders and reports are under way. What each model assumes: docs/models/latency.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from helios.duration import nanoseconds, span_text
from helios.errors import ArgumentError

if TYPE_CHECKING:
    import polars as pl

#: As the core takes a delay: kind, whole numbers, others.
DelaySpec = tuple[str, list[int], list[float]]

DAY_NS = 86_400_000_000_000
#: Most delays of a measured sample.
MAX_SAMPLE = 1_000_000

_ZERO = re.compile(r"\s*0+(\.0+)?\s*(ns|us|ms|s|m|h|d)\s*")


def length_ns(length: str | timedelta | None, what: str) -> int:
    """Nanoseconds; None and lengths of zero ("0s") are zero."""
    if length is None or length == timedelta() or (isinstance(length, str) and _ZERO.fullmatch(length)):
        return 0
    return nanoseconds(length, what)


def _seed(seed: int, what: str) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ArgumentError(f"{what}: seed is {seed!r}: it must be a whole number from 0 on")
    return seed


@dataclass(frozen=True, kw_only=True)
class LogNormal:
    """A log-normal delay behind a minimum. `median` and `p99` are those of the whole delay, the minimum included."""

    median: str | timedelta
    p99: str | timedelta
    minimum: str | timedelta | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        minimum, median, p99, _ = self.spec("LogNormal")[1]
        if not minimum < median < p99 <= DAY_NS:
            raise ArgumentError(
                f"LogNormal: minimum {self.minimum or '0ns'}, median {self.median}, p99 {self.p99}: each must be "
                "longer than the one before, and p99 at most a day"
            )

    def spec(self, what: str) -> DelaySpec:
        """As the core takes it; `what` names it in errors."""
        numbers = [
            length_ns(self.minimum, f"{what}: minimum"),
            nanoseconds(self.median, f"{what}: median"),
            nanoseconds(self.p99, f"{what}: p99"),
            _seed(self.seed, what),
        ]
        return "log_normal", numbers, []


@dataclass(frozen=True, kw_only=True)
class Gamma:
    """A gamma delay behind a minimum; `mean` is that of the whole delay. Shape 1 is the exponential."""

    mean: str | timedelta
    shape: float = 1.0
    minimum: str | timedelta | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        minimum, mean, _ = self.spec("Gamma")[1]
        if not minimum < mean <= DAY_NS:
            raise ArgumentError(
                f"Gamma: mean {self.mean} must be longer than the minimum {self.minimum or '0ns'}, and at most a day"
            )
        if isinstance(self.shape, bool) or not isinstance(self.shape, int | float) or not 0.01 <= self.shape <= 1e6:
            raise ArgumentError(f"Gamma: shape is {self.shape!r}: it must be 0.01 to 1e6")

    def spec(self, what: str) -> DelaySpec:
        """As the core takes it; `what` names it in errors."""
        numbers = [
            length_ns(self.minimum, f"{what}: minimum"),
            nanoseconds(self.mean, f"{what}: mean"),
            _seed(self.seed, what),
        ]
        return "gamma", numbers, [float(self.shape)]


class Measured:
    """Delays that were measured: drawn from with replacement, or known by the time of day.

    `source` is a list or array of nanoseconds, or a frame (Polars, pandas) or file (Parquet, CSV) with a column `ns`.
    Where it has a column `time` as well, the delay of a message is that of the time of day at which it is sent: a time,
    a datetime (its day is not looked at), text like "09:30" or "09:30:00.5", or nanoseconds since midnight; local in
    `tz`. One row a time. `between="linear"`: on the straight line between two rows; "step": each row holds until the
    next one. Before the first row the first holds, after the last the last.
    """

    def __init__(
        self,
        source: Sequence[int] | Any,
        *,
        ns: str = "ns",
        time: str = "time",
        tz: str = "UTC",
        between: Literal["linear", "step"] = "linear",
        seed: int = 0,
    ) -> None:
        if between not in ("linear", "step"):
            raise ArgumentError(f"Measured: between is {between!r}: 'linear' or 'step'")
        self._seed = _seed(seed, "Measured")
        self._linear = between == "linear"
        self._tz = tz
        frame = _frame(source, ns)
        self._delays = tuple(_delays(frame, ns))
        self._times = tuple(_times(frame[time], len(self._delays))) if time in frame.columns else None
        if self._times is not None:
            order = sorted(range(len(self._times)), key=self._times.__getitem__)
            self._times = tuple(self._times[at] for at in order)
            self._delays = tuple(self._delays[at] for at in order)
            twice = next((a for a, b in zip(self._times, self._times[1:], strict=False) if a == b), None)
            if twice is not None:
                raise ArgumentError(f"Measured: {span_text(twice)} after midnight is there twice: give one row a time")
            self._offsets()

    def _offsets(self) -> list[int]:
        """Moment and offset in ns, of zones that have any."""
        if self._tz == "UTC":
            return []
        from helios.zones import offsets

        return [x * (1_000_000_000 if at % 2 else 1) for at, x in enumerate(offsets(self._tz))]

    def spec(self, what: str) -> DelaySpec:  # noqa: ARG002
        """As the core takes it."""
        if self._times is None:
            return "sample", [self._seed, *self._delays], []
        rows = [x for row in zip(self._times, self._delays, strict=True) for x in row]
        return "time_of_day", [int(self._linear), len(self._times), *rows, *self._offsets()], []

    def __repr__(self) -> str:
        middle = sorted(self._delays)[len(self._delays) // 2]
        kind = "delays" if self._times is None else f"times of day in {self._tz}, {self._between}"
        return f"Measured({len(self._delays)} {kind}, median {span_text(middle) if middle else '0ns'})"

    @property
    def _between(self) -> str:
        return "linear" if self._linear else "step"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Measured) and self.spec("") == other.spec("")

    def __hash__(self) -> int:
        return hash((self._delays, self._times, self._linear, self._tz, self._seed))


def _frame(source: Any, ns: str) -> pl.DataFrame:
    import polars as pl

    if isinstance(source, str | PathLike):
        path = Path(source)
        try:
            frame = pl.read_parquet(path) if path.suffix in (".parquet", ".pq") else pl.read_csv(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ArgumentError(f"Measured: {path} cannot be read: {str(error).splitlines()[0]}") from None
    elif isinstance(source, pl.DataFrame | pl.LazyFrame):
        frame = source.lazy().collect()
    elif hasattr(source, "columns"):
        frame = pl.DataFrame({name: source[name].to_numpy() for name in source.columns})
    else:
        try:
            frame = pl.DataFrame({ns: pl.Series(source, strict=True)})
        except (TypeError, ValueError, pl.exceptions.PolarsError):
            raise ArgumentError(f"Measured: {type(source).__name__} is no list of nanoseconds, frame or file") from None
    if ns not in frame.columns:
        there = ", ".join(frame.columns)
        raise ArgumentError(f"Measured: there is no column {ns!r} of delays, but {there}: name it with ns='…'")
    return frame


def _delays(frame: pl.DataFrame, ns: str) -> list[int]:
    column = frame[ns]
    if not 0 < len(column) <= MAX_SAMPLE:
        raise ArgumentError(f"Measured: {len(column):,} delays: give 1 to {MAX_SAMPLE:,}")
    if not column.dtype.is_integer() or column.null_count():
        raise ArgumentError(f"Measured: column {ns!r} must hold whole nanoseconds in every row")
    low, high = int(column.min()), int(column.max())  # type: ignore[arg-type]
    if low < 0 or high > DAY_NS:
        raise ArgumentError(f"Measured: delays from {low} to {high} ns: they must be from 0 to a day")
    return [int(x) for x in column]


def _times(column: pl.Series, rows: int) -> list[int]:
    """Nanoseconds since midnight."""
    import polars as pl

    if column.null_count():
        raise ArgumentError("Measured: a time is missing")
    if column.dtype == pl.String:
        parts = column.str.extract_groups(r"^(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?$").struct.unnest()
        hours, minutes, seconds, fraction = (parts.to_series(at) for at in range(4))
        if hours.null_count():
            bad = column.filter(hours.is_null())[0]
            raise ArgumentError(f"Measured: time {bad!r}: write it as 09:30, 09:30:00 or 09:30:00.5")
        whole = (hours.cast(pl.Int64) * 60 + minutes.cast(pl.Int64)) * 60 + seconds.fill_null("0").cast(pl.Int64)
        column = whole * 1_000_000_000 + fraction.fill_null("0").str.pad_end(9, "0").cast(pl.Int64)
    elif isinstance(column.dtype, pl.Datetime):
        column = column.dt.time().cast(pl.Int64)
    elif column.dtype == pl.Time:
        column = column.cast(pl.Int64)
    elif not column.dtype.is_integer():
        raise ArgumentError(
            f"Measured: times have type {column.dtype}: give times, text, or nanoseconds since midnight"
        )
    times = [int(x) for x in column]
    assert len(times) == rows, "one frame has one height"
    outside = next((x for x in times if not 0 <= x < DAY_NS), None)
    if outside is not None:
        raise ArgumentError(f"Measured: a time of {outside} ns since midnight is not within a day")
    return times


Delay = str | timedelta | LogNormal | Gamma | Measured


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long messages are under way: lengths of time like "50us", LogNormal(…), Gamma(…) or Measured(…).

    `feed` from an event at the venue to the engine ("data": until the receive stamp of the data's column `ts_recv`),
    `order` from the engine to the venue, `report` from the venue to the engine. None is no time at all.
    """

    feed: Delay | None = None
    order: Delay | None = None
    report: Delay | None = None

    def spec(self) -> dict[str, DelaySpec]:
        """As the core takes it."""
        return {f"{line}_latency": self._line(line) for line in ("feed", "order", "report")}

    def _line(self, line: str) -> DelaySpec:
        given, what = getattr(self, line), f"{line} latency"
        if isinstance(given, LogNormal | Gamma | Measured):
            return given.spec(what)
        if line == "feed" and given == "data":
            return "data", [], []
        ns = length_ns(given, what)
        if ns > DAY_NS:
            raise ArgumentError(f"{what} is {given!r}: it must be at most a day")
        return "constant", [ns], []
