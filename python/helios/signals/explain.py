"""A graph as text and as a picture: every node once, as the core will have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from helios.signals.expr import Expr
from helios.signals.graph import Numbering, sources_in, walk

_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "coalesce": "??", "min": "min", "max": "max",
    "gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!=",
}  # fmt: skip
_BAR_FIELDS = ("open", "high", "low", "close", "volume")
_NS = (("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000))
#: Nodes that a picture shows at most: beyond that nobody can read it.
_DRAWN_MAX = 400


def _numbered(outputs: Mapping[str, Expr]) -> tuple[list[tuple[Expr, list[int]]], dict[int, list[str]]]:
    """One expression a node with its inputs' numbers, and the outputs' names by node."""
    roots = list(outputs.values())
    ids: dict[str, int] = {}
    series: dict[str, int] = {}
    for source in sources_in(roots):
        if source.symbol is not None:
            ids.setdefault(source.symbol, len(ids))
        if source.series is not None:
            series.setdefault(source.series, len(series))
    numbering = Numbering(ids, series)
    names: dict[int, list[str]] = {}
    for name, root in outputs.items():
        names.setdefault(numbering.number_of(root), []).append(name)
    exprs: dict[int, Expr] = {}
    for expr in walk(roots):
        exprs.setdefault(numbering.number_of(expr), expr)
    return [(exprs[number], node[1]) for number, node in enumerate(numbering.nodes)], names


def explain(outputs: Mapping[str, Expr]) -> str:
    """One line a node: its number, what it is, its unit, and from when on it has a value."""
    nodes, names = _numbered(outputs)
    rows = []
    for number, (expr, inputs) in enumerate(nodes):
        told = [f"#{number}", label(expr, inputs), "" if expr.unit is None else str(expr.unit), _warm_up(expr)]
        outs = [name for name in names.get(number, []) if name]
        told.append("-> " + ", ".join(outs) if outs else "")
        rows.append(told)
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def label(expr: Expr, inputs: Sequence[int]) -> str:
    """What a node is, with its inputs by number."""
    op, _, detail = expr.op.partition(":")
    x = [f"#{number}" for number in inputs]
    ints, floats = expr.ints, expr.floats
    if op in ("source", "series", "constant", "session", "local_time"):
        return f"{floats[0]:g}" if op == "constant" else expr.text
    if op == "unary":
        return f"{detail}({x[0]})"
    if op == "binary":
        sign = _SIGNS[detail]
        return f"{sign}({x[0]}, {x[1]})" if sign in ("min", "max") else f"{x[0]} {sign} {x[1]}"
    if op in ("window", "pairs"):
        kind = detail.split(":")[0]
        span = {
            "count": f"last {ints[0]} samples",
            "time": f"last {span_text(ints[0])}",
            "all": f"since {x[1]} changed" if len(x) > 1 and op == "window" else "since the beginning",
            "ewm_count": f"weights x {floats[0]:.6g} a sample" if floats else "",
            "ewm_time": f"weights halve every {span_text(ints[0])}",
        }[kind]
        return f"window of {x[0]}: {span}" if op == "window" else f"window of ({x[0]}, {x[1]}): {span}"
    if op == "read":
        given = [f"{value:g}" for value in floats] + [str(value) for value in ints]
        return f"{detail} of {x[0]}" + (f" ({', '.join(given)})" if given else "")
    if op == "hysteresis":
        return f"hysteresis({x[0]}, enter={floats[0]:g}, exit={floats[1]:g})"
    given = [span_text(ints[0])] if op in ("cooldown", "debounce") or expr.op in ("lag:time", "bars:time") else []
    if expr.op in ("lag:samples", "bars:ticks"):
        given = [str(ints[0])]
    if expr.op in ("bars:volume", "bars:money"):
        given = [f"{floats[0]:g}"]
    return f"{expr.op.replace(':', ' by ')}({', '.join([*x, *given])})"


def _warm_up(expr: Expr) -> str:
    op, _, detail = expr.op.partition(":")
    if op not in ("window", "pairs", "kalman", "lag"):
        return ""
    if op == "kalman":
        return f"null for {expr.ints[0]} samples"
    if op == "lag":
        return f"null for {expr.ints[0]} samples" if detail == "samples" else f"null for {span_text(expr.ints[0])}"
    kind, (span, least) = detail.split(":")[0], expr.ints
    if least > 1:
        return f"null until {least} samples"
    if least == 1 or kind == "all":
        return ""
    full = {"count": f"{span} samples", "time": span_text(span), "ewm_time": f"3 x {span_text(span)}"}
    return f"null until {full.get(kind, 'warm')}"


def span_text(ns: int) -> str:
    """A length of time as people write it."""
    for unit, size in _NS:
        if ns % size == 0:
            return f"{ns // size}{unit}"
    return f"{ns}ns"


def fires_with(expr: Expr) -> str:
    """What makes a source fire."""
    name = expr.op.partition(":")[2]
    if expr.series is not None:
        return "each value"
    if name in ("last", "last_size", "flow"):
        return "each trade"
    if name in _BAR_FIELDS:
        return "each bar"
    return "each change of the book" if name.endswith(("_at", "_depth")) else "each quote or change of a best level"


# --- Picture -------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 230, 34, 46, 14, 12
_BLUE, _AMBER, _GREEN = "#dbeafe", "#fef3c7", "#dcfce7"
_COLOURS = {"source": _BLUE, "series": _BLUE, "constant": "#f3f4f6", "session": _AMBER, "local_time": _AMBER}


def svg(outputs: Mapping[str, Expr]) -> str:
    """The graph from left to right: what it reads, what is made of it, and the outputs' names."""
    nodes, names = _numbered(outputs)
    if len(nodes) > _DRAWN_MAX:
        text = f"{len(nodes)} nodes: too many to draw, explain() lists them"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="520" height="40"><text x="10" y="25">{text}</text></svg>'
        )
    depth: list[int] = []
    for _, inputs in nodes:
        depth.append(1 + max((depth[x] for x in inputs), default=-1))
    places = _places(nodes, depth)
    width = (max(depth) + 1) * (_WIDTH + _GAP_X) - _GAP_X + 2 * _MARGIN
    height = max(y for _, y in places) + _HEIGHT + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'style="background:#ffffff" font-family="ui-monospace, monospace" font-size="11">'
    ]
    for number, (_, inputs) in enumerate(nodes):
        x1, y1 = places[number][0], places[number][1] + _HEIGHT // 2
        for other in inputs:
            x0, y0 = places[other][0] + _WIDTH, places[other][1] + _HEIGHT // 2
            bend = (x1 - x0) // 2
            path = f"M{x0} {y0} C{x0 + bend} {y0} {x1 - bend} {y1} {x1} {y1}"
            parts.append(f'<path d="{path}" fill="none" stroke="#9ca3af"/>')
    for number, (expr, inputs) in enumerate(nodes):
        parts += _box(number, label(expr, inputs), expr.op.partition(":")[0], names.get(number, []), places[number])
    return "".join([*parts, "</svg>"])


