"""Is the data sound? Every instrument-day of a catalog is looked at; what is wrong is counted, dated and named.

    result = check(catalog, schema="orders")
    result.table        # one row per schema, day and instrument: rows, times, a count for each check, verdict
    result.findings     # one row per thing found: check, level ("wrong" or "note"), count, when first, what

What counts, and whether it is wrong or worth a note, stands in docs/catalog-quality.md:

- gap: a silence that the half hours around it do not explain; with a calendar also a day that begins late, ends early;
- duplicate, other day, value, clock: rows that are there already, of another day, impossible, received before sent;
- backwards: stamps before those of rows received earlier;
- crossed, locked: bid above, or equal to, ask after a stamp; for orders and depth in the core's own book;
- outlier, jump: returns of many robust deviations (MAD) that are taken back within a few rows, and those that stay;
- unknown order, refused: order events that cannot be; halt, in halt: trading halts, executions during one;
- volume: executions, trades and bars of an instrument-day that disagree; two names: rows of one instrument under both.

`Rules` has these numbers, and `allow`, checks whose findings are notes. Days are read one at a time, some millions of
rows at once, never fewer than an instrument's day. A day that passes is not proved right: wrong rows that look like
others, and rows that are missing at random, are not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from helios.data.catalog.reference import table_of
from helios.data.catalog.rowchecks import (
    CHECKS,
    FINDINGS,
    TABLE,
    Looked,
    Notes,
    Rules,
    Shape,
    check_frame,
    limit_of,
    session_of,
    silences_of,
)
from helios.data.catalog.schemas import SCHEMAS
from helios.data.catalog.symbology import Symbology
from helios.errors import ArgumentError

if TYPE_CHECKING:
    from helios.data.catalog.catalog import Catalog

__all__ = ["ALL", "CHECKS", "CheckResult", "Rules", "Shape", "check"]

_NS: Final = 1_000_000_000
#: Ratios of splits that a price between two days may show.
_SPLITS: Final = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 50, 100)
_SOUND_SHAPES: Final = 12
#: In the place of an instrument: what concerns all of them.
ALL: Final = "(all)"


@dataclass(frozen=True)
class Day:
    """One schema's day: its instruments with the number of their rows."""

    catalog: Catalog
    schema: str
    date: date
    instruments: Mapping[str, int]

    def rows(self, names: list[str]) -> pl.DataFrame:
        """Whole instrument-days, under the names that stand on them."""
        files = [entry.file for entry in self.catalog.entries(self.schema, self.date, self.date)]
        rows = self.catalog.store.scan(files, SCHEMAS[self.schema]).filter(pl.col("instrument").is_in(names))
        return rows.collect(engine="streaming")


def days_of(
    catalog: Catalog, schema: str | None, names: Iterable[str] | None, start: date | str | None, end: date | str | None
) -> list[Day]:
    """The days of a catalog, or of what is chosen of it, in order."""
    there = catalog.coverage(schema, start, end)
    if names is not None:
        there = there.filter(pl.col("instrument").is_in(list(names)))
    by = there.group_by("date", "schema").agg(pl.struct("instrument", "rows")).sort("date", "schema")
    return [
        Day(catalog, schema, day, {row["instrument"]: row["rows"] for row in rows})
        for day, schema, rows in by.iter_rows()
    ]


