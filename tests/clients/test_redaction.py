"""Nothing of a prompt and no token is left in what a server said."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from distilabel_endpoints._clients.error_text import redact
from distilabel_endpoints._clients.failures import classify_status
from distilabel_endpoints.records import FailureKind, Request

CANARY = (
    "The nightingale said: \"Meet me\tunder the old bridge,\n'at noon'\" & <bring> naïve 東京 😀 "
    "\\theta \\n \\\\ plans — before the river rises over the stones of the lower town."
)
ASKED = Request(ordinal=0, messages=[{"role": "user", "content": CANARY}])
RUN = 20


def leaks(said: str, prompt: str = CANARY) -> list[str]:
    """Every long run of characters of the prompt that is still in `said`."""
    return [
        prompt[at : at + RUN]
        for at in range(len(prompt) - RUN + 1)
        if prompt[at : at + RUN] in said
    ]


ECHOES: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "json": json.dumps,
    "json, not ascii": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps({"inputs": text})),
    "python": repr,
    "python in json": lambda text: json.dumps(repr([{"content": text}])),
    "html": html.escape,
    "one line": lambda text: " ".join(text.split()),
    "its head": lambda text: text[:60] + "...",
    "its tail": lambda text: "..." + text[-60:],
    "pydantic": lambda text: f"input_value={text[:25]!r}...{text[-24:]!r}, input_type=str",
    "cut in an escape": lambda text: json.dumps(text)[:99],
    "thrice": lambda text: f"{text} / {text!r} / {json.dumps(text)}",
}


@pytest.mark.promise("S2")
@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_an_echoed_prompt_is_cut_out(echo: Callable[[str], str]) -> None:
    """Whole or shortened, plain or escaped, once or more: nothing of it is left."""
    said = redact(f"validation failed for {echo(CANARY)} (code 7)", ASKED)
    assert leaks(said) == []
    assert "[prompt]" in said
    assert said.startswith("validation failed for ")
    for word in ("nightingale", "bridge", "river rises", "lower town", "東京"):
        assert word not in said


def asked(*messages: dict[str, Any]) -> Request:
    return Request(ordinal=0, messages=list(messages))


REQUESTS: dict[str, Request] = {
    "prompt": Request(ordinal=0, prompt=f"<|user|>\n{CANARY}<|end|>"),
    "parts": asked({"role": "user", "content": [{"type": "text", "text": CANARY}]}),
    "tool result": asked({"role": "user", "content": "x"}, {"role": "tool", "content": CANARY}),
    "tool call": asked({"tool_calls": [{"function": {"arguments": CANARY}}]}),
    "image": asked({"content": [{"type": "image_url", "image_url": {"url": CANARY}}]}),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_every_text_of_a_request_counts(request_: Request) -> None:
    """Rendered prompts, content parts, tool results and calls are as private as a plain content."""
    assert leaks(redact(f"bad input: {CANARY!r}", request_)) == []


ISSUE = {"type": "missing", "msg": "Field required", "loc": ["body"], "input": {"content": CANARY}}
BODIES: dict[str, Any] = {
    "fastapi": {"detail": [{**ISSUE, "ctx": {"error": CANARY}}]},
    "vllm": {"error": {"message": str([ISSUE]), "code": 400}},
    "pydantic": {"message": f"1 error\n content\n  bad [input_value={CANARY!r}, input_type=str]"},
    "tgi": {"error": f"Template error: {CANARY}", "error_type": "template_error"},
    "text": f"could not read: {CANARY}",
}


@pytest.mark.promise("S2")
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_no_servers_error_brings_the_prompt_back(body: Any) -> None:
    """The failure of a 422 says what is wrong, and nothing of what was asked."""
    for raw in (json.dumps(body).encode(), json.dumps(body, ensure_ascii=False).encode()):
        failure = classify_status(422, {}, raw, ASKED)
        assert leaks(failure.message) == []
        assert "nightingale" not in repr(failure)
        assert len(failure.message) > 10


def test_a_prompt_does_not_decide_what_its_failure_means() -> None:
    """A conversation about overload or pauses is not a reason to wait for the endpoint."""
    prompt = "Our endpoint is paused; the server is overloaded, it has an insufficient_quota of tea"
    asking = Request(ordinal=0, prompt=prompt)
    for status, kind in ((400, FailureKind.ROW), (503, FailureKind.UNAVAILABLE)):
        assert classify_status(status, {}, json.dumps(prompt).encode(), asking).kind is kind
        assert classify_status(status, {}, json.dumps(prompt).encode()).kind is not kind


def test_a_short_prompt_is_cut_out_where_it_stands_whole() -> None:
    """Eight characters are enough to be hidden; fewer would only garble the message."""
    said = "cannot read 'hot cocoa' here"
    assert redact(said, Request(ordinal=0, prompt="hot cocoa")) == "cannot read '[prompt]' here"
    assert redact(said, Request(ordinal=0, prompt="a")) == said
    assert redact(said, Request(ordinal=0, prompt="")) == said


def test_what_is_shared_by_chance_stays() -> None:
    """Words that the server would have said anyway are not taken for an echo."""
    asking = Request(ordinal=0, prompt="Explain why the model's maximum context length matters.")
    said = "This model's maximum context length is 4096 tokens."
    assert redact(said, asking) == "This [prompt] is 4096 tokens."
    assert redact("max_tokens must be at least 1", asking) == "max_tokens must be at least 1"


def test_an_escaped_prompt_may_hold_a_token() -> None:
    """What is left of an echo is searched for tokens as well."""
    asking = Request(ordinal=0, prompt="use hf_abcdefghij to log in to the very secret place")
    assert redact("at 'use hf_abcdefghij to'", asking) == "at '[prompt]'"
    assert redact(json.dumps("x\nhf_abcdefghij"), None) == '"x [secret]"'


TOKEN = "hf_CANARYabc123XYZ"


@pytest.mark.promise("S1")
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (f"token {TOKEN} is invalid", "token [secret] is invalid"),
        (f"prefix{TOKEN}", "prefix[secret]"),
        (f"{{'authorization': 'Bearer {TOKEN}'}}", "{'authorization': 'Bearer [secret]'}"),
        ("bearer token-abc123 refused", "bearer [secret] refused"),
        ("Bearer token is missing", "Bearer token is missing"),
        ("API key provided: my-own-key. Find it", "API key provided: [secret] Find it"),
        ("Received API Key = sk-...X7ab, other", "Received API Key = [secret], other"),
        ('{"api_key": "s3cr3tvalue"}', '{"api_key": "[secret]"}'),
        ("x-api-key: s3cr3tvalue", "x-api-key: [secret]"),
        ("password=hunter2222", "password=[secret]"),
        ("key sk-proj-AbC123dEf456", "key [secret]"),
        ("a task-specific-adapter", "a task-specific-adapter"),
        ("jwt eyJhbGciOiJI.eyJzdWIiOiIx.sig_na-ture", "jwt [secret]"),
        ("api_org_AbCdEf123", "[secret]"),
        ("max_new_tokens: 4096 and token: 123456", "max_new_tokens: 4096 and token: 123456"),
        ("`max_new_tokens` tokens must be <= 9", "`max_new_tokens` tokens must be <= 9"),
        ("api-inference.huggingface.co is gone", "api-inference.huggingface.co is gone"),
    ],
)  # fmt: skip
def test_tokens_are_taken_out(said: str, expected: str) -> None:
    """Tokens of every kind go; the words around them stay."""
    assert redact(said, None) == expected


def test_looking_for_an_echo_takes_bounded_time() -> None:
    """Neither a huge prompt nor a hostile body keeps the engine waiting."""
    huge = Request(ordinal=0, prompt="abcdefghij klmnop " * 400_000)
    started = time.process_time()
    for body in ("a" * 100_000, "<script" * 30_000, "<" * 100_000, "\\" * 100_000, "&" * 100_000):
        classify_status(500, {}, body.encode(), huge)
        classify_status(500, {}, ("<html>" + body).encode(), huge)
    assert time.process_time() - started < 5
