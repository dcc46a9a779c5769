"""A venue's live feed as a source: what it carries is known, what it says only comes during the run."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FeedSource:
    """Orders of some symbols, as they come from the wire. A live run reads it, a backtest cannot."""

    name: str
    #: As the run writes them: "KO", or "KO@BATS" at the venue BATS. Sorted.
    symbols: list[str]
    #: The venue at which they are listed; see `helios.data.at`.
    venue: str = ""
    schema: str = field(default="orders", init=False)
    #: Every packet has our receive stamp.
    stamped: bool = field(default=True, init=False)
