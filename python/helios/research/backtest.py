"""A backtest: data, strategies, limits and a venue in; results, and a folder that can be replayed, out.

Python builds the description and advances the run in slices; the loop itself is native. Nothing here decides anything
about an order.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helios.data.agents import AgentsSource
from helios.data.feed import FeedSource
from helios.data.itch import NO_DATE, ItchSource
from helios.data.source import ColumnSource
from helios.duration import moment, nanoseconds
from helios.errors import ArgumentError, RunError
from helios.execution import DarkPool, Execution, Venue
from helios.execution.venues import VenueChoice, Venues
from helios.listings import listing
from helios.research.feeds import (
    FEEDS,
    Source,
    Supply,
    core_source,
    refuse_mixed,
    refuse_unfed,
    refuse_unknown,
    refuse_unstamped,
    series_of,
    source_name,
)
from helios.risk import Limits
from helios.scales import CASH_SCALE, PRICE_SCALE, QUANTITY_SCALE, scaled
from helios.signals import Output, Quote, Record, Strategy, Target, compile_graph
from helios.signals.graph import sources_of, symbols_of
from helios.signals.strategy import accounts_of, called, declares, in_python, outputs_of, own_signals

if TYPE_CHECKING:
    from helios.research.results import Results


#: Market events between two looks at the progress bar.
SLICE = 262_144

Wish = Target | Quote | Record | Strategy


@dataclass(frozen=True)
class Instrument:
    """What a venue asks of the orders of one symbol: see docs/models/ticks.md.

    `tick` is one price step, or steps by price: `[(0, 0.0001), (1, 0.01)]` is a hundredth of a cent below 1.00. `lot`
    is the quantity step. With `round_lot` orders are multiples of that, and odd lots are rejected; positions still have
    single lots after a split. `min_notional` is the least that an order is worth.
    """

    symbol: str
    tick: float | Sequence[tuple[float, float]] = 0.01
    lot: float = 1.0
    round_lot: float | None = None
    min_notional: float = 0.0


@dataclass
class Backtest:
    """Describes a run; `run()` runs it, as often as you like and always with the same result.

    A strategy in Python keeps what it has learnt from one run to the next: give each run a fresh instance.
    """

    #: One source or several; several are merged by time.
    data: Source | Sequence[Supply]
    #: Targets and records (expressions), Python strategies, or lists of them.
    strategy: Wish | Iterable[Wish | Iterable[Wish]]
    #: One exchange; or several by name, dark pools among them: "KO@BATS" is KO at BATS, "KO" at the one named "".
    venue: VenueChoice = field(default_factory=Venue)
    limits: Limits = field(default_factory=Limits)
    execution: Execution = field(default_factory=Execution)
    #: Money at the start.
    cash: float = 1_000_000.0
    #: Instruments that differ from `tick` and `lot`.
    instruments: Sequence[Instrument] = ()
    tick: float | Sequence[tuple[float, float]] = 0.01
    lot: float = 1.0
    name: str = "backtest"
    #: Moment from which targets are acted on and callbacks are called; windows fill before it. ISO text or datetime
    #: (UTC unless it has a zone), a date (its midnight UTC), or nanoseconds since 1970 UTC; None for the beginning.
    start: str | date | int | None = None
    #: Moment after which nothing is read, written like `start`: what is stamped at it still is. None for the end.
    stop: str | date | int | None = None
    #: Distance of the equity samples.
    sample: str | timedelta = "1m"
    #: Distance of the samples of all reference prices, for the report's charts; None for none.
    marks: str | timedelta | None = "1m"
    #: Measure the wall time from message to order bytes.
    latency: bool = False
    #: Kept in the results, to tell runs on simulated data apart.
    seed: int | None = None
    #: Orders resting at once in the books, at most.
    max_orders: int = 1 << 23

    def __post_init__(self) -> None:
        Venues.of(self.venue)
        for name, kind in (("limits", Limits), ("execution", Execution)):
            if not isinstance(given := getattr(self, name), kind):
                raise ArgumentError(f"{name} is {given!r}: give hx.{kind.__name__}(…)")

    def run(
        self,
        out: str | os.PathLike[str] | None = None,
        *,
        overwrite: bool = False,
        progress: bool = False,
        report: bool = True,
    ) -> Results:
        """Runs, and with `out` writes a run folder: tables, journal, run.json, report.html.

        Raises RunError for a folder that is in use, ArgumentError for a description that cannot be, DataError for data
        that cannot be used (what was good before it is journaled in `out`). A finished run that is to be overwritten
        stays until the new one is complete; until then that one is in `out` with ".new" behind its name.
        """
        from helios.research.results import JOURNAL_FILE, RUN_FILE, prepare_folder, take_over

        plan = Plan.of(self)
        if out is None:
            return plan.run(None, progress=progress)
        final = Path(out)
        replaces = overwrite and (final / RUN_FILE).exists()
        folder = prepare_folder(final.with_name(final.name + ".new") if replaces else final, overwrite=overwrite)
        results = plan.run(folder / JOURNAL_FILE, progress=progress)
        results.save(folder, overwrite=overwrite, report=report)
        if replaces:
            take_over(folder, final)
        return results


@contextmanager
def core_errors(texts: Sequence[str] = ()) -> Iterator[None]:
    """The core's errors as ours; `texts` are the expressions of a graph's nodes, which it knows by number only."""
    from helios._core import CoreError

    try:
        yield
    except CoreError as error:
        source, message = error.args
        node = re.search(r"\bnode (\d+): (.*)", message, re.DOTALL)
        if node and int(node[1]) < len(texts):
            raise ArgumentError(f"{texts[int(node[1])]}: {node[2]}") from None
        if source == "run":
            raise ArgumentError(message) from None
        raise RunError(f"{source}: {message}") from None


@dataclass
class Plan:
    """A backtest, checked and in the core's terms."""

    backtest: Backtest
    sources: list[Supply]
    symbols: list[str]
    strategies: list[str]
    signals: list[str]
    declared: list[Strategy]
    callbacks: list[Strategy]
    limits: Limits
    targets: list[Target | Quote]
    engine: dict[str, Any]
    venues: Venues
    venue: dict[str, Any]
    stop_ns: int | None
    sample_ns: int
    marks_ns: int
    texts: list[str]

    @classmethod
    def of(cls, backtest: Backtest) -> Plan:
        """Checks the description whole before anything runs."""
        several = isinstance(backtest.data, Sequence) and not isinstance(backtest.data, str)
        sources: list[Supply] = list(backtest.data) if several else [backtest.data]  # type: ignore[arg-type, list-item]
        if not sources:
            raise ArgumentError("a backtest needs at least one data source")
        for source in sources:
            if not isinstance(source, ItchSource | ColumnSource | AgentsSource | FeedSource):
                what = repr(source) if isinstance(source, str) else f"a {type(source).__name__}"
                raise ArgumentError(
                    f"{what} is no data source: use itch(…), bars(…), quotes(…), trades(…), lobster(…) or agents(…)"
                )
        wishes = list(flatten(backtest.strategy))
        if not wishes:
            raise ArgumentError("a backtest needs a strategy: targets, records or a Strategy")
        outputs, strategies = declared(wishes)
        # A strategy that is signals only is not called during the run.
        callbacks = [strategy for strategy in strategies if called(strategy) or not declares(strategy)]
        limits = strictest(backtest.limits, strategies)
        sources = _actions_after_bars(sources)
        venues = Venues.of(backtest.venue)
        known = {symbol for source in sources for symbol in source.symbols if _is_market(source)}
        offered = venues.offered(known)
        symbols = sorted(venues.completed(_universe(outputs, strategies, offered), known))
        ids = {symbol: number for number, symbol in enumerate(symbols)}
        refuse_unknown([*symbols_of(outputs), *ids], offered)
        refuse_unfed(sources_of(outputs), sources)
        holders = venues.holders(symbols)
        refuse_misnamed(venues, symbols, holders, outputs, sources)
        refuse_mixed(sources, backtest.venue)
        series, groups = series_of(sources)
        graph = compile_graph(outputs, ids, series)
        names = list(dict.fromkeys([*graph.strategies, *(strategy.name for strategy in strategies)]))
        bars_only = all(source.schema in ("bars", "series", "actions") for source in sources)
        style = backtest.execution.style
        style = ("market" if bars_only else "touch") if style == "auto" else style
        start = moment(backtest.start, "start")
        instruments, rules = _instruments(backtest, venues, symbols)
        engine = {
            "instruments": instruments,
            "holds": holders,
            "rules": rules,
            "nodes": graph.nodes,
            "series": groups,
            "limits": limits.rows(),
            "cash": scaled(backtest.cash, CASH_SCALE, "cash"),
            "style": (style, backtest.execution.ticks),
            "without_price": [
                symbol
                for number, symbol in enumerate(symbols)
                if symbols[holders[number] if holders else number] not in known
            ],
            "limit_prices": style != "market" or bool(callbacks) or any(isinstance(o, Quote) for o in outputs),
            "max_orders": _count(backtest.max_orders, "max_orders"),
            "trade_from": start or 0,
        }
        stop = moment(backtest.stop, "stop")
        if stop is not None and stop <= (start or 0):
            raise ArgumentError(f"stop={backtest.stop!r} is not after start={backtest.start!r}: nothing would trade")
        for strategy in strategies:
            strategy.methods()
        return cls(
            backtest,
            sources,
            symbols,
            names,
            list(graph.signals),
            strategies,
            callbacks,
            limits,
            [output for output in outputs if isinstance(output, Target | Quote)],
            engine,
            venues,
            venues.spec(ids),
            stop_ns=stop,
            sample_ns=nanoseconds(backtest.sample, "sample"),
            marks_ns=0 if backtest.marks is None else nanoseconds(backtest.marks, "marks"),
            texts=graph.texts,
        )

    def run(self, journal: Path | None, *, progress: bool) -> Results:
        """Runs the plan once."""
        from helios import _core
        from helios.research.results import Names, Results

        with core_errors(self.texts):
            session = _core.Session(
                self.engine,
                self.venue,
                journal=journal,
                config=json.dumps(self.description()).encode(),
                sample_ns=self.sample_ns,
                marks_ns=self.marks_ns,
                measure=self.backtest.latency,
            )
            ids = {symbol: number for number, symbol in enumerate(self.symbols)}
            series, _ = series_of(self.sources)
            session.sources([core_source(source, ids, series) for source in self.sources], self.stop_ns)
            self.attach(session)
            begun = time.perf_counter()
            state = _advance(session, progress, self.backtest.name)
            seconds = time.perf_counter() - begun
            tables = _arrays(session.tables())
            breaches = tables.pop("breaches")
            pillars, latency, faults = session.pillars(), session.latency(), session.faults()
            for strategy in self.callbacks:
                strategy._recalled = session.memory(self.strategies.index(strategy.name)) or ()
            digest = session.finish()
        events, inputs, outputs, _, _, _ = state
        span = tables["equity"]["ts"]
        meta = {
            "name": self.backtest.name,
            "config": self.settings(),
            "versions": versions(),
            "seed": self.backtest.seed,
            "targets": [repr(target) for target in self.targets],
            "digest": digest,
            "inputs": inputs,
            "outputs": outputs,
            "events": events,
            "trade_from": self.engine["trade_from"] or None,
            "started": int(span[0]) if len(span) else None,
            "finished": int(span[-1]) if len(span) else None,
            "wall_seconds": seconds,
            "events_per_second": events / seconds if seconds > 0 else None,
            "pillars": pillars,
            "warnings": [*faults, *_skipped(self.sources)],
            "breaches": [
                {name: int(column[row]) for name, column in breaches.items()} for row in range(len(breaches["ts"]))
            ],
        }
        if latency is not None:
            orders = latency["orders"]
            meta["latency"] = {**orders, "count": orders["counts"]} if orders["count"] else None
            meta["latency_events"] = {**latency["events"], "count": latency["events"]["counts"]}
        listings = [self.venues.split(symbol) for symbol in self.symbols]
        return Results.from_core(tables, Names(self.strategies, self.symbols, self.signals, listings), meta)

    def attach(self, session: Any) -> None:
        """Gives a session, of a backtest or live, the strategies that are called during the run."""
        ids = {symbol: number for number, symbol in enumerate(self.symbols)}
        dark = {number for symbol, number in ids.items() if self.venues.is_dark(symbol)}
        for strategy in self.callbacks:
            accounts = accounts_of(strategy, self.strategies)
            if in_python(strategy):
                methods, timer_ns = strategy.methods()
                signals = own_signals(strategy, self.signals)
                strategy.connect(session.strategy(accounts, methods, signals, timer_ns), ids, dark)
                strategy.on_start()
            code = strategy.machine_code(self.symbols)
            if code is not None:
                session.compiled(([number for number, _ in accounts], strategy.name, *code))

    def description(self) -> dict[str, Any]:
        """What the journal begins with: enough to build the same engine again."""
        return {
            "format": 1,
            "name": self.backtest.name,
            "engine": self.engine,
            "strategies": self.strategies,
            "signals": self.signals,
        }

    def settings(self) -> dict[str, Any]:
        """The run's settings for people: no graph, no lists of hundreds of pairs."""
        b = self.backtest
        return {
            "data": [source_name(source) for source in self.sources],
            "instruments": len(self.symbols),
            "strategies": len(self.strategies),
            "parameters": {strategy.name: _shown(strategy.params) for strategy in self.declared if strategy.params},
            "graph nodes": len(self.engine["nodes"]),
            "cash": b.cash,
            "venue": _shown_venue(b.venue)
            if isinstance(b.venue, Venue)
            else {name or "default": _shown_venue(one) for name, one in b.venue.items()},
            "tick": b.tick if isinstance(b.tick, int | float) else [list(band) for band in b.tick],
            "lot": b.lot,
            "start": None if b.start is None else str(b.start),
            "stop": None if b.stop is None else str(b.stop),
            "sample": str(b.sample),
            "limits": {name: getattr(self.limits, name) for name, _ in self.limits.rows()},
            "execution": self.engine["style"],
        }


