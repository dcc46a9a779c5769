"""Order-flow imbalance as the evaluator computes it, against the formula of the paper in plain Python and in NumPy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.data import orderbook
from hypothesis import given, settings
from hypothesis import strategies as st

GOOG = Path(__file__).resolve().parents[2].parent / "shared/data/lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"

Quote = tuple[int, int, int, int]


def contribution(before: Quote, now: Quote) -> int:
    """Cont, Kukanov, Stoikov (2014), equation 4, case by case."""
    (old_bid, old_bid_size, old_ask, old_ask_size), (bid, bid_size, ask, ask_size) = before, now
    if bid > old_bid:
        joined = bid_size
    elif bid < old_bid:
        joined = -old_bid_size
    else:
        joined = bid_size - old_bid_size
    if ask < old_ask:
        offered = ask_size
    elif ask > old_ask:
        offered = -old_ask_size
    else:
        offered = ask_size - old_ask_size
    return joined - offered


quotes = st.tuples(st.integers(95, 100), st.integers(1, 40), st.integers(101, 106), st.integers(1, 40))


DAY = datetime(2012, 6, 21, tzinfo=UTC)
START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def over(rows: list[Quote], **named: hx.Expr) -> pl.DataFrame:
    frame = pl.DataFrame(rows, ["bid", "bid_size", "ask", "ask_size"], orient="row")
    seconds = [START + timedelta(seconds=second) for second in range(len(rows))]
    return hx.graph(named).over(frame.with_columns(ts=pl.Series(seconds, dtype=pl.Datetime("ns", "UTC"))))


@settings(deadline=None, max_examples=50)
@given(st.lists(quotes, min_size=4, max_size=60), st.integers(1, 5))
def test_each_quote_contributes_what_the_paper_says(rows: list[Quote], window: int) -> None:
    found = over(rows, count=hx.order_flow_imbalance("KO", window), time=hx.order_flow_imbalance("KO", f"{window}s"))
    each = [contribution(*both) for both in pairwise(rows)]
    # The first quote has nothing before it: the sum is full when there are `window` contributions.
    sums = [sum(each[row - window : row]) if row >= window else None for row in range(len(rows))]
    assert found["count"].to_list() == pytest.approx(sums, abs=1e-9)
    # One second each: a window of time holds as many, and is full when its first contribution is that old.
    later = [None if row <= window else value for row, value in enumerate(sums)]
    assert found["time"].to_list() == pytest.approx(later, abs=1e-9)


@pytest.mark.skipif(not GOOG.is_file(), reason="../shared/data/lobster is not there")
def test_a_real_day_equals_numpy_over_the_order_book_file() -> None:
    each = hx.order_flow_imbalance("GOOG", 1)
    summed = hx.order_flow_imbalance("GOOG", hx.session(hours=[(DAY.replace(hour=13), DAY.replace(hour=21))]))
    found = hx.graph(each=each, summed=summed).over(hx.lobster(GOOG, seed=True)).drop_nulls()
    book = orderbook(GOOG)[:, :4]
    book = book[np.append(True, (book[1:] != book[:-1]).any(axis=1))]
    ask, ask_size, bid, bid_size = book.T // [[1], [10**8], [1], [10**8]]
    joined = np.where(bid[1:] >= bid[:-1], bid_size[1:], 0) - np.where(bid[1:] <= bid[:-1], bid_size[:-1], 0)
    offered = np.where(ask[1:] <= ask[:-1], ask_size[1:], 0) - np.where(ask[1:] >= ask[:-1], ask_size[:-1], 0)
    assert found.height == len(book) - 1 == 45_568
    assert np.abs(found["each"].to_numpy() - (joined - offered)).max() <= 1e-9
    assert np.abs(found["summed"].to_numpy() - np.cumsum(joined - offered)).max() <= 1e-9
