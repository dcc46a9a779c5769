"""From a file to a catalog to a comparison: import a day, check it, quote on it, exact and fast.

    python examples/08_from_a_catalog.py                      (--small: five minutes)

A simulated ITCH day goes into a catalog of Parquet files, is looked at with Polars, and is streamed back into a market
maker that is two expressions. The run is made twice: with the venue that knows the queue, and with the one that does
not.
"""

from __future__ import annotations

import os
import shutil
import sys
from datetime import date
from pathlib import Path

import helios as hx
import polars as pl
from helios.data import Catalog
from helios.data.catalog.checking import check
from helios.data.catalog.importing import Options, import_data
from helios.research.simulate import simulate
from rich.console import Console

OUT = Path("runs/catalog")
DAY = date(2026, 1, 5)


def fill(minutes: int) -> Catalog:
    """A catalog with one simulated day."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    simulate(OUT / "day.itch", symbols=8, minutes=minutes, seed=7)
    catalog = Catalog.open(str(OUT / "catalog"), create=True)
    import_data("itch", str(OUT / "day.itch"), catalog, Options(date=DAY))
    return catalog


def maker(catalog: Catalog) -> hx.Backtest:
    """One bid and one ask of each symbol: at the touch, moved at most once a second."""
    symbols = catalog.instruments("orders")
    quotes = [
        hx.quote(symbol, bid=hx.bid(symbol), ask=hx.ask(symbol), size=100, limit=300, every="1s", strategy="maker")
        for symbol in symbols
    ]
    return hx.Backtest(
        data=catalog.source("orders", symbols=symbols, memory="64MB"),
        strategy=quotes,
        venue=hx.Venue(
            latency=hx.Latency(order="100us", report="100us"),
            fees=hx.Fees(maker_per_share=-0.002, taker_per_share=0.003),
        ),
        limits=hx.Limits(position=500),
        name="maker",
    )


def main() -> None:
    small = "--small" in sys.argv[1:] or "HELIOS_SMALL" in os.environ
    console = Console(highlight=False, width=100)
    catalog = fill(5 if small else 30)
    rows = catalog.read("orders").group_by("instrument").agg(pl.len().alias("rows")).sort("instrument").collect()
    console.print(f"{rows['rows'].sum():,} rows of {rows.height} instruments in {OUT / 'catalog'}")
    found = check(catalog).findings.group_by("check").agg(pl.col("what").first()).sort("check")
    for name, what in found.rows():
        console.print(f"check: {name}, the first: {what}")
    compared = hx.compare(lambda: maker(catalog))
    compared.show(console)


if __name__ == "__main__":
    main()
