"""Where a catalog's files lie: a folder, or a prefix of an S3-compatible store. Both do the same few things.

`create` makes a file only if there is none of that name: what a commit is made of. A folder does it with a hard link,
which the file system makes at once or not at all; S3 with a conditional put (`If-None-Match: *`).

Credentials and endpoint of S3 are the environment's (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
AWS_REGION, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP=true for an endpoint without TLS). They are read when a store is opened and
stand in no file, message or pickle.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import polars as pl

from helios.errors import ArgumentError, CatalogError

__all__ = ["Store", "naming_faults", "open_store"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Store(Protocol):
    """Files by their names within the catalog, like "manifest/0000000001.json"."""

    location: str

    def prepare(self) -> None:
        """Makes the place, as far as it has to be made."""

    def read(self, name: str) -> bytes:
        """A file's bytes. CatalogError where it is gone."""

    def names(self, prefix: str) -> list[str]:
        """Names of all files below a folder, sorted."""

    def create(self, name: str, data: bytes) -> bool:
        """Makes a file that is whole as soon as it can be seen. False where there is one already."""

    def add(self, file: Path, name: str) -> None:
        """Brings a finished file of this machine in, under a name made of its content: one that is there is it."""

    def delete(self, name: str) -> None:
        """Removes a file; it may be gone already."""

    def scan(self, names: list[str], schema: pl.Schema) -> pl.LazyFrame:
        """Parquet files, lazily, one after the other."""

    def open(self, name: str) -> str | bytes:
        """What `pl.read_parquet` takes, without the whole file in memory where that can be."""

    def workplace(self) -> AbstractContextManager[Path]:
        """A folder of this machine for files in the making, gone afterwards."""

    def alone(self) -> AbstractContextManager[list[Path]]:
        """What killed writers left, for as long as no other one writes."""


@contextmanager
def naming_faults(location: str, doing: str) -> Iterator[None]:
    """Faults of the disk as CatalogError."""
    try:
        yield
    except OSError as error:
        raise _fault(error.errno, error.strerror or str(error), location, doing) from None
    except pl.exceptions.PolarsError as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        raise _fault(int(found[1]), os.strerror(int(found[1])), location, doing) from None


def _fault(number: int | None, text: str, location: str, doing: str) -> CatalogError:
    if number not in _FULL:
        return CatalogError(f"{doing}: {text}", source=location)
    hint = "The catalog is as it was before. Make room and run the import again: it goes on where it stopped."
    return CatalogError(f"no room left while {doing}: {text}", source=location, hint=hint)


def open_store(location: str | os.PathLike[str]) -> Store:
    """The store that a location means: s3://bucket/prefix, or a folder."""
    text = os.fspath(location)
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://", text)
    if scheme is None:
        return _Folder(Path(text))
    if scheme[1] != "s3":
        raise ArgumentError(f"{text!r}: a catalog is a folder or s3://bucket/prefix")
    return _Bucket(text)


