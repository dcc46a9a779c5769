"""The folder of a sweep: what makes it durable, resumable and used by one sweep at a time.

    points.jsonl     one line for every finished point, appended and synced as it finishes
    sweep.json       what was swept, on what, and how many trials there were
    sweep.parquet    the results, one row a point; sweep.csv and sweep.html show the same

A line of points.jsonl has the point's `key`, `params`, and `result` or `error`. The key is a fingerprint of everything
that makes the result, so that a changed run, changed data or another core never meet an old result. A line that was cut
short by a crash is dropped; one that is damaged in the middle of the file is an error. Assumes a file system with
`flock`; it is held by the process, so a killed sweep leaves no lock behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from helios.errors import RunError
from helios.research.results import jsonable, write_whole

FORMAT: Final = 1
POINTS_FILE: Final = "points.jsonl"
SWEEP_FILE: Final = "sweep.json"
TABLE_FILE: Final = "sweep.parquet"
CSV_FILE: Final = "sweep.csv"
PAGE_FILE: Final = "sweep.html"
DATA_FOLDER: Final = "data"

Record = dict[str, Any]


class SweepFolder:
    """An open folder: the lock is held until `close`. `records` are the points finished so far, by key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, Record] = {}
        points = path / POINTS_FILE
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()) and not points.exists():
                hint = "Choose a new folder, or that of an earlier sweep."
                raise RunError("the folder is not empty and holds no sweep", folder=str(path), hint=hint)
            # Unbuffered: what could not be written must not be written again when the file is closed.
            self._file = points.open("a+b", buffering=0)
        except OSError as error:
            raise RunError(f"cannot be used for a sweep: {error.strerror}", folder=str(path), hint=_CHOOSE) from error
        try:
            self._lock()
            self.records = self._read()
            self.drop_data()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the shared data and gives the folder free."""
        self.drop_data()
        self._file.close()

    def drop_data(self) -> None:
        """Removes the shared copy of the data, ours or one that a killed sweep left."""
        shutil.rmtree(self.path / DATA_FOLDER, ignore_errors=True)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                "another sweep is using this folder", folder=str(self.path), hint="Wait for it, or choose another."
            ) from None

    def _read(self) -> dict[str, Record]:
        self._file.seek(0)
        whole = self._file.read()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            # A crash cut the last line short: that point was not finished.
            self._file.truncate(end)
        records: dict[str, Record] = {}
        for number, line in enumerate(whole[:end].splitlines(), start=1):
            try:
                record = json.loads(line)
                if not (isinstance(record["params"], dict) and ("result" in record) != ("error" in record)):
                    raise KeyError("params")
                records[record["key"]] = record
            except (ValueError, KeyError, TypeError):
                hint = "Remove that line, or choose another folder."
                raise RunError(f"line {number} of {POINTS_FILE} is damaged", folder=str(self.path), hint=hint) from None
        return records

    def append(self, record: Record) -> None:
        """Keeps a finished point, on disk before this returns."""
        line = (json.dumps(jsonable(record), ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            hint = "Make room and start the same sweep again: finished points are kept."
            raise RunError(f"cannot write {POINTS_FILE}: {error.strerror}", folder=str(self.path), hint=hint) from error
        self.records[record["key"]] = record

    def description(self) -> dict[str, Any]:
        """sweep.json of the sweep before; empty without one that can be read."""
        try:
            told = json.loads((self.path / SWEEP_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return told if isinstance(told, dict) and told.get("format") == FORMAT else {}

    def describe(self, meta: Mapping[str, Any]) -> None:
        """Writes sweep.json."""
        told = json.dumps({**jsonable(dict(meta)), "format": FORMAT}, indent=2, ensure_ascii=False, allow_nan=False)
        write_whole(self.path / SWEEP_FILE, lambda file: file.write_text(told + "\n", encoding="utf-8"))


_CHOOSE = "Choose another folder."


def read_description(folder: Path) -> dict[str, Any]:
    """sweep.json. RunError where there is none that this version reads."""
    try:
        told = json.loads((folder / SWEEP_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"not a sweep: {SWEEP_FILE} is missing", folder=str(folder)) from None
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {SWEEP_FILE}: {error}", folder=str(folder)) from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        found = told.get("format") if isinstance(told, dict) else None
        raise RunError(f"{SWEEP_FILE} has format {found!r}, this version reads {FORMAT}", folder=str(folder))
    return told
