"""DBN files (Databento), versions 1 to 3: order events, quotes, depth, trades, bars, definitions.

One file is one unit. What becomes what:

| DBN | catalog |
|---|---|
| mbo | orders: see `_Orders` |
| mbp-1, cmbp-1, bbo-1s/1m, cbbo-1s/1m | quotes |
| tbbo, tcbbo | trades, and the quotes before them |
| mbp-10 | depth: the ten levels, as differences; a level that falls out of the ten is gone |
| trades | trades |
| ohlcv-1s/1m/1h/1d | bars; DBN stamps a bar with its START, the catalog with its END |
| definition | reference table instruments |

Records of other schemas (status, imbalance, statistics, …) are counted and left out. `ts` is the venue's stamp
(`ts_event`), `ts_recv` Databento's; sampled quotes have only the end of their interval. Databento sorts by `ts_recv`,
so that `ts_event` can go back by a little: it is then held at the latest one of its instrument, and told of.

Symbols come from the file's own mappings, date by date; without them from definitions and mapping records, else the
venue's number is the name. The day is that of New York for venues of the United States' shares and options, else UTC.

Needs `databento-dbn` (extra `dbn`). Absent: DBZ (the format before DBN), fragments without metadata. Source: the
record layouts that the library states.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from helios.data.catalog.importing.pieces import (
    Clocks,
    Notes,
    Options,
    Rows,
    Table,
    Unit,
    files_of,
    instant,
    local_dates,
)
from helios.data.columns import Integers
from helios.data.source import UNDEFINED_PRICE, Batch
from helios.errors import DataError, HeliosError
from helios.scales import QUANTITY_SCALE

PATTERNS = ("*.dbn", "*.dbn.zst")
_CHUNK = 4 << 20
_UNDEFINED_TS = 2**64 - 1
_NEW_YORK = frozenset(
    {"XNAS", "XNYS", "XASE", "ARCX", "BATS", "BATY", "EDGA", "EDGX", "IEXG", "XBOS", "XPSX", "XCHI", "XCIS"}
    | {"MEMX", "EPRL", "DBEQ", "EQUS", "OPRA", "FINN", "FINY"}
)
_SPANS = {"OHLCV_1S": 1, "OHLCV_1M": 60, "OHLCV_1H": 3600, "OHLCV_1D": 86_400, "OHLCV_EOD": 86_400}
_QUOTES = ("MBP_1", "CMBP_1", "TBBO", "TCBBO")
_SAMPLED = ("BBO_1S", "BBO_1M", "CBBO_1S", "CBBO_1M")
_F_LAST = 128
#: What a definition is, by its class.
_CLASSES = {
    "K": "stock",
    "F": "future",
    "S": "spread",
    **dict.fromkeys("CPT", "option"),
    "X": "fx",
    "B": "bond",
    "I": "index",
    "Y": "commodity",
}

Records = npt.NDArray[np.void]


def units(source: str | Path, _options: Options) -> list[Unit]:
    """One per file."""
    return [Unit(str(path), (path,)) for path in files_of(source, PATTERNS, "DBN")]


def _library() -> Any:
    try:
        import databento_dbn
    except ImportError:
        raise HeliosError("DBN files need databento-dbn: pip install helios[dbn]") from None
    return databento_dbn


def read(unit: Unit, options: Options, notes: Notes) -> Iterator[Rows | Table]:
    """Rows of every schema in the file."""
    return _Reading(unit, options, notes).run()


# ---- records ---------------------------------------------------------------------------------------------------------


def _records(path: Path, notes: Notes) -> Iterator[Any]:
    """The metadata, then lists of records; versions before 3 are read as version 3."""
    lib, name = _library(), str(path)
    size, seen = path.stat().st_size, 0
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic == b"\x28\xb5\x2f\xfd":
            _refuse_cut_zstd(path)
        elif magic[:3] != b"DBN":
            hint = "Give a DBN file of version 1 to 3; the older DBZ is converted by Databento's `dbn` tool."
            raise DataError("is no DBN file: it does not begin with DBN or a Zstandard frame", source=name, hint=hint)
        compression = lib.Compression.ZSTD if magic[:3] != b"DBN" else lib.Compression.NONE
        decoder = lib.DBNDecoder(upgrade_policy=lib.VersionUpgradePolicy.UPGRADE_TO_V3, compression=compression)
        while chunk := file.read(_CHUNK):
            yield _decoded(lib, decoder, chunk, name, seen)
            seen += len(chunk)
            notes.progress = seen / size
        rest = len(decoder.buffer())
    if rest:
        hint = "Fetch it again: what comes before is whole."
        raise DataError(f"is cut: its last {rest} bytes are no whole record", source=name, offset=size, hint=hint)


def _decoded(lib: Any, decoder: Any, chunk: bytes, name: str, offset: int) -> Any:
    """The records of a chunk, and of what was left of the one before."""
    try:
        return decoder.write_and_decode(chunk)
    except BaseException as error:
        # The library panics at records of an impossible length, and a panic is no Exception.
        if type(error).__module__ != "pyo3_runtime" and not isinstance(
            error, lib.DBNError | ValueError | OverflowError
        ):
            raise
        hint = "The file is damaged or no DBN file: fetch it again."
        raise DataError(f"cannot be decoded: {error}", source=name, offset=offset, hint=hint) from None


def _refuse_cut_zstd(path: Path) -> None:
    """Walks the frames' block headers (RFC 8878, section 3.1): the decoder does not tell a cut file from a whole."""
    size = path.stat().st_size

    def cut(at: int) -> DataError:
        hint = "Fetch it again."
        return DataError("is cut: its Zstandard frame does not end", source=str(path), offset=at, hint=hint)

    with path.open("rb") as file:
        at = 0
        while at < size:
            file.seek(at)
            head = file.read(18)
            if len(head) < 6:
                raise cut(at)
            magic = int.from_bytes(head[:4], "little")
            if magic & 0xFFFFFFF0 == 0x184D2A50:  # a frame to skip
                at += 8 + int.from_bytes(head[4:8], "little")
                continue
            if magic != 0xFD2FB528:
                raise DataError("has bytes behind its last Zstandard frame", source=str(path), offset=at)
            flags = head[4]
            single = flags >> 5 & 1
            content = (single, 2, 4, 8)[flags >> 6]
            at += 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + content
            last = False
            while not last:
                file.seek(at)
                block = file.read(3)
                if len(block) < 3:
                    raise cut(at)
                word = int.from_bytes(block, "little")
                last = bool(word & 1)
                at += 3 + (1 if word >> 1 & 3 == 1 else word >> 3)
            at += 4 * (flags >> 2 & 1)
        if at > size:
            raise cut(size)


