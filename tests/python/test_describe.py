"""helios describe: the same definition gives the same text; every part that matters is in it, once."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import helios as hx
import pytest
from helios.cli import app
from helios.config import load_definition, load_run
from helios.errors import ArgumentError, ConfigError
from helios.research.describe import describe
from typer.testing import CliRunner

CLASS = """
import helios as hx

class Reversion(hx.Strategy):
    enter: float = 2.0
    exit: float = 0.5
    window: str | int = "10m"
    legs: tuple[str, str] = ("KO", "PEP")
    sizing = hx.FixedNotional(10_000)
    limits = hx.Limits(order_notional=50_000)

    def signals(self):
        a, b = self.legs
        z = (hx.mid(a).log() - hx.mid(b).log()).zscore(self.window)
        side = z.hysteresis(enter=self.enter, exit=self.exit)
        return [self.hold(a, -side), self.hold(b, side, weight=0.5), hx.record("z", side, z)]

    def on_fill(self, fill): ...

class Maker(hx.Strategy):
    timer = "5s"
    def __init__(self, size: float = 100): self.size = size
    def on_book(self, book): ...
    def on_timer(self, now): ...
"""

RUN = """
[[data]]
kind = "quotes"
path = "not_there.csv"
[limits]
order_notional = 80_000
order_rate = 5
"""

WHOLE = """\
definition of Reversion
sha256 SHA
instruments KO, PEP

strategy reversion (class Reversion)
  instruments  KO, PEP
  parameters   enter   3.0            float            default 2.0
               exit    0.5            float
               window  "10m"          str | int
               legs    ["KO", "PEP"]  tuple[str, str]
  sizing       FixedNotional(notional=10000)
  limits       order_notional  50,000
  targets      KO   N9 x 10,000 of money  on change of N8  warm-up 10m
               PEP  N8 x 5,000 of money   on change of N8  warm-up 10m
  records      reversion/z  N8 beside N7  on change of N8  warm-up 10m
  formulas     N9  -N8
               N8  hysteresis(N7, enter=3, exit=0.5)
               N7  (mid('KO').log() - mid('PEP').log()).rolling('10m').zscore()
  calls        on_fill  One of this strategy's orders traded.

signals: each node once, inputs first; null in, null out; what is divided by zero is null
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rev.py").write_text(CLASS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["describe", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_text_of_a_class(folder: Path) -> None:
    text = printed("rev.py:Reversion", "--param", "enter=3")
    assert text == printed("rev.py:Reversion", "--param", "enter=3")
    head, _, tail = text.partition("zero is null\n")
    nodes = dict(re.findall(r"^  (#\d+) +(.*?)(?:  .*)?$", tail, re.M))
    # The order of independent nodes is the graph's business; the structure is not.
    by_text = {value: name for name, value in nodes.items()}
    assert len(by_text) == len(nodes) == 9
    ko, pep = (by_text[f"log({by_text[f'mid({symbol!r})']})"] for symbol in ("KO", "PEP"))
    window = by_text[f"window of {by_text[f'{ko} - {pep}']}: last 10m"]
    z = by_text[f"zscore of {window}"]
    side = by_text[f"hysteresis({z}, enter=3, exit=0.5)"]
    want = WHOLE.replace("N9", by_text[f"-{side}"]).replace("N8", side).replace("N7", z)
    assert re.sub(r"sha256 [0-9a-f]{64}", "sha256 SHA", head + "zero is null\n") == want
    assert re.search(rf"^  {z}  zscore of {window} .* quote of KO, PEP +warm-up 10m$", tail, re.M)
    assert re.search(rf"^  {side}  hysteresis.* change of {side} +warm-up 10m$", tail, re.M)
    assert re.search(r"mid\('KO'\) +price +quote of KO$", tail, re.M)
    assert tail.endswith(
        "limits of the account: the strictest of the run's and the strategies'\n  order_notional  50,000\n"
    )


def test_json_is_the_same_definition(folder: Path) -> None:
    got = json.loads(printed("rev.py:Reversion", "--json"))
    assert got["instruments"] == ["KO", "PEP"]
    (group,) = got["strategies"]
    assert group["parameters"]["enter"] == {"value": 2.0, "type": "float", "default": 2.0}
    assert group["limits"] == got["limits"] == {"order_notional": 50_000}
    assert [(row["symbol"], row["notional"]) for row in group["targets"]] == [("KO", 10_000), ("PEP", 5_000)]
    assert {row["warm_up"]["ns"] for row in group["targets"]} == {600_000_000_000}
    rows = {row["op"]: row for row in got["nodes"]}
    assert rows["read:zscore"]["fires"] == ["quote of KO, PEP"]
    assert rows["window:time:moments"]["ints"] == [600_000_000_000, 0]
    assert rows["window:time:moments"]["inputs"] == [rows["binary:sub"]["node"]]
    assert rows["hysteresis"]["floats"] == [2.0, 0.5]
    assert rows["hysteresis"]["fires"] == group["targets"][0]["acts_on"] == [f"change of {rows['hysteresis']['node']}"]
    assert got["sha256"] in printed("rev.py:Reversion")


