"""What a response's rate-limit headers say, as quotas.

Two families are read. `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` (OpenAI and those
who copy it; Groq, Together): a bucket that refills all the time, where reset is how long until it
is full. `RateLimit` and `RateLimit-Remaining`/`-Reset` (IETF draft-ietf-httpapi-ratelimit-headers,
in its older and newer spellings, with or without `x-`): a window in which so many are left.
Absolute times are not read: no wall clock enters the limiter. What cannot be read is no quota.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Quota", "Unit", "read_quotas"]

Unit = Literal["requests", "tokens"]

_EPOCH = 1e6
_UNITS: tuple[Unit, ...] = ("requests", "tokens")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PARAMETER = re.compile(r"\b(r|t|remaining|reset)\s*=\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """So many units are left for so many seconds."""

    unit: Unit
    remaining: float
    reset: float
    """Seconds until the window ends, or, of a bucket, until it is full."""
    capacity: float | None = None
    """Units of a full bucket; None for a window."""


def read_quotas(headers: Mapping[str, str]) -> list[Quota]:
    """The quotas in a response's headers (names in lower case)."""
    quotas = [quota for unit in _UNITS if (quota := _bucket(headers, unit))]
    quotas += _combined(headers.get("ratelimit", ""))
    for prefix in ("ratelimit-", "x-ratelimit-"):
        remaining = _number(headers.get(f"{prefix}remaining"))
        reset = _duration(headers.get(f"{prefix}reset"))
        if remaining is not None and reset is not None:
            quotas.append(Quota(unit="requests", remaining=remaining, reset=reset))
    return quotas


def _bucket(headers: Mapping[str, str], unit: Unit) -> Quota | None:
    remaining = _number(headers.get(f"x-ratelimit-remaining-{unit}"))
    reset = _duration(headers.get(f"x-ratelimit-reset-{unit}"))
    if remaining is None or reset is None:
        return None
    capacity = _number(headers.get(f"x-ratelimit-limit-{unit}"))
    return Quota(unit=unit, remaining=remaining, reset=reset, capacity=capacity)


def _combined(value: str) -> list[Quota]:
    """`"name";r=50;t=30, ...` of the newer drafts, `limit=100, remaining=50, reset=30` of some."""
    quotas = []
    parts = [value] if "remaining" in value else value.split(",")
    for part in parts:
        found = {name[:3]: float(number) for name, number in _PARAMETER.findall(part)}
        remaining = found.get("r", found.get("rem"))
        reset = found.get("t", found.get("res"))
        if remaining is not None and reset is not None:
            quotas.append(Quota(unit="requests", remaining=remaining, reset=reset))
    return quotas


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0.0 else None


def _duration(text: str | None) -> float | None:
    """Seconds: a plain number, or `6m0s`, `1.5s`, `120ms`."""
    seconds = _number(text)
    if seconds is not None:
        return seconds if seconds < _EPOCH else None
    text = (text or "").strip()
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
