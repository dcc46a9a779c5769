"""Settings of FIX sessions, from a TOML file or as values.

    store = "fix-store"                # a folder, relative to this file

    [[listen]]
    address = "127.0.0.1:9880"

    [defaults]                         # keys of every session that does not say otherwise
    sender = "US"

    [[session]]
    role = "acceptor"
    version = "FIX.4.4"
    target = "THEM"

    [[session]]
    role = "initiator"
    version = "FIX.5.0SP2"
    target = "VENUE"
    connect = ["fix.venue.example:9880", "backup.venue.example:9880"]
    tls = { ca = "venue-ca.pem" }
    username = "us"
    password_env = "VENUE_PASSWORD"    # or password_file, which nobody else may read
    schedule = { start = "Sun 17:00", end = "Fri 17:00", tz = "America/New_York" }

Times of a schedule are local: `"08:00"` to `"17:30"` is each day (or those of `days`), `"Sun 17:00"` to `"Fri 17:00"`
each week; an end that is not after its start is on the next day. Numbers begin at 1 in each of these windows.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from helios.duration import nanoseconds
from helios.errors import ArgumentError, ConfigError
from helios.settings_file import Table, converted, read_toml, refuse_unknown_keys

__all__ = [
    "Client",
    "FixConfig",
    "Listen",
    "Rate",
    "Schedule",
    "Server",
    "SessionConfig",
    "load_fix",
    "windows",
]

#: How far ahead windows of a schedule are computed.
HORIZON = timedelta(days=3_650)

Version = Literal["FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIX.5.0", "FIX.5.0SP1", "FIX.5.0SP2"]
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Server(Table):
    """TLS of an acceptor: PEM files. With `client_ca`, clients need a certificate that it signed."""

    certificate: str
    key: str
    client_ca: str | None = None


class Client(Table):
    """TLS of an initiator: PEM files. `ca` signs the acceptor's certificate, which carries `server_name`."""

    ca: str
    #: The host's name without it.
    server_name: str | None = None
    certificate: str | None = None
    key: str | None = None


class Listen(Table):
    """An address to accept at; port 0 takes any that is free."""

    address: str
    tls: Server | None = None


class Rate(Table):
    """Messages that are read of a session; what comes faster waits in the peer's socket."""

    per_second: int
    burst: int


class Schedule(Table):
    """When a session is open, in local time."""

    start: str
    end: str
    tz: str = "UTC"
    #: Days on which daily windows begin; all without it.
    days: list[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]] | None = None


class SessionConfig(Table):
    """[[session]]"""

    version: Version
    sender: str
    target: str
    role: Literal["acceptor", "initiator"] = "acceptor"
    #: An acceptor takes the initiator's.
    heartbeat: str = "30s"
    reset_on_logon: bool = False
    reset_on_logout: bool = False
    reset_on_disconnect: bool = False
    #: Largest difference between SendingTime and our clock; false does not check.
    check_latency: str | bool = "120s"
    check_comp_ids: bool = True
    #: By the dictionary of the version.
    validate: bool = True
    allow_empty_values: bool = False
    allow_any_order: bool = False
    allow_user_defined: bool = False
    allow_unknown: bool = False
    #: Messages asked for in one ResendRequest.
    resend_chunk: int | None = None
    send_next_expected: bool = False
    send_last_processed: bool = False
    #: What an initiator sends, and an acceptor demands.
    username: str | None = None
    password_env: str | None = None
    password_file: str | None = None
    logon_timeout: str = "10s"
    logout_timeout: str = "2s"
    #: Messages kept while earlier ones are missing.
    max_queue: int = 10_000
    #: Of SendingTime; seconds before FIX.4.2 and milliseconds since.
    precision: Literal["s", "ms", "us", "ns"] | None = None
    #: An initiator's host:port, tried in turn.
    connect: list[str] = msgspec.field(default_factory=list)
    connect_timeout: str = "10s"
    #: The pause after a failure, doubled up to the second.
    reconnect: tuple[str, str] = ("1s", "30s")
    tls: Client | None = None
    require_tls: bool = False
    schedule: Schedule | Literal["always"] = "always"
    rate: Rate | None = None
    #: Bytes that may wait for a slow reader.
    send_buffer: int = 4 << 20
    #: Files of the store: their length, how many, and how many earlier generations are kept after a reset.
    segment_bytes: int = 64 << 20
    segments: int = 16
    generations: int = 1
    #: "disk" waits for it before a message leaves.
    durability: Literal["process", "disk"] = "process"

    @property
    def name(self) -> str:
        """`FIX.4.4:SENDER->TARGET`."""
        return f"{self.version}:{self.sender}->{self.target}"