def _shown_venue(venue: Venue | DarkPool) -> dict[str, Any]:
    shown = asdict(venue)
    if isinstance(venue, Venue):
        shown["session"] = None if venue.session is None else repr(venue.session)
    return shown


def versions() -> dict[str, str]:
    """What ran."""
    import numpy
    import polars

    import helios

    return {
        "helios": helios.__version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "polars": polars.__version__,
        "platform": platform.platform(),
    }


def engine_of(config: bytes) -> dict[str, Any]:
    """The engine's description out of a journal's configuration. RunError when it is none that this version knows."""
    try:
        described = json.loads(config)
        engine = described["engine"]
        if described["format"] != 1:
            raise RunError(f"the journal's configuration has format {described['format']}, this version reads 1")
        return {
            **engine,
            "instruments": [tuple(row) for row in engine["instruments"]],
            "nodes": [tuple(node) for node in engine["nodes"]],
            "series": engine.get("series", []),
            "holds": engine.get("holds", []),
            "rules": [([tuple(band) for band in bands], least, unit) for bands, least, unit in engine.get("rules", [])],
            "limits": [tuple(row) for row in engine["limits"]],
            "style": tuple(engine["style"]),
        }
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"the journal's configuration is not one of a run: {error!r}") from None


def _advance(session: Any, progress: bool, name: str) -> tuple[int, int, int, int, float, bool]:
    """Advances to the end; Ctrl-C stops between slices."""
    if not progress:
        while True:
            state: tuple[int, int, int, int, float, bool] = session.advance(SLICE)
            if state[-1]:
                return state
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[events]:>12,} events"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=1.0, events=0)
        while True:
            state = session.advance(SLICE)
            bar.update(task, completed=state[4], events=state[0])
            if state[-1]:
                return state


