"""Streams, in every form that servers and gateways give them."""

from __future__ import annotations

import json
from itertools import chain, combinations
from typing import Any

import pytest
from event_streams import CUTS, DONE, answer_to, delta, framed, pieces, usage

from distilabel_endpoints._clients.answers import Form, parse_chat
from distilabel_endpoints._clients.streams import StreamError, answer_in
from distilabel_endpoints.records import Answer, Completion, Usage

HELLO = [delta(content="Hel"), delta(content="lo"), delta(finish="stop")]
ONE, TWO, END = (json.dumps(event) for event in HELLO)


def text_in(body: bytes | str, form: Form = "chat") -> str | None:
    """The one text of a stream, the same in whatever pieces it comes."""
    body = body.encode() if isinstance(body, str) else body
    answers = [answer_to(form, pieces(body, size))[0] for size in (*CUTS.values(), 7)]
    assert answers.count(answers[0]) == len(answers)
    assert answers[0] is not None
    (completion,) = answers[0].completions
    return completion.text


FRAMINGS = {
    "no end mark": f"data: {ONE}\n\ndata: {TWO}\n\ndata: {END}\n\n",
    "no blank after data": f"data:{ONE}\n\ndata:{TWO}\n\ndata:{END}\n\ndata:[DONE]\n\n",
    "no empty lines": f"data: {ONE}\ndata: {TWO}\ndata: {END}\ndata: [DONE]\n",
    "no newline at the end": f"data: {ONE}\n\ndata: {TWO}\n\ndata: {END}",
    "CRLF": f"data: {ONE}\r\n\r\ndata: {TWO}\r\n\r\ndata: {END}\r\n\r\ndata: [DONE]\r\n\r\n",
    "CR": f"data: {ONE}\r\rdata: {TWO}\r\rdata: {END}\r\rdata: [DONE]\r\r",
    "byte order mark": f"\ufeffdata: {ONE}\n\ndata: {TWO}\n\ndata: {END}\n\n",
    "blank lines first": f"\n\n  \ndata: {ONE}\n\ndata: {TWO}\n\ndata: {END}\n\n",
    "comments": f": hello\n\ndata: {ONE}\n: ping\n\n:\n\ndata: {TWO}\n\n: x\n\ndata: {END}\n\n",
    "empty data": f"data: \n\ndata:\n\ndata: {ONE}\n\ndata\n\ndata: {TWO}\n\ndata: {END}\n\n",
    "retry and ids": f"retry: 9\n\nid: 1\ndata: {ONE}\n\nid: 2\ndata: {TWO}\n\ndata: {END}\n\n",
    "event names": f"event: message\ndata: {ONE}\n\nevent: m\ndata: {TWO}\n\ndata: {END}\n\n",
    "pings": f"event: ping\ndata: {{}}\n\ndata: {ONE}\n\ndata: x\n\ndata: {TWO}\n\ndata: {END}\n",
    "an event over several lines": (
        f"data: {ONE}\n\n"
        + "".join(f"data: {line}\n" for line in json.dumps(HELLO[1], indent=1).split("\n"))
        + f"\ndata: {END}\n\n"
    ),
    "a list of chunks": f"data: [{ONE}, {TWO}]\n\ndata: {END}\n\n",
    "more after the end mark": f"data: {ONE}\n\ndata: {TWO}\n\ndata: {END}\n\ndata: [DONE]\n\nx\n",
}


@pytest.mark.parametrize("body", FRAMINGS.values(), ids=FRAMINGS)
def test_events_are_read_however_they_are_framed(body: str) -> None:
    """Line ends, marks, heartbeats and fields change nothing of what is said."""
    assert text_in(body) == "Hello"


def test_a_stream_cut_at_every_two_places_is_the_same() -> None:
    """Half lines, half line ends and half characters are put together."""
    event = json.dumps(delta(content="é😀", finish="stop"), ensure_ascii=False)
    body = f"\ufeff: é\r\n\r\ndata: {event}\r\n\r\ndata: [DONE]\r\n\r\n".encode()
    places = range(0, len(body) + 1, 3)
    for start, end in chain(combinations(places, 2), combinations(range(1, 15), 2)):
        answer, rest = answer_to("chat", [body[:start], body[start:end], body[end:]])
        assert answer is not None
        assert answer.completions == (Completion(text="é😀", finish_reason="stop"),)
        assert rest == b""


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x7f"])
def test_only_lf_and_cr_end_a_line(separator: str) -> None:
    """Unicode's other line ends stand in JSON unescaped, and are text."""
    text = f"one{separator}two"
    event = json.dumps(delta(content=text, finish="stop"), ensure_ascii=False)
    event = event.replace(json.dumps(separator)[1:-1], separator) if separator > "\x1f" else event
    assert text_in(f"data: {event}\n\n") == text


