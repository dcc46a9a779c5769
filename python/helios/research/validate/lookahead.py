"""Looks for the future in a strategy: runs it on data that ends at many moments, and compares what it said before them.

    check_lookahead(build, frame)              build(frame) -> Backtest, or a frame of features
    check_lookahead(lambda: load_run("run.toml"))

The whole input is run once, and again once for every cut: with rows that were not known at the cut taken away,
everything from the builder on is done anew. Whatever is stamped at or before the cut (data as the engine reads it,
recorded signals, values of targets, wishes of Python strategies, orders, refusals, fills; or rows of features) must be
the same bit for bit. Half of the cuts are at moments at which the run said something, where a short look ahead shows
best; the others anywhere.

What it can find: anything computed from the data that is handed to `build`, such as a column normalised by its whole
mean, a feature shifted the wrong way, pairs chosen on all rows, a Python strategy that reads further down its own
frame. What it cannot: data that `build` reads by itself; a choice made beforehand, like a list of pairs in a file, or
parameters tuned on the same days; a source that is itself stamped too early or was revised later. A run without `data`
is cut only where the engine reads it, so nothing but the engine and what strategies keep from call to call is checked;
the result says so.

A builder that fails on cut data, where on all of it something was said before the cut, counts as a leak with its error.
Only what is stamped after the run's `start` counts: what is chosen before it may use all that comes before it. A
builder that is not repeatable (random numbers without a seed, a strategy instance used twice) is refused, because its
differences would mean nothing. Absent: a tolerance. A library that rounds differently for other lengths shows as a
difference in the last digit, and the table shows both numbers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from helios.data.columns import clock_for
from helios.data.source import ColumnSource
from helios.duration import nanoseconds
from helios.errors import ArgumentError, DataError, HeliosError, RunError
from helios.research.backtest import Backtest, Plan
from helios.scales import PRICE_SCALE, QUANTITY_SCALE
from helios.signals import Record

if TYPE_CHECKING:
    from rich.console import RenderableType

    from helios._core import BookView, Port
    from helios.data.source import Batch

Times = NDArray[np.int64]
Data = TypeVar("Data", pl.DataFrame, Mapping[str, pl.DataFrame])
Built = Backtest | pl.DataFrame

#: The name under which a target's value is recorded for the comparison.
_TARGET: Final = "target: "
#: What is compared: table, the column that names its rows. In the order in which one thing leads to the next.
_SAID: Final = {
    "signal": "signal",
    "target": "signal",
    "wish": "strategy",
    "order": "strategy",
    "refusal": "strategy",
    "fill": "strategy",
}
_ENGINE_ONLY: Final = (
    "only what the engine reads was cut: data that the run file or its strategies read by themselves, and lists chosen "
    "beforehand, were not; to check those, give a function that builds the run from the data"
)
_BESIDE: Final = (
    "the run reads data that does not come from the data given: the engine stopped at the cuts, but what the builder "
    "made of it was not cut"
)


@dataclass(frozen=True)
class Difference:
    """The first thing that was said otherwise without the future. `at` in ns since 1970 UTC; None: nothing was said."""

    at: int
    kind: str
    name: str
    column: str
    with_future: Any
    without_future: Any

    def __str__(self) -> str:
        what = " ".join(filter(None, (self.kind, self.name, self.column)))
        both = f"{_shown(self.with_future)} with the future, {_shown(self.without_future)} without"
        return f"{what} at {clock(self.at)}: {both}"


@dataclass(frozen=True)
class Cut:
    """One cut: `at` in ns since 1970 UTC, and how many things said before it were `compared`."""

    at: int
    compared: int
    difference: Difference | None


@dataclass(frozen=True)
class Lookahead:
    """What `check_lookahead` found."""

    cuts: list[Cut]
    seed: int
    #: What was cut: the data that the builder is given, or only what the engine reads.
    scope: Literal["data", "engine"]
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """No cut changed what was known before it."""
        return self.first is None

    @property
    def first(self) -> Difference | None:
        """The earliest difference of all cuts."""
        found = [cut.difference for cut in self.cuts if cut.difference is not None]
        return min(found, key=lambda difference: difference.at) if found else None

    @property
    def verdict(self) -> Literal["clean", "leak"]:
        """In one word."""
        return "clean" if self.clean else "leak"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        first = None if self.first is None else asdict(self.first)
        cuts = [asdict(cut) for cut in self.cuts]
        head = {"verdict": self.verdict, "scope": self.scope, "seed": self.seed}
        return {**head, "first": first, "cuts": cuts, "notes": self.notes}

    def __str__(self) -> str:
        leaks = sum(cut.difference is not None for cut in self.cuts)
        if self.first is None:
            compared = sum(cut.compared for cut in self.cuts)
            how = "clean" if self.scope == "data" else "clean, as far as what the engine reads goes"
            return f"{how}: {compared:,} things said before {len(self.cuts)} cuts are the same"
        return f"leak: {leaks} of {len(self.cuts)} cuts change what was said before them; first: {self.first}"

    def table(self) -> RenderableType:
        """One row a cut, for a rich console."""
        from rich.table import Table

        table = Table(show_edge=False)
        table.add_column("cut", no_wrap=True)
        table.add_column("compared", justify="right")
        table.add_column("first difference", overflow="fold")
        for cut in self.cuts:
            table.add_row(clock(cut.at), f"{cut.compared:,}", _escape(str(cut.difference or "-")))
        return table


def check_lookahead(
    build: Callable[..., Built],
    data: pl.DataFrame | Mapping[str, pl.DataFrame] | None = None,
    *,
    cuts: int = 20,
    seed: int = 0,
    ts: str = "ts",
    tz: str | None = None,
    ts_unit: str | None = None,
    known_after: str | timedelta | None = None,
) -> Lookahead:
    """Cuts `data` at `cuts` moments and compares what `build(data)` says before them with what it says on all of it.

    `build` returns a Backtest, or a frame of features with the column `ts` (or one row for each row of `data`). It is
    called once for each cut and must make everything anew. `data` is a frame or several by name, each with the column
    `ts`; without it `build()` takes nothing and only what the engine reads is cut. `tz` and `ts_unit` read times as in
    `bars`. `known_after` is how long after its `ts` a row can be known: the bar's length, where bars are labelled by
    their start.

    Raises ArgumentError for a call that cannot be, RunError for a run that says nothing or is not repeatable, and what
    the full run raises.
    """
    if isinstance(cuts, bool) or not isinstance(cuts, int) or not 1 <= cuts <= 10_000:
        raise ArgumentError(f"cuts={cuts!r}: from 1 to 10,000")
    given = None
    if data is not None:
        later = 0 if known_after is None else nanoseconds(known_after, "known_after")
        given = _Given.of(data, ts, tz, ts_unit, later)
    whole = build() if given is None else build(given.data)
    rng = np.random.default_rng(seed)
    if isinstance(whole, pl.DataFrame):
        if given is None:
            raise ArgumentError("build returned a frame of features: give the data that it makes them of")
        return _check_features(build, given, whole, cuts, rng, seed)
    if not isinstance(whole, Backtest):
        raise ArgumentError(f"build returned a {type(whole).__name__}: a Backtest or a Polars frame is needed")
    return _check_backtest(build, given, whole, cuts, rng, seed)


def read_data(data: Any) -> Any:
    """Frames for `check_lookahead`: a path, several as 'NAME=FILE', a function that returns them, or what they are."""
    if callable(data):
        return data()
    if isinstance(data, str | os.PathLike):
        return _read_file(os.fspath(data))
    if isinstance(data, list) and len(data) == 1 and "=" not in data[0]:
        return _read_file(data[0])
    if isinstance(data, list):
        named = dict(text.split("=", 1) for text in data if "=" in text)
        if len(named) < len(data):
            raise ArgumentError(f"several files need names of their own, NAME=FILE: {', '.join(data)}")
        return {name: _read_file(file) for name, file in named.items()}
    return data


def _read_file(file: str) -> pl.DataFrame:
    path = Path(file)
    if not path.is_file():
        raise DataError("there is no such file", source=file)
    try:
        return pl.read_csv(path, try_parse_dates=True) if ".csv" in path.suffixes else pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"cannot be read: {str(error).partition(chr(10))[0]}", source=file) from None


# ---- the data given --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Given:
    """The data and when each row could be known."""

    data: Any
    known: dict[str, Times]
    ts: str
    read: Callable[[pl.Series, str], Times]

    @classmethod
    def of(cls, data: Any, ts: str, tz: str | None, ts_unit: str | None, later: int) -> _Given:
        frames = data if isinstance(data, Mapping) else {"data": data}

        def read(column: pl.Series, source: str) -> Times:
            times = clock_for(column, tz=tz, ts_unit=ts_unit, source=source, column=ts)
            moments, bad = times.read(column)
            if bad.any():
                raise DataError("no usable time", source=source, row=int(np.argmax(bad)), column=ts)
            return moments + later

        known = {}
        for name, frame in frames.items():
            if not isinstance(frame, pl.DataFrame):
                raise ArgumentError(
                    f"{name} is a {type(frame).__name__}: give a Polars frame (polars.from_pandas), or several by name"
                )
            if ts not in frame.columns:
                raise ArgumentError(f"{name} has no column {ts!r}: it has {', '.join(frame.columns)}; name it with ts=")
            known[name] = read(frame[ts], name)
        if not any(times.size for times in known.values()):
            raise ArgumentError("the data has no rows")
        return cls(data, known, ts, read)

    @property
    def times(self) -> Times:
        """When something new could be known, in order."""
        return np.unique(np.concatenate(list(self.known.values())))

    def until(self, at: int) -> Any:
        """The same data without the rows that were not known at a moment."""
        if isinstance(self.data, pl.DataFrame):
            return self.data.filter(pl.Series(self.known["data"] <= at))
        return {name: frame.filter(pl.Series(self.known[name] <= at)) for name, frame in self.data.items()}


def _draw(rng: np.random.Generator, said: Times, others: Times, begin: int, cuts: int) -> list[int]:
    """Moments after `begin` and before the last of `others`: half of them where something was said."""
    last = int(others.max())
    spoken, rest = (np.unique(times[(times > begin) & (times < last)]) for times in (said, others))
    first = rng.choice(spoken, min(cuts - cuts // 2 if rest.size else cuts, spoken.size), replace=False)
    rest = np.setdiff1d(rest, first)
    second = rng.choice(rest, min(cuts - first.size, rest.size), replace=False)
    spoken = np.setdiff1d(spoken, first)
    third = rng.choice(spoken, min(cuts - first.size - second.size, spoken.size), replace=False)
    return sorted(int(at) for at in (*first, *second, *third))


# ---- features --------------------------------------------------------------------------------------------------------


def _check_features(
    build: Callable[..., Any], given: _Given, whole: pl.DataFrame, cuts: int, rng: np.random.Generator, seed: int
) -> Lookahead:
    full = _features(given, given.data, whole)
    again = _first("feature", full, _features(given, given.data, build(given.data)))
    if again is not None:
        raise _not_repeatable(again)
    times = full["at"].to_numpy()
    if not times.size:
        raise RunError("the frame of features has no rows: there is nothing to compare")
    moments = _draw(rng, times, given.times, int(times.min()) - 1, cuts)
    if not moments:
        raise RunError("there is no moment to cut at: the data has no row after the first feature")
    done = []
    for at in moments:
        before = full.filter(pl.col("at") <= at)
        try:
            data = given.until(at)
            difference = _first("feature", before, _features(given, data, build(data)).filter(pl.col("at") <= at))
        except Exception as error:  # whatever the builder raises, it does not raise it with the future
            difference = _failed(at, error)
        done.append(Cut(at, before.height * (before.width - 2), difference))
    return Lookahead(done, seed, "data")


def _features(given: _Given, data: Any, frame: Any) -> pl.DataFrame:
    """Features in the order of their time, which goes to `at`."""
    if not isinstance(frame, pl.DataFrame):
        raise ArgumentError(f"build returned a {type(frame).__name__}, and a frame of features before")
    if given.ts in frame.columns:
        at = given.read(frame[given.ts], "the frame of features")
    elif isinstance(data, pl.DataFrame) and frame.height == data.height:
        at = given.read(data[given.ts], "data")
    else:
        raise ArgumentError(f"the frame of features has no column {given.ts!r}, and not one row for each row of data")
    name = "symbol" if "symbol" in frame.columns else None
    columns = [pl.Series("at", at), frame[name].cast(pl.String).alias("who") if name else pl.lit("").alias("who")]
    features = frame.select(pl.exclude(given.ts, "symbol"))
    if not features.width:
        raise ArgumentError("the frame of features has no column besides its times and symbols")
    return features.select(*columns, pl.all()).sort("at", maintain_order=True)


# ---- backtests -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Run:
    """What a run said, by kind: frames whose `at` is the stamp and whose `who` is the name."""

    plan: Plan
    said: dict[str, pl.DataFrame]
    #: Times of the equity samples: moments between the first event and the last.
    grid: Times

    def times(self) -> Times:
        return np.concatenate([frame["at"].to_numpy() for frame in self.said.values()])

    def compare(self, other: _Run, begin: int, end: int) -> tuple[int, Difference | None]:
        """How many things this one said in (begin, end], and the first that the other says otherwise."""
        count, found = 0, []
        for kind, frame in self.said.items():
            mine, theirs = (x.filter(pl.col("at").is_between(begin, end)) for x in (frame, other.said[kind]))
            count += mine.height
            found.append(_first(kind, mine, theirs))
        return count, _earliest(found)


def _check_backtest(
    build: Callable[..., Any],
    given: _Given | None,
    whole: Backtest,
    cuts: int,
    rng: np.random.Generator,
    seed: int,
) -> Lookahead:
    def made(data: Any) -> Backtest:
        built = build() if given is None else build(data)
        if not isinstance(built, Backtest):
            raise ArgumentError(f"build returned a {type(built).__name__}, and a Backtest before")
        return built

    full = _run(whole, None)
    begin = int(full.plan.engine["trade_from"])
    everything = None if given is None else given.data
    again = full.compare(_run(made(everything), None), begin, 2**63 - 1)[1]
    if again is not None:
        raise _not_repeatable(again)
    times = full.times()
    grid = full.grid if given is None else given.times
    if not (times >= begin).any():
        raise RunError(
            "the run says nothing: no signal, order or wish to compare",
            hint="Record what it computes with record(…), or give it data on which it trades.",
        )
    moments = _draw(rng, times, grid, max(begin, int(times.min()) - 1), cuts)
    inputs = None if given is None else _Inputs.of(full.plan, moments, int(given.times.max()))
    if not moments:
        raise RunError("there is no moment to cut at: nothing is read after the first thing that the run says")
    notes: dict[str, None] = {} if given is not None else {_ENGINE_ONLY: None}
    done = []
    for number, at in enumerate(moments):
        count, difference = full.compare(full, begin, at)
        try:
            backtest = made(None if given is None else given.until(at))
            if inputs is not None:
                difference, beside = inputs.compare(backtest, number, at)
                notes |= {_BESIDE: None} if beside else {}
            cut = _run(backtest, at)
            difference = _earliest([difference, full.compare(cut, begin, at)[1]])
        except Exception as error:  # whatever the builder raises, it does not raise it with the future
            difference = _failed(at, error)
        done.append(Cut(at, count, difference))
    return Lookahead(done, seed, "engine" if given is None else "data", list(notes))


def _run(backtest: Backtest, stop: str | date | int | None) -> _Run:
    """Runs with every target's value recorded and every wish heard."""
    wishes = backtest.strategy
    kept = list(wishes) if isinstance(wishes, Iterator) else wishes
    backtest = replace(backtest, strategy=kept)
    targets = Plan.of(backtest).targets
    records = [Record(f"{_TARGET}{t.strategy} {t.symbol}", t.value, t.value) for t in targets]
    stop = backtest.stop if stop is None else stop
    plan = Plan.of(replace(backtest, strategy=[kept, records], latency=False, stop=stop))  # type: ignore[list-item]
    heard: list[tuple[Any, ...]] = []
    for strategy in plan.callbacks:
        _listen(strategy, heard)
    results = plan.run(None, progress=False)
    of_target = pl.col("who").str.starts_with(_TARGET)
    signals = _stamped(results.signals, "signal")
    orders = ["ts", "order", "strategy", "instrument", "venue", "side", "time_in_force"]
    # A replacement changes these two later; where there can be one, wishes tell them.
    orders += [] if plan.callbacks else ["quantity", "price"]
    said = {
        "signal": signals.filter(~of_target),
        "target": signals.filter(of_target).with_columns(pl.col("who").str.strip_prefix(_TARGET)),
        "wish": pl.DataFrame(heard, schema=_WISH, orient="row"),
        "order": _stamped(results.orders.select(orders), "strategy"),
        "refusal": _stamped(results.refusals, "strategy"),
        "fill": _stamped(results.fills, "strategy"),
    }
    return _Run(plan, said, results.equity["ts"].dt.timestamp("ns").to_numpy())


