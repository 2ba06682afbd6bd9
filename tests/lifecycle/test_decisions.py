"""What becomes of an endpoint: every line of the decision, and what holds for all of them."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifecycle_samples import ADA, BOB, WOKEN, duty, seen

from distilabel_endpoints.lifecycle.decisions import (
    PATIENCE,
    SETTLE,
    Doubt,
    Rest,
    Then,
    Verdict,
    judge,
    next_look,
    state_to_restore,
)
from distilabel_endpoints.lifecycle.sight import ASLEEP, Mark, sight_of
from distilabel_endpoints.testing.endpoint_settings import STATES

LATER = "2026-11-28T12:30:00.000Z"
OURS_LATER, THEIRS = Mark(ADA, LATER), Mark(BOB, LATER)


@pytest.mark.parametrize(
    ("then", "found", "inherited", "rest"),
    [
        ("restore", "paused", None, "paused"),
        ("restore", "scaledToZero", None, "scaledToZero"),
        ("restore", "running", None, None),
        ("restore", "running", "paused", "paused"),
        ("restore", "initializing", None, None),
        ("restore", "paused", "scaledToZero", "paused"),
        ("pause", "running", None, "paused"),
        ("pause", "scaledToZero", None, "paused"),
        ("scale-to-zero", "paused", None, "scaledToZero"),
        ("scale-to-zero", "running", "paused", "scaledToZero"),
        ("keep", "paused", None, None),
        ("keep", "running", "paused", None),
    ],
)
def test_what_must_be_restored(
    then: Then, found: str, inherited: Rest | None, rest: Rest | None
) -> None:
    """Asleep again what the run woke; what the user said otherwise; nothing if told to keep it."""
    assert state_to_restore(then, seen(found), inherited) == rest


@pytest.mark.parametrize(
    ("state", "mark", "doubt", "others", "elapsed", "asked", "verdict"),
    [
        ("running", WOKEN, "none", False, 0.0, None, "stop"),
        ("pending", WOKEN, "none", False, 0.0, None, "stop"),
        ("failed", WOKEN, "none", False, 0.0, None, "stop"),
        ("scaledToZero", WOKEN, "none", False, 0.0, None, "stop"),
        ("paused", WOKEN, "none", False, 0.0, None, "done"),
        ("paused", THEIRS, "none", False, 0.0, None, "done"),
        ("running", THEIRS, "none", False, 0.0, None, "changed"),
        ("running", OURS_LATER, "none", False, 0.0, None, "changed"),
        ("running", OURS_LATER, "start", False, 0.0, None, "stop"),
        ("running", THEIRS, "start", False, 0.0, None, "changed"),
        ("running", OURS_LATER, "stop", False, 0.0, None, "stop"),
        ("paused", WOKEN, "start", False, 0.0, None, "wait"),
        ("paused", WOKEN, "start", False, SETTLE, None, "done"),
        ("running", WOKEN, "none", True, 0.0, None, "in use"),
        ("running", WOKEN, "none", False, 9.0, 5.0, "wait"),
        ("running", WOKEN, "none", False, 99.0, 40.0, "stop"),
    ],
)
def test_what_is_done(
    state: str,
    mark: Mark,
    doubt: str,
    others: bool,
    elapsed: float,
    asked: float | None,
    verdict: str,
) -> None:
    """Stopped, waited for, left to others, or done."""
    rest = duty(doubt=Doubt(doubt))
    found = judge(rest, seen(state, mark), others=others, elapsed=elapsed, waited=asked)
    assert found == verdict


situations = st.fixed_dictionaries(
    {
        "state": st.sampled_from(STATES),
        "mark": st.sampled_from([WOKEN, OURS_LATER, THEIRS, Mark(BOB, WOKEN.at)]),
        "doubt": st.sampled_from(list(Doubt)),
        "state_to_restore": st.sampled_from(get_args(Rest)),
        "others": st.booleans(),
        "elapsed": st.floats(0, PATIENCE),
        "asked": st.none() | st.floats(0, PATIENCE),
    }
)


def judged(case: dict[str, Any]) -> Verdict:
    """The verdict on a drawn situation."""
    return judge(
        duty(case["state_to_restore"], doubt=case["doubt"]),
        seen(case["state"], case["mark"]),
        others=case["others"],
        elapsed=case["elapsed"],
        waited=case["asked"],
    )


@settings(deadline=None)
@given(situations)
def test_nothing_of_others_is_stopped(case: dict[str, Any]) -> None:
    """Never what somebody else changed since, and never what others use."""
    if judged(case) is Verdict.STOP:
        assert case["mark"].by is not BOB
        assert not case["others"]


@settings(deadline=None)
@given(situations)
def test_done_means_that_it_is_so(case: dict[str, Any]) -> None:
    """The end is only reported of an endpoint that was read as what must be restored."""
    if judged(case) is Verdict.DONE:
        assert case["state"] == case["state_to_restore"]


@settings(deadline=None)
@given(situations)
def test_what_runs_and_is_ours_is_never_left(case: dict[str, Any]) -> None:
    """Unchanged and unused by others, it is stopped or a command is on its way."""
    ours = case["mark"] == WOKEN and not case["others"]
    if ours and case["state"] not in ASLEEP:
        assert judged(case) in {Verdict.STOP, Verdict.WAIT}
        late = {**case, "asked": PATIENCE}
        assert judged(late) is Verdict.STOP


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_looks_come_often_at_first_and_never_rarely(looks: int) -> None:
    """Between half a second and a quarter of a minute, never shorter than the one before."""
    assert 0.5 <= next_look(looks) <= next_look(looks + 1) <= 15


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2023-10-26T12:41:53.263079138Z", "2023-10-26T12:41:53.263Z"),
        ("2023-10-26T12:41:53.2Z", "2023-10-26T12:41:53.200Z"),
        ("2023-10-26T12:41:53Z", "2023-10-26T12:41:53.000Z"),
        ("2023-10-26T14:41:53.263+02:00", "2023-10-26T12:41:53.263Z"),
    ],
)
def test_one_moment_in_two_spellings_is_no_change(one: str, other: str) -> None:
    """Commands are answered with nanoseconds, reads with milliseconds."""

    def marked(text: str) -> Mark:
        raw = {"status": {"updatedAt": text, "updatedBy": {"id": "1", "name": "ada"}}}
        return sight_of(raw, "ada").mark

    assert marked(one) == marked(other)
    assert marked(one) != marked("2023-10-26T12:41:53.264Z")


odd: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 2, 1.5, "", "x", "2026-13-01T00:00:00Z", [], ["a"], {}]
)
parts = st.dictionaries(
    st.sampled_from(["state", "updatedAt", "updatedBy", "scaling", "readyReplica", "vendor"]), odd
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["status", "compute", "provider", "model"]), odd | parts))
def test_any_answer_can_be_read(raw: dict[str, Any]) -> None:
    """What the service leaves out or changes is empty, and never an exception."""
    sight = sight_of(raw, "ada")
    assert sight.most >= 1
