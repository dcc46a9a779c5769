"""Strategies in Python: what they are called with and when, what they may wish, and how their mistakes come back."""

from __future__ import annotations

import copy
import math
import pickle
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.errors import ArgumentError, HeliosError
from helios.research.replay import replay

SECOND = 1_000_000_000
T0 = datetime(2026, 1, 5, 14, 30)
NS0 = int(T0.replace(tzinfo=UTC).timestamp()) * SECOND

Quote = tuple[float, str, float | None, int, float | None, int]


def at(seconds: float) -> int:
    return NS0 + round(seconds * SECOND)


def quotes(*rows: Quote) -> hx.data.ColumnSource:  # type: ignore[name-defined]
    """Seconds after 14:30, symbol, bid, its size, ask, its size."""
    table = [
        {"ts": T0 + timedelta(seconds=s), "symbol": sym, "bid": b, "bid_size": n, "ask": a, "ask_size": m}
        for s, sym, b, n, a, m in rows
    ]
    return hx.quotes(pl.DataFrame(table))


def trades(*rows: tuple[float, str, float, int, str | None]) -> hx.data.ColumnSource:  # type: ignore[name-defined]
    table = [
        {"ts": T0 + timedelta(seconds=s), "symbol": sym, "price": p, "size": n, "aggressor": side}
        for s, sym, p, n, side in rows
    ]
    return hx.trades(pl.DataFrame(table, schema_overrides={"aggressor": pl.String}))


KO = quotes(
    (0, "KO", 10.00, 100, 10.02, 100),
    (1, "KO", 10.01, 100, 10.03, 100),
    (2, "KO", 11.00, 100, 11.02, 30),
    (3, "KO", 11.00, 100, 11.04, 100),
    (60, "KO", 10.40, 100, 10.42, 100),
    (61, "KO", 10.40, 100, 10.42, 100),
)


class Log(hx.Strategy):
    """Writes down every call."""

    name = "log"

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_start(self) -> None:
        self.calls.append(("start",))

    def on_book(self, book: Any) -> None:
        self.calls.append(("book", book.ts, book.symbol, book.bid, book.bid_size, book.ask, book.ask_size))

    def on_trade(self, trade: Any) -> None:
        self.calls.append(("trade", trade.ts, trade.symbol, trade.price, trade.size, trade.aggressor))

    def on_bar(self, bar: Any) -> None:
        prices = (bar.open, bar.high, bar.low, bar.close)
        self.calls.append(("bar", bar.ts, bar.symbol, *prices, bar.volume, bar.span))

    def on_fill(self, fill: Any) -> None:
        self.calls.append(("fill", fill.ts, fill.symbol, fill.side, fill.price, fill.quantity, fill.position))


class Script(hx.Strategy):
    """Does something at the n-th quote, and keeps its fills."""

    name = "script"

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.seen = 0
        self.fills: list[tuple[Any, ...]] = []
        self.ids: list[int] = []

    def on_book(self, book: Any) -> None:
        step = self.steps[self.seen] if self.seen < len(self.steps) else None
        self.seen += 1
        if step is not None:
            done = step(self)
            if done is not None:
                self.ids.append(done)

    def on_fill(self, fill: Any) -> None:
        self.fills.append(
            (fill.order, fill.ts, fill.side, fill.price, fill.quantity, fill.fee, fill.position, fill.realised)
        )


# ---- calls -----------------------------------------------------------------------------------------------------------


def test_quotes_trades_and_bars_come_in_time_order_with_their_values() -> None:
    bars = pl.DataFrame(
        {
            "ts": [T0 + timedelta(seconds=s) for s in (2, 62)],
            "symbol": ["KO", "KO"],
            "open": [10.0, 10.1],
            "high": [10.3, 10.1],
            "low": [9.9, 10.0],
            "close": [10.2, 10.05],
            "volume": [1_000, 50],
        }
    )
    log = Log()
    hx.Backtest(
        data=[
            quotes((0, "KO", 10.0, 100, 10.02, 200), (1, "KO", None, 0, 10.02, 300)),
            trades((0.5, "KO", 10.02, 7, "buy"), (1, "PEP", 20.5, 3, None), (3, "KO", 9.5, 1, "sell")),
            hx.bars(bars),
        ],
        strategy=log,
    ).run()
    start, first, second, third, *rest = log.calls
    assert start == ("start",)
    assert first == ("book", at(0), "KO", 10.0, 100.0, 10.02, 200.0)
    assert second == ("trade", at(0.5), "KO", 10.02, 7.0, 1)
    assert third[:3] == ("book", at(1), "KO")
    assert math.isnan(third[3])
    assert third[4:] == (0.0, 10.02, 300.0)
    assert rest == [
        ("trade", at(1), "PEP", 20.5, 3.0, 0),
        ("bar", at(2), "KO", 10.0, 10.3, 9.9, 10.2, 1_000.0, 60 * SECOND),
        ("trade", at(3), "KO", 9.5, 1.0, -1),
        ("bar", at(62), "KO", 10.1, 10.1, 10.0, 10.05, 50.0, 60 * SECOND),
    ]


