"""Who may send orders: a lease, so that two primaries are impossible. Held in PostgreSQL, as an advisory lock.

A session that has the advisory lock of the lease's name is its holder. A lock alone is not enough: the server can give
it to another the moment our session ends (a cut connection, an administrator, a restart of the server), and we would
only learn of it with the next heartbeat. So the holder also has a deadline, and a new holder waits:

* Every heartbeat (five to a validity) asks the server, in the session of the lock, whether the lock is still there. The
  deadline is the moment *before that question was sent* plus the validity V. Past the deadline the engine sends nothing
  (`Driver.may_send_until`); nobody needs to tell it to stop.
* A new holder first waits V, from the moment at which it *learnt* that it has the lock. The old holder's last heartbeat
  was answered before the lock changed hands, so it was sent before; so the old deadline is over when the wait is. This
  does not depend on why the lock was let go, nor on when: only on both processors' monotonic clocks running at the same
  speed within `_DRIFT`. Tables in the server tell whether the wait can be left out (nobody was holder in between, or
  the old holder let go after its last order).
* A primary that hangs, or whose machine or network is gone, ends no session. The session's `idle_session_timeout`, V,
  does: no heartbeat for so long, and the server ends it and frees the lock. TCP keepalives would not help with a hung
  process, whose kernel answers them. `tcp_user_timeout` lets our side notice a dead server within V.
* Each change of holder has a number, the epoch, kept in a table. A holder that lost its session, and gets the lock back
  before its deadline with the epoch unchanged, goes on; if the epoch changed, it is over.
* The table also says whose journal is the newest: the epoch in which a holder last began to trade (`began`), and where
  it serves its journal. Who takes over must have followed that one; who comes back with an older journal is refused.

So at any moment at most one process is before its deadline. What a lease cannot do: a thread can be stopped between
looking at its clock and the system call that sends, for however long. The venue closes that window: a session's user is
logged on once, and the new primary's login ends the old connection.

Assumes: one PostgreSQL (14 or newer) that is asked directly. A pooler, a standby server and a server that has forgotten
the table's last commit (restored from a backup, failed over without it) would break the lock; the first two are
refused. After a failover of PostgreSQL, stop all primaries before any is started. CLOCK_MONOTONIC stands still while a
machine is suspended: servers that trade are not. Name the server by `hostaddr`: looking a name up has no deadline.
"""

from __future__ import annotations

import hashlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from helios.errors import HeliosError, RunError
from helios.live.log import say
from helios.live.secrets import Redaction, Secret

_HEARTBEATS: Final = 5
_LOOK_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 0.2
#: Clocks that NTP slews differ by less; and what a sleeping thread may be woken early.
_DRIFT: Final = 0.002
_EARLY_NS: Final = 2_000_000
_CONNECT_SECONDS: Final = 3.0

_PREPARE: Final = """
SET idle_session_timeout = {v};
SET statement_timeout = {v};
SET tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 2;
SET synchronous_commit = on
"""
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS helios_lease (name text PRIMARY KEY, epoch bigint NOT NULL, state text NOT NULL,
    holder text NOT NULL, since timestamptz NOT NULL, began bigint NOT NULL DEFAULT 0, journal text NOT NULL DEFAULT '')
"""
_WHO: Final = "SELECT pg_backend_pid(), pg_is_in_recovery(), current_setting('server_version_num')::int"
_TRY: Final = "SELECT pg_try_advisory_lock($1::bigint)"
_LAST: Final = "SELECT epoch, state, began, journal, holder FROM helios_lease WHERE name = $1"
_TAKE: Final = """
INSERT INTO helios_lease (name, epoch, state, holder, since) VALUES ($1, 1, 'held', $2, now())
ON CONFLICT (name) DO UPDATE SET epoch = helios_lease.epoch + 1, state = 'held', holder = $2, since = now()
RETURNING epoch
"""
# Whether this very session still has the lock.
_STILL: Final = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted AND objsubid = 1
AND classid = (($1::bigint >> 32) & 4294967295)::oid AND objid = ($1::bigint & 4294967295)::oid
"""
_BEGIN: Final = "UPDATE helios_lease SET began = epoch, journal = $3 WHERE name = $1 AND epoch = $2::bigint RETURNING 1"
_FREE: Final = "UPDATE helios_lease SET state = $3 WHERE name = $1 AND epoch = $2::bigint"


