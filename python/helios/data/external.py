"""Series from outside the market: sentiment scores, model outputs, anything with a time and numbers beside it.

    features = external(frame)          # columns ts and one for each series
    run = Backtest([itch("day.itch"), features], strategy=[... series("score") ...])

The values of one row come together and are one event. `ts` is when a value could be known: it is not moved. Assumes
that rows are in order of time. Absent: joins, forward filling, anything that would look ahead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from helios.data.columns import clock_for
from helios.data.source import BATCH_ROWS, Batch, ColumnSource, check_request
from helios.errors import ArgumentError, DataError

__all__ = ["ExternalSource", "external", "floats", "stamps"]


class ExternalSource(ColumnSource):
    """Series out of a frame; `ids` of `batches` are the numbers of the series."""

    schema = "series"

    def __init__(self, frame: pl.DataFrame, ts: str, name: str) -> None:
        self.name = name
        self.frame = frame
        self.ts = ts
        self.skipped = {}
        self.names: list[str] = [column for column in frame.columns if column != ts]

    @property
    def symbols(self) -> list[str]:
        """None: a series is of no instrument."""
        return []

    @property
    def rows(self) -> int:
        """Values."""
        return self.frame.height * len(self.names)

    @cached_property
    def _stamps(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return stamps(self.frame, self.ts, self.name)

    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        """Rows of all series of the source that are in `ids`, those of one moment one after the other."""
        check_request(ids, size)
        names = sorted((name for name in self.names if name in ids), key=lambda name: ids[name])
        if not names:
            return
        columns = [floats(self.frame, name, self.name) for name in names]
        numbers = np.array([ids[name] for name in names], dtype=np.uint32)
        step = max(1, size // len(names))
        for begin in range(0, self.frame.height, step):
            rows = slice(begin, begin + step)
            ts = self._stamps[rows]
            values = np.column_stack([column[rows] for column in columns])
            yield {
                "ts": np.repeat(ts, len(names)),
                "instrument": np.tile(numbers, len(ts)),
                "value": np.ascontiguousarray(values).reshape(-1).view(np.int64),
            }


def external(source: object, *, ts: str = "ts") -> ExternalSource:
    """Series from a frame (Polars, pandas) or a file (Parquet, CSV): a column of times, and one of numbers for each.

    Times without a zone are UTC. A null is a null; NaN and infinity are errors, since they come from a calculation that
    went wrong, as are times that go back. Raises DataError and ArgumentError.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.exists():
            raise DataError("there is no such file", source=str(path))
        frame = pl.read_csv(path, try_parse_dates=True) if path.suffix == ".csv" else pl.read_parquet(path)
        return _checked(frame, ts, path.name)
    if isinstance(source, pl.LazyFrame):
        return _checked(source.collect(), ts, "frame")
    if isinstance(source, pl.DataFrame):
        return _checked(source, ts, "frame")
    if hasattr(source, "columns"):
        return _checked(pl.from_pandas(source), ts, "frame")
    raise ArgumentError(f"external: {type(source).__name__} is no frame and no path")


def _checked(frame: pl.DataFrame, ts: str, name: str) -> ExternalSource:
    if ts not in frame.columns:
        raise DataError(f"there is no column {ts!r}; there are {', '.join(frame.columns)}", source=name, column=ts)
    made = ExternalSource(frame, ts, name)
    if not made.names:
        raise DataError("there is no series beside the times", source=name)
    return made


def plain_stamps(column: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    """Times that need no reading, in ns since 1970 UTC; whether they go back is for the caller to see. Else None."""
    if not isinstance(column.dtype, pl.Datetime) or column.null_count():
        return None
    # What lies outside of 1970 to 2262 is found, and named, elsewhere; if times are in order, it lies at the ends.
    if len(column) and not (column[0].year >= 1970 and column[-1].year < 2262):
        return None
    return np.ascontiguousarray(column.dt.cast_time_unit("ns").to_physical().to_numpy())


def plain_floats(series: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    """Numbers that are there, as they lie in memory; whether they are finite is for the caller to see. Else None."""
    if series.dtype != pl.Float64 or series.null_count():
        return None
    return np.ascontiguousarray(series.to_numpy())


def stamps(frame: pl.DataFrame, ts: str, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The times of a frame in ns since 1970 UTC; DataError for a null and for one that goes back, with its row."""
    column = frame[ts]
    plain = plain_stamps(column)
    if plain is not None and column.is_sorted():
        return plain
    clock = clock_for(column.head(1_000), tz=None, ts_unit=None, source=name, column=ts)
    read, bad = clock.read(column)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"{column[row]!r} is no usable time", source=name, row=row, column=ts)
    back = read[1:] < read[:-1]
    if back.any():
        row = int(back.argmax()) + 1
        raise DataError(
            "time goes back here", source=name, row=row, column=ts, hint=f"Sort the frame first: frame.sort({ts!r})."
        )
    return np.ascontiguousarray(read)


def floats(frame: pl.DataFrame, column: str, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The numbers of a column, NaN for null; DataError for NaN, infinity and what is no number, with its row."""
    series = frame[column]
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        raise DataError(f"a column of type {series.dtype} holds no numbers", source=name, column=column)
    series = series.cast(pl.Float64)
    total = float(series.sum() or 0.0)
    # A sum is finite only if all that is in it is; it may overflow, so it proves nothing else.
    if not math.isfinite(total) and not (finite := series.is_finite()).all():
        row = int((~finite).fill_null(False).arg_max() or 0)
        hint = "What is missing is null: fill_nan(None)."
        raise DataError(f"{series[row]!r} is no number", source=name, row=row, column=column, hint=hint)
    return np.ascontiguousarray(series.to_numpy())
