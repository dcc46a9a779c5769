"""The report's charts as plain Plotly figures: dictionaries of data and layout, ready to be written as JSON.

Assumes nothing of a browser and does not import Plotly. Long series are thinned so that a page stays small: each
bucket keeps its lowest and its highest sample, so no spike is lost. What is thinned is said in the page.
"""

from __future__ import annotations

import base64
import itertools
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from helios.research import text
from helios.research.metrics import drawdown
from helios.research.results import Results

Figure = dict[str, Any]

POINTS_PER_LINE: Final = 4_000
_POINTS_PER_PRICE_LINE: Final = 600
_MARKERS_PER_SIDE: Final = 250
_STROKES: Final = 300
_BARS_PER_END: Final = 250
_CHOICES: Final = 6
_LEGS: Final = 2
_SESSION_GAP_NS: Final = 3_600_000_000_000
_MAX_GAPS: Final = 80
_DAY_MS: Final = 86_400_000
_PERCENT: Final = ".3~%"  # as many decimals as there are, three at most
_MOMENT: Final = "%{x|%Y-%m-%d %H:%M:%S.%L}"  # as Plotly writes it beside the pointer

INK, MUTED, HAIR = "#1b2026", "#6f7782", "#e7e6e1"
BLUE, ORANGE, GREEN, RED, GREY = "#2b5c8a", "#c76b1f", "#2e7d5b", "#b4372f", "#9aa1a9"
FONT: Final = 'system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif'
_RED_WASH, _BLUE_WASH, _GREY_WASH = "rgba(180,55,47,.13)", "rgba(43,92,138,.18)", "rgba(111,119,130,.10)"


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry of the trade chart's menu."""

    strategy: str
    figure: Figure
    note: str


