"""The fast venue beside the exact one, and quotes that follow expressions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helios as hx
import numpy as np
import polars as pl
import pytest
from helios.data.source import BATCH_ROWS, Batch, ColumnSource
from test_cli import printed, shell

SECOND, PRICE, SIZE = 1_000_000_000, 1_000_000_000, 100_000_000
START = 1_767_600_000 * SECOND


def levels(rows: list[tuple[float, str, str, float, float]]) -> ColumnSource:
    """Seconds, kind, side, price, size."""
    frame = pl.DataFrame(rows, schema=["at", "kind", "side", "price", "size"], orient="row")
    at = (pl.col("at") * SECOND).cast(pl.Int64) + START
    return hx.depth(frame.with_columns(ts=at.cast(pl.Datetime("ns", "UTC"))), symbol_is="X")


def book(*more: tuple[float, str, str, float, float]) -> ColumnSource:
    first = [(0.0, "level", "buy", 10.00, 300.0), (0.0, "level", "sell", 10.04, 300.0)]
    return levels([*first, *more])


def make(
    data: ColumnSource, *, venue: hx.Venue | None = None, every: str | None = None, limit: float = 500
) -> hx.Backtest:
    quotes = hx.quote("X", bid=hx.bid("X"), ask=hx.ask("X"), size=100, limit=limit, every=every, strategy="mm")
    return hx.Backtest(data=data, strategy=quotes, venue=venue or hx.Venue(), name="mm")


def test_a_quote_joins_the_queue_and_fills_in_its_turn() -> None:
    data = book(
        (1.0, "level", "buy", 10.00, 310.0),  # both quotes stand; size joins behind
        (2.0, "trade", "sell", 10.00, 350.0),  # 300 before us, 50 of ours
        (2.0, "level", "buy", 10.00, 60.0),
        (3.0, "trade", "sell", 9.99, 500.0),  # through the price: what is left of ours
    )
    run = make(data).run()
    assert run.orders.select("side", "price", "post_only").rows()[:2] == [("buy", 10.0, True), ("sell", 10.04, True)]
    fills = run.fills.select("side", "price", "quantity", "liquidity").rows()
    assert fills == [("buy", 10.0, 50.0, "maker"), ("buy", 10.0, 100.0, "maker")]
    assert run.positions["quantity"].to_list() == [150.0]


def test_a_quote_follows_its_expression_and_leaves_with_its_side() -> None:
    data = book(
        (1.0, "level", "buy", 10.01, 100.0),
        (2.0, "level", "buy", 10.02, 100.0),
        (3.0, "level", "sell", 10.04, 0.0),  # no ask: the ask quote is taken away
        (4.0, "trade", "buy", 10.10, 900.0),
    )
    run = make(data).run()
    bid, ask = (run.orders.filter(pl.col("side") == side) for side in ("buy", "sell"))
    assert (bid.height, bid["price"][0]) == (1, 10.02), "one order that was moved twice"
    assert ask["state"].to_list() == ["cancelled"]
    assert run.fills.height == 0


def test_every_limits_how_often_a_quote_moves() -> None:
    moves = [(0.1 * n, "level", "buy", 10.01, 10.0 * (n % 2)) for n in range(1, 60)]
    often, seldom = (make(book(*moves), every=every).run().meta["outputs"] for every in (None, "1s"))
    assert seldom < often / 4


def test_the_position_stays_within_the_limit() -> None:
    trades = [(float(n), "trade", "sell", 9.99, 1_000.0) for n in range(1, 20)]
    shows = [(n + 0.5, "level", "buy", 10.00, 300.0 + n) for n in range(1, 20)]
    run = make(book(*sorted(trades + shows)), limit=250).run()
    assert run.positions["quantity"].to_list() == [250.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hx.quote("X", size=1, limit=1), "give bid, ask or both"),
        (lambda: hx.quote("X", bid=hx.bid_size("X"), size=1, limit=1), "must be a price"),
        (lambda: hx.quote("X", bid=10.0, size=1, limit=1), "must be an expression"),
        (lambda: hx.quote("X", bid=hx.bid("X"), size=0, limit=1), "size is 0"),
        (lambda: hx.quote("X", bid=hx.bid("X"), size=1, limit=float("nan")), "limit is nan"),
        (lambda: make(book(), every="often"), "every"),
    ],
)
def test_what_cannot_be_quoted_is_refused(call: Any, message: str) -> None:
    with pytest.raises(hx.ArgumentError, match=message):
        call()


def test_two_quotes_of_one_side_are_refused() -> None:
    twice = [hx.quote("X", bid=hx.bid("X"), size=1, limit=1) for _ in range(2)]
    with pytest.raises(hx.ArgumentError, match="quotes bid of 'X' twice"):
        hx.Backtest(data=book(), strategy=twice).run()


class Orders(ColumnSource):
    """A random day of single orders that never crosses."""

    schema = "orders"

    def __init__(self, seed: int) -> None:
        self.skipped = {}
        rng = np.random.default_rng(seed)
        rows: list[tuple[int, int, int, int, int]] = []
        alive: list[tuple[int, int, int, int]] = []  # order, side, ticks, shares
        for number in range(1, 4_000):
            if alive and rng.random() < 0.45:
                # The best order of a side, or any, trades or is cancelled.
                side = int(rng.integers(2))
                mine = [x for x in alive if x[1] == side] or alive
                best = max(mine, key=lambda x: (x[2] * (1 if x[1] == 0 else -1), -x[0]))
                trades = rng.random() < 0.6
                order, side, ticks, shares = best if trades else alive[int(rng.integers(len(alive)))]
                alive = [x for x in alive if x[0] != order]
                rows.append((1 if trades else 3, order, side, ticks, shares))
            else:
                side, away = int(rng.integers(2)), int(rng.integers(1, 5))
                ticks, shares = (1_000 - away if side == 0 else 1_000 + away), int(rng.integers(1, 5)) * 100
                alive.append((number, side, ticks, shares))
                rows.append((0, number, side, ticks, shares))
        self._rows = np.array(rows, dtype=np.int64)

    @property
    def symbols(self) -> list[str]:
        return ["X"]

    @property
    def rows(self) -> int:
        return len(self._rows)

    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        kind, order, side, ticks, shares = self._rows.T
        yield {
            "ts": START + SECOND * np.arange(1, len(kind) + 1),
            "instrument": np.full(len(kind), ids["X"], dtype=np.uint32),
            "kind": np.ascontiguousarray(kind),
            "order": np.ascontiguousarray(order),
            "new_order": np.zeros(len(kind), dtype=np.int64),
            "side": np.ascontiguousarray(side),
            "price": np.ascontiguousarray(ticks) * PRICE // 100,
            "size": np.ascontiguousarray(shares) * SIZE,
        }


def test_the_fast_venue_knows_no_queue_and_the_comparison_says_so() -> None:
    compared = hx.compare(lambda: make(Orders(7)))
    assert compared.exact.headline.fills > 0
    assert compared.both + compared.only_exact.height == compared.exact.market_fills.height
    assert compared.both + compared.only_fast.height == compared.fast.market_fills.height
    assert compared.only_exact.height > 0, "some fills come of the queue alone"
    row = compared.instruments.row(0, named=True)
    assert row["net_difference"] == pytest.approx(compared.fast.headline.net - compared.exact.headline.net, abs=1e-6)
    assert "exact and fast venue" in str(compared)


def test_a_taker_of_small_orders_fills_alike_in_both() -> None:
    def run() -> hx.Backtest:
        side = hx.last("X").zscore(20).hysteresis(enter=0.8, exit=0.1)
        return hx.Backtest(data=Orders(3), strategy=hx.target("X", side, quantity=1))

    compared = hx.compare(run)
    assert compared.exact.headline.fills > 20
    assert compared.both == compared.exact.headline.fills == compared.fast.headline.fills


def test_fast_refuses_what_it_cannot() -> None:
    venue = hx.Venue(mode="fast", latency=hx.Latency(feed="1ms"))
    with pytest.raises(hx.HeliosError, match="feed latency"):
        make(book(), venue=venue).run()
    with pytest.raises(hx.ArgumentError, match="leave impact out"):
        hx.Venue(mode="fast", impact={"X": hx.Impact(volume=1e6)})
    with pytest.raises(hx.ArgumentError, match="leave impact out"):
        hx.compare(lambda: make(book(), venue=hx.Venue(impact=hx.Impact(volume=1e6))))
    with pytest.raises(hx.ArgumentError, match="mode is 'quick'"):
        make(book(), venue=hx.Venue(mode="quick")).run()  # type: ignore[arg-type]
    with pytest.raises(hx.ArgumentError, match="makes a Backtest"):
        hx.compare(lambda: 1)  # type: ignore[arg-type, return-value]


def test_the_command_compares(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "ts": pl.Series(START + SECOND * np.arange(200)).cast(pl.Datetime("ns", "UTC")),
            "symbol": "X",
            "bid": 10.0 + 0.01 * (np.arange(200) % 7),
            "ask": 10.02 + 0.01 * (np.arange(200) % 7),
            "bid_size": 100.0,
            "ask_size": 100.0,
        }
    )
    frame.write_parquet(tmp_path / "quotes.parquet")
    (tmp_path / "run.py").write_text(
        "import helios as hx\n"
        "def run():\n"
        f"    z = hx.mid('X').zscore(20)\n"
        f"    data = hx.quotes({str(tmp_path / 'quotes.parquet')!r})\n"
        "    return hx.Backtest(data=data, strategy=hx.target('X', -z.hysteresis(enter=1, exit=0.2), quantity=10))\n"
    )
    told = json.loads(printed("backtest", tmp_path / "run.py", "--compare", "--json"))
    assert told["fills_in"]["only_exact"] == told["fills_in"]["only_fast"] == 0
    assert told["fills_in"]["both"] == told["fills"]["exact"] > 0
    refused = shell("backtest", tmp_path / "run.py", "--compare", "--out", tmp_path / "out")
    assert refused.returncode != 0
    assert "leave out --out" in refused.stderr
