"""What is wrong with a body before anything is made of it: types, as the servers check them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distilabel_endpoints.testing.exchange import Exchange

__all__ = ["OPENAI_TYPES", "TGI_TYPES", "bad_status", "check_taken", "check_tools", "check_types"]

_NUMBER = (int, float)

OPENAI_TYPES: Mapping[str, tuple[type, ...]] = {
    "guided_choice": (list,),
    "guided_grammar": (str,),
    "guided_json": (dict, str, bool),
    "guided_regex": (str,),
    "logprobs": (bool, int),
    "max_completion_tokens": (int,),
    "max_tokens": (int,),
    "n": (int,),
    "response_format": (dict,),
    "seed": (int,),
    "stop": (str, list),
    "stream": (bool,),
    "stream_options": (dict,),
    "structured_outputs": (dict,),
    "temperature": _NUMBER,
    "tool_choice": (str, dict),
    "tools": (list,),
    "top_logprobs": (int,),
    "top_p": _NUMBER,
}
"""The type of each parameter of the OpenAI routes; null is always fine."""

TGI_TYPES: Mapping[str, tuple[type, ...]] = {
    "best_of": (int,),
    "decoder_input_details": (bool,),
    "details": (bool,),
    "do_sample": (bool,),
    "frequency_penalty": _NUMBER,
    "grammar": (dict,),
    "max_new_tokens": (int,),
    "repetition_penalty": _NUMBER,
    "return_full_text": (bool,),
    "seed": (int,),
    "stop": (list,),
    "temperature": _NUMBER,
    "top_k": (int,),
    "top_n_tokens": (int,),
    "top_p": _NUMBER,
    "truncate": (int,),
    "typical_p": _NUMBER,
    "watermark": (bool,),
}
"""The type of each entry of TGI's `parameters`."""


def bad_status(exchange: Exchange) -> int:
    """The status of a request that cannot be read."""
    return 422 if exchange.flavor == "tgi" else 400


def check_types(
    exchange: Exchange, body: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]
) -> None:
    """Refuse a value of another type than its parameter's; a bool is not a number."""
    for name, value in body.items():
        allowed = types.get(name)
        if value is None or allowed is None:
            continue
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            wanted = " or ".join(kind.__name__ for kind in allowed)
            raise exchange.refuse(
                bad_status(exchange), f"{name}: expected {wanted}, got {type(value).__name__}"
            )


_NEWER_NAMES = {"max_tokens": " Use 'max_completion_tokens' instead."}


def check_taken(exchange: Exchange, body: Mapping[str, Any]) -> None:
    """Refuse a parameter that this server does not take, in OpenAI's words."""
    for name in exchange.settings.refuses:
        if name in body:
            raise exchange.refuse(
                bad_status(exchange),
                f"Unsupported parameter: '{name}' is not supported with this model."
                f"{_NEWER_NAMES.get(name, '')}",
                param=name,
                code="unsupported_parameter",
            )


def check_tools(exchange: Exchange, tools: Any) -> None:
    """Refuse tools that are not functions with a name."""
    for tool in tools or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise exchange.refuse(bad_status(exchange), "tools: expected functions with a name")
