"""A market maker in Python: on_book, on_fill and on_timer on a small simulated day.

    python examples/03_python_strategy.py                     (--small: one minute)

It joins the best bid and the best ask of a few symbols, leans away from what it holds, and gives up what it holds too
much of. Its orders wait in the queue behind what was there. It leaves a run folder in runs/market_maker.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import helios as hx
from helios.research.results import REPORT_FILE
from helios.research.simulate import simulate
from helios.research.summary import print_summary
from rich.console import Console

if TYPE_CHECKING:
    from helios._core import BookView, FillView

OUT = Path("runs/market_maker")


class Maker(hx.Strategy):
    """One bid and one ask per symbol, at the touch, or a step behind it on the side of which it holds enough."""

    name = "maker"
    timer = "5s"
    universe: ClassVar[list[str]] = ["AAAA", "AAAB", "AAAC", "AAAD"]

    def __init__(self, size: float = 100, enough: float = 300, tick: float = 0.01) -> None:
        self.size, self.enough, self.tick = size, enough, tick
        self.quotes: dict[tuple[str, str], tuple[int, float]] = {}  # (symbol, side) -> order, price
        self.filled: dict[int, float] = {}

    def on_book(self, book: BookView) -> None:
        if not book.bid < book.ask:
            return  # one side is empty, or they cross
        held = self.position(book.instrument)
        self.quote(book.symbol, "buy", book.bid - (self.tick if held >= self.enough else 0.0))
        self.quote(book.symbol, "sell", book.ask + (self.tick if held <= -self.enough else 0.0))

    def quote(self, symbol: str, side: str, price: float) -> None:
        key, price = (symbol, side), round(price, 2)
        order, old = self.quotes.get(key, (0, 0.0))
        if old == price:
            return  # keeps its place in the queue
        if order:
            self.cancel(symbol, order)
        send = self.buy if side == "buy" else self.sell
        self.quotes[key] = (send(symbol, self.size, price), price)

    def on_fill(self, fill: FillView) -> None:
        self.filled[fill.order] = self.filled.get(fill.order, 0.0) + fill.quantity
        key = (fill.symbol, fill.side)
        if self.filled[fill.order] >= self.size and self.quotes.get(key, (0, 0.0))[0] == fill.order:
            del self.quotes[key]  # done; the next change of the book quotes again

    def on_timer(self, now: int) -> None:  # noqa: ARG002
        for symbol in self.universe:
            held = self.position(symbol)
            if abs(held) > 2 * self.enough:
                (self.sell if held > 0 else self.buy)(symbol, abs(held) - self.enough)


def main() -> None:
    small = "--small" in sys.argv[1:] or bool(os.environ.get("HELIOS_SMALL"))
    OUT.mkdir(parents=True, exist_ok=True)
    day = OUT / "day.itch"
    simulate(day, symbols=10, minutes=1 if small else 30, seed=7)
    run = hx.Backtest(
        data=hx.itch(day, date="2026-01-05"),
        strategy=Maker(),
        venue=hx.Venue(
            latency=hx.Latency(order="50us", report="50us"),
            fees=hx.Fees(taker_per_share=0.003, maker_per_share=-0.002),
        ),
        limits=hx.Limits(order_quantity=1_000, position=2_000, order_rate=200, price_collar=0.01, daily_loss=5_000),
        marks="1s",
        seed=7,
        name="market maker in Python",
    )
    results = run.run(OUT / "run", overwrite=True, progress=True)
    print_summary(results, Console(highlight=False), report=OUT / "run" / REPORT_FILE)


if __name__ == "__main__":
    main()
