"""Order-flow imbalance of GOOG on one real day: does it say where the price goes next, and is that worth a spread?

    python examples/06_order_flow_imbalance.py [FILE]        (default ../shared/data/lobster/…GOOG…10.zip)

FILE is a LOBSTER zip with messages and ten levels of order book. Every feature is an expression, evaluated by the
engine's own evaluator over the order events: what is measured here is what a backtest or a live strategy would see.
`--small` leaves horizons out.

What is measured, once a second from 09:35 to 15:55:

- contemporaneous: R² of the mid's change over 10 s on the order-flow imbalance of the same 10 s (Cont, Kukanov, Stoikov
  2014). It explains a move, it does not foretell one;
- predictive: the information coefficient, the correlation of a feature with the mid's return after it, over several
  horizons and to the mid's next move. Errors are Newey and West's (1987): neighbouring rows overlap;
- whether that pays: what follows the strongest tenth of the imbalances, beside half the spread.

Needs statsmodels: `pip install helios[research]`.
"""

from __future__ import annotations

import math
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import helios as hx
import numpy as np
import polars as pl
from helios.data import orderbook
from numpy.typing import NDArray
from rich.console import Console

Array = NDArray[np.float64]

FILE = "../shared/data/lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"
ZONE = ZoneInfo("America/New_York")
DAY = datetime(2012, 6, 21, tzinfo=ZONE)
OPEN, CLOSE = DAY.replace(hour=9, minute=30), DAY.replace(hour=16)
#: The opening and closing minutes are another market.
FIRST, LAST = OPEN + timedelta(minutes=5), CLOSE - timedelta(minutes=5)
WINDOW = 10  # seconds, as in the paper
HORIZONS = (1, 5, 10, 30, 60, 300)  # seconds
FEATURES = ("ofi", "trade_flow", "imbalance_1", "imbalance_5", "microprice")


def main() -> None:
    small = "--small" in sys.argv[1:] or bool(os.environ.get("HELIOS_SMALL"))
    file = Path(next((a for a in sys.argv[1:] if not a.startswith("-")), FILE))
    if not file.is_file():
        print(f"skipped: there is no data at {file}")
        return
    console = Console(highlight=False, soft_wrap=True)
    source = hx.lobster(file)
    (symbol,) = source.symbols
    table = hx.graph(features(symbol)).over([source, hx.external(clock())])
    console.print(f"{symbol}, {DAY:%Y-%m-%d}: {table.height:,} seconds")
    check(console, file, table)
    gap(console, file, symbol)

    console.print(f"\nthe move of the same {WINDOW} s: R² of the mid's change on the imbalance")
    contemporaneous(console, table)
    rows = with_returns(table).filter(pl.col("ts").is_between(FIRST.astimezone(UTC), LAST.astimezone(UTC)))
    console.print("\nthe moves after: information coefficient, Pearson / Spearman (t-statistic of each)")
    predictive(console, rows, HORIZONS[2:4] if small else HORIZONS)
    console.print(f"\nimbalance against the return of the next {WINDOW} s, by part of the day")
    by_part(console, rows)
    worth(console, rows)


# ---- the features ----------------------------------------------------------------------------------------------------


def clock() -> pl.DataFrame:
    """Every second from open to close."""
    seconds = pl.datetime_range(OPEN.astimezone(UTC), CLOSE.astimezone(UTC), "1s", time_unit="ns", eager=True)
    return pl.DataFrame({"ts": seconds, "clock": pl.repeat(1.0, len(seconds), eager=True)})


def features(symbol: str) -> dict[str, hx.Expr]:
    """As they stand at each second. Sums since the open are exact there; a window would be as old as the last quote."""
    day = hx.session(hours=[(OPEN, CLOSE)])
    now = hx.series("clock")
    mid = hx.mid(symbol)
    since_open = hx.order_flow_imbalance(symbol, day).when(now)
    traded = hx.flow(symbol).rolling(day).sum().when(now)
    return {
        "mid": mid.when(now),
        "spread": (hx.ask(symbol) - hx.bid(symbol)).when(now),
        "since_open": since_open,
        "ofi": since_open.diff(WINDOW),
        "trade_flow": traded.diff(WINDOW),
        "imbalance_1": hx.imbalance(symbol).when(now),
        "imbalance_5": hx.imbalance(symbol, 5).when(now),
        "microprice": (hx.microprice(symbol) / mid - 1).when(now),
    }


