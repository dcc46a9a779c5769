"""LOBSTER files: exact parsing, and a check of books that passes real data and fails when one event is altered."""

from __future__ import annotations

import bisect
import gzip
import random
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helios.config import load_run
from helios.data import lobster, lobster_check, orderbook
from helios.errors import ArgumentError, DataError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

GOOG = Path(__file__).resolve().parents[2].parent / "shared/data/lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"
STEM = "KO_2012-06-21_34200000_57600000"
MIDNIGHT_NS = 1_340_251_200_000_000_000  # 2012-06-21 00:00 in New York
SHARE, DIME = 100_000_000, 100_000  # one share; one LOBSTER price step (0.0001)
UNDEFINED = 2**63 - 1

MESSAGES = """\
34200.015105074,1,11,100,440000,1
34200.5,2,11,30,440000,1
34201,4,11,20,440000,1
34201.000000001,5,0,7,440100,-1
34201.000000001,5,0,7,440100,1
34202.25,6,-1,500,440100,-1
34203,7,0,0,-1,-1
34204,7,0,0,0,-1
34205,7,0,0,1,-1
57599.999999999,3,11,50,440000,1
"""


def message_file(folder: Path, text: str, name: str = f"{STEM}_message_10.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def columns(source: Path, **options: int) -> dict[str, list[int]]:
    """The whole stream as lists."""
    found: dict[str, list[int]] = {}
    for batch in lobster(source).batches({"KO": 3}, **options):
        assert all(column.flags.c_contiguous for column in batch.values())
        assert batch["instrument"].dtype == np.uint32
        assert {column.dtype for name, column in batch.items() if name != "instrument"} == {np.dtype(np.int64)}
        for name, column in batch.items():
            found.setdefault(name, []).extend(column.tolist())
    return found


# ---- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [f"{STEM}_message_10.csv", f"{STEM}_message_10.csv.gz"])
def test_messages_become_order_events(tmp_path: Path, name: str) -> None:
    path = message_file(tmp_path, MESSAGES, name)
    source = lobster(path)
    assert (source.schema, source.symbols, source.rows) == ("orders", ["KO"], None)
    second = 1_000_000_000
    expected = {
        "ts": [
            MIDNIGHT_NS + ns
            for ns in (
                34_200_015_105_074,
                34_200_500_000_000,
                34_201 * second,
                34_201 * second + 1,
                34_201 * second + 1,
                34_202_250_000_000,
                34_203 * second,
                34_204 * second,
                34_205 * second,
                57_600 * second - 1,
            )
        ],
        "instrument": [3] * 10,
        "kind": [0, 2, 1, 5, 5, 6, 7, 7, 8, 3],
        "order": [11, 11, 11, 0, 0, 0, 0, 0, 0, 11],
        "new_order": [0] * 10,
        "side": [0, 0, 0, 0, 1, -1, -1, -1, -1, 0],  # the aggressor against a hidden sell order buys
        "price": [x * DIME for x in (440000, 440000, 440000, 440100, 440100, 440100, 0, 0, 0, 440000)],
        "size": [x * SHARE for x in (100, 30, 20, 7, 7, 500, 0, 0, 0, 50)],
    }
    assert columns(path) == expected
    assert columns(path, size=3) == expected
    assert list(source.batches({"PEP": 0})) == []


@given(st.integers(0, 86_399), st.integers(0, 999_999_999), st.integers(0, 9))
def test_times_are_exact(tmp_path_factory: pytest.TempPathFactory, second: int, nanos: int, zeros: int) -> None:
    fraction = f"{nanos:09d}".rstrip("0")
    text = f"{second}.{fraction}{'0' * min(zeros, 9 - len(fraction))}".rstrip(".")
    path = message_file(tmp_path_factory.mktemp("times"), f"{text},1,1,1,1,1\n")
    assert columns(path)["ts"] == [MIDNIGHT_NS + second * 1_000_000_000 + nanos]


def test_symbol_and_date_can_be_given(tmp_path: Path) -> None:
    path = message_file(tmp_path, MESSAGES, "events.csv")
    with pytest.raises(DataError, match="does not tell symbol and date"):
        lobster(path)
    source = lobster(path, "PEP", "2012-01-20", tz="UTC")
    assert source.symbols == ["PEP"]
    assert next(source.batches({"PEP": 0}))["ts"][2] == (15_359 * 86_400 + 34_201) * 1_000_000_000
    with pytest.raises(ArgumentError, match="YYYY-MM-DD"):
        lobster(path, "PEP", "20 January")
    with pytest.raises(ArgumentError, match="no time zone"):
        lobster(path, "PEP", "2012-01-20", tz="Wall Street")


def test_a_zip_of_several_days_asks_for_one(tmp_path: Path) -> None:
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for day in ("2012-06-21", "2012-06-22"):
            archive.writestr(f"KO_{day}_34200000_57600000_message_10.csv", MESSAGES)
    with pytest.raises(DataError, match="KO 2012-06-21, KO 2012-06-22"):
        lobster(path)
    second_day = next(lobster(path, date="2012-06-22").batches({"KO": 0}))
    assert second_day["ts"][2] == MIDNIGHT_NS + (86_400 + 34_201) * 1_000_000_000
    with pytest.raises(DataError, match="0 message files match"):
        lobster(path, "PEP")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("34201.0000000001,1,12,5,440000,1", "not a time of day"),
        ("nine,1,12,5,440000,1", "not a time of day"),
        ("86400,1,12,5,440000,1", "not a time of day"),
        ("34199,1,12,5,440000,1", "time goes back"),
        ("34201,8,12,5,440000,1", "unknown type"),
        ("34201,1,12,0,440000,1", "size is not positive"),
        ("34201,1,12,5,-1,1", "price is not positive"),
        ("34201,1,0,5,440000,1", "order number is not positive"),
        ("34201,1,12,5,440000,0", "direction is neither 1 nor -1"),
        ("34201,1,12,5.5,440000,1", "not whole numbers"),
        ("34201,1,12,5,99999999999999999,1", "number too large"),
        ("34201,7,0,0,2,-1", "unknown trading state"),
        ("34201,1,12,5", "not whole numbers"),
    ],
)
def test_a_bad_message_is_named_by_its_row(tmp_path: Path, line: str, reason: str) -> None:
    lines = MESSAGES.splitlines()
    lines.insert(2, line)
    path = message_file(tmp_path, "\n".join(lines))
    got = 0
    with pytest.raises(DataError) as caught:
        for batch in lobster(path).batches({"KO": 0}):
            got += batch["ts"].size
    assert (got, caught.value.row, caught.value.good_rows) == (2, 2, 2), "what was good before is delivered"
    assert caught.value.message == f"{reason}: {line}{',' * (5 - line.count(','))}"
    assert path.name in str(caught.value)


