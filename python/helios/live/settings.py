"""The tables of a run file that a live run reads, beside those that a backtest of the same file reads.

    [live]
    directory = "runs/live"              # journal, log, control socket, latency
    durability = "process"               # process, disk, replica

    [[feed]]
    name = "XNAS"
    lines = ["239.1.1.1:5001", "239.1.1.2:5002"]
    retransmission = ["127.0.0.1:6001"]
    snapshot = "127.0.0.1:6002"

    [[session]]
    name = "XNAS"
    protocol = "ouch50"                  # ouch42, ouch50, fix44
    address = "127.0.0.1:7001"
    user = "HELIOS"
    password_env = "HELIOS_PASSWORD"     # or password_file, a file of mode 600

    [[drop_copy]]
    protocol = "fix44"
    address = "127.0.0.1:7003"
    sender = "HELIOS"
    target = "XNAS"

    [standby]                            # see helios.live.lease
    name = "helios-desk-1"
    lease_env = "HELIOS_LEASE"           # how to reach PostgreSQL: a libpq connection string

`checked` turns them into what the core takes; ConfigError names file, key and what to do. No secret is in a table: they
are in the environment or in files, and `checked` fetches them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date as Date
from datetime import datetime, time
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from helios.duration import nanoseconds
from helios.errors import ArgumentError, ConfigError
from helios.live.secrets import Redaction, Secret, secret
from helios.settings_file import Table

Address = tuple[str, int]
Mode = Literal["paper", "live"]

_MOST_FEEDS: Final = 64
_MOST_SESSIONS: Final = 64
_MOST_LINES: Final = 4
#: Characters of a SoupBinTCP user name, password and session.
_SOUP_USER, _SOUP_PASSWORD, _SOUP_SESSION = 6, 10, 10
_SHORTEST_GRACE_NS: Final = 100_000_000
#: The engine stands still while a snapshot is made.
_SHORTEST_SNAPSHOT_NS: Final = 1_000_000_000
_LONGEST_STOCK: Final = 8
_MOST_CORES: Final = 8_192
#: Days that 64 bits of nanoseconds can name.
_DAYS: Final = (Date(1970, 1, 2), Date(2262, 1, 1))
#: Threads that can be pinned: feed, engine, order, journal; with one: all but the journal, and the journal.
_PINNED: Final = {"one": 2, "four": 4}


class LiveTable(Table):
    """[live]"""

    #: Relative to the run file.
    directory: str
    threads: Literal["one", "four"] = "one"
    wait: Literal["park", "spin"] = "park"
    cores: list[int] = msgspec.field(default_factory=list)
    durability: Literal["process", "disk", "replica"] = "process"
    #: What an orderly stop does with orders that rest, and how long it waits for the answers.
    cancel_on_stop: bool = True
    stop_within: str = "5s"
    #: Between two snapshots of the state; they make recovery short.
    snapshot_every: str = "5m"


class FeedTable(Table):
    """[[feed]]"""

    name: str
    #: The same packets on each: multicast groups, or addresses of ours.
    lines: list[str]
    #: Address of the network card that joins the groups.
    interface: str | None = None
    #: The MoldUDP64 session; the first one heard without it.
    session: str = ""
    retransmission: list[str] = msgspec.field(default_factory=list)
    snapshot: str | None = None
    snapshot_user: str = ""
    snapshot_password_env: str | None = None
    snapshot_password_file: str | None = None
    #: The trading day that the times of the messages count from.
    date: Any = "today"
    tz: str = "America/New_York"
    #: The venue at which its symbols are listed, where the run names venues.
    venue: str = ""
    #: For strategies that take whatever is there; without it, those that strategies name.
    symbols: list[str] | None = None


class SessionTable(Table):
    """[[session]]"""

    name: str
    protocol: Literal["ouch42", "ouch50", "fix44"]
    address: str
    user: str = ""
    password_env: str | None = None
    password_file: str | None = None
    #: FIX: CompIDs of ours and of the venue.
    sender: str = ""
    target: str = ""
    heartbeat: str = "1s"
    venue: str = ""


class DropCopyTable(Table):
    """[[drop_copy]]"""

    protocol: Literal["fix44"]
    address: str
    sender: str
    target: str
    name: str = "drop copy"
    user: str = ""
    password_env: str | None = None
    password_file: str | None = None
    #: Whoever is silent for longer is asked; an execution that was not told is missed only once the venue was heard.
    heartbeat: str = "1s"
    #: How long one side may lack an execution that the other has, while both are heard.
    grace: str = "2s"
    venue: str = ""


class StandbyTable(Table):
    """[standby]"""

    #: The same in every process that may become the primary; it makes the lock's number.
    name: str
    lease_env: str | None = None
    lease_file: str | None = None
    #: Longest time without a word from the lock's server in which the primary still sends orders.
    validity: str = "500ms"
    #: Where the primary serves its journal to standbys, and where they find it; without it they read the file itself.
    journal: str | None = None


@dataclass(frozen=True)
class Feed:
    """One venue's market data, checked."""

    name: str
    venue: str
    lines: list[Address]
    interface: str | None
    session: str
    retransmission: list[Address]
    snapshot: Address | None
    user: str
    password: Secret | None
    midnight_ns: int
    symbols: list[str] | None


