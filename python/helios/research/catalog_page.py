"""The check of a catalog to look at: a page of its own, and tables in the terminal.

The page shows every instrument-day as a cell (sound, with notes, wrong), what was found, and for chosen instrument-days
prices and rows in bins of equal time with everything found at its moment. Absent: single rows; the catalog has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from helios.data.catalog.checking import ALL, CHECKS, CheckResult, Shape
from helios.research import page, text
from helios.research.charts import (
    BLUE,
    GREEN,
    GREY,
    MUTED,
    ORANGE,
    RED,
    Choice,
    Figure,
    axis_of,
    layout_of,
    plain,
)

_CELLS_ACROSS: Final = 260
_CELLS_DOWN: Final = 80
_FINDINGS: Final = 300
_TERMINAL_ROWS: Final = 30
_MARKS: Final = 200
_PALE: Final = "#dfe9e2"
_WASHES: Final = {"gap": "rgba(180,55,47,.16)", "halt": "rgba(111,119,130,.22)"}
_LEVELS: Final = {"sound": 0, "note": 1, "wrong": 2}


def write_page(result: CheckResult, path: Path, catalog: str) -> Path:
    """Writes the page, whole or not at all. RunError if it cannot be written."""
    return page.write(path, render(result, catalog), "page of the check")


def render(result: CheckResult, catalog: str) -> str:
    """The page as text."""
    choices = [
        Choice(_name_of(shape), day_figure(shape, result.findings), _note(shape, result)) for shape in result.shapes
    ]
    figures = {} if result.table.height < 2 else {"overview": overview(result)}
    body = [_header(result, catalog), _cards(result), _overview(result), _pictures(choices), _found(result)]
    menu = [{"note": choice.note, "figure": choice.figure} for choice in choices]
    return page.document(f"Check of {text.name(catalog)}", body, figures, menu)


def _header(result: CheckResult, catalog: str) -> str:
    table, days = result.table, result.table["date"].cast(pl.String)
    facts = [
        text.many(table.height, "instrument-day"),
        f"{table['rows'].sum():,} rows",
        " to ".join(days.sort()[[0, -1]]),
        ", ".join(table["schema"].unique().sort()),
    ]
    return page.header("check of data", text.name(catalog), facts)


def _cards(result: CheckResult) -> str:
    verdicts = result.table["verdict"]
    counts = [(level, int((verdicts == level).sum())) for level in ("wrong", "note", "sound")]
    why = {"wrong": "instrument-days", "note": "worth a look, not wrong", "sound": "nothing found"}
    return page.cards(
        (name.capitalize() if name != "note" else "With notes", f"{n:,}", why[name]) for name, n in counts
    )


def _overview(result: CheckResult) -> str:
    if result.table.height < 2:
        return ""
    names, days = result.table["instrument"].n_unique(), result.table["date"].n_unique()
    cut = names > _CELLS_DOWN or days > _CELLS_ACROSS
    lead = f"the {_CELLS_DOWN} instruments with most that is wrong, the last {_CELLS_ACROSS} days" if cut else ""
    return page.section("Instruments and days", lead, page.chart("overview", "Verdict of each instrument and day"))


def _pictures(choices: Sequence[Choice]) -> str:
    if not choices:
        return ""
    options = "".join(f"<option>{escape(choice.strategy)}</option>" for choice in choices)
    menu = (
        '<p class="note"><label for="trade-menu">Instrument-day</label>'
        f'<select id="trade-menu" autocomplete="off">{options}</select><span id="trade-note"></span></p>'
    )
    lead = "what is wrong first; prices as a band from the lowest to the highest, rows below"
    return page.section("A day", lead, menu + page.chart("trade-chart", "Prices, rows and findings of a day"))


def _note(shape: Shape, result: CheckResult) -> str:
    mine = _of(shape, result.findings)
    rows = f"{int(shape.rows.sum()):,} rows"
    if mine.is_empty():
        return f"{rows}, nothing found"
    parts = mine.group_by("check", maintain_order=True).agg(pl.col("count").sum())
    return f"{rows}; " + ", ".join(f"{name} {count:,}" for name, count in parts.iter_rows())


def _found(result: CheckResult) -> str:
    found = result.findings.sort(pl.col("level") != "wrong", maintain_order=True)
    if found.is_empty():
        return page.section("What was found", "", page.none("Nothing."))
    cells = [_cells_of(row) for row in found.head(_FINDINGS).iter_rows(named=True)]
    headings = ["level", "check", "day", "schema", "instrument", "count", "first at (UTC)", "what"]
    left = dict.fromkeys((0, 1, 2, 3, 4, 7), ' style="text-align:left;padding:0 14px"')
    shown = (
        f"the first {_FINDINGS} of {found.height:,}; all are in findings.parquet" if found.height > _FINDINGS else ""
    )
    return page.section("What was found", shown, page.rows(headings, cells, left))


def _cells_of(row: dict[str, Any]) -> list[str]:
    where = [escape(row["check"]), str(row["date"]), escape(row["schema"]), page.name(row["instrument"])]
    return [_level(row["level"]), *where, f"{row['count']:,}", _clock(row["ts"]), page.name(row["what"])]


def _level(level: str) -> str:
    return f'<span class="neg">{level}</span>' if level == "wrong" else escape(level)


def _clock(moment: Any) -> str:
    return "" if moment is None else f"{moment:%H:%M:%S}"


# --- Charts ----------------------------------------------------------------------------------------------------------


def overview(result: CheckResult) -> Figure:
    """Each instrument and day as a cell: the worst verdict over the schemas."""
    level = pl.col("verdict").replace_strict(_LEVELS, return_dtype=pl.Int64)
    cells = result.table.group_by("instrument", "date").agg(level.max().alias("level"), _told().alias("told"))
    worst = (
        cells.group_by("instrument")
        .agg(n=(pl.col("level") == 2).sum())
        .sort(["n", "instrument"], descending=[True, False])
    )
    names = sorted(worst["instrument"].head(_CELLS_DOWN).to_list(), reverse=True)
    days = cells["date"].unique().sort().tail(_CELLS_ACROSS).to_list()
    known = {(name, day): (level, told) for name, day, level, told in cells.iter_rows()}
    z = [[known.get((name, day), (None, ""))[0] for day in days] for name in names]
    told = [[plain(known.get((name, day), (None, ""))[1]) for day in days] for name in names]
    scale = [[0, _PALE], [1 / 3, _PALE], [1 / 3, ORANGE], [2 / 3, ORANGE], [2 / 3, RED], [1, RED]]
    trace = {
        "type": "heatmap",
        "x": [str(day) for day in days],
        "y": [plain(name) for name in names],
        "z": z,
        "text": told,
        "zmin": -0.5,
        "zmax": 2.5,
        "colorscale": scale,
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "colorbar": {
            "tickvals": [0, 1, 2],
            "ticktext": ["sound", "notes", "wrong"],
            "thickness": 10,
            "outlinewidth": 0,
            "tickfont": {"size": 11, "color": MUTED},
            "len": 1.0,
        },
        "hovertemplate": "%{y} %{x}<br>%{text}<extra></extra>",
    }
    layout = layout_of(max(150, min(900, 90 + 16 * len(names))), []) | {"hovermode": "closest"}
    layout["xaxis"] |= {"type": "category", "nticks": 14, "showline": False, "ticks": ""}
    layout["yaxis"] = {"type": "category", "tickfont": {"size": 11, "color": MUTED}, "automargin": True, "ticks": ""}
    layout["margin"] |= {"t": 14, "l": 60}
    return {"data": [trace], "layout": layout}


def _told() -> pl.Expr:
    """What was counted, as text: "bars: gap 2, outlier 1"."""
    parts = [
        pl.when(pl.col(name) > 0).then(pl.lit(f" {name} ") + pl.col(name).cast(pl.String)).otherwise(pl.lit(""))
        for name in CHECKS
    ]
    return (pl.col("schema") + pl.lit(":") + pl.concat_str(parts)).sort().str.join(" · ")


def day_figure(shape: Shape, findings: pl.DataFrame) -> Figure:
    """Prices over rows of an instrument-day, with what was found at its moment."""
    middle = (shape.edges[:-1] + shape.edges[1:]) // 2
    x = [_iso(ts) for ts in middle.tolist()]
    names = {"quotes": ("bid", "ask"), "orders": ("best bid", "best ask"), "depth": ("best bid", "best ask")}
    low, high = names.get(shape.schema, ("lowest", "highest"))
    width_ms = float(shape.edges[1] - shape.edges[0]) / 1e6
    seconds = width_ms / 1_000
    traces = [
        _band(x, shape.low, low, BLUE),
        _band(x, shape.high, high, ORANGE if low != "lowest" else BLUE),
        {
            "type": "bar",
            "name": f"rows in {seconds:,.3g} s",
            "x": x,
            "y": shape.rows.tolist(),
            "yaxis": "y2",
            "width": width_ms,
            "marker": {"color": GREY, "line": {"width": 0}},
            "hovertemplate": "%{y:,}",
        },
    ]
    mine = _of(shape, findings)
    spans = mine.filter(pl.col("ts").is_not_null() & pl.col("check").is_in(list(_WASHES)))
    points = mine.filter(pl.col("ts").is_not_null() & ~pl.col("check").is_in(list(_WASHES)))
    if points.height:
        # What is wrong is drawn over what is not.
        traces.append(_points(points.head(_MARKS).sort("level"), shape))
    layout = layout_of(430, [])
    layout |= {"yaxis": axis_of([0.30, 1.0], "price", tickformat=",.2f"), "yaxis2": axis_of([0.0, 0.22], "rows")}
    layout["yaxis"] |= {"zeroline": False}
    layout["xaxis"] |= {"anchor": "y2", "title": {"text": "UTC", "font": {"size": 11, "color": MUTED}, "standoff": 4}}
    layout["margin"] |= {"b": 46}
    layout |= {"bargap": 0, "shapes": [_span(row, shape) for row in spans.iter_rows(named=True)]}
    layout["annotations"] = [_label(row) for row in spans.head(12).iter_rows(named=True)]
    return {"data": traces, "layout": layout}


def _band(x: list[str], values: Any, name: str, color: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": [None if np.isnan(value) else float(value) for value in values],
        "line": {"color": color, "width": 1.3, "shape": "hvh"},
        "hovertemplate": "%{y:,.4f}",
    }


def _points(found: pl.DataFrame, shape: Shape) -> dict[str, Any]:
    """Findings without a length, on the price of their moment."""
    stamps = found["ts"].to_physical().to_numpy()
    bins = np.clip(np.searchsorted(shape.edges, stamps, side="right") - 1, 0, shape.high.size - 1)
    known = shape.high[~np.isnan(shape.high)]
    fallback = float(known[-1]) if known.size else 0.0
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "found",
        "x": [_iso(ts) for ts in stamps.tolist()],
        "y": [fallback if np.isnan(shape.high[at]) else float(shape.high[at]) for at in bins],
        "text": [plain(f"{row['check']}: {row['count']:,} {row['what']}") for row in found.iter_rows(named=True)],
        "marker": {
            "color": [RED if level == "wrong" else GREEN for level in found["level"]],
            "size": 10,
            "symbol": "diamond-open",
            "line": {"width": 2},
        },
        "hovertemplate": "%{text}<extra></extra>",
    }


def _span(row: dict[str, Any], shape: Shape) -> dict[str, Any]:
    until = row["until"]
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": _iso(_ns(row["ts"])),
        "x1": _iso(int(shape.edges[-1]) if until is None else _ns(until)),
        "y0": 0,
        "y1": 1,
        "fillcolor": _WASHES[row["check"]],
        "line": {"width": 0},
        "layer": "below",
    }


def _label(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "x": _iso(_ns(row["ts"])),
        "y": 1.0,
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "top",
        "text": plain(row["check"]),
        "showarrow": False,
        "font": {"size": 10, "color": RED if row["check"] == "gap" else MUTED},
    }


def _of(shape: Shape, findings: pl.DataFrame) -> pl.DataFrame:
    mine = pl.col("instrument").is_in([shape.instrument, ALL]) & (pl.col("schema") == shape.schema)
    return findings.filter(mine & (pl.col("date") == shape.day))


def _name_of(shape: Shape) -> str:
    return f"{shape.day} {text.name(shape.instrument)} {shape.schema}"


def _ns(moment: Any) -> int:
    return int(np.datetime64(moment.replace(tzinfo=None), "ns").astype(np.int64))


def _iso(ns: int) -> str:
    return str(np.datetime64(ns // 1_000_000, "ms"))


# --- The terminal ----------------------------------------------------------------------------------------------------


def print_check(result: CheckResult, console: Console, page_path: Path | None = None) -> None:
    """The instrument-days that are wrong or have notes, what is wrong, and one line for all."""
    rows = result.table.filter(pl.col("verdict") != "sound")
    rows = rows.sort(pl.col("verdict") != "wrong", maintain_order=True)
    if rows.height:
        console.print(_table(rows.head(_TERMINAL_ROWS)))
        _more(rows.height, console)
    wrong = result.findings.filter(pl.col("level") == "wrong")
    for row in wrong.head(_TERMINAL_ROWS).iter_rows(named=True):
        where = f" {row['date']} {row['schema']} {text.name(row['instrument'])}"
        when = f" {_clock(row['ts'])}" if row["ts"] is not None else ""
        count = f"{row['count']:,} " if row["count"] > 1 else ""
        line = Text.assemble((row["check"], "bold red"), f"{where}{when}: {count}{text.name(row['what'])}")
        console.print(line, soft_wrap=True)
    _more(wrong.height, console)
    verdicts = result.table["verdict"]
    names = {"sound": "sound", "note": "with notes", "wrong": "wrong"}
    told = ", ".join(f"{int((verdicts == level).sum()):,} {name}" for level, name in names.items())
    console.print(f"{text.many(result.table.height, 'instrument-day')}: {told}", highlight=False)
    if page_path is not None:
        console.print(f"page: {page_path}", highlight=False, soft_wrap=True)


def _more(count: int, console: Console) -> None:
    if count > _TERMINAL_ROWS:
        console.print(f"… and {count - _TERMINAL_ROWS:,} more", highlight=False)


def _table(rows: pl.DataFrame) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("day", "schema", "instrument"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("found", overflow="fold")
    styles = {"wrong": "bold red", "note": "yellow"}
    for row in rows.iter_rows(named=True):
        found = ", ".join(f"{name} {row[name]:,}" for name in CHECKS if row[name])
        verdict = Text(row["verdict"], style=styles[row["verdict"]])
        instrument = Text(text.name(row["instrument"]))
        table.add_row(str(row["date"]), row["schema"], instrument, f"{row['rows']:,}", verdict, found)
    return table
