"""A worker's reports to the coordinator, several times a second, and the limits it gets back.

Rules
- Reports go one after another, so that the coordinator's answers are applied in their order.
- A pause that came from another worker is not reported back as this one's own.
- Without an answer for `SILENCE` seconds, a worker under a ceiling sends nothing more.
- A coordinator that has ended is made anew. Ray ends it with the stage that made it, though later
  stages share it: the handle of an actor that is found by its name does not keep it alive.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from distilabel_endpoints._engine.loop import Lease
from distilabel_endpoints.engine_state import EngineStatistics
from distilabel_endpoints.quality.alarms import Closed
from distilabel_endpoints.ray.coordinator import WorkerCounts
from distilabel_endpoints.ray.package import ray_package
from distilabel_endpoints.ray.shares import SILENCE, Share, WorkerReport
from distilabel_endpoints.records import Result

__all__ = ["Reporter", "WorkerTally"]

_PERIOD: Final = 0.2
_SAME: Final = 0.05


class WorkerTally:
    """What a worker has done. Written by the engine's thread and the blocks', one at a time."""

    def __init__(self) -> None:
        self.ok = self.failed = self.skipped = 0
        self.input_tokens = self.output_tokens = self.answers = self.truncated = 0
        self._lock = threading.Lock()

    def add(self, result: Result) -> None:
        """A row ended."""
        with self._lock:
            self.ok += result.status == "ok"
            self.failed += result.status == "failed"
            for usage in result.usages:
                self.input_tokens += usage.input_tokens or 0
                self.output_tokens += usage.output_tokens or 0
            for completion in result.completions:
                if completion is not None:
                    self.answers += 1
                    self.truncated += completion.finish_reason == "length"

    def counts(self, engine: EngineStatistics) -> WorkerCounts:
        """All of it, and what the engine is doing."""
        with self._lock:
            return WorkerCounts(
                ok=self.ok,
                failed=self.failed,
                skipped=self.skipped,
                input_tokens=self.input_tokens,
                output_tokens=self.output_tokens,
                answers=self.answers,
                truncated=self.truncated,
                retries=engine.retries,
                in_flight=engine.limiter.in_flight,
                limit=engine.limiter.limit,
                reason=engine.limiter.reason,
                waiting_for=engine.waiting_for,
                served=engine.served,
            )


class Reporter:
    """Reports for one worker, from a separate thread and whenever a block is done.

    Args:
        coordinator: the job's coordinating actor.
        name: the worker's.
        lease: its engine; nothing has been sent through it yet.
        shares: whether the job has a ceiling, of which this worker gets a share.
        remake: makes another coordinator, or finds one, once this one has ended for good.
        drain: is called with the seconds for what is in flight, once the job is to end.
    """

    def __init__(
        self,
        coordinator: Any,
        name: str,
        lease: Lease,
        *,
        shares: bool,
        remake: Callable[[], Any],
        drain: Callable[[float], None] | None = None,
    ) -> None:
        self._ray = ray_package("a worker")
        self._coordinator = coordinator
        self._remake = remake
        self._name = name
        self._lease = lease
        self._turn = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=self._report_until_over, name="distilabel-endpoints-reports", daemon=True
        )
        self._ceiling: int | None = 0 if shares else None
        self._pauses_of_others: dict[str, float] = {}
        self._answered_at = time.monotonic()
        self._drain = drain
        self._closed: deque[Closed] = deque()
        self._sent_closed = 0
        self.tally = WorkerTally()

    def closed(self, cohort: Closed) -> None:
        """All rows of a cohort have ended: report it, too."""
        self._closed.append(cohort)

    def start(self) -> None:
        """Send nothing until there is a share, and continue to report until the process ends."""
        self._apply(Share(ceiling=self._ceiling, pauses={}))
        self.report()
        self._thread.start()

    def _report_until_over(self) -> None:
        while not self._over.wait(_PERIOD) and self._lease.alive:
            self.report()

    def close(self) -> None:
        """Report no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def report(self) -> None:
        """Report how things are, and apply the answer; without one, stop sending in time."""
        with self._turn:
            sent_at = time.monotonic()
            now, engine = self._lease.run(_look, self._lease)
            report = WorkerReport(
                holding=max(self._ceiling or 0, engine.limiter.in_flight),
                demand=engine.limiter.in_flight + engine.waiting + engine.delayed,
                pauses=self._own_pauses(engine, now),
            )
            counts = self.tally.counts(engine)
            try:
                answer = self._coordinator.report.remote(self._name, report, counts)
                share = self._ray.get(answer, timeout=SILENCE)
            except self._ray.exceptions.RayError as error:
                if time.monotonic() - self._answered_at > SILENCE and self._ceiling is not None:
                    self._apply(Share(ceiling=0, pauses={}))
                if isinstance(error, self._ray.exceptions.ActorDiedError):
                    self._coordinator = self._remake()
                return
            # As of its sending: the coordinator may count this worker's lease from then on.
            self._answered_at = sent_at
            self._apply(share)
            self._report_closed()

    def _report_closed(self) -> None:
        """Each cohort once: what is not confirmed is reported again, with its number."""
        cohorts = [*self._closed]
        if not cohorts:
            return
        answer = self._coordinator.note_closed.remote(self._name, self._sent_closed, cohorts)
        with suppress(self._ray.exceptions.RayError):
            self._ray.get(answer, timeout=SILENCE)
            self._sent_closed += len(cohorts)
            for _ in cohorts:
                self._closed.popleft()

    def _own_pauses(self, engine: EngineStatistics, now: float) -> Mapping[str, float]:
        """What servers asked of this worker itself, in seconds from now."""
        each = engine.endpoints or {"": engine.limiter}
        return {
            name: limiter.gate_until - now
            for name, limiter in each.items()
            if limiter.gate_until is not None
            and limiter.gate_until > self._pauses_of_others.get(name, 0.0) + _SAME
        }

    def _apply(self, share: Share) -> None:
        self._ceiling = share.ceiling
        now = self._lease.run(_share, self._lease, share)
        for name, seconds in share.pauses.items():
            self._pauses_of_others[name] = max(self._pauses_of_others.get(name, 0.0), now + seconds)
        if share.drain is not None and self._drain is not None:
            drain, self._drain = self._drain, None
            drain(share.drain)


async def _look(lease: Lease) -> tuple[float, EngineStatistics]:
    """Taken on the engine's own loop, where nothing changes meanwhile."""
    return lease.loop.time(), lease.scheduler.statistics()


async def _share(lease: Lease, share: Share) -> float:
    lease.scheduler.share(share.ceiling, share.pauses)
    lease.scheduler.note_answered(share.answered_before, by_others=share.answered_by_others)
    return lease.loop.time()
