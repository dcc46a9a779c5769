"""The command line, as a shell sees it: what is printed, where, and the exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import polars as pl
import pytest
from helios.cli import app
from helios.errors import ArgumentError
from test_itch_files import DAY, OPEN, deleted, framed
from typer.testing import CliRunner

ANSI_FREE = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120"}


def shell(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The installed command in a process of its own."""
    code = "from helios.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **ANSI_FREE},
    )


def printed(*arguments: object, code: int = 0) -> str:
    """Standard output in this process; the exit code is checked."""
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated day, a run file that trades it, and its run."""
    folder = tmp_path_factory.mktemp("cli")
    done = shell(
        "simulate", "--symbols", 4, "--minutes", 6, "--seed", 7, "--group-size", 2, "--out", folder / "day.itch"
    )
    assert done.returncode == 0, done.stderr
    symbols = sorted(json.loads(printed("itch", "stats", folder / "day.itch", "--json"))["counts"].items())
    assert ("R", 4) in symbols
    from helios import _core

    a, b, *_ = sorted(_core.itch_directory(folder / "day.itch"))
    (folder / "run.toml").write_text(
        dedent(
            f"""
            name = "four"
            sample = "10s"
            [[data]]
            kind = "itch"
            path = "day.itch"
            date = 2026-01-05
            [strategy]
            kind = "pairs"
            pairs = [["{a}", "{b}", 1.0]]
            window = "20s"
            enter = 1.0
            [venue]
            order_latency = "50us"
            taker_per_share = 0.003
            [limits]
            order_notional = 50_000
            """
        )
    )
    done = shell("backtest", "run.toml", "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


# ---- what is loaded --------------------------------------------------------------------------------------------------


def test_importing_helios_imports_none_of_the_heavy_packages() -> None:
    code = "import sys, helios; print(*sorted(sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "helios" in loaded
    heavy = {"numpy", "polars", "pandas", "pyarrow", "plotly", "typer", "rich", "msgspec", "helios._core"}
    assert not heavy & loaded
    assert {name for name in loaded if name.startswith("helios.")} == set()


def test_every_public_name_is_there() -> None:
    code = "import helios; print(all(getattr(helios, n) is not None for n in helios.__all__), helios.__version__)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out[0] == "True"
    assert out[1][0].isdigit()
    import helios

    assert set(helios.__all__) < set(dir(helios))
    with pytest.raises(AttributeError, match="has no attribute 'mids'"):
        _ = helios.mids


# ---- simulate --------------------------------------------------------------------------------------------------------


def test_simulate_is_the_same_for_the_same_seed(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 8)):
        out = tmp_path / name
        done = shell("simulate", "--symbols", 4, "--minutes", 6, "--seed", seed, "--group-size", 2, "--out", out)
        assert done.returncode == 0
        assert f"{out}: {out.stat().st_size:,} bytes, 4 symbols, 6 minutes, seed {seed}" in done.stdout
    day = (folder / "day.itch").read_bytes()
    assert (tmp_path / "a").read_bytes() == day
    assert (tmp_path / "b").read_bytes() != day


@pytest.mark.parametrize(
    "wrong", [("--symbols", 0), ("--symbols", -1), ("--minutes", 0), ("--rate", 0), ("--seed", -1)]
)
def test_simulate_refuses_what_cannot_be(wrong: tuple[str, int], tmp_path: Path) -> None:
    done = shell("simulate", "--symbols", 2, "--minutes", 1, *wrong, "--out", tmp_path / "day")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: simulation setting")
    assert str(wrong[1]) in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_simulate_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = shell("simulate", "--symbols", 1, "--minutes", 1, "--group-size", 1, "--out", tmp_path / "no" / "day")
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr


# ---- itch ------------------------------------------------------------------------------------------------------------


def test_stats_of_a_simulated_day_have_no_fault(folder: Path) -> None:
    found = json.loads(printed("itch", "stats", folder / "day.itch", "--json"))
    assert (found["errors"], found["unknown_references"], found["refused_changes"], found["time_backwards"]) == (
        0,
        0,
        0,
        0,
    )
    assert found["messages"] == sum(found["counts"].values()) > 5_000
    text = shell("itch", "stats", folder / "day.itch")
    assert text.returncode == 0
    assert str(folder / "day.itch") in text.stdout
    assert f"{found['messages']:,} messages, {found['first']} to {found['last']}" in text.stdout
    assert "0 errors, 0 unknown references" in text.stdout
    assert found["books_digest"] in text.stdout


def test_stats_show_faults_and_still_count(tmp_path: Path) -> None:
    path = tmp_path / "day.itch"
    path.write_bytes(framed(*DAY, deleted(OPEN + 9, 77))[:-1] + b"x" + framed(DAY[0])[:-1])
    done = shell("itch", "stats", path)
    assert done.returncode == 0
    assert "11 messages" in done.stdout
    assert "! truncated: the message at offset" in done.stdout
    assert "of order" in done.stdout


def test_book_as_text_and_as_json(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "day.itch"
    path.write_bytes(framed(*DAY))
    text = shell("itch", "book", path, "--symbol", "KO")
    assert text.returncode == 0
    assert "KO at 09:30:00.000000005" in text.stdout
    for shown in ("10.0000", "220", "10.0300", "60"):
        assert shown in text.stdout
    assert "no message yet" in shell("itch", "book", path, "--symbol", "KO", "--at", "09:00:00").stdout
    found = json.loads(shell("itch", "book", path, "--symbol", "KO", "--json").stdout)
    assert list(found) == ["symbol", "ts", "bids", "asks"]


@pytest.mark.parametrize(
    "at",
    ["", "9", "09:30:60", "09:60:00", "24:00:00", "99:00:00", "09:30:00.", "09:30:00.1234567890", "9am", "-1:00:00"],
)
def test_a_moment_that_is_none(at: str, tmp_path: Path) -> None:
    path = tmp_path / "day.itch"
    path.write_bytes(framed(*DAY))
    with pytest.raises(ArgumentError, match="write a time of day as HH:MM:SS"):
        printed("itch", "book", path, "--symbol", "KO", f"--at={at}")


def test_a_fraction_of_a_second_is_read_from_the_left(tmp_path: Path) -> None:
    path = tmp_path / "day.itch"
    path.write_bytes(framed(*DAY))
    at = {
        text: json.loads(printed("itch", "book", path, "--symbol", "KO", "--at", text, "--json"))["ts"]
        for text in (
            "09:30:00.000000004",
            "09:30:00.00000000",
            "09:30:00.1",
        )
    }
    assert list(at.values()) == ["09:30:00.000000004", "09:30:00.000000000", "09:30:00.000000005"]


def test_errors_are_one_message_and_exit_code_one(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.itch").write_text("hello, this is no market data\n")
    for arguments, says in (
        (("itch", "stats", tmp_path / "none.itch"), "No such file"),
        (("itch", "stats", tmp_path), "directory"),
        (("itch", "stats", tmp_path / "text.itch"), "no ITCH 5.0 message"),
        (("itch", "book", folder / "day.itch", "--symbol", "NOPE"), "is listed in this file"),
        (("itch", "book", folder / "day.itch", "--symbol", "A", "--at", "noon"), "HH:MM:SS"),
        (("lobster", "check", tmp_path / "none.zip"), "none.zip"),
        (("lobster", "check", folder / "day.itch"), "day.itch"),
        (("backtest", tmp_path / "none.toml"), "no such run file"),
        (("backtest", folder / "day.itch"), "ends in .toml or .py"),
        (("replay", tmp_path), "there is no journal"),
        (("replay", folder / "day.itch"), "does not begin as a Helios journal"),
        (("bench", "everything"), "there are itch, book, step, backtest"),
    ):
        done = shell(*arguments)
        assert done.returncode == 1, arguments
        assert done.stdout == "", arguments
        assert done.stderr.startswith("error: "), done.stderr
        assert says in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_wrong_usage_is_exit_code_two() -> None:
    for arguments in (
        ("itch", "book", "x"),
        ("nothing",),
        ("itch", "book", "x", "--symbol", "A", "--levels", "0"),
        ("bench",),
    ):
        assert shell(*arguments).returncode == 2
    helped = shell("--help")
    assert helped.returncode == 0
    for command in ("simulate", "itch", "lobster", "backtest", "replay", "bench"):
        assert command in helped.stdout


# ---- lobster ---------------------------------------------------------------------------------------------------------


def lobster_files(folder: Path, wrong: bool) -> Path:
    import zipfile

    messages = ["34200.1,1,1,100,1000000,1", "34200.2,1,2,50,1000200,-1", "34200.3,4,1,40,1000000,1"]
    key = [
        "9999999999,0,1000000,100",
        "1000200,50,1000000,100",
        f"1000200,50,1000000,{61 if wrong else 60}",
    ]
    path = folder / "KO_2026-01-05.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("KO_2026-01-05_34200000_57600000_message_1.csv", "\n".join(messages) + "\n")
        archive.writestr("KO_2026-01-05_34200000_57600000_orderbook_1.csv", "\n".join(key) + "\n")
    return path


def test_lobster_check_agrees_or_names_the_first_difference(tmp_path: Path) -> None:
    path = lobster_files(tmp_path, wrong=False)
    assert json.loads(printed("lobster", "check", path, "--json"))["agree"] == 2
    assert "2 of 2 rows agree, 1 skipped" in printed("lobster", "check", path)
    path = lobster_files(tmp_path, wrong=True)
    found = json.loads(printed("lobster", "check", path, "--json", code=1))
    assert (found["checked"], found["agree"]) == (2, 1)
    assert "first difference" in printed("lobster", "check", path, code=1)


# ---- backtest and replay ---------------------------------------------------------------------------------------------


def test_backtest_prints_a_summary_and_writes_a_folder(folder: Path) -> None:
    text = (folder / "stdout.txt").read_text()
    assert "four" in text
    assert "report.html" in text
    for pillar in ("data", "signals", "risk", "execution"):
        assert pillar in text.lower()
    assert {"run.json", "journal.hj", "report.html", "fills.parquet"} <= {p.name for p in (folder / "out").iterdir()}


def test_backtest_as_json_has_the_digest_of_the_folder(folder: Path, tmp_path: Path) -> None:
    meta = json.loads((folder / "out" / "run.json").read_text())
    done = shell("backtest", folder / "run.toml", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["digest"] == meta["digest"], "two runs, one digest"
    assert found["name"] == "four"
    assert found["folder"] == str(tmp_path / "out")
    fills = pl.read_parquet(tmp_path / "out" / "fills.parquet")
    assert found["fills"] == fills.height > 0
    assert found["fees"] == pytest.approx(fills["fee"].sum(), abs=1e-6)
    no_folder = json.loads(shell("backtest", folder / "run.toml", "--json").stdout)
    assert (no_folder["digest"], no_folder["folder"]) == (meta["digest"], None)


def test_backtest_into_a_folder_in_use(folder: Path) -> None:
    before = (folder / "out" / "run.json").stat().st_mtime_ns
    done = shell("backtest", folder / "run.toml", "--out", folder / "out")
    assert done.returncode == 1
    assert "exists and is not empty" in done.stderr
    assert (folder / "out" / "run.json").stat().st_mtime_ns == before
    again = shell("backtest", folder / "run.toml", "--out", folder / "out", "--overwrite", "--json")
    assert again.returncode == 0, again.stderr


def test_backtest_of_python_files(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("import helios as hx\nlimits = 1\n")
    done = shell("backtest", tmp_path / "run.py")
    assert done.returncode == 1
    assert "a run file defines `run`" in done.stderr
    (tmp_path / "boom.py").write_text("import helios as hx\nraise RuntimeError('mine')\n")
    done = shell("backtest", tmp_path / "boom.py")
    assert done.returncode == 1
    assert "boom.py" in done.stderr, "the traceback shows the line"
    assert "RuntimeError: mine" in done.stderr


def test_a_misspelt_key_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text((folder / "run.toml").read_text().replace("order_notional", "order_notionl"))
    done = shell("backtest", path)
    assert done.returncode == 1
    assert f"{path}, key 'limits.order_notionl': unknown key. Did you mean 'order_notional'?" in done.stderr.replace(
        "\n", " "
    )


def test_replay_of_a_run(folder: Path) -> None:
    meta = json.loads((folder / "out" / "run.json").read_text())
    for place in (folder / "out", folder / "out" / "journal.hj"):
        done = shell("replay", place)
        assert done.returncode == 0, done.stderr
        assert done.stdout == (
            f"identical: {meta['inputs']:,} inputs, {meta['outputs']:,} outputs, digest {meta['digest']}\n"
        )
    found = json.loads(printed("replay", folder / "out", "--json"))
    assert found == {
        "identical": True,
        "inputs": meta["inputs"],
        "outputs": meta["outputs"],
        "digest": meta["digest"],
        "difference": None,
        "damage": None,
        "ends": "closed",
        "live": False,
    }


@pytest.mark.parametrize(
    ("ends", "live", "identical"),
    [
        ("open", True, True),
        ("torn", True, True),
        ("otherwise", True, False),
        ("open", False, False),
        ("torn", False, False),
    ],
)
def test_only_a_live_journal_may_be_open(ends: str, live: bool, identical: bool) -> None:
    from helios.research.replay import Replayed

    replayed = Replayed(3, 2, "0", None, "the run did not close its journal", ends, live)
    assert (replayed.identical, replayed.as_dict()["identical"]) == (identical, identical)
    assert not Replayed(3, 2, "0", "output 1 of input 2 was another", None, ends, live).identical


def test_replay_of_a_damaged_journal_says_where_and_exits_with_one(folder: Path, tmp_path: Path) -> None:
    data = bytearray((folder / "out" / "journal.hj").read_bytes())
    middle = len(data) // 2
    data[middle] ^= 1
    (tmp_path / "journal.hj").write_bytes(data)
    done = shell("replay", tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "journal damaged at byte" in done.stderr
    assert "outputs before it are the same" in done.stderr.replace("\n", " ")
    done = shell("replay", tmp_path, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["identical"] is False
    assert found["inputs"] > 1_000
    assert abs(int(found["damage"].split("at byte ")[1].split()[0]) - middle) < 200
    (tmp_path / "journal.hj").write_bytes(data[: middle - 50])
    done = shell("replay", tmp_path)
    assert done.returncode == 1
    assert "the file ends after" in done.stderr or "did not close its journal" in done.stderr


def test_output_can_be_cut_off_by_the_reader(folder: Path) -> None:
    command = f"{sys.executable} -c 'from helios.cli import main; main()' itch stats {folder / 'day.itch'} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_bench_measures_small(folder: Path) -> None:
    found = json.loads(printed("bench", "itch", "--small", "--json"))
    assert all(value is not None for value in found.values())
    assert any("ns" in key for key in found)
