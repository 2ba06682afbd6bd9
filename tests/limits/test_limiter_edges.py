"""The limiter's exact numbers: rounds of a ramp, moments of a probe, permits at an instant.

The other tests say what is achieved, within a range; here a change of any figure is seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
from limiter_steps import answer, fill, make, refuse, take

from distilabel_endpoints._limits.limiter import Limiter, Permit
from distilabel_endpoints._limits.search import LEAST, Phase, Ramp, Search

Round = tuple[int, float]
"""Completions, and the seconds they take."""


class Climb:
    """A ramp, fed with whole rounds whose speed is exact."""

    def __init__(self, start: int, *, now: float = 0.0) -> None:
        self.ramp = Ramp(now, start)
        self.now, self.limit = now, start

    def once(self, latency: float = 0.0, *, bound: int = 4096, work: float = 1.0) -> int:
        """One completion at this very moment."""
        self.limit = self.ramp.grow(self.now, self.limit, bound, work=work, latency=latency)
        return self.limit

    def round(self, n: int, seconds: float, *, latency: float = 0.0, work: float = 1.0) -> int:
        """Completions all at the end; but the last sixteen were sent before the round began."""
        self.now += seconds
        for left in range(n, 0, -1):
            self.once(latency if left <= LEAST else seconds + 1.0, work=work)
        return self.limit


def climbed(start: int, *rounds: Round, latency: float = 0.0) -> Climb:
    """After some rounds: the first one says how fast it was before, and how long answers take."""
    climb = Climb(start)
    for n, seconds in rounds:
        climb.round(n, seconds, latency=latency)
    return climb


def becomes(climb: Climb) -> str:
    """What the next completion does."""
    before = climb.limit
    if climb.ramp.over:
        return "over"
    return "grows" if climb.once() > before else "looks"


BEFORE: Round = (16, 16.0)
"""From 32 to 64 at one a second."""


@pytest.mark.parametrize("scale", [1.0, 2.0**-10])
@pytest.mark.parametrize(
    ("second", "latency", "then"),
    [
        ((46, 40.0), 16.0, "grows"),  # 1.15 times as fast, and 128 in flight may be needed
        ((45, 40.0), 16.0, "looks"),
        ((35, 25.0), 0.0, "grows"),  # 1.4 times as fast, and far more in flight than needed
        ((34, 25.0), 0.0, "looks"),
        ((36, 40.0), 0.0, "looks"),  # 0.9 times as fast
        ((35, 40.0), 0.0, "over"),
    ],
)
def test_a_doubling_is_worth_it_or_not(
    second: Round, latency: float, then: str, scale: float
) -> None:
    """By 1.15, by 1.4 where the limit is ample already; under 0.9 of the speed it is over."""
    rounds = [(n, seconds * scale) for n, seconds in (BEFORE, second)]
    climb = climbed(32, *rounds, latency=latency * scale)
    assert climb.limit == (16 if then == "over" else 128)
    assert becomes(climb) == then


@pytest.mark.parametrize(("latency", "then"), [(8.0, "grows"), (7.5, "looks")])
def test_one_and_a_half_times_what_is_needed_is_not_yet_ample(latency: float, then: str) -> None:
    """A quarter more is worth a doubling to 72 where 48 would do, and not where 45 would."""
    climb = climbed(18, (16, 20.0), (18, 18.0), latency=latency)
    assert climb.limit == 72
    assert becomes(climb) == then


def test_a_ramp_is_over_with_the_first_answer_at_its_bound() -> None:
    """Two more with every completion, but no more than the bound."""
    climb = Climb(32)
    assert [climb.once(bound=41) for _ in range(5)] == [34, 36, 38, 40, 41]
    assert not climb.ramp.over
    assert climb.once(bound=41) == 41
    assert climb.ramp.over


@pytest.mark.parametrize(
    ("latency", "work", "ends_at"),
    [
        (0.0, 1.0, 16),  # an eighth of how far it went
        (4.0, 1.0, 21),  # six times the 0.875 a second that took 4 seconds each at first
        (4.0, 0.5, 21),
        (4.0, 2.0, 42),  # twice the work a completion: as much as twice as many
        (16.0, 1.0, 64),  # half of how far it went
    ],
)
def test_a_collapse_ends_at_what_the_speed_needs(latency: float, work: float, ends_at: int) -> None:
    """By count or by work, whichever is more, within an eighth and a half of the limit."""
    climb = climbed(32, BEFORE, latency=latency)
    assert climb.round(35, 40.0, latency=latency, work=work) == ends_at
    assert climb.ramp.over


def test_a_ramp_ends_at_one_at_least() -> None:
    """However little is needed, and however small the limit."""
    climb = climbed(1, BEFORE, (16, 32.0))
    assert climb.ramp.over
    assert climb.limit == 1
    assert isinstance(climbed(5, BEFORE, (16, 32.0)).limit, int)


def test_a_round_within_one_clock_reading_is_a_fast_one() -> None:
    """A coarse clock divides nothing by zero."""
    climb = climbed(32, BEFORE, (32, 0.0))
    assert climb.limit == 128
    assert becomes(climb) == "grows"
    assert climbed(32, (16, 0.0), (32, 1.0)).ramp.over


DOUBTED: Round = (36, 36.0)
"""From 64 to 128 at one a second, as before: no gain."""


@pytest.mark.parametrize(("start", "least"), [(32, 32), (8, 16)])
def test_the_second_look_takes_a_quarter_of_the_limit(start: int, least: int) -> None:
    """And sixteen at least, counted from its begin."""
    climb = climbed(start, BEFORE, DOUBTED)
    assert climb.limit == 4 * start
    climb.now += 1000.0
    for _ in range(least - 1):
        assert climb.once() == 4 * start
    assert not climb.ramp.over
    climb.once()
    assert climb.ramp.over


def test_the_second_look_is_at_answers_sent_since() -> None:
    """Sixteen of them, however many older ones come in."""
    climb = climbed(32, BEFORE, DOUBTED)
    climb.now += 100.0
    for latency in [101.0] * 40 + [100.0] * 15 + [101.0]:
        climb.once(latency)
        assert not climb.ramp.over
    climb.once(100.0)
    assert climb.ramp.over


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(
    ("look", "latency", "ends_at"),
    [
        ((40, 32.0), 0.0, 40),  # 1.25 times as fast: 80 would do, half of which is sure
        ((40, 32.0), 8.0, 60),  # what the speed needs
        ((40, 32.0), 16.0, 80),
        ((36, 48.0), 0.0, 24),
        ((36, 48.0), 16.0, 64),  # slower than at 64: not above that
    ],
)
def test_the_second_look_ends_it_where_the_speed_was_reached(
    look: Round, latency: float, ends_at: int, scale: float
) -> None:
    """Between half the limit that shows the speed and that limit, by what the speed needs."""
    rounds = [(n, seconds * scale) for n, seconds in (BEFORE, DOUBTED, look)]
    climb = climbed(32, *rounds, latency=latency * scale)
    assert climb.ramp.over
    assert climb.limit == ends_at


@pytest.mark.parametrize(("after", "then"), [((180, 64.0), "grows"), ((179, 64.0), "looks")])
def test_after_a_second_look_that_convinced_it_goes_on(after: Round, then: str) -> None:
    """1.4 times as fast after all; and that is what the next doubling is compared with."""
    climb = climbed(32, BEFORE, DOUBTED, (35, 25.0))
    assert climb.limit == 128
    assert becomes(climb) == "grows"
    climb = climbed(32, BEFORE, DOUBTED, (64, 32.0), after)
    assert climb.limit == 256
    assert becomes(climb) == then


class Steady:
    """A search, always saturated, and a server that answers at exact intervals.

    Args:
        search: the search.
        speed: answers a second at a limit.
        works: what the answers bring, in turn.
    """

    def __init__(
        self, search: Search, speed: Callable[[int], float], works: Sequence[float] = (1.0,)
    ) -> None:
        self.search, self.speed = search, speed
        self.works = itertools.cycle(works)
        self.now = 0.0

    def run(self, seconds: float) -> list[tuple[float, str, int]]:
        """When the limit or the phase changed (a ramp is one change), and to what."""
        search, seen, end = self.search, [("", -1)], self.now + seconds
        moves = []
        while self.now < end:
            rate, limit = self.speed(search.limit), search.limit
            self.now += 1.0 / rate
            search.complete(
                self.now, limit / rate, next(self.works), in_flight=limit, load=float(limit)
            )
            now = (search.phase.name, 0 if search.phase is Phase.RAMP else search.limit)
            if now != seen[-1]:
                seen.append(now)
                moves.append((round(self.now, 2), *now))
        return moves


def holding(limit: int, most: int = 4096, *, floor: int = 1) -> Search:
    """A search that holds at a limit, and knows nothing yet."""
    search = Search(limit, most, 0.0, floor=floor)
    search.cut(limit, 0.0, "for the test")
    return search


def slots(n: int) -> Callable[[int], float]:
    """A second each, as long as there are slots."""
    return lambda limit: float(min(limit, n))


def test_probes_up_and_down_at_full_slots() -> None:
    """After a cut up first, in four epochs; each rejected probe is tried smaller, then later."""
    assert Steady(holding(100), slots(100)).run(80.0) == [
        (0.01, "HOLD", 100),
        (12.38, "UP", 142),
        (16.91, "HOLD", 100),
        (24.54, "DOWN", 71),
        (26.03, "HOLD", 100),
        (40.96, "UP", 119),
        (44.78, "HOLD", 100),
        (69.46, "UP", 142),
        (73.98, "HOLD", 100),
        (76.48, "DOWN", 85),
        (78.09, "HOLD", 100),
    ]


def test_uneven_answers_take_longer_to_judge() -> None:
    """The same server, but most of the work is in a third of the answers."""
    assert Steady(holding(100), slots(100), (0.1, 0.1, 2.8)).run(100.0) == [
        (0.01, "HOLD", 100),
        (12.38, "UP", 142),
        (26.49, "HOLD", 100),
        (32.28, "DOWN", 71),
        (34.45, "HOLD", 100),
        (50.72, "UP", 119),
        (62.58, "HOLD", 100),
        (83.13, "DOWN", 85),
        (90.98, "HOLD", 100),
        (96.35, "UP", 142),
    ]


def test_a_probe_down_that_is_clearly_slower_ends_early() -> None:
    """A third of the slots is idle meanwhile: half a latency of measuring is enough."""
    moves = Steady(holding(100), slots(100)).run(30.0)
    [began] = [at for at, phase, _ in moves if phase == "DOWN"]
    ended = min(at for at, phase, _ in moves if phase == "HOLD" and at > began)
    assert ended - began <= 1.5


def test_a_ceiling_is_probed_downwards_rarely_and_a_little() -> None:
    """Sixteen epochs after the ramp, twice as many after a rejected probe."""
    steady = Steady(Search(32, 64, 0.0), slots(1000))
    assert steady.run(160.0) == [
        (0.03, "RAMP", 0),
        (0.11, "HOLD", 64),
        (48.66, "DOWN", 54),
        (50.29, "HOLD", 64),
        (146.71, "DOWN", 46),
        (148.21, "HOLD", 64),
    ]
    assert steady.search.reason == "at its maximum"


def test_probes_that_are_kept_follow_each_other_further_down() -> None:
    """Three steps of half an octave, then whole ones; what costs goodput is taken back."""
    steady = Steady(holding(64), slots(8))
    assert steady.run(400.0) == [
        (0.12, "HOLD", 64),
        (96.62, "UP", 91),
        (132.12, "HOLD", 64),
        (192.12, "DOWN", 46),
        (211.88, "HOLD", 46),
        (247.75, "DOWN", 33),
        (262.25, "HOLD", 33),
        (268.75, "DOWN", 24),
        (283.75, "HOLD", 24),
        (289.0, "DOWN", 12),
        (302.88, "HOLD", 12),
        (309.38, "DOWN", 6),
        (313.54, "HOLD", 12),
        (331.79, "UP", 15),
        (348.79, "HOLD", 12),
        (361.42, "DOWN", 9),
        (373.79, "HOLD", 9),
        (379.04, "DOWN", 7),
        (385.76, "HOLD", 9),
    ]
    assert steady.search.reason == "as fast at 9"


def test_probes_up_that_are_kept_follow_each_other_at_once() -> None:
    """A server that gives less and less for more: half an octave each time, no ramp."""
    steady = Steady(holding(16), lambda limit: 4.0 * limit**0.5, (0.5, 1.5))
    assert steady.run(60.0) == [
        (0.06, "HOLD", 16),
        (17.19, "UP", 23),
        (22.66, "HOLD", 23),
        (34.96, "UP", 33),
        (40.06, "HOLD", 33),
        (50.33, "UP", 47),
        (55.1, "HOLD", 47),
    ]
    assert steady.search.reason == "faster at 47"
    assert Steady(holding(200), lambda limit: 20.0 * limit**0.5).run(13.0) == [
        (0.0, "HOLD", 200),
        (8.72, "UP", 283),
        (10.66, "HOLD", 283),
        (10.66, "UP", 401),
        (12.86, "HOLD", 401),
        (12.86, "UP", 568),
    ]


def test_a_probe_that_shows_a_far_larger_server_starts_a_ramp() -> None:
    """To the knee, and with what the ramp overshot taken back at once."""
    steady = Steady(holding(24), slots(96))
    assert steady.run(36.0) == [
        (0.04, "HOLD", 24),
        (12.87, "UP", 34),
        (15.37, "RAMP", 0),
        (24.16, "HOLD", 138),
        (28.57, "DOWN", 98),
        (32.2, "HOLD", 98),
        (32.21, "DOWN", 70),
        (33.72, "HOLD", 98),
    ]
    assert steady.search.generation == 2


def test_no_probe_goes_below_the_floor() -> None:
    """Down to it, and not from it."""
    assert Steady(holding(40, floor=32), slots(3)).run(1000.0) == [
        (0.33, "HOLD", 40),
        (164.0, "UP", 57),
        (223.33, "HOLD", 40),
        (323.67, "DOWN", 32),
        (360.33, "HOLD", 32),
        (627.0, "UP", 39),
        (667.67, "HOLD", 32),
        (938.0, "UP", 46),
        (984.33, "HOLD", 32),
    ]


def test_a_slower_server_is_probed_again_soon() -> None:
    """Patience learned before is not kept once answers take twice as long."""
    steady = Steady(holding(100), slots(100))
    steady.run(230.0)
    steady.speed = lambda limit: min(limit, 100) / 2.5
    assert steady.run(60.0) == [
        (230.03, "HOLD", 100),
        (256.43, "DOWN", 85),
        (260.17, "HOLD", 100),
        (266.09, "UP", 142),
        (277.42, "HOLD", 100),
        (283.67, "DOWN", 71),
        (287.4, "HOLD", 100),
    ]


@pytest.mark.parametrize("limit", [0, -1, 1])
def test_the_limit_is_one_at_least(limit: int) -> None:
    """Whatever a ramp, a cut or a bound says."""
    search = Search(100, 4096, 0.0)
    search.ramp(limit, 0.0, "again")
    assert search.limit == 1
    search.confine(limit)
    search.ramp(100, 0.0, "again")
    assert search.limit == 1
    search.confine(4096)
    search.cut(limit, 0.0, "less")
    assert (search.limit, search.reason, search.generation) == (1, "less", 3)


def test_a_bound_is_followed_only_upwards() -> None:
    """Where it has not moved nothing changes; where it has the limit says so."""
    search = holding(100)
    search.follow(100, 0.0)
    assert search.reason == "for the test"
    search.follow(110, 0.0)
    assert (search.limit, search.bound, search.reason) == (110, 110, "trying 110 again")
    search.confine(120)
    search.ramp(4096, 0.0, "again")
    assert search.limit == 120


@pytest.mark.parametrize(("answers", "timeouts"), [(0, 5), (20, 6), (40, 11)])
def test_more_than_a_fifth_of_timeouts_halves_the_limit(answers: int, timeouts: int) -> None:
    """Five at least; of an odd limit the smaller half is left."""
    search = holding(101)
    for n in range(answers + timeouts):
        assert search.limit == 101
        work = 1.0 if n < answers else 0.0
        search.complete(1.0, 0.0, work, in_flight=101, load=101.0)
    assert search.limit == 50
    assert isinstance(search.limit, int)
    assert search.reason == "many requests broke off or timed out"


def at_random() -> tuple[Limiter, list[Permit]]:
    """Three of eight refused whatever was in flight: no wall, so the rate is measured."""
    limiter = make()
    permits = take(limiter, 0.0)
    refuse(limiter, permits[:3], 0.05)
    assert limiter.acquire(0.1249) is None
    return limiter, permits[3:]


def test_after_a_round_without_an_answer_one_attempt_goes_first() -> None:
    """The others follow after one and a half times what a refusal takes."""
    limiter, kept = at_random()
    assert limiter.next_time(0.1) == pytest.approx(0.125)
    assert len(take(limiter, 0.125)) == 1
    assert limiter.statistics(0.125).refusals == "measuring the server's rate"
    assert limiter.next_time(0.125) == pytest.approx(0.125 + 0.075 + 0.25 / 32)
    assert limiter.acquire(0.1999) is None
    assert len(take(limiter, 0.2001)) == 1
    assert len(take(limiter, 0.46)) == limiter.limit - len(kept) - 2


def test_a_round_without_an_answer_opens_after_the_gate() -> None:
    """Not while the server has asked to wait."""
    limiter, _ = at_random()
    first, *others = take(limiter, 0.125)
    limiter.push_back(first, 0.175, retry_after=5.0)
    refuse(limiter, others, 0.175)
    gate = limiter.statistics(0.2).gate_until
    assert gate is not None
    assert limiter.acquire(0.3) is None
    assert limiter.next_time(0.3) == gate
    assert len(take(limiter, gate)) == 1
    assert limiter.next_time(gate) == pytest.approx(gate + 0.075 + 0.25 / 32)


def test_what_is_paced_is_ramped_again_from_before_the_cuts() -> None:
    """The limit was not the cause: the wall is gone, and the pace is what was accepted."""
    limiter, kept = at_random()
    sent = take(limiter, 0.125) + take(limiter, 1.125)
    refuse(limiter, [sent.pop()], 1.175)
    assert take(limiter, 1.33) == []
    seen = limiter.statistics(1.33)
    assert (seen.limit, seen.reason, seen.phase) == (32, "rate-limited by the server", "ramping up")
    assert seen.refusals == "rate-limited by the server"
    assert seen.paced_per_second == pytest.approx(0.97 * len(sent) / (1.33 - 0.125))
    rate = seen.paced_per_second
    assert limiter.next_time(1.33) == pytest.approx(1.33 + 1.0 / (rate or 0.0))
    assert limiter.acquire(1.375) is None
    answer(limiter, kept, 1.38)
    assert limiter.limit == 38
    assert len(take(limiter, 1.38)) == 1


def test_after_a_refusal_sends_keep_a_distance() -> None:
    """Nine tenths of what latency and limit make of it, until the refusals are explained."""
    limiter = make()
    permits = take(limiter, 0.0) + take(limiter, 0.3)
    answer(limiter, permits[:16], 2.3)
    assert len(take(limiter, 2.3)) > 1
    latency = limiter._search.latency
    refuse(limiter, permits[31:], 2.35)
    assert limiter.acquire(3.0) is None
    answer(limiter, permits[16:31], 3.0)
    distance = 0.9 * limiter._search.latency / limiter.limit
    assert 0.02 < distance < 0.9 * max(latency, 2.0)
    assert limiter.acquire(4.0) is not None
    assert limiter.acquire(4.0) is None
    assert limiter.next_time(4.0) == pytest.approx(4.0 + distance)
    assert limiter.acquire(4.0 + 0.99 * distance) is None
    assert limiter.acquire(4.0 + 1.01 * distance) is not None


@pytest.mark.parametrize(("accepted", "before", "after"), [(16, 17, 32), (31, 42, 42)])
def test_a_lift_never_lowers_the_limit(accepted: int, before: int, after: int) -> None:
    """It goes back to where the first refusal was met, or stays above that."""
    limiter = make()
    permits = take(limiter, 0.0) + take(limiter, 0.3)
    refuse(limiter, permits[accepted:], 0.35)
    permits = permits[:accepted]
    assert take(limiter, 0.5) == []
    assert limiter.statistics(0.5).reason == f"refused above {accepted}"
    for n in range(3 if accepted == 31 else 0):
        answer(limiter, [permits.pop(0)], 6.0 + 6.0 * n)
    answer(limiter, permits, 19.0)
    assert limiter.limit == before
    permits, now = fill(limiter, 20.0)
    refuse(limiter, permits[:3], now + 0.05)
    more, now = fill(limiter, now + 0.5)
    permits = permits[3:] + more
    assert limiter.statistics(now).refusals == "measuring the server's rate"
    assert limiter.limit == before
    for _ in range(2):
        for permit in permits:
            limiter.fail(permit, now + 0.5)
        permits, now = fill(limiter, now + 1.0)
    refuse(limiter, [permits.pop()], now + 0.05)
    assert limiter.acquire(now + 1.0) is None
    assert (limiter.limit, limiter.statistics(now).reason) == (after, "rate-limited by the server")


def test_generations_tell_what_was_sent_before_a_pause_and_before_a_cut() -> None:
    """A refusal below the wall pauses and does not cut; one from before that does neither."""
    limiter = make()
    permits = take(limiter, 0.0) + take(limiter, 0.3)
    generations = []
    now = 1.0
    for cuts in (True, False):
        refuse(limiter, permits[-2:], now)
        assert limiter.acquire(now + 0.01) is None
        old, limit = permits[:-2], limiter.limit
        permits, now = fill(limiter, now + 0.5)
        answer(limiter, old[4:], now + 0.5)
        more, now = fill(limiter, now + 1.0)
        permits += more
        generations.append({permit.generation for permit in permits})
        assert (limiter.limit < limit) is cuts
        refuse(limiter, old[:4], now + 0.1)
        assert limiter.statistics(now + 0.1).gate_until is None
        permits += fill(limiter, now + 0.3)[0]
        assert limiter.in_flight == limiter.limit
        now += 1.0
    assert generations == [{2}, {3}]


def test_a_wall_confines_the_search_until_it_is_tried_again() -> None:
    """The limit goes as high as the wall is believed, and no probe beyond it."""
    limiter = make(max_concurrency=100)
    permits = take(limiter, 0.0) + take(limiter, 0.3)
    refuse(limiter, permits[50:], 0.35)
    assert take(limiter, 0.5) == []
    assert (limiter.limit, limiter._search.bound) == (49, 50)
    answer(limiter, permits[:1], 5.4)
    assert limiter.limit == 49
    answer(limiter, permits[1:2], 5.51)
    assert (limiter.limit, limiter._search.bound) == (52, 52)


@pytest.mark.parametrize("way", ["push_back", "unavailable"])
def test_what_was_not_served_used_no_token(way: str) -> None:
    """All that was reserved may be spent again."""
    limiter = make(tokens_per_minute=60.0)
    (permit,) = take(limiter, 0.0, tokens=6)
    if way == "push_back":
        limiter.push_back(permit, 0.0, retry_after=None)
    else:
        limiter.unavailable(permit, 0.0)
    assert limiter.acquire(0.2, 6) is not None


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [(1800.0, 1800.0, 1980.0), (0.5, 0.5, 0.55), (-1.0, 0.0, 0.0), (1800.1, 0.0, 0.0)],
)
def test_retry_after_is_believed_up_to_half_an_hour(
    asked: float, least: float, most: float
) -> None:
    """To the second, and a tenth more at most; one already over is none."""
    limiter = make()
    first, *others = take(limiter, 0.0)
    refuse(limiter, [first], 1.0)
    limiter.push_back(others[0], 1.0, retry_after=asked)
    until = limiter.statistics(1.0).gate_until
    assert until is not None
    assert max(least, 0.02) <= until - 1.0 <= max(most, 1.0 if most == 0.0 else 0.0)


def test_a_longer_gate_outlives_a_shorter_one() -> None:
    """The end of a burst, or a later demand, ends no pause."""
    limiter = make()
    a, b, *others = take(limiter, 0.0)
    answer(limiter, others, 0.5)
    limiter.push_back(a, 1.0, retry_after=20.0)
    gate = limiter.statistics(1.0).gate_until
    limiter.push_back(b, 1.1, retry_after=2.0)
    assert limiter.statistics(1.1).gate_until == gate
    assert gate is not None
    assert limiter.statistics(gate).gate_until is None
    assert limiter.acquire(gate) is not None


def test_an_endpoint_that_says_when_it_is_back_is_asked_then() -> None:
    """A probe that was due sooner waits; what is shown is when, until it is sent."""
    limiter = make()
    for permit in take(limiter, 0.0):
        limiter.unavailable(permit, 0.0, retry_after=30.0)
    assert limiter.statistics(0.0).probe_at == limiter.next_time(0.0) == 30.0
    assert limiter.acquire(29.9) is None
    assert len(take(limiter, 30.0)) == 1
    assert limiter.statistics(30.0).breaker == "probing"
    assert limiter.statistics(30.0).probe_at is None


def test_after_an_outage_it_ramps_on_what_is_sent_then() -> None:
    """From the limit it had, or from its start where that is less."""
    limiter = make(start=8)
    old, *permits = take(limiter, 0.0)
    answer(limiter, permits, 1.0)
    assert limiter.limit > 8
    for permit in take(limiter, 1.0) + take(limiter, 1.3):
        limiter.unavailable(permit, 1.4)
    (probe,) = take(limiter, 4.0)
    answer(limiter, [probe], 5.0)
    seen = limiter.statistics(5.0)
    assert (seen.limit, seen.reason, seen.phase) == (8, "answers again", "ramping up")
    permits = take(limiter, 5.3)
    answer(limiter, [old], 6.0)
    assert limiter.limit == 8
    answer(limiter, permits[:1], 6.0)
    assert limiter.limit == 10


def test_statistics_count_everything() -> None:
    """Answers a second apart in speed, refusals, and what is still in flight."""
    limiter = make(max_concurrency=200)
    permits = take(limiter, 0.0) + take(limiter, 0.5)
    for n, permit in enumerate(permits[:100]):
        limiter.succeed(
            permit,
            permit.dispatched_at + (n + 1) / 10,
            output_tokens=10,
            input_tokens=5,
        )
    refuse(limiter, permits[100:103], 10.6)
    seen = limiter.statistics(11.0)
    assert (seen.sent, seen.refused, seen.in_flight) == (200, 3, 97)
    assert seen.latency_p50 == pytest.approx(5.1)
    assert seen.latency_p95 == pytest.approx(9.6)
    assert seen.requests_per_second == pytest.approx(100 / 11)
    assert seen.tokens_per_second == pytest.approx(1000 / 11)


def test_a_ramp_without_a_ceiling_says_where_it_ended() -> None:
    """Above what it brought no more."""
    steady = Steady(Search(32, 4096, 0.0), slots(100))
    assert steady.search.reason == "start"
    assert steady.run(9.0) == [(0.03, "RAMP", 0), (5.86, "HOLD", 134)]
    assert steady.search.reason == "no faster above 205"


def test_a_ramp_after_a_probe_says_what_the_probe_found() -> None:
    """The reason is the probe's."""
    steady = Steady(holding(24), slots(96))
    steady.run(16.0)
    assert steady.search.phase is Phase.RAMP
    assert steady.search.reason == "faster at 34"


