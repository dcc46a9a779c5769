"""`helios run`: keeps a live run. Starts the native driver, writes the log, answers operators, stops in an orderly way.

The main thread does all of this, in one loop; packets and orders are on the driver's threads. The first SIGINT or
SIGTERM asks for an orderly stop, the second ends at once. SIGHUP, a terminal that was closed, asks for an orderly stop
too, and never for more; `nohup` is respected. A screen that is gone ends nothing: whoever wants to know reads the log.
Exit codes: 0 stopped as asked, 1 could not start, 3 the run stopped by itself (its reason is the last line), 130 ended
at once.
"""

from __future__ import annotations

import io
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from helios.live.control import Desk, Server
from helios.live.driver import Driver, Status, native
from helios.live.folder import held
from helios.live.log import logging_to, say
from helios.live.plan import LiveRun
from helios.research.backtest import core_errors

if TYPE_CHECKING:
    from rich.live import Live as Display

    from helios.live.lease import Lease, Renewal

STOPPED, BY_ITSELF, AT_ONCE = 0, 3, 130
_LOOP_SECONDS: Final = 0.1
_STATUS_SECONDS: Final = 0.5
#: How long the driver may take to let go when it is told to end at once.
_AT_ONCE_SECONDS: Final = 2.0


class Screen:
    """Where people look, as long as they do: a closed terminal, or a pipe whose reader is gone, ends no run."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out

    def say(self, text: str) -> None:
        """A line."""
        with self._shown() as out:
            print(text, file=out, flush=True)

    @contextmanager
    def status(self) -> Iterator[Callable[[Status], None]]:
        """What keeps a line up to date, where there is a terminal."""
        with ExitStack() as stack:
            show: Callable[[Status], None] | None = None
            with self._shown() as out:
                if out.isatty():
                    show = stack.enter_context(_display(out))

            def shown(status: Status) -> None:
                if show is not None:
                    with self._shown():
                        show(status)

            try:
                yield shown
            finally:
                with self._shown():
                    stack.close()

    @contextmanager
    def _shown(self) -> Iterator[TextIO]:
        out = self._out if self._out is not None else io.StringIO()
        try:
            yield out
        except (OSError, ValueError):
            say("the terminal is gone, or whoever read what is shown: this log goes on", level=logging.WARNING)
            self._out = None
            with suppress(OSError, ValueError):  # else the interpreter would try again, and fail, at its end
                nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
                os.dup2(nothing, out.fileno(), inheritable=False)
                os.close(nothing)


def run(live: LiveRun, *, make: Callable[[LiveRun], Driver] = native, out: TextIO | None = sys.stderr) -> int:
    """Runs until it is stopped; returns the exit code. RunError if it cannot start."""
    settings = live.settings
    with ExitStack() as stack:
        directory = stack.enter_context(held(settings.directory))
        stack.enter_context(logging_to(directory, settings.redaction()))
        say(f"{settings.mode} run of {settings.file}", mode=settings.mode, pid=os.getpid(), plan=shown(live))
        signals = stack.enter_context(caught_signals())
        with told_in_log():
            lease = None
            if settings.standby is not None:
                from helios.live.primary import take

                lease = take(settings.standby, directory, lambda: signals.count > 0, time.monotonic)
                if lease is None:
                    return AT_ONCE
            driver = make(live)
        return keep(live, driver, directory, lease, signals, Screen(out))


@contextmanager
def told_in_log() -> Iterator[None]:
    """What keeps a run from starting is in its log too."""
    try:
        yield
    except BaseException as error:
        say(f"could not start: {error}", level=logging.ERROR)
        raise


def keep(live: LiveRun, driver: Driver, directory: Path, lease: Lease | None, signals: Signals, screen: Screen) -> int:
    """Starts a driver, keeps it until it is over, and lets go of the lease. The exit code."""
    renewal = None
    with ExitStack() as stack:
        if lease is not None:
            from helios.live.primary import begin

            assert live.settings.standby is not None, "the lease is its"
            renewal = begin(lease, live.settings.standby, directory, driver)
        watch = Watch(driver, signals, live.settings.stop_within_ns / 1e9, renewal)
        try:
            with told_in_log(), core_errors(live.plan.texts):
                driver.start()
            with _orderly(watch):
                server = Server(directory, Desk(driver, watch.stop))
                stack.callback(server.close)
                server.selector.register(signals.wake, selectors.EVENT_READ)
                return _loop(watch, server, signals, screen)
        finally:
            # Who waits out the deadline is always right; who is let go at once must know that nothing is sent any more.
            if renewal is not None:
                over = watch.status["state"] == "stopped" and not renewal.lost.is_set()
                renewal.end(release=over, ended=watch.asked and not watch.hand_over)


@contextmanager
def _orderly(watch: Watch) -> Iterator[None]:
    """What fails beside a driver that trades ends the run as an operator would: in order."""
    try:
        yield
    except BaseException as error:
        say(f"failed, and stops in an orderly way: {error}", level=logging.ERROR)
        watch.stop()
        while watch.look() is None:
            time.sleep(_LOOP_SECONDS)
        raise


def _loop(watch: Watch, server: Server, signals: Signals, screen: Screen) -> int:
    code = watch.look()
    recovered = watch.status["recovered"]
    if recovered is not None:
        say(recovered_text(recovered), station="recovery", **recovered)
        screen.say(recovered_text(recovered))
    with screen.status() as show:
        while code is None:
            server.step(_LOOP_SECONDS)
            signals.clear()
            code = watch.look()
            show(watch.status)
    reason = watch.reason or ("ended at once" if code == AT_ONCE else "stopped as asked")
    say(reason, level=logging.INFO if code == STOPPED else logging.ERROR, station="run", code=code)
    screen.say(reason)
    return code


class Watch:
    """Watches the driver: passes its notes to the log, and knows when and how the run is over."""

    def __init__(self, driver: Driver, signals: Signals, stop_within: float, renewal: Renewal | None = None) -> None:
        self._driver = driver
        self._signals = signals
        self._stop_within = stop_within
        self._renewal = renewal
        self._asked_at: float | None = None
        self._at_once_at: float | None = None
        self._lost = False
        #: A standby is to go on with the run.
        self.hand_over = False
        self.status = driver.status()

    @property
    def asked(self) -> bool:
        """Somebody wanted the end."""
        return self._asked_at is not None

    @property
    def reason(self) -> str:
        """Why the run stopped by itself; empty if it was asked to."""
        return "the lease is lost: nothing is sent any more" if self._lost else self.status["reason"]

    def stop(self, hand_over: bool = False) -> None:
        """Asks for an orderly stop, once."""
        if self._asked_at is None:
            self.hand_over = hand_over
            self._asked_at = time.monotonic()
            self._driver.stop(now=False)

    def look(self) -> int | None:
        """The exit code, once the run is over."""
        for note in self._driver.notes():
            say(note["text"], level=note["level"], station=note["station"], ts=note["ts"])
        self.status = self._driver.status()
        if self.status["state"] == "stopped":
            by_itself = self._lost or (self._at_once_at is None and self.reason)
            return BY_ITSELF if by_itself else STOPPED if self._at_once_at is None else AT_ONCE
        if self._signals.count >= 1 and self._asked_at is None:
            say("signal: orderly stop", station="run")
            self.stop()
        self._end_at_once()
        if self._at_once_at is not None and time.monotonic() - self._at_once_at > _AT_ONCE_SECONDS:
            return BY_ITSELF if self._lost else AT_ONCE
        return None

    def _end_at_once(self) -> None:
        """When it is time to: a second signal, a stop that takes too long, a lost lease."""
        overdue = self._asked_at is not None and time.monotonic() - self._asked_at > self._stop_within + 1.0
        self._lost = self._renewal is not None and self._renewal.lost.is_set()
        if self._at_once_at is None and (self._signals.count >= 2 or overdue or self._lost):
            why = "the lease is lost" if self._lost else "the orderly stop took too long"
            why = "signal" if self._signals.count >= 2 else why
            say(f"{why}: end at once", level=logging.WARNING, station="run")
            self._at_once_at = time.monotonic()
            self._driver.stop(now=True)


class Signals:
    """Counts SIGINT and SIGTERM, and the first SIGHUP; `wake` is readable when one came: the loop need not wait."""

    def __init__(self) -> None:
        self.count = 0
        self.wake, self._writer = socket.socketpair()
        self.wake.setblocking(False)
        self._writer.setblocking(False)

    def came(self, number: int, *_: Any) -> None:
        """The handler. A terminal that closes can say so twice."""
        self.count = max(self.count, 1) if number == signal.SIGHUP else self.count + 1
        with suppress(BlockingIOError):  # full: it is readable then
            self._writer.send(b"\0")

    def clear(self) -> None:
        """Reads what woke the loop."""
        try:
            while self.wake.recv(64):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Closes both ends."""
        self.wake.close()
        self._writer.close()


@contextmanager
def caught_signals() -> Iterator[Signals]:
    """Signals that ask for the end are counted while the block lasts; what was ignored before (`nohup`) stays so."""
    signals = Signals()
    wanted = [signal.SIGINT, signal.SIGTERM]
    wanted += [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    before = {number: signal.signal(number, signals.came) for number in wanted}
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
    text += f", {unknown:,} orders of unknown fate" if unknown else ", no order of unknown fate"
    return ". ".join([text, *recovered["doubts"]])


def shown(live: LiveRun) -> dict[str, Any]:
    """A run for the first line of its log."""
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
    differ = len(status["differences"])
    parts += [f"{differ:,} positions differ from the venue's"] if differ else []
    parts += [] if status["may_send"] else ["no lease: nothing is sent"]
    return " · ".join(parts)


@contextmanager
def _display(out: TextIO) -> Iterator[Callable[[Status], None]]:
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
