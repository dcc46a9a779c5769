"""Results: metrics against hand-worked examples, round trips, the core's integers, the run folder."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from helios.errors import ArgumentError, DataError, RunError
from helios.research import charts, metrics
from helios.research import results as r
from helios.research.results import Names, Results, prepare_folder, round_trips
from helios.scales import QUANTITY_SCALE
from hypothesis import given, settings
from hypothesis import strategies as st

MINUTE = 60 * 10**9
DAY = 1440 * MINUTE
T0 = 1_710_423_000 * 10**9  # 2024-03-14 13:30:00 UTC


def moments(ns: Sequence[int] | np.ndarray) -> pl.Series:
    return pl.Series(np.asarray(ns, dtype=np.int64)).cast(pl.Datetime("ns", "UTC"))


def fills(*rows: tuple[str, float, float, float], strategy: str = "S", instrument: str = "A") -> pl.DataFrame:
    """Rows are (side, price, quantity, fee), one a second."""
    n = len(rows)
    side, price, quantity, fee = (list(c) for c in zip(*rows, strict=True)) if rows else ([], [], [], [])
    when = moments([T0 + i * 10**9 for i in range(n)])
    return pl.DataFrame(
        {
            "ts": when,
            "ts_event": when,
            "order": pl.Series(range(1, n + 1), dtype=pl.UInt64),
            "execution": pl.Series(range(1, n + 1), dtype=pl.UInt64),
            "strategy": pl.Series([strategy] * n, dtype=pl.String),
            "instrument": pl.Series([instrument] * n, dtype=pl.String),
            "side": pl.Series(side, dtype=pl.String),
            "price": pl.Series(price, dtype=pl.Float64),
            "quantity": pl.Series(quantity, dtype=pl.Float64),
            "fee": pl.Series(fee, dtype=pl.Float64),
            "liquidity": pl.Series(["taker"] * n, dtype=pl.String),
            "position": pl.Series([0.0] * n, dtype=pl.Float64),
            "realised": pl.Series([0.0] * n, dtype=pl.Float64),
        }
    )


def equity(ns: Sequence[int] | np.ndarray, net: Sequence[float] | np.ndarray, fees: float = 0.0) -> pl.DataFrame:
    n = len(net)
    return pl.DataFrame(
        {
            "ts": moments(ns),
            "equity": 1000.0 + np.asarray(net),
            "cash": np.full(n, 1000.0),
            "realised": np.asarray(net) + fees,
            "unrealised": np.zeros(n),
            "fees": np.full(n, fees),
            "gross": np.linspace(100.0, 200.0, n),
            "net": np.zeros(n),
        }
    )


# --- Metrics -------------------------------------------------------------------------------------------------------


def test_returns_compound() -> None:
    assert metrics.total_return([0.1, -0.5, 1.0]) == pytest.approx(0.1)
    assert metrics.total_return([float("nan")]) is None


def test_drawdown_is_the_distance_below_the_highest_so_far() -> None:
    assert metrics.drawdown([0.0, 5.0, 3.0, 8.0, 1.0]).tolist() == [0.0, 0.0, -2.0, 0.0, -7.0]
    assert metrics.max_drawdown([0.0, 5.0, 3.0, 8.0, 1.0]) == -7.0
    # A path that only loses is in drawdown from its start on, which counts as a high.
    assert metrics.drawdown([-1.0, -3.0], start=0.0).tolist() == [-1.0, -3.0]
    assert metrics.max_drawdown([]) is None


def test_drawdown_passes_over_a_sample_without_value() -> None:
    d = metrics.drawdown([4.0, float("nan"), 1.0])
    assert d[0] == 0.0
    assert math.isnan(d[1])
    assert d[2] == -3.0
    assert metrics.max_drawdown([4.0, float("nan"), 1.0]) == -3.0


def test_sharpe_of_alternating_changes() -> None:
    # Ten times +3, ten times -1: mean 1, squares of deviations 20 * 4 = 80, variance 80/19, times sqrt(252).
    changes = [3.0, -1.0] * 10
    assert metrics.sharpe_ratio(changes, 252) == pytest.approx(math.sqrt(252) / math.sqrt(80 / 19))
    assert metrics.sharpe_ratio(changes[:19], 252) is None
    assert metrics.sharpe_ratio([0.1] * 50, 252) is None
    assert metrics.sharpe_ratio([0.0] * 50, 252) is None


def test_turnover_counts_both_sides() -> None:
    assert metrics.turnover([10.0, 11.0], [100.0, 100.0]) == 2100.0
    assert metrics.turnover([], []) == 0.0


def test_hit_rate_and_profit_factor() -> None:
    pnl = [10.0, -4.0, 0.0, 2.0]
    assert metrics.hit_rate(pnl) == 0.5
    assert metrics.profit_factor(pnl) == 3.0
    assert metrics.hit_rate([]) is None
    assert metrics.profit_factor([1.0, 2.0]) is None


def test_return_on_peak_gross() -> None:
    assert metrics.return_on_peak(-5.0, [100.0, 250.0, float("nan")]) == -0.02
    assert metrics.return_on_peak(5.0, [0.0]) is None
    assert metrics.return_on_peak(None, [1.0]) is None


# --- The Sharpe ratio of a run -------------------------------------------------------------------------------------


def test_a_month_is_measured_by_days() -> None:
    """Twenty-two days with samples every hour: 21 daily changes, factor sqrt(252)."""
    rng = np.random.default_rng(1)
    ns = [T0 + d * DAY + h * 60 * MINUTE for d in range(22) for h in range(7)]
    net = rng.normal(1.0, 5.0, len(ns)).cumsum()
    run = Results(equity=equity(ns, net))
    daily = np.diff(net[6::7])
    assert run.headline.sharpe.value == pytest.approx(daily.mean() / daily.std(ddof=1) * math.sqrt(252))
    assert run.headline.sharpe.note == "21 1-day P&L changes, annualised by √252"


def test_half_hours_are_measured_by_five_minutes_and_scaled_as_half_an_hour_a_day() -> None:
    rng = np.random.default_rng(2)
    net = rng.normal(0.0, 1.0, 5 * 1800).cumsum()
    day = 86_400 * 10**9
    run = Results(equity=equity([T0 + d * day + i * 10**9 for d in range(5) for i in range(1800)], net))
    changes = np.diff(net[299::300])  # the last sample of each of 30 spans of five minutes
    assert changes.size == 29
    expected = changes.mean() / changes.std(ddof=1) * math.sqrt(252 * 29 / 5)
    assert run.headline.sharpe.value == pytest.approx(expected)
    assert run.headline.sharpe.note == "29 5-minute P&L changes, annualised by √(252·5.8); 5 days seen"


def test_one_day_says_nothing_about_a_year() -> None:
    run = Results(equity=equity([T0 + i * 10**9 for i in range(1801)], np.arange(1801.0)))
    assert run.headline.sharpe.value is None
    assert run.headline.sharpe.note == "1 day of trading: an annualised figure needs 5"


def test_what_came_before_the_start_of_trading_does_not_dilute_the_ratio() -> None:
    day = 86_400 * 10**9
    net = np.concatenate([np.zeros(40), np.random.default_rng(3).normal(1.0, 2.0, 41).cumsum()])
    stamps = [T0 + i * day for i in range(81)]
    run = Results(equity=equity(stamps, net), meta={"trade_from": stamps[40]})
    changes = np.diff(net[40:])
    assert run.headline.sharpe.value == pytest.approx(changes.mean() / changes.std(ddof=1) * math.sqrt(252))


def test_ten_minutes_have_no_sharpe_ratio() -> None:
    run = Results(equity=equity([T0 + i * 10**9 for i in range(600)], np.random.default_rng(3).normal(size=600)))
    assert run.headline.sharpe == r.Sharpe(None, "fewer than 20 one-minute samples of equity")


# --- Round trips ---------------------------------------------------------------------------------------------------


def test_first_in_first_out_with_partial_exits() -> None:
    trades = round_trips(fills(("buy", 10.0, 100, 1.0), ("buy", 12.0, 50, 0.5), ("sell", 13.0, 120, 1.2)))
    rows = trades.select("side", "quantity", "entry_price", "exit_price", "pnl", "fees", "net").rows()
    assert rows[0] == ("long", 100.0, 10.0, 13.0, 300.0, pytest.approx(2.0), pytest.approx(298.0))
    assert rows[1] == ("long", 20.0, 12.0, 13.0, 20.0, pytest.approx(0.4), pytest.approx(19.6))
    assert trades["entry_ts"].to_physical().to_list() == [T0, T0 + 10**9]
    assert len(rows) == 2


def test_a_sale_beyond_the_position_turns_it_short() -> None:
    trades = round_trips(fills(("buy", 10.0, 100, 0.0), ("sell", 11.0, 150, 0.0), ("buy", 9.0, 50, 0.0)))
    assert trades.select("side", "quantity", "pnl").rows() == [("long", 100.0, 100.0), ("short", 50.0, 100.0)]


def test_strategies_and_instruments_are_not_matched_with_one_another() -> None:
    one = fills(("buy", 10.0, 1, 0.0))
    other = fills(("sell", 11.0, 1, 0.0), strategy="T")
    third = fills(("sell", 11.0, 1, 0.0), instrument="B")
    assert round_trips(pl.concat([one, other, third])).height == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["buy", "sell"]), st.integers(1, 10_000), st.integers(1, 10**10), st.integers(-50, 50)
        ),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=150, deadline=None)
def test_flat_at_the_end_the_trades_are_the_cash_flow(rows: list[tuple[str, int, int, int]]) -> None:
    sign = {"buy": 1, "sell": -1}
    left = sum(sign[side] * quantity for side, _, quantity, _ in rows)
    if left:
        rows = [*rows, ("sell" if left > 0 else "buy", 777, abs(left), 3)]
    table = fills(*((side, p / 100, q / QUANTITY_SCALE, f / 100) for side, p, q, f in rows))
    cash = sum(-sign[side] * p / 100 * q / QUANTITY_SCALE for side, p, q, _ in rows)
    trades = round_trips(table)
    assert trades["pnl"].sum() == pytest.approx(cash, rel=1e-9, abs=1e-6)
    assert trades["fees"].sum() == pytest.approx(sum(f for *_, f in rows) / 100, rel=1e-9, abs=1e-9)
    volume = sum(q for *_, q, _ in rows) / QUANTITY_SCALE
    assert 2 * trades["quantity"].sum() == pytest.approx(volume, rel=1e-12)
    assert (trades["exit_ts"] >= trades["entry_ts"]).all()


# --- Headline ------------------------------------------------------------------------------------------------------


def test_the_headline_of_a_small_run() -> None:
    table = fills(("buy", 10.0, 100, 1.0), ("sell", 10.5, 100, 1.0), ("buy", 10.0, 10, 0.0))
    table = table.with_columns(liquidity=pl.Series(["maker", "taker", "transfer"]))
    run = Results(fills=table, equity=equity([T0, T0 + MINUTE, T0 + 2 * MINUTE], [0.0, -7.0, 48.0], fees=2.0))
    h = run.headline
    assert (h.net, h.fees, h.before_fees) == (48.0, 2.0, 50.0)
    assert (h.fills, h.transfers, h.maker_share) == (2, 1, 0.5)
    assert h.turnover == 2050.0
    assert h.max_drawdown == -7.0
    assert h.return_on_peak_gross == 0.24
    assert (h.round_trips, h.hit_rate) == (1, 1.0)


def test_nothing_happened_is_zero_and_unknown_is_none() -> None:
    assert Results().headline.net == 0.0
    assert Results(fills=fills(("buy", 1.0, 1, 0.0))).headline.net is None
    gone = equity([T0, T0 + MINUTE], [1.0, float("nan")])
    assert Results(equity=gone).headline.net == 1.0


def test_tables_that_tell_different_sums_are_found() -> None:
    positions = pl.DataFrame(
        {"instrument": ["A"], "quantity": [0.0], "average_price": [None], "mark": [10.0]}
        | {"unrealised": [0.0], "realised": [49.0], "fees": [2.0]}
    )
    run = Results(equity=equity([T0], [48.0], fees=2.0), positions=positions)
    assert run.reconciliation() == {"equity": 48.0, "positions": 47.0}
    assert not run.reconciles()
    assert Results(equity=equity([T0], [47.0], fees=2.0), positions=positions).reconciles()


# --- From the core -------------------------------------------------------------------------------------------------


def core_columns() -> dict[str, dict[str, np.ndarray]]:
    ts = np.array([T0, T0 + 1], dtype=np.uint64)
    return {
        "fills": {
            "ts": ts,
            "ts_event": ts,
            "order": np.array([1, 2**63 + 5], dtype=np.uint64),
            "execution": np.array([7, 0], dtype=np.uint64),
            "strategy": np.array([0, 1], dtype=np.uint32),
            "instrument": np.array([1, 1], dtype=np.uint32),
            "side": np.array([0, 1], dtype=np.uint8),
            "price": np.array([12_340_000_000, 10_000_001], dtype=np.int64),
            "quantity": np.array([150_000_000, 1], dtype=np.int64),
            "fee": np.array([-800, 1_000_000], dtype=np.int64),
            "liquidity": np.array([0, 1], dtype=np.uint8),
            "position": np.array([150_000_000, -1], dtype=np.int64),
            "realised": np.array([0, -2_500_000], dtype=np.int64),
        },
        "refusals": {
            "ts": ts,
            "strategy": np.array([0, 0]),
            "instrument": np.array([0, 1]),
            "rule": np.array([3, 1], dtype=np.uint8),
            "limit": np.array([40_000_000_000, 5_000_000], dtype=np.int64),
            "value": np.array([50_000_000_000, 6_000_000], dtype=np.int64),
            "side": np.array([1, 0]),
            "quantity": np.array([100_000_000, 100_000_000], dtype=np.int64),
            "price": np.array([2**63 - 1, 2_000_000_000], dtype=np.int64),
        },
    }


NAMES = Names(strategies=("KO/PEP", "A/B"), instruments=("KO", "PEP"))


def test_the_cores_integers_become_amounts_and_names() -> None:
    run = Results.from_core(core_columns(), NAMES)
    row = run.fills.row(0, named=True)
    assert (row["price"], row["quantity"], row["fee"]) == (12.34, 1.5, -0.0008)
    assert (row["strategy"], row["instrument"], row["side"], row["liquidity"]) == ("KO/PEP", "PEP", "buy", "maker")
    second = run.fills.row(1, named=True)
    assert (second["order"], second["liquidity"], second["realised"]) == (2**63 + 5, "transfer", -2.5)
    assert run.fills["ts"].dtype == pl.Datetime("ns", "UTC")
    assert run.fills["ts"].to_physical().to_list() == [T0, T0 + 1]
    assert run.orders.height == 0


def test_a_refusals_limit_is_in_its_rules_unit_and_no_price_is_null() -> None:
    refusals = Results.from_core(core_columns(), NAMES).refusals
    assert refusals.select("rule", "limit", "value", "price").rows() == [
        ("position", 400.0, 500.0, None),
        ("order_notional", 5.0, 6.0, 2.0),
    ]


def test_every_code_has_a_name_and_every_rule_a_unit() -> None:
    assert set(r.RULE_UNIT) == set(r.CODES["rule"])
    assert [len(r.CODES[k]) for k in ("side", "time_in_force", "state", "liquidity", "rule", "quality")] == [
        2,
        5,
        9,
        3,
        10,
        10,
    ]
    used = {kind for columns in r.TABLES.values() for kind in columns.values()}
    assert used <= set(r._DTYPES)


def test_codes_agree_with_the_vocabulary_of_the_core() -> None:
    """The names are written twice, here and in core/types; this reads the Rust source and compares."""
    types = Path(__file__).parents[2] / "core" / "types" / "src"
    for enum, code, file in (
        ("Side", "side", "order.rs"),
        ("TimeInForce", "time_in_force", "order.rs"),
        ("OrderState", "state", "order.rs"),
        ("Rule", "rule", "output.rs"),
        ("QualityKind", "quality", "output.rs"),
    ):
        body = (types / file).read_text().split(f"pub enum {enum} {{")[1].split("\n}")[0]
        variants = [line.split("=")[0].strip() for line in body.splitlines() if "=" in line and "///" not in line]
        snake = ["".join("_" + c.lower() if c.isupper() else c for c in v).lstrip("_") for v in variants]
        assert tuple(snake) == r.CODES[code], enum


def test_a_number_without_a_name_is_an_error_with_its_row() -> None:
    columns = core_columns()
    columns["fills"]["instrument"] = np.array([1, 2])
    with pytest.raises(DataError, match=r"table 'fills', row 1, column 'instrument': number 2 has no name"):
        Results.from_core(columns, NAMES)


def test_missing_and_misfit_columns_are_named() -> None:
    columns = core_columns()
    del columns["fills"]["fee"]
    with pytest.raises(DataError, match="table 'fills': from the core lacks 'fee'"):
        Results.from_core(columns, NAMES)
    good = fills(("buy", 1.0, 1, 0.0))
    with pytest.raises(DataError, match="table 'fills': lacks 'price', 'fee'"):
        Results(fills=good.drop("price", "fee"))
    with pytest.raises(DataError, match=r"column 'price': String cannot stand for Float64"):
        Results(fills=good.with_columns(price=pl.lit("10")))
    with pytest.raises(DataError, match=r"column 'ts'.*time zone"):
        Results(fills=good.with_columns(pl.col("ts").dt.replace_time_zone(None)))
    with pytest.raises(DataError, match="no table named 'fill'"):
        Results().table("fill")


def test_columns_of_a_near_type_are_taken() -> None:
    near = fills(("buy", 10.0, 1, 0.0)).with_columns(
        pl.col("ts").dt.cast_time_unit("us"), pl.col("price").cast(pl.Int32), pl.col("side").cast(pl.Categorical)
    )
    assert Results(fills=near).fills.schema == Results().fills.schema


# --- The run folder ------------------------------------------------------------------------------------------------


def small_run(**meta: Any) -> Results:
    table = fills(("buy", 10.0, 100, 1.0), ("sell", 10.5, 100, float("nan")))
    return Results(fills=table, equity=equity([T0, T0 + MINUTE], [0.0, 48.0]), meta=meta)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    run = small_run(name="x", digest="d", config={"a": [1, 2]}, latency={"p50": float("nan")}, seed=np.uint64(7))
    folder = run.save(tmp_path / "a" / "b")
    back = Results.load(folder)
    for name in [*r.TABLES, "trades"]:
        assert back.table(name).equals(run.table(name), null_equal=True), name
    meta = {k: back.meta[k] for k in ("name", "digest", "config", "latency", "seed", "format")}
    assert meta == {
        "name": "x",
        "digest": "d",
        "config": {"a": [1, 2]},
        "latency": {"p50": None},
        "seed": 7,
        "format": r.FORMAT,
    }
    written = {p.name for p in folder.iterdir()}
    assert written == {*(f"{n}.parquet" for n in [*r.TABLES, "trades"]), "run.json", "report.html"}


def test_a_folder_in_use_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused = r"not empty\. Choose another folder, or pass overwrite"
    with pytest.raises(RunError, match=refused):
        small_run().save(tmp_path)
    with pytest.raises(RunError, match=refused):
        prepare_folder(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    small_run(digest="new").save(tmp_path, overwrite=True, report=False)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert Results.load(tmp_path).meta["digest"] == "new"


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be used as a run folder"):
        small_run().save(tmp_path / "file")


def test_the_runs_own_journal_is_kept_and_fingerprinted(tmp_path: Path) -> None:
    folder = prepare_folder(tmp_path / "run")
    (folder / "journal.hj").write_bytes(b"journal")
    small_run().save(folder)
    fingerprint = hashlib.sha256(b"journal").hexdigest()
    assert json.loads((folder / "run.json").read_text())["journal_sha256"] == fingerprint
    assert fingerprint in (folder / "report.html").read_text()


@pytest.mark.parametrize(("digest", "kept"), [("same", True), ("other", False), (None, False)])
def test_a_journal_of_an_older_run_does_not_stay_beside_a_new_one(
    tmp_path: Path, digest: str | None, kept: bool
) -> None:
    (tmp_path / "journal.hj").write_bytes(b"journal")
    small_run(digest="same").save(tmp_path, report=False)
    small_run(digest=digest).save(tmp_path, overwrite=True, report=False)
    assert (tmp_path / "journal.hj").exists() is kept
    assert ("journal_sha256" in Results.load(tmp_path).meta) is kept


def test_preparing_with_overwrite_clears_the_older_run_only(tmp_path: Path) -> None:
    (tmp_path / "journal.hj").write_bytes(b"journal")
    small_run().save(tmp_path, report=False)
    (tmp_path / "notes.txt").write_text("mine")
    prepare_folder(tmp_path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_run_json_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash at any file leaves a folder that is not taken for a finished run."""
    small_run(digest="old").save(tmp_path, report=False)
    order: list[str] = []
    write = r.write_whole

    def crash_at_the_last(path: Path, how: Any) -> None:
        order.append(path.name)
        if path.name == "run.json":
            raise KeyboardInterrupt
        write(path, how)

    monkeypatch.setattr(r, "write_whole", crash_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        small_run(digest="new").save(tmp_path, overwrite=True, report=False)
    assert order[-1] == "run.json"
    assert len(order) == len(r.TABLES) + 2
    with pytest.raises(RunError, match=r"not a finished run: run\.json is missing"):
        Results.load(tmp_path)


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    small_run().save(tmp_path, report=False)
    (tmp_path / "fills.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(RunError, match=r"the table 'fills' in fills\.parquet"):
        Results.load(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(RunError, match="has format 99, this version reads 1"):
        Results.load(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"cannot read run\.json"):
        Results.load(tmp_path)


# --- In a notebook -------------------------------------------------------------------------------------------------

EVIL = "<b>&\"x'"
SVG = "{http://www.w3.org/2000/svg}"


def evil_run() -> Results:
    """Every name is one that a page must not read as markup."""
    rows = (("buy", 10.0, 100, 1.0), ("sell", 10.5, 100, 1.0), ("buy", 10.0, 10, 0.0))
    table = fills(*rows, instrument=EVIL, strategy=EVIL)
    ns = [T0 + i * MINUTE for i in range(30)]
    signals = pl.DataFrame(
        {"ts": moments(ns[:3]), "signal": [EVIL] * 3, "value": [1.0, 0.0, -1.0], "input": [2.1, 0.2, -2.4]}
    )
    return Results(
        fills=table,
        signals=signals,
        equity=equity(ns, np.random.default_rng(5).normal(0, 10, 30).cumsum(), fees=2.0),
        meta={"name": EVIL, "started": T0, "finished": T0 + 29 * MINUTE},
    )


def drawn(figure: Any) -> ElementTree.Element:
    return ElementTree.fromstring(figure._repr_mimebundle_()["image/svg+xml"])


def strokes(figure: Any, color: str) -> list[str]:
    """The paths of that colour; the legend comes last."""
    return [path.get("d", "") for path in drawn(figure).iter(SVG + "path") if path.get("stroke") == color]


def test_a_run_prints_its_summary_and_not_its_tables() -> None:
    run = evil_run()
    assert repr(run) == f"<Results {EVIL!r}: 0 orders, 3 fills, net {run.headline.net:,.2f}>"
    assert EVIL in str(run) and "net P&L after fees" in str(run) and "shape:" not in str(run)
    assert "\x1b" not in str(run)
    assert repr(Results()) == "<Results 'backtest': 0 orders, 0 fills, net 0.00>"
    assert "no fills" in str(Results())


def test_the_card_takes_names_as_text() -> None:
    run = evil_run()
    card = run._repr_html_()
    assert "<b>" not in card and "<script" not in card
    assert "&lt;b&gt;&amp;&quot;x&#x27;" in card
    assert f"{run.headline.turnover:,.2f}" in card
    picture = base64.b64decode(re.findall(r"base64,([^\"]+)", card)[0]).decode()
    assert ElementTree.fromstring(picture).tag == SVG + "svg"
    empty = Results()._repr_html_()
    assert "<img" not in empty and "Backtest" in empty


def test_plots_are_plotly_figures_with_a_still_picture_and_without_a_script() -> None:
    from plotly.graph_objects import Figure

    plot = evil_run().plot
    figures = (plot(), plot.equity(), plot.drawdown(), plot.trades(EVIL), plot.signal(EVIL))
    for figure in figures:
        assert isinstance(figure, Figure)
        bundle = figure._repr_mimebundle_()
        assert set(bundle) == {"application/vnd.plotly.v1+json", "image/svg+xml", "text/plain"}
        assert figure._repr_html_ is None and figure._ipython_display_ is None
        assert "<b>" not in bundle["image/svg+xml"]
        assert "<b>" not in json.dumps(bundle["application/vnd.plotly.v1+json"])
        assert drawn(figure).tag == SVG + "svg"
    titles = [text.text for text in drawn(plot.trades(EVIL)).iter(SVG + "text")]
    assert EVIL in titles
    assert plot() == plot.equity()


def test_the_trade_plot_draws_every_fill_of_its_instrument() -> None:
    one, other = fills(("buy", 10.0, 1, 0.0), ("sell", 11.0, 1, 0.0)), fills(("buy", 5.0, 1, 0.0), instrument="B")
    run = Results(fills=pl.concat([one, other]), equity=equity([T0, T0 + MINUTE], [0.0, 1.0]))
    picture = drawn(run.plot.trades("A"))
    in_legend = 2
    assert len(list(picture.iter(SVG + "polygon"))) == 2 + in_legend


def test_a_still_picture_puts_values_where_they_belong() -> None:
    run = Results(equity=equity([T0 + k * MINUTE for k in range(5)], [0.0, 10.0, -10.0, float("nan"), 0.0]))
    traces = {t["name"]: t for t in charts.net(run)["data"]}
    assert list(traces) == ["net P&L after fees", "drawdown"]
    path, *_ = strokes(run.plot.drawdown(), charts.RED)
    points = re.findall(r"([ML])([\d.]+) ([\d.]+)", path)
    # 0, 0, -20, no value, -10: the pen is lifted once, steps in time are equal, depth is to scale.
    assert [kind for kind, _, _ in points] == ["M", "L", "L", "M"]
    x, y = ([float(p[k]) for p in points] for k in (1, 2))
    step = x[1] - x[0]
    assert x[2] - x[1] == pytest.approx(step, abs=0.15) and x[3] - x[2] == pytest.approx(2 * step, abs=0.2)
    assert y[0] == y[1] < y[3] < y[2]
    assert y[3] - y[0] == pytest.approx((y[2] - y[0]) / 2, abs=0.15)


def test_a_still_picture_closes_the_nights() -> None:
    ns = [T0 + d * DAY + h * 10 * MINUTE for d in range(4) for h in range(30)]
    run = Results(equity=equity(ns, np.arange(120.0)))
    path, *_ = strokes(run.plot.equity(), charts.BLUE)
    x = np.array([float(v) for v in re.findall(r"[ML]([\d.]+) ", path)])
    assert x.size == 120
    steps = np.diff(x)
    assert steps.max() < 2 * np.median(steps)


@pytest.mark.parametrize("values", [[0.0, 0.0], [5.0, 5.0], [1e-9, -1e-9], [1e12, -3e12], [float("nan"), float("nan")]])
def test_a_still_picture_of_any_values(values: list[float]) -> None:
    run = Results(equity=equity([T0, T0 + MINUTE], values))
    for figure in (run.plot(), run.plot.drawdown()):
        assert "nan" not in ElementTree.tostring(drawn(figure)).decode()
    same = Results(equity=equity([T0], [1.0]))
    assert drawn(same.plot()).tag == SVG + "svg"


def test_what_is_not_in_the_run_cannot_be_plotted() -> None:
    plot = evil_run().plot
    with pytest.raises(ArgumentError, match="this run has no fills of 'KO': there are '<b>"):
        plot.trades("KO")
    with pytest.raises(ArgumentError, match="no changes of a signal named 'z': there are '<b>"):
        plot.signal("z")
    with pytest.raises(ArgumentError, match="no fills of 'KO': there are none"):
        Results().plot.trades("KO")
    with pytest.raises(RunError, match="no equity was sampled"):
        Results().plot()


def test_a_figure_that_was_added_to_keeps_plotlys_own() -> None:
    figure = evil_run().plot()
    figure.add_bar(x=[1], y=[2])
    assert set(figure._repr_mimebundle_()) == {"application/vnd.plotly.v1+json", "text/plain"}
