"""What a run leaves behind: tables, metadata, the numbers derived from them, and the folder they live in.

Assumes: the tables come from one run, time runs forward in each of them, and money is in one currency.
Money and prices are float64 here, divided once (in `Results.from_core`) out of the core's integers; nothing
that is computed here ever flows back into trading. Absent on purpose: charts (`charts`, `plots`, `report`),
the terminal (`summary`) and the journal's layout (only the core knows it).

Keys of `meta` that the report knows, all optional: `name`, `config` (dict or text), `versions` (dict), `seed`,
`digest`, `inputs`, `outputs`, `started` and `finished` (market time: int ns since 1970 UTC, or text), `wall_seconds`,
`events_per_second`, `trade_from` (ns since 1970 UTC), `currency`, `days_per_year` (252), `pillars` ({"data": {label:
count}, "signals": …, "risk": …, "execution": …}) and `latency` ({"bucket_ns": lower bounds, "count": […], "p50": ns,
"p90", "p99", "p99.9", "max"}).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from helios.errors import DataError, RunError
from helios.research.metrics import (
    MIN_SAMPLES,
    finite,
    hit_rate,
    max_drawdown,
    profit_factor,
    return_on_peak,
    sharpe_ratio,
    turnover,
)
from helios.scales import CASH_SCALE, PRICE_SCALE, QUANTITY_SCALE

if TYPE_CHECKING:
    from helios.research.plots import Plots

PRICE_UNDEFINED: Final = 2**63 - 1
"""The core's "no price": a market order, or an instrument without a mark. It becomes null."""

FORMAT: Final = 1
"""Version of the run folder, written to run.json; a reader refuses what it does not know."""
RUN_FILE: Final = "run.json"
JOURNAL_FILE: Final = "journal.hj"
REPORT_FILE: Final = "report.html"

SHARPE_MIN_DAYS: Final = 5
_NS_PER_MINUTE: Final = 60_000_000_000
_SHARPE_STEPS: Final = (  # coarsest first; finer than a minute measures the bid-ask bounce, not the strategy
    ("1-day", 1440 * _NS_PER_MINUTE),
    ("1-hour", 60 * _NS_PER_MINUTE),
    ("15-minute", 15 * _NS_PER_MINUTE),
    ("5-minute", 5 * _NS_PER_MINUTE),
    ("1-minute", _NS_PER_MINUTE),
)

# Names of the core's enums, in the order of their numbers (core/types).
CODES: Final[dict[str, tuple[str, ...]]] = {
    "side": ("buy", "sell"),
    "time_in_force": ("day", "ioc", "fok", "open", "close"),
    # To what an order is pegged.
    "peg": ("none", "mid"),
    "state": (
        "new",
        "accepted",
        "partly_filled",
        "filled",
        "cancel_pending",
        "cancelled",
        "replace_pending",
        "rejected",
        "unknown",
    ),
    "liquidity": ("maker", "taker", "transfer"),
    "rule": (
        "order_quantity",
        "order_notional",
        "price_collar",
        "position",
        "gross_exposure",
        "order_rate",
        "daily_loss",
        "stopped",
        "invalid",
        "unlinked",
    ),
    "booking": ("split", "dividend", "borrow", "financing"),
    "quality": (
        "unknown_order",
        "duplicate_order",
        "exceeds_quantity",
        "wrong_instrument",
        "bad_value",
        "crossed",
        "time_backwards",
        "full",
        "gap",
        "whole",
    ),
}
_REBUILD: Final = "The core and the Python package differ; build them together."
_TRANSFER: Final = CODES["liquidity"].index("transfer")

RULE_UNIT: Final[dict[str, str]] = {
    "order_quantity": "quantity",
    "order_notional": "cash",
    "price_collar": "fraction",
    "position": "quantity",
    "gross_exposure": "cash",
    "order_rate": "orders/s",
    "daily_loss": "cash",
    "stopped": "",
    "invalid": "",
    "unlinked": "",
}
"""Unit of a refusal's `limit` and `value`, by rule."""

