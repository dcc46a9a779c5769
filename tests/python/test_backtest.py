"""Backtests on tables small enough to work out by hand, and the folders that they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.errors import ArgumentError, DataError, RunError
from helios.research.replay import replay
from helios.research.results import TABLES

T0 = datetime(2026, 1, 5, 14, 30)
# seconds, symbol, bid, size, ask, size
STEPS = [
    (0, "KO", 10.00, 100, 10.02, 100),
    (1, "KO", 10.00, 100, 10.02, 100),
    (2, "KO", 11.00, 100, 11.02, 30),
    (3, "KO", 11.00, 100, 11.04, 100),
    (60, "KO", 10.40, 100, 10.42, 100),
    (61, "KO", 10.40, 100, 10.42, 100),
]
SIDE = (hx.mid("KO") - 10).hysteresis(enter=1, exit=0.5)
FEES = hx.Venue(fees=hx.Fees(taker_per_share=0.003, taker_bp=0.5))


def quotes(steps: list[tuple[Any, ...]] = STEPS) -> pl.DataFrame:
    rows = [
        {"ts": T0 + timedelta(seconds=s), "symbol": sym, "bid": b, "bid_size": n, "ask": a, "ask_size": m}
        for s, sym, b, n, a, m in steps
    ]
    return pl.DataFrame(rows)


def minutes(symbol: str, opens: list[float], closes: list[float]) -> pl.DataFrame:
    """One-minute bars that end at 14:31, 14:32, …; a fifth of a cent of range around open and close."""
    o, c = np.array(opens), np.array(closes)
    return pl.DataFrame(
        {
            "ts": [T0 + timedelta(minutes=i + 1) for i in range(len(opens))],
            "symbol": symbol,
            "open": o,
            "high": np.maximum(o, c) + 0.01,
            "low": np.minimum(o, c) - 0.01,
            "close": c,
            "volume": 1_000,
        }
    )


def backtest(**changes: Any) -> hx.Backtest:
    settings: dict[str, Any] = {
        "data": hx.quotes(quotes()),
        "strategy": [hx.target("KO", SIDE, quantity=50), hx.record("side", SIDE, hx.mid("KO"))],
        "venue": FEES,
        "sample": "1s",
    }
    return hx.Backtest(**(settings | changes))


# ---- by hand ---------------------------------------------------------------------------------------------------------


def test_fills_and_money_on_quotes() -> None:
    run = backtest().run()
    # At 2 s the mid is 11.01: buy 50, of which 30 are shown. At 3 s the other 20. At 60 s out of all.
    fills = run.fills.select("side", "price", "quantity", "fee", "position", "realised")
    expected = [
        ("buy", 11.02, 30.0, 0.003 * 30 + 330.6 * 0.5e-4, 30.0, 0.0),
        ("buy", 11.04, 20.0, 0.003 * 20 + 220.8 * 0.5e-4, 50.0, 0.0),
        ("sell", 10.40, 50.0, 0.003 * 50 + 520.0 * 0.5e-4, 0.0, 30 * (10.40 - 11.02) + 20 * (10.40 - 11.04)),
    ]
    for got, want in zip(fills.rows(), expected, strict=True):
        assert got[0] == want[0]
        assert got[1:] == pytest.approx(want[1:], abs=1e-6)
    assert run.orders["state"].to_list() == ["cancelled", "filled", "filled"]
    fees = sum(row[3] for row in expected)
    assert run.headline.net == pytest.approx(-31.4 - fees, abs=1e-6)
    assert run.headline.turnover == pytest.approx(330.6 + 220.8 + 520.0)
    assert run.equity["equity"][-1] == pytest.approx(1_000_000 - 31.4 - fees, abs=1e-6)
    assert run.equity["cash"][-1] == run.equity["equity"][-1]
    assert run.strategies.select("strategy", "fills").rows() == [("main", 3)]
    assert run.signals.select("value", "input").rows() == [(0.0, 10.01), (1.0, 11.01), (0.0, pytest.approx(10.41))]


def test_unrealised_money_is_at_the_mid() -> None:
    run = backtest(data=hx.quotes(quotes(STEPS[:4])), venue=hx.Venue()).run()
    last = run.equity.row(-1, named=True)
    assert last["unrealised"] == pytest.approx(30 * (11.02 - 11.02) + 20 * (11.02 - 11.04), abs=1e-6)
    assert last["gross"] == pytest.approx(50 * 11.02, abs=1e-6)
    position = run.positions.row(0, named=True)
    assert (position["quantity"], position["mark"]) == (50.0, 11.02)
    assert position["average_price"] == pytest.approx((30 * 11.02 + 20 * 11.04) / 50)


def test_bars_fill_at_the_next_open_plus_half_spread() -> None:
    bars = minutes("KO", [10.0, 10.1, 11.2, 11.3, 10.0], [10.0, 11.5, 11.3, 10.2, 10.0])
    side = (hx.close("KO") - 10).hysteresis(enter=1, exit=0.5)
    venue = hx.Venue(half_spread=hx.HalfSpread(bp=10))
    run = backtest(data=hx.bars(bars), strategy=hx.target("KO", side, quantity=7), venue=venue).run()
    # The second close says buy: at the third open, 11.20 + 0.0112 up to the tick. The fourth says sell.
    assert run.fills.select("side", "price", "quantity").rows() == [("buy", 11.22, 7.0), ("sell", 9.99, 7.0)]
    # It happened at the bar's start; it can be known at its end.
    assert run.fills["ts_event"].dt.replace_time_zone(None).to_list()[0] == T0 + timedelta(minutes=2)
    assert run.fills["ts"].dt.replace_time_zone(None).to_list()[0] == T0 + timedelta(minutes=3)
    assert run.headline.net == pytest.approx(7 * (9.99 - 11.22), abs=1e-6)


def test_a_notional_is_turned_into_shares_at_the_mark_towards_zero() -> None:
    run = backtest(strategy=hx.target("KO", SIDE, notional=500), venue=hx.Venue()).run()
    assert run.orders["quantity"].to_list()[0] == 45.0  # 500 / 11.01 is 45.4
    run = backtest(strategy=hx.target("KO", SIDE, notional=500), venue=hx.Venue(), lot=10).run()
    assert run.orders["quantity"].to_list()[0] == 40.0


def test_trades_alone_can_be_traded() -> None:
    frame = pl.DataFrame(
        {"ts": [T0 + timedelta(seconds=s) for s in range(4)], "symbol": "KO", "price": [10.0, 11.5, 11.6, 10.0]}
    ).with_columns(size=100)
    side = (hx.last("KO") - 10).hysteresis(enter=1, exit=0.5)
    run = backtest(
        data=hx.trades(frame), strategy=hx.target("KO", side, quantity=5), execution=hx.Execution(style="market")
    ).run()
    assert run.fills["side"].to_list() == ["buy", "sell"]
    assert run.positions["quantity"].to_list() == [0.0]


def test_limits_refuse_and_say_why() -> None:
    run = backtest(limits=hx.Limits(order_notional=500)).run()
    assert run.fills.height == 0
    refusal = run.refusals.row(0, named=True)
    assert (refusal["rule"], refusal["limit"]) == ("order_notional", 500.0)
    assert refusal["value"] == pytest.approx(50 * 11.02)
    assert run.meta["pillars"]["risk"]["limits proven"] == 1


def test_a_daily_loss_leaves_only_reducing_orders() -> None:
    # Bought at 11.02; at a mid of 10.59 still held: 21.5 lost, beyond 10. Then out, and the next signal is refused.
    steps = [
        (0, "KO", 10.00, 100, 10.02, 100),
        (1, "KO", 11.00, 100, 11.02, 100),
        (2, "KO", 10.58, 100, 10.60, 100),
        (3, "KO", 10.40, 100, 10.42, 100),
        (4, "KO", 12.00, 100, 12.02, 100),
    ]
    run = backtest(data=hx.quotes(quotes(steps)), venue=hx.Venue(), limits=hx.Limits(daily_loss=10)).run()
    assert run.fills["side"].to_list() == ["buy", "sell"]
    assert run.refusals["rule"].to_list() == ["daily_loss"]
    (breach,) = run.meta["breaches"]
    assert breach["limit"] == 10_000_000
    assert breach["value"] > breach["limit"]


def test_a_limit_that_could_never_act_is_an_error(tmp_path: Path) -> None:
    bars = minutes("KO", [10.0, 10.0], [10.0, 10.0])
    side = (hx.close("KO") - 10).hysteresis(enter=1, exit=0.5)
    with pytest.raises(ArgumentError, match=r"(?i)collar"):
        backtest(
            data=hx.bars(bars), strategy=hx.target("KO", side, quantity=1), limits=hx.Limits(price_collar=0.01)
        ).run(tmp_path / "run")
    # The corrected description finds the folder free.
    backtest().run(tmp_path / "run")


def test_several_strategies_are_netted_and_keep_their_own_money() -> None:
    opposite = [
        hx.target("KO", SIDE, quantity=50, strategy="long"),
        hx.target("KO", -SIDE, quantity=20, strategy="short"),
    ]
    run = backtest(strategy=opposite, venue=hx.Venue()).run()
    # At 2 s: 20 cross inside at the mark, 30 are bought; at 60 s the same way back.
    inside = run.fills.filter(pl.col("liquidity") == "transfer")
    assert inside["price"].to_list() == pytest.approx([11.01, 11.01, 10.41, 10.41])
    assert run.market_fills.select("strategy", "side", "price", "quantity").rows() == [
        ("long", "buy", 11.02, 30.0),
        ("long", "sell", 10.4, 30.0),
    ]
    by_name = dict(run.strategies.select("strategy", "realised").iter_rows())
    assert by_name["short"] == pytest.approx(20 * (11.01 - 10.41), abs=1e-5)
    assert by_name["long"] == pytest.approx(20 * (10.41 - 11.01) + 30 * (10.40 - 11.02), abs=1e-5)
    assert sum(by_name.values()) == pytest.approx(run.headline.net, abs=1e-5)


def test_before_start_windows_fill_and_nothing_is_traded() -> None:
    z = hx.mid("KO").rolling(3).mean()
    late = backtest(strategy=[hx.target("KO", SIDE, quantity=50), hx.record("z", z)], start=T0 + timedelta(seconds=3))
    run = late.run()
    assert run.fills.height == 0  # the signal fired at 2 s and fires again at 60 s, to flat
    assert run.signals.height == 4
    assert backtest(start="2026-01-05T14:30:02+00:00").run().fills.height == 3


# ---- sources ---------------------------------------------------------------------------------------------------------


def _pandas(frame: pl.DataFrame, _: Path) -> Any:
    return frame.to_pandas()


def _csv(frame: pl.DataFrame, folder: Path) -> Any:
    frame.write_csv(folder / "q.csv")
    return folder / "q.csv"


def _parquet(frame: pl.DataFrame, folder: Path) -> Any:
    frame.write_parquet(folder / "q.parquet")
    return str(folder / "q.parquet")


def _files(frame: pl.DataFrame, folder: Path) -> Any:
    frame[:3].write_parquet(folder / "q-1.parquet")
    frame[3:].write_parquet(folder / "q-2.parquet")
    return str(folder / "q-*.parquet")


@pytest.mark.parametrize(
    "made",
    [
        lambda frame, _: frame,
        lambda frame, _: frame.lazy(),
        _pandas,
        lambda frame, _: frame.to_arrow(),
        _csv,
        _parquet,
        _files,
    ],
    ids=["polars", "lazy", "pandas", "arrow", "csv", "parquet", "files"],
)
def test_the_same_run_from_every_kind_of_source(made: Callable[[pl.DataFrame, Path], Any], tmp_path: Path) -> None:
    if "pandas" in str(made):
        pytest.importorskip("pandas")
    run = backtest(data=hx.quotes(made(quotes(), tmp_path))).run()
    assert run.meta["digest"] == backtest().run().meta["digest"]
    assert run.fills.height == 3


def test_sources_are_merged_by_time_and_equal_times_keep_their_order() -> None:
    ko, pep = STEPS, [(s, "PEP", b + 10, n, a + 10, m) for s, _, b, n, a, m in STEPS]
    together = sorted([*ko, *pep], key=lambda row: row[0])
    strategy = hx.record("spread", hx.mid("KO") - hx.mid("PEP"))
    one = backtest(data=hx.quotes(quotes(together)), strategy=strategy).run()
    two = backtest(data=[hx.quotes(quotes(ko)), hx.quotes(quotes(pep))], strategy=strategy).run()
    assert one.meta["digest"] == two.meta["digest"]
    assert one.meta["events"] == 12
    swapped = backtest(data=[hx.quotes(quotes(pep)), hx.quotes(quotes(ko))], strategy=strategy).run()
    assert swapped.signals["value"].to_list() != two.signals["value"].to_list()


def test_symbols_that_nobody_asks_for_are_left_out() -> None:
    rows = [*STEPS, (62, "XX", 1.0, 1, 2.0, 1)]
    assert backtest(data=hx.quotes(quotes(rows))).run().meta["events"] == len(STEPS)


# ---- the same again --------------------------------------------------------------------------------------------------


def test_two_runs_have_one_digest_and_another_setting_has_another() -> None:
    run = backtest()
    first, second = run.run(), run.run()
    assert first.meta["digest"] == second.meta["digest"]
    for table in TABLES:
        assert first.table(table).equals(second.table(table))
    assert backtest(cash=2_000_000).run().meta["digest"] != first.meta["digest"]


# ---- run folders -----------------------------------------------------------------------------------------------------


def test_a_run_folder_holds_everything_and_comes_back(tmp_path: Path) -> None:
    run = backtest(name="by hand", seed=7, latency=True).run(tmp_path / "deep" / "run")
    names = {entry.name for entry in (tmp_path / "deep" / "run").iterdir()}
    tables = {f"{name}.parquet" for name in [*TABLES, "trades"]}
    assert names == {"run.json", "journal.hj", "report.html"} | tables
    meta = json.loads((tmp_path / "deep" / "run" / "run.json").read_text())
    assert (meta["name"], meta["seed"], meta["digest"]) == ("by hand", 7, run.meta["digest"])
    assert {"helios", "python", "polars", "numpy"} <= meta["versions"].keys()
    assert meta["latency"]["p50"] > 0
    back = hx.Results.load(tmp_path / "deep" / "run")
    for table in [*TABLES, "trades"]:
        assert back.table(table).equals(run.table(table))
    assert back.headline == run.headline
    replayed = replay(tmp_path / "deep" / "run")
    assert replayed.identical
    assert replayed.digest == run.meta["digest"]


def test_a_folder_in_use_is_refused_before_anything_runs(tmp_path: Path) -> None:
    out = tmp_path / "run"
    backtest().run(out)
    before = {entry.name: entry.read_bytes() for entry in out.iterdir()}

    class Never(hx.Strategy):
        def on_book(self, book: Any) -> None:
            raise AssertionError("it ran")

    with pytest.raises(RunError, match="exists and is not empty") as caught:
        backtest(strategy=Never()).run(out)
    assert str(out) in str(caught.value)
    assert "overwrite" in str(caught.value)
    assert {entry.name: entry.read_bytes() for entry in out.iterdir()} == before


def test_overwrite_replaces_the_run_and_leaves_foreign_files_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = backtest().run(out)
    (out / "notes.txt").write_text("mine")
    second = backtest(cash=5).run(out, overwrite=True)
    assert first.meta["digest"] != second.meta["digest"]
    assert hx.Results.load(out).meta["digest"] == second.meta["digest"]
    assert replay(out).digest == second.meta["digest"]
    assert (out / "notes.txt").read_text() == "mine"


def test_a_file_in_the_way_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunError, match="Choose another folder"):
        backtest().run(tmp_path / "run")


# ---- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": []}, "at least one data source"),
        ({"data": [quotes()]}, "a DataFrame is no data source: use itch"),
        ({"data": "quotes.csv"}, "'quotes.csv' is no data source: use itch"),
        ({"start": 1.5}, "start=1.5"),
        (
            {"strategy": hx.record("x", hx.close("KO") + hx.mid("KO"))},
            "close('KO') would never have a value: the sources of 'KO' give mid, microprice, bid, ask, imbalance",
        ),
        ({"strategy": hx.target("KO", hx.last("KO").sign(), quantity=1)}, "last('KO') would never have a value"),
        (
            {"data": hx.bars(minutes("KO", [10.0, 10.0], [10.0, 10.0])), "strategy": hx.record("x", hx.mid("KO"))},
            "mid('KO') would never have a value: the sources of 'KO' give close, open, high, low, volume",
        ),
        ({"cash": float("nan")}, "cash is nan"),
        ({"cash": "1m"}, "cash is '1m'"),
        ({"cash": 1e15}, "cash is 1000000000000000.0: it must be below"),
        ({"tick": 0}, "tick 0 and lot 1.0 must be positive"),
        ({"tick": float("inf")}, "the tick of 'KO' is inf"),
        ({"lot": -1}, "must be positive"),
        ({"instruments": [hx.Instrument("PEP")]}, "instruments that this run does not trade: PEP"),
        ({"max_orders": 0}, "max_orders is 0"),
        ({"max_orders": 2**40}, "max_orders is"),
        ({"sample": "soon"}, "sample is 'soon'"),
        ({"sample": "0s"}, "longer than zero"),
        ({"marks": "x"}, "marks is 'x'"),
        ({"start": "yesterday"}, "start='yesterday'"),
        ({"start": -1}, "not a moment from 1970 on"),
        ({"strategy": hx.record("x", hx.mid("K0"))}, "no data source has the symbol 'K0'; near ones: KO"),
        ({"strategy": hx.target("PEP", SIDE, quantity=1)}, "no data source has the symbol 'PEP'"),
        ({"venue": hx.Venue(fees=hx.Fees(taker_bp=float("nan")))}, "fees.taker_bp is nan"),
        ({"venue": hx.Venue(fees=hx.Fees(minimum_per_order=-1))}, "fees.minimum_per_order is -1"),
        ({"venue": hx.Venue(half_spread=hx.HalfSpread(bp=-1))}, "half_spread.bp is -1"),
        ({"venue": hx.Venue(half_spread=hx.HalfSpread(bp=1e9))}, "half_spread.bp"),
        ({"venue": hx.Venue(fees=hx.Fees(taker_per_share=1e15))}, "fees.taker_per_share"),
        ({"venue": hx.Venue(latency=hx.Latency(order="50"))}, "order latency is '50'"),
    ],
)
def test_a_description_that_cannot_be_says_why(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError) as caught:
        backtest(**change).run(tmp_path / "run")
    assert says in str(caught.value)
    assert not (tmp_path / "run").exists(), "nothing is left behind"


def test_zero_latency_may_be_written() -> None:
    zero = hx.Venue(latency=hx.Latency(order="0us", report=timedelta(0)), day_begins="0h", fees=FEES.fees)
    assert backtest(venue=zero).run().meta["digest"] == backtest().run().meta["digest"]


# ---- when it stops in the middle -------------------------------------------------------------------------------------


def test_a_bad_row_stops_the_run_and_all_before_it_is_journaled(tmp_path: Path) -> None:
    frame = quotes([*STEPS, (62, "KO", float("nan"), 100, 10.42, 100), (63, "KO", 10.4, 100, 10.42, 100)])
    with pytest.raises(DataError) as caught:
        backtest(data=hx.quotes(frame)).run(tmp_path / "run")
    assert (caught.value.row, caught.value.column, caught.value.good_rows) == (6, "bid", 6)
    assert caught.value.__traceback__ is not None
    replayed = replay(tmp_path / "run")
    whole = backtest().run()
    assert replayed.difference is None
    assert (replayed.inputs, replayed.outputs, replayed.digest) == (
        whole.meta["inputs"],
        whole.meta["outputs"],
        whole.meta["digest"],
    )


def test_a_bad_row_with_a_python_strategy_at_work_is_the_same_error() -> None:
    class Counter(hx.Strategy):
        seen = 0

        def on_book(self, book: Any) -> None:
            self.seen += 1

    frame = quotes([*STEPS, (62, "KO", float("nan"), 100, 10.42, 100)])
    counter = Counter()
    with pytest.raises(DataError, match="row 6"):
        backtest(data=[hx.quotes(frame), hx.quotes(quotes([(61.5, "KO", 10.4, 1, 10.5, 1)]))], strategy=counter).run()
    assert counter.seen == len(STEPS)


def test_bad_rows_can_be_skipped_and_are_counted() -> None:
    frame = quotes([*STEPS[:3], (2.5, "KO", float("nan"), 100, 10.42, 100), *STEPS[3:]])
    run = backtest(data=hx.quotes(frame, on_error="skip")).run()
    assert run.meta["digest"] == backtest().run().meta["digest"]
    (warning,) = run.meta["warnings"]
    assert "1 rows left out" in warning
    assert "row 3" in warning


KILLED = """
import os, signal, sys
from datetime import datetime
import polars as pl
import helios as hx

