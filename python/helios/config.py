"""Run files: RUN.toml describes a backtest by settings, RUN.py by code that defines `run`.

    name = "pairs"
    cash = 1_000_000

    [[data]]
    kind = "itch"                    # itch, bars, quotes, trades, depth, lobster, catalog, agents
    path = "day.itch"                # relative to this file
    date = 2026-01-05

    [strategy]
    class = "reversion.py:Reversion" # a Strategy: file relative to this one, or module:Name
    [strategy.params]
    enter = 2.5

    [[strategy]]                     # instead of [strategy], for several
    kind = "pairs"
    pairs = [["KO", "PEP", 0.9]]     # or file = "pairs.csv" with columns a, b, beta
    window = "10m"

    [venue]
    order_latency = "50us"

    [venue.BATS]                     # with others: "KO@BATS" is KO there, "KO" is KO at [venue]
    order_latency = "150us"
    [venue.DARK]
    kind = "dark"
    prints = 0.1

    [limits]
    order_notional = 50_000

The tables [live], [[feed]], [[session]], [[drop_copy]] and [standby] are for `helios run` (helios.live.settings); a
backtest of the same file checks their keys and uses none of them. A live run reads no [[data]].

A key that is not known is an error that names the nearest one.

`run_file` gives the same file as something to sweep over: the keys of RUN.toml are its parameters; in a RUN.py, `run`
is a function with a parameter `data` (its default is the data) and others, the parameters.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date as Date
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import msgspec

from helios.errors import ArgumentError, ConfigError
from helios.execution import (
    Arrivals,
    Borrow,
    DarkPool,
    Execution,
    Fees,
    FeeTier,
    Financing,
    Gamma,
    HalfSpread,
    Impact,
    Latency,
    LogNormal,
    Measured,
    Venue,
)
from helios.execution.latency import Delay
from helios.live.settings import DropCopyTable, FeedTable, LiveTable, Mode, SessionTable, StandbyTable, Tables, checked
from helios.research.recipe import FunctionRecipe, Params, Recipe, Value, unknown_parameter
from helios.risk import Limits
from helios.settings_file import Table, converted, keys_of, read_toml, refuse_unknown_keys
from helios.signals.parameters import own_constructor, parameter_types, parsed

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from helios.live.plan import LiveRun
    from helios.research.backtest import Backtest, Wish
    from helios.research.feeds import Source, Supply
    from helios.signals import Strategy


class DataTable(Table):
    """[[data]]"""

    kind: Literal["itch", "bars", "quotes", "trades", "depth", "lobster", "catalog", "actions", "agents"]
    #: Not for agents, which no file holds.
    path: str | None = None
    date: Date | None = None
    tz: str | None = None
    ts_unit: str | None = None
    #: The column of receive stamps.
    ts_recv: str | None = None
    symbol: str | None = None
    #: The venue at which its symbols are listed.
    venue: str | None = None
    span: str | None = None
    label: Literal["end", "start"] = "end"
    sort: bool = False
    #: LOBSTER: read the order book file too. Agents: a number.
    seed: bool | int | None = None
    #: Agents: the settings of `helios simulate`, with `symbols` and `seed`.
    minutes: int | None = None
    group_size: int | None = None
    rate: float | None = None
    half_life_s: float | None = None
    deviation_bp: float | None = None
    volatility: float | None = None
    on_error: Literal["raise", "skip"] = "raise"
    #: Catalog: what is read of it; `start` and `end` are trading dates, both included, or moments.
    schema: str | None = None
    #: Of a catalog which, of agents how many.
    symbols: list[str] | int | None = None
    start: Any = None
    end: Any = None
    adjust: str | None = None
    memory: str | None = None


class StrategyTable(Table):
    """[strategy]"""

    kind: Literal["pairs", "class"] | None = None
    name: str | None = None
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


class DelayTable(Table):
    """A latency that varies: order_latency = { median = "40us", p99 = "300us" }; median, mean or file says how."""

    median: str | None = None
    p99: str | None = None
    mean: str | None = None
    shape: float = 1.0
    minimum: str | None = None
    seed: int = 0
    file: str | None = None
    ns: str = "ns"
    time: str = "time"
    tz: str = "UTC"
    between: Literal["linear", "step"] = "linear"


class ImpactTable(Table):
    """[venue.impact]"""

    volume: float
    decays: list[tuple[float, str]] = msgspec.field(default_factory=list)
    permanent: float = 0.0
    exponent: float = 0.5
    maker: float = 0.0


class ArrivalsTable(Table):
    """[venue.NAME.arrivals]"""

    every: str
    median: float = 100.0
    sigma: float = 0.0
    adverse: float = 0.0
    patience: str | None = None
    seed: int = 0


class DarkTable(Table):
    """[venue.NAME] of kind "dark"."""

    kind: Literal["dark"]
    reference: str = ""
    order_latency: str | DelayTable | None = None
    report_latency: str | DelayTable | None = None
    maker_per_share: float = 0.0
    taker_per_share: float = 0.0
    maker_bp: float = 0.0
    taker_bp: float = 0.0
    minimum_per_order: float = 0.0
    minimum: float = 0.0
    prints: float = 0.0
    arrivals: ArrivalsTable | None = None
    self_match: bool = False
    max_age: str = "1m"
    day_begins: str | None = None


class VenueTable(Table):
    """[venue], and [venue.NAME] for each further one"""

    #: A length of time, a DelayTable, or "data" for the receive stamps of the data.
    feed_latency: str | DelayTable | None = None
    order_latency: str | DelayTable | None = None
    report_latency: str | DelayTable | None = None
    impact: ImpactTable | None = None
    maker_per_share: float = 0.0
    taker_per_share: float = 0.0
    maker_bp: float = 0.0
    taker_bp: float = 0.0
    minimum_per_order: float = 0.0
    tiers: list[FeeTier] = msgspec.field(default_factory=list)
    fee_volume: Literal["shares", "notional"] = "shares"
    fee_window: str = "30d"
    sell_bp: float = 0.0
    sell_per_share: float = 0.0
    sell_cap: float | None = None
    borrow: float | dict[str, float] = 0.0
    #: Of single symbols.
    borrow_rates: dict[str, float | dict[str, float]] = msgspec.field(default_factory=dict)
    not_shortable: list[str] = msgspec.field(default_factory=list)
    #: Interest a year on negative and on positive money.
    debit: float | dict[str, float] = 0.0
    credit: float | dict[str, float] = 0.0
    half_spread_bp: float = 1.0
    half_spread_fixed: float = 0.0
    day_begins: str | None = None
    #: An exchange's calendar, like "XNYS".
    session: str | None = None
    self_trade: Literal["cancel_newest", "cancel_oldest", "cancel_both", "decrement"] = "cancel_newest"
    auction_share: float = 0.1
    price_band: float | None = None
    mode: Literal["exact", "fast"] = "exact"
    #: "pessimistic", "optimistic", "proportional", "log", or the exponent of a power.
    queue: Literal["pessimistic", "optimistic", "proportional", "log"] | float = "pessimistic"


class RunTable(Table):
    """The whole file."""

    strategy: StrategyTable | list[StrategyTable]
    #: A live run has feeds in its place.
    data: list[DataTable] = msgspec.field(default_factory=list)
    name: str | None = None
    cash: float = 1_000_000.0
    seed: int | None = None
    tick: float = 0.01
    lot: float = 1.0
    start: datetime | None = None
    stop: datetime | None = None
    sample: str = "1m"
    marks: str | None = "1m"
    latency: bool = False
    venue: VenueTable = msgspec.field(default_factory=VenueTable)
    execution: Execution = msgspec.field(default_factory=Execution)
    limits: Limits = msgspec.field(default_factory=Limits)
    live: LiveTable | None = None
    feed: list[FeedTable] = msgspec.field(default_factory=list)
    session: list[SessionTable] = msgspec.field(default_factory=list)
    drop_copy: list[DropCopyTable] = msgspec.field(default_factory=list)
    standby: StandbyTable | None = None


class _Run(RunTable):
    """The file with its further venues, [venue.NAME], by name."""

    venues: dict[str, Any] = msgspec.field(default_factory=dict)


def load_run(path: str | os.PathLike[str]) -> Backtest:
    """The backtest that a RUN.toml or RUN.py describes. ConfigError names file, key and what to do."""
    file = _checked(path)
    if file.suffix == ".py":
        return _load_python(file)
    with _naming(file):
        return _build(_table(_read(file), file), file)


def load_live(
    path: str | os.PathLike[str], mode: Mode, *, directory: Path | None = None, journal: str | None = None
) -> LiveRun:
    """The live run that a RUN.toml describes: strategies, limits and venue as its backtest has them, fed by its feeds.

    `directory` and `journal` take the place of `live.directory` and `standby.journal`, which differ between a primary
    and its standby.

    ConfigError names file, key and what to do; it also says so of a password that is not there.
    """
    from helios.live.plan import plan

    file = _checked(path)
    if file.suffix != ".toml":
        hint = "Name its strategies in a RUN.toml: [strategy] class = 'file.py:Class'."
        raise ConfigError("a live run is described by a .toml file", file=str(file), hint=hint)
    with _naming(file):
        table = _table(_read(file), file)
        if directory is not None and table.live is not None:
            table.live.directory = str(directory.absolute())
        if journal is not None and table.standby is not None:
            table.standby.journal = journal
        tables = Tables(table.live, table.feed, table.session, table.drop_copy, table.standby)
        settings = checked(tables, mode, file)
        return plan(settings, lambda feeds: _build(table, file, feeds), _strategies(table, file), set(table.venues))


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


def load_builder(spec: str) -> tuple[Callable[..., Any], Any]:
    """What builds a run: a RUN.toml or RUN.py, or a function named as 'file.py:function' or 'module:function'.

    Returns the function, and what its module calls `data` (None without it): the data it is to be given, a path as seen
    from the module. A run file that needs no data gives a function without parameters, which loads it anew each time.
    """
    place, colon, name = spec.rpartition(":")
    file = Path(place if colon else spec)
    if not colon and file.suffix != ".py":
        return (lambda: load_run(file)), None
    if not colon and not file.is_file():
        raise ConfigError("there is no such run file", file=str(file))
    module = _import(file) if file.suffix == ".py" else _module(place)
    name = name if colon else "run"
    function = getattr(module, name, None)
    if not colon and not takes_data(function):
        return (lambda: load_run(file)), None
    if not callable(function):
        raise ConfigError(f"it has no function {name!r}", file=place or str(file))
    data = getattr(module, "data", None) if takes_data(function) else None
    if isinstance(data, str | os.PathLike) and module.__file__ is not None:
        data = Path(module.__file__).parent / data
    return function, data


def takes_data(function: Any) -> bool:
    """Whether it must be given an argument."""
    if not callable(function):
        return False
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.default is p.empty and p.kind in positional for p in parameters)


def _module(name: str) -> Any:
    """By its dotted name, from where Python looks or from the working directory."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        hint = "Write file.py:function, or module:function with a module that Python finds."
        raise ConfigError("there is no such module", file=name, hint=hint) from None
    finally:
        sys.path.remove(here)


