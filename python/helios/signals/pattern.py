"""Complex events: `pattern(a).then(b, within="50ms").without(c).times(3)`, absence, counts, one machine an instrument.

An expression occurs at each event at which it fires and is true: neither zero nor null. A pattern is an expression too:
its value is the number of matches that an event completes, and it fires only at those events; so patterns stand in
patterns, and in `occurrences`. What is matched, what a match consumes, and the bounds: docs/models/patterns.md.

Assumes that the conditions are decisions (comparisons, trades, other patterns): a price is true whenever it is there.
Absent: time that passes without an event (see `Pattern.heartbeat`), and conditions on the events of one match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal

from helios.duration import nanoseconds, span_text
from helios.errors import ArgumentError
from helios.signals.expr import Expr

#: Bounds of the core (core/signals/src/pattern.rs), told here so that an error names the expression.
_CONDITIONS_MAX = 64
_STEPS_MAX = 64
_TIMES_MAX = 1 << 20
_OPEN_MAX = 64


@dataclass(frozen=True, eq=False)
class _Step:
    """One step: its condition, at how many events, within how many ns of the step before (0: any), without what."""

    condition: Expr
    times: int = 1
    within: int = 0
    without: tuple[Expr, ...] = ()


@dataclass(frozen=True, eq=False)
class _Spec:
    """What a pattern is made of; spans in ns, 0 where there is none."""

    steps: tuple[_Step, ...]
    within: int = 0
    absent: tuple[Expr, ...] = ()
    absent_for: int = 0
    overlapping: bool = False
    max_open: int = _OPEN_MAX
    refuse_new: bool = False
    heartbeat: Expr | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Pattern(Expr):
    """Steps that must happen one after the other. Each method returns a longer pattern; each pattern is an expression.

    `times` and `without` speak of the step before them, the other methods of the whole pattern. Events that fit no step
    are passed over; one event serves one step of a match.
    """

    _spec: _Spec = field(kw_only=True)

    def then(self, condition: Expr, *, within: str | timedelta | None = None) -> Pattern:
        """The next step: `condition` occurs, at most `within` (inclusive) after the step before it is complete."""
        self._goes_on("then")
        if len(self._spec.steps) == _STEPS_MAX:
            raise ArgumentError(f"{self!r} has {_STEPS_MAX} steps already, no pattern has more")
        _expression(condition, f"{self.text}.then()")
        text = f"{self.text}.then({condition.text})"
        ns = 0
        if within is not None:
            text = f"{self.text}.then({condition.text}, within={within!r})"
            ns = nanoseconds(within, f"within of {text}")
        step = _Step(condition, within=ns)
        return _pattern(replace(self._spec, steps=(*self._spec.steps, step)), text)

    def times(self, n: int) -> Pattern:
        """The step before happens at `n` events; its `within` and `without` hold until the last of them."""
        self._not_silent("times")
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= _TIMES_MAX:
            raise ArgumentError(f"{self!r}.times({n!r}): it must be a number from 1 to {_TIMES_MAX}")
        last = self._spec.steps[-1]
        if last.times != 1:
            raise ArgumentError(f"{self!r}.times({n}): the step happens {last.times} times already")
        return self._with_last(replace(last, times=n), f"times({n})")

    def without(self, *conditions: Expr) -> Pattern:
        """None of these occurs after the step before this one is complete and until this one is; else it is no match.

        At the same event, what is excluded wins. A first step is looked at from its first occurrence on.
        """
        self._not_silent("without")
        call = f"without({_texts(conditions)})"
        _expressions(conditions, f"{self.text}.{call}")
        last = self._spec.steps[-1]
        for condition in conditions:
            if condition is last.condition:
                raise ArgumentError(f"{self!r}.{call}: the step wants {condition!r} and excludes it")
        return self._with_last(replace(last, without=(*last.without, *conditions)), call)

    def absent(self, *conditions: Expr, for_: str | timedelta) -> Pattern:
        """After the last step, none of these occurs for so long. The last thing that a pattern says.

        The match completes at the first event, at or after that time, of any of its conditions or of its heartbeat.
        """
        self._goes_on("absent")
        call = f"absent({_texts(conditions)}, for_={for_!r})"
        _expressions(conditions, f"{self.text}.{call}")
        ns = nanoseconds(for_, f"for_ of {self.text}.{call}")
        return _pattern(replace(self._spec, absent=conditions, absent_for=ns), f"{self.text}.{call}")

    def within(self, whole: str | timedelta) -> Pattern:
        """The last step is complete at most `whole` (inclusive) after the first event."""
        ns = nanoseconds(whole, f"within of the whole {self!r}")
        if self._spec.within:
            raise ArgumentError(f"{self!r}.within({whole!r}): the whole pattern has a within already")
        return _pattern(replace(self._spec, within=ns), f"{self.text}.within({whole!r})")

    def overlapping(self) -> Pattern:
        """Every occurrence of the first step may lead to a match, also from events that another match has used."""
        return _pattern(replace(self._spec, overlapping=True), f"{self.text}.overlapping()")

    def max_open(self, n: int, *, when_full: Literal["drop_oldest", "refuse_new"] = "drop_oldest") -> Pattern:
        """At most so many partial matches at once, 1 to 64 (64 if not said). One more drops the oldest, or is refused.

        Either is counted. drop_oldest keeps what has the most time left, but may never match where the first step
        floods the others; refuse_new keeps what has come furthest, but misses starts that would have been in time.
        """
        call = f"max_open({n!r}, when_full={when_full!r})"
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= _OPEN_MAX:
            raise ArgumentError(f"{self!r}.{call}: it must be a number from 1 to {_OPEN_MAX}")
        if when_full not in ("drop_oldest", "refuse_new"):
            raise ArgumentError(f"{self!r}.{call}: when_full must be 'drop_oldest' or 'refuse_new'")
        spec = replace(self._spec, max_open=n, refuse_new=when_full == "refuse_new")
        return _pattern(spec, f"{self.text}.{call}")

    def heartbeat(self, clock: Expr) -> Pattern:
        """Lets time pass whenever `clock` fires, be it true or not: an absence is noticed then and not later."""
        _expression(clock, f"{self.text}.heartbeat()")
        return _pattern(replace(self._spec, heartbeat=clock), f"{self.text}.heartbeat({clock.text})")

    def told(self, names: Sequence[str]) -> str:
        """The pattern with its inputs by these names, whatever the order in which it was written."""
        by_id = {id(expr): name for expr, name in zip(self.inputs, names, strict=True)}
        spec, text = self._spec, ""

        def named(exprs: tuple[Expr, ...]) -> str:
            return ", ".join(by_id[id(expr)] for expr in exprs)

        for step in spec.steps:
            within = f", within={span_text(step.within)}" if step.within else ""
            text += f"{'.then' if text else 'pattern'}({named((step.condition,))}{within})"
            text += f".times({step.times})" * (step.times > 1)
            text += f".without({named(step.without)})" * bool(step.without)
        text += f".absent({named(spec.absent)}, for_={span_text(spec.absent_for)})" * bool(spec.absent)
        text += f".within({span_text(spec.within)})" * bool(spec.within) + ".overlapping()" * spec.overlapping
        if spec.max_open != _OPEN_MAX or spec.refuse_new:
            text += f".max_open({spec.max_open}, when_full={'refuse_new' if spec.refuse_new else 'drop_oldest'!r})"
        return text + (f".heartbeat({named((spec.heartbeat,))})" if spec.heartbeat is not None else "")

    def _goes_on(self, method: str) -> None:
        self._not_silent(method)
        first = self._spec.steps[0]
        if len(self._spec.steps) == 1 and first.times == 1 and first.without:
            raise ArgumentError(
                f"{self!r}.{method}(): without() speaks of the time up to its own step, and before a first step that "
                "happens once there is none; for what must not lie in between write pattern(a).then(b).without(c)"
            )

    def _with_last(self, step: _Step, call: str) -> Pattern:
        return _pattern(replace(self._spec, steps=(*self._spec.steps[:-1], step)), f"{self.text}.{call}")

    def _not_silent(self, method: str) -> None:
        if self._spec.absent:
            raise ArgumentError(
                f"{self!r}.{method}(): nothing follows absent() in a pattern; begin another with it: pattern(p).then(b)"
            )


def pattern(condition: Expr) -> Pattern:
    """The first step of a pattern: every occurrence of `condition` may begin a match."""
    _expression(condition, "pattern()")
    return _pattern(_Spec((_Step(condition),)), f"pattern({condition.text})")


def occurrences(condition: Expr, *, within: str | timedelta, heartbeat: Expr | None = None) -> Expr:
    """How often `condition` occurred within the last `within` of time, (now - within, now]: 0, 1, 2 …, never null.

    It is counted anew whenever `condition` or `heartbeat` fires; fires at each occurrence and when the count changes.
    """
    _expression(condition, "occurrences()")
    ns = nanoseconds(within, f"within of occurrences({condition.text})")
    text, inputs = f"occurrences({condition.text}, within={within!r}", (condition,)
    if heartbeat is None:
        return Expr("occurrences", inputs, ints=(ns,), text=f"{text})")
    _expression(heartbeat, f"{text}, heartbeat=…)")
    return Expr("occurrences", (*inputs, heartbeat), ints=(ns,), text=f"{text}, heartbeat={heartbeat.text})")


def partition(symbols: Iterable[str], build: Callable[[str], Expr]) -> dict[str, Expr]:
    """One expression an instrument, `build(symbol)` for each, by symbol: machines that know nothing of one another."""
    if isinstance(symbols, str) or not isinstance(symbols, Iterable):
        raise ArgumentError(f"partition({symbols!r}): give a list of symbols, like [{symbols!r}]")
    if not callable(build):
        raise ArgumentError(f"partition: {build!r} is no function of a symbol, like lambda symbol: last(symbol) > 60")
    made: dict[str, Expr] = {}
    for symbol in symbols:
        if not isinstance(symbol, str) or not symbol:
            raise ArgumentError(f"partition: {symbol!r} is no symbol, a symbol is a text like 'KO'")
        if symbol in made:
            raise ArgumentError(f"partition: {symbol!r} stands there twice")
        made[symbol] = build(symbol)
        _expression(made[symbol], f"partition: what is built for {symbol!r}")
    if not made:
        raise ArgumentError("partition: there are no symbols")
    return made


def _expression(value: object, where: str) -> None:
    if not isinstance(value, Expr):
        raise ArgumentError(f"{where}: {value!r} is no expression; last('KO') is one, and so is a pattern")


def _expressions(values: tuple[Expr, ...], where: str) -> None:
    if not values:
        raise ArgumentError(f"{where}: name at least one expression")
    for value in values:
        _expression(value, where)


def _texts(values: tuple[Expr, ...]) -> str:
    return ", ".join(map(repr, values))


def _pattern(spec: _Spec, text: str) -> Pattern:
    """The node: its inputs are the distinct conditions in order of first use, then the heartbeat."""
    numbers: dict[int, int] = {}
    conditions: list[Expr] = []
    stated = [expr for step in spec.steps for expr in (step.condition, *step.without)]
    for expr in (*stated, *spec.absent):
        if id(expr) not in numbers:
            numbers[id(expr)] = len(conditions)
            conditions.append(expr)
    if len(conditions) > _CONDITIONS_MAX:
        raise ArgumentError(f"{text}: a pattern knows {_CONDITIONS_MAX} distinct conditions at most")
    if spec.steps[0].times > spec.max_open + 1 and not spec.refuse_new:
        raise ArgumentError(
            f"{text}: each occurrence of the first step opens a partial match, and of {spec.max_open} the oldest is "
            f"dropped, so {spec.steps[0].times} never happen; say max_open(64, when_full='refuse_new') before times()"
        )
    clock = () if spec.heartbeat is None else (spec.heartbeat,)
    ints = _encode(spec, len(conditions), numbers)
    return Pattern("pattern", (*conditions, *clock), ints=ints, text=text, _spec=spec)


def _encode(spec: _Spec, conditions: int, numbers: dict[int, int]) -> tuple[int, ...]:
    """What `PatternSpec::decode` of the core reads: no span is 0, a set is its size and then its members.

    `conditions, heartbeat, overlapping, max_open, refuse new, within, absent for, {absent}, steps`, and for each step
    `condition, times, within, {without}`.
    """

    def members(exprs: tuple[Expr, ...]) -> list[int]:
        distinct = sorted({numbers[id(expr)] for expr in exprs})
        return [len(distinct), *distinct]

    ints = [conditions, int(spec.heartbeat is not None), int(spec.overlapping), spec.max_open, int(spec.refuse_new)]
    ints += [spec.within, spec.absent_for, *members(spec.absent), len(spec.steps)]
    for step in spec.steps:
        ints += [numbers[id(step.condition)], step.times, step.within, *members(step.without)]
    return tuple(ints)
