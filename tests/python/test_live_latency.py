"""`helios latency`: the table and the picture say what the histograms say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helios.cli import app
from helios.errors import RunError
from helios.live.latency import quantiles, read, write_page
from numpy.typing import NDArray
from typer.testing import CliRunner

KEYS = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999, "max": 1.0}


def at(values: NDArray[np.int64], quantile: float) -> int:
    """The smallest value that so many are at most."""
    return int(np.sort(values)[max(math.ceil(quantile * len(values)) - 1, 0)])


def told(values: NDArray[np.int64]) -> dict[str, Any]:
    """As the driver writes it."""
    lowest, counts = np.unique(values, return_counts=True)
    buckets = [[int(a), int(n)] for a, n in zip(lowest, counts, strict=True)]
    return {"count": len(values), **{key: at(values, q) for key, q in KEYS.items()}, "buckets": buckets}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(7)
    stages = {
        "packet": rng.integers(100, 2_000, 50_000),
        "written": rng.integers(2_500, 4_000, 20_000),
        "whole": np.append(rng.integers(3_000, 5_000, 19_990), [90_000] * 10),
    }
    (tmp_path / "latency.json").write_text(json.dumps({name: told(values) for name, values in stages.items()}))
    return tmp_path


def test_stages_stand_in_the_order_of_the_way(folder: Path) -> None:
    assert [stage.name for stage in read(folder)] == ["written", "whole", "packet"]
    assert [stage.name for stage in read(folder / "latency.json")] == ["written", "whole", "packet"]


def test_the_picture_shows_the_quantiles(folder: Path) -> None:
    """The line over a percentile is at that percentile's value, found by sorting."""
    stages = read(folder)
    figure = quantiles(stages)
    for stage, trace in zip(stages, figure["data"], strict=True):
        values = np.repeat(stage.bucket_ns, stage.counts.astype(int))
        x, y = np.array(trace["x"]), np.array(trace["y"])
        assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
        for quantile in (0.1, 0.5, 0.9, 0.99, 0.999):
            step = np.searchsorted(x, -math.log10(1 - quantile) - 1e-4, side="right") - 1
            low, high = (at(values.astype(np.int64), q) for q in (quantile - 2e-4, quantile + 2e-4))
            assert low <= y[step] <= high
        assert y[-1] == stage.quantiles["max"]


def test_the_page_opens_offline(folder: Path) -> None:
    page = write_page(read(folder), folder / "p.html", "a <b> run").read_text()
    assert "a &lt;b&gt; run" in page
    assert "90.00 µs" in page
    assert "connect-src" not in page and "default-src 'none'" in page


def test_the_command(folder: Path) -> None:
    result = CliRunner().invoke(app, ["latency", str(folder)], catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "packet to order" in result.stdout and "90.00 µs" in result.stdout
    assert (folder / "latency.html").stat().st_size > 1_000_000
    asked = CliRunner().invoke(app, ["latency", str(folder), "--json"], catch_exceptions=False)
    assert json.loads(asked.stdout)["whole"]["max"] == 90_000


WRONG = [
    "",
    "[]",
    "{",
    '{"whole": 7}',
    '{"whole": {"count": 1}}',
    '{"whole": {"count": 0, "p50": 1, "p90": 1, "p99": 1, "p99.9": 1, "p99.99": 1, "max": 1, "buckets": []}}',
    '{"whole": {"count": 1, "p50": 1, "p90": 1, "p99": 1, "p99.9": 1, "p99.99": 1, "max": 1, "buckets": [[1, NaN]]}}',
    '{"whole": {"count": 1, "p50": 1, "p90": 1, "p99": 1, "p99.9": 1, "p99.99": 1, "max": 1, "buckets": [[1, -9]]}}',
    '{"whole": {"count": 1, "p50": 1, "p90": 1, "p99": 1, "p99.9": 1, "p99.99": 1, "max": 1, "buckets": [[1]]}}',
    "{}",
]


@pytest.mark.parametrize("content", WRONG)
def test_what_is_no_latency_file(content: str, tmp_path: Path) -> None:
    (tmp_path / "latency.json").write_text(content)
    with pytest.raises(RunError, match=r"latency\.json is not one of a live run"):
        read(tmp_path)


def test_no_latency_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no latency\.json"):
        read(tmp_path)
