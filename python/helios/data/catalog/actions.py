"""Splits and dividends: prices adjusted when they are read, and the actions themselves as a stream of events.

    catalog.read("bars", symbols=["AAPL"], adjust="splits")   # prices and sizes in today's shares
    catalog.read("bars", symbols=["AAPL"], adjust="all")      # and dividends as if they had been reinvested
    catalog.actions(["AAPL"], "2020-01-01", "2021-01-01")     # a source: what happened to a share, when

Method (the one of CRSP and of most vendors): all before an ex-date is multiplied by that action's factor, and by those
of all later ones. A split of `numerator` new for `denominator` old shares has the price factor denominator / numerator,
and sizes get the inverse. A cash dividend D has the price factor 1 - D / C, C being the last close before the ex-date;
sizes stay. Where both have one ex-date, D is per share before the split. The newest prices are left as they are.

An action holds from the midnight that begins its ex-date, in the zone of the catalog's dates: trading before the
opening is without the dividend too. C is `close` of the table `dividends` where it is given, else the last bar's close,
else the last trade, before the ex-date and not more than ten days old.

When not to trust it: adjusted prices know later actions, so a rule on price levels ("above 5 dollars"), on fees per
share or on round lots must use unadjusted prices; `as_of` leaves out what was not known yet. Factors are floats:
adjusted prices are rounded to 1e-9, sizes to 1e-8. Absent: rights issues, spin-offs (give them as dividends, cash being
their value), withholding tax, mergers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from helios.data.catalog.reference import table_of
from helios.data.catalog.schemas import PRICES, SIZES
from helios.data.catalog.symbology import Symbology
from helios.data.source import BATCH_ROWS, UNDEFINED_PRICE, Batch, ColumnSource, Skipped, check_request
from helios.errors import ArgumentError, DataError
from helios.scales import PRICE_SCALE

if TYPE_CHECKING:
    from helios.data.catalog.catalog import Catalog

__all__ = ["ActionSource", "Adjust", "adjusted", "check_adjust", "events", "factors", "factors_of"]

Adjust = Literal["splits", "all"]

FACTORS: Final = pl.Schema(
    {
        "instrument": pl.String(),
        "from_ts": pl.Datetime("ns", "UTC"),
        "price_factor": pl.Float64(),
        "size_factor": pl.Float64(),
    }
)
_STALE = timedelta(days=10)
_SPLIT, _DIVIDEND = 0, 1
_BEGIN_OF_TIME = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))


def check_adjust(adjust: str | None) -> Adjust | None:
    """The mode, or ArgumentError."""
    modes: dict[str | None, Adjust | None] = {None: None, "splits": "splits", "all": "all"}
    if adjust in modes:
        return modes[adjust]
    raise ArgumentError(f"adjust={adjust!r}: None, 'splits' or 'all'")


def factors(
    catalog: Catalog,
    instruments: Iterable[str] | None,
    mode: Adjust,
    *,
    tz: str = "America/New_York",
    as_of: date | None = None,
) -> pl.DataFrame:
    """What prices and sizes are multiplied by, from when on: instrument, from_ts, price_factor, size_factor.

    A row holds until the instrument's next one; instruments without an action have none. `instruments` are permanent
    names, None for all. Actions after `as_of` are left out. Raises DataError where a dividend's close is not to be had.
    """
    splits = _until(table_of(catalog, "splits", instruments), as_of)
    dividends = _until(table_of(catalog, "dividends", instruments), as_of)
    if mode == "splits":
        dividends = dividends.clear()
    elif dividends["close"].null_count():
        dividends = _with_closes(catalog, dividends, tz)
    return factors_of(splits, dividends, tz=tz)


def factors_of(splits: pl.DataFrame, dividends: pl.DataFrame, *, tz: str = "America/New_York") -> pl.DataFrame:
    """Factors from the two tables alone; every dividend has its `close`, or is left out where that is null."""
    halves = [
        splits.select(
            "instrument",
            "ex_date",
            (pl.col("denominator") / pl.col("numerator")).alias("price"),
            (pl.col("numerator") / pl.col("denominator")).alias("size"),
        ),
        dividends.drop_nulls("close").select(
            "instrument",
            "ex_date",
            (1 - pl.col("cash") / pl.col("close")).alias("price"),
            pl.lit(1.0).alias("size"),
        ),
    ]
    days = pl.concat(halves).group_by("instrument", "ex_date").agg(pl.col("price", "size").product())
    # The factor from a day on is that of all later days; before the first one it is that of all.
    products = [pl.col(name).reverse().cum_prod().reverse().over("instrument") for name in ("price", "size")]
    whole = days.sort("instrument", "ex_date").with_columns(products)
    firsts = whole.group_by("instrument", maintain_order=True).first()
    later = whole.with_columns(pl.col("price", "size").shift(-1, fill_value=1.0).over("instrument"))
    return (
        pl.concat(
            [
                firsts.select("instrument", pl.lit(_BEGIN_OF_TIME).alias("from_ts"), "price", "size"),
                later.select("instrument", _midnight(tz).alias("from_ts"), "price", "size"),
            ],
            how="vertical_relaxed",
        )
        .rename({"price": "price_factor", "size": "size_factor"})
        .cast(FACTORS)
        .sort("instrument", "from_ts")
    )


def adjusted(rows: pl.LazyFrame, by: pl.DataFrame) -> pl.LazyFrame:
    """Rows of market data, in order of time within each instrument, times their factors. Types and order stay."""
    if by.is_empty():
        return rows
    types = rows.collect_schema()
    kinds = dict.fromkeys(PRICES, "price_factor") | dict.fromkeys(SIZES, "size_factor")
    told = by.lazy().cast({"instrument": types["instrument"], "from_ts": types["ts"]}).sort("from_ts")
    joined = rows.join_asof(
        told, left_on="ts", right_on="from_ts", by="instrument", strategy="backward", check_sortedness=False
    )
    changed = [
        pl.when(pl.col(kinds[name]).is_null() | (pl.col(kinds[name]) == 1.0) | (pl.col(name) == UNDEFINED_PRICE))
        .then(pl.col(name))
        .otherwise((pl.col(name) * pl.col(kinds[name])).round(0).cast(types[name]))
        .alias(name)
        for name in types
        if name in kinds
    ]
    return joined.with_columns(changed).select(types.names())


def events(
    catalog: Catalog,
    symbols: Iterable[str] | None = None,
    start: date | str | None = None,
    end: date | str | None = None,
    *,
    tz: str = "America/New_York",
    calendar: str | None = None,
) -> ActionSource:
    """Splits and dividends with an ex-date from `start` to `end`, both included, as a source of schema "actions".

    An event's time is the midnight in `tz` that begins its ex-date; with `calendar` (a name of exchange_calendars,
    "XNYS") it is that session's opening. A dividend comes before a split of the same day. Symbols stand under the names
    they were asked by, those of everything under their permanent names.
    """
    low, high = _date(start), _date(end)
    wanted = Symbology.of(catalog).select(symbols, high).wanted
    splits = table_of(catalog, "splits", wanted).select(
        "instrument", "ex_date", kind=pl.lit(_SPLIT), a=pl.col("numerator"), b=pl.col("denominator")
    )
    dividends = table_of(catalog, "dividends", wanted).select(
        "instrument", "ex_date", kind=pl.lit(_DIVIDEND), a=pl.col("cash"), b=pl.lit(0, dtype=pl.Int64)
    )
    rows = pl.concat([splits, dividends], how="vertical_relaxed")
    if low:
        rows = rows.filter(pl.col("ex_date") >= low)
    if high:
        rows = rows.filter(pl.col("ex_date") <= high)
    if wanted is not None:
        rows = rows.with_columns(pl.col("instrument").replace(dict(wanted)))
    stamp = _midnight(tz) if calendar is None else _opening(rows["ex_date"], calendar)
    told = rows.with_columns(ts=stamp).sort("ts", "instrument", "kind", descending=[False, False, True])
    return ActionSource(told.select("ts", "instrument", "kind", "a", "b"))


class ActionSource(ColumnSource):
    """Actions as events: `kind` 0 split (`a` new shares for `b` old ones), 1 dividend (`a` cash at 1e-9, `b` 0)."""

    schema = "actions"

    def __init__(self, frame: pl.DataFrame) -> None:
        #: Columns ts, instrument, kind, a, b: all there is, for people.
        self.frame = frame
        self.skipped: dict[str, Skipped] = {}

    @property
    def symbols(self) -> list[str]:
        """Those with an action, sorted."""
        return self.frame["instrument"].unique().sort().to_list()

    @property
    def rows(self) -> int:
        """Number of actions."""
        return self.frame.height

    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        """Batches with the columns ts, instrument, kind, a, b."""
        check_request(ids, size)
        return self._read(dict(ids), size)

    def _read(self, ids: dict[str, int], size: int) -> Iterator[Batch]:
        rows = self.frame.filter(pl.col("instrument").is_in(list(ids)))
        for part in rows.iter_slices(size):
            batch: Batch = {
                "ts": part["ts"].dt.timestamp("ns").to_numpy(),
                "instrument": np.array([ids[name] for name in part["instrument"]], dtype=np.uint32),
            }
            for name in ("kind", "a", "b"):
                batch[name] = part[name].cast(pl.Int64).to_numpy()
            yield {name: np.ascontiguousarray(column) for name, column in batch.items()}


# ---- parts -----------------------------------------------------------------------------------------------------------


def _until(table: pl.DataFrame, as_of: date | None) -> pl.DataFrame:
    return table if as_of is None else table.filter(pl.col("ex_date") <= as_of)


def _midnight(tz: str) -> pl.Expr:
    """The midnight that begins the ex-date."""
    # Where the clocks change at midnight, the day begins with the first of two, or right after the one left out.
    local = (
        pl.col("ex_date").cast(pl.Datetime("ns")).dt.replace_time_zone(tz, ambiguous="earliest", non_existent="null")
    )
    after = (pl.col("ex_date").cast(pl.Datetime("ns")) + pl.duration(hours=1)).dt.replace_time_zone(
        tz, ambiguous="earliest", non_existent="null"
    )
    return local.fill_null(after).dt.convert_time_zone("UTC").dt.cast_time_unit("ns")


def _opening(days: pl.Series, calendar: str) -> pl.Series:
    """The opening of each day's session. Raises DataError for a day that has none."""
    from helios.data.catalog.sessions import sessions

    first, last = days.min(), days.max()
    if first is None or last is None:
        return pl.Series([], dtype=pl.Datetime("ns", "UTC"))
    opens = sessions(calendar, first, last)  # type: ignore[arg-type]
    found = [opens.get(day) for day in days]
    if None in found:
        day = days[found.index(None)]
        raise DataError(f"the ex-date {day} is no session of {calendar}", source="splits and dividends")
    return pl.Series([hours[0] for hours in found if hours], dtype=pl.Datetime("ns", "UTC"))


