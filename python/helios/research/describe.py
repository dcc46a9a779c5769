"""What a strategy is, without ambiguity: instruments, parameters, signals, sizing, limits, what acts when.

The signals are the nodes that the core gets, in its order, each once. Two definitions with the same `sha256` do the
same on the same data, callbacks aside: of those only the names are known. Warm-up is an upper bound, from the windows
along the longest way; a sample of an expression is one of its firings. Absent: the data and the venue of a run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from helios.errors import ArgumentError
from helios.research.backtest import Wish, declared, flatten, strictest
from helios.risk import Limits
from helios.scales import CASH_SCALE, QUANTITY_SCALE
from helios.signals import Record, Strategy, Target, compile_graph
from helios.signals.compiling import CompiledMethod
from helios.signals.graph import Node, symbols_of
from helios.signals.parameters import default_of, own_constructor, parameter_types, type_name
from helios.signals.strategy import called, outputs_of

_SIGNS: Final = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_FEEDS: Final = {
    "book": ("mid", "bid", "ask", "bid_size", "ask_size"),
    "trade": ("last", "last_size"),
    "bar": ("open", "high", "low", "close", "volume"),
}
_FEED: Final = {name: feed for feed, names in _FEEDS.items() for name in names}


@dataclass(frozen=True)
class Definition:
    """A description as data (`as_dict`) and as text (`str`)."""

    content: dict[str, Any]

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
    graph = compile_graph(outputs, {symbol: number for number, symbol in enumerate(symbols)})
    signals = _Signals(graph.nodes, symbols)
    groups = [_of_class(one, signals, graph.strategies, graph.signals) for one in strategies]
    groups += _of_loose(wishes, groups, signals, graph.strategies, graph.signals)
    everything = any(_reads_all(one) for one in strategies)
    content = {
        "format": 1,
        "name": name or " and ".join(group["name"] or "records" for group in groups[:3]),
        "instruments": "all of the data" if everything else symbols,
        "strategies": groups,
        "nodes": signals.rows(),
        "limits": _limits(strictest(limits or Limits(), strategies)),
    }
    return Definition(content)


def _reads_all(strategy: Strategy) -> bool:
    return not strategy.universe and not outputs_of(strategy)


class _Signals:
    """The nodes of a graph: their texts, what makes them fire, their warm-up."""

    def __init__(self, nodes: list[Node], symbols: list[str]) -> None:
        self.nodes, self.symbols = nodes, symbols
        #: Names of the nodes that are no outputs: n1, n2, …
        self.names: dict[int, str] = {}
        for number, (op, *_) in enumerate(nodes):
            if not _is_output(op):
                self.names[number] = f"n{len(self.names) + 1}"
        self.fires: list[list[str]] = []
        self.warm: list[tuple[int, int]] = []
        for number in range(len(nodes)):
            self.fires.append(self._fires(number))
            self.warm.append(self._warm(number))

    def rows(self) -> list[dict[str, Any]]:
        """One row a node."""
        return [
            {"node": name, "op": self.nodes[number][0], "text": self.text(number), "fires": self.fires[number]}
            for number, name in self.names.items()
        ]

    def text(self, number: int) -> str:
        """A node as people write it, its inputs by their names."""
        op, inputs, ints, floats = self.nodes[number]
        kind, _, detail = op.partition(":")
        x = [self.names[one] for one in inputs]
        if kind == "source":
            return f"{detail}({self.symbols[ints[0]]!r}{''.join(f', {value}' for value in ints[1:])})"
        if kind == "constant":
            return _number(floats[0])
        if op == "unary:neg":
            return f"-{x[0]}"
        if kind == "binary" and detail in _SIGNS:
            return f"{x[0]} {_SIGNS[detail]} {x[1]}"
        if kind == "window":
            span = _length(ints[0]) if detail.endswith("time") else _number([*ints, *floats][0])
            return f"{x[0]}.{'ewm' if 'ewm' in detail else 'rolling'}({span})"
        if kind == "moment":
            return f"{x[0]}.{detail}()"
        if kind == "hysteresis":
            return f"{x[0]}.hysteresis(enter={_number(floats[0])}, exit={_number(floats[1])})"
        if kind == "together":
            return f"{x[0]}, when {x[1]} fires at the same moment"
        return f"{detail or kind}({', '.join([*x, *map(str, ints), *map(_number, floats)])})"

    def _fires(self, number: int) -> list[str]:
        op, inputs, ints, _ = self.nodes[number]
        kind, _, detail = op.partition(":")
        if kind == "source":
            return [f"{_FEED.get(detail, detail)} of {self.symbols[ints[0]]}"]
        if kind == "together":
            return [" with ".join(sorted({cause for one in inputs for cause in self.fires[one]}))]
        if kind == "hysteresis":
            return [f"change of {self.names[number]}"]
        if kind == "record":
            inputs = inputs[:1]  # what is kept beside does not make it act
        return list(dict.fromkeys(cause for one in inputs for cause in self.fires[one]))

    def _warm(self, number: int) -> tuple[int, int]:
        """Samples and nanoseconds, at most."""
        op, inputs, ints, floats = self.nodes[number]
        samples = max((self.warm[one][0] for one in inputs), default=0)
        ns = max((self.warm[one][1] for one in inputs), default=0)
        if op == "window:count":
            samples = max(samples - 1, 0) + ints[0]
        elif op == "window:ewm_count":
            samples = max(samples - 1, 0) + math.ceil(3 * floats[0])
        elif op == "window:time":
            ns += ints[0]
        elif op == "window:ewm_time":
            ns += 3 * ints[0]
        return samples, ns


def _is_output(op: str) -> bool:
    return op == "record" or op.startswith("target:")


def _outputs(signals: _Signals, strategies: list[str], records: list[str]) -> Iterable[tuple[str, str, dict[str, Any]]]:
    """Kind, strategy or name, and row of every output."""
    for number, (op, inputs, ints, _) in enumerate(signals.nodes):
        if not _is_output(op):
            continue
        samples, ns = signals.warm[number]
        row: dict[str, Any] = {"value": signals.names[inputs[0]]}
        acts = {"acts_on": signals.fires[number], "warm_up": {"samples": samples, "ns": ns}}
        if op == "record":
            yield (
                "records",
                records[ints[0]],
                {"name": records[ints[0]], **row, "beside": signals.names[inputs[1]], **acts},
            )
        else:
            unit = op.partition(":")[2]
            scale = QUANTITY_SCALE if unit == "quantity" else CASH_SCALE
            who = strategies[ints[0]]
            yield (
                "targets",
                who,
                {"symbol": signals.symbols[ints[1]], **row, unit: ints[2] / scale, "strategy": who, **acts},
            )


def _of_class(one: Strategy, signals: _Signals, strategies: list[str], records: list[str]) -> dict[str, Any]:
    cls = type(one)
    types = parameter_types(cls)
    parameters = {
        name: {"value": _plain(value), "type": type_name(types.get(name, type(value)))}
        | ({} if own_constructor(cls) or not hasattr(cls, name) else {"default": _plain(default_of(cls, name))})
        for name, value in one.params.items()
    }
    mine: dict[str, list[dict[str, Any]]] = {"targets": [], "records": []}
    for kind, who, row in _outputs(signals, strategies, records):
        if who == one.name or who.startswith(f"{one.name}/"):
            mine[kind].append(row)
    return {
        "name": one.name,
        "class": cls.__name__,
        "instruments": "all of the data" if _reads_all(one) else sorted({*one.universe, *symbols_of(outputs_of(one))}),
        "parameters": parameters,
        "sizing": None if one.sizing is None else repr(one.sizing),
        "limits": {} if not isinstance(one.limits, Limits) else _limits(one.limits),
        **mine,
        "calls": list(called(one)),
        "compiled": [name for name in called(one) if isinstance(getattr(cls, name), CompiledMethod)],
        "timer": None if one.timer is None else str(one.timer),
    }


def _of_loose(
    wishes: list[Wish], groups: list[dict[str, Any]], signals: _Signals, strategies: list[str], records: list[str]
) -> list[dict[str, Any]]:
    """Targets and records that were given as they are: a group for each name of a strategy."""
    loose = {
        wish.name if isinstance(wish, Record) else wish.strategy for wish in wishes if isinstance(wish, Target | Record)
    }
    named = {wish.strategy for wish in wishes if isinstance(wish, Target)}
    found: dict[str, dict[str, Any]] = {}
    taken = {row["name"] for group in groups for row in group["records"]}
    for kind, who, row in _outputs(signals, strategies, records):
        if who not in loose or (kind == "records" and who in taken) or (kind == "targets" and who not in named):
            continue
        key = who if who in named else ""
        group = found.setdefault(key, {"name": key, "class": None, "targets": [], "records": []})
        group[kind].append(row)
    return list(found.values())


def _limits(limits: Limits) -> dict[str, float]:
    return {name: getattr(limits, name) for name, _ in limits.rows()}


def _plain(value: Any) -> Any:
    """For JSON: what it has no type for, as text."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, bool | int | float | str | None) else repr(value)


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")


