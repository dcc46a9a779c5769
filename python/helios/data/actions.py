"""Splits and dividends as events of the market, for the engine that adjusts positions.

    source = actions(frame)      # columns symbol, date (the ex-date), ratio ("4:1") and / or cash (per share)
    run = Backtest([bars("daily.parquet"), source], strategy=...)

An action takes effect at the start of its ex-date, before the first other event of that date: at midnight in `tz`.
Prices beside it must be what was printed, not adjusted. Assumes that a dividend on the day of a split is per new share.
Absent: record and payment dates (the ex-date counts), stock dividends in another company, spin-offs, rights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl

from helios.data.source import BATCH_ROWS, Batch, ColumnSource, check_request
from helios.data.tables import find_column, naming_errors, open_tables
from helios.errors import ArgumentError, DataError
from helios.scales import PRICE_SCALE

__all__ = ["ActionsSource", "actions"]

#: A decimal with up to four digits is what it says; a longer one is a fraction of small numbers, cut off (1.333333).
_EXACT = 10_000
_DENOMINATOR = 100
_NEAR = 1e-6
_LARGEST = 2**32 - 1

_NAMES: Mapping[str, tuple[str, ...]] = {
    "date": ("date", "ex_date", "exdate", "ts", "effective_date"),
    "ratio": ("ratio", "split_ratio", "split", "split_factor"),
    "numerator": ("numerator", "split_to", "to"),
    "denominator": ("denominator", "split_from", "from"),
    "cash": ("cash", "dividend", "amount", "cash_amount"),
}


class Action(NamedTuple):
    """One event: kind 0 is a split of `a` new shares for `b` old ones, 1 a dividend of `a` (1e-9) per share."""

    ts: int
    symbol: str
    kind: int
    a: int
    b: int


class ActionsSource(ColumnSource):
    """Corporate actions in memory; there are few."""

    schema = "actions"

    def __init__(self, found: list[Action]) -> None:
        self.skipped = {}
        self.actions = sorted(found, key=lambda action: (action.ts, action.symbol, action.kind))

    @property
    def symbols(self) -> list[str]:
        """Symbols with an action, sorted."""
        return sorted({action.symbol for action in self.actions})

    @property
    def rows(self) -> int:
        """Number of actions."""
        return len(self.actions)

    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        """See `ColumnSource.batches`."""
        check_request(ids, size)
        wanted = [action for action in self.actions if action.symbol in ids]
        for begin in range(0, len(wanted), size):
            part = wanted[begin : begin + size]
            columns = {name: np.array([getattr(each, name) for each in part], dtype=np.int64) for name in _COLUMNS}
            yield {"instrument": np.array([ids[each.symbol] for each in part], dtype=np.uint32), **columns}


_COLUMNS = ("ts", "kind", "a", "b")


def actions(
    source: object,
    *,
    symbol: str = "symbol",
    symbol_is: str | None = None,
    date: str = "date",
    ratio: str = "ratio",
    numerator: str = "numerator",
    denominator: str = "denominator",
    cash: str = "cash",
    tz: str | None = None,
) -> ActionsSource:
    """Splits and dividends from a frame or a file: a path, a glob, a Polars or pandas DataFrame, an Arrow table.

    - `ratio`: "4:1", "3/2" or a number (4.0, 0.1) of new shares for an old one; or `numerator` and `denominator`.
    - `cash`: the dividend per share. A row has a ratio, or cash, or both.
    - A day takes effect at its midnight in `tz` ("America/New_York"; UTC without); a moment at that moment.

    Raises DataError that names the row, and ArgumentError.
    """
    wanted = {"date": date, "ratio": ratio, "numerator": numerator, "denominator": denominator, "cash": cash}
    zone = _zone(tz)
    found: list[Action] = []
    for opened in open_tables(source):
        with naming_errors(opened.name, opened.path):
            frame = opened.table.collect()
        there = frame.columns
        columns = {what: _column(name, what, there) for what, name in wanted.items()}
        columns["symbol"] = None if symbol_is is not None else find_column(symbol, "symbol", there)
        if columns["symbol"] is None and symbol_is is None:
            raise DataError(f"no column {symbol!r}; there are {', '.join(there)}", source=opened.name, column=symbol)
        if columns["date"] is None:
            raise DataError(f"no column {date!r}; there are {', '.join(there)}", source=opened.name, column=date)
        if columns["ratio"] is None and columns["numerator"] is None and columns["cash"] is None:
            hint = "Name the column of ratios with ratio='…', that of dividends with cash='…'."
            raise DataError(
                f"neither splits nor dividends; there are {', '.join(there)}", source=opened.name, hint=hint
            )
        for number, row in enumerate(frame.iter_rows(named=True)):
            cells = {what: None if name is None else row[name] for what, name in columns.items()}
            if symbol_is is not None:
                cells["symbol"] = symbol_is
            try:
                found += _actions_of(cells, zone)
            except _Wrong as wrong:
                name = columns.get(wrong.column) or wrong.column
                raise DataError(str(wrong), source=opened.name, row=number, column=name) from None
    return ActionsSource(found)


class _Wrong(Exception):
    """What is wrong with a cell."""

    def __init__(self, column: str, what: str) -> None:
        super().__init__(what)
        self.column = column


def _column(wanted: str, what: str, there: list[str]) -> str | None:
    names = _NAMES[what] if wanted == what else (wanted,)
    return next((found for name in names if (found := find_column(name, what, there)) is not None), None)


def _zone(tz: str | None) -> ZoneInfo | None:
    try:
        return None if tz is None else ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError):
        raise ArgumentError(f"tz={tz!r} is no time zone; write it like 'America/New_York'") from None


def _actions_of(cells: Mapping[str, object], zone: ZoneInfo | None) -> Iterator[Action]:
    symbol = cells["symbol"]
    if symbol is None or not str(symbol).strip():
        raise _Wrong("symbol", "no symbol")
    ts = _moment(cells["date"], zone)
    ratio = _ratio(cells)
    cash = cells["cash"]
    if ratio is not None and ratio != 1:
        if max(ratio.numerator, ratio.denominator) > _LARGEST:
            raise _Wrong("ratio", f"{ratio} does not fit 32 bits")
        yield Action(ts, str(symbol), 0, ratio.numerator, ratio.denominator)
    if not _empty(cash):
        yield Action(ts, str(symbol), 1, _price(cash), 0)
    elif ratio is None:
        raise _Wrong("ratio", "neither a ratio nor cash")


def _empty(cell: object) -> bool:
    return cell in (None, "", 0) or (isinstance(cell, float) and math.isnan(cell))


def _moment(cell: object, zone: ZoneInfo | None) -> int:
    if isinstance(cell, str):
        try:
            cell = date.fromisoformat(cell) if len(cell) == len("2020-08-31") else datetime.fromisoformat(cell)
        except ValueError:
            raise _Wrong("date", f"{cell!r} is no date like 2020-08-31") from None
    if isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime(cell.year, cell.month, cell.day)
    if not isinstance(cell, datetime):
        raise _Wrong("date", f"{cell!r} is no date")
    if cell.tzinfo is None:
        cell = cell.replace(tzinfo=zone or UTC)
    since = cell - datetime(1970, 1, 1, tzinfo=UTC)
    if since.days < 0:
        raise _Wrong("date", f"{cell} is before 1970")
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000


def _ratio(cells: Mapping[str, object]) -> Fraction | None:
    given = cells["ratio"]
    if _empty(given):
        return _parts(cells["numerator"], cells["denominator"])
    text = str(given).replace("/", ":").replace("-for-", ":")
    if ":" in text:
        new, _, old = text.partition(":")
        return _parts(new.strip(), old.strip())
    try:
        exact = Fraction(text.strip())
    except ValueError:
        raise _Wrong("ratio", f"{given!r} is no ratio like 4:1 or 4.0") from None
    near = exact if exact.denominator <= _EXACT else exact.limit_denominator(_DENOMINATOR)
    if exact <= 0 or abs(near - exact) > _NEAR * exact:
        raise _Wrong("ratio", f"{given!r} is no ratio of small numbers: write it like 4:1")
    return near


def _parts(new: object, old: object) -> Fraction | None:
    if _empty(new) and _empty(old):
        return None
    try:
        numbers = [Fraction(str(part)) for part in (new, old)]
    except ValueError:
        raise _Wrong("ratio", f"{new!r} for {old!r} is no ratio of whole numbers") from None
    if any(part <= 0 for part in numbers):
        raise _Wrong("ratio", f"{new!r} for {old!r}: both must be above zero")
    return numbers[0] / numbers[1]


def _price(cell: object) -> int:
    try:
        cash = Fraction(str(cell))
    except ValueError:
        raise _Wrong("cash", f"{cell!r} is no number") from None
    scaled = round(cash * PRICE_SCALE)
    if not 0 < scaled < 2**63 - 1:
        raise _Wrong("cash", f"{cell!r}: a dividend is above zero and fits 64 bits at 1e-9")
    return scaled


def frame_of_actions(source: ActionsSource) -> pl.DataFrame:
    """For people: ts, symbol, kind, numerator, denominator, cash."""
    rows = [
        (a.ts, a.symbol, "split", a.a, a.b, None) if a.kind == 0 else (a.ts, a.symbol, "dividend", None, None, a.a)
        for a in source.actions
    ]
    names = ["ts", "symbol", "kind", "numerator", "denominator", "cash"]
    kinds = [pl.Int64, pl.String, pl.String, pl.Int64, pl.Int64, pl.Int64]
    frame = pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")
    return frame.with_columns(pl.col("ts").cast(pl.Datetime("ns", "UTC")), pl.col("cash") / PRICE_SCALE)
