"""The catalog: what is written is what is read, in order of time, whatever happens half-way; in a folder and in S3."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.data import Catalog, quotes
from helios.data.catalog import SCHEMAS, from_batch, reading, sorting, to_batch, writing
from helios.data.catalog.schemas import MARKET, values_of
from helios.errors import ArgumentError, CatalogError, ConfigError, DataError
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
DAY = dt.date(2026, 1, 5)
OPEN_NS = 1_767_623_400_000_000_000  # 09:30 in New York
DAY_NS = 86_400_000_000_000
UNDEFINED = 2**63 - 1
SECRET = "an-access-key-that-must-not-be-seen"


# ---- places: a folder, and S3 ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    try:
        import obstore  # noqa: F401
        from moto.server import ThreadedMotoServer
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("needs moto[server] and obstore")
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where to make a new catalog."""
    if request.param == "folder":
        return str(tmp_path / "catalog")
    endpoint = request.getfixturevalue("s3_server")
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    make_bucket(endpoint)
    return f"s3://history/{tmp_path.name}"


def make_bucket(endpoint: str) -> None:
    import urllib.request

    request = urllib.request.Request(f"{endpoint}/history", method="PUT")
    with contextlib.suppress(OSError), urllib.request.urlopen(request):
        pass


# ---- made-up data ----------------------------------------------------------------------------------------------------


def made_up(schema: str, rows: int, seed: int, *, names: int = 5, day: int = 0, step: int = 1) -> pl.DataFrame:
    """Events in order of time, `step` apart at the least: a large one gives many of equal stamps."""
    dice = np.random.default_rng(seed)
    ts = np.sort(dice.integers(0, 23_400_000_000_000, rows)) // step * step + OPEN_NS + day * DAY_NS
    columns: dict[str, Any] = {
        "instrument": [f"S{number}" for number in dice.integers(0, names, rows)],
        "ts": pl.Series(ts).cast(pl.Datetime("ns", "UTC")),
    }
    for name in values_of(schema):
        small = SCHEMAS[schema][name] == pl.Int8
        values = pl.Series(dice.integers(0, 3 if small else 10**12, rows))
        if name in ("bid", "ask") or (name == "price" and schema in ("orders", "depth")):
            values = values.set(pl.Series(dice.random(rows) < 0.1), None)
        columns[name] = values
    return pl.DataFrame(columns).cast({name: SCHEMAS[schema][name] for name in values_of(schema)})


def fill(catalog: Catalog, frame: pl.DataFrame, *, schema: str = "quotes", day: int = 0, digest: str = "1") -> None:
    with catalog.importing(source=f"{digest}.csv", digest=digest) as job:
        job.write(schema, DAY + dt.timedelta(day), frame)


def read(catalog: Catalog, schema: str = "quotes", **options: Any) -> pl.DataFrame:
    """What a backtest would get, with the names of the instruments, as a frame of the catalog."""
    source = catalog.source(schema, **options)
    names = source.symbols
    ids = {name: 7 * number + 3 for number, name in enumerate(names)}
    batches = list(source.batches(ids, size=1_000))
    return pl.concat([from_batch(batch, {number: name for name, number in ids.items()}) for batch in batches])


def same(found: pl.DataFrame, wanted: pl.DataFrame) -> bool:
    """`found` is `wanted`, both without the columns that the catalog adds."""
    return found.drop("ts_recv", "seq", strict=False).equals(wanted.drop("ts_recv", "seq", strict=False))


