"""Market impact: what it does to a backtest, and its calibration, against closed forms and a planted kernel."""

from __future__ import annotations

import io
import math
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.errors import ArgumentError, ConfigError, DataError
from helios.research.impact import ImpactFit

START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
NS = 1_000_000_000
START_NS = int(START.timestamp()) * NS
GOOG = Path(__file__).parents[3] / "shared/data/lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"


def quotes(seconds: list[float], bid: float = 99.95, ask: float = 100.05, size: float = 1e6) -> pl.DataFrame:
    """A market that stands still."""
    n = len(seconds)
    return pl.DataFrame(
        {
            "ts": [START + timedelta(seconds=s) for s in seconds],
            "symbol": ["X"] * n,
            "bid": [bid] * n,
            "ask": [ask] * n,
            "bid_size": [size] * n,
            "ask_size": [size] * n,
        }
    )


class Trades(hx.Strategy):
    """Market orders of given quantities, each at the event of its number."""

    universe = ("X",)
    plan: dict[int, float]

    def on_start(self) -> None:
        self.events = 0

    def on_book(self, book: Any) -> None:
        self.events += 1
        quantity = self.plan.get(self.events, 0.0)
        if quantity > 0:
            self.buy("X", quantity)
        elif quantity < 0:
            self.sell("X", -quantity)


class Both(Trades):
    universe = ("X", "Y")


def run(frame: pl.DataFrame, plan: dict[int, float], impact: Any = None, **more: Any) -> hx.Results:
    source = hx.quotes(frame)
    outputs = [Trades(plan=plan), hx.record("mid", hx.mid("X"))]
    return hx.Backtest(data=source, strategy=outputs, venue=hx.Venue(impact=impact), tick=1e-6, **more).run()


# ---- what it does to a run -------------------------------------------------------------------------------------------

KERNEL = hx.Impact(volume=100, decays=[(20.0, "10s"), (5.0, "2m")], permanent=2.0, exponent=0.5)


def test_the_engine_sees_prices_follow_the_kernel() -> None:
    seconds = [0.0, 1.0, 2.0, 5.0, 11.0, 61.0, 601.0]
    results = run(quotes(seconds), {2: 400.0}, KERNEL)
    told = dict(results.signals.select("ts", "value").iter_rows())
    for second in seconds:
        # The order went out at one second and traded before the quote of two seconds.
        passed = second - 1.0
        decays = 20 * math.exp(-passed / 10) + 5 * math.exp(-passed / 120)
        bp = 2.0 * decays + 2.0 * 4 if second > 1.0 else 0.0
        at = START + timedelta(seconds=second)
        mid = [value for ts, value in told.items() if ts <= at][-1]
        assert mid == pytest.approx(100 * (1 + bp * 1e-4), abs=1.01e-6), second


def test_a_round_trip_costs_the_closed_form_and_never_gains() -> None:
    results = run(quotes([0.0, 5.0, 6.0]), {1: 400.0, 2: -400.0}, KERNEL)
    paid, got = results.fills["price"].to_list()
    own = 1e-4 * (25 * 2 / 1.5 + 2.0 * 4 / 2)
    left = 1e-4 * (2 * (20 * math.exp(-0.5) + 5 * math.exp(-5 / 120)) + 8)
    assert own * 100 > 0.05, "more than half the spread, which would have paid for it"
    assert paid == pytest.approx(100 * (1 + own), abs=2e-6)
    assert got == pytest.approx(100 * (1 + left - own), abs=2e-6)
    assert paid > got


def test_without_impact_a_large_order_costs_what_a_small_one_does_and_with_it_more() -> None:
    def shortfall(quantity: float, impact: hx.Impact | None) -> float:
        fills = run(quotes([0.0, 1.0]), {1: quantity}, impact).fills
        return float((fills["price"] * fills["quantity"]).sum() / fills["quantity"].sum()) - 100.0

    assert shortfall(100.0, None) == pytest.approx(shortfall(10_000.0, None)) == pytest.approx(0.05)
    costs = [shortfall(quantity, KERNEL) for quantity in (5.0, 100.0, 1_000.0, 10_000.0)]
    assert costs[0] == pytest.approx(0.05), "within the spread"
    assert costs == sorted(costs)
    assert costs[3] > 10 * costs[0]


