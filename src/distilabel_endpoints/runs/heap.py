"""Returns free memory to the system, so that a long run stays as small as at its start.

asyncio reads every answer into a new buffer of 256 KB, of which it fills a few hundred bytes.
After the first, glibc cuts these from the heap of the loop's thread; no gap between smaller pieces
is wide enough, so they go to its end, which moves on and leaves pages that nothing uses: some 80
bytes a row. If the C library has no `malloc_trim`, nothing is done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

__all__ = ["Heap", "malloc_trim"]

_EVERY: Final = 10_000


class Heap:
    """Gives back now, and again after every N rows.

    Args:
        every: rows.
        trim: gives back what is free in this process.
    """

    def __init__(self, *, every: int = _EVERY, trim: Callable[[], object] | None = None) -> None:
        self._every = every
        self._trim = trim or malloc_trim()
        self._left = every

    def row(self) -> None:
        """One row more is done."""
        self._left -= 1
        if not self._left:
            self.give_back()

    def give_back(self) -> None:
        """Takes a few milliseconds; other threads continue, but for what they allocate."""
        self._left = self._every
        self._trim()


def malloc_trim() -> Callable[[], object]:
    """The C library's, for all its heaps; if it has none, a function that does nothing."""
    if sys.platform != "linux":
        return _nothing
    try:
        import ctypes

        trim = ctypes.CDLL(None).malloc_trim
    except (ImportError, OSError, AttributeError):
        return _nothing
    return lambda: trim(0)


def _nothing() -> None:
    """What there is to be done without a C library that can."""
