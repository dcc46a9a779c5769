"""Ghost orders: the venue's answer key. Would our order have had a real order's fills, had it stood in its place?

    found = ghosts("LOBSTER_….zip", orders=1_500)
    found.agree, found.orders, found.exceptions

A real order is taken out of the day's flow, and one of ours is sent at the same place in it, with zero latency, of the
same side, price and size; it is reduced and cancelled when the real one was. Executions stay in the flow as aggressors
of that size at that price, which meet the venue's queue in price-time order; the venue is never told whom they met.
Ours agrees when it has the same fills: time, price and size of every one of them.

Real orders that can serve were added in the file and ended in it, within the levels of the order book file for all of
their life: executed whole, executed in part and cancelled, or cancelled. Left out are those alive at the end, and those
that left the levels of the order book file, beyond which nothing is known of the queue.

Every difference comes with what the data says about it: an execution that breaks price-time order in the feed itself
(an order traded while another stood before it), found by following the feed by number. Where the data says nothing, the
difference counts as unexplained: a fault of the model.

Assumes that rows of one time stand in the order in which the exchange acted. Absent: feeds other than LOBSTER.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

import numpy as np
import polars as pl

from helios.data.lobster import lobster
from helios.data.source import BATCH_ROWS, Batch, ColumnSource, Skipped, check_request
from helios.errors import ArgumentError, DataError
from helios.research.feeds import core_source
from helios.scales import PRICE_SCALE, QUANTITY_SCALE

if TYPE_CHECKING:
    from rich.console import Console

KINDS: Final = ("fully executed", "partly executed", "cancelled")
_FULL, _PARTLY, _CANCELLED = KINDS
_ADD, _EXECUTE, _REDUCE, _DELETE = 0, 1, 2, 3
#: Numbers from here on stand for orders that the messages never added.
_FIRST_SEED = 1 << 62
#: ts, executed order, price, quantity, the order that stood first, its price
_Jump = tuple[int, int, int, int, int, int]


class Fill(TypedDict):
    """One fill; `time` is local time of day."""

    time: str
    price: float
    size: float


class Difference(TypedDict):
    """A real order whose fills ours did not have, and why."""

    order: int
    time: str
    side: str
    price: float
    size: float
    real: list[Fill]
    ours: list[Fill]
    reason: str


@dataclass(frozen=True)
class Ghosts:
    """The comparison. `table` has a row for each kind and hour of day: eligible, orders, agree."""

    orders: int
    agree: int
    exceptions: list[Difference]
    #: How many of the exceptions the data does not explain.
    unexplained: int
    #: How many orders could have served, and how many could not, by reason.
    eligible: int
    left_out: dict[str, int]
    #: Executions of displayed orders in the data, and those that break price-time order, in words.
    executions: int
    broken: list[str]
    table: pl.DataFrame

    def summary(self) -> dict[str, Any]:
        """As one JSON object."""
        return {
            "orders": self.orders,
            "agree": self.agree,
            "exceptions": self.exceptions,
            "unexplained": self.unexplained,
            "eligible": self.eligible,
            "left_out": self.left_out,
            "executions": self.executions,
            "broken": self.broken,
            "kinds": self.table.group_by("kind", maintain_order=True).agg(pl.col("orders", "agree").sum()).to_dicts(),
        }


def ghosts(
    source: str | Path,
    symbol: str | None = None,
    date: str | dt.date | None = None,
    tz: str = "America/New_York",
    *,
    orders: int = 1_500,
    seed: int = 0,
    named: bool = False,
) -> Ghosts:
    """Stands in for `orders` real orders of a LOBSTER zip with an order book file, 0 for all of them.

    The sample has as many of every kind and hour as there are, up to an equal share. `named`: the venue is told of
    strangers' executions by order number, as in a backtest on this feed; by default nobody's.
    """
    if orders < 0 or seed < 0:
        raise ArgumentError(f"orders={orders}, seed={seed}: neither is negative; orders=0 takes all")
    feed = lobster(source, symbol, date, tz, seed=True)
    [name] = feed.symbols
    held = _Held(name, list(feed.batches({name: 0})))
    lives = _lives(held, tz)
    whole = lives.filter(pl.col("kind").is_in(KINDS))
    if whole.is_empty():
        hint = "Ghosts need a day on which orders are added and executed or cancelled."
        raise DataError("no order has its whole life in the file", source=str(source), hint=hint)
    chosen = _sample(whole, orders or whole.height, seed)
    return _compare(held, chosen, whole, _left_out(lives), tz, named)


def print_ghosts(found: Ghosts, console: Console) -> None:
    """For people: kinds over the hours of the day, then every exception."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_edge=False)
    hours = found.table["hour"].unique().sort().to_list()
    table.add_column("orders", no_wrap=True)
    for heading in [*(f"{hour:02d}h" for hour in hours), "all", "agree"]:
        table.add_column(heading, justify="right", no_wrap=True)
    for kind in (*KINDS, "all"):
        rows = found.table if kind == "all" else found.table.filter(pl.col("kind") == kind)
        counts = [rows.filter(pl.col("hour") == hour)["orders"].sum() for hour in hours]
        table.add_row(kind, *(f"{count:,}" for count in [*counts, rows["orders"].sum(), rows["agree"].sum()]))
    console.print(table)
    left = ", ".join(f"{count:,} {reason}" for reason, count in found.left_out.items()) or "none"
    share = found.agree / found.orders
    lines = [
        f"{found.agree:,} of {found.orders:,} orders of ours filled as the real ones did ({share:.3%}); "
        f"{found.eligible:,} could have served, left out: {left}",
        f"{len(found.broken):,} of {found.executions:,} executions in the data break price-time order",
        *(f"  {line}" for line in found.broken),
        f"{len(found.exceptions):,} exceptions",
        *(f"  {_sentence(each)}" for each in found.exceptions),
    ]
    for line in lines:
        console.print(escape(line), highlight=False, soft_wrap=True)


