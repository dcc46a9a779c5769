"""FIX sessions, acceptor and initiator, versions 4.0 to 5.0SP2.

    from helios.live import fix

    class Desk(fix.Application):
        def on_message(self, session, message):
            if message.type != "D":
                return False                       # the other side hears that it is not supported
            report = {37: "1", 17: "1", 150: "0", 39: "0", 55: message[55], 54: message[54],
                      151: message[38], 14: 0, 6: 0, 11: message[11]}
            session.send("8", report)

    fix.Engine("fix.toml", Desk()).run()           # until Ctrl-C

The engine has a thread of its own, which calls the application; the store on disk lets both sides ask for what they
missed. What a session sends while a callback runs leaves when it returns. Incoming messages can come twice around a
crash, the second time with `message.possible_duplicate`; none is lost. Absent: the order path of a strategy, which
runs in the core and does not pass Python.
"""

from __future__ import annotations

import atexit
import logging
import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from helios.errors import ArgumentError, ConfigError, RunError
from helios.live.fix_config import (
    Client,
    FixConfig,
    Listen,
    Rate,
    Schedule,
    Server,
    SessionConfig,
    load_fix,
    spec,
)

if TYPE_CHECKING:
    from helios._core import FixEngine

__all__ = [
    "Application",
    "Client",
    "Engine",
    "FixConfig",
    "Listen",
    "Message",
    "Note",
    "Rate",
    "Record",
    "Schedule",
    "Server",
    "Session",
    "SessionConfig",
    "Status",
    "Value",
    "load_fix",
    "stored",
]

Value = str | bytes | int | float | Decimal | bool | datetime
Body = Mapping[int, Value] | Iterable[tuple[int, Value]]

_log = logging.getLogger("helios.fix")
#: How long waits take between two looks at the thread.
_LOOK_MS = 200
#: Engines whose threads run.
_RUNNING: set[Engine] = set()


class Message(Mapping[int, str]):
    """A message that came: the first value of each tag as text. `fields` has all of them in order, `raw` the bytes."""

    __slots__ = ("_first", "fields", "raw")

    def __init__(self, fields: Iterable[tuple[int, bytes]], raw: bytes) -> None:
        self.raw = raw
        self.fields = [(tag, value.decode("latin-1")) for tag, value in fields]
        self._first: dict[int, str] = {}
        for tag, value in self.fields:
            self._first.setdefault(tag, value)

    def __getitem__(self, tag: int) -> str:
        return self._first[tag]

    def __iter__(self) -> Iterator[int]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def __repr__(self) -> str:
        return readable(self.raw)

    @property
    def type(self) -> str:
        """MsgType, 35."""
        return self._first[35]

    @property
    def seq(self) -> int:
        """MsgSeqNum, 34."""
        return int(self._first[34])

    @property
    def possible_duplicate(self) -> bool:
        """The other side sent it before, and does not know whether it arrived (43=Y)."""
        return self._first.get(43) == "Y"

    def all(self, tag: int) -> list[str]:
        """Every value of a tag, as in the entries of a group."""
        return [value for key, value in self.fields if key == tag]


class Status(NamedTuple):
    """Where a session stands."""

    name: str
    logged_on: bool
    connected: bool
    #: Number of the next message to send.
    next_out: int
    #: Number expected next.
    next_in: int


class Note(NamedTuple):
    """What happened, for a log. No secret is in it."""

    ts: int
    session: str | None
    text: str


class Session:
    """One session of an engine."""

    def __init__(self, core: FixEngine, index: int, name: str) -> None:
        self._core = core
        self._index = index
        self.name = name

    def __repr__(self) -> str:
        return f"Session({self.name})"

    def send(self, msg_type: str, body: Body, *, header: Body = ()) -> int | None:
        """Sends a message; its number, once it is stored. RunError when the session is not logged on.

        `body` are the fields after the header, in order: tags to text, bytes, whole numbers, Decimal, bool (Y or N) or
        datetime (UTC). From within a callback it returns None, and a failure is a note.
        """
        kind = msg_type.encode("ascii", "replace")
        with _core(self.name):
            return self._core.send(self._index, kind, _fields(header), _fields(body))

    def set_next(self, *, out: int | None = None, in_: int | None = None) -> None:
        """Sets numbers by hand, while the session is not connected. Another `out` ends resends of what was before."""
        with _core(self.name):
            self._core.set_next(self._index, out, in_)

    def logout(self, text: str = "") -> None:
        """Logs out. An initiator connects again after its pause."""
        with _core(self.name):
            self._core.logout(self._index, text)

    @property
    def status(self) -> Status:
        """Where it stands now."""
        return _status(self._core)[self._index]


