"""Which instrument a symbol meant on a day, and which symbol an instrument had: both ways, by date.

    names = Symbology.of(catalog)
    names.instrument("FB", "2021-06-30")     # "META", the permanent name that the table gives
    names.symbol("META", "2021-06-30")       # "FB"
    names.select(["META"]).on(day)           # {"FB": "META", "META": "META"}: what to read, and what to call it

The reference table `symbol_changes` has one row a stay: `instrument` (a name that never changes), `symbol`, `from`
(first day), `to` (first day no longer; null for "still"). On one day a symbol belongs to one instrument and an
instrument has one symbol: anything else is refused, since prices of two companies would be read as one.

Rows of a catalog carry an instrument's permanent name or, as most files do, its symbol of the day. A name on a row is
the symbol of the day where somebody has it that day, and a permanent name otherwise. What is not in the table is an
instrument whose only symbol is its name.

A request is answered for one moment, its last day: `META` asked without an end is who is called so at last, over all
its former symbols, and not the fund that had the symbol before. Absent: share classes, ISINs and other identifiers,
venues that use different symbols for one instrument.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from helios.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from helios.data.catalog.catalog import Catalog

__all__ = ["Selection", "Stay", "Symbology"]

_OPEN = date.max
_FIX = "Correct the table symbol_changes; a symbol's `to` is the first day on which it is not used any more."


@dataclass(frozen=True, order=True, slots=True)
class Stay:
    """A symbol of an instrument on the days [start, end)."""

    start: date
    end: date
    symbol: str
    instrument: str

    def holds(self, day: date) -> bool:
        """Whether the symbol was the instrument's on that day."""
        return self.start <= day < self.end

    def __str__(self) -> str:
        until = "on" if self.end == _OPEN else f"to {self.end}"
        return f"{self.instrument} ({self.symbol} from {self.start} {until})"


class Symbology:
    """The table symbol_changes, checked. Raises DataError where it gives a day two answers."""

    def __init__(self, frame: pl.DataFrame) -> None:
        rows = frame.select("from", "to", "symbol", "instrument").iter_rows()
        self.stays = sorted(Stay(start, end or _OPEN, symbol, instrument) for start, end, symbol, instrument in rows)
        self._by_symbol = _grouped(self.stays, "symbol")
        self._by_instrument = _grouped(self.stays, "instrument")
        for symbol, stays in self._by_symbol.items():
            _refuse_overlap(stays, f"two instruments have the symbol {symbol!r}")
        for instrument, stays in self._by_instrument.items():
            _refuse_overlap(stays, f"{instrument!r} has two symbols")

    @classmethod
    def of(cls, catalog: Catalog) -> Symbology:
        """That of a catalog; without a table every symbol is its own instrument."""
        return cls(catalog.read("symbol_changes").unique().collect())

    @cached_property
    def instruments(self) -> list[str]:
        """All permanent names of the table, sorted."""
        return sorted(self._by_instrument)

    def instrument(self, symbol: str, on: date | str) -> str:
        """Who had the symbol on that day. Raises DataError where the table knows the symbol, but not on that day.

        A symbol that the table does not know is its own instrument.
        """
        day = _day(on)
        stays = self._by_symbol.get(symbol)
        if stays is None:
            return symbol
        for stay in stays:
            if stay.holds(day):
                return stay.instrument
        held = "; ".join(map(str, stays))
        raise DataError(f"nobody had the symbol {symbol!r} on {day}: {held}")

    def symbol(self, instrument: str, on: date | str) -> str:
        """The symbol of an instrument on that day. Raises DataError where the table knows it, but not on that day."""
        day = _day(on)
        stays = self._by_instrument.get(instrument)
        if stays is None:
            return instrument
        for stay in stays:
            if stay.holds(day):
                return stay.symbol
        held = "; ".join(map(str, stays))
        raise DataError(f"{instrument!r} had no symbol on {day}: {held}")

    def history(self, instrument: str) -> pl.DataFrame:
        """All symbols of an instrument in order of time: symbol, from, to (null: still)."""
        stays = self._by_instrument.get(instrument, [])
        schema = {"symbol": pl.String, "from": pl.Date, "to": pl.Date}
        rows = [(stay.symbol, stay.start, None if stay.end == _OPEN else stay.end) for stay in stays]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def meant(self, name: str, on: date | str | None = None) -> str:
        """The instrument that a name means when it is asked for on a day (the last one of all without it).

        Who has the symbol that day; else who had it last before; else who had it first after; else the name itself.
        """
        day = _OPEN if on is None else _day(on)
        stays = self._by_symbol.get(name)
        if not stays:
            return name
        began = [stay for stay in stays if stay.start <= day]
        return (began[-1] if began else stays[0]).instrument

    def owner(self, stored: str, on: date) -> str:
        """Whose row it is that carries the name `stored` on that day."""
        for stay in self._by_symbol.get(stored, ()):
            if stay.holds(on):
                return stay.instrument
        return stored

    def stored(self, instrument: str, on: date) -> list[str]:
        """The names under which rows of an instrument may stand on that day: its symbol, its permanent name."""
        names = [stay.symbol for stay in self._by_instrument.get(instrument, ()) if stay.holds(on)]
        if instrument not in names and self.owner(instrument, on) == instrument:
            names.append(instrument)
        return names

    def select(self, names: Iterable[str] | None, last_day: date | str | None = None) -> Selection:
        """What to read for these names (all of the catalog for None), as they are understood on `last_day`.

        Raises ArgumentError where two of the names are one instrument.
        """
        if names is None:
            return Selection(self, None)
        wanted: dict[str, str] = {}
        for name in names:
            instrument = self.meant(name, last_day)
            if wanted.setdefault(instrument, name) != name:
                raise ArgumentError(
                    f"{wanted[instrument]!r} and {name!r} are one instrument, {instrument!r}: ask for one of them"
                )
        return Selection(self, wanted)


