"""What a live run needs of the native driver, as a protocol: the core has it, tests have a small one in Python.

The driver owns sockets, threads and the journal; Python asks how things stand and passes on what an operator wants.
Nothing here is on the way of a packet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol, TypedDict

from helios.errors import RunError
from helios.live.folder import JOURNAL_FILE
from helios.live.plan import LiveRun
from helios.research.backtest import core_errors, engine_of


class LinkStatus(TypedDict):
    """An order-entry session: `state` is down, up (logged on, the venue still tells what we missed) or settled."""

    name: str
    state: str


class FeedStatus(TypedDict):
    """A feed: messages so far, books that are not whole, messages that no line brought, datagrams that we dropped."""

    name: str
    messages: int
    incomplete: int
    missed: int
    dropped: int


class DropCopyStatus(TypedDict):
    """A drop copy: `state` is down, up (logged on) or refused (for good).

    Executions told, those that both sides have, those that we or the venue lack for longer than the grace time, and
    those that are not compared: of other instruments, or of earlier days.
    """

    name: str
    state: str
    told: int
    matched: int
    we_lack: int
    venue_lacks: int
    not_compared: int


class PositionDifference(TypedDict):
    """A position about which the venue does not agree."""

    instrument: str
    ours: float
    theirs: float


class Recovered(TypedDict):
    """What was made of an earlier journal: `snapshot` inputs were not replayed, and `doubts` says of which strategies
    the memory may not be what it was, and why."""

    inputs: int
    outputs: int
    seconds: float
    unknown: int
    torn_bytes: int
    snapshot: int
    doubts: list[str]


class Status(TypedDict):
    """How a run stands. `state` is running, stopping or stopped; `reason` is empty for a stop that was asked for.

    `trading` is normal, reducing (paused, or after a breach or a difference), flattening or killed.
    """

    state: str
    reason: str
    trading: str
    ts: int
    inputs: int
    outputs: int
    open_orders: int
    unknown_orders: int
    sent: int
    fills: int
    refused: int
    net: float | None
    may_send: bool
    links: list[LinkStatus]
    feeds: list[FeedStatus]
    drop_copies: list[DropCopyStatus]
    differences: list[PositionDifference]
    recovered: Recovered | None


class Done(TypedDict):
    """What a command came to: the number of its input in the journal, or why it was refused."""

    input: int | None
    refused: str


class Note(TypedDict):
    """A line for the log: UTC nanoseconds, DEBUG to ERROR, which station, and what."""

    ts: int
    level: int
    station: str
    text: str


class Driver(Protocol):
    """A live run in the core."""

    def start(self) -> None:
        """Recovers what an earlier journal holds, then connects. Returns when everything runs."""

    def status(self) -> Status:
        """How the run stands."""

    def notes(self) -> list[Note]:
        """What was noted since the last call, at most some thousand lines; how many more were dropped is a note too."""

    def orders(self) -> list[dict[str, Any]]:
        """Every order that may still be working, those of unknown fate among them."""

    def positions(self) -> list[dict[str, Any]]:
        """Every instrument that is held, or was."""

    def command(self, name: str, rule: str = "", value: int = 0) -> Done:
        """An operator's command, as an input of the journal: pause, resume, flatten, kill, limit."""

    def may_send_until(self, deadline_ns: int) -> None:
        """Nothing is sent at or after this moment of CLOCK_MONOTONIC; it can be moved on, from any thread, always."""

    def stop(self, now: bool) -> None:
        """Asks for the end: orderly (orders cancelled if so set, answers awaited, journal closed), or at once."""


class Follower(Protocol):
    """A journal on its way through the engine, as it grows."""

    def follow(self, most: int) -> int:
        """Takes in what is new, at most so many inputs; returns how many."""

    @property
    def inputs(self) -> int:
        """Inputs so far."""


def native(run: LiveRun) -> Driver:
    """The core's driver of a run, that begins or recovers."""
    return _driver(run)


def native_follower(run: LiveRun, journal: Path) -> Follower:
    """The core's follower of a run's journal, its strategies attached: they hear what it follows."""
    with core_errors(run.plan.texts):
        follower: Follower = _of_core("Follower")(run.engine, run.spec(), journal)
        run.plan.attach(follower)
        follower.follow(0)
    return follower


def native_from(run: LiveRun, follower: Follower) -> Driver:
    """The core's driver of a run that goes on where a follower stands. The follower is used up."""
    return _driver(run, follower=follower)


def refuse_another(run: LiveRun, journal: Path) -> None:
    """RunError if the journal is of another engine: it could go on for a while, and would not replay afterwards."""
    from helios import _core

    with core_errors():
        config = _core.live_journal_config(journal, run.description)
    if config is None:
        return
    there, ours = engine_of(config), engine_of(run.description)
    differ = [key for key in ours if there.get(key) != ours[key]]
    if differ:
        names = ", ".join(_CALLED.get(key, key) for key in differ)
        hint = "Go on with the configuration that wrote it, or begin anew in another live.directory."
        raise RunError(f"its journal is of another configuration: {names}", folder=str(journal.parent), hint=hint)


#: Parts of the engine's description, as people call them.
_CALLED: Final = {"nodes": "strategies", "style": "execution", "series": "data series", "rules": "ticks and lots"}


def _driver(run: LiveRun, **warm: Any) -> Driver:
    plan = run.plan
    refuse_another(run, run.settings.directory / JOURNAL_FILE)
    with core_errors(plan.texts):
        driver: Driver = _of_core("Live")(run.engine, plan.venue, run.spec(), config=run.description, **warm)
        if not warm:
            plan.attach(driver)
    return driver


def _of_core(name: str) -> Any:
    from helios import _core

    found = getattr(_core, name, None)
    if found is None:
        raise RunError("this build of the core cannot run live", hint="Build it with the live driver.")
    return found
