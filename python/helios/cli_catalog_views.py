"""`helios data list|describe|check|export` and `import reference`: what is in a catalog, and is it sound?"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helios.errors import ArgumentError

if TYPE_CHECKING:
    import polars as pl

Place = Annotated[str, typer.Argument(help="The catalog: a folder, or s3://bucket/prefix.", metavar="CATALOG")]
Symbols = Annotated[list[str] | None, typer.Option("--symbol", "--symbols", help="Only these; again, or with commas.")]
Start = Annotated[str | None, typer.Option(help="First trading date, YYYY-MM-DD.")]
End = Annotated[str | None, typer.Option(help="Last trading date, included.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to `helios data`."""
    for name, command in (("list", list_), ("describe", describe), ("check", check), ("export", export)):
        app.command(name)(command)


def list_(catalog: Place, json_: Json = False) -> None:
    """What is there: schemas, days, instruments, rows, bytes."""
    from helios.data.catalog import Catalog
    from helios.data.catalog.views import listing

    frame = listing(Catalog.open(catalog))
    if json_:
        print(frame.write_json())
        return
    if frame.is_empty():
        print(f"{catalog}: nothing was imported yet")
        return
    _print(frame, {"bytes": lambda value: f"{value / 1e6:,.2f} MB"})


def describe(
    catalog: Place,
    schema: Annotated[str, typer.Argument(help="orders, quotes, trades, depth, bars, or a reference table.")],
    symbol: Symbols = None,
    start: Start = None,
    end: End = None,
    json_: Json = False,
) -> None:
    """The columns of a table and, by instrument, its span and what it counts."""
    from helios.data.catalog import SCHEMAS, Catalog
    from helios.data.catalog.views import description

    frame = description(Catalog.open(catalog), schema, _split(symbol), start, end)
    if json_:
        print(frame.write_json())
        return
    columns = ", ".join(f"{name} {dtype}" for name, dtype in SCHEMAS[schema].items())
    print(f"{schema}: {columns}")
    _print(frame, {})


def check(
    catalog: Place,
    schema: Annotated[str | None, typer.Option(help="Only this schema.")] = None,
    symbol: Symbols = None,
    date: Annotated[str | None, typer.Option(help="Only this trading date, YYYY-MM-DD.")] = None,
    start: Start = None,
    end: End = None,
    calendar: Annotated[str | None, typer.Option(help="Exchange calendar for sessions, like XNYS.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="A check whose findings are only notes; again, or with commas.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for check.parquet, findings.parquet and index.html.")] = None,
    json_: Json = False,
) -> None:
    """Look for gaps, duplicates, crossed books, outliers, impossible rows; exit 1 if something is wrong."""
    from rich.console import Console
    from rich.progress import Progress

    from helios.data.catalog import Catalog
    from helios.data.catalog.checking import Rules
    from helios.data.catalog.checking import check as look
    from helios.research.catalog_page import print_check, write_page

    if date is not None and (start is not None or end is not None):
        raise ArgumentError("--date is one day: leave --start and --end out")
    rules = Rules(calendar=calendar, allow=frozenset(_split(allow) or ()))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=json_ or not console.is_terminal) as bar:
        task = bar.add_task(f"checking {catalog}", total=1.0)
        result = look(
            Catalog.open(catalog),
            schema=schema,
            symbols=_split(symbol),
            start=date or start,
            end=date or end,
            rules=rules,
            progress=lambda done: bar.update(task, completed=done),
        )
    page = None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        result.table.write_parquet(out / "check.parquet")
        result.findings.write_parquet(out / "findings.parquet")
        page = write_page(result, out / "index.html", catalog)
    if json_:
        _print_json(result.table, result.findings, sound=result.sound, page=page)
    else:
        print_check(result, Console(), page)
    if not result.sound:
        raise typer.Exit(1)


def export(
    catalog: Place,
    out: Annotated[Path, typer.Argument(help="File to write.")],
    schema: Annotated[str, typer.Option(help="Table to write.")],
    format_: Annotated[
        str | None, typer.Option("--format", help="csv or parquet; by the file's name without it.")
    ] = None,
    symbol: Symbols = None,
    start: Start = None,
    end: End = None,
    adjust: Annotated[str | None, typer.Option(help="splits, or all: dividends too.")] = None,
) -> None:
    """Write a table to one CSV or Parquet file, prices and sizes in units."""
    from helios.data.catalog import Catalog
    from helios.data.catalog.views import export as write

    rows = write(
        Catalog.open(catalog), out, schema, format=format_, symbols=_split(symbol), start=start, end=end, adjust=adjust
    )
    print(f"{out}: {rows:,} rows of {schema}")


def import_reference(
    file: Path, catalog: str, table: str | None, columns: dict[str, str], universe: str | None, *, replace: bool
) -> None:
    """`helios data import reference`: reads a reference table, checked whole before anything is written."""
    from helios.data.catalog import Catalog
    from helios.data.catalog.reference import import_reference as read
    from helios.data.catalog.schemas import REFERENCE

    if table is None:
        raise ArgumentError(f"--table is missing: one of {', '.join(REFERENCE)}")
    told = read(Catalog.open(catalog, create=True), file, table, columns=columns, universe=universe, replace=replace)
    print(f"{told.table}: {told.read:,} rows read, {told.added:,} new, {told.rows:,} in the table")


def _split(values: list[str] | None) -> list[str] | None:
    """Values of an option that is given again or with commas."""
    if values is None:
        return None
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _print(frame: pl.DataFrame, formats: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_edge=False, box=None, padding=(0, 1))
    for name, dtype in frame.schema.items():
        table.add_column(name, justify="right" if dtype.is_numeric() else "left", no_wrap=True)
    for row in frame.iter_rows(named=True):
        table.add_row(*(escape(_cell(value, formats.get(name))) for name, value in row.items()))
    # A file or a pipe has no width that a table must fit into.
    Console(width=None if sys.stdout.isatty() else 400).print(table, highlight=False)


def _cell(value: Any, shown: Any) -> str:
    if value is None:
        return "-"
    if shown is not None:
        return str(shown(value))
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value:,.4f}" if isinstance(value, float) else str(value)


def _print_json(table: pl.DataFrame, findings: pl.DataFrame, *, sound: bool, page: Path | None) -> None:
    import json

    whole = {
        "sound": sound,
        "page": None if page is None else str(page),
        "table": json.loads(table.write_json()),
        "findings": json.loads(findings.write_json()),
    }
    json.dump(whole, sys.stdout)
    print()