def test_rows_are_counted_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["helios.data.lobster"], "_BLOCK_BYTES", 40)
    path = message_file(tmp_path, MESSAGES)
    assert len(columns(path)["ts"]) == 10
    message_file(tmp_path, MESSAGES + "57599,1,12,5,440000,1\n")
    with pytest.raises(DataError, match="row 10: time goes back"):
        columns(path)
    message_file(tmp_path, MESSAGES + "57599.9999999999,1,12,5,440000,1,9,9\n")
    with pytest.raises(DataError, match="row 10"):
        columns(path)


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK not really")
    with pytest.raises(DataError, match=r"a.zip: cannot be read"):
        lobster(tmp_path / "a.zip")
    with pytest.raises(DataError, match="no such file"):
        lobster(tmp_path / "b.zip")
    path = message_file(tmp_path, MESSAGES * 40, f"{STEM}_message_10.csv.gz")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="cannot be read"):
        columns(path)


# ---- the check -------------------------------------------------------------------------------------------------------


class PlainBook:
    """A price-time book in a few lines, to drive the check."""

    def __init__(self) -> None:
        self.orders: dict[int, list[int]] = {}
        self.levels: tuple[dict[int, list[int]], dict[int, list[int]]] = ({}, {})
        self.prices: tuple[list[int], list[int]] = ([], [])

    def clear(self, instrument: int) -> None:
        self.__init__()  # type: ignore[misc]

    def add(self, instrument: int, order: int, side: int, price: int, quantity: int) -> None:
        assert order not in self.orders
        self.orders[order] = [side, price, quantity]
        if price not in self.levels[side]:
            self.levels[side][price] = [0, 0]
            bisect.insort(self.prices[side], price if side else -price)
        level = self.levels[side][price]
        level[0] += quantity
        level[1] += 1

    def reduce(self, instrument: int, order: int, quantity: int) -> None:
        entry = self.orders[order]
        side, price, left = entry
        assert 0 < quantity <= left
        level = self.levels[side][price]
        level[0] -= quantity
        entry[2] -= quantity
        if entry[2] == 0:
            del self.orders[order]
            level[1] -= 1
        if level[1] == 0:
            del self.levels[side][price]
            self.prices[side].pop(bisect.bisect_left(self.prices[side], price if side else -price))

    def remove(self, instrument: int, order: int) -> None:
        self.reduce(instrument, order, self.orders[order][2])

    def depth(self, instrument: int, side: int, levels: int) -> list[tuple[int, int, int]]:
        found = [abs(price) for price in self.prices[side][:levels]]
        return [(price, *self.levels[side][price]) for price in found]  # type: ignore[misc]


