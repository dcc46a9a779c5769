"""Sweeps: the same backtest at many points of its parameters, on all cores, with one copy of the data.

    def build(data, enter, window):
        return hx.Backtest(data=data, strategy=hx.pair("KO", "PEP", enter=enter, window=window))

    if __name__ == "__main__":
        found = hx.sweep(build, {"enter": [1.5, 2.0, 2.5], "window": ["5m", "10m"]}, data=hx.itch("day.itch"), out="s")
        print(found.frame)

The data are read, checked and written once to memory-mapped files; `build` is called with sources over them. A point is
`build(data, **params).run()`, nothing else: its digest is that of the same backtest alone, whatever ran it and in which
order. With `out`, every finished point is on disk at once, and a sweep that was killed goes on where it was. A point
that raises is kept with its error and stops nothing.

Looking at many points and taking the best is itself a fit to noise: the best of N trials looks better than it is, even
where none has any worth. `trials` counts what was tried in the folder, and `sharpe_sample`, `samples`, `skew` and
`kurtosis` are what a deflated Sharpe ratio needs (Bailey and Lopez de Prado, "The Deflated Sharpe Ratio", Journal of
Portfolio Management 40(5), 2014).

Assumes that `build` does the same whenever it is called with the same values: it may read no clock and no random number
without a seed. A fingerprint of its file and of the files of a run tells whether an old point still counts; what that
file imports is not in it. Absent: optimisers that choose the next point by the last results; data that depend on a
parameter.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
import os
import random as random_numbers
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import polars as pl

from helios.data.shared import share
from helios.errors import ArgumentError, HeliosError, RunError
from helios.research.backtest import Backtest, Plan, versions
from helios.research.executors import Executor, Processes, Serial
from helios.research.feeds import Source
from helios.research.metrics import sharpe_ratio
from helios.research.recipe import FunctionRecipe, Params, Recipe, Value
from helios.research.results import Results, jsonable, write_whole
from helios.research.sweep_folder import CSV_FILE, DATA_FOLDER, PAGE_FILE, TABLE_FILE, SweepFolder, read_description

__all__ = ["Executor", "Processes", "Recipe", "Serial", "Sweep", "sweep"]

#: Points of one sweep, at most.
MOST_POINTS: Final = 100_000

#: Columns of the results after the parameters.
METRICS: Final[dict[str, pl.DataType]] = {
    "net": pl.Float64(),
    "sharpe": pl.Float64(),
    "max_drawdown": pl.Float64(),
    "turnover": pl.Float64(),
    "fees": pl.Float64(),
    "fills": pl.Int64(),
    "trades": pl.Int64(),
    "hit_rate": pl.Float64(),
    "orders": pl.Int64(),
    "refusals": pl.Int64(),
    "sharpe_sample": pl.Float64(),
    "samples": pl.Int64(),
    "skew": pl.Float64(),
    "kurtosis": pl.Float64(),
    "events": pl.Int64(),
    "seconds": pl.Float64(),
    "digest": pl.String(),
    "error": pl.String(),
}
#: Metrics that a map can show, and what they are called there.
SHOWN: Final[dict[str, str]] = {
    "net": "net P&L after fees",
    "sharpe": "Sharpe ratio, annualised",
    "sharpe_sample": "Sharpe ratio of one sample",
    "max_drawdown": "max drawdown",
    "turnover": "turnover",
    "fees": "fees",
    "fills": "fills",
    "trades": "round trips",
    "hit_rate": "hit rate",
}


# --- The points ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """One point: its place in the grid, its values by full name, and fingerprints of what it depends on."""

    index: int
    key: str
    params: Params
    #: SHA-256 of files by path.
    files: dict[str, str]


def _values_of(name: str, values: object) -> list[Value]:
    """The values of one parameter, checked: simple, finite, at least one, none twice."""
    if isinstance(values, str) or not isinstance(values, Sequence | range | np.ndarray | pl.Series):
        raise ArgumentError(f"parameter {name!r}: give a list of values, not {values!r}")
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if not plain:
        raise ArgumentError(f"parameter {name!r} has no values")
    for value in plain:
        if value is not None and not isinstance(value, str | int | float):
            raise ArgumentError(f"parameter {name!r}: {value!r} is neither text nor a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise ArgumentError(f"parameter {name!r}: {value!r} is no number")
    seen: set[Any] = set()
    for value in plain:
        if (mark := (isinstance(value, bool), value)) in seen:
            raise ArgumentError(f"parameter {name!r} has the value {value!r} twice")
        seen.add(mark)
    return plain


def _grid(values: Mapping[str, list[Value]], count: int | None, seed: int) -> list[Params]:
    """All combinations, the last parameter fastest; or `count` of them, drawn without replacement, in that order."""
    total = math.prod(len(each) for each in values.values())
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= total):
        raise ArgumentError(f"random is {count!r}: it must be a whole number from 1 to the grid's {total:,} points")
    if (count or total) > MOST_POINTS:
        raise ArgumentError(
            f"{count or total:,} points are more than {MOST_POINTS:,}: coarser steps, or random=N for a sample of them"
        )
    if count is None:
        return [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
    chosen = sorted(random_numbers.Random(seed).sample(range(total), count))
    return [_combination(values, index) for index in chosen]


def _combination(values: Mapping[str, list[Value]], index: int) -> Params:
    """The combination at a place of the grid, which need not exist as a list."""
    found: Params = {}
    for name in reversed(list(values)):
        index, at = divmod(index, len(values[name]))
        found[name] = values[name][at]
    return {name: found[name] for name in values}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read: {error.strerror}"


@dataclass(frozen=True)
class Job:
    """What every worker gets: how to build a point, and the shared data. Called with a point, it gives its record."""

    recipe: Recipe
    data: list[Source]

    def __call__(self, point: Point) -> dict[str, Any]:
        record: dict[str, Any] = {"index": point.index, "key": point.key, "params": point.params}
        begun = time.perf_counter()
        try:
            record |= self._run(point)
            record["result"]["seconds"] = time.perf_counter() - begun
        except KeyboardInterrupt:
            raise
        # A panic of the core and a sys.exit of the strategy are no Exception, and are the point's own trouble too.
        except BaseException as error:
            told = str(error) if isinstance(error, HeliosError) else f"{type(error).__name__}: {error}"
            record |= {"error": told, "seconds": time.perf_counter() - begun}
        return record

    def _run(self, point: Point) -> dict[str, Any]:
        for path, digest in point.files.items():
            if _file_digest(Path(path)) != digest:
                raise RunError(f"{path} has changed while the sweep was running", hint="Start it again.")
        backtest = self.recipe(self.data, point.params)
        if not isinstance(backtest, Backtest):
            raise ArgumentError(f"{self.recipe.name} returned a {type(backtest).__name__}, not a Backtest")
        plan = Plan.of(backtest)
        if not all(any(source is given for given in self.data) for source in plan.sources):
            raise ArgumentError(f"{self.recipe.name} must use the data it is given: other data are not shared")
        results = plan.run(None, progress=False)
        return {"result": jsonable(_measured(results)), "warnings": results.meta["warnings"]}


def _measured(results: Results) -> dict[str, Any]:
    """The numbers of one point. `sharpe_sample`, `skew` and `kurtosis` (3 for a normal) are of the changes of net P&L
    from one sample of equity to the next, `samples` of them, from the start of trading on; nothing is annualised."""
    h = results.headline
    ts = results.equity["ts"].to_physical().to_numpy()
    traded = np.isfinite(results.net_path) & (ts >= int(results.meta.get("trade_from") or 0))
    changes = pl.Series(np.diff(results.net_path[traded]))
    sharpe = sharpe_ratio(changes, 1.0)
    return {
        "net": h.net,
        "sharpe": h.sharpe.value,
        "max_drawdown": h.max_drawdown,
        "turnover": h.turnover,
        "fees": h.fees,
        "fills": h.fills,
        "trades": h.round_trips,
        "hit_rate": h.hit_rate,
        "orders": h.orders,
        "refusals": h.refusals,
        "sharpe_sample": sharpe,
        "samples": len(changes),
        "skew": None if sharpe is None else changes.skew(),
        "kurtosis": None if sharpe is None else changes.kurtosis(fisher=False),
        "events": results.meta["events"],
        "digest": results.meta["digest"],
    }


# --- The results -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sweep:
    """The results: `frame` has one row a point in the order of the grid, its parameters first, then `METRICS`."""

    name: str
    #: Columns of `frame` that hold parameters.
    params: list[str]
    frame: pl.DataFrame
    #: Distinct points that ever gave a result in this folder, those of earlier runs and data included. It takes all of
    #: them to say how good the best would look by luck.
    trials: int
    #: Points taken over from an earlier start.
    reused: int = 0
    #: What the reader should know: old points that were not reused, warnings of the runs.
    notes: list[str] = field(default_factory=list)
    folder: Path | None = None

    @property
    def failed(self) -> pl.DataFrame:
        """The points that raised, with their `error`."""
        return self.frame.filter(pl.col("error").is_not_null())

    def best(self, metric: str = "net") -> dict[str, Any] | None:
        """The row with the highest `metric`; the first of equals; None if no point has a value."""
        _check_metric(metric)
        known = self.frame.filter(pl.col(metric).is_not_null())
        return known.row(int(known[metric].arg_max() or 0), named=True) if known.height else None

    @property
    def bias(self) -> str:
        """What must be said beside the best point."""
        trials = f"{self.trials:,} trials" if self.trials != 1 else "1 trial"
        return (
            f"The best of {trials} looks better than it is: some point is lucky even where none has any worth. "
            f"Deflate its Sharpe ratio by the number of trials ({self.trials:,}), and judge it on data not used here."
        )

    def write_page(self, path: str | os.PathLike[str], metric: str = "net") -> Path:
        """Writes a self-contained HTML page with the map of the metrics; it opens with `metric`."""
        from helios.research.sweep_report import write_page

        _check_metric(metric)
        return write_page(self, Path(path), metric)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Reads the folder of a finished sweep. RunError if it is none, or not finished."""
        path = Path(folder)
        told = read_description(path)
        hint = "Start the same sweep again: it does only what is missing."
        if "trials" not in told:
            raise RunError("the sweep is not finished", folder=str(path), hint=hint)
        try:
            frame = pl.read_parquet(path / TABLE_FILE)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunError(f"{TABLE_FILE} cannot be read: {error}", folder=str(path), hint=hint) from error
        return cls(told["name"], list(told["columns"]), frame, told["trials"], told["reused"], told["notes"], path)

    def __repr__(self) -> str:
        told = f"Sweep({self.name!r}: {self.frame.height:,} points of {', '.join(self.params)}"
        failed = self.failed.height
        return f"{told}, {failed:,} failed, {self.trials:,} trials)" if failed else f"{told}, {self.trials:,} trials)"


