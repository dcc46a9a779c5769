"""LEAN data folders (QuantConnect): ticks, bars, quote bars, factor and map files.

The place of a file says what it is: `<type>/<market>/<resolution>/<ticker>/<YYYYMMDD>_<trade|quote>.zip`, or
`<type>/<market>/<daily|hour>/<ticker>[_trade|_quote].zip`. All files of one date, market and resolution are one unit;
so are all daily files, and the factor and map files of a market. What becomes what:

| LEAN | catalog |
|---|---|
| trade ticks | trades (without an aggressor: LEAN has none) |
| quote ticks | quotes: a tick has one side, the other is carried on; both are empty until they were told |
| trade bars | bars; LEAN stamps a bar with its START, the catalog with its END |
| quote bars | quotes: the closing bid and ask at the bar's end |
| map files | reference table symbol_changes; and the permanent names of instruments |
| factor files | reference tables splits and dividends |

The permanent name of an instrument is the name of its map file, upper case (`goog.csv` is GOOG, which traded as GOOCV
in its first days, while until then GOOG was the symbol of GOOGL). A ticker without a map file is its own name; days
that the map files of a ticker leave out are left out and counted. Equity prices are deci-cents and times milliseconds
since midnight in New York; crypto prices are plain and times UTC. Ticks flagged as suspicious are left out and
counted. Quotes may be crossed, as they were.

Splits and dividends are worked back from the factors: a ratio is the simplest fraction within their rounding, a
dividend the reference close times the fall of the price factor, rounded to 1e-4. The ex-date is the next weekday
after the factor's date: where that is a holiday no price lies between, so that adjusted prices are the same.

Absent: options, futures, forex, margin interest; conditions and exchanges of ticks. Source: LEAN's readme files of
its data folders; `CorporateFactorRow.GetSplit` and `GetDividend`.
"""

from __future__ import annotations

import datetime as dt
import io
import itertools
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from helios.data.catalog.importing.pieces import (
    Notes,
    Options,
    Part,
    Rows,
    Table,
    Unit,
    files_of,
    fixed_text,
    of_another_day,
)
from helios.data.checks import ADMIT, Fault
from helios.data.columns import CLOSE_NS, NS_PER_DAY, Integers, Mask, local_to_utc
from helios.data.source import Batch
from helios.errors import DataError
from helios.scales import PRICE_SCALE

PATTERNS = ("*.zip", "*.csv")
_SPANS = {"second": 1, "minute": 60, "hour": 3600, "daily": 86_400}
_NS = 1_000_000_000
_NS_PER_MS = 1_000_000
#: Steps of 1e-9 in LEAN's unit of price; and the zone of its times.
_MARKETS = {
    "equity": (100_000, "America/New_York"),
    "crypto": (PRICE_SCALE, "UTC"),
    "cryptofuture": (PRICE_SCALE, "UTC"),
}
_FOR_EVER = dt.date(2049, 1, 1)

_TICK_TRADES = ("ts", "price", "size", "exchange", "condition", "suspicious")
_TICK_QUOTES = ("ts", "bid", "bid_size", "ask", "ask_size", "exchange", "condition", "suspicious")
_BARS = ("ts", "open", "high", "low", "close", "volume")
_QUOTE_BARS = ("ts", "bo", "bh", "bl", "bid", "bid_size", "ao", "ah", "al", "ask", "ask_size")


class _Place(NamedTuple):
    """What the place of a file says."""

    kind: str
    market: str
    resolution: str
    ticker: str
    what: str
    date: dt.date | None
    root: Path


def _place(path: Path) -> _Place | None:
    parts = path.parts
    daily = re.fullmatch(r"(.+?)(?:_(trade|quote))?\.zip", parts[-1])
    dated = re.fullmatch(r"(\d{8})_(trade|quote)\.zip", parts[-1])
    if dated is not None and len(parts) >= 5 and parts[-3] in ("tick", "second", "minute"):
        kind, market, resolution, ticker = parts[-5:-1]
        try:
            date = dt.datetime.strptime(dated[1], "%Y%m%d").date()
        except ValueError:
            return None
        return _Place(kind, market, resolution, ticker, dated[2], date, path.parents[2])
    if daily is not None and len(parts) >= 4 and parts[-2] in ("daily", "hour"):
        kind, market, resolution = parts[-4:-1]
        return _Place(kind, market, resolution, daily[1], daily[2] or "trade", None, path.parents[1])
    return None


