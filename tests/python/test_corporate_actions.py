"""Splits, dividends, symbols and lists by date: by hand, and against LEAN's factors and Yahoo's adjusted closes."""

from __future__ import annotations

import bisect
import itertools
import zipfile
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.cli import app
from helios.data.catalog import SCHEMAS, Catalog
from helios.data.catalog.actions import adjusted, factors, factors_of
from helios.data.catalog.reference import admit, import_reference, table_of
from helios.data.catalog.symbology import Symbology
from helios.errors import ArgumentError, DataError
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

SHARED = Path("../shared/data")
LEAN = SHARED / "lean/equity/usa"
YAHOO = SHARED / "sp500_daily_2010_2023/sp500_daily_2010_2023.parquet"
NEW_YORK = ZoneInfo("America/New_York")
PRICE, SHARES = 10**9, 10**8


def splits(*rows: tuple[str, str, int, int]) -> pl.DataFrame:
    names = ["instrument", "ex_date", "numerator", "denominator"]
    return admit(pl.DataFrame(list(rows), schema=names, orient="row"), "splits")


def dividends(*rows: tuple[str, str, float, float | None]) -> pl.DataFrame:
    types = {"instrument": pl.String, "ex_date": pl.String, "cash": pl.Float64, "close": pl.Float64}
    return admit(pl.DataFrame(list(rows), schema=types, orient="row"), "dividends")


def changes(*rows: tuple[str, str, str, str | None]) -> pl.DataFrame:
    types = dict.fromkeys(("instrument", "symbol", "from", "to"), pl.String)
    return admit(pl.DataFrame(list(rows), schema=types, orient="row"), "symbol_changes")


def close_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 16, tzinfo=NEW_YORK)


def daily(name: str, days: list[date], closes: list[float], volume: int = 100) -> pl.DataFrame:
    """Daily bars at the close of New York."""
    price = [round(close * PRICE) for close in closes]
    columns = {
        "instrument": [name] * len(days),
        "ts": [close_of(day) for day in days],
        "ts_recv": [None] * len(days),
        **dict.fromkeys(("open", "high", "low", "close"), price),
        "volume": [volume * SHARES] * len(days),
        "span": [86_400 * 10**9] * len(days),
        "seq": [0] * len(days),
    }
    types = SCHEMAS["bars"]
    stamps = pl.col("ts").dt.convert_time_zone("UTC").dt.cast_time_unit("ns")
    return pl.DataFrame(columns).with_columns(stamps).select(pl.col(name).cast(kind) for name, kind in types.items())


def catalog_of(folder: Path, rows: pl.DataFrame, **tables: pl.DataFrame) -> Catalog:
    catalog = Catalog.open(folder, create=True)
    with catalog.importing(source="test", digest="1") as job:
        for (day,), part in rows.group_by(pl.col("ts").dt.convert_time_zone("America/New_York").dt.date()):
            job.write("bars", day, part.drop("seq"))  # type: ignore[arg-type]
        for name, table in tables.items():
            job.write(name, None, table)
    return catalog


WEEK = [date(2020, 8, 26) + timedelta(days=number) for number in range(6)]  # the split is on the last of them


# ---- by hand ---------------------------------------------------------------------------------------------------------


def test_a_split_by_hand(tmp_path: Path) -> None:
    """Four for one: 400, 404, 408 before it are 100, 101, 102 of today's shares, four times as many."""
    rows = daily("AAPL", WEEK[:2] + WEEK[-2:], [400.0, 404.0, 408.0, 102.5])
    catalog = catalog_of(tmp_path / "c", rows, splits=splits(("AAPL", "2020-08-31", 4, 1)))
    told = catalog.read("bars", "AAPL", adjust="splits", values="float").collect()
    assert told["close"].to_list() == [100.0, 101.0, 102.0, 102.5]
    assert told["volume"].to_list() == [400, 400, 400, 100]
    assert_frame_equal(catalog.read("bars", "AAPL").collect(), rows)  # what is stored stays


def test_a_dividend_by_hand(tmp_path: Path) -> None:
    """One dollar on a close of 50: everything before is worth 49/50 of itself, sizes are what they were."""
    rows = daily("KO", WEEK[:4], [48.0, 50.0, 49.0, 49.5])
    table = dividends(("KO", str(WEEK[2]), 1.0, None))
    catalog = catalog_of(tmp_path / "c", rows, dividends=table)
    told = catalog.read("bars", adjust="all", values="float").collect()
    assert told["close"].to_list() == pytest.approx([47.04, 49.0, 49.0, 49.5], abs=1e-12)
    assert told["volume"].to_list() == [100] * 4
    assert catalog.read("bars", adjust="splits").collect()["close"].to_list() == rows["close"].to_list()