@dataclass(frozen=True)
class Session:
    """One order-entry or drop-copy session, checked."""

    name: str
    protocol: str
    address: Address
    user: str
    password: Secret | None
    sender: str
    target: str
    heartbeat_ns: int
    venue: str = ""
    grace_ns: int = 0


@dataclass(frozen=True)
class Standby:
    """Who may take over, and how that is agreed."""

    name: str
    lease: Secret | None
    validity_ns: int
    journal: Address | None


@dataclass(frozen=True)
class Settings:
    """What a live run is told beside strategies and limits."""

    file: Path
    mode: Mode
    directory: Path
    threads: str
    wait: str
    cores: list[int]
    durability: str
    cancel_on_stop: bool
    stop_within_ns: int
    snapshot_every_ns: int
    feeds: list[Feed]
    sessions: list[Session] = field(default_factory=list)
    drop_copies: list[Session] = field(default_factory=list)
    standby: Standby | None = None

    def redaction(self) -> Redaction:
        """What takes all secrets of the run out of a text."""
        passwords = [each.password for each in self.feeds]
        passwords += [each.password for each in (*self.sessions, *self.drop_copies)]
        return Redaction([*passwords, None if self.standby is None else self.standby.lease])

    def described(self) -> dict[str, Any]:
        """For the journal: all but secrets and how the other systems of the desk are reached."""

        def shown(session: Session) -> dict[str, Any]:
            return {"name": session.name, "protocol": session.protocol, "venue": session.venue}

        return {
            "mode": self.mode,
            "threads": self.threads,
            "wait": self.wait,
            "durability": self.durability,
            "feeds": [{"name": f.name, "venue": f.venue, "midnight_ns": f.midnight_ns} for f in self.feeds],
            "sessions": [shown(each) for each in self.sessions],
            "drop_copies": [shown(each) for each in self.drop_copies],
        }


@dataclass(frozen=True)
class Tables:
    """The live tables of one file."""

    live: LiveTable | None
    feed: list[FeedTable]
    session: list[SessionTable]
    drop_copy: list[DropCopyTable]
    standby: StandbyTable | None


