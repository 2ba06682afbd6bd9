"""What we rely on in the client libraries, beyond what they promise.

Each of these failing after an upgrade means: look at the module that the message names.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.inference._providers import get_provider_helper
from openai import AsyncOpenAI

from distilabel_endpoints._clients.hub import _AnsweredError, _Sender
from distilabel_endpoints._clients.parameters import PARAMETERS, compile_parameters
from distilabel_endpoints._clients.transport import PLACEHOLDER
from distilabel_endpoints.records import Route, Server

OPENAI = AsyncOpenAI(api_key=PLACEHOLDER, base_url="http://127.0.0.1:9/v1")
METHODS: dict[Route, Any] = {
    Route.HUB_CHAT: AsyncInferenceClient.chat_completion,
    Route.HUB_TEXT: AsyncInferenceClient.text_generation,
    Route.OPENAI_CHAT: OPENAI.chat.completions.create,
    Route.OPENAI_TEXT: OPENAI.completions.create,
}
ASKED = [{"role": "user", "content": "Hi"}]
URL = "http://127.0.0.1:9/v1/chat/completions"
SCHEMA = {"type": "object", "properties": {}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}


def columns() -> list[Any]:
    return [
        pytest.param(route, name, column, id=f"{route}-{name}")
        for name, parameter in PARAMETERS.items()
        for route in Route
        if (column := parameter.column(route)) and not column.startswith("+")
    ]


@pytest.mark.parametrize(("route", "name", "column"), columns())
def test_every_keyword_of_a_column_exists(route: Route, name: str, column: str) -> None:
    """What PARAMETERS calls a keyword is one of the client's method."""
    assert column in inspect.signature(METHODS[route]).parameters, (
        f"{METHODS[route].__qualname__} no longer takes {column!r}: see the row '{name}' and the "
        f"column {route} of PARAMETERS in _clients/parameters.py"
    )


@pytest.mark.parametrize(
    ("route", "keywords"),
    [
        (Route.HUB_CHAT, {"model", "n", "seed", "stream", "stream_options", "extra_body"}),
        (Route.HUB_TEXT, {"seed", "stream", "details", "do_sample", "grammar"}),
        (Route.OPENAI_CHAT, {"model", "messages", "n", "seed", "stream", "stream_options"}),
        (Route.OPENAI_TEXT, {"model", "prompt", "n", "seed", "stream", "stream_options", "echo"}),
    ],
)
def test_every_keyword_of_the_adapters_exists(route: Route, keywords: set[str]) -> None:
    """What hub.py, openai.py and grammar's dialects pass beside the parameters."""
    missing = keywords | {"extra_body"} if route is not Route.HUB_TEXT else keywords
    missing -= set(inspect.signature(METHODS[route]).parameters)
    assert not missing, f"{METHODS[route].__qualname__} no longer takes {missing}: see _clients/"


class Wire:
    """Notes every request, and answers each with the same bytes."""

    def __init__(self, body: bytes) -> None:
        self.seen: list[httpx2.Request] = []

        def answer(request: httpx2.Request) -> httpx2.Response:
            self.seen.append(request)
            return httpx2.Response(200, content=body)

        self.session = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))

    @property
    def sent(self) -> Any:
        return json.loads(self.seen[-1].content)

    @property
    def url(self) -> str:
        return str(self.seen[-1].url)