def test_a_split_and_a_dividend_of_one_day_and_later_ones(tmp_path: Path) -> None:
    """2 for 1 and 1 dollar a share before it, at a close of 100: 100 * 0.99 / 2 = 49.5; then 10 % more: 44.55."""
    del tmp_path
    by = factors_of(
        splits(("X", "2020-08-28", 2, 1)), dividends(("X", "2020-08-28", 1.0, 100.0), ("X", "2020-08-31", 5.0, 50.0))
    )
    assert by["price_factor"].to_list() == pytest.approx([0.4455, 0.9, 1.0])
    assert by["size_factor"].to_list() == [2.0, 1.0, 1.0]
    # Midnight in New York begins the ex-date.
    assert by["from_ts"].to_list()[1:] == [datetime(2020, 8, 28, 4, tzinfo=UTC), datetime(2020, 8, 31, 4, tzinfo=UTC)]


def test_trading_before_the_opening_of_the_ex_date_is_after_the_split() -> None:
    by = factors_of(splits(("X", "2020-08-31", 4, 1)), dividends())
    stamps = [datetime(2020, 8, 31, 3, 59, tzinfo=UTC), datetime(2020, 8, 31, 4, 0, tzinfo=UTC)]
    rows = daily("X", WEEK[:2], [400.0, 100.0]).with_columns(ts=pl.Series(stamps).cast(pl.Datetime("ns", "UTC")))
    assert (adjusted(rows.lazy(), by).collect()["close"] / PRICE).to_list() == [100.0, 100.0]


def test_what_has_no_price_stays_without() -> None:
    by = factors_of(splits(("X", "2020-08-31", 4, 1)), dividends())
    types = SCHEMAS["quotes"]
    row = {"instrument": ["X"], "ts": [close_of(WEEK[0])], "ts_recv": [None], "bid": [None], "ask": [400 * PRICE]}
    row |= {"bid_size": [0], "ask_size": [SHARES], "seq": [0]}
    stamps = pl.col("ts").dt.convert_time_zone("UTC").dt.cast_time_unit("ns")
    rows = pl.DataFrame(row).with_columns(stamps).select(pl.col(name).cast(kind) for name, kind in types.items())
    told = adjusted(rows.lazy(), by).collect()
    assert told.select("bid", "ask", "bid_size", "ask_size").row(0) == (None, 100 * PRICE, 0, 4 * SHARES)
    assert told.schema == types


def test_as_of_leaves_out_what_was_not_known(tmp_path: Path) -> None:
    table = splits(("X", "2020-08-28", 2, 1), ("X", "2020-08-31", 2, 1))
    catalog = catalog_of(tmp_path / "c", daily("X", WEEK, [1.0] * 6), splits=table)
    assert factors(catalog, None, "all", as_of=date(2020, 8, 30))["price_factor"].to_list() == [0.5, 1.0]
    assert factors(catalog, ["X"], "all")["price_factor"].to_list() == [0.25, 0.5, 1.0]
    assert factors(catalog, ["Y"], "all").is_empty()


def test_reading_in_order_of_time_adjusts_too(tmp_path: Path) -> None:
    """The source of a backtest gives the numbers that `read` gives."""
    rows = pl.concat([daily("AAPL", WEEK, [400.0] * 5 + [100.0]), daily("KO", WEEK, [50.0] * 6)])
    table = splits(("AAPL", "2020-08-31", 4, 1))
    catalog = catalog_of(tmp_path / "c", rows, splits=table)
    source = catalog.source("bars", adjust="splits")
    batches = list(source.batches({"KO": 0, "AAPL": 1}))
    told = {name: np.concatenate([batch[name] for batch in batches]) for name in ("instrument", "close", "volume")}
    assert (told["close"][told["instrument"] == 1] == 100 * PRICE).all()
    assert (told["close"][told["instrument"] == 0] == 50 * PRICE).all()
    assert told["volume"][told["instrument"] == 1].tolist() == [400 * SHARES] * 5 + [100 * SHARES]


