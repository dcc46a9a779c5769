"""The core's live driver under `helios run`'s own code: real sockets, paper and live, restarts, operators."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helios.config import load_live
from helios.errors import DataError, HeliosError, RunError
from helios.live.driver import Driver, native
from helios.live.plan import LiveRun
from helios.research.backtest import core_errors
from helios.research.replay import replay
from live_market import Feed, Venue, add, directory, free_port

STRATEGY = '''
from helios import Strategy


class Buyer(Strategy):
    """Buys a hundred whenever the ask is at most ten, and notes what it holds."""

    universe = ("KO", "PEP")
    seen: list[tuple[str, float]] = []

    def on_book(self, book):
        if book.ask <= 10.0 and self.position(book.symbol) == 0:
            self.buy(book.symbol, 100, book.ask)
        type(self).seen.append((book.symbol, self.position(book.symbol)))
'''

RUN = """
cash = 1_000_000
[strategy]
class = "strategy.py:Buyer"
[live]
directory = "desk"
threads = "{threads}"
stop_within = "2s"
[[feed]]
name = "XNAS"
lines = ["127.0.0.1:{feed}"]
[[session]]
name = "XNAS"
protocol = "ouch50"
address = "127.0.0.1:{venue}"
user = "HELIOS"
"""


class Desk:
    """A run file, a market and the driver."""

    def __init__(self, folder: Path, threads: str = "one") -> None:
        self.venue, self.port, self.folder = Venue(), free_port(), folder
        (folder / "desk").mkdir()
        (folder / "strategy.py").write_text(STRATEGY)
        (folder / "run.toml").write_text(RUN.format(threads=threads, feed=self.port, venue=self.venue.port))
        self.driver: Any = None

    def start(self, mode: Any) -> Driver:
        """A driver that runs, its books primed with an ask of 11 in both stocks."""
        driver = native(load_live(self.folder / "run.toml", mode))
        driver.start()
        self.driver = driver
        if mode == "live":
            until(lambda: driver.status()["links"][0]["state"] == "settled", driver)
        self.feed = Feed(self.port)
        self.feed.send([*directory(1, "KO"), *directory(2, "PEP")])
        self.feed.send([add(1, "KO", 2, 1, "S", 100, 11.0), add(2, "PEP", 2, 2, "S", 100, 11.0)])
        # A strategy that fails at the first book ends the run before the rest is counted.
        until(lambda: driver.status()["feeds"][0]["messages"] >= 6 or driver.status()["state"] == "stopped", driver)
        return driver

    def stop(self) -> dict[str, Any]:
        """Stops it in order; its last status."""
        self.driver.stop(False)
        until(lambda: self.driver.status()["state"] == "stopped", self.driver)
        self.feed.close()
        status: dict[str, Any] = self.driver.status()
        return status

    def replayed(self) -> tuple[Any, ...]:
        """What a replay of the journal says differs, and what is wrong with the file."""
        replayed = replay(self.folder / "desk" / "live.journal")
        return replayed.inputs, replayed.outputs, replayed.digest, replayed.difference, replayed.damage


def until(true: Callable[[], Any], driver: Any = None, seconds: float = 8.0) -> None:
    """Waits for a condition, not for a time."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, driver and (driver.status(), driver.notes())
        time.sleep(0.005)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    if desk.driver is not None:
        desk.driver.stop(True)
    desk.venue.close()


def positions(driver: Driver) -> dict[str, float]:
    return {row["instrument"]: row["quantity"] for row in driver.positions() if row["quantity"]}


def test_paper(desk: Desk) -> None:
    driver = desk.start("paper")
    assert driver.status()["links"] == []
    desk.feed.send([add(1, "KO", 3, 3, "S", 300, 10.0)])
    until(lambda: driver.status()["fills"] == 1, driver)
    assert positions(driver) == {"KO": 100.0}
    status = desk.stop()
    assert (status["reason"], status["sent"], status["dropped"]) == ("", 1, 0)
    _, outputs, digest, difference, damage = desk.replayed()
    assert (difference, damage) == (None, None)
    assert outputs > 0 and driver.join() == ("", False, digest)  # type: ignore[attr-defined]
    assert desk.venue.logins == 0
    latency = json.loads((desk.folder / "desk" / "latency.json").read_text())
    assert latency["packet"]["count"] == 3


