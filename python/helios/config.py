"""Run files: RUN.toml describes a backtest by settings, RUN.py by code that defines `run`.

    name = "pairs"
    cash = 1_000_000

    [[data]]
    kind = "itch"                    # itch, bars, quotes, trades or lobster
    path = "day.itch"                # relative to this file
    date = 2026-01-05

    [strategy]
    kind = "pairs"                   # or "class", with class = "file.py:Name" and a [strategy.params] table
    pairs = [["KO", "PEP", 0.9]]     # or file = "pairs.csv" with columns a, b, beta
    window = "10m"

    [venue]
    order_latency = "50us"

    [limits]
    order_notional = 50_000

A key that is not known is an error that names the nearest one.

`run_file` gives the same file as something to sweep over: the keys of RUN.toml are its parameters; in a RUN.py, `run`
is a function with a parameter `data` (its default is the data) and others, the parameters.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import importlib.util
import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date as Date
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from helios.errors import ArgumentError, ConfigError
from helios.execution import Execution, Fees, HalfSpread, Latency, Venue
from helios.research.recipe import FunctionRecipe, Params, Recipe, Value, unknown_parameter
from helios.risk import Limits

if TYPE_CHECKING:
    from helios.research.backtest import Backtest, Source, Wish


class _Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: every key is known."""


class DataTable(_Table):
    """[[data]]"""

    kind: Literal["itch", "bars", "quotes", "trades", "lobster"]
    path: str
    date: Date | None = None
    tz: str | None = None
    ts_unit: str | None = None
    symbol: str | None = None
    span: str | None = None
    label: Literal["end", "start"] = "end"
    sort: bool = False
    on_error: Literal["raise", "skip"] = "raise"


class StrategyTable(_Table):
    """[strategy]"""

    kind: Literal["pairs", "class"]
    pairs: list[tuple[str, str, float]] | None = None
    file: str | None = None
    window: str | int | None = None
    halflife: str | float | None = None
    enter: float = 2.0
    exit: float = 0.5
    notional: float = 10_000.0
    price: Literal["mid", "last", "close"] = "mid"
    cls: str | None = msgspec.field(default=None, name="class")
    params: dict[str, Any] = msgspec.field(default_factory=dict)


class VenueTable(_Table):
    """[venue]"""

    order_latency: str | None = None
    report_latency: str | None = None
    maker_per_share: float = 0.0
    taker_per_share: float = 0.0
    maker_bp: float = 0.0
    taker_bp: float = 0.0
    minimum_per_order: float = 0.0
    half_spread_bp: float = 1.0
    half_spread_fixed: float = 0.0
    day_begins: str | None = None


class RunTable(_Table):
    """The whole file."""

    data: list[DataTable]
    strategy: StrategyTable
    name: str | None = None
    cash: float = 1_000_000.0
    seed: int | None = None
    tick: float = 0.01
    lot: float = 1.0
    start: datetime | None = None
    sample: str = "1m"
    marks: str | None = "1m"
    latency: bool = False
    venue: VenueTable = msgspec.field(default_factory=VenueTable)
    execution: Execution = msgspec.field(default_factory=Execution)
    limits: Limits = msgspec.field(default_factory=Limits)


def load_run(path: str | os.PathLike[str]) -> Backtest:
    """The backtest that a RUN.toml or RUN.py describes. ConfigError names file, key and what to do."""
    file = _checked(path)
    if file.suffix == ".py":
        return _load_python(file)
    with _naming(file):
        return _build(_table(_read(file), file), file)


def run_file(path: str | os.PathLike[str]) -> Recipe:
    """A RUN.toml or RUN.py as something to sweep over: `sweep(run_file("run.toml"), {"enter": [2.0, 2.5]})`."""
    file = _checked(path).resolve()
    return _PythonRun(file) if file.suffix == ".py" else _TomlRun(file)


