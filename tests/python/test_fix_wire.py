"""FIX sessions against hostile, slow, silent and dying counterparties, over real sockets."""

from __future__ import annotations

import datetime as dt
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fix_client import Client, hang_up, message
from helios.errors import ConfigError, RunError
from helios.live import fix

PATIENCE = 15.0


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"after {PATIENCE:g} s not yet: {what}"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def engines_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for ever for an engine that it leaves."""
    wait = fix.Engine.wait

    def limited(engine: fix.Engine, timeout: float | None = None) -> bool:
        ended = wait(engine, 2 * PATIENCE if timeout is None else timeout)
        assert ended or timeout is not None, f"after {2 * PATIENCE:g} s not yet: the engine's end; {engine.status()}"
        return ended

    monkeypatch.setattr(fix.Engine, "wait", limited)


class Running:
    """An engine and what it noted."""

    def __init__(self, config: fix.FixConfig, application: fix.Application | None = None) -> None:
        self.notes: list[str] = []
        self.engine = fix.Engine(config, application, on_note=lambda note: self.notes.append(note.text))

    @property
    def port(self) -> int:
        return self.engine.addresses[0][1]

    @property
    def session(self) -> fix.Session:
        return next(iter(self.engine.sessions.values()))

    def noted(self, text: str) -> None:
        until(lambda: any(text in note for note in list(self.notes)), f"a note {text!r} in {self.notes}")


@contextmanager
def running(
    store: Path,
    application: fix.Application | None = None,
    *,
    engine: dict[str, Any] | None = None,
    farewell: bool = False,
    **session: Any,
) -> Iterator[Running]:
    """An acceptor with session US-THEM, and OTHER beside it. Clients are gone before it stops, but for a farewell."""
    mine = {"version": "FIX.4.4", "sender": "US", "target": "THEM", "logout_timeout": "1s"}
    sessions = [
        fix.SessionConfig(**mine | session),
        fix.SessionConfig(version="FIX.4.4", sender="US", target="OTHER"),
    ]
    settings: dict[str, Any] = {"listen": [fix.Listen(address="127.0.0.1:0")]} | (engine or {})
    run = Running(fix.FixConfig(session=sessions, store=str(store), **settings), application)
    with run.engine:
        try:
            yield run
        finally:  # what a test that failed left open too, or the engine would wait for it
            if not farewell:
                hang_up()


def answers(port: int) -> None:
    """Another session works as if nothing happened."""
    other = Client(port, sender="OTHER")
    other.logon((141, "Y"))
    other.send("1", [(112, "alive")])
    assert other.receive()[112] == "alive"
    other.close()


# ------------------------------------------------------- before the logon ---


def test_silent_and_dribbling_connections_are_closed(tmp_path: Path) -> None:
    with running(tmp_path, engine={"logon_timeout": "300ms"}) as run:
        silent, half = Client(run.port), Client(run.port)
        half.sock.sendall(half.make("A", [(98, 0), (108, 30)])[:40])
        assert silent.closed()
        assert half.closed()
        run.noted("no Logon came in time")
        answers(run.port)


def test_a_crowd_of_silent_connections_does_not_keep_others_out(tmp_path: Path) -> None:
    with running(tmp_path, engine={"max_pending": 8}) as run:
        crowd = [Client(run.port) for _ in range(100)]
        run.noted("closed without a Logon, 8 others wait")
        answers(run.port)
        assert sum(one.closed(0.05) for one in crowd[:92]) == 92
        for one in crowd:
            one.close()


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 4, None),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), None),
        (b"8=FIX.4.4\x019=5\x0135=0\x0110=000\x01", None),
        (message([(35, "0"), (49, "THEM"), (56, "US"), (34, 1)]), None),
        (message([(35, "A"), (49, "THEM"), (56, "NOBODY"), (34, 1)]), "there is no session FIX.4.4:NOBODY->THEM"),
        (message([(35, "A"), (49, "\x1b[2Jx"), (56, "US"), (34, 1)]), r"FIX.4.4:US->\u{1b}[2Jx"),
        (message([(35, "A"), (49, "A" * 5_000), (56, "US"), (34, 1)]), "US->" + "A" * 64),
        (b"8=FIX.4.4\x019=70000\x0135=A\x01" + b"58=x\x01" * 20_000, None),
    ],
    ids=["http", "tls", "checksum", "heartbeat", "nobody", "terminal codes", "long name", "too long"],
)
def test_what_is_no_logon_is_closed_without_a_word(tmp_path: Path, first: bytes, told: str | None) -> None:
    with running(tmp_path, engine={"logon_timeout": "500ms"}) as run:
        client = Client(run.port)
        try:
            client.sock.sendall(first)
            assert client.sock.recv(1_000) == b""
        except ConnectionError:
            pass  # closed while we wrote
        until(lambda: bool(run.notes), "a note")
        assert told is None or any(told in note for note in run.notes), run.notes
        assert max(map(len, run.notes)) < 400
        answers(run.port)


def test_a_second_connection_is_dropped_and_the_first_unaffected(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        first, second = Client(run.port), Client(run.port)
        first.logon()
        second.send("A", [(98, 0), (108, 30)])
        with pytest.raises(EOFError):
            second.receive()
        run.noted("FIX.4.4:US->THEM is connected already")
        first.order("one")
        assert first.receive()[11] == "one"


def test_sessions_of_the_same_names_differ_by_their_version(tmp_path: Path) -> None:
    versions = ["FIX.4.2", "FIX.4.4", "FIX.5.0", "FIX.5.0SP2"]
    sessions = [fix.SessionConfig(version=one, sender="US", target="THEM") for one in versions]  # type: ignore[arg-type]
    run = Running(fix.FixConfig(session=sessions, listen=[fix.Listen(address="127.0.0.1:0")], store=str(tmp_path)))
    with run.engine:
        for i, (begin, application) in enumerate(
            [("FIX.4.2", None), ("FIX.4.4", None), ("FIXT.1.1", 7), ("FIXT.1.1", 9)]
        ):
            client = Client(run.port, begin=begin)
            client.logon(*([] if application is None else [(1137, application)]))
            assert [one.logged_on for one in run.engine.status()] == [n == i for n in range(4)]
            client.close()
            until(lambda: not any(one.connected for one in run.engine.status()), "it noticed")


@pytest.mark.parametrize("seed", range(3))
def test_changed_bytes_neither_stop_nor_confuse_it(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with running(tmp_path, reset_on_logon=True, engine={"logon_timeout": "200ms"}) as run:
        for _ in range(60):
            client = Client(run.port)
            stream = bytearray(client.make("A", [(98, 0), (108, 30)]))
            for n in range(5):
                stream += client.make("D", [(11, n), (55, "KO"), (54, 1), (60, "20261120-10:00:00"), (38, 1), (40, 1)])
                stream += client.make("1", [(112, n)]) + client.make("2", [(7, 1), (16, 0)])
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(stream))
                match chance.randrange(3):
                    case 0:
                        stream[at] = chance.randrange(256)
                    case 1:
                        del stream[at : at + chance.randrange(30)]
                    case _:
                        stream[at:at] = chance.randbytes(chance.randrange(30))
            with suppress(ConnectionError, TimeoutError, EOFError):
                client.sock.sendall(stream)
                client.sock.settimeout(0.02)
                while True:
                    client.receive()
            client.close()
        answers(run.port)


# --------------------------------------------------- passwords and secrets ---


def test_an_acceptor_demands_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOS_TEST_PASSWORD", "hunter2")
    with running(tmp_path, username="me", password_env="HELIOS_TEST_PASSWORD") as run:
        texts = set()
        for given in [(), ((553, "me"),), ((553, "me"), (554, "hunter3")), ((553, "you"), (554, "hunter2"))]:
            client = Client(run.port)
            client.send("A", [(98, 0), (108, 30), (141, "Y"), *given])
            refusal = client.receive()
            assert refusal[35] == "5"
            texts.add(refusal[58])
            assert client.closed()
            until(lambda: not run.session.status.connected, "it is gone")
        assert len(texts) == 1  # which of the two was wrong is not said
        client = Client(run.port)
        client.logon((141, "Y"), (553, "me"), (554, "hunter2"))
        seen = "".join(run.notes) + repr(run.engine.status()) + repr(run.engine.config)
        files = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
        assert "hunter" not in seen
        assert b"hunter" not in files


# ------------------------------------------------- floods and slow readers ---


def test_a_flood_waits_and_others_do_not(tmp_path: Path) -> None:
    with running(tmp_path, rate=fix.Rate(per_second=200, burst=100)) as run:
        client = Client(run.port)
        client.logon()
        began = time.monotonic()
        flood = b"".join(client.make("1", [(112, n)]) for n in range(600))
        client.sock.sendall(flood)
        run.noted("more messages than its rate allows")
        answers(run.port)
        assert [client.receive()[112] for _ in range(600)] == [str(n) for n in range(600)]
        # 100 at once, 200 a second, and what one more read holds: some 2 kB.
        assert time.monotonic() - began > (600 - 100 - 30) / 200
        assert sum("rate" in note for note in run.notes) < 60


def test_logging_on_again_and_again_is_a_flood_too(tmp_path: Path) -> None:
    """The end of a connection waits behind its messages, and the next logon behind that."""
    with running(tmp_path, reset_on_logon=True, rate=fix.Rate(per_second=20, burst=5)) as run:
        began, logons = time.monotonic(), 0
        while logons < 30:
            client = Client(run.port)
            with suppress(EOFError, ConnectionError):
                client.logon()
                logons += 1
            client.close()
        assert time.monotonic() - began > (30 - 5 - 2) / 20
        answers(run.port)


def test_a_slow_reader_is_disconnected_and_others_are_not(tmp_path: Path) -> None:
    with running(tmp_path, send_buffer=1 << 16) as run:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.connect(("127.0.0.1", run.port))
        client = Client(run.port, sock=sock)
        client.logon()
        sock.settimeout(0.2)
        try:
            for n in range(100_000):
                client.order(n, text="x" * 4_000)
        except (TimeoutError, ConnectionError):
            pass
        run.noted("the peer reads too slowly")
        answers(run.port)
        assert not run.session.status.connected


def test_a_long_resend_to_a_slow_reader_is_not_a_slow_reader(tmp_path: Path) -> None:
    """16 MB, while 64 kB may wait: what was asked for has room of its own."""
    with running(tmp_path, send_buffer=1 << 16) as run:
        client = Client(run.port)
        client.logon()
        for n in range(4_000):
            client.order(n, text="x" * 4_000)
            assert client.receive()[11] == str(n)
        client.close()
        until(lambda: not run.session.status.connected, "it noticed")
        again = Client(run.port)
        again.logon(seq=client.seq)
        again.send("2", [(7, 2), (16, 0)])
        time.sleep(0.3)
        for n in range(4_000):
            found = again.receive()
            assert (found[11], found[34], found[43]) == (str(n), str(n + 2), "Y")
        assert again.receive()[35] == "4"
        assert run.session.status.connected


def test_a_message_of_any_size_is_bounded(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        client = Client(run.port)
        client.logon()
        client.sock.sendall(b"8=FIX.4.4\x019=99999999\x0135=D\x01" + b"58=xxxxxxxx\x01" * 300_000)
        run.noted("garbled")
        client.send("1", [(112, "still here")])
        while (found := client.receive())[35] not in ("0", "2"):
            pass
        assert found.get(112, "still here") == "still here"
        answers(run.port)


def test_notes_are_bounded(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        client = Client(run.port)
        client.logon()
        client.sock.sendall(b"8=FIX.4.4\x019=1\x01\x0110=000\x01" * 20_000)
        client.send("1", [(112, "x")])
        assert client.receive()[112] == "x"
        run.noted("garbled")
        assert len(run.notes) < 1_500


# ---------------------------------------------------------------- schedules ---


def clock(at: dt.datetime) -> str:
    return f"{at:%H:%M:%S}"


def test_a_window_ends_with_a_logout_and_the_next_begins_at_1(tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    ends = now + dt.timedelta(seconds=2)
    hours = fix.Schedule(start=clock(now - dt.timedelta(hours=1)), end=clock(ends))
    with running(tmp_path, schedule=hours) as run:
        client = Client(run.port)
        client.logon()
        farewell = client.receive()
        assert (farewell[35], farewell[58]) == ("5", "The session's time is over")
        assert dt.datetime.now(dt.UTC) >= ends.replace(microsecond=0)
        client.send("5")
        assert client.closed()
        late = Client(run.port)
        late.send("A", [(98, 0), (108, 30)])
        assert late.closed()
        run.noted("FIX.4.4:US->THEM is not open now")
    opens = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
    hours = fix.Schedule(start=clock(opens), end=clock(opens + dt.timedelta(hours=1)))
    with running(tmp_path, schedule=hours) as run:
        assert run.session.status.next_out == 3
        until(lambda: run.session.status.next_out == 1, "the new window")
        run.noted("a new session begins")
        Client(run.port).logon()


# ---------------------------------------------------- restarts and numbers ---


def test_numbers_and_messages_outlive_the_engine(tmp_path: Path) -> None:
    with running(tmp_path, farewell=True) as run:
        client = Client(run.port)
        client.logon()
        client.order("first")
        client.receive()
    with pytest.raises(EOFError):
        while client.receive()[35] != "5":
            pass
        client.send("5")
        client.receive()
    with running(tmp_path) as run:
        # Logon, order, Logout: the next are 4 on our side, 4 on theirs if they answered.
        again = Client(run.port)
        answer = again.logon(seq=run.session.status.next_in)
        assert answer[34] == "4"
        again.send("2", [(7, 1), (16, 0)])
        found = [again.receive() for _ in range(3)]
        assert [(one[35], one[34]) for one in found] == [("4", "1"), ("D", "2"), ("4", "3")]
        assert (found[1][11], found[1][43]) == ("first", "Y")


def test_one_store_has_one_engine(tmp_path: Path) -> None:
    with running(tmp_path), pytest.raises(ConfigError, match="another engine or process uses this store"):
        fix.Engine(
            fix.FixConfig(
                session=[fix.SessionConfig(version="FIX.4.4", sender="US", target="THEM")],
                listen=[fix.Listen(address="127.0.0.1:0")],
                store=str(tmp_path),
            )
        )


FULL_DISK = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from fix_client import Client
from helios.errors import RunError
from helios.live import fix

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
one = fix.SessionConfig(version="FIX.4.4", sender="US", target="THEM")
config = fix.FixConfig(session=[one], listen=[fix.Listen(address="127.0.0.1:0")], store=sys.argv[2])
with fix.Engine(config, fix.Application()) as engine:
    (session,) = engine.sessions.values()
    client = Client(engine.addresses[0][1])
    client.logon()
    sent = 0
    try:
        while True:
            sent = session.send("D", {11: sent, 55: "KO", 54: "1", 60: "20261120-10:00:00", 38: 1, 40: "1"})
    except RunError as error:
        print("refused:", error)
    got = 1
    try:
        while True:
            got = int(client.receive()[34])
    except EOFError:
        pass
    print(sent, got, session.status.next_out)
"""