def _sentence(x: Difference) -> str:
    def told(fills: list[Fill]) -> str:
        return ", ".join(f"{fill['size']:g} @ {fill['price']:g} at {fill['time']}" for fill in fills) or "nothing"

    head = f"order {x['order']}, {x['time']}, {x['side']} {x['size']:g} @ {x['price']:g}"
    return f"{head}: filled {told(x['real'])}; ours {told(x['ours'])}: {x['reason']}"


# ---- real orders -----------------------------------------------------------------------------------------------------


class _Held(ColumnSource):
    """A source that was read, to be read again without its files."""

    schema: Literal["orders"] = "orders"

    def __init__(self, symbol: str, batches: list[Batch]) -> None:
        self.skipped: dict[str, Skipped] = {}
        self._symbol = symbol
        self._batches = batches

    @property
    def symbols(self) -> list[str]:
        return [self._symbol]

    @property
    def rows(self) -> int:
        return sum(batch["ts"].size for batch in self._batches)

    def batches(self, ids: Mapping[str, int], size: int = BATCH_ROWS) -> Iterator[Batch]:
        check_request(ids, size)
        return iter(self._batches)

    def frame(self) -> pl.DataFrame:
        names = ("ts", "kind", "order", "side", "price", "size")
        return pl.DataFrame({name: np.concatenate([batch[name] for batch in self._batches]) for name in names})


def _lives(held: _Held, tz: str) -> pl.DataFrame:
    """Every order that the messages add: `order` `ts` `side` `price` `size` `hour` `kind`, kind also says why not."""

    def of(kind: int) -> pl.Expr:
        return pl.col("kind") == kind

    about = held.frame().filter(of(_ADD) | of(_EXECUTE) | of(_REDUCE) | of(_DELETE), pl.col("order") < _FIRST_SEED)
    lives = about.group_by("order", maintain_order=True).agg(
        of(_ADD).sum().alias("adds"),
        *(pl.col(name).filter(of(_ADD)).first() for name in ("ts", "side", "price", "size")),
        pl.col("size").filter(of(_EXECUTE)).sum().alias("executed"),
        pl.col("size").filter(of(_REDUCE)).sum().alias("reduced"),
        # Those that leave the levels of the order book file are deleted without a side.
        (of(_DELETE) & (pl.col("side") >= 0)).any().alias("deleted"),
        (of(_DELETE) & (pl.col("side") < 0)).any().alias("left"),
    )
    over = pl.col("deleted") | (pl.col("executed") + pl.col("reduced") == pl.col("size"))
    kind = (
        pl.when(pl.col("adds") > 1)
        .then(pl.lit("with a number used twice"))
        .when("left")
        .then(pl.lit("left the levels of the order book file"))
        .when(~over)
        .then(pl.lit("alive at the end"))
        .when(pl.col("executed") == pl.col("size"))
        .then(pl.lit(_FULL))
        .when(pl.col("executed") > 0)
        .then(pl.lit(_PARTLY))
        .otherwise(pl.lit(_CANCELLED))
    )
    local = pl.from_epoch("ts", "ns").dt.replace_time_zone("UTC").dt.convert_time_zone(tz)
    lives = lives.filter(pl.col("adds") > 0).with_columns(kind.alias("kind"), local.dt.hour().alias("hour"))
    return lives.select("order", "ts", "side", "price", "size", "hour", "kind")


