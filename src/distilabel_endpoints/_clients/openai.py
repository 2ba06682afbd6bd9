"""`openai.AsyncOpenAI` as a `Client`: chat, and the completions API.

The only door to that library (extra `openai`). Its own retries are off: only the engine retries.
Answers are read from the raw response, which costs a fraction of its response models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
from openai import AsyncOpenAI

from distilabel_endpoints._clients.answers import (
    collect_chat,
    collect_text,
    parse_chat,
    parse_text,
    replaced,
    with_headers,
)
from distilabel_endpoints._clients.clocks import token_clock
from distilabel_endpoints._clients.failures import classify, is_usable
from distilabel_endpoints._clients.transport import PLACEHOLDER, Exchange
from distilabel_endpoints.config import FIRST_TOKEN_TIMEOUT
from distilabel_endpoints.records import Answer, Failure, Request

__all__ = ["OpenAIClient"]


class OpenAIClient:
    """Sends through `AsyncOpenAI`.

    Args:
        session: from `transport.open_session`; closed by `aclose`.
        url: the API's root, which ends in `/v1` on most servers.
        model: the name in the body.
        first_token: seconds until a stream says something.
    """

    def __init__(
        self,
        session: httpx2.AsyncClient,
        *,
        url: str,
        model: str,
        first_token: float = FIRST_TOKEN_TIMEOUT,
    ) -> None:
        self._first_token = first_token
        self._model = model
        self._openai = AsyncOpenAI(
            base_url=url, api_key=PLACEHOLDER, http_client=session, max_retries=0, timeout=None
        )

    async def complete(self, request: Request) -> Answer | Failure:
        """Send one request once."""
        answer, error = None, None
        with Exchange() as exchange:
            try:
                answer = await self._send(request, exchange)
            except Exception as raised:  # noqa: BLE001 - a border: the wire says what it means
                error = raised.with_traceback(None)  # it would keep this frame alive
            if answer is None or not is_usable(answer, exchange, request):
                return classify(exchange, request, error, answer)
        if exchange.repaired:
            answer = replaced(answer)
        return with_headers(answer, exchange.headers)

    async def _send(self, request: Request, exchange: Exchange) -> Answer | None:
        arguments = self._arguments(request)
        if request.stream:
            async with token_clock(exchange, self._first_token) as heard:
                answer = await self._stream(request, arguments, heard)
            return answer or _parse(request, exchange)
        path = "/chat/completions" if request.prompt is None else "/completions"
        # Not `create`: it walks the parameters by their annotations, which is a quarter of the
        # cost of a request, to send what it was given.
        more: Any = {"extra_json": arguments.pop("extra_body", None)}
        await self._openai.post(path, cast_to=httpx2.Response, body=arguments, options=more)
        return _parse(request, exchange)

    async def _stream(
        self, request: Request, arguments: dict[str, Any], heard: Callable[[], None]
    ) -> Answer | None:
        arguments |= {"stream": True, "stream_options": {"include_usage": True}}
        if request.prompt is not None:
            async with await self._openai.completions.create(**arguments) as chunks:
                return await collect_text(chunks, heard)
        async with await self._openai.chat.completions.create(**arguments) as chunks:
            return await collect_chat(chunks, heard)

    def _arguments(self, request: Request) -> dict[str, Any]:
        arguments: dict[str, Any] = {"model": self._model, **request.options}
        if request.prompt is not None:
            arguments["prompt"] = request.prompt
        else:
            arguments["messages"] = request.messages
        if request.n > 1:
            arguments["n"] = request.n
        if request.seed is not None:
            arguments["seed"] = request.seed
        return arguments

    async def aclose(self) -> None:
        """Close the session and all its connections."""
        await self._openai.close()


def _parse(request: Request, exchange: Exchange) -> Answer | None:
    body = exchange.body()
    if exchange.status != 200 or exchange.fault is not None or body is None:
        return None
    return parse_text(body) if request.prompt is not None else parse_chat(body)
