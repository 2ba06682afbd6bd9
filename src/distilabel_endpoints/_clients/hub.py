"""`huggingface_hub.AsyncInferenceClient` as a `Client`: chat, and TGI's text generation.

The only door to that class. It really is the client that builds and sends each request; only the
session underneath is ours (`transport.py`), through `_get_async_client`, the one place where the
class makes one. `tests/contract/` pins that and the other points relied on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx2
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import HfHubHTTPError

from distilabel_endpoints._clients.answers import (
    collect_chat,
    collect_generated,
    parse_chat,
    parse_generated,
    replaced,
    with_headers,
)
from distilabel_endpoints._clients.clocks import token_clock
from distilabel_endpoints._clients.failures import classify, is_usable
from distilabel_endpoints._clients.transport import PLACEHOLDER, Exchange
from distilabel_endpoints.config import FIRST_TOKEN_TIMEOUT
from distilabel_endpoints.records import Answer, Failure, Request

__all__ = ["HubClient"]


class _RefusedError(Exception):
    """The answer was an error status; the exchange has it."""


class _AnsweredError(Exception):
    """The exchange has the answer. What the library would make of it is not wanted, and takes as
    long as the rest of what it does."""


class _Sender(AsyncInferenceClient):
    """The library's client, sending through a session it is given and does not own."""

    def __init__(self, session: httpx2.AsyncClient, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._session = session
        self._url: tuple[str, httpx2.URL] | None = None

    async def _get_async_client(self) -> httpx2.AsyncClient:
        return self._session

    async def _inner_post(self, request_parameters: Any, *, stream: bool = False) -> Any:
        """As the library's, but nothing is sent twice: on some 400s it would leave parameters
        out, say so in a warning, and leave them out of every later request of the process."""
        request_parameters.url = self._parsed(request_parameters.url)
        try:
            answer = await super()._inner_post(request_parameters, stream=stream)
        except HfHubHTTPError:
            pass
        else:
            if stream:
                return answer
            raise _AnsweredError
        raise _RefusedError

    def _parsed(self, url: str) -> httpx2.URL:
        """The same every time, and not cheap to parse."""
        if self._url is None or self._url[0] != url:
            self._url = url, httpx2.URL(url)
        return self._url[1]


class HubClient:
    """Sends through `AsyncInferenceClient`.

    Args:
        session: from `transport.open_session`; closed by `aclose`.
        url: a server's URL, or `None` for the serverless router.
        model: the name in the body; for the router `repository` or `repository:provider`.
        bill_to: the organisation that pays, for the router.
        first_token: seconds until a stream says something.
    """

    def __init__(
        self,
        session: httpx2.AsyncClient,
        *,
        url: str | None,
        model: str | None,
        bill_to: str | None = None,
        first_token: float = FIRST_TOKEN_TIMEOUT,
    ) -> None:
        self._first_token = first_token
        self._session = session
        self._model = model
        self._arguments: Mapping[str, Any] = {
            "model": url,
            "provider": None if url else "auto",
            "bill_to": bill_to,
            "token": PLACEHOLDER,
        }
        self._sender: Any = _Sender(session, **self._arguments)

    async def complete(self, request: Request) -> Answer | Failure:
        """Send one request once."""
        answer, error = None, None
        with Exchange() as exchange:
            try:
                answer = await self._send(request, exchange)
            except Exception as raised:  # noqa: BLE001 - a border: the wire says what it means
                error = raised.with_traceback(None)  # it would keep this frame alive
                answer = _parse(request, exchange)
            if answer is None or not is_usable(answer, exchange, request):
                return _explained(classify(exchange, request, error, answer), request)
        if exchange.repaired:
            answer = replaced(answer)
        if request.prompt is not None and not request.logprobs:
            answer = _without_logprobs(answer)
        return with_headers(answer, exchange.headers)

    async def _send(self, request: Request, exchange: Exchange) -> Answer | None:
        if request.stream:
            async with token_clock(exchange, self._first_token) as heard:
                answer = await self._stream(request, heard)
            return answer or _parse(request, exchange)
        with suppress(_AnsweredError):
            await self._ask(request)
        return _parse(request, exchange)

    async def _ask(self, request: Request) -> None:
        if request.prompt is not None:
            await self._sender.text_generation(request.prompt, **request.options, **_seed(request))
            return
        assert request.messages is not None
        await self._sender.chat_completion(
            request.messages,
            model=self._model,
            n=request.n if request.n > 1 else None,
            **request.options,
            **_seed(request),
        )

    async def _stream(self, request: Request, heard: Callable[[], None]) -> Answer | None:
        """A streamed request has a sender of its own: the library keeps every finished stream
        until the client that sent it is closed."""
        async with _Sender(self._session, **self._arguments) as opened:
            sender: Any = opened
            if request.prompt is not None:
                chunks = await sender.text_generation(
                    request.prompt, stream=True, **request.options, **_seed(request)
                )
                return await collect_generated(chunks, heard)
            assert request.messages is not None
            return await collect_chat(
                await sender.chat_completion(
                    request.messages,
                    model=self._model,
                    n=request.n if request.n > 1 else None,
                    stream=True,
                    stream_options={"include_usage": True},
                    **request.options,
                    **_seed(request),
                ),
                heard,
            )

    async def aclose(self) -> None:
        """Close the session and all its connections."""
        await self._sender.close()
        await self._session.aclose()


def _explained(failure: Failure, request: Request) -> Failure:
    """A server that nobody recognised at load may turn out not to have TGI's own route."""
    if request.prompt is None or failure.status not in {404, 405, 501}:
        return failure
    hint = (
        "With tokenizer_id the default client needs TGI's text generation. Either set "
        "use_openai_client=True, which uses the completions API, or leave tokenizer_id out."
    )
    return replace(failure, hint=hint)


def _without_logprobs(answer: Answer) -> Answer:
    """TGI's details are always asked for, and hold the tokens whether they are wanted or not."""
    completions = tuple(replace(completion, logprobs=None) for completion in answer.completions)
    return replace(answer, completions=completions)


def _seed(request: Request) -> dict[str, int]:
    return {} if request.seed is None else {"seed": request.seed}


def _parse(request: Request, exchange: Exchange) -> Answer | None:
    body = exchange.body()
    if exchange.status != 200 or exchange.fault is not None or body is None:
        return None
    if request.prompt is not None:
        return parse_generated(body, exchange.headers)
    return parse_chat(body)
