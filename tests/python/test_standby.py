"""Takeovers between real processes under a real lease; the driver and its journal are small ones in Python."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("psycopg", reason="needs the extra helios[standby]")

from helios.config import load_live
from helios.errors import ConfigError
from helios.live.control import ask
from helios.live.standby import standby
from postgres import Server, server

HERE = Path(__file__).parent
VALIDITY_MS = 400

RUN = """
[strategy]
kind = "pairs"
pairs = [["KO", "PEP", 0.9]]
window = "1m"
[live]
directory = "desk"
durability = "{durability}"
stop_within = "1s"
[[feed]]
name = "XNAS"
lines = ["127.0.0.1:5001"]
[standby]
name = "{name}"
lease_env = "TEST_LEASE"
validity = "{validity}ms"
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    with server() as made:
        yield made


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


class Desk:
    """A run file, and processes of it."""

    def __init__(self, folder: Path, database: Server, name: str, over_tcp: bool) -> None:
        self.folder, self.over_tcp = folder, over_tcp
        self.file = folder / "run.toml"
        durability = "replica" if over_tcp else "process"
        text = RUN.format(name=name, validity=VALIDITY_MS, durability=durability)
        self.file.write_text(text + (f'journal = "{free_address()}"\n' if over_tcp else ""))
        self.sent = folder / "sent"
        self.env = {**os.environ, "TEST_LEASE": database.dsn, "SENT": str(self.sent)}
        self.processes: list[subprocess.Popen[str]] = []

    def directory(self, number: int) -> Path:
        """Over TCP each process has its own."""
        return self.folder / (f"desk{number}" if self.over_tcp else "desk")

    def start(self, command: str, number: int | None = None) -> subprocess.Popen[str]:
        number = len(self.processes) if number is None else number
        words = [sys.executable, HERE / "live_pair.py", command, self.file, self.directory(number)]
        words += [free_address()] if self.over_tcp else []
        process = subprocess.Popen([*map(str, words)], env=self.env, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def primary(self, number: int | None = None) -> subprocess.Popen[str]:
        """One that has sent."""
        process = self.start("run", number)
        until(self.sends(process))
        return process

    def pair(self) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
        """A primary that has sent, and a standby that has caught up with it."""
        return self.primary(), self.standby(1)

    def standby(self, number: int) -> subprocess.Popen[str]:
        """One that has caught up; `number` of the run's processes."""
        process = self.start("standby")
        until(self.follows(number))
        return process

    def orders(self) -> list[tuple[int, int, int]]:
        """Process, number, when; of each that was sent."""
        if not self.sent.exists():
            return []
        lines = [line.split() for line in self.sent.read_text().split("\n")[:-1]]
        return [(int(a), int(b), int(c)) for a, b, c in lines]

    def sends(self, process: subprocess.Popen[str]) -> Callable[[], bool]:
        return lambda: any(pid == process.pid for pid, _, _ in self.orders())

    def follows(self, number: int) -> Callable[[], bool]:
        """Whether the process that was started as this one has caught up with the primary."""
        log, wanted = self.directory(number) / "standby.jsonl", 1 if self.over_tcp else number
        return lambda: log.exists() and len(re.findall(r'"follows [^"]+ inputs"', log.read_text())) >= wanted

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def desk(tmp_path: Path, database: Server, request: pytest.FixtureRequest) -> Iterator[Desk]:
    over_tcp = getattr(request, "param", "file") == "tcp"
    made = Desk(tmp_path, database, f"{request.node.name} {time.monotonic_ns()}", over_tcp)
    yield made
    made.end()


both = pytest.mark.parametrize("desk", ["file", "tcp"], indirect=True)


def checked(desk: Desk) -> float:
    """No number was sent twice, and never by two at a time; seconds between one's last and the other's first."""
    orders = desk.orders()
    numbers = [number for _, number, _ in orders]
    assert len(set(numbers)) == len(numbers), "sent twice"
    runs = [list(group) for _, group in itertools.groupby(orders, lambda order: order[0])]
    assert len(runs) == len({pid for pid, _, _ in orders}), "they took turns"
    gaps = [(after[0][2] - before[-1][2]) / 1e9 for before, after in itertools.pairwise(runs)]
    for before, after in itertools.pairwise(runs):
        assert after[0][1] > before[-1][1], "it went on behind"
    return max(gaps, default=0.0)


@both
def test_a_killed_primary_is_taken_over(desk: Desk) -> None:
    primary, second = desk.pair()
    primary.kill()
    until(desk.sends(second))
    assert checked(desk) < 5.0
    # And what is then primary is taken over as well.
    third = desk.standby(2)
    second.kill()
    until(desk.sends(third))
    assert checked(desk) < 5.0
    assert ask(desk.directory(2), {"command": "status"})["status"]["inputs"] > 0
    ask(desk.directory(2), {"command": "stop"})
    assert third.wait(20) == 0


@both
def test_a_primary_that_hangs_is_taken_over_and_sends_nothing_after(desk: Desk) -> None:
    primary, second = desk.pair()
    primary.send_signal(signal.SIGSTOP)
    until(desk.sends(second))
    primary.send_signal(signal.SIGCONT)
    # On one machine it was ended; elsewhere it sees that its lease is over.
    assert primary.wait(20) == (3 if desk.over_tcp else -signal.SIGKILL)
    count = len(desk.orders())
    until(lambda: len(desk.orders()) > count + 50)
    checked(desk)


@both
def test_an_orderly_end_is_not_taken_over(desk: Desk) -> None:
    primary, second = desk.pair()
    primary.send_signal(signal.SIGTERM)
    assert primary.wait(20) == 0
    assert second.wait(20) == 0
    assert second.stderr is not None
    assert "there is nothing to take over" in second.stderr.read()
    assert {pid for pid, _, _ in desk.orders()} == {primary.pid}


@both
def test_a_primary_can_hand_over(desk: Desk) -> None:
    primary, second = desk.pair()
    ask(desk.directory(0), {"command": "stop", "hand_over": True})
    assert primary.wait(20) == 0
    until(desk.sends(second))
    checked(desk)


@both
def test_a_second_primary_does_not_start(desk: Desk) -> None:
    primary = desk.primary()
    other = desk.start("run")
    assert other.wait(30) == 1
    assert other.stderr is not None
    said = other.stderr.read()
    assert ("is not to be had" if desk.over_tcp else "another run is live here") in said
    assert primary.poll() is None


@pytest.mark.parametrize("desk", ["tcp"], indirect=True)
def test_an_old_primary_does_not_come_back_with_its_old_journal(desk: Desk) -> None:
    primary, second = desk.pair()
    primary.kill()
    until(desk.sends(second))
    second.kill()
    old = desk.start("run", 0)
    assert old.wait(30) == 1
    assert old.stderr is not None
    assert "its journal is old" in old.stderr.read()
    desk.primary(1)
    checked(desk)


def test_a_primary_that_is_started_again_goes_on(desk: Desk) -> None:
    primary = desk.primary()
    primary.kill()
    desk.primary()
    assert checked(desk) < 8.0


def test_a_lost_lease_ends_the_run(desk: Desk, database: Server) -> None:
    """The server is away for longer than the lease is valid."""
    primary = desk.primary()
    database.stop("fast")
    try:
        assert primary.wait(20) == 3
    finally:
        database.start()
    last = desk.orders()[-1][2]
    assert primary.stderr is not None
    assert "the lease is lost" in primary.stderr.read()
    assert time.monotonic_ns() > last


def test_a_standby_stops_when_it_is_told_to(desk: Desk) -> None:
    primary, second = desk.pair()
    second.send_signal(signal.SIGTERM)
    assert second.wait(20) == 130
    assert primary.poll() is None


def test_a_journal_over_tcp_needs_durability_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_LEASE", "hostaddr=127.0.0.1")
    file = tmp_path / "run.toml"
    file.write_text(RUN.format(name="x", validity=400, durability="process") + 'journal = "127.0.0.1:1"\n')
    with pytest.raises(ConfigError, match='durability = "replica"'):
        standby(load_live(file, "paper"))


def test_a_run_without_a_standby_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.toml"
    file.write_text(RUN.format(name="x", validity=400, durability="process").partition("[standby]")[0])
    with pytest.raises(ConfigError, match=r"needs a table \[standby\]"):
        standby(load_live(file, "paper"))
