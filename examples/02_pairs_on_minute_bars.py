"""Pairs on two months of minute bars: chosen on the first half of the sessions, traded on the other half.

    python examples/02_pairs_on_minute_bars.py [FILES]        (default ../shared/data/us_minute_2018/*.parquet)

FILES are Parquet with ts (New York, the END of the bar), ticker or symbol, open, high, low, close, volume. `--small`
reads six sessions and trades 20 pairs. It leaves a run folder in runs/minute_bars. Sectors are read from
../sp500_membership beside the folder of FILES; where they are, all pairs within a sector are scanned as well, and those
that are still discoveries when false ones are controlled are traded by the same rule (needs statsmodels:
`pip install helios[research]`).

What keeps it honest:

- the choice sees the first half of the sessions only;
- an order that answers the bar that ended at 10:01 fills at the open of the bar 10:01 to 10:02, plus half a spread;
- positions are held over nights, and the jump to the next open is in the P&L as it is in the spread;
- what is open at the end is valued at the last price; closing it would cost half a spread and a fee more.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import helios as hx
import polars as pl
from helios.research.pairs import Pair, choose, costs, scan, write_csv
from helios.research.results import REPORT_FILE, Results
from helios.research.summary import print_summary
from rich.console import Console

FILES = "../shared/data/us_minute_2018/*.parquet"
ZONE = "America/New_York"
SECTORS = "sp500_membership/datahub/data/constituents.csv"  # beside the folder of FILES
OUT = Path("runs/minute_bars")
HALF_SPREAD_BP = 1.5  # S&P 500 stocks of 2018 quoted 1 to 4 bp wide, so 0.5 to 2 bp a side; opens are wider
FEE_PER_SHARE = 0.003  # money, what US venues charge a taker at most
BARS_PER_SESSION = 391
WINDOW_SESSIONS = 5
ENTER, EXIT = 2.0, 0.5
NOTIONAL = 10_000.0


def main() -> None:
    small = "--small" in sys.argv[1:] or bool(os.environ.get("HELIOS_SMALL"))
    files = next((a for a in sys.argv[1:] if not a.startswith("-")), FILES)
    if not list(Path(files).parent.glob(Path(files).name)):
        print(f"skipped: there is no data at {files}")
        return
    console = Console(highlight=False, soft_wrap=True)
    table = read(files, sessions=6 if small else None)
    days = table["ts"].dt.date().unique().sort()
    first_half, start = days[: len(days) // 2], days[len(days) // 2]
    formation = table.filter(pl.col("ts").dt.date() < start).select("ts", "symbol", pl.col("close").alias("price"))
    pairs = choose_pairs(formation, count=20 if small else 300)
    OUT.mkdir(parents=True, exist_ok=True)
    write_csv(pairs, OUT / "pairs.csv")
    console.print(
        f"{table.height:,} bars, {table['symbol'].n_unique()} symbols, {len(days)} sessions\n"
        f"{len(pairs)} pairs, chosen on {first_half[0]} to {first_half[-1]}, traded from {start} on\n"
    )

    discovered = discoveries(console, formation, Path(files).parent.parent / SECTORS)
    backtest = plan(table, pairs, f"{start}T00:00:00+00:00", sessions=1 if small else WINDOW_SESSIONS)
    results = backtest.run(OUT / "run", overwrite=True, progress=True)
    print_summary(results, console, report=OUT / "run" / REPORT_FILE)
    console.print()
    console.print(markdown(variants(table, pairs, discovered, backtest, results, small)))


def read(files: str, sessions: int | None) -> pl.DataFrame:
    """All bars by time, equal times by symbol: the files are grouped by symbol, a backtest wants time."""
    table = pl.read_parquet(files)
    table = table.rename({"ticker": "symbol"} if "ticker" in table.columns else {})
    if sessions is not None:
        table = table.filter(
            pl.col("ts").dt.date().is_in(table["ts"].dt.date().unique().sort().head(sessions).implode())
        )
    return table.with_columns(pl.col("symbol").cast(pl.String)).sort("ts", "symbol")


def choose_pairs(formation: pl.DataFrame, count: int) -> list[Pair]:
    """The surest of those whose changes over half an hour go together, and that can pay their costs."""
    return choose(
        formation,
        count=count,
        costs=costs(formation, half_spread=HALF_SPREAD_BP * 1e-4, per_share=FEE_PER_SHARE),
        enter=ENTER,
        exit=EXIT,
        t_statistic=-3.04,  # 10 % of unrelated walks pass this; the correlation is the stronger filter
        min_correlation=0.4,
        horizon=30,
        per_symbol=10,
    )


def discoveries(console: Console, formation: pl.DataFrame, file: Path) -> list[Pair]:
    """What is left of all pairs within a sector when false discoveries are held at 5 %."""
    if not file.is_file():
        console.print(f"no scan: there are no sectors at {file}\n")
        return []
    sectors = dict(pl.read_csv(file).select("Symbol", "GICS Sector").iter_rows())
    scanned = scan(formation, sectors, horizon=30, fdr=0.05, kalman_pairs=0)
    found = scanned.filter("discovery")
    passing = scanned.filter(pl.col("p_value") < 0.05).height
    console.print(
        f"{scanned.height:,} pairs within a sector: {passing} at p < 0.05, {found.height} discoveries at 5 % "
        f"(Benjamini-Hochberg)"
    )
    if found.height:
        symbols = pl.concat([found["a"], found["b"]]).value_counts(sort=True)
        console.print(f"the symbol in most of them is {symbols['count'][0]} times there: {symbols.row(0)[0]}\n")
    fields = ("a", "b", "beta", "correlation", "t_statistic", "half_life_s", "deviation")
    return [Pair(**row, edge=math.nan) for row in found.select(fields).iter_rows(named=True)]


def plan(table: pl.DataFrame, pairs: list[Pair], start: str, sessions: int) -> hx.Backtest:
    # A spread has one sample per minute, when the bars of both legs are there.
    window = BARS_PER_SESSION * sessions
    return hx.Backtest(
        data=hx.bars(table, label="end", span="1m", tz=ZONE),
        strategy=[
            hx.pair(p.a, p.b, beta=p.beta, window=window, enter=ENTER, exit=EXIT, notional=NOTIONAL, price="close")
            for p in pairs
        ],
        venue=hx.Venue(half_spread=hx.HalfSpread(bp=HALF_SPREAD_BP), fees=hx.Fees(taker_per_share=FEE_PER_SHARE)),
        limits=hx.Limits(order_notional=500_000, position=100_000, gross_exposure=8_000_000, daily_loss=100_000),
        cash=3_000_000,
        start=start,
        marks="30m",
        sample="5m",
        name="pairs on minute bars",
    )


def variants(
    table: pl.DataFrame, pairs: list[Pair], discovered: list[Pair], base: hx.Backtest, done: Results, small: bool
) -> list[tuple[str, Results]]:
    """The same pairs under other costs and other windows: does the result hang on one choice?"""

    def costing(bp: float, fee: float) -> hx.Backtest:
        return replace(base, venue=hx.Venue(half_spread=hx.HalfSpread(bp=bp), fees=hx.Fees(taker_per_share=fee)))

    runs = {"no costs at all": costing(0.0, 0.0)}
    if discovered:
        sessions = 1 if small else WINDOW_SESSIONS
        runs[f"the {len(discovered)} discoveries"] = plan(table, discovered, str(base.start), sessions)
    if not small:
        runs |= {f"half spread {bp} bp": costing(bp, FEE_PER_SHARE) for bp in (1.0, 2.0)}
        runs |= {f"window {n} sessions": plan(table, pairs, str(base.start), n) for n in (2, 10)}
        # A run reads the bars of the symbols that it names; an idle strategy names them all.
        runs["as above, reading every symbol"] = replace(base, strategy=[base.strategy, hx.Strategy()])
    first = f"as above: half spread {HALF_SPREAD_BP} bp, window {WINDOW_SESSIONS} sessions"
    return [(first, done), *((name, replace(run, name=name).run(progress=True)) for name, run in runs.items())]


def markdown(rows: list[tuple[str, Results]]) -> str:
    lines = [
        "| run | net P&L | fees | turnover | fills | pairs that gained | max drawdown | bars | seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, results in rows:
        h, meta = results.headline, results.meta
        gained = f"{results.strategies.filter(pl.col('net') > 0).height} of {results.strategies.height}"
        lines.append(
            f"| {name} | {h.net or 0:,.0f} | {h.fees or 0:,.0f} | {h.turnover / 1e6:,.1f} M | {h.fills:,} | {gained} "
            f"| {h.max_drawdown or 0:,.0f} | {meta['events']:,} | {meta['wall_seconds']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
