"""Our venues as a process: clients of raw sockets trade, hear the feed, ask again, and things go wrong on demand."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helios.cli import app
from helios.errors import ArgumentError, ConfigError, RunError
from helios.live.exchange import ask_exchange, load_exchange
from typer.testing import CliRunner

SECONDS = 20.0


def until(what: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What is true at last."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen")


class Line:
    """A receiver of one line."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.messages: dict[int, bytes] = {}
        self.session = b""
        self.ended = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.socket.getsockname()[1]}"

    def read(self) -> dict[int, bytes]:
        while True:
            try:
                packet = self.socket.recv(1 << 16)
            except BlockingIOError:
                return self.messages
            self.take(packet)

    def take(self, packet: bytes) -> None:
        session, number, count = struct.unpack_from(">10sQH", packet)
        self.session = session
        self.ended |= count == 0xFFFF
        at = 20
        for n in range(0 if count == 0xFFFF else count):
            (length,) = struct.unpack_from(">H", packet, at)
            self.messages[number + n] = packet[at + 2 : at + 2 + length]
            at += 2 + length

    def has(self, kind: bytes) -> list[bytes]:
        return [message for _, message in sorted(self.read().items()) if message[:1] == kind]


class Soup:
    """A client of SoupBinTCP."""

    def __init__(self, address: str, user: str = "ANN", password: str = "secret", sequence: int = 1) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=SECONDS)
        self.got = b""
        login = f"{user:<6}{password:<10}{'':<10}{sequence:>20}".encode()
        self.packet(b"L" + login)

    def packet(self, body: bytes) -> None:
        self.socket.sendall(struct.pack(">H", len(body)) + body)

    def send(self, message: bytes) -> None:
        self.packet(b"U" + message)

    def next(self) -> bytes:
        """The next packet that is no heartbeat: its type and payload. Empty when the connection is over."""
        while True:
            if len(self.got) >= 2 and len(self.got) >= 2 + (length := int.from_bytes(self.got[:2])):
                packet, self.got = self.got[2 : 2 + length], self.got[2 + length :]
                if packet != b"H":
                    return packet
                continue
            part = self.socket.recv(1 << 16)
            if not part:
                return b""
            self.got += part

    def expect(self, start: bytes) -> bytes:
        """Packets up to one that begins so."""
        while not (packet := self.next()).startswith(start):
            assert packet, "the connection is over"
        return packet


class Fix:
    """A client of FIX 4.4 that says what it is told to."""

    def __init__(self, address: str, user: str) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=SECONDS)
        self.user, self.number, self.got = user, 0, b""
        self.send("A", "98=0|108=30|554=secret|")

    def send(self, kind: str, body: str) -> None:
        self.number += 1
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H:%M:%S")
        head = f"35={kind}|34={self.number}|49={self.user}|56=XNAS|52={stamp}|"
        text = (head + body).replace("|", "\x01")
        text = f"8=FIX.4.4\x019={len(text)}\x01{text}"
        self.socket.sendall(f"{text}10={sum(text.encode()) % 256:03}\x01".encode())

    def next(self) -> dict[str, str]:
        """The next message's fields; none when the connection is over."""
        while not (found := re.search(rb"8=FIX.*?\x0110=\d{3}\x01", self.got)):
            part = self.socket.recv(1 << 16)
            if not part:
                return {}
            self.got += part
        self.got = self.got[found.end() :]
        return dict(field.split("=", 1) for field in found[0].decode().rstrip("\x01").split("\x01"))

    def expect(self, kind: str) -> dict[str, str]:
        """Messages up to one of a type."""
        while (message := self.next()).get("35") != kind:
            assert message, "the connection is over"
        return message


def order(number: int, side: bytes, shares: int, price: float, symbol: str = "AAPL") -> bytes:
    """OUCH 5.0, a day order."""
    return struct.pack(
        ">cIcI8sQccccc14sH",
        *(b"O", number, side, shares, symbol.ljust(8).encode(), round(price * 10_000)),
        *(b"0", b"Y", b"P", b"N", b"N", b"%-14d" % number, 0),
    )


class Venue:
    """A running exchange with one venue."""

    def __init__(self, folder: Path, process: subprocess.Popen[str], lines: list[Line]) -> None:
        self.folder, self.process, self.lines = folder, process, lines
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said, "the exchange did not start"
        self.at = json.loads(said)["listening"]

    def ask(self, command: str) -> Any:
        return ask_exchange(self.folder / "control", command)

    def ledger(self) -> Any:
        return json.loads((self.folder / "ledger.json").read_text())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


