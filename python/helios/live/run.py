"""`helios run`: keeps a live run. Starts the native driver, writes the log, answers operators, stops in an orderly way.

The main thread does all of this, in one loop; packets and orders are on the driver's threads. The first SIGINT or
SIGTERM asks for an orderly stop, the second ends at once. Exit codes: 0 stopped as asked, 1 could not start, 3 the run
stopped by itself (its reason is the last line), 130 ended at once.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

from helios.live.control import Desk, Server
from helios.live.driver import Driver, Status, native
from helios.live.folder import held
from helios.live.log import logging_to, say
from helios.live.plan import LiveRun

if TYPE_CHECKING:
    from rich.live import Live as Display

STOPPED, BY_ITSELF, AT_ONCE = 0, 3, 130
_LOOP_SECONDS: Final = 0.1
_STATUS_SECONDS: Final = 0.5
#: How long the driver may take to let go when it is told to end at once.
_AT_ONCE_SECONDS: Final = 2.0


def run(live: LiveRun, *, make: Callable[[LiveRun], Driver] = native, out: TextIO = sys.stderr) -> int:
    """Runs until it is stopped; returns the exit code. RunError if it cannot start."""
    settings = live.settings
    with ExitStack() as stack:
        directory = stack.enter_context(held(settings.directory))
        stack.enter_context(logging_to(directory, settings.redaction()))
        say(f"{settings.mode} run of {settings.file}", mode=settings.mode, pid=os.getpid(), plan=_shown(live))
        try:
            driver = make(live)
            signals = stack.enter_context(_signals())
            driver.start()
        except BaseException as error:
            say(f"could not start: {error}", level=logging.ERROR)
            raise
        return _keep(driver, directory, signals, stack, settings.stop_within_ns / 1e9, out)


def _keep(driver: Driver, directory: Any, signals: _Signals, stack: ExitStack, stop_within: float, out: TextIO) -> int:
    keeper = Keeper(driver, signals, stop_within)
    server = Server(directory, Desk(driver, keeper.stop))
    stack.callback(server.close)
    server.selector.register(signals.wake, 1)
    recovered = driver.status()["recovered"]
    if recovered is not None:
        told = recovered_text(recovered)
        say(told, station="recovery", **recovered)
        print(told, file=out)
    with _display(out) as show:
        while (code := keeper.look()) is None:
            server.step(_LOOP_SECONDS)
            signals.clear()
            show(keeper.status)
    reason = keeper.status["reason"] or ("ended at once" if code == AT_ONCE else "stopped as asked")
    say(reason, level=logging.INFO if code == STOPPED else logging.ERROR, station="run", code=code)
    print(reason, file=out)
    return code


class Keeper:
    """Watches the driver: passes its notes to the log, and knows when and how the run is over."""

    def __init__(self, driver: Driver, signals: _Signals, stop_within: float) -> None:
        self._driver = driver
        self._signals = signals
        self._stop_within = stop_within
        self._asked_at: float | None = None
        self._at_once_at: float | None = None
        self.status = driver.status()

    def stop(self) -> None:
        """Asks for an orderly stop, once."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._driver.stop(now=False)

    def look(self) -> int | None:
        """The exit code, once the run is over."""
        for note in self._driver.notes():
            say(note["text"], level=note["level"], station=note["station"], ts=note["ts"])
        self.status = self._driver.status()
        if self.status["state"] == "stopped":
            return STOPPED if self._at_once_at is None and not self.status["reason"] else self._failed()
        if self._signals.count >= 1 and self._asked_at is None:
            say("signal: orderly stop", station="run")
            self.stop()
        overdue = self._asked_at is not None and time.monotonic() - self._asked_at > self._stop_within + 1.0
        if (self._signals.count >= 2 or overdue) and self._at_once_at is None:
            why = "signal" if self._signals.count >= 2 else "the orderly stop took too long"
            say(f"{why}: end at once", level=logging.WARNING, station="run")
            self._at_once_at = time.monotonic()
            self._driver.stop(now=True)
        if self._at_once_at is not None and time.monotonic() - self._at_once_at > _AT_ONCE_SECONDS:
            return AT_ONCE
        return None

    def _failed(self) -> int:
        return AT_ONCE if self._at_once_at is not None else BY_ITSELF


class _Signals:
    """Counts SIGINT and SIGTERM; `wake` is readable when one came, so that the loop need not wait."""

    def __init__(self) -> None:
        self.count = 0
        self.wake, self._writer = socket.socketpair()
        self.wake.setblocking(False)
        self._writer.setblocking(False)

    def came(self, *_: Any) -> None:
        self.count += 1
        with_room = b"\0"
        try:
            self._writer.send(with_room)
        except BlockingIOError:
            return

    def clear(self) -> None:
        try:
            while self.wake.recv(64):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        self.wake.close()
        self._writer.close()


@contextmanager
def _signals() -> Iterator[_Signals]:
    signals = _Signals()
    before = {number: signal.signal(number, signals.came) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signals.close()


def recovered_text(recovered: Any) -> str:
    """What recovery found, in a line."""
    text = f"recovered {recovered['inputs']:,} inputs in {recovered['seconds']:.2f} s"
    if recovered["torn_bytes"]:
        text += f", {recovered['torn_bytes']:,} bytes of a torn end cut off"
    unknown = recovered["unknown"]
    return f"{text}, {unknown:,} orders of unknown fate" if unknown else f"{text}, no order of unknown fate"


def _shown(live: LiveRun) -> dict[str, Any]:
    plan = live.plan
    return {
        "strategies": len(plan.strategies),
        "instruments": len(plan.symbols),
        "limits": {name: getattr(plan.limits, name) for name, _ in plan.limits.rows()},
        **live.settings.described(),
    }


def status_line(status: Status) -> str:
    """The run in one line."""
    links = " ".join(f"{link['name']} {link['state']}" for link in status["links"]) or "no sessions"
    parts = [
        status["state"] if status["state"] != "running" else status["trading"],
        links,
        f"{status['inputs']:,} inputs",
        f"{status['sent']:,} sent",
        f"{status['fills']:,} fills",
        f"{status['open_orders']:,} open",
    ]
    if status["net"] is not None:
        parts.append(f"net {status['net']:,.2f}")
    bad = sum(feed["incomplete"] for feed in status["feeds"])
    parts += [f"{bad:,} books incomplete"] if bad else []
    parts += [f"{status['unknown_orders']:,} orders unknown"] if status["unknown_orders"] else []
    parts += [] if status["may_send"] else ["no lease: nothing is sent"]
    return " · ".join(parts)


@contextmanager
def _display(out: TextIO) -> Iterator[Callable[[Status], None]]:
    """A line that is kept up to date, where there is a terminal."""
    if not out.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(Text(""), console=Console(file=out), auto_refresh=False, transient=True) as display:
        yield _refresher(display, Text)


def _refresher(display: Display, text: Callable[..., Any]) -> Callable[[Status], None]:
    shown_at = 0.0

    def show(status: Status) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at >= _STATUS_SECONDS:
            shown_at = time.monotonic()
            display.update(text(status_line(status), no_wrap=True, overflow="ellipsis"), refresh=True)

    return show
