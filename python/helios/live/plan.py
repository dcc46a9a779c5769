"""From a run file to a live run: the plan of its backtest, with feeds in place of recorded data.

Strategies, limits, venue and engine are made by `Backtest` and `Plan.of`, the code of a backtest, so that what was
tested is what trades. A feed carries the symbols that its table names, or those that the strategies name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helios.data.feed import FeedSource
from helios.errors import ConfigError
from helios.listings import listing, split
from helios.live.secrets import revealed
from helios.live.settings import Feed, Session, Settings, covered
from helios.signals.graph import symbols_of

if TYPE_CHECKING:
    from helios.research.backtest import Backtest, Plan


@dataclass(frozen=True)
class LiveRun:
    """A live run, checked and in the core's terms."""

    plan: Plan
    settings: Settings

    @property
    def description(self) -> bytes:
        """What the journal begins with: what a backtest's has, and the live settings without secrets."""
        described = {**self.plan.description(), "engine": self.engine, "live": self.settings.described()}
        return json.dumps(described).encode()

    @property
    def engine(self) -> dict[str, Any]:
        """The engine of a backtest of the file, and the session through which each instrument is traded."""
        if len(self.settings.sessions) < 2:
            return self.plan.engine
        at = {session.venue: number for number, session in enumerate(self.settings.sessions)}
        return {**self.plan.engine, "sessions": [at[self.plan.venues.split(one)[1]] for one in self.plan.symbols]}

    def spec(self) -> dict[str, Any]:
        """What the native driver needs beside engine and venue. Secrets are in it: it is handed over, never kept."""
        s = self.settings
        listed = [self.plan.venues.split(symbol) for symbol in self.plan.symbols]
        return {
            "mode": s.mode,
            "directory": str(s.directory),
            "threads": s.threads,
            "wait": s.wait,
            "cores": s.cores,
            "durability": s.durability,
            "replica": None if s.standby is None else s.standby.journal,
            "cancel_on_stop": s.cancel_on_stop,
            "stop_within_ns": s.stop_within_ns,
            "snapshot_every_ns": s.snapshot_every_ns,
            "feeds": [_feed(feed, listed) for feed in s.feeds],
            "sessions": [_session(session, listed) for session in s.sessions],
            "drop_copies": [_copy(session, s, listed) for session in s.drop_copies],
        }


def plan(
    settings: Settings, build: Callable[[Sequence[FeedSource]], Backtest], wishes: Sequence[Any], venues: set[str]
) -> LiveRun:
    """The live run of what `build` makes of the feeds. `wishes` name the symbols; `venues` are the named."""
    from helios.research.backtest import Plan, declared, flatten

    outputs, strategies = declared(list(flatten(wishes)))
    named = {*symbols_of(outputs)}
    for strategy in strategies:
        named |= set() if isinstance(strategy.universe, str) else set(strategy.universe)
    feeds = [_source(feed, n, named, venues, settings) for n, feed in enumerate(settings.feeds)]
    made = LiveRun(Plan.of(build(feeds)), settings)
    at: dict[str, list[str]] = {}
    for symbol in made.plan.symbols:
        at.setdefault(made.plan.venues.split(symbol)[1], []).append(symbol)
    covered(settings, at)
    return made


def _source(feed: Feed, number: int, named: Iterable[str], venues: set[str], settings: Settings) -> FeedSource:
    if feed.venue and feed.venue not in venues:
        message = f"no [venue.{feed.venue}] is in the file"
        raise ConfigError(message, file=str(settings.file), key=f"feed[{number}].venue")
    if feed.symbols is not None:
        symbols = {listing(symbol, feed.venue) for symbol in feed.symbols}
    else:
        symbols = {symbol for symbol in named if not venues or split(symbol)[1] == feed.venue}
    if not symbols:
        hint = "Name them: symbols = [...]. Strategies without a universe take all of them."
        message = "no strategy names a symbol of this feed"
        raise ConfigError(message, file=str(settings.file), key=f"feed[{number}]", hint=hint)
    return FeedSource(feed.name, sorted(symbols), feed.venue)


def _feed(feed: Feed, listed: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "name": feed.name,
        "lines": feed.lines,
        "interface": feed.interface,
        "session": feed.session,
        "retransmission": feed.retransmission,
        "snapshot": feed.snapshot,
        "user": feed.user,
        "password": revealed(feed.password),
        "midnight_ns": feed.midnight_ns,
        "instruments": [(stock, number) for number, (stock, venue) in enumerate(listed) if venue == feed.venue],
    }


def _session(session: Session, listed: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "name": session.name,
        "protocol": session.protocol,
        "address": session.address,
        "user": session.user,
        "password": revealed(session.password),
        "sender": session.sender,
        "target": session.target,
        "heartbeat_ns": session.heartbeat_ns,
        "instruments": [(stock, number) for number, (stock, venue) in enumerate(listed) if venue == session.venue],
    }


def _copy(copy: Session, settings: Settings, listed: Sequence[tuple[str, str]]) -> dict[str, Any]:
    midnight = next((feed.midnight_ns for feed in settings.feeds if feed.venue == copy.venue), 0)
    return {
        **_session(copy, listed),
        "grace_ns": copy.grace_ns,
        "session": next(n for n, session in enumerate(settings.sessions) if session.venue == copy.venue),
        "midnight_ns": midnight,
    }
