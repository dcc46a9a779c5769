"""The venues of a run: one exchange, or several by name, dark pools among them. See docs/models/venues.md.

With names, a symbol is a listing: "KO@BATS" is KO at the venue BATS, "KO" is KO at the venue named "". All listings of
a security are one position: that of its primary listing, the plain symbol where the run has it, else the first one.
With one `Venue` and no names, every symbol is an instrument of its own, whatever is written in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from helios.errors import ArgumentError
from helios.execution.account import Financing
from helios.execution.dark import DarkPool
from helios.execution.settings import Venue
from helios.listings import listing, split

#: What `Backtest(venue=…)` takes.
VenueChoice = Venue | Mapping[str, Venue | DarkPool]


def with_mode(venue: VenueChoice, mode: Literal["exact", "fast"]) -> VenueChoice:
    """The same with all exchanges in a mode."""
    if isinstance(venue, Venue):
        return replace(venue, mode=mode)
    return {name: replace(one, mode=mode) if isinstance(one, Venue) else one for name, one in venue.items()}


@dataclass(frozen=True)
class Venues:
    """The venues of a run, checked."""

    exchanges: dict[str, Venue]
    pools: dict[str, DarkPool]
    #: Venues have names, and symbols are listings.
    named: bool

    @classmethod
    def of(cls, venue: VenueChoice) -> Venues:
        """ArgumentError for what cannot be."""
        if isinstance(venue, Venue):
            return cls({"": venue}, {}, named=False)
        if not isinstance(venue, Mapping):
            raise ArgumentError(f"venue is {venue!r}: give hx.Venue(…), or one for each name")
        for name, one in venue.items():
            if not isinstance(name, str) or "@" in name:
                raise ArgumentError(f"venue: {name!r} cannot name a venue: give a text without @")
            if not isinstance(one, Venue | DarkPool):
                raise ArgumentError(f"venue[{name!r}] is {one!r}: give hx.Venue(…) or hx.DarkPool(…)")
        exchanges = {name: one for name, one in venue.items() if isinstance(one, Venue)}
        pools = {name: one for name, one in venue.items() if isinstance(one, DarkPool)}
        if not exchanges:
            raise ArgumentError("venue: a run needs at least one hx.Venue(…)")
        if "" in pools:
            raise ArgumentError('venue: the default venue, "", cannot be a dark pool: give the pool a name')
        for name, pool in pools.items():
            if pool.reference not in exchanges:
                raise ArgumentError(
                    f"venue[{name!r}]: reference is {pool.reference!r}, but the exchanges are {_names(exchanges)}"
                )
        held = [name for name, one in exchanges.items() if _has_broker(one)]
        if len(venue) > 1 and held:
            raise ArgumentError(
                f"venue[{held[0]!r}]: borrow and financing work with one venue only: of several, none sees all that is "
                "held"
            )
        if len({one.mode for one in exchanges.values()}) > 1:
            raise ArgumentError("venue: mode must be the same for all exchanges of a run")
        return cls(exchanges, pools, named=True)

    def split(self, symbol: str) -> tuple[str, str]:
        """Security and venue of a symbol."""
        return split(symbol) if self.named else (symbol, "")

    def is_dark(self, symbol: str) -> bool:
        """Whether it is listed in a pool."""
        return self.split(symbol)[1] in self.pools

    def offered(self, known: set[str]) -> set[str]:
        """All symbols that can be traded, given those that the data have: also the pools' listings."""
        if not self.named:
            return known
        for symbol in sorted(known):
            if self.is_dark(symbol):
                raise ArgumentError(
                    f"a data source has {symbol!r}, but {split(symbol)[1]!r} is a dark pool: it shows nothing"
                )
        found = set(known)
        for name, pool in self.pools.items():
            found |= {listing(security, name) for security, at in map(split, known) if at == pool.reference}
        return found

    def completed(self, symbols: Iterable[str], known: set[str]) -> set[str]:
        """The symbols of a run with those that they need: references of pools, and primary listings."""
        found = set(symbols)
        if not self.named:
            return found
        for symbol in sorted(found):
            security, venue = split(symbol)
            if venue not in self.exchanges and venue not in self.pools:
                said = f"no venue is named {venue!r}" if venue else "it names no venue, and none is the default, ''"
                raise ArgumentError(f"{symbol!r}: {said}; the venues are {_names([*self.exchanges, *self.pools])}")
            if venue in self.pools:
                found.add(listing(security, self.pools[venue].reference))
            if security in known:
                found.add(security)
        return found

    def holders(self, symbols: Sequence[str]) -> list[int]:
        """For each symbol of a run the number of the one whose position it is; empty: each its own."""
        if not self.named:
            return []
        primary: dict[str, int] = {}
        for number, symbol in enumerate(symbols):
            security, venue = split(symbol)
            if not venue:
                primary[security] = number
            elif venue in self.exchanges:
                primary.setdefault(security, number)
        return [primary[split(symbol)[0]] for symbol in symbols]

    def spec(self, ids: Mapping[str, int]) -> dict[str, Any]:
        """As the core takes it; `ids` are the numbers of the run's symbols, in order."""
        exchanges, pools = list(self.exchanges), list(self.pools)
        places = {name: (False, number) for number, name in enumerate(exchanges)}
        places |= {name: (True, number) for number, name in enumerate(pools)}
        listings: dict[str, list[tuple[int, int]]] = {name: [] for name in pools}
        for symbol, number in ids.items():
            security, venue = self.split(symbol)
            if venue in self.pools:
                listings[venue].append((number, ids[listing(security, self.pools[venue].reference)]))
        return {
            "exchanges": [venue.spec(ids) for venue in self.exchanges.values()],
            "pools": [pool.spec(listings[name]) for name, pool in self.pools.items()],
            "listed": [places[self.split(symbol)[1]] for symbol in ids],
        }


def _has_broker(venue: Venue) -> bool:
    borrow = venue.borrow
    return bool(borrow.rate or borrow.rates or borrow.not_shortable) or venue.financing != Financing()


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
