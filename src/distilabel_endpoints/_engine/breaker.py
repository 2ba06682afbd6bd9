"""While nothing answers: one probe at a time, further and further apart.

Closed, it counts what was unavailable without an answer in between; open, it lets one attempt
through when the time has come. Any answer, a refusal included, closes it. Pure: clock readings
and the jitter are arguments.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["Breaker", "BreakerState"]

BreakerState = Literal["closed", "open", "probing"]

_OPEN_AFTER = 8
_FIRST_WAIT = 1.0
_GROWTH = 1.6
_LONGEST_WAIT = 15.0
_LONGEST_ASKED = 60.0


class Breaker:
    """Open: the endpoint is away, and one probe at a time asks whether it is back."""

    __slots__ = ("_misses", "_wait", "open", "probe_at", "probing")

    def __init__(self) -> None:
        self.open = False
        self.probing = False
        """A probe is in flight."""
        self.probe_at = 0.0
        """When the next probe may be sent; meaningful while open."""
        self._misses = 0
        self._wait = _FIRST_WAIT

    @property
    def state(self) -> BreakerState:
        """`open`: waiting for the next probe; `probing`: one is in flight."""
        if not self.open:
            return "closed"
        return "probing" if self.probing else "open"

    def admits(self, now: float) -> bool:
        """Whether an open breaker lets a probe through."""
        return not self.probing and now >= self.probe_at

    def answered(self) -> bool:
        """Something answered. True when this closed the breaker."""
        self._misses = 0
        self._wait = _FIRST_WAIT
        was_open = self.open
        self.open = self.probing = False
        return was_open

    def missed(
        self, now: float, *, probe: bool, jitter: float, retry_after: float | None = None
    ) -> None:
        """Nothing was there. `jitter` in 0 .. 1 spreads the next probe by up to a tenth."""
        self._misses += 1
        if self.open:
            if not probe:
                return
        elif self._misses < _OPEN_AFTER:
            return
        self.open = True
        self.probing = False
        wait = self._wait * (1.0 + 0.1 * jitter)
        self._wait = min(self._wait * _GROWTH, _LONGEST_WAIT)
        self.probe_at = now + max(wait, min(retry_after or 0.0, _LONGEST_ASKED))

    def gave_up(self) -> None:
        """The probe was given up here: another may be sent."""
        self.probing = False
