"""What a strategy remembers survives a failure: kill -9, restarts, snapshots, and code that has changed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import defaultdict, deque
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import pytest
from helios.config import load_live
from helios.errors import ArgumentError, HeliosError
from helios.live.driver import native
from helios.research.backtest import core_errors
from helios.signals.memory import MAX_SAVED_BYTES, load, saved
from live_market import add
from test_live_core import Desk, until
from test_world_processes import helios, journaled, world
from test_world_processes import until as wait_until

KEEPER = '''
import os

from helios import Strategy


class Keeper(Strategy):
    """Remembers much, trades on it, and writes each thing that it heard with all that it remembered then."""

    universe = ("AAAA", "AAAB")
    timer = "100ms"

    def on_start(self):
        self.heard, self.timers, self.ema, self.orders, self.refused = 0, 0, 0.0, {}, 0
        self.file = os.open(f"heard-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def wrote(self, what):
        self.heard += 1
        memory = (self.timers, self.ema, self.orders, self.refused, self.position("AAAA"), self.now)
        os.write(self.file, f"{self.heard} {what} {memory}\\n".encode())

    def on_book(self, book):
        self.ema += (book.mid - self.ema) * 0.05 if book.mid == book.mid else 0.0
        if self.heard % 7 == 0 and len(self.orders) < 5:
            self.orders[self.buy(book.symbol, 100, round(self.ema - 0.05, 2))] = "new"
        elif self.heard % 11 == 0 and self.position(book.symbol) > 300:
            self.orders[self.sell(book.symbol, 100, ioc=True, price=round(self.ema - 0.5, 2))] = "new"
        self.wrote(f"book {book.bid} {book.ask}")

    def on_timer(self, now):
        self.timers += 1
        if self.orders and self.timers % 3 == 0:
            self.cancel("AAAA", next(iter(self.orders)))
        self.wrote("timer")

    def on_order(self, order):
        self.orders[order.order] = order.state
        if order.done:
            del self.orders[order.order]
        self.wrote(f"order {order.order} {order.state}")

    def on_refusal(self, refusal):
        self.refused += 1
        self.orders = {order: state for order, state in self.orders.items() if state != "new"}
        self.wrote(f"refused {refusal.rule}")
'''

SAVING = """
    def on_save(self):
        names = ("heard", "timers", "ema", "orders", "refused")
        return {name: getattr(self, name) for name in names}

    def on_load(self, memory):
        for name, value in memory.items():
            setattr(self, name, value)
