"""Pairs of the S&P 500, walk-forward from 2012 to 2023, with costs and borrow: daily bars, chosen on one year, traded
for half a year, 24 times.

    python examples/05_walk_forward_pairs.py [FOLDER]        (default ../shared/data; --small: two periods, 40 pairs)

FOLDER has sp500_daily_2010_2023/*.parquet (ticker, date, open, high, low, close, adj_close, volume),
sp500_membership/fja05680/sp500_ticker_start_end.csv and sp500_membership/datahub/data/constituents.csv.

What keeps it honest:

- a period's pairs are chosen from the members of the last formation day, on formation prices only; `check_lookahead`
  cuts one period's data and proves it;
- what the close of a day leads to fills at the next day's open, plus half a spread and a fee; shares sold short are
  borrowed;
- a period's positions are closed at the open of its last day, and pay for it;
- settings are those of the literature (in at 2 deviations, one year, half a year: Gatev, Goetzmann, Rouwenhorst 2006)
  and were written down before the first run. All that was ever run is told and counts in the deflated Sharpe ratio:
  four variants with daily changes correlated 0.5 or more, which left some periods with fewer than 300 pairs, and the
  same four with 0.3, what `choose` asks for where nothing is said.

What it cannot mend: the price file has the companies that were in the index in October 2023. Those that failed or were
bought before are absent from every period, so spreads that broke for good are too rare here.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import Any

import helios as hx
import polars as pl
from helios.research.borrow import borrow_cost
from helios.research.metrics import sharpe_ratio
from helios.research.pairs import Pair, choose, scan
from helios.research.results import Results
from helios.research.validate import (
    Period,
    check_lookahead,
    deflated_sharpe,
    probabilistic_sharpe,
    run_walk_forward,
    track_record,
    walk_forward,
)
from rich.console import Console

ZONE = "America/New_York"
OUT = Path("runs/walk_forward_pairs")
FORMATION, TRADING = "12mo", "6mo"
FIRST, END = date(2011, 1, 1), date(2023, 10, 19)
NOTIONAL = 10_000.0  # money in the first leg of a pair; beta times that in the other
HALF_SPREAD_BP = 2.0  # S&P 500 stocks of these years quoted 1 to 5 bp wide, opens are wider: an assumption
FEE_PER_SHARE = 0.003  # money, what US venues charge a taker at most
BORROW_RATE = 0.005  # a year, general collateral: what is easy to borrow, as members of the index mostly are
ENTER = 2.0
MIN_CORRELATION = 0.3  # of daily changes
#: Annual Sharpe ratios of the same variants, in this order, with 0.5: the first run ever made of this study.
EARLIER_TRIALS = (0.15, 0.15, 0.26, 0.13)


@dataclass(frozen=True)
class Variant:
    """What was tried. The first is the one that was meant; the others say whether the result hangs on one choice."""

    name: str
    exit: float = 0.5
    #: Days of a moving mean and deviation; None: those of the formation period.
    window: int | None = None
    #: Only pairs of one sector.
    sector: bool = False


VARIANTS = (
    Variant("formation mean, out at 0.5"),
    Variant("formation mean, out at the mean", exit=0.0),
    Variant("moving mean of 60 days, out at 0.5", window=60),
    Variant("same sector, out at 0.5", sector=True),
)


@dataclass
class Study:
    """The data, and what the periods have in common."""

    #: ts (the day), symbol, open, high, low, close, volume and factor: what the close is multiplied by for dividends.
    days: pl.DataFrame
    universe: hx.Universe
    sectors: dict[str, str]
    pairs: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    #: Pairs of a period and a kind of choice: the variants share them.
    chosen: dict[tuple[int, bool], list[Pair]] = field(default_factory=dict)

    @property
    def capital(self) -> float:
        """Money committed: one leg of every pair, as if all were open."""
        return self.pairs * NOTIONAL


def main() -> None:
    small = "--small" in sys.argv[1:] or bool(os.environ.get("HELIOS_SMALL"))
    folder = Path(next((a for a in sys.argv[1:] if not a.startswith("-")), "../shared/data"))
    if not (folder / "sp500_daily_2010_2023").is_dir() or not (folder / "sp500_membership").is_dir():
        print(f"skipped: there is no data at {folder}")
        return
    console = Console(highlight=False, soft_wrap=True)
    study = read(folder, pairs=40 if small else 300)
    end = date(2013, 1, 1) if small else END
    periods = list(walk_forward(FIRST, end, formation=FORMATION, trading=TRADING))
    console.print(
        f"{study.days.height:,} daily bars of {study.days['symbol'].n_unique()} symbols; {len(periods)} periods from "
        f"{periods[0].trading_start} to {periods[-1].trading_end}, {study.pairs} pairs in each\n"
    )
    sift(console, study, periods[:1] if small else periods[::8])
    series = {}
    for variant in VARIANTS[:2] if small else VARIANTS:
        study.rows.clear()
        done = run_walk_forward(periods, partial(trade, study, variant))
        series[variant.name] = done.series
        if variant is VARIANTS[0]:
            show_periods(console, study)
            keep(done.series, study)
        else:
            show_total(console, variant.name, study)
    conclude(console, study, series)
    leaks(console, study, periods[len(periods) // 2], cuts=3 if small else 8)


# ---- data ------------------------------------------------------------------------------------------------------------


def read(folder: Path, pairs: int) -> Study:
    table = pl.read_parquet(str(folder / "sp500_daily_2010_2023/*.parquet")).with_columns(
        pl.col("open", "high", "low", "close", "adj_close").cast(pl.Float64)
    )
    prices = ("open", "high", "low", "close")
    days = table.select(
        pl.col("date").cast(pl.Date).alias("ts"),
        pl.col("ticker").alias("symbol"),
        *("open", "close", "volume"),
        # Some lows are above the open or close of their day; nothing here trades at them.
        pl.max_horizontal(prices).alias("high"),
        pl.min_horizontal(prices).alias("low"),
        (pl.col("adj_close") / pl.col("close")).alias("factor"),
    ).sort("ts", "symbol")
    members = pl.read_csv(folder / "sp500_membership/fja05680/sp500_ticker_start_end.csv", try_parse_dates=True)
    sectors = pl.read_csv(folder / "sp500_membership/datahub/data/constituents.csv").select("Symbol", "GICS Sector")
    universe = hx.Universe(members, symbol="ticker", start="start_date", end="end_date")
    return Study(days, universe, dict(sectors.iter_rows()), pairs)


def formation_of(study: Study, days: pl.DataFrame, period: Period[date]) -> pl.DataFrame:
    """Bars of formation, of the members of its last day that have one on every day; adjusted up to that day."""
    formed = days.filter(pl.col("ts").is_between(period.formation_start, period.formation_end, closed="left"))
    last = formed["ts"].max()
    members = study.universe.members(last)  # type: ignore[arg-type]
    whole = formed.group_by("symbol").len().filter(pl.col("len") == formed["ts"].n_unique())["symbol"]
    return formed.filter(pl.col("symbol").is_in(members) & pl.col("symbol").is_in(whole.implode()))


def adjusted(bars: pl.DataFrame, formation: pl.DataFrame) -> pl.DataFrame:
    """Prices with dividends reinvested since the last formation day, on which they are the market's."""
    last = formation.filter(pl.col("ts") == pl.col("ts").max()).select("symbol", pl.col("factor").alias("base"))
    scale = pl.col("factor") / pl.col("base")
    prices = [(pl.col(name) * scale).round(6).alias(name) for name in ("open", "high", "low", "close")]
    return bars.join(last, on="symbol", maintain_order="left").with_columns(prices).drop("factor", "base")


