"""A pool of unequal endpoints in virtual time: what each would do alone, together."""

from __future__ import annotations

import random

from fluid import Server, _Event, _Job, _Machine, plateau, simulate
from limiter_servers import limiter

from distilabel_endpoints._engine.evidence import PoolHistory
from distilabel_endpoints._engine.pool import Grant, Member, Pool
from distilabel_endpoints._engine.retry import RetryPolicy
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings
from distilabel_endpoints.records import Answer, Completion, Failure, FailureKind, Request, Usage

ANSWER = Answer(completions=(Completion(text="yes"),), usage=Usage(10, 100))
GONE = Failure(kind=FailureKind.UNAVAILABLE, code="refused", message="nothing listens")
SERVERS = [plateau(16, 2.0), plateau(48, 1.0), plateau(96, 3.0), plateau(64, 0.5)]
TICK = 0.02


class Unused:
    """A client that nothing is sent to."""

    async def complete(self, request: Request) -> Answer | Failure:
        raise AssertionError(request)

    async def aclose(self) -> None:
        """Nothing is open."""


def together(seconds: float, *, dies_at: float = float("inf")) -> list[int]:
    """Answers of each endpoint in the second half; the last one may die."""
    rng = random.Random(0)
    history = PoolHistory(50.0)
    members = [
        Member(
            name=str(number),
            client=Unused(),
            limiter=Limiter(LimiterSettings(), rng=rng, now=0.0),
            policy=RetryPolicy(RetrySettings(), rng=rng, history=history),
        )
        for number in range(len(SERVERS))
    ]
    pool = Pool(members, LimiterSettings(), now=0.0)
    machines = [_Machine(server, random.Random(number)) for number, server in enumerate(SERVERS)]
    grants: dict[_Job, tuple[Grant, float]] = {}
    done = [0] * len(SERVERS)
    now = 0.0
    while now < seconds:
        while (grant := pool.acquire(now, 0, None)) is not None:
            index = members.index(grant.member)
            if index == 3 and now >= dies_at:
                pool.record(grant, GONE, now, 0.0)
                continue
            job = _Job(grant.permit, now, SERVERS[index].length(rng, now))
            grants[job] = grant, now
            machines[index].send(job)
        now += TICK
        for index, machine in enumerate(machines):
            while (event := machine.step(now)) is not None:
                grant, began = grants.pop(event[1])
                assert event[0] is _Event.DONE
                dead = index == 3 and now >= dies_at
                pool.record(grant, GONE if dead else ANSWER, now, now - began)
                done[index] += not dead and now >= seconds / 2
    return done


def alone(server: Server, seconds: float) -> float:
    """Answers of one endpoint in the second half, with a limiter of its own."""
    outcome = simulate(server, limiter, seconds=seconds)
    return outcome.delivered(seconds / 2) / server.tokens


def test_a_pool_of_unequal_endpoints_does_what_each_does_alone() -> None:
    """At least 0.95 of the sum."""
    assert sum(together(80.0)) >= 0.95 * sum(alone(server, 80.0) for server in SERVERS)


def test_an_endpoint_that_dies_costs_no_more_than_its_share() -> None:
    """The others are used as before."""
    rest = sum(alone(server, 80.0) for server in SERVERS[:3])
    assert sum(together(80.0, dies_at=40.0)[:3]) >= 0.95 * rest