"""


@pytest.mark.slow
@pytest.mark.parametrize("saves", [False, True])
def test_a_killed_process_remembers(tmp_path: Path, saves: bool) -> None:
    (tmp_path / "keeper.py").write_text(KEEPER + (SAVING if saves else ""))
    with world(tmp_path, "ouch50", False, run_too='\n[[strategy]]\nclass = "keeper.py:Keeper"\n') as one:
        run = tmp_path / "run.toml"
        run.write_text(run.read_text().replace('directory = "live"', 'directory = "live"\nsnapshot_every = "1s"'))
        recovered = []
        for kill in range(4):
            with one.live() as process:
                wait_until(lambda: journaled(tmp_path), 20, "a journal")
                status = wait_until(lambda: settled(one.ask("status")), 60, "a settled session")
                recovered.append(status["recovered"])
                time.sleep(one.random.uniform(0.5, 2.5))
                process.send_signal(signal.SIGKILL if kill < 3 else signal.SIGTERM)
                code = process.wait(30)
        assert code == 0
    assert all(found["doubts"] == [] for found in recovered[1:]), recovered
    assert any(found["snapshot"] > 0 for found in recovered[1:]) == saves, recovered
    told: dict[int, str] = {}
    processes = sorted(tmp_path.glob("heard-*"), key=lambda path: path.stat().st_mtime_ns)
    assert len(processes) == 4
    again = 0
    for path in processes:
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                number, text = line.split(" ", 1)
                again += int(number) in told
                assert told.setdefault(int(number), text) == text, (path, number)
    assert again > (0 if saves else 300) and len(told) > 300
    assert any("order" in text for text in told.values())
    replayed = subprocess.run(helios("replay", tmp_path / "live"), capture_output=True, text=True, check=False)
    assert replayed.returncode == 0 and replayed.stdout.startswith("identical"), replayed.stdout + replayed.stderr


def settled(answer: dict[str, Any]) -> Any:
    status = answer["status"]
    return status if status["links"][0]["state"] == "settled" and status["feeds"][0]["messages"] else None


def changed(desk: Desk, before: str, after: str) -> None:
    source = desk.folder / "strategy.py"
    assert before in source.read_text()
    source.write_text(source.read_text().replace(before, after))


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    desk = Desk(tmp_path)
    yield desk
    if desk.driver is not None:
        desk.driver.stop(True)
    desk.venue.close()


def bought(desk: Desk) -> None:
    driver = desk.start("live")
    desk.feed.send([add(1, "KO", 3, 3, "S", 300, 10.0)])
    until(lambda: driver.status()["fills"] == 1, driver)
    desk.stop()


def test_a_strategy_that_does_not_do_again_what_it_did_is_named(desk: Desk) -> None:
    changed(desk, "self.buy(book.symbol, 100,", "self.buy(book.symbol, 100 + id(object()) % 7919 // 7919,")
    bought(desk)
    changed(desk, "self.buy(book.symbol, 100 +", "self.buy(book.symbol, 101 +")
    driver = desk.start("live")
    recovered = driver.status()["recovered"]
    assert recovered is not None
    (doubt,) = recovered["doubts"]
    assert doubt.startswith('strategy "buyer" does not do again what it did: at input ')
    assert "it wished to buy 100" in doubt and "and to buy 101" in doubt and "Its code has changed" in doubt
    notes = [note for note in driver.notes() if note["station"] == "recovery" and note["level"] == 30]
    assert [note["text"] for note in notes] == [doubt]
    desk.stop()
    assert desk.replayed()[3:] == (None, None)


def test_what_cannot_be_saved_is_said_at_the_start(desk: Desk) -> None:
    changed(
        desk,
        "    def on_book",
        "    def on_save(self):\n        return {'at': {1}}\n\n    def on_load(self, memory): ...\n\n    def on_book",
    )
    driver = native(load_live(desk.folder / "run.toml", "live"))
    with pytest.raises(HeliosError, match=r"on_save gave memory\['at'\] = \{1\} \(builtins.set\)"), core_errors():
        driver.start()
    changed(desk, "    def on_load(self, memory): ...\n", "")
    with pytest.raises(ArgumentError, match="saving needs both"):
        native(load_live(desk.folder / "run.toml", "live"))


def test_an_on_load_that_raises_keeps_the_run_from_starting(desk: Desk) -> None:
    saving = "    def on_save(self):\n        return {'one': 1}\n\n"
    loading = "    def on_load(self, memory):\n        self.one = memory['one']\n\n"
    changed(desk, "    def on_book", saving + loading + "    def on_book")
    bought(desk)
    changed(desk, "memory['one']", "memory['two']")
    driver = native(load_live(desk.folder / "run.toml", "live"))
    with (
        pytest.raises(HeliosError, match=r"on_load raised KeyError: 'two' \(.*strategy.py, line \d+\); mend it"),
        core_errors(),
    ):
        driver.start()
    for path in (desk.folder / "desk").glob("*.snapshot"):
        path.unlink()
    driver = desk.start("live")
    assert driver.status()["recovered"]["doubts"] == []  # type: ignore[index]
    desk.stop()


class Holder(hx.Strategy):
    """Saves what it is given."""

    def on_start(self) -> None:
        self.kept: Any = {}

    def on_save(self) -> Any:
        if isinstance(self.kept, Exception):
            raise self.kept
        return self.kept

    def on_load(self, memory: Any) -> None:
        self.kept = memory


def held(value: Any) -> Holder:
    holder = Holder()
    holder.kept = value
    return holder


def test_what_is_saved_comes_back_with_its_types() -> None:
    memory = {
        "a": None,
        "b": [True, 1, -(2**63), 2**64 - 1, 1.5, float("inf")],
        7: {"x": b"\0", "y": "ß", 3: []},
        "z": {},
    }
    other = held(None)
    load(other, saved(held(memory)))
    assert repr(other.kept) == repr(memory)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1], r"on_save gave \[1\] \(builtins.list\), but must give a dict"),
        ({"a": {"b": [0, (1, 2)]}}, r"memory\['a'\]\['b'\]\[1\] = \(1, 2\) \(builtins.tuple\)"),
        ({"a": deque([1])}, "collections.deque"),
        ({"a": defaultdict(int)}, "collections.defaultdict"),
        ({"a": np.float64(1)}, "numpy.float64"),
        ({"a": np.zeros(3)}, "numpy.ndarray"),
        ({"a": {1.5: 2}}, r"memory\['a'\] a key 1.5 \(builtins.float\); keys are str or int"),
        ({"a": 2**64}, r"memory\['a'\] = 18446744073709551616, which has more than 64 bits"),
        ({"a": "x" * MAX_SAVED_BYTES}, "at most 1,048,576 can be kept"),
        (ValueError("no"), r"on_save raised ValueError: no \(.*test_live_memory.py, line \d+\)"),
    ],
)
def test_what_cannot_be_saved_is_named(value: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=f"strategy 'holder': .*{said}"):
        saved(held(value))


def test_what_lies_too_deep_or_in_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    with pytest.raises(ArgumentError, match="which lies deeper than 32"):
        saved(held(loop))


COUNTING = """
import helios as hx
from helios.signals import wishes


class Buyer(hx.Strategy):
    universe = ("KO", "PEP")
    memory = 2

    @staticmethod
    @hx.compiled
    def on_book(event, books, p, memory, out):
        memory[0] += 1
        # Far more books than one process hears.
        if memory[0] > 300 and memory[1] == 0:
            memory[1] = 1
            wishes.buy(out, 0, 100.0, 11.0)
"""


@pytest.mark.skipif(find_spec("numba") is None and "CI" not in os.environ, reason="compiled methods need numba")
def test_what_compiled_methods_keep_is_kept(desk: Desk) -> None:
    (desk.folder / "strategy.py").write_text(COUNTING)
    for run in range(3):
        driver = desk.start("live")
        for number in range(run * 120, run * 120 + 120):
            # The best bid, one cent higher with each.
            desk.feed.send([add(1, "KO", 10 + number, 10 + number, "B", 100, 5.0 + number / 100)])
        if run < 2:
            until(lambda driver=driver: driver.status()["feeds"][0]["messages"] >= 126, driver)
            assert desk.stop()["sent"] == 0
    until(lambda: driver.status()["fills"] == 1, driver)
