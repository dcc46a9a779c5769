"""What our orders do to a market of agents, and what a replay of its recorded day does not show.

    python examples/07_a_market_that_answers.py [SEEDS]          (20 without it; the figures of the docs are of 100)

The same agents, with the same seeds, three times: without us; with us, alive; and as a recorded day on which we trade.
Values move alike in all three; what agents draw differs from our first order on, so that only means over seeds tell.

- a block: the mid after one market order, over the mid without it, and how that grows with size;
- a steady buyer: what it pays above the mids that would have been there without it, alive and on the recorded day;
- a passive trader, one who joins the best price and one who improves it: what its fills are worth ten seconds later.

Figures are means over seeds ± one standard error. Nothing here says what a real market would do:
docs/models/reactive.md.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import polars as pl
from helios.research.simulate import simulate
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
#: Moments and mids.
Course = tuple[NDArray[np.int64], Array]

SECOND = 1_000_000_000
OPEN = (9 * 60 + 30) * 60 * SECOND
MARKET: dict[str, Any] = {"symbols": 4, "group_size": 2, "rate": 10.0}
VENUE = hx.Venue(latency=hx.Latency(order="100us", report="100us", feed="50us"))
BLOCKS = (200, 500, 1_000, 2_000, 4_000)
AFTER = (0.001, 1, 5, 15, 60)


class Timed(hx.Strategy):
    """Acts once a second of the market's clock, in all symbols."""

    timer = "1s"
    size: float = 100.0
    first: int = 60
    last: int = 60

    def on_timer(self, now: int) -> None:
        second = ((now - 5 * 3600 * SECOND) - OPEN) // SECOND
        if self.first <= second <= self.last:
            for instrument in range(len(self.universe)):
                self.act(second, instrument)

    def act(self, second: int, instrument: int) -> None:  # noqa: ARG002
        """Buys at the market."""
        self.buy(instrument, self.size)


class Passive(Timed):
    """Rests on both sides for three seconds of four, `better` ticks inside the spread where that has room."""

    better: int = 0
    most: float = 500.0

    def on_start(self) -> None:
        self.resting: dict[int, list[int]] = {}

    def act(self, second: int, instrument: int) -> None:
        if second % 4 == 3:
            for order in self.resting.pop(instrument, []):
                self.cancel(instrument, order)
        if second % 4 != 0:
            return
        book, position = self.book(instrument), self.position(instrument)
        room = round((book.ask - book.bid) * 100) > 2 * self.better
        inside = 0.01 * self.better * room
        orders = self.resting.setdefault(instrument, [])
        if position < self.most:
            orders.append(self.buy(instrument, self.size, round(book.bid + inside, 2)))
        if position > -self.most:
            orders.append(self.sell(instrument, self.size, round(book.ask - inside, 2)))


def run(day: Any, trader: Timed | None = None) -> tuple[hx.Results, dict[str, Course]]:
    """A run, and the mids of all symbols."""
    strategies: list[Any] = [hx.record(symbol, hx.mid(symbol)) for symbol in day.symbols]
    if trader is not None:
        trader.universe = day.symbols
        strategies.append(trader)
    results = hx.Backtest(day, strategies, venue=VENUE, cash=1e9, marks=None).run()
    courses = {}
    for symbol in day.symbols:
        rows = results.signals.filter(pl.col("signal") == symbol).drop_nulls("value")
        courses[symbol] = rows["ts"].dt.timestamp("ns").to_numpy(), rows["value"].to_numpy()
    return results, courses


def at(course: Course, moment: ArrayLike) -> Array:
    """The mid at a moment."""
    return course[1][np.searchsorted(course[0], moment, "right") - 1]


def gained_bp(results: hx.Results, courses: dict[str, Course], after: int = 0) -> float:
    """What fills are worth at the mids some time later, in basis points of their money."""
    gained = money = 0.0
    for symbol, course in courses.items():
        fills = results.fills.filter(pl.col("instrument") == symbol)
        sign = np.where(fills["side"].to_numpy() == "buy", 1.0, -1.0)
        price, quantity = fills["price"].to_numpy(), fills["quantity"].to_numpy()
        later = at(course, fills["ts_event"].dt.timestamp("ns").to_numpy() + after)
        gained += float((sign * (later - price) * quantity).sum())
        money += float((price * quantity).sum())
    return 1e4 * gained / money