# Column -> kind, for every table. A kind fixes both the Polars type and how the core's integers are read.
TABLES: Final[dict[str, dict[str, str]]] = {
    "orders": {
        "ts": "time",
        "order": "count",
        "strategy": "strategy",
        "instrument": "security",
        "venue": "venue",
        "side": "side",
        "quantity": "quantity",
        "price": "price",
        "time_in_force": "time_in_force",
        "state": "state",
        "filled": "quantity",
        "post_only": "flag",
        "peg": "peg",
        "display": "display",
        "stop": "price",
    },
    "fills": {
        "ts": "time",
        "ts_event": "time",
        "order": "count",
        "execution": "count",
        "strategy": "strategy",
        "instrument": "security",
        "venue": "venue",
        "side": "side",
        "price": "price",
        "quantity": "quantity",
        "fee": "cash",
        "liquidity": "liquidity",
        "position": "quantity",
        "realised": "cash",
    },
    "refusals": {
        "ts": "time",
        "strategy": "strategy",
        "instrument": "instrument",
        "rule": "rule",
        "limit": "by_rule",
        "value": "by_rule",
        "side": "side",
        "quantity": "quantity",
        "price": "price",
    },
    "signals": {"ts": "time", "signal": "signal", "value": "number", "input": "number"},
    "equity": {
        "ts": "time",
        "equity": "cash",
        "cash": "cash",
        "realised": "cash",
        "unrealised": "cash",
        "fees": "cash",
        "gross": "cash",
        "net": "cash",
        "dividends": "cash",
        "borrow": "cash",
        "financing": "cash",
    },
    "positions": {
        "instrument": "security",
        "quantity": "quantity",
        "average_price": "price",
        "mark": "price",
        "unrealised": "cash",
        "realised": "cash",
        "fees": "cash",
        "dividends": "cash",
        "borrow": "cash",
    },
    "strategies": {
        "strategy": "strategy",
        "realised": "cash",
        "unrealised": "cash",
        "fees": "cash",
        "net": "cash",
        "fills": "count",
        "turnover": "cash",
        "dividends": "cash",
        "borrow": "cash",
        "financing": "cash",
    },
    "quality": {"instrument": "instrument", "kind": "quality", "count": "count"},
    # Sampled reference prices of some instruments, for the trade chart; may be empty.
    "marks": {"ts": "time", "instrument": "instrument", "price": "price"},
    # What moved money and shares without a trade, each strategy's part; `cash` is received when positive. Interest is
    # of no instrument, and that on the money which the run began with is no strategy's.
    "cashflows": {
        "ts": "time",
        "strategy": "maybe_strategy",
        "instrument": "maybe_instrument",
        "kind": "booking",
        "cash": "cash",
        "position": "quantity",
        "realised": "cash",
        "numerator": "count",
        "denominator": "count",
    },
}
#: Columns of money that not every table has: runs of older versions, and tables made by hand. Nothing was paid there.
_OPTIONAL: Final = frozenset({"dividends", "borrow", "financing"})
#: The core's number of no strategy and of no instrument.
_NOBODY: Final = 2**32 - 1
#: Columns that tables of earlier versions lack, and what stands for them.
_LATER: Final[dict[str, dict[str, bool | str | None]]] = {
    "orders": {"post_only": False, "peg": "none", "display": None, "stop": None},
}
_DTYPES: Final[dict[str, pl.DataType]] = {
    "time": pl.Datetime("ns", "UTC"),
    "count": pl.UInt64(),
    "flag": pl.Boolean(),
    **dict.fromkeys(("price", "quantity", "cash", "number", "by_rule", "display"), pl.Float64()),
    **dict.fromkeys(
        ("strategy", "instrument", "security", "venue", "signal", "maybe_strategy", "maybe_instrument", *CODES),
        pl.String(),
    ),
}
_TRADES: Final[dict[str, pl.DataType]] = {
    "strategy": pl.String(),
    "instrument": pl.String(),
    "side": pl.String(),
    "quantity": pl.Float64(),
    "entry_ts": pl.Datetime("ns", "UTC"),
    "entry_price": pl.Float64(),
    "exit_ts": pl.Datetime("ns", "UTC"),
    "exit_price": pl.Float64(),
    "pnl": pl.Float64(),
    "fees": pl.Float64(),
    "net": pl.Float64(),
}


# --- What is derived from the tables -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sharpe:
    """A Sharpe ratio and how it was made, or why there is none."""

    value: float | None
    note: str


