"""Sizing: shares against the closed form, and no trade without a decision."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.errors import ArgumentError

T0 = datetime(2026, 1, 5)


def bars(prices: Any, symbol: str = "KO") -> Any:
    n = len(prices)
    return hx.bars(
        pl.DataFrame(
            {
                "ts": [T0 + timedelta(days=i) for i in range(n)],
                "symbol": [symbol] * n,
                "open": prices,
                "high": prices,
                "low": prices,
                "close": prices,
                "volume": [10_000] * n,
            }
        ),
        span="1m",
    )


def zigzag(n: int, size: float, start: float = 100.0) -> Any:
    """Log returns of +size, -size, +size, …"""
    return start * np.exp(size * (np.arange(n) % 2))


def recorded(prices: Any, **exprs: hx.Expr) -> dict[str, list[float]]:
    run = hx.Backtest(
        data=bars(prices), strategy=[hx.record(name, expr) for name, expr in exprs.items()], tick=1e-9
    ).run()
    return {name: run.signals.filter(pl.col("signal") == name)["value"].to_list() for name in exprs}


def always(symbol: str = "KO") -> hx.Expr:
    """A side of one from the first bar on."""
    return hx.close(symbol).hysteresis(enter=0.01, exit=0.0)


def positions(prices: Any, sizing: Any, side: hx.Expr | None = None, **more: Any) -> tuple[Any, Any]:
    wish = sizing.target("KO", always() if side is None else side, **more)
    run = hx.Backtest(data=bars(prices), strategy=wish, cash=1e9, tick=1e-9, lot=1e-6).run()
    return run, run.positions["quantity"].to_list()


def test_fixed_sizes_in_closed_form() -> None:
    prices = [100.0, 125.0, 80.0]
    run, held = positions(prices, hx.FixedNotional(10_000))
    assert held == [100.0]  # 10,000 / 100, the mark when the side came; not again at 125 and 80
    assert run.orders.height == 1
    assert positions(prices, hx.FixedQuantity(70))[1] == [70.0]
    assert positions(prices, hx.FixedQuantity(70), weight=-0.5)[1] == [-35.0]
    assert positions(prices, hx.FixedNotional(10_000), weight=-2)[1] == [-200.0]


def test_leverage_is_annual_over_realised() -> None:
    """A zigzag of one per cent has a volatility of one per cent a sample: sqrt(252) of that a year."""
    sizing = hx.VolatilityTarget(annual=0.05, capital=1e6, window=20, periods=252)
    got = recorded(zigzag(60, 0.01), lever=sizing.leverage("KO"))["lever"]
    assert len(got) == 60 - 20  # null until 20 returns are there
    assert got == pytest.approx([0.05 / (0.01 * math.sqrt(252))] * len(got), rel=1e-9)


def test_realised_volatility_against_numpy_on_random_prices() -> None:
    rng = np.random.default_rng(11)
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, 300)))
    sizing = hx.VolatilityTarget(annual=0.1, capital=1e6, window=30, periods=252)
    got = recorded(prices, lever=sizing.leverage("KO"))["lever"]
    squares = np.diff(np.log(np.round(prices, 9))) ** 2
    want = [0.1 / math.sqrt(252 * squares[i - 30 : i].mean()) for i in range(30, len(squares) + 1)]
    assert got == pytest.approx(want, rel=1e-6)  # marks are kept at 1e-9


@pytest.mark.parametrize(("size", "top"), [(0.01, 1.0), (0.01, 0.2), (0.002, 3.0), (0.05, 1.0)])
def test_volatility_target_holds_the_formula(size: float, top: float) -> None:
    sizing = hx.VolatilityTarget(annual=0.05, capital=1e6, window=20, periods=252, max_leverage=top)
    prices = zigzag(60, size)
    run, (held,) = positions(prices, sizing)
    want = min(top, 0.05 / (size * math.sqrt(252)))
    assert held * prices[20] == pytest.approx(1e6 * want, rel=1e-6)  # the bar with which the window was full
    assert run.orders.height == 1
    assert positions(prices, sizing, weight=-0.5)[1] == pytest.approx([-held / 2], rel=1e-6)


def test_volatility_by_the_clock_counts_time_and_not_samples() -> None:
    """Of 20 days with returns of one per cent, whatever the number of prices in them: sqrt(365.25) of that a year."""
    sizing = hx.VolatilityTarget(annual=0.05, capital=1e6, window="20d", seconds_per_year=365.25 * 86_400)
    want = 0.05 / (0.01 * math.sqrt(365.25))
    got = recorded(zigzag(60, 0.01), lever=sizing.leverage("KO"))["lever"]
    assert got[1:] == pytest.approx([want] * (len(got) - 1), rel=1e-9)
    assert len(got) >= 39
    # With every price twice, half a second apart, there are twice the returns and every other is zero.
    ts = [T0 + timedelta(days=i, milliseconds=500 * k) for i in range(60) for k in range(2)]
    price = np.repeat(zigzag(60, 0.01), 2)
    twice = hx.trades(pl.DataFrame({"ts": ts, "symbol": ["KO"] * 120, "price": price, "size": [1] * 120}))
    by_trade = hx.VolatilityTarget(
        annual=0.05, capital=1e6, window="20d", seconds_per_year=365.25 * 86_400, price="last"
    )
    run = hx.Backtest(data=twice, strategy=hx.record("lever", by_trade.leverage("KO")), tick=1e-9).run()
    assert run.signals["value"].to_list()[2:] == pytest.approx([want] * (run.signals.height - 2), rel=1e-9)
    assert run.signals.height >= 78


def wandering(n: int = 400, seed: int = 5) -> Any:
    return 50 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.02, n)))


@pytest.mark.parametrize("turned", [1.0, -1.0])
def test_one_decision_is_one_trade_of_the_size_of_that_moment(turned: float) -> None:
    prices = wandering()
    side = hx.close("KO").log().zscore(10).hysteresis(enter=1.0, exit=0.2)
    sizing = hx.VolatilityTarget(annual=0.1, capital=1e6, window=30, periods=252, max_leverage=2)
    value = sizing.target("KO", side, weight=turned).value
    got = recorded(prices, side=side, lever=sizing.leverage("KO"), value=value)
    run = hx.Backtest(
        data=bars(prices),
        strategy=[hx.record("side", side), hx.record("lever", sizing.leverage("KO")), hx.record("value", value)],
        tick=1e-9,
    ).run()
    wide = run.signals.pivot("signal", index="ts", values="value").sort("ts")
    # One firing a change of the side, and one more: the side that stood when the window got full.
    full = wide.filter(pl.col("lever").is_not_null())["ts"][0]
    stood = wide.filter(pl.col("ts") < full)["side"].drop_nulls()[-1]
    assert stood != 0
    assert wide["value"].count() == len(got["side"]) + wide.filter(ts=full)["side"].is_null().sum()
    for row in wide.filter(pl.col("value").is_not_null()).iter_rows(named=True):
        now = stood if row["side"] is None else row["side"]
        before = 0.0 if row["ts"] < full else min(2.0, row["lever"] or 0.0)
        assert row["value"] == pytest.approx(turned * now * before, rel=1e-12)
    orders = positions(prices, sizing, side)[0].orders.height
    changes = np.diff([0.0, *(0.0 if abs(x) < 1e-12 else x for x in got["value"])])
    assert orders == np.count_nonzero(changes)
    assert orders > 20


def test_rebalance_reads_the_size_anew_and_brings_the_money_back() -> None:
    prices = wandering()
    sizing = hx.VolatilityTarget(annual=0.1, capital=1e6, window=30, periods=252, max_leverage=5, rebalance="10d")
    got = recorded(prices, lever=sizing.leverage("KO"))["lever"]
    held = np.cumsum(
        positions(prices, sizing)[0].fills.select(pl.col("quantity") * pl.when(side="buy").then(1).otherwise(-1))
    )
    days = [30] + [i for i in range(31, 400) if (T0 + timedelta(days=i)).toordinal() % 10 == EPOCH % 10]
    want = [1e6 * got[i - 30] / prices[i] for i in days]
    assert held == pytest.approx(want, rel=1e-5)
    assert len(want) == 38


EPOCH = datetime(1970, 1, 1).toordinal()


def test_a_size_that_is_not_known_any_more_closes_and_does_not_hold_on() -> None:
    """Prices that stand still have no volatility, and the formula no value: the side's end is still the end."""
    prices = [*zigzag(20, 0.02), *[100.0] * 40]
    side = hx.close("KO").diff(40).is_null()  # 1 for forty bars, then 0
    sizing = hx.VolatilityTarget(annual=0.1, capital=1e6, window=10, periods=252)
    run, held = positions(prices, sizing, side)
    assert held == [0.0]
    assert run.fills.height == 2


