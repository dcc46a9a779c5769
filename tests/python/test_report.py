"""The report and the terminal summary, on a made-up day of 300 pairs and 20,000 fills and on degenerate runs."""

import base64
import hashlib
import io
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helios.errors import RunError
from helios.research import charts, text
from helios.research import page as page_parts
from helios.research.report import render, write_report
from helios.research.results import Results
from helios.research.summary import print_summary
from rich.console import Console

OPEN_NS = int(datetime(2024, 3, 14, 13, 30, tzinfo=UTC).timestamp()) * 10**9
SECOND = 10**9
SESSION_S = 23_400
MAX_PAGE_BYTES = 6_000_000


def synthetic(pairs: int = 300, fills: int = 20_000, symbols: int = 200, seed: int = 11, grid_s: int = 2) -> Results:
    """A day whose books balance: the equity is what the fills, the fees and the marks make it."""
    rng = np.random.default_rng(seed)
    tickers = [chr(65 + i // 26 % 26) + chr(65 + i % 26) + "XYZ"[i % 3] for i in range(symbols)]
    seconds = np.arange(0, SESSION_S + 1, grid_s)
    walk = rng.normal(0, 2.5e-5 * np.sqrt(grid_s), (seconds.size, symbols)).cumsum(axis=0)
    marks = np.round(rng.uniform(12, 280, symbols) * np.exp(walk), 2)
    legs = np.sort(np.array([rng.choice(symbols, 2, replace=False) for _ in range(pairs)]), axis=1)
    names = [f"{tickers[a]}/{tickers[b]}" for a, b in legs]
    skill = rng.normal(0.15, 0.9, pairs)  # cents a share of edge: most of it goes to fees

    visits = fills // (4 * pairs)
    rows: list[tuple[Any, ...]] = []
    signals: list[tuple[Any, ...]] = []
    order = 0
    for p, (a, b) in enumerate(legs):
        # The most traded pairs are three times as busy as the median one.
        times = np.sort(rng.choice(np.arange(300, seconds.size - 60), 2 * visits, replace=False))
        position = {int(a): 0.0, int(b): 0.0}
        for k in range(visits):
            enter, leave = int(times[2 * k]), int(times[2 * k + 1])
            direction = float(rng.choice([-1, 1]))
            z = direction * rng.uniform(2.0, 3.4)
            signals.append((OPEN_NS + int(seconds[enter]) * SECOND, names[p], -direction, z))
            shares = {int(a): 100.0, int(b): float(max(1, round(100 * marks[0, a] / marks[0, b])))}
            still_open = k == visits - 1 and p % 7 == 0
            entry_price: dict[int, float] = {}
            for leg, sign in ((int(a), -direction), (int(b), direction)):
                order += 1
                maker = bool(rng.random() < 0.55)
                price = round(marks[enter, leg] - sign * (0.01 if maker else -0.01), 2)
                entry_price[leg] = price
                position[leg] += sign * shares[leg]
                rows.append((enter, order, names[p], leg, sign, price, shares[leg], maker, position[leg], 0.0))
            if still_open:
                continue
            signals.append((OPEN_NS + int(seconds[leave]) * SECOND, names[p], 0.0, direction * rng.uniform(-0.2, 0.5)))
            for leg, sign in ((int(a), direction), (int(b), -direction)):
                order += 1
                maker = bool(rng.random() < 0.35)
                drift = -sign * (rng.normal(skill[p], 4.0) / 100)
                price = round(marks[leave, leg] + drift, 2)
                position[leg] += sign * shares[leg]
                realised = -sign * (price - entry_price[leg]) * shares[leg]
                rows.append((leave, order, names[p], leg, sign, price, shares[leg], maker, position[leg], realised))
    return _accounts(rows, signals, tickers, names, seconds, marks, rng)


def _accounts(
    rows: list[tuple[Any, ...]],
    signals: list[tuple[Any, ...]],
    tickers: list[str],
    names: list[str],
    seconds: np.ndarray,
    marks: np.ndarray,
    rng: np.random.Generator,
) -> Results:
    columns = ["at", "order", "strategy", "leg", "sign", "price", "quantity", "maker", "position", "realised"]
    raw = pl.DataFrame(rows, schema=columns, orient="row").sort("at", "order")
    at, leg, sign = (raw[c].to_numpy() for c in ("at", "leg", "sign"))
    price, quantity, maker = (raw[c].to_numpy() for c in ("price", "quantity", "maker"))
    fee = np.round(quantity * np.where(maker, -0.0008, 0.0018), 6)
    ts = OPEN_NS + seconds[at] * SECOND + rng.integers(0, SECOND, at.size)
    when = pl.Series(np.sort(ts)).cast(pl.Datetime("ns", "UTC"))
    side = np.where(sign > 0, "buy", "sell")
    fills = pl.DataFrame(
        {
            "ts": when,
            "ts_event": when,
            "order": raw["order"],
            "execution": np.arange(1, at.size + 1),
            "strategy": raw["strategy"],
            "instrument": pl.Series(tickers).gather(leg),
            "side": side,
            "price": price,
            "quantity": quantity,
            "fee": fee,
            "liquidity": np.where(maker, "maker", "taker"),
            "position": raw["position"],
            "realised": raw["realised"],
        }
    )
    holding = np.zeros((seconds.size, len(tickers)))
    np.add.at(holding, (at, leg), sign * quantity)
    holding = holding.cumsum(axis=0)
    flow, fees, realised = (np.zeros(seconds.size) for _ in range(3))
    np.add.at(flow, at, -sign * quantity * price)
    np.add.at(fees, at, fee)
    np.add.at(realised, at, raw["realised"].to_numpy())
    flow, fees, realised = flow.cumsum(), fees.cumsum(), realised.cumsum()
    value = holding * marks
    pnl = flow + value.sum(axis=1)
    grid = pl.Series(OPEN_NS + seconds * SECOND).cast(pl.Datetime("ns", "UTC"))
    equity = pl.DataFrame(
        {
            "ts": grid,
            "equity": 10_000_000 + pnl - fees,
            "cash": 10_000_000 + flow - fees,
            "realised": realised,
            "unrealised": pnl - realised,
            "fees": fees,
            "gross": np.abs(value).sum(axis=1),
            "net": value.sum(axis=1),
        }
    )
    last = dict(zip(tickers, marks[-1], strict=True))
    by = fills.with_columns(
        flow=pl.when(pl.col("side") == "buy").then(-1.0).otherwise(1.0) * pl.col("price") * pl.col("quantity"),
        signed=pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0) * pl.col("quantity"),
        mark=pl.col("instrument").replace_strict(last, return_dtype=pl.Float64),
        turnover=pl.col("price") * pl.col("quantity"),
    )
    total = (pl.col("flow") + pl.col("signed") * pl.col("mark")).sum()
    sums = [
        pl.col("realised").sum(),
        (total - pl.col("realised").sum()).alias("unrealised"),
        pl.col("fee").sum().alias("fees"),
    ]
    strategies = (
        by.group_by("strategy", maintain_order=True)
        .agg(*sums, (total - pl.col("fee").sum()).alias("net"), pl.len().alias("fills"), pl.col("turnover").sum())
        .sort("strategy")
    )
    positions = (
        by.group_by("instrument", maintain_order=True)
        .agg(
            *sums,
            pl.col("signed").sum().alias("quantity"),
            pl.col("mark").first(),
            pl.col("price").last().alias("average_price"),
        )
        .sort("instrument")
    )
    busiest = fills.group_by("strategy").len().sort("len", "strategy", descending=[True, False])["strategy"].head(6)
    shown = sorted({symbol for pair in busiest for symbol in pair.split("/")})
    thinned = np.arange(0, seconds.size, 15)
    return Results(
        orders=_orders(fills),
        fills=fills,
        refusals=_refusals(fills, rng),
        signals=pl.DataFrame(signals, schema=["ts", "signal", "value", "input"], orient="row")
        .with_columns(pl.col("ts").cast(pl.Datetime("ns", "UTC")))
        .sort("ts"),
        equity=equity,
        positions=positions,
        strategies=strategies,
        quality=pl.DataFrame(
            {
                "instrument": ["ABZ", "CDX", "ABZ"],
                "kind": ["crossed", "bad_value", "time_backwards"],
                "count": [41, 7, 2],
            }
        ),
        marks=pl.concat(
            pl.DataFrame({"ts": grid.gather(thinned), "price": marks[thinned, tickers.index(s)]}).with_columns(
                instrument=pl.lit(s)
            )
            for s in shown
        ),
        meta=_meta(fills, names),
    )


def _orders(fills: pl.DataFrame) -> pl.DataFrame:
    filled = fills.select(
        "ts",
        "order",
        "strategy",
        "instrument",
        "side",
        "quantity",
        "price",
        filled=pl.col("quantity"),
        state=pl.lit("filled"),
    )
    unfilled = filled.gather_every(9).with_columns(
        order=pl.col("order") + 1_000_000,
        filled=pl.lit(0.0),
        state=pl.lit("cancelled"),
        price=pl.lit(None, dtype=pl.Float64),
    )
    return pl.concat([filled, unfilled]).sort("ts").with_columns(time_in_force=pl.lit("ioc"))


def _refusals(fills: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    rules = ["position"] * 6 + ["gross_exposure"] * 3 + ["price_collar"] * 2 + ["order_rate"]
    some = fills.gather_every(180)
    rule = [rules[i] for i in rng.integers(0, len(rules), some.height)]
    limit = {"position": 400.0, "gross_exposure": 8e6, "price_collar": 50_000.0, "order_rate": 200.0}
    return some.select("ts", "strategy", "instrument", "side", "quantity", "price").with_columns(
        rule=pl.Series(rule),
        limit=pl.Series([limit[r] for r in rule]),
        value=pl.Series(
            [float(round(limit[r] * (1 + x))) for r, x in zip(rule, rng.exponential(0.1, some.height), strict=True)]
        ),
    )


def _meta(fills: pl.DataFrame, names: list[str]) -> dict[str, Any]:
    bucket = np.unique(np.round(np.geomspace(90, 60_000, 160)))
    count = np.round(
        4e5 * np.exp(-0.5 * ((np.log(bucket) - np.log(330)) / 0.34) ** 2) + 300 * np.exp(-((np.log(bucket) - 8.6) ** 2))
    )
    return {
        "name": "Pairs, embedded day",
        "config": {
            "data": {"itch": "day.itch"},
            "strategy": {"entry": 2.0, "exit": 0.5, "halflife": "10m", "pairs": names[:40]},
            "risk": {"position": 400, "gross_exposure": 8_000_000, "order_rate": 200},
        },
        "versions": {"helios": "0.1.0", "polars": pl.__version__, "python": "3.11"},
        "seed": 7,
        "digest": "9f2c41d07be83a5566d1c0aa41f7e2b3",
        "inputs": 3_412_776,
        "outputs": 88_214,
        "started": OPEN_NS,
        "finished": OPEN_NS + SESSION_S * SECOND,
        "wall_seconds": 2.41,
        "events_per_second": 1_416_089.2,
        "currency": "USD",
        "pillars": {
            "data": {"messages": 3_391_204, "books": 200, "book_updates": 3_102_333, "quality_events": 50},
            "signals": {"graph_nodes": 2_700, "evaluations": 9_120_404, "signal_changes": 10_214, "targets": 20_430},
            "risk": {"checks": 22_310, "approved": 22_200, "refused": 110, "breaches": 0},
            "execution": {"orders": 22_200, "fills": fills.height, "cancelled": 2_216, "rejected": 0},
        },
        "latency": {
            "bucket_ns": bucket,
            "count": count,
            "p50": 335.0,
            "p90": 512.0,
            "p99": 1_410.0,
            "p99.9": 6_800.0,
            "max": 58_112.0,
        },
    }


@pytest.fixture(scope="module")
def day() -> Results:
    return synthetic()


@pytest.fixture(scope="module")
def page(day: Results) -> str:
    return render(day)


class Page(HTMLParser):
    """What a browser would see: elements outside of scripts, the scripts' texts, and visible text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.visible = ""
        self._inside: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)
            if tag == "script":
                self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.visible += data
        elif self._inside[-1] == "script":
            self.scripts[-1] += data


def figures(source: str) -> Any:
    parsed = Page(source)
    return json.loads(parsed.scripts[0])


def unpack(array: dict[str, str]) -> np.ndarray:
    assert array["dtype"] in ("f4", "f8")
    return np.frombuffer(base64.b64decode(array["bdata"]), f"<{array['dtype']}")


def test_a_full_day_makes_one_small_page_that_is_closed_to_the_outside(page: str) -> None:
    assert len(page.encode()) <= MAX_PAGE_BYTES
    parsed = Page(page)
    for tag, attributes in parsed.tags:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert not {"src", "href", "srcset", "background", "action"} & set(attributes), (tag, attributes)
        assert not [a for a in attributes if a.startswith("on")], (tag, attributes)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_the_policy_names_the_two_scripts_by_their_hashes_and_nothing_else(page: str) -> None:
    parsed = Page(page)
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none';")
    hashes = re.findall(r"'sha256-([^']+)'", policy)
    data, *scripts = parsed.scripts
    assert len(scripts) == 2 and data.startswith("{")
    assert hashes == [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert "unsafe-inline" not in policy.split("script-src")[1] and "unsafe-eval" not in policy
    assert page.count("plotly.js v") == 1


def test_the_headline_numbers_stand_in_the_page(day: Results, page: str) -> None:
    visible = Page(page).visible
    h = day.headline
    for number in (h.net, h.fees, h.max_drawdown, h.turnover):
        assert text.money(number).replace("-", "−") in visible
    for number in (h.fills, h.refusals, h.round_trips):
        assert f"{number:,}" in visible
    assert h.sharpe.note in visible
    assert "9f2c41d07be83a55…" in visible and "9f2c41d07be83a5566d1c0aa41f7e2b3" in visible
    assert "does not add up" not in visible


def test_losses_are_red_and_have_a_minus_sign(day: Results, page: str) -> None:
    worst = day.strategies.sort("net")["net"][0]
    assert worst < 0
    assert f'<span class="neg">−{text.money(-worst)}</span>' in page
    assert page_parts.signed("-1,234.50") == '<span class="neg">−1,234.50</span>'
    assert page_parts.signed("1,234.50") == "1,234.50"


def test_best_and_worst_fifteen_are_listed_in_order(day: Results, page: str) -> None:
    ranked = day.strategies.sort("net", "strategy", descending=[True, False])["strategy"].to_list()
    section = page[page.index("<h3>Best 15") : page.index("<h2>Trades")]
    listed = re.findall(r"<tr><td>([^<]+)</td>", section)
    assert listed == ranked[:15] + ranked[:-16:-1]


def test_every_chart_has_its_place(page: str) -> None:
    drawn = figures(page)
    places = {a["id"] for t, a in Page(page).tags if a.get("class") == "chart"}
    assert (
        places
        == {*drawn["charts"], "trade-chart"}
        == {"equity-chart", "strategy-chart", "latency-chart", "trade-chart"}
    )
    assert len(drawn["choices"]) == 6


def test_the_equity_line_is_the_net_pnl_and_keeps_its_extremes(day: Results, page: str) -> None:
    lines = {t["name"]: t for t in figures(page)["charts"]["equity-chart"]["data"]}
    net = unpack(lines["net P&L"]["y"])
    assert day.equity.height > charts.POINTS_PER_LINE >= net.size
    assert net[-1] == day.net_path[-1] and net.min() == day.net_path.min() and net.max() == day.net_path.max()
    assert unpack(lines["drawdown"]["y"]).min() == day.headline.max_drawdown
    assert unpack(lines["net P&L"]["x"])[0] == OPEN_NS / 1e6


def test_the_trade_chart_draws_every_fill_of_a_pair_once(day: Results, page: str) -> None:
    menu = charts.trade_choices(day)
    for choice, drawn in zip(menu, figures(page)["choices"], strict=True):
        fills = day.fills.filter(pl.col("strategy") == choice.strategy)
        by_side = {
            s: sum(unpack(t["y"]).size for t in drawn["figure"]["data"] if t["name"] == s) for s in ("buy", "sell")
        }
        assert by_side == {s: fills.filter(pl.col("side") == s).height for s in ("buy", "sell")}
        trips = [t for t in drawn["figure"]["data"] if t["name"].startswith("round trip")]
        assert (
            sum(unpack(t["y"]).size // 3 for t in trips)
            == day.trades.filter(pl.col("strategy") == choice.strategy).height
        )
        signal = [t for t in drawn["figure"]["data"] if "when it changed" in t["name"]]
        assert len(signal) == 1
        assert unpack(signal[0]["y"]).size == day.signals.filter(pl.col("signal") == choice.strategy).height


def test_thinning_keeps_first_last_lowest_highest_and_gaps() -> None:
    values = np.sin(np.arange(100_000) / 5_000.0)
    values[77_777], values[33_333] = 9.0, -9.0
    values[50_000:60_000] = np.nan
    keep = charts.thin(values, 5_000)
    assert keep.size <= 5_000 and (np.diff(keep) > 0).all()
    assert {0, 99_999, 77_777, 33_333} <= set(keep.tolist())
    assert np.isnan(values[keep]).sum() > 100
    assert charts.thin(np.arange(7.0), 7).tolist() == list(range(7))


def test_nights_are_cut_out_of_the_time_axis() -> None:
    day_ns = 86_400 * SECOND
    ts = np.concatenate([OPEN_NS + d * day_ns + np.arange(0, SESSION_S, 60) * SECOND for d in range(3)])
    gaps = charts.session_gaps(ts)
    assert [g["bounds"] for g in gaps] == [
        ["2024-03-14T19:59:00.001", "2024-03-15T13:30:00.000"],
        ["2024-03-15T19:59:00.001", "2024-03-16T13:30:00.000"],
    ]
    assert charts.session_gaps(ts[:390]) == []


EVIL = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "<img src=x onerror=alert(3)>",
    "\"onmouseover='alert(4)'",
    "<!--<script>",
    "&lt;b&gt;",
    "{%y}\u2028\x1b[31m",
]


@pytest.mark.parametrize("evil", EVIL)
def test_a_symbol_is_text_and_never_markup(evil: str) -> None:
    calm, wild = one_fill("AAA"), one_fill(evil)
    calm_page, wild_page = Page(render(calm)), Page(render(wild))
    # The same elements with the same attributes: nothing of the name became part of the page's structure.
    drop = ("content",)
    assert [(t, {k: v for k, v in a.items() if k not in drop}) for t, a in wild_page.tags] == [
        (t, {k: v for k, v in a.items() if k not in drop}) for t, a in calm_page.tags
    ]
    assert wild_page.scripts[1:] == calm_page.scripts[1:]
    assert text.name(evil) in wild_page.visible
    # Plotly reads tags in chart text: whatever reaches it has none.
    chart_text = json.dumps(json.loads(wild_page.scripts[0]))
    assert "<script" not in chart_text and "<img" not in chart_text and "\\u001b" not in chart_text


def one_fill(symbol: str = "AAA", price: float = 10.0) -> Results:
    when = pl.Series([OPEN_NS]).cast(pl.Datetime("ns", "UTC"))
    common = {"strategy": [symbol], "instrument": [symbol], "side": ["buy"], "price": [price], "quantity": [5.0]}
    money = {"realised": [0.0], "unrealised": [0.5], "fees": [0.25]}
    return Results(
        orders=pl.DataFrame(
            {"ts": when, "order": [1], **common, "time_in_force": ["day"], "state": ["filled"], "filled": [5.0]}
        ),
        fills=pl.DataFrame(
            {"ts": when, "ts_event": when, "order": [1], "execution": [9], **common}
            | {"fee": [0.25], "liquidity": ["taker"], "position": [5.0], "realised": [0.0]}
        ),
        refusals=pl.DataFrame({"ts": when, **common, "rule": ["position"], "limit": [5.0], "value": [10.0]}),
        signals=pl.DataFrame({"ts": when, "signal": [symbol], "value": [1.0], "input": [float("nan")]}),
        equity=pl.DataFrame({"ts": when, "equity": [0.25], "cash": [-50.25], **money, "gross": [50.5], "net": [50.5]}),
        positions=pl.DataFrame(
            {"instrument": [symbol], "quantity": [5.0], "average_price": [price], "mark": [10.1], **money}
        ),
        strategies=pl.DataFrame({"strategy": [symbol], **money, "net": [0.25], "fills": [1], "turnover": [50.0]}),
        quality=pl.DataFrame({"instrument": [symbol], "kind": ["crossed"], "count": [3]}),
        meta={
            "name": symbol,
            "config": {symbol: symbol},
            "versions": {symbol: symbol},
            "digest": symbol,
            "currency": symbol,
            "started": symbol,
            "finished": symbol,
            "seed": symbol,
            "pillars": {"data": {symbol: symbol}},
        },
    )


def test_a_run_without_anything_says_so() -> None:
    page = Page(render(Results()))
    for sentence in (
        "No fills.",
        "No equity was sampled.",
        "No strategy has a P&L.",
        "The risk gate refused nothing.",
        "Nothing was wrong with the data.",
        "Flat in every instrument.",
    ):
        assert sentence in page.visible
    assert json.loads(page.scripts[0]) == {"charts": {}, "choices": []}


def test_one_fill_makes_a_page() -> None:
    page = Page(render(one_fill()))
    drawn = json.loads(page.scripts[0])
    assert len(drawn["choices"]) == 1 and "1 fill, 0 round trips" in drawn["choices"][0]["note"]
    assert "fewer than 20 one-minute samples of equity" in page.visible


def test_samples_without_a_value_are_left_out_and_said() -> None:
    results = synthetic(pairs=4, fills=64, symbols=10)
    hurt = results.equity.with_columns(
        unrealised=pl.when(pl.int_range(pl.len()).is_in([5, 6])).then(float("nan")).otherwise(pl.col("unrealised"))
    )
    results = Results(
        **{n: results.table(n) for n in ("fills", "strategies", "positions")}, equity=hurt, meta=results.meta
    )
    page = Page(render(results))
    assert "2 of 11,701 equity samples have no value" in page.visible
    assert "nan" not in page.visible.lower().replace("nanosecond", "")


def test_sums_that_differ_are_shown_as_a_warning(day: Results) -> None:
    wrong = day.strategies.with_columns(pl.col("realised") + 1.0)
    page = Page(render(Results(equity=day.equity, positions=day.positions, strategies=wrong)))
    assert "Net P&L does not add up." in page.visible


def test_the_worst_case_stays_below_the_size_limit() -> None:
    results = synthetic(pairs=6, fills=40_000, symbols=12, grid_s=1)
    assert len(render(results).encode()) <= MAX_PAGE_BYTES


def test_latency_that_is_no_histogram_is_left_out() -> None:
    wrong: dict[str, Any]
    for wrong in (
        {},
        {"bucket_ns": [1, 2], "count": [1]},
        {"bucket_ns": [], "count": []},
        {"bucket_ns": "x", "count": 3},
    ):
        assert charts.latency(wrong) is None
    assert charts.latency({"bucket_ns": [100, 200], "count": [1, 0], "p50": 100}) is not None


def test_the_report_is_written_whole_or_not_at_all(tmp_path: Path, day: Results) -> None:
    target = write_report(day, tmp_path / "report.html")
    assert target.read_text(encoding="utf-8").endswith("</html>\n")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(RunError, match="cannot write the report"):
        write_report(Results(), tmp_path / "absent" / "report.html")


def test_the_page_is_the_same_for_the_same_run(day: Results, page: str) -> None:
    assert render(day) == page


def printed(results: Results, width: int = 100, **more: Any) -> str:
    out = io.StringIO()
    print_summary(results, Console(file=out, width=width, force_terminal=False), **more)
    return out.getvalue()


def test_the_summary_fits_a_hundred_columns_and_names_the_four_pillars(day: Results) -> None:
    shown = printed(day, width=160, report="runs/pairs/report.html")
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 100
    for word in ("DATA", "SIGNALS", "RISK", "EXECUTION", "runs/pairs/report.html", "3,412,776", "net P&L after fees"):
        assert word in shown
    assert text.money(day.headline.net) in shown


def test_the_summary_prints_names_as_text() -> None:
    shown = printed(one_fill("[red]X[/red]\x1b[2J"), report="[bold]r.html")
    assert "[red]X[/red]" in shown and "\x1b" not in shown and "[bold]r.html" in shown


def test_the_summary_of_an_empty_run_says_so() -> None:
    assert "nothing traded" in printed(Results())


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1234567.891, "1,234,568"),
        (-1234.5, "-1,234.50"),
        (-0.001, "0.00"),
        (float("nan"), "n/a"),
        (None, "n/a"),
        (float("-inf"), "n/a"),
    ],
)
def test_money_is_written_for_people(value: float | None, written: str) -> None:
    assert text.money(value) == written


def test_other_units() -> None:
    assert [text.price(x) for x in (12.0, 0.125, 1234.56789)] == ["12.00", "0.125", "1,234.56789"]
    assert [text.quantity(x) for x in (-1500.0, 0.25, 0.0)] == ["-1,500", "0.25", "0"]
    assert [text.nanoseconds(x) for x in (850, 1_410, 2.5e6, 12e9, 600e9, 9000e9)] == [
        "850 ns",
        "1.41 µs",
        "2.50 ms",
        "12.0 s",
        "10.0 min",
        "2.5 h",
    ]
    assert [text.rate(x) for x in (8_310_000, 412_300, 950)] == ["8.31 M/s", "412 k/s", "950/s"]
    assert text.percent(-0.01234) == "-1.23%"
    assert text.moment(OPEN_NS) == "2024-03-14 13:30:00"