@dataclass(frozen=True, slots=True)
class Headline:
    """The numbers one looks at first. Money in currency units; None where a number has no meaning."""

    net: float | None
    """Realised + unrealised - fees + dividends - borrow - financing at the end of the run."""
    before_fees: float | None
    fees: float | None
    peak_gross: float | None
    return_on_peak_gross: float | None
    sharpe: Sharpe
    max_drawdown: float | None
    """Of the net P&L, which starts at zero."""
    turnover: float
    orders: int
    fills: int
    """Executions at a venue; transfers between strategies are not among them."""
    transfers: int
    maker_share: float | None
    """Maker fills / fills, by count."""
    refusals: int
    round_trips: int
    hit_rate: float | None
    """Of round trips, after fees."""
    profit_factor: float | None
    """Of round trips, after fees."""
    dividends: float = 0.0
    """Received, less those paid while short."""
    borrow: float = 0.0
    """Paid for borrowed shares."""
    financing: float = 0.0
    """Interest paid, less interest received."""


@dataclass(frozen=True, slots=True)
class Names:
    """What the core's dense indices mean: position in the tuple is the index."""

    strategies: Sequence[str] = ()
    instruments: Sequence[str] = ()
    signals: Sequence[str] = ()
    #: Security and venue of each instrument; empty: each is a security, at the only venue.
    listings: Sequence[tuple[str, str]] = ()


def _empty(name: str) -> Callable[[], pl.DataFrame]:
    return lambda: pl.DataFrame(schema={column: _DTYPES[kind] for column, kind in TABLES[name].items()})