def _read(file: Path) -> dict[str, Any]:
    raw = read_toml(file)
    rest, named = _named_venues(raw)
    refuse_unknown_keys(rest, RunTable, (), file)
    for name, table in named.items():
        refuse_unknown_keys(table, _kind_of(table), ("venue", name), file)
    return raw


def _named_venues(raw: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, dict[str, Any]]]:
    """The file without the tables [venue.NAME], and those. One named almost like a key is a key with an error."""
    venue, known = raw.get("venue"), keys_of(VenueTable)
    if not isinstance(venue, dict):
        return raw, {}
    names = [name for name, value in venue.items() if isinstance(value, dict) and name not in known]
    named = {name: venue[name] for name in names if not difflib.get_close_matches(name, known, n=1, cutoff=0.75)}
    return {**raw, "venue": {key: value for key, value in venue.items() if key not in named}}, named


def _kind_of(table: Mapping[str, Any]) -> type[VenueTable | DarkTable]:
    return DarkTable if "kind" in table else VenueTable


def _table(raw: Mapping[str, Any], file: Path) -> _Run:
    rest, named = _named_venues(raw)
    table = converted(rest, _Run, file)
    for name, one in named.items():
        table.venues[name] = converted(one, _kind_of(one), file, f"venue.{name}")
    return table


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """What a run file says wrongly, with its name."""
    try:
        yield
    except ArgumentError as error:
        raise ConfigError(str(error), file=str(file)) from None


