"""Latency: exact where it can be, by its quantiles where it is drawn, and what it does to a market maker."""

from __future__ import annotations

import math
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.errors import ArgumentError, ConfigError, DataError

NS = 1_000_000_000
MS = 1_000_000
START = int(datetime(2026, 1, 5, 14, 30, tzinfo=UTC).timestamp()) * NS
Z_99 = 2.3263478740408408


def quotes(ts: Any, bid: Any = None, **more: Any) -> Any:
    """Quotes of X; each differs from the one before, so that every one of them is seen."""
    ts = np.asarray(ts, dtype=np.int64)
    bid = 100 + 0.01 * (np.arange(ts.size) % 2) if bid is None else np.asarray(bid)
    frame = pl.DataFrame({"ts": ts, "bid": bid, "ask": bid + 0.02}).with_columns(
        bid_size=pl.lit(100.0), ask_size=pl.lit(100.0), **more
    )
    stamps = {"ts_recv": "ts_recv"} if "ts_recv" in frame.columns else {}
    return hx.quotes(frame, ts_unit="ns", symbol=None, symbol_is="X", **stamps)


def seen(source: Any, feed: Any, **more: Any) -> np.ndarray[Any, Any]:
    """When the engine saw a new mid."""
    run = hx.Backtest(
        data=source,
        strategy=hx.record("mid", hx.mid("X")),
        venue=hx.Venue(latency=hx.Latency(feed=feed)),
        **more,
    )
    return run.run().signals["ts"].dt.timestamp("ns").to_numpy()


# ---- the feed --------------------------------------------------------------------------------------------------------


def test_a_constant_feed_latency_is_exact() -> None:
    ts = START + np.array([0, 3, 3, 7, 1_000]) * MS
    # A row's mid differs from the one before also where their times are equal.
    assert seen(quotes(ts), "5ms").tolist() == (ts + 5 * MS).tolist()
    assert seen(quotes(ts), None).tolist() == ts.tolist()


def test_receive_stamps_are_exact_and_nothing_overtakes_nor_comes_before_it_happened() -> None:
    ts = START + np.array([0, 10, 20, 30]) * MS
    received = START + np.array([4, 40, 25, 29]) * MS
    run = hx.Backtest(
        data=quotes(ts, ts_recv=pl.Series(received)),
        strategy=hx.record("mid", hx.mid("X")),
        venue=hx.Venue(latency=hx.Latency(feed="data")),
    ).run()
    arrivals = START + np.array([4, 40, 40, 40]) * MS
    assert run.signals["ts"].dt.timestamp("ns").to_list() == arrivals.tolist()
    assert any("1 events were received before they happened" in line for line in run.meta["warnings"])


def test_several_sources_with_receive_stamps() -> None:
    a = quotes(START + np.array([0, 20]) * MS, ts_recv=pl.Series(START + np.array([1, 23]) * MS))
    frame = pl.DataFrame({"ts": [START + 10 * MS], "price": [100.5], "size": [1.0], "ts_recv": [START + 15 * MS]})
    b = hx.trades(frame, ts_unit="ns", symbol=None, symbol_is="X", ts_recv="ts_recv")
    run = hx.Backtest(
        data=[a, b],
        strategy=[hx.record("mid", hx.mid("X")), hx.record("last", hx.last("X"))],
        venue=hx.Venue(latency=hx.Latency(feed="data")),
    ).run()
    told = run.signals.select("signal", pl.col("ts").dt.timestamp("ns") - START).rows()
    assert told == [("mid", MS), ("last", 15 * MS), ("mid", 23 * MS)]


def test_a_measured_feed_follows_the_time_of_day_in_its_zone() -> None:
    # 14:30 UTC is 09:30 in New York.
    rows = pl.DataFrame({"time": ["09:30", "10:30"], "ns": [1_000_000, 5_000_000]})
    hours = np.array([-1.0, 0.0, 0.25, 0.5, 1.0, 3.0])
    ts = START + (hours * 3600 * NS).astype(np.int64)
    for between, delays in (
        ("linear", [1_000_000, 1_000_000, 2_000_000, 3_000_000, 5_000_000, 5_000_000]),
        ("step", [1_000_000, 1_000_000, 1_000_000, 1_000_000, 5_000_000, 5_000_000]),
    ):
        measured = hx.Measured(rows, tz="America/New_York", between=between)  # type: ignore[arg-type]
        assert (seen(quotes(ts), measured) - ts).tolist() == delays
    # In July the same hour is 13:30 UTC.
    july = int(datetime(2026, 7, 6, 13, 30, tzinfo=UTC).timestamp()) * NS
    step = hx.Measured(rows, tz="America/New_York", between="step")
    assert seen(quotes([july - 1, july + 3600 * NS]), step).tolist() == [july - 1 + MS, july + 3600 * NS + 5 * MS]


