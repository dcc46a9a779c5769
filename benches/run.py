"""make bench: our figures, and beside them those of peers on the same machine in the same run.

    python benches/run.py [--small] [--json FILE]

Peers are used where they are found and left out where not: the C++ loops of ../shared/peers (needs g++), and
nautilus_trader in a virtual environment of its own, named by HELIOS_NAUTILUS_PYTHON (its python). Medians of several
runs; ratios say more than times on a shared machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from helios.research.bench import run_bench
from helios.research.simulate import simulate
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT.parent / "shared" / "peers"
Row = tuple[str, str, str, str]


def main() -> None:
    small = "--small" in sys.argv[1:]
    console = Console(highlight=False)
    results: dict[str, Any] = {}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="helios-bench-") as folder:
        work = Path(folder)
        file, loop = cpp_peer(work, small)
        console.print("decode and books …")
        itch = results["itch"] = run_bench("itch", small=small, file=file)
        book = results["book"] = run_bench("book", small=small, file=file)
        peer = results["cpp"] = cpp_times(loop, file)
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
        run = results["backtest"] = run_bench("backtest", small=small)
        rows.append(("expression pairs on quotes", rate(run["expression_events_per_s"]), ">= 8 M/s", ""))
        for mode, key, wanted in (("empty", "python_empty", ">= 20 x"), ("pairs", "python_pairs", "")):
            theirs = results[f"nautilus_{mode}"] = nautilus(mode, small)
            ours = run[f"{key}_events_per_s"]
            beside = (
                "nautilus_trader: not installed"
                if theirs is None
                else f"nautilus {rate(theirs)}: {ours / theirs:.1f} x"
            )
            rows.append((f"Python strategy on every tick, {mode}", rate(ours), wanted, beside))
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


def ns(value: float) -> str:
    return f"{value:,.1f} ns" if value < 1000 else f"{value:,.0f} ns"


def rate(value: float) -> str:
    return f"{value / 1e6:.2f} M/s"


def against(name: str, value: float | None) -> str:
    return f"{name}: not built" if value is None else f"{name} {ns(value)}"


def cpp_peer(work: Path, small: bool) -> tuple[Path | None, Path | None]:
    """The peers' file and loop, built if their sources and a compiler are there."""
    compiler = shutil.which("g++")
    if compiler is None or not (PEERS / "itch").is_dir():
        return None, None
    for name in ("gen", "loop"):
        source = PEERS / "itch" / f"{name}.cpp"
        subprocess.run([compiler, "-O3", "-march=native", "-w", "-o", work / name, source], check=True)
    file = work / "day.itch"
    messages = "1000000" if small else "20000000"
    subprocess.run([work / "gen", file, messages], check=True, stdout=subprocess.DEVNULL)
    return file, work / "loop"


def cpp_times(loop: Path | None, file: Path | None) -> dict[str, float]:
    if loop is None or file is None:
        return {}
    text = subprocess.run([loop, file], check=True, capture_output=True, text=True).stdout
    times = {"decode": "decode only", "book": r"decode\+L3 book"}
    found = {key: re.findall(rf"{label}.*?([\d.]+) ns/msg", text) for key, label in times.items()}
    return {key: statistics.median(float(each) for each in values) for key, values in found.items() if values}


def nautilus(mode: str, small: bool) -> float | None:
    python = os.environ.get("HELIOS_NAUTILUS_PYTHON")
    script = PEERS / "nautilus_bench.py"
    if python is None or not script.is_file():
        return None
    events = "200000" if small else "2000000"
    text = subprocess.run([python, script, mode, events], check=True, capture_output=True, text=True).stdout
    return float(json.loads(text.strip().splitlines()[-1])["ev_s"])


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
