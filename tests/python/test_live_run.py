"""`helios run` and `helios ctl` over a small driver in Python: start, log, commands, stop, exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from helios.cli import app
from helios.config import load_live
from helios.errors import ArgumentError, RunError
from helios.live import control
from helios.live.control import Desk, Operator, Server, ask
from helios.live.folder import held
from helios.live.run import AT_ONCE, BY_ITSELF, STOPPED, run, status_line
from live_fake import FakeDriver
from typer.testing import CliRunner

RUN = """
[strategy]
kind = "pairs"
pairs = [["KO", "PEP", 0.9]]
window = "1m"
[live]
directory = "desk"
stop_within = "200ms"
[[feed]]
name = "XNAS"
lines = ["127.0.0.1:5001"]
[[session]]
name = "XNAS"
protocol = "ouch50"
address = "127.0.0.1:7001"
user = "HELIOS"
password_env = "TEST_PASSWORD"
"""

HERE = Path(__file__).parent


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEST_PASSWORD", "hunter2")
    path = tmp_path / "run.toml"
    path.write_text(RUN)
    return path


def logged(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def until(true: Callable[[], Any], seconds: float = 10.0) -> None:
    """Waits for a condition, not for a time."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


class Operated:
    """A run in this thread, and what is asked of it from another."""

    def __init__(self, file: Path, driver: FakeDriver) -> None:
        self.file, self.driver, self.out = file, driver, StringIO()
        self.directory = file.parent / "desk"

    def run(self, then: Callable[[Path], None]) -> int:
        """The exit code of a run that is asked `then` while it is live."""
        failed: list[BaseException] = []

        def other() -> None:
            try:
                until((self.directory / "control.sock").exists)
                then(self.directory)
            except BaseException as error:  # told in the test's own thread
                failed.append(error)
                self.driver.state = "stopped"

        thread = threading.Thread(target=other)
        thread.start()
        code = run(load_live(self.file, "live"), make=self.driver, out=self.out)
        thread.join()
        if failed:
            raise failed[0]
        return code


def test_a_run_from_start_to_stop(file: Path) -> None:
    driver = FakeDriver()
    operated = Operated(file, driver)

    def operator(desk: Path) -> None:
        assert stat.S_IMODE((desk / "control.sock").stat().st_mode) == 0o600
        assert stat.S_IMODE((desk / "log.jsonl").stat().st_mode) == 0o600
        assert stat.S_IMODE(desk.stat().st_mode) == 0o700
        driver.note("login of HELIOS with hunter2 refused", level=40)
        assert ask(desk, {"command": "status"})["status"]["trading"] == "normal"
        paused = ask(desk, {"command": "pause"})
        assert paused == {
            "ok": True,
            "said": "only orders that reduce a position pass, from input 1,001 on",
            "input": 1_001,
        }
        assert ask(desk, {"command": "status"})["status"]["trading"] == "reducing"
        assert ask(desk, {"command": "stop"})["ok"]

    assert operated.run(operator) == STOPPED
    assert driver.told == [False]
    assert not (operated.directory / "control.sock").exists()
    assert operated.out.getvalue() == "stopped as asked\n"
    lines = logged(operated.directory)
    assert [line["text"] for line in lines if line["station"] != "XNAS"] == [
        f"live run of {file}",
        "operator: pause",
        "operator: stop",
        "stopped as asked",
    ]
    (note,) = (line for line in lines if line["text"].startswith("login"))
    assert (note["text"], note["level"]) == ("login of HELIOS with *** refused", "error")
    pause = next(line for line in lines if line["text"] == "operator: pause")
    assert (pause["uid"], pause["pid"], pause["answer"]["input"]) == (os.getuid(), os.getpid(), 1_001)
    assert all(line["ts"].endswith("Z") and "hunter2" not in json.dumps(line) for line in lines)
    assert driver.secrets == ["", "hunter2"]


