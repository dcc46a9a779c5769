"""Run files: what they can say, and that a wrong key or value is named with its place and the near one."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from textwrap import dedent

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.config import load_run
from helios.errors import ConfigError, DataError, HeliosError

T0 = datetime(2026, 1, 5, 14, 30)

WHOLE = """
name = "two drinks"
cash = 500_000
seed = 3
tick = 0.01
lot = 1
sample = "1m"
marks = "5m"
latency = true

[[data]]
kind = "quotes"
path = "quotes.csv"

[strategy]
kind = "pairs"
pairs = [["KO", "PEP", 0.4]]
window = "30s"
enter = 1.0
exit = 0.25
notional = 5_000

[venue]
order_latency = "50us"
report_latency = "0us"
taker_per_share = 0.003
maker_bp = -0.1
half_spread_bp = 1.5
day_begins = "5h"
self_trade = "cancel_both"
auction_share = 0.2
price_band = 0.05

[execution]
style = "touch"
ticks = 1

[limits]
order_notional = 50_000
order_rate = 100
price_collar = 0.05
daily_loss = 5_000.0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two symbols' quotes, one-minute bars and a strategy class."""
    rng = np.random.default_rng(5)
    n = 600
    mid = {"KO": 60 + np.cumsum(rng.normal(0, 0.01, n)), "PEP": 150 + np.cumsum(rng.normal(0, 0.02, n))}
    rows = [
        {"ts": T0 + timedelta(seconds=i), "symbol": s, "bid": round(mid[s][i], 2), "bid_size": 900}
        | {"ask": round(mid[s][i], 2) + 0.02, "ask_size": 900}
        for i in range(n)
        for s in mid
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "quotes.csv")
    (tmp_path / "mine.py").write_text(
        dedent(
            """
            import helios as hx

            class Mine(hx.Strategy):
                name = "mine"
                def __init__(self, size, symbol="KO"):
                    self.size, self.symbol, self.done = size, symbol, False
                def on_book(self, book):
                    if not self.done and book.symbol == self.symbol:
                        self.buy(self.symbol, self.size)
                        self.done = True

            class Other:
                pass
            """
        )
    )
    return tmp_path


def write(folder: Path, text: str, name: str = "run.toml") -> Path:
    path = folder / name
    path.write_text(dedent(text))
    return path


def refused(folder: Path, text: str, name: str = "run.toml") -> ConfigError:
    path = write(folder, text, name)
    with pytest.raises(ConfigError) as caught:
        load_run(path)
    assert caught.value.file is not None
    assert str(folder) in caught.value.file
    assert str(caught.value).startswith(caught.value.file), "the place comes first"
    return caught.value


# ---- what they can say -----------------------------------------------------------------------------------------------


def test_every_key_arrives(folder: Path) -> None:
    run = load_run(write(folder, WHOLE))
    assert (run.name, run.cash, run.seed, run.sample, run.marks, run.latency) == (
        "two drinks",
        500_000,
        3,
        "1m",
        "5m",
        True,
    )
    assert run.execution == hx.Execution(style="touch", ticks=1)
    assert run.limits == hx.Limits(order_notional=50_000, order_rate=100, price_collar=0.05, daily_loss=5_000)
    assert run.venue.spec() == {
        "feed_latency": ("constant", [0], []),
        "order_latency": ("constant", [50_000], []),
        "report_latency": ("constant", [0], []),
        "impacts": [],
        "fees": {
            "maker_per_share": 0,
            "taker_per_share": 3_000,
            "maker_ppm": -10,
            "taker_ppm": 0,
            "minimum_per_order": 0,
        },
        "half_spread_fixed": 0,
        "half_spread_ppm": 150,
        "day_begins_ns": 5 * 3600 * 10**9,
        "hours": [],
        "self_trade": "cancel_both",
        "auction_share_ppm": 200_000,
        "price_band_ppm": 50_000,
        "queue": ("pessimistic", 0),
        "fast": False,
        "account": {
            "tiers": [],
            "volume_is_notional": False,
            "window_days": 30,
            "sale": (0, 0, 0),
            "borrow": [],
            "borrow_of": [],
            "debit": [],
            "credit": [],
            "not_shortable": [],
            "days_per_year": 360,
        },
    }
    results = run.run()
    assert results.meta["name"] == "two drinks"
    assert results.strategies["strategy"].to_list() == ["KO/PEP"]
    assert results.fills.height > 0


