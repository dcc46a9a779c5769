"""The catalog against Polars alone, on the same Parquet: writing a day, and reading it in order of time.

    python benches/catalog.py [--small] [--json FILE]

One day of quotes of 50 instruments, three times as many rows as a file of the catalog has.

write: the same frame, in order of time, by `importing` (sorted, cut, written, brought to disk, committed) and by
`frame.sort("instrument", "ts").write_parquet(…)`, with the same compression and row groups, left in the page cache.
read: the catalog's files by `source(…).batches(ids)`, the integer columns that the core takes, and by
`pl.scan_parquet(files)`, the same columns, `.sort("ts").collect()`. `read_columns` is ours with sorted columns
instead of the core's batches.

They take turns; each ratio is ours to Polars in rows per second, the median of the turns.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from helios.data.catalog import Catalog, CatalogSource
from helios.data.catalog.writing import ROW_GROUP_ROWS, SLICE_ROWS

DAY = dt.date(2026, 1, 5)
NAMES = [f"S{number:03}" for number in range(50)]


def quotes(rows: int, seed: int) -> pl.DataFrame:
    """A made-up day in order of time."""
    dice = np.random.default_rng(seed)
    open_ns = 1_767_623_400_000_000_000
    ts = np.sort(dice.integers(0, 23_400_000_000_000, rows)) + open_ns
    bid = (10_000 + np.cumsum(dice.integers(-1, 2, rows))) * 10_000_000
    sizes = dice.integers(1, 50, (2, rows)) * 10_000_000_000
    names = pl.Series(NAMES).gather(pl.Series(dice.integers(0, len(NAMES), rows)))
    stamps = pl.Series(ts).cast(pl.Datetime("ns", "UTC"))
    columns = {"bid": bid, "ask": bid + 10_000_000, "bid_size": sizes[0], "ask_size": sizes[1]}
    return pl.DataFrame({"instrument": names, "ts": stamps, **columns})


def seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def polars_write(frame: pl.DataFrame, file: Path) -> None:
    ordered = frame.sort("instrument", "ts")
    ordered.write_parquet(file, compression="zstd", compression_level=3, row_group_size=ROW_GROUP_ROWS)


def catalog_write(frame: pl.DataFrame, folder: Path) -> Catalog:
    catalog = Catalog.open(folder, create=True)
    with catalog.importing(source="made up", digest="1") as job:
        job.write("quotes", DAY, frame)
    return catalog


def counted(batches: Any) -> int:
    return sum(len(batch["ts"]) for batch in batches)


def columns_of(source: CatalogSource, ids: dict[str, int]) -> int:
    """Sorted, but neither as 64 bits nor in batches."""
    rows = 0
    for columns, order in source._ordered(source._pieces(ids)):
        ready = columns if order is None else {name: column[order] for name, column in columns.items()}
        rows += len(ready["ts"])
    return rows


def main() -> None:
    small = "--small" in sys.argv[1:]
    rows, turns = (20_000, 1) if small else (3 * SLICE_ROWS, 7)
    frame = quotes(rows, seed=7)
    ids = {name: number for number, name in enumerate(NAMES)}
    found: dict[str, list[float]] = {name: [] for name in ("write", "read", "read_columns")}
    ours: dict[str, list[float]] = {name: [] for name in found}
    with tempfile.TemporaryDirectory(prefix="helios-catalog-bench-") as folder:
        place = Path(folder)
        for turn in range(turns):
            polars = seconds(lambda: polars_write(frame, place / "polars.parquet"))
            ours["write"].append(seconds(lambda turn=turn: catalog_write(frame, place / str(turn))))
            found["write"].append(polars / ours["write"][-1])
        catalog = Catalog.open(place / "0")
        source, files = catalog.source("quotes"), catalog.files("quotes")
        assert counted(source.batches(ids)) == rows
        for _ in range(turns):
            polars = seconds(lambda: pl.scan_parquet(files).select(frame.columns).sort("ts").collect())
            for name, work in (
                ("read", lambda: counted(source.batches(ids))),
                ("read_columns", lambda: columns_of(source, ids)),
            ):
                ours[name].append(seconds(work))
                found[name].append(polars / ours[name][-1])
    result: dict[str, Any] = {"rows": rows, "load_average": os.getloadavg()[0]}
    for name, ratios in found.items():
        result[f"{name}_to_polars"] = statistics.median(ratios)
        result[f"{name}_rows_per_second"] = rows / statistics.median(ours[name])
    print(json.dumps(result, indent=1))
    if "--json" in sys.argv[1:]:
        Path(sys.argv[sys.argv.index("--json") + 1]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
