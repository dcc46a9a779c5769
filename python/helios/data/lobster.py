"""LOBSTER files: the order events of one stock on one day, and the book after each event.

A message file has no header and six columns: seconds after midnight, type, order, size, price x 10,000, direction of
the resting order. The order book file has one row per message: ask price, ask size, bid price, bid size of every level.
Both usually come in one zip; symbol and date stand in their names. Files are read in blocks, so memory stays flat.

Kinds of events: type 1 -> 0 add, 2 -> 2 reduce, 3 -> 3 delete, 4 -> 1 execute, 5 -> 5 trade against a hidden order,
6 -> 6 cross, 7 -> 7 halted (also while only quoting) or 8 trading. `side` is that of the resting order, for kind 5 that
of the aggressor (the opposite), and -1 from kind 6 on.

What the message file does not show: the orders that rested before the first message, and whatever happens beyond the
levels of the order book file. Cancels and executions name orders that were never added, and orders that left the levels
were perhaps cancelled there: a book made of messages alone soon has orders that are no more, and is crossed for most of
the day. `lobster(…)` adds what the order book file tells, where there is one, and its book equals that file after
every event.
"""

from __future__ import annotations

import datetime as dt
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Protocol, TypedDict

import numpy as np
import numpy.typing as npt
import polars as pl

from helios.data.columns import Integers, Mask, local_to_utc
from helios.data.source import BATCH_ROWS, UNDEFINED_PRICE, Batch, ColumnSource, Skipped, check_request
from helios.errors import ArgumentError, DataError

__all__ = ["Book", "CheckResult", "Difference", "lobster", "lobster_check", "orderbook"]

PRICE_STEP = 100_000  # price x 10,000 -> 1e-9
SIZE_STEP = 100_000_000  # shares -> 1e-8
_BLOCK_BYTES = 8 << 20
_NO_LEVEL = 9_999_999_999  # stands in the file where a side has fewer levels
_NS = 1_000_000_000

_NAME = re.compile(
    r"(?P<symbol>[^/\\]+)_(?P<date>\d{4}-\d\d-\d\d)_\d+_\d+_(?P<what>message|orderbook)_\d+\.csv(\.gz)?$"
)
#: What a damaged file raises; of zips also methods that do not exist, passwords that nobody set, names in no encoding.
_UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, UnicodeDecodeError)
_MESSAGE_COLUMNS = ["time", "type", "order", "size", "price", "direction"]
# Index: LOBSTER's type. The kind of type 7 depends on its price.
_KINDS = np.array([-1, 0, 2, 3, 1, 5, 6, 7], dtype=np.int64)
_ADD, _EXECUTE, _REDUCE, _DELETE, _LAST_BOOK_KIND, _HIDDEN, _CROSS, _HALTED, _TRADING = 0, 1, 2, 3, 3, 5, 6, 7, 8


def lobster(
    source: str | Path,
    symbol: str | None = None,
    date: str | dt.date | None = None,
    tz: str = "America/New_York",
    *,
    seed: bool | None = None,
) -> ColumnSource:
    """The order events of a LOBSTER zip or message file (`.csv`, `.csv.gz`), schema "orders".

    `symbol` and `date` are read from the file name; with a zip of several days or stocks they choose, and with a
    message file of another name both must be given. Times of day are local in `tz`.

    `seed`: as anything that looks at a book needs it, and so the default where there is an order book file. Reads that
    file too, and says what the messages leave out: the
    levels that stood at the first message (which is in them), levels that come into view when another empties (orders
    with numbers from 2**62 on, first in their queues, from which orders that were never added are taken), and orders
    that leave the view (deleted, with side -1, no price and no size). All have the time of the event that shows them.
    Several times slower.

    Raises DataError at the first row that is not as documented, after all rows before it were yielded; with `seed` also
    where the two files contradict one another.
    """
    file = _find(Path(source), symbol, date)
    if seed is None:
        try:
            _key_of(file)
        except DataError:
            return _Lobster(file, tz)
        return _Seeded(file, tz)
    if not seed:
        return _Lobster(file, tz)
    _key_of(file)
    return _Seeded(file, tz)