@dataclass(frozen=True)
class CheckResult:
    """What was found. `shapes` are kept for what is wrong, and for a few of the sound instrument-days."""

    table: pl.DataFrame
    findings: pl.DataFrame
    shapes: Sequence[Shape] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong; notes do not count."""
        return self.findings.filter(pl.col("level") == "wrong").is_empty()

    def summary(self) -> pl.DataFrame:
        """Per check and level: how many instrument-days, how many rows."""
        by = self.findings.group_by("check", "level").agg(
            pl.struct("schema", "date", "instrument").n_unique().alias("instrument_days"), pl.col("count").sum()
        )
        return by.sort("level", "count", descending=[True, True])


def check(
    catalog: Catalog,
    *,
    schema: str | None = None,
    symbols: Iterable[str] | None = None,
    start: date | str | None = None,
    end: date | str | None = None,
    rules: Rules | None = None,
    progress: Callable[[float], None] | None = None,
    shapes: int = 60,
) -> CheckResult:
    """Looks at the instrument-days of a catalog, or at those chosen; names are those that stand on the rows.

    Raises ArgumentError where nothing is chosen, DataError where a file cannot be read.
    """
    rules = rules or Rules()
    days = days_of(catalog, schema, symbols, start, end)
    if not days:
        raise ArgumentError("nothing to check: the catalog has no such schema, day or instrument")
    looked: list[Looked] = []
    kept: list[Shape] = []
    silences: list[pl.DataFrame] = []
    late: list[pl.DataFrame] = []
    names_of = Symbology.of(catalog)
    for done, day in enumerate(days):
        second = pl.col("ts").to_physical() // _NS
        busy: list[pl.Series] = []
        for names in _portions(day.instruments, rules.rows_at_once):
            rows = day.rows(names)
            busy.append(rows.select(second.unique()).to_series())
            part = check_frame(rows, day.schema, day.date, rules)
            kept = _kept(kept, part, shapes)
            looked.append(replace(part, shapes=[]))
        silences.append(_silence(busy, day, rules))
        late.append(_two_names(day, names_of, rules))
        if progress is not None:
            progress((done + 1) / len(days))
    volumes = pl.concat([part.volumes for part in looked])
    findings = [part.findings for part in looked] + silences
    late += [_disagreements(volumes, rules), _between_days(volumes, table_of(catalog, "splits"), names_of, rules)]
    return _result([part.table for part in looked], findings, late, kept)


def _portions(instruments: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """Instruments whose rows together are at most so many; one that has more is alone."""
    names: list[str] = []
    rows = 0
    for name, count in sorted(instruments.items()):
        if names and rows + count > most:
            yield names
            names, rows = [], 0
        names.append(name)
        rows += count
    if names:
        yield names


def _kept(kept: list[Shape], part: Looked, most: int) -> list[Shape]:
    """Shapes for pictures: of what is wrong the first ones, and a few that are sound."""
    wrong = set(part.findings.filter(pl.col("level") == "wrong")["instrument"])
    room = most - len(kept)
    bad = [shape for shape in part.shapes if shape.instrument in wrong]
    good = [shape for shape in part.shapes if shape.instrument not in wrong]
    kept = [*kept, *bad[: max(room, 0)]]
    return [*kept, *good[: max(min(_SOUND_SHAPES, most) - len(kept), 0)]]


def _silence(busy: list[pl.Series], day: Day, rules: Rules) -> pl.DataFrame:
    """Seconds in which nothing came of any of several instruments: the feed, not the market, was silent."""
    found = Notes(day.schema, day.date, rules, session_of(day.date, rules))
    if len(day.instruments) > 1 and day.schema != "bars":
        seconds = np.unique(np.concatenate([part.to_numpy() for part in busy])) * _NS
        for at, _ in silences_of(seconds, rules.gap_seconds * _NS, rules.gap_times, 1_800 * _NS, found):
            first, last = int(seconds[at]), int(seconds[at + 1])
            what = f"all {len(day.instruments)} instruments silent for {(last - first) // _NS:,} s"
            found.add(ALL, "gap", 1, first, what, until=last)
    return found.frame()


def _two_names(day: Day, names_of: Symbology, rules: Rules) -> pl.DataFrame:
    """Rows of one instrument under two names: it would be read twice."""
    found = Notes(day.schema, day.date, rules)
    seen: dict[str, str] = {}
    for name in sorted(day.instruments):
        instrument = names_of.owner(name, day.date)
        if seen.setdefault(instrument, name) != name:
            what = f"rows of {instrument} stand here and under {seen[instrument]}"
            found.add(name, "two names", day.instruments[name], None, what)
    return found.frame()


def _disagreements(volumes: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Instrument-days whose executions, trades and bars have not the same volume: volume against the print."""
    parts = []
    by = ["date", "instrument"]
    most = volumes.group_by(by).agg(
        pl.len(), pl.col("volume").max().alias("most"), pl.col("volume").min().alias("least"), pl.struct("of", "volume")
    )
    for day, name, count, high, low, told in most.sort(by).iter_rows():
        if count < 2 or high - low <= rules.volume_tolerance * high:
            continue
        # The finding is of what is made of the others: bars of trades, trades of orders.
        schema = next(name for name in ("bars", "trades", "orders") if any(row["of"].startswith(name) for row in told))
        found = Notes(schema, day, rules)
        shown = ", ".join(f"{row['of']} {row['volume']:,.0f}" for row in sorted(told, key=lambda row: str(row["of"])))
        found.add(name, "volume", 1, None, f"volumes differ by {1 - low / high:.1%}: {shown}")
        parts.append(found.frame())
    return pl.concat(parts) if parts else pl.DataFrame(schema=FINDINGS)