def test_slicing_an_order_pays_when_impact_decays() -> None:
    seconds = [float(s) for s in range(0, 600, 60)]
    impact = hx.Impact(volume=100, decays=[(20.0, "10s")], exponent=1.0)
    whole, sliced = (
        run(quotes(seconds), plan, impact).fills for plan in ({1: 1_000.0}, dict.fromkeys(range(1, 9), 125.0))
    )

    def average(fills: pl.DataFrame) -> float:
        return float((fills["price"] * fills["quantity"]).sum() / fills["quantity"].sum())

    assert whole["quantity"].sum() == sliced["quantity"].sum() == 1_000
    # 20 bp * 10 / 2 at once; each of the slices a twelfth part or so, on what little is left of the ones before.
    assert average(whole) == pytest.approx(101.0, abs=1e-5)
    assert average(sliced) == pytest.approx(100.125, abs=0.005)


def test_only_the_instruments_that_are_named_are_moved() -> None:
    frame = pl.concat([quotes([0.0, 1.0, 2.0]), quotes([0.0, 1.0, 2.0]).with_columns(symbol=pl.lit("Y"))]).sort("ts")
    source = hx.quotes(frame)
    for impact, moved in (({"Y": KERNEL}, False), ({"X": KERNEL}, True), (KERNEL, True)):
        strategy = [Both(plan={3: 400.0}), hx.record("mid", hx.mid("X"))]
        results = hx.Backtest(data=source, strategy=strategy, venue=hx.Venue(impact=impact), tick=1e-6).run()
        assert (results.signals["value"].n_unique() > 1) == moved


def test_a_run_with_impact_repeats_and_replays(tmp_path: Path) -> None:
    from helios.research.replay import replay

    digests = set()
    for number in range(2):
        source = hx.quotes(quotes([float(s) for s in range(50)]))
        strategy = [Trades(plan={3: 400.0, 7: -900.0, 20: 500.0})]
        venue = hx.Venue(impact=KERNEL, latency=hx.Latency(feed="20ms", order="5ms"))
        results = hx.Backtest(data=source, strategy=strategy, venue=venue, tick=1e-6).run(tmp_path / str(number))
        digests.add(results.meta["digest"])
        assert replay(tmp_path / str(number)).identical
    assert len(digests) == 1


# ---- its settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"decays": [(-1.0, "10s")]}, "manipulated"),
        ({"decays": [(1.0, "0s")]}, "lifetime"),
        ({"decays": [(float("nan"), "1s")]}, "amplitude"),
        ({"decays": [(1.0, "1s")] * 9}, "at most 8"),
        ({"volume": 0}, "volume"),
        ({"exponent": 0.0}, "above 0"),
        ({"exponent": 1.5}, "exponent"),
        ({"maker": 2.0}, "maker"),
        ({"permanent": -1.0}, "permanent"),
    ],
)
def test_what_cannot_be_an_impact_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        hx.Impact(**{"volume": 100.0} | settings)


def test_an_impact_of_what_is_not_traded_is_refused() -> None:
    with pytest.raises(ArgumentError, match="impact of KO"):
        run(quotes([0.0, 1.0]), {}, {"KO": KERNEL})
    with pytest.raises(ArgumentError, match=r"give hx\.Impact"):
        hx.Venue(impact=0.5)  # type: ignore[arg-type]


def test_a_power_law_is_met_within_its_tolerance() -> None:
    t = np.concatenate(([0.0], np.geomspace(0.01, 1_000, 2_000)))
    for gamma in (0.3, 0.5, 0.8):
        impact = hx.Impact.power_law(volume=100, bp=4.0, gamma=gamma, start="1s", end="1000s", tolerance=0.05)
        assert np.abs(impact.kernel(t) / (4.0 * (1 + t) ** -gamma) - 1).max() < 0.05
    with pytest.raises(ArgumentError, match="take more terms"):
        hx.Impact.power_law(volume=100, bp=4.0, gamma=0.5, start="1s", end="1000s", terms=2)
    with pytest.raises(ArgumentError, match="later than start"):
        hx.Impact.power_law(volume=100, bp=4.0, gamma=0.5, start="1s", end="1s")