def test_what_cannot_be_stored_is_not_sent(tmp_path: Path) -> None:
    """A file that may not grow stands in for a full disk."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(Path(__file__).parent), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    refused, numbers = done.stdout.splitlines()
    assert "nothing was sent" in refused
    assert "File too large" in refused
    sent, got, next_out = map(int, numbers.split())
    assert sent == got == next_out - 1
    assert sent > 50
    kept = [record.seq for record in fix.stored(tmp_path / "FIX.4.4-US-THEM") if record.kind == "message"]
    assert kept == list(range(2, sent + 1))


# ------------------------------------------------------------ applications ---


class Desk(fix.Application):
    def __init__(self) -> None:
        self.log: list[str] = []

    def on_logon(self, session: fix.Session) -> None:
        self.log.append(f"logon {session.name}")
        session.send("B", {148: "welcome", 33: 1, 58: "x"})

    def on_logout(self, session: fix.Session) -> None:
        self.log.append(f"logout {session.name}")

    def on_message(self, session: fix.Session, message: fix.Message) -> bool | None:
        self.log.append(message.type)
        if message.type == "F":
            raise ValueError("no")
        if message.type == "D":
            assert session.send("8", [(37, message[11]), (58, "a")]) is None
            assert session.send("8", [(37, message[11]), (95, 5), (96, b"a\x01b=c")]) is None
            with pytest.raises(RunError, match="wait for itself"):
                print(session.status)
        return message.type != "V"


def test_an_application_of_python(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    with running(tmp_path, desk, validate=False) as run:
        with pytest.raises(RunError, match="not logged on"):
            run.session.send("B", {148: "early"})
        client = Client(run.port)
        client.logon()
        assert client.receive()[148] == "welcome"
        client.order("one")
        assert client.receive()[58] == "a"
        data = client.receive()
        assert (data[37], data[95], data[34]) == ("one", "5", "4")
        assert b"\x0195=5\x0196=a\x01b=c\x0110=" in client.last
        client.send("F", [(41, "x")])
        client.send("V", [(262, "x")])
        refusal = client.receive()
        assert (refusal[35], refusal[380], refusal[372]) == ("j", "3", "V")
        assert "ValueError: no" in caplog.text
        assert run.session.send("B", {148: "news", 33: 1, 58: "y"}) == 6
        assert client.receive()[148] == "news"
        with pytest.raises(RunError, match="while it is connected"):
            run.session.set_next(out=5)
        run.session.logout("enough")
        assert client.receive()[58] == "enough"
        client.send("5")
        assert client.closed()
        until(lambda: "logout FIX.4.4:US->THEM" in desk.log, "the application hears of it")
        run.session.set_next(out=77, in_=99)
        assert run.session.status[3:] == (77, 99)
    assert desk.log == ["logon FIX.4.4:US->THEM", "D", "F", "V", "logout FIX.4.4:US->THEM"]
    with pytest.raises(RunError, match="does not run"):
        run.engine.status()


def test_many_threads_send_and_every_number_is_used_once(tmp_path: Path) -> None:
    with running(tmp_path, fix.Application()) as run:
        client = Client(run.port)
        client.logon()
        numbers: list[int] = []

        def work() -> None:
            for n in range(100):
                number = run.session.send("B", {148: "x", 33: 1, 58: n})
                assert number is not None
                numbers.append(number)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(6)]
        for thread in threads:
            thread.start()
        got = [int(client.receive()[34]) for _ in range(600)]
        for thread in threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads), "a thread that sends did not come back"
        assert got == sorted(numbers) == list(range(2, 602))


# --------------------------------------------------------------- initiator ---


def initiator(store: Path, port: int, **more: Any) -> Running:
    session = {"version": "FIX.4.4", "sender": "US", "target": "THEM", "role": "initiator"}
    session |= {"connect": [f"localhost:{port}"], "reconnect": ("50ms", "200ms")} | more
    return Running(fix.FixConfig(session=[fix.SessionConfig(**session)], store=str(store)), fix.Application())


class Server:
    """Accepts one connection at a time and speaks as a counterparty."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.context = context

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def take(self) -> Client:
        sock, _ = self.listener.accept()
        sock.settimeout(PATIENCE)  # an accepted socket has not its listener's
        if self.context is not None:
            sock = self.context.wrap_socket(sock, server_side=True)
        return Client(self.port, sock=sock)