def _skipped(sources: Iterable[Supply]) -> Iterator[str]:
    for source in sources:
        if isinstance(source, ItchSource) and source.date == NO_DATE:
            yield f"{source.path}: no date given and none in its name: its times count from 1970-01-01"
        if isinstance(source, ColumnSource):
            for reason, skipped in source.skipped.items():
                yield f"{skipped.source}: {skipped.count} rows left out: {reason}; the first is row {skipped.first_row}"


def _arrays(tables: Mapping[str, Mapping[str, tuple[str, bytes]]]) -> dict[str, dict[str, Any]]:
    """The core's bytes as NumPy arrays, without copying."""
    import numpy as np

    kinds = {"u8": "u1", "u32": "<u4", "u64": "<u8", "i64": "<i8", "f64": "<f8"}
    return {
        table: {name: np.frombuffer(data, dtype=kinds[kind]) for name, (kind, data) in columns.items()}
        for table, columns in tables.items()
    }


def flatten(wishes: Any) -> Iterator[Wish]:
    """Lists in lists as one."""
    if isinstance(wishes, Target | Quote | Record | Strategy):
        yield wishes
        return
    if isinstance(wishes, str | bytes | type) or not isinstance(wishes, Iterable):
        raise ArgumentError(
            f"{wishes!r} is no strategy: give target(…), quote(…), record(…), a Strategy instance, or lists of them"
        )
    for wish in wishes:
        yield from flatten(wish)


