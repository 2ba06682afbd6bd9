"""One deployment over time: its state, its replicas, and what they cost. Told the time, never asks.

Whoever asks for anything passes the time; what happened by itself until then (a wake-up, one more
replica, an idle endpoint that scales to zero, a pause that takes effect, credit that is used up)
is caught up with first, one event after the other, in the order of their times.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from distilabel_endpoints.testing.endpoint_settings import Deployment, StateName

__all__ = ["SERVING", "WAKING", "Fleet"]

SERVING: Final[frozenset[StateName]] = frozenset({"running", "updating", "updateFailed"})
WAKING: Final[frozenset[StateName]] = frozenset({"pending", "initializing"})
_BILLED: Final[frozenset[StateName]] = SERVING | {"initializing"}
_PENDING_SHARE: Final = 0.1
_PENDING_REQUESTS: Final = 1.5
"""Requests for each replica above which the documented autoscaler adds one."""
_MINUTE: Final = 60.0
_BEGINNING: Final = datetime(2024, 1, 1, tzinfo=UTC)
_STEP: Final = timedelta(milliseconds=1)
_Event = StateName | Literal["nothing", "replica", "minute"]
_NO_CREDIT: Final = "Paused: the account has no credit left"


class Fleet:
    """The replicas of one deployment. Safe to use from any thread."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        """As it is now: updates change it."""
        self.updated_by = deployment.namespace
        self.updated_at = _BEGINNING
        self.message = ""
        self.in_flight = 0
        self._lock = threading.RLock()
        self._at = 0.0
        self._state: StateName = deployment.state
        self._woken: float | None = 0.0 if deployment.state in WAKING else None
        self._stops: tuple[float, StateName] | None = None
        self._grows: float | None = None
        self._lost = deployment.pauses_lost
        self._last_used = self._tick = 0.0
        self._running: list[float] = []
        """Since when each replica is billed."""
        self._minutes = 0
        """Of replicas that are gone."""
        self._enter(self._state, 0.0)

    def state(self, now: float) -> StateName:
        """The state at `now` seconds after the start."""
        with self._lock:
            self._catch_up(now)
            return self._state

    @property
    def ready_at(self) -> float | None:
        """When the wake-up that is under way ends."""
        woken = self._woken
        return None if woken is None else woken + self.deployment.wake_seconds

    def replicas(self, now: float) -> tuple[int, int]:
        """How many replicas serve, and how many there are to be."""
        with self._lock:
            self._catch_up(now)
            serving = len(self._running) - (self._grows is not None)
            return (serving if self._state in SERVING else 0), len(self._running)

    def minutes(self, now: float) -> int:
        """Minutes of all replicas that were begun so far: each is billed whole."""
        with self._lock:
            self._catch_up(now)
            return self._minutes_at(self._at)

    def bill(self, now: float) -> float:
        """USD so far."""
        return self.minutes(now) * self._rate

    def put(self, state: StateName, now: float, by: str) -> None:
        """Be in this state from now on, by somebody's hand."""
        with self._lock:
            self._catch_up(now)
            self._woken = now if state in WAKING else None
            self._stops = None
            self._enter(state, now)
            self.touch(by, now)

    def wake(self, now: float, by: str | None = None) -> None:
        """Begin to start up; a request that does it changes nothing on record."""
        with self._lock:
            self._catch_up(now)
            self._woken, self._stops = now, None
            self._enter("pending", now)
            if by is not None:
                self.touch(by, now)
            self._catch_up(now)

    def stop(self, state: StateName, now: float, by: str) -> None:
        """Begin to pause, or to scale to zero."""
        with self._lock:
            self._catch_up(now)
            self.touch(by, now)
            if self._lost:
                self._lost -= 1
                return
            self._stops = (now + self.deployment.pause_seconds, state)
            self._catch_up(now)

    def update(self, changed: Deployment, now: float, by: str) -> None:
        """Take other settings; an endpoint that is up is deployed anew."""
        with self._lock:
            self._catch_up(now)
            self.deployment = changed
            self.touch(by, now)
            if self._state in SERVING | WAKING:
                self.wake(now)

    def touch(self, by: str, now: float) -> None:
        """Record who changed it last. No two changes have one time."""
        with self._lock:
            self.updated_by = by
            elapsed = timedelta(milliseconds=math.floor(now * 1000))
            self.updated_at = max(self.updated_at + _STEP, _BEGINNING + elapsed)

    def use(self, now: float, change: int) -> None:
        """A request came (1) or left (-1): the autoscaler looks at the load."""
        with self._lock:
            self._catch_up(now)
            self.in_flight += change
            self._last_used = now
            if self._state != "running" or self._grows is not None:
                return
            count = len(self._running)
            if self.in_flight > _PENDING_REQUESTS * count and count < self.deployment.max_replica:
                self._running.append(now)
                self._grows = now + self.deployment.replica_seconds

    @property
    def has_credit(self) -> bool:
        """Whether the account can pay for one more minute of every replica."""
        credit = self.deployment.credit
        needed = self._minutes_at(self._at) + max(1, len(self._running))
        return credit is None or needed * self._rate <= credit

    @property
    def _rate(self) -> float:
        """USD for a replica's minute."""
        return (self.deployment.hardware.price_per_hour or 0.0) / 60

    def _minutes_at(self, now: float) -> int:
        return self._minutes + sum(math.ceil((now - since) / _MINUTE) for since in self._running)

    def _enter(self, state: StateName, now: float) -> None:
        self._state = state
        self.message = ""
        if state not in _BILLED:
            self._minutes = self._minutes_at(now)
            self._running = []
            self._grows = None
        elif not self._running:
            self._running = [now] * max(1, self.deployment.min_replica)
            self._tick = now + _MINUTE
        if state in SERVING:
            self._last_used = now

    def _catch_up(self, now: float) -> None:
        while True:
            time, event = min(self._coming(), key=lambda coming: coming[0])
            if time > now or event == "nothing":
                break
            self._at = max(self._at, time)
            self._happen(event)
        self._at = max(self._at, now)

    def _coming(self) -> Iterator[tuple[float, _Event]]:
        """What happens by itself next, and when."""
        deployment = self.deployment
        yield math.inf, "nothing"
        if self._woken is not None and self._state == "pending":
            yield self._woken + deployment.wake_seconds * _PENDING_SHARE, "initializing"
        elif self._woken is not None:
            ends: StateName = "failed" if deployment.wake_fails else "running"
            yield self._woken + deployment.wake_seconds, ends
        if self._stops is not None:
            yield self._stops
        if self._grows is not None:
            yield self._grows, "replica"
        idle = deployment.scale_to_zero_minutes
        is_idle = self._state == "running" and not self.in_flight
        if is_idle and idle is not None and deployment.min_replica == 0:
            yield self._last_used + idle * _MINUTE, "scaledToZero"
        if self._running and deployment.credit is not None:
            yield self._tick, "minute"

    def _happen(self, event: _Event) -> None:
        match event:
            case "nothing":
                pass
            case "replica":
                self._grows = None
            case "minute":
                self._tick += _MINUTE
                if not self.has_credit:
                    self._stops = None
                    self._rest("paused")
                    self.message = _NO_CREDIT
            case "initializing":
                self._enter(event, self._at)
            case "running":
                self._woken = None
                self._enter(event, self._at)
            case _:
                self._rest(event)

    def _rest(self, state: StateName) -> None:
        self._woken = self._stops = None
        self._enter(state, self._at)
