"""Cohorts: shares of rows that were sent together and have all ended, and what they surely show."""

from __future__ import annotations

import random
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints.quality.cohorts import COHORT, Cohorts, Observed, lower_bound
from distilabel_endpoints.quality.flaws import Flaw


def chance(part: int, whole: int, share: float) -> float:
    """Of `part` or more of `whole`, if each has the flaw with that share."""
    return sum(
        comb(whole, n) * share**n * (1 - share) ** (whole - n) for n in range(part, whole + 1)
    )


@given(st.integers(1, 120).flatmap(lambda whole: st.tuples(st.integers(0, whole), st.just(whole))))
def test_the_bound_holds_in_99_of_100_cases(pair: tuple[int, int]) -> None:
    """Whatever the numbers: seeing this much by chance, at the bound itself, is rarer than 1 %."""
    part, whole = pair
    bound = lower_bound(part, whole)
    assert 0 <= bound <= part / whole
    assert chance(part, whole, bound) <= 0.0101 or part == 0


@given(st.integers(1, 10_000), st.floats(0.01, 1))
def test_more_answers_say_more(whole: int, share: float) -> None:
    """The same share of ten times as many has a higher bound."""
    part = round(share * whole)
    assert lower_bound(10 * part, 10 * whole) >= lower_bound(part, whole) - 1e-9


def test_early_finishers_are_not_counted() -> None:
    """Nine good rows that finish first say nothing while the slow tenth is under way."""
    cohorts = Cohorts(10)
    for n in range(10):
        cohorts.sent(n)
    for n in range(9):
        assert not cohorts.ended(n, [Observed(flaws=[])])
    assert cohorts.all.answers == 0
    assert cohorts.ended(9, [Observed(flaws=[Flaw.LOOPS])])
    assert cohorts.all.of(Flaw.LOOPS) == (1, 10)


@given(st.randoms(use_true_random=False), st.integers(1, 400))
def test_each_row_counts_once_when_its_cohort_is_complete(rng: random.Random, rows: int) -> None:
    """In whatever order rows end: whole cohorts are counted, the last part of one is not."""
    cohorts = Cohorts()
    for n in range(rows):
        cohorts.sent(n)
    order = list(range(rows))
    rng.shuffle(order)
    closed = sum(cohorts.ended(n, [Observed(flaws=[Flaw.EMPTY] * (n % 2))]) for n in order)
    assert closed == rows // COHORT
    assert cohorts.all.answers == closed * COHORT
    assert cohorts.all.flaws[Flaw.EMPTY] == closed * COHORT // 2
    assert cohorts.recent.answers == min(closed, 4) * COHORT


def test_identical_answers_are_counted_by_prompts() -> None:
    """A prompt that is asked a hundred times has one answer a hundred times, and that is right."""
    cohorts = Cohorts()
    for n in range(100):
        cohorts.sent(n)
        cohorts.ended(n, [Observed(flaws=[], text=b"same", prompt=b"one")])
    assert cohorts.over({Flaw.IDENTICAL: 0.1}) == {}
    for n in range(100, 200):
        cohorts.sent(n)
        cohorts.ended(n, [Observed(flaws=[], text=b"same", prompt=str(n).encode())])
    assert set(cohorts.over({Flaw.IDENTICAL: 0.5})) == {Flaw.IDENTICAL}


@pytest.mark.parametrize(("share", "raised"), [(0.01, 0), (0.2, 1)])
def test_a_share_below_the_threshold_raises_nothing(share: float, raised: int) -> None:
    """Half of a threshold of 2 %, over 20,000 rows: quiet. Ten times it: loud."""
    rng = random.Random(5)
    cohorts = Cohorts()
    found = 0
    for n in range(20_000):
        cohorts.sent(n)
        flaws = [Flaw.LOOPS] if rng.random() < share else []
        if cohorts.ended(n, [Observed(flaws=flaws)]) and cohorts.over({Flaw.LOOPS: 0.02}):
            found = 1
    assert found == raised
