"""Benchmarks of our own parts. They time real components; the peers stand beside them in benches/."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from helios.data.source import Batch, ColumnSource
from helios.errors import ArgumentError

RUNS: Final = 5


def run_bench(name: str, *, small: bool = False, file: Path | None = None) -> dict[str, Any]:
    """Runs one bench; medians of several passes. `file` replaces the generated ITCH file for `itch` and `book`."""
    return {"bench": name, "small": small, **BENCHES[name](small, file)}


def flow(messages: int, seed: int = 7, symbols: int = 8_000) -> bytes:
    """A day of statistical order flow in memory: the mix of a real TotalView day, without agents."""
    from helios._core import Market

    market = Market.flow(seed, symbols, messages)
    chunks = []
    while (chunk := market.next_chunk()) is not None:
        chunks.append(chunk)
    return b"".join(chunks)


def _day(small: bool, file: Path | None) -> bytes:
    if file is not None:
        return file.read_bytes()
    return flow(1_000_000 if small else 20_000_000)


def _itch(small: bool, file: Path | None) -> dict[str, Any]:
    from helios._core import bench_decode

    data = _day(small, file)
    passes = [bench_decode(data) for _ in range(RUNS)]
    messages = passes[0][0]
    return {
        "messages": messages,
        "ns_per_message": statistics.median(seconds for _, seconds in passes) / messages * 1e9,
    }


def _book(small: bool, file: Path | None) -> dict[str, Any]:
    from helios._core import bench_book

    data = _day(small, file)
    passes = [bench_book(data) for _ in range(3)]
    messages, _, resting, refused = passes[0]
    seconds = statistics.median(seconds for _, seconds, _, _ in passes)
    return {
        "messages": messages,
        "resting_orders": resting,
        "refused": refused,
        "ns_per_message": seconds / messages * 1e9,
    }


def _step(small: bool, _: Path | None) -> dict[str, Any]:
    from helios._core import Market, bench_step
    from helios.research.backtest import Backtest, Plan
    from helios.risk import Limits
    from helios.signals import pair

    # All seven, as a run would have them, and so wide that the orders are the same with and without.
    limits = Limits(
        order_quantity=100_000,
        order_notional=1_000_000,
        price_collar=0.1,
        position=1_000_000,
        gross_exposure=1_000_000_000,
        order_rate=10_000,
        daily_loss=10_000_000,
    )

    minutes = 3 if small else 20
    with tempfile.TemporaryDirectory() as folder:
        from helios.data.itch import itch
        from helios.research.simulate import write

        path = Path(folder) / "day.itch"
        write(Market.agents((200, minutes, 7, 10, 4.0, 180.0, 6.0, 0.15)), path)
        source = itch(path)
        strategy = [pair(a, b, halflife="20s") for a, b in pairs_in_groups(source.symbols, 300)]
        plain = Plan.of(Backtest(data=source, strategy=strategy)).engine
        limited = Plan.of(Backtest(data=source, strategy=strategy, limits=limits)).engine
        data = path.read_bytes()
    # Turn about, so that what else the machine does falls on both alike.
    passes = [(bench_step(data, limited), bench_step(data, plain)) for _ in range(RUNS)]
    result: dict[str, Any] = {"pairs": 300, "symbols": 200, "messages_with_orders": passes[0][0]["orders"]["count"]}
    for what, label in (("orders", "order"), ("events", "event")):
        for quantile in ("p50", "p99", "p99.9"):
            result[f"{label}_{quantile}_ns"] = statistics.median(p[what][quantile] for p, _ in passes)
    for quantile in ("p50", "p99"):
        result[f"order_{quantile}_ns_without_limits"] = statistics.median(p["orders"][quantile] for _, p in passes)
    return result


def pairs_in_groups(symbols: list[str], count: int, group: int = 10) -> list[tuple[str, str]]:
    """`count` pairs of neighbours within consecutive groups, spread evenly over the symbols."""
    pairs = [
        (symbols[first + i], symbols[first + i + gap])
        for gap in range(1, group)
        for first in range(0, len(symbols) - group + 1, group)
        for i in range(group - gap)
    ]
    return pairs[:count]


def quote_frame(events: int) -> Any:
    """Quotes of two cointegrated random walks, alternating, 100 us apart: the peers' synthetic data."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(7)
    n = events // 2
    walk = np.cumsum(rng.normal(0, 0.002, n))
    noise = rng.normal(0, 0.004, n)
    spread = np.empty(n)
    x = 0.0
    for i in range(n):
        x = 0.999 * x + noise[i]
        spread[i] = x
    mids = np.empty(2 * n)
    mids[0::2] = np.round(100 + walk + spread, 2)
    mids[1::2] = np.round(100 + walk, 2)
    size = np.repeat(rng.integers(1, 20, n) * 100.0, 2)
    ts = 1_600_000_000_000_000_000 + 100_000 * np.arange(1, 2 * n + 1)
    return pl.DataFrame(
        {
            "ts": pl.Series(ts).cast(pl.Datetime("ns", "UTC")),
            "symbol": ["AAA", "BBB"] * n,
            "bid": mids - 0.01,
            "ask": mids + 0.01,
            "bid_size": size,
            "ask_size": size,
        }
    )