def _checked(path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    if not file.is_file():
        raise ConfigError("there is no such run file", file=str(file))
    if file.suffix not in (".py", ".toml"):
        raise ConfigError("a run file ends in .toml or .py", file=str(file))
    return file


def _read(file: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not a TOML file: {error}", file=str(file)) from None
    _refuse_unknown_keys(raw, RunTable, (), file)
    return raw


def _table(raw: Mapping[str, Any], file: Path) -> RunTable:
    try:
        return msgspec.convert(raw, RunTable)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        raise ConfigError(message, file=str(file), key=place.strip("`.") or None) from None


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """What a run file says wrongly, with its name."""
    try:
        yield
    except ArgumentError as error:
        raise ConfigError(str(error), file=str(file)) from None


def _refuse_unknown_keys(raw: Any, table: type, place: tuple[str, ...], file: Path) -> None:
    """msgspec finds unknown keys too, but does not say which known one is near."""
    known = _keys(table)
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"Did you mean '{near[0]}'?" if near else f"Known keys: {', '.join(known)}."
            raise ConfigError("unknown key", file=str(file), key=".".join([*place, key]), hint=hint)
        inner = next((kind for kind in (known[key], *get_args(known[key])) if _keys(kind)), None)
        if inner is not None:
            for number, part in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(part, dict):
                    where = f"{key}[{number}]" if isinstance(value, list) else key
                    _refuse_unknown_keys(part, inner, (*place, where), file)


def _keys(table: Any) -> dict[str, Any]:
    """The keys that a table may have, and what they hold; empty for what is no table."""
    if isinstance(table, type) and issubclass(table, msgspec.Struct):
        return {field.encode_name: field.type for field in msgspec.structs.fields(table)}
    return {field.name: field.type for field in dataclasses.fields(table)} if dataclasses.is_dataclass(table) else {}


def _build(table: RunTable, file: Path, data: Sequence[Source] | None = None) -> Backtest:
    """`data` are sources to use in place of those that the file names."""
    from helios.research.backtest import Backtest

    v = table.venue
    venue = Venue(
        latency=Latency(order=v.order_latency, report=v.report_latency),
        fees=Fees(
            maker_per_share=v.maker_per_share,
            taker_per_share=v.taker_per_share,
            maker_bp=v.maker_bp,
            taker_bp=v.taker_bp,
            minimum_per_order=v.minimum_per_order,
        ),
        half_spread=HalfSpread(bp=v.half_spread_bp, fixed=v.half_spread_fixed),
        day_begins=v.day_begins,
    )
    return Backtest(
        data=data or [_source(each, file) for each in table.data],
        strategy=_strategy(table.strategy, file),
        venue=venue,
        limits=table.limits,
        execution=table.execution,
        cash=table.cash,
        tick=table.tick,
        lot=table.lot,
        start=table.start,
        name=table.name or file.stem,
        sample=table.sample,
        marks=table.marks,
        latency=table.latency,
        seed=table.seed,
    )


def _source(table: DataTable, file: Path) -> Source:
    from helios import data

    path = file.parent / table.path
    day = None if table.date is None else table.date.isoformat()
    if table.kind == "itch":
        return data.itch(path, date=day, tz=table.tz or "America/New_York")
    if table.kind == "lobster":
        return data.lobster(path, symbol=table.symbol, date=day, tz=table.tz or "America/New_York")
    options: dict[str, Any] = {
        "tz": table.tz,
        "ts_unit": table.ts_unit,
        "sort": table.sort,
        "on_error": table.on_error,
    }
    if table.symbol is not None:
        options |= {"symbol": None, "symbol_is": table.symbol}
    if table.kind == "bars":
        return data.bars(path, label=table.label, span=table.span, **options)
    return (data.quotes if table.kind == "quotes" else data.trades)(path, **options)


def _strategy(table: StrategyTable, file: Path) -> Wish | list[Any]:
    from helios.signals import Strategy, pair

    if table.kind == "class":
        if table.cls is None or ":" not in table.cls:
            raise ConfigError("give the class as 'file.py:Name'", file=str(file), key="strategy.class")
        name, _, attribute = table.cls.partition(":")
        module = _import(file.parent / name)
        cls = getattr(module, attribute, None)
        if not isinstance(cls, type) or not issubclass(cls, Strategy):
            raise ConfigError(f"{name} has no Strategy class {attribute!r}", file=str(file), key="strategy.class")
        try:
            return cls(**table.params)
        except TypeError as error:
            raise ConfigError(str(error), file=str(file), key="strategy.params") from None
    if (table.pairs is None) == (table.file is None):
        raise ConfigError("give either pairs = [[a, b, beta], …] or file = 'pairs.csv'", file=str(file), key="strategy")
    pairs = table.pairs if table.pairs is not None else _pairs_of(file.parent / str(table.file))
    return [
        pair(
            a,
            b,
            beta=beta,
            window=table.window,
            halflife=table.halflife,
            enter=table.enter,
            exit=table.exit,
            notional=table.notional,
            price=table.price,
        )
        for a, b, beta in pairs
    ]


def _pairs_of(path: Path) -> list[tuple[str, str, float]]:
    import polars as pl

    if not path.is_file():
        raise ConfigError("there is no such file of pairs", file=str(path))
    try:
        frame = pl.read_csv(path)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(f"not a CSV file: {str(error).partition(chr(10))[0]}", file=str(path)) from None
    missing = [name for name in ("a", "b", "beta") if name not in frame.columns]
    if missing:
        raise ConfigError(f"columns {', '.join(missing)} are missing: a file of pairs has a, b, beta", file=str(path))
    betas = frame["beta"].cast(pl.Float64, strict=False)
    bad = (betas.is_null() | ~betas.is_finite() | frame["a"].is_null() | frame["b"].is_null()).arg_true()
    if len(bad):
        row = int(bad[0])
        shown = ", ".join(map(str, frame.select("a", "b", "beta").row(row)))
        raise ConfigError(f"row {row}: {shown} is no pair: it takes two symbols and a number", file=str(path))
    return [(str(a), str(b), beta) for a, b, beta in zip(frame["a"], frame["b"], betas, strict=True)]


def _import(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError("there is no such Python file", file=str(path))
    name = f"helios_run_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Under a name of its own: a run file may be called random.py or polars.py.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _load_python(file: Path) -> Backtest:
    from helios.research.backtest import Backtest

    run = getattr(_import(file), "run", None)
    if callable(run) and not isinstance(run, Backtest):
        run = run()
    if not isinstance(run, Backtest):
        raise ConfigError(
            "a run file defines `run`, a Backtest or a function that returns one", file=str(file), key="run"
        )
    return run


# --- Run files to sweep over -----------------------------------------------------------------------------------------


class _TomlRun(Recipe):
    """RUN.toml as it was when it was read. Its parameters are the keys outside [[data]]."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._raw = _read(file)
        table = _table(self._raw, file)
        self.name = table.name or file.stem

    @property
    def data(self) -> list[Source]:
        with _naming(self._file):
            return [_source(each, self._file) for each in _table(self._raw, self._file).data]

    def parameter(self, name: str) -> str:
        if name.partition(".")[0] == "data":
            raise ConfigError("the data are shared by all points and cannot be swept", file=str(self._file), key=name)
        known = [*_paths(RunTable), *(f"strategy.params.{key}" for key in self._raw["strategy"].get("params", {}))]
        found = [name] if name in known else [path for path in known if path.rpartition(".")[2] == name]
        if name.startswith("strategy.params.") and self._raw["strategy"].get("kind") == "class":
            found = [name]  # what the class takes, written in the file or not
        if len(found) > 1:
            raise ArgumentError(f"{self._file.name} has several parameters {name!r}: write {' or '.join(found)}")
        if not found:
            raise unknown_parameter(name, known, self._file.name)
        return found[0]

    def check(self, parameter: str, value: Value) -> None:
        _table(self._with({parameter: value}), self._file)

    def identity(self, params: Params) -> dict[str, Any]:
        raw = self._with(params)
        # The data are known by their content, and a name changes nothing.
        return dict(_flat({key: value for key, value in raw.items() if key not in ("data", "name")}))

    def files(self, params: Params) -> list[Path]:
        table = _table(self._with(params), self._file).strategy
        named = [table.file, table.cls.partition(":")[0] if table.cls else None]
        return [self._file.parent / name for name in named if name]

    def symbols(self, points: Sequence[Params]) -> set[str] | None:
        if self._raw["strategy"].get("kind") != "pairs":
            return None
        found: set[str] = set()
        for name in {str(params.get("strategy.file", self._raw["strategy"].get("file"))) for params in points}:
            pairs = self._raw["strategy"].get("pairs") or _pairs_of(self._file.parent / name)
            found.update(symbol for a, b, *_ in pairs for symbol in (a, b))
        return found

    def __call__(self, data: list[Source], params: Params) -> Backtest:
        with _naming(self._file):
            return _build(_table(self._with(params), self._file), self._file, data)

    def _with(self, params: Params) -> dict[str, Any]:
        raw = copy.deepcopy(self._raw)
        for path, value in params.items():
            *tables, key = path.split(".")
            place = raw
            for table in tables:
                place = place.setdefault(table, {})
            place[key] = value
        return raw


class _PythonRun(Recipe):
    """RUN.py whose `run` is a function `run(data=…, …) -> Backtest`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.name = file.stem
        self._inner = self._function()

    def __getstate__(self) -> dict[str, Any]:
        return {"_file": self._file, "name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A run file is no module that a worker could import by name.
        self.__dict__ |= state
        self._inner = _loaded.get(self._file) or self._function()

    def _function(self) -> FunctionRecipe:
        run = getattr(_import(self._file), "run", None)
        try:
            if not callable(run):
                raise ArgumentError("`run` is no function")
            _loaded[self._file] = recipe = FunctionRecipe(run, None)
        except ArgumentError as error:
            hint = "To be swept, a run file defines run(data=<sources>, <parameters>), which returns a Backtest."
            raise ConfigError(str(error), file=str(self._file), key="run", hint=hint) from None
        return recipe

    @property
    def data(self) -> list[Source]:
        return self._inner.data

    def parameter(self, name: str) -> str:
        return self._inner.parameter(name)

    def check(self, parameter: str, value: Value) -> None:
        self._inner.check(parameter, value)

    def identity(self, params: Params) -> dict[str, Any]:
        return self._inner.identity(params)

    def files(self, params: Params) -> list[Path]:  # noqa: ARG002
        return [self._file]

    def __call__(self, data: list[Source], params: Params) -> Backtest:
        return self._inner(data, params)


#: Run files that this process has imported already: once is enough for all the points of a worker.
_loaded: dict[Path, FunctionRecipe] = {}


def _paths(table: Any, place: str = "") -> Iterator[str]:
    """The dotted names of all keys that a sweep may change; the strategy's own are those that the file has."""
    for key, kind in _keys(table).items():
        if place + key in ("data", "name", "strategy.params"):
            continue
        inner = next((each for each in (kind, *get_args(kind)) if _keys(each)), None)
        if inner is not None:
            yield from _paths(inner, f"{place}{key}.")
        else:
            yield place + key


def _flat(raw: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values; what JSON does not know, like a date, as text."""
    for key, value in raw.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{place}{key}.")
        else:
            yield place + key, value if isinstance(value, str | int | float | None) else json.dumps(value, default=str)