def test_methods_that_are_not_overridden_are_not_called_and_views_are_live() -> None:
    class Quiet(hx.Strategy):
        name = "quiet"
        seen: list[tuple[float, int]] = []  # noqa: RUF012

        def on_trade(self, trade: Any) -> None:
            self.seen.append((self.book("KO").mid, self.now))

    quiet = Quiet()
    hx.Backtest(
        data=[KO, trades((0.5, "KO", 10, 1, None), (2.5, "KO", 11, 1, None))],
        strategy=quiet,
    ).run()
    assert quiet.seen == [(pytest.approx(10.01), at(0.5)), (pytest.approx(11.01), at(2.5))]


def test_a_market_order_takes_the_touch_and_its_fill_comes_before_the_next_quote() -> None:
    class Buyer(Log):
        name = "buyer"

        def on_book(self, book: Any) -> None:
            super().on_book(book)
            if len(self.calls) == 2:
                self.buy("KO", 50)

    buyer = Buyer()
    fees = hx.Fees(taker_per_share=0.003, taker_bp=0.5)
    run = hx.Backtest(data=KO, strategy=buyer, venue=hx.Venue(fees=fees)).run()
    assert [call[0] for call in buyer.calls] == ["start", "book", "fill", "book", "book", "book", "book", "book"]
    assert buyer.calls[2] == ("fill", at(0), "KO", "buy", 10.02, 50.0, 50.0)
    assert run.fills["fee"].to_list() == [pytest.approx(50 * 0.003 + 501 * 0.00005, abs=1e-6)]
    assert buyer.position("KO") == 50.0


def test_print_shows_what_a_view_holds() -> None:
    printed: list[str] = []

    class Shown(hx.Strategy):
        def on_book(self, book: Any) -> None:
            if not printed:
                self.buy(book.symbol, 10)
            printed.append(repr(book))

        def on_order(self, order: Any) -> None:
            printed.append(repr(order))

        def on_fill(self, fill: Any) -> None:
            printed.append(repr(fill))

    hx.Backtest(KO, Shown()).run()
    shown = "\n".join(printed)
    book = f"BookView(symbol='KO', ts={at(0)}, bid=10.0, ask=10.02, bid_size=100.0, ask_size=100.0, complete=True)"
    assert printed[0] == book
    assert "OrderView(symbol='KO', " in shown
    assert "side='buy', price=10.02, quantity=10.0, fee=0.0, position=10.0, account='shown', realised=0.0)" in shown


def test_latency_delays_the_fill_and_the_price_is_that_of_arrival() -> None:
    script = Script(lambda s: s.buy("KO", 10))
    venue = hx.Venue(latency=hx.Latency(order="1500ms", report="250ms"))
    run = hx.Backtest(data=KO, strategy=script, venue=venue).run()
    # Sent at 0, there at 1.5 (after the second quote, before the third), known at 1.75.
    (fill,) = script.fills
    assert fill[1:5] == (at(1.5), "buy", 10.03, 10.0)
    assert run.fills["ts"].to_physical().to_list() == [at(1.75)]
    assert run.fills["ts_event"].to_physical().to_list() == [at(1.5)]


def test_a_limit_order_rests_and_fills_as_maker_when_the_market_comes() -> None:
    script = Script(lambda s: s.sell("KO", 20, 11.0))
    run = hx.Backtest(data=KO, strategy=script, venue=hx.Venue(fees=hx.Fees(maker_per_share=-0.002))).run()
    (fill,) = script.fills
    assert fill[1:] == (at(2), "sell", 11.0, 20.0, -0.04, -20.0, 0.0)
    assert run.fills["liquidity"].to_list() == ["maker"]


def test_cancel_and_replace() -> None:
    script = Script(
        lambda s: s.sell("KO", 20, 12.0),
        lambda s: s.replace("KO", s.ids[0], quantity=25, price=11.0),
        None,
        lambda s: s.buy("KO", 5, 9.0),
        lambda s: s.cancel("KO", s.ids[1]),
    )
    run = hx.Backtest(data=KO, strategy=script).run()
    assert [fill[1:5] for fill in script.fills] == [(at(2), "sell", 11.0, 25.0)]
    assert run.orders["state"].to_list() == ["filled", "cancelled"]


def test_a_target_is_reached_over_several_events() -> None:
    script = Script(None, None, lambda s: s.target("KO", 50), None, lambda s: s.target("KO", -10))
    run = hx.Backtest(data=KO, strategy=script).run()
    # 30 are shown at 11.02; the rest is taken at the next event; then 60 are sold at 10.40.
    got = [fill[1:5] for fill in script.fills]
    assert got == [(at(2), "buy", 11.02, 30.0), (at(3), "buy", 11.04, 20.0), (at(60), "sell", 10.4, 60.0)]
    realised = 30 * (10.40 - 11.02) + 20 * (10.40 - 11.04)
    assert sum(fill[7] for fill in script.fills) == pytest.approx(realised, abs=1e-6)
    assert run.positions["quantity"].to_list() == [-10.0]
    assert run.positions["average_price"].to_list() == [10.4]


