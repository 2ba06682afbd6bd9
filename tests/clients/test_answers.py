"""What counts as an answer, in every server's own form."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from event_streams import CUTS, chat_of, delta, text_of, usage

from distilabel_endpoints._clients.answers import (
    parse_chat,
    parse_generated,
    parse_text,
    replaced,
    with_headers,
    without_stop_text,
)
from distilabel_endpoints.records import Answer, Completion, Request, Usage

CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def chat(*choices: dict[str, Any], **fields: Any) -> bytes:
    body = {"id": "c1", "object": "chat.completion", "choices": list(choices), **fields}
    return json.dumps(body).encode()


def choice(index: int = 0, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", **message}, "finish_reason": finish}


def only(answer: Answer | None) -> Completion:
    assert answer is not None
    (completion,) = answer.completions
    return completion


OPENAI = {
    "id": "chatcmpl-9",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "system_fingerprint": "fp_1",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "total_tokens": 11,
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
}
VLLM = {
    "id": "chatcmpl-v",
    "object": "chat.completion",
    "created": 1,
    "model": "qwen",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hi",
                "reasoning": "hm",
                "reasoning_content": "hm",
                "tool_calls": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
            "token_ids": None,
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None},
    "prompt_logprobs": None,
    "kv_transfer_params": None,
}
SGLANG = {
    "id": "s",
    "object": "chat.completion",
    "model": "qwen",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hi",
                "reasoning_content": "hm",
                "tool_calls": None,
            },
            "logprobs": None,
            "finish_reason": "stop",
            "matched_stop": 151645,
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    "metadata": {"weight_version": "default"},
}
LLAMACPP = {
    "choices": [
        {
            "finish_reason": "stop",
            "index": 0,
            "message": {"role": "assistant", "content": "Hi"},
        }
    ],
    "created": 1,
    "model": "smol",
    "object": "chat.completion",
    "usage": {"completion_tokens": 2, "prompt_tokens": 9, "total_tokens": 11},
    "timings": {"prompt_n": 9, "predicted_ms": 1.5},
}
TGI = {
    "object": "chat.completion",
    "id": "",
    "created": 1,
    "model": "mistral",
    "system_fingerprint": "3.0.0",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi"},
            "logprobs": None,
            "finish_reason": "stop_sequence",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}


@pytest.mark.parametrize(
    ("body", "reasoning", "model"),
    [
        pytest.param(OPENAI, None, "gpt-4o", id="openai"),
        pytest.param(VLLM, "hm", "qwen", id="vllm"),
        pytest.param(SGLANG, "hm", "qwen", id="sglang"),
        pytest.param(LLAMACPP, None, "smol", id="llamacpp"),
        pytest.param(TGI, None, "mistral", id="tgi"),
    ],
)
def test_every_servers_chat_answer_reads_the_same(
    body: dict[str, Any], reasoning: str | None, model: str
) -> None:
    """Text, finish reason, usage and reasoning come out alike whichever server wrote them."""
    assert parse_chat(json.dumps(body).encode()) == Answer(
        completions=(Completion(text="Hi", finish_reason="stop", reasoning=reasoning),),
        usage=Usage(9, 2),
        model=model,
    )


@pytest.mark.parametrize(
    ("message", "finish", "text", "reason", "reasoning"),
    [
        ({"content": "a"}, "length", "a", "length", None),
        ({"content": "a"}, "eos_token", "a", "stop", None),
        ({"content": "a"}, "eos", "a", "stop", None),
        ({"content": "a"}, None, "a", None, None),
        ({"content": "a"}, "", "a", None, None),
        ({"content": ""}, "stop", "", "stop", None),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]}, "stop",
         "ab", "stop", None),
        ({"content": None, "refusal": "no"}, "stop", "no", "stop", None),
        ({"content": None}, "content_filter", None, "content_filter", None),
        ({"content": None, "reasoning": "r"}, "length", None, "length", "r"),
        ({"content": "", "reasoning_content": "r"}, "length", None, "length", "r"),
        ({"content": "a", "reasoning": ""}, "stop", "a", "stop", None),
        ({"content": "a\ud800"}, "stop", "a\ud800", "stop", None),
    ],
)  # fmt: skip
def test_a_message_is_read_for_what_it_says(
    message: dict[str, Any],
    finish: str | None,
    text: str | None,
    reason: str | None,
    reasoning: str | None,
) -> None:
    """Contents may be lists, refusals, or empty beside reasoning; finish reasons have one name."""
    expected = Completion(text=text, finish_reason=reason, reasoning=reasoning)
    assert only(parse_chat(chat(choice(finish=finish, **message)))) == expected


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(CALL, CALL, id="openai"),
        pytest.param(
            {"id": "call_1", "index": 0, **{k: v for k, v in CALL.items() if k != "id"}}, CALL,
            id="sglang-numbers-it",
        ),
        pytest.param(
            {
                "id": "call_1", "type": "function",
                "function": {"description": None, "name": "add", "arguments": {"a": 1}},
            },
            CALL,
            id="tgi-arguments-are-an-object",
        ),
        pytest.param({"id": "call_1", "function": CALL["function"]}, CALL, id="no-type"),
        pytest.param(
            {"id": "x", "type": "custom", "custom": {"name": "n", "input": "i"}},
            {"id": "x", "type": "custom", "custom": {"name": "n", "input": "i"}},
            id="not-a-function",
        ),
        pytest.param(
            {"type": "function", "function": {"name": "f", "arguments": None}},
            {"type": "function", "function": {"name": "f", "arguments": ""}},
            id="no-arguments",
        ),
        pytest.param(
            {"id": "call_1", "name": "add", "arguments": {"a": 1}}, CALL, id="without-its-object"
        ),
    ],
)  # fmt: skip
def test_a_tool_call_has_one_form(call: dict[str, Any], expected: dict[str, Any]) -> None:
    """Arguments are JSON text and nulls are gone, whichever server made the call."""
    completion = only(
        parse_chat(chat(choice(finish="tool_calls", content=None, tool_calls=[call])))
    )
    assert completion.tool_calls == (expected,)
    assert completion.text is None


TOKEN = {"token": "Hi", "logprob": -0.1}
TOP = {
    **TOKEN,
    "top_logprobs": [{"token": "Hi", "logprob": -0.1}, {"token": "Ho", "logprob": -2.5}],
}


COLUMNS = {
    "tokens": ["Hi"],
    "token_logprobs": [-0.1],
    "top_logprobs": [{"Hi": -0.1, "Ho": -2.5}],
    "text_offset": [0],
}


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        pytest.param(None, None, id="none"),
        pytest.param({"content": [TOP], "refusal": None}, [TOP], id="openai"),
        pytest.param({"content": [{**TOKEN, "bytes": None}]}, [TOKEN], id="null-bytes"),
        pytest.param({"content": []}, None, id="empty"),
        pytest.param({"content": None}, None, id="null"),
        pytest.param([TOKEN], [TOKEN], id="a-bare-list"),
        pytest.param(
            COLUMNS,
            [TOP],
            id="completions-form",
        ),
        pytest.param({"tokens": ["Hi"], "token_logprobs": [-0.1]}, [TOKEN], id="together"),
        pytest.param({"tokens": ["Hi"]}, [{"token": "Hi"}], id="columns-missing"),
        pytest.param("nonsense", None, id="nonsense"),
    ],
)  # fmt: skip
def test_log_probabilities_have_one_form(logprobs: Any, expected: Any) -> None:
    """One entry per token, on chat and on completions, from whatever form the server gives."""
    chatted = chat({**choice(content="Hi"), "logprobs": logprobs})
    written = chat({"index": 0, "text": "Hi", "finish_reason": "stop", "logprobs": logprobs})
    assert only(parse_chat(chatted)).logprobs == expected
    assert only(parse_text(written)).logprobs == expected


def test_choices_come_in_their_order() -> None:
    """The index orders the completions, not their place in the body."""
    answer = parse_chat(chat(*(choice(i, content=str(i)) for i in (2, 0, 1))))
    assert answer is not None
    assert [c.text for c in answer.completions] == ["0", "1", "2"]


def test_choices_without_an_index_keep_their_place() -> None:
    """A server that numbers nothing, or everything 0, has its own order kept."""
    bare = [{"message": {"content": text}} for text in "abc"]
    answer = parse_chat(chat(*bare))
    assert answer is not None
    assert [c.text for c in answer.completions] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        ({"cost": 0.00014}, 0.00014),  # OpenRouter
        ({"cost": 0}, 0.0),
        ({"estimated_cost": 2.5e-05}, 2.5e-05),  # DeepInfra
        ({"cost": 0.1, "is_byok": True, "cost_details": {"upstream_inference_cost": 2}}, 2.1),
        ({"cost": 0.1, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"cost": 0.1, "is_byok": False, "cost_details": {"upstream_inference_cost": 2}}, 0.1),
        ({"cost": None}, None),
        ({"cost": True}, None),
        ({"cost": -1}, None),
        ({"cost": "0.1"}, None),
        ({"cost": {"total_cost": 0.1}}, None),
        ({}, None),
    ],
)
def test_what_a_provider_charges_is_read(usage: Any, dollars: float | None) -> None:
    """Whole and streamed alike; anything but a number of dollars is unknown."""
    counted = {"prompt_tokens": 3, "completion_tokens": 4, **usage}
    answer = parse_chat(chat(choice(content="a"), usage=counted))
    assert answer is not None
    assert answer.usage == Usage(3, 4, dollars=dollars)
    last = {"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": counted}
    streamed = chat_of("at once", [delta(content="a"), delta(finish="stop"), last])
    assert streamed is not None
    assert streamed.usage == Usage(3, 4, dollars=dollars)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Usage()),
        ({}, Usage()),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        ({"prompt_tokens": -1, "completion_tokens": 10**40}, Usage()),
        ({"prompt_tokens": True, "completion_tokens": "5"}, Usage()),
        ({"prompt_tokens": 1.5}, Usage()),
        ([1, 2], Usage()),
    ],
)
def test_only_sane_counts_are_counted(usage: Any, expected: Usage) -> None:
    """A count that is none of a token's is unknown, not a number for the limiter to trip over."""
    answer = parse_chat(chat(choice(content="a"), usage=usage))
    assert answer is not None
    assert answer.usage == expected


