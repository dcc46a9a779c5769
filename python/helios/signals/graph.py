"""From expressions to the core's list of nodes: inputs first, equal subexpressions once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from helios.errors import ArgumentError
from helios.scales import CASH_SCALE, QUANTITY_SCALE
from helios.signals.expr import Expr
from helios.signals.outputs import Output, Quote, Record, Target

#: Operation, inputs, integer parameters, float parameters: what the core takes.
Node = tuple[str, list[int], list[int], list[float]]


@dataclass
class Compiled:
    """The core's nodes and the names behind their numbers."""

    nodes: list[Node] = field(default_factory=list)
    strategies: list[str] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    #: Each node's expression as it was written, for what is wrong with it.
    texts: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Compiled({len(self.nodes)} nodes, {len(self.strategies)} strategies, {len(self.signals)} signals)"


def symbols_of(outputs: Iterable[Output]) -> list[str]:
    """Every symbol that the outputs read or trade, in order of first use."""
    found: dict[str, None] = {}
    done: set[int] = set()
    for output in outputs:
        if not isinstance(output, Record):
            found.setdefault(output.symbol)
        for source in sources_in(_made_of(output), done):
            if source.symbol is not None:
                found.setdefault(source.symbol)
    return list(found)


def sources_of(outputs: Iterable[Output]) -> Iterator[Expr]:
    """What the outputs read: mid("KO") and its like, and series from outside the market."""
    return sources_in(root for output in outputs for root in _made_of(output))


def _made_of(output: Output) -> list[Expr]:
    return [output.value, output.input] if isinstance(output, Record) else [output.value]


def walk(roots: Iterable[Expr], done: set[int] | None = None) -> Iterator[Expr]:
    """Every expression that the roots are made of, each once, inputs before what is made of them.

    `done` has the ids of those that another walk has been at, which are passed over, and gets those of this one.
    """
    done = set() if done is None else done
    for root in roots:
        stack = [root]
        while stack:
            expr = stack[-1]
            if id(expr) in done:
                stack.pop()
                continue
            missing = [x for x in expr.inputs if id(x) not in done]
            if missing:
                stack.extend(missing)
                continue
            done.add(id(expr))
            stack.pop()
            yield expr


def sources_in(roots: Iterable[Expr], done: set[int] | None = None) -> Iterator[Expr]:
    """The sources that expressions are made of, each object once; `done` as in `walk`."""
    return (expr for expr in walk(roots, done) if expr.symbol is not None or expr.series is not None)


class Numbering:
    """Gives expressions their nodes; nodes that compute the same are shared."""

    def __init__(self, ids: Mapping[str, int], series: Mapping[str, int]) -> None:
        self.nodes: list[Node] = []
        self.texts: list[str] = []
        self._ids, self._series = ids, series
        self._numbers: dict[int, int] = {}  # id(expr) -> node
        self._walked: set[int] = set()
        self._shared: dict[tuple[object, ...], int] = {}
        self._keep: list[Expr] = []  # ids stay unique while the expressions live

    def number_of(self, root: Expr) -> int:
        """The node of an expression."""
        for expr in walk([root], self._walked):
            self._numbers[id(expr)] = self._add(expr)
            self._keep.append(expr)
        return self._numbers[id(root)]

    def _add(self, expr: Expr) -> int:
        ints = list(expr.ints)
        if expr.symbol is not None:
            ints.insert(0, instrument_of(expr.symbol, expr.text, self._ids))
        if expr.series is not None:
            ints.insert(0, _series_of(expr.series, expr.text, self._series))
        inputs = [self._numbers[id(x)] for x in expr.inputs]
        floats = list(expr.floats)
        key = (expr.op, tuple(inputs), tuple(ints), tuple(floats))
        number = self._shared.get(key)
        if number is None:
            number = self._shared[key] = len(self.nodes)
            self.nodes.append((expr.op, inputs, ints, floats))
            self.texts.append(expr.text)
        return number


def compile_graph(
    outputs: Iterable[Output], ids: Mapping[str, int], series: Mapping[str, int] | None = None
) -> Compiled:
    """Numbers the nodes, inputs before users.

    `ids` are the run's instruments, `series` its series from outside the market. Raises ArgumentError for a symbol or a
    name that is not one of them, naming the expression.
    """
    numbering = Numbering(ids, series or {})
    compiled = Compiled(numbering.nodes, texts=numbering.texts)
    strategies: dict[str, int] = {}
    aimed: set[tuple[int, int]] = set()
    quoted: set[tuple[int, int, str]] = set()
    for output in outputs:
        if isinstance(output, Target):
            strategy = strategies.setdefault(output.strategy, len(strategies))
            instrument = instrument_of(output.symbol, f"target({output.symbol!r}, {output.value!r})", ids)
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
            value = numbering.number_of(output.value)
            compiled.nodes.append((kind, [value], [strategy, instrument, unit], []))
            compiled.texts.append(f"target({output.symbol!r}, {output.value!r})")
        elif isinstance(output, Quote):
            strategy = strategies.setdefault(output.strategy, len(strategies))
            text = f"quote({output.symbol!r}, {output.side}={output.value!r})"
            instrument = instrument_of(output.symbol, text, ids)
            units = [round(quantity * QUANTITY_SCALE) for quantity in (output.size, output.limit)]
            if max(units) >= 2**63:
                raise ArgumentError(f"{text}: size or limit is too large")
            if (strategy, instrument, output.side) in quoted:
                raise ArgumentError(f"strategy {output.strategy!r} quotes {output.side} of {output.symbol!r} twice")
            quoted.add((strategy, instrument, output.side))
            value = numbering.number_of(output.value)
            compiled.nodes.append(
                (f"quote:{output.side}", [value], [strategy, instrument, *units, output.every_ns], [])
            )
            compiled.texts.append(text)
        else:
            if output.name in compiled.signals:
                raise ArgumentError(f"two records are named {output.name!r}: names tell their values apart")
            value, beside = numbering.number_of(output.value), numbering.number_of(output.input)
            compiled.nodes.append(("record", [value, beside], [len(compiled.signals)], []))
            compiled.texts.append(f"record({output.name!r}, {output.value!r})")
            compiled.signals.append(output.name)
    compiled.strategies = list(strategies)
    return compiled


def instrument_of(symbol: str, expression: str, ids: Mapping[str, int]) -> int:
    """The number of a symbol; ArgumentError names the expression and near symbols."""
    if symbol in ids:
        return ids[symbol]
    raise ArgumentError(f"{expression}: no data for {symbol!r} in this run{near(symbol, ids)}")


def _series_of(name: str, expression: str, series: Mapping[str, int]) -> int:
    if name in series:
        return series[name]
    raise ArgumentError(f"{expression}: no data has a column {name!r} for it{near(name, series)}")


def near(name: str, known: Iterable[str]) -> str:
    """A hint at what may have been meant."""
    found = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; near ones: {', '.join(found)}" if found else ""
