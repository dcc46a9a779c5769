"""ITCH files: real ones counted and compared with a book in plain Python, and broken ones made by hand."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import helios as hx
import polars as pl
import pytest
from helios import _core
from helios.cli import app
from helios.errors import ArgumentError, DataError
from typer.testing import CliRunner

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
ITCH = SHARED / "data" / "itch"
PREFIX = ITCH / "12302019.NASDAQ_ITCH50.prefix_251837.itch.gz"
SNIPPET = ITCH / "12302019_SNIPPET_0930open_1000.NASDAQ_ITCH50"
FIRST101 = ITCH / "first101_truncated_4096B.NASDAQ_ITCH50"
ZERO_PREFIX = ITCH / "synthetic"
CAPTURES = SHARED / "conformance" / "nasdaq" / "pcap"
LOBSTER = SHARED / "data" / "lobster" / "LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"

real = pytest.mark.skipif(not ITCH.is_dir(), reason="needs ../shared/data/itch, which is not there")

SECOND = 1_000_000_000
OPEN = 34_200 * SECOND  # 09:30


# ---- messages, by the specification ----------------------------------------------------------------------------------


def message(kind: str, ts: int, *parts: bytes, locate: int = 1) -> bytes:
    return kind.encode() + locate.to_bytes(2) + bytes(2) + ts.to_bytes(6) + b"".join(parts)


def stock(symbol: str) -> bytes:
    return symbol.encode().ljust(8)


def directory(symbol: str, locate: int, ts: int = 1) -> bytes:
    rest = b"Q" + b"N" + (100).to_bytes(4) + b"N" + b"C" + b"Z " + b"P" + b"N" + b" " + b"1" + b"N" + bytes(4) + b"N"
    return message("R", ts, stock(symbol), rest, locate=locate)


def add(ts: int, order: int, side: str, shares: int, price: float, symbol: str = "KO", locate: int = 1) -> bytes:
    fields = (order.to_bytes(8), side.encode(), shares.to_bytes(4), stock(symbol), round(price * 10_000).to_bytes(4))
    return message("A", ts, *fields, locate=locate)


def executed(ts: int, order: int, shares: int, match: int = 1, locate: int = 1) -> bytes:
    return message("E", ts, order.to_bytes(8), shares.to_bytes(4), match.to_bytes(8), locate=locate)


def cancelled(ts: int, order: int, shares: int, locate: int = 1) -> bytes:
    return message("X", ts, order.to_bytes(8), shares.to_bytes(4), locate=locate)


def deleted(ts: int, order: int, locate: int = 1) -> bytes:
    return message("D", ts, order.to_bytes(8), locate=locate)


def replaced(ts: int, order: int, new: int, shares: int, price: float, locate: int = 1) -> bytes:
    fields = (order.to_bytes(8), new.to_bytes(8), shares.to_bytes(4), round(price * 10_000).to_bytes(4))
    return message("U", ts, *fields, locate=locate)


def framed(*messages: bytes) -> bytes:
    return b"".join(len(each).to_bytes(2) + each for each in messages)


DAY = [
    directory("KO", 1),
    directory("PEP", 2),
    add(OPEN, 1, "B", 100, 10.00),
    add(OPEN + 1, 2, "B", 200, 10.00),
    add(OPEN + 2, 3, "S", 50, 10.02),
    add(OPEN + 2, 4, "S", 70, 20.02, "PEP", 2),
    executed(OPEN + 3, 1, 30),
    replaced(OPEN + 4, 3, 5, 60, 10.03),
    cancelled(OPEN + 5, 2, 50),
    deleted(OPEN + 6, 4, 2),
]


@pytest.fixture
def day(tmp_path: Path) -> Path:
    path = tmp_path / "day.itch"
    path.write_bytes(framed(*DAY))
    return path


def file_of(tmp_path: Path, data: bytes, name: str = "broken.itch") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def stats(path: Path) -> dict[str, object]:
    result = CliRunner().invoke(app, ["itch", "stats", str(path), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def book(path: Path, symbol: str, *more: str) -> dict[str, object]:
    result = CliRunner().invoke(
        app, ["itch", "book", str(path), "--symbol", symbol, "--json", *more], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


# ---- a day by hand ---------------------------------------------------------------------------------------------------


def test_counts_of_a_day_by_hand(day: Path) -> None:
    found = stats(day)
    assert found["counts"] == {"R": 2, "A": 4, "E": 1, "U": 1, "X": 1, "D": 1}
    assert (found["messages"], found["errors"], found["unknown_references"], found["refused_changes"]) == (10, 0, 0, 0)
    assert (found["first"], found["last"]) == ("00:00:00.000000001", "09:30:00.000000006")
    assert found["resting_orders"] == 3


def test_a_book_at_any_moment(day: Path) -> None:
    assert book(day, "KO") == {
        "symbol": "KO",
        "ts": "09:30:00.000000005",
        "bids": [[10.0, 220, 2]],
        "asks": [[10.03, 60, 1]],
    }
    assert book(day, "KO", "--at", "09:30:00.000000002")["asks"] == [[10.02, 50, 1]]
    assert book(day, "KO", "--at", "09:30:00")["bids"] == [[10.0, 100, 1]], "the moment itself is included"
    assert book(day, "KO", "--at", "9:29:59.999999999") == {"symbol": "KO", "ts": None, "bids": [], "asks": []}
    assert book(day, "KO", "--at", "00:00")["ts"] is None, "listed later is not unknown"
    assert book(day, "PEP") == {"symbol": "PEP", "ts": "09:30:00.000000006", "bids": [], "asks": []}
    assert book(day, "PEP", "--at", "09:30:00.000000005")["asks"] == [[20.02, 70, 1]]


def test_levels_are_best_first_and_as_many_as_asked_for(tmp_path: Path) -> None:
    prices = [10.00, 10.02, 9.98, 10.01, 9.99]
    bids = [add(OPEN + i, i + 1, "B", 10, price) for i, price in enumerate(prices)]
    asks = [add(OPEN + i, i + 11, "S", 10, price + 1) for i, price in enumerate(prices)]
    path = file_of(tmp_path, framed(directory("KO", 1), *bids, *asks))
    found = book(path, "KO", "--levels", "3")
    assert found["bids"] == [[10.02, 10, 1], [10.01, 10, 1], [10.0, 10, 1]]
    assert found["asks"] == [[10.98, 10, 1], [10.99, 10, 1], [11.0, 10, 1]]


def test_plain_gzip_and_two_gzip_members_are_one_day(day: Path, tmp_path: Path) -> None:
    data = day.read_bytes()
    zipped = file_of(tmp_path, gzip.compress(data), "day.itch.gz")
    parts = file_of(tmp_path, gzip.compress(data[:101]) + gzip.compress(data[101:]), "parts.gz")
    assert stats(day)["books_digest"] == stats(zipped)["books_digest"] == stats(parts)["books_digest"]
    assert stats(zipped)["errors"] == stats(parts)["errors"] == 0


def test_files_without_lengths_are_read_by_type(tmp_path: Path, day: Path) -> None:
    path = file_of(tmp_path, b"".join(b"\0\0" + each for each in DAY))
    assert stats(path)["books_digest"] == stats(day)["books_digest"]


def test_a_day_can_be_traded(day: Path) -> None:
    source = hx.itch(day, date="2026-01-05")
    assert source.symbols == ["KO", "PEP"]
    run = hx.Backtest(data=source, strategy=[hx.record("m", hx.mid("KO")), hx.record("p", hx.last("KO"))]).run()
    assert run.meta["events"] == 6, "KO's adds, execution, replace, cancel"
    first = run.signals["ts"].dt.convert_time_zone("America/New_York").to_list()[0]
    assert str(first).startswith("2026-01-05 09:30:00")
    assert run.signals.filter(pl.col("signal") == "p")["value"].to_list() == [10.0]


def test_the_day_is_in_the_name_or_given(day: Path, tmp_path: Path) -> None:
    named = file_of(tmp_path, day.read_bytes(), "S12302019-v50.itch")
    assert str(hx.itch(named).date) == "2019-12-30"
    assert str(hx.itch(day).date) == "1970-01-01"
    assert hx.itch(day, date="2026-07-06").midnight_ns == 1_783_310_400 * SECOND, "summer time: 04:00 UTC"
    with pytest.raises(ArgumentError, match="write it as 2026-01-05"):
        hx.itch(day, date="05.01.2026")


# ---- broken ----------------------------------------------------------------------------------------------------------


def test_a_cut_tail_is_named_and_what_was_good_is_counted(day: Path, tmp_path: Path) -> None:
    data = day.read_bytes()
    last = len(framed(DAY[-1]))
    for cut in range(1, last):
        found = stats(file_of(tmp_path, data[:-cut]))
        assert (found["messages"], found["errors"]) == (9, 1)
        (fault,) = found["faults"]  # type: ignore[misc]
        assert f"offset {len(data) - last} has {last - cut} bytes" in fault
        assert "everything before it is whole" in fault


def test_a_wrong_length_and_an_unknown_type_are_passed_over(day: Path, tmp_path: Path) -> None:
    bad = [DAY[3] + b"!", b"z" + bytes(20), b"A", DAY[4][:-2]]
    at = len(framed(*DAY[:5]))
    found = stats(file_of(tmp_path, framed(*DAY[:5], *bad, *DAY[5:])))
    assert (found["messages"], found["errors"]) == (10, 4)
    assert found["books_digest"] == stats(day)["books_digest"]
    type_fault, length_fault = found["faults"]  # type: ignore[misc]
    assert "unknown message type 'z'" in type_fault
    assert f"offset {at + 2 + 37 + 2}:" in type_fault, "behind the lengths, at the message"
    assert "skipped" in type_fault
    assert f"offset {at + 2}:" in length_fault
    assert "(and 2 more)" in length_fault


def test_an_unknown_reference_names_message_order_and_reason(day: Path, tmp_path: Path) -> None:
    extra = [
        deleted(OPEN + 7, 99),
        executed(OPEN + 8, 98, 1),
        replaced(OPEN + 9, 97, 96, 10, 9.0),
        deleted(OPEN + 10, 96),
    ]
    found = stats(file_of(tmp_path, framed(*DAY, *extra)))
    # Order 96 replaced an unknown one: that is a consequence, not a fourth order from before the file.
    assert (found["errors"], found["unknown_references"], found["refused_changes"]) == (0, 3, 1)
    note = str(found["notes"])
    assert f"offset {len(framed(*DAY)) + 2}: type D of order 99 at 09:30:00.000000007" in note
    assert "cut from a day" in note
    assert found["books_digest"] == stats(day)["books_digest"]


def test_changes_that_cannot_be_are_refused_whole(day: Path, tmp_path: Path) -> None:
    extra = [
        executed(OPEN + 7, 1, 71),  # 70 are left
        add(OPEN + 8, 1, "B", 5, 9.0),  # the number is in use
        add(OPEN + 9, 50, "B", 0, 9.0),
        add(OPEN + 9, 51, "Z", 5, 9.0),
        cancelled(OPEN + 10, 2, 10, locate=2),  # KO's order under PEP's number
    ]
    found = stats(file_of(tmp_path, framed(*DAY, *extra)))
    assert found["unknown_references"] == 0
    assert found["refused_changes"] == 5
    assert found["books_digest"] == stats(day)["books_digest"]


def test_time_that_goes_back_is_counted_and_used(tmp_path: Path) -> None:
    late = [
        directory("KO", 1),
        add(OPEN + 9, 1, "B", 10, 9.0),
        add(OPEN + 5, 2, "B", 10, 9.5),
        add(OPEN + 9, 3, "S", 1, 10),
    ]
    path = file_of(tmp_path, framed(*late))
    found = stats(path)
    assert (found["time_backwards"], found["messages"]) == (1, 4)
    assert "time goes back from 09:30:00.000000009 to 09:30:00.000000005" in str(found["notes"])
    assert f"offset {len(framed(*late[:2])) + 2}" in str(found["notes"])
    assert book(path, "KO", "--at", "09:30:00.000000005")["bids"] == [[9.5, 10, 1]]
    run = hx.Backtest(data=hx.itch(path), strategy=hx.record("b", hx.bid("KO"))).run()
    assert run.quality.rows() == [("KO", "time_backwards", 1)]
    assert run.signals["value"].to_list()[-1] == 9.5


def test_an_end_marker_ends_the_day_and_bytes_behind_it_are_reported(day: Path, tmp_path: Path) -> None:
    data = day.read_bytes()
    assert stats(file_of(tmp_path, data + b"\0\0"))["errors"] == 0
    assert stats(file_of(tmp_path, data + bytes(64)))["errors"] == 0, "zeros are padding"
    found = stats(file_of(tmp_path, framed(*DAY[:6]) + b"\0\0" + framed(*DAY[6:])))
    assert (found["messages"], found["errors"]) == (6, 1)
    assert f"stands at offset {len(framed(*DAY[:6]))}, but bytes follow it" in str(found["faults"])


def test_a_cut_and_a_damaged_archive(day: Path, tmp_path: Path) -> None:
    # Bytes that do not compress, so that a part of the archive is a part of the day.
    orders = [
        add(OPEN + i, i * 2_654_435_761 % 2**61 + 1, "B", 1 + i * 7_919 % 99, 9 + i % 100 / 100) for i in range(5_000)
    ]
    packed = gzip.compress(framed(directory("KO", 1), *orders))
    found = stats(file_of(tmp_path, packed[: len(packed) // 2]))
    assert 1_000 < int(str(found["messages"])) < 4_000
    assert found["errors"] == 1
    assert "compressed stream is damaged after offset" in str(found["faults"])
    flipped = bytearray(packed)
    flipped[-6] ^= 1  # the check sum at the end
    found = stats(file_of(tmp_path, bytes(flipped)))
    assert (found["messages"], found["errors"]) == (5_001, 1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"ts,symbol,price\n2026-01-05,KO,10\n", "truncated"),
        (b"The quick brown fox jumps over the lazy dog. " * 2_000, "truncated"),
        (gzip.compress(b""), "the file is empty"),
        (b"\x1f\x8b\x08", "compressed stream"),
        (b"\xa1\xb2\xc3\xd4" + bytes(20), "no ITCH 5.0 message"),
    ],
    ids=["empty", "csv", "text", "empty gzip", "gzip header", "empty capture"],
)
def test_a_file_of_another_sort_is_an_error_that_says_what_to_give(data: bytes, says: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, data)
    for attempt in (
        lambda: _core.itch_stats(path),
        lambda: _core.itch_book(path, "KO", None, 1),
        lambda: _core.itch_directory(path),
    ):
        with pytest.raises(_core.CoreError) as caught:
            attempt()
        source, text = caught.value.args
        assert source == str(path)
        assert says in text
        assert "Give a TotalView-ITCH 5.0 daily file" in text
    with pytest.raises(DataError, match=r"Give a TotalView-ITCH 5\.0 daily file"):
        _ = hx.itch(path).symbols


def test_a_file_without_a_directory_cannot_be_traded(tmp_path: Path) -> None:
    path = file_of(tmp_path, framed(*DAY[2:]))
    with pytest.raises(DataError, match="lists no stock before its first order"):
        hx.Backtest(data=hx.itch(path), strategy=hx.record("m", hx.mid("KO"))).run()


def test_what_is_not_there_and_what_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        hx.itch(tmp_path / "none.itch")
    for path, says in ((tmp_path, "directory"), (tmp_path / "none.itch", "No such file")):
        with pytest.raises(_core.CoreError, match=says):
            _core.itch_stats(path)


@pytest.mark.parametrize(("asked", "near"), [("K0", "KO"), ("ko", "KO"), ("PPE", "PEP"), ("PEPS", "PEP")])
def test_an_unknown_stock_names_the_near_one(day: Path, asked: str, near: str) -> None:
    with pytest.raises(_core.CoreError) as caught:
        _core.itch_book(day, asked, None, 5)
    assert f"no stock {asked!r}".replace("'", '"') in caught.value.args[1]
    assert f"near ones: {near}" in caught.value.args[1]


def test_a_fault_of_the_file_is_a_warning_of_the_run(day: Path, tmp_path: Path) -> None:
    path = file_of(tmp_path, day.read_bytes()[:-3])
    run = hx.Backtest(data=hx.itch(path, date="2026-01-05"), strategy=hx.record("m", hx.mid("KO"))).run()
    whole = hx.Backtest(data=hx.itch(day, date="2026-01-05"), strategy=hx.record("m", hx.mid("KO"))).run()
    (warning,) = run.meta["warnings"]
    assert str(path) in warning
    assert "truncated" in warning
    assert run.meta["digest"] == whole.meta["digest"], "only PEP's last message is lost"


# ---- real files ------------------------------------------------------------------------------------------------------


@real
def test_the_prefix_of_a_real_day() -> None:
    found = stats(PREFIX)
    assert found["counts"] == {
        "R": 8906,
        "H": 8897,
        "Y": 8893,
        "L": 215036,
        "A": 5609,
        "F": 36,
        "D": 2658,
        "U": 331,
        "X": 1453,
        "E": 13,
        "P": 3,
        "S": 2,
    }
    assert found["messages"] == 251_837
    assert (found["errors"], found["unknown_references"], found["refused_changes"], found["time_backwards"]) == (
        0,
        0,
        0,
        0,
    )
    assert str(found["first"]).startswith("03:04:")
    assert str(found["last"]).startswith("04:00:")


@real
def test_the_digest_of_all_books_repeats_packed_and_unpacked(tmp_path: Path) -> None:
    with gzip.open(PREFIX) as packed:
        plain = file_of(tmp_path, packed.read())
    digests = {stats(path)["books_digest"] for path in (PREFIX, PREFIX, plain)}
    assert len(digests) == 1
    # And it is a digest of the books: one order more is another one.
    with plain.open("ab") as file:
        file.write(framed(add(OPEN, 2**60, "B", 1, 1.0)))
    assert stats(plain)["books_digest"] not in digests


@real
def test_a_snippet_refers_to_what_was_before_it() -> None:
    found = stats(SNIPPET)
    assert (found["messages"], found["errors"], found["unknown_references"]) == (1_000, 0, 394)
    assert "order" in str(found["notes"])


@real
def test_a_truncated_real_file() -> None:
    found = stats(FIRST101)
    assert (found["messages"], found["errors"]) == (101, 1)
    assert "offset 4081 has 15 bytes" in str(found["faults"])


@real
def test_real_files_with_zero_lengths() -> None:
    for name, messages in (("ex20101224.TEST_ITCH_50", 12_012), ("t_TenMessage.itch", 10)):
        found = stats(ZERO_PREFIX / name)
        assert (found["messages"], found["errors"]) == (messages, 0)


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="needs ../shared/conformance, which is not there")
def test_captures_of_multicast_packets() -> None:
    found = {}
    for path in sorted(CAPTURES.glob("*TotalView.Itch.v5.0*/*.pcap")):
        counted = stats(path)
        found[f"{path.parent.name}/{path.stem}"] = counted["counts"]
        assert int(str(counted["messages"])) >= 1
    assert len(found) >= 30
    adds = {name: counts for name, counts in found.items() if "AddOrderNoMpid" in name}
    assert adds
    assert all(isinstance(counts, dict) and counts.get("A", 0) > 0 for counts in adds.values())


@pytest.mark.skipif(not LOBSTER.is_file(), reason="needs ../shared/data/lobster, which is not there")
def test_lobster_agrees_with_its_answer_key_after_every_event() -> None:
    result = CliRunner().invoke(app, ["lobster", "check", str(LOBSTER), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["checked"], found["agree"], found["skipped"]) == (147_915, 147_915, 1)


# ---- real books against plain Python ---------------------------------------------------------------------------------


class PlainBook:
    """Orders of one stock in dictionaries; slow, and nothing to get wrong."""

    def __init__(self) -> None:
        self.orders: dict[int, tuple[str, int, int]] = {}

    def apply(self, m: bytes) -> None:
        kind, order = chr(m[0]), int.from_bytes(m[11:19])
        if kind in "AF":
            self.orders[order] = (chr(m[19]), int.from_bytes(m[20:24]), int.from_bytes(m[32:36]))
        elif kind in "EC" or kind == "X":
            side, shares, price = self.orders.pop(order)
            left = shares - int.from_bytes(m[19:23])
            assert left >= 0
            if left:
                self.orders[order] = (side, left, price)
        elif kind == "D":
            del self.orders[order]
        elif kind == "U":
            side, _, _ = self.orders.pop(order)
            self.orders[int.from_bytes(m[19:27])] = (side, int.from_bytes(m[27:31]), int.from_bytes(m[31:35]))

    def levels(self, side: str) -> list[list[float]]:
        found: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        for its_side, shares, price in self.orders.values():
            if its_side == side:
                found[price][0] += shares
                found[price][1] += 1
        return [[price / 10_000, *found[price]] for price in sorted(found, reverse=side == "B")]


@cache
def prefix_messages() -> list[bytes]:
    """Messages about orders, and the directory."""
    with gzip.open(PREFIX) as file:
        data = file.read()
    return [m for m in _cut(data) if chr(m[0]) in "RAFECXDU"]


def _cut(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2])
        yield data[at + 2 : end]
        at = end


@real
def test_books_of_a_real_day_are_those_of_plain_python() -> None:
    messages = prefix_messages()
    names = {int.from_bytes(m[1:3]): m[11:19].decode().strip() for m in messages if m[0] == ord("R")}
    busy: dict[int, list[bytes]] = defaultdict(list)
    for m in messages:
        if m[0] != ord("R"):
            busy[int.from_bytes(m[1:3])].append(m)
    # The busiest stocks, and one of each kind of change.
    chosen = sorted(busy, key=lambda locate: -len(busy[locate]))[:4]
    for kind in "XUE":
        chosen.append(next(locate for locate in busy if any(chr(m[0]) == kind for m in busy[locate])))
    for locate in dict.fromkeys(chosen):
        its, plain, done = busy[locate], PlainBook(), 0
        for part in (0, 3, 10, 100):
            upto = len(its) - 1 if part == 100 else len(its) * part // 10
            moment = int.from_bytes(its[min(upto, len(its) - 1)][5:11])
            while done < len(its) and int.from_bytes(its[done][5:11]) <= moment:
                plain.apply(its[done])
                done += 1
            clock = f"{moment // 3600 // SECOND:02}:{moment // 60 // SECOND % 60:02}:{moment // SECOND % 60:02}"
            found = book(PREFIX, names[locate], "--levels", "100000", "--at", f"{clock}.{moment % SECOND:09}")
            assert found["bids"] == plain.levels("B"), (names[locate], clock)
            assert found["asks"] == plain.levels("S"), (names[locate], clock)
            assert found["ts"] == f"{clock}.{moment % SECOND:09}"