def test_an_initiator_comes_back_with_growing_pauses(tmp_path: Path) -> None:
    server = Server()
    run = initiator(tmp_path, server.port)
    with run.engine:
        for _ in range(4):
            server.take().close()
        run.noted("next attempt in 50 ms")
        run.noted("next attempt in 100 ms")
        run.noted("next attempt in 200 ms")
        client = server.take()
        logon = client.receive()
        # Each attempt's Logon used a number.
        assert (logon[35], logon[34], logon[108]) == ("A", "5", "30")
        client.send("A", [(98, 0), (108, 30)])
        until(lambda: run.session.status.logged_on, "it is logged on")
        client.close()
        until(lambda: sum("in 50 ms" in note for note in run.notes) == 2, "a short pause again")


def test_an_initiator_takes_its_addresses_in_turn(tmp_path: Path) -> None:
    first, second = Server(), Server()
    first.listener.close()
    dead = 1
    run = initiator(tmp_path, 0, connect=[f"127.0.0.1:{dead}", f"127.0.0.1:{second.port}"])
    with run.engine:
        client = second.take()
        assert client.receive()[35] == "A"
        run.noted(f"cannot connect to 127.0.0.1:{dead}: Connection refused")
        client.send("A", [(98, 0), (108, 30)])
        until(lambda: run.session.status.logged_on, "it is logged on")
        client.close()
        # What worked is tried first.
        assert second.take().receive()[35] == "A"