NOT_ANSWERS: dict[str, bytes] = {
    "empty": b"",
    "html": b"<html><title>Login</title></html>",
    "cut": chat(choice(content="Hi"))[:-5],
    "not-utf8": b'{"choices":[{"message":{"content":"\xff\xfe"}}]}',
    "string": b'"slow down"',
    "list": b"[1]",
    "error": b'{"error":{"message":"overloaded"}}',
    "no-choices": b'{"choices":[]}',
    "null-choices": b'{"choices":null}',
    "choices-object": b'{"choices":{"0":{"message":{"content":"a"}}}}',
    "choice-string": b'{"choices":["a"]}',
    "no-message": b'{"choices":[{"index":0}]}',
    "null-content": chat(choice(content=None)),
    "no-content": chat(choice()),
    "content-number": chat(choice(content=5)),
    "one-of-two-null": chat(choice(0, content="a"), choice(1, content=None)),
    "error-in-a-choice": chat({**choice(content="half a"), "error": {"code": 502}}),
    "vllm-abort": chat(choice(finish="abort", content="half a")),
    "router-error": chat(choice(finish="error", content="half a")),
    "too-deep": b"[" * 100_000,
    "endless-number": b'{"choices":[],"created":' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("body", NOT_ANSWERS.values(), ids=NOT_ANSWERS)
def test_what_is_no_answer_is_none(body: bytes) -> None:
    """Nothing unusable becomes a completion, and nothing raises."""
    for answer in (parse_chat(body), parse_text(body), parse_generated(body, {})):
        assert answer is None or not answer.completions


def test_silence_is_told_from_nonsense() -> None:
    """An answer that came to its end and says nothing has no completions, whole or streamed."""
    for silent in (chat(choice(content=None)), NOT_ANSWERS["one-of-two-null"]):
        answer = parse_chat(silent)
        assert answer is not None
        assert answer.completions == ()
    for cut in CUTS:
        answer = chat_of(cut, [delta(role="assistant"), delta(finish="stop"), usage(3, 0)])
        assert answer == Answer(completions=(), usage=Usage(3, 0), model="m")


REASONS: dict[str, str] = {
    "stop": "stop eos_token stop_sequence end_turn STOP COMPLETE FINISH_REASON_STOP normal",
    "length": "length MAX_TOKENS max_tokens model_length REASON_MAX_LEN token_limit"
    " FinishReason.MAX_TOKENS context_window_exceeded MaxTokens max_context_length token_budget",
    "content_filter": "SAFETY RECITATION PROHIBITED_CONTENT content_filter:X sensitive refusal"
    " contentFilter ProhibitedContent policy_violation guardrail",
    "tool_calls": "tool_calls tool_use function_call TOOL_CALL toolCalls",
    "repetition": "repetition",
    "": "null not_finished",
    "unheard_of": "unheard_of",
}


@pytest.mark.parametrize(
    ("named", "reason"), [(one, ours) for ours, names in REASONS.items() for one in names.split()]
)
def test_every_servers_finish_reasons_have_one_name(named: str, reason: str) -> None:
    """Whole or streamed, in whatever case; one that nobody knows stays as it is."""
    completion = only(parse_chat(chat(choice(finish=named.replace(":", ": "), content="a"))))
    assert (completion.finish_reason or "") == reason
    streamed = only(
        text_of([text_event("a", named), text_event("", "stop" if not reason else None)])
    )
    assert streamed.finish_reason == (reason or "stop")


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"text": "Hi", "finish_reason": "stop"}]},
        {"choices": [{"message": "Hi", "finish_reason": "stop"}]},
        [{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}],
    ],
)
def test_an_answer_of_a_server_of_ones_own(body: Any) -> None:
    """The text counts, in the fields of the completions API, as a bare string, or in a list."""
    answer = parse_chat(json.dumps(body).encode())
    assert only(answer) == Completion(text="Hi", finish_reason="stop")


