"""Executes the notebooks and writes them: the sources are the `.py` files here, in cells that begin with `# %%`.

    python examples/notebooks/make.py [NAME …]       (needs nbclient, nbformat, ipykernel: they are in helios[dev])

The same source gives the same notebook: no times, no machine, no kernel's name in it. Pictures are written once, as SVG
and as Plotly's data without Plotly's script, so that a notebook stays small.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
KEPT = ("text/plain", "text/html", "image/svg+xml", "application/vnd.plotly.v1+json")


def sources() -> list[Path]:
    return sorted(HERE.glob("[0-9]*.py"))


def cells(source: str) -> list[tuple[str, str]]:
    """(kind, text) of each cell; the text of a markdown cell without its comment signs."""
    parts = re.split(r"^# %%(.*)\n", source, flags=re.MULTILINE)
    found = []
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        body = body.strip("\n")
        if title.strip() == "[markdown]":
            found.append(("markdown", re.sub(r"^# ?", "", body, flags=re.MULTILINE)))
        else:
            found.append(("code", body))
    return found


def notebook(source: Path) -> Any:
    """The notebook of a source, not yet executed."""
    from nbformat import v4

    made = v4.new_notebook()
    for number, (kind, body) in enumerate(cells(source.read_text(encoding="utf-8")), start=1):
        cell = v4.new_markdown_cell(body) if kind == "markdown" else v4.new_code_cell(body)
        cell["id"] = f"cell-{number:02}"
        made.cells.append(cell)
    return made


def execute(made: Any) -> Any:
    """Runs it in an empty folder, and leaves in it what a reader needs. Raises at the first cell that fails."""
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            made, timeout=300, kernel_name="python3", record_timing=False, resources={"metadata": {"path": folder}}
        )
        client.execute(env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "POLARS_FMT_MAX_COLS": "12"})
    for cell in made.cells:
        cell.metadata.clear()
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
            if "data" in output:
                output["data"] = {kind: output["data"][kind] for kind in KEPT if kind in output["data"]}
    made.metadata.clear()
    made.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made.metadata["language_info"] = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
    return made


def main() -> None:
    import nbformat

    for source in sources():
        if len(sys.argv) > 1 and source.stem not in sys.argv[1:]:
            continue
        target = source.with_suffix(".ipynb")
        nbformat.write(execute(notebook(source)), target)
        print(f"{target.name}: {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
