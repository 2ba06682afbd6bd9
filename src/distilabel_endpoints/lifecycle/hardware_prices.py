"""What an endpoint costs: the price of its hardware, and the minutes that were begun. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from distilabel_endpoints.lifecycle.sight import COSTS, Sight

__all__ = ["HourlyPrice", "RunningCost", "hourly_price"]

_MINUTE: Final = 60.0


class _Hardware(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def price_per_hour(self) -> float: ...


@dataclass(frozen=True, slots=True)
class HourlyPrice:
    """USD an hour for one replica, and for as many as the endpoint can grow to."""

    replica: float
    most_replicas: int

    @property
    def most(self) -> float:
        """With all replicas."""
        return self.replica * self.most_replicas

    def describe(self) -> str:
        """In words."""
        one = f"${self.replica:,.2f}/h"
        if self.most_replicas == 1:
            return f"{one} while it runs"
        return f"{one} a replica, at most {self.most_replicas} replicas: ${self.most:,.2f}/h"


def hourly_price(sight: Sight, hardware: Iterable[_Hardware]) -> HourlyPrice | None:
    """What the list of hardware says of this endpoint's; None: it does not have it."""
    for entry in hardware:
        if entry.id == sight.hardware:
            return HourlyPrice(entry.price_per_hour, sight.most)
    return None


class RunningCost:
    """What an endpoint has cost since it was first seen, as it is billed: by the begun minute.

    Each replica's minutes count from `initializing` on. Seen every few seconds it is right to
    within these few seconds a replica.
    """

    def __init__(self) -> None:
        self._since: list[float] = []
        self._minutes = 0

    def see(self, sight: Sight, now: float) -> None:
        """The endpoint as it is at `now`."""
        self.count(max(sight.target, sight.ready, 1) if sight.state in COSTS else 0, now)

    def count(self, replicas: int, now: float) -> None:
        """That many replicas are billed from now on."""
        while len(self._since) > replicas:
            self._minutes += _begun(now - self._since.pop())
        while len(self._since) < replicas:
            self._since.append(now)

    def minutes(self, now: float) -> int:
        """Begun minutes of all replicas."""
        return self._minutes + sum(_begun(now - since) for since in self._since)

    def dollars(self, price: HourlyPrice, now: float) -> float:
        """USD for them."""
        return self.minutes(now) * price.replica / 60


def _begun(seconds: float) -> int:
    return math.ceil(seconds / _MINUTE)