def _check_metric(metric: str) -> None:
    if metric not in SHOWN:
        near = difflib.get_close_matches(metric, SHOWN, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(SHOWN)}"
        raise ArgumentError(f"no metric is named {metric!r}: {hint}")


def _columns(names: Sequence[str]) -> list[str]:
    """What the parameters are called in the results, where a metric may have the same name."""
    return [f"param.{name}" if name in METRICS else name for name in names]


def _frame(names: Mapping[str, str], values: Mapping[str, list[Value]], records: list[dict[str, Any]]) -> pl.DataFrame:
    """One row a record. `names` are the full names by the names that were asked for."""
    columns: list[pl.Series] = []
    for column, full in zip(_columns(list(names)), names.values(), strict=True):
        dtype = _dtype(values[full])
        cells = [record["params"][full] for record in records]
        cells = [str(c) if dtype == pl.String() and c is not None else c for c in cells]
        columns.append(pl.Series(column, cells, dtype=dtype, strict=False))
    for metric, dtype in METRICS.items():
        cells = [{**record, **record.get("result", {})}.get(metric) for record in records]
        columns.append(pl.Series(metric, cells, dtype=dtype, strict=False))
    return pl.DataFrame(columns)


def _dtype(values: list[Value]) -> pl.DataType:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pl.Boolean()
    if kinds == {int}:
        return pl.Int64()
    return pl.Float64() if kinds and kinds <= {int, float} else pl.String()


