"""What a load costs: wall and CPU seconds, and memory, of the process that makes it.

Standard library only: the peers' environments import it too.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

__all__ = ["Load", "Spent", "Stopwatch", "answer", "read_answer", "read_load"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Chats to be sent."""

    url: str
    rows: int
    at_once: int | None
    """How many in flight; `None`: nothing is set, for our own clients."""
    warm: int = 0
    """Rows sent before, which do not count."""

    @property
    def words(self) -> list[str]:
        """As `read_load` reads it."""
        return [self.url, str(self.rows), str(self.at_once or 0), str(self.warm)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a load took."""

    wall: float
    cpu: float
    peak_mb: float


def read_load(words: list[str]) -> Load:
    """The load that a command line asks for: URL ROWS AT_ONCE WARM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    for name in ("rows", "at_once", "warm"):
        parser.add_argument(name, type=int)
    found = parser.parse_args(words)
    return Load(url=found.url, rows=found.rows, at_once=found.at_once or None, warm=found.warm)


class Stopwatch:
    """`with` one around a load, then `spent()`. CPU is that of all threads of this process."""

    def __enter__(self) -> Self:
        self._cpu, self._started = _cpu(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._wall, self._cpu = time.monotonic() - self._started, _cpu() - self._cpu

    def spent(self) -> Spent:
        """What the block took."""
        return Spent(wall=self._wall, cpu=self._cpu, peak_mb=_peak())


def answer(spent: Spent) -> None:
    """Print it for the process that asked, after whatever a library may have printed."""
    sys.stdout.write("\n" + json.dumps(asdict(spent)) + "\n")


def read_answer(printed: str) -> Spent:
    """What `answer` printed last."""
    return Spent(**json.loads(printed.splitlines()[-1]))


def _peak() -> float:
    """The most memory this process had at a time."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+)", status.read_text())
        if found:
            return int(found[1]) / 1024
    # Where a parent's own peak may be counted too: it is inherited over fork.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