def closes(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.select("ts", "symbol", pl.col("close").alias("price"))


# ---- one period ------------------------------------------------------------------------------------------------------


def select(study: Study, formation: pl.DataFrame, variant: Variant) -> list[Pair]:
    return choose(
        closes(formation),
        count=study.pairs,
        groups=study.sectors if variant.sector else None,
        enter=ENTER,
        exit=variant.exit,
        min_correlation=MIN_CORRELATION,
        horizon=1,
        per_symbol=10,
    )


def plan(
    study: Study,
    days: pl.DataFrame,
    period: Period[date],
    variant: Variant,
    calendar: pl.Series,
    pairs: list[Pair] | None = None,
) -> hx.Backtest:
    """Everything that is computed from `days` is computed here; `calendar` are the exchange's days of the period."""
    raw = formation_of(study, days, period)
    formation = adjusted(raw, raw)
    pairs = select(study, formation, variant) if pairs is None else pairs
    traded = sorted({symbol for pair in pairs for symbol in (pair.a, pair.b)})
    known = formation.filter(pl.col("symbol").is_in(traded))
    later = days.filter(
        pl.col("ts").is_between(period.trading_start, period.trading_end, closed="left")
        & pl.col("symbol").is_in(traded)
    )
    bars = pl.concat([known, adjusted(later, raw)])
    # What the close of the last day but one says is the end: out at the last day's open. Exchanges announce their days.
    open_until = datetime.combine(calendar[-2], time(0), UTC)
    trading = hx.session(hours=[(datetime.combine(period.formation_start, time(0), UTC), open_until)])
    spreads = spread_moments(formation, pairs)
    # The bars of a day arrive one after the other. After the last of them comes the close, at which all pairs decide:
    # so the wishes of all pairs in one symbol are one order.
    ends = bars.select(at_close(pl.col("ts").unique().sort()), close=1.0)
    return hx.Backtest(
        data=[hx.bars(bars, label="end", span="1d", tz=ZONE), hx.external(ends)],
        strategy=[strategy(pair, *spreads[pair.a, pair.b], variant, trading) for pair in pairs],
        venue=hx.Venue(half_spread=hx.HalfSpread(bp=HALF_SPREAD_BP), fees=hx.Fees(taker_per_share=FEE_PER_SHARE)),
        cash=study.capital,
        tick=0.0001,  # adjusted prices are not on the grid of cents
        start=period.trading_start,
        sample="1d",
        marks=None,
        name=str(period),
    )


def spread_moments(formation: pl.DataFrame, pairs: list[Pair]) -> dict[tuple[str, str], tuple[float, float]]:
    """Mean and deviation of log(a) - beta log(b) over the formation."""
    wide = closes(formation).pivot("symbol", index="ts", values="price")
    spreads = wide.select(
        (pl.col(pair.a).log() - pair.beta * pl.col(pair.b).log()).alias(f"{pair.a}/{pair.b}") for pair in pairs
    )
    return {
        (pair.a, pair.b): (float(column.mean()), float(column.std()))  # type: ignore[arg-type]
        for pair, column in zip(pairs, spreads, strict=True)
    }


def strategy(
    pair: Pair, mean: float, deviation: float, variant: Variant, trading: hx.Session
) -> list[hx.Target | hx.Record]:
    spread = (hx.close(pair.a).log() - pair.beta * hx.close(pair.b).log()).when(hx.series("close"))
    z = (spread - mean) / deviation if variant.window is None else spread.zscore(variant.window)
    side = hx.where(trading.is_open, z, 0.0).hysteresis(enter=ENTER, exit=variant.exit)
    name = f"{pair.a}/{pair.b}"
    return [
        hx.target(pair.a, -side, notional=NOTIONAL, strategy=name),
        hx.target(pair.b, side, notional=NOTIONAL * pair.beta, strategy=name),
    ]


def trade(study: Study, variant: Variant, period: Period[date]) -> pl.DataFrame:
    """One period's daily returns on the money committed; what it was made of goes to `study.rows`."""
    inside = study.days.filter(pl.col("ts").is_between(period.trading_start, period.trading_end, closed="left"))
    calendar = inside["ts"].unique().sort()
    key = period.number, variant.sector
    if key not in study.chosen:
        raw = formation_of(study, study.days, period)
        study.chosen[key] = select(study, adjusted(raw, raw), variant)
    pairs = study.chosen[key]
    results = plan(study, study.days, period, variant, calendar, pairs).run()
    return account(study, period, len(pairs), results, inside, calendar)


def account(
    study: Study, period: Period[date], pairs: int, results: Results, inside: pl.DataFrame, calendar: pl.Series
) -> pl.DataFrame:
    """The day's P&L: what the run says, less borrow."""
    assert not (results.positions["quantity"] != 0).any(), "a period's positions are closed in its last day's open"
    raw = formation_of(study, study.days, period)
    bars = adjusted(inside, raw).with_columns(moment=at_close(pl.col("ts")))
    path = pl.DataFrame({"moment": results.equity["ts"], "net": results.net_path}).sort("moment")
    days = bars.select(pl.col("moment").unique().sort())
    # A sample stands at the end of a UTC day: it is the one after the close.
    daily = days.join_asof(path, on="moment", strategy="forward", check_sortedness=False)
    net = daily["net"].fill_null(strategy="forward").fill_null(0.0)
    borrow = borrow_cost(
        results.fills, bars.select(pl.col("moment").alias("ts"), "symbol", pl.col("close").alias("price")), BORROW_RATE
    )
    fills = results.market_fills.join(
        bars.select(pl.col("moment").alias("ts"), pl.col("symbol").alias("instrument"), "open"), on=["ts", "instrument"]
    )
    assert fills.height == results.market_fills.height, "every fill belongs to the bar that brought it"
    spreads = float(((fills["price"] - fills["open"]).abs() * fills["quantity"]).sum())
    h = results.headline
    pnl = net.diff().fill_null(net[0]) - borrow["cost"]
    fees = h.fees or 0.0
    study.rows.append(
        {
            "period": f"{period.trading_start:%Y-%m}",
            "members": len(study.universe.members(raw["ts"].max())),  # type: ignore[arg-type]
            "with prices": raw["symbol"].n_unique(),
            "pairs": pairs,
            "traded": results.fills["strategy"].n_unique(),
            "gained": results.strategies.filter(pl.col("net") > 0).height,
            "turnover": h.turnover,
            "gross": (h.net or 0.0) + fees + spreads,
            "spreads": -spreads,
            "fees": -fees,
            "borrow": -float(borrow["cost"].sum()),
            "net": float(pnl.sum()),
            "sharpe": sharpe_ratio(pnl.to_numpy(), 252),
        }
    )
    return pl.DataFrame({"ts": calendar, "return": pnl / study.capital})


def at_close(day: pl.Expr) -> pl.Expr:
    """16:00 in New York, as `bars` reads a day."""
    moment = day.cast(pl.Datetime("ns")).dt.offset_by("16h").dt.replace_time_zone(ZONE)
    return moment.dt.convert_time_zone("UTC")


# ---- what is told ----------------------------------------------------------------------------------------------------


def sift(console: Console, study: Study, periods: list[Period[date]]) -> None:
    """How many pairs of one sector would be called real, with false discoveries at 5 %."""
    found = []
    for period in periods:
        raw = formation_of(study, study.days, period)
        scanned = scan(closes(adjusted(raw, raw)), study.sectors, horizon=1, fdr=0.05, kalman_pairs=0)
        found.append(
            f"{period.formation_start:%Y-%m}: {scanned.filter('discovery').height} of {scanned.height:,} "
            f"({scanned.filter(pl.col('p_value') < 0.05).height:,} at p < 0.05)"
        )
    console.print("discoveries (Benjamini-Hochberg, 5 %) among pairs of one sector, by start of formation:")
    console.print("; ".join(found) + "\n")


def show_periods(console: Console, study: Study) -> None:
    console.print(
        "| traded from | members | with prices | pairs | traded | gained | turnover M | gross | spreads | fees "
        "| borrow | net | Sharpe |\n|---" + "|--:" * 12 + "|",
    )
    for row in [*study.rows, total_of(study)]:
        sharpe = "" if row["sharpe"] is None else f"{row['sharpe']:.2f}"
        cells = [f"{row[k]:,.0f}" for k in ("gross", "spreads", "fees", "borrow", "net")]
        counts = [f"{row[k]}" for k in ("members", "with prices", "pairs", "traded", "gained")]
        turnover = f"{row['turnover'] / 1e6:,.1f}"
        console.print(f"| {' | '.join([str(row['period']), *counts, turnover, *cells, sharpe])} |")
    console.print()


def total_of(study: Study) -> dict[str, Any]:
    rows = pl.DataFrame(study.rows)
    summed = rows.select(
        pl.col("pairs", "traded", "gained", "turnover", "gross", "spreads", "fees", "borrow", "net").sum()
    )
    return {"period": "all", "members": "", "with prices": "", "sharpe": None, **summed.row(0, named=True)}


def show_total(console: Console, name: str, study: Study) -> None:
    t = total_of(study)
    parts = ", ".join(f"{k} {t[k]:,.0f}" for k in ("gross", "spreads", "fees", "borrow", "net"))
    console.print(f"{name}: {t['traded']} of {t['pairs']} pairs traded; {parts}")


def keep(series: pl.DataFrame, study: Study) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    series.write_parquet(OUT / "daily.parquet")
    pl.DataFrame(study.rows).write_csv(OUT / "periods.csv")


def conclude(console: Console, study: Study, series: dict[str, pl.DataFrame]) -> None:
    sheets = {name: hx.tearsheet(frame.select("ts", "return"), name=name) for name, frame in series.items()}
    first = next(iter(sheets.values()))
    first.save(OUT / "tearsheet.html")
    console.print(
        "\n| variant | annual return | volatility | Sharpe | max drawdown | P(true Sharpe > 0) |\n|---"
        + "|--:" * 5
        + "|"
    )
    records = {name: track_record(frame["return"].to_numpy()) for name, frame in series.items()}
    for name, sheet in sheets.items():
        m = sheet.metrics
        console.print(
            f"| {name} | {m.annual_return:.2%} | {m.annual_volatility:.2%} | {m.sharpe_ratio:.2f} "
            f"| {m.max_drawdown:.2%} | {probabilistic_sharpe(records[name]):.1%} |",
        )
    best = max(records, key=lambda name: records[name].sharpe)
    trials = [record.sharpe for record in records.values()] + [annual / math.sqrt(252) for annual in EARLIER_TRIALS]
    deflated = deflated_sharpe(records[best], sharpes=trials)
    console.print(
        f"\nreturns are on {study.capital:,.0f} committed, {NOTIONAL:,.0f} a pair, without interest on it\n"
        f"best of these: {best!r}; deflated Sharpe ratio after {len(trials)} trials {deflated:.1%}\n"
        f"tear sheet of the first: {OUT / 'tearsheet.html'}"
    )


def leaks(console: Console, study: Study, period: Period[date], cuts: int) -> None:
    """Does the choice of pairs, or the trading, know a day that was not there yet?"""
    data = study.days.filter(pl.col("ts").is_between(period.formation_start, period.trading_end, closed="left"))
    calendar = data.filter(pl.col("ts") >= period.trading_start)["ts"].unique().sort()

    def build(frame: pl.DataFrame) -> hx.Backtest:
        return plan(study, frame, period, VARIANTS[0], calendar)

    found = check_lookahead(build, data, cuts=cuts, tz=ZONE)
    console.print(f"lookahead, {period}: {found}")


if __name__ == "__main__":
    main()
