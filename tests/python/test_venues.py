"""Several venues in one run: listings, one position, latencies of their own, and dark pools."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.config import load_run
from helios.data import at
from helios.errors import ArgumentError, ConfigError, HeliosError
from helios.research.replay import replay

T0 = datetime(2026, 1, 5, 14, 30)


def when(seconds: float) -> datetime:
    return T0 + timedelta(microseconds=round(seconds * 1e6))


def quotes(*rows: tuple[float, float, float], symbol: str = "KO", size: float = 100) -> pl.DataFrame:
    """Seconds, bid, ask."""
    return pl.DataFrame(
        [{"ts": when(s), "symbol": symbol, "bid": b, "bid_size": size, "ask": a, "ask_size": size} for s, b, a in rows]
    )


def prints(*rows: tuple[float, float, float], symbol: str = "KO") -> pl.DataFrame:
    """Seconds, price, size."""
    return pl.DataFrame([{"ts": when(s), "symbol": symbol, "price": p, "size": n} for s, p, n in rows])


def flat(seconds: float, bid: float = 10.00, ask: float = 10.01, every: float = 1.0) -> pl.DataFrame:
    return quotes(*[(k * every, bid, ask) for k in range(int(seconds / every) + 1)])


class Orders(hx.Strategy):
    """Sends orders by a plan: seconds since T0 -> what to do."""

    def __init__(self, plan: dict[float, Callable[[Orders], object]], universe: list[str] | None = None) -> None:
        super().__init__()
        self.plan = sorted(plan.items(), key=lambda item: item[0])
        if universe is not None:
            self.universe = universe
        self.seen: list[tuple[str, float, float]] = []
        self.ends: list[tuple[str, str]] = []

    def on_book(self, book: Any) -> None:
        while (
            self.plan
            and book.ts >= (T0 + timedelta(seconds=self.plan[0][0]) - datetime(1970, 1, 1)).total_seconds() * 1e9
        ):
            self.plan.pop(0)[1](self)

    def on_fill(self, fill: Any) -> None:
        self.seen.append((fill.symbol, fill.price, fill.position))

    def on_order(self, order: Any) -> None:
        self.ends.append((order.symbol, order.state))


def seconds_of(column: pl.Series) -> list[float]:
    return [(t - T0).total_seconds() for t in column.dt.replace_time_zone(None)]


TWO = {
    "": hx.Venue(latency=hx.Latency(order="1ms", report="1ms"), fees=hx.Fees(taker_per_share=0.003)),
    "BATS": hx.Venue(latency=hx.Latency(order="20ms", report="30ms"), fees=hx.Fees(taker_per_share=0.001)),
}
BOTH = [hx.quotes(flat(5)), at(hx.quotes(flat(5, 10.00, 10.02)), "BATS")]


def two_venues(**changes: Any) -> tuple[hx.Backtest, Orders]:
    strategy = Orders(
        {
            1: lambda s: (s.buy("KO@BATS", 30, 10.02), s.buy("KO", 20, 10.01)),
            3: lambda s: s.sell("KO", 50, 10.00),
            4: lambda s: s.sell("KO@BATS", 10, 10.00),
        }
    )
    settings: dict[str, Any] = {"data": BOTH, "strategy": strategy, "venue": TWO, "sample": "1s"}
    return hx.Backtest(**(settings | changes)), strategy


# ---- two exchanges ---------------------------------------------------------------------------------------------------


def test_two_venues_by_hand() -> None:
    backtest, strategy = two_venues()
    run = backtest.run()
    fills = run.fills
    assert fills.select("instrument", "venue", "side", "price", "quantity").rows() == [
        ("KO", "", "buy", 10.01, 20.0),
        ("KO", "BATS", "buy", 10.02, 30.0),
        ("KO", "", "sell", 10.00, 50.0),
        ("KO", "BATS", "sell", 10.00, 10.0),
    ]
    # At the venue one order latency after it was sent, here one report latency later: each venue has its own.
    assert seconds_of(fills["ts_event"]) == [1.001, 1.02, 3.001, 4.02]
    assert seconds_of(fills["ts"]) == [1.002, 1.05, 3.002, 4.05]
    assert fills["fee"].to_list() == pytest.approx([0.06, 0.03, 0.15, 0.01])
    # One position, whatever venue filled it.
    assert fills["position"].to_list() == [20.0, 50.0, 0.0, -10.0]
    assert strategy.seen == [("KO", 10.01, 20), ("KO@BATS", 10.02, 50), ("KO", 10.0, 0), ("KO@BATS", 10.0, -10)]
    assert run.positions.select("instrument", "quantity").rows() == [("KO", -10.0)]
    assert run.orders.select("instrument", "venue").rows() == [("KO", "BATS"), ("KO", ""), ("KO", ""), ("KO", "BATS")]
    # Round trips match across venues, first in first out.
    assert run.trades.select("instrument", "quantity", "entry_price", "exit_price").rows() == [
        ("KO", 20.0, 10.01, 10.0),
        ("KO", 30.0, 10.02, 10.0),
    ]
    assert run.reconciles()
    # The mark is the primary listing's.
    assert run.positions["mark"].to_list() == [pytest.approx(10.005)]


def test_positions_are_asked_for_by_any_listing() -> None:
    held: list[tuple[float, float, float]] = []
    strategy = Orders(
        {
            1: lambda s: s.buy("KO@BATS", 30, 10.02),
            2: lambda s: held.append((s.position("KO"), s.position("KO@BATS"), s.position("KO@ARCA"))),
        }
    )
    venues = {**TWO, "ARCA": hx.Venue()}
    hx.Backtest(data=[*BOTH, at(hx.quotes(flat(1)), "ARCA")], strategy=strategy, venue=venues).run()
    assert held == [(30.0, 30.0, 30.0)]


def test_limits_count_all_venues_together() -> None:
    strategy = Orders({1: lambda s: (s.buy("KO@BATS", 30, 10.02), s.buy("KO", 25, 10.01), s.buy("KO", 20, 10.01))})
    run = hx.Backtest(data=BOTH, strategy=strategy, venue=TWO, limits=hx.Limits(position=50)).run()
    assert run.refusals.select("instrument", "rule", "value").rows() == [("KO", "position", 55.0)]
    assert run.fills["quantity"].to_list() == [20.0, 30.0]


def test_a_target_counts_what_any_venue_filled() -> None:
    strategy = Orders({1: lambda s: s.buy("KO@BATS", 30, 10.02), 2: lambda s: s.target("KO", 50)})
    run = hx.Backtest(data=BOTH, strategy=strategy, venue=TWO).run()
    assert run.fills.select("venue", "quantity", "position").rows() == [("BATS", 30.0, 30.0), ("", 20.0, 50.0)]


def test_the_same_every_time_and_replayed(tmp_path: Path) -> None:
    first = two_venues()[0].run(tmp_path / "a", report=False)
    again = two_venues()[0].run()
    assert first.meta["digest"] == again.meta["digest"]
    assert first.fills.equals(again.fills)
    assert replay(tmp_path / "a").digest == first.meta["digest"]
    loaded = hx.Results.load(tmp_path / "a")
    assert loaded.fills.equals(first.fills)


def test_one_venue_by_name_is_one_venue() -> None:
    """The same data, orders and settings: the same fills, money and digest."""
    side = (hx.mid("KO") - 10.05).hysteresis(enter=0.02, exit=0.01)
    frame = quotes((0, 10.0, 10.02), (1, 10.08, 10.1), (2, 10.08, 10.1), (3, 10.0, 10.02), (4, 10.0, 10.02))
    venue = hx.Venue(fees=hx.Fees(taker_bp=1), latency=hx.Latency(order=hx.LogNormal(median="1ms", p99="9ms")))
    runs = [
        hx.Backtest(data=hx.quotes(frame), strategy=hx.target("KO", side, quantity=10), venue=one).run()
        for one in (venue, {"": venue}, {"": venue, "BATS": hx.Venue()})
    ]
    assert runs[0].fills.height >= 2
    for other in runs[1:]:
        assert other.fills.equals(runs[0].fills)
        assert other.equity.equals(runs[0].equity)
        assert other.meta["digest"] == runs[0].meta["digest"]


def test_a_symbol_with_a_stroke_is_just_a_symbol_where_venues_have_no_names() -> None:
    frame = flat(3).with_columns(pl.lit("KO@X").alias("symbol"))
    run = hx.Backtest(data=hx.quotes(frame), strategy=hx.target("KO@X", hx.mid("KO@X") > 1, quantity=5)).run()
    assert run.fills.select("instrument", "venue", "quantity").rows() == [("KO@X", "", 5.0)]


def test_each_listing_can_have_its_own_tick() -> None:
    coarse = hx.Instrument("KO@BATS", tick=0.05)
    strategy = Orders({1: lambda s: (s.buy("KO@BATS", 1, 10.02), s.buy("KO", 1, 10.02), s.buy("KO@BATS", 1, 10.05))})
    run = hx.Backtest(data=BOTH, strategy=strategy, venue=TWO, instruments=[coarse]).run()
    assert run.refusals.select("instrument", "rule").rows() == [("KO@BATS", "invalid")]
    assert run.fills["venue"].to_list() == ["", "BATS"]


def test_what_a_security_is_says_what_its_listings_are() -> None:
    strategy = Orders({1: lambda s: s.buy("KO@BATS", 1, 10.02)})
    lots = [hx.Instrument("KO", lot=10)]
    run = hx.Backtest(data=BOTH, strategy=strategy, venue=TWO, instruments=lots).run()
    assert run.refusals["rule"].to_list() == ["invalid"]


# ---- the faster line -------------------------------------------------------------------------------------------------


class Faster(hx.Strategy):
    """Sees the price move at the first venue and takes what still stands at the second, which follows 5 ms later."""

    universe = ("KO", "KO@SLOW")

    def __init__(self) -> None:
        super().__init__()
        self.last = 0.0

    def on_book(self, book: Any) -> None:
        if book.symbol != "KO":
            return
        if self.last and book.mid > self.last + 0.05:
            self.buy("KO@SLOW", 10, round(self.last + 0.01, 2), ioc=True)
        if self.last and book.mid < self.last - 0.05:
            self.sell("KO@SLOW", 10, round(self.last - 0.01, 2), ioc=True)
        self.last = book.mid


def race(feed: str, order: str) -> hx.Results:
    """The mid jumps by ten cents each second, up and down; SLOW shows it 5 ms after the first venue."""
    rng = np.random.default_rng(3)
    mids = 10 + 0.1 * np.cumsum(rng.choice([-1, 1], size=60))
    leader = quotes(*[(k, round(m - 0.01, 2), round(m + 0.01, 2)) for k, m in enumerate(mids)])
    follower = quotes(*[(k + 0.005, round(m - 0.01, 2), round(m + 0.01, 2)) for k, m in enumerate(mids)])
    return hx.Backtest(
        data=[hx.quotes(leader), at(hx.quotes(follower), "SLOW")],
        strategy=Faster(),
        venue={"": hx.Venue(latency=hx.Latency(feed=feed)), "SLOW": hx.Venue(latency=hx.Latency(order=order))},
    ).run()


def test_latency_arbitrage_needs_the_faster_line() -> None:
    """The effect: news from the one and an order to the other must together be faster than the other venue's quote."""
    fast, slow_feed, slow_order = race("1ms", "2ms"), race("4ms", "2ms"), race("1ms", "6ms")
    assert fast.fills.height == 59
    assert set(fast.fills["venue"]) == {"SLOW"}
    assert fast.headline.net is not None
    assert fast.headline.net > 0
    for late in (slow_feed, slow_order):
        assert late.orders.height == 59
        assert late.fills.height == 0, "the stale quote was gone"


