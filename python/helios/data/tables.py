"""Tables of the outside world as lazy Polars frames, and their columns by the names that people give them.

Assumes one header line in CSV. Text files are read as text: a bad cell is found by its row later, not by a guess about
its column now. Absent: any look at the values.
"""

from __future__ import annotations

import csv
import difflib
import glob
import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from helios.errors import ArgumentError, DataError

# Names are compared without case, spaces, '_' and '-'. The first that is there wins.
_ALIASES: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker", "instrument", "sym"),
    "ts": ("ts", "tsevent", "timestamp", "datetime", "time", "date"),
    "volume": ("volume", "vol"),
    "bid": ("bid", "bidprice", "bidpx", "bestbid"),
    "ask": ("ask", "askprice", "askpx", "bestask", "offer"),
    "bid_size": ("bidsize", "bidqty", "bidquantity", "bidvolume", "bidsz"),
    "ask_size": ("asksize", "askqty", "askquantity", "askvolume", "asksz", "offersize"),
    "price": ("price", "px", "tradeprice", "last"),
    "size": ("size", "qty", "quantity", "shares", "amount", "volume"),
    "side": ("side", "bidask", "direction"),
    "aggressor": ("aggressor", "aggressorside", "takerside", "side"),
}


class Opened(NamedTuple):
    """One file or frame. `rows` is set when counting them is free, `path` when it is a file."""

    name: str
    table: pl.LazyFrame
    rows: int | None
    path: Path | None


def open_tables(source: object) -> Iterator[Opened]:
    """Every file or frame that `source` stands for, in the order of reading."""
    if isinstance(source, str | Path):
        for path in _expand(str(source)):
            yield _open_file(path)
    elif isinstance(source, Sequence):
        if not source:
            raise ArgumentError("the list of files is empty")
        for each in source:
            if not isinstance(each, str | Path):
                raise ArgumentError(f"a list of sources holds paths only, not {type(each).__name__}")
            yield from open_tables(each)
    elif isinstance(source, pl.LazyFrame):
        yield Opened("LazyFrame", source, None, None)
    else:
        name, frame = frame_of(source)
        yield Opened(name, frame.lazy(), frame.height, None)


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_file():
        return [path]
    if path.is_dir():
        raise DataError("is a folder", source=pattern, hint=f"Name its files, for example '{pattern}/*.parquet'.")
    if not glob.has_magic(pattern):
        raise DataError("no such file", source=pattern, hint="Check the path; it is relative to the working folder.")
    found = sorted(Path(each) for each in glob.glob(pattern, recursive=True))
    if not found:
        raise DataError("no file matches this pattern", source=pattern, hint="Check the path and the pattern.")
    return found


def _open_file(path: Path) -> Opened:
    name, lower = str(path), path.name.lower()
    with naming_errors(name, path):
        if lower.endswith((".parquet", ".pq")):
            table = pl.scan_parquet(path, glob=False)
            return Opened(name, table, table.select(pl.len()).collect().item(), path)
        if lower.endswith((".csv", ".csv.gz")):
            # As text, so that a bad cell is found by its row and not by a guess about its column.
            return Opened(name, pl.scan_csv(path, infer_schema=False, glob=False), None, path)
    raise DataError("the file's kind is not known", source=name, hint="Use .parquet, .csv or .csv.gz.")


def frame_of(source: object) -> tuple[str, pl.DataFrame]:
    """A table in memory as a Polars frame. Arrow readers are read to their end; pandas times may be the index."""
    if isinstance(source, pl.DataFrame):
        return "DataFrame", source
    if type(source).__module__.partition(".")[0] == "pandas":
        return "pandas.DataFrame", _from_pandas(source)
    if hasattr(source, "__arrow_c_stream__"):
        return f"pyarrow.{type(source).__name__}", pl.DataFrame(source)
    raise ArgumentError(
        f"cannot read {type(source).__name__}: give a path, a glob, a list of paths, a Polars or pandas DataFrame, "
        "or a pyarrow Table or RecordBatchReader"
    )


def _from_pandas(frame: Any) -> pl.DataFrame:
    if not hasattr(frame, "columns"):
        raise ArgumentError(f"cannot read pandas.{type(frame).__name__}: give a DataFrame")
    index = frame.index
    if index.nlevels == 1 and index.name is None:
        if not hasattr(index, "tz"):
            return pl.from_pandas(frame)
        frame = frame.rename_axis(index="ts")
    return pl.from_pandas(frame.reset_index())


@contextmanager
def naming_errors(name: str, path: Path | None) -> Iterator[None]:
    """Turns what Polars says about an unreadable file into an error that names the file, and the row if it can."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        row = _ragged_row(path) if path is not None and ".csv" in path.name.lower() else None
        first_line = str(error).strip().partition("\n")[0]
        hint = "The row has more cells than the header." if row is not None else "The file may be damaged or cut."
        raise DataError(f"cannot be read: {first_line}", source=name, row=row, hint=hint) from error


def _ragged_row(path: Path) -> int | None:
    """The first row with more cells than the header has, where the file can be read that far."""
    opener: Callable[..., Any] = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as text:
            lines = csv.reader(text)
            width = len(next(lines, []))
            return next((row for row, cells in enumerate(lines) if len(cells) > width), None)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error):
        return None


def _plain_name(name: str) -> str:
    return "".join(c for c in name.lower() if c not in " _-")


def find_column(wanted: str, canonical: str, there: Sequence[str]) -> str | None:
    """The column that the caller means: by its exact name, else without case, else by the usual names."""
    if wanted in there:
        return wanted
    plain = {_plain_name(name): name for name in reversed(there)}
    aliases = _ALIASES.get(canonical, ()) if wanted == canonical else ()
    return next((plain[name] for name in (_plain_name(wanted), *aliases) if name in plain), None)


def resolve_columns(opened: Opened, names: Mapping[str, str], optional: set[str]) -> dict[str, str]:
    """Canonical name -> the source's name. Raises DataError that says what is missing, what is there, what is near."""
    with naming_errors(opened.name, opened.path):
        there = opened.table.collect_schema().names()
    found = {canonical: find_column(wanted, canonical, there) for canonical, wanted in names.items()}
    missing = [names[c] for c, column in found.items() if column is None and c not in optional]
    if missing:
        near = {name: difflib.get_close_matches(name, there, n=1, cutoff=0.5) for name in missing}
        nearest = ", ".join(f"{name}='{match[0]}'" for name, match in near.items() if match)
        raise DataError(
            f"no column for {', '.join(map(repr, missing))}; there are {', '.join(map(repr, there)) or 'none'}",
            source=opened.name,
            column=missing[0],
            hint=f"Name the column{'s' if len(missing) > 1 else ''}{', for example ' + nearest if nearest else ''}.",
        )
    return {canonical: column for canonical, column in found.items() if column is not None}