def units(source: str | Path, options: Options) -> list[Unit]:
    """One per date and market (ticks, seconds, minutes); one for all daily files; one for factor and map files."""
    _maps.cache_clear()
    groups: dict[tuple[str, ...], list[Path]] = {}
    references: dict[Path, list[Path]] = {}
    resolutions: dict[str, Path] = {}
    other: list[Path] = []
    dates: set[dt.date] = set()
    # A relative path may not hold the folders that say what a file is.
    for path in map(Path.absolute, files_of(source, PATTERNS, "LEAN")):
        place = _place(path)
        if path.suffix == ".csv" and path.parent.name in ("factor_files", "map_files"):
            references.setdefault(path.parents[1], []).append(path)
        elif place is None or place.kind not in _MARKETS:
            other.append(path)
        elif options.symbols is None or place.ticker.upper() in {each.upper() for each in options.symbols}:
            if place.date is not None:
                dates.add(place.date)
                if options.date not in (None, place.date):
                    continue
            resolutions[place.resolution] = path
            groups.setdefault((place.kind, place.market, place.resolution, str(place.date or "")), []).append(path)
    if len(resolutions) > 1:
        hint = (
            f"They tell of the same days; give the folder of one, for example {next(iter(resolutions.values())).parent}"
        )
        raise DataError(f"holds several resolutions: {', '.join(sorted(resolutions))}", source=str(source), hint=hint)
    if options.date is not None and not groups and dates:
        of_another_day(str(source), min(dates), options.date)
    if not groups and not references:
        hint = "The folders around a file say what it is: equity/usa/minute/ibm/20131007_trade.zip"
        raise DataError("holds no LEAN equity or crypto file", source=str(source), hint=hint)
    found = [
        Unit(
            f"{root} (factor and map files)",
            tuple(sorted(paths)),
            tuple(Part(path) for path in sorted(paths)),
            key=" ".join(f"{path.parent.name}/{path.name}" for path in sorted(paths)),
        )
        for root, paths in sorted(references.items())
    ]
    for group, paths in sorted(groups.items()):
        places = [place for path in paths if (place := _place(path)) is not None]
        maps = {file for place in places for file in _map_files(place.root, place.ticker)}
        name = f"{places[0].root}/{'/'.join(each for each in group[2:] if each)}" if len(paths) > 1 else str(paths[0])
        parts = (*(Part(path) for path in paths), *(Part(path, "left out") for path in other))
        key = " ".join("/".join(path.parts[-5:]) for path in paths)
        found.append(Unit(name, (*sorted(paths), *sorted(maps)), parts, places[0].date, key))
        other = []
    return found


def read(unit: Unit, options: Options, notes: Notes) -> Iterator[Rows | Table]:
    """Rows of every file of the unit."""
    data = [part.path for part in unit.parts if part.member is None]
    for part in unit.parts:
        if part.member is not None:
            notes.leave_out("file of a kind without a place", str(part.path))
    if data and data[0].suffix == ".csv":
        yield from _references(data, options)
        return
    for number, path in enumerate(data):
        notes.progress = number / len(data)
        yield from _file(path, options, notes)


# ---- names -----------------------------------------------------------------------------------------------------------


class _Interval(NamedTuple):
    """From a date to another, both included, an instrument trades under a ticker."""

    instrument: str
    ticker: str
    start: dt.date
    end: dt.date


def _map_file(path: Path) -> list[_Interval]:
    """A row says until when; the first row is the first day."""
    rows = _csv_rows(path, 2)
    found: list[_Interval] = []
    for number, (text, ticker, *_) in enumerate(rows):
        day = _day(text, path, number)
        if number == 0:
            start = day
            if len(rows) > 1:
                continue
        if day < start:
            raise DataError(f"goes back to {day}", source=str(path), row=number)
        found.append(_Interval(path.stem.upper(), ticker.upper(), start, day))
        start = day + dt.timedelta(days=1)
    return found


