"""Sweeps: every point is the backtest alone, whatever runs it; nothing finished is lost; one copy of the data."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
import sweep_builds as builds
from helios.cli import app
from helios.config import run_file
from helios.data.shared import share
from helios.errors import ArgumentError, ConfigError, DataError, RunError
from helios.research.executors import Processes, Serial
from helios.research.recipe import FunctionRecipe
from helios.research.sweep import METRICS, Sweep, sweep
from helios.research.sweep_params import parse_params
from helios.research.sweep_report import figure, number, print_sweep, render
from rich.console import Console
from typer.testing import CliRunner

GRID: dict[str, list[Any]] = {"enter": [1.0, 1.5, 2.0], "window": ["30s", "60s"]}


def quotes(rows: int = 3_000, seed: int = 5) -> Any:
    return hx.quotes(builds.market(rows, seed))


def run(build: Callable[..., Any] = builds.pairs, params: Any = None, **options: Any) -> Sweep:
    options = {"data": quotes(), "executor": Serial()} | options
    return sweep(build, GRID if params is None else params, **options)


def same(a: Sweep, b: Sweep) -> bool:
    return a.frame.drop("seconds").equals(b.frame.drop("seconds"))


# ---- a point is the backtest alone -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def serial() -> Sweep:
    return run()


def test_every_point_is_the_same_backtest_alone(serial: Sweep) -> None:
    assert serial.frame.height == 6
    assert serial.frame["digest"].n_unique() == 6
    for row in serial.frame.iter_rows(named=True):
        alone = builds.pairs(quotes(), row["enter"], window=row["window"]).run()
        h = alone.headline
        assert row["digest"] == alone.meta["digest"]
        assert (row["net"], row["fees"], row["fills"], row["trades"]) == (h.net, h.fees, h.fills, h.round_trips)
        assert (row["turnover"], row["max_drawdown"], row["sharpe"]) == (h.turnover, h.max_drawdown, h.sharpe.value)
        assert row["fills"] > 0


def test_moments_are_of_the_changes_from_sample_to_sample(serial: Sweep) -> None:
    row = serial.frame.row(0, named=True)
    changes = np.diff(builds.pairs(quotes(), 1.0, window="30s").run().net_path)
    z = (changes - changes.mean()) / changes.std()
    assert row["samples"] == changes.size > 100
    assert row["sharpe_sample"] == pytest.approx(changes.mean() / changes.std(ddof=1), rel=1e-12)
    assert row["skew"] == pytest.approx((z**3).mean(), rel=1e-9)
    assert row["kurtosis"] == pytest.approx((z**4).mean(), rel=1e-9)


class Backwards:
    """An executor of somebody else: threads, results in the wrong order."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any], /) -> Iterator[Any]:
        with ThreadPoolExecutor(3) as pool:
            yield from reversed(list(pool.map(pickle.loads(pickle.dumps(function)), items)))


@pytest.mark.parametrize("executor", [Processes(2), Backwards(), ThreadPoolExecutor(2)], ids=lambda e: type(e).__name__)
def test_results_do_not_depend_on_what_runs_them(serial: Sweep, executor: Any) -> None:
    assert same(serial, run(executor=executor))


def test_an_executor_that_loses_points_is_found_out() -> None:
    class Loses:
        def map(self, function: Any, items: Any, /) -> Iterator[Any]:
            return map(function, items[1:])

    with pytest.raises(RunError, match="gave back 5 of 6 points"):
        run(executor=Loses())


def test_the_grid_runs_the_last_parameter_fastest_and_types_its_columns() -> None:
    found = run(params={"enter": [2, 1.5], "window": ["30s", 20], "exit": np.array([0.25])})
    assert found.frame.select("enter", "window", "exit").rows() == [
        (2.0, "30s", 0.25),
        (2.0, "20", 0.25),
        (1.5, "30s", 0.25),
        (1.5, "20", 0.25),
    ]
    assert found.frame.columns == ["enter", "window", "exit", *METRICS]
    assert run(params={"window": range(5, 7)}).frame["window"].to_list() == [5, 6]


def test_a_parameter_named_like_a_metric_keeps_both() -> None:
    found = run(builds.clash, {"net": [1.0, 2.0], "fees": [0.001]})
    assert found.params == ["param.net", "param.fees"]
    assert found.frame["param.net"].to_list() == [1.0, 2.0]
    assert found.frame["net"].n_unique() == 2


def test_a_random_sample_is_seeded_and_part_of_the_grid(serial: Sweep) -> None:
    some = run(random=3, seed=11)
    assert same(some, run(random=3, seed=11))
    assert some.frame.drop("seconds").join(serial.frame.drop("seconds"), on=["enter", "window", "digest"]).height == 3
    drawn = {tuple(run(random=2, seed=s).frame["digest"].to_list()) for s in range(6)}
    assert len(drawn) > 1
    huge = {name: list(np.linspace(1, 2, 1000)) for name in ("enter", "exit")} | {"window": list(range(5, 2000))}
    assert run(params=huge, random=2).frame.select("enter", "exit", "window").n_unique() == 2