# ---- the dark pool ---------------------------------------------------------------------------------------------------


def dark(plan: dict[float, Callable[[Orders], object]], pool: hx.DarkPool, *trades: tuple[float, float, float]) -> Any:
    strategy = Orders(plan, ["KO", "KO@DARK"])
    data: list[Any] = [hx.quotes(flat(20))]
    if trades:
        data.append(hx.trades(prints(*trades)))
    venue = {"": hx.Venue(), "DARK": pool}
    return hx.Backtest(data=data, strategy=strategy, venue=venue, sample="1s").run(), strategy


def test_prints_at_the_midpoint_fill_at_half_a_tick() -> None:
    pool = hx.DarkPool(prints=0.5, fees=hx.Fees(maker_per_share=0.001), latency=hx.Latency(order="10ms", report="20ms"))
    plan = {1: lambda s: s.buy("KO@DARK", 100), 2: lambda s: s.sell("KO@DARK", 30, 10.00)}
    run, strategy = dark(plan, pool, (1.005, 10.005, 500), (3, 10.005, 80), (4, 10.01, 500), (5, 10.005, 200))
    # The first print came before the order; the second meets half of 80, the oldest first; the third is at the ask.
    assert run.fills.select("instrument", "venue", "side", "price", "quantity", "liquidity").rows() == [
        ("KO", "DARK", "buy", 10.005, 40.0, "maker"),
        ("KO", "DARK", "buy", 10.005, 60.0, "maker"),
        ("KO", "DARK", "sell", 10.005, 30.0, "maker"),
    ]
    assert seconds_of(run.fills["ts"]) == [3.02, 5.02, 5.02]
    assert run.fills["fee"].to_list() == pytest.approx([0.04, 0.06, 0.03])
    assert run.positions.select("instrument", "quantity").rows() == [("KO", 70.0)]
    assert strategy.ends[-1] == ("KO@DARK", "filled")


