"""The lease of a hot standby, against a real PostgreSQL: never two holders, whatever happens, and always one soon."""

from __future__ import annotations

import itertools
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("psycopg", reason="needs the extra helios[standby]")

from helios.live import lease as lease_module
from helios.live.lease import Lease, LeaseError
from helios.live.secrets import Secret
from postgres import Server, server

V = 250_000_000
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    with server() as made:
        yield made


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name} {time.monotonic_ns()}"


def lease(database: Server, name: str, validity_ns: int = V) -> Lease:
    return Lease(Secret(database.dsn), name, validity_ns)


def lock_owner(database: Server) -> int:
    return int(database.sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted LIMIT 1") or 0)


# --- One process -----------------------------------------------------------------------------------------------------


def test_the_first_holder_need_not_wait(database: Server, name: str) -> None:
    one = lease(database, name)
    before = time.monotonic_ns()
    claim = one.acquire()
    assert claim is not None
    assert claim.epoch == 1
    assert before <= claim.begin_ns <= time.monotonic_ns() < claim.until_ns <= time.monotonic_ns() + V
    one.release()


def test_a_heartbeat_moves_the_deadline_by_when_it_was_sent(database: Server, name: str) -> None:
    one = lease(database, name)
    first = one.acquire()
    before = time.monotonic_ns()
    second = one.renew()
    after = time.monotonic_ns()
    assert first is not None and second is not None
    assert before + V <= second.until_ns <= after + V
    assert second.until_ns - V < after
    assert (second.epoch, second.begin_ns) == (first.epoch, first.begin_ns)
    one.release()


def test_only_one_has_it_and_the_next_waits_out_the_deadline(database: Server, name: str) -> None:
    one, two = lease(database, name), lease(database, name)
    assert one.acquire() is not None
    tries = itertools.count()
    assert two.acquire(lambda: next(tries) > 3) is None, "it is held"
    last = one.renew()
    assert last is not None
    # The session ends without a word: only its connection is closed.
    assert one._link is not None
    one._link.close()
    claim = two.acquire()
    assert claim is not None
    assert claim.epoch == 2
    assert claim.begin_ns >= last.until_ns, "the old deadline is over"
    two.release()


def test_after_an_orderly_release_nobody_waits(database: Server, name: str) -> None:
    one, two = lease(database, name, 30_000_000_000), lease(database, name, 30_000_000_000)
    assert one.acquire() is not None
    one.release()
    begun = time.monotonic()
    claim = two.acquire()
    assert claim is not None and claim.epoch == 2
    assert time.monotonic() - begun < 5
    two.release()


def test_names_are_different_leases(database: Server, name: str) -> None:
    one, two = lease(database, name), lease(database, name + " other")
    assert one.acquire() is not None
    assert two.acquire() is not None
    one.release()
    two.release()


def test_a_lock_let_go_behind_our_back_is_noticed(database: Server, name: str) -> None:
    one = lease(database, name)
    assert one.acquire() is not None
    one._ask("SELECT pg_advisory_unlock_all()")
    assert one.renew() is None
    again = one.renew()
    assert again is not None and again.epoch == 1, "nobody was holder in between"
    one.release()


def test_a_terminated_session_is_had_again_if_nobody_was_faster(database: Server, name: str) -> None:
    one = lease(database, name, 5_000_000_000)
    first = one.acquire()
    assert first is not None
    database.sql(f"SELECT pg_terminate_backend({lock_owner(database)})")
    assert one.renew() is None
    again = one.renew()
    assert again is not None
    assert (again.epoch, again.begin_ns) == (first.epoch, first.begin_ns)
    assert again.until_ns > first.until_ns
    one.release()


def test_who_was_overtaken_does_not_come_back(database: Server, name: str) -> None:
    one, two = lease(database, name), lease(database, name)
    assert one.acquire() is not None
    database.sql(f"SELECT pg_terminate_backend({lock_owner(database)})")
    assert two.acquire() is not None
    assert one.renew() is None
    two.release()
    assert one.renew() is None, "the lock is free, but the epoch is another"
    assert one.renew() is None


def test_a_holder_that_hangs_loses_it(database: Server, name: str) -> None:
    """Its connection stays up: only the server's idle timeout helps."""
    one, two = lease(database, name), lease(database, name)
    hung = one.acquire()
    claim = two.acquire()
    assert hung is not None and claim is not None
    assert hung.until_ns <= claim.begin_ns
    assert one.renew() is None
    two.release()


def test_a_server_that_is_away_is_waited_for(name: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tries = itertools.count()
    nobody = Lease(Secret(f"hostaddr=127.0.0.1 port={port} password=hunter2"), name, V)
    assert nobody.acquire(lambda: next(tries) > 2) is None


def test_a_server_that_does_not_answer_is_given_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tries = itertools.count()
        nobody = Lease(Secret(f"hostaddr=127.0.0.1 port={silent.getsockname()[1]}"), name, V)
        begun = time.monotonic()
        assert nobody.acquire(lambda: next(tries) > 0) is None
        assert time.monotonic() - begun < 5


def test_a_pooler_in_between_is_refused(database: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module._Link, "pid", 7)
    with pytest.raises(LeaseError, match="behind a connection pooler"):
        lease(database, name).acquire()


def test_missing_rights_are_an_error(database: Server, name: str) -> None:
    database.sql("CREATE ROLE poor LOGIN")
    with pytest.raises(LeaseError, match="permission denied"):
        Lease(Secret(database.dsn.replace("user=helios", "user=poor")), name, V).acquire()


def test_the_keeper_tells_deadlines_and_when_it_is_lost(database: Server, name: str) -> None:
    one, two = lease(database, name), lease(database, name)
    claim = one.acquire()
    assert claim is not None
    told: list[int] = []
    keeper = one.keep(told.append)
    until(lambda: len(told) > 4)
    assert told[0] == claim.until_ns
    assert told == sorted(told)
    # Another takes it, as after a failover of the server that forgot us.
    database.sql(f"SELECT pg_terminate_backend({lock_owner(database)})")
    with database_lock(database, one):
        until(keeper.lost.is_set)
        assert max(told) <= time.monotonic_ns()
    keeper.end(release=False)
    assert two.acquire() is not None
    two.release()


def database_lock(database: Server, one: Lease) -> Locked:
    return Locked(database, one._key)


class Locked:
    """Somebody else's session with the lock."""

    def __init__(self, database: Server, key: str) -> None:
        self._link = lease_module._Link(Secret(database.dsn), 10_000_000_000)
        while self._link.ask("SELECT pg_try_advisory_lock($1::bigint)", (key,)) != [("t",)]:
            time.sleep(0.002)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._link.close()


def test_the_keeper_lets_go_for_the_next(database: Server, name: str) -> None:
    one, two = lease(database, name, 30_000_000_000), lease(database, name, 30_000_000_000)
    assert one.acquire() is not None
    one.keep(lambda _: None).end(release=True)
    begun = time.monotonic()
    assert two.acquire() is not None
    assert time.monotonic() - begun < 5
    two.release()


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


# --- Many processes --------------------------------------------------------------------------------------------------


class Wire:
    """A TCP connection's way to the server that can be cut without anybody being told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut = False
        self._over = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over = True
        self._thread.join()
        for one in itertools.chain([self._listener], *self._pairs):
            one.close()

    def _run(self) -> None:
        while not self._over:
            if self.cut:
                time.sleep(0.005)
                continue
            there = {a: b for pair in self._pairs for a, b in (pair, pair[::-1])}
            ready, _, _ = select.select([self._listener, *there], [], [], 0.01)
            for one in ready:
                if one is self._listener:
                    self._accept()
                elif one in there and one.fileno() >= 0:
                    self._pass_on(one, there[one])

    def _accept(self) -> None:
        mine, _ = self._listener.accept()
        try:
            self._pairs.append((mine, socket.create_connection(("127.0.0.1", self._port), 1)))
        except OSError:
            mine.close()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        try:
            data = one.recv(1 << 16)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        self._pairs = [pair for pair in self._pairs if one not in pair]
        one.close()
        other.close()


class Candidate:
    """A process that wants the lease, over a wire of its own."""

    number = itertools.count()

    def __init__(self, database: Server, folder: Path, name: str) -> None:
        self.wire = Wire(database.port)
        self.file = folder / f"{next(self.number)}.claims"
        env = {**os.environ, "LEASE_SERVER": database.dsn.replace(f"port={database.port}", f"port={self.wire.port}")}
        words = [sys.executable, str(HERE / "lease_holder.py"), str(self.file), name, str(V)]
        self.process = subprocess.Popen(words, env=env)

    def claims(self) -> list[tuple[int, int, int]]:
        """Epoch, from, until of each claim; the last is cut where it was released."""
        found: list[tuple[int, int, int]] = []
        for line in (self.file.read_text() if self.file.exists() else "").splitlines():
            word, *numbers = line.split()
            if word == "claim":
                epoch, begin, end = map(int, numbers)
                found.append((epoch, begin, end))
            elif word == "released" and found:
                epoch, begin, end = found[-1]
                found = [(e, b, min(u, int(numbers[0]))) for e, b, u in found]
        return found

    def holds(self) -> bool:
        claims = self.claims()
        return bool(claims) and claims[-1][1] <= time.monotonic_ns() < claims[-1][2]

    def waits(self) -> bool:
        return self.file.exists()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self.wire.close()


def overlaps(candidates: list[Candidate]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pairs of times of two processes that have a moment in common."""
    spans = []
    for number, candidate in enumerate(candidates):
        by_epoch: dict[int, list[int]] = {}
        for epoch, begin, end in candidate.claims():
            span = by_epoch.setdefault(epoch, [begin, end])
            span[1] = max(span[1], end)
        spans += [(begin, end, number, epoch) for epoch, (begin, end) in by_epoch.items()]
    spans.sort()
    return [(a, b) for a, b in itertools.pairwise(spans) if a[2] != b[2] and b[0] < a[1]]


FAULTS = ("kill", "stop", "terminate", "cut", "release", "restart", "crash", "shuffle")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_never_two_holders(seed: int, database: Server, name: str, tmp_path: Path) -> None:
    """25 rounds a seed: something befalls the holder, somebody holds the lease again, and no two ever did at once."""
    random_ = random.Random(seed)
    alive = [Candidate(database, tmp_path, name) for _ in range(3)]
    everyone = list(alive)
    epochs = 0
    try:
        for turn in range(25):
            until(lambda: any(candidate.holds() for candidate in alive))
            until(lambda: all(candidate.waits() for candidate in alive))
            holder = next((candidate for candidate in alive if candidate.holds()), alive[0])
            fault = FAULTS[turn] if turn < len(FAULTS) else random_.choice(FAULTS)
            befall(fault, holder, alive, database, random_)
            if holder.process.poll() is not None:
                alive.remove(holder)
                alive.append(Candidate(database, tmp_path, name))
                everyone.append(alive[-1])
            assert overlaps(everyone) == [], (seed, turn, fault)
        until(lambda: any(candidate.holds() for candidate in alive))
        epochs = max(epoch for candidate in everyone for epoch, _, _ in candidate.claims())
    finally:
        for candidate in everyone:
            candidate.close()
    assert overlaps(everyone) == [], seed
    assert epochs >= 10, "it changed hands"


def befall(fault: str, holder: Candidate, alive: list[Candidate], database: Server, random_: random.Random) -> None:
    def another() -> bool:
        return any(candidate.holds() for candidate in alive if candidate is not holder)

    time.sleep(random_.random() * 0.1)
    if fault == "kill":
        holder.kill()
        until(another)
    elif fault == "release":
        holder.process.terminate()
        holder.process.wait(10)
        until(another)
    elif fault == "stop":
        holder.process.send_signal(signal.SIGSTOP)
        until(another)
        holder.process.send_signal(signal.SIGCONT)
    elif fault == "cut":
        holder.wire.cut = True
        until(another)
        holder.wire.cut = False
    elif fault == "terminate":
        database.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
    elif fault == "shuffle":  # short stops of all, while the lock may change hands
        for candidate in random_.sample(alive, len(alive)):
            candidate.process.send_signal(signal.SIGSTOP)
            time.sleep(random_.random() * 0.2)
        database.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        for candidate in random_.sample(alive, len(alive)):
            candidate.process.send_signal(signal.SIGCONT)
            time.sleep(random_.random() * 0.2)
    else:
        database.stop("fast" if fault == "restart" else "immediate")
        database.start()