def test_one_at_a_time_is_reached_where_one_is_enough() -> None:
    """A probe goes down to one, unless a floor is set."""
    moves = Steady(holding(2), slots(1)).run(2000.0)
    assert min(limit for _, _, limit in moves) == 1


@pytest.mark.parametrize(("in_flight", "limit"), [(7, 10), (8, 18)])
def test_four_fifths_of_the_limit_fill_it(in_flight: int, limit: int) -> None:
    """Less says nothing about it."""
    search = Search(10, 100, 0.0)
    search.complete(1.0, 1.0, 1.0, in_flight=in_flight, load=float(in_flight))
    assert search.limit == limit


def test_uncounted_answers_weigh_as_much_as_the_counted_ones() -> None:
    """Output tokens and a tenth of the input, smoothed; nothing at all is a tenth of a token."""
    limiter = make()
    counts = [(None, None), (100, 50), (None, None), (0, None)]
    for permit, (output, given) in zip(take(limiter, 0.0), counts, strict=False):
        limiter.succeed(permit, 1.0, output_tokens=output, input_tokens=given)
    assert limiter._search._evidence.work == pytest.approx(1.0 + 105.0 + 6.2 + 0.1)
    assert limiter.statistics(1.0).tokens_per_second == 100.0


def test_answers_cost_what_was_counted() -> None:
    """An input that was not counted costs nothing."""
    limiter = make(tokens_per_minute=60.0)
    (permit,) = take(limiter, 0.0, tokens=6)
    limiter.succeed(permit, 0.0, output_tokens=6, input_tokens=None)
    assert limiter.acquire(0.9, 1) is None
    assert limiter.acquire(1.0, 1) is not None


