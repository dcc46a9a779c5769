"""Splits, dividends, borrowed shares, interest, fees by volume, ticks, lots: known answers, by hand or exact.

The oracle below is a second broker, in rational numbers, that knows only fills, prices and the calendar.
"""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import helios as hx
import polars as pl
import pytest
from helios.data.actions import frame_of_actions
from helios.errors import ArgumentError, ConfigError, DataError
from helios.execution.account import rows_of
from helios.research.replay import replay
from helios.research.results import Results, round_trips

SHARED = Path(__file__).parents[3] / "shared" / "data"
SP500 = SHARED / "sp500_daily_2010_2023" / "sp500_daily_2010_2023.parquet"
FREE = hx.Venue(half_spread=hx.HalfSpread(bp=0))
DAY_NS = 86_400 * 10**9


class Holds(hx.Strategy):
    """Goes to positions at the bars of given days: {day: {symbol: position}}."""

    name = "holds"

    def __init__(self, plan: dict[int, dict[str, float]], name: str = "holds") -> None:
        self.plan, self.name, self.seen = plan, name, 0
        self.universe = sorted({symbol for wishes in plan.values() for symbol in wishes})
        self.last = 0

    def on_bar(self, bar: Any) -> None:
        if self.now == self.last:
            return
        self.last = self.now
        for symbol, position in self.plan.get(self.seen, {}).items():
            self.target(symbol, position)
        self.seen += 1


def daily(prices: dict[str, list[float]], begin: date = date(2024, 1, 1)) -> pl.DataFrame:
    """Bars of one price each, on weekdays (2024-01-01 is a Monday)."""
    days = [day for day in (begin + timedelta(n) for n in range(10_000)) if day.weekday() < 5]
    rows = [
        {"symbol": symbol, "date": day, "open": p, "high": p, "low": p, "close": p, "volume": 1_000.0}
        for symbol, path in prices.items()
        for day, p in zip(days, path, strict=False)
    ]
    return pl.DataFrame(rows).sort("date", "symbol")


def run(bars: pl.DataFrame, plan: Any, actions: pl.DataFrame | None = None, **settings: Any) -> Results:
    sources: list[Any] = [hx.bars(bars, ts="date", span="1d")]
    if actions is not None:
        sources.append(hx.actions(actions))
    settings = {"venue": FREE, "tick": 0.0001, "sample": "1d", **settings}
    strategy = plan if isinstance(plan, list | hx.Strategy) else Holds(plan)
    return hx.Backtest(sources, strategy, **settings).run()


def cents(results: Results, kind: str) -> list[tuple[str | None, float]]:
    rows = results.cashflows.filter(pl.col("kind") == kind)
    return list(zip(rows["strategy"].to_list(), rows["cash"].to_list(), strict=True))


# ---- splits and dividends --------------------------------------------------------------------------------------------


def test_a_split_keeps_what_is_held_and_what_it_cost() -> None:
    # Bought on Tuesday at 500.00; 4:1 from Wednesday on; sold on Thursday at 130.00.
    bars = daily({"X": [500, 500, 125, 130, 130]})
    actions = pl.DataFrame({"symbol": ["X"], "date": ["2024-01-03"], "ratio": ["4:1"]})
    results = run(bars, {0: {"X": 25}, 2: {"X": 0}}, actions)
    assert results.fills["quantity"].to_list() == [25, 100]
    assert results.fills["realised"].to_list() == [0, 100 * 130 - 25 * 500]
    assert results.reconciliation() == {"equity": 500.0, "positions": 500.0, "strategies": 500.0}
    # One round trip, in new shares: bought at 125.00, sold at 130.00.
    assert results.trades.select("quantity", "entry_price", "exit_price", "pnl").rows() == [(100, 125, 130, 500)]


def test_fractions_are_paid_and_closed() -> None:
    # 3:2 of 101 shares bought at 30.00: 151.5, half a share of 20.00 is paid; it cost 30 / 1.5 / 2 = 10.00.
    bars = daily({"X": [30, 30, 20, 20]})
    actions = pl.DataFrame({"symbol": ["X"], "date": ["2024-01-03"], "numerator": [3], "denominator": [2]})
    results = run(bars, {0: {"X": 101}}, actions)
    assert results.positions.select("quantity", "realised", "average_price").rows() == [(151, 0, 20)]
    assert cents(results, "split") == [("holds", 10.0)]
    assert results.trades.select("quantity", "entry_price", "exit_price").rows() == [(0.5, 20, 20)]
    assert set(results.reconciliation().values()) == {0.0}


