"""Patterns: how they are written, what they become for the core, and what is refused.

What a pattern matches is tested in the core (core/signals/tests/signals/patterns.rs), against its definition.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from helios.errors import ArgumentError
from helios.signals import Expr, Pattern, last, mid, occurrences, partition, pattern
from hypothesis import given
from hypothesis import strategies as st

A, B, C, D = (last(symbol) for symbol in "ABCD")
MS = 1_000_000


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_the_numbers_are_those_that_the_core_reads() -> None:
    """The core's test `a_description_is_read` expects the same numbers."""
    made = (
        pattern(A)
        .then(B, within="50ns")
        .times(3)
        .without(C, D)
        .absent(A, D, for_="500ns")
        .within("1us")
        .overlapping()
        .max_open(16, when_full="refuse_new")
        .heartbeat(mid("E"))
    )
    assert made.ints == (4, 1, 1, 16, 1, 1_000, 500, 2, 0, 3, 2, 0, 1, 0, 0, 1, 3, 50, 2, 2, 3)
    assert made.op == "pattern"
    assert made.symbol is None
    assert list(map(repr, made.inputs)) == ["last('A')", "last('B')", "last('C')", "last('D')", "mid('E')"]


def test_the_shortest_pattern() -> None:
    assert pattern(A).ints == (1, 0, 0, 64, 0, 0, 0, 0, 1, 0, 1, 0, 0)
    assert pattern(A).inputs == (A,)


def test_the_order_of_modifiers_does_not_matter() -> None:
    x = pattern(A).then(B, within="50ms").without(C).times(3)
    y = pattern(A).then(B, within=timedelta(milliseconds=50)).times(3).without(C)
    assert x.ints == y.ints == (3, 0, 0, 64, 0, 0, 0, 0, 2, 0, 1, 0, 0, 1, 3, 50 * MS, 1, 2)


def test_a_condition_is_one_input_however_often_it_is_used() -> None:
    made = pattern(A).then(B).without(C).then(A).without(C, C).without(B).absent(C, for_="1s").heartbeat(A)
    assert made.inputs == (A, B, C, A), "the heartbeat is an input of its own"
    head, steps = (3, 1, 0, 64, 0, 0, 1_000 * MS, 1, 2), (3, 0, 1, 0, 0, 1, 1, 0, 1, 2, 0, 1, 0, 2, 1, 2)
    assert made.ints == head + steps


def test_a_pattern_is_not_changed_by_what_is_made_of_it() -> None:
    begun = pattern(A).then(B)
    before = (begun.ints, begun.inputs, repr(begun))
    begun.times(2).without(C).then(D).absent(A, for_="1s")
    begun.within("1s").overlapping().max_open(2).heartbeat(C)
    assert (begun.ints, begun.inputs, repr(begun)) == before


def test_a_pattern_shows_how_it_was_written() -> None:
    made = pattern(A).then(B, within="50ms").without(C).times(3).absent(D, for_="1s")
    assert repr(made) == (
        "pattern(last('A')).then(last('B'), within='50ms').without(last('C')).times(3).absent(last('D'), for_='1s')"
    )
    assert repr(occurrences(A, within="1s", heartbeat=B)) == "occurrences(last('A'), within='1s', heartbeat=last('B'))"


def test_patterns_are_expressions_and_stand_in_patterns() -> None:
    burst = pattern(A).times(3).within("1s")
    outer = pattern(burst).then(B).without(burst)
    assert isinstance(burst, Expr)
    assert outer.inputs == (burst, B)
    assert isinstance(burst + 1, Expr)
    assert occurrences(burst, within="1m").inputs == (burst,)


def test_occurrences() -> None:
    made = occurrences(A, within="1s")
    assert (made.op, made.inputs, made.ints) == ("occurrences", (A,), (1_000 * MS,))
    assert occurrences(A, within="1s", heartbeat=B).inputs == (A, B)


def test_partition_builds_one_machine_an_instrument() -> None:
    made = partition(["KO", "PEP"], lambda s: pattern(last(s)).then(mid(s), within="1s"))
    assert list(made) == ["KO", "PEP"]
    assert [[x.symbol for x in expr.inputs] for expr in made.values()] == [["KO", "KO"], ["PEP", "PEP"]]


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(0, 9), st.sets(st.integers(0, 5))),
        min_size=1,
        max_size=8,
    ),
    st.sets(st.integers(0, 5)),
    st.integers(1, 9),
)
def test_the_numbers_say_what_was_written(
    steps: list[tuple[int, int, int, set[int]]], silent: set[int], span: int
) -> None:
    """Reads the numbers back by the documented layout, with the inputs in place of their numbers."""
    made: Pattern | None = None
    said = []
    for at, (condition, times, within, without) in enumerate(steps):
        excluded = sorted(without - {condition})
        made = (
            pattern(_SOURCES[condition])
            if made is None
            else made.then(_SOURCES[condition], within=f"{within}ns" if within else None)
        )
        made = made.times(times + 1)
        made = made.without(*[_SOURCES[x] for x in excluded]) if excluded else made
        said.append((condition, times + 1, within if at else 0, set(excluded)))
    assert made is not None
    made = made.absent(*[_SOURCES[x] for x in sorted(silent)], for_=f"{span}ns") if silent else made
    read = list(made.ints)

    def take_set() -> set[int]:
        return {_NUMBERS[id(made.inputs[read.pop(0)])] for _ in range(read.pop(0))}

    assert [read.pop(0) for _ in range(6)] == [len(made.inputs), 0, 0, 64, 0, 0]
    assert (read.pop(0), take_set()) == (span if silent else 0, silent)
    assert read.pop(0) == len(steps)
    found = [(_NUMBERS[id(made.inputs[read.pop(0)])], read.pop(0), read.pop(0), take_set()) for _ in said]
    assert (found, read) == (said, [])


