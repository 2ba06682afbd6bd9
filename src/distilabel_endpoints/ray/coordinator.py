"""The actor that a job's workers report to: shares, shared pauses, and what is done so far.

It sends nothing itself and keeps no row, prompt or secret. Made anew after it was lost, it lets
no worker grow for as long as a lease, by when all who still send have reported.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from distilabel_endpoints.quality.alarms import Closed
from distilabel_endpoints.ray.package import ray_package
from distilabel_endpoints.ray.shares import LEASE, Share, Shares, WorkerReport
from distilabel_endpoints.records import Failure, FailureKind
from distilabel_endpoints.served import Served, ServedBy

__all__ = ["Coordinator", "JobProgress", "WorkerCounts", "start_coordinator"]

_NAME: Final = "distilabel_endpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCounts:
    """What one worker has done since it started."""

    ok: int = 0
    failed: int = 0
    skipped: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    answers: int = 0
    truncated: int = 0
    retries: Mapping[FailureKind, int] = field(default_factory=dict)
    in_flight: int = 0
    limit: int = 0
    reason: str = ""
    waiting_for: str | None = None
    served: Mapping[ServedBy, Served] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """What all workers have done, and what they are doing."""

    counts: tuple[WorkerCounts, ...]
    """One for each worker that there was."""
    live: tuple[WorkerCounts, ...]
    """Those that report still."""
    stopped: Failure | None
    """What ended the run, if a worker met something that no row can get past."""


class Coordinator:
    """Plain state; `start_coordinator` makes an actor of it."""

    def __init__(self, ceiling: int | None, *, reconstructed: bool | None = None) -> None:
        if reconstructed is None:
            context = ray_package("a coordinator").get_runtime_context()
            reconstructed = bool(context.was_current_actor_reconstructed)
        now = time.monotonic()
        self._shares = Shares(ceiling, grows_at=now + LEASE if reconstructed else now)
        self._counts: dict[str, WorkerCounts] = {}
        self._seen: dict[str, float] = {}
        self._stopped: Failure | None = None
        self._answered_before = 0
        self._drain: float | None = None
        self._closed: dict[str, int] = {}
        self._cohorts: list[Closed] = []

    def report(self, worker: str, report: WorkerReport, counts: WorkerCounts) -> Share:
        """A worker's report; the answer says what it may do from now on."""
        now = time.monotonic()
        self._counts[worker], self._seen[worker] = counts, now
        share = self._shares.report(worker, report, now)
        others = sum(other.ok for name, other in self._counts.items() if name != worker)
        return replace(
            share,
            answered_before=self._answered_before,
            answered_by_others=others,
            drain=self._drain,
        )

    def note_answered(self, rows: int) -> None:
        """Earlier jobs of the run had answers to this many rows."""
        self._answered_before = rows

    def note_closed(self, worker: str, first: int, cohorts: Sequence[Closed]) -> None:
        """Cohorts of a worker, the first with this number. Those that are known count once."""
        new = cohorts[max(0, self._closed.get(worker, 0) - first) :]
        self._closed[worker] = first + len(cohorts)
        self._cohorts += new

    def take_closed(self) -> list[Closed]:
        """The cohorts that closed since this was asked last, of all workers."""
        cohorts, self._cohorts = self._cohorts, []
        return cohorts

    def drain(self, grace: float) -> None:
        """Workers send nothing new; what is in flight has `grace` seconds to finish."""
        self._drain = grace

    def tune(self, ceiling: int) -> None:
        """Attempts in flight at most, of all workers together, from now on; 0 sends nothing."""
        self._shares.ceiling = ceiling

    def stop(self, failure: Failure) -> None:
        """A worker met what ends the run."""
        self._stopped = self._stopped or replace(failure, text=None)

    def progress(self) -> JobProgress:
        """All that was reported."""
        since = time.monotonic() - LEASE
        live = tuple(self._counts[name] for name, seen in self._seen.items() if seen > since)
        return JobProgress(counts=tuple(self._counts.values()), live=live, stopped=self._stopped)


def start_coordinator(
    identity: Mapping[str, Any], ceiling: int | None, *, in_place_of_lost: bool = False
) -> Any:
    """The actor for this target, these credentials and this ceiling; made if it is not there.

    Args:
        identity: what names target and credentials; JSON values, no secret.
        ceiling: attempts in flight at most, of all workers together.
        in_place_of_lost: workers may have shares from one that has ended.
    """
    ray = ray_package("a coordinator")
    document = json.dumps({**identity, "ceiling": ceiling}, sort_keys=True, default=str)
    digest = hashlib.blake2b(document.encode(), digest_size=12).hexdigest()
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Coordinator)
    return actor.options(name=f"{_NAME}:{digest}", get_if_exists=True).remote(
        ceiling, reconstructed=in_place_of_lost or None
    )
