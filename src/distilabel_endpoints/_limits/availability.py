"""Whether the endpoint is up: a circuit breaker while nothing answers, then a soft start.

- `Breaker`: closed, it counts what was unavailable without an answer in between; open, it lets one
  attempt through at a time, further and further apart. Any answer, a refusal included, closes it.
- `SoftStart`: at a start, after a gate, when the endpoint is back, a few attempts go at once and
  the rest over a quarter of a second, so that a server which refuses everyone meets only a few.
- Pure: clock readings and the jitter are arguments.
"""

from __future__ import annotations

from typing import Final

from distilabel_endpoints.engine_state import BreakerState

__all__ = ["AT_ONCE", "Breaker", "SoftStart"]

# requests; that go at once when the limit opens.
AT_ONCE: Final = 8
# seconds; over which the rest of the limit is opened.
_SECONDS: Final = 0.25


class SoftStart:
    """From `at` up to `floor` in flight; after `hold` seconds more and more.

    Args:
        at: clock reading of the start.
        floor: in flight that are allowed at once.
        hold: seconds until it begins to open.
    """

    __slots__ = ("_floor", "_starts_at", "over_at")

    def __init__(self, at: float, *, floor: int, hold: float = 0.0) -> None:
        self._floor = floor
        self._starts_at = at + hold
        self.over_at = self._starts_at + _SECONDS
        """From then on it allows everything."""

    def room(self, now: float, limit: int) -> float:
        """How many may be in flight."""
        return self._floor + limit * max(0.0, now - self._starts_at) / _SECONDS

    def when(self, now: float, in_flight: int, limit: int) -> float:
        """When one more may go."""
        if now >= self.over_at or in_flight < self.room(now, limit):
            return now
        missing = in_flight + 1 - self._floor
        return min(max(now, self._starts_at + _SECONDS * missing / limit), self.over_at)


# failures in a row; after which single probes are sent.
_OPEN_AFTER: Final = 8
# seconds; before the first probe.
_FIRST_WAIT: Final = 1.0
# ratio; of each wait to the one before.
_GROWTH: Final = 1.6
# seconds; between probes at most.
_LONGEST_WAIT: Final = 15.0
# seconds; at most, for which a Retry-After of an absent endpoint holds a probe back.
_LONGEST_ASKED: Final = 60.0


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
