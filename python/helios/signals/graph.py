"""From expressions to the core's list of nodes: inputs first, equal subexpressions once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from helios.errors import ArgumentError
from helios.scales import CASH_SCALE, QUANTITY_SCALE
from helios.signals.expr import Expr, Record, Target

#: Operation, inputs, integer parameters, float parameters: what the core takes.
Node = tuple[str, list[int], list[int], list[float]]


@dataclass
class Graph:
    """A compiled graph and the names behind its numbers."""

    nodes: list[Node] = field(default_factory=list)
    strategies: list[str] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Graph({len(self.nodes)} nodes, {len(self.strategies)} strategies, {len(self.signals)} signals)"


def symbols_of(outputs: Iterable[Target | Record]) -> list[str]:
    """Every symbol that the outputs read or trade, in order of first use."""
    found: dict[str, None] = {}
    for output in outputs:
        if isinstance(output, Target):
            found.setdefault(output.symbol)
        for source in sources_of([output]):
            found.setdefault(str(source.symbol))
    return list(found)


def sources_of(outputs: Iterable[Target | Record]) -> Iterator[Expr]:
    """The sources that the outputs read: mid("KO") and its like."""
    seen: set[int] = set()
    for output in outputs:
        stack = [output.value] if isinstance(output, Target) else [output.value, output.input]
        while stack:
            expr = stack.pop()
            if id(expr) in seen:
                continue
            seen.add(id(expr))
            if expr.symbol is not None:
                yield expr
            stack.extend(expr.inputs)


def compile_graph(outputs: Iterable[Target | Record], ids: Mapping[str, int]) -> Graph:
    """Numbers the nodes, inputs before users; nodes that compute the same are shared.

    `ids` are the run's instruments. Raises ArgumentError for a symbol that is not one of them, naming the expression.
    """
    graph = Graph()
    numbers: dict[int, int] = {}  # id(expr) -> node
    shared: dict[tuple[object, ...], int] = {}
    strategies: dict[str, int] = {}
    aimed: set[tuple[int, int]] = set()
    keep: list[Expr] = []  # ids stay unique while the expressions live

    def add(op: str, inputs: list[int], ints: list[int], floats: list[float]) -> int:
        key = (op, tuple(inputs), tuple(ints), tuple(floats))
        number = shared.get(key)
        if number is None:
            number = shared[key] = len(graph.nodes)
            graph.nodes.append((op, inputs, ints, floats))
        return number

    def number_of(root: Expr) -> int:
        stack = [root]
        while stack:
            expr = stack[-1]
            if id(expr) in numbers:
                stack.pop()
                continue
            missing = [x for x in expr.inputs if id(x) not in numbers]
            if missing:
                stack.extend(missing)
                continue
            ints = list(expr.ints)
            if expr.symbol is not None:
                ints.insert(0, _instrument(expr.symbol, expr.text, ids))
            numbers[id(expr)] = add(expr.op, [numbers[id(x)] for x in expr.inputs], ints, list(expr.floats))
            keep.append(expr)
            stack.pop()
        return numbers[id(root)]

    for output in outputs:
        if isinstance(output, Target):
            strategy = strategies.setdefault(output.strategy, len(strategies))
            instrument = _instrument(output.symbol, f"target({output.symbol!r}, {output.value!r})", ids)
            if output.quantity is not None:
                kind, unit = "target:quantity", round(output.quantity * QUANTITY_SCALE)
            else:
                assert output.notional is not None
                kind, unit = "target:notional", round(output.notional * CASH_SCALE)
            if unit >= 2**63:
                raise ArgumentError(f"target({output.symbol!r}): the quantity or notional is too large")
            if (strategy, instrument) in aimed:
                raise ArgumentError(
                    f"strategy {output.strategy!r} has two targets for {output.symbol!r}: add their expressions, or "
                    "name two strategies"
                )
            aimed.add((strategy, instrument))
            value = number_of(output.value)
            graph.nodes.append((kind, [value], [strategy, instrument, unit], []))
        else:
            if output.name in graph.signals:
                raise ArgumentError(f"two records are named {output.name!r}: names tell their values apart")
            value, source = number_of(output.value), number_of(output.input)
            graph.nodes.append(("record", [value, source], [len(graph.signals)], []))
            graph.signals.append(output.name)
    graph.strategies = list(strategies)
    return graph


def _instrument(symbol: str, expression: str, ids: Mapping[str, int]) -> int:
    if symbol in ids:
        return ids[symbol]
    import difflib

    near = difflib.get_close_matches(symbol, ids, n=3, cutoff=0.5)
    hint = f"; near ones: {', '.join(near)}" if near else ""
    raise ArgumentError(f"{expression}: no data for {symbol!r} in this run{hint}")
