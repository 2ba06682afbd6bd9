"""A fluid model of an inference server, driven by events in virtual time.

Requests that run share `speed(running)` tokens a second equally, after a fixed prefill; what
does not fit into the slots queues, what is not admitted is refused. Seconds are virtual: a
quarter of an hour of a busy server passes in a second or two. A limiter is played against it
by `simulate`, with rows waiting for as long as there are any.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Literal, Protocol

from distilabel._engine.limiter import Permit

Curve = tuple[tuple[int, float], ...]

NANO: Curve = (
    (1, 277), (8, 1881), (16, 3455), (32, 5600), (64, 8120),
    (128, 11556), (256, 15552), (512, 18746), (1024, 18829),
)  # fmt: skip
BIG: Curve = ((1, 130), (10, 1090), (50, 4381), (100, 6802))
COLLAPSE: Curve = (
    (1, 73), (8, 570), (16, 1054), (32, 2120), (64, 3816), (128, 3799), (256, 1586),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a simulated server does. Times are seconds; lengths are output tokens."""

    curve: Curve
    slots: int = 1024
    tokens: float = 256.0
    later_tokens: float | None = None
    shift_at: float = math.inf
    sigma: float | None = None
    """None: exponential lengths. Else lognormal lengths with this sigma."""
    prefill: float = 0.3
    admit: int | None = None
    per_minute: float | None = None
    burst: float | None = None
    """Capacity of the server's bucket. Default: a tenth of a minute."""
    window: float | None = None
    """Seconds of a fixed window, instead of a bucket, for `per_minute`."""
    refuse: float = 0.0
    retry_after: float | None = None
    down_until: float = 0.0
    gateway: float | None = None
    rtt: float = 0.05
    usage: Literal["exact", "silent", "unrelated"] = "exact"

    def speed(self, running: int) -> float:
        """Tokens a second, all running requests together; linear between the points."""
        points = self.curve
        index = bisect_right(points, running, key=lambda point: point[0])
        if index == 0:
            return points[0][1] * running / points[0][0]
        if index == len(points):
            return points[-1][1]
        (low, slow), (high, fast) = points[index - 1], points[index]
        return slow + (fast - slow) * (running - low) / (high - low)


