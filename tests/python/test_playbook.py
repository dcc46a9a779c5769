"""The playbook, the README and the pages of the live side say what is so: commands, options, links, files, keys."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from helios.cli import app
from helios.config import load_live
from helios.live.settings import DropCopyTable, FeedTable, LiveTable, SessionTable, StandbyTable

COMMAND: Any = typer.main.get_command(app)
ROOT = Path(__file__).parents[2]
PLAYBOOK = sorted((ROOT / "docs" / "playbook").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "docs" / "live.md", ROOT / "docs" / "fix.md", *PLAYBOOK]


def commands(text: str) -> list[str]:
    """What begins with `helios `, in a code block or in backticks."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in [*lines, *re.findall(r"`([^`\n]+)`", text)] if line.startswith("helios ")]


NAMED = [(page.name, command) for page in PAGES for command in commands(page.read_text())]


def refusal(command: str) -> str:
    """What is wrong with a command line; empty if nothing is."""
    words = shlex.split(command, comments=True)[1:]
    found = COMMAND
    while hasattr(found, "commands"):
        if not words:
            return ""  # spoken of
        if words[0] not in found.commands:
            return f"there is no command {words[0]}"
        found = found.commands[words.pop(0)]
    if not words:
        return ""  # spoken of
    free = [parameter for parameter in found.params if parameter.param_type_name == "argument"]
    options = {name: parameter for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = 0
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            if word not in options:
                return f"there is no option {word}"
            if not getattr(options[word], "is_flag", False):
                words[:1] = []
        else:
            given += 1
    enough = given >= sum(parameter.required for parameter in free)
    many = any(parameter.nargs == -1 for parameter in free)
    return "" if enough and (many or given <= len(free)) else f"{given} arguments for {len(free)}"


def test_there_are_pages() -> None:
    assert len(PLAYBOOK) == 4
    assert len(NAMED) > 60


@pytest.mark.parametrize(("page", "command"), NAMED)
def test_every_command_exists(page: str, command: str) -> None:
    assert refusal(command) == "", f"{page}: {command}"


@pytest.mark.parametrize(
    "command",
    [
        "helios runn x.toml",
        "helios ctl puase DIR",
        "helios ctl kill DIR --yess",
        "helios replay a b",
        "helios latency --json",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: str) -> None:
    assert refusal(command) != ""


def blocks(page: str) -> list[str]:
    text = next(path for path in PLAYBOOK if path.name.startswith(page)).read_text()
    return re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("mode", ["paper", "live"])
def test_the_run_file(mode: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOS_PASSWORD", "letmein")
    monkeypatch.setenv("HELIOS_LEASE", "hostaddr=10.0.0.9")
    (tmp_path / "run.toml").write_text(blocks("01")[0] + blocks("03")[0])
    live = load_live(tmp_path / "run.toml", mode)
    assert live.plan.symbols == ["AAAA", "AAAB"]
    limits = live.plan.limits
    assert limits.order_notional == 20_000
    assert live.settings.standby is not None
    assert live.settings.standby.validity_ns == 500_000_000


def test_the_exchange_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = pytest.importorskip("helios.live.exchange")
    monkeypatch.setenv("HELIOS_PASSWORD", "letmein")
    (tmp_path / "exchange.toml").write_text(blocks("01")[1])
    assert exchange.load_exchange(tmp_path / "exchange.toml").spec["venues"][0]["name"] == "XNAS"


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        to = page.parent / path if path else page
        assert to.exists(), link
        assert not anchor or anchor in anchors(to), link


def test_the_table_of_keys_has_every_key() -> None:
    page = (ROOT / "docs" / "live.md").read_text().partition("## All keys")[2].partition("\n## ")[0]
    for table in (LiveTable, FeedTable, SessionTable, DropCopyTable, StandbyTable):
        for key in table.__struct_fields__:
            named = f"`{key}`" in page or (
                key.endswith("_file") and f"`{key.removesuffix('file')}env` or `_file`" in page
            )
            assert named or (table is DropCopyTable and key in SessionTable.__struct_fields__), (
                f"{table.__name__}.{key}"
            )