@pytest.mark.parametrize("line", ["feed", "order", "report"])
def test_draws_have_the_quantiles_of_their_distribution(line: str) -> None:
    delay = hx.LogNormal(median="40us", p99="300us", minimum="20us", seed=11)
    n = 4_000
    # Far enough apart that nothing waits for what went before it.
    ts = START + np.arange(n, dtype=np.int64) * 20 * MS
    if line == "feed":
        draws = (seen(quotes(ts), delay) - ts) / 1e3
    else:
        draws = round_trips(ts, hx.Latency(**{line: delay})) / 1e3  # type: ignore[arg-type]
    assert draws.size == n and draws.min() >= 20.0
    sigma = math.log(280 / 20) / Z_99
    for p, z in ((0.1, -1.2815516), (0.5, 0.0), (0.9, 1.2815516), (0.99, Z_99)):
        share = float((draws <= 20 + 20 * math.exp(sigma * z)).mean())
        assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / n), (line, p, share)


def round_trips(ts: Any, latency: hx.Latency) -> np.ndarray[Any, Any]:
    """From each quote, at which an order goes out, to its acceptance."""
    found: list[int] = []

    class Sends(hx.Strategy):
        universe = ("X",)

        def on_book(self, book: Any) -> None:
            self.sent = self.now
            self.buy("X", 1, 90.0, ioc=True)

        def on_order(self, order: Any) -> None:
            if order.state == "accepted":
                found.append(self.now - self.sent)

    hx.Backtest(data=quotes(ts), strategy=Sends(), venue=hx.Venue(latency=latency)).run()
    return np.array(found)


def test_the_three_lines_draw_apart_and_seeds_repeat() -> None:
    ts = START + np.arange(50, dtype=np.int64) * 20 * MS
    delay = hx.Gamma(mean="100us", shape=2.0, seed=5)
    feed = seen(quotes(ts), delay) - ts
    assert (feed == seen(quotes(ts), delay) - ts).all()
    assert (feed != seen(quotes(ts), hx.Gamma(mean="100us", shape=2.0, seed=6)) - ts).any()
    orders, reports = (round_trips(ts, hx.Latency(**{line: delay})) for line in ("order", "report"))  # type: ignore[arg-type]
    assert (feed != orders).any() and (orders != reports).any()


def test_a_sample_is_drawn_from_with_replacement() -> None:
    ts = START + np.arange(500, dtype=np.int64) * MS
    delays = seen(quotes(ts), hx.Measured([1_000, 2_000, 2_000, 7_000])) - ts
    assert set(delays.tolist()) == {1_000, 2_000, 7_000}
    assert 0.4 < (delays == 2_000).mean() < 0.6


# ---- the loop --------------------------------------------------------------------------------------------------------


class Busy(hx.Strategy):
    """Orders of all kinds on quotes, fills and timers."""

    universe = ("X",)
    timer = "35ms"

    def on_start(self) -> None:
        self.count = 0
        self.open: list[int] = []

    def on_book(self, book: Any) -> None:
        self.count += 1
        if self.count % 3 == 0:
            self.buy("X", 1 + self.count % 5, book.ask, ioc=True)
        if self.count % 4 == 0:
            self.open.append(self.sell("X", 2, book.ask))
        if self.count % 7 == 0 and self.open:
            self.cancel("X", self.open.pop(0))

    def on_fill(self, fill: Any) -> None:
        if fill.side == "buy":
            self.open.append(self.sell("X", 1, fill.price + 0.02))

    def on_timer(self, now: int) -> None:
        self.buy("X", 1)


