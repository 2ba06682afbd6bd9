"""What an answer is: whole bodies, and what whole and streamed answers have in common.

What is not an answer is `None` here. An answer that says nothing, or that the server broke off, has
no completions: `failures.py` then says what it is instead. Nothing here raises on what a server
sent. Whole or streamed in whatever pieces (`streams.py`), the same answer comes out: finish
reasons, log probabilities, thinking and tool calls have one form whichever server made them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple

from distilabel_endpoints._clients.finish_reasons import finish_reason, is_broken_off
from distilabel_endpoints._clients.usage import count, summed, usage_in
from distilabel_endpoints.records import Answer, Completion, Request, Usage

__all__ = [
    "Contents",
    "Form",
    "Json",
    "answer_of",
    "as_call",
    "call_arguments",
    "chat_logprobs",
    "completion_of",
    "contents_of",
    "index_of",
    "joined",
    "objects",
    "parse",
    "parse_chat",
    "parse_generated",
    "parse_text",
    "reason_in",
    "replaced",
    "string",
    "tgi_logprobs",
    "unwrapped",
    "with_headers",
    "without_stop_text",
]

_PROVIDER: Final = "x-inference-provider"
"""Where Hugging Face's router names the provider that it chose."""
_PROVIDER_LENGTH: Final = 64

Json = dict[str, Any]
Form = Literal["chat", "text", "generated"]
"""Which API answers: chat completions, completions, or TGI's own."""

_REASONING: Final = (
    "reasoning",
    "reasoning_content",
    "thinking",
    "reasoning_text",
    "reasoning_details",
    "thinking_blocks",
)
"""Where servers put a model's thinking. Some send two names with the same text."""
_THINKING_PARTS: Final = frozenset({"thinking", "reasoning", "redacted_thinking"})
_THOUGHTS: Final = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
"""How models write thinking into their text: DeepSeek, Qwen and kin; Mistral."""
_DEEPEST: Final = 16
"""Levels down to which a log probability or a tool call is read."""
_WRAPPERS: Final = ("result", "data", "response", "output", "body")
"""Where gateways put an answer: Cloudflare, Alibaba, gRPC's, one-function proxies."""
_MOST_WRAPPERS: Final = 3
_MOST_DIGITS: Final = 4
"""Of the number of a choice."""
_END_MARK: Final = re.compile(rb"data:\s*\[DONE\]", re.IGNORECASE)


class Contents(NamedTuple):
    """What a message, or a piece of one, holds."""

    text: str | None
    refusal: str | None
    reasoning: str
    calls: list[Json]


def replaced(answer: Answer) -> Answer:
    """`answer` with a mark on each completion that its text was not all UTF-8."""
    marked = (replace(completion, utf8_replaced=True) for completion in answer.completions)
    return replace(answer, completions=tuple(marked))


def with_headers(
    answer: Answer, headers: Mapping[str, str], *, first_token: float | None = None
) -> Answer:
    """`answer` with what the response's headers say of rate limits and of who served it.

    Args:
        answer: what was read.
        headers: of the response.
        first_token: seconds until a stream first said something.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    limits = {name: value for name, value in lower.items() if "ratelimit" in name}
    provider = lower.get(_PROVIDER, "")[:_PROVIDER_LENGTH]
    if provider:
        named = tuple(replace(c, provider=provider) for c in answer.completions)
        answer = replace(answer, completions=named)
    if not limits and not provider and first_token is None:
        return answer
    return replace(answer, headers=limits, provider=provider or None, first_token=first_token)


def without_stop_text(answer: Answer, request: Request) -> Answer:
    """`answer` without the stop sequence that ended a text; TGI and some gateways leave it there.

    vLLM's `include_stop_str_in_output` and SGLang's `no_stop_trim` ask for it, and keep it.
    """
    stops = request.options.get("stop")
    if not stops:
        return answer
    extra = request.options.get("extra_body") or {}
    if extra.get("include_stop_str_in_output") or extra.get("no_stop_trim"):
        return answer
    # The longest first: if one ends in another, generation ended before both.
    ends = sorted([stops] if isinstance(stops, str) else stops, key=len, reverse=True)
    cut = tuple(_without_end(completion, ends) for completion in answer.completions)
    return replace(answer, completions=cut)


def _without_end(completion: Completion, ends: Iterable[str]) -> Completion:
    text = completion.text
    if not text or completion.finish_reason != "stop":
        return completion
    end = next((end for end in ends if end and text.endswith(end)), None)
    return completion if end is None else replace(completion, text=text[: -len(end)])


def parse(form: Form, body: bytes, headers: Mapping[str, str]) -> Answer | None:
    """A whole body."""
    match form:
        case "chat":
            return parse_chat(body)
        case "text":
            return parse_text(body)
        case "generated":
            return parse_generated(body, headers)


def parse_chat(body: bytes) -> Answer | None:
    """`/v1/chat/completions`, not streamed."""
    return _parse_choices(body, _chat_completion)


def parse_text(body: bytes) -> Answer | None:
    """`/v1/completions`, not streamed."""
    return _parse_choices(body, _text_completion)


def parse_generated(body: bytes, headers: Mapping[str, str]) -> Answer | None:
    """TGI's `POST /` and `/generate`, not streamed: one object, or a list of them."""
    loaded = _load(body)
    items = loaded if isinstance(loaded, list) else [loaded]
    if not all(isinstance(i, dict) and isinstance(i.get("generated_text"), str) for i in items):
        return None
    written = [count(_details_of(item).get("generated_tokens")) for item in items]
    counted = [number for number in written if number is not None]
    usage = Usage(
        _header_count(headers, "x-prompt-tokens"),
        sum(counted) if counted else _header_count(headers, "x-generated-tokens"),
    )
    return answer_of(map(_generated_completion, items), usage)