def test_the_digest_tells_definitions_apart(folder: Path) -> None:
    def digest(*params: str) -> str:
        return str(json.loads(printed("rev.py:Reversion", *(f"--param={p}" for p in params), "--json"))["sha256"])

    same = {digest(), digest("enter=2"), digest("enter=2.0"), digest('window="10m"'), digest("window=10m")}
    others = {digest("enter=2.0000000001"), digest("window=600"), digest('legs=["PEP", "KO"]'), digest("exit=0")}
    assert len(same) == 1
    assert len(others) == 4
    assert not same & others


def test_a_run_file_several_strategies_and_its_limits(folder: Path) -> None:
    (folder / "run.toml").write_text(
        RUN
        + dedent(
            """
            [[strategy]]
            class = "rev.py:Reversion"
            [strategy.params]
            enter = 2.5
            [[strategy]]
            class = "rev.py:Reversion"
            name = "second"
            [[strategy]]
            pairs = [["KO", "PEP", 0.9]]
            window = 20
            [[strategy]]
            class = "rev:Maker"
            params = { size = 50 }
            name = "maker2"
            """
        )
    )
    text = printed("run.toml", "--param", "exit=0.25")
    for line in (
        "definition of run",
        "instruments all of the data",
        "strategy reversion (class Reversion)",
        "  parameters   enter   2.5            float            default 2.0",
        "               exit    0.25           float            default 0.5",
        "strategy second (class Reversion)",
        "strategy KO/PEP",
        "strategy maker2 (class Maker)",
        "  parameters   size  50  float",
        "  calls        on_book   Best bid or ask changed, or a quote came.",
        "  timer        5s",
        "  order_notional  50,000",
        "  order_rate      5",
    ):
        assert line in text.splitlines(), line
    assert "warm-up 20 x quote of KO, PEP" in text
    assert re.search(r"hysteresis\(#\d+, enter=2, exit=0.25\)", text)  # of the second, and of the pair too
    assert len(re.findall(r"^  #\d+ +mid\('KO'\)", text, re.M)) == 1


def test_windows_on_windows_and_other_sources() -> None:
    close = hx.close("KO")
    x = (close.log() - close.log().rolling(5).mean()).rolling(10).std().ewm(4).mean() + hx.last("PEP").ewm(
        "1m"
    ).zscore()
    a, b = hx.together(hx.close("KO"), hx.close("PEP"))
    definition = describe([hx.target("KO", x, quantity=3), hx.record("both", a - b)])
    loose, records = definition.as_dict()["strategies"]
    (target,) = loose["targets"]
    assert target["warm_up"] == {
        "samples": [{"samples": 5 + 9 + 11, "of": "bar of KO"}],
        "ns": 180_000_000_000,
        "text": "3m and 25 x bar of KO",
    }
    assert target["acts_on"] == ["bar of KO", "trade of PEP"]
    assert target["quantity"] == 3
    assert [row["acts_on"] for row in records["records"]] == [["bar of KO with bar of PEP"]]
    assert "3 shares" in str(definition)
    assert "records of no strategy" in str(definition)


def test_series_calendars_and_sizes_are_part_of_it() -> None:
    def definition(hour: int) -> dict[str, Any]:
        hours = [(datetime(2026, 1, day, 14), datetime(2026, 1, day, hour)) for day in range(1, 31)]
        hours += [(datetime(2026, 2, day, 14), datetime(2026, 2, day, 21)) for day in range(1, 29)]
        value = hx.series("mood").only(hx.session(hours=hours).is_open)
        return describe(hx.target("KO", value, notional=1 / 3)).as_dict()

    one, other = definition(20), definition(21)
    assert one["series"] == ["mood"]
    assert one["sha256"] != other["sha256"]
    (calendar,) = [row for row in one["nodes"] if row["op"] == "session"]
    assert calendar["ints"]["count"] == 2 * 58
    assert calendar["text"] == "session('hours'): 58 from 2026-01-01 to 2026-02-28"
    (target,) = one["strategies"][0]["targets"]
    assert target["acts_on"] == ["value of series('mood')"]
    assert target["notional"] == round(target["notional"] * 1e9) / 1e9 == pytest.approx(1 / 3, rel=1e-6)


