"""Bars, quotes and trades from tables: the same numbers from every kind of source, and one clear error per fault."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from helios.data import ColumnSource, bars, quotes, trades
from helios.data.columns import fixed_point, local_to_utc, shortest_decimal
from helios.errors import ArgumentError, DataError
from hypothesis import given, settings
from hypothesis import strategies as st

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
MINUTE = 60_000_000_000
NINE_THIRTY = 1_518_791_400_000_000_000  # 2018-02-16 14:30 UTC, 09:30 in New York
UNDEFINED = 2**63 - 1

BARS = pl.DataFrame(
    {
        "ts": [datetime(2018, 2, 16, 14, 30 + i // 2) for i in range(6)],
        "symbol": ["PEP", "KO"] * 3,
        "open": [110.0, 44.25, 110.5, 44.5, 111.0, 44.0],
        "high": [110.5, 44.75, 111.0, 44.5, 111.25, 44.1],
        "low": [109.5, 44.0, 110.0, 44.25, 110.75, 43.9],
        "close": [110.25, 44.5, 110.75, 44.3, 111.0, 44.0],
        "volume": [100, 2_000, 50, 0, 75, 10],
    }
)
QUOTES = pl.DataFrame(
    {
        "ts": [datetime(2018, 2, 16, 14, 30, i) for i in range(4)],
        "symbol": ["KO"] * 4,
        "bid": [44.0, 44.1, None, 44.0],
        "bid_size": [100, 200, None, 1],
        "ask": [44.1, 44.1, 44.2, 0.0],
        "ask_size": [300, 300, 5, 0],
    }
)
TRADES = pl.DataFrame(
    {
        "ts": [datetime(2018, 2, 16, 14, 30, i) for i in range(3)],
        "symbol": ["KO"] * 3,
        "price": [44.0, 44.1, 44.05],
        "size": [100.0, 0.5, 7.0],
        "aggressor": ["buy", "S", None],
    }
)


def read(source: ColumnSource, ids: dict[str, int] | None = None, **options: int) -> dict[str, list[int]]:
    """The whole stream as lists; checks what every batch promises."""
    ids = {symbol: i for i, symbol in enumerate(source.symbols)} if ids is None else ids
    columns: dict[str, list[int]] = {}
    latest = 0
    for batch in source.batches(ids, **options):
        assert {column.size for column in batch.values()} == {batch["ts"].size}
        assert 0 < batch["ts"].size <= options.get("size", 262_144)
        assert all(column.flags.c_contiguous for column in batch.values())
        assert {name: column.dtype for name, column in batch.items()} == {
            name: np.dtype(np.uint32 if name == "instrument" else np.int64) for name in batch
        }
        assert batch["ts"][0] >= latest
        assert (np.diff(batch["ts"]) >= 0).all()
        latest = int(batch["ts"][-1])
        for name, column in batch.items():
            columns.setdefault(name, []).extend(column.tolist())
    return columns


def changed(frame: pl.DataFrame, row: int, column: str, value: object) -> pl.DataFrame:
    """A copy with one value changed."""
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, dtype=frame[column].dtype, strict=False))


# ---- every kind of source says the same ------------------------------------------------------------------------------


def as_parquet(frame: pl.DataFrame, folder: Path) -> object:
    frame.write_parquet(folder / "a.parquet", row_group_size=2)
    return folder / "a.parquet"


def as_csv(frame: pl.DataFrame, folder: Path) -> object:
    frame.write_csv(folder / "a.csv")
    return str(folder / "a.csv")


def as_csv_gz(frame: pl.DataFrame, folder: Path) -> object:
    (folder / "a.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    return folder / "a.csv.gz"


def as_two_files(frame: pl.DataFrame, folder: Path) -> object:
    frame.head(2).write_parquet(folder / "day1.parquet")
    frame.tail(-2).write_csv(folder / "day2.csv")
    return [folder / "day1.parquet", folder / "day2.csv"]


def as_glob(frame: pl.DataFrame, folder: Path) -> object:
    frame.head(2).write_parquet(folder / "day1.parquet")
    frame.tail(-2).write_parquet(folder / "day2.parquet")
    return str(folder / "day*.parquet")


def as_pandas(frame: pl.DataFrame, _: Path) -> object:
    pytest.importorskip("pandas")
    return frame.to_pandas()


def as_pandas_index(frame: pl.DataFrame, _: Path) -> object:
    pytest.importorskip("pandas")
    return frame.to_pandas().set_index("ts").rename_axis(index=None)


def as_arrow(frame: pl.DataFrame, _: Path) -> object:
    pytest.importorskip("pyarrow")
    return frame.to_arrow()


def as_arrow_reader(frame: pl.DataFrame, _: Path) -> object:
    pytest.importorskip("pyarrow")
    return frame.to_arrow().to_reader(max_chunksize=2)


def as_frame(frame: pl.DataFrame, _: Path) -> object:
    return frame


def as_lazy_frame(frame: pl.DataFrame, _: Path) -> object:
    return frame.lazy()


def as_categorical(frame: pl.DataFrame, _: Path) -> object:
    return frame.with_columns(pl.col("symbol").cast(pl.Categorical))


def as_utc(frame: pl.DataFrame, _: Path) -> object:
    return frame.with_columns(pl.col("ts").dt.replace_time_zone("UTC"))


Build = Callable[[pl.DataFrame, Path], object]
FRAMES: list[Build] = [as_frame, as_lazy_frame, as_categorical, as_utc]
FILES: list[Build] = [as_parquet, as_csv, as_csv_gz, as_two_files, as_glob]
OTHERS: list[Build] = [as_pandas, as_pandas_index, as_arrow, as_arrow_reader]


@pytest.mark.parametrize("build", [*FRAMES, *FILES, *OTHERS])
def test_every_kind_of_source_gives_the_same_bars(build: Build, tmp_path: Path) -> None:
    source = bars(build(BARS, tmp_path), span="1m")
    assert source.schema == "bars"
    assert source.symbols == ["KO", "PEP"]
    assert source.rows in (6, None)
    assert read(source) == {
        "ts": [NINE_THIRTY + i // 2 * MINUTE for i in range(6)],
        "instrument": [1, 0] * 3,
        "open": [110_000000000, 44_250000000, 110_500000000, 44_500000000, 111_000000000, 44_000000000],
        "high": [110_500000000, 44_750000000, 111_000000000, 44_500000000, 111_250000000, 44_100000000],
        "low": [109_500000000, 44_000000000, 110_000000000, 44_250000000, 110_750000000, 43_900000000],
        "close": [110_250000000, 44_500000000, 110_750000000, 44_300000000, 111_000000000, 44_000000000],
        "volume": [100_00000000, 2000_00000000, 50_00000000, 0, 75_00000000, 10_00000000],
        "span": [MINUTE] * 6,
    }
    assert read(source) == read(source, size=2), "a source can be read again, in batches of any size"


@pytest.mark.parametrize("build", [as_frame, as_parquet, as_csv, as_pandas, as_arrow])
def test_every_kind_of_source_gives_the_same_quotes(build: Build, tmp_path: Path) -> None:
    source = quotes(build(QUOTES, tmp_path))
    assert source.schema == "quotes"
    columns = read(source)
    assert columns["bid"] == [44_000000000, 44_100000000, UNDEFINED, 44_000000000]
    assert columns["bid_size"] == [100_00000000, 200_00000000, 0, 1_00000000]
    assert columns["ask"] == [44_100000000, 44_100000000, 44_200000000, UNDEFINED]
    assert columns["ask_size"] == [300_00000000, 300_00000000, 5_00000000, 0]


@pytest.mark.parametrize("build", [as_frame, as_parquet, as_csv, as_pandas, as_arrow])
def test_every_kind_of_source_gives_the_same_trades(build: Build, tmp_path: Path) -> None:
    source = trades(build(TRADES, tmp_path))
    assert source.schema == "trades"
    columns = read(source)
    assert columns["price"] == [44_000000000, 44_100000000, 44_050000000]
    assert columns["size"] == [100_00000000, 50000000, 7_00000000]
    assert columns["aggressor"] == [1, 2, 0]


def test_trades_need_no_aggressor() -> None:
    assert read(trades(TRADES.drop("aggressor")))["aggressor"] == [0, 0, 0]
    signed = TRADES.with_columns(aggressor=pl.Series([1, -1, 0]))
    assert read(trades(signed))["aggressor"] == [1, 2, 0]
    assert read(trades(signed, aggressor=None))["aggressor"] == [0, 0, 0]


def test_importing_the_package_does_not_import_optional_libraries() -> None:
    code = "import sys, helios.data; print(sorted({'pandas', 'pyarrow'} & set(sys.modules)))"
    path = str(Path(__file__).resolve().parents[2] / "python")
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


# ---- columns and symbols ---------------------------------------------------------------------------------------------


def test_usual_names_are_found() -> None:
    frame = BARS.rename(
        {"ts": "Date Time", "symbol": "Ticker", "open": "OPEN", "high": "High", "low": "Low", "close": "Close"}
    )
    assert read(bars(frame)) == read(bars(BARS))
    there = QUOTES.rename({"bid": "Bid_Price", "ask": "askPrice", "bid_size": "BidQty", "ask_size": "ask quantity"})
    assert read(quotes(there)) == read(quotes(QUOTES))


def test_named_columns_are_used() -> None:
    frame = BARS.with_columns(adjusted=pl.col("close") - 0.01)
    assert read(bars(frame, close="adjusted"))["close"][0] == 110_240000000
    assert read(bars(frame))["close"][0] == 110_250000000


def test_a_missing_column_is_named_with_the_nearest() -> None:
    with pytest.raises(DataError) as caught:
        bars(BARS.rename({"close": "closing", "volume": "traded"}))
    text = str(caught.value)
    assert "no column for 'close', 'volume'" in text
    assert "there are 'ts', 'symbol', 'open', 'high', 'low', 'closing', 'traded'" in text
    assert "close='closing'" in text


def test_a_column_of_the_wrong_type_is_refused_at_once() -> None:
    with pytest.raises(DataError, match=r"column 'high'.*not a number"):
        bars(BARS.with_columns(high=pl.col("ts")))


def test_symbols_come_from_file_names(tmp_path: Path) -> None:
    for symbol in ("KO", "PEP"):
        BARS.filter(pl.col("symbol") == symbol).drop("symbol").write_csv(tmp_path / f"{symbol}.csv")
    source = bars(str(tmp_path / "*.csv"), symbol=None, sort=True)
    assert source.symbols == ["KO", "PEP"]
    together = bars(BARS.sort("ts", "symbol"))
    assert read(source) == read(together)


def test_one_symbol_can_be_given() -> None:
    frame = BARS.filter(pl.col("symbol") == "KO")
    source = bars(frame.drop("symbol"), symbol_is="KO")
    assert source.symbols == ["KO"]
    assert read(source) == read(bars(frame))
    with pytest.raises(ArgumentError, match="symbol_is"):
        bars(frame, symbol=None)


def test_ids_choose_symbols_and_the_others_are_not_checked() -> None:
    frame = changed(BARS, 2, "close", -1.0)  # a PEP row
    columns = read(bars(frame), {"KO": 7, "elsewhere": 8})
    assert columns["instrument"] == [7, 7, 7]
    assert columns["close"] == [44_500000000, 44_300000000, 44_000000000]
    assert read(bars(BARS), {}) == {}


def test_whole_number_symbols_are_text() -> None:
    frame = BARS.with_columns(symbol=pl.Series([7, 3] * 3))
    source = bars(frame)
    assert source.symbols == ["3", "7"]
    assert read(source)["instrument"] == [1, 0] * 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bars(BARS, label="middle"), "label"),  # type: ignore[arg-type]
        (lambda: bars(BARS, on_error="warn"), "on_error"),  # type: ignore[arg-type]
        (lambda: bars(BARS, span="1 minute"), "span"),
        (lambda: bars(BARS, span="0m"), "span"),
        (lambda: bars(BARS, tz="New York"), "no time zone"),
        (lambda: bars(BARS, ts_unit="minutes"), "ts_unit"),
        (lambda: bars(BARS, price_unit=1e-12), "price_unit"),
        (lambda: bars(3), "cannot read int"),
        (lambda: bars([]), "list of files is empty"),
        (lambda: bars(BARS).batches({"KO": -1}), "instrument number"),
        (lambda: bars(BARS).batches({}, size=0), "at least one row"),
    ],
)
def test_wrong_calls_are_refused_at_once(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


# ---- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamps", "options"),
    [
        (["2018-02-16 14:30:00", "2018-02-16 14:31:00"], {}),
        (["2018-02-16T14:30:00Z", "2018-02-16T09:31:00-05:00"], {}),
        (["2018-02-16 14:30", "2018-02-16 14:31"], {}),
        (["2018-02-16T14:30:00.000000000", " 2018-02-16T14:31:00.0 "], {}),
        (["20180216 14:30:00", "20180216 14:31:00"], {}),
        (["2018-02-16 09:30:00", "2018-02-16 09:31:00"], {"tz": "America/New_York"}),
        ([1518791400, 1518791460], {"ts_unit": "s"}),
        ([1518791400.0, 1518791460.0], {"ts_unit": "s"}),
        (["1518791400", "1518791460"], {"ts_unit": "s"}),
        ([1518791400000, 1518791460000], {"ts_unit": "ms"}),
        ([1518791400000000, 1518791460000000], {"ts_unit": "us"}),
        ([1518791400000000000, 1518791460000000000], {"ts_unit": "ns"}),
        (["1518791400000000000", "1518791460000000000"], {"ts_unit": "ns"}),
    ],
)
def test_times_are_read(stamps: list[Any], options: dict[str, str]) -> None:
    frame = BARS[[0, 2]].with_columns(ts=pl.Series(stamps))
    assert read(bars(frame, **options))["ts"] == [NINE_THIRTY, NINE_THIRTY + MINUTE]  # type: ignore[arg-type]


def test_nanoseconds_are_kept() -> None:
    frame = TRADES.with_columns(ts=pl.Series([f"2018-02-16 14:30:00.00000000{i}" for i in (1, 2, 3)]))
    assert read(trades(frame))["ts"] == [NINE_THIRTY + i for i in (1, 2, 3)]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_datetimes_of_any_unit(unit: str) -> None:
    frame = BARS.with_columns(pl.col("ts").cast(pl.Datetime(unit)))  # type: ignore[arg-type]
    assert read(bars(frame)) == read(bars(BARS))


def test_bars_labelled_by_their_start_end_later() -> None:
    assert read(bars(BARS, label="start"))["ts"][0] == NINE_THIRTY + MINUTE
    assert read(bars(BARS, label="start", span="5m"))["ts"][0] == NINE_THIRTY + 5 * MINUTE
    assert read(bars(BARS, span=timedelta(seconds=30)))["span"][0] == MINUTE // 2


def test_the_span_is_the_most_frequent_step() -> None:
    gap = pl.concat([BARS, BARS.with_columns(pl.col("ts") + pl.duration(hours=18))])
    assert read(bars(gap))["span"] == [MINUTE] * 12
    with pytest.raises(DataError, match="Pass span"):
        bars(BARS.head(2))


def test_days_end_at_the_close_or_at_midnight() -> None:
    days = [date(2018, 3, 9), date(2018, 3, 12), date(2018, 3, 13)]  # New York's clocks change on the 11th
    frame = BARS[[0, 2, 4]].with_columns(ts=pl.Series(days))

    def ends(hours: list[int]) -> list[int]:
        midnights = [int(datetime(d.year, d.month, d.day, tzinfo=ZoneInfo("UTC")).timestamp()) for d in days]
        return [(m + h * 3600) * 1_000_000_000 for m, h in zip(midnights, hours, strict=True)]

    assert read(bars(frame, span="1d"))["ts"] == ends([24, 24, 24])
    assert read(bars(frame, span="1d", tz="America/New_York"))["ts"] == ends([21, 20, 20])
    text = frame.with_columns(pl.col("ts").cast(pl.String))
    assert read(bars(text, span="1d", label="start"))["ts"] == ends([24, 24, 24])
    with pytest.raises(DataError, match="days without a time"):
        trades(TRADES.with_columns(ts=pl.Series(days)))


@pytest.mark.parametrize(
    ("stamps", "hint"),
    [
        ([1518791400, 1518791460], "seconds: pass ts_unit='s'"),
        ([1518791400000, 1518791460000], "milliseconds: pass ts_unit='ms'"),
        (["1518791400000000", "1518791460000000"], "microseconds: pass ts_unit='us'"),
        ([1518791400000000000, 1518791460000000000], "nanoseconds: pass ts_unit='ns'"),
        ([20180216, 20180217], "YYYYMMDD"),
    ],
)
def test_bare_numbers_are_never_guessed(stamps: list[Any], hint: str) -> None:
    with pytest.raises(DataError, match=hint):
        bars(BARS[[0, 2]].with_columns(ts=pl.Series(stamps)))


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_a_wrong_unit_of_time_is_found_at_the_first_row(unit: str) -> None:
    source = bars(BARS[[0, 2]].with_columns(ts=pl.Series([1518791400000, 1518791460000])), ts_unit=unit, span="1m")
    with pytest.raises(DataError, match=r"row 0, column 'ts': 1518791400000.*pass ts_unit='ms'"):
        read(source)


def test_text_that_is_no_time_is_refused() -> None:
    with pytest.raises(DataError, match="'half past nine' is in no known form of time"):
        bars(BARS[[0, 2]].with_columns(ts=pl.Series(["half past nine", "ten"])))
    frame = BARS[[0, 2, 4]].with_columns(ts=pl.Series(["2018-02-16 14:30:00", "2018-02-16 14:31:00", "late"]))
    with pytest.raises(DataError, match=r"row 2, column 'ts': late: no usable time"):
        read(bars(frame))


@pytest.mark.parametrize("moment", [datetime(2018, 3, 11, 2, 30), datetime(2018, 11, 4, 1, 30)])
def test_local_times_that_never_were_or_were_twice_are_errors(moment: datetime) -> None:
    frame = BARS[[0, 2]].with_columns(ts=pl.Series([moment - timedelta(hours=3), moment]))
    with pytest.raises(DataError, match=r"row 1.*may not exist, or exist twice, in America/New_York"):
        read(bars(frame, tz="America/New_York", span="1m"))


@given(
    st.lists(st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1)), min_size=1, max_size=20),
    st.sampled_from(["America/New_York", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe", "Asia/Tokyo"]),
)
def test_local_times_agree_with_the_standard_library(moments: list[datetime], tz: str) -> None:
    zone, epoch = ZoneInfo(tz), datetime(1970, 1, 1)
    local = np.array([(m - epoch) // timedelta(microseconds=1) * 1000 for m in moments], dtype=np.int64)
    utc, undefined = local_to_utc(local, tz)
    for moment, ours, bad in zip(moments, utc.tolist(), undefined.tolist(), strict=True):
        first, second = (moment.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
        assert bad == (first != second)
        if not bad:
            assert first is not None
            assert ours == (moment - first - epoch) // timedelta(microseconds=1) * 1000


# ---- time order ------------------------------------------------------------------------------------------------------


def test_going_back_in_time_is_an_error_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "grouped.parquet"
    BARS.sort("symbol", "ts").write_parquet(path)
    with pytest.raises(DataError, match=r"grouped.parquet, row 3, column 'ts': time goes back.*sort=True") as caught:
        read(bars(path))
    assert (caught.value.row, caught.value.good_rows) == (3, 3)
    assert read(bars(path, sort=True)) == read(bars(BARS.sort("ts", "symbol")))


def test_going_back_between_files_is_found(tmp_path: Path) -> None:
    BARS.tail(2).write_csv(tmp_path / "1.csv")
    BARS.head(4).write_csv(tmp_path / "2.csv")
    with pytest.raises(DataError, match=r"2.csv, row 0, column 'ts': time goes back"):
        read(bars(str(tmp_path / "*.csv"), span="1m"))


def test_single_stragglers_can_be_skipped_but_not_a_wrong_order() -> None:
    many = pl.concat([TRADES.with_columns(pl.col("ts") + pl.duration(seconds=10 * i)) for i in range(500)])
    source = trades(changed(many, 700, "ts", datetime(2018, 2, 16)), on_error="skip")
    assert len(read(source)["ts"]) == 1499
    assert {reason: (s.count, s.first_row) for reason, s in source.skipped.items()} == {
        "ts: goes back in time": (1, 700)
    }
    with pytest.raises(DataError, match="sort=True"):
        read(trades(many.reverse(), on_error="skip"))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), st.integers(1, 70))
def test_sorting_is_stable_and_does_not_depend_on_the_batch(seconds: list[int], size: int) -> None:
    frame = pl.DataFrame(
        {
            "ts": [datetime(2018, 2, 16, 14, 30) + timedelta(seconds=s) for s in seconds],
            "price": [float(i + 1) for i in range(len(seconds))],  # the row's number
            "size": [1] * len(seconds),
        }
    )
    columns = read(trades(frame, symbol_is="KO", sort=True), size=size)
    expected = sorted(range(len(seconds)), key=lambda i: seconds[i])
    assert columns["price"] == [(i + 1) * 1_000_000_000 for i in expected]


# ---- values ----------------------------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")
FAULTS: list[tuple[Any, pl.DataFrame, int, str, Any, str]] = [
    (bars, BARS, 3, "open", NAN, "missing or not a number"),
    (bars, BARS, 3, "close", None, "missing or not a number"),
    (bars, BARS, 3, "high", INF, "too large for 64 bits"),
    (bars, BARS, 3, "high", 1e10, "too large for 64 bits"),
    (bars, BARS, 3, "low", -1.0, "price is not positive"),
    (bars, BARS, 3, "low", 0.0, "price is not positive"),
    (bars, BARS, 3, "high", 44.0, "high is below low"),
    (bars, BARS, 3, "open", 44.51, "open is outside low .. high"),
    (bars, BARS, 3, "close", 44.24, "close is outside low .. high"),
    (bars, BARS, 3, "volume", -5, "volume is negative"),
    (bars, BARS, 3, "volume", 100_000_000_000, "too large for 64 bits"),
    (bars, BARS, 3, "ts", None, "no usable time"),
    (bars, BARS, 3, "symbol", None, "no symbol"),
    (quotes, QUOTES, 1, "bid", 44.11, "bid is above ask"),
    (quotes, QUOTES, 1, "bid", -1.0, "price is not positive"),
    (quotes, QUOTES, 1, "ask", None, "missing or not a number, but its size is not zero"),
    (quotes, QUOTES, 1, "ask", NAN, "missing or not a number, but its size is not zero"),
    (quotes, QUOTES, 1, "bid_size", 0, "size is not positive"),
    (quotes, QUOTES, 1, "ask_size", -1, "size is not positive"),
    (quotes, QUOTES, 1, "ask_size", None, "missing or not a number, but its price is not"),
    (trades, TRADES, 1, "price", -44.0, "price is not positive"),
    (trades, TRADES, 1, "size", 0.0, "size is not positive"),
    (trades, TRADES, 1, "size", -INF, "too large for 64 bits"),
    (trades, TRADES, 1, "aggressor", "maybe", "is neither buy, sell nor none"),
]


@pytest.mark.parametrize(("function", "good", "row", "column", "value", "reason"), FAULTS)
def test_a_bad_value_is_named_by_row_and_column(
    function: Any, good: pl.DataFrame, row: int, column: str, value: Any, reason: str
) -> None:
    frame = changed(good, row, column, value)
    expected = read(function(good))
    source, got = function(frame), 0
    ids = {symbol: i for i, symbol in enumerate(source.symbols)}
    with pytest.raises(DataError) as caught:
        for batch in source.batches(ids):
            for name, values in batch.items():
                assert values.tolist() == expected[name][: values.size], "what was good before is delivered"
            got += batch["ts"].size
    assert got == row
    error = caught.value
    assert (error.source, error.row, error.column, error.good_rows) == ("DataFrame", row, column, row)
    assert reason in error.message
    assert "on_error='skip'" in str(error)

    lenient = function(frame, on_error="skip")
    kept = read(lenient)
    for name, values in expected.items():
        assert kept[name] == values[:row] + values[row + 1 :]
    assert [(s.count, s.first_row) for s in lenient.skipped.values()] == [(1, row)]
    assert reason in next(iter(lenient.skipped))


def test_text_that_is_no_number_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(BARS.write_csv().replace("110.75,50", "N/A,50"))
    with pytest.raises(DataError, match=r"a.csv, row 2, column 'close': N/A: missing or not a number \(2 rows before"):
        read(bars(path))


def test_skipped_rows_are_counted_by_reason_over_files(tmp_path: Path) -> None:
    bad = changed(changed(BARS, 1, "close", NAN), 4, "close", None)
    bad.write_parquet(tmp_path / "1.parquet")
    later = changed(BARS, 0, "low", 200.0).with_columns(pl.col("ts") + pl.duration(days=1))
    later.write_parquet(tmp_path / "2.parquet")
    source = bars(str(tmp_path / "*.parquet"), on_error="skip")
    for _ in range(2):
        assert len(read(source, size=2)["ts"]) == 9
        assert {reason: (s.count, Path(s.source).name, s.first_row) for reason, s in source.skipped.items()} == {
            "close: missing or not a number": (2, "1.parquet", 1),
            "high: high is below low": (1, "2.parquet", 0),
        }


def test_prices_in_small_steps_are_found_and_can_be_declared() -> None:
    prices = ["open", "high", "low", "close"]
    steps = BARS.with_columns((pl.col(prices) * 1_000_000).round().cast(pl.Int64))
    with pytest.raises(DataError, match=r"median price is .*price_unit=1e-4"):
        read(bars(steps))
    assert read(bars(steps, price_unit=1e-6)) == read(bars(BARS))
    assert read(bars(steps.with_columns(pl.col(prices).cast(pl.Float64)), price_unit=1e-6)) == read(bars(BARS))
    assert read(bars(steps, price_unit=1))["close"][0] == 110_250_000 * 1_000_000_000


def test_decimal_and_small_integer_columns() -> None:
    frame = BARS.with_columns(pl.col("close").cast(pl.Decimal(12, 4)), pl.col("volume").cast(pl.UInt16))
    assert read(bars(frame)) == read(bars(BARS))


@given(st.decimals(Decimal("0.0001"), Decimal("99999.9999"), places=4))
def test_decimals_with_four_places_survive_floats(price: Decimal) -> None:
    exact = int(price * 1_000_000_000)
    double, _, _ = fixed_point(pl.Series([float(price)]), 1_000_000_000)
    assert double.tolist() == [exact]
    text, _, _ = fixed_point(pl.Series([str(price)]), 1_000_000_000)
    assert text.tolist() == [exact]


@given(st.integers(1, 999_999), st.integers(0, 4))
def test_six_digits_survive_float32(digits: int, places: int) -> None:
    single = pl.Series([digits / 10**places], dtype=pl.Float32)
    values, _, _ = fixed_point(single, 1_000_000_000)
    assert values.tolist() == [digits * 10 ** (9 - places)]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_shortest_decimals_round_to_the_same_float32(values: list[float]) -> None:
    singles = np.array(values, dtype=np.float32)
    decimals = shortest_decimal(singles)
    tiny = np.abs(singles) < 1e-2  # nine digits after the point do not tell these apart, and prices have no more
    assert (decimals.astype(np.float32) == singles)[~tiny].all()
    assert (np.abs(decimals - singles)[tiny] <= 1e-9).all()


@given(st.floats(-9e6, 9e6, allow_nan=False))
def test_rounding_is_half_away_from_zero(value: float) -> None:
    # Two places keep the product exact enough for the decimal of the double to decide.
    values, _, _ = fixed_point(pl.Series([value]), 1)
    assert values.tolist() == [int(Decimal(value).quantize(Decimal(1), rounding=ROUND_HALF_UP))]


@given(st.integers(-(2**63), 2**64 - 1), st.sampled_from([1, 10**8, 10**9]))
def test_integers_are_exact_or_refused(value: int, factor: int) -> None:
    dtype = pl.Int64 if value < 2**63 else pl.UInt64
    values, missing, unfit = fixed_point(pl.Series([value], dtype=dtype), factor)
    assert not missing[0]
    assert unfit[0] == (abs(value * factor) > 2**63 - 1)
    assert values.tolist() == [0 if unfit[0] else value * factor]


# ---- files that are not what they should be --------------------------------------------------------------------------


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    whole = gzip.compress(BARS.write_csv().encode())
    files: dict[str, tuple[bytes, str]] = {
        "damaged.parquet": (b"PAR1 and nothing else", "cannot be read"),
        "empty.csv": (b"", "cannot be read"),
        "cut.csv.gz": (whole[: len(whole) // 2], "cannot be read"),
        "notes.txt": (b"hello", "kind is not known"),
    }
    for name, (content, message) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message) as caught:
            read(bars(tmp_path / name, span="1m"))
        assert Path(caught.value.source or "").name == name


def test_missing_files_are_named(tmp_path: Path) -> None:
    for path, message in [("a.parquet", "no such file"), ("*.parquet", "no file matches"), ("", "is a folder")]:
        with pytest.raises(DataError, match=message):
            bars(str(tmp_path / path) if path else tmp_path)


def test_a_row_with_too_many_cells_is_named(tmp_path: Path) -> None:
    lines = BARS.write_csv().splitlines()
    lines[4] += ",1,2"
    path = tmp_path / "ragged.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"ragged.csv, row 3: .*more cells than the header"):
        read(bars(path, span="1m"))


def test_a_cut_last_row_is_an_error_after_the_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "cut.csv"
    path.write_text(BARS.write_csv()[:-20])
    with pytest.raises(DataError, match=r"row 5, column '\w+': .*\(5 rows before it were good\)"):
        read(bars(path, span="1m"))


# ---- real data -------------------------------------------------------------------------------------------------------


def test_minute_bars_of_184_stocks() -> None:
    path = SHARED / "data/us_minute_2018/sp500_minute_2018-02-16_2018-04-20.parquet"
    if not path.exists():
        pytest.skip("../shared/data/us_minute_2018 is not there")
    source = bars(path, tz="America/New_York", sort=True)
    assert source.rows == 3_142_056
    assert len(source.symbols) == 184
    ids = {symbol: i for i, symbol in enumerate(source.symbols)}
    rows = 0
    volume = np.zeros(184, dtype=np.int64)
    for batch in source.batches(ids):
        if rows == 0:
            assert batch["ts"][0] == NINE_THIRTY
            assert set(batch["span"].tolist()) == {MINUTE}
        rows += batch["ts"].size
        np.add.at(volume, batch["instrument"], batch["volume"] // 100_000_000)
        last = batch
    assert rows == 3_142_056
    assert last["ts"][-1] == int(datetime(2018, 4, 20, 20, tzinfo=ZoneInfo("UTC")).timestamp()) * 1_000_000_000
    table = pl.read_parquet(path)
    expected = table.group_by(pl.col("ticker").cast(pl.String)).agg(pl.col("volume").cast(pl.Int64).sum())
    assert dict(expected.iter_rows()) == dict(zip(source.symbols, volume.tolist(), strict=True))
    # float32 51.8 is 51.79999923706055; the bar says 51.8
    aal = next(source.batches({"AAL": 0}))
    assert aal["open"][:2].tolist() == [51_800000000, 51_740000000]
    with pytest.raises(DataError, match=r"row 17193, column 'ts': time goes back"):
        read(bars(path, tz="America/New_York"))
