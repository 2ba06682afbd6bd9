"""The most that one attempt may cost, and what it did cost.

Rules
- No tokenizer makes more tokens than its text has bytes in UTF-8, so the bytes are the bound of a
  prompt, with room for what chat templates write around messages. The server's count replaces it.
- A server that refuses an attempt before it generates anything charges nothing for it. Of one that
  broke off it is not known: it counts as much as was reserved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from distilabel_endpoints.records import Answer, Failure, FailureKind, Request
from distilabel_endpoints.spending.amounts import Cost, Price, picodollars_of

__all__ = ["Bound", "cost_of", "prompt_tokens"]

_TEMPLATE_TOKENS: Final = 64
"""A template's own system message, and what begins and ends a prompt."""
_MESSAGE_TOKENS: Final = 16
"""What stands around one message."""
_FREE: Final = frozenset(
    {FailureKind.THROTTLE, FailureKind.ROW, FailureKind.RUN, FailureKind.LOCAL}
)
_NEVER_SENT: Final = frozenset({"refused", "dns", "tls", "connect_timeout"})
_NOT_YET: Final = frozenset({"starting", "paused", "no_capacity"})


class Bound:
    """The most that a request may cost, for one run.

    Args:
        price: of a token; None if it is not known: dollars are not counted.
        context: the most tokens a prompt and its answer have together, if that is known.
    """

    def __init__(self, price: Price | None = None, context: int | None = None) -> None:
        self.price = price
        self.counted = price or Price(0, 0)
        """The price, or one of nothing if it is not known."""
        self._context = context

    def tokens(self, request: Request) -> tuple[int, int]:
        """Tokens in and out, at most."""
        prompt, answer = prompt_tokens(request), request.max_new_tokens
        if self._context is not None:
            prompt = min(prompt, self._context)
            answer = self._context if answer is None else min(answer, self._context)
        return prompt, (answer or 0) * request.n

    def holds(self, request: Request) -> bool:
        """Whether there is one: the length of an answer is limited."""
        return request.max_new_tokens is not None or self._context is not None


def prompt_tokens(request: Request) -> int:
    """Of a prompt, at most."""
    options = request.options
    tokens = _TEMPLATE_TOKENS + _extra_tokens(options)
    if request.messages is None:
        return tokens + _value_bytes(request.prompt or "")
    for message in request.messages:
        tokens += _MESSAGE_TOKENS + sum(map(_value_bytes, message.values()))
    return tokens


def _extra_tokens(options: Mapping[str, Any]) -> int:
    """Of what templates and servers write into a prompt beside the messages."""
    body = options.get("extra_body") or {}
    names = ("tools", "response_format", "documents", "chat_template_kwargs")
    return sum(_value_bytes(part[n]) for part in (options, body) for n in names if n in part)


def _value_bytes(value: object) -> int:
    if isinstance(value, str):
        return _bytes(value)
    return _bytes(json.dumps(value, ensure_ascii=False, default=str))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def cost_of(outcome: Answer | Failure, bound: tuple[int, int], price: Price | None) -> Cost | None:
    """What an attempt cost that ended so.

    Args:
        outcome: how it ended.
        bound: tokens in and out that were reserved for it.
        price: of a token, unless the answer says what it cost; None: dollars are not counted.

    Returns:
        None if it is not known.
    """
    if isinstance(outcome, Failure):
        return Cost() if _is_free(outcome) else None
    usage = outcome.usage
    if usage.output_tokens is None:
        return None
    input_tokens = bound[0] if usage.input_tokens is None else usage.input_tokens
    if price is None:
        return Cost(input_tokens + usage.output_tokens)
    cost = price.of(input_tokens, usage.output_tokens)
    if usage.dollars is None:
        return cost
    return Cost(cost.tokens, picodollars_of(usage.dollars))


def _is_free(failure: Failure) -> bool:
    """Whether the server refused the attempt before it generated anything."""
    if failure.in_answer:
        return False
    refused = failure.kind in _FREE or failure.code in _NOT_YET
    return failure.code in _NEVER_SENT or (refused and failure.status is not None)
