"""How often forecasts hold what they say, for five populations of answers.

    python -m benchmarks forecast --write

Each population has 10,000 rows. A random cohort of them is answered by 64 slots that are found as a
slow start finds them; then tokens, hours and the share of cut answers are forecast for all rows,
and compared with what all rows need on the same slots. No model and no socket is involved.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.tables import print_table, size
from distilabel_endpoints.spending.forecast import SampleRow, forecast
from distilabel_endpoints.spending.intervals import Interval

ROWS = 10_000
CAP = 4096
SLOTS = 64
POPULATIONS = {
    "lognormal, s = 0.8": (200, 0.8, 0.0, 0.0),
    "lognormal, s = 1.3": (200, 1.3, 0.0, 0.0),
    "20 % short refusals": (300, 0.7, 0.2, 0.0),
    "2 % loop to the cap": (200, 0.7, 0.0, 0.02),
    "reasoning, s = 1.0": (900, 1.0, 0.0, 0.0),
}
"""Median length, spread, share of refusals, share of loops."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Shares of the draws whose interval held the truth, and half the width of that of tokens."""

    tokens: float
    hours: float | None
    """None if the cohort was too small to find the endpoint's limit, so that none are shown."""
    cut: float
    width: float


def population(name: str, *, size: int = ROWS) -> list[int]:
    """The lengths of all answers, in tokens."""
    median, spread, refusals, loops = POPULATIONS[name]
    rng = random.Random(name)

    def one() -> int:
        kind = rng.random()
        if kind < refusals:
            return rng.randint(8, 30)
        if kind < refusals + loops:
            return CAP
        return min(CAP, max(1, round(median * math.exp(rng.gauss(0, spread)))))

    return [one() for _ in range(size)]


def schedule(lengths: Sequence[int]) -> list[tuple[float, float]]:
    """When each answer begins and ends, on slots that double once a latency up to `SLOTS`."""
    free = [0.0] * 8
    spans = []
    for length in lengths:
        began = heapq.heappop(free)
        ended = began + 0.5 + length / 50
        spans.append((began, ended))
        heapq.heappush(free, ended)
        if len(free) < SLOTS:
            heapq.heappush(free, ended)
    return spans


def coverage(name: str, lengths: Sequence[int], sample: int, *, draws: int) -> Coverage:
    """Draw cohorts, forecast, and compare."""
    rng = random.Random(f"{name} {sample}")
    tokens, cut = sum(lengths), sum(length >= CAP for length in lengths) / len(lengths)
    hours = max(ended for _, ended in schedule(lengths)) / 3600
    held, timed = {"tokens": 0, "hours": 0, "cut": 0}, 0
    widths = []
    for _ in range(draws):
        drawn = rng.sample(lengths, sample)
        made = forecast(_rows(drawn), rows=len(lengths), other_bytes=0, max_new_tokens=CAP)
        assert made is not None
        held["tokens"] += _holds(made.output_tokens, tokens)
        if made.hours is not None:
            timed += 1
            held["hours"] += _holds(made.hours, hours)
        held["cut"] += _holds(made.cut_share, cut)
        widths.append((made.output_tokens.high - made.output_tokens.low) / 2 / tokens)
    return Coverage(
        tokens=held["tokens"] / draws,
        hours=held["hours"] / timed if timed else None,
        cut=held["cut"] / draws,
        width=fmean(widths),
    )


def _rows(lengths: Sequence[int]) -> list[SampleRow]:
    return [
        SampleRow(
            prompt_bytes=400,
            input_tokens=100,
            output_tokens=length,
            is_cut=length >= CAP,
            longest_answer=0 if length >= CAP else length,
            began=began,
            ended=ended,
        )
        for length, (began, ended) in zip(lengths, schedule(lengths), strict=True)
    ]


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def main() -> None:
    """Print the table."""
    cohorts = size((50, 100, 200, 400), (50,))
    draws = size(1000, 10)
    rows = []
    for name in POPULATIONS:
        lengths = population(name)
        for sample in cohorts:
            held = coverage(name, lengths, sample, draws=draws)
            hours = "not shown" if held.hours is None else f"{held.hours:.1%}"
            shares = (f"{held.tokens:.1%}", hours, f"{held.cut:.1%}")
            rows.append((name, str(sample), *shares, f"±{held.width:.0%}"))
    print_table(
        f"Share of {draws:,} forecasts whose 90 % interval holds the truth",
        ("answers", "cohort", "tokens and dollars", "hours", "cut off", "tokens, half width"),
        rows,
    )


if __name__ == "__main__":
    main()