def _columns(records: list[Any]) -> Records:
    """Records of one type as one structured array."""
    raw = b"".join(map(bytes, records))
    fields = np.dtype(type(records[0])._dtypes)
    stride = len(raw) // len(records)
    if stride != fields.itemsize:  # a send stamp stands behind each
        offsets = [fields.fields[name][1] for name in fields.names]
        formats = [fields.fields[name][0] for name in fields.names]
        fields = np.dtype({"names": fields.names, "formats": formats, "offsets": offsets, "itemsize": stride})
    return np.frombuffer(raw, dtype=fields)


# ---- symbols ---------------------------------------------------------------------------------------------------------


@dataclass
class _Symbols:
    """Which instrument a venue's number is on a date."""

    options: Options
    source: str
    names: list[str] = field(default_factory=list)
    #: Venue's number -> (from, to (not included), symbol) by the file's mappings.
    intervals: dict[int, list[tuple[dt.date, dt.date, str]]] = field(default_factory=dict)
    #: Venue's number -> symbol, by records in the stream.
    told: dict[int, str] = field(default_factory=dict)
    _number: dict[tuple[int, dt.date], int] = field(default_factory=dict)
    _owner: dict[tuple[str, dt.date], int] = field(default_factory=dict)
    _by_name: dict[str, int] = field(default_factory=dict)

    def read(self, metadata: Any) -> None:
        """Takes the file's mappings, whichever way they go."""
        back = str(metadata.stype_in) == "instrument_id"
        for left, intervals in (metadata.mappings or {}).items():
            for each in intervals:
                number, symbol = (left, each["symbol"]) if back else (each["symbol"], left)
                if str(number).isdigit():
                    span = (each["start_date"], each["end_date"], symbol)
                    self.intervals.setdefault(int(number), []).append(span)

    def symbol(self, number: int, date: dt.date) -> str:
        """Its symbol on a date."""
        for start, end, symbol in self.intervals.get(number, ()):
            if start <= date < end:
                return symbol
        return self.told.get(number, str(number))

    def number(self, venue_number: int, date: dt.date) -> int:
        """Dense number of the instrument, -1 where it is not wanted."""
        known = self._number.get((venue_number, date))
        if known is not None:
            return known
        symbol = self.symbol(venue_number, date)
        name = self.options.named(symbol, venue_number)
        if self.options.symbols is not None and symbol not in self.options.symbols:
            self._number[venue_number, date] = -1
            return -1
        other = self._owner.setdefault((name, date), venue_number)
        if other != venue_number:
            hint = f"Give one of them a permanent name: --name {venue_number}=NAME (its instrument_id)."
            message = f"two instruments are called {name!r} on {date}: instrument_id {other} and {venue_number}"
            raise DataError(message, source=self.source, hint=hint)
        if name not in self._by_name:
            self._by_name[name] = len(self.names)
            self.names.append(name)
        self._number[venue_number, date] = self._by_name[name]
        return self._by_name[name]

    def tell(self, number: int, symbol: str) -> None:
        """A record of the stream names a number."""
        if symbol and self.told.get(number) != symbol:
            self.told[number] = symbol
            self._number = {key: known for key, known in self._number.items() if key[0] != number}

    def dense(self, numbers: npt.NDArray[np.uint32], dates: pl.Series) -> Integers:
        """`number` for columns."""
        days = dates.to_physical().to_numpy().astype(np.int64)
        pairs, index = np.unique(np.stack([numbers.astype(np.int64), days]), axis=1, return_inverse=True)
        epoch = dt.date(1970, 1, 1)
        found = [self.number(int(n), epoch + dt.timedelta(days=int(day))) for n, day in pairs.T]
        return np.array(found, dtype=np.int64)[index.reshape(-1)]


