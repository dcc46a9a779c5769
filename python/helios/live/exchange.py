"""Our venues as servers: what `helios exchange CONFIG` runs, for tests of whatever trades and for practice.

    seed = 7                              # of the draws of faults
    # bind = "10.0.0.5"                   # an interface, to serve other machines; without it only this one

    [[venue]]
    name = "XNAS"
    symbols = ["AAPL", "MSFT"]            # only clients trade
    lines = ["127.0.0.1:5001", "127.0.0.1:5002"]   # where the packets of A and B go; or multicast groups
    requests = "127.0.0.1:0"              # retransmission; port 0 for any free one
    snapshot = "127.0.0.1:0"
    ouch50 = "127.0.0.1:0"
    ouch42 = "127.0.0.1:0"
    fix44 = "127.0.0.1:0"                 # our CompID is the venue's name, the client's his user name
    drop_copy = "127.0.0.1:0"             # FIX 4.4 too

    [[venue]]
    name = "XSIM"
    lines = ["127.0.0.1:5003", "127.0.0.1:5004"]
    ouch50 = "127.0.0.1:0"
    [venue.agents]                        # clients meet the agents of `helios simulate`; the settings are its
    symbols = 20
    minutes = 390
    speed = 1.0                           # or messages_per_second = 1_000_000, whatever the agents' time is

    # or [venue.replay]: path, start, speed: a recorded day of the venue's symbols, against which clients trade unseen

    [[user]]
    name = "HELIOS"
    password_env = "HELIOS_PASSWORD"      # or password_file, a file of mode 600
    cancel_on_disconnect = true

    [faults]
    rules = ["drop line=A p=0.01", "delay line=B by=1ms"]

Rules of faults are those of `helios exchange-fault DIR`, which adds one while the exchange runs: what goes wrong, then
`line=` A, B or retransmission or `port=` and a protocol, `venue=`, `p=` (how often), `by=` (how late), `for=` (how
long). What goes wrong: drop, duplicate, reorder, delay, silent, disconnect, refuse-logins, refuse-orders.

What it assumes and what is absent: the first page of `edge/exchange`.
"""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from datetime import time as Time
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from helios.errors import ArgumentError, ConfigError, RunError
from helios.live.control import Answer, Operator, Server, ask
from helios.live.folder import held
from helios.live.secrets import revealed
from helios.live.settings import Checker
from helios.settings_file import Table, converted, read_toml, refuse_unknown_keys

__all__ = ["Exchange", "ExchangeFile", "ask_exchange", "load_exchange"]

_LOG: Final = logging.getLogger("helios.exchange")
#: The core lives for so long between two looks at signals, commands and its notes.
_SLICE_NS: Final = 20_000_000
#: How long clients are given to hear of the end of the day.
_LAST_NS: Final = 500_000_000


class AgentsTable(Table):
    """[venue.agents]"""

    symbols: int = 20
    minutes: int = 390
    seed: int = 7
    group_size: int = 10
    #: Messages per symbol and second of the agents' time.
    rate: float = 4.0
    half_life_s: float = 180.0
    deviation_bp: float = 6.0
    volatility: float = 0.15
    #: Seconds of the agents in one of ours.
    speed: float = 1.0
    #: Of all symbols together in a second of ours; instead of speed.
    messages_per_second: int | None = None


class ReplayTable(Table):
    """[venue.replay]: a recorded day, against which clients trade unseen, as in a backtest."""

    #: Relative to the file.
    path: str
    #: What was recorded before goes out at once.
    start: str = "09:30"
    #: Its seconds in one of ours.
    speed: float = 1.0
    #: In a second of ours, whatever its time is; instead of speed.
    messages_per_second: int | None = None


class VenueTable(Table):
    """[[venue]]"""

    name: str
    lines: tuple[str, str]
    symbols: list[str] = msgspec.field(default_factory=list)
    agents: AgentsTable | None = None
    replay: ReplayTable | None = None
    #: Name of the session, ten characters; the time of the start without it.
    session: str = ""
    requests: str | None = None
    snapshot: str | None = None
    ouch42: str | None = None
    ouch50: str | None = None
    #: FIX 4.4: order entry, and drop copies. Our CompID is the venue's name, the client's his user name.
    fix44: str | None = None
    drop_copy: str | None = None
    self_trade: Literal["allow", "cancel_newest", "cancel_oldest", "cancel_both", "decrement"] = "cancel_newest"
    max_open_orders: int = 65_536
    #: Bytes of a packet, and of what is kept for retransmission.
    max_packet: int = 1_400
    max_store: int = 1 << 30
    max_requests_per_second: int = 1_000


