"""An import: what writes into a catalog, so that a day is shown whole or not at all.

Files are written under temporary names and brought to disk; a commit then moves them to their places and writes a new
manifest, last of all. A process that is killed leaves the catalog as it was after the latest commit. The same import
started again skips the days that are in, and ends with the same files: their names are digests of their bytes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import msgspec
import polars as pl

from helios.data.catalog.manifest import Entry, Import, Manifest, latest, name_of
from helios.data.catalog.schemas import REFERENCE, SCHEMAS, conform, from_batch
from helios.data.catalog.store import naming_faults
from helios.data.catalog.writing import DayWriter, File, write_parquet
from helios.data.source import Batch
from helios.errors import ArgumentError, CatalogError

if TYPE_CHECKING:
    from helios.data.catalog.catalog import Catalog

__all__ = ["ImportJob"]

#: How often a commit is tried again because another process made one at the same time.
_TRIES: Final = 1_000

Data = pl.DataFrame | Batch | Iterable[pl.DataFrame | Batch]


def import_id(digest: str, options: Mapping[str, Any]) -> str:
    """What tells one import from another: the source's bytes and the options they were read with."""
    try:
        text = json.dumps([digest, dict(options)], sort_keys=True)
    except TypeError as error:
        raise ArgumentError(f"the options of an import are texts, numbers and lists: {error}") from None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class ImportJob:
    """Made by `Catalog.importing`; used in a `with`, at whose end all that is not yet committed is."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        source: str,
        digest: str,
        options: Mapping[str, Any],
        description: str,
        replace: bool,
        memory: int,
    ) -> None:
        self.source = source
        self.id = import_id(digest, options)
        self._catalog = catalog
        self._store = catalog.store
        self._record = Import(
            id=self.id,
            source=source,
            digest=digest,
            options=dict(options),
            description=description,
            days=[],
            complete=False,
        )
        self._replace = replace
        self._memory = memory
        self._writers: dict[tuple[str, dt.date], DayWriter] = {}
        self._tables: dict[str, list[pl.DataFrame]] = {}
        self._days: set[dt.date] = set()
        self._held = 0
        #: Files in their places that are not committed yet.
        self._brought: list[str] = []
        self._stack = ExitStack()

    def __enter__(self) -> ImportJob:
        self._catalog.refresh()
        self._folder = self._stack.enter_context(self._store.workplace())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None and not self.done:
                self._commit(sorted({date for _, date in self._writers}), complete=True)

    @property
    def done(self) -> bool:
        """Whether all of this import was in the catalog before: there is nothing to do, and `write` does nothing."""
        record = self._catalog.manifest.imported(self.id)
        return record is not None and record.complete

    @property
    def days(self) -> list[dt.date]:
        """Days of this import that are in the catalog: `write` leaves them out."""
        record = self._catalog.manifest.imported(self.id)
        return [] if record is None else list(record.days)

    def skips(self, date: dt.date) -> bool:
        """Whether a day need not be read: it is in."""
        return self.done or (date in self.days and date not in self._days)

    def write(
        self,
        schema: str,
        date: dt.date | None,
        data: Data,
        symbols: Sequence[str] | Mapping[int, str] | None = None,
    ) -> None:
        """Events of one day in any order of time, or rows of a reference table (`date` is None).

        `data` is a frame with the columns of `SCHEMAS[schema]`, a batch of the core (`symbols` names its instruments),
        or several. Events of one stamp keep the order in which they are given. Nothing of it is seen before a commit.
        Raises DataError for rows that cannot be, CatalogError where there is no room.
        """
        if schema not in SCHEMAS:
            raise ArgumentError(f"schema={schema!r}: one of {', '.join(SCHEMAS)}")
        if (schema in REFERENCE) != (date is None):
            raise ArgumentError(f"schema={schema!r}, date={date}: market data has a date, a reference table has none")
        if self.done or (date is not None and self.skips(date)):
            return
        if date in self._days:
            raise CatalogError(f"{date} is committed: nothing can be added to it", source=self.source)
        single = isinstance(data, pl.DataFrame | dict)
        with naming_faults(self._store.location, f"importing {self.source}"):
            for part in [data] if single else data:
                self._add(schema, date, part, symbols)  # type: ignore[arg-type]

    def _add(
        self,
        schema: str,
        date: dt.date | None,
        part: pl.DataFrame | Batch,
        symbols: Sequence[str] | Mapping[int, str] | None,
    ) -> None:
        if not isinstance(part, pl.DataFrame):
            if symbols is None:
                raise ArgumentError("a batch has numbers for its instruments: give symbols=[…]")
            part = from_batch(part, symbols)
        frame = conform(part, schema, self.source)
        if date is None:
            self._tables.setdefault(schema, []).append(frame)
            return
        writer = self._writer(schema, date)
        before = writer.held_bytes
        writer.add(frame)
        # Not a sum over all: an import of daily bars has thousands of days open.
        self._held += writer.held_bytes - before
        if self._held > self._memory // 2:
            largest = max(self._writers.values(), key=lambda writer: writer.held_bytes)
            largest.spill()
            self._held = sum(writer.held_bytes for writer in self._writers.values())

    def _writer(self, schema: str, date: dt.date) -> DayWriter:
        if (schema, date) not in self._writers:
            folder = self._folder / f"{schema}-{date}"
            self._writers[schema, date] = DayWriter(schema, date, self.source, folder, self._memory)
        return self._writers[schema, date]

    def commit_day(self, date: dt.date) -> None:
        """Shows a finished day, all schemas of it at once. CatalogError where it is there from another source."""
        if self.done or date in self._days or date in self.days:
            return
        self._commit([date], complete=False)

    # ---- committing --------------------------------------------------------------------------------------------------

    def _commit(self, dates: list[dt.date], *, complete: bool) -> None:
        with naming_faults(self._store.location, f"importing {self.source}"):
            made: list[tuple[Entry, File]] = []
            for (schema, date), writer in sorted(self._writers.items()):
                if date in dates:
                    made += [self._entry(schema, date, part, file) for part, file in enumerate(writer.finish())]
            for schema, frames in sorted(self._tables.items()):
                file = write_parquet(pl.concat(frames), self._place(schema))
                made.append(self._entry(schema, None, 0, file))
        fresh = [entry for entry, _ in made]
        indexes = {entry.index: file.index for entry, file in made if entry.index and file.index is not None}
        try:
            self._apply(latest(self._store), fresh, indexes, dates, complete)  # before anything takes its place
            for entry, file in made:
                self._bring(entry, file)
            self._publish(fresh, indexes, dates, complete)
        except BaseException:
            self._take_back()
            raise
        self._brought = []
        self._days |= set(dates)
        self._tables = {}
        self._writers = {key: writer for key, writer in self._writers.items() if key[1] not in dates}
        self._held = sum(writer.held_bytes for writer in self._writers.values())

    def _take_back(self) -> None:
        """Removes what was brought for a commit that did not come."""
        with contextlib.suppress(CatalogError):
            keep = latest(self._store).files()
            for name in self._brought:
                if name not in keep:
                    self._store.delete(name)

    def _place(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def _entry(self, schema: str, date: dt.date | None, part: int, file: File) -> tuple[Entry, File]:
        index = file.index
        place = f"reference/{schema}" if date is None else f"data/{schema}/date={date}"
        first = None if index is None else index["first_ts"].to_physical().min()
        last = None if index is None else index["last_ts"].to_physical().max()
        entry = Entry(
            schema=schema,
            date=date,
            file=f"{place}/{file.digest}.parquet",
            index=None if index is None else f"index/{file.digest}.parquet",
            rows=file.rows,
            instruments=0 if index is None else index.height,
            first_ts=first,  # type: ignore[arg-type]
            last_ts=last,  # type: ignore[arg-type]
            bytes=file.bytes,
            imported=self.id,
            part=part,
        )
        return entry, file

    def _bring(self, entry: Entry, file: File) -> None:
        if entry.index is not None and file.index is not None:
            with naming_faults(self._store.location, f"importing {self.source}"):
                index = write_parquet(file.index, self._place("index"))
            self._brought += [entry.index, entry.file]
            self._store.add(index.path, entry.index)
        else:
            self._brought.append(entry.file)
        self._store.add(file.path, entry.file)

    def _publish(
        self, fresh: list[Entry], indexes: Mapping[str, pl.DataFrame], dates: list[dt.date], complete: bool
    ) -> None:
        """Writes the next manifest; where another process was first, on top of its state."""
        for _ in range(_TRIES):
            manifest = self._apply(latest(self._store), fresh, indexes, dates, complete)
            if self._store.create(name_of(manifest.number), manifest.encode()):
                self._catalog.manifest = manifest
                return
        raise CatalogError(f"others commit all the time: gave up after {_TRIES} tries", source=self._store.location)

    def _apply(
        self,
        state: Manifest,
        fresh: list[Entry],
        indexes: Mapping[str, pl.DataFrame],
        dates: list[dt.date],
        complete: bool,
    ) -> Manifest:
        """The state with this commit in it. CatalogError where another source has one of its instrument-days."""
        own = state.imported(self.id)
        days = set(own.days if own is not None else [])
        # The same import may have run twice at once: what is in already has the same digests.
        there = {(entry.file, entry.imported) for entry in state.entries}
        fresh = [entry for entry in fresh if (entry.file, entry.imported) not in there]
        # Market data brings rows of reference tables along: those of other imports stay, whatever is replaced.
        of_tables = self._replace and not days and not dates
        entries = self._without_overlaps(state, fresh, indexes, of_tables=of_tables)
        whole = complete or (own is not None and own.complete)
        record = msgspec.structs.replace(self._record, days=sorted(days | set(dates)), complete=whole)
        imports = [each for each in state.imports if each.id != self.id]
        entries = [*entries, *fresh]
        after = Manifest(
            number=state.number + 1,
            entries=sorted(entries, key=lambda entry: (entry.schema, entry.order)),
            imports=sorted([*_still(imports, state, entries), record], key=lambda each: each.id),
        )
        gone = (set(state.replaced) | state.files()) - after.files()
        return msgspec.structs.replace(after, replaced=sorted(gone))

    def _without_overlaps(
        self, state: Manifest, fresh: list[Entry], indexes: Mapping[str, pl.DataFrame], *, of_tables: bool
    ) -> list[Entry]:
        """The entries that stay; `of_tables`: a whole reference table is put in another's place."""
        new: dict[tuple[str, dt.date | None], set[str]] = {}
        for entry in fresh:
            mine: set[str] = set(indexes[entry.index]["instrument"]) if entry.index else set()
            new.setdefault((entry.schema, entry.date), set()).update(mine)
        stay = []
        for entry in state.entries:
            names = new.get((entry.schema, entry.date))
            if names is None:
                stay.append(entry)
                continue
            if entry.imported == self.id:
                continue  # the rest of a day of which something was replaced, and which now comes again
            if entry.index is None:
                stay += [] if of_tables else [entry]
                continue
            there = set(self._catalog.index(entry)["instrument"])
            both = sorted(there & names)
            if not both:
                stay.append(entry)
            elif not self._replace:
                other = state.imported(entry.imported)
                raise CatalogError(
                    f"{entry.schema} of {both[0]!r} on {entry.date}"
                    + (f" and {len(both) - 1} other instruments" if len(both) > 1 else "")
                    + f" are there already, from {other.source if other else entry.imported}",
                    source=self.source,
                    hint="To put these in their place, import with replace=True (--replace).",
                )
            elif there - names:
                stay.append(self._rest_of(entry, names))
        return stay

    def _rest_of(self, entry: Entry, names: set[str]) -> Entry:
        """A file without some of its instruments."""
        keep = ~pl.col("instrument").is_in(sorted(names))
        frame = pl.read_parquet(self._store.open(entry.file), memory_map=False).filter(keep)
        index = self._catalog.index(entry).filter(keep)
        written = write_parquet(frame, self._place("rest"), index)
        rest, _ = self._entry(entry.schema, entry.date, entry.part, written)
        rest = msgspec.structs.replace(rest, imported=entry.imported)
        self._bring(rest, written)
        return rest


def _still(imports: list[Import], state: Manifest, entries: list[Entry]) -> list[Import]:
    """Imports without the days of which something was replaced; one that lost a day is no longer complete."""
    there = {entry.file for entry in entries}
    lost: dict[str, set[dt.date | None]] = {}
    for entry in state.entries:
        if entry.file not in there:
            lost.setdefault(entry.imported, set()).add(entry.date)
    found = []
    for each in imports:
        if each.id in lost:
            days = [day for day in each.days if day not in lost[each.id]]
            each = msgspec.structs.replace(each, days=days, complete=False)
        if each.days or each.complete:
            found.append(each)
    return found