def thin(values: NDArray[np.float64], most: int = POINTS_PER_LINE) -> NDArray[np.int64]:
    """Indices, ascending, of at most `most` samples: first, last, and each bucket's lowest and highest.

    A bucket of NaN alone keeps one of them, so that a gap stays a gap.
    """
    size = values.size
    if size <= most:
        return np.arange(size, dtype=np.int64)
    edges = np.linspace(0, size, max((most - 2) // 2, 1) + 1).astype(np.int64)
    low = np.where(np.isnan(values), np.inf, values)
    high = np.where(np.isnan(values), -np.inf, values)
    picks = [0, size - 1]
    for a, b in itertools.pairwise(edges):
        picks += [int(a + low[a:b].argmin()), int(a + high[a:b].argmax())]
    return np.unique(np.array(picks, dtype=np.int64))


def session_gaps(ts: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Plotly range breaks for the hours in which nothing was sampled (nights, weekends); none if there are too many."""
    if ts.size < 3:
        return []
    steps = np.diff(ts)
    at = np.flatnonzero(steps > max(_SESSION_GAP_NS, 20 * int(np.median(steps))))
    if not 0 < at.size <= _MAX_GAPS:
        return []
    # The break begins a millisecond late: a sample that lies on its edge would be hidden.
    return [{"bounds": [_iso(int(ts[i]) + 1_000_000), _iso(int(ts[i + 1]))]} for i in at]


def equity(results: Results) -> Figure:
    """Net P&L (and before fees), drawdown, exposure: three rows on one time axis."""
    frame = results.equity
    ts = _ns(frame["ts"])
    net = results.net_path
    before = net + _values(frame["fees"])
    traces = [
        _line(ts, before, "before fees", GREY, width=1.2),
        _line(ts, net, "net P&L", BLUE, width=2.0),
        _line(ts, drawdown(net, start=0.0), "drawdown", RED, width=1.0, fill=_RED_WASH, axis="y2"),
        _line(ts, _values(frame["gross"]), "gross exposure", MUTED, width=1.2, fill=_GREY_WASH, axis="y3"),
        _line(ts, _values(frame["net"]), "net exposure", ORANGE, width=1.2, axis="y3"),
    ]
    layout = layout_of(640, session_gaps(ts))
    layout |= {
        "yaxis": axis_of([0.47, 1.0], "net P&L"),
        "yaxis2": axis_of([0.27, 0.42], "drawdown"),
        "yaxis3": axis_of([0.0, 0.22], "exposure"),
    }
    layout["xaxis"] |= {"anchor": "y3"} | _shown(results)
    return {"data": traces, "layout": layout}


def net(results: Results) -> Figure:
    """Net P&L over its drawdown: two rows, small."""
    ts = _ns(results.equity["ts"])
    path = results.net_path
    traces = [
        _line(ts, path, "net P&L after fees", BLUE, width=1.6),
        _line(ts, drawdown(path, start=0.0), "drawdown", RED, width=1.0, fill=_RED_WASH, axis="y2"),
    ]
    layout = layout_of(300, session_gaps(ts)) | {"yaxis": axis_of([0.4, 1.0], ""), "yaxis2": axis_of([0.0, 0.3], "")}
    layout["xaxis"] |= {"anchor": "y2"} | _shown(results)
    return {"data": traces, "layout": layout}


def drawdowns(results: Results) -> Figure:
    """How far net P&L is below its highest value so far, which is at least zero."""
    ts = _ns(results.equity["ts"])
    lost = drawdown(results.net_path, start=0.0)
    layout = layout_of(260, session_gaps(ts)) | {"yaxis": axis_of([0.0, 1.0], "drawdown")}
    layout["xaxis"] |= _shown(results)
    return {"data": [_line(ts, lost, "drawdown", RED, width=1.0, fill=_RED_WASH)], "layout": layout}


def trades(results: Results, instrument: str) -> Figure:
    """Price, fills and round trips of one instrument, all strategies together."""
    mine, gaps = pl.col("instrument") == instrument, session_gaps(_ns(results.equity["ts"]))
    traces = _leg(
        results.marks, results.market_fills.filter(mine), results.trades.filter(mine), instrument, "y", first=True
    )
    layout = layout_of(380, gaps) | {"yaxis": axis_of([0.0, 1.0], plain(instrument), tickformat=",.2f")}
    return {"data": traces, "layout": layout | {"hovermode": "closest"}}


def signal(results: Results, name: str) -> Figure:
    """What a signal was when it changed, and the input that changed it."""
    traces = _signal_traces(results.signals.filter(pl.col("signal") == name), "y")
    gaps = session_gaps(_ns(results.equity["ts"]))
    layout = layout_of(300, gaps) | {"yaxis": axis_of([0.0, 1.0], plain(name)), "hovermode": "closest"}
    return {"data": traces, "layout": layout}


def growth(sheet: pl.DataFrame, names: tuple[str, str], *, cut: bool = False) -> Figure:
    """Compounded return over its drawdown: columns ts, growth, underwater and, with a benchmark, benchmark_growth.

    `cut` closes nights and weekends; daily points have none to close.
    """
    ts = _ns(sheet["ts"].cast(pl.Datetime("ns")))
    traces = []
    if "benchmark_growth" in sheet.columns:
        traces.append(_line(ts, _values(sheet["benchmark_growth"]), names[1], GREY, width=1.3))
    traces += [
        _line(ts, _values(sheet["growth"]), names[0], BLUE, width=1.8),
        _line(ts, _values(sheet["underwater"]), "drawdown", RED, width=1.0, fill=_RED_WASH, axis="y2"),
    ]
    traces = [trace | {"name": plain(trace["name"]), "hovertemplate": "%{y:.2%}"} for trace in traces]
    layout = layout_of(420, session_gaps(ts) if cut else [])
    layout |= {
        "yaxis": axis_of([0.36, 1.0], "compounded return", tickformat=_PERCENT),
        "yaxis2": axis_of([0.0, 0.28], "drawdown", tickformat=_PERCENT),
    }
    layout["xaxis"] |= {"anchor": "y2"} | ({} if cut else _days(ts))
    return {"data": traces, "layout": layout}


def rolling(sheet: pl.DataFrame, *, cut: bool = False) -> Figure:
    """Sharpe ratio and annual volatility of a moving window: columns ts, sharpe, volatility."""
    ts = _ns(sheet["ts"].cast(pl.Datetime("ns")))
    traces = [
        _line(ts, _values(sheet["sharpe"]), "Sharpe ratio", BLUE, width=1.4),
        _line(ts, _values(sheet["volatility"]), "annual volatility", ORANGE, width=1.4, axis="y2")
        | {"hovertemplate": "%{y:.2%}"},
    ]
    layout = layout_of(340, session_gaps(ts) if cut else [])
    layout |= {
        "yaxis": axis_of([0.54, 1.0], "Sharpe ratio"),
        "yaxis2": axis_of([0.0, 0.46], "volatility", tickformat=_PERCENT) | {"rangemode": "tozero"},
    }
    layout["xaxis"] |= {"anchor": "y2"} | ({} if cut else _days(ts))
    return {"data": traces, "layout": layout}


def _days(ts: NDArray[np.int64]) -> dict[str, Any]:
    """A time axis of whole days: no hours at the pointer, nor between a few of them."""
    few = {"dtick": _DAY_MS, "tickformat": "%b %d"} if int(ts[-1] - ts[0]) <= 10 * _DAY_MS * 1_000_000 else {}
    return {"hoverformat": "%Y-%m-%d"} | few


def _shown(results: Results) -> dict[str, Any]:
    """The time axis' range when it opens: without a long flat beginning."""
    ts, flat = _ns(results.equity["ts"]), flat_head(results)
    return {"range": [_iso(int(ts[flat])), _iso(int(ts[-1]) + 1_000_000)]} if flat else {}


def flat_head(results: Results) -> int:
    """Samples before the first position that the chart opens without: zero unless they are a fifth of all or more."""
    held = np.flatnonzero(np.nan_to_num(_values(results.equity["gross"])) != 0)
    flat = max(0, int(held[0]) - 1) if held.size else 0
    return flat if flat >= results.equity.height / 5 else 0


def strategy_bars(results: Results) -> Figure:
    """Net P&L of every strategy, best first; the middle is left out when there are more than 500."""
    frame = results.strategies.filter(pl.col("net").is_finite()).sort("net", "strategy", descending=[True, False])
    frame = ends(frame, _BARS_PER_END)
    net = frame["net"].to_list()
    bars = {
        "type": "bar",
        "x": list(range(len(net))),
        "y": net,
        "customdata": [[plain(s), text.many(n, "fill")] for s, n in frame.select("strategy", "fills").iter_rows()],
        "marker": {"color": [BLUE if x >= 0 else RED for x in net], "line": {"width": 0}},
        "hovertemplate": "<b>%{customdata[0]}</b><br>net %{y:,.2f}<br>%{customdata[1]}<extra></extra>",
        "showlegend": False,
    }
    layout = layout_of(250, [])
    layout |= {
        "yaxis": axis_of([0, 1], "") | {"nticks": 9},
        "bargap": 0.15 if len(net) <= 120 else 0.0,
        "hovermode": "closest",
    }
    layout["xaxis"] = {"showticklabels": False, "showgrid": False, "zeroline": False, "fixedrange": False}
    layout["margin"] |= {"b": 8, "t": 8}
    if len(net) <= 25:
        ticks = {"tickvals": bars["x"], "ticktext": [plain(s) for s in frame["strategy"]], "tickangle": -40}
        layout["xaxis"] |= {
            "showticklabels": True,
            "tickfont": {"size": 11, "color": MUTED},
            "automargin": True,
        } | ticks
    return {"data": [bars], "layout": layout}


def ends(frame: pl.DataFrame, most: int) -> pl.DataFrame:
    """The first and the last `most` rows; all of them if there are no more."""
    return frame if frame.height <= 2 * most else pl.concat([frame.head(most), frame.tail(most)])


def latency(histogram: dict[str, Any]) -> Figure | None:
    """Time from message bytes to order bytes; None if the histogram is not one."""
    try:
        bucket = np.asarray(histogram["bucket_ns"], dtype=np.float64)
        counts = np.asarray(histogram["count"], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        return None
    if bucket.ndim != 1 or bucket.shape != counts.shape:
        return None
    keep = (bucket > 0) & np.isfinite(bucket) & (counts > 0) & np.isfinite(counts)
    bucket, counts = bucket[keep], counts[keep]
    if not counts.size:
        return None
    area = {
        "type": "scatter",
        "x": bucket.tolist(),
        "y": counts.tolist(),
        "mode": "lines",
        "line": {"shape": "hv", "color": BLUE, "width": 1.2},
        "fill": "tozeroy",
        "fillcolor": _BLUE_WASH,
        "hovertemplate": "from %{x:,.0f} ns: %{y:,}<extra></extra>",
        "showlegend": False,
    }
    layout = layout_of(240, [])
    layout["xaxis"] = {
        "type": "log",
        "title": {"text": "nanoseconds (log)", "font": {"size": 11, "color": MUTED}},
        "gridcolor": HAIR,
        "zeroline": False,
        "tickfont": {"size": 11, "color": MUTED},
        "dtick": "D1" if float(bucket.max()) < 30 * float(bucket.min()) else 1,
        "exponentformat": "none",
        "separatethousands": True,
    }
    # Both axes are logarithmic: what one looks for in latency is the tail, a thousand times rarer than the middle.
    layout |= {"yaxis": axis_of([0, 1], "count (log)"), "hovermode": "closest", "shapes": [], "annotations": []}
    layout["yaxis"] |= {"type": "log", "dtick": 1, "rangemode": "normal"}
    layout["margin"] |= {"b": 44, "t": 44}
    for i, key in enumerate(("p50", "p90", "p99", "p99.9")):
        value = text.finite(histogram.get(key))
        if value is not None and value > 0:
            line = {"color": INK, "width": 1, "dash": "dot"}
            layout["shapes"].append(
                {"type": "line", "x0": value, "x1": value, "yref": "paper", "y0": 0, "y1": 1} | {"line": line}
            )
            at = {"x": float(np.log10(value)), "y": 1.0 if i % 2 == 0 else 1.08, "yref": "paper", "showarrow": False}
            font = {"size": 11, "color": INK}
            layout["annotations"].append(at | {"text": key, "xanchor": "center", "yanchor": "bottom", "font": font})
    return {"data": [area], "layout": layout}


def trade_choices(results: Results) -> list[Choice]:
    """The strategies with the most venue fills, most first."""
    fills = results.market_fills
    if not fills.height:
        return []
    active = fills.group_by("strategy").len().sort("len", "strategy", descending=[True, False]).head(_CHOICES)
    gaps = session_gaps(_ns(results.equity["ts"]))
    return [_trade_choice(results, strategy, gaps) for strategy in active["strategy"]]


def _trade_choice(results: Results, strategy: str, gaps: list[dict[str, Any]]) -> Choice:
    fills = results.market_fills.filter(pl.col("strategy") == strategy)
    trades = results.trades.filter(pl.col("strategy") == strategy)
    by_use = (
        fills.group_by("instrument").len().sort("len", "instrument", descending=[True, False])["instrument"].to_list()
    )
    legs = sorted(by_use[:_LEGS])
    signal = _signal_of(results.signals, strategy)
    rows = _rows(len(legs), signal.height > 0)
    layout = layout_of(170 + 200 * len(rows), gaps)
    traces: list[dict[str, Any]] = []
    drawn = 0
    for i, leg in enumerate(legs):
        axis = "y" if i == 0 else f"y{i + 1}"
        mine = fills.filter(pl.col("instrument") == leg)
        traces += _leg(results.marks, mine, trades.filter(pl.col("instrument") == leg), leg, axis, first=i == 0)
        drawn += sum(min(n, _MARKERS_PER_SIDE) for n in mine.group_by("side").len()["len"])
        layout["yaxis" if i == 0 else f"yaxis{i + 1}"] = axis_of(rows[i], plain(leg), tickformat=",.2f")
    if signal.height:
        axis = f"y{len(legs) + 1}"
        traces += _signal_traces(signal, axis)
        layout[f"yaxis{len(legs) + 1}"] = axis_of(rows[-1], "signal")
    layout["xaxis"] |= {"anchor": f"y{len(rows)}" if len(rows) > 1 else "y"}
    layout["hovermode"] = "closest"
    notes = [f"{text.many(fills.height, 'fill')}, {text.many(trades.height, 'round trip')}"]
    if len(by_use) > len(legs):
        notes.append(f"the {len(legs)} most traded of {len(by_use)} instruments")
    if drawn < fills.filter(pl.col("instrument").is_in(legs)).height:
        notes.append(f"drawn: of each instrument the last {_MARKERS_PER_SIDE} buys and sells, {_STROKES} round trips")
    return Choice(strategy, {"data": traces, "layout": layout}, "; ".join(notes))


def _rows(legs: int, with_signal: bool) -> list[list[float]]:
    """Vertical extents from the top down, with a gap between."""
    rows, gap = legs + with_signal, 0.05
    height = (1.0 - gap * (rows - 1)) / rows
    return [[max(0.0, 1.0 - (i + 1) * height - i * gap), 1.0 - i * (height + gap)] for i in range(rows)]


def _leg(
    marks: pl.DataFrame, fills: pl.DataFrame, trades: pl.DataFrame, leg: str, axis: str, *, first: bool
) -> list[dict[str, Any]]:
    path = marks.filter((pl.col("instrument") == leg) & pl.col("price").is_finite())
    path = path if path.height > 1 else fills
    traces = [
        _line(_ns(path["ts"]), _values(path["price"]), "price", GREY, width=1.1, axis=axis, most=_POINTS_PER_PRICE_LINE)
        | {"showlegend": first, "legendgroup": "price"}
    ]
    for won, name, color in ((True, "round trip that gained", GREEN), (False, "round trip that lost", RED)):
        some = trades.tail(_STROKES).filter((pl.col("net") > 0) == won)
        traces.append(_segments(some, name, color, axis, first))
    for side, symbol, color in (("buy", "triangle-up", BLUE), ("sell", "triangle-down", ORANGE)):
        some = fills.filter(pl.col("side") == side).tail(_MARKERS_PER_SIDE)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": side,
                "legendgroup": side,
                "showlegend": first,
                "x": _times(_ns(some["ts"])),
                "y": _packed(_values(some["price"])),
                "customdata": _packed(_values(some["quantity"])),
                "yaxis": axis,
                "marker": {"symbol": symbol, "size": 8, "color": color, "line": {"color": "#fff", "width": 0.8}},
                "hovertemplate": f"{side} %{{customdata:,}} at %{{y:,.4f}}<br>{_MOMENT}<extra></extra>",
            }
        )
    return traces


def _segments(trades: pl.DataFrame, name: str, color: str, axis: str, first: bool) -> dict[str, Any]:
    """One stroke a round trip, entry to exit; NaN lifts the pen."""
    x = np.full((trades.height, 3), np.nan)
    y = np.full((trades.height, 3), np.nan)
    x[:, 0], x[:, 1] = _ns(trades["entry_ts"]) / 1e6, _ns(trades["exit_ts"]) / 1e6
    y[:, 0], y[:, 1] = _values(trades["entry_price"]), _values(trades["exit_price"])
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "legendgroup": name,
        "showlegend": first,
        "x": _packed(x.ravel()),
        "y": _packed(y.ravel(), "f4"),  # strokes are only looked at: seven digits are enough
        "yaxis": axis,
        "line": {"color": color, "width": 1.4},
        "opacity": 0.65,
        "hoverinfo": "skip",
    }


def _signal_of(signals: pl.DataFrame, strategy: str) -> pl.DataFrame:
    """Changes of the signal named as the strategy, or as the strategy and a suffix after a separator ("KO/PEP z")."""
    names = [s for s in signals["signal"].unique().sort().to_list() if isinstance(s, str)]
    own = [s for s in names if s == strategy or (s.startswith(strategy) and not s[len(strategy)].isalnum())]
    return signals.filter(pl.col("signal") == own[0]) if own else signals.head(0)


def _signal_traces(signal: pl.DataFrame, axis: str) -> list[dict[str, Any]]:
    ts, value, shown = _ns(signal["ts"]), _values(signal["value"]), _values(signal["input"])
    what = "signal's input (z-score)"
    if not np.isfinite(shown).any():
        shown, what = value, "signal"
    keep = thin(shown, _POINTS_PER_PRICE_LINE)
    state = np.sign(np.nan_to_num(value))
    return [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": f"{what} when it changed",
            "x": _times(ts[keep]),
            "y": _packed(shown[keep]),
            "customdata": _packed(value[keep]),
            "yaxis": axis,
            "line": {"color": GREY, "width": 0.8, "dash": "dot"},
            "marker": {
                "size": 7,
                "color": _packed(state[keep], "f4"),
                "cmin": -1,
                "cmax": 1,
                "colorscale": [[0, ORANGE], [0.5, "#d9d8d2"], [1, BLUE]],
            },
            "hovertemplate": f"%{{y:.3f}} → %{{customdata}}<br>{_MOMENT}<extra></extra>",
        }
    ]


