"""Reference tables: instruments, symbol_changes, splits, dividends, membership. Read from files, checked, imported.

    import_reference(catalog, "splits.csv", "splits")

| table | columns |
|---|---|
| splits | `instrument`, `ex_date`, `numerator` new shares for `denominator` old ones (4 and 1 for four-for-one) |
| dividends | `instrument`, `ex_date`, `cash` per share, `currency`, `close`: the last before it, may be empty |
| symbol_changes | `instrument`, `symbol`, `from`, `to` (first day no longer; empty for "still") |
| membership | `universe`, `instrument`, `from`, `to` (first day out), `group` |
| instruments | `instrument` and what is known of it |

A file is CSV or Parquet. Rows join those that are there; the same row again changes nothing, and what was empty is
filled (a stay that ends); another value for the same instrument and date is an error unless `replace=True`, which puts
the file in the table's place. Everything is checked before anything is written: ratios and amounts are positive, dates
are dates, stays do not overlap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from helios.data.catalog.schemas import PRICES, REFERENCE, SCHEMAS, SIZES
from helios.data.catalog.symbology import Symbology
from helios.data.columns import fixed_point
from helios.errors import ArgumentError, DataError
from helios.scales import PRICE_SCALE, QUANTITY_SCALE

if TYPE_CHECKING:
    from helios.data.catalog.catalog import Catalog

__all__ = ["Imported", "admit", "import_reference", "table_of"]

_SCALES: Final = dict.fromkeys(PRICES, PRICE_SCALE) | dict.fromkeys(SIZES, QUANTITY_SCALE)

#: What makes a row of a table the same row.
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "instruments": ("instrument",),
    "symbol_changes": ("instrument", "from"),
    "splits": ("instrument", "ex_date"),
    "dividends": ("instrument", "ex_date"),
    "membership": ("universe", "instrument", "from"),
}
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "instruments": ("instrument",),
    "symbol_changes": ("instrument", "symbol", "from"),
    "splits": ("instrument", "ex_date", "numerator", "denominator"),
    "dividends": ("instrument", "ex_date", "cash"),
    "membership": ("universe", "instrument", "from"),
}
#: Other names that files use; in a table whose rows have no symbol of their own, a symbol is the instrument.
_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "instrument": ("id", "permno", "symbol", "ticker"),
    "symbol": ("ticker",),
    "from": ("start", "start_date", "begin"),
    "to": ("end", "end_date", "until"),
    "ex_date": ("exdate", "ex", "date"),
    "cash": ("amount", "dividend"),
    "close": ("reference_close", "close_before"),
    "numerator": ("new", "to_factor"),
    "denominator": ("old", "for_factor"),
    "universe": ("index", "list"),
    "group": ("sector", "gics_sector"),
}


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import of a reference table did: rows of the file, rows that were new, rows of the table now."""

    table: str
    read: int
    added: int
    rows: int


def import_reference(
    catalog: Catalog,
    file: str | Path,
    table: str,
    *,
    columns: Mapping[str, str] | None = None,
    universe: str | None = None,
    replace: bool = False,
) -> Imported:
    """Reads a CSV or Parquet file into a reference table. `columns`: our name -> the file's name.

    `universe` names the list of a membership file that has no such column. Raises DataError, with the row, for what
    cannot be used; the catalog is unchanged then.
    """
    path = Path(file)
    given = admit(_opened(path), table, columns=columns, universe=universe, source=str(path))
    there = table_of(catalog, table)
    if replace:
        there = there.clear()
    whole = _joined(there, given, table, str(path))
    check(whole, table, source=str(path))
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    options = {"table": table, "columns": dict(columns or {}), "universe": universe}
    with catalog.importing(source=path.name, digest=digest, options=options, replace=replace) as job:
        job.write(table, None, given)
    return Imported(table, given.height, whole.height - there.height, whole.height)


def table_of(catalog: Catalog, table: str, instruments: Iterable[str] | None = None) -> pl.DataFrame:
    """A reference table of a catalog, or its rows of some instruments: those of all imports, each once, in order.

    Raises DataError where imports disagree.
    """
    if table not in REFERENCE:
        raise ArgumentError(f"{table!r} is no reference table: {', '.join(REFERENCE)}")
    there = catalog.read(table, None if instruments is None else list(instruments)).collect()
    return _joined(there.clear(), there, table, catalog.location)


def admit(
    frame: pl.DataFrame,
    table: str,
    *,
    columns: Mapping[str, str] | None = None,
    universe: str | None = None,
    source: str = "frame",
) -> pl.DataFrame:
    """The frame with the columns and types of the table, checked. Raises DataError, with the row, where that fails."""
    if table not in REFERENCE:
        raise ArgumentError(f"{table!r} is no reference table: {', '.join(REFERENCE)}")
    for ours, theirs in (columns or {}).items():
        if ours not in SCHEMAS[table]:
            raise ArgumentError(f"{table} has no column {ours!r}: {', '.join(SCHEMAS[table])}")
        if theirs not in frame.columns:
            raise DataError(
                f"there is no such column; there are {', '.join(frame.columns)}", source=source, column=theirs
            )
    if universe is not None:
        frame = frame.with_columns(pl.lit(universe).alias("universe"))
    parts = []
    for name, dtype in SCHEMAS[table].items():
        found = _find(name, table, frame.columns, columns or {})
        if found is None and name in _REQUIRED[table]:
            hint = f"{table} needs {', '.join(_REQUIRED[table])}; name columns with columns=…"
            raise DataError(
                f"there is no column for {name}; there are {', '.join(frame.columns)}", source=source, hint=hint
            )
        parts.append(pl.Series(name, [None] * frame.height, dtype=dtype) if found is None else
                     _cast(frame[found], name, dtype, source).alias(name))  # fmt: skip
    rows = pl.DataFrame(parts)
    check(rows, table, source=source)
    return rows


