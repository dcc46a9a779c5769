"""Plain C++ loops over an ITCH file: decoding alone, and order-level books. Built from ../shared/peers with g++."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[3] / "shared" / "peers" / "itch"


def build(work: Path, *, small: bool) -> tuple[Path | None, Path | None]:
    """The peers' file and loop, in `work`, if their sources and a compiler are there."""
    compiler = shutil.which("g++")
    if compiler is None or not SOURCES.is_dir():
        return None, None
    for name in ("gen", "loop"):
        source = SOURCES / f"{name}.cpp"
        subprocess.run([compiler, "-O3", "-march=native", "-w", "-o", work / name, source], check=True)
    file = work / "day.itch"
    messages = "1000000" if small else "20000000"
    subprocess.run([work / "gen", file, messages], check=True, stdout=subprocess.DEVNULL)
    return file, work / "loop"


def times(loop: Path | None, file: Path | None) -> dict[str, float]:
    """Nanoseconds a message: {"decode": …, "book": …}; empty where the loop was not built."""
    if loop is None or file is None:
        return {}
    text = subprocess.run([loop, file], check=True, capture_output=True, text=True).stdout
    labels = {"decode": "decode only", "book": r"decode\+L3 book"}
    found = {key: re.findall(rf"{label}.*?([\d.]+) ns/msg", text) for key, label in labels.items()}
    return {key: statistics.median(float(each) for each in values) for key, values in found.items() if values}
