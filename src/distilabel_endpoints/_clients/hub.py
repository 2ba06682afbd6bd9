"""`huggingface_hub.AsyncInferenceClient` as a `Client`: chat, and TGI's text generation.

The only door to that class. It really is the client that builds and sends each request; only the
session underneath is ours (`transport.py`), through `_get_async_client`, the one place where the
class makes one. `tests/contract/` pins that and the other points relied on.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx2
from huggingface_hub import AsyncInferenceClient, constants
from huggingface_hub.errors import HfHubHTTPError

from distilabel_endpoints._clients.answers import Form
from distilabel_endpoints._clients.attempt import attempt
from distilabel_endpoints._clients.transport import PLACEHOLDER
from distilabel_endpoints.config import FIRST_TOKEN_TIMEOUT
from distilabel_endpoints.records import Answer, Failure, Request

__all__ = ["HubClient"]


class _AnsweredError(Exception):
    """The exchange has what came. What the library would make of it is not wanted, and takes as
    long as the rest of what it does."""


class _Sender(AsyncInferenceClient):
    """The library's client, sending through a session it is given and does not own."""

    def __init__(self, session: httpx2.AsyncClient, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._session = session

    async def _get_async_client(self) -> httpx2.AsyncClient:
        return self._session

    async def _inner_post(self, request_parameters: Any, *, stream: bool = False) -> Any:
        """As the library's, with what comes left on the wire, where the events are read, too.

        Nothing is sent twice: on some 400s the library would leave parameters out, say so in a
        warning, and leave them out of every later request of the process.
        """
        del stream
        with suppress(HfHubHTTPError):
            await super()._inner_post(request_parameters)
        raise _AnsweredError


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
        # Else the library asks huggingface.co, whatever the URL, what to write into the user agent:
        # with its own client, and with the event loop waiting for it.
        constants.HF_HUB_DISABLE_TELEMETRY = True
        self._first_token = first_token
        self._session = session
        self._model = model
        arguments: Mapping[str, Any] = {
            "model": url,
            "provider": None if url else "auto",
            "bill_to": bill_to,
            "token": PLACEHOLDER,
        }
        self._sender: Any = _Sender(session, **arguments)

    async def complete(self, request: Request) -> Answer | Failure:
        """Send one request once."""
        form: Form = "chat" if request.prompt is None else "generated"
        outcome = await attempt(self._send, request, form, first_token=self._first_token)
        if isinstance(outcome, Failure):
            return _explained(outcome, request)
        if request.prompt is not None and not request.logprobs:
            return _without_logprobs(outcome)
        return outcome

    async def _send(self, request: Request) -> None:
        options = dict(request.options)
        if request.stream:
            options["stream"] = True
        if request.seed is not None:
            options["seed"] = request.seed
        with suppress(_AnsweredError):
            if request.prompt is not None:
                await self._sender.text_generation(request.prompt, **options)
                return
            if request.stream and request.counts_stream:
                options["stream_options"] = {"include_usage": True}
            assert request.messages is not None
            await self._sender.chat_completion(
                request.messages,
                model=request.model or self._model,
                n=request.n if request.n > 1 else None,
                **options,
            )

    async def aclose(self) -> None:
        """Close the session and all its connections."""
        await self._sender.close()
        await self._session.aclose()


def _explained(failure: Failure, request: Request) -> Failure:
    """A server that was not recognised at load may turn out not to have TGI's own route."""
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