class Prepared(ColumnSource):
    """A source whose batches lie ready in memory."""

    def __init__(self, source: ColumnSource) -> None:
        self.schema, self.skipped = source.schema, {}
        self._symbols, self._rows = source.symbols, source.rows
        self._ids = {symbol: number for number, symbol in enumerate(self._symbols)}
        # Small enough to lie in the second cache while they are read.
        self._batches = list(source.batches(self._ids, 16_384))

    @property
    def symbols(self) -> list[str]:
        """As the source's."""
        return self._symbols

    @property
    def rows(self) -> int | None:
        """As the source's."""
        return self._rows

    def batches(self, ids: Mapping[str, int], size: int = 0) -> Iterator[Batch]:  # noqa: ARG002
        """The batches as they lie; the run's instruments must be the source's."""
        if dict(ids) != self._ids:
            raise ArgumentError("a prepared source serves only runs with exactly its own symbols")
        return iter(self._batches)


def _backtest(small: bool, _: Path | None) -> dict[str, Any]:
    """Expression pairs on quotes, and Python strategies called on every quote.

    As with the peers, data is brought into the engine's form before the clock starts; that time stands beside it.
    """
    from helios import data
    from helios.research.backtest import Backtest, Plan
    from helios.signals import Strategy, pair

    events = 200_000 if small else 2_000_000
    frame = quote_frame(events)
    begun = time.perf_counter()
    source = Prepared(data.quotes(frame))
    preparation = time.perf_counter() - begun

    class Empty(Strategy):
        name = "empty"

        def on_book(self, book: Any) -> None:
            pass

    def expression() -> Any:
        return pair("AAA", "BBB", halflife=1386, enter=2.0, exit=0.2, notional=10_000)

    def timed(strategy: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(3):
            plan = Plan.of(Backtest(data=source, strategy=strategy(), marks=None))
            seconds.append(plan.run(None, progress=False).meta["wall_seconds"])
        return float(events / statistics.median(seconds))

    return {
        "events": events,
        "preparation_s": preparation,
        "expression_events_per_s": timed(expression),
        "compiled_pairs_events_per_s": None if _compiled_pairs() is None else timed(_compiled_pairs),
        "python_empty_events_per_s": timed(Empty),
        "python_pairs_events_per_s": timed(_python_pairs),
        "python_pairs_body_ns": _python_pairs_body_ns(),
    }


def depth_rows(events: int) -> Any:
    """Price levels and trades of one symbol: the peers' synthetic data for hftbacktest.

    Seed 3, tick 0.1; nine changes of a level within 20 ticks of the mid to one trade a tick beyond it, a millisecond
    apart on average.
    """
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(3)
    mid = np.cumsum(rng.choice([-1, 0, 0, 0, 0, 0, 0, 1], events)) + 600_000
    kind, buy = rng.random(events), rng.random(events) < 0.5
    ticks, level = rng.integers(1, 20, events), kind < 0.9
    price = np.where(level, np.where(buy, mid - ticks, mid + ticks), np.where(buy, mid + 1, mid - 1))
    size = np.where(level & (rng.random(events) < 0.2), 0, rng.integers(1, 50, events))
    ts = 1_700_000_000_000_000_000 + np.cumsum(rng.integers(1_000, 2_000_000, events))
    return pl.DataFrame(
        {
            "ts": pl.Series(ts).cast(pl.Datetime("ns", "UTC")),
            "kind": np.where(level, "level", "trade"),
            "side": np.where(buy, "buy", "sell"),
            "price": np.round(price * 0.1, 1),
            "size": np.round(size * 0.1, 1),
        }
    )


def _market_making(small: bool, _: Path | None) -> dict[str, Any]:
    """A market maker on price levels with a queue model and latency: as an expression, and in Python on a timer."""
    from math import isnan

    from helios import data
    from helios.execution import Latency, Venue
    from helios.research.backtest import Backtest, Plan
    from helios.signals import Strategy, ask, bid, quote

    events = 200_000 if small else 2_000_000
    source = Prepared(data.depth(depth_rows(events), symbol_is="X"))
    venue = Venue(latency=Latency(order="500us", report="500us"), queue=2.0)

    class Timed(Strategy):
        name = "mm"
        timer = "100ms"

        def on_start(self) -> None:
            self.orders: dict[str, int] = {}

        def on_timer(self, now: int) -> None:  # noqa: ARG002
            book, position = self.book("X"), self.position("X")
            below, above = book.bid - 0.5, book.ask + 0.5
            if isnan(below) or isnan(above):
                return
            for order in self.orders.values():
                self.cancel("X", order)
            self.orders.clear()
            if position < 5:
                self.orders["bid"] = self.buy("X", 0.1, price=round(below, 1))
            if position > -5:
                self.orders["ask"] = self.sell("X", 0.1, price=round(above, 1))

    def expression() -> Any:
        return quote("X", bid=bid("X") - 0.5, ask=ask("X") + 0.5, size=0.1, limit=5, every="100ms")

    def timed(strategy: Callable[[], Any]) -> tuple[float, int]:
        seconds = []
        for _ in range(RUNS):
            plan = Plan.of(Backtest(data=source, strategy=strategy(), venue=venue, tick=0.1, lot=0.001, marks=None))
            results = plan.run(None, progress=False)
            seconds.append(results.meta["wall_seconds"])
        return float(events / statistics.median(seconds)), len(results.fills)

    (expression_rate, fills), (python_rate, python_fills) = timed(expression), timed(Timed)
    return {
        "events": events,
        "expression_events_per_s": expression_rate,
        "expression_fills": fills,
        "python_timer_events_per_s": python_rate,
        "python_timer_fills": python_fills,
    }


def _compiled_pairs() -> Any:
    """The peers' pairs rule as it stands in `_python_pairs`, compiled; None without Numba."""
    from importlib.util import find_spec
    from math import sqrt

    if find_spec("numba") is None:
        return None
    from helios.signals import Strategy, compiled, wishes

    def on_book(event: Any, books: Any, p: Any, memory: Any, out: Any) -> None:  # noqa: ARG001
        book = books[event.instrument]
        memory[event.instrument] = (book.bid + book.ask) * 0.5
        if memory[0] == 0.0 or memory[1] == 0.0:
            return
        d = memory[0] - memory[1] - memory[2]
        a = 0.0005
        memory[2] += a * d
        memory[3] = (1 - a) * (memory[3] + a * d * d) if memory[4] > 0 else (1 - a) * (1e-4 + a * d * d)
        memory[4] += 1
        if memory[4] < 2000:
            return
        z = d / sqrt(memory[3])
        side = memory[5]
        if side == 0:
            if z > 2.0:
                side = -1.0
            elif z < -2.0:
                side = 1.0
        elif side * z > -0.2:
            side = 0.0
        if side != memory[5]:
            memory[5] = side
            wishes.target(out, 0, 100 * side)
            wishes.target(out, 1, -100 * side)

    return type("Pairs", (Strategy,), {"name": "pairs", "memory": 6, "on_book": compiled(on_book)})()


def _python_pairs() -> Any:
    """The peers' pairs rule, in Python, called on every quote."""
    from math import sqrt

    from helios.signals import Strategy

    class Pairs(Strategy):
        name = "pairs"

        def on_start(self) -> None:
            self.mids = [0.0, 0.0]
            self.mean, self.var, self.count, self.side = 0.0, 1e-4, 0, 0

        def on_book(self, book: Any) -> None:
            mids = self.mids
            mids[book.instrument] = (book.bid + book.ask) * 0.5
            if mids[0] == 0.0 or mids[1] == 0.0:
                return
            d = mids[0] - mids[1] - self.mean
            a = 0.0005
            self.mean += a * d
            self.var = (1 - a) * (self.var + a * d * d)
            self.count += 1
            if self.count < 2000:
                return
            z = d / sqrt(self.var)
            if self.side == 0:
                if z > 2.0:
                    self.go(-1)
                elif z < -2.0:
                    self.go(1)
            elif self.side * z > -0.2:
                self.go(0)

        def go(self, side: int) -> None:
            self.side = side
            self.target("AAA", 100 * side)
            self.target("BBB", -100 * side)

    return Pairs()


def _python_pairs_body_ns() -> float:
    """What the body of the rule in Python costs the interpreter alone, without any engine: the floor of that row."""
    from types import SimpleNamespace

    strategy = _python_pairs()
    strategy.on_start()
    strategy.go = lambda _: None
    books = [SimpleNamespace(instrument=leg, bid=99.99 + leg / 100, ask=100.01 + leg / 100) for leg in (0, 1)]
    calls = 200_000
    seconds = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        for _ in range(calls // 2):
            strategy.on_book(books[0])
            strategy.on_book(books[1])
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds) / calls * 1e9


def _graph(small: bool, _: Path | None) -> dict[str, Any]:
    """500 pair strategies over 500 instruments, and quotes that touch ten of them each; books and graph, nothing else.

    A hundred instruments are in ten pairs each, the other four hundred in none: every quote is of one of the hundred.
    """
    from helios._core import bench_graph
    from helios.signals import compile_graph, pair

    symbols = [f"S{number:03}" for number in range(500)]
    # Within ten rings of ten instruments, each with those one to five places on: 10 x 10 x 5 pairs.
    rings = [range(first, first + 10) for first in range(0, 100, 10)]
    legs = {tuple(sorted((ring[i], ring[(i + gap) % 10]))) for ring in rings for i in range(10) for gap in range(1, 6)}
    # Five places on meet halfway, once from either side; the pairs that are left over join neighbouring rings.
    extra = ((i, (i + 10) % 100) for i in range(100))
    while len(legs) < 500:
        legs.add(tuple(sorted(next(extra))))
    strategy = [wish for a, b in sorted(legs) for wish in pair(symbols[a], symbols[b], window=1_000)]
    compiled = compile_graph(strategy, {symbol: number for number, symbol in enumerate(symbols)})
    quotes = 200_000 if small else 2_000_000
    touched = [sum(number in leg for leg in legs) for number in range(100)]
    seconds = [bench_graph(compiled.nodes, 500, 100, quotes) for _ in range(RUNS)]
    return {
        "pairs": len(legs),
        "nodes": len(compiled.nodes),
        "quotes": quotes,
        "pairs_a_quote": statistics.mean(touched),
        "ns_per_quote": statistics.median(seconds) / quotes * 1e9,
    }


def _columns(small: bool, _: Path | None) -> dict[str, Any]:
    """Windows over columns beside the equal Polars expression, turn about; ns a row and the ratio of the medians."""
    import numpy as np
    import polars as pl

    from helios.research.graph import graph
    from helios.signals import series

    rows = 1_000_000 if small else 10_000_000
    rng = np.random.default_rng(7)
    frame = pl.DataFrame(
        {
            "ts": pl.Series(np.arange(rows) * 1_000_000).cast(pl.Datetime("ns")),
            "x": 100 + np.cumsum(rng.normal(0, 0.01, rows)),
            "y": 100 + np.cumsum(rng.normal(0, 0.01, rows)),
        }
    )
    x, y, c = series("x"), series("y"), pl.col("x")
    cases = {
        "rolling mean": (x.rolling(100).mean(), c.rolling_mean(100)),
        "rolling sum": (x.rolling(100).sum(), c.rolling_sum(100)),
        "rolling std": (x.rolling(100).std(), c.rolling_std(100)),
        "rolling zscore": (x.rolling(100).zscore(), (c - c.rolling_mean(100)) / c.rolling_std(100)),
        "rolling min": (x.rolling(100).min(), c.rolling_min(100)),
        "rolling max": (x.rolling(100).max(), c.rolling_max(100)),
        "rolling median": (x.rolling(100).median(), c.rolling_median(100)),
        "rolling skew": (x.rolling(100).skew(), c.rolling_skew(100)),
        "rolling cov": (x.rolling(100).cov(y), pl.rolling_cov("x", "y", window_size=100)),
        "rolling corr": (x.rolling(100).corr(y), pl.rolling_corr("x", "y", window_size=100)),
        "rolling mean by time": (x.rolling("100ms").mean(), c.rolling_mean_by("ts", "100ms")),
        "rolling std by time": (x.rolling("100ms").std(), c.rolling_std_by("ts", "100ms")),
        "ewm mean": (x.ewm(50).mean(), c.ewm_mean(half_life=50, adjust=False)),
        "ewm std": (x.ewm(50).std(), c.ewm_std(half_life=50, adjust=False)),
        "ewm mean by time": (x.ewm("50ms").mean(), c.ewm_mean_by("ts", half_life="50ms")),
    }
    result: dict[str, Any] = {"rows": rows}
    for name, (ours, theirs) in cases.items():
        whole = graph(value=ours)
        times: tuple[list[float], list[float]] = ([], [])
        for _turn in range(RUNS):
            stamps = [time.perf_counter()]
            whole.over(frame)
            stamps.append(time.perf_counter())
            frame.select(theirs)
            stamps.append(time.perf_counter())
            for seconds, begun, ended in zip(times, stamps, stamps[1:], strict=False):
                seconds.append(ended - begun)
        ns, polars_ns = (statistics.median(seconds) / rows * 1e9 for seconds in times)
        result[name] = {"ns_per_row": ns, "polars_ns_per_row": polars_ns, "ratio": ns / polars_ns}
    return result


def _matching(small: bool, _: Path | None) -> dict[str, Any]:
    """The matching engine alone: commands in, events out, one thread. The best of many short passes, and the median: so
    what else the machine does falls between passes.

    `mixed`: 45 % adds, 40 % cancels, 10 % orders that take, 5 % changes; 100 instruments, 10,000 orders resting.
    `guarded`: the same beside a hidden order in every instrument, so that no order takes the short way of plain ones.
    `submits`: nothing but new orders in one book, with the prices and sizes of Liquibook's own performance test.
    """
    from helios._core import bench_matching

    commands = 100_000 if small else 250_000
    result: dict[str, Any] = {"commands": commands, "passes": 3 if small else 41}
    for flow in ("mixed", "guarded", "submits"):
        passes = bench_matching(flow, commands, result["passes"])
        seconds = [one.pop("seconds") for one in passes]
        result[f"{flow}_orders_per_s"] = commands / min(seconds)
        result[f"{flow}_orders_per_s_median"] = commands / statistics.median(seconds)
        result[flow] = passes[0]
    return result


def _fix(_: bool, __: Path | None) -> dict[str, Any]:
    from helios._core import bench_fix

    parse_check, build, receive = (
        statistics.median(times) for times in zip(*(bench_fix() for _ in range(RUNS)), strict=True)
    )
    return {"parse_check_ns": parse_check, "build_ns": build, "receive_ns": receive}


def _recovery(small: bool, _: Path | None) -> dict[str, Any]:
    """A journal of ten million inputs, 300 pairs: replayed whole, and from a snapshot at nine tenths."""
    from helios._core import bench_recovery
    from helios.data.frames import quotes
    from helios.research.backtest import Backtest, Plan
    from helios.signals import pair

    inputs = 100_000 if small else 10_000_000
    symbols = [f"S{number:03}" for number in range(200)]
    strategy = [pair(a, b, halflife="20s") for a, b in pairs_in_groups(symbols, 300)]
    source = quotes(_one_quote_each(symbols))
    engine = Plan.of(Backtest(data=source, strategy=strategy)).engine
    with tempfile.TemporaryDirectory() as folder:
        whole, from_snapshot, made, stored, size, snapshot = bench_recovery(folder, engine, inputs)
    return {
        "inputs": inputs,
        "journal_bytes": size,
        "seconds": whole,
        "seconds_from_snapshot": from_snapshot,
        "snapshot_bytes": snapshot,
        "snapshot_made_ms": made * 1e3,
        "snapshot_stored_ms": stored * 1e3,
    }


def _one_quote_each(symbols: list[str]) -> Any:
    import polars as pl

    count = len(symbols)
    return pl.DataFrame(
        {
            "ts": pl.Series(range(1, count + 1)).cast(pl.Datetime("ns")),
            "symbol": symbols,
            "bid": [99.99] * count,
            "ask": [100.01] * count,
            "bid_size": [100] * count,
            "ask_size": [100] * count,
        }
    )


BENCHES: Final[dict[str, Callable[[bool, Path | None], dict[str, Any]]]] = {
    "itch": _itch,
    "book": _book,
    "step": _step,
    "backtest": _backtest,
    "market_making": _market_making,
    "graph": _graph,
    "columns": _columns,
    "matching": _matching,
    "fix": _fix,
    "recovery": _recovery,
}
