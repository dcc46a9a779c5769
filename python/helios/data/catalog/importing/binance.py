"""Recorded Binance market data: one line per WebSocket message or REST snapshot, `<local stamp> <JSON>`.

One file is one unit; days are UTC. Spot, USD-M and COIN-M. What becomes what:

| message | catalog |
|---|---|
| `depthUpdate`, REST depth snapshot | depth: a snapshot is a `clear` row and its levels |
| `trade` (or `aggTrade`, where a file has no `trade`) | trades |
| `bookTicker` | quotes |

`ts` is the exchange's stamp (`T`, else `E`), `ts_recv` the local one (19 digits ns, 16 us, 13 ms). Spot's bookTicker
and REST snapshots have none: theirs is the local stamp less the smallest delay between the exchange's stamps and ours
seen so far, the latest moment at which it can have been. Rows of a schema keep the order in which they came: an
exchange stamp that goes back (they are milliseconds of several machines) is held at the latest one.

The chain of updates is checked: futures by `pu`, spot by `U`. After a gap the book is not known: a warning, and a
`clear` row, from which on only what is told since stands in it, until the next snapshot. Updates that a snapshot
holds already are dropped; updates that came before a snapshot but are younger than it are applied behind it. A file
whose symbol has no snapshot begins with a `clear` row and says so: its book holds only levels that have changed.

Numbers are read from their text, never through a float. COIN-M quantities are contracts. Assumes one connection:
lines in the order of arrival. Absent: partial book streams (`depth5` and so on), liquidations, mark prices, klines.
Source of the synchronisation: Binance's "How to manage a local order book correctly", spot and futures.
"""

from __future__ import annotations

import gzip
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import msgspec
import numpy as np
import polars as pl

from helios.data.catalog.importing.pieces import (
    Notes,
    Options,
    Rows,
    Table,
    Unit,
    files_of,
    fixed_text,
    instant,
    local_dates,
)
from helios.data.columns import EARLIEST_EPOCH_NS, LATEST_NS, Mask
from helios.data.source import UNDEFINED_PRICE, Batch
from helios.errors import DataError

PATTERNS = ("*.gz", "*.txt", "*.jsonl", "*.dat")
#: Lines that are turned into rows at once.
_BLOCK_LINES = 20_000
#: Updates kept for a snapshot that comes after them.
_KEPT_UPDATES = 2_000
_STAMP_UNITS = {19: 1, 16: 1_000, 13: 1_000_000}
_NS_PER_MS = 1_000_000

_Levels = list[tuple[str, str]]


class _Message(msgspec.Struct):
    """Any message, by Binance's one-letter names; which fields are there tells what it is."""

    e: str | None = None
    E: int | None = None
    T: int | None = None
    s: str | None = None
    symbol: str | None = None
    U: int | None = None
    u: int | None = None
    pu: int | None = None
    b: _Levels | str | None = None
    a: _Levels | str | int | None = None
    B: str | None = None
    A: str | None = None
    p: str | None = None
    q: str | None = None
    m: bool | None = None
    X: str | None = None
    lastUpdateId: int | None = None  # noqa: N815
    bids: _Levels | None = None
    asks: _Levels | None = None


class _Line(msgspec.Struct):
    """A combined stream's envelope."""

    data: _Message
    stream: str = ""


def units(source: str | Path, _options: Options) -> list[Unit]:
    """One per file."""
    return [Unit(str(path), (path,)) for path in files_of(source, PATTERNS, "recorded WebSocket")]


def read(unit: Unit, options: Options, notes: Notes) -> Iterator[Rows | Table]:
    """Depth, trades and quotes of every symbol in the file."""
    return _Reading(unit, options, notes).run()


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw:
        if raw.read(2) == b"\x1f\x8b":
            raw.seek(0)
            with gzip.open(raw) as unpacked:
                yield cast("IO[bytes]", unpacked)
        else:
            raw.seek(0)
            yield raw


@dataclass
class _Chain:
    """Where a symbol's depth stands."""

    #: Last id applied; None: nothing yet.
    last: int | None = None
    #: Set while the next update must reach back to a snapshot.
    snapshot: int | None = None
    begun: bool = False
    snapshots: int = 0
    futures: bool | None = None
    kept: deque[_Message] = field(default_factory=lambda: deque(maxlen=_KEPT_UPDATES))


@dataclass
class _Columns:
    """Rows of one schema, not yet numbers."""

    ts: list[int] = field(default_factory=list)
    recv: list[int] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    instrument: list[int] = field(default_factory=list)
    whole: dict[str, list[int]] = field(default_factory=dict)
    text: dict[str, list[str]] = field(default_factory=dict)