def test_an_initiator_calls_in_its_hours_only(tmp_path: Path) -> None:
    server = Server()
    opens = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
    hours = fix.Schedule(start=clock(opens), end=clock(opens + dt.timedelta(hours=1)))
    run = initiator(tmp_path, server.port, schedule=hours)
    with run.engine:
        run.session.set_next(out=12, in_=9)
        client = server.take()
        assert dt.datetime.now(dt.UTC) >= opens.replace(microsecond=0)
        assert client.receive()[34] == "1"


def test_a_name_that_means_nothing_is_tried_again(tmp_path: Path) -> None:
    run = initiator(tmp_path, 0, connect=["nowhere.invalid:1"])
    with run.engine:
        run.noted("cannot find nowhere.invalid:1")
        assert run.session.status.next_out == 1


# --------------------------------------------------------------------- TLS ---


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities; `server` and `client` are signed by the first, `stranger` by the second."""
    x509 = pytest.importorskip("cryptography.x509", reason="certificates are made by the cryptography package")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("certificates")
    now = dt.datetime.now(dt.UTC)

    def make(name: str, signer: tuple[Any, Any] | None) -> tuple[Any, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if signer is None else signer[0].subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        )
        if signer is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        certificate = builder.sign(key if signer is None else signer[1], hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = folder / f"{name}.key"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        private.chmod(0o600)
        return certificate, key

    good, bad = make("ca", None), make("other-ca", None)
    make("server", good)
    make("client", good)
    make("stranger", bad)
    return folder


def trusting(folder: Path, own: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if own is not None:
        context.load_cert_chain(folder / f"{own}.pem", folder / f"{own}.key")
    return context


@contextmanager
def tls_acceptor(store: Path, folder: Path, client_ca: str | None = None, **session: Any) -> Iterator[Running]:
    server = fix.Server(certificate=str(folder / "server.pem"), key=str(folder / "server.key"), client_ca=client_ca)
    listen = [fix.Listen(address="127.0.0.1:0", tls=server), fix.Listen(address="127.0.0.1:0")]
    with running(store, engine={"listen": listen, "logon_timeout": "1s"}, **session) as run:
        yield run


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_tls_from_outside(tmp_path: Path, certificates: Path, version: ssl.TLSVersion) -> None:
    with tls_acceptor(tmp_path, certificates) as run:
        context = trusting(certificates)
        context.minimum_version = context.maximum_version = version
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", run.port)), server_hostname="localhost")
        client = Client(run.port, sock=sock)
        client.logon()
        run.noted("by TLS")
        for n in range(200):
            client.order(n, text="x" * 3_000)
        assert [client.receive()[11] for _ in range(200)] == [str(n) for n in range(200)]
        client.send("5")
        assert client.receive()[35] == "5"
        assert client.sock.recv(1) == b""


def test_tls_below_1_2_plain_text_and_missing_certificates_do_not_come_in(tmp_path: Path, certificates: Path) -> None:
    with tls_acceptor(tmp_path, certificates, str(certificates / "ca.pem"), require_tls=True) as run:
        plain = Client(run.port)
        plain.send("A", [(98, 0), (108, 30)])
        with pytest.raises((EOFError, ConnectionError, AssertionError, ValueError)):
            plain.receive()
        old = trusting(certificates, "client")
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        for context in (old, trusting(certificates), trusting(certificates, "stranger")):
            with pytest.raises((OSError, EOFError)):
                raw = socket.create_connection(("127.0.0.1", run.port))
                sock = context.wrap_socket(raw, server_hostname="localhost")
                Client(run.port, sock=sock).logon()
        run.noted("peer is incompatible")
        run.noted("peer sent no certificates")
        run.noted("invalid peer certificate")
        # The second address is a plain one, and this session may not use it.
        with pytest.raises((EOFError, ConnectionError)):
            Client(run.engine.addresses[1][1]).logon()
        run.noted("FIX.4.4:US->THEM requires TLS")
        raw = socket.create_connection(("127.0.0.1", run.port))
        known = trusting(certificates, "client").wrap_socket(raw, server_hostname="localhost")
        Client(run.port, sock=known).logon()
        assert run.session.status.logged_on


def server_context(folder: Path, name: str = "server") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def test_tls_to_outside_with_a_certificate_of_our_own(tmp_path: Path, certificates: Path) -> None:
    context = server_context(certificates)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates / "ca.pem")
    server = Server(context)
    own = {"certificate": str(certificates / "client.pem"), "key": str(certificates / "client.key")}
    run = initiator(tmp_path, server.port, tls=fix.Client(ca=str(certificates / "ca.pem"), **own))
    with run.engine:
        client = server.take()
        assert client.receive()[35] == "A"
        client.send("A", [(98, 0), (108, 30)])
        until(lambda: run.session.status.logged_on, "it is logged on")
        for n in range(200):
            run.session.send("B", {148: n, 33: 1, 58: "x" * 3_000})
        assert [client.receive()[148] for _ in range(200)] == [str(n) for n in range(200)]


@pytest.mark.parametrize(
    ("server", "tls", "told"),
    [
        ("stranger", {}, "UnknownIssuer"),
        ("server", {"server_name": "venue.example"}, "not valid for name"),
        ("server", {"ca": "other-ca"}, "UnknownIssuer"),
    ],
)
def test_tls_to_a_server_that_is_not_the_one(
    tmp_path: Path, certificates: Path, server: str, tls: dict[str, str], told: str
) -> None:
    listener = Server(server_context(certificates, server))
    ca = certificates / f"{tls.pop('ca', 'ca')}.pem"
    run = initiator(tmp_path, listener.port, tls=fix.Client(ca=str(ca), **tls))
    with run.engine:
        with pytest.raises(ssl.SSLError):
            listener.take()
        run.noted(told)
        assert not run.session.status.logged_on


def test_key_files_are_for_their_owner_alone(tmp_path: Path, certificates: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes((certificates / "server.key").read_bytes())
    certificate = str(certificates / "server.pem")

    def engine(key: Path, certificate: str = certificate) -> None:
        listen = [fix.Listen(address="127.0.0.1:0", tls=fix.Server(certificate=certificate, key=str(key)))]
        one = fix.SessionConfig(version="FIX.4.4", sender="US", target="THEM")
        fix.Engine(fix.FixConfig(session=[one], listen=listen, store=str(tmp_path / "store")))

    for mode, wrong in [(0o644, True), (0o640, True), (0o604, True), (0o400, False), (0o600, False)]:
        key.chmod(mode)
        if wrong:
            with pytest.raises(ConfigError, match=f"others can use it .mode {mode:o}.; make it yours alone: chmod 600"):
                engine(key)
        else:
            engine(key)
    with pytest.raises(ConfigError, match="there is no private key in it"):
        key.write_text("no key")
        engine(key)
    with pytest.raises(ConfigError, match="there is no certificate in it"):
        engine(certificates / "server.key", str(key))
    with pytest.raises(ConfigError, match=r"server.pem and .*client.key"):
        engine(certificates / "client.key")
