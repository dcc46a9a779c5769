"""The acceptance scenarios of FIX, over sockets, against `helios fix acceptor` with the example's settings."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT.parent / "shared" / "conformance" / "run_fix_defs.py"
EXAMPLE = ROOT / "examples" / "fix_acceptor.toml"
#: Two scenarios wait for real heartbeats, 12 and 35 s: each has an acceptor of its own beside the others.
SLOW = ("4a_", "6_")


@contextmanager
def acceptor(store: Path) -> Iterator[int]:
    """The port of the command as a process of its own."""
    code = "from helios.cli import main; main()"
    command = ["fix", "acceptor", "--config", EXAMPLE, "--listen", "127.0.0.1:0", "--store", store]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("listening at 127.0.0.1:"), first + process.stdout.read()
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield int(first.rpartition(":")[2])
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()


def closing_line(port: int, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(RUNNER), "--port", str(port), "--suite", "cpp", "--parallel", *options],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.skipif(not RUNNER.exists(), reason="the acceptance scenarios of shared/conformance are not here")
def test_all_scenarios_pass(tmp_path: Path) -> None:
    versions = ("--version", "fix42,fix44")
    jobs = {
        "fast": (*versions, "--skip", f"^({'|'.join(SLOW)})"),
        **{name: (*versions, "--only", f"^{name}") for name in SLOW},
    }
    lines: dict[str, str] = {}
    faults: list[BaseException] = []

    def work(name: str, options: tuple[str, ...]) -> None:
        try:
            with acceptor(tmp_path / name) as port:
                lines[name] = closing_line(port, *options)
                if name == "fast":
                    lines["validate"] = closing_line(port, "--group", "validate", "--version", "fix44")
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=job) for job in jobs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert lines == {
        "fast": "113 passed, 0 failed",
        "validate": "1 passed, 0 failed",
        "4a_": "2 passed, 0 failed",
        "6_": "2 passed, 0 failed",
    }
