"""The time as an input: sessions against exchange_calendars, clocks against zoneinfo; time makes nothing happen."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.errors import ArgumentError
from helios.signals import Expr

A = hx.series("a")


def frame(moments: list[datetime]) -> pl.DataFrame:
    ts = pl.Series("ts", moments).cast(pl.Datetime("ns", "UTC"))
    return pl.DataFrame({"ts": ts, "a": np.arange(1.0, len(moments) + 1)})


def told(expr: Expr, moments: list[datetime]) -> list[float | None]:
    return hx.graph(value=expr.when(A)).over(frame(moments))["value"].to_list()


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("year", [2018, 2026])
def test_clocks_are_those_of_zoneinfo(zone: str, year: int) -> None:
    """Every 47 minutes of a year: over both changes of the clock and all weekdays."""
    begin = datetime(year, 1, 1, tzinfo=UTC)
    moments = [begin + timedelta(minutes=47 * i, microseconds=250_000) for i in range(366 * 24 * 60 // 47)]
    local = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
    seconds = [at.hour * 3600 + at.minute * 60 + at.second + at.microsecond / 1e6 for at in local]
    assert told(hx.time_of_day(zone), moments) == seconds
    assert told(hx.weekday(zone), moments) == [float(at.weekday()) for at in local]


@pytest.mark.parametrize(
    ("zone", "change"), [("America/New_York", (2026, 3, 8, 7)), ("Europe/London", (2026, 10, 25, 1))]
)
def test_the_clock_changes_at_its_very_moment(zone: str, change: tuple[int, int, int, int]) -> None:
    at = datetime(*change, tzinfo=UTC)
    moments = [at - timedelta(microseconds=1), at, at + timedelta(microseconds=1)]
    local = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
    assert abs((local[1].hour * 3600) - (local[0].hour * 3600 + 3600)) == 3600, "the clock changes here"
    want = [x.hour * 3600 + x.minute * 60 + x.second + x.microsecond / 1e6 for x in local]
    assert told(hx.time_of_day(zone), moments) == want


@pytest.mark.parametrize("calendar", ["XNYS", "XLON", "XHKG"])
def test_sessions_are_those_of_exchange_calendars(calendar: str) -> None:
    """2025: both changes of the clock, half days (3 July, 28 November, 24 December) and holidays, at every edge."""
    xcals = pytest.importorskip("exchange_calendars")
    schedule = xcals.get_calendar(calendar, start="2025-01-01", end="2025-12-31").schedule
    opens = [at.to_pydatetime() for at in schedule["open"]]
    closes = [at.to_pydatetime() for at in schedule["close"]]
    assert len({(b - a) for a, b in zip(opens, closes, strict=True)}) > 1, "there are half days"
    assert len({at.hour for at in opens}) > (1 if calendar != "XHKG" else 0), "the clock changes"
    step = timedelta(microseconds=1)
    moments = sorted({at + d for at in opens + closes for d in (-step, 0 * step, step, timedelta(hours=2))})
    session = hx.session(calendar, start="2025-01-01", end="2025-12-31")
    which = [
        next((i for i, (a, b) in enumerate(zip(opens, closes, strict=True)) if a <= at <= b), None) for at in moments
    ]
    assert told(session.is_open, moments) == [float(i is not None) for i in which]
    assert told(session.number, moments) == [None if i is None else float(i) for i in which]
    since = [
        None if i is None else (at - opens[i]) / timedelta(seconds=1) for at, i in zip(moments, which, strict=True)
    ]
    until = [
        None if i is None else (closes[i] - at) / timedelta(seconds=1) for at, i in zip(moments, which, strict=True)
    ]
    assert told(session.since_open, moments) == pytest.approx(since, abs=1e-9)
    assert told(session.to_close, moments) == pytest.approx(until, abs=1e-9)


def test_a_window_by_session_begins_afresh() -> None:
    begin = datetime(2026, 3, 2, 14, tzinfo=UTC)
    hours = [
        (begin + timedelta(minutes=1), begin + timedelta(minutes=3)),
        (begin + timedelta(minutes=5), begin + timedelta(minutes=9)),
    ]
    session = hx.session(hours=hours)
    found = hx.graph(mean=A.rolling(session).mean(), n=A.rolling(session, min_samples=2).sum()).over(
        frame([begin + timedelta(minutes=i) for i in range(11)])
    )
    assert found["mean"].to_list() == [None, 2.0, 2.5, 3.0, None, 6.0, 6.5, 7.0, 7.5, 8.0, None]
    assert found["n"].to_list() == [None, None, 5.0, 9.0, None, None, 13.0, 21.0, 30.0, 40.0, None]


def test_a_window_of_two_by_session_begins_afresh() -> None:
    begin = datetime(2026, 3, 2, 14, tzinfo=UTC)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=12), rng.normal(size=12)
    moments = [begin + timedelta(minutes=i) for i in range(12)]
    session = hx.session(hours=[(moments[1], moments[4]), (moments[6], moments[10])])
    window = hx.series("x").rolling(session, min_samples=3)
    found = hx.graph(corr=window.corr(hx.series("y")), beta=window.beta(hx.series("y"))).over(
        pl.DataFrame({"ts": moments, "x": x, "y": y})
    )
    for i in range(12):
        since = 1 if 1 <= i <= 4 else 6 if 6 <= i <= 10 else None
        if since is None or i - since < 2:
            assert found["corr"][i] is None
            assert found["beta"][i] is None
            continue
        a, b = x[since : i + 1], y[since : i + 1]
        assert found["corr"][i] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)
        assert found["beta"][i] == pytest.approx(np.cov(a, b)[0, 1] / b.var(ddof=1), abs=1e-9)


# ---- time makes nothing happen ---------------------------------------------------------------------------------------

START = datetime(2026, 3, 2, 14, tzinfo=UTC)
ALWAYS = hx.session(hours=[(START - timedelta(days=1), START + timedelta(days=1))])


def two_sources() -> list[object]:
    """Quotes at whole seconds, trades in between: ten of each."""
    quotes = pl.DataFrame(
        {
            "ts": [START + timedelta(seconds=i) for i in range(10)],
            "symbol": "A", "bid_size": 1, "ask_size": 1,
            "bid": 10.0 + np.arange(10) // 3, "ask": 12.0 + np.arange(10) // 3,
        }
    )  # fmt: skip
    trades = pl.DataFrame(
        {
            "ts": [START + timedelta(seconds=i + 0.5) for i in range(10)],
            "symbol": "A",
            "price": 20.0 + np.arange(10),
            "size": 1,
        }
    )
    return [hx.quotes(quotes), hx.trades(trades)]


def firings(expr: Expr, **others: Expr) -> list[float]:
    run = hx.Backtest(two_sources(), hx.graph({"x": expr} | others).records()).run()  # type: ignore[arg-type]
    return run.signals.filter(pl.col("signal") == "x")["value"].to_list()


def by_columns(expr: Expr) -> list[float]:
    """Where the values of all rows are told apart by how many samples there were."""
    return hx.graph(x=expr).over(two_sources(), every_event=True)["x"].to_list()


def test_what_looks_at_the_time_fires_with_what_else_it_looks_at() -> None:
    mid, last = hx.mid("A"), hx.last("A")
    # The mid changes with every third quote.
    assert firings(mid.changes()) == [11.0, 12.0, 13.0, 14.0]
    assert firings(mid.changes().only(ALWAYS.is_open)) == [11.0, 12.0, 13.0, 14.0]
    # Another output that looks at the clock with the trades makes no difference.
    other = last.only(ALWAYS.is_open)
    assert firings(mid.changes().only(ALWAYS.is_open), other=other) == [11.0, 12.0, 13.0, 14.0]
    counted = mid.changes().only(ALWAYS.is_open).rolling(2).sum()
    assert firings(counted, other=other) == [23.0, 25.0, 27.0]


def test_the_same_by_columns() -> None:
    counted = hx.mid("A").only(ALWAYS.is_open).rolling(4).sum()
    quotes = [None, None, None, 45.0, 46.0, 47.0, 49.0, 50.0, 51.0, 53.0]
    # Trades, every second row, bring no sample.
    assert by_columns(counted) == [x for x in quotes for _ in range(2)]
    seconds = hx.mid("A") * 0 + hx.time_of_day().unitless()
    assert by_columns(seconds) == [14 * 3600 + i for i in range(10) for _ in range(2)]


def test_the_time_is_heard_with_the_other_inputs_of_a_node() -> None:
    noon = START + timedelta(seconds=4)
    morning = hx.session(hours=[(START - timedelta(hours=1), noon)])
    held = hx.last("A").changes().latch(~morning.is_open)
    assert firings(held) == [1.0, 0.0]


@pytest.mark.parametrize(
    "expr",
    [
        hx.time_of_day(),
        ALWAYS.is_open,
        ALWAYS.number + 1,
        hx.time_of_day() > 3600,
        ALWAYS.number.changes(),
        ALWAYS.since_open.rolling(3).mean(),
        A + ALWAYS.number.lag(1),
        A.unitless() + ALWAYS.since_open.unitless().diff(),
        A + A.when(hx.time_of_day() > 3600),
    ],
)
def test_time_alone_is_refused_by_name(expr: Expr) -> None:
    moments = [START + timedelta(seconds=i) for i in range(3)]
    with pytest.raises(ArgumentError, match=r"time .*makes nothing happen") as caught:
        hx.graph(x=expr).over(frame(moments))
    assert str(caught.value).startswith(("session('hours')", "time_of_day(", "(", "series('a')")), (
        "it names the expression"
    )


def test_no_clock_goes_wrong_at_the_ends_of_its_table() -> None:
    """Before 1970 there is no data; after 2060 the last offset stays."""
    moments = [datetime(1971, 1, 1, tzinfo=UTC), datetime(2061, 1, 1, tzinfo=UTC)]
    assert told(hx.time_of_day("UTC"), moments) == [0.0, 0.0]
    assert not any(math.isnan(x or 0.0) for x in told(hx.weekday("America/New_York"), moments))
