"""Ghost orders: ours fill as the real ones did on true flow, and differ, with the reason, where the data breaks it."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.cli import app
from helios.data.source import BATCH_ROWS, Batch, ColumnSource, Skipped, check_request
from helios.errors import ArgumentError, DataError, RunError
from helios.research.ghosts import KINDS, Ghosts, ghosts
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

GOOG = Path(__file__).resolve().parents[2].parent / "shared/data/lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"
needs_goog = pytest.mark.skipif(not GOOG.exists(), reason="../shared/data/lobster is not there")
STEM = "KO_2012-06-21_34200000_57600000"
VIEW = 3
ADD, REDUCE, DELETE, EXECUTE = 1, 2, 3, 4


class Day:
    """A LOBSTER day as it is written: orders in order of arrival, a message and a row of the book per event."""

    def __init__(self) -> None:
        self.orders: dict[int, list[int]] = {}  # side (0 buy), price, left
        self.messages: list[str] = []
        self.rows: list[str] = []

    def say(self, kind: int, order: int, size: int, price: int = 0, side: int = 0, *, later: bool = True) -> None:
        """One event, a minute after the one before for each that was said, or else at its moment."""
        if kind == ADD:
            self.orders[order] = [side, price, size]
        else:
            side, price, left = self.orders[order]
            self.orders[order][2] = left - size
            if left == size:
                del self.orders[order]
        second = 34_200 + 60 * len(self.messages) if later or not self.messages else self.messages[-1].split(",")[0]
        self.messages.append(f"{second},{kind},{order},{size},{price},{-1 if side else 1}")
        self.rows.append(self.row())

    def levels(self, side: int) -> list[tuple[int, int]]:
        sums: dict[int, int] = {}
        for of, price, left in self.orders.values():
            if of == side:
                sums[price] = sums.get(price, 0) + left
        return sorted(sums.items(), reverse=side == 0)

    def row(self) -> str:
        asks, bids = ([*self.levels(side), *[(9_999_999_999 if side else -9_999_999_999, 0)] * VIEW] for side in (1, 0))
        return ",".join(f"{a[0]},{a[1]},{b[0]},{b[1]}" for a, b in zip(asks[:VIEW], bids[:VIEW], strict=True))

    def front(self, side: int) -> int | None:
        """The order with the highest priority; they are kept in order of arrival."""
        own = [(order, price) for order, (of, price, _) in self.orders.items() if of == side]
        best = max(price for _, price in own) if side == 0 and own else min((price for _, price in own), default=0)
        return next((order for order, price in own if price == best), None)

    def zip(self, folder: Path, *, key: bool = True) -> Path:
        path = folder / "day.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{STEM}_message_{VIEW}.csv", "\n".join(self.messages))
            if key:
                archive.writestr(f"{STEM}_orderbook_{VIEW}.csv", "\n".join(self.rows))
        return path


def true_day(seed: int, events: int) -> Day:
    """Random flow of an exchange with price-time priority, on two prices a side so that all stays in view."""
    rng, day = random.Random(seed), Day()
    for number in range(1, events):
        later = rng.random() < 0.7
        if len(day.orders) < 3 or rng.random() < 0.5:
            side = rng.randrange(2)
            price = 1_000_000 + (100 if side else -100) * rng.randrange(1, 3)
            day.say(ADD, number, rng.randrange(1, 9) * 10, price, side, later=later)
        elif rng.random() < 0.5:
            order = rng.choice(list(day.orders))
            left = day.orders[order][2]
            size = left if rng.random() < 0.5 else rng.randrange(1, left + 1)
            day.say(DELETE if size == left else REDUCE, order, size, later=later)
        elif (order := day.front(rng.randrange(2))) is not None:
            left = day.orders[order][2]
            day.say(EXECUTE, order, left if rng.random() < 0.5 else rng.randrange(1, left + 1), later=later)
    return day


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.booleans())
def test_on_true_flow_every_ghost_fills_as_the_real_order(
    tmp_path_factory: pytest.TempPathFactory, seed: int, named: bool
) -> None:
    path = true_day(seed, 160).zip(tmp_path_factory.mktemp("day"))
    found = ghosts(path, orders=0, named=named)
    assert found.exceptions == []
    assert found.orders == found.agree == found.eligible > 20
    assert found.table["orders"].sum() == found.table["agree"].sum() == found.orders


def queue_of_three() -> Day:
    """Orders 11, 12 and 13 wait at one price; an order before them keeps the seeded level apart."""
    day = Day()
    day.say(ADD, 1, 10, 999_000, 0)
    for order in (11, 12, 13):
        day.say(ADD, order, 100, 1_000_000, 0)
    return day


def test_an_order_that_trades_before_its_turn_is_an_exception_of_both(tmp_path: Path) -> None:
    day = queue_of_three()
    day.say(EXECUTE, 12, 100)  # order 11 stood before it
    day.say(EXECUTE, 11, 60)
    day.say(DELETE, 11, 40)
    day.say(DELETE, 13, 100)
    found = ghosts(day.zip(tmp_path), orders=0)
    assert (found.orders, found.agree, found.unexplained) == (3, 1, 0)
    assert (found.executions, len(found.broken)) == (2, 1)
    assert found.broken[0].startswith("order 12: it traded 100 @ 100 at 09:34:00.000000000 while order 11 @ 100")
    first, second = found.exceptions
    assert (first["order"], first["side"], first["price"], first["size"]) == (11, "buy", 100.0, 100.0)
    assert first["time"] == "09:31:00.000000000"
    # Ours in the place of order 11 is first in the queue: the first aggressor fills it, the second finds it gone.
    assert first["ours"] == [{"time": "09:34:00.000000000", "price": 100.0, "size": 100.0}]
    assert first["real"] == [{"time": "09:35:00.000000000", "price": 100.0, "size": 60.0}]
    assert first["reason"] == (
        "price-time order is broken in the data: order 12 behind it traded 100 @ 100 at 09:34:00.000000000"
    )
    # In the place of order 12 the first aggressor takes order 11 whole, and the second, of 60, is ours.
    assert second["order"] == 12
    assert second["ours"] == [{"time": "09:35:00.000000000", "price": 100.0, "size": 60.0}]
    assert second["reason"].endswith("it traded 100 @ 100 at 09:34:00.000000000 while order 11 @ 100 stood before it")


def test_ours_shrinks_and_is_cancelled_with_the_real_order(tmp_path: Path) -> None:
    day = queue_of_three()
    day.say(REDUCE, 11, 50)
    day.say(EXECUTE, 11, 20)
    day.say(REDUCE, 11, 10)
    day.say(DELETE, 11, 20)
    day.say(EXECUTE, 12, 100)
    found = ghosts(day.zip(tmp_path), orders=0)
    assert (found.orders, found.agree) == (2, 2)
    assert found.left_out == {"alive at the end": 1}  # order 13; order 1 is in the first row
    kinds = dict(found.table.group_by("kind").agg(pl.col("agree").sum()).iter_rows())
    assert kinds == {"partly executed": 1, "fully executed": 1}


def test_what_leaves_the_levels_cannot_serve(tmp_path: Path) -> None:
    day = queue_of_three()
    for step in (1, 2, 3):
        day.say(ADD, 20 + step, 10, 1_000_000 + 100 * step, 0)  # the level of 11 to 13 is now the fourth
    for order in (23, 22, 21):
        day.say(EXECUTE, order, 10)
    for order in (11, 12, 13):
        day.say(EXECUTE, order, 100)
    found = ghosts(day.zip(tmp_path), orders=0)
    assert found.left_out == {"left the levels of the order book file": 3}
    assert (found.orders, found.agree) == (3, 3)


def test_the_sample_is_seeded_and_even(tmp_path: Path) -> None:
    path = true_day(7, 390).zip(tmp_path)

    def run(seed: int) -> Ghosts:
        return ghosts(path, orders=45, seed=seed)

    assert run(1).table.equals(run(1).table)
    assert not run(1).table.equals(run(2).table)
    counts = run(1).table.group_by("kind").agg(pl.col("orders", "eligible").sum())
    assert counts["orders"].sum() == 45
    # Fifteen of each kind, but where there are fewer.
    assert all(orders >= min(15, eligible) for _, orders, eligible in counts.iter_rows())
    assert ghosts(path, orders=10**6).orders == run(1).eligible


def test_bad_input_is_refused(tmp_path: Path) -> None:
    day = true_day(1, 50)
    with pytest.raises(ArgumentError, match="orders=-1"):
        ghosts(day.zip(tmp_path), orders=-1)
    with pytest.raises(DataError, match="orderbook"):
        ghosts(day.zip(tmp_path, key=False))
    empty = Day()
    empty.say(ADD, 1, 10, 999_000)
    empty.say(ADD, 2, 10, 999_000)
    with pytest.raises(DataError, match="no order has its whole life in the file"):
        ghosts(empty.zip(tmp_path))
    with pytest.raises(DataError, match="no such file"):
        ghosts(tmp_path / "none.zip")


def test_the_command_prints_json_and_a_table(tmp_path: Path) -> None:
    day = queue_of_three()
    day.say(EXECUTE, 12, 100)
    day.say(EXECUTE, 11, 100)
    day.say(DELETE, 13, 100)
    path = str(day.zip(tmp_path))
    told = CliRunner().invoke(app, ["lobster", "ghosts", path, "--orders", "0", "--json"], catch_exceptions=False)
    result = json.loads(told.stdout)
    assert (told.exit_code, result["orders"], result["agree"], len(result["exceptions"])) == (0, 3, 1, 2)
    assert set(result["exceptions"][0]) == {"order", "time", "side", "price", "size", "real", "ours", "reason"}
    plain = CliRunner().invoke(app, ["lobster", "ghosts", path], catch_exceptions=False).stdout
    assert "fully executed" in plain
    assert "price-time order is broken in the data" in plain


@needs_goog
def test_a_real_day() -> None:
    found = ghosts(GOOG)
    assert found.orders >= 1_000
    assert found.agree >= 0.999 * found.orders
    assert found.unexplained == 0
    assert found.executions > 6_949  # those of orders that the file adds, and those of orders from before
    assert len(found.broken) == 5
    assert all(found.table.filter(pl.col("kind") == kind)["orders"].sum() >= 250 for kind in KINDS)
    assert found.table.filter(pl.col("orders") > 0)["hour"].n_unique() == 7


# ---- cash ------------------------------------------------------------------------------------------------------------


class Dice(hx.Strategy):
    """Throws orders of all sorts, and cancels some."""

    name = "dice"

    def __init__(self, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.open: list[int] = []

    def on_book(self, book: Any) -> None:
        size, step = float(self.rng.integers(1, 30)), float(self.rng.integers(-2, 3)) * 0.01
        send = self.buy if self.rng.random() < 0.5 else self.sell
        if self.rng.random() < 0.1 and book.bid < book.ask:
            send(book.symbol, size)
        elif self.rng.random() < 0.6:
            self.open.append(send(book.symbol, size, round(100 + step, 2)))
        elif self.open:
            self.cancel(book.symbol, self.open.pop(0))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32))
def test_the_cash_of_the_engine_is_that_of_the_fills(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    path = true_day(seed, 300).zip(tmp_path_factory.mktemp("cash"))
    fees = hx.Fees(maker_per_share=-0.002, taker_per_share=0.003, taker_bp=0.5)
    run = hx.Backtest(data=hx.lobster(path), strategy=Dice(seed), venue=hx.Venue(fees=fees), cash=1_000_000).run()
    fills = run.fills
    signed = pl.when(pl.col("side") == "buy").then(1).otherwise(-1)
    paid, shares, fee = fills.select(
        (signed * pl.col("price") * pl.col("quantity")).sum().alias("paid"),
        (signed * pl.col("quantity")).sum().alias("shares"),
        pl.col("fee").sum().alias("fee"),
    ).row(0)
    assert fills.height > 10
    last = run.equity.row(-1, named=True)
    assert last["cash"] == pytest.approx(1_000_000 - paid - fee, abs=1e-6)
    assert fills["position"][-1] == shares
    # What a fill costs, from its own price, size and side of the trade alone.
    tariff = pl.when(pl.col("liquidity") == "maker").then(-0.002).otherwise(0.003 + pl.col("price") * 0.00005)
    assert fee == pytest.approx(fills.select((tariff * pl.col("quantity")).sum()).item(), abs=1e-6 * fills.height)


# ---- feeds that do not name whom a trade met -------------------------------------------------------------------------


class Unnamed(ColumnSource):
    """Two bids, and trades with them that name nobody."""

    schema = "orders"

    def __init__(self, last_kind: int = 10) -> None:
        self.skipped: dict[str, Skipped] = {}
        self.kinds = [0, 0, 10, last_kind]

    @property
    def symbols(self) -> list[str]:
        return ["KO"]

    @property
    def rows(self) -> int:
        return len(self.kinds)

    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        check_request(ids, size)
        count = len(self.kinds)
        columns = {
            "ts": np.arange(1, count + 1) * 1_000_000_000,
            "kind": np.array(self.kinds),
            "order": np.array([1, 2, 0, 0]),
            "new_order": np.zeros(count, dtype=np.int64),
            "side": np.array([0, 1, 1, 1]),  # the aggressor sells
            "price": np.array([100, 101, 100, 100]) * 1_000_000_000,
            "size": np.array([50, 50, 30, 60]) * 100_000_000,
        }
        yield columns | {"instrument": np.full(count, ids["KO"], dtype=np.uint32)}


class Joiner(hx.Strategy):
    """Joins the bid once both sides are there."""

    name = "joiner"

    def __init__(self) -> None:
        self.sent = False

    def on_book(self, book: Any) -> None:
        if not self.sent and book.bid < book.ask:
            self.sent = True
            self.buy("KO", 100, 100.0)


def test_a_trade_that_names_nobody_takes_the_queue_in_turn() -> None:
    run = hx.Backtest(data=Unnamed(), strategy=Joiner()).run()
    # 30 of the 50 before ours; then the other 20, and 40 of ours in one fill. History has no more than 20 to give the
    # second trade: ours gives the rest.
    assert run.fills.select("price", "quantity", "liquidity").rows() == [(100.0, 40.0, "maker")]
    with pytest.raises(RunError, match="kind 15 is not one of 0 to 14"):
        hx.Backtest(data=Unnamed(15), strategy=Joiner()).run()
