"""What the embedded endpoint answers: the whole contract that the clients build on, for real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import httpx2
import pytest
from openai import AsyncOpenAI

from distilabel_endpoints.local import LocalEndpoint

CONVERSATION = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]


@pytest.fixture
def http(local_endpoint: LocalEndpoint) -> Iterator[httpx2.Client]:
    """A plain client of the shared endpoint."""
    with httpx2.Client(base_url=local_endpoint.base_url, timeout=60) as client:
        yield client


def chat(http: httpx2.Client, **body: Any) -> dict[str, Any]:
    """The answer to CONVERSATION, greedy unless `body` says otherwise."""
    asked = {"messages": CONVERSATION, "max_tokens": 12, "temperature": 0, **body}
    answer = http.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_chat_is_answered_sensibly(http: httpx2.Client) -> None:
    """The model's own chat template is applied: the small model knows this one."""
    answer = chat(http)
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert 0 < answer["usage"]["completion_tokens"] <= 12


def test_the_same_question_gets_the_same_answer(http: httpx2.Client) -> None:
    """Greedy answers repeat, and a seed repeats a sampled one."""
    assert chat(http)["choices"] == chat(http)["choices"]
    first, second = (chat(http, temperature=1.0, seed=7)["choices"] for _ in range(2))
    assert first == second


def test_n_gives_several_answers_to_one_request(http: httpx2.Client) -> None:
    """`n` choices come back, up to the number of slots."""
    answer = chat(http, n=4, temperature=1.5, seed=3, max_tokens=8)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert len({choice["message"]["content"] for choice in answer["choices"]}) > 1


def test_more_answers_than_slots_are_refused(http: httpx2.Client) -> None:
    """`n` above the slots is the server's 400, and it names the limit."""
    body = {"messages": CONVERSATION, "n": 5, "max_tokens": 4}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert "<= 4" in answer.json()["error"]["message"]


def test_logprobs_come_with_every_token(http: httpx2.Client) -> None:
    """One entry per token, with as many alternatives as were asked for."""
    answer = chat(http, logprobs=True, top_logprobs=2)
    tokens = answer["choices"][0]["logprobs"]["content"]
    assert len(tokens) == answer["usage"]["completion_tokens"]
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in tokens)


def test_a_json_schema_is_enforced(http: httpx2.Client) -> None:
    """Even this small model cannot leave the schema."""
    schema = {
        "type": "object",
        "properties": {
            "city": {"enum": ["Paris", "Rome"]},
            "letters": {"type": "integer", "minimum": 0, "maximum": 9},
        },
        "required": ["city", "letters"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    answer = chat(http, response_format=form, max_tokens=60)
    found = json.loads(answer["choices"][0]["message"]["content"])
    assert set(found) == {"city", "letters"}
    assert found["city"] in {"Paris", "Rome"}
    assert 0 <= found["letters"] <= 9


def test_tools_are_taken_and_their_turns_rendered(http: httpx2.Client) -> None:
    """The default model's template knows no tools: they are taken, and the answer is text."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    answer = chat(http, tools=[tool])
    assert isinstance(answer["choices"][0]["message"]["content"], str)
    assert http.get("/props").json()["chat_template_caps"]["supports_tools"] is False


def test_completions_go_on_from_a_prompt(http: httpx2.Client) -> None:
    """The text completion API answers too, with its own shape."""
    body = {"prompt": "One, two, three, four,", "max_tokens": 4, "temperature": 0}
    answer = http.post("/v1/completions", json=body).json()
    assert "five" in answer["choices"][0]["text"]


def test_a_prompt_longer_than_the_context_is_refused(http: httpx2.Client) -> None:
    """It is a 400 that says how long the prompt was; the prompt is not cut in silence."""
    body = {"messages": [{"role": "user", "content": "word " * 2100}], "max_tokens": 4}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["n_prompt_tokens"] > 2048


def test_it_says_who_it_is_and_how_it_is_doing(
    http: httpx2.Client, local_endpoint: LocalEndpoint
) -> None:
    """Health, model list, properties, slots and metrics are on; the model's name shows no path."""
    assert http.get("/health").json() == {"status": "ok"}
    assert local_endpoint.model_name == "SmolLM2-135M-Instruct.Q4_1"
    assert [m["id"] for m in http.get("/v1/models").json()["data"]] == [local_endpoint.model_name]
    assert http.get("/props").json()["total_slots"] == 4
    assert [slot["n_ctx"] for slot in http.get("/slots").json()] == [2048] * 4
    assert "llamacpp:tokens_predicted_total" in http.get("/metrics").text


def test_pages_of_other_sites_cannot_read_answers(http: httpx2.Client) -> None:
    """No origin but this machine's is allowed, and there is no web page of its own."""
    foreign = http.get("/v1/models", headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in foreign.headers
    assert http.get("/").status_code == 404


async def stream_with_aiohttp(base_url: str) -> str:
    """The streamed answer to CONVERSATION, as server-sent events."""
    body = {"messages": CONVERSATION, "max_tokens": 12, "temperature": 0, "stream": True}
    pieces: list[str] = []
    async with (
        aiohttp.ClientSession(base_url) as session,
        session.post("/v1/chat/completions", json=body) as answer,
    ):
        assert answer.content_type == "text/event-stream"
        async for line in answer.content:
            if line.startswith(b"data: {"):
                choices = json.loads(line[6:])["choices"]
                pieces.extend(choice["delta"].get("content") or "" for choice in choices)
    assert len(pieces) > 2
    return "".join(pieces)


async def stream_with_openai(base_url: str, model: str) -> str:
    """The streamed answer to CONVERSATION, through the OpenAI client."""
    async with AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=model,
            messages=[
                {"role": "system", "content": CONVERSATION[0]["content"]},
                {"role": "user", "content": CONVERSATION[1]["content"]},
            ],
            max_tokens=12,
            temperature=0,
            stream=True,
        )
        pieces = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
    return "".join(pieces)


def test_streams_carry_the_same_answer(http: httpx2.Client, local_endpoint: LocalEndpoint) -> None:
    """Streamed through either client, the pieces join to what comes in one piece."""
    whole = chat(http)["choices"][0]["message"]["content"]
    url, model = local_endpoint.base_url, local_endpoint.model_name
    assert asyncio.run(stream_with_aiohttp(url)) == whole
    assert asyncio.run(stream_with_openai(url, model)) == whole