@lru_cache(maxsize=8)
def _maps(root: Path) -> dict[str, list[_Interval]]:
    """Ticker -> what traded under it."""
    found: dict[str, list[_Interval]] = {}
    for path in sorted((root / "map_files").glob("*.csv")):
        for interval in _map_file(path):
            found.setdefault(interval.ticker, []).append(interval)
    return found


def _map_files(root: Path, ticker: str) -> list[Path]:
    names = {interval.instrument.lower() for interval in _maps(root).get(ticker.upper(), ())}
    return [root / "map_files" / f"{name}.csv" for name in sorted(names)]


def _named(place: _Place, path: Path, days: pl.Series, options: Options) -> tuple[list[str], Integers]:
    """The instruments behind a ticker, and for each day which of them it was; -1 where no map file covers it."""
    ticker = place.ticker.upper()
    intervals = _maps(place.root).get(ticker)
    if not intervals or ticker in options.names:
        return [options.named(ticker)], np.zeros(len(days), dtype=np.int64)
    names: list[str] = []
    which = np.full(len(days), -1, dtype=np.int64)
    for interval in intervals:
        inside = ((days >= interval.start) & (days <= interval.end)).to_numpy()
        if not inside.any():
            continue
        name = options.named(interval.instrument)
        if name not in names:
            names.append(name)
        taken = inside & (which >= 0) & (which != names.index(name))
        if taken.any():
            day = days[int(np.argmax(taken))]
            other = names[int(which[np.argmax(taken)])]
            hint = f"Correct the map files, or give the data a permanent name: --name {ticker}=NAME."
            message = f"two instruments have the symbol {ticker!r} on {day}: {other} and {name}"
            raise DataError(message, source=str(path), hint=hint)
        which[inside] = names.index(name)
    return names, which


# ---- data ------------------------------------------------------------------------------------------------------------


def _file(path: Path, options: Options, notes: Notes) -> Iterator[Rows]:
    place = _place(path)
    assert place is not None, "units() sees to it"
    factor, tz = _MARKETS[place.kind]
    schema, names = _layout(place)
    if not options.wants(schema):
        return
    block = _member(path, names)
    if block.height == 0:
        notes.warn(f"{path}: holds no row")
        return
    days, ts, bad_time = _times(block["ts"], place, options.tz or tz)
    keep = _suspicious(block, path, notes) if "suspicious" in names else np.ones(block.height, dtype=np.bool_)
    batch, faults = _values(place, schema, block, factor)
    faults.insert(0, Fault("not a time of day", "ts", bad_time))
    before = np.maximum.accumulate(np.where(bad_time, 0, ts))
    faults.insert(1, Fault("time goes back", "ts", (ts < before) & ~bad_time))
    _judge(path, block, keep, faults, options, notes)
    instruments, which = _named(place, path, days, options)
    unmapped = keep & (which < 0)
    if unmapped.any():
        notes.leave_out("no map file of the ticker covers the day", f"{path}, row {np.argmax(unmapped)}",
                        int(unmapped.sum()))  # fmt: skip
        keep &= ~unmapped
    batch = {"ts": ts, "instrument": np.maximum(which, 0).astype(np.uint32), **batch}
    if not keep.all():
        batch, days = {name: column[keep] for name, column in batch.items()}, days.filter(pl.Series(keep))
    yield Rows(schema, instruments, batch, days, source=str(path), at=np.flatnonzero(keep))


def _layout(place: _Place) -> tuple[str, tuple[str, ...]]:
    if place.resolution == "tick":
        return ("trades", _TICK_TRADES) if place.what == "trade" else ("quotes", _TICK_QUOTES)
    return ("bars", _BARS) if place.what == "trade" else ("quotes", _QUOTE_BARS)


