"""What the control plane reports of one endpoint, as a value. Pure: no network, no clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["ASLEEP", "COSTS", "Mark", "Person", "Sight", "sight_of"]

ASLEEP: Final = frozenset({"paused", "scaledToZero"})
COSTS: Final = frozenset({"initializing", "running", "updating", "updateFailed"})
"""States that are billed. The documentation names the first two; the others have replicas."""
_FINE: Final = re.compile(r"(\.\d{3})\d+")
_TO_THE_MILLISECOND: Final = "%Y-%m-%dT%H:%M:%S"


@dataclass(frozen=True, slots=True)
class Person:
    """A user or organisation, as the service names it."""

    id: str
    name: str

    def is_same(self, other: Person) -> bool:
        """Whether these are one, by id or by name: two services tell them."""
        return bool(self.id and self.id == other.id) or bool(self.name and self.name == other.name)


@dataclass(frozen=True, slots=True)
class Mark:
    """Who changed an endpoint last, and when."""

    by: Person
    at: str
    """UTC to the millisecond: commands are answered with more digits than later reads have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One endpoint at the moment it was read."""

    namespace: str
    name: str
    state: str
    message: str
    mark: Mark
    ready: int
    """Replicas that serve."""
    target: int
    """Replicas that there are to be."""
    least: int
    most: int
    """Replicas it can grow to; at least 1, as a paused one may show 0."""
    idle_minutes: int | None
    """Minutes without a request after which it scales to zero; None: never, or not known."""
    measure: str | None
    """What adds replicas, as `pendingRequests 1.5`."""
    hardware: str
    """The name of its hardware in the list that has the prices."""
    repository: str

    @property
    def title(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def is_asleep(self) -> bool:
        """Paused, or scaled to zero: it costs nothing."""
        return self.state in ASLEEP

    @property
    def stops_itself(self) -> bool:
        """Whether it scales to zero when nobody uses it, whatever becomes of this machine."""
        return self.least == 0 and self.idle_minutes is not None


def sight_of(raw: Mapping[str, Any], namespace: str) -> Sight:
    """What an answer of the control plane says; what it leaves out is empty."""
    status, compute = _part(raw, "status"), _part(raw, "compute")
    scaling, place = _part(compute, "scaling"), _part(raw, "provider")
    hardware = (
        place.get("vendor"),
        place.get("region"),
        compute.get("instanceType"),
        compute.get("instanceSize"),
    )
    ready, target = _count(status, "readyReplica"), _count(status, "targetReplica")
    idle = scaling.get("scaleToZeroTimeout")
    return Sight(
        namespace=namespace,
        name=str(raw.get("name", "")),
        state=str(status.get("state", "")),
        message=str(status.get("message") or ""),
        mark=Mark(_person(_part(status, "updatedBy")), _moment(status.get("updatedAt"))),
        ready=ready,
        target=target,
        least=_count(scaling, "minReplica"),
        most=max(1, _count(scaling, "maxReplica"), ready, target),
        idle_minutes=idle if isinstance(idle, int) and idle > 0 else None,
        measure=_measure(scaling.get("measure")),
        hardware="-".join(str(part) for part in hardware),
        repository=str(_part(raw, "model").get("repository", "")),
    )


def _part(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = raw.get(name)
    return part if isinstance(part, Mapping) else {}


def _count(raw: Mapping[str, Any], name: str) -> int:
    value = raw.get(name)
    return value if isinstance(value, int) else 0


def _person(raw: Mapping[str, Any]) -> Person:
    return Person(str(raw.get("id") or ""), str(raw.get("name") or ""))


def _measure(raw: Any) -> str | None:
    if not isinstance(raw, Mapping) or not raw:
        return None
    return ", ".join(f"{name} {value}" for name, value in raw.items())


def _moment(raw: Any) -> str:
    """The time to the millisecond, in UTC; text that is not a time stays as it is."""
    text = str(raw or "")
    try:
        # Python reads at most six digits, and the service writes up to nine.
        moment = datetime.fromisoformat(_FINE.sub(r"\1", text))
    except ValueError:
        return text
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    return f"{moment.strftime(_TO_THE_MILLISECOND)}.{moment.microsecond // 1000:03d}Z"
