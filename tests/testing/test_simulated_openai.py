"""The OpenAI routes, by the real clients: whole and streamed, in every flavor's manner."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import jsonschema_rs
import openai
import pytest
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import HfHubHTTPError
from virtual_client import run_virtually, virtual_endpoint

from distilabel_endpoints.testing import Lengths, Limits, SimulatedEndpoint
from distilabel_endpoints.testing.endpoint_settings import FLAVORS, FlavorName

Start = Callable[..., SimulatedEndpoint]
CONVERSATION: Any = [{"role": "user", "content": "Say hello"}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "person", "parameters": SCHEMA}},
]
MODEL = "simulated-model"


@asynccontextmanager
async def openai_client(endpoint: SimulatedEndpoint) -> AsyncIterator[Any]:
    """The openai library's client of an endpoint, without retries."""
    client = openai.AsyncOpenAI(base_url=endpoint.v1_url, api_key="none", max_retries=0)
    async with client:
        yield client


async def complete(endpoint: SimulatedEndpoint, **options: Any) -> Any:
    """One chat with the openai library; a list of chunks if streamed."""
    async with openai_client(endpoint) as client:
        options = {"model": MODEL, "messages": CONVERSATION, **options}
        answer = await client.chat.completions.create(**options)
        if not options.get("stream"):
            return answer
        async with answer:
            return [chunk async for chunk in answer]


@pytest.mark.parametrize("flavor", FLAVORS)
def test_both_clients_read_a_chat(flavor: FlavorName, simulated_endpoint: Start) -> None:
    """The openai library and huggingface_hub get the same answer to the same messages."""
    endpoint = simulated_endpoint(flavor=flavor)

    async def main() -> None:
        answer = await complete(endpoint)
        async with AsyncInferenceClient(endpoint.url) as client:
            other = await client.chat_completion(CONVERSATION, model=MODEL)
        choice = answer.choices[0]
        assert choice.message.content
        assert choice.message.content == other.choices[0].message.content
        assert choice.finish_reason == "stop"
        assert answer.usage.prompt_tokens == 2
        assert answer.usage.completion_tokens == len(choice.message.content.split())
        assert answer.usage.total_tokens == 2 + answer.usage.completion_tokens

    asyncio.run(main())


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_stream_spells_the_whole_answer(flavor: FlavorName, simulated_endpoint: Start) -> None:
    """Deltas joined are the text of the same request without a stream, choice by choice."""
    endpoint = simulated_endpoint(flavor=flavor)

    async def main() -> None:
        whole = await complete(endpoint, n=3)
        usage = {"include_usage": True}
        chunks = await complete(endpoint, n=3, stream=True, stream_options=usage)
        texts: dict[int, str] = {}
        finishes: dict[int, str] = {}
        for chunk in chunks[:-1]:
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
                if choice.finish_reason:
                    finishes[choice.index] = choice.finish_reason
        assert list(texts.values()) == [choice.message.content for choice in whole.choices]
        assert list(finishes.values()) == [choice.finish_reason for choice in whole.choices]
        assert chunks[-1].choices == []
        assert chunks[-1].usage == whole.usage
        assert len(texts) == (1 if flavor == "tgi" else 3)

    asyncio.run(main())