def orderbook(
    source: str | Path, symbol: str | None = None, date: str | dt.date | None = None
) -> npt.NDArray[np.int64]:
    """The book after every event: one row per message; ask price, ask size, bid price, bid size of level 1, then 2, …

    Prices at 1e-9, sizes at 1e-8; a level that is not there has the price 2**63 - 1 and the size 0. Ten levels give 40
    columns. `source` is a zip, or a message file that has its order book file beside it.
    """
    blocks = list(_key_blocks(_key_of(_find(Path(source), symbol, date))))
    return np.concatenate(blocks) if blocks else np.zeros((0, 0), dtype=np.int64)


# ---- files -----------------------------------------------------------------------------------------------------------


def message_files(path: str | Path, symbol: str | None = None, date: str | dt.date | None = None) -> list[_File]:
    """Every message file of a zip, or the one that is meant: `symbol` and `date` name a file that has another name."""
    path = Path(path)
    if path.is_file() and path.suffix.lower() == ".zip":
        return _members(path, "message")
    match = _named(path.name)
    return [_find(path, None, None) if match is not None else _find(path, symbol, date)]


@dataclass(frozen=True)
class _File:
    """One CSV file, on its own or inside a zip."""

    path: Path
    member: str | None
    symbol: str
    date: dt.date

    @property
    def name(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    def book(self) -> Path | None:
        """The file in which its order book file lies, if there is one."""
        try:
            return _key_of(self).path
        except DataError:
            return None

    @contextmanager
    def open(self) -> Iterator[IO[bytes] | gzip.GzipFile]:
        """Its bytes, unpacked. What goes wrong while reading becomes a DataError that names the file."""
        try:
            if self.member is not None:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as raw:
                    yield raw
            elif self.path.name.endswith(".gz"):
                with gzip.open(self.path) as unpacked:
                    yield unpacked
            else:
                with self.path.open("rb") as plain:
                    yield plain
        except _UNREADABLE as error:
            raise DataError(f"cannot be read: {error}", source=self.name, hint="The file may be damaged.") from error


def _find(path: Path, symbol: str | None, date: str | dt.date | None) -> _File:
    """The one message file that is meant."""
    day = _day(date)
    if not path.is_file():
        raise DataError("no such file", source=str(path), hint="Check the path; it is relative to the working folder.")
    if path.suffix.lower() != ".zip":
        match = _named(path.name)
        if match is not None and match["what"] == "orderbook":
            raise DataError("is an order book file", source=str(path), hint="Name the message file beside it.")
        if match is None and (symbol is None or day is None):
            hint = "Pass symbol='…' and date='YYYY-MM-DD'."
            raise DataError("the name does not tell symbol and date", source=str(path), hint=hint)
        named = dt.date.fromisoformat(match["date"]) if match else None
        return _File(path, None, symbol or (match["symbol"] if match else ""), day or named or dt.date.min)
    found = [file for file in _members(path, "message") if symbol in (None, file.symbol) and day in (None, file.date)]
    if len(found) != 1:
        there = ", ".join(f"{file.symbol} {file.date}" for file in _members(path, "message")) or "none"
        hint = "Choose one with symbol='…' and date='YYYY-MM-DD'."
        raise DataError(f"{len(found)} message files match; in the zip: {there}", source=str(path), hint=hint)
    return found[0]


def _day(date: str | dt.date | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat(date) if isinstance(date, str) else date
    except ValueError as error:
        raise ArgumentError(f"date={date!r}: write YYYY-MM-DD") from error


def _named(name: str) -> re.Match[str] | None:
    """What the name of a file tells, if its date is one, in the years that nanoseconds reach."""
    match = _NAME.search(name)
    try:
        return match if match is not None and 1970 < dt.date.fromisoformat(match["date"]).year < 2200 else None
    except ValueError:
        return None


def _members(path: Path, what: Literal["message", "orderbook"]) -> list[_File]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _UNREADABLE as error:
        raise DataError(f"cannot be read: {error}", source=str(path), hint="The file may be damaged.") from error
    matches = [(name, _named(name)) for name in names]
    return [
        _File(path, name, match["symbol"], dt.date.fromisoformat(match["date"]))
        for name, match in matches
        if match is not None and match["what"] == what
    ]


def _key_of(message: _File) -> _File:
    """The order book file that belongs to a message file."""
    hint = "The check needs the order book file of the same symbol, day and levels."
    if message.member is not None:
        name = "_orderbook_".join(message.member.rsplit("_message_", 1))
        found = [file for file in _members(message.path, "orderbook") if file.member == name]
        if not found:
            raise DataError(f"the zip has no {name}", source=str(message.path), hint=hint)
        return found[0]
    path = message.path.with_name("_orderbook_".join(message.path.name.rsplit("_message_", 1)))
    if path == message.path or not path.is_file():
        raise DataError("no order book file beside it", source=str(message.path), hint=hint)
    return _File(path, None, message.symbol, message.date)


def _blocks(file: _File, columns: list[str] | None) -> Iterator[pl.DataFrame]:
    """The rows as text, some megabytes at a time. Without `columns` the first row says how many there are."""
    with file.open() as raw:
        rest = b""
        row = 0
        while chunk := raw.read(_BLOCK_BYTES):
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            if newline:
                yield (block := _parse(file, whole, columns, row))
                row += block.height
        if rest.strip():
            yield _parse(file, rest, columns, row)


def _parse(file: _File, text: bytes, columns: list[str] | None, first_row: int) -> pl.DataFrame:
    names = columns or [str(i) for i in range(text.partition(b"\n")[0].count(b",") + 1)]
    schema = dict.fromkeys(names, pl.String)
    try:
        return pl.read_csv(io.BytesIO(text), has_header=False, schema=schema, quote_char=None)
    except pl.exceptions.PolarsError as error:
        wrong = (i for i, line in enumerate(text.split(b"\n")) if line.count(b",") != len(names) - 1)
        hint = f"Each row has {len(names)} values."
        raise DataError(
            "wrong number of values", source=file.name, row=first_row + next(wrong, 0), hint=hint
        ) from error


def _integers(block: pl.DataFrame, names: list[str]) -> tuple[dict[str, Integers], Mask]:
    """Columns of whole numbers; and a mask of the rows where one of them is none."""
    parsed = block.select(pl.col(names).str.strip_chars().cast(pl.Int64, strict=False))
    bad = parsed.select(pl.any_horizontal(pl.all().is_null()))[:, 0].to_numpy() if names else np.zeros(0, np.bool_)
    return {name: parsed[name].fill_null(0).to_numpy() for name in names}, bad


# ---- messages --------------------------------------------------------------------------------------------------------


class _Lobster(ColumnSource):
    """The order events of one message file."""

    schema: Literal["orders"] = "orders"

    def __init__(self, file: _File, tz: str) -> None:
        self.skipped: dict[str, Skipped] = {}
        self._file = file
        self._midnight_ns = _midnight_ns(file.date, tz)

    @property
    def symbols(self) -> list[str]:
        return [self._file.symbol]

    @property
    def rows(self) -> int | None:
        return None

    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        check_request(ids, size)
        return self._read(ids[self._file.symbol], size) if self._file.symbol in ids else iter(())

    def _read(self, instrument: int, size: int) -> Iterator[Batch]:
        for events in _events(self._file, self._midnight_ns):
            rows = events["ts"].size
            events["instrument"] = np.full(rows, instrument, dtype=np.uint32)
            for start in range(0, rows, size):
                yield {name: np.ascontiguousarray(column[start : start + size]) for name, column in events.items()}


class _Seeded(_Lobster):
    """The same, with what the order book file tells put in between."""

    def _read(self, instrument: int, size: int) -> Iterator[Batch]:
        told: list[tuple[int, ...]] = []
        try:
            for row in _seeded(self._file, self._midnight_ns):
                told.append(row)
                if len(told) == size:
                    yield _seeded_batch(told, instrument)
                    told = []
        except DataError:
            if told:
                yield _seeded_batch(told, instrument)
            raise
        if told:
            yield _seeded_batch(told, instrument)


def _seeded_batch(rows: list[tuple[int, ...]], instrument: int) -> Batch:
    ts, kind, order, side, price, size = np.array(rows, dtype=np.int64).T
    batch = {"ts": ts, "kind": kind, "order": order, "side": side, "price": price, "size": size}
    batch["new_order"] = np.zeros(len(rows), dtype=np.int64)
    contiguous: Batch = {name: np.ascontiguousarray(column) for name, column in batch.items()}
    return contiguous | {"instrument": np.full(len(rows), instrument, dtype=np.uint32)}


def _midnight_ns(day: dt.date, tz: str) -> int:
    """What to add to a wall-clock time of day. Counted back from noon, since midnight may lie in another offset."""
    local_noon = ((day - dt.date(1970, 1, 1)).days * 86_400 + 43_200) * _NS
    try:
        noon, undefined = local_to_utc(np.array([local_noon]), tz)
    except pl.exceptions.ComputeError as error:
        raise ArgumentError(f"tz={tz!r} is no time zone: write for example 'America/New_York'") from error
    assert not undefined[0], "no zone changes its offset at noon"
    return int(noon[0]) - 43_200 * _NS


def _events(file: _File, midnight_ns: int) -> Iterator[Batch]:
    """The events, checked and at our scales, without the instrument. Raises at the first bad row."""
    row, latest_ns = 0, 0
    for block in _blocks(file, _MESSAGE_COLUMNS):
        time_ns, bad_time = _time_of_day_ns(block["time"])
        v, bad_number = _integers(block, _MESSAGE_COLUMNS[1:])
        problem = _first_problem(time_ns, latest_ns, v, bad_time, bad_number)
        good = block.height if problem is None else problem[0]
        if good:
            yield _normalised(midnight_ns + time_ns[:good], {name: column[:good] for name, column in v.items()})
        if problem is not None:
            at, reason = problem
            line = ",".join("" if value is None else str(value) for value in block.row(at))
            raise DataError(
                f"{reason}: {line}",
                source=file.name,
                row=row + at,
                hint="A row is: seconds, type 1-7, order, size, price x 10000, direction 1 or -1.",
                good_rows=row + at,
            )
        row += block.height
        latest_ns = int(time_ns[-1]) if block.height else latest_ns


def _time_of_day_ns(column: pl.Series) -> tuple[Integers, Mask]:
    """Decimal seconds as exact nanoseconds, never through a float; and a mask of what is no time of day."""
    parts = column.str.strip_chars().str.extract_groups(r"^(?<s>\d{1,5})(?:\.(?<f>\d{1,9}))?$").struct.unnest()
    bad = parts["s"].is_null().to_numpy()
    seconds = parts["s"].fill_null("0").cast(pl.Int64).to_numpy()
    nanos = parts["f"].fill_null("0").str.pad_end(9, "0").cast(pl.Int64).to_numpy()
    return seconds * _NS + nanos, bad | (seconds >= 86_400)


def _first_problem(
    time_ns: Integers, latest_ns: int, v: Mapping[str, Integers], bad_time: Mask, bad_number: Mask
) -> tuple[int, str] | None:
    """Index in the block, and what is wrong there."""
    halt, named = v["type"] == 7, (v["type"] >= 1) & (v["type"] <= 4)
    before = np.concatenate(([latest_ns], time_ns))[:-1]
    checks = [
        ("not a time of day", bad_time),
        ("not whole numbers", bad_number),
        ("unknown type", (v["type"] < 1) | (v["type"] > 7)),
        ("time goes back", time_ns < before),
        ("size is not positive", ~halt & (v["size"] <= 0)),
        ("price is not positive", ~halt & (v["price"] <= 0)),
        ("number too large", (v["size"] > 2**36) | (v["price"] > 2**46)),
        ("order number is not positive", named & (v["order"] <= 0)),
        ("direction is neither 1 nor -1", np.abs(v["direction"]) != 1),
        ("unknown trading state", halt & ((v["price"] < -1) | (v["price"] > 1))),
    ]
    found = [(int(np.argmax(mask)), reason) for reason, mask in checks if mask.any()]
    return min(found, key=lambda each: each[0]) if found else None


def _normalised(ts: Integers, v: Mapping[str, Integers]) -> Batch:
    """The `orders` schema without the instrument. Orders have no number from kind 5 on."""
    kind = _KINDS[v["type"]]
    kind = np.where((kind == _HALTED) & (v["price"] == 1), _TRADING, kind)
    resting = np.where(v["direction"] == 1, 0, 1).astype(np.int64)
    side = np.where(kind <= _LAST_BOOK_KIND, resting, np.where(kind == _HIDDEN, 1 - resting, -1))
    status = kind >= _HALTED
    return {
        "ts": ts,
        "kind": kind,
        "order": np.where(kind <= _LAST_BOOK_KIND, v["order"], 0),
        "new_order": np.zeros(ts.size, dtype=np.int64),
        "side": side,
        "price": np.where(status, 0, v["price"]) * PRICE_STEP,
        "size": np.where(status, 0, v["size"]) * SIZE_STEP,
    }


# ---- the answer key --------------------------------------------------------------------------------------------------


def _key_blocks(file: _File) -> Iterator[Integers]:
    """Rows of the order book file at our scales."""
    row, width = 0, 0
    for block in _blocks(file, None):
        width = width or block.width
        if block.width != width or width % 4:
            hint = "Each level has four values: ask price, ask size, bid price, bid size."
            raise DataError(f"{block.width} values in a row", source=file.name, row=row, hint=hint)
        values, bad = _integers(block, block.columns)
        table = np.column_stack([values[name] for name in block.columns])
        bad |= (table[:, 1::2] < 0).any(axis=1) | (np.abs(table) > 2**46).any(axis=1)
        if bad.any():
            at = int(np.argmax(bad))
            hint = "Order book rows hold whole numbers, sizes not negative."
            raise DataError("not an order book row", source=file.name, row=row + at, hint=hint)
        prices, sizes = table[:, 0::2], table[:, 1::2]
        empty = (np.abs(prices) == _NO_LEVEL) & (sizes == 0)
        table[:, 0::2] = np.where(empty, UNDEFINED_PRICE, prices * PRICE_STEP)
        table[:, 1::2] = sizes * SIZE_STEP
        yield table
        row += block.height


# ---- the check -------------------------------------------------------------------------------------------------------


class Book(Protocol):
    """What the check drives: a price-time book that sums orders into levels. Side 0 is buy, 1 is sell.

    Prices are integers at 1e-9, quantities at 1e-8. `reduce` removes an order that reaches zero.
    """

    def add(self, instrument: int, order: int, side: int, price: int, quantity: int) -> object:
        """An order joins the back of its level."""
        ...

    def reduce(self, instrument: int, order: int, quantity: int) -> object:
        """An order loses quantity; at zero it is gone."""
        ...

    def remove(self, instrument: int, order: int) -> object:
        """An order is gone."""
        ...

    def depth(self, instrument: int, side: int, levels: int) -> list[tuple[int, int, int]]:
        """(price, quantity, orders) of the best levels, best first."""
        ...

    def clear(self, instrument: int) -> object:
        """All orders of an instrument are gone."""
        ...


class Difference(TypedDict):
    """Where the book parts from the files for the first time.

    Either a level differs: `level` counts from 1, `ours` and `key` are its `[price, quantity]`, None where it is not
    there. Or the event itself is impossible (`problem` says why): `level` is 0, `ours` and `key` are None.
    """

    row: int
    problem: str
    side: str
    level: int
    ours: list[int] | None
    key: list[int] | None


class CheckResult(TypedDict):
    """`checked` rows were compared, `agree` of them matched; `skipped` rows (the seed) were not compared."""

    checked: int
    agree: int
    skipped: int
    first_difference: Difference | None


def lobster_check(
    source: str | Path, book: Book, symbol: str | None = None, date: str | dt.date | None = None
) -> CheckResult:
    """Replays the messages through `book` and compares all levels with the order book file after every event.

    The files do not show everything, so quantity that no message explains is put into the book ("seeded") in two cases
    only: all levels of the first row, and a level that moves into view from beyond the last one because an event
    emptied a level. A level that leaves the view is forgotten with its orders. Everything else must follow from the
    messages. Orders that were never added take from the seeded quantity of their level, and from nothing else. An
    event that cannot be (it takes from an order that is not there) is a difference too. After a difference the book is
    not set right: it shows for as long as it lasts. Not found: a missing event whose level the next event moves out of
    view, since nothing in the files tells of it.
    """
    result: CheckResult = {"checked": 0, "agree": 0, "skipped": 0, "first_difference": None}
    replay: _Replay | None = None
    for row, (_, event, key) in enumerate(_with_keys(_find(Path(source), symbol, date), 0)):
        if replay is None:
            replay = _Replay(book, len(key[0]))
            replay.seed(key)
            result["skipped"] += 1
        else:
            difference = replay.step(row, event, key)
            result["checked"] += 1
            result["agree"] += difference is None
            result["first_difference"] = result["first_difference"] or difference
    return result


def _with_keys(message: _File, midnight_ns: int) -> Iterator[tuple[int, _Event, _Key]]:
    """Time, event and the book after it, from both files."""
    keys = (row for block in _key_blocks(_key_of(message)) for row in _key_rows(block))
    row = 0
    for batch in _events(message, midnight_ns):
        for ts, event in zip(batch["ts"].tolist(), _event_rows(batch), strict=True):
            key = next(keys, None)
            if key is None:
                raise _row_count_error(message, f"ends after {row} rows, there are more messages")
            yield ts, event, key
            row += 1
    if next(keys, None) is not None:
        raise _row_count_error(message, f"goes on after {row} rows, where the messages end")


def _seeded(message: _File, midnight_ns: int) -> Iterator[tuple[int, ...]]:
    """Time, kind, order, side, price and size of all that happens to the book of the order book file."""
    from helios._core import Book as Levels

    told = _Told(Levels())
    replay: _Replay | None = None
    for row, (ts, event, key) in enumerate(_with_keys(message, midnight_ns)):
        kind, _, side, price, size = event
        if replay is None:
            replay = _Replay(told, len(key[0]))
            replay.seed(key)
        elif (difference := replay.step(row, event, key)) is not None:
            where = f", {difference['side']} level {difference['level']}" if difference["level"] else ""
            hint = "The two files contradict one another: `helios lobster check` shows how far they agree."
            raise DataError(f"{difference['problem']}{where}", source=message.name, row=row, hint=hint)
        elif kind <= _LAST_BOOK_KIND:
            # What it did to the book comes first: its order may be the one that stands for those never added.
            done, order, *_ = told.changes[0]
            told.changes[0] = (kind if kind == _EXECUTE else done, order, side, price, size)
        if kind > _LAST_BOOK_KIND:
            told.changes.insert(0, event)
        for change in told.changes:
            yield ts, *change
        told.changes.clear()


def _row_count_error(message: _File, problem: str) -> DataError:
    hint = "Both files need one row per event: one of them may be cut."
    return DataError(f"the order book file {problem}", source=message.name, hint=hint)


_Event = tuple[int, int, int, int, int]
#: (price, quantity) from the best level on, for bids and asks.
_Side = list[tuple[int, int]]
_Key = tuple[_Side, _Side]
_EMPTY = (UNDEFINED_PRICE, 0)
_SIDES = ("bid", "ask")


def _event_rows(batch: Batch) -> Iterator[_Event]:
    return zip(*(batch[name].tolist() for name in ("kind", "order", "side", "price", "size")), strict=True)


def _key_rows(block: Integers) -> Iterator[_Key]:
    for start in range(0, len(block), 4_096):
        for row in block[start : start + 4_096].tolist():
            yield list(zip(row[2::4], row[3::4], strict=True)), list(zip(row[0::4], row[1::4], strict=True))


class _Told:
    """A book that notes what is done to it, as order events."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.changes: list[_Event] = []
        self.depth, self.clear = book.depth, book.clear

    def add(self, instrument: int, order: int, side: int, price: int, quantity: int) -> None:
        self._book.add(instrument, order, side, price, quantity)
        self.changes.append((_ADD, order, side, price, quantity))

    def reduce(self, instrument: int, order: int, quantity: int) -> None:
        self._book.reduce(instrument, order, quantity)
        self.changes.append((_REDUCE, order, -1, 0, quantity))

    def remove(self, instrument: int, order: int) -> None:
        self._book.remove(instrument, order)
        self.changes.append((_DELETE, order, -1, 0, 0))


@dataclass
class _Replay:
    """The book under test, and which of its orders came from messages and which were seeded."""

    book: Book
    levels: int
    #: order -> [side, price, quantity left]
    orders: dict[int, list[int]] = field(default_factory=dict)
    #: (side, price) -> the seeded order that stands for quantity from before
    seeded: dict[tuple[int, int], int] = field(default_factory=dict)
    #: (side, price) -> all its orders
    at: dict[tuple[int, int], set[int]] = field(default_factory=dict)
    view: tuple[_Side, _Side] = ([], [])
    #: Above every number that a feed uses; within int64.
    next_seed: int = 1 << 62

    def seed(self, key: _Key) -> None:
        """Begins with the levels of one row."""
        self.book.clear(0)
        for side in (0, 1):
            for price, quantity in key[side]:
                if price != UNDEFINED_PRICE:
                    self._seed_level(side, price, quantity)
        self.view = self._look(0), self._look(1)

    def step(self, row: int, event: _Event, key: _Key) -> Difference | None:
        """Applies one event and compares. The key is used for nothing else than levels that come into view."""
        kind, order, side, price, quantity = event
        problem = None
        if kind == _ADD:
            problem = self._add(order, side, price, quantity)
        elif kind <= _LAST_BOOK_KIND:
            problem = self._take(kind, order, side, price, quantity)
        self.view = self._follow(0, key[0]), self._follow(1, key[1])
        if problem is not None:
            return {"row": row, "problem": problem, "side": _SIDES[side], "level": 0, "ours": None, "key": None}
        for at, name in enumerate(_SIDES):
            if (found := self._compare(self.view[at], key[at])) is not None:
                level, ours, theirs = found
                problem = "the level differs"
                return {"row": row, "problem": problem, "side": name, "level": level, "ours": ours, "key": theirs}
        return None

    def _look(self, side: int) -> _Side:
        """All levels that we know of, the view and what was pushed out of it."""
        return [(price, quantity) for price, quantity, _ in self.book.depth(0, side, self.levels + 2)]

    def _follow(self, side: int, key: _Side) -> _Side:
        """Our levels after an event: those that come into view are seeded, those that left it are forgotten."""
        before, now = self.view[side], self._look(side)
        if len(now) < self.levels == len(before):
            worst = before[-1][0]
            for price, quantity in key[len(now) :]:
                beyond = price < worst if side == 0 else price > worst
                if beyond and price != UNDEFINED_PRICE:
                    self._seed_level(side, price, quantity)
            now = self._look(side)
        for price, _ in now[self.levels :]:
            for order in sorted(self.at.pop((side, price))):
                self.book.remove(0, order)
                del self.orders[order]
            self.seeded.pop((side, price), None)
        return now[: self.levels]

    def _compare(self, ours: _Side, key: _Side) -> tuple[int, list[int] | None, list[int] | None] | None:
        if ours == key:
            return None
        padded = ours + [_EMPTY] * (self.levels - len(ours))
        for level, (mine, theirs) in enumerate(zip(padded, key, strict=True), start=1):
            if mine != theirs:
                return level, list(mine) if mine != _EMPTY else None, list(theirs) if theirs != _EMPTY else None
        return None

    def _seed_level(self, side: int, price: int, quantity: int) -> None:
        if (side, price) not in self.at and quantity > 0:
            self.seeded[side, price] = self.next_seed
            self._add(self.next_seed, side, price, quantity)
            self.next_seed += 1

    def _add(self, order: int, side: int, price: int, quantity: int) -> str | None:
        """None, or why the event cannot be."""
        if order in self.orders:
            return "an order with this number is in the book already"
        self.book.add(0, order, side, price, quantity)
        self.orders[order] = [side, price, quantity]
        self.at.setdefault((side, price), set()).add(order)
        return None

    def _take(self, kind: int, order: int, side: int, price: int, quantity: int) -> str | None:
        """Takes from the order or, if it was never added, from the seeded quantity of its level.

        None, or why the event cannot be; then nothing changed.
        """
        known = order in self.orders
        target = order if known else self.seeded.get((side, price))
        if target is None:
            return "the order was not added, and its level has no quantity from before"
        entry = self.orders[target]
        if entry[:2] != [side, price]:
            return "the order has another side or price"
        if quantity > entry[2]:
            return "it takes more than there is"
        if known and kind == _DELETE and quantity != entry[2]:
            return "the order has another size"
        if known and kind == _DELETE:
            self.book.remove(0, target)
        else:
            self.book.reduce(0, target, quantity)
        entry[2] -= quantity
        if entry[2] == 0:
            self._drop(target, side, price)
        return None

    def _drop(self, order: int, side: int, price: int) -> None:
        del self.orders[order]
        self.at[side, price].discard(order)
        if not self.at[side, price]:
            del self.at[side, price]
        if self.seeded.get((side, price)) == order:
            del self.seeded[side, price]