class Checker:
    """Says of everything that is wrong in which file and under which key."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def wrong(self, key: str, message: str, hint: str | None = None) -> ConfigError:
        """The error, for the caller to raise."""
        return ConfigError(message, file=str(self.file), key=key, hint=hint)

    def address(self, text: str, key: str) -> Address:
        """Host and port."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
            raise self.wrong(key, f"{text!r} is no address: write host:port, like 127.0.0.1:7001")
        return host.removeprefix("[").removesuffix("]"), int(port)

    def length(self, text: str, key: str) -> int:
        """Nanoseconds of a length of time."""
        try:
            return nanoseconds(text)
        except ArgumentError as error:
            raise self.wrong(key, str(error)) from None

    def fits(self, text: str, most: int, key: str) -> str:
        """The text, if it has at most so many ASCII characters."""
        if len(text) > most or not text.isascii() or not text.isprintable():
            raise self.wrong(key, f"{text!r}: at most {most} ASCII characters")
        return text

    def stocks(self, symbols: Iterable[str], key: str) -> None:
        """Names that ITCH and OUCH have room for."""
        for symbol in symbols:
            if not symbol or len(symbol) > _LONGEST_STOCK or not symbol.isascii() or not symbol.isprintable():
                raise self.wrong(key, f"{symbol!r}: a stock's name has 1 to {_LONGEST_STOCK} ASCII characters")

    def password(self, given: Secret | None, key: str) -> None:
        """What does not fit SoupBinTCP's login; it is in no message."""
        if given is not None and (len(given.reveal()) > _SOUP_PASSWORD or not given.reveal().isascii()):
            raise self.wrong(key, f"the password is more than SoupBinTCP's {_SOUP_PASSWORD} ASCII characters")

    def secret(self, env: str | None, path: str | None, key: str, what: str = "password") -> Secret | None:
        """See `helios.live.secrets.secret`."""
        return secret(env, path, what=what, file=self.file, key=key)

    def midnight(self, date: Any, tz: str, place: str = "") -> int:
        """Where stamps count from, ns UTC; `date` as it stands in the file."""
        try:
            zone = ZoneInfo(tz)
        except (ZoneInfoNotFoundError, ValueError):
            hint = "Write it as America/New_York."
            raise self.wrong(f"{place}tz", f"there is no time zone {tz!r}", hint) from None
        day = datetime.now(zone).date() if date == "today" else date
        if not isinstance(day, Date) or isinstance(day, datetime):
            raise self.wrong(f"{place}date", f"{day!r}: write 'today', or a date like 2026-01-05 without quotes")
        if not _DAYS[0] <= day <= _DAYS[1]:
            raise self.wrong(f"{place}date", f"{day} is not between {_DAYS[0]} and {_DAYS[1]}")
        return int(datetime.combine(day, time(), tzinfo=zone).timestamp()) * 1_000_000_000


