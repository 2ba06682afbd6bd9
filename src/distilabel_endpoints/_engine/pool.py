"""Several endpoints as one: which of them takes the next attempt, and what its end means.

Rules
- An attempt goes where it will be answered soonest, as far as limits and latencies tell, of the
  endpoints that give a permit. So shares follow goodput, under a ceiling of the user's too.
- What the user allows holds for all endpoints together; what a server shows, for that one.
- A request that one endpoint failed goes to another, as long as another is there to take it.
- An endpoint that fails all it gets while others answer is taken for unavailable: one that fails
  fast would draw every row to itself.
- Pure: clock readings are arguments. Sends nothing, waits for nothing.

The figures of several limiters as those of one. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self

from distilabel_endpoints._engine.evidence import PoolHistory
from distilabel_endpoints._engine.retry import RetryPolicy
from distilabel_endpoints._limits.limiter import Limiter, LimiterSettings, Permit
from distilabel_endpoints._limits.quotas import Quotas
from distilabel_endpoints.engine_state import BreakerState, LimiterStatistics
from distilabel_endpoints.records import Answer, Client, Failure, FailureKind, Request

__all__ = ["Grant", "Member", "Pool", "total"]

_MOST_SHOWN: Final = 4


def total(parts: Sequence[LimiterStatistics], *, limit: int) -> LimiterStatistics:
    """What a pool of endpoints does.

    Counts and rates are sums. The median latency is the mean of the medians, by how many answers
    each endpoint gives; the 95th percentile is the worst one. The breaker is closed as long as one
    endpoint's is, and there is a gate only if every endpoint has one.

    Args:
        parts: at least one.
        limit: what holds for all together.
    """
    if len(parts) == 1:
        return parts[0]
    breaker = _breaker(parts)
    gates = [part.gate_until for part in parts if part.gate_until is not None]
    paces = [part.paced_per_second for part in parts if part.paced_per_second is not None]
    probes = [part.probe_at for part in parts if part.probe_at is not None]
    return LimiterStatistics(
        limit=limit,
        in_flight=sum(part.in_flight for part in parts),
        phase=_distinct([part.phase for part in parts]),
        reason=_reason(parts),
        requests_per_second=sum(part.requests_per_second for part in parts),
        tokens_per_second=sum(part.tokens_per_second for part in parts),
        latency_p50=_typical(parts),
        latency_p95=max((part.latency_p95 for part in parts if part.latency_p95), default=None),
        sent=sum(part.sent for part in parts),
        refused=sum(part.refused for part in parts),
        refusals=_distinct([part.refusals for part in parts if part.refusals != "clear"])
        or "clear",
        paced_per_second=sum(paces) if len(paces) == len(parts) else None,
        gate_until=min(gates) if len(gates) == len(parts) else None,
        breaker=breaker,
        probe_at=min(probes) if probes and breaker == "open" else None,
    )


def _breaker(parts: Sequence[LimiterStatistics]) -> BreakerState:
    states = {part.breaker for part in parts}
    if "closed" in states:
        return "closed"
    return "probing" if "probing" in states else "open"


def _reason(parts: Sequence[LimiterStatistics]) -> str:
    limits = [str(part.limit) for part in parts if part.breaker == "closed"]
    text = f"{len(parts)} endpoints"
    if len(limits) < len(parts):
        text = f"{len(limits)} of {text} answer"
    return f"{text}: {' + '.join(limits)}" if 0 < len(limits) <= _MOST_SHOWN else text


def _typical(parts: Sequence[LimiterStatistics]) -> float | None:
    known = [(part.latency_p50, part.requests_per_second) for part in parts if part.latency_p50]
    if not known:
        return None
    weight = sum(rate for _, rate in known)
    if not weight:
        return sum(latency for latency, _ in known) / len(known)
    return sum(latency * rate for latency, rate in known) / weight


def _distinct(texts: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


# Failures in a row, none of them the row's own, before an endpoint is taken for unavailable.
_PATIENCE: Final = 8
# An endpoint that may be asked again this soon, in seconds, is waited for.
_SOON: Final = 1.0
# One that is full and of which nothing has been heard for that long, in seconds, is not.
_SILENCE: Final = 60.0
_SMOOTHING: Final = 0.05
_WIDEST: Final = 8192
_OVERLOAD_SIGNS: Final = frozenset(
    {
        "timeout",
        "first_token_timeout",
        "token_timeout",
        "gateway_timeout",
        "generation_failed",
        "reset",
    }
)


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One endpoint of a pool."""

    name: str
    """For people: its URL."""
    client: Client
    limiter: Limiter
    policy: RetryPolicy
    """Shares its history with those of the other members."""
    dialect: int = 0
    """Which of a request's options it takes: 0 the first, `n` number `n - 1` of `dialects`."""
    failed: int = 0
    """Attempts that failed since one was answered or refused."""
    answered_before: int = 0
    """The pool's answers when the first of these failed."""
    latency: float | None = None
    """Of its answers, in seconds: the mean of the first ones, and smoothed from then on."""
    news: float = 1.0
    """The weight of the next answer in it."""
    away: bool = False
    """The attempt that ended last found nothing there."""
    heard: float = 0.0
    """Clock reading of when an attempt last ended there, or the first of several began."""
    turn: int = 0

    def load(self, latency: float) -> tuple[float, int]:
        """Latency times the share of the limit in flight, with one more; among equals, who was
        asked longest ago is first. `latency` stands in for one that is not known yet."""
        limiter = self.limiter
        share = (limiter.in_flight + 1) / limiter.limit
        return share * (self.latency or latency), self.turn

    def answered(self, latency: float) -> None:
        """An attempt was answered so late."""
        self.failed = 0
        known = latency if self.latency is None else self.latency
        self.latency = known + self.news * (latency - known)
        # 1, 1/2, 1/3, ...: the plain mean of the first answers, until smoothing takes over.
        self.news = max(_SMOOTHING, self.news / (1.0 + self.news))

    def is_there(self, now: float) -> bool:
        """Whether it takes attempts, now or when one of those in flight ends, as they do."""
        limiter = self.limiter
        if self.away:
            return False
        if limiter.in_flight >= limiter.limit:
            return now - self.heard <= _SILENCE
        at = limiter.next_time(now)
        return at is not None and at - now <= _SOON

    def request(self, request: Request) -> Request:
        """`request` as this endpoint's server wants it."""
        if not self.dialect:
            return request
        return replace(request, options=request.dialects[self.dialect - 1])


