"""Alarms: which share of flawed answers is too many, and what happens then.

A run warns on its own account, and pauses only for what cannot be right: half of the answers empty,
half of them loops, nine of ten one and the same text. Everything else is the user's to say.
"""

from __future__ import annotations

import difflib
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.quality.cohorts import Cohorts, Observed, Over, Shares
from distilabel_endpoints.quality.flaws import Flaw, answers_of, flaws_of, normalized
from distilabel_endpoints.records import Result

__all__ = [
    "CANNOT_BE_RIGHT",
    "WARNINGS",
    "Alarm",
    "Alarms",
    "Closed",
    "OnAlarm",
    "Watch",
    "observe",
    "parse_alarms",
]

OnAlarm = Literal["warn", "pause", "stop"]

WARNINGS: Final[Mapping[Flaw, float]] = MappingProxyType(
    {
        Flaw.EMPTY: 0.05,
        Flaw.TRUNCATED: 0.3,
        Flaw.LOOPS: 0.05,
        Flaw.ECHO: 0.05,
        Flaw.IDENTICAL: 0.5,
        Flaw.OFF_SCHEMA: 0.2,
        Flaw.FILTERED: 0.2,
    }
)
"""Shares that are reported by default."""
CANNOT_BE_RIGHT: Final[Mapping[Flaw, float]] = MappingProxyType(
    {Flaw.EMPTY: 0.5, Flaw.LOOPS: 0.5, Flaw.IDENTICAL: 0.9}
)
"""Shares that pause a run by default."""
LEAST_COMPARED: Final = 24
"""Characters. Shorter answers are labels or yes and no, which may well be the same."""
_HASHED: Final = 4096
_EXAMPLES: Final = 3
_WORDS: Final = {
    Flaw.EMPTY: "have no text",
    Flaw.TRUNCATED: "were cut off at max_new_tokens",
    Flaw.LOOPS: "end in a loop",
    Flaw.ECHO: "repeat their prompt",
    Flaw.IDENTICAL: "are the same text",
    Flaw.OFF_SCHEMA: "do not fit structured_output",
    Flaw.FILTERED: "were stopped by the content filter",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """When a run reports, pauses or stops because of what is answered."""

    warn: Mapping[Flaw, float] = field(default_factory=lambda: WARNINGS)
    act: Mapping[Flaw, float] = field(default_factory=lambda: CANNOT_BE_RIGHT)
    """Shares at which the run does not continue."""
    drains: bool = True
    """Whether what is in flight is waited for, then."""

    @property
    def is_off(self) -> bool:
        """Whether nothing is watched."""
        return not self.warn and not self.act


def parse_alarms(
    shares: Mapping[str, Any] | Iterable[str] | str | None, action: str | None = None
) -> Alarms:
    """The alarms that a user asks for, over those that there are anyway.

    Args:
        shares: `{"loops": 0.02}` or `["loops=2%"]`; `off` in the place of a share, or alone.
        action: what the alarms that are named do, or all if none is: `warn`, `pause` or `stop`.

    Raises:
        ConfigurationError: there is no such alarm, share or action.
    """
    if action is not None and action not in get_args(OnAlarm):
        raise ConfigurationError(f"on_alarm must be warn, pause or stop; got {action!r}.")
    named = dict(_named(shares))
    if "off" in named:
        return Alarms(warn={}, act={})
    chosen = {_flaw(name): _share(name, value) for name, value in named.items()}
    off = {flaw for flaw, share in chosen.items() if share is None}
    limits = {flaw: share for flaw, share in chosen.items() if share is not None}
    warn = {flaw: share for flaw, share in {**WARNINGS, **limits}.items() if flaw not in off}
    act = {
        flaw: max(share, limits.get(flaw, 0.0))
        for flaw, share in CANNOT_BE_RIGHT.items()
        if flaw not in off
    }
    if action == "warn":
        act = {flaw: share for flaw, share in act.items() if limits and flaw not in limits}
    elif action is not None:
        act |= limits or warn
    return Alarms(warn=warn, act=act, drains=action != "stop")


def _named(shares: Mapping[str, Any] | Iterable[str] | str | None) -> Iterable[tuple[str, Any]]:
    if shares is None:
        return
    if isinstance(shares, Mapping):
        yield from shares.items()
        return
    for words in [shares] if isinstance(shares, str) else shares:
        name, equals, share = str(words).partition("=")
        if not equals and name.strip() != "off":
            raise ConfigurationError(
                f"an alarm is a name and a share, such as loops=2%, or off; got {words!r}"
            )
        yield name.strip(), share.strip()


def _flaw(name: str) -> Flaw:
    try:
        return Flaw(name.replace("-", "_"))
    except ValueError:
        nearest = difflib.get_close_matches(name, list(Flaw), 1)
        hint = f"Did you mean {nearest[0]}?" if nearest else f"There are {', '.join(Flaw)}."
        raise ConfigurationError(f"There is no alarm {name!r}. {hint}") from None


def _share(name: str, value: Any) -> float | None:
    """A share between 0 and 1; `None` for `off`."""
    if value is False or value == "off":
        return None
    text = str(value)
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if value is True or not 0 <= share < 1:
        raise ConfigurationError(
            f"the share of the alarm {name} must be below 1, such as 2% or 0.02, or off; "
            f"got {value!r}"
        )
    return share


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A share of flawed answers that is too large."""

    flaw: Flaw
    part: int
    """Answers with the flaw."""
    whole: int
    """Answers that were looked at."""
    threshold: float
    acts: bool
    """Whether the run does not continue."""
    examples: tuple[int, ...]
    """Ordinals of rows with the flaw."""

    def describe(self) -> str:
        """One sentence for a person."""
        share = f"{100 * self.part / self.whole:.0f} %"
        rows = ", ".join(f"{ordinal + 1:,}" for ordinal in self.examples)
        return (
            f"{self.part:,} of {self.whole:,} answers ({share}) {_WORDS[self.flaw]}; the alarm "
            f"{self.flaw} is set to {self.threshold:.3g} (for example row {rows})"
        )


@dataclass(frozen=True, slots=True)
class Closed:
    """A cohort whose rows have all ended."""

    shares: Shares
    examples: Mapping[Flaw, tuple[int, ...]]
    """Ordinals of rows with each flaw that was seen lately."""


@dataclass(slots=True)
class Watch:
    """Watches one run. One thread at a time.

    Args:
        alarms: what is too much.
        cohorts: the run's.
    """

    alarms: Alarms
    cohorts: Cohorts = field(default_factory=Cohorts)
    _prompts: dict[int, tuple[str, bool]] = field(default_factory=dict)
    _examples: dict[Flaw, deque[int]] = field(default_factory=dict)
    _raised: set[tuple[Flaw, bool]] = field(default_factory=set)

    def sent(self, ordinal: int, prompt: str, *, is_free: bool = True) -> None:
        """A row is on its way.

        Args:
            ordinal: the row's.
            prompt: the text of its last message.
            is_free: whether nothing but the prompt decides what the answer may be.
        """
        if self.alarms.is_off:
            return
        self.cohorts.sent(ordinal)
        self._prompts[ordinal] = (prompt, is_free)

    def ended(self, result: Result) -> list[Alarm]:
        """A row has ended; gives back the alarms that this raises, each once."""
        return self._alarms() if self._closes(result) else []

    def counted(self, result: Result) -> Closed | None:
        """A row has ended; gives back its cohort if that is closed by it, for others to judge."""
        if not self._closes(result):
            return None
        examples = {flaw: tuple(ordinals) for flaw, ordinals in self._examples.items()}
        return Closed(self.cohorts.latest, examples)

    def closed(self, cohort: Closed) -> list[Alarm]:
        """A cohort that another process has counted; gives back the alarms that it raises."""
        self.cohorts.closed(cohort.shares)
        for flaw, ordinals in cohort.examples.items():
            for ordinal in ordinals:
                self._note(flaw, ordinal)
        return self._alarms()

    def _closes(self, result: Result) -> bool:
        """Count a row that has ended; gives back whether its cohort is closed."""
        prompt, is_free = self._prompts.pop(result.ordinal, ("", False))
        if self.alarms.is_off:
            return False
        observed = [
            observe(flaws_of(a), a.text or "", prompt, is_free=is_free) for a in answers_of(result)
        ]
        for answer in observed:
            for flaw in answer.flaws:
                self._note(flaw, result.ordinal)
        if any(answer.text is not None for answer in observed):
            self._note(Flaw.IDENTICAL, result.ordinal)
        return self.cohorts.ended(result.ordinal, observed)

    def _note(self, flaw: Flaw, ordinal: int) -> None:
        self._examples.setdefault(flaw, deque(maxlen=_EXAMPLES)).append(ordinal)

    def _alarms(self) -> list[Alarm]:
        raised = []
        for acts, thresholds in ((True, self.alarms.act), (False, self.alarms.warn)):
            for flaw, over in self.cohorts.over(thresholds).items():
                if (flaw, True) in self._raised or (flaw, acts) in self._raised:
                    continue
                self._raised.add((flaw, acts))
                raised.append(self._alarm(over, acts=acts))
        return raised

    def _alarm(self, over: Over, *, acts: bool) -> Alarm:
        return Alarm(
            flaw=over.flaw,
            part=over.part,
            whole=over.whole,
            threshold=over.threshold,
            acts=acts,
            examples=tuple(self._examples.get(over.flaw, ())),
        )


def observe(flaws: set[Flaw], text: str, prompt: str, *, is_free: bool) -> Observed:
    """An answer as a cohort counts it."""
    if is_free and _repeats(text, prompt):
        flaws = {*flaws, Flaw.ECHO}
    bare = text.strip()
    if not is_free or len(bare) < LEAST_COMPARED:
        return Observed(flaws=flaws)
    return Observed(flaws=flaws, text=_hash(bare), prompt=_hash(prompt))


def _repeats(text: str, prompt: str) -> bool:
    """Whether both say the same, but for case and white space."""
    if len(text) < LEAST_COMPARED or len(prompt) < LEAST_COMPARED:
        return False
    start = LEAST_COMPARED // 2
    if normalized(text[: 2 * start])[:start] != normalized(prompt[: 2 * start])[:start]:
        return False
    return normalized(text) == normalized(prompt)


def _hash(text: str) -> bytes:
    return blake2b(text[:_HASHED].encode("utf-8", "surrogatepass"), digest_size=8).digest()
