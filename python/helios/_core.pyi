"""The native core. Not for direct use: the packages around it are the public names."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

Path = str | PathLike[str]
Rows = list[tuple[int, int, int]]

class CoreError(Exception): ...

class FixEngine:
    addresses: list[tuple[str, int]]
    names: list[str]
    def __init__(self, spec: Mapping[str, Any], application: object | None) -> None: ...
    def start(self) -> None: ...
    def send(
        self, session: int, msg_type: bytes, header: list[tuple[int, bytes]], body: list[tuple[int, bytes]]
    ) -> int | None: ...
    def set_next(self, session: int, out: int | None, in_: int | None) -> None: ...
    def logout(self, session: int, text: str) -> None: ...
    def status(self) -> list[tuple[str, bool, bool, int, int]]: ...
    def stop(self, text: str) -> None: ...
    def finished(self) -> bool: ...
    def take_notes(self, timeout_ms: int) -> list[tuple[int, int | None, str]]: ...

class ItchRows:
    messages: int
    progress: float
    def __init__(self, path: Path, midnight_ns: int, symbols: Sequence[str] | None, strict: bool) -> None: ...
    def next_rows(self, least: int) -> dict[str, bytes] | None: ...
    def listings(self, since: int) -> list[dict[str, Any]]: ...
    def left_out(self) -> dict[str, tuple[int, str]]: ...

class Port:
    now: int
    def order(
        self,
        instrument: int,
        buy: bool,
        quantity: int,
        price: int | None,
        life: int,
        post_only: bool = False,
        midpoint: bool = False,
        display: int | None = None,
        stop: int | None = None,
    ) -> int: ...
    def queue(self, instrument: int, order: int) -> tuple[int, int, int] | None: ...
    def cancel(self, instrument: int, order: int) -> None: ...
    def replace(self, instrument: int, order: int, quantity: int, price: int) -> None: ...
    def target(self, instrument: int, position: int) -> None: ...
    def position(self, instrument: int) -> int: ...
    def book(self, instrument: int) -> BookView: ...

class BookView:
    instrument: int
    symbol: str
    ts: int
    bid: float
    ask: float
    mid: float
    bid_size: float
    ask_size: float
    complete: bool

class FeedView:
    instrument: int
    symbol: str
    ts: int
    complete: bool
    missed: int

class TradeView:
    instrument: int
    symbol: str
    ts: int
    price: float
    size: float
    aggressor: int

class BarView:
    instrument: int
    symbol: str
    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    span: int

class FillView:
    order: int
    instrument: int
    symbol: str
    ts: int
    side: str
    price: float
    quantity: float
    fee: float
    position: float
    account: str
    realised: float

class SignalView:
    name: str
    ts: int
    value: float
    input: float

class RefusalView:
    instrument: int
    symbol: str
    ts: int
    rule: str
    limit: float
    value: float
    side: str
    quantity: float
    price: float

class OrderView:
    order: int
    instrument: int
    symbol: str
    ts: int
    state: str
    done: bool
    rejected: bool

class Session:
    def __init__(
        self,
        engine: Mapping[str, Any],
        venue: Mapping[str, int],
        *,
        journal: Path | None = None,
        config: bytes = ...,
        sample_ns: int = ...,
        marks_ns: int = ...,
        measure: bool = ...,
    ) -> None: ...
    def sources(self, sources: Sequence[tuple[Any, ...]], stop: int | None = None) -> None: ...
    def strategy(
        self, accounts: Sequence[tuple[int, str]], methods: Sequence[Any], signals: Sequence[str | None], timer_ns: int
    ) -> Port: ...
    def compiled(self, spec: tuple[Any, ...]) -> None: ...
    def memory(self, number: int) -> list[float] | None: ...
    def advance(self, count: int) -> tuple[int, int, int, int, float, bool]: ...
    def tables(self) -> dict[str, dict[str, tuple[str, bytes]]]: ...
    def pillars(self) -> dict[str, dict[str, int]]: ...
    def latency(self) -> dict[str, dict[str, Any]] | None: ...
    def faults(self) -> list[str]: ...
    def finish(self) -> str: ...

class Book:
    def __init__(self, instruments: int = 1) -> None: ...
    def add(self, instrument: int, order: int, side: int, price: int, quantity: int) -> None: ...
    def reduce(self, instrument: int, order: int, quantity: int) -> None: ...
    def remove(self, instrument: int, order: int) -> None: ...
    def depth(self, instrument: int, side: int, levels: int) -> Rows: ...
    def queue(self, instrument: int, side: int, price: int) -> list[tuple[int, int]]: ...
    def clear(self, instrument: int) -> None: ...
    def __len__(self) -> int: ...

class MatchingEngine:
    def __init__(self, instruments: int) -> None: ...
    def set_rules(
        self,
        instrument: int,
        pro_rata: bool,
        top_first: bool,
        tick: int,
        lot: int,
        bands: tuple[int | None, int, int, str] | None,
    ) -> None: ...
    def set_last(self, instrument: int, price: int) -> None: ...
    def submit(
        self,
        instrument: int,
        order: int,
        side: str,
        quantity: int,
        price: int | None,
        time_in_force: str,
        post_only: bool,
        midpoint: bool,
        display: int | None,
        stop: int | None,
        firm: int,
        self_trade: str,
    ) -> list[tuple[Any, ...]]: ...
    def cancel(self, instrument: int, order: int) -> list[tuple[Any, ...]]: ...
    def amend(
        self, instrument: int, order: int, new_order: int, price: int | None, quantity: int, display: int | None
    ) -> list[tuple[Any, ...]]: ...
    def set_phase(self, instrument: int, phase: str) -> list[tuple[Any, ...]]: ...
    def uncross(self, instrument: int, kind: str) -> list[tuple[Any, ...]]: ...
    def indicate(self, instrument: int, kind: str) -> list[tuple[Any, ...]]: ...
    def phase(self, instrument: int) -> str | None: ...
    def last(self, instrument: int) -> int | None: ...
    def depth(self, instrument: int, side: str, levels: int) -> list[tuple[int, int, int]]: ...
    def order(self, order: int) -> tuple[str, int, str, int | None, int, int, int] | None: ...
    def queue(self, instrument: int, side: str, place: str) -> list[int]: ...

class Market:
    progress: float
    symbols: list[str]
    @staticmethod
    def agents(settings: tuple[int, int, int, int, float, float, float, float]) -> Market: ...
    @staticmethod
    def flow(seed: int, symbols: int, messages: int) -> Market: ...
    def next_chunk(self) -> bytes | None: ...

def compiled_layout() -> list[tuple[str, int, list[tuple[str, str, int, int]]]]: ...
def itch_stats(path: Path) -> dict[str, Any]: ...
def itch_book(path: Path, symbol: str, at: int | None, levels: int) -> tuple[int | None, Rows, Rows, list[str]]: ...
def itch_directory(path: Path) -> list[str]: ...
def journal_config(path: Path) -> bytes: ...
def replay(path: Path, engine: Mapping[str, Any]) -> tuple[int, int, str, str | None, str | None]: ...
def decode(protocol: str, message: bytes) -> list[tuple[str, int | str | bytes]]: ...
def encode(protocol: str, kind: str, fields: Iterable[tuple[str, int | str | bytes]]) -> bytes: ...

class Floats:
    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...

Nodes = Sequence[tuple[str, list[int], list[int], list[float]]]

def over_columns(
    nodes: Nodes, ts: Any, columns: Sequence[Any], nullable: Sequence[bool], outputs: Sequence[int]
) -> tuple[list[Floats], int | None]: ...
def over_events(
    nodes: Nodes,
    symbols: Sequence[str],
    series: Sequence[int],
    sources: Sequence[tuple[Any, ...]],
    outputs: Sequence[int],
    every_event: bool,
    max_orders: int,
) -> tuple[bytes, bytes, list[Floats], int]: ...

# ts, price, quantity
_Fills = list[tuple[int, int, int]]
# ts, executed order, price, quantity, the order that stood first, its price
_Jump = tuple[int, int, int, int, int, int]
# order, its fills, ours, quantity ahead of it, of ours, reason of a reject, jumps in its life, the one before
_Ghost = tuple[int, _Fills, _Fills, int, int | None, str | None, list[_Jump], _Jump | None]

def ghosts(
    symbols: Sequence[str], sources: Sequence[tuple[Any, ...]], orders: Sequence[int], named: bool
) -> tuple[list[_Ghost], list[_Jump], int]: ...
def bench_graph(nodes: Nodes, instruments: int, active: int, quotes: int) -> float: ...
def bench_matching(flow: str, commands: int, passes: int) -> list[dict[str, Any]]: ...
def bench_decode(data: bytes) -> tuple[int, float]: ...
def bench_book(data: bytes) -> tuple[int, float, int, int]: ...
def bench_step(data: bytes, engine: Mapping[str, Any]) -> dict[str, dict[str, Any]]: ...
def fix_files(folder: Path) -> list[tuple[int, int, str]]: ...
def fix_records(file: Path) -> list[tuple[str, int, int, bytes]]: ...
