"""The simulated endpoint in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil

from distilabel_endpoints.testing import greedy_bound

__all__ = ["Served", "served"]


@dataclass
class Served:
    """An endpoint process: its URL while it runs, what it counted afterwards."""

    url: str
    pid: int
    counted: dict[str, Any] = field(default_factory=dict)

    def bound(self, slots: int) -> float:
        """Seconds of greedy list scheduling over the latencies it drew."""
        return float(greedy_bound(self.counted["latencies"], slots))

    def cpu(self) -> float:
        """CPU seconds it has used so far."""
        used = psutil.Process(self.pid).cpu_times()
        return float(used.user + used.system)

    @property
    def rejected(self) -> float:
        """Share of the requests that were refused."""
        by_status = self.counted["by_status"]
        return float(by_status.get("429", 0) / sum(by_status.values()))

    @property
    def generated(self) -> int:
        """Requests that got a slot and were answered with text."""
        return len(self.counted["latencies"])


@contextmanager
def served(*flags: str) -> Iterator[Served]:
    """An endpoint with these flags of `python -m distilabel_endpoints.testing`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "distilabel_endpoints.testing", *flags],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    endpoint = Served(json.loads(process.stdout.readline())["url"], process.pid)
    try:
        yield endpoint
    finally:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
        endpoint.counted = json.loads(out)