@contextlib.contextmanager
def small_parts() -> Iterator[None]:
    """Files of a few rows, and hardly any memory: what else would take millions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "SLICE_ROWS", 64)
        patch.setattr(writing, "_LATE_ROWS", 16)
        patch.setattr(writing, "ROW_GROUP_ROWS", 16)
        patch.setattr(reading, "ROW_GROUP_ROWS", 16)
        patch.setattr(reading, "_DECODED_ROWS", 16)
        patch.setattr(reading, "_BATCH_ROWS", 32)
        patch.setattr(reading, "LEAST_MEMORY", 1)
        patch.setattr(sorting, "_LEAST_BLOCK", 8)
        yield


# ---- what is written is what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", MARKET)
def test_every_schema_comes_back_exactly(place: str, schema: str) -> None:
    frame = made_up(schema, 3_000, seed=1)
    catalog = Catalog.open(place, create=True)
    fill(catalog, frame, schema=schema)
    again = Catalog.open(place)
    assert same(read(again, schema), frame)
    stored = again.read(schema).collect()
    assert stored.schema == SCHEMAS[schema]
    assert same(stored.sort("ts", "seq"), frame)
    assert again.manifest.entries[0].rows == again.source(schema).rows == 3_000


@pytest.mark.parametrize("schema", MARKET)
def test_batches_and_frames_are_the_same(schema: str) -> None:
    frame = made_up(schema, 500, seed=2)
    names = sorted(set(frame["instrument"]))
    batch = to_batch(frame, {name: number for number, name in enumerate(names)})
    assert batch["instrument"].dtype == np.uint32
    assert all(batch[name].dtype == np.int64 for name in ("ts", *values_of(schema)))
    assert same(from_batch(batch, names), frame)
    nulls = sum(frame[name].null_count() for name in values_of(schema))
    assert sum(int((batch[name] == UNDEFINED).sum()) for name in values_of(schema)) == nulls


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_mixture_comes_in_order_of_time(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Several imports, days and instruments, many equal stamps, in frames of any size, at every memory cap."""
    place = tmp_path_factory.mktemp("mixture") / "catalog"
    with small_parts():
        catalog = Catalog.open(place, create=True)
        wanted = []
        for number in range(data.draw(st.integers(1, 3), "imports")):
            days = data.draw(st.integers(1, 2), "days")
            with catalog.importing(source=f"{number}", digest=f"{number}", memory=data.draw(MEMORY)) as job:
                for day in range(days):
                    rows = data.draw(st.integers(1, 300), "rows")
                    step = data.draw(st.sampled_from([1, 10**11, 10**12, 10**13]), "step")
                    frame = made_up("trades", rows, data.draw(st.integers(0, 99)), names=3, day=day, step=step)
                    frame = frame.with_columns(pl.col("instrument") + f"/{number}")
                    if data.draw(st.booleans(), "grouped by instrument"):
                        frame = frame.sort("instrument", maintain_order=True)
                    for part in frame.iter_slices(data.draw(st.integers(1, 300), "part")):
                        job.write("trades", DAY + dt.timedelta(day), part)
                    wanted.append((day, job.id, frame.sort("ts", maintain_order=True)))
        # Within an import, equal stamps come as they were given; and the cap changes nothing.
        found = [read(catalog, "trades", memory=memory) for memory in (1, 20_000, 1 << 30)]
        assert found[0].equals(found[1])
        assert found[1].equals(found[2])
        assert found[0]["ts"].is_sorted()
        for number in range(len(catalog.manifest.imports)):
            mine = found[0].filter(pl.col("instrument").str.ends_with(f"/{number}"))
            theirs = [frame for _, _, frame in wanted if frame["instrument"][0].endswith(f"/{number}")]
            assert same(mine, pl.concat(theirs))


