"""`openai.AsyncOpenAI` as a `Client`: chat, and the completions API.

The only door to that library (extra `openai`). Its own retries are off: only the engine retries.
Answers are read from the wire (`attempt.py`), which costs a fraction of its response models.
"""

from __future__ import annotations

from typing import Any, Final

import httpx2
from openai import AsyncOpenAI

from distilabel_endpoints._clients.answers import Form
from distilabel_endpoints._clients.attempt import attempt
from distilabel_endpoints._clients.transport import PLACEHOLDER
from distilabel_endpoints.config import FIRST_TOKEN_TIMEOUT
from distilabel_endpoints.records import Answer, Failure, Request

__all__ = ["OpenAIClient"]

_SAME_OPTIONS: Final[Any] = {"params": {}, "headers": {}, "max_retries": 0, "timeout": None}
"""As the client has them. Those that are left out the library makes with every request: deep
copies of its defaults."""


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
        # Whole: the library would join a path to the API's root anew for every request.
        root = str(self._openai.base_url.copy_with(query=None)).rstrip("/")
        self._chat_url, self._text_url = f"{root}/chat/completions", f"{root}/completions"

    async def complete(self, request: Request) -> Answer | Failure:
        """Send one request once."""
        form: Form = "chat" if request.prompt is None else "text"
        return await attempt(self._send, request, form, first_token=self._first_token)

    async def _send(self, request: Request) -> None:
        """As if unstreamed: events are read below the library, by us."""
        arguments = self._arguments(request)
        if request.stream:
            arguments["stream"] = True
            if request.counts_stream:
                arguments["stream_options"] = {"include_usage": True}
        url = self._chat_url if request.prompt is None else self._text_url
        # Not `create`: it walks the parameters by their annotations, which is a quarter of the
        # cost of a request, to send what it was given.
        options: Any = {**_SAME_OPTIONS, "extra_json": arguments.pop("extra_body", None)}
        await self._openai.post(url, cast_to=httpx2.Response, body=arguments, options=options)

    def _arguments(self, request: Request) -> dict[str, Any]:
        arguments: dict[str, Any] = {"model": request.model or self._model, **request.options}
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
