"""Restores an endpoint's state: look, decide, command, check again, for at most fifteen minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from distilabel_endpoints.lifecycle.decisions import (
    PATIENCE,
    Doubt,
    Duty,
    Rest,
    Verdict,
    judge,
    next_look,
)
from distilabel_endpoints.lifecycle.endpoint_api import Trouble
from distilabel_endpoints.lifecycle.lease import Lease
from distilabel_endpoints.lifecycle.sight import Sight

__all__ = ["Ending", "Outcome", "restore"]

_POLL: Final = 2.0
"""Seconds between two looks at who else uses the endpoint."""


class Ending(StrEnum):
    """What came of restoring."""

    DONE = "done"
    LEFT = "left"
    """It is somebody else's now."""
    GAVE_UP = "gave up"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended, in words for a person."""

    ending: Ending
    text: str


class _Stoppable(Protocol):
    title: str

    def read(self) -> Sight | Trouble: ...

    def stop(self, state: Rest) -> Sight | Trouble: ...


def restore(
    control: _Stoppable,
    duty: Duty,
    lease: Lease,
    say: Callable[[str], None],
    *,
    on_others: Callable[[list[int]], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Bring the endpoint to the state that must be restored, and see that it is so.

    Args:
        control: its control plane.
        duty: what must be restored.
        lease: who else uses it on this machine; held while a command takes effect.
        say: takes one line for the log.
        on_others: told once who else uses it; they are then waited for. None: it is left to them.
        sleep, clock: the time.
    """
    return _Restoring(
        control=control,
        duty=duty,
        lease=lease,
        say=say,
        on_others=on_others,
        sleep=sleep,
        clock=clock,
        started=clock(),
    ).run()


@dataclass(slots=True, kw_only=True)
class _Restoring:
    control: _Stoppable
    duty: Duty
    lease: Lease
    say: Callable[[str], None]
    on_others: Callable[[list[int]], None] | None
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    started: float
    commanded_at: float | None = None
    """When the last command to stop was accepted."""

    def run(self) -> Outcome:
        if self.on_others is not None and (others := self.lease.others()):
            self.say(f"is used by {_processes(others)}, waiting for that to end")
            self.on_others(others)
            while self.lease.others():
                self.sleep(_POLL)
            if self.lease.duty() is None:
                return Outcome(Ending.LEFT, f"nothing is left to do for {self.control.title}")
            # It is ours only now: the time for it begins.
            self.started = self.clock()
        return self._bring()

    def _bring(self) -> Outcome:
        looks = 0
        while True:
            # Nobody begins to use it between the look and the command.
            with self._turn():
                outcome = self._step()
                while outcome is None and self.commanded_at is not None and not self._is_late:
                    # A run that begins now would find it running, and see it stop.
                    self.sleep(next_look(looks))
                    looks += 1
                    outcome = self._step()
            if outcome is not None:
                return outcome
            if self._is_late:
                return self._gave_up()
            self.sleep(next_look(looks))
            looks += 1

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The lease's, if it can be had: what costs money is not left for a file."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self.lease.turn())
            except OSError as error:
                self.say(f"is put back without a lock: {error.strerror or error}")
            yield

    @property
    def _is_late(self) -> bool:
        return self.clock() - self.started >= PATIENCE

    def _step(self) -> Outcome | None:
        seen = self.control.read()
        if isinstance(seen, Trouble):
            self.say(f"cannot be read: {seen.message}")
            if seen.status == 404:
                return Outcome(Ending.LEFT, f"{self.control.title} is not there any more")
            return None
        now = self.clock()
        verdict = judge(
            self.duty,
            seen,
            others=bool(self.lease.others()),
            elapsed=now - self.started,
            waited=None if self.commanded_at is None else now - self.commanded_at,
        )
        match verdict:
            case Verdict.DONE:
                self.lease.clear()
                return Outcome(Ending.DONE, f"{seen.title} is {seen.state}")
            case Verdict.CHANGED:
                self.lease.clear()
                who = seen.mark.by.name or "somebody"
                return Outcome(
                    Ending.LEFT,
                    f"{seen.title} is {seen.state} and was changed by {who} at {seen.mark.at}, "
                    "after this run began to use it: it stays as it is",
                )
            case Verdict.IN_USE:
                users = _processes(self.lease.others())
                return Outcome(
                    Ending.LEFT,
                    f"{seen.title} is {seen.state} and still used by {users} on this machine, "
                    "whose end decides what becomes of it",
                )
            case Verdict.STOP:
                self._stop(seen)
            case Verdict.WAIT:
                self.say(f"is {seen.state}")
        return None

    def _stop(self, seen: Sight) -> None:
        self.say(f"is {seen.state}; requested: {self.duty.state}")
        # Until it is answered, a change by our own user is our command.
        self.duty = replace(self.duty, doubt=Doubt.STOP)
        answer = self.control.stop(self.duty.state)
        if isinstance(answer, Trouble):
            self.say(f"the command failed: {answer.message}")
            return
        self.duty = self.duty.known(answer.mark)
        self.commanded_at = self.clock()

    def _gave_up(self) -> Outcome:
        return Outcome(
            Ending.GAVE_UP,
            f"{self.control.title} could not be {self.duty.state} in "
            f"{PATIENCE / 60:.0f} minutes and may still be running, at its price. Stop it by hand: "
            "https://endpoints.huggingface.co",
        )


def _processes(pids: list[int]) -> str:
    return ("process " if len(pids) == 1 else "processes ") + ", ".join(map(str, pids))
