# %% [markdown]
# # A first strategy
#
# From nothing to a backtest with a report: a simulated market, an expression, a run, a look at what happened. It
# takes a few seconds and writes into `runs/` beside this notebook.

# %%
import os
from pathlib import Path

import helios as hx
import polars as pl
from helios.research.pairs import sample
from helios.research.replay import replay
from helios.research.simulate import simulate

SMALL = bool(os.environ.get("HELIOS_SMALL"))  # the tests run a shorter day
OUT = Path("runs")
OUT.mkdir(exist_ok=True)

# %% [markdown]
# ## The market
#
# `simulate` lets agents trade on our own matching engine and writes what happens as a genuine ITCH 5.0 file: every
# order, cancel and execution. Ten symbols, one group, so their values share a random walk and differ by a part that
# fades. `sample` reads the books and gives mid prices and half spreads on a grid.

# %%
size = simulate(OUT / "day.itch", symbols=10, minutes=40 if SMALL else 120, seed=7)
day = hx.itch(OUT / "day.itch", date="2026-01-05")
prices = sample(day, every="1s")
print(f"{size / 1e6:.1f} MB, {len(day.symbols)} symbols")
prices.filter(pl.col("symbol").is_in(["AAAA", "AAAB"])).tail(4)

# %% [markdown]
# ## An idea, as an expression
#
# AAAA and AAAB go together. An expression says so once; it is evaluated natively, event by event, and is null until
# its windows are full. `zscore` measures the spread in its own deviations over the last ten minutes. `hysteresis`
# turns that into a decision: 1 above 2.5, -1 below -2.5, 0 again inside 0.5.

# %%
spread = hx.mid("AAAA").log() - 0.9 * hx.mid("AAAB").log()
z = spread.zscore("10m")
side = z.hysteresis(enter=2.5, exit=0.5)

# %% [markdown]
# ## The backtest
#
# A strategy states what it wants to hold: against the spread in AAAA, with it in AAAB, $10,000 each. Orders travel 50
# µs to the venue and reports 50 µs back, taking costs 0.30 cents a share, and each order passes the limits or is
# refused.

# %%
plan = hx.Backtest(
    data=day,
    strategy=[
        hx.target("AAAA", -side, notional=10_000, strategy="first"),
        hx.target("AAAB", side, notional=10_000, strategy="first"),
        hx.record("first z", side),
    ],
    venue=hx.Venue(latency=hx.Latency(order="50us", report="50us"), fees=hx.Fees(taker_per_share=0.003)),
    limits=hx.Limits(order_notional=50_000, position=2_000, daily_loss=5_000),
    marks="10s",
    name="a first strategy",
)
results = plan.run(OUT / "first", overwrite=True)
results

# %% [markdown]
# **It loses.** That is the usual result of a first strategy, and the numbers say why. Each fill is compared with the
# mid that stood at its second: what is left is what the idea was worth, and what it paid to act on it.

# %%
fills = results.market_fills.sort("ts").join_asof(
    prices.rename({"symbol": "instrument"}).select("ts", "instrument", "half_spread"),
    on="ts",
    by="instrument",
    check_sortedness=False,
)
spreads = (fills["half_spread"] * fills["price"] * fills["quantity"]).sum()
head = results.headline
pl.DataFrame(
    {
        "": ["from mid to mid", "half spreads paid", "fees", "net"],
        "money": [head.before_fees + spreads, -spreads, -head.fees, head.net],
    }
).with_columns(pl.col("money").round(2))

# %% [markdown]
# The spread does come back, as it must in this market; acting on it costs more than that. The [second
# notebook](02_pairs_from_scan_to_backtest.ipynb) chooses pairs that can pay for themselves.
#
# ## Looking
#
# `results.plot` draws with Plotly. A figure here can be zoomed where a notebook runs; where none runs you see its
# still picture. Fills stand on the price: blue up for a buy, orange down for a sell, joined when they make a round
# trip.

# %%
results.plot.trades("AAAA")

# %%
results.plot.equity()

# %% [markdown]
# All tables are Polars frames: orders, fills, refusals, signals, equity, positions, strategies, trades.

# %%
results.trades.group_by("instrument", "side").agg(
    pl.len().alias("round trips"), pl.col("pnl", "fees", "net").sum().round(2)
).sort("instrument", "side")

# %% [markdown]
# ## Would a wider band help?
#
# Four thresholds, four runs. The best of several tries looks better than it is, and a two-hour day says nothing about
# the next: this table is a reason to think, not a result.

# %%
tried = []
for enter in (2.0, 2.5, 3.0, 3.5):
    wide = z.hysteresis(enter=enter, exit=0.5)
    run = hx.Backtest(
        data=day,
        strategy=[hx.target("AAAA", -wide, notional=10_000), hx.target("AAAB", wide, notional=10_000)],
        venue=plan.venue,
    ).run()
    h = run.headline
    tried.append({"enter": enter, "fills": h.fills, "before fees": h.before_fees, "fees": h.fees, "net": h.net})
pl.DataFrame(tried).with_columns(pl.col("before fees", "fees", "net").round(2))

# %% [markdown]
# ## What the run left
#
# The folder holds the tables as Parquet, `report.html` (one page, opens offline) and the journal: every input of the
# run, in order. A replay feeds it through a fresh engine and compares every output.

# %%
print(*sorted(path.name for path in (OUT / "first").iterdir()), sep="\n")
again = replay(OUT / "first")
print(f"identical: {again.identical}, digest {again.digest}")

# %% [markdown]
# What the simulated market assumes, and when not to trust it, is in `docs/models/agents.md`.
