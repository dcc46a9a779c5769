"""Time of one call of a strategy: compiled, in Python, and as an expression.

    python benches/compiled.py [--small]

Quotes of one symbol; the strategy keeps an exponential mean of the mid and wishes when the mid is far from it, which is
set so far that it never is. The run with nothing to call is subtracted: what is left is the call and what it does. Best
of several runs; on a shared machine the difference of two times is noisy.
"""

from __future__ import annotations

import sys
from typing import Any

import helios as hx
import numpy as np
import polars as pl
from helios.signals import wishes


def watch(event: Any, books: Any, p: Any, memory: Any, out: Any) -> None:
    book = books[event.instrument]
    mid = (book.bid + book.ask) * 0.5
    memory[0] += 0.01 * (mid - memory[0])
    if mid - memory[0] > p.enter:
        wishes.target(out, event.instrument, 100.0)


def nothing(event: Any, books: Any, p: Any, memory: Any, out: Any) -> None:
    pass


class Machine(hx.Strategy):
    enter: float = 1e9
    memory = 1
    on_book = hx.compiled(watch)


class Empty(hx.Strategy):
    on_book = hx.compiled(nothing)


class InPython(hx.Strategy):
    enter: float = 1e9

    def on_start(self) -> None:
        self.mean = 0.0

    def on_book(self, book: Any) -> None:
        mid = (book.bid + book.ask) * 0.5
        self.mean += 0.01 * (mid - self.mean)
        if mid - self.mean > self.enter:
            self.target(book.instrument, 100.0)


class EmptyPython(hx.Strategy):
    def on_book(self, book: Any) -> None:
        pass


class Expression(hx.Strategy):
    enter: float = 1e9

    def signals(self) -> Any:
        mid = hx.mid("KO")
        side = (mid - mid.ewm(70).mean()).hysteresis(enter=self.enter, exit=0)
        return hx.target("KO", side, quantity=100)


class Idle(hx.Strategy):
    """Reads an instrument that has one quote: nothing is computed for the others."""

    universe = ("KO", "PEP")

    def signals(self) -> Any:
        return hx.record("once", hx.mid("PEP"))


def quotes(rows: int) -> Any:
    rng = np.random.default_rng(1)
    mid = 60 + 0.01 * np.cumsum(rng.integers(-1, 2, rows))
    ts = np.datetime64("2026-01-05T14:30", "ns") + np.arange(rows) * np.timedelta64(1_000_000, "ns")
    table = {"ts": ts, "symbol": "KO", "bid": mid - 0.01, "bid_size": 100, "ask": mid + 0.01, "ask_size": 100}
    frame = pl.DataFrame(table)
    other = frame.head(1).with_columns(symbol=pl.lit("PEP"))
    return hx.quotes(pl.concat([other, frame]))


def main() -> None:
    small = "--small" in sys.argv[1:]
    rows, times = (20_000, 1) if small else (1_000_000, 7)
    data = quotes(rows)
    kinds: dict[str, type[hx.Strategy]] = {
        "nothing to call": Idle,
        "compiled, empty": Empty,
        "compiled": Machine,
        "expression": Expression,
        "Python, empty": EmptyPython,
        "Python": InPython,
    }
    best = dict.fromkeys(kinds, float("inf"))
    for _ in range(times):
        for name, make in kinds.items():
            run = hx.Backtest(data=data, strategy=make(), marks=None, sample="1h").run()
            best[name] = min(best[name], float(run.meta["wall_seconds"]) / rows * 1e9)
    base = best["nothing to call"]
    print(f"{rows:,} quotes, best of {times}")
    for name, ns in best.items():
        print(f"{name:>16}  {ns:7.1f} ns an event   {ns - base:7.1f} ns a call")


if __name__ == "__main__":
    main()