@pytest.mark.parametrize(
    "name", ["content", "reasoning_content", "refusal", "arguments"], ids=lambda name: name
)
def test_halves_of_a_character_meet(name: str) -> None:
    """Two escaped halves in two events are one character, wherever they stand."""
    halves: list[Any] = [{name: "a\ud83d"}, {name: "\ude00b"}]
    if name == "arguments":
        halves = [{"tool_calls": [{"index": 0, "function": half}]} for half in halves]
    (completion,) = whole([*(delta(**half) for half in halves), delta(finish="stop")]).completions
    assert "a😀b" in str(completion)


def whole(events: list[dict[str, Any]], *, done: bytes = DONE, form: Form = "chat") -> Answer:
    answer, rest = answer_to(form, [framed(events, done=done)])
    assert answer is not None
    assert rest == b""
    return answer


def test_bytes_of_a_character_in_two_events_meet() -> None:
    """A server that cuts its bytes, not its characters, loses none."""
    start, end = (b'{"choices":[{"delta":{"content":"', b'"},"finish_reason":"stop"}]}\n\n')
    face = "😀".encode()
    body = b"".join(b"data: " + start + half + end for half in (b"a" + face[:2], face[2:] + b"b"))
    assert text_in(body) == "a😀b"


def test_bytes_that_are_no_character_are_replaced_and_known() -> None:
    """What is not UTF-8 even when all is joined has U+FFFD in its place, and a mark."""
    event = b'data: {"choices":[{"delta":{"content":"a\xffb"},"finish_reason":"stop"}]}\n\n'
    (completion,) = answer_to("chat", [event])[0].completions  # type: ignore[union-attr]
    assert completion == Completion(text="a\ufffdb", finish_reason="stop", utf8_replaced=True)


def test_a_lone_half_stays_what_it_is() -> None:
    """Nothing is made up for a half that has no other."""
    assert text_in(framed([delta(content="a\ud83d"), delta(finish="stop")])) == "a\ud83d"


WHOLE = json.dumps({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]})


@pytest.mark.parametrize(
    "body",
    [WHOLE, f"\n {WHOLE}", f"\ufeff{WHOLE}", json.dumps(json.loads(WHOLE), indent=1), "<html>",
     "Service unavailable", "date: today", "d", "", "\ufeff", "\ufffe"],
)  # fmt: skip
def test_what_is_not_events_is_given_back(body: str) -> None:
    """Whole JSON, pages, words and nothing at all come out as they went in."""
    for size in (1, 3, 1000):
        assert answer_to("chat", pieces(body.encode(), size)) == (None, body.encode())


def test_a_whole_body_after_signs_of_life_is_an_answer() -> None:
    """A gateway that keeps the connection alive with comments may send the answer whole."""
    for size in CUTS.values():
        answer, rest = answer_to(
            "chat", pieces(f": PROCESSING\n\n: PROCESSING\n\n{WHOLE}".encode(), size)
        )
        assert answer is not None
        assert (answer.completions[0].text, rest) == ("Hello", b"")
    stray = framed(HELLO, done=DONE).replace(b"\n\n", b"\n{nonsense\n\n", 1)
    assert answer_to("chat", [stray])[0] is not None


CHUNKS = [delta(content="Hel"), {"choices": [{"text": "lo"}]}, delta(finish="stop")]
LINES = [json.dumps(chunk) for chunk in CHUNKS]


@pytest.mark.parametrize(
    "body",
    [
        "\n".join(LINES),
        "\r\n".join([*LINES, "[DONE]", ""]),
        json.dumps(CHUNKS),
        json.dumps(CHUNKS, indent=1),
    ],
)
def test_events_without_their_marks_are_an_answer(body: str) -> None:
    """A JSON value on each line, or all in a list, as some gateways stream."""
    answer = answer_in("chat", body.encode())
    assert answer is not None
    assert answer.completions == (Completion(text="Hello", finish_reason="stop"),)
    for nothing in ("", WHOLE, LINES[0], "a\nb", f"{LINES[0]}\nb", "[1, 2]"):
        assert answer_in("chat", nothing.encode()) is None


