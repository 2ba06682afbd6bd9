"""A fluid model of an inference server, driven by events in virtual time.

Requests that run share `speed(running)` tokens a second equally, after a fixed prefill; what
does not fit into the slots queues, what is not admitted is refused. A quarter of an hour of a
busy server passes in less than a second. `simulate` plays a limiter against it, with rows
waiting for as long as there are any.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from heapq import heappop, heappush
from typing import Any, Literal, Protocol, assert_never

from distilabel_endpoints._limits.limiter import Permit

Curve = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a simulated server does. Times are seconds, lengths output tokens."""

    curve: Curve
    """Tokens per second by running requests; linear between the points, then flat."""
    slots: int = 1024
    tokens: float = 256.0
    """Mean length of an answer."""
    later_tokens: float | None = None
    """Mean length from `shift_at` on."""
    shift_at: float = math.inf
    sigma: float | None = None
    """None: exponential lengths. Else lognormal ones with this sigma."""
    prefill: float = 0.3
    """Until the first token, whatever else is read or written."""
    prompt: float = 0.0
    """Mean length of a prompt: lognormal, sigma 0.8. One is read after the other, and while one
    is read nothing is written."""
    reading: float = 4000.0
    """Tokens of prompts a second."""
    tenants: int = 0
    """Others' requests, which take slots and speed in every second half of `tenants_every`."""
    tenants_every: float = math.inf
    admit: int | None = None
    """Refuse what exceeds this, running and queueing together."""
    patience: float = math.inf
    """Refuse what has queued for this long, as haproxy's `timeout queue` does."""
    per_minute: float | None = None
    """Refuse more requests than this: a bucket, or a fixed `window`."""
    burst: float | None = None
    """Capacity of that bucket. Default: a tenth of a minute's worth."""
    window: float | None = None
    refuse: float = 0.0
    """Refuse each request at this chance, from `refuse_from` on."""
    refuse_from: float = 0.0
    retry_after: float | None = None
    down_until: float = 0.0
    gateway: float | None = None
    """Kill whatever is older than this."""
    rtt: float = 0.05
    """Until a refusal is known."""
    distance: float = 0.0
    """Added to every answer."""
    usage: Literal["exact", "silent", "unrelated"] = "exact"
    """What the server says about tokens."""

    def speed(self, running: int) -> float:
        """Tokens per second of all running requests together."""
        points = self.curve
        index = bisect_right(points, running, key=lambda point: point[0])
        if index == 0:
            return points[0][1] * running / points[0][0]
        if index == len(points):
            return points[-1][1]
        (low, slow), (high, fast) = points[index - 1], points[index]
        return slow + (fast - slow) * (running - low) / (high - low)

    def length(self, rng: random.Random, now: float) -> float:
        """The length of one answer."""
        mean = self.tokens
        if self.later_tokens is not None and now >= self.shift_at:
            mean = self.later_tokens
        if self.sigma is None:
            return rng.expovariate(1.0 / mean)
        return rng.lognormvariate(math.log(mean) - self.sigma**2 / 2, self.sigma)

    def prompt_length(self, rng: random.Random) -> float:
        """The length of one prompt."""
        return self.prompt and self.prompt * rng.lognormvariate(-0.32, 0.8)


def plateau(slots: int, seconds: float = 1.0, **changes: Any) -> Server:
    """A server whose service time does not depend on load until its slots are full."""
    base = Server(
        curve=((1, 100.0), (slots, 100.0 * slots)),
        slots=slots,
        tokens=100.0 * seconds,
        sigma=0.8,
        prefill=0.0,
        usage="silent",
    )
    return replace(base, **changes)


