"""What is looked at in the rows of one schema and day: the checks themselves. `checking` says what they are and why.

Each check marks rows; marks are counted by instrument in one pass. Frames have the columns of `SCHEMAS`, and rows stand
by instrument, time and order of arrival.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from helios.data.catalog.bookcheck import BookFaults, book_of, orders_of_levels
from helios.data.catalog.schemas import SCHEMAS, to_batch
from helios.data.catalog.sessions import sessions
from helios.data.source import UNDEFINED_PRICE
from helios.errors import ArgumentError
from helios.scales import PRICE_SCALE, QUANTITY_SCALE

#: In the order of the table's columns.
CHECKS: Final = (
    "gap", "duplicate", "backwards", "other day", "value", "crossed", "locked", "outlier", "jump", "unknown order",
    "refused", "halt", "in halt", "volume", "clock", "two names",
)  # fmt: skip

_ADD, _EXECUTE, _REPLACE, _HIDDEN, _CROSS, _HALTED, _TRADING = 0, 1, 4, 5, 6, 7, 8
#: A trade with displayed orders that the feed does not name.
_UNNAMED = 10
#: Executions at another price than the order's, the second not counted as volume; and what stops trading.
_EXECUTE_AT, _STOPS = (11, 12), (_HALTED, 13, 14)
#: What names an order that was added before: executions, reductions, deletions, replacements.
_TAKES = (*range(_EXECUTE, _REPLACE + 1), *_EXECUTE_AT)
_NS: Final = 1_000_000_000
_WINDOW_NS: Final = 1_800 * _NS
#: A bar as long as this is of a day: its neighbours are other days.
DAILY_NS: Final = 12 * 3_600 * _NS
_BINS: Final = 240
_BACK_IN: Final = 5

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rules:
    """When something counts as wrong."""

    gap_seconds: float = 60.0
    gap_times: float = 20.0
    gap_bars: float = 5.0
    outlier_times: float = 20.0
    outlier_least: float = 0.01
    jump_least: float = 0.30
    volume_tolerance: float = 0.01
    #: How far a row's own stamp may be behind that of a row received earlier: channels are not exactly in step.
    clock_seconds: float = 1.0
    #: So many stamps one after the other at which every row is there twice are a block that came twice.
    duplicate_stamps: int = 20
    unknown_share: float = 0.001
    #: Rows below which nothing is said of rates and returns.
    least_rows: int = 20
    #: A calendar of exchange_calendars ("XNYS"), for sessions that are missing, late or cut.
    calendar: str | None = None
    #: Checks whose findings are notes.
    allow: frozenset[str] = frozenset()
    #: Rows in memory at once, unless one instrument's day has more.
    rows_at_once: int = 2_000_000

    def __post_init__(self) -> None:
        if unknown := sorted(self.allow - set(CHECKS)):
            raise ArgumentError(f"no check is called {unknown[0]!r}: {', '.join(CHECKS)}")
        for name in ("gap_seconds", "gap_times", "gap_bars", "outlier_times", "rows_at_once", "least_rows"):
            if not getattr(self, name) > 0:
                raise ArgumentError(f"{name}={getattr(self, name)!r} must be greater than zero")


@dataclass(frozen=True)
class Shape:
    """What an instrument-day looks like, in bins of equal time: for its picture."""

    schema: str
    day: date
    instrument: str
    #: Edge of each bin, ns since 1970 UTC; one more than there are bins.
    edges: Ints
    rows: Ints
    #: Lowest and highest price of each bin; for quotes and books, lowest bid and highest ask. NaN where there is none.
    low: Floats
    high: Floats


FINDINGS: Final = pl.Schema(
    {
        "schema": pl.String(),
        "date": pl.Date(),
        "instrument": pl.String(),
        "check": pl.String(),
        "level": pl.String(),
        "count": pl.Int64(),
        "ts": pl.Datetime("ns", "UTC"),
        "until": pl.Datetime("ns", "UTC"),
        "what": pl.String(),
    }
)
TABLE: Final = pl.Schema(
    {
        "schema": pl.String(),
        "date": pl.Date(),
        "instrument": pl.String(),
        "rows": pl.Int64(),
        "first": pl.Datetime("ns", "UTC"),
        "last": pl.Datetime("ns", "UTC"),
        **{name: pl.Int64() for name in CHECKS},
        "longest_gap_s": pl.Float64(),
        "crossed_s": pl.Float64(),
        "verdict": pl.String(),
    }
)


@dataclass
class Notes:
    """Findings of one schema and day while they are gathered."""

    schema: str
    day: date
    rules: Rules
    #: Opening and close of the day's session, where a calendar is given.
    session: tuple[datetime, datetime] | None = None
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def add(
        self, instrument: str, name: str, count: int, ts: int | None, what: str, *, wrong: bool = True,
        until: int | None = None,
    ) -> None:  # fmt: skip
        """One more; `ts` and `until` are ns since 1970 UTC."""
        level = "wrong" if wrong and name not in self.rules.allow else "note"
        self.rows.append((self.schema, self.day, instrument, name, level, count, ts, until, what))

    def frame(self) -> pl.DataFrame:
        """All of them, with the columns of FINDINGS."""
        physical = {name: pl.Int64() if isinstance(kind, pl.Datetime) else kind for name, kind in FINDINGS.items()}
        return pl.DataFrame(self.rows, schema=physical, orient="row").cast(FINDINGS)


@dataclass(frozen=True)
class Looked:
    """What came of some rows: a row of the table for each instrument, findings, shapes, and volumes for comparison."""

    table: pl.DataFrame
    findings: pl.DataFrame
    shapes: list[Shape]
    volumes: pl.DataFrame


VOLUMES: Final = pl.Schema(
    {
        "schema": pl.String(),
        "date": pl.Date(),
        "instrument": pl.String(),
        "of": pl.String(),
        "volume": pl.Float64(),
        "last": pl.Float64(),
        "span": pl.Int64(),
    }
)


def session_of(day: date, rules: Rules) -> tuple[datetime, datetime] | None:
    """Opening and close of the day, by the calendar of the rules; None without one, or for a day off."""
    return None if rules.calendar is None else sessions(rules.calendar, day, day).get(day)


def check_frame(rows: pl.DataFrame, schema: str, day: date, rules: Rules) -> Looked:
    """Looks at rows of one schema and day: whole instrument-days, any number of them."""
    by = ["instrument", "span"] if schema == "bars" else ["instrument"]
    # Numbers are sorted faster than names.
    names = pl.Enum(rows["instrument"].unique().sort())
    rows = rows.sort(pl.col("instrument").cast(names), *by[1:], "ts", "seq")
    rows = rows.with_columns(_repeated(rows, schema), *_marks(schema, day))
    if schema == "orders":
        rows = rows.with_columns(_unknown(rows))
    found = Notes(schema, day, rules, session_of(day, rules))
    parts: list[_Part] = []
    shapes: list[Shape] = []
    # Rows of another day are no neighbours of this day's.
    own = rows.filter(~pl.col("other day")).with_row_index("row")
    columns = _columns(own, schema)
    runs = own.group_by(by, maintain_order=True).agg(pl.col("row").first(), pl.len().alias("count"))
    for name, first, count in runs.select("instrument", "row", "count").iter_rows():
        part = _Part(name, schema, {key: values[first : first + count] for key, values in columns.items()})
        # A day of a few rows has neither a rate nor returns; there may be very many such days.
        if count >= rules.least_rows or schema in ("orders", "depth"):
            part.look(found)
            shapes.append(part.shape(day))
        parts.append(part)
    counts = _counts(rows)
    _tell(counts, found)
    table = _table(counts, parts, found)
    return Looked(table, found.frame(), shapes, _volumes(rows, schema, day))


# ---- marks: rows that are wrong by themselves ------------------------------------------------------------------------


def _marks(schema: str, day: date) -> list[pl.Expr]:
    """A column of booleans for each check that needs a row and its like, no neighbours."""
    noon = datetime.combine(day, time(12), tzinfo=ZoneInfo("UTC"))
    marks = {
        # A trading day has its own zone, and an evening before it: within 36 hours of its noon in UTC, wherever it is.
        "other day": (pl.col("ts") < noon - timedelta(hours=36)) | (pl.col("ts") > noon + timedelta(hours=36)),
        "clock": pl.col("ts_recv") < pl.col("ts"),
        "value": _is_bad(schema),
    }
    if schema == "quotes":
        # Of a stamp the last row counts: at what stood in between nobody could trade.
        last = (pl.col("ts") != pl.col("ts").shift(-1)) | (pl.col("instrument") != pl.col("instrument").shift(-1))
        last = last.fill_null(value=True)
        marks |= {"crossed": (pl.col("bid") > pl.col("ask")) & last, "locked": (pl.col("bid") == pl.col("ask")) & last}
    return [mark.fill_null(value=False).alias(name) for name, mark in marks.items()]


def _repeated(rows: pl.DataFrame, schema: str) -> pl.Series:
    """Rows that are there already. Equal rows have equal stamps and stand together: only such rows are compared."""
    same = [name for name in SCHEMAS[schema] if name != "seq"] if schema != "bars" else ["instrument", "span", "ts"]
    again = (rows["ts"] == rows["ts"].shift(1)).fill_null(value=False)
    near = (again | again.shift(-1, fill_value=False)).arg_true()
    seen = rows[near].select(pl.struct(same).is_first_distinct()).to_series()
    marks = np.zeros(rows.height, dtype=np.bool_)
    marks[near.filter(~seen).to_numpy()] = True
    return pl.Series("duplicate", marks)


def _unknown(rows: pl.DataFrame) -> pl.Series:
    """Rows that take from an order which no earlier row added; numbers added twice are for the native book."""
    told = rows.select("instrument", "kind", "order", "new_order").with_row_index("row")
    adds = pl.concat(
        [
            told.filter(pl.col("kind") == _ADD).select("row", "instrument", "order"),
            told.filter(pl.col("kind") == _REPLACE).select("row", "instrument", order="new_order"),
        ]
    )
    first = adds.group_by("instrument", "order").agg(pl.col("row").min().alias("added"))
    takes = told.filter(pl.col("kind").is_in(_TAKES)).select("row", "instrument", "order")
    known = takes.join(first, on=["instrument", "order"], how="left")
    unknown = known.filter(pl.col("added").is_null() | (pl.col("added") >= pl.col("row")))["row"]
    marks = np.zeros(rows.height, dtype=np.bool_)
    marks[unknown.to_numpy()] = True
    return pl.Series("unknown order", marks)


def _columns(rows: pl.DataFrame, schema: str) -> dict[str, NDArray[Any]]:
    """The rows as arrays, once for all instruments."""
    numbers = {name: number for number, name in enumerate(rows["instrument"].unique())}
    columns: dict[str, NDArray[Any]] = to_batch(rows.select(SCHEMAS[schema].names()), numbers)
    columns["ts_recv"] = rows["ts_recv"].to_physical().fill_null(-1).to_numpy()
    marks = ("duplicate", "unknown order") if schema == "orders" else ("duplicate",)
    return columns | {name: rows[name].to_numpy() for name in marks}


def _is_bad(schema: str) -> pl.Expr:
    price, size = pl.col("price"), pl.col("size")
    if schema == "bars":
        inside = pl.col("open", "close")
        outside = pl.any_horizontal((inside > pl.col("high")) | (inside < pl.col("low")))
        return outside | pl.any_horizontal(pl.col("open", "high", "low", "close") <= 0) | (pl.col("volume") < 0)
    if schema == "quotes":
        bid = (pl.col("bid") <= 0) | (pl.col("bid").is_not_null() & (pl.col("bid_size") <= 0))
        return (
            bid.fill_null(value=False)
            | (pl.col("ask") <= 0)
            | (pl.col("ask").is_not_null() & (pl.col("ask_size") <= 0))
        )
    if schema == "trades":
        return (price <= 0) | (size <= 0)
    if schema == "depth":
        return (pl.col("kind") == 0) & (price.is_null() | (price <= 0) | (size < 0))
    return pl.col("kind").is_in([_ADD, _REPLACE]) & (price.is_null() | (price <= 0) | (size <= 0))


# ---- parts: what needs the whole day of an instrument ----------------------------------------------------------------


@dataclass
class _Part:
    """One instrument's rows of a day (of one length, for bars), in order of time."""

    name: str
    schema: str
    #: As a batch of the core has them, and beside them `ts_recv` (-1 for null) and marks.
    rows: Mapping[str, NDArray[Any]]
    #: Counts and seconds for the table.
    told: dict[str, float] = field(default_factory=dict)
    book: BookFaults | None = None

    def look(self, found: Notes) -> None:
        """All checks that need neighbours."""
        ts = self.rows["ts"]
        halted = np.zeros(ts.size, dtype=np.bool_)
        if self.schema == "orders":
            halted = self._halts(ts, found)
            self._unknown(ts, found)
        if self.schema in ("orders", "depth"):
            self._book(found)
        self._gaps(ts, halted, found)
        self._repeats(ts, found)
        self._backwards(ts, found)
        self._outliers(ts, found)

    def _halts(self, ts: Ints, found: Notes) -> NDArray[np.bool_]:
        """True for each row from a halt on until trading resumes."""
        kind = self.rows["kind"]
        at = np.flatnonzero(np.isin(kind, (*_STOPS, _TRADING)))
        halted = np.zeros(kind.size, dtype=np.bool_)
        if at.size == 0:
            return halted
        before = np.searchsorted(at, np.arange(kind.size), side="right") - 1
        halted = np.asarray((before >= 0) & np.isin(kind[at[np.maximum(before, 0)]], _STOPS), dtype=np.bool_)
        begins = np.flatnonzero(halted & ~np.append(False, halted[:-1]))
        for first in begins:
            later = np.flatnonzero(~halted[first:])
            until = int(ts[first + later[0]]) if later.size else None
            lasted = f"for {_seconds(until - int(ts[first]))}" if until else "until the end"
            found.add(self.name, "halt", 1, int(ts[first]), f"trading halted {lasted}", wrong=False, until=until)
        self._mark(
            "in halt",
            halted & np.isin(kind, (_EXECUTE, *_EXECUTE_AT, _HIDDEN, _UNNAMED)),
            ts,
            found,
            "executions while halted",
        )
        self.told["halt"] = begins.size
        return halted

    def _unknown(self, ts: Ints, found: Notes) -> None:
        takes = int(np.count_nonzero(np.isin(self.rows["kind"], _TAKES)))
        unknown = self.rows["unknown order"]
        share = int(np.count_nonzero(unknown)) / max(takes, 1)
        what = f"of {takes:,} rows take from orders that were not added ({share:.2%})"
        self._mark("unknown order", unknown, ts, found, what, wrong=share >= found.rules.unknown_share)

    def _book(self, found: Notes) -> None:
        names = [name for name in self.rows if name not in ("ts_recv", "duplicate", "unknown order")]
        batch = {name: np.ascontiguousarray(self.rows[name]) for name in names}
        batch["instrument"] = np.zeros(batch["ts"].size, dtype=np.uint32)
        book = self.book = book_of(batch if self.schema == "orders" else orders_of_levels(batch))
        for name, at in (("crossed", book.crossed), ("locked", book.locked)):
            seconds = book.lasted(at)
            what = f"stamps with a {name} book, {seconds:,.3f} s in all"
            self._mark(name, at, book.ts, found, what, wrong=name == "crossed")
            self.told[f"{name}_s"] = seconds
        refused = max(book.refused - int(self.told.get("unknown order", 0)), 0)
        if refused:
            what = "events that the book cannot apply: a number added twice, more taken than there was"
            found.add(self.name, "refused", refused, None, what)
        self.told["refused"] = refused

    def _gaps(self, ts: Ints, halted: NDArray[np.bool_], found: Notes) -> None:
        """Silences that the half hours around them do not explain, outside halts."""
        rules = found.rules
        least, times, window = rules.gap_seconds * _NS, rules.gap_times, _WINDOW_NS
        if self.schema == "bars":
            span = int(self.rows["span"][0])
            least, times, window = (rules.gap_bars + 1) * span, rules.gap_bars, max(window, 30 * span)
            if span >= DAILY_NS:
                return
        longest = 0
        for at, usual in silences_of(ts, least, times, window, found):
            if halted[at]:
                continue
            length = int(ts[at + 1] - ts[at])
            longest = max(longest, length)
            what = f"nothing for {_seconds(length)}, where rows come every {_seconds(usual)}"
            found.add(self.name, "gap", 1, int(ts[at]), what, until=int(ts[at + 1]))
            self.told["gap"] = self.told.get("gap", 0) + 1
        self._session_gaps(ts, found)
        self.told["longest_gap_s"] = longest / _NS

    def _session_gaps(self, ts: Ints, found: Notes) -> None:
        """A day that begins late or ends early; only with a calendar."""
        hours = found.session
        if hours is None:
            return
        opening, close = (int(moment.timestamp()) * _NS for moment in hours)
        least = max(found.rules.gap_seconds * _NS, found.rules.gap_times * (ts[-1] - ts[0]) / ts.size)
        for first, last, what in (
            (opening, int(ts[0]), "nothing from the opening for"),
            (int(ts[-1]), close, "nothing before the close for"),
        ):
            if last - first > least:
                found.add(self.name, "gap", 1, first, f"{what} {_seconds(last - first)}", until=last)
                self.told["gap"] = self.told.get("gap", 0) + 1

    def _repeats(self, ts: Ints, found: Notes) -> None:
        """Blocks that came twice: many stamps one after the other at which every row is there twice."""
        if self.schema not in ("trades", "orders"):
            return  # A quote or a level said again changes nothing; a bar that is there twice is wrong already.
        stamps, first, counts = np.unique(ts, return_index=True, return_counts=True)
        again = np.add.reduceat(self.rows["duplicate"].astype(np.int64), first)
        twice = np.concatenate([[False], 2 * again >= counts, [False]])
        blocks = np.flatnonzero(np.diff(twice)).reshape(-1, 2)
        blocks = blocks[blocks[:, 1] - blocks[:, 0] >= found.rules.duplicate_stamps]
        if blocks.size:
            count = sum(int(again[begin:end].sum()) for begin, end in blocks)
            begin, end = blocks[0]
            what = f"rows in {len(blocks)} block(s) that came twice; the first of {end - begin:,} stamps"
            found.add(self.name, "duplicate", count, int(stamps[begin]), what, until=int(stamps[end - 1]))

    def _backwards(self, ts: Ints, found: Notes) -> None:
        """In the order of arrival, where it is known, stamps well before the latest that was seen."""
        received = self.rows["ts_recv"]
        if (received < 0).any():
            return
        order = np.argsort(received, kind="stable")
        behind = np.maximum.accumulate(ts[order]) - ts[order]
        at = np.sort(order[behind > found.rules.clock_seconds * _NS])
        mask = np.zeros(ts.size, dtype=np.bool_)
        mask[at] = True
        what = f"rows stamped before one received earlier, by up to {_seconds(int(behind.max(initial=0)))}"
        self._mark("backwards", mask, ts, found, what)

    def _outliers(self, ts: Ints, found: Notes) -> None:
        """Returns far out of the ordinary: those taken back within a few rows, and those that stay."""
        price, wick = self._prices()
        at = np.flatnonzero(price > 0)
        if at.size < found.rules.least_rows:
            return
        log = np.log(price[at])
        limit = limit_of(np.diff(log), found.rules)
        spikes, jumps = spikes_of(log, limit)
        spikes |= wick[at] > limit
        for name, mask in (("outlier", spikes), ("jump", jumps & ~spikes)):
            whole = np.zeros(price.size, dtype=np.bool_)
            whole[at[mask]] = True
            kind = "taken back" if name == "outlier" else "that stay"
            what = f"returns over {limit:.2%}, {kind}"
            if whole.any():
                what += f"; the first to {price[whole][0] / PRICE_SCALE:,.4f}"
            self._mark(name, whole, ts, found, what, wrong=name == "outlier")

    def _prices(self) -> tuple[Floats, Floats]:
        """The price of each row, zero where it has none; how far a bar's high or low is beyond its open and close."""
        rows, none = self.rows, np.zeros(self.rows["ts"].size)
        if self.schema == "bars":
            with np.errstate(all="ignore"):
                up = np.log(rows["high"] / np.maximum(rows["open"], rows["close"]))
                down = np.log(np.minimum(rows["open"], rows["close"]) / rows["low"])
            return rows["close"].astype(np.float64), np.nan_to_num(np.maximum(up, down), posinf=0.0)
        if self.schema == "trades":
            return rows["price"].astype(np.float64), none
        if self.schema == "quotes":
            there = (rows["bid"] != UNDEFINED_PRICE) & (rows["ask"] != UNDEFINED_PRICE)
            return np.where(there, rows["bid"] / 2 + rows["ask"] / 2, 0.0), none
        if self.schema == "orders":
            traded = np.isin(rows["kind"], (_EXECUTE, _EXECUTE_AT[0], _HIDDEN, _UNNAMED)) & (
                rows["price"] != UNDEFINED_PRICE
            )
            return np.where(traded, rows["price"], 0).astype(np.float64), none
        return none, none

    def _mark(
        self, name: str, mask: NDArray[np.bool_], ts: Ints, found: Notes, what: str, *, wrong: bool = True
    ) -> None:
        count = int(np.count_nonzero(mask))
        self.told[name] = self.told.get(name, 0) + count
        if count:
            found.add(self.name, name, count, int(ts[np.argmax(mask)]), what, wrong=wrong)

    def shape(self, day: date) -> Shape:
        """Rows and prices in bins of equal time."""
        ts = self.rows["ts"]
        edges = ts[0] + np.arange(_BINS + 1) * (ts[-1] + 1 - ts[0]) // _BINS
        low, high, at = self._range(ts)
        return Shape(
            self.schema, day, self.name, edges, np.bincount(_bins(ts, edges), minlength=_BINS).astype(np.int64),
            _binned(low, at, edges, np.fmin), _binned(high, at, edges, np.fmax),
        )  # fmt: skip

    def _range(self, ts: Ints) -> tuple[Floats, Floats, Ints]:
        """Lowest and highest price at each moment, NaN for none."""
        if self.book is not None:
            return self.book.bid, self.book.ask, self.book.ts
        if self.schema in ("bars", "quotes"):
            low, high = ("low", "high") if self.schema == "bars" else ("bid", "ask")
            pair = [
                np.where(self.rows[name] == UNDEFINED_PRICE, np.nan, self.rows[name] / PRICE_SCALE)
                for name in (low, high)
            ]
            return pair[0], pair[1], ts
        price = self._prices()[0] / PRICE_SCALE
        price = np.where(price > 0, price, np.nan)
        return price, price, ts