BROKEN_OFF = (
    "abort error cancelled USER_CANCEL network_error insufficient_system_resource timeout "
    "ERROR_LIMIT MALFORMED_FUNCTION_CALL function_call_filter:MALFORMED_FUNCTION_CALL "
    "engine_error service_unavailable request_cancelled preempted"
)


@pytest.mark.parametrize("named", BROKEN_OFF.split())
def test_an_answer_that_was_broken_off_is_not_one(named: str) -> None:
    """Half a text is not an answer, whole or streamed, and the server's reason is known."""
    streamed = [delta(content="half"), delta(finish=named)]
    for answer in (
        parse_chat(chat(choice(content="half", finish=named))),
        *(chat_of(cut, streamed) for cut in CUTS),
    ):
        assert answer is not None
        assert answer.completions == ()
        assert answer.broken_off == named.partition(":")[0].lower()


@pytest.mark.parametrize("reasoning", ["", "hm"])
def test_a_budget_that_was_spent_before_the_text_is_one_outcome(reasoning: str) -> None:
    """Null, empty or streamed: no text, the thinking, and that the tokens ran out."""
    expected = Completion(text=None, finish_reason="length", reasoning=reasoning or None)
    for content in (None, ""):
        message: dict[str, Any] = {"content": content, "reasoning": reasoning}
        assert only(parse_chat(chat(choice(finish="length", **message)))) == expected
    opened = delta(role="assistant", content="")
    for events in ([opened], [], [opened, delta(content="")]):
        said = [*events, delta(reasoning=reasoning), delta(finish="length")]
        assert only(chat_of("at once", said)) == expected