class FixConfig(Table):
    """The whole file."""

    session: list[SessionConfig]
    listen: list[Listen] = msgspec.field(default_factory=list)
    store: str = "fix-store"
    #: Connections that have not logged on.
    max_pending: int = 64
    #: How long a connection may take until its Logon is whole.
    logon_timeout: str = "10s"
    #: What relative paths are relative to.
    folder: str = "."


class _File(FixConfig):
    """The file as it is written."""

    defaults: dict[str, Any] = msgspec.field(default_factory=dict)


def load_fix(path: str | Path) -> FixConfig:
    """The settings in a TOML file. ConfigError names file, key and what to do."""
    file = Path(path)
    if not file.is_file():
        raise ConfigError("there is no such file", file=str(file))
    raw = read_toml(file)
    if "folder" in raw:
        raise ConfigError("paths are relative to the file's own folder", file=str(file), key="folder")
    refuse_unknown_keys(raw, _File, (), file)
    defaults = raw.pop("defaults", {})
    if not isinstance(defaults, dict):
        raise ConfigError("a table is expected", file=str(file), key="defaults")
    refuse_unknown_keys(defaults, SessionConfig, ("defaults",), file)
    if isinstance(raw.get("session"), list):
        raw["session"] = [defaults | one if isinstance(one, dict) else one for one in raw["session"]]
    config = converted(raw | {"folder": str(file.parent)}, FixConfig, file)
    try:
        spec(config)
    except ArgumentError as error:
        raise ConfigError(str(error), file=str(file)) from None
    return config


def _local(text: str, what: str) -> tuple[int | None, time]:
    """Day of the week, if there is one, and time of day."""
    match = re.fullmatch(r"(?:(Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?(\d{2}):(\d{2})(?::(\d{2}))?", text)
    if match is None or int(match[2]) > 23 or int(match[3]) > 59 or int(match[4] or 0) > 59:
        raise ArgumentError(f"{what}={text!r}: write it as '08:00', '08:00:30' or 'Sun 17:00'")
    day = None if match[1] is None else _DAYS.index(match[1])
    return day, time(int(match[2]), int(match[3]), int(match[4] or 0))


def windows(schedule: Schedule, since: date, until: date) -> list[tuple[int, int]]:
    """The windows that begin on these local days, as nanoseconds since 1970.

    A local time that a change of clocks skips is the moment of the change's other side; one that comes twice is the
    first.
    """
    (first_day, start), (last_day, end) = _local(schedule.start, "start"), _local(schedule.end, "end")
    if (first_day is None) != (last_day is None):
        raise ArgumentError(f"schedule {schedule.start!r} to {schedule.end!r}: give both a day of the week, or neither")
    if first_day is not None and schedule.days is not None:
        raise ArgumentError("a weekly schedule has no 'days'")
    try:
        zone = ZoneInfo(schedule.tz)
    except (ZoneInfoNotFoundError, ValueError):
        raise ArgumentError(f"there is no time zone {schedule.tz!r}: write it as 'Europe/London'") from None
    if first_day is None or last_day is None:
        begins = {_DAYS.index(day) for day in schedule.days} if schedule.days is not None else set(range(7))
        length = 0 if end > start else 1
    else:
        begins = {first_day}
        length = (last_day - first_day) % 7
        length += 7 if length == 0 and end <= start else 0

    def moment(day: date, at: time) -> int:
        return int(datetime.combine(day, at, zone).timestamp()) * 1_000_000_000

    days = (since + timedelta(days=n) for n in range((until - since).days))
    found = [(moment(day, start), moment(day + timedelta(days=length), end)) for day in days if day.weekday() in begins]
    return [(opens, closes) for opens, closes in found if opens < closes]


def spec(config: FixConfig) -> dict[str, Any]:
    """What the core is told: lengths of time in nanoseconds, paths whole."""
    folder = Path(config.folder)
    if not config.session:
        raise ArgumentError("there is no [[session]]")
    return {
        "listen": [(one.address, _server(one.tls, folder)) for one in config.listen],
        "sessions": [_session(one, folder) for one in config.session],
        "store": folder / config.store,
        "max_pending": _count(config.max_pending, "max_pending"),
        "logon_timeout_ns": nanoseconds(config.logon_timeout, "logon_timeout"),
    }


