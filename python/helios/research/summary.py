"""The run in the terminal: headline numbers, what each pillar did, where the report is. At most 100 columns wide.

Names come from files, so they are printed as text without markup and without control characters.
"""

from __future__ import annotations

import os
from typing import Any, Final

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from helios.research import text
from helios.research.results import Results

WIDTH: Final = 100
_ROWS_PER_PILLAR: Final = 12


def print_summary(results: Results, console: Console, report: str | os.PathLike[str] | None = None) -> None:
    """Prints the summary; `report` is where the report was written, if it was."""
    width = min(console.width, WIDTH)
    title = text.name(results.meta.get("name") or "Backtest")
    console.print(Text(title, style="bold"), width=width)
    console.print(_headline(results, width))
    console.print(_pillars(results, width))
    for line in _footer(results, report):
        console.print(line, width=width, soft_wrap=True)


def _headline(results: Results, width: int) -> Table:
    h = results.headline
    rows = [
        ("net P&L after fees", _signed(text.money(h.net)), "fills", text.count(h.fills)),
        ("fees", _signed(text.money(h.fees)), "turnover", text.money(h.turnover)),
        (
            "return on peak gross",
            _signed(text.percent(h.return_on_peak_gross)),
            "round trips",
            text.count(h.round_trips),
        ),
        ("Sharpe ratio", _signed(text.number(h.sharpe.value)), "hit rate", text.percent(h.hit_rate, 1)),
        ("max drawdown", _signed(text.money(h.max_drawdown)), "refusals", text.count(h.refusals)),
    ]
    table = Table(box=box.SIMPLE, show_header=False, width=width, padding=(0, 1), pad_edge=False)
    for style, justify in (("dim", "left"), ("", "right"), ("dim", "left"), ("", "right")):
        table.add_column(style=style, justify=justify, ratio=1)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def _pillars(results: Results, width: int) -> Table:
    """Two by two, so that long labels fit."""
    grid = Table.grid(expand=False, padding=(0, 2))
    inner = (width - 4) // 2
    parts = [_pillar(name, counts, inner) for name, counts in results.pillars().items()]
    grid.add_row(*parts[:2])
    grid.add_row(*parts[2:])
    return grid


def _pillar(name: str, counts: dict[str, Any], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, width=width, padding=(0, 1), pad_edge=False)
    table.add_column(Text(name.upper()), overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column(justify="right", no_wrap=True, overflow="ellipsis", max_width=width // 2)
    for label, value in list(counts.items())[:_ROWS_PER_PILLAR]:
        table.add_row(Text(text.label(label)), _signed(text.plain(value)))
    if len(counts) > _ROWS_PER_PILLAR:
        table.add_row(Text(f"and {len(counts) - _ROWS_PER_PILLAR} more", style="dim"), "")
    return table


def _footer(results: Results, report: str | os.PathLike[str] | None) -> list[Text]:
    lines = []
    if results.headline.sharpe.value is not None:
        lines.append(Text(f"Sharpe ratio: {results.headline.sharpe.note}", style="dim"))
    known = results.strategies.filter(pl.col("net").is_finite())
    if known.height:
        won = known.filter(pl.col("net") > 0).height
        lines.append(Text(f"{won:,} of {known.height:,} strategies gained", style="dim"))
    if not results.reconciles():
        told = ", ".join(f"{k} {text.money(v)}" for k, v in results.reconciliation().items())
        lines.append(Text(f"net P&L does not add up: {told}", style="bold red"))
    if not results.market_fills.height:
        lines.append(Text("no fills: nothing traded in this run", style="yellow"))
    if text.is_number(results.meta.get("inputs")):
        rate, wall = (results.meta.get(k) for k in ("events_per_second", "wall_seconds"))
        lines.append(Text(f"{text.count(results.meta['inputs'])} inputs in {text.number(wall)} s, {text.rate(rate)}"))
    if results.meta.get("digest"):
        lines.append(Text(f"digest {text.name(results.meta['digest'])}"))
    if report is not None:
        lines.append(Text(f"report {text.name(os.fspath(report))}"))
    return lines


def _signed(number: str) -> Text:
    return Text(number, style="red" if number.startswith("-") else "")
