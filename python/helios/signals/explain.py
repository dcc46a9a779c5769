"""A graph in words and as a picture: every node once, what makes it fire, and from when on it has a value.

Nodes are numbered inputs first. What makes a node fire is given by its nearest cause that is not each event of the
market: a hysteresis fires when it changes, and so does what is made of it. Warm-up is an upper bound: until all that a
node is made of has its values, along the longest way, in samples of what a window looks at and in time; a sample of an
expression is one of its firings that is no null. Absent: nulls of other reasons, like a division by zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from helios.duration import span_text
from helios.signals.expr import Expr, ewm_full_from
from helios.signals.graph import Numbering, sources_in, walk
from helios.signals.pattern import Pattern

_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|",
    "gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!=",
}  # fmt: skip
_BAR_FIELDS = ("open", "high", "low", "close", "volume")
#: Nodes that a picture shows at most: beyond that nobody can read it.
_DRAWN_MAX = 400
#: Names that a line shows at most of many alike.
_NAMED_MAX = 6

#: What makes a node fire: a kind of event, and whose. ("trade", "KO"), ("change", "#7").
Cause = tuple[str, str]


@dataclass(frozen=True)
class WarmUp:
    """What must have been seen until a node is warm, at most: samples, by what they are samples of, and time."""

    samples: Mapping[tuple[Cause, ...], int] = field(default_factory=dict)
    ns: int = 0

    def __or__(self, other: WarmUp) -> WarmUp:
        """Until both are warm."""
        if self is other or not (other.samples or other.ns):
            return self
        if not (self.samples or self.ns):
            return other
        keys = [*self.samples, *(key for key in other.samples if key not in self.samples)]
        most = {key: max(self.samples.get(key, 0), other.samples.get(key, 0)) for key in keys}
        return WarmUp(most, max(self.ns, other.ns))

    def then(self, causes: tuple[Cause, ...], samples: int = 0, ns: int = 0) -> WarmUp:
        """After this, so many samples (the one that makes it warm is the first of them), or so much time."""
        more = dict(self.samples)
        if samples > 1:
            more[causes] = max(more.get(causes, 0) - 1, 0) + samples
        return WarmUp(more, self.ns + ns)

    def parts(self) -> list[tuple[int, str]]:
        """How many samples of what; those that differ only in whose they are together."""
        alike: dict[tuple[int, str], list[str]] = {}
        parts: dict[tuple[int, str], str] = {}
        for causes, n in self.samples.items():
            if len(causes) == 1:
                kind, who = causes[0]
                alike.setdefault((n, kind), []).append(who)
                parts.setdefault((n, kind), "")  # keeps its place
            else:
                parts[n, causes_text(causes)] = causes_text(causes)
        for (n, kind), whose in alike.items():
            parts[n, kind] = f"{kind} of {'each of ' * (len(whose) > 1)}{_listed(sorted(whose))}"
        return [(n, text) for (n, _), text in parts.items()]

    def __str__(self) -> str:
        return " and ".join([span_text(self.ns)] * (self.ns > 0) + [f"{n:,} x {text}" for n, text in self.parts()])


@dataclass(frozen=True)
class Told:
    """One node: the expression that is first to have it, its inputs by number, and what is known of it."""

    number: int
    expr: Expr
    inputs: list[int]
    label: str
    fires: tuple[Cause, ...]
    warm_up: WarmUp

    @property
    def name(self) -> str:
        """How others speak of it."""
        return self.label if self.expr.op == "constant" else f"#{self.number}"

    @property
    def fires_text(self) -> str:
        """What makes it fire, in words."""
        if self.expr.op == "constant":
            return "never"
        return causes_text(self.fires) or "with what looks at it"


class Explained:
    """The nodes of expressions, in the order of the core."""

    def __init__(self, roots: Iterable[Expr]) -> None:
        exprs = list(roots)
        self._numbering = _numbering(exprs)
        for root in exprs:
            self._numbering.number_of(root)
        first: dict[int, Expr] = {}
        for expr in walk(exprs):
            first.setdefault(self._numbering.number_of(expr), expr)
        self.nodes: list[Told] = []
        for number, node in enumerate(self._numbering.nodes):
            expr, inputs = first[number], [self.nodes[x] for x in node[1]]
            fires = _fires(number, expr, inputs)
            self.nodes.append(Told(number, expr, node[1], _label(expr, inputs), fires, _warm_up(expr, inputs, fires)))

    def node(self, root: Expr) -> Told:
        """The node of one of the roots, or of what they are made of."""
        return self.nodes[self._numbering.number_of(root)]

    def lines(self, names: Mapping[int, Sequence[str]] | None = None) -> list[str]:
        """One line a node: number, what it is, unit, what makes it fire, its warm-up, its names.

        A constant stands where it is used, and has no line.
        """
        names, rows = names or {}, []
        for told in self.nodes:
            if told.expr.op == "constant" and told.number not in names:
                continue
            unit = "" if told.expr.unit is None or str(told.expr.unit) == "no unit" else str(told.expr.unit)
            warm = str(told.warm_up)
            outs = [name for name in names.get(told.number, []) if name]
            rows.append(
                [
                    f"#{told.number}", told.label, unit, told.fires_text, f"warm-up {warm}" if warm else "",
                    "-> " + ", ".join(outs) if outs else "",
                ]
            )  # fmt: skip
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(6)]
        used = [column for column, width in enumerate(widths) if width]
        return ["  ".join(row[column].ljust(widths[column]) for column in used).rstrip() for row in rows]


def _numbering(roots: Sequence[Expr]) -> Numbering:
    ids: dict[str, int] = {}
    series: dict[str, int] = {}
    for source in sources_in(roots):
        if source.symbol is not None:
            ids.setdefault(source.symbol, len(ids))
        if source.series is not None:
            series.setdefault(source.series, len(series))
    return Numbering(ids, series)


def explain(outputs: Mapping[str, Expr]) -> str:
    """One line a node: its number, what it is, its unit, what makes it fire, its warm-up, and its name as an output."""
    explained = Explained(outputs.values())
    return "\n".join(explained.lines(_names(explained, outputs)))


def _names(explained: Explained, outputs: Mapping[str, Expr]) -> dict[int, list[str]]:
    names: dict[int, list[str]] = {}
    for name, root in outputs.items():
        names.setdefault(explained.node(root).number, []).append(name)
    return names


# --- What a node is ------------------------------------------------------------------------------------------------


def _label(expr: Expr, inputs: Sequence[Told]) -> str:
    """What a node is, with its inputs by number; numbers as they are, not rounded."""
    op, _, detail = expr.op.partition(":")
    x = [one.name for one in inputs]
    ints, floats = expr.ints, expr.floats
    match op:
        case "constant":
            return number_text(floats[0])
        case "source" | "series" | "local_time":
            return expr.text
        case "session":
            return f"{expr.text}: {len(ints) // 2:,} from {_day(ints[0])} to {_day(ints[-1])}"
        case "unary":
            return {"neg": f"-{x[0]}", "not": f"~{x[0]}"}.get(detail, f"{detail}({x[0]})")
        case "binary":
            return _binary(detail, x)
        case "when":
            return f"{x[0]} when {x[1]} fires"
        case "together":
            return f"{x[0]} when {x[1]} is of the same moment"
        case "lag":
            return f"{x[0]}, {span_text(ints[0]) if detail == 'time' else _samples(ints[0])} ago"
        case "window":
            return f"window of {x[0]}: {_window(expr, detail, x)}"
        case "pairs":
            return f"window of ({x[0]}, {x[1]}): {_window(expr, detail, x)}"
        case "read":
            return _read(expr, inputs[0])
        case "hysteresis":
            return f"hysteresis({x[0]}, enter={number_text(floats[0])}, exit={number_text(floats[1])})"
        case "cooldown" | "debounce":
            return f"{op}({x[0]}, {span_text(ints[0])})"
        case "latch":
            return f"latch({x[0]}, reset={x[1]})"
        case "kalman":
            return f"kalman({x[0]} on {x[1]}, drift={number_text(floats[0])}, noise={number_text(floats[1])})"
        case "bars":
            return f"bars of {x[0]} with size {x[1]}, every {_bar_length(expr)}"
        case "cross":
            return f"cross({_listed(x)}), when {ints[0]:,} of {len(x):,} fire at one moment"
        case "occurrences":
            return f"occurrences({x[0]}, within {span_text(ints[0])}{', heartbeat ' + x[1] if x[1:] else ''})"
        case "pattern" if isinstance(expr, Pattern):
            return expr.told(x)
    return f"{expr.op}({', '.join(x)})"


def _binary(name: str, x: Sequence[str]) -> str:
    if name == "coalesce":
        return f"{x[0]}, or {x[1]} where it is null"
    return f"{name}({x[0]}, {x[1]})" if name in ("min", "max") else f"{x[0]} {_SIGNS[name]} {x[1]}"


def _window(expr: Expr, detail: str, x: Sequence[str]) -> str:
    kind, (span, least) = detail.partition(":")[0], expr.ints
    if kind == "all":
        key = x[1:] if expr.op.startswith("window") else x[2:]
        told = f"since {key[0]} changed" if key else "since the beginning"
    elif kind == "ewm_count":
        told = f"exponential, half-life {_halflife(expr.floats[0])}"
    else:
        told = {
            "count": f"last {_samples(span)}",
            "time": f"last {span_text(span)}",
            "ewm_time": f"exponential, half-life {span_text(span)}",
        }[kind]
    own = {"all": 1, "ewm_count": ewm_full_from(expr.floats[0]) if expr.floats else 0}.get(kind, 0)
    return told if least in (0, own) else f"{told}, from {_samples(least)} on"


def _halflife(keep: float) -> str:
    """Samples; as short as the very same weight allows."""
    samples = math.log(0.5) / math.log(keep)
    for digits in range(1, 17):
        if 2.0 ** (-1.0 / float(f"{samples:.{digits}g}")) == keep:
            return _samples(float(f"{samples:.{digits}g}"))
    return f"{_samples(samples)} (a sample weighs {keep!r} of the next)"


def _bar_length(expr: Expr) -> str:
    kind = expr.op.partition(":")[2]
    if kind == "time":
        return span_text(expr.ints[0])
    return _samples(expr.ints[0]) if kind == "ticks" else f"{number_text(expr.floats[0])} of {kind}"


def _read(expr: Expr, of: Told) -> str:
    stat = expr.op.partition(":")[2]
    if of.expr.op == "cross":
        top = f"is among the {expr.ints[1]} greatest" if stat == "top" else stat.removeprefix("cross_")
        member = f"#{of.inputs[expr.ints[0]]}"
        return f"{member} {top} of #{of.number}" if stat == "top" else f"{top} of {member} in #{of.number}"
    given = "".join(f" {number_text(value)}" for value in expr.floats)
    return f"{stat}{given} of #{of.number}"


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _NAMED_MAX:
        return ", ".join(names)
    return f"{', '.join(names[: _NAMED_MAX - 2])}, … {names[-1]} ({len(names)} in all)"


def _samples(n: float) -> str:
    return "1 sample" if n == 1 else f"{number_text(n)} samples"


def _day(ns: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).date().isoformat()


def number_text(value: float) -> str:
    """All digits that a number needs, and no more."""
    return repr(value).removesuffix(".0")


# --- When it fires, and when it has a value ------------------------------------------------------------------------


def _fires(number: int, expr: Expr, inputs: Sequence[Told]) -> tuple[Cause, ...]:
    """As `Node::firing` of the core has it; nothing for constants and for the time alone."""
    op = expr.op.partition(":")[0]
    if op in ("source", "series"):
        return (_event(expr),)
    own = {"hysteresis": "change", "latch": "change", "changes": "change", "pattern": "match", "bars": "end of a bar"}
    if op in own:
        return ((own[op], f"#{number}"),)
    if op == "occurrences":
        return (("occurrence or change", f"#{number}"),)
    if op == "cross" and expr.ints[0] > 0:
        return (("quorum", f"#{number}"),)
    if op == "together":
        (kind, who), (other, whose) = sorted(one.fires[0] for one in inputs)
        return ((kind, f"{who} with {other} of {whose}"),)
    firing = {"window": inputs[:1], "pairs": inputs[:2], "when": inputs[1:]}.get(op, inputs)
    if len(firing) == 1:
        return firing[0].fires
    causes = {cause for one in firing for cause in one.fires}
    return tuple(sorted(causes, key=lambda cause: (cause[0], len(cause[1]) * (cause[1][0] == "#"), cause[1])))


def _event(expr: Expr) -> Cause:
    """What makes a source fire. A quote is one, or a change of a best level; a book is a change of any level."""
    if expr.series is not None:
        return ("value", expr.text)
    name = expr.op.partition(":")[2]
    kind = "book" if name.endswith(("_at", "_depth")) else "quote"
    kind = "trade" if name in ("last", "last_size", "flow") else "bar" if name in _BAR_FIELDS else kind
    return (kind, str(expr.symbol))


def causes_texts(causes: Iterable[Cause]) -> list[str]:
    """In words, one for each kind: "quote of KO, PEP", "trade of KO"."""
    kinds: dict[str, list[str]] = {}
    for kind, who in causes:
        kinds.setdefault(kind, []).append(who)
    return [f"{kind} of {_listed(whose)}" for kind, whose in kinds.items()]


def causes_text(causes: Iterable[Cause]) -> str:
    """In words: "quote of KO, PEP or trade of KO"."""
    return " or ".join(causes_texts(causes))


def _warm_up(expr: Expr, inputs: Sequence[Told], fires: tuple[Cause, ...]) -> WarmUp:
    op, _, detail = expr.op.partition(":")
    before = WarmUp()
    # What only says when to look need not have a value.
    for one in inputs[:1] if op == "when" else inputs:
        before |= one.warm_up
    if op in ("window", "pairs"):
        kind, (span, least) = detail.partition(":")[0], expr.ints
        if least or kind in ("count", "all"):
            return before.then(fires, least or (span if kind == "count" else 1))
        return before.then(fires, ns=3 * span if kind == "ewm_time" else span)
    if op == "lag":
        return before.then(fires, ns=expr.ints[0]) if detail == "time" else before.then(fires, expr.ints[0] + 1)
    if op == "elapsed":
        return before.then(fires, 2)
    if op == "kalman":
        return before.then(fires, expr.ints[0] + 1)
    if op == "bars":
        return before | WarmUp({fires: 1})
    return before


# --- Picture -------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 230, 34, 46, 14, 12
_BLUE, _AMBER, _GREEN = "#dbeafe", "#fef3c7", "#dcfce7"
_COLOURS = {"source": _BLUE, "series": _BLUE, "constant": "#f3f4f6", "session": _AMBER, "local_time": _AMBER}


def svg(outputs: Mapping[str, Expr]) -> str:
    """The graph from left to right: what it reads, what is made of it, and the outputs' names."""
    explained = Explained(outputs.values())
    nodes, names = explained.nodes, _names(explained, outputs)
    if len(nodes) > _DRAWN_MAX:
        text = f"{len(nodes)} nodes: too many to draw, explain() lists them"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="520" height="40"><text x="10" y="25">{text}</text></svg>'
        )
    depth: list[int] = []
    for told in nodes:
        depth.append(1 + max((depth[x] for x in told.inputs), default=-1))
    places = _places(nodes, depth)
    width = (max(depth) + 1) * (_WIDTH + _GAP_X) - _GAP_X + 2 * _MARGIN
    height = max(y for _, y in places) + _HEIGHT + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'style="background:#ffffff" font-family="ui-monospace, monospace" font-size="11">'
    ]
    for told in nodes:
        x1, y1 = places[told.number][0], places[told.number][1] + _HEIGHT // 2
        for other in told.inputs:
            x0, y0 = places[other][0] + _WIDTH, places[other][1] + _HEIGHT // 2
            bend = (x1 - x0) // 2
            path = f"M{x0} {y0} C{x0 + bend} {y0} {x1 - bend} {y1} {x1} {y1}"
            parts.append(f'<path d="{path}" fill="none" stroke="#9ca3af"/>')
    for told in nodes:
        parts += _box(told, names.get(told.number, []), places[told.number])
    return "".join([*parts, "</svg>"])


