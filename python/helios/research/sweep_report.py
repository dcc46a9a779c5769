"""A sweep to look at: a map of each metric over the parameters, as a self-contained page and in the terminal.

One parameter is a line, two are a heat map. From three on there is a heat map for each pair of parameters, whose cells
show the median over all the others: a ridge that is high on its median is worth more than one lucky cell. What failed
and what has no value stays empty. Absent: interpolation between points, and any smoothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Any, Final

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from helios.research import page, text
from helios.research.charts import BLUE, GREY, HAIR, INK, MUTED, RED, Choice, Figure, axis_of, layout_of, plain
from helios.research.summary import WIDTH
from helios.research.sweep import METRICS, SHOWN, Sweep

_PAPER: Final = "#f4f3ee"
_LABELLED_CELLS: Final = 400
_MOST_PAIRS: Final = 12
_PAIRS_A_ROW: Final = 3
_PAGE_ROWS: Final = 50
_TERMINAL_ROWS: Final = 10
_TERMINAL_COLUMNS: Final = 10
_ERRORS: Final = 5
_DIGITS: Final = {"fills": 0, "trades": 0, "orders": 0, "refusals": 0, "samples": 0, "sharpe_sample": 4, "hit_rate": 3}

#: Metric by the texts of two values.
Cells = dict[tuple[str, str], float | None]


def number(metric: str, value: Any) -> str:
    """A metric as text; money without cents from a thousand on."""
    if metric in ("net", "fees", "max_drawdown", "turnover") and text.is_number(value) and abs(value) >= 1_000:
        return text.number(value, 0)
    return text.number(value, _DIGITS.get(metric, 2))


def value_text(value: Any) -> str:
    """A parameter's value as text: 2.5, 10m, true."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else text.name(value)


def _labels(sweep: Sweep, param: str) -> list[str]:
    """The values of a parameter in the order of the grid; numbers ascend."""
    column = sweep.frame[param].unique(maintain_order=True)
    return [value_text(value) for value in (column.sort() if column.dtype.is_numeric() else column)]


def _cells(sweep: Sweep, metric: str, row: str, column: str) -> Cells:
    """The median of a metric for each pair of values; None where no point has one."""
    found: dict[tuple[str, str], list[float]] = {}
    for r, c, value in sweep.frame.select(row, column, metric).iter_rows():
        known = found.setdefault((value_text(r), value_text(c)), [])
        if text.is_number(value):
            known.append(float(value))
    return {place: median(values) if values else None for place, values in found.items()}


# --- The page --------------------------------------------------------------------------------------------------------


def write_page(sweep: Sweep, path: Path, metric: str) -> Path:
    """Writes the page, whole or not at all. RunError if it cannot be written."""
    return page.write(path, render(sweep, metric), "page of the sweep")


def render(sweep: Sweep, metric: str = "net") -> str:
    """The page as text."""
    metrics = [metric, *(each for each in SHOWN if each != metric)]
    known = [each for each in metrics if sweep.frame[each].is_not_null().any()]
    choices = [Choice(SHOWN[each], figure(sweep, each), _note(sweep, each)) for each in known]
    body = [_header(sweep), _warnings(sweep), _map(choices), _points(sweep, metric), _failed(sweep)]
    menu = [{"note": choice.note, "figure": choice.figure} for choice in choices]
    return page.document(f"Sweep of {text.name(sweep.name)}", body, {}, menu)


def _header(sweep: Sweep) -> str:
    ok = sweep.frame.height - sweep.failed.height
    facts = [f"{text.many(ok, 'point')} of {', '.join(text.name(p) for p in sweep.params)}"]
    facts.append(text.many(sweep.trials, "trial"))
    if sweep.failed.height:
        facts.append(f"{text.many(sweep.failed.height, 'point')} failed, listed below")
    return page.header("sweep", text.name(sweep.name), facts)


def _warnings(sweep: Sweep) -> str:
    return "".join(f'<p class="warn">{escape(text.name(line))}</p>' for line in [sweep.bias, *sweep.notes])


def _map(choices: Sequence[Choice]) -> str:
    if not choices:
        return page.section("Map", "", page.none("No point has a result."))
    options = "".join(f"<option>{escape(choice.strategy)}</option>" for choice in choices)
    menu = (
        '<p class="note"><label for="trade-menu">Metric</label>'
        f'<select id="trade-menu" autocomplete="off">{options}</select><span id="trade-note"></span></p>'
    )
    return page.section("Map", "", menu + page.chart("trade-chart", "A metric over the parameters"))


