"""`helios latency`: how long each stage from packet to order took, as a table and as a picture.

The driver writes `latency.json` into the run's folder every few seconds and at the end: for each stage its count, its
quantiles and the buckets of its histogram (HDR, three digits), in nanoseconds of the processor's counter. All stages
but `packet` are of packets that led to an order; `whole` is from the return of the system call that gave the packet to
the return of the one that took the order. What the network and the card take is not in it: `helios bench wire` measures
from outside.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from helios.errors import RunError
from helios.research import charts, page, text

LATENCY_FILE: Final = "latency.json"
PAGE_FILE: Final = "latency.html"
QUANTILES: Final = ("p50", "p90", "p99", "p99.9", "p99.99", "max")
#: The stages in their order, what they are called for people, and from when to when they are.
STAGES: Final = {
    "decoded": ("decoded", "packet received to event decoded"),
    "handed": ("handed over", "on the way to the engine's thread"),
    "journaled": ("journaled", "event decoded to input in the journal"),
    "stepped": ("stepped", "book, signals, risk and orders"),
    "called": ("called", "a strategy in Python, and its wish journaled and stepped; where the order is its"),
    "encoded": ("encoded", "order's bytes made, the way to the order thread included"),
    "written": ("written", "the system call that takes the order"),
    "whole": ("packet to order", "packet received to order written"),
    "packet": ("every packet", "packet received to all of it handled, with an order or without"),
}
_COLOURS: Final = {
    "decoded": "#7a9cc0",
    "handed": "#5fa3a3",
    "journaled": charts.GREEN,
    "stepped": charts.ORANGE,
    "called": charts.BLUE,
    "encoded": "#8a6fae",
    "written": charts.RED,
    "whole": charts.INK,
    "packet": charts.GREY,
}
_MOST_BUCKETS: Final = 100_000
_BUCKETS_PER_DOUBLING: Final = 4


@dataclass(frozen=True)
class Stage:
    """One stage's histogram: the lowest value of each bucket in ns, ascending, and how many fell into it."""

    name: str
    count: int
    quantiles: dict[str, float]
    bucket_ns: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def label(self) -> str:
        """What people call it."""
        return STAGES.get(self.name, (self.name, ""))[0]


def read(place: str | os.PathLike[str]) -> list[Stage]:
    """The stages that a run's folder, or a `latency.json`, tells of, in their order. RunError if there are none."""
    path = Path(place)
    file = path / LATENCY_FILE if path.is_dir() else path
    if not file.is_file():
        hint = "A live run writes it every few seconds, once a packet has led to an order."
        raise RunError(f"there is no {LATENCY_FILE}", folder=str(path), hint=hint)
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        stages = [_stage(name, one) for name, one in told.items()]
        if not stages:
            raise ValueError("it has no stage")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file.name} is not one of a live run: {error!r}", folder=str(file.parent)) from None
    order = list(STAGES)
    return sorted(stages, key=lambda stage: order.index(stage.name) if stage.name in order else len(order))


def _stage(name: str, told: Any) -> Stage:
    buckets = np.asarray(told["buckets"], dtype=np.float64).reshape(-1, 2)
    if (
        not 0 < len(buckets) <= _MOST_BUCKETS
        or not np.isfinite(buckets).all()
        or (buckets < 0).any()
        or not buckets[:, 1].sum()
    ):
        raise ValueError(f"stage {name!r} has no histogram")
    quantiles = {key: float(told[key]) for key in QUANTILES}
    return Stage(name, int(told["count"]), quantiles, np.maximum(buckets[:, 0], 1.0), buckets[:, 1])


def as_dict(stages: list[Stage]) -> dict[str, Any]:
    """For JSON: counts and quantiles, without the buckets."""
    return {stage.name: {"count": stage.count, **stage.quantiles} for stage in stages}


