"""A run in a notebook: `results.plot` gives Plotly figures, and the results themselves show a card.

A figure is a Plotly figure like any other; what differs is how it stands in a notebook. JupyterLab and VS Code draw it
from its data; where no script runs (GitHub, an exported page) its still picture stands instead. Plotly's own way would
write its 4 MB script into the notebook. Text of the run is escaped everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from helios.errors import ArgumentError, RunError
from helios.research import charts, page, picture, text
from helios.research.results import Results

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_NAMED_IN_AN_ERROR = 8


class Plots:
    """The charts of one run."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def __call__(self) -> Figure:
        """The same as `equity()`."""
        return self.equity()

    def equity(self) -> Figure:
        """Net P&L (and before fees), drawdown, exposure over time. RunError if no equity was sampled."""
        return figure(charts.equity(self._sampled()))

    def drawdown(self) -> Figure:
        """Net P&L below its highest value so far, currency units. RunError if no equity was sampled."""
        return figure(charts.drawdowns(self._sampled()))

    def trades(self, instrument: str) -> Figure:
        """Price, fills and round trips of one instrument. ArgumentError for one that has no fills in this run."""
        traded = self._results.market_fills["instrument"].unique().to_list()
        _known(instrument, traded, "fills of")
        return figure(charts.trades(self._results, instrument))

    def signal(self, name: str) -> Figure:
        """A signal whenever it changed. ArgumentError for one that this run has no changes of."""
        _known(name, self._results.signals["signal"].unique().to_list(), "changes of a signal named")
        return figure(charts.signal(self._results, name))

    def __repr__(self) -> str:
        return "<Plots: plot(), plot.equity(), plot.drawdown(), plot.trades(instrument), plot.signal(name)>"

    def _sampled(self) -> Results:
        if not self._results.equity.height:
            raise RunError("no equity was sampled in this run: there is nothing to draw")
        return self._results


def _known(name: str, names: Iterable[Any], what: str) -> None:
    there = sorted(str(n) for n in names if n is not None)
    if name in there:
        return
    near = get_close_matches(str(name), there, n=3) or there[:_NAMED_IN_AN_ERROR]
    told = ", ".join(repr(n) for n in near)
    raise ArgumentError(f"this run has no {what} {name!r}" + (f": there are {told}" if near else ": there are none"))


def figure(drawn: charts.Figure) -> Figure:
    """One of `charts`' figures as a Plotly figure."""
    return _figure_class()({"data": drawn["data"], "layout": drawn["layout"] | {"template": "none"}})


@cache
def _figure_class() -> Callable[[charts.Figure], Figure]:
    """Made when it is first needed: importing Plotly takes longer than importing all of ours."""
    try:
        from plotly.graph_objects import Figure
    except ImportError as error:
        raise RunError("plots need plotly, which is not installed", hint="Install it with `pip install plotly`.") from (
            error
        )

    class StillFigure(Figure):  # type: ignore[misc]
        """A Plotly figure that brings its still picture along."""

        # Plotly's own would be asked too, and would write its script, or a request for it, into the notebook.
        _ipython_display_ = None
        _repr_html_ = None

        def _repr_mimebundle_(self, *_: Any, **__: Any) -> dict[str, Any]:
            drawn = json.loads(self.to_json())
            bundle = {
                "application/vnd.plotly.v1+json": drawn | {"config": {"displaylogo": False, "responsive": True}},
                "text/plain": f"<Figure of {text.many(len(drawn['data']), 'trace')}>",
            }
            with suppress(ValueError, KeyError, TypeError):  # what someone has added may be none of ours to draw
                bundle["image/svg+xml"] = picture.svg(drawn)
            return bundle

    return StillFigure


def card(results: Results) -> str:
    """The headline and the path of net P&L, as a notebook shows the results."""
    h, meta = results.headline, results.meta
    title = escape(text.name(meta.get("name") or "Backtest"))
    span = ""
    if meta.get("started") is not None:
        span = f"{text.moment(meta['started'])} to {text.moment(meta.get('finished'))} UTC"
    entries = [
        ("net P&amp;L after fees", page.money(h.net)),
        ("fees", page.money(h.fees)),
        ("max drawdown", page.money(h.max_drawdown)),
        ("Sharpe ratio", page.signed(text.number(h.sharpe.value))),
        ("fills", text.count(h.fills)),
        ("turnover", page.money(h.turnover)),
        ("round trips", text.count(h.round_trips)),
        ("hit rate", text.percent(h.hit_rate, 1)),
        ("refusals", text.count(h.refusals)),
    ]
    why = "" if h.sharpe.value is not None else f"No Sharpe ratio: {h.sharpe.note}."
    drawn = picture.image(charts.net(results), "Net P&L and drawdown over time") if results.equity.height else ""
    return framed(title, escape(span), entries, drawn, escape(why))


def framed(title: str, lead: str, entries: Iterable[tuple[str, str]], drawn: str, note: str = "") -> str:
    """A card: everything is HTML. Styles stand in the elements, so that nothing leaks into the notebook."""
    cells = "".join(
        f'<div style="min-width:7.5em"><div style="font-size:11px;color:{charts.MUTED}">{label}</div>'
        f'<div style="font-size:16px">{value}</div></div>'
        for label, value in entries
    ).replace('class="neg"', f'style="color:{charts.RED}"')
    small = f'style="font-size:12px;color:{charts.MUTED}"'
    return (
        f'<div style="background:#fff;color:{charts.INK};border:1px solid {charts.HAIR};border-radius:4px;'
        f"padding:12px 16px;max-width:920px;font-family:{escape(charts.FONT)};"
        f'font-variant-numeric:tabular-nums"><div style="font-size:17px;font-weight:600">{title}</div>'
        f"<div {small}>{lead}</div>"
        f'<div style="display:flex;flex-wrap:wrap;gap:8px 26px;margin:10px 0 6px">{cells}</div>{drawn}'
        f"{f'<div {small}>{note}</div>' if note else ''}</div>"
    )