CONFIG = """
[[venue]]
name = "XNAS"
{market}
lines = [{lines}]
requests = "127.0.0.1:0"
snapshot = "127.0.0.1:0"
ouch42 = "127.0.0.1:0"
ouch50 = "127.0.0.1:0"
fix44 = "127.0.0.1:0"
drop_copy = "127.0.0.1:0"

[[user]]
name = "ANN"
password_env = "ANN_PASSWORD"
firm = "ANNS"
cancel_on_disconnect = false

[[user]]
name = "BOB"
password_env = "ANN_PASSWORD"
"""


@contextmanager
def exchange(folder: Path, market: str = 'symbols = ["AAPL", "MSFT"]', more: str = "") -> Iterator[Venue]:
    lines = [Line(), Line()]
    config = folder / "exchange.toml"
    listed = ", ".join(f'"{line.address}"' for line in lines)
    config.write_text(more + CONFIG.format(market=market, lines=listed))
    command = [sys.executable, "-m", "helios", "exchange", str(config), "--control", str(folder / "control")]
    process = subprocess.Popen(
        [*command, "--ledger", str(folder / "ledger.json"), "--quiet"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "ANN_PASSWORD": "secret"},
    )
    try:
        yield Venue(folder, process, lines)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        for line in lines:
            line.socket.close()


def test_an_order_is_accepted_shown_executed_and_known(tmp_path: Path) -> None:
    with exchange(tmp_path) as venue:
        ann, bob = Soup(venue.at["XNAS"]["ouch50"]), Soup(venue.at["XNAS"]["ouch50"], "BOB")
        for client in (ann, bob):
            assert client.next()[:1] == b"A"
            assert client.next()[:2] == b"SS"
        ann.send(order(1, b"B", 300, 10.0))
        accepted = ann.expect(b"SA")
        assert struct.unpack_from(">I", accepted, 10) == (1,)
        reference = struct.unpack_from(">Q", accepted, 37)[0]
        bob.send(order(1, b"S", 100, 9.5))
        executed = ann.expect(b"SE")
        _, number, shares, price, flag, match = struct.unpack_from(">QIIQcQ", executed, 2)
        assert (number, shares, price, flag) == (1, 100, 100_000, b"A")

        until(lambda: all(line.has(b"E") for line in venue.lines))
        first, second = (line.read() for line in venue.lines)
        assert first == second
        assert sorted(first) == list(range(1, len(first) + 1))
        (added,) = venue.lines[0].has(b"A")
        assert struct.unpack_from(">QcI8sI", added, 11) == (reference, b"B", 300, b"AAPL    ", 100_000)
        (traded,) = venue.lines[0].has(b"E")
        assert struct.unpack_from(">QIQ", traded, 11) == (reference, 100, match)
        assert [message[11:19] for message in venue.lines[0].has(b"R")] == [b"AAPL    ", b"MSFT    "]

        snapshot = Soup(venue.at["XNAS"]["snapshot"])
        rest = snapshot.expect(b"SA")[1:]
        assert int(snapshot.expect(b"SG")[2:]) == len(first) + 1
        assert struct.unpack_from(">QcI", rest, 11) == (reference, b"B", 200)

        ledger = until(lambda: (found := venue.ledger())["ANN"]["executed"] and found)
        assert ledger["ANN"]["positions"] == [{"venue": "XNAS", "symbol": "AAPL", "shares": 100}]
        assert ledger["ANN"]["cash"] == "-1000.0000"
        assert ledger["BOB"]["cash"] == "1000.0000"
        assert [one["match_number"] for one in ledger["BOB"]["executions"]] == [match]

        assert venue.stop() == 0
        assert ann.expect(b"SC")[14:] == struct.pack(">I", 200) + b"E"
        assert ann.expect(b"Z") == b"Z"
        until(lambda: [line.read() for line in venue.lines] and all(line.ended for line in venue.lines))
        assert venue.ledger()["ANN"]["open"] == 0


def test_what_was_missed_is_asked_for_again(tmp_path: Path) -> None:
    with exchange(tmp_path, more='faults = { rules = ["drop line=A"] }\n') as venue:
        ann = Soup(venue.at["XNAS"]["ouch50"])
        for number in range(1, 21):
            ann.send(order(number, b"B", 100, 10.0))
        until(lambda: len(venue.lines[1].has(b"A")) == 20)
        assert venue.lines[0].read() == {}
        host, port = venue.at["XNAS"]["requests"].rsplit(":", 1)
        wanted, first = venue.lines[1].messages, venue.lines[0]
        while len(first.messages) < len(wanted):
            request = struct.pack(">10sQH", venue.lines[1].session, len(first.messages) + 1, 1000)
            first.socket.sendto(request, (host, int(port)))
            before = len(first.messages)
            until(lambda before=before: len(first.read()) > before)
        assert first.messages == wanted


