"""Steering a run while it goes on: what `tune` says, and how a run obeys it."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from distilabel_endpoints._engine.loop import Lease
from distilabel_endpoints._store.control import Wishes, read_wishes, write_wishes
from distilabel_endpoints._store.journal import Journal
from distilabel_endpoints._store.lock import holder_of
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.errors import ConfigurationError, StorageError
from distilabel_endpoints.run_state import RunPhase, RunSnapshot, Waiting
from distilabel_endpoints.runs.session import repeating

__all__ = ["Steering", "steered", "steered_engine", "tune"]

_EVERY: Final = 1.0
"""Seconds between two looks at the control file."""
_MOST_KEPT: Final = 200
"""Changes that the journal keeps."""


def tune(output: Path, *, max_concurrency: int | None = None, paused: bool | None = None) -> Wishes:
    """Say how the run that writes `output` is to continue; what is `None` stays as it is.

    Raises:
        ConfigurationError: no change is given, or no run is in progress.
        StorageError: the control file cannot be written.
    """
    if max_concurrency is None and paused is None:
        raise ConfigurationError("nothing to change: give --max-concurrency, --pause or --resume")
    output = output.absolute()
    if holder_of(journal_path(output)) is None:
        raise ConfigurationError(f"no run is writing {output} now, so there is nothing to tune")
    before = read_wishes(output) or Wishes()
    wishes = Wishes(
        max_concurrency=before.max_concurrency if max_concurrency is None else max_concurrency,
        paused=before.paused if paused is None else paused,
        by=_who(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_wishes(output, wishes)
    return wishes


def _who() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = f"user {os.getuid()}"
    return f"{name} on {socket.gethostname()}, process {os.getpid()}"


class Steering:
    """Obeys the control file of one run. `look` once in a while, from one thread.

    Args:
        output: what the run writes; its lock is held.
        most: requests in flight at most, as the run began.
        apply: is given the requests that may be in flight from now on; 0 sends nothing.
        tell: shows and keeps a change, or what is wrong with the file.
    """

    def __init__(
        self,
        output: Path,
        *,
        most: int,
        apply: Callable[[int], None],
        tell: Callable[[str], None],
    ) -> None:
        self._output = output
        self._most = most
        self._apply = apply
        self._tell = tell
        self._obeyed = Wishes()
        self._refused: str | None = None

    def look(self) -> None:
        """Obey what has changed since the last look."""
        try:
            wishes = read_wishes(self._output) or self._obeyed
        except StorageError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                self._tell(str(error))
            return
        self._refused = None
        if wishes == self._obeyed:
            return
        changes = _changes(self._obeyed, wishes)
        self._obeyed = wishes
        if changes:
            most = self._most if wishes.max_concurrency is None else wishes.max_concurrency
            self._apply(0 if wishes.paused else most)
            self._tell(f"{', '.join(changes)} (by {wishes.by}, {wishes.at})")

    def shown(self, snapshot: RunSnapshot) -> RunSnapshot:
        """The run as observers see it: paused, if it is."""
        if not self._obeyed.paused or snapshot.phase not in {RunPhase.RUNNING, RunPhase.WAITING}:
            return snapshot
        return replace(
            snapshot, phase=RunPhase.WAITING, waiting=Waiting("paused by tune"), eta=None
        )

    def close(self) -> None:
        """The run sends no more; the engine may have other work."""
        if self._obeyed != Wishes():
            self._apply(self._most)


def _changes(before: Wishes, now: Wishes) -> list[str]:
    changes = []
    if now.max_concurrency != before.max_concurrency:
        changes.append(f"max_concurrency is now {now.max_concurrency}")
    if now.paused != before.paused:
        changes.append("paused" if now.paused else "resumed")
    return changes


@contextmanager
def steered(
    output: Path, *, most: int, apply: Callable[[int], None], tell: Callable[[str], None]
) -> Iterator[Steering]:
    """Obey the control file for the length of the block; see `Steering`."""
    steering = Steering(output, most=most, apply=apply, tell=tell)
    try:
        steering.look()  # what was wished before the first request
        with repeating(steering.look, _EVERY, "distilabel-endpoints-steering"):
            yield steering
    finally:
        steering.close()


@contextmanager
def steered_engine(
    output: Path, journal: Journal, lease: Lease, tell: Callable[[str], None]
) -> Iterator[Steering]:
    """The same for a run of one process; every change is in its journal."""
    changes: list[str] = []

    def kept(text: str) -> None:
        tell(text)
        changes.append(text)
        with suppress(StorageError):  # raised by the next flush
            journal.write_note("steering", changes[-_MOST_KEPT:])

    def apply(most: int) -> None:
        if lease.alive:
            lease.run(_share, lease, most)

    with steered(output, most=lease.scheduler.most, apply=apply, tell=kept) as steering:
        yield steering


async def _share(lease: Lease, most: int) -> None:
    """On the engine's own loop."""
    lease.scheduler.share(most, {})
