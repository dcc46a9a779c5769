"""The manifest: which files a catalog consists of. One JSON file a commit, never changed; the highest number counts.

A file that no manifest names does not exist for a reader, so that a commit shows all of its files at once or none.
Nothing in a manifest depends on when it was written: the same imports give the same bytes.
"""

from __future__ import annotations

import re
from datetime import date as Date
from typing import Any, Final

import msgspec

from helios.data.catalog.store import Store
from helios.errors import CatalogError

__all__ = ["Entry", "Import", "Manifest", "latest", "name_of"]

FORMAT: Final = 1
_NAME = re.compile(r"manifest/(\d{10})\.json$")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file: a time slice of a day of a schema, or rows of a reference table."""

    schema: str
    #: Trading date; None for a reference table.
    date: Date | None
    #: Its place in the catalog; its name is the digest of its bytes.
    file: str
    #: Its table of instruments, with rows and stamps; None for a reference table.
    index: str | None
    rows: int
    #: How many instruments.
    instruments: int
    #: Stamps of its first and last event, ns UTC.
    first_ts: int | None
    last_ts: int | None
    bytes: int
    #: Id of the import that it came from.
    imported: str
    #: Number of the slice within the day of that import.
    part: int

    @property
    def order(self) -> tuple[str, str, int]:
        """Where its events stand among those of one stamp in other files."""
        return (str(self.date), self.imported, self.part)


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """One source with the options it was read with."""

    id: str
    #: What people call it: a file's name.
    source: str
    #: Digest of the source's bytes.
    digest: str
    options: dict[str, Any]
    #: Days that are in, sorted.
    days: list[Date]
    complete: bool
    description: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a catalog after a commit."""

    format: int = FORMAT
    number: int = 0
    entries: list[Entry] = []
    imports: list[Import] = []
    #: Files that were replaced. They stay for readers that still have an older state; `Catalog.vacuum` removes them.
    replaced: list[str] = []

    def encode(self) -> bytes:
        """As JSON, one entry a line."""
        parts = [f'"{name}": {_lines(getattr(self, name))}' for name in ("imports", "entries", "replaced")]
        head = f'{{"format": {self.format}, "number": {self.number}'
        return (",\n".join([head, *parts]) + "}\n").encode()

    def imported(self, id: str) -> Import | None:
        """The record of an import."""
        return next((each for each in self.imports if each.id == id), None)

    def files(self) -> set[str]:
        """All that it names."""
        return {name for entry in self.entries for name in (entry.file, entry.index) if name is not None}


def _lines(rows: list[Any]) -> str:
    return "[" + ",".join("\n  " + msgspec.json.encode(row).decode() for row in rows) + "]"


def name_of(number: int) -> str:
    """The file of a commit."""
    return f"manifest/{number:010d}.json"


def latest(store: Store) -> Manifest:
    """The state of the catalog now."""
    numbers = [int(match[1]) for name in store.names("manifest") if (match := _NAME.search(name))]
    if not numbers:
        raise CatalogError("it has no manifest any more", source=store.location)
    return load(store, max(numbers))


def load(store: Store, number: int) -> Manifest:
    """The state after a commit. CatalogError where it cannot be read."""
    name = name_of(number)
    data = store.read(name)
    try:
        found = msgspec.json.decode(data)
        if found["format"] != FORMAT:
            hint = "It was written by another version of Helios."
            raise CatalogError(f"{name} has format {found['format']}, this version reads {FORMAT}", hint=hint)
        return msgspec.convert(found, Manifest)
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise CatalogError(f"{name} is damaged: {error}", source=store.location) from None
