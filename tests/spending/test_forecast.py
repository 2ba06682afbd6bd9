"""Forecasts: what the intervals cover, and what they are made from."""

from __future__ import annotations

import math
import random

import pytest
from benchmarks.forecast import POPULATIONS, coverage, population

from distilabel_endpoints.progress.forecast_text import forecast_text
from distilabel_endpoints.spending.amounts import PICODOLLARS, Price
from distilabel_endpoints.spending.cohort import draw_cohort
from distilabel_endpoints.spending.forecast import SampleRow, forecast
from distilabel_endpoints.spending.intervals import mean_interval, ratio_interval, share_interval
from distilabel_endpoints.spending.prices import Pricing


def rows(lengths: list[int], cap: int = 1000) -> list[SampleRow]:
    """Rows whose answers have these lengths, one after another a second apart."""
    return [
        SampleRow(
            prompt_bytes=400,
            input_tokens=100,
            output_tokens=length,
            is_cut=length >= cap,
            longest_answer=0 if length >= cap else length,
            began=float(n),
            ended=n + 4.0,
        )
        for n, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("name", POPULATIONS)
def test_nine_of_ten_intervals_hold_the_truth(name: str) -> None:
    """For every kind of answers, from 50 rows on, for tokens, hours and the share cut off."""
    lengths = population(name, size=4000)
    for sample in (50, 200):
        covered = coverage(name, lengths, sample, draws=200)
        assert covered.tokens >= 0.85, (sample, covered)
        assert covered.hours is None or covered.hours >= 0.85, (sample, covered)
        assert covered.cut >= 0.85, (sample, covered)


def test_a_cohort_is_random_and_always_the_same() -> None:
    """The same rows in any order of looking; neither the first ones nor evenly spaced ones."""
    cohort = draw_cohort(range(10_000), 200)
    assert cohort == draw_cohort(reversed(range(10_000)), 200)
    assert len(cohort) == 200
    assert abs(sum(cohort) / 200 - 5000) < 700
    assert draw_cohort(range(10_000), 100) < cohort
    assert draw_cohort(range(50), 200) == frozenset(range(50))


def test_a_share_of_none_may_still_be_a_few() -> None:
    """No cut answer among fifty rows does not mean that there is none."""
    assert share_interval(0, 50).low == 0
    assert 0.02 < share_interval(0, 50).high < 0.08
    assert share_interval(50, 50).high == 1
    assert share_interval(10, 50, 50).low == share_interval(10, 50, 50).high == 0.2


def test_a_whole_that_was_seen_is_known() -> None:
    """Of all rows there is nothing left to err about."""
    lengths = [float(n % 17) for n in range(100)]
    interval = mean_interval(lengths, 100)
    assert interval.low == pytest.approx(interval.high)


def test_prompt_tokens_follow_bytes() -> None:
    """With a steady number of bytes to a token, input tokens are known to a hundredth."""
    rng = random.Random(4)
    sizes = [rng.lognormvariate(6, 1) for _ in range(200)]
    tokens = [size / 4 * rng.uniform(0.95, 1.05) for size in sizes]
    interval = ratio_interval(tokens, sizes)
    assert interval.low < 0.25 < interval.high
    assert interval.high / interval.low < 1.02


def test_a_forecast_multiplies_what_was_seen() -> None:
    """Tokens, dollars and hours of all rows, for a part that is all alike."""
    made = forecast(
        rows([200] * 100),
        rows=10_000,
        other_bytes=400 * 9_900,
        max_new_tokens=1000,
        pricing=Pricing(price=Price.per_million(1, 10)),
    )
    assert made is not None
    assert made.input_tokens.mid == pytest.approx(1_000_000)
    assert made.output_tokens.mid == pytest.approx(2_000_000)
    assert made.dollars is not None
    assert made.dollars.mid == pytest.approx(21.0)
    assert made.hours is not None
    assert made.hours.mid == pytest.approx(10_000 / 3600, rel=0.01)
    assert made.recommended == 256
    assert "dollars  $21.00" in forecast_text(made)


def test_hours_are_dollars_where_time_is_paid_for() -> None:
    """Of a dedicated endpoint: hours, times the price of all its replicas."""
    made = forecast(
        rows([200] * 100),
        rows=10_000,
        other_bytes=1,
        max_new_tokens=1000,
        pricing=Pricing(hourly=20 * PICODOLLARS),
    )
    assert made is not None
    assert made.hours is not None
    assert made.dollars is not None
    assert made.dollars.mid == pytest.approx(20 * made.hours.mid)


def test_many_answers_that_were_cut_off_ask_for_more_room() -> None:
    """More than one in twenty: twice as much; a few, which are loops as a rule, ask for none."""
    many = forecast(rows([1000] * 10 + [300] * 90), rows=1000, other_bytes=1, max_new_tokens=1000)
    few = forecast(rows([1000] * 2 + [300] * 98), rows=1000, other_bytes=1, max_new_tokens=1000)
    assert many is not None
    assert few is not None
    assert (many.recommended, few.recommended) == (2000, 384)
    assert many.dollars is None
    assert not math.isclose(few.cut_share.low, few.cut_share.high)


def test_nothing_is_said_of_a_handful() -> None:
    """Fewer than twenty rows make no forecast."""
    assert forecast(rows([9] * 19), rows=100, other_bytes=1, max_new_tokens=10) is None
