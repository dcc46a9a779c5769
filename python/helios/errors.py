"""The errors that Helios raises, all under one root.

Each message says what was wrong, where (file, row or byte, column or key) and what to do about it. The parts are
attributes too, so that a program can act on them without reading the text.
"""

from __future__ import annotations

__all__ = ["ArgumentError", "CatalogError", "ConfigError", "DataError", "HeliosError", "ReplayMismatch", "RunError"]


class HeliosError(Exception):
    """Root of all errors that Helios raises on purpose."""


class ArgumentError(HeliosError, ValueError):
    """A function was called with a value that it does not take."""


class DataError(HeliosError):
    """Input data that cannot be used as it is.

    `source` names the file or frame, `row` counts data rows from 0 (a header is not a row), `offset` counts bytes from
    0, `column` is the column as the source names it. `good_rows` rows before the error were delivered.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        row: int | None = None,
        offset: int | None = None,
        column: str | None = None,
        hint: str | None = None,
        good_rows: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.source = source
        self.row = row
        self.offset = offset
        self.column = column
        self.hint = hint
        self.good_rows = good_rows

    def __str__(self) -> str:
        place = [self.source] if self.source else []
        place += [f"row {self.row}"] if self.row is not None else []
        place += [f"offset {self.offset}"] if self.offset is not None else []
        place += [f"column '{self.column}'"] if self.column else []
        good = [f"{self.good_rows} rows before it were good"] if self.good_rows is not None else []
        return _sentence(place, self.message, good, self.hint)


class CatalogError(DataError):
    """A catalog cannot be opened, read or written as asked: `source` is its location or a file in it."""


class ConfigError(HeliosError):
    """A run's configuration is wrong: `file` and `key` say where."""

    def __init__(
        self, message: str, *, file: str | None = None, key: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.key = key
        self.hint = hint

    def __str__(self) -> str:
        place = [self.file] if self.file else []
        place += [f"key '{self.key}'"] if self.key else []
        return _sentence(place, self.message, [], self.hint)


class RunError(HeliosError):
    """A run could not start or could not go on: `folder` is the run's, where there is one."""

    def __init__(self, message: str, *, folder: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.folder = folder
        self.hint = hint

    def __str__(self) -> str:
        return _sentence([self.folder] if self.folder else [], self.message, [], self.hint)


class ReplayMismatch(HeliosError):
    """A replay said something else than the run: `seq` is the first input at which they differ."""

    def __init__(self, message: str, *, folder: str | None = None, seq: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.folder = folder
        self.seq = seq

    def __str__(self) -> str:
        place = [self.folder] if self.folder else []
        place += [f"input {self.seq}"] if self.seq is not None else []
        return _sentence(place, self.message, [], None)


def _sentence(place: list[str], message: str, notes: list[str], hint: str | None) -> str:
    """`where: what (notes). hint`."""
    where = ", ".join(place)
    text = f"{where}: {message}" if where else message
    text += f" ({'; '.join(notes)})" if notes else ""
    return f"{text}. {hint}" if hint else text