CHATTED = b'{"choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}'
GENERATED = b'{"generated_text":"Hi"}'
STREAMED = (
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


def through(body: bytes, send: Callable[[Any], Awaitable[Any]], **arguments: Any) -> Wire:
    """What `send` puts on the wire through our sender."""

    async def run() -> Wire:
        wire = Wire(body)
        async with _Sender(wire.session, **{"token": PLACEHOLDER, **arguments}) as sender:
            with suppress(_AnsweredError):
                await send(sender)
        await wire.session.aclose()
        return wire

    return asyncio.run(run())


def test_the_hubs_client_sends_through_the_session_it_is_given() -> None:
    """`_get_async_client` is the one place a session comes from, for every kind of call."""
    told = "AsyncInferenceClient no longer takes its session from _get_async_client: see hub.py"
    assert list(inspect.signature(AsyncInferenceClient._get_async_client).parameters) == ["self"]
    assert inspect.iscoroutinefunction(AsyncInferenceClient._get_async_client), told
    assert "self._get_async_client()" in inspect.getsource(AsyncInferenceClient._inner_post), told
    assert through(CHATTED, lambda s: s.chat_completion(ASKED), model=URL).seen, told
    assert through(GENERATED, lambda s: s.text_generation("Hi"), model=URL).seen, told

    assert through(STREAMED, lambda s: s.chat_completion(ASKED, stream=True), model=URL).seen, told


class Plain(AsyncInferenceClient):
    """The library's client, with nothing changed but the session."""

    def __init__(self, session: httpx2.AsyncClient) -> None:
        super().__init__(model=URL, token=PLACEHOLDER)
        self._session = session

    async def _get_async_client(self) -> httpx2.AsyncClient:
        return self._session


@pytest.mark.parametrize("chat", [True, False])
def test_a_stream_is_asked_for_as_the_hubs_client_does(*, chat: bool) -> None:
    """Reading the events ourselves changes nothing that is sent."""

    def call(sender: Any) -> Any:
        if chat:
            asked = {"stream": True, "stream_options": {"include_usage": True}}
            return sender.chat_completion(ASKED, **asked)
        return sender.text_generation("Hi", stream=True, details=True)

    async def streamed() -> httpx2.Request:
        wire = Wire(STREAMED)
        async with Plain(wire.session) as sender:
            await call(sender)
        await wire.session.aclose()
        return wire.seen[-1]

    ours, theirs = through(STREAMED, call, model=URL).seen[-1], asyncio.run(streamed())
    assert (ours.url, ours.content) == (theirs.url, theirs.content), "see _Sender._inner_post"
    assert ours.headers == theirs.headers


def test_a_url_with_a_model_sends_that_model_and_one_without_a_dummy() -> None:
    """The URL of the client decides where, the `model` of the call what stands in the body."""
    named = through(CHATTED, lambda s: s.chat_completion(ASKED, model="org/m"), model=URL)
    assert (named.url, named.sent["model"]) == (URL, "org/m"), "see HubClient._send"
    bare = through(CHATTED, lambda s: s.chat_completion(ASKED), model=URL)
    assert (bare.url, bare.sent["model"]) == (URL, "dummy"), "see HubClient._send"


def test_text_generation_posts_to_the_url_itself() -> None:
    """TGI's root route: `inputs` and `parameters`, nothing added to the URL."""
    root = "http://127.0.0.1:9/deployed"
    wire = through(GENERATED, lambda s: s.text_generation("Hi", max_new_tokens=5), model=root)
    assert wire.url == root, "see Target.root and HubClient"
    assert wire.sent == {"inputs": "Hi", "parameters": {"max_new_tokens": 5}}


@pytest.mark.parametrize("where", ["keyword", "extra_body"])
def test_the_hubs_client_rewrites_a_json_schema(where: str) -> None:
    """For a URL it makes TGI's dialect of it, wherever it was given; others ignore that."""
    given = {"response_format": FORMAT} if where == "keyword" else {}
    extra = {"response_format": FORMAT} if where == "extra_body" else {}
    wire = through(
        CHATTED, lambda s: s.chat_completion(ASKED, **given, extra_body=extra), model=URL
    )
    assert wire.sent["response_format"] == {"type": "json_object", "value": SCHEMA}, (
        "the rewrite is gone or another: see _as_written in parameters.py and grammar/dialects.py"
    )


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (Server.VLLM, FORMAT),
        (Server.UNKNOWN, FORMAT),
        (Server.TGI, {"type": "json_object", "value": SCHEMA}),
    ],
)
def test_a_response_format_reaches_the_wire_as_it_was_given(server: Server, expected: Any) -> None:
    """Our options get past the rewrite, except for TGI, for which it is right."""
    options = compile_parameters({"response_format": FORMAT}, Route.HUB_CHAT, server).options
    wire = through(CHATTED, lambda s: s.chat_completion(ASKED, **options), model=URL)
    assert wire.sent["response_format"] == expected, "see _as_written in parameters.py"