def walk(n: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    ts = START + np.cumsum(rng.integers(0, 20, n)) * MS
    return quotes(ts, 100 + 0.01 * np.cumsum(rng.integers(-2, 3, n)))


@pytest.mark.parametrize(("order", "report"), [(None, None), ("3ms", "7ms"), (None, "20ms")])
def test_a_feed_line_without_delay_changes_nothing(order: str | None, report: str | None) -> None:
    """A sample of zeros goes through the line, no feed latency does not: the run is the same to the last bit."""
    results = []
    for feed in (None, hx.Measured([0])):
        venue = hx.Venue(latency=hx.Latency(feed=feed, order=order, report=report))
        results.append(hx.Backtest(data=walk(400, 3), strategy=Busy(), venue=venue, marks=None).run())
    assert len(results[0].fills) > 50
    assert results[0].meta["digest"] == results[1].meta["digest"]
    for table in ("orders", "fills", "equity"):
        assert getattr(results[0], table).equals(getattr(results[1], table)), table


def test_a_run_with_every_kind_of_latency_repeats_and_replays(tmp_path: Path) -> None:
    from helios.research.replay import replay

    latency = hx.Latency(
        feed=hx.LogNormal(median="4ms", p99="90ms", seed=1),
        order=hx.Gamma(mean="3ms", shape=0.7, minimum="1ms", seed=1),
        report=hx.Measured([MS, 9 * MS], seed=1),
    )
    digests = set()
    for number in range(2):
        run = hx.Backtest(data=walk(400, 4), strategy=Busy(), venue=hx.Venue(latency=latency))
        digests.add(run.run(tmp_path / str(number)).meta["digest"])
        assert replay(tmp_path / str(number)).identical
    assert len(digests) == 1


def test_what_comes_after_a_moment_changes_nothing_before_it() -> None:
    """Cut the data anywhere: the orders sent until then are those of the whole run."""
    latency = hx.Latency(feed=hx.LogNormal(median="15ms", p99="200ms", seed=2), order="3ms", report="3ms")
    impact = hx.Impact(volume=5, decays=[(30.0, "200ms")], permanent=1.0)

    def sent(stop: int | None) -> pl.DataFrame:
        venue = hx.Venue(latency=latency, impact=impact)
        run = hx.Backtest(data=walk(400, 6), strategy=Busy(), venue=venue, stop=stop)
        return run.run().orders.select("ts", "side", "quantity", "price")

    whole = sent(None)
    assert whole.height > 100
    for cut in (START + 500 * MS, START + 1_234 * MS, START + 3 * NS):
        until = pl.col("ts").dt.timestamp("ns") <= cut
        assert sent(cut).filter(until).equals(whole.filter(until))


def test_the_venue_acts_on_what_the_engine_has_not_seen_yet() -> None:
    """The price that the order was sent for is gone before the engine hears of it."""

    class Takes(hx.Strategy):
        universe = ("X",)

        def on_book(self, book: Any) -> None:
            if book.ask < 100.0:
                self.buy("X", 1, book.ask, ioc=True)

    ts = START + np.array([0, 10, 14]) * MS
    # After 4 ms it hears of it when the venue's next event happens: what is due acts first, as without latency.
    for feed, fills in ((None, 1), ("3ms", 1), ("4ms", 1), ("5ms", 0)):
        source = quotes(ts, [100.0, 99.9, 100.0])
        run = hx.Backtest(data=source, strategy=Takes(), venue=hx.Venue(latency=hx.Latency(feed=feed))).run()
        assert len(run.fills) == fills, feed


def test_timers_ring_by_the_engines_clock_until_the_last_event_has_arrived() -> None:
    class Clock(hx.Strategy):
        universe = ("X",)
        timer = "10ms"

        def on_start(self) -> None:
            self.rang: list[int] = []

        def on_timer(self, now: int) -> None:
            self.rang.append(now - START)

    clock = Clock()
    venue = hx.Venue(latency=hx.Latency(feed="25ms"))
    hx.Backtest(data=quotes(START + np.array([0, 5, 30]) * MS), strategy=clock, venue=venue).run()
    assert clock.rang == [30 * MS, 40 * MS, 50 * MS]


def test_series_from_outside_are_known_at_their_stamp() -> None:
    frame = pl.DataFrame({"ts": [START + 5 * MS, START + 12 * MS], "score": [1.0, 2.0]}).with_columns(
        pl.col("ts").cast(pl.Datetime("ns"))
    )
    scores = hx.external(frame)
    run = hx.Backtest(
        data=[quotes(START + np.array([0, 10]) * MS), scores],
        strategy=[hx.record("score", hx.series("score")), hx.record("mid", hx.mid("X"))],
        venue=hx.Venue(latency=hx.Latency(feed="4ms")),
    ).run()
    told = run.signals.select("signal", pl.col("ts").dt.timestamp("ns") - START).rows()
    assert told == [("mid", 4 * MS), ("score", 5 * MS), ("score", 12 * MS), ("mid", 14 * MS)]


# ---- what it does ----------------------------------------------------------------------------------------------------


class Maker(hx.Strategy):
    """Rests one share at the best bid it sees, and moves it when that moves."""

    universe = ("X",)

    def on_start(self) -> None:
        self.resting: dict[int, float] = {}
        self.price = 0.0

    def on_book(self, book: Any) -> None:
        if book.bid == self.price and self.resting:
            return
        for order in self.resting:
            self.cancel("X", order)
        self.price = book.bid
        self.resting = {self.buy("X", 1, book.bid): book.bid}

    def on_order(self, order: Any) -> None:
        if order.done:
            self.resting.pop(order.order, None)


def flow(seed: int, steps: int = 6_000) -> tuple[list[Any], Any, Any]:
    """A mid that trends for a while and turns, and sellers who know nothing of it and go two ticks deep."""
    rng = np.random.default_rng(seed)
    turns = np.where(np.cumsum(rng.random(steps) < 0.1) % 2, 1, -1)
    bid = 100 + 0.01 * np.cumsum(turns * (rng.random(steps) < 0.5))
    ts = START + np.arange(steps, dtype=np.int64) * 10 * MS
    hits = rng.random(steps) < 0.2
    trades = pl.DataFrame({"ts": ts[hits] + 9 * MS, "price": bid[hits] - 0.02, "size": 100.0, "aggressor": "sell"})
    options: dict[str, Any] = {"ts_unit": "ns", "symbol": None, "symbol_is": "X"}
    return [quotes(ts, bid), hx.trades(trades, **options)], ts, bid + 0.01


def test_a_market_maker_suffers_from_feed_latency() -> None:
    sought, picked_off, markouts = [], [], []
    for feed in (None, "25ms", "45ms"):
        data, ts, mid = flow(8)
        latency = hx.Latency(feed=feed, order="1ms", report="1ms")
        fills = hx.Backtest(data=data, strategy=Maker(), venue=hx.Venue(latency=latency), marks=None).run().fills
        at = fills["ts_event"].dt.timestamp("ns").to_numpy()
        # Sellers come 9 ms after a quote; what fills at the moment of a quote was stale.
        by_sellers = (at - START) % (10 * MS) == 9 * MS
        later = mid[np.minimum(np.searchsorted(ts, at + 100 * MS), ts.size - 1)]
        sought.append(int(by_sellers.sum()))
        picked_off.append(int((~by_sellers).sum()))
        markouts.append(float((later - fills["price"].to_numpy()).mean()))
    # Fewer of the fills that it is there for, more that are stale, and a worse price 100 ms later.
    assert sought[0] > 1.2 * sought[1] > 1.2 * 1.5 * sought[2], sought
    assert picked_off[0] == 0 < picked_off[1] < picked_off[2], picked_off
    assert markouts[0] > 0.005 and 0 > markouts[1] > markouts[2], markouts


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: hx.LogNormal(median="40us", p99="40us"), "longer than the one before"),
        (lambda: hx.LogNormal(median="40us", p99="300us", minimum="40us"), "longer than the one before"),
        (lambda: hx.LogNormal(median="40", p99="300us"), "LogNormal: median is '40'"),
        (lambda: hx.LogNormal(median="40us", p99="300us", seed=-1), "seed is -1"),
        (lambda: hx.Gamma(mean="1ms", minimum="2ms"), "longer than the minimum"),
        (lambda: hx.Gamma(mean="1ms", shape=0), "shape is 0"),
        (lambda: hx.Measured([]), "give 1 to"),
        (lambda: hx.Measured([1.5]), "whole nanoseconds"),
        (lambda: hx.Measured([1, -1]), "from 0 to a day"),
        (lambda: hx.Measured(5), "no list of nanoseconds"),
        (lambda: hx.Measured("nothing.csv"), "cannot be read"),
        (lambda: hx.Measured(pl.DataFrame({"delay": [1]})), "no column 'ns'"),
        (lambda: hx.Measured(pl.DataFrame({"ns": [1], "time": ["9h"]})), "write it as"),
        (lambda: hx.Measured(pl.DataFrame({"ns": [1], "time": ["25:00"]})), "not within a day"),
        (lambda: hx.Measured(pl.DataFrame({"ns": [1, 1], "time": ["09:00", "09:00:00"]})), "there twice"),
        (lambda: hx.Measured(pl.DataFrame({"ns": [1], "time": ["09:00"]}), tz="Mars/Olympus"), "no time zone"),
        (lambda: hx.Measured([1], between="cubic"), "'linear' or 'step'"),
        (lambda: hx.Latency(order="25h").spec(), "at most a day"),
        (lambda: hx.Latency(order="data").spec(), "order latency is 'data'"),
    ],
)
def test_what_cannot_be_a_latency_is_refused(make: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        make()


def test_times_of_day_are_read_as_people_write_them(tmp_path: Path) -> None:
    import pandas as pd

    nine = 9 * 3600 * NS + NS // 2
    text = pl.DataFrame({"time": ["09:00:00.5", "00:00"], "ns": [2, 1]})
    text.write_csv(tmp_path / "m.csv")
    text.write_parquet(tmp_path / "m.parquet")
    same = [
        hx.Measured(text),
        hx.Measured(pd.DataFrame({"time": ["09:00:00.5", "00:00"], "ns": [2, 1]})),
        hx.Measured(pl.DataFrame({"time": [nine, 0], "ns": [2, 1]})),
        hx.Measured(pl.DataFrame({"time": [time(9, 0, 0, 500_000), time(0)], "ns": [2, 1]})),
        hx.Measured(
            pl.DataFrame({"time": [datetime(2026, 1, 5, 9, 0, 0, 500_000), datetime(2026, 1, 6)], "ns": [2, 1]})
        ),
        hx.Measured(tmp_path / "m.csv"),
        hx.Measured(str(tmp_path / "m.parquet")),
    ]
    assert all(each == same[0] for each in same)
    assert same[0].spec("feed") == ("time_of_day", [1, 2, 0, 1, nine, 2], [])
    assert "2 times of day" in repr(same[0])


def test_without_receive_stamps_there_is_nothing_to_go_by() -> None:
    with pytest.raises(ArgumentError, match="no receive stamps"):
        seen(quotes([START]), "data")
    with pytest.raises(DataError, match="ts_recv"):
        hx.quotes(pl.DataFrame({"ts": [1], "bid": [1.0]}), ts_unit="ns", symbol_is="X", ts_recv="ts_recv")
    source = quotes([START, START + 1], ts_recv=pl.Series([START, None], dtype=pl.Int64))
    with pytest.raises(DataError, match="no usable time"):
        seen(source, "data")


def test_a_run_file_can_say_it(tmp_path: Path) -> None:
    from helios.config import load_run

    ts = [datetime(2026, 1, 5, 14, 30, tzinfo=UTC) + timedelta(seconds=s) for s in range(2)]
    pl.DataFrame(
        {"ts": ts, "got": ts, "symbol": "X", "bid": 1.0, "ask": 1.1, "bid_size": 1.0, "ask_size": 1.0}
    ).write_parquet(tmp_path / "q.parquet")
    (tmp_path / "delays.csv").write_text("ns\n1000\n2000\n")
    (tmp_path / "s.py").write_text("import helios as hx\nclass S(hx.Strategy):\n    universe = ('X',)\n")

    def load(venue: str) -> Any:
        (tmp_path / "run.toml").write_text(
            '[[data]]\nkind = "quotes"\npath = "q.parquet"\nts_recv = "got"\n'
            '[strategy]\nclass = "s.py:S"\n[venue]\n' + venue
        )
        return load_run(tmp_path / "run.toml")

    run = load(
        'feed_latency = "data"\norder_latency = { median = "40us", p99 = "300us", seed = 3 }\n'
        'report_latency = { file = "delays.csv" }\n'
    )
    assert run.venue.latency == hx.Latency(
        feed="data", order=hx.LogNormal(median="40us", p99="300us", seed=3), report=hx.Measured([1_000, 2_000])
    )
    assert run.run().meta["events"] == 2
    assert load('order_latency = { mean = "1ms", shape = 2 }').venue.latency.order == hx.Gamma(mean="1ms", shape=2)
    for venue, says in (
        ('order_latency = { median = "40us" }', "p99"),
        ("order_latency = { seed = 1 }", "one of median, mean and file"),
        ('order_latency = { median = "40us", mean = "1ms" }', "median and mean"),
        ('order_latency = { meadian = "40us" }', "Did you mean 'median'"),
        ('feed_latency = { file = "none.csv" }', "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=says):
            load(venue)
