"""Bounds of the retry policy, each with its default."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RetrySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """Bounds of the policy; times in seconds."""

    transient_attempts: int = 5
    bad_response_attempts: int = 3
    throttle_stops: int = 20
    """Throttled rows with `x-should-retry: false`, in a row, that stop the run."""
    first_delay: float = 0.5
    longest_delay: float = 60.0
    wait_ready: float = 900.0
    """How long an endpoint may be away, or fail everything, before the run stops."""
    longest_pause: float = 1800.0
    """The longest `Retry-After` that is waited out."""
    retry_share: float = 0.2
    retry_burst: float = 50.0
    systemic_rows: int = 20
    account_rows: int = 3
    """Rows refused alike on account of a key or of money, in a row, that stop the run."""
    refusals_alone: int = 2
    """Refusals of a row beside which nothing else is under way, after which it has failed."""
    hopeless_after: float = 10.0
    """Seconds of one error for all rows, before the first answer, that stop the run."""
    poison_attempts: int = 3
    poison_successes: int = 50
    confirm_after: float = 2.0
    """Before a 401 is believed: gateways are known to flap."""
