"""Our sessions against QuickFIX, both ways round: orders, reports, and a day on which everything breaks.

QuickFIX is the oracle: the `quickfix` package of the interpreter named in HELIOS_QUICKFIX_PYTHON, or of this one.
"""

from __future__ import annotations

import importlib.util
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

HERE = Path(__file__).parent
THEIR_PYTHON = os.environ.get("HELIOS_QUICKFIX_PYTHON") or sys.executable
PATIENCE = 30.0
#: More by hand: HELIOS_FIX_SEEDS=50.
SEEDS = range(1, 1 + int(os.environ.get("HELIOS_FIX_SEEDS", "2")))


def _there() -> bool:
    if sys.executable == THEIR_PYTHON:
        return importlib.util.find_spec("quickfix") is not None
    return subprocess.run([THEIR_PYTHON, "-c", "import quickfix"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(
    not _there(), reason="no `quickfix` in this interpreter, and HELIOS_QUICKFIX_PYTHON names none that has it"
)


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"after {PATIENCE:g} s not yet: {what}"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Side:
    """One side in a process of its own, over all its restarts."""

    def __init__(self, name: str, ours: bool, role: str, port: int, folder: Path, version: str) -> None:
        self.name = name
        ids = ("US", "THEM") if ours else ("THEM", "US")
        script = "fix_peer_helios.py" if ours else "fix_peer_quickfix.py"
        python = sys.executable if ours else THEIR_PYTHON
        folder.mkdir()
        self.command = [python, str(HERE / script), role, str(port), str(folder), version, *ids]
        self.errors = folder.parent / f"{name}.log"
        #: What it said: type, id, whether it was marked as a duplicate.
        self.got: list[tuple[str, str, bool]] = []
        self.sent: list[str] = []
        self.asked = 0
        self.refused: set[str] = set()
        self.numbers: tuple[int, int, bool] | None = None
        self.logged_on = False
        self.start()

    def start(self) -> None:
        self.logged_on = False
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
            )
        self.reader = threading.Thread(target=self.read, args=(self.process,), daemon=True)
        self.reader.start()

    def read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith("\n"):
                return  # torn by a kill
            match line.split():
                case ["got", kind, name, duplicate]:
                    self.got.append((kind, name, duplicate == "Y"))
                case ["sent", name]:
                    self.sent.append(name)
                case ["refused", name]:
                    self.refused.add(name)
                case ["logon"]:
                    self.logged_on = True
                case ["logout"]:
                    self.logged_on = False
                case ["numbers", out, incoming, on]:
                    self.numbers = (int(out), int(incoming), on in ("True", "1"))

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # killed

    def order(self) -> None:
        self.asked += 1
        self.tell(f"order {self.name}{self.asked}")

    def ask_numbers(self) -> tuple[int, int, bool]:
        self.numbers = None
        self.tell("numbers")
        until(lambda: self.numbers is not None, f"{self.name} says its numbers")
        assert self.numbers is not None
        return self.numbers

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join(PATIENCE)

    def stop(self) -> None:
        self.tell("stop")
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()

    def log(self) -> str:
        return f"--- {self.name}\n{self.errors.read_text(errors='replace')[-4_000:]}"


class Wire:
    """Between the two: passes bytes on, until it is cut."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.ends: list[socket.socket] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                near.close()
                continue
            self.ends += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(a, b), daemon=True).start()

    def carry(self, a: socket.socket, b: socket.socket) -> None:
        try:
            while data := a.recv(4_096):
                b.sendall(data)
        except OSError:
            pass
        for end in (a, b):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        ends, self.ends = self.ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self.listener.close()
        self.cut()


@contextmanager
def conversation(tmp_path: Path, initiator_is_ours: bool, version: str) -> Iterator[tuple[Side, Side, Wire]]:
    port = free_port()
    acceptor = Side("a", not initiator_is_ours, "acceptor", port, tmp_path / "acceptor", version)
    wire = Wire(port)
    initiator = Side("i", initiator_is_ours, "initiator", wire.port, tmp_path / "initiator", version)
    sides = (acceptor, initiator)
    try:
        yield acceptor, initiator, wire
    except BaseException:
        for side in sides:
            print(side.log())
        raise
    finally:
        for side in sides:
            side.kill()
        wire.close()


def firsts(side: Side, kind: str) -> list[str]:
    """Names in the order of their first arrival."""
    return list(dict.fromkeys(name for what, name, _ in side.got if what == kind))


def check_exactly_once(sides: tuple[Side, Side]) -> None:
    """Each acknowledged order once and in order, each answered; what came again was marked as a duplicate."""
    for near, far in (sides, sides[::-1]):
        arrived = firsts(far, "D")
        known = set(arrived)
        assert [name for name in near.sent if name not in known] == []
        assert [int(name[1:]) for name in arrived] == sorted(int(name[1:]) for name in arrived)
        assert known.isdisjoint(near.refused)
        met: set[tuple[str, str]] = set()
        for kind, name, duplicate in far.got:
            assert duplicate or (kind, name) not in met, f"{far.name} got {kind} {name} twice, unmarked"
            met.add((kind, name))
        answered = {name.partition(".")[0] for name in firsts(near, "8")}
        assert answered == known


def numbers_agree(sides: tuple[Side, Side]) -> bool:
    (a_out, a_in, a_on), (b_out, b_in, b_on) = (side.ask_numbers() for side in sides)
    return a_on and b_on and (a_out, a_in) == (b_in, b_out)


def settled(sides: tuple[Side, Side]) -> bool:
    for near, far in (sides, sides[::-1]):
        arrived = set(firsts(far, "D"))
        if not set(near.sent) <= arrived or {name.partition(".")[0] for name in firsts(near, "8")} != arrived:
            return False
    return numbers_agree(sides)


WAYS = pytest.mark.parametrize("initiator_is_ours", [True, False], ids=["we-call", "they-call"])


@WAYS
@pytest.mark.parametrize("version", ["FIX.4.2", "FIX.4.4", "FIX.5.0SP2"])
def test_orders_and_reports_both_ways(tmp_path: Path, initiator_is_ours: bool, version: str) -> None:
    with conversation(tmp_path, initiator_is_ours, version) as (acceptor, initiator, _):
        sides = (acceptor, initiator)
        until(lambda: acceptor.logged_on and initiator.logged_on, "both are logged on")
        for _ in range(25):
            for side in sides:
                side.order()
        until(lambda: all(len(side.sent) == 25 for side in sides), "orders are sent")
        until(lambda: settled(sides), "everything arrived")
        check_exactly_once(sides)
        assert not any(duplicate for side in sides for *_, duplicate in side.got)
        initiator.stop()
        until(lambda: not acceptor.logged_on, "the acceptor heard the logout")


@WAYS
@pytest.mark.parametrize("seed", SEEDS)
def test_a_day_with_disconnects_and_deaths(tmp_path: Path, initiator_is_ours: bool, seed: int) -> None:
    chance = random.Random(seed)
    with conversation(tmp_path, initiator_is_ours, "FIX.4.4") as (acceptor, initiator, wire):
        sides = (acceptor, initiator)
        events = ["cut"] * 6 + ["acceptor", "initiator"] * 2
        chance.shuffle(events)
        for event in events:
            until(lambda: acceptor.logged_on and initiator.logged_on, "both are logged on")
            for _ in range(chance.randrange(20, 60)):
                chance.choice(sides).order()
            # In the middle of it: what was asked for is under way on pipes, sockets and disks.
            time.sleep(chance.random() * 0.05)
            if event == "cut":
                wire.cut()
                until(lambda: not (acceptor.logged_on or initiator.logged_on), "both noticed")
            else:
                side = acceptor if event == "acceptor" else initiator
                side.kill()
                other = initiator if event == "acceptor" else acceptor
                until(lambda other=other: not other.logged_on, "the other noticed")
                side.start()
        until(lambda: acceptor.logged_on and initiator.logged_on, "both are logged on")
        until(lambda: settled(sides), "everything arrived and numbers agree")
        check_exactly_once(sides)
        assert min(len(side.sent) for side in sides) > 20
