"""The fast and the exact venue side by side: what differs in fills and P&L.

    comparison = compare(lambda: Backtest(data=…, strategy=Pairs(…)))      # a fresh description for each run
    print(comparison)

The exact venue (`Venue(mode="exact")`) keeps history's orders or price levels and our place among them; the fast one
fills against the best prices that the engine sees (docs/models/fast.md). A fill is in both runs when instrument, side,
price, quantity and the venue's stamp are the same. Assumes that both runs read the same data; strategies that draw at
random must be seeded. Absent: which of the two is right about your market; the exact one assumes less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from helios.errors import ArgumentError
from helios.execution.venues import with_mode
from helios.research import text
from helios.research.backtest import Backtest
from helios.research.summary import as_text

if TYPE_CHECKING:
    from rich.console import Console

    from helios.research.results import Results

_SAME: Final = ("ts_event", "instrument", "venue", "side", "price", "quantity")


@dataclass(frozen=True)
class Comparison:
    """Results of both runs, and what differs."""

    exact: Results
    fast: Results
    #: Fills that both runs have, share for share.
    both: int
    #: Fills of one run only.
    only_exact: pl.DataFrame
    only_fast: pl.DataFrame

    @property
    def instruments(self) -> pl.DataFrame:
        """Per instrument: shares traded and net P&L in each run, and the difference (fast less exact)."""
        sides = [_by_instrument(results, name) for name, results in (("exact", self.exact), ("fast", self.fast))]
        joined = sides[0].join(sides[1], on="instrument", how="full", coalesce=True).fill_null(0.0)
        difference = (pl.col("net_fast") - pl.col("net_exact")).alias("net_difference")
        return joined.with_columns(difference).sort(pl.col("net_difference").abs(), descending=True)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: headline numbers of both runs and the difference."""
        rows = {name: {"exact": one, "fast": other} for name, one, other, _ in self._rows()}
        fills = {
            "both": self.both,
            "only_exact": self.only_exact.height,
            "only_fast": self.only_fast.height,
        }
        return {**rows, "fills_in": fills, "net_difference": _minus(self.fast.headline.net, self.exact.headline.net)}

    def _rows(self) -> list[tuple[str, Any, Any, Callable[[Any], str]]]:
        def of(name: str) -> tuple[Any, Any]:
            return getattr(self.exact.headline, name), getattr(self.fast.headline, name)

        def shares(results: Results) -> float:
            return float(results.market_fills["quantity"].sum())

        def speed(results: Results) -> Any:
            return results.meta.get("events_per_second")

        exact, fast = self.exact, self.fast
        return [
            ("net", *of("net"), text.money),
            ("fees", *of("fees"), text.money),
            ("max_drawdown", *of("max_drawdown"), text.money),
            ("orders", *of("orders"), text.count),
            ("fills", *of("fills"), text.count),
            ("shares", shares(exact), shares(fast), text.number),
            ("maker_share", *of("maker_share"), text.percent),
            ("events_per_second", speed(exact), speed(fast), text.rate),
        ]

    def show(self, console: Console) -> None:
        """Prints both runs side by side."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE, title="exact and fast venue", title_justify="left")
        for heading in ("", "exact", "fast", "fast - exact"):
            table.add_column(heading, justify="left" if not heading else "right")
        for name, exact, fast, written in self._rows():
            difference = _minus(fast, exact)
            cells = [_cell(value, written) for value in (exact, fast)]
            told = "" if name == "events_per_second" else _cell(difference, written)
            if name == "events_per_second" and exact and fast:
                told = f"{fast / exact:.2f} x"
            table.add_row(name.replace("_", " "), *cells, told)
        console.print(table)
        all_fills = self.both + self.only_exact.height + self.only_fast.height
        console.print(
            f"{self.both:,} of {all_fills:,} fills are in both runs; {self.only_exact.height:,} in the exact run only, "
            f"{self.only_fast.height:,} in the fast one only"
        )
        worst = self.instruments.filter(pl.col("net_difference").abs() > 0).head(5)
        for row in worst.iter_rows(named=True):
            console.print(
                f"  {row['instrument']}: net {text.money(row['net_exact'])} exact, {text.money(row['net_fast'])} fast"
            )

    def __str__(self) -> str:
        return as_text(self.show)


def compare(build: Callable[[], Backtest], *, progress: bool = False) -> Comparison:
    """Runs what `build` describes with an exact and with a fast venue; `build` is called for each run.

    Raises what a run raises; ArgumentError for a description that the fast venue cannot serve.
    """
    results = {}
    for mode in ("exact", "fast"):
        backtest = build()
        if not isinstance(backtest, Backtest):
            raise ArgumentError(f"compare takes a function that makes a Backtest, not {backtest!r}")
        venue = with_mode(backtest.venue, mode)
        results[mode] = replace(backtest, venue=venue, name=f"{backtest.name}, {mode}").run(progress=progress)
    exact, fast = (results[mode].market_fills for mode in ("exact", "fast"))
    counted = [fills.with_columns(pl.int_range(pl.len()).over(_SAME).alias("nth")) for fills in (exact, fast)]
    keys = [*_SAME, "nth"]
    only_exact = counted[0].join(counted[1], on=keys, how="anti").drop("nth")
    only_fast = counted[1].join(counted[0], on=keys, how="anti").drop("nth")
    return Comparison(results["exact"], results["fast"], exact.height - only_exact.height, only_exact, only_fast)


def _by_instrument(results: Results, name: str) -> pl.DataFrame:
    shares = results.market_fills.group_by("instrument").agg(pl.col("quantity").sum().alias(f"shares_{name}"))
    made = pl.col("realised") + pl.col("unrealised").fill_null(0.0) - pl.col("fees")
    net = results.positions.group_by("instrument").agg(made.sum().alias(f"net_{name}"))
    joined = shares.join(net, on="instrument", how="full", coalesce=True)
    return joined.with_columns(pl.col("instrument").cast(pl.String))


def _minus(one: Any, other: Any) -> float | None:
    return None if one is None or other is None else float(one) - float(other)


def _cell(value: Any, written: Callable[[Any], str]) -> str:
    return "" if value is None else written(value)
