"""What a strategy is, without ambiguity: instruments, parameters, signals, sizing, limits, what acts when.

The signals are the nodes that the core gets, in its order, each once (helios.signals.explain). Two definitions with the
same `sha256` do the same on the same data, callbacks aside: of those only the names are known. Absent: the data and the
venue of a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, Final

from helios.errors import ArgumentError
from helios.research.backtest import Wish, declared, flatten, strictest
from helios.risk import Limits
from helios.scales import CASH_SCALE, QUANTITY_SCALE
from helios.signals import Expr, Output, Quote, Record, Strategy, Target, compile_graph
from helios.signals.compiling import CompiledMethod
from helios.signals.explain import Explained, Told, causes_texts
from helios.signals.graph import sources_of, symbols_of
from helios.signals.parameters import default_of, own_constructor, parameter_types, type_name
from helios.signals.strategy import called, outputs_of

#: Numbers of a node (the hours of a calendar) that are written out; of more, the digest.
_WRITTEN_MAX: Final = 64


@dataclass(frozen=True)
class Definition:
    """A description as data (`as_dict`) and as text (`str`)."""

    content: dict[str, Any]
    #: The nodes, a line each.
    signals: tuple[str, ...]

    @cached_property
    def sha256(self) -> str:
        """Digest of the content: equal for equal definitions."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.content, "sha256": self.sha256}

    def __str__(self) -> str:
        return "\n".join(_text(self))


def describe(strategy: Wish | Iterable[Any], *, limits: Limits | None = None, name: str | None = None) -> Definition:
    """The definition of a strategy, or of several, targets and records among them; `limits` are the run's."""
    wishes = list(flatten(strategy))
    if not wishes:
        raise ArgumentError("there is nothing to describe: give a Strategy, targets or records")
    outputs, strategies = declared(wishes)
    symbols = sorted({*symbols_of(outputs), *(symbol for one in strategies for symbol in one.universe)})
    series = dict.fromkeys(source.series for source in sources_of(outputs) if source.series is not None)
    # For its errors: what cannot be compiled cannot be described.
    compile_graph(outputs, _numbered(symbols), _numbered(series))
    signals = Explained(_roots(outputs))
    groups = [_of_class(one, signals) for one in strategies]
    groups += _of_loose(wishes, signals)
    everything = any(_reads_all(one) for one in strategies)
    content = {
        "format": 2,
        "name": name or " and ".join(group["name"] or "records" for group in groups[:3]),
        "instruments": "all of the data" if everything else symbols,
        "series": list(series),
        "strategies": groups,
        "nodes": [_node(told) for told in signals.nodes],
        "limits": _limits(strictest(limits or Limits(), strategies)),
    }
    return Definition(content, tuple(signals.lines()))


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _roots(outputs: Iterable[Output]) -> list[Expr]:
    return [x for one in outputs for x in ((one.value, one.input) if isinstance(one, Record) else (one.value,))]


def _reads_all(strategy: Strategy) -> bool:
    return not strategy.universe and not outputs_of(strategy)


def _node(told: Told) -> dict[str, Any]:
    """All that the core gets of a node, and what is known of it."""
    expr = told.expr
    source = {key: value for key, value in (("symbol", expr.symbol), ("series", expr.series)) if value is not None}
    return {
        "node": f"#{told.number}",
        "op": expr.op,
        "inputs": [f"#{number}" for number in told.inputs],
        **source,
        "ints": _written(expr.ints),
        "floats": list(expr.floats),
        "unit": None if expr.unit is None else str(expr.unit),
        "text": told.label,
        "fires": causes_texts(told.fires),
        "warm_up": _warm_up(told),
    }


def _written(ints: Sequence[int]) -> list[int] | dict[str, Any]:
    if len(ints) <= _WRITTEN_MAX:
        return list(ints)
    return {"count": len(ints), "sha256": hashlib.sha256(json.dumps(ints).encode()).hexdigest()}


def _warm_up(told: Told) -> dict[str, Any]:
    warm = told.warm_up
    return {"samples": [{"samples": n, "of": text} for n, text in warm.parts()], "ns": warm.ns, "text": str(warm)}