def _places(nodes: Sequence[Told], depth: Sequence[int]) -> list[tuple[int, int]]:
    """Left upper corners: columns by depth, rows near the middle of what a node is made of."""
    rows: list[float] = [0.0] * len(nodes)
    for layer in range(max(depth) + 1):
        members = [number for number in range(len(nodes)) if depth[number] == layer]
        wanted = {n: sum(rows[x] for x in nodes[n].inputs) / max(len(nodes[n].inputs), 1) for n in members}
        free = 0.0
        for number in sorted(members, key=lambda n: (wanted[n], n)):
            rows[number] = max(free, wanted[number])
            free = rows[number] + 1
    step = _HEIGHT + _GAP_Y
    return [
        (_MARGIN + level * (_WIDTH + _GAP_X), _MARGIN + round(row * step))
        for level, row in zip(depth, rows, strict=True)
    ]


def _box(told: Told, names: Sequence[str], place: tuple[int, int]) -> list[str]:
    x, y = place
    named = [name for name in names if name]
    fill = _GREEN if names else _COLOURS.get(told.expr.op.partition(":")[0], "#ffffff")
    shown = f"#{told.number} {told.label}"
    shown = shown if len(shown) <= 34 else shown[:33] + "…"
    lines = [(shown, y + (14 if named else 21))]
    if named:
        text = ", ".join(named)
        lines.append((text if len(text) <= 34 else text[:33] + "…", y + 28))
    rect = f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{fill}" stroke="#6b7280"/>'
    parts = [f"<g><title>{escape(told.label)}</title>", rect]
    for line, at in lines:
        weight = ' font-weight="bold"' if at == y + 28 else ""
        parts.append(f'<text x="{x + 8}" y="{at}"{weight}>{escape(line)}</text>')
    return [*parts, "</g>"]