class LeaseError(HeliosError):
    """The lease's server cannot be used as it is: what is wrong will not go away by waiting."""


class _Lost(Exception):
    """The connection to the server is gone, or its answer is late."""


@dataclass(frozen=True)
class Claim:
    """The lease is ours from one moment of CLOCK_MONOTONIC to another, in ns."""

    epoch: int
    begin_ns: int
    until_ns: int


@dataclass(frozen=True)
class Last:
    """What the table says: the latest holder, and the latest that began to trade (0: none yet).

    `state` is held, free (it let go, another may go on) or ended (it let go, and its run is over).
    """

    epoch: int
    state: str
    began: int
    journal: str
    holder: str


class Lease:
    """A lease of a name. Use it from one thread; `keep` is that of a holder."""

    def __init__(
        self, server: Secret, name: str, validity_ns: int, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.name = name
        self.validity_ns = validity_ns
        self.heartbeat_s = validity_ns / 1e9 / _HEARTBEATS
        self.claim: Claim | None = None
        #: As it was found when the lease was taken.
        self.last: Last | None = None
        self._server = server
        self._clock = clock
        self._key = str(
            int.from_bytes(hashlib.sha256(f"helios lease {name}".encode()).digest()[:8], "big", signed=True)
        )
        self._holder = f"{socket.gethostname()} {os.getpid()}"
        self._link: _Link | None = None
        #: The last complaint: the same one is not repeated at each attempt.
        self._said = ""

    def acquire(self, give_up: Callable[[], bool] = lambda: False) -> Claim | None:
        """Waits until the lease is ours and nobody else's deadline can be ahead; None if it was given up.

        A server that is away is waited for. LeaseError if it can never do.
        """
        while not give_up():
            try:
                self._connect()
                claim = self._take(give_up)
            except _Lost as lost:
                self._drop(f"the lease's server: {lost}")
                time.sleep(_RETRY_SECONDS)
                continue
            if claim is not None:
                say("lease taken", station="lease", epoch=claim.epoch, lease=self.name)
                return claim
        self._drop("")
        return None

    def renew(self) -> Claim | None:
        """One heartbeat: the claim moved on, or None if that was not to be had. Once None, it may still be had before
        the claim's deadline.
        """
        assert self.claim is not None, "acquired"
        try:
            if self._link is None:
                self._connect()
                if not self._again():
                    return None
            sent_ns = self._clock()
            if self._ask(_STILL, self._key) != [("1",)]:
                raise _Lost("the lock is no longer ours")
        except _Lost as lost:
            self._drop(f"heartbeat: {lost}")
            return None
        self.claim = Claim(self.claim.epoch, self.claim.begin_ns, sent_ns + self.validity_ns)
        return self.claim

    def begin(self, journal: str) -> None:
        """Says that the holder begins to trade, and where it serves its journal. RunError if that cannot be said."""
        assert self.claim is not None, "acquired"
        try:
            if self._ask(_BEGIN, self.name, str(self.claim.epoch), journal):
                return
            why = "another process was primary since"
        except _Lost as lost:
            why = str(lost)
        self._drop("")
        raise RunError(f"the lease was lost at once: {why}")

    def look(self) -> Last | None:
        """What the table says now; None if there was no holder yet, or the server does not answer."""
        try:
            self._connect()
            return self._last()
        except _Lost as lost:
            self._drop(f"the lease's server: {lost}")
        except _Refused as refused:
            if refused.code != "42P01":  # no table: no holder yet
                raise
        return None

    def release(self, *, ended: bool = False) -> None:
        """Lets go. To be called when nothing is sent any more: the next holder need not wait. `ended`: nobody is to go
        on with this run.
        """
        claim, self.claim = self.claim, None
        if claim is not None and self._link is not None:
            with suppress(_Lost, LeaseError):  # then the next one waits, which is always right
                self._ask(_FREE, self.name, str(claim.epoch), "ended" if ended else "free")
        self._drop("")

    def keep(self, renewed: Callable[[int], None]) -> Renewal:
        """Renews the claim in a thread, and tells each new deadline."""
        return Renewal(self, renewed)

    # --- Steps -------------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._link is not None:
            return
        self._link = _Link(self._server, self.validity_ns)
        ((pid, recovery, version),) = self._ask(_WHO)
        if int(version or 0) < 140_000:
            raise LeaseError(f"the lease needs PostgreSQL 14 or newer, the server is {version}")
        if pid != str(self._link.pid):
            raise LeaseError("the lease's server is behind a connection pooler: name the server itself")
        if recovery != "f":
            raise LeaseError("the lease's server is a standby, which has locks of its own: name the primary")
        milliseconds = max(self.validity_ns // 1_000_000, 1)
        self._ask(_PREPARE.format(v=milliseconds))

    def _take(self, give_up: Callable[[], bool]) -> Claim | None:
        try:
            self._ask(_TABLE)
        except _Refused as refused:
            if refused.code not in ("23505", "42P07"):  # two made it at once
                raise
        while self._ask(_TRY, self._key) != [("t",)]:
            if give_up():
                return None
            time.sleep(_LOOK_SECONDS)
        learnt_ns = self._clock()
        self.last = self._last()
        ((epoch,),) = self._ask(_TAKE, self.name, self._holder)
        alone = self.last is None or self.last.state != "held"
        begin_ns = learnt_ns if alone else learnt_ns + int(self.validity_ns * (1.0 + _DRIFT)) + _EARLY_NS
        self.claim = Claim(int(epoch or 0), begin_ns, learnt_ns)
        while True:
            if self.renew() is None:
                raise _Lost("lost while waiting for the last holder's deadline")
            rest = (begin_ns - self._clock()) / 1e9
            if rest <= 0:
                return self.claim
            if give_up():
                return None
            time.sleep(min(rest, self.heartbeat_s))

    def _again(self) -> bool:
        """After a lost session: the lock is ours again, and nobody else was holder since."""
        assert self.claim is not None
        if self._ask(_TRY, self._key) != [("t",)]:
            self._drop("")
            return False
        last = self._last()
        if last is not None and (last.epoch, last.state) == (self.claim.epoch, "held"):
            return True
        self._drop("another process was primary since")
        return False

    def _last(self) -> Last | None:
        rows = self._ask(_LAST, self.name)
        if not rows:
            return None
        epoch, state, began, journal, holder = (cell or "" for cell in rows[0])
        return Last(int(epoch), state, int(began), journal, holder)

    def _ask(self, query: str, *values: str) -> list[tuple[str | None, ...]]:
        assert self._link is not None
        return self._link.ask(query, values)

    def _drop(self, why: str) -> None:
        if why and why != self._said:
            self._said = why
            say(Redaction([self._server])(why), level=logging.WARNING, station="lease", lease=self.name)
        link, self._link = self._link, None
        if link is not None:
            link.close()


class Renewal:
    """Renews a lease in a thread of its own, so that nothing else that Python does delays a heartbeat for long."""

    def __init__(self, lease: Lease, renewed: Callable[[int], None]) -> None:
        assert lease.claim is not None, "acquired"
        self._lease = lease
        self._renewed = renewed
        self._over = threading.Event()
        self.lost = threading.Event()
        renewed(lease.claim.until_ns)
        self._thread = threading.Thread(target=self._run, name="helios-lease", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        lease = self._lease
        while not self._over.wait(lease.heartbeat_s):
            try:
                claim = lease.renew()
            except HeliosError as error:
                say(f"lease: {error}", level=logging.ERROR, station="lease")
                claim = None
            if claim is not None:
                self._renewed(claim.until_ns)
            elif lease.claim is None or lease.claim.until_ns <= time.monotonic_ns():
                say("the lease is lost", level=logging.ERROR, station="lease", lease=lease.name)
                self.lost.set()
                return

    def end(self, *, release: bool, ended: bool = False) -> None:
        """Ends the thread; `release` (see there) if nothing is sent any more."""
        self._over.set()
        self._thread.join(self._lease.validity_ns / 1e9 + _CONNECT_SECONDS + 1.0)
        if release and not self._thread.is_alive():
            self._lease.release(ended=ended)


# --- The connection --------------------------------------------------------------------------------------------------


class _Refused(LeaseError):
    """The server refused a query."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


#: Classes of errors after which a new connection may do: broken connection, shutdown, too many, operator.
_PASSING: Final = ("08", "53", "57", "58")


class _Link:
    """A connection of which every step has a deadline: libpq's own blocking calls have none."""

    def __init__(self, server: Secret, validity_ns: int) -> None:
        self._pq, self._error = _libpq()
        self._seconds = validity_ns / 1e9
        text = server.reveal()
        if "://" not in text:  # a URI carries its own settings
            limit = max(validity_ns // 1_000_000, 1)
            text = f"application_name='helios lease' keepalives_idle=1 tcp_user_timeout={limit} {text}"
        try:
            self._pg = self._pq.PGconn.connect_start(text.encode())
            self._connect(time.monotonic() + _CONNECT_SECONDS)
        except self._error as error:
            raise _Lost(_line(error)) from None

    @property
    def pid(self) -> int:
        """The server's process for us, as it said when we connected."""
        return int(self._pg.backend_pid)

    def ask(self, query: str, values: tuple[str, ...]) -> list[tuple[str | None, ...]]:
        """The rows of the last result."""
        try:
            return self._answer(query, values, time.monotonic() + self._seconds)
        except self._error as error:
            raise _Lost(_line(error)) from None

    def close(self) -> None:
        """Closes the socket; the server frees our locks when it sees that."""
        self._pg.finish()

    def _connect(self, end: float) -> None:
        polling = self._pq.PollingStatus
        asked = polling.WRITING  # so libpq wants it to begin
        while self._pg.status != self._pq.ConnStatus.BAD and asked not in (polling.OK, polling.FAILED):
            self._wait(end, write=asked == polling.WRITING)
            asked = self._pg.connect_poll()
        if asked != polling.OK:
            raise _Lost(_line((self._pg.error_message or b"cannot connect").decode(errors="replace")))
        self._pg.nonblocking = 1

    def _answer(self, query: str, values: tuple[str, ...], end: float) -> list[tuple[str | None, ...]]:
        if values:
            self._pg.send_query_params(query.encode(), [value.encode() for value in values])
        else:
            self._pg.send_query(query.encode())
        while self._pg.flush():
            self._wait(end, write=True)
        last = None
        while (result := self._result(end)) is not None:
            self._check(result)
            last = result
        if last is None:
            raise _Lost("no answer")
        return [tuple(_text(last.get_value(row, n)) for n in range(last.nfields)) for row in range(last.ntuples)]

    def _result(self, end: float) -> Any:
        while self._pg.is_busy():
            self._wait(end, write=False)
            self._pg.consume_input()
        return self._pg.get_result()

    def _wait(self, end: float, *, write: bool) -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise _Lost("no answer in time")
        place = [self._pg.socket]
        select.select([] if write else place, place if write else [], [], left)

    def _check(self, result: Any) -> None:
        status = self._pq.ExecStatus
        if result.status in (status.TUPLES_OK, status.COMMAND_OK, status.EMPTY_QUERY):
            return
        code = (result.error_field(self._pq.DiagnosticField.SQLSTATE) or b"").decode()
        message = _line((result.error_message or b"").decode(errors="replace"))
        if not code or code[:2] in _PASSING:
            raise _Lost(message or "the connection is gone")
        raise _Refused(f"the lease's server refuses: {message}", code)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _line(message: object) -> str:
    return " ".join(str(message).split())


def _libpq() -> tuple[Any, type[Exception]]:
    try:
        import psycopg
        from psycopg import pq
    except ImportError as error:
        hint = "Install it with `pip install 'helios[standby]'`."
        raise RunError("a lease needs psycopg, which is not installed", hint=hint) from error
    return pq, psycopg.Error