def silences_of(ts: Ints, least: float, times: float, window: int, found: Notes) -> list[tuple[int, float]]:
    """Rows before a silence of over `least` ns that its neighbourhood does not explain, and the usual interval there.

    It is over `times` the mean interval between moments with rows, and over three times the third longest silence, in
    the half hour (`window`) before and in that after, the sparser of the two; only the part within the session counts.
    """
    # Rows come in bursts: what counts is how many seconds have one.
    busy = np.flatnonzero(np.append(True, np.diff(ts // _NS) > 0))
    stamps = ts[busy]
    opening, close = (
        (0, 2**63 - 1) if found.session is None else (int(each.timestamp()) * _NS for each in found.session)
    )
    told = []
    for place in np.flatnonzero(np.diff(stamps) > least):
        at = int(busy[place + 1]) - 1
        first, last = int(ts[at]), int(ts[at + 1])
        sides = (
            stamps[np.searchsorted(stamps, first - window) : place + 1],
            stamps[place + 1 : np.searchsorted(stamps, last + window, side="right")],
        )
        if sides[0].size + sides[1].size < found.rules.least_rows:
            continue
        usual, third = 0.0, 0
        for side in (side for side in sides if side.size > 3):
            steps = np.diff(side)
            usual, third = max(usual, float(steps.mean())), max(third, int(np.sort(steps)[-3]))
        length = min(last, close) - max(first, opening)
        if length > max(least, times * usual, 3 * third):
            told.append((at, usual))
    return told


def limit_of(returns: Floats, rules: Rules) -> float:
    """From where on a return is out of the ordinary: so many robust deviations of those that are not zero."""
    moved = returns[returns != 0]
    if moved.size == 0:
        return rules.outlier_least
    deviation = 1.4826 * float(np.median(np.abs(moved - np.median(moved))))
    return max(rules.outlier_times * deviation, rules.outlier_least)


def spikes_of(log: Floats, limit: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows after a jump of over `limit`: those from which the price is back within a few rows, and those that stay."""
    spikes, jumps = np.zeros(log.size, dtype=np.bool_), np.zeros(log.size, dtype=np.bool_)
    inside = -1  # the row at which the latest spike has ended
    for at in np.flatnonzero(np.abs(np.diff(log)) > limit) + 1:
        if at <= inside:
            continue  # the way back
        back = np.flatnonzero(np.abs(log[at + 1 : at + 1 + _BACK_IN] - log[at - 1]) <= limit / 2)
        if back.size:
            inside = int(at) + 1 + int(back[0])
            spikes[at:inside] = True
        else:
            jumps[at] = True
    return spikes, jumps


def _binned(values: Floats, at: Ints, edges: Ints, least: np.ufunc) -> Floats:
    """The extreme of each bin, NaN for a bin without a value."""
    out = np.full(edges.size - 1, np.nan)
    least.at(out, _bins(at, edges), values)
    return out


def _bins(at: Ints, edges: Ints) -> NDArray[np.intp]:
    return np.clip(np.searchsorted(edges, at, side="right") - 1, 0, edges.size - 2)


def _seconds(ns: float) -> str:
    seconds = ns / _NS
    if seconds >= 120:
        return f"{seconds / 60:,.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1e3:.2g} ms"


# ---- the answer ------------------------------------------------------------------------------------------------------

_MARKED: Final = ("duplicate", "other day", "clock", "value", "crossed", "locked")
_WHAT: Final = {
    "duplicate": "rows that are there already, all values equal",
    "other day": "rows stamped on another day than their partition's",
    "clock": "",
    "value": "rows with a price or size that cannot be",
    "crossed": "quotes with the bid above the ask",
    "locked": "quotes with the bid equal to the ask",
}


def _counts(rows: pl.DataFrame) -> pl.DataFrame:
    """By instrument: rows, times, how many rows each mark has and the time of the first of them."""
    marks = [name for name in _MARKED if name in rows.columns]
    return rows.group_by("instrument", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("rows"),
        pl.col("ts").min().alias("first"),
        pl.col("ts").max().alias("last"),
        *[pl.col(name).sum().cast(pl.Int64) for name in marks],
        *[pl.col("ts").filter(pl.col(name)).first().to_physical().alias(f"{name} at") for name in marks],
        (pl.col("ts") - pl.col("ts_recv")).filter(pl.col("clock")).median().to_physical().alias("early"),
    )


def _tell(counts: pl.DataFrame, found: Notes) -> None:
    for name in (name for name in _MARKED if name in counts.columns):
        for instrument, count, at, early in (
            counts.filter(pl.col(name) > 0).select("instrument", name, f"{name} at", "early").iter_rows()
        ):
            wrong, what = name not in ("clock", "locked"), _WHAT[name]
            if name == "duplicate" and found.schema == "bars":
                what = "bars that end when another of their length does"
            elif name == "duplicate":
                # Equal trades at one stamp are nothing unusual; whether a block came twice, the parts have said.
                wrong = False
            elif name == "clock":
                what = f"rows received before they were sent, by {_seconds(early)} in the middle"
            found.add(instrument, name, count, at, what, wrong=wrong)


def _table(counts: pl.DataFrame, parts: list[_Part], found: Notes) -> pl.DataFrame:
    """A row of TABLE for each instrument. Bars of several lengths are one row."""
    names = [
        "instrument",
        *(name for name in TABLE if name in CHECKS and name not in counts.columns),
        "longest_gap_s",
        "crossed_s",
    ]
    told: dict[str, dict[str, Any]] = {}
    for part in parts:
        row = told.setdefault(part.name, {"instrument": part.name})
        for key, value in part.told.items():
            row[key] = max(row.get(key, 0), value) if key == "longest_gap_s" else row.get(key, 0) + value
    types = {name: pl.Int64() if name in CHECKS else TABLE[name] for name in names}
    extra = pl.DataFrame(
        [{name: row.get(name, 0) for name in names} for row in told.values()], schema=types, strict=False
    )
    return (
        counts.join(extra, on="instrument", how="left")
        .with_columns(pl.lit(found.schema).alias("schema"), pl.lit(found.day).alias("date"))
        .with_columns(
            pl.lit(0).alias(name) for name in TABLE if name in CHECKS and name not in {*counts.columns, *names}
        )
        .with_columns(pl.lit(None, dtype=pl.String).alias("verdict"))
        .select(TABLE.names())
        .cast(TABLE)
    )


def _volumes(rows: pl.DataFrame, schema: str, day: date) -> pl.DataFrame:
    """What was traded by the account of these rows, and the last price."""
    span: pl.Expr = pl.lit(0, dtype=pl.Int64)
    if schema == "orders":
        rows = rows.filter(pl.col("kind").is_in([_EXECUTE, _EXECUTE_AT[0], _HIDDEN, _CROSS, _UNNAMED]))
        volume, last = pl.col("size"), pl.col("price")
    elif schema == "trades":
        volume, last = pl.col("size"), pl.col("price")
    elif schema == "bars":
        volume, last, span = pl.col("volume"), pl.col("close"), pl.col("span")
    else:
        return pl.DataFrame(schema=VOLUMES)
    told = rows.group_by("instrument", span.alias("span"), maintain_order=True).agg(
        volume=volume.sum() / QUANTITY_SCALE, last=last.last() / PRICE_SCALE
    )
    of = schema if schema != "bars" else (pl.lit("bars of ") + (pl.col("span") // _NS).cast(pl.String) + " s")
    return told.with_columns(
        schema=pl.lit(schema), date=pl.lit(day), of=pl.lit(of) if isinstance(of, str) else of
    ).select(pl.col(name).cast(kind) for name, kind in VOLUMES.items())