def _member(path: Path, names: tuple[str, ...]) -> pl.DataFrame:
    """The one CSV of a zip, as text."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if len(members) != 1:
                raise DataError(f"holds {len(members)} files, not one", source=str(path))
            text = archive.read(members[0])
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", source=str(path), hint="The file may be damaged.") from error
    if not text.strip():
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    first = text.partition(b"\n")[0].count(b",") + 1
    if first not in (len(names), len(names) - 2) or (first != len(names) and names[-1] != "suspicious"):
        raise DataError(f"a row has {first} values, not {len(names)}", source=str(path), row=0)
    width = names[:first]
    try:
        return pl.read_csv(io.BytesIO(text), has_header=False, schema=dict.fromkeys(width, pl.String), quote_char=None)
    except pl.exceptions.PolarsError as error:
        lines = text.split(b"\n")
        row = next((i for i, line in enumerate(lines) if line.strip() and line.count(b",") != first - 1), 0)
        raise DataError("wrong number of values, or no text", source=str(path), row=row) from error


def _times(column: pl.Series, place: _Place, tz: str) -> tuple[pl.Series, Integers, Mask]:
    """Local day, UTC time (of a bar: its end), and what is no time."""
    span = _SPANS.get(place.resolution, 0) * _NS
    if place.date is not None:
        since_midnight, bad = fixed_text(column, 6)  # milliseconds at 1e-6 are nanoseconds
        bad = bad | (since_midnight > NS_PER_DAY)
        day_ns = (place.date - dt.date(1970, 1, 1)).days * NS_PER_DAY
        local = day_ns + np.where(bad, 0, since_midnight)
        utc, undefined = local_to_utc(local, tz)
        return pl.repeat(place.date, len(column), dtype=pl.Date, eager=True), utc + span, bad | undefined
    moments = column.str.to_datetime("%Y%m%d %H:%M", time_unit="ns", strict=False)
    bad = moments.is_null().to_numpy()
    local = moments.dt.timestamp("ns").fill_null(0).to_numpy().astype(np.int64)
    days = moments.dt.date().fill_null(dt.date(1970, 1, 1))
    if place.resolution == "daily":  # a day can be known when its session ends
        local = local // NS_PER_DAY * NS_PER_DAY + (CLOSE_NS if tz != "UTC" else NS_PER_DAY)
        span = 0
    utc, undefined = local_to_utc(local, tz)
    return days, utc + span, bad | undefined


def _suspicious(block: pl.DataFrame, path: Path, notes: Notes) -> Mask:
    if "suspicious" not in block.columns:
        return np.ones(block.height, dtype=np.bool_)
    flagged = (block["suspicious"].str.strip_chars() == "1").fill_null(False).to_numpy()
    notes.leave_out("tick flagged as suspicious", f"{path}, row {np.argmax(flagged)}", int(flagged.sum()))
    return ~flagged


def _values(place: _Place, schema: str, block: pl.DataFrame, factor: int) -> tuple[Batch, list[Fault]]:
    """Columns of a schema, and what is wrong with which rows."""
    if schema == "quotes" and place.resolution == "tick":
        block = _carried(block)
    values, faults = ADMIT[schema](block, factor)
    if schema == "bars":
        values["span"] = np.full(block.height, _SPANS[place.resolution] * _NS, dtype=np.int64)
    # Consolidated quotes do cross; `helios data check` shows them.
    return dict(values), [fault for fault in faults if fault.reason != "bid is above ask"]


def _carried(block: pl.DataFrame) -> pl.DataFrame:
    """Both sides in every row: what a suspicious tick says is not carried on."""
    told = pl.col("suspicious").str.strip_chars() != "1" if "suspicious" in block.columns else pl.lit(value=True)
    carried = []
    for side in ("bid", "ask"):
        here = told & ~((pl.col(side) == "0") & (pl.col(f"{side}_size") == "0"))
        for name in (side, f"{side}_size"):
            carried.append(pl.when(here).then(pl.col(name)).forward_fill().fill_null("0").alias(name))
    return block.with_columns(carried)


def _judge(path: Path, block: pl.DataFrame, keep: Mask, faults: list[Fault], options: Options, notes: Notes) -> None:
    """Takes rows with a fault out of `keep`, or raises at the first."""
    found = [fault._replace(rows=fault.rows & keep) for fault in faults]
    found = [fault for fault in found if fault.rows.any()]
    if not found:
        return
    first = min(found, key=lambda fault: int(np.argmax(fault.rows)))
    if options.on_error == "raise":
        row = int(np.argmax(first.rows))
        shown = block[first.column][row]
        hint = "Correct it, or pass --on-error skip to leave such rows out and count them."
        raise DataError(f"{shown}: {first.reason}", source=str(path), row=row, column=first.column, hint=hint)
    for fault in found:
        fresh = fault.rows & keep
        notes.leave_out(f"{fault.column}: {fault.reason}", f"{path}, row {np.argmax(fresh)}", int(fresh.sum()))
        keep &= ~fault.rows


# ---- reference tables ------------------------------------------------------------------------------------------------


def _csv_rows(path: Path, width: int) -> list[list[str]]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", source=str(path)) from error
    rows = [line.split(",") for line in lines if line.strip()]
    for number, row in enumerate(rows):
        if len(row) < width:
            raise DataError(f"a row has {len(row)} values, not {width}", source=str(path), row=number)
    return rows


def _day(text: str, path: Path, row: int) -> dt.date:
    try:
        return dt.datetime.strptime(text.strip(), "%Y%m%d").date()
    except ValueError:
        raise DataError(f"{text!r} is no date YYYYMMDD", source=str(path), row=row) from None


@dataclass(frozen=True)
class _Factors:
    """One row of a factor file: what holds up to and including a date."""

    day: dt.date
    price: float
    split: float
    close: float


def _factor_file(path: Path) -> list[_Factors]:
    found = []
    for number, row in enumerate(_csv_rows(path, 3)):
        try:
            price, split, close = (*map(float, row[1:3]), float(row[3]) if len(row) > 3 and row[3] else 0.0)
        except ValueError:
            raise DataError("a factor is no number", source=str(path), row=number) from None
        if not (0 < price < 1e6 and 0 < split < 1e9 and 0 <= close < 1e9):
            raise DataError("a factor is not positive", source=str(path), row=number)
        found.append(_Factors(_day(row[0], path, number), price, split, close))
    if any(later.day <= earlier.day for earlier, later in itertools.pairwise(found)):
        raise DataError("dates do not rise", source=str(path))
    return found


def _references(paths: list[Path], options: Options) -> Iterator[Table]:
    tables: dict[str, list[Mapping[str, object]]] = {"symbol_changes": [], "splits": [], "dividends": []}
    for path in paths:
        name = options.named(path.stem.upper())
        if path.parent.name == "map_files":
            for each in _map_file(path):
                end = None if each.end >= _FOR_EVER else each.end + dt.timedelta(days=1)
                row = {"instrument": name, "symbol": each.ticker, "from": each.start, "to": end}
                tables["symbol_changes"].append(row)
            continue
        rows = _factor_file(path)
        for here, after in itertools.pairwise(rows):
            ex_date = _next_weekday(here.day)
            if here.split != after.split:
                new, old = _ratio(here.split, after.split)
                row = {"instrument": name, "ex_date": ex_date, "numerator": new, "denominator": old}
                tables["splits"].append(row)
            if here.price != after.price and (cash := round(here.close * (1 - here.price / after.price), 4)) > 0:
                paid = {
                    "cash": round(cash * 1e4) * 100_000,
                    "currency": "USD",
                    "close": round(here.close * PRICE_SCALE),
                }
                tables["dividends"].append({"instrument": name, "ex_date": ex_date} | paid)
    for table, found in tables.items():
        if found:
            yield Table(table, pl.DataFrame(found, infer_schema_length=None))


def _next_weekday(day: dt.date) -> dt.date:
    day += dt.timedelta(days=1)
    while day.weekday() > 4:
        day += dt.timedelta(days=1)
    return day


def _ratio(before: float, after: float) -> tuple[int, int]:
    """New shares for old: the simplest fraction that the factors' seven digits allow."""
    exact = after / before
    error = 6e-8 / before + 6e-8 / after
    for old in range(1, 100_000):
        new = round(exact * old)
        if new > 0 and abs(new / old / exact - 1) <= error:
            return new, old
    fraction = Fraction(exact).limit_denominator(100_000)
    return fraction.numerator, fraction.denominator