def _build(table: _Run, file: Path, data: Sequence[Supply] | None = None) -> Backtest:
    """`data` are sources to use in place of those that the file names."""
    from helios.research.backtest import Backtest

    default = _venue(table.venue, file)
    named = {name: _venue(one, file) for name, one in table.venues.items()}
    if not table.data and data is None:
        raise ConfigError("a backtest needs [[data]]", file=str(file), key="data")
    return Backtest(
        data=data or _sources(table, file),
        strategy=_strategies(table, file),
        venue={"": default, **named} if named else default,
        limits=table.limits,
        execution=table.execution,
        cash=table.cash,
        tick=table.tick,
        lot=table.lot,
        start=table.start,
        stop=table.stop,
        name=table.name or file.stem,
        sample=table.sample,
        marks=table.marks,
        latency=table.latency,
        seed=table.seed,
    )


@overload
def _venue(v: VenueTable, file: Path) -> Venue: ...
@overload
def _venue(v: DarkTable, file: Path) -> DarkPool: ...
def _venue(v: VenueTable | DarkTable, file: Path) -> Venue | DarkPool:
    from helios.signals import session

    fees = Fees(
        maker_per_share=v.maker_per_share,
        taker_per_share=v.taker_per_share,
        maker_bp=v.maker_bp,
        taker_bp=v.taker_bp,
        minimum_per_order=v.minimum_per_order,
    )
    order, report = (_delay(getattr(v, key), key, file) for key in ("order_latency", "report_latency"))
    if isinstance(v, DarkTable):
        return DarkPool(
            reference=v.reference,
            latency=Latency(order=order, report=report),
            fees=fees,
            minimum=v.minimum,
            prints=v.prints,
            arrivals=None if v.arrivals is None else Arrivals(**msgspec.structs.asdict(v.arrivals)),
            self_match=v.self_match,
            max_age=v.max_age,
            day_begins=v.day_begins,
        )
    return Venue(
        latency=Latency(feed=_delay(v.feed_latency, "feed_latency", file), order=order, report=report),
        impact=None if v.impact is None else Impact(**msgspec.structs.asdict(v.impact)),
        fees=dataclasses.replace(
            fees,
            tiers=v.tiers,
            volume=v.fee_volume,
            window=v.fee_window,
            sell_bp=v.sell_bp,
            sell_per_share=v.sell_per_share,
            sell_cap=v.sell_cap,
        ),
        half_spread=HalfSpread(bp=v.half_spread_bp, fixed=v.half_spread_fixed),
        borrow=Borrow(rate=v.borrow, rates=v.borrow_rates, not_shortable=v.not_shortable),
        financing=Financing(debit=v.debit, credit=v.credit),
        day_begins=v.day_begins,
        session=None if v.session is None else session(v.session),
        self_trade=v.self_trade,
        auction_share=v.auction_share,
        price_band=v.price_band,
        queue=v.queue,
        mode=v.mode,
    )