def _amount(value: float) -> str:
    return f"{value:,.12g}"


def _length(ns: int) -> str:
    """As people write it: 90000000000 is "90s", 600000000000 "10m"."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if ns % (size * 1_000_000_000) == 0:
            return f"{ns // (size * 1_000_000_000)}{unit}"
    for unit, size in (("ms", 1_000_000), ("us", 1_000)):
        if ns % size == 0:
            return f"{ns // size}{unit}"
    return f"{ns}ns"


# Text ---------------------------------------------------------------------------------------------------------------


def _text(definition: Definition) -> Iterable[str]:
    content = definition.content
    yield f"definition of {content['name']}"
    yield f"sha256 {definition.sha256}"
    yield f"instruments {_names(content['instruments'])}"
    for group in content["strategies"]:
        yield ""
        yield from _text_of_group(group)
    if content["nodes"]:
        width = max(len(row["node"]) for row in content["nodes"])
        yield ""
        yield "signals: each node once, inputs first; computed when one of its inputs fires; null in, null out"
        for row in content["nodes"]:
            yield f"  {row['node']:<{width}}  {row['text']}"
    yield ""
    if content["limits"]:
        yield "limits of the account: the strictest of the run's and the strategies'"
        yield from _columns("  ", [(rule, _amount(value)) for rule, value in content["limits"].items()])
    else:
        yield "limits of the account: none"


def _text_of_group(group: dict[str, Any]) -> Iterable[str]:
    if group["class"] is not None:
        yield f"strategy {group['name']} (class {group['class']})"
        yield f"  instruments  {_names(group['instruments'])}"
        yield from _part("parameters", _parameters(group["parameters"]))
        yield f"  sizing       {group['sizing'] or 'in the targets'}"
        yield from _part("limits", [(rule, _amount(value)) for rule, value in group["limits"].items()])
    else:
        yield f"strategy {group['name']}" if group["name"] else "records of no strategy"
    yield from _part("targets", [_target(row, group["name"]) for row in group["targets"]])
    yield from _part(
        "records", [(row["name"], f"{row['value']} beside {row['beside']}", *_acts(row)) for row in group["records"]]
    )
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


def _acts(row: dict[str, Any]) -> tuple[str, str]:
    samples, ns = row["warm_up"]["samples"], row["warm_up"]["ns"]
    parts = [_length(ns)] * (ns > 0) + [f"{samples:,} samples"] * (samples > 0)
    return f"on {' or '.join(row['acts_on']) or 'nothing'}", f"warm-up {' and '.join(parts) or 'none'}"


def _part(heading: str, rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    lines = list(_columns("", rows))
    for number, line in enumerate(lines):
        yield f"  {heading if number == 0 else '':<12} {line}"


def _columns(indent: str, rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width)
        yield (indent + "  ".join(cells)).rstrip()