VIEW = 3


def view(book: PlainBook) -> str:
    """One row of an order book file of three levels."""
    cells: list[tuple[int, int]] = []
    for level in range(VIEW):
        for side, dummy in ((1, 9_999_999_999), (0, -9_999_999_999)):
            depth = book.depth(0, side, VIEW)
            cells.append((depth[level][0] // DIME, depth[level][1] // SHARE) if level < len(depth) else (dummy, 0))
    return ",".join(f"{price},{quantity}" for price, quantity in cells)


def session(seed: int, events: int) -> tuple[list[str], list[str]]:
    """Random order flow as LOBSTER would show it: orders from before, and only what touches the three best levels."""
    rng, book = random.Random(seed), PlainBook()
    messages: list[str] = []
    rows: list[str] = []
    number = 0
    while len(messages) < events:
        number += 1
        before = view(book)
        kind, order, quantity, price, side = random_event(rng, book, number)
        if kind == 1:
            book.add(0, order, side, price * DIME, quantity * SHARE)
        else:
            book.reduce(0, order, quantity * SHARE)
        if number > 30 and view(book) != before:
            time = f"{34200 + len(messages)}.5"
            messages.append(f"{time},{kind},{order},{quantity},{price},{-1 if side else 1}")
            rows.append(view(book))
    return messages, rows


def random_event(rng: random.Random, book: PlainBook, number: int) -> tuple[int, int, int, int, int]:
    """Type, order, size, price, side: an add, or a cancel or an execution of a living order."""
    if not book.orders or rng.random() < 0.55:
        side = rng.randrange(2)
        return 1, number, rng.randrange(1, 6) * 10, 1000 + (1 if side else -1) * rng.randrange(1, 9), side
    order = rng.choice(sorted(book.orders))
    side, price, left = book.orders[order]
    quantity = rng.randrange(1, left // SHARE + 1) if rng.random() < 0.5 else left // SHARE
    whole = quantity == left // SHARE
    return rng.choice([3, 4] if whole else [2, 4]), order, quantity, price // DIME, side


def in_view(row: str, price: int, is_ask: bool) -> bool:
    """True if a level at this price would be one of those that the row shows."""
    worst = int(row.split(",")[-4 if is_ask else -2])
    return price <= worst if is_ask else price >= worst


def day(folder: Path, messages: list[str], rows: list[str]) -> Path:
    path = folder / "day.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{STEM}_message_{VIEW}.csv", "\r\n".join(messages))
        archive.writestr(f"{STEM}_orderbook_{VIEW}.csv", "\r\n".join(rows))
    return path


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32))
def test_the_check_agrees_with_true_flow(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    path = day(tmp_path_factory.mktemp("true"), *session(seed, 200))
    assert lobster_check(path, PlainBook()) == {"checked": 199, "agree": 199, "skipped": 1, "first_difference": None}


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 199))
def test_the_check_fails_when_one_quantity_is_altered(
    tmp_path_factory: pytest.TempPathFactory, seed: int, row: int
) -> None:
    messages, rows = session(seed, 200)
    cells = messages[row].split(",")
    cells[3] = str(int(cells[3]) + 1)
    messages[row] = ",".join(cells)
    result = lobster_check(day(tmp_path_factory.mktemp("altered"), messages, rows), PlainBook())
    assert result["agree"] < result["checked"] == 199
    assert result["first_difference"] is not None
    assert result["first_difference"]["row"] == row


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 198))
def test_the_check_fails_when_one_event_is_missing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, row: int
) -> None:
    messages, rows = session(seed, 200)
    _, _, _, _, price, direction = messages[row].split(",")
    # If the level is out of view right after the next event, nothing in the files tells that an event is missing.
    assume(in_view(rows[row + 1], int(price), direction == "-1"))
    folder = tmp_path_factory.mktemp("missing")
    result = lobster_check(day(folder, messages[:row] + messages[row + 1 :], rows[:row] + rows[row + 1 :]), PlainBook())
    assert result["agree"] < result["checked"] == 198
    assert result["first_difference"] is not None
    assert result["first_difference"]["row"] == row
    with pytest.raises(DataError, match=r"one row per event"):
        lobster_check(day(folder, messages[:row] + messages[row + 1 :], rows), PlainBook())
    with pytest.raises(DataError, match=r"one row per event"):
        lobster_check(day(folder, messages, rows[:-1]), PlainBook())