@pytest.mark.parametrize("mark", ["<think>", "\n<think>\n", "[THINK]"])
def test_thinking_in_the_text_that_never_ends_spent_the_budget(mark: str) -> None:
    """A server without a reader of thinking sends it as text; whole, streamed and of a prompt."""
    expected = Completion(text=None, finish_reason="length", reasoning="let me see")
    text = f"{mark}let me see"
    assert only(parse_chat(chat(choice(content=text, finish="length")))) == expected
    assert only(chat_of("at once", [delta(content=text), delta(finish="length")])) == expected
    assert only(parse_text(chat({"text": text, "finish_reason": "length"}))) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<think>hm</think>The answer is", "length"),
        ("<think>hm", "stop"),
        ("The tag <think> opens", "length"),
    ],
)
def test_a_text_that_has_an_answer_is_kept_as_it_is(text: str, reason: str) -> None:
    """What was thought before it is part of it, as the server sent it."""
    assert only(parse_chat(chat(choice(content=text, finish=reason)))).text == text


def test_an_error_beside_choices_is_an_error() -> None:
    """What was written until then is not an answer, as in a stream."""
    body = json.loads(chat(choice(content="half", finish="stop")))
    assert parse_chat(json.dumps({**body, "error": {"code": 502}}).encode()) is None
    assert parse_chat(json.dumps({**body, "error": {}}).encode()) is not None


