"""What `helios doctor` says of one thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from helios.ops.machine import Machine


class Status(StrEnum):
    """`warn` costs time or steadiness; `fail` can make a live run wrong or stop it."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "cannot tell"


OK, WARN, FAIL, UNKNOWN = Status.OK, Status.WARN, Status.FAIL, Status.UNKNOWN


@dataclass(frozen=True)
class Finding:
    """One check: what was read, why it matters in one line, and what mends it: a command for a shell, or advice."""

    name: str
    status: Status
    read: str
    why: str
    mend: str | None = None
    advice: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "status": str(self.status)}


@dataclass(frozen=True)
class Wanted:
    """What the run will use: its cores, its network interfaces (all if none is named), its folder."""

    cores: Sequence[int] = ()
    interfaces: Sequence[str] = ()
    folder: Path = Path()


Check = Callable[[Machine, Wanted], Finding]