def checked(tables: Tables, mode: Mode, file: Path) -> Settings:
    """The settings, with their secrets. `mode` paper needs no sessions, and uses none."""
    check = Checker(file)
    live = tables.live
    if live is None:
        raise check.wrong("live", "a live run needs a table [live]", 'At least: [live] directory = "runs/live"')
    if not tables.feed:
        raise check.wrong("feed", "a live run needs at least one [[feed]]")
    if len(tables.feed) > _MOST_FEEDS or len(tables.session) + len(tables.drop_copy) > _MOST_SESSIONS:
        raise check.wrong("feed", f"at most {_MOST_FEEDS} feeds and {_MOST_SESSIONS} sessions")
    if mode == "live" and not tables.session:
        raise check.wrong("session", "--mode live needs at least one [[session]]", "Or run it with --mode paper.")
    feeds = [_feed(each, f"feed[{n}]", check) for n, each in enumerate(tables.feed)]
    told = mode == "live"
    sessions = [_session(each, f"session[{n}]", check) for n, each in enumerate(tables.session)] if told else []
    copies = [_drop_copy(each, f"drop_copy[{n}]", check) for n, each in enumerate(tables.drop_copy)] if told else []
    if not live.directory or "\0" in live.directory:
        raise check.wrong("live.directory", f"{live.directory!r} is no folder", 'Like directory = "runs/live".')
    _refuse_twice([each.name for each in feeds], "feed", "name", check)
    _refuse_same_line(feeds, check)
    _refuse_twice([each.venue for each in feeds], "feed", "venue", check)
    _refuse_twice([each.name for each in (*sessions, *copies)], "session", "name", check)
    _refuse_twice([each.venue for each in sessions], "session", "venue", check)
    _refuse_twice([each.venue for each in copies], "drop_copy", "venue", check)
    most = _PINNED[live.threads]
    if (
        len(live.cores) > most
        or len(set(live.cores)) < len(live.cores)
        or not all(0 <= n < _MOST_CORES for n in live.cores)
    ):
        raise check.wrong("live.cores", f"{live.cores}: at most {most} different cores with threads = '{live.threads}'")
    standby = None if tables.standby is None else _standby(tables.standby, check)
    if live.durability == "replica" and (standby is None or standby.journal is None):
        raise check.wrong("live.durability", 'durability = "replica" needs [standby] journal = "host:port"')
    snapshot_every_ns = check.length(live.snapshot_every, "live.snapshot_every")
    if snapshot_every_ns < _SHORTEST_SNAPSHOT_NS:
        raise check.wrong(
            "live.snapshot_every", f"{live.snapshot_every!r}: 1s at least, for the engine waits meanwhile"
        )
    return Settings(
        file=file,
        mode=mode,
        directory=file.parent / live.directory,
        threads=live.threads,
        wait=live.wait,
        cores=live.cores,
        durability=live.durability,
        cancel_on_stop=live.cancel_on_stop,
        stop_within_ns=check.length(live.stop_within, "live.stop_within"),
        snapshot_every_ns=snapshot_every_ns,
        feeds=feeds,
        sessions=sessions,
        drop_copies=copies,
        standby=standby,
    )


def _feed(table: FeedTable, key: str, check: Checker) -> Feed:
    if not 0 < len(table.lines) <= _MOST_LINES:
        raise check.wrong(f"{key}.lines", f"a feed has one to {_MOST_LINES} lines, like ['127.0.0.1:5001']")
    lines = [check.address(text, f"{key}.lines") for text in table.lines]
    for host, _ in lines:
        if not _is_address(host, ipaddress.ip_address):
            message = f"{host!r}: a line is a numeric address, like 239.1.1.1 or 127.0.0.1"
            raise check.wrong(f"{key}.lines", message)
    if table.interface is not None and not _is_address(table.interface, ipaddress.IPv4Address):
        message = f"{table.interface!r}: an interface is named by its IPv4 address, like 10.0.0.5"
        raise check.wrong(f"{key}.interface", message)
    if table.symbols is not None and not table.symbols:
        raise check.wrong(f"{key}.symbols", "the list is empty: leave it out, or name symbols")
    check.stocks(table.symbols or (), f"{key}.symbols")
    what = "snapshot_password"
    password = check.secret(table.snapshot_password_env, table.snapshot_password_file, key, what)
    check.password(password, f"{key}.{what}")
    return Feed(
        name=table.name,
        venue=table.venue,
        lines=lines,
        interface=table.interface,
        session=check.fits(table.session, _SOUP_SESSION, f"{key}.session"),
        retransmission=[check.address(text, f"{key}.retransmission") for text in table.retransmission],
        snapshot=None if table.snapshot is None else check.address(table.snapshot, f"{key}.snapshot"),
        user=check.fits(table.snapshot_user, _SOUP_USER, f"{key}.snapshot_user"),
        password=password,
        midnight_ns=check.midnight(table.date, table.tz, f"{key}."),
        symbols=table.symbols,
    )


def _is_address(host: str, kind: Callable[[str], object]) -> bool:
    try:
        kind(host)
    except ValueError:
        return False
    return True