def test_a_wish_in_on_start_is_sent_with_the_first_event() -> None:
    class Eager(Script):
        def on_start(self) -> None:
            self.target("KO", 5)

    eager = Eager()
    hx.Backtest(data=KO, strategy=eager).run()
    assert [fill[1:5] for fill in eager.fills] == [(at(0), "buy", 10.02, 5.0)]


def test_fills_go_to_the_strategy_that_asked() -> None:
    first, second = Script(lambda s: s.buy("KO", 10)), Script(None, lambda s: s.buy("KO", 20))
    first.name, second.name = "first", "second"
    run = hx.Backtest(data=KO, strategy=[first, second]).run()
    assert [fill[4] for fill in first.fills] == [10.0]
    assert [fill[4] for fill in second.fills] == [20.0]
    assert (first.position("KO"), second.position("KO")) == (10.0, 20.0)
    assert run.strategies["strategy"].to_list() == ["first", "second"]
    assert run.positions["quantity"].to_list() == [30.0]


def test_timers_are_multiples_of_their_period_each_strategy_its_own() -> None:
    class Clock(hx.Strategy):
        def __init__(self, name: str, timer: str | timedelta) -> None:
            self.name, self.timer, self.rings = name, timer, list[int]()

        def on_timer(self, now: int) -> None:
            self.rings.append(now)

    fast, slow = Clock("fast", "10s"), Clock("slow", timedelta(seconds=30))
    run = hx.Backtest(data=KO, strategy=[fast, slow]).run()
    assert fast.rings == [at(s) for s in (10, 20, 30, 40, 50, 60)]
    assert slow.rings == [at(s) for s in (30, 60)]
    assert run.meta["inputs"] == 6 + 6


def test_timers_that_are_no_multiples_of_each_other_ring_when_they_are_due() -> None:
    class Clock(hx.Strategy):
        def __init__(self, name: str, timer: str) -> None:
            self.name, self.timer, self.rings = name, timer, list[int]()

        def on_timer(self, now: int) -> None:
            self.rings.append(now)

    clocks = [Clock("twenty", "20s"), Clock("twentyfive", "25s")]
    run = hx.Backtest(data=KO, strategy=clocks).run()
    assert [clock.rings for clock in clocks] == [[at(s) for s in (20, 40, 60)], [at(s) for s in (25, 50)]]
    assert run.meta["inputs"] == 6 + 5


def test_a_wish_that_another_strategy_meets_is_a_fill_of_both() -> None:
    buyer, seller = Script(lambda s: s.target("KO", 10)), Script(lambda s: s.target("KO", -10))
    buyer.name, seller.name = "buyer", "seller"
    # Too large for an order, so the first wish waits; the second meets it inside, at the mid.
    run = hx.Backtest(data=KO, strategy=[buyer, seller], limits=hx.Limits(order_quantity=5)).run()
    assert [fill[1:5] for fill in buyer.fills] == [(at(0), "buy", 10.01, 10.0)]
    assert [fill[1:5] for fill in seller.fills] == [(at(0), "sell", 10.01, 10.0)]
    assert (buyer.position("KO"), seller.position("KO")) == (10.0, -10.0)
    assert run.fills["liquidity"].to_list() == ["transfer", "transfer"]


def test_before_start_views_are_kept_and_nothing_is_called() -> None:
    class Late(Log):
        def on_book(self, book: Any) -> None:
            super().on_book(book)
            if len(self.calls) == 2:
                self.buy("KO", 1)

    late = Late()
    hx.Backtest(data=KO, strategy=late, start=T0 + timedelta(seconds=2)).run()
    assert [call[:2] for call in late.calls[:3]] == [("start",), ("book", at(2)), ("fill", at(2))]


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_a_refused_wish_is_in_the_results_with_rule_limit_and_value() -> None:
    script = Script(lambda s: s.buy("KO", 500), lambda s: s.buy("KO", 50, 12.0), lambda s: s.buy("KO", 0))
    limits = hx.Limits(order_quantity=100, price_collar=0.05)
    run = hx.Backtest(data=KO, strategy=script, limits=limits).run()
    assert script.fills == []
    rows = run.refusals.select("strategy", "instrument", "rule", "limit", "value").rows()
    assert rows[0] == ("script", "KO", "order_quantity", 100.0, 500.0)
    assert rows[1][:4] == ("script", "KO", "price_collar", 0.05)  # in the unit in which it was given
    assert rows[1][4] == pytest.approx(12.0 / 10.02 - 1, abs=1e-6)
    assert rows[2][2] == "invalid"