def _stamped(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    return frame.select(pl.col("ts").dt.timestamp("ns").alias("at"), pl.col(name).alias("who"), pl.exclude("ts", name))


_WISH: Final = {
    "at": pl.Int64,
    "who": pl.String,
    "wish": pl.String,
    "instrument": pl.Int64,
    "order": pl.Int64,
    "quantity": pl.Float64,
    "price": pl.Float64,
    "terms": pl.String,
}


class _Ear:
    """A strategy's line to the engine, with somebody listening."""

    def __init__(self, port: Port, name: str, heard: list[tuple[Any, ...]]) -> None:
        self._port, self._name, self._heard = port, name, heard

    @property
    def now(self) -> int:
        return self._port.now

    def order(self, instrument: int, buy: bool, quantity: int, price: int | None, *terms: Any) -> int:
        number = self._port.order(instrument, buy, quantity, price, *terms)
        self._note("buy" if buy else "sell", instrument, number, quantity, price, repr(terms))
        return number

    def queue(self, instrument: int, order: int) -> tuple[int, int, int] | None:
        return self._port.queue(instrument, order)

    def cancel(self, instrument: int, order: int) -> None:
        self._port.cancel(instrument, order)
        self._note("cancel", instrument, order)

    def replace(self, instrument: int, order: int, quantity: int, price: int) -> None:
        self._port.replace(instrument, order, quantity, price)
        self._note("replace", instrument, order, quantity, price)

    def target(self, instrument: int, position: int) -> None:
        self._port.target(instrument, position)
        self._note("target", instrument, None, position)

    def position(self, instrument: int) -> int:
        return self._port.position(instrument)

    def book(self, instrument: int) -> BookView:
        return self._port.book(instrument)

    def _note(
        self,
        wish: str,
        instrument: int,
        order: int | None,
        quantity: int | None = None,
        price: int | None = None,
        terms: str | None = None,
    ) -> None:
        shares = None if quantity is None else quantity / QUANTITY_SCALE
        money = None if price is None else price / PRICE_SCALE
        self._heard.append((self._port.now, self._name, wish, instrument, order, shares, money, terms))


def _listen(strategy: Any, heard: list[tuple[Any, ...]]) -> None:
    connect = strategy.connect
    strategy.connect = lambda port, *run: connect(_Ear(port, strategy.name, heard), *run)


# ---- what the engine reads -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Inputs:
    """Digests of the market data that the full run reads, up to each cut."""

    sources: list[ColumnSource]
    ids: dict[str, int]
    digests: list[list[dict[str, bytes]]]

    @classmethod
    def of(cls, plan: Plan, moments: Sequence[int], last_known: int) -> _Inputs:
        ids = {symbol: number for number, symbol in enumerate(plan.symbols)}
        sources = [source for source in plan.sources if isinstance(source, ColumnSource)]
        digests = []
        for source in sources:
            found, last = _digest(source.batches(ids), moments)
            if last > last_known:
                raise ArgumentError(
                    f"the run reads {source.schema} up to {clock(last)}, but the data given is known to the end at "
                    f"{clock(last_known)}: pass known_after (the bars' length, if they are labelled by their start), "
                    "tz or ts_unit as the source has them, and give all data that the run reads"
                )
            digests.append(found)
        return cls(sources, ids, digests)

    def compare(self, backtest: Backtest, cut: int, at: int) -> tuple[Difference | None, bool]:
        """The first row up to `at` that another run reads otherwise; and whether it has rows beyond `at`."""
        plan = Plan.of(backtest)
        sources = [source for source in plan.sources if isinstance(source, ColumnSource)]
        if [source.schema for source in sources] != [source.schema for source in self.sources]:
            names = [", ".join(source.schema for source in some) for some in (self.sources, sources)]
            return Difference(at, "data", "sources", "", *names), False
        found, beside = [], False
        for mine, theirs, digests in zip(self.sources, sources, self.digests, strict=True):
            (digest,), last = _digest(theirs.batches(self.ids), [at])
            beside = beside or last > at
            if digest != digests[cut]:
                frames = [_rows(source, self.ids, at) for source in (mine, theirs)]
                found.append(_first("data", *frames))
        return _earliest(found), beside


def _digest(batches: Iterable[Batch], moments: Sequence[int]) -> tuple[list[dict[str, bytes]], int]:
    """For each moment the digest of every column up to it; and the last time of all."""
    hashes: dict[str, Any] = {}
    found: list[dict[str, bytes]] = []
    last = 0

    def add(batch: Batch, begin: int, end: int) -> None:
        for name, column in batch.items():
            hashes.setdefault(name, hashlib.blake2b(digest_size=16)).update(column[begin:end].tobytes())

    def note() -> None:
        empty = hashlib.blake2b(digest_size=16).digest()
        # A column of which no row was read yet is as good as none.
        digests = {name: digest.digest() for name, digest in hashes.items()}
        found.append({name: digest for name, digest in digests.items() if digest != empty})

    for batch in batches:
        ts, begin = batch["ts"], 0
        last = max(last, int(ts[-1]))
        while len(found) < len(moments) and ts[-1] > moments[len(found)]:
            end = int(np.searchsorted(ts, moments[len(found)], side="right"))
            add(batch, begin, end)
            note()
            begin = end
        add(batch, begin, ts.size)
    while len(found) < len(moments):
        note()
    return found, last


def _rows(source: ColumnSource, ids: Mapping[str, int], at: int) -> pl.DataFrame:
    names = {number: symbol for symbol, number in ids.items()}
    blocks = []
    for batch in source.batches(ids):
        block = pl.DataFrame(batch).rename({"ts": "at"}).filter(pl.col("at") <= at)
        who = pl.col("instrument").replace_strict(names, return_dtype=pl.String).alias("who")
        blocks.append(block.select("at", who, pl.exclude("at", "instrument")))
        if block.height < len(batch["ts"]):
            break
    return pl.concat(blocks) if blocks else pl.DataFrame(schema={"at": pl.Int64, "who": pl.String})


# ---- comparing -------------------------------------------------------------------------------------------------------


def _first(kind: str, full: pl.DataFrame, cut: pl.DataFrame) -> Difference | None:
    """The first row that differs: value, time or name; or that one has and the other has not."""
    if full.columns != cut.columns and full.height and cut.height:
        at = int(min(full["at"][0], cut["at"][0]))
        return Difference(at, kind, "columns", "", ", ".join(full.columns[2:]), ", ".join(cut.columns[2:]))
    rows = min(full.height, cut.height)
    same = np.ones(rows, dtype=np.bool_)
    for name in full.columns if rows else ():
        same &= _same(full[name].head(rows), cut[name].head(rows))
    if same.all() and full.height == cut.height:
        return None
    row = rows if same.all() else int(np.argmin(same))
    mine, theirs = (frame.row(row, named=True) if row < frame.height else None for frame in (full, cut))
    if mine and theirs and (mine["at"], mine["who"]) == (theirs["at"], theirs["who"]):
        column = next(c for c in full.columns if not _same(full[c].slice(row, 1), cut[c].slice(row, 1)).all())
        return Difference(mine["at"], kind, mine["who"], column, mine[column], theirs[column])
    # One of them said something that the other did not, or not yet.
    if mine and theirs and mine["at"] != theirs["at"]:
        mine, theirs = (mine, None) if mine["at"] < theirs["at"] else (None, theirs)
    told = mine or theirs
    assert told is not None, "a difference in height has a row"
    return Difference(told["at"], kind, told["who"], "", _told(mine), _told(theirs))


def _same(a: pl.Series, b: pl.Series) -> NDArray[np.bool_]:
    """Equal bit for bit, null to null, NaN to NaN."""
    if a.dtype != b.dtype:
        return np.zeros(len(a), dtype=np.bool_)
    if not a.dtype.is_float():
        return a.eq_missing(b).to_numpy()
    null = (a.is_null().to_numpy(), b.is_null().to_numpy())
    x, y = (np.ascontiguousarray(s.fill_null(0.0).to_numpy()) for s in (a, b))
    bits = f"u{x.dtype.itemsize}"
    equal = (x.view(bits) == y.view(bits)) | (np.isnan(x) & np.isnan(y))
    return cast("NDArray[np.bool_]", (null[0] == null[1]) & (equal | null[0]))


def _told(row: Mapping[str, Any] | None) -> str | None:
    if row is None:
        return None
    return ", ".join(
        f"{name} {value}" for name, value in row.items() if name not in ("at", "who") and value is not None
    )


def _earliest(found: Iterable[Difference | None]) -> Difference | None:
    """The first in time; of those at one time the one that led to the others."""
    return min((x for x in found if x is not None), key=lambda x: x.at, default=None)


def _failed(at: int, error: Exception) -> Difference:
    text = str(error) if isinstance(error, HeliosError) else f"{type(error).__name__}: {error}"
    return Difference(at, "run", "as a whole", "", "runs", f"fails: {text}")


def _not_repeatable(difference: Difference) -> RunError:
    return RunError(
        f"two runs on the same data differ: {difference.kind} {difference.name} at {clock(difference.at)} is "
        f"{_shown(difference.with_future)}, then {_shown(difference.without_future)}",
        hint="Seed its random numbers, and make a new strategy instance in each call of build.",
    )


def clock(ns: int) -> str:
    """A moment as ISO text, UTC, without trailing zeros."""
    text = str(np.datetime64(ns, "ns"))
    return f"{text.rstrip('0').rstrip('.')}Z"


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{value!r}" if isinstance(value, float) else str(value)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
