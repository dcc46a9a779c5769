"""The matching engine as Python sees it: events, orders, auctions, errors. Its rules: core/venue/tests/matching."""

from __future__ import annotations

from typing import Any

import helios as hx
import pytest
from helios.execution.matching import (
    Accepted,
    Amended,
    Auctioned,
    AuctionTraded,
    Bands,
    Cancelled,
    Indicative,
    MatchingEngine,
    PhaseChanged,
    Refreshed,
    Rejected,
    Traded,
    Triggered,
    WorkingOrder,
)


@pytest.fixture
def engine() -> MatchingEngine:
    return hx.MatchingEngine(["KO", "PEP"], tick=0.01)


def test_an_order_meets_the_oldest_at_the_best_price(engine: MatchingEngine) -> None:
    assert engine.submit("KO", "sell", 100, 62.15) == [Accepted("KO", 1, "sell", 62.15, 100.0)]
    engine.submit("KO", "sell", 100, 62.15)
    events = engine.submit("KO", "buy", 160, 62.20)
    assert events == [
        Accepted("KO", 3, "buy", 62.2, 160.0),
        Traded("KO", 3, 1, "buy", 62.15, 100.0, 0.0),
        Traded("KO", 3, 2, "buy", 62.15, 60.0, 40.0),
    ]
    assert engine.depth("KO", "sell") == [(62.15, 40.0, 1)]
    assert engine.depth("PEP", "sell") == []
    assert engine.last("KO") == 62.15
    assert engine.last("PEP") is None
    assert engine.order(2) == WorkingOrder(2, "KO", "sell", 62.15, 40.0, 40.0, 60.0, "shown")
    assert engine.order(1) is None


def test_numbers_are_given_or_the_next_free_one(engine: MatchingEngine) -> None:
    engine.submit("KO", "buy", 1, 50, order=40)
    assert engine.submit("KO", "buy", 1, 50)[0] == Accepted("KO", 41, "buy", 50.0, 1.0)
    assert engine.submit("PEP", "buy", 1, 50, order=40) == [Rejected("PEP", 40, "submit", "duplicate_order")]
    assert engine.queue("KO", "buy") == [40, 41]


def test_changes_and_cancels(engine: MatchingEngine) -> None:
    engine.submit("KO", "buy", 100, 50, order=1)
    assert engine.amend("KO", 1, 60, 50) == [Amended("KO", 1, 1, 50.0, 60.0, True)]
    assert engine.amend("KO", 1, 60, 49, new_order=7) == [Amended("KO", 1, 7, 49.0, 60.0, False)]
    assert engine.amend("KO", 1, 60, 49) == [Rejected("KO", 1, "amend", "unknown_order")]
    assert engine.cancel("KO", 7) == [Cancelled("KO", 7, 60.0, 0.0, "requested")]
    assert engine.cancel("KO", 7) == [Rejected("KO", 7, "cancel", "unknown_order")]
    assert engine.submit("KO", "buy", 1, 50)[0] == Accepted("KO", 8, "buy", 50.0, 1.0)


def test_terms(engine: MatchingEngine) -> None:
    engine.submit("KO", "sell", 30, 50, order=1, display=10)
    engine.submit("KO", "sell", 30, 50, order=2, hidden=True)
    assert engine.depth("KO", "sell") == [(50.0, 10.0, 1)]
    assert engine.submit("KO", "buy", 10, 50, order=3, time_in_force="fok")[1:] == [
        Traded("KO", 3, 1, "buy", 50.0, 10.0, 20.0),
        Refreshed("KO", 1, 10.0),
    ]
    assert engine.submit("KO", "buy", 1, 50, order=4, post_only=True) == [Rejected("KO", 4, "submit", "would_take")]
    engine.submit("KO", "buy", 5, order=5, stop=50.0)
    assert engine.order(5) is None  # reached by the last trade: it woke and traded at once
    engine.submit("KO", "buy", 5, order=6, stop=51.0)
    assert engine.queue("KO", "buy", "stopped") == [6]
    engine.submit("KO", "buy", 10, 49, order=7)
    engine.submit("KO", "buy", 10, 49.60, order=8, midpoint=True)
    assert engine.submit("KO", "sell", 4, 49.5, order=9)[1:] == [Traded("KO", 9, 8, "sell", 49.5, 4.0, 6.0)]
    engine.submit("KO", "sell", 1, 48, order=10, time_in_force="ioc", firm=3, self_trade="cancel_newest")