def test_stream_has_usage_only_where_asked(simulated_endpoint: Start) -> None:
    """Without `include_usage` no chunk carries usage."""
    chunks = asyncio.run(complete(simulated_endpoint(), stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_huggingface_hub_reads_a_stream(simulated_endpoint: Start) -> None:
    """huggingface_hub's stream gives the same text as its whole answer."""
    endpoint = simulated_endpoint(flavor="tgi")

    async def main() -> None:
        async with AsyncInferenceClient(endpoint.url) as client:
            whole = await client.chat_completion(CONVERSATION)
            stream = await client.chat_completion(CONVERSATION, stream=True)
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(parts) == whole.choices[0].message.content

    asyncio.run(main())


def test_seed_and_limit_are_honoured(simulated_endpoint: Start) -> None:
    """Seeds differ, 0 is one of them, and both names of the limit cut."""
    endpoint = simulated_endpoint(lengths=Lengths(20, spread="constant"))

    async def main() -> None:
        answers = [await complete(endpoint, seed=seed) for seed in (0, 1, 0)]
        texts = [answer.choices[0].message.content for answer in answers]
        assert texts[0] == texts[2] != texts[1]
        for name in ("max_tokens", "max_completion_tokens"):
            cut = await complete(endpoint, **{name: 7})
            assert cut.choices[0].finish_reason == "length"
            assert cut.usage.completion_tokens == 7

    asyncio.run(main())


def test_stop_is_left_out_except_by_tgi(simulated_endpoint: Start) -> None:
    """A text or a list of texts stops; TGI alone leaves the mark at the end."""

    async def main() -> None:
        for flavor in FLAVORS:
            endpoint = simulated_endpoint(flavor=flavor, reply=lambda _: "one two three four")
            for stop in ("three", ["four", "three"]):
                answer = (await complete(endpoint, stop=stop)).choices[0]
                assert answer.message.content == "one two " + "three" * (flavor == "tgi")
                assert answer.finish_reason == "stop"

    asyncio.run(main())


def test_logprobs_cover_every_token(simulated_endpoint: Start) -> None:
    """One entry a token with as many alternatives as asked, streamed or not."""
    endpoint = simulated_endpoint()

    async def main() -> None:
        whole = (await complete(endpoint, logprobs=True, top_logprobs=3)).choices[0]
        assert "".join(entry.token for entry in whole.logprobs.content) == whole.message.content
        assert all(len(entry.top_logprobs) == 3 for entry in whole.logprobs.content)
        chunks = await complete(endpoint, logprobs=True, top_logprobs=3, stream=True)
        streamed = [c.choices[0].logprobs for c in chunks if c.choices[0].logprobs]
        assert [part.content[0] for part in streamed] == whole.logprobs.content
        assert (await complete(endpoint)).choices[0].logprobs is None

    asyncio.run(main())


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (None, "weather"),
        ("auto", "weather"),
        ({"type": "function", "function": {"name": "person"}}, "person"),
        ("none", None),
    ],
    ids=str,
)
def test_tools_are_called(choice: Any, name: str | None, simulated_endpoint: Start) -> None:
    """The first tool or the named one is called with valid arguments; `none` gives text."""
    endpoint = simulated_endpoint()

    async def main() -> None:
        options = {"tools": TOOLS, "tool_choice": choice}
        options = {key: value for key, value in options.items() if value is not None}
        answer = (await complete(endpoint, **options)).choices[0]
        if name is None:
            assert answer.message.content
            assert answer.message.tool_calls is None
            return
        assert answer.finish_reason == "tool_calls"
        assert answer.message.content is None
        (call,) = answer.message.tool_calls
        assert call.function.name == name
        if name == "person":
            jsonschema_rs.validate(SCHEMA, json.loads(call.function.arguments))
        chunks = await complete(endpoint, **options, stream=True)
        parts = [part for c in chunks for part in c.choices[0].delta.tool_calls or ()]
        assert parts[0].function.name == name
        assert "".join(part.function.arguments for part in parts) == call.function.arguments

    asyncio.run(main())


def test_a_tools_result_is_answered_in_words(simulated_endpoint: Start) -> None:
    """After a tool's result comes a text, so that a conversation with tools ends."""
    messages = [*CONVERSATION, {"role": "tool", "tool_call_id": "1", "content": "sunny"}]
    answer = asyncio.run(complete(simulated_endpoint(), messages=messages, tools=TOOLS))
    assert answer.choices[0].message.content


@pytest.mark.parametrize(
    ("flavor", "key"), [("vllm", "reasoning"), ("sglang", "reasoning_content")]
)
def test_reasoning_stands_beside_the_text(flavor: str, key: str, simulated_endpoint: Start) -> None:
    """Under the flavor's own key, streamed or not, and only where it is switched on."""
    endpoint = simulated_endpoint(flavor=flavor, reasoning=True)

    async def main() -> None:
        message = (await complete(endpoint)).choices[0].message
        assert message.content
        assert "Thinking" in getattr(message, key)
        chunks = await complete(endpoint, stream=True)
        assert "Thinking" in getattr(chunks[0].choices[0].delta, key)
        plain = (await complete(simulated_endpoint(flavor=flavor))).choices[0].message
        assert not hasattr(plain, key)

    asyncio.run(main())


JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
TGI_SCHEMA = {"type": "json_object", "value": SCHEMA}
REGEX = r"[A-C]{3}-\d{2}"
GBNF = 'root ::= "north" | "south"'
NOT_TGI = {"vllm", "sglang", "llamacpp", "openai"}
DIALECTS: dict[str, tuple[dict[str, Any], str, set[str]]] = {
    "openai schema": ({"response_format": JSON_SCHEMA}, "schema", NOT_TGI),
    "tgi schema": ({"response_format": TGI_SCHEMA}, "schema", {"tgi"}),
    "tgi named schema": (
        {"response_format": {"type": "json_schema", "value": {"name": "p", "schema": SCHEMA}}},
        "schema",
        {"tgi"},
    ),
    "tgi regex": ({"response_format": {"type": "regex", "value": REGEX}}, "regex", {"tgi"}),
    "json object": (
        {"response_format": {"type": "json_object"}},
        "json",
        NOT_TGI,
    ),
    "vllm schema": ({"structured_outputs": {"json": SCHEMA}}, "schema", {"vllm"}),
    "vllm regex": ({"structured_outputs": {"regex": REGEX}}, "regex", {"vllm"}),
    "vllm choice": ({"structured_outputs": {"choice": ["north", "south"]}}, "choice", {"vllm"}),
    "vllm grammar": ({"structured_outputs": {"grammar": GBNF}}, "choice", {"vllm"}),
    "vllm object": ({"structured_outputs": {"json_object": True}}, "json", {"vllm"}),
    "guided schema": ({"guided_json": json.dumps(SCHEMA)}, "schema", {"vllm"}),
    "guided regex": ({"guided_regex": REGEX}, "regex", {"vllm"}),
    "guided choice": ({"guided_choice": ["north", "south"]}, "choice", {"vllm"}),
    "sglang regex": ({"regex": REGEX}, "regex", {"sglang"}),
    "sglang grammar": ({"ebnf": GBNF}, "choice", {"sglang"}),
    "own schema key": ({"json_schema": SCHEMA}, "schema", {"sglang", "llamacpp"}),
    "llamacpp grammar": ({"grammar": GBNF}, "choice", {"llamacpp"}),
    "llamacpp object": (
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        "schema",
        {"llamacpp"},
    ),
    "text": ({"response_format": {"type": "text"}}, "schema", set()),
}  # fmt: skip


def _fits(kind: str, text: str) -> bool:
    match kind:
        case "schema":
            try:
                jsonschema_rs.validate(SCHEMA, json.loads(text))
            except (ValueError, jsonschema_rs.ValidationError):
                return False
            return True
        case "json":
            return text.startswith("{") and isinstance(json.loads(text), dict)
        case "regex":
            return re.fullmatch(REGEX, text) is not None
        case _:
            return text in ("north", "south")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_dialect_constrains_exactly_where_it_is_known(flavor: FlavorName, dialect: str) -> None:
    """Known: every answer fits. Unknown: words and no error, except of a format by TGI."""
    body, kind, known = DIALECTS[dialect]

    async def main() -> None:
        async with virtual_endpoint(flavor=flavor) as (_, talker):
            status, answer = await talker.chat(**body, n=2)
            if flavor == "tgi" and "response_format" in body and flavor not in known:
                assert status == 422
                assert answer["error_type"] == "validation"
                return
            assert status == 200
            texts = [choice["message"]["content"] for choice in answer["choices"]]
            assert [_fits(kind, text) for text in texts] == [flavor in known] * len(texts)

    run_virtually(main())


def test_huggingface_hub_loses_the_schema_where_it_is_not_tgi(simulated_endpoint: Start) -> None:
    """The hub client's rewriting of a JSON schema constrains TGI only, as in life."""

    async def main() -> None:
        fits = {}
        for flavor in ("tgi", "vllm", "llamacpp"):
            endpoint = simulated_endpoint(flavor=flavor)
            async with AsyncInferenceClient(endpoint.url) as client:
                answer = await client.chat_completion(
                    CONVERSATION,
                    model=MODEL,
                    response_format=JSON_SCHEMA,
                )
                fits[flavor] = _fits("schema", answer.choices[0].message.content or "")
        assert fits == {"tgi": True, "vllm": False, "llamacpp": False}

    asyncio.run(main())


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_model_not_served_is_an_error_where_servers_say_so(flavor: FlavorName) -> None:
    """404 by vLLM, SGLang and OpenAI; TGI and llama.cpp take any name."""

    async def main() -> None:
        async with virtual_endpoint(flavor=flavor, model="org/served") as (_, talker):
            status, answer = await talker.chat(model="dummy")
            served, body = await talker.chat(model="org/served")
            assert (served, body["model"]) == (200, "org/served")
            if flavor in ("tgi", "llamacpp"):
                assert status == 200
            else:
                assert status == 404
                assert "dummy" in json.dumps(answer)

    run_virtually(main())


BAD_BODIES: list[dict[str, Any]] = [
    {"messages": []},
    {"messages": "hello"},
    {"messages": [{"content": "no role"}]},
    {"n": 0},
    {"max_tokens": -1},
    {"max_tokens": "many"},
    {"max_tokens": True},
    {"n": 129},
    {"stop": 3},
    {"seed": "many"},
    {"stream": "yes"},
    {"temperature": []},
    {"tools": ["weather"]},
    {"tools": [{"type": "function"}]},
    {"tools": [{"type": "function", "function": {"name": 3}}]},
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=str)
@pytest.mark.parametrize("flavor", FLAVORS)
def test_bad_bodies_are_refused_in_the_flavors_shape(
    flavor: FlavorName, body: dict[str, Any]
) -> None:
    """400, or TGI's 422, with the error where that server's clients look for it."""

    async def main() -> None:
        async with virtual_endpoint(flavor=flavor) as (_, talker):
            status, answer = await talker.chat(**body)
            assert status == (422 if flavor == "tgi" else 400)
            match flavor:
                case "tgi":
                    assert set(answer) == {"error", "error_type"}
                case "vllm" | "openai":
                    assert set(answer["error"]) == {"message", "type", "param", "code"}
                case "sglang":
                    assert answer["object"] == "error"
                    assert answer["message"]
                case "llamacpp":
                    assert answer["error"]["code"] == 400

    run_virtually(main())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/generate"])
