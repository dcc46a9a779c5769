"""What a machine says about itself, read and never changed.

Files are read below a root that is an argument, so that tests read text copies of other machines; commands and the
kernel's clock state come from a `Machine` too, for the same reason. What cannot be read, because it is not there or not
allowed, is None: a container or a virtual machine hides much, and that is no error.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LONGEST_READ: Final = 1 << 20
_COMMAND_SECONDS: Final = 3.0
_MOST_CORES: Final = 8_192
_FSYNCS: Final = 24
_STA_UNSYNC: Final = 0x0040
_STA_NANO: Final = 0x2000
#: Commands that administrators have and users' PATH lacks.
_MORE_PATHS: Final = ("/usr/sbin", "/sbin")


@dataclass(frozen=True)
class ClockState:
    """What the kernel says of its clock: adjtimex(2) without any change."""

    synchronised: bool
    #: What is still to be corrected, and the kernel's bound of the error.
    offset_ns: int
    max_error_ns: int


@dataclass(frozen=True)
class Disk:
    """The filesystem of a folder: what is free, what it is, and how long an fsync of one page took."""

    free_bytes: int
    kind: str
    #: Sorted; empty where nothing may be written.
    fsync_ns: list[int]


class Machine:
    """The machine that we are on, or with `root` the files of another."""

    def __init__(self, root: str | Path = "/") -> None:
        self.root = Path(root)

    def path(self, place: str) -> Path:
        """Where a file of that absolute name is."""
        return self.root / place.lstrip("/")

    def read(self, place: str) -> str | None:
        """A file's text, stripped; None where it cannot be read."""
        try:
            with self.path(place).open("rb") as file:
                return file.read(_LONGEST_READ).decode("utf-8", errors="replace").strip()
        except OSError:
            return None

    def number(self, place: str) -> int | None:
        """A file that holds one number."""
        text = self.read(place)
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def names(self, place: str) -> list[str]:
        """What is in a folder, sorted; nothing where there is none."""
        try:
            return sorted(entry.name for entry in self.path(place).iterdir())
        except OSError:
            return []

    def resolved(self, place: str) -> str | None:
        """Where a link leads, as an absolute name of this machine."""
        try:
            return "/" + str(self.path(place).resolve(strict=True).relative_to(self.root.resolve()))
        except (OSError, ValueError):
            return None

    def command(self, *words: str) -> str | None:
        """What a command prints; None where it is missing, fails or takes too long. Only such that change nothing."""
        program = shutil.which(words[0]) or shutil.which(words[0], path=":".join(_MORE_PATHS))
        if program is None:
            return None
        try:
            done = subprocess.run(
                [program, *words[1:]], capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
            return None
        return done.stdout

    def clock(self) -> ClockState | None:
        """The state of the kernel's clock."""
        return _adjtimex()

    def disk(self, folder: Path) -> Disk | None:
        """Of a folder, or of the nearest one above it that is there. The file that is written to time it is removed."""
        place = folder.absolute()
        while not place.is_dir() and place != place.parent:
            place = place.parent
        try:
            free = shutil.disk_usage(place).free
        except OSError:
            return None
        return Disk(free, _filesystem(self.read("/proc/self/mountinfo") or "", place.resolve()), _fsync_ns(place))

    def running(self, program: str) -> bool:
        """Whether a process of that name is seen."""
        numbers = (name for name in self.names("/proc") if name.isdigit())
        return any(self.read(f"/proc/{number}/comm") == program for number in numbers)


def _fsync_ns(folder: Path) -> list[int]:
    times = []
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(_FSYNCS):
                file.write(bytes(4_096))
                file.flush()
                begun = time.perf_counter_ns()
                os.fsync(file.fileno())
                times.append(time.perf_counter_ns() - begun)
    except OSError:
        return []
    return sorted(times)


def _filesystem(mountinfo: str, folder: Path) -> str:
    """The type of the filesystem that a folder is on, by the longest mount point above it."""
    best, kind = -1, "unknown"
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) < 5 or not rest:
            continue
        point = Path(fields[4].replace("\\040", " "))
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), rest[0]
    return kind


class _Timex(ctypes.Structure):
    """struct timex of <sys/timex.h>."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),  # more than the rest has
    )


def _adjtimex() -> ClockState | None:
    try:
        timex = _Timex()  # modes 0: nothing is changed
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    unit = 1 if timex.status & _STA_NANO else 1_000
    return ClockState(not timex.status & _STA_UNSYNC, timex.offset * unit, timex.maxerror * 1_000)


def parse_cores(text: str) -> set[int]:
    """`0-3,8` as numbers; what is none is left out, as in `isolcpus=domain,managed_irq,2-3`."""
    cores: set[int] = set()
    for part in text.replace("\n", ",").split(","):
        first, dash, last = part.strip().partition("-")
        if first.isdigit() and (last.isdigit() if dash else True):
            cores.update(range(int(first), min(int(last if dash else first), _MOST_CORES) + 1))
    return cores


def show_cores(cores: Iterable[int]) -> str:
    """Numbers as `0-3,8`."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and runs[-1][1] == core - 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def cores_of(machine: Machine) -> list[int]:
    """The processors that are there."""
    text = machine.read("/sys/devices/system/cpu/online")
    if text is not None:
        return sorted(parse_cores(text))
    names: Sequence[str] = machine.names("/sys/devices/system/cpu")
    return sorted(int(name[3:]) for name in names if name.startswith("cpu") and name[3:].isdigit())
