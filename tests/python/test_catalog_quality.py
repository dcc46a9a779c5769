"""The check of a catalog: a sound day passes, and each kind of fault that is put into one is found, and no other."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.cli import app
from helios.data.catalog import SCHEMAS, Catalog, from_batch
from helios.data.catalog.checking import ALL, CHECKS, Rules, check
from helios.data.catalog.reference import admit
from helios.data.catalog.rowchecks import Looked, check_frame, limit_of, spikes_of
from helios.data.catalog.views import description, export, listing
from helios.errors import ArgumentError, CatalogError, HeliosError
from helios.research.catalog_page import render
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

DAY = date(2024, 3, 5)
OPEN = int(datetime(2024, 3, 5, 14, 30, tzinfo=UTC).timestamp()) * 10**9
S, MIN = 10**9, 60 * 10**9
GOOG = Path("../shared/data/lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip")
PRICE, SHARES = 10**9, 10**8


def stamps(rows: int, hours: float = 2.0, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return OPEN + np.sort(rng.integers(0, int(hours * 3_600 * S), rows))


def path(rows: int, seed: int = 1) -> np.ndarray:
    """Prices around 100 in whole cents."""
    steps = np.random.default_rng(seed).choice([-1, 0, 0, 1], rows)
    return (10_000 + steps.cumsum()) * PRICE // 100


def frame(schema: str, columns: dict[str, object], name: str = "KO") -> pl.DataFrame:
    rows = len(columns["ts"])  # type: ignore[arg-type]
    base = {"instrument": [name] * rows, "ts_recv": [None] * rows, "seq": np.arange(rows)}
    types = SCHEMAS[schema]
    whole = pl.DataFrame(base | columns).with_columns(pl.col("ts", "ts_recv").cast(pl.Datetime("ns", "UTC")))
    return whole.select(pl.col(column).cast(dtype) for column, dtype in types.items())


def trades(name: str = "KO", seed: int = 1, rows: int = 3_000) -> pl.DataFrame:
    sizes = np.random.default_rng(seed).integers(1, 500, rows) * SHARES
    columns = {
        "ts": stamps(rows, seed=seed),
        "price": path(rows, seed),
        "size": sizes,
        "aggressor": np.arange(rows) % 3,
    }
    return frame("trades", columns, name)


def quotes(name: str = "KO", seed: int = 2) -> pl.DataFrame:
    mid = path(4_000, seed)
    cent = PRICE // 100
    sizes = np.full(mid.size, 300 * SHARES)
    columns = {
        "ts": stamps(mid.size, seed=seed),
        "bid": mid - cent,
        "ask": mid + cent,
        "bid_size": sizes,
        "ask_size": sizes,
    }
    return frame("quotes", columns, name)


def bars(name: str = "KO", seed: int = 3, minutes: int = 390) -> pl.DataFrame:
    close = path(minutes + 1, seed)
    before, after = close[:-1], close[1:]
    columns = {
        "ts": OPEN + np.arange(1, minutes + 1) * MIN,
        "open": before,
        "high": np.maximum(before, after) + PRICE // 100,
        "low": np.minimum(before, after) - PRICE // 100,
        "close": after,
        "volume": np.full(minutes, 1_000 * SHARES),
        "span": np.full(minutes, MIN),
    }
    return frame("bars", columns, name)


def orders(name: str = "KO", seed: int = 4, rows: int = 4_000) -> pl.DataFrame:
    """Bids below 100, asks above: adds, executions in part, deletions, all of orders that are there."""
    rng = np.random.default_rng(seed)
    alive: dict[int, list[int]] = {}
    told: list[tuple[int, int, int, int, int]] = []
    for number in range(1, rows + 1):
        what = rng.random()
        if what < 0.5 or len(alive) < 4:
            side = int(rng.integers(2))
            cents = 10_000 + (1 if side else -1) * int(rng.integers(1, 6))
            alive[number] = [side, cents * PRICE // 100, int(rng.integers(2, 9)) * 100 * SHARES]
            told.append((0, number, *alive[number]))  # type: ignore[arg-type]
            continue
        order = int(rng.choice(list(alive)))
        side, price, size = alive[order]
        if what < 0.75 and size > 100 * SHARES:
            alive[order][2] -= 100 * SHARES
            told.append((1, order, side, price, 100 * SHARES))
        else:
            del alive[order]
            told.append((3, order, side, price, size))
    kind, order_, side_, price_, size_ = (np.array(column) for column in zip(*told, strict=True))
    columns = {"ts": stamps(rows, seed=seed), "kind": kind, "order": order_, "new_order": 0 * kind, "side": side_}
    return frame("orders", columns | {"price": price_, "size": size_}, name)


def depth(name: str = "KO", seed: int = 5, rows: int = 3_000) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 2, rows)
    cents = 10_000 + np.where(side == 1, 1, -1) * rng.integers(1, 6, rows)
    columns = {
        "ts": stamps(rows, seed=seed),
        "kind": np.zeros(rows),
        "side": side,
        "price": cents * PRICE // 100,
        "size": rng.integers(0, 5, rows) * SHARES,
    }
    return frame("depth", columns, name)


CLEAN: dict[str, Callable[[], pl.DataFrame]] = {
    "trades": trades,
    "quotes": quotes,
    "bars": bars,
    "orders": orders,
    "depth": depth,
}


def look(rows: pl.DataFrame, schema: str, **rules: object) -> Looked:
    return check_frame(rows, schema, DAY, Rules(**rules))  # type: ignore[arg-type]


def found(looked: Looked, level: str | None = None) -> set[str]:
    findings = looked.findings if level is None else looked.findings.filter(pl.col("level") == level)
    return set(findings["check"])


def at(rows: pl.DataFrame, row: int, **values: object) -> pl.DataFrame:
    """The frame with other values in one row."""
    here = pl.int_range(pl.len()) == row
    changed = [
        pl.when(here).then(pl.lit(value).cast(rows.schema[name])).otherwise(pl.col(name)).alias(name)
        for name, value in values.items()
    ]
    return rows.with_columns(changed)


def without(rows: pl.DataFrame, start_s: int, end_s: int) -> pl.DataFrame:
    ts = pl.col("ts").to_physical()
    return rows.filter((ts < OPEN + start_s * S) | (ts > OPEN + end_s * S))


def inserted(rows: pl.DataFrame, *more: dict[str, object]) -> pl.DataFrame:
    """Rows of the same instrument put in after all others of their stamp."""
    base = dict.fromkeys(rows.columns) | {"instrument": rows["instrument"][0], "seq": 4_000_000}
    if "kind" in rows.columns:
        base |= {"order": 0, "new_order": 0, "side": -1, "price": None, "size": 0}
    extra = pl.DataFrame([{name: (base | row).get(name) for name in rows.columns} for row in more], schema=rows.schema)
    return pl.concat([rows, extra]).sort("ts", "seq")


def bad_prints(rows: pl.DataFrame, count: int) -> pl.DataFrame:
    for row in range(100, 100 + count):
        rows = at(rows, row, price=90 * PRICE)
    return rows


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(OPEN / S, UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize("schema", CLEAN)
def test_a_sound_day_passes(schema: str) -> None:
    looked = look(CLEAN[schema](), schema)
    assert found(looked, "wrong") == set()
    assert looked.table["rows"][0] == CLEAN[schema]().height
    assert sum(looked.table[name].sum() for name in CHECKS) == looked.findings["count"].sum()


# ---- faults put in ---------------------------------------------------------------------------------------------------

Fault = Callable[[pl.DataFrame], pl.DataFrame]
ADD = {"ts": moment(3_600), "kind": 0, "order": 9_999_999, "side": 0, "size": SHARES}

FAULTS: dict[str, tuple[str, str, int, Fault]] = {
    # name: schema, check, how many, what is done to a sound day
    "silence in trades": ("trades", "gap", 1, lambda rows: without(rows, 1_800, 3_000)),
    "silence in quotes": ("quotes", "gap", 1, lambda rows: without(rows, 1_800, 3_000)),
    "silence in orders": ("depth", "gap", 1, lambda rows: without(rows, 3_000, 3_400)),
    "missing bars": ("bars", "gap", 1, lambda rows: without(rows, 6_010, 6_800)),
    "a bar twice": ("bars", "duplicate", 1, lambda rows: pl.concat([rows, rows[50:51]])),
    "a block of trades twice": ("trades", "duplicate", 60, lambda rows: pl.concat([rows, rows[500:560]])),
    "a clock that jumps back": (
        "trades", "backwards", 10,
        lambda rows: rows.with_columns(
            ts_recv=pl.col("ts"),
            ts=pl.col("ts") - pl.duration(minutes=20) * pl.int_range(pl.len()).is_between(1_000, 1_009).cast(pl.Int64),
        ),
    ),
    "a row of another day": ("trades", "other day", 1, lambda rows: at(rows, 2_999, ts=moment(3 * 86_400))),
    "a trade at zero": ("trades", "value", 1, lambda rows: at(rows, 7, size=0)),
    "a high below the close": ("bars", "value", 1, lambda rows: at(rows, 7, high=PRICE)),
    "a quote without size": ("quotes", "value", 1, lambda rows: at(rows, 7, ask_size=0)),
    "an order for nothing": ("orders", "value", 1, lambda rows: inserted(rows, ADD | {"price": 99 * PRICE, "size": 0})),
    "a level below zero": ("depth", "value", 1, lambda rows: at(rows, 7, size=-SHARES)),
    "a crossed quote": ("quotes", "crossed", 1, lambda rows: at(rows, 100, bid=150 * PRICE, ask=149 * PRICE)),
    "a bad print": ("trades", "outlier", 1, lambda rows: at(rows, 100, price=120 * PRICE)),
    "three bad prints": ("trades", "outlier", 3, lambda rows: bad_prints(rows, 3)),
    "a wick": ("bars", "outlier", 1, lambda rows: at(rows, 100, high=130 * PRICE)),
    "a quote off the market": ("quotes", "outlier", 1, lambda rows: at(rows, 100, bid=60 * PRICE)),
    "an execution of an unknown order": (
        "orders", "unknown order", 3,
        lambda rows: inserted(rows, *[ADD | {"kind": 1, "price": 99 * PRICE, "order": 10**7 + n} for n in range(3)]),
    ),
    "executions while halted": (
        "orders", "in halt", 1,
        lambda rows: inserted(rows, *[
            {"ts": moment(7_190), "kind": 0, "order": 8_000_000, "side": 0, "price": 99 * PRICE, "size": 2 * SHARES},
            {"ts": moment(7_191), "kind": 7},
            {"ts": moment(7_192), "kind": 1, "order": 8_000_000, "side": 0, "price": 99 * PRICE, "size": SHARES},
            {"ts": moment(7_193), "kind": 8},
        ]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_counted(name: str) -> None:
    schema, kind, count, fault = FAULTS[name]
    looked = look(fault(CLEAN[schema]()), schema)
    wrong = looked.findings.filter((pl.col("level") == "wrong") & (pl.col("check") == kind))
    assert wrong["count"].sum() == count, looked.findings
    assert looked.table[kind][0] == count
    # What follows from the fault may be found too: a quote that is crossed is far from the market.
    assert found(looked, "wrong") <= {kind, "outlier", "refused"}


def test_a_crossed_book_is_found_by_the_native_book() -> None:
    row = {"ts": moment(3_600), "kind": 0, "side": 0, "price": 105 * PRICE, "size": 5 * SHARES}
    crossing = inserted(
        orders(), row | {"order": 9_000_000}, row | {"order": 9_000_000, "kind": 3, "ts": moment(3_660)}
    )
    looked = look(crossing, "orders")
    assert found(looked, "wrong") == {"crossed"}
    assert looked.table["crossed_s"][0] == pytest.approx(60, abs=1e-6)

    level = {"ts": moment(3_600), "kind": 0, "side": 0, "price": 105 * PRICE, "size": 5 * SHARES}
    looked = look(inserted(depth(), level, level | {"ts": moment(3_660), "size": 0}), "depth")
    assert found(looked, "wrong") == {"crossed"}
    assert looked.table["crossed_s"][0] == pytest.approx(60, abs=1e-6)


def test_a_book_crossed_within_one_stamp_is_not() -> None:
    row = {"ts": moment(3_600), "kind": 0, "side": 0, "price": 105 * PRICE, "size": 5 * SHARES, "order": 9_000_000}
    assert found(look(inserted(orders(), row, row | {"kind": 3, "seq": 4_000_001}), "orders"), "wrong") == set()


def test_a_clear_empties_the_depth_book() -> None:
    """After a clear the old bid at 105 is gone: without it the book would stay crossed."""
    level = {"ts": moment(3_600), "kind": 0, "side": 0, "price": 105 * PRICE, "size": 5 * SHARES}
    looked = look(inserted(depth(), level, {"ts": moment(3_610), "kind": 1}), "depth")
    assert looked.table["crossed_s"][0] == pytest.approx(10, abs=1e-6)


@pytest.mark.parametrize("changes", [{"kind": 0, "price": 99 * PRICE}, {"kind": 1, "size": 50 * SHARES}])
def test_events_that_the_book_cannot_apply_are_refused(changes: dict[str, object]) -> None:
    """A number that is added while it is there, and an execution of more than there is."""
    first = ADD | {"price": 9_995 * PRICE // 100, "ts": moment(7_190)}
    looked = look(inserted(orders(), first, first | {"ts": moment(7_191)} | changes), "orders")
    assert found(looked, "wrong") == {"refused"}
    assert looked.table["refused"][0] == 1


def test_a_halt_is_a_note_and_explains_the_silence() -> None:
    halted = without(orders(), 3_000, 4_800)
    status = [{"ts": moment(3_000), "kind": 7}, {"ts": moment(4_800), "kind": 8}]
    assert "gap" in found(look(halted, "orders"), "wrong")
    looked = look(inserted(halted, *status), "orders")
    assert found(looked, "wrong") <= {"unknown order", "refused"}  # orders added in the silence are unknown after it
    halt = looked.findings.filter(pl.col("check") == "halt")
    assert halt.select("level", "what").row(0) == ("note", "trading halted for 30 min")


def test_executions_at_other_prices_and_pauses() -> None:
    """Kinds 11 and 12 take from an order as 1 does, 12 is not volume; 13 and 14 stop trading as 7 does."""
    order = ADD | {"price": 9_995 * PRICE // 100, "ts": moment(7_190), "size": 3 * SHARES}
    takes = [order | {"ts": moment(7_191), "kind": kind, "size": SHARES, "price": 100 * PRICE} for kind in (1, 11, 12)]
    rows = inserted(orders(), order, *takes)
    looked = look(rows, "orders")
    assert found(looked, "wrong") == set()
    assert looked.volumes["volume"][0] == look(orders(), "orders").volumes["volume"][0] + 2
    later = orders().filter((pl.col("ts") > moment(7_190.5)) & (pl.col("kind") == 1)).height
    for kind in (13, 14):
        paused = look(inserted(rows, {"ts": moment(7_190.5), "kind": kind}), "orders")
        assert paused.table.select("halt", "in halt").row(0) == (1, 3 + later)


def test_notes_are_not_wrong() -> None:
    locked = look(at(quotes(), 100, bid=100 * PRICE, ask=100 * PRICE), "quotes")
    assert found(locked) == {"locked"}
    early = look(trades().with_columns(ts_recv=pl.col("ts") - pl.duration(milliseconds=1)), "trades")
    assert found(early) == {"clock"}
    one = look(pl.concat([trades(), trades()[5:6]]), "trades")
    assert found(one) == {"duplicate"}
    assert found(one, "wrong") == found(early, "wrong") == found(locked, "wrong") == set()
    stays = trades().with_columns(
        price=pl.when(pl.int_range(pl.len()) < 1_500).then("price").otherwise(pl.col("price") * 1.1).cast(pl.Int64)
    )
    assert found(look(stays, "trades")) == {"jump"}


def test_what_is_allowed_is_a_note() -> None:
    looked = look(FAULTS["a bad print"][3](trades()), "trades", allow=frozenset({"outlier"}))
    assert found(looked, "wrong") == set()
    assert "outlier" in found(looked, "note")
    with pytest.raises(ArgumentError, match="no check is called 'outliers'"):
        Rules(allow=frozenset({"outliers"}))


def test_a_calendar_finds_a_day_that_begins_late() -> None:
    pytest.importorskip("exchange_calendars")
    late = bars().filter(pl.col("ts") > moment(1_800))
    assert found(look(late, "bars"), "wrong") == set()
    looked = look(late, "bars", calendar="XNYS")
    assert looked.findings["what"].to_list() == ["nothing from the opening for 31 min"]
    with pytest.raises(ArgumentError, match="XNOPE"):
        look(late, "bars", calendar="XNOPE")


def test_spikes_and_jumps_by_hand() -> None:
    log = np.log(np.array([100, 100.1, 130, 100, 100.2, 90, 90.1, 90, 90.2, 90, 90.1, 90.0]))
    spikes, jumps = spikes_of(log, 0.05)
    assert np.flatnonzero(spikes).tolist() == [2]
    assert np.flatnonzero(jumps).tolist() == [5]
    # MAD of 1, -1, 2 per mille is 1; 20 times 1.4826 of it.
    returns = np.array([0.001, -0.001, 0.002, 0.0, 0.0])
    assert limit_of(returns, Rules(outlier_least=1e-9)) == pytest.approx(20 * 1.4826 * 0.001)


def test_few_rows_say_nothing_of_rates() -> None:
    assert found(look(without(trades(rows=30), 100, 6_500), "trades"), "wrong") == set()


# ---- whole catalogs --------------------------------------------------------------------------------------------------


def filled(
    folder: Path, data: dict[tuple[str, date], pl.DataFrame], tables: dict[str, pl.DataFrame] | None = None
) -> Catalog:
    catalog = Catalog.open(folder, create=True)
    with catalog.importing(source="test", digest="1") as job:
        for (schema, day), rows in data.items():
            job.write(schema, day, rows.drop("seq"))
        for table, rows in (tables or {}).items():
            job.write(table, None, admit(rows, table))
    return catalog


def test_a_sound_catalog_is_sound(tmp_path: Path) -> None:
    catalog = filled(
        tmp_path / "c",
        {
            ("trades", DAY): pl.concat([trades(), trades("PEP", 9)]),
            ("quotes", DAY): quotes(),
            ("orders", DAY): orders("X"),
            ("depth", DAY): depth("Y"),
        },
    )
    result = check(catalog)
    assert result.sound
    assert result.table["verdict"].to_list() == ["sound"] * 5
    told = [("depth", "Y", 3_000), ("orders", "X", 4_000), ("quotes", "KO", 4_000)]
    told += [("trades", "KO", 3_000), ("trades", "PEP", 3_000)]
    assert result.table.select("schema", "instrument", "rows").rows() == told


def test_portions_do_not_change_the_answer(tmp_path: Path) -> None:
    """Rows are read some at a time: the answer is that of all at once."""
    names = [f"S{number}" for number in range(8)]
    rows = pl.concat([trades(name, seed) for seed, name in enumerate(names)])
    catalog = filled(tmp_path / "c", {("trades", DAY): at(rows, 10_000, price=150 * PRICE)})
    whole, parts = check(catalog), check(catalog, rules=Rules(rows_at_once=4_000))
    assert_frame_equal(whole.table, parts.table)
    assert_frame_equal(whole.findings, parts.findings)
    assert whole.findings["instrument"].to_list() == ["S3"]


def test_silence_of_all_is_the_feeds(tmp_path: Path) -> None:
    both = pl.concat([trades(), trades("PEP", 9)])
    result = check(filled(tmp_path / "c", {("trades", DAY): without(both, 3_000, 3_900)}))
    assert result.findings.filter(pl.col("instrument") == ALL)["what"].to_list() == [
        "all 2 instruments silent for 902 s"
    ]


def test_volumes_that_disagree(tmp_path: Path) -> None:
    rows = trades()
    total = int(rows["size"].sum())
    minutes = bars().head(100).with_columns(volume=pl.lit(total // 100))
    assert check(filled(tmp_path / "a", {("trades", DAY): rows, ("bars", DAY): minutes})).sound
    result = check(
        filled(tmp_path / "b", {("trades", DAY): rows, ("bars", DAY): minutes.with_columns(pl.col("volume") * 2)})
    )
    assert result.findings.select("check", "schema", "level").rows() == [("volume", "bars", "wrong")]
    assert result.findings["what"][0].startswith("volumes differ by 50.0%: bars of 60 s ")
    assert result.table.filter(pl.col("schema") == "bars")["volume"].to_list() == [1]


def daily(days: int = 12) -> dict[tuple[str, date], pl.DataFrame]:
    """Daily bars of one instrument that splits 2 for 1 after the 8th day."""
    close = path(days, 8)
    close[8:] //= 2
    data = {}
    for number in range(days):
        day = DAY + timedelta(days=number)
        one = bars(minutes=1)
        price = {name: int(close[number]) for name in ("open", "high", "low", "close")}
        data["bars", day] = at(one, 0, **price, span=86_400 * S).with_columns(pl.col("ts") + pl.duration(days=number))
    return data


def test_a_split_that_no_table_has(tmp_path: Path) -> None:
    rules = Rules(least_rows=10)
    result = check(filled(tmp_path / "a", daily()), rules=rules)
    assert result.findings.select("check", "date").rows() == [("jump", DAY + timedelta(days=8))]
    assert "a split of 2 for 1 that the table splits does not have?" in result.findings["what"][0]
    assert result.table.filter(pl.col("verdict") == "wrong")["jump"].to_list() == [1]
    table = pl.DataFrame(
        {"instrument": ["KO"], "ex_date": [DAY + timedelta(days=8)], "numerator": [2], "denominator": [1]}
    )
    assert check(filled(tmp_path / "b", daily(), {"splits": table}), rules=rules).sound


def test_rows_of_one_instrument_under_two_names(tmp_path: Path) -> None:
    names = pl.DataFrame({"instrument": ["KO"], "symbol": ["COKE"], "from": [date(2020, 1, 1)], "to": [None]})
    catalog = filled(
        tmp_path / "c", {("trades", DAY): pl.concat([trades(), trades("COKE")])}, {"symbol_changes": names}
    )
    result = check(catalog)
    assert set(result.findings["check"]) == {"two names"}
    with pytest.raises(HeliosError, match="under two names on 2024-03-05: COKE and KO"):
        list(catalog.source("trades", ["KO"]).batches({"KO": 0}))


def test_nothing_to_check(tmp_path: Path) -> None:
    catalog = filled(tmp_path / "c", {("trades", DAY): trades()})
    with pytest.raises(ArgumentError, match="nothing to check"):
        check(catalog, symbols=["NOPE"])


@pytest.mark.skipif(not GOOG.exists(), reason="../shared/data/lobster is not here")
def test_the_real_day_is_sound_and_without_its_order_book_is_not() -> None:
    """The messages alone name 3,363 orders from before the file, 4.6 %, and leave the book crossed most of the day."""
    told = {}
    for seed in (True, False):
        # The seeded book is slow to read: its first part will do.
        batches = hx.lobster(GOOG, seed=seed).batches({"GOOG": 0}, 40_000)
        rows = pl.concat([from_batch(batch, ["GOOG"]) for batch in itertools.islice(batches, 1 if seed else None)])
        rows = rows.with_columns(seq=pl.int_range(pl.len(), dtype=pl.UInt32))
        told[seed] = check_frame(rows, "orders", date(2012, 6, 21), Rules())
    assert found(told[True], "wrong") == set()
    assert found(told[False], "wrong") == {"unknown order", "crossed"}
    assert told[False].table["unknown order"][0] == 3_363
    assert told[False].table["crossed_s"][0] > 20_000


# ---- page, command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    rows = pl.concat([FAULTS["a bad print"][3](trades()), trades("PEP", 9)])
    filled(tmp_path / "c", {("trades", DAY): rows, ("quotes", DAY): without(quotes(), 1_800, 3_000)})
    return tmp_path / "c"


def test_the_page_shows_what_is_wrong_first(faulty: Path) -> None:
    result = check(Catalog.open(faulty))
    whole = render(result, "history <b>")
    assert "history &lt;b&gt;" in whole and "<b>" not in whole
    assert [shape.instrument for shape in result.shapes] == ["KO", "KO", "PEP"]
    assert [shape.rows.sum() for shape in result.shapes] == [result.table["rows"][0], 3_000, 3_000]
    shape = next(shape for shape in result.shapes if shape.schema == "trades" and shape.instrument == "KO")
    assert np.nanmax(shape.high) == pytest.approx(120.0)


def helios(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_commands(faulty: Path, tmp_path: Path) -> None:
    code, text = helios("data", "check", faulty, "--out", tmp_path / "out")
    assert code == 1
    assert "outlier" in text and "3 instrument-days: 1 sound, 0 with notes, 2 wrong" in text
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"check.parquet", "findings.parquet", "index.html"}
    code, text = helios("data", "check", faulty, "--allow", "outlier,gap", "--json")
    assert code == 0
    told = json.loads(text)
    assert told["sound"] and {row["check"] for row in told["findings"]} == {"outlier", "gap"}
    assert helios("data", "check", faulty, "--symbol", "PEP", "--date", DAY)[0] == 0
    code, text = helios("data", "list", faulty, "--json")
    assert [row["schema"] for row in json.loads(text)] == ["quotes", "trades"]
    assert "KO" in helios("data", "describe", faulty, "trades")[1]
    assert (
        "3,000 rows of trades"
        in helios("data", "export", faulty, tmp_path / "x.csv", "--schema", "trades", "--symbol", "PEP")[1]
    )


# ---- list, describe, export ------------------------------------------------------------------------------------------


def test_listing_and_description(tmp_path: Path) -> None:
    splits = pl.DataFrame({"instrument": ["KO"], "ex_date": [DAY], "numerator": [2], "denominator": [1]})
    catalog = filled(tmp_path / "c", {("trades", DAY): pl.concat([trades(), trades("PEP", 9)])}, {"splits": splits})
    assert listing(catalog).select("schema", "rows", "days", "instruments", "first", "last").rows() == [
        ("trades", 6_000, 1, 2, DAY, DAY), ("splits", 1, 0, None, None, None),
    ]  # fmt: skip
    told = description(catalog, "trades", ["KO"]).row(0, named=True)
    assert told["rows"] == 3_000 and told["volume"] == trades()["size"].sum() / SHARES
    assert told["lowest"] == trades()["price"].min() / PRICE
    assert description(catalog, "splits")["least"].to_list() == ["KO", "2024-03-05", "2", "1"]
    with pytest.raises(CatalogError, match="no trades of what was asked for"):
        description(catalog, "trades", ["NOPE"])
    with pytest.raises(ArgumentError, match="one of"):
        description(catalog, "ticks")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("schema", ["trades", "quotes", "bars"])
def test_an_export_is_read_back_as_it_was(schema: str, suffix: str, tmp_path: Path) -> None:
    rows = CLEAN[schema]()
    if schema == "quotes":
        rows = at(rows, 10, bid=None, bid_size=0)  # an empty side
    catalog = filled(tmp_path / "c", {(schema, DAY): rows})
    file = tmp_path / f"out.{suffix}"
    assert export(catalog, file, schema) == rows.height
    options = {"span": "1m"} if schema == "bars" else {}
    source = getattr(hx, schema)(str(file), symbol="instrument", **options)
    back = pl.concat([from_batch(batch, ["KO"]) for batch in source.batches({"KO": 0})])
    assert_frame_equal(back.drop("ts_recv"), catalog.read(schema).drop("ts_recv", "seq").collect())


def test_exports_that_cannot_be(tmp_path: Path) -> None:
    catalog = filled(tmp_path / "c", {("trades", DAY): trades()})
    with pytest.raises(ArgumentError, match="csv or parquet"):
        export(catalog, tmp_path / "x.txt", "trades")
    with pytest.raises(CatalogError, match="no quotes"):
        export(catalog, tmp_path / "x.csv", "quotes")
    with pytest.raises(ArgumentError, match="exported whole"):
        export(catalog, tmp_path / "x.csv", "splits", symbols=["KO"])
    with pytest.raises(CatalogError, match="cannot be written"):
        export(catalog, tmp_path / "no" / "x.csv", "trades")
    assert list(tmp_path.iterdir()) == [tmp_path / "c"]