def _delay(table: str | DelayTable | None, key: str, file: Path) -> Delay | None:
    if not isinstance(table, DelayTable):
        return table
    said = [name for name in ("median", "mean", "file") if getattr(table, name) is not None]
    if len(said) != 1:
        hint = 'For example { median = "40us", p99 = "300us" }, { mean = "80us" } or { file = "delays.csv" }.'
        message = f"give one of median, mean and file, not {' and '.join(said) or 'none of them'}"
        raise ConfigError(message, file=str(file), key=f"venue.{key}", hint=hint)
    if table.file is not None:
        path, t = file.parent / table.file, table
        return Measured(path, ns=t.ns, time=t.time, tz=t.tz, between=t.between, seed=t.seed)
    if table.mean is not None:
        return Gamma(mean=table.mean, shape=table.shape, minimum=table.minimum, seed=table.seed)
    if table.p99 is None:
        raise ConfigError("a latency with a median needs its p99", file=str(file), key=f"venue.{key}")
    return LogNormal(median=str(table.median), p99=table.p99, minimum=table.minimum, seed=table.seed)


#: Those of them that another kind of data has too.
_SHARED_KEYS: Mapping[str, set[str]] = {"lobster": {"seed"}, "catalog": {"symbols"}}
#: Keys of [[data]] that are settings of agents.
_AGENTS = ("seed", "symbols", "minutes", "group_size", "rate", "half_life_s", "deviation_bp", "volatility")


