"""The catalog against Polars alone, on the same Parquet: writing a day, and reading it in order of time.

    python benches/catalog.py [--small] [--json FILE]

One day of quotes of 50 instruments, three times as many rows as a file of the catalog has.

write: the same frame, in order of time, by `importing` (sorted, cut, written, brought to disk, committed) and by
`frame.sort("instrument", "ts").write_parquet(…)`, with the same compression and row groups, left in the page cache.
read: the catalog's files by `source(…).batches(ids)`, the integer columns that the core takes, and by
`pl.scan_parquet(files)`, the same columns, `.sort("ts").collect()`. `read_columns` is ours with sorted columns
instead of the core's batches.

They take turns; each ratio is ours to Polars in rows per second, the median of the turns. Where others use the machine,
the ratio in processor time, which counts all threads, says more.

peak: pairs that never trade, over ten days and over one, each in a process of its own: the most memory of the
process in MB, and ten days to one.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import statistics
import subprocess
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


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall time, and processor time of all threads."""
    begun, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - used


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


def peak(folder: Path, days: int, rows: int) -> float:
    """Most memory of a process that runs a backtest over so many days, MB."""
    catalog = Catalog.open(folder / f"days-{days}", create=True)
    for day in range(days):
        frame = quotes(rows, seed=day).with_columns(pl.col("ts") + dt.timedelta(day))
        with catalog.importing(source=f"day {day}", digest=str(day)) as job:
            job.write("quotes", DAY + dt.timedelta(day), frame)
    command = [sys.executable, __file__, "--run", catalog.location]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1_024


def run(location: str) -> None:
    import helios as hx

    source = Catalog.open(location).source("quotes")
    pairs = [hx.pair(a, b, window="5m", enter=1_000.0) for a, b in zip(NAMES[::2], NAMES[1::2], strict=True)]
    hx.Backtest(data=source, strategy=pairs, marks=None).run()
    # Not getrusage: it counts what the parent held when it started this process.
    status = Path("/proc/self/status").read_text()
    print(status.partition("VmHWM:")[2].split()[0])


def main() -> None:
    if "--run" in sys.argv[1:]:
        run(sys.argv[sys.argv.index("--run") + 1])
        return
    small = "--small" in sys.argv[1:]
    rows, turns = (20_000, 1) if small else (3 * SLICE_ROWS, 7)
    frame = quotes(rows, seed=7)
    ids = {name: number for number, name in enumerate(NAMES)}
    polars: dict[str, list[tuple[float, float]]] = {name: [] for name in ("write", "read", "read_columns")}
    ours: dict[str, list[tuple[float, float]]] = {name: [] for name in polars}
    with tempfile.TemporaryDirectory(prefix="helios-catalog-bench-") as folder:
        place = Path(folder)
        for turn in range(turns):
            polars["write"].append(seconds(lambda: polars_write(frame, place / "polars.parquet")))
            ours["write"].append(seconds(lambda turn=turn: catalog_write(frame, place / str(turn))))
        catalog = Catalog.open(place / "0")
        source, files = catalog.source("quotes"), catalog.files("quotes")
        assert counted(source.batches(ids)) == rows
        for _ in range(turns):
            for name, work in (
                ("read", lambda: counted(source.batches(ids))),
                ("read_columns", lambda: columns_of(source, ids)),
            ):
                polars[name].append(seconds(lambda: pl.scan_parquet(files).select(frame.columns).sort("ts").collect()))
                ours[name].append(seconds(work))
        peaks = {days: peak(place, days, 20_000 if small else 500_000) for days in (1, 10)}
    result: dict[str, Any] = {"rows": rows, "load_average": os.getloadavg()[0]}
    result |= {"peak_one_day_mb": peaks[1], "peak_ten_days_mb": peaks[10], "peak_ratio": peaks[10] / peaks[1]}
    for name, times in polars.items():
        wall, processor = (
            [theirs[part] / mine[part] for theirs, mine in zip(times, ours[name], strict=True)] for part in (0, 1)
        )
        result[f"{name}_to_polars"] = statistics.median(wall)
        result[f"{name}_to_polars_processor"] = statistics.median(processor)
        result[f"{name}_rows_per_second"] = rows / statistics.median(wall for wall, _ in ours[name])
    print(json.dumps(result, indent=1))
    if "--json" in sys.argv[1:]:
        Path(sys.argv[sys.argv.index("--json") + 1]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
