"""Opening the limit gently."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints._limits.availability import AT_ONCE, SoftStart


def test_a_few_at_once_the_rest_within_a_quarter_second() -> None:
    """Whatever the limit."""
    for limit in (1, 32, 4096):
        opening = SoftStart(10.0, floor=AT_ONCE)
        assert opening.room(10.0, limit) == AT_ONCE
        assert opening.room(10.25, limit) >= limit
        assert opening.over_at == 10.25


def test_hold_lets_the_few_go_alone() -> None:
    """Until their refusals would be known."""
    opening = SoftStart(0.0, floor=5, hold=0.5)
    assert opening.room(0.5, 100) == 5
    assert opening.room(0.625, 100) == 55


@given(
    floor=st.integers(0, 50),
    in_flight=st.integers(0, 5000),
    limit=st.integers(1, 4096),
    after=st.floats(0.0, 1.0),
)
def test_when_is_when_there_is_room(floor: int, in_flight: int, limit: int, after: float) -> None:
    """Never earlier, ahead where there is none now, and not later than the end."""
    opening = SoftStart(100.0, floor=floor, hold=0.2)
    now = 100.0 + after
    when = opening.when(now, in_flight, limit)
    if now < opening.over_at and in_flight >= opening.room(now, limit):
        assert now < when <= opening.over_at
        assert when == opening.over_at or in_flight < opening.room(when, limit)
    else:
        assert when == now
