"""The faults that every client meets: "three times, then never again", for good, or both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Final, Literal

from distilabel_endpoints.testing import (
    Action,
    Drip,
    Flood,
    Garble,
    Hang,
    Refuse,
    Reset,
    Respond,
    Rewrite,
    Throttle,
    Truncate,
    edits,
)

__all__ = ["GROUPS", "REDIRECTS", "Case", "cases"]

GROUPS: Final = ("status", "throttled", "connection", "answer", "elsewhere")
THRICE: Final = 3
TWICE: Final = 2
REDIRECTS: Final = (301, 302, 307, 308)
_MEGABYTE: Final = 1024**2
_PAGE: Final = "<html><head><title>Sign in</title></head><body>Sign in first</body></html>"
_HTML: Final = "text/html"


@dataclass(frozen=True, slots=True)
class Case:
    """One fault, and how often it strikes."""

    group: str
    name: str
    action: Action | None
    """`None`: the fault is in the address."""
    _: KW_ONLY
    times: int | None = None
    """`None`: always."""
    place: Literal["here", "untrusted", "nowhere"] = "here"

    @property
    def often(self) -> str:
        if self.times is None:
            return "always"
        return {1: "once", 2: "twice"}.get(self.times, f"{self.times} times")


def cases(elsewhere: str) -> list[Case]:
    """All of them. `elsewhere` is the URL that redirects point at, on another host."""
    return [*_statuses(), *_throttles(), *_connections(), *_answers(), *_redirects(elsewhere)]


def _both(group: str, name: str, action: Action, times: int = THRICE) -> Iterator[Case]:
    yield Case(group, name, action, times=times)
    yield Case(group, name, action)


def _statuses() -> Iterator[Case]:
    yield Case("status", "401", Respond(401), times=1)
    for status in (400, 401, 402, 403, 404, 413, 422):
        yield Case("status", str(status), Respond(status))
    paused = {"error": "Bad Request: Invalid state: endpoint is paused"}
    yield from _both("status", "400, endpoint paused", Respond(400, paused))
    for status in (408, 409, 424, 500, 503, 504):
        yield from _both("status", str(status), Respond(status))
    page = "<html><title>502 Bad Gateway</title></html>"
    yield from _both("status", "502, a web page", Respond(502, page, content_type=_HTML))
    yield from _both("status", "500, no body", Respond(500, b""))
    yield from _both("status", "500, body is a list", Respond(500, ["it", "broke"]))
    yield from _both("status", "503, body is not UTF-8", Respond(503, b'{"error":"\xff\xfe"}'))
    nested = b"[" * 100_000 + b"]" * 100_000
    yield from _both("status", "500, body nested 100,000 deep", Respond(500, nested))


def _throttles() -> Iterator[Case]:
    yield from _both("throttled", "429", Throttle())
    yield from _both("throttled", "429, body is a string", Respond(429, '"slow down"'))
    yield Case("throttled", "529", Throttle(status=529), times=THRICE)
    forms: tuple[tuple[str, Throttle], ...] = (
        ("Retry-After: 2", Throttle(2.0)),
        ("Retry-After: 1.5", Throttle(1.5, form="float")),
        ("a date 2 s ahead, clock a day off", Throttle(2.0, form="date", skew=86_400.0)),
        ("retry-after-ms: 700", Throttle(0.7, form="milliseconds")),
        ("Retry-After unreadable", Throttle(2.0, form="unreadable")),
        ("x-should-retry: false", Throttle(should_retry=False)),
    )
    for name, action in forms:
        yield Case("throttled", f"429, {name}", action, times=THRICE)
    yield Case("throttled", "429, Retry-After: 300", Throttle(300.0))


def _connections() -> Iterator[Case]:
    yield Case("connection", "nothing listens for 4 s", Refuse(4.0), times=1)
    yield Case("connection", "nothing listens any more", Refuse())
    yield Case("connection", "host name unknown", None, place="nowhere")
    yield Case("connection", "certificate not trusted", None, place="untrusted")
    yield from _both("connection", "reset before the answer", Reset("start"))
    yield from _both("connection", "reset after its head", Reset("head"))
    yield from _both("connection", "reset in its body", Reset("body"))
    yield from _both("connection", "closed before its end", Truncate())
    yield from _both("connection", "hangs before the answer", Hang("start"))
    yield from _both("connection", "hangs in its body", Hang("body"))
    yield from _both("connection", "a byte every second", Drip(1.0))


def _answers() -> Iterator[Case]:
    unusable: tuple[tuple[str, Action], ...] = (
        ("JSON cut off", Garble(edits.truncated_json)),
        ("text is not UTF-8", Garble(edits.bad_utf8)),
        ("an error with code 429", Rewrite(edits.error_body(429))),
        ("no choices", Rewrite(edits.no_choices)),
        ("choices is null", Rewrite(edits.null_choices)),
        ("content is null", Rewrite(edits.null_content)),
        ("a list", Rewrite(lambda payload: [payload])),
        ("empty", Respond(200, b"")),
        ("a login page", Respond(200, _PAGE, content_type=_HTML)),
    )
    for name, action in unusable:
        yield from _both("answer", f"200, {name}", action, TWICE)
    yield Case("answer", "200, 64 MB of gzip", Flood(64 * _MEGABYTE, gzip=True))
    yield Case("answer", "200, 64 MB", Flood(64 * _MEGABYTE))
    yield Case("answer", "200, without end", Flood(chunk=16_384, interval=0.05))


def _redirects(elsewhere: str) -> Iterator[Case]:
    for status in REDIRECTS:
        place = (("Location", f"{elsewhere}/v1/chat/completions?status={status}"),)
        name = f"{status} to another host"
        yield Case("elsewhere", name, Respond(status, b"", headers=place))
