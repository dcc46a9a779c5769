"""The command line of operations: doctor, and what is asked of a live run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from helios.errors import ArgumentError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(doctor)


def doctor(
    cores: Annotated[str | None, typer.Option(help="The cores that the run will use, like 2,3.")] = None,
    interface: Annotated[list[str] | None, typer.Option(help="A network card; all without this. Repeatable.")] = None,
    directory: Annotated[Path, typer.Option(help="Where the journal will be.")] = Path(),
    json_: Json = False,
) -> None:
    """Examine this machine: what slows or endangers a live run, and the commands that mend it. Changes nothing.

    Exit 1 if something fails: a live run there could be wrong, or stop.
    """
    from helios.ops.doctor import examine, print_findings, summary
    from helios.ops.findings import Status, Wanted
    from helios.ops.machine import Machine, parse_cores

    wanted_cores = sorted(parse_cores(cores or ""))
    if cores is not None and not wanted_cores:
        raise ArgumentError(f"--cores {cores!r}: write core numbers, like 2,3 or 2-5")
    findings = examine(Machine(), Wanted(wanted_cores, interface or (), directory))
    if json_:
        print(json.dumps(summary(findings)))
    else:
        from rich.console import Console

        print_findings(findings, Console(soft_wrap=True))
    if any(finding.status is Status.FAIL for finding in findings):
        raise typer.Exit(1)