# --- The sweep -------------------------------------------------------------------------------------------------------


def sweep(
    build: Recipe | Callable[..., Backtest],
    params: Mapping[str, Sequence[Any]],
    *,
    data: Source | Sequence[Source] | None = None,
    out: str | os.PathLike[str] | None = None,
    random: int | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    symbols: Sequence[str] | None = None,
    metric: str = "net",
    progress: bool = False,
) -> Sweep:
    """Runs the backtest at every combination of `params`, or at `random` of them, drawn with `seed`.

    `build(data, **params) -> Backtest` uses the sources it is handed; `data` may also be the default of its
    parameter `data`. A run file is `run_file(path)`. `symbols` limits what is shared to what the points read.
    `executor` is `Processes()` unless given. With `out`, finished points are kept there, those of an earlier start
    are reused, and the results are written as Parquet, CSV and a page whose map opens with `metric`.

    Raises ArgumentError for parameters that cannot be, DataError for data that cannot be used, and RunError for a
    folder that is in use or cannot be written, or when a worker dies. A point that raises is a row with its `error`.
    """
    _check_metric(metric)
    if isinstance(build, str | os.PathLike):
        raise ArgumentError(f"sweep: {build!r} is a path: write sweep(hx.run_file({str(build)!r}), …)")
    recipe = build if isinstance(build, Recipe) else FunctionRecipe(build, data)
    if recipe is build and data is not None:
        raise ArgumentError("a run file names its data: leave `data` out")
    if out is not None:
        recipe.check_durable()
    names, values = _resolved(recipe, params)
    points = _grid(values, random, seed)
    wanted = symbols if symbols is not None else recipe.symbols(points)
    with ExitStack() as stack:
        folder = None if out is None else stack.enter_context(SweepFolder(Path(out)))
        shared_at = folder.path / DATA_FOLDER if folder else Path(stack.enter_context(_temporary()))
        with _saying("reading the data, once", progress):
            shared, digests = _shared(recipe.data, shared_at, wanted)
        told = _Told(recipe, names, values, points, digests, random, seed)
        notes = [] if folder is None else told.not_reused(folder)
        if folder is not None:
            folder.describe(told.meta([], {}))
        old = {} if folder is None else {k: r for k, r in folder.records.items() if "result" in r}
        missing = [point for point in told.points if point.key not in old]
        fresh = _run(Job(recipe, shared), missing, executor or Processes(), folder, progress)
        records = [{**(old.get(p.key) or fresh[p.key]), "index": p.index, "params": p.params} for p in told.points]
        notes += sorted({warning for record in records for warning in record.get("warnings", [])})
        succeeded = {p.key for p, record in zip(told.points, records, strict=True) if "result" in record}
        trials = len(succeeded | old.keys())
        frame = _frame(names, values, records)
        path, reused = None if folder is None else folder.path, len(points) - len(missing)
        found = Sweep(recipe.name, _columns(list(names)), frame, trials, reused, notes, path)
        if folder is not None:
            _save(found, folder, told, metric)
        return found