def test_a_side_that_fires_without_changing_is_one_decision() -> None:
    prices = wandering()
    side = (hx.close("KO") - 0).sign()  # 1, with every bar
    for sizing in (
        hx.FixedNotional(10_000),
        hx.VolatilityTarget(annual=0.1, capital=1e6, window=30, periods=252),
        hx.CappedKelly(fraction=1, cap=0.01, capital=1e6, window=5),
    ):
        assert positions(prices, sizing, side)[0].orders.height == 1


def test_kelly_in_closed_form() -> None:
    """Returns a and -b in turn: m1 = (a - b) / 2, m2 = (a^2 + b^2) / 2."""
    a, b = 0.023, 0.02
    prices = 100 * np.cumprod([1, *np.tile([1 + a, 1 - b], 40)])
    sizing = hx.CappedKelly(fraction=0.25, cap=5, capital=1e5, window=20)
    m1, m2 = (a - b) / 2, (a * a + b * b) / 2
    got = recorded(prices, kelly=sizing.leverage("KO", always()))["kelly"]
    assert got == pytest.approx([0.25 * m1 / m2] * len(got), rel=1e-6)
    assert len(got) >= 55
    # That is the growth-optimal leverage, to second order: brute force over the exact growth.
    grid = np.linspace(0, 20, 20_001)
    growth = np.log1p(grid[:, None] * [a, -b]).mean(axis=1)
    assert m1 / m2 == pytest.approx(grid[growth.argmax()], rel=0.02)
    # Short of the same, the past was a loss: nothing is held.
    assert recorded(prices, kelly=sizing.leverage("KO", -always()))["kelly"] == [0.0] * len(got)
    assert positions(prices, sizing, -always())[0].fills.height == 0
    (held,) = positions(prices, sizing)[1]
    assert held * prices[20] == pytest.approx(1e5 * 0.25 * m1 / m2, rel=1e-4)