def test_arrivals_fill_the_same_way_each_time() -> None:
    pool = hx.DarkPool(arrivals=hx.Arrivals(every="500ms", median=20, sigma=1.0, seed=4))
    plan = {1: lambda s: (s.buy("KO@DARK", 5_000, 10.01), s.sell("KO@DARK", 5_000, 10.00))}
    run, again = dark(plan, pool)[0], dark(plan, pool)[0]
    assert run.fills.height > 10
    assert set(run.fills["price"]) == {10.005}
    assert run.fills.equals(again.fills)
    assert run.meta["digest"] == again.meta["digest"]
    other = hx.DarkPool(arrivals=hx.Arrivals(every="500ms", median=20, sigma=1.0, seed=5))
    assert not run.fills.equals(dark(plan, other)[0].fills)


def test_shares_and_cash_are_conserved_over_all_venues(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    mids = 10 + 0.01 * np.cumsum(rng.integers(-2, 3, size=120))
    rows = [(k * 0.5, round(m, 2), round(m + 0.01 * rng.integers(1, 4), 2)) for k, m in enumerate(mids)]
    plan: dict[float, Callable[[Orders], object]] = {}
    for k in range(1, 55):
        name, side = str(rng.choice(["KO", "KO@BATS", "KO@DARK"])), "buy" if rng.random() < 0.5 else "sell"
        size = int(rng.integers(1, 80))
        price = round(float(mids[2 * k]) + (0.03 if side == "buy" else -0.03), 2)
        plan[k] = lambda s, name=name, side=side, size=size, price=price: getattr(s, side)(name, size, price)
    pool = hx.DarkPool(
        reference="BATS",
        arrivals=hx.Arrivals(every="1s", median=30, sigma=0.5, adverse=0.8, patience="2s"),
        self_match=True,
    )
    backtest = hx.Backtest(
        data=[hx.quotes(quotes(*rows)), at(hx.quotes(quotes(*rows)), "BATS")],
        strategy=Orders(plan),
        venue={**TWO, "DARK": pool},
        sample="1s",
    )
    run = backtest.run(tmp_path / "run", report=False)
    fills = run.fills
    assert set(fills["venue"]) == {"", "BATS", "DARK"}
    signed = np.where(fills["side"].to_numpy() == "buy", 1, -1) * fills["quantity"].to_numpy()
    assert run.positions["quantity"].sum() == signed.sum() == fills["position"][-1]
    np.testing.assert_array_equal(fills["position"].to_numpy(), np.cumsum(signed))
    cash = 1_000_000 - (signed * fills["price"].to_numpy()).sum() - fills["fee"].sum()
    assert run.equity["cash"][-1] == pytest.approx(cash, abs=1e-4)
    assert run.reconciles()
    done = run.orders.with_columns(pl.col("order")).join(
        fills.group_by("order").agg(pl.col("quantity").sum().alias("got")), on="order", how="left"
    )
    assert (done["got"].fill_null(0.0) == done["filled"]).all()
    assert replay(tmp_path / "run").digest == run.meta["digest"]


def test_a_pool_is_offered_for_every_security_of_its_reference() -> None:
    """A strategy without a universe can trade all listings, those of the pools too."""
    strategy = Orders({1: lambda s: s.buy("KO@DARK", 10)})
    pool = hx.DarkPool(arrivals=hx.Arrivals(every="100ms", median=10))
    run = hx.Backtest(data=hx.quotes(flat(10)), strategy=strategy, venue={"": hx.Venue(), "DARK": pool}).run()
    assert run.fills["quantity"].sum() == 10


def test_the_fast_venue_has_pools_too() -> None:
    def build() -> hx.Backtest:
        strategy = Orders({1: lambda s: s.buy("KO@DARK", 10), 3: lambda s: s.sell("KO@BATS", 5, 10.0)})
        pool = hx.DarkPool(arrivals=hx.Arrivals(every="100ms", median=10))
        venue = {"": hx.Venue(), "BATS": hx.Venue(), "DARK": pool}
        return hx.Backtest(data=BOTH, strategy=strategy, venue=venue)

    both = hx.compare(build)
    assert both.both == 2
    assert both.only_exact.height == both.only_fast.height == 0


# ---- sources ---------------------------------------------------------------------------------------------------------


def test_a_simulated_day_listed_elsewhere_is_the_same_day(tmp_path: Path) -> None:
    from helios.cli import app
    from typer.testing import CliRunner

    day = tmp_path / "day.itch"
    done = CliRunner().invoke(app, ["simulate", "--symbols", "2", "--minutes", "1", "--seed", "7", "--out", str(day)])
    assert done.exit_code == 0, done.output
    source = hx.itch(day, date="2026-01-05")
    symbol = source.symbols[0]

    def run(data: Any, name: str, venue: Any) -> hx.Results:
        side = hx.mid(name).zscore("5s").hysteresis(enter=1.0, exit=0.0)
        return hx.Backtest(data=data, strategy=hx.target(name, side, quantity=10), venue=venue).run()

    plain = run(source, symbol, hx.Venue())
    listed = run(at(source, "BATS"), f"{symbol}@BATS", {"BATS": hx.Venue()})
    columns = ["ts", "instrument", "side", "price", "quantity", "position"]
    assert plain.fills.height > 0
    assert listed.fills.select(columns).equals(plain.fills.select(columns))
    assert set(listed.fills["venue"]) == {"BATS"}
    assert at(source, "BATS").symbols == [f"{name}@BATS" for name in source.symbols]


def test_a_table_may_name_its_listings_itself() -> None:
    frame = pl.concat([flat(5), flat(5, 10.00, 10.02).with_columns(pl.lit("KO@BATS").alias("symbol"))]).sort("ts")
    backtest, _ = two_venues(data=hx.quotes(frame))
    assert backtest.run().fills.height == 4


# ---- run files -------------------------------------------------------------------------------------------------------

RUN = """
[[data]]
kind = "quotes"
path = "ko.parquet"
[[data]]
kind = "quotes"
path = "bats.parquet"
venue = "BATS"
[strategy]
class = "buyer.py:Buyer"
[venue]
order_latency = "1ms"
taker_per_share = 0.003
[venue.BATS]
order_latency = "20ms"
[venue.BATS.impact]
volume = 1000
permanent = 0.1
[venue.DARK]
kind = "dark"
reference = "BATS"
minimum = 5
[venue.DARK.arrivals]
every = "200ms"
median = 50
"""
BUYER = """
import helios as hx

class Buyer(hx.Strategy):
    universe = ["KO", "KO@BATS", "KO@DARK"]
    sent = False

    def on_book(self, book):
        if not self.sent and book.symbol == "KO":
            self.sent = True
            for symbol in self.universe:
                self.buy(symbol, 10, 10.02)
"""


def written(folder: Path, text: str) -> Path:
    flat(5).write_parquet(folder / "ko.parquet")
    flat(5, 10.00, 10.02).write_parquet(folder / "bats.parquet")
    (folder / "buyer.py").write_text(BUYER)
    (folder / "run.toml").write_text(text)
    return folder / "run.toml"


def test_a_run_file_has_a_table_for_each_venue(tmp_path: Path) -> None:
    backtest = load_run(written(tmp_path, RUN))
    assert isinstance(backtest.venue, dict)
    default, bats, pool = (backtest.venue[name] for name in ("", "BATS", "DARK"))
    assert isinstance(default, hx.Venue)
    assert isinstance(bats, hx.Venue)
    fees = hx.Fees(taker_per_share=0.003)
    assert default.spec() == hx.Venue(latency=hx.Latency(order="1ms"), fees=fees).spec()
    impact = hx.Impact(volume=1000, permanent=0.1, exponent=0.5)
    assert bats.spec() == hx.Venue(latency=hx.Latency(order="20ms"), impact=impact).spec()
    assert pool == hx.DarkPool(reference="BATS", minimum=5, arrivals=hx.Arrivals(every="200ms", median=50))
    run = backtest.run()
    assert sorted(run.fills["venue"]) == ["", "BATS", "DARK"]
    assert run.positions["quantity"].to_list() == [30.0]
    assert run.meta["config"]["venue"]["DARK"]["reference"] == "BATS"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("[venue.DARK]", "[venue.impcat]"), "impact"),
        (('order_latency = "20ms"', 'order_latncy = "20ms"'), "order_latency"),
        (("minimum = 5", "half_spread_bp = 5"), "venue.DARK.half_spread_bp"),
        (("minimum = 5", 'minimum = "5"'), "venue.DARK.minimum"),
        (('kind = "dark"', 'kind = "grey"'), "venue.DARK.kind"),
        (('reference = "BATS"', 'reference = "CBOE"'), "'CBOE'"),
        (('venue = "BATS"', 'venue = "B@TS"'), "without @"),
        (('venue = "BATS"', 'venue = "DARK"'), "it shows nothing"),
    ],
)
def test_what_a_run_file_says_wrongly_of_venues(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    assert change[0] in RUN
    with pytest.raises((ConfigError, ArgumentError)) as caught:
        load_run(written(tmp_path, RUN.replace(*change))).run()
    assert says in str(caught.value)


# ---- bad input -------------------------------------------------------------------------------------------------------

POOL = hx.DarkPool(prints=0.1)


def attempt(venue: Any, universe: list[str] | None = None, data: Any = None, **more: Any) -> Callable[[], object]:
    return lambda: hx.Backtest(
        data=BOTH[0] if data is None else data, strategy=Orders({}, universe), venue=venue, **more
    ).run()


BARS = pl.DataFrame(
    {"ts": [when(60)], "symbol": "KO", "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}
)
ONE = hx.Venue()
SPLIT = hx.actions(pl.DataFrame({"date": [when(2)], "symbol": ["KO"], "ratio": [2.0]}))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (attempt({}), "at least one"),
        (attempt("BATS"), "hx.Venue"),
        (attempt({"": "BATS"}), "venue[''] is 'BATS'"),
        (attempt({"B@TS": ONE}), "without @"),
        (attempt({1: ONE}), "cannot name a venue"),
        (attempt({"": POOL, "BATS": ONE}), "cannot be a dark pool"),
        (attempt({"DARK": POOL}), "at least one"),
        (attempt({"BATS": ONE, "DARK": POOL}), "reference is ''"),
        (attempt({"": ONE, "BATS": hx.Venue(mode="fast")}), "mode must be the same"),
        (attempt({"BATS": ONE}), "it names no venue"),
        (attempt({"": ONE}, ["KO@BATS"]), "no venue is named 'BATS'"),
        (attempt({"": ONE, "BATS": ONE}, ["KO@BATS"]), "no data source has the symbol 'KO@BATS'"),
        (attempt({"": ONE}, data=BOTH), "no venue is named 'BATS'"),
        (attempt({"": ONE, "DARK": POOL}, ["PEP@DARK"]), "'PEP"),
        (attempt({"": ONE, "BATS": POOL}, data=BOTH), "it shows nothing"),
        (attempt({"": ONE, "DARK": POOL}, data=hx.bars(BARS, span="1m")), "no bid and ask"),
        (attempt({"": hx.Venue(impact={"KO@BATS": hx.Impact(volume=1)}), "BATS": ONE}, data=BOTH), "impact of KO@BATS"),
        (attempt({"": hx.Venue(latency=hx.Latency(feed="data")), "BATS": ONE}, data=BOTH), "receive stamps"),
        (
            lambda: hx.Backtest(
                data=BOTH, strategy=hx.target("KO@BATS", hx.mid("KO") > 1, quantity=1), venue=TWO
            ).run(),
            "target('KO', …)",
        ),
        (
            lambda: hx.Backtest(
                data=BOTH[0], strategy=hx.record("x", hx.mid("KO@DARK")), venue={"": ONE, "DARK": POOL}
            ).run(),
            "shows nothing",
        ),
        (attempt({"": hx.Venue(borrow=hx.Borrow(rate=0.03)), "BATS": ONE}, data=BOTH), "borrow and financing"),
        (attempt({"": ONE, "BATS": ONE}, data=[*BOTH, SPLIT]), "corporate actions"),
        (lambda: hx.DarkPool(prints=0.1, fees=hx.Fees(sell_bp=1)), "not modelled in a dark pool"),
        (hx.DarkPool, "nobody would come"),
        (lambda: hx.DarkPool(prints=1.5).spec([]), "prints is 1.5"),
        (lambda: hx.DarkPool(prints=0.1, minimum=-1).spec([]), "minimum is -1"),
        (lambda: hx.DarkPool(prints=0.1, max_age="soon").spec([]), "max_age"),
        (lambda: hx.DarkPool(prints=0.1, fees=0.1), "fees is 0.1"),  # type: ignore[arg-type]
        (lambda: hx.DarkPool(prints=0.1, arrivals="many"), "arrivals is 'many'"),  # type: ignore[arg-type]
        (lambda: hx.DarkPool(prints=0.1, reference=None), "reference is None"),  # type: ignore[arg-type]
        (lambda: hx.DarkPool(prints=0.1, latency=hx.Latency(feed="1ms")), "no feed latency"),
        (lambda: hx.Arrivals(every="0s"), "every"),
        (lambda: hx.Arrivals(every="1s", median=0), "median is 0"),
        (lambda: hx.Arrivals(every="1s", sigma=-1), "sigma is -1"),
        (lambda: hx.Arrivals(every="1s", adverse=2), "adverse is 2"),
        (lambda: hx.Arrivals(every="1s", patience="25h"), "less than a day"),
        (lambda: hx.Arrivals(every="1s", seed=-1), "seed is -1"),
        (lambda: at(BOTH[0], ""), "cannot name a venue"),
        (lambda: at(BOTH[1], "ARCA"), "at 'BATS' already"),
        (lambda: at("ko.parquet", "ARCA"), "no data source"),  # type: ignore[call-overload]
        (lambda: at(hx.external(pl.DataFrame({"ts": [when(0)], "x": [1.0]})), "ARCA"), "series"),
    ],
)
def test_bad_input_is_refused(wrong: Callable[[], object], says: str) -> None:
    with pytest.raises(HeliosError) as caught:
        wrong()
    assert says in str(caught.value)


def test_compiled_methods_see_one_position_too() -> None:
    pytest.importorskip("numba")
    from helios.signals import wishes

    class Compiled(hx.Strategy):
        universe = ("KO", "KO@BATS")
        memory = 3

        @hx.compiled
        def on_book(event, books, p, memory, out):  # type: ignore[no-untyped-def]  # noqa: N805
            if memory[0] == 0 and not math.isnan(books[1].ask):
                memory[0] = 1
                wishes.buy(out, 1, 30.0, 10.02)
            memory[1], memory[2] = books[0].position, books[1].position

    strategy = Compiled()
    run = hx.Backtest(data=BOTH, strategy=strategy, venue=TWO).run()
    assert run.fills.select("venue", "position").rows() == [("BATS", 30.0)]
    assert strategy.recall()[1:] == [30.0, 30.0]