def check(rows: pl.DataFrame, table: str, *, source: str) -> None:
    """Raises DataError at the first row of a reference table that cannot be."""
    numbered = rows.with_row_index("row")
    for name in _REQUIRED[table]:
        _refuse(numbered, pl.col(name).is_null(), "the value is missing", source, name)
    for name in set(rows.columns) & {"numerator", "denominator", "cash", "close"}:
        _refuse(numbered, pl.col(name) <= 0, "must be greater than zero", source, name)
    if table == "dividends":
        _refuse(numbered, pl.col("cash") >= pl.col("close"), "pays as much as the share was worth", source, "cash")
    if table in ("splits", "dividends"):
        same = pl.struct("instrument", "ex_date").is_duplicated()
        what = "two rows for this instrument and ex-date; add up dividends of one day"
        _refuse(numbered, same, what, source, "ex_date")
    if "from" in rows.columns:
        _refuse(numbered, pl.col("to") <= pl.col("from"), "is not after the first day", source, "to")
    if table == "symbol_changes":
        Symbology(rows)
    if table == "membership":
        by = ("universe", "instrument")
        before = numbered.sort(*by, "from").with_columns(until=pl.col("to").shift(1).over(by))
        earlier = pl.col("instrument").shift(1).over(by).is_not_null()
        overlap = earlier & (pl.col("until").is_null() | (pl.col("until") > pl.col("from")))
        _refuse(before, overlap, "comes in while it is in already", source, "from")


def _joined(there: pl.DataFrame, given: pl.DataFrame, table: str, source: str) -> pl.DataFrame:
    """Both tables, each row once, in order: what one of them leaves empty, the other fills.

    Raises DataError where they say different things of one key. Instruments are told of by many sources, each of them
    with what it knows: their rows stay side by side.
    """
    whole = pl.concat([there, given]).unique(maintain_order=True)
    if table == "instruments" or whole.is_empty():
        return whole.sort(KEYS[table])
    keys = list(KEYS[table])
    known = pl.exclude(keys).drop_nulls()
    differ = whole.group_by(keys, maintain_order=True).agg(known.n_unique() > 1)
    if (bad := differ.filter(pl.any_horizontal(pl.exclude(keys)))).height:
        column = next(name for name in bad.columns[len(keys) :] if bad[name][0])
        key = ", ".join(str(bad[name][0]) for name in keys)
        hint = "Correct the file, or import it with replace, which puts it in the table's place."
        raise DataError(f"{table} says something else of {key}", source=source, column=column, hint=hint)
    return whole.group_by(keys).agg(known.first()).select(whole.columns).sort(keys)


def _opened(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise DataError("no such file", source=str(path), hint="Check the path; it is relative to the working folder.")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot be read: {error}", source=str(path), hint="CSV with a header, or Parquet.") from error


def _find(name: str, table: str, there: list[str], columns: Mapping[str, str]) -> str | None:
    if name in columns:
        return columns[name]
    taken = set(columns.values())
    aliases = (name, *_ALIASES.get(name, ()))
    if name == "instrument" and "symbol" in SCHEMAS[table]:
        aliases = ("instrument", "id", "permno")
    lowered = {column.strip().lower(): column for column in there if column not in taken}
    return next((lowered[alias] for alias in aliases if alias in lowered), None)


def _cast(values: pl.Series, name: str, dtype: pl.DataType, source: str) -> pl.Series:
    """The column in the table's type: text is read as numbers and dates, money as steps of 1e-9."""
    given = values
    if values.dtype == pl.String:
        values = values.str.strip_chars().replace("", None)
    try:
        cast = _converted(values, name, dtype)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{values.dtype} is no {dtype}", source=source, column=given.name) from error
    bad = cast.is_null() & values.is_not_null()
    if bad.any():
        row = int(bad.arg_max() or 0)
        what = "a date like 2020-08-31" if dtype == pl.Date else "a number" if name in _SCALES else f"a {dtype}"
        raise DataError(f"{given[row]!r} is not {what}", source=source, row=row, column=given.name)
    return cast


def _converted(values: pl.Series, name: str, dtype: pl.DataType) -> pl.Series:
    """Null where a value cannot be converted."""
    if name in _SCALES:
        integers, missing, unfit = fixed_point(values, _SCALES[name])
        return pl.Series(integers).set(pl.Series(missing | unfit), None)
    if dtype == pl.Date and values.dtype == pl.String:
        cast = values.str.to_date("%Y-%m-%d", strict=False)
        return cast.fill_null(values.str.to_date("%Y%m%d", strict=False)) if cast.null_count() else cast
    return values.cast(dtype, strict=False)


def _refuse(rows: pl.DataFrame, wrong: pl.Expr, what: str, source: str, column: str) -> None:
    bad = rows.filter(wrong.fill_null(value=False))
    if bad.height:
        name = bad["instrument"][0]
        value = bad[column][0]
        value = value / _SCALES[column] if column in _SCALES and value is not None else value
        shown = f"{name}: {value}" if name is not None else str(value)
        raise DataError(f"{shown} {what}", source=source, row=int(bad["row"][0]), column=column)