n = 60_000
frame = pl.DataFrame({"i": range(n)}).select(
    ts=pl.lit(datetime(2026, 1, 5, 14, 30)) + pl.duration(milliseconds=pl.col("i")),
    symbol=pl.lit("KO"),
    bid=10 + (pl.col("i") % 7) * 0.01,
    bid_size=100,
    ask=10.1 + (pl.col("i") % 7) * 0.01,
    ask_size=100,
)

class Killed(hx.Strategy):
    seen = 0
    def on_book(self, book):
        self.seen += 1
        if self.seen % 100 == 0:
            self.target("KO", self.seen % 300)
        if self.seen == 50_000:
            os.kill(os.getpid(), signal.SIGKILL)

hx.Backtest(data=hx.quotes(frame), strategy=Killed()).run(sys.argv[1])
"""


def test_a_killed_run_leaves_a_journal_whose_good_part_replays(tmp_path: Path) -> None:
    out = tmp_path / "run"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(out)], capture_output=True, text=True, env=os.environ)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    size = (out / "journal.hj").stat().st_size
    replayed = replay(out)
    assert not replayed.identical
    assert replayed.difference is None
    assert replayed.inputs > 10_000
    assert replayed.damage is not None
    assert "did not close its journal" in replayed.damage
    assert f"byte {size}" in replayed.damage
    with pytest.raises(RunError, match=r"run\.json"):
        hx.Results.load(out)
    # The next run does not take the folder for empty, and can replace it.
    with pytest.raises(RunError, match="not empty"):
        backtest().run(out)
    backtest().run(out, overwrite=True)
    assert replay(out).identical


def test_a_run_that_fails_leaves_the_one_that_it_was_to_overwrite(tmp_path: Path) -> None:
    def folder() -> set[str]:
        return {entry.name for entry in tmp_path.iterdir()}

    class Fails(hx.Strategy):
        def on_book(self, book: Any) -> None:
            raise ZeroDivisionError("in the middle")

    good = backtest()
    first = good.run(tmp_path / "run")
    with pytest.raises(ZeroDivisionError):
        backtest(strategy=Fails()).run(tmp_path / "run", overwrite=True)
    assert hx.Results.load(tmp_path / "run").meta["digest"] == first.meta["digest"]
    assert replay(tmp_path / "run").identical
    assert folder() == {"run", "run.new"}
    good.run(tmp_path / "run", overwrite=True)
    assert folder() == {"run"}
    assert replay(tmp_path / "run").identical
