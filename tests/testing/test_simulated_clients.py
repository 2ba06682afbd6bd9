"""What the real client libraries make of every fault: the reason why each is simulated.

The table is the libraries' own behaviour, without retries and without our engine. A change in it
is a change in a library, or a fault that no longer is what it says.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, InferenceTimeoutError

from distilabel_endpoints.testing import (
    Action,
    BreakStream,
    Drip,
    Fault,
    Garble,
    Hang,
    Latency,
    Lengths,
    Refuse,
    Reset,
    Respond,
    Rewrite,
    SimulatedEndpoint,
    Throttle,
    Truncate,
    edits,
)

Start = Callable[..., SimulatedEndpoint]
CONVERSATION: Any = [{"role": "user", "content": "Say hello"}]
PATIENCE = 0.3


async def by_hub(endpoint: SimulatedEndpoint, timeout: float = 30, **options: Any) -> Any:
    """A chat with huggingface_hub."""
    async with AsyncInferenceClient(endpoint.url, timeout=timeout) as client:
        answer = await client.chat_completion(CONVERSATION, model="simulated-model", **options)
        return [chunk async for chunk in answer] if options.get("stream") else answer


async def by_openai(endpoint: SimulatedEndpoint, timeout: float = 30, **options: Any) -> Any:
    """A chat with openai."""
    client = openai.AsyncOpenAI(
        base_url=endpoint.v1_url, api_key="x", max_retries=0, timeout=timeout
    )
    async with client:
        create: Any = client.chat.completions.create
        answer = await create(model="simulated-model", messages=CONVERSATION, **options)
        if not options.get("stream"):
            return answer
        async with answer:
            return [chunk async for chunk in answer]


CLIENTS = {"hub": by_hub, "openai": by_openai}
NESTED = b'{"a":' * 100_000
FAILURES: dict[str, tuple[Action, type[Exception], type[Exception]]] = {
    "400": (Respond(400), BadRequestError, openai.BadRequestError),
    "401": (Respond(401), HfHubHTTPError, openai.AuthenticationError),
    "402": (Respond(402), HfHubHTTPError, openai.APIStatusError),
    "403": (Respond(403), HfHubHTTPError, openai.PermissionDeniedError),
    "404": (Respond(404), HfHubHTTPError, openai.NotFoundError),
    "408": (Respond(408), HfHubHTTPError, openai.APIStatusError),
    "409": (Respond(409), HfHubHTTPError, openai.ConflictError),
    "413": (Respond(413), HfHubHTTPError, openai.APIStatusError),
    "422": (Respond(422), HfHubHTTPError, openai.UnprocessableEntityError),
    "424": (Respond(424), HfHubHTTPError, openai.APIStatusError),
    "429": (Throttle(2), HfHubHTTPError, openai.RateLimitError),
    "429 text": (Respond(429, "slow down"), HfHubHTTPError, openai.RateLimitError),
    "429 list": (Respond(429, ["slow", "down"]), AttributeError, openai.RateLimitError),
    "429 json text": (Respond(429, '"slow down"'), AttributeError, openai.RateLimitError),
    "500": (Respond(500), HfHubHTTPError, openai.InternalServerError),
    "502 html": (
        Respond(502, "<h1>Bad gateway</h1>", content_type="text/html"),
        HfHubHTTPError,
        openai.InternalServerError,
    ),
    "503": (Respond(503), HfHubHTTPError, openai.InternalServerError),
    "503 not utf-8": (
        Respond(503, b'{"error":"\xff"}'),
        UnicodeDecodeError,
        openai.InternalServerError,
    ),
    "504": (Respond(504), HfHubHTTPError, openai.InternalServerError),
    "529": (Respond(529), HfHubHTTPError, openai.InternalServerError),
    "refused": (Refuse(), httpx2.HTTPError, openai.APIConnectionError),
    "reset": (Reset(), httpx2.HTTPError, openai.APIConnectionError),
    "reset in the body": (Reset("body"), httpx2.HTTPError, openai.APIConnectionError),
    "truncated": (Truncate(), httpx2.HTTPError, openai.APIConnectionError),
    "hang": (Hang(), InferenceTimeoutError, openai.APITimeoutError),
    "hang in the body": (Hang("body"), InferenceTimeoutError, openai.APITimeoutError),
    "200 truncated json": (
        Garble(edits.truncated_json),
        json.JSONDecodeError,
        json.JSONDecodeError,
    ),
    "200 not utf-8": (Garble(edits.bad_utf8), UnicodeDecodeError, UnicodeDecodeError),
    "200 empty": (Respond(200, ""), json.JSONDecodeError, json.JSONDecodeError),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("client", CLIENTS)
def test_faults_raise_what_the_libraries_raise(
    client: str, name: str, simulated_endpoint: Start
) -> None:
    """Each library's own exception, once per request sent, and none without a fault."""
    action, hub_error, openai_error = FAILURES[name]
    expected = hub_error if client == "hub" else openai_error
    endpoint = simulated_endpoint(flavor="vllm", faults=(Fault(action, times=1),))
    chat = CLIENTS[client]
    timeout = PATIENCE if name.startswith("hang") else 30
    with pytest.raises(expected):
        asyncio.run(chat(endpoint, timeout=timeout))
    if name == "refused":
        endpoint.wait_for(lambda it: it.in_flight == 0)
        with pytest.raises(expected):
            asyncio.run(chat(endpoint))
        endpoint.accept_connections()
    assert asyncio.run(chat(endpoint)).choices[0].message.content
    endpoint.wait_for(lambda it: it.in_flight == 0)
    assert len(endpoint.generations) == 2


