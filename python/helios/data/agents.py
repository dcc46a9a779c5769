"""A market of agents as a source: in a backtest it is alive, and our orders have consequences.

    hx.Backtest(data=hx.agents(symbols=20, minutes=30, seed=7), strategy=…, venue=hx.Venue(…))

The agents of `helios simulate` trade inside the run's venue: our orders go into their matching engine, meet their
orders and rest in the same queues; they see the book with us in it. The feed holds our own orders too, as a venue
publishes them. Without orders of ours the events are, bit for bit, those of the file that `helios simulate` writes with
the same settings. What that assumes and when not to trust it: docs/models/reactive.md.

Outside a backtest (`graph.over`) the same events come from agents that nobody disturbs.
Absent: other market data beside agents in one run (series from outside the market are fine), agents of one's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date as Date
from datetime import datetime, time
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from helios.data.itch import NO_DATE
from helios.errors import ArgumentError

_WHOLE = {"symbols": 32, "minutes": 32, "seed": 64, "group_size": 32}
_REAL = ("rate", "half_life_s", "deviation_bp", "volatility")


@dataclass(frozen=True)
class AgentsSource:
    """One day of a market of agents; the settings are those of `simulate`."""

    number: int
    minutes: int
    seed: int
    group_size: int
    rate: float
    half_life_s: float
    deviation_bp: float
    volatility: float
    date: Date
    tz: str
    schema: str = field(default="orders", init=False)

    @property
    def midnight_ns(self) -> int:
        """Start of the day at the venue, nanoseconds since 1970 UTC."""
        start = datetime.combine(self.date, time(), tzinfo=ZoneInfo(self.tz))
        return int(start.timestamp()) * 1_000_000_000

    @property
    def settings(self) -> tuple[int, int, int, int, float, float, float, float]:
        """As the core takes them."""
        return (
            self.number,
            self.minutes,
            self.seed,
            self.group_size,
            self.rate,
            self.half_life_s,
            self.deviation_bp,
            self.volatility,
        )

    @cached_property
    def symbols(self) -> list[str]:
        """All symbols, sorted."""
        return sorted(self.market().symbols)

    def market(self) -> Any:
        """The market before its first message, as the core has it. ArgumentError for a setting out of range."""
        from helios._core import CoreError, Market

        try:
            return Market.agents(self.settings)
        except CoreError as error:
            raise ArgumentError(error.args[1]) from None


def agents(
    *,
    symbols: int = 200,
    minutes: int = 30,
    seed: int = 7,
    group_size: int = 10,
    rate: float = 4.0,
    half_life_s: float = 180.0,
    deviation_bp: float = 6.0,
    volatility: float = 0.15,
    date: Date | str = NO_DATE,
    tz: str = "America/New_York",
) -> AgentsSource:
    """A market of agents that lives inside the run's venue and answers our orders.

    `symbols` in cointegrated groups of `group_size`, `minutes` of trading from 09:30; `rate` is messages per symbol and
    second; `half_life_s` and `deviation_bp` describe each symbol's own deviation from its group, `volatility` the
    group's walk per year. Times count from `date` (1970-01-01 without one) at midnight in `tz`. ArgumentError for a
    setting out of range, naming the range.
    """
    given = locals()
    for name, bits in _WHOLE.items():
        value = given[name]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**bits:
            raise ArgumentError(f"simulation setting {name} is {value!r}: it is a whole number from 0 to 2**{bits} - 1")
    for name in _REAL:
        if isinstance(given[name], bool) or not isinstance(given[name], int | float):
            raise ArgumentError(f"simulation setting {name} is {given[name]!r}: it is a number")
    if isinstance(date, str):
        try:
            date = Date.fromisoformat(date)
        except ValueError:
            raise ArgumentError(f"date={date!r}: write it as 2026-01-05") from None
    try:
        ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, TypeError):
        raise ArgumentError(f"tz={tz!r} is no time zone: write it as America/New_York") from None
    source = AgentsSource(symbols, minutes, seed, group_size, rate, half_life_s, deviation_bp, volatility, date, tz)
    _ = source.symbols
    return source
