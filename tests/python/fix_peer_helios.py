"""One side of a FIX conversation by Helios: the same arguments and lines as fix_peer_quickfix.py."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

from helios.errors import RunError
from helios.live import fix

ROLE, PORT, FOLDER, VERSION, SENDER, TARGET = sys.argv[1:7]


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Desk(fix.Application):
    def __init__(self) -> None:
        self.seen: set[str] = set()

    def on_logon(self, session: fix.Session) -> None:
        say("logon")

    def on_logout(self, session: fix.Session) -> None:
        say("logout")

    def on_message(self, session: fix.Session, message: fix.Message) -> bool:
        duplicate = "Y" if message.possible_duplicate else "N"
        if message.type == "8":
            say("got", "8", message[17], duplicate)
            return True
        if message.type != "D":
            return False
        order = message[11]
        say("got", "D", order, duplicate)
        if order in self.seen:
            return True
        self.seen.add(order)
        report: dict[int, fix.Value] = {37: order, 17: f"{order}.{time.time_ns()}", 150: "0", 39: "0", 11: order}
        if VERSION == "FIX.4.2":
            report[20] = 0
        session.send("8", report | {55: "KO", 54: "1", 38: 100, 151: 100, 14: 0, 6: 0})
        return True


def order(name: str) -> dict[int, fix.Value]:
    return {11: name, 21: "1", 55: "KO", 54: "1", 60: datetime.now(UTC), 38: 100, 40: "2", 44: 10.5}


def main() -> None:
    one = fix.SessionConfig(
        role="initiator" if ROLE == "initiator" else "acceptor",
        version=VERSION,  # type: ignore[arg-type]
        sender=SENDER,
        target=TARGET,
        connect=[f"127.0.0.1:{PORT}"] if ROLE == "initiator" else [],
        reconnect=("100ms", "400ms"),
    )
    listen = [fix.Listen(address=f"127.0.0.1:{PORT}")] if ROLE == "acceptor" else []
    engine = fix.Engine(
        fix.FixConfig(session=[one], listen=listen, store=FOLDER),
        Desk(),
        on_note=lambda note: print(note.text, file=sys.stderr, flush=True),
    )
    with engine:
        (session,) = engine.sessions.values()
        say("ready")
        for line in sys.stdin:
            word, _, rest = line.strip().partition(" ")
            if word == "order":
                try:
                    session.send("D", order(rest))
                    say("sent", rest)
                except RunError:
                    say("refused", rest)
            elif word == "numbers":
                status = session.status
                say("numbers", status.next_out, status.next_in, status.logged_on)
            elif word == "stop":
                break
    say("stopped")


main()