def test_a_toml_and_the_same_in_python_have_one_digest(folder: Path) -> None:
    short = """
        [[data]]
        kind = "quotes"
        path = "quotes.csv"
        [strategy]
        kind = "pairs"
        pairs = [["KO", "PEP", 0.4]]
        window = 40
        """
    code = """
        import helios as hx
        from pathlib import Path
        run = hx.Backtest(
            data=hx.quotes(Path(__file__).parent / "quotes.csv"),
            strategy=hx.pair("KO", "PEP", beta=0.4, window=40),
        )
        """
    as_function = code.replace("run = ", "def run(): return ")
    digests = {
        load_run(write(folder, text, name)).run().meta["digest"]
        for text, name in ((short, "a.toml"), (code, "b.py"), (as_function, "c.py"))
    }
    assert len(digests) == 1


@pytest.mark.parametrize("start", ["2026-01-05T14:35:00", "2026-01-05T14:35:00Z", '"2026-01-05T09:35:00-05:00"'])
def test_a_start_is_a_moment(folder: Path, start: str) -> None:
    whole = load_run(write(folder, WHOLE)).run()
    late = load_run(write(folder, WHOLE.replace("seed = 3", f"seed = 3\nstart = {start}"))).run()
    assert 0 < late.fills.height < whole.fills.height
    assert late.fills["ts"].dt.replace_time_zone(None).min() >= T0 + timedelta(minutes=5)
    assert late.signals.height == whole.signals.height


def test_pairs_come_from_a_file_too(folder: Path) -> None:
    (folder / "pairs.csv").write_text("a,b,beta,note\nKO,PEP,0.4,x\nPEP,KO,2,y\n")
    text = WHOLE.replace('pairs = [["KO", "PEP", 0.4]]', 'file = "pairs.csv"')
    assert load_run(write(folder, text)).run().meta["config"]["strategies"] == 2


def test_a_class_with_parameters(folder: Path) -> None:
    text = """
        [[data]]
        kind = "quotes"
        path = "quotes.csv"
        [strategy]
        kind = "class"
        class = "mine.py:Mine"
        [strategy.params]
        size = 12
        symbol = "PEP"
        """
    results = load_run(write(folder, text)).run()
    assert results.fills.select("strategy", "instrument", "quantity").rows() == [("mine", "PEP", 12.0)]


def test_a_run_file_may_be_called_as_a_module_is(folder: Path) -> None:
    import statistics

    code = 'import helios as hx\nrun = hx.Backtest(data=hx.quotes(r"%s"), strategy=hx.record("m", hx.mid("KO")))\n'
    load_run(write(folder, code % (folder / "quotes.csv"), "statistics.py"))
    assert sys.modules["statistics"] is statistics