@pytest.mark.parametrize(
    ("text", "stop", "extra", "expected"),
    [
        ("Hello\nUser:", ["\nUser:"], {}, "Hello"),
        ("Hello\nUser:", "\nUser:", {}, "Hello"),
        ("a\n\n", ["\n", "\n\n"], {}, "a"),
        ("a\nb", ["\n"], {}, "a\nb"),
        ("a.", [], {}, "a."),
        ("a.", ["."], {"include_stop_str_in_output": True}, "a."),
        ("a.", ["."], {"no_stop_trim": True}, "a."),
        (".", ["."], {}, ""),
    ],
)
def test_the_stop_sequence_is_not_part_of_the_text(
    text: str, stop: Any, extra: dict[str, Any], expected: str
) -> None:
    """As OpenAI's API has it, whichever server answered, unless it was asked to stay."""
    request = Request(ordinal=0, options={"stop": stop, "extra_body": extra})
    for reason in ("stop", "length"):
        answer = Answer(completions=(Completion(text=text, finish_reason=reason),))
        cut = only(without_stop_text(answer, request))
        assert cut.text == (expected if reason == "stop" else text)


def test_a_text_that_was_no_utf8_is_marked() -> None:
    """Each completion of the answer, and nothing else of it."""
    answer = parse_chat(chat(choice(0, content="a"), choice(1, content="b")))
    assert answer is not None
    marked = replaced(answer)
    assert [c.text for c in marked.completions if c.utf8_replaced] == ["a", "b"]
    assert replace(marked, completions=answer.completions) == answer


def test_a_byte_order_mark_does_no_harm() -> None:
    """A body that starts with a UTF-8 mark is read."""
    assert only(parse_chat(b"\xef\xbb\xbf" + chat(choice(content="Hi")))).text == "Hi"


@pytest.mark.promise("S13")
@pytest.mark.parametrize("listed", [False, True])
def test_a_deep_tool_call_is_cut_before_it_can_overflow_a_stack(listed: bool) -> None:
    """What is kept of an answer is shallow enough for anything that stores it."""
    deep: Any = "x"
    for level in range(300):
        deep = [deep] if level % 2 or listed else {"a": deep}
    calls = only(
        parse_chat(chat(choice(content=None, tool_calls=[{"id": "1", "extra": deep}])))
    ).tool_calls
    assert calls is not None
    assert sum(map(json.dumps(calls).count, "{[")) < 20


