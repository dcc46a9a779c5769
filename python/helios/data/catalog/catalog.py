"""A catalog: market data and reference tables in Parquet files that any tool can read, and a manifest that names them.

    catalog = Catalog.open("history", create=True)
    with catalog.importing(source="day.csv", digest=digest) as job:
        job.write("trades", date(2012, 6, 21), frame)
    catalog.read("trades", ["AAPL"]).collect()                 # a lazy Polars frame, as stored
    Backtest(data=catalog.source("trades", ["AAPL"]), …)       # in order of time, in bounded memory

A `Catalog` shows the state at which it was opened or refreshed; what others commit later does not change it. Assumes
that nobody edits the files by hand. Absent: compaction, deletion of single days, time travel.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

import polars as pl

from helios.data.catalog.actions import ActionSource, Adjust, adjusted, check_adjust, events, factors
from helios.data.catalog.job import ImportJob
from helios.data.catalog.manifest import Entry, Manifest, latest, load, name_of
from helios.data.catalog.reading import CatalogSource, trading_days
from helios.data.catalog.schemas import MARKET, REFERENCE, SCHEMAS, TIME, check_schema, readable
from helios.data.catalog.store import Store, open_store
from helios.data.catalog.symbology import Selection, Symbology
from helios.duration import moment
from helios.errors import ArgumentError, CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Catalog"]

Moment = str | dt.date | int | None
_UNITS: Final = {"KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
#: Tables of instruments that are kept.
_INDEXES: Final = 4_096
_INDEX_TYPES: Final[dict[str, Any]] = {"instrument": pl.String, "rows": pl.Int64, "first_ts": TIME, "last_ts": TIME}


class Catalog:
    """The state of a catalog; made by `Catalog.open`."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self.store = store
        self.manifest = manifest
        self._indexes: OrderedDict[str, pl.DataFrame] = OrderedDict()

    @classmethod
    def open(cls, location: str | os.PathLike[str], *, create: bool = False) -> Catalog:
        """The catalog in a folder or at s3://bucket/prefix. CatalogError where there is none, unless `create`.

        What killed imports left behind is removed, unless another import is writing.
        """
        store = open_store(location)
        if create:
            store.prepare()
        if not store.names("manifest") and not (create and store.create(name_of(0), Manifest().encode())):
            hint = "Pass create=True for a new one."
            raise CatalogError("there is no catalog", source=store.location, hint=hint)
        _tidy(store)
        return cls(store, latest(store))

    @property
    def location(self) -> str:
        """Where it is."""
        return self.store.location

    def __repr__(self) -> str:
        return f"Catalog({self.location!r}, commit {self.manifest.number})"

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "number": self.manifest.number}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Another process reads the same state, whatever was committed meanwhile.
        self.store = state["store"]
        self.manifest = load(self.store, state["number"])
        self._indexes = OrderedDict()

    def refresh(self) -> None:
        """Sees what others have committed."""
        self.manifest = latest(self.store)

    # ---- what there is -----------------------------------------------------------------------------------------------

    def entries(self, schema: str, start: Moment = None, end: Moment = None) -> list[Entry]:
        """Files of a schema with events from `start` to `end`, as in `read`."""
        low, high = self._span(start, end)
        days = trading_days(start, end)
        found = []
        for entry in self.manifest.entries:
            if entry.schema != schema:
                continue
            if entry.date is not None and entry.first_ts is not None and entry.last_ts is not None:
                if (days[0] and entry.date < days[0]) or (days[1] and entry.date > days[1]):
                    continue
                if (low is not None and entry.last_ts < low) or (high is not None and entry.first_ts >= high):
                    continue
            found.append(entry)
        return found

    @staticmethod
    def _span(start: Moment, end: Moment) -> tuple[int | None, int | None]:
        """Start and end where they are moments, ns UTC."""
        days = trading_days(start, end)
        low = None if days[0] else moment(start, "start")
        high = None if days[1] else moment(end, "end")
        if (low is not None and high is not None and low >= high) or (days[0] and days[1] and days[0] > days[1]):
            raise ArgumentError(f"end={end!r} is not after start={start!r}")
        return low, high

    def index(self, entry: Entry) -> pl.DataFrame:
        """The instruments of a file in its order: instrument, rows, first_ts, last_ts."""
        assert entry.index is not None, "a reference table has no instruments' index"
        if entry.index in self._indexes:
            self._indexes.move_to_end(entry.index)
        else:
            with _naming(self, entry.index):
                self._indexes[entry.index] = pl.read_parquet(io.BytesIO(self.store.read(entry.index)))
            if len(self._indexes) > _INDEXES:
                self._indexes.popitem(last=False)
        return self._indexes[entry.index]

    def coverage(self, schema: str | None = None, start: Moment = None, end: Moment = None) -> pl.DataFrame:
        """Every instrument-day: schema, date, instrument, rows, first_ts, last_ts, source, imported (its id)."""
        frames = []
        for each in MARKET if schema is None else [schema]:
            for entry in self.entries(each, start, end):
                record = self.manifest.imported(entry.imported)
                frames.append(
                    self.index(entry).with_columns(
                        schema=pl.lit(each),
                        date=pl.lit(entry.date, dtype=pl.Date),
                        source=pl.lit(record.source if record else None, dtype=pl.String),
                        imported=pl.lit(entry.imported),
                    )
                )
        keys = ["schema", "date", "instrument"]
        if not frames:
            texts = {"source": pl.String, "imported": pl.String}
            return pl.DataFrame(schema={"schema": pl.String, "date": pl.Date, **_INDEX_TYPES, **texts})
        return (
            pl.concat(frames)
            .group_by(*keys, "source", "imported")
            .agg(pl.col("rows").sum(), pl.col("first_ts").min(), pl.col("last_ts").max())
            .select(*keys, "rows", "first_ts", "last_ts", "source", "imported")
            .sort(keys)
        )

    def instruments(self, schema: str | None = None, start: Moment = None, end: Moment = None) -> list[str]:
        """All instruments that have events, sorted."""
        found: set[str] = set()
        for each in MARKET if schema is None else [schema]:
            for entry in self.entries(each, start, end):
                found.update(self.index(entry)["instrument"])
        return sorted(found)

    # ---- reading -----------------------------------------------------------------------------------------------------

    def files(self, schema: str, start: Moment = None, end: Moment = None) -> list[str]:
        """Paths or addresses of a schema's files, for other tools: read_parquet of DuckDB, Polars, Arrow."""
        return [f"{self.location.rstrip('/')}/{entry.file}" for entry in self.entries(schema, start, end)]

    def read(
        self,
        schema: str,
        symbols: str | Iterable[str] | None = None,
        start: Moment = None,
        end: Moment = None,
        *,
        adjust: str | None = None,
        values: Literal["integer", "decimal", "float"] = "integer",
    ) -> pl.LazyFrame:
        """A table as a lazy frame with the columns of `SCHEMAS[schema]`, file by file, by instrument, then time.

        `start` and `end` that are days mean trading dates, both included; moments (with a time, or ns) are a span of
        stamps, the end excluded. `values` "decimal" or "float" gives prices and sizes in units instead of steps.

        `symbols` are symbols as of `end` (the last there were, without one) or permanent names. An instrument comes
        under the name it was asked by, over all its former symbols (see `symbology`). `adjust` "splits" or "all"
        multiplies prices and sizes by the factors of later splits, or of dividends too (see `actions`).
        """
        if schema not in SCHEMAS:
            raise ArgumentError(f"schema={schema!r}: one of {', '.join(SCHEMAS)}")
        entries = self.entries(schema, start, end)
        mode = check_adjust(adjust)
        if not entries:
            return readable(pl.LazyFrame(schema=SCHEMAS[schema]), schema, values)
        if schema in REFERENCE:
            frame = self._scan(schema, [entry.file for entry in entries])
            names = pl.lit(value=True) if symbols is None else pl.col("instrument").is_in(_names(symbols))
            return readable(frame.filter(names), schema, values)
        selection, by = self._chosen(symbols, end, mode)
        if selection is None:
            frame = self._scan(schema, [entry.file for entry in entries])
        else:
            files: dict[dt.date, list[str]] = {}
            for entry in entries:
                files.setdefault(entry.date or dt.date.min, []).append(entry.file)
            frame = selection.scan(files, lambda names: self._scan(schema, names))
        if by is not None:
            frame = adjusted(frame, by)
        low, high = self._span(start, end)
        if low is not None:
            frame = frame.filter(pl.col("ts") >= pl.lit(low).cast(TIME))
        if high is not None:
            frame = frame.filter(pl.col("ts") < pl.lit(high).cast(TIME))
        return readable(frame, schema, values)

    def source(
        self,
        schema: str,
        symbols: str | Iterable[str] | None = None,
        start: Moment = None,
        end: Moment = None,
        *,
        memory: str | int = "256MB",
        adjust: str | None = None,
    ) -> CatalogSource:
        """Events in order of time, for a backtest. Holds at most `memory` ("256MB", or bytes); arguments as in `read`.

        CatalogError where nothing is there of one of the symbols.
        """
        check_schema(schema)
        entries = self.entries(schema, start, end)
        names = None if symbols is None else _names(symbols)
        low, high = self._span(start, end)
        selection, by = self._chosen(symbols, end, check_adjust(adjust))
        source = CatalogSource(self, schema, entries, selection, low, high, _bytes(memory), by)
        there = set(source.symbols) if names is not None or not entries else {""}
        if missing := sorted(set(names or []) - there) if names is not None else [] if there else ["anything"]:
            span = f" from {start} to {end}" if start is not None or end is not None else ""
            raise CatalogError(f"it has no {schema} of {missing[0]!r}{span}", source=self.location)
        return source

    def actions(
        self,
        symbols: str | Iterable[str] | None = None,
        start: dt.date | str | None = None,
        end: dt.date | str | None = None,
        *,
        tz: str = "America/New_York",
        calendar: str | None = None,
    ) -> ActionSource:
        """Splits and dividends with an ex-date from `start` to `end`, both included, as a source: see `actions`."""
        names = None if symbols is None else _names(symbols)
        return events(self, names, start, end, tz=tz, calendar=calendar)

    def _scan(self, schema: str, files: list[str]) -> pl.LazyFrame:
        return self.store.scan(files, SCHEMAS[schema])

    def _chosen(
        self, symbols: str | Iterable[str] | None, end: Moment, mode: Adjust | None
    ) -> tuple[Selection | None, pl.DataFrame | None]:
        """Which rows of which days, and their factors; None where all is read as it stands."""
        selection = None
        if symbols is not None or self.entries("symbol_changes"):
            last = moment(end, "end")
            last_day = None if last is None else dt.datetime.fromtimestamp(last // 1_000_000_000, dt.UTC).date()
            names = None if symbols is None else _names(symbols)
            selection = Symbology.of(self).select(names, last_day)
        if mode is None:
            return selection, None
        found = factors(self, None if selection is None else selection.instruments, mode)
        return selection, found if selection is None else selection.told(found)

    def reader(self, entry: Entry, columns: list[str]) -> Callable[[int, int], pl.DataFrame]:
        """A function that gives a range of a file's rows. CatalogError where it is gone or damaged."""
        with _naming(self, entry.file):
            place = self.store.open(entry.file)
            lazy = pl.scan_parquet(place if isinstance(place, str) else io.BytesIO(place), hive_partitioning=False)
            lazy = lazy.select(columns)

        def rows(begin: int, end: int) -> pl.DataFrame:
            with _naming(self, entry.file):
                return lazy.slice(begin, end - begin).collect()

        return rows

    # ---- writing -----------------------------------------------------------------------------------------------------

    def importing(
        self,
        *,
        source: str,
        digest: str,
        options: Mapping[str, Any] | None = None,
        description: str = "",
        replace: bool = False,
        memory: str | int = "256MB",
    ) -> ImportJob:
        """A job that writes: `with catalog.importing(source="day.csv", digest=…) as job: job.write(…)`.

        `source` is what people call it, `digest` that of its bytes, `options` all else that decides what is read: an
        import with the same digest and options is the same one, and not done twice. `replace` takes the place of
        instrument-days from other sources, which is an error without it.
        """
        return ImportJob(
            self,
            source=source,
            digest=digest,
            options=options or {},
            description=description,
            replace=replace,
            memory=_bytes(memory),
        )

    def vacuum(self) -> int:
        """Removes files that no longer belong to it, and earlier manifests; returns how many of the former.

        No import and no older reader may be running.
        """
        keep = self.manifest.files()
        self.refresh()
        keep |= self.manifest.files()
        gone = [name for folder in _FOLDERS for name in self.store.names(folder) if name not in keep]
        # The newest stays: a commit is the first to take the number after it.
        earlier = [name for name in self.store.names("manifest") if name < name_of(self.manifest.number)]
        for name in [*gone, *earlier]:
            self.store.delete(name)
        return len(gone)


_FOLDERS: Final = ("data", "index", "reference")


def _tidy(store: Store) -> None:
    """Removes what killed imports left: their temporary files, and files that they did not come to commit."""
    # Whoever may only read leaves it to those who write.
    with contextlib.suppress(OSError), store.alone() as left:
        if not left:
            return
        there = [name for folder in _FOLDERS for name in store.names(folder)]
        manifest = latest(store)
        keep = manifest.files() | set(manifest.replaced)
        for name in there:
            if name not in keep:
                store.delete(name)
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _naming(catalog: Catalog, name: str) -> Iterator[None]:
    """A file that is gone or damaged, as CatalogError."""
    try:
        yield
    except CatalogError:
        raise
    except (OSError, pl.exceptions.PolarsError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        hint = "Import its source again."
        raise CatalogError(f"{name} cannot be read: {text}", source=catalog.location, hint=hint) from None


def _names(symbols: str | Iterable[str]) -> list[str]:
    return [symbols] if isinstance(symbols, str) else sorted(set(symbols))


def _bytes(memory: str | int) -> int:
    """Bytes of "256MB"."""
    if isinstance(memory, int) and not isinstance(memory, bool):
        return memory
    text = str(memory).strip().upper()
    number, unit = text[:-2].strip(), text[-2:]
    if unit not in _UNITS or not number.isdigit():
        raise ArgumentError(f"memory={memory!r}: a number and KB, MB or GB, like '256MB'")
    return int(number) * _UNITS[unit]
