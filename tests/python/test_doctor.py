"""`helios doctor` over text copies of machines (tests/machines), and over this one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from helios.cli import app
from helios.ops.doctor import CHECKS, examine, print_findings, summary
from helios.ops.findings import Finding, Status, Wanted
from helios.ops.machine import ClockState, Disk, Machine, parse_cores, show_cores
from rich.console import Console
from typer.testing import CliRunner

MACHINES = Path(__file__).parents[1] / "machines"


class TextMachine(Machine):
    """A machine out of a text file: `== FILE`, `-> LINK TARGET`, `$ COMMAND`, `clock`, `disk`."""

    def __init__(self, text: str, root: Path) -> None:
        super().__init__(root)
        self._commands: dict[str, str] = {}
        self._clock: ClockState | None = None
        self._disk: Disk | None = None
        lines: list[str] = []
        for line in text.splitlines()[1:]:
            mark, _, rest = line.partition(" ")
            if mark in ("==", "$"):
                lines = []
                if mark == "$":
                    self._commands[rest] = ""
                last = (mark, rest)
            elif mark == "->":
                link, target = (self.path(word) for word in rest.split())
                link.parent.mkdir(parents=True, exist_ok=True)
                target.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target)
            elif mark == "clock":
                state, offset, error = rest.split()
                self._clock = ClockState(state == "synchronised", int(offset), int(error))
            elif mark == "disk":
                kind, free, *times = rest.split()
                self._disk = Disk(int(free), kind, [int(time) for time in times])
            else:
                lines.append(line)
                if last[0] == "$":
                    self._commands[last[1]] = "\n".join(lines)
                else:
                    file = self.path(last[1])
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text("\n".join(lines) + "\n")

    def command(self, *words: str) -> str | None:
        return self._commands.get(" ".join(words))

    def clock(self) -> ClockState | None:
        return self._clock

    def disk(self, folder: Path) -> Disk | None:
        return self._disk


def found(name: str, root: Path, wanted: Wanted | None = None) -> dict[str, Finding]:
    machine = TextMachine((MACHINES / f"{name}.txt").read_text(), root)
    return {finding.name: finding for finding in examine(machine, wanted or Wanted())}


def test_a_good_machine_has_nothing_to_mend(tmp_path: Path) -> None:
    findings = found("good", tmp_path, Wanted(cores=(4, 5)))
    assert {name: finding.read for name, finding in findings.items() if finding.status is not Status.OK} == {}
    assert findings["isolated cores"].read == "isolcpus 4-7, nohz_full 4-7, rcu_nocbs 4-7"
    assert findings["clock synchronisation"].read == "chrony: +2.1 us from UTC, stratum 2"
    assert findings["NIC interrupts"].read == "on core 1-2, ours are 4-5"
    assert findings["C-states"].read == "deepest enabled C1, 2 us to wake"
    assert findings["journal's disk"].read == ".: ext4, 400.0 GB free, fsync 0.20 ms, slowest of 3 0.31 ms"


BAD = {
    "bare metal": ("warn", "a virtual machine", None),
    "kernel": ("warn", "5.4.0-42-generic, no preemption", None),
    "governor": ("warn", "performance on 1 cores, powersave on 2 cores", "sudo cpupower frequency-set -g performance"),
    "C-states": ("warn", "deepest enabled C8, 600 us to wake", "sudo cpupower idle-set -D 10"),
    "SMT siblings": (
        "warn",
        "core 2 shares with 0",
        "echo off | sudo tee /sys/devices/system/cpu/smt/control",
    ),
    "isolated cores": (
        "warn",
        "isolcpus none, nohz_full none, rcu_nocbs none",
        "sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&isolcpus=2 nohz_full=2 rcu_nocbs=2 /' /etc/default/grub"
        " && sudo update-grub",
    ),
    "NIC interrupts": ("warn", "on core 0-3, irqbalance runs", "sudo systemctl disable --now irqbalance"),
    "NIC rings": ("warn", "eth0: RX 256 of 4096", "sudo ethtool -G eth0 rx 4096"),
    "NIC coalescing": ("warn", "eth0: rx-usecs 3, adaptive", "sudo ethtool -C eth0 adaptive-rx off rx-usecs 0"),
    "NIC offloads": ("warn", "eth0: gro on", "sudo ethtool -K eth0 gro off"),
    "busy polling": (
        "warn",
        "net.core.busy_poll 0, busy_read 0",
        "sudo sysctl -w net.core.busy_poll=50 net.core.busy_read=50",
    ),
    "socket buffers": (
        "warn",
        "rmem_max 212,992, wmem_max 212,992, netdev_max_backlog 1,000",
        "sudo sysctl -w net.core.rmem_max=16777216 net.core.wmem_max=4194304 net.core.netdev_max_backlog=10000",
    ),
    "time-stamp counter": ("warn", "constant_tsc, nonstop_tsc missing", None),
    "clock source": ("fail", "hpet (available: hpet acpi_pm)", None),
    "clock synchronisation": (
        "fail",
        "the kernel's clock is not synchronised, no daemon is seen",
        "sudo apt-get install chrony && sudo systemctl enable --now chrony",
    ),
    "huge pages": (
        "warn",
        "transparent always, defrag always, 0 set aside",
        "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
    ),
    "NUMA balancing": ("warn", "on", "sudo sysctl -w kernel.numa_balancing=0"),
    "swap": ("warn", "/swapfile", "sudo swapoff -a"),
    "memlock": ("warn", "0 MB", "echo '* - memlock unlimited' | sudo tee -a /etc/security/limits.d/helios.conf"),
    "nofile": ("warn", "1024 (at most 1048576)", "ulimit -n 4096"),
    "rtprio": ("warn", "0", "echo '* - rtprio 99' | sudo tee -a /etc/security/limits.d/helios.conf"),
    "journal's disk": ("fail", "runs: tmpfs, 0.9 GB free, fsync 0.00 ms, slowest of 1 0.00 ms", None),
}


def test_a_bad_machine_is_told_what_mends_it(tmp_path: Path) -> None:
    findings = found("bad", tmp_path, Wanted(cores=(2,), folder=Path("runs")))
    assert {name: (str(f.status), f.read, f.mend) for name, f in findings.items()} == BAD
    assert all(finding.mend or finding.advice for finding in findings.values())


def test_commands_that_mend_are_commands_of_a_shell(tmp_path: Path) -> None:
    for finding in found("bad", tmp_path, Wanted(cores=(2,))).values():
        if finding.mend is not None:
            assert subprocess.run(["bash", "-n", "-c", finding.mend]).returncode == 0, finding.mend


def test_in_a_container_hardly_anything_can_be_told(tmp_path: Path) -> None:
    findings = found("container", tmp_path)
    told = {name: str(finding.status) for name, finding in findings.items() if finding.status is not Status.UNKNOWN}
    assert told == {"kernel": "ok", "swap": "ok", "journal's disk": "warn"}


def test_nothing_at_all_can_be_told_of_an_empty_root(tmp_path: Path) -> None:
    findings = examine(TextMachine("nothing", tmp_path), Wanted())
    assert {finding.status for finding in findings} == {Status.UNKNOWN}
    assert len(findings) == len(CHECKS)


@pytest.mark.parametrize(
    ("edit", "name", "status"),
    [
        (("nohz_full=4-7", "nohz_full=6-7"), "isolated cores", "ok"),  # /sys knows better than the command line
        (("rcu_nocbs=4-7", "rcu_nocbs=6-7"), "isolated cores", "warn"),
        (("[madvise] never\n== /proc/meminfo", "madvise never\n== /proc/meminfo"), "huge pages", "ok"),
        (("0.000002100", "0.000250000"), "clock synchronisation", "warn"),
        (("0.000002100", "-0.000250000"), "clock synchronisation", "warn"),
        (("0.000002100", "not a number"), "clock synchronisation", "ok"),  # the kernel's own state
        (("time.example.net,2,", "time.example.net,0,"), "clock synchronisation", "ok"),
        (("rx-usecs: 0", "rx-usecs: 8"), "NIC coalescing", "warn"),
        (("\ntsc\n", "\nkvm-clock\n"), "clock source", "warn"),
        (("PREEMPT_DYNAMIC", "PREEMPT_RT"), "kernel", "warn"),
        (("disk ext4 400000000000", "disk ext4 4000000000"), "journal's disk", "warn"),
        (("disk ext4", "disk nfs4"), "journal's disk", "fail"),
        (("180000 200000 310000", "180000 200000 9310000"), "journal's disk", "warn"),
        (("disk ext4 400000000000 180000 200000 310000", "disk ext4 400000000000"), "journal's disk", "cannot tell"),
        (("chronyd", "irqbalance"), "NIC interrupts", "warn"),
        (("\n1\n== /proc/irq/121", "\n4\n== /proc/irq/121"), "NIC interrupts", "warn"),
    ],
)
def test_one_thing_changed(edit: tuple[str, str], name: str, status: str, tmp_path: Path) -> None:
    text = (MACHINES / "good.txt").read_text()
    assert edit[0] in text
    findings = examine(TextMachine(text.replace(*edit, 1), tmp_path), Wanted(cores=(4, 5)))
    assert {f.name: str(f.status) for f in findings if f.status is not Status.OK} == (
        {} if status == "ok" else {name: status}
    )


def test_interrupts_of_our_cores_are_moved_to_the_others(tmp_path: Path) -> None:
    finding = found("good", tmp_path, Wanted(cores=(1,)))["NIC interrupts"]
    want = "for i in 120; do echo 0,2-7 | sudo tee /proc/irq/$i/smp_affinity_list; done"
    assert (finding.status, finding.mend) == (Status.WARN, want)


def test_text_says_what_json_says(tmp_path: Path) -> None:
    findings = list(found("bad", tmp_path, Wanted(cores=(2,))).values())
    console = Console(width=10_000, record=True, file=(tmp_path / "out").open("w"))
    print_findings(findings, console)
    text, told = console.export_text(), summary(findings)
    assert told["counts"] == {"ok": 0, "warn": 19, "fail": 3, "cannot tell": 0}
    assert text.splitlines()[-1] == "19 warn, 3 fail"
    for row in told["findings"]:
        assert all(row[key] is None or row[key] in text for key in ("name", "read", "why", "mend", "advice"))


def test_this_machine_is_examined_without_any_change(tmp_path: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(app, ["doctor", "--json", "--directory", str(tmp_path)], catch_exceptions=False)
    told = json.loads(result.stdout)
    assert len(told["findings"]) == len(CHECKS)
    assert result.exit_code == (1 if told["counts"]["fail"] else 0)
    assert list(tmp_path.iterdir()) == []


def test_cores_must_be_numbers() -> None:
    result = CliRunner().invoke(app, ["doctor", "--cores", "all"])
    assert "write core numbers" in str(result.exception)


@pytest.mark.parametrize(
    ("text", "cores"), [("0-3,8", {0, 1, 2, 3, 8}), ("domain,managed_irq,2-3", {2, 3}), ("", set())]
)
def test_lists_of_cores(text: str, cores: set[int]) -> None:
    assert parse_cores(text) == cores
    assert parse_cores(show_cores(cores)) == cores


def test_a_list_of_cores_that_is_too_long_is_cut() -> None:
    assert len(parse_cores("0-99999999999")) == 8_193
