"""What holding costs: borrowed shares, interest, and fees that depend on volume. See docs/models/borrow.md and fees.md.

A rate is a year's, as a fraction (0.005 is half a percent), or a mapping from the date on which it begins to hold:

    Borrow(rate=0.003, rates={"GME": {"2021-01-04": 0.25, "2021-02-08": 0.05}}, not_shortable=["XYZ"])
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import pairwise

from helios.errors import ArgumentError

#: A year's rate, or rates by the date from which they hold.
Rate = float | Mapping[str, float] | Mapping[date, float]

#: Rows as the core takes them: from which moment (ns since 1970 UTC), millionths a year.
Rows = list[tuple[int, int]]

_PPM = 1_000_000
_MOST = 100.0
_NS_PER_DAY = 86_400 * 10**9
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, kw_only=True)
class FeeTier:
    """Other rates from a volume of ours on: shares, or money with `Fees(volume="notional")`."""

    volume: float
    maker_per_share: float = 0.0
    taker_per_share: float = 0.0
    maker_bp: float = 0.0
    taker_bp: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Borrow:
    """What it costs to be short over night: on the value of the shares at the last mark, for each calendar night.

    - `rate`: for all symbols; `rates`: of single symbols.
    - `not_shortable`: nobody lends these; an order that would sell more than is held is rejected.
    """

    rate: Rate = 0.0
    rates: Mapping[str, Rate] = field(default_factory=dict)
    not_shortable: Collection[str] = ()
    #: Days of a year as the lender counts them.
    days_per_year: int = 360

    def __post_init__(self) -> None:
        if isinstance(self.not_shortable, str):
            raise ArgumentError(f"Borrow: not_shortable is a list of symbols, like [{self.not_shortable!r}]")
        if isinstance(self.days_per_year, bool) or self.days_per_year not in range(1, 1_001):
            raise ArgumentError(f"Borrow: days_per_year is {self.days_per_year!r}: a whole number like 360 or 365")
        if not isinstance(self.rates, Mapping):
            raise ArgumentError(f"Borrow: rates is {self.rates!r}: a mapping from symbols to rates")
        rows_of(self.rate, "Borrow: rate", 0, least=0.0)
        for symbol, rate in self.rates.items():
            rows_of(rate, f"Borrow: the rate of {symbol}", 0, least=0.0)


@dataclass(frozen=True, kw_only=True)
class Financing:
    """Interest on the account's money over night: `debit` is paid when it is negative, `credit` received otherwise."""

    debit: Rate = 0.0
    credit: Rate = 0.0

    def __post_init__(self) -> None:
        rows_of(self.debit, "Financing: debit", 0)
        rows_of(self.credit, "Financing: credit", 0)


def rows_of(rate: Rate, what: str, day_begins_ns: int, *, least: float = -_MOST) -> Rows:
    """A rate as the core takes it. A date's rate is that of the night after it."""
    if not isinstance(rate, Mapping):
        return [(0, ppm)] if (ppm := _ppm(rate, what, least)) else []
    rows = sorted((_day(day, what), _ppm(value, f"{what} from {day}", least)) for day, value in rate.items())
    for (day, _), (after, _) in pairwise(rows):
        if day == after:
            raise ArgumentError(f"{what} has two rates from {date.fromordinal(day + _EPOCH)}")
    return [(day * _NS_PER_DAY + day_begins_ns, ppm) for day, ppm in rows]


def _ppm(rate: object, what: str, least: float) -> int:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not math.isfinite(rate):
        raise ArgumentError(f"{what} is {rate!r}: a fraction a year, like 0.005")
    if not least <= rate <= _MOST:
        raise ArgumentError(f"{what} is {rate!r}: from {least:g} to {_MOST:g} (0.05 is five percent)")
    return round(rate * _PPM)


def _day(day: object, what: str) -> int:
    """Days since 1970."""
    given = day
    if isinstance(day, str):
        try:
            day = date.fromisoformat(day)
        except ValueError:
            raise ArgumentError(f"{what}: {given!r} is no date like '2024-01-31'") from None
    if not isinstance(day, date) or isinstance(day, datetime) or day.toordinal() < _EPOCH:
        raise ArgumentError(f"{what}: {given!r} is no date from 1970 on")
    return day.toordinal() - _EPOCH