MEMORY = st.sampled_from([1, 5_000, 1 << 20])


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_selection_is_what_a_filter_gives(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    frame = made_up("trades", 700, seed=3, names=6, step=10**10)
    with small_parts():
        catalog = Catalog.open(tmp_path_factory.mktemp("selection") / "catalog", create=True)
        fill(catalog, frame, schema="trades")
        names = data.draw(st.lists(st.sampled_from([f"S{n}" for n in range(6)]), min_size=1, unique=True))
        low = data.draw(st.integers(OPEN_NS, OPEN_NS + 20_000_000_000_000))
        high = data.draw(st.integers(low + 10**12, OPEN_NS + 24_000_000_000_000))
        stamps = pl.col("ts").to_physical()
        wanted = frame.filter(pl.col("instrument").is_in(names), stamps >= low, stamps < high)
        if set(wanted["instrument"]) != set(names):
            return
        memory = data.draw(MEMORY)
        assert same(read(catalog, "trades", symbols=names, start=low, end=high, memory=memory), wanted)
        lazy = catalog.read("trades", names, low, high).sort("ts", "seq").collect()
        assert same(lazy, wanted)


def test_the_bytes_do_not_depend_on_how_the_rows_came(tmp_path: Path) -> None:
    frame = made_up("quotes", 500, seed=4, step=10**11)
    grouped = frame.with_columns(place=pl.int_range(pl.len()).over("ts")).sort("place", maintain_order=True)
    digests = []
    with small_parts():
        for number, (parts, memory) in enumerate(
            [
                ([frame], "1GB"),
                ([frame], 1),
                (frame.iter_slices(7), "1GB"),
                (
                    [frame.filter(pl.col("ts") >= frame["ts"][250]), frame.filter(pl.col("ts") < frame["ts"][250])],
                    "1GB",
                ),
                ([frame.filter(pl.col("ts") >= frame["ts"][250]), frame.filter(pl.col("ts") < frame["ts"][250])], 1),
                ([grouped.drop("place")], 1),
            ]
        ):
            catalog = Catalog.open(tmp_path / str(number), create=True)
            with catalog.importing(source="a", digest="a", memory=memory) as job:
                job.write("quotes", DAY, parts)
            digests.append((tmp_path / str(number) / "manifest/0000000001.json").read_bytes())
            assert len(catalog.manifest.entries) == 8
    assert len(set(digests)) == 1


def test_whole_days_and_moments(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path / "catalog", create=True)
    for day in range(3):
        fill(catalog, made_up("quotes", 50, seed=day, day=day), day=day, digest=str(day))
    assert read(catalog, start="2026-01-06", end="2026-01-06").height == 50
    assert read(catalog, start=dt.date(2026, 1, 6)).height == 100
    assert read(catalog, end=dt.date(2026, 1, 6)).height == 100
    whole = read(catalog)
    moment = whole["ts"][70]
    assert read(catalog, start=moment.replace(tzinfo=dt.UTC)).height == 80
    assert read(catalog, end=moment.isoformat()).height == 70
    with pytest.raises(ArgumentError, match="is not after start"):
        catalog.source("quotes", start="2026-01-07", end="2026-01-06")


# ---- other tools -----------------------------------------------------------------------------------------------------


def test_duckdb_reads_the_files(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    frame = made_up("quotes", 2_000, seed=5)
    catalog = Catalog.open(tmp_path / "catalog", create=True)
    fill(catalog, frame)
    fill(catalog, made_up("quotes", 100, seed=6, day=1), day=1, digest="2")
    db = duckdb.connect()
    rows = db.execute(
        "SELECT instrument, count(*), sum(ask), min(bid), max(epoch_ns(ts)) "
        f"FROM read_parquet('{catalog.location}/data/quotes/*/*.parquet', hive_partitioning=true) "
        "WHERE date = '2026-01-05' GROUP BY 1 ORDER BY 1"
    ).fetchall()
    wanted = (
        frame.group_by("instrument")
        .agg(pl.len(), pl.col("ask").sum(), pl.col("bid").min(), pl.col("ts").to_physical().max())
        .sort("instrument")
    )
    assert rows == wanted.rows()
    scale = db.execute(
        f"SELECT value FROM parquet_kv_metadata('{catalog.files('quotes')[0]}') WHERE key = 'helios.scales'"
    ).fetchall()
    assert json.loads(scale[0][0])["bid"] == 10**9


def test_duckdb_reads_what_the_manifest_names(tmp_path: Path) -> None:
    """The query of the documentation, with a file beside that no manifest names."""
    duckdb = pytest.importorskip("duckdb")
    catalog = Catalog.open(tmp_path / "catalog", create=True)
    fill(catalog, made_up("quotes", 100, seed=6))
    fill(catalog, made_up("quotes", 30, seed=7, day=1), day=1, digest="2")
    half = tmp_path / "catalog/data/quotes/date=2026-01-05/0000.parquet"
    shutil.copy(catalog.files("quotes")[0], half)
    page = (ROOT / "docs/catalog.md").read_text()
    query = page.partition("<!-- manifest query -->\n```sql\n")[2].partition("```")[0]
    found = duckdb.connect().execute(query.replace("history", catalog.location)).fetchall()
    assert found == [(130,)]


def test_the_page_says_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of docs/catalog.md, block by block, in one go."""
    monkeypatch.chdir(tmp_path)
    made_up("trades", 50, seed=1).with_columns(pl.col("price") % 10**9).write_parquet("made-up.parquet")
    page = (ROOT / "docs/catalog.md").read_text()
    blocks = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    assert len(blocks) >= 3
    space: dict[str, Any] = {}
    for block in blocks:
        exec(block, space)


# ---- imports ---------------------------------------------------------------------------------------------------------


def test_the_same_import_again_does_nothing(place: str) -> None:
    catalog = Catalog.open(place, create=True)
    frame = made_up("quotes", 100, seed=1)
    fill(catalog, frame)
    before = catalog.store.names("")
    with catalog.importing(source="1.csv", digest="1") as job:
        assert job.done
        assert job.skips(DAY)
        job.write("quotes", DAY, frame)
    assert catalog.store.names("") == before
    with catalog.importing(source="1.csv", digest="1", options={"tz": "UTC"}) as job:
        assert not job.done


def test_a_day_of_another_source_is_not_overwritten(place: str) -> None:
    catalog = Catalog.open(place, create=True)
    fill(catalog, made_up("quotes", 300, seed=1, names=3), digest="old")
    other = made_up("quotes", 300, seed=2, names=5).filter(pl.col("instrument") != "S0")
    before = catalog.store.names("")
    with pytest.raises(CatalogError, match=r"new\.csv: quotes of 'S1' on 2026-01-05 and 1 other.* from old\.csv"):
        fill(catalog, other, digest="new")
    assert catalog.store.names("") == before
    with pytest.raises(CatalogError, match=r"again\.csv: .* from old\.csv"):
        fill(catalog, made_up("quotes", 300, seed=1, names=3), digest="again")  # the very same bytes
    fill(catalog, other.filter(pl.col("instrument") > "S2"), digest="new")
    assert read(Catalog.open(place)).height == 300 + other.filter(pl.col("instrument") > "S2").height


def test_replace_takes_the_place_of_exactly_what_it_brings(place: str) -> None:
    catalog = Catalog.open(place, create=True)
    old, other = made_up("quotes", 300, seed=1, names=3), made_up("quotes", 50, seed=1, names=3, day=1)
    with catalog.importing(source="old.csv", digest="old") as job:
        job.write("quotes", DAY, old)
        job.write("quotes", DAY + dt.timedelta(1), other)
    reader = catalog.source("quotes")
    new = made_up("quotes", 300, seed=2, names=5).filter(pl.col("instrument") != "S0")
    with catalog.importing(source="new.csv", digest="new", replace=True) as job:
        job.write("quotes", DAY, new)
    now = read(Catalog.open(place))
    kept = pl.concat([old.filter(pl.col("instrument") == "S0"), other])
    assert same(now.filter(pl.col("instrument") == "S0"), kept.filter(pl.col("instrument") == "S0"))
    assert same(now.filter(pl.col("instrument") != "S0"), pl.concat([new, other]).filter(pl.col("instrument") != "S0"))
    # A reader of the older state goes on with it; the files go when they are asked to.
    assert sum(len(batch["ts"]) for batch in reader.batches(dict.fromkeys(reader.symbols, 0))) == 350
    last = Catalog.open(place)
    assert last.vacuum() == 2
    assert last.store.names("manifest") == [f"manifest/{last.manifest.number:010d}.json"]
    assert same(read(last), now)
    # The old import lost a day, so it is not complete any more, and clashes when it comes again.
    with (
        pytest.raises(CatalogError, match="are there already, from new"),
        last.importing(source="old.csv", digest="old") as job,
    ):
        assert not job.done
        assert job.days == [DAY + dt.timedelta(1)]
        job.write("quotes", DAY, old)
    with last.importing(source="old.csv", digest="old", replace=True) as job:
        job.write("quotes", DAY, old)
    back = read(Catalog.open(place))
    assert same(back.filter(pl.col("instrument") < "S3"), pl.concat([old, other]))
    assert back.filter(pl.col("instrument") >= "S3").height == new.filter(pl.col("instrument") >= "S3").height


def test_reference_tables(place: str) -> None:
    catalog = Catalog.open(place, create=True)
    rows = pl.DataFrame({"instrument": ["A"], "ex_date": [DAY], "numerator": [2], "denominator": [1]})
    with catalog.importing(source="splits", digest="s") as job:
        job.write("splits", None, rows)
    assert Catalog.open(place).read("splits").collect().equals(rows)
    with (
        pytest.raises(ArgumentError, match="a reference table has none"),
        catalog.importing(source="splits", digest="t") as job,
    ):
        job.write("splits", DAY, rows)


def test_a_failed_import_leaves_nothing(place: str) -> None:
    catalog = Catalog.open(place, create=True)
    with pytest.raises(KeyError), catalog.importing(source="a", digest="a") as job:
        job.write("quotes", DAY, made_up("quotes", 100, seed=1))
        raise KeyError("the reader of the format failed")
    assert catalog.store.names("") == ["manifest/0000000000.json"]
    assert Catalog.open(place, create=True).manifest.entries == []


# ---- two at once -----------------------------------------------------------------------------------------------------


def test_two_writers_at_once_lose_nothing(place: str) -> None:
    """One wins each commit; the other takes its state and commits on top."""
    Catalog.open(place, create=True)
    days, start = 4, threading.Barrier(3)
    failed: list[BaseException] = []

    def write(name: str) -> None:
        try:
            with Catalog.open(place).importing(source=name, digest=name) as job:
                for day in range(days):
                    frame = made_up("quotes", 40, seed=day, day=day).with_columns(instrument=pl.lit(name))
                    job.write("quotes", DAY + dt.timedelta(day), frame)
                    start.wait(30)
                    job.commit_day(DAY + dt.timedelta(day))
        except BaseException as error:
            failed.append(error)
            start.abort()

    threads = [threading.Thread(target=write, args=(name,)) for name in ("A", "B", "C")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    catalog = Catalog.open(place)
    assert catalog.coverage()["rows"].to_list() == [40] * 3 * days
    assert all(record.complete for record in catalog.manifest.imports)
    assert catalog.manifest.number == 3 * (days + 1)


def test_of_two_writers_of_one_day_one_wins(place: str) -> None:
    Catalog.open(place, create=True)
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def write(name: str) -> None:
        try:
            with Catalog.open(place).importing(source=name, digest=name) as job:
                job.write("quotes", DAY, made_up("quotes", 40, seed=ord(name)))
                start.wait(30)
            outcomes.append("committed")
        except CatalogError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=write, args=(name,)) for name in ("A", "B")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lost = next(text for text in outcomes if text != "committed")
    assert "are there already" in lost
    assert len(outcomes) == 2
    catalog = Catalog.open(place)
    assert len(catalog.manifest.entries) == 1
    assert len(catalog.store.names("data")) == 1


def test_a_reader_never_sees_half_a_day(place: str) -> None:
    Catalog.open(place, create=True)
    days = 6
    ready = threading.Event()

    def write() -> None:
        with Catalog.open(place).importing(source="a", digest="a") as job:
            for day in range(days):
                for schema, rows in (("quotes", 500), ("trades", 300)):
                    job.write(schema, DAY + dt.timedelta(day), made_up(schema, rows, seed=day, day=day))
                job.commit_day(DAY + dt.timedelta(day))
        ready.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    while True:
        last = ready.is_set()
        catalog = Catalog.open(place)
        counts = {
            schema: catalog.read(schema).group_by(pl.col("ts").dt.date()).len().collect().sort("ts")
            for schema in ("quotes", "trades")
        }
        assert set(counts["quotes"]["len"]) <= {500}
        assert set(counts["trades"]["len"]) <= {300}
        assert counts["quotes"]["ts"].to_list() == counts["trades"]["ts"].to_list()
        seen.add(counts["quotes"].height)
        if last or not (thread.is_alive() or ready.is_set()):
            break
    thread.join()
    assert ready.is_set()
    assert max(seen) == days


# ---- killed, and no room ---------------------------------------------------------------------------------------------

WORKER = """
import datetime as dt, os, signal, sys
import numpy as np, polars as pl
from helios.data import Catalog

place, deadly = sys.argv[1], int(sys.argv[2])
calls = 0

def counted(name):
    call = getattr(os, name)
    def wrapper(*given, **named):
        global calls
        calls += 1
        if calls == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **named)
    setattr(os, name, wrapper)

# Before each step that reaches the disk.
for name in ("fsync", "replace", "link", "mkdir"):
    counted(name)
catalog = Catalog.open(place, create=True)
with catalog.importing(source="days", digest="days") as job:
    for day in range(3):
        for schema, rows in (("quotes", 500), ("trades", 300)):
            dice = np.random.default_rng(day)
            ts = np.sort(dice.integers(0, 23_400_000_000_000, rows)) + 1_767_623_400_000_000_000 + day * 86_400 * 10**9
            own = ("bid", "ask", "bid_size", "ask_size") if schema == "quotes" else ("price", "size")
            stamps = pl.Series(ts).cast(pl.Datetime("ns", "UTC"))
            frame = pl.DataFrame({"instrument": ["A", "B"] * (rows // 2), "ts": stamps})
            frame = frame.with_columns(pl.Series(name, dice.integers(1, 10**12, rows)) for name in own)
            if schema == "trades":
                frame = frame.with_columns(aggressor=pl.lit(0, dtype=pl.Int8))
            job.write(schema, dt.date(2026, 1, 5) + dt.timedelta(day), frame)
        job.commit_day(dt.date(2026, 1, 5) + dt.timedelta(day))
print(calls)
"""


def worker(place: Path, deadly: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(place), str(deadly)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def contents(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def whole_days(place: Path) -> int:
    """How many days are there; each is whole."""
    there = Catalog.open(place, create=True).coverage().group_by("date", "schema").agg(pl.col("rows").sum())
    by_day = there.group_by("date").agg(pl.col("rows").sum())["rows"].to_list()
    assert set(by_day) <= {800}
    return len(by_day)


def test_killed_anywhere_it_goes_on_to_the_same_catalog(tmp_path: Path) -> None:
    first = worker(tmp_path / "whole", 0)
    steps = int(first.communicate()[0])
    wanted = contents(tmp_path / "whole")
    dice = random.Random(11)
    points = sorted(dice.sample(range(4, steps + 1), 5))
    reached = []
    killed = [(tmp_path / str(point), worker(tmp_path / str(point), point)) for point in points]
    for _, process in killed:
        process.communicate()
        assert process.returncode == -9
    for place, _ in killed:
        reached.append(whole_days(place))
        # Opening it has removed what no manifest names.
        catalog = Catalog.open(place)
        named = catalog.manifest.files()
        assert {name for name in catalog.store.names("") if not name.startswith("manifest/")} == named
    assert len(set(reached)) > 1, "the points fall into one day"
    for place, _ in killed[::2]:
        again = worker(place, 0)
        again.communicate()
        assert again.returncode == 0
        assert contents(place) == wanted


def test_killed_at_a_random_time(tmp_path: Path) -> None:
    begun = time.monotonic()
    whole = worker(tmp_path / "whole", 0)
    whole.communicate()
    takes = time.monotonic() - begun
    place = tmp_path / "killed"
    process = worker(place, 0)
    time.sleep(takes * random.Random(5).uniform(0.5, 0.95))
    process.kill()
    process.communicate()
    assert whole_days(place) <= 3
    worker(place, 0).communicate()
    assert contents(place) == contents(tmp_path / "whole")


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import datetime as dt
import polars as pl
from helios.data import Catalog
from helios.errors import CatalogError

frame = pl.read_parquet(sys.argv[2])
catalog = Catalog.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    with catalog.importing(source="big.csv", digest="big", memory=sys.argv[3]) as job:
        job.write("quotes", dt.date(2026, 1, 6), frame)
except CatalogError as error:
    print(error)
"""


@pytest.mark.parametrize("memory", ["1GB", "100KB"])
def test_no_room_is_said_and_changes_nothing(tmp_path: Path, memory: str) -> None:
    """A limit on the size of a file does what a full disk does: the write fails half-way."""
    place = tmp_path / "catalog"
    fill(Catalog.open(place, create=True), made_up("quotes", 100, seed=1))
    made_up("quotes", 5_000, seed=1, day=1).write_parquet(tmp_path / "big.parquet")
    before = contents(place)
    command = [sys.executable, "-c", FULL, str(place), str(tmp_path / "big.parquet"), memory]
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert "no room left while importing big.csv: File too large" in said
    assert "Make room and run the import again" in said
    assert contents(place) == before


@pytest.mark.parametrize("step", ["add", "create"])
def test_no_room_while_committing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    place = tmp_path / "catalog"
    catalog = Catalog.open(place, create=True)
    fill(catalog, made_up("quotes", 100, seed=1))
    before = contents(place)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link" if step == "create" else "replace", full)
    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(CatalogError, match=r"no room left while writing .*: No space left on device"):
        fill(catalog, made_up("quotes", 100, seed=1, day=1), day=1, digest="2")
    monkeypatch.undo()
    assert contents(place) == before
    fill(Catalog.open(place), made_up("quotes", 100, seed=1, day=1), day=1, digest="2")
    assert read(Catalog.open(place)).height == 200


# ---- memory ----------------------------------------------------------------------------------------------------------

PEAK = """
import sys
from pathlib import Path
import polars as pl
from helios.data import Catalog

def most():
    # Not getrusage: it counts what the parent held when it started this process.
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

pl.DataFrame({"a": [2, 1]}).sort("a")
source = Catalog.open(sys.argv[1]).source("quotes", memory=sys.argv[2])
ids = {name: number for number, name in enumerate(source.symbols)}
before = most()
rows = sum(len(batch["ts"]) for batch in source.batches(ids))
print(rows, before, most())
"""


@pytest.mark.slow
def test_ten_days_take_the_memory_of_one(tmp_path: Path) -> None:
    rows = 340_000  # nearly as many as the cap lets sort at once
    frame = made_up("quotes", rows, seed=1, names=50)
    for days in (1, 10):
        catalog = Catalog.open(tmp_path / str(days), create=True)
        for day in range(days):
            fill(catalog, frame.with_columns(pl.col("ts") + dt.timedelta(day)), day=day, digest=str(day))
    one, ten = peak_of(tmp_path / "1", rows), peak_of(tmp_path / "10", 10 * rows)
    assert ten <= 1.1 * one, f"{one} kB for a day, {ten} kB for ten"


@pytest.mark.slow
def test_the_cap_holds_where_files_overlap(tmp_path: Path) -> None:
    """More of one moment than fits goes through the disk."""
    rows, imports = 250_000, 4
    frame = made_up("quotes", rows, seed=1, names=5)
    catalog = Catalog.open(tmp_path, create=True)
    for number in range(imports):
        fill(catalog, frame.with_columns(pl.col("instrument") + f"/{number}"), digest=str(number))
    peak_of(tmp_path, imports * rows)


def peak_of(place: Path, rows: int) -> int:
    """Most memory of a process that reads all, kB. What reading adds is within the cap."""
    command = [sys.executable, "-c", PEAK, str(place), "64MB"]
    output = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    count, before, peak = map(int, output.split())
    assert count == rows
    assert before < 200 * 1_024
    assert peak - before <= 64 * 1_024, "more than the cap"
    return peak


# ---- in a backtest ---------------------------------------------------------------------------------------------------


def trading_day(seed: int, day: int) -> pl.DataFrame:
    """Two instruments that a pair trade has something to do with."""
    dice = np.random.default_rng(seed)
    rows = 3_000
    ts = np.sort(dice.integers(0, 23_400_000_000_000, rows)) + OPEN_NS + day * DAY_NS
    bid = (10_000 + np.cumsum(dice.integers(-3, 4, rows)) % 500) * 10_000_000
    return pl.DataFrame(
        {
            "instrument": pl.Series(dice.choice(["KO", "PEP"], rows)),
            "ts": pl.Series(ts).cast(pl.Datetime("ns", "UTC")),
            "bid": bid,
            "ask": bid + 10_000_000,
            "bid_size": pl.Series(dice.integers(1, 9, rows)) * 10**10,
            "ask_size": pl.Series(dice.integers(1, 9, rows)) * 10**10,
        }
    )


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("history") / "catalog"
    catalog = Catalog.open(place, create=True)
    for day in range(3):
        fill(catalog, trading_day(day, day), day=day, digest=str(day))
    return place


def backtest(data: Any, enter: float = 1.0) -> hx.Backtest:
    return hx.Backtest(data=data, strategy=hx.pair("KO", "PEP", window="5m", enter=enter), marks=None)


def test_a_backtest_over_a_catalog_is_one_over_its_frames(history: Path) -> None:
    frame = pl.concat([trading_day(day, day) for day in range(3)]).rename({"instrument": "symbol"})
    prices = frame.with_columns((pl.col("bid", "ask") / 1e9), (pl.col("bid_size", "ask_size") / 1e8))
    wanted = backtest(quotes(prices)).run()
    found = backtest(Catalog.open(history).source("quotes")).run()
    assert found.meta["digest"] == wanted.meta["digest"]
    assert len(found.fills) > 10


def test_a_run_file_reads_a_catalog(history: Path, tmp_path: Path) -> None:
    text = f"""
        [[data]]
        kind = "catalog"
        path = "{os.path.relpath(history, tmp_path)}"
        schema = "quotes"
        symbols = ["KO", "PEP"]
        start = 2026-01-06
        end = 2026-01-07
        memory = "64MB"

        [strategy]
        kind = "pairs"
        pairs = [["KO", "PEP", 1.0]]
        window = "5m"
    """
    (tmp_path / "run.toml").write_text(text)
    from helios.config import load_run

    run = load_run(tmp_path / "run.toml").run()
    assert run.meta["events"] == 6_000
    (tmp_path / "run.toml").write_text(text.replace('schema = "quotes"', ""))
    with pytest.raises(ConfigError, match="say which schema of the catalog"):
        load_run(tmp_path / "run.toml")


def test_a_source_pickles(history: Path) -> None:
    source = Catalog.open(history).source("quotes", ["KO"], start="2026-01-06")
    again = pickle.loads(pickle.dumps(source))
    ids = {"KO": 4}
    for one, other in zip(source.batches(ids), again.batches(ids), strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_sweep_reads_a_catalog(history: Path) -> None:
    found = hx.sweep(
        backtest, {"enter": [1.0, 2.0]}, data=Catalog.open(history).source("quotes"), executor=hx.Processes(1)
    )
    assert found.failed.height == 0
    assert found.frame.height == 2


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_what_is_not_a_catalog(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"there is no catalog\. Pass create=True"):
        Catalog.open(tmp_path)
    Catalog.open(tmp_path / "new", create=True)
    assert Catalog.open(tmp_path / "new").coverage().height == 0
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError, match="is a file, not a folder"):
        Catalog.open(tmp_path / "file", create=True)
    with pytest.raises(ArgumentError, match="a catalog is a folder or s3://"):
        Catalog.open("gs://bucket/prefix")


def test_damage_is_named(tmp_path: Path) -> None:
    place = tmp_path / "catalog"
    catalog = Catalog.open(place, create=True)
    fill(catalog, made_up("quotes", 3_000, seed=1))
    file = Path(catalog.files("quotes")[0])
    whole = file.read_bytes()
    source = catalog.source("quotes")
    ids = dict.fromkeys(source.symbols, 0)
    for damaged in (whole[: len(whole) // 2], b"", b"\0" * len(whole)):
        file.write_bytes(damaged)
        with pytest.raises(CatalogError, match=f"{file.name} cannot be read"):
            list(source.batches(ids))
    file.unlink()
    with pytest.raises(CatalogError, match=f"{file.name} cannot be read"):
        list(source.batches(ids))
    manifest = place / "manifest/0000000001.json"
    text = manifest.read_text()
    manifest.write_text(text[: len(text) // 2])
    with pytest.raises(CatalogError, match=r"0000000001\.json is damaged"):
        Catalog.open(place)
    manifest.write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(CatalogError, match="has format 2, this version reads 1"):
        Catalog.open(place)


def test_frames_that_cannot_be(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path / "catalog", create=True)
    good = made_up("trades", 10, seed=1)
    cases = [
        (good.drop("price"), "column 'price': trades needs this column"),
        (good.with_columns(colour=1), "column 'colour': trades has no such column; it has instrument"),
        (good.with_columns(price=pl.lit(1.5)), "column 'price': is Float64, not Int64. Give whole steps of 1e-9"),
        (good.with_columns(size=pl.lit("7")), "column 'size': is String, not Int64. Give whole steps of 1e-8"),
        (good.with_columns(size=pl.lit(None, dtype=pl.Int64)), "row 0, column 'size': is null"),
        (good.with_columns(price=pl.lit(None, dtype=pl.Int64)), "row 0, column 'price': is null"),
        (good.with_columns(aggressor=pl.lit(300)), "column 'aggressor': cannot be Int8"),
        (good.with_columns(pl.col("ts") + dt.timedelta(3)), "an event of 2026-01-08 .* is not of the day 2026-01-05"),
    ]
    for frame, message in cases:
        with pytest.raises(DataError, match=message), catalog.importing(source="bad.csv", digest="1") as job:
            job.write("trades", DAY, frame)
    assert Catalog.open(tmp_path / "catalog").manifest.number == 0


def test_requests_that_cannot_be(history: Path) -> None:
    catalog = Catalog.open(history)
    with pytest.raises(CatalogError, match="it has no quotes of 'XOM'"):
        catalog.source("quotes", ["KO", "XOM"])
    with pytest.raises(CatalogError, match="it has no trades of 'anything'"):
        catalog.source("trades")
    with pytest.raises(ArgumentError, match="schema='ticks': one of orders"):
        catalog.source("ticks")
    with pytest.raises(ArgumentError, match="memory='lots': a number and KB, MB or GB"):
        catalog.source("quotes", memory="lots")
    with pytest.raises(ArgumentError, match="1 MB are too few, 64 MB are needed"):
        catalog.source("quotes", memory="1MB")
    with pytest.raises(ArgumentError, match="start='soon': write it as"):
        catalog.source("quotes", start="soon")
    assert catalog.read("trades").collect().height == 0


def test_prices_as_people_read_them(history: Path) -> None:
    catalog = Catalog.open(history)
    steps, decimals, floats = (
        catalog.read("quotes", "KO", values=values).head(5).collect()["bid"]
        for values in ("integer", "decimal", "float")
    )
    assert [int(value * 10**9) for value in decimals] == steps.to_list()
    assert floats.to_list() == [value / 1e9 for value in steps]


# ---- S3 alone --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_credentials_are_in_nothing(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog.open(place, create=True)
    fill(catalog, made_up("quotes", 50, seed=1))
    source = catalog.source("quotes")
    seen = [repr(catalog), repr(source), pickle.dumps(source).decode("latin-1")]
    seen += [catalog.store.read(name).decode("latin-1") for name in catalog.store.names("")]
    with pytest.raises(CatalogError, match="NoSuchBucket") as refused:
        Catalog.open("s3://nobody-has-this/x")
    seen.append(str(refused.value))
    with pytest.raises(ArgumentError) as wrong:
        Catalog.open(f"s3://tester:{SECRET}@host/x")
    seen.append(str(wrong.value))
    assert not any(SECRET in text for text in seen)


def test_s3_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(CatalogError, match=r"pip install helios\[s3\]"):
        Catalog.open("s3://bucket/x")


# ---- the benchmark ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path: Path) -> None:
    command = [sys.executable, "benches/catalog.py", "--small", "--json", str(tmp_path / "out.json")]
    subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["rows"] == 20_000
    assert all(result[f"{name}_to_polars"] > 0 for name in ("write", "read", "read_columns"))
    assert 0 < result["peak_ratio"] < 2