class _Folder:
    """A folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.location = str(root)

    def prepare(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise CatalogError("is a file, not a folder", source=self.location)
        with naming_faults(self.location, "making the catalog"):
            (self.root / "manifest").mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> bytes:
        with naming_faults(self.location, f"reading {name}"):
            return (self.root / name).read_bytes()

    def names(self, prefix: str) -> list[str]:
        place = self.root / prefix
        return sorted(str(path.relative_to(self.root)) for path in place.rglob("*") if path.is_file())

    def create(self, name: str, data: bytes) -> bool:
        place = self.root / name
        with naming_faults(self.location, f"writing {name}"), self.workplace() as folder:
            file = folder / "new"
            with file.open("wb") as stream:
                stream.write(data)
                _flush(stream)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, place)
            except FileExistsError:
                return False
            _flush_folder(place.parent)
        return True

    def add(self, file: Path, name: str) -> None:
        place = self.root / name
        with naming_faults(self.location, f"writing {name}"):
            with file.open("rb") as stream:
                _flush(stream)
            new = not place.parent.is_dir()
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
            _flush_folder(place.parent)
            if new:
                _flush_folder(place.parent.parent)

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def scan(self, names: list[str], schema: pl.Schema) -> pl.LazyFrame:
        return pl.scan_parquet([self.root / name for name in names], schema=schema, hive_partitioning=False, glob=False)

    def open(self, name: str) -> str | bytes:
        return str(self.root / name)

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        place = self.root / "tmp"
        with contextlib.ExitStack() as stack:
            with naming_faults(self.location, "making a folder for files in the making"):
                place.mkdir(exist_ok=True)
                stack.enter_context(_locked(place, fcntl.LOCK_SH))
                folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=place))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            yield folder

    @contextmanager
    def alone(self) -> Iterator[list[Path]]:
        """Keeps writers out; yields what killed ones left, nothing while others write."""
        place = self.root / "tmp"
        try:
            with _locked(place, fcntl.LOCK_EX | fcntl.LOCK_NB):
                yield sorted(place.iterdir())
        except (BlockingIOError, FileNotFoundError, PermissionError):
            yield []


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    # The kernel lets go when the process ends, however it ends.
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def _flush(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Bucket:
    """A prefix of an S3-compatible store, through obstore."""

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/")
        match = re.fullmatch(r"s3://([^/@:?#]+)(?:/([^?#]*))?", self.location)
        if match is None:
            # The text is not repeated: it may hold a password.
            raise ArgumentError("a catalog in S3 is written s3://bucket/prefix; credentials come from the environment")
        self.bucket, self.prefix = match[1], match[2] or ""
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError:
            raise CatalogError("S3 needs a library", source=location, hint="pip install helios[s3]") from None
        self._obstore = obstore
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        options: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
        if endpoint and endpoint.startswith("http://"):
            options["client_options"] = {"allow_http": True}
        with self._naming("opening it"):
            self._store = S3Store(self.bucket, prefix=self.prefix or None, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {"location": self.location}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["location"])  # type: ignore[misc]

    @contextmanager
    def _naming(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (self._obstore.exceptions.BaseError, OSError) as error:
            # The store's own text may quote the request with its signature: only its kind is repeated.
            code = re.search(r"<Code>(\w{1,40})</Code>", str(error))
            kind = code[1] if code else type(error).__name__
            hint = "Look at AWS_ENDPOINT_URL, AWS_REGION and the AWS_ credentials in the environment."
            raise CatalogError(f"{doing}: {kind}", source=self.location, hint=hint) from None

    def prepare(self) -> None:
        pass

    def read(self, name: str) -> bytes:
        with self._naming(f"reading {name}"):
            return bytes(self._obstore.get(self._store, name).bytes())

    def names(self, prefix: str) -> list[str]:
        with self._naming(f"listing {prefix}"):
            return sorted(meta["path"] for page in self._obstore.list(self._store, prefix) for meta in page)

    def create(self, name: str, data: bytes) -> bool:
        with self._naming(f"writing {name}"):
            try:
                self._obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except self._obstore.exceptions.AlreadyExistsError:
                return False
        return True

    def add(self, file: Path, name: str) -> None:
        with self._naming(f"writing {name}"), file.open("rb") as stream:
            self._obstore.put(self._store, name, stream)
        file.unlink()

    def delete(self, name: str) -> None:
        with self._naming(f"deleting {name}"), contextlib.suppress(FileNotFoundError):
            self._obstore.delete(self._store, name)

    def scan(self, names: list[str], schema: pl.Schema) -> pl.LazyFrame:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        options = {"aws_endpoint_url": endpoint, "aws_allow_http": "true"} if endpoint else None
        urls = [
            f"s3://{self.bucket}/{self.prefix}/{name}" if self.prefix else f"s3://{self.bucket}/{name}"
            for name in names
        ]
        return pl.scan_parquet(urls, schema=schema, storage_options=options, hive_partitioning=False, glob=False)

    def open(self, name: str) -> str | bytes:
        return self.read(name)

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="helios-") as folder:
            yield Path(folder)

    @contextmanager
    def alone(self) -> Iterator[list[Path]]:
        yield []
