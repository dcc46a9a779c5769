"""Missing market data as a strategy sees it: the core's live driver over real sockets, losses, a snapshot server."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

live_market = pytest.importorskip("live_market", reason="the live driver's tests are not there")
test_live_core = pytest.importorskip("test_live_core", reason="the live driver's tests are not there")

from helios.config import load_live  # noqa: E402
from helios.live.driver import native  # noqa: E402

STRATEGY = '''
import json
from helios import Strategy


class Watcher(Strategy):
    """Notes what it is told, and wants a hundred KO at any ask below 10.5."""

    universe = ("KO", "PEP")

    def note(self, **what):
        with open({seen!r}, "a") as file:
            file.write(json.dumps(what) + "\\n")

    def on_feed(self, feed):
        book = self.book(feed.symbol)
        self.note(feed=feed.symbol, complete=feed.complete, missed=feed.missed, book=book.complete, ask=book.ask)

    def on_book(self, book):
        self.note(ask=book.ask, of=book.symbol, complete=book.complete)
        if book.symbol == "KO" and book.ask < 10.5:
            self.target("KO", 100)

    def on_trade(self, trade):
        self.note(trade=trade.price)
        self.target("KO", 100)
'''

RUN = """
cash = 1_000_000
[strategy]
class = "strategy.py:Watcher"
[live]
directory = "desk"
stop_within = "2s"
[[feed]]
name = "XNAS"
lines = ["127.0.0.1:{feed}"]
{snapshot}
[[session]]
name = "XNAS"
protocol = "ouch50"
address = "127.0.0.1:1"
user = "HELIOS"
"""


def hidden_trade(locate: int, stock: str, ns: int, price: float) -> bytes:
    """A print that changes no book."""
    body = bytes(8) + b"B" + struct.pack(">I", 10) + stock.encode().ljust(8)
    head: bytes = live_market._head(b"P", locate, ns)
    return head + body + struct.pack(">I", round(price * 10_000)) + struct.pack(">Q", 1)


class Snapshots:
    """A snapshot server that refuses its first client."""

    def __init__(self, messages: Sequence[bytes], following: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.logins: list[bytes] = []
        payloads = [*messages, b"G" + str(following).encode().rjust(20)]
        self._answer = b"".join(struct.pack(">H", len(payload) + 1) + b"S" + payload for payload in payloads)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.logins.append(connection.recv(100))
                if len(self.logins) > 1:
                    connection.sendall(struct.pack(">H", 31) + b"A" + b"SNAP".ljust(10) + b"1".rjust(20))
                    connection.sendall(self._answer)
                    connection.recv(100)


class Watched:
    """A paper run of the watcher, and a feed by hand."""

    def __init__(self, folder: Path, first: int = 1, snapshot: str = "") -> None:
        port = live_market.free_port()
        self._seen = folder / "seen.jsonl"
        self._seen.touch()
        (folder / "desk").mkdir()
        (folder / "strategy.py").write_text(STRATEGY.format(seen=str(self._seen)))
        (folder / "run.toml").write_text(RUN.format(feed=port, snapshot=snapshot))
        self.driver: Any = native(load_live(folder / "run.toml", "paper"))
        self.driver.start()
        self.feed = live_market.Feed(port)
        self.feed._next = first

    def seen(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._seen.read_text().splitlines()]

    def until(self, **what: Any) -> None:
        """Waits until the watcher has noted this."""
        test_live_core.until(lambda: any(what.items() <= row.items() for row in self.seen()), self.driver)

    def incomplete(self) -> bool:
        return bool(self.driver.status()["feeds"][0]["incomplete"])

    def close(self) -> None:
        self.driver.stop(True)
        self.feed.close()


def test_what_is_lost_is_told_and_nothing_new_is_sent(tmp_path: Path) -> None:
    run = Watched(tmp_path)
    try:
        run.feed.send([*live_market.directory(1, "KO"), *live_market.directory(2, "PEP")])
        run.feed.send([live_market.add(1, "KO", 2, 1, "S", 100, 11.0)])
        run.until(of="KO", ask=11.0, complete=True)
        # Nothing was known at first; then every message since number 1.
        told = [(row["feed"], row["complete"]) for row in run.seen() if "feed" in row]
        assert told == [("KO", False), ("PEP", False), ("KO", True), ("PEP", True)]
        # Two messages do not come, and there is nobody to ask.
        run.feed._next += 2
        run.feed.send([live_market.add(1, "KO", 3, 2, "S", 100, 10.0), hidden_trade(1, "KO", 4, 10.25)])
        run.until(trade=10.25)
        rows = run.seen()
        gap = next(at for at, row in enumerate(rows) if row.get("missed") == 2)
        assert rows[gap] == {"feed": "KO", "complete": False, "missed": 2, "book": False, "ask": 11.0}
        assert not any("of" in row for row in rows[gap:]), "a book that is not whole is not shown"
        # The print was wish enough to buy, but the desk waits.
        run.feed.send([hidden_trade(1, "KO", 5, 10.5)])
        run.until(trade=10.5)
        test_live_core.until(run.incomplete, run.driver)
        assert run.driver.status()["sent"] == 0
    finally:
        run.close()


def test_who_comes_late_sees_the_snapshot_whole(tmp_path: Path) -> None:
    listed = [*live_market.directory(1, "KO"), *live_market.directory(2, "PEP")]
    asks = [live_market.add(1, "KO", 2, order, "S", 100, price) for order, price in ((5, 15.0), (3, 13.0), (7, 10.0))]
    resting = [live_market.add(1, "KO", 2, 2, "B", 100, 9.0), *asks]
    server = Snapshots([*listed, *resting], following=701)
    run = Watched(tmp_path, 700, f'snapshot = "127.0.0.1:{server.port}"\nsnapshot_user = "WATCH"')
    try:
        # The first of them is in the snapshot, the second is not.
        run.feed.send([live_market.add(1, "KO", 3, 7, "S", 100, 10.0), live_market.add(1, "KO", 4, 9, "S", 50, 9.5)])
        run.until(of="KO", ask=9.5)
        rows = [row for row in run.seen() if row.get("feed", row.get("of")) == "KO"]
        assert [row["ask"] for row in rows if row.get("of")] == [9.5], "no step between was shown"
        assert [row["complete"] for row in rows] == [False, True, True]
        test_live_core.until(lambda: run.driver.status()["sent"] == 1, run.driver)
        test_live_core.until(lambda: not run.incomplete(), run.driver)
        assert len(server.logins) == 2 and server.logins[1][3:9] == b"WATCH "
    finally:
        run.close()
        server.close()
