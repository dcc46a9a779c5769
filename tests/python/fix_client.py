"""A FIX counterparty of a few lines, for tests: raw sockets, no session rules of its own."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from weakref import WeakSet

SOH = b"\x01"


def message(fields: list[tuple[int, object]], begin: str = "FIX.4.4") -> bytes:
    """Fields from 35 on; length and checksum are added."""
    body = b"".join(b"%d=%s\x01" % (tag, str(value).encode("latin-1")) for tag, value in fields)
    head = b"8=%s\x019=%d\x01" % (begin.encode(), len(body))
    return head + body + b"10=%03d\x01" % (sum(head + body) % 256)


_OPEN: WeakSet[Client] = WeakSet()


def hang_up() -> None:
    """Closes all clients, so that an engine that stops waits for none of them."""
    for client in list(_OPEN):
        client.close()


class Client:
    """One connection. `seq` is the number of the next message that it sends."""

    def __init__(
        self,
        port: int,
        target: str = "US",
        sender: str = "THEM",
        begin: str = "FIX.4.4",
        sock: socket.socket | None = None,
    ) -> None:
        self.sock = sock or socket.create_connection(("127.0.0.1", port), 10)
        self.sock.settimeout(10)
        _OPEN.add(self)
        self.ids = [(49, sender), (56, target)]
        self.begin = begin
        self.seq = 1
        self.buffer = b""
        #: The bytes of the message received last.
        self.last = b""

    def make(
        self, kind: str, body: list[tuple[int, object]] | None = None, *, seq: int | None = None, dup: bool = False
    ) -> bytes:
        number = self.seq if seq is None else seq
        self.seq = number + 1
        now = datetime.now(UTC)
        stamp = f"{now:%Y%m%d-%H:%M:%S}.{now.microsecond // 1000:03d}"
        head: list[tuple[int, object]] = [(35, kind), (34, number), *self.ids, (52, stamp)]
        if dup:
            head += [(43, "Y"), (122, f"{now - timedelta(seconds=1):%Y%m%d-%H:%M:%S}")]
        return message([*head, *(body or [])], self.begin)

    def send(
        self, kind: str, body: list[tuple[int, object]] | None = None, *, seq: int | None = None, dup: bool = False
    ) -> None:
        self.sock.sendall(self.make(kind, body, seq=seq, dup=dup))

    def logon(self, *more: tuple[int, object], seq: int | None = None) -> dict[int, str]:
        self.send("A", [(98, 0), (108, 30), *more], seq=seq)
        answer = self.receive()
        assert answer[35] == "A", answer
        return answer

    def order(self, name: object, *, text: str | None = None) -> None:
        now = f"{datetime.now(UTC):%Y%m%d-%H:%M:%S}"
        fields: list[tuple[int, object]] = [(11, name), (55, "KO"), (54, 1), (60, now), (38, 100), (40, 1)]
        self.send("D", fields + ([(58, text)] if text else []))

    def receive(self) -> dict[int, str]:
        """The next message: first value of each tag. EOFError when the connection ends."""
        while True:
            at = self.buffer.find(b"\x0110=")
            end = self.buffer.find(SOH, at + 1) if at >= 0 else -1
            if end >= 0:
                raw, self.buffer = self.buffer[: end + 1], self.buffer[end + 1 :]
                self.last = raw
                pairs = (field.split(b"=", 1) for field in raw.split(SOH) if field)
                found: dict[int, str] = {}
                for tag, value in pairs:
                    if tag.isdigit():  # else it is inside a data field
                        found.setdefault(int(tag), value.decode("latin-1"))
                return found
            data = self.sock.recv(65_536)
            if not data:
                raise EOFError(self.buffer)
            self.buffer += data

    def closed(self, within: float = 10.0) -> bool:
        """Whether the other side closes; what it says before is thrown away."""
        self.sock.settimeout(within)
        end = time.monotonic() + within
        try:
            while time.monotonic() < end:
                if not self.sock.recv(65_536):
                    return True
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return False

    def close(self) -> None:
        self.sock.close()
