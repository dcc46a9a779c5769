"""Checks of memory, limits and the journal's disk."""

from __future__ import annotations

import re
from typing import Final

from helios.ops.findings import FAIL, OK, UNKNOWN, WARN, Finding, Wanted
from helios.ops.machine import Machine

_GB: Final = 1_000_000_000
_LEAST_FREE, _ENOUGH_FREE = 1 * _GB, 20 * _GB
_SLOW_FSYNC_NS: Final = 5_000_000
_ENOUGH_MEMLOCK: Final = 1 * _GB
_ENOUGH_FILES: Final = 4_096
#: Filesystems that a reboot empties.
_FLEETING: Final = ("tmpfs", "ramfs")
_REMOTE: Final = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p")
_LIMITS_FILE: Final = "/etc/security/limits.d/helios.conf"


def huge_pages(machine: Machine, _: Wanted) -> Finding:
    """Transparent huge pages, and those set aside."""
    name = "huge pages"
    why = "with `always` the kernel stops a thread to gather pages; set aside or asked for, they save TLB misses"
    place = "/sys/kernel/mm/transparent_hugepage"
    enabled, defrag = _chosen(machine.read(f"{place}/enabled")), _chosen(machine.read(f"{place}/defrag"))
    aside = re.search(r"HugePages_Total:\s*(\d+)", machine.read("/proc/meminfo") or "")
    if enabled is None:
        return Finding(name, UNKNOWN, "no transparent_hugepage here", why)
    read = f"transparent {enabled}, defrag {defrag or 'unknown'}, {aside[1] if aside else 'unknown'} set aside"
    if enabled == "always":
        return Finding(name, WARN, read, why, f"echo madvise | sudo tee {place}/enabled")
    if defrag == "always":
        return Finding(name, WARN, read, why, f"echo madvise | sudo tee {place}/defrag")
    return Finding(name, OK, read, why)


def numa_balancing(machine: Machine, _: Wanted) -> Finding:
    """Whether the kernel moves pages between nodes."""
    name, why = "NUMA balancing", "the kernel unmaps pages to see who uses them: each costs a fault on the hot path"
    value = machine.number("/proc/sys/kernel/numa_balancing")
    if value is None:
        return Finding(name, UNKNOWN, "no such setting: one node, or a container", why)
    if value == 0:
        return Finding(name, OK, "off", why)
    return Finding(name, WARN, "on", why, "sudo sysctl -w kernel.numa_balancing=0")


def swap(machine: Machine, _: Wanted) -> Finding:
    """Whether memory can be written out."""
    name, why = "swap", "a page that was written out takes milliseconds to come back"
    text = machine.read("/proc/swaps")
    if text is None:
        return Finding(name, UNKNOWN, "no /proc/swaps", why)
    areas = [line.split()[0] for line in text.splitlines()[1:] if line.strip()]
    if areas:
        return Finding(name, WARN, ", ".join(areas), why, "sudo swapoff -a")
    return Finding(name, OK, "none", why)


def memlock(machine: Machine, _: Wanted) -> Finding:
    """How much memory may be locked."""
    why = "the journal's next pages and huge pages can be locked only within this limit"
    return _limit(machine, "memlock", "Max locked memory", _ENOUGH_MEMLOCK, why, "unlimited")


def nofile(machine: Machine, _: Wanted) -> Finding:
    """How many files and sockets may be open."""
    why = "each session, line, listener and journal window is an open file: at the limit a reconnect fails"
    return _limit(machine, "nofile", "Max open files", _ENOUGH_FILES, why, "65536")


def rtprio(machine: Machine, _: Wanted) -> Finding:
    """Whether a thread may ask for real-time priority."""
    why = "without it a thread of ours cannot be put before the others of its core"
    return _limit(machine, "rtprio", "Max realtime priority", 1, why, "99")


def _limit(machine: Machine, name: str, label: str, enough: int, why: str, want: str) -> Finding:
    found = re.search(rf"^{label}\s+(\S+)\s+(\S+)", machine.read("/proc/self/limits") or "", re.MULTILINE)
    if found is None:
        return Finding(name, UNKNOWN, "not in /proc/self/limits", why)
    soft, hard = found[1], found[2]
    shown = [_megabytes(text) if name == "memlock" else text for text in (soft, hard)]
    read = shown[0] if soft == hard else f"{shown[0]} (at most {shown[1]})"
    if soft == "unlimited" or int(soft) >= enough:
        return Finding(name, OK, read, why)
    if name == "nofile" and (hard == "unlimited" or int(hard) >= enough):
        return Finding(name, WARN, read, why, f"ulimit -n {enough}", "in the shell that starts the run")
    mend = f"echo '* - {name} {want}' | sudo tee -a {_LIMITS_FILE}"
    return Finding(name, WARN, read, why, mend, "then log in again")


def _megabytes(text: str) -> str:
    return text if text == "unlimited" else f"{int(text) / 1e6:,.0f} MB"


def disk(machine: Machine, wanted: Wanted) -> Finding:
    """Room for the journal, and how long a page takes to be safe on disk."""
    name = "journal's disk"
    why = 'a full disk stops the run; with durability "disk" every batch of orders waits for one fsync'
    found = machine.disk(wanted.folder)
    if found is None:
        return Finding(name, UNKNOWN, f"{wanted.folder}: cannot be looked at", why)
    read = f"{wanted.folder}: {found.kind}, {found.free_bytes / _GB:,.1f} GB free"
    times = found.fsync_ns
    if times:
        read += f", fsync {times[len(times) // 2] / 1e6:.2f} ms, slowest of {len(times)} {times[-1] / 1e6:.2f} ms"
    else:
        read += ", fsync not timed: nothing may be written there"
    if found.free_bytes < _LEAST_FREE:
        return Finding(
            name, FAIL, read, why, advice="move old run folders away, or set live.directory to a larger disk"
        )
    if found.kind in _FLEETING:
        return Finding(name, FAIL, read, why, advice="set live.directory to a disk: a reboot empties this filesystem")
    if found.kind in _REMOTE:
        return Finding(
            name, FAIL, read, why, advice="set live.directory to a local disk: a mapped file over a network can stall"
        )
    if found.kind == "overlay":
        return Finding(name, WARN, read, why, advice="mount a volume for live.directory: this goes with the container")
    if found.free_bytes < _ENOUGH_FREE:
        return Finding(
            name, WARN, read, why, advice="move old run folders away, or set live.directory to a larger disk"
        )
    if not times:
        return Finding(name, UNKNOWN, read, why, advice="run doctor as the user who will trade")
    if times[-1] > _SLOW_FSYNC_NS:
        advice = 'use a disk with power-loss protection, or durability "replica" in place of "disk"'
        return Finding(name, WARN, read, why, advice=advice)
    return Finding(name, OK, read, why)


def _chosen(text: str | None) -> str | None:
    """`always [madvise] never`: the one in brackets."""
    found = re.search(r"\[(\w+)\]", text or "")
    return found[1] if found else text