def test_a_cancel_of_an_order_that_is_not_there_is_refused_not_fatal() -> None:
    script = Script(lambda s: s.cancel("KO", 12345), lambda s: s.buy("KO", 1))
    run = hx.Backtest(data=KO, strategy=script).run()
    assert run.refusals["rule"].to_list() == ["invalid"]
    assert len(script.fills) == 1


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["on_start", "on_book", "on_trade", "on_bar", "on_fill", "on_timer"])
def test_an_exception_arrives_as_itself_with_its_traceback(method: str, tmp_path: Path) -> None:
    class Mistaken(hx.Strategy):
        name = "mistaken"
        timer = "1s"

        def on_book(self, book: Any) -> None:
            self.target("KO", 5)

        def on_timer(self, now: int) -> None:
            pass

    def fail(self: Any, *_: Any) -> None:
        raise ZeroDivisionError(f"in {method}")

    fail.__name__ = fail.__qualname__ = method
    cls = type("Mistaken", (Mistaken,), {method: fail})
    bar = {"ts": [T0 + timedelta(seconds=5)], "symbol": ["KO"], "open": [10.0], "high": [10.0], "low": [10.0]}
    bars = pl.DataFrame(bar | {"close": [10.0], "volume": [1]})
    data = [KO, trades((0.5, "KO", 10, 1, None)), hx.bars(bars, span="1m")]
    with pytest.raises(ZeroDivisionError, match=f"in {method}") as caught:
        hx.Backtest(data=data, strategy=cls()).run(tmp_path / "run")
    assert any(frame.name == "fail" for frame in traceback.extract_tb(caught.value.__traceback__))
    # What went before is in the journal.
    replayed = replay(tmp_path / "run")
    assert replayed.difference is None
    assert replayed.damage is not None
    assert "did not close" in replayed.damage
    assert (replayed.inputs > 0) == (method != "on_start")


def test_the_journal_reaches_up_to_the_event_of_the_exception(tmp_path: Path) -> None:
    def fail(_: Script) -> None:
        raise RuntimeError("third quote")

    script = Script(lambda s: s.buy("KO", 10), None, fail)
    with pytest.raises(RuntimeError, match="third quote"):
        hx.Backtest(data=KO, strategy=script).run(tmp_path / "run")
    # Three quotes, the wish, acceptance and fill.
    assert replay(tmp_path / "run").inputs == 6


class Wrong(hx.Strategy):
    name = "wrong"

    def __init__(self, what: Any) -> None:
        self.what = what

    def on_book(self, book: Any) -> None:
        self.what(self)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (lambda s: s.buy("KOO", 1), "no data for 'KOO'"),
        (lambda s: s.buy(7, 1), "instrument 7 is none of the 1"),
        (lambda s: s.buy(-1, 1), "instrument -1 is none of the 1"),
        (lambda s: s.buy("KO", math.nan), "quantity nan is no number"),
        (lambda s: s.buy("KO", 1e12), "quantity 1000000000000.0 is no number, or too large"),
        (lambda s: s.sell("KO", 1, math.inf), "price inf is no number"),
        (lambda s: s.target("KO", -math.inf), "quantity -inf is no number"),
        (lambda s: s.replace("KO", 1, quantity=1, price=math.nan), "price nan is no number"),
        (lambda s: s.position("PEP"), "no data for 'PEP'"),
        (lambda s: s.book("PEP"), "no data for 'PEP'"),
    ],
)
def test_a_wish_that_cannot_be_is_an_error_at_its_line(what: Any, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        hx.Backtest(data=KO, strategy=Wrong(what)).run()
    assert says in str(caught.value)
    assert "'wrong'" in str(caught.value)


def test_a_timer_needs_its_method_and_the_method_its_timer() -> None:
    class NoMethod(hx.Strategy):
        timer = "1s"

    class NoTimer(hx.Strategy):
        def on_timer(self, now: int) -> None:
            pass

    for strategy in (NoMethod(), NoTimer()):
        with pytest.raises(ArgumentError, match="a timer needs both"):
            hx.Backtest(data=KO, strategy=strategy).run()


def test_the_universe_is_a_list_of_known_symbols() -> None:
    both = quotes((0, "KO", 10, 1, 11, 1), (1, "PEP", 20, 1, 21, 1), (2, "KO", 10, 1, 11, 2))
    log = Log()
    log.universe = ["PEP"]
    hx.Backtest(data=both, strategy=log).run()
    assert [call[2] for call in log.calls[1:]] == ["PEP"]
    for universe, says in (
        (["PEPS"], r"no data source has the symbol 'PEPS'; near ones: PEP"),
        ("KO", r"like \['KO'\]"),
    ):
        log = Log()
        log.universe = universe
        with pytest.raises(ArgumentError, match=says):
            hx.Backtest(data=both, strategy=log).run()


def test_what_is_no_strategy_is_refused() -> None:
    for wrong in (None, 3, "pairs", Log, [hx.mid("KO")], [[3]], []):
        with pytest.raises(ArgumentError, match="strategy"):
            hx.Backtest(data=KO, strategy=wrong).run()  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="two strategies are named 'log'"):
        hx.Backtest(data=KO, strategy=[Log(), Log()]).run()


def test_a_strategy_that_answers_every_fill_is_stopped_with_advice() -> None:
    class Loop(hx.Strategy):
        name = "loop"

        def on_book(self, book: Any) -> None:
            self.buy("KO", 1)

        def on_fill(self, fill: Any) -> None:
            (self.sell if fill.side == "buy" else self.buy)("KO", 1)

    deep = quotes((0, "KO", 10, 10**6, 11, 10**6), (1, "KO", 10, 10**6, 11, 10**6))
    with pytest.raises(HeliosError, match="give the venue a latency"):
        hx.Backtest(data=deep, strategy=Loop()).run()


