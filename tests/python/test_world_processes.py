"""The world with real processes: an exchange with faults, and a live run that is killed again and again.

What is killed is killed with SIGKILL, at a random moment of its life; the exchange's lines lose, repeat and reorder
packets, its ports fall silent and cut connections. In the end the exchange's ledger and the run agree in every share
and every execution, and the journal over all its processes replays bit for bit. The world of `edge/live/tests/world`
does the same by the thousand in simulated time, where a seed reproduces it; here time and processes are real.

`WORLD_KILLS` and `WORLD_SEED` are its settings (12 and 1).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

KILLS = int(os.environ.get("WORLD_KILLS", "12"))
SEED = int(os.environ.get("WORLD_SEED", "1"))
PASSWORD = "sesame"

EXCHANGE = """
seed = {seed}
[[venue]]
name = "XNAS"
lines = ["127.0.0.1:{a}", "127.0.0.1:{b}"]
requests = "127.0.0.1:0"
snapshot = "127.0.0.1:0"
{protocol} = "127.0.0.1:0"
[venue.agents]
symbols = 10
minutes = 390
speed = 60.0
[[user]]
name = "HELIOS"
password_env = "HELIOS_PASSWORD"
cancel_on_disconnect = {cancels}
"""

RUN = """
name = "world"
data = []
[[strategy]]
kind = "pairs"
pairs = [["AAAA", "AAAB", 1.0], ["AAAC", "AAAD", 1.0], ["AAAE", "AAAF", 1.0]]
window = "10s"
enter = 1.2
exit = 0.3
notional = 20_000
[limits]
order_notional = 50_000
position = 2_000
order_rate = 200
[live]
directory = "live"
[[feed]]
name = "XNAS"
lines = ["{line_a}", "{line_b}"]
retransmission = ["{requests}"]
snapshot = "{snapshot}"
snapshot_user = "HELIOS"
snapshot_password_env = "HELIOS_PASSWORD"
[[session]]
name = "XNAS"
protocol = "{protocol}"
address = "{address}"
user = "HELIOS"
password_env = "HELIOS_PASSWORD"
"""

FAULTS = (
    "drop line=A p=0.2 for=1s",
    "drop p=0.1 for=1s",
    "duplicate line=B p=0.3 for=1s",
    "reorder line=A p=0.3 for=1s",
    "delay line=B by=3ms for=1s",
    "silent port={protocol} for=700ms",
    "disconnect port={protocol}",
    "disconnect port=snapshot",
    "refuse-orders p=0.3 for=500ms",
)


def helios(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "helios", *map(str, words)]


def environment() -> dict[str, str]:
    return {**os.environ, "HELIOS_PASSWORD": PASSWORD}


def until(true: Callable[[], Any], seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if found := true():
                return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


@contextlib.contextmanager
def running(words: list[str], folder: Path, name: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.err").open("ab") as errors:
        process = subprocess.Popen(words, cwd=folder, env=environment(), stderr=errors, **options)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


class World:
    def __init__(self, folder: Path, protocol: str, ports: dict[str, str]) -> None:
        self.folder, self.protocol, self.ports = folder, protocol, ports
        self.random = random.Random(f"{SEED} {protocol}")
        self.processes = 0

    def ask(self, command: str) -> dict[str, Any]:
        words = helios("ctl", command, self.folder / "live", "--json")
        done = subprocess.run(words, capture_output=True, env=environment(), timeout=30)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {}

    def fault(self, text: str) -> None:
        words = helios("exchange-fault", self.folder / "control", *text.format(protocol=self.protocol).split())
        subprocess.run(words, capture_output=True, env=environment(), timeout=30, check=True)

    def ledger(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "ledger.json").read_text())["HELIOS"])

    def live(self) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        self.processes += 1
        words = helios("run", "run.toml", "--mode", "live")
        return running(words, self.folder, f"run{self.processes}", stdout=subprocess.DEVNULL)

    def positions(self) -> dict[str, float]:
        return {row["symbol"]: row["shares"] for row in self.ledger()["positions"] if row["shares"]}


def free_ports() -> tuple[int, int]:
    import socket

    with socket.socket(type=socket.SOCK_DGRAM) as a, socket.socket(type=socket.SOCK_DGRAM) as b:
        a.bind(("127.0.0.1", 0))
        b.bind(("127.0.0.1", 0))
        return a.getsockname()[1], b.getsockname()[1]


@contextlib.contextmanager
def world(folder: Path, protocol: str, cancels: bool, *, ports_too: str = "", run_too: str = "") -> Iterator[World]:
    a, b = free_ports()
    told = EXCHANGE.format(seed=SEED, a=a, b=b, protocol=protocol, cancels=str(cancels).lower())
    (folder / "exchange.toml").write_text(told.replace("[venue.agents]", f"{ports_too}[venue.agents]"))
    words = helios("exchange", "exchange.toml", "--control", "control", "--ledger", "ledger.json")
    with running(words, folder, "exchange", stdout=subprocess.PIPE) as exchange:
        assert exchange.stdout is not None
        ports = json.loads(exchange.stdout.readline())["listening"]["XNAS"]
        told = (RUN + run_too).format(**ports, protocol=protocol, address=ports[protocol])
        (folder / "run.toml").write_text(told)
        yield World(folder, protocol, ports)


def journaled(folder: Path) -> bool:
    return (folder / "live" / "live.journal").exists()


@pytest.mark.parametrize(("protocol", "cancels"), [("ouch50", True), ("ouch42", False)])
def test_whatever_is_killed_the_books_agree(tmp_path: Path, protocol: str, cancels: bool) -> None:
    with world(tmp_path, protocol, cancels) as one:
        for _ in range(KILLS):
            with one.live() as process:
                until(lambda: journaled(tmp_path), 20, "a journal")
                for _ in range(one.random.randrange(3)):
                    one.fault(one.random.choice(FAULTS))
                time.sleep(one.random.uniform(0.1, 1.5))
                assert process.poll() is None, (tmp_path / f"run{one.processes}.err").read_text()
                process.send_signal(signal.SIGKILL)
        one.fault("clear")
        with one.live() as process:
            until(lambda: one.ask("status")["status"]["links"][0]["state"] == "settled", 60, "a settled session")
            one.ask("flatten")
            until(lambda: not one.positions() and one.ledger()["open"] == 0, 60, "flat at the venue")
            # Reports of the last executions are on their way.
            status = until(lambda: fills_are(one, one.ledger()["executed"]), 30, "the venue's executions booked")
            held = one.ask("positions")["positions"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        ledger = one.ledger()
    assert all(row["quantity"] == 0 for row in held), held
    assert ledger["executed"] > 0 and status["fills"] == ledger["executed"]
    replayed = subprocess.run(helios("replay", tmp_path / "live"), capture_output=True, text=True, check=False)
    assert replayed.returncode == 0 and replayed.stdout.startswith("identical"), replayed.stdout + replayed.stderr
    assert PASSWORD.encode() not in (tmp_path / "live" / "live.journal").read_bytes()
    assert PASSWORD not in (tmp_path / "live" / "log.jsonl").read_text()


def fills_are(one: World, count: int) -> dict[str, Any] | None:
    status: dict[str, Any] = one.ask("status").get("status", {})
    return status if status.get("fills") == count else None
