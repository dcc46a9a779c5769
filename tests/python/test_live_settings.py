"""The live tables of a run file: what they give, what is refused and how, and that secrets stay secret."""

from __future__ import annotations

import copy
import json
import os
import pickle
from datetime import datetime
from pathlib import Path
from textwrap import dedent
from zoneinfo import ZoneInfo

import pytest
from helios.config import load_live, load_run, run_file
from helios.errors import ConfigError, HeliosError
from helios.live.plan import LiveRun
from helios.live.secrets import Redaction, Secret

RUN = """
name = "two drinks"
[strategy]
kind = "pairs"
pairs = [["KO", "PEP", 0.9]]
window = "1m"
[limits]
order_notional = 50_000
[live]
directory = "desk"
durability = "disk"
cores = [2, 3]
[[feed]]
name = "XNAS"
lines = ["239.1.1.1:5001", "127.0.0.1:5002"]
retransmission = ["127.0.0.1:6001"]
snapshot = "127.0.0.1:6002"
date = 2026-01-05
[[session]]
name = "XNAS"
protocol = "ouch50"
address = "127.0.0.1:7001"
user = "HELIOS"
password_env = "TEST_PASSWORD"
heartbeat = "500ms"
[[drop_copy]]
protocol = "fix44"
address = "127.0.0.1:7003"
sender = "HELIOS"
target = "XNAS"
password_file = "drop.secret"
[standby]
name = "desk-1"
lease_env = "TEST_LEASE"
journal = "127.0.0.1:7900"
"""


