"""Bars, quotes, trades and price levels from tables: Parquet, CSV, Polars, pandas, Arrow.

    source = bars("minute/*.parquet", label="end", tz="America/New_York", sort=True)
    for batch in source.batches({"KO": 0, "PEP": 1}): ...

Files are read lazily in blocks, so memory does not grow with their length; `sort=True` alone holds the selected rows in
memory. Every value is checked as it is read. Assumes one row per event, one header line in CSV, and that a column is
written in one way from its first row to its last. Absent: resampling, adjustment for dividends, joins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from helios.data.checks import ADMIT, Fault
from helios.data.columns import Clock, Integers, Mask, clock_for, unit_hint
from helios.data.source import (
    BATCH_ROWS,
    Batch,
    ColumnSource,
    Schema,
    Skipped,
    check_request,
)
from helios.data.tables import Opened, naming_errors, open_tables, resolve_columns
from helios.errors import ArgumentError, DataError
from helios.scales import PRICE_SCALE

__all__ = ["bars", "depth", "quotes", "trades"]

OnError = Literal["raise", "skip"]

#: A median price above this is a price in another unit, unless the caller says otherwise with `price_unit`.
PRICE_PLAUSIBLE = 1_000_000
_SAMPLE_ROWS = 1_000
_SPAN_SAMPLE_ROWS = 100_000
_SKIP_HINT = "Correct it, or pass on_error='skip' to drop and count such rows."


def bars(
    source: object,
    *,
    symbol: str | None = "symbol",
    symbol_is: str | None = None,
    ts: str = "ts",
    open: str = "open",
    high: str = "high",
    low: str = "low",
    close: str = "close",
    volume: str = "volume",
    label: Literal["end", "start"] = "end",
    span: str | timedelta | None = None,
    ts_recv: str | None = None,
    tz: str | None = None,
    ts_unit: str | None = None,
    price_unit: float | None = None,
    sort: bool = False,
    on_error: OnError = "raise",
) -> ColumnSource:
    """Bars. `ts` of a batch is the END of the bar: the moment from which it can be known.

    `source` is a path, a glob or a list of them (Parquet, CSV, `.csv.gz`), a Polars frame, a pandas DataFrame or an
    Arrow table or reader. The other arguments name its columns; the usual names are found without help.

    - `symbol=None`: there is no such column; each file's name up to its first dot is the symbol. `symbol_is="KO"`: all
      rows are KO.
    - `label` says what the source's time means. `span` ("30s", "1m", "1h", "1d") is the bar's length; without it, the
      most frequent step between bars of one symbol in the first 100,000 rows is taken.
    - `ts_recv` names a column of receive stamps, for `Latency(feed="data")`: when each row reached whoever recorded it.
    - Times without a zone are UTC, or local in `tz`. A day (daily bars) ends at 16:00 in `tz`, or at the next midnight
      UTC without `tz`. Bare numbers need `ts_unit`.
    - `price_unit=1e-4`: prices are written in ten-thousandths.
    - `sort=True` sorts by time in memory; without it a row that goes back in time is an error.
    - `on_error="skip"` drops bad rows and counts them in `.skipped`; "raise" stops at the first.

    Raises DataError (wrong data, named by file, row and column) and ArgumentError (wrong call).
    """
    if label not in ("end", "start"):
        raise ArgumentError(f"label={label!r}: 'end' or 'start'")
    names = {"ts": ts, "open": open, "high": high, "low": low, "close": close, "volume": volume}
    names |= {} if ts_recv is None else {"ts_recv": ts_recv}
    options = _Options("bars", symbol, symbol_is, tz, ts_unit, _price_factor(price_unit), price_unit, sort, on_error)
    return _Table(source, names, options, label_is_start=label == "start", span=_span_ns(span))


def quotes(
    source: object,
    *,
    symbol: str | None = "symbol",
    symbol_is: str | None = None,
    ts: str = "ts",
    bid: str = "bid",
    ask: str = "ask",
    bid_size: str = "bid_size",
    ask_size: str = "ask_size",
    ts_recv: str | None = None,
    tz: str | None = None,
    ts_unit: str | None = None,
    price_unit: float | None = None,
    sort: bool = False,
    on_error: OnError = "raise",
) -> ColumnSource:
    """Best bids and asks. A side with no (or zero) price and no (or zero) size is empty; arguments as in `bars`."""
    names = {"ts": ts, "bid": bid, "ask": ask, "bid_size": bid_size, "ask_size": ask_size}
    names |= {} if ts_recv is None else {"ts_recv": ts_recv}
    options = _Options("quotes", symbol, symbol_is, tz, ts_unit, _price_factor(price_unit), price_unit, sort, on_error)
    return _Table(source, names, options)


def trades(
    source: object,
    *,
    symbol: str | None = "symbol",
    symbol_is: str | None = None,
    ts: str = "ts",
    price: str = "price",
    size: str = "size",
    aggressor: str | None = "aggressor",
    ts_recv: str | None = None,
    tz: str | None = None,
    ts_unit: str | None = None,
    price_unit: float | None = None,
    sort: bool = False,
    on_error: OnError = "raise",
) -> ColumnSource:
    """Trades. `aggressor` is optional: buy/B/bid/1, sell/S/A/ask/-1/2, or nothing; arguments as in `bars`."""
    names = {"ts": ts, "price": price, "size": size} | ({"aggressor": aggressor} if aggressor is not None else {})
    names |= {} if ts_recv is None else {"ts_recv": ts_recv}
    options = _Options("trades", symbol, symbol_is, tz, ts_unit, _price_factor(price_unit), price_unit, sort, on_error)
    return _Table(source, names, options)


def depth(
    source: object,
    *,
    symbol: str | None = "symbol",
    symbol_is: str | None = None,
    ts: str = "ts",
    side: str = "side",
    price: str = "price",
    size: str = "size",
    kind: str | None = "kind",
    ts_recv: str | None = None,
    tz: str | None = None,
    ts_unit: str | None = None,
    price_unit: float | None = None,
    sort: bool = False,
    on_error: OnError = "raise",
) -> ColumnSource:
    """Changes of price levels, of feeds without single orders; arguments as in `bars`.

    A row gives a level's new total: `side` buy/bid/B or sell/ask/S/A, `price`, `size` (zero: the level is gone). `kind`
    is optional: "level"; "clear", the book is void and a snapshot follows; "trade", where `side` is the aggressor's.
    Trades in the same source keep their place among the levels, which another source's cannot at equal times.
    """
    names = {"ts": ts, "side": side, "price": price, "size": size} | ({"kind": kind} if kind is not None else {})
    names |= {} if ts_recv is None else {"ts_recv": ts_recv}
    options = _Options("depth", symbol, symbol_is, tz, ts_unit, _price_factor(price_unit), price_unit, sort, on_error)
    return _Table(source, names, options)


# ---- what a call asked for -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Options:
    schema: Schema
    symbol: str | None
    symbol_is: str | None
    tz: str | None
    ts_unit: str | None
    price_factor: int
    price_unit: float | None
    sort: bool
    on_error: OnError

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ArgumentError(f"on_error={self.on_error!r}: 'raise' or 'skip'")


def _price_factor(price_unit: float | None) -> int:
    """Fixed-point steps in one unit of the source's prices."""
    if price_unit is None:
        return PRICE_SCALE
    factor = round(price_unit * PRICE_SCALE)
    if factor < 1 or abs(factor - price_unit * PRICE_SCALE) > 1e-6 * factor:
        raise ArgumentError(f"price_unit={price_unit}: a positive multiple of 1e-9, for example 1e-4")
    return factor