def test_a_stop_wakes_after_the_trade_that_reached_it(engine: MatchingEngine) -> None:
    engine.submit("KO", "sell", 10, 50, order=1)
    engine.submit("KO", "buy", 5, order=2, stop=50.0)
    events = engine.submit("KO", "buy", 1, 50, order=3)
    assert events[1:] == [
        Traded("KO", 3, 1, "buy", 50.0, 1.0, 9.0),
        Triggered("KO", 2),
        Traded("KO", 2, 1, "buy", 50.0, 5.0, 4.0),
    ]


def test_self_trades_are_prevented(engine: MatchingEngine) -> None:
    engine.submit("KO", "sell", 10, 50, order=1, firm=9)
    events = engine.submit("KO", "buy", 4, 50, order=2, firm=9, self_trade="decrement")
    assert events[1:] == [Cancelled("KO", 1, 4.0, 6.0, "self_trade"), Cancelled("KO", 2, 4.0, 0.0, "self_trade")]


def test_pro_rata_and_bands() -> None:
    engine = MatchingEngine(["ED"], lot=1, allocation="pro_rata", bands=Bands(reference=100, static=0.05))
    for order, size in ((1, 30), (2, 10)):
        engine.submit("ED", "sell", size, 100, order=order)
    events = engine.submit("ED", "buy", 20, 100, order=3)
    assert [(e.resting, e.quantity) for e in events if isinstance(e, Traded)] == [(1, 15.0), (2, 5.0)]
    assert engine.submit("ED", "buy", 1, 105.01, order=4) == [Rejected("ED", 4, "submit", "price_band")]
    engine.set_rules("ED", bands=Bands(dynamic=0.01, beyond="cancel"))
    assert engine.submit("ED", "buy", 1, 105.01, order=4)[0] == Accepted("ED", 4, "buy", 105.01, 1.0)