def test_completions_are_read() -> None:
    """`/v1/completions` of vLLM: text, usage, logprobs as one list."""
    body = {
        "id": "cmpl-1",
        "object": "text_completion",
        "model": "m",
        "choices": [
            {"index": 1, "text": "b", "finish_reason": "length", "stop_reason": None},
            {"index": 0, "text": "", "finish_reason": "stop", "prompt_logprobs": None},
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    assert parse_text(json.dumps(body).encode()) == Answer(
        completions=(
            Completion(text="", finish_reason="stop"),
            Completion(text="b", finish_reason="length"),
        ),
        usage=Usage(1, 2),
        model="m",
    )


def generated(tokens: Any = (), **details: Any) -> bytes:
    told = {"finish_reason": "eos_token", "generated_tokens": 2, "prefill": [], "seed": None}
    body = {"generated_text": "Hi", "details": {**told, "tokens": list(tokens), **details}}
    return json.dumps(body).encode()


def tgi_token(text: str, logprob: float, *, special: bool = False) -> dict[str, Any]:
    return {"id": 1, "text": text, "logprob": logprob, "special": special}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(generated(), Completion(text="Hi", finish_reason="stop"), id="details"),
        pytest.param(
            generated(finish_reason="length"),
            Completion(text="Hi", finish_reason="length"),
            id="length",
        ),
        pytest.param(
            generated([tgi_token("Hi", -0.1), tgi_token("</s>", -0.2, special=True)]),
            Completion(text="Hi", finish_reason="stop", logprobs=[TOKEN]),
            id="special-tokens-are-left-out",
        ),
        pytest.param(
            generated(
                [tgi_token("<s>", 0, special=True), tgi_token("Hi", -0.1)],
                top_tokens=[[], [tgi_token("Hi", -0.1), tgi_token("Ho", -2.5)]],
            ),
            Completion(text="Hi", finish_reason="stop", logprobs=[TOP]),
            id="top-tokens",
        ),
        pytest.param(b'[{"generated_text":"Hi"}]', Completion(text="Hi"), id="pipeline-list"),
        pytest.param(b'{"generated_text":"Hi","details":null}', Completion(text="Hi"), id="bare"),
    ],
)
def test_tgi_text_is_read(body: bytes, expected: Completion) -> None:
    """TGI's own route, with details, without them, and as a list of one."""
    assert only(parse_generated(body, {})) == expected


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (generated(), {"x-prompt-tokens": "7"}, Usage(7, 2)),
        (generated(generated_tokens=0), {"x-generated-tokens": "9"}, Usage(None, 0)),
        (b'{"generated_text":"Hi"}', {"x-generated-tokens": "9"}, Usage(None, 9)),
        (b'{"generated_text":"Hi"}', {"x-generated-tokens": "9" * 5000}, Usage()),
        (b'{"generated_text":"Hi"}', {"x-prompt-tokens": "-3"}, Usage()),
    ],
)
def test_tgi_counts_come_from_details_and_headers(
    body: bytes, headers: dict[str, str], expected: Usage
) -> None:
    """The body's own count wins; a header that is not a number counts nothing."""
    answer = parse_generated(body, headers)
    assert answer is not None
    assert answer.usage == expected


def test_headers_add_rate_limits() -> None:
    """Rate-limit headers are kept in lower case, all others are left out."""
    answer = parse_chat(chat(choice(content="Hi")))
    assert answer is not None
    headers = httpx2.Headers({"X-RateLimit-Remaining": "3", "X-Request-Id": "r1", "Server": "s"})
    told = with_headers(answer, headers)
    assert told.headers == {"x-ratelimit-remaining": "3"}
    assert with_headers(answer, {"RateLimit-Reset": "1"}).headers == {"ratelimit-reset": "1"}
    assert with_headers(answer, httpx2.Headers({"server": "s"})) is answer


BOTH = pytest.mark.parametrize("cut", CUTS)


@BOTH
def test_a_stream_is_gathered(cut: str) -> None:
    """Pieces join; the usage that comes last, without choices, counts."""
    events = [
        delta(role="assistant", content=""),
        delta(content="Hel"),
        delta(content="lo"),
        delta(finish="stop"),
        delta(content=""),
        usage(3, 2),
    ]
    assert chat_of(cut, events) == Answer(
        completions=(Completion(text="Hello", finish_reason="stop"),), usage=Usage(3, 2), model="m"
    )


@BOTH
def test_usage_in_every_event_counts_once(cut: str) -> None:
    """vLLM's continuous usage: the last one told is the answer's."""
    events = [{**delta(content="a"), **usage(3, 1), "choices": delta(content="a")["choices"]}]
    events += [{**delta(finish="stop"), "usage": usage(3, 2)["usage"]}]
    answer = chat_of(cut, events)
    assert answer is not None
    assert answer.usage == Usage(3, 2)