def test_the_check_says_what_differs(tmp_path: Path) -> None:
    messages = ["34200,1,1,10,900,1", "34201,1,2,20,950,1", "34202,3,1,10,900,1", "34203,4,7,5,1000,-1"]
    empty = "9999999999,0"
    row = f"1000,50,{{}},{empty},{{}},{empty},-9999999999,0"
    rows = [
        row.format("900,10", "-9999999999,0"),
        row.format("950,20", "900,10"),
        row.format("950,20", "-9999999999,0"),
        row.format("950,20", "-9999999999,0").replace("1000,50", "1000,44"),
    ]
    result = lobster_check(day(tmp_path, messages, rows), PlainBook())
    assert (result["checked"], result["agree"]) == (3, 2)
    assert result["first_difference"] == {
        "row": 3,
        "problem": "the level differs",
        "side": "ask",
        "level": 1,
        "ours": [1000 * DIME, 45 * SHARE],
        "key": [1000 * DIME, 44 * SHARE],
    }
    messages[2] = "34202,3,5,10,910,1"
    result = lobster_check(day(tmp_path, messages, rows), PlainBook())
    assert result["first_difference"] == {
        "row": 2,
        "problem": "the order was not added, and its level has no quantity from before",
        "side": "bid",
        "level": 0,
        "ours": None,
        "key": None,
    }


def test_a_book_that_forgets_an_order_fails_the_check(tmp_path: Path) -> None:
    class Forgetful(PlainBook):
        def add(self, instrument: int, order: int, side: int, price: int, quantity: int) -> None:
            super().add(instrument, order, side, price, quantity if len(self.orders) != 9 else quantity + SHARE)

    result = lobster_check(day(tmp_path, *session(7, 200)), Forgetful())
    assert result["agree"] < result["checked"]