def test_events_where_a_whole_body_was_asked_for() -> None:
    """Some gateways always stream, and some put words before the events."""
    body = framed(HELLO, done=DONE)
    for before in (b"", b"Warning: deprecated\n"):
        answer = answer_in("chat", before + body)
        assert answer is not None
        assert answer.completions[0].text == "Hello"
    assert answer_in("chat", b"data: {nonsense\n\n" + body) is None
    assert answer_in("chat", WHOLE.encode()) is None


ERROR = {"message": "Out of memory", "code": 500}
ERRORS: dict[str, bytes] = {
    "error object": framed([*HELLO[:1], {"error": ERROR}]),
    "error beside choices": framed([{**HELLO[0], "error": ERROR}]),
    "error in a choice": framed([{"choices": [{"index": 0, "delta": {}, "error": ERROR}]}]),
    "words in a choice": framed([{"choices": [{"error": "Out of memory"}]}]),
    "gemini's": framed([{"choices": [], "promptFeedback": {"blockReason": "Out of memory"}}]),
    "object: error": framed([HELLO[0], {"object": "error", **ERROR}], done=DONE),
    "TGI's": framed([{"error": "Out of memory", "error_type": "generation"}]),
    "event: error": b"event: error\ndata: " + json.dumps(ERROR).encode() + b"\n\n",
    "event: error in words": b"event: error\ndata: Out of memory\n\n",
    "after the end": framed([*HELLO, {"error": ERROR}]),
}


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS)
def test_an_error_among_the_events_is_raised_with_its_words(body: bytes) -> None:
    """In each of the places where servers put it; what was said before is not an answer."""
    for size in CUTS.values():
        with pytest.raises(StreamError, match="Out of memory"):
            answer_to("chat", pieces(body, size))


@pytest.mark.parametrize(
    "body",
    [b"data: {nonsense\n\n", b"data: {nonsense\n\n" + framed(HELLO), b'data: ["a\n\n'],
)
def test_an_event_that_cannot_be_read_spoils_the_answer(body: bytes) -> None:
    """A piece of the text may have been in it."""
    with pytest.raises(ValueError, match="JSON"):
        answer_to("chat", [body])


@pytest.mark.parametrize("cut", range(1, len(END)))
def test_an_event_that_was_cut_off_is_a_cut(cut: int) -> None:
    """A body that ends in the middle of an event is not nonsense, only not an answer."""
    assert answer_to("chat", [f"data: {ONE}\n\ndata: {END[:cut]}".encode()])[0] is None


def test_contents_may_come_as_parts() -> None:
    """Lists of parts, alone or between strings; thinking among them is thinking."""
    parts: list[Any] = [
        [{"type": "thinking", "thinking": [{"type": "text", "text": "hm "}]}],
        [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "ok"}]}],
        [{"type": "text", "text": "Hel"}],
        "lo",
        {"type": "text", "text": "!"},
        [" You", {"text": "."}],
        [],
    ]
    events = [*(delta(content=part) for part in parts), delta(finish="stop")]
    assert whole(events).completions == (
        Completion(text="Hello! You.", reasoning="hm ok", finish_reason="stop"),
    )
    joined = [*chain.from_iterable(p if isinstance(p, list) else [p] for p in parts)]
    body = {"choices": [{"message": {"content": joined}, "finish_reason": "stop"}]}
    assert parse_chat(json.dumps(body).encode()) == Answer(completions=whole(events).completions)


THOUGHTS: dict[str, Any] = {
    "reasoning": "hm",
    "reasoning_content": "hm",
    "thinking": "hm",
    "reasoning_text": "hm",
    "reasoning_details": [
        {"type": "reasoning.text", "text": "h"},
        {"type": "reasoning.summary", "summary": "m"},
        {"type": "reasoning.encrypted", "data": "eA=="},
    ],
    "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "x"}],
}