def test_a_reverse_split_of_a_short_position() -> None:
    # 1:10 of 57 shares short at 2.00: 5.7 of 20.00; we buy back 0.7 for 14.00.
    bars = daily({"X": [2, 2, 20, 20]})
    actions = pl.DataFrame({"symbol": ["X"], "date": ["2024-01-03"], "ratio": [0.1]})
    results = run(bars, {0: {"X": -57}}, actions)
    assert results.positions["quantity"].to_list() == [-5]
    assert cents(results, "split") == [("holds", -14.0)]
    assert set(results.reconciliation().values()) == {0.0}


def test_dividends_go_to_who_is_long_on_the_ex_date_and_come_from_who_is_short() -> None:
    bars = daily({"X": [50, 50, 49, 49], "Y": [50, 50, 49, 49]})
    actions = pl.DataFrame({"symbol": ["X", "Y"], "date": ["2024-01-03"] * 2, "cash": [1.0, 1.0]})
    results = run(bars, {0: {"X": 100, "Y": -30}}, actions)
    assert results.positions["dividends"].to_list() == [100, -30]
    # The price fell by the dividend: nobody has won or lost.
    assert results.reconciliation() == {"equity": 0.0, "positions": 0.0, "strategies": 0.0}
    assert results.headline.dividends == 70
    # Bought on the ex-date itself: too late.
    late = run(bars, {1: {"X": 100}}, actions)
    assert late.headline.dividends == 0


def test_an_order_that_waits_over_a_split_is_sent_again_in_new_shares() -> None:
    # Wished on Tuesday's bar, filled on Wednesday's, which is the ex-date: the order of 25 expires, 100 are sent. The
    # wish was made before the split, so it is 25 old shares.
    bars = daily({"X": [500, 500, 125, 125]})
    actions = pl.DataFrame({"symbol": ["X"], "date": ["2024-01-03"], "ratio": ["4:1"]})
    for latency in (None, "50us"):
        venue = hx.Venue(half_spread=hx.HalfSpread(bp=0), latency=hx.Latency(order=latency, report=latency))
        results = run(bars, {1: {"X": 25}}, actions, venue=venue)
        assert results.orders["quantity"].to_list() == [25, 100]
        assert results.orders["state"].to_list() == ["cancelled", "filled"]
        assert results.positions["quantity"].to_list() == [100]


def test_the_order_of_sources_does_not_matter() -> None:
    bars = hx.bars(daily({"X": [500, 500, 125, 125]}), ts="date", span="1d")
    # Daily bars without a zone end at the next midnight UTC, which is when the split takes effect.
    actions = hx.actions(pl.DataFrame({"symbol": ["X"], "date": ["2024-01-03"], "ratio": ["4:1"]}))
    digests = set()
    for sources in ([bars, actions], [actions, bars]):
        results = hx.Backtest(sources, Holds({0: {"X": 25}}), venue=FREE, sample="1d").run()
        assert results.headline.net == 0
        digests.add(results.meta["digest"])
    assert len(digests) == 1


def test_actions_in_memory_say_what_they_are() -> None:
    frame = pl.DataFrame({"ticker": ["A", "B", "B"], "ex_date": ["2024-03-04", "2024-01-02", "2024-01-02"]})
    frame = frame.with_columns(split_ratio=pl.Series([1.5, None, 0.05]), amount=pl.Series([None, 0.255, None]))
    source = hx.actions(frame, tz="America/New_York")
    shown = frame_of_actions(source)
    assert shown["symbol"].to_list() == ["B", "B", "A"]
    assert shown["kind"].to_list() == ["split", "dividend", "split"]
    assert shown.select("numerator", "denominator", "cash").rows() == [(1, 20, None), (None, None, 0.255), (3, 2, None)]
    assert shown["ts"][2] == datetime(2024, 3, 4, 5, tzinfo=UTC)
    [batch] = source.batches({"B": 7})
    assert batch["instrument"].tolist() == [7, 7] and batch["kind"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"ratio": "four for one"}, "no ratio"),
        ({"ratio": "4:0"}, "above zero"),
        ({"ratio": -2.0}, "no ratio"),
        ({"ratio": 3.14159265}, "no ratio of small numbers"),
        ({"cash": -1.0}, "above zero"),
        ({"date": "31.08.2020", "ratio": "4:1"}, "no date"),
        ({"symbol": "", "ratio": "4:1"}, "no symbol"),
        ({}, "neither a ratio nor cash"),
    ],
)
def test_actions_that_cannot_be_are_named_by_their_row(row: dict[str, Any], wrong: str) -> None:
    good = {"symbol": "X", "date": "2024-01-02", "ratio": "2:1", "cash": None}
    bad = {"symbol": "X", "date": "2024-01-03", "ratio": None, "cash": None} | row
    frame = pl.DataFrame([{k: None if v is None else str(v) for k, v in r.items()} for r in (good, bad)])
    with pytest.raises(DataError, match=wrong) as caught:
        hx.actions(frame)
    assert caught.value.row == 1