def declared(wishes: Iterable[Wish]) -> tuple[list[Output], list[Strategy]]:
    """All that is evaluated natively, in the order given, and the strategies. ArgumentError for a name used twice."""
    outputs: list[Output] = []
    strategies: list[Strategy] = []
    taken: set[str] = set()
    wishes = list(wishes)
    taken.update(wish.strategy for wish in wishes if isinstance(wish, Target | Quote))
    for wish in wishes:
        if isinstance(wish, Strategy):
            found = outputs_of(wish)
            names = {wish.name, *(output.strategy for output in found if isinstance(output, Target | Quote))}
            if twice := sorted(names & taken):
                raise ArgumentError(f"two strategies are named {twice[0]!r}: names tell their results apart")
            taken |= names
            outputs += found
            strategies.append(wish)
        else:
            outputs.append(wish)
    return outputs, strategies


def strictest(limits: Limits, strategies: Iterable[Strategy]) -> Limits:
    """The run's limits and those that the strategies ask for: the strictest of each rule."""
    others = []
    for strategy in strategies:
        if strategy.limits is None:
            continue
        if not isinstance(strategy.limits, Limits):
            raise ArgumentError(f"strategy {strategy.name!r}: limits is {strategy.limits!r}, but must be hx.Limits(…)")
        others.append(strategy.limits)
    return limits.with_strictest(*others)


