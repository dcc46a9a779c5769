"""FIX sessions as Python sees them: settings, schedules, values, stores, the command line, and an engine at work."""

from __future__ import annotations

import datetime as dt
import gc
import json
import signal
import subprocess
import sys
import threading
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fix_client import Client
from helios.cli import app
from helios.errors import ArgumentError, ConfigError
from helios.live import fix
from helios.live.fix import _bytes, readable
from helios.live.fix_config import Schedule, spec, windows
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "fix_acceptor.toml"
PATIENCE = 15.0


# ---------------------------------------------------------------- settings ---


def written(folder: Path, text: str) -> Path:
    file = folder / "fix.toml"
    file.write_text(dedent(text))
    return file


GOOD = """
    [[listen]]
    address = "127.0.0.1:0"
    [defaults]
    sender = "US"
    [[session]]
    version = "FIX.4.4"
    target = "THEM"
"""


def test_a_file_and_its_defaults(tmp_path: Path) -> None:
    more = GOOD + '    [[session]]\n    version = "FIX.4.2"\n    sender = "WE"\n    target = "THEM"\n'
    config = fix.load_fix(written(tmp_path, more))
    assert [one.name for one in config.session] == ["FIX.4.4:US->THEM", "FIX.4.2:WE->THEM"]
    assert spec(config)["store"] == tmp_path / "fix-store"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('target = "THEM"', 'targt = "THEM"', "key 'session[0].targt': unknown key. Did you mean 'target'?"),
        ('sender = "US"', 'sendr = "US"', "key 'defaults.sendr': unknown key. Did you mean 'sender'?"),
        ('"FIX.4.4"', '"FIX.4.5"', "Invalid enum value 'FIX.4.5'"),
        ('target = "THEM"', "", "missing required field `target`"),
        ('target = "THEM"', 'target = ""', "target='': a CompID is printable ASCII"),
        ('target = "THEM"', 'target = "A=B"', "a CompID is printable ASCII"),
        ('target = "THEM"', 'target = "T"\n    role = "initiator"', "an initiator has addresses to `connect` to"),
        ('target = "THEM"', 'target = "T"\n    connect = ["a:1"]', "an acceptor has none"),
        ('target = "THEM"', 'target = "T"\n    heartbeat = "1500ms"', "whole seconds are expected"),
        ('target = "THEM"', 'target = "T"\n    check_latency = true', "a length of time, or false"),
        ('target = "THEM"', 'target = "T"\n    username = "me"', "demands a password"),
        ('target = "THEM"', 'target = "T"\n    password_env = "A"\n    password_file = "b"', "not both"),
        ('target = "THEM"', 'target = "T"\n    send_buffer = 5', "send_buffer=5: a number from 65536 to"),
        ('target = "THEM"', 'target = "T"\n    rate = { per_second = 0, burst = 1 }', "per_second=0"),
        ('target = "THEM"', 'target = "T"\n    tls = { ca = "x" }', "an acceptor's TLS stands in [[listen]]"),
        ('target = "THEM"', 'target = "T"\n    schedule = { start = "8:00", end = "17:00" }', "start='8:00': write it"),
        ('target = "THEM"', 'target = "T"\n    schedule = { start = "08:00", end = "17:00", tz = "Mars" }', "'Mars'"),
        ('target = "THEM"', 'target = "T"\n    schedule = { start = "Sun 08:00", end = "17:00" }', "give both a day"),
        ("[[listen]]", "folder = 'x'\n    [[listen]]", "relative to the file's own folder"),
        ("[defaults]", "[defaults", "not a TOML file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    file = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError) as error:
        fix.load_fix(file)
    assert told in str(error.value)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("127.0.0.1:0", "nowhere", "'nowhere' is no address to listen at".replace("'", '"')),
        ("127.0.0.1:0", "192.0.2.1:5", "cannot listen at 192.0.2.1:5"),
        ('target = "THEM"', 'target = "T"\n    require_tls = true', "requires TLS, but no address to listen at has it"),
        ('target = "THEM"', 'target = "T"\n    password_env = "HELIOS_NOT_SET"', "HELIOS_NOT_SET is not set"),
        ('target = "THEM"', 'target = "T"\n    password_file = "gone"', "gone: No such file"),
        ("[defaults]", 'tls = { certificate = "c.pem", key = "k.pem" }\n    [defaults]', "c.pem: No such file"),
        (
            'version = "FIX.4.4"',
            'version = "FIX.4.4"\n    target = "THEM"\n    [[session]]\n    version = "FIX.4.4"',
            "there are two sessions of this name",
        ),
        ('[[listen]]\n    address = "127.0.0.1:0"', "", "there is no address to listen at"),
        (
            'target = "THEM"',
            'target = "T"\n    role = "initiator"\n    connect = ["nowhere"]',
            '"nowhere" is not host:port',
        ),
    ],
)
def test_what_cannot_start_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as error:
        fix.Engine(written(tmp_path, GOOD.replace(old, new)))
    assert told in str(error.value)