def test_calls_that_cannot_be_are_refused() -> None:
    with pytest.raises(ArgumentError, match="time zone"):
        hx.actions(pl.DataFrame({"symbol": [], "date": [], "ratio": []}), tz="Mars/Base")
    with pytest.raises(DataError, match="neither splits nor dividends"):
        hx.actions(pl.DataFrame({"symbol": ["X"], "date": ["2024-01-01"]}))
    only = hx.actions(pl.DataFrame({"symbol": ["X"], "date": ["2024-01-01"], "ratio": ["2:1"]}))
    with pytest.raises(ArgumentError, match="no data source has the symbol"):
        hx.Backtest(only, hx.target("X", hx.constant(1), quantity=1)).run()


def test_round_trips_over_splits_count_in_new_shares() -> None:
    at = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 5)]
    fills = pl.DataFrame(
        {"ts": at, "strategy": "s", "instrument": "X", "side": ["sell", "sell", "buy"], "price": [10.0, 13.0, 5.0],
         "quantity": [3.0, 4.0, 14.0], "fee": [0.3, 0.4, 1.4]}
    ).with_columns(pl.col("ts").cast(pl.Datetime("ns", "UTC")))  # fmt: skip
    flows = pl.DataFrame(
        {"ts": [datetime(2024, 1, 3, tzinfo=UTC)], "strategy": "s", "instrument": "X", "kind": "split", "cash": 0.0,
         "position": -14.0, "realised": 0.0, "numerator": 2, "denominator": 1}
    ).with_columns(pl.col("ts").cast(pl.Datetime("ns", "UTC")))  # fmt: skip
    trips = round_trips(fills, flows)
    assert trips.select("side", "quantity", "entry_price", "exit_price", "pnl").rows() == [
        ("short", 6, 5.0, 5.0, 0.0),
        ("short", 8, 6.5, 5.0, 12.0),
    ]
    assert trips["fees"].to_list() == pytest.approx([0.3 + 0.6, 0.4 + 0.8])


@pytest.mark.skipif(not SP500.exists(), reason="shared data is not there")
def test_buy_and_hold_earns_the_total_return_of_adjusted_closes() -> None:
    """AAPL over its 4:1 split and two dividends, against the adjusted closes of another source."""
    split = date(2020, 8, 31)
    days = pl.scan_parquet(SP500).filter(
        (pl.col("ticker") == "AAPL") & pl.col("date").is_between(datetime(2020, 7, 1), datetime(2020, 12, 31))
    )
    table = days.with_columns(pl.col("date").dt.date()).collect()
    # The file's prices are adjusted for the split: what was printed before it is four times as much.
    factor = pl.when(pl.col("date") < split).then(4.0).otherwise(1.0)
    names = ("open", "high", "low", "close")
    printed = table.with_columns((pl.col(name).cast(pl.Float64) * factor).round(2) for name in names)
    printed = printed.with_columns(
        high=pl.max_horizontal("open", "high", "close"), low=pl.min_horizontal("open", "low", "close")
    )
    actions = pl.DataFrame(
        {"symbol": "AAPL", "date": ["2020-08-07", "2020-08-31", "2020-11-06"], "ratio": [None, "4:1", None],
         "cash": [0.82, None, 0.205]}
    )  # fmt: skip
    zone = "America/New_York"
    sources = [hx.bars(printed, symbol="ticker", ts="date", tz=zone, span="1d"), hx.actions(actions, tz=zone)]
    results = hx.Backtest(sources, Holds({0: {"AAPL": 100}}), venue=FREE, sample="1d").run()
    assert results.positions["quantity"].to_list() == [400]
    assert results.headline.dividends == 100 * 0.82 + 400 * 0.205

    # Value of the position after each close, and what was paid before the next one.
    value = results.equity.filter(pl.col("net") > 0).select("ts", "net").sort("ts")
    paid = results.cashflows.filter(pl.col("kind") == "dividend").select("ts", "cash")
    steps = value.with_columns(before=pl.col("net").shift(1), since=pl.col("ts").shift(1)).drop_nulls()
    total = 1.0
    for ts, net, before, since in steps.iter_rows():
        dividend = paid.filter((pl.col("ts") > since) & (pl.col("ts") <= ts))["cash"].sum()
        # Adjusted closes reinvest a dividend at the close before, less the dividend.
        total *= net / (before - dividend)
    adjusted = table["adj_close"].cast(pl.Float64)
    bought = 1  # the second bar's close is the first at which it is held
    implied = adjusted[-1] / adjusted[bought]
    # Adjusted closes of the file have four decimals, printed prices two.
    assert total == pytest.approx(implied, rel=1.5e-4)
    # Without the dividends the two are far apart: the test would see it.
    assert abs(value["net"][-1] / value["net"][0] - implied) > 10 * 1.5e-4 * implied / 1.5


# ---- names -----------------------------------------------------------------------------------------------------------