def _whether(seed: bool | int | None, file: Path, place: str) -> bool | None:
    if seed is None or isinstance(seed, bool):
        return seed
    raise ConfigError("seed of a LOBSTER day is true or false", file=str(file), key=f"{place}.seed")


def _agents(table: DataTable, settings: dict[str, Any], file: Path, place: str) -> Source:
    from helios import data

    if table.path is not None:
        raise ConfigError('kind = "agents" reads no file', file=str(file), key=f"{place}.path", hint="Leave path out.")
    if table.date is not None:
        settings["date"] = table.date
    if table.tz is not None:
        settings["tz"] = table.tz
    try:
        return data.agents(**settings)
    except ArgumentError as error:
        raise ConfigError(str(error), file=str(file), key=place) from None


def _sources(table: RunTable, file: Path) -> list[Source]:
    return [_source(each, file, f"data[{n}]") for n, each in enumerate(table.data)]


def _source(table: DataTable, file: Path, place: str) -> Source:
    from helios import data

    source = _source_of(table, file, place)
    if table.venue is None:
        return source
    if isinstance(source, data.AgentsSource):
        raise ConfigError("agents trade at one exchange", file=str(file), key=f"{place}.venue", hint="Leave venue out.")
    return data.at(source, table.venue)


def _source_of(table: DataTable, file: Path, place: str) -> Source:
    from helios import data

    settings = {name: value for name in _AGENTS if (value := getattr(table, name)) is not None}
    if table.kind == "agents":
        return _agents(table, settings, file, place)
    wrong = sorted(settings.keys() - _SHARED_KEYS.get(table.kind, set()))
    if wrong:
        raise ConfigError(f'only kind = "agents" has {", ".join(wrong)}', file=str(file), key=f"{place}.{wrong[0]}")
    if table.path is None:
        raise ConfigError(f'kind = "{table.kind}" needs a path', file=str(file), key=place)
    if table.kind == "catalog":
        return _catalog_source(table, table.path, file, place)
    path = file.parent / table.path
    day = None if table.date is None else table.date.isoformat()
    if table.kind == "itch":
        return data.itch(path, date=day, tz=table.tz or "America/New_York")
    if table.kind == "lobster":
        book = _whether(table.seed, file, place)
        return data.lobster(path, symbol=table.symbol, date=day, tz=table.tz or "America/New_York", seed=book)
    if table.kind == "actions":
        return data.actions(path, symbol_is=table.symbol, tz=table.tz)
    options: dict[str, Any] = {
        "tz": table.tz,
        "ts_unit": table.ts_unit,
        "ts_recv": table.ts_recv,
        "sort": table.sort,
        "on_error": table.on_error,
    }
    if table.symbol is not None:
        options |= {"symbol": None, "symbol_is": table.symbol}
    if table.kind == "bars":
        return data.bars(path, label=table.label, span=table.span, **options)
    if table.kind == "depth":
        return data.depth(path, **options)
    return (data.quotes if table.kind == "quotes" else data.trades)(path, **options)


def _catalog_source(table: DataTable, path: str, file: Path, key: str) -> Source:
    from helios.data import Catalog

    if table.schema is None:
        raise ConfigError("say which schema of the catalog to read, like schema = 'quotes'", file=str(file), key="data")
    if isinstance(table.symbols, int):
        raise ConfigError("symbols of a catalog are a list of them", file=str(file), key=f"{key}.symbols")
    place = path if "://" in path else file.parent / path
    memory = {} if table.memory is None else {"memory": table.memory}
    return Catalog.open(place).source(
        table.schema, table.symbols, table.start, table.end, adjust=table.adjust, **memory
    )