def test_a_size_says_when_it_is_warm_and_leaves_out_what_is_not_given() -> None:
    sizing = hx.VolatilityTarget(annual=0.1, capital=1e6, window=20, periods=252)

    class Sized(hx.Strategy):
        universe = ("KO",)

        def signals(self) -> Any:
            return self.hold("KO", hx.close("KO").zscore(5).hysteresis(enter=1, exit=0))

    Sized.sizing = sizing
    definition = describe(Sized())
    text = "VolatilityTarget(annual=0.1, capital=1000000.0, window=20, periods=252, price='close', max_leverage=1.0)"
    assert f"  sizing       {text}" in str(definition).splitlines()
    (target,) = definition.content["strategies"][0]["targets"]
    assert target["warm_up"]["text"] == "21 x bar of KO"  # 20 returns
    assert re.fullmatch(r"change of #\d+, #\d+", *target["acts_on"])


def test_a_run_in_python_and_the_default_name(folder: Path) -> None:
    (folder / "run.py").write_text(
        dedent(
            """
            import helios as hx, polars as pl
            from datetime import datetime
            t = pl.DataFrame({"ts": [datetime(2026, 1, 5)], "symbol": ["KO"], "price": [1.0], "size": [1]})
            wish = hx.target("KO", hx.last("KO").sign(), quantity=1)
            run = hx.Backtest(data=hx.trades(t), strategy=wish, name="mine")
            """
        )
    )
    assert printed("run.py").startswith("definition of mine\n")
    with pytest.raises(ConfigError, match="no strategy of this run has a parameter 'enter'"):
        load_definition("run.py", {"enter": "1"})


@pytest.mark.parametrize(
    ("text", "params", "says"),
    [
        ("rev.py:Nobody", {}, "rev.py has no Strategy class 'Nobody'. There are Reversion, Maker."),
        ("rev.py:Reversio", {}, "Did you mean 'Reversion'?"),
        ("nowhere.py:Reversion", {}, "no such Python file"),
        ("nowhere.module:Reversion", {}, "there is no module 'nowhere.module'"),
        ("nowhere.toml", {}, "no such run file"),
        ("rev.py:Reversion", {"entre": "3"}, "no parameter is named 'entre': did you mean enter"),
        ("rev.py:Reversion", {"enter": "high"}, "enter is 'high': expected float, got str"),
        ("rev.py:Reversion", {"enter": "0.1"}, "enter=0.1 exit=0.5, but enter > exit"),
    ],
)
def test_what_cannot_be_described(folder: Path, text: str, params: dict[str, str], says: str) -> None:
    with pytest.raises((ConfigError, ArgumentError)) as caught:
        describe(load_definition(text, params)[1])
    assert says in str(caught.value)


def test_options_are_written_name_equals_value(folder: Path) -> None:
    for wrong in ("enter", "=3", "enter="):
        with pytest.raises(ArgumentError, match="write it as NAME=VALUE"):
            printed("rev.py:Reversion", "--param", wrong)
    with pytest.raises(ArgumentError, match="nothing to describe"):
        describe([])


def test_run_files_with_typed_strategies_run(folder: Path) -> None:
    rows = ["ts,symbol,bid,bid_size,ask,ask_size"]
    for i in range(300):
        wave = 0.5 if i // 10 % 2 else 0.0
        rows += [
            f"2026-01-05T14:{30 + i // 60:02d}:{i % 60:02d},{s},{p},900,{p + 0.02},900"
            for s, p in (("KO", 60 + wave), ("PEP", 60))
        ]
    (folder / "not_there.csv").write_text("\n".join(rows))
    both = '[[strategy]]\nclass = "rev.py:Reversion"\nparams = { window = 30, enter = 1 }\n'
    (folder / "run.toml").write_text(RUN + both + both + 'name = "second"\n')
    run = load_run(folder / "run.toml").run()
    assert run.strategies["strategy"].to_list() == ["reversion", "second"]
    assert run.meta["config"]["parameters"]["second"]["window"] == 30
    assert run.fills.height > 0
    assert run.meta["config"]["limits"] == {"order_notional": 50_000, "order_rate": 5}
    for params, says in (("{ windw = 30 }", "did you mean window"), ("{ enter = 'x' }", "enter is 'x'")):
        (folder / "run.toml").write_text(RUN + f'[strategy]\nclass = "rev.py:Reversion"\nparams = {params}\n')
        with pytest.raises(ConfigError, match=says) as caught:
            load_run(folder / "run.toml")
        assert caught.value.key == "strategy.params"


def test_compiled_methods_are_told_from_those_in_python() -> None:
    pytest.importorskip("numba")

    def on_book(event, books, p, memory, out): ...  # type: ignore[no-untyped-def]

    mixed = type("Mixed", (hx.Strategy,), {"on_book": hx.compiled(on_book), "on_fill": lambda self, fill: None})()
    lines = str(describe(mixed)).splitlines()
    assert "  calls        on_fill  One of this strategy's orders traded." in lines
    assert "  compiled     on_book  Best bid or ask changed, or a quote came." in lines
