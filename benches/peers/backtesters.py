"""Other backtesters on the same work, each in a virtual environment of its own, named by its python:

    HELIOS_NAUTILUS_PYTHON      nautilus_trader==1.221.0
    HELIOS_HFTBACKTEST_PYTHON   hftbacktest==2.4.4

What is not installed is left out. The scripts are those of ../shared/peers.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[3] / "shared" / "peers"


def nautilus(mode: str, *, small: bool) -> float | None:
    """Events a second of nautilus_trader: mode "empty" or "pairs"."""
    text = _run("HELIOS_NAUTILUS_PYTHON", "nautilus_bench.py", mode, "200000" if small else "2000000")
    return None if text is None else float(json.loads(text.strip().splitlines()[-1])["ev_s"])


def hftbacktest(*, small: bool) -> dict[str, Any] | None:
    """Market making on price levels with hftbacktest: the best of its variants, warm, and what compiling them took."""
    text = _run("HELIOS_HFTBACKTEST_PYTHON", "hft_bench.py", "200000" if small else "2000000")
    if text is None:
        return None
    figures = {name: row for name, row in json.loads(text).items() if isinstance(row, dict)}
    best = max(figures, key=lambda name: figures[name]["ev_s_best"])
    return {
        "variant": best,
        "events_per_s": float(figures[best]["ev_s_best"]),
        "cold_s": float(figures[best]["cold_s"]),
        "trades": figures[best]["trades"],
    }


def _run(variable: str, script: str, *arguments: str) -> str | None:
    python = os.environ.get(variable)
    if python is None or not (SCRIPTS / script).is_file():
        return None
    return subprocess.run([python, SCRIPTS / script, *arguments], check=True, capture_output=True, text=True).stdout