def test_kelly_against_numpy_and_what_it_knows_is_past() -> None:
    """The return of a bar is earned by the side before it."""
    rng = np.random.default_rng(3)
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, 400)))
    close = hx.close("KO")
    side = close.log().zscore(10).hysteresis(enter=1.0, exit=0.2)
    sizing = hx.CappedKelly(fraction=1, cap=100, capital=1e5, window=30)
    got = recorded(prices, side=side, kelly=sizing.leverage("KO", side))["kelly"]
    logs = np.log(np.round(prices, 9))
    z = [np.nan] * 9 + [(logs[i] - logs[i - 9 : i + 1].mean()) / logs[i - 9 : i + 1].std(ddof=1) for i in range(9, 400)]
    state, states = np.nan, []
    for value in z:
        if not math.isnan(value):
            held = 0.0 if math.isnan(state) else state
            if (held > 0 and value <= 0.2) or (held < 0 and value >= -0.2):
                held = 0.0
            if value >= 1:
                held = 1.0
            elif value <= -1:
                held = -1.0
            state = held
        states.append(state)
    earned = np.array(states[:-1]) * np.expm1(np.diff(logs))
    earned = earned[~np.isnan(earned)]
    want = [max(0.0, earned[i - 30 : i].mean() / (earned[i - 30 : i] ** 2).mean()) for i in range(30, len(earned) + 1)]
    assert got == pytest.approx(want, rel=1e-5, abs=1e-6)
    assert max(want) > 1


