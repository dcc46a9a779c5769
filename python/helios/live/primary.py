"""Becoming and being the one that may send orders: the lease around a run, and whose journal is the newest.

A run's folder remembers the epoch in which it last began to trade. Where the lease's table names a later one, another
process went on with the run, and this folder's journal is old: who trades on from it does not know what was sent since.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from helios.errors import RunError
from helios.live.driver import Driver
from helios.live.folder import JOURNAL_FILE
from helios.live.lease import Last, Lease, Renewal
from helios.live.settings import Standby

EPOCH_FILE: Final = "lease.json"
_MOST_WAIT_VALIDITIES: Final = 4


def lease_of(standby: Standby) -> Lease:
    """The lease that a run file describes."""
    assert standby.lease is not None, "checked"
    return Lease(standby.lease, standby.name, standby.validity_ns)


def take(standby: Standby, directory: Path, given_up: Callable[[], bool], clock: Callable[[], float]) -> Lease | None:
    """The lease for a run that starts in a folder; None if it was given up.

    RunError if another process has it, or was primary since this folder's journal ended.
    """
    lease = lease_of(standby)
    end = clock() + standby.validity_ns / 1e9 * _MOST_WAIT_VALIDITIES + 2.0
    if lease.acquire(lambda: given_up() or clock() > end) is None:
        if given_up():
            return None
        last = lease_of(standby).look()
        holder = f": {last.holder} is primary" if last is not None else ", or its server does not answer"
        hint = "`helios standby CONFIG` waits and takes over."
        raise RunError(f"the lease {standby.name!r} is not to be had{holder}", folder=str(directory), hint=hint)
    try:
        refuse_old(directory, lease.last)
    except RunError:
        lease.release()
        raise
    return lease


def refuse_old(directory: Path, last: Last | None) -> None:
    """RunError if the folder's journal is not the newest."""
    journal = directory / JOURNAL_FILE
    began = 0 if last is None else last.began
    if not journal.exists() or not journal.stat().st_size or began <= (epoch_of(directory) or 0):
        return
    assert last is not None
    hint = "Fetch the newest with `helios standby CONFIG`, or begin anew in another live.directory."
    raise RunError(f"its journal is old: {last.holder} was primary since", folder=str(directory), hint=hint)


def epoch_of(directory: Path) -> int | None:
    """The epoch in which a run last began in this folder."""
    try:
        epoch = json.loads((directory / EPOCH_FILE).read_text())["epoch"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return epoch if isinstance(epoch, int) else None


def begin(lease: Lease, standby: Standby, directory: Path, driver: Driver) -> Renewal:
    """From here on the lease is renewed, and the driver may send until its deadline. Before the driver starts."""
    assert lease.claim is not None, "taken"
    place = "" if standby.journal is None else f"{standby.journal[0]}:{standby.journal[1]}"
    # The folder first: after a crash in between it names an epoch in which nobody traded, which is no older.
    _remember(directory, lease.claim.epoch)
    lease.begin(place)
    return lease.keep(driver.may_send_until)


def _remember(directory: Path, epoch: int) -> None:
    path = directory / EPOCH_FILE
    draft = path.with_suffix(".new")
    with open(draft, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        json.dump({"epoch": epoch}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
