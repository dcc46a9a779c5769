"""A small market at the other end of real sockets: ITCH 5.0 in MoldUDP64 out, OUCH 5.0 in SoupBinTCP in."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _head(kind: bytes, locate: int, ns: int) -> bytes:
    return kind + struct.pack(">HH", locate, 0) + ns.to_bytes(6, "big")


def directory(locate: int, stock: str, ns: int = 1) -> list[bytes]:
    """A stock is listed, and trades."""
    name = stock.encode().ljust(8)
    listed = (
        _head(b"R", locate, ns) + name + b"QN" + struct.pack(">I", 100) + b"NC" + b"Z " + b"PNN1N" + bytes(4) + b"N"
    )
    return [listed, _head(b"H", locate, ns) + name + b"T " + b"    "]


def add(locate: int, stock: str, ns: int, order: int, side: str, shares: int, price: float) -> bytes:
    """An order joins the book."""
    body = struct.pack(">Q", order) + side.encode() + struct.pack(">I", shares) + stock.encode().ljust(8)
    return _head(b"A", locate, ns) + body + struct.pack(">I", round(price * 10_000))


class Feed:
    """One line of market data."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._next = 1

    def send(self, messages: Sequence[bytes]) -> None:
        """One packet."""
        packet = b"TESTDAY001" + struct.pack(">QH", self._next, len(messages))
        packet += b"".join(struct.pack(">H", len(message)) + message for message in messages)
        self._next += len(messages)
        self._socket.send(packet)

    def close(self) -> None:
        self._socket.close()


class Venue:
    """Takes one session after another, and tells again what a login asks for; fills every order whole at its limit."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.orders: list[dict[str, int | str]] = []
        self.logins = 0
        self._said: list[bytes] = []
        self.left = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._session(connection)

    def _session(self, connection: socket.socket) -> None:
        got = b""

        def send(kind: bytes, payload: bytes) -> None:
            connection.sendall(struct.pack(">H", len(payload) + 1) + kind + payload)

        while True:
            while len(got) < 2 or len(got) < 2 + struct.unpack(">H", got[:2])[0]:
                more = connection.recv(4096)
                if not more:
                    return
                got += more
            length = struct.unpack(">H", got[:2])[0]
            kind, payload, got = got[2:3], got[3 : 2 + length], got[2 + length :]
            if kind == b"L":
                self.logins += 1
                first = min(int(payload[26:46]), len(self._said) + 1)
                send(b"A", b"TESTDAY001" + str(first).encode().rjust(20))
                for said in self._said[first - 1 :]:
                    send(b"S", said)
            elif kind == b"O":
                self.left.set()
                return
            elif kind == b"U":
                for answer in self._answers(payload):
                    self._said.append(answer)
                    send(b"S", answer)
                send(b"H", b"")

    def _answers(self, message: bytes) -> list[bytes]:
        ts = struct.pack(">Q", 1_000)
        if message[:1] == b"Q":
            return [b"Q" + ts + struct.pack(">I", 1)]
        if message[:1] != b"O":
            return []
        reference, side, shares = struct.unpack(">IcI", message[1:10])
        symbol, price = message[10:18].decode().strip(), struct.unpack(">Q", message[18:26])[0]
        self.orders.append({"side": side.decode(), "shares": shares, "symbol": symbol, "price": price})
        accepted = b"A" + ts + message[1:28] + struct.pack(">Q", 77) + message[28:31] + b"L" + message[31:45] + bytes(2)
        executed = b"E" + ts + message[1:5] + struct.pack(">IQcQ", shares, price, b"R", 500 + reference) + bytes(2)
        return [accepted, executed]