class UserTable(Table):
    """[[user]]"""

    name: str
    password_env: str | None = None
    password_file: str | None = None
    #: Shown with attributed orders; four characters.
    firm: str = ""
    cancel_on_disconnect: bool = True
    #: Whether his drop copies have the trades of all users.
    sees_all: bool = False


class FaultsTable(Table):
    """[faults]"""

    rules: list[str] = msgspec.field(default_factory=list)


class ExchangeFile(Table):
    """The file."""

    venue: list[VenueTable]
    user: list[UserTable] = msgspec.field(default_factory=list)
    faults: FaultsTable = msgspec.field(default_factory=FaultsTable)
    seed: int = 1
    bind: str | None = None
    #: The trading day that stamps count from.
    date: Any = "today"
    tz: str = "America/New_York"
    max_clients: int = 1_000
    #: Bytes kept for a client that does not take them; beyond it the client is closed.
    max_output: int = 1 << 23
    login_timeout: str = "30s"
    silence: str = "15s"
    heartbeat: str = "1s"


#: Protocols that have a port, as keys of [[venue]].
_PORTS: Final = ("ouch42", "ouch50", "snapshot", "fix44", "drop_copy")
#: Bits of whole numbers of the core.
_BITS: Final = {"symbols": 32, "minutes": 32, "seed": 64, "group_size": 32, "messages_per_second": 64}


