"""Sweeps: how much faster two processes are than one, and what starting them costs.

    python benches/sweep.py [--small] [--json FILE]

One simulated day, a grid of pairs backtests, by `Processes(1)` and `Processes(2)` by turns; the best wall time of each
counts. A machine that others use makes the wall times longer and the ratio smaller. So the ratio that CPU time allows
is printed too: what the parent does alone, and the processor time of the workers divided among them.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import helios as hx
from helios.research.simulate import simulate

WORKERS = 2


def build(data: Any, enter: float, exit: float) -> hx.Backtest:
    symbols = data.symbols
    pairs = [hx.pair(a, b, window="5m", enter=enter, exit=exit) for a, b in itertools.pairwise(symbols)]
    return hx.Backtest(data=data, strategy=pairs, marks=None)


def measure(data: Any, params: dict[str, list[float]], workers: int) -> dict[str, float]:
    """Wall time of a sweep, and processor time of this process and of its workers, seconds."""
    before, begun = os.times(), time.perf_counter()
    found = hx.sweep(build, params, data=data, executor=hx.Processes(workers))
    wall, after = time.perf_counter() - begun, os.times()
    assert not found.failed.height, found.failed["error"][0]
    return {
        "wall": wall,
        "parent": after.user + after.system - before.user - before.system,
        "workers": after.children_user + after.children_system - before.children_user - before.children_system,
        "points": float(found.frame["seconds"].sum()),
    }


def start_up() -> float:
    """Processor time that a worker needs before its first point, seconds."""
    before = os.times()
    assert list(hx.Processes(1).map(_imports, [0])) == [None]
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _imports(_: int) -> None:
    import helios._core
    import helios.research.sweep  # noqa: F401


def main() -> None:
    small = "--small" in sys.argv[1:]
    enters, exits = ([1.5, 2.0], [0.5]) if small else ([1.5 + k / 8 for k in range(12)], [0.0, 0.25, 0.5, 0.75])
    params = {"enter": enters, "exit": exits}
    with tempfile.TemporaryDirectory(prefix="helios-sweep-bench-") as folder:
        day = Path(folder) / "day.itch"
        simulate(day, symbols=4 if small else 40, minutes=2 if small else 60, seed=7, group_size=2)
        data = hx.itch(day, date="2026-01-05")
        turns = [{n: measure(data, params, n) for n in (1, WORKERS)} for _ in range(1 if small else 2)]
        size = day.stat().st_size
    one, two = (min((turn[n] for turn in turns), key=lambda each: each["wall"]) for n in (1, WORKERS))
    worker = start_up()
    alone = min(turn[1]["workers"] + turn[1]["parent"] for turn in turns)
    shared = min(turn[WORKERS]["parent"] + turn[WORKERS]["workers"] / WORKERS for turn in turns)
    result = {
        "points": len(enters) * len(exits),
        "data_mb": size / 1e6,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "one_process_s": one["wall"],
        f"{WORKERS}_processes_s": two["wall"],
        "speed_up_wall": one["wall"] / two["wall"],
        "speed_up_by_cpu_time": alone / shared,
        "cpu_of_points_one_process_s": one["workers"],
        f"cpu_of_points_{WORKERS}_processes_s": two["workers"],
        "parent_cpu_s": two["parent"],
        "start_of_a_worker_cpu_s": worker,
    }
    for key, value in result.items():
        print(f"{key:>32}  {value:,.3f}" if isinstance(value, float) else f"{key:>32}  {value:,}")
    if "--json" in sys.argv[1:]:
        Path(sys.argv[sys.argv.index("--json") + 1]).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
