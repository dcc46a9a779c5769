"""A PostgreSQL of the tests' own: on loopback, in a folder of its own, gone with the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))


class Server:
    """Starts, stops and is asked as its superuser."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.dsn = f"hostaddr=127.0.0.1 port={self.port} user=helios dbname=postgres"
        self.run("initdb", "-D", folder / "data", "-A", "trust", "-U", "helios", "--no-sync", "-E", "UTF8")
        settings = f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\n"
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.write(settings)

    def run(self, program: str, *words: object) -> str:
        # initdb and the server refuse to be root.
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
        command = [*as_nobody, str(self._binaries / program), *map(str, words)]
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(self._folder), "TZ": "UTC"}
        done = subprocess.run(
            command, cwd=self._folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def _control(self, *words: object) -> None:
        # Its own log file: with a pipe one would wait for the server's end.
        self.run("pg_ctl", "-D", self._folder / "data", "-w", "-s", "-l", self._folder / "log", *words)

    def start(self) -> None:
        self._control("start")

    def stop(self, mode: str = "fast") -> None:
        self._control("-m", mode, "stop")

    def sql(self, query: str) -> str:
        return self.run("psql", self.dsn, "-X", "-q", "-A", "-t", "-c", query).strip()


@contextmanager
def server() -> Iterator[Server]:
    """A running server; the test is skipped where there is none to be had, but not in CI."""
    if not FOLDERS:
        if os.environ.get("CI"):
            raise AssertionError("CI has PostgreSQL: see .ci/run")
        pytest.skip("needs PostgreSQL (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="helios-postgres-"))
    try:
        if os.getuid() == 0:
            os.chown(folder, 65534, 65534)
        made = Server(FOLDERS[-1], folder)
        made.start()
        try:
            yield made
        finally:
            made.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
