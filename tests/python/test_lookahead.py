"""`check_lookahead` and its command: planted leaks are found, clean strategies pass; and a run's `stop` is exact."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.cli import app
from helios.config import load_run
from helios.errors import ArgumentError, ConfigError, DataError, HeliosError, RunError
from helios.research.simulate import simulate
from helios.research.validate import Lookahead, check_lookahead
from typer.testing import CliRunner

T0 = datetime(2026, 1, 5, 14, 30)
NS0 = int(T0.replace(tzinfo=UTC).timestamp()) * 10**9
MINUTE = 60 * 10**9


def prices(rows: int = 240, symbols: tuple[str, ...] = ("KO", "PEP"), seed: int = 1) -> pl.DataFrame:
    """One-minute bars that end at 14:31, 14:32, …; each symbol a mean-reverting walk."""
    rng = np.random.default_rng(seed)
    frames = []
    for at, symbol in enumerate(symbols):
        x = np.zeros(rows)
        for i in range(1, rows):
            x[i] = 0.9 * x[i - 1] + rng.normal(0, 0.5)
        close = np.round(60 + 20 * at + x, 2)
        opens = np.concatenate([[close[0]], close[:-1]])
        frames.append(
            pl.DataFrame(
                {
                    "ts": [T0 + timedelta(minutes=i + 1) for i in range(rows)],
                    "symbol": symbol,
                    "open": opens,
                    "high": np.maximum(opens, close) + 0.01,
                    "low": np.minimum(opens, close) - 0.01,
                    "close": close,
                    "volume": 1_000,
                }
            )
        )
    return pl.concat(frames).sort("ts", "symbol")


FRAME = prices()


def bars(frame: pl.DataFrame, **options: Any) -> Any:
    return hx.bars(frame, **({"span": "1m"} | options))


def zscore(frame: pl.DataFrame) -> hx.Backtest:
    side = hx.close("KO").zscore(20).hysteresis(enter=1.5, exit=0.5)
    return hx.Backtest(bars(frame), [hx.target("KO", -side, quantity=10), hx.record("z", side, hx.close("KO"))])


class Follow(hx.Strategy):
    """Trades the sign of a feature that was computed beforehand: the `number`-th bar has the `number`-th value."""

    name = "follow"
    universe = ("KO",)

    def __init__(self, feature: list[float | None]) -> None:
        self.feature, self.number, self.held = feature, 0, 0

    def on_bar(self, bar: Any) -> None:
        value = self.feature[self.number]
        self.number += 1
        wish = 0 if value is None or value == 0 else (10 if value > 0 else -10)
        if wish != self.held:
            self.target("KO", wish)
            self.held = wish


def following(feature: pl.Expr) -> Callable[[pl.DataFrame], hx.Backtest]:
    def build(frame: pl.DataFrame) -> hx.Backtest:
        column = frame.filter(pl.col("symbol") == "KO").select(feature.alias("feature"))["feature"]
        return hx.Backtest(bars(frame), Follow(column.to_list()))

    return build


CLOSE = pl.col("close")
CAUSAL = {
    "change": CLOSE.diff(),
    "rolling mean": CLOSE - CLOSE.rolling_mean(10),
    "lag": CLOSE - CLOSE.shift(3),
    "expanding mean": CLOSE - CLOSE.cum_sum() / pl.int_range(1, pl.len() + 1),
}
LEAKS = {
    "next change": CLOSE.diff().shift(-1),
    "shifted by -1": CLOSE.shift(-1) - CLOSE,
    "mean of the whole column": CLOSE - CLOSE.mean(),
    "median of the whole column": CLOSE - CLOSE.median(),
    "centred window": CLOSE - CLOSE.rolling_mean(5, center=True),
    "filled from behind": pl.when(pl.int_range(pl.len()) % 7 == 0).then(CLOSE.diff()).otherwise(None).backward_fill(),
}


# ---- backtests -------------------------------------------------------------------------------------------------------


def test_clean_expressions_pass() -> None:
    result = check_lookahead(zscore, FRAME)
    assert result.clean
    assert result.verdict == "clean"
    assert len(result.cuts) == 20
    assert result.notes == []
    assert result.scope == "data"
    assert all(cut.compared > 0 for cut in result.cuts)
    assert str(result).startswith("clean: ")


@pytest.mark.parametrize("feature", CAUSAL)
def test_clean_python_strategies_pass(feature: str) -> None:
    result = check_lookahead(following(CAUSAL[feature]), FRAME, cuts=12)
    assert result.clean, str(result)
    assert sum(cut.compared for cut in result.cuts) > 100


@pytest.mark.parametrize("feature", LEAKS)
def test_a_planted_leak_in_a_feature_is_found(feature: str) -> None:
    result = check_lookahead(following(LEAKS[feature]), FRAME, cuts=12)
    assert not result.clean
    first = result.first
    assert first is not None
    assert first.kind in ("wish", "order", "fill", "refusal")
    assert first.name == "follow"
    assert NS0 < first.at <= max(cut.at for cut in result.cuts)
    assert first.with_future != first.without_future


def test_a_leak_of_one_row_is_found_at_the_row_before_the_cut() -> None:
    result = check_lookahead(following(LEAKS["shifted by -1"]), FRAME, cuts=12)
    found = [cut for cut in result.cuts if cut.difference is not None]
    assert found
    # Only the last row before the cut misses the next one; a fill of what was wished there is at the next bar's end.
    assert all(cut.difference is not None and cut.difference.at == cut.at for cut in found)


def test_pairs_chosen_on_the_whole_data_are_found_and_on_the_formation_pass() -> None:
    frame = prices(600, ("AA", "BB", "CC", "DD", "EE"), seed=3)
    start = T0 + timedelta(minutes=300)

    def plan(until: datetime) -> Callable[[pl.DataFrame], hx.Backtest]:
        def build(frame: pl.DataFrame) -> hx.Backtest:
            formation = frame.filter(pl.col("ts") <= until).pivot("symbol", index="ts", values="close").drop("ts")
            together = np.triu(np.corrcoef(formation.to_numpy().T), k=1)
            a, b = (formation.columns[at] for at in np.unravel_index(np.argmax(together), together.shape))
            return hx.Backtest(bars(frame), hx.pair(a, b, window=30, enter=1.5, price="close"), start=start)

        return build

    assert check_lookahead(plan(start), frame, cuts=8).clean
    leak = check_lookahead(plan(T0 + timedelta(days=9)), frame, cuts=8)
    assert not leak.clean
    assert leak.first is not None
    assert leak.first.at >= NS0 + 300 * MINUTE


def test_prices_that_are_scaled_by_the_whole_column_are_found_where_the_engine_reads_them() -> None:
    def build(frame: pl.DataFrame) -> hx.Backtest:
        scaled = frame.with_columns(pl.col("open", "high", "low", "close") / pl.col("close").max() * 100)
        return zscore(scaled)

    first = check_lookahead(build, FRAME, cuts=6).first
    assert first is not None
    assert (first.kind, first.column) == ("data", "open")
    assert first.at == NS0 + MINUTE


def test_a_strategy_that_reads_ahead_in_its_frame_is_found() -> None:
    class Peek(hx.Strategy):
        name = "peek"
        universe = ("KO",)

        def __init__(self, frame: pl.DataFrame, ahead: int) -> None:
            own = frame.filter(pl.col("symbol") == "KO")
            self.ahead = timedelta(minutes=ahead)
            self.close = dict(zip(own["ts"].to_list(), own["close"].to_list(), strict=True))

        def on_bar(self, bar: Any) -> None:
            now = T0 + timedelta(microseconds=(bar.ts - NS0) // 1000)
            other = self.close.get(now + self.ahead, bar.close)
            if abs(other - bar.close) > 0.3:
                (self.buy if other > bar.close else self.sell)("KO", 1)

    def build(ahead: int) -> Lookahead:
        return check_lookahead(lambda frame: hx.Backtest(bars(frame), Peek(frame, ahead)), FRAME, cuts=12)

    assert build(-2).clean
    leak = build(+2)
    assert leak.first is not None
    assert leak.first.kind == "wish"
    assert "wish buy" in str(leak.first.with_future) or "wish sell" in str(leak.first.with_future)
    assert leak.first.without_future is None or "wish" in str(leak.first.without_future)


def test_a_wish_that_makes_no_order_is_compared_too() -> None:
    class Same(hx.Strategy):
        name = "same"
        universe = ("KO",)

        def __init__(self, last: float) -> None:
            self.last = last

        def on_bar(self, bar: Any) -> None:
            self.target("KO", 0 if bar.close < self.last else -0.0)
            if bar.close == self.last:
                self.cancel("KO", 12345)

    def build(frame: pl.DataFrame) -> hx.Backtest:
        return hx.Backtest(bars(frame), Same(frame.filter(pl.col("symbol") == "KO")["close"].max()))  # type: ignore[arg-type]

    first = check_lookahead(build, FRAME, cuts=12).first
    assert first is not None
    assert first.kind == "wish"


def test_a_builder_that_fails_without_the_future_is_a_leak() -> None:
    def build(frame: pl.DataFrame) -> hx.Backtest:
        if frame.height < FRAME.height:
            raise KeyError("2026")
        return zscore(frame)

    result = check_lookahead(build, FRAME, cuts=3)
    assert [cut.difference.kind for cut in result.cuts if cut.difference] == ["run"] * 3
    assert "fails: KeyError: '2026'" in str(result)


def test_several_frames_are_cut_by_their_own_times() -> None:
    score = pl.DataFrame(
        {
            "ts": [T0 + timedelta(minutes=7 * i, seconds=30) for i in range(30)],
            "score": np.sin(np.arange(30)),
        }
    )

    def build(shift: int) -> Callable[[dict[str, pl.DataFrame]], hx.Backtest]:
        def inner(data: dict[str, pl.DataFrame]) -> hx.Backtest:
            own = data["bars"].filter(pl.col("symbol") == "KO").sort("ts")
            shifted = data["score"].with_columns(pl.col("score").shift(shift))
            return hx.Backtest(bars(data["bars"]), Follow(own.join_asof(shifted, on="ts")["score"].to_list()))

        return inner

    data = {"bars": FRAME, "score": score}
    assert check_lookahead(build(0), data, cuts=10).clean
    assert not check_lookahead(build(-1), data, cuts=10).clean


def test_bars_labelled_by_their_start_are_known_at_their_end() -> None:
    frame = FRAME.with_columns(pl.col("ts") - timedelta(minutes=1))

    def build(feature: pl.Expr) -> Callable[[pl.DataFrame], hx.Backtest]:
        def inner(frame: pl.DataFrame) -> hx.Backtest:
            column = frame.filter(pl.col("symbol") == "KO").select(feature.alias("f"))["f"]
            return hx.Backtest(bars(frame, label="start"), Follow(column.to_list()))

        return inner

    # Cut by their labels, a look ahead of one bar would go unseen: refused instead.
    with pytest.raises(ArgumentError, match="pass known_after"):
        check_lookahead(build(LEAKS["next change"]), frame)
    assert check_lookahead(build(CAUSAL["change"]), frame, known_after="1m", cuts=10).clean
    assert not check_lookahead(build(LEAKS["next change"]), frame, known_after="1m", cuts=10).clean


def test_local_times_need_their_zone() -> None:
    local = FRAME.with_columns(pl.col("ts") - timedelta(hours=5))

    def build(frame: pl.DataFrame) -> hx.Backtest:
        return replace(zscore(frame), data=bars(frame, tz="America/New_York"))

    with pytest.raises(ArgumentError, match="known to the end at 2026-01-05T13:30:00Z"):
        check_lookahead(build, local)
    assert check_lookahead(build, local, tz="America/New_York", cuts=5).clean


def test_data_read_beside_what_is_given_is_named() -> None:
    def build(frame: pl.DataFrame) -> hx.Backtest:
        return zscore(FRAME)  # not the frame that it was given

    result = check_lookahead(build, FRAME, cuts=3)
    assert result.clean
    assert "data that does not come from the data given" in result.notes[0]


def test_the_same_seed_cuts_at_the_same_moments() -> None:
    runs = [check_lookahead(zscore, FRAME, cuts=5, seed=seed) for seed in (4, 4, 5)]
    moments = [[cut.at for cut in run.cuts] for run in runs]
    assert moments[0] == moments[1] != moments[2]


def test_the_table_has_a_row_for_each_cut() -> None:
    from rich.console import Console

    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    result = check_lookahead(following(LEAKS["mean of the whole column"]), FRAME, cuts=4)
    console.print(result.table())
    text = console.export_text()
    assert text.count("2026-01-05T") >= 4
    assert "with the future" in text
    assert json.loads(json.dumps(result.as_dict()))["verdict"] == "leak"


# ---- features --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feature", CAUSAL)
def test_clean_features_pass(feature: str) -> None:
    result = check_lookahead(lambda f: f.select("ts", "symbol", x=CAUSAL[feature].over("symbol")), FRAME)
    assert result.clean, str(result)


@pytest.mark.parametrize("feature", LEAKS)
def test_leaking_features_are_found(feature: str) -> None:
    result = check_lookahead(lambda f: f.select("ts", "symbol", x=LEAKS[feature].over("symbol")), FRAME)
    first = result.first
    assert first is not None
    assert (first.kind, first.column) == ("feature", "x")
    assert first.name in ("KO", "PEP")


def test_the_first_differing_feature_is_named_with_both_values() -> None:
    frame = pl.DataFrame({"ts": [T0 + timedelta(minutes=i) for i in range(5)], "x": [1.0, 2.0, 4.0, 8.0, 16.0]})
    result = check_lookahead(lambda f: f.select("ts", y=pl.col("x").shift(-1)), frame, cuts=10)
    assert [cut.at for cut in result.cuts] == [NS0 + i * MINUTE for i in range(4)]
    for row, cut in enumerate(result.cuts):
        d = cut.difference
        assert d is not None
        assert (d.at, d.column, d.with_future, d.without_future) == (cut.at, "y", 2.0 ** (row + 1), None)
    assert str(result.first) == "feature y at 2026-01-05T14:30:00Z: 2.0 with the future, nothing without"


def test_features_without_times_go_by_the_rows_of_the_data() -> None:
    assert check_lookahead(lambda f: f.select(x=CLOSE.cum_max()), FRAME, cuts=5).clean
    assert not check_lookahead(lambda f: f.select(x=CLOSE.max() - CLOSE), FRAME, cuts=5).clean


def test_nan_is_nan_and_minus_zero_is_not_zero() -> None:
    frame = pl.DataFrame({"ts": [T0 + timedelta(minutes=i) for i in range(6)], "x": [0.0] * 6})
    assert check_lookahead(lambda f: f.select("ts", y=pl.col("x") / pl.col("x")), frame).clean
    flip = check_lookahead(lambda f: f.select("ts", y=pl.col("x") * (-1.0 if f.height < 4 else 1.0)), frame)
    assert not flip.clean
    empty = check_lookahead(
        lambda f: f.select("ts", y=pl.col("x") if f.height > 4 else pl.lit(None, pl.Float64)), frame
    )
    assert empty.first is not None
    assert (empty.first.with_future, empty.first.without_future) == (0.0, None)


# ---- run files and the command line ----------------------------------------------------------------------------------


def printed(*arguments: object, code: int) -> str:
    result = CliRunner().invoke(app, ["check", "lookahead", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Bars in a file; a run file; a module with a clean builder, one with a leak, and features."""
    FRAME.write_parquet(tmp_path / "bars.parquet")
    (tmp_path / "run.toml").write_text(
        dedent(
            """
            [[data]]
            kind = "bars"
            path = "bars.parquet"
            [strategy]
            kind = "pairs"
            pairs = [["KO", "PEP", 0.5]]
            window = 20
            enter = 1.5
            price = "close"
            """
        )
    )
    (tmp_path / "mine.py").write_text(
        dedent(
            """
            import helios as hx
            import polars as pl

            data = "bars.parquet"

            def clean(frame):
                side = hx.close("KO").zscore(20).hysteresis(enter=1.5, exit=0.5)
                return hx.Backtest(hx.bars(frame, span="1m"), hx.target("KO", -side, quantity=10))

            def leak(frame):
                level = frame.filter(pl.col("symbol") == "KO")["close"].mean()
                side = (hx.close("KO") - level).hysteresis(enter=0.5, exit=0.1)
                return hx.Backtest(hx.bars(frame, span="1m"), hx.target("KO", -side, quantity=10))

            def features(frame):
                return frame.select("ts", "symbol", nxt=pl.col("close").shift(-1).over("symbol"))

            run = clean
            """
        )
    )
    return tmp_path


