"""Who was in it on which day: membership of an index or a list, by date, without knowledge of later days.

    rows = pl.read_csv("sp500_ticker_start_end.csv", try_parse_dates=True)
    universe = Universe(rows, symbol="ticker", start="start_date", end="end_date")
    universe.members("2015-06-30")               # symbols of that day
    prices.filter(universe.mask(prices))         # rows of days on which their symbol was in

An interval is [start, end): `end` is the first day out, and a missing end means "still in". A symbol may come and go;
its intervals do not overlap. A file whose `end` is the last day in is given one day later:
pl.col("end").dt.offset_by("1d").

Assumes that a symbol means the same company throughout, which tickers do not: where they are reused, let symbols be
those of the prices. Absent: weights, changes of names, when a change was announced.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import polars as pl

from helios.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from helios.data.catalog.catalog import Catalog

__all__ = ["Universe"]

_OPEN: Final = date.max


class Universe:
    """Membership by date, from a frame with one row a stay: symbol, first day in, first day out, perhaps a group."""

    def __init__(
        self,
        frame: pl.DataFrame,
        *,
        symbol: str = "symbol",
        start: str = "start",
        end: str = "end",
        group: str | None = None,
    ) -> None:
        """`symbol`, `start`, `end`, `group` (a sector) name columns. Raises DataError where a row makes no sense."""
        wanted = {"symbol": symbol, "start": start, "end": end} | ({} if group is None else {"group": group})
        for name in wanted.values():
            if name not in frame.columns:
                raise DataError(f"the universe has no such column; it has {', '.join(frame.columns)}", column=name)
        for name in (start, end):
            if not isinstance(frame.schema[name], pl.Date | pl.Datetime | pl.Null):
                hint = "Read it with try_parse_dates=True, or cast it: pl.col(…).str.to_date()."
                raise DataError(f"{frame.schema[name]} is not a date", column=name, hint=hint)
        if frame.is_empty():
            raise DataError("a universe needs a row at least")
        days = [pl.col(start).cast(pl.Date).alias("start"), pl.col(end).cast(pl.Date).alias("end")]
        text = [pl.col(name).cast(pl.String).alias(key) for key, name in wanted.items() if key in ("symbol", "group")]
        rows = frame.select(*text[:1], *days, *text[1:]).with_columns(pl.col("end").fill_null(_OPEN))
        _check(rows)
        self._rows = rows.sort("symbol", "start")

    @classmethod
    def of(cls, catalog: Catalog, name: str | None = None) -> Universe:
        """The list `name` of a catalog's table `membership`, by permanent names; the only one there without a name."""
        from helios.data.catalog.reference import table_of

        rows = table_of(catalog, "membership")
        names = rows["universe"].unique().sort().to_list()
        if not names:
            hint = "helios data import reference FILE --table membership"
            raise DataError("there is no membership table", source=catalog.location, hint=hint)
        if name is None and len(names) > 1:
            raise ArgumentError(f"the catalog has several universes, name one: {', '.join(names)}")
        if name is not None and name not in names:
            raise DataError(f"there is no universe {name!r}; there are {', '.join(names)}", source=catalog.location)
        rows = rows.filter(pl.col("universe") == (name or names[0]))
        group = "group" if rows["group"].null_count() < rows.height else None
        return cls(rows, symbol="instrument", start="from", end="to", group=group)

    @property
    def first(self) -> date:
        """The first day that anyone was in."""
        day: date = self._rows["start"].min()  # type: ignore[assignment]
        return day

    @property
    def last(self) -> date | None:
        """The first day that nobody is in any more; None where someone still is."""
        day: date = self._rows["end"].max()  # type: ignore[assignment]
        return None if day == _OPEN else day

    @property
    def symbols(self) -> list[str]:
        """All who ever were in, in order. To choose from these is to look ahead."""
        return self._rows["symbol"].unique().sort().to_list()

    def members(self, on: date | str) -> list[str]:
        """Symbols of the day `on` (a date, or text like "2015-06-30"). Raises DataError when there are none."""
        return self._on(on)["symbol"].to_list()

    def groups(self, on: date | str) -> dict[str, str]:
        """The group of each member of the day; members without one are left out."""
        if "group" not in self._rows.columns:
            raise ArgumentError("this universe has no groups: make it with group= and the column's name")
        return dict(self._on(on).drop_nulls("group").select("symbol", "group").iter_rows())

    def between(self, start: date | str, end: date | str) -> list[str]:
        """Symbols that were in on a day at least of [start, end), in order. Known only at `end`."""
        low, high = _day(start), _day(end)
        if low >= high:
            raise ArgumentError(f"between: start {low} is not before end {high}")
        found = self._rows.filter((pl.col("start") < high) & (pl.col("end") > low))["symbol"].unique().sort()
        if found.is_empty():
            raise self._nobody(f"from {low} to {high}")
        return found.to_list()

    def stays(self, symbol: str, *, tz: str = "America/New_York") -> list[tuple[datetime, datetime]]:
        """When a symbol was in: each stay from the midnight in `tz` that began it to the microsecond before its end.

        `session(hours=universe.stays("KO")).is_open` is an expression that is 1 while KO is a member, and
        `x.only(…)` of it is null otherwise. Raises DataError for a symbol that never was.
        """
        rows = self._rows.filter(pl.col("symbol") == symbol).sort("start")
        if rows.is_empty():
            raise DataError(f"{symbol!r} was never in the universe")
        zone = ZoneInfo(tz)
        # The core's clock ends in 2262; a stay that has not ended lasts until then.
        until = datetime(2262, 1, 1, tzinfo=zone)

        def midnight(day: date) -> datetime:
            return datetime(day.year, day.month, day.day, tzinfo=zone) if day < until.date() else until

        stays = rows.select("start", "end").iter_rows()
        return [(midnight(start), midnight(end) - timedelta(microseconds=1)) for start, end in stays]

    def mask(self, frame: pl.DataFrame, *, ts: str = "ts", symbol: str = "symbol", tz: str | None = None) -> pl.Series:
        """True for each row of `frame` whose symbol was a member on the row's day. Null times and symbols are not.

        A time's day is that of its own zone, or of `tz` (a time without a zone is UTC): the evening session of New York
        is the next day in UTC. Raises DataError when there were no members on one of the days.
        """
        for name in (ts, symbol):
            if name not in frame.columns:
                raise DataError(f"the frame has no such column; it has {', '.join(frame.columns)}", column=name)
        kind = frame.schema[ts]
        if not isinstance(kind, pl.Date | pl.Datetime):
            raise DataError(f"{kind} is not a time", column=ts)
        when = pl.col(ts)
        if tz is not None:
            if not isinstance(kind, pl.Datetime):
                raise ArgumentError(f"mask: tz={tz!r}: days have no zone")
            when = (when.dt.replace_time_zone("UTC") if kind.time_zone is None else when).dt.convert_time_zone(tz)
        rows = frame.select(pl.col(symbol).cast(pl.String).alias("symbol"), when.dt.date().alias("day"))
        for day in rows["day"].unique().drop_nulls().sort():
            self._on(day)
        rows = rows.with_row_index("row").drop_nulls().sort("day")
        stays = self._rows.select("symbol", "start", "end").sort("start")
        held = rows.join_asof(stays, left_on="day", right_on="start", by="symbol", check_sortedness=False)
        inside = held.filter(pl.col("day") < pl.col("end"))["row"]
        return pl.Series("member", range(frame.height), dtype=pl.UInt32).is_in(inside.implode()).alias("member")

    def _on(self, on: date | str) -> pl.DataFrame:
        day = _day(on)
        found = self._rows.filter((pl.col("start") <= day) & (pl.col("end") > day))
        if found.is_empty():
            raise self._nobody(f"on {day}")
        return found

    def _nobody(self, when: str) -> DataError:
        until = "today" if self.last is None else f"before {self.last}"
        return DataError(f"the universe has no members {when}: it spans {self.first} to {until}")

    def __repr__(self) -> str:
        until = "" if self.last is None else str(self.last)
        return f"Universe({len(self.symbols)} symbols, {self.first} … {until})"


def _check(rows: pl.DataFrame) -> None:
    """Raises DataError at the first row that makes no sense."""
    table = rows.with_row_index("row")
    for name in ("symbol", "start"):
        if (bad := table.filter(pl.col(name).is_null())).height:
            raise DataError("the value is missing", row=bad["row"][0], column=name)
    if (bad := table.filter(pl.col("end") <= pl.col("start"))).height:
        row, symbol, start, end = bad.select("row", "symbol", "start", "end").row(0)
        hint = "end is the first day out; leave it empty for who is still in."
        raise DataError(f"{symbol} leaves on {end}, not after it came on {start}", row=row, column="end", hint=hint)
    before = table.sort("symbol", "start").with_columns(until=pl.col("end").shift(1).over("symbol"))
    if (bad := before.filter(pl.col("until") > pl.col("start"))).height:
        row, symbol, start = bad.select("row", "symbol", "start").row(0)
        raise DataError(f"{symbol} comes on {start}, but is in already", row=row, column="start")


def _day(on: date | str) -> date:
    if isinstance(on, str):
        try:
            return date.fromisoformat(on)
        except ValueError as error:
            raise ArgumentError(f"{on!r} is not a date like 2015-06-30") from error
    return on.date() if isinstance(on, datetime) else on