_SPAN_NS = {"s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000, "d": 86_400_000_000_000}


def _span_ns(span: str | timedelta | None) -> int | None:
    """Length of a bar in nanoseconds."""
    if span is None:
        return None
    if isinstance(span, timedelta):
        length = (span.days * 86_400 + span.seconds) * 1_000_000_000 + span.microseconds * 1_000
    elif span[-1:] in _SPAN_NS and span[:-1].isdigit():
        length = int(span[:-1]) * _SPAN_NS[span[-1]]
    else:
        raise ArgumentError(f"span={span!r}: a number and s, m, h or d, for example '1m'")
    if length <= 0:
        raise ArgumentError(f"span={span!r}: a bar is longer than nothing")
    return length


# ---- reading ---------------------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """One file or frame. `symbol` is set when no column names it; `rows` when counting them is free."""

    name: str
    table: pl.LazyFrame
    columns: dict[str, str]
    symbol: str | None
    rows: int | None
    path: Path | None
    clock: Clock
    #: Of the receive stamps, where they are asked for.
    received: Clock | None


class _Admitted(NamedTuple):
    """The good rows of one block, with their row numbers in the part."""

    part: _Part
    batch: Batch
    rows: Integers


class Block(NamedTuple):
    """Good rows in the order of the source, with their row numbers there and the name of its column of times."""

    batch: Batch
    rows: Integers
    source: str
    ts_column: str


class _Table(ColumnSource):
    """Tables of one schema, read block by block."""

    def __init__(
        self,
        source: object,
        names: Mapping[str, str],
        options: _Options,
        *,
        label_is_start: bool = False,
        span: int | None = None,
    ) -> None:
        self.schema = options.schema
        self.skipped: dict[str, Skipped] = {}
        self._options = options
        self._label_is_start = label_is_start
        self._good = 0
        self._parts = [self._part(opened, names) for opened in open_tables(source)]
        self._span = self._infer_span() if self.schema == "bars" and span is None else span or 0

    def _part(self, opened: Opened, names: Mapping[str, str]) -> _Part:
        o = self._options
        symbol = o.symbol_is
        if symbol is None and o.symbol is None:
            if opened.path is None:
                raise ArgumentError("symbol=None takes the symbol from a file's name; for a frame pass symbol_is='…'")
            symbol = opened.path.name.partition(".")[0]
        wanted = dict(names) if symbol is not None or o.symbol is None else {"symbol": o.symbol, **names}
        columns = resolve_columns(opened, wanted, {"aggressor", "kind"})
        table = opened.table.select(pl.col(column).alias(canonical) for canonical, column in columns.items())
        self._check_types(opened.name, table.collect_schema(), columns)
        with naming_errors(opened.name, opened.path):
            head = table.select({"ts", "ts_recv"} & columns.keys()).head(_SAMPLE_ROWS).collect()
        clock, *received = (
            clock_for(head[name], tz=o.tz, ts_unit=o.ts_unit, source=opened.name, column=columns[name])
            for name in ("ts", "ts_recv")
            if name in columns
        )
        if clock.is_date and self.schema != "bars":
            hint = "Give the column that holds date and time of day."
            raise DataError("holds days without a time", source=opened.name, column=columns["ts"], hint=hint)
        return _Part(
            opened.name, table, columns, symbol, opened.rows, opened.path, clock, received[0] if received else None
        )

    @staticmethod
    def _check_types(name: str, schema: pl.Schema, columns: Mapping[str, str]) -> None:
        for canonical, dtype in schema.items():
            numeric = dtype.is_numeric() or dtype in (pl.String, pl.Null)
            if canonical not in ("symbol", "ts", "ts_recv", "aggressor", "side", "kind") and not numeric:
                hint = f"Name the column to use with {canonical}='…'."
                raise DataError(f"has type {dtype}, not a number", source=name, column=columns[canonical], hint=hint)

    # -- what there is --

    @cached_property
    def _symbols(self) -> list[str]:
        names: set[str] = set()
        for part in self._parts:
            if part.symbol is not None:
                names.add(part.symbol)
                continue
            with naming_errors(part.name, part.path):
                found = part.table.select(pl.col("symbol").unique()).collect(engine="streaming")
            names.update(found["symbol"].cast(pl.String).drop_nulls().to_list())
        return sorted(names)

    @property
    def symbols(self) -> list[str]:
        return list(self._symbols)

    @property
    def stamped(self) -> bool:
        return all(part.received is not None for part in self._parts)

    @property
    def rows(self) -> int | None:
        counts = [part.rows for part in self._parts if part.rows is not None]
        return sum(counts) if len(counts) == len(self._parts) else None

    def _infer_span(self) -> int:
        """The most frequent positive step between bars of one symbol (the shortest of equals)."""
        for part in self._parts:
            with naming_errors(part.name, part.path):
                head = part.table.select(*([] if part.symbol else ["symbol"]), "ts").head(_SPAN_SAMPLE_ROWS).collect()
            moments, bad = part.clock.read(head["ts"])
            by = [] if part.symbol else [pl.col("symbol")]
            steps = (
                head.with_columns(at=pl.Series(moments))
                .filter(~pl.Series(bad))
                .sort(*by, "at", maintain_order=True)
                .select((pl.col("at").diff().over(by) if by else pl.col("at").diff()).alias("step"))
                .filter(pl.col("step") > 0)
            )["step"]
            if len(steps):
                return int(steps.mode().sort()[0])
        first = self._parts[0]
        hint = "Pass span, for example span='1m'."
        raise DataError("no symbol has two bars, so a bar's length is not known", source=first.name, hint=hint)

    # -- reading --

    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        check_request(ids, size)
        return self._read(dict(ids), size)

    def _read(self, ids: dict[str, int], size: int) -> Iterator[Batch]:
        self.skipped, self._good = {}, 0
        checked = self._checked(ids, size)
        ordered = self._sorted(checked, size) if self._options.sort else self._in_order(checked)
        for batch in ordered:
            if self.schema == "bars":
                batch["span"] = np.full(batch["ts"].size, self._span, dtype=np.int64)
            yield batch

    def blocks(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Block]:
        """All good rows in the order of the source, whatever their times: for who sorts them."""
        check_request(ids, size)
        self.skipped, self._good = {}, 0
        for part, batch, rows in self._checked(dict(ids), size):
            self._good += rows.size
            if self.schema == "bars":
                batch["span"] = np.full(rows.size, self._span, dtype=np.int64)
            yield Block(batch, rows, part.name, part.columns["ts"])

    def _checked(self, ids: dict[str, int], size: int) -> Iterator[_Admitted]:
        """Good rows block by block, in the order of the source; raises at the first bad one unless skipping."""
        numbers = np.array([ids.get(symbol, -1) for symbol in self._symbols] + [-1], dtype=np.int64)
        for part in self._parts:
            first_row = 0
            for index, block in enumerate(self._blocks(part, size)):
                if index == 0 and self._options.price_unit is None:
                    self._check_price_unit(part, block)
                admitted, failure = self._admit(part, block, first_row, numbers)
                if admitted.rows.size:
                    yield admitted
                if failure is not None:
                    failure.good_rows = self._good
                    raise failure
                first_row += block.height

    @staticmethod
    def _blocks(part: _Part, size: int) -> Iterator[pl.DataFrame]:
        with naming_errors(part.name, part.path):
            for block in part.table.collect_batches(chunk_size=size, maintain_order=True):
                yield from block.iter_slices(size)

    def _check_price_unit(self, part: _Part, block: pl.DataFrame) -> None:
        column = {"bars": "close", "quotes": "bid"}.get(self.schema, "price")
        median = block[column].cast(pl.Float64, strict=False).median()
        if isinstance(median, float) and median > PRICE_PLAUSIBLE:
            raise DataError(
                f"the median price is {median:.0f}: this looks like whole steps of a smaller unit",
                source=part.name,
                column=part.columns[column],
                hint="Pass price_unit=1e-4 (or 1e-2, 1e-9, …), or price_unit=1 if the prices are as they should be.",
            )

    def _admit(
        self, part: _Part, block: pl.DataFrame, first_row: int, numbers: Integers
    ) -> tuple[_Admitted, DataError | None]:
        """The block's good rows of the wanted symbols, up to the first bad one unless skipping."""
        rows = np.arange(first_row, first_row + block.height, dtype=np.int64)
        faults: list[Fault] = []
        if part.symbol is None:
            names = block["symbol"] if block["symbol"].dtype == pl.Categorical else block["symbol"].cast(pl.String)
            codes = names.cast(pl.Enum(self._symbols)).to_physical().cast(pl.UInt32)
            instrument = numbers[codes.fill_null(len(self._symbols)).to_numpy()]
            nameless = block["symbol"].is_null().to_numpy()
            faults.append(Fault("no symbol", "symbol", nameless))
            wanted = (instrument >= 0) | nameless
        else:
            instrument = np.full(block.height, numbers[self._symbols.index(part.symbol)], dtype=np.int64)
            wanted = instrument >= 0
        if not wanted.all():
            block, rows, instrument = block.filter(pl.Series(wanted)), rows[wanted], instrument[wanted]
            faults = [fault._replace(rows=fault.rows[wanted]) for fault in faults]
        ts, no_time = part.clock.read(block["ts"])
        faults.append(Fault("no usable time", "ts", no_time))
        stamps: Batch = {}
        if part.received is not None:
            stamps["ts_recv"], no_time = part.received.read(block["ts_recv"])
            faults.append(Fault("no usable time", "ts_recv", no_time))
        values, more = ADMIT[self.schema](block, self._options.price_factor)
        keep, failure = self._judge(part, block, rows, faults + more)
        ts = ts + self._span if self._label_is_start and not part.clock.is_date else ts
        batch: Batch = {"ts": ts, "instrument": instrument.astype(np.uint32), **values, **stamps}
        if keep is not None:
            batch = {name: column[keep] for name, column in batch.items()}
            rows = rows[keep]
        return _Admitted(part, batch, rows), failure

    def _judge(
        self, part: _Part, block: pl.DataFrame, rows: Integers, faults: list[Fault]
    ) -> tuple[Mask | None, DataError | None]:
        """Which rows to keep (None: all), and the error to raise after them."""
        faults = [fault for fault in faults if fault.rows.any()]
        if not faults:
            return None, None
        bad = np.logical_or.reduce([fault.rows for fault in faults])
        if self._options.on_error == "raise":
            first = int(np.argmax(bad))
            fault = next(fault for fault in faults if fault.rows[first])
            return np.arange(bad.size) < first, self._fault_error(part, block, first, int(rows[first]), fault)
        counted = np.zeros(bad.size, dtype=np.bool_)
        for fault in faults:
            fresh = fault.rows & ~counted
            counted |= fault.rows
            if fresh.any():
                column = part.columns.get(fault.column, fault.column)
                self._skip(f"{column}: {fault.reason}", int(fresh.sum()), part, int(rows[np.argmax(fresh)]))
        return ~bad, None

    @staticmethod
    def _fault_error(part: _Part, block: pl.DataFrame, index: int, row: int, fault: Fault) -> DataError:
        value = block[fault.column][index]
        hint = _SKIP_HINT
        if fault.column == "ts" and part.clock.kind == "number":
            hint = unit_hint(float(value)) if _is_number(value) else hint
        elif fault.column == "ts" and part.clock.tz is not None:
            hint = f"It may not exist, or exist twice, in {part.clock.tz}. {_SKIP_HINT}"
        column = part.columns.get(fault.column, fault.column)
        shown = "null" if value is None else str(value)
        return DataError(f"{shown}: {fault.reason}", source=part.name, row=row, column=column, hint=hint)

    def _skip(self, reason: str, count: int, part: _Part, row: int) -> None:
        before = self.skipped.get(reason)
        self.skipped[reason] = (
            Skipped(before.count + count, before.source, before.first_row) if before else Skipped(count, part.name, row)
        )

    # -- time order --

    def _in_order(self, checked: Iterator[_Admitted]) -> Iterator[Batch]:
        """Passes rows that do not go back in time; one that does is an error, or is skipped."""
        latest = 0
        for part, batch, rows in checked:
            ts = batch["ts"]
            if ts[0] < latest or (ts[1:] < ts[:-1]).any():
                before = np.maximum.accumulate(np.concatenate(([latest], ts)))[:-1]
                late = ts < before
                first = int(np.argmax(late))
                error = self._late_error(part, int(rows[first]), int(ts[first]), int(before[first]))
                # Single stragglers can be skipped; a file in another order must not lose most of its rows.
                if self._options.on_error == "raise" or late.sum() > max(100, ts.size // 10):
                    good = {name: column[:first] for name, column in batch.items()}
                    yield from self._deliver(good)
                    error.good_rows = self._good
                    raise error
                self._skip(f"{part.columns['ts']}: goes back in time", int(late.sum()), part, int(rows[first]))
                batch = {name: column[~late] for name, column in batch.items()}
            yield from self._deliver(batch)
            latest = max(latest, int(ts.max()))

    def _deliver(self, batch: Batch) -> Iterator[Batch]:
        if batch["ts"].size:
            self._good += batch["ts"].size
            yield {name: np.ascontiguousarray(column) for name, column in batch.items()}

    @staticmethod
    def _late_error(part: _Part, row: int, ts: int, before: int) -> DataError:
        moments = pl.Series([ts, before]).cast(pl.Datetime("ns")).cast(pl.String)
        return DataError(
            f"time goes back to {moments[0]} after {moments[1]} UTC",
            source=part.name,
            row=row,
            column=part.columns["ts"],
            hint="If the source is grouped by symbol, pass sort=True.",
        )

    def _sorted(self, checked: Iterator[_Admitted], size: int) -> Iterator[Batch]:
        """All rows by time; equal times keep the order of the source. Holds them in memory."""
        pieces: dict[str, list[Any]] = {}
        for _, batch, rows in checked:
            self._good += rows.size
            for name, column in batch.items():
                pieces.setdefault(name, []).append(column)
        if not pieces:
            return
        whole = {name: np.concatenate(pieces.pop(name)) for name in list(pieces)}
        order = np.argsort(whole["ts"], kind="stable")
        for start in range(0, order.size, size):
            yield {name: column[order[start : start + size]] for name, column in whole.items()}


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