@dataclass(frozen=True)
class Exchange:
    """An exchange that a file describes."""

    file: Path
    spec: Mapping[str, Any]

    def run(
        self,
        *,
        control: Path | None = None,
        ledger: Path | None = None,
        said: Callable[[str], None] = print,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Serves until SIGINT, SIGTERM or `stopped`; then the day ends and clients hear of it.

        `said` is given one line of JSON: where it listens. `control` is a folder in which a socket takes commands;
        `ledger` a file with what the exchange knows of each user. ConfigError for addresses that cannot be used.
        """
        core = self._bound(ledger)
        ends = _Ends()
        with _signals(ends), _controlled(control, core) as server:
            said(json.dumps({"listening": _listening(core)}))
            while not ends.asked and not stopped():
                self._live(core, _SLICE_NS)
                if server is not None:
                    server.step(0)
            core.end()
            self._live(core, _LAST_NS)

    def _bound(self, ledger: Path | None) -> Any:
        from helios._core import CoreError
        from helios._core import Exchange as Core

        try:
            return Core({**self.spec, "ledger": ledger})
        except CoreError as error:
            raise ConfigError(error.args[1], file=str(self.file)) from None

    def _live(self, core: Any, ns: int) -> None:
        from helios._core import CoreError

        try:
            core.run(ns)
        except CoreError as error:
            raise RunError(error.args[1], folder=str(self.file)) from None
        for note in core.notes():
            _LOG.info(note)


@dataclass
class _Ends:
    asked: bool = False


@contextmanager
def _signals(ends: _Ends) -> Iterator[None]:
    """The first signal ends the day; the second one acts as if we were not here."""
    before: dict[signal.Signals, Any] = {}

    def asked(*_: object) -> None:
        ends.asked = True
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, asked)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _controlled(folder: Path | None, core: Any) -> Iterator[Server | None]:
    if folder is None:
        yield None
        return
    with held(folder):
        server = Server(folder, _Desk(core))
        try:
            yield server
        finally:
            server.close()


class _Desk:
    """Answers requests: {"command": "drop line=A p=0.1"}."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def answer(self, request: object, operator: Operator) -> Answer:
        from helios._core import CoreError

        text = request.get("command") if isinstance(request, dict) else None
        if not isinstance(text, str):
            return {"ok": False, "said": 'a request is an object with a command: {"command": "drop line=A p=0.1"}'}
        _LOG.warning("%s asks for: %s", operator.name, text[:200])
        try:
            return {"ok": True, "said": json.loads(self._core.command(text))}
        except CoreError as error:
            return {"ok": False, "said": error.args[1]}


def _listening(core: Any) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for venue, what, address in core.listening():
        found.setdefault(venue, {})[what] = address
    return found


def ask_exchange(control: Path, command: str) -> Any:
    """What a running exchange answers to a command. RunError where none runs, ArgumentError for a command that is none.

    A fault, or `clear`, `halt VENUE SYMBOL`, `resume VENUE SYMBOL`, `counters`, `ledger`, `end`.
    """
    answer = ask(control, {"command": command})
    if not answer["ok"]:
        raise ArgumentError(str(answer["said"]))
    return answer["said"]


# --- The file --------------------------------------------------------------------------------------------------------


def load_exchange(path: Path) -> Exchange:
    """The exchange that a file describes. ConfigError names file, key and what to do."""
    if not path.is_file():
        raise ConfigError("there is no such file", file=str(path))
    raw = read_toml(path)
    refuse_unknown_keys(raw, ExchangeFile, (), path)
    return Exchange(path, _spec(converted(raw, ExchangeFile, path), Checker(path)))


def _spec(table: ExchangeFile, check: Checker) -> dict[str, Any]:
    for key, most in (("seed", 2**64), ("max_clients", 2**20), ("max_output", 2**40)):
        _whole(getattr(table, key), most, key, check)
    return {
        "venues": [_venue(venue, f"venue[{n}]", check) for n, venue in enumerate(table.venue)],
        "users": [_user(user, f"user[{n}]", check) for n, user in enumerate(table.user)],
        "midnight": _midnight(table, check),
        "seed": table.seed,
        "faults": table.faults.rules,
        "connections": table.max_clients,
        "login_ns": check.length(table.login_timeout, "login_timeout"),
        "silence_ns": check.length(table.silence, "silence"),
        "heartbeat_ns": check.length(table.heartbeat, "heartbeat"),
        "bind": table.bind,
        "max_output": table.max_output,
        "ledger": None,
    }


def _venue(venue: VenueTable, place: str, check: Checker) -> dict[str, Any]:
    for key, most in (
        ("max_open_orders", 2**32),
        ("max_packet", 2**16),
        ("max_store", 2**48),
        ("max_requests_per_second", 2**32),
    ):
        _whole(getattr(venue, key), most, f"{place}.{key}", check)
    agents, replay = venue.agents, venue.replay
    if agents is not None and replay is not None:
        raise check.wrong(f"{place}.replay", "a market is of agents or recorded, not both")
    if agents is None and not venue.symbols:
        hint = 'symbols = ["AAPL"], or a market of agents in [venue.agents].'
        raise check.wrong(f"{place}.symbols", "the venue lists nothing", hint)
    if agents is not None and venue.symbols:
        raise check.wrong(f"{place}.symbols", "agents bring their own symbols: leave symbols out")
    market = agents or replay
    return {
        "name": venue.name,
        "symbols": venue.symbols,
        "agents": None if agents is None else _agents(agents, f"{place}.agents", check),
        "replay": None if replay is None else _replay(replay, f"{place}.replay", check),
        "speed": 1.0 if market is None else market.speed,
        "rate": None if market is None else market.messages_per_second,
        "session": venue.session or f"{datetime.now(UTC):%m%d%H%M%S}",
        "max_packet": venue.max_packet,
        "max_store": venue.max_store,
        "max_requests_per_second": venue.max_requests_per_second,
        "self_trade": venue.self_trade,
        "max_open_orders": venue.max_open_orders,
        "lines": venue.lines,
        "requests": venue.requests,
        "ports": [(key, getattr(venue, key)) for key in _PORTS if getattr(venue, key) is not None],
    }


def _agents(table: AgentsTable, place: str, check: Checker) -> tuple[Any, ...]:
    for key, bits in _BITS.items():
        value = getattr(table, key)
        if value is not None:
            _whole(value, 2**bits, f"{place}.{key}", check)
    settings = ("symbols", "minutes", "seed", "group_size", "rate", "half_life_s", "deviation_bp", "volatility")
    return tuple(getattr(table, key) for key in settings)


def _replay(table: ReplayTable, place: str, check: Checker) -> tuple[Path, int]:
    path = check.file.parent / table.path
    if not path.is_file():
        raise check.wrong(f"{place}.path", f"there is no file {path}")
    try:
        start = Time.fromisoformat(table.start)
    except ValueError:
        raise check.wrong(f"{place}.start", f"{table.start!r}: write it as 09:30") from None
    if table.messages_per_second is not None:
        _whole(table.messages_per_second, 2**64, f"{place}.messages_per_second", check)
    seconds = (start.hour * 60 + start.minute) * 60 + start.second
    return path, seconds * 1_000_000_000 + start.microsecond * 1_000


def _user(user: UserTable, place: str, check: Checker) -> dict[str, Any]:
    return {
        "name": user.name,
        "password": revealed(check.secret(user.password_env, user.password_file, place)),
        "firm": user.firm,
        "cancel_on_disconnect": user.cancel_on_disconnect,
        "sees_all": user.sees_all,
    }


def _whole(value: int, most: int, key: str, check: Checker) -> None:
    if not 0 <= value < most:
        raise check.wrong(key, f"{value} is not between 0 and {most - 1}")


def _midnight(table: ExchangeFile, check: Checker) -> int:
    midnight = check.midnight(table.date, table.tz)
    # Stamps count from it in 48 bits.
    if not 0 <= time.time_ns() - midnight < 2**48:
        raise check.wrong("date", f"{table.date} is not today: stamps of messages count from it")
    return midnight
