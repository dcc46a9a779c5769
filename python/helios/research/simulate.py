"""The simulated market, written as a genuine ITCH 5.0 file. What it assumes stands in docs/models/agents.md."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helios.errors import ArgumentError, RunError


def simulate(
    out: str | os.PathLike[str],
    *,
    symbols: int = 200,
    minutes: int = 30,
    seed: int = 7,
    group_size: int = 10,
    rate: float = 4.0,
    half_life_s: float = 180.0,
    deviation_bp: float = 6.0,
    volatility: float = 0.15,
    progress: Callable[[float], None] | None = None,
) -> int:
    """Writes an ITCH day of `symbols` in cointegrated groups of `group_size`; returns its bytes.

    `rate` is messages per symbol and second; `half_life_s` and `deviation_bp` describe each symbol's own deviation from
    its group, `volatility` the group's walk per year. The same settings give the same bytes on every machine. The file
    appears only when it is complete. Raises RunError for a setting out of range, naming the range.
    """
    from helios.data.agents import agents

    try:
        source = agents(
            symbols=symbols,
            minutes=minutes,
            seed=seed,
            group_size=group_size,
            rate=rate,
            half_life_s=half_life_s,
            deviation_bp=deviation_bp,
            volatility=volatility,
        )
    except ArgumentError as error:
        raise RunError(str(error)) from None
    return write(source.market(), out, progress)


def write(market: Any, out: str | os.PathLike[str], progress: Callable[[float], None] | None = None) -> int:
    """Writes a market piece by piece into a temporary file, then renames it; returns its bytes."""
    path = Path(out)
    if path.exists() and not path.is_file():
        raise RunError(f"cannot write {path}: it is there already and no regular file", hint="Name a file.")
    part = path.with_name(path.name + ".part")
    size = 0
    try:
        with part.open("wb") as file:
            while (chunk := market.next_chunk()) is not None:
                size += file.write(chunk)
                if progress is not None:
                    progress(market.progress)
        part.replace(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
    return size
