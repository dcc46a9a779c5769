"""The command line of catalogs: `helios data --help`."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helios import cli_catalog_views
from helios.errors import ArgumentError

if TYPE_CHECKING:
    from helios.data.catalog.importing import Imported

app = typer.Typer(no_args_is_help=True, help="Catalogs of market data: import, and look at what is there.")

cli_catalog_views.register(app)

FORMATS = "itch, lobster, dbn, csv, parquet, lean, binance-ws; reference for a reference table"


@app.command("import")
def import_command(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help=f"One of {FORMATS}.")],
    source: Annotated[str, typer.Argument(help="A file, a folder (searched whole) or a quoted glob.")],
    catalog: Annotated[str, typer.Option(help="Folder of the catalog, or s3://bucket/prefix; made if new.")],
    date: Annotated[
        str | None, typer.Option(help="The trading day, YYYY-MM-DD: data of another day is an error.")
    ] = None,
    tz: Annotated[str | None, typer.Option(help="Time zone of the data's days and local times.")] = None,
    symbols: Annotated[str | None, typer.Option("--symbols", "--symbol", help="Only these: AAPL,MSFT.")] = None,
    schema: Annotated[str | None, typer.Option(help="Only these: orders,quotes,trades,depth,bars.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Permanent name: SYMBOL=NAME, or the venue's number=NAME. Repeatable.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Take the place of instrument-days from other sources.")] = False,
    on_error: Annotated[str, typer.Option(help="raise: stop at a bad row; skip: leave it out and count it.")] = "raise",
    column: Annotated[
        list[str] | None, typer.Option(help="csv, parquet: ours=theirs, for example close=Last. Repeatable.")
    ] = None,
    symbol_is: Annotated[str | None, typer.Option(help="csv, parquet: all rows are of this symbol.")] = None,
    label: Annotated[str | None, typer.Option(help="csv, parquet: the time of a bar is its start or its end.")] = None,
    span: Annotated[str | None, typer.Option(help="csv, parquet: length of a bar: 30s, 1m, 1h, 1d.")] = None,
    ts_unit: Annotated[str | None, typer.Option(help="csv, parquet: unit of bare numbers: s, ms, us, ns.")] = None,
    price_unit: Annotated[float | None, typer.Option(help="csv, parquet: prices are in this unit, e.g. 1e-4.")] = None,
    sort: Annotated[bool, typer.Option("--sort", help="csv, parquet: the rows are in no order.")] = False,
    table: Annotated[
        str | None,
        typer.Option(help="reference: splits, dividends, symbol_changes, membership or instruments."),
    ] = None,
    universe: Annotated[str | None, typer.Option(help="reference: the name of a membership file's list.")] = None,
    memory: Annotated[str, typer.Option(help="How much the import may hold.")] = "256MB",
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Import market data into a catalog. The same source twice is one import; a stopped one goes on where it was."""
    from helios.data.catalog import Catalog
    from helios.data.catalog.importing import Options, import_data

    if kind == "reference":
        columns = _pairs("--column", column)
        cli_catalog_views.import_reference(Path(source), catalog, table, columns, universe, replace=replace)
        return
    reading = {"symbol_is": symbol_is, "label": label, "span": span, "ts_unit": ts_unit, "price_unit": price_unit}
    given: dict[str, Any] = {key: value for key, value in reading.items() if value is not None}
    options = Options(
        date=_date(date),
        tz=tz,
        symbols=_list(symbols),
        schemas=_list(schema),
        names=_pairs("--name", name),
        on_error=on_error,  # type: ignore[arg-type]
        columns=_pairs("--column", column),
        table=given | ({"sort": True} if sort else {}),
    )
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(kind, total=1.0)
        done = import_data(
            kind,
            source,
            Catalog.open(catalog, create=True),
            options,
            replace=replace,
            memory=memory,
            progress=lambda unit, part, rows: bar.update(
                task, completed=part, description=f"{Path(unit).name}: {rows:,} rows"
            ),
        )
    if json_:
        print(json.dumps(_plain(done)))
    else:
        _print(done)


def _date(text: str | None) -> dt.date | None:
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError:
        raise ArgumentError(f"--date {text!r}: write YYYY-MM-DD") from None


def _list(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        left, equals, right = text.partition("=")
        if not equals or not left.strip() or not right.strip():
            raise ArgumentError(f"{option} {text!r}: write it as LEFT=RIGHT")
        pairs[left.strip()] = right.strip()
    return pairs


def _plain(done: Imported) -> dict[str, Any]:
    return {
        "rows": done.rows,
        "days": len(done.days),
        "instruments": len(done.instruments),
        "imports": done.units,
        "there_before": done.there_before,
        "seconds": round(done.seconds, 3),
        "left_out": {reason: {"rows": each.count, "first": each.first} for reason, each in done.left_out.items()},
        "warnings": done.warnings,
    }


def _print(done: Imported) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(soft_wrap=True, highlight=False)
    if done.units == 0 and done.there_before:
        print(f"nothing to do: {done.there_before} imports of this source with these options are in the catalog")
        return
    table = Table("", "rows", box=None)
    table.columns[1].justify = "right"
    for schema, rows in done.rows.items():
        table.add_row(schema, f"{rows:,}")
    for reason, each in done.left_out.items():
        kept = reason.startswith("(kept) ")
        what = reason.removeprefix("(kept) ") if kept else f"left out: {reason}"
        table.add_row(f"[yellow]{escape(what)}[/], first at {escape(each.first)}", f"{each.count:,}")
    console.print(table)
    days = f"{min(done.days)} to {max(done.days)}, " if len(done.days) > 1 else f"{min(done.days, default='')} "
    before = f", {done.there_before} were there before" if done.there_before else ""
    print(
        f"{days}{len(done.days)} days, {len(done.instruments)} instruments, {done.units} imports{before}, "
        f"{done.seconds:.1f} s"
    )
    for warning in done.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")