def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="helios-sweep-")


def _resolved(recipe: Recipe, params: Mapping[str, Sequence[Any]]) -> tuple[dict[str, str], dict[str, list[Value]]]:
    """Full names by the names asked for, and values by full name; all checked."""
    if not params:
        raise ArgumentError("a sweep needs at least one parameter and its values")
    names: dict[str, str] = {}
    values: dict[str, list[Value]] = {}
    for name, given in params.items():
        full = recipe.parameter(name)
        if full in values:
            raise ArgumentError(f"parameter {full!r} is given twice")
        names[name], values[full] = full, _values_of(name, given)
        for value in values[full]:
            recipe.check(full, value)
    return names, values


def _shared(data: list[Source], folder: Path, symbols: Any) -> tuple[list[Source], list[str]]:
    """The sources as one copy on disk, and a digest of each."""
    try:
        pairs = [share(source, folder / str(number), symbols=symbols) for number, source in enumerate(data)]
    except OSError as error:
        hint = "The sweep keeps one copy of the data there while it runs: make room, or choose another folder."
        raise RunError(f"cannot write the shared data: {error.strerror}", folder=str(folder), hint=hint) from error
    return [source for source, _ in pairs], [digest for _, digest in pairs]


def _run(
    job: Job, points: list[Point], executor: Executor, folder: SweepFolder | None, progress: bool
) -> dict[str, dict[str, Any]]:
    """Runs the points; every record is kept in the folder as it comes. By key."""
    done: dict[str, dict[str, Any]] = {}
    if not points:
        return done
    results = executor.map(job, points)
    with ExitStack() as stack:
        if isinstance(results, Generator):
            stack.enter_context(closing(results))  # ends its workers at once when a record cannot be kept
        bar = stack.enter_context(_Bar(job.recipe.name, len(points), progress))
        for record in results:
            if folder is not None:
                folder.append({name: value for name, value in record.items() if name != "index"})
            done[record["key"]] = record
            bar.advance("error" in record)
    lost = [point for point in points if point.key not in done]
    if lost:
        raise RunError(f"{type(executor).__name__} gave back {len(done)} of {len(points)} points", hint="It lost some.")
    return done