def with_returns(table: pl.DataFrame) -> pl.DataFrame:
    """Beside each second the mid's returns after it, in basis points: over each horizon, and to its next move."""
    later = [(1e4 * (pl.col("mid").shift(-h) / pl.col("mid")).log()).alias(f"{h} s") for h in HORIZONS]
    other = pl.when(pl.col("mid") != pl.col("mid").shift(1)).then(pl.col("mid")).shift(-1).backward_fill()
    return table.with_columns(*later, (1e4 * (other / pl.col("mid")).log()).alias("next move"))


# ---- is it right? ----------------------------------------------------------------------------------------------------


def imbalance_of_file(file: Path) -> Array:
    """The paper's formula over every row of the order book file, in shares; the first row has no contribution."""
    book = orderbook(file)
    ask, ask_size, bid, bid_size = (book[:, column] for column in range(4))
    up, down = bid[1:] >= bid[:-1], bid[1:] <= bid[:-1]
    joined = np.where(up, bid_size[1:], 0) - np.where(down, bid_size[:-1], 0)
    up, down = ask[1:] >= ask[:-1], ask[1:] <= ask[:-1]
    offered = np.where(down, ask_size[1:], 0) - np.where(up, ask_size[:-1], 0)
    return np.concatenate([[0.0], (joined - offered) / 1e8])


def events_of(file: Path) -> NDArray[np.int64]:
    """The time of every row of both files."""
    source = hx.lobster(file, seed=False)
    (batch,) = source.batches(dict.fromkeys(source.symbols, 0), size=1 << 30)
    return np.asarray(batch["ts"])


def check(console: Console, file: Path, table: pl.DataFrame) -> None:
    """The evaluator's imbalance beside the same formula in NumPy over the order book file."""
    upto = np.searchsorted(events_of(file), table["ts"].to_physical().to_numpy(), side="right")
    expected = np.concatenate([[0.0], np.cumsum(imbalance_of_file(file))])[upto]
    known = table["since_open"].is_not_null().to_numpy()
    differ = np.abs(table["since_open"].to_numpy()[known] - expected[known])
    console.print(
        f"imbalance since the open, against NumPy over the order book file, at {differ.size:,} seconds: "
        f"{differ.max():.1e} shares apart at most"
    )


def gap(console: Console, file: Path, symbol: str) -> None:
    """What a book out of the messages alone would have been."""
    best = {"bid": hx.bid(symbol), "ask": hx.ask(symbol)}
    alone = hx.graph(best).over(hx.lobster(file, seed=False), every_event=True)
    book = orderbook(file)
    same = (alone["bid"] * 1e9).round().cast(pl.Int64).to_numpy() == book[:, 2]
    same &= (alone["ask"] * 1e9).round().cast(pl.Int64).to_numpy() == book[:, 0]
    crossed = alone.select((pl.col("bid") > pl.col("ask")).mean()).item()
    console.print(
        f"without seed=True: best prices right after {same.mean():.1%} of the events, crossed after {crossed:.1%}"
    )


# ---- what it says ----------------------------------------------------------------------------------------------------


def contemporaneous(console: Console, table: pl.DataFrame) -> None:
    """As in the paper: intervals that do not overlap, a regression for each half hour."""
    inside = pl.col("ts").is_between(OPEN.astimezone(UTC), CLOSE.astimezone(UTC))
    moved = table.filter(inside).select(
        "ts", x=pl.col("since_open").diff(WINDOW), flow="trade_flow", y=pl.col("mid").diff(WINDOW)
    )
    rows = moved.gather_every(WINDOW).drop_nulls()
    half_hours = rows.with_columns(part=pl.col("ts").dt.truncate("30m")).partition_by("part", maintain_order=True)
    for name, column in (("order-flow imbalance", "x"), ("trade flow alone", "flow")):
        by_half_hour = [_r_squared(part[column], part["y"]) for part in half_hours if part.height >= 100]
        console.print(
            f"{name}: {_r_squared(rows[column], rows['y']):.1%} over the day ({rows.height:,} intervals); by half hour "
            f"{np.mean(by_half_hour):.1%} in the mean, {min(by_half_hour):.1%} to {max(by_half_hour):.1%}"
        )