def test_a_password_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD + '    password_file = "password"\n')
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    password.chmod(0o640)
    with pytest.raises(ConfigError) as error:
        fix.Engine(file)
    assert "others can use it (mode 640)" in str(error.value)
    assert "chmod 600" in str(error.value)
    assert "hunter2" not in str(error.value)
    password.chmod(0o600)
    fix.Engine(file)


# --------------------------------------------------------------- schedules ---


def utc(*moment: int) -> int:
    return int(dt.datetime(*moment, tzinfo=dt.UTC).timestamp()) * 1_000_000_000  # type: ignore[misc,arg-type]


def test_daily_windows_follow_the_clocks_of_their_zone() -> None:
    london = Schedule(start="08:00", end="17:30", tz="Europe/London", days=["Fri", "Mon"])
    found = windows(london, dt.date(2026, 10, 22), dt.date(2026, 10, 29))
    assert found == [
        (utc(2026, 10, 23, 7), utc(2026, 10, 23, 16, 30)),  # summer time ends on the 25th
        (utc(2026, 10, 26, 8), utc(2026, 10, 26, 17, 30)),
    ]


def test_weekly_windows_and_nights() -> None:
    week = Schedule(start="Sun 17:00", end="Fri 17:00", tz="America/New_York")
    assert windows(week, dt.date(2026, 3, 1), dt.date(2026, 3, 15)) == [
        (utc(2026, 3, 1, 22), utc(2026, 3, 6, 22)),
        (utc(2026, 3, 8, 21), utc(2026, 3, 13, 21)),  # clocks went forward on the 8th
    ]
    night = Schedule(start="22:00", end="06:00")
    assert windows(night, dt.date(2026, 1, 1), dt.date(2026, 1, 2)) == [(utc(2026, 1, 1, 22), utc(2026, 1, 2, 6))]
    # A whole day, a whole week: one window ends where the next begins.
    for schedule in (Schedule(start="17:00", end="17:00"), Schedule(start="Mon 09:00", end="Mon 09:00")):
        found = windows(schedule, dt.date(2026, 1, 1), dt.date(2026, 3, 1))
        assert len(found) > 7
        assert all(a[1] == b[0] for a, b in pairwise(found))


def test_windows_do_not_overlap_whatever_the_zone_does() -> None:
    for zone in ("America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Tehran", "Africa/Casablanca"):
        for start, end in (("02:30", "02:30"), ("01:59:59", "03:00"), ("23:00", "02:15")):
            found = windows(Schedule(start=start, end=end, tz=zone), dt.date(2020, 1, 1), dt.date(2026, 1, 1))
            assert all(a < b for a, b in found)
            assert all(a[1] <= b[0] for a, b in pairwise(found)), (zone, start, end)


# ------------------------------------------------------------------ values ---


def test_values_of_fields() -> None:
    at = dt.datetime(2026, 11, 20, 9, 30, 0, 123_999, tzinfo=ZoneInfo("Europe/Paris"))
    given: dict[Any, bytes] = {
        "KO": b"KO",
        b"\xff": b"\xff",
        7: b"7",
        True: b"Y",
        Decimal("1E-7"): b"0.0000001",
        1e-7: b"0.0000001",
        1e22: b"10000000000000000000000",
        10.5: b"10.5",
        at: b"20261120-08:30:00.123",
    }
    for value, text in given.items():
        assert _bytes(1, value) == text
    assert _bytes(1, False) == b"N"
    for bad in ("", b"", None, float("nan"), Decimal("inf"), dt.datetime(2026, 1, 1), "☃", [1]):
        with pytest.raises(ArgumentError, match="tag 44"):
            _bytes(44, bad)


def test_messages_for_people_show_no_secret() -> None:
    raw = b"8=FIX.4.4\x0135=A\x01553=me\x01554=hunter2\x01925=hunter3\x0158=\xe9\n\x0110=000\x01"
    assert readable(raw) == r"8=FIX.4.4|35=A|553=me|554=***|925=***|58=\xe9\n|10=000|"


def test_a_message_is_a_mapping_of_first_values() -> None:
    message = fix.Message([(35, b"8"), (34, b"12"), (43, b"Y"), (382, b"2"), (375, b"A"), (375, b"B")], b"")
    assert (message.type, message.seq, message.possible_duplicate) == ("8", 12, True)
    assert message[375] == "A"
    assert message.all(375) == ["A", "B"]
    assert message.get(1) is None
    assert list(message) == [35, 34, 43, 382, 375]


# ---------------------------------------------------------- command line ---


def test_the_example_holds_every_session_of_the_suites() -> None:
    names = {one.name for one in fix.load_fix(EXAMPLE).session}
    old = {f"FIX.4.{n}:ISLD->TW4{n}" for n in range(5)}
    new = {f"FIX.5.0{pack}:ISLD->TW50{pack}" for pack in ("", "SP1", "SP2")}
    assert names == old | new | {"FIX.4.4:ISLD->TW", "FIX.4.4:ISLD->NO_CHECK_FIELDS_HAVE_VALUES"}


