"""Shares of flawed answers, counted on rows that were sent together and have all ended.

Rules
- A cohort is the next N rows that are sent. It counts when its last row has ended: answers
  that loop or are cut off come last, so whoever looks at the first ones to finish sees too few, and
  whoever looks at the slow ones too many.
- The most recent cohorts and all of them together are looked at; either may show what is wrong.
- A share is over a threshold only if its lower bound is. The bound holds for any number of answers:
  Chernoff's, by the Kullback-Leibler divergence, at 99 %.
- Pure, and bounded: what a closed cohort leaves are counts.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from distilabel_endpoints.quality.flaws import Flaw

__all__ = ["COHORT", "Cohorts", "Observed", "Over", "Shares", "lower_bound"]

COHORT: Final = 50
"""Rows of a cohort."""
RECENT: Final = 4
"""Cohorts that are looked at apart from all of them: 200 rows."""
_DOUBT: Final = 0.01
_STEPS: Final = 40
_MOST_TEXTS: Final = 512
"""Different texts that are counted over a whole run; a model that repeats one is seen at once."""


def lower_bound(part: int, whole: int) -> float:
    """The share that `part` of `whole` shows at least, in 99 of 100 cases."""
    if part <= 0 or whole <= 0:
        return 0.0
    seen = min(part / whole, 1.0)
    room = -math.log(_DOUBT) / whole
    low, high = 0.0, seen
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _divergence(seen, middle) > room:
            low = middle
        else:
            high = middle
    return low


def _divergence(seen: float, true: float) -> float:
    """How badly a share of `true` explains one of `seen` that is larger."""
    if true <= 0:
        return math.inf
    first = seen * math.log(seen / true)
    return first if seen >= 1 else first + (1 - seen) * math.log((1 - seen) / (1 - true))


@dataclass(slots=True)
class Shares:
    """Answers, and those of them that have a flaw."""

    answers: int = 0
    flaws: Counter[Flaw] = field(default_factory=Counter)
    prompts: int = 0
    """Different prompts whose answers were long enough to be compared."""
    texts: Counter[bytes] = field(default_factory=Counter)
    """How many different prompts were answered by one text, by its hash."""

    def add(self, other: Shares) -> None:
        """Count what `other` counted, too."""
        self.answers += other.answers
        self.flaws.update(other.flaws)
        self.prompts += other.prompts
        self.texts.update(other.texts)
        if len(self.texts) > _MOST_TEXTS:
            self.texts = Counter(dict(self.texts.most_common(_MOST_TEXTS // 2)))

    def of(self, flaw: Flaw) -> tuple[int, int]:
        """How many have the flaw, of how many."""
        if flaw is Flaw.IDENTICAL:
            return max(self.texts.values(), default=0), self.prompts
        return self.flaws[flaw], self.answers


class _Open:
    """A cohort that has rows under way."""

    __slots__ = ("left", "shares", "texts")

    def __init__(self, rows: int) -> None:
        self.left = rows
        self.shares = Shares()
        self.texts: dict[bytes, set[bytes]] = {}

    def close(self) -> Shares:
        shares = self.shares
        shares.prompts = len(set().union(*self.texts.values())) if self.texts else 0
        shares.texts = Counter({text: len(prompts) for text, prompts in self.texts.items()})
        return shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One answer of a row that ended."""

    flaws: Iterable[Flaw]
    text: bytes | None = None
    """The hash of its text, if it is long enough to be compared."""
    prompt: bytes = b""
    """The hash of what it answers."""


class Cohorts:
    """The rows of a run as they are sent and end. One thread at a time.

    Args:
        size: rows of a cohort.
    """

    def __init__(self, size: int = COHORT) -> None:
        self._size = size
        self._number = 0
        self._sent = 0
        self._open: dict[int, _Open] = {}
        self._where: dict[int, int] = {}
        self._recent: deque[Shares] = deque(maxlen=RECENT)
        self.all = Shares()
        """Of all cohorts that are closed."""

    def sent(self, ordinal: int) -> None:
        """A row is on its way."""
        if self._sent == self._size:
            self._number += 1
            self._sent = 0
        self._sent += 1
        if self._number not in self._open:
            self._open[self._number] = _Open(self._size)
        self._where[ordinal] = self._number

    def ended(self, ordinal: int, answers: Iterable[Observed]) -> bool:
        """A row has ended, with these answers; gives back whether that closed its cohort."""
        number = self._where.pop(ordinal, None)
        if number is None:
            return False
        cohort = self._open[number]
        for answer in answers:
            cohort.shares.answers += 1
            cohort.shares.flaws.update(answer.flaws)
            if answer.text is not None:
                cohort.texts.setdefault(answer.text, set()).add(answer.prompt)
        cohort.left -= 1
        if cohort.left:
            return False
        del self._open[number]
        self.closed(cohort.close())
        return True

    def closed(self, shares: Shares) -> None:
        """A cohort is complete; also one that somebody else has counted."""
        self._recent.append(shares)
        self.all.add(shares)

    @property
    def latest(self) -> Shares:
        """Of the cohort that closed last."""
        return self._recent[-1]

    @property
    def recent(self) -> Shares:
        """Of the cohorts that closed last."""
        recent = Shares()
        for shares in self._recent:
            recent.add(shares)
        return recent

    def over(self, thresholds: Mapping[Flaw, float], least: int = COHORT) -> dict[Flaw, Over]:
        """The flaws whose share is surely over its threshold, lately or in all.

        Args:
            thresholds: shares, 0 to 1.
            least: answers that there must be.
        """
        exceeded: dict[Flaw, Over] = {}
        recent = self.recent
        for flaw, threshold in thresholds.items():
            for shares in (recent, self.all):
                part, whole = shares.of(flaw)
                if whole >= least and lower_bound(part, whole) > threshold:
                    exceeded[flaw] = Over(flaw, part, whole, threshold)
                    break
        return exceeded


@dataclass(frozen=True, slots=True)
class Over:
    """A share that is over its threshold."""

    flaw: Flaw
    part: int
    whole: int
    threshold: float
