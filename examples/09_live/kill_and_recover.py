"""A live run at a venue of our own: killed in the middle of trading, started again, flattened, replayed.

    python examples/09_live/kill_and_recover.py           # a minute; --small for a shorter one

`exchange.toml` is the venue: agents trade twenty stocks, twenty of their seconds in one of ours. `run.toml` is the
run: two pairs. In the end the venue's ledger and our books must agree in every share, and the journal, which went on
over the kill, must say again what it said.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SMALL = "--small" in sys.argv or os.environ.get("HELIOS_SMALL") == "1"
OUT = Path("runs/09_live")
HELIOS = [sys.executable, "-m", "helios"]
ENVIRONMENT = {"HELIOS_PASSWORD": "sesame", **os.environ}


def start(*words: object) -> subprocess.Popen[bytes]:
    with (OUT / "processes.log").open("ab") as log:
        return subprocess.Popen([*HELIOS, *map(str, words)], env=ENVIRONMENT, stdout=log, stderr=log)


def ask(command: str) -> dict[str, Any]:
    words = [*HELIOS, "ctl", command, str(OUT / "live"), "--json"]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, check=False)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}


def until(found: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := found():
                return value
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.1)
    raise SystemExit(f"not within {seconds:g} s: {what}; see {OUT / 'processes.log'}")


def ledger() -> dict[str, Any]:
    return dict(json.loads((OUT / "ledger.json").read_text())["HELIOS"])


def fills() -> int:
    return int(ask("status")["status"]["fills"])


def enough(wanted: int) -> int:
    count = fills()
    return count if count >= wanted else 0


def live() -> subprocess.Popen[bytes]:
    return start("run", HERE / "run.toml", "--mode", "live", "--directory", OUT / "live")


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    wanted = 5 if SMALL else 50
    exchange = start("exchange", HERE / "exchange.toml", "--ledger", OUT / "ledger.json", "--quiet")
    run = None
    try:
        until((OUT / "ledger.json").exists, "the exchange")
        run = live()
        before = until(lambda: enough(wanted), f"{wanted} executions")
        run.send_signal(signal.SIGKILL)
        run.wait()
        print(f"1. {before} executions, then SIGKILL in the middle of trading")

        run = live()
        status = until(lambda: ask("status")["status"]["recovered"] and ask("status")["status"], "the run's return")
        inputs, took, unknown = (status["recovered"][key] for key in ("inputs", "seconds", "unknown"))
        print(f"2. back: {inputs:,} inputs in {took:.2f} s, {unknown} orders of unknown fate")

        until(lambda: enough(before + wanted), f"{wanted} more executions")
        ask("flatten")
        until(lambda: ledger()["open"] == 0 and not any(row["shares"] for row in ledger()["positions"]), "flat")
        until(lambda: fills() == ledger()["executed"], "the venue's executions in our books")
        print(f"3. flat: {fills()} executions in our books, {ledger()['executed']} in the venue's ledger")

        run.send_signal(signal.SIGTERM)
        if run.wait(30) != 0:
            raise SystemExit(f"the run did not stop in order; see {OUT / 'processes.log'}")
    finally:
        for process in filter(None, (run, exchange)):
            process.kill()
            process.wait()
    for command in ("replay", "latency"):
        print(f"{'4. ' if command == 'replay' else ''}", end="", flush=True)
        subprocess.run([*HELIOS, command, str(OUT / "live")], check=True)


if __name__ == "__main__":
    main()
