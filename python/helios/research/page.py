"""The parts of a page that opens offline: its frame, its tables, its numbers. `report` and `tearsheet` fill it.

A page's policy allows exactly the two scripts written here, by their hashes, and no request to anywhere. Charts are
drawn by Plotly's bundle, taken from the installed package and written once into the page. What callers pass as HTML
they have escaped; what they pass as text is escaped here.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import polars as pl

from helios.errors import RunError
from helios.research import text

_MAX_TABLE_TEXT: Final = 200

CellFormat = Callable[[Any], str]


def document(title: str, body: Iterable[str], figures: Mapping[str, Any], choices: Sequence[Any] = ()) -> str:
    """The whole page. `title` is plain text, `body` HTML, `figures` by the id of their `chart`, `choices` a menu's."""
    data = json.dumps({"charts": figures, "choices": choices}, separators=(",", ":"), allow_nan=False)
    # Inside a script element only "<" could end it; the others are harmless and escaped for older readers.
    data = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    bundle, own, style = _plotly_bundle(), _resource("report.js"), _resource("report.css")
    policy = (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {_source(bundle)} {_source(own)}; base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)} · Helios</title>\n<style>\n{style}</style>\n</head>\n<body>",
            *body,
            "<noscript><p class=warn>The charts need JavaScript; the tables do not.</p></noscript>",
            f'<script type="application/json" id="figures">{data}</script>',
            f"<script>{bundle}</script>\n<script>{own}</script>\n</body>\n</html>\n",
        ]
    )


def write(path: str | os.PathLike[str], whole: str, what: str) -> Path:
    """Writes the page, whole or not at all. Returns its path; RunError, naming `what`, if it cannot be written."""
    target = Path(path)
    beside = target.with_name(target.name + ".part")
    try:
        beside.write_text(whole, encoding="utf-8", newline="\n")
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        reason = f"cannot write the {what} {target.name}: {error.strerror}"
        raise RunError(reason, folder=str(target.parent), hint="Check that the folder exists and has space.") from error
    return target


def header(over: str, title: str, facts: Iterable[str]) -> str:
    """The head of the page; all plain text."""
    line = " · ".join(escape(f) for f in facts)
    return f'<header><p class="over">Helios · {escape(over)}</p><h1>{escape(title)}</h1><p>{line}</p></header>'


def cards(entries: Iterable[tuple[str, str, str]]) -> str:
    """The headline numbers: (label, value, why) as HTML; the first is the largest."""
    shown = "".join(
        f"<div{' class=first' if i == 0 else ''}><dt>{label}</dt><dd>{value}</dd>"
        f"{f'<dd class=why>{why}</dd>' if why else ''}</div>"
        for i, (label, value, why) in enumerate(entries)
    )
    return f'<dl class="headline">{shown}</dl>'


def terms(entries: Iterable[tuple[str, str]]) -> str:
    """A list of terms and what they mean; both HTML."""
    return f'<dl class="terms">{"".join(f"<dt>{k}</dt><dd>{v}</dd>" for k, v in entries)}</dl>'


def section(title: str, lead: str, body: str) -> str:
    """`title` is plain text; `lead` and `body` are HTML."""
    lead = f'<p class="lead">{lead}</p>' if lead else ""
    return f"<section><h2>{escape(title)}</h2>{lead}{body}</section>"


def none(sentence: str) -> str:
    """What stands where there is nothing to show; plain text."""
    return f'<p class="none">{escape(sentence)}</p>'


def chart(name: str, what: str) -> str:
    """The place of the figure of that name; `what` is for those who cannot see it."""
    return f'<div class="chart" id="{name}" role="img" aria-label="{escape(what)}"></div>'


def table(frame: pl.DataFrame, columns: Sequence[tuple[str, str, CellFormat]]) -> str:
    """`columns`: (column, heading, cell as HTML). Text columns stand left, numbers right."""
    left = {i: "" for i, (column, _, _) in enumerate(columns) if frame.schema[column] == pl.String}
    cells = ([cell(row[column]) for column, _, cell in columns] for row in frame.iter_rows(named=True))
    return rows([heading for _, heading, _ in columns], cells, left)


def rows(headings: Sequence[str], cells: Iterable[Sequence[str]], left: Mapping[int, str]) -> str:
    """Cells are HTML. A column stands right unless it is in `left`, which gives its attributes."""
    side = [left.get(i, ' class="n"') for i in range(len(headings))]
    head = "".join(f"<th{s}>{escape(h)}</th>" for s, h in zip(side, headings, strict=True))
    body = "".join(f"<tr>{''.join(f'<td{s}>{c}</td>' for s, c in zip(side, row, strict=True))}</tr>" for row in cells)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def signed(number: str) -> str:
    """A number's text with a typographic minus, in red when it is negative."""
    return f'<span class="neg">−{number[1:]}</span>' if number.startswith("-") else number


def money(value: Any) -> str:
    """An amount in running text."""
    return signed(text.money(value))


def cents(value: Any) -> str:
    """Money in a column: cents in every row, so that the points stand below one another."""
    return signed(text.number(value))


def name(value: Any) -> str:
    """A name from the data, shortened and escaped."""
    return escape(short(value, _MAX_TABLE_TEXT))


def short(value: Any, most: int) -> str:
    """At most `most` characters of a name; not escaped."""
    shown = text.name(value)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _resource(name: str) -> str:
    return files("helios.research").joinpath(name).read_text(encoding="utf-8")


def _plotly_bundle() -> str:
    try:
        bundle = str(importlib.import_module("plotly.offline").get_plotlyjs())
    except ImportError as error:
        raise RunError(
            "the page needs plotly, which is not installed", hint="Install it with `pip install plotly`."
        ) from error
    # The browser hashes what it parsed, and parsing turns CRLF into LF.
    bundle = bundle.replace("\r\n", "\n").replace("\r", "\n")
    return bundle.replace("</script", "<\\/script")


def _source(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