@pytest.mark.parametrize(("ceiling", "floor"), [(None, 4), (100, 32), (8, 8)])
def test_probes_have_a_floor(ceiling: int | None, floor: int) -> None:
    """A ceiling that the user has set is not undercut by much."""
    settings = {} if ceiling is None else {"max_concurrency": ceiling}
    assert make(**settings)._search._floor == floor


def test_the_load_of_an_answer_is_the_mean_of_its_ends() -> None:
    """How many were in flight when it was sent, and when it ended; from sending to the end."""
    limiter = make()
    first, *_ = take(limiter, 0.5)
    answer(limiter, [first], 2.0)
    evidence = limiter._search._evidence
    assert evidence.load == pytest.approx(0.5 * (1 + 32))
    assert evidence.latency == pytest.approx(1.5)


def test_a_pause_of_another_process_holds_and_opens_gently() -> None:
    """The longer one counts."""
    limiter = make()
    limiter.pause(5.0)
    limiter.pause(3.0)
    assert limiter.next_time(1.0) == limiter.statistics(1.0).gate_until == 5.0
    assert limiter.acquire(4.9) is None
    assert len(take(limiter, 5.0)) == 8


def test_a_permit_given_back_twice_is_named() -> None:
    """In words."""
    limiter = make()
    permit = take(limiter, 0.0)[0]
    limiter.cancel(permit, 0.0)
    with pytest.raises(RuntimeError, match=r"^this permit has been returned before$"):
        limiter.cancel(permit, 0.0)


