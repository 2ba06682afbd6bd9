"""Asks a server who it is, which models it serves, and where its API is.

Rules
- Nothing is guessed that can be asked.
- A question that fails for its own reason says nothing about the server: many keys may chat
  and may not list models. Only what shows that no request can succeed is raised.
- A server that answered nothing at all, in any status, is not taken for one that does not say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from distilabel_endpoints._clients.failures import classify
from distilabel_endpoints._clients.transport import Exchange
from distilabel_endpoints._targets.urls import Target
from distilabel_endpoints.config import CONNECT_TIMEOUT
from distilabel_endpoints.errors import run_error
from distilabel_endpoints.records import Failure, FailureKind, Request, Server

__all__ = ["PROBE_TIMEOUT", "Findings", "ask", "probe"]

PROBE_TIMEOUT: Final = 1.5 * CONNECT_TIMEOUT
"""Seconds for one question. Longer than a connection may take, so that one that is not made in time
is distinguished from a server that is slow to answer."""

_HICCUPS: Final = 2
_HICCUP_SECONDS: Final = 0.5
_WAITED_FOR: Final = frozenset({FailureKind.UNAVAILABLE, FailureKind.THROTTLE})
_GATEWAY_CODES: Final = frozenset({"bad_gateway", "gateway_timeout"})
"""What a gateway says of a server behind it that does not listen yet."""
_NOT_NOW: Final = frozenset({429, 503})
_LOOKED_AT: Final = frozenset({400, 422})
"""What a chat route answers to an empty body, once its server is there."""
_NO_SUCH_ROUTE: Final = frozenset({404, 405, 410, 501})
_FATAL_STATUSES: Final = frozenset({401, 402, 403, 407})
_FATAL_CODES: Final = frozenset(
    {"proxy_auth", "proxy_denied", "redirect", "tls", "unauthorized", "web_page", "wrong_scheme"}
)

_LIST_KEYS: Final = ("data", "models", "result")
_MOST_WRAPPERS: Final = 2
_OWNERS: Final[Mapping[str, Server]] = {
    "vllm": Server.VLLM,
    "sglang": Server.SGLANG,
    "llamacpp": Server.LLAMACPP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a probe learned."""

    target: Target
    unlisted: Failure | None = None
    """Why the models could not be listed; `None` if they were, or if there is no such route."""


async def probe(
    session: httpx2.AsyncClient, target: Target, *, without_list: bool = False
) -> Findings | Failure:
    """Ask the server who it is, which models it serves, and where its API is.

    What `target` already says of server and model stands. A `Failure` comes back if the server
    may yet get ready; with `without_list`, one whose chat route is there is ready, though it turns
    the question for its models away.

    Raises:
        RunError: no request can succeed: the token is rejected, TLS fails, the URL has moved.
    """
    # Together: a server that hangs on one of the two costs its time once.
    (api, models), about = await asyncio.gather(
        _list_models(session, target), ask(session, f"{target.root}/info")
    )
    if isinstance(models, Failure):
        if models.status is None and isinstance(about, Failure) and about.status is None:
            return await _explained(models, target)
        is_there = without_list and await _takes_chat(session, target, models)
        if _may_get_ready(models) and not is_there:
            return models
        # `/info` is TGI's alone: gateways answer anything to a path that they do not know.
        if not isinstance(about, dict):
            api = await _chat_api(session, target, models)
    served = _served(models)
    server = _server_of(target, served, about)
    return Findings(
        target=replace(
            target,
            api=api or target.api,
            other_api=None,
            server=server,
            models=tuple(entry["id"] for entry in served),
            model=_main_model(served) or _tgi_model(about, server) or target.model,
        ),
        unlisted=models if isinstance(models, Failure) and not _is_missing(models) else None,
    )


def _may_get_ready(failure: Failure) -> bool:
    """A list that takes too long is not a reason to wait: the server answered another question."""
    waited_for = failure.kind in _WAITED_FOR or failure.code in _GATEWAY_CODES
    return waited_for and failure.code != "silent"


async def _list_models(session: httpx2.AsyncClient, target: Target) -> tuple[str | None, Any]:
    """The API root that lists models, and the list; without one, what the likelier place said."""
    first = await _ask_again(session, f"{target.api}/models")
    if _is_list(first) or target.other_api is None or not _may_be_elsewhere(first):
        return (target.api if _is_list(first) else None), first
    second = await _ask_again(session, f"{target.other_api}/models")
    if _is_list(second):
        return target.other_api, second
    return None, second if _is_missing(first) else first


def _may_be_elsewhere(answer: Any) -> bool:
    """The server is there, and this was not its list of models."""
    if not isinstance(answer, Failure):
        return True
    return answer.status is not None and answer.kind not in _WAITED_FOR


def _is_missing(answer: Any) -> bool:
    return isinstance(answer, Failure) and answer.status in _NO_SUCH_ROUTE


async def _chat_api(session: httpx2.AsyncClient, target: Target, listing: Failure) -> str | None:
    """The API root that has a chat route, if it can be seen; asked when the models were not listed.

    An empty body is sent, which every server refuses before it generates anything.

    Raises:
        RunError: neither chat nor models can be asked for: the token or the URL is wrong.
    """
    fatal = _is_fatal(listing)
    places = [target.api, target.other_api] if target.other_api else [target.api]
    if not fatal and (len(places) == 1 or listing.status is None):
        return None
    verdicts = []
    for place in places:
        verdicts.append(await _has_chat(session, f"{place}/chat/completions"))
        if verdicts[-1]:
            return place
    if fatal and None not in verdicts:
        raise run_error(replace(listing, kind=FailureKind.RUN))
    return None


