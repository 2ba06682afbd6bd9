"""What an LLM talks to, and what its engine is doing: the frozen values that observers are given.

Nothing here reads a clock or holds a prompt, an answer or a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from distilabel_endpoints.html_text import figures
from distilabel_endpoints.records import Failure, FailureKind, Route, Server
from distilabel_endpoints.served import Served, ServedBy

__all__ = [
    "BreakerState",
    "Capabilities",
    "Description",
    "EngineStatistics",
    "LimiterStatistics",
]

BreakerState = Literal["closed", "open", "probing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterStatistics:
    """The limiter at one instant."""

    limit: int
    in_flight: int
    phase: str
    """`ramping up`, `holding`, `probing up`, `probing down`."""
    reason: str
    """Why the limit is what it is, in a few words."""
    requests_per_second: float
    """Answers, over the last 20 s."""
    tokens_per_second: float
    """Output tokens, over the last 20 s."""
    latency_p50: float | None
    """Seconds, over the last 256 answers."""
    latency_p95: float | None
    sent: int
    refused: int
    """Attempts the endpoint pushed back (429, 529, overloaded), since the start."""
    refusals: str
    """What they are taken for: `clear`, `too many at once`, `rate-limited by the server`, ..."""
    paced_per_second: float | None
    """Attempts per second allowed, if the server's refusals set it."""
    gate_until: float | None
    """Clock reading until which nothing is sent, if the server asked for that."""
    breaker: BreakerState
    probe_at: float | None
    """Clock reading of the next probe, while nothing answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatistics:
    """What the engine is doing, at one instant."""

    limiter: LimiterStatistics
    """All endpoints together."""
    endpoints: Mapping[str, LimiterStatistics]
    """Each endpoint of a pool, by its URL; empty if there is only one."""
    waiting: int
    """Requests that wait for a permit."""
    delayed: int
    """Requests that wait out a backoff, or for a sign of life."""
    succeeded: int
    retries: Mapping[FailureKind, int]
    """Attempts that were repeated, by what went wrong."""
    waiting_for: str | None
    """What the endpoint makes every request wait for, in a few words."""
    pause_left: float | None
    """Seconds until that is over, if it is known."""
    last_failure: Failure | None
    """The newest failure that made a request wait."""
    served: Mapping[ServedBy, Served] = field(default_factory=dict)
    """What each endpoint, and each provider behind it, has answered."""

    def _repr_html_(self) -> str:
        retries = sum(self.retries.values())
        return figures(
            "Engine",
            {
                "in flight": f"{self.limiter.in_flight} of {self.limiter.limit}",
                "waiting": f"{self.waiting} for a permit, {self.delayed} for a retry",
                "answered": f"{self.succeeded:,}",
                "retries": f"{retries:,}" if retries else None,
                "waits for": self.waiting_for,
                "last failure": self.last_failure and self.last_failure.describe(),
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the server at hand can do on the route that is used."""

    parameters: tuple[str, ...]
    """Generation parameters that can be sent."""
    structured_output: tuple[str, ...]
    """Formats that really constrain the answer, or that every whole answer of an unrecognised
    server had; the others are only checked afterwards."""
    unconfirmed: tuple[str, ...]
    """Parameters, and formats that no answer had yet, that an unrecognised server may ignore."""
    choices: int | None
    """Completions one request brings at most; `None` until the server sent fewer than requested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What an LLM talks to."""

    target: str
    """What was named: `model_id=...`, `endpoint_name=...` or `base_url=...`."""
    url: str
    """Where requests go; several are separated by commas."""
    client: str
    """The class that sends them."""
    route: Route
    server: Server
    """`unknown` if several endpoints have different ones."""
    endpoints: Mapping[str, Server]
    """Each URL, and the server that is there."""
    model: str | None
    """The name in the body, as the server wants it."""
    capabilities: Capabilities

    def _repr_html_(self) -> str:
        can = self.capabilities
        return figures(
            "Connected to",
            {
                "target": self.target,
                "server": f"{self.server} at {self.url}",
                "model": self.model,
                "client": f"{self.client}, {self.route}",
                "structured output": ", ".join(can.structured_output),
                "parameters": ", ".join(can.parameters),
                "may be ignored": ", ".join(can.unconfirmed),
            },
        )
