"""The values observers get, and what is computed from them."""

from __future__ import annotations

import copy
import json
from dataclasses import FrozenInstanceError, asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints.records import Failure, FailureKind
from distilabel_endpoints.run_state import (
    FailureTally,
    Rates,
    RateWindow,
    RunEnding,
    RunPhase,
    RunSnapshot,
    RunSummary,
    Waiting,
    estimate_eta,
)


def snapshot(**changes: int | None) -> RunSnapshot:
    """A snapshot with some counts."""
    counts = {"total": 10, "ok": 3, "failed": 2, "skipped": 1, **changes}
    return RunSnapshot(elapsed=1.0, phase=RunPhase.RUNNING, **counts)  # type: ignore[arg-type]


def test_rows_add_up() -> None:
    """Done is every way to end; pending is the rest, where the number of rows is known."""
    assert snapshot().done == 6
    assert snapshot().pending == 4
    assert snapshot(total=None).pending is None
    assert snapshot(total=5).pending == 0


def test_snapshots_are_frozen() -> None:
    """An observer cannot change what the next one sees, and can keep a copy."""
    with pytest.raises(FrozenInstanceError):
        snapshot().ok = 4  # type: ignore[misc]
    assert copy.deepcopy(snapshot()) == snapshot()
    assert json.loads(json.dumps(asdict(snapshot())))["ok"] == 3


def test_defaults_say_nothing_happened() -> None:
    """A run that has just begun, and one that ended at once, need few words."""
    begun = RunSnapshot(elapsed=0.0, phase=RunPhase.SCANNING)
    assert (begun.done, begun.pending, begun.eta, dict(begun.retries)) == (0, None, None, {})
    ended = RunSummary(ending=RunEnding.FINISHED, exit_code=0)
    assert (ended.pending, ended.failures, ended.resume_command) == (0, (), None)
    assert Waiting("throttled").remaining is None


def test_rates_of_a_steady_run() -> None:
    """Ten rows and a thousand tokens a second are seen as that, from the first second on."""
    window = RateWindow(30.0)
    for step in range(400):
        now = step / 4
        window.add(now, int(now * 10), int(now * 1000))
        if now >= 1:
            rates = window.rates(now)
            assert rates.rows == pytest.approx(10, rel=0.1)
            assert rates.output_tokens == pytest.approx(1000, rel=0.1)


def test_rates_follow_a_change_within_the_window() -> None:
    """After the window's length nothing is left of an earlier pace."""
    window = RateWindow(30.0)
    for now in range(100):
        window.add(float(now), now * 10, 0)
    for now in range(100, 132):
        window.add(float(now), 1000 + (now - 100) * 2, 0)
    assert window.rates(131.0).rows == pytest.approx(2, rel=0.05)


def test_rates_of_a_slow_run_are_neither_zero_nor_spikes() -> None:
    """A row every 20 seconds is 0.05 a second, though most windows of 30 s see one row."""
    window = RateWindow(30.0, least_rows=10)
    for now in range(1000):
        window.add(float(now), now // 20, 0)
        if now > 200:
            assert window.rates(float(now)).rows == pytest.approx(0.05, rel=0.15)


def test_rates_fall_when_all_comes_to_a_halt() -> None:
    """Nobody is told of a pace that is gone."""
    window = RateWindow(30.0)
    for now in range(61):
        window.add(float(now), now * 10, 0)
    before = window.rates(60.0).rows
    for now in range(61, 2000):
        window.add(float(now), 600, 0)
        rate = window.rates(float(now)).rows
        assert rate <= before
        before = rate
        if now == 100:
            assert rate < 1.0
    assert before == 0


def test_rates_fall_without_further_samples() -> None:
    """Time alone lowers a rate."""
    window = RateWindow()
    window.add(0.0, 0, 0)
    window.add(10.0, 100, 0)
    assert window.rates(10.0).rows == 10
    assert window.rates(100.0).rows == 1


def test_no_rate_from_less_than_two_samples() -> None:
    """Nothing to tell from is zero, and no division by it."""
    window = RateWindow()
    assert window.rates(1.0) == Rates()
    window.add(1.0, 5, 5)
    assert window.rates(1.0) == Rates()
    window.add(1.4, 500, 500)
    assert window.rates(1.4) == Rates()


def test_rows_that_are_taken_back_make_no_negative_rate() -> None:
    """Refusals that turn out to be everybody's leave the count of failed rows."""
    window = RateWindow()
    window.add(0.0, 20, 9)
    window.add(10.0, 0, 0)
    assert window.rates(10.0) == Rates()


@given(st.lists(st.floats(0, 2), max_size=400), st.integers(0, 50))
def test_windows_are_bounded_and_exact(gaps: list[float], rows: int) -> None:
    """However close samples are, no rate runs away, and only a window's worth is kept."""
    window = RateWindow(5.0, least_rows=0, longest=20.0)
    now = 0.0
    window.add(now, 0, 0)
    for number, gap in enumerate(gaps, 1):
        now += gap
        window.add(now, rows * number, number)
        rates = window.rates(now)
        assert 0 <= rates.rows <= rows * number / 0.5
        assert rates.rows == pytest.approx(rows * rates.output_tokens)
    assert len(window._samples) <= 5.0 / 0.5 + 3


def test_memory_is_bounded_over_a_long_run() -> None:
    """An hour of updates, four a second, keeps few samples, even when nothing ends."""
    window = RateWindow()
    for step in range(4 * 3600):
        window.add(step / 4, 0, 0)
    assert window.rates(3600.0) == Rates()
    assert len(window._samples) < 1300


def test_eta() -> None:
    """Pending rows at the present rate; nothing where that says nothing."""
    pace = Rates(rows=2.0)
    assert estimate_eta(100, pace) == 50.0
    assert estimate_eta(0, Rates()) == 0.0
    assert estimate_eta(None, pace) is None
    assert estimate_eta(100, Rates()) is None
    assert estimate_eta(100, pace, waiting=True) is None


def refusal(message: str, status: int = 400) -> Failure:
    """A row's failure."""
    return Failure(kind=FailureKind.ROW, status=status, code="bad", message=message, hint="fix it")


def test_failures_are_grouped_by_reason() -> None:
    """Numbers do not make another reason, words and status do; the largest group comes first."""
    tally = FailureTally()
    tally.add(refusal("no tools"), 3, "a.jsonl:4")
    tally.add(refusal("5231 tokens are too many"), 7, "a.jsonl:8")
    tally.add(refusal("6000 tokens are too many"), 9)
    tally.add(refusal("6000 tokens are too many", 422), 1, rows=1)
    first, second, third = tally.groups()
    assert (first.count, first.example_ordinal, first.example_source) == (2, 7, "a.jsonl:8")
    assert (first.message, first.hint) == ("5231 tokens are too many", "fix it")
    assert (second.status, third.message) == (422, "no tools")


def test_a_server_cannot_fill_memory_with_messages() -> None:
    """Beyond fifty messages, failures are counted by status and code."""
    tally = FailureTally()
    for number in range(1000):
        words = "".join(chr(97 + int(digit)) for digit in str(number))
        tally.add(refusal(words), number)
    groups = tally.groups()
    assert len(groups) == 51
    assert sum(group.count for group in groups) == 1000
    assert groups[0].count == 950