def test_a_body_that_is_no_object_is_refused(path: str) -> None:
    """A list, a number, nothing: refused, not a crash."""

    async def main() -> None:
        async with virtual_endpoint(flavor="tgi") as (_, talker):
            bodies: tuple[Any, ...] = ([], 3, None, {})
            for body in bodies:
                assert (await talker.post(path, body))[0] == 422

    run_virtually(main())


@pytest.mark.parametrize(("flavor", "status"), [("tgi", 422), ("vllm", 400), ("openai", 400)])
def test_context_is_bounded(flavor: Any, status: int) -> None:
    """Prompt and limit together must fit, where a context length is set."""

    async def main() -> None:
        limits = Limits(context_tokens=20)
        async with virtual_endpoint(flavor=flavor, limits=limits) as (_, talker):
            assert (await talker.chat("a b c", max_tokens=17))[0] == 200
            assert (await talker.chat("a b c d", max_tokens=17))[0] == status
            assert (await talker.chat("word " * 20))[0] == status

    run_virtually(main())


def test_the_libraries_raise_their_own_errors(simulated_endpoint: Start) -> None:
    """A refusal is `NotFoundError` to openai and `HfHubHTTPError` to huggingface_hub."""
    endpoint = simulated_endpoint(flavor="vllm")

    async def main() -> None:
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            await complete(endpoint, model="other")
        async with AsyncInferenceClient(endpoint.url) as client:
            with pytest.raises(HfHubHTTPError, match="404"):
                await client.chat_completion(CONVERSATION)

    asyncio.run(main())


def test_completions_continue_a_prompt(simulated_endpoint: Start) -> None:
    """The text route: n, limit, logprobs, seed, and 16 tokens unless told otherwise."""
    endpoint = simulated_endpoint(lengths=Lengths(40, spread="constant"))

    async def main() -> None:
        async with openai_client(endpoint) as client:
            create = client.completions.create
            answer = await create(model=MODEL, prompt="Once upon", n=2, logprobs=2, max_tokens=5)
            assert answer.usage.prompt_tokens == 2
            assert answer.usage.completion_tokens == 10
            for choice in answer.choices:
                assert "".join(choice.logprobs.tokens) == choice.text
                assert all(len(top) == 2 for top in choice.logprobs.top_logprobs)
                assert choice.logprobs.text_offset[0] == 0
                assert choice.finish_reason == "length"
            default = await create(model=MODEL, prompt=["Once upon"])
            assert default.usage.completion_tokens == 16
            stream = await create(model=MODEL, prompt="Once upon", max_tokens=5, stream=True)
            parts = [chunk.choices[0].text async for chunk in stream]
            assert "".join(parts) == answer.choices[0].text
            with pytest.raises(openai.BadRequestError, match="prompt"):
                await create(model=MODEL, prompt=["a", "b"])

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"structured_outputs": {"regex": "("}}, "Invalid grammar"),
        ({"guided_json": "{"}, "response_format"),
    ],
    ids=str,
)
def test_a_constraint_that_cannot_be_read_is_an_error(body: dict[str, Any], problem: str) -> None:
    """vLLM's dialect with a broken pattern or schema: 400."""

    async def main() -> None:
        async with virtual_endpoint(flavor="vllm") as (_, talker):
            status, answer = await talker.chat(**body)
            assert status == 400
            assert problem in answer["error"]["message"]

    run_virtually(main())


def test_order_of_arrival_changes_no_answer(simulated_endpoint: Start) -> None:
    """The same thirty requests forwards and backwards, concurrently: the same thirty answers."""

    async def answers(order: range) -> dict[int, str]:
        endpoint = simulated_endpoint(flavor="vllm", slots=3)

        async def one(i: int) -> tuple[int, str]:
            message = [{"role": "user", "content": f"row {i}"}]
            answer = await complete(endpoint, messages=message)
            return i, answer.choices[0].message.content

        return dict(await asyncio.gather(*(one(i) for i in order)))

    assert asyncio.run(answers(range(12))) == asyncio.run(answers(range(11, -1, -1)))