@settings(max_examples=60, deadline=None)
@given(
    closes=st.lists(st.integers(100, 10**6), min_size=3, max_size=12),
    ratio=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    data=st.data(),
)
def test_returns_over_a_pure_split_are_those_without_it(
    closes: list[int], ratio: tuple[int, int], data: st.DataObject
) -> None:
    """Prices before the split are multiplied by new/old: adjusted, they are the path again, to 1e-9 of a dollar."""
    new, old = ratio
    at = data.draw(st.integers(1, len(closes) - 1))
    path = [close / 100 for close in closes]
    days = [date(2021, 1, 1) + timedelta(days=number) for number in range(len(path))]
    raw = [close * new / old if number < at else close for number, close in enumerate(path)]
    rows = daily("X", days, raw)
    told = adjusted(rows.lazy(), factors_of(splits(("X", str(days[at]), new, old)), dividends())).collect()
    # A raw price is a whole number of 1e-9, so that half of one is lost before the split is undone, half after it.
    assert np.abs(told["close"].to_numpy() - np.array(path) * PRICE).max() <= 0.5 * old / new + 0.5 + 1e-3
    traded = told["volume"].to_numpy() * told["close"].to_numpy().astype(float)
    before = rows["volume"].to_numpy() * rows["close"].to_numpy().astype(float)
    assert traded == pytest.approx(before, rel=1e-6)


# ---- wrong or missing closes -----------------------------------------------------------------------------------------


def test_a_dividend_needs_a_close_that_is_not_old(tmp_path: Path) -> None:
    rows = daily("KO", [date(2020, 8, 1), date(2020, 8, 31)], [50.0, 49.0])
    table = dividends(("KO", "2020-08-28", 1.0, None))
    catalog = catalog_of(tmp_path / "a", rows, dividends=table)
    with pytest.raises(DataError, match="KO: the last close before the ex-date 2020-08-28 is of 2020-08-01"):
        catalog.read("bars", adjust="all")
    given_ = catalog_of(tmp_path / "b", rows, dividends=dividends(("KO", "2020-08-28", 1.0, 40.0)))
    assert given_.read("bars", adjust="all", values="float").collect()["close"].to_list() == [48.75, 49.0]


def test_a_dividend_before_all_prices_adjusts_nothing(tmp_path: Path) -> None:
    table = dividends(("KO", "2019-08-28", 1.0, None))
    catalog = catalog_of(tmp_path / "c", daily("KO", WEEK, [50.0] * 6), dividends=table)
    assert catalog.read("bars", adjust="all", values="float").collect()["close"].to_list() == [50.0] * 6


def test_a_dividend_that_is_more_than_the_share(tmp_path: Path) -> None:
    catalog = catalog_of(
        tmp_path / "c", daily("KO", WEEK, [50.0] * 6), dividends=dividends(("KO", str(WEEK[3]), 60.0, None))
    )
    with pytest.raises(DataError, match=r"KO pays 60.0 on 2020-08-29, at a close of 50.0"):
        catalog.read("bars", adjust="all")


def test_the_close_of_trades_will_do(tmp_path: Path) -> None:
    types = SCHEMAS["trades"]
    row = {"instrument": ["KO"] * 2, "ts": [close_of(WEEK[0]), close_of(WEEK[1])], "ts_recv": [None] * 2}
    row |= {"price": [50 * PRICE, 49 * PRICE], "size": [SHARES] * 2, "aggressor": [0] * 2, "seq": [0] * 2}
    stamps = pl.col("ts").dt.convert_time_zone("UTC").dt.cast_time_unit("ns")
    rows = pl.DataFrame(row).with_columns(stamps).select(pl.col(name).cast(kind) for name, kind in types.items())
    catalog = Catalog.open(tmp_path / "c", create=True)
    with catalog.importing(source="test", digest="1") as job:
        for day, part in zip(WEEK, rows.iter_slices(1), strict=False):
            job.write("trades", day, part.drop("seq"))
        job.write("dividends", None, dividends(("KO", str(WEEK[1]), 1.0, None)))
    assert catalog.read("trades", adjust="all", values="float").collect()["price"].to_list() == [49.0, 49.0]


def test_an_unknown_mode(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path / "c", daily("KO", WEEK, [50.0] * 6))
    with pytest.raises(ArgumentError, match="None, 'splits' or 'all'"):
        catalog.read("bars", adjust="dividends")
    with pytest.raises(ArgumentError, match="None, 'splits' or 'all'"):
        catalog.source("bars", adjust="dividends")


# ---- against others --------------------------------------------------------------------------------------------------