def _line(
    ts: NDArray[np.int64],
    values: NDArray[np.float64],
    name: str,
    color: str,
    *,
    width: float,
    fill: str | None = None,
    axis: str = "y",
    most: int = POINTS_PER_LINE,
) -> dict[str, Any]:
    keep = thin(values, most)
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines" if keep.size > 1 else "markers",
        "name": name,
        "x": _times(ts[keep]),
        "y": _packed(values[keep]),
        "yaxis": axis,
        "line": {"color": color, "width": width},
        "marker": {"color": color, "size": 7},
        "hovertemplate": "%{y:,.2f}",
    }
    return trace | ({"fill": "tozeroy", "fillcolor": fill} if fill else {})


def layout_of(height: int, gaps: list[dict[str, Any]]) -> dict[str, Any]:
    """The frame of a figure with one axis of time, in our style."""
    return {
        "height": height,
        "margin": {"l": 70, "r": 14, "t": 34, "b": 34},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": INK},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": HAIR, "font": {"size": 12, "color": INK}},
        "separators": ".,",
        "dragmode": "zoom",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#c3c6ca", "activecolor": INK},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 11, "color": MUTED}},
        "xaxis": {
            "type": "date",
            "showgrid": False,
            "zeroline": False,
            "ticks": "outside",
            "ticklen": 4,
            "tickcolor": HAIR,
            "linecolor": HAIR,
            "showline": True,
            "tickfont": {"size": 11, "color": MUTED},
            "hoverformat": "%Y-%m-%d %H:%M:%S",
            "rangebreaks": gaps,
        },
    }


