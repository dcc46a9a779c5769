"""make bench: our figures, and beside them those of peers on the same machine in the same run.

    python benches/run.py [--small] [--json FILE]

Peers (benches/peers) are used where they are found and left out where not. Medians of several runs; ratios say more
than times on a shared machine.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from helios.research.bench import run_bench
from helios.research.simulate import simulate
from peers import backtesters, cpp
from rich.console import Console
from rich.table import Table

Row = tuple[str, str, str, str]


def main() -> None:
    small = "--small" in sys.argv[1:]
    console = Console(highlight=False)
    results: dict[str, Any] = {}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="helios-bench-") as folder:
        work = Path(folder)
        file, loop = cpp.build(work, small=small)
        console.print("decode and books …")
        itch = results["itch"] = run_bench("itch", small=small, file=file)
        book = results["book"] = run_bench("book", small=small, file=file)
        peer = results["cpp"] = cpp.times(loop, file)
        decode, books = peer.get("decode"), peer.get("book")
        rows.append(("ITCH decode", ns(itch["ns_per_message"]), "<= 8 ns", against("plain C++", decode)))
        rows.append(
            ("ITCH to books and best prices", ns(book["ns_per_message"]), "<= 80 ns", against("plain C++", books))
        )
        console.print("step …")
        step = results["step"] = run_bench("step", small=small)
        rows.append(("message to order bytes, p50", ns(step["order_p50_ns"]), "<= 500 ns", "300 pairs, 7 limits"))
        rows.append(("message to order bytes, p99", ns(step["order_p99_ns"]), "<= 2,000 ns", ""))
        console.print("backtest …")
        rows += backtests(results, small)
        rows += market_making(results, small)
        console.print("matching engine …")
        rows += matching(results, small)
        console.print("graph and columns …")
        graph = results["graph"] = run_bench("graph", small=small)
        beside = f"{graph['pairs']} pairs, {graph['pairs_a_quote']:.0f} a quote"
        rows.append(("quote through books and graph", ns(graph["ns_per_quote"]), "<= 500 ns", beside))
        columns = results["columns"] = run_bench("columns", small=small)
        for name, figures in columns.items():
            if isinstance(figures, dict):
                beside = f"Polars {ns(figures['polars_ns_per_row'])}: ratio {figures['ratio']:.2f}"
                rows.append((f"{name}, a row", ns(figures["ns_per_row"]), "<= 1.0 of Polars", beside))
        console.print("import and memory …")
        seconds = results["import_s"] = import_seconds()
        rows.append(("import helios", f"{seconds * 1e3:.0f} ms", "<= 100 ms", ""))
        one, four = results["peak_mb"] = memory(work)
        rows.append(("peak memory, 4 x longer file", f"{one:.0f} -> {four:.0f} MB", "no growth", "helios itch stats"))
    table = Table(title="helios bench", title_justify="left", show_edge=False)
    for heading in ("what", "ours", "wanted", "beside it"):
        table.add_column(heading, justify="right" if heading == "ours" else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if "--json" in sys.argv:
        Path(sys.argv[sys.argv.index("--json") + 1]).write_text(json.dumps(results, indent=2) + "\n")


def backtests(results: dict[str, Any], small: bool) -> list[Row]:
    """Pairs and an empty strategy against nautilus_trader."""
    run = results["backtest"] = run_bench("backtest", small=small)
    theirs = {mode: backtesters.nautilus(mode, small=small) for mode in ("empty", "pairs")}
    results["nautilus"] = theirs
    body = f"the rule's body alone, no engine: {rate(1e9 / run['python_pairs_body_ns'])}"
    rows = []
    for what, key, mode, wanted, more in (
        ("pairs written as expressions", "expression", "pairs", ">= 8 M/s and 20 x", ""),
        ("pairs rule in Python, compiled", "compiled_pairs", "pairs", ">= 20 x", ""),
        ("pairs rule in Python, called on every tick", "python_pairs", "pairs", "", body),
        ("empty strategy, called on every tick", "python_empty", "empty", ">= 20 x", ""),
    ):
        ours, peer = run[f"{key}_events_per_s"], theirs[mode]
        if ours is None:
            continue
        beside = "nautilus: not installed" if peer is None else f"nautilus {rate(peer)}: {ours / peer:.1f} x"
        rows.append((what, rate(ours), wanted, "; ".join(filter(None, (beside, more)))))
    return rows


def matching(results: dict[str, Any], small: bool) -> list[Row]:
    """Commands in, events out; the best of many short passes."""
    run = results["matching"] = run_bench("matching", small=small)
    beside = "adds, cancels, takes, changes; 100 instruments, 10,000 orders"
    liquibook = "Liquibook, measured apart on such a machine: 5.9 to 7.0 M/s"
    return [
        ("matching engine, mixed flow", rate(run["mixed_orders_per_s"]), ">= 9 M/s", beside),
        ("the same, nothing plain", rate(run["guarded_orders_per_s"]), "", "a hidden order in every instrument"),
        ("matching engine, new orders only", rate(run["submits_orders_per_s"]), ">= 9 M/s", liquibook),
    ]


def market_making(results: dict[str, Any], small: bool) -> list[Row]:
    """The same rows of price levels against hftbacktest, whose best variant counts."""
    run = results["market_making"] = run_bench("market_making", small=small)
    peer = results["hftbacktest"] = backtesters.hftbacktest(small=small)
    rows = []
    for what, key, wanted in (
        ("market making on price levels, expression", "expression", ">= 1.2 x"),
        ("market making on price levels, Python timer", "python_timer", ""),
    ):
        ours = run[f"{key}_events_per_s"]
        beside = "hftbacktest: not installed"
        if peer is not None:
            ratio = f"{ours / peer['events_per_s']:.2f} x"
            beside = f"hftbacktest {rate(peer['events_per_s'])} after {peer['cold_s']:.1f} s: {ratio}"
        rows.append((what, rate(ours), wanted, beside))
    return rows


def ns(value: float) -> str:
    return f"{value:,.1f} ns" if value < 1000 else f"{value:,.0f} ns"


def rate(value: float) -> str:
    return f"{value / 1e6:.2f} M/s"


def against(name: str, value: float | None) -> str:
    return f"{name}: not built" if value is None else f"{name} {ns(value)}"


def import_seconds() -> float:
    """Import alone: the time inside the interpreter, median of eleven processes."""
    code = "import time; t = time.perf_counter(); import helios; print(time.perf_counter() - t)"
    times = [float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(11)]
    return statistics.median(times)


def memory(work: Path) -> tuple[float, float]:
    """Peak megabytes of reading a simulated day, and one four times as long with as many orders at once."""
    peaks = []
    for minutes in (5, 20):
        day = work / f"{minutes}.itch"
        simulate(day, symbols=200, minutes=minutes)
        # VmHWM belongs to the program; ru_maxrss would still show the size of the process that started it.
        code = (
            "import re, sys; from pathlib import Path; from helios._core import itch_stats; itch_stats(sys.argv[1]);"
            "print(int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024)"
        )
        peaks.append(float(subprocess.check_output([sys.executable, "-c", code, str(day)], text=True)))
    return peaks[0], peaks[1]


if __name__ == "__main__":
    main()