def _between_days(volumes: pl.DataFrame, splits: pl.DataFrame, names_of: Symbology, rules: Rules) -> pl.DataFrame:
    """Returns from day to day far out of the ordinary, on days without a known split."""
    lasts = (
        volumes.filter(pl.col("last") > 0)
        .sort("of")
        .unique(["instrument", "date"], keep="first", maintain_order=True)
        .sort("instrument", "date")
        .select("instrument", "date", "last", "schema")
    )
    known = set(splits.select("instrument", "ex_date").iter_rows())
    parts = []
    for (name,), days in lasts.group_by("instrument", maintain_order=True):
        if days.height < rules.least_rows:
            continue
        log = np.log(days["last"].to_numpy())
        returns = np.diff(log)
        limit = max(limit_of(returns, rules), rules.jump_least)
        for at in np.flatnonzero(np.abs(returns) > limit):
            day, schema = days["date"][int(at) + 1], days["schema"][int(at) + 1]
            if (names_of.owner(str(name), day), day) in known:
                continue
            found = Notes(schema, day, rules)
            ratio = float(np.exp(-returns[at]))
            what = f"{days['last'][int(at)]:,.4f} on the day before, {days['last'][int(at) + 1]:,.4f} on this"
            near = [split for split in _SPLITS for way in (split, 1 / split) if abs(ratio / way - 1) < 0.03]
            if near:
                shown = f"{near[0]:g} for 1" if ratio > 1 else f"1 for {near[0]:g}"
                what += f": a split of {shown} that the table splits does not have?"
            found.add(str(name), "jump", 1, None, what)
            parts.append(found.frame())
    return pl.concat(parts) if parts else pl.DataFrame(schema=FINDINGS)


def _result(
    tables: list[pl.DataFrame], findings: list[pl.DataFrame], late: list[pl.DataFrame], shapes: list[Shape]
) -> CheckResult:
    """Everything in order, with a verdict for each instrument-day. `late` findings are not in the tables yet."""
    key = ["schema", "date", "instrument"]
    order = ["date", "schema", "instrument"]
    found = pl.concat([*findings, *late]).sort(*order, "level", "ts", descending=[False, False, False, True, False])
    table = pl.concat(tables).drop("verdict")
    for name in ("volume", "jump", "two names"):
        counts = pl.concat(late).filter(pl.col("check") == name).group_by(key).agg(pl.col("count").sum().alias("late"))
        table = table.join(counts, on=key, how="left")
        table = table.with_columns(pl.col(name) + pl.col("late").fill_null(0)).drop("late")
    # "wrong" is after "note" in the order of letters.
    verdicts = found.group_by(key).agg(pl.col("level").max().alias("verdict"))
    table = table.join(verdicts, on=key, how="left").with_columns(pl.col("verdict").fill_null("sound"))
    wrong = set(verdicts.filter(pl.col("verdict") == "wrong").select(key).iter_rows())
    shapes.sort(key=lambda shape: (shape.schema, shape.day, shape.instrument) not in wrong)
    return CheckResult(table.select(TABLE.names()).sort(order), found, tuple(shapes))
