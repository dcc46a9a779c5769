"""A live run's answers for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from helios.live.log import utc_text
from helios.live.run import recovered_text, status_line

_MONEY: Final = frozenset({"value", "realised", "unrealised"})


def print_status(status: Any, console: Console) -> None:
    """One line for the whole, then feeds and what was recovered."""
    console.print(escape(status_line(status)), highlight=False)
    for feed in status["feeds"]:
        counts = f"{feed['messages']:,} messages, {feed['missed']:,} missed, {feed['dropped']:,} dropped"
        console.print(
            f"feed {escape(feed['name'])}: {counts}, {feed['incomplete']:,} books incomplete", highlight=False
        )
    for copy in status["drop_copies"]:
        counts = f"{copy['told']:,} executions told, {copy['matched']:,} agree"
        missing = f"we lack {copy['we_lack']:,}, the venue lacks {copy['venue_lacks']:,}"
        missing += f", {copy['not_compared']:,} not compared"
        console.print(f"drop copy {escape(copy['name'])}: {copy['state']}, {counts}, {missing}", highlight=False)
    for one in status["differences"]:
        console.print(
            f"{escape(one['instrument'])} differs: our position {one['ours']:,}, the venue's {one['theirs']:,}",
            style="bold red",
            highlight=False,
        )
    if status["reason"]:
        console.print(escape(status["reason"]), highlight=False)
    if status["recovered"] is not None:
        console.print(recovered_text(status["recovered"]), highlight=False)
    console.print(f"engine's clock {utc_text(status['ts'])}", highlight=False)


def print_rows(rows: Sequence[Mapping[str, Any]], nothing: str, console: Console) -> None:
    """A table of what all rows have."""
    if not rows:
        console.print(nothing)
        return
    table = Table(show_edge=False)
    for heading, value in rows[0].items():
        table.add_column(heading.replace("_", " "), justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(_cell(heading, value) for heading, value in row.items()))
    console.print(table)


def _cell(heading: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return escape(str(value))
    # Money to the cent; a quantity or a price as short as it is.
    return f"{value:,.2f}" if heading in _MONEY else f"{value:,.9f}".rstrip("0").rstrip(".")
