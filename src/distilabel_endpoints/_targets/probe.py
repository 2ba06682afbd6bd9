"""Asks a server who it is and which models it serves.

Rules
- Nothing is guessed that can be asked.
- A probe that fails for a reason of the probe's own is no failure; one that shows that no request
  can succeed (a token is rejected, the URL has moved) is raised at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from distilabel_endpoints._clients.failures import classify
from distilabel_endpoints._clients.transport import Exchange
from distilabel_endpoints._targets.urls import Target
from distilabel_endpoints.errors import run_error
from distilabel_endpoints.records import Failure, FailureKind, Request, Server

__all__ = ["PROBE_TIMEOUT", "probe"]

PROBE_TIMEOUT: Final = 10.0
"""Seconds for one question of a probe."""

_HICCUPS: Final = 2
_HICCUP_SECONDS: Final = 0.5
_WAITED_FOR: Final = frozenset({FailureKind.UNAVAILABLE, FailureKind.THROTTLE})
_GATEWAY_CODES: Final = frozenset({"bad_gateway", "gateway_timeout"})
"""What a gateway says of a server behind it that does not listen yet."""

_OWNERS: Final[Mapping[str, Server]] = {
    "vllm": Server.VLLM,
    "sglang": Server.SGLANG,
    "llamacpp": Server.LLAMACPP,
}


async def probe(session: httpx2.AsyncClient, target: Target) -> Target | Failure:
    """Ask the server who it is and which models it serves.

    What `target` already says of server and model stands. A `Failure` comes back where the server
    may yet get ready.

    Raises:
        RunError: no request can succeed: the token is rejected, TLS fails, the URL has moved.
    """
    models, about = await asyncio.gather(
        _ask_again(session, f"{target.api}/models"), _ask(session, f"{target.root}/info")
    )
    # `/info` is TGI's alone: gateways answer anything to a path that they do not know.
    if isinstance(models, Failure):
        if _is_fatal(models) and not isinstance(about, dict):
            raise run_error(replace(models, kind=FailureKind.RUN))
        if models.kind in _WAITED_FOR or models.code in _GATEWAY_CODES:
            return models
    served = _served(models)
    server = _server_of(target, served, about)
    return replace(
        target,
        server=server,
        models=tuple(entry["id"] for entry in served),
        model=_main_model(served) or _tgi_model(about, server) or target.model,
    )


def _is_fatal(failure: Failure) -> bool:
    """401 and 403 are the token's; redirects and TLS the URL's. 404 only lacks that route."""
    if failure.code == "web_page":
        return True
    return failure.kind is FailureKind.RUN and failure.status not in {404, 405, 410, 501}


async def _ask_again(session: httpx2.AsyncClient, url: str) -> Any:
    """As `_ask`; a hiccup is not taken for an answer."""
    answer = await _ask(session, url)
    for _ in range(_HICCUPS):
        if not isinstance(answer, Failure) or answer.kind is not FailureKind.TRANSIENT:
            break
        await asyncio.sleep(_HICCUP_SECONDS)
        answer = await _ask(session, url)
    return answer


async def _ask(session: httpx2.AsyncClient, url: str) -> Any:
    """The JSON behind `url`, or a `Failure`."""
    error: Exception | None = None
    with Exchange() as exchange:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                response = await session.get(url)
            if response.status_code == 200:
                return response.json()
        except (httpx2.HTTPError, TimeoutError, ValueError) as raised:
            error = raised.with_traceback(None)  # it would keep this frame alive
        return classify(exchange, Request(ordinal=-1), error)


def _served(models: Any) -> list[dict[str, Any]]:
    entries = models.get("data") if isinstance(models, dict) else None
    entries = entries if isinstance(entries, list) else []
    return [e for e in entries if isinstance(e, dict) and isinstance(e.get("id"), str)]


def _server_of(target: Target, served: list[dict[str, Any]], about: Any) -> Server:
    owner = str(served[0].get("owned_by", "")).lower() if served else ""
    if owner in _OWNERS:
        return _OWNERS[owner]
    if isinstance(about, dict) and "model_id" in about and "version" in about:
        return Server.TGI
    if urlsplit(target.root).hostname == "api.openai.com":
        return Server.OPENAI
    return target.server


def _main_model(served: list[dict[str, Any]]) -> str | None:
    """The one model that is no adapter of another; `None` where there is a choice."""
    mains = [entry["id"] for entry in served if not entry.get("parent")]
    return mains[0] if len(mains) == 1 else None


def _tgi_model(about: Any, server: Server) -> str | None:
    return str(about["model_id"]) if server is Server.TGI else None