@pytest.mark.parametrize("threads", ["one", "four"])
def test_live(tmp_path: Path, threads: str) -> None:
    desk = Desk(tmp_path, threads)
    try:
        driver = desk.start("live")
        desk.feed.send([add(1, "KO", 3, 3, "S", 300, 10.0)])
        until(lambda: driver.status()["fills"] == 1, driver)
        assert desk.venue.orders == [{"side": "B", "shares": 100, "symbol": "KO", "price": 100_000}]
        assert (positions(driver), driver.orders()) == ({"KO": 100.0}, [])
        assert desk.stop()["reason"] == ""
        assert desk.venue.left.wait(10)
        assert desk.replayed()[3:] == (None, None)
    finally:
        desk.driver.stop(True)
        desk.venue.close()


def test_a_restart_goes_on(desk: Desk) -> None:
    driver = desk.start("live")
    desk.feed.send([add(1, "KO", 3, 3, "S", 300, 10.0)])
    until(lambda: driver.status()["fills"] == 1, driver)
    inputs = desk.stop()["inputs"]
    driver = desk.start("live")
    recovered = driver.status()["recovered"]
    assert recovered is not None and recovered["inputs"] == inputs and recovered["unknown"] == 0
    assert positions(driver) == {"KO": 100.0}
    # The strategy knows what it holds, and does not buy again; its next order has another number.
    desk.feed.send([add(1, "KO", 3, 3, "S", 300, 10.0), add(2, "PEP", 3, 4, "S", 300, 9.0)])
    until(lambda: driver.status()["fills"] == 2, driver)
    assert positions(driver) == {"KO": 100.0, "PEP": 100.0}
    assert [order["symbol"] for order in desk.venue.orders] == ["KO", "PEP"]
    desk.stop()
    assert desk.replayed()[3:] == (None, None)


def test_another_configuration_does_not_go_on(desk: Desk) -> None:
    driver = desk.start("paper")
    desk.feed.send([add(1, "KO", 3, 3, "S", 300, 10.0)])
    until(lambda: driver.status()["fills"] == 1, driver)
    desk.stop()
    run = desk.folder / "run.toml"
    run.write_text(run.read_text() + "[limits]\norder_quantity = 10\n")
    with pytest.raises(RunError, match="of another configuration: limits"):
        native(load_live(run, "paper"))


def test_a_changed_configuration_that_said_nothing_else_does_not_go_on_either(desk: Desk) -> None:
    """It would run, and the journal would not replay from then on."""
    desk.start("paper")
    desk.driver.stop(True)
    until(lambda: desk.driver.status()["state"] == "stopped", desk.driver)
    run = desk.folder / "run.toml"
    run.write_text(run.read_text().replace("cash = 1_000_000", "cash = 2_000_000"))
    with pytest.raises(RunError, match="of another configuration: cash"):
        native(load_live(run, "paper"))


def test_a_start_that_failed_leaves_nothing_to_go_on_with(desk: Desk) -> None:
    """It says nothing of the next run's configuration: that one replays."""
    run = desk.folder / "run.toml"
    good = run.read_text()
    run.write_text(good.replace(f"127.0.0.1:{desk.venue.port}", "no.such.host.invalid:1") + "[limits]\nposition = 7\n")
    with pytest.raises(RunError, match=r"no\.such\.host\.invalid"):
        started(load_live(run, "live"))
    run.write_text(good)
    desk.start("live")
    desk.feed.send([add(1, "KO", 3, 3, "S", 300, 10.0)])
    until(lambda: desk.driver.status()["fills"] == 1, desk.driver)
    assert desk.stop()["recovered"] is None
    assert desk.replayed()[3:] == (None, None)


def started(live: LiveRun) -> Driver:
    driver = native(live)
    with core_errors():
        driver.start()
    return driver


