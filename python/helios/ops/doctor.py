"""`helios doctor`: is this machine fit to trade from, and what mends it.

Reads only; the one thing written is a file without a name, to time an fsync, gone when the check ends. Works without
privileges and in containers: what cannot be read is `cannot tell`. Thresholds stand in the modules of the checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from helios.ops import clocks, cores, memory, network
from helios.ops.findings import Check, Finding, Status, Wanted
from helios.ops.machine import Machine

#: In the order of the way from packet to order, and what is under it.
CHECKS: Final[tuple[Check, ...]] = (
    cores.virtual,
    cores.kernel,
    cores.governor,
    cores.idle,
    cores.siblings,
    cores.isolation,
    network.interrupts,
    network.rings,
    network.coalescing,
    network.offloads,
    network.busy_poll,
    network.buffers,
    cores.counter,
    cores.source,
    clocks.synchronisation,
    memory.huge_pages,
    memory.numa_balancing,
    memory.swap,
    memory.memlock,
    memory.nofile,
    memory.rtprio,
    memory.disk,
)


def examine(machine: Machine, wanted: Wanted) -> list[Finding]:
    """All checks, one finding each."""
    return [check(machine, wanted) for check in CHECKS]


def summary(findings: Iterable[Finding]) -> dict[str, Any]:
    """For JSON."""
    rows = list(findings)
    counts = {str(status): sum(row.status is status for row in rows) for status in Status}
    return {"counts": counts, "findings": [row.as_dict() for row in rows]}


_COLOURS: Final = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.UNKNOWN: "dim"}


def print_findings(findings: Iterable[Finding], console: Any) -> None:
    """What is as it should be in one line each; what is not with its reason and the command that mends it."""
    from rich.markup import escape

    rows = list(findings)
    width, told = max(len(row.name) for row in rows), set[str]()
    for row in rows:
        head = f"[{_COLOURS[row.status]}]{row.status:<11}[/] {row.name:<{width}}  {escape(row.read)}"
        console.print(head, highlight=False, soft_wrap=True)
        if row.status is not Status.OK:
            for line in _below(row, told):
                console.print(f"{'':>{width + 14}}{line}", highlight=False, soft_wrap=True)
    counts = summary(rows)["counts"]
    console.print(", ".join(f"{count} {status}" for status, count in counts.items() if count), highlight=False)


def _below(row: Finding, told: set[str]) -> Iterator[str]:
    """Reason, command and advice; what one command mends in several rows is told once."""
    from rich.markup import escape

    if row.status is not Status.UNKNOWN:
        yield f"[dim]{escape(row.why)}[/]"
    for what in filter(None, [row.mend and f"$ {row.mend}", row.advice]):
        if row.status is not Status.UNKNOWN or what not in told:
            yield escape(what)
        told.add(what)
