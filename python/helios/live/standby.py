"""`helios standby`: follows a run's journal, and goes on with the run when its primary is lost.

The journal comes over TCP from the primary (its address is in the lease's table, see helios.live.lease), or is the
primary's own file where both are on one machine. Its inputs run through the same engine, so that the state here is the
primary's, a moment old. At the same time the standby waits for the lease. When it has it: the last bytes of the
journal, then the sessions, as after any restart: what was sent and not answered is unknown until the venue says.

Over TCP a run must have durability = "replica": an order leaves the primary only when its input is here. With another
durability the primary can have sent orders of which this journal knows nothing; that is refused.

An orderly stop of the primary ends the run: there is nothing to take over (`helios ctl stop --hand-over` is for that).
A primary on the same machine that has lost the lease and still holds the folder, because it hangs, is ended by SIGKILL.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO

from helios.errors import ConfigError, HeliosError, RunError
from helios.live.driver import Driver, Follower, native_follower, native_from
from helios.live.folder import JOURNAL_FILE, HeldError, held, holder
from helios.live.lease import Last, Lease
from helios.live.log import logging_to, say
from helios.live.plan import LiveRun
from helios.live.primary import lease_of
from helios.live.run import AT_ONCE, STOPPED, Screen, Signals, caught_signals, keep, told_in_log

LOG_FILE: Final = "standby.jsonl"
_PIECE: Final = 1 << 20
_LOOP_SECONDS: Final = 0.02
_AGAIN_SECONDS: Final = 0.5
_TAKEN_IN_AT_ONCE: Final = 200_000
_FENCE_SECONDS: Final = 1.0


def standby(
    live: LiveRun,
    *,
    follow: Callable[[LiveRun, Path], Follower] = native_follower,
    make: Callable[[LiveRun, Follower], Driver] = native_from,
    out: TextIO | None = sys.stderr,
) -> int:
    """Follows, and takes over; returns the exit code, that of `helios run` after a takeover."""
    settings = live.settings
    if settings.standby is None:
        raise ConfigError("a standby needs a table [standby]", file=str(settings.file), key="standby")
    over_tcp = settings.standby.journal is not None
    if over_tcp and settings.durability != "replica":
        hint = 'Or leave standby.journal out, where both are on one machine and "process" is enough.'
        message = 'a standby that gets the journal over TCP needs durability = "replica"'
        raise ConfigError(message, file=str(settings.file), key="live.durability", hint=hint)
    with ExitStack() as stack:
        # Over TCP the folder is this process's from the start, else it is the primary's until that is over.
        if over_tcp:
            stack.enter_context(held(settings.directory))
        elif not settings.directory.is_dir():
            raise RunError("there is no run to follow", folder=str(settings.directory))
        signals, screen = stack.enter_context(caught_signals()), Screen(out)
        with logging_to(settings.directory, settings.redaction(), LOG_FILE), told_in_log():
            say(f"standby of {settings.file}", pid=os.getpid())
            watcher = _Standby(live, follow, signals, screen)
            try:
                waiter = watcher.wait()
                if waiter is None:
                    return AT_ONCE if signals.count else STOPPED
                if not over_tcp:
                    stack.enter_context(_taken_folder(settings.directory))
                follower = watcher.caught_up()
            finally:
                watcher.close()
        stack.enter_context(logging_to(settings.directory, settings.redaction()))
        say("takeover", station="standby", inputs=follower.inputs)
        with told_in_log():
            driver = make(live, follower)
            lease = waiter.hand_on()
        return keep(live, driver, settings.directory, lease, signals, screen)


class _Standby:
    """Until the lease is ours."""

    def __init__(
        self, live: LiveRun, follow: Callable[[LiveRun, Path], Follower], signals: Signals, screen: Screen
    ) -> None:
        assert live.settings.standby is not None
        self._live = live
        self._follow = follow
        self._signals = signals
        self._screen = screen
        self._journal = live.settings.directory / JOURNAL_FILE
        self._follower: Follower | None = None
        self._looker = lease_of(live.settings.standby)
        self._copy = None if live.settings.standby.journal is None else Copy(self._journal, self._looker)
        self._waiter: _Waiter | None = None

    def wait(self) -> _Waiter | None:
        """Who keeps the lease, once it is ours and this journal is the newest; None if there is nothing to do."""
        while not self._signals.count:
            self._signals.clear()
            moved = self._take_in()
            if self._waiter is None and self._ready():
                self._say(f"follows {self._journal}: {self._inputs():,} inputs")
                assert self._live.settings.standby is not None
                self._waiter = _Waiter(lease_of(self._live.settings.standby), lambda: self._signals.count > 0)
            if self._waiter is not None and self._waiter.done.is_set():
                return self._waiter if self._may(self._waiter) else None
            if not moved and self._copy is None:
                time.sleep(_LOOP_SECONDS)
        return None

    def caught_up(self) -> Follower:
        """The follower, with all that the journal holds."""
        if self._copy is not None:
            self._copy.drain()
        while self._take_in():
            pass
        if self._follower is None:
            raise RunError("there is no journal to go on with", folder=str(self._live.settings.directory))
        self._say(f"takes over after {self._inputs():,} inputs")
        return self._follower

    def close(self) -> None:
        """Lets go of connections; the lease stays with who waits for it."""
        if self._copy is not None:
            self._copy.close()
        self._looker.release()

    def _take_in(self) -> bool:
        """What is new of the journal, in bounded pieces; true when there was anything."""
        copied = self._copy is not None and self._copy.step(_LOOP_SECONDS)
        if self._follower is None and self._journal.exists() and self._journal.stat().st_size:
            self._follower = self._follow(self._live, self._journal)
        taken = 0 if self._follower is None else self._follower.follow(_TAKEN_IN_AT_ONCE)
        return copied or taken > 0

    def _inputs(self) -> int:
        return 0 if self._follower is None else self._follower.inputs

    def _ready(self) -> bool:
        """Whether there is a primary that is followed."""
        if self._copy is not None:
            return self._copy.epoch is not None and self._follower is not None
        last = self._looker.look() if self._follower is not None else None
        return last is not None and last.began > 0

    def _may(self, waiter: _Waiter) -> bool:
        """Whether it is for us to go on: the run is not over, and nobody else was primary in between."""
        last = waiter.last
        over = last is not None and last.state == "ended"
        newest = self._copy is None or (last is not None and self._copy.epoch == last.began)
        if not over and newest:
            return True
        lease = waiter.hand_on()
        if lease is None or last is None:
            return False
        lease.release(ended=over)
        if over:
            self._say("the primary has ended the run in an orderly way: there is nothing to take over")
            return False
        raise RunError(f"another process was primary since: {last.holder}", folder=str(self._journal.parent))

    def _say(self, text: str) -> None:
        say(text, station="standby")
        self._screen.say(text)


class _Waiter:
    """Waits for the lease in a thread, and keeps it from the moment it is ours until it is handed on."""

    def __init__(self, lease: Lease, given_up: Callable[[], bool]) -> None:
        self._lease = lease
        self._given_up = given_up
        self._error: HeliosError | None = None
        self._handed_on = threading.Event()
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="helios-standby", daemon=True)
        self._thread.start()

    @property
    def last(self) -> Last | None:
        """Who was holder before us."""
        return self._lease.last

    def _run(self) -> None:
        try:
            claim = self._lease.acquire(self._given_up)
            self.done.set()
            while claim is not None and not self._handed_on.wait(self._lease.heartbeat_s):
                self._lease.renew()
        except HeliosError as error:
            self._error = error
        self.done.set()

    def hand_on(self) -> Lease | None:
        """The lease, from now on the caller's to keep; None if it was given up."""
        self._handed_on.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return None if self._lease.claim is None else self._lease