def test_bars_quotes_and_trades_have_their_options(folder: Path) -> None:
    frame = pl.DataFrame({"time": [1_767_623_400, 1_767_623_460], "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0})
    frame.with_columns(volume=5).write_csv(folder / "KO.csv")
    text = """
        [[data]]
        kind = "bars"
        path = "KO.csv"
        symbol = "KO"
        ts_unit = "s"
        label = "start"
        span = "1m"
        [strategy]
        kind = "pairs"
        pairs = [["KO", "KO2", 1]]
        window = 5
        price = "close"
        """
    with pytest.raises(HeliosError, match="no data source has the symbol 'KO2'; near ones: KO"):
        load_run(write(folder, text)).run()


# ---- misspelt keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong", "key", "near"),
    [
        ("cash =", "chash =", "chash", "cash"),
        ("[limits]", "[limit]", "limit", "limits"),
        ("[strategy]", "[stategy]", "stategy", "strategy"),
        ("[[data]]", "[[dtaa]]", "dtaa", "data"),
        ("path =", "pth =", "data[0].pth", "path"),
        ("notional = 5", "notinal = 5", "strategy.notinal", "notional"),
        ("taker_per_share", "taker_per_shares", "venue.taker_per_shares", "taker_per_share"),
        ("order_latency", "order_latencey", "venue.order_latencey", "order_latency"),
        ("ticks =", "tick =", "execution.tick", "ticks"),
        ("daily_loss", "dayly_loss", "limits.dayly_loss", "daily_loss"),
    ],
)
def test_a_misspelt_key_names_the_near_one(folder: Path, right: str, wrong: str, key: str, near: str) -> None:
    assert right in WHOLE
    error = refused(folder, WHOLE.replace(right, wrong, 1))
    assert error.key == key
    assert f"Did you mean '{near}'?" in str(error)


def test_a_key_like_no_other_lists_those_that_are_known(folder: Path) -> None:
    error = refused(folder, WHOLE + "xyzzy = 1\n")
    assert error.key == "limits.xyzzy"
    assert "Known keys: order_quantity, order_notional, price_collar" in str(error)


def test_the_second_table_of_data_is_named_by_its_number(folder: Path) -> None:
    second = '[[data]]\nkind = "quotes"\npath = "quotes.csv"\nsorted = true\n'
    assert refused(folder, WHOLE + second).key == "data[1].sorted"
    assert refused(folder, WHOLE + second.replace("sorted", "sort").replace("true", '"yes"')).key == "data[1].sort"


# ---- wrong values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong", "key", "says"),
    [
        ("cash = 500_000", 'cash = "a lot"', "cash", "Expected `float`, got `str`"),
        ("seed = 3", "seed = 3.5", "seed", "Expected `int | null`, got `float`"),
        ("latency = true", "latency = 1", "latency", "Expected `bool`, got `int`"),
        ('kind = "quotes"', 'kind = "quote"', "data[0].kind", "Invalid enum value 'quote'"),
        ('path = "quotes.csv"', "path = 7", "data[0].path", "Expected `str | null`, got `int`"),
        ('path = "quotes.csv"', "", "data[0]", 'kind = "quotes" needs a path'),
        ("enter = 1.0", 'enter = "1"', "strategy.enter", "Expected `float`, got `str`"),
        ('[["KO", "PEP", 0.4]]', '[["KO", "PEP"]]', "strategy.pairs[0]", "length 3"),
        ('style = "touch"', 'style = "touching"', "execution.style", "Invalid enum value 'touching'"),
        ("order_rate = 100", "order_rate = 2.5", "limits.order_rate", "got `float`"),
        ('kind = "pairs"', 'kind = "pair"', "strategy.kind", "Invalid enum value 'pair'"),
    ],
)
def test_a_value_of_the_wrong_type_names_its_key(folder: Path, right: str, wrong: str, key: str, says: str) -> None:
    assert right in WHOLE
    error = refused(folder, WHOLE.replace(right, wrong, 1))
    assert error.key == key
    assert says in str(error)


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ('window = "30s"', 'window = "30"', "write a number and one of ns, us, ms, s, m, h, d"),
        ('window = "30s"', "window = 0", "it must be 1 to"),
        ('window = "30s"', "", "either a window or a halflife"),
        ("exit = 0.25", "exit = 2", "enter > exit >= 0"),
        ("notional = 5_000", "notional = -5", "must be positive"),
        ('[["KO", "PEP", 0.4]]', '[["KO", "KO", 1]]', "two instruments"),
        ('[["KO", "PEP", 0.4]]', '[["KO", "PEP", nan]]', "beta is nan"),
        ("ticks = 1", "ticks = -1", "0 to 65535"),
        ("daily_loss = 5_000.0", "daily_loss = -1", "limit daily_loss is -1"),
        ("daily_loss = 5_000.0", "daily_loss = inf", "limit daily_loss is inf"),
    ],
)
def test_a_value_that_cannot_be_says_why(folder: Path, right: str, wrong: str, says: str) -> None:
    assert right in WHOLE
    assert says in str(refused(folder, WHOLE.replace(right, wrong, 1)))


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ('order_latency = "50us"', 'order_latency = "fast"', "order latency is 'fast'"),
        ("cash = 500_000", "cash = nan", "cash is nan"),
        ("tick = 0.01", "tick = 0", "must be positive"),
        ("taker_per_share = 0.003", "taker_per_share = inf", "fees.taker_per_share is inf"),
        ('sample = "1m"', 'sample = ""', "sample is ''"),
    ],
)
def test_a_value_that_only_a_run_can_judge_says_why(folder: Path, right: str, wrong: str, says: str) -> None:
    assert right in WHOLE
    with pytest.raises(HeliosError) as caught:
        load_run(write(folder, WHOLE.replace(right, wrong, 1))).run()
    assert says in str(caught.value)


