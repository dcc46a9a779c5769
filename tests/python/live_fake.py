"""A live driver in Python, small and scripted: what `helios run`, control and the lease are tested with."""

from __future__ import annotations

import time
from typing import Any

from helios.live.driver import Done, Note, Recovered, Status
from helios.live.plan import LiveRun


class FakeDriver:
    """Trades nothing. `stops` is what an orderly stop does: at once, never, or by itself with a reason."""

    def __init__(self, *, stops: str = "at once", recovered: Recovered | None = None) -> None:
        self.stops = stops
        self.commands: list[tuple[str, str, int]] = []
        self.told: list[bool] = []
        self.deadlines: list[int] = []
        self.waiting: list[Note] = []
        self.trading = "normal"
        self.state = "new"
        self.reason = ""
        self.recovered = recovered
        self.refuse = ""
        self.secrets: list[str] = []

    def __call__(self, run: LiveRun) -> FakeDriver:
        spec = run.spec()
        self.secrets = [each["password"] for each in (*spec["feeds"], *spec["sessions"], *spec["drop_copies"])]
        return self

    def start(self) -> None:
        self.state = "running"
        self.note("connected")

    def note(self, text: str, level: int = 20, station: str = "XNAS") -> None:
        self.waiting.append({"ts": time.time_ns(), "level": level, "station": station, "text": text})

    def status(self) -> Status:
        return {
            "state": self.state,
            "reason": self.reason,
            "trading": self.trading,
            "ts": time.time_ns(),
            "inputs": 1_000 + len(self.commands),
            "outputs": 7,
            "open_orders": 2,
            "unknown_orders": 1,
            "sent": 3,
            "fills": 1,
            "refused": 0,
            "net": -12.5,
            "may_send": True,
            "links": [{"name": "XNAS", "state": "settled"}],
            "feeds": [{"name": "XNAS", "messages": 10, "incomplete": 1, "missed": 0, "dropped": 0}],
            "drop_copies": [
                {
                    "name": "drop copy",
                    "state": "up",
                    "told": 1_200,
                    "matched": 1_199,
                    "we_lack": 1,
                    "venue_lacks": 0,
                    "not_compared": 0,
                }
            ],
            "differences": [{"instrument": "KO", "ours": -1_200.0, "theirs": -1_100.0}],
            "recovered": self.recovered,
        }

    def notes(self) -> list[Note]:
        told, self.waiting = self.waiting, []
        return told

    def orders(self) -> list[dict[str, Any]]:
        return [
            {
                "order": 12,
                "instrument": "KO",
                "side": "buy",
                "quantity": 100.0,
                "filled": 0.0,
                "price": 61.25,
                "state": "unknown",
                "age_seconds": 3.5,
            }
        ]

    def positions(self) -> list[dict[str, Any]]:
        return [{"instrument": "KO", "quantity": -300.0, "value": -18_375.0, "realised": 4.0, "unrealised": -16.5}]

    def command(self, name: str, rule: str = "", value: int = 0) -> Done:
        self.commands.append((name, rule, value))
        self.trading = {"pause": "reducing", "resume": "normal", "kill": "killed"}.get(name, self.trading)
        return {"input": 1_000 + len(self.commands), "refused": self.refuse}

    def may_send_until(self, deadline_ns: int) -> None:
        self.deadlines.append(deadline_ns)

    def stop(self, now: bool) -> None:
        self.told.append(now)
        if now or self.stops == "at once":
            self.state = "stopped"
        else:
            self.state = "stopping"