async def _takes_chat(session: httpx2.AsyncClient, target: Target, listing: Failure) -> bool:
    """Whether a chat route looks at what it is sent, though the list of models is turned away: some
    gateways answer 429 or 503 for a list that they do not have."""
    if listing.status not in _NOT_NOW:
        return False
    places = filter(None, (target.api, target.other_api))
    answers = [await ask(session, f"{place}/chat/completions", {}) for place in places]
    return any(isinstance(a, Failure) and a.status in _LOOKED_AT for a in answers)


async def _has_chat(session: httpx2.AsyncClient, url: str) -> bool | None:
    """Whether a chat route answers there, to this token; `None` if that cannot be seen."""
    answer = await ask(session, url, {})
    if not isinstance(answer, Failure):
        return True
    if answer.status is None:
        return None
    return not _is_fatal(answer) and answer.status not in _NO_SUCH_ROUTE


def _is_fatal(failure: Failure) -> bool:
    """401 and 403 are the token's; redirects, pages and TLS the URL's. 404 only lacks a route."""
    status = failure.status or 0
    return failure.code in _FATAL_CODES or status in _FATAL_STATUSES or 300 <= status < 400


async def _explained(failure: Failure, target: Target) -> Failure:
    """Nothing came back: what that means, for a URL that was given.

    Raises:
        RunError: it will not change by itself: the other protocol is spoken there, or the
            certificate is not trusted.
    """
    parts = urlsplit(target.root)
    other = "http" if parts.scheme == "https" else "https"
    if await _speaks_another_protocol(failure, parts.scheme, parts.hostname, parts.port):
        raise run_error(
            replace(
                failure,
                kind=FailureKind.RUN,
                code="tls" if other == "http" else "protocol",
                message=f"{target.root} takes connections and does not speak {parts.scheme} "
                f"({failure.message})",
                hint=f"Give the URL with {other}:// if that is what is served there.",
            )
        )
    if _is_fatal(failure):
        raise run_error(replace(failure, kind=FailureKind.RUN))
    hint = failure.hint or (_CLOSED[parts.scheme] if failure.code == "reset" else None)
    return replace(failure, kind=FailureKind.UNAVAILABLE, hint=hint)


_CLOSED: Final[Mapping[str, str]] = {
    "http": "If the server is starting, name a time with wait_ready. If it uses TLS, give the URL "
    "with https://.",
    "https": "If the server is starting, name a time with wait_ready.",
}
"""What may be behind a connection that is closed before an answer."""


_NO_TLS: Final = ("wrong version number", "wrong_version_number", "record layer", "unexpected eof")


async def _speaks_another_protocol(
    failure: Failure, scheme: str, host: str | None, port: int | None
) -> bool:
    if scheme == "http":
        # A TLS server answers plain HTTP with an alert, which is not HTTP.
        return failure.code == "protocol"
    if failure.code == "tls":
        return any(words in failure.message.lower() for words in _NO_TLS)
    if failure.code not in {"connect_timeout", "silent"}:
        return False
    # A plain server waits for the end of a request's line, and the TLS greeting has none.
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port or 443)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _ask_again(session: httpx2.AsyncClient, url: str) -> Any:
    """As `ask`; a hiccup is not taken for an answer."""
    answer = await ask(session, url)
    for _ in range(_HICCUPS):
        if not isinstance(answer, Failure) or answer.kind is not FailureKind.TRANSIENT:
            break
        await asyncio.sleep(_HICCUP_SECONDS)
        answer = await ask(session, url)
    return answer


async def ask(session: httpx2.AsyncClient, url: str, body: Any = None) -> Any:
    """The JSON behind `url`, or a `Failure`."""
    error: Exception | None = None
    with Exchange() as exchange:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                response = await (
                    session.get(url) if body is None else session.post(url, json=body)
                )
            if response.status_code == 200:
                return response.json()
        except TimeoutError:
            if exchange.status is None and exchange.fault is None:
                return _silent()
        except (httpx2.HTTPError, ValueError) as raised:
            error = raised.with_traceback(None)  # it would keep this frame alive
        return classify(exchange, Request(ordinal=-1), error)


def _silent() -> Failure:
    return Failure(
        kind=FailureKind.UNAVAILABLE,
        code="silent",
        message=f"connected, and no answer within {PROBE_TIMEOUT:g} s",
        hint="The server is stuck or busy; look at its logs.",
    )


def _is_list(models: Any) -> bool:
    return not isinstance(models, Failure) and _entries(models) is not None


def _entries(models: Any) -> list[Any] | None:
    """The list of models, however it is wrapped: OpenAI's `data`, Together's bare list, and what
    gateways put around either."""
    for _ in range(_MOST_WRAPPERS):
        if isinstance(models, dict):
            values = map(models.get, _LIST_KEYS)
            models = next((value for value in values if value is not None), None)
    return models if isinstance(models, list) else None


def _served(models: Any) -> list[dict[str, Any]]:
    return [entry for entry in map(_entry, _entries(models) or []) if entry is not None]


def _entry(model: Any) -> dict[str, Any] | None:
    """One model of a list: an object, named by its `id` or as Ollama and Cohere do; or a name."""
    if isinstance(model, str):
        return {"id": model}
    if not isinstance(model, dict):
        return None
    names = (model.get(key) for key in ("id", "model", "name"))
    name = next((name for name in names if isinstance(name, str) and name), None)
    return None if name is None else {**model, "id": name}


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
    """The one model that is not an adapter of another; `None` if there is a choice."""
    mains = [entry["id"] for entry in served if not entry.get("parent")]
    return mains[0] if len(mains) == 1 else None


def _tgi_model(about: Any, server: Server) -> str | None:
    return str(about["model_id"]) if server is Server.TGI else None
