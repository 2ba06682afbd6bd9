"""The simulated endpoint in a process of its own, and how a table is printed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from distilabel.testing import greedy_bound


@dataclass
class Served:
    """An endpoint process: its URL while it runs, what it counted afterwards."""

    url: str
    counted: dict[str, Any] = field(default_factory=dict)

    def bound(self, slots: int) -> float:
        """Seconds of greedy list scheduling over the latencies it drew."""
        return float(greedy_bound(self.counted["latencies"], slots))

    @property
    def rejected(self) -> float:
        """Share of the requests that were refused."""
        by_status = self.counted["by_status"]
        return float(by_status.get("429", 0) / sum(by_status.values()))


@contextmanager
def served(*flags: str) -> Iterator[Served]:
    """An endpoint with these flags of `python -m distilabel.testing`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "distilabel.testing", *flags], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    endpoint = Served(json.loads(process.stdout.readline())["url"])
    try:
        yield endpoint
    finally:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
        endpoint.counted = json.loads(out)


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown."""
    print(f"\n{title}\n")
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    sys.stdout.flush()
