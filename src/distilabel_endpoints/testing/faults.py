"""What can be made to go wrong: which request a fault hits, and what then happens.

A `Fault` is a matcher and an action. The first fault of an endpoint that matches a request wins;
a request that none matches is answered as usual. Some actions replace the answer, some spoil the
true one on its way out, and some change the endpoint and let the request continue.

Which fault, if any, a request meets: counts what matched and draws the chances.

Read and advanced by the serving loop, in order of arrival; faults are added and cleared from any
thread by replacing the whole list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any, Literal

__all__ = [
    "Action",
    "BreakKind",
    "BreakStream",
    "Drip",
    "Fault",
    "Flood",
    "Garble",
    "Hang",
    "Pause",
    "Recast",
    "Refuse",
    "Reset",
    "Respond",
    "Revoke",
    "Rewrite",
    "Script",
    "SpendCredits",
    "Throttle",
    "Truncate",
]


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


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer with this status instead.

    `body` is sent as it is (`str` as UTF-8, `bytes` raw, anything else as JSON); `None` gives what
    the flavor itself says with that status. `headers` may repeat a name.
    """

    status: int
    body: Any = None
    _: KW_ONLY
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Throttle:
    """Answer 429 and say when to come back, `after` seconds from now, in one of five forms.

    `skew` moves the server's own clock: its `Date` header and an HTTP date in `Retry-After` both
    lie that many seconds off, so only their difference is right.
    """

    after: float | None = None
    _: KW_ONLY
    form: Literal["seconds", "float", "date", "milliseconds", "unreadable"] = "seconds"
    skew: float = 0.0
    should_retry: bool | None = None
    """Sent as `x-should-retry`, if not `None`."""
    status: int = 429


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answer: nothing at all, after the head, or after half of the body."""

    at: Literal["start", "head", "body"] = "start"


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection: before the answer, after its head, or in the middle of its body."""

    at: Literal["start", "head", "body"] = "start"


@dataclass(frozen=True, slots=True)
class Refuse:
    """Stop listening and drop every connection; listen again after `seconds`.

    `None`: not before `accept_connections`.
    """

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Flood:
    """Answer 200 with a body without use and of this many bytes, as `gzip` if asked.

    `size` `None` never ends. A streamed request gets events, others one long JSON string.
    `interval` seconds lie between chunks of `chunk` bytes.
    """

    size: int | None = None
    _: KW_ONLY
    gzip: bool = False
    chunk: int = 65536
    interval: float = 0.0


@dataclass(frozen=True, slots=True)
class Truncate:
    """Announce the whole body, send this share of it and close."""

    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Drip:
    """Send the true answer `chunk` bytes at a time, `interval` seconds apart.

    With no interval it is the same answer cut at every byte.
    """

    interval: float = 1.0
    _: KW_ONLY
    chunk: int = 1


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Send the true answer changed by `edit`, which gets its JSON value; streamed, each event's."""

    edit: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Garble:
    """Send the true answer with its bytes changed by `edit`; streamed, each event's."""

    edit: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Recast:
    """Send the true answer with another status or content type.

    `whole` gives a request for a stream the whole answer, as servers do that cannot stream.
    """

    status: int = 200
    _: KW_ONLY
    content_type: str | None = None
    whole: bool = False


BreakKind = Literal["no_done", "error", "garbage", "cut", "reset"]


@dataclass(frozen=True, slots=True)
class BreakStream:
    """Spoil a stream after `events` events; requests that are not streamed are answered as usual.

    `no_done` leaves out the end mark, `garbage` sends lines that are not events and continues,
    `error` sends an error event and ends, `cut` just ends, `reset` resets the connection.
    """

    kind: BreakKind
    _: KW_ONLY
    events: int = 1


@dataclass(frozen=True, slots=True)
class Pause:
    """The deployment is paused, as if by somebody else; the request finds it so."""


@dataclass(frozen=True, slots=True)
class Revoke:
    """A token stops being accepted; the request finds it so.

    `None`: the one it carries.
    """

    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SpendCredits:
    """The account has no credit left; the request finds it so."""


Action = (
    Respond
    | Throttle
    | Hang
    | Reset
    | Refuse
    | Flood
    | Truncate
    | Drip
    | Rewrite
    | Garble
    | BreakStream
    | Recast
    | Pause
    | Revoke
    | SpendCredits
)


@dataclass(frozen=True, slots=True)
class Fault:
    """An action, and the requests that meet it. All conditions given must hold.

    Counting (`nth`, `every`, `times`) is of the requests that meet the other conditions, in order
    of arrival; with `per_request` it is by content, so that `times=3` is "every row fails three
    times, then works".
    """

    action: Action
    _: KW_ONLY
    path: str | None = None
    """An exact path, or `*` for any. Default: the routes that generate."""
    marker: str | None = None
    """Text that the body holds."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Header values, names in lower case."""
    after: float = 0.0
    """Seconds since the start of the endpoint from which it holds."""
    until: float | None = None
    """Seconds since the start of the endpoint up to which it holds."""
    nth: int | None = None
    """Only the nth, counted from 1."""
    every: int | None = None
    """Each nth."""
    times: int | None = None
    """At most this many times, then never again."""
    chance: float = 1.0
    """Hits this share, drawn in order of arrival."""
    per_request: bool = False
