"""Imports of foreign formats: files written here, real ones where ../shared is, and damaged ones."""

from __future__ import annotations

import datetime as dt
import gzip
import importlib.util
import itertools
import json
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from helios._core import Book, encode, itch_book
from helios.data import orderbook
from helios.data.catalog import Catalog
from helios.data.catalog.importing import FORMATS, Imported, Options, import_data
from helios.errors import ArgumentError, CatalogError, DataError, HeliosError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

DATA = Path(__file__).parents[2].parent / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")
P, S = 10**9, 10**8  # a price of 1, a size of 1
NY = 4 * 3600 * 10**9  # what New York is behind UTC in summer


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.open(tmp_path / "catalog", create=True)


def rows(catalog: Catalog, schema: str, *columns: str) -> list[tuple[Any, ...]]:
    """Rows in order of time."""
    catalog.refresh()
    frame = catalog.read(schema).sort("ts", "seq", maintain_order=True).collect()
    frame = frame.with_columns(pl.col("ts", "ts_recv").dt.timestamp("ns"))
    return frame.select(columns).rows() if columns else frame.rows()


def do(kind: str, source: str | Path, catalog: Catalog, *, replace: bool = False, **options: Any) -> Imported:
    done = import_data(kind, source, catalog, Options(**options), replace=replace)
    catalog.refresh()
    return done


def ns(text: str) -> int:
    return int(pl.Series([text]).str.to_datetime(time_unit="ns").dt.timestamp("ns")[0])


# ---- ITCH ------------------------------------------------------------------------------------------------------------


class Day:
    """An ITCH day, message by message."""

    def __init__(self) -> None:
        self.bytes = b""
        self.ts = 9 * 3600 * 10**9

    def say(self, kind: str, locate: int = 1, at: int | None = None, **fields: Any) -> Day:
        self.ts += 1_000
        head = {"stock_locate": locate, "tracking_number": 0, "timestamp": self.ts if at is None else at}
        message = encode("itch50", kind, [*head.items(), *fields.items()])
        self.bytes += struct.pack(">H", len(message)) + message
        return self

    def list(self, stock: str, locate: int = 1, etp: str = "N") -> Day:
        letters = {
            "market_category": "Q",
            "financial_status_indicator": "N",
            "round_lot_size": 100,
            "round_lots_only": "N",
            "issue_classification": "C",
            "issue_sub_type": "Z",
            "authenticity": "P",
            "short_sale_threshold_indicator": "N",
            "ipo_flag": "N",
            "luld_reference_price_tier": "1",
            "etp_flag": etp,
            "etp_leverage_factor": 0,
            "inverse_indicator": "N",
        }
        return self.say("R", locate, stock=stock, **letters)

    def add(self, order: int, side: str, shares: int, stock: str, price: int, locate: int = 1, **more: Any) -> Day:
        fields = {"order_reference_number": order, "buy_sell_indicator": side, "shares": shares, "stock": stock}
        return self.say("A", locate, **fields, price=price, **more)

    def write(self, path: Path) -> Path:
        path.write_bytes(self.bytes)
        return path


def small_day() -> Day:
    day = Day().list("KO").list("PEP", 2, etp="Y")
    day.say("H", stock="KO", trading_state="T", reserved=" ", reason_code="")
    day.add(7, "B", 100, "KO", 450_000)
    day.add(8, "S", 300, "KO", 450_500).add(9, "S", 50, "PEP", 900_000, 2)
    day.say("E", order_reference_number=7, executed_shares=40, match_number=1)
    execution = {"order_reference_number": 8, "executed_shares": 100, "match_number": 2}
    day.say("C", **execution, printable="Y", execution_price=450_400)
    day.say("C", **execution | {"match_number": 3}, printable="N", execution_price=450_400)
    day.say("X", order_reference_number=8, canceled_shares=10)
    replaced = {"original_order_reference_number": 8, "new_order_reference_number": 18}
    day.say("U", **replaced, shares=90, price=450_600)
    trade = {"order_reference_number": 0, "buy_sell_indicator": "B", "shares": 5, "stock": "KO", "price": 450_100}
    day.say("P", **trade, match_number=4)
    day.say("Q", cross_shares=1_000, stock="KO", cross_price=450_200, match_number=5, cross_type="O")
    for state in "HPQ":
        day.say("H", 2, stock="PEP", trading_state=state, reserved=" ", reason_code="")
    return day.say("D", 2, order_reference_number=9)


def test_itch_says_what_every_message_said(tmp_path: Path, catalog: Catalog) -> None:
    done = do("itch", small_day().write(tmp_path / "12302019.itch"), catalog)
    found = rows(catalog, "orders", "instrument", "kind", "order", "new_order", "side", "price", "size")
    assert found == [
        ("KO", 8, 0, 0, -1, None, 0),
        ("KO", 0, 7, 0, 0, 45 * P, 100 * S),
        ("KO", 0, 8, 0, 1, 45_050_000_000, 300 * S),
        ("PEP", 0, 9, 0, 1, 90 * P, 50 * S),
        ("KO", 1, 7, 0, -1, None, 40 * S),
        ("KO", 11, 8, 0, -1, 45_040_000_000, 100 * S),
        ("KO", 12, 8, 0, -1, 45_040_000_000, 100 * S),
        ("KO", 2, 8, 0, -1, None, 10 * S),
        ("KO", 4, 8, 18, -1, 45_060_000_000, 90 * S),
        ("KO", 5, 0, 0, -1, 45_010_000_000, 5 * S),
        ("KO", 6, 0, 0, -1, 45_020_000_000, 1_000 * S),
        ("PEP", 7, 0, 0, -1, None, 0),
        ("PEP", 13, 0, 0, -1, None, 0),
        ("PEP", 14, 0, 0, -1, None, 0),
        ("PEP", 3, 9, 0, -1, None, 0),
    ]
    # 09:00 in New York in winter is 14:00 UTC.
    assert rows(catalog, "orders", "ts")[0][0] == ns("2019-12-30 14:00:00.000003")
    assert done.rows == {"orders": 15, "instruments": 2}
    assert done.days == {dt.date(2019, 12, 30)}
    listed = catalog.read("instruments").sort("instrument").collect()
    assert listed["instrument"].to_list() == ["KO", "PEP"]
    assert listed["lot"].to_list() == [100 * S] * 2
    assert listed["kind"].to_list() == ["stock", "etp"]
    assert json.loads(listed["details"][1])["stock_locate"] == 2
    assert listed.row(0, named=True)["from"] == dt.date(2019, 12, 30)
    assert listed.row(0, named=True)["to"] == dt.date(2019, 12, 31)


