"""Checks of the network: the cards' rings, coalescing, offloads and interrupts; polling; socket buffers.

What `ethtool` tells needs it installed. Loopback and interfaces without a device behind them are left out.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from helios.ops.findings import OK, UNKNOWN, WARN, Finding, Wanted
from helios.ops.machine import Machine, cores_of, parse_cores, show_cores

_NET: Final = "/sys/class/net"
#: A quarter of a second of a million small packets a second is more than any of our pauses.
_ENOUGH_RECEIVE: Final = 16 << 20
_ENOUGH_SEND: Final = 4 << 20
_ENOUGH_BACKLOG: Final = 10_000
_BUSY_POLL_US: Final = 50
_NO_ETHTOOL: Final = "ethtool is not installed, or the card does not tell"
_INSTALL: Final = "sudo apt-get install ethtool"


def rings(machine: Machine, wanted: Wanted) -> Finding:
    """Whether the cards' receive rings are as large as they can be."""
    name, why = "NIC rings", "a full receive ring drops packets of a burst before anyone sees them"
    read, mends = [], []
    for card in _cards(machine, wanted):
        text = machine.command("ethtool", "-g", card)
        most, now = _two(text, r"^RX:\s*(\d+)")
        if most is None or now is None:
            continue
        read.append(f"{card}: RX {now} of {most}")
        if now < most:
            mends.append(f"sudo ethtool -G {card} rx {most}")
    return _told(machine, wanted, name, why, read, mends)


def coalescing(machine: Machine, wanted: Wanted) -> Finding:
    """Whether the cards wait before they interrupt."""
    name, why = "NIC coalescing", "a card that waits to gather packets adds that time to each of them"
    read, mends = [], []
    for card in _cards(machine, wanted):
        text = machine.command("ethtool", "-c", card)
        waits = re.search(r"^rx-usecs:\s*(\d+)", text or "", re.MULTILINE)
        if waits is None:
            continue
        adaptive = re.search(r"^Adaptive RX:\s*on", text or "", re.MULTILINE) is not None
        read.append(f"{card}: rx-usecs {waits[1]}{', adaptive' if adaptive else ''}")
        if adaptive or int(waits[1]) > 0:
            mends.append(f"sudo ethtool -C {card} adaptive-rx off rx-usecs 0")
    return _told(machine, wanted, name, why, read, mends)


def offloads(machine: Machine, wanted: Wanted) -> Finding:
    """Whether the cards or the kernel gather packets into larger ones."""
    name, why = "NIC offloads", "receive offloads hold packets back to join them"
    read, mends = [], []
    for card in _cards(machine, wanted):
        text = machine.command("ethtool", "-k", card) or ""
        state = dict(re.findall(r"^([\w-]+):\s*(on|off)", text, re.MULTILINE))
        if not state:
            continue
        on = [short for long, short in _GATHERING if state.get(long) == "on"]
        read.append(f"{card}: {', '.join(on) or 'none'} on")
        if on:
            mends.append(f"sudo ethtool -K {card} {' '.join(f'{short} off' for short in on)}")
    return _told(machine, wanted, name, why, read, mends)


_GATHERING: Final = (("large-receive-offload", "lro"), ("generic-receive-offload", "gro"))


def interrupts(machine: Machine, wanted: Wanted) -> Finding:
    """Whether the cards interrupt the run's cores, and whether something moves interrupts about."""
    name, why = "NIC interrupts", "an interrupt on the engine's core stops it for some microseconds at every packet"
    ours = set(wanted.cores) or parse_cores(machine.read("/sys/devices/system/cpu/isolated") or "")
    found: dict[str, set[int]] = {}
    for card in _cards(machine, wanted):
        for number in _irqs(machine, card):
            text = machine.read(f"/proc/irq/{number}/effective_affinity_list") or machine.read(
                f"/proc/irq/{number}/smp_affinity_list"
            )
            if text:
                found[number] = parse_cores(text)
    if not found:
        return Finding(name, UNKNOWN, "no interrupts of a card are seen: none, or a container", why)
    read = f"on core {show_cores(set().union(*found.values()))}"
    if machine.running("irqbalance"):
        return Finding(name, WARN, f"{read}, irqbalance runs", why, "sudo systemctl disable --now irqbalance")
    if not ours:
        advice = "name them: helios doctor --cores 2,3"
        return Finding(name, UNKNOWN, f"{read}; which cores are ours is not known", why, advice=advice)
    hit = sorted((number for number, cores in found.items() if cores & ours), key=int)
    if hit:
        others = show_cores(set(cores_of(machine)) - ours) or "0"
        mend = f"for i in {' '.join(hit)}; do echo {others} | sudo tee /proc/irq/$i/smp_affinity_list; done"
        return Finding(name, WARN, f"{read}, ours are {show_cores(ours)}", why, mend)
    return Finding(name, OK, f"{read}, ours are {show_cores(ours)}", why)


