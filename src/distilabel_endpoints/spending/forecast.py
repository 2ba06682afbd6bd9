"""What a run will need, from a random part of its rows that has been answered completely. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from distilabel_endpoints.spending.amounts import PICODOLLARS
from distilabel_endpoints.spending.intervals import (
    Interval,
    exact_share_interval,
    mixed_mean_interval,
    ratio_interval,
)
from distilabel_endpoints.spending.prices import NO_PRICE, Pricing

__all__ = ["LEAST_ROWS", "Forecast", "SampleRow", "forecast"]

LEAST_ROWS: Final = 20
"""Fewer rows give no forecast."""
_ROOM: Final = 1.25
"""The longest whole answer of a part, times this, holds nearly all answers of the whole."""
_STEP: Final = 64
_NEARLY_ALL: Final = 0.9
_PACE: Final = 0.05
"""How much faster or slower than its part a run may be, for reasons that no part shows."""
_TIMES_THE_LIMIT: Final = 3
"""Rows to each that was under way at once, before hours are forecast."""
_MANY_CUT: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRow:
    """One row of the part, as it ended."""

    prompt_bytes: int
    input_tokens: int
    output_tokens: int
    is_cut: bool
    """Whether an answer of it ran to `max_new_tokens`."""
    longest_answer: int
    """Tokens of its longest answer that did not."""
    began: float | None = None
    """When its first attempt was sent, in seconds; None if an earlier process did that."""
    ended: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the whole run will need, all its rows together. Intervals hold in nine of ten cases."""

    rows: int
    sample: int
    """Rows it is made from."""
    input_tokens: Interval
    output_tokens: Interval
    dollars: Interval | None
    """None if the price is not known."""
    hours: Interval | None
    """None if too few rows were begun in this process after it had found the endpoint's limit."""
    cut_share: Interval
    """Rows with an answer that runs to `max_new_tokens`."""
    max_new_tokens: int
    recommended: int
    """A `max_new_tokens` that holds nearly all answers, loops left aside."""


def forecast(
    sample: Sequence[SampleRow],
    *,
    rows: int,
    other_bytes: int,
    max_new_tokens: int,
    generations: int = 1,
    pricing: Pricing = NO_PRICE,
) -> Forecast | None:
    """What all rows will need.

    Args:
        sample: a random part, answered completely.
        rows: how many there are in all.
        other_bytes: of the prompts of all the others.
        max_new_tokens: of one answer.
        generations: answers to a row.
        pricing: what tokens or hours cost.

    Returns:
        None for a part that is too small.
    """
    if len(sample) < LEAST_ROWS:
        return None
    outputs = _outputs(sample, rows, max_new_tokens * generations)
    inputs = _inputs(sample, rows, other_bytes)
    hours = _hours(sample, rows)
    cut = [row for row in sample if row.is_cut]
    return Forecast(
        rows=rows,
        sample=len(sample),
        input_tokens=inputs,
        output_tokens=outputs,
        dollars=_dollars(inputs, outputs, hours, pricing),
        hours=hours,
        cut_share=exact_share_interval(len(cut), len(sample), rows),
        max_new_tokens=max_new_tokens,
        recommended=_recommended(sample, len(cut), max_new_tokens),
    )


def _outputs(sample: Sequence[SampleRow], rows: int, longest: int) -> Interval:
    cut = [row.output_tokens for row in sample if row.is_cut]
    others = [row.output_tokens for row in sample if not row.is_cut]
    return mixed_mean_interval(others, cut, longest, rows).scaled(rows)


def _inputs(sample: Sequence[SampleRow], rows: int, other_bytes: int) -> Interval:
    """Nearly exact: tokens follow the bytes of the prompts, which are known of all rows."""
    known = sum(row.input_tokens for row in sample)
    sizes = [max(1, row.prompt_bytes) for row in sample]
    tokens = ratio_interval([row.input_tokens for row in sample], sizes, rows)
    return tokens.scaled(other_bytes, known)


def _dollars(
    inputs: Interval, outputs: Interval, hours: Interval | None, pricing: Pricing
) -> Interval | None:
    if pricing.hourly is not None:
        return None if hours is None else hours.scaled(pricing.hourly / PICODOLLARS)
    price = pricing.price
    if price is None:
        return None
    return inputs.scaled(price.input / PICODOLLARS).plus(outputs.scaled(price.output / PICODOLLARS))


def _hours(sample: Sequence[SampleRow], rows: int) -> Interval | None:
    """By Little's law: seconds of a row over how many are under way at once, and the last rows.

    Both from when nearly as many rows were under way as ever were. Of few rows the limit on them
    cannot be seen, and if it still grew at the end, hours may be as few as it then allowed.
    """
    timed = sorted(
        (row.began, row.ended, row.is_cut)
        for row in sample
        if row.began is not None and row.ended is not None
    )
    spans = [(began, ended) for began, ended, _ in timed]
    most, since = _most_under_way(spans)
    later = [(ended - began, is_cut) for began, ended, is_cut in timed if began >= since]
    if len(later) < LEAST_ROWS or len(timed) < _TIMES_THE_LIMIT * most:
        return None
    cut = [seconds for seconds, is_cut in later if is_cut]
    others = [seconds for seconds, is_cut in later if not is_cut]
    longest = max(ended - began for began, ended in spans)
    seconds = mixed_mean_interval(others, cut, longest, rows)
    mean = _at_once(spans, since, timed[-1][0])
    low, high = (1 - _PACE) * seconds.low / most, (1 + _PACE) * seconds.high / mean
    paced = Interval(low, 2 * seconds.mid / (mean + most), high)
    last_rows = Interval(0.0, longest / 2, longest)
    return paced.scaled(rows).plus(last_rows).scaled(1 / 3600)


def _most_under_way(spans: Sequence[tuple[float, float]]) -> tuple[int, float]:
    """How many ever were under way at once, and when it was nearly as many for the first time."""
    changes = sorted([(ended, -1) for _, ended in spans] + [(began, 1) for began, _ in spans])
    under_way = list(accumulate(change for _, change in changes))
    most = max(under_way, default=0)
    moments = zip(changes, under_way, strict=True)
    return most, next((when for (when, _), now in moments if now >= _NEARLY_ALL * most), 0.0)


def _at_once(spans: Sequence[tuple[float, float]], first: float, last: float) -> float:
    """How many were under way between two moments, in the mean."""
    if last <= first:
        return max(1.0, sum(began <= last < ended for began, ended in spans))
    busy = sum(max(0.0, min(ended, last) - max(began, first)) for began, ended in spans)
    return max(1.0, busy / (last - first))


def _recommended(sample: Sequence[SampleRow], cut: int, max_new_tokens: int) -> int:
    if cut > _MANY_CUT * len(sample):
        return 2 * max_new_tokens
    longest = max(row.longest_answer for row in sample)
    return min(max_new_tokens, _STEP * math.ceil(max(1, longest) * _ROOM / _STEP))
