"""A process that wants a lease, and writes down each claim before it would be used: epoch, from, until.

python lease_holder.py FILE NAME VALIDITY_NS      (the server's connection string is in LEASE_SERVER)
"""

from __future__ import annotations

import os
import signal
import sys
import time

from helios.live.lease import Lease
from helios.live.secrets import Secret


def main() -> None:
    path, name, validity_ns = sys.argv[1], sys.argv[2], int(sys.argv[3])
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))

    def write(*words: object) -> None:
        os.write(log, (" ".join(map(str, words)) + "\n").encode())

    lease = Lease(Secret(os.environ["LEASE_SERVER"]), name, validity_ns)
    write("waits")
    while not asked:
        claim = lease.acquire(lambda: bool(asked))
        while claim is not None and not asked and time.monotonic_ns() < claim.until_ns:
            write("claim", claim.epoch, claim.begin_ns, claim.until_ns)
            time.sleep(lease.heartbeat_s)
            claim = lease.renew() or claim
        if asked:
            write("released", time.monotonic_ns())
            lease.release()
        elif claim is not None:
            write("lost")


main()
