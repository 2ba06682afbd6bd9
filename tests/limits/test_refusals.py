"""What refusals are taken for."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from fluid import Control, Server, plateau, simulate
from limiter_servers import NINE, limiter

from distilabel_endpoints._limits.limiter import Limiter
from distilabel_endpoints._limits.refusals import Cut, Lift, RateBucket, Refusals, Stage


class Door:
    """Refusals, and a server behind them that decides at once, in a burst at a time."""

    def __init__(self, limit: int) -> None:
        self.refusals = Refusals()
        self.limit = limit
        self.now = 0.0
        self.in_flight = 0
        self.pauses: list[float] = []
        self.rulings: list[Cut | Lift | None] = []

    def burst(self, refused: list[bool], *, seconds: float = 1.0) -> None:
        """Send once for each entry; True is refused 50 ms later. Then the pause, if there is one.

        What was kept is answered after `seconds`.
        """
        sent = []
        for refuse in refused:
            self.in_flight += 1
            self.refusals.sent(self.now)
            sent.append((refuse, self.now, self.in_flight))
            self.now += 1e-4
        self.now += 0.05
        for refuse, at, load in sent:
            if refuse:
                self.in_flight -= 1
                self.refusals.refused(
                    self.now, sent_at=at, load=load, limit=self.limit, current=True
                )
        settle_at = self.refusals.settle_at
        if settle_at is not None:
            self.pauses.append(settle_at - self.now)
            self.now = settle_at
            ruling = self.refusals.settled(self.now, self.in_flight)
            self.rulings.append(ruling)
            if ruling is not None:
                self.limit = ruling.limit
        self.now += seconds
        for _ in range(self.in_flight):
            self.refusals.answered()
        self.in_flight = 0


def test_the_limit_goes_a_little_below_what_the_server_kept() -> None:
    """One cut for a whole burst, however many of it were refused."""
    door = Door(64)
    door.burst([False] * 40 + [True] * 24)
    assert door.rulings == [Cut(39)]
    assert door.refusals.wall.kept == 40
    assert door.refusals.stage is Stage.CONCURRENCY


def test_answers_during_the_pause_count_as_kept() -> None:
    """The server had room for them."""
    refusals = Refusals()
    for _ in range(10):
        refusals.sent(0.0)
    assert refusals.refused(0.05, sent_at=0.0, load=10, limit=10, current=True)
    for _ in range(4):
        refusals.answered()
    assert refusals.settled(0.2, 5) == Cut(9)


def test_a_small_server_keeps_all_its_slots() -> None:
    """A margin of three per cent is none at four."""
    door = Door(32)
    door.burst([False] * 4 + [True] * 28)
    assert door.rulings == [Cut(4)]


def test_what_was_sent_before_the_last_cut_does_not_cut() -> None:
    """Nor what was sent before the present counting."""
    refusals = Refusals()
    assert not refusals.refused(1.0, sent_at=0.5, load=5, limit=10, current=False)
    assert refusals.settle_at is None


def test_rounds_without_an_accepted_request_double_the_pause() -> None:
    """Up to 15 s; one accepted request ends that."""
    door = Door(8)
    for _ in range(16):
        door.burst([True])
    for earlier, later in pairwise(door.pauses):
        assert later == pytest.approx(min(2 * earlier, 15.0), rel=0.01)
    door.burst([False, False, True])
    door.burst([True])
    assert door.pauses[-1] < 0.5


def test_refusals_below_the_wall_lead_to_a_measured_rate() -> None:
    """A wall that keeps less each time is none: count what is accepted, and send a little less."""
    door = Door(60)
    door.burst([False] * 50 + [True] * 10)
    for kept in (40, 30, 20, 15, 15, 15, 15, 15):
        door.burst([False] * kept + [True] * 10)
        if door.refusals.gate is not None:
            break
    gate = door.refusals.gate
    assert door.refusals.stage is Stage.GATED
    assert door.rulings[-1] == Lift(60)
    assert gate is not None
    assert 10 < gate.rate < 30


def gated_door(*, seconds: float = 1.0) -> Door:
    """Refusals that have led to a gate, of about 15 sends in that time."""
    door = Door(60)
    door.burst([False] * 50 + [True] * 10)
    for kept in (40, 30, 20, 15):
        door.burst([False] * kept + [True] * 10, seconds=seconds)
    assert door.refusals.gate is not None
    return door


def send_through_the_gate(door: Door, server: RateBucket, seconds: float) -> tuple[int, int]:
    """One after the other, to a server that admits what its bucket holds: accepted and refused."""
    refusals, now, accepted, refused = door.refusals, door.now, 0, 0
    while now < door.now + seconds and refusals.gate is not None:
        now = refusals.gate.when(now)
        refusals.sent(now)
        if server.ready(now, 1.0):
            server.take(1.0)
            refusals.answered()
            accepted += 1
            continue
        refused += 1
        refusals.refused(now + 0.05, sent_at=now, load=1, limit=door.limit, current=True)
        if refusals.settle_at is not None:
            now = refusals.settle_at
            refusals.settled(now, 0)
    door.now = now
    return accepted, refused


@pytest.mark.parametrize("credit", [20.0, 60.0, 200.0])
def test_a_server_that_saves_up_credit_is_kept_at_its_rate(credit: float) -> None:
    """What was accepted while there was credit is more than the rate that lasts."""
    door = gated_door()
    server = RateBucket(10.0, credit, door.now)
    send_through_the_gate(door, server, 60.0)
    accepted, refused = send_through_the_gate(door, server, 300.0)
    assert accepted >= 0.97 * 10.0 * 300.0
    assert refused <= 10


def test_a_gate_that_refuses_nothing_for_minutes_goes() -> None:
    """The server accepts whatever comes now: nothing is held back for what it did earlier."""
    door = gated_door(seconds=30.0)
    began = door.now
    _, refused = send_through_the_gate(door, RateBucket(1e4, 1e4, began), 1000.0)
    assert not refused
    assert door.now - began < 400.0
    assert door.refusals.gate is None
    assert door.refusals.stage is Stage.CLEAR


def test_refusals_pell_mell_are_no_wall() -> None:
    """A burst of which every second one is kept, the last as well as the first."""
    door = Door(32)
    door.burst([True, False] * 16)
    assert door.rulings == [None]
    assert door.refusals.stage is Stage.RATE
    assert door.limit == 32


def random_door(share: float, seed: int = 0) -> Door:
    """Refusals at a constant share, however slowly one sends."""
    rng = random.Random(seed)
    door = Door(32)
    for _ in range(60):
        door.burst([rng.random() < share for _ in range(8)])
    return door


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_refusals_that_pacing_does_not_lessen_are_random(share: float) -> None:
    """The limit is what it was before them, and the gate is gone."""
    for seed in range(5):
        door = random_door(share, seed)
        assert door.refusals.stage is Stage.RANDOM
        assert door.refusals.gate is None
        assert door.limit == 32


def test_a_crowd_that_is_refused_faster_than_it_is_counted_is_looked_at_again() -> None:
    """Hundreds are sent before the first is refused: those still in flight were not accepted."""
    door = random_door(0.3)
    for _ in range(40):
        door.burst([True] * 300, seconds=0.0)
    assert door.refusals.stage is not Stage.RANDOM


def test_random_refusals_that_become_many_more_are_looked_at_again() -> None:
    """A storm may hide a wall."""
    door = random_door(0.3)
    for _ in range(40):
        door.burst([False] + [True] * 11)
        if door.refusals.stage is not Stage.RANDOM:
            break
    assert door.refusals.stage is not Stage.RANDOM


def stages(server: Server, seconds: float, seed: int = 0) -> list[Stage]:
    """The stages a limiter goes through, in order."""
    seen: list[Stage] = []

    def watch(_: float, control: Control) -> None:
        assert isinstance(control, Limiter)
        stage = control._refusals.stage
        if not seen or seen[-1] is not stage:
            seen.append(stage)

    simulate(server, limiter, seconds=seconds, seed=seed, watch=watch)
    return seen


def test_a_wall_is_taken_for_a_wall() -> None:
    """And for nothing else, for as long as it stands."""
    assert stages(NINE["D"], 600.0) == [Stage.CLEAR, Stage.CONCURRENCY]
    assert stages(plateau(4, admit=4), 600.0) == [Stage.CLEAR, Stage.CONCURRENCY]


@pytest.mark.parametrize("seed", range(4))
def test_a_rate_limit_is_taken_for_one(seed: int) -> None:
    """Within a few seconds of its first refusal."""
    assert stages(NINE["E"], 30.0, seed)[-1] is Stage.GATED


@pytest.mark.parametrize("seed", range(6))
def test_a_storm_is_seen_through_within_seconds(seed: int) -> None:
    """Half of all requests refused, from the first one on."""
    assert stages(NINE["F"], 25.0, seed)[-1] is Stage.RANDOM


def test_a_fixed_window_is_no_storm() -> None:
    """All refused in one go, then none: pacing finds the rate of it."""
    server = replace(NINE["E"], per_minute=400, window=60.0)
    assert Stage.RANDOM not in stages(server, 400.0)


def test_a_pause_that_ends_with_nothing_to_explain_changes_nothing() -> None:
    """The gate may have gone meanwhile: then the limit is what it was."""
    refusals = Refusals()
    assert refusals.settled(1.0, in_flight=3) is None
    assert (refusals.stage, refusals.gate, refusals.settle_at) == (Stage.CLEAR, None, None)