def _strategies(table: RunTable, file: Path) -> list[Any]:
    several = isinstance(table.strategy, list)
    tables = table.strategy if isinstance(table.strategy, list) else [table.strategy]
    return [_strategy(one, file, f"strategy[{n}]" if several else "strategy") for n, one in enumerate(tables)]


def _strategy(table: StrategyTable, file: Path, place: str) -> Strategy | list[Any]:
    from helios.signals import pair

    if table.kind == "class" or (table.kind is None and table.cls is not None):
        return _strategy_of_class(table, file, place)
    if (table.pairs is None) == (table.file is None):
        raise ConfigError("give either pairs = [[a, b, beta], …] or file = 'pairs.csv'", file=str(file), key=place)
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
            name=None if table.name is None else f"{table.name}/{a}/{b}",
        )
        for a, b, beta in pairs
    ]


def _strategy_of_class(table: StrategyTable, file: Path, place: str) -> Strategy:
    if table.cls is None or ":" not in table.cls:
        raise ConfigError("give the class as 'file.py:Name'", file=str(file), key=f"{place}.class")
    cls = _class(table.cls, file.parent, str(file), f"{place}.class")
    named: dict[str, Any] = {} if table.name is None else {"name": table.name}
    try:
        if own_constructor(cls):
            made = cls(**table.params)
            return made.with_params(**named) if named else made
        return cls(**table.params, **named)
    except (TypeError, ArgumentError) as error:
        raise ConfigError(str(error), file=str(file), key=f"{place}.params") from None


def _class(text: str, folder: Path, file: str | None, key: str | None) -> type[Strategy]:
    """The Strategy class that "file.py:Name" or "module:Name" means; files are relative to `folder`."""
    from helios.signals import Strategy

    home, _, attribute = text.rpartition(":")
    module = _import(folder / home) if home.endswith(".py") else _import_module(home, folder, file, key)
    cls = getattr(module, attribute, None)
    if not isinstance(cls, type) or not issubclass(cls, Strategy):
        classes = {n: v for n, v in vars(module).items() if isinstance(v, type) and v is not Strategy}
        there = [n for n, v in classes.items() if issubclass(v, Strategy)]
        near = difflib.get_close_matches(attribute, there, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(there)}." if there else None
        raise ConfigError(f"{home} has no Strategy class {attribute!r}", file=file, key=key, hint=hint)
    return cls