_WHOLE = {"depth": ("kind", "side"), "trades": ("aggressor",), "quotes": ()}
_TEXT = {"depth": ("price", "size"), "trades": ("price", "size"), "quotes": ("bid", "ask", "bid_size", "ask_size")}
_SCHEMAS = ("depth", "trades", "quotes")


class _Reading:
    """One file."""

    def __init__(self, unit: Unit, options: Options, notes: Notes) -> None:
        self.unit, self.options, self.notes = unit, options, notes
        self.source = unit.name
        self.line = 0
        self.names: list[str] = []
        self.numbers: dict[str, int] = {}
        self.chains: dict[str, _Chain] = {}
        self.trades: dict[str, str] = {}
        self.latest: dict[tuple[str, int], int] = {}
        self.held: dict[str, int] = {}
        self.delay: int | None = None
        self.recv = 0
        self.columns = {schema: self._empty(schema) for schema in _SCHEMAS}
        self.told = 0
        self._decode_line = msgspec.json.Decoder(_Line).decode
        self._decode_message = msgspec.json.Decoder(_Message).decode

    @staticmethod
    def _empty(schema: str) -> _Columns:
        return _Columns(whole={name: [] for name in _WHOLE[schema]}, text={name: [] for name in _TEXT[schema]})

    def run(self) -> Iterator[Rows | Table]:
        """Everything in the file."""
        path = self.unit.files[0]
        size = max(path.stat().st_size, 1)
        try:
            with _open(path) as file:
                for raw in file:
                    self._take(raw)
                    self.line += 1
                    if self.line % _BLOCK_LINES == 0:
                        yield from self._flush()
                        where = getattr(file, "fileobj", file).tell()
                        self.notes.progress = min(1.0, where / size)
        except (OSError, EOFError, zlib.error) as error:
            hint = "The file is cut or damaged: fetch it again."
            raise DataError(f"cannot be read: {error}", source=self.source, row=self.line, hint=hint) from error
        yield from self._flush()
        self._report()

    def _report(self) -> None:
        for symbol, chain in self.chains.items():
            if not chain.snapshots:
                self.notes.warn(
                    f"{self.source}: {symbol} has no snapshot: its book holds only levels that have changed"
                )
        for schema, count in self.held.items():
            self.notes.leave_out(f"(kept) {schema}: exchange stamps that go back, held", self.source, count)
        if not self.told and not self.notes.left_out:
            raise DataError("holds no depth, trade or quote", source=self.source, hint="Lines are: <stamp> <JSON>.")

    # -- one line --

    def _take(self, raw: bytes) -> None:
        stamp, _, body = raw.strip().partition(b" ")
        if not stamp:
            return
        unit = _STAMP_UNITS.get(len(stamp))
        if unit is None or not stamp.isdigit():
            shown = stamp[:24].decode("ascii", "replace")
            self._bad(f"begins with {shown!r}, not with a local stamp of 13, 16 or 19 digits", "no local stamp")
            return
        recv = int(stamp) * unit
        if not EARLIEST_EPOCH_NS < recv < LATEST_NS:
            self._bad(f"local stamp {recv} is not of our time", "local stamp is not of our time")
            return
        if recv < self.recv:
            back = f"from {instant(self.recv)} to {instant(recv)}"
            self.notes.warn(f"{self.source}, line {self.line}: the local clock goes back {back}")
        self.recv = recv
        try:
            message = self._decode_line(body).data if body[:10].find(b'"stream"') > 0 else self._decode_message(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._bad(f"is no message of Binance: {error}", "no message of Binance")
            return
        self._dispatch(message, recv)

    def _bad(self, what: str, reason: str) -> None:
        self.notes.refuse(self.options, DataError(what, source=self.source, row=self.line), reason)

    def _dispatch(self, m: _Message, recv: int) -> None:
        stamp = m.T if m.T is not None else m.E
        if stamp is not None:
            if not EARLIEST_EPOCH_NS < stamp * _NS_PER_MS < LATEST_NS:
                self._bad(f"exchange stamp {stamp} is no time in ms", "exchange stamp is not of our time")
                return
            delay = recv - stamp * _NS_PER_MS
            self.delay = delay if self.delay is None else min(self.delay, delay)
        elif self.delay is None:
            self.notes.leave_out("no exchange stamp seen yet", f"{self.source}, line {self.line}")
            return
        ts = stamp * _NS_PER_MS if stamp is not None else recv - self.delay
        symbol = m.s or m.symbol or self._only_symbol(m)
        if symbol is None or (self.options.symbols is not None and symbol not in self.options.symbols):
            return
        if m.e == "depthUpdate":
            self._update(symbol, m, ts, recv)
        elif m.lastUpdateId is not None and m.bids is not None and m.asks is not None:
            self._snapshot(symbol, m, ts, recv)
        elif m.e in ("trade", "aggTrade"):
            self._trade(symbol, m, ts, recv)
        elif m.e in ("bookTicker", None) and m.B is not None and m.A is not None:
            self._quote(symbol, m, ts, recv)
        else:
            self.notes.leave_out(f"message {m.e!r} has no place", f"{self.source}, line {self.line}")

    def _only_symbol(self, m: _Message) -> str | None:
        if m.lastUpdateId is None:
            self.notes.leave_out("message without a symbol", f"{self.source}, line {self.line}")
            return None
        if len(self.chains) == 1:
            return next(iter(self.chains))
        what = "several symbols came before it" if self.chains else "no update came before it"
        self._bad(f"a snapshot without a symbol, and {what}", "snapshot without a symbol")
        return None

    # -- depth --

    def _update(self, symbol: str, m: _Message, ts: int, recv: int) -> None:
        if m.U is None or m.u is None or not isinstance(m.b, list) or not isinstance(m.a, list):
            self._bad("a depthUpdate lacks U, u, b or a", "incomplete depthUpdate")
            return
        chain = self.chains.setdefault(symbol, _Chain())
        futures = m.pu is not None
        if chain.futures is None:
            chain.futures = futures
        elif chain.futures != futures:
            hint = "Record them in files of their own, and give one a permanent name: --name BTCUSDT=BTCUSDT-PERP."
            message = f"two instruments are called {symbol!r}: updates of spot and of futures"
            raise DataError(message, source=self.source, row=self.line, hint=hint)
        m.T = ts  # what it was read as
        chain.kept.append(m)
        if not chain.begun:
            chain.begun = True
            self._row("depth", symbol, ts, recv, (1, 0), ("0", "0"))
        if self._follows(symbol, chain, m, ts, recv):
            self._apply(symbol, m, ts, recv)

    def _follows(self, symbol: str, chain: _Chain, m: _Message, ts: int, recv: int) -> bool:
        """Whether an update is to be applied; tells of a gap before it."""
        assert m.U is not None
        assert m.u is not None
        if chain.snapshot is not None:
            old = m.u < chain.snapshot if chain.futures else m.u <= chain.snapshot
            if old:
                return False
            whole = chain.snapshot + (0 if chain.futures else 1) >= m.U or m.pu == chain.snapshot
            chain.snapshot = None
        elif chain.last is None:
            whole = True
        elif m.u <= chain.last:
            self.notes.leave_out("depth: update seen before", f"{self.source}, line {self.line}")
            return False
        else:
            whole = m.pu == chain.last if chain.futures else chain.last + 1 >= m.U
        if not whole:
            first = m.pu if chain.futures else m.U
            self.notes.warn(
                f"{self.source}, line {self.line}: {symbol}: updates are missing between {chain.last} and {first}: the "
                "book is not known until the next snapshot"
            )
            self._row("depth", symbol, ts, recv, (1, 0), ("0", "0"))
        chain.last = m.u
        return True

    def _apply(self, symbol: str, m: _Message, ts: int, recv: int) -> None:
        for side, levels in enumerate((m.b, m.a)):
            assert isinstance(levels, list)
            for price, size in levels:
                self._row("depth", symbol, ts, recv, (0, side), (price, size))

    def _snapshot(self, symbol: str, m: _Message, ts: int, recv: int) -> None:
        chain = self.chains.setdefault(symbol, _Chain())
        assert m.lastUpdateId is not None
        assert m.bids is not None
        assert m.asks is not None
        chain.begun, chain.last, chain.snapshot = True, m.lastUpdateId, m.lastUpdateId
        chain.snapshots += 1
        # An answer that came after younger updates is told of behind them.
        ts = max(ts, self.latest.get(("depth", self._number(symbol)), 0))
        self._row("depth", symbol, ts, recv, (1, 0), ("0", "0"))
        for side, levels in enumerate((m.bids, m.asks)):
            for price, size in levels:
                self._row("depth", symbol, ts, recv, (0, side), (price, size))
        for update in chain.kept:
            if self._follows(symbol, chain, update, ts, recv):
                self._apply(symbol, update, ts, recv)
        chain.kept.clear()

    # -- trades and quotes --

    def _trade(self, symbol: str, m: _Message, ts: int, recv: int) -> None:
        if self.trades.setdefault(symbol, cast("str", m.e)) != m.e:
            self.notes.leave_out(f"{m.e}: the file has both kinds of trades", f"{self.source}, line {self.line}")
            return
        if m.p is None or m.q is None or m.m is None:
            self._bad("a trade lacks p, q or m", "incomplete trade")
            return
        if m.X not in (None, "MARKET"):
            self.notes.leave_out(f"trade of kind {m.X}", f"{self.source}, line {self.line}")
            return
        self._row("trades", symbol, ts, recv, (2 if m.m else 1,), (m.p, m.q))

    def _quote(self, symbol: str, m: _Message, ts: int, recv: int) -> None:
        if not isinstance(m.b, str) or not isinstance(m.a, str) or m.B is None or m.A is None:
            self._bad("a bookTicker lacks b, B, a or A", "incomplete bookTicker")
            return
        self._row("quotes", symbol, ts, recv, (), (m.b, m.a, m.B, m.A))

    # -- rows --

    def _number(self, symbol: str) -> int:
        number = self.numbers.get(symbol)
        if number is None:
            number = self.numbers[symbol] = len(self.names)
            self.names.append(self.options.named(symbol))
        return number

    def _row(self, schema: str, symbol: str, ts: int, recv: int, whole: tuple[int, ...], text: tuple[str, ...]) -> None:
        number = self._number(symbol)
        latest = self.latest.get((schema, number), 0)
        if ts < latest:
            self.held[schema] = self.held.get(schema, 0) + 1
            ts = latest
        else:
            self.latest[schema, number] = ts
        columns = self.columns[schema]
        columns.ts.append(ts)
        columns.recv.append(recv)
        columns.line.append(self.line)
        columns.instrument.append(number)
        for value, column in zip(whole, columns.whole.values(), strict=True):
            column.append(value)
        for piece, texts in zip(text, columns.text.values(), strict=True):
            texts.append(piece)

    def _flush(self) -> Iterator[Rows]:
        for schema in _SCHEMAS:
            columns = self.columns[schema]
            self.columns[schema] = self._empty(schema)
            if columns.ts and self.options.wants(schema):
                yield from self._rows(schema, columns)

    def _rows(self, schema: str, columns: _Columns) -> Iterator[Rows]:
        ts = np.array(columns.ts, dtype=np.int64)
        batch: Batch = {"ts": ts, "instrument": np.array(columns.instrument, dtype=np.uint32)}
        for name, values in columns.whole.items():
            batch[name] = np.array(values, dtype=np.int64)
        bad = np.zeros(ts.size, dtype=np.bool_)
        for name, texts in columns.text.items():
            batch[name], wrong = fixed_text(pl.Series(texts, dtype=pl.String), 8 if name.endswith("size") else 9)
            wrong |= batch[name] < 0
            if wrong.any():
                at = int(np.argmax(wrong))
                error = DataError(f"{texts[at]!r} is no number that fits", source=self.source, row=columns.line[at],
                                  column=name)  # fmt: skip
                self.notes.refuse(self.options, error, f"{name} is no number that fits", int((wrong & ~bad).sum()))
                bad |= wrong
        if schema == "quotes":
            for side in ("bid", "ask"):
                batch[side] = np.where(batch[f"{side}_size"] == 0, UNDEFINED_PRICE, batch[side])
        if schema == "trades":
            bad |= self._empty_trades(batch, columns)
        keep = ~bad
        batch["ts_recv"] = np.array(columns.recv, dtype=np.int64)
        batch["line"] = np.array(columns.line, dtype=np.int64)
        dates = local_dates(ts, self.options.tz or "UTC")
        if not keep.all():
            dates, batch = dates.filter(pl.Series(keep)), {name: column[keep] for name, column in batch.items()}
        self.told += int(keep.sum())
        recv, lines = batch.pop("ts_recv"), batch.pop("line")
        yield Rows(schema, self.names, batch, dates, ts_recv=recv, source=self.source, at=lines)

    def _empty_trades(self, batch: Batch, columns: _Columns) -> Mask:
        empty = (batch["size"] == 0) | (batch["price"] == 0)
        if empty.any():
            line = columns.line[int(np.argmax(empty))]
            self.notes.leave_out("trade without price or size", f"{self.source}, line {line}", int(empty.sum()))
        return cast("Mask", empty)