@contextmanager
def _saying(what: str, shown: bool) -> Iterator[None]:
    """A line on stderr while it lasts."""
    if not shown:
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


class _Bar:
    """How far the sweep is; nothing unless asked for."""

    def __init__(self, name: str, total: int, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._failed = 0
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}", style="red"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not shown,
        )
        self._task = self._bar.add_task(name, total=total, failed="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, failed: bool) -> None:
        self._failed += failed
        self._bar.update(self._task, advance=1, failed=f"{self._failed} failed" if self._failed else "")


class _Told:
    """What the sweep is, for the keys of its points and for sweep.json."""

    def __init__(
        self,
        recipe: Recipe,
        names: Mapping[str, str],
        values: Mapping[str, list[Value]],
        points: list[Params],
        digests: list[str],
        random: int | None,
        seed: int,
    ) -> None:
        self._recipe, self._names, self._values = recipe, names, values
        self._random, self._seed = random, seed
        self._common = {**{f"data[{i}]": digest for i, digest in enumerate(digests)}, **_engine()}
        self._digests: dict[Path, str] = {}
        self.points = [self._point(index, params) for index, params in enumerate(points)]

    def _identity(self, params: Params) -> tuple[dict[str, Any], dict[str, str]]:
        files = {}
        for path in self._recipe.files(params):
            files[str(path)] = self._digests[path] = self._digests.get(path) or _file_digest(path)
        # By content, not by path: a folder that was moved keeps its points.
        content = {f"file[{i}]": digest for i, digest in enumerate(files.values())}
        return {**self._recipe.identity(params), **content, **self._common}, files

    def _point(self, index: int, params: Params) -> Point:
        identity, files = self._identity(params)
        return Point(index, _digest(identity)[:32], params, files)

    def base(self) -> dict[str, Any]:
        """The identity of all points: that of the first without what is swept."""
        identity, _ = self._identity(self.points[0].params)
        return {name: value for name, value in identity.items() if name not in self._values}

    def not_reused(self, folder: SweepFolder) -> list[str]:
        """Says which older points do not count as done, and why."""
        before, now = folder.description().get("identity", {}), self.base()
        keys = {point.key for point in self.points}
        other = sum("result" in record for key, record in folder.records.items() if key not in keys)
        swept = {*self._values, *folder.description().get("params", {})}
        changed = [
            f"{name} {_short(before.get(name))} → {_short(now.get(name))}"
            for name in sorted({*before, *now})
            if name not in swept and before.get(name) != now.get(name)
        ]
        if not other or not changed:
            return []
        points = "1 finished point" if other == 1 else f"{other:,} finished points"
        return [f"{points} in this folder are of another run and not reused, but count as trials: {', '.join(changed)}"]

    def meta(self, notes: list[str], more: Mapping[str, Any]) -> dict[str, Any]:
        """What sweep.json holds."""
        grid = math.prod(len(values) for values in self._values.values())
        return {
            "name": self._recipe.name,
            "columns": _columns(list(self._names)),
            "params": dict(self._values),
            "grid_points": grid,
            "points": len(self.points),
            "random": self._random,
            "seed": None if self._random is None else self._seed,
            "identity": self.base(),
            "versions": versions(),
            "notes": notes,
            **more,
        }


def _short(value: Any) -> str:
    shown = "nothing" if value is None else str(value)
    return shown if len(shown) <= 24 else f"{shown[:8]}…"


def _engine() -> dict[str, str]:
    """What runs the points: another build of the core may not meet an old result."""
    from helios import _core

    return {"helios": versions()["helios"], "core": _file_digest(Path(str(_core.__file__)))}


def _save(found: Sweep, folder: SweepFolder, told: _Told, metric: str) -> None:
    write_whole(folder.path / TABLE_FILE, found.frame.write_parquet)
    write_whole(folder.path / CSV_FILE, found.frame.write_csv)
    found.write_page(folder.path / PAGE_FILE, metric)
    more = {"trials": found.trials, "failed": found.failed.height, "reused": found.reused, "bias": found.bias}
    folder.describe(told.meta(found.notes, more))