class Copy:
    """The primary's journal, byte by byte over TCP into a file of ours. See edge/live/src/journal/replica.rs."""

    def __init__(self, path: Path, looker: Lease) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._looker = looker
        self._socket: socket.socket | None = None
        self._again_at = 0.0
        self._said = ""
        #: The epoch of the primary whose journal this is; None before there was one.
        self.epoch: int | None = None

    def step(self, seconds: float) -> bool:
        """Copies what comes within a time; true when something came."""
        if self._socket is None and not self._connect():
            time.sleep(seconds)
            return False
        assert self._socket is not None
        ready, _, _ = select.select([self._socket], [], [], seconds)
        return bool(ready) and self._copy()

    def drain(self) -> None:
        """What is still in the connection. The old primary sends no orders any more, so nothing later matters."""
        while self._socket is not None and select.select([self._socket], [], [], 0)[0] and self._copy():
            pass

    def close(self) -> None:
        """Closes connection and file."""
        if self._socket is not None:
            self._socket.close()
        os.close(self._file)

    def _copy(self) -> bool:
        assert self._socket is not None
        try:
            piece = self._socket.recv(_PIECE)
            if piece:
                self._keep(piece)
                return True
            why = "it closed the connection"
        except BlockingIOError:
            return False
        except OSError as error:
            why = error.strerror or str(error)
        self._complain(f"the primary's journal: {why}")
        self._socket.close()
        self._socket = None
        self._again_at = time.monotonic() + _AGAIN_SECONDS
        return False

    def _keep(self, piece: bytes) -> None:
        """Writes, then acknowledges: what is acknowledged survives this process."""
        view = memoryview(piece)
        while view:
            view = view[os.write(self._file, view) :]
        assert self._socket is not None
        with suppress(BlockingIOError):  # it will be said with the next piece
            self._socket.send(os.fstat(self._file).st_size.to_bytes(8, "little"))

    def _connect(self) -> bool:
        if time.monotonic() < self._again_at:
            return False
        self._again_at = time.monotonic() + _AGAIN_SECONDS
        before = self._looker.look()
        if before is None or not before.journal:
            self._complain("waits for a primary")
            return False
        host, _, port = before.journal.rpartition(":")
        try:
            connection = socket.create_connection((host, int(port)), timeout=1.0)
        except (OSError, ValueError) as error:
            self._complain(f"the primary's journal at {before.journal}: {error}")
            return False
        # Nobody else began in between: so it is that primary's.
        if not _same(before, self._looker.look()):
            connection.close()
            return False
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(os.fstat(self._file).st_size.to_bytes(8, "little"))
        connection.setblocking(False)
        self._socket, self.epoch, self._said = connection, before.began, ""
        say(f"follows the primary at {before.journal}", station="standby", epoch=before.began)
        return True

    def _complain(self, text: str) -> None:
        if text != self._said:
            self._said = text
            say(text, level=logging.WARNING, station="standby")


