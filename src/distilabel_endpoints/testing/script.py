"""Which fault, if any, a request meets: counts what matched and draws the chances.

Read and advanced by the serving loop, in order of arrival; faults are added and cleared from any
thread by replacing the whole list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from random import Random

from distilabel_endpoints.testing.faults import Action, Fault

__all__ = ["Script"]


class Script:
    """The faults in force."""

    def __init__(self, faults: tuple[Fault, ...], *, seed: int) -> None:
        self._faults = tuple(_Watch(fault) for fault in faults)
        self._rng = Random(f"faults {seed}")

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, *faults: Fault) -> None:
        """More faults, after those there are."""
        self._faults += tuple(_Watch(fault) for fault in faults)

    def clear(self) -> None:
        """No faults from now on."""
        self._faults = ()

    def pick(
        self, path: str, *, generates: bool, headers: Mapping[str, str], raw: bytes, now: float
    ) -> Action | None:
        """The action for a request at `now` seconds; every fault that might match counts it."""
        chosen: Action | None = None
        for watch in self._faults:
            fault = watch.fault
            if fault.path is None:
                if not generates:
                    continue
            elif fault.path not in ("*", path):
                continue
            if now < fault.after or (fault.until is not None and now >= fault.until):
                continue
            if any(headers.get(name) != value for name, value in fault.headers.items()):
                continue
            if fault.marker is not None and fault.marker.encode() not in raw:
                continue
            if watch.hit(raw, self._rng, taken=chosen is not None):
                chosen = fault.action
        return chosen


class _Watch:
    """One fault and its counts."""

    __slots__ = ("_hits", "_seen", "fault")

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._seen: Counter[bytes] = Counter()
        self._hits: Counter[bytes] = Counter()

    def hit(self, raw: bytes, rng: Random, *, taken: bool) -> bool:
        """Count a request that met the other conditions; whether it is struck."""
        fault = self.fault
        key = blake2b(raw, digest_size=16).digest() if fault.per_request else b""
        self._seen[key] += 1
        seen = self._seen[key]
        if taken:
            return False
        struck = (
            (fault.nth is None or seen == fault.nth)
            and (fault.every is None or seen % fault.every == 0)
            and (fault.times is None or self._hits[key] < fault.times)
            and (fault.chance >= 1 or rng.random() < fault.chance)
        )
        self._hits[key] += struck
        return struck
