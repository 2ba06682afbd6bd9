"""What every run does around its work, wherever its results are kept: one writer, the display, the
signals, how it ended and whether it can be resumed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from distilabel_endpoints._store.lock import Lock, hold
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.errors import (
    AlarmError,
    DistilabelError,
    InputChangedError,
    LockedError,
    ModelNotFoundError,
    RunError,
    StorageError,
    TargetError,
    UserCodeError,
)
from distilabel_endpoints.progress import Progress
from distilabel_endpoints.records import FailureKind
from distilabel_endpoints.run_state import FailureGroup, RunEnding, RunSummary
from distilabel_endpoints.runs.stopping import Stopping

__all__ = ["Session", "repeating"]

_HALTED: Final = MappingProxyType({RunEnding.BUDGET: 6, RunEnding.PILOT: 8})


class Session:
    """One process's part in a run. `execute` once.

    Args:
        output: what the run writes; its lock is held while there is work.
        progress: where the run is shown.
        drain: called at the first signal, with the seconds of grace; from the main thread.
    """

    def __init__(self, output: Path, progress: Progress, drain: Callable[[float], None]) -> None:
        self._output = output
        self._progress = progress
        self.stopping = Stopping(drain)
        self.error: DistilabelError | None = None
        """What stopped the run."""
        self.has_begun = False
        """Whether anything may have been sent: from then on a changed input is an ending."""
        self.halted: RunEnding | None = None
        """Why the run ends with rows left, if nothing went wrong and nobody interrupted it."""

    def execute(
        self,
        work: Callable[[Lock], None],
        *,
        show: Callable[[], None],
        summarize: Callable[[], RunSummary],
    ) -> RunSummary:
        """Do `work`, show the run meanwhile, and report how it ended.

        Raises:
            InputError: something given is wrong; nothing was sent.
            RunError: the endpoint cannot be used; nothing was sent.
            LockedError: another process writes this output.
        """
        with self._progress:
            with self._ticking(show):
                self._attempt(work)
            summary = summarize()
            self._progress.finish(summary)
        return summary

    def _attempt(self, work: Callable[[Lock], None]) -> None:
        try:
            with hold(journal_path(self._output)) as lock:
                work(lock)
        except LockedError:
            raise
        except (RunError, StorageError, UserCodeError, AlarmError) as error:
            if isinstance(error, RunError) and not self.has_begun:
                raise  # the endpoint cannot be used: there is no run yet to report on
            self.error = error
        except InputChangedError as error:
            if not self.has_begun:
                raise
            self.error = error
        except KeyboardInterrupt:
            if not self.stopping:
                raise

    def ending(self, failed: int) -> tuple[RunEnding, int]:
        """Why the run ended, and the exit code that says so."""
        match self.error:
            case StorageError():
                return RunEnding.STORAGE, 4
            case RunError() if self.error.failure.kind is FailureKind.LOCAL:
                return RunEnding.STORAGE, 4
            case RunError():
                return RunEnding.ENDPOINT, 3
            case InputChangedError():
                return RunEnding.INPUT, 1
            case UserCodeError():
                return RunEnding.USER_CODE, 1
            case AlarmError():
                return RunEnding.ALARM, 7
        if self.stopping:
            return RunEnding.INTERRUPTED, self.stopping.exit_code
        if self.halted is not None:
            return self.halted, _HALTED[self.halted]
        return RunEnding.FINISHED, 2 if failed else 0

    def resuming_helps(self, pending: int | None, failures: tuple[FailureGroup, ...]) -> bool:
        """Whether the same command can do more than it did."""
        if isinstance(self.error, ModelNotFoundError | TargetError):
            return False  # it names what is not there
        if pending is None or pending > 0:
            return True
        return any(group.kind is not FailureKind.ROW for group in failures)

    @contextmanager
    def _ticking(self, show: Callable[[], None]) -> Iterator[None]:
        """Show the run's state several times a second."""
        try:
            with repeating(show, self._progress.interval, "distilabel-endpoints-progress"):
                yield
        finally:
            show()


@contextmanager
def repeating(
    call: Callable[[], None], interval: float, name: str, longest: float | None = None
) -> Iterator[None]:
    """Call something every `interval` seconds, from a thread of that name.

    Its error ends the calls and is raised at the end of the block: it is a defect of ours, and
    what the block does may be finished all the same.

    Args:
        longest: seconds to wait for the last call; default: until it ends.
    """
    over, errors = threading.Event(), list[Exception]()

    def go() -> None:
        try:
            while not over.wait(interval):
                call()
        except Exception as error:  # noqa: BLE001 - a border: raised below
            errors.append(error)

    thread = threading.Thread(target=go, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(longest)
    if errors:
        raise errors[0]
