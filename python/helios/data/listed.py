"""A source whose symbols are listed at a venue: `at(quotes(file), "BATS")` has "KO@BATS" where the file has "KO".

Assumes that all of a source's rows are from one venue. A table with several can name its symbols "KO@BATS" itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import overload

from helios.data.agents import AgentsSource
from helios.data.external import ExternalSource
from helios.data.itch import ItchSource
from helios.data.source import BATCH_ROWS, Batch, ColumnSource, Skipped
from helios.errors import ArgumentError
from helios.listings import listing, split

__all__ = ["ListedSource", "at"]


class ListedSource(ColumnSource):
    """Another source, with its symbols at a venue."""

    def __init__(self, inner: ColumnSource, venue: str) -> None:
        self.inner = inner
        self.venue = venue
        self.schema = inner.schema

    @property
    def skipped(self) -> dict[str, Skipped]:  # type: ignore[override]
        """What the latest reading left out."""
        return self.inner.skipped

    @property
    def symbols(self) -> list[str]:
        """Those of the source, each with the venue."""
        return [listing(symbol, self.venue) for symbol in self.inner.symbols]

    @property
    def stamped(self) -> bool:
        """As the source."""
        return self.inner.stamped

    @property
    def rows(self) -> int | None:
        """As the source."""
        return self.inner.rows

    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        """As the source's; `ids` name listings."""
        own = {split(symbol)[0]: number for symbol, number in ids.items() if split(symbol)[1] == self.venue}
        return self.inner.batches(own, size)


@overload
def at(source: ItchSource, venue: str) -> ItchSource: ...
@overload
def at(source: ColumnSource, venue: str) -> ColumnSource: ...
def at(source: ItchSource | ColumnSource, venue: str) -> ItchSource | ColumnSource:
    """The source with its symbols at a venue: "KO" becomes "KO@BATS". ArgumentError for what cannot be listed."""
    if isinstance(source, AgentsSource):
        raise ArgumentError("at: agents trade at one exchange, the only one of their run")
    if not isinstance(venue, str) or not venue or "@" in venue:
        raise ArgumentError(f"at: {venue!r} cannot name a venue: give a text without @")
    if isinstance(source, ExternalSource):
        raise ArgumentError("at: a series is of no instrument, so it is at no venue")
    if not isinstance(source, ItchSource | ColumnSource):
        raise ArgumentError(
            f"at: a {type(source).__name__} is no data source: use itch(…), quotes(…), trades(…) or another"
        )
    if isinstance(source, ItchSource):
        if source.venue:
            raise ArgumentError(f"at: the source is at {source.venue!r} already")
        return replace(source, venue=venue)
    if isinstance(source, ListedSource):
        raise ArgumentError(f"at: the source is at {source.venue!r} already")
    return ListedSource(source, venue)