def _server(tls: Server | None, folder: Path) -> dict[str, Any] | None:
    if tls is None:
        return None
    return {
        "certificate": folder / tls.certificate,
        "key": folder / tls.key,
        "client_ca": None if tls.client_ca is None else folder / tls.client_ca,
    }


def _client(tls: Client | None, folder: Path) -> dict[str, Any] | None:
    if tls is None:
        return None
    if (tls.certificate is None) != (tls.key is None):
        raise ArgumentError("tls: a certificate needs its key, and a key its certificate")
    own = None if tls.certificate is None or tls.key is None else (folder / tls.certificate, folder / tls.key)
    return {"ca": folder / tls.ca, "server_name": tls.server_name, "identity": own}


def _count(value: int, what: str, least: int = 1, most: int = 2**31) -> int:
    if not least <= value <= most:
        raise ArgumentError(f"{what}={value}: a number from {least} to {most} is expected")
    return value


def _seconds(length: str, what: str) -> int:
    ns = nanoseconds(length, what)
    if ns % 1_000_000_000:
        raise ArgumentError(f"{what}={length!r}: whole seconds are expected")
    return ns // 1_000_000_000


def _id(value: str, what: str) -> str:
    if not value or not value.isascii() or not value.isprintable() or "=" in value:
        raise ArgumentError(f"{what}={value!r}: a CompID is printable ASCII, without '='")
    return value


def _session(s: SessionConfig, folder: Path) -> dict[str, Any]:
    try:
        return _checked_session(s, folder)
    except ArgumentError as error:
        raise ArgumentError(f"session {s.name}: {error}") from None


def _checked_session(s: SessionConfig, folder: Path) -> dict[str, Any]:
    initiator = s.role == "initiator"
    if initiator != bool(s.connect):
        raise ArgumentError("an initiator has addresses to `connect` to, an acceptor has none")
    if not initiator and s.tls is not None:
        raise ArgumentError("an acceptor's TLS stands in [[listen]]; `require_tls` refuses plain connections")
    if s.password_env is not None and s.password_file is not None:
        raise ArgumentError("give password_env or password_file, not both")
    if s.username is not None and not initiator and s.password_env is None and s.password_file is None:
        raise ArgumentError("an acceptor that demands a username demands a password: password_env or password_file")
    if s.check_latency is True:
        raise ArgumentError("check_latency is a length of time, or false")
    today = datetime.now(UTC).date()
    hours = None
    if isinstance(s.schedule, Schedule):
        hours = windows(s.schedule, today - timedelta(days=8), today + HORIZON)
    shortest, longest = (nanoseconds(one, "reconnect") for one in s.reconnect)
    return {
        "role": s.role,
        "version": s.version,
        "sender": _id(s.sender, "sender"),
        "target": _id(s.target, "target"),
        "heartbeat_s": _seconds(s.heartbeat, "heartbeat"),
        "reset_on_logon": s.reset_on_logon,
        "reset_on_logout": s.reset_on_logout,
        "reset_on_disconnect": s.reset_on_disconnect,
        "check_latency_s": None if s.check_latency is False else _seconds(str(s.check_latency), "check_latency"),
        "check_comp_ids": s.check_comp_ids,
        "rules": (not s.allow_empty_values, not s.allow_any_order, not s.allow_user_defined, not s.allow_unknown)
        if s.validate
        else None,
        "resend_chunk": None if s.resend_chunk is None else _count(s.resend_chunk, "resend_chunk"),
        "send_next_expected": s.send_next_expected,
        "send_last_processed": s.send_last_processed,
        "username": s.username,
        "password_env": s.password_env,
        "password_file": None if s.password_file is None else folder / s.password_file,
        "logon_timeout_s": _seconds(s.logon_timeout, "logon_timeout"),
        "logout_timeout_s": _seconds(s.logout_timeout, "logout_timeout"),
        "max_queue": _count(s.max_queue, "max_queue"),
        "precision": s.precision,
        "connect": s.connect,
        "connect_timeout_ns": nanoseconds(s.connect_timeout, "connect_timeout"),
        "reconnect_ns": (shortest, max(shortest, longest)),
        "tls": _client(s.tls, folder),
        "require_tls": s.require_tls,
        "windows": hours,
        "rate": None if s.rate is None else (_count(s.rate.per_second, "per_second"), _count(s.rate.burst, "burst")),
        "send_buffer": _count(s.send_buffer, "send_buffer", 1 << 16),
        "segment_bytes": _count(s.segment_bytes, "segment_bytes", 1 << 12),
        "segments": _count(s.segments, "segments"),
        "generations": _count(s.generations, "generations", 0),
        "disk": s.durability == "disk",
    }
