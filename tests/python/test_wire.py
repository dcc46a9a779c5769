"""The wire bench at its smallest: two processes, real sockets, orders that really come."""

from __future__ import annotations

import os

import pytest
from helios.live.wire import bench_wire


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two processes that never sleep need two cores")
def test_packets_become_orders_over_real_sockets() -> None:
    told = bench_wire(small=True)
    assert told["pairs"] == 300
    # The first stimuli of a pair may come before its windows are filled.
    assert told["orders"] >= 40
    for side in ("inside", "outside"):
        assert 0 < told[f"{side}_p50_ns"] <= told[f"{side}_p99_ns"]
        assert told[f"{side}_p50_ns_above_floor"] == told[f"{side}_p50_ns"] - told[f"{side}_p50_ns_floor"]
    assert told["outside_p50_ns"] > told["inside_p50_ns"] > told["written_p50_ns"] > 0
