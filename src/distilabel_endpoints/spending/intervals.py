"""Intervals for means, shares and ratios of a random part of a finite whole. Pure.

The lengths of answers are skewed, and a few of them run to their limit. Plain intervals then miss
the truth, nearly always because they are too low. So:
- a mean's interval is corrected for skewness (P. Hall's cubic transformation);
- answers that were cut off are apart from the others: their share has its own interval
  (Jeffreys'), and both are put together by the method of variance estimates recovery;
- limits are computed for 92 %, as what small parts of such populations cover is a little less.
`python -m benchmarks forecast` shows what they cover.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, fmean, stdev
from typing import Final

__all__ = [
    "Interval",
    "exact_share_interval",
    "mean_interval",
    "mixed_mean_interval",
    "ratio_interval",
    "share_interval",
]

_TAIL: Final = 0.04
_Z: Final = NormalDist().inv_cdf(1 - _TAIL)
_HALVINGS: Final = 50
_STEPS: Final = 300
_SMALLEST: Final = 1e-300


@dataclass(frozen=True, slots=True)
class Interval:
    """What something is, and between which limits it lies in nine of ten cases."""

    low: float
    mid: float
    high: float

    def scaled(self, factor: float, plus: float = 0.0) -> Interval:
        """The same of a multiple, and something known beside it."""
        low, mid, high = (plus + factor * part for part in (self.low, self.mid, self.high))
        return Interval(low, mid, high)

    def plus(self, other: Interval) -> Interval:
        """Of the sum with something that errs independently."""
        mid = self.mid + other.mid
        below = math.hypot(self.mid - self.low, other.mid - other.low)
        above = math.hypot(self.high - self.mid, other.high - other.mid)
        return Interval(mid - below, mid, mid + above)


def mean_interval(values: Sequence[float], whole: float = math.inf) -> Interval:
    """Of the mean of `whole` values, of which `values` are a random part (at least two)."""
    n, mean, deviation = len(values), fmean(values), stdev(values)
    if deviation == 0:
        return Interval(mean, mean, mean)
    skewness = fmean(((value - mean) / deviation) ** 3 for value in values)
    error = deviation / math.sqrt(n) * _finite(n, whole)
    quantile = _t(n - 1)
    low, high = (mean - _unskewed(q, skewness, n) * error for q in (quantile, -quantile))
    return Interval(low, mean, high)


def _unskewed(quantile: float, skewness: float, n: int) -> float:
    """The value that Hall's transformation takes to `quantile`."""
    slope, shift = skewness / (3 * math.sqrt(n)), skewness / (6 * math.sqrt(n))
    if abs(slope) < 1e-9:
        return quantile - shift
    return (math.cbrt(1 + 3 * slope * (quantile - shift)) - 1) / slope


def share_interval(count: int, n: int, whole: float = math.inf) -> Interval:
    """Of a share, of which `count` of `n` were seen; Jeffreys', right in the mean of all shares."""
    return _shrunk(count, n, _limits(count, n, 0.5, 0.5), whole)


def exact_share_interval(count: int, n: int, whole: float = math.inf) -> Interval:
    """The same, right for every single share: C. Clopper and E. Pearson's."""
    return _shrunk(count, n, _limits(count, n, 0.0, 1.0), whole)


def _shrunk(count: int, n: int, limits: tuple[float, float], whole: float) -> Interval:
    share, factor = count / n, _finite(n, whole)
    low, high = limits
    return Interval(share - (share - low) * factor, share, share + (high - share) * factor)


def mixed_mean_interval(
    others: Sequence[float], cut: Sequence[float], longest: float, whole: float = math.inf
) -> Interval:
    """Of the mean of a whole, of whose random part `cut` ran to their limit and `others` did not.

    Args:
        others: at least two, unless there are as many of `cut`.
        cut: what these cost.
        longest: what they cost if none was seen.
        whole: how many there are in all.
    """
    if len(others) < 2:
        return mean_interval([*others, *cut], whole)
    n = len(others) + len(cut)
    share = share_interval(len(cut), n, whole)
    body = mean_interval(others, whole)
    apart = (fmean(cut) if cut else longest) - body.mid
    mid = body.mid + share.mid * apart
    rest = 1 - share.mid
    below = math.hypot(apart * (share.mid - share.low), rest * (body.mid - body.low))
    above = math.hypot(apart * (share.high - share.mid), rest * (body.high - body.mid))
    return Interval(mid - below, mid, mid + above)


def ratio_interval(
    values: Sequence[float], sizes: Sequence[float], whole: float = math.inf
) -> Interval:
    """Of the sum of values over the sum of sizes (all of them > 0)."""
    ratio = sum(values) / sum(sizes)
    off = [value - ratio * size for value, size in zip(values, sizes, strict=True)]
    return mean_interval(off, whole).scaled(1 / fmean(sizes), ratio)


def _finite(n: int, whole: float) -> float:
    """How much less a part errs that is a good deal of the whole."""
    return math.sqrt(max(0.0, 1 - n / whole))


def _t(freedom: int) -> float:
    """Student's quantile, by the first terms of its expansion around the normal one's."""
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    return _Z + first / freedom + second / freedom**2


@lru_cache(maxsize=1024)
def _limits(count: int, n: int, less: float, more: float) -> tuple[float, float]:
    """Quantiles of the beta distributions that a share has after `count` of `n`."""
    others = n - count
    low = 0.0 if count == 0 else _beta_quantile(_TAIL, count + less, others + more)
    high = 1.0 if count == n else _beta_quantile(1 - _TAIL, count + more, others + less)
    return low, high


def _beta_quantile(probability: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _beta_share(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta_share(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function."""
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front += a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """Its continued fraction, by Lentz's method."""
    value = c = 1.0
    d = 0.0
    for step in range(_STEPS):
        term = _term(step, x, a, b)
        d = 1 / ((1 + term * d) or _SMALLEST)
        c = (1 + term / c) or _SMALLEST
        value *= c * d
        if abs(c * d - 1) < 1e-12 and step:
            break
    return value


def _term(step: int, x: float, a: float, b: float) -> float:
    """The coefficient that follows `step` others."""
    n = step + 1
    m, is_odd = divmod(n, 2)
    if is_odd:
        return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
    return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
