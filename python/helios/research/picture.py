"""A chart as a still picture: one of `charts`' figures as SVG text, for places where no script runs.

A notebook on GitHub, in a mail or exported to a page shows no Plotly figure, and Plotly's own way to a still picture
needs a browser. So this draws what `charts` makes and no more: scatter traces (lines, strokes, markers, washes to zero)
in rows over one time axis, with session gaps closed. Other traces are refused. Text of the run is escaped.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape, unescape
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from helios.research.charts import FONT, HAIR, INK, MUTED, Figure, thin

Array = NDArray[np.float64]

_WIDTH: Final = 880
_POINTS: Final = 700
_TICK_ROOM: Final = 62
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 12, 30, 26
_MINUTE, _HOUR, _DAY = 60e3, 3600e3, 86400e3  # milliseconds, as Plotly counts
_STEPS: Final = (
    *(k * _MINUTE for k in (1, 2, 5, 10, 15, 30)),
    *(k * _HOUR for k in (1, 2, 3, 6, 12)),
    *(k * _DAY for k in (1, 2, 5, 10, 20)),
)
_MONTHS: Final = (1, 2, 3, 6, 12, 24, 60, 120)


def svg(figure: Figure, *, width: int = _WIDTH) -> str:
    """The figure as an SVG document. ValueError for a trace that is not one of `charts`' scatter traces."""
    layout, traces = figure["layout"], figure["data"]
    if odd := {trace["type"] for trace in traces} - {"scatter"}:
        raise ValueError(f"a still picture of {', '.join(sorted(odd))} cannot be drawn")
    lines = [_Trace.of(trace) for trace in traces]
    height = int(layout["height"])
    time = _Time.over(lines, layout["xaxis"], width)
    parts = [f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    ticks = list(time.ticks())
    for key in sorted(key for key in layout if key.startswith("yaxis")):
        mine = [line for line in lines if line.axis == "y" + key.removeprefix("yaxis")]
        parts += _row(layout[key], mine, time, width, height)
    base = height - _BOTTOM
    parts.append(_line(_LEFT, base, width - _RIGHT, base, "#c9c8c2"))
    parts += [_line(x, base, x, base + 4, "#c9c8c2") + _label(x, base + 17, told, "middle") for x, told in ticks]
    parts += _legend(lines)
    body = "".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="{escape(FONT)}" font-size="11">{body}</svg>'
    )


def image(figure: Figure, what: str, *, width: int = _WIDTH) -> str:
    """The picture as an HTML image that carries its own bytes; `what` is for those who cannot see it."""
    data = base64.b64encode(svg(figure, width=width).encode()).decode("ascii")
    return f'<img alt="{escape(what)}" style="max-width:100%;height:auto" src="data:image/svg+xml;base64,{data}">'


# --- What is drawn ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Trace:
    x: Array
    y: Array
    axis: str
    name: str
    style: dict[str, Any]
    colors: Array | None

    @classmethod
    def of(cls, trace: dict[str, Any]) -> _Trace:
        color = trace.get("marker", {}).get("color")
        colors = unpacked(color) if isinstance(color, dict) else None
        x, y = unpacked(trace["x"]), unpacked(trace["y"])
        # Strokes come in threes: thinning them would join what is apart.
        if trace["mode"] != "markers" and not np.isnan(x).any():
            keep = thin(y, _POINTS)
            x, y, colors = x[keep], y[keep], None if colors is None else colors[keep]
        name = trace.get("name", "") if trace.get("showlegend", True) else ""
        return cls(x, y, trace.get("yaxis", "y"), name, trace, colors)


