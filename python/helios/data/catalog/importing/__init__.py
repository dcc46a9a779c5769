"""Foreign formats into a catalog: `import_data("itch", "day.itch.gz", catalog)`. See docs/importing.md."""

from helios.data.catalog.importing.pieces import LeftOut, Options
from helios.data.catalog.importing.running import FORMATS, Imported, import_data

__all__ = ["FORMATS", "Imported", "LeftOut", "Options", "import_data"]
