"""TGI's own routes, `POST /`, `/generate` and `/generate_stream`, with its checks and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from distilabel_endpoints.testing.answer_request import AnswerRequest, request_key
from distilabel_endpoints.testing.exchange import Exchange
from distilabel_endpoints.testing.routes.checks import TGI_TYPES, check_types
from distilabel_endpoints.testing.texts.grammars import UnreadableGrammarError, tgi_constraint
from distilabel_endpoints.testing.texts.replies import Text, count_tokens, logprob, write
from distilabel_endpoints.testing.wire import Generated

__all__ = ["generate", "generate_stream", "root"]

_MAX_BEST_OF = 2
_MAX_STOP = 4
_DEFAULT_NEW_TOKENS = 100
_POSITIVE = ("best_of", "temperature", "repetition_penalty", "top_k", "max_new_tokens")
_FRACTIONS = ("top_p", "typical_p")


def root(exchange: Exchange) -> Generated:
    """`POST /`: a list with one answer, or a stream if the body says so."""
    if isinstance(exchange.body, dict) and exchange.body.get("stream"):
        return generate_stream(exchange)
    whole = generate(exchange)
    return replace(whole, payload=[whole.payload])


def generate(exchange: Exchange) -> Generated:
    """`POST /generate`: one answer."""
    inputs, parameters = _read(exchange)
    best_of = parameters.get("best_of") or 1
    texts = [_text(exchange, inputs, parameters, index) for index in range(best_of)]
    payload: dict[str, Any] = {"generated_text": _full(inputs, parameters, texts[0])}
    if parameters.get("details"):
        payload["details"] = _details(parameters, texts[0], inputs)
        if best_of > 1:
            payload["details"]["best_of_sequences"] = [
                {"generated_text": text.text, **_details(parameters, text, inputs)}
                for text in texts[1:]
            ]
    tokens = sum(len(text.tokens) for text in texts)
    return _generated(inputs, texts[0], payload, tokens=tokens)


def generate_stream(exchange: Exchange) -> Generated:
    """`POST /generate_stream`: an event per token, the last one with the whole text."""
    inputs, parameters = _read(exchange)
    if (parameters.get("best_of") or 1) > 1:
        raise _invalid(exchange, "`best_of` != 1 is not supported when streaming tokens")
    text = _text(exchange, inputs, parameters, 0)
    events: list[dict[str, Any]] = [
        {"index": index, "token": _token(token, value), "generated_text": None, "details": None}
        for index, (token, (value, _)) in enumerate(
            zip(text.tokens, text.logprobs(0), strict=True), start=1
        )
    ]
    if top := parameters.get("top_n_tokens"):
        for event, (_, likeliest) in zip(events, text.logprobs(top), strict=True):
            event["top_tokens"] = _top(likeliest, text)
    last = events[-1] if events else {"index": 0, "token": _token("")}
    last["generated_text"] = _full(inputs, parameters, text)
    last["details"] = {
        "finish_reason": _finish(text),
        "generated_tokens": len(text.tokens),
        "seed": parameters.get("seed"),
        "input_length": count_tokens(inputs),
    }
    made = _generated(inputs, text, last["details"], tokens=len(text.tokens))
    return replace(made, events=tuple(events or [last]), event_prefix=b"data:", done=b"")


def _generated(inputs: str, text: Text, payload: Any, *, tokens: int) -> Generated:
    prompt_tokens = count_tokens(inputs)
    headers = {
        "x-compute-type": "simulated",
        "x-prompt-tokens": str(prompt_tokens),
        "x-generated-tokens": str(len(text.tokens)),
    }
    return Generated(
        payload=payload, tokens=max(1, tokens), prompt_tokens=prompt_tokens, headers=headers
    )


def _read(exchange: Exchange) -> tuple[str, Mapping[str, Any]]:
    body = exchange.body
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), str):
        raise exchange.refuse(422, "Failed to deserialize the JSON body: missing field `inputs`")
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise exchange.refuse(
            422, "Failed to deserialize the JSON body: `parameters` is not an object"
        )
    if not body["inputs"]:
        raise _invalid(exchange, "`inputs` cannot be empty")
    check_types(exchange, parameters, TGI_TYPES)
    _check(exchange, body["inputs"], parameters)
    return body["inputs"], parameters


def _invalid(exchange: Exchange, message: str) -> Exception:
    return exchange.refuse(422, f"Input validation error: {message}")


def _check(exchange: Exchange, inputs: str, parameters: Mapping[str, Any]) -> None:
    for name in _POSITIVE:
        value = parameters.get(name)
        if value is not None and value <= 0:
            raise _invalid(exchange, f"`{name}` must be strictly positive")
    for name in _FRACTIONS:
        value = parameters.get(name)
        if value is not None and not 0 < value < 1:
            raise _invalid(exchange, f"`{name}` must be > 0.0 and < 1.0")
    stop = parameters.get("stop") or []
    if len(stop) > _MAX_STOP:
        raise _invalid(exchange, f"`stop` supports up to {_MAX_STOP} sequences, got {len(stop)}")
    best_of = parameters.get("best_of") or 1
    if best_of > _MAX_BEST_OF:
        raise _invalid(exchange, f"`best_of` must be <= {_MAX_BEST_OF}, got {best_of}")
    if best_of > 1 and not (parameters.get("do_sample") or parameters.get("temperature")):
        raise _invalid(exchange, "you must use sampling when `best_of` is > 1")
    room = exchange.settings.limits.context_tokens
    wanted = count_tokens(inputs) + _limit(parameters)
    if room is not None and wanted > room:
        raise _invalid(
            exchange, f"`inputs` tokens + `max_new_tokens` must be <= {room}, got {wanted}"
        )


def _limit(parameters: Mapping[str, Any]) -> int:
    return int(parameters.get("max_new_tokens") or _DEFAULT_NEW_TOKENS)


def _text(exchange: Exchange, inputs: str, parameters: Mapping[str, Any], index: int) -> Text:
    settings = exchange.settings
    request = AnswerRequest(
        prompt=inputs,
        parameters=parameters,
        seed=parameters.get("seed"),
        index=index,
        key=request_key(inputs, parameters, settings.seed),
    )
    try:
        constraint = tgi_constraint(parameters.get("grammar"))
        return write(
            request,
            settings,
            limit=_limit(parameters),
            stop=tuple(map(str, parameters.get("stop") or ())),
            constraint=constraint,
            keep_stop=True,
            now=exchange.now,
        )
    except (UnreadableGrammarError, ValueError) as error:
        raise _invalid(exchange, f"grammar is not valid: {error}") from error


def _full(inputs: str, parameters: Mapping[str, Any], text: Text) -> str:
    return inputs + text.text if parameters.get("return_full_text") else text.text


def _finish(text: Text) -> str:
    return "length" if text.length else "eos_token" if text.stop is None else "stop_sequence"


def _token(token: str, value: float | None = None, rank: int = 0) -> dict[str, Any]:
    number = sum(token.encode(errors="replace")) + rank
    likely = logprob(token, rank) if value is None else value
    return {"id": number, "text": token, "logprob": likely, "special": False}


def _top(others: list[tuple[str, float]], text: Text) -> list[dict[str, Any]]:
    if text.listed:
        return [_token(other, value) for other, value in others]
    first = others[0][0]
    return [_token(first, rank=rank) for rank in range(len(others))]


def _details(parameters: Mapping[str, Any], text: Text, inputs: str) -> dict[str, Any]:
    prefill: list[dict[str, Any]] = []
    if parameters.get("decoder_input_details"):
        prefill = [{**_token(word), "logprob": logprob(word)} for word in inputs.split()]
    details = {
        "finish_reason": _finish(text),
        "generated_tokens": len(text.tokens),
        "seed": parameters.get("seed"),
        "prefill": prefill,
        "tokens": [
            _token(token, value)
            for token, (value, _) in zip(text.tokens, text.logprobs(0), strict=True)
        ],
    }
    if top := parameters.get("top_n_tokens"):
        details["top_tokens"] = [_top(others, text) for _, others in text.logprobs(top)]
    return details