def test_the_answer_key_has_our_scales(tmp_path: Path) -> None:
    path = day(tmp_path, ["34200,1,1,10,900,1"], ["1000,50,900,10,1001,7,-9999999999,0,9999999999,0,-9999999999,0"])
    assert orderbook(path).tolist() == [
        [
            1000 * DIME,
            50 * SHARE,
            900 * DIME,
            10 * SHARE,
            1001 * DIME,
            7 * SHARE,
            UNDEFINED,
            0,
            UNDEFINED,
            0,
            UNDEFINED,
            0,
        ]
    ]
    with pytest.raises(DataError, match=r"row 1: not an order book row"):
        orderbook(day(tmp_path, [], ["1,1,1,1", "1,1,x,1"]))
    with pytest.raises(DataError, match=r"3 values in a row"):
        orderbook(day(tmp_path, [], ["1,1,1"]))
    alone = message_file(tmp_path, MESSAGES)
    with pytest.raises(DataError, match="no order book file beside it"):
        orderbook(alone)


# ---- real data -------------------------------------------------------------------------------------------------------


def altered(folder: Path, row: int, drop: bool) -> Path:
    """The first 20,000 rows of the real day with one message changed or left out."""
    with zipfile.ZipFile(GOOG) as archive:
        names = sorted(archive.namelist())
        texts = {name: archive.read(name).splitlines()[:20_000] for name in names if name.endswith(".csv")}
    for name, lines in texts.items():
        if drop:
            del lines[row]
        elif "_message_" in name:
            cells = lines[row].split(b",")
            cells[3] = str(int(cells[3]) + 1).encode()
            lines[row] = b",".join(cells)
    path = folder / "altered.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in texts.items():
            archive.writestr(name, b"\n".join(lines) + b"\n")
    return path


# ---- seeded: the book that the order book file shows ----------------------------------------------------------------


def replayed(path: Path, **options: int) -> dict[int, str]:
    """The view of a plain book after the last event of each moment."""
    book, views = PlainBook(), {}
    for batch in lobster(path, seed=True).batches({"KO": 3}, **options):
        assert {name: column.dtype.name for name, column in batch.items()} == dict.fromkeys(batch, "int64") | {
            "instrument": "uint32"
        }
        assert set(batch["instrument"].tolist()) == {3}
        names = ("ts", "kind", "order", "side", "price", "size")
        for ts, kind, order, side, price, size in zip(*(batch[name].tolist() for name in names), strict=True):
            if kind == 0:
                book.add(0, order, side, price, size)
            elif kind == 3:
                assert (side, price, size) == (-1, 0, 0) or [side, price, size] == book.orders[order]
                book.remove(0, order)
            elif kind <= 2:
                assert [side, price] == book.orders[order][:2]
                book.reduce(0, order, size)
            views[ts] = view(book)
    return views


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 400))
def test_the_seeded_book_is_that_of_the_order_book_file(
    tmp_path_factory: pytest.TempPathFactory, seed: int, size: int
) -> None:
    messages, rows = session(seed, 200)
    path = day(tmp_path_factory.mktemp("seeded"), messages, rows)
    # Of a book that begins empty there is nothing to tell.
    empty = set(rows[0].split(",")) == {"9999999999", "-9999999999", "0"}
    assert list(replayed(path, size=size).values()) == rows[int(empty) :]
    # What was traded is traded still; the first message is in the levels that it begins with.
    sizes = [int(line.split(",")[3]) * SHARE for line in messages[1:] if line.split(",")[1] == "4"]
    batches = list(lobster(path, seed=True).batches({"KO": 0}))
    executed = np.concatenate([batch["size"][batch["kind"] == 1] for batch in batches])
    assert executed.tolist() == sizes


def test_what_is_no_change_of_the_book_passes_through(tmp_path: Path) -> None:
    row = "1001,10,999,20,9999999999,0,-9999999999,0,9999999999,0,-9999999999,0"
    messages = ["34200,5,0,7,10005000,-1", "34201,5,0,8,10005000,1", "34202,7,0,0,-1,-1", "34203,2,5,4,1001,-1"]
    path = day(tmp_path, messages, [row, row, row, row.replace("1001,10", "1001,6")])
    (batch,) = lobster(path, seed=True).batches({"KO": 0})
    assert batch["kind"].tolist() == [5, 0, 0, 5, 7, 2]
    assert batch["side"].tolist() == [0, 0, 1, 1, -1, 1]
    # Order 5 was never added: what it loses is taken from the level's own order.
    assert batch["order"][5] == batch["order"][2] >= 2**62
    assert batch["size"].tolist() == [n * SHARE for n in (7, 20, 10, 8, 0, 4)]


