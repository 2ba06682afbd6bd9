"""`/v1/chat/completions` and `/v1/completions`, whole and streamed, in every flavor's manner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from distilabel_endpoints.testing.answer_request import AnswerRequest, request_key
from distilabel_endpoints.testing.exchange import Exchange
from distilabel_endpoints.testing.flavors import has_n, needs_model
from distilabel_endpoints.testing.routes.checks import (
    OPENAI_TYPES,
    bad_status,
    check_taken,
    check_tools,
    check_types,
)
from distilabel_endpoints.testing.routes.stream_events import chat_events, completion_events
from distilabel_endpoints.testing.routes.thinking import check_thinking, counted, thought
from distilabel_endpoints.testing.texts.grammars import (
    Constraint,
    JsonSchema,
    UnreadableGrammarError,
    chat_constraint,
)
from distilabel_endpoints.testing.texts.replies import Text, count_tokens, write
from distilabel_endpoints.testing.wire import Generated

__all__ = ["CREATED", "chat", "completions"]

CREATED = 1_700_000_000
"""The `created` of every answer: equal requests get equal bytes."""

_MAX_N = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A body that was found to be in order."""

    request: AnswerRequest
    model: str
    n: int
    limit: int | None
    stop: tuple[str, ...]
    constraint: Constraint | None
    prompt_tokens: int


def chat(exchange: Exchange) -> Generated:
    """Answer a conversation."""
    body = _object(exchange)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise exchange.refuse(bad_status(exchange), "messages must be a list with a message in it")
    if not all(isinstance(message, dict) and "role" in message for message in messages):
        raise exchange.refuse(bad_status(exchange), "every message needs a role")
    parameters = {name: value for name, value in body.items() if name != "messages"}
    request = AnswerRequest(
        messages=tuple(messages),
        parameters=parameters,
        seed=body.get("seed"),
        key=request_key(messages, parameters, exchange.settings.seed),
    )
    order = _order(exchange, body, request)
    called = None if messages[-1]["role"] == "tool" else _called(body)
    texts = _texts(exchange, order, JsonSchema(called[1]) if called else order.constraint)
    reasoning = _reasoning(exchange)
    thoughts = [reasoning and thought(exchange.flavor, body, i) for i in range(len(texts))]
    choices = [
        {
            "index": index,
            "message": _message(text, called[0] if called else None, reasoning, thoughts[index]),
            "logprobs": _chat_logprobs(body, text),
            "finish_reason": _finish(text, tool=called is not None),
        }
        for index, text in enumerate(texts)
    ]
    payload = _payload(exchange, order, "chat.completion", choices, texts)
    if reasoning:
        _count_thinking(payload, sum(count_tokens(each) for each in thoughts if each), exchange)
    events = chat_events(payload, texts, body) if body.get("stream") else None
    return _generated(payload, order, texts, events, exchange)


def completions(exchange: Exchange) -> Generated:
    """Continue a prompt."""
    body = _object(exchange)
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise exchange.refuse(bad_status(exchange), "prompt must be a string")
    parameters = {name: value for name, value in body.items() if name != "prompt"}
    request = AnswerRequest(
        prompt=prompt,
        parameters=parameters,
        seed=body.get("seed"),
        key=request_key(prompt, parameters, exchange.settings.seed),
    )
    order = _order(exchange, {"max_tokens": 16, **body}, request)
    texts = _texts(exchange, order, order.constraint)
    choices = [
        {
            "index": index,
            "text": text.text,
            "logprobs": _text_logprobs(body, text),
            "finish_reason": _finish(text),
        }
        for index, text in enumerate(texts)
    ]
    payload = _payload(exchange, order, "text_completion", choices, texts)
    events = completion_events(payload, texts, body) if body.get("stream") else None
    return _generated(payload, order, texts, events, exchange)


def _positive(exchange: Exchange, body: Mapping[str, Any], name: str) -> int | None:
    value: int | None = body.get(name)
    if value is not None and value < 1:
        raise exchange.refuse(bad_status(exchange), f"{name} must be at least 1, got {value}")
    return value


def _object(exchange: Exchange) -> Mapping[str, Any]:
    if not isinstance(exchange.body, dict):
        raise exchange.refuse(bad_status(exchange), "the body must be a JSON object")
    check_taken(exchange, exchange.body)
    check_types(exchange, exchange.body, OPENAI_TYPES)
    check_tools(exchange, exchange.body.get("tools"))
    check_thinking(exchange, exchange.body)
    return exchange.body


def _order(exchange: Exchange, body: Mapping[str, Any], request: AnswerRequest) -> _Order:
    settings, flavor = exchange.settings, exchange.flavor
    model = str(body.get("model", ""))
    if needs_model(flavor) and model != settings.model:
        raise exchange.refuse(404, f"The model `{model}` does not exist.", param="model")
    stop = body.get("stop") or ()
    limit = _positive(exchange, body, "max_completion_tokens")
    limit = limit if limit is not None else _positive(exchange, body, "max_tokens")
    n = _positive(exchange, body, "n") or 1
    if n > _MAX_N:
        raise exchange.refuse(bad_status(exchange), f"n must be at most {_MAX_N}, got {n}")
    tokens = count_tokens(request.text)
    _check_context(exchange, tokens, limit)
    try:
        constraint = chat_constraint(flavor, body)
    except (UnreadableGrammarError, ValueError) as error:
        raise exchange.refuse(bad_status(exchange), f"response_format: {error}") from error
    return _Order(
        request=request,
        model=settings.model,
        n=n if has_n(flavor) else 1,
        limit=limit,
        stop=(stop,) if isinstance(stop, str) else tuple(map(str, stop)),
        constraint=constraint,
        prompt_tokens=tokens,
    )


