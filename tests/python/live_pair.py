"""A primary or a standby with a small driver in Python, as a process of its own.

    python live_pair.py run|standby CONFIG DIRECTORY [JOURNAL_ADDRESS]

Its journal is a row of eight-byte numbers, 0, 1, 2, …; an input is written, acknowledged where a standby must, and then
"sent": a line `PID NUMBER MONOTONIC_NS` in the file that SENT names, as long as the lease allows it.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from helios.config import load_live
from helios.live.plan import LiveRun
from helios.live.run import run
from helios.live.standby import standby
from live_fake import FakeDriver

RECORD = 8


class Follower:
    def __init__(self, _: LiveRun, path: Path) -> None:
        self._file = path.open("rb")
        self.inputs = 0

    def follow(self, most: int) -> int:
        before = self.inputs
        while self.inputs - before < most:
            self._file.seek(self.inputs * RECORD)
            record = self._file.read(RECORD)
            if len(record) < RECORD:
                break
            assert int.from_bytes(record, "little") == self.inputs
            self.inputs += 1
        return self.inputs - before


class Driver(FakeDriver):
    """Writes a number each millisecond and sends it."""

    def __init__(self, live: LiveRun, follower: Follower | None = None) -> None:
        super().__init__()
        self._path = live.settings.directory / "live.journal"
        self._inputs = 0 if follower is None else follower.inputs
        self._replica = live.settings.durability == "replica"
        self._address = None if live.settings.standby is None else live.settings.standby.journal
        self._until = 0
        self._acknowledged = 0
        self._followed = False

    def may_send_until(self, deadline_ns: int) -> None:
        self._until = deadline_ns

    def start(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT)
        self._inputs = os.fstat(self._file).st_size // RECORD
        os.ftruncate(self._file, self._inputs * RECORD)
        self.state = "running"
        if self._replica and self._address is not None:
            listener = socket.create_server(self._address)
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
        threading.Thread(target=self._work, daemon=True).start()

    def status(self) -> Any:
        return {**super().status(), "inputs": self._inputs}

    def _work(self) -> None:
        sent = os.open(os.environ["SENT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        while self.state == "running":
            os.pwrite(self._file, self._inputs.to_bytes(RECORD, "little"), self._inputs * RECORD)
            self._inputs += 1
            while self._followed and self._acknowledged < self._inputs * RECORD and self.state == "running":
                time.sleep(0.0005)
            now = time.monotonic_ns()
            if now < self._until and self.state == "running":
                os.write(sent, f"{os.getpid()} {self._inputs - 1} {now}\n".encode())
            time.sleep(0.001)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            self._acknowledged = at = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "little")
            connection.setblocking(False)
            self._followed = True
            try:
                while True:
                    piece = os.pread(self._file, self._inputs * RECORD - at, at)
                    at += connection.send(piece) if piece else 0
                    try:
                        while acknowledged := connection.recv(8):
                            self._acknowledged = int.from_bytes(acknowledged, "little")
                        break
                    except BlockingIOError:
                        time.sleep(0.0005)
            except OSError:
                pass
            self._followed = False


def main() -> int:
    command, config, directory, *journal = sys.argv[1:]
    live = load_live(config, "paper", directory=Path(directory), journal=journal[0] if journal else None)
    if command == "run":
        return run(live, make=Driver)
    return standby(live, follow=Follower, make=Driver)  # type: ignore[arg-type]


if __name__ == "__main__":
    from helios.errors import HeliosError

    try:
        sys.exit(main())
    except HeliosError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
