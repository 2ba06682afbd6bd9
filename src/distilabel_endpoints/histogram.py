"""Counts of numbers in bins whose bounds grow by a constant factor. Pure, and bounded in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, Self

__all__ = ["Bar", "Histogram"]

# Four bins to a doubling: a quantile is at most 9 % off, and 240 bins span 2^-20 to 2^40.
_PER_DOUBLING: Final = 4
_LOWEST, _HIGHEST = -80, 160


class Bar(NamedTuple):
    """What a chart shows of a histogram: how many numbers are from `low` to below `high`."""

    low: float
    high: float
    numbers: int


class Histogram:
    """Lengths, seconds, whatever is not negative. Zero has its own bin."""

    __slots__ = ("bins", "count", "highest", "lowest", "total", "zeros")

    def __init__(self, numbers: Iterable[float] = ()) -> None:
        self.bins: dict[int, int] = {}
        self.zeros = 0
        self.count = 0
        self.total = 0.0
        self.lowest = math.inf
        self.highest = 0.0
        for number in numbers:
            self.add(number)

    def add(self, number: float) -> None:
        """Count one number; what is negative or not finite is not counted."""
        if not 0 <= number < math.inf:
            return
        self.count += 1
        self.total += number
        self.lowest = min(self.lowest, number)
        self.highest = max(self.highest, number)
        if number == 0:
            self.zeros += 1
            return
        place = math.floor(math.log2(number) * _PER_DOUBLING)
        place = min(max(place, _LOWEST), _HIGHEST)
        self.bins[place] = self.bins.get(place, 0) + 1

    def merge(self, other: Histogram) -> None:
        """Count all that `other` counted, too."""
        for place, count in other.bins.items():
            self.bins[place] = self.bins.get(place, 0) + count
        self.zeros += other.zeros
        self.count += other.count
        self.total += other.total
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)

    def since(self, earlier: Histogram) -> Histogram:
        """What was counted after `earlier`, a copy of this one, was made."""
        rest = Histogram()
        for place, count in self.bins.items():
            left = count - earlier.bins.get(place, 0)
            if left > 0:
                rest.bins[place] = left
        rest.zeros = max(0, self.zeros - earlier.zeros)
        rest.count = rest.zeros + sum(rest.bins.values())
        rest.total = self.total - earlier.total if rest.count else 0.0
        if rest.count:
            # As near as the bins tell: which number was counted when is not known.
            low = 0.0 if rest.zeros else 2 ** (min(rest.bins) / _PER_DOUBLING)
            high = 2 ** ((max(rest.bins) + 1) / _PER_DOUBLING) if rest.bins else 0.0
            rest.lowest, rest.highest = max(low, self.lowest), min(high, self.highest)
        return rest

    def copy(self) -> Histogram:
        """The same counts, which stay as they are."""
        copy = Histogram()
        copy.merge(self)
        return copy

    @property
    def mean(self) -> float | None:
        """The arithmetic mean, exactly; None for no numbers."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """The number below which `share` of them are, at most a bin off; None for no numbers."""
        if not self.count:
            return None
        rank = min(int(share * self.count), self.count - 1)
        if rank < self.zeros:
            return 0.0
        rank -= self.zeros
        for place in sorted(self.bins):
            if rank < self.bins[place]:
                middle = 2 ** ((place + 0.5) / _PER_DOUBLING)
                return min(max(middle, self.lowest), self.highest)
            rank -= self.bins[place]
        return self.highest

    def bars(self, most: int = 28) -> tuple[Bar, ...]:
        """Adjoining bars from the lowest number to the highest; those between may be empty.

        Args:
            most: how many there may be, not counting the one for zero.
        """
        zero = (Bar(0.0, 0.0, self.zeros),) if self.zeros else ()
        if not self.bins:
            return zero
        first, last = min(self.bins), max(self.bins)
        width = 2  # finer bars of whole numbers would have holes between 1, 2 and 3
        while last // width - first // width >= most:
            width *= 2
        counts = dict.fromkeys(range(first // width, last // width + 1), 0)
        for place, count in self.bins.items():
            counts[place // width] += count
        step = width / _PER_DOUBLING
        return zero + tuple(Bar(2 ** (n * step), 2 ** ((n + 1) * step), counts[n]) for n in counts)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; an empty histogram is an empty object."""
        if not self.count:
            return {}
        return {
            "bins": sorted(self.bins.items()),
            "zeros": self.zeros,
            "total": self.total,
            "lowest": self.lowest,
            "highest": self.highest,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` gave. Raises `ValueError`, `TypeError` or `KeyError` for anything else."""
        made = cls()
        if not value:
            return made
        made.bins = {int(place): int(count) for place, count in value["bins"]}
        made.zeros = int(value["zeros"])
        made.count = made.zeros + sum(made.bins.values())
        made.total, made.lowest = float(value["total"]), float(value["lowest"])
        made.highest = float(value["highest"])
        return made