def _places(nodes: Sequence[tuple[Expr, list[int]]], depth: Sequence[int]) -> list[tuple[int, int]]:
    """Left upper corners: columns by depth, rows near the middle of what a node is made of."""
    rows: list[float] = [0.0] * len(nodes)
    for layer in range(max(depth) + 1):
        members = [number for number in range(len(nodes)) if depth[number] == layer]
        wanted = {n: sum(rows[x] for x in nodes[n][1]) / len(nodes[n][1]) if nodes[n][1] else 0.0 for n in members}
        free = 0.0
        for number in sorted(members, key=lambda n: (wanted[n], n)):
            rows[number] = max(free, wanted[number])
            free = rows[number] + 1
    step = _HEIGHT + _GAP_Y
    return [
        (_MARGIN + level * (_WIDTH + _GAP_X), _MARGIN + round(row * step))
        for level, row in zip(depth, rows, strict=True)
    ]


def _box(number: int, text: str, op: str, names: Sequence[str], place: tuple[int, int]) -> list[str]:
    x, y = place
    named = [name for name in names if name]
    fill = _GREEN if names else _COLOURS.get(op, "#ffffff")
    shown = f"#{number} {text}"
    shown = shown if len(shown) <= 34 else shown[:33] + "…"
    lines = [(shown, y + (14 if named else 21))]
    if named:
        told = ", ".join(named)
        lines.append((told if len(told) <= 34 else told[:33] + "…", y + 28))
    rect = f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{fill}" stroke="#6b7280"/>'
    parts = [f"<g><title>{escape(text)}</title>", rect]
    for line, at in lines:
        weight = ' font-weight="bold"' if at == y + 28 else ""
        parts.append(f'<text x="{x + 8}" y="{at}"{weight}>{escape(line)}</text>')
    return [*parts, "</g>"]
