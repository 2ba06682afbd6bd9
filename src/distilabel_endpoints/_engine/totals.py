"""The figures of several limiters as those of one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from distilabel_endpoints._engine.breaker import BreakerState
from distilabel_endpoints._engine.permits import LimiterStatistics

__all__ = ["total"]

_MOST_SHOWN: Final = 4


def total(parts: Sequence[LimiterStatistics], *, limit: int) -> LimiterStatistics:
    """What a pool of endpoints does.

    Counts and rates are sums. The median latency is the mean of the medians, by how many answers
    each endpoint gives; the 95th percentile is the worst one. The breaker is closed as long as one
    endpoint's is, and there is a gate only where every endpoint has one.

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
    said = f"{len(parts)} endpoints"
    if len(limits) < len(parts):
        said = f"{len(limits)} of {said} answer"
    return f"{said}: {' + '.join(limits)}" if 0 < len(limits) <= _MOST_SHOWN else said


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
