"""The check of the clock: by the kernel's own state, and by the daemon that keeps it, where one answers."""

from __future__ import annotations

from typing import Final

from helios.ops.findings import FAIL, OK, UNKNOWN, WARN, Finding, Wanted
from helios.ops.machine import Machine

#: What regulation asks of high-frequency traders in Europe: 100 us from UTC (Delegated Regulation (EU) 2017/574).
_MOST_OFFSET_NS: Final = 100_000
_DAEMONS: Final = ("chronyd", "ptp4l", "phc2sys", "ntpd", "systemd-timesyncd")
_MEND: Final = "sudo apt-get install chrony && sudo systemctl enable --now chrony"


def synchronisation(machine: Machine, _: Wanted) -> Finding:
    """Whether the clock is UTC, and how nearly."""
    name, why = "clock synchronisation", "stamps of packets, the day's limits and sessions' schedules are by this clock"
    runs = [daemon for daemon in _DAEMONS if machine.running(daemon[:15])]
    kept = f"kept by {', '.join(runs)}" if runs else "no daemon is seen"
    tracked, state = _chrony(machine), machine.clock()
    if tracked is not None:
        offset_ns, stratum = tracked
        read = f"chrony: {offset_ns / 1e3:+.1f} us from UTC, stratum {stratum}"
    elif state is not None and state.synchronised:
        offset_ns = state.offset_ns
        read = f"kernel: {offset_ns / 1e3:+.1f} us to go, error below {state.max_error_ns / 1e6:.1f} ms, {kept}"
    elif state is not None:
        return Finding(name, FAIL, f"the kernel's clock is not synchronised, {kept}", why, _MEND)
    else:
        return _timedatectl(machine, name, why, kept)
    if abs(offset_ns) <= _MOST_OFFSET_NS:
        return Finding(name, OK, read, why)
    mend = "sudo chronyc makestep, and a nearer source in /etc/chrony/chrony.conf" if tracked else _MEND
    return Finding(name, WARN, read, why, mend)


def _timedatectl(machine: Machine, name: str, why: str, kept: str) -> Finding:
    answer = machine.command("timedatectl", "show", "--property", "NTPSynchronized", "--value")
    if answer is None:
        return Finding(name, UNKNOWN, f"{kept}; the kernel does not tell", why, _MEND)
    synchronised = answer.strip() == "yes"
    read = f"timedatectl: synchronised {answer.strip()}, {kept}"
    return Finding(name, OK if synchronised else FAIL, read, why, None if synchronised else _MEND)


def _chrony(machine: Machine) -> tuple[float, int] | None:
    """Offset and stratum out of `chronyc -c tracking`; None where it does not answer or follows nothing."""
    fields = (machine.command("chronyc", "-c", "tracking") or "").strip().split(",")
    try:
        stratum, offset_ns = int(fields[2]), float(fields[4]) * 1e9
    except (IndexError, ValueError):
        return None
    return None if stratum == 0 else (offset_ns, stratum)