class Application:
    """What handles messages; its methods are called by the engine's thread, one at a time."""

    def on_message(self, session: Session, message: Message) -> bool | None:  # noqa: ARG002
        """An application message in its turn. False says that its type is not supported."""
        return False

    def on_logon(self, session: Session) -> None:
        """Messages can be sent now."""

    def on_logout(self, session: Session) -> None:
        """Messages cannot be sent any more."""


class _Callbacks:
    """Between the core and an application: nothing that an application raises gets through."""

    def __init__(self, application: Application, engine: Engine) -> None:
        self.application = application
        # An engine that was never started goes when nobody has it any more, and with it its stores and addresses.
        self._engine = weakref.ref(engine)

    @property
    def sessions(self) -> list[Session]:
        engine = self._engine()
        assert engine is not None, "an engine that runs is kept"
        return list(engine.sessions.values())

    def message(self, index: int, fields: list[tuple[int, bytes]], raw: bytes) -> bool:
        try:
            return self.application.on_message(self.sessions[index], Message(fields, raw)) is not False
        except Exception:
            _log.exception("%s: on_message failed; the message counts as taken", self.sessions[index].name)
            return True

    def logged_on(self, index: int) -> None:
        self._tell(self.application.on_logon, index)

    def logged_out(self, index: int) -> None:
        self._tell(self.application.on_logout, index)

    def _tell(self, method: Any, index: int) -> None:
        try:
            method(self.sessions[index])
        except Exception:
            _log.exception("%s: %s failed", self.sessions[index].name, method.__name__)


class Engine:
    """Sessions of a configuration, in a thread. `with Engine(…) as engine:` starts it and logs out at the end."""

    def __init__(
        self,
        config: FixConfig | str | Path,
        application: Application | None = None,
        *,
        on_note: Callable[[Note], None] | None = None,
    ) -> None:
        """Opens stores and addresses. Without an application it is the one that acceptance suites talk to: an echo.

        `on_note` gets what happened, from a thread of its own; without it lines go to the log "helios.fix".
        """
        from helios import _core as core

        self.config = config if isinstance(config, FixConfig) else load_fix(config)
        self._on_note = on_note or _log_note
        callbacks = None if application is None else _Callbacks(application, self)
        place = None if isinstance(config, FixConfig) else str(config)
        try:
            self._core = core.FixEngine(spec(self.config), callbacks)
        except core.CoreError as error:
            raise ConfigError(error.args[1], file=place) from None
        #: Host and port of each `listen`, with the real ports.
        self.addresses: list[tuple[str, int]] = self._core.addresses
        self.sessions = {name: Session(self._core, i, name) for i, name in enumerate(self._core.names)}
        self._reader: threading.Thread | None = None

    def start(self) -> Self:
        """Starts the threads and returns."""
        with _core("engine"):
            self._core.start()
        _RUNNING.add(self)
        self._reader = threading.Thread(target=self._read_notes, name="helios-fix-notes", daemon=True)
        self._reader.start()
        return self

    def stop(self, text: str = "") -> None:
        """Logs every session out and waits until that is done."""
        self._core.stop(text)
        self.wait()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the engine has stopped; RunError if it failed."""
        if self._reader is None:
            return True
        self._reader.join(timeout)
        if self._reader.is_alive():
            return False
        with _core("engine"):
            return self._core.finished()

    def run(self) -> None:
        """Runs until it is stopped, or told to by SIGINT or SIGTERM: then sessions log out first."""
        with _stopping_on_signals(self._core.stop):
            self.start()
            while not self.wait(_LOOK_MS / 1_000):
                pass

    def status(self) -> list[Status]:
        """Where every session stands."""
        return _status(self._core)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _read_notes(self) -> None:
        names = list(self.sessions)
        over = False
        while True:
            notes = self._core.take_notes(_LOOK_MS)
            for ts, index, text in notes:
                try:
                    self._on_note(Note(ts, None if index is None else names[index], text))
                except Exception:
                    _log.exception("on_note failed")
            if over and not notes:
                _RUNNING.discard(self)
                return
            over = self._ended()

    def _ended(self) -> bool:
        """Whether the engine's thread has ended, well or not; `wait` raises what it failed with."""
        from helios._core import CoreError

        try:
            return self._core.finished()
        except CoreError:
            return True