def test_an_opening_auction(engine: MatchingEngine) -> None:
    assert engine.set_phase("KO", "pre_open") == [PhaseChanged("KO", "pre_open")]
    assert engine.phase("KO") == "pre_open"
    assert engine.phase("PEP") == "continuous"
    engine.set_last("KO", 60)
    engine.submit("KO", "buy", 70, 61, order=1)
    engine.submit("KO", "sell", 50, 60, order=2, time_in_force="open")
    indicative = engine.indicative("KO", "open")
    assert indicative == Indicative("KO", "open", 61.0, 50.0, 20.0, "buy")
    assert engine.indicative("PEP", "open") == Indicative("PEP", "open", None, 0.0, 0.0, None)
    assert engine.set_phase("KO", "continuous") == [Rejected("KO", 0, "phase", "not_trading")]
    assert engine.uncross("KO", "open") == [
        Auctioned("KO", "open", 61.0, 50.0, 20.0, "buy"),
        AuctionTraded("KO", 1, 2, 61.0, 50.0),
        PhaseChanged("KO", "continuous"),
    ]
    assert engine.last("KO") == 61.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda e: e.submit("XYZ", "buy", 1, 50), "'XYZ' is not listed here: there are KO, PEP"),
        (lambda e: e.submit(["KO"], "buy", 1, 50), "is not listed here"),
        (lambda e: e.submit("KO", "long", 1, 50), "side is 'long': one of buy, sell"),
        (lambda e: e.submit("KO", "buy", float("nan"), 50), "the quantity is nan: it must be a finite number"),
        (lambda e: e.submit("KO", "buy", 1e12, 50), "the quantity is 1000000000000.0: it must be below"),
        (lambda e: e.submit("KO", "buy", 1, "50"), "the price is '50': it must be a finite number"),
        (lambda e: e.submit("KO", "buy", 1, 50, order=0), "order is 0: it must be a whole number from 1"),
        (lambda e: e.submit("KO", "buy", 1, 50, order=1.5), "order is 1.5: it must be a whole number"),
        (lambda e: e.submit("KO", "buy", 1, 50, time_in_force="gtc"), "time_in_force is 'gtc': one of day, ioc"),
        (lambda e: e.submit("KO", "buy", 1, 50, self_trade="none"), "self_trade is 'none': one of allow"),
        (lambda e: e.submit("KO", "buy", 1, 50, hidden=True, display=1), "hidden shows nothing and display"),
        (lambda e: e.submit("KO", "buy", 1, 50, firm=-1), "firm is -1"),
        (lambda e: e.set_phase("KO", "open"), "phase is 'open': one of closed, pre_open"),
        (lambda e: e.uncross("KO", "closing"), "auction is 'closing': one of open, close, reopen"),
        (lambda e: e.queue("KO", "buy", "dark"), "place is 'dark': one of shown"),
        (lambda e: e.set_rules("KO", allocation="fifo"), "allocation is 'fifo': price_time, pro_rata"),
        (lambda e: e.set_rules("KO", bands=0.05), "bands is 0.05: it must be a Bands"),
        (lambda _: MatchingEngine("KO"), "symbols is 'KO': it must be a list of distinct symbols"),
        (lambda _: MatchingEngine([]), "it must be a list of distinct symbols"),
        (lambda _: MatchingEngine(["KO", "KO"]), "it must be a list of distinct symbols"),
        (lambda _: Bands(static=5, reference=1), "static is 5: it is a fraction from 0 to below 1"),
        (lambda _: Bands(static=0.05), "static is set without a reference"),
        (lambda _: Bands(), "these bands limit nothing"),
        (lambda _: Bands(reference=1, dynamic=0.1, beyond="stop"), "beyond is 'stop': one of reject"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(engine: MatchingEngine, call: Any, says: str) -> None:
    with pytest.raises(hx.ArgumentError) as caught:
        call(engine)
    assert says in str(caught.value)


def test_what_the_market_refuses_is_an_event(engine: MatchingEngine) -> None:
    assert engine.submit("KO", "buy", 0, 50, order=5) == [Rejected("KO", 5, "submit", "bad_quantity")]
    assert engine.submit("KO", "buy", 1, 50.001, order=5) == [Rejected("KO", 5, "submit", "bad_price")]
    assert engine.submit("KO", "buy", 1, 50, order=5, time_in_force="open") == [
        Rejected("KO", 5, "submit", "not_trading")
    ]
    assert engine.uncross("KO", "open") == [Rejected("KO", 0, "auction", "not_trading")]


def test_the_bench_says_what_it_ran() -> None:
    from helios.research.bench import run_bench

    result = run_bench("matching", small=True)
    mixed, guarded, submits = result["mixed"], result["guarded"], result["submits"]
    assert mixed["adds"] + mixed["cancels"] + mixed["takes"] + mixed["amends"] == result["commands"]
    assert mixed["rejected"] == guarded["rejected"] == submits["rejected"] == 0
    # The long way has the same results.
    assert (guarded["events"], guarded["trades"]) == (mixed["events"], mixed["trades"])
    # Books stay as full as they are, and the flow trades.
    assert 9_000 < mixed["resting"] < 11_000
    assert mixed["trades"] > 0.05 * result["commands"]
    assert submits["trades"] > 0.3 * result["commands"]
    assert result["mixed_orders_per_s"] >= result["mixed_orders_per_s_median"] > 0
