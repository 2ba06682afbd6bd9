"""Where the server refused, and how much longer to believe it.

A wall met again at the same height is believed twice as long before it is tried; one that gives
way is pushed further and further, every few seconds. Pure: clock readings are arguments.
"""

from __future__ import annotations

import math

__all__ = ["Wall"]

_WAIT, _LONGEST_WAIT = 5.0, 300.0
_FIRST_STEP, _LARGEST_STEP = 0.05, 1.0
_TOLERANCE = 0.1


class Wall:
    """The most that may be in flight, as far as is known."""

    __slots__ = ("_step", "_wait", "due", "height", "kept")

    def __init__(self) -> None:
        self.height: float | None = None
        """None: no wall is known."""
        self.kept = 0
        """What the server had in flight when it last refused."""
        self.due = math.inf
        """When to push."""
        self._wait = _WAIT
        self._step = _FIRST_STEP

    def hit(self, now: float, kept: int) -> bool:
        """Refused, with `kept` in flight. True where that is as high as the last time."""
        expected = abs(kept - self.kept) <= math.ceil(_TOLERANCE * self.kept - 0.5)
        self._wait = min(2.0 * self._wait, _LONGEST_WAIT) if expected else _WAIT
        self._step = _FIRST_STEP
        self.kept = max(kept, 1)
        self.height = float(self.kept)
        self.due = now + self._wait
        return expected

    def push(self, now: float, most: int) -> int:
        """Believe in a somewhat higher wall, or at `most` in none; how high one may go."""
        height = self.height or 1.0
        self.height = max(height * (1.0 + self._step), height + 1.0)
        self._step = min(2.0 * self._step, _LARGEST_STEP)
        self.due = now + _WAIT
        if self.height >= most:
            self.fall()
            return most
        return int(self.height)

    def fall(self) -> None:
        """There is no wall."""
        self.height = None
        self.kept = 0
        self.due = math.inf