def test_a_function_may_have_its_data_as_a_default_and_several_sources() -> None:
    parts = [hx.quotes(builds.market().filter(pl.col("symbol") == name)) for name in ("KO", "PEP")]

    def build(enter: float, data: Any = parts) -> hx.Backtest:
        assert isinstance(data, list)
        return builds.pairs(data, enter)

    assert sweep(build, {"enter": [1.5]}, executor=Serial()).frame["digest"][0] == build(1.5).run().meta["digest"]


def test_symbols_limit_what_is_shared() -> None:
    assert same(run(symbols=["KO", "PEP"]), run())
    error = run(params={"enter": [1.5]}, symbols=["KO"]).failed["error"][0]
    assert "no data for 'PEP'" in error or "PEP" in error


# ---- one copy of the data --------------------------------------------------------------------------------------------


def whole(source: Any, ids: dict[str, int], size: int) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for batch in source.batches(ids, size):
        assert all(column.flags["C_CONTIGUOUS"] and column.size == batch["ts"].size for column in batch.values())
        for name, column in batch.items():
            found.setdefault(name, []).extend(column.tolist())
    return found


def bars_frame() -> pl.DataFrame:
    frame = builds.market(500).select("ts", "symbol", open="bid", high=pl.col("ask") + 0.05, low=pl.col("bid") - 0.05)
    return frame.with_columns(close="open", volume=100)


@pytest.mark.parametrize(
    "source",
    [
        quotes(500),
        hx.bars(bars_frame()),
        hx.trades(builds.market(500).select("ts", "symbol", price="bid", size="bid_size")),
    ],
    ids=["quotes", "bars", "trades"],
)
@pytest.mark.parametrize("ids", [{"KO": 4, "PEP": 0, "XOM": 9}, {"XOM": 3}, {}], ids=["all", "one", "none"])
def test_the_shared_copy_reads_like_its_source(tmp_path: Path, source: Any, ids: dict[str, int]) -> None:
    shared, digest = share(source, tmp_path / "shared")
    again = pickle.loads(pickle.dumps(shared))
    assert (again.schema, again.symbols, again.rows) == (source.schema, source.symbols, 500)
    for size in (64, 10_000):
        assert whole(again, ids, size) == whole(source, ids, size)
    assert {column.dtype for batch in again.batches(ids) for column in batch.values()} <= {
        np.dtype("int64"),
        np.dtype("uint32"),
    }
    assert share(source, tmp_path / "again")[1] == digest
    assert np.load(tmp_path / "shared" / "ts.npy").shape == (500,)


