"""The command line: `helios --help`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helios import cli_exchange, cli_ops
from helios.cli_data import app as data_app
from helios.cli_fix import app as fix_app
from helios.errors import ArgumentError, HeliosError, ReplayMismatch
from helios.scales import PRICE_SCALE, QUANTITY_SCALE

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Helios")
itch_app = typer.Typer(no_args_is_help=True, help="NASDAQ TotalView-ITCH 5.0 files: plain, gzip, or pcap.")
lobster_app = typer.Typer(no_args_is_help=True, help="LOBSTER files.")
app.add_typer(itch_app, name="itch")
app.add_typer(lobster_app, name="lobster")
check_app = typer.Typer(no_args_is_help=True, help="Checks of a run: does it know the future?")
app.add_typer(check_app, name="check")
app.add_typer(data_app, name="data")
cli_ops.register(app)
cli_exchange.register(app)
app.add_typer(fix_app, name="fix")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def main() -> None:
    """Runs the command line; errors of ours are one message on stderr and exit code 1."""
    try:
        app()
    except HeliosError as error:
        from rich.console import Console

        Console(stderr=True).print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@contextmanager
def _core() -> Iterator[None]:
    from helios._core import CoreError
    from helios.errors import DataError

    try:
        yield
    except CoreError as error:
        raise DataError(error.args[1], source=error.args[0]) from None


def _console() -> Console:
    from rich.console import Console

    return Console(soft_wrap=False)


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value))


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="File to write.")],
    symbols: Annotated[int, typer.Option(help="Number of symbols.")] = 200,
    minutes: Annotated[int, typer.Option(help="Length of market hours from 09:30.")] = 30,
    seed: Annotated[int, typer.Option(help="The same seed and settings give the same bytes.")] = 7,
    group_size: Annotated[int, typer.Option(help="Symbols per cointegrated group.")] = 10,
    rate: Annotated[float, typer.Option(help="Messages per symbol and second.")] = 4.0,
) -> None:
    """Write a simulated ITCH 5.0 day: agents that trade on our own matching engine."""
    from rich.console import Console
    from rich.progress import Progress

    from helios.research import simulate as market

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"simulating {symbols} symbols", total=1.0)
        size = market.simulate(
            out,
            symbols=symbols,
            minutes=minutes,
            seed=seed,
            group_size=group_size,
            rate=rate,
            progress=lambda done: bar.update(task, completed=done),
        )
    print(f"{out}: {size:,} bytes, {symbols} symbols, {minutes} minutes, seed {seed}")


def _clock(ns: int) -> str:
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:09d}"


def _parse_clock(text: str) -> int:
    match = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?", text)
    if match is None or int(match[1]) > 23 or int(match[2]) > 59 or int(match[3] or 0) > 59:
        raise ArgumentError(f"--at {text!r}: write a time of day as HH:MM:SS or HH:MM:SS.nnnnnnnnn")
    seconds = int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0)
    return seconds * 1_000_000_000 + int((match[4] or "").ljust(9, "0"))


@itch_app.command("stats")
def itch_stats(file: Path, json_: Json = False) -> None:
    """Messages by type, faults, first and last time, and a digest of all books at the end."""
    from helios import _core as core

    with _core():
        stats = core.itch_stats(file)
    first, last = stats["span"] or (None, None)
    result = {
        "file": str(file),
        "messages": sum(stats["counts"].values()),
        "counts": stats["counts"],
        "errors": stats["fault_count"],
        "faults": stats["faults"],
        "unknown_references": stats["unknown_orders"],
        "refused_changes": stats["refused"],
        "time_backwards": stats["backwards"],
        "notes": stats["notes"],
        "first": None if first is None else _clock(first),
        "last": None if last is None else _clock(last),
        "resting_orders": stats["resting"],
        "books_digest": stats["digest"],
    }
    if json_:
        _print_json(result)
        return
    from rich.table import Table

    console = _console()
    console.print(_escape(str(file)), highlight=False, soft_wrap=True)
    table = Table(show_edge=False)
    for heading in ("type", "message"):
        table.add_column(heading)
    table.add_column("count", justify="right")
    for kind, count in sorted(stats["counts"].items(), key=lambda row: -row[1]):
        table.add_row(kind, _ITCH_NAMES.get(kind, ""), f"{count:,}")
    console.print(table)
    console.print(f"{result['messages']:,} messages, {result['first']} to {result['last']}", highlight=False)
    console.print(
        f"{result['errors']} errors, {result['unknown_references']} unknown references, "
        f"{result['refused_changes']} refused changes, {result['time_backwards']} stamps going back",
        highlight=False,
    )
    console.print(f"{result['resting_orders']:,} orders resting, books {result['books_digest']}", highlight=False)
    for line in [*stats["faults"], *stats["notes"]]:
        console.print(f"[yellow]![/] {_escape(line)}", highlight=False, soft_wrap=True)


_ITCH_NAMES = {
    "S": "system event",
    "R": "stock directory",
    "H": "trading action",
    "Y": "short-sale restriction",
    "L": "market participant position",
    "V": "circuit breaker levels",
    "W": "circuit breaker status",
    "K": "IPO quoting period",
    "J": "auction collar",
    "h": "operational halt",
    "A": "add order",
    "F": "add order with attribution",
    "E": "order executed",
    "C": "order executed at another price",
    "X": "order cancel",
    "D": "order delete",
    "U": "order replace",
    "P": "trade against a hidden order",
    "Q": "cross trade",
    "B": "broken trade",
    "I": "net order imbalance",
    "N": "retail interest",
    "O": "direct listing",
}


def _plain(value: int, scale: int) -> float | int:
    return value // scale if value % scale == 0 else value / scale


@itch_app.command("book")
def itch_book(
    file: Path,
    symbol: Annotated[str, typer.Option(help="Stock symbol.")],
    at: Annotated[str | None, typer.Option(help="Time of day, HH:MM:SS.nnnnnnnnn; end of file without it.")] = None,
    levels: Annotated[int, typer.Option(min=1, help="Price levels a side.")] = 10,
    json_: Json = False,
) -> None:
    """The book of one stock after every message stamped at or before a moment."""
    from helios import _core as core

    with _core():
        ts, bids, asks, faults = core.itch_book(file, symbol, None if at is None else _parse_clock(at), levels)

    def rows(side: list[tuple[int, int, int]]) -> list[list[float | int]]:
        return [[price / PRICE_SCALE, _plain(quantity, QUANTITY_SCALE), orders] for price, quantity, orders in side]

    for fault in faults:
        print(f"warning: {file}: {fault}", file=sys.stderr)
    stamp = None if ts is None else _clock(ts)
    if json_:
        _print_json({"symbol": symbol, "ts": stamp, "bids": rows(bids), "asks": rows(asks)})
        return
    from itertools import zip_longest

    from rich.table import Table

    table = Table(title=f"{_escape(symbol)} at {stamp or 'no message yet'}", title_justify="left", show_edge=False)
    for heading in ("orders", "quantity", "bid", "ask", "quantity", "orders"):
        table.add_column(heading, justify="right")
    for b, a in zip_longest(rows(bids), rows(asks)):
        left = [f"{b[2]}", f"{b[1]:,}", f"{b[0]:.4f}"] if b else ["", "", ""]
        right = [f"{a[0]:.4f}", f"{a[1]:,}", f"{a[2]}"] if a else ["", "", ""]
        table.add_row(*left, *right)
    _console().print(table)


@lobster_app.command("check")
def lobster_check(file: Path, json_: Json = False) -> None:
    """Replay the messages and compare our ten levels with the answer key after every event."""
    from helios._core import Book
    from helios.data import lobster_check as check

    result = check(file, Book())
    if json_:
        _print_json(dict(result))
    else:
        print(f"{result['agree']:,} of {result['checked']:,} rows agree, {result['skipped']:,} skipped (seed)")
        if result["first_difference"]:
            print(f"first difference: {result['first_difference']}")
    if result["agree"] != result["checked"]:
        raise typer.Exit(1)


@lobster_app.command("ghosts")
def lobster_ghosts(
    file: Path,
    orders: Annotated[int, typer.Option(min=0, help="How many real orders to stand in for; 0: all.")] = 1_500,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.")] = 0,
    json_: Json = False,
) -> None:
    """Put our order in the place of real ones, and compare its fills with theirs."""
    from helios.research.ghosts import ghosts, print_ghosts

    with _core():
        found = ghosts(file, orders=orders, seed=seed)
    if json_:
        _print_json(found.summary())
    else:
        print_ghosts(found, _console())
    if found.unexplained:
        raise typer.Exit(1)


@app.command()
def backtest(
    run: Annotated[Path, typer.Argument(help="RUN.toml or RUN.py")],
    out: Annotated[Path | None, typer.Option(help="Run folder to write: tables, journal, report.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the run in that folder.")] = False,
    compare: Annotated[bool, typer.Option(help="Run it with the exact and with the fast venue; print both.")] = False,
    json_: Json = False,
) -> None:
    """Run a backtest."""
    from helios.config import load_run
    from helios.research.results import REPORT_FILE, jsonable
    from helios.research.summary import print_summary

    if compare:
        _compare(run, out, json_)
        return
    results = load_run(run).run(out, overwrite=overwrite, progress=not json_ and sys.stderr.isatty())
    for warning in results.meta.get("warnings", []):
        print(f"warning: {warning}", file=sys.stderr)
    if json_:
        h = results.headline
        _print_json(
            jsonable(
                {
                    "name": results.meta["name"],
                    "digest": results.meta["digest"],
                    "events": results.meta["events"],
                    "inputs": results.meta["inputs"],
                    "outputs": results.meta["outputs"],
                    "net": h.net,
                    "fees": h.fees,
                    "orders": h.orders,
                    "fills": h.fills,
                    "refusals": h.refusals,
                    "max_drawdown": h.max_drawdown,
                    "turnover": h.turnover,
                    "wall_seconds": results.meta["wall_seconds"],
                    "events_per_second": results.meta["events_per_second"],
                    "warnings": results.meta["warnings"],
                    "folder": None if out is None else str(out),
                }
            )
        )
        return
    print_summary(results, _console(), report=None if out is None else out / REPORT_FILE)


def _compare(run: Path, out: Path | None, json_: bool) -> None:
    """Both venues side by side."""
    from helios.config import load_run
    from helios.research.compare import compare as side_by_side
    from helios.research.results import jsonable

    if out is not None:
        raise ArgumentError("--compare makes two runs and writes no folder: leave out --out")
    compared = side_by_side(lambda: load_run(run), progress=not json_ and sys.stderr.isatty())
    if json_:
        _print_json(jsonable(compared.as_dict()))
    else:
        compared.show(_console())


@app.command()
def describe(
    strategy: Annotated[str, typer.Argument(help="RUN.toml, RUN.py, FILE.py:Class or MODULE:Class")],
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE: another value of a parameter.")] = None,
    json_: Json = False,
) -> None:
    """Print what a strategy is: instruments, parameters, signals, sizing, limits, what acts when."""
    from helios.config import load_definition
    from helios.research.describe import describe as define

    params = {}
    for one in param or []:
        name, equals, value = one.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise ArgumentError(f"--param {one!r}: write it as NAME=VALUE")
        params[name.strip()] = value.strip()
    name, wishes, limits = load_definition(strategy, params)
    definition = define(wishes, limits=limits, name=name)
    if json_:
        _print_json(definition.as_dict())
    else:
        print(definition)


@app.command()
def sweep(
    run: Annotated[Path, typer.Argument(help="RUN.toml, or RUN.py with a function run(data=…, …).")],
    param: Annotated[
        list[str], typer.Option(help="name=start:stop:step or name=a,b,c; a key of the file. Again for each.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; an unfinished one goes on. Default: runs/sweep-NAME.")
    ] = None,
    random: Annotated[int | None, typer.Option(help="Draw this many points of the grid.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of --random.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core without it.")] = None,
    metric: Annotated[str, typer.Option(help="What the map shows and the best is best in.")] = "net",
    json_: Json = False,
) -> None:
    """Run a backtest at every combination of parameters; exit 1 if a point failed."""
    from helios.config import run_file
    from helios.research.executors import Processes
    from helios.research.results import jsonable
    from helios.research.sweep import sweep as sweep_over
    from helios.research.sweep_folder import PAGE_FILE
    from helios.research.sweep_params import parse_params
    from helios.research.sweep_report import print_sweep

    folder = out or Path("runs") / f"sweep-{run.stem}"
    found = sweep_over(
        run_file(run),
        parse_params(param),
        out=folder,
        random=random,
        seed=seed,
        executor=Processes(workers),
        metric=metric,
        progress=not json_ and sys.stderr.isatty(),
    )
    if json_:
        told = {
            "name": found.name,
            "points": found.frame.height,
            "failed": found.failed.height,
            "reused": found.reused,
            "trials": found.trials,
            "metric": metric,
            "best": found.best(metric),
            "bias": found.bias,
            "notes": found.notes,
            "folder": str(folder),
        }
        _print_json(jsonable(told))
    else:
        print_sweep(found, _console(), metric, folder / PAGE_FILE)
    if found.failed.height:
        raise typer.Exit(1)


@app.command()
def replay(folder: Annotated[Path, typer.Argument(help="Run folder or journal file.")], json_: Json = False) -> None:
    """Feed a run's journal back and compare every output; exit 1 at the first difference."""
    from helios.research.replay import replay as feed

    replayed = feed(folder)
    if json_:
        _print_json(replayed.as_dict())
    elif replayed.identical:
        print(f"identical: {replayed.inputs:,} inputs, {replayed.outputs:,} outputs, digest {replayed.digest}")
        if replayed.is_open:
            print(f"the journal is open: {replayed.damage}")
    if not replayed.identical:
        raise ReplayMismatch(replayed.problem)


