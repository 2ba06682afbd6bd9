"""What an answer counts and costs: tokens and dollars, under whichever names a server has for them.

Nothing here raises on what a server sent; what cannot be a count is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from distilabel_endpoints.records import Usage

__all__ = ["count", "summed", "usage_in"]

Json = dict[str, Any]

_READ: Final = ("prompt_tokens", "input_tokens", "inputTokens", "promptTokenCount")
_WRITTEN: Final = (
    "completion_tokens", "output_tokens", "outputTokens", "candidatesTokenCount", "predicted_n",
)  # fmt: skip
"""What OpenAI, Anthropic, Bedrock, Gemini and llama.cpp call the tokens of prompt and answer."""
_MOST_TOKENS: Final = 10**12
_MOST_DOLLARS: Final = 10**6


def usage_in(value: Json) -> Usage | None:
    """The tokens that an object counts: under `usage`, or there in an object beside it.

    Groq has it in `x_groq`, others in the message or the delta. llama.cpp's `timings` leave out the
    tokens of a prompt that were in its cache.
    """
    inner = (part.get("usage") for part in value.values() if isinstance(part, dict))
    usages = (value.get("usage"), *inner, value.get("usageMetadata"), value.get("timings"))
    usage = next((usage for usage in usages if isinstance(usage, dict)), None)
    if usage is None:
        return None
    read, written = (_first(usage, names) for names in (_READ, _WRITTEN))
    return Usage(read, written, _thought_tokens(usage), _dollars(usage))


def _first(usage: Json, names: Iterable[str]) -> int | None:
    """What is counted under one of the names; gateways fill the others with null."""
    values = map(usage.get, names)
    return count(next((value for value in values if value is not None), None))


def summed(usages: Iterable[Usage | None]) -> Usage | None:
    """What several choices count each for itself: one prompt, and all that was written."""
    every = [usage for usage in usages if usage is not None]
    if not every:
        return None
    read = [usage.input_tokens for usage in every if usage.input_tokens is not None]
    written = [usage.output_tokens for usage in every if usage.output_tokens is not None]
    thought = [usage.reasoning_tokens for usage in every if usage.reasoning_tokens is not None]
    charged = [usage.dollars for usage in every if usage.dollars is not None]
    return Usage(
        max(read, default=None),
        sum(written) if written else None,
        sum(thought) if thought else None,
        sum(charged) if len(charged) == len(every) else None,
    )


def _either(usage: Json, name: str, other: str) -> Any:
    """What is under one name, or under the other: gateways fill the first with null."""
    value = usage.get(name)
    return usage.get(other) if value is None else value


def _dollars(usage: Json) -> float | None:
    """What the provider charged: OpenRouter's `cost`, DeepInfra's `estimated_cost`.

    With a user's own key at another provider, OpenRouter's is its fee, and the rest is beside it.
    """
    charged = _amount(_either(usage, "cost", "estimated_cost"))
    if charged is None or usage.get("is_byok") is not True:
        return charged
    details = usage.get("cost_details")
    rest = _amount(details.get("upstream_inference_cost")) if isinstance(details, dict) else None
    return None if rest is None else charged + rest


def _amount(value: Any) -> float | None:
    """A number of dollars; anything that cannot be one is unknown."""
    return float(value) if type(value) in {int, float} and 0 <= value <= _MOST_DOLLARS else None


def _thought_tokens(usage: Json) -> int | None:
    """The tokens of thinking: in OpenAI's details, or beside the others as SGLang has them.

    Servers say 0 of every model that does not think, which is not a count.
    """
    details = usage.get("completion_tokens_details")
    inner = details.get("reasoning_tokens") if isinstance(details, dict) else None
    return count(usage.get("reasoning_tokens") if inner is None else inner) or None


def count(value: Any) -> int | None:
    """A number of tokens; anything that cannot be one is unknown. Lua writes 12 as 12.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None
