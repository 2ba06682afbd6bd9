"""Contenders that take turns: what a slow minute does, it does to all of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from benchmarks.tables import note

__all__ = ["in_turns"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def in_turns(
    measurement: str, rounds: int, contenders: Mapping[K, Callable[[], T]]
) -> dict[K, list[T]]:
    """What each came to, round by round; every second round goes backwards."""
    taken: dict[K, list[T]] = {name: [] for name in contenders}
    for turn in range(rounds):
        names = list(contenders)
        for name in reversed(names) if turn % 2 else names:
            taken[name].append(contenders[name]())
            note(f"{measurement}, {turn + 1} of {rounds}: {name}")
    return taken