@dataclass(frozen=True, eq=False)
class Results:
    """The tables of one run (columns: `TABLES`; times UTC, ns) and its `meta`. A table not given is empty.

    Raises DataError if a table lacks a column or a column has a type that cannot stand for the right one.
    """

    orders: pl.DataFrame = field(default_factory=_empty("orders"))
    fills: pl.DataFrame = field(default_factory=_empty("fills"))
    refusals: pl.DataFrame = field(default_factory=_empty("refusals"))
    signals: pl.DataFrame = field(default_factory=_empty("signals"))
    equity: pl.DataFrame = field(default_factory=_empty("equity"))
    positions: pl.DataFrame = field(default_factory=_empty("positions"))
    strategies: pl.DataFrame = field(default_factory=_empty("strategies"))
    quality: pl.DataFrame = field(default_factory=_empty("quality"))
    marks: pl.DataFrame = field(default_factory=_empty("marks"))
    cashflows: pl.DataFrame = field(default_factory=_empty("cashflows"))
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in TABLES:
            object.__setattr__(self, name, _conform(name, getattr(self, name)))

    @classmethod
    def from_core(
        cls, columns: Mapping[str, Mapping[str, NDArray[Any]]], names: Names, meta: Mapping[str, Any] | None = None
    ) -> Self:
        """From the core's columns: integers at their scales, indices, enum numbers, ns since 1970; float64 for numbers.

        This is the one place where money stops being an integer. Beyond 2^53 units a float64 keeps 53 bits.
        """
        tables = {name: _table_from_core(name, raw, names) for name, raw in columns.items()}
        return cls(**tables, meta=dict(meta or {}))

    def table(self, name: str) -> pl.DataFrame:
        """One table by its name; DataError for a name that is none."""
        if name == "trades":
            return self.trades
        if name not in TABLES:
            raise DataError(f"no table named {name!r} in a run", hint=f"Tables are {', '.join([*TABLES, 'trades'])}.")
        frame: pl.DataFrame = getattr(self, name)
        return frame

    @cached_property
    def trades(self) -> pl.DataFrame:
        """Round trips, first in first out, per strategy and instrument; see `round_trips`."""
        return round_trips(self.fills, self.cashflows)

    @cached_property
    def market_fills(self) -> pl.DataFrame:
        """Fills at a venue: without internal transfers between strategies."""
        return self.fills.filter(pl.col("liquidity") != "transfer")

    @cached_property
    def net_path(self) -> NDArray[np.float64]:
        """Net P&L after all costs at each row of `equity`; starts at zero by definition. Currency units."""
        path = _net_of(self.equity)
        return path.cast(pl.Float64).fill_null(float("nan")).to_numpy()

    @cached_property
    def headline(self) -> Headline:
        """The headline numbers."""
        fills = self.market_fills
        net, fees = self._net_and_fees()
        gross = finite(self.equity["gross"].drop_nulls().to_numpy())
        trips = self.trades["net"].to_numpy()
        return Headline(
            net=net,
            before_fees=None if net is None or fees is None else net + fees,
            fees=fees,
            peak_gross=float(gross.max()) if gross.size else None,
            return_on_peak_gross=return_on_peak(net, gross),
            sharpe=self._sharpe(),
            max_drawdown=max_drawdown(self.net_path, start=0.0),
            turnover=turnover(fills["price"], fills["quantity"]),
            orders=self.orders.height,
            fills=fills.height,
            transfers=self.fills.height - fills.height,
            maker_share=float((fills["liquidity"] == "maker").to_numpy().mean()) if fills.height else None,
            refusals=self.refusals.height,
            round_trips=self.trades.height,
            hit_rate=hit_rate(trips),
            profit_factor=profit_factor(trips),
            dividends=self._total("dividends"),
            borrow=self._total("borrow"),
            financing=self._total("financing"),
        )

    def _total(self, column: str) -> float:
        """Of a column of `equity` that only grows: what it has come to."""
        return _number(self.equity[column].tail(1).sum()) or 0.0

    def _net_and_fees(self) -> tuple[float | None, float | None]:
        known = np.flatnonzero(np.isfinite(self.net_path))
        if known.size:
            return float(self.net_path[known[-1]]), _number(self.equity["fees"][int(known[-1])])
        if self.positions.height:
            return _table_net(self.positions), _number(self.positions["fees"].sum())
        # Nothing was ever held, or nobody kept accounts: only the first is a zero.
        return (None, None) if self.fills.height else (0.0, 0.0)

    def _sharpe(self) -> Sharpe:
        days_per_year = float(self.meta.get("days_per_year", 252))
        ts = self.equity["ts"].to_physical().to_numpy()
        path = self.net_path
        # What came before the start of trading is no part of the strategy's record.
        keep = np.isfinite(path) & (ts >= int(self.meta.get("trade_from") or 0))
        for label, step in _SHARPE_STEPS:
            bucket, net = _last_per_bucket(ts[keep] // step, path[keep])
            changes = np.diff(net)
            if changes.size < MIN_SAMPLES:
                continue
            days = np.unique(bucket * step // _SHARPE_STEPS[0][1]).size
            if days < SHARPE_MIN_DAYS:
                seen = f"{days} day{'s' if days != 1 else ''} of trading"
                return Sharpe(None, f"{seen}: an annualised figure needs {SHARPE_MIN_DAYS}")
            # Samples of one observed day stand for samples of every day: half an hour a day stays half an hour a day.
            per_day = 1.0 if label == "1-day" else changes.size / days
            value = sharpe_ratio(changes, days_per_year * per_day)
            if value is None:
                return Sharpe(None, f"{changes.size} {label} P&L changes do not vary")
            scale = f"√({days_per_year:g}·{per_day:g})" if per_day != 1 else f"√{days_per_year:g}"
            seen = "" if label == "1-day" else f"; {days} days seen"
            return Sharpe(value, f"{changes.size} {label} P&L changes, annualised by {scale}{seen}")
        return Sharpe(None, f"fewer than {MIN_SAMPLES} one-minute samples of equity")

    def reconciliation(self) -> dict[str, float]:
        """Net P&L as each table that has rows tells it (equity, positions, strategies); equal up to rounding."""
        told: dict[str, float] = {}
        known = self.net_path[np.isfinite(self.net_path)]
        if known.size:
            told["equity"] = float(known[-1])
        interest = self._total("financing")
        # Interest is of no instrument, and part of it of no strategy: those tables do not have it.
        elsewhere = {"positions": interest, "strategies": interest - float(self.strategies["financing"].sum())}
        for name, financing in elsewhere.items():
            net = _table_net(self.table(name))
            if net is not None:
                told[name] = net - financing
        return told

    def reconciles(self) -> bool:
        """True unless two tables tell a net P&L more than a cent (or 1e-9 of turnover) apart."""
        told = list(self.reconciliation().values())
        return not told or max(told) - min(told) <= max(0.01, 1e-9 * self.headline.turnover)

    def pillars(self) -> dict[str, dict[str, Any]]:
        """What each pillar did: label -> count. From `meta["pillars"]`; what is absent there is counted from tables."""
        derived: dict[str, dict[str, Any]] = {
            "data": {"quality events": _int_sum(self.quality["count"])},
            "signals": {"signal changes": self.signals.height},
            "risk": {"refusals": self.refusals.height},
            "execution": {"orders": self.orders.height, "fills": self.fills.height},
        }
        given = self.meta.get("pillars")
        given = given if isinstance(given, Mapping) else {}
        return {p: dict(given[p]) if isinstance(given.get(p), Mapping) else derived[p] for p in derived}

    @cached_property
    def returns(self) -> pl.DataFrame:
        """Daily returns on equity (columns date, return): last equity of a UTC day / that of the day before - 1.

        The first is against the last equity before trading starts (`trade_from`), or the first sample. Samples without
        a value are left out. Raises RunError where equity is zero or below: no return on nothing exists.
        """
        known = self.equity.filter(pl.col("equity").is_finite()).select("ts", "equity")
        begin = pl.lit(int(self.meta.get("trade_from") or 0)).cast(_DTYPES["time"])
        before = known.filter(pl.col("ts") < begin)
        traded = known.filter(pl.col("ts") >= begin)
        start = before.tail(1) if before.height else traded.head(1)
        last = traded.group_by(pl.col("ts").dt.date().alias("date"), maintain_order=True).agg(pl.col("equity").last())
        path = pl.concat([start["equity"], last["equity"]])
        if (path <= 0).any():
            raise RunError(
                f"equity falls to {float(path.to_numpy().min()):,.2f}: below zero there are no returns",
                hint="Give Backtest(cash=…) as much money as its positions need.",
            )
        return last.select("date", (pl.col("equity") / path.head(last.height) - 1).alias("return"))

    # --- For people ------------------------------------------------------------------------------------------------

    @cached_property
    def plot(self) -> Plots:
        """Charts as Plotly figures: `plot()`, `plot.equity()`, `.drawdown()`, `.trades("KO")`, `.signal("KO/PEP")`."""
        from helios.research.plots import Plots

        return Plots(self)

    def __repr__(self) -> str:
        h = self.headline
        net = "n/a" if h.net is None else f"{h.net:,.2f}"
        return f"<Results {self.meta.get('name') or 'backtest'!r}: {h.orders:,} orders, {h.fills:,} fills, net {net}>"

    def __str__(self) -> str:
        """The summary, as the terminal shows it, without colours."""
        from helios.research.summary import as_text, print_summary

        return as_text(lambda console: print_summary(self, console))

    def _repr_html_(self) -> str:
        from helios.research.plots import card

        return card(self)

    # --- The run folder --------------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False, report: bool = True) -> Path:
        """Writes tables, report and, last, run.json (a folder without it is not a finished run). Returns the folder.

        A journal that the core has already written there is kept, and its SHA-256 goes to `meta["journal_sha256"]`. Any
        other content makes it RunError unless `overwrite`; then our own files are replaced and foreign ones left alone.
        """
        path = Path(folder)
        # A journal beside a run.json belongs to that run; without one it is the run that is being saved now.
        older = path / RUN_FILE
        stale = older.exists() and (self.meta.get("digest") is None or _digest_of(older) != self.meta["digest"])
        _claim(path, overwrite, with_journal=stale)
        for name in [*TABLES, "trades"]:
            write_whole(path / f"{name}.parquet", self.table(name).write_parquet)
        journal = path / JOURNAL_FILE
        if journal.exists():
            with journal.open("rb") as f:
                self.meta["journal_sha256"] = hashlib.file_digest(f, "sha256").hexdigest()
        if report:
            from helios.research.report import write_report

            write_report(self, path / REPORT_FILE)
        meta = {**jsonable(self.meta), "format": FORMAT}
        text = json.dumps(meta, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_whole(path / RUN_FILE, lambda f: f.write_text(text, encoding="utf-8"))
        return path

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Reads a run folder; `trades` are derived again.

        RunError if it is none, or a file is missing or damaged; DataError if a table has not the right columns.
        """
        path = Path(folder)
        meta = _read_run_file(path)
        tables: dict[str, pl.DataFrame] = {}
        for name in TABLES:
            file = path / f"{name}.parquet"
            if name == "cashflows" and not file.exists():
                continue  # a run from before there were any
            try:
                tables[name] = pl.read_parquet(file)
            except (OSError, pl.exceptions.PolarsError) as error:
                raise RunError(
                    f"cannot read the table {name!r} in {file.name}: {_first_line(error)}",
                    folder=str(path),
                    hint="Run it again, or replay its journal into a new folder.",
                ) from error
        return cls(**tables, meta=meta)


def round_trips(fills: pl.DataFrame, cashflows: pl.DataFrame | None = None) -> pl.DataFrame:
    """Matches fills first in, first out, per strategy and instrument, from a flat start; one row a matched piece.

    `side` is "long" or "short", `pnl` is (exit - entry) * quantity with the side's sign, `fees` the pieces' share of
    both fills' fees by quantity, `net` = pnl - fees. What is still open at the end is not a trade and has no row.
    Splits among the `cashflows` change open lots: more shares at a lower entry price, a fraction paid out is closed.
    """
    book = _Lots()
    columns = (fills[c].to_list() for c in ("strategy", "instrument", "side", "price", "quantity", "fee"))
    times = fills["ts"].to_physical().to_list()
    splits = deque(_splits(cashflows))
    for ts, strategy, instrument, side, price, quantity, fee in zip(times, *columns, strict=True):
        while splits and splits[0][0] < ts:
            book.split(*splits.popleft())
        if quantity is None or price is None or not math.isfinite(quantity) or not math.isfinite(price):
            continue  # not a fill that money can be computed from; the engine never makes one
        # In the core's integer units, so that many partial fills leave no residue of rounding errors.
        left = round(quantity * QUANTITY_SCALE) * (1 if side == "buy" else -1)
        book.trade((strategy, instrument), ts, left, price, (fee or 0.0) / abs(left) if left else 0.0)
    for split in splits:
        book.split(*split)
    raw = {k: pl.Int64() if k.endswith("_ts") else dtype for k, dtype in _TRADES.items()}
    return pl.DataFrame(book.rows, schema=raw, orient="row").cast(dict(_TRADES.items()))


def _splits(cashflows: pl.DataFrame | None) -> Iterator[tuple[int, tuple[str, str], int, int, float, float]]:
    """Time, strategy and instrument, ratio, position afterwards and cash of each split."""
    if cashflows is None:
        return
    rows = cashflows.filter(pl.col("kind") == "split").with_columns(pl.col("ts").to_physical())
    names = ("ts", "strategy", "instrument", "numerator", "denominator", "position", "cash")
    for ts, strategy, instrument, *rest in rows.select(names).iter_rows():
        yield (ts, (strategy, instrument), *rest)


class _Lots:
    """Open pieces of every strategy and instrument, oldest first, and the rows of those that were closed."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self._open: dict[tuple[str, str], deque[list[Any]]] = {}

    def trade(self, key: tuple[str, str], ts: int, left: int, price: float, fee_per_unit: float) -> None:
        """A fill of signed quantity `left`."""
        lots = self._open.setdefault(key, deque())
        while left and lots and (lots[0][0] > 0) != (left > 0):
            lot = lots[0]
            matched = min(abs(left), abs(lot[0]))
            direction = 1 if lot[0] > 0 else -1
            size = matched / QUANTITY_SCALE
            pnl = (price - lot[1]) * size * direction
            fees = matched * (fee_per_unit + lot[3])
            name = "long" if direction > 0 else "short"
            self.rows.append((*key, name, size, lot[2], lot[1], ts, price, pnl, fees, pnl - fees))
            lot[0] -= matched * direction
            left += matched * direction
            if not lot[0]:
                lots.popleft()
        if left:
            lots.append([left, price, ts, fee_per_unit])

    def split(self, ts: int, key: tuple[str, str], new: int, old: int, position: float, cash: float) -> None:
        """Lots in new shares; what they are more than the position was paid out."""
        before = after = 0
        for lot in (lots := self._open.get(key, deque())):
            before += lot[0]
            upto = before * new // old
            lot[0], lot[1], lot[3] = upto - after, lot[1] * old / new, lot[3] * old / new
            after = upto
        for lot in [lot for lot in lots if not lot[0]]:
            lots.remove(lot)
        fraction = after - round(position * QUANTITY_SCALE)
        if fraction:
            self.trade(key, ts, -fraction, abs(cash) / abs(fraction) * QUANTITY_SCALE, 0.0)


def prepare_folder(folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Makes the folder ready for a run before the run begins, so that hours are not lost to a folder that exists.

    RunError if it holds anything, unless `overwrite`: then an older run's files (journal too) are removed.
    """
    path = Path(folder)
    if path.is_dir() and not overwrite and any(path.iterdir()):
        raise _exists(path)
    _claim(path, overwrite, with_journal=True)
    return path


def take_over(new: Path, folder: Path) -> None:
    """Moves a finished run over an older one: its run.json goes first, ours comes last. Foreign files stay."""
    try:
        (folder / RUN_FILE).unlink(missing_ok=True)
        for file in sorted(new.iterdir(), key=lambda file: file.name == RUN_FILE):
            file.replace(folder / file.name)
        new.rmdir()
    except OSError as error:
        reason = f"the new run could not take the place of the old one: {_first_line(error)}"
        raise RunError(reason, folder=str(new), hint="The new run is complete in this folder.") from error


# --- Helpers -------------------------------------------------------------------------------------------------------


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _int_sum(series: pl.Series) -> int:
    return int(series.sum() or 0)


def _table_net(table: pl.DataFrame) -> float | None:
    if not table.height:
        return None
    return _number(_net_of(table).sum())


def _net_of(table: pl.DataFrame) -> pl.Series:
    """Net P&L of each row."""
    net = table["realised"] + table["unrealised"] - table["fees"] + table["dividends"] - table["borrow"]
    return net - table["financing"] if "financing" in table.columns else net


def _last_per_bucket(
    bucket: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    last = np.append(bucket[1:] != bucket[:-1], True)[: bucket.size]
    return bucket[last], values[last]


def _conform(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    schema = {column: _DTYPES[kind] for column, kind in TABLES[name].items()}
    if "venue" in schema and "venue" not in frame.columns:
        # Runs of before there were several, and tables made by hand.
        frame = frame.with_columns(pl.lit("").alias("venue"))
    absent = [column for column in schema if column in _OPTIONAL and column not in frame.columns]
    frame = frame.with_columns(pl.lit(0.0).alias(column) for column in absent)
    later = {column: value for column, value in _LATER.get(name, {}).items() if column not in frame.columns}
    frame = frame.with_columns(pl.lit(value, schema[column]).alias(column) for column, value in later.items())
    missing = [column for column in schema if column not in frame.columns]
    if missing:
        raise DataError(
            f"lacks {', '.join(map(repr, missing))}; it has {', '.join(map(repr, frame.columns))}",
            source=f"table {name!r}",
            hint=f"Its columns are {', '.join(schema)}.",
        )
    for column, dtype in schema.items():
        found = frame.schema[column]
        same_sort = found in (pl.Null, dtype) or (found.is_numeric() and dtype.is_numeric())
        same_sort = same_sort or (isinstance(found, pl.Datetime) and dtype == _DTYPES["time"] and bool(found.time_zone))
        same_sort = same_sort or (dtype == pl.String and found in (pl.String, pl.Categorical, pl.Enum))
        if not same_sort:
            raise DataError(
                f"{found} cannot stand for {dtype}",
                source=f"table {name!r}",
                column=column,
                hint="Times are UTC with a time zone, amounts are numbers, names are text.",
            )
    try:
        return frame.select(pl.col(column).cast(dtype) for column, dtype in schema.items())
    except pl.exceptions.PolarsError as error:
        raise DataError(
            _first_line(error),
            source=f"table {name!r}",
            hint="Counts are whole and not negative, times fit 64 bits of nanoseconds.",
        ) from error


def _table_from_core(name: str, raw: Mapping[str, NDArray[Any]], names: Names) -> pl.DataFrame:
    if name not in TABLES:
        raise DataError(f"no table named {name!r} in a run", hint=f"Tables are {', '.join(TABLES)}.")
    raw = {**raw, "venue": raw["instrument"]} if "venue" in TABLES[name] and "instrument" in raw else raw
    missing = [column for column in TABLES[name] if column not in raw and column not in _OPTIONAL]
    if missing:
        raise DataError(f"from the core lacks {', '.join(map(repr, missing))}", source=f"table {name!r}", hint=_REBUILD)
    columns: dict[str, pl.Series] = {}
    for column, kind in TABLES[name].items():
        if column not in raw:
            continue  # filled with zeros by `_conform`
        values = np.asarray(raw[column])
        if column == "liquidity":
            values = np.where(np.asarray(raw["execution"]) == 0, _TRANSFER, values)
        if kind == "by_rule":
            values = values / _rule_scale(np.asarray(raw["rule"]))
        columns[column] = _read_kind(kind, values, names, name, column)
    return pl.DataFrame(columns)


def _read_kind(kind: str, values: NDArray[Any], names: Names, table: str, column: str) -> pl.Series:
    if kind == "time":
        return pl.Series(values.astype(np.int64)).cast(_DTYPES["time"])
    if kind == "price":
        scaled = pl.Series(values / PRICE_SCALE)
        return scaled.set(pl.Series(values == PRICE_UNDEFINED), None)
    if kind == "quantity":
        return pl.Series(values / QUANTITY_SCALE)
    if kind == "display":
        # All of it is displayed: null.
        return pl.Series(values / QUANTITY_SCALE).set(pl.Series(values == PRICE_UNDEFINED), None)
    if kind == "cash":
        return pl.Series(values / CASH_SCALE)
    if kind == "flag":
        return pl.Series(values.astype(np.bool_))
    if kind == "count":
        return pl.Series(values.astype(np.uint64))
    if kind in ("number", "by_rule"):
        return pl.Series(values.astype(np.float64))
    if kind in ("maybe_strategy", "maybe_instrument"):
        known = values != _NOBODY
        if not known.any():
            return pl.Series([None] * len(values), dtype=pl.String)
        # Any number that has a name will do where there is nobody.
        someone = np.where(known, values, values[known][0])
        return _read_kind(kind.removeprefix("maybe_"), someone, names, table, column).set(pl.Series(~known), None)
    listings = names.listings or [(instrument, "") for instrument in names.instruments]
    of = {
        "strategy": names.strategies,
        "instrument": names.instruments,
        "security": [security for security, _ in listings],
        "venue": [venue for _, venue in listings],
        "signal": names.signals,
    }
    texts = of[kind] if kind in of else CODES[kind]
    codes = values.astype(np.int64)
    wrong = np.flatnonzero((codes < 0) | (codes >= len(texts)))
    if wrong.size:
        row = int(wrong[0])
        raise DataError(
            f"number {int(codes[row])} has no name; {len(texts)} are known",
            source=f"table {table!r}",
            column=column,
            row=row,
            hint=_REBUILD,
        )
    return pl.Series(texts, dtype=pl.String).gather(codes)


def _rule_scale(rules: NDArray[Any]) -> NDArray[np.float64]:
    scale = {"quantity": float(QUANTITY_SCALE), "cash": float(CASH_SCALE), "fraction": 1e6}
    by_code = np.array([scale.get(RULE_UNIT[rule], 1.0) for rule in CODES["rule"]])
    return by_code[np.clip(rules.astype(np.int64), 0, by_code.size - 1)]  # a wrong code is reported by `rule` itself


def jsonable(value: Any) -> Any:
    """The value as JSON can hold it: no NaN, no numpy, no tuple, no other classes."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(v) for v in (sorted(value, key=repr) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _our_files() -> list[str]:
    return [RUN_FILE, REPORT_FILE, *(f"{name}.parquet" for name in [*TABLES, "trades"])]


def _exists(path: Path) -> RunError:
    hint = "Choose another folder, or pass overwrite (--overwrite) to replace the run in it."
    return RunError("the run folder exists and is not empty", folder=str(path), hint=hint)


def _claim(path: Path, overwrite: bool, *, with_journal: bool) -> None:
    """Makes the folder ours. run.json goes first: from then on nothing can be taken for a finished run."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not overwrite and any(entry.name != JOURNAL_FILE for entry in path.iterdir()):
            raise _exists(path)
        for name in [*_our_files(), JOURNAL_FILE] if with_journal else _our_files():
            (path / name).unlink(missing_ok=True)
            (path / f"{name}.part").unlink(missing_ok=True)
    except OSError as error:
        reason = f"cannot be used as a run folder: {error.strerror}"
        raise RunError(reason, folder=str(path), hint="Choose another folder.") from error


def _digest_of(run_file: Path) -> Any:
    with contextlib.suppress(OSError, ValueError):
        meta = json.loads(run_file.read_text(encoding="utf-8"))
        return meta.get("digest") if isinstance(meta, dict) else None
    return None


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes beside, syncs, renames: a reader sees the whole file or none."""
    beside = path.with_name(path.name + ".part")
    try:
        write(beside)
        with beside.open("rb") as f:
            os.fsync(f.fileno())
        beside.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        beside.unlink(missing_ok=True)
        reason = f"cannot write {path.name}: {_first_line(error)}"
        raise RunError(reason, folder=str(path.parent), hint="Check its space and permissions.") from error


def _read_run_file(path: Path) -> dict[str, Any]:
    file = path / RUN_FILE
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        journal = (path / JOURNAL_FILE).exists()
        hint = "`helios replay` can still use its journal." if journal else "Check the folder's name."
        raise RunError(f"not a finished run: {RUN_FILE} is missing", folder=str(path), hint=hint) from error
    except (OSError, ValueError) as error:
        reason = f"cannot read {RUN_FILE}: {_first_line(error)}"
        raise RunError(reason, folder=str(path), hint="Run it again into a new folder.") from error
    found = meta.get("format") if isinstance(meta, dict) else None
    if found != FORMAT:
        reason = f"{RUN_FILE} has format {found!r}, this version reads {FORMAT}"
        raise RunError(reason, folder=str(path), hint="Use the version that wrote it.")
    return dict(meta)