@pytest.mark.parametrize("name", THOUGHTS)
def test_thinking_is_kept_under_every_name(name: str) -> None:
    """Whole or streamed, beside a text."""
    said = {name: THOUGHTS[name]}
    expected = (Completion(text="Hi", reasoning="hm", finish_reason="stop"),)
    assert whole([delta(**said), delta(content="Hi", finish="stop")]).completions == expected
    body = {"choices": [{"message": {"content": "Hi", **said}, "finish_reason": "stop"}]}
    answer = parse_chat(json.dumps(body).encode())
    assert answer is not None
    assert answer.completions == expected


def test_a_whole_message_replaces_the_pieces_before_it() -> None:
    """Some servers send one event with all, some end a stream with it."""
    message = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    assert whole([message]).completions[0].text == "Hello"
    assert whole([*HELLO[:2], message]).completions[0].text == "Hello"
    empty = {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}
    assert whole([*HELLO[:2], empty]).completions[0].text == "Hello"


TOKENS = {"prompt_tokens": 3, "completion_tokens": 2}
USAGES: dict[str, list[Any]] = {
    "last": [*HELLO, {"choices": [], "usage": TOKENS}],
    "no choices": [*HELLO, {"usage": TOKENS}],
    "first": [{"choices": [], "usage": TOKENS}, *HELLO],
    "every": [{**e, "usage": {**TOKENS, "completion_tokens": n}} for n, e in enumerate(HELLO)],
    "every, then null": [{**HELLO[0], "usage": TOKENS}, *({**e, "usage": None} for e in HELLO[1:])],
    "x_groq": [*HELLO[:2], {**HELLO[2], "x_groq": {"id": "r", "usage": TOKENS}}],
    "a choice": [*HELLO[:2], {"choices": [{**HELLO[2]["choices"][0], "usage": TOKENS}]}],
    "other names": [*HELLO, {"usage": {"input_tokens": 3, "output_tokens": 2}}],
    "a delta": [*HELLO[:2], {"choices": [{**HELLO[2]["choices"][0], "delta": {"usage": TOKENS}}]}],
    "beside": [*HELLO, {"choices": [], "metadata": {"usage": TOKENS}}],
    "bedrock's": [*HELLO, {"usage": {"inputTokens": 3, "outputTokens": 2}}],
    "gemini's": [*HELLO, {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}}],
}  # fmt: skip


@pytest.mark.parametrize("events", USAGES.values(), ids=USAGES)
def test_usage_counts_wherever_it_stands(events: list[Any]) -> None:
    """The last one told is the answer's; the text is the same without any."""
    answer = whole(events)
    assert (answer.usage, answer.completions[0].text) == (Usage(3, 2), "Hello")
    assert whole(HELLO).usage == Usage()


def test_llama_cpp_without_stream_options_counts_what_it_wrote() -> None:
    """Its timings do not count a prompt that was cached, so that number is unknown."""
    last = {"choices": [], "timings": {"cache_n": 2, "prompt_n": 1, "predicted_n": 2}}
    assert whole([*HELLO, last]).usage == Usage(None, 2)


def test_usage_of_each_choice_is_summed() -> None:
    """One prompt, and what all choices wrote; whole or streamed."""
    choices = [{"index": n, "finish_reason": "stop", "usage": TOKENS} for n in (0, 1)]
    streamed = [{"choices": [{**c, "delta": {"content": "a"}}]} for c in choices]
    body = {"choices": [{**c, "message": {"content": "a"}} for c in choices]}
    assert whole(streamed).usage == Usage(3, 4)
    answer = parse_chat(json.dumps(body).encode())
    assert answer is not None
    assert answer.usage == Usage(3, 4)


def piece(name: str | None, arguments: Any, **fields: Any) -> dict[str, Any]:
    return {**fields, "function": {"name": name, "arguments": arguments}}


FIRST, SECOND = '{"x":1}', '{"y":2}'
CALLS: dict[str, list[Any]] = {
    "one index, no ids": [[piece("f", FIRST, index=0)], [piece("g", SECOND, index=0)]],
    "no indexes, no ids": [[piece("f", FIRST)], [piece("g", SECOND)]],
    "both in one event": [[piece("f", FIRST), piece("g", SECOND)]],
    "in pieces, no ids": [
        [piece("f", "", index=0)], [piece(None, '{"x"', index=0)], [piece(None, ":1}", index=0)],
        [piece("g", "", index=0)], [piece(None, SECOND, index=0)],
    ],
    "names repeated": [
        [piece("f", '{"x"', index=0)], [piece("f", ":1}", index=0)], [piece("f", "", index=0)],
        [piece("g", '{"y":', index=1)], [piece("g", "2}", index=1)],
    ],
    "pieces without an index": [
        [piece("f", FIRST, index=0)], [piece("g", '{"y":', index=1)], [piece(None, "2}")],
    ],
    "arguments as objects": [[piece("f", {"x": 1}, index=0)], [piece("g", {"y": 2}, index=1)]],
    "one call, not a list": [piece("f", FIRST, index=0), piece("g", SECOND, index=1)],
}  # fmt: skip