def _details_of(item: Json) -> Json:
    details = item.get("details")
    return details if isinstance(details, dict) else {}


def _generated_completion(item: Json) -> Completion:
    details = _details_of(item)
    return completion_of(
        text=item["generated_text"],
        reason=finish_reason(details.get("finish_reason")),
        logprobs=tgi_logprobs(details.get("tokens"), details.get("top_tokens")),
    )


def _parse_choices(body: bytes, read: Callable[[Json], Completion | None]) -> Answer | None:
    bodies = _bodies(body)
    if any(one.get("error") for one in bodies):
        return None  # beside the text that was written until then, as in a stream
    return answer_of(
        (read(choice) for one in bodies for choice in _choices_of(one)),
        usage=summed(map(_usage_of, bodies)) or Usage(),
        model=string(bodies[0].get("model")) if bodies else None,
    )


def _bodies(body: bytes) -> list[Json]:
    """The object of a body; or, in a list or line by line, a whole one for each choice.

    Events in these forms are pieces: `streams.py` joins them.
    """
    loaded = unwrapped(_load(body))
    if loaded is None:
        lines = filter(None, map(bytes.strip, body.splitlines()))
        loaded = [_load(line) for line in lines if not _END_MARK.match(line)]
    bodies = objects(loaded if isinstance(loaded, list) else [loaded])
    is_one = len(bodies) == 1 and (isinstance(loaded, dict) or len(loaded) == 1)
    is_joint = isinstance(loaded, list) and len(bodies) == len(loaded)
    return bodies if is_one or (is_joint and all(map(_is_whole, bodies))) else []


def unwrapped(value: Any) -> Any:
    """An answer without what a gateway has put around it: an object, or a text of JSON.

    What is not an answer in a wrapper comes back as it is.
    """
    inner = value
    for _ in range(_MOST_WRAPPERS):
        inner = _load(inner) if isinstance(inner, str) else inner
        if not isinstance(inner, dict) or "choices" in inner:
            break
        inner = _inside(inner)
    return inner if isinstance(inner, dict) and "choices" in inner else value


def _inside(wrapper: Json) -> Any:
    inner = next((wrapper[n] for n in _WRAPPERS if _may_hold_choices(wrapper.get(n))), None)
    if isinstance(inner, dict) and "usage" in wrapper:
        return {"usage": wrapper["usage"], **inner}
    return inner


def _may_hold_choices(value: Any) -> bool:
    return "choices" in value if isinstance(value, dict | str) else False


def _is_whole(body: Json) -> bool:
    """Whether each of its choices is at its end, and not the last piece of a stream."""
    choices = objects(body.get("choices"))
    return bool(choices) and all(reason_in(c) and c.get("delta") is None for c in choices)


def _choices_of(body: Json) -> list[Json]:
    return sorted(objects(body.get("choices")), key=index_of)


def _usage_of(body: Json) -> Usage | None:
    return usage_in(body) or summed(map(usage_in, objects(body.get("choices"))))


def index_of(choice: Json) -> int:
    """The place of a choice among several, counted from 0; some servers write it as a text."""
    index = choice.get("index")
    if isinstance(index, str) and index.isdecimal() and len(index) <= _MOST_DIGITS:
        return int(index)
    return index if type(index) is int else 0


def reason_in(choice: Json) -> str | None:
    """Our name for why a choice ended, under either name that servers have for it."""
    return finish_reason(choice.get("finish_reason")) or finish_reason(choice.get("finishReason"))