def _acting(value: Expr, signals: Explained) -> dict[str, Any]:
    """An output's value, when it acts, and from when on."""
    told = signals.node(value)
    return {
        "value": f"#{told.number}", "formula": value.text, "acts_on": causes_texts(told.fires),
        "acts": told.fires_text, "warm_up": _warm_up(told),
    }  # fmt: skip


def _kept(value: float | None, scale: int) -> float | None:
    """As the core keeps it."""
    return None if value is None else round(value * scale) / scale


def _outputs(outputs: Iterable[Output], signals: Explained) -> dict[str, list[dict[str, Any]]]:
    """Rows of the targets and of the records."""
    rows: dict[str, list[dict[str, Any]]] = {"targets": [], "quotes": [], "records": []}
    for one in outputs:
        acting = _acting(one.value, signals)
        if isinstance(one, Target):
            size = {"quantity": _kept(one.quantity, QUANTITY_SCALE), "notional": _kept(one.notional, CASH_SCALE)}
            size = {name: value for name, value in size.items() if value is not None}
            rows["targets"].append({"symbol": one.symbol, **acting, **size, "strategy": one.strategy})
        elif isinstance(one, Quote):
            terms = {name: _kept(getattr(one, name), QUANTITY_SCALE) for name in ("size", "limit")}
            more = {"side": one.side, **terms, "every_ns": one.every_ns, "strategy": one.strategy}
            rows["quotes"].append({"symbol": one.symbol, **acting, **more})
        else:
            beside = signals.node(one.input)
            more = {"beside": f"#{beside.number}", "beside_formula": one.input.text}
            rows["records"].append({"name": one.name, **acting, **more})
    return rows


def _of_class(one: Strategy, signals: Explained) -> dict[str, Any]:
    cls = type(one)
    types = parameter_types(cls)
    parameters = {
        name: {"value": _plain(value), "type": type_name(types.get(name, type(value)))}
        | ({} if own_constructor(cls) or not hasattr(cls, name) else {"default": _plain(default_of(cls, name))})
        for name, value in one.params.items()
    }
    return {
        "name": one.name,
        "class": cls.__name__,
        "instruments": "all of the data" if _reads_all(one) else sorted({*one.universe, *symbols_of(outputs_of(one))}),
        "parameters": parameters,
        "sizing": None if one.sizing is None else _sizing(one.sizing),
        "limits": {} if not isinstance(one.limits, Limits) else _limits(one.limits),
        **_outputs(outputs_of(one), signals),
        "calls": list(called(one)),
        "compiled": [name for name in called(one) if isinstance(getattr(cls, name), CompiledMethod)],
        "timer": None if one.timer is None else str(one.timer),
    }


def _sizing(sizing: Any) -> str:
    """As it is constructed, without what is not given."""
    if not is_dataclass(sizing):
        return repr(sizing)
    given = {each.name: getattr(sizing, each.name) for each in fields(sizing)}
    told = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
    return f"{type(sizing).__name__}({told})"


def _of_loose(wishes: Iterable[Wish], signals: Explained) -> list[dict[str, Any]]:
    """Targets and records that were given as they are: a group for each name of a strategy."""
    loose = [wish for wish in wishes if isinstance(wish, Target | Quote | Record)]
    named = {wish.strategy for wish in loose if not isinstance(wish, Record)}
    groups: dict[str, list[Output]] = {}
    for wish in loose:
        name = (wish.name if wish.name in named else "") if isinstance(wish, Record) else wish.strategy
        groups.setdefault(name, []).append(wish)
    return [{"name": name, "class": None, **_outputs(mine, signals)} for name, mine in groups.items()]


def _limits(limits: Limits) -> dict[str, float]:
    return {name: getattr(limits, name) for name, _ in limits.rows()}


