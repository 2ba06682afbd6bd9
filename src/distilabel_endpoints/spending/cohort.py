"""A random part of a run's rows, always the same one: those whose places have the smallest hashes.

Rows that finish early are shorter than the others, and the first rows of a file are often alike. So
a part that is to stand for all is drawn before anything is sent, and answered completely.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from hashlib import blake2b

__all__ = ["draw_cohort"]


def draw_cohort(ordinals: Iterable[int], rows: int) -> frozenset[int]:
    """The `rows` of these places that stand for all of them; in memory that grows with `rows`."""
    return frozenset(heapq.nsmallest(rows, ordinals, key=_place))


def _place(ordinal: int) -> bytes:
    return blake2b(ordinal.to_bytes(8, "big"), digest_size=8).digest()