# ---- replay ----------------------------------------------------------------------------------------------------------


def test_a_replay_needs_no_class(tmp_path: Path) -> None:
    script = Script(
        lambda s: s.buy("KO", 50),
        lambda s: s.sell("KO", 500, 11.0),
        lambda s: s.target("KO", -20),
        lambda s: s.cancel("KO", s.ids[1]),
        lambda s: s.buy("KO", 10**6),
    )
    limits = hx.Limits(order_quantity=1_000)
    run = hx.Backtest(data=KO, strategy=script, limits=limits).run(tmp_path / "run")
    assert len(script.fills) > 2
    assert run.refusals.height == 1
    replayed = replay(tmp_path / "run")
    assert replayed.identical, replayed.problem
    assert replayed.digest == run.meta["digest"]
    assert (replayed.inputs, replayed.outputs) == (run.meta["inputs"], run.meta["outputs"])


def test_a_misspelt_callback_is_an_error_and_not_a_silent_run() -> None:
    class Misspelt(hx.Strategy):
        def on_books(self, book: Any) -> None:
            raise AssertionError("nothing calls this")

    with pytest.raises(hx.ArgumentError, match="on_books: did you mean on_book"):
        hx.Backtest(data=KO, strategy=Misspelt()).run()


# ---- declared strategies ---------------------------------------------------------------------------------------------


class Reversion(hx.Strategy):
    enter: float = 2.0
    exit: float = 0.5
    window: int = 5
    universe = ("KO", "PEP")
    sizing = hx.FixedNotional(10_000)

    def signals(self) -> Any:
        z = (hx.mid("KO").log() - hx.mid("PEP").log()).zscore(self.window)
        side = z.hysteresis(enter=self.enter, exit=self.exit)
        return [self.hold("KO", -side), self.hold("PEP", side, weight=0.5), hx.record("z", side, z)]


def walk(n: int = 400, seed: int = 4) -> Any:
    rng = np.random.default_rng(seed)
    mids = {"KO": 60 + np.cumsum(rng.normal(0, 0.02, n)), "PEP": 60 + np.cumsum(rng.normal(0, 0.02, n))}
    rows: list[Quote] = [
        (i, s, round(mids[s][i], 2), 900, round(mids[s][i], 2) + 0.02, 900) for i in range(n) for s in mids
    ]
    return quotes(*rows)


def test_a_class_with_signals_does_what_the_same_expressions_do() -> None:
    data = walk()
    z = (hx.mid("KO").log() - hx.mid("PEP").log()).zscore(5)
    side = z.hysteresis(enter=1.5, exit=0.5)
    loose = [
        hx.target("KO", -side, notional=10_000, strategy="reversion"),
        hx.target("PEP", side, notional=5_000, strategy="reversion"),
        hx.record("reversion/z", side, z),
    ]
    by_class = hx.Backtest(data=data, strategy=Reversion(enter=1.5)).run()
    by_hand = hx.Backtest(data=data, strategy=loose).run()
    assert by_hand.fills.height > 20
    assert by_class.meta["digest"] == by_hand.meta["digest"]
    assert by_class.strategies.equals(by_hand.strategies)
    assert by_class.signals.equals(by_hand.signals)
    assert by_class.meta["config"]["parameters"] == {"reversion": {"enter": 1.5, "exit": 0.5, "window": 5}}


def test_parameters_are_named_typed_and_have_defaults() -> None:
    assert dict(Reversion().params) == {"enter": 2.0, "exit": 0.5, "window": 5}
    three = Reversion(enter=3)
    assert isinstance(three.enter, float)
    assert repr(three) == "Reversion(enter=3.0, exit=0.5, window=5)"
    assert Reversion.enter == 2.0
    assert Reversion(name="other", universe=["KO"]).name == "other"
    assert (Reversion.name, Log.name, hx.Strategy().name) == ("reversion", "log", "strategy")
    with pytest.raises(TypeError):
        three.params["enter"] = 4  # type: ignore[index]


