"""Cross-sections: many instruments at one moment, and where each stands among the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from helios.errors import ArgumentError
from helios.signals.expr import MIXED, Expr
from helios.signals.units import NUMBER, Unit


@dataclass(frozen=True)
class Cross:
    """One expression a member. Each method gives one expression a member again, by symbol."""

    members: tuple[str, ...]
    node: Expr
    unit: Unit | None

    def _each(self, stat: str, unit: Unit | None, *ints: int, told: str = "") -> dict[str, Expr]:
        def one(number: int, symbol: str) -> Expr:
            text = f"{self.node.text}.{told or stat + '()'}[{symbol!r}]"
            return Expr(f"read:{stat}", (self.node,), ints=(number, *ints), text=text, unit=unit)

        return {symbol: one(number, symbol) for number, symbol in enumerate(self.members)}

    def rank(self) -> dict[str, Expr]:
        """1 for the least member; equal ones share the mean of their ranks; null for a member that is null."""
        return self._each("rank", NUMBER)

    def zscore(self) -> dict[str, Expr]:
        """(value - mean of all) / standard deviation (n - 1) of all."""
        return self._each("cross_zscore", NUMBER, told="zscore()")

    def demean(self) -> dict[str, Expr]:
        """The value less the mean of all."""
        return self._each("demean", self.unit)

    def top(self, k: int) -> dict[str, Expr]:
        """1 for the k greatest members, else 0; of equal ones those that are named first."""
        if isinstance(k, bool) or not isinstance(k, int) or not 0 < k < len(self.members):
            raise ArgumentError(f"{self.node!r}.top({k!r}): a whole number from 1 to {len(self.members) - 1}")
        return self._each("top", NUMBER, k, told=f"top({k})")


def cross(
    members: Mapping[str, Expr] | Iterable[str], build: Callable[[str], Expr] | None = None, *, quorum: float = 1.0
) -> Cross:
    """Members side by side: `cross({"KO": x, "PEP": y, …})`, or `cross(["KO", "PEP", …], lambda s: close(s).lag(20))`.

    It fires when at least the part `quorum` of the members fired at this very moment: 1.0 when all bars of a minute are
    in, 0.9 when nine of ten are and again with each that follows, 0 with every event. Members that are null (not warm,
    not yet listed) take no part; a member keeps its last value until it has another.
    """
    if build is not None:
        if isinstance(members, str | Mapping) or not isinstance(members, Iterable):
            raise ArgumentError(f"cross({members!r}, …): give a list of symbols beside the function")
        members = {symbol: build(symbol) for symbol in members}
    if not isinstance(members, Mapping):
        raise ArgumentError("cross: give expressions by symbol, or symbols and a function of a symbol")
    for symbol, expr in members.items():
        if not isinstance(expr, Expr):
            raise ArgumentError(f"cross: the member {symbol!r} is {expr!r}, which is no expression")
    if len(members) < 2:
        raise ArgumentError(f"a cross-section needs two members or more, got {list(members)}")
    units = {expr.unit for expr in members.values()} - {None}
    if len(units) > 1:
        raise ArgumentError(f"cross: the members are in several units: {', '.join(sorted(map(str, units)))}")
    if isinstance(quorum, bool) or not isinstance(quorum, int | float) or not 0 <= quorum <= 1:
        raise ArgumentError(f"cross: quorum={quorum!r} must lie between 0 and 1")
    exprs = tuple(members.values())
    text = f"cross({', '.join(members)})"
    node = Expr("cross", exprs, ints=(math.ceil(quorum * len(exprs) - 1e-9),), text=text, instrument=MIXED)
    return Cross(tuple(members), node, next(iter(units), None))
