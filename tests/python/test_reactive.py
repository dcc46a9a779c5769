"""Backtests whose market is alive: agents that trade with our orders, against the recorded day they make without us."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from helios.errors import ArgumentError, ConfigError
from helios.research.replay import replay
from helios.research.simulate import simulate
from typer.testing import CliRunner

OPEN_NS = (9 * 60 + 30) * 60 * 1_000_000_000
SECOND = 1_000_000_000
SMALL: dict[str, Any] = {"symbols": 4, "minutes": 3, "group_size": 2, "rate": 10.0}
LATE = hx.Venue(latency=hx.Latency(order="100us", report="80us", feed="50us"))


def mids(symbols: list[str]) -> list[hx.Record]:
    return [hx.record(symbol, hx.mid(symbol)) for symbol in symbols]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reactive")


def recorded(folder: Path, seed: int, **settings: Any) -> Any:
    """The day as `helios simulate` writes it."""
    path = folder / f"{seed}_{len(settings)}.itch"
    if not path.exists():
        simulate(path, seed=seed, **SMALL | settings)
    return hx.itch(path)


class Plan(hx.Strategy):
    """Does things at seconds after the open: {second: [(what, …), …]}."""

    timer = "1s"
    todo: Any = None

    def on_start(self) -> None:
        self.orders: list[int] = []
        self.states: list[tuple[int, str]] = []

    def on_timer(self, now: int) -> None:
        second = (now - OPEN_NS - 5 * 3600 * SECOND) // SECOND
        for what, *rest in self.todo.get(second, ()):
            getattr(self, what)(*rest)

    def join(self, quantity: float, better: int) -> None:
        self.orders.append(self.buy(0, quantity, round(self.book(0).bid + better * 0.01, 2)))

    def take(self, quantity: float) -> None:
        self.orders.append(self.buy(0, quantity))

    def pull(self, n: int) -> None:
        self.cancel(0, self.orders[n])

    def on_order(self, order: Any) -> None:
        self.states.append((order.order, order.state))


def planned(data: Any, todo: dict[int, Any], **settings: Any) -> tuple[Plan, hx.Results]:
    plan = Plan(todo=todo)
    plan.universe = data.symbols[:1]
    return plan, hx.Backtest(data, [plan, *mids(data.symbols[:1])], marks=None, **settings).run()


# ---- without orders of ours ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("venue", [hx.Venue(), LATE])
@pytest.mark.parametrize("stop", [None, 5 * 3600 * SECOND + OPEN_NS + 61 * SECOND])
def test_without_orders_the_run_is_that_of_the_recorded_day(folder: Path, venue: hx.Venue, stop: int | None) -> None:
    days = (hx.agents(seed=3, **SMALL), recorded(folder, 3))
    assert days[0].symbols == days[1].symbols
    runs = []
    for number, day in enumerate(days):
        out = folder / f"still{number}"
        run = hx.Backtest(day, mids(day.symbols), venue=venue, stop=stop, name="still").run(
            out, overwrite=True, report=False
        )
        runs.append((run.meta["digest"], run.meta["events"], (out / "journal.hj").read_bytes()))
    assert runs[0][1] > 1_000
    assert runs[0] == runs[1], "the journal holds what the engine saw, to the last bit"


def test_over_a_graph_agents_are_the_recorded_day(folder: Path) -> None:
    agents = hx.agents(seed=3, **SMALL)
    graph = hx.graph(m=hx.mid(agents.symbols[1]))
    assert graph.over(agents).equals(graph.over(recorded(folder, 3)))


def test_series_beside_agents_come_in_their_time(folder: Path) -> None:
    start = 5 * 3600 * SECOND + OPEN_NS
    scores = pl.DataFrame(
        {"ts": pl.Series([start + n * 7 * SECOND for n in range(-5, 40)]).cast(pl.Datetime("ns", "UTC")), "score": 1.5}
    )
    scores = scores.with_columns(score=pl.int_range(pl.len()).cast(pl.Float64))
    digests = []
    for day in (hx.agents(seed=3, **SMALL), recorded(folder, 3)):
        outputs = [*mids(day.symbols), hx.record("score", hx.series("score"))]
        digests.append(hx.Backtest([hx.external(scores), day], outputs).run().meta["digest"])
    assert digests[0] == digests[1]


# ---- with orders of ours ---------------------------------------------------------------------------------------------


class Busy(hx.Strategy):
    """Orders of many kinds, at times that the market gives."""

    def on_start(self) -> None:
        self.count = 0
        self.resting: list[tuple[int, int]] = []

    def on_book(self, book: Any) -> None:
        self.count += 1
        if book.bid <= 0 or book.ask > 1e6:
            return
        step = self.count % 120
        if step == 10:
            self.resting.append((book.instrument, self.buy(book.instrument, 200, round(book.bid, 2))))
        elif step == 40:
            self.resting.append((book.instrument, self.sell(book.instrument, 300, round(book.ask - 0.01, 2))))
        elif step == 70:
            self.buy(book.instrument, 900)
        elif step == 90 and self.resting:
            self.cancel(*self.resting.pop(0))
        elif step == 110 and self.resting:
            instrument, order = self.resting[-1]
            self.replace(instrument, order, quantity=100, price=round(self.book(instrument).bid, 2))


@pytest.mark.parametrize("venue", [hx.Venue(), LATE])
def test_a_run_repeats_and_its_journal_replays(tmp_path: Path, venue: hx.Venue) -> None:
    day = hx.agents(seed=5, **SMALL)
    runs = [hx.Backtest(day, Busy(), venue=venue, cash=1e8).run(tmp_path / str(n), report=False) for n in range(2)]
    assert runs[0].meta["digest"] == runs[1].meta["digest"]
    liquidity = set(runs[0].fills["liquidity"])
    assert liquidity == {"maker", "taker"}, "the test is about both"
    assert (tmp_path / "0" / "journal.hj").read_bytes() == (tmp_path / "1" / "journal.hj").read_bytes()
    assert replay(tmp_path / "0").identical
    assert runs[0].pillars()["data"]["faults"] == 0, "every event of the feed was good"
    still = hx.Backtest(day, mids(day.symbols), venue=venue).run()
    assert runs[0].meta["events"] != still.meta["events"], "the market answered"


def test_the_book_has_our_order_in_it_and_loses_it() -> None:
    day = hx.agents(seed=8, **SMALL)
    plan = Plan(todo={30: [("join", 100_077, 1)], 31: [("pull", 0)]})
    plan.universe = day.symbols[:1]
    sizes = hx.record("size", hx.bid_size(day.symbols[0]))
    run = hx.Backtest(day, [plan, sizes, *mids(plan.universe)], cash=1e9, marks=None).run()
    opened = 5 * 3600 * SECOND + OPEN_NS
    size = path_of(run, "size")
    before, after, gone = (float(at(size, opened + when)) for when in (30 * SECOND - 1, 30 * SECOND + 1, 32 * SECOND))
    assert before < 50_000 < after <= 100_077, "a bid inside the spread is the best one, less what agents take of it"
    assert gone < 50_000
    assert plan.states[-1][1] == "cancelled"


def test_a_strategy_can_ask_where_its_order_stands() -> None:
    class Asks(Plan):
        def ask_queue(self) -> None:
            self.told = self.queue(0, self.orders[0])

    day = hx.agents(seed=8, **SMALL)
    plan = Asks(todo={30: [("join", 100, -3)], 31: [("ask_queue",)]})
    plan.universe = day.symbols[:1]
    hx.Backtest(day, plan, marks=None).run()
    assert plan.told is not None
    assert plan.told.left == 100
    assert plan.told.ahead >= 0


def test_what_rests_at_the_close_expires() -> None:
    day = hx.agents(seed=8, **SMALL)
    plan, run = planned(day, {30: [("join", 50, -400)]})
    assert plan.states[-1][1] == "cancelled"
    assert run.orders.height == 1
    assert run.fills.is_empty()


# ---- consequences ----------------------------------------------------------------------------------------------------


Path_ = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


def path_of(run: hx.Results, symbol: str) -> Path_:
    rows = run.signals.filter(pl.col("signal") == symbol).drop_nulls("value")
    return rows["ts"].dt.timestamp("ns").to_numpy(), rows["value"].to_numpy()


def at(path: Path_, moment: npt.ArrayLike) -> Any:
    return path[1][np.searchsorted(path[0], moment, "right") - 1]


def test_a_large_buy_moves_the_mid_and_it_fades() -> None:
    """Means over 20 seeds of the mid with our buy over the mid without it, in basis points."""
    times = [30 * SECOND + after for after in (1_000_000, 60 * SECOND)]
    moved: dict[float, list[npt.NDArray[np.float64]]] = {300.0: [], 3_000.0: []}
    for seed in range(1, 21):
        day = hx.agents(seed=seed, **SMALL | {"symbols": 1, "group_size": 1})
        (symbol,) = day.symbols
        without = path_of(planned(day, {})[1], symbol)
        for size, found in moved.items():
            path = path_of(planned(day, {30: [("take", size)]})[1], symbol)
            moments = day.midnight_ns + OPEN_NS + np.array(times)
            found.append(1e4 * (at(path, moments) / at(without, moments) - 1))
    small, large = (np.mean(found, axis=0) for found in moved.values())
    spread = np.std(moved[3_000.0], axis=0, ddof=1) / math.sqrt(20)
    assert large[0] > 3 * spread[0], f"{large[0]:.2f} ± {spread[0]:.2f} bp at once"
    assert large[0] > small[0] > 0, "more moves it more"
    assert large[0] < 10 * small[0], "but less than in proportion"
    assert abs(large[1]) < 0.5 * large[0], f"{large[1]:.2f} bp of {large[0]:.2f} bp are left after a minute"


class Buyer(hx.Strategy):
    """Buys a little every second for a while."""

    timer = "1s"
    size: float = 100.0

    def on_start(self) -> None:
        self.second = 0

    def on_timer(self, now: int) -> None:
        self.second += 1
        if 10 <= (now - OPEN_NS - 5 * 3600 * SECOND) // SECOND < 170:
            for instrument in range(len(self.universe)):
                self.buy(instrument, self.size)


def cost_bp(run: hx.Results, undisturbed: dict[str, Path_]) -> float:
    """What was paid above the mids that would have been there without us."""
    paid = money = 0.0
    for symbol, path in undisturbed.items():
        fills = run.fills.filter(pl.col("instrument") == symbol)
        price, quantity = fills["price"].to_numpy(), fills["quantity"].to_numpy()
        paid += float(((price - at(path, fills["ts_event"].dt.timestamp("ns").to_numpy())) * quantity).sum())
        money += float((price * quantity).sum())
    return 1e4 * paid / money


def test_a_steady_buyer_pays_more_where_the_market_answers(folder: Path) -> None:
    """The point of the mode: on a replay of the recorded day makers do not lean away from a buyer."""
    more = []
    for seed in range(1, 13):
        file = recorded(folder, seed)
        undisturbed = {
            symbol: path_of(run, symbol)
            for run in [hx.Backtest(file, mids(file.symbols), marks=None).run()]
            for symbol in file.symbols
        }
        costs = []
        for day in (hx.agents(seed=seed, **SMALL), file):
            buyer = Buyer()
            buyer.universe = day.symbols
            costs.append(cost_bp(hx.Backtest(day, buyer, venue=LATE, cash=1e9, marks=None).run(), undisturbed))
        more.append(costs[0] - costs[1])
    mean, error = np.mean(more), np.std(more, ddof=1) / math.sqrt(len(more))
    assert mean > 3 * error, f"{mean:.2f} ± {error:.2f} bp more"


# ---- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"symbols": 0}, "symbols is 0: set it between 1 and 9000"),
        ({"symbols": 2.5}, "symbols is 2.5: it is a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"rate": math.nan}, "messages_per_symbol_second"),
        ({"rate": "fast"}, "rate is 'fast': it is a number"),
        ({"date": "5 January"}, "write it as 2026-01-05"),
        ({"tz": "Mars/Base"}, "no time zone"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        hx.agents(**settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"venue": hx.Venue(impact=hx.Impact(volume=1_000.0, permanent=1.0))}, "answer our orders by themselves"),
        ({"venue": hx.Venue(mode="fast")}, "mode 'fast' keeps no books"),
        ({"venue": hx.Venue(latency=hx.Latency(feed="data"))}, "no receive stamps"),
        ({"venue": hx.Venue(self_trade="cancel_oldest")}, "leave self_trade out"),
        ({"venue": {"": hx.Venue(), "DARK": hx.DarkPool(prints=0.1)}}, "agents trade at one exchange"),
        ({"tick": 0.005}, "ticks of a cent"),
        ({"lot": 0.5}, "whole shares"),
    ],
)
def test_what_does_not_go_with_agents_is_refused(settings: dict[str, Any], says: str) -> None:
    day = hx.agents(**SMALL)
    with pytest.raises(ArgumentError, match=says):
        hx.Backtest(day, mids(day.symbols), **settings).run()


def test_agents_are_not_listed_at_a_venue() -> None:
    with pytest.raises(ArgumentError, match="agents trade at one exchange"):
        hx.at(hx.agents(**SMALL), "BATS")  # type: ignore[call-overload]


def test_agents_are_the_whole_market(folder: Path) -> None:
    for others in ([recorded(folder, 3)], [hx.agents(seed=4, **SMALL)]):
        with pytest.raises(ArgumentError, match="agents are the whole market of a run"):
            day = hx.agents(seed=3, **SMALL)
            hx.Backtest([day, *others], mids(day.symbols)).run()


# ---- run files and sweeps --------------------------------------------------------------------------------------------

RUN = """
[[data]]
kind = "agents"
symbols = 4
minutes = 3
group_size = 2
rate = 10.0
seed = 5
{more}
[strategy]
kind = "pairs"
pairs = [["AAAA", "AAAB", 1.0]]
window = "20s"
enter = 1.0
"""


def test_a_run_file_has_agents(tmp_path: Path) -> None:
    from helios.cli import app

    (tmp_path / "run.toml").write_text(RUN.format(more="date = 2026-01-05"))
    shown = CliRunner().invoke(app, ["backtest", str(tmp_path / "run.toml"), "--out", str(tmp_path / "out")])
    assert shown.exit_code == 0, shown.output
    run = hx.Results.load(tmp_path / "out")
    assert run.meta["config"]["data"] == ["agents (4 symbols, 3 minutes, seed 5)"]
    assert run.equity["ts"][0].date().isoformat() == "2026-01-05"
    assert run.fills.height > 0
    assert replay(tmp_path / "out").identical


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('path = "day.itch"', "reads no file"),
        ("volatility = 9.0", "volatility is 9"),
        ('venue = "BATS"', "agents trade at one exchange"),
    ],
)
def test_a_run_file_says_what_is_wrong_with_its_agents(tmp_path: Path, more: str, says: str) -> None:
    from helios.config import load_run

    (tmp_path / "run.toml").write_text(RUN.format(more=more))
    with pytest.raises(ConfigError, match=says):
        load_run(tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ('kind = "bars"\npath = "x.csv"\nminutes = 4', 'only kind = "agents" has minutes'),
        ('kind = "itch"', 'kind = "itch" needs a path'),
        ('kind = "lobster"\npath = "x.zip"\nseed = 4', "true or false"),
    ],
)
def test_other_kinds_have_no_settings_of_agents(tmp_path: Path, data: str, says: str) -> None:
    from helios.config import load_run

    (tmp_path / "run.toml").write_text(f'[[data]]\n{data}\n[strategy]\nkind = "pairs"\npairs = [["A", "B", 1]]\n')
    with pytest.raises(ConfigError, match=says):
        load_run(tmp_path / "run.toml")


def test_every_point_of_a_sweep_has_a_market_of_its_own() -> None:
    def build(size: float, data: Any = None) -> hx.Backtest:
        buyer = Buyer(size=size)
        buyer.universe = data.symbols
        return hx.Backtest(data, buyer, cash=1e9)

    day = hx.agents(seed=2, **SMALL)
    found = hx.sweep(build, {"size": [50.0, 100.0]}, data=day, executor=hx.Serial())
    alone = [build(size, day).run().meta["digest"] for size in (50.0, 100.0)]
    assert list(found.frame["digest"]) == alone
    assert alone[0] != alone[1]