def test_the_digest_is_of_the_values_whatever_they_came_from(tmp_path: Path) -> None:
    frame = builds.market(500)
    frame.write_parquet(tmp_path / "a.parquet")
    moved = frame.with_columns(bid=pl.when(pl.int_range(pl.len()) == 77).then(pl.col("bid") - 0.01).otherwise("bid"))
    digests = [
        share(hx.quotes(source), tmp_path / str(i))[1]
        for i, source in enumerate([frame, tmp_path / "a.parquet", moved, frame.head(499)])
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_source_without_rows_and_one_with_a_bad_row(tmp_path: Path) -> None:
    shared, _ = share(quotes(500), tmp_path / "none", symbols=["NOPE"])
    assert (shared.symbols, list(shared.batches({"KO": 1}))) == ([], [])
    bad = builds.market(500).with_columns(bid=pl.lit(-1.0))
    with pytest.raises(DataError, match="row 0"):
        run(data=hx.quotes(bad))


def test_an_archive_is_unpacked_once_and_a_damaged_one_left_to_the_core(tmp_path: Path) -> None:
    from helios.research.simulate import simulate

    simulate(tmp_path / "day.itch", symbols=2, minutes=1, seed=3, group_size=2)
    plain = (tmp_path / "day.itch").read_bytes()
    (tmp_path / "day.itch.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(plain)[:-1000])
    packed = hx.itch(tmp_path / "day.itch.gz", date="2026-01-05")
    shared, _ = share(packed, tmp_path / "shared")
    assert isinstance(shared, type(packed))
    assert shared.path.read_bytes() == plain
    assert (shared.date, shared.symbols) == (packed.date, packed.symbols)
    cut, _ = share(hx.itch(tmp_path / "cut.gz"), tmp_path / "damaged")
    assert isinstance(cut, type(packed))
    assert cut.path == tmp_path / "cut.gz"
    file = hx.itch(tmp_path / "day.itch", date="2026-01-05")
    assert share(file, tmp_path / "not")[0].path == tmp_path / "day.itch"  # type: ignore[union-attr]
    assert share(file, tmp_path / "not")[1] != share(hx.itch(tmp_path / "day.itch"), tmp_path / "not")[1]


def mapped(pid: str, folder: Path) -> dict[str, int]:
    """Bytes of a folder's files that a process has in memory: its share ("Pss"), and all of them ("Rss")."""
    found = {"Pss": 0, "Rss": 0}
    ours = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *words = line.split()
        if not name.endswith(":"):
            ours = str(folder) in line
        elif ours and name[:-1] in found:
            found[name[:-1]] += 1024 * int(words[0])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc/*/smaps_rollup")
def test_sixteen_workers_hold_one_copy_of_the_data(tmp_path: Path) -> None:
    workers, copies = 16, 400
    frame, step = builds.market(3_000), pl.duration(seconds=3_000)
    frame = pl.concat([frame.with_columns(ts=pl.col("ts") + i * step) for i in range(copies)])
    # The last batch is read long before its last hours.
    until_ns = int(frame["ts"].cast(pl.Datetime("ns")).to_physical()[-1]) - 3 * 3_600 * 10**9
    out, meet = tmp_path / "sweep", tmp_path / "meet"
    meet.mkdir()
    held: list[dict[str, int]] = []
    size = 0

    def look() -> None:
        nonlocal size
        deadline = time.monotonic() + 60
        while len(list(meet.iterdir())) < workers and time.monotonic() < deadline:
            time.sleep(0.02)
        held.extend(mapped(file.stem, out) | {"grown": int(file.suffix[1:])} for file in meet.iterdir())
        size = sum(file.stat().st_size for file in out.rglob("*.npy"))
        (meet / "go").touch()

    looker = threading.Thread(target=look)
    looker.start()
    params = {"number": range(workers), "folder": [str(meet)], "until_ns": [until_ns]}
    found = sweep(builds.waiting, params, data=hx.quotes(frame), out=out, executor=Processes(workers))
    looker.join()
    assert not found.failed.height, found.failed["error"].to_list()
    together, grown = sum(each["Pss"] for each in held), max(each["grown"] for each in held)
    print(f"data {size / 1e6:.1f} MB, of {len(held)} workers together {together / 1e6:.1f} MB; ", end="")
    print(f"a worker's own memory has grown by {grown / 1e6:.1f} MB at most")
    assert len(held) == workers
    assert size > 50_000_000
    # Every worker has all of it in memory, and yet it is there once.
    assert min(each["Rss"] for each in held) > 0.99 * size
    assert together < 1.01 * size
    # Nor does a worker make a copy of its own: it holds a few batches, whatever there is.
    assert grown < size / 2


# ---- killed, changed, damaged ----------------------------------------------------------------------------------------

SCRIPT = """
import sys
import helios as hx
import sweep_builds as builds

if __name__ == "__main__":
    out, log, pause, workers = sys.argv[1:]
    found = hx.sweep(
        builds.logged,
        {"enter": [1 + k / 8 for k in range(12)], "log": [log], "pause": [float(pause)]},
        data=hx.quotes(builds.market()),
        out=out,
        executor=hx.Processes(int(workers)),
    )
    print(found.reused, found.trials, found.frame.height)
"""


def script(tmp_path: Path, *arguments: object) -> subprocess.Popen[str]:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, str(file), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
    )


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def ended(pids: list[int]) -> bool:
    """True once these processes are no more, within seconds."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        states = []
        for pid in pids:
            with contextlib.suppress(OSError):
                states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
        if set(states) <= {"Z"}:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_a_killed_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    out, log = tmp_path / "sweep", tmp_path / "log"
    first = script(tmp_path, out, log, 0.15, 2)
    deadline = time.monotonic() + 30
    while len(lines(out / "points.jsonl")) < 4 and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.01)
    workers = children(first.pid)
    first.send_signal(signal.SIGKILL)
    first.wait()
    finished = {json.loads(line)["params"]["enter"] for line in lines(out / "points.jsonl")}
    assert 4 <= len(finished) < 12
    assert len(workers) >= 2
    # Its workers end with it, though nobody told them.
    assert ended(workers), "workers outlive a killed sweep"
    assert not (out / "sweep.parquet").exists()
    (out / "sweep.parquet").write_bytes(b"of an earlier sweep")
    with pytest.raises(RunError, match="not finished"):
        Sweep.load(out)
    log.unlink()
    second = script(tmp_path, out, log, 0.15, 2)
    said, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert said.split() == [str(len(finished)), "12", "12"]
    # Only what was missing has run.
    assert {float(line) for line in lines(log)} == {1 + k / 8 for k in range(12)} - finished
    assert not (out / "data").exists()
    fresh = sweep(
        builds.logged,
        {"enter": [1 + k / 8 for k in range(12)], "log": [str(log)], "pause": [0.0]},
        data=quotes(),
        executor=Serial(),
    )
    assert Sweep.load(out).frame["digest"].to_list() == fresh.frame["digest"].to_list()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_ctrl_c_ends_everything_at_once_and_keeps_what_is_done(tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    process = script(tmp_path, out, tmp_path / "log", 1.0, 2)
    deadline = time.monotonic() + 30
    while len(lines(out / "points.jsonl")) < 1 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    workers = children(process.pid)
    begun = time.monotonic()
    # As a terminal does it: to the whole group.
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - begun < 6, "ten points of a second each were left"
    assert process.returncode != 0
    assert errors.count("Traceback") == errors.count("KeyboardInterrupt") == 1, errors
    assert ended(workers)
    assert 1 <= len(lines(out / "points.jsonl")) < 8
    assert not (out / "data").exists()


def log_run(tmp_path: Path, enters: list[float], **options: Any) -> tuple[Sweep, list[str]]:
    """A sweep with a folder; and the points that were built for it."""
    log = tmp_path / "log"
    log.unlink(missing_ok=True)
    params = {"enter": enters, "log": [str(log)]}
    found = run(builds.logged, params, **({"out": tmp_path / "sweep"} | options))
    return found, lines(log)


def test_a_finer_grid_reuses_the_points_of_the_coarse_one(tmp_path: Path) -> None:
    first, built = log_run(tmp_path, [1.0, 2.0])
    assert (first.reused, first.trials, built) == (0, 2, ["1.0", "2.0"])
    second, built = log_run(tmp_path, [1.0, 1.5, 2.0])
    assert (second.reused, second.trials, built, second.notes) == (2, 3, ["1.5"], [])
    assert same(second, log_run(tmp_path, [1.0, 1.5, 2.0], out=None)[0])
    third, built = log_run(tmp_path, [2.0, 1.0])
    assert (third.reused, third.trials, built) == (2, 3, [])
    assert third.frame["enter"].to_list() == [2.0, 1.0]


def test_other_data_reuse_nothing_and_say_so(tmp_path: Path) -> None:
    log_run(tmp_path, [1.0, 2.0])
    found, built = log_run(tmp_path, [1.0, 2.0], data=quotes(seed=6))
    assert (found.reused, len(built)) == (0, 2)
    assert found.trials == 4
    assert len(found.notes) == 1
    assert "2 finished points in this folder are of another run and not reused" in found.notes[0]
    assert "data[0]" in found.notes[0]
    again, built = log_run(tmp_path, [1.0, 2.0])
    assert (again.reused, again.trials, built) == (2, 4, [])


def test_another_function_reuses_nothing(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    text = "import sweep_builds\ndef build(data, enter):\n    return sweep_builds.pairs(data, enter)\n"
    counts = []
    for code in (text, text, text.replace("enter)\n", "enter, exit=0.25)\n")):
        module.write_text(code)
        namespace: dict[str, Any] = {}
        exec(compile(code, str(module), "exec"), namespace)
        found = run(namespace["build"], {"enter": [1.0, 2.0]}, out=tmp_path / "sweep")
        counts.append((found.reused, found.trials, len(found.notes)))
    assert counts == [(0, 2, 0), (2, 2, 0), (0, 4, 1)]


def test_a_point_that_failed_is_tried_again(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    params = {"enter": [1.0, 2.0], "flag": [str(flag)]}
    first = run(builds.flaky, params, out=tmp_path / "sweep")
    assert (first.failed.height, first.trials, first.best()) == (2, 0, None)
    assert first.failed["error"].to_list() == ["OSError: the flag is up"] * 2
    flag.unlink()
    second = run(builds.flaky, params, out=tmp_path / "sweep")
    assert (second.failed.height, second.reused, second.trials) == (0, 0, 2)


def test_a_line_cut_short_is_dropped_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    log_run(tmp_path, [1.0, 2.0, 3.0])
    points = tmp_path / "sweep" / "points.jsonl"
    content = points.read_bytes()
    points.write_bytes(content[:-40])
    found, built = log_run(tmp_path, [1.0, 2.0, 3.0])
    assert (found.reused, built) == (2, ["3.0"])
    assert len(lines(points)) == 3
    points.write_bytes(content.replace(b'"params"', b'"parms"', 1))
    with pytest.raises(RunError, match=r"line 1 of points.jsonl is damaged.*Remove that line"):
        log_run(tmp_path, [1.0])


def test_what_a_killed_sweep_left_of_the_data_goes(tmp_path: Path) -> None:
    log_run(tmp_path, [1.0])
    (tmp_path / "sweep" / "data" / "0").mkdir(parents=True)
    (tmp_path / "sweep" / "data" / "0" / "ts.npy").write_bytes(b"left")
    assert log_run(tmp_path, [1.0])[0].reused == 1
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == [
        "points.jsonl",
        "sweep.csv",
        "sweep.html",
        "sweep.json",
        "sweep.parquet",
    ]


def test_load_gives_what_was_saved(tmp_path: Path) -> None:
    found = run(out=tmp_path / "sweep")
    loaded = Sweep.load(tmp_path / "sweep")
    assert loaded.frame.equals(found.frame)
    assert (loaded.params, loaded.trials, loaded.best()) == (found.params, 6, found.best())
    told = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert (told["trials"], told["grid_points"], told["failed"]) == (6, 6, 0)
    assert "6 trials" in told["bias"]
    with pytest.raises(RunError, match=r"sweep.json is missing"):
        Sweep.load(tmp_path)


# ---- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", [Serial(), Processes(2)], ids=["serial", "processes"])
def test_a_point_that_raises_is_kept_and_stops_nothing(executor: Any) -> None:
    found = run(builds.troubled, {"enter": [1, 2, 3, 4, 5, 6]}, executor=executor)
    errors = dict(found.frame.select("enter", "error").rows())
    assert errors[1] == "KeyError: 'no such thing'"
    assert errors[2] == "SystemExit: enough"
    assert "returned a str, not a Backtest" in errors[3]
    assert "must use the data it is given" in errors[4]
    assert "exit" in errors[5]
    assert errors[6] is None
    assert (found.failed.height, found.trials) == (5, 1)
    assert found.frame["net"].is_null().to_list() == [True] * 5 + [False]


def test_a_worker_that_dies_is_an_error_and_finished_points_stay(tmp_path: Path) -> None:
    out, marker = tmp_path / "sweep", tmp_path / "marker"

    def watch() -> None:
        while len(lines(out / "points.jsonl")) < 2:
            time.sleep(0.01)
        marker.touch()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    params = {"enter": [1, 2, 9], "marker": [str(marker)]}
    with pytest.raises(RunError, match=r"a worker process died while it ran a point.*Finished points are kept"):
        run(builds.killed, params, out=out, executor=Processes(2))
    assert run(builds.killed, params | {"enter": [1, 2]}, out=out).reused == 2


def test_a_folder_in_use_and_folders_that_are_none(tmp_path: Path) -> None:
    from helios.research.sweep_folder import SweepFolder

    with SweepFolder(tmp_path / "sweep"), pytest.raises(RunError, match="another sweep is using this folder"):
        run(out=tmp_path / "sweep")
    assert run(params={"enter": [1.5]}, out=tmp_path / "sweep").frame.height == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="not empty and holds no sweep"):
        run(out=tmp_path / "mine")
    with pytest.raises(RunError, match="cannot be used for a sweep: Not a directory"):
        run(out=tmp_path / "mine" / "thesis.txt" / "sweep")
    with pytest.raises(RunError, match="cannot be used for a sweep"):
        run(out="/proc/sweep")


FULL = """
import resource, signal, sys
import helios as hx
import sweep_builds as builds
from pathlib import Path

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    hx.sweep(builds.pairs, {"enter": [1 + k / 64 for k in range(64)]}, data=hx.quotes(builds.market(int(sys.argv[2]))),
             out=sys.argv[1], executor=hx.Serial())
except hx.RunError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("rows", "limit", "message"),
    [
        (30_000, 100_000, "cannot write the shared data: File too large. The sweep keeps one copy"),
        (300, 5_000, "cannot write points.jsonl: File too large. Make room and start the same sweep again"),
    ],
    ids=["data", "points"],
)
def test_no_room_on_the_disk(tmp_path: Path, rows: int, limit: int, message: str) -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "sweep"), str(rows), str(limit)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert message in done.stdout, done.stdout + done.stderr
    assert not (tmp_path / "sweep" / "data").exists()
    if rows == 300:
        # What was finished before it is not lost.
        kept = len(lines(tmp_path / "sweep" / "points.jsonl")) - 1
        found = sweep(
            builds.pairs,
            {"enter": [1 + k / 64 for k in range(64)]},
            data=quotes(300),
            out=tmp_path / "sweep",
            executor=Serial(),
        )
        assert found.reused == kept > 0


def test_a_file_that_changes_meanwhile_is_an_error_of_the_point(tmp_path: Path) -> None:
    from helios.research.sweep import Job, Point

    file = tmp_path / "pairs.csv"
    file.write_text("a")
    point = Point(0, "key", {"enter": 1.5}, {str(file): hashlib.sha256(b"b").hexdigest()})
    record = Job(FunctionRecipe(builds.pairs, quotes(300)), [quotes(300)])(point)
    assert "has changed while the sweep was running" in record["error"]


def test_what_cannot_be_sent_to_other_processes() -> None:
    with pytest.raises(ArgumentError, match=r"cannot be sent to other processes.*executor=Serial"):
        run(lambda data, enter: builds.pairs(data, enter=2 * enter), {"enter": [1.5]}, executor=Processes(2))


SHELL = """
import helios as hx
import sweep_builds as builds

def mine(data, enter):
    return builds.pairs(data, enter)

for options in ({"executor": hx.Serial()}, {}, {"executor": hx.Serial(), "out": "nowhere"}):
    try:
        print(hx.sweep(mine, {"enter": [1.5, 2.0]}, data=hx.quotes(builds.market(300)), **options))
    except hx.HeliosError as error:
        print(error)
"""


@pytest.mark.parametrize("how", [["-c", SHELL], ["-"]], ids=["shell", "pipe"])
def test_what_is_defined_in_a_shell_or_a_pipe_runs_in_this_process_only(how: list[str]) -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    env = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, *how], input=SHELL, capture_output=True, text=True, env=env, timeout=30)
    serial, processes, folder = done.stdout.splitlines()
    assert serial == "Sweep('mine': 2 points of enter, 2 trials)"
    assert "cannot be imported by workers. Define it at the top of a .py file, or pass executor=Serial()" in processes
    assert "has no file, so that a change of it would go unseen" in folder


@pytest.mark.parametrize(
    ("params", "options", "message"),
    [
        ({}, {}, "at least one parameter"),
        ({"entr": [1]}, {}, "pairs has no parameter 'entr': did you mean enter"),
        ({"data": [1]}, {}, "no parameter 'data'"),
        ({"enter": []}, {}, "'enter' has no values"),
        ({"enter": 1.5}, {}, "give a list of values"),
        ({"enter": "1.5"}, {}, "give a list of values"),
        ({"enter": [1, float("nan")]}, {}, "nan is no number"),
        ({"enter": [1, 2, 1]}, {}, "has the value 1 twice"),
        ({"enter": [1, 1.0]}, {}, "has the value 1.0 twice"),
        ({"enter": [[1]]}, {}, "neither text nor a number"),
        (GRID, {"random": 0}, "whole number from 1 to the grid's 6 points"),
        (GRID, {"random": 7}, "whole number from 1 to the grid's 6 points"),
        ({"enter": range(400), "exit": range(400)}, {}, "160,000 points are more than 100,000"),
        (GRID, {"metric": "sharp"}, "did you mean sharpe"),
        (GRID, {"data": None}, "no data"),
    ],
)
def test_wrong_parameters(params: Any, options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        run(params=params, **options)


def test_wrong_functions_and_workers() -> None:
    with pytest.raises(ArgumentError, match="takes a function"):
        run(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="needs a parameter `data`"):
        run(lambda enter: None, {"enter": [1]})
    for workers in (0, -1, True, 2.0):
        with pytest.raises(ArgumentError, match="workers is"):
            Processes(workers)  # type: ignore[arg-type]


# ---- parameters as text ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("enter=1.5:3:0.25", [1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0]),
        ("enter=0.1:0.3:0.1", [0.1, 0.2, 0.3]),
        ("n=1:10:3", [1, 4, 7, 10]),
        ("n=1:9:3", [1, 4, 7]),
        ("n=3:1:-1", [3, 2, 1]),
        ("n=2:2:1", [2]),
        ("n=-1:1:0.5", [-1.0, -0.5, 0.0, 0.5, 1.0]),
        ("n=1e-3:3e-3:1e-3", [0.001, 0.002, 0.003]),
        ("window=5m:15m:5m", ["5m", "10m", "15m"]),
        ("window=0.5s:1.5s:0.5s", ["0.5s", "1.0s", "1.5s"]),
        ("window=5m, 10m", ["5m", "10m"]),
        ("x=1,2.5,true,mid", [1, 2.5, True, "mid"]),
        ("start=2026-01-05T09:40:00", ["2026-01-05T09:40:00"]),
    ],
)
def test_parameters_as_text(text: str, values: list[Any]) -> None:
    (found,) = parse_params([text]).values()
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["enter"], "'enter' is no parameter"),
        (["=1"], "is no parameter"),
        (["enter="], "'enter' has no values"),
        (["enter=1,,2"], "empty value between its commas"),
        (["enter=1:2"], "no range of finite numbers"),
        (["enter=1:2:3:4"], "no range of finite numbers"),
        (["enter=1:x:1"], "no range of finite numbers"),
        (["enter=1:2:0"], "the step of '1:2:0' is zero"),
        (["enter=1:2:-1"], "leads away from its end"),
        (["enter=2:1:0.5"], "leads away from its end"),
        (["enter=nan"], "'nan' is no number"),
        (["enter=1,inf"], "'inf' is no number"),
        (["enter=nan:2:1"], "no range of finite numbers"),
        (["enter=1:inf:1"], "no range of finite numbers"),
        (["enter=0:1:1e-9"], "more than 100,000"),
        (["window=5m:1h:5m"], "mixes units"),
        (["enter=1", "enter=2"], "'enter' is given twice"),
    ],
)
def test_wrong_text(texts: list[str], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        parse_params(texts)


# ---- run files and the command line ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    builds.market(1_500).write_csv(tmp_path / "quotes.csv")
    (tmp_path / "pairs.csv").write_text("a,b,beta\nKO,PEP,0.8\n")
    (tmp_path / "run.toml").write_text(
        dedent(
            """
            name = "two drinks"
            sample = "10s"
            [[data]]
            kind = "quotes"
            path = "quotes.csv"
            [strategy]
            kind = "pairs"
            file = "pairs.csv"
            window = "60s"
            enter = 1.5
            [venue]
            taker_per_share = 0.003
            """
        )
    )
    (tmp_path / "run.py").write_text(
        "from pathlib import Path\nimport helios as hx\n"
        "DATA = hx.quotes(Path(__file__).parent / 'quotes.csv')\n"
        "def run(data=DATA, enter=1.5, window='60s'):\n"
        "    pair = hx.pair('KO', 'PEP', beta=0.8, enter=enter, window=window)\n"
        "    return hx.Backtest(data=data, strategy=pair, sample='10s',\n"
        "                       venue=hx.Venue(fees=hx.Fees(taker_per_share=0.003)))\n"
    )
    return tmp_path


def shell(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.mark.parametrize("file", ["run.toml", "run.py"])
def test_the_command_sweeps_a_run_file(folder: Path, file: str) -> None:
    arguments = ["sweep", folder / file, "--param", "enter=1:2:0.5", "--param", "window=30s,60s", "--workers", 2]
    told = json.loads(shell(*arguments, "--out", folder / "out", "--json"))
    assert (told["points"], told["failed"], told["reused"], told["trials"]) == (6, 0, 0, 6)
    frame = Sweep.load(folder / "out").frame
    for row in frame.iter_rows(named=True):
        alone = builds.pairs(hx.quotes(folder / "quotes.csv"), row["enter"], window=row["window"]).run()
        assert row["digest"] == alone.meta["digest"]
    assert told["best"]["net"] == frame["net"].max()
    assert json.loads(shell("backtest", folder / file, "--json"))["digest"] in frame["digest"].to_list()
    said = shell(*arguments, "--out", folder / "out")
    assert "6 points, 6 of them done before; 6 trials in all" in said
    assert "The best of 6 trials looks better than it is" in " ".join(said.split())


def test_a_changed_run_file_or_pairs_file_does_not_meet_old_points(folder: Path) -> None:
    def again(**options: Any) -> tuple[int, int, str]:
        found = sweep(run_file(folder / "run.toml"), {"enter": [1.0, 2.0]}, out=folder / "out", executor=Serial())
        return found.reused, found.trials, " ".join(found.notes)

    file = folder / "run.toml"
    text = file.read_text()
    assert again() == (0, 2, "")
    file.write_text(text.replace("enter = 1.5", "enter = 9.9  # swept anyway").replace("two drinks", "a new name"))
    assert again() == (2, 2, "")
    file.write_text(text.replace("0.003", "0.004"))
    reused, trials, note = again()
    assert (reused, trials) == (0, 4)
    assert "venue.taker_per_share 0.003 → 0.004" in note
    file.write_text(text)
    (folder / "pairs.csv").write_text("a,b,beta\nKO,PEP,0.7\n")
    reused, trials, note = again()
    assert (reused, trials) == (0, 6)
    assert "file[0]" in note


def test_a_point_that_the_file_states_itself_is_the_same_point(folder: Path) -> None:
    recipe = run_file(folder / "run.toml")
    sweep(recipe, {"enter": [1.5], "window": ["60s"]}, out=folder / "out", executor=Serial())
    assert sweep(recipe, {"strategy.enter": [1.5]}, out=folder / "out", executor=Serial()).reused == 1


@pytest.mark.parametrize(
    ("param", "error", "message"),
    [
        ("entry=1,2", ArgumentError, "run.toml has no parameter 'entry': did you mean strategy.enter"),
        ("zzz=1,2", ArgumentError, "there are .*cash, seed"),
        ("data.path=a,b", ConfigError, "cannot be swept"),
        ("name=a,b", ConfigError, "a name changes nothing and cannot be swept"),
        ("strategy.name=a,b", ConfigError, "a name changes nothing and cannot be swept"),
        ("enter=a", ConfigError, "key 'strategy.enter'"),
        ("price=mid,middle", ConfigError, "key 'strategy.price'"),
        ("strategy.file=nope.csv", ConfigError, "no such file of pairs"),
        ("position=-1", ConfigError, "position is -1"),
    ],
)
def test_wrong_parameters_of_a_run_file(folder: Path, param: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sweep(run_file(folder / "run.toml"), parse_params([param]), executor=Serial())


def test_names_of_a_run_file_may_be_short_or_whole_but_not_both(folder: Path) -> None:
    recipe = run_file(folder / "run.toml")
    with pytest.raises(ArgumentError, match=r"'strategy.enter' is given twice"):
        sweep(recipe, {"enter": [1.5], "strategy.enter": [2.0]}, executor=Serial())
    with pytest.raises(ArgumentError, match="names its data"):
        sweep(recipe, {"enter": [1.5]}, data=quotes())
    found = sweep(recipe, {"strategy.enter": [1.5], "limits.order_rate": [1, 2]}, executor=Serial())
    assert found.params == ["strategy.enter", "limits.order_rate"]


def test_the_parameters_of_a_strategy_class(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "import helios as hx\n"
        "class Mine(hx.Strategy):\n"
        "    universe = ('KO',)\n"
        "    def __init__(self, lots=1):\n"
        "        self.lots, self.done = lots, False\n"
        "    def on_book(self, book):\n"
        "        if not self.done:\n"
        "            self.done = True\n"
        "            self.buy('KO', 100 * self.lots)\n"
    )
    text = (folder / "run.toml").read_text()
    head, _, _ = text.partition("[strategy]")
    (folder / "class.toml").write_text(
        head + '[strategy]\nkind = "class"\nclass = "mine.py:Mine"\nparams = {lots = 1}\n'
    )
    recipe = run_file(folder / "class.toml")
    found = sweep(recipe, {"lots": [1, 2, 3]}, executor=Serial(), out=folder / "out")
    assert found.frame["turnover"][1] == pytest.approx(2 * found.frame["turnover"][0], rel=0.01)
    failed = sweep(recipe, {"strategy.params.shares": [1]}, executor=Serial()).failed
    assert "shares" in failed["error"][0]


def test_a_run_file_that_cannot_be_swept(folder: Path) -> None:
    (folder / "run.py").write_text("import helios as hx\nrun = 3\n")
    with pytest.raises(ConfigError, match=r"key 'run'.*run\(data="):
        run_file(folder / "run.py")
    with pytest.raises(ConfigError, match="no such run file"):
        run_file(folder / "nope.toml")


def test_the_exit_code_tells_of_failed_points(folder: Path) -> None:
    arguments = ["sweep", folder / "run.toml", "--param", "enter=0.25,1.5", "--workers", 1, "--out", folder / "out"]
    said = " ".join(shell(*arguments, code=1).split())
    assert "failed at enter 0.25" in said
    told = json.loads(shell(*arguments, "--json", code=1))
    assert (told["points"], told["failed"], told["reused"]) == (2, 1, 1)


# ---- seeing ----------------------------------------------------------------------------------------------------------


def printed(found: Sweep, metric: str = "net") -> str:
    console = Console(width=100, file=open(os.devnull, "w"), record=True)  # noqa: PTH123, SIM115
    print_sweep(found, console, metric)
    return console.export_text()


def test_the_heat_map_has_the_value_of_every_point(serial: Sweep) -> None:
    drawn = figure(serial, "net")
    (trace,) = drawn["data"]
    assert (trace["type"], trace["y"], trace["x"]) == ("heatmap", ["1", "1.5", "2"], ["30s", "60s"])
    assert np.ravel(trace["z"]).tolist() == serial.frame["net"].to_list()
    said = printed(serial)
    assert all(number("net", value) in said for value in serial.frame["net"])
    assert "*" in said


def test_a_sparse_sample_is_a_table_in_the_terminal(serial: Sweep) -> None:
    params = {"enter": list(np.linspace(1, 2, 9)), "exit": list(np.linspace(0.1, 0.9, 9))}
    said = printed(run(params=params, random=8, seed=1))
    assert "across" in printed(serial)
    assert "across" not in said
    assert "max drawdown" in said


def test_one_parameter_is_a_line_and_three_are_medians_of_pairs() -> None:
    line = figure(run(params={"enter": [2.0, 1.0]}), "fills")["data"][0]
    assert (line["type"], line["x"]) == ("scatter", [1.0, 2.0])
    found = run(params={"enter": [1.0, 2.0], "exit": [0.1, 0.5], "window": ["30s", "60s", "90s"]})
    drawn = figure(found, "net")
    assert [(t["xaxis"], t["yaxis"]) for t in drawn["data"]] == [("x", "y"), ("x2", "y2"), ("x3", "y3")]
    cell = found.frame.filter((pl.col("enter") == 2.0) & (pl.col("exit") == 0.1))["net"]
    assert len(cell) == 3
    assert drawn["data"][0]["z"][1][0] == cell.median()
    assert "highest net P&L after fees at" in printed(found)


def test_the_page_is_whole_escaped_and_asks_nobody(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    found = run(params={"enter": [1.0, 0.2], "window": ["60s", evil]}, out=tmp_path / "sweep")
    page = (tmp_path / "sweep" / "sweep.html").read_text()
    assert page == render(found)
    assert evil not in page
    assert "default-src 'none'" in page
    assert "The best of 1 trials" not in page
    assert "The best of 1 trial " in page
    assert found.failed.height == 3
    assert "Points that failed" in page
    assert evil not in json.dumps(figure(found, "net"))


def test_nothing_to_show_is_shown_as_such() -> None:
    found = run(builds.troubled, {"enter": [1, 2]})
    assert "No point has a result" in render(found)
    assert "failed at enter 1" in printed(found)
    assert repr(found).endswith("2 failed, 0 trials)")


def test_the_best_and_what_must_be_said_beside_it(serial: Sweep) -> None:
    best = serial.best()
    assert best is not None
    assert best["net"] == serial.frame["net"].max()
    assert "number of trials (6)" in serial.bias
    with pytest.raises(ArgumentError, match="did you mean fills"):
        serial.best("fill")