@dataclass(frozen=True)
class Selection:
    """Names that were asked for; day by day, under which names their rows stand."""

    symbology: Symbology
    #: instrument -> the name that was asked for, which its rows get; None: all, under their permanent names.
    wanted: Mapping[str, str] | None

    @property
    def instruments(self) -> list[str] | None:
        """Permanent names of what was asked for; None for everything."""
        return None if self.wanted is None else sorted(self.wanted)

    def on(self, day: date) -> dict[str, str]:
        """Names on the rows of that day -> the names to read them by; where all are read, only those that change."""
        if self.wanted is None:
            renamed = (stay for stay in self.symbology.stays if stay.symbol != stay.instrument and stay.holds(day))
            return {stay.symbol: stay.instrument for stay in renamed}
        found = self.wanted.items()
        return {name: asked for instrument, asked in found for name in self.symbology.stored(instrument, day)}

    def of(self, index: pl.DataFrame, day: date) -> pl.DataFrame:
        """The rows of a day's index (column `instrument`) that are selected, under the names to read them by.

        Raises DataError where rows of one instrument stand under two names on that day.
        """
        names = self.on(day)
        if self.wanted is not None:
            index = index.filter(pl.col("instrument").is_in(list(names)))
        if names:
            stored, index = index["instrument"], index.with_columns(_renamed(names))
            if index["instrument"].is_duplicated().any():
                _refuse_two_names(dict(zip(stored, index["instrument"], strict=True)), day)
        return index

    def scan(self, files: Mapping[date, list[str]], scan: Callable[[list[str]], pl.LazyFrame]) -> pl.LazyFrame:
        """Rows of the files of each day, with the names to read them by, in the order of days."""
        parts = []
        for names, run in itertools.groupby(files, self.on):
            frame = scan([name for day in run for name in files[day]])
            if self.wanted is not None:
                frame = frame.filter(pl.col("instrument").is_in(list(names)))
            changed = {stored: name for stored, name in names.items() if stored != name}
            parts.append(frame.with_columns(_renamed(changed)) if changed else frame)
        return pl.concat(parts)

    def told(self, factors: pl.DataFrame) -> pl.DataFrame:
        """A table by permanent names, with the names to read by."""
        return factors if self.wanted is None else factors.with_columns(_renamed(dict(self.wanted)))


def _renamed(names: Mapping[str, str]) -> pl.Expr:
    return pl.col("instrument").replace(list(names), list(names.values()))


def _grouped(stays: Iterable[Stay], key: str) -> dict[str, list[Stay]]:
    groups: dict[str, list[Stay]] = {}
    for stay in stays:
        groups.setdefault(getattr(stay, key), []).append(stay)
    return groups


def _refuse_overlap(stays: list[Stay], problem: str) -> None:
    for before, after in itertools.pairwise(stays):
        if after.start < before.end:
            raise DataError(f"{problem} on {after.start}: {before} and {after}", source="symbol_changes", hint=_FIX)


def _refuse_two_names(found: Mapping[str, str], day: date) -> None:
    by_name: dict[str, list[str]] = {}
    for stored, name in found.items():
        by_name.setdefault(name, []).append(stored)
    name, twice = next((name, names) for name, names in by_name.items() if len(names) > 1)
    raise DataError(
        f"rows of {name} stand under two names on {day}: {' and '.join(twice)}",
        hint="Import one of them again with replace, or correct the table symbol_changes.",
    )


def _day(on: date | str) -> date:
    if isinstance(on, str):
        try:
            return date.fromisoformat(on)
        except ValueError as error:
            raise ArgumentError(f"{on!r} is not a date like 2015-06-30") from error
    return on.date() if isinstance(on, datetime) else on