def mean(values: Iterable[float]) -> str:
    """Mean ± standard error."""
    found = np.array(list(values))
    return f"{found.mean():6.2f} ± {found.std(ddof=1) / math.sqrt(len(found)):.2f}"


def block(seeds: range) -> None:
    """One market order each."""
    moved: dict[int, list[Array]] = {size: [] for size in BLOCKS}
    paid: dict[int, list[float]] = {size: [] for size in BLOCKS}
    for seed in seeds:
        day = hx.agents(seed=seed, minutes=3, **MARKET | {"symbols": 1, "group_size": 1})
        (symbol,) = day.symbols
        _, without = run(day)
        moments = day.midnight_ns + OPEN + 60 * SECOND + np.array([int(s * SECOND) + 100_000 for s in AFTER])
        for size in BLOCKS:
            results, courses = run(day, Timed(size=float(size)))
            moved[size].append(1e4 * (at(courses[symbol], moments) / at(without[symbol], moments) - 1))
            paid[size].append(-gained_bp(results, without))
    print("\nA block bought at the market; basis points above the mid without it")
    print(f"{'shares':>8}  {'paid':>13}  " + "  ".join(f"{f'after {s:g} s':>13}" for s in AFTER))
    for size in BLOCKS:
        columns = "  ".join(f"{mean(column):>13}" for column in np.array(moved[size]).T)
        print(f"{size:8,}  {mean(paid[size]):>13}  {columns}")
    for name, height in (
        ("mid at once", [np.mean([m[0] for m in moved[size]]) for size in BLOCKS]),
        ("price paid", [np.mean(paid[size]) for size in BLOCKS]),
    ):
        slope = np.polyfit(np.log(BLOCKS), np.log(height), 1)[0]
        print(f"{name} grows as size to the power of {slope:.2f}")


def recorded(folder: Path, seed: int) -> Any:
    """The day without us, as a file."""
    path = folder / f"{seed}.itch"
    if not path.exists():
        simulate(path, seed=seed, minutes=6, **MARKET)
    return hx.itch(path)


def steady(seeds: range, folder: Path) -> None:
    """Some shares a second for five minutes."""
    print("\nA steady buyer; basis points paid above the mids without it")
    print(f"{'a second':>8}  {'alive':>13}  {'recorded day':>13}  {'difference':>13}")
    without = {seed: run(recorded(folder, seed))[1] for seed in seeds}
    for size in (20.0, 50.0, 100.0, 200.0):
        costs = []
        for seed in seeds:
            days = (hx.agents(seed=seed, minutes=6, **MARKET), recorded(folder, seed))
            traded = [run(day, Timed(size=size, first=30, last=329))[0] for day in days]
            costs.append([-gained_bp(results, without[seed]) for results in traded])
        alive, replayed = np.array(costs).T
        print(f"{size:8g}  {mean(alive):>13}  {mean(replayed):>13}  {mean(alive - replayed):>13}")


def passive(seeds: range, folder: Path) -> None:
    """Resting orders."""
    print("\nA passive trader of 100 shares a side; what its fills are worth ten seconds later, in basis points")
    print(f"{'':>16}  {'alive':>13}  {'shares':>8}  {'recorded day':>13}  {'shares':>8}")
    for name, better in (("joins the best", 0), ("improves by 1", 1)):
        found: list[list[tuple[float, float]]] = [[], []]
        for seed in seeds:
            for n, day in enumerate((hx.agents(seed=seed, minutes=6, **MARKET), recorded(folder, seed))):
                results, courses = run(day, Passive(better=better, first=8, last=340))
                found[n].append((gained_bp(results, courses, 10 * SECOND), results.fills["quantity"].sum()))
        cells = (f"{mean(g for g, _ in each):>13}  {np.mean([q for _, q in each]):8,.0f}" for each in found)
        print(f"{name:>16}  " + "  ".join(cells))


def main() -> None:
    small = "--small" in sys.argv or os.environ.get("HELIOS_SMALL") == "1"
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    seeds = range(1, 1 + (numbers[0] if numbers else 4 if small else 20))
    print(f"Agents with seeds 1 to {len(seeds)}")
    block(seeds)
    with tempfile.TemporaryDirectory() as folder:
        steady(seeds, Path(folder))
        passive(seeds, Path(folder))


if __name__ == "__main__":
    main()