def unpacked(values: Any) -> Array:
    """The numbers of a figure's column, packed or not."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), f"<{values['dtype']}").astype(np.float64)
    return np.asarray(values, dtype=np.float64)


def _row(axis: dict[str, Any], lines: Sequence[_Trace], time: _Time, width: int, height: int) -> Iterator[str]:
    """One row of the chart: grid, numbers, title, traces."""
    room = height - _TOP - _BOTTOM
    low, high = _extent(lines, time)
    bottom, top = (height - _BOTTOM - share * room for share in axis["domain"])
    scale = (bottom - top) / (high - low)

    def at(y: Array) -> Array:
        return np.asarray(bottom - (y - low) * scale)

    steps = _nice(low, high, max(2, round((bottom - top) / 40)))
    write = _writer(steps, percent=str(axis.get("tickformat", "")).endswith("%"))
    for tick in steps:
        y = float(at(np.array([tick]))[0])
        yield _line(_LEFT, y, width - _RIGHT, y, "#c9c8c2" if tick == 0 else HAIR)
        yield _label(_LEFT - 8, y + 4, write(tick).replace("-", "−"), "end")
    title = escape(unescape(axis["title"]["text"]))
    middle = (top + bottom) / 2
    yield f'<text transform="translate(12 {middle:.1f}) rotate(-90)" text-anchor="middle" fill="{MUTED}">{title}</text>'
    zero = float(at(np.array([min(max(0.0, low), high)]))[0])
    for line in lines:
        yield from _draw(line, time.at(line.x), at(line.y), zero)


def _writer(steps: Sequence[float], *, percent: bool) -> Callable[[float], str]:
    """How the numbers of an axis are written: as many digits as tell one step from the next, millions as M."""
    step, most = (steps[1] - steps[0] if len(steps) > 1 else 0.01), max((abs(s) for s in steps), default=0.0)
    unit = 0.01 if percent else 1e6 if most >= 1e6 else 1.0
    digits = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    sign = "%" if percent else "M" if unit > 1 else ""
    return lambda value: f"{value / unit:,.{digits}f}{sign}"


def _extent(lines: Sequence[_Trace], time: _Time) -> tuple[float, float]:
    """The lowest and highest value in sight, with a little air."""
    seen = [line.y[np.isfinite(line.y) & time.shows(line.x)] for line in lines]
    values = np.concatenate([*seen, *(np.zeros(1) for line in lines if line.style.get("fill"))] or [np.zeros(0)])
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    air = (high - low) * 0.04 or abs(high) * 0.05 or 0.01
    washed = low < high and any(line.style.get("fill") for line in lines)  # zero is an edge then, not inside
    return low - (0 if washed and low == 0 else air), high + (0 if washed and high == 0 else air)


def _draw(line: _Trace, x: Array, y: Array, zero: float) -> Iterator[str]:
    style = line.style
    visible = np.isfinite(x) & np.isfinite(y)
    opacity = f' opacity="{style["opacity"]}"' if "opacity" in style else ""
    if "lines" in style["mode"]:
        path = _path(x, y, visible, stepped=style["line"].get("shape") == "hv")
        if style.get("fill") and visible.any():
            first, last = x[visible][0], x[visible][-1]
            # The wash closes over gaps: it is a background, the stroke shows them.
            whole = _path(x[visible], y[visible], visible[visible], stepped=style["line"].get("shape") == "hv")
            closed = f"{whole}L{last:.1f} {zero:.1f}L{first:.1f} {zero:.1f}Z"
            yield f'<path d="{closed}" fill="{style["fillcolor"]}"/>'
        dash = ' stroke-dasharray="2 2"' if style["line"].get("dash") == "dot" else ""
        stroke = f'stroke="{style["line"]["color"]}" stroke-width="{style["line"]["width"]}"'
        yield f'<path d="{path}" fill="none" {stroke} stroke-linejoin="round"{dash}{opacity}/>'
    if "markers" in style["mode"]:
        colors = _colors(line, x.size)
        for k in np.flatnonzero(visible):
            yield _marker(style["marker"], float(x[k]), float(y[k]), colors[k])


def _path(x: Array, y: Array, visible: NDArray[np.bool_], *, stepped: bool) -> str:
    """The pen is lifted where there is no value."""
    parts: list[str] = []
    down = False
    for px, py, seen in zip(x, y, visible, strict=True):
        if seen:
            parts.append(
                f"{'H' if stepped else 'L'}{px:.1f}" + (f"V{py:.1f}" if stepped else f" {py:.1f}")
                if down
                else f"M{px:.1f} {py:.1f}"
            )
        down = bool(seen)
    return "".join(parts)


def _colors(line: _Trace, size: int) -> list[str]:
    marker = line.style["marker"]
    if line.colors is None:
        return [str(marker["color"])] * size
    stops = marker["colorscale"]
    share = (np.nan_to_num(line.colors) - marker["cmin"]) / (marker["cmax"] - marker["cmin"])
    nearest = np.abs(share[:, None] - np.array([at for at, _ in stops])).argmin(axis=1)
    return [str(stops[k][1]) for k in nearest]


def _marker(marker: dict[str, Any], x: float, y: float, color: str) -> str:
    r = marker["size"] / 2
    if (symbol := marker.get("symbol", "circle")) == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="{color}"/>'
    way = -1 if symbol == "triangle-up" else 1
    points = f"{x - r:.1f},{y - way * r * 0.7:.1f} {x + r:.1f},{y - way * r * 0.7:.1f} {x:.1f},{y + way * r:.1f}"
    return f'<polygon points="{points}" fill="{color}" stroke="#fff" stroke-width=".6"/>'


def _legend(lines: Iterable[_Trace]) -> Iterator[str]:
    x = float(_LEFT)
    for line in lines:
        if not line.name:
            continue
        style = line.style
        if "lines" in style["mode"]:
            yield f'<path d="M{x:.0f} 14h16" stroke="{style["line"]["color"]}" stroke-width="2" fill="none"/>'
        else:
            yield _marker(style["marker"], x + 8, 14, _colors(line, 1)[0])
        name = unescape(line.name)
        yield _label(x + 21, 18, name, "start")
        x += 38 + 6.2 * len(name)


def _line(x0: float, y0: float, x1: float, y1: float, color: str) -> str:
    return f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="{color}" fill="none"/>'


def _label(x: float, y: float, told: str, anchor: str) -> str:
    color = INK if anchor == "start" else MUTED
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{escape(told)}</text>'


def _nice(low: float, high: float, about: int) -> list[float]:
    """Round numbers between low and high."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(k * power for k in (1, 2, 5, 10) if k * power >= rough * (1 - 1e-9))
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


