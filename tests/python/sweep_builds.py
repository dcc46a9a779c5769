"""What the sweeps of the tests build: in a module of its own, since worker processes import it."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import polars as pl


def market(rows: int = 3_000, seed: int = 5) -> pl.DataFrame:
    """Quotes of three symbols by turns, one a second; KO and PEP share a path."""
    rng = np.random.default_rng(seed)
    common = np.cumsum(rng.normal(0, 0.02, rows))
    own = 0.1 * rng.normal(0, 1, rows)
    symbols = np.array(["KO", "PEP", "XOM"])[np.arange(rows) % 3]
    mid = np.round(np.where(symbols == "PEP", 60, 50) + common + own, 2)
    start = datetime(2026, 1, 5, 14, 30)
    return pl.DataFrame(
        {
            "ts": [start + timedelta(seconds=i) for i in range(rows)],
            "symbol": symbols,
            "bid": mid - 0.01,
            "bid_size": rng.integers(1, 9, rows) * 100,
            "ask": mid + 0.01,
            "ask_size": rng.integers(1, 9, rows) * 100,
        }
    )


def pairs(data: Any, enter: float = 1.5, exit: float = 0.5, window: str | int = "60s") -> hx.Backtest:
    return hx.Backtest(
        data=data,
        strategy=hx.pair("KO", "PEP", beta=0.8, enter=enter, exit=exit, window=window),
        venue=hx.Venue(fees=hx.Fees(taker_per_share=0.003)),
        sample="10s",
    )


def logged(data: Any, enter: float, log: str, pause: float = 0.0) -> hx.Backtest:
    """Writes a line for each time that it is called, and takes its time."""
    with Path(log).open("a") as file:
        file.write(f"{enter}\n")
    time.sleep(pause)
    return pairs(data, enter)


def troubled(data: Any, enter: float) -> Any:
    """Each value has a trouble of its own."""
    if enter == 1:
        raise KeyError("no such thing")
    if enter == 2:
        sys.exit("enough")
    if enter == 3:
        return "no backtest"
    if enter == 4:
        return pairs(hx.quotes(market(300)), 1.5)
    if enter == 5:
        return pairs(data, enter, exit=9)
    return pairs(data, enter)


def flaky(data: Any, enter: float, flag: str) -> hx.Backtest:
    """Fails while a file is there."""
    if Path(flag).exists():
        raise OSError("the flag is up")
    return pairs(data, enter)


def killed(data: Any, enter: float, marker: str) -> hx.Backtest:
    """The last value kills its process, once the others are done."""
    if enter == 9:
        while not Path(marker).exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return pairs(data, enter)


def clash(data: Any, net: float, fees: float = 0.001) -> hx.Backtest:
    return pairs(data, net)


def private_bytes(pid: int | str) -> int:
    """Memory of a process that no file stands behind."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss_Anon:")))


class Waiting(hx.Strategy):
    """Reads up to a moment, then says so and waits: what a worker holds can be looked at meanwhile."""

    universe = ("KO", "PEP", "XOM")
    timer = "1h"

    def __init__(self, folder: str, until_ns: int) -> None:
        self.folder, self.until_ns, self.said = Path(folder), until_ns, False

    def on_start(self) -> None:
        self.before = private_bytes("self")

    def on_timer(self, now: int) -> None:
        if now >= self.until_ns and not self.said:
            self.said = True
            (self.folder / f"{os.getpid()}.{private_bytes('self') - self.before}").touch()
            while not (self.folder / "go").exists():
                time.sleep(0.01)


def waiting(data: Any, number: int, folder: str, until_ns: int) -> hx.Backtest:
    return hx.Backtest(data=data, strategy=Waiting(folder, until_ns), sample="1h", marks=None)