@BOTH
def test_interleaved_choices_are_told_apart(cut: str) -> None:
    """Several choices of one stream come out whole, in the order of their index."""
    events = [
        delta(1, content="b"), delta(0, content="a"), delta(1, content="B", finish="length"),
        delta(0, content="A"), delta(0, finish="stop"),
    ]  # fmt: skip
    answer = chat_of(cut, events)
    assert answer is not None
    assert [(c.text, c.finish_reason) for c in answer.completions] == [
        ("aA", "stop"),
        ("bB", "length"),
    ]


@BOTH
@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="nothing"),
        pytest.param([usage(1, 1)], id="usage-only"),
        pytest.param([delta(content="half")], id="cut"),
        pytest.param([delta(0, content="a", finish="stop"), delta(1, content="b")], id="one-cut"),
    ],
)
def test_a_stream_without_an_end_is_no_answer(cut: str, events: list[dict[str, Any]]) -> None:
    """A stream that was cut is not taken for an answer."""
    assert chat_of(cut, events) is None


def call_delta(index: int | None, **fields: Any) -> dict[str, Any]:
    name, arguments = fields.pop("name", None), fields.pop("arguments", None)
    function = {"name": name, "arguments": arguments}
    return delta(tool_calls=[{"index": index, **fields, "function": function}])


@BOTH
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            [
                call_delta(0, id="call_1", type="function", name="add", arguments=""),
                call_delta(0, arguments='{"a"'),
                call_delta(0, arguments=": 1}"),
                call_delta(1, id="call_2", type="function", name="sub", arguments="{}"),
            ],
            id="openai",
        ),
        pytest.param(
            [
                delta(
                    tool_calls=[{"index": 0, "id": "call_1", "name": "add", "arguments": '{"a"'}]
                ),
                delta(tool_calls=[{"index": 0, "arguments": ": 1}"}]),
                delta(tool_calls=[{"index": 1, "id": "call_2", "name": "sub", "arguments": "{}"}]),
            ],
            id="without-their-objects",
        ),
        pytest.param(
            [
                call_delta(1, id="call_2", type="function", name="sub", arguments="{}"),
                call_delta(0, id="call_1", type="function", name="add", arguments='{"a": 1}'),
            ],
            id="out-of-order",
        ),
        pytest.param(
            [
                call_delta(0, id="call_1", type="function", name="add", arguments='{"a": 1}'),
                call_delta(0, id="call_2", type="function", name="sub", arguments="{}"),
            ],
            id="all-numbered-0",
        ),
        pytest.param(
            [
                call_delta(None, id="call_1", type="function", name="add", arguments='{"a": 1}'),
                call_delta(None, id="call_2", type="function", name="sub", arguments="{}"),
            ],
            id="not-numbered",
        ),
        pytest.param(
            [
                call_delta(0, id="call_1", type="function", name="add", arguments='{"a": '),
                call_delta(0, id="another", type="function", arguments="1}"),
                call_delta(1, id="call_2", type="function", name="sub", arguments="{}"),
            ],
            id="an-id-per-piece",
        ),
    ],
)
def test_tool_calls_join_from_their_pieces(cut: str, pieces: list[dict[str, Any]]) -> None:
    """Calls come out whole however servers number and name their pieces."""
    second = {"id": "call_2", "type": "function", "function": {"name": "sub", "arguments": "{}"}}
    completion = only(chat_of(cut, [*pieces, delta(finish="tool_calls")]))
    assert completion.tool_calls == (CALL, second)
    assert completion.text is None


@BOTH
def test_a_tool_call_beside_an_empty_role_event_has_no_text(cut: str) -> None:
    """The empty content that opens most streams is not a text beside a call."""
    call = call_delta(0, id="call_1", type="function", name="add", arguments='{"a": 1}')
    events = [delta(role="assistant", content=""), call, delta(finish="tool_calls")]
    assert only(chat_of(cut, events)) == Completion(
        text=None, finish_reason="tool_calls", tool_calls=(CALL,)
    )


