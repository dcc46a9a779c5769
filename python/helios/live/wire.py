"""`helios bench wire`: from a packet to an order over real sockets, beside the floor of the same machine and run.

Two processes. One is a live run on one thread that never sleeps, with 300 pairs, journal and all; the other sends it
ITCH in MoldUDP64 and takes its orders by SoupBinTCP and OUCH 5.0. The run's strategies are expressions once, and once
one Python class that is called at every change of a best price. The floor is the same two sockets, packets and answers
with no work between: a packet in, fifty bytes out. Inside is from the return of the receive call to the return of the
send call; outside is from before the packet's system call to the first order byte at the other end.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from helios.errors import RunError

if TYPE_CHECKING:
    from helios.live.plan import LiveRun

PAIRS: Final = 300
_QUANTILES: Final = ("p50", "p90", "p99", "p99.9")
_SIDES: Final = ("inside", "outside")
_SECONDS: Final = 120.0

_PROBE: Final = """
import json, sys
from helios._core import bench_wire_probe
settings = json.loads(sys.argv[1])
for name in ("to", "listen"):
    settings[name] = tuple(settings[name])
print(json.dumps(bench_wire_probe(**settings)))
"""


def bench_wire(*, small: bool = False) -> dict[str, Any]:
    """Inside and outside, floor and ours, medians of turns about; nanoseconds."""
    count, turns = (400, 1) if small else (4_000, 5)
    cores = sorted(os.sched_getaffinity(0))
    ours, other = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "floor": lambda: _floor(count, ours, other),
        "expression": lambda: _ours(_pairs(), count, ours, other),
        "callback": lambda: _ours([_called()], count, ours, other),
    }
    runs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for _ in range(turns):
        for kind, make in kinds.items():
            runs[kind].append(make())
    result: dict[str, Any] = {"pairs": PAIRS, "turns": turns, "cores": len(cores)}
    for kind, turned in runs.items():
        own: dict[str, Any] = {side: _medians([turn[side] for turn in turned]) for side in _SIDES}
        own |= {name: sum(turn["outside"][name] for turn in turned) for name in ("count", "silent")}
        if kind != "floor":
            # Against the floor of the same turn: what else the machine does differs from turn to turn.
            pairs = list(zip(turned, runs["floor"], strict=True))
            own["above_floor"] = {
                side: _medians([{q: turn[side][q] - floor[side][q] for q in _QUANTILES} for turn, floor in pairs])
                for side in _SIDES
            }
            stages = [stage for stage in turned[0]["stages"] if stage not in ("whole", "packet")]
            own["stages"] = {stage: _medians([turn["stages"][stage] for turn in turned]) for stage in stages}
        result[kind] = own
    return result


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {quantile: statistics.median(row[quantile] for row in rows) for quantile in _QUANTILES}


def print_wire(result: dict[str, Any], console: Any) -> None:
    """As tables."""
    from rich.table import Table

    from helios.research import text

    def table(title: str, rows: dict[str, dict[str, float]]) -> None:
        shown = Table(show_edge=False, padding=(0, 1, 0, 0))
        shown.add_column(title, no_wrap=True)
        for quantile in _QUANTILES:
            shown.add_column(quantile, justify="right", no_wrap=True)
        for name, row in rows.items():
            shown.add_row(name, *(text.nanoseconds(row[quantile]) for quantile in _QUANTILES))
        console.print(shown)
        console.print()

    kinds: list[str] = ["floor", "expression", "callback"]
    for side, title in (("inside", "packet to order"), ("outside", "seen from outside")):
        rows = {kind: result[kind][side] for kind in kinds}
        rows |= {f"{kind} above floor": result[kind]["above_floor"][side] for kind in kinds[1:]}
        table(title, rows)
    for kind in kinds[1:]:
        table(f"{kind}: stages", result[kind]["stages"])
    counts = ", ".join(f"{kind} {result[kind]['count']:,} ({result[kind]['silent']:,} without)" for kind in kinds)
    console.print(f"{PAIRS} pairs, {result['turns']} turns; stimuli that led to an order: {counts}", style="dim")


def _floor(count: int, ours: int | None, other: int | None) -> dict[str, Any]:
    from helios._core import bench_wire_floor

    feed, venue = _ports()
    with _probe(feed, venue, count, floor=True, core=other) as probe:
        inside = bench_wire_floor(("127.0.0.1", feed), ("127.0.0.1", venue), ours)
        return {"inside": inside, "outside": _said(probe)}


def _ours(strategy: list[Any], count: int, ours: int | None, other: int | None) -> dict[str, Any]:
    from helios.live.driver import native

    feed, venue = _ports()
    with tempfile.TemporaryDirectory() as folder:
        driver = native(_run(strategy, Path(folder), feed, venue, ours))
        with _probe(feed, venue, count, floor=False, core=other) as probe, _away_from(ours):
            driver.start()
            try:
                outside = _said(probe)
            finally:
                driver.stop(now=False)
        end = time.monotonic() + _SECONDS
        while driver.status()["state"] != "stopped":
            if time.monotonic() > end:
                raise RunError("the run of the bench does not end")
            time.sleep(0.01)
        stages = json.loads((Path(folder) / "latency.json").read_text())
        if "whole" not in stages:
            lost = sum(feed["missed"] for feed in driver.status()["feeds"])
            raise RunError(f"no packet led to an order; the socket lost {lost:,} messages: is the machine busy?")
        return {"inside": stages["whole"], "outside": outside, "stages": stages}


@contextmanager
def _away_from(core: int | None) -> Iterator[None]:
    """Threads that begin here keep off the engine's core, where it spins: the journal's, and this one."""
    before = os.sched_getaffinity(0)
    if core is not None and before - {core}:
        os.sched_setaffinity(0, before - {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _pairs() -> list[Any]:
    """300 pairs, each reverting to its mean; the noise between the stimuli is far from where they enter."""
    from helios.signals import pair

    stocks = _stocks()
    return [pair(a, b, halflife="200ms", enter=6.0, exit=3.0) for a, b in zip(stocks[::2], stocks[1::2], strict=True)]


def _called() -> Any:
    """The same in Python: against the first of a pair while it is a quarter dollar dearer than the second."""
    from helios.signals import Strategy

    class Pairs(Strategy):
        universe = _stocks()

        def on_start(self) -> None:
            self.mids = [0.0] * (2 * PAIRS)
            self.short = [False] * PAIRS

        def on_book(self, book: Any) -> None:
            at, mids = book.instrument, self.mids
            mids[at] = (book.bid + book.ask) * 0.5
            first = at & ~1
            a, b = mids[first], mids[first + 1]
            if a == 0.0 or b == 0.0:
                return
            short = a - b > 0.15
            if short != self.short[at >> 1]:
                self.short[at >> 1] = short
                self.target(first, -100 if short else 0)
                self.target(first + 1, 100 if short else 0)

    return Pairs()


def _run(strategy: list[Any], folder: Path, feed: int, venue: int, core: int | None) -> LiveRun:
    """On one thread that never sleeps."""
    from helios.live.plan import plan
    from helios.live.settings import FeedTable, LiveTable, SessionTable, Tables, checked
    from helios.research.backtest import Backtest

    live = LiveTable(directory=str(folder), wait="spin", cores=[] if core is None else [core], cancel_on_stop=False)
    feeds = [FeedTable(name="WIRE", lines=[f"127.0.0.1:{feed}"], symbols=_stocks())]
    sessions = [SessionTable(name="WIRE", protocol="ouch50", address=f"127.0.0.1:{venue}", user="BENCH")]
    settings = checked(Tables(live, feeds, sessions, [], None), "live", folder / "bench")
    return plan(settings, lambda data: Backtest(data=data, strategy=strategy, cash=1e9), strategy, set())


def _stocks() -> list[str]:
    return [f"W{number:03}{side}" for number in range(PAIRS) for side in "AB"]


def _ports() -> tuple[int, int]:
    """One that nobody listens to for packets, one for connections."""
    ports = []
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as own:
            own.bind(("127.0.0.1", 0))
            ports.append(own.getsockname()[1])
    return ports[0], ports[1]


@contextmanager
def _probe(feed: int, venue: int, count: int, *, floor: bool, core: int | None) -> Iterator[subprocess.Popen[str]]:
    """The other end, a process of its own."""
    settings = {
        "to": ("127.0.0.1", feed),
        "listen": ("127.0.0.1", venue),
        "stocks": _stocks(),
        "count": count + count // 10,
        "warm": count // 10,
        "floor": floor,
        "core": core,
    }
    command = [sys.executable, "-c", _PROBE, json.dumps(settings)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _said(probe: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = probe.communicate(timeout=_SECONDS)
    if probe.returncode:
        why = err.strip().splitlines()
        raise RunError(f"the other end of the wire failed: {why[-1] if why else 'it said nothing'}")
    said: dict[str, Any] = json.loads(out)
    return said
