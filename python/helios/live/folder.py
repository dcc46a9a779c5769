"""The folder of a live run: made for its owner alone, and used by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from helios.errors import RunError

JOURNAL_FILE: Final = "live.journal"
LOCK_FILE: Final = "lock"
LOG_FILE: Final = "log.jsonl"


class HeldError(RunError):
    """Another process has the folder."""


@contextmanager
def held(directory: Path) -> Iterator[Path]:
    """Makes the folder if it is new and locks it while the block lasts; the kernel lets go of a killed process's lock.

    HeldError if another process has it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (LOCK_FILE, JOURNAL_FILE, LOG_FILE):
            if (directory / name).exists() and not (directory / name).is_file():  # a pipe would be waited for
                raise RunError(f"{name} in it is not a file", folder=str(directory), hint="Take another folder.")
        lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RunError(f"cannot use it: {error.strerror}", folder=str(directory)) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            hint = f"`helios ctl status {directory}` shows it."
            raise HeldError(f"another run is live here, process {holder}", folder=str(directory), hint=hint) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield directory
    finally:
        os.close(lock)


def holder(directory: Path) -> int | None:
    """The process that has the folder, as far as its lock file says."""
    try:
        return int((directory / LOCK_FILE).read_text())
    except (OSError, ValueError):
        return None
