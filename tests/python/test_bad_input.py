"""Bad input, end to end: one clear message that says where and what to do, and what was good before it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import helios as hx
import polars as pl
import pytest
from helios.cli import app
from helios.errors import DataError, HeliosError
from helios.research.replay import replay
from test_itch_files import DAY, OPEN, add, deleted, directory, framed, message
from typer.testing import CliRunner

T0 = datetime(2026, 1, 5, 14, 30)
GOOD = 40

Table = dict[str, list[object]]
Change = Callable[[Table], None]


def rows(kind: str) -> Table:
    """A good table of 60 rows, as text would have it."""
    n = range(60)
    ts: list[object] = [(T0 + timedelta(minutes=i)).isoformat() for i in n]
    common: Table = {"ts": ts, "symbol": ["KO"] * 60}
    price = [10 + i % 7 * 0.01 for i in n]
    if kind == "quotes":
        return common | {
            "bid": [f"{p:.2f}" for p in price],
            "bid_size": [100] * 60,
            "ask": [f"{p + 0.02:.2f}" for p in price],
            "ask_size": [100] * 60,
        }
    if kind == "trades":
        return common | {"price": [f"{p:.2f}" for p in price], "size": [5] * 60}
    return common | {
        "open": [f"{p:.2f}" for p in price],
        "high": [f"{p + 0.05:.2f}" for p in price],
        "low": [f"{p - 0.05:.2f}" for p in price],
        "close": [f"{p:.2f}" for p in price],
        "volume": [100] * 60,
    }


def put(column: str, value: object, row: int = GOOD) -> Change:
    def change(table: Table) -> None:
        table[column][row] = value

    return change


def swap(column: str) -> Change:
    def change(table: Table) -> None:
        cells = table[column]
        cells[GOOD], cells[GOOD - 1] = cells[GOOD - 1], cells[GOOD]

    return change


def drop(column: str) -> Change:
    def change(table: Table) -> None:
        del table[column]

    return change


def rename(column: str, name: str) -> Change:
    def change(table: Table) -> None:
        table[name] = table.pop(column)

    return change


def scale(columns: str, factor: float) -> Change:
    def change(table: Table) -> None:
        for column in columns.split():
            table[column] = [round(float(str(cell)) * factor) for cell in table[column]]

    return change


def seconds(unit: int) -> Change:
    def change(table: Table) -> None:
        table["ts"] = [round(datetime.fromisoformat(f"{cell}+00:00").timestamp()) * unit for cell in table["ts"]]

    return change


def write(folder: Path, kind: str, change: Change, options: str = "") -> Path:
    """A run file over a CSV of that kind with that change."""
    table = rows(kind)
    change(table)
    text_of = {name: [None if cell is None else str(cell) for cell in cells] for name, cells in table.items()}
    pl.DataFrame(text_of).write_csv(folder / "data.csv")
    text = f"""
        [[data]]
        kind = "{kind}"
        path = "data.csv"
        {options}
        [strategy]
        kind = "class"
        class = "watch.py:Watch"
        """
    (folder / "watch.py").write_text(
        "import helios as hx\n"
        "class Watch(hx.Strategy):\n"
        "    def on_book(self, book): self.target('KO', 1)\n"
        "    def on_trade(self, trade): pass\n"
        "    def on_bar(self, bar): self.target('KO', 1)\n"
    )
    (folder / "run.toml").write_text("\n".join(line.strip() for line in text.splitlines()))
    return folder / "run.toml"


def failure(run: Path, out: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        CliRunner().invoke(app, ["backtest", str(run), "--out", str(out)], catch_exceptions=False)
    return caught.value


# ---- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "change", "column", "says"),
    [
        ("bars", put("close", "NaN"), "close", "missing or not a number"),
        ("bars", put("open", None), "open", "missing or not a number"),
        ("bars", put("volume", "-5"), "volume", "volume is negative"),
        ("bars", put("low", "-1"), "low", "price is not positive"),
        ("bars", put("open", "0"), "open", "price is not positive"),
        ("bars", put("high", "9.0"), "high", "high is below low"),
        ("bars", put("close", "99"), "close", "close is outside low .. high"),
        ("bars", put("close", "ten"), "close", "ten: missing or not a number"),
        ("bars", put("high", "1e300"), "high", "too large for 64 bits: wrong unit?"),
        ("bars", put("ts", "yesterday"), "ts", "no usable time"),
        ("bars", put("symbol", None), "symbol", "no symbol"),
        ("bars", swap("ts"), "ts", "time goes back"),
        ("quotes", put("bid", "10.50"), "bid", "bid is above ask"),
        ("quotes", put("ask", "-10"), "ask", "price is not positive"),
        ("quotes", put("bid", "NaN"), "bid", "its size is not zero"),
        ("quotes", put("ask_size", "-1"), "ask_size", "size is not positive"),
        ("quotes", swap("ts"), "ts", "time goes back"),
        ("trades", put("price", "inf"), "price", "too large for 64 bits"),
        ("trades", put("price", "-0.01"), "price", "price is not positive"),
        ("trades", put("size", "0"), "size", "size is not positive"),
        ("trades", swap("ts"), "ts", "time goes back"),
    ],
)
def test_a_bad_row_is_named_and_the_rows_before_it_are_journaled(
    kind: str, change: Change, column: str, says: str, tmp_path: Path
) -> None:
    run = write(tmp_path, kind, change)
    error = failure(run, tmp_path / "out")
    text = str(error)
    assert says in text
    assert str(tmp_path / "data.csv") in text
    assert (error.row, error.column) == (GOOD, column)
    assert f"row {GOOD}" in text
    assert error.hint is not None, "it says what to do"
    assert error.good_rows == GOOD
    assert f"{GOOD} rows before it were good" in text
    replayed = replay(tmp_path / "out")
    assert replayed.difference is None
    assert replayed.inputs >= GOOD, "all good rows, and what came of them"
    # With leave to skip, that row alone is missing, and counted.
    run = write(tmp_path, kind, change, 'on_error = "skip"')
    result = CliRunner().invoke(app, ["backtest", str(run), "--json"], catch_exceptions=False)
    found = json.loads(result.stdout)
    assert found["events"] == 59
    (warning,) = found["warnings"]
    assert "1 rows left out" in warning
    assert f"row {GOOD}" in warning


# ---- whole files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "change", "options", "says"),
    [
        ("bars", drop("close"), "", "no column for 'close'"),
        ("quotes", drop("ask"), "", "no column for 'ask'"),
        ("trades", rename("price", "prise"), "", "price='prise'"),
        ("bars", drop("symbol"), "", "no column for 'symbol'"),
        ("bars", drop("ts"), "", "no column for 'ts'"),
        ("bars", scale("open high low close", 1e9), "", "Pass price_unit=1e-4 (or 1e-2, 1e-9, …)"),
        ("quotes", scale("bid ask", 1e9), "", "this looks like whole steps of a smaller unit"),
        ("bars", seconds(1), "", "Looks like seconds: pass ts_unit='s'"),
        ("bars", seconds(1_000), "", "Looks like milliseconds: pass ts_unit='ms'"),
        ("bars", seconds(1_000), 'ts_unit = "s"\nspan = "1m"', "Looks like milliseconds: pass ts_unit='ms'"),
    ],
)
def test_missing_columns_and_wrong_units_say_what_to_pass(
    kind: str, change: Change, options: str, says: str, tmp_path: Path
) -> None:
    error = failure(write(tmp_path, kind, change, options), tmp_path / "out")
    assert says in str(error)
    assert str(tmp_path / "data.csv") in str(error)


def test_right_units_are_taken(tmp_path: Path) -> None:
    run = write(tmp_path, "bars", seconds(1_000), 'ts_unit = "ms"')
    result = CliRunner().invoke(app, ["backtest", str(run), "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["events"] == 60


@pytest.mark.parametrize("kind", ["parquet", "csv.gz"])
def test_a_truncated_table(kind: str, tmp_path: Path) -> None:
    import gzip

    table = pl.DataFrame(rows("quotes")).with_columns(pl.col("bid", "ask").cast(pl.Float64))
    path = tmp_path / f"data.{kind}"
    if kind == "parquet":
        table.write_parquet(path)
    else:
        path.write_bytes(gzip.compress(table.write_csv().encode()))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="may be damaged or cut") as caught:
        hx.Backtest(data=hx.quotes(path), strategy=hx.record("m", hx.mid("KO"))).run()
    assert caught.value.source == str(path)


# ---- order-level data ------------------------------------------------------------------------------------------------


def itch_run(tmp_path: Path, *messages: bytes, tail: bytes = b"") -> hx.Results:
    path = tmp_path / "day.itch"
    path.write_bytes(framed(*messages) + tail)
    return hx.Backtest(data=hx.itch(path, date="2026-01-05"), strategy=hx.record("m", hx.mid("KO"))).run(
        tmp_path / "out", report=False
    )


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (deleted(OPEN + 9, 99), "unknown_order"),
        (add(OPEN + 9, 1, "B", 5, 9.0), "duplicate_order"),
        (message("X", OPEN + 9, (1).to_bytes(8), (500).to_bytes(4)), "exceeds_quantity"),
        (add(OPEN + 9, 60, "B", 0, 9.0), "bad_value"),
        (add(OPEN + 9, 61, "B", 10, 99.0), "crossed"),
        (add(OPEN - 9, 62, "B", 10, 9.0), "time_backwards"),
    ],
)
def test_a_message_that_cannot_be_is_counted_in_the_results(bad: bytes, kind: str, tmp_path: Path) -> None:
    run = itch_run(tmp_path, *DAY, bad)
    assert run.quality.rows() == [("KO", kind, 1)]
    assert run.meta["events"] == 7
    assert run.meta["pillars"]["data"]["faults"] == 1
    assert replay(tmp_path / "out").identical


@pytest.mark.parametrize(
    ("bad", "tail", "says"),
    [
        (b"z" + bytes(30), b"", "unknown message type 'z'"),
        (deleted(OPEN + 9, 1) + b"!", b"", "it was skipped"),
        (directory("XX", 3), b"\x00\x24A\x00", "everything before it is whole"),
    ],
    ids=["type", "length", "cut"],
)
def test_a_broken_message_is_a_warning_with_file_and_offset(bad: bytes, tail: bytes, says: str, tmp_path: Path) -> None:
    run = itch_run(tmp_path, *DAY, bad, tail=tail)
    (warning,) = run.meta["warnings"]
    assert says in warning
    assert str(tmp_path / "day.itch") in warning
    assert f"offset {len(framed(*DAY)) + 2}" in warning or f"offset {len(framed(*DAY, bad))}" in warning
    assert run.meta["events"] == 6, "what was good is used"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["warnings"] == [warning]


def test_every_error_of_ours_has_one_root() -> None:
    for name in ("ArgumentError", "ConfigError", "DataError", "ReplayMismatch", "RunError"):
        assert issubclass(getattr(hx, name), HeliosError)