class Grant(NamedTuple):
    """The right to one attempt at one endpoint."""

    member: Member
    permit: Permit


class Pool:
    """The endpoints of one scheduler, and what holds for all of them together.

    Args:
        members: at least one.
        settings: the user's limits, for all members together. Each member's limiter has the same
            `max_concurrency`, as the others may be away, and no limit per minute.
        now: a monotonic clock reading, in seconds.
    """

    def __init__(self, members: Sequence[Member], settings: LimiterSettings, *, now: float) -> None:
        self.members = tuple(members)
        self.ceiling = settings.max_concurrency
        """In flight at most, at all endpoints together."""
        self._quotas = Quotas(settings.requests_per_minute, settings.tokens_per_minute, now)
        self._answers = self._turns = 0

    @classmethod
    def of_one(cls, client: Client, *, limiter: Limiter, policy: RetryPolicy) -> Self:
        """A single endpoint, whose limiter keeps to all of the user's limits."""
        member = Member(name="", client=client, limiter=limiter, policy=policy)
        return cls([member], LimiterSettings(), now=0.0)

    @property
    def in_flight(self) -> int:
        """How many permits are out."""
        return sum(member.limiter.in_flight for member in self.members)

    @property
    def limit(self) -> int:
        """How many attempts may be in flight."""
        limit = sum(member.limiter.limit for member in self.members)
        return limit if self.ceiling is None else min(limit, self.ceiling)

    @property
    def window(self) -> int:
        """How many rows may be under way, waiting ones included."""
        return min(sum(member.limiter.window for member in self.members), _WIDEST)

    @property
    def history(self) -> PoolHistory:
        """What the members' policies have in common; any of them has it."""
        return self.members[0].policy.history

    def acquire(self, now: float, tokens: int, shunned: Member | None = None) -> Grant | None:
        """A permit of the endpoint with most room, if an attempt may be sent right now.

        Args:
            now: a clock reading.
            tokens: estimated cost.
            shunned: who failed this request; asked only if no other is there.
        """
        if self.ceiling is not None and self.in_flight >= self.ceiling:
            return None
        if self._quotas.active and not self._quotas.ready(now, tokens):
            return None
        for member in self._in_order(now, shunned):
            permit = member.limiter.acquire(now, tokens)
            if permit is not None:
                self._turns = member.turn = self._turns + 1
                # The first of several: before it there was nothing that could have been heard.
                if member.limiter.in_flight == 1:
                    member.heard = now
                if self._quotas.active:
                    self._quotas.take(tokens)
                return Grant(member, permit)
        return None

    def other_than(self, failed: Member) -> Member | None:
        """Whom a request that `failed` has failed is to shun: nobody, if there is only one."""
        return failed if len(self.members) > 1 else None

    def _in_order(self, now: float, shunned: Member | None) -> Sequence[Member]:
        if len(self.members) == 1:
            return self.members
        members = self._open_to(now, shunned)
        known = min((m.latency for m in members if m.latency is not None), default=1.0)
        return sorted(members, key=lambda member: member.load(known))

    def _open_to(self, now: float, shunned: Member | None) -> Sequence[Member]:
        """The endpoints that a request may go to which `shunned` has failed."""
        if shunned is None:
            return self.members
        others = [member for member in self.members if member is not shunned]
        return others if any(member.is_there(now) for member in others) else self.members

    def next_time(
        self, now: float, tokens: int, shunned: Collection[Member | None]
    ) -> float | None:
        """When `acquire` may succeed for one of these though nothing ends; None: only an end helps.

        Args:
            now: a clock reading, of an `acquire` that has just given nothing.
            tokens: the estimate that it was given.
            shunned: one for each kind of request that waits; None for those that none has failed.
        """
        if self.ceiling is not None and self.in_flight >= self.ceiling:
            return None
        if len(self.members) == 1:
            at = self.members[0].limiter.next_time(now)
        else:
            at = min(self._times(now, shunned), default=None)
        if at is None or not self._quotas.active:
            return at
        return max(at, self._quotas.when(now, tokens))

    def _times(self, now: float, shunned: Collection[Member | None]) -> Iterator[float]:
        wanted = {id(m): m for who in shunned for m in self._open_to(now, who)}
        for member in wanted.values():
            at = member.limiter.next_time(now)
            if at is not None:
                yield at

    def cancel(self, grant: Grant, now: float) -> None:
        """The attempt was given up here. Says nothing about the server."""
        grant.member.limiter.cancel(grant.permit, now)

    def record(
        self, grant: Grant, outcome: Answer | Failure, now: float, elapsed: float
    ) -> Answer | Failure:
        """Tell the endpoint's limiter and policy how an attempt ended; the outcome in context."""
        member, permit = grant.member, grant.permit
        member.heard, member.away = now, False
        if isinstance(outcome, Answer):
            self._answered(member, permit, outcome, now)
            member.answered(elapsed)
            return outcome
        # A failure takes its estimate back: it used none of the tokens per minute.
        self._settle(permit, 0)
        failure = member.policy.evidence.in_context(outcome, now=now, elapsed=elapsed)
        failure = self._in_company(member, failure)
        limiter = member.limiter
        if failure.kind is FailureKind.THROTTLE:
            limiter.push_back(permit, now, retry_after=failure.retry_after)
        elif failure.kind is FailureKind.UNAVAILABLE:
            member.away = True
            limiter.unavailable(permit, now, retry_after=failure.retry_after)
        else:
            limiter.fail(permit, now, timed_out=failure.code in _OVERLOAD_SIGNS)
        return failure

    def _answered(self, member: Member, permit: Permit, answer: Answer, now: float) -> None:
        usage = answer.usage
        member.limiter.succeed(
            permit, now, output_tokens=usage.output_tokens, input_tokens=usage.input_tokens
        )
        if answer.headers:
            member.limiter.rate_headers(answer.headers, now)
        if usage.output_tokens is not None:
            self._settle(permit, usage.output_tokens + (usage.input_tokens or 0))
        member.policy.succeeded(now, began=permit.dispatched_at)
        self._answers += 1

    def _settle(self, permit: Permit, used: int) -> None:
        if self._quotas.active:
            self._quotas.settle(permit.tokens, used)

    def _in_company(self, member: Member, failure: Failure) -> Failure:
        """The failure as it looks beside the other endpoints, which may do better."""
        broken = failure.kind in {FailureKind.TRANSIENT, FailureKind.BAD_RESPONSE}
        if not broken or failure.code == "web_page":
            if failure.kind is not FailureKind.UNAVAILABLE:
                member.failed = 0
            return failure
        if not member.failed:
            member.answered_before = self._answers
        member.failed += 1
        # If no other was answered meanwhile, it may be an outage of them all: none stands out.
        if member.failed <= _PATIENCE or self._answers == member.answered_before:
            return failure
        return replace(failure, kind=FailureKind.UNAVAILABLE)

    def blame(self, member: Member, failure: Failure) -> Failure:
        """A failure that ends the run, with the endpoint named that it came from."""
        if len(self.members) == 1 or failure.kind is FailureKind.LOCAL:
            return failure
        message = f"{member.name}: {failure.message}"
        if failure.code == "unavailable":
            message = f"none of the {len(self.members)} endpoints answers; {message}"
            return replace(failure, message=message)
        hint = "Leave this endpoint out, and the run continues with the others."
        return replace(failure, message=message, hint=" ".join(filter(None, (failure.hint, hint))))

    def statistics(self, now: float) -> tuple[LimiterStatistics, dict[str, LimiterStatistics]]:
        """All endpoints together, and each by its name."""
        each = {member.name: member.limiter.statistics(now) for member in self.members}
        return total(tuple(each.values()), limit=self.limit), each
