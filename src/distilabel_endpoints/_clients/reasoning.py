"""How much a model is to think, in the words of each server.

One table: for each setting the body's fields that say it, the best first. A server of an older
version may take only a later one; which, its refusals show (`adapting.py`). Pure.

Read in the servers' sources: vLLM (`reasoning_effort`, from 0.26 on also `none`;
`thinking_token_budget`, with a reasoning parser), SGLang (`reasoning_effort`), llama.cpp
(`chat_template_kwargs.enable_thinking`, `reasoning_effort`, `thinking_budget_tokens`). Templates
call the switch `enable_thinking` (Qwen, GLM, Nemotron) or `thinking` (DeepSeek, Kimi).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.records import Server

__all__ = ["LEVELS", "Reasoning", "fields_of", "template_variables", "with_fields"]

Reasoning = Literal["off", "low", "medium", "high"] | int
"""No thinking, an effort, or at most this many tokens of it."""
LEVELS: Final = ("off", "low", "medium", "high")

_Fields = Mapping[str, Any]
_SWITCHED_OFF: Final[_Fields] = {"enable_thinking": False, "thinking": False}
_SWITCHED_ON: Final[_Fields] = {"enable_thinking": True, "thinking": True}
_BUDGETS: Final = MappingProxyType(
    {Server.VLLM: "thinking_token_budget", Server.LLAMACPP: "thinking_budget_tokens"}
)
_TEMPLATED: Final = frozenset({Server.VLLM, Server.SGLANG, Server.LLAMACPP, Server.UNKNOWN})
"""Servers that pass `chat_template_kwargs` to the model's template."""


def fields_of(setting: Reasoning, server: Server) -> tuple[_Fields, ...]:
    """The fields that say `setting` to a server's chat API, the best first.

    Raises:
        ConfigurationError: the server has none for it.
    """
    if server is Server.TGI:
        raise _no_way(setting, server, "TGI has no field for it, so the model decides")
    if type(setting) is int:
        if server not in _BUDGETS:
            raise _no_way(setting, server, "give off, low, medium or high instead of a number")
        return ({_BUDGETS[server]: setting},)
    effort = "none" if setting == "off" else setting
    kwargs = {"chat_template_kwargs": _SWITCHED_OFF if setting == "off" else _SWITCHED_ON}
    if server is Server.LLAMACPP and setting == "off":
        return (kwargs,)  # every version knows it
    fields: _Fields = {"reasoning_effort": effort}
    # What only switches the thinking on would not say how much of it.
    return (fields, kwargs) if setting == "off" and server in _TEMPLATED else (fields,)


def template_variables(setting: Reasoning) -> _Fields:
    """The same for a chat template that is rendered here.

    Raises:
        ConfigurationError: a template cannot count tokens.
    """
    if type(setting) is int:
        raise ConfigurationError(
            f"reasoning is {setting} tokens, and with tokenizer_id the prompt is rendered here, "
            "where nothing counts them. Give off, low, medium or high, or leave tokenizer_id out."
        )
    if setting == "off":
        return _SWITCHED_OFF
    return {**_SWITCHED_ON, "reasoning_effort": setting}


def with_fields(options: Mapping[str, Any], fields: _Fields) -> dict[str, Any]:
    """A request's options with these fields in its body; what a template is given is merged."""
    body = {**options.get("extra_body", {})}
    for name, value in fields.items():
        kept = body.get(name)
        is_merged = isinstance(value, Mapping) and isinstance(kept, Mapping)
        body[name] = {**value, **(kept or {})} if is_merged else value
    return {**options, "extra_body": body}


def _no_way(setting: Reasoning, server: Server, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"reasoning={setting!r} cannot be sent to {server.value}: {why}. "
        "Leave reasoning (--reasoning) out, or set it in the server."
    )