QUOTES = """ts,symbol,bid,ask,bid_size,ask_size
2026-01-05T14:30:00Z,KO,1,2,100,100
2026-01-05T14:30:00Z,PEP,1,2,100,100
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEST_PASSWORD", "hunter2")
    monkeypatch.setenv("TEST_LEASE", "host=127.0.0.1 password=lease-word")
    (tmp_path / "drop.secret").write_text("copy-word\nsecond line\n")
    (tmp_path / "drop.secret").chmod(0o600)
    return tmp_path


def load(folder: Path, text: str = RUN, mode: str = "live") -> LiveRun:
    file = folder / "run.toml"
    file.write_text(dedent(text))
    return load_live(file, mode)  # type: ignore[arg-type]


def test_the_plan_is_the_backtests(folder: Path) -> None:
    from helios.research.backtest import Plan

    live = load(folder)
    (folder / "q.csv").write_text(QUOTES)
    text = RUN.replace("[strategy]", '[[data]]\nkind = "quotes"\npath = "q.csv"\n[strategy]')
    (folder / "back.toml").write_text(text)
    backtest = load_run(folder / "back.toml")
    other = Plan.of(backtest)
    assert live.plan.engine == other.engine
    assert live.plan.venue == other.venue
    assert live.plan.strategies == other.strategies == ["KO/PEP"]
    assert live.plan.description() | {"name": ""} == other.description() | {"name": ""}


def test_everything_arrives(folder: Path) -> None:
    spec = load(folder).spec()
    midnight = int(datetime(2026, 1, 5, tzinfo=ZoneInfo("America/New_York")).timestamp()) * 10**9
    stocks = [("KO", 0), ("PEP", 1)]
    assert spec["feeds"] == [
        {
            "name": "XNAS",
            "lines": [("239.1.1.1", 5001), ("127.0.0.1", 5002)],
            "interface": None,
            "session": "",
            "retransmission": [("127.0.0.1", 6001)],
            "snapshot": ("127.0.0.1", 6002),
            "user": "",
            "password": "",
            "midnight_ns": midnight,
            "instruments": stocks,
        }
    ]
    session = {"sender": "", "target": "", "instruments": stocks}
    assert spec["sessions"] == [
        {
            **session,
            "name": "XNAS",
            "protocol": "ouch50",
            "address": ("127.0.0.1", 7001),
            "user": "HELIOS",
            "password": "hunter2",
            "heartbeat_ns": 500_000_000,
        }
    ]
    (copied,) = spec["drop_copies"]
    assert (copied["password"], copied["grace_ns"]) == ("copy-word", 2_000_000_000)
    assert (copied["heartbeat_ns"], copied["session"], copied["midnight_ns"]) == (1_000_000_000, 0, midnight)
    assert {key: spec[key] for key in ("mode", "threads", "wait", "cores", "durability", "replica")} == {
        "mode": "live",
        "threads": "one",
        "wait": "park",
        "cores": [2, 3],
        "durability": "disk",
        "replica": ("127.0.0.1", 7900),
    }
    assert spec["directory"] == str(folder / "desk")


def test_secrets_are_in_no_text(folder: Path) -> None:
    live = load(folder)
    shown = [repr(live), repr(live.settings), live.description.decode(), json.dumps(live.settings.described())]
    shown += [f"{live.settings.sessions[0].password}", f"{live.settings.sessions[0].password!r:>10}"]
    for text in shown:
        assert not any(word in text for word in ("hunter2", "copy-word", "lease-word")), text
    with pytest.raises(TypeError, match="not written anywhere"):
        pickle.dumps(live.settings.sessions[0].password)
    with pytest.raises(TypeError, match="not written anywhere"):
        copy.copy(Secret("x"))
    assert json.loads(live.description)["live"]["sessions"] == [{"name": "XNAS", "protocol": "ouch50", "venue": ""}]


def test_a_secret_is_taken_out_of_a_text() -> None:
    redact = Redaction([Secret("abc"), Secret("abcdef"), None])
    assert redact("password abcdef, then abc") == "password ***, then ***"


def test_paper_wants_no_password(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_PASSWORD")
    spec = load(folder, mode="paper").spec()
    assert (spec["mode"], spec["sessions"], spec["drop_copies"]) == ("paper", [], [])


def refused(folder: Path, text: str, mode: str = "live") -> str:
    with pytest.raises(HeliosError) as caught:
        load(folder, text, mode)
    assert "hunter2" not in str(caught.value)
    assert str(folder / "run.toml") in str(caught.value)
    return str(caught.value)


WRONG = [
    ('directory = "desk"', 'directry = "desk"', "key 'live.directry': unknown key. Did you mean 'directory'?"),
    ("[[feed]]", "[[feeds]]", "key 'feeds': unknown key. Did you mean 'feed'?"),
    ("snapshot =", "snapshott =", "key 'feed[0].snapshott': unknown key. Did you mean 'snapshot'?"),
    ('password_env = "TEST_PASSWORD"', 'password = "hunter2"', "key 'session[0].password': unknown key. Did you mean"),
    ('password_env = "TEST_PASSWORD"', 'password_env = "NOT_THERE"', "there is no environment variable NOT_THERE"),
    ('password_env = "TEST_PASSWORD"', 'password_env = "A"\npassword_file = "b"', "password_env or password_file, not"),
    ('"drop.secret"', '"missing.secret"', "missing.secret: No such file"),
    ('durability = "disk"', 'durability = "disc"', "live.durability"),
    ('protocol = "ouch50"', 'protocol = "ouch51"', "session"),
    ('"127.0.0.1:7001"', '"127.0.0.1"', "key 'session[0].address': '127.0.0.1' is no address"),
    ('"127.0.0.1:7001"', '"127.0.0.1:70010"', "key 'session[0].address'"),
    ('"239.1.1.1:5001"', '"feed.example:5001"', "key 'feed[0].lines': 'feed.example': a line is a numeric address"),
    ('lines = ["239.1.1.1:5001", "127.0.0.1:5002"]', "lines = []", "key 'feed[0].lines': a feed has one to 4 lines"),
    ('user = "HELIOS"', 'user = "HELIOSDESK"', "key 'session[0].user': 'HELIOSDESK': at most 6"),
    ('user = "HELIOS"', "", "key 'session[0].user': ouch50 logs in with a user"),
    ('heartbeat = "500ms"', 'heartbeat = "soon"', "key 'session[0].heartbeat'"),
    ('sender = "HELIOS"', 'sender = "HEL=IOS"', "key 'drop_copy[0].sender': FIX needs a CompID"),
    ("cores = [2, 3]", "cores = [2, 3, 4]", "key 'live.cores': [2, 3, 4]: at most 2 different cores"),
    ("cores = [2, 3]", "cores = [2, 2]", "at most 2 different cores"),
    ("cores = [2, 3]", "cores = [99999999999999999999]", "key 'live.cores'"),
    ("cores = [2, 3]", 'snapshot_every = "1ns"', "key 'live.snapshot_every': '1ns': 1s at least"),
    ('directory = "desk"', 'directory = ""', "key 'live.directory': '' is no folder"),
    ('directory = "desk"', 'directory = "a\\u0000b"', "key 'live.directory'"),
    ('"127.0.0.1:5002"', '"239.1.1.1:5001"', "key 'feed[0].lines': 239.1.1.1:5001 is there twice"),
    ("date = 2026-01-05", 'interface = "eth0"', "key 'feed[0].interface': 'eth0': an interface is named by its IPv4"),
    ("date = 2026-01-05", 'interface = "::1"', "key 'feed[0].interface': '::1'"),
    ("date = 2026-01-05", "date = 1960-01-05", "key 'feed[0].date': 1960-01-05 is not between"),
    ("date = 2026-01-05", "date = 9999-01-05", "key 'feed[0].date': 9999-01-05 is not between"),
    ("date = 2026-01-05", 'symbols = ["KO", "PEP", "NINECHARS"]', "key 'feed[0].symbols': 'NINECHARS': a stock's name"),
    ("date = 2026-01-05", 'symbols = ["KO", "PEP", "A\\u001b["]', "key 'feed[0].symbols'"),
    ('password_env = "TEST_PASSWORD"', 'password_env = "NOT_ASCII"', "key 'session[0].password': the password is more"),
    ('password_env = "TEST_PASSWORD"', 'password_env = "TWO_LINES"', "environment variable TWO_LINES has a line end"),
    (
        "date = 2026-01-05",
        'snapshot_password_env = "LONG_ONE"',
        "key 'feed[0].snapshot_password': the password is more",
    ),
    ('"drop.secret"', '"pipe.secret"', "pipe.secret: not a file"),
    ("date = 2026-01-05", 'date = "tomorrow"', "key 'feed[0].date': 'tomorrow'"),
    ("date = 2026-01-05", 'tz = "Mars/Base"', "key 'feed[0].tz': there is no time zone 'Mars/Base'"),
    ('heartbeat = "500ms"', 'venue = "BATS"', "no [[session]] has venue = '', where 'KO' is traded"),
    ("date = 2026-01-05", 'venue = "BATS"', "key 'feed[0].venue': no [venue.BATS] is in the file"),
    ("date = 2026-01-05", 'symbols = ["KO"]', "no data source has the symbol 'PEP'"),
    ("date = 2026-01-05", "symbols = []", "key 'feed[0].symbols': the list is empty"),
    ('lease_env = "TEST_LEASE"', "", "key 'standby.lease_env': say how to reach the lock's server"),
    ('journal = "127.0.0.1:7900"', "", None),
    ('durability = "disk"', 'durability = "replica"', None),
]


@pytest.mark.parametrize(("old", "new", "says"), WRONG)
def test_what_is_wrong_is_named(
    old: str, new: str, says: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("NOT_ASCII", "hunter2\xe4"), ("TWO_LINES", "hunter2\n"), ("LONG_ONE", "hunter2hunter2")):
        monkeypatch.setenv(name, text)
    os.mkfifo(folder / "pipe.secret", 0o600)
    assert old in RUN
    text = RUN.replace(old, new, 1)
    if says is None:
        load(folder, text)
    else:
        assert says in refused(folder, text)


def test_a_password_in_the_wrong_place_is_not_repeated(folder: Path) -> None:
    said = refused(folder, RUN.replace('"TEST_PASSWORD"', '"hunter2!"', 1))
    assert "key 'session[0].password_env': no name of an environment variable" in said


def test_replica_needs_a_place_to_serve_the_journal(folder: Path) -> None:
    text = RUN.replace('journal = "127.0.0.1:7900"', "").replace('"disk"', '"replica"')
    assert "key 'live.durability': durability = \"replica\" needs [standby] journal" in refused(folder, text)


def without(text: str, first: str, to: str) -> str:
    head, _, rest = text.partition(first)
    return head + (to + rest.partition(to)[2] if to else "")


def test_tables_that_are_missing(folder: Path) -> None:
    assert "a live run needs a table [live]" in refused(folder, without(RUN, "[live]", "[[feed]]"))
    assert "a live run needs at least one [[feed]]" in refused(folder, without(RUN, "[[feed]]", "[[session]]"))
    no_session = without(RUN, "[[session]]", "[[drop_copy]]")
    assert "--mode live needs at least one [[session]]" in refused(folder, no_session)
    load(folder, no_session, "paper")


def test_two_of_a_name(folder: Path) -> None:
    feed = '[[feed]]\nname = "XNAS"\nlines = ["127.0.0.1:1"]\n'
    assert "key 'feed[1].name': 'XNAS' is another feed's name already" in refused(folder, RUN + feed)
    assert "key 'feed[1].venue': '' is another feed's venue" in refused(folder, RUN + feed.replace("XNAS", "B"))


def test_a_drop_copy_is_of_a_session(folder: Path) -> None:
    venue = RUN.replace("password_file", 'venue = "BATS"\npassword_file')
    assert "key 'drop_copy[0].venue': no [[session]] has venue = 'BATS'" in refused(folder, venue)
    short = RUN.replace("password_file", 'grace = "50ms"\npassword_file')
    assert "key 'drop_copy[0].grace': '50ms': 100ms at least" in refused(folder, short)
    copy = RUN[RUN.index("[[drop_copy]]") : RUN.index("[standby]")]
    twice = RUN + copy.replace("target", 'name = "other"\ntarget')
    assert "key 'drop_copy[1].venue': '' is another drop_copy's venue" in refused(folder, twice)


def test_two_venues(folder: Path) -> None:
    more = """
    [[feed]]
    name = "BATS"
    venue = "BATS"
    lines = ["127.0.0.1:5011"]
    [[session]]
    name = "BATS"
    venue = "BATS"
    protocol = "ouch42"
    address = "127.0.0.1:7011"
    user = "HEL2"
    [venue.BATS]
    """
    text = dedent(RUN).replace('"PEP", 0.9', '"PEP@BATS", 0.9') + dedent(more)
    spec = load(folder, text).spec()
    assert [feed["instruments"] for feed in spec["feeds"]] == [[("KO", 0)], [("PEP", 1)]]
    assert [each["instruments"] for each in spec["sessions"]] == [[("KO", 0)], [("PEP", 1)]]


@pytest.mark.parametrize(
    ("mode", "says"),
    [(0o640, "others can read it (mode 640)"), (0o604, "others can read it"), (0o622, "others can read it")],
)
def test_a_secret_that_others_can_read_is_refused(mode: int, says: str, folder: Path) -> None:
    (folder / "drop.secret").chmod(mode)
    told = refused(folder, RUN)
    assert says in told
    assert "chmod 600" in told
    assert "copy-word" not in told


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "first line is empty"),
        (b"\nword", "first line is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * 5000, "5000"),
    ],
)
def test_a_secret_that_is_none(content: bytes, says: str, folder: Path) -> None:
    (folder / "drop.secret").write_bytes(content)
    assert says.replace("5000", "longer than 4096 bytes") in refused(folder, RUN)


def test_a_folder_is_no_secret(folder: Path) -> None:
    (folder / "drop.secret").unlink()
    (folder / "drop.secret").mkdir()
    assert "drop.secret" in refused(folder, RUN)


def test_a_backtest_of_the_file_reads_none_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "q.csv").write_text(QUOTES)
    monkeypatch.delenv("TEST_PASSWORD")
    data = '[[data]]\nkind = "quotes"\npath = "q.csv"\n[strategy]'
    (folder / "run.toml").write_text(RUN.replace("[strategy]", data))
    assert load_run(folder / "run.toml").name == "two drinks"
    recipe = run_file(folder / "run.toml")
    with pytest.raises(HeliosError, match="no parameter 'durability'"):
        recipe.parameter("durability")


def test_a_strategy_without_a_universe_takes_the_feeds_symbols(folder: Path) -> None:
    (folder / "mine.py").write_text("import helios as hx\nclass All(hx.Strategy):\n    def on_book(self, book): ...\n")
    text = RUN.replace('kind = "pairs"', 'class = "mine.py:All"').replace(
        'pairs = [["KO", "PEP", 0.9]]\nwindow = "1m"', ""
    )
    assert "key 'feed[0]': no strategy names a symbol of this feed" in refused(folder, text)
    spec = load(folder, text.replace("date = 2026-01-05", 'symbols = ["MSFT", "AAPL"]')).spec()
    assert spec["feeds"][0]["instruments"] == [("AAPL", 0), ("MSFT", 1)]


def test_a_python_run_file_cannot_be_live(folder: Path) -> None:
    (folder / "run.py").write_text("run = None")
    with pytest.raises(ConfigError, match="a live run is described by"):
        load_live(folder / "run.py", "live")