def _left_out(lives: pl.DataFrame) -> dict[str, int]:
    out = lives.filter(~pl.col("kind").is_in(KINDS)).group_by("kind").len().sort("kind")
    return dict(out.iter_rows())


def _sample(whole: pl.DataFrame, orders: int, seed: int) -> pl.DataFrame:
    """An equal share of every kind, and within it of every hour; what one lacks the others give."""
    dice = pl.Series("dice", np.random.default_rng(seed).permutation(whole.height))
    # One of each hour, then the next of each hour …; the same over the kinds.
    ranked = whole.with_columns(dice).with_columns(pl.col("dice").rank("ordinal").over("kind", "hour").alias("turn"))
    ranked = ranked.with_columns(pl.struct("turn", "dice").rank("ordinal").over("kind").alias("turn"))
    return ranked.sort("turn", "dice").head(orders).sort("ts", "order")


# ---- the comparison --------------------------------------------------------------------------------------------------


def _compare(
    held: _Held, chosen: pl.DataFrame, whole: pl.DataFrame, left_out: dict[str, int], tz: str, named: bool
) -> Ghosts:
    from helios import _core as core

    [name] = held.symbols
    told, broken, executions = core.ghosts([name], [core_source(held, {name: 0}, {})], chosen["order"].to_list(), named)
    of = {row["order"]: row for row in chosen.iter_rows(named=True)}
    exceptions, unexplained, wrong = [], 0, []
    for order, real, ours, ahead, ours_ahead, rejected, jumps, before in told:
        if real == ours:
            continue
        reason = _reason(order, rejected, jumps, (ahead, ours_ahead), before, tz)
        unexplained += reason is None
        wrong.append(order)
        life = of[order]
        exceptions.append(
            Difference(
                order=order,
                time=_time(life["ts"], tz),
                side=("buy", "sell")[life["side"]],
                price=life["price"] / PRICE_SCALE,
                size=life["size"] / QUANTITY_SCALE,
                real=_fills(real, tz),
                ours=_fills(ours, tz),
                reason=reason or "nothing in the data explains it: a fault of the model",
            )
        )
    right = chosen.with_columns((~pl.col("order").is_in(wrong)).alias("right"))
    by = ["kind", "hour"]
    table = (
        whole.group_by(by)
        .agg(pl.len().alias("eligible"))
        .join(right.group_by(by).agg(pl.len().alias("orders"), pl.col("right").sum().alias("agree")), by, how="left")
        .with_columns(pl.col("orders", "agree").fill_null(0))
        .sort(pl.col("kind").replace_strict(KINDS, range(len(KINDS))), "hour")
    )
    agree = chosen.height - len(wrong)
    return Ghosts(
        orders=chosen.height,
        agree=agree,
        exceptions=exceptions,
        unexplained=unexplained,
        eligible=whole.height,
        left_out=left_out,
        executions=executions,
        broken=[f"order {jump[1]}: {_jump(jump[1], jump, tz)}" for jump in broken],
        table=table,
    )


def _fills(fills: list[tuple[int, int, int]], tz: str) -> list[Fill]:
    return [
        {"time": _time(ts, tz), "price": price / PRICE_SCALE, "size": size / QUANTITY_SCALE}
        for ts, price, size in fills
    ]


def _reason(
    order: int,
    rejected: str | None,
    jumps: list[_Jump],
    ahead: tuple[int, int | None],
    before: _Jump | None,
    tz: str,
) -> str | None:
    """What the data says; None when it says nothing."""
    if jumps:
        return "price-time order is broken in the data: " + "; ".join(_jump(order, jump, tz) for jump in jumps)
    if rejected is None and ahead[0] != ahead[1] and before is not None:
        real, ours = ((shares or 0) / QUANTITY_SCALE for shares in ahead)
        jump = f"order {before[1]} traded before {before[4]} at {_time(before[0], tz)}"
        return f"the queue before it had {real:g} shares, before ours {ours:g}, since in the data {jump}"
    return None


def _jump(order: int, jump: _Jump, tz: str) -> str:
    ts, executed, price, size, first, first_price = jump
    shares, at = f"{size / QUANTITY_SCALE:g} @ {price / PRICE_SCALE:g}", _time(ts, tz)
    if executed == order:
        return f"it traded {shares} at {at} while order {first} @ {first_price / PRICE_SCALE:g} stood before it"
    return f"order {executed} behind it traded {shares} at {at}"


def _time(ts: int, tz: str) -> str:
    local = pl.Series([ts]).cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone(tz)
    return str(local.dt.strftime("%H:%M:%S%.9f")[0])