class Every(hx.Strategy):
    symbol: str
    size: float | None = None
    window: str | int | timedelta = "10m"
    price: Literal["mid", "last"] = "mid"
    legs: tuple[str, ...] = ()
    flag: bool = False
    seen: list[int] = []  # noqa: RUF012
    plain = 3
    _state: int = 0
    shared: ClassVar[int] = 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "Every needs a value for symbol"),
        ({"symbol": 3}, "Every: symbol is 3: expected str, got int"),
        ({"symbol": "KO", "size": "x"}, "size is 'x': expected float | None, got str"),
        ({"symbol": "KO", "size": True}, "size is True: expected float | None, got bool"),
        ({"symbol": "KO", "size": math.nan}, "size is nan"),
        ({"symbol": "KO", "window": 1.5}, "window is 1.5: expected str | int | timedelta, got float"),
        ({"symbol": "KO", "price": "close"}, "price is 'close'"),
        ({"symbol": "KO", "legs": [1]}, "legs is [1]: expected str, got int"),
        ({"symbol": "KO", "flag": 1}, "flag is 1: expected bool, got int"),
        ({"symbol": "KO", "flga": True}, "no parameter is named 'flga': did you mean flag"),
        ({"symbol": "KO", "zzz": 1}, "there are symbol, size, window, price, legs, flag, seen"),
        ({"symbol": "KO", "plain": 4}, "plain is no parameter because it has no annotation"),
        ({"symbol": "KO", "_state": 4}, "_state"),
        ({"symbol": "KO", "shared": 4}, "shared"),
        ({"symbol": "KO", "sizing": 4}, "sizing is 4: expected Sizing | None, got int"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_right(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        Every(**given)
    assert says in str(caught.value)


def test_parameters_take_what_their_type_takes() -> None:
    every = Every(symbol="KO", size=3, window=timedelta(seconds=5), price="last", legs=["A", "B"], flag=True)  # type: ignore[arg-type]
    assert (every.size, every.window, every.legs) == (3.0, timedelta(seconds=5), ("A", "B"))
    assert isinstance(every.size, float)
    assert Every(symbol="KO", window=7).window == 7
    every.seen.append(1)
    assert Every(symbol="KO").seen == []  # each has its own
    with pytest.raises(ArgumentError, match=r"given by name, like Every\(symbol=…\)"):
        Every("KO")  # type: ignore[misc]


def test_a_parameter_may_not_hide_a_method_and_state_may_be_checked_after() -> None:
    with pytest.raises(ArgumentError, match="a parameter named buy would hide the method"):

        class Hides(hx.Strategy):
            buy: float = 1.0  # type: ignore[assignment]

    class Checked(hx.Strategy):
        enter: float = 2.0
        exit: float = 1.0

        def __post_init__(self) -> None:
            if self.exit >= self.enter:
                raise ArgumentError("exit must be below enter")

    with pytest.raises(ArgumentError, match="exit must be below enter"):
        Checked(exit=3)


def test_with_params_makes_a_fresh_one() -> None:
    one = Reversion(enter=3, name="one")
    two = one.with_params(exit=1)
    assert (two.name, dict(two.params)) == ("one", {"enter": 3.0, "exit": 1.0, "window": 5})
    assert dict(one.params)["exit"] == 0.5
    with pytest.raises(ArgumentError, match="did you mean exit"):
        one.with_params(exti=1)

    class Mine(hx.Strategy):
        def __init__(self, size: float, *, enough: float = 3) -> None:
            self.size, self.enough, self.seen = size, enough, [1]

        def on_book(self, book: Any) -> None: ...

    mine = Mine(5)
    mine.seen.append(2)
    other = mine.with_params(enough=4, name="other")
    assert (other.size, other.enough, other.seen, other.name) == (5, 4, [1], "other")
    assert dict(mine.params) == {"size": 5, "enough": 3}
    with pytest.raises(ArgumentError, match="no parameter is named 'siz'"):
        mine.with_params(siz=4)


def test_subclasses_inherit_parameters_and_may_change_defaults() -> None:
    class Wide(Reversion):
        enter = 4.0
        lots: int = 1

    assert dict(Wide(lots=2).params) == {"enter": 4.0, "exit": 0.5, "window": 5, "lots": 2}
    assert Wide.name == "wide"


def test_several_strategies_in_one_engine_are_netted_and_their_profits_kept_apart() -> None:
    """Opposite targets in one instrument meet inside; what each one earned adds up to the account's."""

    class Leg(hx.Strategy):
        sign: float = 1.0
        shares: float = 100.0
        level: float = 60.0

        def signals(self) -> Any:
            side = (hx.mid("KO") - self.level).hysteresis(enter=0.05, exit=0.01)
            return hx.target("KO", self.sign * side, quantity=self.shares)

    up, down = Leg(name="up"), Leg(name="down", sign=-1, shares=60)
    data = walk()
    fees = hx.Fees(taker_per_share=0.003)
    both = hx.Backtest(data=data, strategy=[up, down], venue=hx.Venue(fees=fees)).run()
    alone = hx.Backtest(data=data, strategy=Leg(shares=40), venue=hx.Venue(fees=fees)).run()

    rows = {row["strategy"]: row for row in both.strategies.to_dicts()}
    assert set(rows) == {"up", "down"}
    transfers = both.fills.filter(pl.col("liquidity") == "transfer")
    assert transfers.height > 4
    assert set(transfers["strategy"].to_list()) == {"up", "down"}
    assert transfers.filter(pl.col("strategy") == "up")["quantity"].sum() == (
        transfers.filter(pl.col("strategy") == "down")["quantity"].sum()
    )
    # To the venue goes the difference, as if one strategy of 40 shares had asked.
    outside = both.fills.filter(pl.col("liquidity") != "transfer")
    assert outside["quantity"].sum() == alone.fills["quantity"].sum()
    assert both.positions["quantity"].to_list() == alone.positions["quantity"].to_list()
    # Each one's profit by its own fills, at the last mark; their sum is the account's.
    total = 0.0
    for name, row in rows.items():
        mine = both.fills.filter(pl.col("strategy") == name)
        signs = [1 if side == "buy" else -1 for side in mine["side"]]
        cash = -sum(s * q * p for s, q, p in zip(signs, mine["quantity"], mine["price"], strict=True))
        held = sum(s * q for s, q in zip(signs, mine["quantity"], strict=True))
        last = float(both.positions["mark"][0])
        assert row["realised"] + row["unrealised"] == pytest.approx(cash + held * last, abs=1e-4)
        total += row["realised"] + row["unrealised"] - row["fees"]
    assert total == pytest.approx(both.headline.net, abs=1e-4)


def test_pairs_inside_a_strategy_keep_accounts_of_their_own() -> None:
    class Pairs(hx.Strategy):
        enter: float = 1.0

        def signals(self) -> Any:
            return [hx.pair("KO", "PEP", window=5, enter=self.enter), hx.record("pairs", hx.mid("KO"))]

    run = hx.Backtest(data=walk(), strategy=Pairs()).run()
    assert run.strategies["strategy"].to_list() == ["pairs/KO/PEP"]
    assert set(run.signals["signal"].unique()) == {"pairs/KO/PEP", "pairs"}


def test_a_strategy_hears_of_all_of_its_accounts_and_holds_their_sum() -> None:
    class Two(hx.Strategy):
        def signals(self) -> Any:
            side = (hx.mid("KO") - 60).hysteresis(enter=0.05, exit=0.01)
            return [
                hx.target("KO", side, quantity=30, strategy="first"),
                hx.target("KO", -side, quantity=10, strategy="second"),
                hx.target("PEP", side, quantity=5),
            ]

        def on_start(self) -> None:
            self.heard: list[tuple[str, str, float]] = []
            self.most = 0.0

        def on_fill(self, fill: Any) -> None:
            self.heard.append((fill.account, fill.symbol, fill.quantity))
            assert fill.position == self.position(fill.symbol)

        def on_book(self, book: Any) -> None:
            self.most = max(self.most, abs(self.position("KO")))

    two = Two()
    run = hx.Backtest(data=walk(), strategy=two).run()
    assert two.heard == run.fills.select("strategy", "instrument", "quantity").rows()
    assert {account for account, *_ in two.heard} == {"two", "two/first", "two/second"}
    assert two.most == 20.0
    held = dict(run.positions.select("instrument", "quantity").rows())
    assert {symbol: two.position(symbol) for symbol in held} == held


def test_a_strategy_can_be_pickled_and_copied() -> None:
    for one in (Reversion(enter=3, name="one"), Script(1, 2)):
        other = pickle.loads(pickle.dumps(one))
        assert (other.name, dict(other.params)) == (one.name, dict(one.params))
        assert dict(copy.copy(one).with_params().params) == dict(one.params)


def test_signals_and_callbacks_in_one_class() -> None:
    class Both(Reversion):
        def on_start(self) -> None:
            self.fills: list[str] = []

        def on_fill(self, fill: Any) -> None:
            self.fills.append(fill.symbol)

    both = Both(enter=1.5)
    run = hx.Backtest(data=walk(), strategy=both).run()
    assert run.strategies["strategy"].to_list() == ["both"]
    assert both.fills == run.fills["instrument"].to_list()
    assert len(both.fills) > 20


def test_limits_of_run_and_strategies_the_strictest_of_each_holds() -> None:
    first = Reversion(enter=1.5, limits=hx.Limits(order_notional=4_000, order_rate=50))
    second = Reversion(enter=1.5, name="second", limits=hx.Limits(order_notional=9_000, position=1_000))
    run = hx.Backtest(data=walk(), strategy=[first, second], limits=hx.Limits(order_notional=5_000)).run()
    assert run.meta["config"]["limits"] == {"order_notional": 4_000, "position": 1_000, "order_rate": 50}
    assert run.refusals["rule"].unique().to_list() == ["order_notional"]
    assert run.refusals["limit"].unique().to_list() == [4_000.0]
    with pytest.raises(ArgumentError, match=r"must be hx\.Limits"):
        wrong = Reversion()
        wrong.limits = 3  # type: ignore[assignment]
        hx.Backtest(data=walk(), strategy=wrong).run()


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        (lambda s: hx.mid("KO"), "signals gave mid('KO')"),
        (lambda s: [3], "signals gave 3"),
        (lambda s: None, "signals gave None"),
        (lambda s: s.hold("KO", hx.mid("KO")), "needs a sizing"),
        (lambda s: hx.target("PEP", hx.mid("KO").unitless(), quantity=1), "its universe does not have: KO"),
    ],
)
def test_signals_that_cannot_be_are_errors(gives: Any, says: str) -> None:
    cls = type("Bad", (hx.Strategy,), {"signals": gives, "universe": ("KO",)})
    with pytest.raises(ArgumentError) as caught:
        hx.Backtest(data=walk(50), strategy=cls()).run()
    assert says in str(caught.value)
    assert "'bad'" in str(caught.value)