COMMANDS = [
    ({"command": "pause"}, ("pause", "", 0), "only orders that reduce a position pass, from input 1,001 on"),
    ({"command": "resume"}, ("resume", "", 0), "trading is normal, from input 1,001 on"),
    (
        {"command": "flatten"},
        ("flatten", "", 0),
        "every order is cancelled and every position closed, from input 1,001",
    ),
    ({"command": "kill", "sure": True}, ("kill", "", 0), "nothing passes the gate any more, from input 1,001 on"),
    (
        {"command": "limit", "name": "order_notional", "value": 20_000},
        ("limit", "order_notional", 20_000_000_000),
        "order_notional is 20,000, from input 1,001 on",
    ),
    (
        {"command": "limit", "name": "price_collar", "value": 0.02},
        ("limit", "price_collar", 20_000),
        "price_collar is 0.02, from input 1,001 on",
    ),
    ({"command": "kill"}, None, "kill ends all trading"),
    ({"command": "kill", "sure": "yes"}, None, "kill ends all trading"),
    ({"command": "limit", "name": "order_notinal", "value": 1}, None, "there is no limit 'order_notinal'"),
    ({"command": "limit", "name": "position", "value": None}, None, "must be a number"),
    ({"command": "limit", "name": "position", "value": True}, None, "must be a number"),
    ({"command": "limit", "name": "position", "value": -1}, None, "must be a number, zero or above"),
    ({"command": "limit", "name": "position", "value": float("inf")}, None, "must be a number"),
    ({"command": "limit", "name": "position", "value": 1e300}, None, "too large"),
    ({"command": "limit", "name": ["position"], "value": 1}, None, "there is no limit"),
    ({"command": "buy"}, None, "a request is an object with a command: pause, "),
    ({"command": ["pause"]}, None, "a request is an object"),
    ({}, None, "a request is an object"),
    ([], None, "a request is an object"),
    (None, None, "a request is an object"),
]


@pytest.mark.parametrize(("request_", "given", "said"), COMMANDS)
def test_what_a_request_does(request_: Any, given: tuple[str, str, int] | None, said: str) -> None:
    driver = FakeDriver()
    answer = Desk(driver, lambda _: None).answer(request_, Operator(0, 1))
    assert driver.commands == ([] if given is None else [given])
    assert answer["ok"] == (given is not None)
    assert answer["said"].startswith(said) or said in answer["said"]


def test_a_refusal_of_the_engine_is_told(file: Path) -> None:
    driver = FakeDriver()
    driver.refuse = "killed: nothing resumes it"

    def operator(desk: Path) -> None:
        assert ask(desk, {"command": "resume"}) == {"ok": False, "said": driver.refuse, "input": 1_001}
        result = CliRunner().invoke(app, ["ctl", "resume", str(desk)])
        assert (result.exit_code, result.stderr) == (1, f"refused: {driver.refuse}\n")
        ask(desk, {"command": "stop"})

    assert Operated(file, driver).run(operator) == STOPPED
    refused = [line for line in logged(file.parent / "desk") if line["text"] == "operator: resume"]
    assert [line["level"] for line in refused] == ["error", "error"]


def test_an_engine_that_does_not_answer_ends_no_run() -> None:
    from helios._core import CoreError

    class Silent(FakeDriver):
        def command(self, name: str, rule: str = "", value: int = 0) -> Any:
            raise CoreError("engine", "it did not answer within 5 s")

        def orders(self) -> Any:
            raise CoreError("run", "it was not started")

    desk = Desk(Silent(), lambda _: None)
    for command in ("pause", "orders"):
        answer = desk.answer({"command": command}, Operator(0, 1))
        assert not answer["ok"]
    assert "it did not answer within 5 s" in desk.answer({"command": "flatten"}, Operator(0, 1))["said"]


CLI = [
    (["pause"], "only orders that reduce a position pass, from input 1,001 on\n"),
    (["resume"], "trading is normal, from input 1,001 on\n"),
    (["flatten"], "every order is cancelled and every position closed, from input 1,001 on\n"),
    (["kill", "--yes"], "nothing passes the gate any more, from input 1,001 on\n"),
    (["limit", "order_rate", "100"], "order_rate is 100, from input 1,001 on\n"),
    (["limit", "daily_loss", "2500.5"], "daily_loss is 2,500.5, from input 1,001 on\n"),
    (["status"], "normal · XNAS settled · 1,000 inputs · 3 sent · 1 fills · 2 open · net -12.50 · 1 books incomplete"),
    (["orders"], "unknown"),
    (["positions"], "-300 "),
]