def lean_actions(name: str) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Raw daily closes, and splits and dividends as LEAN's factor file implies them.

    A row of the file has the last day of its factors, and that day's close; the action is on the next trading day.
    """
    with zipfile.ZipFile(LEAN / f"daily/{name}.zip") as archive:
        raw = pl.read_csv(
            archive.read(f"{name}.csv"), has_header=False, new_columns=["day", "o", "h", "l", "close", "v"]
        )
    raw = raw.select(pl.col("day").str.slice(0, 8).str.to_date("%Y%m%d"), pl.col("close") / 10_000)
    days = raw["day"].to_list()
    types = [pl.String, pl.Float64, pl.Float64, pl.Float64]
    names = ["day", "price", "split", "close"]
    table = pl.read_csv(LEAN / f"factor_files/{name}.csv", has_header=False, new_columns=names, schema_overrides=types)
    paid, split = [], []
    rows = list(table.iter_rows())
    for (day, price, factor, close), (_, next_price, next_factor, _) in itertools.pairwise(rows):
        at = bisect.bisect_right(days, date.fromisoformat(day))
        if at == len(days):
            continue
        if price != next_price:
            paid.append((name, str(days[at]), round(close * (1 - price / next_price), 4), close))
        if factor != next_factor:
            ratio = Fraction(next_factor / factor).limit_denominator(100)
            split.append((name, str(days[at]), ratio.numerator, ratio.denominator))
    return raw, splits(*split), dividends(*paid)


needs_shared = pytest.mark.skipif(not YAHOO.exists() or not LEAN.exists(), reason="../shared/data is not here")


@needs_shared
@pytest.mark.parametrize(("name", "apart"), [("aapl", 2e-5), ("ibm", 2e-5), ("bac", 1e-3)])
def test_factors_agree_with_yahoo_and_lean(name: str, apart: float) -> None:
    """Eleven years of closes as they were, adjusted here, are Yahoo's adjusted closes; the factors are LEAN's.

    Yahoo's own close is adjusted for splits, so that adj_close / close is the factor of dividends alone: the actions
    are LEAN's, the answer is another vendor's. Closes differ by some basis points between the two on single days.
    """
    raw, split, paid = lean_actions(name)
    yahoo = pl.read_parquet(YAHOO).filter(pl.col("ticker") == name.upper())
    yahoo = yahoo.select(pl.col("date").cast(pl.Date), pl.col("close", "adj_close").cast(pl.Float64))
    both = raw.join(yahoo, left_on="day", right_on="date", suffix="_split", maintain_order="left")
    assert both.height == 2_830
    stamped = daily(name, both["day"].to_list(), both["close"].to_list())
    whole = factors_of(split, paid)
    ours = adjusted(stamped.lazy(), whole).collect()["close"].to_numpy() / PRICE
    # The factors are 1 on different last days: compare the shape.
    off = ours / both["adj_close"].to_numpy()
    off /= off[-1]
    assert np.median(np.abs(off - 1)) < 1e-3
    assert np.abs(off - 1).max() < 0.01

    alone = adjusted(stamped.with_columns(close=pl.lit(10**12)).lazy(), factors_of(splits(), paid)).collect()
    factor = alone["close"].to_numpy() / 10**12
    implied = (both["adj_close"] / both["close_split"]).to_numpy()
    implied = implied / implied[-1]
    # Prices of float32; and the two do not have the same amount for one of Bank of America's dividends.
    assert np.abs(factor / factor[-1] / implied - 1).max() < apart

    lean = pl.read_csv(LEAN / f"factor_files/{name}.csv", has_header=False).head(-1)
    mine = whole.sort("from_ts").with_columns(last=pl.col("from_ts").shift(-1)).drop_nulls("last")
    key = mine.select(pl.col("last").dt.convert_time_zone("America/New_York").dt.date(), "price_factor")
    for day, price, times, _ in lean.iter_rows():
        after = key.filter(pl.col("last") > datetime.strptime(str(day), "%Y%m%d").date())
        assert after["price_factor"][0] == pytest.approx(price * times, rel=3e-4), day


@needs_shared
def test_closes_of_the_catalog_are_those_of_the_factor_file(tmp_path: Path) -> None:
    """Without `close` in the table, the last bar before each ex-date gives the factors that LEAN's closes give."""
    raw, split, paid = lean_actions("aapl")
    raw = raw.filter(pl.col("day").is_between(date(2014, 5, 1), date(2014, 8, 15)))
    known = paid.filter(pl.col("ex_date").is_between(date(2014, 5, 1), date(2014, 8, 15)))
    assert known.height == 2
    bare = known.with_columns(close=pl.lit(None, dtype=pl.Int64))
    rows = daily("aapl", raw["day"].to_list(), raw["close"].to_list())
    catalog = catalog_of(tmp_path / "c", rows, splits=split, dividends=bare)
    assert_frame_equal(factors(catalog, None, "all"), factors_of(split, known), rel_tol=1e-6)


