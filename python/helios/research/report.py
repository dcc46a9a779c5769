"""One page about one run: `write_report(results, path)` writes a self-contained HTML file that opens offline.

Every text of the run (symbols, strategy names, configuration) is escaped; what a page is made of stands in `page`.
Absent: any number that `results` does not define.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from helios.research import charts, page, text
from helios.research.results import RULE_UNIT, SHARPE_MIN_DAYS, Headline, Results, jsonable

_ENDS: Final = 15
_QUALITY_ROWS: Final = 20
_POSITION_ROWS: Final = 15
_CONFIG_CHARACTERS: Final = 40_000
_MENU_LABEL_CHARACTERS: Final = 80

_FINGERPRINTS: Final = (("Digest of the final state", "digest"), ("SHA-256 of the journal", "journal_sha256"))


def write_report(results: Results, path: str | os.PathLike[str]) -> Path:
    """Writes the page, whole or not at all. Returns its path; RunError if it cannot be written or Plotly is absent."""
    return page.write(path, render(results), "report")


def render(results: Results) -> str:
    """The page as text."""
    drawn: dict[str, charts.Figure] = {}
    choices = charts.trade_choices(results)
    sections = [
        _equity(results, drawn),
        _strategies(results, drawn),
        _trades(results, choices),
        _pillars(results),
        _refusals_and_quality(results),
        _positions(results),
        _latency(results, drawn),
        _run(results),
    ]
    title = text.name(results.meta.get("name") or "Backtest")
    menu = [{"note": c.note, "figure": c.figure} for c in choices]
    return page.document(title, [_header(results, title), _headline(results), *sections], drawn, menu)


# --- Sections ------------------------------------------------------------------------------------------------------


def _header(results: Results, title: str) -> str:
    meta = results.meta
    started, finished = (meta.get(k) for k in ("started", "finished"))
    if started is None and results.equity.height:
        started, finished = results.equity["ts"][0], results.equity["ts"][-1]
    facts = []
    if started is not None:
        facts.append(_span(text.moment(started), text.moment(finished)))
    traded = results.market_fills.select("strategy", "instrument")
    traders, instruments = traded["strategy"].n_unique(), traded["instrument"].n_unique()
    facts.append(
        f"{'1 strategy' if traders == 1 else f'{traders:,} strategies'} traded {text.many(instruments, 'instrument')}"
    )
    if text.is_number(meta.get("inputs")):
        rate = meta.get("events_per_second")
        facts.append(
            f"{text.count(meta['inputs'])} inputs" + (f" at {text.rate(rate)}" if text.is_number(rate) else "")
        )
    return page.header("backtest", title, facts)


def _headline(results: Results) -> str:
    h = results.headline
    unit = f" {escape(text.name(results.meta['currency']))}" if results.meta.get("currency") else ""
    bp = _ratio(h.fees, h.turnover)
    cards = [
        (f"Net P&amp;L after fees{unit}", page.money(h.net), f"{page.money(h.before_fees)} before fees"),
        ("Fees", page.money(h.fees), "" if bp is None else f"{page.signed(text.number(bp * 1e4))} bp of turnover"),
        (
            "Return on peak gross",
            page.signed(text.percent(h.return_on_peak_gross)),
            f"peak gross exposure {page.money(h.peak_gross)}",
        ),
        ("Sharpe ratio", page.signed(text.number(h.sharpe.value)), escape(h.sharpe.note)),
        ("Max drawdown", page.money(h.max_drawdown), _of_peak(h)),
        ("Fills", text.count(h.fills), _fill_note(h)),
        ("Turnover", page.money(h.turnover), _turnover_note(h)),
        ("Round trips", text.count(h.round_trips), _trip_note(h)),
        ("Refusals", text.count(h.refusals), "orders the risk gate said no to"),
        ("Digest", f"<code>{escape(_digest(results))}</code>", _replay_note(results)),
    ]
    return page.cards(cards) + _warnings(results)


def _span(started: str, finished: str) -> str:
    """Two moments as people write them: the date once when it is the same."""
    same_day = len(started) == len(finished) == len("2024-03-14 13:30:00") and started[:11] == finished[:11]
    return f"{started} to {finished[11:] if same_day else finished} UTC"


def _warnings(results: Results) -> str:
    told = []
    if not results.reconciles():
        parts = ", ".join(f"{escape(k)} {page.money(v)}" for k, v in results.reconciliation().items())
        told.append(f"<b>Net P&amp;L does not add up.</b> The tables tell different sums: {parts}.")
    unknown = int(np.count_nonzero(~np.isfinite(results.net_path)))
    if unknown:
        told.append(
            f"<b>{unknown:,} of {results.equity.height:,} equity samples have no value</b> (no mark); "
            "they are left out of every number."
        )
    if not results.market_fills.height:
        told.append("<b>No fills.</b> Nothing traded in this run: see orders, refusals and data quality below.")
    return "".join(f'<p class="warn">{t}</p>' for t in told)


def _equity(results: Results, drawn: dict[str, charts.Figure]) -> str:
    if not results.equity.height:
        return page.section("Equity", "", page.none("No equity was sampled."))
    drawn["equity-chart"] = charts.equity(results)
    rows = results.equity.height
    start = results.equity["equity"][0]
    lead = [f"{text.many(rows, 'sample')}; times are UTC"]
    if text.is_number(start):
        lead.append(f"equity at the first sample {page.money(start)}")
    if flat := charts.flat_head(results):
        lead.append(f"the first {flat:,}, before any position, are to the left of what is shown")
    if rows > charts.POINTS_PER_LINE:
        lead.append(f"lines are thinned to {charts.POINTS_PER_LINE:,} points, every low and high of a stretch kept")
    return page.section(
        "Equity, drawdown, exposure", "; ".join(lead) + ".", page.chart("equity-chart", "Net P&L over time")
    )


def _strategies(results: Results, drawn: dict[str, charts.Figure]) -> str:
    frame = results.strategies
    known = frame.filter(pl.col("net").is_finite()).sort("net", "strategy", descending=[True, False])
    if not known.height:
        return page.section("P&L by strategy", "", page.none("No strategy has a P&L."))
    drawn["strategy-chart"] = charts.strategy_bars(results)
    traded = known.filter(pl.col("fills") > 0)
    won, lost = traded.filter(pl.col("net") > 0), traded.filter(pl.col("net") < 0)
    lead = (
        f"{won.height:,} of {traded.height:,} gained {page.money(won['net'].sum())}, "
        f"{lost.height:,} lost {page.money(lost['net'].sum())}; "
        f"median {page.money(traded['net'].median())}. After fees."
    )
    columns: list[tuple[str, str, page.CellFormat]] = [
        ("strategy", "strategy", page.name),
        ("net", "net", page.cents),
        ("realised", "realised", page.cents),
        ("unrealised", "unrealised", page.cents),
        ("fees", "fees", page.cents),
        *_held(frame),
        ("fills", "fills", text.count),
        ("turnover", "turnover", text.count),
    ]
    narrow = [c for c in columns if c[0] not in ("realised", "unrealised")]
    if known.height <= 2 * _ENDS:
        tables = page.table(known, columns)
    else:
        best, worst = known.head(_ENDS), known.tail(_ENDS).reverse()
        tables = (
            f'<div class="columns"><div><h3>Best {_ENDS}</h3>{page.table(best, narrow)}</div>'
            f"<div><h3>Worst {_ENDS}</h3>{page.table(worst, narrow)}</div></div>"
        )
    unknown = frame.height - known.height
    note = f'<p class="note">{unknown:,} more have no P&amp;L value.</p>' if unknown else ""
    return page.section(
        "P&L by strategy", lead, page.chart("strategy-chart", "Net P&L of each strategy") + tables + note
    )


def _trades(results: Results, choices: Sequence[charts.Choice]) -> str:
    if not choices:
        return page.section("Trades", "", page.none("No fills, so no trades to show."))
    trades, h = results.trades, results.headline
    lead = f"{text.many(h.round_trips, 'round trip')} (first in, first out)"
    if trades.height:
        held = (trades["exit_ts"].to_physical() - trades["entry_ts"].to_physical()).median()
        won, lost = trades.filter(pl.col("net") > 0)["net"], trades.filter(pl.col("net") < 0)["net"]
        lead += (
            f"; {text.percent(h.hit_rate, 1)} gained after fees, average gain {page.money(won.mean())}, "
            f"average loss {page.money(lost.mean())}; median time held {escape(text.nanoseconds(held))}"
        )
    options = "".join(f"<option>{escape(page.short(c.strategy, _MENU_LABEL_CHARACTERS))}</option>" for c in choices)
    body = (
        '<p class="note"><label for="trade-menu">Strategy</label>'
        f'<select id="trade-menu" autocomplete="off">{options}</select>'
        '<span id="trade-note"></span></p>'
        f"{page.chart('trade-chart', 'Fills and round trips over price')}"
    )
    path = "sampled marks" if results.marks.height else "the run's own fills"
    which = f"The {len(choices)} most active strategies. " if len(choices) > 1 else ""
    note = f'<p class="note">{which}The price line joins {path}.</p>'
    return page.section("Trades", lead + ".", body + note)


def _pillars(results: Results) -> str:
    columns = []
    for pillar, counts in results.pillars().items():
        rows = "".join(
            f'<tr><td>{escape(text.label(k))}</td><td class="n">{page.signed(escape(text.plain(v)))}</td></tr>'
            for k, v in counts.items()
        )
        columns.append(f'<div><h3>{escape(pillar.capitalize())}</h3><table class="counts">{rows}</table></div>')
    states = _shares(results.orders, "state")
    liquidity = _shares(results.fills, "liquidity")
    more = ""
    if states or liquidity:
        more = f'<p class="note">Orders by final state: {states or "none"}. Fills: {liquidity or "none"}.</p>'
    return page.section("What each pillar did", "", f'<div class="columns four">{"".join(columns)}</div>{more}')


def _refusals_and_quality(results: Results) -> str:
    return f'<div class="columns">{_refusals(results)}{_quality(results)}</div>'


def _refusals(results: Results) -> str:
    if not results.refusals.height:
        return page.section("Refusals by rule", "", page.none("The risk gate refused nothing."))
    by_rule = (
        results.refusals.group_by("rule")
        .agg(
            pl.len().alias("count"),
            pl.col("limit").sort_by(pl.col("value").abs()).last(),
            pl.col("value").sort_by(pl.col("value").abs()).last(),
            pl.col("ts").min().alias("first"),
        )
        .sort("count", "rule", descending=[True, False])
    )
    most = int(by_rule["count"][0])
    rows = [
        [
            escape(text.label(r["rule"])),
            text.count(r["count"]),
            f'<span style="width:{100 * r["count"] / most:.1f}%"></span>',
            *(_in_unit(r[k], RULE_UNIT.get(r["rule"], "")) for k in ("limit", "value")),
        ]
        for r in by_rule.iter_rows(named=True)
    ]
    body = page.rows(["rule", "count", "", "limit", "furthest value"], rows, {0: "", 2: ' class="bar"'})
    return page.section("Refusals by rule", "", body)


def _quality(results: Results) -> str:
    frame = results.quality.filter(pl.col("count") > 0).sort(
        "count", "instrument", "kind", descending=[True, False, False]
    )
    if not frame.height:
        return page.section("Data quality", "", page.none("Nothing was wrong with the data."))
    columns: list[tuple[str, str, page.CellFormat]] = [
        ("instrument", "instrument", page.name),
        ("kind", "kind", lambda x: escape(text.label(x))),
        ("count", "count", text.count),
    ]
    note = f"{text.many(int(frame['count'].sum()), 'event')} in all, counted and not applied."
    if frame.height > _QUALITY_ROWS:
        note += f" The largest {_QUALITY_ROWS} of {frame.height:,} rows; all are in quality.parquet."
    body = page.table(frame.head(_QUALITY_ROWS), columns) + f'<p class="note">{note}</p>'
    return page.section("Data quality", "", body)


def _held(frame: pl.DataFrame) -> list[tuple[str, str, page.CellFormat]]:
    """Columns of what was paid and received for holding, where there was any."""
    names = [name for name in ("dividends", "borrow", "financing") if name in frame.columns]
    return [(name, name, page.cents) for name in names if (frame[name] != 0).any()]


def _positions(results: Results) -> str:
    held = results.positions.filter(pl.col("quantity") != 0).with_columns(value=pl.col("quantity") * pl.col("mark"))
    if not held.height:
        return page.section("Open positions at the end", "", page.none("Flat in every instrument."))
    held = held.sort(pl.col("value").abs(), "instrument", descending=[True, False], nulls_last=True)
    columns: list[tuple[str, str, page.CellFormat]] = [
        ("instrument", "instrument", page.name),
        ("quantity", "quantity", lambda x: page.signed(text.quantity(x))),
        ("average_price", "average price", lambda x: page.signed(text.price(x))),
        ("mark", "mark", lambda x: page.signed(text.price(x))),
        ("value", "value", page.cents),
        ("unrealised", "unrealised", page.cents),
        ("realised", "realised", page.cents),
        ("fees", "fees", page.cents),
        *_held(held),
    ]
    body = page.table(held.head(_POSITION_ROWS), columns)
    if held.height > _POSITION_ROWS:
        body += f'<p class="note">The largest {_POSITION_ROWS} of {held.height:,}; all are in positions.parquet.</p>'
    return page.section("Open positions at the end", "", body)


def _latency(results: Results, drawn: dict[str, charts.Figure]) -> str:
    histogram = results.meta.get("latency")
    figure = charts.latency(dict(histogram)) if isinstance(histogram, Mapping) else None
    if figure is None or not isinstance(histogram, Mapping):
        return ""
    drawn["latency-chart"] = figure
    keys = ("p50", "p90", "p99", "p99.9", "max")
    lead = ", ".join(f"{k} {escape(text.nanoseconds(histogram[k]))}" for k in keys if text.is_number(histogram.get(k)))
    return page.section(
        "Latency, message bytes to order bytes",
        f"{lead}. Wall time of the steps that sent an order." if lead else "",
        page.chart("latency-chart", "Histogram of latency"),
    )


def _run(results: Results) -> str:
    meta = results.meta
    terms = [(label, f"<code>{escape(text.name(meta[key]))}</code>") for label, key in _FINGERPRINTS if meta.get(key)]
    if meta.get("seed") is not None:
        terms.append(("Seed", escape(text.name(meta["seed"]))))
    if text.is_number(meta.get("inputs")):
        terms.append(("Inputs, outputs", f"{text.count(meta['inputs'])}, {text.count(meta.get('outputs'))}"))
    if text.is_number(meta.get("wall_seconds")):
        terms.append(
            ("Wall time", f"{text.number(meta['wall_seconds'])} s, {text.rate(meta.get('events_per_second'))}")
        )
    told = ", ".join(f"{k} {page.money(v)}" for k, v in results.reconciliation().items())
    terms.append(("Net P&amp;L by table", told))
    versions = meta.get("versions")
    if isinstance(versions, Mapping):
        terms.append(
            ("Versions", ", ".join(f"{escape(text.name(k))} {escape(text.name(v))}" for k, v in versions.items()))
        )
    config = _config(meta.get("config"))
    return page.section("The run", "", page.terms((k, v) for k, v in terms if v) + config + _definitions())


_DEFINITIONS: Final = (
    (
        "Net P&L",
        "realised + unrealised − fees + dividends − borrow − interest at the last sample; open positions at their mark",
    ),
    (
        "Drawdown",
        "net P&L minus its highest value so far, which is at least zero; in currency, not percent; "
        "seen at the samples of equity only, so that between them it was at least as deep",
    ),
    ("Return on peak gross", "net P&L / highest sum of absolute position values"),
    (
        "Sharpe ratio",
        "mean / standard deviation of P&L changes × √(periods a year), risk-free rate zero. The changes are over one "
        "day; if there are fewer than 20 of those, over one hour, 15, 5 or 1 minutes, and the periods of a day are "
        f"those that were seen. None for fewer than {SHARPE_MIN_DAYS} days, which say nothing about a year",
    ),
    ("Turnover", "sum of price × quantity over venue fills, buys and sells both"),
    (
        "Round trips",
        "fills matched first in, first out, per strategy and instrument, both fees taken off. The engine's own "
        "realised P&L uses average cost: the two agree when a position is flat",
    ),
    ("Profit factor", "sum of gains / sum of losses over round trips"),
)


def _definitions() -> str:
    terms = page.terms((escape(k), f"{escape(v)}.") for k, v in _DEFINITIONS)
    return f"<details><summary>How the numbers are made</summary>{terms}</details>"


# --- Parts ---------------------------------------------------------------------------------------------------------


def _in_unit(value: Any, unit: str) -> str:
    if unit == "":
        return ""
    if unit == "quantity":
        return page.signed(text.quantity(value))
    if unit == "cash":
        return page.money(value)
    return f"{page.signed(text.count(value))} {unit}"


def _ratio(value: float | None, of: float | None) -> float | None:
    return value / of if value is not None and of else None


def _of_peak(h: Headline) -> str:
    share = _ratio(h.max_drawdown, h.peak_gross)
    return "" if share is None else f"{page.signed(text.percent(share))} of peak gross"


def _fill_note(h: Headline) -> str:
    parts = [f"of {text.many(h.orders, 'order')}"]
    if h.maker_share is not None:
        parts.append(f"{text.percent(h.maker_share, 0)} maker")
    if h.transfers:
        parts.append(f"and {text.many(h.transfers, 'internal transfer')}")
    return ", ".join(parts)


def _turnover_note(h: Headline) -> str:
    times = _ratio(h.turnover, h.peak_gross)
    return "" if times is None else f"{text.number(times, 1)} × peak gross"


def _trip_note(h: Headline) -> str:
    if h.hit_rate is None:
        return ""
    factor = "no losses" if h.profit_factor is None else f"profit factor {text.number(h.profit_factor)}"
    return f"{text.percent(h.hit_rate, 1)} gained, {factor}"


def _digest(results: Results) -> str:
    digest = text.name(results.meta.get("digest") or text.NOT_AVAILABLE)
    return digest if len(digest) <= 16 else digest[:16] + "…"


def _replay_note(results: Results) -> str:
    return "of the final state; a replay must give the same" if results.meta.get("digest") else ""


def _shares(frame: pl.DataFrame, column: str) -> str:
    counts = frame.group_by(column).len().sort("len", column, descending=[True, False])
    return ", ".join(f"{escape(text.label(k))} {n:,}" for k, n in counts.iter_rows())


def _config(config: Any) -> str:
    if not config:
        return ""
    shown = config if isinstance(config, str) else json.dumps(jsonable(config), indent=2, ensure_ascii=False)
    cut = len(shown) > _CONFIG_CHARACTERS
    note = f'<p class="note">The first {_CONFIG_CHARACTERS:,} characters; run.json has all.</p>' if cut else ""
    body = f"<pre>{escape(shown[:_CONFIG_CHARACTERS])}</pre>{note}"
    return f"<details><summary>Configuration</summary>{body}</details>"
