"""Membership by date: against a loop over the rows, and against the changes that the index's keeper wrote down."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import helios as hx
import polars as pl
import pytest
from helios.data import Universe
from helios.errors import ArgumentError, DataError
from hypothesis import given, settings
from hypothesis import strategies as st

MEMBERSHIP = Path(__file__).resolve().parents[3] / "shared" / "data" / "sp500_membership" / "fja05680"


def stays(**columns: Any) -> pl.DataFrame:
    rows = {
        "symbol": ["KO", "PEP", "GE", "GE"],
        "start": [date(2010, 1, 4), date(2012, 6, 1), date(2010, 1, 4), date(2016, 3, 1)],
        "end": [None, date(2015, 1, 1), date(2014, 5, 1), None],
        "sector": ["drinks", "drinks", "machines", "power"],
    }
    return pl.DataFrame(rows | columns)


def test_a_day_has_its_members_the_first_day_out_is_out_and_one_may_come_back() -> None:
    universe = Universe(stays(), group="sector")
    assert universe.members(date(2010, 1, 4)) == ["GE", "KO"]
    assert universe.members("2014-04-30") == ["GE", "KO", "PEP"]
    assert universe.members("2014-05-01") == ["KO", "PEP"]
    assert universe.members(datetime(2014, 12, 31, 23, 59)) == ["KO", "PEP"]
    assert universe.members("2015-01-01") == ["KO"]
    assert universe.members("2030-01-01") == ["GE", "KO"]
    assert universe.groups("2012-01-01") == {"GE": "machines", "KO": "drinks"}
    assert universe.groups("2020-01-01") == {"GE": "power", "KO": "drinks"}
    assert universe.symbols == ["GE", "KO", "PEP"]
    assert (universe.first, universe.last) == (date(2010, 1, 4), None)
    assert repr(universe) == "Universe(3 symbols, 2010-01-04 … )"


def test_between_is_who_was_in_on_any_of_the_days() -> None:
    universe = Universe(stays())
    assert universe.between("2014-05-01", "2015-01-01") == ["KO", "PEP"]
    assert universe.between("2014-04-30", "2014-05-02") == ["GE", "KO", "PEP"]
    assert universe.between("2009-01-01", "2010-01-05") == ["GE", "KO"]
    with pytest.raises(DataError, match="no members from 2009-01-01 to 2010-01-04"):
        universe.between("2009-01-01", "2010-01-04")
    with pytest.raises(ArgumentError, match="not before"):
        universe.between("2014-05-01", "2014-05-01")


def test_a_day_without_members_is_named_with_the_span() -> None:
    with pytest.raises(DataError, match="no members on 2009-12-31: it spans 2010-01-04 to today"):
        Universe(stays()).members("2009-12-31")
    closed = Universe(stays(end=[date(2011, 1, 1), date(2015, 1, 1), date(2014, 5, 1), date(2017, 1, 1)]))
    with pytest.raises(DataError, match="no members on 2017-01-01: it spans 2010-01-04 to before 2017-01-01"):
        closed.members("2017-01-01")
    with pytest.raises(DataError, match="no members on 2015-06-30"):
        closed.members("2015-06-30")
    with pytest.raises(DataError, match="no members on 2015-06-30"):
        closed.mask(pl.DataFrame({"ts": [date(2014, 1, 1), date(2015, 6, 30)], "symbol": ["KO", "KO"]}))


DAY = st.integers(0, 30).map(lambda k: date(2020, 1, 1) + timedelta(days=k))


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.dictionaries(st.sampled_from("ABC"), st.lists(DAY, min_size=1, max_size=5, unique=True), min_size=1),
    asked=st.lists(st.tuples(DAY, st.sampled_from("ABCD")), min_size=1, max_size=20),
)
def test_mask_and_members_equal_a_loop(cuts: dict[str, list[date]], asked: list[tuple[date, str]]) -> None:
    rows: list[tuple[str, date, date | None]] = [("Z", date(2019, 1, 1), None)]
    for symbol, days in cuts.items():
        ends = [*sorted(days), None]
        rows += [(symbol, start, end) for start, end in zip(ends[::2], ends[1::2], strict=False) if start is not None]
    shape = {"symbol": pl.String, "start": pl.Date, "end": pl.Date}
    universe = Universe(pl.DataFrame(rows[::-1], shape, orient="row"))

    def inside(symbol: str, day: date) -> bool:
        return any(s == symbol and start <= day and (end is None or day < end) for s, start, end in rows)

    frame = pl.DataFrame(asked, {"ts": pl.Date, "symbol": pl.String}, orient="row")
    assert universe.mask(frame).to_list() == [inside(symbol, day) for day, symbol in asked]
    for day, _ in asked:
        assert universe.members(day) == [symbol for symbol in "ABCDZ" if inside(symbol, day)]


def test_the_day_of_a_time_is_that_of_its_zone() -> None:
    evening = datetime(2015, 1, 1, 2, tzinfo=UTC)  # the evening of New Year's Eve in New York
    frame = pl.DataFrame({"ts": [evening, None, evening], "symbol": ["PEP", "KO", None]})
    universe = Universe(stays())
    assert universe.mask(frame).to_list() == [False, False, False]
    assert universe.mask(frame, tz="America/New_York").to_list() == [True, False, False]
    naive = frame.with_columns(pl.col("ts").dt.replace_time_zone(None)).rename({"ts": "time", "symbol": "name"})
    assert universe.mask(naive, ts="time", symbol="name", tz="America/New_York").to_list() == [True, False, False]
    local = frame.with_columns(pl.col("ts").dt.convert_time_zone("America/New_York"))
    assert universe.mask(local).to_list() == [True, False, False]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (stays().drop("end"), "column 'end': the universe has no such column; it has symbol, start, sector"),
        (stays(start=["2010-01-04"] * 4), "column 'start': String is not a date.*try_parse_dates"),
        (stays(symbol=["KO", None, "GE", "GE"]), "row 1, column 'symbol': the value is missing"),
        (stays(start=[date(2010, 1, 4), date(2012, 6, 1), None, None]), "row 2, column 'start': the value is missing"),
        (stays(end=[None, date(2012, 6, 1), None, None]), "row 1, column 'end': PEP leaves on 2012-06-01, not after"),
        (stays(end=[None] * 4), "row 3, column 'start': GE comes on 2016-03-01, but is in already"),
        (stays().clear(), "a row at least"),
    ],
)
def test_a_universe_that_makes_no_sense_is_refused(frame: pl.DataFrame, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Universe(frame)


def test_what_cannot_be_is_said() -> None:
    universe = Universe(stays())
    with pytest.raises(ArgumentError, match="'last June' is not a date"):
        universe.members("last June")
    with pytest.raises(ArgumentError, match="no groups: make it with group="):
        universe.groups("2012-01-01")
    with pytest.raises(DataError, match="column 'symbol': the frame has no such column; it has ts"):
        universe.mask(pl.DataFrame({"ts": [date(2012, 1, 1)]}))
    with pytest.raises(DataError, match="column 'ts': String is not a time"):
        universe.mask(pl.DataFrame({"ts": ["2012-01-01"], "symbol": ["KO"]}))
    with pytest.raises(ArgumentError, match="days have no zone"):
        universe.mask(pl.DataFrame({"ts": [date(2012, 1, 1)], "symbol": ["KO"]}), tz="UTC")
    with pytest.raises(DataError, match="column 'industry'"):
        Universe(stays(), group="industry")


def test_the_index_has_its_members_and_each_change_took_effect_on_its_day() -> None:
    if not MEMBERSHIP.is_dir():
        pytest.skip("there is no sp500_membership in ../shared")
    rows = pl.read_csv(MEMBERSHIP / "sp500_ticker_start_end.csv", try_parse_dates=True)
    universe = Universe(rows, symbol="ticker", start="start_date", end="end_date")
    for year in range(2010, 2024):
        assert 495 <= len(universe.members(date(year, 6, 30))) <= 507
    changes = pl.read_csv(MEMBERSHIP / "sp500_changes_since_2019.csv", try_parse_dates=True)
    compared, different = 0, []
    for day, added, removed in changes.filter(pl.col("date") < rows["start_date"].max()).iter_rows():
        now, before = set(universe.members(day)), set(universe.members(day - timedelta(days=1)))
        come = {name.strip() for name in (added or "").split(",")} - {""}
        gone = {name.strip() for name in (removed or "").split(",")} - {""}
        if (now - before, before - now) != (come - gone, gone - come):
            different.append(day)
        compared += 1
    assert compared > 80
    # WLTW to WTW and RE to EG, companies that changed their names: the two files date these apart.
    assert different == [date(2022, 1, 10), date(2023, 7, 10)]


def test_stays_are_an_expression() -> None:
    rows = pl.DataFrame(
        {
            "symbol": ["KO", "KO", "PEP"],
            "start": [date(2020, 1, 2), date(2021, 3, 1), date(2019, 1, 1)],
            "end": [date(2020, 6, 1), None, None],
        }
    )
    universe = Universe(rows)
    days = [date(2020, 1, 1), date(2020, 1, 2), date(2020, 5, 31), date(2020, 6, 1), date(2021, 3, 1), date(2030, 1, 1)]
    noon = [datetime(day.year, day.month, day.day, 17, tzinfo=UTC) for day in days]
    frame = pl.DataFrame({"ts": noon, "x": [1.0] * 6})
    member = hx.session(hours=universe.stays("KO")).is_open
    told = hx.graph(x=hx.series("x").only(member)).over(frame)
    assert told["x"].is_not_null().to_list() == [False, True, True, False, True, True]
    assert told["x"].is_not_null().to_list() == [("KO" in universe.members(day)) for day in days]
    with pytest.raises(DataError, match="'MO' was never in"):
        universe.stays("MO")