def print_stages(stages: list[Stage], console: Any) -> None:
    """The table."""
    from rich.table import Table

    table = Table(show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("stage", no_wrap=True)
    # The rest is in the picture: a terminal has eighty columns.
    shown = [key for key in QUANTILES if key != "p99.99"]
    for heading in ("count", *shown):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in stages:
        times = [text.nanoseconds(stage.quantiles[key]) for key in shown]
        style = "bold" if stage.name == "whole" else None
        table.add_row(stage.label, f"{stage.count:,}", *times, style=style)
    console.print(table)
    for stage in stages:
        if stage.name in STAGES:
            console.print(f"{stage.label}: {STAGES[stage.name][1]}", style="dim")


def write_page(stages: list[Stage], path: str | os.PathLike[str], title: str) -> Path:
    """The picture: one HTML file that opens offline."""
    whole = next((stage for stage in stages if stage.name == "whole"), None)
    facts = [f"{stage.label}: {stage.count:,}" for stage in stages if stage.name in ("whole", "packet")]
    figures = {"quantiles": quantiles(stages)}
    body = [page.header("latency", title, facts)]
    if whole is not None:
        keys = ("p50", "p99", "p99.9", "max")
        body.append(page.cards((f"packet to order, {key}", text.nanoseconds(whole.quantiles[key]), "") for key in keys))
    lead = "How many of a hundred were at most so slow. Both axes are logarithmic: the tail is what one looks for."
    body.append(page.section("All stages", lead, page.chart("quantiles", "Latency of each stage by percentile")))
    if whole is not None:
        figure = charts.latency({**_coarser(whole), **whole.quantiles})
        if figure is not None:
            figures["whole"] = figure
            body.append(page.section("Packet to order", "", page.chart("whole", "Histogram of packet to order")))
    body.append(page.section("In numbers", "", _numbers(stages)))
    return page.write(path, page.document(title, body, figures), "latency page")


def _coarser(stage: Stage) -> dict[str, Any]:
    """Buckets of equal width on the picture's logarithmic axis."""
    place = np.floor(np.log2(stage.bucket_ns) * _BUCKETS_PER_DOUBLING).astype(np.int64)
    first = int(place.min())
    counts = np.bincount(place - first, weights=stage.counts)
    return {"bucket_ns": 2.0 ** ((first + np.arange(counts.size)) / _BUCKETS_PER_DOUBLING), "count": counts}


def _numbers(stages: list[Stage]) -> str:
    cells = [
        [
            f"<b>{escape(stage.label)}</b>" if stage.name == "whole" else escape(stage.label),
            escape(STAGES.get(stage.name, ("", ""))[1]),
            f"{stage.count:,}",
            *(escape(text.nanoseconds(stage.quantiles[key])) for key in QUANTILES),
        ]
        for stage in stages
    ]
    return page.rows(["stage", "from, to", "count", *QUANTILES], cells, {0: "", 1: ""})


def quantiles(stages: list[Stage]) -> charts.Figure:
    """Latency over percentile, a line for each stage; the scale stretches towards 100 %."""
    traces = []
    deepest = 1.0
    for stage in stages:
        below = np.cumsum(stage.counts) / stage.counts.sum()
        before = np.concatenate([[0.0], below[:-1]])
        # A bucket is the value of all percentiles from the end of the one before it on.
        x = -np.log10(1.0 - before)
        deepest = max(deepest, float(np.log10(stage.counts.sum())))
        x = np.append(x, np.log10(stage.counts.sum()))
        y = np.append(stage.bucket_ns, stage.quantiles["max"])
        main = stage.name == "whole"
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": stage.label,
                "x": np.round(x, 5).tolist(),
                "y": y.tolist(),
                "line": {"shape": "hv", "width": 2.4 if main else 1.3, "color": _COLOURS.get(stage.name, charts.MUTED)},
                "hovertemplate": "%{y:,.0f} ns",
            }
        )
    layout = charts.layout_of(440, [])
    marks = [(p, -np.log10(1.0 - p / 100.0)) for p in (50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999)]
    marks = [(p, at) for p, at in marks if at <= deepest + 1e-9]
    layout["xaxis"] = {
        "title": {"text": "percentile", "font": {"size": 11, "color": charts.MUTED}},
        "tickvals": [float(at) for _, at in marks],
        "ticktext": [f"{p:g} %" for p, _ in marks],
        "range": [0.0, deepest],
        "gridcolor": charts.HAIR,
        "zeroline": False,
        "tickfont": {"size": 11, "color": charts.MUTED},
    }
    layout["yaxis"] = charts.axis_of([0, 1], "") | {"type": "log", "zeroline": False} | _time_ticks(stages)
    layout["hovermode"] = "closest"
    layout["margin"] |= {"b": 48}
    return {"data": traces, "layout": layout}


def _time_ticks(stages: list[Stage]) -> dict[str, Any]:
    low = min(float(stage.bucket_ns.min()) for stage in stages)
    high = max(stage.quantiles["max"] for stage in stages)
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(max(high, low * 10))))
    values = [10.0**power for power in range(first, last + 1)]
    return {"tickvals": values, "ticktext": [_round_time(v) for v in values], "range": [first, last]}


def _round_time(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:g} {unit}"
    return f"{ns:g} ns"