def _plain(value: Any) -> Any:
    """For JSON: what it has no type for, as text."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, bool | int | float | str | None) else repr(value)


def _amount(value: float) -> str:
    return f"{value:,.12g}"


# Text ---------------------------------------------------------------------------------------------------------------


_HEADING: Final = (
    "signals: each node once, inputs first; null in, null out; what is divided by zero is null",
    "         what makes it fire (quote: a quote, or a change of a best level), and its warm-up at most",
)


def _text(definition: Definition) -> Iterable[str]:
    content = definition.content
    yield f"definition of {content['name']}"
    yield f"sha256 {definition.sha256}"
    yield f"instruments {_names(content['instruments'])}"
    if content["series"]:
        yield f"series {_names(content['series'])}"
    for group in content["strategies"]:
        yield ""
        yield from _text_of_group(group, content["nodes"])
    if definition.signals:
        yield ""
        yield from _HEADING
        yield from (f"  {line}" for line in definition.signals)
    yield ""
    if content["limits"]:
        yield "limits of the account: the strictest of the run's and the strategies'"
        yield from _columns("  ", [(rule, _amount(value)) for rule, value in content["limits"].items()])
    else:
        yield "limits of the account: none"


def _text_of_group(group: dict[str, Any], nodes: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if group["class"] is not None:
        yield f"strategy {group['name']} (class {group['class']})"
        yield f"  instruments  {_names(group['instruments'])}"
        yield from _part("parameters", _parameters(group["parameters"]))
        yield f"  sizing       {group['sizing'] or 'in the targets'}"
        yield from _part("limits", [(rule, _amount(value)) for rule, value in group["limits"].items()])
    else:
        yield f"strategy {group['name']}" if group["name"] else "records of no strategy"
    yield from _part("targets", [_target(row, group["name"]) for row in group["targets"]])
    yield from _part("quotes", [_quote(row, group["name"]) for row in group["quotes"]])
    yield from _part("records", [_record(row) for row in group["records"]])
    rows = [*group["targets"], *group["quotes"], *group["records"]]
    yield from _part("formulas", _formulas(rows, nodes))
    for heading, names in (
        ("calls", [name for name in group.get("calls", ()) if name not in group["compiled"]]),
        ("compiled", group.get("compiled", [])),
    ):
        lines = [(name, str(getattr(Strategy, name).__doc__).partition("\n")[0]) for name in names]
        yield from _part(heading, lines)
    if group.get("timer"):
        yield f"  timer        {group['timer']}"


def _names(symbols: str | list[str]) -> str:
    return symbols if isinstance(symbols, str) else ", ".join(symbols) or "none"


def _parameters(parameters: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    def default(row: dict[str, Any]) -> str:
        changed = "default" in row and row["default"] != row["value"]
        return f"default {json.dumps(row['default'])}" if changed else ""

    return [(name, json.dumps(row["value"]), row["type"], default(row)) for name, row in parameters.items()]


def _target(row: dict[str, Any], group: str) -> tuple[str, ...]:
    size = f"{_amount(row['quantity'])} shares" if "quantity" in row else f"{_amount(row['notional'])} of money"
    whose = "" if row["strategy"] == group else f"as {row['strategy']}"
    return (row["symbol"], f"{row['value']} x {size}", *_acts(row), whose)


def _quote(row: dict[str, Any], group: str) -> tuple[str, ...]:
    every = f", at most every {row['every_ns'] / 1e6:g} ms" if row["every_ns"] else ""
    what = f"{row['side']} {row['value']}, {_amount(row['size'])} shares within {_amount(row['limit'])}{every}"
    whose = "" if row["strategy"] == group else f"as {row['strategy']}"
    return (row["symbol"], what, *_acts(row), whose)


def _record(row: Mapping[str, Any]) -> tuple[str, ...]:
    beside = "" if row["beside"] == row["value"] else f" beside {row['beside']}"
    return (row["name"], row["value"] + beside, *_acts(row))


def _acts(row: Mapping[str, Any]) -> tuple[str, str]:
    return f"on {row['acts']}", f"warm-up {row['warm_up']['text'] or 'none'}"


def _formulas(rows: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What the outputs' nodes are, as it was written; those that are made of others of them, as nodes."""
    found = {row["value"]: row["formula"] for row in rows}
    found |= {row["beside"]: row["beside_formula"] for row in rows if "beside" in row}

    def told(name: str) -> str:
        node = nodes[int(name[1:])]
        return str(node["text"] if node["inputs"] and found.keys() >= set(node["inputs"]) else found[name])

    return [(name, told(name)) for name in found]


def _part(heading: str, rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    lines = list(_columns("", rows))
    for number, line in enumerate(lines):
        yield f"  {heading if number == 0 else '':<12} {line}"


def _columns(indent: str, rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width)
        yield (indent + "  ".join(cells)).rstrip()
