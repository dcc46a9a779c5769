"""The command line of operations: doctor, and what is asked of a live run."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from helios.errors import ArgumentError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


ctl = typer.Typer(no_args_is_help=True, help="What an operator asks of a live run: DIR is its live.directory.")

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the live run.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(run)
    app.command()(standby)
    app.add_typer(ctl, name="ctl")
    app.command()(latency)
    app.command()(doctor)


class RunMode(StrEnum):
    """Where orders go."""

    paper = "paper"
    live = "live"


def run(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="RUN.toml with [live], [[feed]], [[session]]: docs/live.md.")
    ],
    mode: Annotated[RunMode, typer.Option(help="paper: to the simulated venue, in process; live: to the venue.")],
    directory: Annotated[Path | None, typer.Option(help="In place of the file's live.directory.")] = None,
) -> None:
    """Run live: the same strategies and limits as the file's backtest, fed from the wire.

    The first Ctrl-C stops in an orderly way, the second at once. Exit 0: as asked; 3: by itself; 130: at once.
    """
    from helios.config import load_live
    from helios.live.run import run as keep

    live = load_live(config, mode.value, directory=directory)
    folder = live.settings.directory
    print(f"{mode.value} run in {folder}; `helios ctl status {folder}` tells how it stands", file=sys.stderr)
    raise typer.Exit(keep(live))


def standby(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The run file of the primary.")],
    mode: Annotated[RunMode, typer.Option(help="As the primary's.")],
    directory: Annotated[
        Path | None, typer.Option(help="This process's live.directory, where it is not the file's.")
    ] = None,
    journal: Annotated[
        str | None, typer.Option(help="Where it would serve its journal, where that is not the file's standby.journal.")
    ] = None,
) -> None:
    """Follow the primary's journal, and go on with its run when it is lost. Needs PostgreSQL for the lease.

    Exit codes as of `helios run`; 0 too when the primary ends the run in an orderly way.
    """
    from helios.config import load_live
    from helios.live.standby import standby as follow

    raise typer.Exit(follow(load_live(config, mode.value, directory=directory, journal=journal)))


def _asked(directory: Path, json_: bool, **request: Any) -> dict[str, Any]:
    """The run's answer, printed where it is only a sentence; exit 1 if it was no."""
    from helios.live.control import ask

    answer = ask(directory, request)
    if json_:
        print(json.dumps(answer))
    elif not answer["ok"]:
        print(f"refused: {answer['said']}", file=sys.stderr)
    elif "said" in answer:
        print(answer["said"])
    if not answer["ok"]:
        raise typer.Exit(1)
    return answer


@ctl.command()
def status(directory: Directory, json_: Json = False) -> None:
    """How the run stands."""
    answer = _asked(directory, json_, command="status")
    if not json_:
        from rich.console import Console

        from helios.live.show import print_status

        print_status(answer["status"], Console(soft_wrap=True))


@ctl.command()
def orders(directory: Directory, json_: Json = False) -> None:
    """Orders that may be working, those of unknown fate among them."""
    answer = _asked(directory, json_, command="orders")
    if not json_:
        from rich.console import Console

        from helios.live.show import print_rows

        print_rows(answer["orders"], "no order is open", Console())


@ctl.command()
def positions(directory: Directory, json_: Json = False) -> None:
    """What is held."""
    answer = _asked(directory, json_, command="positions")
    if not json_:
        from rich.console import Console

        from helios.live.show import print_rows

        print_rows(answer["positions"], "nothing is held", Console())


@ctl.command()
def pause(directory: Directory, json_: Json = False) -> None:
    """Let only orders pass that reduce a position."""
    _asked(directory, json_, command="pause")


@ctl.command()
def resume(directory: Directory, json_: Json = False) -> None:
    """Trade normally again."""
    _asked(directory, json_, command="resume")


@ctl.command()
def flatten(directory: Directory, json_: Json = False) -> None:
    """Cancel every order and close every position; only reducing orders pass until `resume`."""
    _asked(directory, json_, command="flatten")


@ctl.command()
def kill(
    directory: Directory,
    yes: Annotated[bool, typer.Option("--yes", help="It is meant: this run sends no order any more.")] = False,
    json_: Json = False,
) -> None:
    """Let nothing pass the gate any more. Not to be undone in this run."""
    if not yes:
        raise ArgumentError(
            "kill ends all trading of this run for good: write --yes, or pause it with `helios ctl pause`"
        )
    _asked(directory, json_, command="kill", sure=True)


@ctl.command()
def limit(
    directory: Directory,
    name: Annotated[str, typer.Argument(help="A key of [limits], like order_notional.")],
    value: Annotated[float, typer.Argument(help="Its new value, in the unit of [limits].")],
    json_: Json = False,
) -> None:
    """Give a limit a new value, at once."""
    _asked(directory, json_, command="limit", name=name, value=int(value) if value.is_integer() else value)


@ctl.command()
def stop(
    directory: Directory,
    hand_over: Annotated[bool, typer.Option("--hand-over", help="A standby goes on with the run.")] = False,
    json_: Json = False,
) -> None:
    """Stop the run in an orderly way, like its first Ctrl-C."""
    _asked(directory, json_, command="stop", hand_over=hand_over)


def latency(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a live run, or its latency.json.")],
    out: Annotated[Path | None, typer.Option(help="Where the picture goes. Default: latency.html in DIR.")] = None,
    json_: Json = False,
) -> None:
    """Show how long each stage from packet to order took, as a table and as a picture."""
    from helios.live.latency import PAGE_FILE, as_dict, print_stages, read, write_page

    stages = read(directory)
    if json_:
        print(json.dumps(as_dict(stages)))
        return
    from rich.console import Console

    folder = directory if directory.is_dir() else directory.parent
    print_stages(stages, Console())
    print(write_page(stages, out or folder / PAGE_FILE, str(directory)))


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
