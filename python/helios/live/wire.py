"""`helios bench wire`: from a packet to an order over real sockets, beside the floor of the same machine and run.

Two processes. One is a live run on one thread that never sleeps, with an expression strategy over 300 pairs, journal
and all; the other sends it ITCH in MoldUDP64 and takes its orders by SoupBinTCP and OUCH 5.0. The floor is the same
two sockets with no work between: a packet in, fifty bytes out. Inside is from the return of the receive call to the
return of the send call; outside is from before the packet's system call to the first order byte at the other end.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from helios.errors import RunError

if TYPE_CHECKING:
    from helios.live.plan import LiveRun

PAIRS: Final = 300
_QUANTILES: Final = ("p50", "p90", "p99", "p99.9")
_STAGES: Final = ("decoded", "journaled", "stepped", "encoded", "written", "whole")
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
    count, turns = (400, 1) if small else (4_000, 3)
    cores = sorted(os.sched_getaffinity(0))
    ours, other = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    floors, runs = [], []
    for _ in range(turns):
        floors.append(_floor(count, ours, other))
        runs.append(_ours(count, ours, other))
    result: dict[str, Any] = {"pairs": PAIRS, "orders": runs[0]["outside"]["count"], "cores": len(cores)}
    for side in ("inside", "outside"):
        for quantile in _QUANTILES:
            floor, own = (statistics.median(turn[side][quantile] for turn in turns) for turns in (floors, runs))
            result[f"{side}_{quantile}_ns"] = own
            result[f"{side}_{quantile}_ns_floor"] = floor
            result[f"{side}_{quantile}_ns_above_floor"] = own - floor
    for stage in _STAGES:
        for quantile in ("p50", "p99"):
            result[f"{stage}_{quantile}_ns"] = statistics.median(turn["stages"][stage][quantile] for turn in runs)
    result["silent"] = sum(turn["outside"]["silent"] for turn in runs)
    return result


def _floor(count: int, ours: int | None, other: int | None) -> dict[str, Any]:
    from helios._core import bench_wire_floor

    feed, venue = _ports()
    with _probe(feed, venue, count, floor=True, core=other) as probe:
        inside = bench_wire_floor(("127.0.0.1", feed), ("127.0.0.1", venue), ours)
        return {"inside": inside, "outside": _said(probe)}


def _ours(count: int, ours: int | None, other: int | None) -> dict[str, Any]:
    from helios.live.driver import native

    feed, venue = _ports()
    with tempfile.TemporaryDirectory() as folder:
        driver = native(_run(Path(folder), feed, venue, ours))
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


def _run(folder: Path, feed: int, venue: int, core: int | None) -> LiveRun:
    """300 pairs, each reverting to its mean, on one thread that never sleeps."""
    from helios.live.plan import plan
    from helios.live.settings import FeedTable, LiveTable, SessionTable, Tables, checked
    from helios.research.backtest import Backtest
    from helios.signals import pair

    stocks = _stocks()
    strategy = [pair(a, b, halflife="200ms") for a, b in zip(stocks[::2], stocks[1::2], strict=True)]
    live = LiveTable(directory=str(folder), wait="spin", cores=[] if core is None else [core], cancel_on_stop=False)
    feeds = [FeedTable(name="WIRE", lines=[f"127.0.0.1:{feed}"])]
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