class Control(Protocol):
    """What `simulate` needs of a limiter."""

    @property
    def limit(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    def acquire(self, now: float, tokens: int = 0) -> Permit | None: ...
    def next_time(self, now: float) -> float | None: ...
    def succeed(
        self, permit: Permit, now: float, *, output_tokens: int | None, input_tokens: int | None
    ) -> None: ...
    def push_back(self, permit: Permit, now: float, *, retry_after: float | None) -> None: ...
    def unavailable(self, permit: Permit, now: float) -> None: ...
    def fail(self, permit: Permit, now: float, *, timed_out: bool = False) -> None: ...


@dataclass(slots=True)
class Outcome:
    """What came of a simulation. Lists have one entry per `step` seconds."""

    step: float
    seconds: float = 0.0
    tokens: list[float] = field(default_factory=list)
    """Tokens of the requests that finished."""
    limits: list[int] = field(default_factory=list)
    sent: int = 0
    done: int = 0
    refused: int = 0
    unavailable: int = 0
    timed_out: int = 0
    latency: float = 0.0
    """Sum over the requests that finished."""
    longest: float = 0.0
    stuck: bool = False
    """Nothing in flight, and nothing that would ever happen."""

    def delivered(self, start: float = 0.0, end: float = math.inf) -> float:
        """Tokens of the requests that finished between two times."""
        last = len(self.tokens) if end == math.inf else round(end / self.step)
        return sum(self.tokens[round(start / self.step) : last])

    def mean_limit(self, start: float = 0.0) -> float:
        """The limit from `start` on, on (geometric) average."""
        limits = self.limits[round(start / self.step) :]
        return math.exp(math.fsum(math.log(limit) for limit in limits) / len(limits))


class _Event(Enum):
    DECODE = "prefill is over"
    DONE = "done"
    REFUSED = "refused"
    WAITED = "has queued for as long as is allowed"
    UNAVAILABLE = "unavailable"
    KILLED = "killed by the gateway"


class _Job:
    __slots__ = ("at", "over", "permit", "prompt", "work")

    def __init__(self, permit: Permit, at: float, work: float, prompt: float = 0.0) -> None:
        self.permit = permit
        self.at = at
        self.work = work
        self.prompt = prompt
        self.over = False


class _Admission:
    """Which requests a server refuses out of hand."""

    def __init__(self, server: Server, rng: random.Random) -> None:
        self.server = server
        self.rng = rng
        self.at = 0.0
        self.credit = self.capacity = 0.0
        if server.per_minute is not None:
            seconds = 6.0 if server.window is None else server.window
            self.capacity = server.per_minute * seconds / 60.0
            if server.burst is not None and server.window is None:
                self.capacity = server.burst
            self.credit = self.capacity

    def refuses(self, now: float, inside: int) -> bool:
        server = self.server
        if server.refuse and now >= server.refuse_from and self.rng.random() < server.refuse:
            return True
        if server.admit is not None and inside >= server.admit:
            return True
        return server.per_minute is not None and not self._pays(now, server.per_minute)

    def _pays(self, now: float, per_minute: float) -> bool:
        window = self.server.window
        if window is None:
            grown = self.credit + (now - self.at) * per_minute / 60.0
            self.credit = min(self.capacity, grown)
        elif now // window != self.at // window:
            self.credit = self.capacity
        self.at = now
        if self.credit < 1.0:
            return False
        self.credit -= 1.0
        return True


class _Machine:
    """The server's inside: slots, queue, decoding counted in work done per running request."""

    def __init__(self, server: Server, rng: random.Random) -> None:
        self.server = server
        self.admission = _Admission(server, rng)
        self.rates = [0.0] + [server.speed(n) / n for n in range(1, server.slots + 1)]
        self.now = 0.0
        self.progress = 0.0
        self.running = 0
        self.others = 0
        self.switches_at = server.tenants_every / 2
        self.reading: deque[_Job] = deque()
        self.read_at = math.inf
        self.decoding: list[tuple[float, int, _Job]] = []
        self.queue: deque[_Job] = deque()
        self.timers: list[tuple[float, int, _Event, _Job]] = []
        self.ages: deque[_Job] = deque()
        self.sequence = 0

    def send(self, job: _Job) -> None:
        """A request arrives."""
        server, now = self.server, self.now
        if now < server.down_until:
            self._later(now + server.rtt, _Event.UNAVAILABLE, job)
        elif self.admission.refuses(now, self.others + self.running + len(self.queue)):
            self._later(now + server.rtt, _Event.REFUSED, job)
        else:
            if server.gateway is not None:
                self.ages.append(job)
            self.queue.append(job)
            self._fill()
            if job in self.queue and server.patience < math.inf:
                self._later(now + server.patience, _Event.WAITED, job)

    def _later(self, at: float, event: _Event, job: _Job) -> None:
        self.sequence += 1
        heappush(self.timers, (at, self.sequence, event, job))

    def _fill(self) -> None:
        while self.queue and self.running < self.server.slots - self.others:
            self._start(self.queue.popleft())

    def _start(self, job: _Job) -> None:
        self.running += 1
        if job.prompt > 0.0:
            self.reading.append(job)
            if len(self.reading) == 1:
                self._read()
        else:
            self._prefill(job)

    def _read(self) -> None:
        """Begin with the first prompt that waits."""
        self.read_at = math.inf
        if self.reading:
            self.read_at = self.now + self.reading[0].prompt / self.server.reading

    def _prefill(self, job: _Job) -> None:
        if self.server.prefill > 0.0:
            self._later(self.now + self.server.prefill, _Event.DECODE, job)
        else:
            self._decode(job)

    def _decode(self, job: _Job) -> None:
        self.sequence += 1
        heappush(self.decoding, (self.progress + job.work, self.sequence, job))

    def _leave(self) -> None:
        self.running -= 1
        self._fill()

    def _switch(self) -> None:
        """Other tenants come or go."""
        self.switches_at += self.server.tenants_every / 2
        self.others = 0 if self.others else self.server.tenants
        self._fill()

    def _kill(self) -> _Job:
        job = self.ages.popleft()
        job.over = True
        if job in self.queue:
            self.queue.remove(job)
        else:
            self._leave()
        return job

    def _finish(self) -> _Job:
        job = heappop(self.decoding)[2]
        job.over = True
        self._leave()
        return job

    def step(self, until: float) -> tuple[_Event, _Job] | None:
        """Go on to the next thing the client sees, or to `until`."""
        while True:
            while self.decoding and self.decoding[0][2].over:
                heappop(self.decoding)
            while self.ages and self.ages[0].over:
                self.ages.popleft()
            rate = self.rates[min(self.running + self.others, self.server.slots)]
            if self.reading:
                rate = 0.0
            finish = kill = math.inf
            if self.decoding and rate:
                finish = self.now + max(0.0, self.decoding[0][0] - self.progress) / rate
            if self.ages:
                kill = self.ages[0].at + (self.server.gateway or 0.0)
            timer = self.timers[0][0] if self.timers else math.inf
            at = min(finish, timer, kill, until, self.read_at, self.switches_at)
            self.progress += rate * (at - self.now)
            self.now = at
            if at == until:
                return None
            if at == self.switches_at:
                self._switch()
                continue
            if at == self.read_at:
                job = self.reading.popleft()
                self._read()
                if not job.over:
                    self._prefill(job)
                continue
            if at == finish:
                job = self._finish()
                if not self.server.distance:
                    return _Event.DONE, job
                self._later(at + self.server.distance, _Event.DONE, job)
                continue
            if at == kill:
                return _Event.KILLED, self._kill()
            _, _, event, job = heappop(self.timers)
            if event is _Event.WAITED:
                if job in self.queue:
                    self.queue.remove(job)
                    return _Event.REFUSED, job
            elif event is not _Event.DECODE:
                return event, job
            elif not job.over:
                self._decode(job)


class _Simulation:
    """One limiter against one server."""

    def __init__(self, server: Server, limiter: Control, rng: random.Random, step: float) -> None:
        self.server = server
        self.limiter = limiter
        self.rng = rng
        self.machine = _Machine(server, rng)
        self.outcome = Outcome(step)

    def send(self, left: float, length: Callable[[random.Random, float], float]) -> float:
        """Send for as long as there are rows and permits; the rows left."""
        machine, now = self.machine, self.machine.now
        while left > 0 and (permit := self.limiter.acquire(now)) is not None:
            left -= 1
            self.outcome.sent += 1
            work, prompt = length(self.rng, now), self.server.prompt_length(self.rng)
            machine.send(_Job(permit, now, work, prompt))
        return left

    def log(self) -> None:
        """Open the next entry of the outcome's lists."""
        self.outcome.tokens.append(0.0)
        self.outcome.limits.append(self.limiter.limit)

    def wake(self, left: float, until: float) -> float | None:
        """When to look again at the latest; None if nothing will ever happen."""
        limiter, now = self.limiter, self.machine.now
        wake = limiter.next_time(now) if left > 0 else None
        if wake is None:
            return until if limiter.in_flight else None
        if wake <= now:
            raise AssertionError("next_time is not after an acquire that gave nothing")
        return min(until, wake)

    def deliver(self, event: _Event, job: _Job) -> int:
        """Tell the limiter; the number of rows that have to be sent again."""
        limiter, outcome, now = self.limiter, self.outcome, self.machine.now
        match event:
            case _Event.DONE:
                self._done(job)
                return 0
            case _Event.REFUSED:
                outcome.refused += 1
                limiter.push_back(job.permit, now, retry_after=self.server.retry_after)
            case _Event.UNAVAILABLE:
                outcome.unavailable += 1
                limiter.unavailable(job.permit, now)
            case _Event.KILLED:
                outcome.timed_out += 1
                limiter.fail(job.permit, now, timed_out=True)
            case _Event.DECODE | _Event.WAITED:
                raise AssertionError("inside the server")
            case _:
                assert_never(event)
        return 1

    def _done(self, job: _Job) -> None:
        outcome, now = self.outcome, self.machine.now
        tokens = max(1, round(job.work))
        outcome.done += 1
        outcome.tokens[-1] += tokens
        outcome.latency += now - job.at
        outcome.longest = max(outcome.longest, now - job.at)
        reported: int | None = tokens
        if self.server.usage == "silent":
            reported = None
        elif self.server.usage == "unrelated":
            reported = 1 + int(self.rng.expovariate(1 / 256))
        read = round(job.prompt) if reported is not None and job.prompt else None
        self.limiter.succeed(job.permit, now, output_tokens=reported, input_tokens=read)


def simulate(
    server: Server,
    make: Callable[[random.Random], Control],
    *,
    seconds: float = math.inf,
    rows: float = math.inf,
    batches: int = 1,
    seed: int = 0,
    step: float = 10.0,
    length: Callable[[random.Random, float], float] | None = None,
    watch: Callable[[float, Control], None] | None = None,
) -> Outcome:
    """Play a limiter against a server until the time or the rows are over.

    Args:
        server: what it plays against.
        make: makes the limiter, which starts at time 0.
        seconds: virtual time to play.
        rows: how many rows there are, in each batch.
        batches: each begins when all of the one before is answered.
        seed: of everything random.
        step: seconds per entry of the outcome's lists.
        length: of an answer, instead of the server's own.
        watch: called after every event.
    """
    rng = random.Random(seed)
    play = _Simulation(server, make(random.Random(seed + 1)), rng, step)
    machine, outcome, limiter = play.machine, play.outcome, play.limiter
    left, next_entry = rows, 0.0
    while machine.now < seconds:
        left = play.send(left, length or server.length)
        if watch is not None:
            watch(machine.now, limiter)
        if left <= 0 and limiter.in_flight == 0:
            batches -= 1
            if not batches:
                break
            left = rows
            continue
        if machine.now >= next_entry:
            next_entry += step
            play.log()
        until = play.wake(left, min(seconds, next_entry))
        if until is None:
            outcome.stuck = True
            break
        event = machine.step(until)
        if event is not None:
            left += play.deliver(*event)
    outcome.seconds = machine.now
    return outcome