def test_a_fault_from_the_command_line(tmp_path: Path) -> None:
    with exchange(tmp_path) as venue:
        asked = ["exchange-fault", str(venue.folder / "control")]
        assert CliRunner().invoke(app, [*asked, "drop", "line=A", "p=0.5"]).output == "done\n"
        counters = CliRunner().invoke(app, [*asked, "counters"], catch_exceptions=False)
        assert "XNAS" in json.loads(counters.stdout)["venues"]


def test_faults_come_and_go_while_it_runs(tmp_path: Path) -> None:
    with exchange(tmp_path) as venue:
        ann = Soup(venue.at["XNAS"]["ouch50"])
        assert ann.next()[:1] == b"A"
        assert venue.ask("refuse-orders port=ouch50") is True
        ann.send(order(1, b"B", 100, 10.0))
        assert struct.unpack_from(">H", ann.expect(b"SJ"), 14) == (10,)
        venue.ask("clear")
        ann.send(order(2, b"B", 100, 10.0))
        ann.expect(b"SA")
        venue.ask("halt XNAS AAPL")
        ann.send(order(3, b"B", 100, 10.0))
        assert struct.unpack_from(">H", ann.expect(b"SJ"), 14) == (7,)
        venue.ask("disconnect port=ouch50")
        assert ann.next() == b""
        venue.ask("refuse-logins")
        assert Soup(venue.at["XNAS"]["ouch50"]).next() == b"JA"
        venue.ask("clear")
        again = Soup(venue.at["XNAS"]["ouch50"], sequence=3)
        assert venue.lines[0].read()
        assert again.next() == b"A" + venue.lines[0].session + b"%20d" % 3
        again.expect(b"SA")
        counters = venue.ask("counters")
        assert counters["venues"]["XNAS"]["open_orders"] == 1
        assert counters["refused_logins"] == 1
        with pytest.raises(ArgumentError, match="is no fault"):
            venue.ask("explode")
    with pytest.raises(RunError):
        venue.ask("counters")


def test_a_recorded_day_is_traded_against(tmp_path: Path) -> None:
    from helios.research.simulate import simulate

    simulate(tmp_path / "day.itch", symbols=2, minutes=5, seed=3, rate=20.0)
    market = 'symbols = ["AAAA", "AAAB"]\nreplay = { path = "day.itch", start = "09:31", speed = 2.0 }'
    with exchange(tmp_path, market) as venue:
        until(lambda: len(venue.lines[0].has(b"A")) > 50)
        ann = Soup(venue.at["XNAS"]["ouch50"])
        ann.send(order(1, b"B", 100, 5_000.0, "AAAA"))
        executed = ann.expect(b"SE")
        assert struct.unpack_from(">I", executed, 10) == (1,)
        before = len(venue.lines[0].read())
        until(lambda: len(venue.lines[0].read()) > before)
        snapshot = Soup(venue.at["XNAS"]["snapshot"])
        snapshot.expect(b"SA")
        assert int(snapshot.expect(b"SG")[2:]) > before


def test_orders_go_by_fix_and_come_as_drop_copies(tmp_path: Path) -> None:
    with exchange(tmp_path) as venue:
        ann = Fix(venue.at["XNAS"]["fix44"], "ANN")
        assert ann.next()["35"] == "A"
        ann.send("D", "11=F1|55=AAPL|54=1|38=300|40=2|44=10|60=20260105-15:00:00|")
        assert ann.expect("8")["150"] == "0"
        bob = Soup(venue.at["XNAS"]["ouch50"], "BOB")
        bob.send(order(1, b"S", 100, 10.0))
        filled = ann.expect("8")
        assert [filled[tag] for tag in ("11", "150", "39", "32", "31", "14", "151")] == [
            *("F1", "F", "1", "100", "10.0000", "100", "200"),
        ]
        copies = Fix(venue.at["XNAS"]["drop_copy"], "BOB")
        copy = copies.expect("8")
        assert (copy["11"], copy["54"], copy["32"], copy["527"]) == ("1", "2", "100", filled["527"])
        stranger = Fix(venue.at["XNAS"]["fix44"], "EVE")
        assert stranger.next() == {}


def test_the_example_is_a_file_that_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOS_PASSWORD", "secret")
    example = (Path(__file__).parents[2] / "examples" / "exchange.toml").read_text()
    # Ports that are listened at may be taken here.
    (tmp_path / "exchange.toml").write_text(re.sub(r":[67]0\d\d", ":0", example))
    said: list[str] = []
    load_exchange(tmp_path / "exchange.toml").run(stopped=lambda: True, said=said.append)
    listening = json.loads(said[0])["listening"]
    assert set(listening["XSIM"]) == {"line_a", "line_b", "requests", "snapshot", "ouch50"}
    assert set(listening["XNAS"]) >= {"ouch42", "ouch50", "fix44", "drop_copy"}


