"""What is in a catalog, and taking it out again: `listing`, `description`, `export`.

An export has prices and sizes in units (decimals in Parquet, plain numbers in CSV), times in UTC, and the columns of
the schema, without `seq`; bars, quotes and trades can be imported again. It is written in the order of the catalog, by
file, instrument and time, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from helios.data.catalog.schemas import MARKET, REFERENCE, SCHEMAS
from helios.errors import ArgumentError, CatalogError
from helios.scales import PRICE_SCALE, QUANTITY_SCALE

if TYPE_CHECKING:
    from helios.data.catalog.catalog import Catalog

__all__ = ["description", "export", "listing"]

_SUFFIXES: Final = {"csv": ".csv", "parquet": ".parquet"}


def listing(catalog: Catalog) -> pl.DataFrame:
    """One row a schema or reference table: schema, rows, days, instruments, first, last, bytes, files."""
    entries = catalog.manifest.entries
    rows = []
    for schema in (*MARKET, *REFERENCE):
        mine = [entry for entry in entries if entry.schema == schema]
        if not mine:
            continue
        dates = {entry.date for entry in mine if entry.date is not None}
        names = len(catalog.instruments(schema)) if schema in MARKET else None
        sizes = sum(entry.rows for entry in mine), sum(entry.bytes for entry in mine)
        rows.append(
            (
                schema,
                sizes[0],
                len(dates),
                names,
                min(dates, default=None),
                max(dates, default=None),
                sizes[1],
                len(mine),
            )
        )
    types = {"schema": pl.String, "rows": pl.Int64, "days": pl.Int64, "instruments": pl.Int64, "first": pl.Date,
             "last": pl.Date, "bytes": pl.Int64, "files": pl.Int64}  # fmt: skip
    return pl.DataFrame(rows, schema=types, orient="row")


def description(
    catalog: Catalog,
    schema: str,
    symbols: Iterable[str] | None = None,
    start: date | str | None = None,
    end: date | str | None = None,
) -> pl.DataFrame:
    """One row an instrument: rows, days, first and last stamp, then least, mean and greatest of what the schema counts.

    For a reference table: one row a column with its type, values, empty values, least and greatest. Arguments as in
    `Catalog.read`. CatalogError where there is nothing.
    """
    _known(schema)
    if schema in REFERENCE:
        return _description_of_table(catalog.read(schema).collect())
    price, size = _MEASURES[schema]
    rows = catalog.read(schema, symbols, start, end)
    span = [pl.col("ts").min().alias("first"), pl.col("ts").max().alias("last")]
    told = (
        [] if price is None else [price.min().alias("lowest"), price.mean().alias("mean"), price.max().alias("highest")]
    )
    told += [] if size is None else [size.sum().alias("volume")]
    found = rows.group_by("instrument").agg(
        pl.len().alias("rows"), pl.col("ts").dt.date().n_unique().alias("days"), *span, *told
    )
    frame = found.sort("instrument").collect(engine="streaming")
    if frame.is_empty():
        raise CatalogError(f"it has no {schema} of what was asked for", source=catalog.location)
    return frame


_MEASURES: Final = {
    "trades": (pl.col("price") / PRICE_SCALE, pl.col("size") / QUANTITY_SCALE),
    "bars": (pl.col("close") / PRICE_SCALE, pl.col("volume") / QUANTITY_SCALE),
    "quotes": ((pl.col("bid") / 2 + pl.col("ask") / 2) / PRICE_SCALE, None),
    # Some events have no price: zero or null.
    "orders": (pl.col("price").filter(pl.col("price") > 0) / PRICE_SCALE, None),
    "depth": (pl.col("price").filter(pl.col("price") > 0) / PRICE_SCALE, None),
}


def _description_of_table(rows: pl.DataFrame) -> pl.DataFrame:
    texts = rows.select(pl.all().cast(pl.String))
    told = [
        (
            name,
            str(rows.schema[name]),
            rows[name].n_unique(),
            rows[name].null_count(),
            texts[name].min(),
            texts[name].max(),
        )
        for name in rows.columns
    ]
    names = {
        "column": pl.String,
        "type": pl.String,
        "values": pl.Int64,
        "empty": pl.Int64,
        "least": pl.String,
        "greatest": pl.String,
    }
    return pl.DataFrame(told, schema=names, orient="row")


def export(
    catalog: Catalog,
    out: str | Path,
    schema: str,
    *,
    format: str | None = None,
    symbols: Iterable[str] | None = None,
    start: date | str | None = None,
    end: date | str | None = None,
    adjust: str | None = None,
) -> int:
    """Writes one table to a file and returns its rows; whole or not at all. `format` is read from the name without it.

    ArgumentError for a wrong call, CatalogError where nothing is there to write or it cannot be written.
    """
    _known(schema)
    target = Path(out)
    suffixes = {suffix: name for name, suffix in _SUFFIXES.items()}
    kind = format or suffixes.get(target.suffix.lower())
    if kind not in _SUFFIXES:
        raise ArgumentError(f"format={format!r}: csv or parquet, or a file name that ends so")
    if schema in REFERENCE and (symbols is not None or start is not None or end is not None or adjust is not None):
        raise ArgumentError(f"{schema} is a reference table: it is exported whole")
    rows = catalog.read(schema, symbols, start, end, adjust=adjust, values="decimal")
    count = int(rows.select(pl.len()).collect(engine="streaming").item())
    if count == 0:
        raise CatalogError(f"it has no {schema} of what was asked for", source=catalog.location)
    _write(rows.drop("seq", strict=False), target, kind)
    return count


def _write(rows: pl.LazyFrame, target: Path, kind: str) -> None:
    beside = target.with_name(target.name + ".part")
    try:
        if kind == "parquet":
            rows.sink_parquet(beside, compression="zstd", compression_level=3)
        else:
            rows.with_columns(pl.col(pl.Datetime("ns", "UTC")).dt.to_string("%Y-%m-%dT%H:%M:%S%.9fZ")).sink_csv(beside)
        beside.replace(target)
    except (OSError, pl.exceptions.PolarsError) as error:
        beside.unlink(missing_ok=True)
        text = str(error).splitlines()[0]
        hint = "Check that the folder exists and has space."
        raise CatalogError(f"cannot be written: {text}", source=str(target), hint=hint) from error


def _known(schema: str) -> None:
    if schema not in SCHEMAS:
        raise ArgumentError(f"schema={schema!r}: one of {', '.join(SCHEMAS)}")