def _refuse_same_line(feeds: Iterable[Feed], check: Checker) -> None:
    """Two lines of one address are one: what it loses is lost on both."""
    seen: set[Address] = set()
    for number, feed in enumerate(feeds):
        for host, port in feed.lines:
            if (host, port) in seen:
                raise check.wrong(f"feed[{number}].lines", f"{host}:{port} is there twice")
            seen.add((host, port))


def _session(table: SessionTable, key: str, check: Checker) -> Session:
    password = check.secret(table.password_env, table.password_file, key)
    if table.protocol == "fix44":
        _fix(table.sender, table.target, key, check)
    elif table.sender or table.target:
        raise check.wrong(f"{key}.sender", f"{table.protocol} has no sender and target: it has user and password")
    else:
        if not table.user:
            raise check.wrong(f"{key}.user", f"{table.protocol} logs in with a user")
        check.fits(table.user, _SOUP_USER, f"{key}.user")
        check.password(password, f"{key}.password")
    return Session(
        name=table.name,
        protocol=table.protocol,
        address=check.address(table.address, f"{key}.address"),
        user=table.user,
        password=password,
        sender=table.sender,
        target=table.target,
        heartbeat_ns=check.length(table.heartbeat, f"{key}.heartbeat"),
        venue=table.venue,
    )


def _drop_copy(table: DropCopyTable, key: str, check: Checker) -> Session:
    _fix(table.sender, table.target, key, check)
    grace = check.length(table.grace, f"{key}.grace")
    if grace < _SHORTEST_GRACE_NS:
        raise check.wrong(f"{key}.grace", f"{table.grace!r}: 100ms at least, and twice the delay of the network")
    return Session(
        name=table.name,
        protocol=table.protocol,
        address=check.address(table.address, f"{key}.address"),
        user=table.user,
        password=check.secret(table.password_env, table.password_file, key),
        sender=table.sender,
        target=table.target,
        heartbeat_ns=check.length(table.heartbeat, f"{key}.heartbeat"),
        venue=table.venue,
        grace_ns=grace,
    )


def _fix(sender: str, target: str, key: str, check: Checker) -> None:
    for name, text in (("sender", sender), ("target", target)):
        if not re.fullmatch(r"[!-~]{1,64}", text) or "=" in text:
            raise check.wrong(f"{key}.{name}", f"FIX needs a CompID: {name} is {text!r}")


def _standby(table: StandbyTable, check: Checker) -> Standby:
    lease = check.secret(table.lease_env, table.lease_file, "standby", "lease")
    if lease is None:
        raise check.wrong("standby.lease_env", "say how to reach the lock's server: lease_env or lease_file")
    if not table.name:
        raise check.wrong("standby.name", "the lease needs a name, the same for all who may hold it")
    return Standby(
        name=table.name,
        lease=lease,
        validity_ns=check.length(table.validity, "standby.validity"),
        journal=None if table.journal is None else check.address(table.journal, "standby.journal"),
    )


def _refuse_twice(names: Iterable[str], table: str, key: str, check: Checker) -> None:
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            raise check.wrong(f"{table}[{number}].{key}", f"{name!r} is another {table}'s {key} already")
        seen.add(name)


def covered(settings: Settings, venues: Mapping[str, Iterable[str]]) -> None:
    """Refuses a live run of which some venue, or a drop copy, has no session; `venues` gives the symbols at each."""
    there = {session.venue for session in settings.sessions}
    for venue, symbols in venues.items():
        if settings.mode == "live" and venue not in there:
            first = next(iter(sorted(symbols)))
            message = f"no [[session]] has venue = {venue!r}, where {first!r} is traded"
            raise ConfigError(message, file=str(settings.file), key="session")
    for number, copy in enumerate(settings.drop_copies):
        if copy.venue not in there:
            message = f"no [[session]] has venue = {copy.venue!r}"
            hint = "It tells the executions of a session's orders: set venue as in that [[session]]."
            raise ConfigError(message, file=str(settings.file), key=f"drop_copy[{number}].venue", hint=hint)