def _same(one: Last, other: Last | None) -> bool:
    return other is not None and (one.began, one.journal) == (other.began, other.journal)


@contextmanager
def _taken_folder(directory: Path) -> Iterator[None]:
    """The folder of a primary that has lost the lease; one that still has it hangs, and is ended."""
    end = time.monotonic() + _FENCE_SECONDS
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(held(directory))
                break
            except HeldError:
                if time.monotonic() > end:
                    _end_process(directory)
                    end = time.monotonic() + _FENCE_SECONDS
                time.sleep(_LOOP_SECONDS)
        yield


def _end_process(directory: Path) -> None:
    process = holder(directory)
    if process is None or process in (0, 1, os.getpid()):
        raise RunError("another process holds the folder and cannot be told", folder=str(directory))
    say(f"process {process} has lost the lease and holds the folder: it is ended", level=logging.WARNING)
    try:
        descriptor = os.pidfd_open(process)
    except OSError as error:
        if error.errno == errno.ESRCH:
            return
        raise RunError(f"cannot end process {process}: {error.strerror}", folder=str(directory)) from None
    try:
        # The number is that process's as long as its lock file says so and the lock is held.
        if holder(directory) == process:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except PermissionError:
        raise RunError(f"process {process} belongs to somebody else", folder=str(directory)) from None
    finally:
        os.close(descriptor)
