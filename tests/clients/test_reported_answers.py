"""Answers and errors as people report them of providers, gateways and servers, over the wire.

Each one is sent to the real clients, whole and as a stream: all four have to mean the same by it.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Any, get_args

import pytest

from distilabel_endpoints._clients.usage import count
from distilabel_endpoints.records import Answer, Failure, Request
from distilabel_endpoints.testing import Fault, Respond, Rewrite, edits
from virtual import Library, connected, run_virtually

LIBRARIES = get_args(Library)
USAGE = {"prompt_tokens": 9, "completion_tokens": 2}
MESSAGE = {"role": "assistant", "content": "Hi"}
WHOLE = {"choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}], "usage": USAGE}
END = "data: [DONE]\n\n"


def piece(text: str | None = None, finish: str | None = None, index: Any = 0) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def events(*values: Any, end: str = END) -> str:
    return "".join(f"data: {json.dumps(value)}\n\n" for value in values) + end


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, **fields}], "usage": USAGE}


BODIES: dict[str, tuple[Any, str]] = {
    "gemini, all was thought": (choice(finish_reason="length"), "length"),
    "gemini, all was thought, in a stream": (
        events(choice(finish_reason="length"), end=""), "length"),
    "gemini, filtered": (choice(finish_reason="content_filter", message=None), "content_filter"),
    "an end in camel case": (choice(message=MESSAGE, finishReason="STOP"), "Hi"),
    "a delta for a message": (choice(delta=MESSAGE, finish_reason="stop"), "Hi"),
    "cloudflare's wrapper": ({"result": WHOLE, "success": True, "errors": []}, "Hi"),
    "a wrapper that succeeded": ({"code": 0, "msg": "success", "data": WHOLE}, "Hi"),
    "alibaba's wrapper": ({"output": {"choices": WHOLE["choices"]}, "usage": USAGE}, "Hi"),
    "json in json": (json.dumps(json.dumps(WHOLE)), "Hi"),
    "a lambda's answer": ({"statusCode": 200, "body": json.dumps(WHOLE)}, "Hi"),
    "grpc's gateway": (
        "".join(json.dumps({"result": value}) + "\n" for value in (piece("Hi"), piece("", "stop"))),
        "Hi"),
    "grpc's gateway, events": (
        events({"result": piece("Hi")}, {"result": piece(None, "stop")}, end=""), "Hi"),
    "lua's counts": ({**WHOLE, "usage": {"prompt_tokens": 9.0, "completion_tokens": 2.0}}, "Hi"),
    "a last count of nothing": (
        events({**piece("Hi", "stop"), "usage": USAGE},
               {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}), "Hi"),
    "parts with values": (
        choice(message={"content": [{"type": "text", "text": {"value": "Hi"}}]},
               finish_reason="stop"), "Hi"),
    "azure's filter results": (
        events({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}, piece("Hi"),
               piece(None, "stop"), choice(finish_reason=None, content_filter_offsets={})), "Hi"),
    "an end mark in small letters": (events(piece("Hi"), end="data: [done]\n\n"), "Hi"),
    "an end mark in quotes": (events(piece("Hi"), end='data: "[DONE]"\n\n'), "Hi"),
    "a whole body with an end mark": (json.dumps(WHOLE) + "\n\n" + END, "Hi"),
    "a whole body in an event": (events(WHOLE), "Hi"),
    "an ending of empty texts": (events(piece("Hi", ""), piece("", "stop")), "Hi"),
    "a named event": ("event: message\n" + events(piece("Hi", "stop")) + "event: done\n", "Hi"),
    "usage beside null choices": (
        events(piece("Hi", "stop"), {"choices": None, "usage": USAGE}), "Hi"),
    "perplexity's both": (
        events(piece("H"), choice(delta={"content": "i"}, message=MESSAGE, finish_reason="stop")),
        "Hi"),
    "an empty error beside an answer": ({**WHOLE, "error": {}, "errors": [], "detail": None}, "Hi"),
    "ollama's end": (choice(message=MESSAGE, finish_reason=None), "Hi"),
    "an error as a text": (events(piece("Hi"), {"error": "CUDA out of memory"}),
                           "transient stream_error"),
    "anthropic's error": (
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        "throttle rate_limited"),
    "lm studio's wrong path": (
        {"error": "Unexpected endpoint or method. (POST /chat/completions)"}, "run not_found"),
    "an error beside a text that speaks of choices": (
        events({"error": {"code": 8, "message": "queue is full"}, "data": "no choices"}, end=""),
        "throttle rate_limited"),
    "an error beside what begins like an answer": (
        events({"error": {"code": 8, "message": "queue is full"}, "body": '{"choices": \ud800'},
               end=""), "throttle rate_limited"),
    "grpc's error": (events({"error": {"code": 8, "message": "queue is full"}}, end=""),
                     "throttle rate_limited"),
}  # fmt: skip


def meant(outcome: Answer | Failure | None) -> str:
    """A text, else the reason why there is none, else the failure."""
    if not isinstance(outcome, Answer):
        return f"{outcome.kind} {outcome.code}" if outcome else "nothing"
    (completion,) = outcome.completions
    return completion.text or str(completion.finish_reason)


def outcome_of(library: Library, fault: Fault, *, stream: bool, n: int = 1) -> Any:
    async def main() -> Answer | Failure:
        async with connected(library, faults=(fault,)) as line:
            messages = [{"role": "user", "content": "Say hello"}]
            request = Request(ordinal=0, messages=messages, stream=stream, n=n)
            return await line.client.complete(request)

    return run_virtually(main())


@pytest.mark.parametrize("name", BODIES)
def test_a_reported_answer_means_the_same_to_all(name: str) -> None:
    """Both clients, whole and streamed: the text, the reason why there is none, or the error."""
    body, expected = BODIES[name]
    kind = "text/event-stream" if isinstance(body, str) and "data:" in body else "application/json"
    for library, stream in product(LIBRARIES, (False, True)):
        fault = Fault(Respond(200, body, content_type=kind))
        outcome = outcome_of(library, fault, stream=stream)
        assert meant(outcome) == expected, (library, stream, outcome)
        if isinstance(outcome, Answer) and "usage" in str(body):
            assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (9, 2)


@pytest.mark.parametrize("library", LIBRARIES)
def test_choices_are_told_apart_whatever_their_numbers_are(library: Library) -> None:
    """An index as a text is an index."""
    parted = events(piece("a", None, "1"), piece("b", None, "0"), piece(None, "stop", "0"),
                    piece(None, "stop", "1"))  # fmt: skip
    fault = Fault(Respond(200, parted, content_type="text/event-stream"))
    outcome = outcome_of(library, fault, stream=True, n=2)
    assert [completion.text for completion in outcome.completions] == ["b", "a"]


@pytest.mark.parametrize(
    ("edit", "text"), [(edits.wrapped("result"), True), (edits.unnamed, False)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_simulated_endpoint_learned(edit: Any, text: bool, stream: bool) -> None:
    """A wrapper changes nothing; thinking that used the tokens up is an answer without a text."""
    for library in LIBRARIES:
        outcome = outcome_of(library, Fault(Rewrite(edit)), stream=stream)
        assert isinstance(outcome, Answer)
        (completion,) = outcome.completions
        assert bool(completion.text) is text
        assert text or completion.finish_reason == "length"


@pytest.mark.parametrize(
    "value", [None, True, -1, 1.5, "x", "", "1" * 30, float("nan"), [], 10**13]
)
def test_what_is_not_a_count_is_unknown(value: Any) -> None:
    """Nothing raises, and nothing is made up."""
    assert count(value) is None
