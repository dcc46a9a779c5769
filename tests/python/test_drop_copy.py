"""A live run beside its drop copy, with real processes: agreement over restarts, then an execution that is not ours.

The exchange, a run that is killed with SIGKILL, and a second client of the same user who trades past the run. The same
comparison in simulated time, with cut and silent connections: `edge/live/tests/world`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from helios.errors import RunError
from helios.live.control import ask
from test_exchange import Soup, order
from test_world_processes import PASSWORD, World, environment, helios, until, world

PORTS = 'drop_copy = "127.0.0.1:0"\nouch50 = "127.0.0.1:0"\n'
COPY = """
[[drop_copy]]
protocol = "fix44"
address = "{drop_copy}"
sender = "HELIOS"
target = "XNAS"
password_env = "HELIOS_PASSWORD"
grace = "1s"
"""


IDLE = """
[[strategy]]
kind = "pairs"
name = "idle"
pairs = [["AAAG", "AAAH", 1.0]]
window = "10s"
enter = 1_000.0
exit = 0.3
notional = 20_000
[limits]"""


def watch_one_more(one: World, live: str) -> None:
    """AAAG is in the run, and its strategy never trades it."""
    run = one.folder / "run.toml"
    text = run.read_text().replace('directory = "live"', f'directory = "live"\n{live}')
    run.write_text(text.replace("[limits]", IDLE, 1))


def status(one: World) -> dict[str, Any]:
    """Empty while none runs."""
    try:
        return dict(ask(one.folder / "live", {"command": "status"})["status"])
    except RunError:
        return {}


def agreed(one: World, least: int) -> dict[str, Any] | None:
    """Both sides have every execution of the venue's ledger."""
    executed, found = one.ledger()["executed"], status(one)
    (copy,) = found["drop_copies"]
    whole = copy["state"] == "up" and copy["told"] == copy["matched"] == found["fills"] == executed
    return found if whole and executed >= least else None


def log(one: World) -> list[str]:
    return [json.loads(line)["text"] for line in (one.folder / "live" / "log.jsonl").read_text().splitlines()]


def resume(one: World) -> subprocess.CompletedProcess[str]:
    words = helios("ctl", "resume", one.folder / "live")
    return subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=30, check=False)


@pytest.mark.parametrize("threads", ["one", "four"])
def test_a_run_agrees_until_somebody_trades_past_it(tmp_path: Path, threads: str) -> None:
    with world(tmp_path, "ouch42", cancels=False, ports_too=PORTS, run_too=COPY) as one:
        watch_one_more(one, f'threads = "{threads}"')
        least = 0
        for _ in range(3):
            least += 5
            with one.live() as process:
                until(lambda least=least: one.ledger()["executed"] >= least, 60, "executions")
                process.send_signal(signal.SIGKILL)
        with one.live() as process:
            found = until(lambda: agreed(one, least + 5), 60, "both sides agree")
            time.sleep(1.5)  # longer than the grace time: what was missing would be a difference by now
            found = status(one)
            assert (found["trading"], found["differences"]) == ("normal", [])
            assert [copy[key] for copy in found["drop_copies"] for key in ("we_lack", "venue_lacks")] == [0, 0]

            stranger = Soup(one.ports["ouch50"], "HELIOS", PASSWORD)
            stranger.send(order(1, b"B", 100, 5_000.0, "AAAG"))
            stranger.expect(b"SE")
            begun = time.monotonic()
            found = until(lambda: (now := status(one))["trading"] == "reducing" and now, 10, "only reducing orders")
            took = time.monotonic() - begun
            assert 0.5 < took < 5.0, f"a grace time of 1 s took {took:.1f} s"
            (differs,) = found["differences"] or until(lambda: status(one)["differences"], 5, "a difference")
            assert (differs["instrument"], differs["theirs"] - differs["ours"]) == ("AAAG", 100.0)
            (copy,) = status(one)["drop_copies"]
            assert copy["we_lack"] >= 1 and copy["venue_lacks"] == 0
            said = log(one)
            assert any(
                "execution" in line and "of order 1 in AAAG" in line and "we do not have it" in line for line in said
            )
            assert any("our position in AAAG is 0, the venue says 100" in line for line in said)
            refused = resume(one)
            assert (
                refused.returncode != 0
                and "our position in AAAG is 0, the venue says 100" in refused.stdout + refused.stderr
            )
            assert status(one)["trading"] == "reducing"

            # A restart does not forget it: the drop copy tells the day from its beginning.
            process.send_signal(signal.SIGKILL)
        with one.live() as process:
            until(lambda: status(one)["differences"], 30, "the difference stands")
            assert resume(one).returncode != 0
            stranger.send(order(2, b"S", 100, 0.01, "AAAG"))
            until(lambda: not status(one)["differences"], 30, "the books agree again")
            assert status(one)["trading"] == "reducing"
            done = resume(one)
            assert done.returncode == 0, done.stdout + done.stderr
            assert until(lambda: status(one)["trading"] == "normal", 5, "normal trading")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    assert status(one) == {}
    replayed = subprocess.run(helios("replay", tmp_path / "live"), capture_output=True, text=True, check=False)
    assert replayed.returncode == 0 and replayed.stdout.startswith("identical"), replayed.stdout + replayed.stderr


def test_what_was_traded_before_the_journal_is_said_in_one_line(tmp_path: Path) -> None:
    with world(tmp_path, "ouch42", cancels=False, ports_too=PORTS, run_too=COPY) as one:
        watch_one_more(one, "")
        stranger = Soup(one.ports["ouch50"], "HELIOS", PASSWORD)
        for number in (1, 2):
            stranger.send(order(number, b"B", 100, 5_000.0, "AAAG"))
            stranger.expect(b"SE")
        with one.live():
            found = until(lambda: (now := status(one))["differences"] and now, 30, "a difference")
            assert found["differences"] == [{"instrument": "AAAG", "ours": 0.0, "theirs": 200.0}]
            lines = [line for line in log(one) if "from before this journal began come to 200" in line]
            assert len(lines) == 1 and not any("of order 1 in" in line for line in log(one))