# ---- reading ---------------------------------------------------------------------------------------------------------


@dataclass
class _Reading:
    """One file."""

    unit: Unit
    options: Options
    notes: Notes
    tz: str = "UTC"
    row: int = 0

    def __post_init__(self) -> None:
        self.source = self.unit.name
        self.symbols = _Symbols(self.options, self.source)
        self.definitions: dict[tuple[str, dt.date], dict[str, object]] = {}
        self.clocks: dict[str, Clocks] = {}
        self.books = _Orders(self)
        self.levels = _Levels()
        self.kinds = {kind.value: name for name, kind in self._kinds(_library())}

    @staticmethod
    def _kinds(lib: Any) -> list[tuple[str, Any]]:
        return [(name, getattr(lib.RType, name)) for name in dir(lib.RType) if name.isupper()]

    def run(self) -> Iterator[Rows | Table]:
        """Everything in the file."""
        schema = None
        for records in _records(self.unit.files[0], self.notes):
            if records and type(records[0]).__name__ == "Metadata":
                metadata, records = records[0], records[1:]
                schema = metadata.schema and str(metadata.schema)
                venue = metadata.dataset.partition(".")[0]
                self.tz = self.options.tz or ("America/New_York" if venue in _NEW_YORK else "UTC")
                self.symbols.read(metadata)
            for _, group in groupby(records, key=type):
                run = list(group)
                yield from self._run(_columns(run), type(run[0]).__name__, schema)
                self.row += len(run)
        yield from self.books.flush()
        if not self.notes.left_out and self.row == 0:
            self.notes.warn(f"{self.source}: holds no record")
        if self.definitions:
            yield Table("instruments", pl.DataFrame(list(self.definitions.values()), infer_schema_length=None))

    def _run(self, rows: Records, what: str, schema: str | None) -> Iterator[Rows]:
        kind = self.kinds.get(int(rows["rtype"][0]), what)
        if kind == "SYMBOL_MAPPING":
            for number, symbol in zip(rows["instrument_id"].tolist(), rows["stype_in_symbol"].tolist(), strict=True):
                self.symbols.tell(number, symbol.decode("utf-8", "replace"))
        elif kind == "INSTRUMENT_DEF":
            self._define(rows)
        elif kind == "MBO":
            yield from self.books.take(rows) if self.options.wants("orders") else ()
        elif kind == "MBP_10":
            yield from self._depth(rows)
        elif kind == "MBP_0":
            yield from self._trades(rows)
        elif kind in _QUOTES or kind in _SAMPLED:
            yield from self._quotes(rows, sampled=kind in _SAMPLED)
            if schema in ("tbbo", "tcbbo") or kind in ("TBBO", "TCBBO"):
                yield from self._trades(rows)
        elif kind in _SPANS:
            yield from self._bars(rows, _SPANS[kind] * 1_000_000_000)
        elif kind not in ("SYSTEM", "ERROR"):
            where = f"{self.source}, row {self.row}"
            self.notes.leave_out(f"schema without a place: {kind.lower()}", where, len(rows))

    # -- what all schemas share --

    def _stamps(self, rows: Records, *, sampled: bool = False) -> tuple[Integers, Integers]:
        """Event and receive stamps; where there is no event stamp, the receive stamp is the event's."""
        recv = rows["ts_recv"].astype(np.int64) if "ts_recv" in (rows.dtype.names or ()) else None
        event = rows["ts_event"]
        if recv is None:
            return event.astype(np.int64), np.zeros(len(rows), dtype=np.int64)
        use = (event == _UNDEFINED_TS) | (event == 0) | sampled
        return np.where(use, recv, event.astype(np.int64)), recv

    def emit(
        self, schema: str, rows: Records, batch: Batch, ts: Integers, recv: Integers, at: Integers | None = None
    ) -> Iterator[Rows]:
        """Rows with their instruments and dates; `at` are the rows' numbers in the file."""
        if not self.options.wants(schema) or ts.size == 0:
            return
        at = np.arange(self.row, self.row + ts.size) if at is None else at
        usable = (ts > 0) & (ts < 2**63 - 1)
        if not usable.all():
            first = int(at[np.argmin(usable)])
            error = DataError("no usable time", source=self.source, row=first, column="ts_event")
            self.notes.refuse(self.options, error, "no usable time", int((~usable).sum()))
        dates = local_dates(ts, self.tz, ends=schema == "bars")
        number = self.symbols.dense(rows["instrument_id"], dates)
        keep = usable & (number >= 0)
        if not keep.all():
            ts, recv, number, dates, at = ts[keep], recv[keep], number[keep], dates.filter(pl.Series(keep)), at[keep]
            batch = {name: column[keep] for name, column in batch.items()}
        if ts.size == 0:
            return
        instrument = number.astype(np.uint32)
        late, latest = self.clocks.setdefault(schema, Clocks()).late(instrument, ts)
        if schema == "bars":  # bars of several lengths end in no common order
            late, latest = np.zeros(ts.size, dtype=np.bool_), ts
        if late.any():
            first = int(np.argmax(late))
            self.notes.warn(
                f"{self.source}, row {at[first]}: time goes back from {instant(int(latest[first]))} to "
                f"{instant(int(ts[first]))}; such rows keep their place, with the later time"
            )
            self.notes.leave_out(f"(kept) {schema}: stamps that go back, held", f"row {at[first]}", int(late.sum()))
        batch = {"ts": latest, "instrument": instrument, **batch}
        yield Rows(schema, self.symbols.names, batch, dates, ts_recv=recv, source=self.source, at=at)

    def good(self, rows: Records, faults: Mapping[str, npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
        """Rows without a fault; the others are an error or are counted."""
        bad = np.zeros(len(rows), dtype=np.bool_)
        for reason, mask in faults.items():
            fresh = mask & ~bad
            if fresh.any():
                row = self.row + int(np.argmax(fresh))
                self.notes.refuse(
                    self.options, DataError(reason, source=self.source, row=row), reason, int(fresh.sum())
                )
                bad |= fresh
        return ~bad

    # -- schemas --

    def _bars(self, rows: Records, span: int) -> Iterator[Rows]:
        volume, fits = _sizes(rows["volume"])
        prices = {name: rows[name].astype(np.int64) for name in ("open", "high", "low", "close")}
        o, h, low, c = prices.values()
        undefined = np.logical_or.reduce([each == UNDEFINED_PRICE for each in prices.values()])
        inside = (low <= np.minimum(o, c)) & (np.maximum(o, c) <= h)
        good = self.good(rows, {"price is undefined": undefined, "high and low do not hold the bar": ~inside,
                                "volume is too large for 64 bits": ~fits})  # fmt: skip
        batch: Batch = {**prices, "volume": volume, "span": np.full(len(rows), span, dtype=np.int64)}
        ts = rows["ts_event"].astype(np.int64) + span
        yield from self._part("bars", rows, batch, ts, np.zeros(len(rows), dtype=np.int64), good)

    def _part(
        self, schema: str, rows: Records, batch: Batch, ts: Integers, recv: Integers, good: npt.NDArray[np.bool_]
    ) -> Iterator[Rows]:
        if good.all():
            yield from self.emit(schema, rows, batch, ts, recv)
            return
        at = self.row + np.flatnonzero(good)
        part = {name: column[good] for name, column in batch.items()}
        yield from self.emit(schema, rows[good], part, ts[good], recv[good], at)

    def _quotes(self, rows: Records, *, sampled: bool) -> Iterator[Rows]:
        ts, recv = self._stamps(rows, sampled=sampled)
        batch: Batch = {}
        for side in ("bid", "ask"):
            price = rows[f"{side}_px_00"].astype(np.int64)
            size, _ = _sizes(rows[f"{side}_sz_00"])
            batch[side] = price
            batch[f"{side}_size"] = np.where(price == UNDEFINED_PRICE, 0, size)
        yield from self.emit("quotes", rows, batch, ts, recv)

    def _trades(self, rows: Records) -> Iterator[Rows]:
        ts, recv = self._stamps(rows)
        size, _ = _sizes(rows["size"])
        aggressor = np.select([rows["side"] == b"B", rows["side"] == b"A"], [1, 2], 0).astype(np.int64)
        price = rows["price"].astype(np.int64)
        faults = {"price is undefined": price == UNDEFINED_PRICE, "size is zero": size == 0}
        batch: Batch = {"price": price, "size": size, "aggressor": aggressor}
        yield from self._part("trades", rows, batch, ts, recv, self.good(rows, faults))

    def _depth(self, rows: Records) -> Iterator[Rows]:
        if not self.options.wants("depth"):
            return
        ts, recv = self._stamps(rows)
        batch, source = self.levels.differences(rows)
        yield from self.emit("depth", rows[source], batch, ts[source], recv[source], self.row + source)

    def _define(self, rows: Records) -> None:
        for row in rows:
            number, symbol = int(row["instrument_id"]), row["raw_symbol"].decode("utf-8", "replace")
            self.symbols.tell(number, symbol)
            if self.options.symbols is not None and symbol not in self.options.symbols:
                continue
            name = self.options.named(symbol, number)
            day = local_dates(row["ts_recv"].astype(np.int64).reshape(1), self.tz, ends=False)[0]
            details = {
                "instrument_id": number,
                "security_type": row["security_type"].decode("utf-8", "replace"),
                "instrument_class": row["instrument_class"].decode("utf-8", "replace"),
                "multiplier": _price(row["unit_of_measure_qty"]),
                "strike": _price(row["strike_price"]),
                "expiration": _moment(row["expiration"]),
                "underlying": row["underlying"].decode("utf-8", "replace"),
            }
            lot = int(row["min_lot_size_round_lot"])
            tick = int(row["min_price_increment"])
            self.definitions[name, day] = {
                "instrument": name,
                "symbol": symbol,
                "from": day,
                "to": day + dt.timedelta(days=1),
                "venue": row["exchange"].decode("utf-8", "replace"),
                "currency": row["currency"].decode("utf-8", "replace"),
                "tick": None if tick in (0, UNDEFINED_PRICE) else tick,
                "lot": None if lot in (0, 2**31 - 1) else lot * QUANTITY_SCALE,
                "kind": _CLASSES.get(details["instrument_class"]),
                "details": json.dumps({name: value for name, value in details.items() if value}),
            }


def _price(raw: Any) -> float | None:
    return None if int(raw) == UNDEFINED_PRICE else int(raw) / 1e9


def _moment(raw: Any) -> str | None:
    ns = int(raw)
    if ns in (0, _UNDEFINED_TS):
        return None
    return str(dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=ns // 1000))


def _sizes(raw: npt.NDArray[Any]) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """At 1e-8; and which of them fit."""
    fits = raw <= np.uint64((2**63 - 1) // QUANTITY_SCALE)
    return np.where(fits, raw, 0).astype(np.int64) * QUANTITY_SCALE, fits


class _Levels:
    """The last ten levels of each instrument, so that a picture of them becomes what has changed."""

    def __init__(self) -> None:
        self._sides: dict[tuple[int, int], dict[int, int]] = {}

    def differences(self, rows: Records) -> tuple[Batch, Integers]:
        """Changes of levels, and for each the index of the record that shows it."""
        told: list[tuple[int, int, int, int, int]] = []
        columns = {
            side: (
                np.stack([rows[f"{name}_px_{i:02d}"] for i in range(10)], axis=1).tolist(),
                np.stack([rows[f"{name}_sz_{i:02d}"] for i in range(10)], axis=1).tolist(),
            )
            for side, name in enumerate(("bid", "ask"))
        }
        for at, (number, action) in enumerate(
            zip(rows["instrument_id"].tolist(), rows["action"].tolist(), strict=True)
        ):
            if action == b"R":
                told.append((at, 1, 0, 0, 0))
                self._sides[number, 0], self._sides[number, 1] = {}, {}
            for side, (prices, sizes) in columns.items():
                before = self._sides.get((number, side), {})
                now = {p: s for p, s in zip(prices[at], sizes[at], strict=True) if p != UNDEFINED_PRICE and s > 0}
                if now == before:
                    continue
                told += [(at, 0, side, price, 0) for price in before if price not in now]
                told += [
                    (at, 0, side, price, size * QUANTITY_SCALE)
                    for price, size in now.items()
                    if before.get(price) != size
                ]
                self._sides[number, side] = now
        table = np.array(told, dtype=np.int64).reshape(-1, 5).T
        _, kind, side_of, price, size = (np.ascontiguousarray(column) for column in table)
        return {"kind": kind, "side": side_of, "price": price, "size": size}, table[0].copy()


# ---- orders ----------------------------------------------------------------------------------------------------------

_ADD, _EXECUTE, _REDUCE, _REPLACE, _HIDDEN, _CLEAR, _EXECUTE_AT = 0, 1, 2, 4, 5, 9, 11


class _Orders:
    """MBO actions as order events: add, cancel (reduce), modify (reduce in place, else replace), fill, clear.

    A trade (T) says what an aggressor did, a fill (F) which resting orders it met, and a cancel or modify behind them
    what that left: the fill becomes the execution, and what only repeats it is dropped. What no fill explains met
    orders that are not displayed: a trade against a hidden order. An event ends at the record with the flag
    "last of event".
    """

    def __init__(self, reading: _Reading) -> None:
        self._reading = reading
        #: Resting orders of each instrument: price, size.
        self._resting: dict[int, dict[int, list[int]]] = {}
        self._filled: dict[tuple[int, int], int] = {}
        self._prints: list[list[int]] = []
        self._held: list[Records] = []

    def take(self, rows: Records) -> Iterator[Rows]:
        """Whole events; what comes behind the last of them waits."""
        yield from self._told(rows)

    def flush(self) -> Iterator[Rows]:
        """What no last-of-event flag ended."""
        yield from self._told(None)

    def _told(self, rows: Records | None) -> Iterator[Rows]:
        told: list[tuple[int, int, int, int, int, int, int]] = []
        if rows is None:
            if not self._prints or not self._held:
                return
            rows = self._held[0]
            self._end(told, len(rows) - 1)
            self._reading.row -= len(rows)
        else:
            self._apply(rows, told)
            self._held = [rows]
        if told:
            yield from self._rows(rows, told)

    def _rows(self, rows: Records, told: list[tuple[int, int, int, int, int, int, int]]) -> Iterator[Rows]:
        ts, recv = self._reading._stamps(rows)
        table = np.array(told, dtype=np.int64).T
        at = table[0]
        names = ("kind", "order", "new_order", "side", "price", "size")
        batch: Batch = {name: np.ascontiguousarray(column) for name, column in zip(names, table[1:], strict=True)}
        yield from self._reading.emit("orders", rows[at], batch, ts[at], recv[at], self._reading.row + at)

    def _apply(self, rows: Records, told: list[tuple[int, int, int, int, int, int, int]]) -> None:
        fields = ("instrument_id", "order_id", "price", "size", "action", "side", "flags")
        columns = (rows[name].tolist() for name in fields)
        handlers: dict[bytes, Callable[..., None]] = {
            b"A": self._add,
            b"C": self._cancel,
            b"M": self._modify,
            b"F": self._fill,
            b"T": self._trade,
            b"R": self._clear,
        }
        other = 0
        for at, (number, order, price, size, action, side, flags) in enumerate(zip(*columns, strict=True)):
            handler = handlers.get(action)
            if handler is not None:
                handler(told, at, number, order, price, size, side)
            else:
                other += 1
            if flags & _F_LAST:
                if self._prints:
                    self._end(told, at)
                self._filled.clear()
        self._reading.notes.leave_out("mbo: actions without effect", f"row {self._reading.row}", other)

    def _bad(self, at: int, reason: str) -> None:
        reading = self._reading
        reading.notes.refuse(reading.options, DataError(reason, source=reading.source, row=reading.row + at), reason)

    def _add(self, told: Any, at: int, number: int, order: int, price: int, size: int, side: bytes) -> None:
        if side not in (b"A", b"B") or size == 0 or price == UNDEFINED_PRICE:
            self._bad(at, "an order without side, price or size")
            return
        if order >= 2**63:
            self._bad(at, "an order number that does not fit 63 bits")
            return
        self._resting.setdefault(number, {})[order] = [price, size]
        told.append((at, _ADD, order, 0, int(side == b"A"), price, size * QUANTITY_SCALE))

    def _cancel(self, told: Any, at: int, number: int, order: int, _price: int, size: int, _side: bytes) -> None:
        explained = min(size, self._filled.get((number, order), 0))
        if explained:
            self._filled[number, order] -= explained
            size -= explained
        if size and order < 2**63:
            self._reduce(number, order, size)
            told.append((at, _REDUCE, order, 0, -1, UNDEFINED_PRICE, size * QUANTITY_SCALE))

    def _reduce(self, number: int, order: int, size: int) -> None:
        resting = self._resting.get(number, {}).get(order)
        if resting is not None:
            resting[1] -= size
            if resting[1] <= 0:
                del self._resting[number][order]

    def _modify(self, told: Any, at: int, number: int, order: int, price: int, size: int, side: bytes) -> None:
        resting = self._resting.get(number, {}).get(order)
        if resting is None:
            self._add(told, at, number, order, price, size, side)
        elif size == 0:
            self._cancel(told, at, number, order, price, resting[1], side)
        elif price == resting[0] and size <= resting[1]:
            if size < resting[1]:
                told.append((at, _REDUCE, order, 0, -1, UNDEFINED_PRICE, (resting[1] - size) * QUANTITY_SCALE))
            resting[1] = size
        else:
            resting[:] = [price, size]
            told.append((at, _REPLACE, order, order, -1, price, size * QUANTITY_SCALE))

    def _fill(self, told: Any, at: int, number: int, order: int, price: int, size: int, _side: bytes) -> None:
        for printed in self._prints:
            if printed[0] == number and printed[1] == price:
                met = min(size, printed[2])
                printed[2] -= met
        if order >= 2**63 or size == 0:
            return
        known = order in self._resting.get(number, {})
        if known:
            self._filled[number, order] = self._filled.get((number, order), 0) + size
            at_its_price = self._resting[number][order][0] == price
            self._reduce(number, order, size)
            kind = _EXECUTE if at_its_price else _EXECUTE_AT
            told.append((at, kind, order, 0, -1, price, size * QUANTITY_SCALE))
        else:
            told.append((at, _EXECUTE, order, 0, -1, price, size * QUANTITY_SCALE))
            self._filled[number, order] = self._filled.get((number, order), 0) + size

    def _trade(self, _told: Any, _at: int, number: int, _order: int, price: int, size: int, side: bytes) -> None:
        if price != UNDEFINED_PRICE and size:
            self._prints.append([number, price, size, {b"B": 0, b"A": 1}.get(side, -1)])

    def _end(self, told: Any, last: int) -> None:
        for _, price, size, side in self._prints:
            if size > 0:
                told.append((last, _HIDDEN, 0, 0, side, price, size * QUANTITY_SCALE))
        self._prints.clear()

    def _clear(self, told: Any, at: int, number: int, _order: int, _price: int, _size: int, _side: bytes) -> None:
        self._resting[number] = {}
        told.append((at, _CLEAR, 0, 0, -1, UNDEFINED_PRICE, 0))
