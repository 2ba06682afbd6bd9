"""What can be made to go wrong: which request a fault hits, and what then happens.

A `Fault` is a matcher and an action. The first fault of an endpoint that matches a request wins;
a request that none matches is answered as usual. Some actions replace the answer, some spoil the
true one on its way out, and some change the endpoint and let the request go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
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
    "Refuse",
    "Reset",
    "Respond",
    "Revoke",
    "Rewrite",
    "SpendCredits",
    "Throttle",
    "Truncate",
]


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
    """Sent as `x-should-retry`, where not `None`."""
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


BreakKind = Literal["no_done", "error", "garbage", "cut", "reset"]


@dataclass(frozen=True, slots=True)
class BreakStream:
    """Spoil a stream after `events` events; requests that are not streamed are answered as usual.

    `no_done` leaves out the end mark, `garbage` sends lines that are no events and goes on,
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