@pytest.mark.parametrize("seed", [False, True])
def test_a_run_file_seeds(tmp_path: Path, seed: bool) -> None:
    path = day(tmp_path, *session(1, 60))
    text = f"""
[[data]]
kind = "lobster"
path = "{path.name}"
seed = {str(seed).lower()}
[strategy]
class = "mine.py:Idle"
"""
    (tmp_path / "mine.py").write_text("import helios as hx\n\n\nclass Idle(hx.Strategy):\n    pass\n")
    (tmp_path / "run.toml").write_text(text)
    results = load_run(tmp_path / "run.toml").run()
    # Messages alone name orders that were never added.
    assert (results.quality["count"].sum() > 0) is not seed


def test_seeding_needs_an_order_book_file_that_agrees(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no order book file beside it"):
        lobster(message_file(tmp_path, MESSAGES, f"{STEM}_message_10.csv"), seed=True)
    messages, rows = session(3, 50)
    rows[20] = rows[20].replace(rows[20].split(",")[1], "77", 1)
    source = lobster(day(tmp_path, messages, rows), seed=True)
    seen = []
    with pytest.raises(DataError, match="the level differs, ask level 1") as refused:
        for batch in source.batches({"KO": 0}):
            seen += batch["ts"].tolist()
    assert refused.value.row == 20
    assert max(seen) == MIDNIGHT_NS + (34200 + 19) * 1_000_000_000 + 500_000_000
    with pytest.raises(DataError, match="ends after 49 rows"):
        list(lobster(day(tmp_path, messages, rows[:20] + session(3, 50)[1][20:49]), seed=True).batches({"KO": 0}))


needs_goog = pytest.mark.skipif(not GOOG.exists(), reason="../shared/data/lobster is not there")


@needs_goog
def test_a_real_day_is_parsed() -> None:
    (batch,) = lobster(GOOG, seed=False).batches({"GOOG": 0})
    assert batch["ts"].size == 147_916
    assert batch["ts"][0] == MIDNIGHT_NS + 34_200_015_105_074
    assert orderbook(GOOG).shape == (147_916, 40)


@needs_goog
def test_our_levels_equal_the_answer_key_after_every_event_of_a_real_day() -> None:
    assert lobster_check(GOOG, PlainBook()) == {
        "checked": 147_915,
        "agree": 147_915,
        "skipped": 1,
        "first_difference": None,
    }


@needs_goog
@pytest.mark.parametrize("drop", [False, True])
def test_the_check_of_a_real_day_fails_when_one_event_is_altered(tmp_path: Path, drop: bool) -> None:
    (batch,) = lobster(GOOG, seed=False).batches({"GOOG": 0})
    for kind in (0, 1, 2, 3):
        row = int(np.flatnonzero(batch["kind"][:19_000] == kind)[-1])
        result = lobster_check(altered(tmp_path, row, drop), PlainBook())
        assert result["first_difference"] is not None
        assert result["first_difference"]["row"] == row
        assert result["agree"] < result["checked"]


@needs_goog
def test_the_seeded_book_of_a_real_day_has_the_best_levels_of_the_order_book_file() -> None:
    import helios as hx

    columns = (hx.ask("GOOG"), hx.ask_size("GOOG"), hx.bid("GOOG"), hx.bid_size("GOOG"))
    graph = hx.graph({str(number): column for number, column in enumerate(columns)})
    best = graph.over(lobster(GOOG, seed=True)).drop("ts").drop_nulls().to_numpy()
    key = orderbook(GOOG)[:, :4]
    key = key[np.append(True, (key[1:] != key[:-1]).any(axis=1))]
    assert len(key) == 45_569
    assert (best == key / [1e9, 1e8, 1e9, 1e8]).all()