def test_itch_symbols_choose_and_names_rename(tmp_path: Path, catalog: Catalog) -> None:
    file = small_day().write(tmp_path / "12302019.itch")
    do("itch", file, catalog, symbols=("PEP",), names={"PEP": "PEPSICO"})
    assert {row[0] for row in rows(catalog, "orders", "instrument")} == {"PEPSICO"}
    with pytest.raises(DataError, match="lists no stock 'XYZ'"):
        do("itch", file, catalog, symbols=("XYZ",))


@pytest.mark.parametrize(
    ("spoil", "message", "left_out"),
    [
        (lambda day: day.add(30, "B", 1, "KO", 1, at=1_000), "offset 589: time goes back: from 09:00:00", "time goes"),
        (
            lambda day: day.add(30, "B", 1, "NONE", 1, locate=77),
            "not in the directory: stock locate 77",
            "stock is not",
        ),
        (lambda day: day.add(30, "Z", 1, "KO", 1), "a letter that means nothing", "no shares, or"),
        (lambda day: day.add(30, "B", 1, "KO", 1, at=90_000 * 10**9), "not a time of day", "not a time"),
    ],
)
def test_itch_faults_are_named_or_counted(
    tmp_path: Path, catalog: Catalog, spoil: Callable[[Day], Day], message: str, left_out: str
) -> None:
    day = small_day()
    good = len(day.bytes)
    file = spoil(day).write(tmp_path / "12302019.itch")
    with pytest.raises(DataError, match=message.replace("589", str(good + 2))):
        do("itch", file, catalog)
    assert catalog.manifest.entries == []
    done = do("itch", file, catalog, on_error="skip")
    assert done.rows["orders"] == 15
    assert [(reason.startswith(left_out), each.count) for reason, each in done.left_out.items()] == [(True, 1)]


def test_itch_of_another_day_or_without_one(tmp_path: Path, catalog: Catalog) -> None:
    with pytest.raises(DataError, match=r"is of 2019-12-30, not of 2020-01-02. Pass --date 2019-12-30"):
        do("itch", small_day().write(tmp_path / "12302019.itch"), catalog, date=dt.date(2020, 1, 2))
    nameless = small_day().write(tmp_path / "day.itch")
    with pytest.raises(DataError, match=r"does not tell the day. Pass --date"):
        do("itch", nameless, catalog)
    assert do("itch", nameless, catalog, date=dt.date(2020, 1, 2)).days == {dt.date(2020, 1, 2)}


def test_itch_two_stocks_with_one_symbol_get_permanent_names(tmp_path: Path, catalog: Catalog) -> None:
    file = small_day().list("KO", 3).add(50, "B", 10, "KO", 1, 3).write(tmp_path / "12302019.itch")
    with pytest.raises(DataError, match=r"two instruments are called 'KO': stock locate 1 and 3.*--name 3=NAME"):
        do("itch", file, catalog)
    do("itch", file, catalog, names={"3": "KO.2"})
    assert [row for row in rows(catalog, "orders", "instrument", "order") if row[1] == 50] == [("KO.2", 50)]


def test_replacing_a_day_leaves_the_instruments_of_other_days(tmp_path: Path, catalog: Catalog) -> None:
    do("itch", small_day().list("XOM", 3).write(tmp_path / "12302019.itch"), catalog)
    other = Day().list("IBM").add(1, "B", 10, "IBM", 1_000_000).write(tmp_path / "01022020.itch")
    do("itch", other, catalog, replace=True)
    assert {name for (name,) in catalog.read("instruments").select("instrument").collect().rows()} >= {
        "XOM",
        "IBM",
        "KO",
    }


def book_of(catalog: Catalog, symbol: str) -> Book:
    """A book driven by the catalog's rows."""
    book = Book()
    frame = catalog.read("orders", [symbol]).sort("ts", "seq").collect()
    live: dict[int, int] = {}
    for kind, order, new, side, price, size in frame.select(
        "kind", "order", "new_order", "side", "price", "size"
    ).iter_rows():
        if kind == 0:
            book.add(0, order, side, price, size)
            live[order] = side
        elif kind in (1, 2, 11, 12):
            book.reduce(0, order, size)
        elif kind == 3:
            book.remove(0, order)
        elif kind == 4:
            book.remove(0, order)
            book.add(0, new, live[order], price, size)
            live[new] = live[order]
    return book


@real
def test_itch_real_file_gives_the_same_books_as_reading_it_directly(catalog: Catalog) -> None:
    file = DATA / "itch" / "12302019.NASDAQ_ITCH50.prefix_251837.itch.gz"
    done = do("itch", file, catalog)
    kinds = dict(catalog.read("orders").group_by("kind").len().collect().rows())
    # The file's README: 5,609 A and 36 F, 13 E, 1,453 X, 2,658 D, 331 U, 3 P, 8,897 H.
    assert kinds[0] == 5_609 + 36
    assert (kinds[1], kinds[2], kinds[3], kinds[4], kinds[5]) == (13, 1_453, 2_658, 331, 3)
    assert sum(kinds.get(status, 0) for status in (7, 8, 13, 14)) == 8_897
    assert done.rows["instruments"] == 8_906
    adds = catalog.read("orders").filter(pl.col("kind") == 0).group_by("instrument").len().sort("len").collect()
    assert adds.height > 100
    for symbol in adds["instrument"].to_list()[-12:]:
        book = book_of(catalog, symbol)
        _, bids, asks, _ = itch_book(file, symbol, None, 1_000)
        assert book.depth(0, 0, 1_000) == bids, symbol
        assert book.depth(0, 1, 1_000) == asks, symbol


# ---- LOBSTER ---------------------------------------------------------------------------------------------------------

MESSAGES = (
    "34200.1,1,11,100,5853300,1\n34200.2,1,12,50,5859100,-1\n34200.3,4,11,30,5853300,1\n34200.4,3,12,50,5859100,-1\n"
)