def _status(core: FixEngine) -> list[Status]:
    with _core("engine"):
        return [Status(*one) for one in core.status()]


def _log_note(note: Note) -> None:
    _log.info("%s%s", f"{note.session}: " if note.session else "", note.text)


@atexit.register
def _stop_running() -> None:
    """A program that ends logs out first: an interpreter that is gone could not hear what still came."""
    for engine in list(_RUNNING):
        engine.stop()


@contextmanager
def _core(source: str) -> Iterator[None]:
    from helios._core import CoreError

    try:
        yield
    except CoreError as error:
        raise RunError(f"{source}: {error.args[1]}") from None


@contextmanager
def _stopping_on_signals(stop: Any) -> Iterator[None]:
    def handler(*_: Any) -> None:
        stop("")

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _fields(body: Body) -> list[tuple[int, bytes]]:
    pairs = body.items() if isinstance(body, Mapping) else body
    return [(_tag(tag), _bytes(tag, value)) for tag, value in pairs]


def _tag(tag: Any) -> int:
    if isinstance(tag, bool) or not isinstance(tag, int) or not 0 < tag < 2**31:
        raise ArgumentError(f"tag {tag!r}: a number from 1 on is expected")
    return tag


def _bytes(tag: int, value: Any) -> bytes:
    if isinstance(value, bytes):
        given = value
    elif isinstance(value, bool):
        given = b"Y" if value else b"N"
    elif isinstance(value, int):
        given = b"%d" % value
    elif isinstance(value, float | Decimal):
        number = Decimal(repr(value)) if isinstance(value, float) else value
        if not number.is_finite():
            raise ArgumentError(f"tag {tag}: {value!r} cannot be written as a FIX number")
        given = format(number, "f").encode()
    elif isinstance(value, datetime):
        if value.tzinfo is None:
            raise ArgumentError(f"tag {tag}: {value!r} has no time zone")
        at = value.astimezone(UTC)
        given = f"{at:%Y%m%d-%H:%M:%S}.{at.microsecond // 1_000:03d}".encode()
    elif isinstance(value, str):
        try:
            given = value.encode("latin-1")
        except UnicodeEncodeError:
            raise ArgumentError(f"tag {tag}: {value!r} is not Latin-1: give bytes in the encoding agreed on") from None
    else:
        raise ArgumentError(f"tag {tag}: {type(value).__name__} is no value of a field")
    if not given:
        raise ArgumentError(f"tag {tag}: a field has a value")
    return given


_SECRETS = (b"554=", b"925=")


def readable(message: bytes) -> str:
    """A message for people: `|` for the delimiter, secrets masked."""
    fields = (field[:4] + b"***" if field.startswith(_SECRETS) else field for field in message.split(b"\x01"))
    return b"|".join(fields).decode("latin-1").encode("unicode_escape").decode("ascii")


class Record(NamedTuple):
    """One record of a store: a message sent, a number used, or the number expected next."""

    #: Counts resets.
    generation: int
    #: "start", "message", "number" or "received".
    kind: str
    #: The message's number; of "start" the next to send, of "received" the next expected.
    seq: int
    #: Nanoseconds since 1970.
    ts: int
    message: bytes


def stored(folder: str | Path) -> Iterator[Record]:
    """The records of one session's store, oldest first, also while it is in use."""
    from helios._core import fix_files, fix_records

    with _core(str(folder)):
        for generation, _, file in fix_files(folder):
            for kind, seq, ts, message in fix_records(file):
                yield Record(generation, kind, seq, ts, message if kind == "message" else b"")
