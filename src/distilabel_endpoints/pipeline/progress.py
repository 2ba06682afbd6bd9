"""What is logged of a pipeline's batch: a line for each failed row, and the progress of a long one.

Upstream logs a batch's start and its end. Between them nothing is heard for as long as its slowest
row takes, so a batch that lasts is reported every half minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from logging import Logger
from types import TracebackType
from typing import Final, Self

from distilabel_endpoints.engine_state import EngineStatistics
from distilabel_endpoints.records import Result

__all__ = ["REPORT_EVERY", "BatchProgress"]

REPORT_EVERY: Final = 30.0
"""Seconds between two lines about a batch."""


class BatchProgress:
    """Counts a batch's rows as they end. A context manager: its thread reports while it is open.

    Args:
        log: the pipeline's.
        rows: how many there are.
        statistics: what the engine is doing.
        every: seconds between two reports.
    """

    def __init__(
        self,
        log: Logger,
        rows: int,
        statistics: Callable[[], EngineStatistics],
        every: float = REPORT_EVERY,
    ) -> None:
        self._log, self._rows, self._statistics, self._every = log, rows, statistics, every
        self._answered = self._failed = 0
        self._started = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def count(self, result: Result) -> None:
        """One row has ended."""
        if result.status == "ok":
            self._answered += 1
            return
        self._failed += 1
        reasons = dict.fromkeys(failure.describe() for failure in result.failures if failure)
        self._log.warning(
            "Row %d of the batch has no answer: %s", result.ordinal + 1, "; ".join(reasons)
        )

    def _report(self) -> None:
        while not self._over.wait(self._every):
            self._log.info(self.line())

    def line(self) -> str:
        """How the batch stands."""
        now = self._statistics()
        ended = self._answered + self._failed
        rate = ended / max(time.monotonic() - self._started, 1e-9)
        failed = f", {self._failed:,} failed" if self._failed else ""
        waits = f"; {now.waiting_for}" if now.waiting_for else ""
        return (
            f"{ended:,} of the batch's {self._rows:,} rows done{failed}, {rate:.1f} rows/s, "
            f"{now.limiter.in_flight} in flight of {now.limiter.limit}{waits}"
        )
