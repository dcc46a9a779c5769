"""The catalog: history in Parquet files, imported once, read in order of time. See `helios.data.catalog.catalog`."""

from helios.data.catalog.catalog import Catalog
from helios.data.catalog.job import ImportJob
from helios.data.catalog.manifest import Entry, Import, Manifest
from helios.data.catalog.reading import CatalogSource
from helios.data.catalog.schemas import SCHEMAS, from_batch, to_batch

__all__ = [
    "SCHEMAS",
    "Catalog",
    "CatalogSource",
    "Entry",
    "Import",
    "ImportJob",
    "Manifest",
    "from_batch",
    "to_batch",
]