def busy_poll(machine: Machine, _: Wanted) -> Finding:
    """Whether sockets may ask the card instead of waiting for its interrupt."""
    name, why = "busy polling", "a socket that polls its card saves the interrupt and the wake-up, some microseconds"
    poll, read = (machine.number(f"/proc/sys/net/core/{key}") for key in ("busy_poll", "busy_read"))
    if poll is None or read is None:
        return Finding(name, UNKNOWN, "no net.core.busy_poll here", why)
    shown = f"net.core.busy_poll {poll}, busy_read {read}"
    if poll and read:
        return Finding(name, OK, shown, why)
    mend = f"sudo sysctl -w net.core.busy_poll={_BUSY_POLL_US} net.core.busy_read={_BUSY_POLL_US}"
    return Finding(name, WARN, shown, why, mend)


def buffers(machine: Machine, _: Wanted) -> Finding:
    """How much of a burst the kernel can keep for us."""
    name, why = "socket buffers", "what arrives while we are busy waits there, or is dropped: a gap in the feed"
    wants = {
        "net.core.rmem_max": _ENOUGH_RECEIVE,
        "net.core.wmem_max": _ENOUGH_SEND,
        "net.core.netdev_max_backlog": _ENOUGH_BACKLOG,
    }
    now = {key: machine.number(f"/proc/sys/{key.replace('.', '/')}") for key in wants}
    known = {key: value for key, value in now.items() if value is not None}
    if not known:
        return Finding(name, UNKNOWN, "no net.core settings here", why)
    read = ", ".join(f"{key.removeprefix('net.core.')} {value:,}" for key, value in known.items())
    small = [f"{key}={wants[key]}" for key, value in known.items() if value < wants[key]]
    if small:
        return Finding(name, WARN, read, why, f"sudo sysctl -w {' '.join(small)}")
    return Finding(name, OK, read, why)


def _cards(machine: Machine, wanted: Wanted) -> list[str]:
    if wanted.interfaces:
        return list(wanted.interfaces)
    return [name for name in machine.names(_NET) if machine.path(f"{_NET}/{name}/device").exists()]


def _irqs(machine: Machine, card: str) -> list[str]:
    """Numbers of a card's interrupts; those of a virtio card belong to the device above it."""
    device = machine.resolved(f"{_NET}/{card}/device")
    if device is None:
        return []
    return machine.names(f"{device}/msi_irqs") or machine.names(f"{PurePosixPath(device).parent}/msi_irqs")


def _two(text: str | None, pattern: str) -> tuple[int | None, int | None]:
    """The two numbers that ethtool prints under one word: the maximum, and what is set."""
    found = [int(number) for number in re.findall(pattern, text or "", re.MULTILINE)]
    return (found[0], found[1]) if len(found) >= 2 else (None, None)


def _told(machine: Machine, wanted: Wanted, name: str, why: str, read: list[str], mends: list[str]) -> Finding:
    if not _cards(machine, wanted):
        return Finding(name, UNKNOWN, "no network card is seen", why)
    if not read:
        missing = machine.command("ethtool", "--version") is None
        return Finding(name, UNKNOWN, _NO_ETHTOOL, why, _INSTALL if missing else None)
    return Finding(name, WARN if mends else OK, "; ".join(read), why, " && ".join(mends) or None)