def test_a_symbol_change_keeps_the_position() -> None:
    bars = daily({"FB": [10, 10, 10, 12, 14, 15], "KO": [5] * 6})
    changed = bars.with_columns(
        pl.when((pl.col("symbol") == "FB") & (pl.col("date") >= date(2024, 1, 4))).then(pl.lit("META"))
        .otherwise(pl.col("symbol")).alias("symbol")
    )  # fmt: skip
    source = hx.rename(hx.bars(changed, ts="date", span="1d"), {"FB": "META"})
    assert source.symbols == ["KO", "META"]
    results = hx.Backtest(source, Holds({0: {"META": 100}}), venue=FREE).run()
    assert results.fills.height == 1 and results.positions.select("instrument", "quantity", "mark").rows() == [
        ("META", 100, 15)
    ]
    # The same as under one name all along.
    plain = hx.Backtest(hx.bars(bars.with_columns(pl.col("symbol").replace("FB", "META")), ts="date", span="1d"),
                        Holds({0: {"META": 100}}), venue=FREE).run()  # fmt: skip
    assert plain.meta["digest"] == results.meta["digest"]


def test_two_names_at_one_time_are_two_instruments() -> None:
    source = hx.rename(hx.bars(daily({"FB": [10, 11], "META": [20, 21]}), ts="date", span="1d"), {"FB": "META"})
    with pytest.raises(DataError, match="not one instrument"):
        list(source.batches({"META": 0}))


@pytest.mark.parametrize(("names", "wrong"), [({"Z": "Y"}, "no symbol 'Z'"), ({"A": ""}, "new symbol"),
                                              ({"A": "B", "B": "C"}, "last name")])  # fmt: skip
def test_wrong_names_are_refused(names: dict[str, str], wrong: str) -> None:
    with pytest.raises(ArgumentError, match=wrong):
        hx.rename(hx.bars(daily({"A": [1, 1], "B": [1, 1]}), ts="date", span="1d"), names)


# ---- borrowed shares and interest ------------------------------------------------------------------------------------


def test_borrow_over_a_weekend_is_three_nights() -> None:
    # Sold on Thursday (the bar that ends on Friday 00:00 UTC), covered on Tuesday's: nights of Fri, Sat, Sun, Mon.
    bars = daily({"X": [50, 50, 50, 50, 60, 60, 60, 60]})
    venue = hx.Venue(half_spread=hx.HalfSpread(bp=0), borrow=hx.Borrow(rate=0.03))
    results = run(bars, {2: {"X": -200}, 5: {"X": 0}}, venue=venue)
    # 200 * 50.00 = 10,000 at 3 % is 0.833334 a night; Friday's close is 60.00: 1.00 a night, three nights until
    # Monday's bar ends, and one more.
    assert cents(results, "borrow") == [("holds", -0.833334), ("holds", -3.0), ("holds", -1.0)]
    assert results.headline.borrow == pytest.approx(4.833334)
    assert set(results.reconciliation().values()) == {results.headline.net}
    assert results.headline.net == pytest.approx(-200 * 10 - 4.833334)


def test_rates_by_symbol_and_by_date() -> None:
    bars = daily({"X": [36, 36, 36, 36, 36], "Y": [36, 36, 36, 36, 36]})
    borrow = hx.Borrow(rate=0.10, rates={"Y": {"2024-01-01": 0.2, "2024-01-04": 0.4}, "NOT THERE": 0.5})
    venue = hx.Venue(half_spread=hx.HalfSpread(bp=0), borrow=borrow)
    results = run(bars, {0: {"X": -100, "Y": -100}}, venue=venue)
    # 3,600.00 at 10 %: 1.00 a night. Y at 20 %: 2.00, from the night after the 4th on 4.00. Sold on the 2nd, whose bar
    # ends on the 3rd: the first night is that after the 3rd.
    by = results.cashflows.group_by("instrument", maintain_order=True).agg("cash").sort("instrument")
    assert by["cash"].to_list() == [[-1, -1, -1], [-2, -4, -4]]
    ends = results.cashflows["ts"].unique().sort().to_list()
    assert ends == [datetime(2024, 1, day, tzinfo=UTC) for day in (4, 5, 6)]


