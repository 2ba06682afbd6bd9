"""How long a wall is believed in."""

from __future__ import annotations

from distilabel_endpoints._limits.refusals import Wall


def test_a_wall_met_again_at_the_same_height_is_tried_less_and_less_often() -> None:
    """From seconds to minutes, and by a hundredth instead of a twentieth."""
    wall = Wall()
    now, waits, pushes = 0.0, [], []
    for _ in range(12):
        wall.hit(now, 128)
        waits.append(wall.due - now)
        now = wall.due
        pushes.append(wall.push(now, 4096))
    assert pushes == [134] + 11 * [129]
    assert waits[0] == 5.0
    assert waits[-1] == 300.0
    assert waits == sorted(waits)


def test_a_wall_that_gives_way_is_pushed_ever_further() -> None:
    """From 4 to 100 in well under two minutes, from 100 to 1000 too."""
    for start, end in ((4, 100), (100, 1000)):
        wall = Wall()
        wall.hit(0.0, start)
        while wall.push(wall.due, 4096) < end:
            assert wall.due < 100.0


def test_a_wall_is_expected_within_a_tenth() -> None:
    """Small ones exactly."""
    for kept, other, expected in ((100, 108, True), (100, 80, False), (4, 3, False), (4, 4, True)):
        wall = Wall()
        wall.hit(0.0, kept)
        assert wall.hit(10.0, other) is expected


def test_each_push_is_at_least_one_more() -> None:
    """A wall of one can be left."""
    wall = Wall()
    wall.hit(0.0, 0)
    assert wall.kept == 1
    assert wall.push(5.0, 4096) == 2


def test_a_fallen_wall_is_not_due() -> None:
    """And the next one is news."""
    wall = Wall()
    wall.hit(0.0, 50)
    wall.fall()
    assert wall.height is None
    assert wall.due > 1e9
    assert not wall.hit(1.0, 50)


def test_a_wall_pushed_to_the_ceiling_is_gone() -> None:
    """It would not hold anything back."""
    wall = Wall()
    wall.hit(0.0, 100)
    highest = 0
    while wall.height is not None:
        highest = wall.push(wall.due, 500)
    assert highest == 500
