"""The order in which a run's rows are sent, if it is ours to choose; the output has its own.

Rules
- Rows are looked at a few thousand, or a few megabytes, at a time; between two looks no row waits
  for another, and memory does not grow with the input.
- Rows that may be answered at greater length go first: a long one sent last is what a run's end
  waits for.
- Rows that begin alike go together, so that the server finds their beginning in its prefix cache.
  Alike means more than what all rows begin with.
- All else stays in the order of the input.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from distilabel_endpoints._engine.generations import RowPlan

__all__ = ["LOOK_AHEAD", "arranged"]

LOOK_AHEAD: Final = 2048
"""Rows that are looked at together."""

_MOST_CHARACTERS: Final = 8_000_000
_COMPARED: Final = 16_384
_ALIKE: Final = 256
"""Characters, about 64 tokens: servers cache blocks of 16 tokens and more."""


def arranged(plans: Iterable[RowPlan], look_ahead: int = LOOK_AHEAD) -> Iterator[RowPlan]:
    """The same plans, each stretch of them in a better order."""
    rest = ((plan, _opening(plan)) for plan in plans)
    while stretch := list(_stretch(islice(rest, look_ahead))):
        together = _together([opening for _, opening in stretch])
        costs = [_longest(plan) for plan, _ in stretch]
        order = sorted(range(len(stretch)), key=lambda n: (-costs[n], together[n], n))
        yield from (stretch[n][0] for n in order)


def _stretch(plans: Iterable[tuple[RowPlan, str]]) -> Iterator[tuple[RowPlan, str]]:
    room = _MOST_CHARACTERS
    for plan, opening in plans:
        yield plan, opening
        room -= len(opening)
        if room < 0:
            return


def _longest(plan: RowPlan) -> int:
    """Tokens its answers may have."""
    return (plan.request.max_new_tokens or 0) * plan.wanted


def _opening(plan: RowPlan) -> str:
    """How the prompt begins."""
    request = plan.request
    if request.messages is None:
        return (request.prompt or "")[:_COMPARED]
    text = ""
    for message in request.messages:
        content = message.get("content")
        if not isinstance(content, str):
            content = json.dumps(content)
        text += f"\0{message['role']}\0{content}"
        if len(text) >= _COMPARED:
            break
    return text[:_COMPARED]


def _together(openings: list[str]) -> list[int]:
    """For each, the first one that begins like it."""
    # The first and the last in order of text have in common what all have in common.
    alike = _shared(min(openings), max(openings)) + _ALIKE
    first: dict[str, int] = {}
    return [
        first.setdefault(opening[:alike], n) if len(opening) >= alike else n
        for n, opening in enumerate(openings)
    ]


def _shared(first: str, last: str) -> int:
    """How many characters both begin with."""
    pairs = enumerate(zip(first, last, strict=False))
    return next((n for n, (one, other) in pairs if one != other), min(len(first), len(last)))