def axis_of(domain: list[float], title: str, tickformat: str = "") -> dict[str, Any]:
    """A vertical axis over a part of the figure's height."""
    return {
        "domain": domain,
        "title": {"text": title, "font": {"size": 11, "color": MUTED}, "standoff": 8},
        "gridcolor": HAIR,
        "zeroline": True,
        "zerolinecolor": "#c9c8c2",
        "zerolinewidth": 1,
        "tickfont": {"size": 11, "color": MUTED},
        "tickformat": tickformat,
        "separatethousands": True,
        "exponentformat": "none",
        "nticks": 6,
    }


def _ns(series: pl.Series) -> NDArray[np.int64]:
    return series.to_physical().fill_null(0).to_numpy()


def _values(series: pl.Series) -> NDArray[np.float64]:
    return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _times(ts: NDArray[np.int64]) -> dict[str, str]:
    return _packed(ts / 1e6)  # Plotly's date axis counts milliseconds; a float64 keeps a quarter of a microsecond


def _packed(values: NDArray[Any], dtype: str = "f8") -> dict[str, str]:
    """Plotly's typed array: half the bytes of decimal text, and NaN survives."""
    return {"dtype": dtype, "bdata": base64.b64encode(values.astype(f"<{dtype}").tobytes()).decode("ascii")}


def _iso(ns: int) -> str:
    return str(np.datetime64(ns // 1_000_000, "ms"))


def plain(value: Any) -> str:
    """A name inside a chart: Plotly reads tags in text, so there must be none."""
    return escape(text.name(value), quote=False)