# ---- events for the engine -------------------------------------------------------------------------------------------


def test_actions_as_events(tmp_path: Path) -> None:
    catalog = catalog_of(
        tmp_path / "c",
        daily("META", WEEK, [1.0] * 6),
        splits=splits(("META", "2020-08-31", 4, 1), ("KO", "2020-09-01", 1, 10)),
        dividends=dividends(("META", "2020-08-31", 0.82, None), ("META", "2021-02-05", 0.205, None)),
        symbol_changes=changes(("META", "FB", "2012-05-18", "2022-06-09"), ("META", "META", "2022-06-09", None)),
    )
    source = catalog.actions()
    assert source.schema == "actions" and source.symbols == ["KO", "META"] and source.rows == 4
    (batch,) = source.batches({"KO": 0, "META": 1})
    midnight = int(datetime(2020, 8, 31, 4, tzinfo=UTC).timestamp()) * 10**9
    assert batch["ts"].tolist()[:3] == [midnight, midnight, midnight + 86_400 * 10**9]
    assert batch["instrument"].tolist() == [1, 1, 0, 1] and batch["instrument"].dtype == np.uint32
    # The dividend is per share before the split of the same day, so it comes first.
    assert batch["kind"].tolist() == [1, 0, 0, 1]
    assert batch["a"].tolist() == [820_000_000, 4, 1, 205_000_000]
    assert batch["b"].tolist() == [0, 1, 10, 0]
    assert {batch[name].dtype for name in ("ts", "kind", "a", "b")} == {np.dtype(np.int64)}

    asked = catalog.actions("FB", end="2020-12-31")
    assert asked.symbols == ["FB"] and asked.rows == 2
    assert list(catalog.actions(["KO"], "2020-09-02").batches({"KO": 0})) == []
    pytest.importorskip("exchange_calendars")
    opened = catalog.actions("META", "2020-08-31", "2020-08-31", calendar="XNYS")
    assert opened.frame["ts"].to_list() == [datetime(2020, 8, 31, 13, 30, tzinfo=UTC)] * 2


def test_an_action_on_a_day_off(tmp_path: Path) -> None:
    pytest.importorskip("exchange_calendars")
    catalog = catalog_of(tmp_path / "c", daily("X", WEEK, [1.0] * 6), splits=splits(("X", "2020-08-30", 2, 1)))
    with pytest.raises(DataError, match="2020-08-30 is no session of XNYS"):
        catalog.actions(calendar="XNYS")


# ---- symbols by date -------------------------------------------------------------------------------------------------

META = changes(
    ("META", "FB", "2012-05-18", "2022-06-09"),
    ("META", "META", "2022-06-09", None),
    ("METV", "META", "2021-06-30", "2022-01-31"),  # a fund that had the symbol before
    ("METV", "METV", "2022-01-31", None),
)


def test_symbols_by_date_both_ways() -> None:
    names = Symbology(META)
    assert names.instrument("FB", "2021-12-31") == "META"
    assert names.instrument("META", "2021-12-31") == "METV"
    assert names.instrument("META", "2022-06-09") == "META"
    assert names.symbol("META", "2022-06-08") == "FB" and names.symbol("META", "2022-06-09") == "META"
    assert names.instrument("KO", "2021-12-31") == names.symbol("KO", "2021-12-31") == "KO"
    with pytest.raises(DataError, match="nobody had the symbol 'META' on 2022-03-01"):
        names.instrument("META", "2022-03-01")
    with pytest.raises(DataError, match="'METV' had no symbol on 2020-01-01"):
        names.symbol("METV", "2020-01-01")
    assert names.history("META")["symbol"].to_list() == ["FB", "META"]
    assert names.history("META")["to"].to_list() == [date(2022, 6, 9), None]
    # A name is understood as of the last day that is asked for.
    assert names.meant("META") == "META" and names.meant("FB") == "META"
    assert names.meant("META", "2021-12-31") == "METV" and names.meant("META", "2020-01-01") == "METV"


