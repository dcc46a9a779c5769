"""One side of a FIX conversation by the `quickfix` package; run by an interpreter that has it. See test_fix_interop.

Arguments: role, port, folder, version, sender, target. Lines in: `order ID`, `numbers`, `stop`. Lines out: `ready`,
`logon`, `logout`, `sent ID`, `refused ID`, `got TYPE ID DUPLICATE`, `numbers OUT IN LOGGED_ON`. An order is answered
with an execution report.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import quickfix as fix

ROLE, PORT, FOLDER, VERSION, SENDER, TARGET = sys.argv[1:7]

SETTINGS = f"""[DEFAULT]
ConnectionType={ROLE}
StartTime=00:00:00
EndTime=00:00:00
NonStopSession=Y
HeartBtInt=30
ReconnectInterval=1
UseDataDictionary=N
FileStorePath={FOLDER}
SocketAcceptPort={PORT}
SocketReuseAddress=Y
SocketConnectHost=127.0.0.1
SocketConnectPort={PORT}
[SESSION]
BeginString={"FIXT.1.1" if VERSION.startswith("FIX.5") else VERSION}
SenderCompID={SENDER}
TargetCompID={TARGET}
"""
if VERSION.startswith("FIX.5"):
    SETTINGS += f"DefaultApplVerID={VERSION}\n"


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def get(message: fix.Message, field: fix.StringField) -> str:
    part = message.getHeader() if message.getHeader().isSetField(field) else message
    if not part.isSetField(field):
        return ""
    part.getField(field)
    return field.getString()


def message_of(kind: str, fields: dict[int, str]) -> fix.Message:
    message = fix.Message()
    message.getHeader().setField(fix.MsgType(kind))
    for tag, value in fields.items():
        message.setField(fix.StringField(tag, value))
    return message


def now() -> str:
    return time.strftime("%Y%m%d-%H:%M:%S.000", time.gmtime())


class Application(fix.Application):
    session: fix.SessionID

    def onCreate(self, session: fix.SessionID) -> None:  # noqa: N802
        self.session = session
        self.seen: set[str] = set()
        self.reports = 0

    def onLogon(self, session: fix.SessionID) -> None:  # noqa: N802
        say("logon")

    def onLogout(self, session: fix.SessionID) -> None:  # noqa: N802
        say("logout")

    def toAdmin(self, message: fix.Message, session: fix.SessionID) -> None:  # noqa: N802
        pass

    def fromAdmin(self, message: fix.Message, session: fix.SessionID) -> None:  # noqa: N802
        pass

    def toApp(self, message: fix.Message, session: fix.SessionID) -> None:  # noqa: N802
        pass

    def fromApp(self, message: fix.Message, session: fix.SessionID) -> None:  # noqa: N802
        kind = get(message, fix.StringField(35))
        duplicate = get(message, fix.StringField(43)) or "N"
        order = get(message, fix.StringField(11))
        if kind != "D":
            say("got", kind, get(message, fix.StringField(17)), duplicate)
            return
        say("got", kind, order, duplicate)
        if order in self.seen:
            return
        self.seen.add(order)
        self.reports += 1
        report = {
            37: order,
            17: f"{order}.{time.time_ns()}",
            150: "0",
            39: "0",
            11: order,
            55: "KO",
            54: "1",
            38: "100",
            151: "100",
            14: "0",
            6: "0",
        }
        if VERSION == "FIX.4.2":
            report[20] = "0"
        fix.Session.sendToTarget(message_of("8", report), session)


def order(name: str) -> fix.Message:
    return message_of("D", {11: name, 21: "1", 55: "KO", 54: "1", 60: now(), 38: "100", 40: "2", 44: "10.5"})


def main() -> None:
    path = Path(FOLDER) / "settings.cfg"
    path.write_text(SETTINGS)
    settings = fix.SessionSettings(str(path))
    application = Application()
    store = fix.FileStoreFactory(settings)
    kind = fix.SocketAcceptor if ROLE == "acceptor" else fix.SocketInitiator
    side = kind(application, store, settings)
    side.start()
    say("ready")
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        session = fix.Session.lookupSession(application.session)
        if word == "order":
            # Its session takes messages at any time, and sends them once it is logged on.
            if session.isLoggedOn() and fix.Session.sendToTarget(order(rest), application.session):
                say("sent", rest)
            else:
                say("refused", rest)
        elif word == "numbers":
            say("numbers", session.getExpectedSenderNum(), session.getExpectedTargetNum(), session.isLoggedOn())
        elif word == "stop":
            break
    side.stop()
    say("stopped")


main()