def test_names_used_twice_are_refused() -> None:
    loose = hx.target("KO", hx.mid("KO").sign(), quantity=1, strategy="reversion")
    for wishes in ([Reversion(), Reversion()], [loose, Reversion()], [Reversion(), loose]):
        with pytest.raises(ArgumentError, match="two strategies are named 'reversion'"):
            hx.Backtest(data=walk(50), strategy=wishes).run()


# ---- what a strategy hears -------------------------------------------------------------------------------------------


def test_on_signal_hears_of_its_own_records_under_its_own_names() -> None:
    class Hears(Reversion):
        def on_start(self) -> None:
            self.heard: list[tuple[Any, ...]] = []

        def on_signal(self, signal: Any) -> None:
            self.heard.append((signal.ts, signal.name, signal.value, signal.input))

    one, two = Hears(enter=1.5, name="one"), Hears(enter=1.0, name="two")
    loose = hx.record("z", hx.mid("KO"))
    run = hx.Backtest(data=walk(), strategy=[one, two, loose]).run()
    for strategy in (one, two):
        mine = run.signals.filter(pl.col("signal") == f"{strategy.name}/z")
        want = list(zip(mine["ts"].to_physical(), mine["value"], mine["input"], strict=True))
        assert [(ts, value, given) for ts, _, value, given in strategy.heard] == want
        assert {name for _, name, *_ in strategy.heard} == {"z"}
        assert len(want) > 50
    assert one.heard != two.heard


