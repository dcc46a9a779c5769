"""The log of a live run: one JSON object a line, in a file that only its owner reads.

`ts` is UTC; `level`, `station` and `text` are always there, other keys are the line's own. Secrets are taken out of
every line, whoever wrote it. The file is turned over at a fixed size, so that a disk cannot be filled by it.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from helios.errors import RunError
from helios.live.folder import LOG_FILE
from helios.live.secrets import Redaction

NAME: Final = "helios.live"
_FILE_BYTES: Final = 64 << 20
_FILES: Final = 8
_LONGEST_LINE: Final = 16_384

logger: Final = logging.getLogger(NAME)


def say(text: str, *, level: int = logging.INFO, station: str = "run", ts: int | None = None, **fields: Any) -> None:
    """One line. `ts` is when it happened, UTC nanoseconds; now without it."""
    logger.log(level, text, extra={"helios": {"station": station, "ts": ts, "fields": fields}})


@contextmanager
def logging_to(directory: Path, redact: Redaction, name: str = LOG_FILE) -> Iterator[Path]:
    """Writes the run's log into its folder while the block lasts. RunError if it cannot be opened."""
    path = directory / name
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
        handler = _PrivateFile(path, maxBytes=_FILE_BYTES, backupCount=_FILES, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write {path.name}: {error.strerror}", folder=str(directory)) from error
    handler.setFormatter(_Lines(redact))
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield path
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        handler.close()


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """Each new file is its owner's alone. A full disk stops the log, never the run."""

    def _open(self) -> Any:
        stream = super()._open()
        os.fchmod(stream.fileno(), 0o600)
        return stream

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Nothing: the journal says what happened, and complains by itself."""


class _Lines(logging.Formatter):
    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        own = getattr(record, "helios", {"station": record.name, "ts": None, "fields": {}})
        ns = own["ts"] if own["ts"] is not None else int(record.created * 1e9)
        line = {
            "ts": utc_text(ns),
            "level": record.levelname.lower(),
            "station": own["station"],
            "text": self._redact(record.getMessage())[:_LONGEST_LINE],
            **{key: self._clean(value) for key, value in own["fields"].items()},
        }
        if record.exc_info:
            line["traceback"] = self._redact(self.formatException(record.exc_info))[-_LONGEST_LINE:]
        return json.dumps(line, default=lambda value: self._redact(str(value)))

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redact(value)[:_LONGEST_LINE]
        if isinstance(value, dict):
            return {key: self._clean(one) for key, one in value.items()}
        return [self._clean(one) for one in value] if isinstance(value, list | tuple) else value


def utc_text(ns: int) -> str:
    """UTC nanoseconds as ISO text: 2026-01-05T14:30:00.000000001Z."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
