"""The playbook says what is so: every command in it exists with its options, and its files are good ones."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from helios.cli import app
from helios.config import load_live

COMMAND: Any = typer.main.get_command(app)
PAGES = sorted((Path(__file__).parents[2] / "docs" / "playbook").glob("*.md"))


def commands(text: str) -> list[str]:
    """What begins with `helios `, in a code block or in backticks."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in [*lines, *re.findall(r"`([^`\n]+)`", text)] if line.startswith("helios ")]


NAMED = [(page.name, command) for page in PAGES for command in commands(page.read_text())]


def refusal(command: str) -> str:
    """What is wrong with a command line; empty if nothing is."""
    words = shlex.split(command)[1:]
    found = COMMAND
    while hasattr(found, "commands"):
        if not words or words[0] not in found.commands:
            return f"there is no command {' '.join(words[:1])}"
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
    assert len(PAGES) == 4
    assert len(NAMED) > 40


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
    text = next(path for path in PAGES if path.name.startswith(page)).read_text()
    return re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("mode", ["paper", "live"])
def test_the_run_file(mode: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOS_PASSWORD", "letmein")
    monkeypatch.setenv("HELIOS_LEASE", "hostaddr=10.0.0.9")
    (tmp_path / "run.toml").write_text(blocks("01")[0] + blocks("03")[0])
    live = load_live(tmp_path / "run.toml", mode)
    assert live.plan.symbols == ["KO", "PEP"]
    limits = live.plan.limits
    assert limits.order_notional == 20_000
    assert live.settings.standby is not None
    assert live.settings.standby.validity_ns == 500_000_000


def test_the_exchange_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = pytest.importorskip("helios.live.exchange")
    monkeypatch.setenv("HELIOS_PASSWORD", "letmein")
    (tmp_path / "exchange.toml").write_text(blocks("01")[1])
    assert exchange.load_exchange(tmp_path / "exchange.toml").spec["venues"][0]["name"] == "XNAS"