def test_a_run_file_is_cut_where_the_engine_reads(folder: Path) -> None:
    text = printed(folder / "run.toml", "--cuts", 6, code=0)
    assert "clean, as far as what the engine reads goes: " in text
    assert "only what the engine reads was cut" in " ".join(text.split())
    told = json.loads(printed(folder / "run.toml", "--cuts", 6, "--json", code=0))
    assert told["verdict"] == "clean"
    assert len(told["cuts"]) == 6
    assert sum(cut["compared"] for cut in told["cuts"]) > 10


def test_functions_of_a_file_are_given_its_data(folder: Path) -> None:
    assert "clean: " in printed(f"{folder}/mine.py:clean", "--cuts", 5, code=0)
    assert "clean: " in printed(f"{folder}/mine.py", "--cuts", 5, code=0)
    told = json.loads(printed(f"{folder}/mine.py:leak", "--cuts", 8, "--json", code=1))
    assert told["verdict"] == "leak"
    assert told["first"]["kind"] in ("signal", "target")
    assert told["first"]["with_future"] != told["first"]["without_future"]
    text = printed(f"{folder}/mine.py:features", "--data", folder / "bars.parquet", "--cuts", 4, code=1)
    assert "leak: 4 of 4 cuts" in text


def test_a_python_run_file_without_data_is_loaded_anew_for_each_cut(folder: Path) -> None:
    code = """
        import helios as hx
        from pathlib import Path

        class Count(hx.Strategy):
            name = "count"
            def __init__(self):
                self.bars = 0
            def on_bar(self, bar):
                self.bars += 1
                if self.bars % 10 == 0:
                    self.target("KO", self.bars)

        run = hx.Backtest(hx.bars(Path(__file__).parent / "bars.parquet"), Count())
        """
    (folder / "count.py").write_text(dedent(code))
    told = json.loads(printed(folder / "count.py", "--cuts", 6, "--json", code=0))
    assert told["verdict"] == "clean"
    assert told["scope"] == "engine"
    assert len(told["notes"]) == 1


