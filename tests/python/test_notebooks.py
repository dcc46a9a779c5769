"""The notebooks: what is committed is what their sources say, was executed in order, and still runs."""

from __future__ import annotations

import getpass
import importlib.util
import json
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "notebooks"
NAMES = ("01_first_strategy", "02_pairs_from_scan_to_backtest")
MAX_BYTES = 300_000
KINDS = {"text/plain", "text/html", "image/svg+xml", "application/vnd.plotly.v1+json"}


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_notebooks", FOLDER / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def committed(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))


def text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def shape(cells: list[Any]) -> list[Any]:
    """What each code cell gave, without its values."""
    return [
        [(o["output_type"], o.get("name"), sorted(o.get("data", {}))) for o in cell["outputs"]]
        for cell in cells
        if cell["cell_type"] == "code"
    ]


def test_every_source_has_its_notebook(make: ModuleType) -> None:
    assert [source.stem for source in make.sources()] == sorted(p.stem for p in FOLDER.glob("*.ipynb")) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_its_source_executed_from_top_to_bottom(make: ModuleType, name: str) -> None:
    """When this fails: python examples/notebooks/make.py"""
    book = committed(name)
    cells = [(cell["cell_type"], text(cell["source"])) for cell in book["cells"]]
    assert cells == make.cells((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"execute_result", "display_data", "stream"}
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}
    assert {kind for output in outputs for kind in output.get("data", {})} <= KINDS


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_small_and_tells_nothing_of_a_machine(name: str) -> None:
    raw = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(raw.encode()) < MAX_BYTES
    for word in (str(ROOT), str(Path.home()) + "/", "/tmp/", sys.prefix, "Plotly.newPlot", "<script", "cdn.plot"):
        assert word not in raw, word
    book = committed(name)
    # Names of people and machines may be everyday words: they are looked for as words of their own in what was printed.
    outputs = [output for cell in book["cells"] for output in cell.get("outputs", [])]
    printed = {word for output in outputs for word in text(output.get("text", "")).split()}
    assert not {getpass.getuser(), socket.gethostname()} & printed
    assert set(book["metadata"]) == {"kernelspec", "language_info"}
    assert "version" not in book["metadata"]["language_info"]
    assert all(cell["metadata"] == {} for cell in book["cells"])


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_runs_and_gives_what_is_committed(make: ModuleType, name: str, monkeypatch: Any) -> None:
    for module in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(module, reason=f"{module} is not here: the notebook was not executed")
    monkeypatch.setenv("HELIOS_SMALL", "1")
    done = make.execute(make.notebook(FOLDER / f"{name}.py"))
    assert shape(done.cells) == shape(committed(name)["cells"])