def _shown(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters for run.json: what JSON has no type for, as text."""
    return {k: v if isinstance(v, bool | int | float | str | None) else repr(v) for k, v in params.items()}


def _universe(outputs: list[Output], strategies: list[Strategy], known: set[str]) -> list[str]:
    """Symbols of the run, sorted: those that expressions name, and those that Python strategies ask for."""
    symbols = set(symbols_of(outputs))
    for strategy in strategies:
        if isinstance(strategy.universe, str):
            raise ArgumentError(
                f"strategy {strategy.name!r}: universe is a list of symbols, like [{strategy.universe!r}]"
            )
        symbols |= set(strategy.universe) if strategy.universe or declares(strategy) else known
    # Outputs that read series only go with whatever the market data has.
    symbols = symbols or known
    if not symbols:
        raise ArgumentError("the run has no instruments: neither the data nor the strategy names one")
    return sorted(symbols)


def _count(value: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**32:
        raise ArgumentError(f"{what} is {value!r}: it must be a whole number from 1 to {2**32 - 1}")
    return value


def refuse_misnamed(
    venues: Venues, symbols: list[str], holders: list[int], outputs: Iterable[Output], sources: Sequence[Supply]
) -> None:
    """What names the wrong listing, or asks of one what its data cannot give."""
    for output in outputs:
        if isinstance(output, Target) and holders:
            held = symbols[holders[symbols.index(output.symbol)]]
            if held != output.symbol:
                raise ArgumentError(f"a target is of a security, not of a listing: write target({held!r}, …)")
    if len(venues.exchanges) + len(venues.pools) > 1 and not all(_is_market(source) for source in sources):
        raise ArgumentError("corporate actions work with one venue only: this run has several")
    for name, exchange in venues.exchanges.items():
        own = {symbol for symbol in symbols if venues.split(symbol)[1] == name}
        if exchange.latency.feed == "data":
            refuse_unstamped([source for source in sources if not venues.named or own.intersection(source.symbols)])
        if isinstance(exchange.impact, Mapping) and (strange := sorted(exchange.impact.keys() - own)):
            raise ArgumentError(f"venue: impact of {', '.join(strange)}, which this run does not trade")
    quoted = {symbol for source in sources if "mid" in FEEDS[source.schema] for symbol in source.symbols}
    for symbol in filter(venues.is_dark, symbols):
        security, venue = venues.split(symbol)
        reference = listing(security, venues.pools[venue].reference)
        if reference not in quoted:
            raise ArgumentError(
                f"{symbol!r} trades at the midpoint of {reference!r}, of which there are no bid and ask"
            )


Rules = tuple[list[tuple[int, int]], int, int]


def _instruments(
    backtest: Backtest, venues: Venues, symbols: list[str]
) -> tuple[list[tuple[str, int, int]], list[Rules]]:
    """Symbol, tick and lot of each instrument; its tick table, least notional and unit of positions, where any has."""
    special = {instrument.symbol: instrument for instrument in backtest.instruments}
    unknown = sorted(special.keys() - set(symbols))
    if unknown:
        raise ArgumentError(f"instruments that this run does not trade: {', '.join(unknown)}")
    rows, rules = [], []
    for symbol in symbols:
        # A listing is as its security, where nothing else is said of it.
        alike = special.get(venues.split(symbol)[0], Instrument(symbol, backtest.tick, backtest.lot))
        instrument = special.get(symbol, alike)
        bands, tick = _ticks(instrument)
        lot = scaled(instrument.lot, QUANTITY_SCALE, f"the lot of {symbol!r}")
        if tick <= 0 or lot <= 0:
            raise ArgumentError(
                f"instrument {symbol!r}: tick {instrument.tick} and lot {instrument.lot} must be positive"
            )
        round_lot = lot
        if instrument.round_lot is not None:
            round_lot = scaled(instrument.round_lot, QUANTITY_SCALE, f"the round lot of {symbol!r}")
            if round_lot <= 0 or round_lot % lot:
                whole = f"round_lot {instrument.round_lot} is no multiple of the lot {instrument.lot}"
                raise ArgumentError(f"instrument {symbol!r}: {whole}")
        least = scaled(instrument.min_notional, CASH_SCALE, f"the min_notional of {symbol!r}")
        if least < 0:
            raise ArgumentError(f"instrument {symbol!r}: min_notional {instrument.min_notional} must not be negative")
        rows.append((symbol, tick, round_lot))
        rules.append((bands, least, lot if round_lot != lot else 0))
    return rows, rules if any(rule != ([], 0, 0) for rule in rules) else []


def _ticks(instrument: Instrument) -> tuple[list[tuple[int, int]], int]:
    """Bands of a tick table (none for a single tick), and the step that all of them share."""
    tick, what = instrument.tick, f"the tick of {instrument.symbol!r}"
    if isinstance(tick, int | float):
        return [], scaled(tick, PRICE_SCALE, what)
    try:
        bands = [(scaled(start, PRICE_SCALE, what), scaled(step, PRICE_SCALE, what)) for start, step in tick]
    except (TypeError, ValueError):
        raise ArgumentError(f"{what} is {tick!r}: a number, or steps by price like [(0, 0.0001), (1, 0.01)]") from None
    return bands, math.gcd(*(step for _, step in bands))


def _is_market(source: Supply) -> bool:
    """Corporate actions alone make no instrument: nothing of it could trade."""
    return isinstance(source, ItchSource) or source.schema != "actions"


def _actions_after_bars(sources: list[Supply]) -> list[Supply]:
    """At one moment a bar that ends then comes first, then corporate actions, then everything else.

    Sources are merged in this order at equal times. Without corporate actions it is the order that was given.
    """
    if all(_is_market(source) for source in sources):
        return sources
    place = {"bars": 0, "actions": 1}
    return sorted(sources, key=lambda s: 2 if isinstance(s, ItchSource) else place.get(s.schema, 2))


__all__ = ["Backtest", "Instrument", "Plan", "core_errors", "engine_of", "moment", "versions"]