def test_lobster(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "GOOG_2012-06-21_34200000_57600000_message_1.csv"
    file.write_text(MESSAGES)
    do("lobster", tmp_path, catalog)
    found = rows(catalog, "orders", "instrument", "ts", "kind", "order", "side", "price", "size")
    first = ns("2012-06-21 09:30:00.1") + NY
    assert found[0] == ("GOOG", first, 0, 11, 0, 5853300 * 100_000, 100 * S)
    assert [row[2] for row in found] == [0, 0, 1, 3]
    with pytest.raises(DataError, match="is of 2012-06-21, not of 2012-06-22"):
        do("lobster", tmp_path, catalog, date=dt.date(2012, 6, 22))
    other = tmp_path / "GOOG_2012-06-22_34200000_57600000_message_1.csv"
    other.write_text(MESSAGES)
    assert do("lobster", tmp_path, catalog, date=dt.date(2012, 6, 22)).days == {dt.date(2012, 6, 22)}
    other.unlink()
    file.write_text(MESSAGES + "34199.0,3,12,50,5859100,-1\n")
    with pytest.raises(DataError, match=r"row 4.*time goes back"):
        do("lobster", tmp_path, catalog)


@real
def test_lobster_real_book_equals_its_order_book_file(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "first.zip"
    with (
        zipfile.ZipFile(DATA / "lobster" / "LOBSTER_SampleFile_GOOG_2012-06-21_10.zip") as whole,
        zipfile.ZipFile(file, "w") as first,
    ):
        for member in whole.namelist():
            if member.endswith(".csv"):
                first.writestr(member, b"".join(whole.read(member).splitlines(keepends=True)[:15_000]))
    assert do("lobster", file, catalog).rows["orders"] > 15_000  # and the seed
    book, key = book_of(catalog, "GOOG"), orderbook(file)[-1].tolist()
    assert [level[:2] for level in book.depth(0, 1, 10)] == list(zip(key[0::4], key[1::4], strict=True))
    assert [level[:2] for level in book.depth(0, 0, 10)] == list(zip(key[2::4], key[3::4], strict=True))


# ---- DBN -------------------------------------------------------------------------------------------------------------

dbn: Any = importlib.import_module("databento_dbn") if importlib.util.find_spec("databento_dbn") else None
needs_dbn = pytest.mark.skipif(
    dbn is None and not os.environ.get("CI"), reason="databento-dbn is not installed: pip install helios[dbn]"
)
T0 = ns("2020-12-28 15:00:00")


def metadata(schema: str, dataset: str = "GLBX.MDP3", ids: dict[str, int] | None = None) -> bytes:
    intervals = [
        SimpleNamespace(
            raw_symbol=symbol,
            intervals=[
                SimpleNamespace(start_date=dt.date(2020, 12, 28), end_date=dt.date(2020, 12, 29), symbol=str(number))
            ],
        )
        for symbol, number in (ids or {"ESH1": 5}).items()
    ]
    return bytes(
        dbn.Metadata(
            dataset=dataset,
            start=T0,
            stype_in=dbn.SType.RAW_SYMBOL,
            stype_out=dbn.SType.INSTRUMENT_ID,
            schema=dbn.Schema.from_str(schema),
            symbols=list(ids or {"ESH1": 5}),
            mappings=intervals,
        ).encode()
    )


def mbo(
    ts: int, action: str, order: int = 0, price: int = 0, size: int = 0, side: str = "N", last: bool = True
) -> bytes:
    return bytes(
        dbn.MBOMsg(
            publisher_id=1,
            instrument_id=5,
            ts_event=T0 + ts,
            order_id=order,
            price=price * P,
            size=size,
            action=dbn.Action(action),
            side=dbn.Side(side),
            ts_recv=T0 + ts + 7,
            flags=128 if last else 0,
        )
    )


@needs_dbn
def test_dbn_orders(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "day.mbo.dbn"
    records = [
        mbo(1, "R"),
        mbo(2, "A", 11, 100, 10, "B"),
        mbo(3, "A", 12, 101, 20, "A"),
        # An aggressor buys 8: 5 from order 12, 3 from one that nobody saw.
        mbo(4, "T", 0, 101, 8, "B", last=False),
        mbo(4, "F", 12, 101, 5, "A", last=False),
        mbo(4, "C", 12, 101, 5, "A"),
        mbo(5, "M", 11, 100, 6, "B"),  # smaller: keeps its place
        mbo(6, "M", 11, 100, 9, "B"),  # larger: goes to the back
        mbo(7, "C", 12, 101, 15, "A"),
    ]
    file.write_bytes(metadata("mbo") + b"".join(records))
    do("dbn", file, catalog)
    found = rows(catalog, "orders", "instrument", "ts", "kind", "order", "new_order", "side", "price", "size")
    assert found == [
        ("ESH1", T0 + 1, 9, 0, 0, -1, None, 0),
        ("ESH1", T0 + 2, 0, 11, 0, 0, 100 * P, 10 * S),
        ("ESH1", T0 + 3, 0, 12, 0, 1, 101 * P, 20 * S),
        ("ESH1", T0 + 4, 1, 12, 0, -1, 101 * P, 5 * S),
        ("ESH1", T0 + 4, 5, 0, 0, 0, 101 * P, 3 * S),
        ("ESH1", T0 + 5, 2, 11, 0, -1, None, 4 * S),
        ("ESH1", T0 + 6, 4, 11, 11, -1, 100 * P, 9 * S),
        ("ESH1", T0 + 7, 2, 12, 0, -1, None, 15 * S),
    ]
    assert [row[0] for row in rows(catalog, "orders", "ts_recv")][:2] == [T0 + 8, T0 + 9]


@needs_dbn
def test_dbn_bars_are_stamped_at_their_end(tmp_path: Path, catalog: Catalog) -> None:
    bar = dbn.OHLCVMsg(
        rtype=dbn.RType.OHLCV_1M,
        publisher_id=1,
        instrument_id=5,
        ts_event=T0,
        open=4 * P,
        high=9 * P,
        low=3 * P,
        close=5 * P,
        volume=77,
    )
    (tmp_path / "bars.dbn").write_bytes(metadata("ohlcv-1m") + bytes(bar))
    do("dbn", tmp_path, catalog)
    found = rows(catalog, "bars", "ts", "open", "high", "low", "close", "volume", "span")
    assert found == [(T0 + 60 * P, 4 * P, 9 * P, 3 * P, 5 * P, 77 * S, 60 * P)]


@needs_dbn
def test_dbn_cut_anywhere_is_an_error_and_changes_nothing(tmp_path: Path, catalog: Catalog) -> None:
    whole = metadata("mbo") + mbo(1, "A", 11, 100, 10, "B") + mbo(2, "A", 12, 101, 20, "A")
    end = len(whole)
    for cut in [0, 1, 5, 20, end - 112 - 1, *range(end - 111, end - 56), *range(end - 55, end)]:
        (tmp_path / "cut.dbn").write_bytes(whole[:cut])
        with pytest.raises(DataError):
            do("dbn", tmp_path / "cut.dbn", catalog)
    assert catalog.manifest.entries == []


@needs_dbn
def test_dbn_two_instruments_with_one_symbol(tmp_path: Path, catalog: Catalog) -> None:
    record = mbo(1, "A", 11, 100, 10, "B")
    other = record[:4] + struct.pack("<I", 6) + record[8:]
    file = tmp_path / "two.dbn"
    meta = metadata("mbo", ids={"ESH1": 5})
    file.write_bytes(meta + record + other)
    do("dbn", file, catalog)  # number 6 has no symbol: its number is its name
    assert {row[0] for row in rows(catalog, "orders", "instrument")} == {"ESH1", "6"}
    with pytest.raises(DataError, match=r"two instruments are called 'ESH1'.*5 and 6.*--name 6=NAME"):
        do("dbn", file, catalog, names={"6": "ESH1"})


def test_dbn_without_its_library(tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "day.dbn").write_bytes(b"DBN")
    monkeypatch.setitem(sys.modules, "databento_dbn", None)
    with pytest.raises(HeliosError, match=r"pip install helios\[dbn\]"):
        do("dbn", tmp_path, catalog)


def records_of(path: Path) -> list[Any]:
    zstd = path.name.endswith(".zst")
    decoder = dbn.DBNDecoder(
        upgrade_policy=dbn.VersionUpgradePolicy.UPGRADE_TO_V3,
        compression=dbn.Compression.ZSTD if zstd else dbn.Compression.NONE,
    )
    return list(decoder.write_and_decode(path.read_bytes()))[1:]


@needs_dbn
@real
@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
@pytest.mark.parametrize("schema", ["trades", "mbp-1", "tbbo", "ohlcv-1s", "mbo", "mbp-10", "definition"])
def test_dbn_samples_hold_what_the_library_says(catalog: Catalog, schema: str, version: str) -> None:
    file = DATA / "databento" / "dbn" / f"test_data.{schema}.{version}.dbn.zst"
    records = records_of(file)
    done = do("dbn", file, catalog)
    assert len(records) == 2
    if schema in ("trades", "tbbo"):
        assert rows(catalog, "trades", "ts", "ts_recv", "price", "size") == [
            (r.ts_event, r.ts_recv, r.price, r.size * S) for r in records
        ]
    if schema in ("mbp-1", "tbbo"):
        levels = [(r, r.levels[0]) for r in records]
        assert rows(catalog, "quotes", "ts", "bid", "bid_size", "ask", "ask_size") == [
            (r.ts_event, level.bid_px, level.bid_sz * S, level.ask_px, level.ask_sz * S) for r, level in levels
        ]
    if schema == "ohlcv-1s":
        assert rows(catalog, "bars", "ts", "open", "close", "volume") == [
            (r.ts_event + P, r.open, r.close, r.volume * S) for r in records
        ]
    if schema == "mbo":
        assert done.rows["orders"] == 2
    if schema == "mbp-10":
        book: dict[int, dict[int, int]] = {0: {}, 1: {}}
        for kind, side, price, size in rows(catalog, "depth", "kind", "side", "price", "size"):
            assert kind == 0
            book[side][price] = size
        levels10 = records[-1].levels
        assert {p: s for p, s in book[0].items() if s} == {x.bid_px: x.bid_sz * S for x in levels10 if x.bid_sz}
        assert {p: s for p, s in book[1].items() if s} == {x.ask_px: x.ask_sz * S for x in levels10 if x.ask_sz}
    if schema == "definition":
        listed = catalog.read("instruments").collect()
        assert listed["symbol"].to_list() == [r.raw_symbol for r in records]
        assert json.loads(listed["details"][0])["instrument_id"] == records[0].instrument_id
        assert {r.min_price_increment for r in records} == {2**63 - 1}  # undefined, so null
        assert listed["tick"].to_list() == [None, None]


@needs_dbn
@real
def test_dbn_schemas_without_a_place_are_counted(catalog: Catalog) -> None:
    for schema in ("statistics", "imbalance"):
        done = do("dbn", DATA / "databento" / "dbn" / f"test_data.{schema}.v2.dbn.zst", catalog)
        assert done.rows == {}
        assert {key: each.count for key, each in done.left_out.items()} == {f"schema without a place: {schema}": 2}


@needs_dbn
@real
def test_dbn_cut_zstandard_is_seen(tmp_path: Path, catalog: Catalog) -> None:
    whole = (DATA / "databento" / "dbn" / "test_data.mbo.v3.dbn.zst").read_bytes()
    for cut in range(4, len(whole)):
        (tmp_path / "cut.dbn.zst").write_bytes(whole[:cut])
        with pytest.raises(DataError, match="is cut"):
            do("dbn", tmp_path / "cut.dbn.zst", catalog)


# ---- CSV and Parquet -------------------------------------------------------------------------------------------------


def bars_frame() -> pl.DataFrame:
    times = [dt.datetime(2024, 1, day, 15, minute) for day in (2, 3) for minute in (30, 31, 32)]
    one = pl.DataFrame({"ts": times, "open": 10.0, "high": 12.5, "low": 9.5, "close": 11.25, "volume": 1_000})
    return pl.concat([one.with_columns(symbol=pl.lit(symbol)) for symbol in ("KO", "PEP")])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_grouped_by_symbol(tmp_path: Path, catalog: Catalog, kind: str) -> None:
    file = tmp_path / f"bars.{kind}"
    bars_frame().write_csv(file) if kind == "csv" else bars_frame().write_parquet(file)
    done = do(kind, file, catalog)
    assert done.rows == {"bars": 12}
    assert done.days == {dt.date(2024, 1, 2), dt.date(2024, 1, 3)}
    found = rows(catalog, "bars", "instrument", "ts", "close", "volume", "span")
    assert found[0] == ("KO", ns("2024-01-02 15:30:00"), 11_250_000_000, 1_000 * S, 60 * P)
    assert sorted(row[0] for row in found) == ["KO"] * 6 + ["PEP"] * 6
    assert do(kind, file, catalog).there_before == 1


def test_table_columns_rows_of_another_day_and_clock_jumps(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "t.csv"
    frame = pl.DataFrame(
        {"when": ["2024-01-02 15:00:00", "2024-01-02 15:00:02", "2024-01-02 15:00:01"], "px": [1.0, 2.0, 3.0], "n": 5}
    )
    frame.write_csv(file)
    given: dict[str, Any] = {
        "columns": {"ts": "when", "price": "px", "size": "n"},
        "table": {"symbol_is": "KO"},
        "schemas": ("trades",),
    }
    with pytest.raises(DataError, match=r"row 2, column 'when': time of KO goes back to 2024-01-02 15:00:01.*--sort"):
        do("csv", file, catalog, **given)
    with pytest.raises(DataError, match="row 0: is of 2024-01-02, not of 2024-01-03"):
        do("csv", file, catalog, date=dt.date(2024, 1, 3), **given | {"table": {"symbol_is": "KO", "sort": True}})
    done = do("csv", file, catalog, on_error="skip", **given)
    assert done.rows == {"trades": 2}
    assert {key: (each.count, each.first) for key, each in done.left_out.items()} == {
        "time goes back": (1, f"{file}, row 2, column 'when'")
    }
    with pytest.raises(CatalogError, match="are there already"):
        do("csv", file, catalog, **given | {"table": {"symbol_is": "KO", "sort": True}})
    done = do("csv", file, catalog, replace=True, **given | {"table": {"symbol_is": "KO", "sort": True}})
    assert [row[0] for row in rows(catalog, "trades", "price")] == [1 * P, 3 * P, 2 * P]


def test_table_receive_stamps_and_depth(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "t.csv"
    file.write_text("symbol,ts,got,price,size\nKO,2024-01-02 15:00:00,2024-01-02 15:00:01,1,5\n")
    do("csv", file, catalog, columns={"ts_recv": "got"})
    assert rows(catalog, "trades", "ts_recv") == [(ns("2024-01-02 15:00:01"),)]
    file.write_text("symbol,ts,side,price,size\nKO,2024-01-02 15:00:00,buy,1,5\nKO,2024-01-02 15:00:01,sell,2,0\n")
    do("csv", file, catalog, schemas=("depth",))
    assert rows(catalog, "depth", "kind", "side", "price", "size") == [(0, 0, P, 5 * S), (0, 1, 2 * P, 0)]


def test_table_bad_rows_are_counted_by_reason(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "t.csv"
    file.write_text("symbol,ts,price,size\nKO,2024-01-02 15:00:00,1,5\nKO,2024-01-02 15:00:01,-1,5\n")
    with pytest.raises(DataError, match=r"t.csv, row 1, column 'price': -1: price is not positive"):
        do("csv", file, catalog)
    done = do("csv", file, catalog, on_error="skip")
    assert done.left_out["price: price is not positive"].count == 1
    (tmp_path / "no.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="neither bars, quotes nor trades: it has a, b"):
        do("csv", tmp_path / "no.csv", catalog)


def test_daily_bars_belong_to_their_day(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "d.csv"
    file.write_text(
        "symbol,date,open,high,low,close,volume\n" + "".join(f"KO,2024-01-0{d},1,2,1,2,9\n" for d in (2, 3))
    )
    assert do("csv", file, catalog).days == {dt.date(2024, 1, 2), dt.date(2024, 1, 3)}


@real
@pytest.mark.slow
def test_real_minute_bars(tmp_path: Path, catalog: Catalog) -> None:
    (source,) = (DATA / "us_minute_2018").glob("*.parquet")
    frame = pl.read_parquet(source)
    symbol = next(name for name in frame.columns if name.lower() in ("symbol", "ticker"))
    chosen = frame.filter(pl.col(symbol).cast(pl.String) == "KO")
    small = tmp_path / "ko.parquet"
    chosen.write_parquet(small)
    done = do("parquet", small, catalog, tz="America/New_York")
    assert done.rows == {"bars": chosen.height}
    assert len(done.days) == 44  # as the README says


# ---- LEAN ------------------------------------------------------------------------------------------------------------


def lean_file(root: Path, place: str, text: str) -> Path:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        path.write_text(text)
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(path.stem + ".csv", text)
    return path


def test_lean_ticks_and_bars(tmp_path: Path, catalog: Catalog) -> None:
    root = tmp_path / "ticks"
    lean_file(root, "equity/usa/tick/ibm/20131007_trade.zip", "34200000.5,1815200,283,P,1,0\n34200001,1,5,P,1,1\n")
    quotes = "34200000,0,0,1836300,100,Q,1,0\n34200001,0,0,1,3,P,1,1\n34200001,1800100,300,0,0,P,1,0\n"
    lean_file(root, "equity/usa/tick/ibm/20131007_quote.zip", quotes)
    done = do("lean", root, catalog)
    open_ns = ns("2013-10-07 09:30:00") + NY
    assert rows(catalog, "trades", "instrument", "ts", "price", "size") == [
        ("IBM", open_ns + 500_000, 181_520_000_000, 283 * S)
    ]
    assert rows(catalog, "quotes", "ts", "bid", "bid_size", "ask", "ask_size") == [
        (open_ns, None, 0, 183_630_000_000, 100 * S),
        (open_ns + 1_000_000, 180_010_000_000, 300 * S, 183_630_000_000, 100 * S),
    ]
    assert done.left_out["tick flagged as suspicious"].count == 2
    bars = lean_file(tmp_path, "equity/usa/minute/ibm/20131007_trade.zip", "34200000,1,4,1,2,7\n")
    do("lean", bars, catalog)
    assert rows(catalog, "bars", "ts", "open", "high", "low", "close", "volume", "span") == [
        (open_ns + 60 * P, 100_000, 400_000, 100_000, 200_000, 7 * S, 60 * P)
    ]
    with pytest.raises(DataError, match="is of 2013-10-07, not of 2013-10-08"):
        do("lean", bars, catalog, date=dt.date(2013, 10, 8))
    lean_file(root, "equity/usa/minute/ibm/20131007_trade.zip", "34200000,1,4,1,2,7\n")
    with pytest.raises(DataError, match="several resolutions: minute, tick"):
        do("lean", root, catalog)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("34200000,1,2,1,2,x\n", "row 0, column 'volume': x: missing or not a number"),
        ("34200000,1,2,1,2,5\n34199000,1,2,1,2,5\n", "row 1, column 'ts': 34199000: time goes back"),
        ("99999999999,1,2,1,2,5\n", "row 0, column 'ts': 99999999999: not a time of day"),
        ("34200000,3,2,1,2,5\n", "row 0, column 'open': 3: open is outside low .. high"),
        ("34200000,1,2\n", "row 0: a row has 3 values, not 6"),
    ],
)
def test_lean_bad_rows(tmp_path: Path, catalog: Catalog, text: str, message: str) -> None:
    file = lean_file(tmp_path, "equity/usa/minute/ibm/20131007_trade.zip", text)
    with pytest.raises(DataError, match=message):
        do("lean", file, catalog)


def test_lean_map_files_give_permanent_names(tmp_path: Path, catalog: Catalog) -> None:
    lean_file(tmp_path, "equity/usa/map_files/goog.csv", "20140327,goocv,Q\n20140402,goocv,Q\n20501231,goog,Q\n")
    lean_file(tmp_path, "equity/usa/map_files/googl.csv", "20040819,goog,Q\n20140402,goog,Q\n20501231,googl,Q")
    bars = "".join(f"{day} 00:00,10,20,10,20,100\n" for day in ("20040818", "20140402", "20140403"))
    file = lean_file(tmp_path, "equity/usa/daily/goog.zip", bars)
    done = do("lean", file, catalog)
    assert rows(catalog, "bars", "instrument", "ts", "span") == [
        ("GOOGL", ns("2014-04-02 16:00:00") + NY, 86_400 * P),
        ("GOOG", ns("2014-04-03 16:00:00") + NY, 86_400 * P),
    ]
    assert done.left_out["no map file of the ticker covers the day"].count == 1
    do("lean", tmp_path / "equity" / "usa" / "map_files", catalog)
    changes = catalog.read("symbol_changes").sort("instrument", "from").collect().rows()
    assert changes == [
        ("GOOG", "GOOCV", dt.date(2014, 3, 27), dt.date(2014, 4, 3)),
        ("GOOG", "GOOG", dt.date(2014, 4, 3), None),
        ("GOOGL", "GOOG", dt.date(2004, 8, 19), dt.date(2014, 4, 3)),
        ("GOOGL", "GOOGL", dt.date(2014, 4, 3), None),
    ]
    lean_file(tmp_path, "equity/usa/map_files/other.csv", "20040819,goog,Q\n20501231,goog,Q")
    with pytest.raises(DataError, match=r"two instruments have the symbol 'GOOG' on 2014-04-02.*--name GOOG=NAME"):
        do("lean", file, catalog)


def test_lean_factor_files(tmp_path: Path, catalog: Catalog) -> None:
    # A dividend of 0.50 on a close of 100, then seven for one, then one for ten.
    factors = ["20200102,0.995,1.4285714,1", "20200103,0.995,1.4285714,100", "20200110,1,1.4285714,90"]
    factors += ["20200115,1,10,5", "20501231,1,1,0"]
    lean_file(tmp_path, "equity/usa/factor_files/abc.csv", "\n".join(factors))
    do("lean", tmp_path, catalog)
    assert catalog.read("dividends").collect().rows() == [("ABC", dt.date(2020, 1, 6), P // 2, "USD", 100 * P)]
    assert catalog.read("splits").sort("ex_date").collect().rows() == [
        ("ABC", dt.date(2020, 1, 13), 7, 1),
        ("ABC", dt.date(2020, 1, 16), 1, 10),
    ]


@real
def test_lean_real_corporate_actions(catalog: Catalog) -> None:
    do("lean", DATA / "lean" / "equity" / "usa" / "factor_files", catalog)
    splits = catalog.read("splits", ["AAPL"]).sort("ex_date").collect().rows()
    # Apple: two for one on 2000-06-21 and 2005-02-28, seven for one on 2014-06-09, four for one on 2020-08-31.
    assert [row[1:] for row in splits] == [
        (dt.date(2000, 6, 21), 2, 1),
        (dt.date(2005, 2, 28), 2, 1),
        (dt.date(2014, 6, 9), 7, 1),
        (dt.date(2020, 8, 31), 4, 1),
    ]
    dividends = {row[1]: row[2] / P for row in catalog.read("dividends", ["AAPL"]).collect().rows()}
    assert dividends[dt.date(2012, 8, 9)] == pytest.approx(2.65, abs=0.001)
    assert dividends[dt.date(2020, 11, 6)] == pytest.approx(0.205, abs=0.001)


@real
def test_lean_real_bars_follow_from_its_ticks(tmp_path: Path) -> None:
    usa = DATA / "lean" / "equity" / "usa"
    ticks, minutes = (Catalog.open(tmp_path / name, create=True) for name in ("ticks", "minutes"))
    for what in ("trade", "quote"):
        do("lean", usa / "tick" / "ibm" / f"20131008_{what}.zip", ticks)
        do("lean", usa / "minute" / "ibm" / f"20131008_{what}.zip", minutes)
    minute = (pl.col("ts").dt.truncate("1m") + pl.duration(minutes=1)).cast(pl.Datetime("ns", "UTC"))
    trades = ticks.read("trades").with_columns(ts=minute).group_by("ts").agg(pl.col("size").sum()).collect()
    both = minutes.read("bars").collect().join(trades, on="ts", how="left")
    assert both.height == 424
    # LEAN leaves some conditions out of its bars.
    assert (both["volume"] == both["size"]).sum() >= 0.98 * both.height
    quotes = ticks.read("quotes").sort("ts", "seq").with_columns(ts=minute).group_by("ts").agg(pl.all().last())
    closes = minutes.read("quotes").collect().join(quotes.collect(), on="ts", how="inner", suffix="_tick")
    assert closes.height > 590
    for name in ("bid", "bid_size", "ask", "ask_size"):
        assert (closes[name] == closes[f"{name}_tick"]).all(), name


# ---- Binance ---------------------------------------------------------------------------------------------------------

MS = 1_700_000_000_000


def line(ms: int, body: dict[str, Any], stream: str = "btcusdt@x") -> str:
    message = body if "lastUpdateId" in body else {"stream": stream, "data": body}
    return f"{(MS + ms) * 10**6 + 250_000} {json.dumps(message)}\n"


def update(ms: int, first: int, last: int, bids: Any = (), asks: Any = (), before: int | None = None) -> str:
    body: dict[str, Any] = {"e": "depthUpdate", "E": MS + ms, "s": "BTCUSDT", "U": first, "u": last}
    return line(
        ms, body | {"b": list(bids), "a": list(asks)} | ({} if before is None else {"T": MS + ms, "pu": before})
    )


def snapshot(ms: int, last: int, bids: Any, asks: Any) -> str:
    return line(ms, {"lastUpdateId": last, "bids": list(bids), "asks": list(asks)})


def write_gz(path: Path, *lines: str) -> Path:
    path.write_bytes(gzip.compress("".join(lines).encode()))
    return path


def test_binance_depth_trades_and_quotes(tmp_path: Path, catalog: Catalog) -> None:
    trade = {"e": "trade", "E": MS + 4, "T": MS + 3, "s": "BTCUSDT", "t": 1, "p": "100.10000001", "q": "0.5", "m": True}
    ticker = {"u": 9, "s": "BTCUSDT", "b": "100.0", "B": "1.5", "a": "100.2", "A": "0.00000001"}
    file = write_gz(
        tmp_path / "spot.gz",
        update(0, 1, 4, [["99", "1"]]),  # in the snapshot already
        update(1, 5, 6, [["98", "3"]]),
        snapshot(2, 4, [["99", "1"], ["97", "0.5"]], [["101", "2"]]),
        update(3, 7, 8, [["99", "0"]], [["101.5", "4"]]),
        line(4, trade),
        line(5, ticker),
    )
    done = do("binance-ws", file, catalog)
    t = MS * 10**6
    found = rows(catalog, "depth", "ts", "kind", "side", "price", "size")
    assert found == [
        (t, 1, 0, 0, 0),
        (t, 0, 0, 99 * P, 1 * S),
        (t + 10**6, 0, 0, 98 * P, 3 * S),
        (t + 2 * 10**6, 1, 0, 0, 0),
        (t + 2 * 10**6, 0, 0, 99 * P, 1 * S),
        (t + 2 * 10**6, 0, 0, 97 * P, S // 2),
        (t + 2 * 10**6, 0, 1, 101 * P, 2 * S),
        (t + 2 * 10**6, 0, 0, 98 * P, 3 * S),  # came before the snapshot, is younger
        (t + 3 * 10**6, 0, 0, 99 * P, 0),
        (t + 3 * 10**6, 0, 1, 101_500_000_000, 4 * S),
    ]
    assert rows(catalog, "trades", "ts", "ts_recv", "price", "size", "aggressor") == [
        (t + 3 * 10**6, t + 4 * 10**6 + 250_000, 100_100_000_010, S // 2, 2)
    ]
    # No exchange stamp: the local one less the smallest delay, 0.25 ms.
    assert rows(catalog, "quotes", "ts", "bid", "bid_size", "ask", "ask_size") == [
        (t + 5 * 10**6, 100 * P, 3 * S // 2, 100_200_000_000, 1)
    ]
    assert done.warnings == []


def test_binance_gap_clears_the_book_and_warns(tmp_path: Path, catalog: Catalog) -> None:
    file = write_gz(
        tmp_path / "futures.gz",
        snapshot(0, 10, [["99", "1"]], []).replace('"bids"', f'"E": {MS}, "T": {MS}, "symbol": "BTCUSDT", "bids"'),
        update(1, 9, 12, [["98", "1"]], before=8),
        update(2, 15, 16, [["97", "1"]], before=12),
        update(3, 21, 22, [["96", "1"]], before=20),
        update(4, 25, 26, [["95", "1"]], before=22),
    )
    done = do("binance-ws", file, catalog)
    assert [row for row in rows(catalog, "depth", "kind", "price") if row[0] == 1] == [(1, 0), (1, 0)]
    assert [price // P for _, price in rows(catalog, "depth", "kind", "price")] == [0, 99, 98, 97, 0, 96, 95]
    (warning,) = done.warnings
    assert f"{file}, line 3: BTCUSDT: updates are missing between 16 and 20" in warning


def test_binance_faults(tmp_path: Path, catalog: Catalog) -> None:
    good = update(0, 1, 4, [["99", "1"]])
    for bad, message in [
        ("nonsense\n", "row 1: begins with 'nonsense'"),
        ("1700000000000000000 {]\n", "row 1: is no message of Binance"),
        (update(1, 5, 6, [["x", "1"]]), "row 1, column 'price': 'x' is no number that fits"),
        (update(1, 5, 6, [["1e3", "1"]]), "row 1, column 'price': '1e3' is no number that fits"),
        (line(1, {"e": "trade", "E": MS, "T": 5, "s": "BTCUSDT"}), "row 1: exchange stamp 5 is no time in ms"),
    ]:
        file = write_gz(tmp_path / "bad.gz", good, bad)
        with pytest.raises(DataError, match=message.replace("[", r"\[")):
            do("binance-ws", file, catalog)
        done = do("binance-ws", file, catalog, on_error="skip", names={"BTCUSDT": f"B{len(catalog.manifest.imports)}"})
        assert sum(each.count for each in done.left_out.values()) == 1, done.left_out
    both = write_gz(tmp_path / "both.gz", good, update(1, 5, 6, before=4))
    with pytest.raises(DataError, match=r"are called 'BTCUSDT': updates of spot and of futures.*--name"):
        do("binance-ws", both, catalog)
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(good.encode() * 50)[:-12])
    with pytest.raises(DataError, match="The file is cut or damaged"):
        do("binance-ws", cut, catalog)
    with pytest.raises(DataError, match="is of 2023-11-14, not of 2023-11-15"):
        do("binance-ws", write_gz(tmp_path / "one.gz", good), catalog, date=dt.date(2023, 11, 15))


def replayed(path: Path) -> dict[str, dict[str, str]]:
    """The book at the end by plain dictionaries: price text -> size text."""
    book: dict[str, dict[str, str]] = {"b": {}, "a": {}}
    told: list[dict[str, Any]] = []

    def apply(message: dict[str, Any]) -> None:
        for side in "ba":
            for price, size in message[side]:
                book[side][price] = size

    with gzip.open(path) as file:
        for raw in file:
            body = json.loads(raw.partition(b" ")[2])
            if "lastUpdateId" in body:
                book["b"], book["a"] = dict(body["bids"]), dict(body["asks"])
                for message in told:
                    if message["u"] > body["lastUpdateId"]:
                        apply(message)
            elif body["data"].get("e") == "depthUpdate":
                told.append(body["data"])
                apply(body["data"])
    return book


@real
@pytest.mark.parametrize("name", ["spot/btcusdt_20240808.gz", "cm/btcusd_perp_20240808.gz"])
def test_binance_real_book_equals_a_plain_replay(tmp_path: Path, catalog: Catalog, name: str) -> None:
    with gzip.open(DATA / "crypto_hftbacktest" / name) as lines:
        file = tmp_path / "lines.gz"
        file.write_bytes(gzip.compress(b"".join(itertools.islice(lines, 12_000)), 1))
    done = do("binance-ws", file, catalog)
    assert not done.warnings, "the README says that no file has a gap"
    book: dict[int, dict[int, int]] = {0: {}, 1: {}}
    for kind, side, price, size in rows(catalog, "depth", "kind", "side", "price", "size"):
        if kind == 1:
            book = {0: {}, 1: {}}
        elif size == 0:
            book[side].pop(price, None)
        else:
            book[side][price] = size
    key = replayed(file)
    for side, letter in enumerate("ba"):
        ours = {f"{price / P:.8f}": size for price, size in book[side].items()}
        theirs = {f"{float(p):.8f}": round(float(s) * S) for p, s in key[letter].items() if float(s) > 0}
        assert ours == theirs
    assert max(book[0]) < min(book[1])


# ---- all of them -----------------------------------------------------------------------------------------------------


def test_options_that_a_format_does_not_have(tmp_path: Path, catalog: Catalog) -> None:
    for kind, given_options, message in [
        ("foo", {}, "format 'foo': one of itch"),
        ("itch", {"columns": {"ts": "x"}}, "does not take columns"),
        ("lean", {"tz": "UTC"}, "does not take tz"),
        ("itch", {"schemas": ("bars",)}, "has no schema 'bars': one of orders"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            do(kind, tmp_path, catalog, **given_options)
    with pytest.raises(DataError, match="the folder holds no DBN file"):
        do("dbn", tmp_path, catalog)
    with pytest.raises(DataError, match="no such file or folder"):
        do("dbn", tmp_path / "none.dbn", catalog)
    with pytest.raises(DataError, match="no file matches this pattern"):
        do("dbn", f"{tmp_path}/*.dbn", catalog)


def test_a_folder_of_days_is_one_import_each(tmp_path: Path, catalog: Catalog) -> None:
    folder = tmp_path / "days"
    folder.mkdir()
    small_day().write(folder / "12302019.itch")
    assert do("itch", folder, catalog).units == 1
    small_day().write(folder / "12312019.itch")
    done = do("itch", folder, catalog)
    assert (done.units, done.there_before) == (1, 1)
    assert done.days == {dt.date(2019, 12, 31)}


def test_command_line(tmp_path: Path) -> None:
    from helios.cli import app

    file = small_day().write(tmp_path / "12302019.itch")
    arguments = ["data", "import", "itch", str(file), "--catalog", str(tmp_path / "catalog")]
    told = CliRunner().invoke(app, [*arguments, "--json"])
    assert told.exit_code == 0, told.output
    result = json.loads(told.stdout.strip().splitlines()[-1])
    assert result["rows"] == {"orders": 15, "instruments": 2}
    again = CliRunner().invoke(app, arguments)
    assert "nothing to do" in again.stdout
    wrong = CliRunner().invoke(app, [*arguments, "--name", "KO"])
    assert isinstance(wrong.exception, ArgumentError)


def whole_files(folder: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """One good file of each format."""
    yield "itch", small_day().write(folder / "12302019.itch"), {}
    messages = folder / "GOOG_2012-06-21_34200000_57600000_message_1.csv"
    messages.write_text(MESSAGES)
    yield "lobster", messages, {}
    zipped = folder / "GOOG_2012-06-21_34200000_57600000_1.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(messages.name, MESSAGES)
    yield "lobster", zipped, {}
    day = folder / "day.dbn"
    if dbn is not None:
        day.write_bytes(metadata("mbo") + mbo(1, "A", 11, 100, 10, "B") + mbo(2, "C", 11, 100, 10, "B") + mbo(3, "R"))
    yield "dbn", day, {}
    frame = bars_frame()
    frame.write_csv(folder / "bars.csv")
    frame.write_parquet(folder / "bars.parquet")
    yield "csv", folder / "bars.csv", {}
    yield "parquet", folder / "bars.parquet", {}
    bars = "34200000,1,4,1,2,7\n34260000,1,4,1,2,7\n"
    yield "lean", lean_file(folder, "equity/usa/minute/ibm/20131007_trade.zip", bars), {}
    yield "lean", lean_file(folder, "equity/usa/map_files/ibm.csv", "19980102,ibm,N\n20501231,ibm,N\n"), {}
    yield "lean", lean_file(folder, "equity/usa/factor_files/ibm.csv", "19980102,0.5,0.5,1\n20501231,1,1,0\n"), {}
    depth = update(0, 1, 4, [["99", "1"]]) + snapshot(2, 4, [["99", "1"]], [["101", "2"]]) + update(3, 5, 6)
    yield "binance-ws", write_gz(folder / "spot.gz", depth), {}
    plain = folder / "spot.txt"
    plain.write_text(depth)
    yield "binance-ws", plain, {}


@needs_dbn
def test_whole_files_are_whole(tmp_path: Path, catalog: Catalog) -> None:
    kinds = set()
    for kind, file, options in whole_files(tmp_path):
        assert sum(do(kind, file, catalog, replace=True, **options).rows.values()) > 0, file
        kinds.add(kind)
    assert kinds == set(FORMATS)


@pytest.mark.parametrize("number", range(11))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_give_our_error_and_leave_the_catalog(
    tmp_path_factory: pytest.TempPathFactory, number: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    kind, file, options = list(whole_files(folder))[number]
    if kind == "dbn" and dbn is None:
        pytest.skip("databento-dbn is not installed")
    good = file.read_bytes()
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(0, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    bad = bad[: data.draw(st.integers(0, len(bad)))] if data.draw(st.booleans()) else bad
    file.write_bytes(bad)
    skip = data.draw(st.booleans())
    catalog = Catalog.open(folder / "catalog", create=True)
    failed = False
    try:
        do(kind, file, catalog, on_error="skip" if skip else "raise", **options)
    except DataError:
        failed = True  # anything else is a failure of the test
    if failed:
        again = Catalog.open(folder / "catalog")
        assert again.manifest.entries == []
        names = [path.suffix for path in (folder / "catalog").rglob("*") if path.is_file()]
        assert ".parquet" not in names


def test_stamps_of_instruments_that_go_back() -> None:
    from helios.data.catalog.importing.pieces import Clocks

    clocks = Clocks()
    late, latest = clocks.late(np.array([0, 1, 0, 1], dtype=np.uint32), np.array([5, 3, 4, 4]))
    assert late.tolist() == [False, False, True, False]
    assert latest.tolist() == [5, 3, 5, 4]
    late, latest = clocks.late(np.array([1, 0, 2], dtype=np.uint32), np.array([3, 5, 1]))
    assert late.tolist() == [True, False, False]
    assert latest.tolist() == [4, 5, 1]


def test_signals_over_the_catalog_equal_signals_over_the_file(tmp_path: Path, catalog: Catalog) -> None:
    import helios as h
    from helios.data import itch
    from helios.research.graph import graph
    from helios.research.simulate import simulate

    file = tmp_path / "01052026.itch"
    simulate(file, symbols=3, minutes=2, seed=11, rate=20.0)
    do("itch", file, catalog)
    symbol = itch(file).symbols[0]
    told = graph(mid=h.mid(symbol), last=h.last(symbol), flow=h.flow(symbol), size=h.bid_size(symbol))
    direct = told.over(itch(file))
    ours = told.over(catalog.source("orders"))
    assert direct.height > 1_000
    assert ours.equals(direct)
