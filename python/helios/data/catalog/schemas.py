"""The tables of a catalog: their columns, and the exact way between them and the batches of the core.

Market data has, for each event, `instrument` (permanent identifier), `ts` (the venue's stamp), `ts_recv` (our own stamp
where the source has one), the columns of `helios.data.source` under the same names, and `seq`, which counts the events
of one stamp within an import's day: (ts, seq) is the order in which they came.

Prices are whole steps of 1e-9 and sizes of 1e-8, as Int64; the scales stand in each file's metadata, key
"helios.scales". A price that is absent (`UNDEFINED_PRICE` in the core) is null. `side` is 0 buy, 1 sell, -1 none;
`aggressor` 0 none, 1 buy, 2 sell; `kind` as in `helios.data.source`, and of `depth` 0 level, 1 clear.

Why not Decimal(18, 9): Parquet stores the same bytes, but Polars reads them into 128 bits, which takes half as long
again as all the rest of a read in time order. `readable` turns the integers into decimals or floats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from helios.data.source import UNDEFINED_PRICE, Batch
from helios.errors import ArgumentError, DataError
from helios.scales import PRICE_SCALE, QUANTITY_SCALE

__all__ = [
    "MARKET",
    "PRICES",
    "REFERENCE",
    "SCHEMAS",
    "SIZES",
    "conform",
    "from_batch",
    "readable",
    "schema_of",
    "to_batch",
]

TIME: Final = pl.Datetime("ns", "UTC")


def _events(**values: Any) -> pl.Schema:
    return pl.Schema({"instrument": pl.String, "ts": TIME, "ts_recv": TIME, **values, "seq": pl.UInt32})


_INT64, _INT8 = pl.Int64, pl.Int8

_MARKET: Final[dict[str, pl.Schema]] = {
    "orders": _events(kind=_INT8, order=_INT64, new_order=_INT64, side=_INT8, price=_INT64, size=_INT64),
    "quotes": _events(bid=_INT64, ask=_INT64, bid_size=_INT64, ask_size=_INT64),
    "trades": _events(price=_INT64, size=_INT64, aggressor=_INT8),
    "depth": _events(kind=_INT8, side=_INT8, price=_INT64, size=_INT64),
    "bars": _events(open=_INT64, high=_INT64, low=_INT64, close=_INT64, volume=_INT64, span=_INT64),
}
#: Days are those of the exchange; an interval is [from, to), and a missing `to` means "still".
_REFERENCE: Final[dict[str, pl.Schema]] = {
    "instruments": pl.Schema(
        {
            "instrument": pl.String,
            "symbol": pl.String,
            "from": pl.Date,
            "to": pl.Date,
            "name": pl.String,
            "venue": pl.String,
            "currency": pl.String,
            "tick": pl.Int64,
            "lot": pl.Int64,
            "kind": pl.String,
            "details": pl.String,  # what else the source says, as a JSON object
        }
    ),
    "symbol_changes": pl.Schema({"instrument": pl.String, "symbol": pl.String, "from": pl.Date, "to": pl.Date}),
    "splits": pl.Schema({"instrument": pl.String, "ex_date": pl.Date, "numerator": pl.Int64, "denominator": pl.Int64}),
    # `close`: the last one before the ex-date, where the source says it.
    "dividends": pl.Schema(
        {"instrument": pl.String, "ex_date": pl.Date, "cash": pl.Int64, "currency": pl.String, "close": pl.Int64}
    ),
    "membership": pl.Schema(
        {"universe": pl.String, "instrument": pl.String, "from": pl.Date, "to": pl.Date, "group": pl.String}
    ),
}

#: Names of the schemas of market data, and of the reference tables.
MARKET: Final = tuple(_MARKET)
REFERENCE: Final = tuple(_REFERENCE)
#: Columns of every table.
SCHEMAS: Final[Mapping[str, pl.Schema]] = MappingProxyType(_MARKET | _REFERENCE)

#: Columns at 1e-9 and at 1e-8.
PRICES: Final = frozenset({"price", "bid", "ask", "open", "high", "low", "close", "tick", "cash"})
SIZES: Final = frozenset({"size", "bid_size", "ask_size", "volume", "lot"})
#: Prices that may be absent.
_NULLABLE: Final[Mapping[str, frozenset[str]]] = {
    "orders": frozenset({"price"}),
    "quotes": frozenset({"bid", "ask"}),
    "depth": frozenset({"price"}),
}
_STAMPS: Final = ("instrument", "ts", "ts_recv", "seq")


def values_of(schema: str) -> list[str]:
    """The columns of a schema of market data that are its own: those of a batch of the core."""
    return [name for name in SCHEMAS[schema] if name not in _STAMPS]


def schema_of(columns: Sequence[str]) -> str:
    """The schema of market data whose batches have these columns."""
    own = set(columns) - set(_STAMPS)
    for name in MARKET:
        if own == set(values_of(name)):
            return name
    raise ArgumentError(f"no schema has the columns {', '.join(sorted(own))}")


def check_schema(schema: str) -> None:
    """ArgumentError for a name that is no market-data schema."""
    if schema not in MARKET:
        raise ArgumentError(f"schema={schema!r}: one of {', '.join(MARKET)}")


def to_batch(frame: pl.DataFrame, ids: Mapping[str, int]) -> Batch:
    """A frame's rows as a batch of the core, in the frame's order; instruments that are not in `ids` are left out."""
    frame = frame.filter(pl.col("instrument").is_in(list(ids)))
    names = frame["instrument"].unique().to_list()
    numbers = frame["instrument"].replace_strict(names, [ids[name] for name in names], return_dtype=pl.UInt32)
    batch: Batch = {"ts": _int64(frame["ts"], 0), "instrument": np.ascontiguousarray(numbers.to_numpy())}
    for name in values_of(schema_of(frame.columns)):
        batch[name] = _int64(frame[name], UNDEFINED_PRICE)
    return batch


def _int64(column: pl.Series, null: int) -> Any:
    physical = column.to_physical().cast(pl.Int64)
    if physical.null_count():
        physical = physical.fill_null(null)
    return np.ascontiguousarray(physical.to_numpy())


def from_batch(batch: Batch, symbols: Sequence[str] | Mapping[int, str]) -> pl.DataFrame:
    """A batch of the core as a frame of the catalog; `symbols` names its instrument numbers. Without `seq`."""
    schema = schema_of(list(batch))
    names = dict(symbols) if isinstance(symbols, Mapping) else dict(enumerate(symbols))
    numbers = pl.Series("instrument", batch["instrument"], dtype=pl.UInt32)
    unknown = sorted(set(numbers.unique().to_list()) - names.keys())
    if unknown:
        raise ArgumentError(f"instrument number {unknown[0]} has no symbol")
    types = SCHEMAS[schema]
    columns = {
        "instrument": numbers.replace_strict(list(names), list(names.values()), return_dtype=pl.String),
        "ts": pl.Series(batch["ts"], dtype=pl.Int64).cast(TIME),
        "ts_recv": pl.repeat(None, numbers.len(), dtype=TIME, eager=True),
    }
    for name in values_of(schema):
        column = pl.Series(name, batch[name], dtype=pl.Int64)
        if name in _NULLABLE.get(schema, ()):
            column = column.set(column == UNDEFINED_PRICE, None)
        columns[name] = _cast(column, types[name], name, schema)
    return pl.DataFrame(columns)


def _cast(column: pl.Series, dtype: Any, name: str, source: str) -> pl.Series:
    if dtype.is_integer() and not (column.dtype.is_integer() or column.dtype == pl.Null):
        # A cast would cut off what is behind the point.
        scale = "1e-9" if name in PRICES else "1e-8" if name in SIZES else "1"
        hint = f"Give whole steps of {scale} as integers."
        raise DataError(f"is {column.dtype}, not {dtype}", source=source, column=name, hint=hint)
    try:
        return column.cast(dtype, strict=True)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"cannot be {dtype}: {str(error).splitlines()[0]}", source=source, column=name) from None


def conform(frame: pl.DataFrame, schema: str, source: str) -> pl.DataFrame:
    """The frame with exactly the columns and types of `schema`, nulls only where they may be. DataError otherwise.

    `ts_recv` may be missing, and so may what is null anyway in a reference table. `seq` is the writer's to give: one
    that is there is dropped.
    """
    types = dict(SCHEMAS[schema])
    types.pop("seq", None)
    optional = {"ts_recv"} if schema in MARKET else set(types) - {"instrument"}
    if extra := sorted(set(frame.columns) - types.keys() - {"seq"}):
        raise DataError(f"{schema} has no such column; it has {', '.join(types)}", source=source, column=extra[0])
    columns = []
    for name, dtype in types.items():
        if name not in frame.columns:
            if name not in optional:
                raise DataError(f"{schema} needs this column", source=source, column=name)
            columns.append(pl.repeat(None, frame.height, dtype=dtype, eager=True).alias(name))
            continue
        column = frame[name]
        if column.dtype != dtype:
            column = _cast(column, dtype, name, source)
        if column.null_count() and name not in optional and name not in _NULLABLE.get(schema, ()):
            row = int(column.is_null().arg_true()[0])
            raise DataError("is null", source=source, column=name, row=row)
        columns.append(column)
    return pl.DataFrame(columns)


def readable(
    frame: pl.LazyFrame, schema: str, values: Literal["integer", "decimal", "float"] = "decimal"
) -> pl.LazyFrame:
    """Prices and sizes as decimals (exact) or floats (the nearest), instead of whole steps of 1e-9 and 1e-8."""
    if values not in ("integer", "decimal", "float"):
        raise ArgumentError(f"values={values!r}: 'integer', 'decimal' or 'float'")
    if values == "integer":
        return frame
    columns = []
    for name in SCHEMAS[schema]:
        scale = PRICE_SCALE if name in PRICES else QUANTITY_SCALE if name in SIZES else None
        if scale is None:
            continue
        column = pl.col(name)
        if values == "float":
            columns.append(column / scale)
        else:
            places = 9 if name in PRICES else 8
            step = pl.lit(f"{1 / scale:.{places}f}").cast(pl.Decimal(38, places))
            columns.append(column.cast(pl.Decimal(38, 0)) * step)
    return frame.with_columns(columns)
