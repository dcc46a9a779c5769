"""Pillar 1, data: sources of bars, quotes, trades and order events.

    from helios.data import bars, quotes, trades, lobster

Each returns a `ColumnSource`: `.symbols`, `.rows`, `.schema` and `.batches(ids)`, an iterator of integer columns in
time order. Importing this package imports NumPy and Polars.
"""

from helios.data.actions import ActionsSource, actions
from helios.data.agents import AgentsSource, agents
from helios.data.catalog import Catalog
from helios.data.external import ExternalSource, external
from helios.data.feed import FeedSource
from helios.data.frames import bars, depth, quotes, trades
from helios.data.itch import ItchSource, itch
from helios.data.listed import at
from helios.data.lobster import lobster, lobster_check, orderbook
from helios.data.renamed import rename
from helios.data.source import Batch, ColumnSource, Skipped
from helios.data.universe import Universe

__all__ = [
    "ActionsSource",
    "AgentsSource",
    "Batch",
    "Catalog",
    "ColumnSource",
    "ExternalSource",
    "FeedSource",
    "ItchSource",
    "Skipped",
    "Universe",
    "actions",
    "agents",
    "at",
    "bars",
    "depth",
    "external",
    "itch",
    "lobster",
    "lobster_check",
    "orderbook",
    "quotes",
    "rename",
    "trades",
]
