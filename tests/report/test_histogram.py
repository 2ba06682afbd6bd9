"""Histograms: nothing is lost, quantiles are near, and JSON gives back the same."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints.histogram import Histogram

numbers = st.lists(st.floats(0, 1e9) | st.integers(0, 5000), max_size=60)


@given(numbers)
def test_every_number_is_in_one_bar(values: list[float]) -> None:
    """Bars adjoin, and their counts add up to what was counted."""
    bars = Histogram(values).bars()
    assert sum(bar.numbers for bar in bars) == len(values)
    wide = [bar for bar in bars if bar.high > bar.low]
    assert all(one.high == other.low for one, other in pairwise(wide))
    assert len(wide) <= 29


@given(st.lists(st.floats(1e-4, 1e9), min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_is_a_bin_off_at_most(values: list[float], share: float) -> None:
    """At most nine per cent and a rank's rounding from the true one."""
    true = sorted(values)[min(int(share * len(values)), len(values) - 1)]
    found = Histogram(values).quantile(share)
    assert found == pytest.approx(true, rel=0.1)


@given(numbers, numbers)
def test_merging_and_taking_apart(one: list[float], more: list[float]) -> None:
    """Two histograms make the one of all numbers; what came later can be told."""
    first, whole = Histogram(one), Histogram(one)
    whole.merge(Histogram(more))
    both = Histogram(one + more)
    assert (whole.bins, whole.zeros, whole.count) == (both.bins, both.zeros, both.count)
    assert whole.total == pytest.approx(both.total)
    assert (whole.lowest, whole.highest) == (both.lowest, both.highest)
    later = whole.since(first)
    assert later.count == len(more)
    assert later.bins == Histogram(more).bins


@given(numbers)
def test_json_gives_back_the_same(values: list[float]) -> None:
    """Also through text, as it is kept beside a run."""
    histogram = Histogram(values)
    again = Histogram.from_json(json.loads(json.dumps(histogram.to_json())))
    assert again.to_json() == histogram.to_json()
    assert again.quantile(0.5) == histogram.quantile(0.5)


def test_what_is_no_length_is_not_counted() -> None:
    """Negative numbers, infinity and nan."""
    assert Histogram([-1.0, float("inf"), float("nan")]).count == 0
