"""What an operator asks of a live run, through a unix socket in its folder.

One JSON object a line, each answered by one:

    {"command": "limit", "name": "order_notional", "value": 20000}
    {"ok": true, "said": "order_notional is 20000 from input 8812 on", "input": 8812}

The socket is its owner's alone (mode 600), and the kernel says who is at the other end: another user than the run's, or
root, is refused whatever the file's mode. Commands become inputs of the journal, so that they survive a restart and a
replay; the log says who gave them. The server lives in the run's main loop, owns no thread and never waits for a
client: a slow or silent one is closed.
"""

from __future__ import annotations

import json
import logging
import os
import pwd
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from helios.errors import HeliosError, RunError
from helios.live.driver import Done, Driver
from helios.live.folder import LOCK_FILE
from helios.live.log import say
from helios.research.backtest import core_errors
from helios.risk import Limits

SOCKET_FILE: Final = "control.sock"
_LONGEST_REQUEST: Final = 4_096
_LONGEST_ANSWER: Final = 64 << 20
_MOST_CLIENTS: Final = 16
_IDLE_SECONDS: Final = 30.0
_UCRED: Final = struct.Struct("3i")

Answer = dict[str, Any]


@dataclass(frozen=True)
class Operator:
    """Who asks, as the kernel knows it."""

    uid: int
    pid: int

    @property
    def name(self) -> str:
        """The user's name, or its number."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


# --- What is asked ---------------------------------------------------------------------------------------------------


class Desk:
    """Answers requests about one run."""

    def __init__(self, driver: Driver, stop: Callable[[bool], None]) -> None:
        self._driver = driver
        self._stop = stop

    def answer(self, request: object, operator: Operator) -> Answer:
        """Does what is asked and says what happened; whatever is wrong is an answer too. Orders are logged."""
        command = request.get("command") if isinstance(request, dict) else None
        if not isinstance(request, dict) or not isinstance(command, str) or command not in COMMANDS:
            return _no(f"a request is an object with a command: {', '.join(COMMANDS)}")
        try:
            with core_errors():
                answer = COMMANDS[command](self, request)
        except HeliosError as error:
            answer = _no(str(error))
        if command not in _LOOKS:
            say(
                f"operator: {command}",
                level=logging.WARNING if answer["ok"] else logging.ERROR,
                station="control",
                who=operator.name,
                uid=operator.uid,
                pid=operator.pid,
                asked={key: value for key, value in request.items() if key != "command"},
                answer=answer,
            )
        return answer

    def control(self, request: Mapping[str, Any]) -> Answer:
        """pause, resume, flatten, kill"""
        command = request["command"]
        if command == "kill" and request.get("sure") is not True:
            return _no(
                "kill ends all trading of this run for good: ask for it with sure = true (helios ctl kill --yes)"
            )
        return _done(self._driver.command(command), _SAID[command])

    def limit(self, request: Mapping[str, Any]) -> Answer:
        """limit NAME VALUE, in the units of [limits]"""
        name, value = request.get("name"), request.get("value")
        names = Limits.__dataclass_fields__
        if not isinstance(name, str) or name not in names:
            return _no(f"there is no limit {name!r}: there are {', '.join(names)}")
        if value is None or isinstance(value, bool) or not isinstance(value, int | float):
            return _no(f"limit {name} is {value!r}: it must be a number, zero or above")
        given: dict[str, Any] = {name: value}
        ((rule, scaled),) = Limits(**given).rows()
        return _done(self._driver.command("limit", rule, scaled), f"{name} is {value:,}")

    def status(self, _: Mapping[str, Any]) -> Answer:
        """status"""
        return {"ok": True, "status": self._driver.status()}

    def orders(self, _: Mapping[str, Any]) -> Answer:
        """orders"""
        return {"ok": True, "orders": self._driver.orders()}

    def positions(self, _: Mapping[str, Any]) -> Answer:
        """positions"""
        return {"ok": True, "positions": self._driver.positions()}

    def end(self, request: Mapping[str, Any]) -> Answer:
        """stop, for good or for a standby to go on"""
        hand_over = request.get("hand_over") is True
        self._stop(hand_over)
        then = "; a standby may take over" if hand_over else ""
        return {"ok": True, "said": f"the run stops in an orderly way{then}"}


COMMANDS: Final[Mapping[str, Callable[[Desk, Mapping[str, Any]], Answer]]] = {
    "pause": Desk.control,
    "resume": Desk.control,
    "flatten": Desk.control,
    "kill": Desk.control,
    "limit": Desk.limit,
    "stop": Desk.end,
    "status": Desk.status,
    "orders": Desk.orders,
    "positions": Desk.positions,
}
#: Commands that only look.
_LOOKS: Final = ("status", "orders", "positions")
_SAID: Final = {
    "pause": "only orders that reduce a position pass",
    "resume": "trading is normal",
    "flatten": "every order is cancelled and every position closed",
    "kill": "nothing passes the gate any more",
}


def _done(done: Done, said: str) -> Answer:
    if done["refused"]:
        return {"ok": False, "said": done["refused"], "input": done["input"]}
    return {"ok": True, "said": f"{said}, from input {done['input']:,} on", "input": done["input"]}


def _no(said: str) -> Answer:
    return {"ok": False, "said": said}


# --- The socket ------------------------------------------------------------------------------------------------------


class Answering(Protocol):
    """Whoever answers requests."""

    def answer(self, request: object, operator: Operator) -> Answer:
        """What is said to one."""
        ...


@dataclass
class _Client:
    operator: Operator
    heard: float
    got: bytearray = field(default_factory=bytearray)
    to_send: bytearray = field(default_factory=bytearray)


class Server:
    """The socket's end in the run."""

    def __init__(self, directory: Path, desk: Answering) -> None:
        self._desk = desk
        self.selector = selectors.DefaultSelector()
        self.path = directory / SOCKET_FILE
        self._listener = _listen(directory)
        self.selector.register(self._listener, selectors.EVENT_READ)
        self._clients: dict[socket.socket, _Client] = {}

    def step(self, seconds: float) -> None:
        """Waits at most so long for requests and answers those that came."""
        for key, events in self.selector.select(seconds):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._clients:
                self._serve(key.fileobj, events)
        now = time.monotonic()
        for connection in [c for c, client in self._clients.items() if now - client.heard > _IDLE_SECONDS]:
            self._close(connection)

    def close(self) -> None:
        """Ends all connections and takes the socket away."""
        for connection in list(self._clients):
            self._close(connection)
        self.selector.unregister(self._listener)
        self._listener.close()
        self.path.unlink(missing_ok=True)
        self.selector.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid not in (os.getuid(), 0) or len(self._clients) >= _MOST_CLIENTS:
            reason = "not the run's user" if len(self._clients) < _MOST_CLIENTS else "too many connections"
            say(f"control connection refused: {reason}", level=logging.WARNING, station="control", uid=uid, pid=pid)
            connection.close()
            return
        self._clients[connection] = _Client(Operator(uid, pid), time.monotonic())
        self.selector.register(connection, selectors.EVENT_READ)

    def _serve(self, connection: socket.socket, events: int) -> None:
        client = self._clients[connection]
        client.heard = time.monotonic()
        try:
            if events & selectors.EVENT_READ:
                got = connection.recv(_LONGEST_REQUEST)
                if not got:
                    self._close(connection)
                    return
                client.got += got
            self._answer(client)
            if client.to_send:
                sent = connection.send(client.to_send)
                del client.to_send[:sent]
                self._answer(client)
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)
            return
        if len(client.got) > _LONGEST_REQUEST or len(client.to_send) > _LONGEST_ANSWER:
            say(
                "control connection closed: a request or its answer is too long",
                level=logging.WARNING,
                station="control",
            )
            self._close(connection)
            return
        # While an answer waits to be taken, nothing more is read: a client cannot pile up work.
        self.selector.modify(connection, selectors.EVENT_WRITE if client.to_send else selectors.EVENT_READ)

    def _answer(self, client: _Client) -> None:
        while not client.to_send and (end := client.got.find(b"\n")) >= 0:
            line = bytes(client.got[:end])
            del client.got[: end + 1]
            try:
                request: object = json.loads(line)
            except (ValueError, RecursionError):
                request = None
            client.to_send += json.dumps(self._desk.answer(request, client.operator), default=str).encode() + b"\n"

    def _close(self, connection: socket.socket) -> None:
        del self._clients[connection]
        self.selector.unregister(connection)
        connection.close()