def _note(sweep: Sweep, metric: str) -> str:
    values = sweep.frame[metric].drop_nulls()
    least, middle, most = (number(metric, value) for value in (values.min(), values.median(), values.max()))
    told = f"lowest {least}, median {middle}, highest {most} of {text.many(len(values), 'point')}"
    if len(sweep.params) <= 2:
        return told
    pairs = math.comb(len(sweep.params), 2)
    cut = f"; the first {_MOST_PAIRS} of {pairs} pairs" if pairs > _MOST_PAIRS else ""
    return f"{told}; cells show the median over the other parameters{cut}"


def _points(sweep: Sweep, metric: str) -> str:
    known = sweep.frame.filter(pl.col("error").is_null())
    if not known.height:
        return ""
    rows = known.sort(metric, descending=True, nulls_last=True, maintain_order=True).head(_PAGE_ROWS)
    rows = rows.with_columns(pl.col("digest").str.slice(0, 12))
    metrics = ["net", "sharpe", "max_drawdown", "turnover", "fees", "fills", "trades", "digest"]
    cells = [
        [escape(value_text(row[param])) for param in sweep.params] + [_cell(each, row[each]) for each in metrics]
        for row in rows.iter_rows(named=True)
    ]
    shown = f"the {_PAGE_ROWS} highest of {known.height:,}; " if known.height > _PAGE_ROWS else ""
    lead = f"{shown}all are in sweep.parquet and sweep.csv"
    headings = [text.name(param) for param in sweep.params] + [text.label(each) for each in metrics]
    return page.section(f"Points by {SHOWN[metric]}", lead, page.rows(headings, cells, {}))


def _cell(metric: str, value: Any) -> str:
    return f"<code>{escape(str(value))}</code>" if metric == "digest" else page.signed(number(metric, value))


def _failed(sweep: Sweep) -> str:
    failed = sweep.failed
    if not failed.height:
        return ""
    cells = [
        [escape(value_text(row[param])) for param in sweep.params] + [escape(text.name(row["error"]))]
        for row in failed.head(_PAGE_ROWS).iter_rows(named=True)
    ]
    headings = [*(text.name(param) for param in sweep.params), "error"]
    left = {len(sweep.params): ' style="padding-left:24px"'}
    return page.section("Points that failed", f"{failed.height:,} of them", page.rows(headings, cells, left))


# --- Charts ----------------------------------------------------------------------------------------------------------


def figure(sweep: Sweep, metric: str) -> Figure:
    """The map of one metric as a Plotly figure."""
    if len(sweep.params) == 1:
        return _line(sweep, metric)
    pairs = list(itertools.combinations(sweep.params, 2))[:_MOST_PAIRS]
    return _heat_maps(sweep, metric, pairs)


def _line(sweep: Sweep, metric: str) -> Figure:
    param = sweep.params[0]
    numeric = sweep.frame[param].dtype.is_numeric()
    frame = sweep.frame.sort(param) if numeric else sweep.frame
    x = frame[param].to_list() if numeric else [value_text(value) for value in frame[param]]
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": frame[metric].to_list(),
        "line": {"color": BLUE, "width": 2},
        "marker": {"color": BLUE, "size": 7},
        "hovertemplate": f"{plain(param)} %{{x}}<br>{SHOWN[metric]} %{{y:,.4~f}}<extra></extra>",
        "showlegend": False,
    }
    layout = layout_of(360, []) | {"hovermode": "closest", "yaxis": axis_of([0, 1], SHOWN[metric])}
    layout["xaxis"] = _value_axis(param, "linear" if numeric else "category") | {"showline": True, "ticks": "outside"}
    layout["margin"] |= {"b": 48, "t": 14}
    return {"data": [trace], "layout": layout}


