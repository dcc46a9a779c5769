"""The wire bench at its smallest: two processes, real sockets, orders that really come."""

from __future__ import annotations

import os

import pytest
from helios.live.wire import bench_wire, print_wire
from rich.console import Console


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two processes that never sleep need two cores")
def test_packets_become_orders_over_real_sockets() -> None:
    told = bench_wire(small=True)
    assert told["pairs"] == 300
    for kind in ("expression", "callback"):
        own = told[kind]
        # The first stimuli of a pair may come before an expression's windows are filled; and a busy machine is late.
        assert own["count"] >= 40
        for side in ("inside", "outside"):
            assert 0 < own[side]["p50"] <= own[side]["p99"]
            assert own["above_floor"][side]["p50"] == own[side]["p50"] - told["floor"][side]["p50"]
        assert own["outside"]["p50"] > own["inside"]["p50"] > own["stages"]["written"]["p50"] > 0
    assert "called" not in told["expression"]["stages"]
    assert told["callback"]["stages"]["called"]["p50"] > 0


def test_the_tables_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"p50": 3_270.0, "p90": 4_000.0, "p99": 11_100.0, "p99.9": 21_900.0}
    sides = {"inside": row, "outside": row}
    ours = {**sides, "above_floor": sides, "stages": {"stepped": row, "called": row}, "count": 20_000, "silent": 12}
    told = {"turns": 5, "floor": {**sides, "count": 20_000, "silent": 0}, "expression": ours, "callback": ours}
    print_wire(told, Console(width=80))
    said = capsys.readouterr().out
    assert "3.27 µs" in said and "callback above floor" in said
    assert all(len(line) <= 80 for line in said.splitlines())