def _listen(directory: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        with _short(directory) as place:
            # The run holds the folder's lock: sockets that are there are left from one that was killed. The name is
            # given last: whoever finds it can connect.
            new = Path(f"{place}.new")
            new.unlink(missing_ok=True)
            listener.bind(str(new))
            listener.listen(_MOST_CLIENTS)
            new.replace(place)
    except OSError as error:
        listener.close()
        raise RunError(f"cannot open {SOCKET_FILE}: {error.strerror}", folder=str(directory)) from error
    finally:
        os.umask(mask)
    return listener


@contextmanager
def _short(directory: Path) -> Iterator[str]:
    """A name of the socket that fits 108 bytes however deep the folder is."""
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET_FILE}"
    finally:
        os.close(folder)


def ask(directory: str | os.PathLike[str], request: Mapping[str, Any], *, seconds: float = 10.0) -> Answer:
    """Asks the run in a folder. RunError where none runs, or none answers in time."""
    folder = Path(directory)
    hint = "`helios run CONFIG` starts one; its folder is live.directory of the file."
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        end = time.monotonic() + seconds
        connection.settimeout(seconds)
        try:
            with _short(folder) as place:
                connection.connect(place)
        except TimeoutError:
            raise _silent(folder, seconds) from None
        except OSError as error:
            if isinstance(error, PermissionError):
                raise RunError("only the run's own user may ask it", folder=str(folder)) from None
            raise RunError("no run is live in this folder", folder=str(folder), hint=hint) from None
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            got = bytearray()
            while not got.endswith(b"\n"):
                # All of it in that time: who sends a byte now and then does not hold us.
                connection.settimeout(max(end - time.monotonic(), 0.001))
                part = connection.recv(1 << 16)
                if not part:
                    raise RunError("the run closed the connection: see its log", folder=str(folder))
                got += part
                if len(got) > _LONGEST_ANSWER:
                    raise RunError("the answer is too long", folder=str(folder))
        except TimeoutError:
            raise _silent(folder, seconds) from None
        except OSError as error:
            raise RunError(f"the run closed the connection: {error.strerror}", folder=str(folder)) from None
    try:
        answer = json.loads(got)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
        hint = "Is another program's socket there?"
        raise RunError("what answers there is no run of this version", folder=str(folder), hint=hint)
    return answer


def _silent(folder: Path, seconds: float) -> RunError:
    hint = f"The process whose number is in {folder / LOCK_FILE} may hang, or still recover."
    return RunError(f"the run did not answer within {seconds:g} s", folder=str(folder), hint=hint)
