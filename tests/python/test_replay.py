"""Replay: identical when nothing was touched; else where it differs, or where the file is damaged."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import helios as hx
import polars as pl
import pytest
from helios import _core
from helios.errors import RunError
from helios.research.replay import replay

T0 = datetime(2026, 1, 5, 14, 30)
ROWS = 3_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with some thousand inputs, orders, fills and signals."""
    frame = pl.DataFrame({"i": range(ROWS)}).select(
        ts=pl.lit(T0) + pl.duration(milliseconds=pl.col("i") * 100),
        symbol=pl.lit("KO"),
        bid=10 + (pl.col("i") * 7919 % 101) * 0.01,
        bid_size=100,
        ask=10.02 + (pl.col("i") * 7919 % 101) * 0.01,
        ask_size=100,
    )
    side = hx.mid("KO").zscore(20).hysteresis(enter=1, exit=0.2)
    folder = tmp_path_factory.mktemp("runs") / "run"
    results = hx.Backtest(
        data=hx.quotes(frame),
        strategy=[hx.target("KO", -side, quantity=10), hx.record("z", side, hx.mid("KO").zscore(20))],
    ).run(folder, report=False)
    assert results.fills.height > 100
    return folder


def journal(run: Path) -> bytes:
    return (run / "journal.hj").read_bytes()


def changed(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "journal.hj"
    path.write_bytes(data)
    return path


def test_a_run_is_identical_from_the_folder_and_from_the_file(run: Path) -> None:
    meta = json.loads((run / "run.json").read_text())
    for place in (run, run / "journal.hj"):
        replayed = replay(place)
        assert replayed.identical
        assert (replayed.inputs, replayed.outputs) == (meta["inputs"], meta["outputs"])
        assert replayed.digest == meta["digest"]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_flipped_byte_is_found_where_it_is_and_all_before_it_is_replayed(
    run: Path, tmp_path: Path, part: float
) -> None:
    data = bytearray(journal(run))
    at = int(len(data) * part)
    data[at] ^= 0x40
    replayed = replay(changed(tmp_path, bytes(data)))
    assert not replayed.identical
    assert replayed.difference is None, "a damaged file is not a difference"
    assert replayed.damage is not None
    offset = int(replayed.damage.partition("at byte ")[2].partition(" ")[0])
    assert offset <= at < offset + 200, "the record that holds the byte"
    assert 0 < replayed.inputs < json.loads((run / "run.json").read_text())["inputs"]
    assert f"{replayed.inputs:,} inputs" in replayed.problem


def test_a_cut_file_says_where_it_ends_at_every_length(run: Path, tmp_path: Path) -> None:
    data = journal(run)
    middle = len(data) // 2
    found = set()
    for length in range(middle, middle + 150):
        replayed = replay(changed(tmp_path, data[:length]))
        assert not replayed.identical
        assert replayed.difference is None, "outputs that were cut off are no difference"
        assert replayed.damage is not None
        assert replayed.inputs > 1_000
        whole = "did not close" in replayed.damage
        assert f"byte {length}" in replayed.damage if whole else "the file ends after" in replayed.damage
        found.add(whole)
    assert found == {True, False}, "cuts between records and inside of them"


def test_bytes_behind_the_end_are_damage(run: Path, tmp_path: Path) -> None:
    replayed = replay(changed(tmp_path, journal(run) + b"\0"))
    assert replayed.damage is not None
    assert "after the end" in replayed.damage


def test_another_engine_gives_the_first_difference(run: Path) -> None:
    described = json.loads(_core.journal_config(run / "journal.hj"))["engine"]
    described["cash"] += 1
    engine = {
        **described,
        **{key: [tuple(row) for row in described[key]] for key in ("instruments", "nodes", "limits")},
        "style": tuple(described["style"]),
    }
    *_, difference, damage, _ = _core.replay(run / "journal.hj", engine)
    assert damage is None
    assert difference is not None
    assert "the final state" in difference
    engine["cash"] -= 1
    engine["limits"] = [("order_quantity", 5 * 10**8)]
    inputs, *_, difference, damage, _ = _core.replay(run / "journal.hj", engine)
    assert damage is None
    assert difference is not None
    assert "Submit" in difference
    assert "Refused" in difference
    assert 0 < inputs < 2 * ROWS


def test_what_is_no_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no journal"):
        replay(tmp_path)
    with pytest.raises(RunError, match="there is no journal"):
        replay(tmp_path / "nowhere")
    for data, says in (
        (b"", "the file ends after 0"),
        (b"hello, I am a text of some length", "does not begin as a Helios journal"),
        (journal(run)[:20], "the file ends after 20"),
        (journal(run)[:60], "the file ends after"),
    ):
        with pytest.raises(RunError) as caught:
            replay(changed(tmp_path, data))
        assert says in str(caught.value)
        assert str(tmp_path) in str(caught.value)


def test_the_wall_clock_has_no_part_in_it(run: Path, tmp_path: Path) -> None:
    """Nothing in a journal depends on when or where it was written."""
    again = tmp_path / "again"
    frame = pl.DataFrame({"ts": [T0, T0 + timedelta(seconds=1)], "symbol": "KO", "bid": 1.0, "ask": 1.1}).with_columns(
        bid_size=1, ask_size=1
    )
    wish = hx.record("m", hx.mid("KO"))
    for folder in (again / "a", again / "b"):
        hx.Backtest(data=hx.quotes(frame), strategy=wish).run(folder, report=False)
    assert journal(again / "a") == journal(again / "b")
