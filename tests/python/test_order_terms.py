"""Terms of orders through the whole engine: strategy, gate, venue, results; and where an order stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.data import ColumnSource
from helios.errors import ArgumentError
from helios.research.replay import replay
from helios.research.results import Results
from helios.signals.orders import Queue

T0 = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
NS0 = int(T0.timestamp()) * 10**9
KINDS = ("add", "execute", "reduce", "delete", "replace", "hidden", "cross", "halted", "trading", "clear")
SIDES = {"buy": 0, "sell": 1, "": -1}

Row = tuple[float, str, int, str, float, int]


class Flow(ColumnSource):
    """Single orders of KO: seconds, kind, order, side, price, size."""

    schema = "orders"

    def __init__(self, *rows: Row) -> None:
        self.table = rows
        self.skipped = {}

    @property
    def symbols(self) -> list[str]:
        return ["KO"]

    @property
    def rows(self) -> int:
        return len(self.table)

    def batches(self, ids: Mapping[str, int], size: int = 1 << 18) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        def column(values: list[Any], dtype: Any = np.int64) -> np.ndarray[Any, Any]:
            return np.array(values, dtype=dtype)

        yield {
            "ts": column([NS0 + round(s * 10**9) for s, *_ in self.table]),
            "instrument": column([ids["KO"]] * len(self.table), np.uint32),
            "kind": column([KINDS.index(kind) for _, kind, *_ in self.table]),
            "order": column([order for _, _, order, *_ in self.table]),
            "new_order": column([0] * len(self.table)),
            "side": column([SIDES[side] for *_, side, _, _ in self.table]),
            "price": column([round(price * 10**9) for *_, price, _ in self.table]),
            "size": column([size * 10**8 for *_, size in self.table]),
        }


#: A bid of 100 at 10.00, an offer of 100 at 10.02; then, from second 2 on, what a test adds.
BOOK: tuple[Row, ...] = (
    (0, "add", 1, "buy", 10.00, 100),
    (0, "add", 2, "sell", 10.02, 100),
    (1, "add", 3, "buy", 9.00, 1),
)


class Once(hx.Strategy):
    """Does `act` when the book is there, and writes down what it is told."""

    universe = ("KO",)

    def __init__(self, act: Callable[[hx.Strategy], Any]) -> None:
        self.act, self.answer, self.told = act, None, list[Any]()
        self.acted = False
        self.after: Callable[[hx.Strategy], Any] | None = None

    def on_book(self, book: Any) -> None:
        if not self.acted and book.ask > 0 and book.bid > 0:
            self.acted = True
            self.answer = self.act(self)
        elif self.acted and self.after is not None:
            self.told.append(self.after(self))


def run(act: Callable[[hx.Strategy], Any], *rows: Row, venue: hx.Venue | None = None, **rest: Any) -> Results:
    strategy = Once(act)
    return hx.Backtest(data=Flow(*BOOK, *rows), strategy=strategy, venue=venue or hx.Venue(), **rest).run(
        progress=False
    )


def fills(results: Results) -> list[tuple[float, float, str]]:
    return results.fills.select("price", "quantity", "liquidity").rows()


def states(results: Results) -> list[str]:
    return results.orders["state"].to_list()


# ---- each term changes what happens ----------------------------------------------------------------------------------


def test_post_only_is_rejected_where_a_plain_order_takes() -> None:
    assert fills(run(lambda s: s.buy("KO", 50, 10.02))) == [(10.02, 50.0, "taker")]
    shy = run(lambda s: s.buy("KO", 50, 10.02, post_only=True))
    assert (fills(shy), states(shy)) == ([], ["rejected"])
    assert states(run(lambda s: s.buy("KO", 50, 10.01, post_only=True))) == ["accepted"]


def test_fill_or_kill_takes_all_or_nothing() -> None:
    assert fills(run(lambda s: s.buy("KO", 101, 10.02, tif="ioc"))) == [(10.02, 100.0, "taker")]
    killed = run(lambda s: s.buy("KO", 101, 10.02, tif="fok"))
    assert (fills(killed), states(killed)) == ([], ["cancelled"])
    assert fills(run(lambda s: s.buy("KO", 100, tif="fok"))) == [(10.02, 100.0, "taker")]


def test_a_hidden_order_waits_behind_what_is_displayed_later() -> None:
    flow: tuple[Row, ...] = ((2, "add", 4, "buy", 10.01, 50), (3, "execute", 4, "", 0, 40))
    assert fills(run(lambda s: s.buy("KO", 50, 10.01), *flow)) == [(10.01, 40.0, "maker")]
    assert fills(run(lambda s: s.buy("KO", 50, 10.01, hidden=True), *flow)) == []


def test_an_iceberg_gives_up_its_place_after_each_peak() -> None:
    flow: tuple[Row, ...] = ((2, "add", 4, "buy", 10.01, 50), (3, "execute", 4, "", 0, 40))
    assert fills(run(lambda s: s.buy("KO", 50, 10.01, display=10), *flow)) == [(10.01, 10.0, "maker")]


def test_a_peg_trades_at_the_midpoint() -> None:
    results = run(
        lambda s: s.buy("KO", 50, peg="mid"), (2, "hidden", 0, "sell", 10.01, 30), (3, "add", 4, "sell", 10.01, 5)
    )
    assert fills(results) == [(10.01, 30.0, "maker"), (10.01, 5.0, "maker")]
    limited = run(lambda s: s.buy("KO", 50, 10.00, peg="mid"), (2, "hidden", 0, "sell", 10.01, 30))
    assert fills(limited) == []


def test_a_stop_sleeps_until_the_last_trade_reaches_it() -> None:
    flow: tuple[Row, ...] = ((2, "execute", 1, "", 0, 10), (3, "execute", 2, "", 0, 10), (4, "delete", 3, "", 0, 0))
    results = run(lambda s: s.buy("KO", 50, stop=10.02), *flow)
    assert fills(results) == [(10.02, 50.0, "taker")]
    assert results.fills["ts_event"].to_physical().to_list() == [NS0 + 3 * 10**9 + 1]
    assert fills(run(lambda s: s.buy("KO", 50, stop=10.03), *flow)) == []


def test_orders_for_auctions_trade_at_the_cross_and_expire_otherwise() -> None:
    hours = [(T0 - timedelta(hours=1), T0 + timedelta(seconds=10))]
    venue = hx.Venue(session=hx.session(hours=hours), auction_share=0.5)
    flow: tuple[Row, ...] = ((2, "cross", 0, "", 10.05, 100), (11, "cross", 0, "", 9.95, 1000))
    opening = run(lambda s: s.buy("KO", 70, tif="open"), *flow, venue=venue)
    assert (fills(opening), states(opening)) == ([(10.05, 50.0, "taker")], ["cancelled"])
    closing = run(lambda s: s.sell("KO", 70, 9.90, tif="close"), *flow, venue=venue)
    assert fills(closing) == [(9.95, 70.0, "taker")]
    assert states(run(lambda s: s.sell("KO", 70, 9.96, tif="close"), *flow, venue=venue)) == ["cancelled"]
    assert states(run(lambda s: s.sell("KO", 70, tif="close"), *flow)) == ["rejected"], "no session, no close"


def test_self_trade_prevention_has_its_four_modes() -> None:
    def both(strategy: hx.Strategy) -> None:
        strategy.sell("KO", 30, 10.01)
        strategy.buy("KO", 20, 10.01)

    def outcome(mode: Any) -> list[tuple[str, float]]:
        results = run(both, (2, "add", 4, "buy", 10.01, 100), venue=hx.Venue(self_trade=mode))
        return results.orders.select("state", "filled").rows()

    assert outcome("cancel_newest") == [("filled", 30.0), ("cancelled", 0.0)]
    assert outcome("cancel_oldest") == [("cancelled", 0.0), ("accepted", 0.0)]
    assert outcome("cancel_both") == [("cancelled", 0.0), ("cancelled", 0.0)]
    assert outcome("decrement") == [("filled", 10.0), ("cancelled", 0.0)]


def test_sessions_and_bands_reject() -> None:
    closed = hx.Venue(session=hx.session(hours=[(T0 + timedelta(hours=1), T0 + timedelta(hours=2))]))
    assert states(run(lambda s: s.buy("KO", 50, 10.02), venue=closed)) == ["rejected"]
    rows: tuple[Row, ...] = ((0.5, "execute", 1, "", 0, 1),)

    def far(price: float) -> list[str]:
        strategy = Once(lambda s: None)
        strategy.after = lambda s: s.buy("KO", 1, price) if not strategy.told else None
        flow = Flow(*BOOK[:2], *rows, *BOOK[2:], (2, "add", 5, "buy", 10.01, 1))
        return states(hx.Backtest(data=flow, strategy=strategy, venue=hx.Venue(price_band=0.05)).run(progress=False))

    assert far(9.50) == ["accepted"]
    assert far(9.49) == ["rejected"]


def test_terms_are_in_the_results_and_the_journal_replays(tmp_path: Path) -> None:
    def act(strategy: hx.Strategy) -> None:
        strategy.buy("KO", 50, 9.99, post_only=True)
        strategy.buy("KO", 50, 9.98, display=10)
        strategy.sell("KO", 50, 10.50, hidden=True)
        strategy.sell("KO", 50, peg="mid")
        strategy.sell("KO", 50, 9.90, stop=9.95, ioc=True)
        strategy.buy("KO", 200, tif="fok")

    results = hx.Backtest(data=Flow(*BOOK), strategy=Once(act)).run(tmp_path / "run")
    columns = ["time_in_force", "post_only", "peg", "display", "stop"]
    assert results.orders.select(columns).rows() == [
        ("day", True, "none", None, None),
        ("day", False, "none", 10.0, None),
        ("day", False, "none", 0.0, None),
        ("day", False, "mid", None, None),
        ("ioc", False, "none", None, 9.95),
        ("fok", False, "none", None, None),
    ]
    assert replay(tmp_path / "run").identical


def test_tables_of_earlier_runs_lack_the_columns() -> None:
    later = ["post_only", "peg", "display", "stop"]
    orders = run(lambda s: s.buy("KO", 50, 10.02)).orders
    old = Results(orders=orders.drop(later))
    assert old.orders.select(later).rows() == [(False, "none", None, None)]
    assert old.orders.schema == orders.schema


# ---- where it stands -------------------------------------------------------------------------------------------------


def test_the_queue_is_exact_and_only_there_during_a_backtest() -> None:
    strategy = Once(lambda s: s.buy("KO", 50, 10.00))
    strategy.after = lambda s: s.queue("KO", strategy.answer)
    # At each event: a stranger behind us comes, one before us takes 30 away, ours trades, and is done.
    flow = Flow(
        *BOOK,
        (2, "add", 4, "buy", 10.00, 70),
        (3, "reduce", 1, "", 0, 30),
        (4, "reduce", 4, "", 0, 30),
        (5, "execute", 1, "", 0, 70),
        (6, "execute", 4, "", 0, 20),
        (7, "execute", 4, "", 0, 20),
        (8, "delete", 2, "", 0, 0),
    )
    hx.Backtest(data=flow, strategy=strategy).run(progress=False)
    at = [(told.ahead, told.left) if told else None for told in strategy.told]
    # The book of the engine has strangers only, the order's own fills change nothing there.
    assert at == [(100.0, 50.0), (70.0, 50.0), (70.0, 50.0), (0.0, 50.0), (0.0, 30.0), (0.0, 10.0), (0.0, 10.0)]
    assert isinstance(strategy.told[0], Queue)
    assert strategy.told[0].price == 10.0
    assert strategy.queue("KO", strategy.answer or 0) is None, "the run is over"


def test_the_queue_of_what_does_not_rest_is_none() -> None:
    strategy = Once(lambda s: (s.buy("KO", 50, stop=11.0), s.queue("KO", 12345)))
    strategy.after = lambda s: s.queue("KO", strategy.answer[0])
    hx.Backtest(data=Flow(*BOOK, (2, "add", 4, "buy", 10.00, 70)), strategy=strategy).run(progress=False)
    assert strategy.answer[1] is None
    assert strategy.told == [None]


# ---- what makes no sense ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"tif": "gtc"}, "tif is 'gtc': there are 'day', 'ioc'"),
        ({"ioc": True, "tif": "day"}, "ioc=True and tif='day' exclude each other"),
        ({"post_only": True, "ioc": True}, "post_only is for orders that rest: tif must be 'day', not 'ioc'"),
        ({"post_only": True, "tif": "close"}, "post_only is for orders that rest"),
        ({"price": None, "post_only": True}, "post_only is for orders that rest"),
        ({"price": None, "tif": "day"}, "a market order does not rest"),
        ({"price": None, "stop": 11.0, "hidden": True}, "hidden is for orders that rest: give a price"),
        ({"display": 0}, "display is 0: it must be more than 0 and at most the quantity, 50"),
        ({"display": 51}, "at most the quantity, 50"),
        ({"display": 10, "hidden": True}, "hidden or displays 10 of itself, not both"),
        ({"peg": "bid"}, "peg is 'bid': there is 'mid'"),
        ({"peg": "mid", "stop": 10.5}, "pegged to the midpoint is unseen and has no stop"),
        ({"peg": "mid", "display": 10}, "leave display and stop out"),
        ({"peg": "mid", "tif": "fok"}, "peg is for orders that rest"),
        ({"stop": 11.0, "tif": "open"}, "an order for an auction (tif='open') has no stop"),
        ({"stop": float("nan")}, "stop nan is no number"),
    ],
)
def test_terms_that_make_no_sense_are_errors_where_they_are_written(terms: dict[str, Any], says: str) -> None:
    given = {"price": 10.0} | terms
    with pytest.raises(ArgumentError, match=r"strategy 'once': ") as caught:
        run(lambda s: s.buy("KO", 50, **given))
    assert says in str(caught.value)


@pytest.mark.parametrize(("terms", "limit", "value"), [({"stop": 10.001}, 0.01, 10.001), ({"display": 0.5}, 50.0, 0.5)])
def test_the_gate_refuses_what_is_off_the_grid(terms: dict[str, float], limit: float, value: float) -> None:
    refusals = run(lambda s: s.buy("KO", 50, 10.05, **terms)).refusals  # type: ignore[arg-type]
    assert refusals["rule"].to_list() == ["invalid"]


def test_what_the_data_cannot_do_is_rejected() -> None:
    quotes = pl.DataFrame(
        {"ts": [T0, T0 + timedelta(seconds=1)], "symbol": "KO", "bid": 10.0, "ask": 10.02, "bid_size": 9, "ask_size": 9}
    )

    def outcome(**terms: Any) -> list[str]:
        strategy = Once(lambda s: s.buy("KO", 5, 10.01, **terms))
        return states(hx.Backtest(data=hx.quotes(quotes), strategy=strategy).run(progress=False))

    assert outcome(post_only=True) == ["accepted"]
    for terms in ({"hidden": True}, {"display": 1}, {"peg": "mid"}, {"tif": "open"}, {"tif": "close"}):
        assert outcome(**terms) == ["rejected"], terms


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"self_trade": "both"}, "self_trade is 'both': it must be one of cancel_newest"),
        ({"session": "XNYS"}, "give hx.session('XNYS')"),
        ({"auction_share": 1.5}, "it must be from 0 to 1"),
        ({"auction_share": -0.1}, "must be 0 or more"),
        ({"price_band": 0}, "it must be a fraction like 0.05, or None"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        hx.Venue(**setting)
    assert says in str(caught.value)
