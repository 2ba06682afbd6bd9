"""What to do with an endpoint when a run ends: the decision alone, without network, clock or files.

Rules
- Something must be restored only if the run woke the endpoint, or if the user said how to leave it.
- Who changed it since stays the last to have changed it: then nothing is restored.
- An endpoint that others use is left to them; the last one pays.
- Nothing here ever deletes, starts or changes a setting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal, cast, get_args

from distilabel_endpoints.lifecycle.sight import Mark, Person, Sight

__all__ = [
    "PATIENCE",
    "SETTLE",
    "Doubt",
    "Duty",
    "Rest",
    "Then",
    "Verdict",
    "is_changed",
    "judge",
    "next_look",
    "state_to_restore",
]

Then = Literal["restore", "pause", "scale-to-zero", "keep"]
"""How the user wants the endpoint left."""
Rest = Literal["paused", "scaledToZero"]

PATIENCE: Final = 900.0
"""Seconds for which restoring is tried."""
SETTLE: Final = 20.0
"""Seconds after a death in which the run's last command to start may still take effect."""
_AGAIN: Final = 30.0
"""Seconds after which a command that had no effect is sent once more."""
_FIRST_LOOK, _LAST_LOOK, _GROWTH = 0.5, 15.0, 1.6


class Doubt(StrEnum):
    """A command of ours of which it is not known whether it was carried out."""

    NONE = "none"
    START = "start"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What must be restored at the end, and what is known of the endpoint since."""

    state: Rest
    """What it is to be."""
    mark: Mark
    """Its last change that is known to be ours, or to have been there before."""
    owner: Person
    """Whose token sends our commands."""
    doubt: Doubt = Doubt.NONE

    def known(self, mark: Mark) -> Duty:
        """After an answer to a command of ours."""
        return replace(self, mark=mark, doubt=Doubt.NONE)


class Verdict(StrEnum):
    """What to do now about what must be restored."""

    STOP = "stop"
    """Send the command that brings it to the state that must be restored."""
    WAIT = "wait"
    """Look again: a command is under way."""
    DONE = "done"
    CHANGED = "changed"
    """Somebody else changed it since: it is theirs."""
    IN_USE = "in use"
    """Others on this machine use it: they have taken over the duty to restore it."""


def state_to_restore(then: Then, before: Sight, inherited: Rest | None) -> Rest | None:
    """What the endpoint is to be at the end; None: whatever it is then.

    Args:
        then: what the user said.
        before: the endpoint before anything was done to it.
        inherited: what another run on this machine, which woke it, must restore.
    """
    match then:
        case "keep":
            return None
        case "pause":
            return "paused"
        case "scale-to-zero":
            return "scaledToZero"
        case "restore":
            if before.state in get_args(Rest):
                return cast("Rest", before.state)
            return inherited


def is_changed(duty: Duty, seen: Sight) -> bool:
    """Whether somebody else changed the endpoint since.

    While a command of ours is in doubt, a change by our own user is taken for it.
    """
    if seen.mark == duty.mark:
        return False
    return duty.doubt is Doubt.NONE or not seen.mark.by.is_same(duty.owner)


def judge(
    duty: Duty, seen: Sight, *, others: bool, elapsed: float, waited: float | None
) -> Verdict:
    """What to do about `duty`, seeing the endpoint as it is.

    Args:
        duty: what must be restored.
        seen: the endpoint now.
        others: whether other runs on this machine use it.
        elapsed: seconds since the run ended.
        waited: seconds since the last command to stop was accepted; None: there was none.
    """
    is_there = seen.state == duty.state
    if is_there and (duty.doubt is not Doubt.START or elapsed >= SETTLE):
        return Verdict.DONE
    if others:
        return Verdict.IN_USE
    if is_changed(duty, seen):
        return Verdict.CHANGED
    if is_there:
        return Verdict.WAIT
    if waited is not None and waited < _AGAIN:
        return Verdict.WAIT
    return Verdict.STOP


def next_look(looks: int) -> float:
    """Seconds until the next look, after that many of them."""
    return float(min(_FIRST_LOOK * _GROWTH ** min(looks, 20), _LAST_LOOK))
