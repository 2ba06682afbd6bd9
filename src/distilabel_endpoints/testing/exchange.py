"""One request as the routes see it, and the type of a route."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from distilabel_endpoints.testing.endpoint_settings import FlavorName, Settings
from distilabel_endpoints.testing.flavors import error_reply
from distilabel_endpoints.testing.request_log import RequestKind
from distilabel_endpoints.testing.wire import Outcome, Reply

__all__ = ["Exchange", "RefusedError", "Route"]


class RefusedError(Exception):
    """A route's way out with an error reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request, and what a pure route needs to answer it."""

    settings: Settings
    flavor: FlavorName
    """The dialect spoken on this route; the router speaks OpenAI's whatever the endpoint is."""
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in any case, looked up without regard to it."""
    body: Any
    now: float
    """Seconds since the start of the endpoint."""
    origin: str
    """Scheme, host and port it was reached at; empty on the data plane, which does not need it."""

    @property
    def token(self) -> str | None:
        """The bearer token it carries."""
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        return value.strip() if scheme.lower() == "bearer" and value else None

    def refuse(self, status: int, message: str | None = None, **more: str) -> RefusedError:
        """The error to raise for an answer in the flavor's own shape."""
        return RefusedError(error_reply(self.flavor, status, message, **more))


@dataclass(frozen=True, slots=True)
class Route:
    """What answers at a path. Pure: time is spent, and faults strike, around it."""

    kind: RequestKind
    answer: Callable[[Exchange], Outcome]