@check_app.command("lookahead")
def check_lookahead(
    run: Annotated[str, typer.Argument(help="RUN.toml, RUN.py, file.py:function or module:function")],
    data: Annotated[
        list[str] | None, typer.Option(help="Parquet or CSV file that the function is given; NAME=FILE for several.")
    ] = None,
    cuts: Annotated[int, typer.Option(min=1, max=10_000, help="Moments at which the data is cut.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of moments.")] = 0,
    ts: Annotated[str, typer.Option(help="The data's column of times.")] = "ts",
    tz: Annotated[str | None, typer.Option(help="Zone of times without one; UTC without this.")] = None,
    ts_unit: Annotated[str | None, typer.Option(help="Unit of times that are bare numbers: s, ms, us or ns.")] = None,
    known_after: Annotated[
        str | None, typer.Option(help="From a row's time until it can be known: the length of bars labelled by start.")
    ] = None,
    json_: Json = False,
) -> None:
    """Cut the data at many moments, run again, and compare what was said before them; exit 1 if the future was known.

    A function is given the data (--data, or what its module calls `data`) and returns a Backtest or a frame of
    features.
    """
    from helios.config import load_builder, takes_data
    from helios.research.results import jsonable
    from helios.research.validate import lookahead

    build, given = load_builder(run)
    frames = lookahead.read_data(data or given)
    if takes_data(build) != (frames is not None):
        wants = "wants data: give it with --data FILE" if frames is None else "takes no data: leave --data out"
        raise ArgumentError(f"{run} {wants}")
    result = lookahead.check_lookahead(
        build, frames, cuts=cuts, seed=seed, ts=ts, tz=tz, ts_unit=ts_unit, known_after=known_after
    )
    if json_:
        _print_json(jsonable(result.as_dict()))
    else:
        _console().print(result.table())
        for note in result.notes:
            _console().print(f"[yellow]![/] {_escape(note)}", highlight=False, soft_wrap=True)
        print(result)
    if not result.clean:
        raise typer.Exit(1)


@app.command()
def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="itch, book, step, backtest, market_making, graph, columns, matching, fix, recovery or wire"
        ),
    ],
    small: Annotated[bool, typer.Option("--small", help="A tenth of the work or less: for tests.")] = False,
    file: Annotated[Path | None, typer.Option(help="An ITCH file to use for itch and book.")] = None,
    json_: Json = False,
) -> None:
    """Measure one part; the table is in docs/performance.md."""
    from helios.research.bench import BENCHES, run_bench

    if name == "wire":
        from helios.live.wire import bench_wire, print_wire

        result = {"bench": name, "small": small, **bench_wire(small=small)}
        if not json_:
            from rich.console import Console

            print_wire(result, Console())
            return
    elif name in BENCHES:
        result = run_bench(name, small=small, file=file)
    else:
        raise ArgumentError(f"no bench is named {name!r}: there are {', '.join(BENCHES)} and wire")
    if json_:
        _print_json(result)
        return
    for key, value in result.items():
        shown = f"{value:,.3f}" if isinstance(value, float) else str(value)
        if isinstance(value, dict):
            shown = "  ".join(f"{name} {part:,.2f}" for name, part in value.items())
        print(f"{key:>28}  {shown}")


if __name__ == "__main__":
    main()