def plateau(slots: int, seconds: float = 1.0, **changes: object) -> Server:
    """A server whose service time does not depend on load until its slots are full."""
    base = Server(
        curve=((1, 100.0), (slots, 100.0 * slots)),
        slots=slots,
        tokens=100.0 * seconds,
        sigma=0.8,
        prefill=0.0,
        usage="silent",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


class Control(Protocol):
    """What `simulate` needs of a limiter."""

    def acquire(self, now: float, tokens: int = 0) -> Permit | None: ...
    def next_time(self, now: float) -> float | None: ...
    def succeed(
        self,
        permit: Permit,
        now: float,
        *,
        output_tokens: int | None,
        input_tokens: int | None,
    ) -> None: ...
    def push_back(self, permit: Permit, now: float, *, retry_after: float | None) -> None: ...
    def unavailable(self, permit: Permit, now: float) -> None: ...
    def fail(self, permit: Permit, now: float, *, timed_out: bool = False) -> None: ...
    @property
    def limit(self) -> int: ...
    @property
    def in_flight(self) -> int: ...


@dataclass(slots=True)
class Outcome:
    """What came of a simulation. Lists have one entry per `step` seconds."""

    step: float
    seconds: float = 0.0
    tokens: list[float] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    queues: list[int] = field(default_factory=list)
    sent: int = 0
    done: int = 0
    refused: int = 0
    unavailable: int = 0
    timed_out: int = 0
    latency: float = 0.0
    longest: float = 0.0
    stuck: bool = False

    def delivered(self, start: float = 0.0, end: float = math.inf) -> float:
        """Tokens of the requests that finished between two times."""
        first = round(start / self.step)
        last = len(self.tokens) if end == math.inf else round(end / self.step)
        return sum(self.tokens[first:last])


class _Job:
    __slots__ = ("at", "dead", "permit", "tokens", "work")

    def __init__(self, permit: Permit, at: float, tokens: int, work: float) -> None:
        self.permit = permit
        self.at = at
        self.tokens = tokens
        self.work = work
        self.dead = False


class _Machine:
    """The server's inside: slots, queue, shared decoding in "work per request" time."""

    def __init__(self, server: Server, rng: random.Random) -> None:
        self.server = server
        self.rng = rng
        self.rates = [0.0] + [server.speed(n) / n for n in range(1, server.slots + 1)]
        self.now = 0.0
        self.progress = 0.0
        self.running = 0
        self.decoding: list[tuple[float, int, _Job]] = []
        self.queue: deque[_Job] = deque()
        self.queued = 0
        self.timers: list[tuple[float, int, str, _Job]] = []
        self.ages: deque[_Job] = deque()
        self.sequence = 0
        self.credit = 0.0
        if server.per_minute is not None:
            self.credit = self._capacity()
        self.credit_at = 0.0

    def _capacity(self) -> float:
        server = self.server
        assert server.per_minute is not None
        if server.window is not None:
            return server.per_minute * server.window / 60.0
        return server.per_minute / 10.0 if server.burst is None else server.burst

    def _rate_limited(self) -> bool:
        server = self.server
        if server.per_minute is None:
            return False
        if server.window is not None:
            if self.now // server.window != self.credit_at // server.window:
                self.credit = self._capacity()
        else:
            grown = self.credit + (self.now - self.credit_at) * server.per_minute / 60.0
            self.credit = min(self._capacity(), grown)
        self.credit_at = self.now
        if self.credit < 1.0:
            return True
        self.credit -= 1.0
        return False

    def send(self, job: _Job) -> None:
        """A request arrives."""
        server = self.server
        if self.now < server.down_until:
            self._timer(self.now + server.rtt, "unavailable", job)
        elif (
            (server.refuse and self.rng.random() < server.refuse)
            or (server.admit is not None and self.running + self.queued >= server.admit)
            or self._rate_limited()
        ):
            self._timer(self.now + server.rtt, "refused", job)
        else:
            if server.gateway is not None:
                self.ages.append(job)
            if self.running < server.slots:
                self._start(job)
            else:
                self.queue.append(job)
                self.queued += 1

    def _timer(self, at: float, kind: str, job: _Job) -> None:
        self.sequence += 1
        heappush(self.timers, (at, self.sequence, kind, job))

    def _start(self, job: _Job) -> None:
        self.running += 1
        if self.server.prefill > 0.0:
            self._timer(self.now + self.server.prefill, "decode", job)
        else:
            self._decode(job)

    def _decode(self, job: _Job) -> None:
        self.sequence += 1
        heappush(self.decoding, (self.progress + job.work, self.sequence, job))

    def _leave(self) -> None:
        self.running -= 1
        while self.queue:
            job = self.queue.popleft()
            if not job.dead:
                self.queued -= 1
                self._start(job)
                return

    def step(self, until: float) -> tuple[str, _Job] | None:
        """Go on to the next thing the client sees, or to `until`."""
        while True:
            while self.decoding and self.decoding[0][2].dead:
                heappop(self.decoding)
            rate = self.rates[self.running]
            finish = math.inf
            if self.decoding:
                finish = self.now + max(0.0, self.decoding[0][0] - self.progress) / rate
            timer = self.timers[0][0] if self.timers else math.inf
            while self.ages and self.ages[0].dead:
                self.ages.popleft()
            kill = math.inf
            if self.ages:
                kill = self.ages[0].at + (self.server.gateway or 0.0)
            at = min(finish, timer, kill, until)
            self.progress += rate * (at - self.now)
            self.now = at
            if at == until:
                return None
            if at == finish:
                job = heappop(self.decoding)[2]
                job.dead = True
                self._leave()
                return "done", job
            if at == kill:
                job = self.ages.popleft()
                job.dead = True
                self._kill(job)
                return "timed out", job
            _, _, kind, job = heappop(self.timers)
            if kind == "decode":
                if not job.dead:
                    self._decode(job)
            else:
                return kind, job

    def _kill(self, job: _Job) -> None:
        if job in self.queue:
            self.queue.remove(job)
            self.queued -= 1
        else:
            self._leave()


def simulate(
    server: Server,
    make: Callable[[random.Random], Control],
    *,
    seconds: float = math.inf,
    rows: float = math.inf,
    seed: int = 0,
    step: float = 10.0,
    lengths: Callable[[random.Random, float], float] | None = None,
    watch: Callable[[float, Control], None] | None = None,
) -> Outcome:
    """Play a limiter against a server until the time or the rows are over."""
    rng = random.Random(seed)
    limiter = make(random.Random(seed + 1))
    machine = _Machine(server, rng)
    outcome = Outcome(step=step)
    left = rows
    next_step = 0.0
    while True:
        now = machine.now
        while left > 0:
            permit = limiter.acquire(now)
            if permit is None:
                break
            left -= 1
            outcome.sent += 1
            work = lengths(rng, now) if lengths else _length(server, rng, now)
            machine.send(_Job(permit, now, max(1, round(work)), work))
        if watch is not None:
            watch(now, limiter)
        if left <= 0 and limiter.in_flight == 0:
            break
        if now >= next_step:
            next_step += step
            outcome.tokens.append(0.0)
            outcome.limits.append(limiter.limit)
            outcome.queues.append(machine.queued)
        wake = limiter.next_time(now) if left > 0 else None
        if wake is None and limiter.in_flight == 0:
            outcome.stuck = True
            break
        until = min(seconds, next_step)
        if wake is not None:
            until = min(until, max(wake, now + 1e-6))
        event = machine.step(until)
        if event is None:
            if machine.now >= seconds:
                break
            continue
        left += _deliver(event, machine, limiter, outcome)
    outcome.seconds = machine.now
    return outcome


def _deliver(event: tuple[str, _Job], machine: _Machine, limiter: Control, outcome: Outcome) -> int:
    """Tell the limiter; the number of rows that have to be sent again."""
    kind, job = event
    now, server = machine.now, machine.server
    if kind == "done":
        outcome.done += 1
        outcome.tokens[-1] += job.tokens
        latency = now - job.at
        outcome.latency += latency
        outcome.longest = max(outcome.longest, latency)
        used: int | None = job.tokens
        if server.usage == "silent":
            used = None
        elif server.usage == "unrelated":
            used = 1 + int(machine.rng.expovariate(1 / 256))
        limiter.succeed(job.permit, now, output_tokens=used, input_tokens=None)
        return 0
    if kind == "refused":
        outcome.refused += 1
        limiter.push_back(job.permit, now, retry_after=server.retry_after)
    elif kind == "unavailable":
        outcome.unavailable += 1
        limiter.unavailable(job.permit, now)
    else:
        outcome.timed_out += 1
        limiter.fail(job.permit, now, timed_out=True)
    return 1


def _length(server: Server, rng: random.Random, now: float) -> float:
    mean = server.tokens
    if server.later_tokens is not None and now >= server.shift_at:
        mean = server.later_tokens
    if server.sigma is None:
        return rng.expovariate(1.0 / mean)
    return rng.lognormvariate(math.log(mean) - server.sigma**2 / 2, server.sigma)
