"""One copy of the data for many processes: a source's normalised columns in memory-mapped files.

    shared = share(bars("minute/*.parquet"), folder)      # read, checked and written once
    for batch in shared.batches({"KO": 0}): ...           # in any process; `shared` itself pickles to a few paths

Every column is a `.npy` file that processes map read-only, so the kernel holds its pages once, however many read them.
A plain ITCH file is such a file already, read in pieces through the page cache; a gzip is unpacked once. `digest` is a
fingerprint of what was shared: equal data gives an equal one, whatever file or frame it came from.

Assumes that the folder stays until the last reader is done, and that every reader sees it (one machine, or a shared
file system). Absent: pcap captures as one copy; each reader of a capture holds it in memory.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from helios.data.agents import AgentsSource
from helios.data.itch import ItchSource
from helios.data.source import BATCH_ROWS, Batch, ColumnSource, Schema, Skipped, check_request

_GZIP_MAGIC = b"\x1f\x8b"


def share(
    source: ItchSource | AgentsSource | ColumnSource, folder: Path, *, symbols: Iterable[str] | None = None
) -> tuple[ItchSource | AgentsSource | SharedColumns, str]:
    """The same data as a source that many processes read as one copy, and its digest. Writes into `folder`, a new one.

    `symbols` are those that will be read, all of the source without it; the others are left out. Raises what reading
    the source raises, and OSError where the folder cannot be written.
    """
    if isinstance(source, AgentsSource):
        # Every reader has a market of its own.
        return source, hashlib.sha256(repr(source).encode()).hexdigest()
    if isinstance(source, ItchSource):
        return _shared_itch(source, folder)
    wanted = None if symbols is None else set(symbols)
    names = [symbol for symbol in source.symbols if wanted is None or symbol in wanted]
    shared = _write(source, folder, names)
    return shared, shared.digest


class SharedColumns(ColumnSource):
    """Columns in memory-mapped files. It pickles to its paths; each process maps the files anew."""

    def __init__(
        self, folder: Path, schema: Schema, symbols: list[str], rows: int, digest: str, skipped: dict[str, Skipped]
    ) -> None:
        self.schema = schema
        self.skipped = skipped
        self.digest = digest
        self._folder = folder
        self._names = symbols
        self._rows = rows

    @property
    def symbols(self) -> list[str]:
        """Those that were shared, sorted."""
        return list(self._names)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._rows

    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        """Batches whose columns are views of the files, but for `instrument` and where symbols are left out."""
        check_request(ids, size)
        return self._read(dict(ids), size)

    def _read(self, ids: dict[str, int], size: int) -> Iterator[Batch]:
        # The core copies out of each batch, so that nobody holds more of the data than a batch.
        columns = {file.stem: np.load(file, mmap_mode="r") for file in sorted(self._folder.glob("*.npy"))}
        numbers = np.array([ids.get(name, -1) for name in self._names], dtype=np.int64)
        every = bool((numbers >= 0).all())
        for start in range(0, self._rows, size):
            rows = slice(start, start + size)
            instrument = numbers[columns["instrument"][rows]]
            batch: Batch = {name: np.asarray(column[rows]) for name, column in columns.items()}
            batch["instrument"] = instrument.astype(np.uint32)
            if not every:
                wanted = instrument >= 0
                batch = {name: column[wanted] for name, column in batch.items()}
            if batch["ts"].size:
                yield batch


class _Column:
    """A `.npy` file that grows: its header is written again at the end, when the length is known."""

    def __init__(self, path: Path, dtype: np.dtype[Any], stack: ExitStack) -> None:
        self._file: IO[bytes] = stack.enter_context(path.open("wb"))
        self._dtype = dtype
        self._hash = hashlib.sha256()
        self.rows = 0
        self._header()

    def _header(self) -> None:
        descr = np.lib.format.dtype_to_descr(self._dtype)
        # NumPy leaves room in the header for a longer length, so that it can be replaced in place.
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": descr, "fortran_order": False, "shape": (self.rows,)}
        )

    def append(self, values: npt.NDArray[Any]) -> None:
        data = np.ascontiguousarray(values, dtype=self._dtype).data.cast("B")
        self._file.write(data)
        self._hash.update(data)
        self.rows += values.size

    def finish(self) -> str:
        self._file.seek(0)
        self._header()
        self._file.flush()
        return self._hash.hexdigest()


def _write(source: ColumnSource, folder: Path, names: list[str]) -> SharedColumns:
    folder.mkdir(parents=True)
    columns: dict[str, _Column] = {}
    with ExitStack() as stack:
        for batch in source.batches({name: number for number, name in enumerate(names)}):
            for name, values in batch.items():
                if name not in columns:
                    columns[name] = _Column(folder / f"{name}.npy", values.dtype, stack)
                if values.size:
                    columns[name].append(values)
        rows = columns["ts"].rows if columns else 0
        parts = {name: column.finish() for name, column in sorted(columns.items())}
    whole = json.dumps({"schema": source.schema, "symbols": names, "rows": rows, "columns": parts})
    digest = hashlib.sha256(whole.encode()).hexdigest()
    return SharedColumns(folder, source.schema, names, rows, digest, dict(source.skipped))


def _shared_itch(source: ItchSource, folder: Path) -> tuple[ItchSource, str]:
    with source.path.open("rb") as file:
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        content = hashlib.file_digest(file, "sha256").hexdigest()
    said = f"{content} {source.date} {source.tz}{source.venue and f' at {source.venue}'}"
    digest = hashlib.sha256(said.encode()).hexdigest()
    plain = _unpacked(source.path, folder) if packed else source.path.resolve()
    return replace(source, path=plain), digest


def _unpacked(path: Path, folder: Path) -> Path:
    """The archive's content as a file; the archive itself where it is damaged, since the core says what is wrong."""
    folder.mkdir(parents=True)
    plain = folder / path.name.removesuffix(".gz")
    try:
        with gzip.open(path) as packed, plain.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        plain.unlink()
        return path.resolve()
    return plain