@BOTH
@pytest.mark.parametrize(
    "names", [("reasoning",), ("reasoning_content",), ("reasoning", "reasoning_content")]
)
def test_streamed_reasoning_is_gathered_once(cut: str, names: tuple[str, ...]) -> None:
    """One text under either name, or under both at once."""
    said: list[dict[str, Any]] = [dict.fromkeys(names, text) for text in ("think ", "hard")]
    events = [delta(**piece) for piece in said]
    events += [delta(content="a"), delta(finish="stop")]
    assert only(chat_of(cut, events)).reasoning == "think hard"


@BOTH
def test_streamed_log_probabilities_are_gathered(cut: str) -> None:
    """Entries of all events in one list, in the form of an answer that is not streamed."""
    entry = {
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [{**TOKEN, "bytes": None}],
    }
    events = [
        delta(content="a", logprobs={"content": [entry]}),
        delta(content="b", logprobs={"content": [TOP]}),
    ]
    expected = [{**entry, "top_logprobs": [TOKEN]}, TOP]
    assert only(chat_of(cut, [*events, delta(finish="stop")])).logprobs == expected


@BOTH
def test_a_streamed_refusal_is_the_text(cut: str) -> None:
    """A refusal is said in place of a content, and is not lost."""
    events = [delta(refusal="I "), delta(refusal="won't"), delta(finish="stop")]
    assert only(chat_of(cut, events)).text == "I won't"


def text_event(text: str, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    piece = {"index": 0, "text": text, "finish_reason": finish, **fields}
    return {"id": "cmpl-1", "object": "text_completion", "model": "m", "choices": [piece]}


def test_streamed_completions_are_gathered() -> None:
    """Text and log probabilities of `/v1/completions` join; a cut one is not an answer."""
    events = [text_event("Hi", logprobs=COLUMNS), text_event("!", "length"), usage(1, 2)]
    assert text_of(events) == Answer(
        completions=(Completion(text="Hi!", finish_reason="length", logprobs=[TOP]),),
        usage=Usage(1, 2),
        model="m",
    )
    assert text_of(events[:1]) is None


SEVERAL = [
    {"choices": [choice(content=text)], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
    for text in ("one", "two", "three")
]


@pytest.mark.parametrize("joint", [json.dumps, lambda v: "\n".join(map(json.dumps, v))])
def test_a_list_of_completions_is_an_answer_with_several(joint: Any) -> None:
    """One body for each choice, each of them the first of its own: none is lost."""
    answer = parse_chat(joint(SEVERAL).encode())
    assert answer is not None
    assert [completion.text for completion in answer.completions] == ["one", "two", "three"]
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 6)


def test_a_list_of_pieces_is_not_a_list_of_completions() -> None:
    """Only the last event of a stream has an end."""
    pieces = [{"choices": [{"index": 0, "text": t, "finish_reason": end}]}
              for t, end in (("a", None), ("b", "stop"))]  # fmt: skip
    assert parse_text(json.dumps(pieces).encode()) is None
    assert parse_chat(json.dumps([*SEVERAL, {"object": "x"}]).encode()) is None
    assert parse_chat(b"[]") is None


def test_a_list_of_generated_texts_is_an_answer_with_several() -> None:
    """As a pipeline behind TGI's route gives them."""
    body = [{"generated_text": t, "details": {"generated_tokens": 2}} for t in ("one", "two")]
    answer = parse_generated(json.dumps(body).encode(), {})
    assert answer is not None
    assert [completion.text for completion in answer.completions] == ["one", "two"]
    assert answer.usage.output_tokens == 4
    assert parse_generated(b'[{"generated_text": "one"}, 1]', {}) is None
    assert parse_generated(b"[]", {}) is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"cost": None, "estimated_cost": 0.25}, Usage(dollars=0.25)),
        ({"cost": 0.0, "estimated_cost": 0.25}, Usage(dollars=0.0)),
        ({"prompt_tokens": None, "input_tokens": 3, "completion_tokens": None,
          "output_tokens": 4}, Usage(3, 4)),
    ],
)  # fmt: skip
def test_a_null_does_not_hide_the_other_name(usage: Any, expected: Usage) -> None:
    """Gateways write every field that they know, and leave those null that they do not count."""
    answer = parse_chat(chat(choice(content="Hi"), usage=usage))
    assert answer is not None
    assert answer.usage == expected