def _with_closes(catalog: Catalog, dividends: pl.DataFrame, tz: str) -> pl.DataFrame:
    """Dividends with the last close before their ex-date; those before all the catalog's prices are left out."""
    missing = dividends.filter(pl.col("close").is_null())
    names = missing["instrument"].unique().sort().to_list()
    closes = _closes(catalog, names, missing["ex_date"].max(), tz)  # type: ignore[arg-type]
    found = (
        missing.drop("close")
        .sort("ex_date")
        .join_asof(
            closes,
            left_on="ex_date",
            right_on="date",
            by="instrument",
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
    )
    # Nothing before it, nothing to adjust.
    found = found.drop_nulls("close")
    if (stale := found.filter(pl.col("ex_date") - pl.col("date") > _STALE)).height:
        name, day, seen = stale.select("instrument", "ex_date", "date").row(0)
        raise DataError(
            f"{name}: the last close before the ex-date {day} is of {seen}",
            source="dividends",
            hint="Import the days between, or give `close` in the table dividends.",
        )
    _refuse_worthless(found)
    return pl.concat([dividends.drop_nulls("close"), found.select(dividends.columns)])


def _closes(catalog: Catalog, instruments: list[str], until: date, tz: str) -> pl.DataFrame:
    """The last price of each instrument and day: of bars, and of trades on days without bars."""
    last = pl.DataFrame(schema={"instrument": pl.String, "date": pl.Date, "close": pl.Int64})
    day = pl.col("ts").dt.convert_time_zone(tz).dt.date().alias("date")
    # A bar that ends at midnight is of the day that ends then.
    bar_day = (pl.col("ts") - pl.duration(nanoseconds=1)).dt.convert_time_zone(tz).dt.date().alias("date")
    for schema, price, of in (("bars", "close", bar_day), ("trades", "price", day)):
        if not catalog.entries(schema):
            continue
        rows = catalog.read(schema, symbols=instruments, end=until)
        price_of = pl.col(price).sort_by("ts").last().alias("close")
        found = rows.group_by(pl.col("instrument").cast(pl.String), of).agg(price_of).collect(engine="streaming")
        found = found.select(last.columns)
        last = pl.concat([last, found.join(last, on=["instrument", "date"], how="anti")])
    return last.sort("date")


def _refuse_worthless(dividends: pl.DataFrame) -> None:
    bad = dividends.filter(pl.col("cash") >= pl.col("close"))
    if bad.height:
        name, day, cash, close = bad.select("instrument", "ex_date", "cash", "close").row(0)
        hint = "Is the amount in another unit, or are the catalog's prices adjusted already?"
        paid, worth = cash / PRICE_SCALE, close / PRICE_SCALE
        raise DataError(f"{name} pays {paid} on {day}, at a close of {worth}", source="dividends", hint=hint)


def _date(day: date | str | None) -> date | None:
    if isinstance(day, str):
        try:
            return date.fromisoformat(day)
        except ValueError as error:
            raise ArgumentError(f"{day!r} is not a date like 2015-06-30") from error
    return day.date() if isinstance(day, datetime) else day