def test_interest_on_debt_and_on_money() -> None:
    bars = daily({"X": [100, 100, 100, 100]})
    venue = hx.Venue(half_spread=hx.HalfSpread(bp=0), financing=hx.Financing(debit=0.072, credit=0.036))
    results = run(bars, {0: {"X": 60}}, venue=venue, cash=1_000.0)
    # 1,000.00 at 3.6 % earn 0.10 in the night after the 2nd: the bar in which X is bought ends with the day. Then
    # 1,000.10 - 6,000.00 at 7.2 % cost 0.99998, and 5,000.89998 cost 1.000179996, rounded up.
    flows = results.cashflows.group_by("ts", maintain_order=True).agg(pl.col("cash").sum())
    assert flows["cash"].to_list() == pytest.approx([0.1, -0.99998, -1.00018], abs=1e-9)
    # The strategy pays for 6,000.00, the money of the beginning earns on 1,000.00, both at the day's rate.
    assert cents(results, "financing")[0] == (None, 0.1)
    first, second = (dict(cents(results, "financing")[at : at + 2]) for at in (1, 3))
    assert first == pytest.approx({"holds": -6_000 * 0.0002, None: 1_000.10 * 0.0002}, abs=2e-6)
    assert second == pytest.approx({"holds": -6_001.2 * 0.0002, None: 1_000.30002 * 0.0002}, abs=2e-6)
    assert max(results.reconciliation().values()) - min(results.reconciliation().values()) < 1e-9
    assert results.headline.net == pytest.approx(0.1 - 0.99998 - 1.00018)


def test_what_nobody_lends_is_not_sold_short() -> None:
    bars = daily({"X": [10] * 6})
    venue = hx.Venue(half_spread=hx.HalfSpread(bp=0), borrow=hx.Borrow(not_shortable=["X"]))
    results = run(bars, {0: {"X": -10}, 1: {"X": 10}, 3: {"X": 0}}, venue=venue)
    assert results.orders["state"].to_list()[0] == "rejected"
    assert results.positions["quantity"].to_list() == [0]
    assert results.fills["side"].to_list() == ["buy", "sell"]


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: hx.Borrow(rate="5%"), "fraction a year"),
        (lambda: hx.Borrow(rate=-0.01), "from 0"),
        (lambda: hx.Borrow(rate=500), "from 0 to 100"),
        (lambda: hx.Borrow(rates={"X": {"31/1/2024": 0.1}}), "no date"),
        (lambda: hx.Borrow(rates={"X": {"2024-01-31": 0.1, date(2024, 1, 31): 0.2}}), "two rates"),
        (lambda: hx.Borrow(not_shortable="GME"), "list of symbols"),
        (lambda: hx.Borrow(days_per_year=0), "days_per_year"),
        (lambda: hx.Financing(debit=float("nan")), "fraction a year"),
        (lambda: hx.Venue(borrow=0.05), "hx.Borrow"),
        (lambda: hx.Venue(fees=hx.Fees(tiers=[1])).spec(), "hx.FeeTier"),
        (lambda: hx.Venue(fees=hx.Fees(tiers=[hx.FeeTier(volume=5), hx.FeeTier(volume=5)])).spec(), "higher volume"),
        (lambda: hx.Venue(fees=hx.Fees(window="30 days")).spec(), "'30d', or 'month'"),
        (lambda: hx.Venue(fees=hx.Fees(volume="money")).spec(), "'shares' or 'notional'"),
        (lambda: hx.Venue(fees=hx.Fees(sell_bp=-1)).spec(), "0 or more"),
        (lambda: hx.Venue(fees=hx.Fees(sell_cap=0)).spec(), "sell_cap"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Any, wrong: str) -> None:
    with pytest.raises(ArgumentError, match=wrong):
        make()


def test_a_rate_of_a_date_is_that_of_its_night() -> None:
    begins = 5 * 3600 * 10**9
    day = (date(2024, 1, 31) - date(1970, 1, 1)).days
    assert rows_of({"2024-01-31": 0.1}, "rate", begins) == [(day * DAY_NS + begins, 100_000)]
    assert rows_of(0.0, "rate", begins) == []


# ---- fees, ticks, lots -----------------------------------------------------------------------------------------------


def test_a_tier_is_reached_in_the_middle_of_an_order() -> None:
    # Quotes of 400 at 10.00: an order of 1,000 fills in three parts. From 700 shares on a share costs 0.001, not 0.002.
    ts = [datetime(2024, 1, 2, 15, 0, second, tzinfo=UTC) for second in range(5)]
    quotes = pl.DataFrame({"symbol": "X", "ts": ts, "bid": [9.99, 9.98, 9.99, 9.98, 9.99], "ask": 10.0,
                           "bid_size": 400.0, "ask_size": [400.0, 800.0, 1200.0, 1600.0, 2000.0]})  # fmt: skip

    class Buys(hx.Strategy):
        universe = ("X",)
        done = False

        def on_book(self, book: Any) -> None:
            if not self.done:
                self.done = True
                self.buy("X", 1_000, 10.0)

    fees = hx.Fees(taker_per_share=0.002, maker_per_share=0.002, tiers=[
        hx.FeeTier(volume=700, taker_per_share=0.001, maker_per_share=0.001)])  # fmt: skip
    results = hx.Backtest(hx.quotes(quotes), Buys(), venue=hx.Venue(fees=fees)).run()
    assert results.fills["quantity"].to_list() == [400, 400, 200]
    # 400 and 400 at 0.002 (the second begins below 700), then 200 at 0.001.
    assert results.fills["fee"].to_list() == pytest.approx([0.8, 0.8, 0.2])