def _r_squared(x: pl.Series, y: pl.Series) -> float:
    return float(np.corrcoef(x.to_numpy(), y.to_numpy())[0, 1] ** 2)


def coefficient(x: Array, y: Array, lags: int) -> tuple[float, float]:
    """Correlation of two series, and its t-statistic with Newey and West's error over `lags` rows."""
    from statsmodels.regression.linear_model import OLS
    from statsmodels.tools import add_constant

    a, b = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    fit = OLS(b, add_constant(a)).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    return float(fit.params[1]), float(fit.tvalues[1])


def both_coefficients(rows: pl.DataFrame, feature: str, after: str, lags: int) -> str:
    """Pearson's and Spearman's, each with its t-statistic."""
    known = rows.select(feature, after).drop_nulls()
    ranked = known.select(pl.all().rank())
    told = [coefficient(part[feature].to_numpy(), part[after].to_numpy(), lags) for part in (known, ranked)]
    return " / ".join(f"{value:.3f} ({t:.1f})" for value, t in told)


def predictive(console: Console, rows: pl.DataFrame, horizons: tuple[int, ...]) -> None:
    names = ["next move", *(f"{h} s" for h in horizons)]
    console.print(f"| feature | {' | '.join(names)} |\n|---{'|--:' * len(names)}|")
    for feature in FEATURES:
        cells = [
            both_coefficients(rows, feature, name, lags)
            for name, lags in zip(names, [2 * WINDOW, *(WINDOW + 2 * h for h in horizons)], strict=True)
        ]
        console.print(f"| {feature} | {' | '.join(cells)} |")


def by_part(console: Console, rows: pl.DataFrame) -> None:
    """By hour of New York, and by half of the day."""
    local = rows.with_columns(at=pl.col("ts").dt.convert_time_zone(str(ZONE)))
    noon = pl.lit(DAY.replace(hour=12, minute=45))
    parts = {"first half": local.filter(pl.col("at") < noon), "second half": local.filter(pl.col("at") >= noon)}
    parts |= {f"{hour}:00": local.filter(pl.col("at").dt.hour() == hour) for hour in range(9, 16)}
    console.print("| part | seconds | ofi | imbalance_5 |\n|---|--:|--:|--:|")
    for name, part in parts.items():
        cells = [both_coefficients(part, feature, f"{WINDOW} s", 3 * WINDOW) for feature in ("ofi", "imbalance_5")]
        console.print(f"| {name} | {part.height:,} | {' | '.join(cells)} |")


def worth(console: Console, rows: pl.DataFrame) -> None:
    """What the strongest tenth is followed by, in the direction that it says, beside the cost of one crossing."""
    half_spread = rows.select((1e4 * pl.col("spread") / (2 * pl.col("mid"))).mean()).item()
    console.print(
        f"\nhalf the spread is {half_spread:.2f} bp in the mean; after the strongest tenth, in its direction:"
    )
    for feature in FEATURES:
        strong = rows.filter(pl.col(feature).abs() >= pl.col(feature).abs().quantile(0.9))
        gains = [
            f"{strong.select((pl.col(feature).sign() * pl.col(f'{h} s')).mean()).item():+.2f} bp in {h} s"
            for h in HORIZONS[:5]
        ]
        console.print(f"{feature}: {', '.join(gains)}")
    need = math.ceil(half_spread * 100) / 100
    console.print(f"a market order needs more than {need:.2f} bp to pay for its entry alone, before fees and the exit")


if __name__ == "__main__":
    main()