def test_features_beside_an_itch_file_are_cut_and_so_is_the_file(tmp_path: Path) -> None:
    day = tmp_path / "day.itch"
    simulate(day, symbols=2, minutes=3, seed=7, group_size=2)
    symbol = hx.itch(day).symbols[0]
    open_ = datetime(2026, 1, 5, 14, 30)
    score = pl.DataFrame(
        {"ts": [open_ + timedelta(seconds=i) for i in range(180)], "score": np.sin(np.arange(180) / 3)}
    )

    class Score(hx.Strategy):
        name, timer, universe = "score", "1s", (symbol,)

        def __init__(self, frame: pl.DataFrame, ahead: int) -> None:
            stamps = [int(at.replace(tzinfo=UTC).timestamp()) for at in frame["ts"]]
            self.scores, self.ahead = dict(zip(stamps, frame["score"].to_list(), strict=True)), ahead

        def on_timer(self, now: int) -> None:
            value = self.scores.get(now // 10**9 + self.ahead)
            if value is not None:
                self.target(symbol, 100 if value > 0 else -100)

    def build(ahead: int) -> Callable[[pl.DataFrame], hx.Backtest]:
        return lambda frame: hx.Backtest(hx.itch(day, date="2026-01-05"), Score(frame, ahead))

    assert check_lookahead(build(0), score, cuts=8).clean
    leak = check_lookahead(build(1), score, cuts=8)
    assert leak.first is not None
    assert (leak.first.kind, leak.first.name) == ("wish", "score")


def test_days_are_known_when_their_bars_end() -> None:
    rng = np.random.default_rng(8)
    close = np.round(60 + np.cumsum(rng.normal(0, 0.5, 250)), 2)
    days = pl.date_range(date(2026, 1, 1), date(2026, 9, 7), eager=True).head(250)
    frame = pl.DataFrame({"ts": days, "symbol": "KO", "open": close, "high": close, "low": close, "close": close})
    frame = frame.with_columns(volume=1_000)
    for tz in (None, "America/New_York"):

        def build(feature: pl.Expr, tz: str | None = tz) -> Callable[[pl.DataFrame], hx.Backtest]:
            return lambda f: hx.Backtest(
                bars(f, span="1d", tz=tz), Follow(f.select(feature.alias("f"))["f"].to_list()), sample="1d"
            )

        assert check_lookahead(build(CAUSAL["rolling mean"]), frame, tz=tz, cuts=8).clean
        assert not check_lookahead(build(LEAKS["shifted by -1"]), frame, tz=tz, cuts=8).clean


def test_functions_of_a_module_and_csv_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    FRAME.write_csv(folder / "bars.csv")
    (folder / "lookahead_mine.py").write_text((folder / "mine.py").read_text().replace('data = "bars.parquet"', ""))
    assert "clean: " in printed("lookahead_mine:clean", "--data", "bars.csv", "--cuts", 4, code=0)


def test_a_run_on_a_simulated_day_passes_and_stops_exactly(tmp_path: Path) -> None:
    day = tmp_path / "day.itch"
    simulate(day, symbols=4, minutes=3, seed=7, group_size=2)
    a, b, *_ = hx.itch(day).symbols

    class Timed(hx.Strategy):
        """A timer, orders that rest, and answers that come late: all that happens between two events."""

        name = "timed"
        timer = "700ms"
        universe = (b,)

        def on_timer(self, now: int) -> None:
            book = self.book(b)
            if book.bid < book.ask:
                self.buy(b, 100, round(book.bid, 2))

    def build() -> hx.Backtest:
        return hx.Backtest(
            hx.itch(day, date="2026-01-05"),
            [*hx.pair(a, b, window="20s", enter=1.0, exit=0.2), Timed()],
            venue=hx.Venue(latency=hx.Latency(order="30ms", report="30ms")),
            sample="1s",
        )

    result = check_lookahead(build, cuts=10)
    assert result.clean, str(result)
    assert max(cut.compared for cut in result.cuts) > 100


def test_a_run_without_data_hears_nothing_after_its_cut() -> None:
    made: list[Any] = []

    class Listen(hx.Strategy):
        name = "listen"
        universe = ("KO",)

        def __init__(self) -> None:
            self.heard: list[int] = []

        def on_bar(self, bar: Any) -> None:
            self.heard.append(bar.ts)
            self.target("KO", len(self.heard) % 5)

    def build() -> hx.Backtest:
        made.append(Listen())
        return hx.Backtest(bars(FRAME), made[-1])

    result = check_lookahead(build, cuts=7)
    assert result.clean
    assert [strategy.heard[-1] for strategy in made] == [NS0 + 240 * MINUTE] * 2 + [cut.at for cut in result.cuts]


# ---- stop ------------------------------------------------------------------------------------------------------------


def run(frame: pl.DataFrame, **changes: Any) -> Any:
    return replace(zscore(frame), **changes).run()


@pytest.mark.parametrize("stop", [NS0 + 60 * MINUTE, T0 + timedelta(minutes=60), "2026-01-05T15:30:00+00:00"])
def test_a_stop_is_the_last_moment_that_is_read(stop: Any) -> None:
    cut = run(FRAME, stop=stop)
    short = run(FRAME.filter(pl.col("ts") <= T0 + timedelta(minutes=60)))
    assert cut.meta["events"] == 60
    assert cut.meta["digest"] == short.meta["digest"]
    assert cut.fills.equals(short.fills)
    assert cut.equity.equals(short.equity)
    assert cut.meta["config"]["stop"] == str(stop)
    assert run(FRAME, stop=NS0 + 60 * MINUTE - 1).meta["events"] == 59


def test_a_stop_cuts_several_sources_and_beyond_the_end_does_nothing() -> None:
    split = [bars(FRAME.filter(pl.col("symbol") == s)) for s in ("KO", "PEP")]
    wishes = [*hx.pair("KO", "PEP", window=20, price="close")]
    both = hx.Backtest(split, wishes)
    assert replace(both, stop=NS0 + 60 * MINUTE).run().meta["events"] == 120
    assert replace(both, stop=NS0 + 60 * MINUTE - 1).run().meta["events"] == 118
    assert replace(both, stop=NS0 + 10**6 * MINUTE).run().meta["digest"] == both.run().meta["digest"]
    assert replace(both, stop=NS0 - 1).run().meta["events"] == 0


def test_a_stop_in_a_run_file(folder: Path) -> None:
    text = (folder / "run.toml").read_text()
    (folder / "late.toml").write_text("stop = 2026-01-05T10:30:00-05:00\n" + text)
    assert load_run(folder / "late.toml").run().meta["events"] == 120
    assert load_run(folder / "run.toml").run().meta["events"] == 480


def test_timers_ring_up_to_a_stop_and_not_beyond() -> None:
    class Clock(hx.Strategy):
        timer = "10s"
        universe = ("KO",)

        def __init__(self) -> None:
            self.rung: list[int] = []

        def on_timer(self, now: int) -> None:
            self.rung.append(now)

    rung = {}
    for stop in (None, NS0 + 5 * MINUTE + 35 * 10**9):
        strategy = Clock()
        hx.Backtest(bars(FRAME), strategy, stop=stop).run()
        rung[stop] = strategy.rung
    whole, cut = rung.values()
    assert cut == [at for at in whole if at <= NS0 + 5 * MINUTE + 35 * 10**9]
    assert cut[-1] == NS0 + 5 * MINUTE + 30 * 10**9


def test_a_day_is_its_midnight() -> None:
    assert run(FRAME, start=date(2026, 1, 5), stop=date(2026, 1, 6)).meta["events"] == 240
    assert run(FRAME, stop=date(2026, 1, 5)).meta["events"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stop": "tomorrow"}, "stop='tomorrow'"),
        ({"stop": -1}, "stop=-1"),
        ({"stop": True}, "stop=True"),
        ({"stop": NS0, "start": NS0}, "nothing would trade"),
        ({"stop": "2026-01-05T10:00:00", "start": "2026-01-05T14:00:00"}, "is not after start"),
    ],
)
def test_a_stop_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        run(FRAME, **changes)