def test_todays_symbol_reads_all_of_an_instrument(tmp_path: Path) -> None:
    days = [date(2021, 12, 30), date(2022, 6, 7), date(2022, 6, 8), date(2022, 6, 9), date(2022, 6, 10)]
    rows = pl.concat(
        [
            daily("FB", days[:3], [340.0, 195.0, 196.0]),
            daily("META", days[3:], [184.0, 175.0]),
            daily("META", days[:1], [15.0]),  # the fund, under its symbol of the day
        ]
    )
    catalog = catalog_of(tmp_path / "c", rows, symbol_changes=META)
    told = catalog.read("bars", symbols=["META"], values="float").collect()
    assert told["close"].to_list() == [340.0, 195.0, 196.0, 184.0, 175.0]
    assert set(told["instrument"]) == {"META"}
    assert set(catalog.read("bars", "FB").collect()["instrument"]) == {"FB"}
    assert catalog.read("bars", "METV", values="float").collect()["close"].to_list() == [15.0]
    assert catalog.read("bars", "META", end="2021-12-31", values="float").collect()["close"].to_list() == [15.0]
    everything = catalog.read("bars", values="float").collect().group_by("instrument").len().sort("instrument")
    assert everything.rows() == [("META", 5), ("METV", 1)]

    source = catalog.source("bars", ["META"])
    assert source.symbols == ["META"] and source.rows == 5
    (batch,) = source.batches({"META": 0})
    assert (batch["close"] / PRICE).tolist() == [340.0, 195.0, 196.0, 184.0, 175.0]
    both = catalog.source("bars")
    assert both.symbols == ["META", "METV"]
    z = hx.graph(z=hx.close("META")).over(source)
    assert z["z"].to_list() == [340.0, 195.0, 196.0, 184.0, 175.0]
    with pytest.raises(ArgumentError, match="'FB' and 'META' are one instrument"):
        catalog.read("bars", ["META", "FB"])


def test_a_position_is_kept_over_a_change_of_symbol(tmp_path: Path) -> None:
    days = [date(2022, 6, 6) + timedelta(days=number) for number in range(5)]
    rows = pl.concat([daily("FB", days[:3], [194.0, 195.0, 196.0]), daily("META", days[3:], [184.0, 175.0])])
    catalog = catalog_of(tmp_path / "c", rows, symbol_changes=META)
    run = hx.Backtest(
        data=catalog.source("bars", ["META"]),
        strategy=[hx.target("META", hx.where(hx.close("META") > 0, 1, 0), quantity=50)],
        limits=hx.Limits(order_notional=50_000, position=2_000, daily_loss=50_000),
    )
    results = run.run()
    # Bought once, under the old symbol, and held to the end.
    assert results.fills["position"].to_list() == [50.0]
    assert results.positions.select("instrument", "quantity", "mark").rows() == [("META", 50.0, 175.0)]


def test_splits_are_found_under_the_permanent_name(tmp_path: Path) -> None:
    rows = daily("FB", [date(2022, 6, 7)], [200.0])
    catalog = catalog_of(
        tmp_path / "c",
        rows,
        symbol_changes=META,
        splits=splits(("META", "2022-06-09", 2, 1), ("METV", "2022-06-09", 5, 1)),
    )
    assert catalog.read("bars", "META", adjust="splits", values="float").collect()["close"].to_list() == [100.0]
    assert catalog.read("bars", adjust="splits", values="float").collect()["close"].to_list() == [100.0]
    (batch,) = catalog.source("bars", "META", adjust="splits").batches({"META": 0})
    assert batch["close"].tolist() == [100 * PRICE]


def test_rows_that_stand_under_permanent_names(tmp_path: Path) -> None:
    """An import may already have given the permanent name; it is found before and after the change."""
    names = changes(("123", "FB", "2012-05-18", "2022-06-09"), ("123", "META", "2022-06-09", None))
    rows = pl.concat([daily("123", [date(2022, 6, 8)], [1.0]), daily("META", [date(2022, 6, 9)], [2.0])])
    catalog = catalog_of(tmp_path / "c", rows, symbol_changes=names)
    for name in ("META", "FB", "123"):
        told = catalog.read("bars", name, values="float").collect()
        assert told["close"].to_list() == [1.0, 2.0] and set(told["instrument"]) == {name}


