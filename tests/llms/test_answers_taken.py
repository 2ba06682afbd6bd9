"""Everything that is an answer is taken, and what is not one is not: from the wire to the user."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.testing import (
    Action,
    Fault,
    Garble,
    Recast,
    Rewrite,
    SimulatedEndpoint,
    edits,
)

Make = Callable[..., SimulatedEndpoint]

TEXT = "one\u2028two\u2029three\x85four é 😀😀 five\n\nsix 😀"
HELLO = [{"role": "user", "content": "Say hello"}]
WAYS = [*product((False, True), (False, True))]
"""With which client, and streamed or not."""
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def ask(
    endpoint: SimulatedEndpoint, client: bool, stream: bool, on_length: str = "keep", **given: Any
) -> Any:
    """The one output of a call."""
    with opened(endpoint, client, stream, on_length=on_length) as llm:
        (output,) = llm.generate_outputs([HELLO], **given)
    return output


def opened(
    endpoint: SimulatedEndpoint, client: bool, stream: bool, **fields: Any
) -> InferenceEndpointsLLM:
    return InferenceEndpointsLLM(
        base_url=endpoint.url, use_openai_client=client, stream=stream, **fields
    )


FORMS: dict[str, Action] = {
    "201": Recast(201),
    "another content type": Recast(content_type="text/plain"),
    "whole, though a stream was asked for": Recast(whole=True),
    "whole as a stream": Recast(206, content_type="text/event-stream", whole=True),
    "contents as parts": Rewrite(edits.parts),
    "halves of characters": Rewrite(edits.halves()),
    "usage of Groq": Rewrite(edits.usage_in("x_groq")),
    "usage in a choice": Rewrite(edits.usage_in("choices")),
    "another name for stop": Rewrite(edits.finished("END_TURN")),
    "nothing escaped": Garble(edits.raw_unicode),
    "lines end with CR LF": Garble(edits.line_ends("\r\n")),
    "lines end with CR": Garble(edits.line_ends("\r")),
    "heartbeats": Garble(edits.heartbeats),
    "no blanks": Garble(edits.tight),
    "a byte order mark": Garble(edits.marked),
}


@pytest.mark.parametrize("action", FORMS.values(), ids=FORMS)
def test_an_answer_is_taken_in_every_form(simulated_endpoint: Make, action: Action) -> None:
    """The text as it was written and the tokens as they were counted, after one request."""
    endpoint = simulated_endpoint(faults=(Fault(action),), reply=lambda asked: TEXT)
    for client, stream in WAYS:
        before = len(endpoint.generations)
        with opened(endpoint, client, stream) as llm:
            outputs = [llm.generate_outputs([HELLO], num_generations=n)[0] for n in (1, 2)]
        for n, output in enumerate(outputs, 1):
            assert output["generations"] == [TEXT] * n, (client, stream, output["errors"])
            assert output["finish_reasons"] == ["stop"] * n
            assert output["statistics"]["output_tokens"] == [n * len(TEXT.split())]
        assert len(endpoint.generations) - before == 2


CALL_FORMS: dict[str, Action] = {
    "no ids": Rewrite(edits.calls_without_ids),
    "a function call": Rewrite(edits.function_calls),
}


@pytest.mark.parametrize("action", CALL_FORMS.values(), ids=CALL_FORMS)
def test_a_tool_call_is_taken_in_every_form(simulated_endpoint: Make, action: Action) -> None:
    """With the arguments whole, streamed or not."""
    given: dict[str, Any] = {"tools": [TOOL], "tool_choice": "required"}
    (expected,) = ask(simulated_endpoint(), False, False, **given)["tool_calls"]
    endpoint = simulated_endpoint(faults=(Fault(action),))
    for client, stream in WAYS:
        output = ask(endpoint, client, stream, **given)
        (changed,) = output["tool_calls"]
        assert [call["function"] for call in changed] == [call["function"] for call in expected]
        assert output["finish_reasons"] == ["tool_calls"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_was_broken_off_is_asked_for_again(
    simulated_endpoint: Make, *, stream: bool
) -> None:
    """Half a text is not taken; the whole one comes with the next attempt."""
    broken = Rewrite(edits.finished("insufficient_system_resource"))
    for client in (False, True):
        endpoint = simulated_endpoint(faults=(Fault(broken, times=1),), reply=lambda asked: TEXT)
        assert ask(endpoint, client, stream)["generations"] == [TEXT]
        assert len(endpoint.generations) == 2


@pytest.mark.parametrize(("on_length", "n"), [("keep", 1), ("keep", 2), ("fail", 1)])
def test_thinking_that_spent_the_budget_is_asked_for_once(
    simulated_endpoint: Make, on_length: str, n: int
) -> None:
    """One attempt, no text, how it ended, and an error that says what to raise."""
    endpoint = simulated_endpoint(faults=(Fault(Rewrite(edits.spent)),))
    for client, stream in WAYS:
        before = len(endpoint.generations)
        output = ask(endpoint, client, stream, on_length=on_length, num_generations=n)
        assert output["generations"] == [None] * n
        assert output["finish_reasons"] == ["length"] * n
        assert {error.failure.code for error in output["errors"]} == {"budget_spent"}
        assert "max_new_tokens" in str(output["errors"][0])
        assert len(endpoint.generations) - before == 1


def think(payload: Any) -> Any:
    """The endpoint's text is the thinking, and the tokens ran out in it."""

    def change(choice: dict[str, Any]) -> None:
        message: dict[str, Any] = choice.get("message") or choice["delta"]
        if message.get("content"):
            message["reasoning_content"] = message.pop("content")

    for choice in payload["choices"]:
        change(choice)
    return edits.finished("length")(payload)