def test_sales_cost_what_regulators_ask() -> None:
    fees = hx.Fees(sell_bp=0.278, sell_per_share=0.000166, sell_cap=8.30)
    bars = daily({"X": [10] * 6})
    venue = hx.Venue(half_spread=hx.HalfSpread(bp=0), fees=fees)
    results = run(bars, {0: {"X": 100_000}, 2: {"X": 0}}, venue=venue, cash=2_000_000.0)
    # A million sold: 27.80, and 16.60 is more than 8.30. Buying costs nothing.
    assert results.fills["fee"].to_list() == pytest.approx([0.0, 36.10])


def test_ticks_depend_on_the_price() -> None:
    ts = [datetime(2024, 1, 2, 15, 0, second, tzinfo=UTC) for second in range(4)]
    quotes = pl.DataFrame({"symbol": "X", "ts": ts, "bid": 0.99, "ask": 0.9999, "bid_size": 100.0, "ask_size": 100.0})

    class Sends(hx.Strategy):
        universe = ("X",)
        prices = (0.9951, 1.0051, 1.01)

        def on_book(self, book: Any) -> None:
            if self.prices:
                self.sell("X", 1, self.prices[0])
                self.prices = self.prices[1:]

    table = hx.Instrument("X", tick=[(0, 0.0001), (1, 0.01)])
    results = hx.Backtest(hx.quotes(quotes), Sends(), instruments=[table]).run()
    # Between the steps of its band: the gate refuses it before the venue has to.
    assert results.orders["price"].to_list() == [0.9951, 1.01]
    assert results.refusals.select("rule", "price").rows() == [("invalid", 1.0051)]
    # Two ticks through an ask just below a dollar are 1.00 and 1.01.
    through = hx.Execution(style="touch", ticks=2)
    results = hx.Backtest(hx.quotes(quotes), hx.target("X", hx.ask("X") > 0, quantity=10), instruments=[table],
                          execution=through).run()  # fmt: skip
    assert results.orders["price"].to_list()[0] == 1.01


def test_round_lots_and_least_notional() -> None:
    bars = daily({"X": [10] * 8})
    # Odd lots are not ordered: 250 wished are 200; after a 3:2 split of 200 the account has 300.
    lots = hx.Instrument("X", tick=0.0001, lot=1, round_lot=100)
    results = run(bars, {0: {"X": 250}}, instruments=[lots])
    assert results.orders["quantity"].to_list() == [200]
    actions = pl.DataFrame({"symbol": ["X"], "date": ["2024-01-04"], "ratio": ["9:8"]})
    results = run(bars, {0: {"X": 200}}, actions, instruments=[lots])
    assert results.positions["quantity"].to_list() == [225] and results.cashflows["cash"].to_list() == [0]
    # An order of less than 50.00 is not sent; one that a strategy sends is rejected.
    least = hx.Instrument("X", tick=0.0001, min_notional=50)
    assert run(bars, {0: {"X": 4}}, instruments=[least]).orders.height == 0
    assert run(bars, {0: {"X": 5}}, instruments=[least]).positions["quantity"].to_list() == [5]

    class Sends(hx.Strategy):
        universe = ("X",)

        def on_bar(self, bar: Any) -> None:
            self.buy("X", 4)

    results = run(bars, Sends(), instruments=[least])
    assert set(results.orders["state"]) == {"rejected"}


@pytest.mark.parametrize(
    ("instrument", "wrong"),
    [
        (hx.Instrument("X", tick=[]), "steps by price|first begins at zero|positive"),
        (hx.Instrument("X", tick=[(1, 0.01)]), "first begins at zero"),
        (hx.Instrument("X", tick=[(0, 0.01), (0.015, 0.1)]), "multiple"),
        (hx.Instrument("X", tick=["a"]), "steps by price"),
        (hx.Instrument("X", lot=10, round_lot=25), "no multiple"),
        (hx.Instrument("X", min_notional=-1), "negative"),
    ],
)
def test_instruments_that_cannot_be_are_refused(instrument: hx.Instrument, wrong: str) -> None:
    with pytest.raises(ArgumentError, match=wrong):
        run(daily({"X": [10] * 4}), {0: {"X": 1}}, instruments=[instrument])


# ---- everything together, against exact arithmetic -------------------------------------------------------------------


