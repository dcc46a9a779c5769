"""The run in the terminal: headline numbers, what each pillar did, where the report is. At most 100 columns wide.

Names come from files, so they are printed as text without markup and without control characters.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
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
_BAR_LABELS: Final = 36
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


def print_summary(results: Results, console: Console, report: str | os.PathLike[str] | None = None) -> None:
    """Prints the summary; `report` is where the report was written, if it was."""
    width = min(console.width, WIDTH)
    title = text.name(results.meta.get("name") or "Backtest")
    console.print(Text(title, style="bold"), width=width)
    console.print(_headline(results, width))
    console.print(_pillars(results, width))
    for line in _footer(results, report):
        console.print(line, width=width, soft_wrap=True)


def as_text(show: Callable[[Console], None]) -> str:
    """What `show` prints, as plain text."""
    stream = io.StringIO()
    show(Console(file=stream, width=WIDTH, color_system=None, legacy_windows=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


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
    if h.dividends or h.borrow or h.financing:
        rows.append(("dividends", _signed(text.money(h.dividends)), "borrow", text.money(h.borrow)))
        rows.append(("financing", _signed(text.money(h.financing)), "", ""))
    table = Table(box=box.SIMPLE, show_header=False, width=width, padding=(0, 1), pad_edge=False)
    longest = max(len(row[0]) for row in rows)
    for style, justify, least in (("dim", "left", longest), ("", "right", 0), ("dim", "left", 0), ("", "right", 0)):
        table.add_column(style=style, justify=justify, ratio=1, min_width=least, no_wrap=True)  # type: ignore[arg-type]
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
    traded = results.strategies.filter(pl.col("net").is_finite() & (pl.col("fills") > 0))
    if traded.height > 1:
        won = traded.filter(pl.col("net") > 0).height
        lines.append(Text(f"{won:,} of {traded.height:,} strategies that traded gained", style="dim"))
    by_rule = results.refusals.group_by("rule").len().sort("len", descending=True).rows()
    if by_rule:
        told = ", ".join(f"{text.name(rule)} {text.count(count)}" for rule, count in by_rule)
        lines.append(Text(f"refused: {told}", style="yellow"))
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


def print_latency(results: Results, console: Console) -> None:
    """Prints the histogram of the time from message bytes to order bytes, if it was measured: a bar for each bucket."""
    told = results.meta.get("latency")
    rows = _buckets(told["bucket_ns"], told["count"]) if told else []
    if not told or not rows:
        console.print(Text("not measured, or no order was sent: Backtest(latency=True) measures it", style="dim"))
        return
    width = min(console.width, WIDTH)
    most = max(count for _, count in rows)
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    for justify in ("right", "left", "right"):
        table.add_column(justify=justify, no_wrap=True)
    for span, count in rows:
        bar = Text(_bar(count / most, width - _BAR_LABELS) if count else "", style="blue")
        table.add_row(Text(span, style="dim"), bar, Text(text.count(count)))
    console.print(table)
    marks = (f"{key} {text.nanoseconds(told[key])}" for key in ("p50", "p90", "p99", "p99.9", "max") if key in told)
    console.print(Text("   ".join(marks)), width=width)


def _bar(share: float, room: int) -> str:
    """A bar of eighths of a character; what is there at all is at least one eighth long."""
    eighths = max(1, round(share * room * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _buckets(starts: Sequence[int], counts: Sequence[int]) -> list[tuple[str, int]]:
    """(span, count) from the first bucket that has a count to the last; empty ones between too."""
    full = [k for k, count in enumerate(counts) if count]
    if not full:
        return []
    edges = [text.nanoseconds(start) for start in starts]
    spans = [f"{low} to {high}" for low, high in pairwise(edges)] + [f"{edges[-1]} and more"]
    return [(spans[k], counts[k]) for k in range(full[0], full[-1] + 1)]
