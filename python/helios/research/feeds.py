"""What sources give to a graph: which symbols, kinds of values and series; and how the core is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from helios.data import AgentsSource, ColumnSource, FeedSource, ItchSource
from helios.data.external import ExternalSource
from helios.errors import ArgumentError
from helios.execution import Venue
from helios.execution.venues import VenueChoice
from helios.signals import Expr
from helios.signals.graph import near

Source = ItchSource | ColumnSource | AgentsSource
#: What a run can be made of: a live one has feeds.
Supply = Source | FeedSource

_TOP = ("mid", "microprice", "bid", "ask", "imbalance", "bid_size", "ask_size")
_TRADES = ("last", "last_size", "flow")
_DEPTH = ("bid_at", "ask_at", "bid_size_at", "ask_size_at", "bid_depth", "ask_depth")
#: What a source of a schema gives values to.
FEEDS: Mapping[str, tuple[str, ...]] = {
    "quotes": _TOP,
    "trades": _TRADES,
    "bars": ("close", "open", "high", "low", "volume"),
    "depth": _TOP + _TRADES + _DEPTH,
    "orders": _TOP + _TRADES + _DEPTH,
    "series": (),
    "actions": (),
}


def series_of(sources: Sequence[Supply]) -> tuple[dict[str, int], list[int]]:
    """Number of each series from outside the market, and for each number its group: what one row brings together."""
    numbers: dict[str, int] = {}
    groups: list[int] = []
    for source in sources:
        if not isinstance(source, ExternalSource):
            continue
        group = groups[-1] + 1 if groups else 0
        for name in source.names:
            if name in numbers:
                raise ArgumentError(f"two sources have a series {name!r}: rename one of the columns")
            numbers[name] = len(numbers)
            groups.append(group)
    return numbers, groups


def core_source(source: Supply, ids: Mapping[str, int], series: Mapping[str, int]) -> tuple[Any, ...]:
    """A source as the core takes it."""
    if isinstance(source, ItchSource):
        return (source.path, source.midnight_ns, source.venue)
    if isinstance(source, AgentsSource):
        return (source.settings, source.midnight_ns)
    if isinstance(source, FeedSource):
        raise ArgumentError(f"{source_name(source)} can only be run live: helios run")
    numbers = series if isinstance(source, ExternalSource) else ids
    return (source_name(source), source.schema, source.rows, source.batches(numbers))


def source_name(source: Supply) -> str:
    """A source for people."""
    if isinstance(source, ItchSource):
        return f"{source.path} of {source.date}"
    if isinstance(source, AgentsSource):
        return f"agents ({source.number} symbols, {source.minutes} minutes, seed {source.seed})"
    if isinstance(source, FeedSource):
        return f"feed {source.name} ({len(source.symbols)} symbols)"
    if isinstance(source, ExternalSource):
        return f"series ({', '.join(source.names)})"
    return f"{source.schema} ({len(source.symbols)} symbols)"


def refuse_unknown(symbols: Iterable[str], known: set[str]) -> None:
    """A symbol that an expression or a strategy reads but no source has would stay silent for ever."""
    for symbol in dict.fromkeys(symbols):
        if symbol not in known:
            raise ArgumentError(f"no data source has the symbol {symbol!r}{near(symbol, sorted(known))}")


def refuse_mixed(sources: Sequence[Supply], venue: VenueChoice) -> None:
    """Agents are the whole market, and answer by themselves."""
    if not any(isinstance(source, AgentsSource) for source in sources):
        return
    others = [source for source in sources if not isinstance(source, ExternalSource)]
    if len(others) > 1:
        names = " and ".join(source_name(source) for source in others)
        raise ArgumentError(f"agents are the whole market of a run, so it has no other market data: {names}")
    if not isinstance(venue, Venue):
        raise ArgumentError("agents trade at one exchange: give one venue, not several by name")
    if venue.impact is not None:
        raise ArgumentError("venue: agents answer our orders by themselves: leave impact out")
    if venue.mode == "fast":
        raise ArgumentError("venue: mode 'fast' keeps no books at the venue, and agents trade in them: leave it out")


def refuse_unstamped(sources: Sequence[Supply]) -> None:
    """With feed="data" every source of market data must say when its rows were received."""
    for source in sources:
        stamped = isinstance(source, ColumnSource | FeedSource) and source.stamped
        if not isinstance(source, ExternalSource) and not stamped:
            raise ArgumentError(
                f'{source_name(source)} has no receive stamps for Latency(feed="data"): name their column with '
                "ts_recv='…', or give a feed latency"
            )


def refuse_unfed(exprs: Iterable[Expr], sources: Sequence[Supply]) -> None:
    """mid("KO") where there are only bars of KO would stay null for ever, and the strategy silent."""
    fed: dict[str, set[str]] = {}
    for source in sources:
        for symbol in source.symbols:
            fed.setdefault(symbol, set()).update(FEEDS[source.schema])
    for expr in exprs:
        if expr.symbol is None:
            continue
        there = fed.get(expr.symbol, set())
        if expr.op.removeprefix("source:") not in there:
            if not there:
                raise ArgumentError(
                    f"{expr!r} would never have a value: {expr.symbol!r} is in a dark pool, which shows nothing"
                )
            names = ", ".join(dict.fromkeys(name for feed in FEEDS.values() for name in feed if name in there))
            raise ArgumentError(f"{expr!r} would never have a value: the sources of {expr.symbol!r} give {names}")