_SOURCES = [last(symbol) for symbol in "ABCDEF"]
_NUMBERS = {id(source): number for number, source in enumerate(_SOURCES)}


# ---- refused ---------------------------------------------------------------------------------------------------------

NOT_ONE: Any = "KO"

REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: pattern(NOT_ONE), r"pattern\(\): 'KO' is no expression"),
    (lambda: pattern(A).then(NOT_ONE), r"pattern\(last\('A'\)\)\.then\(\): 'KO' is no expression"),
    (lambda: pattern(A).then(B).without(NOT_ONE), r"without\('KO'\): 'KO' is no expression"),
    (lambda: pattern(A).then(B).without(), r"without\(\): name at least one expression"),
    (lambda: pattern(A).absent(for_="1s"), "name at least one expression"),
    (lambda: pattern(A).heartbeat(NOT_ONE), r"heartbeat\(\): 'KO' is no expression"),
    (lambda: pattern(A).then(B, within="0ms"), r"within of pattern.*'0ms': it must be longer than zero"),
    (lambda: pattern(A).then(B, within="-5ms"), r"'-5ms': write a number and one of ns, us, ms"),
    (lambda: pattern(A).then(B, within=timedelta(seconds=-1)), "it must be longer than zero"),
    (lambda: pattern(A).then(B, within=5), "5: write a number and one of"),  # type: ignore[arg-type]
    (lambda: pattern(A).then(B).within("0s"), "within of the whole pattern.*it must be longer than zero"),
    (lambda: pattern(A).then(B).within("1s").within("2s"), "has a within already"),
    (lambda: pattern(A).absent(B, for_="0s"), r"for_ of pattern\(last\('A'\)\)\.absent.*longer than zero"),
    (lambda: pattern(A).times(0), r"pattern\(last\('A'\)\)\.times\(0\): it must be a number from 1 to 1048576"),
    (lambda: pattern(A).times(-2), "it must be a number from 1"),
    (lambda: pattern(A).times(True), "it must be a number from 1"),
    (lambda: pattern(A).times(2.0), "it must be a number from 1"),  # type: ignore[arg-type]
    (lambda: pattern(A).times(2).times(3), "the step happens 2 times already"),
    (lambda: pattern(A).then(B).without(B), r"the step wants last\('B'\) and excludes it"),
    (lambda: pattern(A).without(C).then(B), r"for what must not lie in between write pattern\(a\)\.then"),
    (lambda: pattern(A).without(C).absent(B, for_="1s"), "before a first step that happens once there is none"),
    (lambda: pattern(A).absent(B, for_="1s").then(C), r"then\(\): nothing follows absent\(\)"),
    (lambda: pattern(A).absent(B, for_="1s").times(2), r"times\(\): nothing follows absent\(\)"),
    (lambda: pattern(A).absent(B, for_="1s").without(C), r"without\(\): nothing follows absent\(\)"),
    (lambda: pattern(A).absent(B, for_="1s").absent(C, for_="1s"), r"absent\(\): nothing follows absent\(\)"),
    (lambda: pattern(A).max_open(0), r"max_open\(0, when_full='drop_oldest'\): it must be a number from 1 to 64"),
    (lambda: pattern(A).max_open(65), r"max_open\(65, .*: it must be a number from 1 to 64"),
    (lambda: pattern(A).max_open(9, when_full="panic"), "'drop_oldest' or 'refuse_new'"),  # type: ignore[arg-type]
    (lambda: pattern(A).times(66), r"of 64 the oldest is dropped, so 66 never happen; say max_open\(64, when_full="),
    (lambda: pattern(A).times(5).max_open(3), "of 3 the oldest is dropped, so 5 never happen"),
    (lambda: pattern(A).then(B).without(*map(last, _names(63))), "64 distinct conditions at most"),
    (lambda: _long(65), "has 64 steps already"),
    (lambda: occurrences(NOT_ONE, within="1s"), r"occurrences\(\): 'KO' is no expression"),
    (lambda: occurrences(A, within="0s"), r"within of occurrences\(last\('A'\)\).*longer than zero"),
    (lambda: occurrences(A, within="1s", heartbeat=NOT_ONE), "'KO' is no expression"),
    (lambda: partition("KO", pattern), r"give a list of symbols, like \['KO'\]"),  # type: ignore[arg-type]
    (lambda: partition([], lambda s: pattern(last(s))), "there are no symbols"),
    (lambda: partition(["KO", "KO"], lambda s: pattern(last(s))), "'KO' stands there twice"),
    (lambda: partition([""], lambda s: pattern(last(s))), "'' is no symbol"),
    (lambda: partition(["KO"], lambda s: NOT_ONE), "what is built for 'KO': 'KO' is no expression"),
]


def _names(count: int) -> list[str]:
    return [f"S{at}" for at in range(count)]


def _long(steps: int) -> Pattern:
    made = pattern(A)
    for _ in range(steps - 1):
        made = made.then(A)
    return made


@pytest.mark.parametrize(("build", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        build()


def test_the_bounds_themselves_are_allowed() -> None:
    assert len(pattern(A).then(B).without(*map(last, _names(62))).inputs) == 64
    assert _long(64).ints[8] == 64
    assert pattern(A).max_open(1, when_full="refuse_new").times(1 << 20).ints[3:5] == (1, 1)
    assert pattern(A).times(65).ints[-3] == 65


def test_a_pattern_has_no_truth_value() -> None:
    with pytest.raises(ArgumentError, match="no truth value"):
        bool(pattern(A))