@pytest.mark.parametrize(("words", "says"), CLI)
def test_the_command_line(words: list[str], says: str, file: Path) -> None:
    def operator(desk: Path) -> None:
        command, *rest = words
        result = CliRunner().invoke(app, ["ctl", command, str(desk), *rest], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert says in result.stdout
        asked = CliRunner().invoke(app, ["ctl", command, str(desk), *rest, "--json"], catch_exceptions=False)
        assert json.loads(asked.stdout)["ok"] is True
        ask(desk, {"command": "stop"})

    assert Operated(file, FakeDriver()).run(operator) == STOPPED


def test_kill_is_meant(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["ctl", "kill", str(tmp_path)])
    assert isinstance(result.exception, ArgumentError)
    assert "write --yes" in str(result.exception)


def test_no_run_is_live(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match="no run is live in this folder"):
            ask(folder, {"command": "status"})


def test_one_run_to_a_folder(file: Path) -> None:
    with held(file.parent / "desk"), pytest.raises(RunError, match=f"another run is live here, process {os.getpid()}"):
        run(load_live(file, "live"), make=FakeDriver())
    with held(file.parent / "desk"):
        pass


def test_a_socket_that_a_killed_run_left_is_replaced(file: Path) -> None:
    desk = file.parent / "desk"
    desk.mkdir()
    left = socket.socket(socket.AF_UNIX)
    os.chdir(desk)
    left.bind("control.sock")
    left.close()

    driver = FakeDriver()

    def operator(directory: Path) -> None:
        def answers() -> bool:
            try:
                return bool(ask(directory, {"command": "stop"})["ok"])
            except RunError:
                return False

        until(answers)

    assert Operated(file, driver).run(operator) == STOPPED


def test_it_stops_by_itself(file: Path) -> None:
    driver = FakeDriver()

    def operator(_: Path) -> None:
        driver.reason, driver.state = "the journal's disk is full", "stopped"

    operated = Operated(file, driver)
    assert operated.run(operator) == BY_ITSELF
    assert operated.out.getvalue() == "the journal's disk is full\n"
    assert (logged(operated.directory)[-1]["code"], logged(operated.directory)[-1]["level"]) == (BY_ITSELF, "error")


def test_a_stop_that_takes_too_long_is_ended(file: Path) -> None:
    driver = FakeDriver(stops="never")
    operated = Operated(file, driver)
    assert operated.run(lambda desk: ask(desk, {"command": "stop"}) and None) == AT_ONCE
    assert driver.told == [False, True]
    assert "the orderly stop took too long: end at once" in [line["text"] for line in logged(operated.directory)]


def test_what_was_recovered_is_told(file: Path) -> None:
    recovered = {
        "inputs": 1_234_567,
        "outputs": 9,
        "seconds": 1.5,
        "unknown": 2,
        "torn_bytes": 17,
        "snapshot": 0,
        "doubts": [],
    }
    operated = Operated(file, FakeDriver(recovered=recovered))  # type: ignore[arg-type]
    assert operated.run(lambda desk: ask(desk, {"command": "stop"}) and None) == STOPPED
    first = "recovered 1,234,567 inputs in 1.50 s, 17 bytes of a torn end cut off, 2 orders of unknown fate"
    assert operated.out.getvalue().splitlines()[0] == first
    assert next(line for line in logged(operated.directory) if line["station"] == "recovery")["inputs"] == 1_234_567


def test_a_driver_that_cannot_start(file: Path) -> None:
    class Broken(FakeDriver):
        def start(self) -> None:
            raise RunError("port 5001 is in use, said hunter2")

    with pytest.raises(RunError):
        run(load_live(file, "live"), make=Broken())
    assert logged(file.parent / "desk")[-1]["text"] == "could not start: port 5001 is in use, said ***"
    with held(file.parent / "desk"):
        pass


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from live_fake import FakeDriver
from helios.config import load_live
from helios.live.run import run
sys.exit(run(load_live({file!r}, "live"), make=FakeDriver(stops={stops!r})))
"""


@pytest.mark.parametrize(
    ("stops", "signals", "code"),
    [
        ("at once", [signal.SIGTERM], STOPPED),
        ("at once", [signal.SIGINT], STOPPED),
        ("never", [signal.SIGTERM, signal.SIGTERM], AT_ONCE),
        ("never", [signal.SIGINT, signal.SIGTERM], AT_ONCE),
    ],
)
def test_signals(stops: str, signals: list[int], code: int, file: Path) -> None:
    file.write_text(RUN.replace("200ms", "60s"))
    script = SCRIPT.format(here=str(HERE), file=str(file), stops=stops)
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    log = file.parent / "desk" / "log.jsonl"
    told = ["connected", "signal: orderly stop"]
    for text, number in zip(told, signals, strict=False):
        until(lambda: log.exists() and text in log.read_text(), 30)  # noqa: B023
        process.send_signal(number)
    assert process.wait(30) == code
    assert process.stderr is not None
    last = process.stderr.read().splitlines()[-1]
    assert last == ("stopped as asked" if code == STOPPED else "ended at once")


def test_a_terminal_that_closes_stops_in_an_orderly_way(file: Path) -> None:
    """However often it says so."""
    file.write_text(RUN.replace("200ms", "1s"))
    # Who runs the tests may have been told to ignore it.
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    script += SCRIPT.format(here=str(HERE), file=str(file), stops="never")
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    log = file.parent / "desk" / "log.jsonl"
    until(lambda: log.exists() and "connected" in log.read_text(), 30)
    process.send_signal(signal.SIGHUP)
    until(lambda: "signal: orderly stop" in log.read_text(), 30)
    process.send_signal(signal.SIGHUP)
    assert process.wait(30) == AT_ONCE
    assert "the orderly stop took too long: end at once" in [line["text"] for line in logged(file.parent / "desk")]


def test_nohup_is_respected(file: Path) -> None:
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    script += SCRIPT.format(here=str(HERE), file=str(file), stops="at once")
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    desk = file.parent / "desk"
    until((desk / "control.sock").exists, 30)
    process.send_signal(signal.SIGHUP)
    assert ask(desk, {"command": "status"})["status"]["state"] == "running"
    assert ask(desk, {"command": "stop"})["ok"]
    assert process.wait(30) == STOPPED


@pytest.mark.parametrize("gone", ["reader", "closed", "terminal"])
def test_a_screen_that_is_gone_ends_no_run(gone: str, file: Path) -> None:
    """`helios run … 2>&1 | head`, `2>&-`, and a window that was closed, whose SIGHUP did not come."""
    script = SCRIPT.format(here=str(HERE), file=str(file), stops="at once")
    script = script.replace("FakeDriver(", "FakeDriver(recovered=RECOVERED, ").replace(
        "import sys\n",
        'import sys\nRECOVERED = {"inputs": 1, "outputs": 1, "seconds": 1, "unknown": 0, "torn_bytes": 0, '
        '"snapshot": 0, "doubts": []}\n',
    )
    words = [sys.executable, "-c", script]
    if gone == "closed":
        process = subprocess.Popen(["sh", "-c", 'exec "$@" 2>&-', "sh", *words])
    else:
        ours, theirs = os.pipe() if gone == "reader" else os.openpty()
        if gone == "reader":
            os.close(ours)
        process = subprocess.Popen(words, stderr=theirs, env={**os.environ, "TERM": "xterm"})
        os.close(theirs)
    desk = file.parent / "desk"
    until((desk / "control.sock").exists, 30)
    if gone == "terminal":
        until(lambda: b"settled" in os.read(ours, 4_096))
        os.close(ours)
    assert ask(desk, {"command": "status"})["status"]["state"] == "running"
    ask(desk, {"command": "stop"})
    assert process.wait(30) == STOPPED
    texts = [line["text"] for line in logged(desk)]
    assert "stopped as asked" in texts
    assert any(text.startswith("the terminal is gone") for text in texts) == (gone != "closed")


def test_what_fails_beside_the_driver_stops_it_in_order(file: Path) -> None:
    (file.parent / "desk" / "control.sock.new").mkdir(parents=True)
    driver = FakeDriver()
    with pytest.raises(RunError, match=r"cannot open control\.sock"):
        run(load_live(file, "live"), make=driver)
    assert driver.told == [False]
    assert driver.state == "stopped"


@pytest.mark.parametrize("name", ["lock", "live.journal", "log.jsonl"])
def test_a_pipe_in_the_folder_is_not_waited_for(name: str, file: Path) -> None:
    (file.parent / "desk").mkdir()
    os.mkfifo(file.parent / "desk" / name)
    with pytest.raises(RunError, match=f"{name} in it is not a file"):
        run(load_live(file, "live"), make=FakeDriver())


STRANGE = [
    (b"hello\n", "no run of this version"),
    (b"[1]\n", "no run of this version"),
    (b"{}\n", "no run of this version"),
    (b"\xff\xfe\n", "no run of this version"),
    (b"[" * 100_000 + b"\n", "no run of this version"),
    (b'{"ok":', "closed the connection"),
    (b"", "closed the connection"),
]


@pytest.mark.parametrize(("says", "error"), STRANGE)
def test_a_strange_socket_is_told(says: bytes, error: str, tmp_path: Path) -> None:
    with _socket(tmp_path, lambda connection: says and connection.sendall(says)), pytest.raises(RunError, match=error):
        ask(tmp_path, {"command": "status"})


def test_a_socket_that_drips_is_left(tmp_path: Path) -> None:
    def drip(connection: socket.socket) -> None:
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)

    with _socket(tmp_path, drip), pytest.raises(RunError, match=r"did not answer within 0\.5 s"):
        ask(tmp_path, {"command": "status"}, seconds=0.5)


@contextmanager
def _socket(folder: Path, serve: Callable[[socket.socket], object]) -> Iterator[None]:
    """Somebody else's, where a run's would be."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "control.sock"))
        listener.listen(1)

        def once() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.recv(4_096)
                serve(connection)

        thread = threading.Thread(target=once)
        thread.start()
        yield
        thread.join(10)
        assert not thread.is_alive(), "the client left its connection open"


# --- Strange clients -------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    served = Server(tmp_path, Desk(FakeDriver(), lambda _: None))
    yield served
    served.close()


def connected(server: Server) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    connection.connect(str(server.path))
    server.step(0.1)
    return connection


def reply(server: Server, connection: socket.socket) -> bytes:
    got = b""
    connection.setblocking(False)
    for _ in range(1_000):
        server.step(0.01)
        try:
            part = connection.recv(1 << 16)
        except BlockingIOError:
            continue
        got += part
        if not part or got.endswith(b"\n"):
            return got
    raise AssertionError("no answer")


@pytest.mark.parametrize(
    "line", [b"\n", b"{\n", b"\xff\xfe\n", b"[" * 3_000 + b"\n", b'"pause"\n', b"null\n", b'{"command": 7}\n']
)
def test_nonsense_is_answered(line: bytes, server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(line)
        assert json.loads(reply(server, connection))["ok"] is False


def test_several_requests_in_one_piece_and_one_in_several(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(b'{"command": "pause"}\n{"command": "resume"}\n{"comm')
        said = reply(server, connection)
        while said.count(b"\n") < 2:
            said += reply(server, connection)
        connection.sendall(b'and": "status"}\n')
        said += reply(server, connection)
        assert [json.loads(line)["ok"] for line in said.splitlines()] == [True, True, True]


def test_a_request_without_an_end_is_cut_off(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(b"x" * 5_000)
        assert reply(server, connection) == b""


def test_a_client_that_never_reads_stops_nobody(server: Server) -> None:
    with connected(server) as deaf, connected(server) as other:
        deaf.setblocking(False)
        for _ in range(2_000):
            try:
                deaf.send(b'{"command": "status"}\n' * 20)
            except BlockingIOError:
                break
            server.step(0)
        else:
            raise AssertionError("it was read without an end")
        other.sendall(b'{"command": "pause"}\n')
        assert json.loads(reply(server, other))["ok"] is True


def test_only_so_many_connections(server: Server) -> None:
    several = [connected(server) for _ in range(20)]
    answered = 0
    for connection in several:
        try:
            connection.sendall(b'{"command": "status"}\n')
            answered += reply(server, connection) != b""
        except OSError:
            pass
        connection.close()
    assert answered == 16


def test_a_silent_client_is_closed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_IDLE_SECONDS", 0.0)
    with connected(server) as connection:
        assert reply(server, connection) == b""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_another_user_is_refused(tmp_path: Path) -> None:
    """Whatever the modes of folder and socket are."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    served = Server(tmp_path, Desk(FakeDriver(), lambda _: None))
    served.path.chmod(0o666)
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(10);"
        'print(s.send(b"{}\\n") and s.recv(9))'
    )
    command = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-S", "-c", code, str(served.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None:
            served.step(0.02)
        out, err = process.communicate()
        assert out == "b''\n" or "BrokenPipe" in err or "ConnectionReset" in err, (out, err)
    finally:
        process.kill()
        served.close()


def test_a_deep_folder(tmp_path: Path) -> None:
    """A socket's name has room for 108 bytes only."""
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    served = Server(deep, Desk(FakeDriver(), lambda _: None))
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(ask(deep, {"command": "status"})))
    thread.start()
    until(lambda: served.step(0.01) or done)
    thread.join()
    served.close()
    assert done[0]["ok"]


def test_the_status_in_one_line() -> None:
    driver = FakeDriver()
    status = driver.status()
    status.update(state="running", may_send=False)
    line = status_line(status)
    assert line.startswith("normal · XNAS settled · ")
    differ = "1 positions differ from the venue's"
    assert line.endswith(f"1 books incomplete · 1 orders unknown · {differ} · no lease: nothing is sent")
