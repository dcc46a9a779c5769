"""Replay: a journal fed back to a fresh engine, every output compared.

A backtest closes its journal; one that it did not close is not whole. A live run's journal is open while the run goes
on and after it was killed, also within a record: that is no fault of it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from helios.errors import RunError
from helios.research.backtest import core_errors, engine_of
from helios.research.results import JOURNAL_FILE

#: In the directory of a live run.
LIVE_JOURNAL_FILE: Final = "live.journal"


@dataclass(frozen=True)
class Replayed:
    """How a replay went: `difference` is the first output that differs, `damage` what is wrong with the file,
    `ends` how it ends ("closed", "open", "torn", "otherwise"); `live` says whose journal it is."""

    inputs: int
    outputs: int
    digest: str
    difference: str | None
    damage: str | None
    ends: str = "closed"
    live: bool = False

    @property
    def identical(self) -> bool:
        """Every output and the final state were the same, and the journal is whole, or a live one that is open."""
        return self.difference is None and (self.damage is None or self.is_open)

    @property
    def is_open(self) -> bool:
        """A live run's journal that nobody closed: the run goes on, or was killed."""
        return self.live and self.ends in ("open", "torn")

    @property
    def problem(self) -> str:
        """What was not the same."""
        good = f"{self.inputs:,} inputs and {self.outputs:,} outputs before it are the same"
        if self.difference is not None:
            return f"first difference: {self.difference}; {good}"
        return f"{str(self.damage).rstrip('.')}; {good}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"identical": self.identical, **asdict(self)}


def replay(run: str | os.PathLike[str]) -> Replayed:
    """Replays a run folder, a live run's directory, or a journal file.

    RunError when there is none, or it is not one that can be read.
    """
    from helios import _core

    path = Path(run)
    live = path / LIVE_JOURNAL_FILE
    journal = path if not path.is_dir() else live if live.is_file() else path / JOURNAL_FILE
    if not journal.is_file():
        raise RunError(f"there is no journal {journal}", hint="`helios backtest RUN --out DIR` writes one.")
    with core_errors():
        config = _core.journal_config(journal)
        engine = engine_of(config)
        return Replayed(*_core.replay(journal, engine), live="live" in json.loads(config))