def test_on_signal_may_trade_and_hears_nothing_before_the_start() -> None:
    class Acts(hx.Strategy):
        def on_start(self) -> None:
            self.heard: list[int] = []

        def signals(self) -> Any:
            return hx.record("high", (hx.mid("KO") - 10.5).hysteresis(enter=0.1, exit=0.0))

        def on_signal(self, signal: Any) -> None:
            self.heard.append(signal.ts)
            self.target("KO", 10 * signal.value)

    acts = Acts()
    run = hx.Backtest(data=KO, strategy=acts).run()
    assert acts.heard == [at(0), at(2), at(60)]
    assert [row[1:] for row in run.fills.select("ts", "side", "quantity").rows()] == [
        ("sell", 10.0),
        ("buy", 20.0),
        ("sell", 10.0),
    ]
    hx.Backtest(data=KO, strategy=acts, start=T0 + timedelta(seconds=2)).run()
    assert acts.heard == [at(2), at(60)]


def test_on_refusal_and_on_order_tell_what_became_of_a_wish() -> None:
    class Tells(Script):
        def on_start(self) -> None:
            self.refused: list[tuple[Any, ...]] = []
            self.orders: list[tuple[Any, ...]] = []

        def on_refusal(self, refusal: Any) -> None:
            r = refusal
            self.refused.append((r.ts, r.symbol, r.rule, r.limit, r.value, r.side, r.quantity, r.price))

        def on_order(self, order: Any) -> None:
            self.orders.append((order.ts, order.order, order.symbol, order.state, order.done, order.rejected))

    tells = Tells(
        lambda s: s.buy("KO", 500),
        lambda s: s.sell("KO", 20, 12.0),
        lambda s: s.replace("KO", s.ids[-1], quantity=25, price=11.5),
        lambda s: s.cancel("KO", s.ids[-1]),
        lambda s: s.target("KO", 5),  # an order of execution's own: not heard of
    )
    quiet = Tells(None)
    quiet.name = "quiet"
    limits = hx.Limits(order_quantity=100)
    run = hx.Backtest(data=KO, strategy=[tells, quiet], limits=limits).run()
    assert len(tells.refused) == 1
    assert tells.refused[0][:7] == (at(0), "KO", "order_quantity", 100.0, 500.0, "buy", 500.0)
    assert math.isnan(tells.refused[0][7])
    assert [(row[0], row[3]) for row in tells.orders] == [
        (at(1), "accepted"),
        (at(2), "replace_pending"),
        (at(2), "accepted"),
        (at(3), "cancel_pending"),
        (at(3), "cancelled"),
    ]
    assert {row[1] for row in tells.orders} == {tells.ids[-1]}
    assert [row[4] for row in tells.orders] == [False, False, False, False, True]
    assert not any(row[5] for row in tells.orders)
    assert run.fills.height == 1
    assert quiet.refused == quiet.orders == []


@pytest.mark.parametrize("method", ["on_signal", "on_refusal", "on_order"])
def test_an_exception_in_what_it_hears_arrives_as_itself(method: str) -> None:
    def fail(self: Any, *_: Any) -> None:
        raise ZeroDivisionError(f"in {method}")

    def signals(self: Any) -> Any:
        return hx.record("mid", hx.mid("KO"))

    def on_book(self: Any, book: Any) -> None:
        self.buy("KO", 1, 9.0)
        self.buy("KO", 500)

    cls = type("Mistaken", (hx.Strategy,), {method: fail, "on_book": on_book, "signals": signals})
    with pytest.raises(ZeroDivisionError, match=f"in {method}"):
        hx.Backtest(data=KO, strategy=cls(), limits=hx.Limits(order_quantity=100)).run()