@pytest.mark.parametrize(
    ("in_flight", "latency", "longest"), [(0, 1.0, 30.0), (1, 10.0, 40.0), (8, None, 600.0)]
)
def test_a_silence_is_an_idle_time_or_a_suspend(
    in_flight: int, latency: float | None, longest: float
) -> None:
    """Half a minute with nothing in flight, four latencies, or ten minutes before any answer."""
    for silence, more in ((longest, 32 - in_flight), (longest + 0.1, 8)):
        limiter = make(max_concurrency=32)
        permits, now = take(limiter, 0.0), 0.0
        if latency is not None:
            now = latency
            answer(limiter, permits[in_flight:], now)
        assert len(take(limiter, now + silence)) == more


def test_after_an_idle_time_only_what_is_sent_then_counts() -> None:
    """What was in flight meanwhile brings no growth; a gate still stands, and opens gently."""
    limiter = make(start=8)
    (old, *_) = take(limiter, 0.0)
    limiter.pause(1000.0)
    assert limiter.acquire(700.0) is None
    permits = take(limiter, 1000.0)
    answer(limiter, [old], 1000.5)
    assert limiter.limit == 8
    assert permits == []
    assert len(take(limiter, 1001.0)) == 1
    limiter = make(start=16)
    limiter.pause(100.0)
    assert limiter.acquire(50.0) is None
    permits = take(limiter, 100.0)
    assert len(permits) == 8
    permits += take(limiter, 101.0)
    answer(limiter, permits[:1], 101.5)
    assert limiter.limit == 18


def test_a_probe_that_finds_nothing_makes_way_for_the_next() -> None:
    """One at a time, for as long as nothing is there."""
    limiter = make()
    for permit in take(limiter, 0.0):
        limiter.unavailable(permit, 0.1)
    now = 0.1
    for _ in range(5):
        at = limiter.next_time(now)
        assert at is not None
        assert at > now
        probe = limiter.acquire(at)
        assert probe is not None
        assert limiter.acquire(at + 100.0) is None
        limiter.unavailable(probe, now := at + 0.1)