ODDITIES: dict[str, tuple[Action, Callable[[Any], Any]]] = {
    "error body": (Rewrite(edits.error_body(429)), lambda answer: answer.choices is None),
    "null choices": (Rewrite(edits.null_choices), lambda answer: answer.choices is None),
    "no choices": (Rewrite(edits.no_choices), lambda answer: answer.choices == []),
    "null content": (
        Rewrite(edits.null_content),
        lambda answer: answer.choices[0].message.content is None,
    ),
    "length": (
        Rewrite(edits.finished("length")),
        lambda answer: answer.choices[0].finish_reason == "length",
    ),
    "filtered": (
        Rewrite(edits.finished("content_filter")),
        lambda answer: answer.choices[0].finish_reason == "content_filter",
    ),
    "no usage": (Rewrite(edits.without("usage")), lambda answer: answer.usage is None),
    "dripped": (Drip(0), lambda answer: answer.choices[0].message.content),
}


@pytest.mark.parametrize("name", ODDITIES)
@pytest.mark.parametrize("client", CLIENTS)
def test_odd_answers_are_returned_as_if_they_were_good(
    client: str, name: str, simulated_endpoint: Start
) -> None:
    """Neither library raises: whoever calls them has to look."""
    action, check = ODDITIES[name]
    endpoint = simulated_endpoint(flavor="vllm", faults=(Fault(action),))
    assert check(asyncio.run(CLIENTS[client](endpoint)))


def test_a_web_page_is_an_answer_to_openai_alone(simulated_endpoint: Start) -> None:
    """A login page under 200: a `str` to openai, no JSON to huggingface_hub."""
    page = Respond(200, "<html><title>Log in</title></html>", content_type="text/html")
    endpoint = simulated_endpoint(faults=(Fault(page),))
    assert "Log in" in asyncio.run(by_openai(endpoint))
    with pytest.raises(json.JSONDecodeError):
        asyncio.run(by_hub(endpoint))


STREAMS: dict[str, tuple[BreakStream, type[Exception] | None, type[Exception] | None]] = {
    "no done": (BreakStream("no_done"), None, None),
    "cut": (BreakStream("cut", events=3), None, None),
    "error": (BreakStream("error", events=3), Exception, openai.APIError),
    "garbage": (BreakStream("garbage", events=3), ValueError, ValueError),
    "reset": (
        BreakStream("reset", events=3),
        httpx2.HTTPError,
        openai.APIConnectionError,
    ),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("client", CLIENTS)
def test_broken_streams_as_the_libraries_see_them(
    client: str, name: str, simulated_endpoint: Start
) -> None:
    """A stream that just ends looks like a good one; an error, garbage and a reset do not."""
    action, hub_error, openai_error = STREAMS[name]
    expected = hub_error if client == "hub" else openai_error
    endpoint = simulated_endpoint(flavor="vllm", faults=(Fault(action),))
    chat = CLIENTS[client]
    if expected is None:
        assert asyncio.run(chat(endpoint, stream=True))
        return
    with pytest.raises(expected):
        asyncio.run(chat(endpoint, stream=True))


@pytest.mark.parametrize("client", CLIENTS)
def test_both_follow_a_redirect_with_the_prompt(client: str, simulated_endpoint: Start) -> None:
    """307 to another host: the conversation arrives there, by either library."""
    second = simulated_endpoint(flavor="vllm")
    location = (("location", f"{second.v1_url}/chat/completions"),)
    first = simulated_endpoint(faults=(Fault(Respond(307, "", headers=location)),))
    asyncio.run(CLIENTS[client](first))
    assert second.requests[0].body["messages"] == CONVERSATION


@pytest.mark.parametrize("client", CLIENTS)
def test_a_byte_now_and_then_never_times_out(client: str, simulated_endpoint: Start) -> None:
    """Timeouts are per read: an answer that drips lasts longer than the patience asked for."""
    drip = Drip(0.06, chunk=32)
    endpoint = simulated_endpoint(faults=(Fault(drip),), lengths=Lengths(40, spread="constant"))
    assert asyncio.run(CLIENTS[client](endpoint, timeout=1)).choices
    endpoint.wait_for(lambda it: it.in_flight == 0)
    (record,) = endpoint.requests
    assert record.end is not None
    assert record.end - record.arrival > 1


@pytest.mark.parametrize("client", CLIENTS)
def test_concurrency_reaches_the_slots(client: str, simulated_endpoint: Start) -> None:
    """Sixteen chats at once: as many in flight, four of them generated at a time."""
    endpoint = simulated_endpoint(slots=4, latency=Latency(0.1))

    async def main() -> None:
        await asyncio.gather(*(CLIENTS[client](endpoint) for _ in range(16)))

    asyncio.run(main())
    statistics = endpoint.statistics()
    assert statistics.peak_running == 4
    assert 4 < statistics.peak_in_flight <= 16
    assert statistics.by_status == {200: 16}