# ---- bad input -------------------------------------------------------------------------------------------------------


def test_a_builder_that_is_not_repeatable_is_refused() -> None:
    rng = np.random.default_rng(1)

    def noisy(frame: pl.DataFrame) -> hx.Backtest:
        side = (hx.close("KO") - 60 - float(rng.normal())).hysteresis(enter=0.5, exit=0.1)
        return hx.Backtest(bars(frame), hx.target("KO", side, quantity=10))

    with pytest.raises(RunError, match=r"two runs on the same data differ: (signal|target)"):
        check_lookahead(noisy, FRAME)
    used_twice = Follow([float(i % 7 - 3) for i in range(10_000)])
    with pytest.raises(RunError, match="new strategy instance"):
        check_lookahead(lambda frame: hx.Backtest(bars(frame), used_twice), FRAME)
    with pytest.raises(RunError, match="two runs on the same data differ: feature"):
        check_lookahead(lambda f: f.select("ts", x=pl.lit(float(rng.normal()))), FRAME)


def test_a_run_that_says_nothing_is_refused() -> None:
    with pytest.raises(RunError, match="the run says nothing"):
        check_lookahead(lambda frame: hx.Backtest(bars(frame), hx.Strategy()), FRAME)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"cuts": 0}, ArgumentError, "cuts=0"),
        ({"cuts": True}, ArgumentError, "cuts=True"),
        ({"data": [1, 2]}, ArgumentError, "data is a list: give a Polars frame"),
        ({"data": FRAME.rename({"ts": "time"})}, ArgumentError, "data has no column 'ts': it has time, symbol"),
        ({"data": FRAME.head(0)}, ArgumentError, "no rows"),
        ({"data": FRAME.with_columns(pl.lit(5).alias("ts"))}, DataError, "ts_unit"),
        ({"data": FRAME.with_columns(ts=None)}, DataError, "ts"),
        ({"known_after": "a while"}, ArgumentError, "known_after is 'a while'"),
        ({"tz": "Mars"}, ArgumentError, "tz='Mars'"),
        ({"build": lambda f: 5}, ArgumentError, "build returned a int"),
        ({"build": lambda f: f.select("ts")}, ArgumentError, "no column besides"),
        ({"build": lambda f: f.select("close").head(3)}, ArgumentError, "not one row for each row"),
        ({"build": lambda: FRAME, "data": None}, ArgumentError, "give the data"),
    ],
)
def test_bad_input(changes: dict[str, Any], error: type[HeliosError], message: str) -> None:
    arguments: dict[str, Any] = {"build": zscore, "data": FRAME} | changes
    with pytest.raises(error, match=message):
        check_lookahead(arguments.pop("build"), arguments.pop("data"), **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["nowhere.toml"], ConfigError, "no such run file"),
        (["nowhere.py"], ConfigError, "no such run file"),
        (["nowhere.py:run"], ConfigError, "no such Python file"),
        (["no_such_module_here:run"], ConfigError, "no such module"),
        (["{}/mine.py:missing"], ConfigError, "no function 'missing'"),
        (["{}/mine.py:clean", "--data", "nowhere.csv"], DataError, "no such file"),
        (["{}/mine.py:clean", "--data", "a.csv", "--data", "b.csv"], ArgumentError, "NAME=FILE"),
        (["{}/mine.py:clean", "--data", "{}/mine.py"], DataError, "cannot be read"),
        (["{}/run.toml", "--data", "{}/bars.parquet"], ArgumentError, "takes no data"),
        (["polars:read_parquet"], ArgumentError, "wants data"),
    ],
)
def test_bad_arguments(folder: Path, arguments: list[str], error: type[HeliosError], message: str) -> None:
    with pytest.raises(error, match=message):
        printed(*(argument.format(folder) for argument in arguments), code=1)