def test_thinking_that_was_cut_off_is_kept(simulated_endpoint: Make) -> None:
    """Its text is the output's reasoning, and a longer answer that fails takes nothing away."""
    for client, stream in WAYS:
        endpoint = simulated_endpoint(faults=(Fault(Rewrite(think)),), reply=lambda asked: TEXT)
        output = ask(endpoint, client, stream, on_length="grow:2x", max_new_tokens=50)
        assert len(endpoint.generations) == 2
        assert output["generations"] == [None]
        assert output["reasoning"] == [TEXT]
        assert output["errors"][0].failure.reasoning == TEXT
        assert "used up in the model's thinking" in str(output["errors"][0])


def test_a_spent_budget_grows_into_an_answer(simulated_endpoint: Make) -> None:
    """`grow` asks once more, with more tokens, and takes what comes."""
    for client, stream in WAYS:
        spent = Fault(Rewrite(edits.spent), times=1)
        endpoint = simulated_endpoint(faults=(spent,), reply=lambda asked: TEXT)
        output = ask(endpoint, client, stream, on_length="grow:4x", max_new_tokens=100)
        assert output["generations"] == [TEXT]
        bodies = [record.body for record in endpoint.generations]
        assert [body["max_tokens"] for body in bodies] == [100, 400]


@pytest.mark.parametrize(
    ("reason", "code", "seen"),
    [
        ("repetition", "repetition", "repetition"),
        ("content_filter: SAFETY", "content_filter", "content_filter"),
        ("model_length", "length", "length"),
    ],
)
def test_a_refused_answer_keeps_its_text(
    simulated_endpoint: Make, reason: str, code: str, seen: str
) -> None:
    """The row fails once, and what was written and how it ended are with its failure."""
    faults = (Fault(Rewrite(edits.finished(reason))),)
    endpoint = simulated_endpoint(faults=faults, reply=lambda asked: TEXT)
    for client, stream in WAYS:
        before = len(endpoint.generations)
        output = ask(endpoint, client, stream, on_length="fail")
        (error,) = output["errors"]
        assert (error.failure.code, error.failure.text) == (code, TEXT)
        assert output["finish_reasons"] == [seen]
        assert len(endpoint.generations) - before == 1


def unended(payload: Any) -> Any:
    """LiteLLM: of several streamed choices, only the first one ends."""
    choices = payload["choices"]
    for choice in choices:
        if choice["index"] > 0 and "delta" in choice:
            choice["finish_reason"] = None
    return payload


def test_choices_that_never_end_are_asked_for_one_by_one(simulated_endpoint: Make) -> None:
    """All generations come, and later rows are not asked for several at once again."""
    for client in (False, True):
        faults = (Fault(Rewrite(unended)),)
        endpoint = simulated_endpoint(faults=faults, reply=lambda asked: TEXT)
        with opened(endpoint, client, stream=True) as llm:
            outputs = [llm.generate_outputs([HELLO], num_generations=3)[0] for _ in range(2)]
        assert [output["generations"] for output in outputs] == [[TEXT] * 3] * 2
        bodies = [record.body.get("n", 1) for record in endpoint.generations]
        assert sorted(bodies, reverse=True) == [3, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("flavor", ["tgi", "vllm", "llamacpp", "openai"])
def test_the_stop_sequence_is_in_no_text(simulated_endpoint: Make, flavor: str) -> None:
    """One text whichever server answered, TGI included, which leaves it there."""
    endpoint = simulated_endpoint(flavor=flavor, reply=lambda asked: "Hello\nUser: and more")
    for client, stream in WAYS:
        output = ask(endpoint, client, stream, stop_sequences=["\nUser:"])
        assert output["generations"] == ["Hello"], (client, stream)
