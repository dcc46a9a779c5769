"""The command line of our own venues: `helios exchange`, `helios exchange-fault`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(exchange)
    app.command("exchange-fault", context_settings={"ignore_unknown_options": True})(exchange_fault)


def exchange(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file with tables for venues and users.")],
    control: Annotated[Path | None, typer.Option(help="A folder for the socket that takes commands.")] = None,
    ledger: Annotated[Path | None, typer.Option(help="A file for what is known of each user, kept up to date.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No lines about clients on stderr.")] = False,
) -> None:
    """Serve venues of our own: market data over MoldUDP64, orders over OUCH and FIX, snapshots; faults on demand.

    Prints one line of JSON with the addresses, then serves until Ctrl-C, which ends the day.
    """
    from helios.live.exchange import load_exchange

    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, format="%(asctime)s %(message)s")
    load_exchange(config).run(control=control, ledger=ledger, said=lambda line: print(line, flush=True))


def exchange_fault(
    control: Annotated[Path, typer.Argument(metavar="DIR", help="The folder given to --control.")],
    words: Annotated[list[str], typer.Argument(metavar="FAULT...", help="drop line=A p=0.1; clear; counters; …")],
) -> None:
    """Let something go wrong at a running exchange; or `counters`, `ledger`, `clear`, `halt VENUE SYMBOL`, `end`.

    Faults: drop, duplicate, reorder (line=A, B or retransmission); delay, silent (a line or port=ouch50, fix44, …);
    disconnect, refuse-logins, refuse-orders (a port). With p= (how often), by= (how late), for= (how long), venue=.
    """
    from helios.live.exchange import ask_exchange

    said = ask_exchange(control, " ".join(words))
    print("done" if said is True else json.dumps(said))