def answer_of(
    completions: Iterable[Completion | None], usage: Usage, model: str | None = None
) -> Answer | None:
    """The answer with these completions.

    `None` if there is none, or if one is not a completion. If one of them says nothing or
    was broken off, an answer without completions.
    """
    every = tuple(completions)
    whole = tuple(filter(None, every))
    if not whole or len(whole) < len(every):
        return None
    broken = next((c.finish_reason for c in whole if is_broken_off(c.finish_reason)), None)
    unusable = broken is not None or any(map(_is_silent, whole))
    return Answer(
        completions=() if unusable else whole, usage=usage, model=model, broken_off=broken
    )


def _is_silent(completion: Completion) -> bool:
    """No text is an answer only beside a tool call or thinking, or when something ended it."""
    beside = completion.tool_calls is not None or completion.reasoning is not None
    ended = completion.finish_reason in {"length", "content_filter", "repetition"}
    return completion.text is None and not beside and not ended


def _load(body: bytes | str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _chat_completion(choice: Json) -> Completion | None:
    message = choice.get("message")
    if message is None or isinstance(message, str):
        # A server of somebody's own, with the fields of the completions API, or none.
        text = message if message is not None else choice.get("text")
        message = {"content": text} if isinstance(text, str) else _unnamed(choice)
    if not isinstance(message, dict) or choice.get("error"):
        return None
    contents = contents_of(message)
    return completion_of(
        text=contents.text if contents.text is not None else contents.refusal,
        reason=reason_in(choice),
        logprobs=chat_logprobs(choice.get("logprobs")),
        reasoning=contents.reasoning,
        calls=map(as_call, contents.calls),
    )


def _unnamed(choice: Json) -> Json | None:
    """The message of a choice that has none but came to its end: Gemini's if all was thought."""
    if reason_in(choice) is None:
        return None
    delta = choice.get("delta")
    return delta if isinstance(delta, dict) else {}


def _text_completion(choice: Json) -> Completion | None:
    if choice.get("error"):
        return None
    return completion_of(
        text=string(choice.get("text")),
        reason=reason_in(choice),
        logprobs=chat_logprobs(choice.get("logprobs")),
        reasoning=_reasoning_in(choice),
    )


def completion_of(
    *,
    text: str | None,
    reason: str | None,
    logprobs: Any = None,
    reasoning: str = "",
    calls: Iterable[Json] = (),
) -> Completion:
    """A completion in the one form that whole and streamed answers share.

    An empty text beside a tool call or thinking, or when the tokens ran out, is not a text: null
    and empty are the same in a stream, and so they are here.
    """
    tool_calls = tuple(calls) or None
    if text is not None and reason == "length" and not reasoning and tool_calls is None:
        text, reasoning = _without_open_thinking(text)
    beside = tool_calls is not None or bool(reasoning) or reason == "length"
    return Completion(
        text=None if text is None or (beside and not text) else joined(text),
        finish_reason=reason,
        logprobs=_of_text(logprobs, reason) or None,
        reasoning=joined(reasoning) or None,
        tool_calls=tool_calls,
    )


def _without_open_thinking(text: str) -> tuple[str | None, str]:
    """The text and the thinking of what was cut off; a server may not tell the two apart.

    What begins as thinking and never ends it has no answer in it.
    """
    thought = text.lstrip()
    for opening, closing in _THOUGHTS:
        if thought.startswith(opening) and closing not in thought:
            return None, thought.removeprefix(opening).lstrip()
    return text, ""


def contents_of(message: Json) -> Contents:
    """What a chat message or a delta of one says, under whichever names."""
    content, reasoning = message.get("content"), _reasoning_in(message)
    text, thinking = string(content), ""
    if isinstance(content, list | dict):
        text, thinking = _text_of_parts(content if isinstance(content, list) else [content])
    return Contents(text, string(message.get("refusal")), reasoning or thinking, _calls(message))


def _text_of_parts(parts: list[Any]) -> tuple[str | None, str]:
    """The text and the thinking of contents that come as parts; no part means no text."""
    texts, thinking = list[str](), list[str]()
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type") in _THINKING_PARTS:
            thinking.append(_thought(part))
        elif isinstance(part, dict):
            text = part.get("text")
            text = text.get("value") if isinstance(text, dict) else text
            texts.append(string(text) or string(part.get("refusal")) or "")
    return "".join(texts) if texts else None, "".join(thinking)


def _reasoning_in(message: Json) -> str:
    for name in _REASONING:
        if thought := message.get(name):
            return thought if isinstance(thought, str) else _thought(thought)
    return ""


def _thought(value: Any, depth: int = 0) -> str:
    """The text of thinking that comes in parts, which nest."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth < _DEEPEST:
        return "".join(_thought(part, depth + 1) for part in value)
    if isinstance(value, dict) and depth < _DEEPEST:
        names = ("thinking", "reasoning", "text", "summary", "content")
        return next(filter(None, (_thought(value.get(name), depth + 1) for name in names)), "")
    return ""


def _calls(message: Json) -> list[Json]:
    """The tool calls of a message; the function call of the API before tools is one."""
    calls = message.get("tool_calls")
    if calls:
        # TGI 2 streams one call, not a list.
        return list(map(_nested, objects(calls if isinstance(calls, list) else [calls])))
    function = message.get("function_call")
    return [{"function": function}] if isinstance(function, dict) and function else []


def _nested(call: Json) -> Json:
    """A call, or a piece of one, with its name and arguments in an object, as OpenAI has it."""
    flat = {name: call[name] for name in ("name", "arguments") if name in call}
    if not flat or isinstance(call.get("function"), dict):
        return call
    return {**{name: call[name] for name in call.keys() - flat.keys()}, "function": flat}


def as_call(call: Json) -> Json:
    """A call as OpenAI has it: arguments are JSON text, and its place is its place in the list."""
    call = _plain(call)
    function = call.get("function")
    call.pop("index", None)
    if not isinstance(function, dict):
        return call
    arguments = call_arguments(function.get("arguments"))
    return {"type": "function", **call, "function": {**function, "arguments": arguments}}


def call_arguments(value: Any) -> str:
    """Arguments as JSON text; TGI gives them as an object."""
    if value is None or isinstance(value, str):
        return joined(value or "")
    return json.dumps(value, ensure_ascii=False)


def _header_count(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name, "")
    return count(int(value)) if value.isdecimal() and len(value) <= 15 else None


def joined(text: str) -> str:
    """`text` with the halves of characters that came apart put together; a lone half stays."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


def string(value: Any) -> str | None:
    """A string, or nothing."""
    return value if isinstance(value, str) else None


def objects(values: Any) -> list[Json]:
    """The objects of a list; anything else is not what was expected there."""
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


def _plain(value: Any, depth: int = 0) -> Any:
    """A JSON value without nulls, to a bounded depth: what is stored must not overflow a stack."""
    if not isinstance(value, list | dict):
        return value
    if depth >= _DEEPEST:
        return None
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    return {name: _plain(item, depth + 1) for name, item in value.items() if item is not None}


def _of_text(logprobs: Any, reason: str | None) -> Any:
    """Without the token that ended it: llama.cpp lists that one only when it does not stream."""
    last = logprobs[-1] if logprobs and reason == "stop" else None
    if isinstance(last, dict) and last.get("token") == "" and not last.get("bytes"):
        return logprobs[:-1]
    return logprobs


def chat_logprobs(logprobs: Any) -> list[Any] | None:
    """One entry per token, in the form of OpenAI's chat API, which wraps them in an object."""
    if isinstance(logprobs, dict):
        listed = logprobs.get("content")
        logprobs = listed if listed is not None else _zipped_logprobs(logprobs)
    return _plain(logprobs) if isinstance(logprobs, list) else None


def _zipped_logprobs(columns: Json) -> list[Any] | None:
    """The completions API's form, lists that run side by side, as one list."""
    tokens = columns.get("tokens")
    if not isinstance(tokens, list):
        return None
    values, tops = columns.get("token_logprobs"), columns.get("top_logprobs")
    return [
        {
            "token": token,
            "logprob": _at(values, place),
            "top_logprobs": _ranked(_at(tops, place)),
        }
        for place, token in enumerate(tokens)
    ]


def _at(values: Any, place: int) -> Any:
    return values[place] if isinstance(values, list) and place < len(values) else None


def _ranked(top: Any) -> list[Json] | None:
    if not isinstance(top, dict) or not top:
        return None
    return [{"token": token, "logprob": value} for token, value in top.items()]


def tgi_logprobs(tokens: Any, tops: Any) -> list[Any] | None:
    """TGI's tokens in the same form. Its special tokens are not part of the text."""
    if not isinstance(tokens, list):
        return None
    return list(_tgi_entries(tokens, tops))


def _tgi_entries(tokens: list[Any], tops: Any) -> Iterator[Any]:
    for place, token in enumerate(tokens):
        if isinstance(token, dict) and token.get("special") is not True:
            top = [_tgi_token(top) for top in objects(_at(tops, place))] or None
            yield _plain({**_tgi_token(token), "top_logprobs": top})


def _tgi_token(token: Json) -> Json:
    return {"token": token.get("text"), "logprob": token.get("logprob")}