def test_a_side_that_fires_between_the_prices_makes_no_returns() -> None:
    rng = np.random.default_rng(8)
    prices = 50 * np.exp(np.cumsum(rng.normal(0.001, 0.01, 200)))
    other = 20 * np.exp(np.cumsum(rng.normal(0, 0.03, 200)))
    sizing = hx.CappedKelly(fraction=1, cap=100, capital=1e5, window="80d")
    plain = recorded(prices, kelly=sizing.leverage("KO", always()))["kelly"]
    both = always() + 0.0 * hx.close("PEP").sign()  # fires with each bar of PEP
    data = [bars(prices), bars(other, "PEP")]
    run = hx.Backtest(data=data, strategy=hx.record("kelly", sizing.leverage("KO", both)), tick=1e-9).run()
    # The side is there from the first bar of PEP on, which comes after KO's: one sample later.
    assert run.signals["value"].to_list()[-118:] == pytest.approx(plain[-118:], rel=1e-9)
    assert len(plain) >= 119


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: hx.FixedNotional(0), "FixedNotional: notional is 0, but must be a positive number"),
        (lambda: hx.FixedNotional(math.nan), "notional is nan"),
        (lambda: hx.FixedQuantity("x"), "FixedQuantity: quantity is 'x'"),  # type: ignore[arg-type]
        (lambda: hx.VolatilityTarget(annual=-1, capital=1, window=5, periods=252), "annual is -1"),
        (lambda: hx.VolatilityTarget(annual=0.1, capital=1, window=0, periods=252), "0 samples, but it must be 1"),
        (lambda: hx.VolatilityTarget(annual=0.1, capital=1, window=5), "give periods and not seconds_per_year"),
        (lambda: hx.VolatilityTarget(annual=0.1, capital=1, window=5, periods=-1), "periods is -1"),
        (lambda: hx.VolatilityTarget(annual=0.1, capital=1, window="5d", periods=9), "give seconds_per_year and not"),
        (
            lambda: hx.VolatilityTarget(annual=0.1, capital=1, window=5, periods=9, seconds_per_year=9),
            "give periods and not seconds_per_year",
        ),
        (lambda: hx.VolatilityTarget(annual=1, capital=1, window="5d", seconds_per_year=0), "seconds_per_year is 0"),
        (lambda: hx.VolatilityTarget(annual=1, capital=1, window=True, periods=9), "window is True"),
        (
            lambda: hx.VolatilityTarget(annual=1, capital=1, window=5, periods=9, rebalance="soon"),
            "rebalance is 'soon'",
        ),
        (lambda: hx.CappedKelly(capital=1, window=5, rebalance="0d"), "rebalance is '0d'"),
        (lambda: hx.VolatilityTarget(annual=0.1, capital=1, window=5, periods=252, price="bid"), "price is 'bid'"),  # type: ignore[arg-type]
        (lambda: hx.CappedKelly(fraction=2, capital=1, window=5), "bets more than Kelly"),
        (lambda: hx.CappedKelly(cap=True, capital=1, window=5), "cap is True"),
        (lambda: hx.CappedKelly(capital=1, window="5 parsecs"), "parsecs"),
        (lambda: hx.FixedNotional(1).target("KO", 1.0), "the side of 'KO' is 1.0"),  # type: ignore[arg-type]
        (lambda: hx.FixedNotional(1).target("KO", hx.mid("KO").sign(), weight=0), "the weight of 'KO' is 0"),
    ],
)
def test_bad_input(make: Any, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        make()
    assert says in str(caught.value)
