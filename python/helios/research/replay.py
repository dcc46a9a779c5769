"""Replay: a journal fed back to a fresh engine, every output compared."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helios.errors import RunError
from helios.research.backtest import core_errors, engine_of
from helios.research.results import JOURNAL_FILE


@dataclass(frozen=True)
class Replayed:
    """How a replay went: `difference` is the first output that differs, `damage` what is wrong with the file."""

    inputs: int
    outputs: int
    digest: str
    difference: str | None
    damage: str | None

    @property
    def identical(self) -> bool:
        """Every output and the final state were the same, and the journal is whole."""
        return self.difference is None and self.damage is None

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
    """Replays a run folder, or a journal file. RunError when there is none, or it is not one that can be read."""
    from helios import _core

    path = Path(run)
    journal = path / JOURNAL_FILE if path.is_dir() else path
    if not journal.is_file():
        raise RunError(f"there is no journal {journal}", hint="`helios backtest RUN --out DIR` writes one.")
    with core_errors():
        engine = engine_of(_core.journal_config(journal))
        return Replayed(*_core.replay(journal, engine))