def nearest(x: Fraction) -> int:
    """Halves away from zero."""
    sign = -1 if x < 0 else 1
    return sign * ((abs(x) * 2 + 1) // 2).__floor__()


def ceil(x: Fraction) -> int:
    return -((-x).__floor__())


class Broker:
    """Positions in shares, money in millionths: what a run must come to."""

    def __init__(self, cash: int, borrow: dict[str, Fraction], debit: Fraction, credit: Fraction) -> None:
        self.money, self.borrow, self.debit, self.credit = cash, borrow, debit, credit
        self.held: dict[str, int] = {}
        self.marks: dict[str, Fraction] = {}
        self.told: list[tuple[int, str, str | None, int]] = []

    def fill(self, symbol: str, shares: int, price: Fraction, fee: int) -> None:
        self.money -= nearest(price * shares * 10**6) + fee
        self.held[symbol] = self.held.get(symbol, 0) + shares

    def nights(self, ended: int, nights: int) -> None:
        before = self.money
        for symbol in sorted(self.held):
            if self.held[symbol] < 0:
                value = nearest(-self.held[symbol] * self.marks[symbol] * 10**6)
                self.book(ended, "borrow", symbol, -ceil(value * self.borrow[symbol] * nights / 360))
        rate = self.debit if before < 0 else self.credit
        self.book(ended, "financing", None, -ceil(-before * rate * nights / 360))

    def dividend(self, ts: int, symbol: str, cash: Fraction) -> None:
        self.book(ts, "dividend", symbol, nearest(cash * self.held.get(symbol, 0) * 10**6))
        self.marks[symbol] -= cash

    def split(self, ts: int, symbol: str, ratio: Fraction) -> None:
        exact = self.held.get(symbol, 0) * ratio
        whole = int(exact)  # towards zero
        self.marks[symbol] /= ratio
        self.book(ts, "split", symbol, nearest((exact - whole) * self.marks[symbol] * 10**6))
        self.held[symbol] = whole
        # The core's marks have nine decimals.
        self.marks[symbol] = Fraction(nearest(self.marks[symbol] * 10**9), 10**9)

    def book(self, ts: int, kind: str, symbol: str | None, cash: int) -> None:
        self.money += cash
        if cash:
            self.told.append((ts, kind, symbol, cash))


@pytest.mark.parametrize("seed", range(6))
def test_a_long_random_run_is_exact(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    days = 260
    symbols = ["A", "B", "C"]
    paths = {symbol: [rng.randrange(500, 20_000) / 100 for _ in range(days)] for symbol in symbols}
    bars = daily(paths)
    dates = bars["date"].unique().sort().to_list()
    rows = []
    for number in sorted(rng.sample(range(5, days), 40)):
        kind = rng.random() < 0.5
        ratio = rng.choice(["4:1", "3:2", "1:10", "5:7", "21:20"]) if kind else None
        cash = None if kind else rng.randrange(1, 400) / 1_000
        rows.append({"symbol": rng.choice(symbols), "date": dates[number], "ratio": ratio, "cash": cash})
    actions = pl.DataFrame(rows)
    plans = [
        {day: {symbol: rng.randrange(-300, 301) for symbol in rng.sample(symbols, 2)} for day in range(0, days, 3)}
        for _ in range(2)
    ]
    borrow = {symbol: Fraction(rng.randrange(0, 300_000), 10**6) for symbol in symbols}
    debit, credit = Fraction(rng.randrange(90_000), 10**6), Fraction(rng.randrange(40_000), 10**6)
    venue = hx.Venue(
        fees=hx.Fees(taker_per_share=0.0031, tiers=[hx.FeeTier(volume=3_000, taker_bp=1.3)], window="month",
                     sell_bp=0.278, sell_per_share=0.000166, sell_cap=0.01),
        borrow=hx.Borrow(rates={symbol: float(rate) for symbol, rate in borrow.items()}),
        financing=hx.Financing(debit=float(debit), credit=float(credit)),
    )  # fmt: skip
    backtest = hx.Backtest(
        [hx.bars(bars, ts="date", span="1d"), hx.actions(actions)],
        [Holds(plan, f"s{n}") for n, plan in enumerate(plans)],
        venue=venue, cash=20_000.0, tick=0.0001, sample="1d",
    )  # fmt: skip
    results = backtest.run(tmp_path / "run", report=False)

    broker = Broker(20_000 * 10**6, borrow, debit, credit)
    events: dict[int, list[tuple[int, Any]]] = {}
    for row in bars.iter_rows(named=True):
        ts = (row["date"] - date(1970, 1, 1)).days * DAY_NS + DAY_NS
        events.setdefault(ts, []).append((1, row))
    for row in actions.iter_rows(named=True):
        ts = (row["date"] - date(1970, 1, 1)).days * DAY_NS
        events.setdefault(ts, []).append((2 if row["ratio"] else 3, row))
    executed = results.fills.filter(pl.col("execution") > 0).with_columns(pl.col("ts").to_physical())
    fills: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in executed.group_by("execution", "ts", "instrument", "side", "price", maintain_order=True).agg(
        pl.col("quantity").sum(), (pl.col("fee") * 10**6).round(0).sum().cast(pl.Int64)
    ).iter_rows(named=True):  # fmt: skip
        fills.setdefault((row["ts"], row["instrument"]), []).append(row)
    latest = None
    for ts in sorted(events):
        if latest is not None and (nights := ts // DAY_NS - latest // DAY_NS):
            broker.nights((latest // DAY_NS + 1) * DAY_NS, nights)
        latest = ts
        for kind, row in sorted(events[ts], key=lambda event: (event[0], event[1]["symbol"])):
            symbol = row["symbol"]
            if kind == 1:
                for fill in fills.pop((ts, symbol), []):
                    shares = round(fill["quantity"]) * (1 if fill["side"] == "buy" else -1)
                    broker.fill(symbol, shares, Fraction(round(fill["price"] * 10**9), 10**9), fill["fee"])
                broker.marks[symbol] = Fraction(str(row["close"]))
            elif kind == 2:
                broker.split(ts, symbol, Fraction(*map(int, row["ratio"].split(":"))))
            else:
                broker.dividend(ts, symbol, Fraction(str(row["cash"])))
    assert not fills, "every fill was seen"

    flows = results.cashflows.with_columns(pl.col("ts").to_physical(), (pl.col("cash") * 10**6).round(0).cast(pl.Int64))
    told = flows.group_by("ts", "kind", "instrument").agg(pl.col("cash").sum()).filter(pl.col("cash") != 0)
    assert sorted(map(repr, told.rows())) == sorted(map(repr, broker.told))
    kinds = {kind for _, kind, _, _ in broker.told}
    assert kinds == {"split", "dividend", "borrow", "financing"}
    held = dict(results.positions.select("instrument", "quantity").iter_rows())
    assert held == {symbol: float(shares) for symbol, shares in broker.held.items()}
    last = results.equity.row(-1, named=True)
    assert round(last["cash"] * 10**6) == broker.money
    value = sum(nearest(broker.held[symbol] * broker.marks[symbol] * 10**6) for symbol in broker.held)
    assert round(last["equity"] * 10**6) == broker.money + value
    assert max(results.reconciliation().values()) - min(results.reconciliation().values()) < 1e-6
    assert replay(tmp_path / "run").identical
    # Round trips and open positions tell the same story as the books: nothing of a split is lost.
    assert results.trades.height > 100


# ---- run files and folders -------------------------------------------------------------------------------------------


RUN = """
name = "held"
tick = 0.0001
[[data]]
kind = "bars"
path = "bars.csv"
span = "1d"
[[data]]
kind = "actions"
path = "actions.csv"
[strategy]
class = "hold.py:Hold"
[venue]
half_spread_bp = 0
sell_bp = 0.278
fee_window = "month"
borrow = 0.03
borrow_rates = { X = { "2024-01-01" = 0.1 } }
not_shortable = ["Y"]
debit = 0.06
tiers = [{ volume = 1000, taker_bp = 1.0 }]
"""
HOLD = """
import helios as hx
class Hold(hx.Strategy):
    def signals(self):
        return [hx.target("X", -(hx.close("X") > 0), quantity=25)]
"""


def test_a_run_file_has_it_all(tmp_path: Path) -> None:
    daily({"X": [36, 36, 36, 9, 9]}).write_csv(tmp_path / "bars.csv")
    pl.DataFrame({"symbol": ["X"], "date": ["2024-01-04"], "ratio": ["4:1"]}).write_csv(tmp_path / "actions.csv")
    (tmp_path / "hold.py").write_text(HOLD)
    (tmp_path / "run.toml").write_text(RUN)
    from helios.config import load_run

    backtest = load_run(tmp_path / "run.toml")
    assert backtest.venue.borrow == hx.Borrow(rate=0.03, rates={"X": {"2024-01-01": 0.1}}, not_shortable=["Y"])
    results = backtest.run(tmp_path / "run")
    # 25 * 36.00 at 10 %: 0.25 a night, before the split and after it.
    assert [cash for _, cash in cents(results, "borrow")] == [-0.25, -0.25, -0.25]
    assert results.positions["quantity"].to_list() == [-100]
    loaded = Results.load(tmp_path / "run")
    assert loaded.cashflows.equals(results.cashflows) and loaded.headline == results.headline
    page = (tmp_path / "run" / "report.html").read_text()
    assert "borrow" in page
    assert "borrow" in str(results)
    # Folders from before there were corporate actions are read as ever.
    (tmp_path / "run" / "cashflows.parquet").unlink()
    equity = pl.read_parquet(tmp_path / "run" / "equity.parquet").drop("borrow", "dividends", "financing")
    equity.write_parquet(tmp_path / "run" / "equity.parquet")
    assert Results.load(tmp_path / "run").headline.borrow == 0
    (tmp_path / "run.toml").write_text(RUN.replace("debit = 0.06", 'debit = "6%"'))
    with pytest.raises(ConfigError):
        load_run(tmp_path / "run.toml")