def printed(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["fix", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout


def test_stored_messages_are_printed(tmp_path: Path) -> None:
    one = fix.SessionConfig(version="FIX.4.4", sender="US", target="THEM")
    config = fix.FixConfig(session=[one], listen=[fix.Listen(address="127.0.0.1:0")], store=str(tmp_path))
    with fix.Engine(config, fix.Application()) as engine:
        (session,) = engine.sessions.values()
        client = Client(engine.addresses[0][1])
        client.logon()
        session.send("B", {148: "news | more", 33: 1, 58: "x"})
        session.send("BE", {923: "r", 924: 1, 553: "me", 554: "hunter2"})
        client.receive()
        # Also while it is in use.
        lines = printed("messages", tmp_path).splitlines()
        client.close()
    assert lines[0] == "FIX.4.4-US-THEM"
    told = [line.split(None, 3)[-1] for line in lines[1:]]
    assert told[0].endswith("begins at 1")
    assert told[1].endswith("(session message)")
    assert "35=B|" in told[3]
    assert "|148=news | more|33=1|58=x|" in told[3]
    assert "hunter2" not in "".join(lines)
    rows = [json.loads(line) for line in printed("messages", tmp_path / "FIX.4.4-US-THEM", "--json").splitlines()]
    # The message with a password is kept as a number.
    assert [(row["kind"], row["seq"]) for row in rows[:5]] == [
        ("start", 1),
        ("number", 1),
        ("received", 2),
        ("message", 2),
        ("number", 3),
    ]
    with pytest.raises(ArgumentError, match="no store of a FIX session"):
        CliRunner().invoke(app, ["fix", "messages", str(tmp_path.parent)], catch_exceptions=False)


def test_the_acceptor_stops_on_signals_with_a_logout(tmp_path: Path) -> None:
    code = "from helios.cli import main; main()"
    command = [sys.executable, "-c", code, "fix", "acceptor", "--config", str(EXAMPLE)]
    command += ["--listen", "127.0.0.1:0", "--store", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        client = Client(port, target="ISLD", sender="TW44")
        client.logon()
        client.order("one")
        assert client.receive()[11] == "one"
        process.send_signal(signal.SIGINT)
        assert client.receive()[35] == "5"
        client.send("5")
        with pytest.raises(EOFError):
            client.receive()
        client.close()
        assert process.wait(PATIENCE) == 0
        assert "FIX.4.4:ISLD->TW44: disconnected: " in process.stdout.read()
    finally:
        process.kill()


def test_the_acceptor_says_what_is_wrong(tmp_path: Path) -> None:
    for arguments in ([], ["--listen", "nowhere"]):
        file = written(tmp_path, GOOD.replace("THEM", "" if not arguments else "THEM"))
        with pytest.raises(ConfigError):
            CliRunner().invoke(app, ["fix", "acceptor", "--config", str(file), *arguments], catch_exceptions=False)


# ------------------------------------------------------------- lifetimes ---


def test_an_engine_that_nobody_has_frees_its_store(tmp_path: Path) -> None:
    one = fix.SessionConfig(version="FIX.4.4", sender="US", target="THEM")
    config = fix.FixConfig(session=[one], listen=[fix.Listen(address="127.0.0.1:0")], store=str(tmp_path))
    for _ in range(3):
        fix.Engine(config, fix.Application())


def test_an_engine_that_runs_is_kept(tmp_path: Path) -> None:
    heard = threading.Event()

    class Desk(fix.Application):
        def on_logon(self, session: fix.Session) -> None:
            heard.set()

    one = fix.SessionConfig(version="FIX.4.4", sender="US", target="THEM")
    config = fix.FixConfig(session=[one], listen=[fix.Listen(address="127.0.0.1:0")], store=str(tmp_path))
    engine = fix.Engine(config, Desk()).start()
    port, (session,) = engine.addresses[0][1], engine.sessions.values()
    del engine
    gc.collect()
    client = Client(port)
    client.logon()
    assert heard.wait(PATIENCE)
    session._core.stop("")
    assert client.receive()[35] == "5"


FORGETFUL = """
import sys
from helios.live import fix
one = fix.SessionConfig(version="FIX.4.4", sender="US", target="THEM")
config = fix.FixConfig(session=[one], listen=[fix.Listen(address="127.0.0.1:0")], store=sys.argv[1])
engine = fix.Engine(config, fix.Application()).start()
print(engine.addresses[0][1], flush=True)
sys.stdin.readline()
"""


def test_a_program_that_ends_logs_out(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", FORGETFUL, str(tmp_path)], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        client = Client(int(process.stdout.readline()))
        client.logon()
        process.stdin.write("end\n")
        process.stdin.flush()
        assert client.receive()[35] == "5"
        client.send("5")
        client.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""