# ---- files -----------------------------------------------------------------------------------------------------------


def test_files_that_are_not_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no such run file"):
        load_run(folder / "nothing.toml")
    with pytest.raises(ConfigError, match=r"ends in \.toml or \.py"):
        load_run(write(folder, "", "run.yaml"))
    for kind in ("quotes", "itch", "lobster"):
        text = WHOLE.replace('kind = "quotes"', f'kind = "{kind}"').replace("quotes.csv", "missing.file")
        with pytest.raises(DataError, match=r"missing\.file"):
            load_run(write(folder, text))
    for line in ('file = "missing.csv"', 'class = "missing.py:Mine"'):
        text = WHOLE.replace('pairs = [["KO", "PEP", 0.4]]', line)
        error = refused(folder, text.replace('kind = "pairs"', 'kind = "class"') if "class" in line else text)
        assert "there is no such" in str(error)
        assert "missing" in str(error)


@pytest.mark.parametrize(
    ("text", "says"),
    [("cash = \n", "not a TOML file"), ("[strategy\n", "not a TOML file"), ("a = 1\na = 2\n", "not a TOML file")],
)
def test_what_is_no_toml(folder: Path, text: str, says: str) -> None:
    assert says in str(refused(folder, text))
    assert "line" in str(refused(folder, text))


def test_bytes_that_are_no_text(folder: Path) -> None:
    (folder / "run.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a TOML file"):
        load_run(folder / "run.toml")


def test_missing_tables_are_named(folder: Path) -> None:
    assert "key 'data': a backtest needs [[data]]" in str(refused(folder, '[strategy]\nkind = "pairs"\n'))
    assert "missing required field `strategy`" in str(refused(folder, '[[data]]\nkind = "itch"\npath = "x"\n'))


@pytest.mark.parametrize(
    ("csv", "says"),
    [
        ("a,b\nKO,PEP\n", "columns beta are missing"),
        ("a,b,beta\nKO,PEP,0.5\nKO,PEP,much\n", "row 1: KO, PEP, much is no pair"),
        ("a,b,beta\nKO,PEP,\n", "row 0: KO, PEP, None is no pair"),
        ("a,b,beta\nKO,PEP,NaN\n", "row 0"),
        ("", "not a CSV file"),
    ],
)
def test_a_file_of_pairs_that_is_none(folder: Path, csv: str, says: str) -> None:
    (folder / "pairs.csv").write_text(csv)
    error = refused(folder, WHOLE.replace('pairs = [["KO", "PEP", 0.4]]', 'file = "pairs.csv"'))
    assert says in str(error)
    assert "pairs.csv" in str(error)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('class = "mine.py"', "give the class as 'file.py:Name'"),
        ("", "give the class as 'file.py:Name'"),
        ('class = "mine.py:Nobody"', "no Strategy class 'Nobody'"),
        ('class = "mine.py:Other"', "no Strategy class 'Other'"),
        ('class = "mine.py:Mine"', "missing 1 required positional argument: 'size'"),
        ('class = "mine.py:Mine"\n[strategy.params]\nsise = 1', "unexpected keyword argument 'sise'"),
    ],
)
def test_a_class_that_is_none(folder: Path, lines: str, says: str) -> None:
    text = f'[[data]]\nkind = "quotes"\npath = "quotes.csv"\n[strategy]\nkind = "class"\n{lines}\n'
    assert says in str(refused(folder, text))


@pytest.mark.parametrize("code", ["", "run = 3", "def run(): return None", "Run = 1"])
def test_a_python_file_without_a_run(folder: Path, code: str) -> None:
    error = refused(folder, code, "run.py")
    assert error.key == "run"
    assert "a Backtest or a function that returns one" in str(error)


def test_both_or_neither_of_pairs_and_file(folder: Path) -> None:
    line = 'pairs = [["KO", "PEP", 0.4]]'
    for given in ("", line + '\nfile = "pairs.csv"'):
        assert "give either pairs" in str(refused(folder, WHOLE.replace(line, given)))


def test_an_exception_in_a_run_file_is_its_own(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        load_run(write(folder, "run = 1 / 0", "run.py"))
