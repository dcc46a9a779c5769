"""Every example runs from a clean folder, says what it found, and leaves what it promises."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from helios.research.charts import equity
from helios.research.results import Results

HELIOS = ("-c", "from helios.cli import main; main()")
ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
DATA = ROOT.parent / "shared" / "data"
BARS = DATA / "us_minute_2018"


def run(folder: Path, *command: str | Path) -> str:
    environment = os.environ | {"COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_tested_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert [p.name for p in sorted(EXAMPLES.glob("0*")) if p.name not in here] == []


def test_the_strategy_in_the_readme(tmp_path: Path) -> None:
    """The Python blocks as they stand, on a smaller day of the same name, and the two commands below the first."""
    told = (ROOT / "README.md").read_text(encoding="utf-8")
    block, columns, strategy = re.findall(r"^```python\n(.*?)^```$", told, re.MULTILINE | re.DOTALL)
    (name,) = re.findall(r"as `(\w+\.py)`", told)
    commands = re.findall(r"^helios ([^#\n]+)", told, re.MULTILINE)
    # Those of a live run are the ninth example.
    assert [command.split()[0] for command in commands[:2]] == ["backtest", "replay"]
    (tmp_path / name).write_text(block, encoding="utf-8")
    (day,) = re.findall(r'hx\.itch\("([^"]+)", date="2026-01-05"\)', block)
    (tmp_path / day).parent.mkdir(parents=True)
    run(tmp_path, *HELIOS, "simulate", "--symbols", "10", "--minutes", "30", "--seed", "7", "--out", day)
    run(tmp_path, *HELIOS, *commands[0].split())
    (out,) = re.findall(r"--out (\S+)", commands[0])
    results = Results.load(tmp_path / out)
    assert (tmp_path / out / "report.html").is_file()
    assert set(results.fills["instrument"]) == {"AAAA", "AAAB"}
    # The window is ten minutes of quotes, which begin a minute before the open.
    assert results.orders["ts"].min().isoformat() >= "2026-01-05T14:39:00"  # type: ignore[union-attr]
    again = run(tmp_path, *HELIOS, *commands[1].split())
    assert again.startswith("identical: ")
    assert str(results.meta["digest"]) in again
    # The second block goes on from the first: the same numbers over columns.
    shown = run(tmp_path, "-c", f"{block}\n{columns}\nprint(frame['side'].drop_nulls().len())")
    assert int(shown.splitlines()[-1]) > 0
    # The third is a class on the first's spread.
    (tmp_path / name).write_text(f"{block}\n{strategy}", encoding="utf-8")
    said = run(tmp_path, *HELIOS, "describe", f"{name}:Reversion")
    assert "enter   2.5" in said
    assert "FixedNotional(notional=10000)" in said


def test_demo(tmp_path: Path) -> None:
    told = run(tmp_path, EXAMPLES / "01_pairs_on_a_simulated_day.py", "--small")
    assert max(len(line) for line in told.splitlines()) <= 100
    assert re.findall(r"^(\d)\. ", told, re.MULTILINE) == list("12345678")
    results = Results.load(tmp_path / "runs/demo/run")
    identical = re.search(r"identical: ([\d,]+) inputs, ([\d,]+) outputs, digest (\w+)", told)
    assert identical
    assert identical[3] == results.meta["digest"]
    assert int(identical[1].replace(",", "")) == results.meta["inputs"]
    # Nothing of the formation part was traded, and something was after it.
    assert results.fills.height > 0
    assert results.orders["ts"].min().isoformat() >= "2026-01-05T15:05:00"  # type: ignore[union-attr]
    assert results.meta["pillars"]["risk"]["limits proven"] == 7
    assert (tmp_path / "runs/demo/run/report.html").stat().st_size > 100_000
    # The equity chart opens where positions begin, not with the flat formation part.
    assert equity(results)["layout"]["xaxis"]["range"][0] >= "2026-01-05T15:05:00"
    gained = re.search(r"^\d+ of (\d+) strategies that traded gained", told, re.MULTILINE)
    assert gained
    assert int(gained[1]) == results.fills["strategy"].n_unique()
    # The histogram's bars hold every message that led to an order.
    bars = re.findall(r"^ *[\d.]+ \w+ (?:to [\d.]+ \w+|and more) .* ([\d,]+) *$", told, re.MULTILINE)
    assert sum(int(count.replace(",", "")) for count in bars) == sum(results.meta["latency"]["count"]) > 0
    # The money's parts add up to the net, to the rounding of what is printed.
    parts = {
        row: float(re.search(rf"^{row}\s+(-?[\d,]+)", told, re.MULTILINE)[1].replace(",", ""))  # type: ignore[index]
        for row in ("from mid to mid", "half spreads paid", "fees", "net P&L")
    }
    assert parts["net P&L"] == pytest.approx(results.headline.net, abs=0.51)
    assert sum(parts.values()) == pytest.approx(2 * parts["net P&L"], abs=2.0)


def test_a_market_that_answers(tmp_path: Path) -> None:
    told = run(tmp_path, EXAMPLES / "07_a_market_that_answers.py", "--small")
    assert max(len(line) for line in told.splitlines()) <= 100
    assert list(tmp_path.iterdir()) == []
    figure = r"-?\d+\.\d\d"
    paid = [
        float(x) for x in re.findall(rf"^ +[\d,]+ +({figure}) ± .*$", told.split("A steady buyer")[0], re.MULTILINE)
    ]
    assert len(paid) == 5
    assert paid == sorted(paid), "larger blocks cost more"
    (slope,) = re.findall(rf"price paid grows as size to the power of ({figure})", told)
    assert 0.1 < float(slope) < 0.9
    steady = re.findall(rf"^ +(\d+) +({figure}) ± \S+ +({figure}) ± \S+ +({figure}) ± \S+$", told, re.MULTILINE)
    assert [row[0] for row in steady] == ["20", "50", "100", "200"]
    assert float(steady[-1][3]) > 0, "a market that answers is dearer than a recorded day"
    assert "improves by 1" in told


def test_minute_bars_without_the_data(tmp_path: Path) -> None:
    told = run(tmp_path, EXAMPLES / "02_pairs_on_minute_bars.py", tmp_path / "nothing/*.parquet")
    assert told.startswith("skipped: there is no data at")
    assert list(tmp_path.iterdir()) == []


def test_minute_bars(tmp_path: Path) -> None:
    if not BARS.is_dir():
        pytest.skip("../shared/data/us_minute_2018 is not here: the example on minute bars did not run")
    told = run(tmp_path, EXAMPLES / "02_pairs_on_minute_bars.py", BARS / "*.parquet", "--small")
    assert "426,398 bars, 184 symbols, 6 sessions" in told
    results = Results.load(tmp_path / "runs/minute_bars/run")
    assert results.orders["ts"].min().isoformat() >= "2018-02-22T14:30:00"  # type: ignore[union-attr]
    # An order that answers a bar fills at the next open of its instrument, never in the bar that it answers.
    assert (results.fills["ts_event"] >= results.orders["ts"].min()).all()
    table = [line for line in told.splitlines() if line.startswith("| ")]
    scanned = (DATA / "sp500_membership").is_dir()
    assert len(table) == 3 + scanned
    if scanned:
        found = re.search(r"1,172 pairs within a sector: (\d+) at p < 0.05, (\d+) discoveries", told)
        assert found
        assert 0 < int(found[2]) < int(found[1]) < 1_172
        assert table[-1].startswith(f"| the {found[2]} discoveries")
        assert table[-1].split("|")[6].endswith(f" of {found[2]} ")
    net = float(table[1].split("|")[2].replace(",", ""))
    assert net == pytest.approx(results.headline.net, abs=0.51)


def test_python_strategy(tmp_path: Path) -> None:
    told = run(tmp_path, EXAMPLES / "03_python_strategy.py", "--small")
    assert "market maker in Python" in told
    results = Results.load(tmp_path / "runs/market_maker/run")
    assert results.fills.filter(results.fills["liquidity"] == "maker").height > 0


def test_run_file(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "04_run_file", tmp_path / "example", ignore=shutil.ignore_patterns("*.itch"))
    folder = tmp_path / "example"
    commands = [
        line.removeprefix("#     helios ").split()
        for line in (folder / "run.toml").read_text(encoding="utf-8").splitlines()
        if line.startswith("#     helios ")
    ]
    assert [command[0] for command in commands] == ["simulate", "backtest"]
    run(folder, *HELIOS, *commands[0])
    told = json.loads(run(folder, *HELIOS, *commands[1][:-1], tmp_path / "out", "--json"))
    assert told["fills"] > 0
    assert told["warnings"] == []
    results = Results.load(tmp_path / "out")
    assert results.orders["ts"].min().isoformat() >= "2026-01-05T14:40:00"  # type: ignore[union-attr]


def test_walk_forward_without_the_data(tmp_path: Path) -> None:
    told = run(tmp_path, EXAMPLES / "05_walk_forward_pairs.py", tmp_path / "nothing")
    assert told.startswith("skipped: there is no data at")
    assert list(tmp_path.iterdir()) == []


def test_walk_forward(tmp_path: Path) -> None:
    if not (DATA / "sp500_daily_2010_2023").is_dir() or not (DATA / "sp500_membership").is_dir():
        pytest.skip("../shared/data/sp500_daily_2010_2023 is not here: the walk-forward example did not run")
    told = run(tmp_path, EXAMPLES / "05_walk_forward_pairs.py", DATA, "--small")
    rows = [[cell.strip().replace(",", "") for cell in line.split("|")[1:-1]] for line in told.splitlines()]
    by_period = {row[0]: row[1:] for row in rows if len(row) == 13}
    assert {"2012-01", "2012-07", "all"} <= by_period.keys()
    for period in ("2012-01", "2012-07"):
        members, priced, pairs, traded, gained = map(int, by_period[period][:5])
        assert members == 497
        assert 290 < priced < members
        assert pairs == 40 >= traded >= gained > 0
    # The parts add up to the net, each rounded; costs cost; and the two periods are the whole.
    for row in (by_period[period] for period in ("2012-01", "2012-07", "all")):
        gross, *costs, net = map(float, row[6:11])
        assert all(cost < 0 for cost in costs)
        assert gross + sum(costs) == pytest.approx(net, abs=3)
    whole = float(by_period["2012-01"][10]) + float(by_period["2012-07"][10])
    assert whole == pytest.approx(float(by_period["all"][10]), abs=2)
    daily = pl.read_parquet(tmp_path / "runs/walk_forward_pairs/daily.parquet")
    assert daily.height == 250  # trading days of 2012
    assert float(daily["return"].sum()) * 40 * 10_000 == pytest.approx(float(by_period["all"][10]), abs=1)
    assert "clean:" in told
    assert "after 6 trials" in re.sub(r"\s+", " ", told)
    assert (tmp_path / "runs/walk_forward_pairs/tearsheet.html").stat().st_size > 50_000


def test_order_flow_imbalance_without_the_data(tmp_path: Path) -> None:
    told = run(tmp_path, EXAMPLES / "06_order_flow_imbalance.py", tmp_path / "nothing.zip")
    assert told.startswith("skipped: there is no data at")


def test_order_flow_imbalance(tmp_path: Path) -> None:
    file = DATA / "lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"
    if not file.is_file():
        pytest.skip("../shared/data/lobster is not here: the example on order flow did not run")
    told = run(tmp_path, EXAMPLES / "06_order_flow_imbalance.py", file, "--small")
    apart = re.search(r"at 23,400 seconds: (\S+) shares apart at most", told)
    assert apart
    assert float(apart[1]) <= 1e-9
    rows = [line.split("|")[1:-1] for line in told.splitlines() if line.startswith("| ")]
    assert [len(row) for row in rows] == [4] * 6 + [4] * 10
    readings = re.findall(r"(-?\d\.\d{3}) \((-?[\d.]+)\)", told)
    assert len(readings) == 2 * (5 * 3 + 9 * 2)
    assert all(abs(float(value)) < 0.3 and abs(float(t)) < 15 for value, t in readings)


def test_from_a_catalog(tmp_path: Path) -> None:
    out = run(tmp_path, EXAMPLES / "08_from_a_catalog.py", "--small")
    rows, instruments = re.findall(r"([\d,]+) rows of (\d+) instruments", out)[0]
    assert int(rows.replace(",", "")) > 5_000
    assert instruments == "8"
    both, every = re.findall(r"([\d,]+) of ([\d,]+) fills are in both runs", out)[0]
    assert 0 < int(both.replace(",", "")) <= int(every.replace(",", ""))
    files = list((tmp_path / "runs" / "catalog" / "catalog").rglob("date=2026-01-05/*.parquet"))
    assert sum(pl.read_parquet(file).height for file in files) == int(rows.replace(",", ""))


def test_a_live_run_is_killed_and_recovers(tmp_path: Path) -> None:
    told = run(tmp_path, EXAMPLES / "09_live" / "kill_and_recover.py", "--small")
    assert re.findall(r"^(\d)\. ", told, re.MULTILINE) == list("1234")
    ours, theirs = re.findall(r"flat: (\d+) executions in our books, (\d+) in", told)[0]
    assert int(ours) == int(theirs) >= 10
    assert "4. identical: " in told
