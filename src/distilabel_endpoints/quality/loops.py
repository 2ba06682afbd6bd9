"""Answers that end in a loop: the same piece of text again and again until the end.

Exact periodicity of the tail, and nothing else. Rules made for web pages (repeated lines, n-grams)
take lists, poems and worked examples for loops; `python -m benchmarks alarms` counts both.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LEAST_CHARACTERS", "LEAST_COPIES", "LONGEST_PERIOD", "loop_period"]

LONGEST_PERIOD: Final = 200
"""Characters of the piece that is repeated."""
LEAST_COPIES: Final = 4
LEAST_CHARACTERS: Final = 48
"""All copies together. `ha ha ha ha` is not a loop."""
# A period shows in that the last few characters came before. These fit into three copies of every
# period from 4 on, and for shorter ones the least characters hold them.
_PROBE: Final = LEAST_CHARACTERS // LEAST_COPIES


def loop_period(text: str) -> int | None:
    """The length of the piece that `text` repeats at its end; None if it does not.

    White space at the very end is passed over. In text without a loop this is one search for the
    last twelve characters, whatever the length.
    """
    end = len(text)
    while end and text[end - 1].isspace() and len(text) - end < LONGEST_PERIOD:
        end -= 1
    tail = text[max(0, end - LONGEST_PERIOD * LEAST_COPIES) : end]
    if len(tail) < LEAST_CHARACTERS:
        return None
    probe = tail[-_PROBE:]
    place = len(tail) - _PROBE
    while True:
        place = tail.rfind(probe, 0, place + _PROBE - 1)
        period = len(tail) - _PROBE - place
        if place < 0 or period > LONGEST_PERIOD:
            return None
        if _repeats(tail, period):
            return period


def _repeats(tail: str, period: int) -> bool:
    length = max(period * LEAST_COPIES, LEAST_CHARACTERS)
    copies = tail[-length:]
    return len(copies) == length and copies[period:] == copies[:-period]
