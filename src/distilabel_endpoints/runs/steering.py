"""Steering a run while it is in progress: `tune` requests a change, the run applies it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from distilabel_endpoints._engine.loop import Lease
from distilabel_endpoints._store.control import Tuning, read_control, write_control
from distilabel_endpoints._store.journal import Journal
from distilabel_endpoints._store.lock import holder_of
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.errors import ConfigurationError, StorageError
from distilabel_endpoints.run_state import RunPhase, RunSnapshot, Waiting
from distilabel_endpoints.runs.session import repeating
from distilabel_endpoints.spending.budget import Budget, parse_budget

__all__ = ["Steering", "steered", "steered_engine", "tune"]

_EVERY: Final = 1.0
"""Seconds between two looks at the control file."""
_MOST_KEPT: Final = 200
"""Changes that the journal keeps."""


def tune(
    output: Path,
    *,
    max_concurrency: int | None = None,
    paused: bool | None = None,
    budget: Sequence[str] = (),
) -> Tuning:
    """Request a change of the run that writes `output`; what is not given stays as it is.

    Raises:
        ConfigurationError: no change is given, one is not what it should be, or no run is in
            progress.
        StorageError: the control file cannot be written.
    """
    if max_concurrency is None and paused is None and not budget:
        raise ConfigurationError(
            "nothing to change: give --max-concurrency, --budget, --pause or --resume"
        )
    parse_budget(budget)
    output = output.absolute()
    if holder_of(journal_path(output)) is None:
        raise ConfigurationError(f"no run is writing {output} now, so there is nothing to tune")
    before = read_control(output) or Tuning()
    requested = Tuning(
        max_concurrency=before.max_concurrency if max_concurrency is None else max_concurrency,
        paused=before.paused if paused is None else paused,
        budget=tuple(budget) or before.budget,
        by=_who(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_control(output, requested)
    return requested


def _who() -> str:
    import getpass

    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = f"user {os.getuid()}"
    return f"{name} on {socket.gethostname()}, process {os.getpid()}"


class Steering:
    """Applies the control file of one run. Call `look` now and then, from one thread.

    Args:
        output: what the run writes; its lock is held.
        most: requests in flight at most, as at the start of the run.
        apply: takes the number of requests that may be in flight from now on; 0 sends nothing.
        spend: takes what the run may spend from now on; returns why that cannot be, if so.
        report: shows and records a change, or why the file is ignored.
    """

    def __init__(
        self,
        output: Path,
        *,
        most: int,
        apply: Callable[[int], None],
        spend: Callable[[Budget], str | None],
        report: Callable[[str], None],
    ) -> None:
        self._output = output
        self._most = most
        self._apply = apply
        self._spend = spend
        self._report = report
        self._applied = Tuning()
        self._refused: str | None = None

    def look(self) -> None:
        """Apply what has changed since the last look."""
        try:
            requested = read_control(self._output) or self._applied
        except StorageError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                self._report(str(error))
            return
        self._refused = None
        if requested == self._applied:
            return
        before, self._applied = self._applied, requested
        changes = _changes(before, requested)
        if changes:
            most = requested.max_concurrency or self._most
            self._apply(0 if requested.paused else most)
        if requested.budget != before.budget:
            changes.append(self._change_budget(requested.budget))
        if changes:
            self._report(f"{', '.join(changes)} (by {requested.by}, {requested.at})")

    def _change_budget(self, written: Sequence[str]) -> str:
        """Apply; returns what has changed, or why nothing has."""
        try:
            budget = parse_budget(written)
        except ConfigurationError as error:
            return f"the budget stays: {error}"
        refused = self._spend(budget)
        return f"the budget is now {budget.text}" if refused is None else refused

    def shown(self, snapshot: RunSnapshot) -> RunSnapshot:
        """The run as observers see it: paused, if it is."""
        if not self._applied.paused or snapshot.phase not in {RunPhase.RUNNING, RunPhase.WAITING}:
            return snapshot
        return replace(
            snapshot, phase=RunPhase.WAITING, waiting=Waiting("paused by tune"), eta=None
        )

    def close(self) -> None:
        """The run sends no more; the engine may have other work."""
        if self._applied != Tuning():
            self._apply(self._most)


def _changes(before: Tuning, now: Tuning) -> list[str]:
    changes = []
    if now.max_concurrency != before.max_concurrency:
        changes.append(f"max_concurrency is now {now.max_concurrency}")
    if now.paused != before.paused:
        changes.append("paused" if now.paused else "resumed")
    return changes


@contextmanager
def steered(
    output: Path,
    *,
    most: int,
    apply: Callable[[int], None],
    spend: Callable[[Budget], str | None],
    report: Callable[[str], None],
) -> Iterator[Steering]:
    """Apply the control file for the length of the block; see `Steering`."""
    steering = Steering(output, most=most, apply=apply, spend=spend, report=report)
    try:
        steering.look()  # what was requested before anything is sent
        with repeating(steering.look, _EVERY, "distilabel-endpoints-steering"):
            yield steering
    finally:
        steering.close()


@contextmanager
def steered_engine(
    output: Path,
    journal: Journal,
    lease: Lease,
    *,
    spend: Callable[[Budget], str | None],
    report: Callable[[str], None],
) -> Iterator[Steering]:
    """The same for a run of one process; every change is in its journal."""
    changes: list[str] = []

    def record(text: str) -> None:
        report(text)
        changes.append(text)
        with suppress(StorageError):  # raised by the next flush
            journal.write_note("steering", changes[-_MOST_KEPT:])

    def apply(most: int) -> None:
        if lease.alive:
            lease.run(_share, lease, most)

    most = lease.scheduler.most
    with steered(output, most=most, apply=apply, spend=spend, report=record) as steering:
        yield steering


async def _share(lease: Lease, most: int) -> None:
    """On the engine's own loop."""
    lease.scheduler.share(most, {})