def test_clients_meet_agents(tmp_path: Path) -> None:
    market = "agents = { symbols = 2, minutes = 60, rate = 50.0 }"
    with exchange(tmp_path, market) as venue:
        ann = Soup(venue.at["XNAS"]["ouch50"])
        names = until(lambda: [message[11:19].decode().strip() for message in venue.lines[0].has(b"R")])
        ann.send(order(1, b"B", 100, 5_000.0, names[0]))
        assert struct.unpack_from(">I", ann.expect(b"SE"), 10) == (1,)
        until(lambda: len(venue.lines[0].read()) > 200)


def test_hostile_clients_are_closed_and_others_served(tmp_path: Path) -> None:
    more = 'login_timeout = "300ms"\nmax_clients = 20\n'
    with exchange(tmp_path, more=more) as venue:
        at = venue.at["XNAS"]["ouch50"]
        host, port = at.rsplit(":", 1)
        ann = Soup(at)
        assert ann.next()[:1] == b"A"
        for bytes_ in (b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff" * 100, b"\0\0", b"\0\x01?", b"\0\x2fL" + b"x" * 46):
            with socket.create_connection((host, int(port)), timeout=SECONDS) as hostile:
                hostile.sendall(bytes_)
                assert b"A" not in (hostile.recv(1 << 16) or b"")
        with socket.create_connection((host, int(port)), timeout=SECONDS) as silent:
            assert silent.recv(1) == b""
        crowd = [socket.create_connection((host, int(port)), timeout=SECONDS) for _ in range(40)]
        assert any(one.recv(1) == b"" for one in crowd)
        for one in crowd:
            one.close()
        for _ in range(150):
            ann.send(b"nonsense")
        assert ann.expect(b"S") and not list(iter(ann.next, b""))[1:]
        again = until(lambda: (client := Soup(at)).next()[:1] == b"A" and client)
        again.send(order(1, b"B", 100, 10.0))
        again.expect(b"SA")
        assert venue.ask("counters")["malformed"] == 100


ONE = "[[venue]]\nname = 'X'\nlines = ['127.0.0.1:1', '127.0.0.1:2']\n"
LISTED = f"{ONE}symbols = ['A']\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("venue = []", "1 to 64 venues"),
        ("venues = []", "Did you mean 'venue'"),
        (ONE, "lists nothing"),
        (f"{ONE}symbol = ['A']", "Did you mean 'symbols'"),
        (LISTED.replace("127.0.0.1:1", "10.1.2.3:1"), "set bind"),
        (LISTED.replace("127.0.0.1:1", "there"), "is no address"),
        (LISTED.replace("127.0.0.1:2", "127.0.0.1:0"), "port 0"),
        (f"{ONE}symbols = ['A B']", "is no symbol"),
        (f"{ONE}symbols = ['A', 'A']", "listed twice"),
        (f"{ONE}agents = {{ symbols = 0 }}", "symbols is 0"),
        (f"{LISTED}agents = {{ symbols = 1 }}", "leave symbols out"),
        (f"{LISTED}replay = {{ path = 'none.itch' }}", "there is no file"),
        (f"{ONE}agents = {{ symbols = 1 }}\nreplay = {{ path = 'none.itch' }}", "not both"),
        (f"{ONE}agents = {{ speed = 0.0 }}", "speed is 0"),
        (f"{ONE}agents = {{ messages_per_second = 0 }}", "rate is 0"),
        (f"{LISTED}ouch50 = '1.2.3.4:5'", "set bind"),
        (f"{LISTED}max_packet = 20", "max_packet"),
        (f"{LISTED}session = 'ELEVEN CHARS'", "session"),
        (f"date = 2001-01-01\n{LISTED}", "is not today"),
        (f"tz = 'Mars'\n{LISTED}", "no time zone"),
        (f"silence = 'long'\n{LISTED}", "silence"),
        (f"bind = 'eth0'\n{LISTED}", "no IPv4 address"),
        (f"faults = {{ rules = ['drop line=C'] }}\n{LISTED}", "line=C"),
        (f"faults = {{ rules = ['drop venue=Y'] }}\n{LISTED}", "no venue"),
        (f"{LISTED}[[user]]\nname = 'TOOLONG'\n", "1 to 6"),
        (f"{LISTED}[[user]]\nname = 'A'\npassword_env = 'NOT_THERE'\n", "NOT_THERE"),
        ("not toml", "not a TOML file"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "exchange.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_exchange(file).run(stopped=lambda: True, said=lambda _: None)