def _check_context(exchange: Exchange, tokens: int, limit: int | None) -> None:
    room = exchange.settings.limits.context_tokens
    if room is None or tokens + (limit or 1) <= room:
        return
    message = (
        f"This model's maximum context length is {room} tokens, and {tokens} in the prompt "
        f"with {limit or 1} to generate are more. Please shorten one of them."
    )
    code = "context_length_exceeded" if exchange.flavor == "openai" else None
    more = {"code": code} if code else {}
    raise exchange.refuse(bad_status(exchange), message, **more)


def _texts(exchange: Exchange, order: _Order, constraint: Constraint | None) -> list[Text]:
    try:
        return [
            write(
                replace(order.request, index=index) if index else order.request,
                exchange.settings,
                limit=order.limit,
                stop=order.stop,
                constraint=constraint,
                keep_stop=exchange.flavor == "tgi",
                now=exchange.now,
            )
            for index in range(order.n)
        ]
    except UnreadableGrammarError as error:
        raise exchange.refuse(bad_status(exchange), str(error)) from error


def _called(body: Mapping[str, Any]) -> tuple[str, Any] | None:
    """The function to call and the schema of its arguments, if tools are offered."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if not isinstance(tools, list) or not tools or choice == "none":
        return None
    functions = [tool.get("function", {}) for tool in tools if isinstance(tool, dict)]
    wanted = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    chosen = next((f for f in functions if f.get("name") == wanted), functions[0])
    return str(chosen.get("name")), chosen.get("parameters") or {"type": "object"}


def _count_thinking(payload: dict[str, Any], tokens: int, exchange: Exchange) -> None:
    usage = payload["usage"]
    usage["completion_tokens"] += tokens
    usage["total_tokens"] += tokens
    usage |= counted(exchange.flavor, tokens)


def _message(
    text: Text, tool: str | None, reasoning: str | None, thoughts: str | None
) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text.text}
    if reasoning is not None and thoughts is not None:
        message[reasoning] = thoughts
    if tool is not None:
        call = {
            "id": f"call_{text.seed:016x}",
            "type": "function",
            "function": {"name": tool, "arguments": text.text},
        }
        message |= {"content": None, "tool_calls": [call]}
    return message


def _reasoning(exchange: Exchange) -> str | None:
    """The key under which the flavor puts its reasoning, if it is switched on."""
    if not exchange.settings.reasoning:
        return None
    return "reasoning" if exchange.flavor in ("vllm", "openai") else "reasoning_content"


def _finish(text: Text, *, tool: bool = False) -> str:
    return "length" if text.length else "tool_calls" if tool else "stop"


def _chat_logprobs(body: Mapping[str, Any], text: Text) -> Any:
    if not body.get("logprobs"):
        return None
    top = int(body.get("top_logprobs") or 0)
    return {
        "content": [
            {
                "token": token,
                "logprob": value,
                "bytes": list(token.encode()),
                "top_logprobs": [
                    {"token": other, "logprob": likely, "bytes": list(other.encode())}
                    for other, likely in others
                ],
            }
            for token, (value, others) in zip(text.tokens, text.logprobs(top), strict=True)
        ]
    }


def _text_logprobs(body: Mapping[str, Any], text: Text) -> Any:
    top = body.get("logprobs")
    if top is None:
        return None
    offsets = [0]
    for token in text.tokens[:-1]:
        offsets.append(offsets[-1] + len(token))
    return {
        "tokens": list(text.tokens),
        "token_logprobs": [value for value, _ in text.logprobs(int(top))],
        "top_logprobs": [dict(others) for _, others in text.logprobs(int(top))],
        "text_offset": offsets[: len(text.tokens)],
    }


def _payload(
    exchange: Exchange, order: _Order, kind: str, choices: list[Any], texts: list[Text]
) -> dict[str, Any]:
    written = sum(len(text.tokens) for text in texts)
    prefix = "chatcmpl" if kind == "chat.completion" else "cmpl"
    return {
        "id": "" if exchange.flavor == "tgi" else f"{prefix}-{order.request.key.hex()}",
        "object": kind,
        "created": CREATED,
        "model": order.model,
        "system_fingerprint": "simulated",
        "choices": choices,
        "usage": {
            "prompt_tokens": order.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": order.prompt_tokens + written,
        },
    }


def _generated(
    payload: dict[str, Any],
    order: _Order,
    texts: list[Text],
    events: tuple[Any, ...] | None,
    exchange: Exchange,
) -> Generated:
    return Generated(
        payload=payload,
        tokens=max(1, sum(len(text.tokens) for text in texts)),
        prompt_tokens=order.prompt_tokens,
        events=events,
        event_prefix=b"data:" if exchange.flavor == "tgi" else b"data: ",
        done=b"data: [DONE]\n\n",
    )
