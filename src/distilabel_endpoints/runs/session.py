"""What every run does around its work: one writer, the display, how it ended, its summary.

A run of one process and one over Ray are drivers of the same session. They differ in how rows are
sent and where results are kept, and in nothing that a user sees of a run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

from distilabel_endpoints._store.control import accepting_tuning
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
from distilabel_endpoints.quality.alarms import Alarm
from distilabel_endpoints.records import FailureKind
from distilabel_endpoints.run_state import (
    FailureGroup,
    RunEnding,
    RunPhase,
    RunSnapshot,
    RunSummary,
    Spent,
    TokenCount,
)
from distilabel_endpoints.runs.stopping import Stopping
from distilabel_endpoints.runs.tally import Tally

__all__ = ["Driver", "Outcome", "Session", "repeating"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What only the driver knows when a run has ended; the tally has the counts."""

    pending: int | None
    failures: tuple[FailureGroup, ...]
    output: Path | None
    """Where the answers are, if they are all there."""
    journal: Path | None = None
    damaged_records: int = 0
    spent: Spent | None = None
    forecast: Mapping[str, Any] | None = None
    reason: str | None = None
    """What stopped the run, if it was not an error."""
    alarms: tuple[Alarm, ...] = ()
    resume_flags: tuple[str, ...] = ()
    """What the command that resumes the run needs besides."""


class Driver(Protocol):
    """The part of a run that depends on how rows are sent and where results are kept."""

    def work(self, lock: Lock, /) -> None:
        """Do what is left to do, as the only writer of the output."""
        ...

    def drain(self, grace: float, /) -> None:
        """The first signal came: send nothing new, end what is in flight after `grace` seconds."""
        ...

    def snapshot(self) -> RunSnapshot:
        """The run as it is now."""
        ...

    def outcome(self, ending: RunEnding) -> Outcome:
        """How it stands at its end; the tally says what is stored from here on."""
        ...


_HALTED: Final = MappingProxyType({RunEnding.BUDGET: 6, RunEnding.PILOT: 8})


class Session:
    """One process's part in a run. `execute` once.

    Args:
        output: what the run writes; its lock is held while there is work.
        progress: where the run is shown.
        driver: what does the work.
        resume_command: what resumes the run, for the summary.
    """

    def __init__(
        self,
        output: Path,
        progress: Progress,
        driver: Driver,
        resume_command: tuple[str, ...] | None = None,
    ) -> None:
        self._output = output
        self._progress = progress
        self._driver = driver
        self._resume_command = resume_command
        self.stopping = Stopping(driver.drain)
        self.tally = Tally()
        self.error: DistilabelError | None = None
        """What stopped the run."""
        self.has_begun = False
        """Whether anything may have been sent: from then on a changed input is an ending."""
        self.halted: RunEnding | None = None
        """Why the run ends with rows left, if nothing went wrong and it was not interrupted."""

    def execute(self) -> tuple[RunSummary, DistilabelError | None]:
        """Do the work, show the run meanwhile, and report how it ended.

        Returns:
            How the run stands, and the error that stopped it, if one did.

        Raises:
            InputError: something given is wrong; nothing was sent.
            RunError: the endpoint cannot be used; nothing was sent.
            LockedError: another process writes this output.
        """
        with self._progress:
            with self._ticking():
                self._attempt()
            summary = self._summary()
            self._progress.finish(summary)
        return summary, self.error

    def _attempt(self) -> None:
        try:
            # The lock first: else the request that is removed here could be for the run that holds
            # it.
            with hold(journal_path(self._output)) as lock, accepting_tuning(self._output):
                self._driver.work(lock)
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
            # Without our handler (in a thread, a notebook) it is the caller's own to take.
            if not self.stopping:
                raise

    def _summary(self) -> RunSummary:
        """How the run stands now, as its store has it."""
        tally = self.tally
        tally.phase = RunPhase.FINISHED
        # What is stored may say more than was counted, and decides about the exit code.
        outcome = self._driver.outcome(self._ending()[0])
        ending, exit_code = self._ending()
        resumes, command = self._resuming_helps(outcome), self._resume_command
        return RunSummary(
            ending=ending,
            exit_code=exit_code,
            reason=str(self.error) if self.error else outcome.reason,
            ok=tally.ok,
            failed=tally.failed,
            skipped=tally.skipped,
            pending=outcome.pending,
            resumed=tally.resumed,
            failures=outcome.failures,
            answers=tally.answers,
            truncated=tally.truncated,
            alarms=outcome.alarms,
            elapsed=time.monotonic() - tally.started,
            tokens=TokenCount(input_tokens=tally.input_tokens, output_tokens=tally.output_tokens),
            run_tokens=tally.run_tokens,
            spent=outcome.spent,
            forecast=outcome.forecast,
            mean=tally.mean(),
            damaged_records=outcome.damaged_records,
            duplicate_ids=tally.duplicate_ids,
            output=str(outcome.output) if outcome.output else None,
            journal=str(outcome.journal) if outcome.journal else None,
            resume_command=(*command, *outcome.resume_flags) if command and resumes else None,
        )

    def _ending(self) -> tuple[RunEnding, int]:
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
        return RunEnding.FINISHED, 2 if self.tally.failed else 0

    def _resuming_helps(self, outcome: Outcome) -> bool:
        """Whether the same command can do more than it did."""
        if isinstance(self.error, ModelNotFoundError | TargetError):
            return False  # it names what is not there
        if self.halted is RunEnding.BUDGET:
            return False  # the same budget pays for nothing more; the reason says what to change
        if outcome.pending is None or outcome.pending > 0:
            return True
        return any(group.kind is not FailureKind.ROW for group in outcome.failures)

    @contextmanager
    def _ticking(self) -> Iterator[None]:
        """Show the run's state several times a second."""

        def show() -> None:
            self._progress.update(self._driver.snapshot())

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