def test_one_symbol_of_two_instruments_is_refused(tmp_path: Path) -> None:
    both = pl.DataFrame(
        {
            "instrument": ["A", "B"],
            "symbol": ["X", "X"],
            "from": ["2020-01-01", "2020-06-01"],
            "to": ["2020-06-02", None],
        }
    )
    with pytest.raises(DataError, match=r"two instruments have the symbol 'X' on 2020-06-01: A .* and B"):
        admit(both, "symbol_changes")
    two = both.with_columns(instrument=pl.lit("A"), symbol=pl.Series(["X", "Y"]))
    with pytest.raises(DataError, match="'A' has two symbols on 2020-06-01"):
        admit(two, "symbol_changes")
    # Two imports, each of which is right alone.
    catalog = Catalog.open(tmp_path / "c", create=True)
    (tmp_path / "a.csv").write_text("instrument,symbol,from,to\nA,X,2020-01-01,2020-06-02\n")
    (tmp_path / "b.csv").write_text("instrument,symbol,from,to\nB,X,2020-06-01,\n")
    import_reference(catalog, tmp_path / "a.csv", "symbol_changes")
    with pytest.raises(DataError, match="two instruments have the symbol 'X'"):
        import_reference(catalog, tmp_path / "b.csv", "symbol_changes")
    assert table_of(catalog, "symbol_changes")["instrument"].to_list() == ["A"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 30)), min_size=1, max_size=6))
def test_every_day_has_one_answer(lengths: list[tuple[str, int]]) -> None:
    """Instruments take turns at one symbol: brute force over all days agrees with the table."""
    day, rows, brute = date(2020, 1, 1), [], {}
    for instrument, length in lengths:
        if rows and rows[-1][0] == instrument:
            continue
        end = day + timedelta(days=length)
        rows.append((instrument, "S", str(day), str(end)))
        brute |= {day + timedelta(days=number): instrument for number in range(length)}
        day = end
    names = Symbology(changes(*rows))
    for on, instrument in brute.items():
        assert names.instrument("S", on) == instrument == names.owner("S", on)
        assert names.symbol(instrument, on) == "S"
        assert "S" in names.select([instrument]).on(on)


# ---- reference tables ------------------------------------------------------------------------------------------------


def test_reference_tables_from_files(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path / "c", create=True)
    file = tmp_path / "splits.csv"
    file.write_text("ticker,date,new,old\nAAPL,2020-08-31,4,1\nAAPL,20140609,7,1\n")
    told = import_reference(catalog, file, "splits")
    assert (told.read, told.added, told.rows) == (2, 2, 2)
    assert import_reference(catalog, file, "splits").added == 0
    assert table_of(catalog, "splits").rows() == [("AAPL", date(2014, 6, 9), 7, 1), ("AAPL", date(2020, 8, 31), 4, 1)]

    pl.DataFrame({"id": ["KO"], "ex": [date(2024, 3, 14)], "paid": [0.485]}).write_parquet(tmp_path / "d.parquet")
    import_reference(catalog, tmp_path / "d.parquet", "dividends", columns={"cash": "paid"})
    assert table_of(catalog, "dividends").row(0) == ("KO", date(2024, 3, 14), 485_000_000, None, None)
    # What was empty may be filled; what is there may not be changed.
    (tmp_path / "e.csv").write_text("instrument,ex_date,cash,close\nKO,2024-03-14,0.485,60.5\n")
    import_reference(catalog, tmp_path / "e.csv", "dividends")
    assert table_of(catalog, "dividends").row(0) == ("KO", date(2024, 3, 14), 485_000_000, None, 60_500_000_000)
    (tmp_path / "f.csv").write_text("instrument,ex_date,cash\nKO,2024-03-14,0.5\n")
    with pytest.raises(DataError, match="column 'cash': dividends says something else of KO, 2024-03-14"):
        import_reference(catalog, tmp_path / "f.csv", "dividends")
    import_reference(catalog, tmp_path / "f.csv", "dividends", replace=True)
    assert table_of(catalog, "dividends")["cash"].to_list() == [500_000_000]


RATIO = "instrument,ex_date,numerator,denominator\n"