# --- The time axis ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Time:
    """Milliseconds since 1970 to pixels; the gaps between sessions take no room."""

    start: float
    end: float
    gaps: Array
    width: int
    #: Ticks are this far apart or further.
    least: float

    @classmethod
    def over(cls, lines: Sequence[_Trace], axis: dict[str, Any], width: int) -> _Time:
        gaps = np.array([[_ms(a), _ms(b)] for a, b in (g["bounds"] for g in axis.get("rangebreaks", []))])
        stamps = np.concatenate([line.x[np.isfinite(line.x)] for line in lines] or [np.zeros(0)])
        if "range" in axis:
            start, end = (_ms(bound) for bound in axis["range"])
        else:
            start, end = (float(stamps.min()), float(stamps.max())) if stamps.size else (0.0, _DAY)
        least = float(axis.get("dtick", 0))
        return cls(start, end if end > start else start + _MINUTE, gaps.reshape(-1, 2), width, least)

    def at(self, x: Array) -> Array:
        """Pixels; NaN out of sight."""
        whole = self._traded(np.array([self.start, self.end]))
        share = (self._traded(x) - whole[0]) / (whole[1] - whole[0])
        return np.where(self.shows(x), _LEFT + share * (self.width - _LEFT - _RIGHT), np.nan)

    def shows(self, x: Array) -> NDArray[np.bool_]:
        return np.isfinite(x) & (x >= self.start) & (x <= self.end)

    def _traded(self, x: Array) -> Array:
        passed = np.clip(x[:, None] - self.gaps[:, 0], 0, self.gaps[:, 1] - self.gaps[:, 0]).sum(axis=1)
        return np.asarray(x - passed)

    def ticks(self) -> Iterator[tuple[float, str]]:
        stamps, form = self._stamps()
        pixels = self.at(np.array(stamps, dtype=np.float64))
        last = -math.inf
        for stamp, pixel in zip(stamps, pixels, strict=True):
            inside = any(a < stamp < b for a, b in self.gaps)
            fits = _LEFT + 14 <= pixel <= self.width - _RIGHT - 14  # False for NaN
            if fits and not inside and pixel - last >= _TICK_ROOM:
                yield float(pixel), datetime.fromtimestamp(stamp / 1e3, UTC).strftime(form)
                last = pixel

    def _stamps(self) -> tuple[list[float], str]:
        span = float(np.diff(self._traded(np.array([self.start, self.end])))[0])
        if len(self.gaps) > 2:  # several sessions: where each begins
            return [self.start, *self.gaps[:, 1]], "%b %d"
        if self.end - self.start > 120 * _DAY:
            months = next((m for m in _MONTHS if span / (m * 30.4 * _DAY) <= 9), _MONTHS[-1])
            return _month_starts(self.start, self.end, months), "%Y" if months >= 12 else "%b %Y"
        step = next((s for s in _STEPS if span / s <= 10 and s >= self.least), _STEPS[-1])
        first = math.ceil(self.start / step)
        form = "%b %d" if step >= _DAY else "%H:%M"
        return [k * step for k in range(first, math.floor(self.end / step) + 1)], form


def _month_starts(start: float, end: float, months: int) -> list[float]:
    first = datetime.fromtimestamp(start / 1e3, UTC)
    number = (first.year * 12 + first.month - 1) // months * months
    stamps = []
    while (stamp := datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp() * 1e3) <= end:
        stamps.append(stamp)
        number += months
    return stamps


def _ms(bound: str) -> float:
    return datetime.fromisoformat(bound).replace(tzinfo=UTC).timestamp() * 1e3
