"""A loop with a clock of its own, and a client whose answers are a function of the request."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import async_solipsism

from distilabel_endpoints._engine.evidence import PoolHistory
from distilabel_endpoints._engine.pool import Member, Pool
from distilabel_endpoints._engine.retry import RetryPolicy
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints._engine.scheduler import Scheduler
from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings
from distilabel_endpoints.records import Answer, Completion, Failure, FailureKind, Request, Usage

T = TypeVar("T")
Script = Callable[[Request], Awaitable[Answer | Failure]]


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main` to its end; waiting takes no real time."""
    loop: asyncio.AbstractEventLoop = async_solipsism.EventLoop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def answer(text: str = "yes", tokens: int = 10) -> Answer:
    """One completion."""
    return Answer(
        completions=(Completion(text=text, finish_reason="stop"),), usage=Usage(5, tokens)
    )


async def at_once(_: Request) -> Answer | Failure:
    """A script: everything is answered, and nothing waits."""
    return answer()


def failure(kind: FailureKind, **given: Any) -> Failure:
    """A failure of a kind."""
    return Failure(kind=kind, message=given.pop("message", "no"), **given)


@dataclass
class ScriptedClient:
    """Answers by script, and remembers what was sent and how many at once."""

    script: Script
    sent: list[Request] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    cancelled: int = 0
    closed: bool = False

    async def complete(self, request: Request) -> Answer | Failure:
        self.sent.append(request)
        self.times.append(asyncio.get_running_loop().time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self.script(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1

    async def aclose(self) -> None:
        self.closed = True

    def attempts(self, row: int) -> int:
        """How often a row was sent."""
        return sum(request.ordinal == row for request in self.sent)


def scheduler_for(
    client: ScriptedClient,
    *,
    max_concurrency: int | None = None,
    timeout: float = 600.0,
    seed: int = 0,
    **retries: Any,
) -> Scheduler:
    """A scheduler on the running loop."""
    rng = random.Random(seed)
    limiter = Limiter(
        LimiterSettings(max_concurrency=max_concurrency),
        rng=rng,
        now=asyncio.get_running_loop().time(),
    )
    policy = RetryPolicy(RetrySettings(**retries), rng=rng)
    return Scheduler(Pool.of_one(client, limiter=limiter, policy=policy), attempt_timeout=timeout)


def pooled_scheduler_for(
    clients: Mapping[str, ScriptedClient],
    *,
    seed: int = 0,
    timeout: float = 600.0,
    limits: LimiterSettings | None = None,
    **retries: Any,
) -> Scheduler:
    """A scheduler on the running loop over several endpoints, by name."""
    rng, now = random.Random(seed), asyncio.get_running_loop().time()
    limits, settings = limits or LimiterSettings(), RetrySettings(**retries)
    history = PoolHistory(settings.retry_burst)
    own = LimiterSettings(max_concurrency=limits.max_concurrency)
    members = [
        Member(
            name=name,
            client=client,
            limiter=Limiter(own, rng=rng, now=now),
            policy=RetryPolicy(settings, rng=rng, history=history),
        )
        for name, client in clients.items()
    ]
    return Scheduler(Pool(members, limits, now=now), attempt_timeout=timeout)


def served(slots: int, seconds: float) -> ScriptedClient:
    """An endpoint that works on so many requests at once, for so long; the others queue."""
    free = asyncio.Semaphore(slots)

    async def script(_: Request) -> Answer | Failure:
        async with free:
            await asyncio.sleep(seconds)
        return answer()

    return ScriptedClient(script)
