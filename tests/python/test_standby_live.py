"""A takeover with everything real: our exchange, `helios run`, `helios standby`, PostgreSQL, kill -9.

Orders go over sockets to another process, whose ledger says in the end what was executed for us: positions must be the
same, and the journal must replay to the same outputs.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psycopg", reason="needs the extra helios[standby]")

from helios import _core
from helios.errors import RunError
from helios.live.control import ask
from postgres import Server, server

if not hasattr(_core, "Live"):
    pytest.skip("needs the live driver", allow_module_level=True)

EXCHANGE = """
[[venue]]
name = "XNAS"
lines = ["127.0.0.1:{lines[0]}", "127.0.0.1:{lines[1]}"]
requests = "127.0.0.1:{requests}"
snapshot = "127.0.0.1:{snapshot}"
ouch50 = "127.0.0.1:{orders}"
[venue.agents]
symbols = 4
group_size = 2
minutes = 60
rate = 20.0

[[user]]
name = "HELIOS"
password_env = "HELIOS_PASSWORD"
cancel_on_disconnect = true
"""

RUN = """
[strategy]
kind = "pairs"
pairs = [["AAAA", "AAAB", 1.0], ["AABA", "AABB", 1.0]]
window = "2s"
enter = 0.5
exit = 0.1
notional = 5_000

[limits]
order_notional = 20_000
position = 2_000
order_rate = 500

[live]
directory = "desk"
durability = "{durability}"
stop_within = "5s"

[[feed]]
name = "XNAS"
lines = ["127.0.0.1:{lines[0]}", "127.0.0.1:{lines[1]}"]
retransmission = ["127.0.0.1:{requests}"]
snapshot = "127.0.0.1:{snapshot}"
snapshot_user = "HELIOS"
snapshot_password_env = "HELIOS_PASSWORD"

[[session]]
name = "XNAS"
protocol = "ouch50"
address = "127.0.0.1:{orders}"
user = "HELIOS"
password_env = "HELIOS_PASSWORD"

[standby]
name = "{name}"
lease_env = "TEST_LEASE"
validity = "500ms"
"""


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def until(true: Callable[[], Any], seconds: float = 60.0) -> float:
    """Waits for a condition; how long it took."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() < begun + seconds, "it did not come"
        time.sleep(0.005)
    return time.monotonic() - begun


class World:
    """An exchange and the processes of a desk."""

    def __init__(self, folder: Path, database: Server, over_tcp: bool) -> None:
        self.folder, self.over_tcp = folder, over_tcp
        first, second, requests, snapshot, orders, *self._journals = free_ports(8)
        places = {"lines": (first, second), "requests": requests, "snapshot": snapshot, "orders": orders}
        name, durability = f"{folder.name} {time.monotonic_ns()}", "replica" if over_tcp else "process"
        (folder / "exchange.toml").write_text(EXCHANGE.format(**places))
        run = RUN.format(**places, name=name, durability=durability)
        (folder / "run.toml").write_text(run + (f'journal = "127.0.0.1:{self._journals[0]}"\n' if over_tcp else ""))
        self.ledger_file = folder / "ledger.json"
        self._env = {**os.environ, "HELIOS_PASSWORD": "letmein", "TEST_LEASE": database.dsn}
        self.processes: list[subprocess.Popen[str]] = []
        self.exchange = self._start("exchange", "exchange.toml", "--ledger", str(self.ledger_file), "--quiet")
        until(lambda: self.ledger_file.exists() or self.exchange.poll() is not None)
        assert self.exchange.poll() is None, self.exchange.communicate()

    def directory(self, number: int) -> Path:
        return self.folder / (f"desk{number}" if self.over_tcp else "desk")

    def desk(self, command: str, number: int) -> subprocess.Popen[str]:
        words = [command, "run.toml", "--mode", "live", "--directory", str(self.directory(number))]
        if self.over_tcp and command == "standby":
            words += ["--journal", f"127.0.0.1:{self._journals[number]}"]
        return self._start(*words)

    def _start(self, *words: str) -> subprocess.Popen[str]:
        code = "from helios.cli import main; main()"
        log = (self.folder / f"{len(self.processes)}.out").open("w")
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words], cwd=self.folder, env=self._env, stdout=log, stderr=log, text=True
        )
        self.processes.append(process)
        return process

    def status(self, number: int) -> dict[str, Any]:
        """Empty while nobody answers."""
        try:
            status: dict[str, Any] = ask(self.directory(number), {"command": "status"})["status"]
        except RunError:
            return {}
        return status

    def settled(self, number: int) -> bool:
        return [link["state"] for link in self.status(number).get("links", [])] == ["settled"]

    def follows(self, number: int) -> bool:
        log = self.directory(number) / "standby.jsonl"
        return log.exists() and ' inputs"' in log.read_text()

    def told(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()}" for path in sorted(self.folder.glob("*.out")))

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    with server() as made:
        yield made


@pytest.fixture(params=["file", "tcp"])
def world(tmp_path: Path, database: Server, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(tmp_path, database, request.param == "tcp")
    try:
        yield made
    finally:
        made.end()
        print(made.told())


@pytest.mark.slow
def test_a_takeover(world: World) -> None:
    primary = world.desk("run", 0)
    until(lambda: world.settled(0))
    standby = world.desk("standby", 1)
    until(lambda: world.follows(1))
    # It may have been alone for too long, and paused.
    ask(world.directory(0), {"command": "resume"})
    until(lambda: world.status(0)["fills"] > 20)

    before = world.status(0)["inputs"]
    primary.kill()
    primary.wait()
    seconds = until(lambda: world.settled(1))
    print(f"kill -9 to sessions settled: {seconds:.3f} s")
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    assert seconds < (10.0 if busy else 2.0)
    status = world.status(1)
    assert status["recovered"]["inputs"] >= before
    assert status["unknown_orders"] == 0
    fills = status["fills"]
    ask(world.directory(1), {"command": "resume"})
    until(lambda: world.status(1)["fills"] > fills)

    ask(world.directory(1), {"command": "flatten"})
    until(
        lambda: not [row for row in ask(world.directory(1), {"command": "positions"})["positions"] if row["quantity"]]
    )
    paused = ask(world.directory(1), {"command": "pause"})["input"]
    # The status is a tenth of a second old.
    until(lambda: world.status(1)["inputs"] > paused and world.status(1)["open_orders"] == 0)
    fills = world.status(1)["fills"]
    ask(world.directory(1), {"command": "stop"})
    assert standby.wait(30) == 0
    world.exchange.send_signal(signal.SIGTERM)
    world.exchange.wait(30)
    ledger = json.loads(world.ledger_file.read_text())
    assert [row for rows in _find(ledger, "positions") for row in rows if row["shares"]] == []
    assert sum(_find(ledger, "executed")) == fills

    engine = json.loads(_core.journal_config(world.directory(1) / "live.journal"))["engine"]
    assert engine["instruments"]
    replayed = subprocess.run(
        [
            sys.executable,
            "-c",
            "from helios.cli import main; main()",
            "replay",
            str(world.directory(1) / "live.journal"),
        ],
        capture_output=True,
        text=True,
    )
    assert replayed.stdout.startswith("identical"), replayed


def _find(value: Any, key: str) -> list[Any]:
    """Everything under a key, wherever it is."""
    if isinstance(value, dict):
        here = [value[key]] if key in value else []
        return here + [found for inner in value.values() for found in _find(inner, key)]
    return [found for inner in value for found in _find(inner, key)] if isinstance(value, list) else []