def test_every_option_reaches_the_wire() -> None:
    """No keyword of ours is swallowed between the method and the body."""
    given = {
        "temperature": 0.5, "top_p": 0.9, "top_k": 5, "frequency_penalty": 0.5, "seed": 7,
        "stop_sequences": ["a"], "logprobs": True, "top_logprobs": 2, "typical_p": 0.4,
        "repetition_penalty": 1.5,
    }  # fmt: skip
    chat = compile_parameters(given, Route.HUB_CHAT, Server.UNKNOWN).options
    wire = through(CHATTED, lambda s: s.chat_completion(ASKED, **chat), model=URL)
    flat = {**chat, **chat["extra_body"]}
    del flat["extra_body"]
    assert flat.items() <= wire.sent.items()
    text = compile_parameters(given, Route.HUB_TEXT, Server.TGI).options
    wire = through(
        GENERATED, lambda s: s.text_generation("Hi", **{**text, "details": False}), model=URL
    )
    assert {k: v for k, v in text.items() if k != "details"}.items() <= wire.sent[
        "parameters"
    ].items()


def test_the_placeholder_is_a_token_that_is_routed() -> None:
    """The library sends an `hf_` token to the router, and asks for none that is saved."""
    helper = get_provider_helper(None, task="conversational", model="org/m")
    request = helper.prepare_request(
        inputs=ASKED, parameters={}, headers={}, model="org/m", api_key=PLACEHOLDER
    )
    assert request.url == "https://router.huggingface.co/v1/chat/completions", "see PLACEHOLDER"
    assert isinstance(request.json, dict)
    assert request.json["model"] == "org/m"
    assert request.headers["authorization"] == f"Bearer {PLACEHOLDER}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AsyncInferenceClient(token=PLACEHOLDER, bill_to="org")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", [Route.OPENAI_CHAT, Route.OPENAI_TEXT])
def test_openais_post_sends_what_its_create_sends(route: Route, *, stream: bool) -> None:
    """`post` to the path, as openai.py does, is `create`: one request, same URL and same bytes."""
    given = {"top_k": 5, "temperature": 0.5, "stop_sequences": ["."], "seed": 3}
    options: Any = compile_parameters(given, route, Server.UNKNOWN).options
    chat = route is Route.OPENAI_CHAT
    asked: dict[str, Any] = {"messages": ASKED} if chat else {"prompt": "Hi"}
    body = {"model": "m", **asked, **options}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    more: Any = {"extra_json": body["extra_body"]}

    async def run() -> list[httpx2.Request]:
        wire = Wire(CHATTED)
        client = AsyncOpenAI(
            base_url="http://127.0.0.1:9/v1", api_key=PLACEHOLDER, http_client=wire.session,
            max_retries=0, timeout=None,
        )  # fmt: skip
        creator: Any = client.chat.completions if chat else client.completions
        made = await creator.create(**body)
        if stream:
            await made.close()
        path = "/chat/completions" if chat else "/completions"
        plain = {name: value for name, value in body.items() if name != "extra_body"}
        raw = await client.post(path, cast_to=httpx2.Response, body=plain, options=more)
        assert raw.content == CHATTED
        await client.close()
        return wire.seen

    created, posted = asyncio.run(run())
    assert str(posted.url) == str(created.url), "see OpenAIClient"
    assert json.loads(posted.content) == json.loads(created.content), "see OpenAIClient"
    assert json.loads(posted.content)["top_k"] == 5
    assert posted.headers.keys() == created.headers.keys()
    assert posted.headers["content-type"] == "application/json"