def _import_module(name: str, folder: Path, file: str | None, key: str | None) -> Any:
    """A module by its name; beside the run file too."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        return importlib.import_module(name)
    except (ImportError, ValueError) as error:
        missing = error.name if isinstance(error, ImportError) else None
        if missing is not None and not name.startswith(missing):
            raise  # the module is there, something that it imports is not
        raise ConfigError(f"there is no module {name!r}", file=file, key=key) from None
    finally:
        sys.path.remove(str(folder.resolve()))


def load_definition(text: str, params: Mapping[str, str]) -> tuple[str, list[Wish], Limits]:
    """What is to be described: a name, strategies and wishes, and the run's limits.

    `text` is a run file, "file.py:Class" or "module:Class"; `params` change parameters, as texts. The data of a
    RUN.toml are not looked at.
    """
    from helios.research.backtest import flatten

    _, colon, _ = text.rpartition(":")
    if colon and not Path(text).exists():
        cls = _class(text, Path(), None, None)
        return cls.__name__, [cls(**_parsed(cls, params))], Limits()
    file = Path(text)
    if file.suffix != ".toml" or not file.is_file():
        run = load_run(file)
        return run.name, _vary(list(flatten(run.strategy)), params, file), run.limits
    table = _table(_read(file), file)
    tables = table.strategy if isinstance(table.strategy, list) else [table.strategy]
    met: set[str] = set()
    types = {field.name: field.type for field in msgspec.structs.fields(StrategyTable)}
    for one in tables:
        for name in _PAIR_KEYS & params.keys():
            if one.cls is None:
                setattr(one, name, parsed(params[name], types[name], f"{file}: {name}"))
                met.add(name)
    try:
        return table.name or file.stem, _vary(list(flatten(_strategies(table, file))), params, file, met), table.limits
    except ArgumentError as error:
        raise ConfigError(str(error), file=str(file)) from None


_PAIR_KEYS = {"window", "halflife", "enter", "exit", "notional", "price"}


def _vary(wishes: list[Wish], params: Mapping[str, str], file: Path, met: Set[str] = frozenset()) -> list[Wish]:
    """The same with other parameters, each in every strategy that has it."""
    from helios.signals import Strategy

    strategies = [wish for wish in wishes if isinstance(wish, Strategy)]
    known = met | {name for strategy in strategies for name in parameter_types(type(strategy))}
    for name in params:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}?" if near else None
            raise ConfigError(f"no strategy of this run has a parameter {name!r}", file=str(file), hint=hint)

    def varied(wish: Wish) -> Wish:
        if not isinstance(wish, Strategy):
            return wish
        mine = {name: text for name, text in params.items() if name in parameter_types(type(wish))}
        return wish.with_params(**_parsed(type(wish), mine)) if mine else wish

    return [varied(wish) for wish in wishes]


def _parsed(cls: type[Strategy], texts: Mapping[str, str]) -> dict[str, Any]:
    types = parameter_types(cls)
    return {name: parsed(text, types.get(name, Any), f"{cls.__name__}: {name}") for name, text in texts.items()}


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
    def _strategy(self) -> dict[str, Any]:
        """The [strategy] of the file; a name is of one table, so several cannot be swept."""
        found = self._raw["strategy"]
        if not isinstance(found, dict):
            hint = "Sweep over a RUN.py with a function run(data=…, …) instead."
            raise ConfigError("a run of several [[strategy]] cannot be swept", file=str(self._file), hint=hint)
        return found

    @property
    def data(self) -> list[Source]:
        with _naming(self._file):
            return _sources(_table(self._raw, self._file), self._file)

    def parameter(self, name: str) -> str:
        if name in ("name", "strategy.name") and name not in self._strategy.get("params", {}):
            raise ConfigError("a name changes nothing and cannot be swept", file=str(self._file), key=name)
        if name.partition(".")[0] == "data":
            raise ConfigError("the data are shared by all points and cannot be swept", file=str(self._file), key=name)
        known = [*_paths(RunTable), *(f"strategy.params.{key}" for key in self._strategy.get("params", {}))]
        found = [name] if name in known else [path for path in known if path.rpartition(".")[2] == name]
        if name.startswith("strategy.params.") and "class" in self._strategy:
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
        # The data are known by their content, and neither a name nor a live table changes anything.
        return dict(_flat({key: value for key, value in raw.items() if key not in ("data", "name", *_LIVE_KEYS)}))

    def files(self, params: Params) -> list[Path]:
        table = _table(self._with(params), self._file).strategy
        assert not isinstance(table, list), "refused when the parameters were read"
        named = [table.file, table.cls.partition(":")[0] if table.cls else None]
        return [self._file.parent / name for name in named if name]

    def symbols(self, points: Sequence[Params]) -> set[str] | None:
        if "class" in self._strategy:
            return None
        found: set[str] = set()
        for name in {str(params.get("strategy.file", self._strategy.get("file"))) for params in points}:
            pairs = self._strategy.get("pairs") or _pairs_of(self._file.parent / name)
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


#: Tables that only a live run reads.
_LIVE_KEYS = ("live", "feed", "session", "drop_copy", "standby")


def _paths(table: Any, place: str = "") -> Iterator[str]:
    """The dotted names of all keys that a sweep may change; the strategy's own are those that the file has."""
    for key, kind in keys_of(table).items():
        # A name or a live table changes nothing, so its values would all be one point.
        if place + key in ("data", "name", "strategy.name", "strategy.params", *_LIVE_KEYS):
            continue
        inner = next((each for each in (kind, *get_args(kind)) if keys_of(each)), None)
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