@pytest.mark.parametrize("kept", [0, 1, 24, 100, None])
def test_a_run_killed_before_its_first_input_starts(desk: Desk, kept: int | None) -> None:
    """The journal's window is reserved, and perhaps a part of its first record is there."""
    desk.start("paper")
    desk.stop()
    journal = desk.folder / "desk" / "live.journal"
    whole = journal.read_bytes()
    journal.write_bytes(b"" if kept is None else whole[:kept] + bytes(100_000))
    for snapshot in (desk.folder / "desk").glob("state-*"):
        snapshot.unlink()
    desk.start("paper")
    assert desk.stop()["recovered"] is None
    assert desk.replayed()[3:] == (None, None)


@pytest.mark.parametrize("bytes_", [b"hello, I am no journal", b"\0" * 100 + b"x", b"\x89HLJ\r\n\x1a\n" + b"x" * 200])
def test_what_is_no_journal_of_ours_stays_as_it_is(desk: Desk, bytes_: bytes) -> None:
    journal = desk.folder / "desk" / "live.journal"
    journal.write_bytes(bytes_)
    with pytest.raises((RunError, DataError, HeliosError)):
        started(load_live(desk.folder / "run.toml", "paper"))
    assert journal.read_bytes() == bytes_


def test_what_is_written_is_its_owners_alone(desk: Desk) -> None:
    (desk.folder / "desk").chmod(0o755)
    run = desk.folder / "run.toml"
    run.write_text(run.read_text().replace("[live]", '[live]\nsnapshot_every = "1s"'))
    # Only what says what it remembers is in a snapshot.
    says = "\n    def on_save(self):\n        return {}\n\n    def on_load(self, memory):\n        pass\n"
    (desk.folder / "strategy.py").write_text(STRATEGY + says)
    desk.start("paper")
    until(lambda: list((desk.folder / "desk").glob("state-*.snapshot")), desk.driver)
    desk.stop()
    files = [file for file in (desk.folder / "desk").iterdir() if file.is_file()]
    assert {"live.journal", "latency.json"} <= {file.name for file in files}
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in files if file.stat().st_mode & 0o077} == {}


def test_two_runs_do_not_take_each_others_packets(desk: Desk, tmp_path: Path) -> None:
    desk.start("paper")
    other = load_live(desk.folder / "run.toml", "paper", directory=tmp_path / "other")
    (tmp_path / "other").mkdir()
    with pytest.raises(RunError, match="cannot bind: Address already in use"):
        started(other)


def test_an_operator(desk: Desk) -> None:
    driver = desk.start("paper")
    assert driver.command("pause")["refused"] == ""
    until(lambda: driver.status()["trading"] == "reducing")
    desk.feed.send([add(1, "KO", 3, 3, "S", 300, 10.0)])
    until(lambda: driver.status()["refused"] >= 1, driver)
    assert driver.command("resume")["refused"] == ""
    assert driver.command("limit", "order_quantity", 10 * 10**8)["refused"] == ""
    assert "nothing feeds it" in driver.command("limit", "order_quantity", -1)["refused"]
    done = driver.command("kill")
    assert done["refused"] == "" and done["input"] is not None
    assert "for good" in driver.command("resume")["refused"]
    until(lambda: driver.status()["trading"] == "killed")
    desk.stop()
    assert desk.replayed()[3:] == (None, None)


def test_a_strategy_that_fails_is_told_with_its_traceback(desk: Desk) -> None:
    source = desk.folder / "strategy.py"
    source.write_text(source.read_text().replace("if book.ask", "raise ValueError('no more')\n        if book.ask"))
    driver = desk.start("paper")
    until(lambda: driver.status()["state"] == "stopped", driver)
    reason = driver.status()["reason"]
    assert "ValueError: no more" in reason and "on_book" in reason
    assert desk.replayed()[3:] == (None, None)


def test_a_lost_lease_ends_the_run(desk: Desk) -> None:
    driver = desk.start("live")
    driver.may_send_until(time.monotonic_ns() + 10**12)
    assert driver.status()["may_send"]
    driver.may_send_until(time.monotonic_ns())
    until(lambda: driver.status()["state"] == "stopped", driver)
    assert "the lease is over" in driver.status()["reason"]
    assert desk.replayed()[3:] == (None, None)
