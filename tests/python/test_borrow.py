"""Borrow of short positions: a hand-worked example, a sum over days in plain Python, and what is refused."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from helios.errors import ArgumentError, DataError
from helios.research.borrow import borrow_cost

FRIDAY = datetime(2023, 3, 10, 21, tzinfo=UTC)


def closes(*rows: tuple[int, str, float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [(FRIDAY + timedelta(days=day), symbol, price) for day, symbol, price in rows],
        {"ts": pl.Datetime("us", "UTC"), "symbol": pl.String, "price": pl.Float64},
        orient="row",
    )


def fills(*rows: tuple[float, str, str, float]) -> pl.DataFrame:
    return pl.DataFrame(
        [(FRIDAY + timedelta(days=day), symbol, side, quantity) for day, symbol, side, quantity in rows],
        {"ts": pl.Datetime("ns", "UTC"), "instrument": pl.String, "side": pl.String, "quantity": pl.Float64},
        orient="row",
    )


def test_a_week_worked_by_hand() -> None:
    # Short 100 KO at 60 from Friday over the weekend (three nights), 40 of them bought back on Monday at 63, the rest
    # on Tuesday; long PEP all the time, which costs nothing.
    prices = closes((0, "KO", 60), (0, "PEP", 170), (3, "KO", 63), (3, "PEP", 171), (4, "KO", 62), (4, "PEP", 172))
    trades = fills((0, "KO", "sell", 100), (0, "PEP", "buy", 35), (2.9, "KO", "buy", 40), (4, "KO", "buy", 60))
    found = borrow_cost(trades, prices, 0.036)
    assert found["short_value"].to_list() == [6_000.0, 60 * 63.0, 0.0]
    # 6,000 * 3.6 % * 3 / 360 = 1.80; 3,780 * 3.6 % / 360 = 0.378.
    assert found["cost"].to_list() == pytest.approx([0.0, 1.80, 0.378])
    by_symbol = borrow_cost(trades, prices, {"KO": 0.072, "PEP": 0.5}, days_per_year=365)
    assert by_symbol["cost"].to_list() == pytest.approx([0.0, 6_000 * 0.072 * 3 / 365, 3_780 * 0.072 / 365])


def test_strategies_in_one_symbol_are_one_account() -> None:
    trades = fills((-1, "KO", "sell", 100), (-1, "KO", "buy", 100), (-1, "PEP", "sell", 10))
    assert borrow_cost(trades, closes((0, "KO", 60), (0, "PEP", 170), (1, "PEP", 170)), 0.36)["cost"].to_list() == (
        pytest.approx([0.0, 1.70])
    )


def test_a_missing_close_carries_the_last_one_forward() -> None:
    trades = fills((0, "KO", "sell", 10))
    for prices in (
        closes((0, "KO", 50), (1, "PEP", 1), (2, "PEP", 1)),
        closes((0, "KO", 50), (1, "KO", None), (2, "KO", math.nan)),
    ):
        assert borrow_cost(trades, prices, 0.36)["short_value"].to_list() == [500.0, 500.0, 500.0]


def test_nothing_traded_costs_nothing() -> None:
    found = borrow_cost(fills(), closes((0, "KO", 60), (1, "KO", 61)), 0.01)
    assert found["short_value"].to_list() == found["cost"].to_list() == [0.0, 0.0]


def test_against_a_loop_over_days() -> None:
    rng = np.random.default_rng(5)
    symbols = ["A", "B", "C"]
    price = {(day, symbol): float(rng.uniform(5, 90)) for day in range(60) for symbol in symbols}
    trades = [
        (float(rng.integers(0, 600)) / 10, str(rng.choice(symbols)), str(rng.choice(["buy", "sell"])), float(quantity))
        for quantity in rng.integers(1, 50, 200)
    ]
    rate = {"A": 0.01, "B": 0.2, "C": 0.0}
    expected = []
    for day in range(60):
        held = dict.fromkeys(symbols, 0.0)
        for at, symbol, side, quantity in trades:
            if at <= day - 1:
                held[symbol] += quantity if side == "buy" else -quantity
        nights = [-min(q, 0.0) * price[day - 1, s] * rate[s] / 360 for s, q in held.items()] if day else [0.0]
        expected.append(sum(nights))
    rng.shuffle(trades)
    table = closes(*((day, symbol, value) for (day, symbol), value in price.items())).sample(
        fraction=1.0, shuffle=True, seed=1
    )
    assert sum(expected) > 1
    assert borrow_cost(fills(*trades), table, rate)["cost"].to_list() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("rate", [-0.01, math.nan, math.inf, True, "0.01", {"KO": -1.0}, {"PEP": 0.01}])
def test_a_rate_that_is_none(rate: float) -> None:
    with pytest.raises(ArgumentError, match="rate"):
        borrow_cost(fills((0, "KO", "sell", 1)), closes((0, "KO", 60)), rate)


def test_what_cannot_be_counted() -> None:
    trades, prices = fills((0, "KO", "sell", 1)), closes((0, "KO", 60), (1, "KO", 61))
    with pytest.raises(ArgumentError, match="days_per_year"):
        borrow_cost(trades, prices, 0.01, days_per_year=0)
    with pytest.raises(DataError, match="KO is short at 2023-03-10"):
        borrow_cost(trades, closes((0, "PEP", 60), (1, "KO", 60)), 0.01)
    with pytest.raises(DataError, match="KO is short"):
        borrow_cost(trades, closes((0, "KO", -37.0)), 0.01)
    with pytest.raises(DataError, match="two prices"):
        borrow_cost(trades, pl.concat([prices, prices]), 0.01)
    with pytest.raises(DataError, match="price"):
        borrow_cost(trades, prices.rename({"price": "close"}), 0.01)
    with pytest.raises(DataError, match="zone"):
        borrow_cost(trades, prices.with_columns(pl.col("ts").dt.replace_time_zone(None)), 0.01)