def _heat_maps(sweep: Sweep, metric: str, pairs: Sequence[tuple[str, str]]) -> Figure:
    across = min(len(pairs), _PAIRS_A_ROW)
    down = math.ceil(len(pairs) / across)
    tallest = max(len(_labels(sweep, row)) for row, _ in pairs)
    height = max(260, min(620, 90 + 34 * tallest))
    layout = layout_of(height * down, []) | {"hovermode": "closest"}
    layout["margin"] |= {"b": 48, "t": 14, "r": 90}
    layout.pop("xaxis")
    traces, seen = [], []
    for number_, (row, column) in enumerate(pairs):
        suffix = "" if number_ == 0 else str(number_ + 1)
        cells = _cells(sweep, metric, row, column)
        seen += [value for value in cells.values() if value is not None]
        traces.append(_heat_map(sweep, metric, row, column, cells) | {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"})
        at, below = number_ % across, number_ // across
        left, wide, high = at / across, 1 / across, 1 / down
        gap_x, gap_y = (0.10 if across > 1 else 0.0), (0.14 if down > 1 else 0.0)
        x = [left + (gap_x / 2 if at else 0), left + wide - (gap_x / 2 if at < across - 1 else 0)]
        y = [1 - (below + 1) * high + (gap_y if below < down - 1 else 0), 1 - below * high]
        layout[f"xaxis{suffix}"] = _value_axis(column, "category") | {"domain": x, "anchor": f"y{suffix}"}
        layout[f"yaxis{suffix}"] = _value_axis(row, "category") | {"domain": y, "anchor": f"x{suffix}"}
    layout["coloraxis"] = _colours(seen)
    return {"data": traces, "layout": layout}


def _heat_map(sweep: Sweep, metric: str, row: str, column: str, cells: Cells) -> dict[str, Any]:
    rows, columns = _labels(sweep, row), _labels(sweep, column)
    z = [[cells.get((r, c)) for c in columns] for r in rows]
    trace = {
        "type": "heatmap",
        "x": [plain(c) for c in columns],
        "y": [plain(r) for r in rows],
        "z": z,
        "text": [[number(metric, value) if value is not None else "" for value in line] for line in z],
        "coloraxis": "coloraxis",
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
        "hovertemplate": f"{plain(row)} %{{y}}<br>{plain(column)} %{{x}}<br><b>%{{text}}</b><extra></extra>",
    }
    return trace | ({"texttemplate": "%{text}"} if len(rows) * len(columns) <= _LABELLED_CELLS else {})


def _colours(values: Sequence[float]) -> dict[str, Any]:
    """Red below zero, blue above; one colour where all have the same sign."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    bar = {
        "thickness": 10,
        "outlinewidth": 0,
        "tickfont": {"size": 11, "color": MUTED},
        "separatethousands": True,
        "exponentformat": "none",
    }
    if low < 0 < high:
        most = max(-low, high)
        return {"colorscale": [[0, RED], [0.5, _PAPER], [1, BLUE]], "cmin": -most, "cmax": most, "colorbar": bar}
    scale = [[0, RED], [1, _PAPER]] if high <= 0 and low < 0 else [[0, _PAPER], [1, BLUE]]
    return {"colorscale": scale, "cmin": low, "cmax": high if high > low else low + 1, "colorbar": bar}


def _value_axis(param: str, kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "title": {"text": plain(param), "font": {"size": 12, "color": INK}, "standoff": 8},
        "tickfont": {"size": 11, "color": MUTED},
        "showgrid": kind == "linear",
        "gridcolor": HAIR,
        "linecolor": GREY,
        "zeroline": False,
        "automargin": True,
    }


# --- The terminal ----------------------------------------------------------------------------------------------------


def print_sweep(sweep: Sweep, console: Console, metric: str = "net", page_path: Path | None = None) -> None:
    """Prints the map or a table of the best points, what failed, and what must be said about the best one."""
    width = min(console.width, WIDTH)
    console.print(Text(f"sweep of {text.name(sweep.name)}", style="bold"), width=width)
    if _fits_a_map(sweep) and sweep.frame[metric].is_not_null().any():
        console.print(_terminal_map(sweep, metric), width=width)
    elif sweep.frame.height > sweep.failed.height:
        console.print(_terminal_table(sweep, metric), width=width)
    for line in _footer(sweep, metric, page_path):
        console.print(line, width=width, soft_wrap=True)


def _fits_a_map(sweep: Sweep) -> bool:
    """Two parameters, not too wide, and a point in half of the cells: a sample may leave most of them empty."""
    if len(sweep.params) != 2:
        return False
    down, across = (len(_labels(sweep, param)) for param in sweep.params)
    return across <= _TERMINAL_COLUMNS and 2 * sweep.frame.height >= down * across


def _terminal_map(sweep: Sweep, metric: str) -> Table:
    row, column = sweep.params
    cells = _cells(sweep, metric, row, column)
    known = [value for value in cells.values() if value is not None]
    title = f"{SHOWN[metric]}: {text.name(row)} down, {text.name(column)} across"
    table = Table(box=None, title=Text(title, style="dim"), title_justify="left", padding=(0, 1), pad_edge=False)
    table.add_column("", style="dim", justify="right")
    for label in _labels(sweep, column):
        table.add_column(Text(label, style="dim"), justify="right", no_wrap=True)
    for r in _labels(sweep, row):
        line = [_terminal_cell(metric, cells, (r, c), known) for c in _labels(sweep, column)]
        table.add_row(Text(r), *line)
    return table


def _terminal_cell(metric: str, cells: Cells, place: tuple[str, str], known: Sequence[float]) -> Text:
    value = cells.get(place)
    if value is None:
        return Text("n/a " if place in cells else "", style="dim")
    shown = number(metric, value) + ("*" if value == max(known) else " ")
    return Text(shown, style=f"#1b2026 on {_shade(value, min(known), max(known))}")


def _shade(value: float, low: float, high: float) -> str:
    """A pale red to a pale blue, as the page has them; white is zero, or the far end where all have one sign."""
    most = max(abs(low), abs(high)) or 1.0
    if low >= 0 or high <= 0:
        near = min(abs(low), abs(high))
        share = (abs(value) - near) / ((most - near) or 1.0)
    else:
        share = abs(value) / most
    end = (108, 158, 205) if value >= 0 else (222, 120, 112)
    return "#" + "".join(f"{round(244 + (c - 244) * share):02x}" for c in end)


def _terminal_table(sweep: Sweep, metric: str) -> Table:
    known = sweep.frame.filter(pl.col("error").is_null())
    rows = known.sort(metric, descending=True, nulls_last=True, maintain_order=True).head(_TERMINAL_ROWS)
    metrics = list(dict.fromkeys([metric, "net", "sharpe", "max_drawdown", "fees", "fills"]))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for param in sweep.params:
        table.add_column(Text(text.name(param)), justify="right", overflow="ellipsis")
    for each in metrics:
        table.add_column(Text(text.label(each)), justify="right", no_wrap=True)
    for row in rows.iter_rows(named=True):
        cells = [number(each, row[each]) for each in metrics]
        styled = [Text(cell, style="red" if cell.startswith("-") else "") for cell in cells]
        table.add_row(*(Text(value_text(row[param])) for param in sweep.params), *styled)
    if known.height > rows.height:
        table.caption, table.caption_justify = Text(f"the highest {rows.height} of {known.height:,}"), "left"
    return table


def _footer(sweep: Sweep, metric: str, page_path: Path | None) -> list[Text]:
    lines = []
    best = sweep.best(metric)
    if best is not None:
        at = ", ".join(f"{text.name(param)} {value_text(best[param])}" for param in sweep.params)
        more = f"net {number('net', best['net'])}, Sharpe {number('sharpe', best['sharpe'])}, "
        more += f"max drawdown {number('max_drawdown', best['max_drawdown'])}, {text.many(best['fills'], 'fill')}"
        lines.append(Text(f"highest {SHOWN[metric]} at {at}: {more}"))
        lines.append(Text(sweep.bias, style="yellow"))
    lines += [Text(text.name(note), style="yellow") for note in sweep.notes]
    for row in sweep.failed.head(_ERRORS).iter_rows(named=True):
        at = ", ".join(f"{text.name(param)} {value_text(row[param])}" for param in sweep.params)
        lines.append(Text(f"failed at {at}: {text.name(row['error'])}", style="red"))
    if sweep.failed.height > _ERRORS:
        lines.append(Text(f"and {sweep.failed.height - _ERRORS:,} more failed: column `error`", style="red"))
    done = f"{text.many(sweep.frame.height, 'point')}, {sweep.reused:,} of them done before"
    lines.append(Text(f"{done}; {text.many(sweep.trials, 'trial')} in all" if sweep.folder else done))
    if page_path is not None:
        lines.append(Text(f"page {text.name(page_path)}"))
    return lines


assert set(SHOWN) <= set(METRICS), "what is shown is measured"