@pytest.mark.parametrize(
    ("table", "text", "problem"),
    [
        ("splits", RATIO + "X,2020-01-02,0,1", "row 0, column 'numerator': X: 0 mu"),
        ("splits", RATIO + "X,2020-01-02,4,-1", "column 'denominator': X: -1 must be"),
        ("splits", RATIO + "X,2020-01-02,1.5,1", "'1.5' is not a Int64"),
        ("splits", RATIO + "X,2.1.2020,4,1", "row 0, column 'ex_date': '2.1.2020' is not a date"),
        ("splits", RATIO + "X,,4,1", "column 'ex_date': X: None the value is missing"),
        ("splits", "instrument,ex_date,numerator\nX,2020-01-02,4", "there is no column for denominator"),
        ("splits", RATIO + "X,2020-01-02,4,1\nX,2020-01-02,2,1", "two rows for this"),
        ("dividends", "instrument,ex_date,cash\nX,2020-01-02,-0.5", "column 'cash': X: -0.5 must be greater than zero"),
        ("dividends", "instrument,ex_date,cash,close\nX,2020-01-02,5,5", "X: 5.0 pays as much as the share was worth"),
        ("dividends", "instrument,ex_date,cash\nX,2020-01-02,much", "'much' is not a number"),
        ("symbol_changes", "instrument,symbol,from,to\nX,Y,2020-01-02,2020-01-02", "is not after the first day"),
        ("membership", "index,ticker,start,end\nI,X,2020-01-02,\nI,X,2021-01-02,", "X: 2021-01-02 comes in while"),
        ("prices", "a\n1", "'prices' is no reference table"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be(table: str, text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "file.csv"
    file.write_text(text)
    catalog = Catalog.open(tmp_path / "c", create=True)
    with pytest.raises((DataError, ArgumentError)) as raised:
        import_reference(catalog, file, table)
    assert problem in str(raised.value)
    assert catalog.manifest.entries == []


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path / "c", create=True)
    with pytest.raises(DataError, match="no such file"):
        import_reference(catalog, tmp_path / "no.csv", "splits")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 is not enough")
    with pytest.raises(DataError, match=r"x.parquet: cannot be read"):
        import_reference(catalog, tmp_path / "x.parquet", "splits")
    (tmp_path / "y.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="there is no column for instrument"):
        import_reference(catalog, tmp_path / "y.csv", "splits")
    with pytest.raises(ArgumentError, match="splits has no column 'ratio'"):
        import_reference(catalog, tmp_path / "y.csv", "splits", columns={"ratio": "a"})
    with pytest.raises(DataError, match="column 'z': there is no such column"):
        import_reference(catalog, tmp_path / "y.csv", "splits", columns={"numerator": "z"})


def test_a_universe_of_the_catalog(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path / "c", create=True)
    with pytest.raises(DataError, match="no membership table"):
        hx.Universe.of(catalog)
    file = tmp_path / "members.csv"
    file.write_text("ticker,start_date,end_date,sector\nKO,1996-01-02,,Staples\nAAL,1996-01-02,1997-01-15,\n")
    import_reference(catalog, file, "membership", universe="sp500")
    universe = hx.Universe.of(catalog)
    assert universe.members("1996-06-30") == ["AAL", "KO"] and universe.members("2020-06-30") == ["KO"]
    assert universe.groups("2020-06-30") == {"KO": "Staples"}
    import_reference(catalog, file, "membership", universe="other")
    assert hx.Universe.of(catalog, "other").symbols == ["AAL", "KO"]
    with pytest.raises(ArgumentError, match="several universes, name one: other, sp500"):
        hx.Universe.of(catalog)
    with pytest.raises(DataError, match="there is no universe 'dax'"):
        hx.Universe.of(catalog, "dax")


@needs_shared
def test_the_real_membership(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path / "c", create=True)
    file = SHARED / "sp500_membership/fja05680/sp500_ticker_start_end.csv"
    told = import_reference(catalog, file, "membership", universe="sp500")
    assert told.rows == told.read > 1_000
    plain = hx.Universe(pl.read_csv(file, try_parse_dates=True), symbol="ticker", start="start_date", end="end_date")
    assert hx.Universe.of(catalog).members("2015-06-30") == plain.members("2015-06-30")


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("who,ex_date,numerator,denominator\nX,2020-01-02,2,1\n")
    words = ["data", "import", "reference", str(tmp_path / "s.csv"), "--catalog", str(tmp_path / "c")]
    done = CliRunner().invoke(app, [*words, "--table", "splits", "--column", "instrument=who"])
    assert done.stdout == "splits: 1 rows read, 1 new, 1 in the table\n"
    done = CliRunner().invoke(app, [*words, "--table", "splits", "--column", "instrument"])
    assert isinstance(done.exception, ArgumentError)
    done = CliRunner().invoke(app, words)
    assert "--table is missing: one of instruments, symbol_changes, splits" in str(done.exception)