def test_a_run_file_can_say_it(tmp_path: Path) -> None:
    quotes([0.0, 1.0]).write_parquet(tmp_path / "q.parquet")
    (tmp_path / "s.py").write_text("import helios as hx\nclass S(hx.Strategy):\n    universe = ('X',)\n")
    text = """
[[data]]
kind = "quotes"
path = "q.parquet"
[strategy]
class = "s.py:S"
[venue.impact]
volume = 100
decays = [[20.0, "10s"], [5.0, "2m"]]
permanent = 2.0
exponent = 0.5
"""
    file = tmp_path / "run.toml"
    file.write_text(text)
    from helios.config import load_run

    assert load_run(file).venue.spec()["impacts"] == hx.Venue(impact=KERNEL).spec()["impacts"]
    file.write_text(text.replace("exponent = 0.5", "exponent = 5"))
    with pytest.raises(ConfigError, match="exponent"):
        load_run(file)
    file.write_text(text.replace("permanent", "permament"))
    with pytest.raises(ConfigError, match="permanent"):
        load_run(file)


# ---- calibration -----------------------------------------------------------------------------------------------------


def planted(
    decays: list[tuple[float, float]], permanent: float, exponent: float, *, trades: int, noise: float, seed: int
) -> list[Any]:
    """Trades with signs that remember, and quotes just before and after each, of a mid that the kernel moves."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(2.0, trades) + 0.01
    at = np.cumsum(gaps)
    flips = rng.random(trades) < 0.35
    signs = np.where(np.cumsum(flips) % 2, 1.0, -1.0)
    sizes = np.maximum(1, np.round(rng.lognormal(4.3, 0.9, trades)))
    pushes, volumes = signs * (sizes / 100) ** exponent, signs * sizes / 100
    walk = np.cumsum(rng.normal(0, noise, trades) * np.sqrt(gaps))
    before, after = np.zeros(trades), np.zeros(trades)
    state, for_good = np.zeros(len(decays)), 0.0
    for n in range(trades):
        state = state * np.exp(-gaps[n] / np.array([life for _, life in decays]))
        before[n] = state.sum() + for_good + walk[n]
        state = state + np.array([bp for bp, _ in decays]) * pushes[n]
        for_good += permanent * volumes[n]
        after[n] = state.sum() + for_good + walk[n]
    ts = START_NS + (at * NS).astype(np.int64)
    mids = 100 * np.exp(1e-4 * np.column_stack([before, after]).ravel())
    stamps = np.column_stack([ts - 1_000, ts + 1_000]).ravel()
    quote = pl.DataFrame({"ts": stamps, "bid": mids - 0.01, "ask": mids + 0.01}).with_columns(
        bid_size=pl.lit(100.0), ask_size=pl.lit(100.0)
    )
    trade = pl.DataFrame({"ts": ts, "price": 100.0, "size": sizes, "aggressor": np.where(signs > 0, "buy", "sell")})
    options: dict[str, Any] = {"ts_unit": "ns", "symbol": None, "symbol_is": "X"}
    return [hx.trades(trade, **options), hx.quotes(quote, **options)]


def test_calibration_finds_a_planted_kernel() -> None:
    data = planted([(3.0, 5.0), (1.0, 120.0)], 0.3, 0.5, trades=12_000, noise=0.4, seed=5)
    fit = hx.calibrate_impact(data, volume=100.0)
    assert fit.trades == 12_000
    assert abs(fit.exponent - 0.5) <= max(0.05, 3 * fit.exponent_se)
    # The lifetimes come from a grid, so it is the kernel that is compared, where it matters.
    t = np.array([0.5, 2.0, 5.0, 20.0, 60.0, 200.0])
    true = 3.0 * np.exp(-t / 5) + np.exp(-t / 120) + 0.3
    assert np.abs(fit.impact.kernel(t) - true).max() < 0.25, fit
    assert 0.5 < fit.r2 < 1 and abs(fit.r2 - fit.r2_ahead) < 0.05
    assert (fit.terms["se"] > 0).all()


def test_calibration_in_trade_time_inverts_the_memory_of_signs() -> None:
    """With a permanent impact only, the propagator is flat although the response goes on growing."""
    fit = hx.calibrate_impact(
        planted([(0.0, 1.0)], 1.0, 1.0, trades=12_000, noise=0.3, seed=7), volume=100.0, exponent=1.0, lags=12
    )
    lags = fit.lags
    off = (lags["propagator_bp"] - 1.0) / lags["propagator_se"]
    assert off.abs().max() < 4.0
    assert lags["propagator_se"].max() < 0.1
    assert lags["response_bp"][-1] > 1.3 * lags["response_bp"][0], "1 / (1 - 0.3) in the end"
    # Signs flip with probability 0.35: C(l) = (1 - 0.7) ** l.
    correlation = lags["correlation"].to_numpy()
    assert np.abs((correlation - 0.3 ** np.arange(1, 13)) / lags["correlation_se"].to_numpy()).max() < 4.0


def test_calibration_says_when_there_is_nothing() -> None:
    fit = hx.calibrate_impact(planted([(0.0, 1.0)], 0.0, 0.5, trades=4_000, noise=1.0, seed=3), volume=100.0)
    assert fit.r2 < 0.01
    assert float(fit.impact.kernel([1.0])[0]) < 0.2
    assert "of the variance" in str(fit)


def test_calibration_leaves_out_what_would_be_negative() -> None:
    data = planted([(-1.0, 30.0)], 0.0, 0.5, trades=1_000, noise=0.2, seed=3)
    fit = hx.calibrate_impact(data, volume=100.0, exponent=0.5)
    assert fit.impact.decays == () and fit.impact.permanent == 0
    assert fit.r2 == pytest.approx(0.0, abs=1e-9) and fit.terms.height == 0


def test_standard_errors_cover() -> None:
    """Over many samples the truth lies within two standard errors about as often as it should."""
    inside, samples = 0, 40
    for seed in range(samples):
        data = planted([(0.0, 1.0)], 1.0, 1.0, trades=600, noise=1.0, seed=100 + seed)
        lags = hx.calibrate_impact(data, volume=100.0, exponent=1.0, lags=5, terms=1).lags
        inside += abs(lags["propagator_bp"][0] - 1.0) < 2 * lags["propagator_se"][0]
    assert inside >= 0.8 * samples


def test_calibration_refuses_what_cannot_be() -> None:
    data = planted([(1.0, 5.0)], 0.0, 0.5, trades=100, noise=1.0, seed=1)
    with pytest.raises(DataError, match="100 trades"):
        hx.calibrate_impact(data)
    for settings, says in (({"lags": 1}, "lags"), ({"terms": 4}, "terms"), ({"exponent": 0}, "exponent")):
        with pytest.raises(ArgumentError, match=says):
            hx.calibrate_impact(data, **settings)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="which"):
        frame = pl.DataFrame({"ts": [1], "symbol": ["A"], "price": [1.0], "size": [1.0]})
        hx.calibrate_impact([hx.trades(frame, ts_unit="ns"), *data])


def goog() -> list[Any]:
    """Executions and the best prices after each event, from the two files of the day."""
    with zipfile.ZipFile(GOOG) as archive:
        names = {what: next(n for n in archive.namelist() if f"_{what}_" in n) for what in ("message", "orderbook")}
        message, book = (
            pl.read_csv(io.BytesIO(archive.read(names[what])), has_header=False) for what in ("message", "orderbook")
        )
    ts = (message[:, 0] * NS).cast(pl.Int64) + START_NS - 14 * 3600 * NS
    best = pl.DataFrame({"ts": ts, "bid": book[:, 2] / 1e4, "ask": book[:, 0] / 1e4})
    best = best.with_columns(bid_size=book[:, 3], ask_size=book[:, 1])
    # Whose order rested says who met it: the direction is the resting order's.
    trade = pl.DataFrame(
        {
            "ts": ts,
            "kind": message[:, 1],
            "price": message[:, 4] / 1e4,
            "size": message[:, 3],
            "aggressor": -message[:, 5],
        }
    ).filter(pl.col("kind").is_in([4, 5]))
    options: dict[str, Any] = {"ts_unit": "ns", "symbol": None, "symbol_is": "GOOG"}
    return [hx.trades(trade, **options), hx.quotes(best, **options)]


@pytest.mark.skipif(not GOOG.is_file(), reason="needs the LOBSTER sample of GOOG")
def test_calibration_on_a_real_day() -> None:
    fit: ImpactFit = hx.calibrate_impact(goog(), lags=20)
    assert fit.trades > 5_000
    first = fit.lags.row(0, named=True)
    assert first["response_bp"] > 4 * first["response_se"], "trades move the price"
    assert first["correlation"] > 0.4, "signs remember"
    assert 0 < fit.r2 < 0.3
