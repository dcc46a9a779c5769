"""Cross-validation for labels that take time: purged and embargoed K-fold, and combinatorial purged splits.

A sample is known by its label's span [t0, t1]: the moments that its features and its outcome depend on. A training
sample whose span touches a test sample's span knows part of the answer, so it is purged; one that begins up to
`embargo` after a test span is dropped too, because markets remember. Both ends of a span belong to it.

Assumes that samples are in the order of t0. Absent: models, scores, and splits that shuffle.

Source: López de Prado (2018), *Advances in Financial Machine Learning*, ch. 7 (purging, embargo) and 12 (combinatorial
purged cross-validation and its backtest paths).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from helios.duration import nanoseconds
from helios.errors import ArgumentError

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers to train on and to test on; `groups` are the numbers of the groups of rows that make up the test."""

    train: Index
    test: Index
    groups: tuple[int, ...]


def purged_kfold(
    t0: ArrayLike, t1: ArrayLike, *, folds: int = 5, embargo: float | str | timedelta | np.timedelta64 | None = None
) -> Iterator[Split]:
    """`folds` splits; each tests on one stretch of consecutive samples and trains on the others, purged and embargoed.

    `t0`, `t1`: numbers or times, one span a sample. `embargo`: a length in their unit; for times a text like "1d", a
    timedelta or a timedelta64. Raises ArgumentError for spans that cannot be and for a split with nothing to train on.
    """
    return combinatorial_purged(t0, t1, groups=folds, test_groups=1, embargo=embargo)


def combinatorial_purged(
    t0: ArrayLike,
    t1: ArrayLike,
    *,
    groups: int = 6,
    test_groups: int = 2,
    embargo: float | str | timedelta | np.timedelta64 | None = None,
) -> Iterator[Split]:
    """All C(groups, test_groups) splits that test on `test_groups` of `groups` stretches of samples."""
    begin, end = _spans(t0, t1)
    if groups < 2 or not 1 <= test_groups < groups:
        raise ArgumentError(f"{test_groups} test groups of {groups}: at least two groups, and one to train on")
    if begin.size < groups:
        raise ArgumentError(f"{begin.size} samples cannot make {groups} groups")
    return _splits(begin, end, end + _length(embargo, begin), groups, test_groups)


def _splits(begin: Any, end: Any, held: Any, groups: int, test_groups: int) -> Iterator[Split]:
    parts = np.array_split(np.arange(begin.size), groups)
    for chosen in combinations(range(groups), test_groups):
        test = np.concatenate([parts[group] for group in chosen])
        others = np.concatenate([parts[group] for group in range(groups) if group not in chosen])
        # A test sample touches a training sample if it begins before that one ends and ends after that one begins.
        latest = np.maximum.accumulate(held[test])
        before = np.searchsorted(begin[test], end[others], side="right")
        touched = (before > 0) & (latest[before - 1] >= begin[others])
        train = others[~touched]
        if not train.size:
            raise ArgumentError(
                f"test groups {chosen}: every other sample overlaps them or is in the embargo; use fewer groups, or "
                "shorter labels"
            )
        yield Split(train, test, chosen)


def backtest_paths(groups: int, test_groups: int) -> list[list[int]]:
    """Paths through all groups, out of sample everywhere: for each path the number of the split that tests each group.

    There are C(groups, test_groups) * test_groups / groups of them. Numbers count the splits of `combinatorial_purged`.
    """
    if groups < 2 or not 1 <= test_groups < groups:
        raise ArgumentError(f"{test_groups} test groups of {groups}: at least two groups, and one to train on")
    chosen = list(combinations(range(groups), test_groups))
    serving = [[number for number, split in enumerate(chosen) if group in split] for group in range(groups)]
    return [list(path) for path in zip(*serving, strict=True)]


def _spans(t0: ArrayLike, t1: ArrayLike) -> tuple[Any, Any]:
    begin, end = _times(t0, "t0"), _times(t1, "t1")
    if begin.shape != end.shape:
        raise ArgumentError(f"t0 has {begin.size} values and t1 has {end.size}")
    if begin.dtype.kind != end.dtype.kind:
        raise ArgumentError(f"t0 is {begin.dtype} and t1 is {end.dtype}: both are numbers or both are times")
    back = np.flatnonzero(begin[1:] < begin[:-1])
    if back.size:
        raise ArgumentError(f"row {back[0] + 1}: t0 goes back to {begin[back[0] + 1]}; sort the samples by t0")
    short = np.flatnonzero(end < begin)
    if short.size:
        raise ArgumentError(f"row {short[0]}: the label ends at {end[short[0]]}, before it begins at {begin[short[0]]}")
    return begin, end


def _times(values: Any, name: str) -> Any:
    array = values.to_numpy() if isinstance(values, pl.Series) else np.asarray(values)
    if array.dtype == object:
        try:
            array = array.astype("datetime64[us]")
        except (TypeError, ValueError):
            raise ArgumentError(f"{name} holds neither numbers nor times") from None
    if array.ndim != 1 or array.dtype.kind not in "iufM":
        raise ArgumentError(f"{name}: one column of numbers or times is needed, not {array.dtype} in {array.ndim} axes")
    if array.dtype.kind == "M":
        array = array.astype("datetime64[ns]")
    unknown = np.isnat(array) if array.dtype.kind == "M" else ~np.isfinite(array)
    if unknown.any():
        raise ArgumentError(f"row {int(np.argmax(unknown))}: {name} is no number or no time")
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def _length(embargo: Any, begin: Any) -> Any:
    times = begin.dtype.kind == "M"
    if embargo is None:
        return np.timedelta64(0, "ns") if times else 0
    if times:
        if isinstance(embargo, str | timedelta):
            return np.timedelta64(nanoseconds(embargo, "embargo"), "ns")
        if isinstance(embargo, np.timedelta64) and embargo >= np.timedelta64(0):
            return embargo
        raise ArgumentError(f"embargo={embargo!r}: the labels are times, so give a length like '1d' or a timedelta")
    if isinstance(embargo, bool) or not isinstance(embargo, int | float) or not 0 <= embargo < float("inf"):
        raise ArgumentError(
            f"embargo={embargo!r}: the labels are numbers, so give a number in their unit, zero or more"
        )
    return embargo
