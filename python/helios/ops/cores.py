"""Checks of the processor: speed, sleep, neighbours, and who else may run on the run's cores.

Sources: kernel documentation (admin-guide/kernel-parameters, pm/cpufreq, pm/cpuidle, timers/no_hz).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from helios.ops.findings import FAIL, OK, UNKNOWN, WARN, Finding, Wanted
from helios.ops.machine import Machine, cores_of, parse_cores, show_cores

_CPU: Final = "/sys/devices/system/cpu"
#: A sleep from which waking takes longer costs more than the whole way of a packet.
_LONGEST_WAKE_US: Final = 10
_OLDEST_KERNEL: Final = (5, 11)


def kernel(machine: Machine, _: Wanted) -> Finding:
    """Version and preemption."""
    name, why = "kernel", "since 5.11 a socket can be told to prefer busy polling; a real-time kernel has a longer path"
    text = machine.read("/proc/version")
    found = re.search(r"version (\d+)\.(\d+)\S*", text or "")
    if text is None or found is None:
        return Finding(name, UNKNOWN, "no /proc/version", why)
    model = re.search(r"PREEMPT\w*", text)
    read = f"{found[0].removeprefix('version ')}, {model[0] if model else 'no preemption'}"
    if (int(found[1]), int(found[2])) < _OLDEST_KERNEL:
        return Finding(name, WARN, read, why, advice="install a newer kernel from your distribution")
    if model and model[0] == "PREEMPT_RT":
        return Finding(
            name, WARN, read, why, advice="boot the distribution's ordinary kernel; pin and isolate cores instead"
        )
    return Finding(name, OK, read, why)


def virtual(machine: Machine, _: Wanted) -> Finding:
    """Whether a hypervisor is below us."""
    name, why = "bare metal", "a host moves and stops our cores without asking: no tail latency can be promised on it"
    flags = _flags(machine)
    if not flags:
        return Finding(name, UNKNOWN, "no processor flags in /proc/cpuinfo", why)
    if "hypervisor" in flags:
        return Finding(name, WARN, "a virtual machine", why, advice="trade from a machine of your own")
    return Finding(name, OK, "no hypervisor", why)


def governor(machine: Machine, _: Wanted) -> Finding:
    """Whether cores keep their speed."""
    name, why = "governor", "a core that waited runs slowly at first: the packet after a pause pays for it"
    found = Counter[str]()
    for core in cores_of(machine):
        text = machine.read(f"{_CPU}/cpu{core}/cpufreq/scaling_governor")
        if text is not None:
            found[text] += 1
    if not found:
        return Finding(name, UNKNOWN, "no cpufreq here: the host or the firmware decides", why)
    read = ", ".join(f"{governor} on {count} cores" for governor, count in sorted(found.items()))
    if set(found) == {"performance"}:
        return Finding(name, OK, read, why)
    return Finding(name, WARN, read, why, "sudo cpupower frequency-set -g performance")


def idle(machine: Machine, wanted: Wanted) -> Finding:
    """How deeply cores sleep."""
    name, why = "C-states", "waking from a deep sleep takes longer than the whole way from packet to order"
    deepest: tuple[int, str] | None = None
    for core in wanted.cores or cores_of(machine):
        for state in machine.names(f"{_CPU}/cpu{core}/cpuidle"):
            place = f"{_CPU}/cpu{core}/cpuidle/{state}"
            latency = machine.number(f"{place}/latency")
            if latency is None or machine.number(f"{place}/disable") == 1:
                continue
            deepest = max(deepest or (-1, ""), (latency, machine.read(f"{place}/name") or state))
    if deepest is None:
        return Finding(name, UNKNOWN, "no idle states here: the host decides", why)
    read = f"deepest enabled {deepest[1]}, {deepest[0]} us to wake"
    if deepest[0] <= _LONGEST_WAKE_US:
        return Finding(name, OK, read, why)
    return Finding(name, WARN, read, why, f"sudo cpupower idle-set -D {_LONGEST_WAKE_US}")


def siblings(machine: Machine, wanted: Wanted) -> Finding:
    """Whether a core of ours is shared by two threads."""
    name, why = "SMT siblings", "two threads of one core share its caches and units: a neighbour doubles the tail"
    shared = {}
    for core in cores_of(machine):
        text = machine.read(f"{_CPU}/cpu{core}/topology/thread_siblings_list")
        if text is not None:
            shared[core] = parse_cores(text)
    if not shared:
        return Finding(name, UNKNOWN, "no topology here", why)
    kept = _isolated(machine)
    # Where no cores were named, the isolated ones are those that matter.
    ours = set(wanted.cores) or kept or set(shared)
    exposed = {core for core in ours if len(shared.get(core, ())) > 1 and not shared[core] <= kept}
    if not exposed:
        return Finding(name, OK, f"none beside core {show_cores(ours)}", why)
    read = f"core {show_cores(exposed)} shares with {show_cores(set().union(*(shared[c] for c in exposed)) - exposed)}"
    if show_cores(exposed) == show_cores(set().union(*(shared[c] for c in exposed))):
        read = f"core {show_cores(exposed)}: two threads each"
    return Finding(name, WARN, read, why, f"echo off | sudo tee {_CPU}/smt/control")


def isolation(machine: Machine, wanted: Wanted) -> Finding:
    """Whether the scheduler, its tick and RCU callbacks keep off the run's cores."""
    name, why = "isolated cores", "on a core that is not isolated, other work and 250-1000 ticks a second interrupt us"
    line = machine.read("/proc/cmdline")
    if line is None:
        return Finding(name, UNKNOWN, "no /proc/cmdline", why)
    found = {
        "isolcpus": _isolated(machine),
        "nohz_full": parse_cores(machine.read(f"{_CPU}/nohz_full") or "") | _on_command_line(line, "nohz_full"),
        "rcu_nocbs": _on_command_line(line, "rcu_nocbs"),
    }
    cores = cores_of(machine)
    # Leave the first core to the system; on two cores there is only one to keep.
    ours = set(wanted.cores) or found["isolcpus"] or set(cores[-max(1, len(cores) // 2) :])
    missing = [key for key, kept in found.items() if not ours <= kept]
    read = ", ".join(f"{key} {show_cores(kept) or 'none'}" for key, kept in found.items())
    if not missing:
        return Finding(name, OK, read, why)
    if len(cores) < 2:
        return Finding(name, WARN, read, why, advice="use a machine with more than one core")
    words = " ".join(f"{key}={show_cores(ours)}" for key in missing)
    grub = f"sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{words} /' /etc/default/grub && sudo update-grub"
    return Finding(name, WARN, read, why, grub, advice="then reboot")


def counter(machine: Machine, _: Wanted) -> Finding:
    """Whether the time-stamp counter can be a clock."""
    name, why = "time-stamp counter", "stages are timed by it: it must run at one speed in every state of the core"
    flags = _flags(machine)
    if not flags:
        return Finding(name, UNKNOWN, "no processor flags in /proc/cpuinfo", why)
    missing = [flag for flag in ("constant_tsc", "nonstop_tsc") if flag not in flags]
    if missing:
        return Finding(name, WARN, f"{', '.join(missing)} missing", why, advice="use a processor with an invariant one")
    return Finding(name, OK, "constant_tsc, nonstop_tsc", why)


def source(machine: Machine, _: Wanted) -> Finding:
    """By what the kernel tells the time."""
    name, why = "clock source", "every packet is stamped: hpet and acpi_pm take a microsecond, tsc 20 ns"
    place = "/sys/devices/system/clocksource/clocksource0"
    current, there = machine.read(f"{place}/current_clocksource"), machine.read(f"{place}/available_clocksource")
    if current is None:
        return Finding(name, UNKNOWN, "no clocksource0", why)
    if current in ("tsc", "arch_sys_counter"):
        return Finding(name, OK, current, why)
    read = f"{current} (available: {there})"
    if "tsc" in (there or "").split():
        return Finding(name, WARN, read, why, f"echo tsc | sudo tee {place}/current_clocksource")
    advice = "boot with tsc=reliable if the machine's counter is invariant"
    return Finding(name, WARN if current == "kvm-clock" else FAIL, read, why, advice=advice)


def _flags(machine: Machine) -> set[str]:
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", machine.read("/proc/cpuinfo") or "", re.MULTILINE)
    return set(found[1].split()) if found else set()


def _isolated(machine: Machine) -> set[int]:
    return parse_cores(machine.read(f"{_CPU}/isolated") or "") | _on_command_line(
        machine.read("/proc/cmdline") or "", "isolcpus"
    )


def _on_command_line(line: str, key: str) -> set[int]:
    found = re.search(rf"(?:^|\s){key}=(\S+)", line)
    return parse_cores(found[1]) if found else set()