@pytest.mark.parametrize("events", CALLS.values(), ids=CALLS)
def test_calls_without_ids_are_told_apart(events: list[Any]) -> None:
    """By their index, and where there is none by a name after arguments that are complete."""
    said = [*(delta(tool_calls=calls) for calls in events), delta(finish="tool_calls")]
    (completion,) = whole(said).completions
    assert completion.tool_calls is not None
    calls = [call["function"] for call in completion.tool_calls]
    assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [
        ("f", {"x": 1}),
        ("g", {"y": 2}),
    ]


def test_the_same_function_may_be_called_twice() -> None:
    """Two whole calls of one name, without ids, are two."""
    calls = [delta(tool_calls=[piece("f", text, index=0)]) for text in (FIRST, SECOND)]
    (completion,) = whole([*calls, delta(finish="tool_calls")]).completions
    assert completion.tool_calls is not None
    assert len(completion.tool_calls) == 2


def test_calls_with_ids_and_no_index_are_told_apart() -> None:
    """Pieces that come by turns go to the call with their id."""
    events = [
        [piece("f", "", id="1"), piece("g", "", id="2")],
        [piece(None, FIRST, id="1")],
        [piece(None, SECOND, id="2")],
    ]
    said = [*(delta(tool_calls=calls) for calls in events), delta(finish="tool_calls")]
    (completion,) = whole(said).completions
    assert completion.tool_calls is not None
    assert [c["function"]["arguments"] for c in completion.tool_calls] == [FIRST, SECOND]


def test_the_function_call_of_old_is_a_tool_call() -> None:
    """Whole, or in pieces."""
    parts: list[Any] = [{"name": "f", "arguments": ""}, {"arguments": FIRST}]
    streamed = [*(delta(function_call=p) for p in parts), delta(finish="function_call")]
    message = {"content": None, "function_call": {"name": "f", "arguments": FIRST}}
    body = {"choices": [{"message": message, "finish_reason": "function_call"}]}
    call = {"type": "function", "function": {"name": "f", "arguments": FIRST}}
    expected = (Completion(text=None, finish_reason="tool_calls", tool_calls=(call,)),)
    assert whole(streamed).completions == expected
    answer = parse_chat(json.dumps(body).encode())
    assert answer is not None
    assert answer.completions == expected


def test_choices_that_never_end_are_left_out_where_all_is_said() -> None:
    """LiteLLM ends but the first of several; without its end mark it is a cut."""
    events = [delta(0, content="a"), delta(1, content="b"), delta(0, finish="stop")]
    assert [c.text for c in whole(events).completions] == ["a"]
    assert answer_to("chat", [framed(events)])[0] is None
    assert [c.text for c in whole(events[:2]).completions] == ["a", "b"]


@pytest.mark.parametrize("reason", [None, "", "null"])
def test_a_stream_without_a_reason_of_its_end(reason: str | None) -> None:
    """Its end mark is enough, as a whole answer needs no reason; without it, it is a cut."""
    events = [delta(content="Hel", finish=reason), delta(content="lo", finish=reason)]
    assert whole(events).completions == (Completion(text="Hello", finish_reason=None),)
    assert answer_to("chat", [framed(events, done=b"")])[0] is None
    assert answer_to("chat", [DONE])[0] is None


@pytest.mark.parametrize(("tokens", "text"), [(0, ""), (1, ""), (9, None), (None, None)], ids=str)
def test_an_empty_text_is_one_where_nothing_was_generated(
    tokens: int | None, text: str | None
) -> None:
    """A stream opens with an empty text; whether that is the answer, the server's count tells."""
    events = [delta(role="assistant", content=""), delta(finish="stop")]
    if tokens is not None:
        events.append(usage(3, tokens))
    completions = whole(events).completions
    assert completions == (() if text is None else (Completion(text="", finish_reason="stop"),))
