"""The command line of FIX sessions: `helios fix --help`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helios.errors import ArgumentError

if TYPE_CHECKING:
    from helios.live.fix import Note, Record

app = typer.Typer(no_args_is_help=True, help="FIX sessions: an acceptor to test against, and stored messages.")


@app.command()
def acceptor(
    config: Annotated[Path, typer.Option(help="A TOML file with tables to listen and for sessions.")],
    listen: Annotated[str | None, typer.Option(help="Address in place of the file's first: 127.0.0.1:9880.")] = None,
    store: Annotated[Path | None, typer.Option(help="Folder of stores in place of the file's.")] = None,
) -> None:
    """Run the sessions of a file with an application that sends orders and security definitions back.

    For acceptance suites and first tests. Prints the addresses, then what happens, until it is interrupted.
    """
    import msgspec

    from helios.live import fix

    settings = fix.load_fix(config)
    if listen is not None:
        first = msgspec.structs.replace(settings.listen[0], address=listen) if settings.listen else None
        settings = msgspec.structs.replace(settings, listen=[first or fix.Listen(address=listen), *settings.listen[1:]])
    if store is not None:
        settings = msgspec.structs.replace(settings, store=str(store.absolute()))
    engine = fix.Engine(settings, on_note=_print_note)
    for host, port in engine.addresses:
        print(f"listening at {host}:{port}", flush=True)
    engine.run()


def _print_note(note: Note) -> None:
    print(f"{_time(note.ts)} {note.session or '-'}: {note.text}", flush=True)


@app.command()
def messages(
    folder: Annotated[Path, typer.Argument(help="The store of a session, or the folder of all of them.")],
    json_: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print the messages that sessions sent and the numbers they reached; | is the delimiter, passwords are masked."""
    from helios.live.fix import stored

    if not folder.is_dir():
        raise ArgumentError(f"{folder}: there is no such folder")
    found = [one for one in [folder, *sorted(folder.iterdir())] if one.is_dir() and any(one.glob("*.*.fix"))]
    if not found:
        raise ArgumentError(f"{folder}: there is no store of a FIX session in it")
    for one in found:
        if not json_:
            print(one.name)
        for record in stored(one):
            print(_json(one.name, record) if json_ else _line(record))


def _time(ts: int) -> str:
    seconds, rest = divmod(ts, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 1_000:06d}"


def _line(record: Record) -> str:
    from helios.live.fix import readable

    told = {
        "start": f"begins at {record.seq}",
        "message": readable(record.message),
        "number": "(session message)",
        "received": f"expects {record.seq}",
    }[record.kind]
    seq = f"{record.seq:>8}" if record.kind in ("message", "number") else " " * 8
    return f"  {_time(record.ts)} {record.generation:>4} {seq}  {told}"


def _json(name: str, record: Record) -> str:
    from helios.live.fix import readable

    row = {"session": name, "generation": record.generation, "kind": record.kind, "seq": record.seq, "ts": record.ts}
    if record.kind == "message":
        row["message"] = readable(record.message)
    return json.dumps(row)
